"""Change the package in one small place after the other, and see whether the tests notice.

Run it with ``make mutants``, or ``make mutants MODULE=signers`` for one module. cosmic-ray makes the changes. The tests
are run once with their coverage; then each change gets the tests that run its lines, the quickest first, up to the
first that fails. What survives without a reason in ``docs/survivors.rst`` is printed as that page has it. All outcomes
stand in ``mutants.json`` for the next run, which tries nothing again as long as the module stays as it is.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from .mutant_runs import PACKAGE, ROOT, Job, Pool, import_libraries
from .mutant_tests import MOST_SECONDS, Coverage
from .survivors import Change, Reasons, as_page

_RESULTS: Final = ROOT / "mutants.json"


@dataclass(frozen=True)
class Mutant:
    """One change.

    :param path: the module's file, within the checkout.
    :param lines: the lines that are changed.
    :param source: the module with the change.
    :param diff: the change, for people.
    """

    path: str
    lines: range
    source: str
    diff: str


def modules() -> list[str]:
    """List the modules of the package by their paths within it, without ``.py``."""
    package = ROOT / PACKAGE
    return sorted(path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py"))


def mutants_of(path: str) -> Iterator[Mutant]:
    """Make every change of a module, but for those of annotations, which nothing evaluates.

    :param path: the module's file, within the checkout.
    """
    source = (ROOT / path).read_text(encoding="utf-8")
    unchecked = list(_unevaluated(source))
    nodes = list(ast_nodes(get_ast(source)))
    seen = {source}
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments():
            continue
        places = [place for node in nodes for place in operator().mutation_positions(node)]
        for occurrence, (start, end) in enumerate(places):
            if any(first <= start and end <= last for first, last in unchecked):
                continue
            try:
                changed = mutate_code(source, operator(), occurrence)
            except AttributeError:  # cosmic-ray's own: it replaces no exception that stands in a module, as exc.Error
                continue
            if changed is not None and changed not in seen:
                seen.add(changed)
                yield Mutant(path, range(start[0], end[0] + 1), changed, _diff(source, changed, path))


def _unevaluated(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the places of annotations, of imports for type checkers, and of the ``*`` and ``**`` of parameters.

    cosmic-ray takes the latter for operators.
    """
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        found = [getattr(node, name, None) for name in ("annotation", "returns")]
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            yield from _stars(node, lines)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found.append(node.test)
        for each in found:
            if isinstance(each, ast.expr) and each.end_lineno is not None and each.end_col_offset is not None:
                yield (each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)


def _stars(node: ast.FunctionDef | ast.Lambda, lines: list[str]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the places of stars in a signature, but for those in a default."""
    first = node.body[0] if isinstance(node, ast.FunctionDef) else node.body
    defaults = [each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None]
    for number in range(node.lineno, first.lineno + 1):
        for found in re.finditer(r"\*\*?", lines[number - 1]):
            start, end = (number, found.start()), (number, found.end())
            is_before_body = end <= (first.lineno, first.col_offset)
            if is_before_body and not any(_holds(each, start) for each in defaults):
                yield start, end


def _holds(node: ast.expr, place: tuple[int, int]) -> bool:
    return (node.lineno, node.col_offset) <= place <= (node.end_lineno or 0, node.end_col_offset or 0)


def _diff(source: str, changed: str, path: str) -> str:
    lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), path, path, n=0, lineterm="")
    return "\n".join(list(lines)[2:])


class Results:
    """What became of the changes, kept for the next run."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}

    def of(self, path: str) -> dict[str, str]:
        """Return the outcomes of a module's changes by their text; none if the module is another one by now."""
        digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
        kept = self._kept.get(path, {})
        if kept.get("digest") != digest:
            kept = self._kept[path] = {"digest": digest, "outcomes": {}}
        outcomes: dict[str, str] = kept["outcomes"]
        return outcomes

    def save(self) -> None:
        """Write them."""
        _RESULTS.write_text(json.dumps(self._kept, indent=1, ensure_ascii=False), encoding="utf-8")


def _outcome(status: int | None, printed: str) -> str:
    if status == 0:
        return "survived"
    if status is None or status < 0:
        return "killed"  # by its time, or by a signal of its own
    # 1: a test failed. 2, 4: a module of tests, or conftest.py, could not be imported. Anything else is our fault.
    was_not_imported = "found no collectors" in printed or "ImportError while loading conftest" in printed
    if status in {1, 2} or (status == 4 and was_not_imported):
        return "killed"
    return f"error {status}: {printed[-300:]}"


def try_mutants(names: list[str], folder: Path, *, again: bool, every: int) -> bool:
    """Try the changes of some modules, and print what became of them.

    :param names: as :func:`modules` has them.
    :param folder: for copies of the checkout.
    :param again: also those whose outcome is known, if they survived.
    :param every: one in so many.
    :returns: whether nine in ten were noticed, and there is a reason for each of the others.
    """
    results, started = Results(), time.monotonic()
    import_libraries()
    pool = Pool(folder, os.cpu_count() or 1)
    coverage = Coverage(pool.checkouts[0])
    print(f"The tests without a change took {time.monotonic() - started:.0f} s.", flush=True)
    reasons, totals, unexplained = Reasons(), Counter[str](), 0
    for name in names:
        path = f"{PACKAGE}/{name}.py"
        known, began = results.of(path), time.monotonic()
        mutants = list(mutants_of(path))[::every]
        waiting = [each for each in mutants if each.diff not in known or (again and known[each.diff] != "killed")]
        for number, status, printed in pool.outcomes(_job(coverage, each) for each in waiting):
            known[waiting[number].diff] = _outcome(status, printed)
        results.save()
        found = Counter("killed" if known[each.diff] == "killed" else "survived" for each in mutants)
        totals += found
        survivors = sorted(
            (each for each in mutants if known[each.diff] != "killed"), key=lambda each: each.lines.start
        )
        for each in survivors:
            if known[each.diff] != "survived":
                print(each.diff, known[each.diff], sep="\n")
        changes = [Change.of(name, each.diff) for each in survivors]
        if new := [change for change in changes if change not in reasons]:
            unexplained += len(new)
            print(as_page(new))
        print(f"{path}: {_score(found)}, in {time.monotonic() - began:.0f} s", flush=True)
    print(f"{PACKAGE}: {_score(totals)}; {unexplained} without a reason in docs/survivors.rst")
    return totals["killed"] >= 9 * totals["survived"] and not unexplained


def _score(found: Counter[str]) -> str:
    killed, tried = found["killed"], found.total()
    return f"{killed} of {tried} killed ({100 * killed / (tried or 1):.1f} %)"


def _job(coverage: Coverage, mutant: Mutant) -> Job:
    tests = coverage.tests_of(mutant.path, mutant.lines)
    return Job(mutant.path, mutant.source, tests, timeout=20 + 2 * MOST_SECONDS)


def main() -> None:
    """Try one module, several, or all after each other."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths within the package; by default all")
    parser.add_argument("--again", action="store_true", help="try again what survived, with other tests")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try one change in N")
    options = parser.parse_args()
    names = [name.removesuffix(".py") for name in options.modules] or modules()
    if unknown := set(names) - set(modules()):
        sys.exit(f"{PACKAGE} has no module {', '.join(sorted(unknown))}.")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        is_enough = try_mutants(names, Path(folder), again=options.again, every=options.every)
    sys.exit(not is_enough)


if __name__ == "__main__":
    main()
