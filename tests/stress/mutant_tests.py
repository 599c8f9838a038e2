"""Which tests a change of a module is given: those that run its lines, by the coverage of each test."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from coverage import CoverageData

from .mutant_runs import ROOT

#: They start servers and processes of their own, which take long and whose coverage is not seen here.
_APART: Final = [
    f"tests/test_{name}.py"
    for name in (
        *("broken_databases", "broken_mail_servers", "docs", "docs_celery", "docs_examples", "docs_programs"),
        *("processes", "readme", "site", "storm"),
    )
]

_CLAIMS: Final = "claim_model claim_settings resend reclaim reject purge hidden_existence password_at_verification"

#: The tests that are about a module, by the names of their modules; those are tried first.
ABOUT: Final = {
    "accounts": f"register verify statements failures concurrency user_models {_CLAIMS}",
    "addresses": "serializers settings mail hostile_input register user_models",
    "attributes": f"user_models verify claim_model settings check {_CLAIMS}",
    "checks": "check settings",
    "claim_rules": f"claim_settings check {_CLAIMS}",
    "claim_statements": f"{_CLAIMS} claim_races statements",
    "column_fields": "serializers user_models hostile_input",
    "claims": f"{_CLAIMS} claim_races failures",
    "cli": "cli check purge",
    "clock": "link verify settings purge resend",
    "contradictions": "settings claim_settings check celery",
    "database_errors": "database_errors failures concurrency secrets",
    "exceptions": "http settings failures secrets extension verify register resend reject",
    "extension": "extension settings http",
    "fields": "serializers hostile_input user_models",
    "html_to_text": "mail",
    "library_texts": "translations",
    "links": "verify link reject password_at_verification",
    "login": "login",
    "messages": "mail link secrets translations",
    "model_inspection": "user_models check settings claim_settings",
    "new_users": "register passwords user_models password_at_verification mass_assignment failures",
    "notifications": "mail failures resend hidden_existence",
    "owners": "resend hidden_existence failures",
    "passwords": "passwords hostile_input",
    "registration": "register verify signals failures password_at_verification hidden_existence passwords",
    "safe_logging": "secrets failures",
    "serializers": "serializers link resend openapi mass_assignment user_models password_at_verification settings",
    "settings": "settings claim_settings resend mail cli login passwords celery check",
    "shown_settings": "cli",
    "signals": "signals failures",
    "signers": "link verify reject claim_model settings",
    "smtp": "mail failures",
    "state": "extension settings check user_models cli mail",
    "storing": "register failures claim_races concurrency reclaim hidden_existence database_errors statements",
    "texts": "translations",
    "transactions": "concurrency failures statements database_errors signals mass_assignment mail",
    "trial_mail": "cli",
    "unique": "user_models register database_errors",
    "user_model": "user_models check settings verify serializers passwords register",
    "views": "http hostile_input register verify hidden_existence resend reject",
    "contrib/celery": "celery",
    "contrib/hibp": "hibp",
    "contrib/openapi": "openapi",
    "contrib/openapi_schemas": "openapi",
    "testing/__init__": "testing",
    "testing/attacks/claims": "testing",
    "testing/attacks/links": "testing",
    "testing/attacks/mail": "testing",
    "testing/attacks/sign_up": "testing",
    "testing/bodies": "testing",
    "testing/collection": "testing",
    "testing/hostile": "testing",
    "testing/target": "testing",
}

#: How many seconds of tests a change gets; what they miss has survived. The times are those of the run without a
#: change, whose coverage and whose other processes make each test take longer.
FEW_SECONDS: Final = 30.0

#: The same for what has survived these and has no reason to.
MANY_SECONDS: Final = 120.0

_QUICK_SECONDS: Final = 0.1

_FINDS_MISTAKE: Final = "test_the_mistake_of_a_bad_application_is_found_by_one_attack_and_by_no_other"

#: So many tests may fail without a change, as those with a broker do on a busy machine; they are left out.
_MOST_FAILED: Final = 3


class Coverage:
    """Which tests run which lines, and how long each takes.

    :param checkout: a copy of the checkout, in which they are run.
    """

    def __init__(self, checkout: Path) -> None:
        options = ["-vv", "--durations=0", "--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0"]
        data = checkout.parent / "coverage.data"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--numprocesses=auto", *options, *(f"--ignore={path}" for path in _APART)],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout), "COVERAGE_FILE": str(data)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        self._failed = set(re.findall(r"^FAILED (\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE))
        if done.returncode and not 0 < len(self._failed) <= _MOST_FAILED:
            sys.exit(f"The tests fail without any change:\n{done.stdout[-3000:]}")
        for test in sorted(self._failed):
            print(f"Left out, since it fails without any change: {test}", flush=True)
        self._seconds: dict[str, float] = defaultdict(float)
        for seconds, test in re.findall(r"^([\d.]+)s (?:call|setup|teardown) +(\S.*)$", done.stdout, re.MULTILINE):
            self._seconds[test] += float(seconds)
        self._data = CoverageData(str(data))
        self._data.read()
        self._contexts: dict[str, dict[int, list[str]]] = {}
        self._checkout = checkout

    def leave_out(self, tests: set[str]) -> None:
        """Give no change these tests from now on."""
        self._failed |= tests

    def tests_of(self, path: str, lines: range, *, seconds: float) -> list[str]:
        """Return the tests of lines, as many as there is time for.

        What the import alone runs has those about the module too, a constant those of the lines that use it, and the
        head of a function those of its body.

        :param path: the module's file, within the checkout.
        :param lines: the lines.
        :param seconds: how much time there is; tests of no measurable time have a hundredth.
        """
        if path not in self._contexts:
            self._contexts[path] = self._data.contexts_by_lineno(str(self._checkout / path))
        contexts = self._contexts[path]
        source = (ROOT / path).read_text(encoding="utf-8")  # that of the copy may be changed at the moment
        around = _around(source, lines)
        # What only an import runs belongs to whichever test imported the module first.
        is_imported = lines.start not in around[1:]
        telling = [*around[1:], *_uses(source, lines)] if is_imported else lines
        about = {f"tests/test_{name}.py" for name in ABOUT.get(path.partition("/")[2].removesuffix(".py"), "").split()}
        found = {_test(context) for line in telling for context in contexts.get(line, ())}
        if is_imported:
            found |= {test for test in self._seconds if test.partition("::")[0] in about}
        found = found or {_test(context) for each in contexts.values() for context in each}
        run = Counter(_test(context) for line in around for context in contexts.get(line, ()))
        chosen: list[str] = []
        aimed = _aimed_tests(source, around or lines) if "/attacks/" in path else set()
        for test in self._in_order(found - {"", *self._failed}, aimed, about, run):
            seconds -= max(self._seconds[test], 0.01)
            if chosen and seconds < 0:
                break
            chosen.append(test)
        return chosen

    def _in_order(self, tests: set[str], aimed: set[str], about: set[str], run: Mapping[str, int]) -> list[str]:
        """Sort tests: aimed ones, those about the module, those that run most around the change, quick ones, others."""
        seen = Counter[str]()
        keys = {}
        for test in sorted(tests, key=lambda test: (self._seconds[test], test)):
            function = test.partition("[")[0]
            is_elsewhere, is_slow = test.partition("::")[0] not in about, self._seconds[test] > _QUICK_SECONDS
            keys[test] = (test not in aimed, is_elsewhere, -run.get(test, 0), is_slow, seen[function])
            seen[function] += 1
        return sorted(keys, key=keys.__getitem__)


def _test(context: str) -> str:
    return context.rpartition("|")[0]


def _around(source: str, lines: range) -> range:
    """Return the lines of the innermost function that holds some lines, or none."""
    found = range(0)
    for node in ast.walk(ast.parse(source)):  # from the outside in
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if lines.start in function:
                found = function
    return found


def _aimed_tests(source: str, lines: range) -> set[str]:
    """Return the tests of the bad applications that the attacks of some lines are to find.

    :param source: of the module with the attacks.
    :param lines: of an attack, or of what attacks share.
    """
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    attacks = {each.name for each in functions if each.lineno in lines}
    attacks |= {each.name for each in functions if any(used.id in attacks for used in _loaded(each))}
    # Read and not imported, since the package must not be in the process whose forks import it changed.
    text = (ROOT / "tests" / "bad_apps" / "__init__.py").read_text(encoding="utf-8")
    names = [
        name
        for attack, name in re.findall(r'^@found_by\("(\w+)".*\ndef (\w+)', text, re.MULTILINE)
        if f"test_{attack}" in attacks
    ]
    return {f"tests/test_testing.py::{_FINDS_MISTAKE}[{name}]" for name in names}


def _uses(source: str, lines: range) -> set[int]:
    """Return the lines of a module that use the constants which are set in some lines, or others made of these."""
    tree = ast.parse(source)
    names: set[str] = set()
    for node in tree.body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        is_there = set(lines) & set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if is_there or any(each.id in names for each in _loaded(node)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return {each.lineno for each in _loaded(tree) if each.id in names}


def _loaded(node: ast.AST) -> Iterator[ast.Name]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load))
