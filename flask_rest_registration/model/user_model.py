"""What registration knows of the application's user model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapper

from .attributes import PASSWORD_NAMES, Attribute, Flag, PasswordTarget
from .unique import UniqueRule


@dataclass(frozen=True)
class UserModel:
    """The application's user model, as far as registration has to know it.

    :param cls: the class.
    :param mapper: its SQLAlchemy mapper.
    :param email: the attribute that mail goes to.
    :param keys: the primary key's attributes.
    :param link_id: the attribute whose value is put in the link.
    :param flag: the verification flag; None only while verification is off.
    :param password: where a password goes.
    :param unique_rules: what the database keeps unique.
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
        filled_later = {
            self.password.name,
            self.flag and self.flag.name,
            *(each.name for each in self.password_columns),
        }
        return tuple(
            parameter.name
            for parameter in inspect.signature(self.cls).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
            and (parameter.name in filled_later or self._is_nullable(parameter.name))
        )

    def _is_nullable(self, name: str) -> bool:
        return name in self.attributes and bool(self.attributes[name].nullable)

    @property
    def name(self) -> str:
        """The class's name, for messages."""
        return self.cls.__name__

    @cached_property
    def attributes(self) -> Mapping[str, sa.Column[Any]]:
        """The mapped columns by the attribute's name."""
        return mapped_columns(self.mapper)

    def has(self, name: str) -> bool:
        """Tell whether the model has an attribute: a column, a property or a hybrid.

        :param name: the attribute's name.
        :returns: the answer, without evaluating anything of the class.
        """
        return inspect.getattr_static(self.cls, name, None) is not None

    def address_of(self, user: object) -> str:
        """Return an account's e-mail address.

        :param user: the account.
        :returns: the stored address; empty if it has none.
        """
        return getattr(user, self.email.name) or ""

    def link_id_of(self, user: object) -> str:
        """Return the value that stands for an account in its link.

        :param user: a stored account.
        :returns: the canonical text of USER_VERIFICATION_ID_FIELD.
        """
        return str(getattr(user, self.link_id.name))

    @cached_property
    def password_columns(self) -> tuple[Attribute, ...]:
        """The columns that hold a password's hash, by the attribute's or the column's name: never read nor shown."""
        attributes = (Attribute(name, column) for name, column in self.attributes.items())
        return tuple(
            each for each in attributes if each.name == self.password.name or each.known_names & PASSWORD_NAMES
        )

    @cached_property
    def hash_column(self) -> Attribute | None:
        """The column that receives the hash, where it can be told."""
        columns = self.password_columns
        return next((each for each in columns if each.name == self.password.name), columns[0] if columns else None)

    def hash_length_fault(self, hashed: object) -> str | None:
        """Tell whether the column that receives a password's hash can hold it.

        :param hashed: a hash that was made for it.
        :returns: what is wrong and how to fix it, or None.
        """
        column = self.hash_column
        length = getattr(column.column.type, "length", None) if column else None
        if column is None or length is None or not isinstance(hashed, str) or len(hashed) <= length:
            return None
        return (
            f"{self.name}.{column.name} holds {length} characters, but the password's hash has {len(hashed)}: make the"
            " column db.String(255) (and a migration)."
        )


def mapped_columns(mapper: Mapper[Any]) -> dict[str, sa.Column[Any]]:
    """Return a model's columns by attribute name, without configuring the mappers.

    Mapper.column_attrs would configure all of them, so that another model's broken relationship surfaced here.

    :param mapper: the model's mapper.
    :returns: columns only, no expressions.
    """
    # Typed as columns only, but a column_property is among them too.
    expressions: list[tuple[str, sa.ColumnElement[Any]]] = list(mapper.columns.items())
    return {name: column for name, column in expressions if isinstance(column, sa.Column)}


def python_type(column: sa.Column[Any]) -> type[Any]:
    """Return the Python type of a column's values.

    :param column: any column.
    :returns: ``object`` where the column's type does not say.
    """
    kind = column.type
    said = _said_by(kind)
    # A TypeDecorator says it only by what it decorates.
    return _said_by(kind.impl_instance) if said is object and isinstance(kind, sa.TypeDecorator) else said


def _said_by(kind: sa.types.TypeEngine[Any]) -> type[Any]:
    try:
        return kind.python_type
    except NotImplementedError:
        return object


def cannot_be_omitted(model: UserModel) -> Iterable[Attribute]:
    """List the columns that a row cannot be made without and that nothing fills by itself.

    Not among them are what the database or the column fills, what the mapper fills (discriminator, version
    counter, a joined table's copy of the key), and what registration itself fills.

    :param model: the user model.
    :returns: the attributes, in the order of the mapper.
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
