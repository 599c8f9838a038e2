"""Delivery over SMTP within a time of its own, which neither Flask-Mail nor smtplib has.

smtplib's time-out is one per socket operation: a server that drips a byte a second keeps its client for ever. Here
every operation gets what is left of one deadline. A watching thread would do as well, but servers such as uWSGI run
without threads unless told otherwise. The look-up of a host's name is the operating system's, with its own time-out.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any, cast

from flask_mail import Connection


class Step(Enum):
    """How far a delivery has come; the words are for people."""

    CONNECTING = "connecting"
    TLS = "TLS"
    LOG_IN = "log-in"
    SENDER = "sender"
    RECIPIENT = "recipient"
    TEXT = "text"


class Progress:
    """The step that a delivery is at, also when that step raises."""

    step = Step.CONNECTING


class Deadline:
    """A point in time by which the whole delivery has to be over.

    :param seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    def seconds_left(self) -> float:
        """Return what is left.

        :returns: seconds, more than zero.
        :raises TimeoutError: if nothing is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the delivery took longer than VERIFICATION_EMAIL_TIMEOUT")
        return left


class _DeadlineOperations(socket.socket):
    """The operations that smtplib uses, each bounded by what is left."""

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

    sslsocket_class = _DeadlineTLSSocket

    @classmethod
    def with_default_certificates(cls) -> DeadlineTLSContext:
        """Make a context that trusts what the system trusts, or SSL_CERT_FILE; reading that takes some 50 ms."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        return context

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Wrap a socket that has a deadline."""
        deadline = cast(_DeadlineOperations, sock).deadline  # as _DeadlineSMTP makes its sockets
        sock.settimeout(deadline.seconds_left())
        wrapped: Any = super().wrap_socket(sock, *args, **kwargs)
        wrapped.deadline = deadline
        return wrapped  # type: ignore[no-any-return]  # an instance of sslsocket_class


class _DeadlineSMTP(smtplib.SMTP):
    """smtplib's client, every step bounded by one deadline; ``tls`` is for TLS from the first byte on."""

    def __init__(
        self, server: str, port: int, *, deadline: Deadline, progress: Progress, tls: ssl.SSLContext | None
    ) -> None:
        self._deadline = deadline
        self._progress = progress
        self._tls = tls
        self.has_delivered = False
        super().__init__(server, port, timeout=deadline.seconds_left())

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected = connect(host, port, self._deadline)
        if self._tls is None:
            return connected
        self._progress.step = Step.TLS
        try:
            wrapped = self._tls.wrap_socket(connected, server_hostname=host)
        except BaseException:
            connected.close()
            raise
        self._progress.step = Step.CONNECTING
        return wrapped

    def starttls(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self._progress.step = Step.TLS
        return super().starttls(*args, **kwargs)

    def login(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self._progress.step = Step.LOG_IN
        return super().login(*args, **kwargs)

    def mail(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self._progress.step = Step.SENDER
        return super().mail(*args, **kwargs)

    def rcpt(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self._progress.step = Step.RECIPIENT
        return super().rcpt(*args, **kwargs)

    def data(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self._progress.step = Step.TEXT
        return super().data(*args, **kwargs)

    def sendmail(self, *args: Any, **kwargs: Any) -> dict[str, tuple[int, bytes]]:
        refused = super().sendmail(*args, **kwargs)
        self.has_delivered = True
        return refused


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first of a host's addresses that answers; socket.create_connection has no common deadline.

    :param host: the name or address.
    :param port: the port.
    :param deadline: for connecting and for every operation of the socket afterwards.
    :returns: a connected socket.
    :raises OSError: if none answers in time.
    """
    failure: OSError = OSError(f"no address of {host} was found")
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


class DeliveryConnection(Connection):
    """Flask-Mail's connection for one message, opened, used and closed within a deadline.

    The server's certificate is verified, which Flask-Mail alone does not do. The dialogue is never printed
    (MAIL_DEBUG has no effect), since the log-in and the link are part of it.

    :param mail: Flask-Mail's state of the app.
    :param deadline: for everything from connecting on.
    :param tls_context: makes or finds the context for a server that is to be reached by TLS.
    """

    def __init__(self, mail: Any, deadline: Deadline, tls_context: Callable[[], DeadlineTLSContext]) -> None:
        super().__init__(mail)
        self._deadline = deadline
        self._tls_context = tls_context
        self._progress = Progress()

    @property
    def step(self) -> Step:
        """The step that the delivery is at, or that has failed."""
        return self._progress.step

    @property
    def has_delivered(self) -> bool:
        """Whether the server has accepted the message's text."""
        return isinstance(self.host, _DeadlineSMTP) and self.host.has_delivered

    def __enter__(self) -> DeliveryConnection:
        super().__enter__()
        # MAIL_MAX_EMAILS makes Flask-Mail connect again after so many mails; ours is the only one, and a fault of
        # the new connection would undo a sign-up whose mail is out. This count never gets there.
        self.num_emails = -2
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; a fault at QUIT is not ours, the mail was accepted or refused by then."""
        if self.host is None:
            return
        try:
            self.host.quit()
        except (smtplib.SMTPException, OSError):
            self.host.close()

    def configure_host(self) -> smtplib.SMTP:
        """Connect, secure and log in, and wait until the server has answered to it all.

        :returns: a client that is ready to send.
        :raises OSError: if a step fails or the time is over; smtplib's errors are OSErrors too.
        """
        mail = self.mail
        context = self._tls_context() if mail.use_ssl or mail.use_tls else None
        host = _DeadlineSMTP(
            mail.server,
            mail.port or 0,
            deadline=self._deadline,
            progress=self._progress,
            tls=context if mail.use_ssl else None,
        )
        try:
            host.ehlo_or_helo_if_needed()
            if mail.use_tls:
                host.starttls(context=context)
                host.ehlo_or_helo_if_needed()
            if mail.username and mail.password:
                host.login(mail.username, mail.password)
        except BaseException:
            host.close()
            raise
        return host
