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
from tests.support.hibp_server import Framing, RangeServer, http, range_of, sha1
from tests.support.mail_servers import CERTIFICATE, RecordingServer, Silence

REFUSAL = "This password is known from a data breach, so attackers try it early. Choose another one."
CUT_OFF = "the answer is too long or was cut off"

DIGEST = sha1(PASSWORD)
SUFFIX = DIGEST[5:].encode()
HIT, MISS = SUFFIX + b":12", b"0" * 35 + b":1"
RANGE = range_of(DIGEST[:5], {DIGEST: 12})
FRAMINGS: tuple[Framing, ...] = ("length", "chunked", "close")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

#: Far more than a loopback connection takes, for the tests that are not about time.
AMPLE = 30.0
SHORT = 0.2
Log = pytest.LogCaptureFixture
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def log(caplog: Log) -> Iterator[Log]:
    """Keep the log of every test, and demand at its end that nothing in it tells of the password."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    records = [record for record in caplog.get_records("call") if record.name != "mail.log"]
    written = "\n".join(logging.Formatter().format(record) + repr(record.args) for record in records).upper()
    for secret in (PASSWORD.upper(), DIGEST, DIGEST[:5], DIGEST[5:]):
        assert secret not in written


def reasons(log: Log) -> list[str]:
    """Return why passwords were not looked up: each a warning without a traceback."""
    records = [record for record in log.records if record.name == "flask_rest_registration.contrib.hibp"]
    assert all(record.levelno == logging.WARNING and not record.exc_info for record in records)
    told = [record.getMessage().partition(": ") for record in records]
    assert {start for start, _, _ in told} <= {"Pwned Passwords could not be asked, a password was not looked up"}
    return [reason for _, _, reason in told]


def start_of(value: object) -> str:
    """Name a test by the start of what may be long."""
    return repr(value)[:40]


def is_refused(server: RangeServer, password: str = PASSWORD, *, url: str = "", timeout: float = AMPLE) -> bool:
    try:
        PwnedPasswordValidator(url=url or server.url, timeout=timeout)(password, {})
    except ValidationError as error:
        return (error.messages, error.__context__) == ([REFUSAL], None)
    return False


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_password_from_a_breach_is_refused_with_a_sentence_that_says_why(framing: Framing, log: Log) -> None:
    with RangeServer({PASSWORD: 1, "in the range as padding": 0}, framing=framing) as server:
        assert is_refused(server)
        assert not is_refused(server, "in no breach")
        assert not is_refused(server, "in the range as padding")
    assert len(server.requests) == 3
    assert reasons(log) == []


@pytest.mark.parametrize(
    "body",
    [
        *[b"\r\n".join([MISS] * position + [HIT] + [MISS] * (500 - position)) for position in (0, 250, 500)],
        b"\r\n".join([*[MISS] * 10_000, HIT]),
        HIT.lower(),
        HIT + b"\r\n",
        MISS + b"\n" + HIT + b"\n",
    ],
    ids=start_of,
)
def test_the_place_in_the_range_small_letters_and_other_ends_of_lines_do_not_matter(body: bytes) -> None:
    with RangeServer(answer=http(body)) as server:
        assert is_refused(server)


@pytest.mark.parametrize(
    "password", ["žluťoučký kůň", "🦉猫 owl", " spaces ", "tab\tand\nline", "nul\0", "", "x" * 10_000, "\ud83d half"]
)
def test_a_password_is_looked_up_exactly_as_sent_in_utf_8(password: str, log: Log) -> None:
    with RangeServer({password: 3}) as server:
        assert is_refused(server, password)
        assert not is_refused(server, password + " ")
    assert reasons(log) == []


def test_only_five_characters_of_the_hash_leave_the_machine_and_by_no_proxy(monkeypatch: Patch) -> None:
    with RangeServer() as proxy, RangeServer() as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        PwnedPasswordValidator(url=server.url, timeout=AMPLE)(PASSWORD, {"email": "ann@example.com"})
    assert proxy.requests == []
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
        assert is_refused(server, url=f"http://127.0.0.1:{server.port}{path}")
    assert server.requests[0].startswith(f"GET {asked}{DIGEST[:5]} ".encode())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str, log: Log) -> None:
    with RangeServer({PASSWORD: 1}) as other:
        answer = http(HIT, status=status, headers=[f"Location: {other.url}{DIGEST[:5]}"])
        with RangeServer(answer=answer) as server:
            assert not is_refused(server)
    assert reasons(log) == [f"the status is {status[:3]}"]
    assert other.requests == []


NO_COUNTS = (b"", b":", b":-1", b":1.5", b":many", b":" + "١٢".encode(), b":" + b"9" * 5000)
NO_RANGES = (
    *[SUFFIX + count for count in NO_COUNTS],
    b"",
    b"\r\n",
    b"<!doctype html><title>Sign in to the hotel's network</title>",
    HIT + b"\r\n\r\n" + HIT,
    HIT + b"\r\nand so on",
    HIT + HIT,
    b" " + HIT,
    DIGEST.encode() + b":12",
    b"\x1f\x8b\x08\x00\xff\xfe\x00" + bytes(range(256)),
)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        *[(http(HIT, status=f"{status} No"), f"the status is {status}") for status in (204, 404, 429, 503)],
        *[(http(body), "the answer is not a list of hashes and counts") for body in NO_RANGES],
        *[(http(b"\r\n".join([HIT, *[MISS] * 20_000]), framing=framing), CUT_OFF) for framing in FRAMINGS],
        (http(RANGE)[:-20], CUT_OFF),
        (http(RANGE).partition(HIT)[0] + HIT, CUT_OFF),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n", CUT_OFF),
        (http(RANGE, framing="chunked")[:-200], "IncompleteRead"),
        (CHUNKED + b"26\r\n" + HIT + b"\r\n", "IncompleteRead"),
        (CHUNKED + b"nonsense\r\n" + HIT, "IncompleteRead"),
        (b"", "RemoteDisconnected"),
        (b"HTTP/1.1 2", "BadStatusLine"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "BadStatusLine"),
        (b"\0" * 100, "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200, "HTTPException"),
        (b"HTTP/1.1 " + b"2" * 70_000, "LineTooLong"),
    ],
    ids=start_of,
)
def test_an_answer_that_is_no_range_lets_the_password_pass_and_is_logged(answer: bytes, reason: str, log: Log) -> None:
    with RangeServer(answer=answer) as server:
        assert not is_refused(server)
    assert reasons(log) == [reason]


def test_an_answer_of_half_a_mebibyte_is_just_not_too_long() -> None:
    count, missing = divmod(2**19 - len(HIT), len(b"\r\n" + MISS))
    # A digit more for each missing byte.
    body = b"\r\n".join([HIT, *[MISS + b"1"] * missing, *[MISS] * (count - missing)])
    assert len(body) == 2**19
    with RangeServer(answer=http(body)) as server:
        assert is_refused(server)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED + b"fffffffff\r\n", CHUNKED + b"-1\r\n"])
def test_of_an_answer_that_never_ends_no_more_than_the_limit_is_read(head: bytes, log: Log) -> None:
    with RangeServer(answer=head, then="flood") as server:
        assert not is_refused(server)
    assert reasons(log) in ([CUT_OFF], ["LineTooLong"])  # and not that time was over


def test_a_connection_refused_or_reset_lets_the_password_pass_and_is_logged(log: Log) -> None:
    with RangeServer(answer=http(RANGE)[:2000], then="reset") as server:
        assert not is_refused(server)
    assert not is_refused(server)
    PwnedPasswordValidator(url=f"https://{'a' * 64}.example/range/")(PASSWORD, {})  # a label has 63 characters
    reset, gone, _ = reasons(log)
    assert reset in {"ConnectionResetError", CUT_OFF}
    assert gone == "ConnectionRefusedError"


@pytest.mark.usefixtures("trusted_certificate")
@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nServer: ", http(RANGE)[:200], http(RANGE, framing="close"), CHUNKED],
    ids=start_of,
)
def test_a_server_that_stops_or_drips_is_left_when_the_time_is_over(answer: bytes, tls: bool, log: Log) -> None:
    with RangeServer(answer=answer, then="silence", tls=tls) as silent:
        assert not is_refused(silent, timeout=SHORT)
    with RangeServer(answer=answer, then="drip", tls=tls) as dripping:
        assert not is_refused(dripping, timeout=SHORT)
    with RecordingServer(fault=Silence()) as mute:  # which does not even shake hands
        url = f"{'https' if tls else 'http'}://127.0.0.1:{mute.port}/range/"
        PwnedPasswordValidator(url=url, timeout=SHORT)(PASSWORD, {})
    assert reasons(log) == ["TimeoutError"] * 3


def lead(monkeypatch: Patch, server: RangeServer) -> list[tuple[object, object]]:
    """Let every host name and port lead to a server, and return the list of what is looked up."""
    look_up = socket.getaddrinfo
    asked: list[tuple[object, object]] = []

    def look_up_loopback(host: str, port: int, *args: Any, **kwargs: Any) -> object:
        if host == "127.0.0.1":
            return look_up(host, port, *args, **kwargs)
        asked.append((host, port))
        return look_up("127.0.0.1", server.port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_loopback)
    return asked


def test_a_certificate_without_trust_or_of_another_name_lets_the_password_pass(monkeypatch: Patch, log: Log) -> None:
    with RangeServer({PASSWORD: 1}, tls=True) as server:
        assert not is_refused(server)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        asked = lead(monkeypatch, server)
        assert not is_refused(server, url="https://mirror.example/range/")
    assert asked == [("mirror.example", 443)]
    assert reasons(log) == ["SSLCertVerificationError"] * 2
    assert server.requests == []


@pytest.mark.usefixtures("trusted_certificate")
@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://localhost/range/", 443),
        ("https://localhost:8443/range/", 8443),
        ("http://localhost/range/", 80),
        ("http://localhost:443/range/", 443),
        ("http://[::1]/range/", 80),
    ],
)
def test_the_port_is_the_schemes_own_unless_the_url_names_another(monkeypatch: Patch, url: str, port: int) -> None:
    with RangeServer({PASSWORD: 1}, tls=url.startswith("https")) as server:
        asked = lead(monkeypatch, server)
        assert is_refused(server, url=url)
    assert [found for _, found in asked] == [port]
    assert server.headers()["Host"] == url.split("/")[2]


def test_a_registration_with_a_password_from_a_breach_is_refused_at_the_password(build: Builder, log: Log) -> None:
    with RangeServer({PASSWORD: 7}) as server:
        built = build(registration={"PASSWORD_VALIDATORS": [PwnedPasswordValidator(url=server.url, timeout=AMPLE)]})
        assert field_errors(built.register()) == {"password": [REFUSAL]}
        assert built.rows() == []
        assert built.register(password="lantern-52-glacier").status_code == 201
    assert reasons(log) == []
    # While the service is down, it is not looked up.
    assert built.register(email="bob@example.com", username="bob").status_code == 201
    assert (len(built.rows()), len(reasons(log))) == (2, 1)


@pytest.mark.parametrize("given", ["flask_rest_registration.contrib.hibp.validate_not_pwned", validate_not_pwned])
def test_object_and_dotted_path_ask_the_real_service(
    build: Builder, monkeypatch: Patch, log: Log, given: object
) -> None:
    with RangeServer({PASSWORD: 7}, tls=True) as server:
        asked = lead(monkeypatch, server)
        assert build(registration={"PASSWORD_VALIDATORS": [given]}).register().status_code == 201
    assert asked == [("api.pwnedpasswords.com", 443)]
    assert reasons(log) == ["SSLCertVerificationError"]  # ours is another server


@pytest.mark.parametrize(
    "url",
    [
        "api.pwnedpasswords.com/range/",
        "ftp://mirror.example/range/",
        "https:///range/",
        "https://user:secret@mirror.example/range/",
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
def test_a_time_out_is_two_seconds_or_another_of_more_than_zero_and_at_most_60(timeout: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        PwnedPasswordValidator(timeout=timeout)
    PwnedPasswordValidator(timeout=60)
    assert inspect.signature(PwnedPasswordValidator).parameters["timeout"].default == 2.0
