"""The endpoints as OpenAPI 3.1, made by apispec from the settings and schemas in use.

It is an extra: ``pip install 'flask-rest-registration[openapi]'``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby

from apispec import APISpec
from apispec.yaml_utils import dict_to_yaml
from flask import Flask
from marshmallow import Schema

from ..claims import REJECTED, SENT
from ..exceptions import (
    WHOLE_OBJECT,
    ClaimInUse,
    DatabaseUnavailable,
    EmailNotSent,
    InvalidInput,
    ParseError,
    RequestRefused,
    RequestTooLarge,
    SignatureExpired,
    SignatureInvalid,
    UnsupportedMediaType,
    UserWithoutEmailNonverifiable,
)
from ..login import log_in_with_flask_login
from ..registration import HIDDEN, VERIFIED
from ..serializers import (
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    ResendVerificationSerializer,
    VerifyRegistrationSerializer,
)
from ..state import EXTENSION_KEY, Registration, app_state
from .openapi_schemas import PREFIX, Json, SchemaComponents

_VERSION = "3.1.0"

_Refusals = tuple[type[RequestRefused], ...]

_ALWAYS: _Refusals = (InvalidInput, ParseError, RequestTooLarge, UnsupportedMediaType, DatabaseUnavailable)
_OF_LINKS: _Refusals = (SignatureInvalid, SignatureExpired)

_ERROR = f"{PREFIX}Error"
_ERROR_SCHEMA: Json = {
    "type": "object",
    "description": "Every refusal. `errors` is there with the code `invalid` only.",
    "required": ["detail", "code"],
    "properties": {
        "detail": {"type": "string", "description": "A text for people."},
        "code": {"type": "string", "description": "What happened, for programs."},
        "errors": {
            "type": "object",
            "description": "Texts for people by field; a fault of the object as a whole stands under `_schema`.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
    },
    "additionalProperties": False,
}


def openapi(app: Flask) -> Json:
    """Describe the endpoints of an app that are switched on.

    :param app: an app that the extension is initialised on.
    :returns: an OpenAPI 3.1 document as a plain dict.
    :raises ConfigurationError: if the app lacks something.
    """
    spec = APISpec(title=PREFIX, version=version("flask-rest-registration"), openapi_version=_VERSION)
    add_to(spec, app)
    return spec.to_dict()


def to_yaml(document: Json) -> str:
    """Write a document as YAML, in the order of its keys.

    :param document: as :func:`openapi` gives it.
    :returns: YAML 1.1.
    """
    return dict_to_yaml(document, {"allow_unicode": True})


def add_to(spec: APISpec, app: Flask) -> None:
    """Add the endpoints of an app that are switched on to the application's own document.

    :param spec: an apispec document, such as the ``spec`` of flask-smorest's ``Api``.
    :param app: an app that the extension is initialised on.
    :raises ConfigurationError: if the app lacks something.
    :raises ValueError: if the document is older than OpenAPI 3.
    """
    if spec.openapi_version.major < 3:
        raise ValueError(f"The document is OpenAPI {spec.openapi_version}: make it 3.0.3 or 3.1.0.")
    with app.app_context():
        registration = app_state(app).registration()
        described = _Description(registration, str(spec.openapi_version))
        for name, component in described.components.items():
            spec.components.schema(name, component)
        for endpoint, operation in described.operations.items():
            rule = next(iter(app.url_map.iter_rules(f"{EXTENSION_KEY}.{endpoint}")))
            # Plugins for Flask, flask-smorest's among them, want a rule or a view; others ignore them.
            view = app.view_functions[rule.endpoint]
            spec.path(rule.rule, operations={"post": operation}, rule=rule, view=view, app=app)


@dataclass(frozen=True)
class _Answer:
    """A success.

    :param status: its HTTP status.
    :param description: what has happened.
    :param component: the name of its body's schema.
    :param example: a body, where it is known.
    """

    status: int
    description: str
    component: str
    example: Json | None = None

    def described(self) -> Json:
        """Return the OpenAPI response."""
        content = {"schema": _reference(self.component)}
        if self.example is not None:
            content["example"] = self.example
        return {"description": self.description, "content": {"application/json": content}}


@dataclass(frozen=True)
class _Body:
    """What a client sends.

    :param component: the name of its schema.
    :param schema: loads it.
    """

    component: str
    schema: Schema

    def first_field(self) -> str:
        """Return the name of a field that may be missing, for an example."""
        required = (field.data_key or name for name, field in self.schema.load_fields.items() if field.required)
        return next(required, WHOLE_OBJECT)


_LINK = _Body(f"{PREFIX}Link", VerifyRegistrationSerializer())


class _Description:
    """What there is to say of one app."""

    def __init__(self, registration: Registration, openapi_version: str) -> None:
        self._settings = registration.settings
        self._serializers = registration.serializers
        self._schemas = SchemaComponents(registration.settings, openapi_version)
        self._bodies: dict[str, _Body] = {}
        self.operations: dict[str, Json] = {}
        if self._settings.register_flow_enabled:
            self._add_register()
        if self._settings.register_verification_enabled:
            self._add_verify()
        if self._settings.register_verification_resend_enabled:
            self._add_resend()
        if self._settings.register_rejection_url is not None:
            self._add_reject()
        for body in self._bodies.values():
            self._schemas.add_read(body.component, body.schema)

    @property
    def components(self) -> dict[str, Json]:
        """The schemas by name."""
        details = {
            f"{PREFIX}Detail": _detail_schema(more=False),
            f"{PREFIX}Verified": _detail_schema(more=self._logs_in_by_hand),
        }
        used = str(self.operations)
        fixed = {name: schema for name, schema in details.items() if repr(_reference(name)) in used}
        return {**self._schemas.by_name(), **fixed, _ERROR: _ERROR_SCHEMA}

    @property
    def _logs_in_by_hand(self) -> bool:
        settings = self._settings
        return settings.register_verification_auto_login and settings.login_handler is not log_in_with_flask_login

    def _add_register(self) -> None:
        settings, refusals = self._settings, _ALWAYS
        if settings.register_verification_enabled:
            refusals += (EmailNotSent,)
            if settings.register_serializer_class is not DefaultRegisterUserSerializer:  # which demands an address
                refusals += (UserWithoutEmailNonverifiable,)
        if settings.register_hide_existing_email:
            answer = _Answer(202, "Accepted, whether the address is free or not.", f"{PREFIX}Detail", _detail(HIDDEN))
        else:
            answer = _Answer(201, "The account is stored.", f"{PREFIX}Account")
            complete = settings.register_output_serializer_class is DefaultUserProfileSerializer
            self._schemas.add_shown(answer.component, self._serializers.profile(), complete=complete)
        body = _Body(f"{PREFIX}SignUp", self._serializers.register())
        self._add("register", "Sign up", body=body, answer=answer, refusals=refusals)

    def _add_verify(self) -> None:
        body = _LINK
        if self._settings.password_at_verification:
            chosen = dict(self._serializers.chosen_password.declared_fields)
            body = _Body(f"{PREFIX}LinkAndPassword", VerifyRegistrationSerializer.from_dict(chosen)())
        self._add(
            "verify-registration",
            "Verify the address with what the link carries",
            body=body,
            answer=_Answer(200, "The account is verified.", f"{PREFIX}Verified", _detail(VERIFIED)),
            refusals=(*_ALWAYS, *_OF_LINKS),
        )

    def _add_resend(self) -> None:
        self._add(
            "resend-verification",
            "Ask for the link again",
            body=_Body(f"{PREFIX}Address", ResendVerificationSerializer()),
            answer=_Answer(202, "Accepted, whatever was found.", f"{PREFIX}Detail", _detail(SENT)),
            refusals=(*_ALWAYS, EmailNotSent),
        )

    def _add_reject(self) -> None:
        self._add(
            "reject-registration",
            "Say that this was not me",
            body=_LINK,
            answer=_Answer(200, "The claim to the address is deleted.", f"{PREFIX}Detail", _detail(REJECTED)),
            refusals=(*_ALWAYS, *_OF_LINKS, ClaimInUse),
        )

    def _add(self, endpoint: str, summary: str, *, body: _Body, answer: _Answer, refusals: _Refusals) -> None:
        self._bodies[body.component] = body
        self.operations[endpoint] = {
            "operationId": endpoint.replace("-", "_"),
            "summary": summary,
            "tags": [PREFIX],
            "security": [],  # whoever signs up has no log-in, whatever the rest of the document asks for
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _reference(body.component)}},
            },
            "responses": {
                str(answer.status): answer.described(),
                **dict(_refused(refusals, missing=body.first_field())),
            },
        }


def _refused(refusals: _Refusals, *, missing: str) -> Iterator[tuple[str, Json]]:
    """Describe refusals, one response for each status."""
    for status, group in groupby(sorted(refusals, key=_status), key=_status):
        same = list(group)
        codes = {"type": "object", "properties": {"code": {"enum": [refusal.code for refusal in same]}}}
        yield (
            str(status),
            {
                "description": "\n".join(f"- `{refusal.code}`: {refusal.detail}" for refusal in same),
                "content": {
                    "application/json": {
                        "schema": {"allOf": [_reference(_ERROR), codes]},
                        "examples": {refusal.code: {"value": _example(refusal, missing)} for refusal in same},
                    }
                },
            },
        )


def _status(refusal: type[RequestRefused]) -> int:
    return refusal.status


def _example(refusal: type[RequestRefused], missing: str) -> Json:
    errors = {"errors": {missing: ["Missing data for required field."]}} if refusal is InvalidInput else {}
    return {**_detail(refusal.detail), "code": refusal.code, **errors}


def _detail(text: str) -> Json:
    return {"detail": text}


def _detail_schema(*, more: bool) -> Json:
    description = "The log-in's own fields, such as a token, stand beside it." if more else "A text for people."
    return {
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string", "description": description}},
        "additionalProperties": more,
    }


def _reference(component: str) -> Json:
    return {"$ref": f"#/components/schemas/{component}"}
