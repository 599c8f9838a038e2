"""Change the package in one small place after the other, and see whether the tests notice.

Run it with ``make mutants``, or ``make mutants MODULE=signers`` for one module. cosmic-ray makes the changes. The tests
are run once with their coverage; then each change gets some of the tests that run its lines, the quickest first, up to
the first that fails. That one is run after the same others without the change too: if it fails there as well, it is
left out. What survives without a reason in ``docs/survivors.rst`` is printed as that page has it. What survived stands
in ``mutants.json`` beside this file too: a module that is the same by now is not tried again. Delete the file, and all
are.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from .mutant_runs import PACKAGE, ROOT, Job, Pool, import_libraries
from .mutant_tests import FEW_SECONDS, MANY_SECONDS, Coverage
from .survivors import Change, Reasons, as_page

_RESULTS: Final = ROOT / "tests" / "stress" / "mutants.json"


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
    """What became of the changes of whole modules, kept for the next run."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = json.loads(_RESULTS.read_text(encoding="utf-8")) if _RESULTS.exists() else {}

    def of(self, path: str, mutants: list[Mutant]) -> dict[str, str]:
        """Return the outcomes of a module's changes by their diffs; none if the module is another one by now."""
        kept = self._kept.get(path)
        if kept is None or kept["digest"] != _digest(path):
            return {}
        survived: dict[str, str] = kept["survived"]
        return {each.diff: survived.get(each.diff, "killed") for each in mutants}

    def keep(self, path: str, outcomes: dict[str, str]) -> None:
        """Write down the outcomes of all changes of a module."""
        survived = {diff: outcome for diff, outcome in outcomes.items() if outcome != "killed"}
        self._kept[path] = {"digest": _digest(path), "changes": len(outcomes), "survived": survived}
        text = json.dumps(self._kept, indent=1, ensure_ascii=False, sort_keys=True)
        _RESULTS.write_text(f"{text}\n", encoding="utf-8")


def _digest(path: str) -> str:
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()


def _outcome(status: int | None, printed: str) -> str:
    if status == 0:
        return "survived"
    if status is None or status < 0:
        return "killed"  # by its time, or by a signal of its own
    # 1: a test failed. 2, 4: a module of tests, or conftest.py, could not be imported. Anything else is our fault.
    was_not_imported = "found no collectors" in printed or "ImportError while loading conftest" in printed
    has_failed = any(words in printed for words in ("\nFAILED ", "PytestUnraisableExceptionWarning"))
    if status in {1, 2} or (status == 4 and was_not_imported) or has_failed:
        return "killed"
    return f"error {status}: {printed[-300:]}"


class Trials:
    """Trying the changes of modules, and printing what became of them.

    :param folder: for copies of the checkout.
    :param again: whether what has survived without a reason gets many more tests.
    :param every: one change in so many is tried.
    """

    def __init__(self, folder: Path, *, again: bool, every: int) -> None:
        self._again = again
        self._every = every
        self._results = Results()
        self._reasons = Reasons()
        started = time.monotonic()
        import_libraries()
        self._pool = Pool(folder, os.cpu_count() or 1)
        self._coverage = Coverage(self._pool.checkouts[0])
        print(f"The tests without a change took {time.monotonic() - started:.0f} s.", flush=True)

    def of(self, name: str) -> Counter[str]:
        """Try the changes of a module.

        :param name: as :func:`modules` has it.
        :returns: how many were ``killed``, ``survived``, and survived ``without a reason``.
        """
        path, began = f"{PACKAGE}/{name}.py", time.monotonic()
        mutants = sorted(mutants_of(path), key=lambda each: each.lines.start)[:: self._every]
        outcomes = self._results.of(path, mutants)
        self._run([each for each in mutants if each.diff not in outcomes], outcomes, seconds=FEW_SECONDS)
        survivors = [each for each in mutants if outcomes[each.diff] != "killed"]
        puzzling = [each for each in survivors if Change.of(name, each.diff) not in self._reasons]
        if self._again:
            self._run(puzzling, outcomes, seconds=MANY_SECONDS)
            puzzling = [each for each in puzzling if outcomes[each.diff] != "killed"]
        if self._every == 1:
            self._results.keep(path, outcomes)
        for each in puzzling:
            if outcomes[each.diff] != "survived":
                print(each.diff, outcomes[each.diff], sep="\n")
        if puzzling:
            print(as_page(Change.of(name, each.diff) for each in puzzling))
        killed = sum(outcomes[each.diff] == "killed" for each in mutants)
        found = Counter({"killed": killed, "survived": len(mutants) - killed, "without a reason": len(puzzling)})
        print(f"{path}: {score(found)}, in {time.monotonic() - began:.0f} s", flush=True)
        return found

    def _run(self, mutants: list[Mutant], outcomes: dict[str, str], *, seconds: float) -> None:
        while mutants:
            tests = {
                (path, lines): tuple(self._coverage.tests_of(path, lines, seconds=seconds))
                for path, lines in dict.fromkeys((each.path, each.lines) for each in mutants)
            }
            jobs = [
                Job(each.path, each.source, tests[each.path, each.lines], timeout=20 + 2 * seconds) for each in mutants
            ]
            noticed_by: dict[int, str] = {}
            for number, status, printed in self._pool.outcomes(iter(jobs)):
                outcomes[mutants[number].diff] = _outcome(status, printed)
                if test := failed_test(printed, jobs[number].tests):
                    noticed_by[number] = test
            alarms = self._false_alarms(jobs, noticed_by)
            for test in sorted(alarms):
                print(f"Left out, since it fails after others without any change: {test}", flush=True)
            self._coverage.leave_out(alarms)
            mutants = [mutants[number] for number, test in noticed_by.items() if test in alarms]

    def _false_alarms(self, jobs: Sequence[Job], noticed_by: Mapping[int, str]) -> set[str]:
        """Run the tests that noticed changes once more without a change, after the same others.

        :returns: those that fail.
        """
        needed: Counter[Sequence[str]] = Counter()
        for number, test in noticed_by.items():
            tests = jobs[number].tests
            needed[tests] = max(needed[tests], tests.index(test) + 1)
        pending = dict.fromkeys(tests[:count] for tests, count in needed.items())
        unchanged = (ROOT / jobs[0].path).read_text(encoding="utf-8")
        found = set[str]()
        while pending:
            controls = [replace(jobs[0], source=unchanged, tests=tests) for tests in pending]
            failed = {
                controls[number].tests: failing
                for number, _, printed in self._pool.outcomes(iter(controls))
                if (failing := failed_test(printed, controls[number].tests))
            }
            found.update(failed.values())
            pending = dict.fromkeys(tuple(each for each in tests if each not in found) for tests in failed)
        return found


def failed_test(printed: str, tests: Sequence[str]) -> str | None:
    """Return the test that failed first.

    :param printed: by pytest.
    :param tests: those that were run.
    """
    words = re.findall(r"^(?:FAILED|ERROR) (.*)$", printed, re.MULTILINE)
    return next((test for test in tests if any(f"{each} - ".startswith(f"{test} - ") for each in words)), None)


def score(found: Counter[str]) -> str:
    """Say how many changes were noticed.

    :param found: as :meth:`Trials.of` counts them.
    """
    killed, tried = found["killed"], found["killed"] + found["survived"]
    return f"{killed} of {tried} killed ({100 * killed / (tried or 1):.1f} %)"


def main() -> None:
    """Try one module, several, or all after each other."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths within the package; by default all")
    parser.add_argument("--again", action="store_true", help="give what survived without a reason many more tests")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try one change in N")
    options = parser.parse_args()
    names = [name.removesuffix(".py") for name in options.modules] or modules()
    if unknown := set(names) - set(modules()):
        sys.exit(f"{PACKAGE} has no module {', '.join(sorted(unknown))}.")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trials = Trials(Path(folder), again=options.again, every=options.every)
        total = sum((trials.of(name) for name in names), Counter[str]())
    puzzling = total["without a reason"]
    print(f"{PACKAGE}: {score(total)}; {puzzling} have no reason in docs/survivors.rst")
    sys.exit(bool(puzzling) or total["killed"] < 9 * total["survived"])


if __name__ == "__main__":
    main()
