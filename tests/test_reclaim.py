"""A sign-up that meets claims whose last link has expired: what it replaces, and what nobody may replace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import CheckConstraint, ForeignKey, String, delete, event, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_rest_registration import (
    RestRegistrationError,
    send_register_verification_email_notification,
)

from .support import models
from .support.answers import field_errors, refused
from .support.apps import OMITTED, PASSWORD, REGISTER, Builder, Built
from .support.clock import Clock
from .support.concurrency import at_once
from .support.databases import USERS, impatient
from .support.links import link_in, values_of
from .support.mail_servers import RecordingServer
from .support.statements import recorded

WEEK = 7 * 24 * 3600
RECLAIM = {"REGISTER_RECLAIM_ENABLED": True, "REGISTER_VERIFICATION_PERIOD": WEEK}
HOSTILE = "copper-lantern-83-meadow"
TAKEN = ["This value is already taken."]


@pytest.fixture(name="built")
def reclaiming_app(build: Builder, clock: Clock) -> Built:
    return build(models.claiming, registration=RECLAIM)


def hostile_sign_up(built: Built, **changes: object) -> None:
    answer = built.register(password=HOSTILE, **{"username": "mallory", **changes})
    assert answer.status_code == 201, answer.text


def change(built: Built, **values: object) -> None:
    """Let the application change every account by itself."""
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(**values))
        built.db.session.commit()


def referring(on_delete: str | None = None, *, deferred: bool = False) -> models.Model:
    """The usual claiming model, and profiles that refer to it."""

    def model(db: SQLAlchemy) -> type[Any]:
        user = models.claiming(db)

        class Profile(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(
                ForeignKey(
                    user.id,
                    ondelete=on_delete,
                    deferrable=deferred or None,
                    initially="DEFERRED" if deferred else None,
                )
            )

        user.profile = Profile
        return user

    return model


def with_foreign_keys(build: Builder, model: models.Model, **registration: object) -> Built:
    """Build an app whose connections check foreign keys, which SQLite leaves to the application."""
    built = build(model, registration={**RECLAIM, **registration}, tables=False)

    built.enforce_foreign_keys()
    with built.app.app_context():
        built.db.create_all()
    return built


def add_profile(built: Built) -> None:
    """Refer to the only account."""
    with built.app.app_context():
        built.db.session.execute(insert(built.User.profile).values(user_id=built.row()["id"]))
        built.db.session.commit()


@contextmanager
def refused_at_the_commit(built: Built, raise_: Callable[[Any], object], *, after: str | None = None) -> Iterator[None]:
    """Let the COMMIT after the next INSERT fail, and something be done by somebody else when it is rolled back."""
    steps = ["COMMIT", "ROLLBACK"]

    def fail(session: Any) -> None:
        if steps[0] == "COMMIT":
            steps.pop(0)
            raise_(session)

    def act(session: Any) -> None:
        if steps == ["ROLLBACK"] and steps.pop() and after is not None:
            built.execute_outside(after)
        steps.append("done")

    event.listen(built.db.session, "before_commit", fail)
    event.listen(built.db.session, "after_rollback", act)
    try:
        yield
    finally:
        event.remove(built.db.session, "before_commit", fail)
        event.remove(built.db.session, "after_rollback", act)


def violate(session: Any) -> None:
    """Break the unique rule of the address, by a statement of the database."""
    session.execute(
        text(f"INSERT INTO {USERS} (email, username, password_hash) SELECT email, 'twin', 'x' FROM {USERS}")
    )


def overflow(session: Any) -> None:
    raise OverflowError("the driver cannot hold this")


# the attack


def test_a_hostile_claim_that_expired_ends_with_the_owners_sign_up_and_its_password_never_works(
    built: Built, smtp: RecordingServer, clock: Clock, signals: list[str]
) -> None:
    hostile_sign_up(built)
    hostile_link = link_in(smtp.messages[0])
    old = built.row()
    clock.move(WEEK + 1)
    answer = built.register()
    assert answer.status_code == 201
    row = built.row()
    assert answer.get_json() == {"id": row["id"], "email": "ann@example.com", "username": "ann"}
    assert row["id"] != old["id"]
    assert not check_password_hash(row["password_hash"], HOSTILE)
    refused(built.verify(hostile_link), 400, "signature-invalid")
    assert built.row()["email_verified_at"] is None

    assert built.verify(link_in(smtp.messages[1])).status_code == 200
    verified = built.row()
    assert verified["email_verified_at"] is not None
    assert verified["verification_sent_at"] is None
    assert check_password_hash(verified["password_hash"], PASSWORD)
    assert not check_password_hash(verified["password_hash"], HOSTILE)
    refused(built.verify(hostile_link), 400, "signature-invalid")
    assert signals == ["ann@example.com"] * 2


def test_without_the_setting_an_expired_claim_stays(build: Builder, clock: Clock) -> None:
    built = build(models.claiming)
    hostile_sign_up(built)
    old = built.row()
    clock.move(10 * WEEK)
    assert field_errors(built.register()) == {"email": TAKEN}
    assert built.row() == old


def test_a_claim_is_stale_one_second_after_its_period_just_when_its_link_has_expired(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    hostile_sign_up(built)
    old = built.row()
    clock.move(WEEK)
    with recorded(built.engine) as statements:
        assert field_errors(built.register()) == {"email": TAKEN}
    assert statements.queries == ["INSERT", "SELECT"]
    assert built.row() == old
    clock.move(1)
    refused(built.verify(link_in(smtp.message)), 400, "signature-expired")
    assert built.register().status_code == 201
    assert built.row()["username"] == "ann"


def test_a_claim_can_still_be_verified_at_the_very_end_of_its_period(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    hostile_sign_up(built)
    clock.move(WEEK)
    assert built.verify(link_in(smtp.message)).status_code == 200


def test_a_claim_from_a_clock_that_was_ahead_is_not_stale(built: Built, clock: Clock) -> None:
    hostile_sign_up(built)
    clock.move(-10 * WEEK)
    assert field_errors(built.register()) == {"email": TAKEN}


def test_replacing_takes_four_statements_in_two_transactions(built: Built, clock: Clock) -> None:
    hostile_sign_up(built)
    clock.move(WEEK + 1)
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
    assert statements.queries == ["INSERT", "SELECT", "DELETE", "INSERT"]
    assert statements.count("COMMIT") == 1
    assert statements.kinds[-1] == "COMMIT"


def test_the_new_account_is_a_claim_with_the_time_of_its_own_link(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    hostile_sign_up(built)
    clock.move(WEEK + 1)
    assert built.register().status_code == 201
    assert values_of(link_in(smtp.messages[1]))["timestamp"] == str(clock.time)
    clock.move(WEEK)
    assert list(field_errors(built.register())) == ["email", "username"]


# several rows in the way


def test_two_expired_claims_of_which_one_holds_the_address_and_one_the_name_are_both_replaced(
    built: Built, clock: Clock, smtp: RecordingServer, signals: list[str]
) -> None:
    hostile_sign_up(built)
    hostile_sign_up(built, email="mallory@example.com", username="ann")
    clock.move(WEEK + 1)
    assert built.register().status_code == 201
    row = built.row()
    assert (row["email"], row["username"]) == ("ann@example.com", "ann")
    assert check_password_hash(row["password_hash"], PASSWORD)
    assert (len(smtp.messages), len(signals)) == (3, 3)


def test_one_expired_claim_that_holds_both_is_replaced(built: Built, clock: Clock) -> None:
    hostile_sign_up(built, username="ann")
    clock.move(WEEK + 1)
    assert built.register().status_code == 201
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


def test_other_claims_that_are_not_in_the_way_stay(built: Built, clock: Clock) -> None:
    hostile_sign_up(built)
    hostile_sign_up(built, email="bob@example.com", username="bob")
    clock.move(WEEK + 1)
    assert built.register().status_code == 201
    assert [row["username"] for row in built.rows()] == ["bob", "ann"]


@pytest.mark.parametrize(
    ("expired", "young", "named"),
    [
        ({"username": "mallory"}, {"email": "eve@example.com", "username": "ann"}, "username"),
        ({"email": "eve@example.com", "username": "ann"}, {"username": "mallory"}, "email"),
    ],
    ids=["the address is stale", "the name is stale"],
)
def test_where_one_of_two_claims_lives_nothing_is_deleted_and_only_its_field_is_named(
    built: Built,
    clock: Clock,
    smtp: RecordingServer,
    expired: dict[str, object],
    young: dict[str, object],
    named: str,
) -> None:
    hostile_sign_up(built, **expired)
    clock.move(WEEK)
    hostile_sign_up(built, **young)
    clock.move(1)
    before = built.rows()
    with recorded(built.engine) as statements:
        assert field_errors(built.register()) == {named: TAKEN}
    assert statements.queries == ["INSERT", "SELECT"]
    assert built.rows() == before
    assert len(smtp.messages) == 2


def test_a_verified_account_beside_an_expired_claim_is_the_one_that_is_named(
    built: Built, clock: Clock, smtp: RecordingServer
) -> None:
    hostile_sign_up(built, email="eve@example.com", username="ann")
    assert built.verify(link_in(smtp.message)).status_code == 200
    hostile_sign_up(built)
    clock.move(WEEK + 1)
    before = built.rows()
    assert field_errors(built.register()) == {"username": TAKEN}
    assert built.rows() == before


def test_without_the_setting_every_field_is_named_however_old_the_claims_are(
    build: Builder, clock: Clock, smtp: RecordingServer
) -> None:
    built = build(models.claiming)
    hostile_sign_up(built, email="eve@example.com", username="ann")
    clock.move(WEEK + 1)
    hostile_sign_up(built)
    assert field_errors(built.register()) == {"email": TAKEN, "username": TAKEN}


# what is never replaced


def cleared_flag(built: Built, smtp: RecordingServer) -> None:
    """An account that was verified, and whose flag the application took back."""
    assert built.verify(link_in(smtp.message)).status_code == 200
    change(built, email_verified_at=None)


def verified(built: Built, smtp: RecordingServer) -> None:
    assert built.verify(link_in(smtp.message)).status_code == 200


def locked(built: Built, smtp: RecordingServer) -> None:
    """A claim that the application locks, or an account made by hand: there is no time of a link."""
    change(built, verification_sent_at=None)


def verified_by_the_application_only(built: Built, smtp: RecordingServer) -> None:
    change(built, email_verified_at=datetime(2020, 1, 1, tzinfo=timezone.utc))


@pytest.mark.parametrize("become", [cleared_flag, verified, locked, verified_by_the_application_only])
def test_an_account_that_is_no_claim_is_never_replaced(
    built: Built, clock: Clock, smtp: RecordingServer, become: Callable[[Built, RecordingServer], object]
) -> None:
    hostile_sign_up(built)
    become(built, smtp)
    before = built.row()
    clock.move(100 * WEEK)
    assert field_errors(built.register()) == {"email": TAKEN}
    assert built.row() == before


def test_an_account_made_by_hand_is_never_replaced(built: Built, clock: Clock) -> None:
    with built.app.app_context():
        built.db.session.add(built.User(email="ann@example.com", username="by hand", password_hash="x"))
        built.db.session.commit()
    clock.move(100 * WEEK)
    assert field_errors(built.register()) == {"email": TAKEN}
    assert built.row()["username"] == "by hand"


def test_an_account_from_when_verification_was_off_is_never_replaced(
    build: Builder, built: Built, clock: Clock
) -> None:
    off = build(
        models.claiming,
        database_uri=built.database_uri,
        registration={"REGISTER_VERIFICATION_ENABLED": False},
        tables=False,
    )
    assert off.register(username="early").status_code == 201
    clock.move(100 * WEEK)
    assert field_errors(built.register()) == {"email": TAKEN}
    assert built.row()["username"] == "early"


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside one that is still stale"])
def test_a_claim_that_is_verified_while_it_is_being_replaced_stays_with_all_others(
    built: Built, clock: Clock, others: int
) -> None:
    hostile_sign_up(built)
    if others:
        hostile_sign_up(built, email="eve@example.com", username="ann")
    ids = [row["id"] for row in built.rows()]
    clock.move(WEEK + 1)

    @event.listens_for(built.engine, "before_cursor_execute")
    def verify_first(conn: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith("DELETE"):
            built.execute_outside("UPDATE user SET email_verified_at = '2023-01-01 00:00:00.000000' WHERE id = 1")

    assert field_errors(built.register()) == {"email": TAKEN}
    assert [row["id"] for row in built.rows()] == ids


@pytest.mark.parametrize("hides", [False, True], ids=["open", "hiding"])
def test_where_the_application_wrote_in_the_transaction_nothing_is_replaced(
    build: Builder, clock: Clock, smtp: RecordingServer, hides: bool
) -> None:
    hiding = {"REGISTER_HIDE_EXISTING_EMAIL": True, "REGISTER_PASSWORD_AT": "verify"} if hides else {}
    body = {"password": OMITTED, "password_confirm": OMITTED} if hides else {}
    built = build(models.claiming, registration={**RECLAIM, **hiding})
    pending: list[dict[str, str]] = []
    built.app.before_request(lambda: built.db.session.add_all([built.User(**values) for values in pending]))
    assert built.register(**{**body, "username": "mallory"}).status_code == (202 if hides else 201)
    clock.move(WEEK + 1)
    old = built.row()
    pending.append({"email": "log@example.com", "username": "log", "password_hash": "x"})
    answer = built.register(**body)
    if hides:
        assert answer.status_code == 202
        assert [row["id"] for row in built.rows()] == [old["id"]]
        assert values_of(link_in(smtp.messages[-1]))["user_id"] == str(old["id"])
    else:
        assert field_errors(answer) == {"email": TAKEN}
        assert built.rows() == [old]


# what fails on the way


@pytest.mark.parametrize(
    ("step", "reply", "status"),
    [("text", "451 later", 503), ("mail", "550 no", 503), ("rcpt", "451 greylisted", 503), ("rcpt", "550 no", 400)],
)
def test_a_mail_that_fails_brings_the_old_claims_back(
    built: Built, clock: Clock, smtp: RecordingServer, signals: list[str], step: str, reply: str, status: int
) -> None:
    hostile_sign_up(built)
    hostile_sign_up(built, email="mallory@example.com", username="ann")
    clock.move(WEEK + 1)
    before = built.rows()
    setattr(smtp, f"{step}_reply", reply)
    answer = built.register()
    if status == 400:
        assert list(field_errors(answer)) == ["email"]
    else:
        refused(answer, 503, "email-not-sent")
    assert built.rows() == before
    assert len(signals) == 2
    setattr(smtp, f"{step}_reply", None)
    assert built.register().status_code == 201
    assert len(built.rows()) == 1


def test_a_mail_server_that_is_down_leaves_the_claim_untouched(
    build: Builder, built: Built, clock: Clock, smtp: RecordingServer
) -> None:
    hostile_sign_up(built)
    clock.move(WEEK + 1)
    before = built.row()
    with RecordingServer() as gone:
        pass
    down = build(models.claiming, database_uri=built.database_uri, registration=RECLAIM, mail=gone, tables=False)
    with recorded(down.engine) as statements:
        refused(down.register(), 503, "email-not-sent")
    assert statements.queries == []
    assert built.row() == before


def test_a_sender_that_rolls_back_brings_the_old_claim_back(build: Builder, clock: Clock) -> None:
    def send(request: Any, user: Any) -> None:
        if user.username == "ann":
            built.db.session.rollback()

    built = build(models.claiming, registration={**RECLAIM, "REGISTER_VERIFICATION_EMAIL_SENDER": send})
    hostile_sign_up(built)
    clock.move(WEEK + 1)
    before = built.row()
    refused(built.register(), 503, "email-not-sent")
    assert built.row() == before


def test_a_claim_that_other_rows_refer_to_is_answered_as_taken(
    build: Builder, clock: Clock, smtp: RecordingServer
) -> None:
    built = with_foreign_keys(build, referring())
    hostile_sign_up(built)
    hostile_sign_up(built, email="eve@example.com", username="ann")
    with built.app.app_context():
        built.db.session.execute(insert(built.User.profile).values(user_id=built.rows()[0]["id"]))
        built.db.session.commit()
    clock.move(WEEK + 1)
    before = built.rows()
    assert list(field_errors(built.register())) == ["email", "username"]
    assert built.rows() == before
    assert len(smtp.messages) == 2
    with built.app.app_context():
        built.db.session.execute(delete(built.User.profile))
        built.db.session.commit()
    assert built.register().status_code == 201


def test_what_refers_to_a_claim_with_on_delete_cascade_goes_with_it(build: Builder, clock: Clock) -> None:
    built = with_foreign_keys(build, referring("CASCADE"))
    hostile_sign_up(built)
    add_profile(built)
    clock.move(WEEK + 1)
    assert built.register().status_code == 201
    assert built.row()["username"] == "ann"
    with built.app.app_context():
        assert list(built.db.session.scalars(select(built.User.profile))) == []


@pytest.mark.only_on("sqlite", "postgresql")
def test_a_foreign_key_that_is_checked_at_the_commit_keeps_the_claim_and_the_mails_link_is_dead(
    build: Builder, clock: Clock, smtp: RecordingServer, signals: list[str]
) -> None:
    built = with_foreign_keys(build, referring(deferred=True))
    hostile_sign_up(built)
    add_profile(built)
    clock.move(WEEK + 1)
    before = built.row()
    assert field_errors(built.register()) == {"email": TAKEN}
    assert built.row() == before
    assert len(signals) == 1
    refused(built.verify(link_in(smtp.messages[1])), 400, "signature-invalid")


@pytest.mark.only_on("sqlite")
def test_the_database_that_is_busy_at_the_commit_brings_the_old_claim_back(
    build: Builder, clock: Clock, smtp: RecordingServer
) -> None:
    built = build(
        models.claiming,
        registration=RECLAIM,
        config=impatient(),
    )
    hostile_sign_up(built)
    clock.move(WEEK + 1)
    before = built.row()
    with built.outside() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM user").all()
        refused(built.register(), 503, "database-unavailable")
    assert built.row() == before
    refused(built.verify(link_in(smtp.messages[1])), 400, "signature-invalid")
    assert built.register().status_code == 201


def test_of_two_owners_at_once_one_wins(built: Built, clock: Clock, smtp: RecordingServer, signals: list[str]) -> None:
    for number in range(5):
        address = f"ann{number}@example.com"
        hostile_sign_up(built, email=address, username=f"m{number}")
        clock.move(WEEK + 1)
        passwords = [PASSWORD, "granite-willow-29-comet"]
        mails = len(smtp.messages)
        outcome = at_once(
            2,
            lambda n: (
                n,
                built.register(email=address, username=f"ann{number}", password=passwords[n]),  # noqa: B023
            ),
        )
        assert outcome.errors == []
        assert sorted(answer.status_code for _, answer in outcome.results) == [201, 400]
        winner = next(n for n, answer in outcome.results if answer.status_code == 201)
        loser = next(answer for _, answer in outcome.results if answer.status_code == 400)
        assert set(field_errors(loser)) == {"email", "username"}
        (row,) = (row for row in built.rows() if row["email"] == address)
        assert check_password_hash(row["password_hash"], passwords[winner])
        assert len(smtp.messages) == mails + 1
    assert len(signals) == 10


# what is refused at the COMMIT


TWIN = (
    "INSERT INTO user (id, email, username, password_hash, verification_sent_at)"
    " VALUES (99, 'ann@example.com', 'faster', 'x', '{sent}')"
)
LONG_AGO, IN_THE_FUTURE = "2001-01-01 00:00:00.000000", "2100-01-01 00:00:00.000000"


@pytest.mark.parametrize("sent", [LONG_AGO, IN_THE_FUTURE], ids=["stale", "young"])
def test_after_a_mail_is_out_nothing_is_replaced_any_more(
    built: Built, smtp: RecordingServer, signals: list[str], sent: str
) -> None:
    with refused_at_the_commit(built, violate, after=TWIN.format(sent=sent)):
        assert field_errors(built.register()) == {"email": TAKEN}
    assert built.row()["username"] == "faster"
    assert (len(smtp.messages), signals) == (1, [])


@pytest.mark.parametrize("verification", [True, False])
def test_a_unique_violation_that_comes_at_the_commit_names_the_field(
    build: Builder, clock: Clock, verification: bool
) -> None:
    built = build(models.claiming, registration={"REGISTER_VERIFICATION_ENABLED": verification})
    with refused_at_the_commit(built, violate, after=TWIN.format(sent=LONG_AGO)):
        assert field_errors(built.register()) == {"email": TAKEN}
    assert built.row()["username"] == "faster"


@pytest.mark.parametrize("verification", [True, False])
def test_a_value_that_the_database_refuses_only_at_the_commit_is_an_error_of_the_object(
    build: Builder, clock: Clock, verification: bool, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(models.claiming, registration={"REGISTER_VERIFICATION_ENABLED": verification})
    with refused_at_the_commit(built, overflow):
        assert list(field_errors(built.register())) == ["_schema"]
    assert built.rows() == []
    assert logging.ERROR in [record.levelno for record in caplog.records]
    assert "ann@" not in caplog.text
    assert built.register().status_code == 201


@pytest.mark.parametrize("verification", [True, False])
def test_a_violation_at_the_commit_in_which_the_application_took_part_is_its_own(
    build: Builder, clock: Clock, verification: bool
) -> None:
    built = build(models.claiming, registration={"REGISTER_VERIFICATION_ENABLED": verification})

    @built.app.before_request
    def write() -> None:
        built.db.session.add(built.User(email="log@example.com", username="log", password_hash="x"))

    with refused_at_the_commit(built, violate), pytest.raises(RestRegistrationError):
        built.register()
    assert built.rows() == []


# the rest of storing


@pytest.mark.parametrize("verification", [True, False])
def test_what_is_taken_is_named_with_and_without_verification(build: Builder, verification: bool) -> None:
    built = build(models.claiming, registration={"REGISTER_VERIFICATION_ENABLED": verification})
    assert built.register().status_code == 201
    assert field_errors(built.register()) == {"email": TAKEN, "username": TAKEN}
    assert field_errors(built.register(username="other")) == {"email": TAKEN}


def test_where_nothing_unique_was_sent_the_database_is_not_asked_what_is_taken(build: Builder) -> None:
    model = models.declared(
        email=mapped_column(String(254), unique=True),
        nickname=mapped_column(String(20), nullable=False),
        __table_args__=(CheckConstraint("nickname <> 'root'"),),
    )
    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": False})
    with recorded(built.engine) as statements:
        answer = built.register(email=OMITTED, nickname="root")
    assert list(field_errors(answer)) == ["_schema"]
    assert statements.queries == ["INSERT", "INSERT"]  # nothing is known to be in the way, so that it is tried again


class WithoutAddress(Schema):
    password = fields.String(required=True)


def test_an_account_without_an_address_cannot_wait_for_its_verification(build: Builder) -> None:
    built = build(
        models.declared(email=mapped_column(String(254), unique=True)),
        registration={"REGISTER_SERIALIZER_CLASS": WithoutAddress},
    )
    refused(built.post(REGISTER, {"password": PASSWORD}), 400, "user-without-email-nonverifiable")
    assert built.rows() == []


def test_a_sender_of_ones_own_gets_the_account_that_replaces_the_claim(
    build: Builder, clock: Clock, smtp: RecordingServer
) -> None:
    seen: list[tuple[int, str]] = []

    def send(request: Any, user: Any) -> None:
        seen.append((user.id, user.username))
        send_register_verification_email_notification(request, user)

    built = build(models.claiming, registration={**RECLAIM, "REGISTER_VERIFICATION_EMAIL_SENDER": send})
    hostile_sign_up(built)
    clock.move(WEEK + 1)
    assert built.register().status_code == 201
    assert seen == [(1, "mallory"), (built.row()["id"], "ann")]
    assert built.verify(link_in(smtp.messages[1])).status_code == 200


def test_a_model_that_does_not_tell_claims_registers_as_ever(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.typed)
    assert built.register().status_code == 201
    assert field_errors(built.register()) == {"email": TAKEN, "username": TAKEN}
    assert built.verify(link_in(smtp.message)).status_code == 200
