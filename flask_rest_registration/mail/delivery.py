"""Delivery: which sender carries a mail, and SMTP within one deadline.

smtplib's time-out is one per socket operation: a server that sends a byte a second keeps its client for ever. Here
every operation gets what is left of one deadline; a watching thread is no way, since uWSGI runs without threads unless
told otherwise. The look-up of a host's name is the operating system's, with its own time-out.
"""

from __future__ import annotations

import io
import os
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol, cast

from flask import Request
from flask_mail import Message, email_dispatched

from .. import clock
from ..exceptions import ConfigurationError, EmailNotSent, RecipientRefused
from ..model.pending import PendingRegistrationMixin
from ..safe_logging import raise_alone, traceback_without_secrets, traceback_without_text
from ..settings.definitions import OwnSender
from ..signers import make_code
from ..state import AppState, current_state
from .messages import (
    VerificationMail,
    existing_account_message,
    mail_state,
    recipient_of,
    sender_address,
    verification_message,
)

Send = Callable[[Request | None, object], object]


# Senders


class Transport(Protocol):
    """What carries one mail."""

    def connect(self, sender: str, recipient: str) -> AbstractContextManager[object]:
        """Return a context in which the server is ready for the text: it has accepted sender and recipient.

        :param sender: the address that the mail comes from, in ASCII.
        :param recipient: the address that it goes to, in ASCII.
        :raises EmailNotSent: if it is not ready in time; ``RecipientRefused`` if there is no such mailbox.
        """

    def send(self, mail: VerificationMail) -> None:
        """Hand the text over, inside that context; raise ``EmailNotSent`` if it is not accepted in time."""


@dataclass(frozen=True)
class PackageSender(OwnSender):
    """A sender that asks for the addresses before the transaction, so that only the text's transfer lies inside it.

    With a silent mail server, or a recipient that takes seconds, sign-ups would otherwise hold every database
    connection, or SQLite's only lock.

    :param transport: makes the transport for one mail.
    :param build: renders the mail to an account or a pending registration.
    """

    transport: Callable[[AppState], Transport]
    build: Callable[[AppState, Request | None, object], VerificationMail]

    def __call__(self, request: Request | None, user: object) -> None:
        """Render the mail and send it.

        :param request: the request that caused it, or None in a script.
        :param user: a stored account, or a pending registration.
        :raises EmailNotSent: if the mail server did not accept it within VERIFICATION_EMAIL_TIMEOUT;
            ``RecipientRefused``, a subclass, if there is no such mailbox.
        :raises ConfigurationError: if the app lacks a setting for it.
        """
        mailer = Mailer(current_state(), self, user=user)
        with mailer.connect():
            mailer.send(request, user)


class Mailer:
    """Sends one mail by a sender of the settings; what can wait without a transaction does so in ``connect()``.

    :param user: who gets it: an account, which need not be stored yet, or a pending registration.
    :raises RecipientRefused: if the user's address is not exactly one.
    """

    def __init__(self, state: AppState, sender: Send, *, user: object) -> None:
        self._state = state
        self._sender = sender
        self._transport = sender.transport(state) if isinstance(sender, PackageSender) else None
        self._recipient = "" if self._transport is None else recipient_of(state, user)
        #: Returns a context in which the mail can be sent, as ``connect()`` of a transport does.
        self.connect: Callable[[], AbstractContextManager[object]] = nullcontext
        if self._transport is not None:
            self.connect = partial(self._transport.connect, sender_address(state)[1], self._recipient)

    def send(
        self,
        request: Request | None,
        user: object,
        *,
        sent: object = None,
        when_built: Callable[[], object] | None = None,
    ) -> None:
        """Send the mail; raise ``EmailNotSent`` if it was not sent, and what templates and hooks raise as it is.

        :param sent: what the visitor sent, which is struck out of what is logged of a sender of the application's own.
        :param when_built: called between rendering and delivery: templates and hooks may have read the database.
        """
        sender, transport = self._sender, self._transport
        if not isinstance(sender, PackageSender) or transport is None:
            try:
                sender(request, user)
            except (ConfigurationError, EmailNotSent):
                raise
            except Exception as error:  # an HTTPException too
                raise_alone(self._failure_of_own_sender(error, user, sent))
            return
        mail = sender.build(self._state, request, user)
        if mail.recipient != self._recipient:  # the link proves control of an address that it would not go to
            raise ConfigurationError(
                f"{type(user).__name__} changed its e-mail address when it was stored. Fix: change addresses in the"
                " serializer, not in an event of the INSERT."
            )
        if when_built is not None:
            when_built()
        transport.send(mail)

    def _failure_of_own_sender(self, error: Exception, user: object, sent: object) -> EmailNotSent:
        failure = failure_of(error)
        if isinstance(failure, RecipientRefused):
            return failure
        secrets = [*vars(user).values(), *(sent.values() if isinstance(sent, Mapping) else ())]
        if isinstance(user, PendingRegistrationMixin):
            secrets += [make_code(self._state, user)]
        return EmailNotSent(traceback_without_secrets(error, *map(str, secrets)))


# RFC 3463: subject 1 is about addresses; of those, X.1.7 and X.1.8 are about the sender's. X.2.1: mailbox disabled.
# Some servers write "#5.7.1" or "5.7.1:".
_ENHANCED_STATUS = re.compile(r"#?([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_MAILBOX_STATUS = re.compile(r"5\.(1\.(?!7$|8$)\d+|2\.1)")
_MAILBOX_REPLIES = {"550", "551", "553"}  # RFC 5321, section 4.2.2, without an enhanced status


def failure_of(error: Exception) -> EmailNotSent:
    """Say why a mail was not sent, for the log: without addresses, links and log-ins, which servers like to quote."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        statuses = [_status_of(*reply) for reply in error.recipients.values()]
        is_about_mailbox = statuses and all(
            _MAILBOX_STATUS.fullmatch(enhanced) and code[0] == "5" if enhanced else code in _MAILBOX_REPLIES
            for code, enhanced in statuses
        )
        kind = RecipientRefused if is_about_mailbox else EmailNotSent
        return kind(f"recipient refused, {', '.join(' '.join(status).strip() for status in statuses)}")
    if not isinstance(error, OSError):
        return EmailNotSent(traceback_without_text(error))
    reason = type(error).__name__
    if isinstance(error, smtplib.SMTPResponseException):
        reason += f", {' '.join(_status_of(error.smtp_code, error.smtp_error)).strip()}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        reason += f", {error.verify_message}"
    elif isinstance(error, ssl.SSLError):  # its errno is one of OpenSSL's
        reason += f", {error.reason}"
    elif isinstance(error, socket.gaierror):
        reason += ", the mail server's name was not found"
    elif error.errno is not None:
        reason += f", {os.strerror(error.errno)}"
    return EmailNotSent(reason)


def _status_of(code: int, reply: bytes | str) -> tuple[str, str]:
    """Return a reply's code, and its enhanced status (RFC 2034) if it has one."""
    text = reply.decode("ascii", "replace") if isinstance(reply, bytes) else reply
    enhanced = _ENHANCED_STATUS.match(text)
    return str(code), enhanced[1] if enhanced else ""


# SMTP


class Step(Enum):
    """How far a delivery has come; the words are for people."""

    CONNECTING = "connecting"
    TLS = "TLS"
    LOG_IN = "log-in"
    SENDER = "sender"
    RECIPIENT = "recipient"
    TEXT = "text"


class SMTPTransport:
    """SMTP by Flask-Mail's settings, for one mail, all of it within VERIFICATION_EMAIL_TIMEOUT.

    The server's certificate is verified, which Flask-Mail alone does not do. The dialogue is never printed
    (MAIL_DEBUG has no effect), since the log-in and the link are part of it.
    """

    def __init__(self, state: AppState) -> None:
        self.mail: Any = mail_state(state)
        self._state = state
        self._client: smtplib.SMTP | None = None
        self.deadline: Deadline = Deadline(state.settings.verification_email_timeout.total_seconds())
        #: The step that the delivery is at, or that has failed.
        self.step: Step = Step.CONNECTING

    @contextmanager
    def connect(self, sender: str, recipient: str) -> Iterator[None]:
        """Connect, secure, log in and name sender and recipient; with MAIL_SUPPRESS_SEND do nothing."""
        if self.mail.suppress:
            yield
            return
        client = self._client = smtplib.SMTP(local_hostname="")  # it has no server yet
        try:
            try:
                self._open(client)
                self.step = Step.SENDER
                code, reply = client.mail(sender)
                if code != 250:
                    raise smtplib.SMTPSenderRefused(code, reply, sender)
                self.step = Step.RECIPIENT
                code, reply = client.rcpt(recipient)
                if code not in {250, 251}:
                    raise smtplib.SMTPRecipientsRefused({recipient: (code, reply)})
            except (OSError, ValueError) as error:  # smtplib's are OSErrors; odd characters in a log-in a ValueError
                raise_alone(self._failure_of(error))
            yield
        finally:
            try:
                client.quit()
            except (smtplib.SMTPException, OSError):  # of no interest: the mail was accepted or refused by now
                client.close()

    def _open(self, client: smtplib.SMTP) -> None:
        mail = self.mail
        connection = connect(mail.server, mail.port or 25, self.deadline)
        client.sock = cast(Any, connection)
        # smtplib would look the machine's own name up, which may take longer than the deadline.
        client.local_hostname = connection.name_for_ehlo
        if mail.use_ssl:
            self.step = Step.TLS
            client.sock = self._encrypt(connection)
            self.step = Step.CONNECTING
        code, greeting = client.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, greeting)
        client.ehlo_or_helo_if_needed()
        if mail.use_tls:
            self.step = Step.TLS
            client.starttls(context=cast(Any, SimpleNamespace(wrap_socket=self._encrypt)))
            client.ehlo_or_helo_if_needed()
        if mail.username and mail.password:
            self.step = Step.LOG_IN
            client.login(mail.username, mail.password)

    def _encrypt(self, plain: DeadlineSocket, *, server_hostname: object = None) -> Any:
        """Do what ``SSLContext.wrap_socket`` does for smtplib, which does not know the server's name here."""
        state = self._state
        state.tls_context = tls_context(state.tls_context)
        return plain.encrypted(state.tls_context, self.mail.server)

    def send(self, mail: VerificationMail) -> None:
        """Hand the text over, and tell receivers of Flask-Mail's ``email_dispatched``."""
        client, text = self._client, b"" if self._client is None else bytes(mail)
        if client is not None:
            self.step = Step.TEXT
            try:
                code, reply = client.data(text)
                if code != 250:
                    raise smtplib.SMTPDataError(code, reply)
            except (OSError, ValueError) as error:
                raise_alone(self._failure_of(error))
        if not email_dispatched.receivers:
            return
        try:
            email_dispatched.send(self._state.app, message=_flask_mail_message(mail))
        except Exception as error:
            if client is None:  # nothing is out: as good as a delivery that failed
                raise_alone(failure_of(error))
            told = traceback_without_secrets(error, mail.text, mail.html or "")
            self._state.app.logger.error("A receiver of email_dispatched failed: %s", told)  # noqa: TRY400  # struck out

    def _failure_of(self, error: Exception) -> EmailNotSent:
        return EmailNotSent("time-out") if self.deadline.has_passed else failure_of(error)


def _flask_mail_message(mail: VerificationMail) -> Message:
    """Make what receivers of ``email_dispatched`` expect, without the constructor, which looks the host's name up."""
    headers = dict(mail.headers)
    message = Message.__new__(Message)
    vars(message).update(
        {name: [] for name in ("cc", "bcc", "mail_options", "rcpt_options", "attachments")},
        subject=mail.subject,
        recipients=[mail.recipient],
        body=mail.text,
        alts={} if mail.html is None else {"html": mail.html},
        sender=mail.sender if mail.sender[0] else mail.sender[1],
        reply_to=mail.reply_to if mail.reply_to[0] else mail.reply_to[1],
        date=clock.now(),
        msgId=headers.pop("Message-ID"),
        charset=None,
        extra_headers=headers,
    )
    return message


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


class DeadlineSocket(io.RawIOBase):
    """A connected socket that gives each operation what is left of a deadline.

    It has a socket and is none: gevent replaces the classes of ``socket`` and ``ssl`` at run time, after which classes
    that inherit from the old ones no longer work.
    """

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = connected, deadline
        self._reader = connected.makefile("rb", buffering=0)  # the socket closes when all its files are closed

    @property
    def name_for_ehlo(self) -> str:
        """The machine's full name if it knows it itself, else this side's address (RFC 5321, section 4.1.3)."""
        try:
            name = socket.gethostname().encode("idna").decode()
        except UnicodeError:
            name = ""
        if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name):
            return name
        address = str(self._socket.getsockname()[0]).partition("%")[0]
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    def encrypted(self, context: ssl.SSLContext, host: str) -> DeadlineSocket:
        """Return the same connection inside TLS, to a host whose certificate is verified."""
        self._socket.settimeout(self._deadline.seconds_left())
        return DeadlineSocket(context.wrap_socket(self._socket, server_hostname=host), self._deadline)

    def makefile(self, *_: object) -> io.BufferedReader:
        """Return a file to read from."""
        return io.BufferedReader(DeadlineSocket(self._socket, self._deadline))

    def readable(self) -> bool:
        """Tell ``io`` that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has come, at most as much as the buffer holds."""
        self._socket.settimeout(self._deadline.seconds_left())
        return self._reader.readinto(buffer)

    def sendall(self, data: bytes) -> None:
        """Send all, in the time that is left for all of it."""
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(self._deadline.seconds_left())
            rest = rest[self._socket.send(rest) :]

    def close(self) -> None:
        """Close the connection, once no file of it is open."""
        self._reader.close()
        self._socket.close()
        super().close()


def tls_context(known: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """Return a context that verifies certificates and names; making one takes some 50 ms.

    It trusts what the system trusts, or SSL_CERT_FILE.

    :param known: one that was made before; it is of no use when gevent has replaced the class since.
    """
    if type(known) is ssl.SSLContext:
        return known
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def connect(host: str, port: int, deadline: Deadline) -> DeadlineSocket:
    """Connect to the first of a host's addresses that answers; raise ``OSError`` if none does in time.

    The deadline, which socket.create_connection lacks, bounds every later operation too. A silent address, as of a
    broken IPv6, leaves its share of the time to those that follow.
    """
    failure = OSError(f"no address of {host} was found")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, address) in enumerate(found):
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.settimeout(deadline.seconds_left() / (len(found) - number))
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            failure = error
        else:
            return DeadlineSocket(candidate, deadline)
    raise failure


#: Renders the mail that asks its reader to verify the address, and delivers it by SMTP; the default
#: REGISTER_VERIFICATION_EMAIL_SENDER. Its parameters are the request that caused it, or None in a script, and a stored
#: account or a pending registration.
send_register_verification_email_notification: PackageSender = PackageSender(SMTPTransport, verification_message)

#: Tells an account holder that somebody signed up with the address; the default REGISTER_EXISTING_EMAIL_SENDER. Its
#: parameters are the request that caused it, of which nothing is in the mail, or None in a script, and the pending
#: registration with the address or a stored account.
send_existing_account_email_notification: PackageSender = PackageSender(SMTPTransport, existing_account_message)
