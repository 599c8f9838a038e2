"""E-mail first does the same for a free and for a taken address: nobody learns who has an account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tests.support import models
from tests.support.apps import OMITTED, REGISTER, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import CODES, EMAIL_FIRST, add_account
from tests.support.statements import recorded

FREE, TAKEN = "free@example.com", "took@example.com"
COOLDOWN = 60


def with_notes(db: SQLAlchemy, lazy: Any) -> type[Any]:
    """The usual model, with a relationship that every SELECT of a user loads as well."""

    class Note(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))

    user = models.typed(db)
    user.Note, user.notes = Note, relationship(Note, lazy=lazy)
    return user


LOADED = {lazy: partial(with_notes, lazy=lazy) for lazy in ("selectin", "joined")}
MODELS: dict[str, models.Model] = {"plain": models.typed, **LOADED}


@pytest.fixture(params=[EMAIL_FIRST, CODES], ids=["links", "codes"])
def settings(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=MODELS)
def built(request: pytest.FixtureRequest, build: Builder, clock: Clock, settings: dict[str, object]) -> Built:
    return build(MODELS[request.param], pending=True, registration=settings)


@dataclass(frozen=True)
class Noticed:
    """What can be noticed of a request, but its time."""

    answer: tuple[str, list[tuple[str, str]], bytes]
    statements: list[str]
    dialogue: list[list[str]]
    before_text: list[int]  # how many statements had been sent when the mail's text was


def notice(built: Built, smtp: RecordingServer, path: str, body: Mapping[str, object]) -> Noticed:
    earlier, before_text = len(smtp.conversations), list[int]()
    with recorded(built.engine) as statements:
        smtp.on_text = lambda: before_text.append(len(statements.sql))
        response = built.post(path, body)
    headers = [(name, value) for name, value in response.headers if name != "Date"]
    answer = response.status, headers, response.data
    return Noticed(answer, statements.sql, smtp.conversations[earlier:], before_text)


def ask(built: Built, smtp: RecordingServer, address: str) -> Noticed:
    return notice(built, smtp, REGISTER, {"email": address})


def ask_both(built: Built, smtp: RecordingServer) -> Noticed:
    """Ask for a mail to the free and the taken address, and return what is noticed of either."""
    free, taken = (ask(built, smtp, address) for address in (FREE, TAKEN))
    assert taken == free
    return taken


def complete(built: Built, smtp: RecordingServer, proof: Mapping[str, object]) -> Noticed:
    return notice(built, smtp, VERIFY, built.body(**{"email": OMITTED, **proof}))


def take(built: Built, *, verified: bool = True) -> None:
    """Add the account whose address is taken."""
    values: dict[str, object] = {"email_verified_at": datetime(2020, 1, 1) if verified else None}  # noqa: DTZ001
    if hasattr(built.User, "notes"):
        values["notes"] = [built.User.Note() for _ in range(3)]
    add_account(built, TAKEN, "took", **values)


@pytest.mark.parametrize("verified", [True, False])
def test_free_and_taken_get_the_same_answer_statements_and_mail_dialogue(
    built: Built, smtp: RecordingServer, clock: Clock, verified: bool
) -> None:
    take(built, verified=verified)
    noticed: list[Noticed] = []
    # Due for the first time, not due, due again, not due.
    for pause in (0, COOLDOWN - 1, 1, 0):
        clock.move(pause)
        noticed.append(ask_both(built, smtp))
    first, not_due, again, not_due_again = noticed
    assert not_due == not_due_again
    assert len({each.answer[0] for each in noticed}) == 1
    assert first.dialogue == again.dialogue == [["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]]
    assert (not_due.dialogue, len(not_due.statements)) == ([], 3)  # BEGIN, SELECT, COMMIT
    assert [sent.recipients for sent in smtp.envelopes] == [[FREE], [TAKEN]] * 2
    assert len({sent.sender for sent in smtp.envelopes}) == 1
    assert ["signature=" in str(mail) for mail in smtp.messages[2:]] == [True, False]


def test_free_and_taken_are_the_same_to_a_mail_server_that_refuses(built: Built, smtp: RecordingServer) -> None:
    take(built)
    for command, reply, status in (  # a later one comes to effect before an earlier one
        *(("text", "554 no", "503"), ("rcpt", "450 later", "503")),
        *(("rcpt", "550 5.1.1 unknown", "400"), ("mail", "451 later", "503")),
    ):
        setattr(smtp, f"{command}_reply", reply)
        for _ in range(2):  # a row that was put back is due at once
            assert ask_both(built, smtp).answer[0].startswith(status)
    smtp.stop()
    assert ask_both(built, smtp).answer[0].startswith("503")


def test_who_asks_again_does_not_learn_whether_somebody_has_signed_up_meanwhile(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    ask(built, smtp, TAKEN)
    assert complete(built, smtp, values_of(link_in(smtp.message))).answer[0] == "201 CREATED"
    assert ask(built, smtp, FREE).answer[0] == "202 ACCEPTED"
    for pause in (0, COOLDOWN - 1, 1, 2 * COOLDOWN - 1, 1, 8 * 24 * 3600):
        clock.move(pause)
        ask_both(built, smtp)
    assert len(smtp.messages) == 8


@pytest.mark.parametrize("settings", [CODES], ids=["codes"], indirect=True)
@pytest.mark.parametrize("asked", [False, True])
def test_a_wrong_code_is_the_same_for_every_address(built: Built, smtp: RecordingServer, asked: bool) -> None:
    take(built)
    code = "000000"
    if asked:
        ask_both(built, smtp)
        code = f"{(int(code_of(smtp.messages[0])) + 1) % 10**6:06}"
    for _ in range(7):  # five are compared, then none
        addresses = (FREE, TAKEN, "unknown@example.com")
        noticed = [complete(built, smtp, {"email": address, "code": code}) for address in addresses]
        assert noticed == noticed[:1] * 3
        assert b'"code-invalid"' in noticed[0].answer[2]
        assert noticed[0].dialogue == []
