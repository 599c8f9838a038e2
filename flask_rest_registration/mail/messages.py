"""The mails: who they come from, their templates, what these are given, and how the wire has them."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import formataddr, formatdate, make_msgid, parseaddr
from functools import cache, lru_cache
from pathlib import Path
from types import CodeType
from typing import Any
from urllib.parse import urlsplit

from flask import Request, before_render_template, template_rendered
from jinja2 import BaseLoader, Environment, Template

from .. import clock
from ..addresses import to_recipient
from ..exceptions import ConfigurationError, RecipientRefused
from ..model.pending import PendingRegistrationMixin
from ..settings import parsers
from ..settings.parsers import MailAddress, Templates, parse_templates
from ..signers import address_of, make_code, signer_for
from ..state import AppState
from ..translations.texts import current_language, in_language, parse_locale

_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
_NAMES: Templates = {"subject": "subject.txt", "body": "body.txt", "html_body": "body.html"}

#: The templates of the verification mail and of the notice to an account holder, unless settings name others.
VERIFICATION_TEMPLATES: Templates = {part: f"rest_registration/register/{name}" for part, name in _NAMES.items()}
EXISTING_ACCOUNT_TEMPLATES: Templates = {
    part: f"rest_registration/register/existing_{name}" for part, name in _NAMES.items()
}
_OWN_TEMPLATES = str(Path(__file__).absolute().parents[1] / "templates") + os.sep

# Blanks of ASCII, and what ends a line for somebody.
_LINE_BREAKS = re.compile("[\t-\r\x1c-\x20\x85\u2028\u2029]+")

# What a header may have as it is, on one line. "=?" would begin a word that is encoded.
_PLAIN = re.compile(r"(?!.*=\?)[ -~]{0,60}")
# What no body may have as it is (RFC 5322, section 2.1.1). "=_" begins a boundary, and is in no encoded body.
_TO_ENCODE = re.compile(rb"[^\t\n -~]|^.{999}|=_", re.MULTILINE)
_BOUNDARY = "=_mail"
# What ends a header; a folded one goes on after a blank.
_BROKEN = re.compile(r"\r|\n(?! )")


@dataclass(frozen=True)
class VerificationMail:
    """A mail of registration, ready for whatever carries it.

    ``bytes(mail)`` is what goes over the wire (RFC 5322): 7 bits, lines of at most 998 octets. It raises
    ``ValueError`` for a line break in an address or header.

    :param recipient: the address that it goes to, its domain in ASCII.
    :param sender: the name, which may be empty, and the address that it comes from.
    :param reply_to: likewise for answers.
    :param subject: one line.
    :param text: the body as text.
    :param html: the body as HTML, or None.
    :param headers: further headers in ASCII, among them ``Message-ID``.
    """

    recipient: str
    sender: tuple[str, str]
    reply_to: tuple[str, str]
    subject: str
    text: str
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_email_message(self) -> EmailMessage:
        """Return the mail as the ``email`` package of Python's library has it.

        :returns: a message of its own, which may be changed.
        """
        return message_from_bytes(bytes(self), policy=policy.SMTP.clone(refold_source="none"))

    def __bytes__(self) -> bytes:
        # By hand: CPython folds long headers wrongly, and takes twenty times as long.
        headers = {
            "From": _encode_address(self.sender),
            "To": self.recipient,
            "Reply-To": _encode_address(self.reply_to),
            "Subject": self.subject if _PLAIN.fullmatch(self.subject) else _encode_text(self.subject),
            "Date": formatdate(clock.now(), localtime=True),
            "MIME-Version": "1.0",
            **self.headers,
        }
        parts = []
        for subtype, text in (("plain", self.text), ("html", self.html)):
            if text is None:
                continue
            data = re.sub("\r\n?", "\n", text).encode("utf-8", "replace")
            encoding, encoded = "7bit", data
            if _TO_ENCODE.search(data):
                encoding, encoded = "quoted-printable", binascii.b2a_qp(data)
            if len(encoded) > 1.5 * len(data):  # in most alphabets but the Latin one
                encoding, encoded = "base64", base64.encodebytes(data.replace(b"\n", b"\r\n"))
            types = f'Content-Type: text/{subtype}; charset="utf-8"\nContent-Transfer-Encoding: {encoding}\n\n'
            parts.append(types + encoded.decode())
        content = parts[0]
        if len(parts) > 1:
            several = "".join(f"--{_BOUNDARY}\n{part}\n" for part in parts)
            content = f'Content-Type: multipart/alternative; boundary="{_BOUNDARY}"\n\n{several}--{_BOUNDARY}--\n'
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if any(_BROKEN.search(line) for line in lines):
            raise ValueError("a header of the mail has a line break, which would begin another header")
        return "\n".join([*lines, content]).replace("\n", "\r\n").encode("ascii")


def _encode_text(text: str, *, may_fold: bool = True) -> str:
    """Encode a header's text (RFC 2047) with whole characters in each word, or fold it where that is enough."""
    folded = re.sub("(.{1,60}) (?=[^ ])", r"\1\n ", text)
    if may_fold and all(_PLAIN.fullmatch(line) for line in folded.split("\n ")):
        return folded
    data, words = text.encode("utf-8", "replace"), []
    while data:
        part = data[:39].decode("utf-8", "ignore").encode()  # with it, a line has 76 characters at most
        words.append(f"=?utf-8?b?{base64.b64encode(part).decode()}?=")
        data = data[len(part) :]
    return "\n ".join(words)


@lru_cache(maxsize=64)
def _encode_address(pair: tuple[str, str]) -> str:
    name, address = pair
    if not name:
        return address
    shown = formataddr((name, "")).removesuffix(" <>") if name.isascii() else name
    if not _PLAIN.fullmatch(shown):  # a quoted name is not folded: Python's own parseaddr() does not read that
        shown = _encode_text(name, may_fold=shown == name)
    return f"{shown}{' ' if len(shown) + len(address) < 60 else chr(10) + ' '}<{address}>"


def verification_message(state: AppState, request: Request | None, user: object) -> VerificationMail:
    """Render the mail that asks its reader to verify the address of an account or a pending registration."""
    message = _link(state, request, user)
    if isinstance(user, PendingRegistrationMixin) and state.settings.renders_notice:
        _notice(state, request, user)  # both are rendered: else hooks and templates tell who has an account
    return message


def existing_account_message(state: AppState, request: Request | None, user: object) -> VerificationMail:
    """Render the notice that tells an account holder that somebody signed up with the address.

    It has no signed link and nothing of the request: whoever causes it is a stranger.
    """
    if isinstance(user, PendingRegistrationMixin) and state.settings.renders_link:
        _link(state, request, user)
    return _notice(state, request, user)


def _link(state: AppState, request: Request | None, user: object) -> VerificationMail:
    settings = state.settings
    build_context, select = settings.verification_template_context_builder, settings.verification_templates_selector
    with _language_of(state, request, user) if settings.verification_locale_selector else nullcontext():
        context: Mapping[str, object] = _context(state, user, has_link=True)
        if build_context is not None:
            context = build_context(request, user, dict(context))
        given = settings.register_verification_email_templates
        if select is not None:
            selected = select(request, user)
            try:
                given = parse_templates(selected)
            except ValueError as fault:
                raise ConfigurationError(f"What VERIFICATION_TEMPLATES_SELECTOR returned {fault}.") from None
        return _render(state, complete_templates(given), context, user=user)


def _notice(state: AppState, request: Request | None, user: object) -> VerificationMail:
    given = state.settings.register_existing_email_templates
    templates = complete_templates(given, defaults=EXISTING_ACCOUNT_TEMPLATES)
    with _language_of(state, request, user):
        return _render(state, templates, _context(state, user, has_link=False), user=user)


def _language_of(state: AppState, request: Request | None, user: object) -> AbstractContextManager[None]:
    """Return a context in the mail's language: the request's, also where what a stranger chose is no locale."""
    select = state.settings.verification_locale_selector
    if select is None or (name := select(request, user)) is None:
        return nullcontext()
    locale = parse_locale(str(name))
    if locale is None:
        state.app.logger.warning("What VERIFICATION_LOCALE_SELECTOR returned is no locale, such as 'pt_BR'.")
        return nullcontext()
    return in_language(locale)


def _context(state: AppState, user: object, *, has_link: bool) -> dict[str, object]:
    """Return what the templates are given; the notice gets neither link nor code."""
    language, signer = current_language(), signer_for(state, user)
    context = {
        "user": user,
        "user_address": address_of(state, user),
        "site": state.settings.site_name or urlsplit(signer.get_base_url()).netloc.rpartition("@")[2],
        "translate": language.gettext,
        "translate_number": language.ngettext,
        # Translators: this is to become the BCP 47 tag of your language.
        "language": language.gettext("en"),
        # Translators: this becomes "rtl" where your language is written from the right.
        "direction": language.gettext("ltr"),
    }
    if not has_link:
        return context
    # A date would need the reader's time zone. The unit is the largest of which the period is one, or has two at least.
    period = state.settings.register_verification_period
    # Translators: these stand in "The link works for %(time)s."; give them the case that they need there.
    if period == _DAY or period >= 2 * _DAY:
        valid_for = language.ngettext("%(count)s day", "%(count)s days", period // _DAY)
    elif period == _HOUR or period >= 2 * _HOUR:
        valid_for = language.ngettext("%(count)s hour", "%(count)s hours", period // _HOUR)
    else:
        valid_for = language.ngettext("%(count)s minute", "%(count)s minutes", max(period // _MINUTE, 1))
    pending, code = state.pending, None
    if isinstance(user, PendingRegistrationMixin) and pending is not None and pending.carries_code(user):
        code = make_code(state, user)
    return {
        **context,
        "verification_url": signer.get_url(),
        "valid_until": signer.get_valid_until(),
        "valid_for": valid_for,
        "email_first": isinstance(user, PendingRegistrationMixin),
        "code": code,
        "code_minutes": max(state.settings.register_verification_code_period // _MINUTE, 1),
    }


def complete_templates(given: Templates | None, *, defaults: Templates = VERIFICATION_TEMPLATES) -> Templates:
    """Fill in the default templates: those that are given of ``body`` and ``html_body`` replace both defaults."""
    given = given or {}
    bodies = ("body", "html_body")
    chosen = {name: given[name] for name in bodies if name in given} or {name: defaults[name] for name in bodies}
    return {"subject": given.get("subject", defaults["subject"]), **chosen}


def _render(state: AppState, templates: Templates, context: Mapping[str, object], *, user: object) -> VerificationMail:
    """Render as ``render_template`` does, with context processors and Jinja's globals asked once for all templates."""
    app, environments = state.app, state.mail_environments or make_mail_environments(state)
    complete = dict(context)
    app.update_template_context(complete)
    complete = {**app.jinja_env.globals, **complete}
    parts = {}
    for name, path in templates.items():
        template = environments[name].get_template(path)
        told: dict[str, Any] = {"_async_wrapper": app.ensure_sync, "template": template, "context": complete}
        before_render_template.send(app, **told)
        if template.environment.is_async:  # as jinja_options may ask for
            parts[name] = template.render(complete)
        else:  # what Template.render() does, with a context that has the globals already
            try:
                rendered = template.root_render_func(template.new_context(complete, shared=True))
                parts[name] = template.environment.concat(rendered)
            except Exception:
                template.environment.handle_exception()  # raises the same, its traceback with the template's own lines
        template_rendered.send(app, **told)
        if name == "subject":  # is rendered first, and the HTML has it as its title
            parts[name] = complete["subject"] = _LINE_BREAKS.sub(" ", parts[name]).strip(" ")
    html, text = parts.get("html_body"), parts.get("body")
    if text is None:
        text = state.settings.verification_email_html_to_text_converter(html or "")
    return compose(state, recipient_of(state, user), subject=parts["subject"], text=text, html=html)


def make_mail_environments(state: AppState) -> Mapping[str, Environment]:
    """Make and keep the app's Jinja environment for each part of a mail, with its filters, globals and templates.

    Texts are never escaped and HTML always is, whatever the template's file is called.
    """
    app_environment = state.app.jinja_env

    def overlay(*, autoescape: bool) -> Environment:
        # Without a cache of bytecode: it would take what was compiled for one part for the other one.
        loader = PartLoader(app_environment, autoescape=autoescape)
        return app_environment.overlay(autoescape=autoescape, loader=loader, bytecode_cache=None)

    text = overlay(autoescape=False)
    state.mail_environments = {"subject": text, "body": text, "html_body": overlay(autoescape=True)}
    return state.mail_environments


class PartLoader(BaseLoader):
    """Loads an app's templates; the package's own have Jinja's default syntax, whatever delimiters the app has."""

    def __init__(self, environment: Environment, *, autoescape: bool) -> None:
        self._app_environment = environment
        self._syntax = _own_syntax(autoescape=autoescape, is_async=environment.is_async)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Return what the app's own loader finds."""
        loader = self._app_environment.loader or BaseLoader()  # which finds nothing
        return loader.get_source(environment, template)

    def syntax_of(self, environment: Environment, filename: str | None) -> Environment:
        """Return the environment with the syntax of a template in a file."""
        return self._syntax if (filename or "").startswith(_OWN_TEMPLATES) else environment

    def load(self, environment: Environment, name: str, globals: Any = None) -> Template:  # noqa: A002  # Jinja's name
        """Compile a template by the syntax that it has."""
        source, filename, is_current = self.get_source(environment, name)
        syntax = self.syntax_of(environment, filename)
        compile_template = _compile_own if syntax is self._syntax else Environment.compile
        code = compile_template(syntax, source, name, filename)
        return environment.template_class.from_code(environment, code, globals or {}, is_current)


@cache
def _own_syntax(*, autoescape: bool, is_async: bool) -> Environment:
    return Environment(autoescape=autoescape, enable_async=is_async)  # noqa: S701  # texts are not HTML


@lru_cache(maxsize=32)  # the package's files never change
def _compile_own(syntax: Environment, source: str, name: str, filename: str) -> CodeType:
    return syntax.compile(source, name, filename)


def recipient_of(state: AppState, user: object) -> str:
    """Return the address of an account or a pending registration as an envelope has it."""
    try:
        return to_recipient(address_of(state, user))
    except ValueError:
        raise RecipientRefused("not exactly one address") from None


def compose(state: AppState, recipient: str, *, subject: str, text: str, html: str | None = None) -> VerificationMail:
    """Put a mail together, with the sender of all mails of registration."""
    sender, reply_to = sender_address(state), state.settings.verification_reply_to_email
    return VerificationMail(
        recipient=recipient,
        sender=sender,
        reply_to=_parse_address(reply_to) if reply_to else sender,
        subject=subject,
        text=text,
        html=html,
        headers={
            # Without a domain, make_msgid() looks the machine's own name up, which may take seconds.
            "Message-ID": make_msgid(domain=sender[1].rpartition("@")[2]),
            "Auto-Submitted": "auto-generated",  # RFC 3834: no out-of-office replies
        },
    )


def sender_address(state: AppState) -> tuple[str, str]:
    """Return name and address of VERIFICATION_FROM_EMAIL or MAIL_DEFAULT_SENDER."""
    given: Any = state.settings.verification_from_email or state.app.config.get("MAIL_DEFAULT_SENDER")
    if not given:
        raise ConfigurationError(
            "MAIL_DEFAULT_SENDER is not set, nor is the REST_REGISTRATION setting VERIFICATION_FROM_EMAIL, so that the"
            " verification mail has no sender. Fix: set one of them, such as to 'no-reply@example.com'."
        )
    try:
        return _parse_address(tuple(given) if isinstance(given, list) else given)
    except ValueError as fault:
        raise ConfigurationError(
            f"The sender of mails (VERIFICATION_FROM_EMAIL, else MAIL_DEFAULT_SENDER) {fault}. Fix: set it to an"
            " address such as 'no-reply@example.com'."
        ) from None


@lru_cache(maxsize=64)
def _parse_address(given: MailAddress) -> tuple[str, str]:
    parsed: Any = parsers.address(given)
    name, address = parseaddr(parsed) if isinstance(parsed, str) else parsed
    return _LINE_BREAKS.sub(" ", name).strip(" "), address if address.isascii() else to_recipient(address)


def mail_state(state: AppState) -> Any:
    """Return what Flask-Mail keeps of the app, an object whose class is private."""
    mail = state.app.extensions.get("mail")
    if mail is None:
        raise ConfigurationError(
            "Flask-Mail is not initialised on this app. Fix: call Mail(app) or mail.init_app(app), or give a"
            " REGISTER_VERIFICATION_EMAIL_SENDER of your own."
        )
    return mail
