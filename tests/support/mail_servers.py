"""A mail server on a free loopback port that records what it gets, and misbehaves as it is told."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from typing_extensions import Self

#: A key and a certificate for ``localhost`` and ``127.0.0.1`` that nobody else signed.
CERTIFICATE = Path(__file__).with_name("loopback.pem")

#: The steps of a delivery, by what the server answers: ``CONNECT`` is the greeting, ``TEXT`` is the mail itself.
Step = Literal["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "TEXT", "QUIT"]

_GIVE_UP_AFTER = 30.0


def tls_context() -> ssl.SSLContext:
    """Make the context of a server that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


class LoopbackServer(ABC):
    """A server in a thread of its own while the context lasts; it leaves neither thread nor socket behind."""

    port: int

    def __init__(self) -> None:
        self.transports: list[asyncio.WriteTransport] = []
        self._ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_GIVE_UP_AFTER), "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close every connection and end the thread; a stopped server refuses connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(_GIVE_UP_AFTER)
            assert not self._thread.is_alive(), "the server did not stop"

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await self.listen("127.0.0.1")
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        await _let_the_loop_turn()  # a connection that was just accepted becomes one that can be closed
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for transport in self.transports:
            transport.abort()
        await _let_the_loop_turn()  # a transport tells its protocol of its end in a later turn

    @abstractmethod
    async def listen(self, host: str) -> asyncio.Server:
        """Listen on a free port; whatever is accepted has its transport in ``transports``."""


async def _let_the_loop_turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@dataclass
class HangUp:
    """A fault: in place of its answer to a step, the server closes the connection.

    The subclasses do something before. At ``TEXT`` a fault comes after the first line of the mail.
    """

    at: Step = "CONNECT"
    #: Set when a client has come so far.
    has_begun: Event = field(default_factory=Event)

    async def happen(self, writer: asyncio.StreamWriter) -> None:
        """Do what comes before the end of the connection."""


class Silence(HangUp):
    """Says nothing, and keeps the connection."""

    async def happen(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()


@dataclass
class Drip(HangUp):
    """Sends its answer a byte at a time, and never comes to its end.

    :param interval: the pause between two bytes in seconds.
    """

    interval: float = 0.02

    async def happen(self, writer: asyncio.StreamWriter) -> None:
        writer.write({"CONNECT": b"220-", "DATA": b"354-", "QUIT": b"221-"}.get(self.at, b"250-"))
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(self.interval)


class CloseDown(HangUp):
    """Says that the service is not available, and closes."""

    async def happen(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"421 4.3.2 try again later\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@dataclass(frozen=True)
class Delivery:
    """The envelope of one mail, as the commands named it."""

    sender: str
    recipients: list[str]
    content: bytes


@dataclass(kw_only=True, eq=False, repr=False)
class RecordingServer(LoopbackServer):
    """A mail server that accepts and keeps what it gets. The replies may be changed while it runs.

    :param rcpt_reply: the answer to RCPT instead of acceptance, for example ``"550 no such user"``.
    :param mail_reply: the answer to MAIL FROM instead of acceptance.
    :param text_reply: the answer to the mail's text instead of acceptance.
    :param security: ``"starttls"`` demands STARTTLS, ``"tls"`` speaks TLS from the first byte.
    :param login: the user name and password that are demanded.
    :param on_text: called in the server's thread before a mail's text is answered.
    :param fault: how it misbehaves, and at which step: ``Silence("RCPT")``.
    """

    rcpt_reply: str | None = None
    mail_reply: str | None = None
    text_reply: str | None = None
    security: Literal["starttls", "tls"] | None = None
    login: tuple[str, str] | None = None
    on_text: Callable[[], object] | None = None
    fault: HangUp | None = None
    messages: list[EmailMessage] = field(init=False, default_factory=list)
    envelopes: list[Delivery] = field(init=False, default_factory=list)
    #: One entry for each connection: ``[["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]]``.
    conversations: list[list[str]] = field(init=False, default_factory=list)
    #: What the clients called themselves.
    ehlo_names: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def message(self) -> EmailMessage:
        """The only mail so far."""
        assert len(self.messages) == 1, f"expected one mail, got {len(self.messages)}"
        return self.messages[0]

    @property
    def connections(self) -> int:
        return len(self.conversations)

    async def listen(self, host: str) -> asyncio.Server:
        tls = tls_context() if self.security == "tls" else None
        return await asyncio.get_running_loop().create_server(lambda: _Conversation(self), host, 0, ssl=tls)


class _Conversation(SMTP):
    """One connection; for its commands aiosmtpd calls what begins with ``handle_``."""

    def __init__(self, server: RecordingServer) -> None:
        self.commands: list[str] = []
        self._server = server
        server.conversations.append(self.commands)
        is_starttls = server.security == "starttls"
        super().__init__(
            self,
            hostname="localhost",
            tls_context=tls_context() if is_starttls else None,
            require_starttls=is_starttls,
            auth_require_tls=False,
            authenticator=self._log_in,
            loop=asyncio.get_running_loop(),
        )

    def _log_in(self, smtp: object, session: object, envelope: object, mechanism: str, data: Any) -> AuthResult:
        is_right = (data.login.decode(), data.password.decode()) == self._server.login
        return AuthResult(success=is_right, handled=False, auth_data=data)

    async def handle_EHLO(  # noqa: N802  the name is aiosmtpd's
        self, smtp: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.commands.append("EHLO")
        session.host_name = hostname
        self._server.ehlo_names.append(hostname)
        return responses

    async def handle_MAIL(self, smtp: SMTP, session: Session, envelope: Envelope, address: str, options: object) -> str:  # noqa: N802
        self.commands.append("MAIL")
        if self._server.login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = None if self._server.mail_reply else address
        return self._server.mail_reply or "250 OK"

    async def handle_RCPT(self, smtp: SMTP, session: Session, envelope: Envelope, address: str, options: object) -> str:  # noqa: N802
        self.commands.append("RCPT")
        envelope.rcpt_tos += [] if self._server.rcpt_reply else [address]
        return self._server.rcpt_reply or "250 OK"

    async def handle_DATA(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.commands.append("DATA")
        if self._server.on_text:
            self._server.on_text()
        if self._server.text_reply:
            return self._server.text_reply
        content = envelope.original_content or b""
        self._server.envelopes.append(Delivery(str(envelope.mail_from), [*envelope.rcpt_tos], content))
        self._server.messages.append(BytesParser(EmailMessage, policy=policy.default).parsebytes(content))
        return "250 OK"

    async def handle_QUIT(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.commands.append("QUIT")
        return "221 Bye"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._server.transports.append(transport)
        super().connection_made(transport)

    async def push(self, status: Any) -> None:
        """Answer, unless the server is to misbehave at this step."""
        fault = self._server.fault
        step = self.commands[-1] if self.commands else "CONNECT"
        if str(status).startswith("354"):
            step = "DATA"
            if fault and fault.at == "TEXT":
                await super().push(status)
                await self._reader.readline()
                step = "TEXT"
        if fault is None or fault.at != step:
            await super().push(status)
            return
        fault.has_begun.set()
        with suppress(OSError):  # the client may hang up first
            await fault.happen(self._writer)
        self._writer.transport.abort()
        await asyncio.Event().wait()  # until connection_lost() cancels this task
