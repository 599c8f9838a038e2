"""The OpenAPI document: valid, complete, and true of what the endpoints do."""

from __future__ import annotations

import enum
import inspect
import json
import uuid
from contextlib import nullcontext
from datetime import datetime
from decimal import Decimal
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import yaml
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec_webframeworks.flask import FlaskPlugin
from flask import Flask, abort
from flask.json.provider import DefaultJSONProvider
from flask_login import LoginManager
from flask_smorest import Api
from marshmallow import EXCLUDE, INCLUDE, Schema, fields, missing, post_dump, validate
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
from tests.support.answers import refused
from tests.support.apps import OMITTED, PASSWORD, Builder, Built
from tests.support.clock import Clock
from tests.support.described import JSON, Document, faults
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import CODES, EMAIL_FIRST, WITH_RESEND
from tests.unit.serializers.test_serializers import wide
from tests.workflows.test_register import AccountWithoutAddress, nullable_email

ROOT = "/api/v1/accounts"
REGISTER, VERIFY = f"{ROOT}/register/", f"{ROOT}/verify-registration/"
CHECK_LINK, RESEND = f"{ROOT}/check-link/", f"{ROOT}/resend-verification/"

Settings = dict[str, Any]

CLOSED: Settings = {"REGISTER_FLOW_ENABLED": False}
UNVERIFIED: Settings = {"REGISTER_VERIFICATION_ENABLED": False}

ADDRESS = {"email": "ann@example.com"}
ADDRESS_ALONE: dict[str, Any] = {"username": OMITTED, "password": OMITTED, "password_confirm": OMITTED}
FIELDS = {"username": "ann", "password": PASSWORD, "password_confirm": PASSWORD}


def describe(build: Builder, settings: Settings, model: models.Model = models.typed) -> Document:
    """Return the document of an app with some settings."""
    return openapi(build(model, pending=True, registration=settings).app)


def resolved(document: Document, schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def body_of(document: Document, path: str = REGISTER) -> dict[str, Any]:
    """Return the JSON Schema of what an endpoint reads."""
    body = document["paths"][path]["post"]["requestBody"]
    content = body["content"]
    assert (body["required"], list(content)) == (True, [JSON])
    return resolved(document, content[JSON]["schema"])


def answers_of(document: Document, path: str) -> dict[str, Any]:
    """Return the content of an endpoint's answers by status."""
    responses = document["paths"][path]["post"]["responses"]
    return {status: response["content"][JSON] for status, response in responses.items()}


def account_of(document: Document) -> dict[str, Any]:
    return resolved(document, answers_of(document, REGISTER)["201"]["schema"])


def refusals_of(document: Document) -> dict[tuple[str, str, str], Any]:
    """Return the example of every refusal by path, status and code."""
    return {
        (path, status, code): example["value"]
        for path in document["paths"]
        for status, content in answers_of(document, path).items()
        for code, example in content.get("examples", {}).items()
    }


@pytest.mark.parametrize("name", models.ALL)
def test_the_document_of_every_user_model_is_valid(build: Builder, name: str) -> None:
    document = openapi(build(models.ALL[name]).app)
    validate_document(document)
    assert document["openapi"] == "3.1.0"


@pytest.mark.parametrize("settings", [WITH_RESEND, EMAIL_FIRST, CODES, {**CODES, **CLOSED}])
def test_the_document_is_a_plain_dict_and_the_same_as_yaml(build: Builder, settings: Settings) -> None:
    app = build(pending=True, registration=settings).app
    document = openapi(app)
    validate_document(document)
    assert json.loads(json.dumps(document)) == document
    text = to_yaml(document)
    assert yaml.safe_load(text) == document
    assert "&id" not in text  # no anchors
    document["paths"].clear()
    assert openapi(app)["paths"]  # is made anew each time


def test_an_app_that_is_set_up_wrongly_has_no_document(build: Builder) -> None:
    with pytest.raises(ConfigurationError, match="is not initialised on this app"):
        openapi(Flask("bare"))
    with pytest.raises(ConfigurationError, match="no_such_module"):
        describe(build, {"USER_MODEL": "no_such_module.User"})


@pytest.mark.parametrize(
    ("settings", "paths"),
    [
        ({}, {REGISTER, VERIFY}),
        (CLOSED, {VERIFY}),
        (UNVERIFIED, {REGISTER}),
        (WITH_RESEND, {REGISTER, VERIFY, RESEND}),
        ({**WITH_RESEND, **CLOSED}, {VERIFY, RESEND}),
        (CODES, {REGISTER, CHECK_LINK, VERIFY}),
        ({**CODES, **CLOSED}, {VERIFY}),
        ({"URL_PREFIX": "/join"}, {"/join/register/", "/join/verify-registration/"}),
    ],
)
def test_the_endpoints_that_are_switched_on_alone_show(build: Builder, settings: Settings, paths: set[str]) -> None:
    built = build(pending=True, registration=settings)
    document = openapi(built.app)
    assert set(document["paths"]) == paths
    for path in {REGISTER, CHECK_LINK, VERIFY, RESEND} - paths:
        assert built.client().post(path, json={}).status_code == 404
    used = json.dumps(document["paths"])
    for component in document["components"]["schemas"]:
        assert f'"#/components/schemas/{component}"' in used


def test_the_default_body_and_answer_of_a_sign_up_have_all_fields_and_no_others(build: Builder) -> None:
    document = describe(build, {})
    body, account = body_of(document), account_of(document)
    assert body["required"] == sorted(body["properties"]) == ["email", "password", "password_confirm", "username"]
    assert body["additionalProperties"] is False
    email, username, password = (body["properties"][name] for name in ("email", "username", "password"))
    assert (email["type"], email["format"], email["maxLength"]) == ("string", "email", 254)
    assert (username["minLength"], username["maxLength"], username["pattern"]) == (1, 80, r"\S")
    assert (password["format"], password["writeOnly"]) == ("password", True)
    assert (password["minLength"], password["maxLength"]) == (8, 256)
    assert account["required"] == sorted(account["properties"]) == ["email", "id", "username"]
    assert account["additionalProperties"] is False
    assert all(field["readOnly"] for field in account["properties"].values())


def test_other_rules_for_passwords_show_as_far_as_they_are_known(build: Builder) -> None:
    class Stricter(DefaultRegisterUserSerializer):
        password = fields.String(required=True, load_only=True, validate=validate.Length(min=12, max=64))

    password = body_of(describe(build, {"REGISTER_SERIALIZER_CLASS": Stricter}))["properties"]["password"]
    assert (password["minLength"], password["maxLength"]) == (12, 64)
    password = body_of(describe(build, {"PASSWORD_VALIDATORS": []}))["properties"]["password"]
    assert (password["minLength"], password.get("maxLength")) == (1, None)


class Address(Schema):
    city = fields.String(required=True)
    checked = fields.Boolean(dump_only=True)


class SignUp(DefaultRegisterUserSerializer):
    class Meta:
        title = "A new member"
        description = "What we ask for."

    display_name = fields.String(
        data_key="displayName", required=True, metadata={"description": "On cards.", "example": "Ada"}
    )
    address = fields.Nested(Address)
    number = fields.Integer(dump_only=True)
    plan = fields.String(validate=validate.OneOf(["free", "paid"]), load_default="free")


def test_a_custom_register_serializer_shows(build: Builder) -> None:
    class Signed(SignUp):
        signature = fields.String()  # only that of a link is described as such
        token = fields.String(load_only=True)

    document = describe(build, {"REGISTER_SERIALIZER_CLASS": Signed})
    validate_document(document)
    body = body_of(document)
    properties = body["properties"]
    own = {"displayName", "address", "plan", "signature", "token"}
    assert set(properties) == {*ADDRESS, *FIELDS, *own}
    assert (body["title"], body["description"]) == ("A new member", "What we ask for.")
    assert body["additionalProperties"] is False
    assert properties["displayName"] == {"type": "string", "description": "On cards.", "example": "Ada"}
    assert properties["plan"] == {"type": "string", "enum": ["free", "paid"], "default": "free"}
    assert properties["signature"] == {"type": "string"}
    assert properties["token"] == {"type": "string", "writeOnly": True}
    nested = resolved(document, properties["address"])
    assert (list(nested["properties"]), nested["additionalProperties"]) == (["city"], False)


@pytest.mark.parametrize("unknown", [EXCLUDE, INCLUDE])
def test_a_serializer_that_takes_unknown_fields_is_not_said_to_refuse_them(build: Builder, unknown: str) -> None:
    tolerant = type("Tolerant", (DefaultRegisterUserSerializer,), {"Meta": type("Meta", (), {"unknown": unknown})})
    assert "additionalProperties" not in body_of(describe(build, {"REGISTER_SERIALIZER_CLASS": tolerant}))


def test_a_property_of_the_model_that_is_shown_is_read_only(build: Builder) -> None:
    account = account_of(describe(build, {"USER_PUBLIC_FIELDS": ["shout"]}, wide))
    assert account["properties"] == {"shout": {"readOnly": True}}


@pytest.mark.parametrize(("length", "longest"), [(None, 254), (320, 254), (100, 100)])
def test_an_address_is_as_long_as_rfc_5321_and_column_allow(build: Builder, length: int | None, longest: int) -> None:
    model = models.declared(email=mapped_column(String(length), unique=True))
    assert body_of(openapi(build(model, tables=False).app))["properties"]["email"]["maxLength"] == longest


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

    document = describe(build, {"REGISTER_OUTPUT_SERIALIZER_CLASS": Card, "REGISTER_SERIALIZER_CLASS": SignUp})
    validate_document(document)
    account = account_of(document)
    assert set(account["properties"]) == {"email", "username", "self", "address"}
    assert "additionalProperties" not in account
    nested = resolved(document, account["properties"]["address"])
    assert set(nested["properties"]) == {"city", "checked"}  # and not those of the same schema in what is read


class Plan(enum.Enum):
    FREE = "free"
    PAID = "paid"


#: Columns of every type that JSON can fill: what is sent.
SORTS: dict[str, tuple[Any, Any]] = {
    "text": (sa.String(9), "blue"),
    "price": (sa.Numeric(9, 2), "1.50"),
    "ratio": (sa.Numeric(9, 2, asdecimal=False), 0.5),
    "weight": (sa.Float, 70.25),
    "level": (sa.Integer, 7),
    "points": (sa.BigInteger, 2**40),
    "is_nice": (sa.Boolean, True),
    "born": (sa.Date, "1815-12-10"),
    "met": (sa.DateTime, "2024-02-29T12:30:00"),
    "met_exactly": (sa.DateTime, "2024-02-29T12:30:00.123456"),
    "met_there": (sa.DateTime(timezone=True), "2024-02-29T12:30:00+01:00"),
    "wakes": (sa.Time, "06:30:00"),
    "waits": (sa.Interval, 90),
    "token": (sa.Uuid, str(uuid.UUID(int=7))),
    "token_text": (sa.Uuid(as_uuid=False), str(uuid.UUID(int=8))),
    "plan": (sa.Enum(Plan), "PAID"),
    "colour": (sa.Enum("red", "blue", name="colour"), "red"),
    "notes": (sa.JSON, {"a": [1, None]}),
}


@pytest.mark.database
@pytest.mark.parametrize("sent", [True, False], ids=["filled", "null"])
def test_the_account_of_a_model_of_every_column_type_is_as_described(build: Builder, sent: bool) -> None:
    columns = {name: mapped_column(kind, nullable=True) for name, (kind, _) in SORTS.items()}
    columns["joined"] = mapped_column(sa.DateTime, server_default=sa.func.now())
    settings = {"USER_EDITABLE_FIELDS": [*SORTS], "USER_PUBLIC_FIELDS": ["id", "email", *SORTS, "joined"]}
    built = build(models.declared(**columns), registration=settings)
    body = built.body(**{name: value for name, (_, value) in SORTS.items() if sent})
    document = openapi(built.app)
    validate_document(document)
    strict = {"price": 1.5, "met": "2024-02-29T12:30:00Z", "met_exactly": "2024-02-29T12:30:00Z"} if sent else {}
    assert faults(document, body_of(document), {**body, **strict}) == []  # what else is read is not described
    answer = built.client().post(REGISTER, json=body)
    assert answer.status_code == 201, answer.text
    shown = answer.get_json()
    assert faults(document, account_of(document), shown) == []
    assert sorted(account_of(document)["required"]) == sorted(shown)
    assert {name for name in SORTS if shown[name] is not None} == (set(SORTS) if sent else set())


class Numbers(DefaultUserProfileSerializer):
    level = fields.Integer(as_string=True)
    rate = fields.Decimal(as_string=True)
    price = fields.Decimal()
    at = fields.DateTime()
    stamp = fields.DateTime(format="timestamp", attribute="at", dump_only=True)
    day = fields.DateTime(format="%d.%m.%Y", attribute="at", data_key="on", dump_only=True)
    born = fields.Date(format="%d.%m.%Y", attribute="at", dump_only=True)
    mail = fields.DateTime(format="rfc", attribute="at", dump_only=True)


class Floats(DefaultJSONProvider):
    default = staticmethod(float)


@pytest.mark.parametrize(("provider", "kind"), [(DefaultJSONProvider, "string"), (Floats, "number")])
def test_fields_of_ones_own_are_described_as_they_are_sent(
    build: Builder, provider: type[DefaultJSONProvider], kind: str
) -> None:
    model = models.declared(
        level=mapped_column(sa.Integer, default=3),
        rate=mapped_column(sa.Numeric(9, 2), default=Decimal("0.10")),
        price=mapped_column(sa.Numeric(9, 2), default=Decimal("1.50")),
        at=mapped_column(sa.DateTime, default=datetime.fromisoformat("2024-02-29T12:00:00")),
    )
    settings = {"REGISTER_OUTPUT_SERIALIZER_CLASS": Numbers}
    built = build(model, registration=settings, before_init=lambda app: setattr(app, "json", provider(app)))
    document, shown = openapi(built.app), built.register().get_json()
    validate_document(document)
    account = account_of(document)
    assert faults(document, account, shown) == []
    assert sorted(shown) == account["required"]
    types = {name: account["properties"][name]["type"] for name in ("level", "rate", "price", "stamp")}
    assert types == {"level": "string", "rate": "string", "price": kind, "stamp": "number"}
    assert account["properties"]["on"] == account["properties"]["born"] | {"type": "string"}


def test_what_a_serializer_of_ones_own_always_shows_is_required_unless_it_has_hooks(build: Builder) -> None:
    class Card(DefaultUserProfileSerializer):
        nick = fields.String(attribute="username", data_key="nickName")
        maybe = fields.Function(lambda user: missing if user.id else "new")

    class Hooked(Card):
        @post_dump
        def drop(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
            return {"id": data["id"]}

    class Apart(Schema):
        maybe = fields.Constant(5)

    class Listed(Card):
        def dump(self, *args: Any, **options: Any) -> Any:
            return [1]

    always = ["email", "id", "nickName", "username"]
    for cls, required in ((Card, always), (Hooked, None), (Apart, None), (Listed, None)):
        built = build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": cls})
        document = openapi(built.app)
        assert account_of(document).get("required") == required
        assert faults(document, account_of(document), built.register().get_json()) == []


BY_HOST: dict[str, Any] = {"host_matching": True, "static_folder": None}
PROXIED = {"APPLICATION_ROOT": "/shop/"}


@pytest.mark.parametrize(
    ("matching", "place", "config", "base_url", "servers"),
    [
        ({}, {}, {}, None, ["/"]),
        ({}, {}, PROXIED, None, ["/shop"]),
        ({}, {}, {}, "https://x.example/behind/", ["/behind"]),
        ({}, {}, {**PROXIED, "APPLICATION_ROOT": "/"}, "https://x.example/", ["/"]),
        (
            BY_HOST,
            {"HOST": "api.example:81"},
            {**PROXIED, "PREFERRED_URL_SCHEME": "https"},
            None,
            ["https://api.example:81/shop"],
        ),
        (BY_HOST, {"HOST": "api.example"}, {}, "https://api.example/behind", ["https://api.example/behind"]),
        (
            {"subdomain_matching": True},
            {"SUBDOMAIN": "api"},
            {"SERVER_NAME": "x.example"},
            None,
            ["http://api.x.example"],
        ),
    ],
)
def test_the_paths_are_below_the_server_on_which_the_app_answers_them(
    build: Builder, matching: Any, place: Settings, config: Settings, base_url: str | None, servers: list[str]
) -> None:
    built = build(matching=matching, registration=place, config=config)
    context = built.app.test_request_context("/", base_url=base_url) if base_url else nullcontext()
    with context:
        document = openapi(built.app)
        elsewhere = openapi(build(config=PROXIED).app)
    validate_document(document)
    found = [server["url"] for server in document["servers"]]
    assert found == servers
    assert elsewhere["servers"] == [{"url": "/shop"}]
    server = urlsplit(found[0])
    client = built.app.test_client()
    answer = client.post(REGISTER, json=built.body(), base_url=f"http://{server.netloc or 'localhost'}{server.path}")
    assert answer.status_code == 201


def test_a_document_says_first_what_it_is_and_has_the_given_title_version_servers(build: Builder) -> None:
    app = build(config=PROXIED).app
    document = openapi(app, title="Shop", version="7", servers=["https://a.example", "/b"])
    validate_document(document)
    assert list(document)[:3] == ["openapi", "info", "servers"]
    assert to_yaml(document).startswith("openapi: 3.1.0\ninfo:")
    assert document["info"] == {"title": "Shop", "version": "7"}
    assert document["servers"] == [{"url": "https://a.example"}, {"url": "/b"}]
    assert openapi(app)["info"] == {"title": "Registration", "version": metadata.version("flask-rest-registration")}


@pytest.mark.parametrize("settings", [UNVERIFIED, WITH_RESEND, EMAIL_FIRST, CODES])
def test_every_operation_has_a_description_of_its_own(build: Builder, settings: Settings) -> None:
    paths = describe(build, settings)["paths"]
    texts = [path["post"]["description"] for path in paths.values()]
    assert len(set(texts)) == len(paths)
    assert [text for text in texts if len(text) < 40] == []


@pytest.mark.parametrize("auto_login", [False, True])
@pytest.mark.parametrize("own", [{}, {"LOGIN_HANDLER": lambda *_: {"token": "t"}}], ids=["Flask-Login", "own"])
@pytest.mark.parametrize(("way", "status"), [({}, 200), (EMAIL_FIRST, 201)], ids=["at sign-up", "e-mail first"])
def test_what_a_login_handler_adds_is_allowed_for(
    build: Builder, smtp: RecordingServer, way: Settings, status: int, own: Settings, auto_login: bool
) -> None:
    more = bool(own) and auto_login
    built = build(
        models.login_user,
        pending=True,
        registration={**way, **own, "REGISTER_VERIFICATION_AUTO_LOGIN": auto_login},
        before_init=lambda app: LoginManager(app).user_loader(lambda key: None),
    )
    document = openapi(built.app)
    answers = answers_of(document, VERIFY)
    described = resolved(document, answers["200"]["schema"])
    assert described["additionalProperties"] is more
    assert ("token" in described["properties"]["detail"]["description"]) is more
    built.register(**(ADDRESS_ALONE if way else {}))
    answer = built.verify({**values_of(link_in(smtp.message)), **built.body()})
    assert answer.status_code == status
    assert ("token" in answer.get_json()) is more
    assert faults(document, answers[str(status)]["schema"], answer.get_json()) == []


class Consent(RegisterEmailSerializer):
    agreed = fields.Boolean(required=True)


@pytest.mark.parametrize(("own", "more"), [({}, {}), ({"REGISTER_EMAIL_SERIALIZER_CLASS": Consent}, {"agreed": True})])
def test_with_email_first_a_sign_up_reads_an_address_and_answers_202(
    build: Builder, own: Settings, more: dict[str, object]
) -> None:
    built = build(pending=True, registration={**EMAIL_FIRST, **own})
    document, sent = openapi(built.app), {**ADDRESS, **more}
    body, answers = body_of(document), answers_of(document, REGISTER)
    assert sorted(body["required"]) == sorted(body["properties"]) == sorted(sent)
    assert (body["additionalProperties"], faults(document, body, sent)) == (False, [])
    assert "201" not in answers
    assert answers["202"]["example"] == built.client().post(REGISTER, json=sent).get_json()
    assert faults(document, answers["202"]["schema"], {"detail": "Done.", "id": 7}) != []


class Proven:
    """An app with e-mail first, and what a mail of it proves.

    :param settings: the app's.
    """

    def __init__(self, build: Builder, smtp: RecordingServer, settings: Settings) -> None:
        old = build(pending=True)
        assert old.register(email="bob@example.com", username="bob").status_code == 201
        self.link_of_account = values_of(link_in(smtp.messages[-1]))
        self.built = build(pending=True, registration=settings, database_uri=old.database_uri, tables=False)
        self.document = openapi(self.built.app)
        if CLOSED.items() <= settings.items():
            return
        assert self.built.register(**ADDRESS_ALONE).status_code == 202
        self.link = values_of(link_in(smtp.messages[-1]))
        self.code = code_of(smtp.messages[-1]) if settings == CODES else ""

    def verify(self, body: dict[str, Any]) -> tuple[int, bool]:
        """Return the status of the answer, and whether the body is what the document says; the answer must be."""
        answer = self.built.verify(body)
        content = answers_of(self.document, VERIFY)[str(answer.status_code)]
        assert faults(self.document, content["schema"], answer.get_json()) == []
        return answer.status_code, not faults(self.document, body_of(self.document, VERIFY), body)


@pytest.mark.parametrize("settings", [EMAIL_FIRST, CODES])
@pytest.mark.parametrize("more", [{}, {"email": "Ann@Example.com"}, {"utm_source": "a newsletter", "ref": None}])
def test_a_link_with_the_accounts_fields_is_a_body_and_makes_the_account(
    build: Builder, smtp: RecordingServer, settings: Settings, more: dict[str, object]
) -> None:
    proven = Proven(build, smtp, settings)
    assert proven.verify({**proven.link, **FIELDS, **more}) == (201, True)


@pytest.mark.parametrize("settings", [EMAIL_FIRST, CODES, {**EMAIL_FIRST, **CLOSED}])
def test_a_link_of_an_account_is_a_body_without_more(build: Builder, smtp: RecordingServer, settings: Settings) -> None:
    proven = Proven(build, smtp, settings)
    link = proven.link_of_account
    assert faults(proven.document, body_of(proven.document, VERIFY), {**link, "user_id": int(link["user_id"])}) == []
    assert proven.verify({**link, "utm_source": "a newsletter"}) == (200, True)


@pytest.mark.parametrize("written", ["{}", " {}\n", "{0:.3}-{1}", "{0:.3}\u2013{1}", "{0:.1} {0:.2}"])
def test_a_code_however_written_is_a_body_with_the_fields(build: Builder, smtp: RecordingServer, written: str) -> None:
    proven = Proven(build, smtp, CODES)
    code = written.format(proven.code, proven.code[3:])
    is_whole = len("".join(filter(str.isdigit, code))) == 6
    assert proven.verify({**ADDRESS, "code": code, **FIELDS}) == ((201, True) if is_whole else (400, False))


def test_what_is_none_of_the_bodies_is_refused(build: Builder, smtp: RecordingServer) -> None:
    proven = Proven(build, smtp, CODES)
    bodies: list[dict[str, Any]] = [
        {},
        FIELDS,
        {**ADDRESS, **FIELDS},
        {**ADDRESS, "code": "123456"},
        {"code": "123456", **FIELDS},
        *[{**ADDRESS, "code": code, **FIELDS} for code in (123456, "12345", "1234567", "١٢٣٤٥٦")],
        {**ADDRESS, "code": "123456", **FIELDS, "username": ""},
        {"user_id": "1", "timestamp": "1", **FIELDS},
        {"user_id": True, "timestamp": 1, "signature": "x"},
        {"user_id": 1.5, "timestamp": 1, "signature": "x"},
        {"user_id": "1", "timestamp": 1, "signature": 1},
    ]
    assert [body for body in bodies if proven.verify(body) != (400, False)] == []


@pytest.mark.parametrize("length", [6, 10])
def test_the_code_that_is_described_has_the_length_of_the_setting(build: Builder, length: int) -> None:
    document = describe(build, {**CODES, "REGISTER_VERIFICATION_CODE_LENGTH": length})
    code = document["components"]["schemas"]["RegistrationCode"]["properties"]["code"]
    (example,) = code["examples"]
    assert (code["type"], len(example)) == ("string", length)
    assert [text for text in (example, example[1:], f"{example}0") if not faults(document, code, text)] == [example]


@pytest.mark.parametrize("settings", [EMAIL_FIRST, CODES])
def test_the_fields_of_an_account_need_no_address_beside_its_proof(build: Builder, settings: Settings) -> None:
    class Renamed(DefaultRegisterUserSerializer):
        email = fields.Email(required=True, data_key="eMail")

    built = build(pending=True, registration={**settings, "REGISTER_SERIALIZER_CLASS": Renamed})
    described = openapi(built.app)["components"]["schemas"]["RegistrationAccountFields"]
    assert "eMail" in described["properties"]
    assert described["required"] == ["password", "password_confirm", "username"]
    assert "additionalProperties" not in described
    own = built.registration.register_schema(built.app)
    assert (own.partial, own.unknown) == (None, "raise")


@pytest.mark.parametrize(("settings", "kind"), [(WITH_RESEND, int), (CODES, uuid.UUID)])
def test_a_link_in_a_body_is_open_with_an_example_of_its_kind(build: Builder, settings: Settings, kind: Any) -> None:
    link = describe(build, settings)["components"]["schemas"]["RegistrationLink"]
    assert "additionalProperties" not in link
    (example,) = link["properties"]["user_id"]["examples"]
    assert str(kind(example)) == example


#: Every exception that is an answer with a code of its own.
REFUSALS = [
    cls
    for _, cls in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(cls, exceptions.RequestRefused) and "code" in vars(cls)
]


MISSING = {
    "email": "Enter your e-mail address.",
    "user_id": "The link is not complete. Open it from the message again.",
}


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (WITH_RESEND, {REGISTER: "email", VERIFY: "user_id", RESEND: "email"}),
        (CODES, {REGISTER: "email", CHECK_LINK: "user_id", VERIFY: "user_id"}),
    ],
)
def test_the_text_of_a_refusal_is_the_declared_one_and_invalid_alone_names_a_field(
    build: Builder, settings: Settings, missing: dict[str, str]
) -> None:
    details = {cls.code: cls.text for cls in REFUSALS}
    document = describe(build, settings)
    for (path, status, code), example in refusals_of(document).items():
        errors = {"errors": {missing[path]: [MISSING[missing[path]]]}} if code == "invalid" else {}
        assert example == {"detail": details[code], "code": code, **errors}
        assert details[code] in document["paths"][path]["post"]["responses"][status]["description"]


OF_ALL = {"invalid", "parse-error", "length-required", "request-too-large", "unsupported-media-type"}
OF_ALL |= {"database-unavailable", "success"}
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
#: The requests that get their answer whatever was done before.
PLAIN: dict[str, dict[str, Any]] = {
    "invalid": {"json": {"no": "such field"}},
    "parse-error": {"data": b"{", "content_type": JSON},
    "length-required": {"environ_overrides": {"HTTP_TRANSFER_ENCODING": "chunked"}},
    "request-too-large": {"data": b" " * 99_999, "content_type": JSON},
    "unsupported-media-type": {"data": {"email": "a@b.example"}},
    "code-invalid": {"json": {**ADDRESS, "code": "000000", **FIELDS}},
    "user-without-email-nonverifiable": {"json": {"username": "ann", "password": PASSWORD}},
}


def provoke(
    code: str, path: str, build: Builder, smtp: RecordingServer, clock: Clock, settings: Settings
) -> tuple[Built, TestResponse]:
    """Make an answer of an endpoint happen on an app of its own."""
    if code == "user-without-email-nonverifiable":
        built = build(nullable_email, registration={"REGISTER_SERIALIZER_CLASS": AccountWithoutAddress})
    elif code == "database-unavailable":
        nowhere = "sqlite:////no/such/folder/app.db"
        built = build(pending=True, registration=settings, database_uri=nowhere, tables=False)
    else:
        built = build(pending=True, registration=settings)
    client = built.client()
    if code in PLAIN:
        return built, client.post(path, **PLAIN[code])
    sign_up: dict[str, Any] = ADDRESS if settings == CODES else built.body()
    body = ADDRESS if path == RESEND else sign_up
    if path in {VERIFY, CHECK_LINK} and code == "database-unavailable":
        body = {"user_id": str(uuid.uuid4()) if settings == CODES else "1", "timestamp": "1700000000", "signature": "x"}
    elif path in {VERIFY, CHECK_LINK}:
        assert client.post(REGISTER, json=sign_up).status_code in {201, 202}
        body = {**values_of(link_in(smtp.message)), **FIELDS}
    if code == "signature-invalid":
        body["signature"] = "forged"
    elif code == "signature-expired":
        clock.move(8 * 24 * 3600)
    elif code == "email-not-sent":
        smtp.stop()
    return built, client.post(path, json=body)


@pytest.mark.parametrize(
    ("settings", "path", "code"),
    [
        pytest.param(settings, path, code, id=f"{way}-{path}-{code}")
        for way, settings, answers in (("at sign-up", WITH_RESEND, AT_SIGN_UP), ("e-mail first", CODES, BY_ADDRESS))
        for path, codes in answers.items()
        for code in sorted(codes)
    ],
)
def test_every_answer_that_is_documented_is_given_just_so(
    build: Builder, smtp: RecordingServer, clock: Clock, settings: Settings, path: str, code: str
) -> None:
    built, response = provoke(code, path, build, smtp, clock, settings)
    document, answer = openapi(built.app), response.get_json()
    content = answers_of(document, path)[str(response.status_code)]
    assert faults(document, content["schema"], answer) == []
    headers = document["paths"][path]["post"]["responses"][str(response.status_code)].get("headers", {})
    assert list(headers) == {415: ["Accept-Encoding"], 503: ["Retry-After"]}.get(response.status_code, [])
    assert ("Retry-After" in response.headers) is ("Retry-After" in headers)
    if code == "success":
        assert response.status_code < 300
        assert sorted(content["example"]) == sorted(answer)
        assert content["example"].get("detail") == answer.get("detail")
    else:
        assert answer["code"] == code
        assert code in content["examples"]


def test_a_link_of_before_sign_ups_were_switched_off_is_not_found(build: Builder, smtp: RecordingServer) -> None:
    before = build(pending=True, registration=EMAIL_FIRST)
    before.register(**ADDRESS_ALONE)
    built = build(pending=True, registration={**EMAIL_FIRST, **CLOSED}, database_uri=before.database_uri, tables=False)
    answer = refused(built.verify({**values_of(link_in(smtp.message)), **FIELDS}), 404, "not-found")
    document = openapi(built.app)
    content = answers_of(document, VERIFY)["404"]
    assert list(content["examples"]) == ["not-found"]
    assert faults(document, content["schema"], answer) == []
    assert "404" not in answers_of(openapi(before.app), VERIFY)


def test_these_are_all_the_documented_answers_and_no_code_is_left_out(build: Builder) -> None:
    def tried(answers: dict[str, set[str]]) -> set[tuple[str, str]]:
        return {(path, code) for path, codes in answers.items() for code in codes - {"success"}}

    def documented(settings: Settings) -> set[tuple[str, str]]:
        found = refusals_of(describe(build, settings))
        codes.update((status, code) for _, status, code in found)
        return {(path, code) for path, _, code in found}

    codes: set[tuple[str, str]] = set()
    own: Settings = {"REGISTER_SERIALIZER_CLASS": AccountWithoutAddress}
    without_address, not_sent = (REGISTER, "user-without-email-nonverifiable"), (REGISTER, "email-not-sent")
    assert documented({**WITH_RESEND, **own}) == tried(AT_SIGN_UP)
    assert documented(WITH_RESEND) == tried(AT_SIGN_UP) - {without_address}
    at_sign_up_alone = tried({REGISTER: AT_SIGN_UP[REGISTER]})
    assert documented(UNVERIFIED) == at_sign_up_alone - {without_address, not_sent}
    assert documented(CODES) == documented({**CODES, **own}) == tried(BY_ADDRESS)
    assert documented(EMAIL_FIRST) == tried(BY_ADDRESS) - {(VERIFY, "code-invalid")}
    assert (VERIFY, "not-found") in documented({**EMAIL_FIRST, **CLOSED})
    assert codes == {(str(cls.status), cls.code) for cls in REFUSALS} | {("400", exceptions.RequestRefused.code)}


def untrue(self: object, data: dict[str, Any], **_: object) -> dict[str, Any]:
    return {**data, "id": "seven"}


def test_the_tests_find_an_answer_that_is_not_as_described(build: Builder) -> None:
    output = type("Untrue", (DefaultUserProfileSerializer,), {"untrue": post_dump(untrue)})
    built = build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": output})
    with pytest.raises(AssertionError, match=r"register answers 201 .* its document says: .*seven.* is not of type"):
        built.register()

    def without_header(app: Flask) -> None:
        app.after_request_funcs[None] = [lambda response: response.headers.pop("Retry-After", None) and response]

    built = build(database_uri="sqlite:////no/such/folder/app.db", tables=False, before_init=without_header)
    with pytest.raises(AssertionError, match="register answers 503 without Retry-After"):
        built.register()


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("place", ["before the view", "inside it"])
def test_what_the_application_refuses_has_the_shape_of_refusals(build: Builder, place: str, status: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        abort(status)

    if place == "inside it":
        built = build(registration={"PASSWORD_VALIDATORS": [refuse]})
    else:
        built = build(before_init=lambda app: app.before_request(refuse))
    answer = built.register()
    document = openapi(built.app)
    assert answer.status_code == status
    assert faults(document, document["components"]["schemas"]["RegistrationError"], answer.get_json()) == []
    assert str(status) not in answers_of(document, REGISTER)


def test_an_answer_of_another_shape_is_not_allowed_for(build: Builder) -> None:
    document = describe(build, {})
    schema = answers_of(document, REGISTER)["400"]["schema"]
    good = {"detail": "No.", "code": "invalid", "errors": {"email": ["No."]}}
    assert faults(document, schema, good) == []
    no_list, no_text = ({**good, "errors": errors} for errors in ({"email": "No."}, {"email": list[str]()}))
    for bad in ({}, {**good, "code": "code-invalid"}, no_list, no_text, {**good, "more": 1}):
        assert faults(document, schema, bad) != []


@pytest.mark.parametrize("settings", [WITH_RESEND, EMAIL_FIRST, CODES, {"REGISTER_SERIALIZER_CLASS": SignUp}])
def test_every_example_is_what_its_schema_describes(build: Builder, settings: Settings) -> None:
    document = describe(build, settings)
    contents = [content for path in document["paths"] for content in answers_of(document, path).values()]
    contents += [path["post"]["requestBody"]["content"][JSON] for path in document["paths"].values()]
    assert [content for content in contents if not {"example", "examples"} & content.keys()] == []
    shown = [(content["schema"], content["example"]) for content in contents if "example" in content]
    for content in contents:
        shown += [(content["schema"], example["value"]) for example in content.get("examples", {}).values()]
    for component in document["components"]["schemas"].values():
        for field in component["properties"].values():
            shown += [(field, value) for value in field.get("examples", [])]
    assert [value for schema, value in shown if faults(document, schema, value)] == []
    assert len(shown) > 20


def body_shown(document: Document, path: str, name: str | None = None) -> dict[str, Any]:
    """Return the example of what an endpoint reads, or one of several by its name."""
    content = document["paths"][path]["post"]["requestBody"]["content"][JSON]
    found: dict[str, Any] = content["examples"][name]["value"] if name else content["example"]
    return found


@pytest.mark.parametrize("name", models.ALL)
def test_the_example_of_a_sign_up_makes_an_account_of_every_user_model(build: Builder, name: str) -> None:
    built = build(models.ALL[name])
    document = openapi(built.app)
    answer = built.client().post(REGISTER, json=body_shown(document, REGISTER))
    assert answer.status_code == 201, answer.text
    assert sorted(answers_of(document, REGISTER)["201"]["example"]) == sorted(answer.get_json())


@pytest.mark.parametrize("proof", ["link", "code"])
def test_the_examples_with_email_first_make_an_account_with_what_was_mailed(
    build: Builder, smtp: RecordingServer, proof: str
) -> None:
    built = build(pending=True, registration=CODES)
    document = openapi(built.app)
    assert built.client().post(REGISTER, json=body_shown(document, REGISTER)).status_code == 202
    mailed = values_of(link_in(smtp.message)) if proof == "link" else {"code": code_of(smtp.message)}
    body = body_shown(document, VERIFY, proof)
    assert body.keys() > mailed.keys()
    assert built.verify({**body, **mailed}).status_code == 201
    assert [*body_shown(document, VERIFY, "account at sign-up")] == ["user_id", "timestamp", "signature"]


def test_a_body_without_a_known_example_of_a_needed_field_has_none(build: Builder) -> None:
    def shown(**own: fields.Field[Any]) -> dict[str, Any] | None:
        serializer = type("Own", (DefaultRegisterUserSerializer,), own)
        content = describe(build, {"REGISTER_SERIALIZER_CLASS": serializer})["paths"][REGISTER]["post"]
        body: dict[str, Any] = content["requestBody"]["content"][JSON]
        assert "examples" not in body
        found: dict[str, Any] | None = body.get("example")
        return found

    plate = validate.Regexp("^[A-Z]{2}[0-9]{4}$")
    told = {"example": "AB1234"}
    sizes = {"size": fields.Integer(required=True, validate=validate.Range(min=3))}
    assert shown(plate=fields.String(required=True, validate=plate)) is None
    assert shown(**sizes) is None
    assert shown(name=fields.String(required=True, validate=validate.Length(max=2))) is None
    assert (shown(plate=fields.String(required=True, validate=plate, metadata=told)) or {})["plate"] == "AB1234"
    assert "plate" not in (shown(plate=fields.String(validate=plate)) or {"plate": 1})
    kinds: dict[str, tuple[fields.Field[Any], Any]] = {
        "plan": (fields.String(required=True, validate=validate.OneOf(["paid", "free"])), "paid"),
        "agreed": (fields.Boolean(required=True), True),
        "born": (fields.Date(required=True, allow_none=True), "2024-02-29"),
    }
    body = shown(**{name: field for name, (field, _) in kinds.items()}) or {}
    assert {name: body[name] for name in kinds} == {name: value for name, (_, value) in kinds.items()}


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize("plugins", [[], [MarshmallowPlugin], [FlaskPlugin], [FlaskPlugin, MarshmallowPlugin]])
def test_it_is_added_with_any_plugins_allows_for_null_and_asks_for_no_log_in(
    build: Builder, version: str, plugins: list[Any]
) -> None:
    app = build(nullable_email, registration=UNVERIFIED).app
    spec = APISpec("Shop", "7", version, [plugin() for plugin in plugins], security=[{"token": []}])
    app.add_url_rule("/basket", view_func=lambda: "", endpoint="basket")
    basket = {"get": {"responses": {"200": {"description": "The basket."}}}}
    spec.path("/basket", operations=basket, view=app.view_functions["basket"], app=app)
    add_to(spec, app)
    document = spec.to_dict()
    validate_document(document)
    assert (document["info"], set(document["paths"])) == ({"title": "Shop", "version": "7"}, {"/basket", REGISTER})
    body = document["components"]["schemas"]["RegistrationSignUp"]
    email = body["properties"]["email"]
    assert "email" not in body["required"]
    assert (document["security"], document["paths"][REGISTER]["post"]["security"]) == ([{"token": []}], [])
    if version == "3.1.0":
        own = openapi(app)
        assert document["paths"][REGISTER] == own["paths"][REGISTER]
        assert document["components"] == own["components"]
        assert email["type"] == ["string", "null"]
    else:
        assert (email["nullable"], email["type"], email["example"]) == (True, "string", "ada@example.com")


def test_a_document_that_is_older_than_openapi_3_is_refused(build: Builder) -> None:
    spec = APISpec(title="Old", version="1", openapi_version="2.0")
    with pytest.raises(ValueError, match=r"The document is OpenAPI 2\.0: make it 3\.0\.3 or 3\.1\.0\."):
        add_to(spec, build().app)
    assert spec.to_dict()["paths"] == {}


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize("first", ["flask-smorest", "rest-registration"])
@pytest.mark.parametrize(
    ("settings", "paths", "account"),
    [(WITH_RESEND, AT_SIGN_UP, "RegistrationSignUp"), (CODES, BY_ADDRESS, "RegistrationAccountFields")],
)
def test_it_is_added_to_the_document_of_flask_smorest(
    build: Builder, settings: Settings, paths: dict[str, set[str]], account: str, first: str, version: str
) -> None:
    def add_api(app: Flask) -> None:
        app.config.update(
            API_TITLE="Shop", API_VERSION="v7", OPENAPI_VERSION=version, OPENAPI_URL_PREFIX="/", OPENAPI_JSON_PATH="api"
        )
        api.init_app(app)

    api: Any = Api()
    before_init = add_api if first == "flask-smorest" else None
    own = {**settings, "REGISTER_SERIALIZER_CLASS": SignUp}
    built = build(pending=True, registration=own, before_init=before_init)
    if first == "rest-registration":
        add_api(built.app)
    # As flask-smorest registers an application's own schema of the same name.
    api.spec.components.schema("Address", schema=Address)
    add_to(api.spec, built.app)
    document = built.client().get("/api").get_json()
    validate_document(document)
    assert document["info"] == {"title": "Shop", "version": "v7"}
    assert set(document["paths"]) == set(paths)
    schemas = document["components"]["schemas"]
    assert "displayName" in schemas[account]["properties"]
    assert "checked" in schemas["Address"]["properties"]
