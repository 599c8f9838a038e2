"""What ``flask rest-registration check`` looks at: everything that is otherwise found out on first use."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from flask import Flask
from jinja2 import BaseLoader, TemplateNotFound, TemplateSyntaxError, nodes

from ..exceptions import ConfigurationError
from ..mail.messages import EXISTING_ACCOUNT_TEMPLATES, complete_templates, mail_state, sender_address
from ..model.attributes import Attribute
from ..model.inspection import model_warnings
from ..state import Registration, app_state

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
    :returns: errors and warnings, each with its fix.
    """
    report = Report()
    try:
        registration = app_state(app).registration()
    except ConfigurationError as error:
        report.errors += error.faults
        return report
    report.warnings += model_warnings(registration.settings, registration.model)
    for check in (_check_keys, _check_hash, _check_validators, _check_mail, _check_templates, _check_url):
        try:
            check(registration, report)
        except ConfigurationError as error:
            report.errors += error.faults
    return report


def _check_keys(registration: Registration, report: Report) -> None:
    for key in registration.secret_keys:
        if len(key) < _SHORTEST_KEY:
            report.errors.append(
                f"SECRET_KEY (or one of SECRET_KEY_FALLBACKS) has {len(key)} characters, which can be guessed, and"
                " links forged with it: set it to the output of"
                " python -c 'import secrets; print(secrets.token_hex())'."
            )


def _check_hash(registration: Registration, report: Report) -> None:
    model = registration.model
    column = model.hash_column
    if column is None:
        return
    try:
        hashed = _sample_hash(registration, column)
    except Exception as error:  # whatever the application's hasher or set_password() raises
        report.warnings.append(
            f"Whether {model.name}.{column.name} is long enough for a password's hash could not be tried:"
            f" {model.password.name} raised {type(error).__name__} for a sample."
        )
        return
    fault = model.hash_length_fault(hashed)
    if fault:
        report.errors.append(fault)


def _sample_hash(registration: Registration, column: Attribute) -> object:
    # An instance without its constructor, whose arguments are not known here.
    model = registration.model
    model.mapper.registry.configure(cascade=True)  # not all of the process, where another app's may be broken
    user = model.mapper.class_manager.new_instance()
    model.password.receive(user, _SAMPLE_PASSWORD, hasher=registration.settings.password_hasher)
    return getattr(user, column.name)


def _check_validators(registration: Registration, report: Report) -> None:
    if not registration.settings.password_validators:
        report.warnings.append(
            "PASSWORD_VALIDATORS is empty: a stranger may choose the password 'a'. Remove the setting or fill it."
        )


def _check_mail(registration: Registration, report: Report) -> None:
    if not (registration.settings.renders_link or registration.settings.renders_notice):
        return
    mail = mail_state(registration)
    sender_address(registration)
    if mail.use_tls and mail.use_ssl:
        report.errors.append(
            "MAIL_USE_TLS and MAIL_USE_SSL are both true: keep MAIL_USE_SSL for a server that speaks TLS from the"
            " start (port 465), MAIL_USE_TLS for one that has STARTTLS (port 587)."
        )
    if mail.suppress:
        report.warnings.append(
            "MAIL_SUPPRESS_SEND is true (it follows TESTING): no mail leaves the app, and nobody can verify an account."
        )
    if mail.username and not (mail.use_tls or mail.use_ssl) and not _is_loopback(mail.server):
        report.warnings.append(
            f"The log-in to the mail server {mail.server!r} is sent without encryption: set MAIL_USE_TLS or"
            " MAIL_USE_SSL."
        )


def _check_templates(registration: Registration, report: Report) -> None:
    settings = registration.settings
    if settings.renders_link:
        chosen = complete_templates(settings.register_verification_email_templates)
        _check_each("REGISTER_VERIFICATION_EMAIL_TEMPLATES", chosen, registration, report)
    if settings.renders_notice:
        chosen = complete_templates(settings.register_existing_email_templates, defaults=EXISTING_ACCOUNT_TEMPLATES)
        _check_each("REGISTER_EXISTING_EMAIL_TEMPLATES", chosen, registration, report)


def _check_each(setting: str, templates: Mapping[str, str], registration: Registration, report: Report) -> None:
    for key, name in templates.items():
        report.errors += _template_faults(f"{setting}: the template {{!r}} for {key!r}", name, registration.app)


def _template_faults(subject: str, name: str, app: Flask) -> Iterator[str]:
    """Find what is wrong with a template and with all that it extends, includes and imports by name."""
    waiting, seen = [(name, "")], {name}
    while waiting:
        name, user = waiting.pop(0)
        what = subject.format(name) + (f", which {user!r} refers to," if user else "")
        try:
            app.jinja_env.get_template(name)
        except TemplateNotFound:
            yield f"{what} was not found: put it into the app's templates folder or correct its name."
        except TemplateSyntaxError as error:
            yield f"{what} is broken in line {error.lineno}: {error.message} Correct that line."
        else:
            new = dict.fromkeys(each for each in _referred_to(name, app) if each not in seen)
            waiting += [(each, name) for each in new]
            seen.update(new)


def _referred_to(name: str, app: Flask) -> Iterator[str]:
    """Yield the templates that a template cannot do without, as far as it names them in so many words."""
    source, _, _ = cast(BaseLoader, app.jinja_env.loader).get_source(app.jinja_env, name)  # it has just loaded this one
    kinds = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    for reference in app.jinja_env.parse(source).find_all(kinds):
        template = getattr(reference, "template", None)  # all four have it
        if isinstance(template, nodes.Const) and not getattr(reference, "ignore_missing", False):
            yield str(template.value)


def _check_url(registration: Registration, report: Report) -> None:
    url = registration.settings.register_verification_url or ""
    parts = urlsplit(url)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        report.warnings.append(
            f"REGISTER_VERIFICATION_URL is {url!r}: over http everybody on the way reads the link. Use https."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
