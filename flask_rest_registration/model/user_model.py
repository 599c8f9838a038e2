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
from sqlalchemy.orm import Mapper

from ..exceptions import ConfigurationError
from .attributes import PASSWORD_NAMES, Attribute, Flag, PasswordTarget
from .unique import UniqueRule


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
    def constructor_placeholders(self) -> tuple[str, ...]:
        """The arguments that the constructor demands though registration fills them afterwards, or NULL will do."""
        filled_later = {self.password.name, *(each.name for each in self.password_columns)}
        filled_later |= {self.flag.name} if self.flag else set()
        return tuple(
            parameter.name
            for parameter in inspect.signature(self.cls).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
            and (parameter.name in filled_later or getattr(self.attributes.get(parameter.name), "nullable", False))
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
        return tuple(
            each for each in attributes if each.known_names & PASSWORD_NAMES or each.name == self.password.name
        )

    @cached_property
    def hash_column(self) -> Attribute | None:
        """The column that receives the hash, where it can be told."""
        columns = self.password_columns
        return next((each for each in columns if each.name == self.password.name), columns[0] if columns else None)

    @cached_property
    def longest_hash(self) -> int | None:
        """How many characters that column holds; None if it has no limit."""
        return getattr(self.hash_column.column.type, "length", None) if self.hash_column else None

    def hash_fault(self, hashed: str) -> str:
        """Say that a password's hash is too long for its column."""
        column = self.hash_column and self.hash_column.name
        return (
            f"{self.name}.{column} holds {self.longest_hash} characters, but the password's hash has {len(hashed)}."
            " Fix: make the column db.String(255), with a migration."
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


def required_attributes(model: UserModel) -> Iterator[Attribute]:
    """Yield the attributes that a row needs and that nobody fills: neither database, column, mapper nor registration.

    The mapper fills the discriminator, the version counter and a joined table's copy of the key.
    """
    filled = {model.email.name, *([model.flag.name] if model.flag else ())}
    filled |= {column.name for column in model.password_columns}
    for name, column in model.attributes.items():
        if name not in filled and not column.nullable and not _fills_itself(model.mapper, column):
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
