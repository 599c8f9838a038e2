"""Measuring: each side in fresh processes on fresh databases, in turn with the other.

This module imports nothing of Flask, since the measuring processes load it before they begin.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from accounts import Databases, sign_ups

OURS, FLOOR = SIDES = ("ours", "floor")
REQUESTS = ("register", "verify")
SERVER_WORKERS, CONNECTIONS = 2, 8

_HERE = Path(__file__).resolve().parent
_worker: Any = None


class Process(ExitStack):
    """A fresh process with a class of :mod:`worker` in it, while the block lasts.

    :param name: the class.
    :param arguments: what it is made with.
    """

    def __init__(self, name: str, *arguments: object) -> None:
        super().__init__()
        self._pool = self.enter_context(ProcessPoolExecutor(1, get_context("spawn"), partial(_begin, name, *arguments)))

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method there, and give what it returned."""
        return self._pool.submit(_call, method, *arguments).result()


def _begin(name: str, *arguments: object) -> None:
    global _worker
    sys.dont_write_bytecode = False  # else each process would compile everything anew
    import worker

    _worker = getattr(worker, name)(*arguments)


def _call(method: str, *arguments: object) -> object:
    return getattr(_worker, method)(*arguments)


@contextmanager
def both_sides(
    databases: Databases, *, users: int, smtp_port: int | None = None, seed: int = 0
) -> Iterator[dict[str, Process]]:
    """Run a :class:`worker.Worker` of each side while the block lasts.

    :param databases: where the databases come from.
    :param users: how many accounts they have.
    :param smtp_port: as :func:`sides.make_app` has it.
    :param seed: makes the addresses, which are the same on both sides.
    """
    with ExitStack() as stack:
        workers = {}
        for side in SIDES:
            database = databases.copy(users)
            stack.callback(databases.remove, database)
            workers[side] = stack.enter_context(Process("Worker", side, database, smtp_port, seed))
        yield workers


@dataclass
class Comparison:
    """One kind of request on both sides.

    :param figures: what was measured, by side.
    :param ratios: ours to the floor, one for each time that the two were measured in turn.
    """

    figures: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    ratios: list[float] = field(default_factory=list)

    def median(self, side: str) -> float:
        """Give the median of one side."""
        return statistics.median(self.figures[side])

    def p95(self, side: str) -> float:
        """Give what 95 of 100 figures of one side stay below."""
        return statistics.quantiles(self.figures[side], n=20)[-1]

    def add(self, ours: Sequence[float], floor: Sequence[float]) -> None:
        """Take in what was measured in turn."""
        self.figures[OURS] += ours
        self.figures[FLOOR] += floor
        self.ratios.append(statistics.median(ours) / statistics.median(floor))


@dataclass
class Series:
    """What the rounds with one number of accounts found.

    :param comparisons: the CPU microseconds, by kind of request.
    :param memory: the largest peak of the resident memory in MiB, by side.
    """

    comparisons: dict[str, Comparison] = field(default_factory=lambda: {request: Comparison() for request in REQUESTS})
    memory: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SIDES, 0.0))


@dataclass(frozen=True)
class Rounds:
    """How much is measured.

    :param rounds: rounds, each with fresh processes and fresh databases.
    :param blocks: how often each side's turn comes in a round.
    :param block_size: how many registrations, and then verifications, a turn has.
    """

    rounds: int
    blocks: int
    block_size: int


def compare(
    databases: Databases, *, users: Sequence[int], size: Rounds, smtp_port: int | None = None
) -> dict[int, Series]:
    """Measure both sides in turn, block by block, so that what else the machine does meets both.

    The numbers of accounts take turns too, round by round.

    :returns: what was found, by the number of accounts.
    """
    series = {count: Series() for count in users}
    for number in range(size.rounds):
        for count, found in series.items():
            with both_sides(databases, users=count, smtp_port=smtp_port, seed=number) as workers:
                _add_round(found, workers, size)
    return series


def _add_round(series: Series, workers: dict[str, Process], size: Rounds) -> None:
    times: dict[str, dict[str, list[float]]] = {side: {request: [] for request in REQUESTS} for side in SIDES}
    for block in range(-1, size.blocks):  # the first one warms up
        for side in SIDES if block % 2 else reversed(SIDES):
            for request, measured in workers[side].call("run", size.block_size).items():
                times[side][request] += measured if block >= 0 else []
    for request, comparison in series.comparisons.items():
        comparison.add(times[OURS][request], times[FLOOR][request])
    for side, worker in workers.items():
        series.memory[side] = max(series.memory[side], worker.call("memory"))


def measure_email_first(databases: Databases, *, repetitions: int, smtp_port: int | None) -> dict[str, float]:
    """Measure the account at sign-up and e-mail first in one process.

    :returns: the median CPU microseconds of each kind of request.
    """
    with Process("EmailFirst", databases.copy(1_000), databases.copy(1_000), smtp_port) as process:
        medians: dict[str, float] = process.call("run", repetitions)
    return medians


def measure_start(databases: Databases, starts: int) -> dict[str, dict[str, float]]:
    """Start each side in fresh processes, and send each kind of request for the first time.

    :returns: by side, the median CPU milliseconds of the steps.
    """
    steps: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(-1, starts):  # the first time compiles what has no bytecode yet
        with both_sides(databases, users=1_000) as workers:
            for side in SIDES:
                with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                    found = fresh.submit(_start, side).result()
                first = {request: times[0] / 1e3 for request, times in workers[side].call("run", 1).items()}
                if number >= 0:
                    steps[side].append({**found, **first})
    return {
        side: {name: statistics.median(each[name] for each in found) for name in found[0]}
        for side, found in steps.items()
    }


def _start(side: str) -> dict[str, float]:
    sys.dont_write_bytecode = False
    times = [time.process_time()]
    from sides import add_package, make_app

    app = make_app("never opened.db", smtp_port=25)
    times.append(time.process_time())
    if side == OURS:
        import flask_rest_registration  # noqa: F401

        times.append(time.process_time())
        add_package(app)
    else:
        from floor import accounts

        times.append(time.process_time())
        app.register_blueprint(accounts)
    times.append(time.process_time())
    names = ("without", "import", "init_app")
    return {name: (end - begin) * 1e3 for name, begin, end in zip(names, times, times[1:], strict=False)}


def measure_throughput(databases: Databases, *, users: int, blocks: int, block_size: int) -> dict[str, Comparison]:
    """Let gunicorn serve each side, and count the requests that it answers in a second, in turn.

    :param users: how many accounts the databases have.
    :param blocks: how often each side's turn comes.
    :param block_size: how many requests of each kind a turn has.
    :returns: requests a second, by kind of request.
    """
    found = {request: Comparison() for request in REQUESTS}
    with ExitStack() as stack:
        ports, links, new = {}, {}, {}
        for side in SIDES:
            database = databases.copy(users)
            stack.callback(databases.remove, database)
            with Process("Worker", side, database, None, 0) as worker:
                links[side] = worker.call("links", (blocks + 1) * block_size)
            ports[side] = stack.enter_context(_gunicorn(side, database))
            new[side] = sign_ups(seed=1)
        for block in range(-1, blocks):  # the first one warms up
            rates: dict[str, dict[str, float]] = {}
            for side in SIDES if block % 2 else reversed(SIDES):
                register = [next(new[side]) for _ in range(block_size)]
                verify = [links[side].pop() for _ in range(block_size)]
                rates[side] = {
                    "register": _rate(ports[side], "/accounts/register/", register, expected=201),
                    "verify": _rate(ports[side], "/accounts/verify-registration/", verify, expected=200),
                }
            if block >= 0:
                for request, comparison in found.items():
                    comparison.add([rates[OURS][request]], [rates[FLOOR][request]])
    return found


@contextmanager
def _gunicorn(side: str, database: Path) -> Iterator[int]:
    """Serve one side while the block lasts; threads, since only these keep connections alive."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # gunicorn takes the listening socket over, as it does systemd's.
        command = [sys.executable, "-m", "gunicorn", "--chdir", str(_HERE), "--bind", f"fd://{listener.fileno()}"]
        command += ["--workers", str(SERVER_WORKERS), "--threads", str(CONNECTIONS // SERVER_WORKERS)]
        command += ["--log-level", "warning", f"sides:create_app({side!r}, {str(database)!r})"]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    with process:
        try:
            yield port
        finally:
            process.terminate()


def _rate(port: int, url: str, bodies: Sequence[object], *, expected: int) -> float:
    """Send requests over all connections at once, and give how many were answered in a second.

    The connections are new each time: the worker that accepts one keeps it, and a block in which one worker has most
    of them must not speak for all blocks.
    """
    waiting = iter([json.dumps(body) for body in bodies])  # shared by the threads: each takes the next one

    def post_all(connection: HTTPConnection) -> None:
        for body in waiting:
            connection.request("POST", url, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != expected:
                raise RuntimeError(f"{url} answered {answer.status}: {text!r}")

    with ExitStack() as stack:
        connections = [HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(CONNECTIONS)]
        for connection in connections:
            stack.enter_context(closing(connection))
            connection.connect()
        threads = stack.enter_context(ThreadPoolExecutor(CONNECTIONS))
        started = time.perf_counter()
        list(threads.map(post_all, connections))
        return len(bodies) / (time.perf_counter() - started)
