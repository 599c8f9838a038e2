"""Logging in with the click that verified, by Flask-Login; handlers of ones own are in test_verify.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timezone
from threading import Lock
from typing import Any

import pytest
from flask import Flask, Request, Response, abort, after_this_request, g, jsonify, request, session
from flask.sessions import SecureCookieSessionInterface
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


def add_cookie(response: Response) -> Response:
    response.set_cookie("token", "of the account")
    return response


FAILURES: dict[str, Callable[[], Any]] = {
    "raises": lambda: 1 / 0,
    "aborts": lambda: abort(403),
    "aborts with a page": lambda: abort(Response("No.", 401, {"Set-Cookie": "token=x"})),
    "a list": lambda: [("token", "x")],
    "a text": lambda: "token",
    "a response": lambda: Response("{}"),
    "an object": lambda: {"token": object()},
    "a key that is no text": lambda: {("a", "b"): 1},
    "no number": lambda: {"expires_in": float("nan")},
    "no end": lambda: {"expires_in": float("inf")},
}


@pytest.mark.parametrize("way", [{}, {"REGISTER_EMAIL_FIRST": True}], ids=["at sign-up", "e-mail first"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("visitor", [None, "bob@example.com"])
def test_a_handler_that_fails_half_way_is_as_if_it_had_not_been_called(
    build: Builder,
    smtp: RecordingServer,
    caplog: pytest.LogCaptureFixture,
    way: dict[str, object],
    failure: str,
    visitor: str | None,
) -> None:
    def half(request: Request, user: Any) -> Any:
        session.update(note="half", language="of the account")
        session["cart"].append(3)
        session.permanent = True
        login_user(user, remember=True)
        g.identity, g.tenant = user.id, "of the account"
        after_this_request(add_cookie)
        return FAILURES[failure]()

    def look(response: Response) -> Response:
        if request.path.endswith(VERIFY):
            name = current_user.email if current_user.is_authenticated else None
            seen.append((name, "identity" in g, g.tenant, dict(session)))
        return response

    def prepare() -> None:
        g.tenant = "blue"
        after_this_request(keep)

    def keep(response: Response) -> Response:
        seen.append("kept")
        return response

    seen: list[object] = []
    settings = {**AUTO_LOGIN, **way, "LOGIN_HANDLER": half}
    built = with_flask_login(build(models.login_user, pending=True, registration=settings))
    built.app.login_manager.session_protection = None  # type: ignore[attr-defined]  # it marks sessions that are made here
    built.app.before_request(prepare)
    built.app.after_request(look)
    client = built.client()
    held: dict[str, object] = {"cart": [1, 2], "language": "nb"}
    with built.app.app_context():
        bob = built.User(email=visitor, username="bob", password_hash="x", email_verified_at=datetime.now(timezone.utc))
        built.db.session.add_all([bob] if visitor else [])
        built.db.session.commit()
        held |= {"_user_id": str(bob.id), "_fresh": True} if visitor else {}
    with client.session_transaction() as before:
        before.update(held)
    built.client().post(f"/api/v1/accounts/{REGISTER}", json={"email": "ann@example.com"} if way else built.body())
    seen.clear()
    answer = verify(client, {**built.body(), **values_of(link_in(smtp.message))})
    assert answer.status_code == (201 if way else 200)
    assert "token" not in answer.get_json()
    assert "Set-Cookie" not in answer.headers
    assert seen == ["kept", (visitor, False, "blue", held)]
    assert me(client) == visitor
    with client.session_transaction() as after:
        assert dict(after) == held
    assert [
        record.levelname for record in caplog.records if "log-in after a verification failed" in record.message
    ] == ["ERROR"]


def test_what_a_handler_that_succeeds_has_done_stays(build: Builder, smtp: RecordingServer) -> None:
    def handler(request: Request, user: Any) -> dict[str, object]:
        session["note"] = "whole"
        login_user(user)
        after_this_request(add_cookie)
        return {"token": "t", "expires_in": 1.5}

    built = with_flask_login(build(models.login_user, registration={**AUTO_LOGIN, "LOGIN_HANDLER": handler}))
    built.register()
    client = built.client()
    answer = verify(client, values_of(link_in(smtp.message)))
    assert answer.get_json() == {**VERIFIED, "token": "t", "expires_in": 1.5}
    assert (me(client), "token=" in str(answer.headers.getlist("Set-Cookie"))) == ("ann@example.com", True)
    with client.session_transaction() as after:
        assert after["note"] == "whole"


@pytest.mark.parametrize(
    "held", [Lock(), (each for each in [1]), memoryview(b"")], ids=lambda held: type(held).__name__
)
def test_a_session_with_what_has_no_copy_is_logged_in_too(build: Builder, smtp: RecordingServer, held: object) -> None:
    class OnTheServer(SecureCookieSessionInterface):
        def open_session(self, app: Flask, request: Request) -> Any:
            opened: Any = super().open_session(app, request)
            opened["held"] = held
            return opened

        def save_session(self, app: Flask, session: Any, response: Response) -> None:
            session.pop("held")
            super().save_session(app, session, response)

    built = with_flask_login(build(models.login_user, registration=AUTO_LOGIN))
    built.app.session_interface = OnTheServer()
    built.register()
    client = built.client()
    assert verify(client, values_of(link_in(smtp.message))).get_json() == VERIFIED
    assert me(client) == "ann@example.com"


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
