"""Databases of a test's own on servers that run already.

``TEST_POSTGRESQL_URL`` and ``TEST_MARIADB_URL`` say where the servers are; without them, at the usual local place.
Where there is none, tests are skipped, in one line; ``REQUIRE_SERVICES=1`` turns the skip into a failure.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, Literal

import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, exc, make_url, text

Server = Literal["postgresql", "mariadb"]

_URLS: Final[dict[Server, tuple[str, str]]] = {
    "postgresql": (
        "TEST_POSTGRESQL_URL",
        "postgresql+psycopg://postgres@127.0.0.1:5432/postgres?sslmode=disable&gssencmode=disable",
    ),
    "mariadb": ("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/mysql?charset=utf8mb4&ssl_disabled=true"),
}
_DROP: Final[dict[Server, str]] = {
    "postgresql": "DROP DATABASE IF EXISTS {} WITH (FORCE)",  # also where a process still has a connection
    "mariadb": "DROP DATABASE IF EXISTS {}",
}


def server_url(server: Server) -> URL:
    """Return where a server is, with the name of a database that it has."""
    variable, usual = _URLS[server]
    return make_url(os.environ.get(variable) or usual)


@contextmanager
def new_database(server: Server) -> Iterator[str]:
    """Make an empty database, and drop it when the context ends.

    :param server: which kind; it must be there, see :func:`require`.
    :returns: the new database's URL.
    """
    name = f"rest_registration_{secrets.token_hex(6)}"
    engine = _engine(server)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(_DROP[server].format(name)))


def require(server: Server) -> None:
    """Skip the test if a server is not there, or fail with ``REQUIRE_SERVICES=1``."""
    fault = what_is_wrong_with(server)
    if fault is None:
        return
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(fault, pytrace=False)
    pytest.skip(fault)


@cache
def what_is_wrong_with(server: Server) -> str | None:
    """Return None for a server that answers, else one line that says what is missing."""
    try:
        with _engine(server).connect():
            return None
    except exc.SQLAlchemyError as error:
        return f"no {server} at {server_url(server)} ({_URLS[server][0]}): {type(error).__name__}"


def _engine(server: Server) -> Engine:
    url = server_url(server)
    options = {"connect_timeout": 5}
    return create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args=options)
