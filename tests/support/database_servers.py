"""The database servers that tests use where they run already, and databases of a test's own on them.

``TEST_POSTGRESQL_URL`` and ``TEST_MARIADB_URL`` say where they are, as a role that may create databases and end
sessions; without them, at the usual local place.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from .services import missing


@dataclass(frozen=True)
class Server:
    """A database server.

    :param name: what ``TEST_DATABASE`` calls it.
    :param title: what people call it.
    :param variable: the environment variable that has its URL.
    :param default: the URL without it; it has no TLS, whose context alone takes longer than most tests.
    :param hurry: what lets a COMMIT return before the disk has it: {} is the database.
    :param drop_options: what ends the sessions of a database that is dropped.
    """

    name: str
    title: str
    variable: str
    default: str
    hurry: str = ""
    drop_options: str = ""

    @property
    def url(self) -> sa.URL:
        return sa.make_url(os.environ.get(self.variable) or self.default)

    @cache  # noqa: B019  # there are two servers, and they stay
    def failure(self) -> str | None:
        """Connect, and say why that does not work, or None."""
        engine = sa.create_engine(self.url, poolclass=NullPool)
        try:
            engine.connect().close()
        except Exception as error:  # whatever the driver raises, and an URL without a driver
            return f"{self.title} does not answer at {self.url} ({type(error).__name__})"
        return None

    def create(self, database: str) -> None:
        """Make an empty database."""
        run(self.url, f"CREATE DATABASE {database}", *([self.hurry.format(database)] if self.hurry else []))

    def drop(self, database: str) -> None:
        """Drop a database, also where somebody is still connected."""
        run(self.url, f"DROP DATABASE {database}{self.drop_options}")


SERVERS: Final = {
    server.name: server
    for server in (
        Server(
            "postgresql",
            "PostgreSQL",
            "TEST_POSTGRESQL_URL",
            "postgresql+psycopg://postgres@127.0.0.1:5432/postgres?sslmode=disable&gssencmode=disable",
            "ALTER DATABASE {} SET synchronous_commit = off",
            " WITH (FORCE)",
        ),
        Server(
            "mariadb",
            "MariaDB",
            "TEST_MARIADB_URL",
            "mysql+pymysql://root@127.0.0.1:3306/?charset=utf8mb4&ssl_disabled=true",
        ),
    )
}


@contextmanager
def new_database(name: str) -> Iterator[sa.URL]:
    """Make a database while the context lasts, and give its URL; without the server the test is skipped or fails."""
    server = SERVERS[name]
    if failure := server.failure():
        missing(failure)
    database = f"registration_{uuid.uuid4().hex}"
    server.create(database)
    try:
        yield server.url.set(database=database)
    finally:
        server.drop(database)


def text_of(url: sa.URL) -> str:
    """Return a database's URL as an application is configured with it."""
    return url.render_as_string(hide_password=False)


def run(url: sa.URL, *statements: str) -> None:
    """Run statements on a connection of their own, each a transaction of its own."""
    engine = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
