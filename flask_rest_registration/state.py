"""What one app needs for registration, built once."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from jinja2 import Environment
from sqlalchemy.orm import scoped_session

from .database.accounts import Accounts
from .database.pending import PendingRegistrations
from .database.transactions import Transactions
from .exceptions import ConfigurationError, collecting
from .model.inspection import OWN_FLAG_FIX, inspect_user_model, model_warnings, refuse_columns_of_dialect
from .model.pending import CODE_FIELD, LINK_FIELDS, inspect_pending_model
from .model.user_model import UserModel
from .serializers.schemas import Serializers, client_name, client_names
from .settings.definitions import Settings
from .settings.reading import resolve_settings, setting_origins
from .translations.texts import has_flask_babel

#: The key of ``app.extensions``.
EXTENSION_KEY = "rest_registration"


class AppState:
    """What the extension keeps of one app.

    The model, dotted paths and other extensions may come after ``init_app``: they are looked up on first use, and
    again after a ``ConfigurationError``.

    :param values: the checked settings by name, dotted paths not yet followed.
    """

    #: The settings, every dotted path followed.
    settings: Settings
    model: UserModel
    serializers: Serializers
    #: The statements: the transactions of the application's session, and what runs in them.
    transactions: Transactions
    accounts: Accounts
    #: None while no setting needs pending registrations.
    pending: PendingRegistrations | None

    def __init__(self, app: Flask, values: dict[str, object]) -> None:
        self.app = app
        self.values = values
        self.origins: dict[str, str] = setting_origins(app.config)
        #: What connections to the mail server trust; made by the first one over TLS, which takes some 50 ms.
        self.tls_context: ssl.SSLContext | None = None
        #: Jinja's environment for each part of a mail; made for the first mail.
        self.mail_environments: Mapping[str, Environment] = {}
        self._lock = threading.Lock()
        self._is_ready = False

    @property
    def has_endpoints(self) -> bool:
        """Whether the app answers registrations, and not its own views alone."""
        return f"{EXTENSION_KEY}.register" in self.app.view_functions

    if not TYPE_CHECKING:  # pragma: no branch  # it is to know the attributes above only

        def __getattr__(self, name: str) -> Any:
            """Build all parts when the first of them is asked for; from then on they are plain attributes."""
            if name not in AppState.__annotations__:
                raise AttributeError(name)
            return getattr(self.ready(), name)

    def ready(self) -> AppState:
        """Build all parts now, and not on first use; raise ``ConfigurationError`` for what the app lacks."""
        with self._lock:
            if not self._is_ready:
                self._build()
                self._is_ready = True
        return self

    def _build(self) -> None:
        db = _database_of(self.app)
        settings = resolve_settings(self.app, self.values)
        faults: list[str] = []  # what is wrong with parts that do not need each other is raised at once
        with collecting(faults):
            _require_extensions(self.app, settings)
        with collecting(faults):
            model = inspect_user_model(db, settings)
            transactions = Transactions(db, model.mapper)
            accounts = Accounts(transactions, model)
            with collecting(faults):
                refuse_columns_of_dialect(model, dialect=transactions.dialect)
            serializers = Serializers(settings, model)
            pending = None
            if settings.uses_pending_registrations:
                more_faults = _faults_for_pending(settings, model, serializers)
                pending_mapper = inspect_pending_model(db, settings, model, more_faults=more_faults)
                pending = PendingRegistrations(transactions, pending_mapper, settings)
        if faults:
            raise ConfigurationError(*faults)
        for warning in model_warnings(settings, model):
            self.app.logger.warning(warning)
        self.settings, self.model, self.serializers = settings, model, serializers
        self.transactions, self.accounts, self.pending = transactions, accounts, pending


def _database_of(app: Flask) -> SQLAlchemy:
    db: object = app.extensions.get("sqlalchemy")
    if db is None:
        raise ConfigurationError(
            "Flask-SQLAlchemy is not initialised on this app. Fix: call SQLAlchemy(app) or db.init_app(app)."
        )
    where, found = "app.extensions['sqlalchemy']", db
    if isinstance(db, SQLAlchemy):
        where, found = f"{where}.session", db.session
        if isinstance(found, scoped_session):
            return db
    raise ConfigurationError(
        f"{where} is a {type(found).__module__}.{type(found).__qualname__}, which registration cannot work with. Fix:"
        " use the SQLAlchemy of Flask-SQLAlchemy 3.1 or later, with a scoped_session as its session."
    )


def _require_extensions(app: Flask, settings: Settings) -> None:
    faults = []
    if settings.register_verification_auto_login and settings.logs_in_by_default and not hasattr(app, "login_manager"):
        faults.append(
            "REGISTER_VERIFICATION_AUTO_LOGIN is True, which needs Flask-Login's LoginManager, and that is not"
            " initialised on this app. Fix: call LoginManager(app), or give a LOGIN_HANDLER."
        )
    if settings.verification_locale_selector is not None and not has_flask_babel(app):
        faults.append(
            "VERIFICATION_LOCALE_SELECTOR is set, which needs Flask-Babel, and that is not initialised on this app."
            " Fix: call Babel(app) after pip install 'flask-rest-registration[babel]', or remove the setting."
        )
    if faults:
        raise ConfigurationError(*faults)


def _faults_for_pending(settings: Settings, model: UserModel, serializers: Serializers) -> list[str]:
    """Find what is wrong with user model and serializers where addresses wait in a table of their own."""
    faults = []
    flag = model.flag
    if settings.register_verification_resend_enabled and flag is not None and flag.locks_people_out:
        faults.append(
            "REGISTER_VERIFICATION_RESEND_ENABLED is True, and the verification flag is"
            f" {model.name}.{flag.name}, which applications also use to lock people out: whoever is locked out could"
            f" ask for a link that lets them in. {OWN_FLAG_FIX.format(f'{model.name}.{flag.name}')}"
        )
    if settings.register_email_first:
        if client_name(serializers.register_email(), "email") is None:
            faults.append(
                "REGISTER_EMAIL_SERIALIZER_CLASS has no field for the address. Fix: subclass RegisterEmailSerializer,"
                " or declare email = fields.Email(required=True) in yours."
            )
        names = client_names(serializers.register())
        faults += [
            f"REGISTER_EMAIL_FIRST is True, and registration reads a field {name!r}, which is a name of the link or"
            " of the code. Fix: give the field another data_key."
            for name in (*LINK_FIELDS, CODE_FIELD)
            if name in names
        ]
    return faults


def app_state(app: Flask) -> AppState:
    """Return what the extension keeps of an app; raise ``ConfigurationError`` if it is not initialised on it."""
    state = app.extensions.get(EXTENSION_KEY)
    if state is None:
        raise ConfigurationError(
            "RestRegistration is not initialised on this app. Fix: call RestRegistration(app) or init_app(app)."
        )
    return cast(AppState, state)  # app.extensions is a dict of anything


def current_state() -> AppState:
    """Do what :func:`app_state` does, for the current app."""
    return app_state(current_app)
