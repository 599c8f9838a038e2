"""Requests at the same time: one wins, the others get the answer that a repetition gets."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import pytest
from marshmallow import EXCLUDE, fields, post_load, pre_load
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema
from sqlalchemy import insert, select
from sqlalchemy.orm import object_session
from werkzeug.test import TestResponse

from flask_rest_registration import RegisterSigner, user_registered
from tests.outages.test_broken_databases import with_notes
from tests.support import models
from tests.support.answers import refused
from tests.support.apps import REGISTER, VERIFY, Builder, Built, fast_hasher
from tests.support.concurrency import at_once
from tests.support.databases import USERS
from tests.support.interference import acting_before, refusing
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded
from tests.support.variants import VARIANTS, WITH_TRANSACTIONS_OF_THEIR_OWN, build_variant

pytestmark = [pytest.mark.database, pytest.mark.slow_on_servers]

ROUNDS = int(os.environ.get("TEST_ROUNDS") or 50)
FEW_ROUNDS = min(ROUNDS, 10)
T = TypeVar("T")


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def built(build: Builder, variant: str) -> Built:
    return build_variant(build, variant)


def link_of_new_account(built: Built, name: str = "ann") -> str:
    with built.app.app_context():
        user = built.User(email=f"{name}@example.com", username=name, password_hash="x")
        built.db.session.add(user)
        built.db.session.commit()
        return RegisterSigner.for_user(user).get_url()


def sign_up(built: Built, name: str, **changes: object) -> TestResponse:
    return built.register(**{"email": f"{name}@example.com", "username": name, **changes})


def race(count: int, function: Callable[[int], T]) -> list[T]:
    """Call a function in that many threads at once; return what each saw, in no particular order."""
    outcome = at_once(count, function)
    assert outcome.errors == []
    return outcome.results


def read_first(built: Built) -> None:
    """Let the application read before us: on a snapshot that gets older than another request's change."""

    @built.app.before_request
    def read() -> None:
        built.db.session.execute(select(built.User.id)).all()


def notes(built: Built) -> list[str]:
    with built.app.app_context():
        return list(built.db.session.scalars(select(built.User.Note.text).order_by(built.User.Note.id)))


@pytest.mark.parametrize("has_read", [False, True], ids=["", "the application has read"])
def test_of_16_threads_with_one_link_exactly_one_activates_and_all_get_200(
    built: Built, activations: list[Any], has_read: bool
) -> None:
    if has_read:
        read_first(built)
    rounds = FEW_ROUNDS if has_read else ROUNDS
    for number in range(rounds):
        link = link_of_new_account(built, f"user{number}")
        assert race(16, lambda _: built.verify(link).status_code) == [200] * 16, f"round {number}"  # noqa: B023
    assert [user.id for user in activations] == list(range(1, rounds + 1))
    assert all(row["email_verified_at"] for row in built.rows())


LOGGING_IN = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": lambda *_: {"token": "x"}}


@pytest.mark.parametrize(
    ("settings", "winner", "others"),
    [
        (LOGGING_IN, (200, "token", "x"), (200, "token", None)),
        ({"REGISTER_VERIFICATION_ONE_TIME_USE": True}, (200, "code", None), (400, "code", "signature-invalid")),
    ],
    ids=["log-in", "one-time use"],
)
def test_of_16_threads_with_one_link_exactly_one_logs_in_or_uses_a_link_for_one_use(
    build: Builder, settings: dict[str, object], winner: tuple[int, str, object], others: object
) -> None:
    built, key = build_variant(build, registration=settings), winner[1]
    link = link_of_new_account(built)
    answers = race(16, lambda _: built.verify(link))
    seen = Counter((answer.status_code, key, answer.get_json().get(key)) for answer in answers)
    assert seen == {winner: 1, others: 15}


@pytest.mark.parametrize("same", ["username", "email"])
def test_of_two_threads_with_one_name_one_gets_201_and_the_other_400(
    built: Built, smtp: RecordingServer, signals: list[Any], variant: str, same: str
) -> None:
    def compete(number: int, thread: int) -> tuple[int, list[str]]:
        answer = sign_up(built, f"user{number}x{thread}", **{same: f"user{number}@example.com"})
        return answer.status_code, list(answer.get_json().get("errors", ()))

    for number in range(ROUNDS):
        results = race(2, partial(compete, number))
        assert sorted(results) == [(201, []), (400, [same])], f"round {number}"
    assert len(built.rows()) == len(signals) == ROUNDS
    if VARIANTS[variant].is_deferred:  # the COMMIT refuses what is taken when the mail is out
        assert ROUNDS <= len(smtp.messages) <= 2 * ROUNDS
    else:
        assert len(smtp.messages) == ROUNDS


def test_names_that_differ_in_case_are_what_the_collation_says(built: Built, variant: str) -> None:
    results = race(2, lambda number: sign_up(built, f"{number}", username=["ann", "ANN"][number]).status_code)
    allowed = {True: [[201, 400]], False: [[201, 201]], None: [[201, 201], [201, 400]]}
    assert sorted(results) in allowed[VARIANTS[variant].folds_case]
    assert len(built.rows()) == results.count(201)


def test_16_different_sign_ups_as_the_first_requests_of_an_app_all_get_201(
    build: Builder, smtp: RecordingServer, variant: str, caplog: pytest.LogCaptureFixture
) -> None:
    built = build_variant(build, variant, model=models.is_active_flag)
    with caplog.at_level(logging.WARNING):
        assert race(16, lambda number: sign_up(built, f"user{number}").status_code) == [201] * 16
    assert len(built.rows()) == len(smtp.messages) == 16
    assert len([record for record in caplog.records if "is_active" in record.getMessage()]) == 1


def test_sign_ups_at_once_get_what_they_get_one_by_one_where_the_app_has_read(
    built: Built, smtp: RecordingServer, variant: str
) -> None:
    """SQLite refuses the INSERT of all but one on a stale snapshot, in a transaction with nothing to lose.

    At SERIALIZABLE, PostgreSQL may refuse the COMMIT: the mail is out by then, so it is 503, and nothing is stored.
    """
    may_refuse_the_commit = VARIANTS[variant].isolation_level == "SERIALIZABLE"
    read_first(built)
    assert built.post(REGISTER, {}).status_code == 400  # the first use, before which nothing is known of the session

    answers: Counter[int] = Counter()
    for number in range(FEW_ROUNDS):
        results = race(8, lambda thread: sign_up(built, f"{number}x{thread // 2}").status_code)  # noqa: B023
        answers.update(results)
        if not may_refuse_the_commit:
            assert sorted(results) == [201] * 4 + [400] * 4, f"round {number}"
    assert answers.keys() <= {201, 400, 503}
    assert len(built.rows()) == answers[201]
    more_mails = len(smtp.messages) - answers[201]
    assert more_mails == 0 or (more_mails > 0 and VARIANTS[variant].may_refuse_the_commit)


@pytest.mark.parametrize(
    ("change", "code", "verified", "count"),
    [
        ("UPDATE user SET email = 'eve@example.com'", "signature-invalid", [False], 0),
        ("DELETE FROM user", "signature-invalid", [], 0),
        ("UPDATE user SET email_verified_at = '2020-01-01 00:00:00.000000'", None, [True], 0),
        ("UPDATE user SET username = 'another'", None, [True], 1),
    ],
    ids=["address changed", "deleted", "verified by hand", "something else"],
)
def test_what_changes_between_the_select_and_the_update_decides(
    built: Built, activations: list[Any], change: str, code: str | None, verified: list[bool], count: int
) -> None:
    link = link_of_new_account(built)
    with built.outside() as outside, acting_before(built, ("UPDATE", lambda: outside.execute(change))):
        answer = built.verify(link)
    assert answer.get_json().get("code") == code
    assert [row["email_verified_at"] is not None for row in built.rows()] == verified
    assert len(activations) == count


def emptied_before_the_select(built: Built) -> AbstractContextManager[None]:
    return acting_before(built, ("SELECT", lambda: built.execute_outside("DELETE FROM user")))


@pytest.mark.parametrize("verification", [True, False])
def test_an_insert_whose_conflicting_row_was_deleted_meanwhile_is_tried_again(
    build: Builder, smtp: RecordingServer, verification: bool
) -> None:
    built = build(registration={"REGISTER_VERIFICATION_ENABLED": verification})
    link_of_new_account(built)
    with recorded(built.engine) as statements, emptied_before_the_select(built):
        assert built.register().status_code == 201
    assert statements.queries == ["INSERT", "SELECT", "INSERT"]
    assert built.row()["username"] == "ann"
    assert len(smtp.messages) == verification


def test_an_insert_that_is_refused_for_nothing_in_its_way_is_tried_again_once(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(model=models.named_unique)
    with recorded(built.engine) as statements:
        answer = built.register(username="root")  # its CHECK
    assert (answer.status_code, list(answer.get_json()["errors"])) == (400, ["_schema"])
    assert statements.queries == ["INSERT", "SELECT"] * 2
    assert (built.rows(), smtp.messages, caplog.text.count("refused by the database")) == ([], [], 1)


def add(session: Any, note: Any) -> None:
    session.add(note(text="new"))


def flush(session: Any, note: Any) -> None:
    add(session, note)
    session.flush()


def insert_with_core(session: Any, note: Any) -> None:
    session.execute(insert(note).values(text="new"))


def read_and_insert(session: Any, note: Any) -> None:
    session.execute(select(note.id)).all()
    insert_with_core(session, note)


def change(session: Any, note: Any) -> None:
    session.scalars(select(note)).one().text = "changed"


def delete(session: Any, note: Any) -> None:
    session.delete(session.scalars(select(note)).one())


Writing = tuple[Built, list[str]]


@pytest.fixture(params=[add, flush, insert_with_core, read_and_insert, change, delete], ids=lambda act: act.__name__)
def writing(request: pytest.FixtureRequest, build: Builder) -> Writing:
    """Build an app that writes in each request; return it, and its notes when that is committed."""
    built, act = build_variant(build, model=with_notes), request.param
    built.execute_outside("INSERT INTO note (text) VALUES ('old')")
    built.app.before_request(partial(act, built.db.session, built.User.Note))
    return built, {change: ["changed"], delete: []}.get(act, ["old", "new"])


@pytest.mark.parametrize("case", ["sign-up", "first request", "verification"])
def test_a_conflict_after_the_app_has_written_is_503_and_loses_nothing_silently(writing: Writing, case: str) -> None:
    built, after = writing
    body: Mapping[str, object] = built.body()
    if case != "first request":
        link = link_of_new_account(built, "eve")
        body = values_of(link) if case == "verification" else body
    path, kind = (VERIFY, "SELECT user.") if case == "verification" else (REGISTER, "INSERT INTO user")
    before = built.rows()
    with refusing(built, kind, times=1) as sent:
        refused(built.post(path, body), 503, "database-unavailable")
    assert (len(sent), notes(built), built.rows()) == (1, ["old"], before)
    assert built.post(path, body).status_code in {200, 201}
    assert notes(built) == after


@pytest.mark.parametrize("has_read", [False, True], ids=["", "the application has read"])
def test_a_conflict_about_what_the_app_left_pending_is_503_and_loses_nothing(build: Builder, has_read: bool) -> None:
    built = build_variant(build, model=with_notes)
    link = link_of_new_account(built)
    if has_read:
        read_first(built)
    built.app.before_request(partial(add, built.db.session, built.User.Note))
    with refusing(built, "INSERT INTO note", times=1):
        refused(built.verify(link), 503, "database-unavailable")
    assert notes(built) == []
    assert built.verify(link).status_code == 200
    assert notes(built) == ["new"]


def test_a_conflict_of_the_update_loses_nothing_of_the_app_and_is_tried_again(writing: Writing) -> None:
    built, after = writing
    link = link_of_new_account(built)
    with refusing(built, "UPDATE user", times=1) as sent:
        assert built.verify(link).status_code == 200
    assert (len(sent), notes(built)) == (2, after)


def test_an_insert_in_whose_transaction_the_app_has_written_is_not_tried_again(build: Builder) -> None:
    built = build(model=with_notes)
    link_of_new_account(built)
    built.app.before_request(partial(add, built.db.session, built.User.Note))
    with recorded(built.engine) as statements, emptied_before_the_select(built):
        assert built.register().status_code == 400
    assert [sql for sql in statements.sql if sql.startswith(f"INSERT INTO {USERS}")] != []
    assert statements.queries == ["INSERT", "INSERT", "SELECT"]
    assert (built.rows(), notes(built)) == ([], [])


@pytest.mark.parametrize("variant", WITH_TRANSACTIONS_OF_THEIR_OWN)
def test_a_conflict_is_tried_again_in_a_new_transaction_up_to_three_times(
    build: Builder, smtp: RecordingServer, variant: str
) -> None:
    built = build_variant(build, variant, is_patient=False)
    requests: list[tuple[str, Callable[[], TestResponse], int]] = [
        ("INSERT", built.register, 201),
        ("UPDATE", lambda: built.verify(link_in(smtp.message)), 200),
    ]
    for kind, request, success in requests:
        before = built.rows()
        with recorded(built.engine) as statements, built.outside() as outside:
            outside.lock()
            refused(request(), 503, "database-unavailable")
        assert (statements.count(kind), built.rows(), len(smtp.messages)) == (4, before, len(before))
        with recorded(built.engine) as statements, built.outside() as outside:
            outside.lock()
            with acting_before(built, *[(kind, int)] * 3, (kind, outside.unlock)):
                assert request().status_code == success
        assert (statements.count(kind), statements.count("ROLLBACK") >= 3) == (4, True)
    assert built.row()["email_verified_at"] is not None


SHARED_DB = models.typed_db()
SHARED_USER = models.typed(SHARED_DB)


class ForgetfulSchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]  # not generic in older versions
    """Keeps a request's data on itself between two steps, as schemas of applications do, and makes the account."""

    both_are_here = Barrier(2)
    password = fields.Function(deserialize=fast_hasher, attribute="password_hash", required=True)

    class Meta:
        model = SHARED_USER
        load_instance = True
        unknown = EXCLUDE
        exclude = ("id", "password_hash")

    @pre_load
    def remember(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        self.remembered = data["username"]
        self.both_are_here.wait(30)
        return data

    @post_load
    def use_what_was_remembered(self, user: Any, **_: object) -> Any:
        user.username = self.remembered
        return user


def test_two_threads_through_one_schema_class_have_data_and_sessions_of_their_own(build: Builder) -> None:
    model = models.on_base(lambda: SHARED_DB)(lambda db: SHARED_USER)
    built = build_variant(build, model=model, registration={"REGISTER_SERIALIZER_CLASS": ForgetfulSchema})
    own: list[bool] = []

    def receive(sender: object, user: Any, **_: object) -> None:
        own.append(object_session(user) is built.db.session())

    with user_registered.connected_to(receive, sender=built.app):
        for number in range(FEW_ROUNDS):
            assert race(2, lambda thread: sign_up(built, f"{number}x{thread}").status_code) == [201, 201]  # noqa: B023
    assert own == [True] * 2 * FEW_ROUNDS
    assert all(row["email"] == f"{row['username']}@example.com" for row in built.rows())
