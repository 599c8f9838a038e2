"""The rule of the mail, for e-mail first and for resend: when one is due, and what becomes of the row if it fails."""

from __future__ import annotations

import logging
import smtplib
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_rest_registration import ConfigurationError, EmailNotSent, RegisterSigner, RestRegistrationError
from tests.outages.test_failures import visits, with_visits
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import Clock, at
from tests.support.databases import DRIVER
from tests.support.interference import acting_before, refusing
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import HangUp, RecordingServer, Step
from tests.support.pending import ANN, CODES, WITH_RESEND, add_account, ask, path_of, post_address
from tests.support.statements import recorded

pytestmark = pytest.mark.database

NOBODY, VERIFIED = "nobody@example.com", "verified@example.com"
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
WEEK = 7 * DAY
TABLE = "pending_registration"
SPAM = "554 5.7.1 spam"
Way = dict[str, object]
ANSWERS = {
    REGISTER: "A message was sent to this address, or tried, now or when it was last asked for.",
    RESEND: "If an account with this address waits for its verification, a message was sent, or tried, now or when it"
    " was last asked for.",
}


def fail_to_ask(built: Built, code: str = "email-not-sent") -> None:
    refused(post_address(built), 503, code)


def works(built: Built, link: dict[str, str]) -> bool:
    """Tell whether a link makes Ann's account, or verifies it."""
    answer = built.post(VERIFY, {**link, **built.body()})
    return answer.status_code == (201 if path_of(built) == REGISTER else 200)


def with_ann(build: Builder, way: Way, model: models.Model = models.typed, email: str = ANN, **options: Any) -> Built:
    """Build an app where Ann gets a link when she asks: with resend, her account waits for it."""
    built = build(model, pending=True, registration={**way, **options.pop("registration", {})}, **options)
    if way is WITH_RESEND:
        add_account(built, email)
    return built


def sent_by(sender: Callable[[Any, Any], object]) -> dict[str, object]:
    return dict.fromkeys(("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"), sender)


def row_of(built: Built) -> tuple[int, int, int]:
    row = built.pending_row()
    return row["sent_at"], row["mails"], row["next_mail_at"]


def noted(clock: Clock, mails: int = 1, wait: int = MINUTE) -> tuple[int, int, int]:
    """Return what :func:`row_of` gives after a mail that was sent right now."""
    return clock.time, mails, clock.time + wait


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the app's log; the test's own mail server has a log too."""
    return [record.getMessage() for record in caplog.records if record.name == "app_under_test"]


@pytest.fixture(params=[CODES, WITH_RESEND], ids=["e-mail first", "resend"])
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(name="built")
def app_with_ann(build: Builder, clock: Clock, way: Way) -> Built:
    return with_ann(build, way)


@pytest.fixture
def again(built: Built, smtp: RecordingServer, clock: Clock) -> Built:
    """The app after Ann has asked once, and the cooldown has passed."""
    ask(built)
    smtp.messages.clear()
    smtp.conversations.clear()
    clock.move(MINUTE)
    return built


@pytest.mark.parametrize(
    "value",
    [
        *[None, True, 10**4000, 1.5, [[[]]], {}, [ANN], {"$ne": ""}, "", " ", "ann", "ann@", "@a.org", "a@b@c.org"],
        *[f"{ANN}, bob@example.com", f"Ann <{ANN}>", f"{ANN}\r\nBcc: bob@example.com", "ä@example.com"],
        *["ann@exa mple.com", "x" * 400, "ann@[127.0.0.1]", "' OR 1=1 --@example.com", "ann@xn--.example"],
        *["ann\0@example.com", f"{ANN}\0", "ann\ud800@example.com", "ann@\u202eexample.com", f"ann@{'ﷺ' * 60}.example"],
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_no_address_is_refused_before_any_statement(built: Built, smtp: RecordingServer, value: object) -> None:
    with recorded(built.engine) as statements:
        assert list(field_errors(post_address(built, value))) == ["email"]
    assert (statements.kinds, smtp.conversations) == ([], [])


def test_a_missing_address_and_unknown_fields_are_named(built: Built) -> None:
    for body, name in (({}, "email"), ({"email": "ann"}, "email"), ({"email": ANN, "user_id": 1}, "user_id")):
        assert list(field_errors(built.post(path_of(built), body))) == [name]


def with_orders(db: SQLAlchemy) -> type[Any]:
    class Order(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))

    user = models.typed(db)
    user.orders = relationship(Order, lazy="selectin")
    return user


def test_all_addresses_get_the_same_answer(build: Builder, way: Way, smtp: RecordingServer, clock: Clock) -> None:
    built = with_ann(build, way, with_orders)
    add_account(built, VERIFIED, "verified", email_verified_at=at(clock.time))
    answers, sent = {}, []
    for address in (ANN, NOBODY, VERIFIED, ANN):
        with recorded(built.engine) as statements:
            answer = ask(built, address)
        answers[answer.data, tuple(sorted(answer.headers.items()))] = answer
        sent.append(statements.sql)
    (answer,) = answers.values()
    assert answer.get_json() == {"detail": ANSWERS[path_of(built)]}
    assert answer.headers["Cache-Control"] == "no-store"
    assert sent[1] == sent[2]
    rows = built.pending_rows()
    assert all(isinstance(row["id"], uuid.UUID) and row.pop("id").version == 4 for row in rows)
    now = {"sent_at": clock.time, "mails": 1, "next_mail_at": clock.time + MINUTE, "code_attempts": 0}
    assert rows == [{"email": address, **now} for address in (ANN, NOBODY, VERIFIED)]
    mailed = [ANN, NOBODY, VERIFIED] if way is CODES else [ANN]
    assert [envelope.recipients for envelope in smtp.envelopes] == [[address] for address in mailed]


@pytest.mark.parametrize(
    ("address", "stored", "spelling"),
    [
        (ANN, ANN, "Ann@EXAMPLE.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example", "ANN@BÜCHER.EXAMPLE"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example", "Ann@xn--bcher-kva.example"),
    ],
)
def test_the_spellings_of_one_address_have_one_row_in_ascii(
    build: Builder, way: Way, smtp: RecordingServer, address: str, stored: str, spelling: str
) -> None:
    built = with_ann(build, way, email=address)
    ask(built, spelling)
    ask(built, address)
    assert [envelope.recipients for envelope in smtp.envelopes] == [[stored]]
    assert (smtp.message["To"], built.pending_row()["email"]) == (stored, stored)


def test_addresses_that_a_collation_folds_have_a_row_each(build: Builder, way: Way, smtp: RecordingServer) -> None:
    built = with_ann(build, way, email="ann@gmail.example")
    for address in ("ann@gmàil.example", "ann@gmail.example"):
        ask(built, address)
    assert [row["email"] for row in built.pending_rows()] == ["ann@gmail.example", "ann@xn--gmil-1na.example"]
    other = [["ann@xn--gmil-1na.example"]] if way is CODES else []  # no mail to whoever has no account
    assert [envelope.recipients for envelope in smtp.envelopes] == [*other, ["ann@gmail.example"]]


class AsciiOnly(sa.TypeDecorator[str]):
    impl = sa.String(254)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value.encode("ascii").decode()


def test_an_address_that_the_column_cannot_hold_has_no_account(build: Builder, way: Way, smtp: RecordingServer) -> None:
    model = models.declared(email=mapped_column(AsciiOnly, unique=True, nullable=False))
    built = build(model, pending=True, registration=way)
    ask(built, "ann@bücher.example")
    if way is WITH_RESEND:
        assert smtp.conversations == [["EHLO", "MAIL", "RCPT", "QUIT"]]
    else:
        answer = built.post(VERIFY, {**values_of(link_in(smtp.message)), **built.body(email="ann@bücher.example")})
        assert field_errors(answer) == {"_schema": ["The database cannot store this data."]}


@pytest.mark.parametrize("address", [ANN, NOBODY])
def test_the_cooldown_doubles_up_to_12_hours(built: Built, smtp: RecordingServer, clock: Clock, address: str) -> None:
    start, minutes = clock.time, list[int]()
    for mails in range(1, 15):
        ask(built, address)
        sent_at, *_, due_at = row = row_of(built)
        assert row[:2] == (clock.time, mails), "a mail that was due did not come"
        minutes.append((sent_at - start) // MINUTE)
        clock.time = due_at - 1
        ask(built, address)
        assert row_of(built) == row, "a mail that was not due came"
        clock.move(1)
    assert minutes == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, *range(1023 + 720, 1023 + 4 * 720, 720)]
    assert len(smtp.conversations) == 14  # the mail server is connected to for due mails only, and for each
    assert len(smtp.messages) == (14 if address == ANN or path_of(built) == REGISTER else 0)


@pytest.mark.parametrize(
    ("first", "waits"),
    [(timedelta(milliseconds=500), [1, 2, 4]), (10 * MINUTE, [600, 1200]), (5 * HOUR, [18000, 36000, 43200])],
)
def test_the_first_cooldown_is_the_settings(build: Builder, way: Way, clock: Clock, first: object, waits: Any) -> None:
    built = build(pending=True, registration={**way, "REGISTER_VERIFICATION_RESEND_COOLDOWN": first})
    for mails, wait in enumerate(waits, start=1):
        ask(built)
        assert row_of(built) == noted(clock, mails, wait)
        clock.move(wait)


@pytest.mark.parametrize(("period", "longer"), [(HOUR, DAY), (DAY, DAY), (WEEK, WEEK)], ids=["hour", "day", "week"])
def test_a_row_starts_anew_after_the_longer_of_period_and_a_day(
    build: Builder, way: Way, clock: Clock, period: int, longer: int
) -> None:
    built = build(pending=True, registration={**way, "REGISTER_VERIFICATION_PERIOD": period})
    ask(built)
    built.execute_outside(f"UPDATE {TABLE} SET mails = 1000000")
    clock.move(longer)
    ask(built)
    assert row_of(built) == noted(clock, 1_000_001, 12 * HOUR)
    clock.move(longer + 1)
    ask(built)
    assert row_of(built) == noted(clock)


@pytest.mark.parametrize("seconds", [1, HOUR, 1000 * WEEK])
def test_a_clock_that_went_back_delays_no_mail(again: Built, smtp: RecordingServer, clock: Clock, seconds: int) -> None:
    clock.move(-MINUTE)
    ask(again)
    assert smtp.conversations == []  # in the second of the mail no other one is due
    clock.move(-seconds)
    ask(again)
    assert row_of(again) == noted(clock, 2, 2 * MINUTE)
    assert values_of(link_in(smtp.message))["timestamp"] == str(clock.time)
    ask(again)
    assert len(smtp.messages) == 1
    clock.move(2 * MINUTE)
    ask(again)
    assert len(smtp.messages) == 2


def test_no_transaction_is_open_while_the_mail_is_on_its_way(build: Builder, way: Way, smtp: RecordingServer) -> None:
    def context(request: object, addressee: object, context: dict[str, Any]) -> dict[str, Any]:
        built.db.session.execute(sa.select(built.User.id)).all()
        return context

    def write() -> None:
        held.append(built.engine.pool.checkedout())  # type: ignore[attr-defined]
        built.execute_outside("UPDATE user SET username = 'other'")
        built.execute_outside(f"UPDATE {TABLE} SET mails = 4")

    built, held = with_ann(build, way, registration={"VERIFICATION_TEMPLATE_CONTEXT_BUILDER": context}), list[int]()
    smtp.on_text = write
    ask(built)
    assert (held, built.pending_row()["mails"]) == ([0], 4)


@pytest.mark.parametrize("at", ["CONNECT", "MAIL", "RCPT"])
def test_no_transaction_is_open_while_the_mail_server_is_asked(
    build: Builder, way: Way, clock: Clock, at: Step
) -> None:
    held: list[int] = []

    class Look(HangUp):
        async def happen(self, writer: object) -> None:
            held.append(built.engine.pool.checkedout())  # type: ignore[attr-defined]

    with RecordingServer(fault=Look(at)) as server:
        built = with_ann(build, way, mail=server)
        fail_to_ask(built)
    assert held == [0]


@pytest.mark.parametrize("stays", [True, False])
def test_an_insert_that_comes_too_late_sends_nothing_while_the_row_stays(
    built: Built, smtp: RecordingServer, clock: Clock, stays: bool
) -> None:
    def insert() -> None:
        with built.app.app_context():
            now = {"sent_at": clock.time, "mails": 1, "next_mail_at": clock.time + MINUTE, "code_attempts": 0}
            built.db.session.add(built.Pending(id=uuid.uuid4(), email=ANN, **now))  # type: ignore[misc]
            built.db.session.commit()

    delete = ("SELECT", lambda: built.execute_outside(f"DELETE FROM {TABLE}"))
    with acting_before(built, ("INSERT", insert), *([] if stays else [delete])):
        ask(built)
    assert len(smtp.messages) == len(smtp.conversations) == (0 if stays else 1)
    assert row_of(built) == noted(clock)


@pytest.mark.parametrize("changed", ["next_mail_at = next_mail_at + 120", "sent_at = sent_at + 60"])
def test_an_update_that_comes_too_late_sends_nothing(again: Built, smtp: RecordingServer, changed: str) -> None:
    with acting_before(again, ("UPDATE", lambda: again.execute_outside(f"UPDATE {TABLE} SET {changed}"))):
        ask(again)
    assert (smtp.conversations, again.pending_row()["mails"]) == ([], 1)


def test_an_unknown_column_is_the_applications_own_error(built: Built, smtp: RecordingServer) -> None:
    table = built.Pending.__table__.to_metadata(sa.MetaData())  # type: ignore[union-attr]
    table.append_column(sa.Column("region", sa.String(20), nullable=False))  # as a migration of somebody else's does
    table.drop(built.engine)
    table.create(built.engine)
    for _ in range(2):
        with pytest.raises(RestRegistrationError, match=f"a pending registration was refused: {DRIVER}"):
            post_address(built)
    built.app.config.update(TESTING=False)
    assert post_address(built).status_code == 500
    assert smtp.conversations == []


@pytest.mark.parametrize("table", [TABLE, "user"])
def test_a_missing_table_is_the_applications_own_error(built: Built, smtp: RecordingServer, table: str) -> None:
    built.execute_outside(f"DROP TABLE {table}")
    for _ in range(2):
        with pytest.raises(RestRegistrationError, match=DRIVER):
            post_address(built)
    assert smtp.conversations == []
    assert table == TABLE or built.pending_row()["mails"] == 0


def test_a_statement_that_meets_a_conflict_is_tried_again(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    with refusing(built, "SELECT pending", times=3), refusing(built, "INSERT", times=1):
        ask(built)
    assert row_of(built) == noted(clock)
    clock.move(MINUTE)
    with refusing(built, "UPDATE pending", times=9):
        fail_to_ask(built, "database-unavailable")
    assert len(smtp.conversations) == 1
    with refusing(built, "SELECT user", times=3), refusing(built, "UPDATE pending", times=8):
        ask(built)  # the hot row is written up to eight times again
    assert row_of(built) == noted(clock, 2, 2 * MINUTE)
    assert len(smtp.messages) == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EmailNotSent("over quota"), 503),
        (LookupError(f"no mail for {ANN}"), 503),
        (smtplib.SMTPRecipientsRefused({ANN: (550, b"5.1.1 no such user")}), 400),
        (ConfigurationError("no key"), None),
        (KeyboardInterrupt(), None),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_own_sender_that_raises_puts_the_row_back(
    build: Builder, way: Way, clock: Clock, caplog: pytest.LogCaptureFixture, error: BaseException, told: int | None
) -> None:
    links, raising = list[dict[str, str]](), [error]

    def send(request: object, addressee: object) -> None:
        links.append(RegisterSigner.for_user(addressee).get_signed_data())
        for each in raising:
            raise each

    def provoke() -> None:
        if told is None:  # a wrong set-up, and what ends the worker, are raised on
            with pytest.raises(type(error)):
                post_address(built)
        elif told == 400:
            assert field_errors(post_address(built)) == {"email": ["The mail server does not accept this address."]}
        else:
            fail_to_ask(built)

    built = with_ann(build, way, registration=sent_by(send))
    provoke()
    assert row_of(built) == (clock.time, 0, 0)
    raising.clear()
    ask(built)
    assert row_of(built) == noted(clock)
    clock.move(MINUTE)
    raising.append(error)
    before = built.pending_row()
    provoke()
    assert built.pending_row() == before
    assert len(links) == 3
    assert works(built, links[-1])  # a mail that was not accepted may have come all the same
    assert ANN not in "".join(ours(caplog))


def test_a_signal_after_the_mail_is_out_leaves_cooldown_and_code(
    built: Built, smtp: RecordingServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(connection: smtplib.SMTP) -> None:
        connection.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(smtplib.SMTP, "quit", end)
    with pytest.raises(KeyboardInterrupt):
        post_address(built)
    assert (row_of(built), built.pending_row()["code_attempts"]) == (noted(clock), 0)
    ask(built)
    assert works(built, values_of(link_in(smtp.message)))


def test_a_conflict_does_not_keep_the_row_from_being_put_back(again: Built, smtp: RecordingServer) -> None:
    before, smtp.text_reply = again.pending_row(), SPAM
    with refusing(again, "UPDATE", after=1, times=8) as met:
        fail_to_ask(again)
    assert (again.pending_row(), len(met)) == (before, 10)


@pytest.mark.parametrize("has_row", [False, True], ids=["new row", "old row"])
@pytest.mark.parametrize("mail", [("text_reply", SPAM, 503), ("rcpt_reply", "550 5.1.1 unknown", 400)], ids=str)
def test_a_row_that_cannot_be_put_back_keeps_its_cooldown_and_is_logged(
    built: Built, smtp: RecordingServer, clock: Clock, caplog: pytest.LogCaptureFixture, mail: Any, has_row: bool
) -> None:
    if has_row:
        ask(built)
        smtp.messages.clear()
        clock.move(HOUR)
    name, reply, status = mail
    setattr(smtp, name, reply)
    with refusing(built, "UPDATE", after=has_row):  # an old row is noted by an UPDATE
        assert post_address(built).status_code == status
    setattr(smtp, name, None)
    (line,) = [each for each in ours(caplog) if "put back" in each]
    assert line.startswith(f"A mail was not sent, and its row could not be put back: {DRIVER}")
    assert ANN not in line
    for time, mails in ((clock.time, 0), (built.pending_row()["next_mail_at"], 1)):
        clock.time = time
        ask(built)
        assert len(smtp.messages) == mails


def test_only_ones_own_mail_is_put_back(again: Built, smtp: RecordingServer) -> None:
    other = f"UPDATE {TABLE} SET sent_at = sent_at + 1, mails = 7, next_mail_at = 8"
    smtp.on_text, smtp.text_reply = lambda: again.execute_outside(other), SPAM
    fail_to_ask(again)
    assert row_of(again)[1:] == (7, 8)


def test_what_an_own_sender_writes_is_committed_once_the_mail_is_sent(
    build: Builder, way: Way, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    raising: list[Exception] = []

    def queue(request: object, addressee: Any) -> None:
        built.db.session.add(built.User.visit(page=RegisterSigner.for_user(addressee).get_url()))
        for each in raising:
            built.db.session.flush()
            raise each

    built = with_ann(build, way, with_visits, registration=sent_by(queue))
    ask(built)
    raising.append(LookupError())
    clock.move(MINUTE)
    fail_to_ask(built)
    (link,) = visits(built)
    raising.clear()
    built.execute_outside(f"UPDATE {TABLE} SET next_mail_at = 0")
    clock.move(-MINUTE)
    fail_to_ask(built)  # the same text once more, which the database refuses
    assert visits(built) == [link]
    (line,) = [each for each in ours(caplog) if "what the sender wrote was refused" in each]
    assert (DRIVER in line, "signature" in line) == (True, False)
    assert works(built, values_of(link))


def with_notes(build: Builder, way: Way, text: str) -> Built:
    """Build an app that leaves a row pending in the session before each request."""
    built = with_ann(build, way, with_visits)
    built.app.before_request(lambda: built.db.session.add(built.User.visit(page=text.format(len(visits(built))))))
    return built


def test_what_was_left_pending_goes_with_the_first_commit(build: Builder, way: Way, smtp: RecordingServer) -> None:
    built, seen = with_notes(build, way, "note {}"), list[list[str]]()
    smtp.on_text, smtp.text_reply = lambda: seen.append(visits(built)), SPAM
    fail_to_ask(built)
    smtp.text_reply = None
    ask(built)
    ask(built)  # no mail is due
    assert seen == [["note 0"], ["note 0", "note 1"]]
    assert visits(built) == ["note 0", "note 1", "note 2"]


def test_what_was_left_pending_and_is_refused_is_its_own_error(build: Builder, way: Way, smtp: RecordingServer) -> None:
    built = with_notes(build, way, "always the same")
    ask(built)
    before, earlier = built.pending_row(), len(smtp.conversations)
    with pytest.raises(sa.exc.IntegrityError):
        post_address(built, NOBODY)
    assert (built.pending_rows(), len(smtp.conversations)) == ([before], earlier)


def test_no_address_link_or_code_reaches_the_log(
    built: Built, smtp: RecordingServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for address in (ANN, ANN, NOBODY, "ann@", "Ann@Example.com"):
        post_address(built, address)
    for name, reply in (("mail", "451"), ("text", f"{SPAM} to {ANN}"), ("rcpt", "450"), ("rcpt", f"550 {ANN} unknown")):
        clock.move(HOUR)
        setattr(smtp, f"{name}_reply", reply)
        post_address(built)
        setattr(smtp, f"{name}_reply", None)
    smtp.stop()
    post_address(built)
    lines, link = ours(caplog), values_of(link_in(smtp.messages[0]))
    secrets = ["ann@", "nobody", "example.com", "signature=", link["timestamp"], link["signature"].lower()]
    secrets += [code_of(smtp.messages[0])] if path_of(built) == REGISTER else []
    assert [line for line in lines if any(secret in line.lower() for secret in secrets)] == []
    told = [line.partition(":")[0] for line in lines]
    assert told == [*["email-not-sent"] * 3, "A mail was not sent", "email-not-sent"]
