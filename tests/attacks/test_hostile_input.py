"""No input makes a 5xx: tables of bad bodies, and whatever hypothesis finds."""

from __future__ import annotations

import enum
import json
import time
import timeit
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from hypothesis import example, given, settings, target
from hypothesis import strategies as st
from marshmallow import ValidationError
from sqlalchemy.orm import mapped_column
from werkzeug.test import TestResponse

from flask_rest_registration import RegisterSigner
from flask_rest_registration.passwords import hash_password, validate_length, validate_strength
from tests.support import databases, models
from tests.support.answers import field_errors, is_proper
from tests.support.apps import CHECK_LINK, OMITTED, PASSWORD, REGISTER, VERIFY, Built, make_app
from tests.support.pending import CODES

pytestmark = [pytest.mark.database, pytest.mark.slow_on_servers]

BOTH = pytest.mark.parametrize("path", [REGISTER, VERIFY])
APPLICATION_JSON = "application/json"
FIELDS = {
    REGISTER: ["email", "username", "password", "password_confirm"],
    VERIFY: ["user_id", "timestamp", "signature"],
}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


#: A column of each type that a stranger may fill, with a good value.
_WIDE: dict[str, tuple[Callable[[], Any], object]] = {
    "small": (sa.SmallInteger, 1),
    "integer": (sa.Integer, 2),
    "big": (sa.BigInteger, 2**40),
    "real": (sa.Float, 1.5),
    "amount": (lambda: sa.Numeric(10, 2), "12.50"),
    "precise": (sa.Numeric, 3),
    "born": (sa.Date, "2000-02-29"),
    "local": (sa.DateTime, "2023-01-01T12:00:00"),
    "zoned": (lambda: sa.DateTime(timezone=True), "2023-01-01T12:00:00+00:00"),
    "alarm": (sa.Time, "07:30:00"),
    "pause": (sa.Interval, 60),
    "colour": (lambda: sa.Enum(Colour), "RED"),
    "size": (lambda: sa.Enum("S", "M", "L", name="sizes"), "M"),
    "settings": (sa.JSON, {"a": [1]}),
    "agreed": (sa.Boolean, True),
    "device": (sa.Uuid, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    "device_text": (lambda: sa.Uuid(as_uuid=False), "6ba7b811-9dad-11d1-80b4-00c04fd430c8"),
    "short": (lambda: sa.String(10), "a"),
    "nickname": (lambda: sa.Unicode(20), "ann"),
    "about": (sa.Text, "a"),
}
_UNIQUE = {"big", "device_text", "nickname"}
COLUMNS = list(_WIDE)
GOOD = {name: value for name, (_, value) in _WIDE.items()}


def wide(db: SQLAlchemy) -> type[Any]:
    columns = {name: mapped_column(kind(), unique=name in _UNIQUE or None) for name, (kind, _) in _WIDE.items()}
    return models.declared(**columns)(db)


@dataclass
class Target:
    """An app that many bodies are sent to, without mail."""

    built: Built
    _sent: int = 0

    def post(self, path: str, body: object) -> TestResponse:
        """Post bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.built.post(path, data=data, content_type=APPLICATION_JSON)

    def register(self, **fields: object) -> TestResponse:
        """Sign up as somebody else each time, with some fields changed."""
        self._sent += 1
        name = f"user{self._sent}"
        username = name if hasattr(self.built.User, "username") else OMITTED
        return self.post(REGISTER, {**self.built.body(email=f"{name}@example.com", username=username), **fields})

    def complete(self, **fields: object) -> TestResponse:
        """Make the account of somebody else each time by a true link, with some fields changed."""
        self._sent += 1
        email = f"user{self._sent}@example.com"
        self.post(REGISTER, {"email": email})
        pending: Any = self.built.Pending
        with self.built.app.app_context():
            row = self.built.db.session.scalars(sa.select(pending).filter_by(email=email)).one()
            link = RegisterSigner.for_user(row).get_signed_data()
        account = self.built.body(email=OMITTED, username=f"user{self._sent}")
        return self.post(VERIFY, {**account, **link, **fields})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, server_databases: databases.Databases | None) -> databases.Store:
    return server_databases or databases.Files(tmp_path_factory.mktemp("hostile"))


def fixture_of(name: str, model: models.Model, *, pending: bool = False, **registration: object) -> Any:
    """Make a fixture of the module: an app as in production, where an exception that comes through would be a 500."""

    @pytest.fixture(scope="module", name=name)
    def new_target(store: databases.Store) -> Iterator[Target]:
        uri = store.take()
        config = {"TESTING": False, "MAIL_SUPPRESS_SEND": True}
        built = make_app(model, database_uri=uri, pending=pending, registration=registration, config=config)
        yield Target(built)
        built.dispose()
        store.give_back(uri)

    return new_target


usual_app = fixture_of("usual", models.typed)
uuid_app = fixture_of("with_uuid", models.uuid_key)
wide_app = fixture_of("wide_open", wide, USER_EDITABLE_FIELDS=COLUMNS)
email_first_app = fixture_of("email_first", models.typed, pending=True, **CODES)


NUMBERS = [0, -1, 2**15, 2**31, -(2**31) - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, 1e308, -0.0, 1e-320]
TEXTS = [
    *("", " ", "\0", "a\0b", "\ud800", "\n", "\r\n\r\nBcc: b@example.com", "\u202e", "\u200b", "﷽" * 20, "İ" * 300),
    *("a" * 255, "a" * 10_000, "a" * 60_000, "é" * 256, "\U0001f600" * 40, "ß" * 128, "e\u0301" * 200, "\ufdfa" * 80),
    *("a@b", "@", "a@@example.com", "a@example.com,b@example.com", "a@example.com\n", '"a b"@example.com'),
    *("ü@example.com", f"{'a' * 65}@example.com", f"a@{'b.' * 130}com", "a@[127.0.0.1]", "a@xn--.com"),
    *("a＠example.com", "<a@example.com>"),
    *("NaN", "Infinity", "-Infinity", "inf", "1e999", "1e400", "1_000", "١٢٣", "0x10", "99999999999999999999", "-0"),
    *("1" * 5000, "1e99999999", "1E-99999999", "2147483648", "00000000-0000-0000-0000-000000000000", "{" * 40),
    *("0001-01-01", "9999-12-31", "10000-01-01", "2023-02-30", "0000-00-00", "2023-13-45T99:99:99Z", "1e9"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2023-01-01T00:00:00.999999999"),
    *("24:00", "12:00+99:99"),
    *("RED", "red", "__class__", "{{ 7 * 7 }}", "%s%n", "' OR 1=1 --", "true", "null", "None"),
]
OTHERS: list[object] = [
    *(None, True, False, [], {}, [None], [[]], {"a": {}}, ["a@example.com"], {"$ne": None}, {"": ""}, [1] * 1000),
    *({"\ud800": "x"}, ["\0"], {"deep": [{"\0": 1}]}, [10**400], {"a": 1e308}, [[[[[[[[1]]]]]]]]),
]
HOSTILE: list[object] = [*NUMBERS, *TEXTS, *OTHERS]


def improper(answer: Callable[[object], TestResponse], values: list[object]) -> list[str]:
    """List the values whose answer is a 5xx or has not our shape."""
    return [ascii(value)[:80] for value in values if not is_proper(answer(value))]


#: Also both passwords at once.
TOGETHER = [*((field,) for field in FIELDS[REGISTER]), ("password", "password_confirm")]
PASSWORDS: list[object] = [PASSWORD + "\u0301", "\u200b" * 60, "ß" * 256, "\U0001f600" * 64, "a" * 300]


@pytest.mark.slow
@pytest.mark.parametrize("fields", [*TOGETHER, ("code",), ("id", "sent_at")], ids=" and ".join)
def test_no_value_of_an_accounts_field_makes_a_5xx_at_sign_up_or_beside_a_true_link(
    usual: Target, email_first: Target, fields: tuple[str, ...]
) -> None:
    values = [*HOSTILE, *PASSWORDS]
    assert improper(lambda value: usual.register(**dict.fromkeys(fields, value)), values) == []
    assert improper(lambda value: email_first.complete(**dict.fromkeys(fields, value)), values) == []


LINK: dict[str, object] = {"user_id": "1", "timestamp": "1700000000", "signature": "x" * 43}
PENDING_LINK = {**LINK, "user_id": str(uuid.uuid4())}
#: What is sent where.
BODIES: dict[str, tuple[str, str, dict[str, object]]] = {
    "link": ("usual", VERIFY, LINK),
    "link of a UUID": ("with_uuid", VERIFY, LINK),
    "address": ("email_first", REGISTER, {"email": "ann@example.com"}),
    "link of an address": ("email_first", VERIFY, PENDING_LINK),
    "link to look at": ("email_first", CHECK_LINK, PENDING_LINK),
    "code": ("email_first", VERIFY, {"email": "ann@example.com", "code": "123456"}),
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, (*_, body) in BODIES.items() for field in body])
def test_no_value_of_address_link_or_code_makes_a_5xx(request: pytest.FixtureRequest, name: str, field: str) -> None:
    app, path, body = BODIES[name]
    sent_to: Target = request.getfixturevalue(app)
    account = sent_to.built.body(email=OMITTED) if path == VERIFY else {}
    assert improper(lambda value: sent_to.post(path, {**account, **body, field: value}), HOSTILE) == []


@BOTH
def test_no_value_as_a_whole_body_makes_a_5xx(usual: Target, path: str) -> None:
    assert improper(lambda value: usual.post(path, value), HOSTILE) == []


@BOTH
@pytest.mark.parametrize(
    "headers",
    [
        *({"CONTENT_TYPE": f"application/json; charset={charset}"} for charset in ("\udc80", "rot13")),
        {"CONTENT_TYPE": "application/" + "x" * 5000 + "+json"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        *({"CONTENT_LENGTH": length} for length in ("-1", "x", "99999999999999999999", "1")),
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_TRANSFER_ENCODING": "gzip, chunked", "CONTENT_LENGTH": "3"},
        {"HTTP_HOST": "\x00"},
        {"HTTP_COOKIE": "session=\x00; ;=;"},
        {"HTTP_X_HTTP_METHOD_OVERRIDE": "GET", "HTTP_ACCEPT": "text/html", "HTTP_ACCEPT_ENCODING": "identity;q=0"},
    ],
    ids=lambda headers: ascii(headers)[:60],
)
def test_no_header_makes_a_5xx(usual: Target, path: str, headers: dict[str, str]) -> None:
    body = json.dumps(usual.built.body())
    response = usual.built.post(path, data=body, content_type=APPLICATION_JSON, environ_overrides=headers)
    assert response.status_code < 500


def values_in(built: Built, column: str, **where: object) -> list[object]:
    with built.app.app_context():
        return list(built.db.session.scalars(sa.select(getattr(built.User, column)).filter_by(**where)))


@pytest.mark.parametrize("column", COLUMNS)
def test_no_value_of_a_column_makes_a_5xx_or_a_row_that_cannot_be_read(wide_open: Target, column: str) -> None:
    response = wide_open.register(**{column: GOOD[column]})
    assert response.status_code == 201, response.text
    assert response.get_json()[column] is not None
    assert values_in(wide_open.built, column, id=response.get_json()["id"]) != [None]
    assert improper(lambda value: wide_open.register(**{column: value}), HOSTILE) == []
    assert values_in(wide_open.built, column) != []


any_text = st.text(st.characters(exclude_categories=[]))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def objects(draw: st.DrawFn, names: Sequence[str]) -> dict[str, object]:
    """Objects that mostly have the right names, so that more than the names is looked at."""
    value = any_json | st.sampled_from(HOSTILE) | any_text
    known = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(names, value)))
    unknown = draw(st.dictionaries(any_text, any_json, max_size=1))
    return {**known, **unknown} if draw(st.booleans()) else known


@BOTH
@given(data=st.data())
def test_no_json_makes_a_5xx(usual: Target, path: str, data: st.DataObject) -> None:
    assert is_proper(usual.post(path, data.draw(objects(FIELDS[path]) | any_json)))


@pytest.mark.parametrize("path", [REGISTER, VERIFY, CHECK_LINK])
@given(body=objects([*FIELDS[REGISTER], *FIELDS[VERIFY], "code"]) | any_json)
def test_no_json_with_e_mail_first_makes_a_5xx(email_first: Target, path: str, body: object) -> None:
    assert is_proper(email_first.post(path, body))


@given(changes=objects(FIELDS[REGISTER]))
def test_no_change_of_a_good_sign_up_makes_a_5xx(usual: Target, email_first: Target, changes: dict[str, Any]) -> None:
    if "password" in changes:
        changes["password_confirm"] = changes["password"]
    assert is_proper(usual.register(**changes))
    assert is_proper(email_first.complete(**changes))


@given(column=st.sampled_from(COLUMNS), value=any_json | any_text)
def test_no_json_in_a_column_that_strangers_may_fill_makes_a_5xx(wide_open: Target, column: str, value: object) -> None:
    assert is_proper(wide_open.register(**{column: value}))


any_bytes = st.binary(max_size=2000) | any_text.map(lambda text: text.encode("utf-8", "surrogatepass"))


@BOTH
@given(body=any_bytes, media_type=st.sampled_from([APPLICATION_JSON, "text/plain", ""]) | st.text())
def test_no_bytes_make_a_5xx(usual: Target, path: str, body: bytes, media_type: str) -> None:
    overrides = {"CONTENT_TYPE": media_type.encode().decode("latin-1")}
    assert is_proper(usual.built.post(path, data=body, environ_overrides=overrides))


@BOTH
@given(data=st.data())
def test_no_damaged_json_makes_a_5xx(usual: Target, path: str, data: st.DataObject) -> None:
    sent = data.draw(objects(FIELDS[path]))
    body = json.dumps(sent, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    start = data.draw(st.integers(0, len(body)))
    pieces = [b'"', b"\\u", b"\\ud800", b"{", b"[", b":", b"\0", b"NaN"]
    damage = data.draw(st.binary(max_size=4) | st.sampled_from(pieces))
    assert is_proper(usual.post(path, body[:start] + damage + body[start + data.draw(st.integers(0, 3)) :]))


#: What zxcvbn's matchers are slowest with: substitutions, rows of keys, repetitions, dates, common words.
SUBSTITUTIONS = "4@8({[<369&#!1/|0$5+7%2"
DEAR = [SUBSTITUTIONS, "qwertyuiop1qaz2wsx", "abcabcaab", "19-11-1991 2001", "passwordmonkey", "aA1!", "ÀßŒ"]


def seconds(function: Callable[[], object], *, calls: int = 1) -> float:
    """Return the CPU time of the fastest of some calls."""
    return min(timeit.repeat(function, timer=time.thread_time, number=1, repeat=calls))


def judge(password: str, user_data: dict[str, object]) -> None:
    """Run the default validators, whatever they say."""
    for validate in (validate_length, validate_strength):
        with suppress(ValidationError):
            validate(password, user_data)


@pytest.fixture(scope="module")
def price_of_the_hash() -> float:
    return seconds(lambda: hash_password(PASSWORD), calls=3)


dear_words = st.lists(st.sampled_from(DEAR), max_size=40)
dear_text = st.text(st.sampled_from("".join(DEAR)), max_size=256) | dear_words.map("".join)


@settings(max_examples=30)
@example(password=SUBSTITUTIONS * 11, username=SUBSTITUTIONS * 3)
@example(password="1234567890" * 25, username="1234567890" * 8)
@example(password="a" * 60_000, username="a" * 60_000)
@example(password="4" * 256, username="a")
@given(password=dear_text, username=dear_text)
def test_the_dearest_password_that_is_found_costs_less_than_its_hash(
    price_of_the_hash: float, password: str, username: str
) -> None:
    user_data: dict[str, object] = {"email": f"{username[:64]}@a.example", "username": username, "about": username * 50}
    ratio = seconds(lambda: judge(password, user_data)) / price_of_the_hash
    if ratio >= 1:  # once more, before a pause of the machine is called a fault
        ratio = seconds(lambda: judge(password, user_data), calls=3) / price_of_the_hash
    target(ratio)
    assert ratio < 1


#: Marks of four combining classes, the highest first: Unicode's normal forms sort them, in quadratic time.
UNSORTED_MARKS = "".join(mark * 7_500 for mark in "\u0345\u0301\u0316\u0327")


@pytest.mark.parametrize("field", ["username", "email"])
def test_a_text_that_is_dear_to_normalise_is_refused_for_less_than_a_hash(
    usual: Target, price_of_the_hash: float, field: str
) -> None:
    text = f"a@a{UNSORTED_MARKS}.example"
    body = json.dumps({**usual.built.body(), field: text}, ensure_ascii=False).encode()
    assert 60_000 < len(body) < 64 * 1024
    answers: list[TestResponse] = []
    price = seconds(lambda: answers.append(usual.post(REGISTER, body)), calls=2)
    assert [list(field_errors(answer)) for answer in answers] == [[field]] * 2
    assert price < price_of_the_hash / 2
