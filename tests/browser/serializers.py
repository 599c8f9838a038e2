"""A serializer whose fault belongs to no field."""

from __future__ import annotations

from marshmallow import ValidationError, validates_schema

from flask_rest_registration import DefaultRegisterUserSerializer


class OneAccountPerHousehold(DefaultRegisterUserSerializer):
    @validates_schema
    def refuse(self, data: dict[str, object], **_: object) -> None:
        raise ValidationError("Only one account for each household.")
