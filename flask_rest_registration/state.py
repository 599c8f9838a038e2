"""The state of one app: its settings from the start, everything else from its first use on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy

from .database.accounts import Accounts
from .database.pending import PendingRegistrations
from .exceptions import ConfigurationError
from .mail.smtp import DeadlineTLSContext
from .model.inspection import inspect_user_model, model_warnings, refuse_unfilled_key
from .model.pending import inspect_pending_model
from .model.user_model import UserModel
from .serializers.schemas import Serializers
from .settings.definitions import Settings, resolve_settings, secret_keys, setting_origins

#: The key of ``app.extensions``.
EXTENSION_KEY = "rest_registration"


@dataclass(frozen=True)
class Registration:
    """What the workflow of one app needs.

    :param app: the app.
    :param settings: its settings, every dotted path resolved.
    :param model: its user model.
    :param serializers: its schemas.
    :param accounts: its statements.
    :param pending: its statements about pending registrations, while something needs them.
    """

    app: Flask
    settings: Settings
    model: UserModel
    serializers: Serializers
    accounts: Accounts
    pending: PendingRegistrations | None

    @cached_property
    def tls_context(self) -> DeadlineTLSContext:
        """What connections to the mail server trust."""
        return DeadlineTLSContext.with_default_certificates()

    @property
    def secret_keys(self) -> list[str | bytes]:
        """The app's keys, the one that signs last; read each time, so that a test may change them."""
        return secret_keys(self.app.config)


class AppState:
    """What the extension keeps of one app.

    The model, dotted paths and other extensions may come after ``init_app``: they are looked up on first use.

    :param app: the app.
    :param values: its checked settings by name.
    """

    def __init__(self, app: Flask, values: dict[str, object]) -> None:
        self._app = app
        self._values = values
        self._origins = setting_origins(app.config)
        self._registration: Registration | None = None
        self._lock = threading.Lock()

    @property
    def values(self) -> Mapping[str, object]:
        """The settings by name as they were read, dotted paths not yet followed."""
        return self._values

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each setting's value came from."""
        return self._origins

    def registration(self) -> Registration:
        """Return what the workflow needs, made on the first call.

        :returns: the same object for every thread.
        :raises ConfigurationError: naming what the app lacks; the next call looks again.
        """
        with self._lock:
            if self._registration is None:
                self._registration = self._build()
            return self._registration

    def _build(self) -> Registration:
        db: SQLAlchemy | None = self._app.extensions.get("sqlalchemy")
        if db is None:
            raise ConfigurationError(
                "Flask-SQLAlchemy is not initialised on this app: call SQLAlchemy(app) or db.init_app(app)."
            )
        settings = resolve_settings(self._values)
        _require_login_manager(self._app, settings)
        _require_babel(self._app, settings)
        model = inspect_user_model(db, settings)
        accounts = Accounts(db, model)
        refuse_unfilled_key(model, dialect=accounts.dialect)
        serializers = Serializers(settings, model)
        pending = None
        if settings.uses_pending_registrations:
            pending_model = inspect_pending_model(db, settings, model, serializers)
            pending = PendingRegistrations(accounts, pending_model, settings)
        for warning in model_warnings(settings, model):
            self._app.logger.warning(warning)
        return Registration(self._app, settings, model, serializers, accounts, pending)


def _require_login_manager(app: Flask, settings: Settings) -> None:
    if settings.register_verification_auto_login and settings.logs_in_by_default and not hasattr(app, "login_manager"):
        raise ConfigurationError(
            "REGISTER_VERIFICATION_AUTO_LOGIN is True, which needs Flask-Login's LoginManager, and that is not"
            " initialised on this app: call LoginManager(app), or give a LOGIN_HANDLER."
        )


def _require_babel(app: Flask, settings: Settings) -> None:
    if settings.verification_locale_selector is not None and "babel" not in app.extensions:
        raise ConfigurationError(
            "VERIFICATION_LOCALE_SELECTOR is set, which needs Flask-Babel, and that is not initialised on this app:"
            " call Babel(app) after pip install 'flask-rest-registration[babel]', or remove the setting."
        )


def app_state(app: Flask) -> AppState:
    """Return what the extension keeps of an app.

    :param app: the app.
    :returns: its state.
    :raises ConfigurationError: if the extension is not initialised on it.
    """
    state = app.extensions.get(EXTENSION_KEY)
    if state is None:
        raise ConfigurationError(
            "RestRegistration is not initialised on this app: call RestRegistration(app) or init_app(app)."
        )
    return cast(AppState, state)  # app.extensions is a dict of anything


def current_registration() -> Registration:
    """Return what the workflow needs for the current app.

    :returns: the current app's.
    :raises ConfigurationError: if the extension is not initialised on it, or the app lacks something.
    """
    return app_state(current_app).registration()
