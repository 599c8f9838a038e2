"""A mail service with an HTTP API on a free loopback port, as docs/transports.rst has one."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from email.message import Message
from email.parser import BytesParser
from typing import Any

from .hibp_server import http
from .mail_servers import LoopbackServer


class MailService(LoopbackServer):
    """Accepts mails from whoever has its key, and keeps them.

    :param key: what it demands as a bearer token.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        #: What goes over the wire in place of acceptance; empty for a server that says nothing.
        self.answer: bytes | None = None
        self.mails: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/messages"

    async def listen(self, host: str) -> asyncio.Server:
        return await asyncio.start_server(self._converse, host, 0)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transports.append(writer.transport)
        with suppress(OSError, EOFError, asyncio.CancelledError):  # the client hangs up, or the server is stopped
            line, _, fields = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            headers = BytesParser().parsebytes(fields)
            content = await reader.readexactly(int(headers["Content-Length"]))
            writer.write(self._answer_to(line, headers, content))
            await writer.drain()
            if self.answer == b"":
                await asyncio.Event().wait()
        writer.close()

    def _answer_to(self, line: bytes, headers: Message, content: bytes) -> bytes:
        if line != b"POST /messages HTTP/1.1" or headers["Content-Type"] != "application/json":
            return http(b"", status="400 Bad Request")
        if headers["Authorization"] != f"Bearer {self.key}":
            return http(b'{"code": "wrong-key"}', status="401 Unauthorized")
        if self.answer is not None:
            return self.answer
        self.mails.append(json.loads(content))
        return http(b'{"id": 1}', status="202 Accepted")
