"""JSON Schema of the marshmallow schemas in use, for :mod:`flask_rest_registration.contrib.openapi`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls, resolve_schema_instance
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import RAISE, Schema
from marshmallow.fields import Field

from ..passwords import LONGEST, SHORTEST, validate_length
from ..serializers.fields import Code, EmailAddress, LinkValue, not_blank
from ..serializers.schemas import VerifyRegistrationSerializer
from ..settings.definitions import Settings

Json = dict[str, Any]

#: What the names of all our components begin with, so that they do not meet an application's own.
PREFIX = "Registration"

_ADDRESS = "ada@example.com"
_PASSWORD = "violet-anchor-47-tundra"  # noqa: S105  # an example
_PASSWORD_FIELDS = ("password", "password_confirm")
_BETWEEN_DIGITS = r"[\s\u2010-\u2015-]*"  # what fields.Code drops
_ROW_ID = "6b1f0c9e-3a57-4d0e-9c58-2f1de7a4b830"
_LINK = {"user_id": "1", "timestamp": "1700000000", "signature": "lBvqmRdhPKL5XgZMNcVx0hYc0dQ-KV9kO4jzTt9uPqE"}


class _ReadingConverter(OpenAPIConverter):
    """Describes what a client sends; what is only shown would be an unknown field."""

    # A table of our own: map_to_openapi_type() would write to the one that all documents share.
    field_mapping = {  # noqa: RUF012  # so declared by apispec
        **OpenAPIConverter.field_mapping,
        EmailAddress: ("string", "email"),
        LinkValue: (None, None),  # see describe_ours
    }

    def fields2jsonschema(self, fields: Mapping[str, Field[Any]], *, partial: Any = None) -> Json:
        """Describe the fields of this direction."""
        kept = {name: field for name, field in fields.items() if self.concerns(field)}
        described: Json = super().fields2jsonschema(kept, partial=partial)  # type: ignore[no-untyped-call]
        return described

    def schema2jsonschema(self, schema: Any) -> Json:
        """Describe a schema, and say whether there can be other fields, which not every version of apispec does."""
        described: Json = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        if self.is_closed(resolve_schema_instance(schema)):
            described["additionalProperties"] = False
        else:
            described.pop("additionalProperties", None)
        return described

    def concerns(self, field: Field[Any]) -> bool:
        """Tell whether a field occurs in this direction."""
        return not field.dump_only

    def is_closed(self, schema: Schema) -> bool:
        """Tell whether there can be no other fields."""
        return bool(schema.unknown == RAISE)


class _ShowingConverter(_ReadingConverter):
    """Describes what a client gets; a schema's hooks may add to it."""

    def concerns(self, field: Field[Any]) -> bool:
        return not field.load_only

    def is_closed(self, schema: Schema) -> bool:
        return False


class SchemaComponents:
    """The components of a document that describe the schemas in use, with all that they nest.

    An application's own document may have no plugin for marshmallow, or one that names and maps things otherwise: what
    is added to it is plain JSON Schema, made here.

    :param settings: the app's settings.
    :param openapi_version: the version of the document, 3.0 or later.
    """

    def __init__(self, settings: Settings, openapi_version: str) -> None:
        self._describe_ours = _ours(settings, openapi_version)
        self._version = openapi_version
        self._reading = self._spec(_ReadingConverter, "Input")
        self._showing = self._spec(_ShowingConverter, "Output")

    def add_read(self, name: str, schema: Schema) -> None:
        """Describe what a client sends.

        :param name: the component's name.
        :param schema: loads it.
        """
        if name not in self._reading.components.schemas:  # two endpoints may read the same
            self._reading.components.schema(name, schema=schema)

    def add_shown(self, name: str, schema: Schema, *, complete: bool, more: bool) -> None:
        """Describe what a client gets.

        :param name: the component's name.
        :param schema: dumps it.
        :param complete: whether it always gives all its fields, and no others.
        :param more: whether something else adds to them.
        """
        self._showing.components.schema(name, schema=schema)
        described = self._showing.components.schemas[name]
        if complete:
            described.update(required=sorted(described["properties"]), additionalProperties=more)

    def by_name(self) -> dict[str, Json]:
        """Return JSON Schemas by the components' names."""
        return {**self._reading.components.schemas, **self._showing.components.schemas}

    def _spec(self, converter: type[_ReadingConverter], suffix: str) -> APISpec:
        def name_nested(schema: Any) -> str:
            found = resolve_schema_cls(schema)
            cls = found[0] if isinstance(found, list) else found  # two modules may have a schema of one name
            return f"{PREFIX}{cls.__name__.removesuffix('Schema')}{suffix}"

        plugin = type("_Plugin", (MarshmallowPlugin,), {"Converter": converter})(schema_name_resolver=name_nested)
        spec = APISpec(PREFIX, "0", self._version, plugins=[plugin])
        plugin.converter.add_attribute_function(self._describe_ours)
        return spec


def _ours(settings: Settings, openapi_version: str) -> Callable[..., Json]:
    """Make the function that describes what apispec cannot know of our fields; a field's own metadata wins."""
    checks_length = validate_length in settings.password_validators
    link = {**_LINK, "user_id": _ROW_ID} if settings.register_email_first else _LINK
    has_lists = not openapi_version.startswith("3.0.")

    def example(value: str) -> Json:
        return {"examples": [value]} if has_lists else {"example": value}

    def describe_ours(converter: OpenAPIConverter, field: Field[Any], ret: Json) -> Json:
        ours: Json = {}
        if isinstance(field, EmailAddress):
            ours = example(_ADDRESS)
        elif isinstance(field.parent, VerifyRegistrationSerializer) and field.name in link:
            ours = example(link[field.name])
        elif field.name in _PASSWORD_FIELDS and field.load_only:
            ours = {"format": "password", **example(_PASSWORD), **(_within_lengths(ret) if checks_length else {})}
        elif isinstance(field, Code):
            pattern = f"^{_BETWEEN_DIGITS}([0-9]{_BETWEEN_DIGITS}){{{field.length}}}$"
            ours = {"pattern": pattern, **example("4180257639"[: field.length])}
        elif not_blank in field.validators:
            ours = {"minLength": 1, "pattern": r"\S"}
        if isinstance(field, LinkValue):
            ours["anyOf"] = [{"type": "string"}, {"type": "integer"}]
        return {**ours, **converter.metadata2properties(field, ret=ret)}

    return describe_ours


def _within_lengths(described: Json) -> Json:
    return {
        "minLength": max(described.get("minLength", 0), SHORTEST),
        "maxLength": min(described.get("maxLength", LONGEST), LONGEST),
    }
