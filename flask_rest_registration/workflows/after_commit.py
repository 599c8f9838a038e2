"""What follows the COMMIT of a registration or a verification: signals, and the log-in."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from blinker import NamedSignal
from flask import Request, g, session
from flask.globals import request_ctx

from ..safe_logging import log_exception, without_text
from ..settings.reading import propagates_exceptions
from ..state import AppState


class Verification(NamedTuple):
    """What a verification has led to.

    :param user: the account.
    :param is_new: whether it was made by this verification, as with REGISTER_EMAIL_FIRST.
    :param shown: what the output serializer shows of a new one.
    :param added: what the log-in handler adds to the answer.
    """

    user: Any
    is_new: bool = False
    shown: Any = None
    added: Mapping[str, object] = {}


def announce(state: AppState, *signals: NamedSignal, user: object, request: Request | None) -> None:
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


def log_in(state: AppState, *, request: Request | None, user: object) -> Mapping[str, object]:
    """Log in, where REGISTER_VERIFICATION_AUTO_LOGIN is on; return what the handler adds to the answer.

    The account is verified by now. A handler that fails is logged, and it is as if it had not been called. In a script
    there is nobody to log in.
    """
    if request is None or not state.settings.register_verification_auto_login:
        return {}
    try:
        with _undone_on_failure():
            answer = state.settings.login_handler(request, user)
            # What cannot be answered must fail here and not afterwards.
            json.loads(state.app.json.dumps(answer).encode(), parse_constant=_refuse_constant)
    except Exception as error:  # whatever the application's handler raises
        state.transactions.rollback()
        log_exception(state.app, "The log-in after a verification failed", error)
        return {}
    return answer or {}


@contextmanager
def _undone_on_failure() -> Iterator[None]:
    """Put back what a handler that fails half-way has changed: it must not leave anybody logged in (CVE-2024-21543).

    That is the session, ``g``, where Flask-Login keeps ``current_user``, and what would add a cookie to the answer.
    """
    contents, was_modified = {name: _copied(value) for name, value in session.items()}, session.modified
    globals_before = {name: g.get(name) for name in g}
    after_request = request_ctx._after_request_functions  # noqa: SLF001  # after_this_request() has no counterpart
    count = len(after_request)
    try:
        yield
    except Exception:
        session.clear()
        session.update(contents)
        session.modified = was_modified
        for name in [*g]:
            g.pop(name)
        for name, value in globals_before.items():
            setattr(g, name, value)
        del after_request[count:]
        raise


def _copied(value: object) -> object:
    try:
        return copy.deepcopy(value)
    except Exception:  # sessions that stay on the server may hold what has no copy, such as a lock
        return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"LOGIN_HANDLER returned {name}, which JSON has not. Fix: return None in its place.")
