"""The one definition of every setting."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from flask import Request
from marshmallow import Schema
from werkzeug.utils import import_string

from . import parsers

#: Flags that applications also use to lock people out.
LOCK_OUT_FIELDS = ("is_active", "active")

#: Where a model's verification flag is looked for, in this order.
FLAG_FIELDS = (
    *("email_verified_at", "verified_at", "confirmed_at", "email_confirmed_at", "confirmed_on"),
    *("email_verified", "is_verified", "verified", "email_confirmed", "is_confirmed", "confirmed", "activated"),
    *LOCK_OUT_FIELDS,
)

_HIDDEN_FIELDS = (
    *LOCK_OUT_FIELDS,
    *("is_admin", "is_staff", "is_superuser", "admin", "superuser"),
    *("role", "role_id", "roles", "permissions", "groups"),
    *("last_login", "last_login_at", "fs_uniquifier"),
    *(name for name in FLAG_FIELDS if name not in LOCK_OUT_FIELDS),
)

_PACKAGE = "flask_rest_registration"

#: The defaults of three settings, each the path of an object.
LINK_SENDER = f"{_PACKAGE}.send_register_verification_email_notification"
NOTICE_SENDER = f"{_PACKAGE}.send_existing_account_email_notification"
LOGIN_HANDLER = f"{_PACKAGE}.login.log_in_with_flask_login"

_Sender = Callable[[Request | None, object], object]
_ContextBuilder = Callable[[Request | None, object, dict[str, object]], Mapping[str, object]]


class OwnSender:
    """A sender that renders the package's templates."""


def is_ours(sender: object) -> bool:
    """Tell whether a sender renders the package's templates: it is one of the package, or wraps one."""
    return isinstance(inspect.unwrap(sender), OwnSender)  # type: ignore[arg-type]  # it takes any object


def is_default(value: object, path: str) -> bool:
    """Tell whether a setting's value is the object at the path of its default."""
    return value is import_string(path)


def _setting(
    parse: parsers.Parser, description: str, default: object = None, *, returns: tuple[type[Any], ...] = ()
) -> Any:
    """Define a setting; ``returns`` has the types that a hook may return, if anybody reads what it returns."""
    # Any: what dataclasses.field() is typed to return as well, whatever the annotation.
    return dataclasses.field(default=default, metadata={"parse": parse, "help": description, "returns": returns})


_switch = partial(_setting, parsers.switch)
_text = partial(_setting, parsers.text)
_names = partial(_setting, parsers.names)
_class = partial(_setting, parsers.class_or_path)
_function = partial(_setting, parsers.function_or_path)
_duration = partial(_setting, parsers.duration)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one app, every dotted path resolved; each attribute defines one setting."""

    url_prefix: str = _setting(parsers.url_prefix, "Where the blueprint is mounted.", "/api/v1/accounts")
    subdomain: str | None = _setting(
        parsers.subdomain, "The subdomain that the blueprint is mounted on; for apps with `subdomain_matching` only."
    )
    host: str | None = _setting(
        parsers.host,
        "The host that the blueprint is mounted on, with its port unless that is 80 or 443; for apps with"
        " `host_matching`, which need it, only.",
    )
    site_name: str | None = _text("What the mails call the site; by default the host of REGISTER_VERIFICATION_URL.")
    user_model: type[Any] | None = _class("The user model; by default the one class `User` of `db.Model`'s registry.")
    user_email_field: str = _text("The model's e-mail attribute; it must be unique in the database.", "email")
    user_password_field: str | None = _text(
        "The attribute that gets the password; by default the first found of `set_password()`, a `password` property,"
        " hybrid or synonym with a setter, the column `password_hash`, the column `password`. A column gets"
        " PASSWORD_HASHER's result, unless the model hashes what it is given."
    )
    user_hidden_fields: tuple[str, ...] = _names(
        "Never read nor shown, unless USER_EDITABLE_FIELDS or USER_PUBLIC_FIELDS lists it.", _HIDDEN_FIELDS
    )
    user_public_fields: tuple[str, ...] | None = _names(
        "What the profile serializer shows; by default the primary key and what registration reads."
    )
    user_editable_fields: tuple[str, ...] | None = _names(
        "What registration reads besides e-mail and password; by default the required text columns."
    )
    user_verification_id_field: str | None = _text("The attribute that the link carries; by default the primary key.")
    user_verification_flag_field: str | None = _text(
        "A Boolean, or a nullable DateTime that is set at the time of verification; by default the first that the"
        f" model has of {', '.join(FLAG_FIELDS)}."
    )
    register_flow_enabled: bool = _switch("Whether strangers can register.", True)
    register_serializer_class: type[Schema] = _class(
        "The marshmallow schema that reads a registration.", f"{_PACKAGE}.DefaultRegisterUserSerializer"
    )
    register_serializer_password_confirm: bool = _switch("Whether the default serializer has `password_confirm`.", True)
    register_output_serializer_class: type[Schema] = _class(
        "The marshmallow schema that shows a new account.", f"{_PACKAGE}.DefaultUserProfileSerializer"
    )
    register_verification_enabled: bool = _switch("Whether a new account has to prove its e-mail address.", True)
    register_verification_email_sender: _Sender = _function(
        "`sender(request, user)`, called before the COMMIT, sends or queues the finished mail; `request` may be None.",
        LINK_SENDER,
    )
    register_verification_period: timedelta = _duration(
        "How long a link lives: a timedelta or whole seconds.", timedelta(days=7)
    )
    register_verification_url: str | None = _setting(
        parsers.url,
        "The http or https page behind the link; required for the default senders.",
    )
    register_verification_one_time_use: bool = _switch(
        "Whether a link is refused while the account is verified; else using it again is harmless. With either, an"
        " application that clears the flag makes the account's links valid again until they expire.",
        False,
    )
    register_verification_email_templates: parsers.Templates | None = _setting(
        parsers.parse_templates,
        "Template names: `subject`, and `body` (or `text_body`) and/or `html_body`. A subject that is not given keeps"
        " its default; a body that is given replaces both defaults, which are"
        " `rest_registration/register/subject.txt`, `body.txt` and `body.html`.",
    )
    register_verification_auto_login: bool = _switch(
        "Whether the request that verifies an account logs in; needs Flask-Login or LOGIN_HANDLER.", False
    )
    pending_registration_model: type[Any] | None = _class(
        "The model of pending registrations, the addresses that a mail was sent to; REGISTER_EMAIL_FIRST and"
        " REGISTER_VERIFICATION_RESEND_ENABLED need it. By default the one subclass of `PendingRegistrationMixin`."
    )
    register_email_first: bool = _switch(
        "Whether `register/` takes the address alone, answers everybody alike and sends a mail; the account is made"
        " by `verify-registration/`, with password and fields, by whoever reads it.",
        False,
    )
    register_email_serializer_class: type[Schema] = _class(
        "The marshmallow schema of `register/` while REGISTER_EMAIL_FIRST is on; its field `email` is the address.",
        f"{_PACKAGE}.RegisterEmailSerializer",
    )
    register_verification_resend_enabled: bool = _switch(
        "Whether `resend-verification/` sends a new link for an account that is not verified yet.", False
    )
    register_verification_resend_cooldown: timedelta = _setting(
        parsers.cooldown,
        "The shortest time between two mails that a stranger can cause to one address: a timedelta or whole seconds."
        " It doubles with each mail in a row, to 12 hours at most.",
        timedelta(minutes=1),
    )
    register_verification_code_enabled: bool = _switch(
        "Whether the mail has a code too, to be typed where the sign-up began; needs REGISTER_EMAIL_FIRST.", False
    )
    register_verification_code_length: int = _setting(parsers.code_length, "How many digits a code has: 6 to 10.", 6)
    register_verification_code_period: timedelta = _duration(
        "How long a code lives: a timedelta or whole seconds, at most REGISTER_VERIFICATION_PERIOD.",
        timedelta(minutes=15),
    )
    register_existing_email_sender: _Sender = _function(
        "`sender(request, pending)` tells account holders that somebody signed up again; for REGISTER_EMAIL_FIRST.",
        NOTICE_SENDER,
    )
    register_existing_email_templates: parsers.Templates | None = _setting(
        parsers.parse_templates,
        "Template names of that notice, as in REGISTER_VERIFICATION_EMAIL_TEMPLATES; the defaults are"
        " `rest_registration/register/existing_subject.txt`, `existing_body.txt` and `existing_body.html`.",
    )
    login_handler: Callable[[Request, object], Mapping[str, object] | None] = _function(
        "`handler(request, user)` returning a dict that is merged into the answer (a token, say), or None; by"
        " default Flask-Login's `login_user`.",
        LOGIN_HANDLER,
        returns=(Mapping, type(None)),
    )
    verification_from_email: parsers.MailAddress | None = _setting(
        parsers.address, "The sender of the mail: text or (name, address); by default MAIL_DEFAULT_SENDER."
    )
    verification_reply_to_email: parsers.MailAddress | None = _setting(
        parsers.address, "Where answers to the mail go; by default the From address."
    )
    verification_email_timeout: timedelta = _setting(
        parsers.timeout,
        "The time for the whole delivery by the default sender, connecting included: a timedelta or whole seconds.",
        timedelta(seconds=10),
    )
    verification_url_builder: Callable[[Any], str] = _function(
        "`builder(signer) -> str`, from `signer.get_base_url()` and `signer.get_signed_data()`; by default a query"
        " string is appended.",
        f"{_PACKAGE}.signers.build_url",
        returns=(str,),
    )
    verification_template_context_builder: _ContextBuilder | None = _function(
        "`builder(request, user, context) -> dict`; the context has `user`, `user_address`, `site` (SITE_NAME),"
        " `verification_url`, `valid_until` (a time in UTC), `valid_for` (in words, such as 7 days), `email_first`,"
        " `code`, `code_minutes`, `translate`, `translate_number`, `language` and `direction`; the bodies' templates"
        " also get the `subject`.",
        returns=(Mapping,),
    )
    verification_templates_selector: Callable[[Request | None, object], Mapping[str, str]] | None = _function(
        "`selector(request, user) -> dict`: template names by language or brand; by default those of the setting.",
        returns=(Mapping,),
    )
    verification_locale_selector: Callable[[Request | None, object], str | None] | None = _function(
        "`selector(request, user) -> str | None`: the language of a mail, such as `user.locale`, where Flask-Babel is"
        " initialised; by default, and for None or what is no locale, that of the request.",
        returns=(str, type(None)),
    )
    verification_email_html_to_text_converter: Callable[[str], str] = _function(
        "`converter(html) -> str`, used when only an HTML template is given; the default keeps the links.",
        f"{_PACKAGE}.mail.html_to_text.html_to_text",
        returns=(str,),
    )
    password_hasher: Callable[[str], str | bytes] = _function(
        "`hasher(password) -> str` (or bytes, which become text where the column holds text), readable by the"
        " application's own log-in; by default werkzeug's scrypt at OWASP's minimum (N=2**15, r=8, p=3).",
        f"{_PACKAGE}.passwords.hash_password",
        returns=(str, bytes),
    )
    password_validators: tuple[Callable[[str, Mapping[str, object]], object], ...] = _setting(
        parsers.functions_or_paths,
        "Each `validator(password, user_data)` raising marshmallow's ValidationError; `user_data` has the other"
        " loaded fields. By default 8 to 256 characters and a zxcvbn score of at least 3.",
        (f"{_PACKAGE}.passwords.validate_length", f"{_PACKAGE}.passwords.validate_strength"),
        returns=(type(None),),
    )

    @property
    def sends_by_default(self) -> bool:
        """Whether verification mails are sent, and by the default sender."""
        return self.register_verification_enabled and is_default(self.register_verification_email_sender, LINK_SENDER)

    @property
    def renders_link(self) -> bool:
        """Whether verification mails are the package's own, as far as settings tell: other senders may ask for them."""
        return self.register_verification_enabled and (
            is_ours(self.register_verification_email_sender) or self.register_verification_url is not None
        )

    @property
    def renders_notice(self) -> bool:
        """Whether notices to account holders are the package's own, likewise."""
        return self.register_email_first and (
            is_ours(self.register_existing_email_sender) or self.register_verification_url is not None
        )

    @property
    def uses_flask_mail(self) -> bool:
        """Whether a sender of the package carries verification mails or notices."""
        return self.register_verification_enabled and (
            is_ours(self.register_verification_email_sender)
            or (self.register_email_first and is_ours(self.register_existing_email_sender))
        )

    @property
    def logs_in_by_default(self) -> bool:
        """Whether the log-in after a verification is Flask-Login's."""
        return is_default(self.login_handler, LOGIN_HANDLER)

    @property
    def uses_pending_registrations(self) -> bool:
        """Whether anything that is switched on needs the table of pending registrations."""
        return self.register_email_first or self.register_verification_resend_enabled


#: Each setting by its name in capitals.
DEFINITIONS = {field.name.upper(): field for field in dataclasses.fields(Settings)}


class SettingDescription(NamedTuple):
    """One setting for a reader; the default is None where there is none or where it is looked for in the app."""

    name: str
    default: object
    help: str


def describe_settings() -> list[SettingDescription]:
    """Describe every setting, in the order of their definition."""
    return [SettingDescription(name, each.default, each.metadata["help"]) for name, each in DEFINITIONS.items()]
