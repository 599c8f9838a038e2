"""The attributes of a user model that registration works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, Literal

import sqlalchemy as sa

#: Never read from a stranger as they are, nor shown.
PASSWORD_NAMES = {"password", "password_hash"}


@dataclass(frozen=True)
class Attribute:
    """A mapped attribute and its column, whose names may differ."""

    name: str
    column: sa.Column[Any]

    @property
    def known_names(self) -> set[str]:
        """The names by which people would know it, whether it is `_role` in the class or in the table."""
        return {self.name, self.name.lstrip("_"), self.column.name, self.column.name.lstrip("_")}


@dataclass(frozen=True)
class Flag(Attribute):
    """The attribute that says whether the account's address is verified.

    :param is_time: whether it is a DateTime (set = verified, at that time) and not a Boolean.
    :param locks_people_out: whether it has a name, also as a synonym, by which applications lock people out as well.
    """

    is_time: bool
    locks_people_out: bool

    def is_set(self, user: object) -> bool:
        """Tell whether a loaded account is verified."""
        value = getattr(user, self.name)
        return value is not None if self.is_time else bool(value)

    def condition_unset(self) -> sa.ColumnElement[bool]:
        """Return the SQL condition "not verified"."""
        if self.is_time:
            return self.column.is_(None)
        return sa.or_(self.column.is_(None), self.column == sa.false())

    @cached_property
    def value_unset(self) -> sa.Null | bool | None:
        """What makes a new account an unverified one."""
        if not self.is_time:
            return False
        # SQLAlchemy takes None for "not given" where the column has a default; NULL in SQL is always given.
        has_default = self.column.default is not None or self.column.server_default is not None
        return sa.null() if has_default else None

    def value_at(self, seconds: int) -> bool | datetime:
        """Return the value that says "verified", at a time in seconds since the epoch.

        A time has a zone if the column has one. It has no microseconds, which MariaDB drops: memory and database agree.
        """
        if not self.is_time:
            return True
        time = datetime.fromtimestamp(seconds, timezone.utc)
        # A TypeDecorator hands on its implementation's attributes.
        return time if getattr(self.column.type, "timezone", False) else time.replace(tzinfo=None)


@dataclass
class PasswordTarget:
    """Where a password goes.

    :param kind: a column gets the hash; a method, a setter and a type that hashes at the INSERT get the password as it
        is. A column turns out to be a setter where assigning changes or refuses the first hash.
    :param name: the attribute's name, which may be a synonym's.
    :param column: the column behind it, where that can be told.
    :param is_binary: whether the column holds bytes.
    """

    kind: Literal["method", "setter", "type", "column"]
    name: str
    column: Attribute | None = None
    is_binary: bool = False
