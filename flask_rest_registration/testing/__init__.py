"""A pytest plugin that attacks an application's sign-up, with the application's own app, model and settings.

``pytest -p flask_rest_registration.testing`` adds the attacks to the application's tests; see ``docs/testing.rst``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, cast

import pytest
from flask import Flask

from ..exceptions import ConfigurationError
from ..state import AppState, app_state
from .bodies import make_body
from .collection import APP_FIXTURE, attacks_below, is_visible_in
from .target import Target, no_sign_up

_OPEN_FIELDS = "registration_open_fields"
_FOUND = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the plugin's settings."""
    parser.addini(APP_FIXTURE, "the fixture that returns the Flask app to attack", default="app")
    parser.addini(_OPEN_FIELDS, "fields that strangers may set, although their names suggest rights", type="args")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Add the attacks to the first folder that sees the app's fixture: only tests in it can use the fixture."""
    report = yield
    if isinstance(collector, pytest.Directory) and report.passed and is_visible_in(collector):
        collector.config.stash[_FOUND] = True
        report.result = [*attacks_below(collector), *(report.result or ())]
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a run without attacks, so that nobody takes it for one in which all attacks failed."""
    if not session.config.stash.get(_FOUND, False):
        raise pytest.UsageError(
            f"flask_rest_registration.testing found no fixture {session.config.getini(APP_FIXTURE)!r} in a conftest.py"
            " or plugin. Fix: define it there and let it return the Flask app, with its tables created; or name your"
            f" fixture in the ini option {APP_FIXTURE}."
        )


@pytest.fixture
def registration_body(request: pytest.FixtureRequest) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the body of a good sign-up, of a new person at each call.

    Override it where such a body does not suit your register serializer.
    """
    return partial(make_body, _app(request))


@pytest.fixture
def registration_target(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    registration_body: Callable[[], dict[str, Any]],
) -> Target:
    """Return the app as a target of attacks; whatever they change is put back."""
    app = _app(request)
    # As in production: an exception becomes a 500, and errors in receivers of signals are logged.
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    if "mail" in app.extensions:
        monkeypatch.setattr(app.extensions["mail"], "suppress", True)
    state = _state_of(app, request.config)
    return Target(
        state=state,
        settings=state.settings,
        new_body=registration_body,
        request=request,
        monkeypatch=monkeypatch,
        open_fields=frozenset(request.config.getini(_OPEN_FIELDS)),
    )


def _state_of(app: Flask, config: pytest.Config) -> AppState:
    try:
        with app.app_context():
            return app_state(app).ready()
    except ConfigurationError as error:
        raise no_sign_up(config, f"The application is not set up: {error}") from None


def _app(request: pytest.FixtureRequest) -> Flask:
    # pytest knows no types of fixtures.
    return cast(Flask, request.getfixturevalue(request.config.getini(APP_FIXTURE)))
