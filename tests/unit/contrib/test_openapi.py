"""The OpenAPI document: valid, complete, and true of what the endpoints do."""

from __future__ import annotations

import inspect
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec_webframeworks.flask import FlaskPlugin
from flask import Flask
from flask_login import LoginManager
from flask_smorest import Api
from jsonschema import Draft202012Validator, FormatChecker
from marshmallow import EXCLUDE, INCLUDE, Schema, fields, post_dump, validate
from openapi_spec_validator import validate as validate_document
from sqlalchemy import String
from sqlalchemy.orm import mapped_column
from werkzeug.test import TestResponse

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    RegisterEmailSerializer,
    exceptions,
)
from flask_rest_registration.contrib.openapi import add_to, openapi, to_yaml
from tests.support import models
from tests.support.apps import OMITTED, PASSWORD, Builder, Built
from tests.support.clock import Clock
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.unit.serializers.test_serializers import wide
from tests.workflows.test_register import AccountWithoutAddress, nullable_email

ROOT = "/api/v1/accounts"
REGISTER, VERIFY = f"{ROOT}/register/", f"{ROOT}/verify-registration/"
CHECK_LINK, RESEND = f"{ROOT}/check-link/", f"{ROOT}/resend-verification/"
JSON = "application/json"

RESENDING: dict[str, object] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True}
CODES: dict[str, object] = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_ENABLED": True}
CLOSED: dict[str, object] = {"REGISTER_FLOW_ENABLED": False}

Document = dict[str, Any]


def resolved(document: Document, schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def body_of(document: Document, path: str) -> dict[str, Any]:
    """Return the JSON Schema of what an endpoint reads."""
    body = document["paths"][path]["post"]["requestBody"]
    content = body["content"]
    assert (body["required"], list(content)) == (True, [JSON])
    return resolved(document, content[JSON]["schema"])


def answers_of(document: Document, path: str) -> dict[str, Any]:
    """Return the content of an endpoint's answers by status."""
    responses = document["paths"][path]["post"]["responses"]
    return {status: response["content"][JSON] for status, response in responses.items()}


def faults(document: Document, schema: dict[str, Any], value: object) -> list[str]:
    """Return what a JSON Schema of the document finds wrong with a value."""
    validator = Draft202012Validator(
        {**schema, "components": document["components"]}, format_checker=FormatChecker(["email"])
    )
    return [error.message for error in validator.iter_errors(value)]


def codes_of(document: Document) -> set[tuple[str, str, str]]:
    """Return path, status and code of every refusal in the document."""
    return {
        (path, status, code)
        for path in document["paths"]
        for status, content in answers_of(document, path).items()
        for code in content.get("examples", {})
    }


# Valid, and plain


@pytest.mark.parametrize("name", models.ALL)
def test_the_document_of_every_user_model_is_valid(build: Builder, name: str) -> None:
    document = openapi(build(models.ALL[name]).app)
    validate_document(document)
    assert document["openapi"] == "3.1.0"


@pytest.mark.parametrize("settings", [RESENDING, EMAIL_FIRST, CODES, {**CODES, **CLOSED}])
def test_the_document_is_valid_with_pending_registrations(build: Builder, settings: dict[str, object]) -> None:
    validate_document(openapi(build(pending=True, registration=settings).app))


def test_the_document_is_a_plain_dict_made_anew_each_time(build: Builder) -> None:
    app = build().app
    document = openapi(app)
    assert json.loads(json.dumps(document)) == document
    document["paths"].clear()
    assert openapi(app)["paths"]


@pytest.mark.parametrize("settings", [RESENDING, CODES])
def test_as_yaml_it_is_the_same_and_repeats_nothing_by_anchors(build: Builder, settings: dict[str, object]) -> None:
    document = openapi(build(pending=True, registration=settings).app)
    text = to_yaml(document)
    assert yaml.safe_load(text) == document
    assert "&id" not in text


def test_an_app_that_is_set_up_wrongly_has_no_document(build: Builder) -> None:
    with pytest.raises(ConfigurationError, match="is not initialised on this app"):
        openapi(Flask("bare"))
    with pytest.raises(ConfigurationError, match="no_such_module"):
        openapi(build(registration={"USER_MODEL": "no_such_module.User"}).app)


# What is switched on shows, what is off does not


@pytest.mark.parametrize(
    ("settings", "paths"),
    [
        ({}, {REGISTER, VERIFY}),
        (CLOSED, {VERIFY}),
        ({"REGISTER_VERIFICATION_ENABLED": False}, {REGISTER}),
        (RESENDING, {REGISTER, VERIFY, RESEND}),
        ({**RESENDING, **CLOSED}, {VERIFY, RESEND}),
        (CODES, {REGISTER, CHECK_LINK, VERIFY}),
        ({**CODES, **CLOSED}, {VERIFY}),
    ],
)
def test_the_endpoints_that_are_switched_on_and_no_others_show(
    build: Builder, settings: dict[str, object], paths: set[str]
) -> None:
    built = build(pending=True, registration=settings)
    document = openapi(built.app)
    assert set(document["paths"]) == paths
    for path in {REGISTER, CHECK_LINK, VERIFY, RESEND} - paths:
        assert built.client().post(path, json={}).status_code == 404
    used = json.dumps(document["paths"])
    for component in document["components"]["schemas"]:
        assert f'"#/components/schemas/{component}"' in used


def test_the_paths_are_where_the_blueprint_is_mounted(build: Builder) -> None:
    paths = openapi(build(registration={"URL_PREFIX": "/sign-up"}).app)["paths"]
    assert set(paths) == {"/sign-up/register/", "/sign-up/verify-registration/"}


def test_without_verification_no_answer_is_about_mail(build: Builder) -> None:
    document = openapi(build(registration={"REGISTER_VERIFICATION_ENABLED": False}).app)
    assert (REGISTER, "503", "email-not-sent") not in codes_of(document)
    assert (REGISTER, "503", "email-not-sent") in codes_of(openapi(build().app))


def test_the_default_body_of_a_sign_up(build: Builder) -> None:
    body = body_of(openapi(build().app), REGISTER)
    assert set(body["properties"]) == {"email", "username", "password", "password_confirm"}
    assert body["required"] == ["email", "password", "password_confirm", "username"]
    assert body["additionalProperties"] is False
    email, username, password = (body["properties"][name] for name in ("email", "username", "password"))
    assert (email["type"], email["format"], email["maxLength"]) == ("string", "email", 254)
    assert (username["minLength"], username["maxLength"], username["pattern"]) == (1, 80, r"\S")
    assert (password["format"], password["writeOnly"]) == ("password", True)
    assert (password["minLength"], password["maxLength"]) == (8, 256)


def test_other_rules_for_passwords_show_as_far_as_they_are_known(build: Builder) -> None:
    class Stricter(DefaultRegisterUserSerializer):
        password = fields.String(required=True, load_only=True, validate=validate.Length(min=12, max=64))

    document = openapi(build(registration={"REGISTER_SERIALIZER_CLASS": Stricter}).app)
    assert body_of(document, REGISTER)["properties"]["password"].items() >= {"minLength": 12, "maxLength": 64}.items()
    document = openapi(build(registration={"PASSWORD_VALIDATORS": []}).app)
    password = body_of(document, REGISTER)["properties"]["password"]
    assert (password["minLength"], password.get("maxLength")) == (1, None)


def test_a_field_that_may_be_null_says_so(build: Builder) -> None:
    document = openapi(build(nullable_email, registration={"REGISTER_VERIFICATION_ENABLED": False}).app)
    body = body_of(document, REGISTER)
    assert body["properties"]["email"]["type"] == ["string", "null"]
    assert "email" not in body["required"]


class Address(Schema):
    city = fields.String(required=True)
    checked = fields.Boolean(dump_only=True)


class SignUp(DefaultRegisterUserSerializer):
    """A serializer as an application writes it."""

    display_name = fields.String(
        data_key="displayName", required=True, metadata={"description": "On cards.", "example": "Ada"}
    )
    address = fields.Nested(Address)
    number = fields.Integer(dump_only=True)
    plan = fields.String(validate=validate.OneOf(["free", "paid"]), load_default="free")


def test_a_custom_register_serializer_shows(build: Builder) -> None:
    document = openapi(build(registration={"REGISTER_SERIALIZER_CLASS": SignUp}).app)
    validate_document(document)
    body = body_of(document, REGISTER)
    names = {"email", "username", "password", "password_confirm", "displayName", "address", "plan"}
    assert set(body["properties"]) == names
    assert body["properties"]["displayName"] == {"type": "string", "description": "On cards.", "example": "Ada"}
    assert body["properties"]["plan"] == {"type": "string", "enum": ["free", "paid"], "default": "free"}
    nested = resolved(document, body["properties"]["address"])
    assert (list(nested["properties"]), nested["additionalProperties"]) == (["city"], False)


def test_only_what_is_of_a_link_or_a_password_is_described_as_such(build: Builder) -> None:
    class Signed(DefaultRegisterUserSerializer):
        signature = fields.String()
        token = fields.String(load_only=True)

    properties = body_of(openapi(build(registration={"REGISTER_SERIALIZER_CLASS": Signed}).app), REGISTER)["properties"]
    assert properties["signature"] == {"type": "string"}
    assert properties["token"] == {"type": "string", "writeOnly": True}


def test_a_description_in_meta_does_not_hide_that_unknown_fields_are_refused(build: Builder) -> None:
    class Described(DefaultRegisterUserSerializer):
        class Meta:
            title = "A new member"
            description = "What we ask for."

    body = body_of(openapi(build(registration={"REGISTER_SERIALIZER_CLASS": Described}).app), REGISTER)
    assert (body["title"], body["description"], body["additionalProperties"]) == (
        "A new member",
        "What we ask for.",
        False,
    )


@pytest.mark.parametrize("unknown", [EXCLUDE, INCLUDE])
def test_a_serializer_that_takes_unknown_fields_is_not_said_to_refuse_them(build: Builder, unknown: str) -> None:
    tolerant = type("Tolerant", (DefaultRegisterUserSerializer,), {"Meta": type("Meta", (), {"unknown": unknown})})
    document = openapi(build(registration={"REGISTER_SERIALIZER_CLASS": tolerant}).app)
    assert "additionalProperties" not in body_of(document, REGISTER)


def test_the_default_answer_of_a_sign_up_has_all_its_fields_and_no_others(build: Builder) -> None:
    document = openapi(build().app)
    account = resolved(document, answers_of(document, REGISTER)["201"]["schema"])
    assert account["required"] == sorted(account["properties"]) == ["email", "id", "username"]
    assert account["additionalProperties"] is False
    assert all(field["readOnly"] for field in account["properties"].values())


def test_a_property_of_the_model_that_is_shown_is_read_only(build: Builder) -> None:
    document = openapi(build(wide, registration={"USER_PUBLIC_FIELDS": ["shout"]}).app)
    account = resolved(document, answers_of(document, REGISTER)["201"]["schema"])
    assert account["properties"] == {"shout": {"readOnly": True}}


@pytest.mark.parametrize(("length", "longest"), [(None, 254), (320, 254), (100, 100)])
def test_an_address_is_no_longer_than_rfc_5321_and_its_column_allow(
    build: Builder, length: int | None, longest: int
) -> None:
    model = models.declared(email=mapped_column(String(length), unique=True))
    document = openapi(build(model, tables=False).app)
    assert body_of(document, REGISTER)["properties"]["email"]["maxLength"] == longest


def test_a_custom_profile_serializer_shows(build: Builder) -> None:
    class Card(DefaultUserProfileSerializer):
        class Meta:
            exclude = ("id",)

        self_url = fields.Function(lambda user: f"/users/{user.id}", data_key="self")
        address = fields.Nested(Address)
        secret = fields.String(load_only=True)

        @post_dump
        def add(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
            return {**data, "more": 1}

    built = build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": Card, "REGISTER_SERIALIZER_CLASS": SignUp})
    document = openapi(built.app)
    validate_document(document)
    schema = answers_of(document, REGISTER)["201"]["schema"]
    account = resolved(document, schema)
    assert set(account["properties"]) == {"email", "username", "self", "address"}
    assert "additionalProperties" not in account
    nested = resolved(document, account["properties"]["address"])
    assert set(nested["properties"]) == {"city", "checked"}  # and not those of the same schema in what is read


def handler(request: object, user: Any) -> dict[str, object]:
    return {"token": f"of {user.email}"}


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, False),
        ({"LOGIN_HANDLER": handler}, False),
        ({"REGISTER_VERIFICATION_AUTO_LOGIN": True}, False),
        ({"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": handler}, True),
    ],
)
@pytest.mark.parametrize(("way", "status"), [({}, 200), (EMAIL_FIRST, 201)])
def test_what_a_login_handler_adds_is_allowed_for(
    build: Builder,
    smtp: RecordingServer,
    way: dict[str, object],
    status: int,
    settings: dict[str, object],
    more: bool,
) -> None:
    built = build(
        models.login_user,
        pending=True,
        registration={**way, **settings},
        before_init=lambda app: LoginManager(app).user_loader(lambda key: None),
    )
    document = openapi(built.app)
    answers = answers_of(document, VERIFY)
    described = resolved(document, answers["200"]["schema"])
    assert described["additionalProperties"] is more
    assert ("token" in described["properties"]["detail"]["description"]) is more
    built.register(**({} if status == 200 else ADDRESS_ALONE))
    answer = built.verify({**values_of(link_in(smtp.message)), **built.body()})
    assert answer.status_code == status
    assert ("token" in answer.get_json()) is more
    assert faults(document, answers[str(status)]["schema"], answer.get_json()) == []


# E-mail first

ADDRESS_ALONE: dict[str, Any] = {"username": OMITTED, "password": OMITTED, "password_confirm": OMITTED}
FIELDS = {"username": "ann", "password": PASSWORD, "password_confirm": PASSWORD}


class Consent(RegisterEmailSerializer):
    """What an application asks for before it sends a message."""

    agreed = fields.Boolean(required=True)


def test_with_email_first_a_sign_up_reads_an_address_and_answers_202(build: Builder) -> None:
    built = build(pending=True, registration=EMAIL_FIRST)
    document = openapi(built.app)
    body = body_of(document, REGISTER)
    assert (list(body["properties"]), body["additionalProperties"]) == (["email"], False)
    answers = answers_of(document, REGISTER)
    assert "201" not in answers
    assert answers["202"]["example"] == built.register(**ADDRESS_ALONE).get_json()
    assert faults(document, answers["202"]["schema"], {"detail": "Done.", "id": 7}) != []


def test_a_custom_email_serializer_shows(build: Builder) -> None:
    built = build(pending=True, registration={**EMAIL_FIRST, "REGISTER_EMAIL_SERIALIZER_CLASS": Consent})
    document = openapi(built.app)
    validate_document(document)
    body = body_of(document, REGISTER)
    assert body["required"] == ["agreed", "email"]
    good: dict[str, Any] = {"agreed": True, "email": "ann@example.com"}
    assert faults(document, body, good) == []
    assert built.client().post(REGISTER, json=good).status_code == 202


class Proven:
    """An app with e-mail first, and what a message of it proves.

    :param settings: the app's.
    """

    def __init__(self, build: Builder, smtp: RecordingServer, settings: dict[str, object]) -> None:
        old = build(pending=True)
        assert old.register(email="bob@example.com", username="bob").status_code == 201
        self.link_of_account = values_of(link_in(smtp.messages[-1]))
        self.built = build(pending=True, registration=settings, database_uri=old.database_uri, tables=False)
        self.document = openapi(self.built.app)
        self.body = body_of(self.document, VERIFY)
        assert self.built.register(**ADDRESS_ALONE).status_code == 202
        self.link = values_of(link_in(smtp.messages[-1]))
        self.code = code_of(smtp.messages[-1]) if settings == CODES else ""

    def verify(self, body: dict[str, Any]) -> tuple[int, bool]:
        """Return the status of the answer, and whether body and answer are what the document says."""
        answer = self.built.verify(body)
        content = answers_of(self.document, VERIFY)[str(answer.status_code)]
        assert faults(self.document, content["schema"], answer.get_json()) == []
        return answer.status_code, not faults(self.document, self.body, body)


@pytest.mark.parametrize("settings", [EMAIL_FIRST, CODES])
@pytest.mark.parametrize("more", [{}, {"email": "Ann@Example.com"}, {"utm_source": "a newsletter", "ref": None}])
def test_a_link_with_the_accounts_fields_is_a_body_and_makes_the_account(
    build: Builder, smtp: RecordingServer, settings: dict[str, object], more: dict[str, object]
) -> None:
    proven = Proven(build, smtp, settings)
    assert proven.verify({**proven.link, **FIELDS, **more}) == (201, True)


@pytest.mark.parametrize("written", ["{}", " {}\n", "{0:.3}-{1}", "{0:.3}\u2013{1}", "{0:.1} {0:.2}"])
def test_a_code_is_a_body_with_the_accounts_fields_however_it_is_written(
    build: Builder, smtp: RecordingServer, written: str
) -> None:
    proven = Proven(build, smtp, CODES)
    code = written.format(proven.code, proven.code[3:])
    is_whole = len("".join(filter(str.isdigit, code))) == 6
    body = {"email": "ann@example.com", "code": code, **FIELDS}
    assert proven.verify(body) == ((201, True) if is_whole else (400, False))


@pytest.mark.parametrize("settings", [EMAIL_FIRST, CODES, {**EMAIL_FIRST, **CLOSED}])
def test_a_link_of_an_account_made_at_sign_up_is_a_body_without_more(
    build: Builder, smtp: RecordingServer, settings: dict[str, object]
) -> None:
    old = build(pending=True)
    old.register()
    link = {**values_of(link_in(smtp.message)), "utm_source": "a newsletter"}
    built = build(pending=True, registration=settings, database_uri=old.database_uri, tables=False)
    document = openapi(built.app)
    assert faults(document, body_of(document, VERIFY), {**link, "user_id": int(link["user_id"])}) == []
    answer = built.verify(link)
    assert answer.get_json() == answers_of(document, VERIFY)["200"]["example"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        FIELDS,
        {"email": "ann@example.com", **FIELDS},
        {"email": "ann@example.com", "code": "123456"},
        {"code": "123456", **FIELDS},
        {"email": "ann@example.com", "code": 123456, **FIELDS},
        {"email": "ann@example.com", "code": "12345", **FIELDS},
        {"email": "ann@example.com", "code": "1234567", **FIELDS},
        {"email": "ann@example.com", "code": "١٢٣٤٥٦", **FIELDS},
        {"email": "ann@example.com", "code": "123456", **FIELDS, "username": ""},
        {"user_id": "1", "timestamp": "1", **FIELDS},
        {"user_id": True, "timestamp": 1, "signature": "x"},
        {"user_id": 1.5, "timestamp": 1, "signature": "x"},
        {"user_id": "1", "timestamp": 1, "signature": 1},
    ],
)
def test_what_is_none_of_the_bodies_is_refused(build: Builder, smtp: RecordingServer, body: dict[str, Any]) -> None:
    assert Proven(build, smtp, CODES).verify(body) == (400, False)


def test_without_codes_there_is_neither_their_body_nor_their_refusal(build: Builder) -> None:
    document = openapi(build(pending=True, registration=EMAIL_FIRST).app)
    assert "RegistrationCode" not in document["components"]["schemas"]
    assert "code-invalid" not in {code for _, _, code in codes_of(document)}
    assert (VERIFY, "400", "code-invalid") in codes_of(openapi(build(pending=True, registration=CODES).app))


@pytest.mark.parametrize("length", [6, 10])
def test_the_code_that_is_described_has_the_length_of_the_setting(build: Builder, length: int) -> None:
    settings = {**CODES, "REGISTER_VERIFICATION_CODE_LENGTH": length}
    document = openapi(build(pending=True, registration=settings).app)
    code = document["components"]["schemas"]["RegistrationCode"]["properties"]["code"]
    (example,) = code["examples"]
    assert (code["type"], len(example)) == ("string", length)
    assert [faults(document, code, text) != [] for text in (example, example[1:], f"{example}0")] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("settings", [EMAIL_FIRST, CODES])
def test_the_fields_of_an_account_need_no_address_under_any_name_beside_its_proof(
    build: Builder, settings: dict[str, object]
) -> None:
    class Renamed(DefaultRegisterUserSerializer):
        email = fields.Email(required=True, data_key="eMail")

    built = build(pending=True, registration={**settings, "REGISTER_SERIALIZER_CLASS": Renamed})
    described = openapi(built.app)["components"]["schemas"]["RegistrationAccountFields"]
    assert "eMail" in described["properties"]
    assert described["required"] == ["password", "password_confirm", "username"]
    assert "additionalProperties" not in described
    own = built.registration.register_schema(built.app)
    assert (own.partial, own.unknown) == (None, "raise")


def test_bodies_that_take_a_link_are_open(build: Builder) -> None:
    for settings in (RESENDING, CODES):
        schemas = openapi(build(pending=True, registration=settings).app)["components"]["schemas"]
        assert "additionalProperties" not in schemas["RegistrationLink"]


# Every answer, in both directions


def refusals() -> Iterator[type[exceptions.RequestRefused]]:
    """Yield every exception that is an answer with a code of its own."""
    for _, cls in inspect.getmembers(exceptions, inspect.isclass):
        if issubclass(cls, exceptions.RequestRefused) and "code" in vars(cls):
            yield cls


def test_every_code_that_is_declared_is_documented_and_no_other(build: Builder) -> None:
    own = {**RESENDING, "REGISTER_SERIALIZER_CLASS": AccountWithoutAddress}
    documents = [
        openapi(build(pending=True, registration=settings).app) for settings in (own, CODES, {**EMAIL_FIRST, **CLOSED})
    ]
    documented = {(status, code) for document in documents for _, status, code in codes_of(document)}
    assert documented == {(str(cls.status), cls.code) for cls in refusals()} | {("400", exceptions.RequestRefused.code)}


@pytest.mark.parametrize("settings", [RESENDING, CODES])
def test_the_text_of_each_refusal_is_the_declared_one(build: Builder, settings: dict[str, object]) -> None:
    details = {cls.code: cls.detail for cls in refusals()}
    document = openapi(build(pending=True, registration=settings).app)
    for path in document["paths"]:
        for status, content in answers_of(document, path).items():
            for code, example in content.get("examples", {}).items():
                assert example["value"]["detail"] == details[code]
                assert details[code] in document["paths"][path]["post"]["responses"][status]["description"]


class Provoked:
    """Makes each answer of each endpoint happen, each on an app of its own.

    :param settings: those of the way in which people sign up.
    """

    def __init__(self, build: Builder, smtp: RecordingServer, clock: Clock, settings: dict[str, object]) -> None:
        self._build, self._smtp, self._clock, self._settings = build, smtp, clock, settings
        self._is_email_first = settings == CODES

    def build(self, **options: Any) -> Built:
        return self._build(pending=True, registration=self._settings, **options)

    def good(self, built: Built, path: str, **changes: str) -> dict[str, object]:
        """Return a body that an endpoint takes; one with a link is of a sign-up that is made here."""
        address: dict[str, object] = {"email": "ann@example.com"}
        if path == RESEND:
            return address
        sign_up = address if self._is_email_first else built.body()
        if path == REGISTER:
            return sign_up
        assert built.client().post(REGISTER, json=sign_up).status_code in {201, 202}
        return {**values_of(link_in(self._smtp.messages[-1])), **FIELDS, **changes}

    def success(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        return built, built.client().post(path, json=self.good(built, path))

    def invalid(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        return built, built.client().post(path, json={"no": "such field"})

    def parse_error(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        return built, built.client().post(path, data=b"{", content_type=JSON)

    def request_too_large(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        return built, built.client().post(path, data=b" " * 99_999, content_type=JSON)

    def unsupported_media_type(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        return built, built.client().post(path, data={"email": "a@b.example"})

    def signature_invalid(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        return built, built.client().post(path, json=self.good(built, path, signature="forged"))

    def signature_expired(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        link = self.good(built, path)
        self._clock.move(8 * 24 * 3600)
        return built, built.client().post(path, json=link)

    def code_invalid(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        return built, built.client().post(path, json={"email": "ann@example.com", "code": "000000", **FIELDS})

    def user_without_email_nonverifiable(self, path: str) -> tuple[Built, TestResponse]:
        built = self._build(nullable_email, registration={"REGISTER_SERIALIZER_CLASS": AccountWithoutAddress})
        return built, built.client().post(path, json={"username": "ann", "password": PASSWORD})

    def email_not_sent(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build()
        self._smtp.stop()
        return built, built.client().post(path, json=self.good(built, path))

    def database_unavailable(self, path: str) -> tuple[Built, TestResponse]:
        built = self.build(database_uri="sqlite:////no/such/folder/app.db", tables=False)
        user_id = str(uuid.uuid4()) if self._is_email_first else "1"
        link = {"user_id": user_id, "timestamp": "1700000000", "signature": "x"}
        return built, built.client().post(path, json=link if path in {VERIFY, CHECK_LINK} else self.good(built, path))


OF_ALL = {"invalid", "parse-error", "request-too-large", "unsupported-media-type", "database-unavailable", "success"}
OF_LINKS = {"signature-invalid", "signature-expired"}
AT_SIGN_UP = {
    REGISTER: OF_ALL | {"email-not-sent", "user-without-email-nonverifiable"},
    VERIFY: OF_ALL | OF_LINKS,
    RESEND: OF_ALL | {"email-not-sent"},
}
BY_ADDRESS = {
    REGISTER: OF_ALL | {"email-not-sent"},
    CHECK_LINK: OF_ALL | OF_LINKS,
    VERIFY: OF_ALL | OF_LINKS | {"code-invalid"},
}


@pytest.mark.parametrize(
    ("settings", "path", "code"),
    [
        pytest.param(settings, path, code, id=f"{way}-{path}-{code}")
        for way, settings, answers in (("at sign-up", RESENDING, AT_SIGN_UP), ("e-mail first", CODES, BY_ADDRESS))
        for path, codes in answers.items()
        for code in sorted(codes)
    ],
)
def test_every_answer_that_is_documented_is_given_just_so(
    build: Builder, smtp: RecordingServer, clock: Clock, settings: dict[str, object], path: str, code: str
) -> None:
    provoke: Callable[[str], tuple[Built, TestResponse]]
    provoke = getattr(Provoked(build, smtp, clock, settings), code.replace("-", "_"))
    built, response = provoke(path)
    document = openapi(built.app)
    content = answers_of(document, path)[str(response.status_code)]
    assert faults(document, content["schema"], response.get_json()) == []
    if code == "success":
        assert response.status_code < 300
        assert content.get("example", response.get_json()) == response.get_json()
    else:
        assert response.get_json()["code"] == code
        assert code in content["examples"]


def test_a_link_of_the_time_before_sign_ups_were_switched_off_is_not_found(
    build: Builder, smtp: RecordingServer
) -> None:
    before = build(pending=True, registration=EMAIL_FIRST)
    before.register(**ADDRESS_ALONE)
    link = values_of(link_in(smtp.message))
    built = build(pending=True, registration={**EMAIL_FIRST, **CLOSED}, database_uri=before.database_uri, tables=False)
    document = openapi(built.app)
    answer = built.verify({**link, **FIELDS})
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")
    content = answers_of(document, VERIFY)["404"]
    assert list(content["examples"]) == ["not-found"]
    assert faults(document, content["schema"], answer.get_json()) == []
    assert "404" not in answers_of(openapi(before.app), VERIFY)


def test_these_are_all_the_documented_answers(build: Builder) -> None:
    def tried(answers: dict[str, set[str]]) -> set[tuple[str, str]]:
        return {(path, code) for path, codes in answers.items() for code in codes - {"success"}}

    def documented(settings: dict[str, object]) -> set[tuple[str, str]]:
        document = openapi(build(pending=True, registration=settings).app)
        return {(path, code) for path, _, code in codes_of(document)}

    of_own_serializers = {(REGISTER, "user-without-email-nonverifiable")}
    own: dict[str, object] = {"REGISTER_SERIALIZER_CLASS": AccountWithoutAddress}
    assert documented({**RESENDING, **own}) == tried(AT_SIGN_UP)
    assert documented(RESENDING) == tried(AT_SIGN_UP) - of_own_serializers
    assert documented(CODES) == documented({**CODES, **own}) == tried(BY_ADDRESS)


def test_an_answer_of_another_shape_is_not_allowed_for(build: Builder) -> None:
    document = openapi(build().app)
    schema = answers_of(document, REGISTER)["400"]["schema"]
    good = {"detail": "No.", "code": "invalid", "errors": {"email": ["No."]}}
    assert faults(document, schema, good) == []
    no_list, no_text = ({**good, "errors": errors} for errors in ({"email": "No."}, {"email": list[str]()}))
    for bad in ({}, {**good, "code": "code-invalid"}, no_list, no_text, {**good, "more": 1}):
        assert faults(document, schema, bad) != []


# Examples


@pytest.mark.parametrize("settings", [RESENDING, EMAIL_FIRST, CODES, {"REGISTER_SERIALIZER_CLASS": SignUp}])
def test_every_example_is_what_its_schema_describes(build: Builder, settings: dict[str, object]) -> None:
    document = openapi(build(pending=True, registration=settings).app)
    seen = 0
    for path in document["paths"]:
        for content in answers_of(document, path).values():
            shown = [example["value"] for example in content.get("examples", {}).values()]
            for value in [*shown, *([content["example"]] if "example" in content else [])]:
                assert faults(document, content["schema"], value) == []
                seen += 1
    for component in document["components"]["schemas"].values():
        for field in component["properties"].values():
            for value in field.get("examples", []):
                assert faults(document, field, value) == []
                seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    ("settings", "path", "field"),
    [
        (RESENDING, REGISTER, "email"),
        (RESENDING, VERIFY, "user_id"),
        (RESENDING, RESEND, "email"),
        (CODES, REGISTER, "email"),
        (CODES, CHECK_LINK, "user_id"),
        (CODES, VERIFY, "user_id"),
    ],
)
def test_the_example_of_invalid_alone_has_errors_and_they_name_a_field(
    build: Builder, settings: dict[str, object], path: str, field: str
) -> None:
    answers = answers_of(openapi(build(pending=True, registration=settings).app), path)
    shown = [example["value"] for content in answers.values() for example in content.get("examples", {}).values()]
    errors = {value["code"]: value["errors"] for value in shown if "errors" in value}
    assert errors == {"invalid": {field: ["Missing data for required field."]}}


def test_the_example_of_a_link_is_one_of_a_pending_registration_with_email_first(build: Builder) -> None:
    def example(settings: dict[str, object]) -> str:
        schemas = openapi(build(pending=True, registration=settings).app)["components"]["schemas"]
        (found,) = schemas["RegistrationLink"]["properties"]["user_id"]["examples"]
        return str(found)

    assert example({}) == "1"
    assert str(uuid.UUID(example(EMAIL_FIRST))) == example(EMAIL_FIRST)


def test_the_examples_of_the_fields_make_a_sign_up(build: Builder) -> None:
    built = build(models.minimal)
    properties = body_of(openapi(built.app), REGISTER)["properties"]
    body = {name: field["examples"][0] for name, field in properties.items()}
    assert built.client().post(REGISTER, json=body).status_code == 201


# In the application's own document


def has_null_in_30(document: Document) -> bool:
    schema = document["components"]["schemas"]["RegistrationSignUp"]["properties"]["email"]
    return schema.get("nullable") is True and schema["type"] == "string" and schema["example"] == "ada@example.com"


def basket_of(built: Built) -> dict[str, Any]:
    """Return what a plugin for Flask wants for a page of the application's own."""
    built.app.add_url_rule("/basket", view_func=lambda: "", endpoint="basket")
    return {"view": built.app.view_functions["basket"], "app": built.app}


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize("plugins", [[], [MarshmallowPlugin], [FlaskPlugin], [FlaskPlugin, MarshmallowPlugin]])
def test_it_is_added_to_a_document_of_either_version_with_any_plugins(
    build: Builder, version: str, plugins: list[Any]
) -> None:
    built = build(nullable_email, registration={"REGISTER_VERIFICATION_ENABLED": False})
    spec = APISpec(title="Shop", version="7", openapi_version=version, plugins=[plugin() for plugin in plugins])
    spec.path("/basket", operations={"get": {"responses": {"200": {"description": "The basket."}}}}, **basket_of(built))
    add_to(spec, built.app)
    document = spec.to_dict()
    validate_document(document)
    assert (document["info"], set(document["paths"])) == ({"title": "Shop", "version": "7"}, {"/basket", REGISTER})
    own = openapi(built.app)
    if version == "3.1.0":
        assert document["paths"][REGISTER] == own["paths"][REGISTER]
        assert document["components"] == own["components"]
    else:
        assert has_null_in_30(document)


def test_a_document_that_is_older_than_openapi_3_is_refused(build: Builder) -> None:
    spec = APISpec(title="Old", version="1", openapi_version="2.0")
    with pytest.raises(ValueError, match=r"The document is OpenAPI 2\.0: make it 3\.0\.3 or 3\.1\.0\."):
        add_to(spec, build().app)
    assert spec.to_dict()["paths"] == {}


def test_an_application_that_asks_for_a_log_in_everywhere_does_not_ask_for_it_here(build: Builder) -> None:
    spec = APISpec(title="Shop", version="7", openapi_version="3.1.0", security=[{"token": []}])
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    add_to(spec, build().app)
    document = spec.to_dict()
    validate_document(document)
    assert document["security"] == [{"token": []}]
    assert [path["post"]["security"] for path in document["paths"].values()] == [[], []]


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize("first", ["flask-smorest", "rest-registration"])
@pytest.mark.parametrize(("settings", "paths"), [(RESENDING, set(AT_SIGN_UP)), (CODES, set(BY_ADDRESS))])
def test_it_is_added_to_the_document_of_flask_smorest(
    build: Builder, version: str, first: str, settings: dict[str, object], paths: set[str]
) -> None:
    def add_api(app: Flask) -> None:
        app.config.update(
            API_TITLE="Shop", API_VERSION="v7", OPENAPI_VERSION=version, OPENAPI_URL_PREFIX="/", OPENAPI_JSON_PATH="api"
        )
        apis.append(Api(app))

    apis: list[Any] = []
    built = build(
        pending=True,
        registration={**settings, "REGISTER_SERIALIZER_CLASS": SignUp},
        before_init=add_api if first == "flask-smorest" else None,
    )
    if first == "rest-registration":
        add_api(built.app)
    (api,) = apis
    # As flask-smorest registers an application's own schema of the same name.
    api.spec.components.schema("Address", schema=Address)
    add_to(api.spec, built.app)
    document = built.client().get("/api").get_json()
    validate_document(document)
    assert document["info"] == {"title": "Shop", "version": "v7"}
    assert set(document["paths"]) == paths
    fields_of_account = "RegistrationSignUp" if settings == RESENDING else "RegistrationAccountFields"
    assert "displayName" in document["components"]["schemas"][fields_of_account]["properties"]
    assert "checked" in document["components"]["schemas"]["Address"]["properties"]
