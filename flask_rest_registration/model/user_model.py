"""What registration knows of the application's user model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import Mapper

from ..exceptions import ConfigurationError
from .attributes import PASSWORD_NAMES, Attribute, Flag, PasswordTarget
from .unique import UniqueRule

# It has the form of a hash, for types that tell hashes from passwords.
_SAMPLE_HASH = "scrypt:32768:8:3$salt$" + 128 * "0"


@dataclass(frozen=True)
class Constructor:
    """What the model's constructor is called with.

    :param names: the arguments that it knows, each by its name, as SQLAlchemy has it; None where it takes any.
    :param password: the argument for the password as it is, if there is one.
    :param placeholders: what it demands though registration fills it afterwards, or NULL will do.
    """

    names: frozenset[str] | None
    password: str | None
    placeholders: Mapping[str, object]


@dataclass(frozen=True)
class UserModel:
    """The application's user model, as far as registration has to know it.

    :param keys: the primary key's attributes.
    :param link_id: the attribute whose value is put in the link.
    :param flag: the verification flag; None only while verification is off.
    """

    cls: type[Any]
    mapper: Mapper[Any]
    email: Attribute
    keys: tuple[Attribute, ...]
    link_id: Attribute
    flag: Flag | None
    password: PasswordTarget
    unique_rules: tuple[UniqueRule, ...]

    @cached_property
    def constructor(self) -> Constructor:
        """What the constructor is called with."""
        parameters = inspect.signature(self.cls).parameters.values()
        several = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        named = {each.name: each for each in parameters if each.kind not in several}
        takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
        passwords = ("password", *([self.password.name] if self.password.kind == "setter" else ()))
        unset = {self.flag.name: None if self.flag.is_time else False} if self.flag else {}
        filled_later = {self.password.name, *(each.name for each in self.password_columns), *unset}
        return Constructor(
            names=None if takes_any else frozenset(named),
            password=next((name for name in passwords if name in named), None),
            placeholders={
                name: unset.get(name)
                for name, each in named.items()
                if each.default is each.empty
                and (name in filled_later or getattr(self.attributes.get(name), "nullable", False))
            },
        )

    @property
    def name(self) -> str:
        """The class's name, for messages."""
        return self.cls.__name__

    @cached_property
    def attributes(self) -> Mapping[str, sa.Column[Any]]:
        """The mapped columns by the attribute's name."""
        return mapped_columns(self.mapper)

    def has(self, name: str) -> bool:
        """Tell whether the model has an attribute, be it a column, a property or a hybrid."""
        return inspect.getattr_static(self.cls, name, None) is not None

    @cached_property
    def password_columns(self) -> tuple[Attribute, ...]:
        """The columns that hold a password's hash, by the attribute's or the column's name: never read nor shown."""
        attributes = (Attribute(name, column) for name, column in self.attributes.items())
        chosen = self.password.column and self.password.column.name
        return tuple(each for each in attributes if each.known_names & PASSWORD_NAMES or each.name == chosen)

    @cached_property
    def hash_column(self) -> Attribute | None:
        """The column that receives the hash, where it can be told."""
        return self.password.column or next(iter(self.password_columns), None)

    @cached_property
    def hash_type_hashes(self) -> bool:
        """Whether that column's type hashes what it is given."""
        return self.hash_column is not None and hashes_by_itself(self.hash_column.column)

    @cached_property
    def longest_hash(self) -> int | None:
        """How many characters or bytes that column holds; None if it has no limit, or hashes by itself."""
        if self.hash_column is None or self.password.kind == "type":
            return None
        return getattr(self.hash_column.column.type, "length", None)

    def hash_fault(self, hashed: str | bytes) -> str:
        """Say that a password's hash is too long for its column."""
        column = self.hash_column and self.hash_column.name
        unit, kind = ("bytes", "LargeBinary") if isinstance(hashed, bytes) else ("characters", "String")
        return (
            f"{self.name}.{column} holds {self.longest_hash} {unit}, but the password's hash has {len(hashed)}."
            f" Fix: make the column db.{kind}(255), with a migration; or let PASSWORD_HASHER or the model make the hash"
            " that your log-in reads, if that is a shorter one, such as bcrypt's."
        )


def find_model(db: SQLAlchemy, is_wanted: Callable[[type[Any]], bool], *, none: str, several: str) -> type[Any]:
    """Return the one model that is wanted; raise ``ConfigurationError`` with a text if there is none, or several."""
    registry = db.Model.registry  # type: ignore[attr-defined]  # made by Flask-SQLAlchemy
    found: list[type[Any]] = [mapper.class_ for mapper in registry.mappers if is_wanted(mapper.class_)]
    if len(found) == 1:
        return found[0]
    paths = ", ".join(sorted(f"'{cls.__module__}.{cls.__qualname__}'" for cls in found))
    raise ConfigurationError(f"{several}: {paths}." if found else none)


def mapped_columns(mapper: Mapper[Any]) -> dict[str, sa.Column[Any]]:
    """Return a model's columns by attribute name, without configuring the mappers.

    ``Mapper.column_attrs`` would configure all of them, and another model's broken relationship would surface here.
    """
    # Typed as columns only, but a column_property is among them too.
    expressions: list[tuple[str, sa.ColumnElement[Any]]] = list(mapper.columns.items())
    return {name: column for name, column in expressions if isinstance(column, sa.Column)}


def python_type(column: sa.Column[Any]) -> type[Any]:
    """Return the Python type of a column's values; ``object`` where the column's type does not say."""
    kind = column.type
    for each in (kind, kind.impl_instance) if isinstance(kind, sa.TypeDecorator) else (kind,):
        with suppress(NotImplementedError):
            if each.python_type is not object:
                return each.python_type
    return object


def hashes_by_itself(column: sa.Column[Any]) -> bool:
    """Tell whether a type hashes at the INSERT: unlike one that encrypts, it reads another value than it wrote."""
    kind, is_binary = column.type, python_type(column) is bytes
    if kind.bind_expression(sa.bindparam("hash")) is not None:
        return kind.column_expression(sa.column("hash")) is None
    sample: object = _SAMPLE_HASH.encode() if is_binary else _SAMPLE_HASH
    try:
        dialect = DefaultDialect()
        actual = kind.dialect_impl(dialect)
        write, read = actual.bind_processor(dialect), actual.result_processor(dialect, None)
        value = write(sample) if write else sample
        value = read(value) if read else value
    except Exception:  # it takes no text, but what assigning makes of one
        return False
    return type(value) is not type(sample) or value != sample  # an object may be equal to a text that it verifies


def required_attributes(model: UserModel) -> Iterator[Attribute]:
    """Yield the attributes that a row needs and that nobody fills: neither database, column, mapper nor registration.

    The mapper fills the discriminator, the version counter and a joined table's copy of the key.
    """
    filled = {each.column for each in (model.email, *([model.flag] if model.flag else ()), *model.password_columns)}
    for name, column in model.attributes.items():
        if column not in filled and not column.nullable and not _fills_itself(model.mapper, column):
            yield Attribute(name, column)


def _fills_itself(mapper: Mapper[Any], column: sa.Column[Any]) -> bool:
    # In joined inheritance the key is one attribute of several columns: filling one fills all.
    columns = mapper.get_property_by_column(column).columns
    return any(
        each.default is not None
        or each.server_default is not None
        or each is each.table.autoincrement_column
        or each is mapper.polymorphic_on
        or each is mapper.version_id_col
        for each in columns
    )
