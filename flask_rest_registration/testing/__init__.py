"""A pytest plugin: the attacks on a sign-up, run against an application's own app, model and settings.

``pytest -p flask_rest_registration.testing`` adds them to the application's tests; see ``docs/testing.rst``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, cast

import pytest
from flask import Flask

from ..exceptions import ConfigurationError
from ..state import Registration, app_state
from .bodies import make_body
from .collection import APP_FIXTURE, attacks_below, is_visible_in
from .target import NO_SIGN_UP, Target

_OPEN_FIELDS = "registration_open_fields"
_FOUND = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the plugin's settings."""
    parser.addini(APP_FIXTURE, "the fixture that gives the Flask app which is attacked", default="app")
    parser.addini(
        _OPEN_FIELDS, "fields that strangers may set on purpose, though their names promise rights", type="args"
    )


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Add the attacks to the first folder that sees the app's fixture; its tests alone can use it."""
    report = yield
    if isinstance(collector, pytest.Directory) and report.passed and is_visible_in(collector):
        collector.config.stash[_FOUND] = True
        report.result = [*attacks_below(collector), *(report.result or ())]
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run without attacks: a run that only looks as if the application had been attacked is worse."""
    if not session.config.stash.get(_FOUND, False):
        raise pytest.UsageError(
            f"flask_rest_registration.testing found no fixture {session.config.getini(APP_FIXTURE)!r} in a conftest.py"
            " or plugin: define it there, so that it gives the Flask app with its tables made, or name yours in the"
            f" ini option {APP_FIXTURE}."
        )


@pytest.fixture
def registration_body(request: pytest.FixtureRequest) -> Callable[[], dict[str, Any]]:
    """Give a function that makes the body of a good sign-up, each time of another person; override it at will."""
    return partial(make_body, _app(request))


@pytest.fixture
def registration_target(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    registration_body: Callable[[], dict[str, Any]],
) -> Target:
    """Give the attacks their app; whatever they change of it is put back."""
    app = _app(request)
    # As in production: an exception is a 500, and what a receiver of a signal raises is logged.
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    if "mail" in app.extensions:
        monkeypatch.setattr(app.extensions["mail"], "suppress", True)
    return Target(
        registration=_registration(app, request.config),
        new_body=registration_body,
        request=request,
        monkeypatch=monkeypatch,
        open_fields=frozenset(request.config.getini(_OPEN_FIELDS)),
    )


def _registration(app: Flask, config: pytest.Config) -> Registration:
    try:
        with app.app_context():
            return app_state(app).registration()
    except ConfigurationError as error:
        raise NO_SIGN_UP.failure(config, f"The application is not set up: {error}") from None


def _app(request: pytest.FixtureRequest) -> Flask:
    # Fixtures have no types.
    return cast(Flask, request.getfixturevalue(request.config.getini(APP_FIXTURE)))
