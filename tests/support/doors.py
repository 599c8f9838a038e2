"""The ways into registration: JSON to an endpoint, a call in a script, a call in the view of a form."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Final, Literal

import pytest
from blinker import NamedSignal
from flask import Flask, Request, request
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect, generate_csrf
from werkzeug.security import check_password_hash

from flask_rest_registration import RequestRefused, RestRegistration, user_activated, user_registered

from .apps import CHECK_LINK, PASSWORD, REGISTER, RESEND, VERIFY, Built
from .links import html_of, text_of
from .mail_servers import RecordingServer
from .statements import recorded

Call = Literal["register", "verify", "check_link", "resend"]
#: The status and the body of a refusal; None for a success.
Answer = tuple[int, dict[str, Any]] | None
Door = Callable[[Built, Call, Mapping[str, Any]], Answer]

_PATHS: Final[Mapping[Call, str]] = {
    "register": REGISTER,
    "verify": VERIFY,
    "check_link": CHECK_LINK,
    "resend": RESEND,
}


def call(registration: RestRegistration, name: Call, data: Mapping[str, Any]) -> Any:
    """Make a call for the current app with what a form has."""
    if name == "resend":
        return registration.resend(data.get("email", ""))
    return getattr(registration, name)(data)


def by_json(built: Built, name: Call, data: Mapping[str, Any]) -> Answer:
    """Send JSON to the endpoint."""
    answer = built.post(_PATHS[name], dict(data))
    return None if answer.status_code < 400 else (answer.status_code, answer.get_json())


def by_script(built: Built, name: Call, data: Mapping[str, Any]) -> Answer:
    """Call without a request."""
    try:
        with built.app.app_context():
            call(built.registration, name, data)
    except RequestRefused as refusal:
        return refusal.status, refusal.as_dict()
    return None


def by_form(built: Built, name: Call, data: Mapping[str, Any]) -> Answer:
    """Post a form to a view that calls; :func:`add_forms` has given the app one."""
    answer = post_form(built.client(), name, data)
    return None if answer.status_code < 400 else (answer.status_code, answer.get_json())


DOORS: Final[Mapping[str, Door]] = {"json": by_json, "script": by_script, "form": by_form}


def add_forms(built: Built) -> None:
    """Give an app a view for each call, as applications write them, and CSRFProtect."""
    CSRFProtect(built.app).exempt(built.registration.blueprint)

    @built.app.get("/token")
    def token() -> str:
        return str(generate_csrf())

    @built.app.post("/<any(register, verify, check_link, resend):name>")
    def submit(name: Call) -> ResponseReturnValue:
        try:
            call(built.registration, name, request.form)
        except RequestRefused as refused:
            return refused.as_dict(), refused.status
        return "", 204


def post_form(client: FlaskClient, name: str, data: Mapping[str, Any]) -> Any:
    """Post a form with the token of CSRFProtect, as the browser that got the page does."""
    field_name = client.application.config["WTF_CSRF_FIELD_NAME"]
    return client.post(f"/{name}", data={**data, field_name: client.get("/token").text})


@dataclass
class Seen:
    """What one case at one door has led to."""

    answer: Answer = None
    #: The rows of both tables after it, with whether the hash is that of the password.
    rows: list[dict[str, Any]] = field(default_factory=list)
    pending: list[dict[str, Any]] = field(default_factory=list)
    #: Recipients, subject, text and HTML of each mail, the values of links and codes masked.
    mails: list[tuple[object, ...]] = field(default_factory=list)
    #: The name of each signal, and the account's address and flag at that time.
    signals: list[tuple[object, ...]] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    logged: list[tuple[str, str]] = field(default_factory=list)
    #: What the signals were given as the request.
    requests: list[object] = field(default_factory=list)


@contextmanager
def watched(built: Built, smtp: RecordingServer, caplog: pytest.LogCaptureFixture) -> Iterator[Seen]:
    """Record what happens to an app inside."""
    seen, mails_before = Seen(), len(smtp.messages)
    caplog.clear()

    def receiver(signal: NamedSignal) -> Callable[..., None]:
        def note(sender: Flask, user: Any, request: Request | None, **_: object) -> None:
            seen.signals.append((signal.name, user.email, user.email_verified_at))
            seen.requests.append(request)

        return note

    keep = [receiver(signal) for signal in (user_registered, user_activated)]
    with (
        user_registered.connected_to(keep[0], built.app),
        user_activated.connected_to(keep[1], built.app),
        caplog.at_level(logging.INFO, built.app.name),
        recorded(built.engine) as statements,
    ):
        yield seen
    seen.statements = statements.kinds
    seen.rows = [_masked_account(row) for row in built.rows()]
    seen.pending = [{**row, "id": None} for row in built.pending_rows()] if built.Pending else []
    for message, envelope in zip(smtp.messages[mails_before:], smtp.envelopes[mails_before:], strict=True):
        seen.mails.append((envelope.sender, *envelope.recipients, *masked(message)))
    seen.logged = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == built.app.name]


def _masked_account(row: dict[str, Any]) -> dict[str, Any]:
    hashed = row["password_hash"]
    return {**row, "password_hash": hashed == "x" or check_password_hash(hashed, PASSWORD)}


def masked(message: EmailMessage) -> list[str]:
    """Return subject, text and HTML of a mail, without the values of its link and its code."""
    texts = (str(message["Subject"]), text_of(message), html_of(message))
    return [re.sub(r"(user_id|timestamp|signature)=[^&\s\"]+|\b[0-9]{6}\b", r"\1...", text) for text in texts]
