"""Send generated bodies to the endpoints on every database, and count the answers: none may be a 5xx.

Run it with ``make fuzz``; ``make fuzz OPTIONS=--short`` is what ``.ci/run`` does. The same seed sends the same bodies.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support.database_servers import SERVERS, new_database, text_of
from tools.bodies import Sent
from tools.targets import KINDS, Target

#: Bodies for each database: the whole run, and the one of a usual day.
WHOLE: Final = 100_000
SHORT: Final = 2_500

DATABASES: Final = ("sqlite", "postgresql", "mariadb")

# Hypothesis remembers what it has tried: in one long run it gets slower and larger. Examples of several bodies each.
_EXAMPLES = 250
_BODIES_OF_AN_EXAMPLE = 5  # about


@dataclass(frozen=True)
class Task:
    """The part of one app on one database."""

    database: str
    kind: str
    bodies: int
    seed: int


@dataclass(frozen=True)
class Result:
    """What a task found."""

    answers: Counter[tuple[str, int]]
    rows: int
    seconds: float


def run(task: Task) -> Result:
    """Send the bodies of a task.

    :raises Improper: with the body, for an answer that no body may get.
    """
    start = time.monotonic()
    with _database(task.database) as uri:
        target = Target(KINDS[task.kind], uri)
        try:
            number = task.seed
            while target.count < task.bodies:
                _send_some(target, min(_EXAMPLES, -(-(task.bodies - target.count) // _BODIES_OF_AN_EXAMPLE)), number)
                number += 1
            return Result(target.answers, target.read_all(), time.monotonic() - start)
        finally:
            target.built.dispose()


def _send_some(target: Target, count: int, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=max(count, 1),
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],  # making a body smaller would take longer than reading it
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies=target.bodies())
    def send(bodies: list[Sent]) -> None:
        for sent in bodies:
            target.send(sent)

    send()


@contextmanager
def _database(name: str) -> Iterator[str]:
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'app.db'}"
    else:
        with new_database(name) as url:
            yield text_of(url)


def _usable(databases: list[str]) -> list[str]:
    """Leave out, in one line each, the servers that are not there; with REQUIRE_SERVICES=1 that is an error."""
    faults = {name: SERVERS[name].failure() for name in databases if name in SERVERS}
    missing = {name: fault for name, fault in faults.items() if fault}
    for fault in missing.values():
        print(f"Left out: {fault}")
    if missing and os.environ.get("REQUIRE_SERVICES") == "1":
        sys.exit("REQUIRE_SERVICES=1 demands every database.")
    return [name for name in databases if name not in missing]


def _report(database: str, results: list[Result], seconds: float) -> None:
    answers: Counter[int] = Counter()
    for result in results:
        for (_, status), count in result.answers.items():
            answers[status] += count
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(answers.items()))
    rows = sum(result.rows for result in results)
    print(f"{database:10}  {answers.total():7} bodies in {seconds:4.0f} s  {statuses}  ({rows} rows)", flush=True)


def main() -> None:
    """Read the command line, send the bodies, print the table."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT} bodies for each database, not {WHOLE}")
    parser.add_argument("--bodies", type=int, help="how many bodies for each database")
    parser.add_argument("--seed", type=int, default=1, help="another number sends other bodies")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many processes at once")
    parser.add_argument("--database", choices=DATABASES, action="append", help="only this one (may be repeated)")
    chosen = parser.parse_args()
    bodies = chosen.bodies or (SHORT if chosen.short else WHOLE)
    share = -(-bodies // len(KINDS))
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        for database in _usable(chosen.database or list(DATABASES)):
            start = time.monotonic()
            tasks = [
                Task(database, kind, share, 1_000_000 * chosen.seed + 10_000 * number)
                for number, kind in enumerate(KINDS)
            ]
            _report(database, list(pool.map(run, tasks)), time.monotonic() - start)


if __name__ == "__main__":
    main()
