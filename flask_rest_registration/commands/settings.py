"""What ``flask rest-registration settings`` shows: the values in force, where each came from, and no secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from ..exceptions import ConfigurationError
from ..mail.messages import EXISTING_ACCOUNT_TEMPLATES, VERIFICATION_TEMPLATES, sender_address
from ..serializers.schemas import DefaultRegisterUserSerializer, DefaultUserProfileSerializer
from ..settings.definitions import SECRETS, neighbour_settings
from ..state import Registration, app_state

_MASK = "*****"


@dataclass(frozen=True)
class ShownSetting:
    """One setting.

    :param name: its name in capitals.
    :param value: its value as text, without secrets.
    :param origin: where the value came from.
    """

    name: str
    value: str
    origin: str


def effective_settings(app: Flask) -> list[ShownSetting]:
    """Show the settings of an app as they are in force.

    :param app: an app that the extension is initialised on.
    :returns: ours in the order of their definition, then those of Flask and Flask-Mail that are set.
    :raises ConfigurationError: if the extension is not initialised on it.
    """
    state = app_state(app)
    try:
        found = dict(_found(state.registration()))
    except ConfigurationError:  # what the app lacks is for check to say
        found = {}
    shown = []
    for name, value in state.values.items():
        origin = state.origins[name]
        if value is None and name in found:
            value, origin = found[name], "found"
        shown.append(ShownSetting(name, _text_of(value), origin))
    for name, value in neighbour_settings(app.config).items():
        shown.append(ShownSetting(name, _MASK if name in SECRETS else _text_of(value), "app.config"))
    return shown


def _found(registration: Registration) -> Iterator[tuple[str, object]]:
    """Yield what stands for the settings that were not given."""
    model = registration.model
    yield "USER_MODEL", model.cls
    yield "USER_PASSWORD_FIELD", model.password.name
    yield "USER_VERIFICATION_ID_FIELD", model.link_id.name
    yield "USER_VERIFICATION_FLAG_FIELD", model.flag and model.flag.name
    if registration.pending is not None:
        yield "PENDING_REGISTRATION_MODEL", registration.pending.model.cls
    yield "REGISTER_VERIFICATION_EMAIL_TEMPLATES", VERIFICATION_TEMPLATES
    yield "REGISTER_EXISTING_EMAIL_TEMPLATES", EXISTING_ACCOUNT_TEMPLATES
    if registration.settings.register_serializer_class is DefaultRegisterUserSerializer:
        asked = {model.email.name, "password", "password_confirm"}
        yield "USER_EDITABLE_FIELDS", [name for name in registration.serializers.register().fields if name not in asked]
    if registration.settings.register_output_serializer_class is DefaultUserProfileSerializer:
        yield "USER_PUBLIC_FIELDS", list(registration.serializers.profile().fields)
    try:
        address = sender_address(registration)
    except ConfigurationError:
        return
    yield "VERIFICATION_FROM_EMAIL", address
    yield "VERIFICATION_REPLY_TO_EMAIL", address


def _text_of(value: Any) -> str:
    """Show a value; of objects only the name, since whoever made one may have given it a key or a pepper."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return repr(_without_log_in(value))
    if isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text_of(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_text_of(item) for item in value)}]"
    return _name_of(value)


def _name_of(value: Any) -> str:
    if isinstance(value, partial):
        return f"partial of {_name_of(value.func)}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return f"an object of {_name_of(type(value))}"


def _without_log_in(text: str) -> str:
    if "://" not in text:
        return text
    log_in, at, host = urlsplit(text).netloc.rpartition("@")
    return text.replace(f"{log_in}{at}{host}", f"{_MASK}@{host}", 1) if at else text
