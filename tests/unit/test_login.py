"""Logging in with the click that verified, by Flask-Login; handlers of ones own are in test_verify.py."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from flask import Response, jsonify, session
from flask.testing import FlaskClient
from flask_login import LoginManager, current_user, login_user
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Boolean
from sqlalchemy.orm import mapped_column
from werkzeug.test import TestResponse

from flask_rest_registration import ConfigurationError
from tests.support import models
from tests.support.apps import REGISTER, VERIFY, Builder, Built
from tests.support.links import changed, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking

VERIFIED = {"detail": "User verified successfully"}
AUTO_LOGIN: dict[str, object] = {"REGISTER_VERIFICATION_AUTO_LOGIN": True}


def lockable(db: SQLAlchemy) -> type[Any]:
    """A model whose ``is_active`` is a column that locks people out."""
    user = models.login_user(db)
    user.is_active = mapped_column(Boolean, default=True, nullable=False)
    return user


FLAG: dict[str, object] = {"USER_VERIFICATION_FLAG_FIELD": "is_active"}
MODELS: list[tuple[models.Model, dict[str, object]]] = [(models.login_user, {}), (lockable, {}), (lockable, FLAG)]


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


def verify(client: FlaskClient, body: object) -> TestResponse:
    return client.post(f"/api/v1/accounts/{VERIFY}", json=body)


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_the_click_that_verifies_logs_in_and_no_other_one(
    build: Builder, smtp: RecordingServer, model: models.Model, settings: dict[str, object]
) -> None:
    built = with_flask_login(build(model, registration={**AUTO_LOGIN, **settings}))
    client, other = built.client(), built.client()
    assert client.post(f"/api/v1/accounts/{REGISTER}", json=built.body()).status_code == 201
    values = values_of(link_in(smtp.message))
    assert verify(client, changed(values, signature="x")).status_code == 400
    assert me(client) is None
    answer = verify(client, values)
    assert (answer.status_code, answer.get_json(), me(client)) == (200, VERIFIED, "ann@example.com")
    repeated = verify(other, values)
    assert (repeated.status_code, repeated.get_json(), me(other)) == (200, VERIFIED, None)
    assert "Set-Cookie" not in repeated.headers


@pytest.mark.parametrize("auto_login", [True, False])
@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_with_e_mail_first_the_request_that_makes_the_account_logs_in(
    build: Builder, smtp: RecordingServer, model: models.Model, settings: dict[str, object], auto_login: bool
) -> None:
    switches = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_AUTO_LOGIN": auto_login}
    built = with_flask_login(build(model, pending=True, registration={**switches, **settings}))
    client, other = built.client(), built.client()
    answer = client.post(f"/api/v1/accounts/{REGISTER}", json={"email": "ann@example.com"})
    assert (answer.status_code, "Set-Cookie" in answer.headers, me(client)) == (202, False, None)
    body = {**built.body(), **values_of(link_in(smtp.message))}
    assert [verify(each, body).status_code for each in (client, other)] == [201, 400]
    assert [me(each) for each in (client, other)] == ["ann@example.com" if auto_login else None, None]


def test_an_account_that_is_locked_is_verified_and_not_logged_in(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = with_flask_login(build(lockable, registration=AUTO_LOGIN))
    built.register()
    built.execute_outside("UPDATE user SET is_active = :no", no=False)
    client = built.client()
    answer = verify(client, values_of(link_in(smtp.message)))
    assert (answer.status_code, answer.get_json(), me(client)) == (200, VERIFIED, None)
    assert built.row()["email_verified_at"] is not None
    assert "is_active" in caplog.text


def test_auto_login_without_a_login_manager_is_a_configuration_error_on_first_use(build: Builder) -> None:
    built = build(models.login_user, registration=AUTO_LOGIN)
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert lacking(str(caught.value), "REGISTER_VERIFICATION_AUTO_LOGIN", "LoginManager(app)", "LOGIN_HANDLER") == []
    assert built.rows() == []


def test_a_handler_that_fails_half_way_leaves_nobody_logged_in(build: Builder, smtp: RecordingServer) -> None:
    def half(request: object, user: Any) -> None:
        session.update(note="half", language="of the account")
        login_user(user)
        raise RuntimeError("the second factor is missing")

    built = with_flask_login(build(models.login_user, registration={**AUTO_LOGIN, "LOGIN_HANDLER": half}))
    built.register()
    client = built.client()
    with client.session_transaction() as before:
        before.update(cart=[1, 2], language="nb")
    answer = verify(client, values_of(link_in(smtp.message)))
    assert (answer.status_code, answer.get_json()) == (200, VERIFIED)
    with client.session_transaction() as after:
        assert dict(after) == {"cart": [1, 2], "language": "nb"}
    assert me(client) is None


def test_flask_login_is_needed_for_auto_login_only_and_missed_by_init_app(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flask_login", None)
    with_handler = {**AUTO_LOGIN, "LOGIN_HANDLER": lambda request, user: {"token": "t"}}
    for settings, added in (({}, {}), (with_handler, {"token": "t"})):
        built = build(registration=settings)
        built.register()
        assert built.verify(link_in(smtp.messages[-1])).get_json() == {**VERIFIED, **added}
    with pytest.raises(ConfigurationError) as caught:
        build(registration=AUTO_LOGIN)
    words = ("AUTO_LOGIN needs Flask-Login", "pip install 'flask-rest-registration[login]'", "LOGIN_HANDLER")
    assert lacking(str(caught.value), *words) == []
