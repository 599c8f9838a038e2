"""The range interface of Have I Been Pwned on a free loopback port, as it should be and as it should not be."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping
from email.message import Message
from email.parser import BytesParser
from threading import Event
from typing import Literal

from .mail_servers import CERTIFICATE, LoopbackServer

Framing = Literal["length", "chunked", "close"]

_DRIP_FOR, _DRIP_EVERY = 20.0, 0.02  # seconds


def sha1(password: str) -> str:
    """Return the hash that the interface knows a password by: 40 hexadecimal capitals."""
    return hashlib.sha1(password.encode("utf-8", "surrogatepass")).hexdigest().upper()


def lines_of(prefix: str, seen: Mapping[str, int], *, padding: int = 0) -> list[str]:
    """Return the range of a prefix: the passwords that belong there, strangers, and lines with the count 0."""
    found = {digest[5:]: count for digest, count in seen.items() if digest.startswith(prefix)}
    strangers = {sha1(f"stranger {number}")[5:]: number + 1 for number in range(500)}
    padded = {sha1(f"padding {number}")[5:]: 0 for number in range(padding)}
    return [f"{suffix}:{count}" for suffix, count in sorted({**padded, **strangers, **found}.items())]


def http(body: bytes, *, status: str = "200 OK", headers: Iterable[str] = (), framing: Framing = "length") -> bytes:
    """Return an answer as it goes over the wire."""
    head = [f"HTTP/1.1 {status}", "Content-Type: text/plain", *headers]
    if framing == "length":
        head.append(f"Content-Length: {len(body)}")
    if framing == "chunked":
        head.append("Transfer-Encoding: chunked")
        pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return "\r\n".join([*head, "", ""]).encode() + body


class RangeServer(LoopbackServer):
    """Answers as the real interface does, if no other answer is given.

    :param seen: how often each password was seen in breaches.
    :param answer: what goes over the wire instead.
    :param then: what happens after the answer: the connection is closed or reset, nothing more is said, or one byte
        after the other comes for 20 seconds, at the end of which :attr:`has_dripped_dry` is set.
    :param framing: how the end of the real answer is told.
    :param tls: whether it speaks TLS, with a certificate that nobody else signed.
    """

    def __init__(
        self,
        seen: Mapping[str, int] | None = None,
        *,
        answer: bytes | None = None,
        then: Literal["close", "reset", "silence", "drip", "flood"] = "close",
        framing: Framing = "length",
        tls: bool = False,
    ) -> None:
        super().__init__()
        self.seen = {sha1(password): count for password, count in (seen or {}).items()}
        self.answer = answer
        self.then = then
        self.framing = framing
        self.tls = tls
        #: Each request as it came.
        self.requests: list[bytes] = []
        self.has_dripped_dry = Event()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/range/"

    def headers(self) -> Message:
        """Return the header fields of the only request."""
        (request,) = self.requests
        return BytesParser().parsebytes(request.partition(b"\r\n")[2])

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._converse, "127.0.0.1", 0, ssl=_tls() if self.tls else None)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            writer.write(self._real_answer(request) if self.answer is None else self.answer)
            await writer.drain()
            await self._go_on(writer)
        except (OSError, EOFError):
            pass  # the client has hung up first
        except asyncio.CancelledError:
            pass  # the server is being stopped; on Python 3.10 and 3.11 asyncio would print this as a fault
        finally:
            writer.close()

    def _real_answer(self, request: bytes) -> bytes:
        line, _, head = request.decode("ascii").partition("\r\n")
        headers = BytesParser().parsebytes(head.encode())
        prefix = line.removeprefix("GET /range/").removesuffix(" HTTP/1.1")
        if not headers["User-Agent"]:
            return http(b"", status="403 Forbidden")
        if len(prefix) != 5 or set(prefix) - set("0123456789ABCDEFabcdef"):
            return http(b"The hash prefix was not in a valid format", status="400 Bad Request")
        padding = 400 if headers["Add-Padding"] == "true" else 0
        body = "\r\n".join(lines_of(prefix.upper(), self.seen, padding=padding))
        return http(body.encode(), framing=self.framing)

    async def _go_on(self, writer: asyncio.StreamWriter) -> None:
        if self.then == "reset":
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by RST
            writer.transport.abort()
        if self.then == "silence":
            await asyncio.Event().wait()
        if self.then == "drip":
            for _ in range(round(_DRIP_FOR / _DRIP_EVERY)):
                writer.write(b"0")
                await writer.drain()
                await asyncio.sleep(_DRIP_EVERY)
            self.has_dripped_dry.set()
        while self.then == "flood":
            writer.write(b"0" * 2**16)
            await writer.drain()

    def _abort_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context
