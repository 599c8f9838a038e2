"""A pytest plugin that attacks an application's sign-up, with the application's own app, model and settings.

``pytest -p flask_rest_registration.testing`` adds the attacks to the application's tests; see ``docs/testing.rst``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, cast

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from ..exceptions import ConfigurationError
from ..state import AppState, app_state
from .bodies import make_body
from .collection import APP_FIXTURE, attacks_below, is_visible_in
from .outbox import nothing_leaves
from .target import Target, refusal

_OPEN_FIELDS = "registration_open_fields"
_FOUND = pytest.StashKey[bool]()

_NOT_TESTING = "TESTING is false: attacks must reach neither the accounts nor the mailboxes of people."
_FIX_OF_APP = """Fix: let the fixture of the app return one for tests: with TESTING true before the app's extensions are
initialised, and with a database of the tests' own, in which the tables are made."""


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
def registration_login() -> Callable[[str, str], bool] | None:
    """Override it to have your log-in attacked: return ``login(email, password)``, which tells whether it lets them in.

    Each call is a visitor of its own.
    """
    return None


@pytest.fixture
def registration_target(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    registration_body: Callable[[], dict[str, Any]],
) -> Iterator[Target]:
    """Give the app as a target of attacks, whose mails stay here; whatever the attacks change is put back."""
    app = _app(request)
    if not app.testing:
        raise refusal(request.config, _NOT_TESTING, _FIX_OF_APP)
    # As in production: an exception becomes a 500, and errors in receivers of signals are logged.
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    state, others = _read(app, request.config)
    with nothing_leaves(state, monkeypatch) as outbox:
        target = Target(
            state=state,
            settings=state.settings,
            new_body=registration_body,
            request=request,
            monkeypatch=monkeypatch,
            open_fields=frozenset(request.config.getini(_OPEN_FIELDS)),
            outbox=outbox,
            others=others,
        )
        yield target
        target.delete_accounts()


def _read(app: Flask, config: pytest.Config) -> tuple[AppState, frozenset[tuple[Any, ...]]]:
    """Return the extension's state of the app, and the keys of the accounts that are there."""
    try:
        with app.app_context():
            state = app_state(app).ready()
            if not state.has_endpoints:
                raise ConfigurationError("it has RestRegistration(endpoints=False), and attacks go through endpoints")
            session = app.extensions["sqlalchemy"].session
            keys = frozenset(map(tuple, session.execute(sa.select(*state.model.mapper.primary_key))))
            session.commit()  # the app's context, and its session with it, may be older and go on
            return state, keys
    except ConfigurationError as error:
        raise refusal(config, f"The application is not set up: {error}") from None
    except SQLAlchemyError as error:
        raise refusal(config, f"The accounts cannot be read: {error}", _FIX_OF_APP) from None


def _app(request: pytest.FixtureRequest) -> Flask:
    # pytest knows no types of fixtures.
    return cast(Flask, request.getfixturevalue(request.config.getini(APP_FIXTURE)))
