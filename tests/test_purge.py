"""``flask rest-registration purge``: what it deletes, what it never does, and what it says when it cannot."""

from __future__ import annotations

import io
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from flask.cli import ScriptInfo
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Boolean,
    DateTime,
    ForeignKey,
    Integer,
    String,
    Table,
    Uuid,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.orm import mapped_column

from flask_rest_registration import user_activated, user_registered

from .support import models
from .support.apps import Builder, Built
from .support.clock import Clock, at
from .support.databases import AT_THE_COMMIT, DRIVER, Outside, impatient
from .support.links import link_in, values_of
from .support.mail_servers import RecordingServer
from .support.messages import lacking
from .support.statements import recorded

DAY = 24 * 3600
WEEK = 7 * DAY
IMPATIENT = impatient()
AUTOINCREMENT = {"sqlite_autoincrement": True}


def purge(built: Built, days: object = 7, *options: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it says."""
    outcome = built.command("purge", "--older-than", str(days), *options)
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome.exit_code, outcome.output


def purged(built: Built, days: object = 7) -> tuple[int, int]:
    """Run the command, which succeeds; return how many it deleted and how many it kept."""
    code, output = purge(built, days)
    assert code == 0, output
    words = output.splitlines()[-1].split()
    assert output.splitlines()[-1] == f"{words[0]} claims deleted, {words[3]} kept because other rows refer to them"
    return int(words[0]), int(words[3])


def refusal(built: Built, days: object = 7) -> str:
    """Run the command, which cannot work; return its one message."""
    code, output = purge(built, days)
    assert (code, output.count("Error: "), "Traceback" in output) == (1, 1, False), output
    return output.partition("Error: ")[2]


def add(built: Built, count: int = 1, *, prefix: str = "claim", **values: object) -> None:
    """INSERT accounts as no sign-up would: many at once, with any moments."""
    row: dict[str, object] = {"password_hash": "x", **values}
    rows = [{**row, "email": f"{prefix}{number:04}@example.com"} for number in range(count)]
    if hasattr(built.User, "username"):
        rows = [{**each, "username": each["email"]} for each in rows]
    with built.app.app_context():
        built.db.session.execute(insert(built.User), rows)
        built.db.session.commit()


def add_old_claims(built: Built, clock: Clock, count: int = 1, *, prefix: str = "claim", **values: Any) -> None:
    add(built, count, prefix=prefix, verification_sent_at=at(clock.time - 30 * DAY), **values)


def addresses(built: Built) -> list[str]:
    return sorted(row["email"].partition("@")[0] for row in built.rows())


@pytest.fixture(name="built")
def app_with_claims(build: Builder, clock: Clock) -> Built:
    return build(models.claiming, config=IMPATIENT)


# What is deleted, and what stays


def test_a_claim_goes_when_its_link_has_expired_and_not_a_second_before(
    built: Built, clock: Clock, smtp: RecordingServer
) -> None:
    assert built.register().status_code == 201
    link = link_in(smtp.message)
    clock.move(WEEK)
    assert (purged(built), addresses(built)) == ((0, 0), ["ann"])
    clock.move(1)
    assert (purged(built), addresses(built)) == ((1, 0), [])
    assert built.verify(link).get_json()["code"] == "signature-invalid"


def test_the_address_and_the_name_are_free_again_and_the_key_is_new(built: Built, clock: Clock) -> None:
    built.register()
    old = built.row()["id"]
    clock.move(WEEK + 1)
    assert purged(built) == (1, 0)
    assert built.register().status_code == 201
    assert built.row()["id"] != old


def test_days_are_counted_from_the_last_link_not_from_the_sign_up(
    build: Builder, clock: Clock, smtp: RecordingServer
) -> None:
    built = build(models.claiming, registration={"REGISTER_VERIFICATION_RESEND_ENABLED": True})
    built.register()
    clock.move(6 * DAY)
    assert built.post("resend-verification/", {"email": "ann@example.com"}).status_code == 202
    clock.move(6 * DAY)
    assert purged(built) == (0, 0)
    assert built.verify(link_in(smtp.messages[-1])).status_code == 200


def test_only_as_many_days_as_were_asked_for_are_too_old(built: Built, clock: Clock) -> None:
    for days in (8, 20, 40):
        add(built, prefix=f"of{days}days", verification_sent_at=at(clock.time - days * DAY - 1))
    assert (purged(built, 40), addresses(built)) == ((1, 0), ["of20days0000", "of8days0000"])
    assert (purged(built, 20), addresses(built)) == ((1, 0), ["of8days0000"])
    assert purged(built, 36500) == (0, 0)


def test_verified_accounts_stay_also_when_the_application_clears_the_flag(
    built: Built, clock: Clock, smtp: RecordingServer
) -> None:
    built.register()
    assert built.verify(link_in(smtp.message)).status_code == 200
    clock.move(60 * DAY)
    assert purged(built) == (0, 0)
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(email_verified_at=None))
        built.db.session.commit()
    assert (purged(built), addresses(built)) == ((0, 0), ["ann"])


def test_verified_locked_and_hand_made_accounts_stay_whatever_their_flag_says(built: Built, clock: Clock) -> None:
    old = at(clock.time - 30 * DAY)
    add(built, prefix="verified-by-the-application-alone", verification_sent_at=old, email_verified_at=old)
    add(built, prefix="hand-made-and-verified", email_verified_at=old)
    add(built, prefix="hand-made-or-locked")
    add_old_claims(built, clock)
    before = addresses(built)
    assert purged(built) == (1, 0)
    assert addresses(built) == [each for each in before if each != "claim0000"]


def test_a_time_in_the_future_is_never_too_old(built: Built, clock: Clock) -> None:
    add(built, prefix="future", verification_sent_at=at(clock.time + 30 * DAY))
    clock.move(-300 * DAY)
    add(built, prefix="also-future", verification_sent_at=at(clock.time + 1))
    assert (purged(built), len(built.rows())) == ((0, 0), 2)


def with_columns(**columns: Any) -> models.Model:
    """The usual model with a moment and keys that are given once, and some columns of one's own."""
    return models.declared(
        **{"__table_args__": AUTOINCREMENT, "verification_sent_at": mapped_column(DateTime), **columns}
    )


def uuid_keys() -> models.Model:
    return with_columns(id=mapped_column(Uuid, primary_key=True, default=uuid.uuid4))


def text_keys() -> models.Model:
    return with_columns(id=mapped_column(String(36), primary_key=True, default=lambda: str(uuid.uuid4())))


def two_keys() -> models.Model:
    return with_columns(
        __table_args__={},
        tenant=mapped_column(Integer, primary_key=True, autoincrement=False, default=3),
        id=mapped_column(Uuid, primary_key=True, default=uuid.uuid4),
        public=mapped_column(Uuid(as_uuid=False), unique=True, nullable=False, default=lambda: str(uuid.uuid4())),
    )


def zoned_moments() -> models.Model:
    return with_columns(verification_sent_at=mapped_column(DateTime(timezone=True)))


def boolean_flags() -> models.Model:
    return with_columns(email_verified_at=None, is_verified=mapped_column(Boolean, default=False))


def null_flags() -> models.Model:
    return with_columns(email_verified_at=None, is_verified=mapped_column(Boolean))


def other_names() -> models.Model:
    return with_columns(
        id=mapped_column("number", Integer, primary_key=True),
        verification_sent_at=mapped_column("link sent", DateTime),
    )


SETTINGS: dict[Callable[[], models.Model], dict[str, object]] = {
    two_keys: {"USER_VERIFICATION_ID_FIELD": "public", "USER_EDITABLE_FIELDS": []},
}


@pytest.mark.parametrize(
    "model", [uuid_keys, text_keys, two_keys, zoned_moments, boolean_flags, null_flags, other_names]
)
def test_keys_moments_and_flags_of_every_kind_are_understood(
    build: Builder, clock: Clock, model: Callable[[], models.Model]
) -> None:
    built = build(model(), registration=SETTINGS.get(model))
    add_old_claims(built, clock, 700)
    add(built, prefix="young", verification_sent_at=at(clock.time))
    add(built, prefix="locked")
    assert purged(built) == (700, 0)
    assert addresses(built) == ["locked0000", "young0000"]


def test_what_never_had_an_id_for_its_link_stays_and_is_not_looked_for_for_ever(build: Builder, clock: Clock) -> None:
    model = with_columns(public=mapped_column(String(36), unique=True))
    settings = {"USER_VERIFICATION_ID_FIELD": "public", "USER_EDITABLE_FIELDS": []}
    built = build(model, registration=settings)
    add_old_claims(built, clock, 2)
    add_old_claims(built, clock, prefix="with-id", public="a")
    statements: list[str] = []

    @event.listens_for(built.engine, "before_cursor_execute")
    def stop_an_endless_loop(conn: object, cursor: object, sql: str, *_: object) -> None:
        statements.append(sql)
        assert len(statements) < 20

    assert purge(built, 7, "--dry-run") == (0, "1 claims would be deleted\n")
    assert purged(built) == (1, 0)
    assert addresses(built) == ["claim0000", "claim0001"]


def test_no_signal_is_sent(built: Built, clock: Clock) -> None:
    add_old_claims(built, clock)
    heard: list[object] = []

    def hear(sender: object, **_: object) -> None:
        heard.append(sender)

    with user_registered.connected_to(hear), user_activated.connected_to(hear):
        assert purged(built) == (1, 0)
    assert heard == []


# What is refused before anything is looked at


@pytest.mark.parametrize("days", [1, 6])
def test_links_that_still_work_are_not_killed(built: Built, clock: Clock, days: int) -> None:
    add_old_claims(built, clock)
    with recorded(built.engine) as statements:
        code, output = purge(built, days)
    assert (code, statements.queries) == (2, [])
    assert lacking(output, "--older-than", "links live for 7 days", "REGISTER_VERIFICATION_PERIOD", "at least") == []
    assert len(built.rows()) == 1


def test_the_period_is_the_settings(build: Builder, clock: Clock) -> None:
    built = build(models.claiming, registration={"REGISTER_VERIFICATION_PERIOD": 36 * 3600})
    assert purge(built, 1)[0] == 2
    assert purged(built, 2) == (0, 0)


@pytest.mark.parametrize("days", [0, -1, -7, 36501, "seven", "7.5", ""])
def test_days_that_are_no_positive_number_are_refused(built: Built, clock: Clock, days: object) -> None:
    add_old_claims(built, clock)
    code, output = purge(built, days)
    assert (code, "--older-than" in output) == (2, True)
    assert len(built.rows()) == 1


def test_nothing_is_deleted_without_days(built: Built, clock: Clock) -> None:
    add_old_claims(built, clock)
    outcome = built.command("purge")
    assert (outcome.exit_code, "--older-than" in outcome.output) == (2, True)
    assert len(built.rows()) == 1


def test_without_a_column_that_tells_claims_the_mend_is_told(build: Builder) -> None:
    built = build(with_columns(verification_sent_at=None))
    message = refusal(built)
    words = ("verification_sent_at = db.Column(db.DateTime)", "User", "USER_VERIFICATION_SENT_AT_FIELD")
    assert lacking(message, *words) == []
    assert len(message.splitlines()) == 1


def test_a_flag_that_locks_people_out_is_refused(build: Builder, clock: Clock) -> None:
    built = build(with_columns(email_verified_at=None, is_active=mapped_column(Boolean, default=False)))
    add_old_claims(built, clock)
    message = refusal(built)
    assert lacking(message, "User.is_active", "lock", "email_verified_at = db.Column(db.DateTime)") == []
    assert len(message.splitlines()) == 1
    assert len(built.rows()) == 1


@pytest.mark.only_on("sqlite")
def test_sqlite_without_autoincrement_is_refused(build: Builder, clock: Clock) -> None:
    built = build(with_columns(__table_args__={}))
    add_old_claims(built, clock)
    message = refusal(built)
    assert lacking(message, '__table_args__ = {"sqlite_autoincrement": True}', "User") == []
    assert len(message.splitlines()) == 1
    assert len(built.rows()) == 1


@pytest.mark.parametrize("model", [models.claiming, models.minimal])
def test_without_verification_there_is_nothing_to_purge(build: Builder, clock: Clock, model: models.Model) -> None:
    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": False})
    if model is models.claiming:
        add_old_claims(built, clock)
    before = built.rows()
    message = refusal(built)
    assert lacking(message, "REGISTER_VERIFICATION_ENABLED is False", "nothing is deleted") == []
    assert len(message.splitlines()) == 1
    assert built.rows() == before


# Counting only


def test_a_dry_run_counts_and_deletes_nothing(built: Built, clock: Clock) -> None:
    add_old_claims(built, clock, 3)
    add(built, prefix="young", verification_sent_at=at(clock.time))
    with recorded(built.engine) as statements:
        assert purge(built, 7, "--dry-run") == (0, "3 claims would be deleted\n")
    assert statements.queries == ["SELECT"]
    assert len(built.rows()) == 4


def test_a_dry_run_of_days_that_are_too_few_is_refused_as_well(built: Built) -> None:
    assert purge(built, 6, "--dry-run")[0] == 2


# Many


class Terminal(io.StringIO):
    """Where somebody watches."""

    def isatty(self) -> bool:
        return True


def test_many_are_deleted_in_batches_each_with_a_commit_of_its_own(built: Built, clock: Clock) -> None:
    add_old_claims(built, clock, 1100)
    add(built, prefix="young", verification_sent_at=at(clock.time))
    with recorded(built.engine) as statements:
        assert purged(built) == (1100, 0)
    batch = ["BEGIN", "SELECT", "COMMIT", "BEGIN", "DELETE", "COMMIT"]
    question = ["BEGIN", "SELECT", "COMMIT"]
    assert statements.kinds == [*question, *batch * 3, *question]
    assert addresses(built) == ["young0000"]


def test_a_progress_bar_shows_how_far_it_is(built: Built, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    add_old_claims(built, clock, 1100)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    built.app.cli.main(
        args=["rest-registration", "purge", "--older-than", "7"],
        obj=ScriptInfo(create_app=lambda: built.app),
        standalone_mode=False,
    )
    shown = screen.getvalue()
    assert lacking(shown, "Deleting claims", "  0%", " 45%", " 90%", "100%") == []
    assert shown.splitlines()[-1] == "1100 claims deleted, 0 kept because other rows refer to them"


# What other rows refer to


def referred_to(db: SQLAlchemy) -> type[Any]:
    """The model, with profiles that keep their users and orders that are looked at only at the COMMIT."""
    user = models.claiming(db)
    user.profiles = Table("profile", db.metadata, mapped_column("user_id", ForeignKey("user.id")).column)
    deferred = ForeignKey("user.id", **AT_THE_COMMIT)
    user.orders = Table("orders", db.metadata, mapped_column("user_id", deferred).column)
    cascading = ForeignKey("user.id", ondelete="CASCADE")
    user.notes = Table("note", db.metadata, mapped_column("user_id", cascading).column)
    return user


@pytest.fixture
def referring(build: Builder, clock: Clock) -> Built:
    built = build(referred_to, config=IMPATIENT)
    built.enforce_foreign_keys()
    return built


def refer(built: Built, table: str, *prefixes: str) -> None:
    """Add a row to a table for each of these accounts."""
    with built.app.app_context():
        for prefix in prefixes:
            user = select(built.User.id).where(built.User.email == f"{prefix}@example.com").scalar_subquery()
            built.db.session.execute(insert(getattr(built.User, table)).values(user_id=user))
        built.db.session.commit()


@pytest.mark.parametrize("table", ["profiles", "orders"])
def test_what_other_rows_refer_to_is_kept_and_counted_and_does_not_stop_the_others(
    referring: Built, clock: Clock, table: str
) -> None:
    add_old_claims(referring, clock, 5)
    refer(referring, table, "claim0000", "claim0002")
    assert purged(referring) == (3, 2)
    assert addresses(referring) == ["claim0000", "claim0002"]
    assert purged(referring) == (0, 2)
    with referring.app.app_context():
        referring.db.session.execute(delete(getattr(referring.User, table)))
        referring.db.session.commit()
    assert (purged(referring), addresses(referring)) == ((2, 0), [])


def test_in_the_middle_of_many_only_its_own_batch_is_deleted_one_by_one(referring: Built, clock: Clock) -> None:
    add_old_claims(referring, clock, 1020)
    refer(referring, "profiles", "claim1003", "claim1019")
    with recorded(referring.engine) as statements:
        assert purged(referring) == (1018, 2)
    assert statements.count("DELETE") == 2 + 1 + 20
    assert addresses(referring) == ["claim1003", "claim1019"]


def test_a_whole_batch_that_is_kept_is_passed_over(referring: Built, clock: Clock) -> None:
    add_old_claims(referring, clock, 503)
    with referring.app.app_context():
        kept = select(referring.User.id).order_by(referring.User.id).limit(500)
        referring.db.session.execute(insert(referring.User.profiles).from_select(["user_id"], kept))
        referring.db.session.commit()
    assert purged(referring) == (3, 500)


def test_one_claim_that_is_kept_is_not_tried_twice(referring: Built, clock: Clock) -> None:
    add_old_claims(referring, clock)
    refer(referring, "profiles", "claim0000")
    with recorded(referring.engine) as statements:
        assert purged(referring) == (0, 1)
    assert statements.count("DELETE") == 1


def test_what_refers_with_on_delete_cascade_goes_with_the_claim(referring: Built, clock: Clock) -> None:
    add_old_claims(referring, clock)
    refer(referring, "notes", "claim0000")
    assert purged(referring) == (1, 0)
    with referring.app.app_context():
        assert referring.db.session.execute(select(referring.User.notes)).all() == []


def test_check_names_the_foreign_keys_that_keep_claims(referring: Built) -> None:
    outcome = referring.command("check")
    assert outcome.exit_code == 0
    assert lacking(outcome.output, "warning: The foreign key", "profile.user_id", "orders.user_id", "0 errors, 2") == []
    assert "note.user_id" not in outcome.output


@pytest.mark.only_on("sqlite")
def test_check_ends_with_1_where_a_setting_would_delete_without_harm_being_ruled_out(build: Builder) -> None:
    built = build(with_columns(__table_args__={}), registration={"REGISTER_RECLAIM_ENABLED": True})
    outcome = built.command("check")
    assert (outcome.exit_code, outcome.output.splitlines()[-1]) == (1, "1 errors, 0 warnings")
    assert lacking(outcome.output, "error: ", "sqlite_autoincrement") == []


# What happens meanwhile


@contextmanager
def before_delete(built: Built, number: int, action: Callable[[], object]) -> Iterator[None]:
    """Do something just before the DELETE of that number."""
    seen: list[str] = []

    def act(conn: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith("DELETE"):
            seen.append(sql)
            if len(seen) == number:
                action()

    event.listen(built.engine, "before_cursor_execute", act)
    yield
    event.remove(built.engine, "before_cursor_execute", act)
    assert len(seen) >= number


def by_somebody_else(built: Built, sql: str, address: str) -> Callable[[], None]:
    """Make what runs a statement about an address in another process's stead."""

    def run() -> None:
        assert built.execute_outside(sql, address=address) == 1

    return run


MEANWHILE = {
    "verified": "UPDATE user SET email_verified_at = '2023-11-14', verification_sent_at = NULL WHERE email = :address",
    "locked": "UPDATE user SET verification_sent_at = NULL WHERE email = :address",
    "sent its link again": "UPDATE user SET verification_sent_at = '2023-11-14 00:00:00' WHERE email = :address",
}


@pytest.mark.parametrize("sql", MEANWHILE.values(), ids=MEANWHILE)
def test_what_is_no_old_claim_any_more_is_neither_deleted_nor_counted_as_kept(
    built: Built, clock: Clock, sql: str
) -> None:
    add_old_claims(built, clock, 3)
    with before_delete(built, 1, by_somebody_else(built, sql, "claim0001@example.com")):
        assert purged(built) == (2, 0)
    assert addresses(built) == ["claim0001"]


def test_the_same_holds_where_a_batch_is_deleted_one_by_one(referring: Built, clock: Clock) -> None:
    add_old_claims(referring, clock, 4)
    refer(referring, "profiles", "claim0000")
    verify = by_somebody_else(referring, MEANWHILE["verified"], "claim0002@example.com")
    with before_delete(referring, 3, verify):
        assert purged(referring) == (2, 1)
    assert addresses(referring) == ["claim0000", "claim0002"]


def test_what_vanished_meanwhile_is_not_counted(built: Built, clock: Clock) -> None:
    add_old_claims(built, clock, 2)
    reject = by_somebody_else(built, "DELETE FROM user WHERE email = :address", "claim0001@example.com")
    with before_delete(built, 1, reject):
        assert purged(built) == (1, 0)
    assert built.rows() == []


# When the database fails


@pytest.fixture
def other(built: Built) -> Iterator[Outside]:
    """Another process."""
    with built.outside() as connection:
        yield connection


def test_a_locked_database_is_told_with_the_number_that_is_gone(built: Built, clock: Clock, other: Outside) -> None:
    add_old_claims(built, clock, 1100)
    with recorded(built.engine) as statements, before_delete(built, 2, other.lock):
        message = refusal(built)
    assert lacking(message, "500 claims deleted, then the database failed", DRIVER) == []
    assert len(message.splitlines()) == 1
    assert statements.count("DELETE") == 1 + 4
    assert len(built.rows()) == 600
    other.unlock()
    assert purged(built) == (600, 0)


def test_the_number_is_right_also_in_the_middle_of_a_batch_that_goes_one_by_one(referring: Built, clock: Clock) -> None:
    add_old_claims(referring, clock, 5)
    refer(referring, "profiles", "claim0004")
    with referring.outside() as other:
        with before_delete(referring, 4, other.lock):
            message = refusal(referring)
        other.unlock()
    assert message.startswith("2 claims deleted, then")
    assert addresses(referring) == ["claim0002", "claim0003", "claim0004"]


def test_a_lock_that_is_let_go_in_time_is_not_noticed(built: Built, clock: Clock, other: Outside) -> None:
    add_old_claims(built, clock, 3)
    other.lock()
    with before_delete(built, 3, other.unlock):
        assert purged(built) == (3, 0)


@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=["purge", "dry run"])
def test_a_database_that_cannot_even_be_read_is_told_without_a_traceback(
    built: Built, clock: Clock, other: Outside, option: Sequence[str]
) -> None:
    add_old_claims(built, clock)
    other.lock(against_readers=True)
    code, output = purge(built, 7, *option)
    other.unlock()
    assert (code, output.partition(":")[0]) == (1, "Error")
    assert lacking(output, "0 claims deleted, then the database failed") == []
    assert len(built.rows()) == 1


def test_a_question_that_is_refused_as_a_conflict_is_asked_again(built: Built, clock: Clock, other: Outside) -> None:
    add_old_claims(built, clock)
    other.lock(against_readers=True)
    questions: list[str] = []

    @event.listens_for(built.engine, "before_cursor_execute")
    def let_go_before_the_third(conn: object, cursor: object, sql: str, *_: object) -> None:
        questions.append(sql)
        if len(questions) == 3:
            other.unlock()

    assert purge(built, 7, "--dry-run") == (0, "1 claims would be deleted\n")
    assert len(questions) == 3


def test_a_lock_that_comes_between_two_batches_is_told(built: Built, clock: Clock, other: Outside) -> None:
    add_old_claims(built, clock, 600)
    selects: list[str] = []

    @event.listens_for(built.engine, "before_cursor_execute")
    def take_it_before_the_second_batch(conn: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith("SELECT"):
            selects.append(sql)
            if len(selects) == 3:
                other.lock(against_readers=True)

    message = refusal(built)
    other.unlock()
    assert message.startswith("500 claims deleted, then the database failed")
    assert len(built.rows()) == 100


@pytest.mark.only_on("sqlite")
def test_a_database_that_becomes_read_only_is_told_with_the_number_that_is_gone(built: Built, clock: Clock) -> None:
    add_old_claims(built, clock, 600)
    deletes: list[str] = []

    @event.listens_for(built.engine, "before_cursor_execute")
    def forbid_the_second(conn: Any, cursor: Any, sql: str, *_: object) -> None:
        if sql.startswith("DELETE"):
            deletes.append(sql)
            if len(deletes) == 2:
                cursor.execute("PRAGMA query_only=ON")

    message = refusal(built)
    assert message.startswith("500 claims deleted, then the database failed")
    assert len(deletes) == 2


@pytest.mark.only_on("sqlite")
def test_a_database_that_is_gone_is_told_without_a_traceback(build: Builder, clock: Clock) -> None:
    built = build(models.claiming, database_uri="sqlite:////nowhere/at/all.db", tables=False)
    assert lacking(refusal(built), "0 claims deleted, then the database failed", "sqlite3.OperationalError") == []


def test_a_table_that_is_missing_is_told_without_a_traceback(build: Builder, clock: Clock) -> None:
    built = build(models.claiming, tables=False)
    assert lacking(refusal(built), "0 claims deleted, then the database failed", DRIVER) == []


def test_nothing_of_the_rows_is_told(built: Built, clock: Clock, other: Outside) -> None:
    add_old_claims(built, clock, password_hash="a hash")
    other.lock()
    _, output = purge(built)
    assert [secret for secret in ("claim0000", "a hash", "DELETE FROM") if secret in output] == []


def test_links_of_the_claims_that_stay_work_on(built: Built, clock: Clock, smtp: RecordingServer) -> None:
    built.register()
    values = values_of(link_in(smtp.message))
    add_old_claims(built, clock, 2)
    assert purged(built) == (2, 0)
    assert built.verify(values).status_code == 200
