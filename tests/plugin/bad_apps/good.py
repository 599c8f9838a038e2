"""Applications without a mistake, on which no attack succeeds."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable
from functools import partial
from threading import Thread
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from flask import copy_current_request_context, current_app, redirect, request
from flask import session as cookie
from flask_mail import Message
from jinja2 import DictLoader
from marshmallow import fields, validate
from sqlalchemy import Boolean
from sqlalchemy.orm import mapped_column

from flask_rest_registration import (
    RegisterEmailSerializer,
    RegisterSigner,
    send_register_verification_email_notification,
)
from flask_rest_registration.contrib.celery import send_later
from tests.support import models
from tests.support.apps import Built, make_app
from tests.support.serializers import Rich

from .catalogue import build_app, has_password, log_in, offer_log_in, with_orders

Build = Callable[[str], Built]


class Consent(RegisterEmailSerializer):
    consent = fields.Boolean(required=True, validate=validate.Equal(True))


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


def send_by_smtplib(request: object, recipient: Any) -> None:
    with smtplib.SMTP("127.0.0.1", current_app.config["MAIL_PORT"]) as client:
        client.sendmail("app@example.com", [recipient.email], "Subject: Welcome\n\nWelcome!\n")


def send_in_a_thread(request: object, recipient: Any) -> None:
    send = partial(send_by_smtplib, request, SimpleNamespace(email=recipient.email))
    Thread(target=copy_current_request_context(send), name="sender").start()


def send_in_a_coroutine(request: object, recipient: Any) -> None:
    async def send() -> None:
        _, writer = await asyncio.open_connection("localhost", current_app.config["MAIL_PORT"])
        writer.close()
        await writer.wait_closed()

    current_app.ensure_sync(send)()


def send_by_flask_mail(request: object, recipient: Any) -> None:
    message = Message("Welcome", recipients=[recipient.email], body=RegisterSigner.for_user(recipient).get_url())
    current_app.extensions["mail"].send(message)


def send_by_celery(request: object, recipient: Any) -> None:
    current_app.extensions["celery"].send_task("welcome", [recipient.email])


#: What applications send their mails with.
SENDERS: dict[str, Callable[[Any, Any], object]] = {
    "the default": send_register_verification_email_notification,
    "send_later": send_later,
    "smtplib": send_by_smtplib,
    "a thread": send_in_a_thread,
    "a coroutine": send_in_a_coroutine,
    "Flask-Mail": send_by_flask_mail,
    "Celery": send_by_celery,
}

#: Those that wait for a server while the transaction of the sign-up is open.
WAITING = {"smtplib", "a thread", "a coroutine", "Flask-Mail"}


def give_token(request: object, user: object) -> dict[str, object]:
    return {"token": "x"}


def with_log_in(build: Build) -> Build:
    return lambda uri: offer_log_in(build(uri), log_in)


def with_gate(uri: str) -> Built:
    """Send people who are logged in and not verified away, but not from registration; its mail is one long line."""
    built = build_app(uri, REGISTER_VERIFICATION_EMAIL_TEMPLATES={"html_body": "long.html"})
    line = f"<p>{'Welcome! ' * 120}<a href='{{{{ verification_url }}}}'>Verify</a></p>"
    built.app.jinja_loader = DictLoader({"long.html": line})

    @built.app.before_request
    def send_away() -> Any:
        is_free = request.blueprint == "rest_registration"
        return redirect("/unconfirmed") if "user_id" in cookie and not is_free else None

    return built


def on_host(host: str) -> Build:
    where = {"host_matching": True, "static_folder": None}
    return lambda uri: make_app(database_uri=uri, registration={"HOST": host}, matching=where)


def on_subdomain(uri: str) -> Built:
    settings = {"SUBDOMAIN": "api", "REGISTER_EMAIL_FIRST": True}
    where: dict[str, Any] = {"matching": {"subdomain_matching": True}, "config": {"SERVER_NAME": "app.example:8080"}}
    return make_app(database_uri=uri, registration=settings, pending=True, **where)


#: By name, each with what makes it on a database of the given URL; in groups, of which each is one run of the attacks.
GOOD_APPS: dict[str, dict[str, Build]] = {
    "account at sign-up": {
        "the usual model, log-in": with_log_in(app()),
        "a Boolean flag": app(models.classic_columns),
        "set_password()": app(models.set_password, REGISTER_SERIALIZER_PASSWORD_CONFIRM=False),
        "another name of the address": app(models.other_email_name),
        "a UUID as the key, links once": app(models.uuid_key, REGISTER_VERIFICATION_ONE_TIME_USE=True),
        "several tables": app(models.inheritance_subclass),
        "resend": app(with_orders("joined"), REGISTER_VERIFICATION_RESEND_ENABLED=True),
        "a gate with an exemption, long lines": with_gate,
        "a host of its own": on_host("api.app.example"),
        "a host with a port": on_host("api.app.example:8080"),
    },
    "account at sign-up, more": {
        "a lock-out column": app(models.declared(active=mapped_column(Boolean, default=True))),
        "no verification": lambda uri: offer_log_in(app(REGISTER_VERIFICATION_ENABLED=False)(uri), has_password),
        "no flag": app(models.declared(email_verified_at=None), REGISTER_VERIFICATION_ENABLED=False),
        "a sender of its own, no Flask-Mail": without_flask_mail,
        "log-in with the link": app(REGISTER_VERIFICATION_AUTO_LOGIN=True, LOGIN_HANDLER=give_token),
        "a serializer of every kind of field": app(REGISTER_SERIALIZER_CLASS=Rich),
        "a right that is offered on purpose": app(models.privileged, USER_EDITABLE_FIELDS=["username", "role"]),
    },
    "e-mail first": {
        "codes": with_log_in(email_first(REGISTER_VERIFICATION_CODE_ENABLED=True)),
        "links alone, UUIDs, orders": email_first(with_orders("selectin")),
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
            LOGIN_HANDLER=give_token,
        ),
        "a subdomain of its own": on_subdomain,
        "a method that checks passwords": email_first(models.set_password),
        "hashes of another kind": email_first(PASSWORD_HASHER=lambda password: f"$own${uuid4().hex}"),
    },
}
