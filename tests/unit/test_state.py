"""What the extension finds of the application: which databases' extensions it works with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flask_rest_registration import ConfigurationError, RestRegistration
from tests.support.apps import Builder, Built

ENGINE = sa.create_engine("sqlite://")


def fault(app: Flask) -> str:
    """Return what the first request and ``check`` say of an app."""
    with pytest.raises(ConfigurationError) as caught:
        app.test_client().post("/api/v1/accounts/register/", json={})
    text = str(caught.value)
    checked = app.test_cli_runner().invoke(args=["rest-registration", "check"])
    assert (checked.exit_code, checked.exception.__class__) == (1, SystemExit), checked.output
    assert text.split(". Fix: ")[0] in " ".join(checked.output.split())
    return text


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (SimpleNamespace(session=scoped_session(sessionmaker(ENGINE)), engines={}), "types.SimpleNamespace"),
        (sessionmaker(ENGINE), "sqlalchemy.orm.session.sessionmaker"),
        (ENGINE, "sqlalchemy.engine.base.Engine"),
    ],
)
def test_another_extension_than_flask_sqlalchemy_is_refused_by_its_name(found: Any, name: str) -> None:
    app = Flask("other")
    app.config.update(TESTING=True, REST_REGISTRATION={"REGISTER_VERIFICATION_URL": "https://a.example/"})
    RestRegistration(app)
    assert "Flask-SQLAlchemy is not initialised on this app. Fix: " in fault(app)
    app.extensions["sqlalchemy"] = found
    text = fault(app)
    assert text.startswith(f"app.extensions['sqlalchemy'] is a {name}, which registration cannot work with. Fix: ")
    assert "Flask-SQLAlchemy 3.1" in text


def swap_session(built: Built, session: object) -> SQLAlchemy:
    built.db.session = session  # type: ignore[assignment]
    return built.db


class OneSession(Session):
    """A session for all, with what Flask-SQLAlchemy calls at the end of a request."""

    def remove(self) -> None:
        self.close()


class Registry:
    """What an application may have written in place of a scoped_session."""

    def __init__(self, session: Session) -> None:
        self.remove = session.close


@pytest.mark.parametrize("session", [OneSession(ENGINE), Registry(Session(ENGINE))])
def test_a_session_that_is_not_scoped_is_refused_by_its_class(build: Builder, session: object) -> None:
    built = build()
    swap_session(built, session)
    name = f"tests.unit.test_state.{type(session).__name__}"
    assert fault(built.app).startswith(f"app.extensions['sqlalchemy'].session is a {name}, which")


def test_a_scoped_session_of_the_applications_own_works(build: Builder) -> None:
    built = build()
    swap_session(built, scoped_session(sessionmaker(built.engine)))
    assert built.register().status_code == 201
