"""The verification mail: building it, and handing it over."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, render_template
from flask_mail import Message

from .addresses import to_recipient
from .exceptions import ConfigurationError, EmailNotSent, RecipientRefused
from .safe_logging import log_exception, traceback_without_text
from .settings import MailAddress, Templates, parse_templates
from .signers import RegisterSigner
from .smtp import Deadline, DeliveryConnection
from .state import Registration, current_registration

Send = Callable[[Request | None, object], object]

_FOLDER = "rest_registration/register"
_DEFAULT_SUBJECT = f"{_FOLDER}/subject.txt"
_DEFAULT_BODIES = {"body": f"{_FOLDER}/body.txt", "html_body": f"{_FOLDER}/body.html"}


def send_register_verification_email_notification(request: Request | None, user: object) -> None:
    """Render the verification mail and deliver it; the default REGISTER_VERIFICATION_EMAIL_SENDER.

    :param request: the request that caused it, or None in a script.
    :param user: a stored account.
    :raises EmailNotSent: if the mail server did not accept it within VERIFICATION_EMAIL_TIMEOUT;
        ``RecipientRefused``, a subclass, if it refused the recipient for good.
    :raises ConfigurationError: if the app lacks a setting for it.
    """
    with _delivery(current_registration()) as send:
        send(request, user)


@contextmanager
def ready_sender(registration: Registration) -> Iterator[Send]:
    """Get ready to send before anything is written: what can fail or wait without a transaction does so here.

    The default sender connects, secures and logs in, so that only the transfer itself lies inside the transaction.
    With a silent mail server 18 sign-ups would otherwise hold every database connection, or SQLite's only lock.

    :param registration: the app's state.
    :yields: the sender; what it raises is :class:`EmailNotSent` or :class:`ConfigurationError`.
    :raises EmailNotSent: if the mail server is out of reach.
    """
    sender = registration.settings.register_verification_email_sender
    if registration.settings.sends_by_default:
        with _delivery(registration) as deliver:
            yield lambda request, user: _call_sender(deliver, request, user=user)
    else:
        yield lambda request, user: _call_sender(sender, request, user=user)


def _call_sender(sender: Send, request: Request | None, *, user: object) -> None:
    try:
        sender(request, user)
    except (ConfigurationError, EmailNotSent):
        raise
    except Exception as error:  # templates, hooks and senders of the application's own may raise anything
        failure = _failure(error)
    else:
        return
    raise failure


@contextmanager
def _delivery(registration: Registration) -> Iterator[Send]:
    deadline = Deadline(registration.settings.verification_email_timeout.total_seconds())
    connection = DeliveryConnection(mail_state(registration), deadline, lambda: registration.tls_context)

    def send(request: Request | None, user: object) -> None:
        message = build_verification_message(registration, request, user=user)
        _in_time(lambda: _hand_over(registration.app, connection, message), deadline)

    _in_time(connection.__enter__, deadline)
    try:
        yield send
    finally:
        connection.__exit__(None, None, None)


def _hand_over(app: Flask, connection: DeliveryConnection, message: Message) -> None:
    try:
        connection.send(message)
    except Exception as error:  # also of a receiver of Flask-Mail's signal, which comes too late to undo the mail
        if not connection.has_delivered:
            raise
        log_exception(app, "A receiver of email_dispatched failed", error)


def _in_time(step: Callable[[], object], deadline: Deadline) -> None:
    try:
        step()
    except (OSError, ValueError) as error:  # smtplib's are OSErrors; a log-in or host of odd characters is a ValueError
        failure = EmailNotSent("time-out") if deadline.has_passed else _failure(error)
    else:
        return
    raise failure


def _failure(error: Exception) -> EmailNotSent:
    """Say why a mail was not sent, for the log: without addresses, links and log-ins, which servers like to quote."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = {code for code, _ in error.recipients.values()}
        kind = RecipientRefused if codes and all(500 <= code < 600 for code in codes) else EmailNotSent
        return kind(f"recipient refused, {sorted(codes)}")
    if not isinstance(error, OSError):
        return EmailNotSent(traceback_without_text(error))
    reason = type(error).__name__
    if isinstance(error, smtplib.SMTPResponseException):
        reason += f", {error.smtp_code}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        reason += f", {error.verify_message}"
    elif isinstance(error, socket.gaierror):
        reason += ", the mail server's name was not found"
    elif error.errno is not None:
        reason += f", {os.strerror(error.errno)}"
    return EmailNotSent(reason)


def mail_state(registration: Registration) -> Any:
    """Return what Flask-Mail keeps of the app.

    :param registration: the app's state.
    :returns: Flask-Mail's own object, whose class is private.
    :raises ConfigurationError: if Flask-Mail is not initialised.
    """
    state = registration.app.extensions.get("mail")
    if state is None:
        raise ConfigurationError(
            "Flask-Mail is not initialised on this app: call Mail(app) or mail.init_app(app), or give a"
            " REGISTER_VERIFICATION_EMAIL_SENDER of your own."
        )
    return state


def build_verification_message(registration: Registration, request: Request | None, *, user: object) -> Message:
    """Render the mail that asks an account's owner to verify the address.

    :param registration: the app's state.
    :param request: handed to the hooks.
    :param user: a stored account.
    :returns: a message to exactly one recipient.
    :raises RecipientRefused: if the account's address is no single address.
    :raises ConfigurationError: if there is no sender's address or no URL.
    """
    settings = registration.settings
    address = registration.model.address_of(user)
    try:
        recipient = to_recipient(address)
    except ValueError:
        raise RecipientRefused("not exactly one address") from None
    sender = sender_address(registration)
    context: Mapping[str, object] = _context(RegisterSigner.for_user(user), user, address=address)
    if settings.verification_template_context_builder is not None:
        context = settings.verification_template_context_builder(request, user, dict(context))
    parts = {name: render_template(path, **context) for name, path in _templates(registration, request, user).items()}
    html = parts.get("html_body")
    body = parts.get("body")
    if body is None:
        body = settings.verification_email_html_to_text_converter(html or "")
    message = Message(
        subject=" ".join(parts["subject"].split()),
        recipients=[recipient],
        body=body,
        html=html,
        reply_to=settings.verification_reply_to_email or sender,
        sender=sender,
        extra_headers={"Auto-Submitted": "auto-generated"},  # RFC 3834: no out-of-office replies
    )
    # Flask-Mail's constructor would write a pair as text and read it again, which a comma in the name breaks.
    message.sender = sender
    return message


def sender_address(registration: Registration) -> MailAddress:
    """Return the From address.

    :param registration: the app's state.
    :returns: VERIFICATION_FROM_EMAIL or MAIL_DEFAULT_SENDER.
    :raises ConfigurationError: if neither is set.
    """
    address: MailAddress | None = (
        registration.settings.verification_from_email or mail_state(registration).default_sender
    )
    if not address:
        raise ConfigurationError(
            "The verification mail has no sender: set MAIL_DEFAULT_SENDER, such as 'no-reply@example.com', or the"
            " REST_REGISTRATION setting VERIFICATION_FROM_EMAIL."
        )
    return address


def _context(signer: RegisterSigner, user: object, *, address: str) -> dict[str, object]:
    return {
        "user": user,
        "user_address": address,
        "site": urlsplit(signer.get_base_url()).netloc.rpartition("@")[2],
        "verification_url": signer.get_url(),
        "valid_until": signer.get_valid_until(),
    }


def _templates(registration: Registration, request: Request | None, user: object) -> Templates:
    select = registration.settings.verification_templates_selector
    if select is None:
        return complete_templates(registration.settings.register_verification_email_templates)
    try:
        return complete_templates(parse_templates(select(request, user)))
    except ValueError as fault:
        raise ConfigurationError(f"What VERIFICATION_TEMPLATES_SELECTOR returned {fault}.") from None


def complete_templates(given: Templates | None) -> Mapping[str, str]:
    """Fill in the default templates.

    :param given: as :func:`parse_templates` gives them.
    :returns: ``subject``, and ``body`` and/or ``html_body``: what is given of these replaces both defaults.
    """
    given = given or {}
    bodies = {name: given[name] for name in _DEFAULT_BODIES if name in given} or _DEFAULT_BODIES
    return {"subject": given.get("subject", _DEFAULT_SUBJECT), **bodies}
