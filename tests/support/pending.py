"""Pending registrations: how apps ask for mails, with e-mail first or with resend."""

from __future__ import annotations

from typing import Any, Final

from werkzeug.test import TestResponse

from .apps import REGISTER, RESEND, Built
from .links import link_in, values_of
from .mail_servers import RecordingServer

ANN: Final = "ann@example.com"
EMAIL_FIRST: Final[dict[str, Any]] = {"REGISTER_EMAIL_FIRST": True}
CODES: Final[dict[str, Any]] = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_ENABLED": True}
WITH_RESEND: Final[dict[str, Any]] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}


def path_of(built: Built) -> str:
    """Return the endpoint that sends mails to addresses."""
    return REGISTER if "REGISTER_EMAIL_FIRST" in built.app.config["REST_REGISTRATION"] else RESEND


def post_address(built: Built, email: object = ANN) -> TestResponse:
    return built.post(path_of(built), {"email": email})


def ask(built: Built, email: str = ANN) -> TestResponse:
    """Ask for a mail, which everybody gets the same answer to."""
    answer = post_address(built, email)
    assert answer.status_code == 202, answer.text
    return answer


def link_to(built: Built, smtp: RecordingServer, email: str = ANN) -> dict[str, str]:
    """Ask for a mail, and take the values out of its link."""
    ask(built, email)
    return values_of(link_in(smtp.messages[-1]))


def add_account(built: Built, email: str = ANN, username: str = "other", **values: object) -> None:
    """Add an account by hand, as an administrator's script does."""
    with built.app.app_context():
        built.db.session.add(built.User(email=email, username=username, password_hash="x", **values))
        built.db.session.commit()
