"""Logging in with the request that verified the account."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Request, session
from werkzeug.utils import import_string

from .exceptions import RestRegistrationError
from .safe_logging import log_exception
from .state import Registration


def log_in(state: Registration, *, request: Request, user: object) -> Mapping[str, object]:
    """Log in, where REGISTER_VERIFICATION_AUTO_LOGIN is on, with the request that verified the account.

    The account is verified by now, so that a failure of the login handler is logged and no more.

    :param state: the app's state.
    :param request: the request that verified the account.
    :param user: the account.
    :returns: what the handler adds to the answer; nothing if it failed.
    """
    app, handler = state.app, state.settings.login_handler
    if not state.settings.register_verification_auto_login:
        return {}
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
        state.accounts.rollback()
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
