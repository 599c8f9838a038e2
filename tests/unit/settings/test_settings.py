"""The settings: how they are given, how they are checked, and what each of them does."""

from __future__ import annotations

import copy
import dataclasses
import functools
import sys
import types
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader
from marshmallow import Schema, ValidationError, fields
from sqlalchemy import Boolean, DateTime, String
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    RegisterEmailSerializer,
    RegisterSigner,
    send_existing_account_email_notification,
    send_register_verification_email_notification,
)
from flask_rest_registration.settings.definitions import Settings
from tests.support import models
from tests.support.apps import OMITTED, PASSWORD, VERIFICATION_URL, Builder, Built
from tests.support.clock import Clock
from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer, SilentServer
from tests.support.messages import lacking

DAY = 24 * 60 * 60


def sender(request: object, user: object) -> None:
    """A sender of verification mails that sends none."""


def handler(request: object, user: object) -> dict[str, object]:
    return {"token": "t-1"}


def builder(signer: RegisterSigner) -> str:
    return f"https://built.example/?signature={signer.get_signed_data()['signature']}"


def selector(request: object, user: object) -> dict[str, str]:
    return {"subject": "selected.txt"}


def locale_selector(request: object, user: object) -> str | None:
    return None


def context_builder(request: object, user: object, context: Mapping[str, object]) -> dict[str, object]:
    return dict(context)


def validator(password: str, user_data: Mapping[str, object]) -> None:
    if "ann" in password:
        raise ValidationError("No names, please.")


CENTURY = 100 * 365 * DAY
TWO_ADDRESSES: list[object] = [
    "shop@example.com, eve@evil.example",
    "Shop <shop@example.com>, eve@evil.example",
    ("Shop", "shop@example.com, eve@evil.example"),
    ("Shop", "shop@example.com;eve@evil.example"),
]

#: For each setting, a value that is accepted and, where a check is possible, values that are refused.
VALUES: dict[str, tuple[object, list[object]]] = {
    "URL_PREFIX": ("/auth", ["auth", 5, "/<tenant>/accounts", "/<int:tenant>"]),
    "USER_MODEL": ("shop.models.Account", [5, "", "not a path"]),
    "USER_EMAIL_FIELD": ("email", [5, "", ["email"]]),
    "USER_PASSWORD_FIELD": ("password_hash", [5, ""]),
    "USER_HIDDEN_FIELDS": (["is_admin"], ["is_admin", 5, [5]]),
    "USER_PUBLIC_FIELDS": (["username"], ["username", 5, [5]]),
    "USER_EDITABLE_FIELDS": (("username",), ["username", 5, [5]]),
    "USER_VERIFICATION_ID_FIELD": ("id", [5, ""]),
    "USER_VERIFICATION_FLAG_FIELD": ("email_verified_at", [5, ""]),
    "REGISTER_FLOW_ENABLED": (False, ["False", 0, "yes"]),
    "REGISTER_SERIALIZER_CLASS": (DefaultRegisterUserSerializer, [5, DefaultRegisterUserSerializer()]),
    "REGISTER_SERIALIZER_PASSWORD_CONFIRM": (False, ["False", 1]),
    "REGISTER_OUTPUT_SERIALIZER_CLASS": (DefaultUserProfileSerializer, [5, DefaultUserProfileSerializer()]),
    "REGISTER_VERIFICATION_ENABLED": (False, ["true", 1]),
    "REGISTER_VERIFICATION_EMAIL_SENDER": (sender, [5, "send"]),
    "REGISTER_VERIFICATION_PERIOD": (
        3600,
        [0, -1, "3600", 1.5, True, timedelta(0), timedelta(days=-1), *(CENTURY + 1, timedelta.max, 10**30, -(10**30))],
    ),
    "REGISTER_VERIFICATION_URL": (
        "http://localhost:3000/#/verify",
        [
            "/verify",
            "frontend.example/verify",
            "javascript:alert(1)",
            "https://",
            "https://a b.example/",
            "http://[::1",
            5,
        ],
    ),
    "REGISTER_VERIFICATION_ONE_TIME_USE": (True, ["True", 1]),
    "REGISTER_VERIFICATION_EMAIL_TEMPLATES": (
        {"subject": "s.txt", "text_body": "b.txt", "html_body": "b.html"},
        ["body.txt", {"bodies": "b.txt"}, {"body": 5}, {"body": "a.txt", "text_body": "b.txt"}],
    ),
    "REGISTER_VERIFICATION_AUTO_LOGIN": (True, ["True", 1]),
    "PENDING_REGISTRATION_MODEL": ("shop.models.Waiting", [5, "", "not a path"]),
    "REGISTER_EMAIL_FIRST": (True, ["True", 1]),
    "REGISTER_EMAIL_SERIALIZER_CLASS": (RegisterEmailSerializer, [5, RegisterEmailSerializer()]),
    "REGISTER_VERIFICATION_RESEND_ENABLED": (True, ["True", 1]),
    "REGISTER_VERIFICATION_RESEND_COOLDOWN": (
        90,
        [0, -1, "60", 1.5, True, timedelta(0), DAY // 2 + 1, timedelta(hours=12, microseconds=1), CENTURY + 1],
    ),
    # It does not stand alone: see the contradictions.
    "REGISTER_VERIFICATION_CODE_ENABLED": (False, ["False", 0]),
    "REGISTER_VERIFICATION_CODE_LENGTH": (8, [5, 11, 0, -6, 10**30, "6", 6.0, True, timedelta(6)]),
    "REGISTER_VERIFICATION_CODE_PERIOD": (60, [0, -1, "60", 1.5, True, timedelta(0), CENTURY + 1]),
    "REGISTER_EXISTING_EMAIL_SENDER": (sender, [5, "send"]),
    "REGISTER_EXISTING_EMAIL_TEMPLATES": (
        {"subject": "s.txt", "body": "b.txt"},
        ["body.txt", {"bodies": "b.txt"}, {"body": 5}, {"body": "a.txt", "text_body": "b.txt"}],
    ),
    "LOGIN_HANDLER": (handler, [5, "login"]),
    "VERIFICATION_FROM_EMAIL": (("Shop", "shop@example.com"), [5, "", ("a", "b", "c"), ("Shop", 5), *TWO_ADDRESSES]),
    "VERIFICATION_REPLY_TO_EMAIL": ("help@example.com", [5, "", ("Help",), *TWO_ADDRESSES]),
    "VERIFICATION_EMAIL_TIMEOUT": (timedelta(seconds=3), [0, -1, "10", 2.5, False, timedelta(0), DAY + 1, 10**30]),
    "VERIFICATION_URL_BUILDER": (builder, [5, "build"]),
    "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": (context_builder, [5, {}]),
    "VERIFICATION_TEMPLATES_SELECTOR": (selector, [5, {}]),
    "VERIFICATION_LOCALE_SELECTOR": (locale_selector, [5, "de"]),
    "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": (str.upper, [5, "upper"]),
    "PASSWORD_HASHER": (models.cheap_hash, [5, "scrypt"]),
    "PASSWORD_VALIDATORS": ([validator], [validator, 5, [5]]),
}

REFUSED = [(name, value) for name, (_, refused) in VALUES.items() for value in refused]


def refusal(build: Builder, settings: Mapping[str, object], config: Mapping[str, object] | None = None) -> str:
    """Return the message with which ``init_app`` refuses the settings."""
    with pytest.raises(ConfigurationError) as caught:
        build(registration=settings, config=config)
    return str(caught.value)


def use_templates(**sources: str) -> Any:
    """Make a ``before_init`` that gives the app templates: ``subject_txt="..."`` is ``subject.txt``."""

    def give(app: Flask) -> None:
        app.jinja_loader = DictLoader({name.replace("_", "."): text for name, text in sources.items()})

    return give


# How settings are given


def test_the_table_of_this_module_is_that_of_the_package() -> None:
    assert set(VALUES) == {field.name.upper() for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_is_accepted_in_the_dict(build: Builder, name: str) -> None:
    assert build(registration={name: VALUES[name][0]}).registration.blueprint is not None


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_is_accepted_as_a_flat_key(build: Builder, name: str) -> None:
    build(registration={name: None}, config={f"REST_REGISTRATION_{name}": VALUES[name][0]})


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_wrong_value_is_refused_with_its_name_and_type(build: Builder, name: str, value: object) -> None:
    message = refusal(build, {name: value})
    assert name in message
    if not isinstance(value, dict | list):
        assert type(value).__name__ in message or repr(value) in message


@pytest.mark.parametrize("name", VALUES)
def test_a_wrong_value_is_refused_as_a_flat_key_too(build: Builder, name: str) -> None:
    wrong = VALUES[name][1][0]
    assert name in refusal(build, {name: None}, {f"REST_REGISTRATION_{name}": wrong})


@pytest.mark.parametrize("name", VALUES)
def test_none_means_not_given(build: Builder, name: str) -> None:
    settings: dict[str, object] = {name: None}
    if name == "REGISTER_VERIFICATION_URL":
        settings["REGISTER_VERIFICATION_ENABLED"] = False
    built = build(registration=settings)
    assert built.register().status_code == 201


def test_a_flat_key_wins_over_the_dict(build: Builder) -> None:
    built = build(registration={"URL_PREFIX": "/dict"}, config={"REST_REGISTRATION_URL_PREFIX": "/flat"})
    assert built.client().post("/flat/register/", json=built.body()).status_code == 201
    assert built.client().post("/dict/register/", json=built.body()).status_code == 404


def test_a_flat_key_of_none_leaves_the_value_of_the_dict(build: Builder) -> None:
    built = build(registration={"URL_PREFIX": "/dict"}, config={"REST_REGISTRATION_URL_PREFIX": None})
    assert built.register().status_code == 201


def test_settings_need_no_dict(build: Builder) -> None:
    flat = {"REST_REGISTRATION": None, "REST_REGISTRATION_REGISTER_VERIFICATION_URL": VERIFICATION_URL}
    assert build(config=flat).register().status_code == 201


@pytest.mark.parametrize("value", ["text", ["list"], 5])
def test_what_is_no_dict_is_refused(build: Builder, value: object) -> None:
    message = refusal(build, {}, {"REST_REGISTRATION": value})
    assert "REST_REGISTRATION" in message
    assert type(value).__name__ in message


def test_settings_come_from_the_environment(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_REST_REGISTRATION_URL_PREFIX", "/env")
    monkeypatch.setenv("SHOP_REST_REGISTRATION__REGISTER_VERIFICATION_URL", "https://env.example/verify/")
    monkeypatch.setenv("SHOP_REST_REGISTRATION_REGISTER_SERIALIZER_PASSWORD_CONFIRM", "false")
    monkeypatch.setenv("SHOP_REST_REGISTRATION_REGISTER_VERIFICATION_PERIOD", "3600")
    monkeypatch.setenv("SHOP_REST_REGISTRATION_USER_PUBLIC_FIELDS", '["username"]')
    built = build(before_init=lambda app: app.config.from_prefixed_env("SHOP"))
    answer = built.client().post("/env/register/", json=built.body(password_confirm=OMITTED))
    assert (answer.status_code, answer.json) == (201, {"username": "ann"})


def test_the_link_leads_where_the_environment_says(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_REST_REGISTRATION__REGISTER_VERIFICATION_URL", "https://env.example/verify/")
    build(before_init=lambda app: app.config.from_prefixed_env("SHOP")).register()
    assert link_in(smtp.message).startswith("https://env.example/verify/?")


@pytest.mark.parametrize(("written", "fix"), [("False", "write false"), ("True", "write true")])
def test_a_switch_written_in_python_in_the_environment_is_refused_with_the_fix(
    build: Builder, monkeypatch: pytest.MonkeyPatch, written: str, fix: str
) -> None:
    monkeypatch.setenv("SHOP_REST_REGISTRATION_REGISTER_FLOW_ENABLED", written)
    with pytest.raises(ConfigurationError, match=rf"REGISTER_FLOW_ENABLED.*{fix}"):
        build(before_init=lambda app: app.config.from_prefixed_env("SHOP"))


def test_settings_come_from_configuration_classes(build: Builder) -> None:
    class Base:
        REST_REGISTRATION = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL, "URL_PREFIX": "/base"}

    class Production(Base):
        REST_REGISTRATION_URL_PREFIX = "/production"

    base = build(before_init=lambda app: app.config.from_object(Base))
    production = build(before_init=lambda app: app.config.from_object(Production))
    assert base.client().post("/base/register/", json=base.body()).status_code == 201
    assert production.client().post("/production/register/", json=production.body()).status_code == 201


def test_the_dict_of_the_application_is_never_written_to(build: Builder) -> None:
    given: dict[str, object] = {
        "REGISTER_VERIFICATION_URL": VERIFICATION_URL,
        "REGISTER_VERIFICATION_PERIOD": 60,
        "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"text_body": "rest_registration/register/body.txt"},
        "USER_PUBLIC_FIELDS": ["username"],
        "PASSWORD_VALIDATORS": [validator],
        "LOGIN_HANDLER": None,
    }
    before = copy.deepcopy(given)
    built = build(config={"REST_REGISTRATION": given, "REST_REGISTRATION_URL_PREFIX": "/flat"})
    built.client().post("/flat/register/", json=built.body())
    assert given == before
    assert built.app.config["REST_REGISTRATION"] is given


def test_a_mapping_that_cannot_be_written_to_will_do(build: Builder) -> None:
    frozen = types.MappingProxyType({"REGISTER_VERIFICATION_URL": VERIFICATION_URL})
    assert build(config={"REST_REGISTRATION": frozen}).register().status_code == 201


# How settings are checked


@pytest.mark.parametrize(
    ("written", "offered"),
    [
        ("REGISTER_VERIFICATION_URI", "REGISTER_VERIFICATION_URL"),
        ("REGISTER_VERIFICATON_PERIOD", "REGISTER_VERIFICATION_PERIOD"),
        ("register_flow_enabled", "REGISTER_FLOW_ENABLED"),
        ("USER_EMAIL", "USER_EMAIL_FIELD"),
        ("REGISTER_VERIFICATION_AUTOLOGIN", "REGISTER_VERIFICATION_AUTO_LOGIN"),
    ],
)
def test_of_an_unknown_name_the_nearest_known_one_is_offered(build: Builder, written: str, offered: str) -> None:
    for message in (
        refusal(build, {written: True}),
        refusal(build, {}, {f"REST_REGISTRATION_{written}": True}),
    ):
        assert written in message
        assert f"{offered}?" in message


def test_an_unknown_name_that_is_near_to_none_is_refused(build: Builder) -> None:
    assert "ZZZ" in refusal(build, {"ZZZ": 1})


def test_an_unknown_name_is_refused_even_when_its_value_is_none(build: Builder) -> None:
    assert "REGISTER_VERIFICATION_URI" in refusal(build, {"REGISTER_VERIFICATION_URI": None})


def test_all_faults_are_in_one_message(build: Builder) -> None:
    message = refusal(
        build,
        {
            "REGISTER_VERIFICATION_URL": None,
            "REGISTER_FLOW_ENABLED": "False",
            "REGISTER_VERIFICATION_PERIOD": -5,
            "USER_MODELL": "shop.User",
        },
        {"REST_REGISTRATION_PASSWORD_HASHER": 5},
    )
    for name in (
        "REGISTER_VERIFICATION_URL",
        "REGISTER_FLOW_ENABLED",
        "REGISTER_VERIFICATION_PERIOD",
        "USER_MODELL",
        "PASSWORD_HASHER",
    ):
        assert name in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGISTER_VERIFICATION_PERIOD", CENTURY),
        ("VERIFICATION_EMAIL_TIMEOUT", DAY),
        ("REGISTER_VERIFICATION_RESEND_COOLDOWN", DAY // 2),
        ("REGISTER_VERIFICATION_CODE_LENGTH", 6),
        ("REGISTER_VERIFICATION_CODE_LENGTH", 10),
        ("REGISTER_VERIFICATION_CODE_PERIOD", 7 * DAY),
        ("VERIFICATION_FROM_EMAIL", '"The Shop, Oslo" <shop@example.com>'),
        ("VERIFICATION_FROM_EMAIL", ("The Shop, Oslo", "shop@example.com")),
    ],
)
def test_what_is_just_within_the_limits_works(build: Builder, smtp: RecordingServer, name: str, value: object) -> None:
    built = build(registration={name: value})
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200


def test_auto_login_without_flask_login_or_a_handler_is_refused(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flask_login", None)
    message = refusal(build, {"REGISTER_VERIFICATION_AUTO_LOGIN": True})
    for word in (
        "REGISTER_VERIFICATION_AUTO_LOGIN",
        "not installed",
        "flask-rest-registration[login]",
        "LOGIN_HANDLER",
    ):
        assert word in message
    build(registration={"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": handler})


def test_a_missing_verification_url_is_refused_while_the_default_sender_needs_it(build: Builder) -> None:
    missing: dict[str, object] = {"REGISTER_VERIFICATION_URL": None}
    assert "REGISTER_VERIFICATION_URL" in refusal(build, missing)
    named = "flask_rest_registration.send_register_verification_email_notification"
    for default in (send_register_verification_email_notification, named):
        assert "REGISTER_VERIFICATION_URL" in refusal(build, {**missing, "REGISTER_VERIFICATION_EMAIL_SENDER": default})


@pytest.mark.parametrize(
    "without_need", [{"REGISTER_VERIFICATION_ENABLED": False}, {"REGISTER_VERIFICATION_EMAIL_SENDER": sender}]
)
def test_the_verification_url_may_be_missing_where_nothing_needs_it(
    build: Builder, without_need: dict[str, object]
) -> None:
    built = build(registration={"REGISTER_VERIFICATION_URL": None, **without_need})
    assert built.register().status_code == 201


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("USER_MODEL", "no_such_package.models.User"),
        ("REGISTER_SERIALIZER_CLASS", "flask_rest_registration.NoSuchSerializer"),
        ("PASSWORD_HASHER", "tests.unit.settings.test_settings.VALUES"),
        ("REGISTER_SERIALIZER_CLASS", "tests.support.apps.Built"),
        ("LOGIN_HANDLER", "tests.unit.settings.test_settings.DAY"),
    ],
)
def test_a_dotted_path_that_leads_nowhere_is_refused_on_first_use_and_by_check(
    build: Builder, name: str, path: str
) -> None:
    built = build(registration={name: path})
    with pytest.raises(ConfigurationError, match=name):
        built.register()
    result = built.command("check")
    assert result.exit_code != 0
    assert name in result.output


def test_a_dotted_path_is_imported_on_first_use(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(models.inheritance_subclass, registration={"USER_MODEL": "tests.support.models.Chosen"})
    monkeypatch.setattr(models, "Chosen", built.User, raising=False)
    assert built.register().status_code == 201
    assert built.row()["kind"] == "customer"


# Settings that are gone


#: What their refusal says takes their place.
GONE = {
    "REGISTER_RECLAIM_ENABLED": "with REGISTER_EMAIL_FIRST a stranger's sign-up never takes an address",
    "REGISTER_HIDE_EXISTING_EMAIL": "REGISTER_EMAIL_FIRST answers everybody alike",
    "REGISTER_PASSWORD_AT": "with REGISTER_EMAIL_FIRST the password is chosen by whoever reads the mail",
    "REGISTER_REJECTION_URL": "with REGISTER_EMAIL_FIRST there is no account to reject",
    "USER_VERIFICATION_SENT_AT_FIELD": "the table of PENDING_REGISTRATION_MODEL has the time of the last message",
    "USER_NOTICE_SENT_AT_FIELD": "the table of PENDING_REGISTRATION_MODEL has the time of the last message",
}


@pytest.mark.parametrize("value", [True, "verify", None])
@pytest.mark.parametrize("name", GONE)
def test_a_setting_that_is_gone_is_refused_with_what_takes_its_place(build: Builder, name: str, value: object) -> None:
    in_the_dict = refusal(build, {name: value})
    as_a_flat_key = refusal(build, {}, {f"REST_REGISTRATION_{name}": value})
    assert in_the_dict == as_a_flat_key
    assert lacking(in_the_dict, f"REST_REGISTRATION setting {name} is gone", GONE[name], "Fix: remove it") == []
    assert "Did you mean" not in in_the_dict


def test_all_settings_that_are_gone_are_told_at_once_among_other_faults(build: Builder) -> None:
    message = refusal(build, {**dict.fromkeys(GONE, True), "REGISTER_FLOW_ENABLED": "False", "ZZZ": 1})
    assert lacking(message, *(f"{name} is gone" for name in GONE), "REGISTER_FLOW_ENABLED", "ZZZ") == []


# Settings of pending registrations


EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True}
RESEND: dict[str, object] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
CODES: dict[str, object] = {"REGISTER_VERIFICATION_CODE_ENABLED": True}
BY_CELERY = "flask_rest_registration.contrib.celery.send_later"

each_way = pytest.mark.parametrize("way", [EMAIL_FIRST, RESEND], ids=lambda way: next(iter(way)))


def test_all_of_pending_registrations_is_off_unless_it_is_switched_on() -> None:
    defaults = {field.name.upper(): field.default for field in dataclasses.fields(Settings)}
    expected = {
        "PENDING_REGISTRATION_MODEL": None,
        "REGISTER_EMAIL_FIRST": False,
        "REGISTER_VERIFICATION_RESEND_ENABLED": False,
        "REGISTER_VERIFICATION_RESEND_COOLDOWN": timedelta(minutes=1),
        "REGISTER_VERIFICATION_CODE_ENABLED": False,
        "REGISTER_VERIFICATION_CODE_LENGTH": 6,
        "REGISTER_VERIFICATION_CODE_PERIOD": timedelta(minutes=15),
    }
    assert {name: defaults[name] for name in expected} == expected


@pytest.mark.parametrize("switches", [EMAIL_FIRST, RESEND, {**EMAIL_FIRST, **CODES}])
def test_what_is_about_proving_an_address_needs_verification(build: Builder, switches: dict[str, object]) -> None:
    message = refusal(build, {**switches, "REGISTER_VERIFICATION_ENABLED": False})
    assert lacking(message, *switches, "REGISTER_VERIFICATION_ENABLED is False", "Fix: remove") == []


def test_without_verification_what_is_no_switch_of_pending_registrations_is_fine(build: Builder) -> None:
    settings = {
        "REGISTER_VERIFICATION_ENABLED": False,
        "PENDING_REGISTRATION_MODEL": "no.such.Model",
        "REGISTER_VERIFICATION_CODE_LENGTH": 8,
        **dict.fromkeys((*EMAIL_FIRST, *RESEND, *CODES), False),
    }
    assert build(registration=settings).register().status_code == 201


def test_resend_is_refused_with_e_mail_first_where_register_is_the_resend(build: Builder) -> None:
    message = refusal(build, {**EMAIL_FIRST, **RESEND})
    assert lacking(message, *EMAIL_FIRST, *RESEND, "register/", "Fix: remove it") == []


@pytest.mark.parametrize("settings", [CODES, {**CODES, **RESEND}, {**CODES, "REGISTER_EMAIL_FIRST": False}])
def test_codes_need_e_mail_first(build: Builder, settings: dict[str, object]) -> None:
    message = refusal(build, settings)
    assert lacking(message, "REGISTER_VERIFICATION_CODE_ENABLED needs REGISTER_EMAIL_FIRST", "Fix: ") == []


@each_way
@pytest.mark.parametrize("period", [60, 59, timedelta(seconds=1)])
def test_the_cooldown_must_be_shorter_than_the_links_period(
    build: Builder, way: dict[str, object], period: object
) -> None:
    for cooldown in (None, 60):  # the default is as long
        settings = {"REGISTER_VERIFICATION_PERIOD": period, "REGISTER_VERIFICATION_RESEND_COOLDOWN": cooldown}
        message = refusal(build, {**way, **settings})
        assert lacking(message, *settings, "0:01:00", "not shorter", "Fix: ") == []
    build(pending=True, registration={**way, "REGISTER_VERIFICATION_PERIOD": 61})


@pytest.mark.parametrize("seconds", [900, 901])
def test_the_codes_period_is_at_most_the_links(build: Builder, seconds: int) -> None:
    settings = {**EMAIL_FIRST, **CODES, "REGISTER_VERIFICATION_PERIOD": 900}
    if seconds == 900:  # which is the default too
        build(pending=True, registration=settings)
        build(pending=True, registration={**settings, "REGISTER_VERIFICATION_CODE_PERIOD": seconds})
        return
    message = refusal(build, {**settings, "REGISTER_VERIFICATION_CODE_PERIOD": seconds})
    assert (
        lacking(message, "REGISTER_VERIFICATION_CODE_PERIOD is 0:15:01", "REGISTER_VERIFICATION_PERIOD", "Fix: ") == []
    )
    assert "REGISTER_VERIFICATION_CODE_PERIOD" in refusal(build, {**settings, "REGISTER_VERIFICATION_PERIOD": 899})


def test_a_short_period_alone_is_fine(build: Builder) -> None:
    assert build(registration={"REGISTER_VERIFICATION_PERIOD": 1}).register().status_code == 201


LINKS, NOTICES = "REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"
DEFAULT_SENDERS: dict[str, list[object]] = {
    LINKS: [
        None,
        send_register_verification_email_notification,
        "flask_rest_registration.send_register_verification_email_notification",
        "flask_rest_registration.mail.delivery.send_register_verification_email_notification",
    ],
    NOTICES: [
        None,
        send_existing_account_email_notification,
        "flask_rest_registration.send_existing_account_email_notification",
        "flask_rest_registration.mail.delivery.send_existing_account_email_notification",
    ],
}


@functools.wraps(send_register_verification_email_notification)
def wrapper(request: Any, user: object) -> None:
    """A sender that has the name of what it wraps."""


@pytest.mark.parametrize("own", [sender, "tests.unit.settings.test_settings.sender", BY_CELERY, wrapper])
@pytest.mark.parametrize(("name", "other"), [(LINKS, NOTICES), (NOTICES, LINKS)])
def test_with_e_mail_first_one_own_sender_needs_another_one(build: Builder, name: str, other: str, own: object) -> None:
    """Two ways of sending take different times, and tell who has an account."""
    for default in DEFAULT_SENDERS[other]:
        message = refusal(build, {**EMAIL_FIRST, name: own, other: default})
        assert lacking(message, f"{name} is your own and {other} is not", f"Fix: give {other}") == []
    build(pending=True, registration={**EMAIL_FIRST, name: own, other: sender})


@pytest.mark.parametrize("links", DEFAULT_SENDERS[LINKS])
@pytest.mark.parametrize("notices", DEFAULT_SENDERS[NOTICES])
def test_with_e_mail_first_the_default_senders_go_together_however_they_are_named(
    build: Builder, smtp: RecordingServer, links: object, notices: object
) -> None:
    built = build(pending=True, registration={**EMAIL_FIRST, LINKS: links, NOTICES: notices})
    assert built.post("register/", {"email": "ann@example.com"}).status_code == 202
    assert smtp.message["To"] == "ann@example.com"


@pytest.mark.parametrize("way", [{}, RESEND], ids=["the account at sign-up", "resend"])
def test_without_e_mail_first_an_own_link_sender_needs_no_notice_sender(build: Builder, way: dict[str, object]) -> None:
    built = build(pending=True, registration={**way, "REGISTER_VERIFICATION_EMAIL_SENDER": sender})
    assert built.register().status_code == 201


def test_with_own_senders_of_both_mails_the_url_may_be_missing(build: Builder) -> None:
    """The link's sender of the package needs it, and the notice's, which names the site by it."""
    without_url: dict[str, object] = {**EMAIL_FIRST, "REGISTER_VERIFICATION_URL": None}
    notices: dict[str, object] = {"REGISTER_EXISTING_EMAIL_SENDER": sender}
    both = {**notices, "REGISTER_VERIFICATION_EMAIL_SENDER": sender}
    build(pending=True, registration={**without_url, **both})
    for senders in ({}, notices, {"REGISTER_VERIFICATION_EMAIL_SENDER": sender}):
        assert refusal(build, {**without_url, **senders}).count("REGISTER_VERIFICATION_URL is missing") == 1


def test_all_contradictions_are_in_one_message(build: Builder) -> None:
    settings = {
        **EMAIL_FIRST,
        **RESEND,
        **CODES,
        "REGISTER_VERIFICATION_PERIOD": 60,
        "REGISTER_VERIFICATION_EMAIL_SENDER": sender,
        "REGISTER_VERIFICATION_ENABLED": False,
        "REGISTER_FLOW_ENABLED": "False",
    }
    faults = [
        "REGISTER_VERIFICATION_CODE_ENABLED is True, which is about proving",
        "REGISTER_VERIFICATION_RESEND_ENABLED is not needed",
        "REGISTER_VERIFICATION_RESEND_COOLDOWN is 0:01:00",
        "REGISTER_VERIFICATION_CODE_PERIOD is 0:15:00",
        "REGISTER_VERIFICATION_EMAIL_SENDER is your own",
        "REGISTER_FLOW_ENABLED must be True or False",
    ]
    assert lacking(refusal(build, settings), *faults) == []


@each_way
def test_the_model_of_pending_registrations_is_found_on_first_use(
    build: Builder, monkeypatch: pytest.MonkeyPatch, way: dict[str, object]
) -> None:
    path = "tests.support.models.Waiting"
    built = build(pending=True, registration={**way, "PENDING_REGISTRATION_MODEL": path})
    assert lacking(built.command("check").output, "PENDING_REGISTRATION_MODEL", path) == []
    monkeypatch.setattr(models, "Waiting", built.Pending, raising=False)
    assert built.command("check").output == "0 errors, 0 warnings\n"


# What each setting does


def test_url_prefix(build: Builder) -> None:
    usual = build()
    assert usual.client().post("/api/v1/accounts/register/", json=usual.body()).status_code == 201
    moved = build(registration={"URL_PREFIX": "/auth"})
    assert moved.client().post("/auth/register/", json=moved.body()).status_code == 201
    assert moved.client().post("/api/v1/accounts/register/", json=moved.body()).status_code == 404


def test_user_model_is_by_default_the_one_class_named_user(build: Builder) -> None:
    built = build(models.inheritance_base)
    assert built.register().status_code == 201
    assert built.row()["kind"] == "user"


def test_user_model_chooses_another_class(build: Builder) -> None:
    built = build(models.inheritance_subclass)
    assert built.register().status_code == 201
    assert built.row()["kind"] == "customer"


def test_user_email_field(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.other_email_name, registration={"USER_EMAIL_FIELD": "mail_address"})
    assert built.register(mail_address="Ann@Example.com").status_code == 201
    assert built.row()["mail_address"] == "ann@example.com"
    assert smtp.envelopes[0].recipients == ["ann@example.com"]


def test_user_password_field_gets_the_hashers_result(build: Builder) -> None:
    built = build(
        models.set_password,
        registration={"USER_PASSWORD_FIELD": "password_hash", "PASSWORD_HASHER": lambda password: "hashed"},
    )
    assert built.register().status_code == 201
    assert built.row()["password_hash"] == "hashed"


def with_extras(db: SQLAlchemy) -> type[Any]:
    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        public_id: Mapped[str] = mapped_column(String(12), unique=True, default="p-1")
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        nickname: Mapped[str | None] = mapped_column(String(40))
        role: Mapped[str] = mapped_column(String(20), default="member")
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]
        confirmed: Mapped[bool] = mapped_column(default=False)

    return User


def test_user_hidden_fields_are_neither_read_nor_shown(build: Builder) -> None:
    def with_required_role(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(254), unique=True)
            role: Mapped[str] = mapped_column(String(20))
            password_hash: Mapped[str] = mapped_column(String(256))
            email_verified_at: Mapped[datetime | None]

        return User

    with pytest.raises(ConfigurationError, match="role"):
        build(with_required_role).register(role="admin")
    read = build(with_required_role, registration={"USER_HIDDEN_FIELDS": ["is_admin"]})
    assert read.register(role="admin").status_code == 201
    assert read.row()["role"] == "admin"


def test_user_public_fields_are_exactly_what_is_shown(build: Builder) -> None:
    assert build(with_extras).register().json == {"id": 1, "email": "ann@example.com", "username": "ann"}
    shown = build(with_extras, registration={"USER_PUBLIC_FIELDS": ["username", "role", "email_verified_at"]})
    assert shown.register().json == {"username": "ann", "role": "member", "email_verified_at": None}


def test_user_editable_fields_are_what_is_read(build: Builder) -> None:
    usual = build(with_extras)
    assert usual.register(nickname="Annie").status_code == 400
    listed = build(with_extras, registration={"USER_EDITABLE_FIELDS": ["username", "nickname", "role"]})
    assert listed.register(nickname="Annie", role="editor").status_code == 201
    assert (listed.row()["nickname"], listed.row()["role"]) == ("Annie", "editor")


@pytest.mark.parametrize("name", ["password_hash", "password", "id", "email_verified_at", "no_such_column"])
def test_forbidden_and_unknown_names_in_user_editable_fields_are_refused(build: Builder, name: str) -> None:
    built = build(with_extras, registration={"USER_EDITABLE_FIELDS": ["username", name]})
    with pytest.raises(ConfigurationError, match=f"USER_EDITABLE_FIELDS.*{name}"):
        built.register()


@pytest.mark.parametrize("name", ["password_hash", "password", "no_such_column"])
def test_forbidden_and_unknown_names_in_user_public_fields_are_refused(build: Builder, name: str) -> None:
    built = build(with_extras, registration={"USER_PUBLIC_FIELDS": ["username", name]})
    with pytest.raises(ConfigurationError, match=f"USER_PUBLIC_FIELDS.*{name}"):
        built.register()


def test_user_verification_id_field_is_what_the_link_says(build: Builder, smtp: RecordingServer) -> None:
    built = build(with_extras, registration={"USER_VERIFICATION_ID_FIELD": "public_id"})
    built.register()
    values = values_of(link_in(smtp.message))
    assert values["user_id"] == "p-1"
    assert built.verify(values).status_code == 200
    assert built.row()["email_verified_at"] is not None


def test_user_verification_flag_field_chooses_the_flag(build: Builder, smtp: RecordingServer) -> None:
    built = build(with_extras, registration={"USER_VERIFICATION_FLAG_FIELD": "confirmed"})
    built.register()
    assert built.row()["confirmed"] is False
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert (built.row()["confirmed"], built.row()["email_verified_at"]) == (True, None)


FLAGS = (
    "email_verified_at",
    "verified_at",
    "confirmed_at",
    "email_verified",
    "is_verified",
    "confirmed",
    "is_active",
    "active",
)


@pytest.mark.parametrize("position", range(len(FLAGS)))
def test_the_flag_is_the_first_that_the_model_has(build: Builder, smtp: RecordingServer, position: int) -> None:
    def with_flags(db: SQLAlchemy) -> type[Any]:
        attributes: dict[str, Any] = {
            "__annotations__": {},
            "id": mapped_column(db.Integer, primary_key=True),
            "email": mapped_column(String(254), unique=True, nullable=False),
            "password_hash": mapped_column(String(256), nullable=False),
        }
        for name in reversed(FLAGS[position:]):
            is_time = name.endswith("_at")
            attributes[name] = mapped_column(DateTime) if is_time else mapped_column(Boolean, default=False)
        return type("User", (db.Model,), attributes)

    built = build(with_flags)
    built.register()
    built.verify(link_in(smtp.message))
    row = built.row()
    assert [name for name in FLAGS[position:] if row[name]] == [FLAGS[position]]


def test_register_flow_enabled(build: Builder) -> None:
    built = build(registration={"REGISTER_FLOW_ENABLED": False})
    answer = built.register()
    assert answer.status_code == 404
    assert answer.get_json()["code"] == "not-found"
    assert built.rows() == []


class NameOnly(Schema):
    email = fields.Email(required=True)
    username = fields.String(required=True, data_key="name")
    password = fields.String(required=True)


class Greeting(Schema):
    hello = fields.String(attribute="username")


@pytest.mark.parametrize("given", [NameOnly, "tests.unit.settings.test_settings.NameOnly"])
def test_register_serializer_class(build: Builder, given: object) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": given})
    answer = built.post("register/", {"email": "ann@example.com", "name": "ann", "password": PASSWORD})
    assert answer.status_code == 201
    assert built.row()["username"] == "ann"


def test_register_serializer_password_confirm(build: Builder) -> None:
    asked = build().register(password_confirm=OMITTED)
    assert asked.status_code == 400
    assert list(asked.get_json()["errors"]) == ["password_confirm"]
    differs = build().register(password_confirm=PASSWORD + "!")
    assert list(differs.get_json()["errors"]) == ["password_confirm"]
    unasked = build(registration={"REGISTER_SERIALIZER_PASSWORD_CONFIRM": False})
    assert unasked.register(password_confirm=OMITTED).status_code == 201


@pytest.mark.parametrize("given", [Greeting, "tests.unit.settings.test_settings.Greeting"])
def test_register_output_serializer_class(build: Builder, given: object) -> None:
    assert build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": given}).register().json == {"hello": "ann"}


@pytest.mark.parametrize(
    ("model", "flag", "value"),
    [(models.boolean_flag, "email_verified", True), (models.typed, "email_verified_at", None)],
)
def test_register_verification_enabled(
    build: Builder, smtp: RecordingServer, model: models.Model, flag: str, value: object
) -> None:
    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert built.register().status_code == 201
    assert built.row()[flag] is value
    assert smtp.messages == []
    answer = built.verify({"user_id": "1", "timestamp": "1", "signature": "x"})
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")


def test_register_verification_email_sender_gets_request_and_user(build: Builder, smtp: RecordingServer) -> None:
    calls: list[tuple[Any, str]] = []

    def remember(request: Any, user: Any) -> None:
        calls.append((request.path, user.email))

    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": remember})
    assert built.register().status_code == 201
    assert calls == [("/api/v1/accounts/register/", "ann@example.com")]
    assert smtp.messages == []


@pytest.mark.parametrize("module", ["accounts.mails", "shop.mails"])
def test_a_sender_of_the_application_needs_no_url_whatever_its_modules_name(build: Builder, module: str) -> None:
    def send(request: object, user: object) -> None:
        pass

    send.__module__ = module
    settings = {"REGISTER_VERIFICATION_EMAIL_SENDER": send, "REGISTER_VERIFICATION_URL": None}
    assert build(registration=settings).register().status_code == 201


@pytest.mark.parametrize(("period", "seconds"), [(None, 7 * DAY), (3600, 3600), (timedelta(minutes=5), 300), (1, 1)])
def test_register_verification_period(
    build: Builder, smtp: RecordingServer, clock: Clock, period: object, seconds: int
) -> None:
    built = build(registration={"REGISTER_VERIFICATION_PERIOD": period})
    built.register()
    link = link_in(smtp.message)
    clock.move(seconds + 1)
    answer = built.verify(link)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "signature-expired")
    clock.move(-1)
    assert built.verify(link).status_code == 200


def test_register_verification_url_keeps_its_query_and_fragment(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={"REGISTER_VERIFICATION_URL": "https://shop.example/verify?lang=de#top"})
    built.register()
    link = link_in(smtp.message)
    assert link.startswith("https://shop.example/verify?lang=de&user_id=1&timestamp=")
    assert link.endswith("#top")


def test_register_verification_one_time_use(build: Builder, smtp: RecordingServer) -> None:
    repeatable = build()
    repeatable.register()
    link = link_in(smtp.messages.pop())
    assert [repeatable.verify(link).status_code for _ in range(2)] == [200, 200]
    once = build(registration={"REGISTER_VERIFICATION_ONE_TIME_USE": True})
    once.register()
    link = link_in(smtp.messages.pop())
    answers = [once.verify(link) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].get_json()["code"] == "signature-invalid"


def test_register_verification_email_templates_replace_both_bodies(build: Builder, smtp: RecordingServer) -> None:
    built = build(
        registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "own.txt"}},
        before_init=use_templates(own_txt="Click {{ verification_url }}"),
    )
    built.register()
    assert text_of(smtp.message).startswith("Click https://frontend.example/verify-user/?user_id=1&timestamp=")
    assert smtp.message.get_body(("html",)) is None
    assert smtp.message["Subject"]


def test_register_verification_email_templates_may_give_all_three(build: Builder, smtp: RecordingServer) -> None:
    built = build(
        registration={
            "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {
                "subject": "s.txt",
                "text_body": "b.txt",
                "html_body": "b.html",
            }
        },
        before_init=use_templates(s_txt="Welcome to\n{{ site }}", b_txt="text", b_html="<p>html</p>"),
    )
    built.register()
    assert smtp.message["Subject"] == "Welcome to frontend.example"
    assert text_of(smtp.message).strip() == "text"
    assert html_of(smtp.message).strip() == "<p>html</p>"


def test_register_verification_auto_login_and_login_handler(build: Builder, smtp: RecordingServer) -> None:
    plain = build(registration={"LOGIN_HANDLER": handler})
    plain.register()
    detail = {"detail": "User verified successfully"}
    assert plain.verify(link_in(smtp.messages.pop())).json == detail
    logging_in = build(registration={"LOGIN_HANDLER": handler, "REGISTER_VERIFICATION_AUTO_LOGIN": True})
    logging_in.register()
    assert logging_in.verify(link_in(smtp.messages.pop())).json == {**detail, "token": "t-1"}


def addresses(built: Built, smtp: RecordingServer) -> tuple[str, str]:
    assert built.register().status_code == 201
    message = smtp.messages.pop()
    return str(message["From"]), str(message["Reply-To"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("no-reply@app.example", "no-reply@app.example")),
        ({"VERIFICATION_FROM_EMAIL": "shop@example.com"}, ("shop@example.com", "shop@example.com")),
        (
            {"VERIFICATION_FROM_EMAIL": ("The Shop", "shop@example.com")},
            ("The Shop <shop@example.com>", "The Shop <shop@example.com>"),
        ),
        (
            {"VERIFICATION_REPLY_TO_EMAIL": "help@example.com"},
            ("no-reply@app.example", "help@example.com"),
        ),
        (
            {"VERIFICATION_REPLY_TO_EMAIL": ("Help", "help@example.com")},
            ("no-reply@app.example", "Help <help@example.com>"),
        ),
    ],
)
def test_verification_from_email_and_reply_to_email(
    build: Builder, smtp: RecordingServer, settings: dict[str, object], expected: tuple[str, str]
) -> None:
    assert addresses(build(registration=settings), smtp) == expected


def test_verification_email_timeout_ends_the_wait_for_a_silent_server(build: Builder) -> None:
    with SilentServer() as silent:
        built = build(mail=silent, registration={"VERIFICATION_EMAIL_TIMEOUT": 1})
        answer = built.register()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "email-not-sent")
    assert built.rows() == []


def test_verification_url_builder(build: Builder, smtp: RecordingServer) -> None:
    seen: list[RegisterSigner] = []

    def own(signer: RegisterSigner) -> str:
        seen.append(signer)
        return builder(signer)

    built = build(registration={"VERIFICATION_URL_BUILDER": own})
    assert built.register().status_code == 201
    values = seen[0].get_signed_data()
    assert seen[0].get_base_url() == VERIFICATION_URL
    assert f"https://built.example/?signature={values['signature']}" in text_of(smtp.message)
    assert built.verify(values).status_code == 200


def test_verification_template_context_builder(build: Builder, smtp: RecordingServer) -> None:
    contexts: list[dict[str, object]] = []

    def own(request: Any, user: Any, context: Mapping[str, object]) -> dict[str, object]:
        contexts.append(dict(context))
        return {**context, "greeting": f"Hello from {request.path}, {user.username}"}

    built = build(
        registration={
            "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": own,
            "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "own.txt"},
        },
        before_init=use_templates(own_txt="{{ greeting }}"),
    )
    assert built.register().status_code == 201
    assert text_of(smtp.message).strip() == "Hello from /api/v1/accounts/register/, ann"
    assert {"user", "user_address", "site", "verification_url", "valid_until"} <= set(contexts[0])
    assert contexts[0]["user_address"] == "ann@example.com"
    assert contexts[0]["site"] == "frontend.example"
    assert str(contexts[0]["verification_url"]).startswith(VERIFICATION_URL)


def test_verification_templates_selector_chooses_by_request_and_user(build: Builder, smtp: RecordingServer) -> None:
    def by_language(request: Any, user: Any) -> dict[str, str]:
        return {"subject": f"{request.headers['Accept-Language']}.{user.username}"}

    built = build(
        registration={"VERIFICATION_TEMPLATES_SELECTOR": by_language},
        before_init=use_templates(de_ann="Willkommen", en_ann="Welcome"),
    )
    built.post("register/", built.body(), headers={"Accept-Language": "de"})
    assert smtp.message["Subject"] == "Willkommen"


def test_verification_email_html_to_text_converter_is_used_when_only_html_is_given(
    build: Builder, smtp: RecordingServer
) -> None:
    only_html = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"html_body": "own.html"}}
    templates = use_templates(own_html='<p>Go <a href="{{ verification_url }}">there</a></p>')
    build(registration=only_html, before_init=templates).register()
    assert "href" not in text_of(smtp.messages[0])
    assert "href" in html_of(smtp.messages[0])
    assert link_in(smtp.messages.pop()).startswith(VERIFICATION_URL)
    own: dict[str, object] = {"VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": lambda html: html[:5].upper()}
    build(registration={**only_html, **own}, before_init=templates).register()
    assert text_of(smtp.messages.pop()).strip() == "<P>GO"


def test_password_hasher_is_by_default_scrypt_at_owasps_minimum(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": None})
    assert built.register().status_code == 201
    stored = built.row()["password_hash"]
    assert stored.startswith("scrypt:32768:8:3$")
    assert check_password_hash(stored, PASSWORD)


@pytest.mark.parametrize("given", [lambda password: f"h{len(password)}", "tests.support.models.cheap_hash"])
def test_password_hasher(build: Builder, given: Any) -> None:
    built = build(registration={"PASSWORD_HASHER": given})
    assert built.register().status_code == 201
    stored = built.row()["password_hash"]
    assert stored == f"h{len(PASSWORD)}" or check_password_hash(stored, PASSWORD)


@pytest.mark.parametrize(
    ("password", "accepted"),
    [
        ("qZ7#kx9!v", True),
        ("qZ7#kx9! " * 28 + "abcd", True),  # 256 characters
        ("qZ7#kx9! " * 28 + "abcde", False),
        ("password1", False),
        ("ann@example.com", False),
        ("correct horse battery staple", True),
    ],
)
def test_password_validators_by_default_ask_for_length_and_strength(
    build: Builder, password: str, accepted: bool
) -> None:
    answer = build().register(password=password)
    assert answer.status_code == (201 if accepted else 400)
    if not accepted:
        errors = answer.get_json()["errors"]
        assert list(errors) == ["password"]
        assert all(errors["password"])


@pytest.mark.parametrize(("password", "named"), [("qZ7#kx9", True), ("qZ7#kx9!", False)])
def test_seven_characters_are_too_short_and_eight_are_not(build: Builder, password: str, named: bool) -> None:
    # Both are too easy to guess as well.
    messages = build().register(password=password).get_json()["errors"]["password"]
    assert any("at least 8 characters" in message for message in messages) is named


def test_password_validators_get_the_other_fields_without_the_passwords(build: Builder) -> None:
    seen: list[tuple[str, dict[str, object]]] = []
    built = build(registration={"PASSWORD_VALIDATORS": [lambda password, data: seen.append((password, dict(data)))]})
    assert built.register(password="x").status_code == 201
    assert seen == [("x", {"email": "ann@example.com", "username": "ann"})]


def test_all_password_validators_have_their_say(build: Builder) -> None:
    def never(password: str, user_data: Mapping[str, object]) -> None:
        raise ValidationError(["Never.", "Not once."])

    built = build(registration={"PASSWORD_VALIDATORS": [never, "tests.unit.settings.test_settings.validator", never]})
    answer = built.register(password="ann")
    # What two of them say is said once.
    assert answer.get_json()["errors"] == {"password": ["Never.", "Not once.", "No names, please."]}
