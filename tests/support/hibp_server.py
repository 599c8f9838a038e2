"""The range interface of Have I Been Pwned on a free loopback port, as it should be and as it should not be."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.message import Message
from email.parser import BytesParser
from typing import Literal

from .mail_servers import LoopbackServer, tls_context

Framing = Literal["length", "chunked", "close"]


def sha1(password: str) -> str:
    """Return the hash that the interface knows a password by: 40 hexadecimal capitals."""
    return hashlib.sha1(password.encode("utf-8", "surrogatepass")).hexdigest().upper()


def range_of(prefix: str, seen: Mapping[str, int]) -> bytes:
    """Return the range of a prefix: the passwords that belong there, strangers, and padding with the count 0."""
    found = {digest[5:]: count for digest, count in seen.items() if digest.startswith(prefix)}
    strangers = {sha1(f"stranger {number}")[5:]: max(0, number - 400) for number in range(900)}
    return "\r\n".join(f"{suffix}:{count}" for suffix, count in sorted({**strangers, **found}.items())).encode()


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
    :param then: what happens after the answer.
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
        self.answer, self.then, self.framing, self.tls = answer, then, framing, tls
        #: Each request as it came.
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/range/"

    def headers(self) -> Message:
        """Return the header fields of the only request."""
        (request,) = self.requests
        return BytesParser().parsebytes(request.partition(b"\r\n")[2])

    async def listen(self, host: str) -> asyncio.Server:
        return await asyncio.start_server(self._converse, host, 0, ssl=tls_context() if self.tls else None)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transports.append(writer.transport)
        # The client may hang up first, or the server is stopped, which Python 3.10 and 3.11 would print as a fault.
        with suppress(OSError, EOFError, asyncio.CancelledError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            prefix = self.requests[-1].split()[1].decode()[-5:]
            real_answer = http(range_of(prefix, self.seen), framing=self.framing)
            writer.write(real_answer if self.answer is None else self.answer)
            await writer.drain()
            await self._go_on(writer)
        writer.close()

    async def _go_on(self, writer: asyncio.StreamWriter) -> None:
        if self.then == "reset":
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by RST
            writer.transport.abort()
        if self.then == "silence":
            await asyncio.Event().wait()
        if self.then == "drip":
            for _ in range(1000):  # 20 seconds: a client that waits for the end fails, and does not hang
                writer.write(b"0")
                await writer.drain()
                await asyncio.sleep(0.02)
        while self.then == "flood":
            writer.write(b"0" * 2**16)
            await writer.drain()
