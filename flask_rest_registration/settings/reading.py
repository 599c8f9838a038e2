"""Reading the settings of an app, and importing what their dotted paths name."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from flask import Flask
from marshmallow import Schema
from werkzeug.utils import import_string

from ..exceptions import ConfigurationError
from . import parsers
from .contradictions import PENDING_SWITCHES, REMOVED, find_contradictions
from .definitions import DEFINITIONS, Settings
from .hooks import usable_hook

#: The key of ``app.config`` that holds the dict of settings, and the prefix of the flat keys.
CONFIG_KEY = "REST_REGISTRATION"

#: Settings of Flask and Flask-Mail that hold keys and log-ins.
SECRETS = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "MAIL_USERNAME", "MAIL_PASSWORD")

_MAIL_SERVER = ("MAIL_SERVER", "MAIL_PORT", "MAIL_USE_TLS", "MAIL_USE_SSL")
_FOREIGN = (*SECRETS, *_MAIL_SERVER, "MAIL_DEFAULT_SENDER", "MAIL_SUPPRESS_SEND")

# What the contradictions ask of the objects behind paths; importing all defaults would slow every start.
_ASKED_AT_ONCE = ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER", "LOGIN_HANDLER")


def read_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Read and check the settings in ``app.config``, which is never written to; dotted paths stay text.

    :raises ConfigurationError: naming all faults at once.
    """
    given, faults = _read_given(config)
    values = {name: definition.default for name, definition in DEFINITIONS.items()}
    imported = {name: _import_own_path(values[name]) for name in _ASKED_AT_ONCE}
    for name, value in given.items():
        try:
            values[name] = DEFINITIONS[name].metadata["parse"](value)
            if name in imported:
                imported[name] = _import_own_path(values[name])
        except ValueError as fault:
            faults.append(f"{CONFIG_KEY} setting {name} {fault}.")
    faults += (f"{CONFIG_KEY} setting {fault}" for fault in find_contradictions({**values, **imported}, given))
    if faults:
        raise ConfigurationError(*faults)
    return values


def _read_given(config: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Return what the developer set, flat keys over the dict, and what is wrong with the names."""
    prefix = f"{CONFIG_KEY}_"
    written = config.get(CONFIG_KEY)
    nested = written if isinstance(written, Mapping) else {}
    faults = []
    if nested is not written and written is not None:
        faults.append(f"{CONFIG_KEY} must be a dict of settings, not {parsers.with_type(written)}.")
    given: dict[str, object] = {}
    for source in (nested, {key[len(prefix) :]: value for key, value in config.items() if key.startswith(prefix)}):
        for name, value in source.items():
            if name not in DEFINITIONS:
                faults.append(f"{CONFIG_KEY} {_unknown_setting(name)}")
            elif value is not None:
                given[name] = value
    return given, faults


def _unknown_setting(name: object) -> str:
    if name in REMOVED:
        return f"setting {name} is gone: {REMOVED[str(name)]}. Fix: remove it."
    nearest = difflib.get_close_matches(str(name).upper(), DEFINITIONS, n=1, cutoff=0.5)
    return f"has no setting {name}. " + (f"Did you mean {nearest[0]}?" if nearest else "Fix: correct or remove it.")


def _import_own_path(value: object) -> object:
    """Import an object of the package at once; any other path is imported on first use."""
    if not isinstance(value, str) or not value.startswith("flask_rest_registration."):
        return value
    if value.startswith("flask_rest_registration.contrib.celery."):
        if importlib.util.find_spec("celery") is None:
            raise ValueError(
                f"is {value!r}, which needs Celery, and that is not installed. Fix: run pip install"
                " 'flask-rest-registration[celery]', or give another sender"
            )
        # A worker serves no request: without this import it would drop our task's mails as unknown.
        return _import(value, parsers.function_or_path)
    with suppress(ImportError):
        return import_string(value)
    return value


def _import(value: object, parse: parsers.Parser) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = import_string(value)
    except ImportError as error:
        reason = getattr(error, "exception", error)  # werkzeug's own text is a list of guesses over several lines
        raise ValueError(
            f"is {value!r}, which cannot be imported ({reason}). Fix: let it name a module and what the module has, not"
            " an object's method, or give the function or class itself"
        ) from None
    if isinstance(found, str):
        raise ValueError(f"is {value!r}, which leads to a text. Fix: give the path of a class or function")
    try:
        return parse(found)
    except ValueError as fault:
        raise ValueError(f"is {value!r}, but {fault}") from None


def resolve_settings(app: Flask, values: Mapping[str, object]) -> Settings:
    """Import what the settings that :func:`read_settings` returned name by dotted path, and make the hooks usable.

    :raises ConfigurationError: naming all paths that lead nowhere.
    """
    resolved: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in values.items():
        parse = DEFINITIONS[name].metadata["parse"]
        usable = partial(usable_hook, app, name, returns=DEFINITIONS[name].metadata["returns"])
        try:
            if name == "PENDING_REGISTRATION_MODEL" and not any(values[switch] for switch in PENDING_SWITCHES):
                pass  # nothing of pending registrations is imported unless something needs it
            elif parse is parsers.class_or_path:
                value = _import(value, parse)
            elif parse is parsers.function_or_path and callable(found := _import(value, parse)):
                value = usable(found)
            elif parse is parsers.functions_or_paths and isinstance(value, Sequence):
                imported = [_import(item, parsers.function_or_path) for item in value]
                value = tuple(usable(each) for each in imported if callable(each))
            if name.endswith("SERIALIZER_CLASS") and not (inspect.isclass(value) and issubclass(value, Schema)):
                raise ValueError(f"must be a subclass of marshmallow.Schema, not {parsers.with_type(value)}")
        except ValueError as fault:
            faults.append(f"{CONFIG_KEY} setting {name} {fault}.")
        resolved[name.lower()] = value
    if faults:
        raise ConfigurationError(*faults)
    return Settings(**resolved)


def setting_origins(config: Mapping[str, Any]) -> dict[str, str]:
    """Return where each setting's value comes from: ``default``, the ``dict``, or the ``flat key`` over it."""
    nested = config.get(CONFIG_KEY) or {}
    origins = {name: "default" if nested.get(name) is None else "dict" for name in DEFINITIONS}
    return origins | {name: "flat key" for name in DEFINITIONS if config.get(f"{CONFIG_KEY}_{name}") is not None}


def foreign_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Return what is set of Flask's and Flask-Mail's settings that registration uses; ``SECRETS`` are among them."""
    return {name: config[name] for name in _FOREIGN if config.get(name) is not None}


def propagates_exceptions(config: Mapping[str, Any]) -> bool:
    """Tell whether Flask lets exceptions through to the server or the test, as Flask itself decides it."""
    propagate = config.get("PROPAGATE_EXCEPTIONS")
    return bool(config.get("TESTING") or config.get("DEBUG") if propagate is None else propagate)
