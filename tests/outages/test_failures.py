"""What has happened when you see each answer: every step that can fail, by row, mail, signal, answer, repetition."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from unittest.mock import Mock, patch

import pytest
from flask import session
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import mapped_column, object_session
from werkzeug.exceptions import Forbidden, NotFound
from werkzeug.test import TestResponse

from flask_rest_registration import (
    DatabaseFault,
    EmailNotSent,
    RestRegistrationError,
    send_register_verification_email_notification,
    user_activated,
    user_registered,
)
from tests.support import models
from tests.support.apps import Builder, Built
from tests.support.clock import Clock
from tests.support.concurrency import at_once
from tests.support.databases import AT_THE_COMMIT, impatient
from tests.support.links import changed, link_in, values_of
from tests.support.mail_servers import Drip, RecordingServer, Silence
from tests.support.statements import recorded

#: Exceptions are answered, not raised, and a lock is waited for no longer than this.
PRODUCTION: dict[str, object] = {"TESTING": False, **impatient()}

BOB = {"email": "bob@example.com", "username": "bob"}
TWIN = {"email": "ann@example.com", "username": "twin"}
CHECKING_LATE = pytest.mark.only_on("sqlite", "postgresql")
Answer = tuple[int, "str | None"]
Fault = Callable[[Built, RecordingServer], AbstractContextManager[object]]


def nothing(built: Built, smtp: RecordingServer) -> AbstractContextManager[object]:
    return nullcontext()


@contextmanager
def database_locked(built: Built, smtp: RecordingServer) -> Iterator[None]:
    with built.outside() as connection:
        connection.lock()
        yield


@contextmanager
def database_being_read(built: Built, smtp: RecordingServer) -> Iterator[None]:
    """Others can write, but not COMMIT."""
    with built.outside() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM user")
        yield


@contextmanager
def name_taken(built: Built, smtp: RecordingServer) -> Iterator[None]:
    values = "VALUES (99, 'other@example.com', 'ann', 'x')"
    built.execute_outside(f"INSERT INTO user (id, email, username, password_hash) {values}")
    yield
    built.execute_outside("DELETE FROM user WHERE id = 99")


def reply(built: Built, smtp: RecordingServer, *, to: str, text: str) -> AbstractContextManager[object]:
    return patch.object(smtp, f"{to}_reply", text)


def delivering_to(built: Built, port: int) -> AbstractContextManager[object]:
    return patch.object(built.app.extensions["mail"], "port", port)


@contextmanager
def connection_refused(built: Built, smtp: RecordingServer) -> Iterator[None]:
    with RecordingServer() as gone:
        pass
    with delivering_to(built, gone.port):
        yield


@contextmanager
def silent_server(built: Built, smtp: RecordingServer) -> Iterator[None]:
    with RecordingServer(fault=Silence("CONNECT")) as silent, delivering_to(built, silent.port):
        yield


def send(request: Any, user: object) -> None:
    """Send as the application's own sender does."""
    send_register_verification_email_notification(request, user)


OWN_SENDER: dict[str, object] = {"REGISTER_VERIFICATION_EMAIL_SENDER": lambda request, user: send(request, user)}


def sender_raises(built: Built, smtp: RecordingServer, *, error: Exception) -> AbstractContextManager[object]:
    return patch(f"{__name__}.send", side_effect=error)


def sender_rolls_back(built: Built, smtp: RecordingServer) -> AbstractContextManager[object]:
    def send_and_roll_back(request: Any, user: object) -> None:
        send_register_verification_email_notification(request, user)
        built.db.session.rollback()

    return patch(f"{__name__}.send", send_and_roll_back)


@contextmanager
def commit_raises(built: Built, smtp: RecordingServer) -> Iterator[None]:
    """A listener of the application's own fails at the COMMIT."""
    fail = Mock(side_effect=LookupError("not now"))
    event.listen(built.db.session, "before_commit", fail)
    yield
    event.remove(built.db.session, "before_commit", fail)


@contextmanager
def no_tenant(built: Built, smtp: RecordingServer) -> Iterator[None]:
    built.execute_outside("DELETE FROM tenant")
    yield
    built.execute_outside("INSERT INTO tenant (id) VALUES (7)")


@contextmanager
def receiver_raises(built: Built, smtp: RecordingServer) -> Iterator[None]:
    fail = Mock(side_effect=LookupError("the receiver's own fault"))
    with user_registered.connected_to(fail, sender=built.app), user_activated.connected_to(fail, sender=built.app):
        yield


def deferred_tenant(db: SQLAlchemy) -> type[Any]:
    """A foreign key that is checked at the COMMIT."""
    db.Table("tenant", db.Column("id", db.Integer, primary_key=True))
    key = ForeignKey("tenant.id", deferrable=True, initially="DEFERRED")
    return models.declared(tenant_id=mapped_column(key, default=7, nullable=False))(db)


@dataclass(frozen=True)
class Case:
    """One row of the table; ``repeated`` is the status of the same request when the fault is over."""

    fault: Fault
    answer: Answer
    stored: bool = False
    inserts: int = 1
    mails: int = 0
    repeated: int = 201
    errors: tuple[str, ...] = ()
    body: dict[str, object] = field(default_factory=dict)
    registration: dict[str, object] = field(default_factory=dict)
    model: models.Model = models.typed


EMAIL_NOT_SENT = (503, "email-not-sent")
UNAVAILABLE = (503, "database-unavailable")
INVALID = (400, "invalid")
IMPATIENT: dict[str, object] = {"VERIFICATION_EMAIL_TIMEOUT": 1}


def own_sender(error: Exception) -> Case:
    return Case(partial(sender_raises, error=error), EMAIL_NOT_SENT, registration=OWN_SENDER)


def refused(to: str, text: str, inserts: int = 1) -> Case:
    return Case(partial(reply, to=to, text=text), EMAIL_NOT_SENT, inserts=inserts)


REGISTER: dict[str, Case] = {
    "nothing": Case(nothing, (201, None), stored=True, mails=1, repeated=400),
    "validation": Case(nothing, INVALID, inserts=0, errors=("email",), body={"email": "ann"}, repeated=400),
    "INSERT, name taken": Case(name_taken, INVALID, errors=("username",)),
    "INSERT, database locked": Case(database_locked, UNAVAILABLE, inserts=4),
    "mail, connection refused": Case(connection_refused, EMAIL_NOT_SENT, inserts=0),
    "mail, sender refused": refused("mail", "550 not you", inserts=0),
    "mail, recipient refused for good": replace(
        refused("rcpt", "550 nobody", inserts=0), answer=INVALID, errors=("email",)
    ),
    "mail, recipient refused for now": refused("rcpt", "451 greylisted", inserts=0),
    "mail, text refused": refused("text", "554 spam"),
    "mail, silent server": Case(silent_server, EMAIL_NOT_SENT, inserts=0, registration=IMPATIENT),
    "mail, own sender raises": own_sender(LookupError("own")),
    "mail, own sender raises our error": own_sender(EmailNotSent("own")),
    "mail, own sender aborts": own_sender(NotFound()),
    "mail, own sender rolls back": Case(sender_rolls_back, EMAIL_NOT_SENT, mails=1, registration=OWN_SENDER),
    "COMMIT, database busy": Case(database_being_read, UNAVAILABLE, mails=1),
    "COMMIT, constraint": Case(no_tenant, INVALID, mails=1, errors=("_schema",), model=deferred_tenant),
    "COMMIT, the application's own fault": Case(commit_raises, (500, None), mails=1),
    "receiver": Case(receiver_raises, (201, None), stored=True, mails=1, repeated=400),
}


#: What cannot happen everywhere: MariaDB checks everything at the statement, and others can commit while it is read.
ONLY_ON = {"COMMIT, database busy": pytest.mark.only_on("sqlite"), "COMMIT, constraint": CHECKING_LATE}


def where_they_happen(table: Mapping[str, object]) -> list[Any]:
    return [pytest.param(name, marks=[ONLY_ON[name]] if name in ONLY_ON else []) for name in table]


def told(answer: TestResponse) -> tuple[object, ...]:
    """Return the status of an answer, and where it has them its code and the fields with an error."""
    body = answer.get_json(silent=True) or {}
    return answer.status_code, body.get("code"), *body.get("errors", ())


def own_rows(built: Built) -> int:
    return len([row for row in built.rows() if row["email"] == "ann@example.com"])


@pytest.mark.parametrize("name", where_they_happen(REGISTER))
def test_what_has_happened_at_each_answer_of_register(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, signals: list[Any], name: str
) -> None:
    case = REGISTER[name]
    built = build(case.model, registration=case.registration, config=PRODUCTION)
    built.enforce_foreign_keys()
    # One app context, so that the session has to work after the fault.
    with built.app.app_context():
        with case.fault(built, smtp), recorded(built.engine) as statements:
            answer = built.register(**case.body)
        assert told(answer) == (*case.answer, *case.errors)
        assert (own_rows(built), len(signals)) == (case.stored, case.stored)
        assert (statements.count("INSERT"), len(smtp.messages)) == (case.inserts, case.mails)
        assert answer.status_code < 500 or logging.ERROR in [record.levelno for record in caplog.records]

        built.db.session.execute(select(built.User)).all()
        if mail_is_lost := case.mails and not case.stored:
            assert told(built.verify(link_in(smtp.message))) == (400, "signature-invalid")
        assert built.register(**case.body).status_code == case.repeated
        stored = case.stored or case.repeated == 201
        assert (own_rows(built), len(signals)) == (stored, stored)
        assert not mail_is_lost or built.verify(link_in(smtp.messages[1])).status_code == 200


@dataclass(frozen=True)
class LinkCase:
    """One row of the table of ``verify-registration/``; ``changes`` are made to the link's values."""

    fault: Fault
    answer: Answer
    activates: bool = False
    repeated: int = 200
    changes: dict[str, object] = field(default_factory=dict)
    age: int = 0
    log_in: str = "works"
    testing: bool = False


VERIFY: dict[str, LinkCase] = {
    "nothing": LinkCase(nothing, (200, None), activates=True),
    "validation": LinkCase(nothing, INVALID, changes={"user_id": None}, repeated=400),
    "link, wrong signature": LinkCase(nothing, (400, "signature-invalid"), changes={"signature": "x"}, repeated=400),
    "link, nobody": LinkCase(nothing, (400, "signature-invalid"), changes={"user_id": "77"}, repeated=400),
    "link, too old": LinkCase(nothing, (400, "signature-expired"), age=8 * 24 * 3600, repeated=400),
    "UPDATE, database locked": LinkCase(database_locked, UNAVAILABLE),
    "COMMIT, database busy": LinkCase(database_being_read, UNAVAILABLE),
    "COMMIT, the application's own fault": LinkCase(commit_raises, (500, None)),
    "receiver": LinkCase(receiver_raises, (200, None), activates=True),
    # A log-in handler that fails is no fault of the request, also where Flask propagates exceptions.
    **{
        f"log-in {does}, {testing=}": LinkCase(nothing, (200, None), activates=True, log_in=does, testing=testing)
        for does in ("raises", "refuses", "aborts", "fails inside a flush", "answers a text", "answers nonsense")
        for testing in (True, False)
    },
}


def log_in_that(does: str) -> Callable[[object, Any], object]:
    def log_in(request: object, user: Any) -> object:
        session["user"] = str(user.id)
        errors = {"raises": LookupError("own"), "refuses": RestRegistrationError("not you"), "aborts": Forbidden()}
        if does in errors:
            raise errors[does]
        if does == "fails inside a flush":
            database = object_session(user)
            assert database is not None
            database.add(type(user)(**TWIN, password_hash="x"))
            database.flush()
        return {"answers a text": "token", "answers nonsense": {"token": object()}}.get(does, {"token": "t"})

    return log_in


@pytest.mark.parametrize("name", where_they_happen(VERIFY))
def test_what_has_happened_at_each_answer_of_verify(
    build: Builder, smtp: RecordingServer, clock: Clock, caplog: pytest.LogCaptureFixture, activations: Any, name: str
) -> None:
    case = VERIFY[name]
    login = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": log_in_that(case.log_in)}
    built = build(registration=login, config={**PRODUCTION, "TESTING": case.testing})
    built.register()
    values = changed(values_of(link_in(smtp.message)), **case.changes)
    clock.move(case.age)
    client = built.client()
    # One app context, so that the session has to work after the fault.
    with built.app.app_context():
        with case.fault(built, smtp):
            answer = client.post(f"{built.url_prefix}/verify-registration/", json=values)
        assert told(answer)[:2] == case.answer
        logs_in = case.activates and case.log_in == "works"
        assert ("token" in (answer.get_json(silent=True) or {})) is logs_in
        assert (client.get_cookie("session") is not None) is logs_in
        assert case.log_in == "works" or logging.ERROR in [record.levelno for record in caplog.records]
        assert (built.row()["email_verified_at"] is not None, len(activations)) == (case.activates, case.activates)

        repetition = built.verify(values)
        verified = case.repeated == 200
        assert repetition.status_code == case.repeated
        assert (built.row()["email_verified_at"] is not None, len(activations)) == (verified, verified)
        assert not case.activates or "token" not in repetition.get_json()


def with_visits(db: SQLAlchemy, model: models.Model = models.typed) -> type[Any]:
    class Visit(db.Model):  # type: ignore[misc,name-defined]
        id = mapped_column(db.Integer, primary_key=True)
        page = mapped_column(String(500), unique=True, nullable=False)
        visitor = mapped_column(ForeignKey("user.id", **AT_THE_COMMIT))

    user = model(db)
    user.visit = Visit
    return user


@pytest.fixture
def visited(build: Builder) -> Built:
    """An app that adds to the session, in each request, what ``User.leave`` makes; Ann has signed up."""
    built = build(with_visits)
    built.enforce_foreign_keys()
    built.User.leave = list
    built.app.before_request(lambda: built.db.session.add_all(built.User.leave()))
    assert built.register().status_code == 201
    return built


def visits(built: Built) -> list[str]:
    with built.app.app_context():
        return sorted(built.db.session.scalars(select(built.User.visit.page)))


@pytest.mark.database
def test_what_the_application_left_goes_with_our_commit_or_rollback(visited: Built, smtp: RecordingServer) -> None:
    visited.User.leave = lambda: [visited.User.visit(page="sign-up")]
    assert visited.register().status_code == 400
    smtp.text_reply = "451 later"
    assert told(visited.register(**BOB)) == EMAIL_NOT_SENT
    assert visits(visited) == []
    smtp.text_reply = None
    assert visited.register(**BOB).status_code == 201
    assert visits(visited) == ["sign-up"]


def test_what_the_application_left_goes_with_each_use_of_a_link(visited: Built, smtp: RecordingServer) -> None:
    link = link_in(smtp.message)
    for pages in (["1"], ["1", "2"], ["1", "2", "3"]):
        visited.User.leave = lambda pages=pages: [visited.User.visit(page=pages[-1])]
        assert visited.verify(link).status_code == 200
        assert visits(visited) == pages


@pytest.mark.parametrize("path", ["register/", "verify-registration/"])
def test_what_the_application_left_is_rolled_back_with_a_400_at_validation(visited: Built, path: str) -> None:
    untrue = {"user_id": "1", "timestamp": "1", "signature": "x"}
    bodies: list[object] = [{}, {"email": "ann"}, [], untrue]
    with visited.app.app_context():
        visited.User.leave = lambda: [visited.User.visit(page="sign-up")]
        for body in bodies:
            assert visited.post(path, body).status_code == 400
            assert list(visited.db.session.new) == []
        visited.User.leave = list
        assert visited.register(**BOB).status_code == 201
    assert visits(visited) == []


@pytest.mark.database
@pytest.mark.parametrize("endpoint", ["register", "verify"])
@pytest.mark.parametrize(
    ("row", "error"),
    [
        pytest.param(lambda user: user.visit(page="taken"), IntegrityError, id="unique"),
        pytest.param(lambda user: user.visit(page="new", visitor=999), DatabaseFault, marks=CHECKING_LATE, id="late"),
        pytest.param(lambda user: user(**TWIN, password_hash="x"), IntegrityError, id="account"),
    ],
)
def test_a_fault_of_what_the_application_left_is_its_own_and_never_address_taken(
    visited: Built, smtp: RecordingServer, row: Callable[[Any], object], error: type[Exception], endpoint: str
) -> None:
    link = link_in(smtp.message)
    with visited.app.app_context():
        visited.db.session.add(visited.User.visit(page="taken"))
        visited.db.session.commit()

    def send() -> TestResponse:
        return visited.register(**BOB) if endpoint == "register" else visited.verify(link)

    with visited.app.app_context():  # one app context, so that the session has to work after the fault
        visited.User.leave = lambda: [row(visited.User)]
        with pytest.raises(error):
            send()
        visited.app.config["TESTING"] = False
        answer = send()
        assert (answer.status_code, answer.mimetype) == (500, "text/html")
        assert (len(visited.rows()), visits(visited)) == (1, ["taken"])
        visited.User.leave = list
        assert send().status_code in {200, 201}


@pytest.mark.database
@pytest.mark.parametrize("verification", [True, False])
def test_what_an_account_violates_is_its_fault_whatever_the_app_left(build: Builder, verification: bool) -> None:
    model = partial(with_visits, model=models.named_unique)
    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": verification})
    built.app.before_request(lambda: built.db.session.add(built.User.visit(page="sign-up")))
    assert told(built.register(username="root")) == (*INVALID, "_schema")
    assert built.rows() == []


def test_a_server_that_has_the_mail_and_hangs_at_quit_does_not_undo_a_sign_up(build: Builder) -> None:
    # Fast enough that smtplib, left alone, would find the line too long after some 16 s: this fails and does not hang.
    silent, dripping = (RecordingServer(fault=fault) for fault in (Silence("QUIT"), Drip("QUIT", interval=0.002)))
    with silent, dripping:
        # On a busy machine the steps before QUIT may take more than one second, and all of them count.
        settings = {"VERIFICATION_EMAIL_TIMEOUT": 2}
        apps = [build(mail=server, registration=settings) for server in (silent, dripping)]
        began = time.monotonic()
        statuses = at_once(len(apps), lambda number: apps[number].register().status_code)
        assert (statuses.results, statuses.errors) == ([201, 201], [])
        assert time.monotonic() - began < 8
    assert [len(built.rows()) for built in apps] == [1, 1]
