"""The extension object: one line in an app, next to other extensions, on one app or many."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from flask_babel import Babel
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from jinja2 import DictLoader
from marshmallow import Schema, ValidationError, fields
from sqlalchemy import Boolean, Column, Integer, String

import flask_rest_registration
from flask_rest_registration import ConfigurationError, DefaultRegisterUserSerializer, RegisterSigner, RestRegistration
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import CHECK_LINK, OMITTED, PASSWORD, REGISTER, RESEND, VERIFICATION_URL, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.links import code_of, html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.unit.settings.test_settings import VALUES

NO_LINK = {"user_id": "1", "timestamp": "1", "signature": "x"}


def shape_of(app: Flask) -> dict[str, object]:
    """Return all that an extension could have changed in an app."""
    return {**{name: repr(value) for name, value in vars(app).items()}, "commands": sorted(app.cli.commands)}


def rules_of(app: Flask) -> list[str]:
    return [str(rule) for rule in app.url_map.iter_rules()]


def bare_app(**settings: object) -> Flask:
    app = Flask("bare")
    app.config["REST_REGISTRATION"] = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL, **settings}
    return app


def test_the_constructor_takes_an_app_or_init_app_does() -> None:
    """Neither needs an application context, a model or another extension."""
    at_once, later = bare_app(USER_MODEL="not.yet.there"), bare_app()
    RestRegistration(at_once)
    RestRegistration().init_app(later)
    assert rules_of(at_once) == rules_of(later)
    assert "rest_registration" in at_once.extensions.keys() & later.extensions.keys()
    with pytest.raises(ConfigurationError):
        RestRegistration().register_schema(Flask("not initialised"))


@pytest.mark.parametrize("second", ["the same object", "another object"])
def test_a_second_init_app_on_one_app_is_a_configuration_error(build: Builder, second: str) -> None:
    built = build()
    before = shape_of(built.app)
    extension = built.registration if second == "the same object" else RestRegistration()
    with pytest.raises(ConfigurationError):
        extension.init_app(built.app)
    assert shape_of(built.app) == before
    assert built.register().status_code == 201


@pytest.mark.parametrize("settings", [{"REGISTER_VERIFICATION_URL": None}, {"REGISTER_FLOW_ENABLED": "False"}])
def test_an_app_that_was_refused_is_left_as_it_was_and_so_is_the_object(
    build: Builder, settings: dict[str, object]
) -> None:
    app, extension = bare_app(**settings), RestRegistration()
    before = shape_of(app)
    with pytest.raises(ConfigurationError):
        extension.init_app(app)
    assert shape_of(app) == before
    app.config["REST_REGISTRATION"] = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL}
    extension.init_app(app)
    assert "/api/v1/accounts/register/" in rules_of(app)
    assert build(extension=extension).register().status_code == 201


def test_what_is_kept_of_an_app_has_no_other_attributes(build: Builder) -> None:
    state = build().app.extensions["rest_registration"]
    with pytest.raises(AttributeError, match="no_such_part"):
        _ = state.no_such_part


def test_an_app_that_has_a_blueprint_of_our_name_is_refused_and_left_as_it_was() -> None:
    app, extension = bare_app(), RestRegistration()
    app.register_blueprint(Blueprint(extension.blueprint.name, __name__))
    before = shape_of(app)
    with pytest.raises(ConfigurationError, match=f"blueprint named {extension.blueprint.name}"):
        extension.init_app(app)
    assert shape_of(app) == before


BY_HOST: dict[str, Any] = {"host_matching": True, "static_host": "static.example"}
BY_SUBDOMAIN: dict[str, Any] = {"subdomain_matching": True}


HOSTS = ["shop.example", "api.shop.example", "a.api.shop.example", "other.example", "api.example:8443"]


@pytest.mark.parametrize("prefix", ["", "/api/v1/accounts"])
def test_the_endpoints_stand_on_the_host_of_each_app_alone(build: Builder, smtp: RecordingServer, prefix: str) -> None:
    extension = RestRegistration()
    for matching, place, hosts, right in [
        ({}, {}, HOSTS, HOSTS),
        (BY_HOST, {"HOST": "API.example:8443"}, HOSTS, HOSTS[4:]),
        (BY_HOST, {"HOST": "other.example"}, HOSTS, HOSTS[3:4]),
        (BY_SUBDOMAIN, {}, HOSTS[:3], HOSTS[:1]),
        (BY_SUBDOMAIN, {"SUBDOMAIN": "Api"}, HOSTS[:3], HOSTS[1:2]),
        (BY_SUBDOMAIN, {"SUBDOMAIN": "a.api"}, HOSTS[:3], HOSTS[2:3]),
    ]:
        settings = {**place, "URL_PREFIX": prefix}
        built = build(extension=extension, matching=matching, registration=settings, config={"SERVER_NAME": HOSTS[0]})

        def post(path: str, host: str, body: object, client: FlaskClient) -> int:
            return client.post(f"{prefix}/{path}", json=body, base_url=f"http://{host}").status_code

        client = built.app.test_client()
        for path in (REGISTER, REGISTER.rstrip("/"), VERIFY):
            assert [post(path, host, {}, client) for host in hosts] == [400 if host in right else 404 for host in hosts]
        assert post(REGISTER, right[0], built.body(), client) == 201
        assert post(VERIFY, right[0], values_of(link_in(smtp.messages[-1])), client) == 200


@pytest.mark.parametrize(
    ("matching", "place", "config", "fault"),
    [
        (BY_HOST, {}, {}, "HOST is missing"),
        (BY_HOST, {"HOST": "a.example", "SUBDOMAIN": "api"}, {}, "SUBDOMAIN is given, and the app has host_matching"),
        (BY_HOST, {"SUBDOMAIN": "api"}, {}, "HOST is missing ... SUBDOMAIN is given, and the app has host_matching"),
        ({}, {"HOST": "a.example"}, {}, "HOST is given, and the app has no host_matching"),
        (BY_SUBDOMAIN, {"HOST": "a.example"}, {"SERVER_NAME": "a.example"}, "HOST is given, and the app has no"),
        (
            {},
            {"SUBDOMAIN": "api"},
            {"SERVER_NAME": "a.example"},
            "SUBDOMAIN is given, and the app has no subdomain_matching",
        ),
        (BY_SUBDOMAIN, {"SUBDOMAIN": "api"}, {}, "SUBDOMAIN is given, and SERVER_NAME is not"),
    ],
)
def test_a_place_that_the_app_would_answer_404_or_ignore_is_refused_at_start(
    matching: dict[str, Any], place: dict[str, object], config: dict[str, object], fault: str
) -> None:
    app = Flask("bare", **matching)
    app.config.update(config, REST_REGISTRATION={"REGISTER_VERIFICATION_URL": VERIFICATION_URL, **place})
    before = shape_of(app)
    with pytest.raises(ConfigurationError) as caught:
        RestRegistration(app)
    assert lacking(str(caught.value), *fault.split(" ... "), "Fix: ") == []
    assert shape_of(app) == before


@pytest.mark.parametrize(
    ("matching", "place"),
    [({}, {"HOST": "a.example"}), (BY_HOST, {}), (BY_HOST, {"SUBDOMAIN": "a"}), (BY_SUBDOMAIN, {"SUBDOMAIN": "a"})],
)
def test_without_endpoints_there_is_no_url_and_all_the_rest_is_there(
    build: Builder, smtp: RecordingServer, matching: dict[str, Any], place: dict[str, object]
) -> None:
    built = build(
        extension=RestRegistration(endpoints=False), matching=matching, registration=place, before_init=CSRFProtect
    )
    assert [rule for rule in built.app.url_map.iter_rules() if rule.endpoint != "static"] == []
    assert built.register().status_code == 404
    with built.app.app_context():
        assert built.registration.register(built.body()).email == "ann@example.com"
    assert link_in(smtp.message).startswith(VERIFICATION_URL)
    checked, described = built.command("check"), built.command("openapi")
    assert (checked.exit_code, "CSRFProtect" in checked.output) == (0, False), checked.output
    assert described.exit_code != 0
    assert lacking(f"{described.output}{described.exception}", "endpoints=False", "Fix: ") == []


@pytest.mark.parametrize(
    "name", ["register", "verify", "check_link", "resend", "verification_mail", "existing_account_mail"]
)
def test_a_call_needs_the_context_of_an_app_that_has_the_extension(name: str) -> None:
    call = getattr(RestRegistration(bare_app()), name)
    with pytest.raises(RuntimeError, match="outside of application context"):
        call({})
    with Flask("another").app_context(), pytest.raises(ConfigurationError, match="is not initialised on this app"):
        call({})


@pytest.mark.parametrize("how", ["before init_app", "a second prefix", "under a parent", "a second name"])
def test_the_blueprint_is_registered_by_init_app_alone_and_in_one_place(build: Builder, how: str) -> None:
    extension = RestRegistration()
    built = build(extension=extension)
    app = bare_app() if how == "before init_app" else built.app
    rules = rules_of(app)
    blueprint, options = extension.blueprint, {"name": "second"} if how == "a second name" else {}
    if how == "under a parent":
        blueprint = Blueprint("parent", __name__)
        blueprint.register_blueprint(extension.blueprint)
    with pytest.raises(
        ConfigurationError, match=r"no other blueprint.* Fix: remove register_blueprint\(\); URL_PREFIX"
    ):
        app.register_blueprint(blueprint, url_prefix="/second", **options)
    assert rules_of(app) == rules
    assert built.register().status_code == 201


@pytest.mark.parametrize("order", [*itertools.permutations(["registration", "db", "mail", "login"])], ids="-".join)
def test_extensions_may_come_in_any_order_and_the_model_after_them(
    tmp_path: Path, smtp: RecordingServer, order: tuple[str, ...]
) -> None:
    app = bare_app(REGISTER_VERIFICATION_AUTO_LOGIN=True, PASSWORD_HASHER=models.cheap_hash)
    db, manager = models.typed_db(), LoginManager()
    app.config.update(SECRET_KEY="a key for tests only", SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/app.db")
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port, MAIL_DEFAULT_SENDER="no-reply@app.example")
    extensions: dict[str, Any] = {"registration": RestRegistration(), "db": db, "mail": Mail(), "login": manager}
    for name in order:
        extensions[name].init_app(app)
    user = models.login_user(db)
    manager.user_loader(lambda key: db.session.get(user, int(key)))
    with app.app_context():
        db.create_all()
    client = app.test_client()
    body = {"email": "ann@example.com", "username": "ann", "password": PASSWORD, "password_confirm": PASSWORD}
    assert client.post("/api/v1/accounts/register/", json=body).status_code == 201
    values = values_of(link_in(smtp.message))
    assert client.post("/api/v1/accounts/verify-registration/", json=values).status_code == 200
    with client.session_transaction() as session, app.app_context():
        assert session["_user_id"] == "1"
        db.engine.dispose()


def test_the_secret_key_and_the_senders_address_may_come_after_init_app(build: Builder, smtp: RecordingServer) -> None:
    built = build(config={"SECRET_KEY": None, "MAIL_DEFAULT_SENDER": None})
    built.app.config.update(SECRET_KEY="came later", MAIL_DEFAULT_SENDER="late@app.example")
    Mail(built.app)
    assert built.register().status_code == 201
    assert smtp.message["From"] == "late@app.example"
    assert built.verify(link_in(smtp.message)).status_code == 200


def build_with(build: Builder, when: str, connect: Callable[[Flask, Blueprint], object]) -> Built:
    """Connect another extension with the blueprint, before or after ``init_app``."""
    extension = RestRegistration()
    blueprint = extension.blueprint
    built = build(extension=extension, before_init=lambda app: when == "before" and connect(app, blueprint))
    assert extension.blueprint is blueprint
    if when == "after":
        connect(built.app, blueprint)
    built.app.add_url_rule("/", view_func=lambda: "home", methods=["GET", "POST"])
    return built


@pytest.mark.parametrize("when", ["before", "after"])
def test_flask_limiter_limits_the_blueprint_before_and_after_init_app(build: Builder, when: str) -> None:
    def limit(app: Flask, blueprint: Blueprint) -> None:
        # A moving window has no edge that the test could fall on.
        options: dict[str, Any] = {"storage_uri": "memory://", "headers_enabled": True, "strategy": "moving-window"}
        Limiter(get_remote_address, app=app, **options).limit("2/day")(blueprint)

    built = build_with(build, when, limit)
    statuses = [built.register(email=f"{name}@example.com", username=name).status_code for name in ("p", "q", "r")]
    assert statuses == [201, 201, 429]
    answer = built.register()
    refused(answer, 429, "too-many-requests")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-RateLimit-Limit"] == "2"
    assert [built.client().get("/").status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_csrf_exempt_works_on_the_blueprint_before_and_after_init_app(
    build: Builder, smtp: RecordingServer, when: str
) -> None:
    built = build_with(build, when, lambda app, blueprint: CSRFProtect(app).exempt(blueprint))
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.client().post("/").status_code == 400


def test_a_refusal_of_csrf_protect_has_our_shape_and_the_rest_of_the_app_its_own(build: Builder) -> None:
    built = build_with(build, "before", lambda app, _: CSRFProtect(app))
    assert "CSRF" in refused(built.register(), 400, "bad-request")["detail"]
    elsewhere = built.client().post("/")
    assert (elsewhere.status_code, elsewhere.mimetype) == (400, "text/html")
    assert "Cache-Control" not in elsewhere.headers
    assert built.rows() == []


def other_model(db: SQLAlchemy) -> type[Any]:
    texts: dict[str, Any] = {name: Column(String(254), nullable=False) for name in ("username", "city", "secret")}
    texts["mail"] = Column(String(254), unique=True, nullable=False)
    texts["public_id"] = Column(String(20), unique=True, nullable=False, default="m-1")
    texts["motto"] = Column(String(80), nullable=False, default="")
    key, approved = Column(Integer, primary_key=True), Column(Boolean, nullable=False, default=False)
    return type("Member", (db.Model,), {"key": key, **texts, "approved": approved})


def not_oslo(password: str, user_data: Mapping[str, object]) -> None:
    if user_data.get("city") == "Oslo":
        raise ValidationError("Not from Oslo.")


def second_url(signer: RegisterSigner) -> str:
    data = signer.get_signed_data()
    start = f"{signer.get_base_url()}?signature={data['signature']}"
    return f"{start}&user_id={data['user_id']}&timestamp={data['timestamp']}&second=1"


CITY = fields.String(required=True)

#: The settings of two apps that differ in all but the two that switch a half of the workflow off.
PAIRS: dict[str, tuple[object, object]] = {
    "URL_PREFIX": ("/first", "/second"),
    "SITE_NAME": ("shop", "store"),
    "USER_EMAIL_FIELD": ("email", "mail"),
    "USER_PASSWORD_FIELD": ("password_hash", "secret"),
    "USER_HIDDEN_FIELDS": (["role"], ["motto"]),
    "USER_PUBLIC_FIELDS": (["id", "username"], ["key"]),
    "USER_EDITABLE_FIELDS": (["username"], ["username", "city"]),
    "USER_VERIFICATION_ID_FIELD": ("id", "public_id"),
    "USER_VERIFICATION_FLAG_FIELD": ("email_verified_at", "approved"),
    "REGISTER_SERIALIZER_CLASS": (None, type("CityToo", (DefaultRegisterUserSerializer,), {"city": CITY})),
    "REGISTER_SERIALIZER_PASSWORD_CONFIRM": (True, False),
    "REGISTER_OUTPUT_SERIALIZER_CLASS": (None, Schema.from_dict({"nick": fields.String(attribute="username")})),
    "REGISTER_VERIFICATION_EMAIL_SENDER": (None, flask_rest_registration.send_register_verification_email_notification),
    "REGISTER_VERIFICATION_PERIOD": (100, timedelta(seconds=1000)),
    "REGISTER_VERIFICATION_URL": ("https://first.example/verify/", "https://second.example/verify/"),
    "REGISTER_VERIFICATION_ONE_TIME_USE": (False, True),
    "REGISTER_VERIFICATION_EMAIL_TEMPLATES": ({"subject": "subject.txt", "body": "body.txt"}, {"body": "unused.txt"}),
    "REGISTER_VERIFICATION_AUTO_LOGIN": (False, True),
    "LOGIN_HANDLER": (lambda request, user: {"token": "first"}, lambda request, user: {"token": "second"}),
    "VERIFICATION_FROM_EMAIL": ("first@example.com", "second@example.com"),
    "VERIFICATION_REPLY_TO_EMAIL": ("first-help@example.com", "second-help@example.com"),
    "VERIFICATION_EMAIL_TIMEOUT": (20, 30),
    "VERIFICATION_URL_BUILDER": (None, second_url),
    "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": (lambda r, u, c: c | {"extra": 1}, lambda r, u, c: c | {"extra": 2}),
    "VERIFICATION_TEMPLATES_SELECTOR": (None, lambda request, user: {"subject": "s2.txt", "html_body": "b2.html"}),
    "VERIFICATION_LOCALE_SELECTOR": (None, lambda request, user: "de"),
    "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": (None, lambda html: f"second: {html[:8]}"),
    "PASSWORD_HASHER": (lambda password: "hashed for the first", lambda password: "hashed for the second"),
    "PASSWORD_VALIDATORS": ([], [not_oslo]),
}

#: They need apps that match hosts: see test_the_endpoints_stand_on_the_host_of_each_app_alone.
PLACES = {"SUBDOMAIN", "HOST"}

#: They change what the endpoints read: see test_switches_and_pending_registrations_are_each_apps_own.
ABOUT_PENDING = re.compile("PENDING_|REGISTER_(EMAIL_|EXISTING_|VERIFICATION_RESEND_|VERIFICATION_CODE_)")

HTML = "<b>{{ extra }}</b> <a href='{{ verification_url }}'>{{ language }}</a>"


def use_templates(app: Flask) -> Flask:
    text = "{{ extra }} {{ verification_url }}"
    app.jinja_loader = DictLoader(
        {"subject.txt": "First {{ site }}", "body.txt": text, "s2.txt": "Second {{ site }}", "b2.html": HTML}
    )
    return app


def test_the_two_apps_differ_in_every_setting() -> None:
    others = {name for name in VALUES if ABOUT_PENDING.match(name)}
    switches = {"REGISTER_FLOW_ENABLED", "REGISTER_VERIFICATION_ENABLED", "USER_MODEL"}
    assert set(PAIRS) == set(VALUES) - switches - others - PLACES
    assert [name for name, (first, second) in PAIRS.items() if first == second] == []


@pytest.fixture
def second_smtp() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_each_of_two_apps_registers_mails_and_verifies_by_its_own_settings(
    build: Builder, smtp: RecordingServer, second_smtp: RecordingServer, clock: Clock, order: list[int]
) -> None:
    options: list[dict[str, Any]] = [
        {"model": models.typed, "before_init": use_templates},
        {"model": other_model, "mail": second_smtp, "before_init": lambda app: Babel(use_templates(app))},
    ]
    options[1]["config"] = {"SECRET_KEY": "the second app's key"}
    extension, built = RestRegistration(), {}
    for index in order:
        settings = {name: pair[index] for name, pair in PAIRS.items()}
        built[index] = build(**options[index], registration=settings, extension=extension)
    first, second = built[0], built[1]
    answer = first.register(password="x", password_confirm="x")
    assert (answer.status_code, answer.json) == (201, {"id": 1, "username": "ann"})
    body = {"mail": "bob@example.com", "username": "bob", "city": "Rome", "password": "x"}
    answer = second.post(REGISTER, body)
    assert (answer.status_code, answer.json) == (201, {"nick": "bob"})
    row, other_row = first.row(), second.row()
    assert (row["email"], row["password_hash"]) == ("ann@example.com", "hashed for the first")
    assert (other_row["mail"], other_row["secret"]) == ("bob@example.com", "hashed for the second")
    assert field_errors(second.post(REGISTER, {**body, "city": "Oslo"})) == {"password": ["Not from Oslo."]}
    assert list(field_errors(first.register(password_confirm=OMITTED))) == ["password_confirm"]
    assert first.client().post("/second/register/", json={}).status_code == 404
    assert second.client().post("/first/register/", json={}).status_code == 404

    mail, other_mail = smtp.message, second_smtp.message
    for message, name, address, subject in (
        (mail, "first", "ann@example.com", "First shop"),
        (other_mail, "second", "bob@example.com", "Second store"),
    ):
        headers = [message[header] for header in ("From", "Reply-To", "To", "Subject")]
        assert headers == [f"{name}@example.com", f"{name}-help@example.com", address, subject]
    assert text_of(mail).startswith("1 https://first.example/verify/?user_id=1&timestamp=")
    assert mail.get_body(("html",)) is None
    assert html_of(other_mail).startswith("<b>2</b> <a href='https://second.example/verify/?signature=")
    assert html_of(other_mail).strip().endswith(">de</a>")
    assert text_of(other_mail).strip() == "second: <b>2</b>"

    link = link_in(mail)
    with second.app.app_context():
        values = RegisterSigner.for_user(second.db.session.get(second.User, 1)).get_signed_data()
    assert values["user_id"] == "m-1"
    assert values["signature"] in html_of(other_mail)
    assert first.verify(values).status_code == 400
    assert second.verify(link).status_code == 400
    assert first.verify(link).json == {"detail": "User verified successfully"}
    assert first.verify(link).status_code == 200
    clock.move(101)
    assert first.verify(link).get_json()["code"] == "signature-expired"
    assert second.verify(values).json == {"detail": "User verified successfully", "token": "second"}
    assert second.verify(values).get_json()["code"] == "signature-invalid"
    assert (first.row()["email_verified_at"] is not None, second.row()["approved"]) == (True, True)


def test_switches_and_pending_registrations_are_each_apps_own(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    extension = RestRegistration()
    resend = {"REGISTER_VERIFICATION_RESEND_ENABLED": True, "REGISTER_VERIFICATION_RESEND_COOLDOWN": 300}
    email_first = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True}
    switches = {"REGISTER_FLOW_ENABLED": False, "REGISTER_VERIFICATION_ENABLED": False}
    plain, off = build(extension=extension), build(extension=extension, registration=switches)
    resending = build(extension=extension, pending=True, registration=resend)
    asking = build(extension=extension, pending=True, registration=email_first)
    all_three = (plain, resending, asking)
    address = {"email": "ann@example.com"}
    assert [app.register().status_code for app in (plain, resending, off)] == [201, 201, 404]
    assert [app.verify(NO_LINK).status_code for app in (plain, off)] == [400, 404]
    assert [app.post(REGISTER, address).status_code for app in all_three] == [400, 400, 202]
    assert [app.post(RESEND, address).status_code for app in all_three] == [404, 202, 404]
    assert [app.post(CHECK_LINK, NO_LINK).status_code for app in all_three] == [404, 404, 400]
    waits = [row["next_mail_at"] - clock.time for app in (resending, asking) for row in app.pending_rows()]
    assert waits == [300, 60]
    code = code_of(smtp.messages[2])
    answer = asking.post(VERIFY, {**asking.body(), "code": code})
    assert (answer.status_code, len(asking.rows())) == (201, 1)
    assert [app.post(VERIFY, {**address, "code": code}).status_code for app in (plain, resending)] == [400, 400]


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


OPTIONAL = {
    *("flask_login", "celery", "kombu", "redis", "apispec", "yaml", "flask_babel", "flask_limiter", "flask_wtf"),
    *("aiosmtpd", "pytest", "flask_rest_registration.testing", "flask_rest_registration.contrib"),
}

#: Of the time that an application needs to start, they would take a third.
ONLY_ON_USE = {
    "marshmallow_sqlalchemy",
    *(f"flask_rest_registration.commands.{name}" for name in ("check", "settings", "send_test_mail")),
}


def test_importing_the_package_loads_no_optional_library_and_nothing_for_later() -> None:
    program = "import sys, flask_rest_registration; print(*sys.modules)"
    folder = Path(flask_rest_registration.__file__).parents[1]
    loaded = set(subprocess.check_output([sys.executable, "-W", "error", "-c", program], cwd=folder, text=True).split())
    assert {"flask_rest_registration", "flask_rest_registration.commands.group"} <= loaded
    assert loaded & (OPTIONAL | ONLY_ON_USE) == set()
