"""The mails: who they come from, their templates and what these are given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, before_render_template, template_rendered
from flask_mail import Message
from jinja2 import Template

from ..addresses import to_recipient
from ..exceptions import ConfigurationError, RecipientRefused
from ..model.pending import PendingRegistrationMixin
from ..settings.parsers import MailAddress, Templates, parse_templates
from ..signers import RegisterSigner, address_of, make_code, signer_for
from ..state import AppState
from ..translations.texts import current_language, in_language, parse_locale

_MINUTE = timedelta(minutes=1)
_NAMES: Templates = {"subject": "subject.txt", "body": "body.txt", "html_body": "body.html"}

#: The templates of the verification mail and of the notice to an account holder, unless settings name others.
VERIFICATION_TEMPLATES: Templates = {part: f"rest_registration/register/{name}" for part, name in _NAMES.items()}
EXISTING_ACCOUNT_TEMPLATES: Templates = {
    part: f"rest_registration/register/existing_{name}" for part, name in _NAMES.items()
}


def verification_message(state: AppState, request: Request | None, user: object) -> Message:
    """Render the mail that asks its reader to verify the address of an account or a pending registration."""
    message = _link(state, request, user)
    if isinstance(user, PendingRegistrationMixin) and state.settings.renders_notice:
        _notice(state, request, user)  # both are rendered: else hooks and templates tell who has an account
    return message


def existing_account_message(state: AppState, request: Request | None, user: object) -> Message:
    """Render the notice that tells an account holder that somebody signed up with the address.

    It has no signed link and nothing of the request: whoever causes it is a stranger.
    """
    if isinstance(user, PendingRegistrationMixin) and state.settings.renders_link:
        _link(state, request, user)
    return _notice(state, request, user)


def _link(state: AppState, request: Request | None, user: object) -> Message:
    settings = state.settings
    build_context, select = settings.verification_template_context_builder, settings.verification_templates_selector
    with _language_of(state, request, user):
        context: Mapping[str, object] = _verification_context(state, user)
        if build_context is not None:
            context = build_context(request, user, dict(context))
        try:
            given = settings.register_verification_email_templates
            given = parse_templates(select(request, user)) if select is not None else given
        except ValueError as fault:
            raise ConfigurationError(f"What VERIFICATION_TEMPLATES_SELECTOR returned {fault}.") from None
        return _render(state, complete_templates(given), context, user=user)


def _notice(state: AppState, request: Request | None, user: object) -> Message:
    given = state.settings.register_existing_email_templates
    templates = complete_templates(given, defaults=EXISTING_ACCOUNT_TEMPLATES)
    with _language_of(state, request, user):
        return _render(state, templates, _common_context(state, user, signer_for(state, user)), user=user)


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


def _common_context(state: AppState, user: object, signer: RegisterSigner) -> dict[str, object]:
    language = current_language()
    return {
        "user": user,
        "user_address": address_of(state, user),
        "site": urlsplit(signer.get_base_url()).netloc.rpartition("@")[2],
        "translate": language.gettext,
        "translate_number": language.ngettext,
        # Translators: this is to become the BCP 47 tag of your language.
        "language": language.gettext("en"),
        # Translators: this becomes "rtl" where your language is written from the right.
        "direction": language.gettext("ltr"),
    }


def _verification_context(state: AppState, user: object) -> dict[str, object]:
    signer = signer_for(state, user)
    pending, code = state.pending, None
    if isinstance(user, PendingRegistrationMixin) and pending is not None and pending.carries_code(user):
        code = make_code(state, user)
    return {
        **_common_context(state, user, signer),
        "verification_url": signer.get_url(),
        "valid_until": signer.get_valid_until(),
        "email_first": isinstance(user, PendingRegistrationMixin),
        "code": code,
        "code_minutes": -(-state.settings.register_verification_code_period // _MINUTE),
    }


def complete_templates(given: Templates | None, *, defaults: Templates = VERIFICATION_TEMPLATES) -> Templates:
    """Fill in the default templates: those that are given of ``body`` and ``html_body`` replace both defaults."""
    given = given or {}
    bodies = ("body", "html_body")
    chosen = {name: given[name] for name in bodies if name in given} or {name: defaults[name] for name in bodies}
    return {"subject": given.get("subject", defaults["subject"]), **chosen}


def _render(state: AppState, templates: Templates, context: Mapping[str, object], *, user: object) -> Message:
    try:
        recipient = to_recipient(address_of(state, user))
    except ValueError:
        raise RecipientRefused("not exactly one address") from None
    parts = _render_templates(state.app, templates, context)
    html, body = parts.get("html_body"), parts.get("body")
    if body is None:
        body = state.settings.verification_email_html_to_text_converter(html or "")
    return compose(state, recipient, subject=parts["subject"], body=body, html=html)


def _render_templates(app: Flask, templates: Templates, context: Mapping[str, object]) -> dict[str, str]:
    """Render as ``render_template`` does, with context processors and Jinja's globals asked once for all templates."""
    complete = dict(context)
    app.update_template_context(complete)
    complete = {**app.jinja_env.globals, **complete}
    parts = {}
    for name, path in templates.items():
        template = app.jinja_env.get_template(path)
        told: dict[str, Any] = {"_async_wrapper": app.ensure_sync, "template": template, "context": complete}
        before_render_template.send(app, **told)
        parts[name] = _render_template(template, complete)
        template_rendered.send(app, **told)
        if name == "subject":  # is rendered first, and the HTML has it as its title
            parts[name] = complete["subject"] = " ".join(parts[name].split())
    return parts


def _render_template(template: Template, context: dict[str, Any]) -> str:
    """Do what ``Template.render`` does, with a context that has the globals already."""
    environment = template.environment
    if environment.is_async:  # as jinja_options may ask for
        return template.render(context)
    try:
        return environment.concat(template.root_render_func(template.new_context(context, shared=True)))
    except Exception:
        environment.handle_exception()  # raises the same, its traceback with the template's own lines


def compose(state: AppState, recipient: str, *, subject: str, body: str, html: str | None = None) -> Message:
    """Put a mail together, with the sender of all mails of registration."""
    sender = sender_address(state)
    message = Message(
        subject=subject,
        recipients=[recipient],
        body=body,
        html=html,
        reply_to=state.settings.verification_reply_to_email or sender,
        sender=sender,
        extra_headers={"Auto-Submitted": "auto-generated"},  # RFC 3834: no out-of-office replies
    )
    # Flask-Mail's constructor would write a pair as text and read it again, which a comma in the name breaks.
    message.sender = sender
    return message


def sender_address(state: AppState) -> MailAddress:
    """Return VERIFICATION_FROM_EMAIL or MAIL_DEFAULT_SENDER."""
    address: MailAddress | None = state.settings.verification_from_email or mail_state(state).default_sender
    if not address:
        raise ConfigurationError(
            "MAIL_DEFAULT_SENDER is not set, nor is the REST_REGISTRATION setting VERIFICATION_FROM_EMAIL, so that the"
            " verification mail has no sender. Fix: set one of them, such as to 'no-reply@example.com'."
        )
    return address


def mail_state(state: AppState) -> Any:
    """Return what Flask-Mail keeps of the app, an object whose class is private."""
    mail = state.app.extensions.get("mail")
    if mail is None:
        raise ConfigurationError(
            "Flask-Mail is not initialised on this app. Fix: call Mail(app) or mail.init_app(app), or give a"
            " REGISTER_VERIFICATION_EMAIL_SENDER of your own."
        )
    return mail
