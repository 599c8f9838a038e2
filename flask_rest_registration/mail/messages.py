"""The mails: who they come from, their templates and what these are given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask, Request, before_render_template, template_rendered
from flask_mail import Message
from jinja2 import Template

from ..addresses import to_recipient
from ..exceptions import ConfigurationError, RecipientRefused
from ..model.pending import PendingRegistrationMixin
from ..settings.definitions import MailAddress, Templates, parse_templates
from ..signers import RegisterSigner, make_code
from ..state import Registration
from ..translations.texts import current_language, in_language, parse_locale

if TYPE_CHECKING:
    from babel import Locale

_FOLDER = "rest_registration/register"
_MINUTE = timedelta(minutes=1)

#: The templates of the verification mail and of the notice to an account's owner, unless settings name others.
VERIFICATION_TEMPLATES: Templates = {
    "subject": f"{_FOLDER}/subject.txt",
    "body": f"{_FOLDER}/body.txt",
    "html_body": f"{_FOLDER}/body.html",
}
EXISTING_ACCOUNT_TEMPLATES: Templates = {
    "subject": f"{_FOLDER}/existing_subject.txt",
    "body": f"{_FOLDER}/existing_body.txt",
    "html_body": f"{_FOLDER}/existing_body.html",
}


def mail_state(registration: Registration) -> Any:
    """Return what Flask-Mail keeps of the app.

    :param registration: the app's state.
    :returns: Flask-Mail's own object, whose class is private.
    :raises ConfigurationError: if Flask-Mail is not initialised.
    """
    state = registration.app.extensions.get("mail")
    if state is None:
        raise ConfigurationError(
            "Flask-Mail is not initialised on this app: call Mail(app) or mail.init_app(app), or give a"
            " REGISTER_VERIFICATION_EMAIL_SENDER of your own."
        )
    return state


def build_verification_message(registration: Registration, request: Request | None, user: object) -> Message:
    """Render the mail that asks its reader to verify the address.

    :param registration: the app's state.
    :param request: handed to the hooks.
    :param user: a stored account, or a pending registration.
    :returns: a message to exactly one recipient.
    :raises RecipientRefused: if the account's address is no single address.
    :raises ConfigurationError: if there is no sender's address or no URL.
    """
    message = _link(registration, request, user)
    if _needs_both(registration, user):
        _notice(registration, request, user)
    return message


def build_existing_account_message(registration: Registration, request: Request | None, user: object) -> Message:
    """Render the notice that tells an account's owner that somebody signed up with the address.

    It has no signed link and nothing of the request: whoever causes it is a stranger.

    :param registration: the app's state.
    :param request: handed to VERIFICATION_LOCALE_SELECTOR.
    :param user: the pending registration with the account's address, or the account.
    :returns: a message to exactly one recipient.
    :raises RecipientRefused: if the account's address is no single address.
    :raises ConfigurationError: if there is no sender's address or no URL.
    """
    if _needs_both(registration, user):
        _link(registration, request, user)
    return _notice(registration, request, user)


def _needs_both(registration: Registration, user: object) -> bool:
    """Tell whether both messages are rendered and one is sent: hooks and templates would tell who has an account."""
    settings = registration.settings
    return isinstance(user, PendingRegistrationMixin) and settings.renders_link and settings.renders_notice


def _link(registration: Registration, request: Request | None, user: object) -> Message:
    build_context = registration.settings.verification_template_context_builder
    with in_language(_locale(registration, request, user)):
        context: Mapping[str, object] = _verification_context(registration, user)
        if build_context is not None:
            context = build_context(request, user, dict(context))
        return _render(registration, _verification_templates(registration, request, user), context, user=user)


def _notice(registration: Registration, request: Request | None, user: object) -> Message:
    given = registration.settings.register_existing_email_templates
    templates = complete_templates(given, defaults=EXISTING_ACCOUNT_TEMPLATES)
    with in_language(_locale(registration, request, user)):
        context = _common_context(registration, user, RegisterSigner.for_user(user))
        return _render(registration, templates, context, user=user)


def _locale(registration: Registration, request: Request | None, user: object) -> Locale | None:
    """Return the locale of a mail, or None for the request's, as also where a stranger chose one that is none."""
    select = registration.settings.verification_locale_selector
    name = None if select is None else select(request, user)
    if name is None:
        return None
    locale = parse_locale(str(name))
    if locale is None:
        registration.app.logger.warning("What VERIFICATION_LOCALE_SELECTOR returned is no locale, such as 'pt_BR'.")
    return locale


def _render(
    registration: Registration, templates: Mapping[str, str], context: Mapping[str, object], *, user: object
) -> Message:
    settings = registration.settings
    try:
        recipient = to_recipient(_address_of(registration, user))
    except ValueError:
        raise RecipientRefused("not exactly one address") from None
    parts = _render_templates(registration.app, templates, context)
    html = parts.get("html_body")
    body = parts.get("body")
    if body is None:
        body = settings.verification_email_html_to_text_converter(html or "")
    return compose(registration, recipient, subject=parts["subject"], body=body, html=html)


def _render_templates(app: Flask, templates: Mapping[str, str], context: Mapping[str, object]) -> dict[str, str]:
    """Render as ``render_template`` does, which would run the application's context processors for each template.

    Nor is the context put together with the globals for each: of a registration's 680 us that takes 18 less.
    """
    environment = app.jinja_env
    complete = dict(context)
    app.update_template_context(complete)
    complete = {**environment.globals, **complete}
    parts = {}
    for name, path in templates.items():
        template = environment.get_template(path)
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


def compose(registration: Registration, recipient: str, *, subject: str, body: str, html: str | None = None) -> Message:
    """Put a message together that comes from where all mails of registration come from.

    :param registration: the app's state.
    :param recipient: the address as it stands in an envelope.
    :param subject: one line.
    :param body: the text.
    :param html: the same for mail readers that show HTML.
    :returns: a message to exactly this recipient.
    :raises ConfigurationError: if there is no sender's address.
    """
    sender = sender_address(registration)
    message = Message(
        subject=subject,
        recipients=[recipient],
        body=body,
        html=html,
        reply_to=registration.settings.verification_reply_to_email or sender,
        sender=sender,
        extra_headers={"Auto-Submitted": "auto-generated"},  # RFC 3834: no out-of-office replies
    )
    # Flask-Mail's constructor would write a pair as text and read it again, which a comma in the name breaks.
    message.sender = sender
    return message


def sender_address(registration: Registration) -> MailAddress:
    """Return the From address.

    :param registration: the app's state.
    :returns: VERIFICATION_FROM_EMAIL or MAIL_DEFAULT_SENDER.
    :raises ConfigurationError: if neither is set.
    """
    address: MailAddress | None = (
        registration.settings.verification_from_email or mail_state(registration).default_sender
    )
    if not address:
        raise ConfigurationError(
            "MAIL_DEFAULT_SENDER is not set, nor is the REST_REGISTRATION setting VERIFICATION_FROM_EMAIL, so that the"
            " verification mail has no sender: set one of them, such as to 'no-reply@example.com'."
        )
    return address


def _common_context(registration: Registration, user: object, signer: RegisterSigner) -> dict[str, object]:
    language = current_language()
    return {
        "user": user,
        "user_address": _address_of(registration, user),
        "site": urlsplit(signer.get_base_url()).netloc.rpartition("@")[2],
        "translate": language.gettext,
        "translate_number": language.ngettext,
        # Translators: this is to become the BCP 47 tag of your language.
        "language": language.gettext("en"),
        # Translators: this becomes "rtl" where your language is written from the right.
        "direction": language.gettext("ltr"),
    }


def _address_of(registration: Registration, user: object) -> str:
    return user.email if isinstance(user, PendingRegistrationMixin) else registration.model.address_of(user)


def _verification_context(registration: Registration, user: object) -> dict[str, object]:
    signer = RegisterSigner.for_user(user)
    pending, minutes = registration.pending, -(-registration.settings.register_verification_code_period // _MINUTE)
    code = None
    if isinstance(user, PendingRegistrationMixin) and pending is not None and pending.carries_code(user):
        code = make_code(registration, user)
    return {
        **_common_context(registration, user, signer),
        "verification_url": signer.get_url(),
        "valid_until": signer.get_valid_until(),
        "email_first": isinstance(user, PendingRegistrationMixin),
        "code": code,
        "code_minutes": minutes,
    }


def _verification_templates(registration: Registration, request: Request | None, user: object) -> Templates:
    select = registration.settings.verification_templates_selector
    if select is None:
        return complete_templates(registration.settings.register_verification_email_templates)
    try:
        return complete_templates(parse_templates(select(request, user)))
    except ValueError as fault:
        raise ConfigurationError(f"What VERIFICATION_TEMPLATES_SELECTOR returned {fault}.") from None


def complete_templates(given: Templates | None, *, defaults: Templates = VERIFICATION_TEMPLATES) -> Templates:
    """Fill in the default templates.

    :param given: as :func:`parse_templates` gives them.
    :param defaults: what stands for what is not given.
    :returns: ``subject``, and ``body`` and/or ``html_body``: what is given of these replaces both defaults.
    """
    given = given or {}
    bodies = ("body", "html_body")
    chosen = {name: given[name] for name in bodies if name in given} or {name: defaults[name] for name in bodies}
    return {"subject": given.get("subject", defaults["subject"]), **chosen}
