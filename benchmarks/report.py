"""The figures, as the README has them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from email_first import REQUESTS as EMAIL_FIRST_REQUESTS
from load import CONNECTIONS, WORKERS, Throughput
from measure import REQUESTS, Comparison, Series
from part_names import ALTERNATIVES, PARTS_OF_REGISTER, PARTS_OF_VERIFY
from sides import FLOOR, OURS, SIDES
from tables import microseconds, section, table, with_range

_HEAD = ("request", "users", "ours", "ours p95", "floor", "floor p95", "ratio (range of the rounds)")


def cpu_table(series: Mapping[int, Series]) -> str:
    """Show the CPU time of each request.

    :param series: what was found, by the number of accounts.
    """
    return table(
        _HEAD,
        [
            (request, f"{users:,}", *_cells(found.comparisons[request]))
            for request in REQUESTS
            for users, found in series.items()
        ],
    )


def _cells(it: Comparison) -> tuple[str, ...]:
    times = [figure for side in (OURS, FLOOR) for figure in (it.median(side), it.p95(side))]
    return (*map(microseconds, times), with_range(it.ratio, it.ratios))


def growth_table(series: Mapping[int, Series]) -> str:
    """Show what a request costs with many accounts, as a multiple of what it costs with the fewest.

    :param series: what was found, by the number of accounts.
    """
    smallest = series[min(series)].comparisons
    return table(
        ("request", "users", "ours", "floor"),
        [
            (
                request,
                f"{users:,}",
                *(f"{found.comparisons[request].median(side) / smallest[request].median(side):.2f}" for side in SIDES),
            )
            for request in REQUESTS
            for users, found in series.items()
        ],
    )


def statements_table(statements: Mapping[str, Mapping[str, list[str]]]) -> str:
    """Show the statements of each request.

    :param statements: their first words, by side and request.
    """
    return table(
        ("request", *SIDES),
        [(request, *(", ".join(statements[side][request]) for side in SIDES)) for request in REQUESTS],
    )


def start_table(startups: Mapping[str, list[dict[str, float]]], firsts: Mapping[str, list[dict[str, float]]]) -> str:
    """Show what starting costs.

    :param startups: as :func:`startup.measure_startup` gives them, by side.
    :param firsts: as :meth:`worker.Worker.first` gives them, by side.
    """
    rows = [
        ("the application without it", startups, "without"),
        ("importing it", startups, "import"),
        ("adding it (init_app)", startups, "init_app"),
        ("the first registration", firsts, "register"),
        ("the first verification", firsts, "verify"),
    ]
    return table(
        ("CPU milliseconds", *SIDES),
        [
            (label, *(f"{statistics.median(times[name] for times in measured[side]):.1f}" for side in SIDES))
            for label, measured, name in rows
        ],
    )


def memory_table(series: Mapping[int, Series]) -> str:
    """Show the peak of the resident memory.

    :param series: what was found, by the number of accounts.
    """
    return table(
        ("users", *(f"{side}, MiB" for side in SIDES)),
        [(f"{users:,}", *(f"{found.memory[side]:.1f}" for side in SIDES)) for users, found in series.items()],
    )


def throughput_table(throughput: Mapping[str, Throughput]) -> str:
    """Show what gunicorn answers.

    :param throughput: by kind of request.
    """
    return table(
        ("requests a second", *SIDES, "ratio (range of the pairs)"),
        [
            (
                request,
                *(f"{found.median(side):,.0f}" for side in SIDES),
                with_range(statistics.median(found.ratios), found.ratios),
            )
            for request, found in throughput.items()
        ],
    )


def throughput_words() -> str:
    """Say how the throughput was measured."""
    return f"gunicorn with {WORKERS} workers, {CONNECTIONS} connections, the near-free configuration."


def email_first_section(lean: Mapping[str, float], defaults: Mapping[str, float]) -> str:
    """Show what a sign-up costs with e-mail first, beside the account at sign-up.

    :param lean: as :func:`email_first.measure_email_first` gives them, in the near-free configuration.
    :param defaults: the same with everything at its defaults.
    """
    rows = [
        (
            label,
            microseconds(lean[name]),
            microseconds(defaults[name]),
            f"1/{defaults['classic'] / defaults[name]:.1f}",
        )
        for name, label in EMAIL_FIRST_REQUESTS
    ]
    head = ("CPU microseconds", "near-free", "defaults", "of the account at sign-up")
    return section("E-mail first", table(head, rows))


def parts_section(lean: Mapping[str, float], defaults: Mapping[str, float]) -> str:
    """Show where a request's time goes.

    :param lean: as :func:`parts.measure_parts` gives them, in the near-free configuration.
    :param defaults: the same with everything at its defaults.
    """
    head = ("CPU microseconds", "near-free", "defaults")
    blocks = []
    for request, parts in (("register", PARTS_OF_REGISTER), ("verify", PARTS_OF_VERIFY)):
        rows = [(label, microseconds(lean[name]), microseconds(defaults[name])) for name, label in parts]
        rest = lean[request] - sum(lean[name] for name, label in parts if not label.startswith("of this"))
        # Beside scrypt, whose time changes by more than that, the rest would be noise.
        rows.append(("the rest: what is the package's own", microseconds(rest), ""))
        rows.append((f"{request}, the whole request", microseconds(lean[request]), microseconds(defaults[request])))
        blocks.append(table(head, rows))
    others = table(head[:2], [(label, microseconds(lean[name])) for name, label in ALTERNATIVES])
    return section("Where the time goes", *blocks, "What the parts could have been instead:", others)
