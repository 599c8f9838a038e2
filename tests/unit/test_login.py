"""Logging in with the click that verified: by Flask-Login, or by a handler that gives a token."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, jsonify, session
from flask.testing import FlaskClient
from flask_jwt_extended import JWTManager, create_access_token, get_jwt_identity, jwt_required
from flask_login import LoginManager, UserMixin, current_user, login_user, user_logged_in
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flask_rest_registration import ConfigurationError, user_activated
from tests.support import models
from tests.support.apps import Builder, Built
from tests.support.clock import Clock
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.web import run_python

VERIFIED = {"detail": "User verified successfully"}


def lockable(db: SQLAlchemy) -> type[Any]:
    """A model whose ``is_active`` is a column that locks people out, beside a flag of its own."""

    class User(UserMixin, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        username: Mapped[str] = mapped_column(unique=True)
        password_hash: Mapped[str]
        email_verified_at: Mapped[datetime | None]
        is_active: Mapped[bool] = mapped_column(default=True)

    return User


def active_flag(db: SQLAlchemy) -> type[Any]:
    """A model whose ``is_active`` is the flag itself."""

    class User(UserMixin, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        username: Mapped[str] = mapped_column(unique=True)
        password_hash: Mapped[str]
        is_active: Mapped[bool] = mapped_column(default=False)

    return User


def with_flask_login(built: Built) -> Built:
    """Initialise Flask-Login on an app, after the extension, and give it a page that tells who is logged in."""
    manager = LoginManager(built.app)

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(user_id: str) -> Any:
        return built.db.session.get(built.User, int(user_id))

    @built.app.get("/me")
    def me() -> Response:
        return jsonify(current_user.email if current_user.is_authenticated else None)

    return built


def me(client: FlaskClient) -> object:
    return client.get("/me").get_json()


def verify(client: FlaskClient, link: str) -> Any:
    return client.post("/api/v1/accounts/verify-registration/", json=values_of(link))


AUTO_LOGIN = {"REGISTER_VERIFICATION_AUTO_LOGIN": True}


# Flask-Login


@pytest.mark.parametrize("model", [models.login_user, lockable, active_flag])
def test_the_click_that_verifies_logs_in(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built = with_flask_login(build(model, registration=AUTO_LOGIN))
    client = built.client()
    assert client.post("/api/v1/accounts/register/", json=built.body()).status_code == 201
    assert me(client) is None
    answer = verify(client, link_in(smtp.message))
    assert (answer.status_code, answer.get_json()) == (200, VERIFIED)
    assert me(client) == "ann@example.com"
    assert me(built.client()) is None


@pytest.mark.parametrize("auto_login", [True, False])
@pytest.mark.parametrize("model", [models.login_user, lockable, active_flag])
def test_with_e_mail_first_the_request_that_makes_the_account_logs_in(
    build: Builder, smtp: RecordingServer, model: models.Model, auto_login: bool
) -> None:
    settings = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_AUTO_LOGIN": auto_login}
    built = with_flask_login(build(model, pending=True, registration=settings))
    client, other = built.client(), built.client()
    body = {**built.body(), **values_of(link_after_sign_up(built, client, smtp))}
    assert me(client) is None
    made = [each.post("/api/v1/accounts/verify-registration/", json=body).status_code for each in (client, other)]
    assert made == [201, 400]
    assert [me(each) for each in (client, other)] == ["ann@example.com" if auto_login else None, None]


def link_after_sign_up(built: Built, client: FlaskClient, smtp: RecordingServer) -> str:
    answer = client.post("/api/v1/accounts/register/", json={"email": "ann@example.com"})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (202, False)
    return link_in(smtp.message)


def test_without_auto_login_nobody_is_logged_in(build: Builder, smtp: RecordingServer) -> None:
    built = with_flask_login(build(models.login_user))
    client = built.client()
    built.register()
    answer = verify(client, link_in(smtp.message))
    assert answer.get_json() == VERIFIED
    assert "Set-Cookie" not in answer.headers
    assert me(client) is None


def test_only_the_request_that_activated_logs_in(build: Builder, smtp: RecordingServer) -> None:
    built = with_flask_login(build(models.login_user, registration=AUTO_LOGIN))
    built.register()
    first, second = built.client(), built.client()
    assert verify(first, link_in(smtp.message)).status_code == 200
    repeated = verify(second, link_in(smtp.message))
    assert (repeated.status_code, repeated.get_json()) == (200, VERIFIED)
    assert "Set-Cookie" not in repeated.headers
    assert me(second) is None


@pytest.mark.parametrize("fault", ["signature", "expired"])
def test_a_link_that_is_refused_logs_nobody_in(build: Builder, smtp: RecordingServer, clock: Clock, fault: str) -> None:
    built = with_flask_login(build(models.login_user, registration=AUTO_LOGIN))
    built.register()
    link = link_in(smtp.message)
    if fault == "expired":
        clock.move(8 * 24 * 3600)
    client = built.client()
    assert verify(client, link if fault == "expired" else f"{link}x").status_code == 400
    assert me(client) is None


def test_an_account_that_is_locked_is_verified_and_not_logged_in(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = with_flask_login(build(lockable, registration=AUTO_LOGIN))
    built.register()
    with built.app.app_context():
        built.db.session.execute(built.db.update(built.User).values(is_active=False))
        built.db.session.commit()
    client = built.client()
    answer = verify(client, link_in(smtp.message))
    assert (answer.status_code, answer.get_json()) == (200, VERIFIED)
    assert me(client) is None
    assert built.row()["email_verified_at"] is not None
    assert built.row()["is_active"] is False
    assert "is_active" in caplog.text


def test_the_log_in_comes_after_the_signal_of_the_activation(build: Builder, smtp: RecordingServer) -> None:
    built = with_flask_login(build(models.login_user, registration=AUTO_LOGIN))
    built.register()
    order: list[tuple[str, str]] = []

    def activated(sender: Flask, user: Any, **extra: object) -> None:
        order.append(("activated", user.email))

    def logged_in(sender: Flask, user: Any, **extra: object) -> None:
        order.append(("logged in", user.email))

    with user_activated.connected_to(activated, built.app), user_logged_in.connected_to(logged_in, built.app):
        built.verify(link_in(smtp.message))
    assert order == [("activated", "ann@example.com"), ("logged in", "ann@example.com")]


def test_auto_login_without_a_login_manager_is_a_configuration_error_on_first_use(build: Builder) -> None:
    built = build(models.login_user, registration=AUTO_LOGIN)
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert lacking(str(caught.value), "REGISTER_VERIFICATION_AUTO_LOGIN", "LoginManager(app)", "LOGIN_HANDLER") == []
    assert built.rows() == []


def test_a_handler_of_ones_own_needs_no_login_manager(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={**AUTO_LOGIN, "LOGIN_HANDLER": lambda request, user: None})
    built.register()
    assert built.verify(link_in(smtp.message)).get_json() == VERIFIED


def test_a_handler_that_fails_half_way_leaves_nobody_logged_in(build: Builder, smtp: RecordingServer) -> None:
    def half(request: object, user: Any) -> None:
        session["note"] = "half"
        login_user(user)
        raise RuntimeError("the second factor is missing")

    built = with_flask_login(build(models.login_user, registration={**AUTO_LOGIN, "LOGIN_HANDLER": half}))
    built.register()
    client = built.client()
    with client.session_transaction() as before:
        before["cart"] = [1, 2]
    answer = verify(client, link_in(smtp.message))
    assert (answer.status_code, answer.get_json()) == (200, VERIFIED)
    with client.session_transaction() as after:
        assert dict(after) == {"cart": [1, 2]}
    assert me(client) is None


# A token


def give_token(request: object, user: Any) -> dict[str, object]:
    return {"access_token": create_access_token(identity=str(user.id)), "detail": "overwritten"}


def with_tokens(build: Builder, **settings: object) -> Built:
    built = build(
        registration={**AUTO_LOGIN, "LOGIN_HANDLER": give_token, **settings},
        config={"JWT_SECRET_KEY": "a key of thirty-two bytes or more"},
    )
    JWTManager(built.app)

    @built.app.get("/me")
    @jwt_required()  # type: ignore[untyped-decorator]
    def me() -> Response:
        return jsonify(get_jwt_identity())

    return built


def test_a_handler_may_give_a_token_by_flask_jwt_extended(build: Builder, smtp: RecordingServer) -> None:
    built = with_tokens(build)
    assert set(built.register().get_json()) == {"id", "email", "username"}
    answer = built.verify(link_in(smtp.message)).get_json()
    assert set(answer) == {"detail", "access_token"}
    assert answer["detail"] == VERIFIED["detail"]
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert built.client().get("/me", headers=headers).get_json() == "1"


def test_a_repeated_link_gives_no_token(build: Builder, smtp: RecordingServer) -> None:
    built = with_tokens(build)
    built.register()
    assert "access_token" in built.verify(link_in(smtp.message)).get_json()
    assert built.verify(link_in(smtp.message)).get_json() == VERIFIED


def test_without_auto_login_no_token_is_given(build: Builder, smtp: RecordingServer) -> None:
    built = with_tokens(build, REGISTER_VERIFICATION_AUTO_LOGIN=False)
    built.register()
    assert built.verify(link_in(smtp.message)).get_json() == VERIFIED


# Without Flask-Login installed

WITHOUT_FLASK_LOGIN = """
import importlib.util
import sys
from importlib.machinery import PathFinder


class WithoutFlaskLogin(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "flask_login" else super().find_spec(name, path, target)


sys.meta_path[:] = [WithoutFlaskLogin if finder is PathFinder else finder for finder in sys.meta_path]
assert importlib.util.find_spec("flask_login") is None

from urllib.parse import parse_qsl, urlsplit

from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

from flask_rest_registration import ConfigurationError, RestRegistration


def sign_up_and_verify(**settings):
    app = Flask("without")
    app.config.update(
        TESTING=True,
        SECRET_KEY="k" * 32,
        SQLALCHEMY_DATABASE_URI="sqlite://",
        MAIL_DEFAULT_SENDER="no-reply@app.example",
        REST_REGISTRATION={"REGISTER_VERIFICATION_URL": "https://frontend.example/", **settings},
    )
    db, mail = SQLAlchemy(app), Mail(app)

    class User(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        email = db.Column(db.String(254), unique=True, nullable=False)
        password_hash = db.Column(db.String(162), nullable=False)
        email_verified_at = db.Column(db.DateTime)

    RestRegistration(app)
    with app.app_context():
        db.create_all()
    password = "violet-anchor-47-tundra"
    body = {"email": "ann@example.com", "password": password, "password_confirm": password}
    with mail.record_messages() as outbox:
        assert app.test_client().post("/api/v1/accounts/register/", json=body).status_code == 201
    link = next(word for word in outbox[0].body.split() if "signature=" in word)
    values = dict(parse_qsl(urlsplit(link).query))
    print(sorted(app.test_client().post("/api/v1/accounts/verify-registration/", json=values).json))


try:
    sign_up_and_verify(%s)
except ConfigurationError as error:
    print(error)
"""


MISSED = (
    "REST_REGISTRATION setting REGISTER_VERIFICATION_AUTO_LOGIN needs Flask-Login, which is not installed:"
    " run pip install 'flask-rest-registration[login]', or give a LOGIN_HANDLER."
)
WITH_HANDLER = "REGISTER_VERIFICATION_AUTO_LOGIN=True, LOGIN_HANDLER=lambda request, user: {'token': 't'}"


@pytest.mark.parametrize(
    ("settings", "printed"),
    [
        ("", "['detail']"),
        (WITH_HANDLER, "['detail', 'token']"),
        ("REGISTER_VERIFICATION_AUTO_LOGIN=True", MISSED),
    ],
)
def test_flask_login_is_needed_for_auto_login_only_and_missed_by_init_app(
    tmp_path: Path, settings: str, printed: str
) -> None:
    outcome = run_python("-c", WITHOUT_FLASK_LOGIN % settings, folder=tmp_path)
    assert (outcome.stdout, outcome.returncode) == (f"{printed}\n", 0), outcome.stderr
