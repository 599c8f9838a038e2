"""Every answer of the endpoints held against the OpenAPI document of its app, wherever a test provokes it.

The answers that are ours, and so have to be as described: what a view of ours returns, and what it raises as a
``RequestRefused`` or because of the body's length. Not ours is what the application says before the view or inside it:
a response of its ``before_request``, an ``HTTPException`` of its rate limit or of a hook, an unexpected exception. Of
these only the shape of refusals is told (``docs/openapi.rst``), and an ``HTTPException`` inside the view is held
against that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, request
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wsgi import ClosingIterator

from flask_rest_registration.contrib.openapi import openapi
from flask_rest_registration.exceptions import RequestRefused

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Document = dict[str, Any]

ENDPOINTS: Final = ("register", "verify-registration", "check-link", "resend-verification")
JSON: Final = "application/json"

_REFUSAL: Final = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/RegistrationError"}}}}
_OURS: Final = "described.ours"
_CHECKER: Final = FormatChecker(["email", "date-time", "date", "time", "uuid"])
assert set(_CHECKER.checkers) == {"email", "date-time", "date", "time", "uuid"}, "jsonschema lacks a format"


def faults(document: Document, schema: dict[str, Any], value: object) -> list[str]:
    """Return what a JSON Schema of the document finds wrong with a value."""
    return [error.message for error in _validator(document, schema).iter_errors(value)]


def _validator(document: Document, schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]}, format_checker=_CHECKER)


def check_answers(app: Flask, model: object) -> None:
    """Let an app raise ``AssertionError`` for an answer of the endpoints that is not as its document says.

    :param model: what the app's user model was made by: apps of one model, with equal settings, have one document.
    """
    app.wsgi_app = _Checked(app, model)  # type: ignore[method-assign]  # as Flask's manual has it
    for endpoint in ENDPOINTS:
        name = f"rest_registration.{endpoint}"
        if name in app.view_functions:
            app.view_functions[name] = _noting(app.view_functions[name], endpoint)


def _noting(view: Callable[..., Any], endpoint: str) -> Callable[..., Any]:
    """Note in the environment of the request whether its answer is ours, and of which endpoint."""

    @wraps(view)
    def noted(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = view(*args, **kwargs)
        except (RequestRefused, RequestEntityTooLarge):
            request.environ[_OURS] = endpoint
            raise
        except HTTPException:
            request.environ[_OURS] = ""
            raise
        request.environ[_OURS] = endpoint
        return answer

    return noted


class _Checked:
    """A WSGI application around that of an app, which sees what is sent."""

    def __init__(self, app: Flask, model: object) -> None:
        self._app = app
        self._inner = app.wsgi_app
        self._model = model

    @cached_property
    def _answers(self) -> _Answers:
        """The description of the app's answers, made when there is a first one."""
        config = self._app.config
        settings = {name: config[name] for name in sorted(config) if name.startswith("REST_REGISTRATION")}
        # The settings stay with the description, so that no other object gets an address that stands in the key.
        key = (self._model, repr(settings), type(self._app.json))
        if key not in _known:
            _known[key] = _Answers(openapi(self._app)), settings
        return _known[key][0]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            started.append((status, headers))
            return start_response(status, headers, exc_info)

        answer = self._inner(environ, start)
        if _OURS not in environ:
            return answer
        body = b"".join(answer)
        status, headers = started[-1]
        self._answers.check(environ[_OURS], status.split()[0], Headers(headers), body)
        return ClosingIterator([body], getattr(answer, "close", None))


class _Answers:
    """What a document says of the answers."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._validators: dict[tuple[str, str], Draft202012Validator] = {}
        self._proper: set[tuple[str, str, bytes]] = set()  # the bodies that were found to be so: most are alike

    def check(self, endpoint: str, status: str, headers: Headers, body: bytes) -> None:
        """Raise ``AssertionError`` if status, headers or body are not as the document says.

        :param endpoint: one of ours, or nothing for an ``HTTPException`` of the application's.
        """
        described = self._described(endpoint, status)
        assert described is not None, f"{endpoint} answers {status}, which its document does not have: {body!r}"
        assert headers.get("Content-Type") == JSON
        for name, header in described.get("headers", {}).items():
            text = headers.get(name)
            assert text or not header.get("required"), f"{endpoint} answers {status} without {name}"
            value = int(text) if text and header["schema"]["type"] == "integer" else text
            assert text is None or not faults(self._document, header["schema"], value), f"{name}: {text}"
        if (endpoint, status, body) in self._proper:
            return
        if (endpoint, status) not in self._validators:
            schema = described["content"][JSON]["schema"]
            self._validators[endpoint, status] = _validator(self._document, schema)
        wrong = [error.message for error in self._validators[endpoint, status].iter_errors(json.loads(body))]
        assert not wrong, f"{endpoint} answers {status} with {body!r}, and its document says: {wrong}"
        self._proper.add((endpoint, status, body))

    def _described(self, endpoint: str, status: str) -> Any:
        """Return the response of the document; an endpoint that is switched off has none, and is not found."""
        for path in self._document["paths"].values():
            if path["post"]["operationId"] == endpoint.replace("-", "_"):
                return path["post"]["responses"].get(status)
        return _REFUSAL if status == "404" or not endpoint else None


_known: Final[dict[tuple[object, ...], tuple[_Answers, object]]] = {}
