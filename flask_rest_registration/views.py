"""The endpoints: reading JSON within limits, and answering with the one shape of errors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from flask import Blueprint, Request, Response, current_app, jsonify, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    InternalServerError,
    RequestEntityTooLarge,
    default_exceptions,
)
from werkzeug.local import LocalProxy

from .exceptions import (
    CompressedBody,
    LengthRequired,
    ParseError,
    RequestRefused,
    RequestTooLarge,
    UnsupportedMediaType,
)
from .serializers.storable import DEEPEST_NESTING, refuse_unstorable
from .state import EXTENSION_KEY, AppState
from .translations.texts import gettext
from .workflows import email_first
from .workflows.register import register
from .workflows.resend import RESENT, resend
from .workflows.verify import VERIFIED, verify

_LONGEST_BODY = 64 * 1024


def add_views(blueprint: Blueprint) -> None:
    """Give a blueprint the endpoints, error handlers and headers, before an app registers it.

    The endpoints stand on the host that the option ``host`` of its registration names, if it names one.
    """
    blueprint.record(_add_rules)
    blueprint.register_error_handler(RequestRefused, _answer_refusal)
    # Code by code too, since an application's handler for a code would win over one for HTTPException.
    kinds: list[type[Exception] | int] = [HTTPException, *default_exceptions]
    for kind in kinds:
        blueprint.register_error_handler(kind, _answer_http_exception)
    blueprint.after_request(_forbid_storing)


def _add_rules(setup: BlueprintSetupState) -> None:
    routes: dict[str, Callable[[], ResponseReturnValue]] = {
        "register": _register,
        "verify-registration": _verify_registration,
        "check-link": _check_link,
        "resend-verification": _resend_verification,
    }
    for path, view in routes.items():
        # Two rules, since one with strict_slashes=False answers other methods without the slash by 404.
        for rule in (f"/{path}/", f"/{path}"):
            setup.add_url_rule(rule, path, view, methods=["POST"], host=setup.options.get("host"))


def _register() -> tuple[Response, int]:
    state, request = _current()
    if state.settings.register_email_first:
        email_first.register(state, _read_json, request=request)
        return jsonify(detail=gettext(email_first.ASKED)), 202
    return jsonify(register(state, _read_json, request=request, output=state.serializers.profile)), 201


def _verify_registration() -> tuple[Response, int]:
    state, request = _current()
    verified = verify(state, _read_json, request=request, output=state.serializers.profile)
    if not verified.is_new:
        return jsonify({**verified.added, "detail": gettext(VERIFIED)}), 200
    shown = verified.shown
    return jsonify({**shown, **verified.added} if isinstance(shown, Mapping) else shown), 201


def _check_link() -> Response:
    state, _ = _current()
    return jsonify(email=email_first.check_link(state, _read_json))


def _resend_verification() -> tuple[Response, int]:
    state, request = _current()
    resend(state, _read_json, request=request)
    return jsonify(detail=gettext(RESENT)), 202


def _current() -> tuple[AppState, Request]:
    """Return the current app's state and the request itself, not Flask's proxy."""
    proxy = cast("LocalProxy[Request]", request)  # Flask types it as the request that it stands for
    return current_app.extensions[EXTENSION_KEY], proxy._get_current_object()  # noqa: SLF001  # werkzeug's documented name


def _forbid_storing(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _answer_refusal(refusal: RequestRefused) -> tuple[Response, int, Mapping[str, str]]:
    return jsonify(refusal.as_dict()), refusal.status, refusal.headers


def _answer_http_exception(error: HTTPException) -> ResponseReturnValue:
    """Put an HTTPException of the application (its CSRF check, its rate limit) into our shape."""
    if isinstance(error, InternalServerError) and error.original_exception is not None:
        return _answer_of_application(error)
    if isinstance(error, RequestEntityTooLarge):
        body = RequestTooLarge().as_dict()
    else:
        slug = re.sub(r"[^a-z0-9]+", "-", error.name.lower()).strip("-")
        body = {"detail": str(error.description or error.name), "code": slug}
    response = jsonify(body)
    theirs = error.get_response()  # other pages may share it: only its status and headers are taken
    response.status_code = theirs.status_code
    response.headers.extend(
        (name, value) for name, value in theirs.headers if name.lower() not in {"content-type", "content-length"}
    )
    return response


def _answer_of_application(error: InternalServerError) -> ResponseReturnValue:
    """Leave an unexpected exception to the application's own handler, or to Flask."""
    handlers = current_app.error_handler_spec[None]
    for code in (error.code, None):
        for kind in type(error).__mro__:
            if handler := handlers[code].get(kind):
                answer: ResponseReturnValue = current_app.ensure_sync(handler)(error)
                return answer
    return error


def _read_json() -> Any:
    """Return the body's JSON.

    :raises RequestRefused: if it is too large, compressed, swallowed by the server, not JSON in strict UTF-8, or has
        texts that no database stores.
    """
    allowed = request.max_content_length  # Flask's: MAX_CONTENT_LENGTH, or what a before_request set
    limit = _LONGEST_BODY if allowed is None else min(_LONGEST_BODY, allowed)
    # One byte more: a body without Content-Length is silently cut off at this limit.
    request.max_content_length = limit + 1
    try:
        body = request.get_data()
    except Exception as error:  # a server's own class, such as gunicorn's for what are no chunks
        if isinstance(error, HTTPException) and not isinstance(error, ClientDisconnected):
            raise
        raise ParseError from None
    if len(body) > limit:
        raise RequestTooLarge
    # Of a server that does not say where the chunks end, such as uWSGI or an adapter of ASGI, werkzeug reads nothing.
    if not body and "Transfer-Encoding" in request.headers and "wsgi.input_terminated" not in request.environ:
        raise LengthRequired
    if (request.content_encoding or "identity").lower() != "identity":
        raise CompressedBody
    if not request.is_json:
        raise UnsupportedMediaType
    try:
        parsed = _STRICT_JSON.decode(body.decode())
    except (ValueError, RecursionError):
        raise ParseError from None
    # Surrogates and NUL can only come from escapes: UTF-8 and JSON exclude them otherwise.
    if b"\\u" in body or body.count(b"[") + body.count(b"{") > DEEPEST_NESTING:
        refuse_unstorable(parsed)
    return parsed


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


_STRICT_JSON = json.JSONDecoder(parse_constant=_finite, parse_float=_finite)
