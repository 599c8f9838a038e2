"""The commands ``settings``, ``openapi`` and ``send-test-mail``; check and purge have modules of their own."""

from __future__ import annotations

import functools
import json
import re
import shlex
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from click.testing import Result
from marshmallow import fields
from openapi_spec_validator import validate as validate_document

from flask_rest_registration import DefaultRegisterUserSerializer, DefaultUserProfileSerializer
from flask_rest_registration.contrib.openapi import openapi
from flask_rest_registration.settings.definitions import describe_settings
from tests.support.apps import Builder, Built, fast_hasher
from tests.support.links import text_of
from tests.support.mail_servers import CloseDown, Drip, HangUp, RecordingServer, Silence
from tests.support.messages import lacking


def run(built: Built, *arguments: str) -> Result:
    """Run a command of ``flask rest-registration``."""
    outcome = built.command(*arguments)
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome


@pytest.mark.parametrize("command", ["check", "openapi", "purge", "send-test-mail", "settings"])
def test_the_help_is_not_cut_off_and_its_examples_can_be_typed(
    build: Builder, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    built = build(tables=False)
    whole, own = run(built, "--help").stdout, run(built, command, "--help").stdout
    (line,) = re.findall(rf"^  {command} +(.*\.)$", whole, re.MULTILINE)
    assert line == own.splitlines()[2].strip()
    assert "..." not in whole.partition("Options:")[2]
    assert max(map(len, own.splitlines())) <= 80
    examples = re.findall(r"^    flask --app signup rest-registration (\S+)(.*)$", own, re.MULTILINE)
    assert {name for name, _ in examples} == {command}
    for _, arguments in examples:
        built.registration.blueprint.cli.commands[command].make_context(
            command, shlex.split(arguments.partition(">")[0])
        ).close()


def shown(built: Built, *options: str) -> dict[str, tuple[Any, str]]:
    """Return value and origin of each setting that the command shows."""
    outcome = run(built, "settings", "--json", *options)
    assert outcome.exit_code == 0
    return {name: (each["value"], each["origin"]) for name, each in json.loads(outcome.stdout).items()}


def test_the_defaults_are_as_the_contract_says(build: Builder) -> None:
    found = shown(build())
    defaults = {
        "REGISTER_VERIFICATION_PERIOD": 7 * 24 * 60 * 60,
        "VERIFICATION_EMAIL_TIMEOUT": 10,
        "PENDING_REGISTRATION_MODEL": None,
        "REGISTER_EMAIL_FIRST": False,
        "REGISTER_VERIFICATION_RESEND_ENABLED": False,
        "REGISTER_VERIFICATION_RESEND_COOLDOWN": 60,
        "REGISTER_VERIFICATION_CODE_ENABLED": False,
        "REGISTER_VERIFICATION_CODE_LENGTH": 6,
        "REGISTER_VERIFICATION_CODE_PERIOD": 15 * 60,
    }
    assert {name: found[name] for name in defaults} == {name: (value, "default") for name, value in defaults.items()}


def test_each_value_says_where_it_came_from(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_REST_REGISTRATION_VERIFICATION_EMAIL_TIMEOUT", "5")
    nested = {"URL_PREFIX": "/nested", "USER_EMAIL_FIELD": "email", "REGISTER_VERIFICATION_ONE_TIME_USE": True}
    flat = {"URL_PREFIX": "/flat", "REGISTER_VERIFICATION_PERIOD": 3600, "USER_EMAIL_FIELD": None}
    config = {f"REST_REGISTRATION_{name}": value for name, value in flat.items()}
    built = build(registration=nested, config=config, before_init=lambda app: app.config.from_prefixed_env())
    # What is in force counts, and not what the configuration says by now.
    built.app.config["REST_REGISTRATION_REGISTER_FLOW_ENABLED"] = False
    found = shown(built)
    expected = {
        "URL_PREFIX": ("/flat", "flat key"),
        "REGISTER_VERIFICATION_PERIOD": (3600, "flat key"),
        "VERIFICATION_EMAIL_TIMEOUT": (5, "flat key"),
        "REGISTER_VERIFICATION_ONE_TIME_USE": (True, "dict"),
        "USER_EMAIL_FIELD": ("email", "dict"),
        "REGISTER_FLOW_ENABLED": (True, "default"),
        "PASSWORD_HASHER": (f"{fast_hasher.__module__}.{fast_hasher.__qualname__}", "dict"),
    }
    assert {name: found[name] for name in expected} == expected
    assert [path.rpartition(".")[2] for path in found["PASSWORD_VALIDATORS"][0]] == [
        "validate_length",
        "validate_strength",
    ]
    changed = {name: each for name, each in found.items() if each[1] not in {"default", "found"}}
    assert expected.keys() - changed.keys() == {"REGISTER_FLOW_ENABLED"}
    assert shown(built, "--changed") == changed


def test_what_was_found_for_settings_that_were_not_given_is_shown(build: Builder) -> None:
    built = build(pending=True, registration={"REGISTER_VERIFICATION_RESEND_ENABLED": True})
    assert built.Pending is not None
    found = shown(built)
    expected = {
        "USER_MODEL": f"{built.User.__module__}.{built.User.__qualname__}",
        "USER_PASSWORD_FIELD": "password_hash",
        "USER_PUBLIC_FIELDS": ["id", "email", "username"],
        "USER_EDITABLE_FIELDS": ["username"],
        "USER_VERIFICATION_ID_FIELD": "id",
        "USER_VERIFICATION_FLAG_FIELD": "email_verified_at",
        "PENDING_REGISTRATION_MODEL": f"{built.Pending.__module__}.{built.Pending.__qualname__}",
        "VERIFICATION_FROM_EMAIL": "no-reply@app.example",
    }
    assert {name: found[name] for name in expected} == {name: (text, "found") for name, text in expected.items()}
    templates = found["REGISTER_VERIFICATION_EMAIL_TEMPLATES"][0]
    assert templates["subject"] == "rest_registration/register/subject.txt"
    assert found["VERIFICATION_TEMPLATES_SELECTOR"] == (None, "default")
    assert shown(build(pending=True))["PENDING_REGISTRATION_MODEL"] == (None, "default")


def test_fields_are_not_said_to_be_found_where_own_serializers_decide(build: Builder) -> None:
    own, card = type("Own", (DefaultRegisterUserSerializer,), {}), type("Card", (DefaultUserProfileSerializer,), {})
    found = shown(build(registration={"REGISTER_SERIALIZER_CLASS": own, "REGISTER_OUTPUT_SERIALIZER_CLASS": card}))
    assert found["USER_EDITABLE_FIELDS"] == found["USER_PUBLIC_FIELDS"] == (None, "default")
    assert found["REGISTER_SERIALIZER_CLASS"][0].endswith(".Own")


def test_settings_are_shown_of_an_app_that_lacks_something(build: Builder) -> None:
    no_key, no_sender = (shown(build(config={name: None})) for name in ("SECRET_KEY", "MAIL_DEFAULT_SENDER"))
    assert (no_key["USER_MODEL"][1], no_key["VERIFICATION_FROM_EMAIL"][1]) == ("found", "found")
    assert (no_sender["USER_MODEL"][1], no_sender["VERIFICATION_FROM_EMAIL"][1]) == ("found", "default")
    no_model = shown(build(registration={"USER_MODEL": "no_such_module.User"}))
    assert no_model["USER_MODEL"] == ("no_such_module.User", "dict")
    assert no_model["USER_VERIFICATION_FLAG_FIELD"] == (None, "default")


@dataclass
class Peppered:
    pepper: str

    def __call__(self, password: str) -> str:
        return fast_hasher(password + self.pepper)


def test_no_secret_is_shown(build: Builder) -> None:
    secret = "hunter2-hunter2"
    keys = {"SECRET_KEY": secret, "SECRET_KEY_FALLBACKS": [secret], "MAIL_USERNAME": secret, "MAIL_PASSWORD": secret}
    url = f"https://me:{secret}@frontend.example/verify/?plan=free"
    functions = {"PASSWORD_HASHER": functools.partial(Peppered, secret), "LOGIN_HANDLER": Peppered(secret)}
    built = build(registration={**functions, "REGISTER_VERIFICATION_URL": url}, config=keys)
    assert secret not in run(built, "settings").output + run(built, "settings", "--json").output
    found = shown(built)
    assert {found[name] for name in keys} == {("*****", "app.config")}
    assert found["MAIL_SERVER"] == ("127.0.0.1", "app.config")
    assert found["PASSWORD_HASHER"][0] == f"partial of {__name__}.Peppered"
    assert found["LOGIN_HANDLER"][0] == f"an object of {__name__}.Peppered"
    assert found["REGISTER_VERIFICATION_URL"][0] == "https://*****@frontend.example/verify/?plan=free"


def table(built: Built, *options: str) -> list[list[list[str]]]:
    """Return the groups that the command prints: the title, then the cells of each line."""
    lines = run(built, "settings", *options).stdout.split("\n\n")
    return [[re.split(r" {2,}", line) for line in group.splitlines()] for group in lines]


def test_the_table_has_every_group_with_its_settings_in_their_order(build: Builder) -> None:
    described = describe_settings()
    groups = table(build())
    assert [title for ((title,), *_) in groups[:-1]] == list(dict.fromkeys(each.group for each in described))
    first_cells = [(title, row[1]) for ((title,), *rows) in groups for row in rows if row[1:] and row[0] == ""]
    names = [(title, name) for title, name in first_cells if name.isupper()]
    assert names[: len(described)] == [(each.group, each.name) for each in described]
    assert {title for title, _ in names[len(described) :]} == {"Flask and Flask-Mail"}


WIDE_TEXT = "https://frontend.example/" + "x" * 300


@pytest.mark.parametrize("width", [None, 52, 80, 100])
def test_the_table_fits_the_terminal_and_loses_nothing(
    build: Builder, monkeypatch: pytest.MonkeyPatch, width: int | None
) -> None:
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    built = build(pending=True, registration={"REGISTER_VERIFICATION_URL": WIDE_TEXT, "REGISTER_EMAIL_FIRST": True})
    printed = run(built, "settings").stdout
    assert max(map(len, printed.splitlines())) <= (width or 80)
    joined = re.sub(r" (?:default|found|dict|app\.config|flat key)\n|\s", "", printed)
    for value, _ in shown(built).values():
        for text in value if isinstance(value, list) else [value] if isinstance(value, str) else []:
            assert text.replace(" ", "") in joined


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REGISTER_VERIFICATION_PERIOD", timedelta(days=1, minutes=2, seconds=3), "1 day, 2 minutes, 3 seconds"),
        ("REGISTER_VERIFICATION_PERIOD", timedelta(days=2, hours=1), "2 days, 1 hour"),
        ("VERIFICATION_EMAIL_TIMEOUT", timedelta(seconds=0.5), "0.5 seconds"),
        ("VERIFICATION_EMAIL_TIMEOUT", 1, "1 second"),
        ("URL_PREFIX", "", "(empty)"),
        ("USER_PUBLIC_FIELDS", ["id", "email"], "id, email"),
        ("REGISTER_VERIFICATION_EMAIL_TEMPLATES", {"subject": "a.txt"}, "subject: a.txt"),
    ],
)
def test_the_table_shows_changed_values_in_words(build: Builder, name: str, value: object, words: str) -> None:
    rows = [row for group in table(build(registration={name: value}), "--changed") for row in group]
    assert ["", name, words, "dict"] in rows
    assert "URL_PREFIX" not in [row[1] for row in rows if row[1:]] or name == "URL_PREFIX"


class SignUp(DefaultRegisterUserSerializer):
    display_name = fields.String(required=True, metadata={"description": "Как вас зовут?"})


@pytest.mark.parametrize(
    ("arguments", "read", "beginning"),
    [([], json.loads, '{\n  "openapi"'), (["--format", "yaml"], yaml.safe_load, "openapi: 3.1.0\n")],
    ids=["json", "yaml"],
)
def test_the_document_is_printed_or_written_as_json_or_yaml(
    build: Builder, tmp_path: Path, arguments: list[str], read: Any, beginning: str
) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": SignUp})
    outcome = run(built, "openapi", *arguments)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith(beginning)
    document = read(outcome.stdout)
    validate_document(document)
    assert document == openapi(built.app)
    assert "Как вас зовут?" in outcome.stdout
    assert "&id" not in outcome.stdout
    file = tmp_path / "api"
    to_file = run(built, "openapi", *arguments, "--output", str(file))
    assert (to_file.exit_code, to_file.output) == (0, "")
    assert file.read_text("utf-8") == outcome.stdout
    named = tmp_path / "api.yml"
    assert run(built, "openapi", *arguments, "--output", str(named)).exit_code == 0
    assert (json.loads if "json" in arguments else yaml.safe_load)(named.read_text("utf-8")) == document


def test_the_document_has_the_title_version_and_servers_of_the_options(build: Builder) -> None:
    options = ["--title", "Shop", "--version", "7", "--server", "https://a.example/v1", "--server", "/behind"]
    document = json.loads(run(build(), "openapi", *options).stdout)
    assert document["info"] == {"title": "Shop", "version": "7"}
    assert [server["url"] for server in document["servers"]] == ["https://a.example/v1", "/behind"]


@pytest.mark.parametrize("server", ["", "api.example.com", "ftp://api.example.com"])
def test_a_server_that_is_neither_url_nor_path_is_refused_with_the_option(build: Builder, server: str) -> None:
    outcome = run(build(), "openapi", "--server", server)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert lacking(outcome.output, "'--server'", repr(server), "https://, http:// or a slash") == []


def test_a_document_that_cannot_be_made_or_written_is_an_error(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_folder = run(build(), "openapi", "--output", str(tmp_path / "none" / "api.json"))
    no_model = run(build(registration={"USER_MODEL": "no_such_module.User"}), "openapi")
    monkeypatch.setitem(sys.modules, "apispec", None)
    for name in [name for name in sys.modules if name.startswith("flask_rest_registration.contrib.openapi")]:
        monkeypatch.delitem(sys.modules, name)
    no_apispec = run(build(), "openapi")
    for outcome, words in (
        (no_folder, ["none/api.json", "No such file or directory"]),
        (no_model, ["USER_MODEL", "no_such_module"]),
        (no_apispec, ["apispec", "pip install 'flask-rest-registration[openapi]'"]),
    ):
        assert outcome.exit_code == 1
        assert lacking(outcome.output, "Error: ", *words) == []


ADDRESS = "me@elsewhere.example"
LOG_IN = {"MAIL_USERNAME": "app-user", "MAIL_PASSWORD": "of-smtp"}


@pytest.mark.usefixtures("trusted_certificate")
@pytest.mark.parametrize("security", [None, "starttls", "tls"])
def test_a_test_mail_uses_the_apps_server_log_in_and_senders(build: Builder, security: Any) -> None:
    tls = {"MAIL_USE_TLS": security == "starttls", "MAIL_USE_SSL": security == "tls"}
    senders = {"FROM": ("Shop, Ltd", "shop@app.example"), "REPLY_TO": "help@app.example"}
    settings = {f"VERIFICATION_{name}_EMAIL": sender for name, sender in senders.items()}
    with RecordingServer(security=security, login=("app-user", "of-smtp")) as server:
        built = build(mail=server, config={**LOG_IN, **tls}, registration=settings)
        outcome = run(built, "send-test-mail", ADDRESS)
        assert (outcome.exit_code, outcome.output) == (0, f"The mail server has accepted the mail to {ADDRESS}.\n")
        message = server.message
        assert (server.envelopes[0].sender, server.envelopes[0].recipients) == ("shop@app.example", [ADDRESS])
    assert (message["From"], message["Reply-To"]) == ('"Shop, Ltd" <shop@app.example>', "help@app.example")
    assert message["Auto-Submitted"] == "auto-generated"
    assert "http" not in text_of(message)
    assert built.rows() == []


def failed_at(built: Built, step: str) -> str:
    """Run the command, which fails at a step, and return what it says."""
    outcome = run(built, "send-test-mail", ADDRESS)
    assert outcome.exit_code == 1
    assert lacking(outcome.output, "Error: The mail server '", f"failed at the step '{step}': ", "Fix: ") == []
    assert "Traceback" not in outcome.output
    return outcome.output


@pytest.mark.parametrize(
    ("options", "config", "step", "words"),
    [
        ({}, {"MAIL_USE_TLS": True}, "TLS", ["SMTPNotSupportedError", "MAIL_USE_TLS"]),
        ({"security": "starttls"}, {"MAIL_USE_TLS": True}, "TLS", ["self-signed", "trusted"]),
        ({"security": "tls"}, {"MAIL_USE_SSL": True}, "TLS", ["self-signed", "trusted"]),
        ({}, {"MAIL_USE_SSL": True}, "TLS", ["SSL", "MAIL_USE_SSL"]),
        ({"login": ("app-user", "other")}, LOG_IN, "log-in", ["535", "MAIL_USERNAME", "MAIL_PASSWORD"]),
        ({"mail_reply": "553 not yours"}, {}, "sender", ["553", "VERIFICATION_FROM_EMAIL"]),
        ({"login": ("app-user", "x")}, {}, "sender", ["530", "MAIL_DEFAULT_SENDER", "MAIL_USERNAME"]),
        ({"rcpt_reply": "550 relaying denied"}, {}, "recipient", ["550", "the address"]),
        ({"text_reply": "554 looks like spam"}, {}, "text", ["554", "log"]),
    ],
)
def test_the_step_at_which_a_server_refuses_is_named_with_what_to_look_at(
    build: Builder, options: dict[str, Any], config: dict[str, object], step: str, words: list[str]
) -> None:
    with RecordingServer(**options) as server:
        printed = failed_at(build(mail=server, config=config), step)
    assert lacking(printed, *words, f"port {server.port}") == []
    assert lacking(printed, "app-user", "of-smtp") == ["app-user", "of-smtp"]


@pytest.mark.parametrize("hangs_up", [False, True])
@pytest.mark.parametrize(
    ("at", "waiting", "ending", "step"),
    [
        ("CONNECT", Silence, CloseDown, "connecting"),
        ("EHLO", Drip, HangUp, "connecting"),
        ("MAIL", Silence, HangUp, "sender"),
        ("RCPT", Silence, HangUp, "recipient"),
        ("DATA", Drip, CloseDown, "text"),
        ("TEXT", Silence, HangUp, "text"),
    ],
)
def test_the_step_at_which_a_server_falls_silent_or_hangs_up_is_named_in_time(
    build: Builder, at: Any, waiting: Any, ending: Any, step: str, hangs_up: bool
) -> None:
    settings = {"VERIFICATION_EMAIL_TIMEOUT": timedelta(seconds=10 if hangs_up else 0.5)}
    with RecordingServer(fault=(ending if hangs_up else waiting)(at)) as server:
        printed = failed_at(build(mail=server, registration=settings), step)
    assert ("no answer within VERIFICATION_EMAIL_TIMEOUT, 0:00:00.5" in printed) is not hangs_up


def test_a_server_that_is_not_there_is_told_by_its_step(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingServer() as gone:
        pass
    assert lacking(failed_at(build(mail=gone), "connecting"), "Connection refused", "MAIL_SERVER") == []
    printed = failed_at(build(config={"MAIL_SERVER": "no-such-host.invalid"}), "connecting")
    assert lacking(printed, "'no-such-host.invalid'", "name was not found") == []
    connect = Mock(side_effect=ConnectionRefusedError)
    monkeypatch.setattr("flask_rest_registration.mail.delivery.connect", connect)
    assert "port 25," in failed_at(build(config={"MAIL_PORT": None}), "connecting")
    assert connect.call_args.args[1] == 25


def test_what_is_no_single_address_or_cannot_be_sent_is_an_error(build: Builder, smtp: RecordingServer) -> None:
    cases: list[tuple[str, dict[str, Any], int, list[str]]] = [
        *(
            (text, {}, 2, ["ADDRESS"])
            for text in ("nobody", "a@b.example, c@d.example", "Ann <a@b.example>", "a@b.c\nB")
        ),
        (ADDRESS, {"mail": None}, 1, ["MAIL_SUPPRESS_SEND is true", "Fix: set it to False"]),
        (ADDRESS, {"config": {"MAIL_DEFAULT_SENDER": None}}, 1, ["MAIL_DEFAULT_SENDER", "VERIFICATION_FROM_EMAIL"]),
        (ADDRESS, {"registration": {"USER_MODEL": "no_such_module.User"}}, 1, ["USER_MODEL", "no_such_module"]),
    ]
    for address, options, code, words in cases:
        outcome = run(build(**options), "send-test-mail", address)
        assert outcome.exit_code == code
        assert lacking(outcome.output, "Error: ", *words) == []
    assert smtp.conversations == []


@pytest.mark.parametrize(
    "settings", [{}, {"REGISTER_VERIFICATION_EMAIL_SENDER": Mock()}, {"REGISTER_VERIFICATION_ENABLED": False}]
)
def test_it_says_so_where_verification_mails_take_another_way(
    build: Builder, smtp: RecordingServer, settings: dict[str, object]
) -> None:
    outcome = run(build(registration=settings), "send-test-mail", ADDRESS)
    assert (outcome.exit_code, "accepted" in outcome.output) == (0, True)
    other_way = lacking(outcome.output, "do not take this way", "REGISTER_VERIFICATION_EMAIL_SENDER") == []
    assert other_way is bool(settings)
    # Answers go to the sender where no other address is given.
    assert smtp.message["Reply-To"] == smtp.message["From"] == "no-reply@app.example"
