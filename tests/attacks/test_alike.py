"""E-mail first does the same for a free and for a taken address: nobody learns who has an account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.test import TestResponse

from tests.support import models
from tests.support.apps import OMITTED, REGISTER, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

FREE, TAKEN = "free@example.com", "took@example.com"
COOLDOWN = 60


def with_notes(lazy: Any) -> models.Model:
    """Make the usual model, with a relationship that every SELECT of a user loads as well."""

    def model(db: SQLAlchemy) -> type[Any]:
        class Note(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))

        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(254), unique=True)
            username: Mapped[str] = mapped_column(String(80), unique=True)
            password_hash: Mapped[str] = mapped_column(String(256))
            email_verified_at: Mapped[datetime | None]
            notes: Mapped[list[Any]] = relationship(Note, lazy=lazy)

        User.Note = Note
        return User

    return model


MODELS: dict[str, models.Model] = {
    "plain": models.typed,
    "selectin": with_notes("selectin"),
    "joined": with_notes("joined"),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> models.Model:
    return MODELS[request.param]


@pytest.fixture(params=[False, True], ids=["links", "codes"])
def built(request: pytest.FixtureRequest, build: Builder, clock: Clock, model: models.Model) -> Built:
    settings = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": request.param}
    return build(model, pending=True, registration=settings)


@dataclass(frozen=True)
class Noticed:
    """What can be noticed of a request, but its time.

    :param answer: status, headers and body.
    :param statements: the text of each, with the ends of the transactions.
    :param dialogue: the commands that the mail server saw, connection by connection.
    :param before_text: how many statements had been sent when the mail's text was.
    """

    answer: tuple[str, list[tuple[str, str]], bytes]
    statements: list[str]
    dialogue: list[list[str]]
    before_text: list[int]


def whole(response: TestResponse) -> tuple[str, list[tuple[str, str]], bytes]:
    return response.status, [(name, value) for name, value in response.headers if name != "Date"], response.data


def notice(built: Built, smtp: RecordingServer, path: str, body: Mapping[str, object]) -> Noticed:
    earlier, before_text = len(smtp.conversations), list[int]()
    with recorded(built.engine) as statements:
        smtp.on_text = lambda: before_text.append(len(statements.sql))
        answer = whole(built.post(path, body))
    return Noticed(answer, statements.sql, smtp.conversations[earlier:], before_text)


def ask(built: Built, smtp: RecordingServer, address: str) -> Noticed:
    return notice(built, smtp, REGISTER, {"email": address})


def complete(built: Built, smtp: RecordingServer, proof: Mapping[str, object]) -> Noticed:
    return notice(built, smtp, VERIFY, built.body(**{"email": OMITTED, **proof}))


# How an address becomes a taken one


def add_by_hand(built: Built, smtp: RecordingServer, *, verified: bool = True) -> None:
    with built.app.app_context():
        values = {"email_verified_at": datetime(2020, 1, 1)} if verified else {}  # noqa: DTZ001  as the column has it
        user = built.User(email=TAKEN, username="took", password_hash="x", **values)
        if hasattr(user, "notes"):
            user.notes = [built.User.Note() for _ in range(3)]
        built.db.session.add(user)
        built.db.session.commit()


def add_unverified(built: Built, smtp: RecordingServer) -> None:
    add_by_hand(built, smtp, verified=False)


def register(built: Built, smtp: RecordingServer) -> None:
    ask(built, smtp, TAKEN)
    assert smtp.envelopes[-1].recipients == [TAKEN]
    link = values_of(link_in(smtp.messages[-1]))
    assert complete(built, smtp, link).answer[0] == "201 CREATED"


TakeIt = Callable[[Built, RecordingServer], None]


@pytest.mark.parametrize("take", [add_by_hand, add_unverified])
def test_free_and_taken_get_the_same_answer_statements_and_mail_dialogue(
    built: Built, smtp: RecordingServer, clock: Clock, take: TakeIt
) -> None:
    take(built, smtp)
    noticed: list[Noticed] = []
    # Due for the first time, not due, due again, not due.
    for pause in (0, COOLDOWN - 1, 1, 0):
        clock.move(pause)
        free, taken = (ask(built, smtp, address) for address in (FREE, TAKEN))
        assert taken == free
        noticed.append(taken)
    first, not_due, again, not_due_again = noticed
    assert not_due == not_due_again
    assert len({each.answer[0] for each in noticed}) == 1
    assert first.dialogue == again.dialogue == [["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]]
    assert (not_due.dialogue, len(not_due.statements)) == ([], 3)  # BEGIN, SELECT, COMMIT
    assert [sent.recipients for sent in smtp.envelopes] == [[FREE], [TAKEN]] * 2
    assert len({sent.sender for sent in smtp.envelopes}) == 1
    assert "signature=" in str(smtp.messages[2])
    assert "signature=" not in str(smtp.messages[3])


REFUSALS = [
    ("rcpt_reply", "550 5.1.1 unknown", "400"),
    ("rcpt_reply", "450 later", "503"),
    ("mail_reply", "451 later", "503"),
    ("text_reply", "554 no", "503"),
    ("", "is not there", "503"),
]


@pytest.mark.parametrize(("reply", "text", "status"), REFUSALS)
def test_free_and_taken_are_the_same_to_a_mail_server_that_refuses(
    built: Built, smtp: RecordingServer, clock: Clock, reply: str, text: str, status: str
) -> None:
    add_by_hand(built, smtp)
    if reply:
        setattr(smtp, reply, text)
    else:
        smtp.stop()
    for _ in range(3):  # a row that was put back is due at once
        free, taken = (ask(built, smtp, address) for address in (FREE, TAKEN))
        assert taken == free
        assert taken.answer[0].startswith(status)


def test_who_asks_again_does_not_learn_whether_the_owner_has_registered_meanwhile(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    register(built, smtp)
    assert ask(built, smtp, FREE).answer[0] == "202 ACCEPTED"
    for pause in (0, COOLDOWN - 1, 1, 2 * COOLDOWN - 1, 1, 8 * 24 * 3600):
        clock.move(pause)
        free, taken = (ask(built, smtp, address) for address in (FREE, TAKEN))
        assert taken == free
    assert len(smtp.messages) == 8


@pytest.mark.parametrize("asked", [False, True])
def test_a_wrong_code_is_the_same_for_free_taken_and_unknown_addresses(
    build: Builder, smtp: RecordingServer, clock: Clock, model: models.Model, asked: bool
) -> None:
    settings = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True}
    built = build(model, pending=True, registration=settings)
    add_by_hand(built, smtp)
    code = "000000"
    if asked:
        for address in (FREE, TAKEN):
            ask(built, smtp, address)
        code = f"{(int(code_of(smtp.messages[0])) + 1) % 10**6:06}"
    for _ in range(7):  # five are compared, then none
        noticed = [
            complete(built, smtp, {"email": address, "code": code}) for address in (FREE, TAKEN, "unknown@example.com")
        ]
        assert noticed == noticed[:1] * 3
        assert b'"code-invalid"' in noticed[0].answer[2]
        assert noticed[0].dialogue == []
