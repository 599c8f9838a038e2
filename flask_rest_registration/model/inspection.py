"""Finding the application's user model, once, and checking what registration needs of it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm as sa_orm
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.hybrid import hybrid_property

from ..exceptions import ConfigurationError
from ..settings.definitions import FLAG_FIELDS, LOCK_OUT_FIELDS, Settings
from .attributes import Attribute, Flag, PasswordTarget
from .unique import find_unique_rules
from .user_model import UserModel, find_model, hashes_by_itself, mapped_columns, python_type

#: What to do about a flag that locks people out, to be formatted with its name.
OWN_FLAG_FIX: Final = (
    "Fix: add email_verified_at = db.Column(db.DateTime) to the model, and leave {0} to the application. Verifying does"
    " not set {0} then: give it default=True if log-in asks for it."
)


def inspect_user_model(db: SQLAlchemy, settings: Settings) -> UserModel:
    """Find the user model and everything that registration has to know of it.

    :raises ConfigurationError: naming all that it lacks, with the fix.
    """
    cls = settings.user_model or find_model(
        db,
        lambda model: model.__name__ == "User",
        none="No model named User was found on db.Model. Fix: name yours with the setting USER_MODEL, such as"
        " 'shop.models.Account', and import it before the first request.",
        several="More than one model is named User. Fix: choose one with the setting USER_MODEL",
    )
    mapper: sa_orm.Mapper[Any] | None = sa.inspect(cls, raiseerr=False)
    if mapper is None:
        raise ConfigurationError(
            f"USER_MODEL is {cls.__name__}, which is not a mapped class. Fix: give a subclass of db.Model."
        )
    finder = _Finder(cls, mapper, settings)
    email, link_id, flag = finder.email(), finder.link_id(), finder.flag()
    password = finder.password()
    if finder.faults or email is None or link_id is None or password is None:
        raise ConfigurationError(*finder.faults)
    rules = tuple(find_unique_rules(mapper))
    return UserModel(cls, mapper, email, finder.keys(), link_id, flag, password, rules)


class _Finder:
    """Looks for each part of a model and collects what is wrong with it."""

    def __init__(self, cls: type[Any], mapper: sa_orm.Mapper[Any], settings: Settings) -> None:
        self._cls = cls
        self._mapper = mapper
        self._settings = settings
        self._columns = mapped_columns(mapper)
        self.faults: list[str] = []

    def _attribute(self, name: str, setting: str) -> Attribute | None:
        found = self._column(name)
        if found is None:
            self.faults.append(f"{setting} is {name!r}, but {self._not_a_column(name)} Fix: name one of its columns.")
        return found

    def _column(self, name: str) -> Attribute | None:
        """Return the mapped column of a name; a synonym, and a hybrid that is a column in SQL, are names of it too."""
        if name in self._columns:
            return Attribute(name, self._columns[name])
        try:
            element = getattr(self._cls, name).__clause_element__()
        except Exception:  # whatever a hybrid's code does where there is no object
            return None
        return next(
            (Attribute(name, each) for name, each in self._columns.items() if each in element.base_columns), None
        )

    def _not_a_column(self, name: str) -> str:
        if hasattr(self._cls, name):
            declared_in = next((cls for cls in self._cls.__mro__ if name in vars(cls)), self._cls)
            kind = type(vars(declared_in).get(name)).__name__
            return (
                f"{self._cls.__name__}.{name} is no column but a {kind}, which comes from"
                f" {declared_in.__module__}.{declared_in.__qualname__}."
            )
        return f"{self._cls.__name__} has no such column. It has: {', '.join(self._columns)}."

    def keys(self) -> tuple[Attribute, ...]:
        """Return the primary key's attributes."""
        names = (self._mapper.get_property_by_column(column).key for column in self._mapper.primary_key)
        return tuple(Attribute(name, self._columns[name]) for name in names)

    def email(self) -> Attribute | None:
        """Return the e-mail attribute, which must be unique."""
        name = self._settings.user_email_field
        attribute = self._attribute(name, "USER_EMAIL_FIELD")
        public = name.lstrip("_")
        if public != name and hasattr(self._cls, public):
            self.faults.append(
                f"USER_EMAIL_FIELD is {name!r}, which {self._cls.__name__}.{public} hides. Fix: name {public!r}, and"
                " make it a hybrid_property with a setter, or a synonym, if it is a plain property."
            )
        # It keeps the name by which the model's users know it, and with it its setter.
        attribute = attribute and replace(attribute, name=name)
        if attribute and not self._is_unique(attribute.column):
            self.faults.append(
                f"USER_EMAIL_FIELD is {attribute.name!r}, and {self._cls.__name__}.{attribute.name} is not unique in"
                " the database, so that two people could have one address. Fix: add unique=True, with a migration."
            )
        return attribute

    def _is_unique(self, column: sa.Column[Any]) -> bool:
        return any(rule.covers_only(column) for rule in find_unique_rules(self._mapper))

    def link_id(self) -> Attribute | None:
        """Return the attribute that stands in the link: unique, and an integer, text or UUID."""
        name = self._settings.user_verification_id_field
        if name is None:
            keys = self.keys()
            if len(keys) == 1:
                return self._checked_link_id(keys[0])
            self.faults.append(
                f"{self._cls.__name__} has a primary key of {len(keys)} columns. Fix: name one unique column for the"
                " link with the setting USER_VERIFICATION_ID_FIELD."
            )
            return None
        attribute = self._attribute(name, "USER_VERIFICATION_ID_FIELD")
        return attribute and self._checked_link_id(attribute)

    def _checked_link_id(self, attribute: Attribute) -> Attribute:
        if not self._is_unique(attribute.column):
            self.faults.append(
                f"USER_VERIFICATION_ID_FIELD is {attribute.name!r}, whose column is not unique: a link would stand"
                " for several accounts. Fix: add unique=True, or choose the primary key."
            )
        kind = python_type(attribute.column)
        if kind not in {int, str, UUID}:
            self.faults.append(
                f"{self._cls.__name__}.{attribute.name} has the type {attribute.column.type!r}, which no link can name."
                " Fix: set USER_VERIFICATION_ID_FIELD to a unique column of integers, text or UUIDs."
            )
        return attribute

    def flag(self) -> Flag | None:
        """Return the verification flag; it may be missing only while verification is off."""
        name = self._settings.user_verification_flag_field
        if name is None:
            name = next((name for name in FLAG_FIELDS if self._column(name)), None)
            if name is None:
                self._miss_flag()
                return None
        attribute = self._attribute(name, "USER_VERIFICATION_FLAG_FIELD")
        if attribute is None:
            return None
        kind = python_type(attribute.column)
        if kind is bool or (kind is datetime and attribute.column.nullable):
            others = filter(None, map(self._column, LOCK_OUT_FIELDS))
            locks = bool(attribute.known_names & {*LOCK_OUT_FIELDS}) or attribute.name in {each.name for each in others}
            return Flag(attribute.name, attribute.column, is_time=kind is datetime, locks_people_out=locks)
        self.faults.append(
            f"The verification flag {self._cls.__name__}.{name} has the type {attribute.column.type!r}"
            f"{' NOT NULL' if kind is datetime else ''}. Fix: make it a Boolean, or a DateTime that is nullable (NULL"
            " means not verified)."
        )
        return None

    def _miss_flag(self) -> None:
        if not self._settings.register_verification_enabled:
            return
        seen = "".join(f" {self._not_a_column(name)}" for name in FLAG_FIELDS if hasattr(self._cls, name))
        self.faults.append(
            f"{self._cls.__name__} has no column that says whether the address is verified.{seen} Fix: add"
            " email_verified_at = db.Column(db.DateTime), or name yours with USER_VERIFICATION_FLAG_FIELD."
        )

    def password(self) -> PasswordTarget | None:
        """Return where a password goes."""
        given = self._settings.user_password_field
        if given is not None:
            found = self._password_at(given)
            if found is None:
                self._attribute(given, "USER_PASSWORD_FIELD")
            return found
        if callable(getattr(self._cls, "set_password", None)):
            return PasswordTarget("method", "set_password")
        # A column of this name comes last.
        names = ("password_hash", "password") if "password" in self._columns else ("password", "password_hash")
        for name in names:
            if (found := self._password_at(name)) is not None:
                return found
        self.faults.append(
            f"{self._cls.__name__} has no place for a password. Fix: add a column password_hash (String(255)), or a"
            " method set_password(), or name a column with USER_PASSWORD_FIELD."
        )
        return None

    def _password_at(self, name: str) -> PasswordTarget | None:
        """Return the attribute of a name as a place for passwords, if something can be assigned to it."""
        attribute, column = inspect.getattr_static(self._cls, name, None), self._column(name)
        if isinstance(attribute, (property, hybrid_property)):
            return None if attribute.fset is None else PasswordTarget("setter", name, column)
        if column is None:
            return None
        kind: Literal["type", "column"] = "type" if hashes_by_itself(column.column) else "column"
        return PasswordTarget(kind, name, column, is_binary=python_type(column.column) is bytes)


def model_warnings(settings: Settings, model: UserModel) -> list[str]:
    """Say what is dangerous about a user model though it works."""
    if settings.register_email_first or model.flag is None or not model.flag.locks_people_out:
        return []
    name = f"{model.name}.{model.flag.name}"
    warning = (
        f"{name} is the verification flag, and applications lock people out with {' and '.join(LOCK_OUT_FIELDS)}: an"
        f" old link would lift such a lock. {OWN_FLAG_FIX.format(name)}"
    )
    return [warning]


def refuse_columns_of_dialect(model: UserModel, *, dialect: str) -> None:
    """Refuse the columns that do not work on one database."""
    key, flag = model.keys[0], model.flag
    # SQLite counts columns of the type INTEGER only.
    counted = key.column.table.autoincrement_column
    if dialect == "sqlite" and counted is not None and counted.type.compile(dialect=sqlite.dialect()) != "INTEGER":
        raise ConfigurationError(
            f"{model.name}.{key.name} has the type {counted.type!r}, for which SQLite does not make keys. Fix: declare"
            " db.BigInteger().with_variant(db.Integer, 'sqlite')."
        )
    is_mysql = dialect in {"mysql", "mariadb"}
    if is_mysql and flag and flag.column.type.compile(dialect=mysql.dialect()).startswith("TIMESTAMP"):
        raise ConfigurationError(
            f"The verification flag {model.name}.{flag.name} is a TIMESTAMP, which {dialect} reads as local time: it"
            " refuses the hour that summer time skips, and nobody could verify an address then. Fix: make it"
            " db.DateTime, with a migration."
        )
