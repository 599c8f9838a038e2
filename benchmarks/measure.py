"""Comparing the two sides, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from databases import Databases
from processes import WorkerProcess, both_sides
from sides import FLOOR, OURS, SIDES

REQUESTS = ("register", "verify")


@dataclass
class Comparison:
    """The CPU time of one kind of request on both sides, in microseconds.

    :param times: of every request, by side.
    :param ratios: ours to the floor, one for each round: medians of requests that ran in turn.
    """

    times: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    ratios: list[float] = field(default_factory=list)

    def median(self, side: str) -> float:
        """Give the median of one side."""
        return statistics.median(self.times[side])

    def p95(self, side: str) -> float:
        """Give what 95 of 100 requests of one side stayed below."""
        return statistics.quantiles(self.times[side], n=20)[-1]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    def add_round(self, times: dict[str, list[float]]) -> None:
        """Take in what one round measured."""
        for side in SIDES:
            self.times[side] += times[side]
        self.ratios.append(statistics.median(times[OURS]) / statistics.median(times[FLOOR]))


@dataclass
class Series:
    """What one series of rounds found.

    :param comparisons: by kind of request.
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
    databases: Databases,
    *,
    users: Sequence[int],
    size: Rounds,
    smtp_port: int | None = None,
) -> dict[int, Series]:
    """Measure both sides in turn.

    Every round has fresh processes and fresh databases. Within it the sides take turns, block by block, so that what
    else happens on the machine meets both; the first block of each is for warming up and does not count. The numbers
    of accounts take turns round by round, for the same reason.

    :param databases: where databases come from.
    :param users: how many accounts they have.
    :param size: how much is measured.
    :param smtp_port: as :func:`configuration.configuration` has it.
    :returns: what was found, by the number of accounts.
    """
    series = {count: Series() for count in users}
    for number in range(size.rounds):
        for count, found in series.items():
            with both_sides(databases, users=count, smtp_port=smtp_port, seed=number) as workers:
                _add_round(found, workers, size)
    return series


def _add_round(series: Series, workers: Mapping[str, WorkerProcess], size: Rounds) -> None:
    times: dict[str, dict[str, list[float]]] = {request: {side: [] for side in SIDES} for request in REQUESTS}
    for worker in workers.values():
        worker.call("run", size.block_size)
    for block in range(size.blocks):
        for side in SIDES if block % 2 else reversed(SIDES):
            measured = workers[side].call("run", size.block_size)
            for request in REQUESTS:
                times[request][side] += measured[request]
    for side, worker in workers.items():
        series.memory[side] = max(series.memory[side], worker.call("memory"))
    for request, comparison in series.comparisons.items():
        comparison.add_round(times[request])
