"""Servers that a machine may lack: a test that needs one is skipped without it, and fails if REQUIRE_SERVICES=1."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
import redis
from typing_extensions import Self

from .concurrency import until
from .mail_servers import LoopbackServer


def missing(what: str) -> NoReturn:
    """Skip the test that needs a service, or fail where services are demanded.

    :param what: a line such as "redis-server is not installed".
    """
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what}, and REQUIRE_SERVICES=1 demands it", pytrace=False)
    pytest.skip(what)


def accepts_connections(port: int) -> bool:
    """Tell whether somebody listens on a loopback port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_ports(number: int) -> list[int]:
    """Return different loopback ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class RedisServer:
    """A Redis of the test's own, which keeps what it has accepted; the machine's is never touched.

    :param folder: for its data.
    """

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        program = shutil.which("redis-server") or missing("redis-server is not installed")
        options = f"--bind 127.0.0.1 --port {self.port} --appendonly yes --appendfsync always --logfile redis.log"
        self._process = subprocess.Popen([program, *options.split(), "--save", ""], cwd=self._folder)
        until(self._is_ready)

    def _is_ready(self) -> bool:
        """Tell whether it answers; while it reads its file it accepts connections and refuses every command."""
        with suppress(redis.RedisError), redis.Redis(port=self.port) as client:
            return bool(client.ping())
        return False

    def has_nothing_unacknowledged(self) -> bool:
        """Tell whether no worker has a task that it could give back."""
        with redis.Redis(port=self.port) as client:
            return bool(client.hlen("unacked") == 0)

    def stop(self) -> None:
        """End it at once, as the machine's failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None


class Relay(LoopbackServer):
    """Stands between a client and a server, and freezes: it keeps the connection and passes nothing on any more.

    :param port: the server's.
    :param freezes_at: what the client sends last; it does not arrive.
    """

    def __init__(self, port: int, *, freezes_at: bytes) -> None:
        super().__init__()
        self.has_frozen = False
        self._to = port
        self._freezes_at = freezes_at

    async def listen(self, host: str) -> asyncio.Server:
        return await asyncio.start_server(self._relay, host, 0)

    async def _relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
        self.transports += [to_client.transport, to_server.transport]
        with suppress(OSError, asyncio.CancelledError):  # one of the two hangs up, or the relay is stopped
            await asyncio.gather(self._pass(client, to_server), self._pass(server, to_client))
        to_client.transport.abort()
        to_server.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            self.has_frozen = self.has_frozen or self._freezes_at in data
            if self.has_frozen:
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
        writer.close()
