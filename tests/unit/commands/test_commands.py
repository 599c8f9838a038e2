"""The commands ``settings``, ``openapi`` and ``send-test-mail``; check and purge have modules of their own."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from marshmallow import fields
from openapi_spec_validator import validate as validate_document

import flask_rest_registration
from flask_rest_registration import DefaultRegisterUserSerializer
from flask_rest_registration.contrib.openapi import openapi
from flask_rest_registration.settings.definitions import describe_settings
from tests.support.apps import Builder, Built, fast_hasher
from tests.support.links import text_of
from tests.support.mail_servers import (
    DrippingServer,
    DroppingServer,
    Moment,
    RecordingServer,
    Rejecting421,
    SilentServer,
)
from tests.support.messages import lacking


def run(built: Built, *arguments: str) -> Result:
    """Run a command of ``flask rest-registration``."""
    outcome = built.command(*arguments)
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome


# settings


def shown(built: Built) -> dict[str, tuple[str, str]]:
    """Return value and origin of each setting that the command shows."""
    outcome = run(built, "settings")
    assert outcome.exit_code == 0
    found = {}
    for line in outcome.stdout.splitlines():
        name, _, rest = line.partition(" = ")
        value, _, origin = rest.rpartition(" (")
        found[name] = (value, origin.removesuffix(")"))
    return found


def test_every_setting_is_shown_once_and_in_the_order_of_the_definition(build: Builder) -> None:
    lines = run(build(), "settings").stdout.splitlines()
    names = [line.partition(" = ")[0] for line in lines]
    ours = [setting.name for setting in describe_settings()]
    assert names[: len(ours)] == ours
    assert len(set(names)) == len(names)


def test_the_times_are_as_the_contract_says_unless_told_otherwise(build: Builder) -> None:
    found = shown(build())
    times = {
        "REGISTER_VERIFICATION_PERIOD": "7 days, 0:00:00",
        "REGISTER_VERIFICATION_RESEND_COOLDOWN": "0:01:00",
        "REGISTER_VERIFICATION_CODE_PERIOD": "0:15:00",
        "VERIFICATION_EMAIL_TIMEOUT": "0:00:10",
    }
    assert {name: found[name][0] for name in times} == times


def test_each_value_says_where_it_came_from(build: Builder) -> None:
    built = build(
        registration={"URL_PREFIX": "/nested", "USER_EMAIL_FIELD": "email", "REGISTER_VERIFICATION_ONE_TIME_USE": True},
        config={
            "REST_REGISTRATION_URL_PREFIX": "/flat",
            "REST_REGISTRATION_REGISTER_VERIFICATION_PERIOD": 3600,
            "REST_REGISTRATION_USER_EMAIL_FIELD": None,
        },
    )
    found = shown(built)
    assert found["URL_PREFIX"] == ("'/flat'", "REST_REGISTRATION_URL_PREFIX")
    assert found["REGISTER_VERIFICATION_PERIOD"] == ("1:00:00", "REST_REGISTRATION_REGISTER_VERIFICATION_PERIOD")
    assert found["REGISTER_VERIFICATION_ONE_TIME_USE"] == ("True", "REST_REGISTRATION")
    assert found["USER_EMAIL_FIELD"] == ("'email'", "REST_REGISTRATION")
    assert found["REGISTER_FLOW_ENABLED"] == ("True", "default")
    assert found["PASSWORD_HASHER"] == (f"{fast_hasher.__module__}.{fast_hasher.__qualname__}", "REST_REGISTRATION")
    assert found["PASSWORD_VALIDATORS"][0] == (
        "['flask_rest_registration.passwords.validate_length', 'flask_rest_registration.passwords.validate_strength']"
    )


def test_settings_from_the_environment_are_shown(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_REST_REGISTRATION_URL_PREFIX", "/from-env")
    built = build(before_init=lambda app: app.config.from_prefixed_env())
    assert shown(built)["URL_PREFIX"] == ("'/from-env'", "REST_REGISTRATION_URL_PREFIX")


def test_what_is_in_force_is_shown_and_not_what_the_configuration_says_by_now(build: Builder) -> None:
    built = build(registration={"URL_PREFIX": "/first"})
    built.app.config["REST_REGISTRATION_URL_PREFIX"] = "/too-late"
    assert shown(built)["URL_PREFIX"] == ("'/first'", "REST_REGISTRATION")


def test_what_was_found_for_settings_that_were_not_given_is_shown(build: Builder) -> None:
    built = build(pending=True, registration={"REGISTER_VERIFICATION_RESEND_ENABLED": True})
    found = shown(built)
    assert found["USER_MODEL"] == (f"{built.User.__module__}.{built.User.__qualname__}", "found")
    assert found["USER_PASSWORD_FIELD"] == ("'password_hash'", "found")
    assert found["USER_VERIFICATION_ID_FIELD"] == ("'id'", "found")
    assert found["USER_VERIFICATION_FLAG_FIELD"] == ("'email_verified_at'", "found")
    assert built.Pending is not None
    pending = f"{built.Pending.__module__}.{built.Pending.__qualname__}"
    assert found["PENDING_REGISTRATION_MODEL"] == (pending, "found")
    assert found["USER_EDITABLE_FIELDS"] == ("['username']", "found")
    assert found["USER_PUBLIC_FIELDS"] == ("['id', 'email', 'username']", "found")
    assert found["VERIFICATION_FROM_EMAIL"] == ("'no-reply@app.example'", "found")
    assert found["REGISTER_VERIFICATION_EMAIL_TEMPLATES"][0].startswith("subject: 'rest_registration/register/subject")
    assert found["VERIFICATION_TEMPLATES_SELECTOR"] == ("none", "default")
    assert shown(build(pending=True))["PENDING_REGISTRATION_MODEL"] == ("none", "default")


def test_fields_are_not_said_to_be_found_where_serializers_of_ones_own_decide(build: Builder) -> None:
    class Own(DefaultRegisterUserSerializer):
        pass

    class Card(flask_rest_registration.DefaultUserProfileSerializer):
        pass

    found = shown(build(registration={"REGISTER_SERIALIZER_CLASS": Own, "REGISTER_OUTPUT_SERIALIZER_CLASS": Card}))
    assert found["USER_EDITABLE_FIELDS"] == found["USER_PUBLIC_FIELDS"] == ("none", "default")
    assert found["REGISTER_SERIALIZER_CLASS"][0].endswith(".Own")


@pytest.mark.parametrize("config", [{"SECRET_KEY": None}, {"MAIL_DEFAULT_SENDER": None}])
def test_settings_are_shown_of_an_app_that_lacks_something(build: Builder, config: dict[str, object]) -> None:
    found = shown(build(config=config))
    assert found["USER_MODEL"][1] == "found"
    assert (found["VERIFICATION_FROM_EMAIL"][1] == "found") is ("SECRET_KEY" in config)


def test_settings_are_shown_of_an_app_without_a_fitting_model(build: Builder) -> None:
    found = shown(build(registration={"USER_MODEL": "no_such_module.User"}))
    assert found["USER_MODEL"] == ("'no_such_module.User'", "REST_REGISTRATION")
    assert found["USER_VERIFICATION_FLAG_FIELD"] == ("none", "default")


class Peppered:
    def __init__(self, pepper: str) -> None:
        self.pepper = pepper

    def __repr__(self) -> str:
        return f"Peppered({self.pepper!r})"

    def __call__(self, password: str) -> str:
        return fast_hasher(password)


def peppered(password: str, pepper: str) -> str:
    return fast_hasher(password)


def test_no_secret_is_shown(build: Builder) -> None:
    secret = "hunter2-hunter2"
    built = build(
        registration={
            "PASSWORD_HASHER": functools.partial(peppered, pepper=secret),
            "LOGIN_HANDLER": Peppered(secret),
            "REGISTER_VERIFICATION_URL": f"https://me:{secret}@frontend.example/verify/?plan=free",
        },
        config={
            "SECRET_KEY": secret,
            "SECRET_KEY_FALLBACKS": [secret],
            "MAIL_USERNAME": secret,
            "MAIL_PASSWORD": secret,
        },
    )
    assert secret not in run(built, "settings").output
    found = shown(built)
    for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "MAIL_USERNAME", "MAIL_PASSWORD"):
        assert found[name] == ("*****", "app.config")
    assert found["MAIL_SERVER"] == ("'127.0.0.1'", "app.config")
    assert found["PASSWORD_HASHER"][0] == f"partial of {__name__}.peppered"
    assert found["LOGIN_HANDLER"][0] == f"an object of {__name__}.Peppered"
    assert found["REGISTER_VERIFICATION_URL"][0] == "'https://*****@frontend.example/verify/?plan=free'"


# openapi


class SignUp(DefaultRegisterUserSerializer):
    display_name = fields.String(required=True, metadata={"description": "Как вас зовут?"})


@pytest.mark.parametrize(
    ("arguments", "read", "beginning"),
    [([], json.loads, '{\n  "paths"'), (["--format", "yaml"], yaml.safe_load, "paths:\n  ")],
    ids=["json", "yaml"],
)
def test_the_document_is_printed_as_json_or_yaml(
    build: Builder, arguments: list[str], read: Any, beginning: str
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


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_document_is_written_to_a_file(build: Builder, tmp_path: Path, form: str) -> None:
    built, file = build(), tmp_path / "api"
    outcome = run(built, "openapi", "--format", form, "--output", str(file))
    assert (outcome.exit_code, outcome.output) == (0, "")
    assert file.read_text("utf-8") == run(built, "openapi", "--format", form).stdout


def test_a_file_that_cannot_be_written_is_named(build: Builder, tmp_path: Path) -> None:
    outcome = run(build(), "openapi", "--output", str(tmp_path / "none" / "api.json"))
    assert outcome.exit_code == 1
    assert lacking(outcome.output, "none/api.json", "No such file or directory") == []


def test_an_app_that_lacks_something_has_no_document(build: Builder) -> None:
    outcome = run(build(registration={"USER_MODEL": "no_such_module.User"}), "openapi")
    assert outcome.exit_code == 1
    assert lacking(outcome.output, "Error: ", "USER_MODEL", "no_such_module") == []


def test_without_apispec_the_extra_is_named(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apispec", None)
    for name in [name for name in sys.modules if name.startswith("flask_rest_registration.contrib.openapi")]:
        monkeypatch.delitem(sys.modules, name)
    outcome = run(build(), "openapi")
    assert outcome.exit_code == 1
    assert lacking(outcome.output, "apispec", "pip install 'flask-rest-registration[openapi]'") == []


def test_the_commands_load_apispec_only_when_it_is_used() -> None:
    program = "import sys, flask_rest_registration.commands.group; print('apispec' in sys.modules, 'yaml' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert outcome.stdout == "False False\n"


# send-test-mail


ADDRESS = "me@elsewhere.example"


@pytest.mark.usefixtures("trusted_certificate")
@pytest.mark.parametrize("security", [None, "starttls", "tls"])
def test_a_test_mail_uses_the_apps_server_log_in_and_senders(build: Builder, security: Any) -> None:
    with RecordingServer(security=security, login=("app", "of-smtp")) as server:
        built = build(
            mail=server,
            config={
                "MAIL_USE_TLS": security == "starttls",
                "MAIL_USE_SSL": security == "tls",
                "MAIL_USERNAME": "app",
                "MAIL_PASSWORD": "of-smtp",
            },
            registration={
                "VERIFICATION_FROM_EMAIL": ("Shop, Ltd", "shop@app.example"),
                "VERIFICATION_REPLY_TO_EMAIL": "help@app.example",
            },
        )
        outcome = run(built, "send-test-mail", ADDRESS)
        assert (outcome.exit_code, outcome.output) == (0, f"The mail server has accepted the mail to {ADDRESS}.\n")
        message = server.message
        assert (server.envelopes[0].sender, server.envelopes[0].recipients) == ("shop@app.example", [ADDRESS])
    assert (message["From"], message["Reply-To"]) == ('"Shop, Ltd" <shop@app.example>', "help@app.example")
    assert message["Auto-Submitted"] == "auto-generated"
    assert "http" not in text_of(message)
    assert built.rows() == []


def test_answers_go_to_the_sender_where_no_other_address_is_given(build: Builder, smtp: RecordingServer) -> None:
    assert run(build(), "send-test-mail", ADDRESS).exit_code == 0
    assert smtp.message["Reply-To"] == smtp.message["From"] == "no-reply@app.example"


def failed_at(built: Built, step: str) -> str:
    """Run the command, which fails at a step, and return what it says."""
    outcome = run(built, "send-test-mail", ADDRESS)
    assert outcome.exit_code == 1
    assert lacking(outcome.output, "Error: The mail server '", f"failed at the step '{step}': ", "Fix: ") == []
    assert "Traceback" not in outcome.output
    return outcome.output


LOG_IN = {"MAIL_USERNAME": "app-user", "MAIL_PASSWORD": "of-smtp"}


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
        ({"rcpt_reply": "451 later"}, {}, "recipient", ["451"]),
        ({"text_reply": "554 looks like spam"}, {}, "text", ["554", "log"]),
    ],
)
def test_the_step_at_which_a_server_refuses_is_named_with_what_to_look_at(
    build: Builder, options: dict[str, Any], config: dict[str, object], step: str, words: list[str]
) -> None:
    with RecordingServer(**options) as server:
        said = failed_at(build(mail=server, config=config), step)
    assert lacking(said, *words, f"port {server.port}") == []
    for secret in ("app-user", "of-smtp"):
        assert secret not in said


STEPS: dict[Moment, str] = {
    "CONNECT": "connecting",
    "EHLO": "connecting",
    "MAIL": "sender",
    "RCPT": "recipient",
    "DATA": "text",
    "TEXT": "text",
}


@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("kind", [SilentServer, DrippingServer])
def test_a_server_that_keeps_the_command_waiting_is_left_in_time(
    build: Builder, kind: type[SilentServer | DrippingServer], at: Moment
) -> None:
    with kind(at=at) as server:
        built = build(mail=server, registration={"VERIFICATION_EMAIL_TIMEOUT": timedelta(seconds=0.3)})
        said = failed_at(built, STEPS[at])
    assert lacking(said, "no answer within VERIFICATION_EMAIL_TIMEOUT, 0:00:00.3") == []


@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("kind", [DroppingServer, Rejecting421])
def test_a_server_that_hangs_up_is_told_by_its_step(
    build: Builder, kind: type[DroppingServer | Rejecting421], at: Moment
) -> None:
    with kind(at=at) as server:
        failed_at(build(mail=server), STEPS[at])


def test_a_server_that_is_not_there_is_told_by_its_step(build: Builder) -> None:
    with RecordingServer() as gone:
        pass
    assert lacking(failed_at(build(mail=gone), "connecting"), "Connection refused", "MAIL_SERVER") == []
    said = failed_at(build(config={"MAIL_SERVER": "no-such-host.invalid"}), "connecting")
    assert lacking(said, "'no-such-host.invalid'", "name was not found") == []


def test_a_port_that_is_not_given_is_the_one_of_smtp(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[object] = []

    def refuse(host: str, port: int, deadline: object) -> None:
        ports.append(port)
        raise ConnectionRefusedError

    monkeypatch.setattr("flask_rest_registration.mail.smtp.connect", refuse)
    assert "port 25," in failed_at(build(config={"MAIL_PORT": None}), "connecting")
    assert ports == [25]


@pytest.mark.parametrize("address", ["nobody", "a@b.example, c@d.example", "Ann <a@b.example>", "a@b.example\nBcc: x"])
def test_what_is_no_single_address_is_refused(build: Builder, smtp: RecordingServer, address: str) -> None:
    outcome = run(build(), "send-test-mail", address)
    assert outcome.exit_code == 2
    assert "not exactly one" in outcome.output or "ADDRESS" in outcome.output
    assert smtp.conversations == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mail": None}, ["MAIL_SUPPRESS_SEND is true", "set it to False"]),
        ({"config": {"MAIL_DEFAULT_SENDER": None}}, ["MAIL_DEFAULT_SENDER", "VERIFICATION_FROM_EMAIL"]),
        ({"registration": {"USER_MODEL": "no_such_module.User"}}, ["USER_MODEL", "no_such_module"]),
    ],
)
def test_a_mail_that_the_app_cannot_send_is_an_error(
    build: Builder, smtp: RecordingServer, options: dict[str, Any], words: list[str]
) -> None:
    outcome = run(build(**options), "send-test-mail", ADDRESS)
    assert outcome.exit_code == 1
    assert lacking(outcome.output, "Error: ", *words) == []
    assert smtp.conversations == []


def own_sender(request: object, user: object) -> None:
    """A sender that has its own way."""


@pytest.mark.parametrize(
    "settings", [{"REGISTER_VERIFICATION_EMAIL_SENDER": own_sender}, {"REGISTER_VERIFICATION_ENABLED": False}]
)
def test_it_says_so_where_verification_mails_take_another_way(
    build: Builder, smtp: RecordingServer, settings: dict[str, object]
) -> None:
    outcome = run(build(registration=settings), "send-test-mail", ADDRESS)
    assert outcome.exit_code == 0
    assert lacking(outcome.output, "accepted", "do not take this way", "REGISTER_VERIFICATION_EMAIL_SENDER") == []
    assert len(smtp.messages) == 1
