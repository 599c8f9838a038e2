"""``flask rest-registration check``: what is otherwise found out on first use, each with its fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader
from marshmallow import Schema
from sqlalchemy import BigInteger, Column, DateTime, Integer, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from flask_rest_registration import ConfigurationError
from tests.support import models
from tests.support.apps import Builder, Built
from tests.support.databases import ON_SQLITE
from tests.support.links import link_in
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.statements import recorded
from tests.support.web import run_python


def check(built: Built) -> tuple[int, list[str], list[str]]:
    """Run the command; return its exit code, the errors and the warnings."""
    outcome = built.command("check")
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    findings, summary = outcome.output.rstrip("\n").rpartition("\n")[::2]
    found = re.split(r"^(error|warning): ", findings, flags=re.MULTILINE)  # a finding may have several lines
    assert found.pop(0) == ""
    by_kind = list(zip(found[::2], found[1::2], strict=True))
    errors = [text for kind, text in by_kind if kind == "error"]
    warnings = [text for kind, text in by_kind if kind == "warning"]
    assert summary == f"{len(errors)} errors, {len(warnings)} warnings"
    return outcome.exit_code, errors, warnings


def the_error(built: Built) -> str:
    """Run the command, and return the one error."""
    code, errors, warnings = check(built)
    assert (code, len(errors), warnings) == (1, 1, []), [*errors, *warnings]
    return errors[0]


def the_warning(built: Built) -> str:
    """Run the command, and return the one warning."""
    code, errors, warnings = check(built)
    assert (code, errors, len(warnings)) == (0, [], 1), [*errors, *warnings]
    return warnings[0]


def use_templates(templates: Mapping[str, str]) -> Callable[[Flask], None]:
    """Make a ``before_init`` that gives the app these templates."""

    def give(app: Flask) -> None:
        app.jinja_loader = DictLoader(dict(templates))

    return give


# An app that is fine


@pytest.mark.parametrize("name", [name for name in models.ALL if name != "is_active_flag"])
def test_of_an_app_that_is_fine_it_finds_nothing(build: Builder, name: str) -> None:
    assert check(build(models.ALL[name], registration={"PASSWORD_HASHER": None})) == (0, [], [])


def test_it_asks_neither_the_database_nor_the_mail_server(build: Builder, smtp: RecordingServer) -> None:
    built = build(tables=False)
    with recorded(built.engine) as statements:
        assert check(built)[0] == 0
    assert statements.kinds == []
    assert smtp.conversations == []


APP = """
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_rest_registration import RestRegistration

app = Flask("checked")
app.config.update(
    SECRET_KEY="k" * 32,
    SQLALCHEMY_DATABASE_URI="sqlite://",
    MAIL_DEFAULT_SENDER={sender!r},
    REST_REGISTRATION={{"REGISTER_VERIFICATION_URL": "https://frontend.example/"}},
)
db = SQLAlchemy(app)
Mail(app)
RestRegistration(app)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    password_hash = db.Column(db.String(162), nullable=False)
    email_verified_at = db.Column(db.DateTime)
"""


@pytest.mark.parametrize(("sender", "code"), [("no-reply@example.com", 0), (None, 1)])
def test_the_command_ends_with_1_if_there_are_errors(tmp_path: Path, sender: str | None, code: int) -> None:
    (tmp_path / "checked.py").write_text(APP.format(sender=sender))
    outcome = run_python("-m", "flask", "--app", "checked", "rest-registration", "check", folder=tmp_path)
    assert (outcome.returncode, outcome.stderr) == (code, "")
    assert outcome.stdout.splitlines()[-1] == f"{code} errors, 0 warnings"


SET_PASSWORD = """
    def set_password(self, password):
        self.password_hash = password[:3]
"""
PASSWORD_PROPERTY = """
    @property
    def password(self):
        raise AttributeError

    @password.setter
    def password(self, password):
        self.password_hash = password[:3]
"""


@pytest.mark.parametrize("source", [SET_PASSWORD, PASSWORD_PROPERTY], ids=["set_password", "property"])
def test_it_tries_a_password_where_nothing_has_used_the_models_yet(tmp_path: Path, source: str) -> None:
    (tmp_path / "checked.py").write_text(APP.format(sender="no-reply@example.com") + source)
    outcome = run_python("-m", "flask", "--app", "checked", "rest-registration", "check", folder=tmp_path)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout == "0 errors, 0 warnings\n"


# What is wrong with settings


@pytest.mark.parametrize(
    "name",
    [
        "USER_MODEL",
        "REGISTER_SERIALIZER_CLASS",
        "REGISTER_OUTPUT_SERIALIZER_CLASS",
        "REGISTER_EMAIL_SERIALIZER_CLASS",
        "REGISTER_VERIFICATION_EMAIL_SENDER",
        "REGISTER_EXISTING_EMAIL_SENDER",
        "LOGIN_HANDLER",
        "VERIFICATION_URL_BUILDER",
        "VERIFICATION_TEMPLATE_CONTEXT_BUILDER",
        "VERIFICATION_TEMPLATES_SELECTOR",
        "VERIFICATION_LOCALE_SELECTOR",
        "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER",
        "PASSWORD_HASHER",
        "PASSWORD_VALIDATORS",
    ],
)
@pytest.mark.parametrize("path", ["no_such_module.thing", "flask_rest_registration.no_such_thing", f"{__name__}.APP"])
def test_every_dotted_path_is_followed(build: Builder, name: str, path: str) -> None:
    value = [path] if name == "PASSWORD_VALIDATORS" else path
    assert lacking(the_error(build(registration={name: value})), name, repr(path)) == []


@pytest.mark.parametrize(
    "name", ["REGISTER_SERIALIZER_CLASS", "REGISTER_OUTPUT_SERIALIZER_CLASS", "REGISTER_EMAIL_SERIALIZER_CLASS"]
)
@pytest.mark.parametrize("value", [dict, "collections.OrderedDict"])
def test_a_class_that_is_no_schema_is_an_error(build: Builder, name: str, value: object) -> None:
    message = the_error(build(registration={name: value}))
    assert lacking(message, name, "marshmallow.Schema", "dict" if value is dict else "OrderedDict") == []


def test_all_errors_are_found_in_one_run(build: Builder) -> None:
    built = build(
        config={"SECRET_KEY": None, "MAIL_DEFAULT_SENDER": None},
        registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"subject": "none.txt", "body": "none-either.txt"}},
    )
    code, errors, _ = check(built)
    assert code == 1
    for word in ("SECRET_KEY", "MAIL_DEFAULT_SENDER", "'none.txt'", "'none-either.txt'"):
        assert len([text for text in errors if word in text]) == 1


@pytest.mark.parametrize("key", [None, ""])
def test_a_missing_secret_key_is_an_error(build: Builder, key: object) -> None:
    assert lacking(the_error(build(config={"SECRET_KEY": key})), "SECRET_KEY", "not set", "secrets.token_hex") == []


@pytest.mark.parametrize(
    "config", [{"SECRET_KEY": "hunter2"}, {"SECRET_KEY": b"hunter2"}, {"SECRET_KEY_FALLBACKS": ["hunter2"]}]
)
def test_a_secret_key_that_can_be_guessed_is_an_error_that_does_not_quote_it(
    build: Builder, config: dict[str, object]
) -> None:
    message = the_error(build(config=config))
    assert lacking(message, "SECRET_KEY", "7 characters", "guessed", "secrets.token_hex") == []
    assert "hunter2" not in message


def test_sixteen_characters_are_enough_for_a_secret_key(build: Builder) -> None:
    assert check(build(config={"SECRET_KEY": "k" * 16}))[1] == []
    assert lacking(the_error(build(config={"SECRET_KEY": "k" * 15})), "SECRET_KEY", "15 characters") == []


# What is wrong with the model


def short_hash_property(db: SQLAlchemy) -> type[Any]:
    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        pw: Mapped[str] = mapped_column("password_hash", String(40))
        email_verified: Mapped[bool]

        def set_password(self, password: str) -> None:
            self.pw = "h" * 41

    return User


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (models.short_hash_column, ["User.password_hash", "128", "162", "String(255)"]),
        (short_hash_property, ["User.pw", "40", "41", "String(255)"]),
    ],
)
def test_a_column_too_short_for_the_hash_is_an_error(build: Builder, model: models.Model, words: list[str]) -> None:
    assert lacking(the_error(build(model, registration={"PASSWORD_HASHER": None})), *words) == []


@pytest.mark.parametrize("used", ["password", "password_hash"])
@pytest.mark.parametrize("first", ["password", "password_hash"])
def test_of_two_columns_that_look_like_a_hashs_the_one_in_use_must_be_long_enough(
    build: Builder, first: str, used: str
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        names = [first, *({"password", "password_hash"} - {first})]
        columns: dict[str, Any] = {
            name: mapped_column(String(20 if name == used else 256), default="") for name in names
        }
        columns["id"] = mapped_column(Integer, primary_key=True)
        columns["email"] = mapped_column(String(254), unique=True)
        columns["email_verified_at"] = mapped_column(DateTime)
        return type("User", (db.Model,), columns)

    message = the_error(build(model, registration={"USER_PASSWORD_FIELD": used, "PASSWORD_HASHER": None}))
    assert lacking(message, f"User.{used}", "20", "162") == []


def lacking_all(db: SQLAlchemy) -> type[Any]:
    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str]

    return User


def test_each_fault_of_the_model_is_an_error_of_its_own(build: Builder) -> None:
    code, errors, _ = check(build(lacking_all))
    assert code == 1
    for word in ("unique", "email_verified_at", "set_password()"):
        assert len([text for text in errors if word in text]) == 1


def test_a_column_that_registration_cannot_fill_is_an_error(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        user = models.minimal(db)
        user.tenant_id = mapped_column(db.Integer, nullable=False)
        return user

    message = the_error(build(model))
    assert lacking(message, "tenant_id", "default", "USER_EDITABLE_FIELDS", "REGISTER_SERIALIZER_CLASS") == []


def with_key(kind: Any) -> models.Model:
    """Return a model whose key has this type."""

    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(kind, primary_key=True)
            email: Mapped[str] = mapped_column(String(254), unique=True)
            password_hash: Mapped[str] = mapped_column(String(256))
            email_verified: Mapped[bool]

        return User

    return model


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("kind", [BigInteger, SmallInteger])
def test_a_key_that_sqlite_does_not_count_is_an_error_and_on_first_use_too(build: Builder, kind: type[Integer]) -> None:
    built = build(with_key(kind))
    words = ("User.id", kind.__name__, "SQLite", "db.BigInteger().with_variant(db.Integer, 'sqlite')")
    assert lacking(the_error(built), *words) == []
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert lacking(str(caught.value), *words) == []


COUNTED = [Integer, BigInteger().with_variant(Integer, "sqlite"), *([] if ON_SQLITE else [BigInteger, SmallInteger])]


@pytest.mark.parametrize("kind", COUNTED, ids=repr)
def test_a_key_that_the_database_counts_is_fine(build: Builder, smtp: RecordingServer, kind: Any) -> None:
    built = build(with_key(kind))
    assert check(built) == (0, [], [])
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200


def test_an_app_without_flask_sqlalchemy_is_told_so(build: Builder) -> None:
    built = build(tables=False)
    database = built.app.extensions.pop("sqlalchemy")
    assert lacking(the_error(built), "Flask-SQLAlchemy", "db.init_app(app)") == []
    built.app.extensions["sqlalchemy"] = database


# What is wrong with the mail


def test_an_app_without_flask_mail_is_told_so(build: Builder) -> None:
    built = build()
    del built.app.extensions["mail"]
    code, errors, _ = check(built)
    assert code == 1
    assert lacking("".join(errors), "Flask-Mail", "Mail(app)", "REGISTER_VERIFICATION_EMAIL_SENDER") == []


def test_a_mail_without_a_sender_is_an_error(build: Builder) -> None:
    message = the_error(build(config={"MAIL_DEFAULT_SENDER": None}))
    assert lacking(message, "MAIL_DEFAULT_SENDER", "VERIFICATION_FROM_EMAIL") == []


def test_two_kinds_of_tls_at_once_are_an_error(build: Builder) -> None:
    message = the_error(build(config={"MAIL_USE_TLS": True, "MAIL_USE_SSL": True}))
    assert lacking(message, "MAIL_USE_TLS", "MAIL_USE_SSL", "465", "587") == []


@pytest.mark.parametrize("key", ["subject", "body", "html_body"])
def test_a_template_that_is_not_there_is_an_error(build: Builder, key: str) -> None:
    message = the_error(build(registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {key: "none.txt"}}))
    assert lacking(message, "REGISTER_VERIFICATION_EMAIL_TEMPLATES", "'none.txt'", repr(key), "not found") == []


def test_a_template_that_is_broken_is_an_error(build: Builder) -> None:
    settings = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "b.txt"}}
    message = the_error(build(registration=settings, before_init=use_templates({"b.txt": "{% if %}"})))
    assert lacking(message, "REGISTER_VERIFICATION_EMAIL_TEMPLATES", "'b.txt'", "broken") == []


def test_an_own_template_under_the_default_name_that_is_broken_is_an_error(build: Builder) -> None:
    name = "rest_registration/register/body.html"
    assert lacking(the_error(build(before_init=use_templates({name: "{{ site"}))), name, "broken") == []


def own_sender(request: object, user: object) -> None:
    """A sender that needs nothing of Flask-Mail's."""


@pytest.mark.parametrize(
    "settings", [{"REGISTER_VERIFICATION_EMAIL_SENDER": own_sender}, {"REGISTER_VERIFICATION_ENABLED": False}]
)
def test_what_only_the_default_sender_needs_is_not_asked_for_without_it(
    build: Builder, settings: dict[str, object]
) -> None:
    built = build(
        registration={**settings, "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "none.txt"}},
        config={"MAIL_DEFAULT_SENDER": None, "MAIL_USE_TLS": True, "MAIL_USE_SSL": True, "MAIL_SUPPRESS_SEND": True},
    )
    del built.app.extensions["mail"]
    assert check(built) == (0, [], [])


# What is wrong with the log-in


def test_auto_login_without_a_login_manager_is_an_error(build: Builder) -> None:
    message = the_error(build(models.login_user, registration={"REGISTER_VERIFICATION_AUTO_LOGIN": True}))
    assert lacking(message, "REGISTER_VERIFICATION_AUTO_LOGIN", "LoginManager(app)", "LOGIN_HANDLER") == []


# What is dangerous


def test_a_flag_that_also_locks_people_out_is_a_warning(build: Builder) -> None:
    message = the_warning(build(models.is_active_flag))
    assert lacking(message, "User.is_active", "lock", "email_verified_at") == []


def test_no_password_validators_are_a_warning(build: Builder) -> None:
    assert lacking(the_warning(build(registration={"PASSWORD_VALIDATORS": []})), "PASSWORD_VALIDATORS", "empty") == []


def test_mail_that_is_not_sent_is_a_warning(build: Builder) -> None:
    message = the_warning(build(mail=None))
    assert lacking(message, "MAIL_SUPPRESS_SEND", "true", "TESTING") == []


LOGIN = {"MAIL_USERNAME": "app", "MAIL_PASSWORD": "of-smtp"}


@pytest.mark.parametrize(
    ("config", "warned"),
    [
        ({"MAIL_SERVER": "mail.example"}, True),
        ({"MAIL_SERVER": "192.0.2.1"}, True),
        ({"MAIL_SERVER": "mail.example", "MAIL_USE_TLS": True}, False),
        ({"MAIL_SERVER": "mail.example", "MAIL_USE_SSL": True}, False),
        ({"MAIL_SERVER": "mail.example", "MAIL_USERNAME": None}, False),
        ({"MAIL_SERVER": "localhost"}, False),
        ({"MAIL_SERVER": "127.0.0.2"}, False),
        ({"MAIL_SERVER": "::1"}, False),
    ],
)
def test_a_log_in_without_encryption_is_a_warning(build: Builder, config: dict[str, object], warned: bool) -> None:
    built = build(config={**LOGIN, **config})
    if not warned:
        assert check(built) == (0, [], [])
    else:
        message = the_warning(built)
        assert lacking(message, repr(config["MAIL_SERVER"]), "without encryption", "MAIL_USE_TLS", "MAIL_USE_SSL") == []
        assert "of-smtp" not in message


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://frontend.example/verify/", True),
        ("http://192.0.2.7/verify/", True),
        ("http://notlocalhost/verify/", True),
        ("http://localhost:3000/verify/", False),
        ("http://app.localhost/verify/", False),
        ("http://127.0.0.1:5000/verify/", False),
        ("http://[::1]:5000/verify/", False),
        ("https://frontend.example/verify/", False),
    ],
)
def test_a_link_over_http_is_a_warning(build: Builder, url: str, warned: bool) -> None:
    built = build(registration={"REGISTER_VERIFICATION_URL": url})
    if not warned:
        assert check(built) == (0, [], [])
    else:
        assert lacking(the_warning(built), "REGISTER_VERIFICATION_URL", repr(url), "https") == []


def test_a_hasher_that_cannot_be_tried_is_a_warning(build: Builder) -> None:
    def fail(password: str) -> str:
        raise RuntimeError(f"cannot hash {password}")

    message = the_warning(build(registration={"PASSWORD_HASHER": fail}))
    assert lacking(message, "User.password_hash", "RuntimeError") == []


def test_warnings_and_errors_are_counted_apart(build: Builder) -> None:
    built = build(config={"MAIL_DEFAULT_SENDER": None}, registration={"PASSWORD_VALIDATORS": []})
    code, errors, warnings = check(built)
    assert (code, len(errors), len(warnings)) == (1, 1, 1)


class Given(Schema):
    """A serializer of one's own, which check only looks at."""


def test_the_command_changes_nothing(build: Builder) -> None:
    built = build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": Given})
    before = dict(built.app.config)
    assert [check(built), check(built)] == [(0, [], [])] * 2
    assert dict(built.app.config) == before
    assert built.register().get_json() == {}


# Pending registrations


EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True}
RESEND: dict[str, object] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}


@pytest.mark.parametrize("name", models.ALL)
def test_of_an_app_with_e_mail_first_that_is_fine_it_finds_nothing(build: Builder, name: str) -> None:
    """Nor of is_active as the flag: nobody who is locked out has a link that would let them in."""
    settings = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_ENABLED": True, "PASSWORD_HASHER": None}
    assert check(build(models.ALL[name], pending=True, registration=settings)) == (0, [], [])


@pytest.mark.parametrize("name", [name for name in models.ALL if name != "is_active_flag"])
def test_of_an_app_with_resend_that_is_fine_it_finds_nothing(build: Builder, name: str) -> None:
    settings = {**RESEND, "PASSWORD_HASHER": None}
    assert check(build(models.ALL[name], pending=True, registration=settings)) == (0, [], [])


@pytest.mark.parametrize("settings", [EMAIL_FIRST, RESEND])
def test_of_pending_registrations_it_asks_neither_the_database_nor_the_mail_server(
    build: Builder, smtp: RecordingServer, settings: dict[str, object]
) -> None:
    built = build(tables=False, pending=True, registration=settings)
    with recorded(built.engine) as statements:
        assert check(built) == (0, [], [])
    assert (statements.kinds, smtp.conversations) == ([], [])


@pytest.mark.parametrize("settings", [EMAIL_FIRST, RESEND])
def test_no_model_of_pending_registrations_is_an_error_where_one_is_needed(
    build: Builder, settings: dict[str, object]
) -> None:
    words = ("no model of pending registrations", *settings, "Fix: ", "PendingRegistrationMixin", "migration")
    assert lacking(the_error(build(registration=settings)), *words) == []


@pytest.mark.parametrize(
    "name", ["REGISTER_EXISTING_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER as the public name"]
)
@pytest.mark.parametrize("key", ["subject", "body", "html_body"])
def test_a_template_of_the_notice_that_is_not_there_is_an_error(build: Builder, name: str, key: str) -> None:
    setting, _, public = name.partition(" ")
    sender = "flask_rest_registration.send_existing_account_email_notification" if public else None
    settings = {**EMAIL_FIRST, setting: sender, "REGISTER_EXISTING_EMAIL_TEMPLATES": {key: "none.txt"}}
    message = the_error(build(pending=True, registration=settings))
    assert lacking(message, "REGISTER_EXISTING_EMAIL_TEMPLATES", "'none.txt'", repr(key), "not found") == []


def test_a_template_of_the_notice_that_is_broken_is_an_error(build: Builder) -> None:
    templates = use_templates({"rest_registration/register/existing_body.txt": "{% if %}"})
    message = the_error(build(pending=True, registration=EMAIL_FIRST, before_init=templates))
    words = ("REGISTER_EXISTING_EMAIL_TEMPLATES", "rest_registration/register/existing_body.txt", "'body'", "broken")
    assert lacking(message, *words) == []


OWN_SENDERS = dict.fromkeys(("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"), own_sender)


@pytest.mark.parametrize("settings", [{}, RESEND, {**EMAIL_FIRST, **OWN_SENDERS}])
def test_templates_of_a_notice_that_nobody_sends_by_default_are_not_looked_for(
    build: Builder, settings: dict[str, object]
) -> None:
    templates = {"REGISTER_EXISTING_EMAIL_TEMPLATES": {"body": "none.txt"}}
    assert check(build(pending=True, registration={**settings, **templates})) == (0, [], [])


def test_templates_of_a_link_that_the_application_sends_by_itself_are_not_looked_for(build: Builder) -> None:
    templates = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "none.txt"}}
    assert check(build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": own_sender, **templates})) == (0, [], [])


def test_with_own_senders_of_both_mails_nothing_of_flask_mail_is_asked_for(build: Builder) -> None:
    built = build(pending=True, registration={**EMAIL_FIRST, **OWN_SENDERS}, config={"MAIL_DEFAULT_SENDER": None})
    del built.app.extensions["mail"]
    assert check(built) == (0, [], [])


def test_a_unique_rule_over_a_column_that_is_not_mapped_is_passed_over(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        columns: dict[str, Any] = {"id": Integer, "email": String(254), "password_hash": String(256), "code": String(9)}
        table = db.Table(
            "user",
            *(Column(name, kind, primary_key=name == "id", unique=name != "id") for name, kind in columns.items()),
            Column("email_verified_at", DateTime),
        )
        excluding = {"exclude_properties": ["code"]}
        return type("User", (db.Model,), {"__table__": table, "__mapper_args__": excluding})

    assert check(build(model, pending=True, registration=EMAIL_FIRST)) == (0, [], [])


def test_a_hash_that_goes_to_no_column_that_can_be_told_is_not_tried(build: Builder) -> None:
    def set_password(self: Any, password: str) -> None:
        raise AssertionError("called")

    model = models.declared(password_hash=None, secret=mapped_column(String(9)), set_password=set_password)
    assert check(build(model)) == (0, [], [])


# What templates refer to


@pytest.mark.parametrize(
    ("reference", "described"),
    [
        ("{% extends 'other.txt' %}", True),
        ("{% include 'other.txt' %}", True),
        ("{% import 'other.txt' as other %}", True),
        ("{% from 'other.txt' import thing %}", True),
        ("{% include 'other.txt' ignore missing %}", False),
        ("{% include ['other.txt', 'b.txt'] %}", False),
        ("{% include name_of_the_day %}", False),
    ],
)
def test_a_template_that_another_one_cannot_do_without_is_looked_for(
    build: Builder, reference: str, described: bool
) -> None:
    settings = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "a.txt"}}
    templates = {"a.txt": "{% include 'middle.txt' %}", "middle.txt": reference, "b.txt": ""}
    built = build(registration=settings, before_init=use_templates(templates))
    if not described:
        assert check(built) == (0, [], [])
    else:
        words = ("REGISTER_VERIFICATION_EMAIL_TEMPLATES", "'other.txt'", "'middle.txt' refers to", "not found")
        assert lacking(the_error(built), *words) == []


def test_missing_templates_are_told_in_the_order_in_which_they_are_named(build: Builder) -> None:
    settings = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "a.txt"}}
    templates = {"a.txt": "{% include 'second.txt' %}{% include 'first.txt' %}"}
    _, errors, _ = check(build(registration=settings, before_init=use_templates(templates)))
    assert [name for error in errors for name in ("first", "second") if f"'{name}.txt'" in error] == ["second", "first"]


def test_templates_that_include_each_other_are_looked_at_once(build: Builder) -> None:
    settings = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "a.txt"}}
    templates = {
        "a.txt": "{% if deep %}{% include 'b.txt' %}{% include 'b.txt' %}{% endif %}",
        "b.txt": "{% if deep %}{% include 'a.txt' %}{% endif %}{% include 'c.txt' %}",
    }
    assert lacking(the_error(build(registration=settings, before_init=use_templates(templates))), "'c.txt'") == []
