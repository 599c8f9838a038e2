from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings

from flask_rest_registration import user_activated, user_registered

from .support import apps
from .support.apps import Builder
from .support.clock import Clock
from .support.mail_servers import CERTIFICATE, RecordingServer

# They need Chromium: "make browser-test" names their folder.
collect_ignore = ["browser"]

# The same examples in every run; a slow machine is no fault of the code.
_ALWAYS = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _ALWAYS, max_examples=60)
settings.register_profile("ci", _ALWAYS, max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


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


@pytest.fixture
def build(tmp_path: Path, smtp: RecordingServer) -> Iterator[Builder]:
    builder = Builder(tmp_path, smtp)
    yield builder
    builder.dispose()


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
