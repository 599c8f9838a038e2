"""Logging in with the request that verified the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Flask, Request, session
from werkzeug.utils import import_string

from .exceptions import ConfigurationError, RestRegistrationError
from .safe_logging import log_exception
from .settings import Settings

LoginHandler = Callable[[Request, object], Mapping[str, object] | None]


def log_in(
    app: Flask, handler: LoginHandler, *, request: Request, user: object, rollback: Callable[[], None]
) -> Mapping[str, object]:
    """Call the login handler; the account is verified by now, so that its failure is logged and no more.

    :param app: the app, whose logger and JSON provider are used.
    :param handler: LOGIN_HANDLER.
    :param request: the request that verified the account.
    :param user: the account.
    :param rollback: cleans the database session after a handler that raised.
    :returns: what the handler adds to the answer; nothing if it failed.
    """
    session_before = dict(session)
    try:
        answer = handler(request, user)
        if answer is None:
            return {}
        if not isinstance(answer, Mapping):
            raise RestRegistrationError(f"LOGIN_HANDLER must return a dict or None, not {type(answer).__name__}.")
        app.json.dumps(answer)  # what cannot be answered must fail here and not afterwards
    except Exception as error:  # whatever the application's handler raises
        # A handler that failed half-way must not leave a session behind (as in djoser's CVE-2024-21543).
        session.clear()
        session.update(session_before)
        rollback()
        log_exception(app, "The log-in after a verification failed", error)
        return {}
    return answer


def log_in_with_flask_login(request: Request, user: object) -> None:
    """Log in with Flask-Login; the default LOGIN_HANDLER.

    :param request: not used.
    :param user: the account.
    :raises RestRegistrationError: if Flask-Login refuses, as it does when ``user.is_active`` is false.
    """
    login_user = import_string("flask_login.login_user")  # an extra: imported only when used
    if not login_user(user):
        raise RestRegistrationError("Flask-Login refused to log the user in: its is_active is false.")


def require_login_manager(app: Flask, settings: Settings) -> None:
    """Refuse auto-login by Flask-Login on an app that it is not initialised on.

    :param app: the app.
    :param settings: its settings.
    :raises ConfigurationError: if there is no LoginManager.
    """
    by_flask_login = settings.login_handler is log_in_with_flask_login
    if settings.register_verification_auto_login and by_flask_login and not hasattr(app, "login_manager"):
        raise ConfigurationError(
            "REGISTER_VERIFICATION_AUTO_LOGIN is True, which needs Flask-Login's LoginManager, and that is not"
            " initialised on this app: call LoginManager(app), or give a LOGIN_HANDLER."
        )
