"""The database that the apps of a test stand on: SQLite files, or a server's databases.

``TEST_DATABASE`` chooses. Each process of the suite makes databases of its own on a server, uses them again for one
test after the other, and drops them at its end.
"""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool

from .database_servers import SERVERS, Server, text_of

SQLITE: Final = "sqlite"

#: What the apps of this run stand on.
CHOSEN: Final = os.environ.get("TEST_DATABASE") or SQLITE
ON_SQLITE: Final = CHOSEN == SQLITE

#: The name of the usual table of users, as SQL has to quote it here.
USERS: Final = '"user"' if CHOSEN == "postgresql" else "user"

#: True, as a parameter of tests, where a constraint can be checked at the COMMIT.
DEFERRED: Final = pytest.param(True, marks=pytest.mark.only_on("sqlite", "postgresql"))

#: What makes a foreign key be checked at the COMMIT, where that can be.
AT_THE_COMMIT: Final[dict[str, Any]] = {} if CHOSEN == "mariadb" else {"deferrable": True, "initially": "DEFERRED"}

#: How its driver's exceptions begin.
DRIVER: Final = {"sqlite": "sqlite3.", "postgresql": "psycopg.errors.", "mariadb": "pymysql.err."}.get(CHOSEN, "")

#: How long a connection of the suite itself waits for a lock; only a test that goes wrong makes it wait.
_WAIT_FOR_LOCKS: Final = {
    "postgresql": "SET lock_timeout = '10s'",
    "mysql": "SET lock_wait_timeout = 10, innodb_lock_wait_timeout = 10",
}


def chosen_server() -> Server | None:
    """Return the server of this run, or None on SQLite."""
    if ON_SQLITE:
        return None
    if CHOSEN not in SERVERS:
        raise ValueError(f"TEST_DATABASE is {CHOSEN!r}: say {SQLITE} or one of {', '.join(SERVERS)}.")
    return SERVERS[CHOSEN]


@compiles(sa.String, "mysql", "mariadb")
def _give_a_length(kind: sa.String, compiler: Any, **options: Any) -> str:
    """Make VARCHAR columns of the models' ``Mapped[str]``, which MariaDB takes with a length only."""
    chosen = kind if kind.length else sa.String(255, kind.collation)
    text: str = compiler.visit_string(chosen, **options)
    return text


class Store(Protocol):
    """Where the apps of a test get empty databases."""

    def take(self) -> str: ...

    def give_back(self, uri: str) -> None: ...


class Databases:
    """The databases of one process on a server: taken by the apps of a test, given back empty at its end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._prefix = f"registration_tests_{uuid.uuid4().hex[:12]}"
        #: The suite's own connection to each.
        self._connections: dict[sa.URL, sa.Connection] = {}
        self._free: list[sa.URL] = []

    def take(self) -> str:
        """Return the URL of an empty database."""
        if not self._free:
            url = self._server.url.set(database=f"{self._prefix}_{len(self._connections)}")
            self._server.create(str(url.database))
            self._connections[url] = _connect(url)
            self._free.append(url)
        return text_of(self._free.pop())

    def give_back(self, uri: str) -> None:
        """Empty a database for the next test."""
        url = sa.make_url(uri)
        execute = self._connections[url].exec_driver_sql
        if url.get_backend_name() == "postgresql":
            # Types, collations and extensions are gone with it.
            if execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").scalar():
                execute("DROP SCHEMA public CASCADE")
                execute("CREATE SCHEMA public")
        elif tables := ", ".join(f"`{table}`" for table in execute("SHOW TABLES").scalars()):
            execute("SET foreign_key_checks = 0")
            execute(f"DROP TABLE {tables}")
        self._free.append(url)

    def drop(self) -> None:
        """Drop what this process has made."""
        for url, connection in self._connections.items():
            connection.close()
            self._server.drop(str(url.database))


class Files:
    """SQLite files in the folder of a test, which stay there."""

    def __init__(self, folder: Path) -> None:
        self._uris = (f"sqlite:///{folder / f'app-{number}.db'}" for number in itertools.count(1))

    def take(self) -> str:
        return next(self._uris)

    def give_back(self, uri: str) -> None:
        pass


def _connect(url: sa.URL) -> sa.Connection:
    """Connect once, each statement a transaction of its own."""
    connection = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()
    if sql := _WAIT_FOR_LOCKS.get(connection.dialect.name):
        connection.exec_driver_sql(sql)
    return connection


class Outside:
    """Somebody else's connection to an app's database, each statement a transaction of its own."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.is_locking = False

    def execute(self, sql: str, **values: object) -> sa.CursorResult[Any]:
        """Run a statement with ``:name`` for its values; the table ``user`` is quoted where that is needed."""
        quoted = re.sub(r"\b(INTO|UPDATE|FROM|TABLE) user\b", rf"\1 {USERS}", sql)
        return self._connection.execute(sa.text(quoted), values)

    def lock(self) -> None:
        """Let nobody else write to the table of the users, until :meth:`unlock`."""
        for sql in _LOCKS[self._connection.dialect.name]:
            self._connection.exec_driver_sql(sql)
        self.is_locking = True

    def unlock(self) -> None:
        """Let others write again, if that was forbidden."""
        if self.is_locking:
            self._connection.exec_driver_sql(_UNLOCK.get(self._connection.dialect.name, "ROLLBACK"))
        self.is_locking = False


_LOCKS: Final = {
    "sqlite": ["BEGIN IMMEDIATE"],
    "postgresql": ["BEGIN", 'LOCK TABLE "user" IN SHARE ROW EXCLUSIVE MODE'],
    "mysql": ["LOCK TABLES user READ"],
}
_UNLOCK: Final = {"mysql": "UNLOCK TABLES"}


def not_waiting() -> dict[str, object]:
    """Return the arguments of the driver's ``connect()`` for connections that hardly wait for a lock."""
    arguments: dict[str, dict[str, object]] = {
        "sqlite": {"timeout": 0.01},
        "postgresql": {"options": "-c lock_timeout=20ms"},
        "mariadb": {"init_command": "SET lock_wait_timeout = 0, innodb_lock_wait_timeout = 0"},
    }
    return arguments[CHOSEN]


def impatient() -> dict[str, object]:
    """Return the configuration of an app whose connections hardly wait for a lock."""
    return {"SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": not_waiting()}}


def conflict() -> Exception:
    """Make what the driver raises for a conflict between transactions."""
    if CHOSEN == "postgresql":
        return psycopg.errors.SerializationFailure("could not serialize access")
    if CHOSEN == "mariadb":
        return pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = 5  # SQLITE_BUSY, which sqlite3 gives from Python 3.11 on
    return error


def connect_first(engine: sa.Engine) -> None:
    """Let the tables be made before anybody else than the app itself needs them."""
    if engine.dialect.name != SQLITE:
        engine.connect().close()


@contextmanager
def outside(engine: sa.Engine) -> Iterator[Outside]:
    """Connect to an app's database as another process does."""
    connect_first(engine)
    connection = _connect(engine.url)
    try:
        yield Outside(connection)
    finally:
        connection.close()


def make_tables(db: SQLAlchemy) -> None:
    """Make the tables of the app of this context: on a server when it first connects, which many tests never do."""
    for key, engine in db.engines.items():
        if engine.dialect.name == SQLITE:
            db.create_all(key)
        elif key in db.metadatas:
            _make_tables_on_first_use(db.metadatas[key], engine)


def sibling(database_uri: str) -> str:
    """Return the URI of the SQLite file beside another one."""
    return database_uri.removesuffix(".db") + "-accounts.db" if database_uri.endswith(".db") else database_uri


def _make_tables_on_first_use(metadata: sa.MetaData, engine: sa.Engine) -> None:
    lock, missing = Lock(), [metadata]

    @event.listens_for(engine, "do_connect")
    def make_them(*_: object) -> None:
        with lock:
            while missing:
                with _connect(engine.url) as connection:
                    missing[0].create_all(connection)
                missing.pop()


def enforce_foreign_keys(engine: sa.Engine) -> None:
    """Let the connections of an engine check foreign keys, which SQLite alone leaves to the application."""
    if engine.dialect.name != SQLITE:
        return

    @event.listens_for(engine, "connect")
    def switch_on(connection: Any, record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    engine.dispose()
