"""The one definition of every setting, and how settings are read and checked."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from email.utils import getaddresses
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from flask import Request
from marshmallow import Schema
from werkzeug.utils import import_string

from ..exceptions import ConfigurationError
from .contradictions import CONFIG_KEY, PENDING_SWITCHES, contradictions, gone

#: Where a model's verification flag is looked for, in this order.
FLAG_FIELDS = (
    "email_verified_at",
    "verified_at",
    "confirmed_at",
    "email_verified",
    "is_verified",
    "confirmed",
    "is_active",
    "active",
)

#: Flags that applications also use to lock people out.
LOCK_OUT_FIELDS = ("is_active", "active")

_HIDDEN_FIELDS = (
    "is_active",
    "active",
    "is_admin",
    "is_staff",
    "is_superuser",
    "admin",
    "superuser",
    "role",
    "role_id",
    "roles",
    "permissions",
    "groups",
    "last_login",
    "last_login_at",
    "fs_uniquifier",
)

_PACKAGE = "flask_rest_registration"
_DEFAULT_SENDER = "flask_rest_registration.mail.delivery.send_register_verification_email_notification"
_DEFAULT_LOGIN = "flask_rest_registration.login.log_in_with_flask_login"
_DEFAULT_NOTICE_SENDER = "flask_rest_registration.mail.delivery.send_existing_account_email_notification"

_LONGEST_DURATION = timedelta(days=100 * 365)  # far from where dates cannot be computed any more
_LONGEST_TIMEOUT = timedelta(days=1)  # sockets take 24 days

#: The longest time between two messages to one address, however many were sent in a row.
LONGEST_COOLDOWN = timedelta(hours=12)

_ONE_ADDRESS = re.compile(r"[^\s,;<>\"@]+@[^\s,;<>\"@]+")

#: Settings of others that keys and log-ins stand in.
SECRETS = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "MAIL_USERNAME", "MAIL_PASSWORD")
_NEIGHBOURS = (
    *SECRETS,
    "MAIL_SERVER",
    "MAIL_PORT",
    "MAIL_USE_TLS",
    "MAIL_USE_SSL",
    "MAIL_DEFAULT_SENDER",
    "MAIL_SUPPRESS_SEND",
)

MailAddress = str | tuple[str, str]
Templates = Mapping[str, str]


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    fix = ""
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        fix = f": write {value.lower()} in the environment, which is read as JSON, or {value.title()} in Python"
    raise ValueError(f"must be True or False, not {_shown(value)}{fix}")


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise ValueError(f"must be a text that is not empty, not {_shown(value)}")


def _url_prefix(value: object) -> str:
    if isinstance(value, str) and (not value or value.startswith("/")) and not {"<", ">"} & set(value):
        return value.rstrip("/")
    raise ValueError(
        f"must be a path that starts with a slash and has no variables, such as '/api/v1/accounts', not {_shown(value)}"
    )


def _url(value: object) -> str:
    if isinstance(value, str) and not re.search(r"[\x00-\x20\x7f]", value):
        try:
            parts = urlsplit(value)
            if parts.scheme in {"http", "https"} and parts.hostname:
                return value
        except ValueError:  # such as a bracket without its twin
            pass
    raise ValueError(
        f"must be an absolute http or https URL, such as 'https://example.com/verify/', not {_shown(value)}"
    )


def _duration(value: object, *, longest: timedelta = _LONGEST_DURATION) -> timedelta:
    duration = value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= longest.total_seconds():
        duration = timedelta(seconds=value)
    if isinstance(duration, timedelta) and timedelta(0) < duration <= longest:
        return duration
    raise ValueError(f"must be a positive timedelta or whole seconds, at most {longest.days} days, not {_shown(value)}")


def _timeout(value: object) -> timedelta:
    return _duration(value, longest=_LONGEST_TIMEOUT)


def _cooldown(value: object) -> timedelta:
    cooldown = _duration(value)
    if cooldown <= LONGEST_COOLDOWN:
        return cooldown
    raise ValueError(f"must be at most 12 hours, since it doubles with each message up to that, not {_shown(value)}")


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError(f"must be a list of attribute names, not {_shown(value)}")


def _address(value: object) -> MailAddress:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(part, str) for part in value):
        name, address = value
        if _ONE_ADDRESS.fullmatch(address):
            return name, address
    if isinstance(value, str) and [bool(_ONE_ADDRESS.fullmatch(each)) for _, each in getaddresses([value])] == [True]:
        return value
    raise ValueError(f"must be one e-mail address or a pair (name, address), not {_shown(value)}")


def _code_length(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 6 <= value <= 10:
        return value
    raise ValueError(f"must be a whole number from 6 to 10, not {_shown(value)}")


def _dotted_path(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split(".")) and "." in value


def _class(value: object) -> object:
    if inspect.isclass(value) or _dotted_path(value):
        return value
    raise ValueError(f"must be a class or its dotted path, such as 'shop.models.User', not {_shown(value)}")


def _function(value: object) -> object:
    if callable(value) or _dotted_path(value):
        return value
    raise ValueError(f"must be a function or its dotted path, such as 'shop.mail.send', not {_shown(value)}")


def _functions(value: object) -> tuple[object, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(_function(item) for item in value)
    raise ValueError(f"must be a list of functions or their dotted paths, not {_shown(value)}")


def _templates(value: object) -> Templates:
    known = ("subject", "body", "text_body", "html_body")
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a dict with the keys {', '.join(known)}, not {_shown(value)}")
    for key, name in value.items():
        if key not in known:
            raise ValueError(f"has the unknown key {key!r}: known are {', '.join(known)}")
        if not isinstance(name, str) or not name:
            raise ValueError(f"needs the name of a template at {key!r}, not {_shown(name)}")
    if "body" in value and "text_body" in value:
        raise ValueError("has both 'body' and 'text_body', which are the same: remove one")
    return dict(value)


def parse_templates(value: object) -> Templates:
    """Check a dict of template names, as the setting and VERIFICATION_TEMPLATES_SELECTOR give it.

    :param value: the keys ``subject``, and ``body`` (or ``text_body``) and/or ``html_body``.
    :returns: the same names; ``text_body`` stands under ``body``.
    :raises ValueError: naming what is wrong with it.
    """
    return {("body" if key == "text_body" else key): name for key, name in _templates(value).items()}


def _setting(default: object, parse: Callable[[object], object], description: str) -> Any:
    # Any: what dataclasses.field() is typed to return as well, whatever the annotation.
    metadata = {"parse": parse, "help": description}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one app, every dotted path resolved.

    Each attribute defines one setting: its name in capitals, default, check and help.
    """

    url_prefix: str = _setting("/api/v1/accounts", _url_prefix, "Where the blueprint is mounted.")
    user_model: type[Any] | None = _setting(
        None, _class, "The user model; by default the one class `User` of `db.Model`'s registry."
    )
    user_email_field: str = _setting(
        "email", _text, "The model's attribute that mail goes to; it must be unique in the database."
    )
    user_password_field: str | None = _setting(
        None,
        _text,
        "The column that gets PASSWORD_HASHER's result; by default found in this order: the model's"
        " `set_password()`, a `password` property or hybrid with a setter, the column `password_hash`, the column"
        " `password`.",
    )
    user_hidden_fields: tuple[str, ...] = _setting(
        tuple(dict.fromkeys(_HIDDEN_FIELDS + FLAG_FIELDS)),
        _names,
        "Never read from a stranger nor shown, unless USER_EDITABLE_FIELDS or USER_PUBLIC_FIELDS lists it.",
    )
    user_public_fields: tuple[str, ...] | None = _setting(
        None,
        _names,
        "What the profile serializer shows; by default the primary key and what registration reads.",
    )
    user_editable_fields: tuple[str, ...] | None = _setting(
        None,
        _names,
        "What registration reads besides e-mail and password; by default the text columns that a row cannot be"
        " made without.",
    )
    user_verification_id_field: str | None = _setting(
        None, _text, "The attribute whose value is put in the link; by default the primary key."
    )
    user_verification_flag_field: str | None = _setting(
        None,
        _text,
        "A Boolean, or a nullable DateTime that is set at the time of verification; by default the first that the"
        f" model has of {', '.join(FLAG_FIELDS)}.",
    )
    register_flow_enabled: bool = _setting(True, _switch, "Whether strangers can register.")
    register_serializer_class: type[Schema] = _setting(
        "flask_rest_registration.DefaultRegisterUserSerializer",
        _class,
        "The marshmallow schema that reads a registration.",
    )
    register_serializer_password_confirm: bool = _setting(
        True, _switch, "Whether the default serializer asks for `password_confirm`."
    )
    register_output_serializer_class: type[Schema] = _setting(
        "flask_rest_registration.DefaultUserProfileSerializer",
        _class,
        "The marshmallow schema that shows a new account.",
    )
    register_verification_enabled: bool = _setting(
        True, _switch, "Whether a new account has to prove its e-mail address."
    )
    register_verification_email_sender: Callable[[Request | None, object], object] = _setting(
        _DEFAULT_SENDER,
        _function,
        "`sender(request, user)`, called before the COMMIT: it sends or queues the finished message, never the id;"
        " `request` may be None when a script calls it.",
    )
    register_verification_period: timedelta = _setting(
        timedelta(days=7), _duration, "How long a link lives: a timedelta or whole seconds."
    )
    register_verification_url: str | None = _setting(
        None,
        _url,
        "The page of the front-end that the link leads to, http or https; required while verification is on with"
        " the default sender.",
    )
    register_verification_one_time_use: bool = _setting(
        False, _switch, "Whether a link that has verified an account is refused from then on."
    )
    register_verification_email_templates: Templates | None = _setting(
        None,
        parse_templates,
        "Template names: `subject`, and `body` (or `text_body`) and/or `html_body`; a subject that is not given"
        " keeps its default, and what is given of the bodies replaces both defaults, which are"
        " `rest_registration/register/subject.txt`, `body.txt` and `body.html`.",
    )
    register_verification_auto_login: bool = _setting(
        False,
        _switch,
        "Whether the request that verifies an account logs in; needs Flask-Login or LOGIN_HANDLER.",
    )
    pending_registration_model: type[Any] | None = _setting(
        None,
        _class,
        "The model of pending registrations: the addresses that a message was sent to. REGISTER_EMAIL_FIRST and"
        " REGISTER_VERIFICATION_RESEND_ENABLED need it; by default the one subclass of `PendingRegistrationMixin` in"
        " `db.Model`'s registry.",
    )
    register_email_first: bool = _setting(
        False,
        _switch,
        "Whether `register/` takes the address alone, answers everybody alike and sends a message; the account is made"
        " by `verify-registration/`, with password and fields, by whoever reads it.",
    )
    register_email_serializer_class: type[Schema] = _setting(
        "flask_rest_registration.RegisterEmailSerializer",
        _class,
        "The marshmallow schema that reads `register/` while REGISTER_EMAIL_FIRST is on; its field `email` is the"
        " address.",
    )
    register_verification_resend_enabled: bool = _setting(
        False,
        _switch,
        "Whether `resend-verification/` sends the link again for an account that was made at sign-up and waits for its"
        " verification.",
    )
    register_verification_resend_cooldown: timedelta = _setting(
        timedelta(minutes=1),
        _cooldown,
        "The shortest time between two messages that a stranger can cause to one address: a timedelta or whole seconds."
        " It doubles with each message in a row, to 12 hours at most.",
    )
    register_verification_code_enabled: bool = _setting(
        False,
        _switch,
        "Whether the message has a short code beside the link, to be typed where the sign-up began; needs"
        " REGISTER_EMAIL_FIRST.",
    )
    register_verification_code_length: int = _setting(6, _code_length, "How many digits a code has: 6 to 10.")
    register_verification_code_period: timedelta = _setting(
        timedelta(minutes=15),
        _duration,
        "How long a code lives: a timedelta or whole seconds, at most REGISTER_VERIFICATION_PERIOD.",
    )
    register_existing_email_sender: Callable[[Request | None, object], object] = _setting(
        _DEFAULT_NOTICE_SENDER,
        _function,
        "`sender(request, pending)`: tells the owner of an account that somebody signed up with its address, while"
        " REGISTER_EMAIL_FIRST is on.",
    )
    register_existing_email_templates: Templates | None = _setting(
        None,
        parse_templates,
        "Template names of that notice, as REGISTER_VERIFICATION_EMAIL_TEMPLATES has them; the defaults are"
        " `rest_registration/register/existing_subject.txt`, `existing_body.txt` and `existing_body.html`.",
    )
    login_handler: Callable[[Request, object], Mapping[str, object] | None] = _setting(
        _DEFAULT_LOGIN,
        _function,
        "`handler(request, user)` returning a dict that is merged into the answer (a token, say), or None; by"
        " default Flask-Login's `login_user`.",
    )
    verification_from_email: MailAddress | None = _setting(
        None, _address, "The sender of the mail: text or (name, address); by default MAIL_DEFAULT_SENDER."
    )
    verification_reply_to_email: MailAddress | None = _setting(
        None, _address, "Where answers to the mail go; by default the From address."
    )
    verification_email_timeout: timedelta = _setting(
        timedelta(seconds=10),
        _timeout,
        "The time for the whole delivery by the default sender, connecting included: a timedelta or whole seconds.",
    )
    verification_url_builder: Callable[[Any], str] = _setting(
        "flask_rest_registration.signers.build_url",
        _function,
        "`builder(signer) -> str`, from `signer.get_base_url()` and `signer.get_signed_data()`; by default a query"
        " string is appended.",
    )
    verification_template_context_builder: (
        Callable[[Request | None, object, dict[str, object]], Mapping[str, object]] | None
    ) = _setting(
        None,
        _function,
        "`builder(request, user, context) -> dict`; the context has `user`, `user_address`, `site` (the host of"
        " REGISTER_VERIFICATION_URL), `verification_url`, `valid_until`, `email_first`, `code`, `code_minutes`,"
        " `translate`, `translate_number`, `language` and `direction`, and the bodies' templates get the `subject`"
        " besides.",
    )
    verification_templates_selector: Callable[[Request | None, object], Mapping[str, str]] | None = _setting(
        None,
        _function,
        "`selector(request, user) -> dict`: the templates by language or brand; by default"
        " REGISTER_VERIFICATION_EMAIL_TEMPLATES.",
    )
    verification_locale_selector: Callable[[Request | None, object], str | None] | None = _setting(
        None,
        _function,
        "`selector(request, user) -> str | None`: the language of a mail, such as `user.locale`, where Flask-Babel is"
        " initialised; by default, and for None or what is no locale, that of the request.",
    )
    verification_email_html_to_text_converter: Callable[[str], str] = _setting(
        "flask_rest_registration.mail.html_to_text.html_to_text",
        _function,
        "`converter(html) -> str`, used when only an HTML template is given; the default keeps the links.",
    )
    password_hasher: Callable[[str], str] = _setting(
        "flask_rest_registration.passwords.hash_password",
        _function,
        "`hasher(password) -> str`, readable by the application's own log-in; by default werkzeug's scrypt at"
        " OWASP's minimum (N=2**15, r=8, p=3).",
    )
    password_validators: tuple[Callable[[str, Mapping[str, object]], object], ...] = _setting(
        (
            "flask_rest_registration.passwords.validate_length",
            "flask_rest_registration.passwords.validate_strength",
        ),
        _functions,
        "Each `validator(password, user_data)` raising marshmallow's ValidationError; `user_data` has the other"
        " loaded fields. By default 8 to 256 characters and a zxcvbn score of at least 3.",
    )

    @cached_property
    def sends_by_default(self) -> bool:
        """Whether verification mails are sent, and by the default sender."""
        return self.register_verification_enabled and _is_default(
            self.register_verification_email_sender, _DEFAULT_SENDER
        )

    @cached_property
    def notifies_by_default(self) -> bool:
        """Whether notices to the owners of accounts are sent, and by the default sender."""
        return self.register_email_first and _is_default(self.register_existing_email_sender, _DEFAULT_NOTICE_SENDER)

    @property
    def renders_link(self) -> bool:
        """Whether verification mails are the package's own, whoever carries them."""
        return self.register_verification_enabled and _is_ours(self.register_verification_email_sender)

    @property
    def renders_notice(self) -> bool:
        """Whether notices to the owners of accounts are the package's own, whoever carries them."""
        return self.register_email_first and _is_ours(self.register_existing_email_sender)

    @property
    def logs_in_by_default(self) -> bool:
        """Whether the log-in after a verification is Flask-Login's."""
        return _is_default(self.login_handler, _DEFAULT_LOGIN)

    @property
    def uses_pending_registrations(self) -> bool:
        """Whether anything that is switched on needs the table of pending registrations."""
        return self.register_email_first or self.register_verification_resend_enabled


_DEFINITIONS = {field.name.upper(): field for field in dataclasses.fields(Settings)}


@dataclasses.dataclass(frozen=True)
class SettingDescription:
    """What people have to know of one setting.

    :param name: its name in capitals.
    :param default: its default, None where there is none or where it is found by looking.
    :param help: what it does.
    """

    name: str
    default: object
    help: str


def describe_settings() -> list[SettingDescription]:
    """Describe every setting, for the documentation and the command line.

    :returns: the settings in the order of their definition.
    """
    return [
        SettingDescription(name, definition.default, definition.metadata["help"])
        for name, definition in _DEFINITIONS.items()
    ]


def read_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Read and check the settings of an app; dotted paths stay text.

    :param config: ``app.config``; never written to.
    :returns: every setting by name, defaults filled in.
    :raises ConfigurationError: naming all faults at once.
    """
    given, faults = _given(config)
    values = {name: field.default for name, field in _DEFINITIONS.items()}
    for name, value in given.items():
        try:
            values[name] = _DEFINITIONS[name].metadata["parse"](value)
        except ValueError as fault:
            faults.append(f"{CONFIG_KEY} setting {name} {fault}.")
    faults += contradictions(
        values,
        given,
        renders_link=_is_ours(values["REGISTER_VERIFICATION_EMAIL_SENDER"]),
        renders_notice=_is_ours(values["REGISTER_EXISTING_EMAIL_SENDER"]),
        own_link_sender=not _is_default(values["REGISTER_VERIFICATION_EMAIL_SENDER"], _DEFAULT_SENDER),
        own_notice_sender=not _is_default(values["REGISTER_EXISTING_EMAIL_SENDER"], _DEFAULT_NOTICE_SENDER),
        logs_in_by_default=_is_default(values["LOGIN_HANDLER"], _DEFAULT_LOGIN),
    )
    if faults:
        raise ConfigurationError(*faults)
    return values


def _given(config: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Return what the developer wrote, flat keys over the dict, and the faults of its form."""
    prefix = f"{CONFIG_KEY}_"
    written = config.get(CONFIG_KEY)
    nested = written if isinstance(written, Mapping) else {}
    faults = []
    if nested is not written and written is not None:
        faults.append(f"{CONFIG_KEY} must be a dict of settings, not {_shown(written)}.")
    given: dict[str, object] = {}
    for source in (nested, {key[len(prefix) :]: value for key, value in config.items() if key.startswith(prefix)}):
        for name, value in source.items():
            if name not in _DEFINITIONS:
                faults.append(gone(str(name)) or _unknown_name(str(name)))
            elif value is not None:
                given[name] = value
    return given, faults


def setting_origins(config: Mapping[str, Any]) -> dict[str, str]:
    """Say where the value of each setting comes from.

    :param config: ``app.config``, as :func:`read_settings` has accepted it.
    :returns: by name ``default``, the key of the dict of settings, or the flat key that overrides it.
    """
    nested = config.get(CONFIG_KEY) or {}
    origins = {}
    for name in _DEFINITIONS:
        flat = f"{CONFIG_KEY}_{name}"
        given_in_dict = CONFIG_KEY if nested.get(name) is not None else "default"
        origins[name] = flat if config.get(flat) is not None else given_in_dict
    return origins


def neighbour_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Return what is set of Flask's and Flask-Mail's settings that registration works with.

    :param config: ``app.config``.
    :returns: values by name; those of ``SECRETS`` are not for showing.
    """
    return {name: config[name] for name in _NEIGHBOURS if config.get(name) is not None}


def _unknown_name(name: str) -> str:
    nearest = difflib.get_close_matches(name.upper(), _DEFINITIONS, n=1, cutoff=0.5)
    offer = f" Did you mean {nearest[0]}?" if nearest else " Correct or remove it."
    return f"{CONFIG_KEY} has no setting {name}.{offer}"


def _is_default(sender: object, path: str) -> bool:
    if isinstance(sender, str):  # the package's own module, or the package, which has the public names
        return sender in {path, f"{_PACKAGE}.{path.rpartition('.')[2]}"}
    return sender is import_string(path)  # a wrapper has the name of what it wraps


def _is_ours(sender: object) -> bool:
    """Tell whether a sender is one of the package, which all render its templates."""
    module = sender if isinstance(sender, str) else str(getattr(sender, "__module__", ""))
    return module.partition(".")[0] == _PACKAGE


def resolve_settings(values: Mapping[str, object]) -> Settings:
    """Import what the settings name by dotted path.

    :param values: as :func:`read_settings` gives them.
    :returns: the settings with every class and function in its place.
    :raises ConfigurationError: naming all paths that lead nowhere.
    """
    resolved: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in values.items():
        parse = _DEFINITIONS[name].metadata["parse"]
        try:
            if name == "PENDING_REGISTRATION_MODEL" and not any(values[switch] for switch in PENDING_SWITCHES):
                pass  # nothing of pending registrations is imported unless something needs it
            elif parse in {_class, _function}:
                value = _imported(value, parse)
            elif parse is _functions and isinstance(value, Sequence):
                value = tuple(_imported(item, _function) for item in value)
        except ValueError as fault:
            faults.append(f"{CONFIG_KEY} setting {name} {fault}.")
        resolved[name.lower()] = value
    faults += _not_schemas(resolved)
    if faults:
        raise ConfigurationError(*faults)
    return Settings(**resolved)


def _imported(value: object, parse: Callable[[object], object]) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = import_string(value)
    except ImportError as error:
        reason = getattr(error, "exception", error)  # werkzeug's own text is a list of guesses over several lines
        raise ValueError(
            f"is {value!r}, which cannot be imported ({reason}): correct the path, or give the class or function itself"
        ) from None
    if isinstance(found, str):
        raise ValueError(f"is {value!r}, which leads to a text: give the path of a class or function")
    try:
        return parse(found)
    except ValueError as fault:
        raise ValueError(f"is {value!r}, but {fault}") from None


def _not_schemas(resolved: Mapping[str, object]) -> list[str]:
    names = ("register_serializer_class", "register_output_serializer_class", "register_email_serializer_class")
    return [
        f"{CONFIG_KEY} setting {name.upper()} must be a subclass of marshmallow.Schema, not {_shown(resolved[name])}."
        for name in names
        if not isinstance(resolved[name], str)
        and not (inspect.isclass(value := resolved[name]) and issubclass(value, Schema))
    ]


def secret_keys(config: Mapping[str, Any]) -> list[str | bytes]:
    """Return the keys that links are verified with, the one that signs last.

    :param config: ``app.config``.
    :returns: SECRET_KEY_FALLBACKS and SECRET_KEY.
    :raises ConfigurationError: if there is no SECRET_KEY, or SECRET_KEY_FALLBACKS is no list.
    """
    key = config.get("SECRET_KEY")
    if not key:
        raise ConfigurationError(
            "SECRET_KEY is not set, so that no link can be signed: set it to the output of"
            " python -c 'import secrets; print(secrets.token_hex())'."
        )
    fallbacks = config.get("SECRET_KEY_FALLBACKS") or ()
    if not isinstance(fallbacks, (list, tuple)):
        # Of a text each character would be a key.
        raise ConfigurationError(f"SECRET_KEY_FALLBACKS must be a list of keys, not {type(fallbacks).__name__}.")
    return [*fallbacks, key]


def propagates_exceptions(config: Mapping[str, Any]) -> bool:
    """Tell whether Flask lets exceptions through to the server or the test.

    :param config: ``app.config``.
    :returns: what Flask itself decides by PROPAGATE_EXCEPTIONS, TESTING and DEBUG.
    """
    propagate = config.get("PROPAGATE_EXCEPTIONS")
    return bool(config.get("TESTING") or config.get("DEBUG") if propagate is None else propagate)
