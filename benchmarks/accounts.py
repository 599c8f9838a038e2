"""Databases full of accounts, and what strangers send to get one more.

Nothing here imports Flask: the process that measures a start has to begin without it.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_SCHEMA = """
CREATE TABLE user (
    id INTEGER NOT NULL PRIMARY KEY,
    email VARCHAR(254) NOT NULL UNIQUE,
    username VARCHAR(40) NOT NULL UNIQUE,
    password_hash VARCHAR(162) NOT NULL,
    email_verified_at DATETIME
)
"""
_INSERT = "INSERT INTO user (email, username, password_hash, email_verified_at) VALUES (?, ?, ?, ?)"
_HASH = "scrypt:32768:8:3$" + "0" * 145  # as long as werkzeug's


class Databases:
    """SQLite files, filled once as templates and copied for each process.

    :param folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copies = 0

    def copy(self, users: int) -> Path:
        """Make a file in WAL mode with so many accounts; :meth:`remove` it afterwards."""
        template = self._folder / f"template-{users}.db"
        if not template.exists():
            _fill(template, users)
        self._copies += 1
        return Path(shutil.copyfile(template, self._folder / f"copy-{self._copies}.db"))

    def remove(self, database: Path) -> None:
        """Remove a copy and its log."""
        for path in self._folder.glob(f"{database.name}*"):
            path.unlink()


def _fill(path: Path, users: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:  # closing takes the log into the file
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA cache_size=-500000")  # KiB: the indexes are filled in random order
        connection.execute(_SCHEMA)
        connection.executemany(_INSERT, _rows(users))


def _rows(users: int) -> Iterator[tuple[str, str, str, str | None]]:
    """Make accounts, of which each tenth waits for its link."""
    for number in range(users):
        # Spread over the whole index, as real addresses are; an odd multiplier gives each number once.
        spread = number * 2654435761 % 2**32
        verified = "2026-01-01 12:00:00.000000" if number % 10 else None
        yield f"{spread:08x}.user@example.com", f"{spread:08x}.user", _HASH, verified


def sign_ups(seed: int) -> Iterator[dict[str, str]]:
    """Make registrations without end, spread over the whole index of addresses.

    :param seed: the same number makes the same registrations.
    """
    source = random.Random(seed)  # noqa: S311  # both sides of a comparison get the same ones
    while True:
        number = source.getrandbits(48)
        password = f"{number:x} horse staple"
        yield {
            "email": f"{number:012x}.new@Example.com",
            "username": f"{number:012x}.new",
            "password": password,
            "password_confirm": password,
        }
