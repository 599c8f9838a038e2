"""Handing the mails over, within their time."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType

from flask import Flask, Request
from flask_mail import Message

from ..exceptions import ConfigurationError, EmailNotSent, RecipientRefused
from ..safe_logging import log_exception, traceback_without_text
from ..state import Registration, current_registration
from .messages import build_existing_account_message, build_verification_message, mail_state
from .smtp import Deadline, DeliveryConnection

Send = Callable[[Request | None, object], object]

#: Hands over the message that its argument builds.
Deliver = Callable[[Callable[[], Message]], None]


class Delivery:
    """A context in which a connection to the mail server is ready: made, secured and logged in.

    :param registration: the app's state.
    """

    def __init__(self, registration: Registration) -> None:
        self._app = registration.app
        self._deadline = Deadline(registration.settings.verification_email_timeout.total_seconds())
        self._connection = DeliveryConnection(
            mail_state(registration), self._deadline, lambda: registration.tls_context
        )

    def __enter__(self) -> Deliver:
        """Connect.

        :returns: what hands over one message; connecting and that together have VERIFICATION_EMAIL_TIMEOUT.
        :raises EmailNotSent: if a step fails or the time is over.
        """
        _in_time(self._connection.__enter__, self._deadline)
        return self._deliver

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__(None, None, None)

    def _deliver(self, build: Callable[[], Message]) -> None:
        message = build()
        _in_time(lambda: _hand_over(self._app, self._connection, message), self._deadline)


@dataclass(frozen=True)
class ConnectingSender:
    """A sender that connects before the INSERT, so that only the transfer itself lies inside the transaction.

    :param connect: gives what hands over the messages, while the context lasts.
    :param build: renders the message to an account or a pending registration.
    """

    connect: Callable[[Registration], AbstractContextManager[Deliver]]
    build: Callable[[Registration, Request | None, object], Message]

    def __call__(self, request: Request | None, user: object) -> None:
        """Send without a transaction to think of.

        :param request: the request that caused it, or None in a script.
        :param user: a stored account.
        """
        registration = current_registration()
        with self.connect(registration) as deliver:
            deliver(lambda: self.build(registration, request, user))


def link_sender(connect: Callable[[Registration], AbstractContextManager[Deliver]]) -> ConnectingSender:
    """Make a sender of the verification mail.

    :param connect: how it is handed over.
    """
    return ConnectingSender(connect, build_verification_message)


def notice_sender(connect: Callable[[Registration], AbstractContextManager[Deliver]]) -> ConnectingSender:
    """Make a sender of the notice that somebody signed up with an account's address.

    :param connect: how it is handed over.
    """
    return ConnectingSender(connect, build_existing_account_message)


_send_link = link_sender(Delivery)
_send_notice = notice_sender(Delivery)


def send_register_verification_email_notification(request: Request | None, user: object) -> None:
    """Render the verification mail and deliver it; the default REGISTER_VERIFICATION_EMAIL_SENDER.

    :param request: the request that caused it, or None in a script.
    :param user: a stored account, or a pending registration.
    :raises EmailNotSent: if the mail server did not accept it within VERIFICATION_EMAIL_TIMEOUT;
        ``RecipientRefused``, a subclass, if it refused the recipient for good.
    :raises ConfigurationError: if the app lacks a setting for it.
    """
    _send_link(request, user)


def send_existing_account_email_notification(request: Request | None, user: object) -> None:
    """Tell an account's owner that somebody signed up with the address; the default REGISTER_EXISTING_EMAIL_SENDER.

    :param request: the request that caused it, or None in a script; nothing of it is in the mail.
    :param user: the pending registration with the address, or a stored account.
    :raises EmailNotSent: as :func:`send_register_verification_email_notification`.
    :raises ConfigurationError: if the app lacks a setting for it.
    """
    _send_notice(request, user)


class Mailer:
    """A context in which a mail can be sent: what can fail or wait without a transaction does so at its start.

    The senders of the package connect, secure and log in there, so that only the transfer itself lies inside the
    transaction of a sign-up. With a silent mail server 18 sign-ups would otherwise hold every database connection, or
    SQLite's only lock.

    :param registration: the app's state.
    :param sender: what sends the mail.
    """

    def __init__(self, registration: Registration, sender: Send) -> None:
        self._registration = registration
        self._sender = sender
        self._connection = ExitStack()
        self._deliver: Deliver | None = None

    @classmethod
    def of_links(cls, registration: Registration) -> Mailer:
        """Make the one that sends verification mails."""
        settings = registration.settings
        return cls(
            registration, _send_link if settings.sends_by_default else settings.register_verification_email_sender
        )

    @classmethod
    def of_notices(cls, registration: Registration) -> Mailer:
        """Make the one that tells owners of accounts that somebody signed up with their address."""
        settings = registration.settings
        return cls(
            registration, _send_notice if settings.notifies_by_default else settings.register_existing_email_sender
        )

    def __enter__(self) -> Mailer:
        """Connect.

        :raises EmailNotSent: if the mail server, or the broker, is out of reach.
        """
        if isinstance(self._sender, ConnectingSender):
            self._deliver = self._connection.enter_context(self._sender.connect(self._registration))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The connection is told of the failure: a broker that is silent by then gets no good-bye.
        self._connection.__exit__(exc_type, exc_value, traceback)

    def send(self, request: Request | None, user: object, *, when_built: Callable[[], object] = lambda: None) -> None:
        """Send the mail.

        :param request: the request that caused it.
        :param user: a stored account, or a pending registration.
        :param when_built: called between rendering and delivery: templates and hooks may have read the database.
        :raises EmailNotSent: if it was not sent.
        :raises ConfigurationError: if the app lacks a setting for it.
        """
        sender, deliver = self._sender, self._deliver
        try:
            if isinstance(sender, ConnectingSender) and deliver is not None:
                deliver(lambda: self._build(sender, request, user, when_built))
            else:
                sender(request, user)
        except (ConfigurationError, EmailNotSent):
            raise
        except Exception as error:  # templates, hooks and senders of the application's own may raise anything
            failure = failure_of(error)
        else:
            return
        raise failure

    def _build(
        self, sender: ConnectingSender, request: Request | None, user: object, when_built: Callable[[], object]
    ) -> Message:
        message = sender.build(self._registration, request, user)
        when_built()
        return message


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
        failure = EmailNotSent("time-out") if deadline.has_passed else failure_of(error)
    else:
        return
    raise failure


def failure_of(error: Exception) -> EmailNotSent:
    """Say why a mail was not sent, for the log: without addresses, links and log-ins, which servers like to quote.

    :param error: what a step of the delivery raised.
    :returns: what to raise in its place.
    """
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
