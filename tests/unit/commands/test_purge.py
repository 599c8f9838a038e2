"""``flask rest-registration purge``: what it deletes, what it never does, and what it says when it cannot."""

from __future__ import annotations

import io
import sys
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from flask.cli import ScriptInfo
from flask_sqlalchemy import SQLAlchemy

from tests.support import models
from tests.support.answers import refused
from tests.support.apps import CHECK_LINK, VERIFY, Builder, Built
from tests.support.clock import Clock, at
from tests.support.databases import AT_THE_COMMIT, CHOSEN, DRIVER
from tests.support.interference import acting_before, refusing
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.pending import ANN, EMAIL_FIRST, WITH_RESEND, add_account, ask, link_to, post_address
from tests.support.statements import recorded

HOUR, DAY = 3600, 24 * 3600
WEEK = 7 * DAY
TABLE = "pending_registration"
FAILED = f"pending registrations deleted, then the database failed: {DRIVER}"
OPTIONS = ((), ("--dry-run",))


def purged(built: Built) -> int:
    """Run the command, which succeeds; return how many it says it has deleted."""
    outcome = built.command("purge")
    number, _, rest = outcome.output.splitlines()[-1].partition(" ")
    assert (outcome.exit_code, rest) == (0, f"pending registration{'s' * (number != '1')} deleted"), outcome.output
    return int(number)


def refusal(built: Built, *options: str) -> str:
    """Run the command, which cannot work; return its one message."""
    outcome = built.command("purge", *options)
    assert (outcome.exit_code, outcome.output.count("Error: "), "Traceback" in outcome.output) == (1, 1, False)
    message = outcome.output.partition("Error: ")[2]
    assert message.count("\n") == 1, message
    return message.rstrip("\n")


def complete(built: Built, mail: Any) -> None:
    assert built.post(VERIFY, {**values_of(link_in(mail)), **built.body()}).status_code == 201


def add(built: Built, count: int = 1, *, prefix: str = "old", sent_at: int = 0) -> None:
    """INSERT pending registrations as no sign-up would: many at once, with any time."""
    row = {"sent_at": sent_at, "mails": 1, "next_mail_at": sent_at + 60, "code_attempts": 0}
    rows = [{**row, "id": uuid.uuid4(), "email": f"{prefix}{number:05}@example.com"} for number in range(count)]
    with built.app.app_context():
        built.db.session.execute(sa.insert(built.Pending), rows)  # type: ignore[arg-type]
        built.db.session.commit()


def names(built: Built) -> list[str]:
    return [row["email"].partition("@")[0] for row in built.pending_rows()]


@pytest.fixture
def built(build: Builder, clock: Clock) -> Built:
    return build(pending=True, registration=EMAIL_FIRST)


@pytest.mark.parametrize(("period", "longer"), [(HOUR, DAY), (DAY, DAY), (WEEK, WEEK)], ids=["hour", "day", "week"])
def test_a_row_goes_when_its_next_mail_would_start_anew(build: Builder, clock: Clock, period: int, longer: int) -> None:
    built = build(pending=True, registration={**EMAIL_FIRST, "REGISTER_VERIFICATION_PERIOD": period})
    ask(built)
    clock.move(longer)
    assert (purged(built), names(built)) == (0, ["ann"])
    clock.move(1)
    assert (purged(built), names(built)) == (1, [])


def test_no_link_that_works_is_taken_away(built: Built, clock: Clock, smtp: RecordingServer) -> None:
    ask(built)
    clock.move(WEEK - 1)
    ask(built)
    clock.move(1)
    assert purged(built) == 0
    assert built.post(CHECK_LINK, values_of(link_in(smtp.messages[0]))).status_code == 200
    clock.move(WEEK - 1)
    assert purged(built) == 0
    complete(built, smtp.messages[1])


def test_links_of_a_deleted_row_are_worth_nothing(built: Built, clock: Clock, smtp: RecordingServer) -> None:
    link = link_to(built, smtp)
    clock.move(WEEK + 1)
    assert purged(built) == 1
    clock.move(-DAY)
    for path in (CHECK_LINK, VERIFY):
        refused(built.post(path, {**link, **built.body()}), 400, "signature-invalid")


def test_spent_rows_and_those_of_failed_mails_go_alike(built: Built, clock: Clock, smtp: RecordingServer) -> None:
    ask(built)
    complete(built, smtp.message)
    smtp.text_reply = "554 5.7.1 spam"
    refused(post_address(built, "bob@example.com"), 503, "email-not-sent")
    clock.move(WEEK)
    assert (purged(built), names(built)) == (0, ["ann", "bob"])
    clock.move(1)
    assert (purged(built), names(built)) == (2, [])
    assert built.row()["email"] == ANN


@pytest.mark.parametrize("name", ["typed", "other_bind", "uuid_key", "inheritance_subclass", "other_column_names"])
def test_only_what_is_too_old_goes_whatever_the_user_model(build: Builder, clock: Clock, name: str) -> None:
    built = build(models.ALL[name], pending=True, registration=WITH_RESEND)
    ask(built)  # a row that waits for its first cooldown
    add(built, 3)
    add(built, prefix="future", sent_at=clock.time + 1)
    add(built, prefix="far-future", sent_at=2**40)
    assert (purged(built), names(built)) == (3, ["ann", "far-future00000", "future00000"])


def test_no_account_is_ever_touched_and_no_signal_sent(
    built: Built, clock: Clock, signals: list[Any], activations: list[Any]
) -> None:
    for number, verified_at in enumerate([None, at(0), at(clock.time)]):
        add_account(built, f"old{number:05}@example.com", str(number), email_verified_at=verified_at)
    before = built.rows()
    add(built, 5)
    with recorded(built.engine) as statements:
        assert purged(built) == 5
    assert (built.rows(), signals, activations) == (before, [], [])
    tables = {built.User.__table__.name, TABLE}
    assert {name for sql in statements.sql for name in tables if name in sql.replace('"', "").split()} == {TABLE}
    built.execute_outside("DROP TABLE user")
    assert purged(built) == 0


def test_a_dry_run_counts_and_deletes_nothing(built: Built, clock: Clock) -> None:
    add(built, prefix="young", sent_at=clock.time - WEEK)
    for count in (0, 1):
        with recorded(built.engine) as statements:
            output = built.command("purge", "--dry-run").output
        assert output == f"{count} pending registration{'s' * (count != 1)} would be deleted\n"
        assert statements.queries == ["SELECT"]
        add(built, prefix=f"old{count}")
    assert len(built.pending_rows()) == 3


def test_many_are_deleted_in_batches_each_with_a_commit_of_its_own(built: Built, clock: Clock) -> None:
    add(built, 2100)
    add(built, 20, prefix="young", sent_at=clock.time)
    with recorded(built.engine) as statements:
        assert purged(built) == 2100
    question, deletion = ["BEGIN", "SELECT", "COMMIT"], ["BEGIN", "DELETE", "COMMIT"]
    batches = statements.count("DELETE")
    assert batches >= 3
    assert statements.kinds == [*question, *[*question, *deletion] * batches, *question]
    assert max(len(each or ()) for each in statements.parameters) <= 999  # what an old SQLite takes
    assert names(built) == [f"young{number:05}" for number in range(20)]


def test_a_progress_bar_beside_the_output_shows_how_far_it_is(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    add(built, 4000)
    told, screen = io.StringIO(), io.StringIO()
    for name, stream in (("stdout", told), ("stderr", screen)):
        monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setattr(sys, name, stream)
    info = ScriptInfo(create_app=lambda: built.app)
    built.app.cli.main(args=["rest-registration", "purge"], obj=info, standalone_mode=False)
    assert lacking(screen.getvalue(), "Deleting", "  0%", " 25%", " 50%", " 75%", "100%") == []
    assert told.getvalue() == "4000 pending registrations deleted\n"


@pytest.mark.parametrize(("others", "own"), [("", 0), (" WHERE email < 'old00700'", 800)], ids=["all", "some"])
def test_what_somebody_else_deletes_meanwhile_is_not_counted(built: Built, others: str, own: int) -> None:
    add(built, 1500)
    with acting_before(built, ("DELETE", lambda: built.execute_outside(f"DELETE FROM {TABLE}{others}"))):
        assert purged(built) == own
    assert names(built) == []


def test_a_row_whose_address_is_asked_for_meanwhile_stays(built: Built, clock: Clock, smtp: RecordingServer) -> None:
    ask(built)
    clock.move(WEEK + 1)
    add(built, 2)
    with acting_before(built, ("DELETE", lambda: ask(built))):
        assert purged(built) == 2
    assert (names(built), len(smtp.messages)) == (["ann"], 2)
    complete(built, smtp.messages[1])


def test_a_row_that_is_spent_meanwhile_does_not_disturb_it(built: Built) -> None:
    add(built, 3)
    new_id = uuid.uuid4()
    shown = new_id.hex if CHOSEN == "sqlite" else str(new_id)
    sql = f"UPDATE {TABLE} SET id = '{shown}' WHERE email = 'old00001@example.com'"
    with acting_before(built, ("DELETE", lambda: built.execute_outside(sql))):
        assert purged(built) >= 2
    assert purged(built) <= 1
    assert names(built) == []


@pytest.mark.parametrize("settings", [{}, {"REGISTER_VERIFICATION_ENABLED": False}], ids=["default", "unverified"])
def test_while_nothing_uses_the_table_nothing_is_deleted(build: Builder, settings: dict[str, object]) -> None:
    built = build(pending=True, registration=settings)
    add(built)
    for options in OPTIONS:
        with recorded(built.engine) as statements:
            message = refusal(built, *options)
        assert lacking(message, "no pending registrations", "REGISTER_EMAIL_FIRST", "RESEND_ENABLED") == []
        assert (statements.kinds, len(built.pending_rows())) == ([], 1)


def test_an_app_that_is_set_up_wrongly_is_told_the_fix(build: Builder) -> None:
    built = build(registration=EMAIL_FIRST)
    for options in OPTIONS:
        words = ("no model of pending registrations", "Fix: ", "PendingRegistrationMixin")
        assert lacking(refusal(built, *options), *words) == []


def referring(build: Builder, count: int, **options: Any) -> Built:
    """Build an app with a table of its own that refers to the pending registration that is deleted last."""

    def model(db: SQLAlchemy) -> type[Any]:
        user, key = models.minimal(db), sa.ForeignKey(f"{TABLE}.id", **options)
        user.invitations = sa.Table("invitation", db.metadata, sa.Column("pending_id", sa.Uuid, key))
        return user

    built = build(model, pending=True, registration=EMAIL_FIRST)
    built.enforce_foreign_keys()
    add(built, count)
    with built.app.app_context():
        ids: Any = built.Pending.id  # type: ignore[union-attr]
        last = sa.select(ids).order_by(ids.desc()).limit(1)
        built.db.session.execute(sa.insert(built.User.invitations).from_select(["pending_id"], last))
        built.db.session.commit()
    return built


@pytest.mark.parametrize("options", [{}, AT_THE_COMMIT], ids=["at once", "at the commit"])
def test_a_row_that_others_refer_to_is_an_error_and_no_endless_loop(build: Builder, clock: Clock, options: Any) -> None:
    built = referring(build, 1500, **options)
    with recorded(built.engine) as statements:
        message = refusal(built)
    deleted = int(message.partition(" ")[0])
    assert message.startswith(f"{deleted} {FAILED}")
    assert (deleted >= 1000, len(built.pending_rows())) == (True, 1500 - deleted)
    assert statements.count("DELETE") <= 4
    assert refusal(built).startswith(f"0 {FAILED}")


def test_what_refers_with_on_delete_cascade_goes_with_the_row(build: Builder, clock: Clock) -> None:
    built = referring(build, 3, ondelete="CASCADE")
    assert (purged(built), len(built.pending_rows())) == (3, 0)


@pytest.mark.only_on("sqlite")
def test_rows_that_a_trigger_of_the_database_keeps_are_passed_over(built: Built) -> None:
    add(built, 1200)
    built.execute_outside(
        f"CREATE TRIGGER keep BEFORE DELETE ON {TABLE} WHEN OLD.email < 'old00700' BEGIN SELECT RAISE(IGNORE); END"
    )
    with refusing(built, "DELETE", after=20, error=AssertionError("an endless loop")):
        assert purged(built) == 500
    assert len(built.pending_rows()) == 700


@pytest.mark.parametrize("start", ["DELETE", "SELECT"])
def test_a_database_that_fails_in_the_middle_says_how_many_are_gone(built: Built, start: str) -> None:
    add(built, 2500)
    with refusing(built, start, after=2):
        output = built.command("purge").output
        message = refusal(built)
    rest = len(built.pending_rows())
    assert f"Error: {2500 - rest} {FAILED}" in output
    assert 0 < rest < 2500
    assert message.startswith(f"0 {FAILED}")
    output += built.command("purge", "--dry-run").output
    assert purged(built) == rest
    assert [secret for secret in ("old0", "example.com", "DELETE", "SELECT", TABLE) if secret in output] == []


@pytest.mark.parametrize(("start", "times"), [("SELECT", 3), ("DELETE", 8)])
def test_a_conflict_is_tried_again(built: Built, start: str, times: int) -> None:
    add(built, 1100)
    with refusing(built, start, after=1, times=times) as met:
        assert purged(built) == 1100
    assert len(met) > times
    assert names(built) == []


@pytest.mark.parametrize("uri", [None, pytest.param("sqlite:////no/app.db", marks=pytest.mark.only_on("sqlite"))])
def test_a_missing_table_or_database_is_told_without_a_traceback(build: Builder, uri: str | None) -> None:
    built = build(pending=True, database_uri=uri, registration=WITH_RESEND, tables=False)
    for options in OPTIONS:
        assert refusal(built, *options).startswith(f"0 {FAILED}")
