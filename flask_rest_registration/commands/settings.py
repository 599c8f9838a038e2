"""``flask rest-registration settings``: the values in force, where each came from, and no secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from ..exceptions import ConfigurationError
from ..mail.messages import EXISTING_ACCOUNT_TEMPLATES, VERIFICATION_TEMPLATES, sender_address
from ..serializers.schemas import DefaultRegisterUserSerializer, DefaultUserProfileSerializer
from ..settings.reading import SECRETS, foreign_settings
from ..state import AppState, app_state

_MASK = "*****"


def effective_settings(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Yield name, value without secrets, and origin: our settings as defined, then those of Flask and Flask-Mail."""
    state = app_state(app)
    try:
        found = dict(_found(state.ready()))
    except ConfigurationError:  # the command "check" reports what the app lacks
        found = {}
    for name, value in state.values.items():
        origin = state.origins[name]
        if value is None and name in found:
            value, origin = found[name], "found"
        yield name, _format(value), origin
    for name, value in foreign_settings(app.config).items():
        yield name, _MASK if name in SECRETS else _format(value), "app.config"


def _found(state: AppState) -> Iterator[tuple[str, object]]:
    """Yield what was found in the app for settings that were not given."""
    model = state.model
    yield "USER_MODEL", model.cls
    yield "USER_PASSWORD_FIELD", model.password.name
    yield "USER_VERIFICATION_ID_FIELD", model.link_id.name
    yield "USER_VERIFICATION_FLAG_FIELD", model.flag and model.flag.name
    if state.pending is not None:
        yield "PENDING_REGISTRATION_MODEL", state.pending.mapper.class_
    yield "REGISTER_VERIFICATION_EMAIL_TEMPLATES", VERIFICATION_TEMPLATES
    yield "REGISTER_EXISTING_EMAIL_TEMPLATES", EXISTING_ACCOUNT_TEMPLATES
    if state.settings.register_serializer_class is DefaultRegisterUserSerializer:
        always = {model.email.name, "password", "password_confirm"}
        yield "USER_EDITABLE_FIELDS", [name for name in state.serializers.register().fields if name not in always]
    if state.settings.register_output_serializer_class is DefaultUserProfileSerializer:
        yield "USER_PUBLIC_FIELDS", list(state.serializers.profile().fields)
    try:
        name, address = sender_address(state)
    except ConfigurationError:
        return
    sender = (name, address) if name else address
    yield "VERIFICATION_FROM_EMAIL", sender
    yield "VERIFICATION_REPLY_TO_EMAIL", sender


def _format(value: Any) -> str:
    """Format a value; of objects only the name, since whoever made one may have given it a key or a pepper."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return repr(_mask_log_in(value))
    if isinstance(value, (bool, int, timedelta)):
        return str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_format(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_format(item) for item in value)}]"
    return _name_of(value)


def _name_of(value: Any) -> str:
    if isinstance(value, partial):
        return f"partial of {_name_of(value.func)}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return f"an object of {_name_of(type(value))}"


def _mask_log_in(text: str) -> str:
    if "://" not in text:
        return text
    log_in, at, host = urlsplit(text).netloc.rpartition("@")
    return text.replace(f"{log_in}{at}{host}", f"{_MASK}@{host}", 1) if at else text
