"""Passwords from known breaches: which are refused, what leaves the machine, and what happens when nobody answers."""

from __future__ import annotations

import inspect
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from marshmallow import ValidationError

from flask_rest_registration.contrib.hibp import PwnedPasswordValidator, validate_not_pwned
from tests.support.answers import field_errors
from tests.support.apps import PASSWORD, Builder
from tests.support.hibp_server import Framing, RangeServer, http, lines_of, sha1
from tests.support.mail_servers import SilentServer

DOTTED_PATH = "flask_rest_registration.contrib.hibp.validate_not_pwned"
DIGEST = sha1(PASSWORD)
HIT = f"{DIGEST[5:]}:12".encode()

#: Far more than a loopback connection takes, for the tests that are not about time.
AMPLE = 30.0
SHORT = 0.2

LONG_RANGE = b"\r\n".join([HIT, *[b"0" * 35 + b":1"] * 20_000])
SHORT_RANGE = "\r\n".join(lines_of(DIGEST[:5], {DIGEST: 12})).encode()


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Keep the log of every test, and demand at its end that nothing in it tells of the password."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    records = [record for record in caplog.get_records("call") if record.name != "mail.log"]
    written = "\n".join(logging.Formatter().format(record) + repr(record.args) for record in records).upper()
    for secret in (PASSWORD.upper(), DIGEST, DIGEST[:5], DIGEST[5:]):
        assert secret not in written


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged by the validator, all of which must be warnings without a traceback."""
    records = [record for record in log.records if record.name == "flask_rest_registration.contrib.hibp"]
    assert all(record.levelno == logging.WARNING and not record.exc_info for record in records)
    return [record.getMessage() for record in records]


def start_of(value: object) -> str:
    """Name a test by the start of what may be long."""
    return repr(value)[:40]


def is_refused(server: RangeServer, password: str = PASSWORD, *, timeout: float = AMPLE) -> bool:
    try:
        PwnedPasswordValidator(url=server.url, timeout=timeout)(password, {})
    except ValidationError:
        return True
    return False


def passes_with_one_warning(server: RangeServer, log: pytest.LogCaptureFixture, *, timeout: float = AMPLE) -> str:
    """Demand that the password passes and that one warning says why, and return the reason."""
    assert not is_refused(server, timeout=timeout)
    (warning,) = warnings(log)
    start, _, reason = warning.partition(": ")
    assert start == "Pwned Passwords could not be asked, a password was not looked up"
    return reason


# What is refused


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_password_from_a_breach_is_refused_with_a_sentence_that_says_why(
    framing: Framing, log: pytest.LogCaptureFixture
) -> None:
    with RangeServer({PASSWORD: 1}, framing=framing) as server:
        validate = PwnedPasswordValidator(url=server.url, timeout=AMPLE)
        with pytest.raises(ValidationError) as refusal:
            validate(PASSWORD, {})
    assert refusal.value.messages == [
        "This password is known from a data breach, so attackers try it early. Choose another one."
    ]
    assert refusal.value.__context__ is None
    assert warnings(log) == []


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_password_that_is_in_no_breach_passes_in_silence(framing: Framing, log: pytest.LogCaptureFixture) -> None:
    with RangeServer({"password123": 250_000}, framing=framing) as server:
        assert not is_refused(server)
    assert len(server.requests) == 1
    assert warnings(log) == []


def test_a_password_that_is_in_the_range_only_as_padding_passes_in_silence(log: pytest.LogCaptureFixture) -> None:
    with RangeServer({PASSWORD: 0}) as server:
        assert not is_refused(server)
    assert warnings(log) == []


@pytest.mark.parametrize("position", [0, 250, 500])
def test_the_place_in_the_range_does_not_matter(position: int) -> None:
    lines = [line.encode() for line in lines_of(DIGEST[:5], {})]
    lines.insert(position, HIT)
    with RangeServer(answer=http(b"\r\n".join(lines))) as server:
        assert is_refused(server)


@pytest.mark.parametrize("body", [HIT.lower(), HIT + b"\r\n", b"0" * 35 + b":1\n" + HIT + b"\n"])
def test_a_mirror_may_write_small_letters_and_end_its_lines_otherwise(body: bytes) -> None:
    with RangeServer(answer=http(body)) as server:
        assert is_refused(server)


@pytest.mark.parametrize(
    "password", ["žluťoučký kůň", "🦉猫 owl", " spaces ", "tab\tand\nline", "nul\0", "", "x" * 10_000]
)
def test_a_password_is_looked_up_exactly_as_sent_in_utf_8(password: str) -> None:
    with RangeServer({password: 3}) as server:
        assert is_refused(server, password)
        assert not is_refused(server, password + " ")


def test_half_a_surrogate_pair_is_no_error(log: pytest.LogCaptureFixture) -> None:
    with RangeServer() as server:
        assert not is_refused(server, "violet\ud83danchor")
    assert len(server.requests) == 1
    assert warnings(log) == []


# What leaves the machine


def test_only_five_characters_of_the_hash_leave_the_machine() -> None:
    with RangeServer() as server:
        PwnedPasswordValidator(url=server.url, timeout=AMPLE)(PASSWORD, {"email": "ann@example.com"})
    (request,) = server.requests
    assert request.startswith(f"GET /range/{DIGEST[:5]} HTTP/1.1\r\n".encode())
    assert dict(server.headers()) == {
        "Host": f"127.0.0.1:{server.port}",
        "Accept-Encoding": "identity",
        "Add-Padding": "true",
        "User-Agent": "flask-rest-registration",
        "Connection": "close",
    }


@pytest.mark.parametrize(("path", "asked"), [("", "/"), ("/", "/"), ("/a/range", "/a/range/"), ("/range//", "/range/")])
def test_a_mirror_may_have_any_path_with_or_without_the_trailing_slash(path: str, asked: str) -> None:
    with RangeServer(answer=http(HIT)) as server:
        validate = PwnedPasswordValidator(url=f"http://127.0.0.1:{server.port}{path}", timeout=AMPLE)
        with pytest.raises(ValidationError):
            validate(PASSWORD, {})
    assert server.requests[0].startswith(f"GET {asked}{DIGEST[:5]} ".encode())


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with RangeServer() as proxy, RangeServer({PASSWORD: 1}) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert is_refused(server)
    assert proxy.requests == []


# Answers that are none


@pytest.mark.parametrize(
    "status",
    ["204 No Content", "400 Bad Request", "403 Forbidden", "404 Not Found", "429 Too Many Requests", "503 Unavailable"],
)
def test_another_status_than_200_lets_the_password_pass_and_is_logged(
    status: str, log: pytest.LogCaptureFixture
) -> None:
    with RangeServer(answer=http(HIT, status=status)) as server:
        assert passes_with_one_warning(server, log) == f"the status is {status[:3]}"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str, log: pytest.LogCaptureFixture) -> None:
    with RangeServer({PASSWORD: 1}) as other:
        answer = http(HIT, status=status, headers=[f"Location: {other.url}{DIGEST[:5]}"])
        with RangeServer(answer=answer) as server:
            assert passes_with_one_warning(server, log) == f"the status is {status[:3]}"
    assert other.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"<!doctype html><title>Sign in to the hotel's network</title>",
        HIT + b"\r\n\r\n" + HIT,
        HIT + b"\r\nand so on",
        HIT + HIT,
        b" " + HIT,
        DIGEST[5:].encode(),
        DIGEST[5:].encode() + b":",
        DIGEST[5:].encode() + b":-1",
        DIGEST[5:].encode() + b":1.5",
        DIGEST[5:].encode() + b":many",
        DIGEST[5:].encode() + b":" + "١٢".encode(),
        DIGEST[5:].encode() + b":" + b"9" * 5000,
        DIGEST.encode() + b":12",
        b"\x1f\x8b\x08\x00\xff\xfe\x00" + bytes(range(256)),
    ],
    ids=start_of,
)
def test_what_is_no_list_of_hashes_and_counts_lets_the_password_pass_and_is_logged(
    body: bytes, log: pytest.LogCaptureFixture
) -> None:
    with RangeServer(answer=http(body)) as server:
        assert passes_with_one_warning(server, log) == "the answer is not a list of hashes and counts"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "RemoteDisconnected"),
        (b"HTTP/1.1 2", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the answer is not a list of hashes and counts"),
        (http(SHORT_RANGE)[:-20], "the answer is too long or was cut off"),
        (http(SHORT_RANGE).partition(HIT)[0] + HIT, "the answer is too long or was cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n", "the answer is too long or was cut off"),
        (http(SHORT_RANGE, framing="chunked")[:-200], "IncompleteRead"),
        (CHUNKED + b"26\r\n" + HIT + b"\r\n", "IncompleteRead"),
        (CHUNKED + b"nonsense\r\n" + HIT, "IncompleteRead"),
    ],
    ids=start_of,
)
def test_an_answer_that_is_cut_off_or_no_http_lets_the_password_pass_and_is_logged(
    answer: bytes, reason: str, log: pytest.LogCaptureFixture
) -> None:
    with RangeServer(answer=answer) as server:
        assert passes_with_one_warning(server, log) == reason


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-OpenSSH_9.6\r\n", b"\0" * 100, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200, b"HTTP/1.1 " + b"2" * 70_000],
    ids=start_of,
)
def test_what_is_no_http_lets_the_password_pass_and_is_logged(answer: bytes, log: pytest.LogCaptureFixture) -> None:
    with RangeServer(answer=answer) as server:
        assert passes_with_one_warning(server, log) in {"BadStatusLine", "HTTPException", "LineTooLong"}


def test_a_connection_that_is_reset_in_the_middle_lets_the_password_pass_and_is_logged(
    log: pytest.LogCaptureFixture,
) -> None:
    with RangeServer(answer=http(SHORT_RANGE)[:2000], then="reset") as server:
        assert passes_with_one_warning(server, log) in {"ConnectionResetError", "the answer is too long or was cut off"}


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_answer_that_is_too_long_lets_the_password_pass_and_is_logged(
    framing: Framing, log: pytest.LogCaptureFixture
) -> None:
    with RangeServer(answer=http(LONG_RANGE, framing=framing)) as server:
        assert passes_with_one_warning(server, log) == "the answer is too long or was cut off"


def test_an_answer_of_half_a_mebibyte_is_just_not_too_long() -> None:
    line = b"0" * 35 + b":1"
    count, missing = divmod(2**19 - len(HIT), len(b"\r\n" + line))
    lines = [HIT, *[line + b"1"] * missing, *[line] * (count - missing)]  # as many digits more as bytes are missing
    body = b"\r\n".join(lines)
    assert len(body) == 2**19
    with RangeServer(answer=http(body)) as server:
        assert is_refused(server)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED + b"fffffffff\r\n", CHUNKED + b"-1\r\n"])
def test_of_an_answer_that_never_ends_no_more_than_the_limit_is_read(
    head: bytes, log: pytest.LogCaptureFixture
) -> None:
    with RangeServer(answer=head, then="flood") as server:
        reason = passes_with_one_warning(server, log)
    assert reason in {"the answer is too long or was cut off", "LineTooLong"}  # and not that time was over


def test_an_answer_of_many_thousand_lines_is_within_the_limit() -> None:
    lines = [*[b"0" * 35 + b":1"] * 10_000, HIT]
    with RangeServer(answer=http(b"\r\n".join(lines))) as server:
        assert is_refused(server)


# Servers that cannot be reached, and time


def test_a_refused_connection_lets_the_password_pass_and_is_logged(log: pytest.LogCaptureFixture) -> None:
    with RangeServer({PASSWORD: 1}) as server:
        server.stop()
        assert passes_with_one_warning(server, log) == "ConnectionRefusedError"


def test_a_host_name_that_cannot_be_looked_up_lets_the_password_pass_and_is_logged(
    log: pytest.LogCaptureFixture,
) -> None:
    PwnedPasswordValidator(url=f"https://{'a' * 64}.example/range/")(PASSWORD, {})  # a label has 63 characters
    assert len(warnings(log)) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_accepts_and_never_answers_lets_the_password_pass_and_is_logged(
    scheme: str, log: pytest.LogCaptureFixture
) -> None:
    with SilentServer() as server:
        PwnedPasswordValidator(url=f"{scheme}://127.0.0.1:{server.port}/range/", timeout=SHORT)(PASSWORD, {})
    assert len(warnings(log)) == 1


def test_an_answer_that_stops_in_the_middle_lets_the_password_pass_and_is_logged(
    log: pytest.LogCaptureFixture,
) -> None:
    with RangeServer(answer=http(SHORT_RANGE)[:2000], then="silence") as server:
        assert passes_with_one_warning(server, log, timeout=SHORT) == "TimeoutError"


@pytest.mark.usefixtures("trusted_certificate")
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nServer: ", http(SHORT_RANGE)[:200], http(SHORT_RANGE, framing="close"), CHUNKED],
    ids=start_of,
)
def test_a_server_that_drips_does_not_hold_the_request_longer_than_the_time_for_the_whole(
    answer: bytes, tls: bool, log: pytest.LogCaptureFixture
) -> None:
    with RangeServer(answer=answer, then="drip", tls=tls) as server:
        assert passes_with_one_warning(server, log, timeout=SHORT) == "TimeoutError"
        assert not server.has_dripped_dry.is_set()


# TLS


def test_a_certificate_that_nobody_vouches_for_lets_the_password_pass_and_is_logged(
    log: pytest.LogCaptureFixture,
) -> None:
    with RangeServer({PASSWORD: 1}, tls=True) as server:
        assert passes_with_one_warning(server, log) == "SSLCertVerificationError"
    assert server.requests == []


@pytest.mark.usefixtures("trusted_certificate")
def test_a_trusted_server_is_asked_over_tls_any_number_of_times() -> None:
    with RangeServer({PASSWORD: 1}, tls=True) as server:
        validate = PwnedPasswordValidator(url=server.url, timeout=AMPLE)
        for _ in range(3):
            with pytest.raises(ValidationError):
                validate(PASSWORD, {})
    assert len(server.requests) == 3


def lead(monkeypatch: pytest.MonkeyPatch, server: RangeServer, asked: list[tuple[object, object]]) -> None:
    """Let every host name and port lead to a server."""
    look_up = socket.getaddrinfo

    def look_up_loopback(host: str, port: int, *args: Any, **kwargs: Any) -> object:
        if host == "127.0.0.1":
            return look_up(host, port, *args, **kwargs)
        asked.append((host, port))
        return look_up("127.0.0.1", server.port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_loopback)


@pytest.mark.usefixtures("trusted_certificate")
def test_a_trusted_certificate_of_another_name_is_none(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[object, object]] = []
    with RangeServer({PASSWORD: 1}, tls=True) as server:
        lead(monkeypatch, server, asked)
        PwnedPasswordValidator(url="https://mirror.example/range/", timeout=AMPLE)(PASSWORD, {})
    assert asked == [("mirror.example", 443)]
    assert warnings(log)[0].endswith(": SSLCertVerificationError")
    assert server.requests == []


@pytest.mark.usefixtures("trusted_certificate")
@pytest.mark.parametrize(
    ("url", "tls", "port", "host"),
    [
        ("https://localhost/range/", True, 443, "localhost"),
        ("https://localhost:8443/range/", True, 8443, "localhost:8443"),
        ("http://localhost/range/", False, 80, "localhost"),
        ("http://localhost:443/range/", False, 443, "localhost:443"),
        ("http://[::1]/range/", False, 80, "[::1]"),
    ],
)
def test_the_port_is_the_schemes_own_unless_the_url_names_another(
    monkeypatch: pytest.MonkeyPatch, url: str, tls: bool, port: int, host: str
) -> None:
    asked: list[tuple[object, object]] = []
    with RangeServer({PASSWORD: 1}, tls=tls) as server:
        lead(monkeypatch, server, asked)
        validate = PwnedPasswordValidator(url=url, timeout=AMPLE)
        with pytest.raises(ValidationError):
            validate(PASSWORD, {})
    assert [found for _, found in asked] == [port]
    assert server.headers()["Host"] == host


# In an application


def test_a_registration_with_a_password_from_a_breach_is_refused_at_the_password(build: Builder) -> None:
    with RangeServer({PASSWORD: 7}) as server:
        built = build(registration={"PASSWORD_VALIDATORS": [PwnedPasswordValidator(url=server.url, timeout=AMPLE)]})
        errors = field_errors(built.register())
        assert errors == {
            "password": ["This password is known from a data breach, so attackers try it early. Choose another one."]
        }
        assert built.rows() == []
        assert built.register(password="lantern-52-glacier").status_code == 201
    assert len(built.rows()) == 1


def test_a_registration_succeeds_while_the_service_is_down(build: Builder, log: pytest.LogCaptureFixture) -> None:
    with RangeServer({PASSWORD: 7}) as server:
        server.stop()
        built = build(registration={"PASSWORD_VALIDATORS": [PwnedPasswordValidator(url=server.url, timeout=AMPLE)]})
        assert built.register().status_code == 201
    assert len(built.rows()) == 1
    assert len(warnings(log)) == 1


@pytest.mark.parametrize("given", [DOTTED_PATH, validate_not_pwned])
def test_the_object_and_its_dotted_path_in_the_settings_ask_the_real_service(
    build: Builder, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, given: object
) -> None:
    asked: list[tuple[object, object]] = []
    with RangeServer({PASSWORD: 7}, tls=True) as server:
        lead(monkeypatch, server, asked)
        built = build(registration={"PASSWORD_VALIDATORS": [given]})
        assert built.register().status_code == 201
    assert asked == [("api.pwnedpasswords.com", 443)]
    assert warnings(log)[0].endswith(": SSLCertVerificationError")  # ours is another server


# How it is made


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.pwnedpasswords.com/range/",
        "ftp://mirror.example/range/",
        "https:///range/",
        "https://user:secret@mirror.example/range/",
        "https://mirror.example/range/?mode=ntlm",
        "https://mirror.example/range/#top",
        "https://mirror.example?mode=ntlm",
        "https://mirror.example#top",
        "https://mirror.example/a range/",
        "https://mirror.example/range/\r\nX-Evil: 1",
        "https://mirror.example/rängé/",
        "https://mirror.example:port/range/",
        "https://mirror.example:99999/range/",
        "https://[::1/range/",
    ],
)
def test_a_url_that_cannot_be_asked_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PwnedPasswordValidator(url=url)


@pytest.mark.parametrize("timeout", [0, -1, 60.1, float("nan"), float("inf")])
def test_a_time_out_is_more_than_zero_and_at_most_a_minute(timeout: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        PwnedPasswordValidator(timeout=timeout)
    PwnedPasswordValidator(timeout=60)


def test_the_time_for_the_whole_is_two_seconds_unless_chosen() -> None:
    assert inspect.signature(PwnedPasswordValidator).parameters["timeout"].default == 2.0
