"""SQLite files with many accounts: filled once as templates, then copied for every process that needs one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
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
    """The templates of one run.

    :param folder: where they and their copies live.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copies = 0

    def copy(self, users: int) -> Path:
        """Make a fresh database.

        :param users: how many accounts it has.
        :returns: an SQLite file in WAL mode that nobody else uses; :meth:`remove` it afterwards.
        """
        template = self._template(users)
        self._copies += 1
        return Path(shutil.copyfile(template, self._folder / f"copy-{self._copies}.db"))

    def remove(self, database: Path) -> None:
        """Remove a copy and its log."""
        for path in self._folder.glob(f"{database.name}*"):
            path.unlink()

    def _template(self, users: int) -> Path:
        path = self._folder / f"template-{users}.db"
        if not path.exists():
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA cache_size=-500000")  # KiB: the indexes are filled in random order
            with connection:
                connection.execute(_SCHEMA)
                connection.executemany(_INSERT, _rows(users))
            connection.close()  # the last connection takes the log into the file
        return path


def _rows(users: int) -> Iterator[tuple[str, str, str, str | None]]:
    # Spread over the whole index, as real addresses are: a multiplier without a common factor visits each number once.
    for number in range(users):
        spread = number * 2654435761 % 2**32
        verified = None if number % 10 == 0 else "2026-01-01 12:00:00.000000"
        yield f"{spread:08x}.user@example.com", f"{spread:08x}.user", _HASH, verified
