"""A register serializer with a field of every kind, each with the checks that a value can fail."""

from __future__ import annotations

from enum import Enum
from typing import Any

from marshmallow import fields, post_load, validate

from flask_rest_registration import DefaultRegisterUserSerializer
from flask_rest_registration.serializers.schemas import EmailAddress


class Size(Enum):
    """Has one member."""

    SMALL = "s"


class Rich(DefaultRegisterUserSerializer):
    """Reads all of it, and keeps what makes an account."""

    email = EmailAddress(required=True, data_key="mail")
    second = fields.Email(required=True)
    third = EmailAddress(required=True)
    page = fields.Url(required=True)
    uid = fields.UUID(required=True)
    terms = fields.Boolean(required=True, validate=validate.Equal(True))
    pause = fields.TimeDelta(required=True)
    at = fields.AwareDateTime(required=True)
    day = fields.Date(required=True)
    time = fields.Time(required=True)
    local = fields.DateTime(required=True)
    size = fields.Enum(Size, required=True)
    by_value = fields.Enum(Size, by_value=True, required=True)
    number = fields.Integer(required=True, validate=validate.Range(min=7))
    any_number = fields.Float(required=True, validate=validate.Range(max=1))
    positive = fields.Integer(required=True, validate=validate.Range(min=0, min_inclusive=False))
    tags = fields.List(fields.String(), required=True)
    extra = fields.Dict(required=True, data_key="more")
    address = fields.Nested({"city": fields.String(required=True)}, required=True)
    code = fields.String(required=True, validate=validate.Length(equal=50))
    long = fields.String(required=True, validate=validate.Length(min=50))
    short = fields.String(required=True, validate=[validate.Length(min=2, max=3), validate.Regexp("x")])
    colour = fields.String(required=True, validate=validate.OneOf(["red"]))
    note = fields.String()

    @post_load
    def keep(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        """Leave out what the model has no place for."""
        return {name: data[name] for name in ("email", "username", "password")}
