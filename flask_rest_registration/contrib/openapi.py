"""The endpoints as OpenAPI 3.1, made by apispec from the settings and schemas in use.

It needs the extra: ``pip install 'flask-rest-registration[openapi]'``.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from apispec import APISpec
from apispec.yaml_utils import dict_to_yaml
from flask import Flask, current_app, has_request_context, request
from marshmallow import EXCLUDE, Schema

from ..exceptions import (
    WHOLE_OBJECT,
    CodeInvalid,
    ConfigurationError,
    DatabaseUnavailable,
    EmailNotSent,
    InvalidInput,
    LengthRequired,
    NotFound,
    ParseError,
    RequestRefused,
    RequestTooLarge,
    SignatureExpired,
    SignatureInvalid,
    UnsupportedMediaType,
    UserWithoutEmailNonverifiable,
)
from ..login import log_in_with_flask_login
from ..model.pending import LINK_FIELDS
from ..serializers.schemas import (
    BROKEN_LINK,
    ENTER_ADDRESS,
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    ResendVerificationSerializer,
    VerifyRegistrationSerializer,
)
from ..state import EXTENSION_KEY, AppState, app_state
from ..workflows.email_first import ASKED
from ..workflows.resend import RESENT
from ..workflows.verify import VERIFIED
from .openapi_schemas import ADDRESS, PREFIX, Json, SchemaComponents, example_of

_VERSION = "3.1.0"

_Refusals = tuple[type[RequestRefused], ...]

_ALWAYS: _Refusals = (
    *(InvalidInput, ParseError, LengthRequired, RequestTooLarge),
    *(UnsupportedMediaType, DatabaseUnavailable),
)
_OF_LINKS: _Refusals = (SignatureInvalid, SignatureExpired)

#: The headers of refusals by their status.
_HEADERS: dict[int, Json] = {
    415: {
        "Accept-Encoding": {
            "description": "Is there where the body was compressed.",
            "schema": {"type": "string", "enum": ["identity"]},
        }
    },
    503: {
        "Retry-After": {
            "description": "The seconds after which to send the same request again.",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
        }
    },
}

_BY_LINK = (
    "Takes the values of the query string of the link that was mailed, and ignores others, which mail services append."
)
_ON_A_CLICK = (
    f"{_BY_LINK} Send them when somebody presses a button, and not when the page is opened: mail scanners open links,"
    " and run scripts."
)

_FOR_PEOPLE = "A text for people."
_BESIDE_LOG_IN = "The log-in's own fields, such as a token, stand beside it."

_ERROR = f"{PREFIX}Error"
_ERROR_SCHEMA: Json = {
    "type": "object",
    "description": "Every refusal. `errors` is there with the code `invalid` only.",
    "required": ["detail", "code"],
    "properties": {
        "detail": {"type": "string", "description": _FOR_PEOPLE},
        "code": {"type": "string", "description": "What happened, for programs."},
        "errors": {
            "type": "object",
            "description": "Texts for people by field; a fault of the object as a whole stands under `_schema`.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
    },
    "additionalProperties": False,
}


def openapi(app: Flask, *, title: str = PREFIX, version: str | None = None, servers: Sequence[str] = ()) -> Json:
    """Describe the endpoints of an app that are switched on.

    :param app: an app that the extension is initialised on.
    :param title: the title of the document.
    :param version: the version of the API that it describes; by default that of this package.
    :param servers: the URLs that the paths of the document are below. By default it is what the app knows: the prefix
        by the current request or APPLICATION_ROOT, and the host by HOST or SUBDOMAIN; else ``/``.
    :returns: an OpenAPI 3.1 document as a plain dict.
    :raises ConfigurationError: if the app lacks something.
    """
    version = importlib.metadata.version("flask-rest-registration") if version is None else version
    spec = APISpec(title, version, _VERSION)
    spec.tag({"name": PREFIX, "description": "Sign-up with verification of the e-mail address."})
    add_to(spec, app)
    document = spec.to_dict()
    # What it is stands before what is in it.
    head = {name: document.pop(name) for name in ("openapi", "info")}
    return {**head, "servers": [{"url": url} for url in servers or [_server_of(app)]], **document}


def _server_of(app: Flask) -> str:
    """Return what stands before the paths: the host, where it is a fixed one, and the prefix that a proxy adds."""
    settings = app_state(app).settings
    is_asked = has_request_context() and current_app == app
    prefix = request.root_path if is_asked else app.config["APPLICATION_ROOT"].rstrip("/")
    host = settings.host or (f"{settings.subdomain}.{app.config['SERVER_NAME']}" if settings.subdomain else None)
    scheme = request.scheme if is_asked else app.config["PREFERRED_URL_SCHEME"]
    return f"{scheme}://{host}{prefix}" if host else prefix or "/"


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
        state = app_state(app).ready()
        if not state.has_endpoints:
            raise ConfigurationError(
                "The app has no endpoints to describe: it has RestRegistration(endpoints=False). Fix: remove that, or"
                " do without this document."
            )
        described = _Description(state, str(spec.openapi_version))
        for name, component in described.components.items():
            spec.components.schema(name, component)
        for endpoint, operation in described.operations.items():
            rule = next(iter(app.url_map.iter_rules(f"{EXTENSION_KEY}.{endpoint}")))
            # Plugins for Flask, such as flask-smorest's, need a rule or a view; others ignore them.
            view = app.view_functions[rule.endpoint]
            spec.path(rule.rule, operations={"post": operation}, rule=rule, view=view, app=app)


class _Answer(NamedTuple):
    status: int
    description: str
    component: str
    example: Json | None

    def described(self) -> Json:
        """Return the OpenAPI response."""
        return {"description": self.description, "content": _content(_reference(self.component), self.example)}


class _Body(NamedTuple):
    schema: Json
    missing: str  # the name of a field that may be missing, for an example
    example: Json | None
    examples: Mapping[str, Json | None] | None = None  # several in place of one, by their names


class _Description:
    """The operations and components of one app."""

    def __init__(self, state: AppState, openapi_version: str) -> None:
        self._settings = settings = state.settings
        self._serializers = state.serializers
        self._schemas = SchemaComponents(state.app, settings, openapi_version)
        self._email_name, self._attributes = state.model.email.name, set(state.model.mapper.attrs.keys())
        self.operations: dict[str, Json] = {}
        if settings.register_flow_enabled and settings.register_email_first:
            schema = self._serializers.register_email()
            description = (
                "Mails a link to the address, or a notice where it has an account. Everybody is answered alike. The"
                " account is made by `verify-registration`, by whoever reads the mail."
            )
            self._add_mail_request("register", "Sign up with an address", description, schema=schema, detail=ASKED)
            self._add_check_link()
        elif settings.register_flow_enabled:
            self._add_register()
        if settings.register_verification_enabled:
            self._add_verify()
        if settings.register_verification_resend_enabled:
            schema = ResendVerificationSerializer()
            description = (
                "Mails a new link where an account with this address waits for its verification. Everybody is answered"
                " alike. The time until the next mail to an address doubles with each one."
            )
            summary = "Ask for the link again"
            self._add_mail_request("resend-verification", summary, description, schema=schema, detail=RESENT)

    @property
    def components(self) -> dict[str, Json]:
        """The JSON Schema of each component by its name."""
        more = self._log_in_adds_fields
        fixed = {
            f"{PREFIX}Detail": _object("detail", _FOR_PEOPLE),
            f"{PREFIX}Verified": _object("detail", _BESIDE_LOG_IN if more else _FOR_PEOPLE, more=more),
            f"{PREFIX}LinkAddress": _object("email", "The address that the link proves."),
        }
        used = str(self.operations)
        fixed = {name: schema for name, schema in fixed.items() if repr(_reference(name)) in used}
        return {**self._schemas.by_name(), **fixed, _ERROR: _ERROR_SCHEMA}

    @property
    def _log_in_adds_fields(self) -> bool:
        settings = self._settings
        return settings.register_verification_auto_login and settings.login_handler is not log_in_with_flask_login

    def _add_register(self) -> None:
        settings, refusals = self._settings, _ALWAYS
        if settings.register_verification_enabled:
            refusals += (EmailNotSent,)
            if settings.register_serializer_class is not DefaultRegisterUserSerializer:  # which requires an address
                refusals += (UserWithoutEmailNonverifiable,)
        body = self._body(f"{PREFIX}SignUp", self._serializers.register())
        mailed = ", and mails the link that verifies its address" if settings.register_verification_enabled else ""
        description = f"Makes an account{mailed}. Any other answer than 201 leaves no account behind."
        answers = [self._account(more=False)]
        self._add("register", "Sign up", description, body=body, answers=answers, refusals=refusals)

    def _add_mail_request(self, endpoint: str, summary: str, description: str, *, schema: Schema, detail: str) -> None:
        """Add an endpoint that sends a mail and answers everybody alike."""
        body = self._body(f"{PREFIX}Address", schema)
        answer = _Answer(202, "Accepted, whether or not there is an account.", f"{PREFIX}Detail", _detail(detail))
        self._add(endpoint, summary, description, body=body, answers=[answer], refusals=(*_ALWAYS, EmailNotSent))

    def _add_check_link(self) -> None:
        answer = _Answer(200, "The link is good; nothing has changed.", f"{PREFIX}LinkAddress", {"email": ADDRESS})
        summary, refusals = "Ask which address a link proves", (*_ALWAYS, *_OF_LINKS)
        description = f"{_BY_LINK} Nothing changes, so that a page may ask when it is opened."
        self._add("check-link", summary, description, body=self._link(), answers=[answer], refusals=refusals)

    def _add_verify(self) -> None:
        settings, body, refusals = self._settings, self._link(), (*_ALWAYS, *_OF_LINKS)
        answers = [_Answer(200, "The account is verified.", f"{PREFIX}Verified", _detail(VERIFIED))]
        description = _ON_A_CLICK
        if settings.register_email_first and settings.register_flow_enabled:
            proofs, fields = {"link": body}, self._body(f"{PREFIX}AccountFields", self._account_fields())
            if settings.register_verification_code_enabled:
                proofs["code"] = self._body(f"{PREFIX}Code", self._serializers.verify_code())
                refusals += (CodeInvalid,)
            # A link alone verifies an account that was made at sign-up.
            kinds = [*({"allOf": [{**proof.schema}, {**fields.schema}]} for proof in proofs.values()), body.schema]
            examples = {name: _merged(proof.example, fields.example) for name, proof in proofs.items()}
            examples["account at sign-up"] = _merged(body.example, {"user_id": "1"})
            body = _Body({"anyOf": kinds}, body.missing, None, examples)
            answers.append(self._account(more=self._log_in_adds_fields))
            description += " With the fields of an account it makes the account, which is verified then."
        elif settings.register_email_first:  # a link from before sign-up was switched off
            refusals += (NotFound,)
        summary = "Verify the address with the link or code"
        self._add("verify-registration", summary, description, body=body, answers=answers, refusals=refusals)

    def _body(self, component: str, schema: Schema) -> _Body:
        self._schemas.add_read(component, schema)
        required = (field.data_key or name for name, field in schema.load_fields.items() if field.required)
        return _Body(_reference(component), next(required, WHOLE_OBJECT), self._example(component))

    def _example(self, component: str) -> Json | None:
        return example_of(self._schemas.by_name()[component], email=self._email_name)

    def _link(self) -> _Body:
        return self._body(f"{PREFIX}Link", VerifyRegistrationSerializer())

    def _account_fields(self) -> Schema:
        """Return the register schema without the address, which link or code prove; unknown fields are ignored."""
        schema, address = copy(self._serializers.register()), self._email_name
        schema.partial = tuple(n for n, field in schema.load_fields.items() if (field.attribute or n) == address)
        schema.unknown = EXCLUDE
        return schema

    def _account(self, *, more: bool) -> _Answer:
        name = f"{PREFIX}Account"
        complete = self._settings.register_output_serializer_class is DefaultUserProfileSerializer
        schema = self._serializers.profile()
        self._schemas.add_shown(name, schema, self._attributes, complete=complete, more=more)
        return _Answer(201, "The account is stored.", name, self._example(name))

    def _add(
        self,
        endpoint: str,
        summary: str,
        description: str,
        *,
        body: _Body,
        answers: list[_Answer],
        refusals: _Refusals,
    ) -> None:
        self.operations[endpoint] = {
            "operationId": endpoint.replace("-", "_"),
            "summary": summary,
            "description": description,
            "tags": [PREFIX],
            "security": [],  # no log-in is needed, whatever the rest of the document requires
            "requestBody": {"required": True, "content": _content(body.schema, body.example, body.examples)},
            "responses": {
                **{str(answer.status): answer.described() for answer in answers},
                **dict(_refused(refusals, missing=body.missing)),
            },
        }


def _refused(refusals: _Refusals, *, missing: str) -> Iterator[tuple[str, Json]]:
    """Describe refusals, one response for each status."""
    by_status = attrgetter("status")
    for status, group in groupby(sorted(refusals, key=by_status), key=by_status):
        same = list(group)
        code = {"type": "string", "enum": [refusal.code for refusal in same]}
        schema = {"allOf": [_reference(_ERROR), {"type": "object", "properties": {"code": code}}]}
        yield (
            str(status),
            {
                "description": "\n".join(f"- `{refusal.code}`: {refusal.text}" for refusal in same),
                **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
                "content": _content(schema, examples={refusal.code: _example(refusal, missing) for refusal in same}),
            },
        )


def _content(schema: Json, example: Json | None = None, examples: Mapping[str, Json | None] | None = None) -> Json:
    """Describe a body, with its example or with several by their names, as far as they are known."""
    known = {name: {"value": value} for name, value in (examples or {}).items() if value}
    shown = {"examples": known} if known else {"example": example} if example else {}
    return {"application/json": {"schema": schema, **shown}}


def _merged(*examples: Json | None) -> Json | None:
    """Put the fields of several examples together, if all of them are known."""
    known = [example for example in examples if example is not None]
    return {name: value for each in known for name, value in each.items()} if len(known) == len(examples) else None


def _example(refusal: type[RequestRefused], missing: str) -> Json:
    text = BROKEN_LINK if missing in LINK_FIELDS else ENTER_ADDRESS
    errors = {"errors": {missing: [text]}} if refusal is InvalidInput else {}
    return {**_detail(refusal.text), "code": refusal.code, **errors}


def _detail(text: str) -> Json:
    return {"detail": text}


def _object(name: str, description: str, *, more: bool = False) -> Json:
    return {
        "type": "object",
        "required": [name],
        "properties": {name: {"type": "string", "description": description}},
        "additionalProperties": more,
    }


def _reference(component: str) -> Json:
    return {"$ref": f"#/components/schemas/{component}"}
