"""``flask rest-registration settings``: the values in force, where each came from, and no secrets."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
from flask import Flask

from ..exceptions import ConfigurationError
from ..mail.messages import EXISTING_ACCOUNT_TEMPLATES, VERIFICATION_TEMPLATES, sender_address
from ..serializers.schemas import DefaultRegisterUserSerializer, DefaultUserProfileSerializer
from ..settings.definitions import describe_settings
from ..settings.reading import SECRETS, foreign_settings
from ..state import AppState, app_state
from .wording import duration_text

_MASK = "*****"
_NARROWEST = 20  # of what stands in the middle of the table, in characters


class EffectiveSetting(NamedTuple):
    """A setting as it is in force.

    :param value: what it is, without secrets: None, a text, a number, a duration, or a list or dict of these.
    :param origin: ``default``, ``found``, ``dict``, ``flat key`` or ``app.config``.
    """

    group: str
    name: str
    value: Any
    origin: str

    @property
    def is_changed(self) -> bool:
        """Whether the application's configuration has it."""
        return self.origin not in {"default", "found"}


def effective_settings(app: Flask) -> Iterator[EffectiveSetting]:
    """Yield our settings in their groups, then those of Flask and Flask-Mail."""
    state = app_state(app)
    try:
        found = dict(_found(state.ready()))
    except ConfigurationError:  # the command "check" reports what the app lacks
        found = {}
    for setting in describe_settings():
        name, value, origin = setting.name, state.values[setting.name], state.origins[setting.name]
        if value is None and name in found:
            value, origin = found[name], "found"
        yield EffectiveSetting(setting.group, name, _without_secrets(value), origin)
    for name, value in foreign_settings(app.config).items():
        shown = _MASK if name in SECRETS else _without_secrets(value)
        yield EffectiveSetting("Flask and Flask-Mail", name, shown, "app.config")


def print_table(settings: Sequence[EffectiveSetting]) -> None:
    """Print settings in groups of aligned columns that fit the terminal, or 80 characters where there is none."""
    width = shutil.get_terminal_size().columns
    for number, (title, group) in enumerate(groupby(settings, lambda setting: setting.group)):
        click.secho(f"\n{title}" if number else title, bold=True)
        rows = list(group)
        names, origins = max(len(each.name) for each in rows), max(len(each.origin) for each in rows)
        room = width - names - origins - 6
        if room < _NARROWEST:  # each value goes below its name
            for each in rows:
                click.echo("\n    ".join([f"  {each.name}  {each.origin}", *_wrapped(each.value, width - 4)]))
            continue
        values = [_wrapped(each.value, room) for each in rows]
        room = max(len(line) for lines in values for line in lines)
        for each, (first, *more) in zip(rows, values, strict=True):
            row = f"  {each.name:{names}}  {first:{room}}  {each.origin}"
            click.echo(f"\n{'':{names + 4}}".join([row, *more]))


def _wrapped(value: Any, width: int) -> list[str]:
    """Return the lines of a value, broken at spaces, in long words at punctuation, and only in others anywhere."""
    at_spaces, at_punctuation = rf".{{1,{width}}}(?:\s+|$)", rf".{{1,{width}}}(?<=[./_?&])"
    lines = re.findall(f"{at_spaces}|{at_punctuation}|.{{{width}}}", _text(value) or "(empty)", re.MULTILINE)
    return [line.rstrip() for line in lines]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def as_json(settings: Sequence[EffectiveSetting]) -> str:
    """Return settings as a JSON object by their names; durations are seconds."""
    found = {each.name: {"value": each.value, "origin": each.origin} for each in settings}
    return json.dumps(found, indent=2, ensure_ascii=False, default=timedelta.total_seconds)


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


def _without_secrets(value: Any) -> Any:
    """Return a value; of objects only the name, since whoever made one may have given it a key or a pepper."""
    if isinstance(value, str):
        return _mask_log_in(value)
    if value is None or isinstance(value, (bool, int, timedelta)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _without_secrets(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_without_secrets(item) for item in value]
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
