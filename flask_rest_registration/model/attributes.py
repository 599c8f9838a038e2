"""The attributes of a user model that registration works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
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
    """

    is_time: bool

    def is_set(self, user: object) -> bool:
        """Tell whether an account is verified.

        :param user: a loaded account.
        :returns: what the flag says.
        """
        value = getattr(user, self.name)
        return value is not None if self.is_time else bool(value)

    def condition_unset(self) -> sa.ColumnElement[bool]:
        """Return the SQL condition "not verified"."""
        if self.is_time:
            return self.column.is_(None)
        return sa.or_(self.column.is_(None), self.column == sa.false())

    def value_at(self, seconds: int) -> bool | datetime:
        """Return the value that says "verified".

        :param seconds: the time of verification, since the epoch, UTC.
        :returns: True, or that time with a time zone if the column has one; without microseconds, which MariaDB
            would drop, so that memory and database agree.
        """
        if not self.is_time:
            return True
        time = datetime.fromtimestamp(seconds, timezone.utc)
        # A TypeDecorator hands on its implementation's attributes.
        return time if getattr(self.column.type, "timezone", False) else time.replace(tzinfo=None)

    def clear(self, user: object) -> None:
        """Mark a new account as not verified, whatever its input or its constructor said.

        :param user: an account that is not stored yet.
        """
        setattr(user, self.name, _explicit_null(self.column) if self.is_time else False)

    def set(self, user: object, seconds: int) -> None:
        """Mark a new account as verified.

        :param user: an account that is not stored yet.
        :param seconds: the time of verification, since the epoch, UTC.
        """
        setattr(user, self.name, self.value_at(seconds))


def _explicit_null(column: sa.Column[Any]) -> sa.Null | None:
    # SQLAlchemy takes None for "not given" where the column has a default; NULL in SQL is always given.
    has_default = column.default is not None or column.server_default is not None
    return sa.null() if has_default else None


@dataclass(frozen=True)
class PasswordTarget:
    """Where a password goes.

    :param kind: a method or a property gets the password as it is; a column gets its hash.
    :param name: the attribute's name.
    """

    kind: Literal["method", "property", "column"]
    name: str

    def receive(self, user: object, password: str, *, hasher: Callable[[str], str]) -> None:
        """Give a user a password.

        :param user: an object of the user model.
        :param password: the password as it was sent.
        :param hasher: makes what a column stores.
        :raises ValueError: as hasher, method and property do.
        """
        if self.kind == "method":
            getattr(user, self.name)(password)
        else:
            setattr(user, self.name, hasher(password) if self.kind == "column" else password)
