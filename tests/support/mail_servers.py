"""Mail servers on a free loopback port: one that records, and several that misbehave.

All are context managers. They run in a thread of their own and leave neither thread nor socket behind.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import ClassVar, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from typing_extensions import Self

#: A key and a certificate for ``localhost`` and ``127.0.0.1`` that nobody else signed.
CERTIFICATE = Path(__file__).with_name("loopback.pem")

Moment = Literal["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "TEXT", "QUIT"]

_GIVE_UP_AFTER = 30.0


class LoopbackServer(ABC):
    """A server that listens on a free port while the context lasts."""

    port: int

    def __init__(self) -> None:
        self._ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_GIVE_UP_AFTER), "the server did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        server = await self._listen()
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        """End what the connections do, and let their transports close."""
        await _let_the_loop_turn()  # a connection that was just accepted becomes one that can be closed
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._abort_connections()
        await _let_the_loop_turn()  # a transport's end is told to its protocol in a later turn

    @abstractmethod
    async def _listen(self) -> asyncio.Server: ...

    @abstractmethod
    def _abort_connections(self) -> None: ...


@dataclass(frozen=True)
class Delivery:
    """The envelope of one mail, as the commands named it."""

    sender: str
    recipients: list[str]
    content: bytes


class RecordingServer(LoopbackServer):
    """A mail server that accepts and keeps what it gets.

    The replies may be changed while the server runs.

    :param rcpt_reply: the answer to RCPT instead of acceptance, for example ``"550 no such user"``.
    :param mail_reply: the answer to MAIL FROM instead of acceptance.
    :param text_reply: the answer to the mail's text instead of acceptance.
    :param security: ``"starttls"`` demands STARTTLS, ``"tls"`` speaks TLS from the first byte.
    :param login: the user name and password that are demanded.
    :param on_text: called in the server's thread before a mail's text is answered.
    :param on_quit: likewise before QUIT is answered.
    """

    def __init__(
        self,
        *,
        rcpt_reply: str | None = None,
        mail_reply: str | None = None,
        text_reply: str | None = None,
        security: Literal["starttls", "tls"] | None = None,
        login: tuple[str, str] | None = None,
        on_text: Callable[[], object] | None = None,
        on_quit: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.rcpt_reply = rcpt_reply
        self.mail_reply = mail_reply
        self.text_reply = text_reply
        self.security = security
        self.login = login
        self.on_text = on_text
        self.on_quit = on_quit
        self.messages: list[EmailMessage] = []
        self.envelopes: list[Delivery] = []
        #: One entry for each connection: ``[["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]]``.
        self.conversations: list[list[str]] = []
        self._protocols: list[SMTP] = []

    @property
    def message(self) -> EmailMessage:
        """The only mail so far."""
        assert len(self.messages) == 1, f"expected one mail, got {len(self.messages)}"
        return self.messages[0]

    async def _listen(self) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            self._protocol, "127.0.0.1", 0, ssl=_tls() if self.security == "tls" else None
        )

    def _protocol(self) -> SMTP:
        conversation: list[str] = []
        self.conversations.append(conversation)
        protocol = SMTP(
            _Handler(self, conversation),
            hostname="localhost",
            tls_context=_tls() if self.security == "starttls" else None,
            require_starttls=self.security == "starttls",
            auth_require_tls=False,
            authenticator=self._authenticate,
            loop=asyncio.get_running_loop(),
        )
        self._protocols.append(protocol)
        return protocol

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self.login, handled=False, auth_data=data)

    def _abort_connections(self) -> None:
        for protocol in self._protocols:
            if isinstance(protocol.transport, asyncio.WriteTransport):
                protocol.transport.abort()


class _Handler:
    """What aiosmtpd calls for the commands of one connection."""

    def __init__(self, server: RecordingServer, conversation: list[str]) -> None:
        self.server = server
        self.conversation = conversation

    async def handle_EHLO(  # noqa: N802  the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.conversation.append("EHLO")
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.conversation.append("MAIL")
        if self.server.login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        if self.server.mail_reply:
            return self.server.mail_reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.conversation.append("RCPT")
        if self.server.rcpt_reply:
            return self.server.rcpt_reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.conversation.append("DATA")
        if self.server.on_text:
            self.server.on_text()
        if self.server.text_reply:
            return self.server.text_reply
        content = envelope.original_content or b""
        self.server.envelopes.append(Delivery(str(envelope.mail_from), [*envelope.rcpt_tos], content))
        self.server.messages.append(BytesParser(EmailMessage, policy=policy.default).parsebytes(content))
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.conversation.append("QUIT")
        if self.server.on_quit:
            self.server.on_quit()
        return "221 Bye"


class MisbehavingServer(LoopbackServer):
    """A server that is polite until a moment of the conversation, and then not.

    :param at: the command in whose place the misbehaviour comes: ``"CONNECT"`` is the greeting, ``"TEXT"``
        the moment in which the mail's text has begun to arrive.
    """

    replies: ClassVar[dict[str, bytes]] = {
        "CONNECT": b"220 localhost ESMTP\r\n",
        "EHLO": b"250 localhost\r\n",
        "MAIL": b"250 OK\r\n",
        "RCPT": b"250 OK\r\n",
        "DATA": b"354 go on\r\n",
        "TEXT": b"250 OK\r\n",
        "QUIT": b"221 Bye\r\n",
    }

    def __init__(self, *, at: Moment = "CONNECT") -> None:
        super().__init__()
        self.at = at
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    @abstractmethod
    async def misbehave(self, writer: asyncio.StreamWriter) -> None:
        """Do what this server is for; the connection is closed afterwards."""

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._converse, "127.0.0.1", 0, limit=2**20)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        moment = "CONNECT"
        try:
            while moment != self.at:
                writer.write(self.replies.get(moment, b"502 unknown command\r\n"))
                await writer.drain()
                if moment == "QUIT":
                    return
                moment = await self._next(reader, after=moment)
            await self.misbehave(writer)
        except (OSError, EOFError):
            pass  # the client has hung up first
        except asyncio.CancelledError:
            pass  # the server is being stopped; on Python 3.10 and 3.11 asyncio would print this as a fault
        finally:
            writer.transport.abort()

    async def _next(self, reader: asyncio.StreamReader, *, after: str) -> str:
        if after != "DATA":
            line = await reader.readline()
            return line[:4].decode("ascii", "replace").strip().upper() if line else "QUIT"
        if self.at != "TEXT":
            await reader.readuntil(b"\r\n.\r\n")
        else:
            await reader.readline()
        return "TEXT"

    def _abort_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class SilentServer(MisbehavingServer):
    """Accepts connections and, from the given moment on, never says anything."""

    async def misbehave(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()


class DrippingServer(MisbehavingServer):
    """Sends the answer of the given moment one byte at a time, and never comes to its end.

    :param interval: the pause between two bytes in seconds.
    """

    def __init__(self, *, at: Moment = "CONNECT", interval: float = 0.02) -> None:
        super().__init__(at=at)
        self.interval = interval

    async def misbehave(self, writer: asyncio.StreamWriter) -> None:
        code = self.replies[self.at][:3]
        writer.write(code + b"-")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(self.interval)


class DroppingServer(MisbehavingServer):
    """Closes the connection at the given moment, usually in the middle of the mail's text."""

    def __init__(self, *, at: Moment = "TEXT") -> None:
        super().__init__(at=at)

    async def misbehave(self, writer: asyncio.StreamWriter) -> None:
        return


class Rejecting421(MisbehavingServer):
    """Says that the service is not available, and closes."""

    async def misbehave(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"421 4.3.2 try again later\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def _let_the_loop_turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context
