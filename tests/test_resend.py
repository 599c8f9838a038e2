"""``POST resend-verification/``: who gets a link again, how often, and what whoever asks may learn."""

from __future__ import annotations

import logging
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.message import EmailMessage
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Boolean, DateTime, String, TypeDecorator, event, select, update
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.test import TestResponse

from flask_rest_registration import (
    ConfigurationError,
    EmailNotSent,
    RegisterSigner,
    send_existing_account_email_notification,
    send_register_verification_email_notification,
    user_activated,
    user_registered,
)

from .support import databases, models
from .support.answers import field_errors, refused
from .support.apps import OMITTED, Builder, Built
from .support.clock import Clock, at
from .support.concurrency import BEGINNINGS, at_once
from .support.links import html_of, link_in, text_of, values_of
from .support.mail_servers import RecordingServer
from .support.statements import recorded

RESEND = "resend-verification/"
ANN = "ann@example.com"
WEEK = 7 * 24 * 3600
COOLDOWN = 15 * 60
ON = {"REGISTER_VERIFICATION_RESEND_ENABLED": True, "REGISTER_VERIFICATION_PERIOD": WEEK}
SENT = {"detail": "If an account with this address waits for its verification, the link is on its way."}
SUCCESS = {"detail": "User verified successfully"}


class UtcDateTime(TypeDecorator[datetime]):
    """What many applications store their times by: only times with a time zone go in, and only such come out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a time zone")
        return value

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        return value and value.replace(tzinfo=timezone.utc)


class AsciiOnly(TypeDecorator[str]):
    """A column in a character set that does not have every letter."""

    impl = String(254)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        if value is not None:
            value.encode("ascii")
        return value


def change(built: Built, **values: object) -> None:
    """Let the application change every account by itself."""
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(**values))
        built.db.session.commit()


def ask(built: Built, address: str = ANN) -> TestResponse:
    """Ask for the link again, and check that nothing is told."""
    answer = built.post(RESEND, {"email": address})
    assert (answer.status_code, answer.get_json()) == (202, SENT), answer.text
    return answer


def with_settings(build: Builder, built: Built, mail: Any = None, **settings: object) -> Built:
    """Build another app on the same database."""
    options: dict[str, Any] = {} if mail is None else {"mail": mail}
    return build(
        models.claiming,
        database_uri=built.database_uri,
        registration={**ON, **settings},
        tables=False,
        **options,
    )


@pytest.fixture(name="built")
def resending_app(build: Builder, clock: Clock) -> Built:
    return build(models.claiming, registration=ON)


@pytest.fixture(name="claim")
def app_with_a_claim(built: Built, smtp: RecordingServer) -> Built:
    """The app after a sign-up whose cooldown is over."""
    assert built.register().status_code == 201
    return built


@pytest.fixture
def first(claim: Built, smtp: RecordingServer, clock: Clock) -> dict[str, str]:
    """The values of the link of the sign-up, whose cooldown has passed."""
    values = values_of(link_in(smtp.messages.pop()))
    clock.move(COOLDOWN + 1)
    return values


@pytest.fixture(params=["Asia/Tokyo", "America/New_York"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that is not set to UTC."""
    with monkeypatch.context() as environment:
        environment.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("kind", [DateTime(), DateTime(timezone=True), UtcDateTime()], ids=lambda kind: str(kind)[:9])
def test_the_zone_that_a_machine_is_set_to_moves_no_link(
    build: Builder, smtp: RecordingServer, clock: Clock, kind: Any
) -> None:
    built = build(models.declared(verification_sent_at=mapped_column(kind)), registration=ON)
    assert built.register().status_code == 201
    link = link_in(smtp.messages.pop())
    assert values_of(link)["timestamp"] == str(clock.time)
    clock.move(COOLDOWN - 1)
    ask(built)
    assert smtp.messages == []
    clock.move(2)
    ask(built)
    again = values_of(link_in(smtp.messages.pop()))
    assert again["timestamp"] == str(clock.time)
    with built.app.app_context():
        user = built.db.session.scalars(select(built.User)).one()
        assert RegisterSigner.for_user(user).get_signed_data() == again
    assert built.verify(again).get_json() == SUCCESS


@contextmanager
def somebody_else_first(built: Built, sql: str, *, before: str = "UPDATE") -> Iterator[None]:
    """Let another connection change something between the SELECT that finds and the statement that decides."""
    statements = [sql]

    def act(conn: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(before) and statements:
            built.execute_outside(statements.pop())

    event.listen(built.engine, "before_cursor_execute", act)
    try:
        yield
        assert not statements
    finally:
        event.remove(built.engine, "before_cursor_execute", act)


# 1: the switch


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b"x" * 100_000])
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (models.typed, {}),
        (models.claiming, {}),
        (models.claiming, {"REGISTER_REJECTION_URL": "https://frontend.example/reject-user/"}),
        (models.claiming, {"REGISTER_VERIFICATION_ENABLED": False}),
    ],
)
def test_resending_that_is_switched_off_is_404_whatever_is_sent(
    build: Builder, model: models.Model, settings: dict[str, object], body: bytes
) -> None:
    built = build(model, registration=settings)
    with recorded(built.engine) as statements:
        refused(built.post(RESEND, data=body, content_type="application/json"), 404, "not-found")
    assert statements.kinds == []


@pytest.mark.usefixtures("first")
def test_a_link_is_sent_again_where_registration_is_disabled(
    build: Builder, claim: Built, smtp: RecordingServer
) -> None:
    closed = with_settings(build, claim, REGISTER_FLOW_ENABLED=False)
    ask(closed)
    assert closed.verify(link_in(smtp.message)).get_json() == SUCCESS


# 2: what is no address


@pytest.mark.parametrize("value", [None, True, 1, [], {}, "", " ", "ann", "ann@", "a@b@example.com", "x" * 400])
def test_what_is_no_address_is_named_and_asks_neither_database_nor_mail_server(
    built: Built, smtp: RecordingServer, value: object
) -> None:
    with recorded(built.engine) as statements:
        assert list(field_errors(built.post(RESEND, {"email": value}))) == ["email"]
    assert (statements.kinds, smtp.conversations) == ([], [])


def test_a_missing_address_and_unknown_fields_are_named(built: Built) -> None:
    assert list(field_errors(built.post(RESEND, {}))) == ["email"]
    assert list(field_errors(built.post(RESEND, {"email": ANN, "user_id": 1}))) == ["user_id"]


def test_a_body_that_is_no_json_is_refused_as_everywhere(built: Built) -> None:
    refused(built.post(RESEND, data=b"email=ann", content_type="application/json"), 400, "parse-error")
    refused(built.post(RESEND, data=b"{}", content_type="text/plain"), 415, "unsupported-media-type")
    assert built.client().get(f"{built.url_prefix}/{RESEND}").status_code == 405


# 3: one answer


@pytest.mark.usefixtures("first")
def test_unknown_verified_waiting_cooling_down_locked_and_hand_made_addresses_get_one_and_the_same_answer(
    claim: Built, smtp: RecordingServer, clock: Clock
) -> None:
    with claim.app.app_context():
        usual = {"password_hash": "h", "email_verified_at": None, "verification_sent_at": None}
        for name, values in {
            "verified": {"email_verified_at": at(clock.time)},
            "made-by-hand": {},
            "cooling-down": {"verification_sent_at": at(clock.time)},
        }.items():
            claim.db.session.add(claim.User(email=f"{name}@example.com", username=name, **{**usual, **values}))
        claim.db.session.commit()
    answers = set()
    for name in ("ann", "ann", "nobody", "verified", "made-by-hand", "cooling-down"):
        answer = ask(claim, f"{name}@example.com")
        assert answer.headers["Cache-Control"] == "no-store"
        answers.add((answer.status, answer.data, tuple(sorted(answer.headers.items()))))
    assert len(answers) == 1
    assert [envelope.recipients for envelope in smtp.envelopes[1:]] == [[ANN]]


def test_the_mail_server_is_connected_to_whatever_is_found(claim: Built, smtp: RecordingServer) -> None:
    smtp.conversations.clear()
    for address in (ANN, "nobody@example.com"):
        ask(claim, address)
    assert smtp.conversations == [["EHLO", "QUIT"]] * 2


# 4: the link


def test_the_fresh_link_and_its_forerunner_both_work(
    build: Builder, claim: Built, smtp: RecordingServer, clock: Clock, first: dict[str, str]
) -> None:
    ask(claim)
    fresh = values_of(link_in(smtp.message))
    assert fresh["timestamp"] != first["timestamp"]
    for values in (first, fresh):
        change(claim, email_verified_at=None, verification_sent_at=at(clock.time))
        assert claim.verify(values).get_json() == SUCCESS
        assert claim.row()["email_verified_at"] == at(clock.time)


def test_the_time_of_the_link_is_the_time_that_is_stored(
    claim: Built, smtp: RecordingServer, clock: Clock, first: dict[str, str]
) -> None:
    before = claim.row()
    assert before["verification_sent_at"] == at(int(first["timestamp"]))
    ask(claim)
    assert values_of(link_in(smtp.message))["timestamp"] == str(clock.time)
    assert claim.row() == {**before, "verification_sent_at": at(clock.time)}


def test_the_mail_is_the_one_of_the_sign_up_but_for_its_link_and_its_time(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    built.register()
    clock.move(24 * 3600)
    ask(built)

    def neutral(message: EmailMessage, day: int) -> list[str]:
        link = link_in(message).replace("&", "&amp;")
        return [str(message["Subject"]), html_of(message).replace(link, "LINK").replace(f"2023-11-{day} ", "DAY ")]

    first, second = smtp.messages
    assert neutral(first, 21) == neutral(second, 22)


@pytest.mark.parametrize("age", [WEEK, WEEK + 1, 10 * WEEK])
def test_a_claim_whose_link_has_expired_gets_one_that_works(
    built: Built, smtp: RecordingServer, clock: Clock, age: int
) -> None:
    built.register()
    clock.move(age)
    ask(built)
    clock.move(WEEK)
    assert built.verify(link_in(smtp.messages[-1])).get_json() == SUCCESS


@pytest.mark.usefixtures("first")
def test_an_address_that_is_spelled_otherwise_is_found_and_the_mail_goes_to_the_stored_one(
    claim: Built, smtp: RecordingServer
) -> None:
    ask(claim, " Ann@EXAMPLE.com ".strip())
    assert [envelope.recipients for envelope in smtp.envelopes[1:]] == [[ANN]]


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("with a time zone", {"verification_sent_at": lambda: mapped_column(DateTime(timezone=True))}),
        ("of a type of its own", {"verification_sent_at": lambda: mapped_column(UtcDateTime)}),
        ("under another column's name", {"verification_sent_at": lambda: mapped_column("sent on", DateTime)}),
        ("with a Boolean flag", {"email_verified_at": lambda: None, "is_verified": lambda: mapped_column(Boolean)}),
    ],
)
def test_moments_of_every_kind_are_moved_and_put_back(
    build: Builder, smtp: RecordingServer, clock: Clock, name: str, attributes: dict[str, Callable[[], Any]]
) -> None:
    given = {"verification_sent_at": mapped_column(DateTime), **{key: make() for key, make in attributes.items()}}
    built = build(models.declared(**given), registration=ON)
    start = clock.time
    assert built.register().status_code == 201

    def stored() -> datetime:
        value = built.row()["verification_sent_at"]
        assert isinstance(value, datetime)
        return value.replace(tzinfo=None)

    clock.move(COOLDOWN)
    ask(built)
    assert (stored(), len(smtp.messages)) == (at(start), 1)
    clock.move(1)
    smtp.text_reply = "554 no"
    ask(built)
    assert (stored(), len(smtp.messages)) == (at(start), 1)
    smtp.text_reply = None
    ask(built)
    assert (stored(), len(smtp.messages)) == (at(clock.time), 2)
    link = values_of(link_in(smtp.messages[-1]))
    assert link["timestamp"] == str(clock.time)
    assert built.verify(link).get_json() == SUCCESS
    assert built.row()["verification_sent_at"] is None


def test_a_claim_with_a_boolean_flag_that_is_null_gets_its_link_again(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    model = models.declared(
        email_verified_at=None, is_verified=mapped_column(Boolean), verification_sent_at=mapped_column(DateTime)
    )
    built = build(model, registration=ON)
    built.register()
    change(built, is_verified=None)
    clock.move(COOLDOWN + 1)
    ask(built)
    assert built.verify(link_in(smtp.messages[-1])).get_json() == SUCCESS
    assert built.row()["is_verified"] is True


@pytest.mark.usefixtures("first")
def test_no_signal_is_sent(claim: Built, smtp: RecordingServer) -> None:
    calls: list[str] = []

    def keep(sender: Flask, **_: object) -> None:
        calls.append("called")

    with user_registered.connected_to(keep), user_activated.connected_to(keep):
        ask(claim)
    assert (calls, len(smtp.messages)) == ([], 1)


# 5: the cooldown


def test_a_link_is_sent_again_one_second_after_the_cooldown_and_not_before(
    claim: Built, smtp: RecordingServer, clock: Clock
) -> None:
    sent = []
    for seconds in (0, 1, COOLDOWN - 1, 1, 1, COOLDOWN - 1, 1):
        clock.move(seconds)
        smtp.messages.clear()
        ask(claim)
        sent.append(len(smtp.messages))
    assert sent == [0, 0, 0, 1, 0, 0, 1]


def test_the_cooldown_is_the_settings(build: Builder, claim: Built, smtp: RecordingServer, clock: Clock) -> None:
    short = with_settings(build, claim, REGISTER_VERIFICATION_RESEND_COOLDOWN=60)
    smtp.messages.clear()
    clock.move(60)
    ask(short)
    assert smtp.messages == []
    clock.move(1)
    ask(short)
    assert smtp.message["To"] == ANN


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("begin", BEGINNINGS, ids=["plain", "begin by hand"])
def test_of_sixteen_requests_at_once_one_sends(
    claim: Built, smtp: RecordingServer, begin: Callable[..., None] | None
) -> None:
    if begin is not None:
        claim.engine.dispose()
        begin(claim.engine)
    outcome = at_once(16, lambda _: claim.post(RESEND, {"email": ANN}))
    assert outcome.errors == []
    assert [(answer.status_code, answer.get_json()) for answer in outcome.results] == [(202, SENT)] * 16
    assert smtp.message["To"] == ANN


def test_a_time_in_the_future_sends_nothing(
    claim: Built, smtp: RecordingServer, clock: Clock, first: dict[str, str]
) -> None:
    clock.move(-10 * WEEK)
    ask(claim)
    assert smtp.messages == []
    assert claim.row()["verification_sent_at"] == at(int(first["timestamp"]))


# 6: what is no claim


@pytest.mark.parametrize(
    "values",
    [
        {"verification_sent_at": None},
        {"email_verified_at": at(0)},
        {"email_verified_at": at(0), "verification_sent_at": None},
    ],
    ids=["locked", "verified by hand", "verified"],
)
@pytest.mark.usefixtures("first")
def test_what_an_application_locked_or_verified_is_not_reached(
    claim: Built, smtp: RecordingServer, clock: Clock, values: dict[str, object]
) -> None:
    change(claim, **values)
    before = claim.row()
    for _ in range(2):
        clock.move(WEEK)
        ask(claim)
    assert (smtp.messages, claim.row()) == ([], before)


def test_an_account_that_was_verified_is_never_reached_though_its_flag_is_cleared(
    claim: Built, smtp: RecordingServer, clock: Clock, first: dict[str, str]
) -> None:
    assert claim.verify(first).get_json() == SUCCESS
    change(claim, email_verified_at=None)
    clock.move(WEEK)
    ask(claim)
    assert smtp.messages == []
    assert claim.row()["verification_sent_at"] is None


@pytest.mark.parametrize(
    "column",
    [
        lambda: mapped_column(DateTime),
        lambda: mapped_column(DateTime, default=lambda: at(0)),
        lambda: mapped_column(DateTime, server_default="2020-01-01 00:00:00"),
    ],
    ids=["plain", "with a default", "with a default of the database"],
)
def test_an_account_from_when_verification_was_off_is_not_reached(
    build: Builder, smtp: RecordingServer, clock: Clock, column: Callable[[], Any]
) -> None:
    without = build(
        models.declared(verification_sent_at=column()), registration={"REGISTER_VERIFICATION_ENABLED": False}
    )
    assert without.register().status_code == 201
    built = build(
        models.declared(verification_sent_at=column()),
        database_uri=without.database_uri,
        registration=ON,
        tables=False,
    )
    clock.move(WEEK)
    ask(built)
    assert smtp.messages == []
    assert built.row()["verification_sent_at"] is None


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE user SET email_verified_at = '2023-11-14 00:00:00.000000', verification_sent_at = NULL",
        "UPDATE user SET email_verified_at = '2023-11-14 00:00:00.000000'",
        "UPDATE user SET verification_sent_at = NULL",
        "UPDATE user SET email = 'new@example.com'",
        "DELETE FROM user",
    ],
    ids=["verified", "verified by hand", "locked", "changed its address", "deleted"],
)
def test_what_became_something_else_since_it_was_found_gets_nothing(
    claim: Built, smtp: RecordingServer, sql: str
) -> None:
    with somebody_else_first(claim, sql):
        ask(claim)
    assert smtp.messages == []


def test_an_address_that_the_column_cannot_hold_is_an_unknown_one(build: Builder, smtp: RecordingServer) -> None:
    model = models.declared(
        email=mapped_column(AsciiOnly, unique=True, nullable=False), verification_sent_at=mapped_column(DateTime)
    )
    ask(build(model, registration=ON), "ann@bücher.example")
    assert smtp.messages == []


# 7: mails that fail


@pytest.mark.parametrize(
    "replies",
    [{"rcpt_reply": f"550 no {ANN}"}, {"rcpt_reply": "450 later"}, {"text_reply": "554 spam"}, {"mail_reply": "451 x"}],
    ids=str,
)
def test_a_mail_that_fails_puts_the_old_time_back_and_is_logged_without_the_address(
    claim: Built,
    smtp: RecordingServer,
    first: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    replies: dict[str, str],
) -> None:
    before = claim.row()
    for name, reply in replies.items():
        setattr(smtp, name, reply)
    with caplog.at_level(logging.DEBUG):
        ask(claim)
    assert claim.row() == before
    # The test's own mail server logs as well.
    (record,) = [each for each in caplog.records if not each.name.startswith("mail.")]
    assert (record.name, record.levelname) == (claim.app.logger.name, "WARNING")
    text = record.getMessage()
    assert text.startswith("A link was not sent again: ")
    assert [secret for secret in (ANN, "signature=") if secret in text] == []
    for name in replies:
        setattr(smtp, name, None)
    ask(claim)
    assert claim.verify(link_in(smtp.message)).get_json() == SUCCESS


def test_a_mail_server_that_is_out_of_reach_is_503_for_everybody_and_no_statement(
    build: Builder, claim: Built, first: dict[str, str]
) -> None:
    with RecordingServer() as down:
        pass
    built = with_settings(build, claim, mail=down)
    answers = set()
    with recorded(built.engine) as statements:
        for address in (ANN, "nobody@example.com"):
            answer = built.post(RESEND, {"email": address})
            refused(answer, 503, "email-not-sent")
            answers.add(answer.data)
    assert len(answers) == 1
    assert statements.kinds == []
    assert built.row()["verification_sent_at"] == at(int(first["timestamp"]))


@pytest.mark.only_on("sqlite")
@pytest.mark.usefixtures("first")
def test_a_database_that_is_out_of_reach_is_503_for_everybody(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.claiming, database_uri="sqlite:////nowhere/at/all.db", registration=ON, tables=False)
    for address in (ANN, "nobody@example.com"):
        refused(built.post(RESEND, {"email": address}), 503, "database-unavailable")
    assert smtp.messages == []


@pytest.mark.usefixtures("first")
def test_no_transaction_and_no_connection_is_held_while_the_mail_is_handed_over(
    claim: Built, smtp: RecordingServer
) -> None:
    held: list[str] = []

    def write() -> None:
        held.append(claim.engine.pool.status())
        claim.execute_outside("UPDATE user SET username = 'other'")

    smtp.on_text = write
    ask(claim)
    assert claim.row()["username"] == "other"
    assert len(held) == 1
    assert "Current Checked out connections: 0" in held[0]


@pytest.mark.usefixtures("first")
def test_only_the_time_that_was_set_is_put_back(claim: Built, smtp: RecordingServer) -> None:
    def move_on() -> None:
        claim.execute_outside("UPDATE user SET verification_sent_at = '2024-01-01 00:00:00.000000'")

    smtp.on_text, smtp.text_reply = move_on, "554 no"
    ask(claim)
    assert claim.row()["verification_sent_at"] == datetime(2024, 1, 1)  # noqa: DTZ001


# 8: senders of one's own


@pytest.mark.parametrize(
    "error",
    [
        EmailNotSent("over quota"),
        LookupError(f"no mail for {ANN}"),
        OSError("no network"),
        smtplib.SMTPRecipientsRefused({ANN: (550, b"no")}),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.usefixtures("first")
def test_a_sender_of_ones_own_that_raises_puts_the_old_time_back(
    build: Builder, claim: Built, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(request: object, user: Any) -> None:
        raise error

    built, before = with_settings(build, claim, REGISTER_VERIFICATION_EMAIL_SENDER=fail), claim.row()
    with caplog.at_level(logging.DEBUG):
        ask(built)
    assert built.row() == before
    assert "A link was not sent again" in caplog.text
    assert ANN not in caplog.text


def test_a_sender_of_ones_own_that_returns_is_called_once_with_the_request_and_the_new_time(
    build: Builder, claim: Built, smtp: RecordingServer, clock: Clock, first: dict[str, str]
) -> None:
    calls: list[tuple[str, str, str]] = []

    def keep(request: Any, user: Any) -> None:
        calls.append((request.path, user.email, RegisterSigner.for_user(user).get_signed_data()["timestamp"]))

    built = with_settings(build, claim, REGISTER_VERIFICATION_EMAIL_SENDER=keep)
    smtp.conversations.clear()
    with recorded(built.engine) as statements:
        for _ in range(2):
            ask(built)
    assert calls == [(f"{built.url_prefix}/{RESEND}", ANN, str(clock.time))]
    assert built.row()["verification_sent_at"] == at(clock.time)
    assert statements.queries == ["SELECT", "UPDATE"] * 2
    assert smtp.conversations == []


def test_a_sender_that_is_set_up_wrongly_is_told_to_the_developer_and_the_old_time_is_put_back(
    build: Builder, claim: Built, first: dict[str, str]
) -> None:
    def fail(request: object, user: object) -> None:
        raise ConfigurationError("no key")

    built, before = with_settings(build, claim, REGISTER_VERIFICATION_EMAIL_SENDER=fail), claim.row()
    with pytest.raises(ConfigurationError, match="no key"):
        built.post(RESEND, {"email": ANN})
    assert built.row() == before


@pytest.mark.usefixtures("first")
def test_what_a_failing_sender_left_open_is_rolled_back(build: Builder, claim: Built) -> None:
    def fail(request: object, user: Any) -> None:
        user.username = "half done"
        built.db.session.flush()
        raise LookupError

    built, before = with_settings(build, claim, REGISTER_VERIFICATION_EMAIL_SENDER=fail), claim.row()
    ask(built)
    assert built.row() == before


def with_outbox(db: SQLAlchemy) -> type[Any]:
    """The usual claiming model, and a table of mails that another process sends, one for each address and time."""
    user = models.claiming(db)

    class Outbox(db.Model):  # type: ignore[misc,name-defined]
        link: Mapped[str] = mapped_column(String(500), primary_key=True)

    user.outbox = Outbox
    return user


def outbox_of(built: Built) -> list[str]:
    with built.app.app_context():
        return [row.link for row in built.db.session.scalars(built.db.select(built.User.outbox))]


def test_what_a_sender_writes_is_committed_as_at_a_sign_up(build: Builder, clock: Clock) -> None:
    def queue(request: object, user: Any) -> None:
        built.db.session.add(built.User.outbox(link=RegisterSigner.for_user(user).get_url()))

    built = build(with_outbox, registration={**ON, "REGISTER_VERIFICATION_EMAIL_SENDER": queue})
    assert built.register().status_code == 201
    assert len(outbox_of(built)) == 1
    clock.move(COOLDOWN + 1)
    ask(built)
    links = outbox_of(built)
    assert [built.verify(link).status_code for link in links] == [200, 200]
    assert len({values_of(link)["timestamp"] for link in links}) == 2


def test_what_a_sender_writes_and_the_database_refuses_is_a_mail_that_failed(
    build: Builder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def queue(request: object, user: Any) -> None:
        built.db.session.add(built.User.outbox(link="always the same"))

    built = build(with_outbox, registration={**ON, "REGISTER_VERIFICATION_EMAIL_SENDER": queue})
    assert built.register().status_code == 201
    before = built.row()
    clock.move(COOLDOWN + 1)
    ask(built)
    assert (built.row(), outbox_of(built)) == (before, ["always the same"])
    assert "A link was not sent again" in caplog.text
    assert "always the same" not in caplog.text


def test_an_application_that_sends_the_default_mail_by_its_own_sender_sends_it_again(
    build: Builder, claim: Built, smtp: RecordingServer, clock: Clock, first: dict[str, str]
) -> None:
    built = with_settings(
        build,
        claim,
        REGISTER_VERIFICATION_EMAIL_SENDER=lambda request, user: send_register_verification_email_notification(
            request, user
        ),
    )
    ask(built)
    assert values_of(link_in(smtp.message))["timestamp"] == str(clock.time)


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(("own", "mails"), [("REGISTER_VERIFICATION_EMAIL_SENDER", 0), ("", 1)])
def test_with_hiding_a_default_sender_of_the_notice_connects_as_well(
    build: Builder, claim: Built, smtp: RecordingServer, own: str, mails: int
) -> None:
    senders: dict[str, object] = {own: lambda request, user: None} if own else {}
    built = with_settings(build, claim, REGISTER_HIDE_EXISTING_EMAIL=True, REGISTER_PASSWORD_AT="verify", **senders)
    smtp.conversations.clear()
    ask(built)
    assert ([*map(len, smtp.conversations)], len(smtp.messages)) == ([2 + 3 * mails], mails)


@pytest.mark.usefixtures("first")
def test_with_hiding_a_verified_account_gets_no_notice_by_a_resend(
    build: Builder, claim: Built, smtp: RecordingServer
) -> None:
    built = with_settings(build, claim, REGISTER_HIDE_EXISTING_EMAIL=True, REGISTER_PASSWORD_AT="verify")
    change(built, email_verified_at=at(0), verification_sent_at=None)
    ask(built)
    assert (smtp.messages, built.row()["notice_sent_at"]) == ([], None)


@pytest.mark.usefixtures("first")
def test_a_default_notice_is_sent_though_links_have_a_sender_of_their_own(
    build: Builder, claim: Built, smtp: RecordingServer
) -> None:
    links: list[str] = []
    built = with_settings(
        build,
        claim,
        REGISTER_HIDE_EXISTING_EMAIL=True,
        REGISTER_PASSWORD_AT="verify",
        REGISTER_VERIFICATION_EMAIL_SENDER=lambda request, user: links.append(user.email),
    )
    change(built, email_verified_at=at(0), verification_sent_at=None)
    sent = {"password": OMITTED, "password_confirm": OMITTED, "username": "new"}
    assert built.register(**sent).status_code == 202
    assert smtp.message["Subject"] == "You have an account at frontend.example already"
    assert built.register(**{**sent, "email": "bob@example.com"}).status_code == 202
    assert (links, len(smtp.messages)) == (["bob@example.com"], 1)


@pytest.mark.usefixtures("first")
def test_a_notice_of_ones_own_is_sent_though_links_have_the_default_sender(
    build: Builder, claim: Built, smtp: RecordingServer
) -> None:
    notices: list[str] = []
    built = with_settings(
        build,
        claim,
        REGISTER_HIDE_EXISTING_EMAIL=True,
        REGISTER_PASSWORD_AT="verify",
        REGISTER_EXISTING_EMAIL_SENDER=lambda request, user: notices.append(user.email),
    )
    sent = {"password": OMITTED, "password_confirm": OMITTED, "username": "new"}
    assert built.register(**sent).status_code == 202
    assert (notices, smtp.message["To"]) == ([], ANN)
    change(built, email_verified_at=at(0), verification_sent_at=None)
    assert built.register(**sent).status_code == 202
    assert (notices, len(smtp.messages)) == ([ANN], 1)


@pytest.mark.usefixtures("first")
def test_a_script_sends_the_notice_which_has_no_link(claim: Built, smtp: RecordingServer) -> None:
    with claim.app.app_context():
        send_existing_account_email_notification(None, claim.db.session.scalars(select(claim.User)).one())
    assert smtp.message["To"] == ANN
    for part in (text_of(smtp.message), html_of(smtp.message)):
        assert "an account already" in part or "an account with it already" in part
        assert [word for word in ("http", "signature", "ann") if word in part.lower().replace("another", "")] == []


# 9: conflicts


@contextmanager
def locked_at_updates(built: Built, *numbers: int) -> Iterator[list[str]]:
    """Let another connection hold SQLite's only lock at the UPDATEs of these numbers, until ours is rolled back."""
    met: list[str] = []
    with built.outside() as other:

        def lock(conn: object, cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("UPDATE"):
                met.append(statement)
                if len(met) in numbers:
                    other.lock()

        def unlock(conn: object) -> None:
            other.unlock()

        event.listen(built.engine, "before_cursor_execute", lock)
        event.listen(built.engine, "rollback", unlock)
        try:
            yield met
        finally:
            event.remove(built.engine, "before_cursor_execute", lock)
            event.remove(built.engine, "rollback", unlock)


def impatient(build: Builder, built: Built) -> Built:
    """Build another app on the same database that does not wait for SQLite's lock."""
    return build(
        models.claiming,
        database_uri=built.database_uri,
        registration=ON,
        tables=False,
        config=databases.impatient(),
    )


@pytest.mark.parametrize(("conflicts", "mails"), [(1, 1), (3, 1), (4, 0)])
def test_a_conflict_is_tried_again_up_to_three_times(
    build: Builder,
    claim: Built,
    smtp: RecordingServer,
    clock: Clock,
    first: dict[str, str],
    conflicts: int,
    mails: int,
) -> None:
    built = impatient(build, claim)
    with locked_at_updates(built, *range(1, conflicts + 1)) as met:
        answer = built.post(RESEND, {"email": ANN})
    assert len(met) == min(conflicts + 1, 4)
    assert len(smtp.messages) == mails
    if mails:
        assert (answer.status_code, answer.get_json()) == (202, SENT)
    else:
        refused(answer, 503, "database-unavailable")
    assert built.row()["verification_sent_at"] == at(clock.time if mails else int(first["timestamp"]))


@pytest.mark.usefixtures("first")
def test_a_conflict_does_not_keep_the_old_time_from_being_put_back(
    build: Builder, claim: Built, smtp: RecordingServer
) -> None:
    built, before = impatient(build, claim), claim.row()
    smtp.text_reply = "554 no"
    with locked_at_updates(built, 2) as met:
        ask(built)
    assert len(met) == 3
    assert built.row() == before
