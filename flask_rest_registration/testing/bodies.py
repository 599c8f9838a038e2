"""Good bodies of sign-ups, made from the application's own register serializer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from flask import Flask
from marshmallow import Schema, fields, validate

from ..serializers.schemas import EmailAddress, client_name, client_names
from ..state import app_state

#: The fields that take the password.
PASSWORDS = ("password", "password_confirm")

_NOW = datetime.fromisoformat("2000-01-02T03:04:05+00:00")


class NoBody(Exception):
    """No good body can be made from the register serializer."""


def new_address() -> str:
    """Return an address that has not been used before."""
    return f"attack-{uuid4().hex}@example.com"


def new_password() -> str:
    """Return a password that nobody guesses."""
    return f"violet-{uuid4().hex}"


def with_password(body: Mapping[str, Any], password: str) -> dict[str, Any]:
    """Return a body with a password in all fields of it that take one."""
    return {**body, **{name: password for name in PASSWORDS if name in body}}


def make_body(app: Flask) -> dict[str, Any]:
    """Make the body of a new person's sign-up: the required fields, e-mail and password.

    :raises NoBody: naming a field for which the attacks have no value.
    """
    with app.app_context():
        state = app_state(app).ready()
        schema = state.serializers.register()
        email = client_name(schema, state.model.email.name) or state.model.email.name
        password = new_password()
        passwords = {name: password for name in PASSWORDS if name in client_names(schema)}
        return {**_required_values(schema), email: new_address(), **passwords}


def make_email_body(app: Flask, address: str) -> dict[str, Any]:
    """Make the body that asks for a mail to an address, while REGISTER_EMAIL_FIRST is on.

    :raises NoBody: naming a field for which the attacks have no value.
    """
    with app.app_context():
        schema = app_state(app).serializers.register_email()
        return {**_required_values(schema), client_name(schema, "email") or "email": address}


def _required_values(schema: Schema) -> dict[str, Any]:
    return {field.data_key or name: _value(name, field) for name, field in schema.load_fields.items() if field.required}


def _value(name: str, field: fields.Field[Any]) -> object:
    for check in field.validators:
        if isinstance(check, validate.OneOf):
            return next(iter(check.choices))
    for kind, make in _VALUES.items():
        if isinstance(field, kind):
            return make(field)
    raise NoBody(f"the field {name!r} is a {type(field).__name__}, for which the attacks have no value")


def _member(field: Any) -> object:
    member = next(iter(field.enum))
    return member.value if field.by_value else member.name


def _number(field: fields.Field[Any]) -> object:
    ranges = [check for check in field.validators if isinstance(check, validate.Range)]
    return max([1, *(check.min for check in ranges if check.min is not None)])


def _text(field: fields.Field[Any]) -> str:
    text = f"x{uuid4().hex}"
    for check in field.validators:
        if isinstance(check, validate.Length):
            text = text.ljust(check.equal or check.min or 0, "x")[: check.equal or check.max]
    return text


# The first class that fits decides: derived classes come before their bases.
_VALUES: Mapping[type[fields.Field[Any]], Callable[[Any], object]] = {
    fields.Email: lambda field: new_address(),
    EmailAddress: lambda field: new_address(),
    fields.Url: lambda field: f"https://{uuid4().hex}.example/",
    fields.UUID: lambda field: str(uuid4()),
    fields.Boolean: lambda field: True,
    fields.TimeDelta: lambda field: 60,
    fields.AwareDateTime: lambda field: _NOW.isoformat(),
    fields.Date: lambda field: _NOW.date().isoformat(),
    fields.Time: lambda field: _NOW.time().isoformat(),
    fields.DateTime: lambda field: _NOW.replace(tzinfo=None).isoformat(),
    fields.Enum: _member,
    fields.Number: _number,
    fields.List: lambda field: [],
    fields.Mapping: lambda field: {},
    fields.Nested: lambda field: _required_values(field.schema),
    fields.String: _text,
}
