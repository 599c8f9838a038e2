"""Logging in with Flask-Login."""

from __future__ import annotations

from flask import Request

from .exceptions import RestRegistrationError


def log_in_with_flask_login(request: Request, user: object) -> None:
    """Log in with Flask-Login; the default LOGIN_HANDLER.

    :param request: not used.
    :param user: the account.
    :raises RestRegistrationError: if Flask-Login refuses, as it does when ``user.is_active`` is false.
    """
    from flask_login import login_user  # an extra: imported only when used

    if not login_user(user):
        raise RestRegistrationError(
            "Flask-Login refused the account: its is_active is false. Fix: make it true for verified accounts."
        )
