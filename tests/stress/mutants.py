"""Change the package in one small place after the other, and see whether the tests notice.

Run it with ``make mutants MODULE=signers.py``. cosmic-ray makes the changes, in a copy of the checkout; only the tests
that are about the module are run, up to the first that fails. What survives is printed with its change.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

_ROOT: Final = Path(__file__).parents[2]
_PACKAGE: Final = "flask_rest_registration"

_CLAIMS: Final = "claim_model claim_settings resend reclaim reject purge hidden_existence password_at_verification"

#: The tests that are about a module, by the names of their modules, the quickest to notice first.
TESTS: Final = {
    "accounts": f"register verify statements failures concurrency user_models {_CLAIMS}",
    "addresses": "serializers settings mail hostile_input",
    "attributes": f"user_models verify claim_model settings check {_CLAIMS}",
    "checks": "check",
    "claim_rules": f"claim_settings check {_CLAIMS}",
    "claim_statements": f"{_CLAIMS} claim_races statements",
    "claims": f"{_CLAIMS} claim_races failures",
    "cli": "check purge",
    "clock": "link verify settings purge resend",
    "contradictions": "settings claim_settings check",
    "database_errors": "database_errors failures concurrency secrets",
    "exceptions": "http settings failures secrets extension",
    "extension": "extension settings http",
    "fields": "serializers hostile_input user_models",
    "html_to_text": "mail",
    "links": "verify link reject password_at_verification",
    "login": "login",
    "messages": "mail link secrets",
    "model_inspection": "user_models check settings",
    "new_users": "register passwords user_models password_at_verification mass_assignment failures",
    "notifications": "mail failures resend hidden_existence",
    "owners": "resend hidden_existence failures",
    "passwords": "passwords hostile_input",
    "registration": "register verify signals failures password_at_verification hidden_existence",
    "safe_logging": "secrets failures",
    "serializers": "serializers mass_assignment user_models hostile_input password_at_verification settings",
    "settings": "settings claim_settings docs",
    "signals": "signals failures",
    "signers": "link verify reject claim_model settings",
    "smtp": "mail failures",
    "state": "extension settings check user_models",
    "storing": "register failures concurrency reclaim hidden_existence database_errors statements",
    "transactions": "concurrency failures statements database_errors signals mass_assignment",
    "unique": "user_models register database_errors",
    "user_model": "user_models check settings verify",
    "views": "http hostile_input register verify",
    "contrib/hibp": "hibp",
    "testing/bodies": "testing",
    "testing/collection": "testing",
    "testing/hostile": "testing",
    "testing/target": "testing",
}

_CONFIGURATION: Final = """\
[cosmic-ray]
module-path = "{module}"
timeout = {timeout:.1f}
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"
"""


def places_of_annotations(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the places of annotations, which nothing evaluates: ``str | None`` and ``str - None`` are one there."""
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            found = getattr(node, name, None)
            if isinstance(found, ast.expr) and found.end_lineno is not None and found.end_col_offset is not None:
                yield (found.lineno, found.col_offset), (found.end_lineno, found.end_col_offset)


def leave_out_annotations(session: WorkDB, source: str) -> None:
    """Mark the mutants that are the program itself."""
    places = list(places_of_annotations(source))
    for item in list(session.pending_work_items):
        mutation = item.mutations[0]
        if any(start <= mutation.start_pos and mutation.end_pos <= end for start, end in places):
            session.set_result(item.job_id, WorkResult(WorkerOutcome.SKIPPED))


def copied_checkout(folder: Path) -> Path:
    """Copy what the tests need."""
    copy = folder / "checkout"
    unwanted = shutil.ignore_patterns(".git", ".venv", "*cache*", ".pytest_tmp", ".hypothesis", "dist", "build")
    shutil.copytree(_ROOT, copy, ignore=unwanted)
    return copy


def mutate(module: str, checkout: Path) -> bool:
    """Try the mutants of a module, and print what became of them.

    :param module: its path within the package, without ``.py``.
    :param checkout: a copy, which is changed.
    :returns: whether all were noticed.
    """
    path = Path(_PACKAGE, f"{module}.py")
    tests = " ".join(f"tests/test_{name}.py" for name in TESTS[module].split())
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {tests}"
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}

    start = time.monotonic()
    untouched = subprocess.run(
        command.split(), cwd=checkout, env=environment, check=False, stdout=subprocess.PIPE, text=True
    )
    if untouched.returncode:
        sys.exit(f"The tests fail without any change:\n{untouched.stdout[-3000:]}")
    seconds = time.monotonic() - start

    configuration = checkout / "mutants.toml"
    configuration.write_text(_CONFIGURATION.format(module=path, timeout=30 + 5 * seconds, command=command))
    cosmic_ray = [str(Path(sys.executable).with_name("cosmic-ray"))]
    session_file = checkout / "mutants.sqlite"
    subprocess.run([*cosmic_ray, "init", configuration, session_file], cwd=checkout, env=environment, check=True)
    with use_db(str(session_file), mode=WorkDB.Mode.open) as session:
        leave_out_annotations(session, (checkout / path).read_text())
        count = len(list(session.pending_work_items))
    print(f"{path}: {count} mutants, {seconds:.0f} s for the tests without a change", flush=True)
    subprocess.run([*cosmic_ray, "exec", configuration, session_file], cwd=checkout, env=environment, check=True)
    with use_db(str(session_file), mode=WorkDB.Mode.open) as session:
        survived = _report(session, path, time.monotonic() - start)
    session_file.unlink()
    return not survived


def _report(session: WorkDB, path: Path, seconds: float) -> int:
    results = [result for _, result in session.results if result.worker_outcome is not WorkerOutcome.SKIPPED]
    for result in results:
        if result.test_outcome is TestOutcome.SURVIVED:
            print(result.diff)
    outcomes = Counter(str(result.test_outcome.value) for result in results if result.test_outcome)
    survived = outcomes[TestOutcome.SURVIVED.value]
    killed = len(results) - survived
    share = 100 * killed / (len(results) or 1)
    print(f"{path}: {killed} of {len(results)} killed ({share:.1f} %), {survived} survived, in {seconds:.0f} s")
    return survived


def main() -> None:
    """Try one module, or several after each other."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="+", help="paths within the package, or 'all'")
    chosen = parser.parse_args().modules
    names = [name.removesuffix(".py") for name in (TESTS if chosen == ["all"] else chosen)]
    unknown = [name for name in names if name not in TESTS]
    if unknown:
        sys.exit(f"No tests are known for {', '.join(unknown)}: see TESTS in {__file__}.")
    with tempfile.TemporaryDirectory() as folder:
        checkout = copied_checkout(Path(folder))
        killed = [mutate(name, checkout) for name in names]
    sys.exit(not all(killed))


if __name__ == "__main__":
    main()
