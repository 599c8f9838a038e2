"""Compare the package with sign-up written by hand, and print the figures as reStructuredText.

README.rst beside this file says what is compared, how, and when a run fails.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accounts import Databases
from measure import (
    CONNECTIONS,
    OURS,
    REQUESTS,
    SERVER_WORKERS,
    SIDES,
    Rounds,
    Series,
    both_sides,
    compare,
    measure_email_first,
    measure_start,
    measure_throughput,
)

#: As a multiple of the floor's CPU time, in the near-free configuration.
HIGHEST_RATIOS = {"register": 1.25, "verify": 0.95}
EXPECTED_STATEMENTS = {"register": ["INSERT"], "verify": ["SELECT", "UPDATE"]}
#: At defaults, the account at sign-up must cost so many times as much as a request with e-mail first.
LOWEST_RATIOS = {"due": 20, "not due": 50}

EMAIL_FIRST = {
    "classic": "the account at sign-up: register",
    "due": "e-mail first: register, a mail is due",
    "not due": "e-mail first: register, none is due",
    "link": "e-mail first: verify by link, the account is made",
    "code": "e-mail first: verify by code, the account is made",
}
STEPS = {
    "without": "the application without it",
    "import": "importing it",
    "init_app": "adding it (init_app)",
    "register": "the first registration",
    "verify": "the first verification",
}
DISTRIBUTIONS = (
    *("Flask", "Werkzeug", "Flask-SQLAlchemy", "SQLAlchemy", "marshmallow", "marshmallow-sqlalchemy", "Flask-Mail"),
    *("itsdangerous", "email-validator", "zxcvbn-rs-py", "gunicorn"),
)

_README = Path(__file__).with_name("README.rst")
_QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart"
_START, _END = ".. The figures start here.\n", ".. The figures end here.\n"


@dataclass(frozen=True)
class Plan:
    """How much a run measures.

    :param users: the numbers of accounts.
    :param near_free: the rounds in the near-free configuration.
    :param defaults: the rounds with everything at its defaults.
    :param starts: how often each side is started.
    :param load_blocks: how often each side's turn comes under load.
    :param load_block_size: how many requests of each kind a turn under load has.
    :param repetitions: how often each request is made to compare e-mail first.
    """

    users: tuple[int, ...]
    near_free: Rounds
    defaults: Rounds
    starts: int
    load_blocks: int
    load_block_size: int
    repetitions: int


FULL = Plan(
    users=(1_000, 100_000, 1_000_000),
    near_free=Rounds(rounds=7, blocks=8, block_size=100),
    defaults=Rounds(rounds=3, blocks=4, block_size=15),
    starts=7,
    load_blocks=8,
    load_block_size=400,
    repetitions=400,
)
SHORT = Plan(
    users=(1_000,),
    near_free=Rounds(rounds=3, blocks=4, block_size=50),
    defaults=Rounds(rounds=1, blocks=2, block_size=5),
    starts=1,
    load_blocks=1,
    load_block_size=40,
    repetitions=30,
)


class Benchmark:
    """One run.

    :param plan: how much is measured.
    :param databases: where the databases come from.
    """

    def __init__(self, plan: Plan, databases: Databases) -> None:
        self._plan = plan
        self._databases = databases
        #: Why the run fails.
        self.failures: list[str] = []
        self.over_limits: list[str] = []

    def run(self, smtp_port: int) -> Iterator[str]:
        """Measure everything, and yield the figures section by section.

        :param smtp_port: a mail server's, for everything at its defaults.
        """
        yield section("What it was measured on", versions())
        yield section("Statements", self._statements())
        yield section("The near-free configuration", *self._near_free())
        yield section("Everything at its defaults", *self._defaults(smtp_port))
        yield section("E-mail first", self._email_first(smtp_port))
        yield section("Start and first requests", self._start())
        yield section("Throughput over HTTP", *self._throughput())

    def _statements(self) -> str:
        with both_sides(self._databases, users=1_000) as workers:
            ours, floor = (worker.call("answers") for worker in workers.values())
            statements = {side: worker.call("statements") for side, worker in workers.items()}
        if ours != floor:
            self.failures.append(f"the sides do not do the same work: {ours}, but {floor}")
        for request, expected in EXPECTED_STATEMENTS.items():
            if statements[OURS][request] != expected:
                self.failures.append(f"{request} has the statements {statements[OURS][request]}, not {expected}")
        rows = [(request, *(", ".join(statements[side][request]) for side in SIDES)) for request in REQUESTS]
        return table(("request", *SIDES), rows)

    def _near_free(self) -> Iterator[str]:
        series = compare(self._databases, users=self._plan.users, size=self._plan.near_free)
        for users, found in series.items():
            for request, highest in HIGHEST_RATIOS.items():
                # A busy machine changes single rounds, in both directions; what costs more does so in all of them.
                if (lowest := min(found.comparisons[request].ratios)) > highest:
                    self.over_limits.append(
                        f"{request} takes at least {lowest:.2f} times the floor's time with {users:,} users,"
                        f" more than {highest}"
                    )
        yield "CPU microseconds, medians of all rounds:"
        yield times_table(series)
        if len(series) > 1:
            yield f"As a multiple of the time with {min(series):,} users:"
            yield growth_table(series)
        yield "Peak memory:"
        yield memory_table(series)

    def _defaults(self, smtp_port: int) -> Iterator[str]:
        series = compare(self._databases, users=self._plan.users[:1], size=self._plan.defaults, smtp_port=smtp_port)
        yield "scrypt, zxcvbn, MIME, a mail server on this machine; CPU microseconds:"
        yield times_table(series)
        yield "Peak memory:"
        yield memory_table(series)

    def _email_first(self, smtp_port: int) -> str:
        repetitions = self._plan.repetitions
        near_free = measure_email_first(self._databases, repetitions=repetitions, smtp_port=None)
        defaults = measure_email_first(self._databases, repetitions=max(repetitions // 10, 5), smtp_port=smtp_port)
        shares = {name: defaults["classic"] / defaults[name] for name in EMAIL_FIRST}
        for name, lowest in LOWEST_RATIOS.items():
            if shares[name] < lowest:
                self.over_limits.append(
                    f"with e-mail first, to register ({name}) costs 1/{shares[name]:.0f} of an account at sign-up,"
                    f" more than 1/{lowest}"
                )
        rows = [
            (label, f"{near_free[name]:,.0f}", f"{defaults[name]:,.0f}", f"1/{shares[name]:.1f}")
            for name, label in EMAIL_FIRST.items()
        ]
        return table(("CPU microseconds", "near-free", "defaults", "of the account at sign-up"), rows)

    def _start(self) -> str:
        found = measure_start(self._databases, self._plan.starts)
        rows = [(label, *(f"{found[side][name]:.1f}" for side in SIDES)) for name, label in STEPS.items()]
        return table(("CPU milliseconds", *SIDES), rows)

    def _throughput(self) -> Iterator[str]:
        blocks, size = self._plan.load_blocks, self._plan.load_block_size
        found = measure_throughput(self._databases, users=12 * (blocks + 1) * size, blocks=blocks, block_size=size)
        yield f"gunicorn with {SERVER_WORKERS} workers, {CONNECTIONS} connections, the near-free configuration."
        rows = [
            (request, *(f"{it.median(side):,.0f}" for side in SIDES), with_range(it.ratios))
            for request, it in found.items()
        ]
        yield table(("requests a second", *SIDES, "ratio (range of the pairs)"), rows)


def times_table(series: Mapping[int, Series]) -> str:
    """Show the CPU time of each request."""
    rows = []
    for request in REQUESTS:
        for users, found in series.items():
            it = found.comparisons[request]
            times = [f"{time:,.0f}" for side in SIDES for time in (it.median(side), it.p95(side))]
            rows.append((request, f"{users:,}", *times, with_range(it.ratios)))
    return table(("request", "users", "ours", "ours p95", "floor", "floor p95", "ratio (range of the rounds)"), rows)


def growth_table(series: Mapping[int, Series]) -> str:
    """Show what a request costs as a multiple of what it costs with the fewest accounts."""
    rows = []
    for request in REQUESTS:
        first = series[min(series)].comparisons[request]
        for users, found in series.items():
            growth = (found.comparisons[request].median(side) / first.median(side) for side in SIDES)
            rows.append((request, f"{users:,}", *(f"{each:.2f}" for each in growth)))
    return table(("request", "users", *SIDES), rows)


def memory_table(series: Mapping[int, Series]) -> str:
    """Show the peak of the resident memory."""
    rows = [(f"{users:,}", *(f"{found.memory[side]:.1f}" for side in SIDES)) for users, found in series.items()]
    return table(("users", *(f"{side}, MiB" for side in SIDES)), rows)


def with_range(ratios: Sequence[float]) -> str:
    """Write the median of ratios, and between which values they lay."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a simple table; the first column is aligned left, the others right."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    texts = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
    return "\n".join([rule, texts[0], rule, *texts[1:], rule])


def section(title: str, *blocks: str) -> str:
    """Put texts and tables under a title."""
    return "\n\n".join([f"{title}\n{'-' * len(title)}", *blocks])


def versions() -> str:
    """Say what is measured on."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in DISTRIBUTIONS]
    text = (
        f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {', '.join(found)}; {platform.system()} on {platform.machine()}, {os.cpu_count()} processors."
    )
    return textwrap.fill(text, width=118, break_on_hyphens=False)


@contextmanager
def mail_server() -> Iterator[int]:
    """Run the quickstart's mailbox in a process of its own, whose time does not count, and give its port."""
    program = "import dev_mailbox as it; box = it.Mailbox(1); box.start(); print(box.port, flush=True); input()"
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=_QUICKSTART, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else "")
        finally:
            process.terminate()


def write_readme(figures: str) -> None:
    """Put the figures between the README's markers."""
    before, rest = _README.read_text(encoding="utf-8").split(_START)
    after = rest.split(_END)[1]
    _README.write_text(f"{before}{_START}\n{figures}\n{_END}{after}", encoding="utf-8")


def main() -> int:
    """Run the benchmark as the command line says.

    :returns: the exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure a little of everything, for CI")
    parser.add_argument("--write-readme", action="store_true", help="write the figures into README.rst as well")
    options = parser.parse_args()
    started = time.monotonic()
    sections = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, mail_server() as port:
        # Installed modules are compiled; so these are too, where the environment forbids bytecode beside them.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        benchmark = Benchmark(SHORT if options.short else FULL, Databases(Path(folder)))
        for text in benchmark.run(port):
            print(f"{text}\n", flush=True)
            print(f"[{time.monotonic() - started:.0f} s]", file=sys.stderr, flush=True)
            sections.append(text)
    if options.write_readme:
        write_readme("\n\n".join(sections) + "\n")
    if not options.short:  # which measures too little to judge by it
        benchmark.failures += benchmark.over_limits
    for failure in benchmark.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if benchmark.failures else 0


if __name__ == "__main__":
    sys.exit(main())
