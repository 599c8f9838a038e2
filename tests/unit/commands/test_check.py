"""``flask rest-registration check``: what is otherwise found out on first use, each with its value and its fix."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from flask import Flask, Request
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from jinja2 import DictLoader
from marshmallow import Schema
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    TypeDecorator,
    event,
    func,
)

from flask_rest_registration import ConfigurationError, DatabaseFault
from flask_rest_registration.commands.check import check_app
from tests.support import models
from tests.support.apps import Builder, Built
from tests.support.databases import CHOSEN, ON_SQLITE, impatient
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.statements import recorded
from tests.support.web import run_python
from tests.unit.settings.test_settings import VALUES


def check(built: Built) -> tuple[int, list[str], list[str]]:
    """Run the command; return its exit code, the errors and the warnings."""
    outcome = built.command("check")
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    *lines, summary = outcome.output.splitlines()
    errors, warnings = (
        [text.removeprefix(kind) for text in lines if text.startswith(kind)] for kind in ("error: ", "warning: ")
    )
    findings = [*(f"error: {each}" for each in errors), *(f"warning: {each}" for each in warnings)]
    looked_at = lines[: -len(findings) or None]
    assert [*looked_at, *findings] == lines  # what was looked at, the errors, the warnings
    marks = {line[0] for line in looked_at}
    assert all(re.fullmatch(r"[✓!✗-] [\w ]+: .+", line) for line in looked_at), looked_at
    assert ("✗" in marks) is bool(errors)
    assert "!" in marks or errors or not warnings
    assert [line for line in looked_at if line[0] == "-"] == [line for line in looked_at if "not looked at" in line]
    assert summary == ", ".join(
        f"{len(each)} {noun}{'' if len(each) == 1 else 's'}"
        for noun, each in (("error", errors), ("warning", warnings))
    )
    return outcome.exit_code, errors, warnings


def the_error(built: Built) -> str:
    """Run the command, and return the one error."""
    code, errors, warnings = check(built)
    assert (code, len(errors), warnings) == (1, 1, []), [*errors, *warnings]
    return errors[0]


def templates(sources: Mapping[str, str]) -> Callable[[Flask], None]:
    """Make a ``before_init`` that gives the app these templates."""
    return lambda app: setattr(app, "jinja_loader", DictLoader(sources))


LINK_TEMPLATES, NOTICE_TEMPLATES = "REGISTER_VERIFICATION_EMAIL_TEMPLATES", "REGISTER_EXISTING_EMAIL_TEMPLATES"
LINKS, NOTICES = "REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"
PUBLIC_NOTICES = {NOTICES: "flask_rest_registration.send_existing_account_email_notification"}
EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True}
RESEND: dict[str, object] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
LOGIN: dict[str, object] = {"MAIL_USERNAME": "app", "MAIL_PASSWORD": "of-smtp"}
NOTICE_BODY = "rest_registration/register/existing_body.txt"
ONLY_HTML: dict[str, object] = {LINK_TEMPLATES: {"html_body": "rest_registration/register/body.html"}}
LINK = "{{ verification_url }}"
TOKEN = "python -c 'import secrets; print(secrets.token_hex())'"


def with_link_templates(**sources: str) -> dict[str, Any]:
    """Make options of an app whose mail has the body ``a.txt``, link included; ``b="..."`` is ``b.txt``."""
    named = {f"{name}.txt": source for name, source in {**sources, "a": sources["a"] + LINK}.items()}
    return {"registration": {LINK_TEMPLATES: {"body": "a.txt"}}, "before_init": templates(named)}


@pytest.mark.parametrize("name", models.ALL)
def test_of_an_app_that_is_fine_it_finds_nothing(build: Builder, name: str) -> None:
    with_codes = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_ENABLED": True}
    # With e-mail first is_active is no danger as the flag: nobody who is locked out has a link that would let them in.
    for settings in [with_codes] if name == "is_active_flag" else [{}, RESEND, with_codes]:
        built = build(models.ALL[name], tables=False, pending=True, registration=settings)
        assert check(built) == (0, [], []), settings


@pytest.mark.database
@pytest.mark.parametrize("settings", [{"PASSWORD_HASHER": None}, EMAIL_FIRST, RESEND])
def test_it_asks_no_mail_server_and_the_database_by_selects_that_are_rolled_back(
    build: Builder, smtp: RecordingServer, settings: dict[str, object]
) -> None:
    built = build(pending=True, registration=settings)
    with recorded(built.engine) as statements:
        assert check(built)[:2] == (0, [])
    tables = len([built.User, *([built.Pending] if "PASSWORD_HASHER" not in settings else [])])
    selects = ["SELECT"] * (1 + tables * (1 + (CHOSEN == "mariadb")))
    assert statements.kinds == ["BEGIN", *selects, "ROLLBACK"]
    with built.app.app_context():
        check_app(built.app)
        assert not built.db.session().in_transaction()
    assert smtp.conversations == []
    assert built.rows() == built.pending_rows() == []


@pytest.mark.parametrize("end", ["flush", "commit", "begin_nested"])
def test_it_stores_nothing_of_what_a_constructor_makes(build: Builder, end: str) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        role = type("Role", (db.Model,), {"id": Column(Integer, primary_key=True)})

        def init(self: Any, **values: object) -> None:
            db.session.add(role())
            savepoint = getattr(db.session, end)()
            if savepoint is not None:
                savepoint.commit()
            super(type(self), self).__init__(**values)

        return models.declared(__init__=init)(db)

    built = build(model)
    code, errors, warnings = check(built)
    refused = "User or its password raised RuntimeError for a sample account"
    assert (code, errors, [each.partition(",")[0] for each in warnings]) == (0, [], [refused] * (end == "commit"))
    with built.outside() as outside:
        assert outside.execute("SELECT * FROM role").all() == []


def lost_of(part: str) -> str:
    """Return the words of the error about a body without the link."""
    return f"The {part} of the verification mail lacks the verification link ... print {{{{ verification_url }}}}"


def one_body(source: str, **settings: object) -> dict[str, Any]:
    """Make options of an app whose mail has one body, a text."""
    return {
        "registration": {LINK_TEMPLATES: {"body": "a.txt"}, **settings},
        "before_init": templates({"a.txt": source}),
    }


def both_bodies(text: str = LINK, markup: str = LINK, **settings: object) -> dict[str, Any]:
    """Make options of an app whose mail has a text and HTML."""
    registration = {LINK_TEMPLATES: {"body": "a.txt", "html_body": "a.html"}, **settings}
    return {"registration": registration, "before_init": templates({"a.txt": text, "a.html": markup})}


def with_codes(text: str) -> dict[str, Any]:
    """Make options of an app with e-mail first and codes, whose mail has one body."""
    return {"pending": True, **one_body(text, **EMAIL_FIRST, REGISTER_VERIFICATION_CODE_ENABLED=True)}


def replacing(**changes: object) -> Callable[..., dict[str, object]]:
    """Make a VERIFICATION_TEMPLATE_CONTEXT_BUILDER."""
    return lambda request, user, context: {**context, **changes}


def selecting(**names: str) -> Callable[..., dict[str, str]]:
    """Make a VERIFICATION_TEMPLATES_SELECTOR."""
    return lambda request, user: names


class Untouched(TypeDecorator[str]):
    """A type that changes nothing."""

    impl, cache_ok = String(255), True


class Reversing(TypeDecorator[str]):
    """A type that "hashes" at the INSERT."""

    impl, cache_ok = String(255), True

    def process_bind_param(self, value: Any, dialect: object) -> str:
        return f"hash of {value[::-1]}"


class Shorter(Reversing):
    impl, cache_ok = String(20), True


def exempt(app: Flask) -> None:
    CSRFProtect(app).exempt("flask_rest_registration.views._register")


def needs_request(request: Request, user: object, context: dict[str, object]) -> dict[str, object]:
    assert request.endpoint == "rest_registration.register"
    return {**context, "host": request.host}


FINE: dict[str, dict[str, Any]] = {
    "a builder that needs a request": one_body(LINK, VERIFICATION_TEMPLATE_CONTEXT_BUILDER=needs_request),
    "a template that needs a request": one_body(LINK + "{{ url_for('static', filename='logo.png', _external=True) }}"),
    "a builder that replaces the link": one_body(
        LINK, VERIFICATION_TEMPLATE_CONTEXT_BUILDER=replacing(verification_url="myapp://verify/1")
    ),
    "a link in an attribute of HTML": both_bodies(markup="<a href='{{ verification_url }}'>Verify</a>"),
    "a code in two groups": with_codes(LINK + "{% if code %}{{ code[:3] }}-<b>{{ code[3:] }}</b>{% endif %}"),
    "templates that ask for what each account has": {
        **one_body(
            LINK + "{{ user.name.title() }}{{ user.born.year }}{{ {'free': 1}[user.plan] + 1 }}{{ user.at.year }}"
        ),
        "model": models.declared(
            name=Column(String(80), nullable=False),
            born=Column(Date, nullable=False, default=date.today),
            plan=Column(String(9), default="free"),
            at=Column(DateTime, server_default=func.now()),
        ),
    },
    "a type that hashes": {
        "model": models.declared(
            password_hash=Column(Reversing),
            set_password=lambda self, password: setattr(self, "password_hash", password),
        )
    },
    "a type of the application": {"model": models.declared(password_hash=Column(Untouched))},
    "a hash of bytes in a column of bytes": {
        "model": models.declared(
            password_hash=Column(LargeBinary(255)),
            set_password=lambda self, password: setattr(self, "password_hash", password[::-1].encode()),
        )
    },
    "a method that stores the hash where nobody looks": {
        "model": models.declared(
            password_hash=None,
            password=Column(String(254)),
            set_password=lambda self, password: setattr(self, "elsewhere", password),
        )
    },
    "an app whose accounts need no verification": {
        "model": models.declared(email_verified_at=None),
        "registration": {"REGISTER_VERIFICATION_ENABLED": False},
        "before_init": lambda app: app.before_request(lambda: None),
    },
    "CSRFProtect that exempts the endpoint": {"before_init": exempt},
    **{
        f"CSRFProtect with {name} switched off": {"before_init": CSRFProtect, "config": {name: False}}
        for name in ("WTF_CSRF_ENABLED", "WTF_CSRF_CHECK_DEFAULT")
    },
    "a secret key of 16 characters": {"config": {"SECRET_KEY": "k" * 16}},
    "a hash whose column is not known": {
        "model": models.declared(
            password_hash=None,
            secret=Column(String(9)),
            set_password=lambda self, password: setattr(self, "secret", password[::-2]),
        )
    },
    **{
        f"a link over http to {host}": {"registration": {"REGISTER_VERIFICATION_URL": f"http://{host}/verify/"}}
        for host in ("localhost:3000", "app.localhost", "127.0.0.1:5000", "[::1]:5000")
    },
    **{
        f"a log-in with {name}={value}": {"config": {**LOGIN, "MAIL_SERVER": "mail.example", name: value}}
        for name, value in (
            *(("MAIL_USE_TLS", True), ("MAIL_USE_SSL", True), ("MAIL_USERNAME", None)),
            *(("MAIL_SERVER", local) for local in ("localhost", "127.0.0.2", "::1")),
        )
    },
    **{
        f"a template with {reference}": with_link_templates(a="{% include 'middle.txt' %}", middle=reference, b="")
        for reference in (
            "{% include 'other.txt' ignore missing %}",
            "{% include ['other.txt', 'b.txt'] %}",
            "{% set name_of_the_day = 'b.txt' %}{% include name_of_the_day %}",
        )
    },
    **{
        f"templates of a notice that nobody sends, {settings}": {
            "registration": {**settings, NOTICE_TEMPLATES: {"body": "none.txt"}},
            "pending": True,
        }
        for settings in ({}, RESEND)
    },
}


@pytest.mark.parametrize("name", FINE)
def test_it_finds_nothing_wrong_with(build: Builder, name: str) -> None:
    assert check(build(tables=False, **FINE[name])) == (0, [], [])


@pytest.mark.parametrize(
    "settings",
    [{LINKS: Mock()}, {"REGISTER_VERIFICATION_ENABLED": False}, {**EMAIL_FIRST, LINKS: Mock(), NOTICES: Mock()}],
)
def test_what_only_the_default_senders_need_is_not_asked_for_without_them(
    build: Builder, settings: dict[str, object]
) -> None:
    config = {"MAIL_DEFAULT_SENDER": None, "MAIL_USE_TLS": True, "MAIL_USE_SSL": True, "MAIL_SUPPRESS_SEND": True}
    built = build(tables=False, pending=True, registration=settings, config=config)
    del built.app.extensions["mail"]
    assert check(built) == (0, [], [])


@pytest.mark.parametrize(
    ("settings", "loads", "expected"),
    [
        ({}, False, ["no user_loader"]),
        ({}, True, []),
        ({"REGISTER_VERIFICATION_ENABLED": False}, False, []),
    ],
)
def test_a_login_manager_that_keeps_mails_from_being_rendered_is_an_error(
    build: Builder, settings: dict[str, object], loads: bool, expected: list[str]
) -> None:
    built = build(tables=False, registration=settings)
    manager = LoginManager(built.app)
    if loads:
        manager.user_loader(lambda user_id: None)
    _, errors, _ = check(built)
    assert lacking("".join(errors), *expected) == []
    assert len(errors) == len(expected)


@pytest.mark.parametrize(
    ("settings", "is_looked_at"),
    [
        ({LINKS: Mock()}, True),
        ({LINKS: Mock(), "REGISTER_VERIFICATION_URL": None}, False),
        ({**EMAIL_FIRST, LINKS: Mock(), NOTICES: Mock(), "REGISTER_VERIFICATION_URL": None}, False),
        ({"REGISTER_VERIFICATION_ENABLED": False}, False),
    ],
)
def test_mails_that_senders_of_the_application_may_ask_for_are_looked_at(
    build: Builder, settings: dict[str, object], is_looked_at: bool
) -> None:
    built = build(tables=False, pending=True, registration={**settings, LINK_TEMPLATES: {"body": "none.txt"}})
    status, errors, _ = check(built)
    assert (status, len(errors)) == (is_looked_at, is_looked_at)


def test_a_unique_rule_over_a_column_that_is_not_mapped_is_passed_over(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        columns = [Column(name, String(254), unique=True) for name in ("email", "password_hash", "code")]
        flag = Column("email_verified_at", DateTime)
        table = db.Table("user", Column("id", Integer, primary_key=True), *columns, flag)
        return type("User", (db.Model,), {"__table__": table, "__mapper_args__": {"exclude_properties": ["code"]}})

    assert check(build(model, pending=True, registration=EMAIL_FIRST)) == (0, [], [])


def set_password(self: Any, password: str) -> None:
    self.pw = "h" * 41


#: What an app is built with, and which parts the one error has.
ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt link in the text": (both_bodies("{{ verification_ulr }}"), lost_of("text")),
    "a misspelt link in the HTML": (both_bodies(markup="{{ verification_ulr }}"), lost_of("HTML")),
    "an empty text": (one_body(""), lost_of("text")),
    "a link that a filter changes": (one_body("{{ verification_url|upper }}"), lost_of("text")),
    "a link that is cut off": (one_body("{{ verification_url|truncate(60) }}"), lost_of("text")),
    "a link with HTML's escapes in the text": (one_body("{{ verification_url|escape }}"), lost_of("text")),
    "a context without the link": (
        one_body(LINK, VERIFICATION_TEMPLATE_CONTEXT_BUILDER=replacing(verification_url=None)),
        lost_of("text"),
    ),
    "a converter that drops the link": (
        {
            "registration": {
                LINK_TEMPLATES: {"html_body": "a.html"},
                "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER": lambda html: "Hello",
            },
            "before_init": templates({"a.html": LINK}),
        },
        lost_of("text"),
    ),
    "templates that a selector names, without the link": (
        {
            "registration": {"VERIFICATION_TEMPLATES_SELECTOR": selecting(body="a.txt")},
            "before_init": templates({"a.txt": "Hello"}),
        },
        lost_of("text"),
    ),
    "a template that a selector names and that is not there": (
        {"registration": {"VERIFICATION_TEMPLATES_SELECTOR": selecting(body="none.txt")}},
        "VERIFICATION_TEMPLATES_SELECTOR ... 'none.txt' for 'body' was not found",
    ),
    "a link without a host": (
        one_body(LINK, VERIFICATION_URL_BUILDER=lambda signer: f"/verify?{signer.get_signed_data()}"),
        "VERIFICATION_URL_BUILDER makes the link ... /verify?{ ... no absolute URL ... signer.get_base_url()",
    ),
    "a misspelt code": (
        with_codes(LINK + "{{ kode }}"),
        "The text of the verification mail lacks the code ... print {{ code }}",
    ),
    "a mail that has the link only while it has a code": (
        with_codes("{{ code }}{% if code %}" + LINK + "{% endif %}"),
        lost_of("text"),
    ),
    "a mail that needs a code though the fourth in a row has none": (
        with_codes(LINK + "\n{{ code[:3] }} {{ code[3:] }}"),
        "The template 'a.txt' raised TypeError, in line 2 of ... 'NoneType' object is not subscriptable",
    ),
    "a template that asks for what is not there": (
        one_body("Hello\n{{ user.profile.name }}" + LINK),
        "The template 'a.txt' raised UndefinedError, in line 2 of ... no attribute 'profile'. Fix: correct that line",
    ),
    "a template of the notice that raises": (
        {
            "pending": True,
            "registration": EMAIL_FIRST,
            "before_init": templates({NOTICE_BODY: "{{ 1 // 0 }}"}),
        },
        f"The template '{NOTICE_BODY}' raised ZeroDivisionError, in line 1",
    ),
    "a template that calls what is not there": (
        one_body("{{ nothing() }}" + LINK),
        "The template 'a.txt' raised UndefinedError, in line 1 of ... 'nothing' is undefined",
    ),
    "a selector that gives no templates": (
        {"registration": {"VERIFICATION_TEMPLATES_SELECTOR": selecting(boddy="a.txt")}},
        "VERIFICATION_TEMPLATES_SELECTOR returned ... boddy",
    ),
    "a method that stores the password as it is": (
        {"model": models.declared(set_password=lambda self, password: setattr(self, "password_hash", password))},
        "User.password_hash would store the password ... let set_password hash it",
    ),
    "a type whose hash is too long for its column": (
        {
            "model": models.declared(
                password_hash=Column(Shorter),
                set_password=lambda self, password: setattr(self, "password_hash", password),
            )
        },
        "User.password_hash holds 20 characters",
    ),
    "a hasher that hashes nothing": (
        {"registration": {"PASSWORD_HASHER": lambda password: password}},
        "User.password_hash would store the password as it was sent",
    ),
    "a hasher that returns nothing": ({"registration": {"PASSWORD_HASHER": lambda password: None}}, "PASSWORD_HASHER"),
    "bytes for a column of text": (
        {
            "model": models.declared(
                set_password=lambda self, password: setattr(self, "password_hash", b"$2b$" + password[::-1].encode())
            )
        },
        "User.password_hash is a column of text ... hash is of the type bytes ... .decode()",
    ),
    "text for a column of bytes": (
        {
            "model": models.declared(
                password_hash=Column(LargeBinary(255)),
                set_password=lambda self, password: setattr(self, "password_hash", password[::-1]),
            )
        },
        "User.password_hash is a column of bytes ... hash is of the type str",
    ),
    "no secret key": ({"config": {"SECRET_KEY": None}}, f"SECRET_KEY is not set ... {TOKEN}"),
    "an empty secret key": ({"config": {"SECRET_KEY": ""}}, f"SECRET_KEY is not set ... {TOKEN}"),
    **{
        f"a secret key that can be guessed, {config}": (
            {"config": config},
            f"SECRET_KEY ... has 7 characters ... can be guessed ... {TOKEN}",
        )
        for config in ({"SECRET_KEY": "hunter2"}, {"SECRET_KEY": b"hunter2"}, {"SECRET_KEY_FALLBACKS": ["hunter2"]})
    },
    "a secret key of 15 characters": ({"config": {"SECRET_KEY": "k" * 15}}, "SECRET_KEY ... 15 characters"),
    "a column too short for werkzeug's hash": (
        {"model": models.short_hash_column, "registration": {"PASSWORD_HASHER": None}},
        "User.password_hash ... holds 128 characters ... hash has 162 ... db.String(255) ... PASSWORD_HASHER",
    ),
    "a column too short for the hash of a method": (
        {
            "model": models.declared(
                password_hash=None, pw=Column("password_hash", String(40)), set_password=set_password
            )
        },
        "User.pw ... 40 ... 41 ... String(255)",
    ),
    "no sender": (
        {"config": {"MAIL_DEFAULT_SENDER": None}},
        "VERIFICATION_FROM_EMAIL ... MAIL_DEFAULT_SENDER is not set ... no sender ... 'no-reply@example.com'",
    ),
    "two kinds of TLS": (
        {"config": {"MAIL_USE_TLS": True, "MAIL_USE_SSL": True}},
        "MAIL_USE_TLS and MAIL_USE_SSL are both true ... keep MAIL_USE_SSL for ... (port 465) ... (port 587)",
    ),
    **{
        f"no template of the link, {key}": (
            {"registration": {LINK_TEMPLATES: {key: "none.txt"}}},
            f"{LINK_TEMPLATES} ... 'none.txt' for {key!r} ... was not found ... templates folder or correct its name",
        )
        for key in ("subject", "body", "html_body")
    },
    **{
        f"no template of the notice, {key}, {notice}": (
            {"pending": True, "registration": {**EMAIL_FIRST, **notice, NOTICE_TEMPLATES: {key: "none.txt"}}},
            f"{NOTICE_TEMPLATES} ... 'none.txt' for {key!r} ... was not found",
        )
        for notice, key in (({}, "subject"), ({}, "body"), ({}, "html_body"), (PUBLIC_NOTICES, "body"))
    },
    "a template of the notice that is broken": (
        {"pending": True, "registration": EMAIL_FIRST, "before_init": templates({NOTICE_BODY: "{% if %}"})},
        f"{NOTICE_TEMPLATES} ... '{NOTICE_BODY}' for 'body' ... is broken",
    ),
    "a template whose footer is broken": (
        with_link_templates(a="{% include 'footer.txt' %}", footer="Bye\n{% if site %}"),
        "'footer.txt' for 'body', which 'a.txt' refers to ... is broken in line 2: Unexpected end of template",
    ),
    **{
        f"a template that another one cannot do without, {reference}": (
            with_link_templates(a="{% include 'middle.txt' %}", middle=reference),
            f"{LINK_TEMPLATES} ... 'other.txt' for 'body', which 'middle.txt' refers to ... was not found",
        )
        for reference in (
            "{% extends 'other.txt' %}",
            "{% include 'other.txt' %}",
            "{% import 'other.txt' as other %}",
            "{% from 'other.txt' import thing %}",
        )
    },
    "a template missing in others that include each other": (
        with_link_templates(a="{% include 'b.txt' %}{% include 'b.txt' %}", b="{% include 'a.txt' %}{% include 'c' %}"),
        "'c'",
    ),
    "a log-in without Flask-Login's manager": (
        {"model": models.login_user, "registration": {"REGISTER_VERIFICATION_AUTO_LOGIN": True}},
        "REGISTER_VERIFICATION_AUTO_LOGIN is True ... call LoginManager(app), or give a LOGIN_HANDLER",
    ),
    **{
        f"no table where it is needed, {settings}": (
            {"registration": settings},
            f"{name} is True ... no model of pending registrations ... PendingRegistrationMixin ... with a migration",
        )
        for settings in (EMAIL_FIRST, RESEND)
        for name in settings
    },
    **{
        f"{name} that is no schema, {value}": (
            {"registration": {name: value}},
            f"{name} ... marshmallow.Schema ... Dict",
        )
        for name in ("REGISTER_SERIALIZER_CLASS", "REGISTER_OUTPUT_SERIALIZER_CLASS", "REGISTER_EMAIL_SERIALIZER_CLASS")
        for value in (OrderedDict, "collections.OrderedDict")
    },
}


@pytest.mark.parametrize("name", ERRORS)
def test_it_finds_as_one_error_with_its_value_and_its_fix(build: Builder, name: str) -> None:
    options, words = ERRORS[name]
    message = the_error(build(tables=False, **options))
    assert lacking(message, *words.split(" ... ")) == [], message
    assert "hunter2" not in message


DOTTED = [name for name, (value, _) in VALUES.items() if callable(value) or str(value).startswith("shop.models.")]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module.thing", "cannot be imported (No module named 'no_such_module')"),
        ("flask_rest_registration.normalize_email.method", "Fix: let it name a module and what the module has, not an"),
        ("flask_rest_registration.no_such_thing", "cannot be imported ("),
        (f"{__name__}.TOKEN", "leads to a text"),
        (f"{__name__}.DOTTED", "but must be a "),
    ],
)
def test_every_dotted_path_is_followed_by_check_and_on_first_use(build: Builder, path: str, words: str) -> None:
    settings = {**dict.fromkeys(DOTTED, path), "PASSWORD_VALIDATORS": [path]}
    assert len(settings) > 12
    built = build(tables=False, registration={**EMAIL_FIRST, **settings})
    code, errors, warnings = check(built)
    assert (code, len(errors), warnings) == (1, len(settings), [])
    for name in settings:
        (error,) = (error for error in errors if f"setting {name} " in error)
        assert lacking(error, repr(path), words) == []
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert lacking(str(caught.value), *errors) == []


TWO_LACKING, TWO_MISSING = {"SECRET_KEY": None, "MAIL_DEFAULT_SENDER": None}, {"subject": "1", "body": "2"}
ALL_AT_ONCE: list[tuple[dict[str, Any], list[str], int]] = [
    (
        {"config": TWO_LACKING, "registration": {LINK_TEMPLATES: TWO_MISSING, "PASSWORD_VALIDATORS": []}},
        ["SECRET_KEY", "MAIL_DEFAULT_SENDER", "'1'", "'2'"],
        1,
    ),
    (
        {"model": models.declared(email=Column(String(254)), password_hash=None, email_verified_at=None)},
        [
            "USER_EMAIL_FIELD is 'email', and User.email is not unique",
            "says whether the address is verified. Fix: add email_verified_at = db.Column(db.DateTime)",
            "set_password()",
        ],
        0,
    ),
    (with_link_templates(a="{% include '2' %}{% include '1' %}"), ["'2'", "'1'"], 0),
    (
        {"config": {"MAIL_DEFAULT_SENDER": None}, **one_body("{{ verification_ulr }}")},
        ["MAIL_DEFAULT_SENDER", "link"],
        0,
    ),
]


@pytest.mark.parametrize(("options", "found", "warned"), ALL_AT_ONCE, ids=["settings", "model", "templates", "mail"])
def test_all_errors_and_warnings_are_found_in_one_run(
    build: Builder, options: dict[str, Any], found: list[str], warned: int
) -> None:
    code, errors, warnings = check(build(tables=False, **options))
    assert (code, len(errors), len(warnings)) == (1, len(found), warned)
    for words, error in zip(found, errors, strict=True):
        assert words in error


@pytest.mark.parametrize("used", ["password", "password_hash"])
@pytest.mark.parametrize("names", [["password", "password_hash"], ["password_hash", "password"]], ids="-".join)
def test_of_two_columns_that_look_like_a_hashs_the_one_in_use_must_be_long_enough(
    build: Builder, names: list[str], used: str
) -> None:
    columns = {name: Column(String(20 if name == used else 256), default="") for name in names}
    model = models.declared(**{"password_hash": None, **columns})
    message = the_error(build(model, tables=False, registration={"USER_PASSWORD_FIELD": used}))
    assert lacking(message, f"User.{used}", "20") == []


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("kind", [BigInteger, SmallInteger])
def test_a_key_that_sqlite_does_not_count_is_an_error_and_on_first_use_too(build: Builder, kind: type[Integer]) -> None:
    built = build(models.declared(id=Column(kind, primary_key=True)))
    error = the_error(built)
    assert lacking(error, "User.id", kind.__name__, "db.BigInteger().with_variant(db.Integer, 'sqlite')") == []
    with pytest.raises(ConfigurationError, match=re.escape(error)):
        built.register()


COUNTED = [Integer, BigInteger().with_variant(Integer, "sqlite"), *([] if ON_SQLITE else [BigInteger, SmallInteger])]


@pytest.mark.parametrize("kind", COUNTED, ids=repr)
def test_a_key_that_the_database_counts_is_fine(build: Builder, kind: Any) -> None:
    built = build(models.declared(id=Column(kind, primary_key=True)))
    assert check(built) == (0, [], [])
    assert built.register().status_code == 201


@pytest.mark.parametrize(
    ("name", "words"),
    [("sqlalchemy", ["Flask-SQLAlchemy", "db.init_app(app)"]), ("mail", ["Flask-Mail", "Mail(app)", LINKS])],
)
def test_an_app_without_flask_sqlalchemy_or_flask_mail_is_told_so(build: Builder, name: str, words: list[str]) -> None:
    built = build(tables=False)
    extension = built.app.extensions.pop(name)
    code, errors, _ = check(built)
    assert code == 1
    assert lacking("".join(errors), *words) == []
    with pytest.raises(ConfigurationError, match=words[0]):
        built.register()
    built.app.extensions[name] = extension


WARNINGS: dict[str, tuple[dict[str, Any], str]] = {
    "CSRFProtect that refuses sign-ups": (
        {"before_init": CSRFProtect},
        "CSRFProtect refuses sign-ups ... csrf.exempt(registration.blueprint) ... X-CSRFToken",
    ),
    "links without what is signed": (
        one_body(
            LINK, VERIFICATION_URL_BUILDER=lambda signer: f"https://a.example/?{signer.get_signed_data()['user_id']}"
        ),
        "VERIFICATION_URL_BUILDER makes links without timestamp, signature",
    ),
    **{
        f"{name} that cannot be tried": (
            {"registration": {**ONLY_HTML, name: Mock(side_effect=KeyError("a header"))}},
            f"{name} raised KeyError ('a header') ... the verification mail was not tried",
        )
        for name in (
            "VERIFICATION_URL_BUILDER",
            "VERIFICATION_TEMPLATE_CONTEXT_BUILDER",
            "VERIFICATION_TEMPLATES_SELECTOR",
            "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER",
        )
    },
    "a flag that locks people out": ({"model": models.is_active_flag}, "User.is_active ... lock ... email_verified_at"),
    "no password validators": ({"registration": {"PASSWORD_VALIDATORS": []}}, "PASSWORD_VALIDATORS is empty"),
    "mail that is not sent": ({"mail": None}, "MAIL_SUPPRESS_SEND is true ... TESTING"),
    "a hasher that cannot be tried": (
        {"registration": {"PASSWORD_HASHER": Mock(side_effect=RuntimeError("cannot hash"))}},
        "User or its password raised RuntimeError",
    ),
    "a method that keeps no hash": (
        {"model": models.declared(set_password=staticmethod(models.cheap_hash))},
        "User.set_password() changed nothing of a sample account ... nobody could log in",
    ),
    **{
        f"a log-in without encryption at {server}": (
            {"config": {**LOGIN, "MAIL_SERVER": server}},
            f"{server!r} ... without encryption ... MAIL_USE_TLS ... MAIL_USE_SSL",
        )
        for server in ("mail.example", "192.0.2.1")
    },
    **{
        f"a link over http to {host}": (
            {"registration": {"REGISTER_VERIFICATION_URL": f"http://{host}/verify/"}},
            f"REGISTER_VERIFICATION_URL is 'http://{host}/verify/' ... https",
        )
        for host in ("frontend.example", "192.0.2.7", "notlocalhost")
    },
}


@pytest.mark.parametrize("name", WARNINGS)
def test_it_warns_of(build: Builder, name: str) -> None:
    options, words = WARNINGS[name]
    code, errors, warnings = check(build(tables=False, **options))
    assert (code, errors, len(warnings)) == (0, [], 1)
    assert lacking(warnings[0], *words.split(" ... ")) == []
    assert lacking(warnings[0], "of-smtp", "cannot hash") == ["of-smtp", "cannot hash"]


def test_the_command_changes_nothing(build: Builder) -> None:
    built = build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": Schema})
    before = dict(built.app.config)
    assert [check(built), check(built)] == [(0, [], [])] * 2
    assert dict(built.app.config) == before
    assert built.register().get_json() == {}


COLLATIONS = {
    "sqlite": ("blind", "NOCASE"),
    "postgresql": ("blind", "seeing"),
    "mariadb": ("utf8mb4_general_ci", "utf8mb4_bin"),
}


@pytest.mark.database
@pytest.mark.parametrize("settings", [{}, RESEND, EMAIL_FIRST])
def test_it_warns_of_a_collation_that_takes_two_addresses_for_one(build: Builder, settings: dict[str, object]) -> None:
    def with_collation(name: str) -> list[str]:
        model = models.declared(email=Column(String(254, collation=name), unique=True))
        built = build(model, tables=False, pending=True, registration=settings)
        if CHOSEN == "postgresql":
            rule = f"provider = icu, locale = 'und-u-ks-level{1 if name == 'blind' else 2}', deterministic = false"
            built.execute_outside(f"CREATE COLLATION {name} ({rule})")
        elif CHOSEN == "sqlite":
            event.listen(built.engine, "connect", lambda connection, _: connection.create_collation("blind", blind))
        with built.app.app_context():
            built.db.create_all()
        code, errors, warnings = check(built)
        assert (code, errors, built.rows()) == (0, [], [])
        return warnings

    def blind(first: str, second: str) -> int:
        one, other = (text.replace("\xe0", "a") for text in (first, second))
        return (one > other) - (one < other)

    folding, seeing = COLLATIONS[CHOSEN]
    (warning,) = with_collation(folding)
    words = ("The collation of User.email", "gm\xe0il", "gmail", "tells accents apart")
    assert (lacking(warning, *words), with_collation(seeing)) == ([], [])


@pytest.mark.only_on("mariadb")
@pytest.mark.database
@pytest.mark.parametrize(
    ("table", "engine"), [("user", "MyISAM"), ("user", "Aria"), ("pending_registration", "MyISAM")]
)
def test_it_warns_of_tables_without_transactions(build: Builder, table: str, engine: str) -> None:
    model = models.declared(email=Column(String(254, collation="utf8mb4_bin"), unique=True))
    built = build(model, pending=True, registration=EMAIL_FIRST)
    built.execute_outside(f"ALTER TABLE `{table}` ENGINE = {engine}")
    code, errors, warnings = check(built)
    assert (code, errors, len(warnings)) == (0, [], 1)
    assert lacking(warnings[0], f"The table {table} has no transactions", "ENGINE = InnoDB") == []


@pytest.mark.database
@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        (['DROP TABLE "user"'], "user"),
        (['ALTER TABLE "user" DROP COLUMN email_verified_at'], "user.email_verified_at"),
        (["ALTER TABLE pending_registration DROP COLUMN mails"], "pending_registration.mails"),
        (
            ['ALTER TABLE "user" DROP COLUMN password_hash', "DROP TABLE pending_registration"],
            "user.password_hash, pending_registration",
        ),
    ],
)
def test_tables_and_columns_that_the_database_lacks_are_named(build: Builder, changes: list[str], missing: str) -> None:
    built = build(pending=True, registration=RESEND)
    for change in changes:
        built.execute_outside(change.replace('"', "`") if CHOSEN == "mariadb" else change)
    code, errors, warnings = check(built)
    assert (code, errors, len(warnings)) == (0, [], 1)
    assert lacking(warnings[0], f"The database lacks {missing}: ", "Fix: run your migrations") == []
    path, body = (
        ("register/", built.body()) if "user" in missing else ("resend-verification/", {"email": "a@b.example"})
    )
    with pytest.raises(DatabaseFault, match=r"missing.* Fix: run your migrations.* check names it"):
        built.post(path, body)


@pytest.mark.database
def test_a_database_that_cannot_be_asked_is_a_warning(build: Builder) -> None:
    built = build(tables=False, config=impatient())
    built.execute_outside("SELECT 1")  # SQLite makes its file

    def refuse(dialect: object, record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        options.update({} if ON_SQLITE else {"port": 1})
        arguments[:1] = ["/no such folder/app.db"] if ON_SQLITE else []

    built.engine.dispose()
    event.listen(built.engine, "do_connect", refuse)
    code, errors, warnings = check(built)
    assert (code, errors, len(warnings)) == (0, [], 1)
    assert lacking(warnings[0], "The database could not be asked: ", "Fix: ") == [], warnings


def test_it_looks_on_where_several_parts_are_at_fault(build: Builder) -> None:
    model = models.declared(email=Column(String(254)), email_verified_at=None, is_active=Column(Boolean))
    settings = {
        "PASSWORD_VALIDATORS": [],
        "VERIFICATION_LOCALE_SELECTOR": repr,
        "REGISTER_VERIFICATION_AUTO_LOGIN": True,
    }
    config = {"SECRET_KEY": "short", "MAIL_USE_TLS": True, "MAIL_USE_SSL": True}
    code, errors, warnings = check(build(model, tables=False, registration=settings, config=config))
    found = ("LoginManager", "Flask-Babel", "not unique", "SECRET_KEY", "MAIL_USE_TLS")
    assert (code, len(errors), len(warnings)) == (1, len(found), 1)
    assert [words for words in found if not any(words in error for error in errors)] == []


@pytest.mark.parametrize("first", [True, False])
def test_a_warning_is_printed_and_not_logged_too(build: Builder, caplog: pytest.LogCaptureFixture, first: bool) -> None:
    built = build(models.is_active_flag, tables=False)
    if not first:
        built.registration.register_schema(built.app)
        caplog.clear()
    outcome = built.command("check")
    assert outcome.output.count("User.is_active is the verification flag") == 1
    assert caplog.records == []
    built.app.logger.warning("a word of the application")
    assert len(caplog.records) == 1


FALLBACK = {"SECRET_KEY_FALLBACKS": ["an older key for tests"]}
MODEL = "✓ model: User(email, password_hash, flag email_verified_at)"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"config": {"MAIL_PORT": None, **FALLBACK}},
            [
                *("✓ settings: 2 given", "✓ keys: SECRET_KEY, 1 in SECRET_KEY_FALLBACKS"),
                *("✓ mail server: 127.0.0.1, port 25", MODEL, "✓ mails: verification mail"),
            ],
        ),
        (
            {"pending": True, "registration": EMAIL_FIRST},
            ["✓ mails: verification mail, notice to account holders"],
        ),
        ({"registration": {LINKS: Mock()}}, ["✓ mails: verification mail"]),
        (
            {"registration": {"REGISTER_VERIFICATION_ENABLED": False}},
            ["✓ mails: none is rendered by this package"],
        ),
        ({"before_init": exempt}, ["✓ CSRFProtect: asked about a sign-up"]),
        ({"before_init": CSRFProtect}, ["! CSRFProtect: asked about a sign-up"]),
        (
            {"config": {"SECRET_KEY": "short"}, "registration": {"PASSWORD_VALIDATORS": []}},
            ["! settings: 3 given", "✗ keys: SECRET_KEY, 0 in SECRET_KEY_FALLBACKS", MODEL],
        ),
        (
            {"config": {"MAIL_DEFAULT_SENDER": None}},
            ["✗ mail server: see the errors", MODEL, "✓ mails: verification mail"],
        ),
        (
            {"registration": {"USER_EMAIL_FIELD": "no_such"}},
            ["✗ model: see the errors", "- mails: not looked at", "- database: not looked at"],
        ),
        (one_body("{{ nothing() }}"), [MODEL, "✗ mails: none could be rendered"]),
    ],
)
def test_what_was_looked_at_is_told_with_its_result_also_beside_errors(
    build: Builder, options: dict[str, Any], expected: list[str]
) -> None:
    printed = build(models.minimal, tables=False, **options).command("check").output.splitlines()
    assert [line for line in expected if line not in printed] == [], printed


@pytest.mark.parametrize("no_color", ["", "1"])
def test_errors_are_red_warnings_yellow_and_ticks_green_unless_no_color_is_set(
    build: Builder, monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    built = build(tables=False, config={"SECRET_KEY": "short"}, registration={"PASSWORD_VALIDATORS": []})
    printed = built.app.test_cli_runner().invoke(args=["rest-registration", "check"], color=True).output
    colours = {"31": "error: SECRET_KEY", "33": "warning: PASSWORD_VALIDATORS", "32": "✓"}
    assert [text for code, text in colours.items() if f"\x1b[{code}m{text}" not in printed] == (
        [*colours.values()] if no_color else []
    )
    assert ("\x1b" in printed) is not bool(no_color)


def test_where_the_output_has_no_ticks_it_prints_ascii(build: Builder) -> None:
    runner = build(tables=False, config={"SECRET_KEY": None}).app.test_cli_runner(charset="ascii")
    outcome = runner.invoke(args=["rest-registration", "check"])
    assert (outcome.exit_code, outcome.stderr) == (1, "")
    assert lacking(outcome.stdout, "x keys: see the errors\n", "+ settings: ") == []


@pytest.mark.programs
@pytest.mark.parametrize(("command", "factory"), [("check", False), ("check", True), ("settings", True)])
def test_what_init_app_refuses_is_a_message_and_no_traceback(tmp_path: Path, command: str, factory: bool) -> None:
    program = "import flask, flask_rest_registration as ours\ndef create_app():\n    app = flask.Flask(__name__)\n"
    program += "    app.config['REST_REGISTRATION_REGISTER_VERIFICATION_LINK'] = 'x'\n    ours.RestRegistration(app)\n"
    (tmp_path / "refused.py").write_text(program + ("" if factory else "create_app()\n"))
    outcome = run_python("-m", "flask", "--app", "refused", "rest-registration", command, folder=tmp_path)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    words = ("REST_REGISTRATION has no setting REGISTER_VERIFICATION_LINK.", "Did you mean REGISTER_VERIFICATION_URL?")
    assert (outcome.stderr[:7], lacking(outcome.stderr, *words), "Traceback" in outcome.stderr) == (
        "Error: ",
        [],
        False,
    )


def test_templates_are_looked_at_by_the_syntax_that_they_have_in_the_mail(build: Builder) -> None:
    def give(app: Flask) -> None:
        app.jinja_options = {"variable_start_string": "[[", "variable_end_string": "]]"}
        app.jinja_loader = DictLoader({"whole.txt": "[[ verification_url ]] {{", "broken.txt": "[[ verification_url"})

    for name, found in (("whole.txt", []), ("broken.txt", ["is broken in line 1"])):
        built = build(registration={LINK_TEMPLATES: {"body": name}}, before_init=give)
        printed = built.command("check").output
        assert ("Error" in printed or "broken" in printed, lacking(printed, *found)) == (bool(found), [])
