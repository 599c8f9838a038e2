"""Requests at the same time: one wins, the others get the answer that a repetition gets."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Barrier, Lock
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from marshmallow import EXCLUDE, Schema, fields, post_load, pre_load
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema
from sqlalchemy import String, event, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column, object_session
from werkzeug.test import TestResponse

from flask_rest_registration import RegisterSigner, user_activated, user_registered
from tests.support import models
from tests.support.apps import Builder, Built, fast_hasher
from tests.support.concurrency import at_once
from tests.support.databases import USERS, conflict
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded
from tests.support.variants import VARIANTS, WITH_TRANSACTIONS_OF_THEIR_OWN, build_variant

pytestmark = pytest.mark.database

ROUNDS = int(os.environ.get("TEST_ROUNDS") or 50)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def built(build: Builder, variant: str) -> Built:
    return build_variant(build, variant)


class Count:
    """A receiver that counts, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.users: list[int] = []

    def __call__(self, sender: object, user: Any, **keywords: object) -> None:
        with self._lock:
            self.users.append(user.id)


def link_of_new_account(built: Built, name: str) -> str:
    with built.app.app_context():
        user = built.User(email=f"{name}@example.com", username=name, password_hash="x")
        built.db.session.add(user)
        built.db.session.commit()
        return RegisterSigner.for_user(user).get_url()


# One link, many requests


def follow(built: Built, link: str, thread: int) -> int:
    return built.verify(link).status_code


def let_16_threads_verify(built: Built, *, rounds: int) -> None:
    """Demand sixteen 200, one activation and one ``user_activated`` for each link."""
    activated = Count()
    with user_activated.connected_to(activated, sender=built.app):
        for number in range(rounds):
            link = link_of_new_account(built, f"user{number}")
            outcome = at_once(16, partial(follow, built, link))
            assert outcome.errors == []
            assert outcome.results == [200] * 16, f"round {number}"
    assert activated.users == list(range(1, rounds + 1))
    assert all(row["email_verified_at"] for row in built.rows())


def test_of_16_threads_with_one_link_exactly_one_activates_and_all_get_200(built: Built) -> None:
    let_16_threads_verify(built, rounds=ROUNDS)


def test_exactly_one_activates_where_the_application_has_read_before_us(built: Built) -> None:
    """On a snapshot that is older than another request's change, which no repetition in it helps."""

    @built.app.before_request
    def read() -> None:
        built.db.session.execute(select(built.User.id)).all()

    let_16_threads_verify(built, rounds=10)


def test_of_16_threads_with_one_link_exactly_one_logs_in(build: Builder) -> None:
    built = build_variant(
        build,
        registration={
            "REGISTER_VERIFICATION_AUTO_LOGIN": True,
            "LOGIN_HANDLER": lambda request, user: {"token": user.email},
        },
    )
    link = link_of_new_account(built, "ann")

    outcome = at_once(16, lambda _: built.verify(link).get_json().get("token"))

    assert outcome.errors == []
    assert Counter(outcome.results) == {"ann@example.com": 1, None: 15}


def test_of_16_threads_with_one_link_for_one_use_one_gets_200_and_the_others_what_a_repetition_gets(
    build: Builder,
) -> None:
    built = build_variant(build, registration={"REGISTER_VERIFICATION_ONE_TIME_USE": True})
    link = link_of_new_account(built, "ann")

    outcome = at_once(16, lambda _: built.verify(link).get_json().get("code"))

    assert outcome.errors == []
    assert Counter(outcome.results) == {None: 1, "signature-invalid": 15}


# One name or address, two requests


@pytest.mark.parametrize("same", ["username", "email"])
def test_of_two_threads_with_one_name_one_gets_201_and_the_other_400(
    built: Built, smtp: RecordingServer, variant: str, same: str
) -> None:
    registered = Count()

    def compete(number: int, thread: int) -> tuple[int, list[str]]:
        own = f"user{number}x{thread}"
        values = {"username": own, "email": f"{own}@example.com", same: f"user{number}@example.com"}
        answer = built.register(**values)
        return answer.status_code, list(answer.get_json().get("errors", ()))

    with user_registered.connected_to(registered, sender=built.app):
        for number in range(ROUNDS):
            outcome = at_once(2, partial(compete, number))
            assert outcome.errors == []
            assert sorted(outcome.results) == [(201, []), (400, [same])], f"round {number}"
    assert len(built.rows()) == len(registered.users) == ROUNDS
    if VARIANTS[variant].is_deferred:  # the COMMIT refuses what is taken when the mail is out
        assert ROUNDS <= len(smtp.messages) <= 2 * ROUNDS
    else:
        assert len(smtp.messages) == ROUNDS


def test_names_that_differ_in_case_are_what_the_collation_says(built: Built, variant: str) -> None:
    folds_case = VARIANTS[variant].folds_case
    outcome = at_once(
        2, lambda number: built.register(username=["ann", "ANN"][number], email=f"{number}@example.com").status_code
    )

    assert outcome.errors == []
    if folds_case is not None:
        assert sorted(outcome.results) == ([201, 400] if folds_case else [201, 201])
    assert len(built.rows()) == outcome.results.count(201)
    assert {201, 400} >= set(outcome.results)


def test_16_different_sign_ups_at_once_all_get_201(built: Built, smtp: RecordingServer) -> None:
    outcome = at_once(
        16, lambda number: built.register(email=f"{number}@example.com", username=str(number)).status_code
    )

    assert outcome.errors == []
    assert outcome.results == [201] * 16
    assert len(built.rows()) == len(smtp.messages) == 16


def test_sign_ups_at_once_where_the_application_has_read_before_us_get_what_they_would_get_one_by_one(
    built: Built, smtp: RecordingServer, variant: str
) -> None:
    """SQLite refuses the INSERT of all but one on a stale snapshot, in a transaction with nothing to lose.

    At SERIALIZABLE, PostgreSQL may refuse the COMMIT: the mail is out by then, so it is 503, and nothing is stored.
    """
    may_refuse_the_commit = VARIANTS[variant].isolation_level == "SERIALIZABLE"

    @built.app.before_request
    def read() -> None:
        built.db.session.execute(select(func.count(built.User.id))).all()

    assert built.post("register/", {}).status_code == 400  # the first use, before which nothing is known of the session

    def compete(number: int, thread: int) -> int:
        name = f"user{number}x{thread // 2}"
        return built.register(email=f"{name}@example.com", username=name).status_code

    answers: Counter[int] = Counter()
    for number in range(10):
        outcome = at_once(8, partial(compete, number))
        assert outcome.errors == []
        answers.update(outcome.results)
        if not may_refuse_the_commit:
            assert sorted(outcome.results) == [201] * 4 + [400] * 4, f"round {number}"
    assert answers.keys() <= {201, 400, 503}
    assert len(built.rows()) == answers[201]
    if may_refuse_the_commit or VARIANTS[variant].is_deferred:
        assert len(smtp.messages) >= answers[201]
    else:
        assert len(smtp.messages) == answers[201]


# Between the SELECT and the UPDATE


def before_first(built: Built, kind: str, action: Callable[[], object]) -> None:
    """Do something at the moment in which the first statement of a kind is about to be sent."""
    waiting = [action]

    @event.listens_for(built.engine, "before_cursor_execute")
    def act(conn: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith(kind) and waiting:
            waiting.pop()()


@pytest.mark.parametrize(
    ("change", "code", "verified"),
    [
        ("UPDATE user SET email = 'eve@example.com'", "signature-invalid", [False]),
        ("DELETE FROM user", "signature-invalid", []),
        ("UPDATE user SET email_verified_at = '2020-01-01 00:00:00.000000'", None, [True]),
        ("UPDATE user SET username = 'another'", None, [True]),
    ],
    ids=["address changed", "deleted", "verified by hand", "something else"],
)
def test_what_changes_between_the_select_and_the_update_decides(
    built: Built, change: str, code: str | None, verified: list[bool]
) -> None:
    link = link_of_new_account(built, "ann")
    activated = Count()

    with built.outside() as outside:
        before_first(built, "UPDATE", lambda: outside.execute(change))
        with user_activated.connected_to(activated, sender=built.app):
            answer = built.verify(link)

    assert answer.get_json().get("code") == code
    assert [row["email_verified_at"] is not None for row in built.rows()] == verified
    assert len(activated.users) == (1 if "another" in change else 0)


@pytest.mark.parametrize("verification", [True, False])
def test_what_was_in_the_way_of_an_insert_and_has_vanished_since_is_in_the_way_no_more(
    build: Builder, smtp: RecordingServer, verification: bool
) -> None:
    built = build(registration={"REGISTER_VERIFICATION_ENABLED": verification})
    link_of_new_account(built, "ann")

    with built.outside() as outside, recorded(built.engine) as statements:
        before_first(built, "SELECT", lambda: outside.execute("DELETE FROM user"))
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


def test_an_insert_in_whose_transaction_the_application_has_written_is_not_tried_again(build: Builder) -> None:
    built = build(model=with_notes)
    link_of_new_account(built, "ann")
    built.app.before_request(partial(note_pending, built))

    with built.outside() as outside, recorded(built.engine) as statements:
        before_first(built, "SELECT", lambda: outside.execute("DELETE FROM user"))
        assert built.register().status_code == 400

    assert [sql for sql in statements.sql if sql.startswith(f"INSERT INTO {USERS}")] != []
    assert statements.queries == ["INSERT", "INSERT", "SELECT"]
    assert (built.rows(), notes(built)) == ([], 0)


# Conflicts


@contextmanager
def writes_locked(built: Built, kind: str, *, tries_refused: int) -> Iterator[None]:
    """Hold the file's only lock until this many statements of a kind were refused."""
    seen: list[str] = []
    with built.outside() as outside:
        outside.lock()

        def count(conn: object, cursor: object, sql: str, *_: object) -> None:
            if sql.startswith(kind):
                seen.append(sql)
                if len(seen) == tries_refused + 1:
                    outside.unlock()

        event.listen(built.engine, "before_cursor_execute", count)
        yield
        event.remove(built.engine, "before_cursor_execute", count)


@pytest.mark.parametrize("refused", [1, 2, 3])
@pytest.mark.parametrize("variant", WITH_TRANSACTIONS_OF_THEIR_OWN)
def test_a_conflict_is_tried_again_in_a_new_transaction_up_to_three_times(
    build: Builder, smtp: RecordingServer, variant: str, refused: int
) -> None:
    built = build_variant(build, variant, is_patient=False)
    with recorded(built.engine) as statements, writes_locked(built, "INSERT", tries_refused=refused):
        assert built.register().status_code == 201
    assert statements.queries == ["INSERT"] * (refused + 1)
    assert statements.count("ROLLBACK") == refused

    with recorded(built.engine) as statements, writes_locked(built, "UPDATE", tries_refused=refused):
        assert built.verify(link_in(smtp.message)).status_code == 200
    assert statements.count("UPDATE") == refused + 1
    assert built.row()["email_verified_at"] is not None


@pytest.mark.parametrize("variant", WITH_TRANSACTIONS_OF_THEIR_OWN)
def test_after_the_last_try_the_database_is_unavailable_and_the_request_can_be_repeated(
    build: Builder, smtp: RecordingServer, variant: str
) -> None:
    built = build_variant(build, variant, is_patient=False)
    with recorded(built.engine) as statements, writes_locked(built, "INSERT", tries_refused=4):
        answer = built.register()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "database-unavailable")
    assert (statements.count("INSERT"), built.rows(), smtp.messages) == (4, [], [])

    assert built.register().status_code == 201
    with recorded(built.engine) as statements, writes_locked(built, "UPDATE", tries_refused=4):
        answer = built.verify(link_in(smtp.message))
    assert (answer.status_code, answer.get_json()["code"]) == (503, "database-unavailable")
    assert statements.count("UPDATE") == 4
    assert built.verify(link_in(smtp.message)).status_code == 200


def with_notes(db: SQLAlchemy) -> type[Any]:
    """The usual model, and a table of the application's own."""

    class Note(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str] = mapped_column(String(80))

    user_class = models.typed(db)
    user_class.Note = Note
    return user_class


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("variant", [name for name in WITH_TRANSACTIONS_OF_THEIR_OWN if name != "plain"])
@pytest.mark.parametrize("path", ["register/", "verify-registration/"])
def test_a_conflict_in_a_transaction_that_the_application_began_is_503_at_once_and_loses_nothing_silently(
    build: Builder, variant: str, path: str
) -> None:
    built = build_variant(build, variant, model=with_notes)
    with built.app.test_request_context():
        body = RegisterSigner.for_user(built.User(id=1, email="eve@example.com")).get_signed_data()
    interference = ["INSERT INTO user (email, username, password_hash) VALUES ('eve@example.com', 'eve', 'x')"]

    @built.app.before_request
    def leave_something_pending() -> None:
        built.db.session.execute(select(built.User.Note)).all()
        built.db.session.add(built.User.Note(text="the application's own"))
        while interference:
            outside.execute(interference.pop())

    with built.outside() as outside:
        outside.execute("PRAGMA journal_mode = WAL")
        with recorded(built.engine) as statements:
            answer = built.post(path, built.body() if path == "register/" else body)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "database-unavailable")
        assert (statements.queries, statements.count("ROLLBACK")) == (["SELECT", "INSERT"], 1)
        assert outside.execute("SELECT count(*) FROM note").fetchone() == (0,)

        assert built.post(path, built.body() if path == "register/" else body).status_code in {200, 201}
        assert outside.execute("SELECT count(*) FROM note").fetchone() == (1,)


def refuse_first(built: Built, kind: str) -> list[str]:
    """Let the database refuse the first statement of a kind as a conflict; return the ones that it was sent."""
    sent: list[str] = []

    @event.listens_for(built.engine, "do_execute")
    def execute(cursor: object, statement: str, parameters: object, context: object) -> None:
        if statement.replace('"user"', "user").startswith(kind):
            sent.append(statement)
            if len(sent) == 1:
                raise conflict()

    return sent


def note_pending(built: Built) -> None:
    built.db.session.add(built.User.Note(text="pending"))


def note_flushed(built: Built) -> None:
    note_pending(built)
    built.db.session.flush()


def note_by_core(built: Built) -> None:
    built.db.session.execute(insert(built.User.Note).values(text="by Core"))


def note_by_core_after_reading(built: Built) -> None:
    built.db.session.execute(select(built.User.Note.id)).all()
    note_by_core(built)


WRITING = [note_pending, note_flushed, note_by_core, note_by_core_after_reading]


def notes(built: Built) -> int:
    with built.app.app_context():
        return built.db.session.scalar(select(func.count(built.User.Note.id))) or 0


@pytest.mark.parametrize("write", WRITING)
@pytest.mark.parametrize(("path", "kind"), [("register/", "INSERT INTO user"), ("verify-registration/", "SELECT user")])
def test_a_conflict_after_the_application_has_written_is_503_at_once_and_loses_nothing_silently(
    build: Builder, path: str, kind: str, write: Callable[[Built], None]
) -> None:
    built = build_variant(build, model=with_notes)
    link = link_of_new_account(built, "eve")
    body = built.body() if path == "register/" else values_of(link)
    built.app.before_request(partial(write, built))
    sent = refuse_first(built, kind)

    answer = built.post(path, body)
    assert (answer.status_code, answer.get_json().get("code")) == (503, "database-unavailable")
    assert (len(sent), notes(built)) == (1, 0)

    assert built.post(path, body).status_code in {200, 201}
    assert notes(built) == 1


@pytest.mark.parametrize("write", WRITING)
def test_a_conflict_in_the_first_request_of_an_app_that_has_written_loses_nothing_silently_either(
    build: Builder, write: Callable[[Built], None]
) -> None:
    built = build_variant(build, model=with_notes)
    built.app.before_request(partial(write, built))
    refuse_first(built, "INSERT INTO user")

    answer = built.register()

    assert (answer.status_code, answer.get_json().get("code")) == (503, "database-unavailable")
    assert (built.rows(), notes(built)) == ([], 0)


def texts(built: Built) -> list[str]:
    with built.app.app_context():
        return list(built.db.session.scalars(select(built.User.Note.text)))


def change_note(built: Built) -> None:
    built.db.session.scalars(select(built.User.Note)).one().text = "changed"


def delete_note(built: Built) -> None:
    built.db.session.delete(built.db.session.scalars(select(built.User.Note)).one())


@pytest.mark.parametrize(("write", "after"), [(change_note, ["changed"]), (delete_note, [])])
def test_a_conflict_after_the_application_has_changed_its_rows_is_503_at_once_too(
    build: Builder, write: Callable[[Built], None], after: list[str]
) -> None:
    built = build_variant(build, model=with_notes)
    link_of_new_account(built, "eve")  # at its first use the app cannot tell what was written before
    with built.app.app_context():
        note_pending(built)
        built.db.session.commit()
    built.app.before_request(partial(write, built))
    sent = refuse_first(built, "INSERT INTO user")

    answer = built.register()
    assert (answer.status_code, answer.get_json().get("code")) == (503, "database-unavailable")
    assert (len(sent), texts(built)) == (1, ["pending"])

    assert built.register().status_code == 201
    assert texts(built) == after


@pytest.mark.parametrize("write", WRITING)
def test_a_conflict_of_the_update_loses_nothing_of_the_application_and_is_tried_again(
    build: Builder, write: Callable[[Built], None]
) -> None:
    built = build_variant(build, model=with_notes)
    link = link_of_new_account(built, "eve")
    built.app.before_request(partial(write, built))
    sent = refuse_first(built, "UPDATE user")

    assert built.verify(link).status_code == 200
    assert (len(sent), notes(built)) == (2, 1)


# The first request, and classes that threads share


def test_the_first_requests_of_an_app_may_come_all_at_once(build: Builder, caplog: pytest.LogCaptureFixture) -> None:
    built = build_variant(build, model=models.is_active_flag)

    with caplog.at_level(logging.WARNING):
        outcome = at_once(
            16, lambda number: built.register(email=f"{number}@example.com", username=str(number)).status_code
        )

    assert outcome.errors == []
    assert outcome.results == [201] * 16
    assert len([record for record in caplog.records if "is_active" in record.getMessage()]) == 1


class ForgetfulSchema(Schema):
    """Keeps a request's data on itself between two steps, as schemas of applications do."""

    both_are_here = Barrier(2)
    email = fields.String(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)
    password_confirm = fields.String(load_only=True)

    @pre_load
    def remember(self, data: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        self.remembered = data["username"]
        self.both_are_here.wait(30)
        return data

    @post_load
    def use_what_was_remembered(self, data: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        return {"email": data["email"], "password": data["password"], "username": self.remembered}


def sign_up(built: Built, names: list[str], thread: int) -> TestResponse:
    return built.register(email=f"{names[thread]}@example.com", username=names[thread])


def test_two_threads_through_one_custom_schema_class_do_not_meet(build: Builder) -> None:
    built = build_variant(build, registration={"REGISTER_SERIALIZER_CLASS": ForgetfulSchema})

    for number in range(10):
        names = [f"ann{number}", f"bob{number}"]
        outcome = at_once(2, partial(sign_up, built, names))
        assert sorted(answer.get_json()["username"] for answer in outcome.results) == names
    assert all(row["email"] == f"{row['username']}@example.com" for row in built.rows())


class HashedPassword(fields.String):
    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        return fast_hasher(super()._deserialize(*args, **kwargs))


SHARED_DB = models.typed_db()
SHARED_USER = models.typed(SHARED_DB)


@models.on_base(lambda: SHARED_DB)
def shared_user(db: SQLAlchemy) -> type[Any]:
    """A model that a schema can name when the module is imported."""
    return SHARED_USER


class LoadInstanceSchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]  # not generic in older versions
    both_are_here = Barrier(2)
    password = HashedPassword(attribute="password_hash", required=True, load_only=True)

    class Meta:
        model = SHARED_USER
        load_instance = True
        unknown = EXCLUDE
        exclude = ("id", "password_hash")

    @pre_load
    def wait(self, data: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        self.both_are_here.wait(30)
        return data


def test_two_threads_through_one_load_instance_schema_use_sessions_of_their_own(build: Builder) -> None:
    built = build_variant(build, model=shared_user, registration={"REGISTER_SERIALIZER_CLASS": LoadInstanceSchema})
    own: list[bool] = []

    def receive(sender: object, user: Any, **keywords: object) -> None:
        own.append(object_session(user) is built.db.session())

    with user_registered.connected_to(receive, sender=built.app):
        for number in range(10):
            outcome = at_once(2, partial(sign_up, built, [f"ann{number}", f"bob{number}"]))
            assert [answer.status_code for answer in outcome.results] == [201, 201]
    assert own == [True] * 20
    assert all(row["email"] == f"{row['username']}@example.com" for row in built.rows())
