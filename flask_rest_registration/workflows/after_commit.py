"""What follows the COMMIT of a registration or a verification: signals, and the log-in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blinker import NamedSignal
from flask import Request, session

from ..exceptions import RestRegistrationError
from ..safe_logging import log_exception, without_text
from ..settings.reading import propagates_exceptions
from ..state import AppState


def announce(state: AppState, *signals: NamedSignal, user: object, request: Request) -> None:
    """Send signals about an account; where Flask propagates exceptions, raise the first of a receiver afterwards."""
    failures = [send_signal(state, signal, user=user, request=request) for signal in signals]
    first = next((failure for failure in failures if failure is not None), None)
    if first is not None and propagates_exceptions(state.app.config):
        raise without_text(first)


def send_signal(state: AppState, signal: NamedSignal, **keywords: Any) -> Exception | None:
    """Run the receivers of a signal one by one, and return the first exception that one raised, if any.

    ``Signal.send`` would stop at it, and what the signal tells of has happened by now.
    """
    first: Exception | None = None
    for receiver in () if signal.is_muted else signal.receivers_for(state.app):
        try:
            state.app.ensure_sync(receiver)(state.app, **keywords)
        except Exception as error:  # whatever a receiver raises must not undo the answer
            state.transactions.rollback()
            log_exception(state.app, f"A receiver of {signal.name} failed", error)
            first = first or error
    return first


def log_in(state: AppState, *, request: Request, user: object) -> Mapping[str, object]:
    """Log in, where REGISTER_VERIFICATION_AUTO_LOGIN is on; return what the handler adds to the answer.

    The account is verified by now, so that a failure of the handler is logged and no more.
    """
    if not state.settings.register_verification_auto_login:
        return {}
    session_before = dict(session)
    try:
        answer = state.settings.login_handler(request, user)
        if answer is not None and not isinstance(answer, Mapping):
            raise RestRegistrationError(f"LOGIN_HANDLER must return a dict or None, not {type(answer).__name__}.")
        state.app.json.dumps(answer)  # what cannot be answered must fail here and not afterwards
    except Exception as error:  # whatever the application's handler raises
        # A handler that failed half-way must not leave a session behind (as in djoser's CVE-2024-21543).
        session.clear()
        session.update(session_before)
        state.transactions.rollback()
        log_exception(state.app, "The log-in after a verification failed", error)
        return {}
    return answer or {}
