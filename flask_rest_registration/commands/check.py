"""``flask rest-registration check``: what would otherwise show on first use."""

from __future__ import annotations

import copy
import html
import ipaddress
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from flask import Flask, before_render_template
from jinja2 import Environment, Template, TemplateNotFound, TemplateSyntaxError, nodes
from sqlalchemy import event
from sqlalchemy.orm import Session

from ..database.tables import missing_of, tables_without_transactions, takes_for_one
from ..exceptions import ConfigurationError, DatabaseFault, ServiceUnavailable, collecting
from ..mail.messages import (
    EXISTING_ACCOUNT_TEMPLATES,
    PartLoader,
    VerificationMail,
    complete_templates,
    mail_state,
    make_mail_environments,
    sender_address,
)
from ..model.inspection import model_warnings
from ..model.user_model import python_type
from ..settings.parsers import Templates, parse_templates
from ..settings.reading import resolve_settings
from ..signers import key_faults, secret_keys
from ..state import AppState, app_state
from ..workflows.sign_up import sample_sign_up
from .samples import HookRaised, SampleMail, sample_mails, sample_request

_SAMPLE_PASSWORD = "a sample password"  # noqa: S105  # hashed to measure the hash, never stored
_LOOK_ALIKES = ("ann@gm\N{LATIN SMALL LETTER A WITH GRAVE}il.example", "ann@gmail.example")


class Part(NamedTuple):
    """One part of an app.

    :param text: its name, and what was looked at.
    :param found: the worst that was found: ``nothing``, ``warning``, ``error``, or ``unknown`` behind errors elsewhere.
    """

    text: str
    found: str


@dataclass
class Report:
    """What was found: errors keep registration from working, warnings are dangerous though it works."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    looked_at: list[Part] = field(default_factory=list)


def check_app(app: Flask) -> Report:
    """Import, build and render all that an app otherwise does on first use.

    Nothing is sent, and no mail server is asked. The database is asked by SELECTs that read no row of the application.
    """
    report = Report()
    logger = app.logger
    was_disabled, logger.disabled = logger.disabled, True  # what the state logs is a warning of the report
    try:
        with collecting(report.errors):
            _look_at(app_state(app), report)
    finally:
        logger.disabled = was_disabled
    # What keeps several parts from being looked at is told by each.
    report.errors, report.warnings = list(dict.fromkeys(report.errors)), list(dict.fromkeys(report.warnings))
    return report


def _look_at(original: AppState, report: Report) -> None:
    with collecting(report.errors):
        original.ready()
    # Where the model is at fault, settings, keys and mail server can be looked at all the same.
    state = copy.copy(original)
    told: set[str] = set()
    for name, check in _CHECKS:
        errors, warnings, words = len(report.errors), len(report.warnings), "see the errors"
        with collecting(report.errors):
            words = check(state, report)
        found = set(report.errors[errors:])
        if found and found <= told:
            report.looked_at.append(Part(f"{name}: not looked at", "unknown"))
        elif words:
            worst = "error" if found else "warning" if len(report.warnings) > warnings else "nothing"
            report.looked_at.append(Part(f"{name}: {words}", worst))
        told |= found


def _check_keys(state: AppState, report: Report) -> str:
    keys = secret_keys(state.app, lenient=True)
    report.errors += key_faults(state.app)
    return f"SECRET_KEY, {len(keys) - 1} in SECRET_KEY_FALLBACKS"


def _check_settings(state: AppState, report: Report) -> str:
    state.settings = resolve_settings(state.app, state.values)
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
    return f"{sum(origin != 'default' for origin in state.origins.values())} given"


def _check_csrf(state: AppState, report: Report) -> str:
    """Ask the function with which Flask-WTF's ``CSRFProtect`` looks at every request, in a sample request."""
    if not state.has_endpoints:
        return ""
    for function in state.app.before_request_funcs.get(None, ()):
        if getattr(function, "__module__", "") == "flask_wtf.csrf":
            try:
                with sample_request(state.app):
                    function()
            except Exception:  # also without a SECRET_KEY, which is an error by itself
                report.warnings.append(
                    "CSRFProtect refuses sign-ups that come without its token, as those of JSON clients do. Fix: call"
                    " csrf.exempt(registration.blueprint), or have the front end send X-CSRFToken."
                )
            return "asked about a sign-up"
    return ""


def _check_model(state: AppState, report: Report) -> str:
    model, column = state.model, state.model.hash_column
    report.warnings += model_warnings(state.settings, model)
    parts = [model.email.name, column.name if column else model.password.name]
    parts += [f"flag {model.flag.name}"] if model.flag else []
    words = f"{model.name}({', '.join(parts)})"
    session = state.transactions.session()
    event.listen(session, "before_commit", _refuse_commit)
    try:
        user, stored = sample_sign_up(state, _SAMPLE_PASSWORD)
        if model.password.kind == "method":
            before = dict(vars(user))
            getattr(user, model.password.name)(_SAMPLE_PASSWORD[::-1])
            if vars(user) == before:
                report.warnings.append(
                    f"{model.name}.{model.password.name}() changed nothing of a sample account, so that nobody could"
                    " log in. Fix: let it keep the hash in the account."
                )
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the application's model and hasher raise
        report.warnings.append(
            f"{model.name} or its password raised {type(error).__name__} for a sample account, so that nobody knows"
            " whether the column can hold the hash. Fix: compare the column with a hash of yours."
        )
        return words
    finally:
        event.remove(session, "before_commit", _refuse_commit)
        state.transactions.rollback()  # a constructor may ask the database
    if stored is None or column is None:
        return words
    stored = _as_stored(state, column.column, stored)
    where, kind = f"{model.name}.{column.name}", python_type(column.column)
    if kind in {str, bytes} and isinstance(stored, str) != (kind is str):
        report.errors.append(
            f"{where} is a column of {'text' if kind is str else 'bytes'}, and the password's hash is of the type"
            f" {type(stored).__name__}. Fix: make both of one type; bcrypt's bytes become text by .decode()."
        )
    elif model.longest_hash is not None and isinstance(stored, str) and len(stored) > model.longest_hash:
        report.errors.append(model.hash_fault(stored))
    return words


def _refuse_commit(session: Session) -> None:
    """Keep a constructor from storing what it makes, such as a default role, in the name of a sample account."""
    if not session.in_nested_transaction():
        raise RuntimeError("check stores nothing")


def _as_stored(state: AppState, column: sa.Column[Any], value: object) -> object:
    """Return what a column's type makes of a value that is stored: a type of the application's may hash."""
    if isinstance(column.type, sa.TypeDecorator):
        with suppress(NotImplementedError):  # by a type that changes nothing
            return column.type.process_bind_param(
                value, state.transactions.session.get_bind(state.model.mapper).dialect
            )
    return value


def _check_mail(state: AppState, report: Report) -> str:
    if not state.settings.uses_flask_mail:
        return ""
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
    return f"{mail.server}, port {mail.port or 25}"


def _check_mails(state: AppState, report: Report) -> str:
    settings, faults = state.settings, list[str]()
    if settings.renders_link and settings.verification_templates_selector is None:
        chosen = complete_templates(settings.register_verification_email_templates)
        faults += _template_faults("REGISTER_VERIFICATION_EMAIL_TEMPLATES", chosen, state)
    if settings.renders_notice:
        given = settings.register_existing_email_templates
        chosen = complete_templates(given, defaults=EXISTING_ACCOUNT_TEMPLATES)
        faults += _template_faults("REGISTER_EXISTING_EMAIL_TEMPLATES", chosen, state)
    report.errors += faults
    manager = getattr(state.app, "login_manager", None)
    # Flask-Login has no public name for either, and gives every template in a request a current_user.
    loaders = [getattr(manager, name) for name in ("_user_callback", "_request_callback") if hasattr(manager, name)]
    if loaders and not any(loaders) and (settings.renders_link or settings.renders_notice):
        report.errors.append(
            "The LoginManager has no user_loader, so that no template can be rendered, that of a mail neither. Fix:"
            " give it a function by @login_manager.user_loader."
        )
    rendered: dict[str, None] = {}
    words = "none is rendered by this package"
    for sample in sample_mails(state):
        words = "none could be rendered"
        with collecting(report.errors):
            if _check_sample(sample, report, state=state, are_whole=not faults):
                rendered[sample.what] = None
    return ", ".join(rendered) or words


def _check_sample(sample: SampleMail, report: Report, *, state: AppState, are_whole: bool) -> bool:
    """Render a mail and look at it; tell whether it could be rendered.

    :param are_whole: whether nothing was found wrong with the templates themselves.
    """
    names: list[str | None] = []

    def note(_: Flask, *, template: Template, **__: object) -> None:
        names.append(template.name)

    try:
        with before_render_template.connected_to(note, state.app):
            mail = sample.render()
    except ConfigurationError:
        raise
    except HookRaised as error:
        report.warnings.append(
            f"{error} for a sample account or request, so that the {sample.what} was not tried. Fix: if that is no"
            " fault of the sample, correct it."
        )
        return False
    except Exception as error:  # whatever templates raise
        selected = _selected_templates(sample)
        faults = [*_template_faults("VERIFICATION_TEMPLATES_SELECTOR", selected, state)] if selected else []
        if are_whole:
            report.errors += faults or [_fault_of_template(error, names[-1] if names else None)]
        return False
    report.errors += _faults_of_mail(sample, mail)
    report.warnings += _doubtful_links(sample)
    return True


def _selected_templates(sample: SampleMail) -> Templates | None:
    selected = sample.returned("verification_templates_selector")
    return complete_templates(parse_templates(selected[-1])) if selected else None


def _fault_of_template(error: Exception, name: str | None) -> str:
    """Say which template raised an exception, and where."""
    # Jinja puts its templates' own files and lines into tracebacks, with a mark among the globals.
    frames = traceback.walk_tb(error.__traceback__)
    places = [(line, frame.f_code.co_filename) for frame, line in frames if "__jinja_exception__" in frame.f_globals]
    where = f", in line {places[-1][0]} of {places[-1][1]}" if places else ""
    return (
        f"The template {name!r} raised {type(error).__name__}{where}: {error}. Fix: correct that line, or give the"
        " template what it asks for."
    )


def _faults_of_mail(sample: SampleMail, mail: VerificationMail) -> Iterator[str]:
    """Say which body lacks what the mail is for."""
    for _, link in sample.made_links:
        if "://" not in link:
            yield (
                f"VERIFICATION_URL_BUILDER makes the link {link!r}, which is no absolute URL. Fix: begin it with"
                " signer.get_base_url()."
            )
    bodies = {"text": mail.text, **({} if mail.html is None else {"HTML": html.unescape(mail.html)})}
    for kind, body in bodies.items():
        for name, texts in sample.required.items():
            # People write a code in groups.
            searched = re.sub(r"<[^>]*>|[\s-]", "", body) if name == "code" else body
            if not any(text in searched for text in texts):
                yield (
                    f"The {kind} of the {sample.what} lacks the {'code' if name == 'code' else 'verification link'}."
                    f" Fix: print {{{{ {name} }}}} in its template, as it is."
                )


def _doubtful_links(sample: SampleMail) -> Iterator[str]:
    for signer, link in sample.made_links:
        missing = [name for name, value in signer.get_signed_data().items() if value not in unquote(link)]
        if missing:
            yield (
                f"VERIFICATION_URL_BUILDER makes links without {', '.join(missing)}. Fix: put all that"
                " signer.get_signed_data() gives into them, unless your page finds it by other means."
            )


def _template_faults(setting: str, templates: Mapping[str, str], state: AppState) -> Iterator[str]:
    """Find what is wrong with the templates and with all that they extend, include and import by name."""
    environments = make_mail_environments(state)
    waiting = [(key, name, "") for key, name in templates.items()]
    seen = {(key, name) for key, name, _ in waiting}
    for key, name, user in waiting:  # grows while it is walked
        what = f"{setting}: the template {name!r} for {key!r}" + (f", which {user!r} refers to," if user else "")
        try:
            environments[key].get_template(name)
        except TemplateNotFound:
            yield f"{what} was not found. Fix: put it into the app's templates folder or correct its name."
        except TemplateSyntaxError as error:
            yield f"{what} is broken in line {error.lineno}: {error.message} Fix: correct that line."
        else:
            for each in _referred_to(name, environments[key]):
                if (key, each) not in seen:
                    seen.add((key, each))
                    waiting.append((key, each, name))


def _referred_to(name: str, environment: Environment) -> Iterator[str]:
    """Yield the templates that a template cannot do without, as far as it names them literally."""
    loader = cast(PartLoader, environment.loader)  # it has just loaded this one
    source, filename, _ = loader.get_source(environment, name)
    kinds = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    for reference in loader.syntax_of(environment, filename).parse(source).find_all(kinds):
        template = getattr(reference, "template", None)  # all four have it
        if isinstance(template, nodes.Const) and not getattr(reference, "ignore_missing", False):
            yield str(template.value)


def _check_database(state: AppState, report: Report) -> str:
    """Ask the database what models do not say."""
    transactions, email = state.transactions, state.model.email
    url = transactions.session.get_bind(state.model.mapper).engine.url
    if transactions.dialect == "sqlite" and not Path(url.database or "").is_file():  # asking would make the file
        return "sqlite, whose file is not there yet"
    mappers = [state.model.mapper, *([state.pending.mapper] if state.pending else ())]
    tables = [table for mapper in mappers for table in mapper.tables if isinstance(table, sa.Table)]
    try:
        if missing := [name for table in tables for name in missing_of(transactions, table)]:
            report.warnings.append(
                f"The database lacks {', '.join(missing)}: sign-ups are answered with 500. Fix: run your migrations,"
                " after making one for what was added, or let db.create_all() make whole tables."
            )
            return transactions.dialect
        without = tables_without_transactions(transactions, tables)
        if takes_for_one(transactions, email.column, *_LOOK_ALIKES):
            report.warnings.append(
                f"The collation of {state.model.name}.{email.name} takes {' and '.join(_LOOK_ALIKES)} for one address:"
                " whoever has one keeps the owner of the other from signing up. Fix: give the column a collation that"
                " tells accents apart, such as utf8mb4_bin, with a migration."
            )
    except (DatabaseFault, ServiceUnavailable) as error:
        report.warnings.append(f"The database could not be asked: {error}. Fix: let it be reached.")
    else:
        report.warnings += (
            f"The table {name} has no transactions: what fails half-way stays stored. Fix: ALTER TABLE {name} ENGINE ="
            " InnoDB."
            for name in without
        )
    finally:
        transactions.rollback()
    return transactions.dialect


#: Each check returns what it has looked at in words: none, if the app has no such part.
_CHECKS: tuple[tuple[str, Callable[[AppState, Report], str]], ...] = (
    ("settings", _check_settings),
    ("keys", _check_keys),
    ("mail server", _check_mail),
    ("CSRFProtect", _check_csrf),
    ("model", _check_model),
    ("mails", _check_mails),
    ("database", _check_database),
)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
