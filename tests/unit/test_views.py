"""HTTP in, HTTP out: the shape of errors, the limits of the body, and what stays the application's."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from flask import Flask, Response, abort, request
from marshmallow import Schema, fields
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, InternalServerError, TooManyRequests, Unauthorized
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from tests.support.answers import field_errors, refused
from tests.support.apps import CHECK_LINK, OMITTED, REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.links import changed, link_in, values_of, with_other_character
from tests.support.mail_servers import RecordingServer

BOTH = [REGISTER, VERIFY]
LIMIT = 64 * 1024
JSON = "application/json"


EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True}

#: Every endpoint, with the settings by which it is there or works in another way.
ENDPOINTS: dict[str, tuple[str, dict[str, object]]] = {
    "register": (REGISTER, {}),
    "verify-registration": (VERIFY, {}),
    "register, e-mail first": (REGISTER, EMAIL_FIRST),
    "verify-registration, e-mail first": (VERIFY, EMAIL_FIRST),
    "check-link": (CHECK_LINK, EMAIL_FIRST),
    "resend-verification": (RESEND, {"REGISTER_VERIFICATION_RESEND_ENABLED": True}),
}


@pytest.fixture(name="built")
def usual_app(build: Builder) -> Built:
    return build()


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest, build: Builder) -> tuple[Built, str]:
    """An app and one of its endpoints."""
    path, settings = ENDPOINTS[request.param]
    return build(pending=True, registration=settings), path


def padded(body: dict[str, object], length: int) -> bytes:
    """Return a body's JSON of exactly this many bytes."""
    text = json.dumps(body).encode()
    assert len(text) <= length
    return text + b" " * (length - len(text))


# The shape and every code


class WithoutAddress(Schema):
    username = fields.String(required=True)
    password = fields.String(required=True)


def _expired(build: Builder, smtp: RecordingServer, clock: Clock) -> TestResponse:
    built = build()
    built.register()
    clock.move(8 * 24 * 3600)
    return built.verify(link_in(smtp.message))


def _forged(build: Builder, smtp: RecordingServer, clock: Clock) -> TestResponse:
    built = build()
    built.register()
    values = values_of(link_in(smtp.message))
    return built.verify(changed(values, signature=with_other_character(values["signature"], 0)))


def _without_address(build: Builder, smtp: RecordingServer, clock: Clock) -> TestResponse:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": WithoutAddress})
    return built.register(email=OMITTED, password_confirm=OMITTED)


def _without_mail_server(build: Builder, smtp: RecordingServer, clock: Clock) -> TestResponse:
    smtp.stop()
    return build().register()


def _without_database(build: Builder, smtp: RecordingServer, clock: Clock) -> TestResponse:
    return build(database_uri="sqlite:////no/such/folder/app.db", tables=False).register()


def _wrong_code(build: Builder, smtp: RecordingServer, clock: Clock) -> TestResponse:
    built = build(pending=True, registration=EMAIL_FIRST)
    return built.post(VERIFY, {**built.body(), "code": "123456"})


PROVOKED: dict[str, tuple[int, Callable[[Builder, RecordingServer, Clock], TestResponse]]] = {
    "invalid": (400, lambda build, smtp, clock: build().post(REGISTER, {"email": "no address"})),
    "parse-error": (400, lambda build, smtp, clock: build().post(REGISTER, data=b"{", content_type=JSON)),
    "signature-invalid": (400, _forged),
    "signature-expired": (400, _expired),
    "user-without-email-nonverifiable": (400, _without_address),
    "not-found": (404, lambda build, smtp, clock: build(registration={"REGISTER_FLOW_ENABLED": False}).register()),
    "request-too-large": (
        413,
        lambda build, smtp, clock: build().post(REGISTER, data=b" " * 99_999, content_type=JSON),
    ),
    "unsupported-media-type": (415, lambda build, smtp, clock: build().post(REGISTER, data={"email": "a@b.example"})),
    "code-invalid": (400, _wrong_code),
    "email-not-sent": (503, _without_mail_server),
    "database-unavailable": (503, _without_database),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_each_refusal_has_its_status_its_code_and_the_one_shape(
    build: Builder, smtp: RecordingServer, clock: Clock, code: str
) -> None:
    status, provoke = PROVOKED[code]
    refused(provoke(build, smtp, clock), status, code)


def test_successes_are_json_that_is_not_stored(built: Built, smtp: RecordingServer) -> None:
    for response in (built.register(), built.verify(link_in(smtp.message))):
        assert response.mimetype == JSON
        assert response.headers["Cache-Control"] == "no-store"


# The body: its length


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    ("configured", "limit"), [(None, LIMIT), (200, 200), (LIMIT + 1, LIMIT), (16 * 1024 * 1024, LIMIT)]
)
def test_a_body_may_have_64_kib_or_the_applications_limit_whichever_is_smaller(
    build: Builder, name: str, configured: int | None, limit: int
) -> None:
    path, settings = ENDPOINTS[name]
    built = build(pending=True, registration=settings, config={"MAX_CONTENT_LENGTH": configured})
    # Neither link nor code is a fault of the whole.
    faults = {"_schema"} if name == "verify-registration, e-mail first" else set()
    fits = built.post(path, data=padded({}, limit), content_type=JSON)
    assert {"_schema"} & set(field_errors(fits)) == faults
    refused(built.post(path, data=padded({}, limit + 1), content_type=JSON), 413, "request-too-large")


def test_a_limit_that_the_application_sets_for_one_request_counts(build: Builder) -> None:
    def lower_the_limit() -> None:
        request.max_content_length = 50

    built = build(before_init=lambda app: app.before_request(lower_the_limit))
    assert field_errors(built.post(REGISTER, data=padded({}, 50), content_type=JSON))
    refused(built.post(REGISTER, data=padded({}, 51), content_type=JSON), 413, "request-too-large")


def test_a_body_that_the_application_has_read_before_is_limited_too(build: Builder) -> None:
    built = build(before_init=lambda app: app.before_request(lambda: request.get_data() and None))
    assert built.post(REGISTER, data=padded(built.body(), LIMIT), content_type=JSON).status_code == 201
    refused(built.post(REGISTER, data=padded({}, LIMIT + 1), content_type=JSON), 413, "request-too-large")


@pytest.fixture
def served(build: Builder) -> Iterator[Callable[..., tuple[int, dict[str, Any]]]]:
    """Run apps on a real WSGI server; the fixture's value posts chunked bodies to ``register/``."""
    servers = []

    def post_chunked(body: bytes, **config: object) -> tuple[int, dict[str, Any]]:
        server = make_server("127.0.0.1", 0, build(config=config).app, threaded=True)
        server.log_request = lambda *_: None  # type: ignore[attr-defined]
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return _exchange(server.port, _chunked(body))

    yield post_chunked
    for server in servers:
        server.shutdown()
        server.server_close()


def _chunked(body: bytes) -> bytes:
    head = (
        f"POST /api/v1/accounts/{REGISTER} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
        "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    pieces = [body[start : start + 4000] for start in range(0, len(body), 4000)]
    return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def _exchange(port: int, sent: bytes) -> tuple[int, dict[str, Any]]:
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)  # werkzeug's server reads to the end of what it refuses
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


GOOD: dict[str, object] = {
    "email": "ann@example.com",
    "username": "ann",
    "password": "violet-anchor-47-tundra",
    "password_confirm": "violet-anchor-47-tundra",
}


@pytest.mark.parametrize(
    ("length", "configured", "status"),
    [
        (300, None, 201),
        (LIMIT, None, 201),
        (LIMIT + 1, None, 413),
        (4 * LIMIT, None, 413),
        (LIMIT + 1, 4 * LIMIT, 413),
        (200, 200, 201),
        (201, 200, 413),
        (201, 201, 201),
        (202, 201, 413),
    ],
)
def test_a_chunked_body_has_the_same_limit(
    served: Callable[..., tuple[int, dict[str, Any]]], length: int, configured: int | None, status: int
) -> None:
    answered, body = served(padded(GOOD, length), MAX_CONTENT_LENGTH=configured)
    assert (answered, body.get("code")) == (status, "request-too-large" if status == 413 else None)


# The body: its media type, its encoding, its JSON


@pytest.mark.parametrize(
    "media_type",
    [JSON, "Application/JSON", f"{JSON}; charset=utf-8", f"{JSON}; charset=iso-8859-1", "application/vnd.api+json"],
)
def test_what_is_announced_as_json_is_read_as_utf_8(built: Built, media_type: str) -> None:
    body = json.dumps(built.body(username="åse"), ensure_ascii=False).encode()
    assert built.post(REGISTER, data=body, content_type=media_type).status_code == 201
    assert built.row()["username"] == "åse"


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "%"],
)
def test_another_media_type_is_415(endpoint: tuple[Built, str], media_type: str | None) -> None:
    built, path = endpoint
    body = json.dumps(built.body()).encode()
    refused(built.post(path, data=body, content_type=media_type), 415, "unsupported-media-type")
    assert built.rows() == built.pending_rows() == []


NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b" ",
    "cut off": b'{"email": "a',
    "trailing comma": b'{"email": "a@example.com",}',
    "single quotes": b"{'email': 'a@example.com'}",
    "trailing text": b"{} {}",
    "comment": b"{} // comment",
    "NaN": b'{"age": NaN}',
    "Infinity": b'{"age": Infinity}',
    "-Infinity": b'{"age": -Infinity}',
    "1e999": b'{"age": 1e999}',
    "-1e999": b'{"age": -1e999}',
    "5000 digits": b'{"age": ' + b"9" * 5000 + b"}",
    "NUL": b'{"email": "\x00"}',
    "NUL outside": b"{}\x00",
    "line feed in text": b'{"email": "\n"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"email": "a"}'.encode("utf-16"),
    "UTF-16 without mark": '{"email": "a"}'.encode("utf-16-le"),
    "UTF-32": '{"email": "a"}'.encode("utf-32"),
    "Latin-1": '{"email": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"email": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"email": "\xed\xa0\x80"}',
    "beyond Unicode": b'{"email": "\xf4\x90\x80\x80"}',
    "wrong escape": b'{"email": "\\x41"}',
    "deep lists": b"[" * 30_000,
    "deep lists, closed": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_not_strict_utf_8_json_is_a_parse_error(endpoint: tuple[Built, str], name: str) -> None:
    built, path = endpoint
    refused(built.post(path, data=NO_JSON[name], content_type=JSON), 400, "parse-error")


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    ("depth", "code"),
    [(10, "invalid"), (63, "invalid"), *((depth, "parse-error") for depth in (64, 65, 500, 900, 1100, 5000))],
)
def test_a_value_nested_64_times_is_not_parsed(built: Built, path: str, depth: int, code: str) -> None:
    lists, objects = [("[", "]")] * depth, [('{"email":', "}")] * depth
    for pairs in (lists, objects, [*lists[::2], *objects[1::2]]):
        opening, closing = ("".join(parts) for parts in zip(*pairs, strict=True))
        body = f'{{"email": {opening}1{closing[::-1]}}}'
        refused(built.post(path, data=body, content_type=JSON), 400, code)


@pytest.mark.parametrize("body", ["[]", '[{"email": "a@example.com"}]', '"text"', "1", "1.5", "true", "null"])
def test_what_is_no_object_is_a_fault_of_the_object_as_a_whole(endpoint: tuple[Built, str], body: str) -> None:
    built, path = endpoint
    assert list(field_errors(built.post(path, data=body, content_type=JSON))) == ["_schema"]


def test_of_duplicate_keys_the_last_counts(built: Built) -> None:
    body = json.dumps(built.body())
    twice = '{"email": "first@example.com", "email": "second@example.com", ' + body[1:]
    assert built.post(REGISTER, data=twice, content_type=JSON).status_code == 201
    assert built.row()["email"] == "ann@example.com"
    assert list(field_errors(built.post(REGISTER, data=body[:-1] + ', "email": 1}', content_type=JSON))) == ["email"]


@pytest.mark.parametrize("text", ["\0", "a\0b", "\udfff", "a\udc00b"], ids=ascii)
@pytest.mark.parametrize("field", ["email", "username", "password", "password_confirm"])
def test_nul_and_lone_surrogates_are_an_error_at_their_field(built: Built, field: str, text: str) -> None:
    body = built.body(**{field: f"ann{text}@example.com violet-anchor-47"})
    response = built.post(REGISTER, data=json.dumps(body), content_type=JSON)
    assert field in field_errors(response)
    assert built.rows() == []


@pytest.mark.parametrize("text", ["\0", "\ud800"], ids=ascii)
@pytest.mark.parametrize("field", ["user_id", "timestamp", "signature"])
def test_nul_and_lone_surrogates_in_a_link_are_an_error_at_their_field(
    built: Built, smtp: RecordingServer, field: str, text: str
) -> None:
    built.register()
    values = values_of(link_in(smtp.message))
    response = built.post(VERIFY, data=json.dumps(changed(values, **{field: values[field] + text})), content_type=JSON)
    assert list(field_errors(response)) == [field]


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("name", ["\0", "email\0", "\ud800", "ü", "x" * 10_000, "", " ", "__proto__"], ids=ascii)
def test_strange_names_of_fields_are_a_bad_request(built: Built, path: str, name: str) -> None:
    field_errors(built.post(path, data=json.dumps({**built.body(), name: "x"}), content_type=JSON))
    assert built.rows() == []


def test_characters_beyond_16_bits_may_be_sent_as_escapes(built: Built) -> None:
    body = json.dumps(built.body(username="\U0001f600 ann"))
    assert "\\ud83d\\ude00" in body
    assert built.post(REGISTER, data=body, content_type=JSON).status_code == 201
    assert built.row()["username"] == "\U0001f600 ann"


@pytest.mark.parametrize(
    "name", ["id", "is_admin", "password_hash", "email_verified_at", "next", "redirect_to", "callbackURL"]
)
def test_unknown_fields_are_refused_by_their_name(built: Built, name: str) -> None:
    assert list(field_errors(built.register(**{name: "1"}))) == [name]
    assert built.rows() == []


# HTTPExceptions on the way to the views


def raise_it(error: Exception) -> None:
    raise error


RAISED: list[tuple[HTTPException, int, str, dict[str, str]]] = [
    (
        Unauthorized("Who are you?", www_authenticate=WWWAuthenticate("basic", {"realm": "staff"})),
        401,
        "unauthorized",
        {"WWW-Authenticate": WWWAuthenticate("basic", {"realm": "staff"}).to_header()},
    ),
    (Forbidden(), 403, "forbidden", {}),
    (TooManyRequests("Slowly!", retry_after=30), 429, "too-many-requests", {"Retry-After": "30"}),
    (
        TooManyRequests(retry_after=datetime(2030, 1, 1, tzinfo=timezone.utc)),
        429,
        "too-many-requests",
        {"Retry-After": "Tue, 01 Jan 2030 00:00:00 GMT"},
    ),
]


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(("error", "status", "code", "headers"), RAISED, ids=lambda value: str(value)[:20])
def test_an_http_exception_on_the_way_keeps_status_and_headers_and_gets_our_shape(
    build: Builder, path: str, error: HTTPException, status: int, code: str, headers: dict[str, str]
) -> None:
    def fail() -> None:
        raise error

    built = build(before_init=lambda app: app.before_request(fail))
    response = built.post(path, {})
    body = refused(response, status, code)
    assert body["detail"] == error.description
    assert {name: response.headers[name] for name in headers} == headers
    assert int(response.headers["Content-Length"]) == len(response.data)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad-request"),
        (404, "not-found"),
        (409, "conflict"),
        (413, "request-too-large"),
        (418, "i-m-a-teapot"),
        (451, "unavailable-for-legal-reasons"),
        (502, "bad-gateway"),
        (503, "service-unavailable"),
    ],
)
def test_the_code_of_an_http_exception_is_the_slug_of_its_name(build: Builder, status: int, code: str) -> None:
    built = build(before_init=lambda app: app.before_request(lambda: abort(status)))
    refused(built.post(REGISTER, {}), status, code)


class PaymentWall(HTTPException):
    """An error of the application's own, with a code that no standard knows."""

    code = 499
    description = "Pay first."
    name = "Payment Wall"


@pytest.mark.parametrize("path", BOTH)
def test_an_http_exception_with_a_code_of_the_applications_own_gets_our_shape(build: Builder, path: str) -> None:
    def fail() -> None:
        raise PaymentWall

    built = build(before_init=lambda app: app.before_request(fail))
    assert refused(built.post(path, {}), 499, "payment-wall")["detail"] == "Pay first."


class Lazy:
    """A text that is translated when it is shown, as Flask-Babel makes it."""

    def __str__(self) -> str:
        return "Kein Zutritt."


@pytest.mark.parametrize("path", BOTH)
def test_a_description_that_is_a_lazy_text_is_shown_as_text(build: Builder, path: str) -> None:
    description: Any = Lazy()
    built = build(before_init=lambda app: app.before_request(lambda: abort(403, description)))
    assert refused(built.post(path, {}), 403, "forbidden")["detail"] == "Kein Zutritt."


def shared_page() -> Response:
    page = Response("<h1>Members only</h1>", 403, {"Retry-After": "60", "X-Page": "members"})
    for name in ("theme", "language"):
        page.set_cookie(name, "x")
    return page


@pytest.mark.parametrize("path", BOTH)
def test_a_response_that_an_http_exception_shares_with_other_pages_gives_its_headers_and_is_unchanged(
    build: Builder, path: str
) -> None:
    shared, unchanged = shared_page(), shared_page()
    built = build(before_init=lambda app: app.before_request(lambda: raise_it(Forbidden(response=shared))))
    for _ in range(2):
        response = built.post(path, {})
        refused(response, 403, "forbidden")
        assert (response.headers["Retry-After"], response.headers["X-Page"]) == ("60", "members")
        assert response.headers.getlist("Set-Cookie") == unchanged.headers.getlist("Set-Cookie")
        assert response.headers.getlist("Content-Length") == [str(len(response.data))]
    elsewhere = built.client().get("/")
    assert (elsewhere.status_code, elsewhere.data, elsewhere.headers) == (403, unchanged.data, unchanged.headers)


def test_an_answer_that_before_request_gives_is_the_applications(build: Builder) -> None:
    built = build(before_init=lambda app: app.before_request(lambda: ("closed on Sundays", 503)))
    response = built.register()
    assert (response.status_code, response.text) == (503, "closed on Sundays")


# The application's own handlers


def page(error: Exception) -> tuple[str, int]:
    return "the application's page", getattr(error, "code", None) or 500


@pytest.mark.parametrize("handled", [400, 403, 404, 413, 415, 429, 503, HTTPException, Exception], ids=str)
def test_for_our_urls_our_shape_wins_over_the_applications_handlers(
    build: Builder, smtp: RecordingServer, handled: int | type[Exception]
) -> None:
    def limit() -> None:
        if "limited" in request.args:
            abort(429)

    def prepare(app: Flask) -> None:
        app.register_error_handler(handled, page)
        app.before_request(limit)

    smtp.stop()
    built = build(before_init=prepare)
    refused(built.post(REGISTER, {}), 400, "invalid")
    refused(built.post(VERIFY, data=b"{", content_type=JSON), 400, "parse-error")
    refused(built.post(REGISTER, data=b" " * 99_999, content_type=JSON), 413, "request-too-large")
    refused(built.post(REGISTER, data=b"{}"), 415, "unsupported-media-type")
    refused(built.post(f"{VERIFY}?limited", {}), 429, "too-many-requests")
    refused(built.register(), 503, "email-not-sent")


def fail_unexpectedly(password: str) -> str:
    raise LookupError("the hash machine is away")


@pytest.mark.parametrize("handled", [500, HTTPException, Exception, LookupError], ids=str)
def test_unexpected_exceptions_stay_the_applications(build: Builder, handled: int | type[Exception]) -> None:
    built = build(
        registration={"PASSWORD_HASHER": fail_unexpectedly},
        config={"TESTING": False},
        before_init=lambda app: app.register_error_handler(handled, page),
    )
    response = built.register()
    assert (response.status_code, response.text) == (500, "the application's page")
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("handled", [500, InternalServerError, HTTPException], ids=str)
@pytest.mark.parametrize("path", BOTH)
def test_the_applications_handler_gets_an_unexpected_exception_of_either_endpoint_with_its_cause(
    build: Builder, path: str, handled: int | type[Exception]
) -> None:
    causes: list[object] = []

    def remember(error: InternalServerError) -> tuple[str, int]:
        causes.append(error.original_exception)
        return page(error)

    unexpected = LookupError("the cupboard is bare")
    built = build(config={"TESTING": False}, before_init=lambda app: app.register_error_handler(handled, remember))
    built.app.before_request(lambda: raise_it(unexpected))
    response = built.post(path, {})
    assert (response.status_code, response.text, causes) == (500, "the application's page", [unexpected])


def test_an_unexpected_exception_without_a_handler_gets_flasks_own_page_that_is_not_stored(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": fail_unexpectedly}, config={"TESTING": False})
    response = built.register()
    assert (response.status_code, response.mimetype) == (500, "text/html")
    assert response.headers["Cache-Control"] == "no-store"


def test_where_flask_propagates_exceptions_unexpected_ones_come_through(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": fail_unexpectedly})
    with pytest.raises(LookupError):
        built.register()


@pytest.mark.parametrize("handled", [404, 405, HTTPException])
def test_unknown_urls_and_405_stay_the_applications(build: Builder, handled: int | type[Exception]) -> None:
    built = build(before_init=lambda app: app.register_error_handler(handled, page))
    unknown = built.post("registers/", {})
    assert unknown.status_code == 404
    assert (unknown.text == "the application's page") == (handled != 405)
    wrong_method = built.client().get(f"{built.url_prefix}/{REGISTER}")
    assert wrong_method.status_code == 405
    assert (wrong_method.text == "the application's page") == (handled != 404)


# URLs and methods


@pytest.mark.parametrize("slash", ["/", ""])
def test_both_endpoints_work_with_and_without_the_trailing_slash(
    built: Built, smtp: RecordingServer, slash: str
) -> None:
    assert built.post(f"register{slash}", built.body()).status_code == 201
    values = values_of(link_in(smtp.message))
    assert built.post(f"verify-registration{slash}", values).status_code == 200
    assert built.row()["email_verified_at"] is not None


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("slash", ["/", ""])
def test_only_post_works(built: Built, smtp: RecordingServer, method: str, slash: str) -> None:
    built.register()
    values = values_of(link_in(smtp.message))
    for path, body in (("register", built.body(email="b@example.com", username="b")), ("verify-registration", values)):
        url = f"{built.url_prefix}/{path}{slash}"
        response = built.client().open(url, method=method, json=body, query_string=values)
        assert response.status_code == 405
        assert "Set-Cookie" not in response.headers
        assert values["signature"] not in response.text
        assert set(response.allow) == {"POST", "OPTIONS"}
    assert built.row()["email_verified_at"] is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("slash", ["/", ""])
def test_a_link_is_looked_at_by_post_only_with_and_without_the_slash(
    build: Builder, smtp: RecordingServer, method: str, slash: str
) -> None:
    built = build(pending=True, registration=EMAIL_FIRST)
    built.post(REGISTER, {"email": "ann@example.com"})
    values = values_of(link_in(smtp.message))
    path = f"check-link{slash}"
    response = built.client().open(f"{built.url_prefix}/{path}", method=method, json=values, query_string=values)
    assert (response.status_code, set(response.allow)) == (405, {"POST", "OPTIONS"})
    assert "ann@example.com" not in response.text
    assert built.post(path, values).get_json() == {"email": "ann@example.com"}


def test_options_tells_the_methods_and_does_nothing(built: Built) -> None:
    response = built.client().options(f"{built.url_prefix}/{REGISTER}", json=built.body())
    assert (response.status_code, set(response.allow)) == (200, {"POST", "OPTIONS"})
    assert built.rows() == []


SPELLINGS = ["/{prefix}//register/", "//{prefix}/register/", "/{prefix}/register//", "/{prefix}/register%2f"]
SPELLINGS += ["/{prefix}%2fregister/", "/{prefix}/./register/", "/{prefix}/x/../register/", "/{prefix}/REGISTER/"]
SPELLINGS += ["/{prefix}/register/;x", "/{prefix}/register%00/", "/{prefix}/%72egister/", "/{prefix}/register/.json"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_the_url_gets_around_a_limit_or_the_switch(build: Builder, spelling: str) -> None:
    """Better Auth's GHSA-x732-6j76-qmhm: ``//path`` passed by disabled paths and rate limits."""
    url = spelling.format(prefix="api/v1/accounts")
    off = build(registration={"REGISTER_FLOW_ENABLED": False})
    limited = build()
    limited.app.before_request_funcs.setdefault(limited.registration.blueprint.name, []).append(lambda: abort(429))
    for built, status in ((off, 404), (limited, 429)):
        response = built.client().post(url, json=built.body(), follow_redirects=True)
        assert response.status_code in {404, status}
        assert built.rows() == []


@pytest.mark.parametrize("path", BOTH)
def test_nothing_redirects(built: Built, smtp: RecordingServer, path: str) -> None:
    built.register()
    bodies: dict[str, Any] = {
        REGISTER: built.body(email="bob@example.com", username="bob"),
        VERIFY: values_of(link_in(smtp.message)),
    }
    query = {"next": "https://evil.example/", "redirect_to": "//evil.example", "callbackURL": "https://evil.example"}
    response = built.post(path, bodies[path], query_string=query)
    assert response.status_code in {200, 201}
    assert "Location" not in response.headers
    assert "evil" not in response.text
