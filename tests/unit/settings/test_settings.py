"""The settings: how they are given, how they are checked, and what some of them do that no other module is about."""

from __future__ import annotations

import copy
import functools
import itertools
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest
from flask import Flask
from marshmallow import Schema, ValidationError, fields
from sqlalchemy import Boolean, Column, DateTime, String

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    RegisterEmailSerializer,
    RegisterSigner,
    RestRegistration,
    send_existing_account_email_notification,
    send_register_verification_email_notification,
)
from flask_rest_registration.settings.definitions import describe_settings
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import OMITTED, PASSWORD, VERIFICATION_URL, Builder
from tests.support.links import link_in
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking

DAY = 24 * 60 * 60
CENTURY = 100 * 365 * DAY
HALF_A_DAY = timedelta(days=0.5)
URL, PERIOD = "REGISTER_VERIFICATION_URL", "REGISTER_VERIFICATION_PERIOD"
COOLDOWN, CODE_PERIOD = "REGISTER_VERIFICATION_RESEND_COOLDOWN", "REGISTER_VERIFICATION_CODE_PERIOD"


def sender(request: object, user: object) -> None:
    """A sender of mails that sends none, and a hook of any kind as far as settings can tell."""


def builder(signer: RegisterSigner) -> str:
    return f"https://built.example/?signature={signer.get_signed_data()['signature']}"


def validator(password: str, user_data: Mapping[str, object]) -> None:
    if "ann" in password:
        raise ValidationError("No names, please.")


TWO_ADDRESSES: list[object] = [
    *("shop@example.com, eve@evil.example", "Shop <shop@example.com>, eve@evil.example"),
    *(("Shop", "shop@example.com, eve@evil.example"), ("Shop", "shop@example.com;eve@evil.example")),
]
NO_TEMPLATES: list[object] = ["body.txt", {"bodies": "b.txt"}, {"body": 5}, {"body": "a.txt", "text_body": "b.txt"}]
NO_URLS: list[object] = ["/verify", "javascript:alert(1)", "https://", "https://a b.example/", "http://[::1", 5]
NO_DURATIONS: list[object] = [0, -1, "60", 1.5, True, timedelta(0), timedelta(days=-1)]

#: For each setting, in the order of their definition, a value that is accepted and values that are refused.
VALUES: dict[str, tuple[object, list[object]]] = {
    "URL_PREFIX": ("/auth", ["auth", 5, "/<tenant>/accounts", "/<int:tenant>"]),
    "SUBDOMAIN": ("api.v1", [5, "", "api.", "<tenant>", "api/", "ä"]),
    "HOST": ("localhost:5000", [5, "", "https://api.example", "api.example/", "<tenant>.example", "api.example:443"]),
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
    "REGISTER_VERIFICATION_URL": ("http://localhost:3000/#/verify", NO_URLS),
    "REGISTER_VERIFICATION_PERIOD": (3600, [*NO_DURATIONS, CENTURY + 1, timedelta.max, 10**30, -(10**30)]),
    "REGISTER_VERIFICATION_ONE_TIME_USE": (True, ["True", 1]),
    "VERIFICATION_URL_BUILDER": (builder, [5, "build"]),
    "SITE_NAME": ("The shop", [5, "", " "]),
    "REGISTER_VERIFICATION_EMAIL_SENDER": (sender, [5, "send"]),
    "REGISTER_VERIFICATION_EMAIL_TEMPLATES": ({"text_body": "b.txt", "html_body": "b.html"}, NO_TEMPLATES),
    "VERIFICATION_FROM_EMAIL": (("Shop", "shop@example.com"), [5, "", ("a", "b", "c"), ("Shop", 5), *TWO_ADDRESSES]),
    "VERIFICATION_REPLY_TO_EMAIL": ("help@example.com", [5, "", ("Help",), *TWO_ADDRESSES]),
    "VERIFICATION_EMAIL_TIMEOUT": (timedelta(seconds=3), [*NO_DURATIONS, DAY + 1, 10**30]),
    "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": (sender, [5, {}]),
    "VERIFICATION_TEMPLATES_SELECTOR": (sender, [5, {}]),
    "VERIFICATION_LOCALE_SELECTOR": (sender, [5, "de"]),
    "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": (str.upper, [5, "upper"]),
    "REGISTER_EMAIL_FIRST": (True, ["True", 1]),
    "REGISTER_EMAIL_SERIALIZER_CLASS": (RegisterEmailSerializer, [5, RegisterEmailSerializer()]),
    # True does not stand alone: see the contradictions.
    "REGISTER_VERIFICATION_CODE_ENABLED": (False, ["False", 0]),
    "REGISTER_VERIFICATION_CODE_LENGTH": (8, [5, 11, 0, -6, 10**30, "6", 6.0, True, timedelta(6)]),
    "REGISTER_VERIFICATION_CODE_PERIOD": (60, [*NO_DURATIONS, CENTURY + 1]),
    "REGISTER_EXISTING_EMAIL_SENDER": (sender, [5, "send"]),
    "REGISTER_EXISTING_EMAIL_TEMPLATES": ({"subject": "s.txt", "body": "b.txt"}, NO_TEMPLATES),
    "REGISTER_VERIFICATION_RESEND_ENABLED": (True, ["True", 1]),
    "REGISTER_VERIFICATION_RESEND_COOLDOWN": (90, [*NO_DURATIONS, DAY // 2 + 1, HALF_A_DAY + timedelta.resolution]),
    "PENDING_REGISTRATION_MODEL": ("shop.models.Waiting", [5, "", "not a path"]),
    "PASSWORD_HASHER": (models.cheap_hash, [5, "scrypt"]),
    "PASSWORD_VALIDATORS": ([validator], [validator, 5, [5]]),
    "REGISTER_VERIFICATION_AUTO_LOGIN": (True, ["True", 1]),
    "LOGIN_HANDLER": (sender, [5, "login"]),
}
REFUSED = [(name, value) for name, (_, refused) in VALUES.items() for value in refused]


def initialise(settings: Mapping[str, object], **config: object) -> None:
    """Initialise the extension on an app that has nothing but settings."""
    given = {**settings, **config}
    by_host, by_subdomain = (
        any(given.get(key) is not None for key in (name, *flat(name, ""))) for name in ("HOST", "SUBDOMAIN")
    )
    app = Flask("bare", host_matching=by_host, subdomain_matching=by_subdomain, static_folder=None)
    app.config["SERVER_NAME"] = "shop.example"
    app.config.update({"REST_REGISTRATION": {"REGISTER_VERIFICATION_URL": VERIFICATION_URL, **settings}, **config})
    RestRegistration(app)


def refusal(settings: Mapping[str, object], **config: object) -> str:
    """Return the message with which ``init_app`` refuses the settings."""
    with pytest.raises(ConfigurationError) as caught:
        initialise(settings, **config)
    return str(caught.value)


def flat(name: str, value: object) -> dict[str, object]:
    return {f"REST_REGISTRATION_{name}": value}


def test_every_setting_is_shown_once_and_in_the_order_of_the_definition(build: Builder) -> None:
    printed = build(tables=False).command("settings").stdout
    names = re.findall(r"^  ([A-Z_]+) ", printed, re.MULTILINE)
    assert names[: len(VALUES)] == [*VALUES]
    assert names[len(VALUES)] == "SECRET_KEY"  # the first that is not ours
    assert len(set(names)) == len(names)


def test_the_help_of_every_setting_begins_with_a_sentence_that_fits_a_table() -> None:
    described = {setting.name: setting for setting in describe_settings()}
    assert [name for name, each in described.items() if not 15 < len(each.summary) <= 75] == []
    assert [name for name, each in described.items() if not each.help.endswith(".") or len(each.otherwise) > 100] == []


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_is_accepted_in_the_dict_and_as_a_flat_key(name: str) -> None:
    initialise({name: VALUES[name][0]})
    initialise({name: None}, **flat(name, VALUES[name][0]))


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_wrong_value_is_refused_with_its_name_and_type(name: str, value: object) -> None:
    for message in (refusal({name: value}), refusal({name: None}, **flat(name, value))):
        assert name in message
        if not isinstance(value, dict | list):
            assert type(value).__name__ in message or repr(value) in message


def test_none_means_not_given(build: Builder) -> None:
    needed = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL}
    nothing = build(registration={**dict.fromkeys(VALUES), **needed})
    missing = build(config={"REST_REGISTRATION": needed})
    assert nothing.command("settings").output == missing.command("settings").output
    assert nothing.register().status_code == 201


def test_a_flat_key_wins_over_the_dict_unless_it_is_none(build: Builder) -> None:
    for value, prefix, other in (("/flat", "flat", "dict"), (None, "dict", "flat")):
        built = build(registration={"URL_PREFIX": "/dict"}, config=flat("URL_PREFIX", value))
        assert built.client().post(f"/{prefix}/register/", json=built.body()).status_code == 201
        assert built.client().post(f"/{other}/register/", json=built.body()).status_code == 404


@pytest.mark.parametrize("value", ["text", ["list"], 5])
def test_settings_need_no_dict_but_what_is_given_in_its_place_is_refused(value: object) -> None:
    initialise({}, REST_REGISTRATION=None, **flat("REGISTER_VERIFICATION_URL", VERIFICATION_URL))
    assert lacking(refusal({}, REST_REGISTRATION=value), "REST_REGISTRATION", type(value).__name__) == []


def test_settings_come_from_the_environment(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_REST_REGISTRATION_URL_PREFIX", "/env")
    monkeypatch.setenv("SHOP_REST_REGISTRATION__REGISTER_VERIFICATION_URL", "https://env.example/verify/")
    monkeypatch.setenv("SHOP_REST_REGISTRATION_REGISTER_SERIALIZER_PASSWORD_CONFIRM", "false")
    monkeypatch.setenv("SHOP_REST_REGISTRATION_REGISTER_VERIFICATION_PERIOD", "3600")
    monkeypatch.setenv("SHOP_REST_REGISTRATION_USER_PUBLIC_FIELDS", '["username"]')
    built = build(before_init=lambda app: app.config.from_prefixed_env("SHOP"))
    answer = built.client().post("/env/register/", json=built.body(password_confirm=OMITTED))
    assert (answer.status_code, answer.json) == (201, {"username": "ann"})
    assert link_in(smtp.message).startswith("https://env.example/verify/?")
    assert re.search(r"REGISTER_VERIFICATION_PERIOD +1 hour +flat key", built.command("settings").output)


def test_settings_come_from_configuration_classes(build: Builder) -> None:
    class Base:
        REST_REGISTRATION = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL, "URL_PREFIX": "/base"}

    class Production(Base):
        REST_REGISTRATION_URL_PREFIX = "/production"

    for cls, prefix in ((Base, "/base"), (Production, "/production")):
        built = build(before_init=functools.partial(lambda app, cls: app.config.from_object(cls), cls=cls))
        assert built.client().post(f"{prefix}/register/", json={}).status_code == 400


def test_the_dict_of_the_application_is_never_written_to(build: Builder) -> None:
    given = {
        "REGISTER_VERIFICATION_URL": VERIFICATION_URL,
        "REGISTER_VERIFICATION_PERIOD": 60,
        "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"text_body": "rest_registration/register/body.txt"},
        "USER_PUBLIC_FIELDS": ["username"],
        "PASSWORD_HASHER": models.cheap_hash,
        "PASSWORD_VALIDATORS": [validator],
        "LOGIN_HANDLER": None,
    }
    before, frozen = copy.deepcopy(given), MappingProxyType(given)
    built = build(config={"REST_REGISTRATION": frozen, **flat("URL_PREFIX", "/flat")})
    assert built.client().post("/flat/register/", json=built.body(password_confirm=PASSWORD)).status_code == 201
    assert given == before
    assert built.app.config["REST_REGISTRATION"] is frozen


def test_a_dotted_path_is_imported_on_first_use(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "tests.support.models.Chosen"
    built = build(models.inheritance_subclass, registration={"USER_MODEL": path})
    with pytest.raises(ConfigurationError, match=f"USER_MODEL is '{path}'"):
        built.register()
    monkeypatch.setattr(models, "Chosen", built.User, raising=False)
    assert built.register().status_code == 201
    assert built.row()["kind"] == "customer"


class NameOnly(Schema):
    email = fields.Email(required=True)
    username = fields.String(required=True, data_key="name")
    password = fields.String(required=True)


class Greeting(Schema):
    hello = fields.String(attribute="username")


@pytest.mark.parametrize("by_path", [False, True])
def test_a_class_or_function_is_given_as_the_object_or_its_path(
    build: Builder, smtp: RecordingServer, by_path: bool
) -> None:
    given: dict[str, Any] = {
        "REGISTER_SERIALIZER_CLASS": NameOnly,
        "REGISTER_OUTPUT_SERIALIZER_CLASS": Greeting,
        "VERIFICATION_URL_BUILDER": builder,
        "PASSWORD_HASHER": models.cheap_hash,
    }
    settings = {name: f"{each.__module__}.{each.__qualname__}" if by_path else each for name, each in given.items()}
    validators = [f"{__name__}.validator" if by_path else validator]
    built = build(registration={**settings, "PASSWORD_VALIDATORS": validators * 2})  # equal texts appear once
    body = {"email": "ann@example.com", "name": "ann", "password": "x"}
    assert field_errors(built.post("register/", {**body, "password": "ann"})) == {"password": ["No names, please."]}
    answer = built.post("register/", body)
    assert (answer.status_code, answer.json) == (201, {"hello": "ann"})
    assert built.row()["password_hash"].startswith("pbkdf2:sha256:1$")
    assert link_in(smtp.message).startswith("https://built.example/?signature=")


#: Settings that are gone, each with the one that its refusal leads to.
GONE = {
    **dict.fromkeys(("REGISTER_RECLAIM_ENABLED", "REGISTER_HIDE_EXISTING_EMAIL"), "REGISTER_EMAIL_FIRST"),
    **dict.fromkeys(("REGISTER_PASSWORD_AT", "REGISTER_REJECTION_URL"), "REGISTER_EMAIL_FIRST"),
    **dict.fromkeys(("USER_VERIFICATION_SENT_AT_FIELD", "USER_NOTICE_SENT_AT_FIELD"), "PENDING_REGISTRATION_MODEL"),
}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *((name, None, f"{name} is gone: ... {successor} ... Fix: remove it") for name, successor in GONE.items()),
        ("REGISTER_VERIFICATION_URI", True, "has no setting REGISTER_VERIFICATION_URI. Did you mean {}URL?"),
        ("REGISTER_VERIFICATON_PERIOD", 5, "Did you mean {}PERIOD?"),
        ("register_flow_enabled", True, "Did you mean REGISTER_FLOW_ENABLED?"),
        ("REGISTER_VERIFICATION_AUTOLOGIN", None, "Did you mean {}AUTO_LOGIN?"),
        ("ZZZ", 1, "has no setting ZZZ"),
        ("REGISTER_VERIFICATION_URL", "/v/", "must be an absolute http or https URL, such as 'https://"),
        ("REGISTER_FLOW_ENABLED", "False", "must be True or False, not 'False' (str): write false in the environment"),
        ("REGISTER_FLOW_ENABLED", "True", "must be True or False, not 'True' (str): write true in the environment"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_offers_the_fix(name: str, value: object, words: str) -> None:
    words = words.format("REGISTER_VERIFICATION_")
    for message in (refusal({name: value}), refusal({}, **flat(name, value))):
        assert lacking(message, f"setting {name}", *words.split(" ... ")) == []
        assert ("Did you mean" in message) is ("Did you mean" in words)


EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True}
RESEND: dict[str, object] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
CODES: dict[str, object] = {"REGISTER_VERIFICATION_CODE_ENABLED": True}
VERIFY = "REGISTER_VERIFICATION_ENABLED"
UNVERIFIED: dict[str, object] = {VERIFY: False}
LINKS, NOTICES = "REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"
DEFAULT_SENDERS: dict[str, list[object]] = {
    # By its public name, and by that of the module that defines it.
    name: [None, each, *(f"{module}.{path}" for module in ("flask_rest_registration", each.__module__))]
    for name, each, path in (
        (LINKS, send_register_verification_email_notification, "send_register_verification_email_notification"),
        (NOTICES, send_existing_account_email_notification, "send_existing_account_email_notification"),
    )
}


@functools.wraps(send_existing_account_email_notification)
def own_way(request: Any, row: object) -> None:
    """A sender of the package's notice, which goes the way of the application's own mails."""


def test_all_faults_are_in_one_message() -> None:
    faulty: dict[str, object] = dict.fromkeys((*EMAIL_FIRST, *RESEND, *CODES, *GONE), True)
    faulty |= {**UNVERIFIED, PERIOD: 60, LINKS: sender, URL: None}
    faulty |= {"REGISTER_FLOW_ENABLED": "False", "VERIFICATION_EMAIL_TIMEOUT": -5, "USER_MODELL": "shop.User"}
    faults = [
        *(f"{name} is gone" for name in GONE),
        "REGISTER_VERIFICATION_CODE_ENABLED is True, which is about proving",
        "REGISTER_VERIFICATION_RESEND_ENABLED is not needed",
        *(f"{COOLDOWN} is 0:01:00", f"{CODE_PERIOD} is 0:15:00", f"{LINKS} is your own", f"{URL} is missing"),
        "REGISTER_FLOW_ENABLED must be True or False",
        *("VERIFICATION_EMAIL_TIMEOUT", "USER_MODELL", "PASSWORD_HASHER"),
    ]
    assert lacking(refusal(faulty, **flat("PASSWORD_HASHER", 5)), *faults) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *(({URL: None, LINKS: default}, f"{URL} is missing") for default in DEFAULT_SENDERS[LINKS]),
        # The notice names the site by it.
        *(({**EMAIL_FIRST, URL: None, name: sender}, f"{URL} is missing") for name in (LINKS, NOTICES)),
        ({**EMAIL_FIRST, URL: None, "SITE_NAME": "Shop", NOTICES: sender}, f"{URL} is missing"),  # the link needs it
        ({**EMAIL_FIRST, URL: None, LINKS: sender, NOTICES: own_way}, f"{URL} is missing, or SITE_NAME"),
        *(
            ({**EMAIL_FIRST, **switch, **UNVERIFIED}, f"{name} is True, {VERIFY} is False, Fix: remove {name}")
            for switch in (EMAIL_FIRST, RESEND, CODES)
            for name in switch
        ),
        ({**EMAIL_FIRST, **RESEND}, "REGISTER_VERIFICATION_RESEND_ENABLED is not needed with, register/, Fix: remove"),
        (CODES, "REGISTER_VERIFICATION_CODE_ENABLED needs REGISTER_EMAIL_FIRST, Fix: "),
        ({**CODES, **RESEND}, "REGISTER_VERIFICATION_CODE_ENABLED needs REGISTER_EMAIL_FIRST, Fix: "),
        *(
            ({**way, PERIOD: period, COOLDOWN: cooldown}, f"{COOLDOWN} is 0:01:00, not shorter, {PERIOD}, Fix: ")
            for way in (EMAIL_FIRST, RESEND)
            for period in (60, 59)
            for cooldown in (None, 60)  # the default is as long
        ),
        ({**EMAIL_FIRST, **CODES, PERIOD: 900, CODE_PERIOD: 901}, f"{CODE_PERIOD} is 0:15:01, {PERIOD}, Fix: "),
        ({**EMAIL_FIRST, **CODES, PERIOD: 899}, f"{CODE_PERIOD} is 0:15:00, {PERIOD}, Fix: "),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], words: str) -> None:
    message = refusal(settings)
    assert lacking(message, *words.split(", ")) == []
    assert message.count(f"{URL} is missing") == words.count(f"{URL} is missing")


def of_a_module_like_ours(request: object, user: object) -> None:
    """A sender whose module's name begins like the package's."""


of_a_module_like_ours.__module__ = "flask_rest_registration_mails"


@pytest.mark.parametrize(
    "settings",
    [
        {**UNVERIFIED, URL: None},
        {LINKS: sender, URL: None},
        {LINKS: of_a_module_like_ours, URL: None},
        {**EMAIL_FIRST, LINKS: sender, NOTICES: sender, URL: None},
        {**EMAIL_FIRST, LINKS: sender, NOTICES: own_way, URL: None, "SITE_NAME": "Shop"},
        {**UNVERIFIED, "PENDING_REGISTRATION_MODEL": "no.such.Model", "REGISTER_VERIFICATION_CODE_LENGTH": 8},
        {**UNVERIFIED, **dict.fromkeys((*EMAIL_FIRST, *RESEND, *CODES), False)},
        *({**way, PERIOD: 61} for way in (EMAIL_FIRST, RESEND)),
        {PERIOD: 1},
        {**EMAIL_FIRST, **CODES, PERIOD: 900},
        {**EMAIL_FIRST, **CODES, PERIOD: 900, CODE_PERIOD: 900},
        {**RESEND, LINKS: sender},
        {"REGISTER_VERIFICATION_AUTO_LOGIN": True},
    ],
)
def test_settings_that_go_together_are_accepted(settings: dict[str, object]) -> None:
    initialise(settings)


BY_CELERY = "flask_rest_registration.contrib.celery.send_later"


@functools.wraps(send_register_verification_email_notification)
def wrapper(request: Any, user: object) -> None:
    """A sender that has the name of what it wraps."""


@pytest.mark.parametrize("own", [sender, f"{__name__}.sender", BY_CELERY, wrapper])
@pytest.mark.parametrize(("name", "other"), [(LINKS, NOTICES), (NOTICES, LINKS)])
def test_with_e_mail_first_one_own_sender_needs_another_one(name: str, other: str, own: object) -> None:
    """Two ways of sending take different times, and tell who has an account."""
    for default in DEFAULT_SENDERS[other]:
        message = refusal({**EMAIL_FIRST, name: own, other: default})
        assert lacking(message, f"{name} is your own and {other} is not", f"Fix: give {other}") == []
    initialise({**EMAIL_FIRST, name: own, other: sender})
    for links, notices in itertools.product(*DEFAULT_SENDERS.values()):
        initialise({**EMAIL_FIRST, LINKS: links, NOTICES: notices})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((PERIOD, CENTURY), ("VERIFICATION_EMAIL_TIMEOUT", DAY), (COOLDOWN, HALF_A_DAY), (CODE_PERIOD, 7 * DAY)),
        *(("REGISTER_VERIFICATION_CODE_LENGTH", length) for length in (6, 10)),
        ("VERIFICATION_FROM_EMAIL", '"The Shop, Oslo" <shop@example.com>'),
    ],
)
def test_what_is_just_within_the_limits_works(build: Builder, smtp: RecordingServer, name: str, value: object) -> None:
    built = build(registration={name: value})
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200


def test_user_password_field_gets_the_hashers_result(build: Builder) -> None:
    settings = {"USER_PASSWORD_FIELD": "password_hash", "PASSWORD_HASHER": lambda password: "hashed"}
    built = build(models.set_password, registration=settings)
    assert built.register().status_code == 201
    assert built.row()["password_hash"] == "hashed"


def test_user_hidden_fields_replace_the_default_ones(build: Builder) -> None:
    hidden, read = (models.declared(role=Column(String(20), nullable=False)) for _ in range(2))
    with pytest.raises(ConfigurationError, match="role"):
        build(hidden).register(role="admin")
    assert build(read, registration={"USER_HIDDEN_FIELDS": []}).register(role="admin").status_code == 201


FLAGS = (
    *("email_verified_at", "verified_at", "confirmed_at"),
    *("email_verified", "is_verified", "confirmed", "is_active", "active"),
)


@pytest.mark.parametrize(
    ("position", "chosen"), [*((position, None) for position in range(len(FLAGS))), (0, "verified_at"), (2, "active")]
)
def test_the_flag_is_the_first_that_the_model_has_unless_it_is_chosen(
    build: Builder, smtp: RecordingServer, position: int, chosen: str | None
) -> None:
    names = FLAGS[position:]
    columns: dict[str, Any] = {
        name: Column(DateTime) if name.endswith("_at") else Column(Boolean, default=False) for name in reversed(names)
    }
    model = models.declared(**{"email_verified_at": None, **columns})
    built = build(model, registration={"USER_VERIFICATION_FLAG_FIELD": chosen})
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert [name for name in names if built.row()[name]] == [chosen or names[0]]


def test_seven_characters_are_too_short_and_eight_are_not(build: Builder) -> None:
    seven, eight = (field_errors(build().register(password=each))["password"] for each in ("qZ7#kx9", "qZ7#kx9!"))
    # Both are too easy to guess as well.
    assert ["at least 8 characters" in " ".join(texts) for texts in (seven, eight)] == [True, False]
