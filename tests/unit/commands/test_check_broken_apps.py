"""``check`` on applications that are broken as they are in the wild: each message has all that a developer needs.

It names the setting (or the column), shows the value, says what is wrong with it and how to fix it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flask_rest_registration import ConfigurationError
from tests.support.messages import lacking
from tests.support.web import run_python

GOOD = """\
from flask import Flask
from flask_login import LoginManager
from flask_mail import Mail
from flask_rest_registration import RestRegistration
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config.update(
    SECRET_KEY="k" * 64,
    SQLALCHEMY_DATABASE_URI="sqlite://",
    MAIL_SERVER="localhost",
    MAIL_DEFAULT_SENDER="no-reply@example.com",
    REST_REGISTRATION={
        "REGISTER_VERIFICATION_URL": "https://frontend.example/verify-user/",
    },
)
db = SQLAlchemy(app)
Mail(app)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True, nullable=False)
    password_hash = db.Column(db.String(255), nullable=False)
    email_verified_at = db.Column(db.DateTime)


RestRegistration(app)
"""

URL = '        "REGISTER_VERIFICATION_URL": "https://frontend.example/verify-user/",\n'


@dataclass(frozen=True)
class Broken:
    """An application with one fault.

    :param good: what is replaced in the good one.
    :param bad: what stands there in its place.
    :param names: the setting or column that the message has to name.
    :param shows: the value.
    :param wrong: what is wrong with it.
    :param fix: how to fix it.
    """

    good: str
    bad: str
    names: str
    shows: str
    wrong: str
    fix: str
    templates: tuple[tuple[str, str], ...] = ()


BODY = (URL, URL + '        "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "mail/verify.txt"},\n')

#: The app cannot even be made: ``init_app`` refuses these.
REFUSED = {
    "a misspelt name": Broken(
        URL,
        URL.replace("REGISTER_VERIFICATION_URL", "REGISTER_VERIFICATION_LINK"),
        names="REST_REGISTRATION",
        shows="REGISTER_VERIFICATION_LINK",
        wrong="has no setting",
        fix="Did you mean REGISTER_VERIFICATION_URL?",
    ),
    "a switch that is text": Broken(
        URL,
        URL + '        "REGISTER_FLOW_ENABLED": "False",\n',
        names="REGISTER_FLOW_ENABLED",
        shows="'False' (str)",
        wrong="must be True or False",
        fix="write false in the environment",
    ),
    "a URL without a host": Broken(
        URL,
        '        "REGISTER_VERIFICATION_URL": "/verify-user/",\n',
        names="REGISTER_VERIFICATION_URL",
        shows="'/verify-user/'",
        wrong="must be an absolute http or https URL",
        fix="such as 'https://example.com/verify/'",
    ),
    "a cooldown as long as the link lives": Broken(
        URL,
        URL
        + '        "REGISTER_VERIFICATION_RESEND_COOLDOWN": 3600,\n'
        + '        "REGISTER_VERIFICATION_PERIOD": 3600,\n',
        names="REGISTER_VERIFICATION_RESEND_COOLDOWN",
        shows="1:00:00",
        wrong="not shorter than REGISTER_VERIFICATION_PERIOD",
        fix="Fix: give a shorter cooldown or a longer period",
    ),
    "a setting that is gone": Broken(
        URL,
        URL + '        "REGISTER_PASSWORD_AT": "verify",\n',
        names="REST_REGISTRATION setting",
        shows="REGISTER_PASSWORD_AT",
        wrong="is gone: with REGISTER_EMAIL_FIRST the password is chosen by whoever reads the mail",
        fix="Fix: remove it",
    ),
}

#: What ``check`` finds.
FOUND = {
    "a secret key that can be guessed": Broken(
        '"k" * 64',
        '"dev"',
        names="SECRET_KEY",
        shows="has 3 characters",  # not the key itself
        wrong="can be guessed",
        fix="python -c 'import secrets; print(secrets.token_hex())'",
    ),
    "an address that two may have": Broken(
        "unique=True, ",
        "",
        names="USER_EMAIL_FIELD",
        shows="'email'",
        wrong="User.email is not unique",
        fix="add unique=True to its column",
    ),
    "a column too short for the hash": Broken(
        "db.String(255)",
        "db.String(128)",
        names="User.password_hash",
        shows="holds 128 characters",
        wrong="the password's hash has 162",
        fix="make the column db.String(255)",
    ),
    "no flag": Broken(
        "    email_verified_at = db.Column(db.DateTime)\n",
        "",
        names="USER_VERIFICATION_FLAG_FIELD",
        shows="User",
        wrong="has no column that says whether the address is verified",
        fix="add email_verified_at = db.Column(db.DateTime)",
    ),
    "a field that the model lacks": Broken(
        URL,
        URL + '        "USER_EMAIL_FIELD": "mail",\n',
        names="USER_EMAIL_FIELD",
        shows="'mail'",
        wrong="User has no such column",
        fix="It has: id, email, password_hash, email_verified_at. Name one of the model's columns.",
    ),
    "a path that leads nowhere": Broken(
        URL,
        URL + '        "REGISTER_SERIALIZER_CLASS": "shop.serializers.SignUp",\n',
        names="REGISTER_SERIALIZER_CLASS",
        shows="'shop.serializers.SignUp'",
        wrong="cannot be imported (No module named 'shop')",
        fix="correct the path, or give the class or function itself",
    ),
    "a password that strangers may write": Broken(
        URL,
        URL + '        "USER_EDITABLE_FIELDS": ["password_hash"],\n',
        names="USER_EDITABLE_FIELDS",
        shows="'password_hash'",
        wrong="never read from a stranger",
        fix="remove it",
    ),
    "a mail from nobody": Broken(
        '    MAIL_DEFAULT_SENDER="no-reply@example.com",\n',
        "",
        names="VERIFICATION_FROM_EMAIL",
        shows="MAIL_DEFAULT_SENDER is not set",
        wrong="the verification mail has no sender",
        fix="set one of them, such as to 'no-reply@example.com'",
    ),
    "two kinds of TLS": Broken(
        '    MAIL_SERVER="localhost",\n',
        '    MAIL_SERVER="localhost",\n    MAIL_USE_TLS=True,\n    MAIL_USE_SSL=True,\n',
        names="MAIL_USE_TLS and MAIL_USE_SSL",
        shows="both true",
        wrong="keep MAIL_USE_SSL for a server that speaks TLS from the start (port 465)",
        fix="MAIL_USE_TLS for one that has STARTTLS (port 587)",
    ),
    "a template that is not there": Broken(
        *BODY,
        names="REGISTER_VERIFICATION_EMAIL_TEMPLATES",
        shows="'mail/verify.txt' for 'body'",
        wrong="was not found",
        fix="put it into the app's templates folder or correct its name",
    ),
    "a template whose footer is broken": Broken(
        *BODY,
        names="REGISTER_VERIFICATION_EMAIL_TEMPLATES",
        shows="'mail/footer.txt' for 'body', which 'mail/verify.txt' refers to",
        wrong="is broken in line 2: Unexpected end of template",
        fix="Correct that line",
        templates=(
            ("mail/verify.txt", "{{ verification_url }}\n{% include 'mail/footer.txt' %}\n"),
            ("mail/footer.txt", "Bye\n{% if site %}"),
        ),
    ),
    "a log-in without Flask-Login's manager": Broken(
        URL,
        URL + '        "REGISTER_VERIFICATION_AUTO_LOGIN": True,\n',
        names="REGISTER_VERIFICATION_AUTO_LOGIN",
        shows="is True",
        wrong="LoginManager, and that is not initialised on this app",
        fix="call LoginManager(app), or give a LOGIN_HANDLER",
    ),
    "e-mail first without its table": Broken(
        URL,
        URL + '        "REGISTER_EMAIL_FIRST": True,\n',
        names="REGISTER_EMAIL_FIRST",
        shows="is True",
        wrong="there is no model of pending registrations",
        fix="Fix: add class PendingRegistration(PendingRegistrationMixin, db.Model), with a migration",
    ),
}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Broken | None], Any]]:
    """Write an application into a file, with its templates, and import it as ``flask`` does."""
    modules: list[ModuleType] = []  # until the test's end: SQLAlchemy knows only the models that somebody holds on to

    def write_and_import(broken: Broken | None) -> Any:
        source, templates = GOOD, broken.templates if broken else ()
        if broken:
            assert GOOD.count(broken.good) == 1
            source = GOOD.replace(broken.good, broken.bad)
        (tmp_path / "shop_app.py").write_text(source, encoding="utf-8")
        for name, text in templates:
            file = tmp_path / "templates" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        modules.append(importlib.import_module("shop_app"))
        return modules[-1].app

    yield write_and_import
    sys.modules.pop("shop_app", None)


def check(app: Any) -> tuple[int, str]:
    """Run the command on an application, and return its exit code and what it printed."""
    outcome = app.test_cli_runner().invoke(args=["rest-registration", "check"])
    return outcome.exit_code, outcome.output


def test_the_application_that_the_broken_ones_are_made_of_is_good(load: Callable[[Broken | None], Any]) -> None:
    assert check(load(None)) == (0, "0 errors, 0 warnings\n")


@pytest.mark.parametrize("name", FOUND)
def test_what_check_finds_has_setting_value_fault_and_fix_in_one_message(
    load: Callable[[Broken | None], Any], name: str
) -> None:
    broken = FOUND[name]
    code, printed = check(load(broken))
    message, summary = printed.splitlines()
    assert (code, summary) == (1, "1 errors, 0 warnings")
    assert lacking(message, broken.names, broken.shows, broken.wrong, broken.fix) == [], message


@pytest.mark.parametrize("name", REFUSED)
def test_what_init_app_refuses_has_them_too(load: Callable[[Broken | None], Any], name: str) -> None:
    broken = REFUSED[name]
    with pytest.raises(ConfigurationError) as caught:
        load(broken)
    assert lacking(str(caught.value), broken.names, broken.shows, broken.wrong, broken.fix) == []


def test_the_command_ends_with_what_init_app_refuses(tmp_path: Path) -> None:
    broken = REFUSED["a misspelt name"]
    (tmp_path / "shop_app.py").write_text(GOOD.replace(broken.good, broken.bad), encoding="utf-8")
    done = run_python("-m", "flask", "--app", "shop_app", "rest-registration", "check", folder=tmp_path)
    assert (done.returncode != 0, done.stdout) == (True, "")
    message = done.stderr[done.stderr.rindex("ConfigurationError: ") :]
    assert lacking(message, broken.names, broken.shows, broken.wrong, broken.fix) == [], message
