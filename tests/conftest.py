from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings

from flask_rest_registration import user_activated, user_registered
from tests.support import apps
from tests.support.apps import Builder
from tests.support.clock import Clock
from tests.support.databases import CHOSEN, ON_SQLITE, Databases, Files, chosen_server
from tests.support.mail_servers import CERTIFICATE, RecordingServer
from tests.support.site import build_site

# They need Chromium, or Node.js: "make browser-test" and "make clients" name their folders.
collect_ignore = ["browser", "openapi_clients"]

# The same examples in every run; a slow machine is no fault of the code.
_ALWAYS = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _ALWAYS, max_examples=60)
settings.register_profile("ci", _ALWAYS, max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_on(*databases): what these alone do, such as SQLite's lock of a file")
    config.addinivalue_line("markers", 'database: the database decides: "make test" runs it on every server')
    config.addinivalue_line("markers", 'slow: takes seconds: "make test-slow" runs it, and "make test" does not')
    config.addinivalue_line("markers", "slow_on_servers: is slow but on SQLite")
    config.addinivalue_line("markers", "programs: starts programs of its own: one version of Python is enough")
    server = chosen_server()
    if server is not None and not hasattr(config, "workerinput") and (failure := server.failure()):
        if os.environ.get("REQUIRE_SERVICES") == "1":
            raise pytest.UsageError(failure)
        pytest.exit(f"{failure}: the tests on it are skipped.", returncode=0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Have half as many workers again as processors, since many tests wait for servers."""
    return ((os.cpu_count() or 1) * 3 + 1) // 2


_DESELECTED = pytest.StashKey[dict[str, int]]()


def _reason_to_deselect(item: pytest.Item) -> str | None:
    only_on = item.get_closest_marker("only_on")
    if only_on and CHOSEN not in only_on.args:
        return "of what other databases alone do"
    if ON_SQLITE:
        return None
    if "server_databases" not in getattr(item, "fixturenames", ()):
        return "without an app on the database of this run"
    return None


@pytest.hookimpl(tryfirst=True)  # before "-m" chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what other databases do, and on a server what never meets it."""
    for item in items:
        if not ON_SQLITE and item.get_closest_marker("slow_on_servers"):
            item.add_marker("slow")
    reasons = {item: _reason_to_deselect(item) for item in items}
    deselected = Counter(reason for reason in reasons.values() if reason)
    config.stash[_DESELECTED] = deselected
    if hasattr(config, "workeroutput"):
        config.workeroutput["deselected"] = dict(deselected)
    config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
    items[:] = [item for item in items if not reasons[item]]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take what a worker of pytest-xdist left out."""
    if deselected := getattr(node, "workeroutput", {}).get("deselected"):
        node.config.stash[_DESELECTED] = deselected


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason, count in config.stash.get(_DESELECTED, {}).items():
        terminalreporter.write_line(f"On {CHOSEN}, {count} tests {reason} are left out.")


@pytest.fixture(autouse=True)
def disposed_apps() -> Iterator[None]:
    """Close the connections of the apps that a test makes; those of a module's fixtures are older than the test."""
    older = len(apps.made)
    yield
    for built in apps.made[older:]:
        built.dispose()
    del apps.made[older:]


@pytest.fixture
def smtp() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.fixture(scope="session")
def server_databases() -> Iterator[Databases | None]:
    """The databases of this process on the server that ``TEST_DATABASE`` names; None on SQLite."""
    server = chosen_server()
    if server is None:
        yield None
        return
    databases = Databases(server)
    yield databases
    databases.drop()


@pytest.fixture
def build(tmp_path: Path, smtp: RecordingServer, server_databases: Databases | None) -> Iterator[Builder]:
    builder = Builder(server_databases or Files(tmp_path), smtp)
    yield builder
    builder.dispose()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built documentation."""
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr("flask_rest_registration.clock.now", stopped)
    return stopped


@pytest.fixture
def trusted_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients trust the certificate of the servers that speak TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest.fixture
def signals() -> Iterator[list[Any]]:
    """The address of each ``user_registered``."""
    addresses: list[Any] = []

    def keep(sender: Flask, user: Any, **_: object) -> None:
        addresses.append(user.email)

    with user_registered.connected_to(keep):
        yield addresses


@pytest.fixture
def activations() -> Iterator[list[Any]]:
    """The users of each ``user_activated``, whatever app it comes from."""
    users: list[Any] = []

    def keep(sender: Flask, user: Any, **_: object) -> None:
        users.append(user)

    with user_activated.connected_to(keep):
        yield users
