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

from .exceptions import ConfigurationError, EmailNotSent, RecipientRefused
from .messages import build_existing_account_message, build_verification_message, mail_state
from .safe_logging import log_exception, traceback_without_text
from .smtp import Deadline, DeliveryConnection
from .state import Registration, current_registration

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
    :param build: renders the message to the owner of an account.
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
    return ConnectingSender(
        connect, lambda registration, request, user: build_verification_message(registration, request, user=user)
    )


def notice_sender(connect: Callable[[Registration], AbstractContextManager[Deliver]]) -> ConnectingSender:
    """Make a sender of the notice that somebody signed up with an account's address.

    :param connect: how it is handed over.
    """
    return ConnectingSender(
        connect, lambda registration, request, user: build_existing_account_message(registration, request, user=user)
    )


_send_link = link_sender(Delivery)
_send_notice = notice_sender(Delivery)


def send_register_verification_email_notification(request: Request | None, user: object) -> None:
    """Render the verification mail and deliver it; the default REGISTER_VERIFICATION_EMAIL_SENDER.

    :param request: the request that caused it, or None in a script.
    :param user: a stored account.
    :raises EmailNotSent: if the mail server did not accept it within VERIFICATION_EMAIL_TIMEOUT;
        ``RecipientRefused``, a subclass, if it refused the recipient for good.
    :raises ConfigurationError: if the app lacks a setting for it.
    """
    _send_link(request, user)


def send_existing_account_email_notification(request: Request | None, user: object) -> None:
    """Tell an account's owner that somebody signed up with the address; the default REGISTER_EXISTING_EMAIL_SENDER.

    :param request: the request that caused it, or None in a script; nothing of it is in the mail.
    :param user: a stored account.
    :raises EmailNotSent: as :func:`send_register_verification_email_notification`.
    :raises ConfigurationError: if the app lacks a setting for it.
    """
    _send_notice(request, user)


class Mailer:
    """A context in which a mail can be sent: what can fail or wait without a transaction does so at its start.

    The senders of the package connect, secure and log in there, so that only the transfer itself lies inside the
    transaction. With a silent mail server 18 sign-ups would otherwise hold every database connection, or SQLite's
    only lock. Whether a link or a notice is to be sent is not known yet: one connection serves for either.

    :param registration: the app's state.
    """

    def __init__(self, registration: Registration) -> None:
        settings = registration.settings
        self._registration = registration
        self._link_sender = _send_link if settings.sends_by_default else settings.register_verification_email_sender
        self._notice_sender = _send_notice if settings.notifies_by_default else settings.register_existing_email_sender
        self._connections = ExitStack()
        self._delivers: dict[object, Deliver] = {}

    def __enter__(self) -> Mailer:
        """Connect.

        :raises EmailNotSent: if the mail server, or the broker, is out of reach.
        """
        with self._connections:
            self._connect(self._link_sender)
            if self._registration.settings.register_hide_existing_email:
                self._connect(self._notice_sender)
            self._connections = self._connections.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The connections are told of the failure: a broker that is silent by then gets no good-bye.
        self._connections.__exit__(exc_type, exc_value, traceback)

    def _connect(self, sender: Send) -> None:
        if isinstance(sender, ConnectingSender) and sender.connect not in self._delivers:
            self._delivers[sender.connect] = self._connections.enter_context(sender.connect(self._registration))

    def send_link(self, request: Request | None, user: object) -> None:
        """Send the verification mail.

        :param request: the request that caused it.
        :param user: a stored account.
        :raises EmailNotSent: if it was not sent.
        :raises ConfigurationError: if the app lacks a setting for it.
        """
        self._send(self._link_sender, request, user)

    def send_notice(self, request: Request | None, user: object) -> None:
        """Tell an account's owner that somebody signed up with the address; as :meth:`send_link`."""
        self._send(self._notice_sender, request, user)

    def _send(self, sender: Send, request: Request | None, user: object) -> None:
        try:
            if isinstance(sender, ConnectingSender):
                deliver = self._delivers[sender.connect]
                deliver(lambda: sender.build(self._registration, request, user))
            else:
                sender(request, user)
        except (ConfigurationError, EmailNotSent):
            raise
        except Exception as error:  # templates, hooks and senders of the application's own may raise anything
            failure = failure_of(error)
        else:
            return
        raise failure


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
