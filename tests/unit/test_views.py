"""HTTP in, HTTP out: the shape of errors, the limits of the body, and what stays the application's."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, Response, abort, request
from flask_babel import LazyString
from gunicorn.http.body import Body, ChunkedReader  # type: ignore[import-untyped]
from gunicorn.http.unreader import IterUnreader  # type: ignore[import-untyped]
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, InternalServerError, TooManyRequests, Unauthorized
from werkzeug.serving import make_server

from tests.support.answers import field_errors, refused
from tests.support.apps import CHECK_LINK, REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import at
from tests.support.links import changed, link_in, values_of
from tests.support.mail_servers import RecordingServer

BOTH = [REGISTER, VERIFY]
LIMIT = 64 * 1024
JSON = "application/json"
EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True}

#: All endpoints: the settings of two apps, and the paths of each.
ENDPOINTS: dict[str, tuple[dict[str, object], list[str]]] = {
    "account at sign-up": ({"REGISTER_VERIFICATION_RESEND_ENABLED": True}, [REGISTER, VERIFY, RESEND]),
    "e-mail first": (EMAIL_FIRST, [REGISTER, VERIFY, CHECK_LINK]),
}


@pytest.fixture(name="built")
def usual_app(build: Builder) -> Built:
    return build()


def build_endpoints(build: Builder, name: str, **config: object) -> tuple[Built, list[str]]:
    settings, paths = ENDPOINTS[name]
    return build(pending=True, registration=settings, config=config), paths


@pytest.fixture(params=ENDPOINTS)
def endpoints(request: pytest.FixtureRequest, build: Builder) -> tuple[Built, list[str]]:
    """An app and the paths of its endpoints."""
    return build_endpoints(build, request.param)


def padded(length: int) -> bytes:
    """Return an empty object's JSON of exactly this many bytes."""
    return b"{}".ljust(length)


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    ("configured", "limit"), [(None, LIMIT), (200, 200), (LIMIT + 1, LIMIT), (16 * 1024 * 1024, LIMIT)]
)
def test_a_body_may_have_64_kib_or_the_applications_limit_whichever_is_smaller(
    build: Builder, name: str, configured: int | None, limit: int
) -> None:
    built, paths = build_endpoints(build, name, MAX_CONTENT_LENGTH=configured)
    for path in paths:
        # Neither link nor code is a fault of the whole.
        faults = {"_schema"} if (name, path) == ("e-mail first", VERIFY) else set()
        fits = built.post(path, data=padded(limit), content_type=JSON)
        assert {"_schema"} & set(field_errors(fits)) == faults
        refused(built.post(path, data=padded(limit + 1), content_type=JSON), 413, "request-too-large")


def prepare_the_body() -> None:
    if "lowered" in request.args:
        request.max_content_length = 50
    else:
        request.get_data()


def test_a_limit_of_one_request_counts_and_a_body_that_was_read_before_is_limited(build: Builder) -> None:
    built = build(before_init=lambda app: app.before_request(prepare_the_body))
    for path, limit in ((f"{REGISTER}?lowered", 50), (REGISTER, LIMIT)):
        assert field_errors(built.post(path, data=padded(limit), content_type=JSON))
        refused(built.post(path, data=padded(limit + 1), content_type=JSON), 413, "request-too-large")


@contextmanager
def served(app: Flask) -> Iterator[int]:
    """Run an app on a real WSGI server, on the port that is given."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.log_request = lambda *_: None  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.port
    server.shutdown()
    server.server_close()


def post_chunked(port: int, body: bytes) -> tuple[int, str]:
    """Send a body to ``register/`` in pieces, and return status and code."""
    pieces = (body[start : start + 4000] for start in range(0, len(body), 4000))
    headers = {"Content-Type": JSON, "Transfer-Encoding": "chunked", "Connection": "close"}
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", f"/api/v1/accounts/{REGISTER}", pieces, headers, encode_chunked=True)
        connection.sock.shutdown(socket.SHUT_WR)  # werkzeug's server reads to the end of what it refuses
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["code"]


@pytest.mark.parametrize(
    ("configured", "fitting", "too_long"),
    [(None, [300, LIMIT], [LIMIT + 1, 4 * LIMIT]), (4 * LIMIT, [LIMIT], [LIMIT + 1]), (200, [200], [201])],
)
def test_a_chunked_body_has_the_same_limit(
    build: Builder, configured: int | None, fitting: list[int], too_long: list[int]
) -> None:
    with served(build(config={"MAX_CONTENT_LENGTH": configured}).app) as port:
        for length in fitting:
            assert post_chunked(port, padded(length)) == (400, "invalid")
        for length in too_long:
            assert post_chunked(port, padded(length)) == (413, "request-too-large")


async def post_through_asgi(app: Flask, path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, str]:
    """Send a body as an ASGI server does, to an app behind asgiref's adapter of WSGI."""
    adapter: Any = WsgiToAsgi
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": path}
    scope |= {"query_string": b"", "headers": headers, "server": ("localhost", 80), "client": ("127.0.0.1", 1)}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await adapter(app)(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent if "body" in message))["code"]


def test_a_chunked_body_that_an_asgi_adapter_does_not_hand_on_is_411(endpoints: tuple[Built, list[str]]) -> None:
    built, paths = endpoints
    announced, length = (b"content-type", JSON.encode()), (b"content-length", b"2")
    for path in (f"{built.url_prefix}/{path}" for path in paths):
        answers = [
            asyncio.run(post_through_asgi(built.app, path, b"{}", [announced, header]))
            for header in ((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"gzip, chunked"), length)
        ]
        assert answers == [(411, "length-required")] * 2 + [(400, "invalid")]


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "gzip, chunked"])
def test_a_body_whose_chunks_have_no_end_for_werkzeug_is_411(built: Built, coding: str) -> None:
    """Such an environment is uWSGI's."""
    chunked = {"HTTP_TRANSFER_ENCODING": coding, "CONTENT_TYPE": JSON}
    answer = built.post(REGISTER, environ_overrides=chunked)
    assert "Content-Length" in refused(answer, 411, "length-required")["detail"]
    terminated = built.post(REGISTER, environ_overrides={**chunked, "wsgi.input_terminated": True})
    refused(terminated, 400, "parse-error")


def test_an_empty_body_of_a_server_that_hands_chunks_on_is_a_parse_error(built: Built) -> None:
    with served(built.app) as port:
        assert post_chunked(port, b"") == (400, "parse-error")


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}??0\r\n\r\n", b"2;\r\n{}", b"-1\r\n{}"])
def test_chunks_that_gunicorn_cannot_read_are_a_parse_error(built: Built, chunks: bytes) -> None:
    reader = ChunkedReader(None, IterUnreader(iter([chunks])))
    body = {"wsgi.input": Body(reader), "wsgi.input_terminated": True, "CONTENT_TYPE": JSON}
    refused(built.post(REGISTER, environ_overrides={**body, "HTTP_TRANSFER_ENCODING": "chunked"}), 400, "parse-error")
    assert built.rows() == []


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    **dict.fromkeys(("gzip", "GZIP", "x-gzip", "gzip, identity", "br"), gzip.compress),
    "deflate": zlib.compress,
    "compress": lambda body: body,  # such as of a proxy that has decoded it and kept the header
}


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_body_is_415_and_is_told_to_come_uncompressed(
    endpoints: tuple[Built, list[str]], coding: str
) -> None:
    built, paths = endpoints
    body, headers = CODINGS[coding](json.dumps(built.body()).encode()), {"Content-Encoding": coding}
    for path in paths:
        answer = built.post(path, data=body, content_type=JSON, headers=headers)
        assert "uncompressed" in refused(answer, 415, "unsupported-media-type")["detail"]
        assert answer.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_a_body_that_is_announced_as_not_compressed_is_read(built: Built, coding: str) -> None:
    assert built.post(REGISTER, built.body(), headers={"Content-Encoding": coding}).status_code == 201


@pytest.mark.parametrize(
    "media_type",
    [JSON, "Application/JSON", f"{JSON}; charset=utf-8", f"{JSON}; charset=iso-8859-1", "application/vnd.api+json"],
)
@pytest.mark.parametrize("escaped", [True, False])
def test_what_is_announced_as_json_is_read_as_utf_8(built: Built, media_type: str, escaped: bool) -> None:
    body = json.dumps(built.body(username="åse \U00020000"), ensure_ascii=escaped)
    assert built.post(REGISTER, data=body.encode(), content_type=media_type).status_code == 201
    assert built.row()["username"] == "åse \U00020000"


def test_another_media_type_is_415(endpoints: tuple[Built, list[str]]) -> None:
    built, paths = endpoints
    body = json.dumps(built.body()).encode()
    forms = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    for media_type in (None, "", "text/plain", "text/json", *forms, "%"):
        for path in paths:
            refused(built.post(path, data=body, content_type=media_type), 415, "unsupported-media-type")
    assert built.rows() == built.pending_rows() == []


NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"email": "a',
    "trailing text": b"{} {}",
    **{number: f'{{"age": {number}}}'.encode() for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000)},
    "NUL": b'{"email": "\x00"}',
    "line feed in text": b'{"email": "\n"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"email": "a"}'.encode("utf-16"),
    "UTF-16 without mark": '{"email": "a"}'.encode("utf-16-le"),
    "Latin-1": '{"email": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"email": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"email": "\xed\xa0\x80"}',
    "beyond Unicode": b'{"email": "\xf4\x90\x80\x80"}',
    "wrong escape": b'{"email": "\\x41"}',
    "deep lists": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}


def test_what_is_not_strict_utf_8_json_is_a_parse_error(endpoints: tuple[Built, list[str]]) -> None:
    built, paths = endpoints
    for path in paths:
        answers = {name: built.post(path, data=body, content_type=JSON) for name, body in NO_JSON.items()}
        assert [name for name, answer in answers.items() if answer.get_json()["code"] != "parse-error"] == []
        for answer in answers.values():
            refused(answer, 400, "parse-error")


@pytest.mark.parametrize("path", BOTH)
def test_a_value_nested_64_times_is_not_parsed(built: Built, path: str) -> None:
    for depth in (10, 63, 64, 65, 900, 1100, 5000):
        lists, objects = [("[", "]")] * depth, [('{"email":', "}")] * depth
        for pairs in (lists, objects, [*lists[::2], *objects[1::2]]):
            opening, closing = ("".join(parts) for parts in zip(*pairs, strict=True))
            body = f'{{"email": {opening}1{closing[::-1]}}}'
            answer = built.post(path, data=body, content_type=JSON)
            refused(answer, 400, "invalid" if depth < 64 else "parse-error")


def test_what_is_no_object_is_a_fault_of_the_object_as_a_whole(endpoints: tuple[Built, list[str]]) -> None:
    built, paths = endpoints
    for path in paths:
        for body in ("[]", '[{"email": "a@example.com"}]', '"text"', "1", "1.5", "true", "null"):
            assert list(field_errors(built.post(path, data=body, content_type=JSON))) == ["_schema"]


def test_of_duplicate_keys_the_last_counts(built: Built) -> None:
    body = json.dumps(built.body())
    twice = '{"email": "first@example.com", "email": "second@example.com", ' + body[1:]
    assert built.post(REGISTER, data=twice, content_type=JSON).status_code == 201
    assert built.row()["email"] == "ann@example.com"
    assert list(field_errors(built.post(REGISTER, data=body[:-1] + ', "email": 1}', content_type=JSON))) == ["email"]


def test_nul_and_lone_surrogates_are_an_error_at_their_field(built: Built, smtp: RecordingServer) -> None:
    for text in ("\0", "a\0b", "\udfff", "a\udc00b"):
        for field in ("email", "username", "password", "password_confirm"):
            body = built.body(**{field: f"ann{text}@example.com violet-anchor-47"})
            assert field in field_errors(built.post(REGISTER, data=json.dumps(body), content_type=JSON))
    assert built.rows() == []
    built.register()
    values = values_of(link_in(smtp.message))
    for text in ("\0", "\ud800"):
        for field, value in values.items():
            link = json.dumps(changed(values, **{field: value + text}))
            assert list(field_errors(built.post(VERIFY, data=link, content_type=JSON))) == [field]


def test_unknown_and_strange_names_of_fields_are_refused(built: Built) -> None:
    no_text, strange = ["\0", "email\0", "\ud800"], ["ü", "x" * 10_000, "", " ", "__proto__"]
    for name in [*no_text, *strange, "id", "is_admin", "password_hash", "email_verified_at", "redirect_to"]:
        body = json.dumps({**built.body(), name: "x"})
        errors = field_errors(built.post(REGISTER, data=body, content_type=JSON))
        assert list(errors) == ["_schema" if name in no_text else name]
        field_errors(built.post(VERIFY, data=body, content_type=JSON))
    assert built.rows() == []


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


class PaymentWall(HTTPException):
    """An error of the application's own, with a code that no standard knows."""

    code, description, name = 499, "Pay first.", "Payment Wall"


LAZY: Any = LazyString(lambda: "Kein Zutritt.")
STAFF = WWWAuthenticate("basic", {"realm": "staff"})
RAISED: list[tuple[HTTPException, int, str, dict[str, str]]] = [
    (Unauthorized("Who?", www_authenticate=STAFF), 401, "unauthorized", {"WWW-Authenticate": STAFF.to_header()}),
    (Forbidden(), 403, "forbidden", {}),
    (Forbidden(LAZY), 403, "forbidden", {}),
    (TooManyRequests("Slowly!", retry_after=30), 429, "too-many-requests", {"Retry-After": "30"}),
    (TooManyRequests(retry_after=at(0)), 429, "too-many-requests", {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    (PaymentWall(), 499, "payment-wall", {}),
]


@pytest.mark.parametrize(("error", "status", "code", "headers"), RAISED, ids=lambda value: str(value)[:20])
def test_an_http_exception_on_the_way_keeps_status_and_headers_and_gets_our_shape(
    build: Builder, error: HTTPException, status: int, code: str, headers: dict[str, str]
) -> None:
    built = build(before_init=lambda app: app.before_request(raising(error)))
    for path in BOTH:
        response = built.post(path, {})
        assert refused(response, status, code)["detail"] == str(error.description)
        assert {name: response.headers[name] for name in headers} == headers
        assert int(response.headers["Content-Length"]) == len(response.data)


def test_the_code_of_an_http_exception_is_the_slug_of_its_name(build: Builder) -> None:
    slugs = {400: "bad-request", 404: "not-found", 409: "conflict", 413: "request-too-large", 418: "i-m-a-teapot"}
    slugs |= {451: "unavailable-for-legal-reasons", 502: "bad-gateway", 503: "service-unavailable"}
    built = build(before_init=lambda app: app.before_request(lambda: abort(int(request.args["status"]))))
    for status, code in slugs.items():
        refused(built.post(f"{REGISTER}?status={status}", {}), status, code)


def shared_page() -> Response:
    page = Response("<h1>Members only</h1>", 403, {"Retry-After": "60", "X-Page": "members"})
    for name in ("theme", "language"):
        page.set_cookie(name, "x")
    return page


def test_a_response_that_an_http_exception_shares_gives_its_headers_and_is_unchanged(build: Builder) -> None:
    shared, unchanged = shared_page(), shared_page()
    built = build(before_init=lambda app: app.before_request(raising(Forbidden(response=shared))))
    for path in [*BOTH, *BOTH]:
        response = built.post(path, {})
        refused(response, 403, "forbidden")
        assert (response.headers["Retry-After"], response.headers["X-Page"]) == ("60", "members")
        assert response.headers.getlist("Set-Cookie") == unchanged.headers.getlist("Set-Cookie")
        assert response.headers.getlist("Content-Length") == [str(len(response.data))]
    elsewhere = built.client().get("/")
    assert (elsewhere.status_code, elsewhere.data, elsewhere.headers) == (403, unchanged.data, unchanged.headers)


def page(error: Exception) -> tuple[str, int]:
    return "the application's page", getattr(error, "code", None) or 500


@pytest.mark.parametrize("handled", [400, 413, 415, 429, 503, HTTPException, Exception], ids=str)
def test_for_our_urls_our_shape_wins_over_the_applications_handlers(
    build: Builder, smtp: RecordingServer, handled: int | type[Exception]
) -> None:
    def prepare(app: Flask) -> None:
        app.register_error_handler(handled, page)
        app.before_request(lambda: abort(429) if "limited" in request.args else None)

    smtp.stop()
    built = build(before_init=prepare)
    refused(built.post(REGISTER, {}), 400, "invalid")
    refused(built.post(VERIFY, data=b"{", content_type=JSON), 400, "parse-error")
    refused(built.post(REGISTER, data=b" " * 99_999, content_type=JSON), 413, "request-too-large")
    refused(built.post(REGISTER, data=b"{}"), 415, "unsupported-media-type")
    refused(built.post(f"{VERIFY}?limited", {}), 429, "too-many-requests")
    refused(built.register(), 503, "email-not-sent")


UNEXPECTED = LookupError("the hash machine is away")


@pytest.mark.parametrize("handled", [500, InternalServerError, HTTPException, Exception, LookupError], ids=str)
def test_unexpected_exceptions_go_to_the_applications_handler(build: Builder, handled: int | type[Exception]) -> None:
    causes: list[object] = []

    def remember(error: Exception) -> tuple[str, int]:
        causes.append(getattr(error, "original_exception", error))
        return page(error)

    def prepare(app: Flask) -> None:
        app.register_error_handler(handled, remember)
        app.before_request(lambda: raising(UNEXPECTED)() if "early" in request.args else None)

    settings = {"PASSWORD_HASHER": raising(UNEXPECTED)}
    built = build(registration=settings, config={"TESTING": False}, before_init=prepare)
    for response in (built.register(), *(built.post(f"{path}?early", {}) for path in BOTH)):
        assert (response.status_code, response.text) == (500, "the application's page")
        assert response.headers["Cache-Control"] == "no-store"
    assert causes == [UNEXPECTED] * 3


def test_without_a_handler_unexpected_exceptions_come_through_or_get_flasks_own_page(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": raising(UNEXPECTED)})
    with pytest.raises(LookupError):
        built.register()
    built.app.config["TESTING"] = False
    response = built.register()
    assert (response.status_code, response.mimetype) == (500, "text/html")
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("handled", [404, 405, HTTPException])
def test_unknown_urls_and_405_stay_the_applications(build: Builder, handled: int | type[Exception]) -> None:
    built = build(before_init=lambda app: app.register_error_handler(handled, page))
    wrong_method = built.client().get(f"{built.url_prefix}/{REGISTER}")
    for response, status in ((built.post("registers/", {}), 404), (wrong_method, 405)):
        assert response.status_code == status
        assert (response.text == "the application's page") is (handled in {status, HTTPException})


@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize("name", ENDPOINTS)
def test_only_post_works_with_and_without_the_slash(
    build: Builder, smtp: RecordingServer, name: str, slash: str
) -> None:
    built, paths = build_endpoints(build, name)
    sent = built.body() if name == "account at sign-up" else {"email": "ann@example.com"}
    assert built.post(f"register{slash}", sent).status_code in {201, 202}
    values = values_of(link_in(smtp.message))
    before = built.rows()
    body = {**built.body(email="b@example.com", username="b"), **values}
    for path in paths:
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"):
            url = f"{built.url_prefix}/{path.removesuffix('/')}{slash}"
            response = built.client().open(url, method=method, json=body, query_string=values)
            assert response.status_code == (200 if method == "OPTIONS" else 405)
            assert "Set-Cookie" not in response.headers
            assert values["signature"] not in response.text
            assert "ann@example.com" not in response.text
            assert set(response.allow) == {"POST", "OPTIONS"}
    assert (built.rows(), len(smtp.messages)) == (before, 1)
    path = "verify-registration" if name == "account at sign-up" else "check-link"
    assert built.post(f"{path}{slash}", values).status_code == 200


REST = ["//register/", "/register//", "/register%2f", "%2fregister/", "/./register/", "/x/../register/", "/REGISTER/"]
REST += ["/register/;x", "/register%00/", "/%72egister/", "/register/.json"]
SPELLINGS = ["//api/v1/accounts/register/", *(f"/api/v1/accounts{rest}" for rest in REST)]


def test_no_spelling_of_the_url_gets_around_a_limit_or_the_switch(build: Builder) -> None:
    """Better Auth's GHSA-x732-6j76-qmhm: ``//path`` passed by disabled paths and rate limits."""
    off = build(registration={"REGISTER_FLOW_ENABLED": False})
    limited = build()
    limited.app.before_request_funcs.setdefault(limited.registration.blueprint.name, []).append(lambda: abort(429))
    for built, status in ((off, 404), (limited, 429)):
        for spelling in SPELLINGS:
            response = built.client().post(spelling, json=built.body(), follow_redirects=True)
            assert response.status_code in {404, status}
        assert built.rows() == []


def test_successes_are_json_that_is_not_stored_and_redirect_nowhere(built: Built, smtp: RecordingServer) -> None:
    query = {"next": "https://evil.example/", "redirect_to": "//evil.example", "callbackURL": "https://evil.example"}
    registered = built.post(REGISTER, built.body(), query_string=query)
    verified = built.post(VERIFY, values_of(link_in(smtp.message)), query_string=query)
    for response, status in ((registered, 201), (verified, 200)):
        assert (response.status_code, response.mimetype) == (status, JSON)
        assert response.headers.getlist("Cache-Control") == ["no-store"]
        assert "Location" not in response.headers
        assert "evil" not in response.text
