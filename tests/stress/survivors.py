"""The changes that no test notices: ``docs/survivors.rst`` says of each why that may be so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from .mutant_runs import ROOT

_PAGE: Final = ROOT / "docs" / "survivors.rst"

#: What stands for the new line where a change takes one away.
_NOTHING: Final = "(nothing)"

_EVERYWHERE: Final = "Everywhere"


@dataclass(frozen=True)
class Change:
    """A change as the page has it, without the numbers of its lines.

    :param module: the path within the package, without ``.py``.
    :param old: what stood there, in one line.
    :param new: what stands there instead.
    """

    module: str
    old: str
    new: str

    @classmethod
    def of(cls, module: str, diff: str) -> Change:
        """Read a change of one place.

        :param module: as :attr:`module`.
        :param diff: a unified diff, without the names of the files.
        """
        lines = diff.splitlines()
        old, new = (_joined(line[1:] for line in lines if line.startswith(sign)) for sign in "-+")
        return cls(module, old, new or _NOTHING)


class Reasons:
    """What the page explains.

    Below the heading of a module and a reason stands ``- old`` and then, for each change of that line, ``+ new``. Below
    the heading "Everywhere" stand those that are no different from module to module.
    """

    def __init__(self) -> None:
        self._changes, module, old = set[Change](), "", ""
        lines = _PAGE.read_text(encoding="utf-8").splitlines()
        for line, below in zip(lines, [*lines[1:], ""], strict=True):
            if re.fullmatch(r"-{3,}", below):
                module = line
            elif line.startswith("   - "):
                old = _joined([line[5:]])
            elif line.startswith("   + "):
                self._changes.add(Change(module, old, _joined([line[5:]])))

    def __contains__(self, change: Change) -> bool:
        return not self._changes.isdisjoint({change, replace(change, module=_EVERYWHERE)})


def as_page(changes: Iterable[Change]) -> str:
    """Write changes of one module as the page has them, for somebody to add the reasons.

    :param changes: those of one line after each other.
    """
    lines = [".. code-block:: diff", ""]
    for old, group in groupby(changes, key=lambda change: change.old):
        lines += [f"   - {old}", *(f"   + {change.new}" for change in group)]
    return "\n".join([*lines, ""])


def _joined(lines: Iterable[str]) -> str:
    return " ".join(" ".join(lines).split())
