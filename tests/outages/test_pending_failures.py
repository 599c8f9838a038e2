"""What has happened when you see each answer about pending registrations: docs/answers.rst, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from tests.outages import test_failures as faults
from tests.outages.test_failures import EMAIL_NOT_SENT, INVALID, UNAVAILABLE, told
from tests.support.apps import CHECK_LINK, OMITTED, VERIFY, Builder
from tests.support.clock import Clock
from tests.support.interference import refusing
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import ANN, CODES, WITH_RESEND, add_account, ask, link_to, post_address

HOUR, WEEK = 3600, 7 * 24 * 3600
Answer = tuple[int, "str | None"]


def database_busy(*starts: str) -> faults.Fault:
    """Make every statement that begins so a conflict with another transaction."""
    return lambda built, smtp: refusing(built, *starts)


#: What goes wrong for as long as it lasts; the answer; whether the row is noted, unchanged or put back.
ASKED: dict[str, tuple[faults.Fault, Answer, str]] = {
    "nothing": (faults.nothing, (202, None), "noted"),
    "validation": (faults.nothing, INVALID, "unchanged"),
    "SELECT, database busy": (database_busy("SELECT pending"), UNAVAILABLE, "unchanged"),
    "noting it, database busy": (database_busy("INSERT INTO pending", "UPDATE pending"), UNAVAILABLE, "unchanged"),
    "account look-up, database busy": (database_busy("SELECT user"), UNAVAILABLE, "put back"),
    "mail, recipient refused for good": (partial(faults.reply, to="rcpt", text="550 5.1.1"), INVALID, "put back"),
    "mail, recipient refused for now": (partial(faults.reply, to="rcpt", text="451 later"), EMAIL_NOT_SENT, "put back"),
    "mail, sender refused for now": (partial(faults.reply, to="mail", text="451 later"), EMAIL_NOT_SENT, "put back"),
    "mail, connection refused": (faults.connection_refused, EMAIL_NOT_SENT, "put back"),
    "mail, text refused": (partial(faults.reply, to="text", text="554 spam"), EMAIL_NOT_SENT, "put back"),
    "mail, silent server": (faults.silent_server, EMAIL_NOT_SENT, "put back"),
}

#: The address is free or taken, with e-mail first; with resend, its account waits. One silent server is enough.
ASKING = [
    pytest.param((name, address, is_first), id=f"{name}, {address}, {'new' if is_first else 'old'} row")
    for name in ASKED
    for address in ("free", "taken", "waiting")
    for is_first in (True, False)
    if "silent" not in name or (address, is_first) == ("free", True)
]


@pytest.mark.parametrize("case", ASKING)
def test_what_has_happened_at_each_answer_to_who_asks_for_a_mail(
    build: Builder, smtp: RecordingServer, clock: Clock, signals: list[Any], activations: list[Any], case: Any
) -> None:
    name, address, is_first = case
    fault, expected, becomes = ASKED[name]
    registration = {**(WITH_RESEND if address == "waiting" else CODES)}
    registration |= faults.IMPATIENT if name == "mail, silent server" else {}
    built = build(pending=True, registration=registration, config=faults.PRODUCTION)
    if address != "free":
        add_account(built)
    accounts = built.rows()
    if not is_first:
        ask(built)
        built.execute_outside("UPDATE pending_registration SET code_attempts = 3")
        smtp.messages.clear()
        clock.move(HOUR)
    before = built.pending_rows()
    mails = 1 - is_first

    with fault(built, smtp):
        answer = post_address(built, "ann" if name == "validation" else ANN)
    assert told(answer) == (*expected, *(["email"] if expected is INVALID else []))
    if becomes == "noted":
        row = built.pending_row()
        now = (clock.time, mails + 1, clock.time + 60 * 2**mails)
        assert (row["sent_at"], row["mails"], row["next_mail_at"]) == now
        assert row["code_attempts"] == (3 if address == "waiting" and mails else 0)
    elif becomes == "put back" and is_first:
        row = built.pending_row()
        assert (row["mails"], row["next_mail_at"]) == (0, 0)
    else:
        assert built.pending_rows() == before
    assert len(smtp.messages) == (becomes == "noted")

    ask(built)
    assert ("signature=" in smtp.message.as_string()) is (address != "taken")
    assert built.pending_row()["mails"] == mails + 1
    assert (built.rows(), signals, activations) == (accounts, [], [])


@dataclass(frozen=True)
class Completed:
    """One row of the tables of ``verify-registration/``."""

    fault: faults.Fault
    answer: Answer  # with the link
    errors: tuple[str, ...] = ()
    is_made: bool = False  # the account, at once; the row is spent
    repeated: bool = True  # makes the account when the fault is over
    changes: dict[str, object] = field(default_factory=dict)
    age: int = 0  # of the mail
    attempts: int = 0  # that are counted with the code
    code_answer: Answer | None = None  # with the code, where it is another one
    log_in: str = "works"


MADE: Any = {"answer": (201, None), "is_made": True, "repeated": False, "attempts": 1}
UNTRUE: Any = {"code_answer": (400, "code-invalid"), "repeated": False}
SHORT: dict[str, object] = {"password": "short", "password_confirm": "short"}

COMPLETED: dict[str, Completed] = {
    "nothing": Completed(faults.nothing, **MADE),
    "validation": Completed(faults.nothing, INVALID, ("username",), changes={"username": ""}),
    "password refused": Completed(faults.nothing, INVALID, ("password",), changes=SHORT),
    "untrue": Completed(faults.nothing, (400, "signature-invalid"), attempts=1, **UNTRUE),
    "too old": Completed(faults.nothing, (400, "signature-expired"), age=WEEK + 1, **UNTRUE),
    "SELECT, database busy": Completed(database_busy("SELECT pending"), UNAVAILABLE),
    "first UPDATE, database busy": Completed(database_busy("UPDATE pending"), UNAVAILABLE),
    "INSERT, name taken": Completed(faults.name_taken, INVALID, ("username",)),
    "INSERT, database busy": Completed(database_busy("INSERT INTO user"), UNAVAILABLE),
    "COMMIT, the application's own fault": Completed(faults.commit_raises, (500, None)),
    "receiver": Completed(faults.receiver_raises, **MADE),
    "log-in raises": Completed(faults.nothing, log_in="raises", **MADE),
    "log-in answers nonsense": Completed(faults.nothing, log_in="answers nonsense", **MADE),
}


@pytest.mark.parametrize("by_code", [False, True], ids=["link", "code"])
@pytest.mark.parametrize("name", COMPLETED)
def test_what_has_happened_at_each_answer_of_verify_with_e_mail_first(
    build: Builder, smtp: RecordingServer, clock: Clock, signals: Any, activations: Any, name: str, by_code: bool
) -> None:
    case = COMPLETED[name]
    login = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": faults.log_in_that(case.log_in)}
    built = build(pending=True, registration={**CODES, **login}, config=faults.PRODUCTION)
    ask(built)
    code = code_of(smtp.message)
    proof: dict[str, object] = {"email": ANN, "code": code} if by_code else {**values_of(link_in(smtp.message))}
    if name == "untrue":
        proof |= {"code": f"{(int(code) + 1) % 10**6:06}"} if by_code else {"signature": "x"}
    body = {**built.body(email=OMITTED), **proof}
    before = built.pending_row()
    clock.move(case.age)

    with case.fault(built, smtp):
        answer = built.post(VERIFY, {**body, **case.changes})
    expected = case.code_answer if by_code and case.code_answer else case.answer
    assert told(answer) == (*expected, *case.errors)
    assert ("token" in (answer.get_json(silent=True) or {})) is (case.is_made and case.log_in == "works")
    row = built.pending_row()
    assert row == {**before, "id": row["id"], "code_attempts": case.attempts if by_code else 0}
    assert (row["id"] != before["id"]) is case.is_made
    made = [row["email_verified_at"] is not None for row in built.rows() if row["email"] == ANN]
    assert made == [True] * len(signals) == [True] * len(activations) == [True] * case.is_made

    untrue = "code-invalid" if by_code else "signature-expired" if case.age else "signature-invalid"
    assert told(built.post(VERIFY, body)) == ((201, None) if case.repeated else (400, untrue))
    made_by_now = [ANN] * (case.is_made or case.repeated)
    assert [row["email"] for row in built.rows()] == signals == [user.email for user in activations] == made_by_now


@pytest.mark.parametrize(
    ("fault", "changes", "age", "answer"),
    [
        (faults.nothing, {}, 0, (200, None)),
        (faults.nothing, {"timestamp": None}, 0, (*INVALID, "timestamp")),
        (faults.nothing, {"signature": "x"}, 0, (400, "signature-invalid")),
        (faults.nothing, {}, WEEK + 1, (400, "signature-expired")),
        (database_busy("SELECT"), {}, 0, UNAVAILABLE),
    ],
    ids=["nothing", "validation", "untrue", "too old", "database busy"],
)
def test_what_has_happened_at_each_answer_of_check_link(
    build: Builder, smtp: RecordingServer, clock: Clock, fault: faults.Fault, changes: Any, age: int, answer: Any
) -> None:
    built = build(pending=True, registration=CODES, config=faults.PRODUCTION)
    link, before = link_to(built, smtp), built.pending_row()
    clock.move(age)
    with fault(built, smtp):
        assert told(built.post(CHECK_LINK, {**link, **changes})) == answer
    assert (built.pending_row(), built.rows()) == (before, [])
    assert built.post(CHECK_LINK, link).status_code == (400 if age else 200)
