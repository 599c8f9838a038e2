"""The measuring processes, as the one that compares them sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from databases import Databases
from sides import SIDES

HERE = Path(__file__).resolve().parent


class WorkerProcess:
    """A :class:`worker.Worker` in a fresh process.

    :param side: one of :data:`sides.SIDES`.
    :param database: an SQLite file of its own.
    :param smtp_port: as :func:`configuration.configuration` has it.
    :param seed: makes the addresses.
    """

    def __init__(self, side: str, database: Path, *, smtp_port: int | None = None, seed: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._write({"side": side, "database": str(database), "smtp_port": smtp_port, "seed": seed})

    def call(self, name: str, *arguments: object) -> Any:
        """Let the worker do something, and wait for the result.

        :param name: one of its methods.
        :param arguments: what the method is given.
        :returns: what the method returned.
        :raises RuntimeError: if the worker failed; what it wrote to the standard error output says why.
        """
        self._write([name, *arguments])
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            raise RuntimeError(f"a worker failed at {name}()")
        return json.loads(answer)

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _write(self, value: object) -> None:
        if self._process.stdin:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()


@contextmanager
def both_sides(
    databases: Databases, *, users: int, smtp_port: int | None = None, seed: int = 0
) -> Iterator[dict[str, WorkerProcess]]:
    """Run a worker of each side, each on a fresh database, as long as the block lasts.

    :param databases: where databases come from.
    :param users: how many accounts they have.
    :param smtp_port: as :func:`configuration.configuration` has it.
    :param seed: makes the addresses, which are the same on both sides.
    :yields: the workers by side.
    """
    with ExitStack() as stack:
        workers = {}
        for side in SIDES:
            database = databases.copy(users)
            stack.callback(databases.remove, database)
            workers[side] = WorkerProcess(side, database, smtp_port=smtp_port, seed=seed)
            stack.callback(workers[side].stop)
        yield workers
