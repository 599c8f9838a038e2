"""What has happened when you see each answer: every step that can fail, by row, mail, signal, answer, repetition."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Thread
from typing import Any

import pytest
from flask import abort
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String, event, func, select
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from flask_rest_registration import (
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
from tests.support.databases import Outside, impatient
from tests.support.links import changed, link_in, values_of
from tests.support.mail_servers import DrippingServer, MisbehavingServer, Moment, RecordingServer, SilentServer

#: Exceptions are answered, not raised, and a lock is waited for no longer than this.
PRODUCTION: dict[str, object] = {
    "TESTING": False,
    **impatient(),
}

Fault = Callable[[Built, RecordingServer], AbstractContextManager[object]]


# The faults: each lasts as long as its block


@contextmanager
def nothing(built: Built, smtp: RecordingServer) -> Iterator[None]:
    yield


@contextmanager
def outside(built: Built, *statements: str) -> Iterator[Outside]:
    """Run statements on a connection of its own, and leave it open."""
    with built.outside() as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection


@contextmanager
def database_locked(built: Built, smtp: RecordingServer) -> Iterator[None]:
    """Nobody else can write."""
    with built.outside() as connection:
        connection.lock()
        yield


def database_being_read(built: Built, smtp: RecordingServer) -> AbstractContextManager[object]:
    """Others can write, but not COMMIT."""
    return outside(built, "BEGIN", "SELECT * FROM user")


@contextmanager
def name_taken(built: Built, smtp: RecordingServer) -> Iterator[None]:
    insert = "INSERT INTO user (id, email, username, password_hash) VALUES (99, 'other@example.com', 'ann', 'x')"
    with outside(built, insert) as connection:
        yield
        connection.execute("DELETE FROM user WHERE id = 99")


@contextmanager
def reply(built: Built, smtp: RecordingServer, *, to: str, text: str) -> Iterator[None]:
    """Let the mail server refuse a step."""
    setattr(smtp, f"{to}_reply", text)
    yield
    setattr(smtp, f"{to}_reply", None)


@contextmanager
def delivering_to(built: Built, port: int) -> Iterator[None]:
    state = built.app.extensions["mail"]
    usual, state.port = state.port, port
    yield
    state.port = usual


@contextmanager
def connection_refused(built: Built, smtp: RecordingServer) -> Iterator[None]:
    with RecordingServer() as gone:
        pass
    with delivering_to(built, gone.port):
        yield


@contextmanager
def silent_server(built: Built, smtp: RecordingServer) -> Iterator[None]:
    with SilentServer() as silent, delivering_to(built, silent.port):
        yield


class OwnSender:
    """A sender of the application's own, which may do something before or after the default one."""

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None

    def __call__(self, request: Any, user: object) -> None:
        if self.before:
            self.before()
        send_register_verification_email_notification(request, user)
        if self.after:
            self.after()


own_sender = OwnSender()
OWN_SENDER: dict[str, object] = {"REGISTER_VERIFICATION_EMAIL_SENDER": own_sender}


@contextmanager
def sender_that(
    *, before: Callable[[], object] | None = None, after: Callable[[], object] | None = None
) -> Iterator[None]:
    own_sender.before, own_sender.after = before, after
    try:
        yield
    finally:
        own_sender.before = own_sender.after = None


def sender_raises(built: Built, smtp: RecordingServer, *, error: Exception) -> AbstractContextManager[object]:
    def fail() -> None:
        raise error

    return sender_that(before=fail)


def sender_aborts(built: Built, smtp: RecordingServer) -> AbstractContextManager[object]:
    return sender_that(before=partial(abort, 404))


def sender_rolls_back(built: Built, smtp: RecordingServer) -> AbstractContextManager[object]:
    return sender_that(after=built.db.session.rollback)


@contextmanager
def commit_raises(built: Built, smtp: RecordingServer) -> Iterator[None]:
    """A listener of the application's own fails at the COMMIT."""

    def fail(session: object) -> None:
        raise LookupError("not now")

    event.listen(built.db.session, "before_commit", fail)
    yield
    event.remove(built.db.session, "before_commit", fail)


@contextmanager
def constraint_fails_at_commit(built: Built, smtp: RecordingServer) -> Iterator[None]:
    with outside(built, "DELETE FROM tenant") as connection:
        yield
        connection.execute("INSERT INTO tenant (id) VALUES (7)")


@contextmanager
def receiver_raises(built: Built, smtp: RecordingServer) -> Iterator[None]:
    def fail(sender: object, **keywords: object) -> None:
        raise LookupError("the receiver's own fault")

    with user_registered.connected_to(fail, sender=built.app), user_activated.connected_to(fail, sender=built.app):
        yield


def deferred_tenant(db: SQLAlchemy) -> type[Any]:
    """A foreign key that is checked at the COMMIT."""

    class Tenant(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]
        tenant_id: Mapped[int] = mapped_column(ForeignKey(Tenant.id, deferrable=True, initially="DEFERRED"), default=7)

    return User


class Heard:
    """A receiver that counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sender: object, **keywords: object) -> None:
        self.count += 1


# POST register/


@dataclass(frozen=True)
class Case:
    """One row of the table.

    :param fault: what goes wrong, for as long as it lasts.
    :param answer: status and code.
    :param rows: accounts stored, of this registration.
    :param mails: mails that the server accepted.
    :param signals: calls of another receiver.
    :param repeated: the status of the same request when the fault is over.
    :param errors: the fields with an error.
    """

    fault: Fault
    answer: tuple[int, str | None]
    rows: int = 0
    mails: int = 0
    signals: int = 0
    repeated: int = 201
    errors: tuple[str, ...] = ()
    body: dict[str, object] = field(default_factory=dict)
    registration: dict[str, object] = field(default_factory=dict)
    model: models.Model = models.typed


EMAIL_NOT_SENT = (503, "email-not-sent")
UNAVAILABLE = (503, "database-unavailable")
INVALID = (400, "invalid")

REGISTER: dict[str, Case] = {
    "nothing": Case(nothing, (201, None), rows=1, mails=1, signals=1, repeated=400),
    "validation": Case(nothing, INVALID, errors=("email",), body={"email": "ann"}, repeated=400),
    "INSERT, name taken": Case(name_taken, INVALID, errors=("username",)),
    "INSERT, database locked": Case(database_locked, UNAVAILABLE),
    "mail, connection refused": Case(connection_refused, EMAIL_NOT_SENT),
    "mail, sender refused": Case(partial(reply, to="mail", text="550 not you"), EMAIL_NOT_SENT),
    "mail, recipient refused for good": Case(
        partial(reply, to="rcpt", text="550 no such user"), INVALID, errors=("email",)
    ),
    "mail, recipient refused for now": Case(partial(reply, to="rcpt", text="451 greylisted"), EMAIL_NOT_SENT),
    "mail, text refused for now": Case(partial(reply, to="text", text="451 later"), EMAIL_NOT_SENT),
    "mail, text refused for good": Case(partial(reply, to="text", text="554 spam"), EMAIL_NOT_SENT),
    "mail, silent server": Case(silent_server, EMAIL_NOT_SENT, registration={"VERIFICATION_EMAIL_TIMEOUT": 1}),
    "mail, own sender raises": Case(
        partial(sender_raises, error=LookupError("own")), EMAIL_NOT_SENT, registration=OWN_SENDER
    ),
    "mail, own sender raises our error": Case(
        partial(sender_raises, error=EmailNotSent("own")), EMAIL_NOT_SENT, registration=OWN_SENDER
    ),
    "mail, own sender aborts": Case(sender_aborts, EMAIL_NOT_SENT, registration=OWN_SENDER),
    "mail, own sender rolls back": Case(sender_rolls_back, EMAIL_NOT_SENT, mails=1, registration=OWN_SENDER),
    "COMMIT, database busy": Case(database_being_read, UNAVAILABLE, mails=1),
    "COMMIT, constraint": Case(
        constraint_fails_at_commit, INVALID, mails=1, errors=("_schema",), model=deferred_tenant
    ),
    "COMMIT, the application's own fault": Case(commit_raises, (500, None), mails=1),
    "receiver": Case(receiver_raises, (201, None), rows=1, mails=1, signals=1, repeated=400),
}


#: What cannot happen everywhere: MariaDB checks everything at the statement, and others can commit while it is read.
ONLY_ON = {"COMMIT, database busy": ["sqlite"], "COMMIT, constraint": ["sqlite", "postgresql"]}


def where_they_happen(*names: str) -> list[Any]:
    """Return the parameters of a test for these rows of a table."""
    return [
        pytest.param(name, marks=[pytest.mark.only_on(*ONLY_ON[name])] if name in ONLY_ON else []) for name in names
    ]


def code_of(answer: TestResponse) -> str | None:
    return (answer.get_json(silent=True) or {}).get("code")


def own_rows(built: Built) -> list[dict[str, Any]]:
    return [row for row in built.rows() if row["email"] == "ann@example.com"]


@pytest.mark.parametrize("name", where_they_happen(*REGISTER))
def test_what_has_happened_at_each_answer_of_register(build: Builder, smtp: RecordingServer, name: str) -> None:
    case = REGISTER[name]
    built = build(case.model, registration=case.registration, config=PRODUCTION)
    switch_foreign_keys_on(built)
    heard = Heard()
    with user_registered.connected_to(heard, sender=built.app):
        with case.fault(built, smtp):
            answer = built.register(**case.body)
        assert (answer.status_code, code_of(answer)) == case.answer
        assert tuple((answer.get_json(silent=True) or {}).get("errors", ())) == case.errors
        assert len(own_rows(built)) == case.rows
        assert (len(smtp.messages), heard.count) == (case.mails, case.signals)

        assert built.register(**case.body).status_code == case.repeated
        stored = case.repeated == 201 or case.rows
        assert (len(own_rows(built)), heard.count) == (stored, stored)


def switch_foreign_keys_on(built: Built) -> None:
    """SQLite checks them only when it is told to, on each connection."""
    built.enforce_foreign_keys()


@pytest.mark.parametrize("name", where_they_happen("COMMIT, database busy", "mail, own sender rolls back"))
def test_a_mail_that_is_out_without_a_row_has_a_dead_link_and_the_second_mails_link_works(
    build: Builder, smtp: RecordingServer, clock: Clock, name: str
) -> None:
    case = REGISTER[name]
    built = build(registration=case.registration, config=PRODUCTION)
    with case.fault(built, smtp):
        built.register()
    answer = built.verify(link_in(smtp.message))
    assert (answer.status_code, code_of(answer)) == (400, "signature-invalid")

    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.messages[1])).status_code == 200


def test_a_receiver_that_raises_where_flask_propagates_exceptions_leaves_the_account_stored(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build()
    with receiver_raises(built, smtp), pytest.raises(LookupError):
        built.register()
    assert (len(built.rows()), len(smtp.messages)) == (1, 1)


FAILED = [name for name, case in REGISTER.items() if case.answer[0] != 201]


@pytest.mark.parametrize("name", where_they_happen(*FAILED))
def test_after_a_failed_registration_the_session_works_for_the_next_request_in_its_app_context(
    build: Builder, smtp: RecordingServer, name: str
) -> None:
    case = REGISTER[name]
    built = build(case.model, registration=case.registration, config=PRODUCTION)
    switch_foreign_keys_on(built)
    with built.app.app_context():
        with case.fault(built, smtp):
            assert built.register(**case.body).status_code == case.answer[0]
        built.db.session.execute(select(built.User)).all()
        assert built.register().status_code == 201
    assert len(own_rows(built)) == 1


# POST verify-registration/


@dataclass(frozen=True)
class LinkCase:
    """One row of the table of ``verify-registration/``; ``changes`` are made to the link's values."""

    fault: Fault
    answer: tuple[int, str | None]
    verified: bool = False
    signals: int = 0
    logins: int = 0
    repeated: int = 400
    changes: dict[str, object] = field(default_factory=dict)
    age: int = 0
    log_in: str = "works"


VERIFY: dict[str, LinkCase] = {
    "nothing": LinkCase(nothing, (200, None), verified=True, signals=1, logins=1, repeated=200),
    "validation": LinkCase(nothing, INVALID, changes={"user_id": None}),
    "link, wrong signature": LinkCase(nothing, (400, "signature-invalid"), changes={"signature": "x"}),
    "link, nobody": LinkCase(nothing, (400, "signature-invalid"), changes={"user_id": "77"}),
    "link, too old": LinkCase(nothing, (400, "signature-expired"), age=8 * 24 * 3600),
    "UPDATE, database locked": LinkCase(database_locked, UNAVAILABLE, repeated=200),
    "COMMIT, database busy": LinkCase(database_being_read, UNAVAILABLE, repeated=200),
    "COMMIT, the application's own fault": LinkCase(commit_raises, (500, None), repeated=200),
    "receiver": LinkCase(receiver_raises, (200, None), verified=True, signals=1, logins=1, repeated=200),
    "log-in raises": LinkCase(nothing, (200, None), verified=True, signals=1, log_in="raises", repeated=200),
    "log-in refuses": LinkCase(nothing, (200, None), verified=True, signals=1, log_in="refuses", repeated=200),
    "log-in aborts": LinkCase(nothing, (200, None), verified=True, signals=1, log_in="aborts", repeated=200),
    "log-in answers nonsense": LinkCase(
        nothing, (200, None), verified=True, signals=1, log_in="answers nonsense", repeated=200
    ),
}


def log_in_that(behaviour: str) -> Callable[[object, object], object]:
    def log_in(request: object, user: object) -> object:
        if behaviour == "raises":
            raise LookupError("the handler's own fault")
        if behaviour == "refuses":
            raise RestRegistrationError("not you")
        if behaviour == "aborts":
            abort(403)
        return {"token": object()} if behaviour == "answers nonsense" else {"token": "t"}

    return log_in


@pytest.mark.parametrize("name", where_they_happen(*VERIFY))
def test_what_has_happened_at_each_answer_of_verify(
    build: Builder, smtp: RecordingServer, clock: Clock, name: str
) -> None:
    case = VERIFY[name]
    handler = log_in_that(case.log_in)
    login = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": handler}
    built = build(registration=login, config=PRODUCTION)
    built.register()
    values = changed(values_of(link_in(smtp.message)), **case.changes)
    clock.move(case.age)
    heard = Heard()
    with user_activated.connected_to(heard, sender=built.app):
        with case.fault(built, smtp):
            answer = built.verify(values)
        assert (answer.status_code, code_of(answer)) == case.answer
        assert ("token" in (answer.get_json(silent=True) or {})) is bool(case.logins)
        assert ((built.row()["email_verified_at"] is not None), heard.count) == (case.verified, case.signals)

        repetition = built.verify(values)
        assert repetition.status_code == case.repeated
        verified = case.verified or case.repeated == 200
        assert ((built.row()["email_verified_at"] is not None), heard.count) == (verified, verified)
        if case.verified:
            assert "token" not in repetition.get_json()


# What the application left pending


def with_notes(db: SQLAlchemy) -> type[Any]:
    class Note(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)

    user_class = models.typed(db)
    user_class.Note = Note
    return user_class


@pytest.fixture
def noted(build: Builder) -> Built:
    """An app that leaves in the session what a test has put into ``User.left``; Ann has signed up."""
    built = build(with_notes, config=PRODUCTION)
    built.User.left = []

    @built.app.before_request
    def leave() -> None:
        while built.User.left:
            built.db.session.add(built.User.left.pop())

    assert built.register().status_code == 201
    return built


def notes(built: Built) -> int:
    with built.app.app_context():
        return built.db.session.scalar(select(func.count()).select_from(built.User.Note)) or 0


def test_after_a_failed_verification_the_session_works_for_the_next_request_in_its_app_context(
    noted: Built, smtp: RecordingServer
) -> None:
    link = link_in(smtp.message)
    with noted.app.app_context():
        noted.User.left += [noted.User(username="without address and password")]
        assert noted.verify(link).status_code == 500
        assert noted.verify(link).status_code == 200
    assert noted.row()["email_verified_at"] is not None


def test_what_the_application_left_pending_goes_with_our_commit_also_where_a_link_is_repeated(
    noted: Built, smtp: RecordingServer
) -> None:
    link = link_in(smtp.message)
    for expected in (1, 2, 3):
        noted.User.left += [noted.User.Note()]
        assert noted.verify(link).status_code == 200
        assert notes(noted) == expected


@pytest.mark.parametrize("path", ["register/", "verify-registration/"])
@pytest.mark.parametrize("sent", [{}, {"email": "ann"}, []], ids=str)
def test_what_the_application_left_pending_is_rolled_back_with_a_400_at_validation(
    noted: Built, path: str, sent: object
) -> None:
    with noted.app.app_context():
        noted.User.left += [noted.User.Note()]
        assert noted.post(path, sent).status_code == 400
        assert list(noted.db.session.new) == []
        assert noted.register(email="bob@example.com", username="bob").status_code == 201
    assert notes(noted) == 0


# Servers that keep others waiting

MOMENTS: list[Moment] = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "TEXT"]

#: Fast enough that smtplib, left alone, would find the line too long after some 16 s: this fails and does not hang.
dripping = partial(DrippingServer, interval=0.002)


def test_no_server_that_is_silent_or_drips_keeps_a_sign_up_beyond_the_time_out(build: Builder) -> None:
    hanging = [kind(at=moment) for kind in (SilentServer, dripping) for moment in MOMENTS]
    with ExitStack() as stack:
        servers = [stack.enter_context(server) for server in hanging]
        apps = [build(mail=server, registration={"VERIFICATION_EMAIL_TIMEOUT": 1}) for server in servers]

        def sign_up(number: int) -> tuple[int, str | None, bool]:
            began = time.monotonic()
            answer = apps[number].register()
            return answer.status_code, code_of(answer), 0.9 < time.monotonic() - began < 3

        outcome = at_once(len(apps), sign_up)
        assert outcome.errors == []
        assert outcome.results == [(*EMAIL_NOT_SENT, True)] * len(apps)
        assert [app.rows() for app in apps] == [[]] * len(apps)


@pytest.mark.parametrize("kind", [SilentServer, dripping])
def test_a_server_that_has_the_mail_and_hangs_at_quit_is_bounded_and_the_sign_up_done(
    build: Builder, kind: Callable[..., MisbehavingServer]
) -> None:
    with kind(at="QUIT") as server:
        # On a busy machine the steps before QUIT may take more than one second, and all of them count.
        built = build(mail=server, registration={"VERIFICATION_EMAIL_TIMEOUT": 2})
        began = time.monotonic()
        assert built.register().status_code == 201
        assert time.monotonic() - began < 8
    assert len(built.rows()) == 1


def add_pages(built: Built) -> None:
    """Give the app two pages of its own: one that reads and one that writes the same file."""
    session, note = built.db.session, built.User.Note

    @built.app.get("/read")
    def read() -> dict[str, int]:
        return {"users": session.scalar(select(func.count()).select_from(built.User)) or 0}

    @built.app.post("/write")
    def write() -> dict[str, int]:
        session.add(note())
        session.commit()
        return {"notes": session.scalar(select(func.count()).select_from(note)) or 0}


@contextmanager
def served(built: Built) -> Iterator[int]:
    """Serve the app over HTTP, every request in a thread of its own, on the port that is given."""
    server = make_server("127.0.0.1", 0, built.app, threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int, method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, float]:
    """Send a request and return the answer's status and the seconds that it took."""
    began = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.monotonic() - began


def test_while_18_sign_ups_wait_for_a_silent_server_the_other_pages_read_and_write_at_their_speed(
    build: Builder,
) -> None:
    waiting, seconds = 18, 2
    answers: list[tuple[int, float]] = []
    with SilentServer() as silent, ExitStack() as stack:
        built = build(with_notes, mail=silent, registration={"VERIFICATION_EMAIL_TIMEOUT": seconds})
        add_pages(built)
        port = stack.enter_context(served(built))

        def sign_up(number: int) -> None:
            body = built.body(email=f"{number}@example.com", username=str(number))
            answers.append(ask(port, "POST", "/api/v1/accounts/register/", body))

        usual = [ask(port, "GET", "/read"), ask(port, "POST", "/write")]
        threads = [Thread(target=sign_up, args=(number,)) for number in range(waiting)]
        for thread in threads:
            thread.start()
        while silent.connections < waiting and any(thread.is_alive() for thread in threads):
            time.sleep(0.01)
        others: list[tuple[int, float]] = []
        while not answers and len(others) < 100:
            others += [ask(port, "GET", "/read"), ask(port, "POST", "/write")]
        for thread in threads:
            thread.join()

    assert {status for status, _ in usual + others} == {200}
    # A page that waits for the sign-ups gets no further than two requests before the first of them ends.
    assert len(others) >= 20
    assert sorted(took for _, took in others)[len(others) // 2] < 0.25
    assert {status for status, _ in answers} == {503}
    assert max(took for _, took in answers) < 2 * seconds
    assert built.rows() == []
