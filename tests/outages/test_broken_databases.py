"""Databases that misbehave: 503 ``database-unavailable``, nothing half done, and the next request works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from flask import request_started
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, String, bindparam, create_engine, event, insert, select, text, update
from sqlalchemy.orm import mapped_column
from sqlalchemy.pool import NullPool
from werkzeug.test import TestResponse

from flask_rest_registration import send_register_verification_email_notification
from tests.support import models
from tests.support.answers import refused
from tests.support.apps import REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.concurrency import until
from tests.support.database_proxy import DatabaseProxy
from tests.support.database_servers import new_database
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking

# Each test names the servers that it needs: the suite's runs on servers need not repeat it.
pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.programs, pytest.mark.slow]

ANN, BOB = "ann@example.com", "bob@example.com"
HOUR = 3600


def with_notes(db: SQLAlchemy) -> type[Any]:
    """The usual model, and a table of the application's own."""
    user = models.typed(db)
    columns = {"id": mapped_column(db.Integer, primary_key=True), "text": mapped_column(String(2000))}
    user.Note = type("Note", (db.Model,), columns)
    return user


@dataclass(frozen=True)
class Action:
    """A request to an app in which Bob has signed up, or has asked for a mail, an hour ago.

    :param kind: the first word of the statement that decides.
    :param body: what is sent, of an app and the values of Bob's link.
    :param success: the status when it works; ``repeated``, when it is repeated after that.
    :param signals: how many it sends.
    :param tries: how often it tries the statement when there are conflicts.
    """

    kind: str
    path: str
    body: Callable[[Built, Mapping[str, str]], Mapping[str, object]]
    success: int
    repeated: int
    signals: int
    is_email_first: bool = False
    tries: int = 4

    @property
    def settings(self) -> dict[str, object]:
        return {"REGISTER_EMAIL_FIRST" if self.is_email_first else "REGISTER_VERIFICATION_RESEND_ENABLED": True}


def bob(built: Built, link: Mapping[str, str]) -> dict[str, object]:
    return {**built.body(email=BOB, username="bob"), **link}


ACTIONS = {
    "register": Action("INSERT", REGISTER, lambda built, link: built.body(), 201, 400, 1),
    "verify": Action("UPDATE", VERIFY, lambda built, link: link, 200, 200, 1),
    "resend": Action("INSERT", RESEND, lambda *_: {"email": BOB}, 202, 202, 0, tries=9),
    "e-mail first": Action("UPDATE", REGISTER, lambda *_: {"email": BOB}, 202, 202, 0, is_email_first=True, tries=9),
    "e-mail first, then the account": Action("UPDATE", VERIFY, bob, 201, 400, 2, is_email_first=True, tries=9),
}


@dataclass(frozen=True)
class World:
    """An app, its mail server, Bob's link and a request; on a server also a proxy before it, and a way around that."""

    action: Action
    built: Built
    smtp: RecordingServer
    link: Mapping[str, str]
    proxy: Any = None
    outside: Any = None

    def send(self) -> TestResponse:
        return self.built.post(self.action.path, dict(self.action.body(self.built, self.link)))

    def stored(self) -> object:
        return self.built.rows(), self.built.pending_rows()

    @property
    def is_postgresql(self) -> bool:
        return bool(self.outside.dialect.name == "postgresql")

    def ask(self, sql: str, **parameters: object) -> Any:
        with self.outside.connect() as connection:
            return connection.scalar(text(sql), parameters)


Make = Callable[..., World]


@pytest.fixture
def make(build: Builder, smtp: RecordingServer, clock: Clock) -> Iterator[Make]:
    with ExitStack() as stack:

        def make_world(server: str | None, name: str, **options: Any) -> World:
            action, ways = ACTIONS[name], {}
            if server:
                url = stack.enter_context(new_database(server))
                port = url.port or {"postgresql": 5432, "mariadb": 3306}[server]
                proxy = stack.enter_context(DatabaseProxy(str(url.host), port))
                options["database_uri"] = url.set(host="127.0.0.1", port=proxy.port).render_as_string(False)
                ways = {"proxy": proxy, "outside": create_engine(url, poolclass=NullPool)}
            registration = {**action.settings, **options.pop("registration", {})}
            built = build(with_notes, pending=True, registration=registration, **options)
            stack.callback(built.dispose)
            body = {"email": BOB} if action.is_email_first else built.body(email=BOB, username="bob")
            assert built.post(REGISTER, body).status_code == (202 if action.is_email_first else 201)
            clock.move(HOUR)
            return World(action, built, smtp, values_of(link_in(smtp.messages.pop())), **ways)

        yield make_world


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ACTIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(make: Make, server: str, name: str) -> World:
    return make(server, name)


@contextmanager
def listening(engine: Engine, name: str, listener: Callable[..., object]) -> Iterator[None]:
    event.listen(engine, name, listener)
    try:
        yield
    finally:
        event.remove(engine, name, listener)


def in_each_transaction(world: World, sql: str) -> AbstractContextManager[None]:
    """Send a statement of the operator's at the begin of each transaction of the app."""
    return listening(world.built.engine, "begin", lambda connection: connection.exec_driver_sql(sql))


def before_commit(world: World, act: Callable[[Connection], object]) -> AbstractContextManager[None]:
    """Do something when the statement that decides was executed and the COMMIT is still to come."""

    def executed(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(world.action.kind):
            act(connection)

    return listening(world.built.engine, "after_cursor_execute", executed)


@contextmanager
def server_gone(world: World) -> Iterator[None]:
    world.proxy.go_away()
    yield
    world.proxy.come_back()


def kill(world: World, connection: Connection) -> None:
    """End the app's session on the server, and wait until it is gone."""
    driver: Any = connection.connection.driver_connection
    if world.is_postgresql:
        assert world.ask("SELECT pg_terminate_backend(:pid, 30000)", pid=driver.info.backend_pid)
        return
    number = driver.thread_id()
    with world.outside.connect() as other:
        other.execute(text("KILL :number"), {"number": number})
    until(lambda: world.ask("SELECT count(*) FROM information_schema.processlist WHERE id = :id", id=number) == 0)


def hold_the_row(world: World, connection: Connection) -> None:
    """Let another transaction have what the request needs: the address of a new row, or Bob's row."""
    built, action = world.built, world.action
    is_about_pending = action.is_email_first or action.path == RESEND
    table = (built.Pending if is_about_pending else built.User).__table__  # type: ignore[union-attr]
    if action.kind == "UPDATE":
        connection.execute(select(table.c.id).where(table.c.email == BOB).with_for_update())
        return
    values: dict[str, object] = {"email": ANN, "username": "another", "password_hash": "x"}
    if is_about_pending:
        zeros = dict.fromkeys(("sent_at", "mails", "next_mail_at", "code_attempts"), 0)
        values = {"id": uuid4(), "email": BOB, **zeros}
    connection.execute(insert(table).values(values))


@contextmanager
def lock_timeout(world: World) -> Iterator[None]:
    limit = "SET LOCAL lock_timeout = 50" if world.is_postgresql else "SET SESSION innodb_lock_wait_timeout = 0"
    with world.outside.connect() as other, in_each_transaction(world, limit):
        hold_the_row(world, other)
        yield
        other.rollback()


class Deadlocks:
    """Makes the app's transaction the victim of real deadlocks.

    Before its statement an audit of the application's own changes a note. Another transaction, which has the row that
    the statement needs, waits for that note by then.

    :param times: of so many tries of the statement; without it, of all.
    """

    def __init__(self, world: World, times: int | None = None) -> None:
        self._world = world
        self._left = world.action.tries if times is None else times
        self._note = world.built.User.Note.__table__
        self._others: list[Thread] = []
        self.tries = 0
        with world.outside.begin() as connection:
            connection.execute(insert(self._note), [{"id": number, "text": "old"} for number in range(1, 100)])

    @contextmanager
    def happening(self) -> Iterator[None]:
        limit = "SET LOCAL deadlock_timeout = 10" if self._world.is_postgresql else "SELECT 1"
        engine = self._world.built.engine
        with in_each_transaction(self._world, limit), listening(engine, "before_cursor_execute", self._before):
            yield
        self._let_the_others_end()

    def _let_the_others_end(self) -> None:
        """Wait for the transactions of earlier tries, which go on when the app's has been rolled back."""
        for thread in self._others:
            thread.join(30)
            assert not thread.is_alive()

    def _before(self, connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(self._world.action.kind) or "note" in statement:
            return
        self.tries += 1
        self._let_the_others_end()  # else the note might be had before the one who waits for it wakes up
        connection.execute(update(self._note).where(self._note.c.id == 1).values(text="audited"))
        if self._left:
            self._left -= 1
            self._interfere()

    def _interfere(self) -> None:
        other = self._world.outside.connect()
        driver = other.connection.driver_connection
        if self._world.is_postgresql:
            other.execute(text("SET LOCAL deadlock_timeout = '60s'"))  # whoever looks first is the victim
            waits, number = "pg_locks WHERE NOT granted AND pid = :number", driver.info.backend_pid
        else:
            # innodb_trx would be surer, but tells the same for 0.1 s after each question, whoever asks. Where the other
            # one does not wait yet, the application's transaction is the victim all the same.
            waits = "information_schema.processlist WHERE state = 'Updating' AND time_ms > 5 AND id = :number"
            number = driver.thread_id()
        hold_the_row(self._world, other)
        # MariaDB's victim is the one that has changed less.
        # One by one: a range would lock what is beyond its end.
        one = update(self._note).where(self._note.c.id == bindparam("number")).values(text="changed by the other one")
        other.execute(one, [{"number": number} for number in range(2, 100)])

        def change_the_note() -> None:
            with other:
                other.execute(update(self._note).where(self._note.c.id == 1).values(text="changed last"))
                other.rollback()

        self._others.append(Thread(target=change_the_note, daemon=True))
        self._others[-1].start()
        until(lambda: self._world.ask(f"SELECT count(*) FROM {waits}", number=number))


#: What goes wrong, and by which SQLSTATE or number the servers say so, as far as they do.
FAULTS: dict[str, tuple[Callable[[World], AbstractContextManager[object]], tuple[str, ...]]] = {
    "server gone": (server_gone, ()),
    "connection killed before the COMMIT": (
        lambda world: before_commit(world, lambda connection: kill(world, connection)),
        ("57P01", "2013", "2006", "1927"),
    ),
    "connection cut before the COMMIT": (lambda world: before_commit(world, lambda _: world.proxy.cut()), ()),
    # as a replica is, to which a name leads after a failure of the primary
    "read-only": (lambda world: in_each_transaction(world, "SET TRANSACTION READ ONLY"), ("25006", "1792")),
    "lock time-out": (lock_timeout, ("55P03", "1205")),
    "deadlocks": (lambda world: Deadlocks(world).happening(), ("40P01", "1213")),
}


def logged_reason(caplog: pytest.LogCaptureFixture) -> str:
    """Demand one line, without addresses, links, hashes and statements, and return it."""
    # "mail.log" is the log of the mail server, which of course sees the mail.
    (line,) = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]
    assert line.startswith("database-unavailable: ")
    told = [secret for secret in ("@", "signature", "://", "pbkdf2", "INSERT", "UPDATE", "DELETE") if secret in line]
    assert told == []
    return line


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves_is_503_changes_nothing_and_the_next_request_works(
    world: World, name: str, fault: str, signals: list[Any], activations: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    before, begin, codes = world.stored(), *FAULTS[fault]
    for heard in (signals, activations, caplog):
        heard.clear()
    with world.built.app.app_context():
        with begin(world):
            refused(world.send(), 503, "database-unavailable")
        reason = logged_reason(caplog)
        assert not codes or any(f"code {code}" in reason for code in codes)
        assert world.stored() == before
        # A mail that is out before the COMMIT cannot be called back; its link is dead.
        mailed = name == "register" and fault.endswith("COMMIT")
        assert (len(world.smtp.messages), signals, activations) == (mailed, [], [])

        world.built.db.session.execute(select(world.built.User)).all()
        assert world.send().status_code == world.action.success
        assert world.stored() != before
        assert len(signals) + len(activations) == world.action.signals


def test_a_deadlock_is_tried_again_in_a_new_transaction(world: World) -> None:
    before = world.stored()
    deadlock = Deadlocks(world, world.action.tries - 1)
    with deadlock.happening():
        assert world.send().status_code == world.action.success
    assert deadlock.tries == world.action.tries
    assert world.stored() != before
    assert world.ask("SELECT text FROM note WHERE id = 1") == "audited"


@pytest.mark.parametrize("asks_first", [False, True], ids=["", "pool_pre_ping"])
def test_after_a_restart_one_request_is_503_or_none_where_the_pool_asks_first(
    make: Make, server: str, name: str, asks_first: bool
) -> None:
    """Without ``pool_pre_ping``, the pool learns by the first request that its connections are dead."""
    world = make(server, name, config={"SQLALCHEMY_ENGINE_OPTIONS": {"pool_pre_ping": asks_first}})
    before = world.stored()
    world.proxy.cut()
    if not asks_first:
        refused(world.send(), 503, "database-unavailable")
        assert world.stored() == before
    assert world.send().status_code == world.action.success


def kill_own(world: World) -> None:
    world.built.db.session.execute(select(world.built.User)).all()
    kill(world, world.built.db.session.connection())


@pytest.mark.parametrize("name", ["register", "resend", "e-mail first"])
@pytest.mark.parametrize("error", [LookupError("own"), OSError("own"), None], ids=repr)
def test_a_connection_that_dies_with_the_mail_is_503_and_the_next_request_works(
    make: Make, server: str, name: str, error: Exception | None, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no connection left on which a ROLLBACK could be sent; a pending row is put back on another one."""
    dying: list[Callable[[], object]] = []

    def send(request: Any, user: Any) -> None:
        if dying:
            dying.pop()()
            if error is not None:
                raise error
            smtp.text_reply = "554 no"
        send_register_verification_email_notification(request, user)

    senders = ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER")
    world = make(server, name, registration=dict.fromkeys(senders, send))
    before = world.stored()
    with world.built.app.app_context():
        dying.append(lambda: kill_own(world))
        caplog.clear()
        refused(world.send(), 503, "email-not-sent")
        assert [each for each in (ANN, BOB) if each in caplog.text] == []
        assert smtp.messages == []
        if name != "resend":  # a new pending row stays: the mail may have arrived all the same
            assert world.stored() == before
        smtp.text_reply = None
        world.built.db.session.execute(select(world.built.User)).all()
        assert world.send().status_code == world.action.success
        assert len(smtp.messages) == 1


def test_a_field_that_is_refused_on_a_connection_that_dies_is_refused_all_the_same(make: Make, server: str) -> None:
    world = make(server, "register")
    with request_started.connected_to(lambda sender: kill_own(world), sender=world.built.app):
        refused(world.built.register(email="no address"), 400, "invalid")
        refused(world.built.verify({}), 400, "invalid")


def test_a_commit_whose_answer_is_lost_is_503_and_the_link_in_the_mail_works(
    world: World, name: str, clock: Clock
) -> None:
    """Nobody can know it: the answer is 503, and a repetition gets what a repetition gets."""
    before, messages = world.stored(), world.smtp.messages
    with before_commit(world, lambda connection: world.proxy.lose_the_answer_to(b"COMMIT")):
        refused(world.send(), 503, "database-unavailable")
    assert world.proxy.lost.is_set()
    assert world.stored() != before
    if name == "register":
        assert world.built.verify(link_in(world.smtp.message)).status_code == 200
    assert world.send().status_code == world.action.repeated
    if name in {"resend", "e-mail first"}:  # the mail may be noted: another one can be asked for after the cooldown
        assert messages == []
        clock.move(12 * HOUR)
        assert (world.send().status_code, len(messages)) == (202, 1)


def sign_ups_until_503(world: World) -> tuple[list[str], str]:
    """Sign up until the disk is full: some have room in a page that is there already; return who was, and was not."""
    stored = [BOB]
    for number in range(500):
        address = f"{number}@example.com"
        answer = world.built.register(email=address, username=f"{number:x>70}")
        if answer.status_code != 201:
            refused(answer, 503, "database-unavailable")
            assert [row["email"] for row in world.built.rows()] == stored
            return stored, address
        stored.append(address)
    raise AssertionError("the disk is never full")


def test_on_a_full_disk_each_201_has_its_row_and_its_mail_and_a_503_has_neither(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make(None, "register")
    built, limit = world.built, [0]
    with built.engine.connect() as connection:
        limit[0] = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0

    def grant(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit[0]}").fetchall()

    with built.app.app_context(), listening(built.engine, "checkout", grant):
        stored, address = sign_ups_until_503(world)
        assert [message["To"] for message in world.smtp.messages] == stored[1:]
        assert lacking(logged_reason(caplog), "sqlite3.OperationalError") == []
        limit[0] = 2**30
        assert built.register(email=address, username="with room").status_code == 201


def test_a_file_that_cannot_grow_is_503_at_the_commit_and_the_sent_link_is_dead(make: Make) -> None:
    resource = pytest.importorskip("resource")
    world = make(None, "register")
    usual, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with world.built.app.app_context():
        size = Path(str(world.built.engine.url.database)).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            stored, address = sign_ups_until_503(world)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))
        assert [message["To"] for message in world.smtp.messages] == [*stored[1:], address]
        refused(world.built.verify(link_in(world.smtp.messages[-1])), 400, "signature-invalid")
        assert world.built.register(email=address, username="with room").status_code == 201


def test_a_file_that_may_only_be_read_is_503_and_changes_nothing(
    build: Builder, make: Make, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = make(None, name)
    before = world.stored()
    uri = f"sqlite:///file:{world.built.engine.url.database}?mode=ro&uri=true"
    mounted = build(with_notes, database_uri=uri, pending=True, registration=world.action.settings, tables=False)
    caplog.clear()
    refused(replace(world, built=mounted).send(), 503, "database-unavailable")
    assert lacking(logged_reason(caplog), "sqlite3.OperationalError") == []
    assert (world.stored(), world.smtp.messages) == (before, [])
    assert world.send().status_code == world.action.success
