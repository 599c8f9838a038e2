"""The two signals, and how they are sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blinker import NamedSignal, Namespace
from flask import Flask

from .database.errors import without_text
from .safe_logging import log_exception
from .settings.definitions import propagates_exceptions

_namespace = Namespace()

#: Sent after the COMMIT of a registration: ``sender`` is the app, ``user`` and ``request`` are keywords.
user_registered: NamedSignal = _namespace.signal("user-registered")

#: Sent once per account, after the COMMIT of its activation: ``sender`` is the app, ``user`` and ``request``
#: are keywords.
user_activated: NamedSignal = _namespace.signal("user-activated")


def announce(*signals: NamedSignal, app: Flask, user: object, request: object, rollback: Callable[[], None]) -> None:
    """Tell all receivers of some signals what has happened to an account; then raise what the first one raised.

    It is raised only where Flask propagates exceptions, as in tests; elsewhere it is logged.

    :param signals: the signals, in their order.
    :param app: the sender.
    :param user: the account.
    :param request: the request that it happened in.
    :param rollback: cleans the session after a receiver that raised.
    """
    keywords = {"user": user, "request": request}
    failures = [send_signal(signal, app, keywords, rollback=rollback) for signal in signals]
    first = next((failure for failure in failures if failure is not None), None)
    if first is not None and propagates_exceptions(app.config):
        raise without_text(first)


def send_signal(
    signal: NamedSignal, app: Flask, keywords: Mapping[str, object], *, rollback: Callable[[], None]
) -> Exception | None:
    """Run the receivers one by one; one that raises does not keep the next from running.

    ``Signal.send`` would stop at the first that raises, and what the signal tells of has happened by now.

    :param signal: the signal to send.
    :param app: the sender.
    :param keywords: what the receivers are given besides.
    :param rollback: cleans the session after a receiver that raised.
    :returns: the first exception that a receiver raised, if any.
    """
    if signal.is_muted:
        return None
    first: Exception | None = None
    for receiver in signal.receivers_for(app):
        try:
            app.ensure_sync(receiver)(app, **keywords)
        except Exception as error:  # whatever a receiver raises must not undo the answer
            rollback()
            log_exception(app, f"A receiver of {signal.name} failed", error)
            first = first or error
    return first
