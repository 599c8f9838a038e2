"""The application's hooks: each may be a coroutine function, and what it returns is checked."""

from __future__ import annotations

import asyncio
import functools
import html
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from flask import has_request_context
from flask_babel import Babel
from jinja2 import DictLoader
from marshmallow import ValidationError
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError, RegisterSigner
from tests.support.answers import field_errors, refused
from tests.support.apps import PASSWORD, Builder, Built
from tests.support.links import link_in, text_of
from tests.support.mail_servers import RecordingServer
from tests.support.models import cheap_hash

OWN_TEMPLATES = DictLoader(
    {"subject.txt": "Chosen", "page.html": "<p>{{ extra }} {{ language }} {{ verification_url }}"}
)


def as_coroutine(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a coroutine function that does what a hook does."""

    @functools.wraps(hook)
    async def waiting(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        assert has_request_context()
        return hook(*arguments)

    return waiting


class AsynchronousObject:
    """An object whose ``__call__`` is a coroutine function."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook

    async def __call__(self, *arguments: Any) -> Any:
        return self._hook(*arguments)


def refuse_oslo(password: str, fields: object) -> None:
    if "Oslo" in password:
        raise ValidationError("Not from Oslo.")


def build_url(signer: RegisterSigner) -> str:
    return f"https://own.example/?{'&'.join(f'{name}={value}' for name, value in signer.get_signed_data().items())}"


HOOKS: dict[str, Callable[..., Any]] = {
    "VERIFICATION_URL_BUILDER": build_url,
    "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": lambda request, user, context: {**context, "extra": "more"},
    "VERIFICATION_TEMPLATES_SELECTOR": lambda request, user: {"subject": "subject.txt", "html_body": "page.html"},
    "VERIFICATION_LOCALE_SELECTOR": lambda request, user: "de",
    "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": lambda page: f"Converted: {html.unescape(page)}",
    "PASSWORD_HASHER": cheap_hash,
    "LOGIN_HANDLER": lambda request, user: {"token": user.email},
}


def build_with(build: Builder, hooks: dict[str, Any], **registration: object) -> Built:
    built = build(before_init=Babel, registration={"REGISTER_VERIFICATION_AUTO_LOGIN": True, **registration, **hooks})
    built.app.jinja_loader = OWN_TEMPLATES
    return built


KINDS = {
    "function": as_coroutine,
    "object": AsynchronousObject,
    "partial": lambda hook: functools.partial(as_coroutine(hook)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_hook_may_be_a_coroutine_function(
    build: Builder, smtp: RecordingServer, kind: Callable[[Callable[..., Any]], Any]
) -> None:
    built = build_with(
        build, {name: kind(hook) for name, hook in HOOKS.items()}, PASSWORD_VALIDATORS=[kind(refuse_oslo)]
    )
    assert field_errors(built.register(password="Oslo")) == {"password": ["Not from Oslo."]}
    assert built.register().status_code == 201
    assert check_password_hash(built.row()["password_hash"], PASSWORD)
    assert smtp.message["Subject"] == "Chosen"
    assert text_of(smtp.message).startswith("Converted: <p>more de https://own.example/?user_id=1&")
    answer = built.verify(link_in(smtp.message))
    assert (answer.status_code, answer.get_json()["token"]) == (200, "ann@example.com")


@pytest.mark.parametrize("name", ["REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"])
def test_a_sender_that_is_a_coroutine_function_is_awaited_before_the_answer(build: Builder, name: str) -> None:
    sent: list[str] = []

    async def send(request: object, user: Any) -> None:
        await asyncio.sleep(0)
        sent.append(user.email)

    senders = dict.fromkeys(["REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"], send)
    built = build(registration=senders | {"REGISTER_EMAIL_FIRST": name.startswith("REGISTER_EXISTING")}, pending=True)
    body = {"email": "ann@example.com"} if name.startswith("REGISTER_EXISTING") else built.body()
    assert built.post("register/", body).status_code in {201, 202}
    assert sent == ["ann@example.com"]


@pytest.mark.parametrize(
    ("name", "result", "told"),
    [
        ("VERIFICATION_URL_BUILDER", None, ["NoneType", "return str."]),
        ("VERIFICATION_URL_BUILDER", b"https://own.example/", ["bytes", "return str."]),
        ("VERIFICATION_TEMPLATE_CONTEXT_BUILDER", None, ["NoneType", "return dict."]),
        ("VERIFICATION_TEMPLATES_SELECTOR", "body.txt", ["str", "return dict."]),
        ("VERIFICATION_LOCALE_SELECTOR", 5, ["int", "return str or None."]),
        ("VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER", None, ["NoneType", "return str."]),
        ("PASSWORD_HASHER", None, ["NoneType", "return str or bytes."]),
        ("PASSWORD_VALIDATORS", False, ["bool", "return None."]),
        ("PASSWORD_VALIDATORS", True, ["bool", "return None."]),
        ("PASSWORD_VALIDATORS", "Too weak.", ["str", "return None."]),
    ],
)
@pytest.mark.parametrize("kind", [lambda hook: hook, as_coroutine], ids=["function", "coroutine"])
def test_a_hook_that_returns_a_wrong_type_is_named_with_it_and_nothing_is_stored(
    build: Builder, smtp: RecordingServer, name: str, result: object, told: list[str], kind: Callable[..., Any]
) -> None:
    def chosen(*_: object) -> object:
        return result

    own = kind(chosen)
    built = build_with(build, {**HOOKS, name: [own] if name == "PASSWORD_VALIDATORS" else own})
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    text = str(caught.value)
    assert text.startswith(f"{name} (chosen) returned {told[0]}.")
    assert text.endswith(told[1])
    assert (built.rows(), smtp.messages) == ([], [])


def test_a_login_handler_that_returns_a_wrong_type_is_logged_and_answers_200(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = build_with(build, {**HOOKS, "LOGIN_HANDLER": as_coroutine(lambda request, user: "a token")})
    built.register()
    with caplog.at_level(logging.ERROR):
        answer = built.verify(link_in(smtp.message))
    assert (answer.status_code, list(answer.get_json())) == (200, ["detail"])
    assert "LOGIN_HANDLER (<lambda>) returned str. Fix: let it return dict or None." in caplog.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("Not this one."), "Not this one."),
        (ValueError(), "This password cannot be used."),
        (UnicodeEncodeError("ascii", "s\xe9cret", 1, 2, "no"), "This password cannot be used."),
    ],
)
def test_a_value_error_of_a_validator_is_a_field_error_that_quotes_no_password(
    build: Builder, error: ValueError, text: str
) -> None:
    def refuse(password: str, fields: object) -> None:
        raise error

    built = build(registration={"PASSWORD_VALIDATORS": [refuse]})
    assert field_errors(built.register()) == {"password": [text]}


def test_a_coroutine_function_without_asgiref_is_refused_with_the_fix(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asgiref.sync", None)
    built = build(registration={"PASSWORD_HASHER": as_coroutine(cheap_hash)})
    with pytest.raises(ConfigurationError, match=r"PASSWORD_HASHER is asynchronous.*pip install 'flask\[async\]'"):
        built.register()
    assert built.rows() == []


def test_an_awaitable_that_is_no_coroutine_is_refused_likewise(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield

    monkeypatch.setitem(sys.modules, "asgiref.sync", None)
    built = build(registration={"PASSWORD_HASHER": lambda password: Awaitable()})
    with pytest.raises(ConfigurationError, match="PASSWORD_HASHER is asynchronous"):
        built.register()


def test_an_exception_of_a_coroutine_function_is_the_hooks_own(build: Builder) -> None:
    built = build(registration={"PASSWORD_VALIDATORS": [as_coroutine(refuse_oslo)]})
    refused(built.register(password="Oslo"), 400, "invalid")


def sends_by_and_by(request: object, user: object) -> Iterator[None]:
    yield


async def sends_at_some_time(request: object, user: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("sender", [sends_by_and_by, sends_at_some_time])
def test_a_generator_function_is_no_hook(build: Builder, sender: object) -> None:
    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": sender})
    with pytest.raises(ConfigurationError, match="_SENDER is the generator function sends_"):
        built.register()


@pytest.mark.parametrize("hasher", [AsynchronousObject, f"{__name__}.AsynchronousObject"])
def test_a_class_is_no_hook(build: Builder, hasher: object) -> None:
    with pytest.raises(ConfigurationError, match=r"PASSWORD_HASHER .*must be a function or its dotted path"):
        build(registration={"PASSWORD_HASHER": hasher}).register()
