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
from sqlalchemy import URL, Connection, Engine, String, bindparam, create_engine, event, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import NullPool
from werkzeug.test import TestResponse

from flask_rest_registration import send_register_verification_email_notification, user_activated, user_registered
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
pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.programs]

_GIVE_UP_AFTER = 30.0


def with_notes(db: SQLAlchemy) -> type[Any]:
    """The usual model, and a table of the application's own."""
    user_class = models.typed(db)

    class Note(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str] = mapped_column(String(2000))

    user_class.Note = Note
    return user_class


# The requests


@dataclass
class Bobs:
    """An app in which Bob has signed up, or has asked for a message, an hour ago.

    :param built: the app.
    :param smtp: its mail server.
    :param link: the values of Bob's link.
    """

    built: Built
    smtp: RecordingServer
    link: dict[str, str]

    def stored(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Read all accounts and all pending registrations."""
        return self.built.rows(), self.built.pending_rows()


@dataclass(frozen=True)
class Action:
    """A request, and what it changes in the database.

    :param kind: the first word of the statement that decides.
    :param path: the endpoint.
    :param body: what is sent.
    :param success: the status when it works.
    :param repeated: the status when it is repeated after that.
    :param signals: how many it sends.
    :param is_email_first: whether it is one of an app with REGISTER_EMAIL_FIRST.
    :param tries: how often it tries the statement when there are conflicts.
    """

    kind: str
    path: str
    body: Callable[[Bobs], Mapping[str, object]]
    success: int
    repeated: int
    signals: int
    is_email_first: bool = False
    tries: int = 4

    @property
    def is_about_pending(self) -> bool:
        """Whether the statement that decides is about a pending registration."""
        return self.is_email_first or self.path == RESEND

    @property
    def settings(self) -> dict[str, object]:
        return {"REGISTER_EMAIL_FIRST" if self.is_email_first else "REGISTER_VERIFICATION_RESEND_ENABLED": True}

    def send(self, bobs: Bobs) -> TestResponse:
        return bobs.built.post(self.path, dict(self.body(bobs)))


def bobs_address(bobs: Bobs) -> dict[str, object]:
    return {"email": "bob@example.com"}


def bobs_account(bobs: Bobs) -> dict[str, object]:
    return {**bobs.built.body(**bobs_address(bobs), username="bob"), **bobs.link}


ACTIONS = {
    "register": Action("INSERT", REGISTER, lambda bobs: bobs.built.body(), 201, 400, 1),
    "verify": Action("UPDATE", VERIFY, lambda bobs: bobs.link, 200, 200, 1),
    "resend": Action("INSERT", RESEND, bobs_address, 202, 202, 0, tries=9),
    "e-mail first": Action("UPDATE", REGISTER, bobs_address, 202, 202, 0, is_email_first=True, tries=9),
    "e-mail first, then the account": Action("UPDATE", VERIFY, bobs_account, 201, 400, 2, is_email_first=True, tries=9),
}


@pytest.fixture(params=ACTIONS)
def action(request: pytest.FixtureRequest) -> Action:
    return ACTIONS[request.param]


@dataclass
class World(Bobs):
    """The same on a server.

    :param proxy: what the app reaches the server through.
    :param outside: leads to it directly.
    """

    proxy: DatabaseProxy
    outside: Engine

    @property
    def is_postgresql(self) -> bool:
        return self.outside.dialect.name == "postgresql"

    def ask(self, sql: str, **parameters: object) -> Any:
        """Run a statement on a connection of its own and return its one value."""
        with self.outside.connect() as connection:
            return connection.scalar(text(sql), parameters)


def with_bob(build: Builder, smtp: RecordingServer, clock: Clock, action: Action, **options: Any) -> Bobs:
    """Build an app for an action, in which Bob has come an hour ago."""
    registration = {**action.settings, **options.pop("registration", {})}
    built = build(with_notes, pending=True, registration=registration, **options)
    address = {"email": "bob@example.com"}
    first = built.post(REGISTER, address if action.is_email_first else built.body(**address, username="bob"))
    assert first.status_code == (202 if action.is_email_first else 201)
    link = values_of(link_in(smtp.messages.pop()))
    clock.move(3600)
    return Bobs(built, smtp, link)


@contextmanager
def world_on(
    server: str, build: Builder, smtp: RecordingServer, clock: Clock, action: Action, **options: Any
) -> Iterator[World]:
    with ExitStack() as stack:
        url: URL = stack.enter_context(new_database(server))
        assert url.host is not None
        proxy = stack.enter_context(DatabaseProxy(url.host, url.port or {"postgresql": 5432}.get(server, 3306)))
        uri = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        bobs = with_bob(build, smtp, clock, action, database_uri=uri, **options)
        stack.callback(bobs.built.dispose)
        yield World(**vars(bobs), proxy=proxy, outside=create_engine(url, poolclass=NullPool))


SERVERS = {"PostgreSQL": "postgresql", "MariaDB": "mariadb"}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return SERVERS[request.param]


@pytest.fixture
def world(server: str, build: Builder, smtp: RecordingServer, clock: Clock, action: Action) -> Iterator[World]:
    with world_on(server, build, smtp, clock, action) as made:
        yield made


@pytest.fixture
def sign_up_world(server: str, build: Builder, smtp: RecordingServer, clock: Clock) -> Iterator[World]:
    with world_on(server, build, smtp, clock, ACTIONS["register"]) as made:
        yield made


# The faults: each lasts as long as its block


Fault = Callable[[World, Action], AbstractContextManager[object]]


@contextmanager
def server_gone(world: World, action: Action) -> Iterator[None]:
    world.proxy.go_away()
    yield
    world.proxy.come_back()


@contextmanager
def listening(engine: Engine, name: str, listener: Callable[..., object]) -> Iterator[None]:
    event.listen(engine, name, listener)
    try:
        yield
    finally:
        event.remove(engine, name, listener)


def in_each_transaction(world: World, sql: str) -> AbstractContextManager[None]:
    """Send a statement of the operator's at the begin of each transaction of the app."""

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(sql)

    return listening(world.built.engine, "begin", begin)


def after_flush(world: World, action: Action, act: Callable[[Connection], object]) -> AbstractContextManager[None]:
    """Do something when the statement that decides was executed and the COMMIT is still to come."""

    def executed(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(action.kind):
            act(connection)

    return listening(world.built.engine, "after_cursor_execute", executed)


def killed_before_commit(world: World, action: Action) -> AbstractContextManager[None]:
    return after_flush(world, action, lambda connection: kill(world, connection))


def kill(world: World, connection: Connection) -> None:
    """End the app's session on the server, and wait until it is gone."""
    driver = connection.connection.driver_connection
    if world.is_postgresql:
        assert world.ask("SELECT pg_terminate_backend(:pid, 30000)", pid=driver.info.backend_pid)  # type: ignore[union-attr]
        return
    number = driver.thread_id()  # type: ignore[union-attr]
    with world.outside.connect() as other:
        other.execute(text("KILL :number"), {"number": number})
    until(lambda: world.ask("SELECT count(*) FROM information_schema.processlist WHERE id = :id", id=number) == 0)


def cut_before_commit(world: World, action: Action) -> AbstractContextManager[None]:
    return after_flush(world, action, lambda connection: world.proxy.cut())


def read_only(world: World, action: Action) -> AbstractContextManager[None]:
    """What a replica is, to which a name leads after a failure of the primary."""
    return in_each_transaction(world, "SET TRANSACTION READ ONLY")


def hold_the_row(world: World, action: Action, connection: Connection) -> None:
    """Let another transaction have what the request needs: the address of a new row, or Bob's row."""
    built = world.built
    assert built.Pending is not None
    table = (built.Pending if action.is_about_pending else built.User).__table__
    if action.kind == "UPDATE":
        connection.execute(select(table.c.id).where(table.c.email == "bob@example.com").with_for_update())
        return
    values: dict[str, object] = {"email": "ann@example.com", "username": "another", "password_hash": "x"}
    if action.is_about_pending:
        zeros = dict.fromkeys(("sent_at", "mails", "next_mail_at", "code_attempts"), 0)
        values = {"id": uuid4(), "email": "bob@example.com", **zeros}
    connection.execute(insert(table).values(values))


@contextmanager
def lock_timeout(world: World, action: Action) -> Iterator[None]:
    limit = "SET LOCAL lock_timeout = 50" if world.is_postgresql else "SET SESSION innodb_lock_wait_timeout = 1"
    with world.outside.connect() as other, in_each_transaction(world, limit):
        hold_the_row(world, action, other)
        yield
        other.rollback()


class Deadlocks:
    """Makes the app's transaction the victim of real deadlocks.

    Before its statement an audit of the application's own changes a note. Another transaction, which has the row that
    the statement needs, waits for that note by then.

    :param times: of so many tries of the statement.
    """

    def __init__(self, world: World, action: Action, *, times: int) -> None:
        self._world = world
        self._action = action
        self._left = times
        self._others: list[Thread] = []
        self.tries = 0
        with world.outside.begin() as connection:
            connection.execute(insert(self._note), [{"id": number, "text": "old"} for number in range(1, 100)])

    @property
    def _note(self) -> Any:
        return self._world.built.User.Note.__table__

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
            thread.join(_GIVE_UP_AFTER)
            assert not thread.is_alive()

    def _before(self, connection: Connection, cursor: object, statement: str, *_: object) -> None:
        is_own = statement.startswith(self._action.kind) and "note" not in statement
        if not is_own:
            return
        self.tries += 1
        self._let_the_others_end()  # else the note might be had before the one who waits for it wakes up
        connection.execute(update(self._note).where(self._note.c.id == 1).values(text="audited"))
        if self._left:
            self._left -= 1
            self._interfere()

    def _interfere(self) -> None:
        other = self._world.outside.connect()
        if self._world.is_postgresql:
            other.execute(text("SET LOCAL deadlock_timeout = '60s'"))  # whoever looks first is the victim
        hold_the_row(self._world, self._action, other)
        # MariaDB's victim is the one that has changed less.
        # One by one: a range would lock what is beyond its end.
        one = update(self._note).where(self._note.c.id == bindparam("number")).values(text="changed by the other one")
        other.execute(one, [{"number": number} for number in range(2, 100)])

        def change_the_note() -> None:
            with other:
                other.execute(update(self._note).where(self._note.c.id == 1).values(text="changed last"))
                other.rollback()

        thread = Thread(target=change_the_note, daemon=True)
        self._others.append(thread)
        driver: Any = other.connection.driver_connection
        thread.start()
        if self._world.is_postgresql:
            waits, number = "pg_locks WHERE NOT granted AND pid = :number", driver.info.backend_pid
        else:
            waits = "information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_mysql_thread_id = :number"
            number = driver.thread_id()
        # MariaDB tells of its transactions anew when it was not asked for 0.1 s.
        until(lambda: self._world.ask(f"SELECT count(*) FROM {waits}", number=number), pause=0.12)


def deadlocks(world: World, action: Action) -> AbstractContextManager[None]:
    return Deadlocks(world, action, times=action.tries).happening()


#: What goes wrong, and by which SQLSTATE or number the servers say so, as far as they do.
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "server gone": (server_gone, ()),
    "connection killed before the COMMIT": (killed_before_commit, ("57P01", "2013", "2006", "1927")),
    "connection cut before the COMMIT": (cut_before_commit, ()),
    "read-only": (read_only, ("25006", "1792")),
    "lock time-out": (lock_timeout, ("55P03", "1205")),
    "deadlocks": (deadlocks, ("40P01", "1213")),
}


def logged_reason(caplog: pytest.LogCaptureFixture) -> str:
    """Demand one line, without addresses, links, hashes and statements, and return it."""
    # "mail.log" is the log of the mail server, which of course sees the mail.
    (line,) = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]
    assert line.startswith("database-unavailable: ")
    told = [secret for secret in ("@", "signature", "://", "pbkdf2", "INSERT", "UPDATE", "DELETE") if secret in line]
    assert told == []
    return line


class Heard:
    """A receiver that counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sender: object, **keywords: object) -> None:
        self.count += 1


@pytest.mark.parametrize("name", FAULTS)
def test_a_server_that_misbehaves_is_503_changes_nothing_and_the_next_request_works(
    world: World, action: Action, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    built, heard = world.built, Heard()
    before = world.stored()
    with (
        user_registered.connected_to(heard, sender=built.app),
        user_activated.connected_to(heard, sender=built.app),
        built.app.app_context(),
    ):
        caplog.clear()
        fault, codes = FAULTS[name]
        with fault(world, action):
            refused(action.send(world), 503, "database-unavailable")
        reason = logged_reason(caplog)
        assert not codes or any(f"code {code}" in reason for code in codes)
        assert world.stored() == before
        # A mail that is out before the COMMIT cannot be called back; its link is dead.
        mailed = action is ACTIONS["register"] and name.endswith("COMMIT")
        assert (len(world.smtp.messages), heard.count) == (mailed, 0)

        built.db.session.execute(select(built.User)).all()
        assert action.send(world).status_code == action.success
        assert world.stored() != before
        assert heard.count == action.signals


# Deadlocks that pass


def test_a_deadlock_is_tried_again_in_a_new_transaction(world: World, action: Action) -> None:
    before = world.stored()
    deadlock = Deadlocks(world, action, times=action.tries - 1)
    with deadlock.happening():
        assert action.send(world).status_code == action.success
    assert deadlock.tries == action.tries
    assert world.stored() != before
    assert world.ask("SELECT text FROM note WHERE id = 1") == "audited"


def test_a_deadlock_after_the_application_has_written_is_503_at_once(
    sign_up_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of what it wrote in this transaction is lost without a word."""
    world = sign_up_world
    built, action = world.built, ACTIONS["register"]

    def write(sender: object) -> None:
        built.db.session.add(built.User.Note(id=1000, text="the application's own"))

    deadlock = Deadlocks(world, action, times=1)
    with request_started.connected_to(write, sender=built.app):
        with deadlock.happening():
            refused(action.send(world), 503, "database-unavailable")
        assert deadlock.tries == 1
        assert any(code in logged_reason(caplog) for code in ("40P01", "1213"))
        assert world.ask("SELECT count(*) FROM note WHERE id = 1000") == 0

        assert action.send(world).status_code == 201
        assert world.ask("SELECT count(*) FROM note WHERE id = 1000") == 1


# Connections that are lost


def test_after_a_restart_between_two_requests_one_is_503_and_the_next_works(world: World, action: Action) -> None:
    """The pool learns by the first one that its connections are dead."""
    before = world.stored()
    world.proxy.cut()
    refused(action.send(world), 503, "database-unavailable")
    assert world.stored() == before
    assert action.send(world).status_code == action.success


def test_after_a_restart_a_pool_that_asks_first_lets_the_next_request_through(
    server: str, build: Builder, smtp: RecordingServer, clock: Clock, action: Action
) -> None:
    config = {"SQLALCHEMY_ENGINE_OPTIONS": {"pool_pre_ping": True}}
    with world_on(server, build, smtp, clock, action, config=config) as world:
        world.proxy.cut()
        assert action.send(world).status_code == action.success


@pytest.mark.parametrize("name", ["register", "resend", "e-mail first"])
@pytest.mark.parametrize("error", [LookupError("own"), OSError("own"), None], ids=repr)
def test_a_connection_that_dies_together_with_the_mail_is_503_and_the_next_request_works(
    server: str,
    build: Builder,
    smtp: RecordingServer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    error: Exception | None,
    name: str,
) -> None:
    """There is no connection left on which a ROLLBACK could be sent; a pending row is put back on another one."""
    dying: list[Callable[[], object]] = []
    action = ACTIONS[name]

    def send(request: Any, user: Any) -> None:
        if dying:
            dying.pop()()
            if error is not None:
                raise error
            smtp.text_reply = "554 no"
        send_register_verification_email_notification(request, user)

    settings = {"REGISTER_VERIFICATION_EMAIL_SENDER": send, "REGISTER_EXISTING_EMAIL_SENDER": send}
    with world_on(server, build, smtp, clock, action, registration=settings) as world:
        built, before = world.built, world.stored()
        with built.app.app_context():

            def die() -> None:
                built.db.session.execute(select(built.User)).all()
                kill(world, built.db.session.connection())

            dying.append(die)
            caplog.clear()
            refused(action.send(world), 503, "email-not-sent")
            assert [each for each in ("ann@example.com", "bob@example.com") if each in caplog.text] == []
            assert smtp.messages == []
            if name != "resend":  # a new pending row stays: the message may have arrived all the same
                assert world.stored() == before
            smtp.text_reply = None
            built.db.session.execute(select(built.User)).all()
            assert action.send(world).status_code == action.success
            assert len(smtp.messages) == 1


def test_a_field_that_is_refused_on_a_connection_that_dies_is_refused_all_the_same(sign_up_world: World) -> None:
    world, built = sign_up_world, sign_up_world.built

    def die(sender: object) -> None:
        built.db.session.execute(select(built.User)).all()
        kill(world, built.db.session.connection())

    with request_started.connected_to(die, sender=built.app):
        refused(built.register(email="no address"), 400, "invalid")
        refused(built.verify({}), 400, "invalid")


def test_a_commit_whose_answer_is_lost_may_have_happened_and_the_link_in_the_mail_works(
    world: World, action: Action
) -> None:
    """Nobody can know it: the answer is 503, and a repetition gets what a repetition gets."""
    before = world.stored()
    with after_flush(world, action, lambda connection: world.proxy.lose_the_answer_to(b"COMMIT")):
        refused(action.send(world), 503, "database-unavailable")
    assert world.proxy.lost.is_set()
    assert world.stored() != before
    if action is ACTIONS["register"]:
        assert world.built.verify(link_in(world.smtp.message)).status_code == 200
    assert action.send(world).status_code == action.repeated


@pytest.mark.parametrize("name", ["resend", "e-mail first"])
def test_a_message_that_may_be_noted_can_be_asked_for_after_the_cooldown(
    server: str, build: Builder, smtp: RecordingServer, clock: Clock, name: str
) -> None:
    action = ACTIONS[name]
    with world_on(server, build, smtp, clock, action) as world:
        with after_flush(world, action, lambda connection: world.proxy.lose_the_answer_to(b"COMMIT")):
            refused(action.send(world), 503, "database-unavailable")
        assert (action.send(world).status_code, smtp.messages) == (202, [])
        clock.move(12 * 3600)
        assert (action.send(world).status_code, len(smtp.messages)) == (202, 1)


# SQLite


@pytest.fixture
def bobs(build: Builder, smtp: RecordingServer, clock: Clock, action: Action) -> Bobs:
    """An app on a file."""
    return with_bob(build, smtp, clock, action)


@pytest.fixture
def sign_up_bobs(build: Builder, smtp: RecordingServer, clock: Clock) -> Bobs:
    return with_bob(build, smtp, clock, ACTIONS["register"])


def pragma(built: Built, sql: str) -> AbstractContextManager[None]:
    """Send a PRAGMA to each connection at its next use."""

    def checked_out(connection: Any, *_: object) -> None:
        connection.execute(sql).fetchall()

    return listening(built.engine, "checkout", checked_out)


def sign_ups_until_503(built: Built) -> Iterator[tuple[str, TestResponse]]:
    """Sign one up after the other; some have room in a page that is there already, until one has not."""
    for number in range(500):
        address = f"{number}@example.com"
        answer = built.register(email=address, username=f"{number:x>70}")
        yield address, answer
        if answer.status_code == 503:
            return
    raise AssertionError("the disk is never full")


def test_on_a_full_disk_each_201_has_its_row_and_its_mail_and_a_503_has_neither(
    sign_up_bobs: Bobs, caplog: pytest.LogCaptureFixture
) -> None:
    bobs, built, stored = sign_up_bobs, sign_up_bobs.built, ["bob@example.com"]
    with built.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    with built.app.app_context():
        with pragma(built, f"PRAGMA max_page_count = {pages}"):
            for address, answer in sign_ups_until_503(built):
                if answer.status_code == 201:
                    stored.append(address)
            refused(answer, 503, "database-unavailable")
            assert [row["email"] for row in built.rows()] == stored
            assert [message["To"] for message in bobs.smtp.messages] == stored[1:]
        assert lacking(logged_reason(caplog), "sqlite3.OperationalError") == []
        with pragma(built, f"PRAGMA max_page_count = {2**30}"):
            assert built.register(email=address, username="with room").status_code == 201


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Let the operating system refuse what would make any file of this process longer."""
    resource = pytest.importorskip("resource")
    usual, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))


def test_a_file_that_cannot_grow_is_503_at_the_commit_and_the_sent_link_is_dead(sign_up_bobs: Bobs) -> None:
    bobs, built = sign_up_bobs, sign_up_bobs.built
    path = Path(str(built.engine.url.database))
    stored = ["bob@example.com"]
    with built.app.app_context():
        with files_no_longer_than(path.stat().st_size):
            for address, answer in sign_ups_until_503(built):
                if answer.status_code == 201:
                    stored.append(address)
        refused(answer, 503, "database-unavailable")
        assert [row["email"] for row in built.rows()] == stored
        assert [message["To"] for message in bobs.smtp.messages] == [*stored[1:], address]
        refused(built.verify(link_in(bobs.smtp.messages[-1])), 400, "signature-invalid")
        assert built.register(email=address, username="with room").status_code == 201


def test_a_database_that_may_only_be_read_is_503_changes_nothing_and_the_next_request_works(
    bobs: Bobs, action: Action, caplog: pytest.LogCaptureFixture
) -> None:
    built, before = bobs.built, bobs.stored()
    with built.app.app_context():
        with pragma(built, "PRAGMA query_only = ON"):
            refused(action.send(bobs), 503, "database-unavailable")
            assert lacking(logged_reason(caplog), "sqlite3.OperationalError") == []
        assert bobs.stored() == before
        assert bobs.smtp.messages == []
        with pragma(built, "PRAGMA query_only = OFF"):
            assert action.send(bobs).status_code == action.success
            assert bobs.stored() != before


def test_a_file_that_may_only_be_read_is_503_and_changes_nothing(build: Builder, bobs: Bobs, action: Action) -> None:
    before = bobs.stored()
    uri = f"sqlite:///file:{bobs.built.engine.url.database}?mode=ro&uri=true"
    mounted = build(with_notes, database_uri=uri, pending=True, registration=action.settings, tables=False)
    there = replace(bobs, built=mounted)
    refused(action.send(there), 503, "database-unavailable")
    assert there.stored() == before
    assert bobs.smtp.messages == []
    assert action.send(bobs).status_code == action.success
