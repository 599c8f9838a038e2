"""Tables and texts in reStructuredText."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import textwrap
from collections.abc import Iterable, Sequence

_DISTRIBUTIONS = (
    "Flask",
    "Werkzeug",
    "Flask-SQLAlchemy",
    "SQLAlchemy",
    "marshmallow",
    "marshmallow-sqlalchemy",
    "Flask-Mail",
    "itsdangerous",
    "email-validator",
    "zxcvbn-rs-py",
    "gunicorn",
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a simple table.

    :param head: the columns' titles.
    :param rows: as many texts each; the first one is not empty.
    """
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    texts = [_line(line, widths) for line in lines]
    return "\n".join([rule, texts[0], rule, *texts[1:], rule])


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        text.rjust(width) if column else text.ljust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def section(title: str, *blocks: str) -> str:
    """Put blocks under a title.

    :param title: the title.
    :param blocks: texts and tables.
    """
    return "\n\n".join([f"{title}\n{'-' * len(title)}", *blocks])


def versions() -> str:
    """Say what was measured on."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in _DISTRIBUTIONS]
    text = (
        f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {', '.join(found)}; {platform.system()} on {platform.machine()}, {os.cpu_count()} processors."
    )
    return textwrap.fill(text, width=118, break_on_hyphens=False)


def microseconds(value: float) -> str:
    """Write a time."""
    return f"{value:,.0f}"


def with_range(middle: float, values: Sequence[float]) -> str:
    """Write a ratio and between which values it lay."""
    return f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"
