"""The marshmallow fields that columns of the user model are read and shown by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from marshmallow import Schema, fields, validate

from ..exceptions import ConfigurationError
from ..model.attributes import Attribute
from ..model.user_model import UserModel, python_type, required_attributes
from .fields import CHECKS, Duration, NormalizedString, TrimmedString, UUIDText, not_blank

# Types of one database, which the converter takes for texts, numbers or lists though they are not.
_NOT_IN_JSON = {"BIT", "OID", "SET", "TSVECTOR", "TSQUERY"}

_INTEGER_BITS = {sa.SmallInteger: 16, sa.BigInteger: 64, sa.Integer: 32}

# What marshmallow itself has a field for, by the Python type: the converter finds the same one, but importing it takes
# 30 ms, since it imports SQLAlchemy's part for every database.
_KNOWN_TO_MARSHMALLOW = {
    *(sa.String, sa.Unicode, sa.Text, sa.UnicodeText),
    *(sa.Integer, sa.SmallInteger, sa.BigInteger, sa.Boolean),
    *(sa.Date, sa.DateTime, sa.Time),
}


def read_field(model: UserModel, attribute: Attribute) -> fields.Field[Any]:
    """Make the field that reads a column from a stranger, and accepts only what the column can hold."""
    column, kind = attribute.column, attribute.column.type
    required, nullable = attribute in required_attributes(model), bool(column.nullable)
    checks = list(_checks(column))
    if is_plain_text(column):
        unique = any(column in rule.columns for rule in model.unique_rules)
        text = NormalizedString if unique else TrimmedString
        return text(required=required, allow_none=nullable, validate=checks)
    # The converter adds checks of a length to Enums, which their values do not have.
    if isinstance(kind, sa.Enum) and kind.enum_class is not None:
        return fields.Enum(kind.enum_class, required=required, allow_none=nullable)
    if isinstance(kind, sa.Enum):
        return fields.String(required=required, allow_none=nullable, validate=validate.OneOf(kind.enums))
    if isinstance(kind, sa.Uuid) and not kind.as_uuid:
        return UUIDText(required=required, allow_none=nullable)
    if python_type(column) is timedelta:
        return Duration(required=required, allow_none=nullable)
    is_json = python_type(column) is not bytes and kind.__visit_name__ not in _NOT_IN_JSON
    field = _convert(column, required=required, dump_only=False) if is_json else None
    if field is None:
        raise ConfigurationError(
            f"{model.name}.{attribute.name} has the type {kind!r}, which JSON cannot fill. Fix: give a"
            " REGISTER_SERIALIZER_CLASS with a field of your own for it."
        )
    field.validators += checks
    return field


def shown_field(column: sa.Column[Any]) -> fields.Field[Any]:
    """Make the field that shows a column."""
    return _convert(column, required=False, dump_only=True) or fields.Raw(dump_only=True)


def _convert(column: sa.Column[Any], *, required: bool, dump_only: bool) -> fields.Field[Any] | None:
    """Make the field for a column's type, or None where there is none."""
    kind, nullable = column.type, bool(column.nullable)
    if type(kind) in _KNOWN_TO_MARSHMALLOW:
        longest = getattr(kind, "length", None)
        lengths = [] if longest is None else [validate.Length(max=longest)]
        field = Schema.TYPE_MAPPING[kind.python_type]
        return field(required=required, allow_none=nullable, dump_only=dump_only, validate=lengths)
    from marshmallow_sqlalchemy import ModelConverter
    from marshmallow_sqlalchemy.exceptions import ModelConversionError

    try:
        return ModelConverter().column2field(column, required=required, allow_none=nullable, dump_only=dump_only)
    except ModelConversionError:
        return None


def is_plain_text(column: sa.Column[Any]) -> bool:
    """Tell whether a column holds a text that people write; a key of another table is none."""
    return (
        python_type(column) is str
        and not isinstance(column.type, (sa.Enum, sa.JSON, sa.Uuid))
        and not column.foreign_keys
    )


def _checks(column: sa.Column[Any]) -> Iterator[Callable[[Any], Any]]:
    """Say what the database could not store, or what is blank."""
    if is_plain_text(column):
        longest = getattr(column.type, "length", None)
        if longest is not None:
            yield validate.Length(max=longest)
        if not column.nullable:
            yield not_blank
    for kind, bits in _INTEGER_BITS.items():
        if isinstance(column.type, kind):
            yield validate.Range(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            return
    if (check := CHECKS.get(python_type(column))) is not None:
        yield check
