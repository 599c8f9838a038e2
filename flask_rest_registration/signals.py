"""The two signals, and how they are sent."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from blinker import NamedSignal, Namespace
from flask import Flask, Request
from sqlalchemy.exc import StatementError

_namespace = Namespace()

#: Sent after the COMMIT of a registration: ``sender`` is the app, ``user`` and ``request`` are keywords.
user_registered: NamedSignal = _namespace.signal("user-registered")

#: Sent once per account, after the COMMIT of its activation: ``sender`` is the app, ``user`` and ``request``
#: are keywords.
user_activated: NamedSignal = _namespace.signal("user-activated")


def send_signal(
    signal: NamedSignal, app: Flask, *, user: object, request: Request | None, rollback: Callable[[], None]
) -> Exception | None:
    """Run the receivers one by one; one that raises does not keep the next from running.

    ``Signal.send`` would stop at the first that raises, and the account is stored by now.

    :param signal: the signal to send.
    :param app: the sender.
    :param user: the account.
    :param request: the request that it came with.
    :param rollback: cleans the session after a receiver that raised.
    :returns: the first exception that a receiver raised, if any.
    """
    if signal.is_muted:
        return None
    first: Exception | None = None
    for receiver in signal.receivers_for(app):
        try:
            app.ensure_sync(receiver)(app, user=user, request=request)
        except Exception as error:  # whatever a receiver raises must not undo the answer
            rollback()
            log_exception(app, f"A receiver of {signal.name} failed", error)
            first = first or error
    return first


def log_exception(app: Flask, message: str, error: BaseException, *, with_text: bool = True) -> None:
    """Log an exception of the application's own code with its traceback.

    Texts of database errors quote parameters (a password hash among them), so of a chain with one in it, and
    wherever the text may hold a link, only the classes and the lines of code are logged.

    :param app: whose logger is used.
    :param message: what was being done.
    :param error: the exception.
    :param with_text: whether the exception's own text may be logged.
    """
    if with_text and not _has_database_error(error):
        app.logger.error(message, exc_info=error)
        return
    frames = "".join(traceback.format_tb(error.__traceback__))
    app.logger.error("%s: %s\n%s", message, type(error).__qualname__, frames)


def _has_database_error(error: BaseException | None) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, StatementError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
