"""No input makes a 5xx: tables of bad bodies, and whatever hypothesis finds."""

from __future__ import annotations

import enum
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from hypothesis import example, given, settings, target
from hypothesis import strategies as st
from marshmallow import ValidationError
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    Unicode,
    Uuid,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.test import TestResponse

from flask_rest_registration import RegisterSigner
from flask_rest_registration.passwords import hash_password, validate_length, validate_strength
from tests.support import databases, models
from tests.support.answers import field_errors, is_proper
from tests.support.apps import CHECK_LINK, OMITTED, PASSWORD, REGISTER, VERIFY, Built, make_app

pytestmark = pytest.mark.database

BOTH = [REGISTER, VERIFY]
APPLICATION_JSON = "application/json"
FIELDS = {
    REGISTER: ["email", "username", "password", "password_confirm"],
    VERIFY: ["user_id", "timestamp", "signature"],
}
#: What all endpoints read together with e-mail first.
EMAIL_FIRST_PATH = "with e-mail first"
FIELDS[EMAIL_FIRST_PATH] = [*FIELDS[REGISTER], *FIELDS[VERIFY], "code"]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Wide:
    """A mixin with a nullable column of each type that a stranger may fill."""

    small: Mapped[int | None] = mapped_column(SmallInteger)
    integer: Mapped[int | None] = mapped_column(Integer)
    big: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    real: Mapped[float | None] = mapped_column(Float)
    amount: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    precise: Mapped[Decimal | None] = mapped_column(Numeric)
    born: Mapped[date | None] = mapped_column(Date)
    moment: Mapped[datetime | None] = mapped_column(DateTime)
    zoned: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    alarm: Mapped[time_of_day | None] = mapped_column(Time)
    pause: Mapped[timedelta | None] = mapped_column(Interval)
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour))
    size: Mapped[str | None] = mapped_column(Enum("S", "M", "L", name="sizes"))
    settings: Mapped[Any | None] = mapped_column(JSON)
    agreed: Mapped[bool | None] = mapped_column(Boolean)
    device: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    device_text: Mapped[str | None] = mapped_column(Uuid(as_uuid=False), unique=True)
    short: Mapped[str | None] = mapped_column(String(10))
    nickname: Mapped[str | None] = mapped_column(Unicode(20), unique=True)
    about: Mapped[str | None] = mapped_column(Text)


COLUMNS = [name for name in vars(Wide) if not name.startswith("_")]


def wide(db: SQLAlchemy) -> type[Any]:
    """The columns of ``Wide`` beside the ones that registration needs."""

    class User(Wide, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


class Target:
    """An app that many bodies are sent to, without mail."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self._sent = 0

    def post(self, path: str, body: object) -> TestResponse:
        """Post bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.built.post(path, data=data, content_type=APPLICATION_JSON)

    def register(self, **fields: object) -> TestResponse:
        """Sign up as somebody else each time, with some fields changed."""
        self._sent += 1
        new: dict[str, object] = {"email": f"user{self._sent}@example.com"}
        if hasattr(self.built.User, "username"):
            new["username"] = f"user{self._sent}"
        return self.post(REGISTER, {**self.built.body(**new), **fields})

    def complete(self, **fields: object) -> TestResponse:
        """Make the account of somebody else each time by a true link, with some fields changed."""
        self._sent += 1
        assert self.built.Pending is not None
        row = self.built.Pending(
            id=uuid.uuid4(),
            email=f"user{self._sent}@example.com",
            sent_at=int(time.time()),
            **dict.fromkeys(("mails", "next_mail_at", "code_attempts"), 0),
        )
        with self.built.app.app_context():
            self.built.db.session.add(row)
            self.built.db.session.commit()
            link = RegisterSigner.for_user(row).get_signed_data()
        account = self.built.body(email=OMITTED, username=f"user{self._sent}")
        return self.post(VERIFY, {**account, **link, **fields})


def new_target(
    store: databases.Store, model: models.Model, *, pending: bool = False, **settings_of_app: object
) -> Iterator[Target]:
    # As in production: an exception that comes through would be a 500.
    uri = store.take()
    built = make_app(
        model,
        database_uri=uri,
        pending=pending,
        registration=settings_of_app,
        config={"TESTING": False, "MAIL_SUPPRESS_SEND": True},
    )
    yield Target(built)
    built.dispose()
    store.give_back(uri)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, server_databases: databases.Databases | None) -> databases.Store:
    return server_databases or databases.Files(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def usual(store: databases.Store) -> Iterator[Target]:
    """The usual model."""
    yield from new_target(store, models.typed)


@pytest.fixture(scope="module")
def with_uuid(store: databases.Store) -> Iterator[Target]:
    """A UUID as the key, and ``set_password()``."""
    yield from new_target(store, models.uuid_key)


@pytest.fixture(scope="module")
def wide_open(store: databases.Store) -> Iterator[Target]:
    """A model that lets strangers fill columns of every type."""
    yield from new_target(store, wide, USER_EDITABLE_FIELDS=COLUMNS)


@pytest.fixture(scope="module")
def email_first(store: databases.Store) -> Iterator[Target]:
    """The usual model, with e-mail first and codes."""
    switches = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True}
    yield from new_target(store, models.typed, pending=True, **switches)


# Tables

NUMBERS: list[object] = [
    0,
    -1,
    1,
    2**15,
    2**31,
    -(2**31) - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    1.5,
    1e308,
    -0.0,
    1e-320,
]
TEXTS: list[object] = [
    *("", " ", "\0", "a\0b", "\ud800", "\n", "\r\n\r\nBcc: b@example.com", "\u202e", "\u200b", "﷽" * 20, "İ" * 300),
    *("a" * 255, "a" * 10_000, "a" * 60_000, "é" * 256, "\U0001f600" * 40, "ß" * 128, "e\u0301" * 200, "\ufdfa" * 80),
    *(
        "a@b",
        "@",
        "a@@example.com",
        "a@example.com,b@example.com",
        "a@example.com\n",
        '"a b"@example.com',
        "ü@example.com",
    ),
    *(
        f"{'a' * 65}@example.com",
        f"a@{'b.' * 130}com",
        "a@[127.0.0.1]",
        "a@xn--.com",
        "a＠example.com",
        "<a@example.com>",
    ),
    *("NaN", "Infinity", "-Infinity", "inf", "1e999", "1e400", "1_000", "١٢٣", "0x10", "99999999999999999999", "-0"),
    *("1" * 5000, "1e99999999", "1E-99999999", "2147483648", "00000000-0000-0000-0000-000000000000", "{" * 40),
    *("0001-01-01", "9999-12-31", "10000-01-01", "2023-02-30", "0000-00-00", "2023-13-45T99:99:99Z", "1e9"),
    *(
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2023-01-01T00:00:00.999999999",
        "24:00",
        "12:00+99:99",
    ),
    *("RED", "red", "__class__", "{{ 7 * 7 }}", "%s%n", "' OR 1=1 --", "true", "null", "None"),
]
OTHERS: list[object] = [
    *(None, True, False, [], {}, [None], [[]], {"a": {}}, ["a@example.com"], {"$ne": None}, {"": ""}, [1] * 1000),
    *({"\ud800": "x"}, ["\0"], {"deep": [{"\0": 1}]}, [10**400], {"a": 1e308}, [[[[[[[[1]]]]]]]]),
]
HOSTILE = [*NUMBERS, *TEXTS, *OTHERS]


def improper(answer: Callable[[object], TestResponse], values: list[object]) -> list[str]:
    """List the values whose answer is a 5xx or has not our shape."""
    return [ascii(value)[:80] for value in values if not is_proper(answer(value))]


@pytest.mark.parametrize("field", FIELDS[REGISTER])
def test_no_value_of_a_field_of_register_makes_a_5xx(usual: Target, field: str) -> None:
    assert improper(lambda value: usual.register(**{field: value}), HOSTILE) == []


@pytest.mark.parametrize("confirmed", [PASSWORD + "\u0301", "\u200b" * 60, "ß" * 256, "\U0001f600" * 64, "a" * 300])
def test_no_password_makes_a_5xx(usual: Target, confirmed: str) -> None:
    assert is_proper(usual.register(password=confirmed, password_confirm=confirmed))


@pytest.mark.parametrize("app", ["usual", "with_uuid"])
@pytest.mark.parametrize("field", FIELDS[VERIFY])
def test_no_value_of_a_link_makes_a_5xx(request: pytest.FixtureRequest, app: str, field: str) -> None:
    target_app: Target = request.getfixturevalue(app)
    link = {"user_id": "1", "timestamp": "1700000000", "signature": "x" * 43}
    assert improper(lambda value: target_app.post(VERIFY, {**link, field: value}), HOSTILE) == []


LINK: dict[str, object] = {"user_id": str(uuid.uuid4()), "timestamp": "1700000000", "signature": "x" * 43}
CODE: dict[str, object] = {"email": "ann@example.com", "code": "123456"}
EMAIL_FIRST_BODIES: dict[str, tuple[str, dict[str, object]]] = {
    "address": (REGISTER, {"email": "ann@example.com"}),
    "link": (VERIFY, LINK),
    "link to look at": (CHECK_LINK, LINK),
    "code": (VERIFY, CODE),
}
EMAIL_FIRST_VALUES = [(name, field) for name, (_, body) in EMAIL_FIRST_BODIES.items() for field in body]


@pytest.mark.parametrize(("name", "field"), EMAIL_FIRST_VALUES)
def test_no_value_of_address_link_or_code_makes_a_5xx(email_first: Target, name: str, field: str) -> None:
    path, body = EMAIL_FIRST_BODIES[name]
    account = email_first.built.body(email=OMITTED) if path == VERIFY else {}
    assert improper(lambda value: email_first.post(path, {**account, **body, field: value}), HOSTILE) == []


@pytest.mark.parametrize("field", [*FIELDS[REGISTER], "code", "id", "sent_at"])
def test_no_value_of_a_field_beside_a_true_link_makes_a_5xx(email_first: Target, field: str) -> None:
    assert improper(lambda value: email_first.complete(**{field: value}), HOSTILE) == []


@pytest.mark.parametrize("path", BOTH)
def test_no_value_as_a_whole_body_makes_a_5xx(usual: Target, path: str) -> None:
    assert improper(lambda value: usual.post(path, value), HOSTILE) == []


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=\udc80"},
        {"Content-Type": "application/json; charset=rot13"},
        {"Content-Type": "application/" + "x" * 5000 + "+json"},
        {"Content-Encoding": "gzip"},
        {"Content-Length": "-1"},
        {"Content-Length": "x"},
        {"Content-Length": "99999999999999999999"},
        {"Content-Length": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Transfer-Encoding": "gzip, chunked", "Content-Length": "3"},
        {"Host": "\x00"},
        {"Cookie": "session=\x00; ;=;"},
        {"X-HTTP-Method-Override": "GET", "Accept": "text/html", "Accept-Encoding": "identity;q=0"},
    ],
    ids=lambda headers: ascii(headers)[:60],
)
def test_no_header_makes_a_5xx(usual: Target, path: str, headers: dict[str, str]) -> None:
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{name}" in environ:
            environ[name] = environ.pop(f"HTTP_{name}")
    body = json.dumps(usual.built.body())
    response = usual.built.post(path, data=body, content_type=APPLICATION_JSON, environ_overrides=environ)
    assert response.status_code < 500


@pytest.mark.parametrize("column", COLUMNS)
def test_no_value_of_a_column_that_strangers_may_fill_makes_a_5xx_or_a_row_that_cannot_be_read(
    wide_open: Target, column: str
) -> None:
    assert improper(lambda value: wide_open.register(**{column: value}), HOSTILE) == []
    built = wide_open.built
    with built.app.app_context():
        assert built.db.session.scalars(select(getattr(built.User, column))).all() != []


GOOD: dict[str, object] = {
    "small": 1,
    "integer": 2,
    "big": 2**40,
    "real": 1.5,
    "amount": "12.50",
    "precise": 3,
    "born": "2000-02-29",
    "moment": "2023-01-01T12:00:00",
    "zoned": "2023-01-01T12:00:00+00:00",
    "alarm": "07:30:00",
    "pause": 60,
    "colour": "RED",
    "size": "M",
    "settings": {"a": [1]},
    "agreed": True,
    "device": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "device_text": "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
    "short": "a",
    "nickname": "ann",
    "about": "a",
}


@pytest.mark.parametrize("column", GOOD)
def test_a_column_that_strangers_may_fill_takes_a_good_value(wide_open: Target, column: str) -> None:
    response = wide_open.register(**{column: GOOD[column]})
    assert response.status_code == 201, response.text
    built = wide_open.built
    with built.app.app_context():
        stored = built.db.session.scalar(select(getattr(built.User, column)).filter_by(id=response.get_json()["id"]))
    assert stored is not None
    assert response.get_json()[column] is not None


@pytest.mark.parametrize(("column", "bits"), [("small", 16), ("integer", 32), ("big", 64)])
def test_a_number_out_of_the_columns_range_is_an_error_at_its_field(wide_open: Target, column: str, bits: int) -> None:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for number in (lowest, highest):
        assert wide_open.register(**{column: number}).status_code == 201
    for number in (lowest - 1, highest + 1):
        assert list(field_errors(wide_open.register(**{column: number}))) == [column]


# Whatever hypothesis finds

any_text = st.text(st.characters(exclude_categories=[]))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def objects(draw: st.DrawFn, path: str) -> dict[str, object]:
    """Objects that mostly have the right names, so that more than the names is looked at."""
    value = any_json | st.sampled_from(HOSTILE) | any_text
    known = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS[path], value)))
    unknown = draw(st.dictionaries(any_text, any_json, max_size=1))
    return {**known, **unknown} if draw(st.booleans()) else known


@pytest.mark.parametrize("path", BOTH)
@given(data=st.data())
def test_no_json_makes_a_5xx(usual: Target, path: str, data: st.DataObject) -> None:
    body = data.draw(objects(path) | any_json)
    assert is_proper(usual.post(path, body))


@pytest.mark.parametrize("path", [*BOTH, CHECK_LINK])
@given(data=st.data())
def test_no_json_with_e_mail_first_makes_a_5xx(email_first: Target, path: str, data: st.DataObject) -> None:
    body = data.draw(objects(EMAIL_FIRST_PATH) | any_json)
    assert is_proper(email_first.post(path, body))


@given(changes=objects(REGISTER))
def test_no_change_of_what_comes_with_a_true_link_makes_a_5xx(email_first: Target, changes: dict[str, object]) -> None:
    if "password" in changes:
        changes["password_confirm"] = changes["password"]
    assert is_proper(email_first.complete(**changes))


@given(changes=objects(REGISTER))
def test_no_change_of_a_good_registration_makes_a_5xx(usual: Target, changes: dict[str, object]) -> None:
    if "password" in changes:
        changes["password_confirm"] = changes["password"]
    assert is_proper(usual.register(**changes))


@given(column=st.sampled_from(COLUMNS), value=any_json | any_text)
def test_no_json_in_a_column_that_strangers_may_fill_makes_a_5xx(wide_open: Target, column: str, value: object) -> None:
    assert is_proper(wide_open.register(**{column: value}))


@pytest.mark.parametrize("path", BOTH)
@given(text=any_text)
def test_no_text_makes_a_5xx(usual: Target, path: str, text: str) -> None:
    assert is_proper(usual.post(path, text.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("path", BOTH)
@given(body=st.binary(max_size=2000), media_type=st.sampled_from([APPLICATION_JSON, "text/plain", ""]) | st.text())
def test_no_bytes_make_a_5xx(usual: Target, path: str, body: bytes, media_type: str) -> None:
    overrides = {"CONTENT_TYPE": media_type.encode().decode("latin-1")}
    assert is_proper(usual.built.post(path, data=body, environ_overrides=overrides))


@pytest.mark.parametrize("path", BOTH)
@given(data=st.data())
def test_no_damaged_json_makes_a_5xx(usual: Target, path: str, data: st.DataObject) -> None:
    body = json.dumps(data.draw(objects(path)), ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    start = data.draw(st.integers(0, len(body)))
    damage = data.draw(
        st.binary(max_size=4) | st.sampled_from([b'"', b"\\u", b"\\ud800", b"{", b"[", b":", b"\0", b"NaN"])
    )
    assert is_proper(usual.post(path, body[:start] + damage + body[start + data.draw(st.integers(0, 3)) :]))


# The price of a password

#: What zxcvbn's matchers are slowest with: substitutions, rows of keys, repetitions, dates, common words.
DEAR = [
    "4@8({[<369&#!1/|0$5+7%2",
    "qwertyuiop1qaz2wsx",
    "abcabcaab",
    "19-11-1991 2001",
    "passwordmonkey",
    "aA1!",
    "ÀßŒ",
]


def seconds(function: Callable[[], object]) -> float:
    """Return the CPU time that a call takes."""
    before = time.thread_time()
    function()
    return time.thread_time() - before


def judge(password: str, user_data: dict[str, object]) -> None:
    """Run the default validators, whatever they say."""
    for validate in (validate_length, validate_strength):
        try:
            validate(password, user_data)
        except ValidationError:
            continue


@pytest.fixture(scope="module")
def price_of_the_hash() -> float:
    hash_password(PASSWORD)
    return min(seconds(lambda: hash_password(PASSWORD)) for _ in range(3))


dear_text = st.text(st.sampled_from("".join(DEAR)), max_size=256) | st.lists(st.sampled_from(DEAR), max_size=40).map(
    "".join
)


@settings(max_examples=60)
@example(password="4@8({[<369&#!1/|0$5+7%2" * 11, username="4@8({[<369&#!1/|0$5+7%2" * 3)
@example(password="1234567890" * 25, username="1234567890" * 8)
@example(password="a" * 60_000, username="a" * 60_000)
@example(password="4" * 256, username="a")
@given(password=dear_text, username=dear_text)
def test_the_dearest_password_that_is_found_costs_less_than_its_hash(
    price_of_the_hash: float, password: str, username: str
) -> None:
    user_data: dict[str, object] = {
        "email": f"{username[:64]}@example.com",
        "username": username,
        "about": username * 50,
    }
    ratio = seconds(lambda: judge(password, user_data)) / price_of_the_hash
    if ratio >= 1:  # once more, before a pause of the machine is called a fault
        ratio = min(seconds(lambda: judge(password, user_data)) / price_of_the_hash for _ in range(3))
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

    price = min(seconds(lambda: answers.append(usual.post(REGISTER, body))) for _ in range(2))

    assert [list(field_errors(answer)) for answer in answers] == [[field]] * 2
    assert price < price_of_the_hash / 2
