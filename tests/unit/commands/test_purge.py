"""``flask rest-registration purge``: what it deletes, what it never does, and what it says when it cannot."""

from __future__ import annotations

import io
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask.cli import ScriptInfo
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

from flask_rest_registration import PendingRegistrationMixin, user_activated, user_registered
from tests.support import models
from tests.support.answers import refused
from tests.support.apps import CHECK_LINK, REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import Clock, at
from tests.support.databases import AT_THE_COMMIT, CHOSEN, DRIVER, conflict
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.statements import recorded

ANN = "ann@example.com"
HOUR, DAY = 3600, 24 * 3600
WEEK = 7 * DAY
EMAIL_FIRST = {"REGISTER_EMAIL_FIRST": True}
WITH_RESEND = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
TABLE = "pending_registration"


def purge(built: Built, *options: str) -> tuple[int, str]:
    """Run the command; return its exit code and the last line of what it says."""
    outcome = built.command("purge", *options)
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome.exit_code, outcome.output.splitlines()[-1]


def purged(built: Built) -> int:
    """Run the command, which succeeds; return how many it says it has deleted."""
    code, line = purge(built)
    number = line.partition(" ")[0]
    assert (code, line) == (0, f"{number} pending registrations deleted")
    return int(number)


def refusal(built: Built, *options: str) -> str:
    """Run the command, which cannot work; return its one message."""
    outcome = built.command("purge", *options)
    assert (outcome.exit_code, outcome.output.count("Error: "), "Traceback" in outcome.output) == (1, 1, False)
    message = outcome.output.partition("Error: ")[2]
    assert message.count("\n") == 1, message
    return message.rstrip("\n")


def add(built: Built, count: int = 1, *, prefix: str = "old", sent_at: int = 0, model: Any = None) -> None:
    """INSERT pending registrations as no sign-up would: many at once, with any time."""
    row = {"sent_at": sent_at, "mails": 1, "next_mail_at": sent_at + 60, "code_attempts": 0}
    names = (f"{prefix}{number:05}@example.com" for number in range(count))
    rows = [{**row, "id": uuid.uuid4(), "email": name} for name in names]
    with built.app.app_context():
        table: Any = model or built.Pending
        built.db.session.execute(sa.insert(table), rows)
        built.db.session.commit()


def names(built: Built) -> list[str]:
    return [row["email"].partition("@")[0] for row in built.pending_rows()]


@contextmanager
def refusing(built: Built, start: str, *, after: int = 0, times: int = 10**6) -> Iterator[list[str]]:
    """Let the database refuse statements that begin with a word, but for the first ones, as conflicts."""
    met: list[str] = []

    def execute(cursor: object, statement: str, parameters: object, context: object) -> None:
        if statement.startswith(start):
            met.append(statement)
            if after < len(met) <= after + times:
                raise conflict()

    event.listen(built.engine, "do_execute", execute)
    try:
        yield met
    finally:
        event.remove(built.engine, "do_execute", execute)


def before(built: Built, start: str, act: Callable[[], object]) -> None:
    """Let somebody act once, right before the first statement that begins with a word."""
    waiting = [act]

    @event.listens_for(built.engine, "before_cursor_execute")
    def look(conn: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith(start) and waiting:
            waiting.pop()()


@pytest.fixture(name="built", params=[EMAIL_FIRST, WITH_RESEND], ids=["e-mail first", "resend"])
def app_with_pending_registrations(request: pytest.FixtureRequest, build: Builder, clock: Clock) -> Built:
    return build(pending=True, registration=request.param)


@pytest.fixture
def first(build: Builder, clock: Clock) -> Built:
    """An app with e-mail first."""
    return build(models.minimal, pending=True, registration=EMAIL_FIRST)


# What is deleted, and what stays


@pytest.mark.parametrize(("period", "longer"), [(HOUR, DAY), (DAY, DAY), (WEEK, WEEK)], ids=["hour", "day", "week"])
def test_a_row_goes_when_its_next_mail_starts_anew_and_not_a_second_before(
    build: Builder, clock: Clock, period: int, longer: int
) -> None:
    built = build(pending=True, registration={**EMAIL_FIRST, "REGISTER_VERIFICATION_PERIOD": period})
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    clock.move(longer)
    assert (purged(built), names(built)) == (0, ["ann"])
    clock.move(1)
    assert (purged(built), names(built)) == (1, [])


def test_no_link_that_works_is_taken_away(first: Built, clock: Clock, smtp: RecordingServer) -> None:
    first.post(REGISTER, {"email": ANN})
    clock.move(WEEK - 1)
    first.post(REGISTER, {"email": ANN})
    early, late = (values_of(link_in(message)) for message in smtp.messages)
    clock.move(1)
    assert purged(first) == 0
    assert first.post(CHECK_LINK, early).status_code == 200
    clock.move(WEEK - 1)
    assert purged(first) == 0
    assert first.post(VERIFY, {**late, **first.body()}).status_code == 201


def test_links_of_a_deleted_row_are_worth_nothing(first: Built, clock: Clock, smtp: RecordingServer) -> None:
    first.post(REGISTER, {"email": ANN})
    clock.move(WEEK + 1)
    assert purged(first) == 1
    link = values_of(link_in(smtp.message))
    clock.move(-DAY)
    refused(first.post(CHECK_LINK, link), 400, "signature-invalid")
    refused(first.post(VERIFY, {**link, **first.body()}), 400, "signature-invalid")


@pytest.mark.parametrize("is_purged", [True, False], ids=["with purge", "without"])
def test_the_cooldown_starts_anew_with_the_purge_as_without_it(first: Built, clock: Clock, is_purged: bool) -> None:
    for _ in range(4):
        first.post(REGISTER, {"email": ANN})
        clock.time = first.pending_row()["next_mail_at"]
    clock.time = first.pending_row()["sent_at"] + WEEK + 1
    if is_purged:
        assert purged(first) == 1
    first.post(REGISTER, {"email": ANN})
    row = first.pending_row()
    assert (row["mails"], row["sent_at"], row["next_mail_at"]) == (1, clock.time, clock.time + 60)


def test_spent_rows_and_rows_of_failed_mails_go_by_the_same_rule(
    first: Built, clock: Clock, smtp: RecordingServer
) -> None:
    first.post(REGISTER, {"email": ANN})
    assert first.post(VERIFY, {**values_of(link_in(smtp.message)), **first.body()}).status_code == 201
    smtp.text_reply = "554 5.7.1 spam"
    refused(first.post(REGISTER, {"email": "bob@example.com"}), 503, "email-not-sent")
    clock.move(WEEK)
    assert (purged(first), names(first)) == (0, ["ann", "bob"])
    clock.move(1)
    assert (purged(first), names(first)) == (2, [])
    assert first.row()["email"] == ANN


def test_a_time_in_the_future_is_never_too_old(built: Built, clock: Clock) -> None:
    add(built, prefix="future", sent_at=clock.time + 1)
    add(built, prefix="far-future", sent_at=2**40)
    add(built)
    assert (purged(built), names(built)) == (1, ["far-future00000", "future00000"])


@pytest.mark.parametrize("name", ["other_bind", "uuid_key", "inheritance_subclass", "other_column_names"])
def test_it_works_with_every_kind_of_user_model(build: Builder, clock: Clock, name: str) -> None:
    built = build(models.ALL[name], pending=True, registration=WITH_RESEND)
    add(built, 3)
    add(built, prefix="young", sent_at=clock.time)
    assert (purged(built), names(built)) == (3, ["young00000"])


def test_no_account_is_ever_touched(built: Built, clock: Clock) -> None:
    with built.app.app_context():
        for number, verified_at in enumerate([None, at(0), at(clock.time)]):
            account = {"email": f"old{number:05}@example.com", "username": str(number), "password_hash": "h"}
            built.db.session.add(built.User(**account, email_verified_at=verified_at))
        built.db.session.commit()
    before_it = built.rows()
    add(built, 5)
    with recorded(built.engine) as statements:
        assert purged(built) == 5
    assert built.rows() == before_it
    tables = {built.User.__table__.name, TABLE}
    assert {name for sql in statements.sql for name in tables if name in sql.replace('"', "").split()} == {TABLE}


def test_it_works_where_the_table_of_the_accounts_is_missing(built: Built) -> None:
    add(built)
    built.execute_outside("DROP TABLE user")
    assert purged(built) == 1


def test_no_signal_is_sent(built: Built) -> None:
    add(built)
    heard: list[object] = []

    def hear(sender: object, **_: object) -> None:
        heard.append(sender)

    with user_registered.connected_to(hear), user_activated.connected_to(hear):
        assert purged(built) == 1
    assert heard == []


# Counting only


def test_a_dry_run_counts_and_deletes_nothing(built: Built, clock: Clock) -> None:
    add(built, 3)
    add(built, prefix="young", sent_at=clock.time - WEEK)
    with recorded(built.engine) as statements:
        assert built.command("purge", "--dry-run").output == "3 pending registrations would be deleted\n"
    assert statements.queries == ["SELECT"]
    assert len(built.pending_rows()) == 4


def test_without_rows_it_says_so(built: Built) -> None:
    assert purge(built, "--dry-run") == (0, "0 pending registrations would be deleted")
    assert purged(built) == 0


@pytest.mark.parametrize("arguments", [["--older-than", "7"], ["--days=7"], ["7"]], ids=" ".join)
def test_an_age_cannot_be_chosen(built: Built, arguments: list[str]) -> None:
    add(built)
    assert built.command("purge", *arguments).exit_code == 2
    assert len(built.pending_rows()) == 1


# Many


def test_many_are_deleted_in_batches_each_with_a_commit_of_its_own(built: Built, clock: Clock) -> None:
    add(built, 2100)
    add(built, 20, prefix="young", sent_at=clock.time)
    with recorded(built.engine) as statements:
        assert purged(built) == 2100
    question, deletion = ["BEGIN", "SELECT", "COMMIT"], ["BEGIN", "DELETE", "COMMIT"]
    batches = statements.count("DELETE")
    assert batches >= 3
    assert statements.kinds == [*question, *[*question, *deletion] * batches, *question]
    assert names(built) == [f"young{number:05}" for number in range(20)]


def test_a_batch_fits_into_a_statement_of_an_old_sqlite(built: Built) -> None:
    add(built, 1100)
    with recorded(built.engine) as statements:
        assert purged(built) == 1100
    assert max(len(each or ()) for each in statements.parameters) <= 999


class Terminal(io.StringIO):
    """Where somebody watches."""

    def isatty(self) -> bool:
        return True


def test_a_progress_bar_beside_the_output_shows_how_far_it_is(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    add(built, 4000)
    told, screen = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", told)
    monkeypatch.setattr(sys, "stderr", screen)
    built.app.cli.main(
        args=["rest-registration", "purge"], obj=ScriptInfo(create_app=lambda: built.app), standalone_mode=False
    )
    assert lacking(screen.getvalue(), "Deleting", "  0%", " 25%", " 50%", " 75%", "100%") == []
    assert told.getvalue() == "4000 pending registrations deleted\n"


def test_a_bar_whose_rows_somebody_else_deletes_meanwhile_ends_as_well(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(built, 1500)
    before(built, "DELETE", lambda: built.execute_outside(f"DELETE FROM {TABLE}"))
    told = Terminal()
    monkeypatch.setattr(sys, "stdout", told)
    built.app.cli.main(
        args=["rest-registration", "purge"], obj=ScriptInfo(create_app=lambda: built.app), standalone_mode=False
    )
    assert told.getvalue().splitlines()[-1] == "0 pending registrations deleted"


# At the same time as others


def test_a_row_whose_address_is_asked_for_meanwhile_stays(first: Built, clock: Clock, smtp: RecordingServer) -> None:
    first.post(REGISTER, {"email": ANN})
    clock.move(WEEK + 1)
    add(first, 2)
    before(first, "DELETE", lambda: first.post(REGISTER, {"email": ANN}))
    assert purged(first) == 2
    assert (names(first), len(smtp.messages)) == (["ann"], 2)
    link = values_of(link_in(smtp.messages[1]))
    assert first.post(VERIFY, {**link, **first.body()}).status_code == 201


def test_a_row_that_is_spent_meanwhile_does_not_disturb_it(first: Built) -> None:
    add(first, 3)
    new_id = uuid.uuid4()
    shown = new_id.hex if CHOSEN == "sqlite" else str(new_id)
    sql = f"UPDATE {TABLE} SET id = '{shown}' WHERE email = 'old00001@example.com'"
    before(first, "DELETE", lambda: first.execute_outside(sql))
    assert purged(first) >= 2
    assert purged(first) <= 1
    assert names(first) == []


def test_a_second_purge_at_the_same_time_counts_its_own(built: Built) -> None:
    add(built, 1500)
    other = f"DELETE FROM {TABLE} WHERE email < 'old00700'"
    before(built, "DELETE", lambda: built.execute_outside(other))
    assert purged(built) == 800
    assert names(built) == []


def test_an_address_can_be_asked_for_right_after_its_row_is_gone(
    first: Built, clock: Clock, smtp: RecordingServer
) -> None:
    first.post(REGISTER, {"email": ANN})
    clock.move(WEEK + 1)
    before(first, "UPDATE", lambda: first.execute_outside(f"DELETE FROM {TABLE}"))
    assert first.post(REGISTER, {"email": ANN}).status_code == 202
    link = values_of(link_in(smtp.messages[1]))
    assert first.post(VERIFY, {**link, **first.body()}).status_code == 201


# What is refused before anything is looked at


@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=["purge", "dry run"])
@pytest.mark.parametrize("settings", [{}, {"REGISTER_VERIFICATION_ENABLED": False}], ids=["default", "unverified"])
def test_while_nothing_uses_the_table_nothing_is_deleted(
    build: Builder, clock: Clock, settings: dict[str, object], option: list[str]
) -> None:
    built = build(pending=True, registration=settings)
    add(built)
    with recorded(built.engine) as statements:
        message = refusal(built, *option)
    assert lacking(message, "no pending registrations", "REGISTER_EMAIL_FIRST", "RESEND_ENABLED") == []
    assert statements.kinds == []
    assert len(built.pending_rows()) == 1


@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=["purge", "dry run"])
def test_an_app_that_is_set_up_wrongly_is_told_the_fix(build: Builder, option: list[str]) -> None:
    message = refusal(build(registration=EMAIL_FIRST), *option)
    assert lacking(message, "no model of pending registrations", "Fix: ", "PendingRegistrationMixin") == []


# What other rows refer to


def referring(build: Builder, **options: Any) -> Built:
    """Build an app with a table of its own that refers to pending registrations."""

    def model(db: SQLAlchemy) -> type[Any]:
        user = models.minimal(db)

        class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
            pass

        user.pending = PendingRegistration
        key = sa.ForeignKey(PendingRegistration.id, **options)
        user.invitations = sa.Table("invitation", db.metadata, sa.Column("pending_id", sa.Uuid, key))
        return user

    built = build(model, registration=EMAIL_FIRST)
    built.enforce_foreign_keys()
    return built


def refer_to_last(built: Built) -> None:
    """Let the application refer to the row that is deleted last."""
    with built.app.app_context():
        last = sa.select(built.User.pending.id).order_by(built.User.pending.id.desc()).limit(1)
        built.db.session.execute(sa.insert(built.User.invitations).from_select(["pending_id"], last))
        built.db.session.commit()


def left(built: Built) -> int:
    with built.app.app_context():
        return int(built.db.session.scalar(sa.select(sa.func.count()).select_from(built.User.pending)) or 0)


@pytest.mark.parametrize("options", [{}, AT_THE_COMMIT], ids=["at once", "at the commit"])
def test_a_row_that_other_rows_refer_to_is_an_error_and_no_endless_loop(
    build: Builder, clock: Clock, options: dict[str, Any]
) -> None:
    built = referring(build, **options)
    add(built, 1500, model=built.User.pending)
    refer_to_last(built)
    with recorded(built.engine) as statements:
        message = refusal(built)
    deleted = int(message.partition(" ")[0])
    assert message.startswith(f"{deleted} pending registrations deleted, then the database failed: {DRIVER}")
    assert (deleted >= 1000, left(built)) == (True, 1500 - deleted)
    assert statements.count("DELETE") <= 4
    assert refusal(built).startswith("0 pending registrations deleted, then the database failed")
    assert purge(built, "--dry-run") == (0, f"{left(built)} pending registrations would be deleted")


def test_what_refers_with_on_delete_cascade_goes_with_the_row(build: Builder, clock: Clock) -> None:
    built = referring(build, ondelete="CASCADE")
    add(built, 3, model=built.User.pending)
    refer_to_last(built)
    assert (purged(built), left(built)) == (3, 0)


@pytest.mark.only_on("sqlite")
def test_rows_that_a_trigger_of_the_database_keeps_are_passed_over(built: Built) -> None:
    add(built, 1200)
    built.execute_outside(
        f"CREATE TRIGGER keep BEFORE DELETE ON {TABLE} WHEN OLD.email < 'old00700' BEGIN SELECT RAISE(IGNORE); END"
    )
    statements: list[str] = []

    @event.listens_for(built.engine, "before_cursor_execute")
    def stop_an_endless_loop(conn: object, cursor: object, sql: str, *_: object) -> None:
        statements.append(sql)
        assert len(statements) < 20

    assert purged(built) == 500
    assert len(built.pending_rows()) == 700


# When the database does not work


def test_a_database_that_fails_in_the_middle_says_how_many_are_gone(built: Built) -> None:
    add(built, 2500)
    with refusing(built, "DELETE", after=2):
        message = refusal(built)
    rest = len(built.pending_rows())
    reason = f"{2500 - rest} pending registrations deleted, then the database failed: {DRIVER}"
    assert (message.startswith(reason), 0 < rest < 2500) == (True, True), message
    assert purged(built) == rest


def test_a_question_that_fails_in_the_middle_says_how_many_are_gone(built: Built) -> None:
    add(built, 2500)
    with refusing(built, "SELECT", after=2):
        message = refusal(built)
    rest = len(built.pending_rows())
    assert message.startswith(f"{2500 - rest} pending registrations deleted, then the database failed: {DRIVER}")
    assert 0 < rest < 2500


@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=["purge", "dry run"])
def test_a_database_that_cannot_even_be_read_is_told_without_a_traceback(built: Built, option: list[str]) -> None:
    add(built)
    with refusing(built, "SELECT"):
        message = refusal(built, *option)
    assert message.startswith(f"0 pending registrations deleted, then the database failed: {DRIVER}")
    assert len(built.pending_rows()) == 1


@pytest.mark.parametrize(("start", "times"), [("SELECT", 3), ("DELETE", 8)])
def test_a_conflict_is_tried_again(built: Built, start: str, times: int) -> None:
    add(built, 1100)
    with refusing(built, start, after=1, times=times) as met:
        assert purged(built) == 1100
    assert len(met) > times
    assert names(built) == []


@pytest.mark.only_on("sqlite")
def test_a_database_that_is_gone_is_told_without_a_traceback(build: Builder) -> None:
    built = build(pending=True, database_uri="sqlite:////nowhere/at/all.db", registration=WITH_RESEND, tables=False)
    assert lacking(refusal(built), "0 pending registrations deleted", "sqlite3.OperationalError") == []


def test_a_missing_table_is_told_without_a_traceback(build: Builder) -> None:
    built = build(pending=True, registration=WITH_RESEND, tables=False)
    assert lacking(refusal(built), "0 pending registrations deleted, then the database failed", DRIVER) == []


def test_nothing_of_the_rows_is_told(built: Built) -> None:
    add(built, 1200)
    with refusing(built, "DELETE", after=1):
        output = built.command("purge").output
    output += built.command("purge", "--dry-run").output + built.command("purge").output
    assert [secret for secret in ("old0", "example.com", "DELETE", "SELECT", TABLE) if secret in output] == []


def test_a_sign_up_that_waits_for_its_first_cooldown_is_kept_in_every_way(built: Built, clock: Clock) -> None:
    path = REGISTER if built.app.config["REST_REGISTRATION"].get("REGISTER_EMAIL_FIRST") else RESEND
    assert built.post(path, {"email": ANN}).status_code == 202
    row = built.pending_row()
    add(built, 2)
    assert purged(built) == 2
    assert built.pending_row() == row
