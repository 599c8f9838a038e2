"""Running tests on changed copies of the checkout, each in a fork of a process that has imported the libraries."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "flask_rest_registration"

# Importing them takes most of the time that a test run of one second has; what is ours is imported anew.
_LIBRARIES: Final = (
    *("pytest", "_pytest.assertion.rewrite", "hypothesis", "xdist", "pytest_cov.plugin"),
    *("flask", "flask_sqlalchemy", "flask_mail", "flask_babel", "flask_limiter", "flask_wtf", "flask_login"),
    *("sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.mysql"),
    *("marshmallow", "marshmallow_sqlalchemy", "email_validator", "zxcvbn_rs_py", "apispec", "celery", "kombu"),
    *("aiosmtpd.controller", "aiosmtpd.smtp", "babel.messages.pofile", "openapi_spec_validator", "flask_smorest"),
    *("redis", "pymysql", "psycopg", "asgiref.sync", "argon2", "bcrypt", "flask_jwt_extended"),
)

_POLL_SECONDS: Final = 0.02
_FIRST_TESTS: Final = 20


@dataclass(frozen=True)
class Job:
    """One change of one file, and the tests that might notice it.

    :param path: the file, within the checkout.
    :param source: what stands in the file during the run.
    :param tests: their names.
    :param timeout: seconds after which the change counts as noticed: it made something endless.
    """

    path: str
    source: str
    tests: Sequence[str]
    timeout: float


@dataclass
class _Run:
    job: Job
    number: int
    slot: int
    deadline: float


def import_libraries() -> None:
    """Import what the tests need and no change touches."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # pytest collects garbage at its end, and would look through all of it


def copy_checkout(folder: Path) -> Path:
    """Copy what the tests need.

    :param folder: where to; it must not exist.
    :returns: the folder.
    """
    unwanted = (".git", ".venv", "*cache*", ".pytest_tmp", ".hypothesis", "dist", "build", "node_modules", "_build")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*unwanted))
    return folder


def run_pytest(checkout: Path, tests: Sequence[str], log: Path) -> int:
    """Run tests on a copy of the checkout up to the first that fails, in this process, which must end afterwards.

    :param checkout: the copy.
    :param tests: their names.
    :param log: gets what is printed.
    :returns: pytest's exit status.
    """
    os.chdir(checkout)
    with log.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    _forget(PACKAGE, "tests")
    sys.path[:] = [str(checkout), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    sys.dont_write_bytecode = True  # of the changed file: within a second it could pass for that of the next change
    import pytest

    # The libraries are imported already, so that pytest cannot rewrite their assertions.
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["-x", "-q", "--basetemp", str(log.parent / "tmp")]
    status = 0
    # Most changes are noticed by the first tests, for which few modules have to be imported.
    for chosen in (tests[:_FIRST_TESTS], tests[_FIRST_TESTS:]):
        if chosen and not status:
            status = int(pytest.main([*options, *chosen]))
            _forget("tests.test_")  # pytest keeps names of cases in their marks, and would escape them once more
    return status


def _forget(*prefixes: str) -> None:
    """Have modules imported anew, those whose names begin so."""
    for name in [name for name in sys.modules if name.startswith(prefixes)]:
        del sys.modules[name]


def in_fork(action: Callable[[], int]) -> int:
    """Start a process of its own group, which ends with what an action returns.

    :param action: runs in it.
    :returns: its process id.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        status = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Pool:
    """As many copies of the checkout as there are processors, each with at most one run.

    :param folder: where the copies live.
    :param size: how many.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._logs = [folder / f"log-{slot}" / "pytest.log" for slot in range(size)]
        for log in self._logs:
            log.parent.mkdir()
        self.checkouts = [copy_checkout(folder / f"checkout-{slot}") for slot in range(size)]
        self._runs: dict[int, _Run] = {}

    def outcomes(self, jobs: Iterator[Job]) -> Iterator[tuple[int, int | None, str]]:
        """Do all jobs.

        :param jobs: in the order in which they are started.
        :yields: a job's number, pytest's exit status or None for a time-out, and what was printed; as they end.
        """
        numbered = enumerate(jobs)
        exhausted = False
        while self._runs or not exhausted:
            free = set(range(len(self.checkouts))) - {run.slot for run in self._runs.values()}
            for slot in free:
                number, job = next(numbered, (0, None))
                if job is None:
                    exhausted = True
                    break
                self._start(number, job, slot)
            yield from self._ended()

    def _start(self, number: int, job: Job, slot: int) -> None:
        checkout, log = self.checkouts[slot], self._logs[slot]
        (checkout / job.path).write_text(job.source, encoding="utf-8")
        pid = in_fork(lambda: run_pytest(checkout, job.tests, log))
        self._runs[pid] = _Run(job, number, slot, time.monotonic() + job.timeout)

    def _ended(self) -> Iterator[tuple[int, int | None, str]]:
        before = time.monotonic()
        time.sleep(_POLL_SECONDS)
        self._forgive(time.monotonic() - before - _POLL_SECONDS)
        for pid, run in list(self._runs.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            outcome = os.waitstatus_to_exitcode(status) if done else None
            if not done and time.monotonic() < run.deadline:
                continue
            _end_group(pid)
            if not done:
                os.waitpid(pid, 0)
            del self._runs[pid]
            shutil.copyfile(ROOT / run.job.path, self.checkouts[run.slot] / run.job.path)
            yield run.number, outcome, self._logs[run.slot].read_text(errors="replace")

    def _forgive(self, seconds: float) -> None:
        """Put the ends off where the whole run was stopped for a while, as by Ctrl-Z."""
        if seconds > 1:
            for run in self._runs.values():
                run.deadline += seconds


def _end_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
