"""The one definition of every setting."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

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

#: The defaults of four settings, each the path of an object.
LINK_SENDER = f"{_PACKAGE}.send_register_verification_email_notification"
NOTICE_SENDER = f"{_PACKAGE}.send_existing_account_email_notification"
LOGIN_HANDLER = f"{_PACKAGE}.login.log_in_with_flask_login"
URL_BUILDER = f"{_PACKAGE}.signers.build_url"

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
    parse: parsers.Parser,
    description: str,
    default: object = None,
    *,
    otherwise: str = "",
    returns: tuple[type[Any], ...] = (),
) -> Any:
    """Define a setting.

    :param description: what it is, for readers; the first sentence stands alone in a table.
    :param otherwise: what readers are told of the default, if its value alone does not say it.
    :param returns: the types that a hook may return, if anybody reads what it returns.
    """
    # Any: what dataclasses.field() is typed to return as well, whatever the annotation.
    return dataclasses.field(
        default=default,
        metadata={"parse": parse, "help": description, "otherwise": otherwise, "returns": returns},
    )


_switch = partial(_setting, parsers.switch)
_text = partial(_setting, parsers.text)
_names = partial(_setting, parsers.names)
_class = partial(_setting, parsers.class_or_path)
_function = partial(_setting, parsers.function_or_path)
_duration = partial(_setting, parsers.duration)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one app, every dotted path resolved; each attribute defines one setting."""

    url_prefix: str = _setting(parsers.url_prefix, "The path that the endpoints stand under.", "/api/v1/accounts")
    subdomain: str | None = _setting(
        parsers.subdomain,
        "The subdomain of the endpoints, with `subdomain_matching` only.",
    )
    host: str | None = _setting(
        parsers.host,
        "The host and port of the endpoints, with `host_matching` only.",
    )

    user_model: type[Any] | None = _class("The model of your users.", otherwise="the one class `User` below `db.Model`")
    user_email_field: str = _text("The attribute with the e-mail address, which the database keeps unique.", "email")
    user_password_field: str | None = _text(
        "The attribute that gets the password. By default it is the first of these: the method"
        " `set_password()`; a `password` property, hybrid or synonym with a setter; the column `password_hash`; the"
        " column `password`. A column gets the hash of PASSWORD_HASHER, unless the model hashes itself.",
        otherwise="found in the model",
    )
    user_hidden_fields: tuple[str, ...] = _names(
        "Attributes that are never read nor shown. The exceptions are those that you name in USER_EDITABLE_FIELDS or"
        " USER_PUBLIC_FIELDS.",
        _HIDDEN_FIELDS,
    )
    user_public_fields: tuple[str, ...] | None = _names(
        "Attributes that the default output serializer shows.",
        otherwise="the primary key and what registration reads",
    )
    user_editable_fields: tuple[str, ...] | None = _names(
        "Attributes that are read besides e-mail address and password.",
        otherwise="the required text columns",
    )
    user_verification_id_field: str | None = _text(
        "The attribute whose value the link carries.", otherwise="the primary key"
    )
    user_verification_flag_field: str | None = _text(
        "The attribute that says whether the address is verified. It is a Boolean, or a nullable DateTime for the time"
        " of verification. By default it is the first that the model has of these:"
        f" {', '.join(f'`{name}`' for name in FLAG_FIELDS)}.",
        otherwise="found in the model",
    )

    register_flow_enabled: bool = _switch("Whether strangers can register.", True)
    register_serializer_class: type[Schema] = _class(
        "The marshmallow schema that reads a registration.", f"{_PACKAGE}.DefaultRegisterUserSerializer"
    )
    register_serializer_password_confirm: bool = _switch(
        "Whether the default serializer asks for `password_confirm`.", True
    )
    register_output_serializer_class: type[Schema] = _class(
        "The marshmallow schema that shows a new account.", f"{_PACKAGE}.DefaultUserProfileSerializer"
    )

    register_verification_enabled: bool = _switch("Whether new accounts have to prove their e-mail address.", True)
    register_verification_url: str | None = _setting(
        parsers.url, "Your page that the link opens, which the default senders need."
    )
    register_verification_period: timedelta = _duration("How long a link works.", timedelta(days=7))
    register_verification_one_time_use: bool = _switch(
        "Whether a link is refused once its account is verified. If not, using it again changes nothing. Either way,"
        " links work again if your application clears the flag.",
        False,
    )
    verification_url_builder: Callable[[Any], str] = _function(
        "The function that makes the link. `builder(signer) -> str` calls `signer.get_base_url()` and"
        " `signer.get_signed_data()`.",
        URL_BUILDER,
        otherwise="REGISTER_VERIFICATION_URL with a query string",
        returns=(str,),
    )

    site_name: str | None = _text("What the mails call your site.", otherwise="the host of REGISTER_VERIFICATION_URL")
    register_verification_email_sender: _Sender = _function(
        "The function that sends or queues the verification mail. `sender(request, user)` is called before the"
        " COMMIT: queue the finished mail, not the account's key. `request` may be None.",
        LINK_SENDER,
        otherwise="sends it to Flask-Mail's server",
    )
    register_verification_email_templates: parsers.Templates | None = _setting(
        parsers.parse_templates,
        "The templates of the verification mail, by name. The keys are `subject`, `body` (or `text_body`) and"
        " `html_body`. What is not given keeps its default, but one body replaces both.",
        otherwise="`subject.txt`, `body.txt`, `body.html` in `rest_registration/register`",
    )
    verification_from_email: parsers.MailAddress | None = _setting(
        parsers.address, "The address that mails come from.", otherwise="MAIL_DEFAULT_SENDER"
    )
    verification_reply_to_email: parsers.MailAddress | None = _setting(
        parsers.address, "The address that replies go to.", otherwise="the address that mails come from"
    )
    verification_email_timeout: timedelta = _setting(
        parsers.timeout,
        "The longest time for one delivery, connecting included.",
        timedelta(seconds=10),
    )
    verification_template_context_builder: _ContextBuilder | None = _function(
        "The function that gives templates their variables. `builder(request, user, context) -> dict` returns all of"
        " these. `context` has `user`, `user_address`, `site` (SITE_NAME), `verification_url`, `valid_until` (in UTC),"
        " `valid_for` (in words, such as 7 days), `email_first`, `code`, `code_minutes`, `translate`,"
        " `translate_number`, `language` and `direction`. Bodies also get the `subject`.",
        otherwise="the `context` as it is",
        returns=(Mapping,),
    )
    verification_templates_selector: Callable[[Request | None, object], Mapping[str, str]] | None = _function(
        "Chooses templates, such as by brand: `selector(request, user) -> dict`.",
        otherwise="REGISTER_VERIFICATION_EMAIL_TEMPLATES",
        returns=(Mapping,),
    )
    verification_locale_selector: Callable[[Request | None, object], str | None] | None = _function(
        "The function that chooses the language of a mail. `selector(request, user) -> str | None` may return"
        " `user.locale`. None, or what is no locale, means the language of the request. It needs Flask-Babel.",
        otherwise="the language of the request",
        returns=(str, type(None)),
    )
    verification_email_html_to_text_converter: Callable[[str], str] = _function(
        "Makes the text of a mail that has only HTML: `converter(html) -> str`.",
        f"{_PACKAGE}.mail.html_to_text.html_to_text",
        otherwise="drops the tags and keeps the links",
        returns=(str,),
    )

    register_email_first: bool = _switch("Whether an account is made only when its address is proven.", False)
    register_email_serializer_class: type[Schema] = _class(
        "The schema whose `email` is the address, with REGISTER_EMAIL_FIRST.",
        f"{_PACKAGE}.RegisterEmailSerializer",
    )
    register_verification_code_enabled: bool = _switch(
        "Whether the mail has a code beside the link, with REGISTER_EMAIL_FIRST.", False
    )
    register_verification_code_length: int = _setting(parsers.code_length, "How many digits a code has: 6 to 10.", 6)
    register_verification_code_period: timedelta = _duration(
        "How long a code works: REGISTER_VERIFICATION_PERIOD at most.", timedelta(minutes=15)
    )
    register_existing_email_sender: _Sender = _function(
        "Tells account holders of another sign-up: `sender(request, pending)`.",
        NOTICE_SENDER,
        otherwise="sends a notice to Flask-Mail's server",
    )
    register_existing_email_templates: parsers.Templates | None = _setting(
        parsers.parse_templates,
        "The notice's templates, keyed like REGISTER_VERIFICATION_EMAIL_TEMPLATES.",
        otherwise="`existing_subject.txt`, `existing_body.txt`, `existing_body.html` in `rest_registration/register`",
    )
    register_verification_resend_enabled: bool = _switch(
        "Whether unverified accounts get a new link by `resend-verification/`.", False
    )
    register_verification_resend_cooldown: timedelta = _setting(
        parsers.cooldown,
        "The time between two mails to one address, doubled with each mail.",
        timedelta(minutes=1),
    )
    pending_registration_model: type[Any] | None = _class(
        "The model of pending registrations, for e-mail first and resend.",
        otherwise="the one subclass of `PendingRegistrationMixin`",
    )

    password_hasher: Callable[[str], str | bytes] = _function(
        "The function that hashes passwords. `hasher(password) -> str` may also return bytes, which become text for a"
        " column of text. Your log-in must be able to check the hash.",
        f"{_PACKAGE}.passwords.hash_password",
        otherwise="werkzeug's scrypt at OWASP's minimum (N=2**15, r=8, p=3)",
        returns=(str, bytes),
    )
    password_validators: tuple[Callable[[str, Mapping[str, object]], object], ...] = _setting(
        parsers.functions_or_paths,
        "The functions that refuse weak passwords. `validator(password, user_data)` raises marshmallow's"
        " ValidationError. `user_data` has the other fields.",
        (f"{_PACKAGE}.passwords.validate_length", f"{_PACKAGE}.passwords.validate_strength"),
        otherwise="8 to 256 characters, a zxcvbn score of at least 3",
        returns=(type(None),),
    )

    register_verification_auto_login: bool = _switch(
        "Whether verifying logs in too, by Flask-Login or LOGIN_HANDLER.", False
    )
    login_handler: Callable[[Request, object], Mapping[str, object] | None] = _function(
        "The function that logs in after a verification. `handler(request, user)` returns None, or a dict that goes"
        " into the answer, such as a token.",
        LOGIN_HANDLER,
        otherwise="Flask-Login's `login_user`",
        returns=(Mapping, type(None)),
    )

    @property
    def sends_by_default(self) -> bool:
        """Whether verification mails are sent, and by the default sender."""
        return self.register_verification_enabled and is_default(self.register_verification_email_sender, LINK_SENDER)

    @property
    def renders_link(self) -> bool:
        """Whether verification mails are the package's own, as far as settings tell: other senders may ask for them."""
        needs_no_url = self.site_name is not None and not is_default(self.verification_url_builder, URL_BUILDER)
        return self.register_verification_enabled and (
            is_ours(self.register_verification_email_sender)
            or self.register_verification_url is not None
            or needs_no_url
        )

    @property
    def renders_notice(self) -> bool:
        """Whether notices to account holders are the package's own, likewise."""
        return self.register_email_first and (
            is_ours(self.register_existing_email_sender)
            or self.register_verification_url is not None
            or self.site_name is not None
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

#: The titles of the groups in which settings are shown, by the setting that each begins with.
_GROUPS = {
    "URL_PREFIX": "Where it is mounted",
    "USER_MODEL": "Your table and its columns",
    "REGISTER_FLOW_ENABLED": "Signing up",
    "REGISTER_VERIFICATION_ENABLED": "Verification",
    "SITE_NAME": "Mail",
    "REGISTER_EMAIL_FIRST": "E-mail first and resend",
    "PASSWORD_HASHER": "Passwords",
    "REGISTER_VERIFICATION_AUTO_LOGIN": "Log-in",
}


@dataclasses.dataclass(frozen=True)
class SettingDescription:
    """One setting for a reader.

    :param name: its name.
    :param group: the title of its group.
    :param type: what it takes, in one word.
    :param default: its default, which is None where there is none or where it is looked for in the app.
    :param otherwise: what to tell of the default, if its value alone does not say it.
    :param help: what it is, in sentences of which the first stands alone.
    """

    name: str
    group: str
    type: str
    default: object
    otherwise: str
    help: str

    @property
    def summary(self) -> str:
        """The first sentence of the help, without its full stop."""
        return self.help.partition(". ")[0].removesuffix(".")

    @property
    def details(self) -> str:
        """The sentences of the help after the first."""
        return self.help.partition(". ")[2]


def describe_settings() -> list[SettingDescription]:
    """Describe every setting, in the order of their definition."""
    described, group = [], ""
    for name, each in DEFINITIONS.items():
        group, data = _GROUPS.get(name, group), each.metadata
        kind = parsers.TYPES[data["parse"]]
        described.append(SettingDescription(name, group, kind, each.default, data["otherwise"], data["help"]))
    return described
