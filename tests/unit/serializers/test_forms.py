"""What calls for Python code read: forms, and whatever else is handed to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from io import BytesIO
from typing import Any

import pytest
from flask import current_app
from marshmallow import fields, pre_load
from werkzeug.datastructures import CombinedMultiDict, FileStorage, MultiDict

from flask_rest_registration import DefaultRegisterUserSerializer, InvalidInput, ParseError
from tests.support.answers import field_errors
from tests.support.apps import CHECK_LINK, REGISTER, VERIFY, Builder, Built
from tests.support.links import code_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import CODES, link_to


class Spy(DefaultRegisterUserSerializer):
    """Keeps what it is given."""

    tags = fields.List(fields.String())
    nickname = fields.String()
    letters = fields.List(fields.String(), required=True)

    @pre_load
    def keep(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        current_app.config["GIVEN"] = data
        return data


class SpyOnToken(Spy):
    """Reads the field in which Flask-WTF has its token elsewhere."""

    token = fields.String(data_key="csrf_token")


def read(built: Built, data: Mapping[Any, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return what a serializer gets of data that lacks a password, and where there are errors besides."""
    with built.app.app_context(), pytest.raises(InvalidInput) as refused:
        built.registration.register(data)
    return built.app.config["GIVEN"], set(refused.value.errors) - {"email", "username", "password", "password_confirm"}


def several(*pairs: tuple[str, Any]) -> MultiDict[str, Any]:
    return MultiDict(pairs)


UPLOAD = FileStorage(BytesIO(b"\0\n"), filename="a.txt")


@pytest.mark.parametrize(
    ("data", "expected", "errors"),
    [
        (several(("username", "ann"), ("username", "eve")), {"username": "ann"}, {"letters"}),
        (several(("tags", "a"), ("tags", ""), ("letters", "")), {"tags": ["a", ""], "letters": [""]}, set()),
        (several(("tags", ""), ("nickname", ""), ("username", "")), {"username": ""}, {"letters"}),
        (CombinedMultiDict([several(("letters", "a")), several(("letters", "b"))]), {"letters": ["a", "b"]}, set()),
        (several(("letters", UPLOAD)), {"letters": [UPLOAD]}, {"letters.0"}),
        ({"tags": ["a"], "letters": ["b"], "nickname": " "}, {"tags": ["a"], "letters": ["b"], "nickname": " "}, set()),
        ({"tags": [], "letters": "a", "nickname": ""}, {"tags": [], "letters": "a"}, {"letters"}),
        ({"csrf_token": "x", "letters": []}, {"letters": []}, set()),
        ({"CSRF_token": "x", "letters": []}, {"CSRF_token": "x", "letters": []}, {"CSRF_token"}),
        ({"submit": "Sign up", "letters": []}, {"submit": "Sign up", "letters": []}, {"submit"}),
    ],
)
def test_a_form_is_read_as_json_would_have_it(
    build: Builder, data: Mapping[str, Any], expected: dict[str, Any], errors: set[str]
) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Spy})
    before = list(data.items())
    assert read(built, data) == (expected, errors)
    assert list(data.items()) == before


@pytest.mark.parametrize(
    ("serializer", "name", "kept", "unknown"),
    [
        (Spy, "guard", {"csrf_token"}, {"csrf_token"}),
        (SpyOnToken, "guard", {"csrf_token"}, set()),
        (SpyOnToken, "csrf_token", {"csrf_token", "guard"}, {"guard"}),
    ],
)
def test_the_token_of_flask_wtf_is_ignored_unless_the_serializer_reads_its_field(
    build: Builder, serializer: type[Spy], name: str, kept: set[str], unknown: set[str]
) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": serializer}, config={"WTF_CSRF_FIELD_NAME": name})
    given, errors = read(built, {"csrf_token": "x", "guard": "y", "letters": []})
    assert (set(given), errors) == (kept | {"letters"}, unknown)


@pytest.mark.parametrize(
    ("filled", "field"),
    [
        ({"code"}, None),
        ({"user_id", "timestamp", "signature"}, None),
        ({"user_id", "code"}, "_schema"),
        (set(), "_schema"),
    ],
)
def test_one_form_may_take_a_link_or_a_code(
    build: Builder, smtp: RecordingServer, filled: set[str], field: str | None
) -> None:
    built = build(registration=CODES, pending=True)
    link = link_to(built, smtp)
    proof = {**link, "code": code_of(smtp.message)}
    form = MultiDict({**built.body(), **{name: value if name in filled else "" for name, value in proof.items()}})
    with built.app.app_context(), pytest.raises(InvalidInput) if field else nullcontext() as refused:
        built.registration.verify(form)
    assert len(built.rows()) == (0 if field else 1)
    assert refused is None or set(refused.value.errors) == {field}


PATHS = {"register": REGISTER, "verify": VERIFY, "check_link": CHECK_LINK}
#: What JSON can have, and what it has not.
NO_OBJECTS: list[Any] = [None, 5, 1.5, True, "text", "a\0", [], ["a"], [["email", "ann@example.com"]], ["\0"]]
NO_MAPPINGS: list[Callable[[], Any]] = [
    *(lambda: b"a", lambda: b"\0", lambda: ("a",), lambda: {"a"}, object, lambda: float("nan")),
    *(lambda: (each for each in "ab"), lambda: FileStorage(BytesIO(b"a\n")), lambda: [("email", "ann@example.com")]),
]


@pytest.mark.parametrize(
    ("settings", "names"), [({}, ["register", "verify"]), (CODES, [*PATHS])], ids=["at sign-up", "e-mail first"]
)
def test_what_is_no_mapping_is_refused_as_json_that_is_no_object(
    build: Builder, smtp: RecordingServer, settings: dict[str, Any], names: list[str]
) -> None:
    built = build(registration=settings, pending=bool(settings))

    def refused(name: str, data: Any) -> dict[str, Any]:
        with built.app.app_context(), pytest.raises(InvalidInput) as caught:
            getattr(built.registration, name)(data)
        return {**caught.value.errors}

    for name in names:
        for data in NO_OBJECTS:
            answer = built.post(PATHS[name], data=json.dumps(data), content_type="application/json")
            assert refused(name, data) == field_errors(answer), (name, data)
        for make in NO_MAPPINGS:
            assert set(refused(name, make())) == {"_schema"}, (name, make())
    assert (built.rows(), smtp.messages) == ([], [])


NO_TEXTS: list[Callable[[], Any]] = [
    *(lambda: None, lambda: 1.5, lambda: float("nan"), lambda: True, list, lambda: ["a"], lambda: {"a": 1}),
    *(lambda: {"a\0"}, lambda: ("a",), object, lambda: b"\xff", lambda: b"a\0", lambda: (each for each in "ab")),
    lambda: FileStorage(BytesIO(b"a\n")),
]


def test_a_value_that_is_no_text_is_an_error_at_its_field(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    link = {"user_id": "1", "timestamp": "1", "signature": "x"}
    registration = built.registration
    for call, good in ((registration.register, built.body()), (registration.verify, link)):
        for name in good:
            for make in NO_TEXTS:
                with built.app.app_context(), pytest.raises(InvalidInput) as refused:
                    call({**good, name: make()})
                assert name in refused.value.errors, (name, make())
    assert (built.rows(), smtp.messages) == ([], [])


@pytest.mark.parametrize(
    ("name", "field"), [(1, "1"), (None, "None"), (b"email", "b'email'"), (("a", "\0"), "_schema"), ("a\0", "_schema")]
)
def test_a_name_that_is_no_text_is_an_unknown_field(build: Builder, name: Any, field: str) -> None:
    built = build()
    for value in ("x", 5):
        with built.app.app_context(), pytest.raises(InvalidInput) as refused:
            built.registration.register({**built.body(), name: value})
        assert json.loads(json.dumps(refused.value.as_dict()))["errors"].keys() == {field}


@pytest.mark.parametrize(
    "tags",
    [["\0"], ("\0",), {"\0"}, frozenset("\0"), [b"\0"], [["\ud800"]], [{"\0": 1}], {"a": "\0"}, MultiDict({"a": "\0"})],
)
def test_texts_that_cannot_be_stored_are_found_wherever_a_field_would_read_them(build: Builder, tags: object) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Spy})
    with built.app.app_context(), pytest.raises(InvalidInput) as refused:
        built.registration.register({**built.body(), "letters": [], "tags": tags})
    assert refused.value.errors == {"tags": ["This text has characters that cannot be stored."]}


def test_a_list_without_an_end_is_refused(build: Builder) -> None:
    built = build()
    endless: list[Any] = []
    endless.append(endless)
    for data in (endless, {**built.body(), "username": endless}):
        with built.app.app_context(), pytest.raises(ParseError):
            built.registration.register(data)  # type: ignore[arg-type]
