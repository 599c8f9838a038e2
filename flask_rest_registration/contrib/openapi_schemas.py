"""JSON Schema of the marshmallow schemas in use, for :mod:`flask_rest_registration.contrib.openapi`."""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls, resolve_schema_instance
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from marshmallow import RAISE, Schema
from marshmallow.fields import Decimal, Field, Number

from ..passwords import LONGEST, SHORTEST, validate_length
from ..serializers.fields import not_blank
from ..serializers.schemas import Code, EmailAddress, LinkValue, VerifyRegistrationSerializer
from ..settings.definitions import Settings

Json = dict[str, Any]

#: The prefix of our components' names, which keeps them apart from an application's own.
PREFIX = "Registration"

ADDRESS = "ada@example.com"
_PASSWORD = "violet-anchor-47-tundra"  # noqa: S105  # an example
_PASSWORD_FIELDS = ("password", "password_confirm")
_BETWEEN_DIGITS = r"[\s\u2010-\u2015-]*"  # which the field Code drops
_ROW_ID = "6b1f0c9e-3a57-4d0e-9c58-2f1de7a4b830"
_LINK = {"user_id": "1", "timestamp": "1700000000", "signature": "lBvqmRdhPKL5XgZMNcVx0hYc0dQ-KV9kO4jzTt9uPqE"}

#: Values for fields without an example of their own, by type and format.
_SAMPLES: Mapping[tuple[str | None, str | None], Sequence[Any]] = {
    ("string", None): ("ada", "2024-02-29T12:30:00"),
    ("string", "email"): (ADDRESS,),
    ("string", "uuid"): (_ROW_ID,),
    ("string", "date"): ("2024-02-29",),
    ("string", "decimal"): ("1.50",),
    ("integer", None): (1,),
    ("number", None): (1.5,),
    ("boolean", None): (True,),
}
_KNOWN = {"type", "format", "nullable", "minLength", "maxLength", "pattern", "readOnly", "writeOnly"}
_KNOWN |= {"title", "description", "deprecated"}

_ISO_FORMATS = (None, "iso", "iso8601")
# "date-time" is RFC 3339's, with an offset from UTC, which most databases do not keep.
_ISO_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?([+-]\d\d:\d\d)?$"


class _ReadingConverter(OpenAPIConverter):
    """Describes what a client sends, without the fields that are only shown."""

    app: Flask

    # A table of its own: map_to_openapi_type() would change the one that all documents share.
    field_mapping = {  # noqa: RUF012  # apispec declares it so
        **OpenAPIConverter.field_mapping,
        EmailAddress: ("string", "email"),
        LinkValue: (None, None),  # see describe_field
    }

    def fields2jsonschema(self, fields: Mapping[str, Field[Any]], *, partial: Any = None) -> Json:
        """Describe the fields of this direction."""
        kept = {name: field for name, field in fields.items() if self.includes(field)}
        described: Json = super().fields2jsonschema(kept, partial=partial)  # type: ignore[no-untyped-call]
        return described

    def schema2jsonschema(self, schema: Any) -> Json:
        """Describe a schema, and whether it allows other fields, which not every version of apispec does."""
        described: Json = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        if self.is_closed(resolve_schema_instance(schema)):
            described["additionalProperties"] = False
        else:
            described.pop("additionalProperties", None)
        return described

    def field2type_and_format(self, field: Field[Any], **kwargs: Any) -> Json:
        """Describe the type of a field."""
        described: Json = super().field2type_and_format(field, **kwargs)
        if getattr(field, "format", None) not in _ISO_FORMATS:  # of a DateTime, Date or Time
            described.pop("format", None)
        return described

    def datetime2properties(self, field: Field[Any], **kwargs: Any) -> Json:
        """Describe a time of another format than ISO 8601, without apispec's nulls and its texts for numbers."""
        found: Json = super().datetime2properties(field, **kwargs)
        return {name: found[name] for name in ("type", "pattern") if found.get(name) is not None}

    def includes(self, field: Field[Any]) -> bool:
        """Tell whether a field is used in this direction."""
        return not field.dump_only

    def is_closed(self, schema: Schema) -> bool:
        """Tell whether other fields are refused."""
        return bool(schema.unknown == RAISE)


class _ShowingConverter(_ReadingConverter):
    """Describes what a client gets, to which a schema's hooks may add."""

    def field2type_and_format(self, field: Field[Any], **kwargs: Any) -> Json:
        described = super().field2type_and_format(field, **kwargs)
        if isinstance(field, Decimal) and self.app.json.dumps(decimal.Decimal("1.50"))[0] == '"':
            return {"type": "string", "format": "decimal"}  # as Flask writes it, unless the application has its own way
        if isinstance(field, Number) and field.as_string:
            return {"type": "string"}
        if described.get("format") == "date-time":
            return {"type": "string", "pattern": _ISO_TIME}
        return described

    def field2length(self, field: Field[Any], **kwargs: Any) -> Json:
        return {}  # of what is loaded: a column's own type may show a text that is longer than the one that it stores

    def includes(self, field: Field[Any]) -> bool:
        return not field.load_only

    def is_closed(self, schema: Schema) -> bool:
        return False


class SchemaComponents:
    """The components of a document that describe the schemas in use, with all that they nest.

    They are plain JSON Schema, made here: the application's own document may have no plugin for marshmallow, or one
    that names and maps things differently.
    """

    def __init__(self, app: Flask, settings: Settings, openapi_version: str) -> None:
        self._describe_field = _field_describer(settings, openapi_version)
        self._app = app
        self._version = openapi_version
        self._reading = self._spec(_ReadingConverter, "Input")
        self._showing = self._spec(_ShowingConverter, "Output")

    def add_read(self, name: str, schema: Schema) -> None:
        """Add a component of what a client sends and a schema loads."""
        if name not in self._reading.components.schemas:  # two endpoints may read the same
            self._reading.components.schema(name, schema=schema)

    def add_shown(self, name: str, schema: Schema, attributes: Container[str], *, complete: bool, more: bool) -> None:
        """Add a component of what a client gets and a schema dumps.

        :param attributes: what each account has: a schema without hooks always dumps the fields of these names.
        :param complete: whether the schema always dumps all its fields, and no others.
        :param more: whether something else, such as the log-in handler, adds fields.
        """
        self._showing.components.schema(name, schema=schema)
        described = self._showing.components.schemas[name]
        if type(schema).dump is not Schema.dump:
            described.clear()
            described.update({"description": "What the application shows of an account."})  # and it may be no object
        elif complete:
            described.update(required=sorted(described["properties"]), additionalProperties=more)
        elif not any(schema._hooks.get(hook) for hook in ("pre_dump", "post_dump")):  # noqa: SLF001  # no other way
            shown = schema.dump_fields.items()
            always = [field.data_key or key for key, field in shown if (field.attribute or key) in attributes]
            described.update({"required": sorted(always)} if always else {})

    def by_name(self) -> dict[str, Json]:
        """Return the JSON Schema of each component by its name."""
        return {**self._reading.components.schemas, **self._showing.components.schemas}

    def _spec(self, converter: type[_ReadingConverter], suffix: str) -> APISpec:
        def name_nested(schema: Any) -> str:
            found = resolve_schema_cls(schema)
            cls = found[0] if isinstance(found, list) else found  # two modules may have a schema of one name
            return f"{PREFIX}{cls.__name__.removesuffix('Schema')}{suffix}"

        of_app = type("_Converter", (converter,), {"app": self._app})
        plugin = type("_Plugin", (MarshmallowPlugin,), {"Converter": of_app})(schema_name_resolver=name_nested)
        spec = APISpec(PREFIX, "0", self._version, plugins=[plugin])
        plugin.converter.add_attribute_function(self._describe_field)
        return spec


def _field_describer(settings: Settings, openapi_version: str) -> Callable[..., Json]:
    """Make apispec's attribute function for what it cannot know of our fields; a field's own metadata wins."""
    checks_length = validate_length in settings.password_validators
    link = {**_LINK, "user_id": _ROW_ID} if settings.register_email_first else _LINK
    has_lists = not openapi_version.startswith("3.0.")

    def example(value: str) -> Json:
        return {"examples": [value]} if has_lists else {"example": value}

    def describe_field(converter: OpenAPIConverter, field: Field[Any], ret: Json) -> Json:
        known: Json = {}
        if isinstance(field, EmailAddress):
            known = example(ADDRESS)
        elif isinstance(field.parent, VerifyRegistrationSerializer) and field.name in link:
            known = example(link[field.name])
        elif field.name in _PASSWORD_FIELDS and field.load_only:
            known = {"format": "password", **example(_PASSWORD), **(_within_lengths(ret) if checks_length else {})}
        elif isinstance(field, Code):
            pattern = f"^{_BETWEEN_DIGITS}([0-9]{_BETWEEN_DIGITS}){{{field.length}}}$"
            known = {"pattern": pattern, **example("4180257639"[: field.length])}
        elif not_blank in field.validators:
            known = {"minLength": 1, "pattern": r"\S"}
        if isinstance(field, LinkValue):
            known["anyOf"] = [{"type": "string"}, {"type": "integer"}]
        return {**known, **converter.metadata2properties(field, ret=ret)}

    return describe_field


def _within_lengths(described: Json) -> Json:
    return {
        "minLength": max(described.get("minLength", 0), SHORTEST),
        "maxLength": min(described.get("maxLength", LONGEST), LONGEST),
    }


def example_of(schema: Json, *, email: str) -> Json | None:
    """Make an example of a body from its fields.

    :param schema: JSON Schema of an object.
    :param email: the name of the field with the address.
    :returns: the fields that are always there, or of an object without such those that are known; None where a field
        is needed of which no good value is known, such as one with a pattern and without an ``example``.
    """
    needed = schema.get("required", ())
    fields = {name: field for name, field in schema.get("properties", {}).items() if name in needed or not needed}
    found = {name: _value_of(field, is_address=name == email) for name, field in fields.items()}
    known = {name: value for name, value in found.items() if value is not None}
    return None if needed and len(known) < len(found) else known


def _value_of(field: Json, *, is_address: bool) -> Any:
    own = [*field.get("examples", []), *(field[name] for name in ("example", "default") if name in field)]
    if own or "enum" in field:
        return [*own, *field.get("enum", [])][0]
    kinds = field.get("type")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    samples = (ADDRESS,) if is_address else _SAMPLES.get((kind, field.get("format")), ())
    return next((sample for sample in samples if _fits(sample, field)), None)


def _fits(sample: Any, field: Json) -> bool:
    """Tell whether a sample keeps to a field's rules, of which those of texts alone are known."""
    if not isinstance(sample, str):
        return field.keys() <= _KNOWN
    is_in_limits = field.get("minLength", 0) <= len(sample) <= field.get("maxLength", len(sample))
    return field.keys() <= _KNOWN and is_in_limits and bool(re.search(field.get("pattern", ""), sample))
