"""``flask rest-registration check``: what would otherwise show on first use."""

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
from ..model.inspection import model_warnings
from ..signers import secret_keys
from ..state import AppState, app_state
from ..workflows.sign_up import give_password

# RFC 2104, section 3, asks for a key as long as the hash's output (SHA-256: 32 bytes); half of that is an error here.
_SHORTEST_KEY = 16
_SAMPLE_PASSWORD = "a sample password"  # noqa: S105  # hashed to measure the hash, never stored


@dataclass
class Report:
    """What was found: errors keep registration from working, warnings are dangerous though it works."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_app(app: Flask) -> Report:
    """Import and build all that an app otherwise does on first use; ask neither database nor mail server."""
    report = Report()
    try:
        state = app_state(app).ready()
    except ConfigurationError as error:
        report.errors += error.faults
        return report
    report.warnings += model_warnings(state.settings, state.model)
    for check in (_check_keys, _check_values, _check_hash, _check_mail, _check_templates):
        try:
            check(state, report)
        except ConfigurationError as error:
            report.errors += error.faults
    return report


def _check_keys(state: AppState, report: Report) -> None:
    report.errors += (
        f"SECRET_KEY (or one of SECRET_KEY_FALLBACKS) has {len(key)} characters: it can be guessed, and links forged"
        " with it. Fix: set it to the output of python -c 'import secrets; print(secrets.token_hex())'."
        for key in secret_keys(state.app)
        if len(key) < _SHORTEST_KEY
    )


def _check_values(state: AppState, report: Report) -> None:
    if not state.settings.password_validators:
        report.warnings.append(
            "PASSWORD_VALIDATORS is empty: a stranger may choose the password 'a'. Fix: remove the setting or fill it."
        )
    url = state.settings.register_verification_url or ""
    parts = urlsplit(url)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        report.warnings.append(
            f"REGISTER_VERIFICATION_URL is {url!r}: over http everybody on the way reads the link. Fix: use https."
        )


def _check_hash(state: AppState, report: Report) -> None:
    model = state.model
    if model.hash_column is None:
        return
    try:
        model.mapper.registry.configure(cascade=True)  # not all of the process, where another app's may be broken
        user = model.mapper.class_manager.new_instance()  # without its constructor, whose arguments are not known here
        give_password(model, state.settings, user, _SAMPLE_PASSWORD)
        hashed = getattr(user, model.hash_column.name)
    except Exception as error:  # whatever the application's hasher or set_password() raises
        report.warnings.append(
            f"{model.password.name} raised {type(error).__name__} for a sample password, so that nobody knows whether"
            f" {model.name}.{model.hash_column.name} can hold its hash. Fix: compare the column with a hash of yours."
        )
        return
    if model.longest_hash is not None and isinstance(hashed, str) and len(hashed) > model.longest_hash:
        report.errors.append(model.hash_fault(hashed))


def _check_mail(state: AppState, report: Report) -> None:
    if not (state.settings.renders_link or state.settings.renders_notice):
        return
    mail = mail_state(state)
    sender_address(state)
    if mail.use_tls and mail.use_ssl:
        report.errors.append(
            "MAIL_USE_TLS and MAIL_USE_SSL are both true. Fix: keep MAIL_USE_SSL for a server that speaks TLS from the"
            " start (port 465), MAIL_USE_TLS for one that has STARTTLS (port 587)."
        )
    if mail.suppress:
        report.warnings.append(
            "MAIL_SUPPRESS_SEND is true (it follows TESTING): no mail leaves the app, and nobody can verify an account."
            " Fix: set it to False."
        )
    if mail.username and not (mail.use_tls or mail.use_ssl) and not _is_loopback(mail.server):
        report.warnings.append(
            f"The log-in to the mail server {mail.server!r} is sent without encryption. Fix: set MAIL_USE_TLS or"
            " MAIL_USE_SSL."
        )


def _check_templates(state: AppState, report: Report) -> None:
    settings = state.settings
    if settings.renders_link:
        chosen = complete_templates(settings.register_verification_email_templates)
        report.errors += _template_faults("REGISTER_VERIFICATION_EMAIL_TEMPLATES", chosen, state.app)
    if settings.renders_notice:
        given = settings.register_existing_email_templates
        chosen = complete_templates(given, defaults=EXISTING_ACCOUNT_TEMPLATES)
        report.errors += _template_faults("REGISTER_EXISTING_EMAIL_TEMPLATES", chosen, state.app)


def _template_faults(setting: str, templates: Mapping[str, str], app: Flask) -> Iterator[str]:
    """Find what is wrong with the templates and with all that they extend, include and import by name."""
    waiting = [(key, name, "") for key, name in templates.items()]
    seen = {(key, name) for key, name, _ in waiting}
    for key, name, user in waiting:  # grows while it is walked
        what = f"{setting}: the template {name!r} for {key!r}" + (f", which {user!r} refers to," if user else "")
        try:
            app.jinja_env.get_template(name)
        except TemplateNotFound:
            yield f"{what} was not found. Fix: put it into the app's templates folder or correct its name."
        except TemplateSyntaxError as error:
            yield f"{what} is broken in line {error.lineno}: {error.message} Fix: correct that line."
        else:
            for each in _referred_to(name, app):
                if (key, each) not in seen:
                    seen.add((key, each))
                    waiting.append((key, each, name))


def _referred_to(name: str, app: Flask) -> Iterator[str]:
    """Yield the templates that a template cannot do without, as far as it names them literally."""
    source, _, _ = cast(BaseLoader, app.jinja_env.loader).get_source(app.jinja_env, name)  # it has just loaded this one
    kinds = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    for reference in app.jinja_env.parse(source).find_all(kinds):
        template = getattr(reference, "template", None)  # all four have it
        if isinstance(template, nodes.Const) and not getattr(reference, "ignore_missing", False):
            yield str(template.value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
