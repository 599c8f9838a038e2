"""The extension object: one line in an app, next to other extensions, on one app or many."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask_babel import Babel
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from jinja2 import DictLoader
from marshmallow import Schema, ValidationError, fields
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

import flask_rest_registration
from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    PendingRegistrationMixin,
    RegisterSigner,
    RestRegistration,
)
from tests.support import models
from tests.support.apps import CHECK_LINK, OMITTED, PASSWORD, REGISTER, RESEND, VERIFICATION_URL, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.links import code_of, html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded
from tests.unit.settings.test_settings import VALUES

PACKAGE = Path(flask_rest_registration.__file__).parent

# Initialising


def shape_of(app: Flask) -> dict[str, object]:
    """Return all that an extension could have changed in an app."""
    return {
        "extensions": dict(app.extensions),
        "config": dict(app.config),
        "blueprints": dict(app.blueprints),
        "rules": [str(rule) for rule in app.url_map.iter_rules()],
        "views": dict(app.view_functions),
        "before": {key: list(value) for key, value in app.before_request_funcs.items()},
        "after": {key: list(value) for key, value in app.after_request_funcs.items()},
        "teardown": list(app.teardown_appcontext_funcs),
        "errors": {
            scope: {code: dict(handlers) for code, handlers in codes.items()}
            for scope, codes in app.error_handler_spec.items()
        },
        "processors": {key: list(value) for key, value in app.template_context_processors.items()},
        "commands": sorted(app.cli.commands),
    }


def bare_app(**settings: object) -> Flask:
    app = Flask("bare")
    app.config["REST_REGISTRATION"] = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL, **settings}
    return app


def test_the_constructor_takes_an_app_or_init_app_does() -> None:
    at_once, later = bare_app(), bare_app()
    RestRegistration(at_once)
    RestRegistration().init_app(later)
    assert [str(rule) for rule in at_once.url_map.iter_rules()] == [str(rule) for rule in later.url_map.iter_rules()]
    assert "rest_registration" in at_once.extensions
    assert "rest_registration" in later.extensions


@pytest.mark.parametrize("second", ["the same object", "another object"])
def test_a_second_init_app_on_one_app_is_a_configuration_error(build: Builder, second: str) -> None:
    built = build()
    before = shape_of(built.app)
    extension = built.registration if second == "the same object" else RestRegistration()
    with pytest.raises(ConfigurationError):
        extension.init_app(built.app)
    assert shape_of(built.app) == before
    assert built.register().status_code == 201


@pytest.mark.parametrize(
    "settings",
    [
        {"REGISTER_VERIFICATION_URL": None},
        {"REGISTER_FLOW_ENABLED": "False"},
        {"NO_SUCH_SETTING": 1},
        {"REGISTER_VERIFICATION_PERIOD": -1},
    ],
)
def test_an_app_that_was_refused_is_left_as_it_was_and_can_be_initialised_again(
    settings: dict[str, object],
) -> None:
    app, extension = bare_app(**settings), RestRegistration()
    before = shape_of(app)
    with pytest.raises(ConfigurationError):
        extension.init_app(app)
    assert shape_of(app) == before
    app.config["REST_REGISTRATION"] = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL}
    extension.init_app(app)
    assert "/api/v1/accounts/register/" in {str(rule) for rule in app.url_map.iter_rules()}


def test_an_app_that_has_a_blueprint_of_our_name_is_refused_and_left_as_it_was() -> None:
    app, extension = bare_app(), RestRegistration()
    theirs = Blueprint(extension.blueprint.name, __name__)
    theirs.add_url_rule("/theirs", view_func=lambda: "theirs")
    app.register_blueprint(theirs)
    before = shape_of(app)
    with pytest.raises(ConfigurationError, match=f"blueprint named {theirs.name}"):
        extension.init_app(app)
    assert shape_of(app) == before
    assert app.test_client().get("/theirs").text == "theirs"


def test_an_app_that_was_refused_does_not_keep_the_object_from_other_apps(build: Builder) -> None:
    extension = RestRegistration()
    with pytest.raises(ConfigurationError):
        extension.init_app(bare_app(REGISTER_FLOW_ENABLED="False"))
    assert build(extension=extension).register().status_code == 201


def test_init_app_needs_no_application_context_no_model_and_no_other_extension() -> None:
    RestRegistration(bare_app(USER_MODEL="not.yet.there"))


def test_an_app_without_flask_sqlalchemy_is_told_so_on_first_use() -> None:
    app = bare_app()
    app.testing = True
    RestRegistration(app)
    with pytest.raises(ConfigurationError, match="Flask-SQLAlchemy"):
        app.test_client().post("/api/v1/accounts/register/", json={})


def test_the_schemas_of_an_app_that_was_not_initialised_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        RestRegistration().register_schema(Flask("bare"))


def test_the_schemas_are_those_of_the_given_app_whatever_app_is_current(build: Builder) -> None:
    extension = RestRegistration()
    first = build(extension=extension, registration={"REGISTER_SERIALIZER_PASSWORD_CONFIRM": False})
    second = build(models.minimal, extension=extension, registration={"USER_PUBLIC_FIELDS": ["id"]})
    with second.app.app_context():
        assert set(extension.register_schema(first.app).fields) == {"email", "username", "password"}
        assert set(extension.profile_schema(first.app).fields) == {"id", "email", "username"}
    assert set(extension.register_schema(second.app).fields) == {"email", "password", "password_confirm"}
    assert set(extension.profile_schema(second.app).fields) == {"id"}
    assert isinstance(extension.register_schema(first.app), DefaultRegisterUserSerializer)
    assert isinstance(extension.profile_schema(first.app), DefaultUserProfileSerializer)


def test_the_blueprint_is_one_object_before_and_after_init_app() -> None:
    extension = RestRegistration()
    before = extension.blueprint
    assert isinstance(before, Blueprint)
    extension.init_app(bare_app())
    assert extension.blueprint is before


# Other extensions in any order


class Initialised:
    """An app made by a factory, as the manuals tell to: every extension is a global object."""

    def __init__(self, order: tuple[str, ...], database: Path, smtp: RecordingServer) -> None:
        self.registration = RestRegistration()
        self.db = models.typed_db()
        self.app = Flask("factory")
        self.app.config.update(
            TESTING=True,
            SECRET_KEY="a key for tests only",
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{database}",
            MAIL_SERVER="127.0.0.1",
            MAIL_PORT=smtp.port,
            MAIL_SUPPRESS_SEND=False,
            MAIL_DEFAULT_SENDER="no-reply@app.example",
            REST_REGISTRATION={
                "REGISTER_VERIFICATION_URL": VERIFICATION_URL,
                "REGISTER_VERIFICATION_AUTO_LOGIN": True,
                "PASSWORD_HASHER": models.cheap_hash,
            },
        )
        steps: dict[str, Callable[[], object]] = {
            "registration": lambda: self.registration.init_app(self.app),
            "db": lambda: self.db.init_app(self.app),
            "mail": lambda: Mail().init_app(self.app),
            "login": self.init_login,
        }
        for step in order:
            steps[step]()
        self.User = models.login_user(self.db)
        with self.app.app_context():
            self.db.create_all()

    def init_login(self) -> None:
        manager = LoginManager()
        manager.user_loader(lambda key: self.db.session.get(self.User, int(key)))
        manager.init_app(self.app)

    def dispose(self) -> None:
        with self.app.app_context():
            self.db.engine.dispose()


@pytest.mark.parametrize("order", list(itertools.permutations(["registration", "db", "mail", "login"])), ids="-".join)
def test_extensions_may_come_in_any_order_and_the_model_after_them(
    tmp_path: Path, smtp: RecordingServer, order: tuple[str, ...]
) -> None:
    made = Initialised(order, tmp_path / "app.db", smtp)
    client = made.app.test_client()
    body = {
        "email": "ann@example.com",
        "username": "ann",
        "password": PASSWORD,
        "password_confirm": PASSWORD,
    }
    assert client.post("/api/v1/accounts/register/", json=body).status_code == 201
    values = values_of(link_in(smtp.message))
    assert client.post("/api/v1/accounts/verify-registration/", json=values).status_code == 200
    with client.session_transaction() as session:
        assert session["_user_id"] == "1"
    made.dispose()


def test_the_secret_key_and_the_senders_address_may_come_after_init_app(build: Builder, smtp: RecordingServer) -> None:
    built = build(config={"SECRET_KEY": None, "MAIL_DEFAULT_SENDER": "late@app.example"})
    built.app.secret_key = "came later"
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200


# Flask-Limiter and CSRFProtect


def limiter_for(app: Flask) -> Limiter:
    """Make a limiter whose window has no edge that a test could fall on."""
    return Limiter(get_remote_address, app=app, storage_uri="memory://", strategy="moving-window", headers_enabled=True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_flask_limiter_limits_the_blueprint_before_and_after_init_app(build: Builder, when: str) -> None:
    extension = RestRegistration()

    def limit(app: Flask) -> None:
        limiter_for(app).limit("2/day")(extension.blueprint)

    built = build(extension=extension, before_init=limit if when == "before" else None)
    if when == "after":
        limit(built.app)
    built.app.add_url_rule("/", view_func=lambda: "home")
    statuses = [
        built.register(email=f"p{number}@example.com", username=f"p{number}").status_code for number in range(3)
    ]
    assert statuses == [201, 201, 429]
    answer = built.register()
    assert answer.get_json()["code"] == "too-many-requests"
    assert set(answer.get_json()) == {"detail", "code"}
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-RateLimit-Limit"] == "2"
    assert answer.headers["Cache-Control"] == "no-store"
    assert [built.client().get("/").status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_csrf_exempt_works_on_the_blueprint_before_and_after_init_app(
    build: Builder, smtp: RecordingServer, when: str
) -> None:
    extension = RestRegistration()

    def exempt(app: Flask) -> None:
        CSRFProtect(app).exempt(extension.blueprint)

    built = build(extension=extension, before_init=exempt if when == "before" else None)
    if when == "after":
        exempt(built.app)
    built.app.add_url_rule("/", view_func=lambda: "home", methods=["POST"])
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.client().post("/").status_code == 400


def test_a_refusal_of_csrf_protect_has_our_shape_and_the_rest_of_the_app_keeps_its_own(build: Builder) -> None:
    built = build(before_init=lambda app: CSRFProtect(app))
    built.app.add_url_rule("/", view_func=lambda: "home", methods=["POST"])
    answer = built.register()
    assert answer.status_code == 400
    assert answer.get_json()["code"] == "bad-request"
    assert "CSRF" in answer.get_json()["detail"]
    elsewhere = built.client().post("/")
    assert (elsewhere.status_code, elsewhere.mimetype) == (400, "text/html")
    assert built.rows() == []


# Answers and the rest of the app


def answers_of(build: Builder, smtp: RecordingServer) -> Iterator[tuple[int, Any]]:
    """Get an answer of each status that the endpoints give."""
    built = build()
    yield 201, built.register()
    link = link_in(smtp.message)
    yield 400, built.register()
    yield 400, built.post("register/", data="{", content_type="application/json")
    yield 400, built.verify({**values_of(link), "signature": "x"})
    yield 413, built.post("register/", data=b" " * 70_000, content_type="application/json")
    yield 415, built.post("register/", data="email=ann")
    yield 200, built.verify(link)
    yield 404, build(registration={"REGISTER_FLOW_ENABLED": False}).register()
    smtp.text_reply = "451 later"
    yield 503, build().register()
    yield 500, build(registration={"USER_MODEL": "no.such.Model"}, config={"TESTING": False}).register()


def test_all_answers_forbid_storing_them(build: Builder, smtp: RecordingServer) -> None:
    for status, answer in answers_of(build, smtp):
        assert answer.status_code == status, answer.get_data(as_text=True)
        assert answer.headers.getlist("Cache-Control") == ["no-store"]


def test_the_rest_of_the_app_keeps_its_own_error_pages_and_headers(build: Builder) -> None:
    built = build()

    @built.app.errorhandler(404)
    def not_found(error: Exception) -> tuple[str, int]:
        return "our page", 404

    client = built.client()
    for path in ("/nothing", "/api/v1/accounts/nothing/", "/api/v1/accounts/"):
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (404, "our page")
        assert "Cache-Control" not in answer.headers
    refused = client.get("/api/v1/accounts/register/")
    assert (refused.status_code, refused.mimetype) == (405, "text/html")


# One extension on several apps


class OtherInput(DefaultRegisterUserSerializer):
    city = fields.String(required=True)


class OtherOutput(Schema):
    nick = fields.String(attribute="username")


def other_model(db: SQLAlchemy) -> type[Any]:
    class Member(db.Model):  # type: ignore[misc,name-defined]
        key: Mapped[int] = mapped_column(primary_key=True)
        public_id: Mapped[str] = mapped_column(String(20), unique=True, default="m-1")
        mail: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80))
        motto: Mapped[str] = mapped_column(String(80), default="")
        city: Mapped[str] = mapped_column(String(80))
        secret: Mapped[str] = mapped_column(String(256))
        approved: Mapped[bool] = mapped_column(default=False)

    return Member


def not_oslo(password: str, user_data: Mapping[str, object]) -> None:
    if user_data.get("city") == "Oslo":
        raise ValidationError("Not from Oslo.")


#: Two apps that differ in every setting but the two that switch a half of the workflow off.
FIRST: dict[str, object] = {
    "URL_PREFIX": "/first",
    "USER_EMAIL_FIELD": "email",
    "USER_PASSWORD_FIELD": "password_hash",
    "USER_HIDDEN_FIELDS": ["role"],
    "USER_PUBLIC_FIELDS": ["id", "username"],
    "USER_EDITABLE_FIELDS": ["username"],
    "USER_VERIFICATION_ID_FIELD": "id",
    "USER_VERIFICATION_FLAG_FIELD": "email_verified_at",
    "REGISTER_SERIALIZER_CLASS": None,
    "REGISTER_SERIALIZER_PASSWORD_CONFIRM": True,
    "REGISTER_OUTPUT_SERIALIZER_CLASS": None,
    "REGISTER_VERIFICATION_EMAIL_SENDER": None,
    "REGISTER_VERIFICATION_PERIOD": 100,
    "REGISTER_VERIFICATION_URL": "https://first.example/verify/",
    "REGISTER_VERIFICATION_ONE_TIME_USE": False,
    "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"subject": "subject.txt", "body": "body.txt"},
    "REGISTER_VERIFICATION_AUTO_LOGIN": False,
    "LOGIN_HANDLER": lambda request, user: {"token": "first"},
    "VERIFICATION_FROM_EMAIL": "first@example.com",
    "VERIFICATION_REPLY_TO_EMAIL": "first-help@example.com",
    "VERIFICATION_EMAIL_TIMEOUT": 20,
    "VERIFICATION_URL_BUILDER": None,
    "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": lambda request, user, context: {**context, "extra": "one"},
    "VERIFICATION_TEMPLATES_SELECTOR": None,
    "VERIFICATION_LOCALE_SELECTOR": None,
    "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": None,
    "PASSWORD_HASHER": lambda password: "hashed for the first",
    "PASSWORD_VALIDATORS": [],
}


def second_url(signer: RegisterSigner) -> str:
    data = signer.get_signed_data()
    return f"{signer.get_base_url()}?signature={data['signature']}&user_id={data['user_id']}&timestamp=" + (
        data["timestamp"] + "&second=1"
    )


SECOND: dict[str, object] = {
    "URL_PREFIX": "/second",
    "USER_EMAIL_FIELD": "mail",
    "USER_PASSWORD_FIELD": "secret",
    "USER_HIDDEN_FIELDS": ["motto"],
    "USER_PUBLIC_FIELDS": ["key"],
    "USER_EDITABLE_FIELDS": ["username", "city"],
    "USER_VERIFICATION_ID_FIELD": "public_id",
    "USER_VERIFICATION_FLAG_FIELD": "approved",
    "REGISTER_SERIALIZER_CLASS": OtherInput,
    "REGISTER_SERIALIZER_PASSWORD_CONFIRM": False,
    "REGISTER_OUTPUT_SERIALIZER_CLASS": OtherOutput,
    "REGISTER_VERIFICATION_EMAIL_SENDER": flask_rest_registration.send_register_verification_email_notification,
    "REGISTER_VERIFICATION_PERIOD": timedelta(seconds=1000),
    "REGISTER_VERIFICATION_URL": "https://second.example/verify/",
    "REGISTER_VERIFICATION_ONE_TIME_USE": True,
    "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"subject": "unused.txt", "html_body": "unused.html"},
    "REGISTER_VERIFICATION_AUTO_LOGIN": True,
    "LOGIN_HANDLER": lambda request, user: {"token": "second"},
    "VERIFICATION_FROM_EMAIL": "second@example.com",
    "VERIFICATION_REPLY_TO_EMAIL": "second-help@example.com",
    "VERIFICATION_EMAIL_TIMEOUT": 30,
    "VERIFICATION_URL_BUILDER": second_url,
    "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": lambda request, user, context: {**context, "extra": "two"},
    "VERIFICATION_TEMPLATES_SELECTOR": lambda request, user: {"subject": "s2.txt", "html_body": "b2.html"},
    "VERIFICATION_LOCALE_SELECTOR": lambda request, user: "de",
    "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": lambda html: f"second: {html[:9]}",
    "PASSWORD_HASHER": lambda password: "hashed for the second",
    "PASSWORD_VALIDATORS": [not_oslo],
}

#: They change what the endpoints read: see test_pending_registrations_are_each_apps_own.
ABOUT_PENDING = {
    "PENDING_REGISTRATION_MODEL",
    "REGISTER_EMAIL_FIRST",
    "REGISTER_EMAIL_SERIALIZER_CLASS",
    "REGISTER_VERIFICATION_RESEND_ENABLED",
    "REGISTER_VERIFICATION_RESEND_COOLDOWN",
    "REGISTER_VERIFICATION_CODE_ENABLED",
    "REGISTER_VERIFICATION_CODE_LENGTH",
    "REGISTER_VERIFICATION_CODE_PERIOD",
    "REGISTER_EXISTING_EMAIL_SENDER",
    "REGISTER_EXISTING_EMAIL_TEMPLATES",
}

TEMPLATES = {
    "subject.txt": "First",
    "body.txt": "{{ extra }} {{ verification_url }}",
    "s2.txt": "Second",
    "b2.html": "<b>{{ extra }}</b> <a href='{{ verification_url }}'>{{ language }}</a>",
    "unused.txt": "unused",
    "unused.html": "unused",
}


def use_templates(app: Flask) -> None:
    app.jinja_loader = DictLoader(TEMPLATES)


def use_templates_and_languages(app: Flask) -> None:
    use_templates(app)
    Babel(app)


class TestTwoAppsThatDifferInEverySetting:
    @pytest.fixture
    def extension(self) -> RestRegistration:
        return RestRegistration()

    @pytest.fixture
    def first(self, build: Builder, extension: RestRegistration) -> Built:
        return build(registration=FIRST, extension=extension, before_init=use_templates)

    @pytest.fixture
    def second_server(self) -> Iterator[RecordingServer]:
        with RecordingServer() as server:
            yield server

    @pytest.fixture
    def second(self, build: Builder, extension: RestRegistration, second_server: RecordingServer) -> Built:
        return build(
            other_model,
            registration=SECOND,
            extension=extension,
            mail=second_server,
            config={"SECRET_KEY": "the second app's key"},
            before_init=use_templates_and_languages,
        )

    def sign_up(self, first: Built, second: Built) -> None:
        """Register with both, in turn."""
        answer = first.register(password="x", password_confirm="x")
        assert (answer.status_code, answer.json) == (201, {"id": 1, "username": "ann"})
        body = second.body(username="bob", city="Rome", password="x", password_confirm=OMITTED)
        answer = second.post("register/", {**body, "mail": "bob@example.com"})
        assert (answer.status_code, answer.json) == (201, {"nick": "bob"})

    def test_every_setting_differs(self) -> None:
        switches = {"REGISTER_FLOW_ENABLED", "REGISTER_VERIFICATION_ENABLED", "USER_MODEL"}
        assert set(FIRST) == set(SECOND) == set(VALUES) - switches - ABOUT_PENDING
        assert [name for name in FIRST if FIRST[name] == SECOND[name]] == []

    def test_each_registers_with_its_own(
        self, first: Built, second: Built, smtp: RecordingServer, second_server: RecordingServer
    ) -> None:
        self.sign_up(first, second)
        assert first.row()["password_hash"] == "hashed for the first"
        assert second.row()["secret"] == "hashed for the second"
        assert (first.row()["email"], second.row()["mail"]) == ("ann@example.com", "bob@example.com")
        refused = second.register(city="Oslo", password="x", password_confirm=OMITTED)
        assert refused.get_json()["errors"] == {"password": ["Not from Oslo."]}
        assert list(first.register(password_confirm=OMITTED).get_json()["errors"]) == ["password_confirm"]
        assert first.client().post("/second/register/", json={}).status_code == 404
        assert second.client().post("/first/register/", json={}).status_code == 404

    def test_each_sends_its_own_mail(
        self, first: Built, second: Built, smtp: RecordingServer, second_server: RecordingServer
    ) -> None:
        self.sign_up(first, second)
        mail, other = smtp.message, second_server.message
        assert [mail[name] for name in ("From", "Reply-To", "To", "Subject")] == [
            "first@example.com",
            "first-help@example.com",
            "ann@example.com",
            "First",
        ]
        assert [other[name] for name in ("From", "Reply-To", "To", "Subject")] == [
            "second@example.com",
            "second-help@example.com",
            "bob@example.com",
            "Second",
        ]
        assert text_of(mail).startswith("one https://first.example/verify/?user_id=1&timestamp=")
        assert mail.get_body(("html",)) is None
        assert html_of(other).startswith("<b>two</b> <a href='https://second.example/verify/?signature=")
        assert html_of(other).strip().endswith(">de</a>")
        assert text_of(other).strip() == "second: <b>two</b"

    def test_each_verifies_by_its_own(
        self,
        first: Built,
        second: Built,
        smtp: RecordingServer,
        second_server: RecordingServer,
        clock: Clock,
    ) -> None:
        self.sign_up(first, second)
        link = link_in(smtp.message)
        with second.app.app_context():
            user = second.db.session.get(second.User, 1)
            values = RegisterSigner.for_user(user).get_signed_data()
        assert values["user_id"] == "m-1"
        assert values["signature"] in html_of(second_server.message)
        assert first.verify(values).status_code == 400
        assert second.verify(link).status_code == 400
        assert first.verify(link).json == {"detail": "User verified successfully"}
        assert first.verify(link).status_code == 200
        clock.move(101)
        assert first.verify(link).get_json()["code"] == "signature-expired"
        assert second.verify(values).json == {"detail": "User verified successfully", "token": "second"}
        assert second.verify(values).get_json()["code"] == "signature-invalid"
        assert first.row()["email_verified_at"] is not None
        assert second.row()["approved"] is True

    def test_the_order_in_which_they_were_initialised_does_not_matter(
        self, build: Builder, extension: RestRegistration, smtp: RecordingServer
    ) -> None:
        second = build(other_model, registration=SECOND, extension=extension, before_init=use_templates_and_languages)
        first = build(registration=FIRST, extension=extension, before_init=use_templates)
        self.sign_up(first, second)
        assert [message["Subject"] for message in smtp.messages] == ["First", "Second"]


def test_one_app_may_switch_off_what_another_has_on(build: Builder) -> None:
    extension = RestRegistration()
    on = build(extension=extension)
    off = build(
        extension=extension,
        registration={"REGISTER_FLOW_ENABLED": False, "REGISTER_VERIFICATION_ENABLED": False},
    )
    no_link = {"user_id": "1", "timestamp": "1", "signature": "x"}
    assert [app.register().status_code for app in (on, off)] == [201, 404]
    assert [app.verify(no_link).status_code for app in (on, off)] == [400, 404]


def test_pending_registrations_are_each_apps_own(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    extension = RestRegistration()
    plain = build(extension=extension)
    resending = build(
        extension=extension,
        pending=True,
        registration={
            "REGISTER_VERIFICATION_RESEND_ENABLED": True,
            "REGISTER_VERIFICATION_RESEND_COOLDOWN": 300,
        },
    )
    asking = build(
        extension=extension,
        pending=True,
        registration={"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True},
    )
    all_three = (plain, resending, asking)
    address = {"email": "ann@example.com"}
    no_link = {"user_id": "1", "timestamp": "1", "signature": "x"}
    assert [app.register().status_code for app in (plain, resending)] == [201, 201]
    assert [app.post(REGISTER, address).status_code for app in all_three] == [400, 400, 202]
    assert [app.post(RESEND, address).status_code for app in all_three] == [404, 202, 404]
    assert [app.post(CHECK_LINK, no_link).status_code for app in all_three] == [404, 404, 400]
    waits = [row["next_mail_at"] - clock.time for app in (resending, asking) for row in app.pending_rows()]
    assert waits == [300, 60]
    code = code_of(smtp.messages[2])
    answer = asking.post(VERIFY, {**asking.body(), "code": code})
    assert (answer.status_code, len(asking.rows())) == (201, 1)
    assert [app.post(VERIFY, {**address, "code": code}).status_code for app in (plain, resending)] == [400, 400]


@pytest.mark.parametrize("settings", [{}, {"REGISTER_VERIFICATION_ENABLED": False}])
def test_nothing_of_pending_registrations_is_imported_or_asked_unless_it_is_on(
    build: Builder, smtp: RecordingServer, settings: dict[str, object]
) -> None:
    """Not even a model that is there is looked at, which may have columns that nobody fills."""

    def model(db: SQLAlchemy) -> type[Any]:
        user = models.typed(db)
        columns = {"campaign": mapped_column(String(9), nullable=False)}
        user.waiting = type("Waiting", (PendingRegistrationMixin, db.Model), columns)
        return user

    built = build(model, registration={"PENDING_REGISTRATION_MODEL": "no.such.Model", **settings})
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
        for message in smtp.messages:
            assert built.verify(link_in(message)).status_code == 200
    assert "waiting" not in "".join(statements.sql)
    assert built.command("check").output == "0 errors, 0 warnings\n"
    assert built.post(RESEND, {"email": "ann@example.com"}).status_code == 404


def test_a_request_to_one_app_inside_the_context_of_another_stays_with_its_own(
    build: Builder, smtp: RecordingServer
) -> None:
    extension = RestRegistration()
    first = build(extension=extension)
    second = build(extension=extension, config={"MAIL_DEFAULT_SENDER": "second@app.example"})
    with first.app.app_context():
        assert second.register().status_code == 201
    assert smtp.message["From"] == "second@app.example"
    assert (len(first.rows()), len(second.rows())) == (0, 1)


# How the package is built

#: The modules from the top of the house to its ground: each imports only from modules further down.
OPTIONAL = (
    "flask_login",
    "celery",
    "kombu",
    "redis",
    "apispec",
    "flask_babel",
    "flask_limiter",
    "flask_wtf",
    "aiosmtpd",
    "pytest",
    "flask_rest_registration.testing",
)


def modules_loaded_by_importing_the_package() -> set[str]:
    program = "import sys, flask_rest_registration; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_no_optional_library() -> None:
    loaded = modules_loaded_by_importing_the_package()
    assert PACKAGE.name in loaded
    assert loaded.isdisjoint(OPTIONAL)
    assert f"{PACKAGE.name}.contrib" not in loaded


def test_importing_the_package_loads_neither_the_converter_of_columns_nor_what_only_commands_need() -> None:
    """Of the time that an application needs to start, they would take a third."""
    loaded = modules_loaded_by_importing_the_package()
    only_commands = {f"{PACKAGE.name}.commands.{name}" for name in ("check", "settings", "send_test_mail")}
    assert loaded.isdisjoint({"marshmallow_sqlalchemy", *only_commands})
