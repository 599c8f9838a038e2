"""Applications without a mistake, on which no attack succeeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from flask_sqlalchemy import SQLAlchemy
from marshmallow import fields, validate
from sqlalchemy import Boolean, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_rest_registration import RegisterEmailSerializer
from tests.support import models
from tests.support.apps import Built
from tests.support.serializers import Rich

from .catalogue import build_app

Build = Callable[[str], Built]


class Consent(RegisterEmailSerializer):
    consent = fields.Boolean(required=True, validate=validate.Equal(True))


def with_orders(db: SQLAlchemy) -> type[Any]:
    """People whose orders are loaded along with them."""
    user = models.uuid_key(db)

    class Order(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[Any] = mapped_column(ForeignKey(user.id))

    user.orders = relationship(Order, lazy="selectin")
    return user


def app(model: models.Model = models.typed, **settings: object) -> Build:
    return lambda uri: build_app(uri, model, **settings)


def email_first(model: models.Model = models.typed, **settings: object) -> Build:
    return app(model, REGISTER_EMAIL_FIRST=True, **settings)


def without_flask_mail(uri: str) -> Built:
    built = build_app(uri, REGISTER_VERIFICATION_EMAIL_SENDER=send_nothing, REGISTER_VERIFICATION_URL=None)
    del built.app.extensions["mail"]
    return built


def send_nothing(request: object, recipient: object) -> None:
    """A sender of the application's own."""


def log_in(request: object, user: object) -> dict[str, object]:
    return {"token": "x"}


#: By name, each with what makes it on a database of the given URL; in groups, of which each is one run of the attacks.
GOOD_APPS: dict[str, dict[str, Build]] = {
    "account at sign-up": {
        "the usual model": app(),
        "a Boolean flag": app(models.classic_columns),
        "set_password()": app(models.set_password, REGISTER_SERIALIZER_PASSWORD_CONFIRM=False),
        "another name of the address": app(models.other_email_name),
        "a UUID as the key, links once": app(models.uuid_key, REGISTER_VERIFICATION_ONE_TIME_USE=True),
        "several tables": app(models.inheritance_subclass),
        "resend": app(REGISTER_VERIFICATION_RESEND_ENABLED=True),
    },
    "account at sign-up, more": {
        "a lock-out column": app(models.declared(active=mapped_column(Boolean, default=True))),
        "no verification": app(REGISTER_VERIFICATION_ENABLED=False),
        "no flag": app(models.declared(email_verified_at=None), REGISTER_VERIFICATION_ENABLED=False),
        "a sender of its own, no Flask-Mail": without_flask_mail,
        "log-in with the link": app(REGISTER_VERIFICATION_AUTO_LOGIN=True, LOGIN_HANDLER=log_in),
        "a serializer of every kind of field": app(REGISTER_SERIALIZER_CLASS=Rich),
        "a right that is offered on purpose": app(models.privileged, USER_EDITABLE_FIELDS=["username", "role"]),
    },
    "e-mail first": {
        "codes": email_first(REGISTER_VERIFICATION_CODE_ENABLED=True),
        "links alone, UUIDs, orders": email_first(with_orders),
        "another address field, senders of its own": email_first(
            models.other_email_name,
            REGISTER_VERIFICATION_CODE_ENABLED=True,
            REGISTER_VERIFICATION_EMAIL_SENDER=send_nothing,
            REGISTER_EXISTING_EMAIL_SENDER=send_nothing,
            REGISTER_VERIFICATION_URL=None,
        ),
        "a lock-out flag, consent, log-in": email_first(
            models.is_active_flag,
            REGISTER_VERIFICATION_CODE_ENABLED=True,
            REGISTER_EMAIL_SERIALIZER_CLASS=Consent,
            REGISTER_VERIFICATION_AUTO_LOGIN=True,
            LOGIN_HANDLER=log_in,
        ),
        "a method that checks passwords": email_first(models.set_password),
        "hashes of another kind": email_first(PASSWORD_HASHER=lambda password: f"$own${uuid4().hex}"),
    },
}
