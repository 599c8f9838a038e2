"""Logging exceptions of the application's own code without what must not be logged."""

from __future__ import annotations

import traceback

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError


def log_exception(app: Flask, message: str, error: BaseException) -> None:
    """Log an exception with its traceback.

    The texts of database errors quote parameters, a password hash among them: where one is in the chain, only classes
    and lines of code are logged.

    :param app: whose logger is used.
    :param message: what was being done.
    :param error: the exception.
    """
    if _has_database_error(error):
        app.logger.error("%s: %s", message, traceback_without_text(error))
    else:
        app.logger.error(message, exc_info=error)


def traceback_without_text(error: BaseException) -> str:
    """Describe an exception by its class and the lines of code that it came through.

    :param error: an exception whose own text may hold a secret.
    :returns: several lines.
    """
    return "\n".join([type(error).__qualname__, *traceback.format_tb(error.__traceback__)])


def _has_database_error(error: BaseException) -> bool:
    chain: list[BaseException] = [error]
    for each in chain:  # grows while it is walked
        links = (each.__cause__, each.__context__, *getattr(each, "exceptions", ()))  # an ExceptionGroup has these
        chain += (link for link in links if link is not None and link not in chain)
    # SQLAlchemyError, since PendingRollbackError quotes the error that came before it.
    return any(isinstance(each, SQLAlchemyError) for each in chain)
