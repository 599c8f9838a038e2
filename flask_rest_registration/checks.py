"""What ``flask rest-registration check`` looks at: everything that is otherwise found out on first use."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flask import Flask
from jinja2 import TemplateError, TemplateNotFound

from .exceptions import ConfigurationError
from .new_users import hash_length_fault
from .notifications import complete_templates, send_register_verification_email_notification, sender_address
from .state import Registration, app_state, model_warnings

# RFC 2104, section 3: a key shorter than the hash's output weakens HMAC; SHA-256 has 32 bytes.
_SHORTEST_KEY = 16
_SAMPLE_PASSWORD = "a sample password"  # noqa: S105  # hashed to measure the hash, never stored


@dataclass
class Report:
    """What was found: errors keep registration from working, warnings are dangerous though it works."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_app(app: Flask) -> Report:
    """Resolve everything lazy of an app and look for what is wrong or dangerous.

    No mail is sent, and neither database nor mail server is asked.

    :param app: an app that the extension is initialised on.
    :returns: errors and warnings, each with its mend.
    """
    report = Report()
    try:
        registration = app_state(app).registration()
    except ConfigurationError as error:
        report.errors += error.faults
        return report
    report.warnings += model_warnings(registration.model)
    for collect in (_key_faults, _hash_faults, _mail_faults, _template_faults):
        _collect(report.errors, collect, registration)
    report.warnings += [*_mail_warnings(registration), *_setting_warnings(registration)]
    return report


def _collect(errors: list[str], collect: Callable[[Registration], Iterator[str]], registration: Registration) -> None:
    try:
        errors += collect(registration)
    except ConfigurationError as error:
        errors += error.faults


def _key_faults(registration: Registration) -> Iterator[str]:
    for key in registration.secret_keys:
        if len(key) < _SHORTEST_KEY:
            yield (
                f"SECRET_KEY (or one of SECRET_KEY_FALLBACKS) has {len(key)} characters, which can be guessed, and"
                " links forged with it: set it to the output of"
                " python -c 'import secrets; print(secrets.token_hex())'."
            )


def _hash_faults(registration: Registration) -> Iterator[str]:
    model = registration.model
    if model.hash_column is None:
        return
    if model.password.kind == "column":
        hashed: object = registration.settings.password_hasher(_SAMPLE_PASSWORD)
    else:
        # An instance without its constructor, whose arguments are not known here.
        user = model.mapper.class_manager.new_instance()
        model.password.receive(user, _SAMPLE_PASSWORD)
        hashed = getattr(user, model.hash_column.name)
    fault = hash_length_fault(model, hashed)
    if fault:
        yield fault


def _mail_faults(registration: Registration) -> Iterator[str]:
    if _sends_by_default(registration):
        sender_address(registration)
        mail = registration.app.extensions["mail"]
        if mail.use_tls and mail.use_ssl:
            yield (
                "MAIL_USE_TLS and MAIL_USE_SSL are both true: keep MAIL_USE_SSL for a server that speaks TLS from"
                " the start (port 465), MAIL_USE_TLS for one that has STARTTLS (port 587)."
            )


def _template_faults(registration: Registration) -> Iterator[str]:
    if not _sends_by_default(registration):
        return
    given = registration.settings.register_verification_email_templates
    for key, name in complete_templates(given).items():
        try:
            registration.app.jinja_env.get_template(name)
        except TemplateNotFound as error:
            yield (
                f"REGISTER_VERIFICATION_EMAIL_TEMPLATES: the template {error.name!r} for {key!r} was not found: put it"
                " into the app's templates folder or correct its name."
            )
        except TemplateError as error:
            yield f"REGISTER_VERIFICATION_EMAIL_TEMPLATES: the template {name!r} for {key!r} is broken: {error}"


def _mail_warnings(registration: Registration) -> Iterator[str]:
    mail = registration.app.extensions.get("mail")
    if not _sends_by_default(registration) or mail is None:
        return
    if mail.suppress:
        yield (
            "MAIL_SUPPRESS_SEND is true (it follows TESTING): no mail leaves the app, and nobody can verify an account."
        )
    if mail.username and not (mail.use_tls or mail.use_ssl) and not _is_loopback(mail.server):
        yield (
            f"The log-in to the mail server {mail.server!r} is sent without encryption: set MAIL_USE_TLS or"
            " MAIL_USE_SSL."
        )


def _setting_warnings(registration: Registration) -> Iterator[str]:
    settings = registration.settings
    url = urlsplit(settings.register_verification_url or "")
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        yield (
            f"REGISTER_VERIFICATION_URL is {settings.register_verification_url!r}: over http everybody on the way"
            " reads the link. Use https."
        )
    if not settings.password_validators:
        yield "PASSWORD_VALIDATORS is empty: a stranger may choose the password 'a'. Remove the setting or fill it."


def _sends_by_default(registration: Registration) -> bool:
    settings = registration.settings
    sender = settings.register_verification_email_sender
    return settings.register_verification_enabled and sender is send_register_verification_email_notification


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
