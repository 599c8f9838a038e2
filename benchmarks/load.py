"""Throughput over real HTTP: gunicorn with two workers serves each side, eight connections ask."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from databases import Databases
from processes import HERE, WorkerProcess
from sides import FLOOR, OURS, SIDES
from sign_ups import sign_ups

WORKERS, CONNECTIONS = 2, 8
_REGISTERED, _VERIFIED = 201, 200


@dataclass
class Throughput:
    """How many requests of one kind each side answers.

    :param rates: requests a second, one for each block, by side.
    """

    rates: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})

    def median(self, side: str) -> float:
        """Give the median of one side."""
        return statistics.median(self.rates[side])

    @property
    def ratios(self) -> list[float]:
        """Ours to the floor, one for each pair of blocks."""
        return [ours / floor for ours, floor in zip(self.rates[OURS], self.rates[FLOOR], strict=True)]


def _rate(port: int, url: str, bodies: list[bytes], *, expected: int) -> float:
    """Send requests over all connections at once, and give how many were answered in a second.

    The connections are new each time: whichever worker accepts one keeps it, and a block in which one worker has most
    of them must not speak for all blocks.
    """
    waiting = iter(bodies)  # shared by the threads: each takes the next one
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(_connect(port))) for _ in range(CONNECTIONS)]
        threads = stack.enter_context(ThreadPoolExecutor(CONNECTIONS))
        started = time.perf_counter()
        jobs = [threads.submit(_post_all, connection, url, waiting, expected) for connection in connections]
        for job in jobs:
            job.result()
        return len(bodies) / (time.perf_counter() - started)


def _connect(port: int) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    return connection


def _post_all(connection: HTTPConnection, url: str, bodies: Iterator[bytes], expected: int) -> None:
    for body in bodies:
        connection.request("POST", url, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != expected:
            raise RuntimeError(f"{url} answered {answer.status}: {text!r}")


def measure_throughput(databases: Databases, *, users: int, blocks: int, block_size: int) -> dict[str, Throughput]:
    """Measure both sides in turn, block by block, each served by its own gunicorn on a fresh database.

    :param databases: where databases come from.
    :param users: how many accounts they have; every tenth is not verified yet.
    :param blocks: how often each side's turn comes.
    :param block_size: how many requests of each kind a turn has.
    :returns: the throughput of each kind of request.
    """
    found = {"register": Throughput(), "verify": Throughput()}
    with ExitStack() as stack:
        servers, links = {}, {}
        for side in SIDES:
            database = databases.copy(users)
            stack.callback(databases.remove, database)
            urls, links[side] = _prepare(side, database, (blocks + 1) * block_size)
            port = stack.enter_context(_gunicorn(side, database))
            servers[side] = (port, urls)
        sources = {side: sign_ups(seed=0) for side in SIDES}
        for block in range(-1, blocks):  # the first one warms up
            for side in SIDES if block % 2 else reversed(SIDES):
                port, urls = servers[side]
                new = [json.dumps(next(sources[side])).encode() for _ in range(block_size)]
                true = [json.dumps(links[side].pop()).encode() for _ in range(block_size)]
                register = _rate(port, urls["register"], new, expected=_REGISTERED)
                verify = _rate(port, urls["verify"], true, expected=_VERIFIED)
                if block >= 0:
                    found["register"].rates[side].append(register)
                    found["verify"].rates[side].append(verify)
    return found


def _prepare(side: str, database: Path, count: int) -> tuple[dict[str, str], list[Any]]:
    worker = WorkerProcess(side, database)
    try:
        return worker.call("urls"), worker.call("links", count)
    finally:
        worker.stop()


@contextmanager
def _gunicorn(side: str, database: Path) -> Iterator[int]:
    """Serve one side as long as the block lasts; threads, since only these keep connections alive."""
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(HERE), "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(WORKERS), "--threads", str(CONNECTIONS // WORKERS), "--log-level", "warning"]
    with subprocess.Popen([*command, f"serving:application({side!r}, {str(database)!r})"]) as process:
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("gunicorn did not start")
