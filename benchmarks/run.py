"""Compare the package with sign-up written by hand, and print the figures as reStructuredText.

Fails when the sides do not do the same work, when a request has other statements than it must have, when it takes
more than 1.6 times the floor's CPU time, or when a sign-up with e-mail first costs more of an account at sign-up than
it may; never for a time, which depends on the machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report
from databases import Databases
from email_first import faults, measure_email_first
from load import measure_throughput
from measure import REQUESTS, Rounds, Series, compare
from parts import measure_parts
from processes import HERE, both_sides
from sides import OURS, SIDES
from smtp_server import smtp_server
from startup import measure_startup
from tables import section, versions

#: Far above what the package takes: what is between is the noise of a busy machine.
HIGHEST_RATIO = 1.6
EXPECTED_STATEMENTS = {"register": ["INSERT"], "verify": ["SELECT", "UPDATE"]}

_README = HERE / "README.rst"
_START, _END = ".. The figures start here.\n", ".. The figures end here.\n"


@dataclass(frozen=True)
class Plan:
    """How much a run measures.

    :param users: the numbers of accounts.
    :param lean: the rounds in the near-free configuration.
    :param defaults: the rounds with everything at its defaults.
    :param starts: how often each side is started.
    :param load_blocks: how often each side's turn comes under load.
    :param load_block_size: how many requests of each kind a turn under load has.
    :param repetitions: how often each part is measured.
    """

    users: tuple[int, ...]
    lean: Rounds
    defaults: Rounds
    starts: int
    load_blocks: int
    load_block_size: int
    repetitions: int


FULL = Plan(
    users=(1_000, 100_000, 1_000_000),
    lean=Rounds(rounds=7, blocks=8, block_size=100),
    defaults=Rounds(rounds=3, blocks=4, block_size=15),
    starts=7,
    load_blocks=8,
    load_block_size=400,
    repetitions=400,
)
SHORT = Plan(
    users=(1_000,),
    lean=Rounds(rounds=3, blocks=4, block_size=50),
    defaults=Rounds(rounds=1, blocks=2, block_size=5),
    starts=1,
    load_blocks=1,
    load_block_size=40,
    repetitions=30,
)


class Benchmark:
    """One run.

    :param plan: how much is measured.
    :param databases: where databases come from.
    """

    def __init__(self, plan: Plan, databases: Databases) -> None:
        self._plan = plan
        self._databases = databases
        self._started = time.monotonic()
        #: Why the run fails.
        self.failures: list[str] = []

    def run(self) -> str:
        """Measure everything.

        :returns: the figures.
        """
        sections = [
            section("What it was measured on", versions()),
            self._say("the statements", self._statements),
            self._say("the near-free configuration", self._lean),
            self._say("the start", self._start),
            self._say("the throughput", self._throughput),
        ]
        with smtp_server() as port:
            sections.insert(3, self._say("everything at its defaults", lambda: self._defaults(port)))
            sections.insert(4, self._say("e-mail first", lambda: self._email_first(port)))
            sections.append(self._say("the parts", lambda: self._parts(port)))
        return "\n\n".join(sections) + "\n"

    def _say(self, what: str, measure: Any) -> str:
        print(f"[{time.monotonic() - self._started:4.0f} s] {what}", file=sys.stderr, flush=True)
        found: str = measure()
        return found

    def _statements(self) -> str:
        with both_sides(self._databases, users=1_000) as workers:
            answers = [worker.call("answers") for worker in workers.values()]
            statements = {side: worker.call("statements") for side, worker in workers.items()}
        if answers[0] != answers[1]:
            self.failures.append(f"the sides do not do the same work: {answers[0]}, but {answers[1]}")
        for request, expected in EXPECTED_STATEMENTS.items():
            if statements[OURS][request] != expected:
                self.failures.append(f"{request} has the statements {statements[OURS][request]}, not {expected}")
        return section("Statements", report.statements_table(statements))

    def _lean(self) -> str:
        series = compare(self._databases, users=self._plan.users, size=self._plan.lean)
        self._check_ratios(series)
        blocks = ["CPU microseconds, medians of all rounds:", report.cpu_table(series)]
        if len(series) > 1:
            smallest = f"{min(series):,}"
            blocks += [f"As a multiple of the time with {smallest} users:", report.growth_table(series)]
        blocks += ["Peak memory:", report.memory_table(series)]
        return section("The near-free configuration", *blocks)

    def _check_ratios(self, series: Mapping[int, Series]) -> None:
        for users, found in series.items():
            for request in REQUESTS:
                ratio = found.comparisons[request].ratio
                if ratio > HIGHEST_RATIO:
                    self.failures.append(
                        f"{request} takes {ratio:.2f} times the floor's time with {users:,} users,"
                        f" more than {HIGHEST_RATIO}"
                    )

    def _defaults(self, port: int) -> str:
        series = compare(self._databases, users=self._plan.users[:1], size=self._plan.defaults, smtp_port=port)
        return section(
            "Everything at its defaults",
            "scrypt, zxcvbn, MIME, a mail server on this machine; CPU microseconds:",
            report.cpu_table(series),
            "Peak memory:",
            report.memory_table(series),
        )

    def _email_first(self, port: int) -> str:
        found = []
        for smtp_port, fewer in ((None, 1), (port, 10)):
            classic, email_first = self._databases.copy(1_000), self._databases.copy(1_000)
            repetitions = max(self._plan.repetitions // fewer, 5)
            found.append(measure_email_first(classic, email_first, smtp_port=smtp_port, repetitions=repetitions))
        self.failures += faults(found[1])
        return report.email_first_section(*found)

    def _start(self) -> str:
        startups: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        firsts: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for side in SIDES:
            measure_startup(side)  # compiles what has no bytecode yet
        for _ in range(self._plan.starts):
            with both_sides(self._databases, users=1_000) as workers:
                for side, worker in workers.items():
                    firsts[side].append(worker.call("first"))
            for side in SIDES:
                startups[side].append(measure_startup(side))
        return section("Start and first requests", report.start_table(startups, firsts))

    def _throughput(self) -> str:
        plan = self._plan
        users = max(1_000, 12 * (plan.load_blocks + 1) * plan.load_block_size)  # every tenth waits for its link
        found = measure_throughput(
            self._databases, users=users, blocks=plan.load_blocks, block_size=plan.load_block_size
        )
        return section("Throughput over HTTP", report.throughput_words(), report.throughput_table(found))

    def _parts(self, port: int) -> str:
        repetitions = self._plan.repetitions
        lean = measure_parts(self._databases.copy(1_000), smtp_port=None, repetitions=repetitions)
        defaults = measure_parts(self._databases.copy(1_000), smtp_port=port, repetitions=max(repetitions // 10, 3))
        return report.parts_section(lean, defaults)


def write_readme(figures: str) -> None:
    """Put the figures between the README's markers.

    :param figures: reStructuredText.
    """
    before, rest = _README.read_text(encoding="utf-8").split(_START)
    after = rest.split(_END)[1]
    _README.write_text(f"{before}{_START}\n{figures}\n{_END}{after}", encoding="utf-8")


def keep_bytecode(folder: Path) -> None:
    """Let the measuring processes find the modules compiled, as installed ones are.

    :param folder: where the bytecode is written, also where the environment forbids it beside the modules.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def main() -> int:
    """Run the benchmark as the command line says.

    :returns: the exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure a little of everything, for CI")
    parser.add_argument("--write-readme", action="store_true", help="write the figures into README.rst as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        keep_bytecode(Path(folder) / "bytecode")
        benchmark = Benchmark(SHORT if options.short else FULL, Databases(Path(folder)))
        figures = benchmark.run()
    print(figures)
    if options.write_readme:
        write_readme(figures)
    for failure in benchmark.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if benchmark.failures else 0


if __name__ == "__main__":
    sys.exit(main())
