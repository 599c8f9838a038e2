"""``POST resend-verification/``: who gets a link again, how often, and what whoever asks may learn."""

from __future__ import annotations

import json
import logging
import re
import smtplib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.test import TestResponse

from flask_rest_registration import (
    ConfigurationError,
    EmailNotSent,
    PendingRegistrationMixin,
    RegisterSigner,
    RestRegistrationError,
    send_register_verification_email_notification,
    user_activated,
    user_registered,
)
from tests.support import models
from tests.support.answers import field_errors, is_proper, refused
from tests.support.apps import RESEND, Builder, Built
from tests.support.clock import Clock, at
from tests.support.concurrency import at_once
from tests.support.databases import CHOSEN, DRIVER, ON_SQLITE, Outside, conflict, impatient
from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer, SilentServer
from tests.support.statements import recorded
from tests.support.variants import WITH_TRANSACTIONS_OF_THEIR_OWN, build_variant

pytestmark = pytest.mark.database

ANN = "ann@example.com"
NOBODY = "nobody@example.com"
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
WEEK = 7 * DAY
ON = {"REGISTER_VERIFICATION_RESEND_ENABLED": True, "REGISTER_VERIFICATION_PERIOD": WEEK}
SENT = {
    "detail": "If an account with this address waits for its verification, a message was sent, or tried, now or when"
    " it was last asked for."
}
SUCCESS = {"detail": "User verified successfully"}
REFUSED = {"email": ["The mail server does not accept this address."]}
OURS_TO_BLAME = [
    {"rcpt_reply": "450 4.2.0 later"},
    {"mail_reply": "451 4.3.0 later"},
    {"text_reply": "554 5.7.1 spam"},
    {"text_reply": "452 4.3.1 disk full"},
]

#: Where the rows are, for statements of somebody else's.
TABLE = "pending_registration"


def ask(built: Built, address: str = ANN) -> TestResponse:
    """Ask for the link again, and check that nothing is told."""
    answer = built.post(RESEND, {"email": address})
    assert (answer.status_code, answer.get_json()) == (202, SENT), answer.text
    return answer


def with_settings(build: Builder, built: Built, *, mail: Any = None, config: Any = None, **settings: object) -> Built:
    """Build another app on the same database."""
    options: dict[str, Any] = {} if mail is None else {"mail": mail}
    return build(
        models.typed,
        pending=True,
        database_uri=built.database_uri,
        registration={**ON, **settings},
        config=config,
        tables=False,
        **options,
    )


def with_sender(build: Builder, built: Built, sender: Callable[[Any, Any], object], **options: Any) -> Built:
    return with_settings(build, built, REGISTER_VERIFICATION_EMAIL_SENDER=sender, **options)


def add(built: Built, name: str, **values: object) -> None:
    """Add an account by hand, as an administrator's script does."""
    with built.app.app_context():
        account = {"email": f"{name}@example.com", "username": name, "password_hash": "h", **values}
        built.db.session.add(built.User(**account))
        built.db.session.commit()


def change(built: Built, model: Any, **values: object) -> None:
    """Let the application change all rows of a table by itself."""
    with built.app.app_context():
        built.db.session.execute(sa.update(model).values(**values))
        built.db.session.commit()


def counts(built: Built) -> dict[str, int]:
    """Return the numbers of the only pending registration."""
    row = built.pending_row()
    return {name: row[name] for name in ("sent_at", "mails", "next_mail_at", "code_attempts")}


@pytest.fixture(name="built")
def resending_app(build: Builder, clock: Clock) -> Built:
    return build(models.typed, pending=True, registration=ON)


@pytest.fixture
def ann(built: Built, smtp: RecordingServer) -> Built:
    """The app after Ann has signed up; her first mail is gone from the mail server's list."""
    assert built.register().status_code == 201
    smtp.messages.clear()
    smtp.envelopes.clear()
    smtp.conversations.clear()
    return built


@pytest.fixture
def again(ann: Built, smtp: RecordingServer, clock: Clock) -> Built:
    """The app after Ann has asked once, and the cooldown has passed: she has a row."""
    ask(ann)
    smtp.messages.clear()
    smtp.envelopes.clear()
    smtp.conversations.clear()
    clock.move(MINUTE)
    return ann


@contextmanager
def before_statements(built: Built, *actions: tuple[str, Callable[[], object]]) -> Iterator[list[str]]:
    """Let somebody act right before statements that begin with a word, each action once, in this order."""
    waiting, met = [*actions], list[str]()

    def act(conn: object, cursor: object, statement: str, *_: object) -> None:
        if waiting and statement.startswith(waiting[0][0]):
            met.append(statement)
            waiting.pop(0)[1]()

    event.listen(built.engine, "before_cursor_execute", act)
    try:
        yield met
        assert not waiting, waiting
    finally:
        event.remove(built.engine, "before_cursor_execute", act)


@contextmanager
def conflicts_at(built: Built, *starts: str) -> Iterator[list[str]]:
    """Let the database refuse statements as conflicts: the next one that begins with each of these, in this order."""
    waiting, sent = [*starts], list[str]()

    def execute(cursor: object, statement: str, parameters: object, context: object) -> None:
        sent.append(statement)
        if waiting and re.sub('["`]', "", statement).startswith(waiting[0]):
            waiting.pop(0)
            raise conflict()

    event.listen(built.engine, "do_execute", execute)
    try:
        yield sent
        assert not waiting, waiting
    finally:
        event.remove(built.engine, "do_execute", execute)


# Whether the endpoint is there


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b'{"email": "ann@example.com"}', b"x" * 100_000])
@pytest.mark.parametrize(
    "settings",
    [{}, {"REGISTER_EMAIL_FIRST": True}, {"REGISTER_VERIFICATION_ENABLED": False}],
    ids=["by default", "e-mail first", "without verification"],
)
def test_while_resend_is_off_it_is_404_whatever_is_sent(
    build: Builder, smtp: RecordingServer, settings: dict[str, object], body: bytes
) -> None:
    built = build(pending=True, registration=settings)
    with recorded(built.engine) as statements:
        refused(built.post(RESEND, data=body, content_type="application/json"), 404, "not-found")
    assert (statements.kinds, smtp.conversations) == ([], [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("slash", ["/", ""], ids=["with slash", "without slash"])
def test_only_post_is_answered(ann: Built, smtp: RecordingServer, method: str, slash: str) -> None:
    path = f"{ann.url_prefix}/{RESEND.rstrip('/')}{slash}"
    answer = ann.client().open(path, method=method, json={"email": ANN})
    assert answer.status_code == 405
    assert {*answer.headers["Allow"].split(", ")} == {"POST", "OPTIONS"}
    assert smtp.conversations == []


def test_the_slash_at_the_end_may_be_left_out(ann: Built, smtp: RecordingServer) -> None:
    assert ann.post(RESEND.rstrip("/"), {"email": ANN}).get_json() == SENT
    assert smtp.message["To"] == ANN


def test_a_link_is_sent_again_while_registration_is_closed(build: Builder, ann: Built, smtp: RecordingServer) -> None:
    closed = with_settings(build, ann, REGISTER_FLOW_ENABLED=False)
    ask(closed)
    assert closed.verify(link_in(smtp.message)).get_json() == SUCCESS


# What is no address


@pytest.mark.parametrize(
    "value",
    [
        *[None, True, 1, 1.5, [], {}, [ANN], {"$ne": ""}, "", " ", "ann", "ann@", "@example.com", "a@b@example.com"],
        *["ann@example.com, bob@example.com", "Ann <ann@example.com>", "ann@example.com\r\nBcc: bob@example.com"],
        *["ä@example.com", "ann@exa mple.com", "x" * 400, "ann@[127.0.0.1]"],
    ],
    ids=repr,
)
def test_what_is_no_address_is_named_and_asks_neither_database_nor_mail_server(
    built: Built, smtp: RecordingServer, value: object
) -> None:
    with recorded(built.engine) as statements:
        assert list(field_errors(built.post(RESEND, {"email": value}))) == ["email"]
    assert (statements.kinds, smtp.conversations) == ([], [])


def test_a_missing_address_and_unknown_fields_are_named(built: Built) -> None:
    assert list(field_errors(built.post(RESEND, {}))) == ["email"]
    assert list(field_errors(built.post(RESEND, {"email": ANN, "user_id": 1}))) == ["user_id"]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"email=ann@example.com", "application/json", 400, "parse-error"),
        (b'{"email": "ann@example.com"', "application/json", 400, "parse-error"),
        (b'{"email": "\xff@example.com"}', "application/json", 400, "parse-error"),
        (b'{"email": NaN}', "application/json", 400, "parse-error"),
        (b"[" * 30_000, "application/json", 400, "parse-error"),
        (b'{"email": "ann@example.com"}', "text/plain", 415, "unsupported-media-type"),
        (b" " * 70_000, "application/json", 413, "request-too-large"),
    ],
    ids=["a form", "half", "no UTF-8", "NaN", "deep", "another type", "too large"],
)
def test_a_body_that_is_no_json_is_refused_as_everywhere(
    built: Built, body: bytes, content_type: str, status: int, code: str
) -> None:
    refused(built.post(RESEND, data=body, content_type=content_type), status, code)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        '"ann@example.com"',
        "17",
        r'{"email": "ann\u0000@example.com"}',
        r'{"email": "ann\ud800@example.com"}',
        r'{"email": "ann@example.com\u0000"}',
        r'{"\u0000": 1, "email": "ann@example.com"}',
        '{"email": ' + "[" * 70 + "]" * 70 + "}",
        '{"email": 1e400}',
        '{"email": ' + "9" * 5000 + "}",
        r'{"email": "ann@\u202eexample.com"}',
        json.dumps({"email": "ann@" + "ﷺ" * 60 + ".example"}),
        json.dumps({"email": "' OR 1=1 --@example.com"}),
        json.dumps({"email": "ann@xn--.example"}),
    ],
)
def test_a_hostile_body_is_refused_and_leaves_no_row(built: Built, smtp: RecordingServer, body: str) -> None:
    answer = built.post(RESEND, data=body.encode(), content_type="application/json")
    assert is_proper(answer), answer.text
    assert answer.status_code == 400, answer.text
    assert (built.pending_rows(), smtp.conversations) == ([], [])


# One answer for everybody


def test_every_address_gets_one_and_the_same_answer(ann: Built, smtp: RecordingServer, clock: Clock) -> None:
    add(ann, "verified", email_verified_at=at(clock.time))
    add(ann, "made-by-hand")
    answers = set()
    for name in ("ann", "ann", "nobody", "nobody", "verified", "verified", "made-by-hand", "made-by-hand"):
        answer = ask(ann, f"{name}@example.com")
        assert answer.headers["Cache-Control"] == "no-store"
        answers.add((answer.status, answer.data, tuple(sorted(answer.headers.items()))))
    assert len(answers) == 1
    assert [envelope.recipients for envelope in smtp.envelopes] == [[ANN], ["made-by-hand@example.com"]]


def test_an_account_made_by_hand_gets_a_link_that_works(built: Built, smtp: RecordingServer) -> None:
    add(built, "ann")
    ask(built)
    assert built.verify(link_in(smtp.message)).get_json() == SUCCESS


def test_a_verified_account_gets_nothing_until_its_flag_is_cleared(
    ann: Built, smtp: RecordingServer, clock: Clock
) -> None:
    change(ann, ann.User, email_verified_at=at(0))
    ask(ann)
    assert smtp.messages == []
    change(ann, ann.User, email_verified_at=None)
    clock.move(MINUTE)
    ask(ann)
    assert smtp.message["To"] == ANN


def test_an_unknown_address_gets_nothing_and_the_row_is_the_same(ann: Built, smtp: RecordingServer) -> None:
    ask(ann)
    ask(ann, NOBODY)
    known, unknown = ann.pending_rows()
    assert [{**row, "id": 0, "email": ""} for row in (known,)] == [{**unknown, "id": 0, "email": ""}]
    assert [envelope.recipients for envelope in smtp.envelopes] == [[ANN]]


def test_the_mail_server_is_connected_to_for_every_due_mail(ann: Built, smtp: RecordingServer, clock: Clock) -> None:
    add(ann, "verified", email_verified_at=at(clock.time))
    for name in ("ann", "nobody", "verified"):
        ask(ann, f"{name}@example.com")
    assert smtp.conversations == [["EHLO", "MAIL", "RCPT", "DATA", "QUIT"], ["EHLO", "QUIT"], ["EHLO", "QUIT"]]


# The link


def test_the_fresh_link_and_the_earlier_ones_all_work(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    built.register()
    for wait in (0, MINUTE, 2 * MINUTE):
        clock.move(wait)
        ask(built)
    links = [values_of(link_in(message)) for message in smtp.messages]
    assert len(links) == 4
    for values in links:
        change(built, built.User, email_verified_at=None)
        assert built.verify(values).get_json() == SUCCESS
        assert built.row()["email_verified_at"] == at(clock.time)


def test_each_link_expires_by_its_own_time(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    built.register()
    clock.move(DAY)
    ask(built)
    first, second = (values_of(link_in(message)) for message in smtp.messages)
    clock.move(6 * DAY)
    assert built.verify(first).get_json() == SUCCESS
    clock.move(1)
    refused(built.verify(first), 400, "signature-expired")
    change(built, built.User, email_verified_at=None)
    assert built.verify(second).get_json() == SUCCESS
    clock.move(DAY)
    refused(built.verify(second), 400, "signature-expired")


@pytest.mark.parametrize("age", [WEEK + 1, 10 * WEEK])
def test_an_account_whose_link_has_expired_gets_one_that_works(
    built: Built, smtp: RecordingServer, clock: Clock, age: int
) -> None:
    built.register()
    clock.move(age)
    refused(built.verify(link_in(smtp.messages.pop())), 400, "signature-expired")
    ask(built)
    clock.move(WEEK)
    assert built.verify(link_in(smtp.message)).get_json() == SUCCESS


def test_the_mail_is_the_one_of_the_sign_up_but_for_link_and_time(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    built.register()
    clock.move(DAY)
    ask(built)

    def neutral(message: EmailMessage, day: int) -> list[str]:
        link, date = link_in(message), f"2023-11-{day}"
        parts = [text_of(message), html_of(message).replace("&amp;", "&")]
        assert [(link in part, date in part) for part in parts] == [(True, True)] * 2
        return [str(message["Subject"]), *(part.replace(link, "LINK").replace(date, "DATE") for part in parts)]

    first, second = smtp.messages
    assert neutral(first, 21) == neutral(second, 22)


def test_a_link_of_the_pending_row_is_no_link_of_the_account(ann: Built, smtp: RecordingServer) -> None:
    ask(ann)
    with ann.app.app_context():
        model: Any = ann.Pending
        row = ann.db.session.scalars(sa.select(model)).one()
        values = RegisterSigner.for_user(row).get_signed_data()
    refused(ann.verify(values), 400, "signature-invalid")
    refused(ann.verify({**values, "user_id": str(ann.row()["id"])}), 400, "signature-invalid")
    assert ann.row()["email_verified_at"] is None


@pytest.mark.parametrize("spelling", ["Ann@EXAMPLE.com", "ANN@example.com", "ann@ExAmPlE.cOm"])
def test_an_address_that_is_spelled_otherwise_is_found(ann: Built, smtp: RecordingServer, spelling: str) -> None:
    ask(ann, spelling)
    ask(ann)
    assert [envelope.recipients for envelope in smtp.envelopes] == [[ANN]]
    assert ann.pending_row()["email"] == ANN


@pytest.mark.parametrize("spelling", ["ann@bücher.example", "ann@xn--bcher-kva.example", "ANN@BÜCHER.EXAMPLE"])
def test_a_domain_outside_ascii_is_found_in_every_spelling(built: Built, smtp: RecordingServer, spelling: str) -> None:
    built.register(email="ann@bücher.example")
    ask(built, spelling)
    assert [envelope.recipients for envelope in smtp.envelopes] == [["ann@xn--bcher-kva.example"]] * 2
    assert built.pending_row()["email"] == "ann@xn--bcher-kva.example"


def test_no_mail_goes_to_an_address_that_the_database_takes_for_the_same(built: Built, smtp: RecordingServer) -> None:
    built.register(email="ann@gmail.example")
    smtp.envelopes.clear()
    ask(built, "ann@gmàil.example")
    assert smtp.envelopes == []
    ask(built, "ann@gmail.example")
    assert [envelope.recipients for envelope in smtp.envelopes] == [["ann@gmail.example"]]


def test_a_boolean_flag_that_is_null_is_unset(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    model = models.declared(email_verified_at=None, is_verified=mapped_column(sa.Boolean))
    built = build(model, pending=True, registration=ON)
    built.register()
    change(built, built.User, is_verified=None)
    ask(built)
    assert built.verify(link_in(smtp.messages[-1])).get_json() == SUCCESS
    assert built.row()["is_verified"] is True
    clock.move(MINUTE)
    ask(built)
    assert len(smtp.messages) == 2


class AsciiOnly(sa.TypeDecorator[str]):
    """A column in a character set that does not have every letter."""

    impl = sa.String(254)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        if value is not None:
            value.encode("ascii")
        return value


def test_an_address_that_the_users_column_cannot_hold_is_an_unknown_one(build: Builder, smtp: RecordingServer) -> None:
    model = models.declared(email=mapped_column(AsciiOnly, unique=True, nullable=False))
    built = build(model, pending=True, registration=ON)
    ask(built, "ann@bücher.example")
    assert smtp.conversations == [["EHLO", "QUIT"]]


def test_no_signal_is_sent(ann: Built, smtp: RecordingServer) -> None:
    calls: list[str] = []

    def keep(sender: Flask, **_: object) -> None:
        calls.append("called")

    with user_registered.connected_to(keep), user_activated.connected_to(keep):
        ask(ann)
    assert (calls, len(smtp.messages)) == ([], 1)


# The cooldown


def minutes_of_mails(built: Built, clock: Clock, mails: int) -> list[int]:
    """Ask so often that each mail comes as early as it can; return after how many minutes each came."""
    start, minutes = clock.time, list[int]()
    for _ in range(mails):
        ask(built)
        row = counts(built)
        assert row["sent_at"] == clock.time, "a mail that was due did not come"
        minutes.append((clock.time - start) // MINUTE)
        clock.time = row["next_mail_at"] - 1
        ask(built)
        assert counts(built) == row, "a mail that was not due came"
        clock.move(1)
    return minutes


def test_the_cooldown_doubles_from_a_minute_to_twelve_hours(ann: Built, smtp: RecordingServer, clock: Clock) -> None:
    minutes = minutes_of_mails(ann, clock, 17)
    assert minutes[:11] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023]
    assert minutes[11:] == [1023 + 720 * number for number in range(1, 7)]
    assert len(smtp.messages) == 17
    days = [minute // (24 * 60) for minute in minutes]
    assert [days.count(day) for day in range(4)] == [11, 2, 2, 2]


def test_the_cooldown_is_the_same_for_an_unknown_address(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    assert minutes_of_mails_to(built, clock, NOBODY) == minutes_of_mails_to(built, clock, "bob@example.com")
    assert smtp.messages == []


def minutes_of_mails_to(built: Built, clock: Clock, address: str) -> list[int]:
    sent: list[int] = []
    start = clock.time
    for minute in range(130):
        clock.time = start + minute * MINUTE
        ask(built, address)
        (row,) = (row for row in built.pending_rows() if row["email"] == address)
        sent += [minute] if row["sent_at"] == clock.time else []
    assert sent == [0, 1, 3, 7, 15, 31, 63, 127]
    return sent


@pytest.mark.parametrize(
    ("cooldown", "waits"),
    [
        (1, [1, 2, 4, 8]),
        (timedelta(milliseconds=500), [1, 2, 4, 8]),
        (10 * MINUTE, [600, 1200, 2400, 4800]),
        (5 * HOUR, [18000, 36000, 43200, 43200]),
        (12 * HOUR, [43200, 43200, 43200]),
    ],
)
def test_the_first_cooldown_is_the_settings(build: Builder, clock: Clock, cooldown: int, waits: list[int]) -> None:
    built = build(pending=True, registration={**ON, "REGISTER_VERIFICATION_RESEND_COOLDOWN": cooldown})
    found = []
    for _ in waits:
        ask(built)
        row = counts(built)
        found.append(row["next_mail_at"] - row["sent_at"])
        clock.time = row["next_mail_at"]
    assert found == waits


def test_after_very_many_mails_in_a_row_the_cooldown_is_twelve_hours(ann: Built, clock: Clock) -> None:
    ask(ann)
    change(ann, ann.Pending, mails=1_000_000, next_mail_at=0)
    ask(ann)
    assert counts(ann) == {
        "sent_at": clock.time,
        "mails": 1_000_001,
        "next_mail_at": clock.time + 12 * HOUR,
        "code_attempts": 0,
    }


@pytest.mark.parametrize(("period", "longer"), [(HOUR, DAY), (DAY, DAY), (WEEK, WEEK)], ids=["hour", "day", "week"])
def test_a_row_starts_anew_after_the_longer_of_period_and_a_day(
    build: Builder, clock: Clock, period: int, longer: int
) -> None:
    built = build(pending=True, registration={**ON, "REGISTER_VERIFICATION_PERIOD": period})
    minutes_of_mails(built, clock, 5)
    last = counts(built)["sent_at"]
    clock.time = last + longer
    ask(built)
    assert counts(built)["mails"] == 6
    clock.move(longer + 1)
    ask(built)
    fresh = {"sent_at": clock.time, "mails": 1, "next_mail_at": clock.time + MINUTE, "code_attempts": 0}
    assert counts(built) == fresh


@pytest.mark.parametrize("seconds", [1, HOUR, 10 * WEEK])
def test_a_clock_that_went_back_keeps_nobody_from_a_mail(
    again: Built, smtp: RecordingServer, clock: Clock, seconds: int
) -> None:
    row = again.pending_row()
    clock.time = row["sent_at"] - seconds
    ask(again)
    assert counts(again) == {
        "sent_at": clock.time,
        "mails": 2,
        "next_mail_at": clock.time + 2 * MINUTE,
        "code_attempts": 0,
    }
    assert values_of(link_in(smtp.message))["timestamp"] == str(clock.time)
    ask(again)
    assert len(smtp.messages) == 1


def test_in_the_second_of_the_mail_no_other_one_is_due(again: Built, smtp: RecordingServer, clock: Clock) -> None:
    clock.time = again.pending_row()["sent_at"]
    ask(again)
    assert smtp.conversations == []


def test_a_clock_that_was_years_ahead_is_forgotten_by_the_next_mail(ann: Built, clock: Clock) -> None:
    clock.move(1000 * WEEK)
    ask(ann)
    clock.move(-1000 * WEEK)
    ask(ann)
    clock.move(2 * MINUTE)
    ask(ann)
    assert counts(ann)["mails"] == 3


# Statements


@pytest.mark.parametrize("address", [ANN, NOBODY, "verified@example.com"])
def test_not_due_is_one_statement_and_no_connection_to_the_mail_server(
    ann: Built, smtp: RecordingServer, clock: Clock, address: str
) -> None:
    add(ann, "verified", email_verified_at=at(clock.time))
    ask(ann, address)
    smtp.conversations.clear()
    with recorded(ann.engine) as statements:
        ask(ann, address)
    assert statements.queries == ["SELECT"]
    assert TABLE in statements.sql[statements.kinds.index("SELECT")]
    assert smtp.conversations == []


@pytest.mark.parametrize("address", [ANN, NOBODY, "verified@example.com"])
def test_due_is_three_statements_each_in_a_transaction_of_its_own(ann: Built, clock: Clock, address: str) -> None:
    add(ann, "verified", email_verified_at=at(clock.time))
    for statement in ("INSERT", "UPDATE"):
        with recorded(ann.engine) as statements:
            ask(ann, address)
        assert statements.kinds == [
            "BEGIN",
            "SELECT",
            "COMMIT",
            "BEGIN",
            statement,
            "COMMIT",
            "BEGIN",
            "SELECT",
            "COMMIT",
        ]
        clock.move(MINUTE)


def test_no_transaction_is_open_while_the_mail_is_on_its_way(ann: Built, smtp: RecordingServer) -> None:
    held: list[str] = []

    def write() -> None:
        held.append(ann.engine.pool.status())
        ann.execute_outside("UPDATE user SET username = 'other'")
        ann.execute_outside(f"UPDATE {TABLE} SET code_attempts = 4")

    smtp.on_text = write
    ask(ann)
    assert (ann.row()["username"], counts(ann)["code_attempts"]) == ("other", 4)
    assert len(held) == 1
    assert "Current Checked out connections: 0" in held[0]


def test_no_transaction_is_open_while_the_mail_server_is_silent(build: Builder, ann: Built) -> None:
    with SilentServer() as silent:
        built = with_settings(build, ann, mail=silent, VERIFICATION_EMAIL_TIMEOUT=1)
        held: list[str] = []
        original = silent.misbehave

        async def look(writer: Any) -> None:
            held.append(built.engine.pool.status())
            await original(writer)

        silent.misbehave = look  # type: ignore[method-assign]
        refused(built.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert ["Current Checked out connections: 0" in each for each in held] == [True]


def test_sign_up_and_activation_never_touch_the_pending_table(built: Built, smtp: RecordingServer) -> None:
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
        assert statements.queries == ["INSERT"]
        statements.clear()
        assert built.verify(link_in(smtp.message)).get_json() == SUCCESS
        assert statements.queries == ["SELECT", "UPDATE"]
        statements.clear()
        assert built.register().status_code == 400
        assert [sql for sql in statements.sql if TABLE in sql] == []
    assert built.pending_rows() == []


def test_sign_up_and_activation_work_where_the_pending_table_is_missing(ann: Built, smtp: RecordingServer) -> None:
    ann.execute_outside(f"DROP TABLE {TABLE}")
    assert ann.register(email="bob@example.com", username="bob").status_code == 201
    assert ann.verify(link_in(smtp.message)).get_json() == SUCCESS


# At the same time


@pytest.mark.parametrize("variant", WITH_TRANSACTIONS_OF_THEIR_OWN)
@pytest.mark.parametrize("has_row", [False, True], ids=["first mail", "further mail"])
def test_of_sixteen_requests_at_once_one_sends(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, has_row: bool
) -> None:
    built = build_variant(build, variant, pending=True, registration=ON)
    add(built, "ann")
    if has_row:
        ask(built)
        clock.move(MINUTE)
        smtp.messages.clear()
    outcome = at_once(16, lambda _: built.post(RESEND, {"email": ANN}))
    assert outcome.errors == []
    assert [(answer.status_code, answer.get_json()) for answer in outcome.results] == [(202, SENT)] * 16
    assert smtp.message["To"] == ANN
    assert counts(built)["mails"] == 1 + has_row


def insert_outside(built: Built, clock: Clock) -> Callable[[], object]:
    """Make somebody who is faster with the row of Ann's address."""

    def insert() -> None:
        row_id = uuid.uuid4()
        built.execute_outside(
            f"INSERT INTO {TABLE} (id, email, sent_at, mails, next_mail_at, code_attempts)"
            f" VALUES ('{row_id.hex if ON_SQLITE else row_id}', '{ANN}', {clock.time}, 1, {clock.time + MINUTE}, 0)"
        )

    return insert


def delete_outside(built: Built) -> Callable[[], object]:
    return lambda: built.execute_outside(f"DELETE FROM {TABLE}")


def test_an_insert_that_somebody_else_was_faster_with_sends_nothing(
    ann: Built, smtp: RecordingServer, clock: Clock
) -> None:
    with before_statements(ann, ("INSERT", insert_outside(ann, clock))):
        ask(ann)
    assert smtp.conversations == []
    assert counts(ann)["mails"] == 1


def test_a_row_that_came_and_went_meanwhile_is_made_by_the_second_try(
    ann: Built, smtp: RecordingServer, clock: Clock
) -> None:
    with before_statements(ann, ("INSERT", insert_outside(ann, clock)), ("SELECT", delete_outside(ann))):
        ask(ann)
    assert smtp.message["To"] == ANN
    assert counts(ann)["sent_at"] == clock.time


@pytest.mark.parametrize("changed", ["next_mail_at = next_mail_at + 120", "sent_at = sent_at + 60"])
def test_an_update_that_somebody_else_was_faster_with_sends_nothing(
    again: Built, smtp: RecordingServer, changed: str
) -> None:
    def send_elsewhere() -> None:
        again.execute_outside(f"UPDATE {TABLE} SET {changed}")

    before = counts(again)
    with before_statements(again, ("UPDATE", send_elsewhere)):
        ask(again)
    assert smtp.conversations == []
    assert counts(again)["mails"] == before["mails"]


@pytest.mark.parametrize("action", ["verified", "deleted"])
def test_what_became_of_the_account_is_asked_after_the_row_is_noted(
    again: Built, smtp: RecordingServer, action: str
) -> None:
    def act() -> None:
        if action == "deleted":
            again.execute_outside("DELETE FROM user")
        else:
            again.execute_outside("UPDATE user SET email_verified_at = '2023-11-14 00:00:00'")

    with before_statements(again, ("UPDATE", act)):
        ask(again)
    assert smtp.conversations == [["EHLO", "QUIT"]]


# Rows that the database refuses


def with_region(db: SQLAlchemy) -> type[Any]:
    """What a migration of somebody else's made of the table."""

    class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
        region: Mapped[str] = mapped_column(sa.String(20))

    user = models.typed(db)
    user.pending = PendingRegistration
    return user


def test_a_column_added_behind_our_back_is_the_applications_own_error_each_time(
    build: Builder, smtp: RecordingServer
) -> None:
    migrated = build(with_region)
    add(migrated, "ann")
    built = with_settings(build, migrated)
    for _ in range(2):
        with pytest.raises(RestRegistrationError, match=f"a pending registration was refused: {DRIVER}"):
            built.post(RESEND, {"email": ANN})
    built.app.config.update(TESTING=False)
    assert built.post(RESEND, {"email": ANN}).status_code == 500
    assert smtp.conversations == []


def test_a_missing_pending_table_is_the_applications_own_error(ann: Built, smtp: RecordingServer) -> None:
    ann.execute_outside(f"DROP TABLE {TABLE}")
    with pytest.raises(RestRegistrationError, match=DRIVER):
        ann.post(RESEND, {"email": ANN})
    assert smtp.conversations == []


def test_a_missing_table_of_users_is_the_applications_own_error(ann: Built, smtp: RecordingServer) -> None:
    ann.execute_outside("DROP TABLE user")
    for _ in range(2):
        with pytest.raises(RestRegistrationError, match=DRIVER):
            ann.post(RESEND, {"email": ANN})
    assert (counts(ann)["mails"], smtp.messages) == (0, [])


# Mails that fail


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the app's log; the test's own mail server has a log too."""
    return [record.getMessage() for record in caplog.records if record.name == "app_under_test"]


def lock_pending(other: Outside) -> None:
    """Let nobody else write to the pending registrations."""
    sql = {
        "sqlite": ["BEGIN IMMEDIATE"],
        "postgresql": ["BEGIN", f"LOCK TABLE {TABLE}"],
        "mariadb": [f"LOCK TABLES {TABLE} WRITE"],
    }
    for statement in sql[CHOSEN]:
        other.execute(statement)
    other.is_locking = True


def reply(smtp: RecordingServer, replies: dict[str, str]) -> None:
    for name in ("rcpt_reply", "mail_reply", "text_reply"):
        setattr(smtp, name, replies.get(name))


def test_a_refused_recipient_is_a_field_error_and_the_address_can_be_tried_again(
    ann: Built, smtp: RecordingServer
) -> None:
    reply(smtp, {"rcpt_reply": "550 5.1.1 no such user"})
    for _ in range(2):
        assert field_errors(ann.post(RESEND, {"email": ANN})) == REFUSED
    assert counts(ann)["mails"] == 0
    ask(ann, NOBODY)  # nobody is sent a mail, so that nobody is refused
    reply(smtp, {})
    ask(ann)
    assert smtp.message["To"] == ANN


@pytest.mark.parametrize("replies", OURS_TO_BLAME, ids=lambda each: next(iter(each.values())))
def test_a_mail_that_fails_is_503_and_the_same_request_can_be_repeated(
    ann: Built, smtp: RecordingServer, replies: dict[str, str]
) -> None:
    reply(smtp, replies)
    for _ in range(2):
        refused(ann.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    reply(smtp, {})
    ask(ann)
    assert ann.verify(link_in(smtp.message)).get_json() == SUCCESS


def test_a_new_row_is_put_back_so_that_the_next_mail_is_its_first(
    ann: Built, smtp: RecordingServer, clock: Clock
) -> None:
    reply(smtp, {"text_reply": "554 5.7.1 spam"})
    ann.post(RESEND, {"email": ANN})
    assert counts(ann) == {"sent_at": clock.time, "mails": 0, "next_mail_at": 0, "code_attempts": 0}
    reply(smtp, {})
    ask(ann)
    assert counts(ann) == {
        "sent_at": clock.time,
        "mails": 1,
        "next_mail_at": clock.time + MINUTE,
        "code_attempts": 0,
    }


@pytest.mark.parametrize("replies", [*OURS_TO_BLAME, {"rcpt_reply": "550 5.1.1 no such user"}], ids=str)
def test_an_old_row_is_put_back_as_it_was(again: Built, smtp: RecordingServer, replies: dict[str, str]) -> None:
    change(again, again.Pending, code_attempts=3)
    before = again.pending_row()
    reply(smtp, replies)
    assert again.post(RESEND, {"email": ANN}).status_code in {400, 503}
    assert again.pending_row() == before
    reply(smtp, {})
    ask(again)
    assert counts(again)["mails"] == 2


def test_an_unreachable_server_is_503_for_everybody_whose_mail_is_due(
    build: Builder, again: Built, clock: Clock
) -> None:
    add(again, "verified", email_verified_at=at(clock.time))
    add(again, "cooling-down")
    ask(again, "cooling-down@example.com")
    with RecordingServer() as down:
        pass
    built, answers = with_settings(build, again, mail=down), set()
    for _ in range(2):
        for address in (ANN, NOBODY, "verified@example.com"):
            answer = built.post(RESEND, {"email": address})
            refused(answer, 503, "email-not-sent")
            answers.add((answer.data, tuple(sorted(answer.headers.items()))))
    assert len(answers) == 1
    ask(built, "cooling-down@example.com")


def test_a_mail_that_was_not_accepted_and_came_all_the_same_has_a_link_that_works(build: Builder, again: Built) -> None:
    links: list[dict[str, str]] = []

    def send_and_fail(request: object, user: Any) -> None:
        links.append(RegisterSigner.for_user(user).get_signed_data())
        raise TimeoutError

    built = with_sender(build, again, send_and_fail)
    refused(built.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert built.verify(links[0]).get_json() == SUCCESS


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit], ids=lambda each: each.__name__)
@pytest.mark.parametrize("has_row", [False, True], ids=["new row", "old row"])
def test_a_signal_that_ends_the_worker_puts_the_row_back(
    build: Builder, ann: Built, smtp: RecordingServer, clock: Clock, error: type[BaseException], has_row: bool
) -> None:
    def end(request: object, user: object) -> None:
        raise error

    if has_row:
        ask(ann)
        clock.move(MINUTE)
    before = ann.pending_rows()
    ending = with_sender(build, ann, end)
    with pytest.raises(error):
        ending.post(RESEND, {"email": ANN})
    assert ann.pending_rows() == before if has_row else counts(ann)["next_mail_at"] == 0
    smtp.messages.clear()
    ask(ann)
    assert smtp.message["To"] == ANN


def test_a_signal_after_the_mail_is_out_leaves_the_cooldown(
    ann: Built, smtp: RecordingServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(connection: smtplib.SMTP) -> None:
        connection.close()
        raise KeyboardInterrupt

    with monkeypatch.context() as ending:
        ending.setattr(smtplib.SMTP, "quit", end)
        with pytest.raises(KeyboardInterrupt):
            ann.post(RESEND, {"email": ANN})
    assert counts(ann)["next_mail_at"] == clock.time + MINUTE
    ask(ann)
    assert ann.verify(link_in(smtp.message)).get_json() == SUCCESS


@pytest.mark.parametrize("start", ["SELECT pending", "SELECT user", "UPDATE"])
def test_a_statement_that_meets_a_conflict_is_tried_again(again: Built, smtp: RecordingServer, start: str) -> None:
    with conflicts_at(again, *[start] * 3):
        ask(again)
    assert smtp.message["To"] == ANN
    assert counts(again)["mails"] == 2


def test_an_insert_that_meets_a_conflict_is_tried_again(ann: Built, smtp: RecordingServer) -> None:
    with conflicts_at(ann, "INSERT"):
        ask(ann)
    assert smtp.message["To"] == ANN
    assert counts(ann)["mails"] == 1


def test_the_hot_row_is_written_up_to_eight_times_again(again: Built, smtp: RecordingServer) -> None:
    before = again.pending_row()
    with conflicts_at(again, *["UPDATE"] * 9):
        refused(again.post(RESEND, {"email": ANN}), 503, "database-unavailable")
    assert (again.pending_row(), smtp.conversations) == (before, [])
    with conflicts_at(again, *["UPDATE"] * 8):
        ask(again)
    assert smtp.message["To"] == ANN


def test_a_look_up_of_the_account_that_keeps_failing_puts_the_row_back(again: Built, smtp: RecordingServer) -> None:
    before = again.pending_row()
    with conflicts_at(again, *["SELECT user"] * 4):
        refused(again.post(RESEND, {"email": ANN}), 503, "database-unavailable")
    assert (again.pending_row(), smtp.conversations) == (before, [])


def test_a_conflict_does_not_keep_the_row_from_being_put_back(again: Built, smtp: RecordingServer) -> None:
    before, sent = again.pending_row(), list[str]()

    def execute(cursor: object, statement: str, parameters: object, context: object) -> None:
        if statement.startswith("UPDATE"):
            sent.append(statement)
            if 2 <= len(sent) <= 9:
                raise conflict()

    event.listen(again.engine, "do_execute", execute)
    reply(smtp, {"text_reply": "554 5.7.1 spam"})
    refused(again.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert (again.pending_row(), len(sent)) == (before, 10)


def test_a_row_that_cannot_be_put_back_is_logged_beside_the_mails_own_answer(
    build: Builder, again: Built, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built, before = with_settings(build, again, config=impatient()), again.pending_row()
    reply(smtp, {"text_reply": "554 5.7.1 spam"})
    with built.outside() as other:
        smtp.on_text = lambda: lock_pending(other)
        refused(built.post(RESEND, {"email": ANN}), 503, "email-not-sent")
        other.unlock()
    (text,) = [each for each in ours(caplog) if "put back" in each]
    assert text.startswith(f"A message was not sent, and its row could not be put back: {DRIVER}")
    assert ANN not in text
    assert again.pending_row()["sent_at"] > before["sent_at"]


def test_only_ones_own_mail_is_put_back(again: Built, smtp: RecordingServer) -> None:
    def send_elsewhere() -> None:
        again.execute_outside(f"UPDATE {TABLE} SET sent_at = sent_at + 1, mails = 7, next_mail_at = 8")

    smtp.on_text = send_elsewhere
    reply(smtp, {"text_reply": "554 5.7.1 spam"})
    refused(again.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert (counts(again)["mails"], counts(again)["next_mail_at"]) == (7, 8)


@pytest.mark.only_on("sqlite")
def test_a_database_that_is_out_of_reach_is_503_for_everybody(build: Builder, smtp: RecordingServer) -> None:
    built = build(pending=True, database_uri="sqlite:////nowhere/at/all.db", registration=ON, tables=False)
    for address in (ANN, NOBODY):
        refused(built.post(RESEND, {"email": address}), 503, "database-unavailable")
    assert smtp.conversations == []


# Senders of one's own


def test_a_sender_of_ones_own_is_called_once_with_request_and_account(
    build: Builder, ann: Built, smtp: RecordingServer, clock: Clock
) -> None:
    calls: list[tuple[object, ...]] = []

    def keep(request: Any, user: Any) -> None:
        timestamp = RegisterSigner.for_user(user).get_signed_data()["timestamp"]
        calls.append((request.path, type(user), user.email, timestamp))

    built = with_sender(build, ann, keep)
    with recorded(built.engine) as statements:
        for address in (ANN, ANN, NOBODY):
            ask(built, address)
    assert calls == [(f"{built.url_prefix}/{RESEND}", built.User, ANN, str(clock.time))]
    assert statements.queries == ["SELECT", "INSERT", "SELECT", "SELECT", "SELECT", "INSERT", "SELECT"]
    assert smtp.conversations == []


@pytest.mark.parametrize(
    "error",
    [EmailNotSent("over quota"), LookupError(f"no mail for {ANN}"), OSError("no network"), ZeroDivisionError()],
    ids=lambda error: type(error).__name__,
)
def test_a_sender_of_ones_own_that_raises_is_503_and_puts_the_row_back(
    build: Builder, again: Built, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(request: object, user: object) -> None:
        raise error

    built, before = with_sender(build, again, fail), again.pending_row()
    refused(built.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert built.pending_row() == before
    ask(built, NOBODY)
    assert ANN not in "".join(ours(caplog))


def test_a_sender_of_ones_own_whose_recipient_is_refused_is_a_field_error(build: Builder, again: Built) -> None:
    def fail(request: object, user: object) -> None:
        raise smtplib.SMTPRecipientsRefused({ANN: (550, b"5.1.1 no such user")})

    built, before = with_sender(build, again, fail), again.pending_row()
    assert field_errors(built.post(RESEND, {"email": ANN})) == REFUSED
    assert built.pending_row() == before


def test_a_sender_that_is_set_up_wrongly_is_told_and_the_row_is_put_back(build: Builder, again: Built) -> None:
    def fail(request: object, user: object) -> None:
        raise ConfigurationError("no key")

    built, before = with_sender(build, again, fail), again.pending_row()
    with pytest.raises(ConfigurationError, match="no key"):
        built.post(RESEND, {"email": ANN})
    assert built.pending_row() == before


def test_a_sender_that_sends_the_default_mail_sends_it_again(
    build: Builder, ann: Built, smtp: RecordingServer, clock: Clock
) -> None:
    ask(with_sender(build, ann, lambda request, user: send_register_verification_email_notification(request, user)))
    assert values_of(link_in(smtp.message))["timestamp"] == str(clock.time)


def test_what_a_failing_sender_left_open_is_rolled_back(build: Builder, again: Built) -> None:
    def fail(request: object, user: Any) -> None:
        user.username = "half done"
        built.db.session.flush()
        raise LookupError

    built, before = with_sender(build, again, fail), again.row()
    refused(built.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert built.row() == before


def with_outbox(db: SQLAlchemy) -> type[Any]:
    """The usual model, and a table of mails that another process sends, each link once."""
    user = models.typed(db)

    class Outbox(db.Model):  # type: ignore[misc,name-defined]
        link: Mapped[str] = mapped_column(sa.String(500), primary_key=True)

    user.outbox = Outbox
    return user


def outbox_of(built: Built) -> list[str]:
    with built.app.app_context():
        return [row.link for row in built.db.session.scalars(sa.select(built.User.outbox))]


def with_queue(build: Builder, make_row: Callable[[Any], str]) -> Built:
    def queue(request: object, user: Any) -> None:
        built.db.session.add(built.User.outbox(link=make_row(user)))

    settings = {**ON, "REGISTER_VERIFICATION_EMAIL_SENDER": queue}
    built: Built = build(with_outbox, pending=True, registration=settings)
    assert built.register().status_code == 201
    assert len(outbox_of(built)) == 1
    return built


def test_what_a_sender_writes_is_committed_as_at_a_sign_up(build: Builder, clock: Clock) -> None:
    built = with_queue(build, lambda user: RegisterSigner.for_user(user).get_url())
    clock.move(MINUTE)
    ask(built)
    links = outbox_of(built)
    assert len({values_of(link)["timestamp"] for link in links}) == 2
    assert [built.verify(link).status_code for link in links] == [200, 200]


def test_rows_of_a_sender_that_the_database_refuses_are_a_mail_that_failed(
    build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    built = with_queue(build, lambda user: "always the same")
    for _ in range(2):
        refused(built.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert (outbox_of(built), counts(built)["mails"]) == (["always the same"], 0)
    texts = ours(caplog)
    assert len(texts) == 2
    assert all(f"what the sender wrote was refused, {DRIVER}" in text for text in texts), texts
    assert "always the same" not in "".join(texts)


# What the application left pending


def with_notes(build: Builder, note: Callable[[Built], object], **options: Any) -> Built:
    """Build an app that leaves something pending in the session before each request."""
    built: Built = build(with_outbox, pending=True, registration=ON, **options)
    add(built, "ann")

    @built.app.before_request
    def leave_it() -> None:
        note(built)

    return built


def leave_pending(built: Built) -> None:
    built.db.session.add(built.User.outbox(link=f"note {len(outbox_of(built))}"))


def test_what_was_left_pending_goes_with_the_first_commit_before_the_mail(
    build: Builder, smtp: RecordingServer
) -> None:
    built = with_notes(build, leave_pending)
    seen: list[list[str]] = []
    smtp.on_text = lambda: seen.append(outbox_of(built))
    reply(smtp, {"text_reply": "554 5.7.1 spam"})
    with recorded(built.engine) as statements:
        refused(built.post(RESEND, {"email": ANN}), 503, "email-not-sent")
    assert seen == [["note 0"]]
    assert outbox_of(built) == ["note 0"]
    ours_alone = [*zip(statements.kinds, statements.sql, strict=True)]
    first_commit = next(number for number, (kind, sql) in enumerate(ours_alone) if "outbox" in sql and kind == "INSERT")
    assert "COMMIT" in statements.kinds[first_commit : first_commit + 3]


def test_what_was_left_pending_goes_also_when_no_mail_is_due(build: Builder) -> None:
    built = with_notes(build, leave_pending)
    for _ in range(2):
        ask(built)
    assert outbox_of(built) == ["note 0", "note 1"]


def test_a_pending_row_of_the_applications_that_is_refused_is_its_own_error(
    build: Builder, smtp: RecordingServer
) -> None:
    def leave_the_same(built: Built) -> None:
        built.db.session.add(built.User.outbox(link="always the same"))

    built = with_notes(build, leave_the_same)
    ask(built)
    smtp.conversations.clear()
    before = built.pending_row()
    with pytest.raises(sa.exc.IntegrityError):
        built.post(RESEND, {"email": NOBODY})
    assert (built.pending_rows(), smtp.conversations) == ([before], [])


# What the log tells


def test_nothing_of_an_address_or_a_link_reaches_the_log(
    build: Builder, ann: Built, smtp: RecordingServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for address in (ANN, ANN, NOBODY, "ann@", "Ann@Example.com"):
            ann.post(RESEND, {"email": address})
        for replies in [*OURS_TO_BLAME, {"rcpt_reply": f"550 5.1.1 {ANN} unknown"}]:
            clock.move(HOUR)
            reply(smtp, replies)
            ann.post(RESEND, {"email": ANN})
        with RecordingServer() as down:
            pass
        with_settings(build, ann, mail=down).post(RESEND, {"email": ANN})
    lines = ours(caplog)
    link = values_of(link_in(smtp.message))
    secrets = ("ann@", "nobody", "example.com", "signature=", *(link[name] for name in ("timestamp", "signature")))
    assert [line for line in lines if any(secret in line.lower() for secret in secrets)] == []
    assert [line.partition(":")[0] for line in lines] == [
        *["email-not-sent"] * 4,
        "A message was not sent",
        "email-not-sent",
    ]


def with_orders(db: SQLAlchemy) -> type[Any]:
    """A user model whose orders each SELECT of an account loads."""

    class Order(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))

    user = models.typed(db)
    user.orders = relationship(Order, lazy="selectin")
    return user


def test_a_verified_account_costs_no_more_statements_than_an_unknown_address(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(with_orders, pending=True, registration=ON)
    add(built, "ann", email_verified_at=at(clock.time))
    ask(built, NOBODY)  # whose statements are the first of the app
    sent = []
    for address in (ANN, "somebody@example.com"):
        with recorded(built.engine) as statements:
            ask(built, address)
        sent.append(statements.sql)
    assert sent[0] == sent[1]
    assert smtp.messages == []
