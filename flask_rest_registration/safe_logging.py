"""Reporting the application's own exceptions without the secrets that they may quote."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import quote, quote_plus

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from .exceptions import DatabaseFault


def log_exception(app: Flask, message: str, error: BaseException) -> None:
    """Log an exception with its traceback.

    The texts of database errors quote parameters, among them password hashes: where one is in the chain, only the
    class and the lines of code are logged.
    """
    if _has_database_error(error):
        app.logger.error("%s: %s", message, traceback_without_text(error))
    else:
        app.logger.error(message, exc_info=error)


def traceback_without_text(error: BaseException) -> str:
    """Describe an exception by its class and the lines of code that it came through."""
    return "\n".join([type(error).__qualname__, *traceback.format_tb(error.__traceback__)])


# Addresses; the values of a link, in its query string or as a dict; signatures, 43 characters of base64.
_SECRETS = re.compile(
    r"""[^\s<>"'(),:;=&\[\]]+(?:@|%40)[^\s<>"'(),:;=&\[\]]+"""
    r"""|(?:user_id|timestamp|signature)(?:["']?[ ]*[=:][ ]*["']?)[^\s&'",;})<>]*"""
    r"""|(?<![\w-])[\w-]{43}(?![\w-])"""
)


def traceback_without_secrets(error: BaseException, *secrets: str) -> str:
    """Describe an exception of a sender with its text, in which secrets, addresses and links are replaced by "...".

    Of database errors only class and lines are told.

    :param secrets: texts that nobody may read in a log; those under six characters are not looked for.
    """
    if _has_database_error(error):
        return traceback_without_text(error)
    text = "".join(traceback.format_exception(error))
    spellings = {spelling for secret in secrets if len(secret) >= 6 for spelling in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, "...")
    return _SECRETS.sub("...", text)


def _spellings(secret: str) -> Iterator[str]:
    """Yield a text as it may stand in a body or a query string, and each of these as Python quotes it."""
    secret = secret.encode(errors="replace").decode()  # half a surrogate pair has no UTF-8
    in_json = (json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    in_form = quote_plus(secret, safe="*").replace("~", "%7E")  # as browsers send it
    for sent in (secret, quote(secret), quote_plus(secret), in_form, *in_json):
        yield from (sent, repr(sent)[1:-1], ascii(sent)[1:-1], repr(sent.encode())[2:-1])


def own_words(error: ValueError) -> str:
    """Return what an application says by a ``ValueError``; empty for subclasses, which quote what they were given."""
    return str(error) if type(error) is ValueError else ""


def class_name(error: BaseException | None) -> str:
    """Return an exception's class with its module."""
    return f"{type(error).__module__}.{type(error).__qualname__}"


def without_text(error: Exception) -> Exception:
    """Return a safe error in place of one of SQLAlchemy's, and any other as it is."""
    return DatabaseFault(class_name(error)) if isinstance(error, SQLAlchemyError) else error


def raise_alone(error: BaseException) -> NoReturn:
    """Raise an error without its context: reports of errors show that too, and it may quote a secret."""
    try:
        raise error
    finally:
        error.__context__ = None


def _has_database_error(error: BaseException) -> bool:
    chain: list[BaseException] = [error]
    for each in chain:  # grows while it is walked
        links = (each.__cause__, each.__context__, *getattr(each, "exceptions", ()))  # an ExceptionGroup has these
        chain += (link for link in links if link is not None and link not in chain)
    # SQLAlchemyError, since PendingRollbackError quotes the error that came before it.
    return any(isinstance(each, SQLAlchemyError) for each in chain)
