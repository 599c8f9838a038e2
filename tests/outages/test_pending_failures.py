"""What has happened when you see each answer, e-mail first: the tables of docs/answers.rst, cell by cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event
from werkzeug.test import TestResponse

from flask_rest_registration import user_activated, user_registered
from tests.outages.test_failures import (
    EMAIL_NOT_SENT,
    INVALID,
    PRODUCTION,
    UNAVAILABLE,
    Fault,
    Heard,
    commit_raises,
    connection_refused,
    log_in_that,
    name_taken,
    nothing,
    receiver_raises,
    reply,
    silent_server,
)
from tests.support.apps import CHECK_LINK, OMITTED, REGISTER, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.databases import conflict
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer

SETTINGS: dict[str, object] = {
    "REGISTER_EMAIL_FIRST": True,
    "REGISTER_VERIFICATION_CODE_ENABLED": True,
}
ANN = "ann@example.com"
HOUR, WEEK = 3600, 7 * 24 * 3600


@contextmanager
def database_busy(built: Built, smtp: RecordingServer, *, at: str, after: int = 0) -> Iterator[None]:
    """Let every statement that begins so, after so many of them, be refused as a conflict with another transaction."""
    seen: list[str] = []

    def execute(cursor: object, statement: str, parameters: object, context: object) -> None:
        if re.sub('["`]', "", statement).startswith(at):
            seen.append(statement)
            if len(seen) > after:
                raise conflict()

    event.listen(built.engine, "do_execute", execute)
    yield
    event.remove(built.engine, "do_execute", execute)


@contextmanager
def both(first: Fault, second: Fault, built: Built, smtp: RecordingServer) -> Iterator[None]:
    with first(built, smtp), second(built, smtp):
        yield


def told(answer: TestResponse) -> tuple[int, str | None]:
    """Return the status of an answer, and its code where it has one."""
    return answer.status_code, (answer.get_json(silent=True) or {}).get("code")


def errors_in(answer: TestResponse) -> tuple[str, ...]:
    return tuple((answer.get_json(silent=True) or {}).get("errors", ()))


# POST register/


@dataclass(frozen=True)
class Asked:
    """One row of the table of ``register/``.

    :param fault: what goes wrong, for as long as it lasts.
    :param answer: status and code.
    :param row: what becomes of the pending registration: ``noted``, ``unchanged`` or ``put back``.
    :param errors: the fields with an error.
    """

    fault: Fault
    answer: tuple[int, str | None]
    row: str
    errors: tuple[str, ...] = ()
    address: str = ANN
    time_out: int | None = None


refuses_text = partial(reply, to="text", text="554 5.7.1 spam")
refuses_recipient = partial(reply, to="rcpt", text="550 5.1.1 no such user")

ASKED: dict[str, Asked] = {
    "nothing": Asked(nothing, (202, None), "noted"),
    "validation": Asked(nothing, INVALID, "unchanged", errors=("email",), address="ann"),
    "SELECT, database busy": Asked(partial(database_busy, at="SELECT pending"), UNAVAILABLE, "unchanged"),
    "noting it, database busy": Asked(
        partial(both, partial(database_busy, at="INSERT INTO pending"), partial(database_busy, at="UPDATE pending")),
        UNAVAILABLE,
        "unchanged",
    ),
    "account look-up, database busy": Asked(partial(database_busy, at="SELECT user"), UNAVAILABLE, "put back"),
    "mail, recipient refused for good": Asked(refuses_recipient, INVALID, "put back", errors=("email",)),
    "mail, recipient refused for now": Asked(partial(reply, to="rcpt", text="451 later"), EMAIL_NOT_SENT, "put back"),
    "mail, connection refused": Asked(connection_refused, EMAIL_NOT_SENT, "put back"),
    "mail, text refused": Asked(refuses_text, EMAIL_NOT_SENT, "put back"),
    "mail, silent server": Asked(silent_server, EMAIL_NOT_SENT, "put back", time_out=1),
}


def make_account(built: Built) -> None:
    """Let somebody else have made an account with the address."""
    with built.app.app_context():
        built.db.session.add(built.User(email=ANN, username="owner", password_hash="x"))
        built.db.session.commit()


@pytest.mark.parametrize("is_first", [True, False], ids=["new row", "old row"])
@pytest.mark.parametrize("has_account", [False, True], ids=["free", "taken"])
@pytest.mark.parametrize("name", ASKED)
def test_what_has_happened_at_each_answer_of_register_with_e_mail_first(
    build: Builder, smtp: RecordingServer, clock: Clock, name: str, has_account: bool, is_first: bool
) -> None:
    case, heard = ASKED[name], Heard()
    time_out = {"VERIFICATION_EMAIL_TIMEOUT": case.time_out}
    built = build(pending=True, registration={**SETTINGS, **time_out}, config=PRODUCTION)
    if has_account:
        make_account(built)
    accounts = built.rows()
    if not is_first:
        assert built.post(REGISTER, {"email": ANN}).status_code == 202
        smtp.messages.clear()
        clock.move(HOUR)
    before = built.pending_rows()
    mails = before[0]["mails"] if before else 0

    with user_registered.connected_to(heard, sender=built.app), user_activated.connected_to(heard, sender=built.app):
        with case.fault(built, smtp):
            answer = built.post(REGISTER, {"email": case.address})
        assert (told(answer), errors_in(answer)) == (case.answer, case.errors)
        if case.row == "noted":
            row = built.pending_row()
            noted = (clock.time, mails + 1, clock.time + 60 * 2**mails, 0)
            assert (row["sent_at"], row["mails"], row["next_mail_at"], row["code_attempts"]) == noted
        elif case.row == "put back" and is_first:
            row = built.pending_row()
            assert (row["mails"], row["next_mail_at"]) == (0, 0)
        else:
            assert built.pending_rows() == before
        assert len(smtp.messages) == (case.row == "noted")

        assert built.post(REGISTER, {"email": ANN}).status_code == 202
        assert len(smtp.messages) == 1
        assert ("signature=" in smtp.message.as_string()) is not has_account
        assert built.pending_row()["mails"] == mails + 1
    assert (built.rows(), heard.count) == (accounts, 0)


@pytest.mark.parametrize("is_first", [True, False], ids=["new row", "old row"])
@pytest.mark.parametrize("mail", [refuses_text, refuses_recipient], ids=["503", "400"])
def test_a_row_that_cannot_be_put_back_keeps_its_cooldown(
    build: Builder, smtp: RecordingServer, clock: Clock, mail: Fault, is_first: bool
) -> None:
    built = build(pending=True, registration=SETTINGS, config=PRODUCTION)
    if not is_first:
        built.post(REGISTER, {"email": ANN})
        smtp.messages.clear()
        clock.move(HOUR)
    # An old row is noted by an UPDATE, which works.
    with mail(built, smtp), database_busy(built, smtp, at="UPDATE", after=not is_first):
        answer = built.post(REGISTER, {"email": ANN})
    assert told(answer) == (EMAIL_NOT_SENT if mail is refuses_text else INVALID)
    row = built.pending_row()
    assert row["next_mail_at"] > clock.time
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    assert smtp.messages == []
    clock.time = row["next_mail_at"]
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    assert len(smtp.messages) == 1


# POST verify-registration/


@dataclass(frozen=True)
class Completed:
    """One row of the tables of ``verify-registration/``.

    :param fault: what goes wrong, for as long as it lasts.
    :param answer: status and code, with the link.
    :param is_made: whether the account is made and the row spent.
    :param errors: the fields with an error.
    :param repeated: whether the same request makes the account when the fault is over.
    :param changes: what is sent otherwise.
    :param untrue: what makes link and code untrue.
    :param age: of the mail.
    :param attempts: how many are counted with the code.
    :param code_answer: status and code, with the code in place of the link, where they differ.
    """

    fault: Fault
    answer: tuple[int, str | None]
    is_made: bool = False
    errors: tuple[str, ...] = ()
    repeated: bool = True
    changes: dict[str, object] = field(default_factory=dict)
    untrue: bool = False
    age: int = 0
    attempts: int = 0
    code_answer: tuple[int, str | None] | None = None
    log_in: str = "works"


MADE: Any = {"answer": (201, None), "is_made": True, "repeated": False, "attempts": 1}
CODE_INVALID = (400, "code-invalid")

COMPLETED: dict[str, Completed] = {
    "nothing": Completed(nothing, **MADE),
    "validation": Completed(nothing, INVALID, errors=("username",), changes={"username": ""}),
    "password refused": Completed(
        nothing, INVALID, errors=("password",), changes={"password": "short", "password_confirm": "short"}
    ),
    "untrue": Completed(
        nothing, (400, "signature-invalid"), untrue=True, attempts=1, code_answer=CODE_INVALID, repeated=False
    ),
    "too old": Completed(nothing, (400, "signature-expired"), age=WEEK + 1, code_answer=CODE_INVALID, repeated=False),
    "SELECT, database busy": Completed(partial(database_busy, at="SELECT pending"), UNAVAILABLE),
    "first UPDATE, database busy": Completed(partial(database_busy, at="UPDATE pending"), UNAVAILABLE),
    "INSERT, name taken": Completed(name_taken, INVALID, errors=("username",)),
    "INSERT, database busy": Completed(partial(database_busy, at="INSERT INTO user"), UNAVAILABLE),
    "COMMIT, the application's own fault": Completed(commit_raises, (500, None)),
    "receiver": Completed(receiver_raises, **MADE),
    "log-in raises": Completed(nothing, log_in="raises", **MADE),
    "log-in refuses": Completed(nothing, log_in="refuses", **MADE),
    "log-in aborts": Completed(nothing, log_in="aborts", **MADE),
    "log-in answers nonsense": Completed(nothing, log_in="answers nonsense", **MADE),
}


def proof_by_link(message: Any, *, untrue: bool) -> dict[str, object]:
    values = values_of(link_in(message))
    return {**values, "signature": "x" if untrue else values["signature"]}


def proof_by_code(message: Any, *, untrue: bool) -> dict[str, object]:
    code = code_of(message)
    return {"email": ANN, "code": f"{(int(code) + 1) % 10**6:06}" if untrue else code}


@pytest.mark.parametrize("proof", [proof_by_link, proof_by_code], ids=["link", "code"])
@pytest.mark.parametrize("name", COMPLETED)
def test_what_has_happened_at_each_answer_of_verify_with_e_mail_first(
    build: Builder, smtp: RecordingServer, clock: Clock, name: str, proof: Callable[..., Mapping[str, object]]
) -> None:
    case, by_code = COMPLETED[name], proof is proof_by_code
    login = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": log_in_that(case.log_in)}
    built = build(pending=True, registration={**SETTINGS, **login}, config=PRODUCTION)
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    body = {**built.body(email=OMITTED), **proof(smtp.message, untrue=case.untrue)}
    before = built.pending_row()
    clock.move(case.age)
    registered, activated = Heard(), Heard()

    with (
        user_registered.connected_to(registered, sender=built.app),
        user_activated.connected_to(activated, sender=built.app),
    ):
        with case.fault(built, smtp):
            answer = built.post(VERIFY, {**body, **case.changes})
        expected = case.code_answer if by_code and case.code_answer else case.answer
        assert (told(answer), errors_in(answer)) == (expected, case.errors)
        assert ("token" in (answer.get_json(silent=True) or {})) is (case.is_made and case.log_in == "works")
        row = built.pending_row()
        assert row == {**before, "id": row["id"], "code_attempts": case.attempts if by_code else 0}
        assert (row["id"] != before["id"]) is case.is_made
        made = [row["email_verified_at"] is not None for row in built.rows() if row["email"] == ANN]
        assert made == [True] * case.is_made
        assert (registered.count, activated.count) == (case.is_made, case.is_made)

        repetition = built.post(VERIFY, body)
        untrue = CODE_INVALID if by_code else (400, "signature-expired" if case.age else "signature-invalid")
        assert told(repetition) == ((201, None) if case.repeated else untrue)
        made_by_now = case.is_made or case.repeated
        assert [row["email"] for row in built.rows()] == [ANN] * made_by_now
        assert (registered.count, activated.count) == (made_by_now, made_by_now)


@pytest.mark.parametrize(
    ("fault", "changes", "age", "answer"),
    [
        (nothing, {}, 0, (200, None)),
        (nothing, {"timestamp": None}, 0, INVALID),
        (nothing, {"signature": "x"}, 0, (400, "signature-invalid")),
        (nothing, {}, WEEK + 1, (400, "signature-expired")),
        (partial(database_busy, at="SELECT"), {}, 0, UNAVAILABLE),
    ],
    ids=["nothing", "validation", "untrue", "too old", "database busy"],
)
def test_what_has_happened_at_each_answer_of_check_link(
    build: Builder,
    smtp: RecordingServer,
    clock: Clock,
    fault: Fault,
    changes: dict[str, object],
    age: int,
    answer: tuple[int, str | None],
) -> None:
    built = build(pending=True, registration=SETTINGS, config=PRODUCTION)
    built.post(REGISTER, {"email": ANN})
    link, before = values_of(link_in(smtp.message)), built.pending_row()
    clock.move(age)
    with fault(built, smtp):
        assert told(built.post(CHECK_LINK, {**link, **changes})) == answer
    assert (built.pending_row(), built.rows()) == (before, [])
    assert built.post(CHECK_LINK, link).status_code == (400 if age else 200)
