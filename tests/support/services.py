"""The database servers that some tests need, by URL from the environment, and a fresh database on them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

#: The variable of each server, and where it usually is. The user must be allowed to make databases and end sessions.
URLS: Final = {
    "POSTGRESQL_URL": "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    "MARIADB_URL": "mysql+pymysql://root@127.0.0.1:3306/mysql",
}


def url_of(variable: str) -> URL:
    """Return where a server is, whether it runs or not."""
    return make_url(os.environ.get(variable) or URLS[variable])


@contextmanager
def fresh_database(variable: str) -> Iterator[URL]:
    """Make a database while the context lasts, and give its URL.

    Without the server the test is skipped; with ``REQUIRE_SERVICES=1`` in the environment it fails.
    """
    server = url_of(variable)
    name = f"registration_{uuid.uuid4().hex}"
    try:
        run(server, f"CREATE DATABASE {name}")
    except DBAPIError:
        _lack(f"{variable}: no server at {server.host}:{server.port} lets us make a database")
    try:
        yield server.set(database=name)
    finally:
        run(server, f"DROP DATABASE {name}" + (" WITH (FORCE)" if variable == "POSTGRESQL_URL" else ""))


def run(url: URL, *statements: str) -> None:
    """Run statements on a connection of their own, each a transaction of its own."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _lack(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
