"""Delivery: which sender carries a mail, and SMTP within one deadline.

smtplib's time-out is one per socket operation: a server that sends a byte a second keeps its client for ever. Here
every operation gets what is left of one deadline; a watching thread is no way, since uWSGI runs without threads unless
told otherwise. The look-up of a host's name is the operating system's, with its own time-out.
"""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, cast

from flask import Request
from flask_mail import Connection, Message

from ..exceptions import ConfigurationError, EmailNotSent, RecipientRefused
from ..safe_logging import log_exception, raise_alone, traceback_without_text
from ..settings.definitions import OwnSender
from ..state import AppState, current_state
from .messages import existing_account_message, mail_state, verification_message

Send = Callable[[Request | None, object], object]


# Senders


class Transport(Protocol):
    """What carries one mail."""

    def connect(self) -> AbstractContextManager[object]:
        """Return a context in which the server is connected, secured and logged in; raise ``EmailNotSent`` if not."""

    def send(self, message: Message) -> None:
        """Hand the mail over, inside that context; raise ``EmailNotSent`` if it is not accepted in time."""


@dataclass(frozen=True)
class PackageSender(OwnSender):
    """A sender that connects before the transaction, so that only the mail's transfer lies inside it.

    With a silent mail server 18 sign-ups would otherwise hold every database connection, or SQLite's only lock.

    :param transport: makes the transport for one mail.
    :param build: renders the mail to an account or a pending registration.
    """

    transport: Callable[[AppState], Transport]
    build: Callable[[AppState, Request | None, object], Message]

    def __call__(self, request: Request | None, user: object) -> None:
        """Render the mail and send it.

        :param request: the request that caused it, or None in a script.
        :param user: a stored account, or a pending registration.
        :raises EmailNotSent: if the mail server did not accept it within VERIFICATION_EMAIL_TIMEOUT;
            ``RecipientRefused``, a subclass, if it refused the recipient for good.
        :raises ConfigurationError: if the app lacks a setting for it.
        """
        state = current_state()
        transport = self.transport(state)
        with transport.connect():
            transport.send(self.build(state, request, user))


class Mailer:
    """Sends one mail by a sender of the settings; what can wait without a transaction does so in ``connect()``."""

    def __init__(self, state: AppState, sender: Send) -> None:
        self._state = state
        self._sender = sender
        self._transport = sender.transport(state) if isinstance(sender, PackageSender) else None
        #: Returns a context in which the mail can be sent, as ``connect()`` of a transport does.
        self.connect: Callable[[], AbstractContextManager[object]] = (
            nullcontext if self._transport is None else self._transport.connect
        )

    def send(self, request: Request | None, user: object, *, when_built: Callable[[], object] | None = None) -> None:
        """Send the mail; raise ``EmailNotSent`` if it was not sent, ``ConfigurationError`` if a setting is missing.

        :param when_built: called between rendering and delivery: templates and hooks may have read the database.
        """
        sender, transport = self._sender, self._transport
        try:
            if not isinstance(sender, PackageSender) or transport is None:
                sender(request, user)
                return
            message = sender.build(self._state, request, user)
            if when_built is not None:
                when_built()
            transport.send(message)
        except (ConfigurationError, EmailNotSent):
            raise
        except Exception as error:  # templates, hooks and senders of the application's own may raise anything
            raise_alone(failure_of(error))


def failure_of(error: Exception) -> EmailNotSent:
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


# SMTP


class Step(Enum):
    """How far a delivery has come; the words are for people."""

    CONNECTING = "connecting"
    TLS = "TLS"
    LOG_IN = "log-in"
    SENDER = "sender"
    RECIPIENT = "recipient"
    TEXT = "text"


_STEP_OF_COMMAND = {"MAIL": Step.SENDER, "RCPT": Step.RECIPIENT, "DATA": Step.TEXT}


class SMTPTransport(Connection):
    """Flask-Mail's connection for one mail, opened, used and closed within VERIFICATION_EMAIL_TIMEOUT.

    The server's certificate is verified, which Flask-Mail alone does not do. The dialogue is never printed
    (MAIL_DEBUG has no effect), since the log-in and the link are part of it.
    """

    def __init__(self, state: AppState) -> None:
        super().__init__(mail_state(state))
        self._state = state
        self.deadline: Deadline = Deadline(state.settings.verification_email_timeout.total_seconds())
        #: The step that the delivery is at, or that has failed.
        self.step: Step = Step.CONNECTING

    @contextmanager
    def connect(self) -> Iterator[None]:
        """Connect, secure and log in, and wait until the server has answered to it all."""
        try:
            self.__enter__()  # Flask-Mail's, which respects MAIL_SUPPRESS_SEND
        except (OSError, ValueError) as error:  # smtplib's are OSErrors; odd characters in a log-in are a ValueError
            raise_alone(self._failure_of(error))
        # MAIL_MAX_EMAILS makes Flask-Mail connect again after so many mails, though ours is the only one; a fault of
        # the new connection would undo a sign-up whose mail is out. This count never gets there.
        self.num_emails = -2
        try:
            yield
        finally:
            if self.host is not None:
                try:
                    self.host.quit()
                except (smtplib.SMTPException, OSError):  # of no interest: the mail was accepted or refused by now
                    self.host.close()

    def configure_host(self) -> smtplib.SMTP:
        """Make the client; Flask-Mail calls it unless MAIL_SUPPRESS_SEND is true."""
        mail, state = self.mail, self._state
        if (mail.use_ssl or mail.use_tls) and state.tls_context is None:
            state.tls_context = DeadlineTLSContext.with_default_certificates()
        client = _Client(self, state.tls_context if mail.use_ssl else None)
        try:
            client.ehlo_or_helo_if_needed()
            if mail.use_tls:
                self.step = Step.TLS
                client.starttls(context=state.tls_context)
                client.ehlo_or_helo_if_needed()
            if mail.username and mail.password:
                self.step = Step.LOG_IN
                client.login(mail.username, mail.password)
        except BaseException:
            client.close()
            raise
        return client

    def send(self, message: Message, envelope_from: Any = None) -> None:
        """Hand the mail over."""
        try:
            super().send(message, envelope_from)
        except Exception as error:
            if isinstance(self.host, _Client) and self.host.has_delivered:  # the mail is out, and is not undone
                log_exception(self._state.app, "A receiver of email_dispatched failed", error)
            elif isinstance(error, (OSError, ValueError)):
                raise_alone(self._failure_of(error))
            else:
                raise

    def _failure_of(self, error: Exception) -> EmailNotSent:
        return EmailNotSent("time-out") if self.deadline.has_passed else failure_of(error)


class _Client(smtplib.SMTP):
    """smtplib's client, every step bounded by one deadline; ``tls`` is for TLS from the first byte on."""

    def __init__(self, transport: SMTPTransport, tls: ssl.SSLContext | None) -> None:
        self._transport = transport
        self._tls = tls
        self.has_delivered = False
        timeout = transport.deadline.seconds_left()
        super().__init__(transport.mail.server, transport.mail.port or 0, timeout=timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected = connect(host, port, self._transport.deadline)
        if self._tls is None:
            return connected
        self._transport.step = Step.TLS
        try:
            wrapped = self._tls.wrap_socket(connected, server_hostname=host)
        except BaseException:
            connected.close()
            raise
        self._transport.step = Step.CONNECTING
        return wrapped

    def putcmd(self, cmd: str, args: str = "") -> None:
        self._transport.step = _STEP_OF_COMMAND.get(cmd.upper(), self._transport.step)
        super().putcmd(cmd, args)

    def sendmail(self, *args: Any, **kwargs: Any) -> dict[str, tuple[int, bytes]]:
        refused = super().sendmail(*args, **kwargs)
        self.has_delivered = True
        return refused


# The deadline


class Deadline:
    """A point in time, so many seconds from now, by which a whole exchange has to be over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    def seconds_left(self) -> float:
        """Return how many seconds are left; raise ``TimeoutError`` if none is."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the delivery took longer than VERIFICATION_EMAIL_TIMEOUT")
        return left


class _DeadlineOperations(socket.socket):
    """The operations that smtplib and http.client use, each bounded by what is left."""

    deadline: Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.deadline.seconds_left())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.deadline.seconds_left())
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(self.deadline.seconds_left())
        super().sendall(*args, **kwargs)


class _DeadlineTLSSocket(_DeadlineOperations, ssl.SSLSocket):
    """The same inside TLS."""


class DeadlineTLSContext(ssl.SSLContext):
    """Verifies the server's certificate and name; its sockets keep their deadline, the handshake included."""

    sslsocket_class: type[ssl.SSLSocket] = _DeadlineTLSSocket

    @classmethod
    def with_default_certificates(cls) -> DeadlineTLSContext:
        """Make a context that trusts what the system trusts, or SSL_CERT_FILE; reading that takes some 50 ms."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        return context

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Wrap a socket that :func:`connect` made."""
        deadline = cast(_DeadlineOperations, sock).deadline
        sock.settimeout(deadline.seconds_left())
        wrapped: Any = super().wrap_socket(sock, *args, **kwargs)
        wrapped.deadline = deadline
        return wrapped  # type: ignore[no-any-return]  # an instance of sslsocket_class


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first of a host's addresses that answers; raise ``OSError`` if none does in time.

    The deadline, which socket.create_connection lacks, bounds every later operation too.
    """
    failure = OSError(f"no address of {host} was found")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        candidate = _DeadlineOperations(family, kind, protocol)
        candidate.deadline = deadline
        try:
            candidate.settimeout(deadline.seconds_left())
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            failure = error
        else:
            return candidate
    raise failure


#: Renders the mail that asks its reader to verify the address, and delivers it by SMTP; the default
#: REGISTER_VERIFICATION_EMAIL_SENDER. Its parameters are the request that caused it, or None in a script, and a stored
#: account or a pending registration.
send_register_verification_email_notification: PackageSender = PackageSender(SMTPTransport, verification_message)

#: Tells an account holder that somebody signed up with the address; the default REGISTER_EXISTING_EMAIL_SENDER. Its
#: parameters are the request that caused it, of which nothing is in the mail, or None in a script, and the pending
#: registration with the address or a stored account.
send_existing_account_email_notification: PackageSender = PackageSender(SMTPTransport, existing_account_message)
