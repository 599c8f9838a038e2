"""What a database error means, whatever class, code or language its driver gives it.

Driver messages are never parsed, but for the one of SQLite on Python 3.10, which gives no codes: they differ by
server, version and language. Their text is never passed on either: it quotes parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import exc

from ..exceptions import DatabaseFault, DatabaseUnavailable

Result = TypeVar("Result")

_SQLITE_ERROR = 1  # an SQL statement that is wrong, such as one with a table that is not there
_SQLITE_BUSY = 5

_CONFLICTS: set[str | int] = {
    *("40001", "40P01", "55P03"),  # SQLSTATE: serialization failure, deadlock, lock not available (PostgreSQL)
    *(1205, 1213, 1020),  # MySQL, MariaDB: lock wait time-out, deadlock, record changed since the snapshot
    *(_SQLITE_BUSY, 6),  # SQLite: busy, locked
}
_CONSTRAINTS: set[str | int] = {
    # A CHECK in MySQL and in MariaDB, and a NOT NULL column that is not named: PyMySQL's OperationalErrors.
    *(3819, 4025, 1364),
    19,  # SQLite
}
_VALUES: set[str | int] = {
    *(1264, 1265, 1267, 1292, 1366, 1406),  # MySQL, MariaDB: truncated, out of range, wrong for the column
    18,  # SQLite: too big
}
# Of SQLSTATE, class 23 is "integrity constraint violation", 22 "data exception", 54 "program limit exceeded", such
# as a text too long for its index.

#: What a statement may raise; drivers raise the last two by themselves, for values that they cannot encode.
SQLALCHEMY_ERRORS = (exc.StatementError, exc.TimeoutError, OverflowError, UnicodeError)


class ConstraintViolation(DatabaseFault):
    """The database refused a row or its change because of a constraint."""


class TransactionConflict(DatabaseFault):
    """The database refused a statement because of another transaction; it may be tried again in a new one."""


class ValueRefused(DatabaseFault):
    """The database cannot store a value in its column."""


def attempt(action: Callable[[], Result]) -> Result:
    """Run statements of our own, and raise a safe error in place of SQLAlchemy's.

    :param action: what executes them.
    :returns: what it returns.
    :raises ConstraintViolation: for a violated constraint of any kind.
    :raises TransactionConflict: for a conflict with another transaction.
    :raises ValueRefused: for a value that the column cannot hold.
    :raises DatabaseUnavailable: if the database is out of reach or cannot write.
    :raises DatabaseFault: for anything else, such as a missing table.
    """
    try:
        return action()
    except SQLALCHEMY_ERRORS as error:
        failure = translate(error)
    # Raised outside the handler: as its context the driver's error would be reported along with ours.
    raise failure


def translate(error: Exception) -> Exception:
    """Find the safe error that stands for one of SQLAlchemy's.

    :param error: one of ``SQLALCHEMY_ERRORS``.
    :returns: as :func:`attempt` raises them.
    """
    if isinstance(error, exc.TimeoutError):  # the connection pool's
        return DatabaseUnavailable(_class_name(error))
    if not isinstance(error, exc.DBAPIError):
        # The driver's own, or a StatementError of a type's conversion of a value.
        return ValueRefused(_class_name(error))
    driver_error = error.orig
    codes = _codes(driver_error)
    description = _describe(driver_error, codes)
    if codes & _CONFLICTS:
        return TransactionConflict(description)
    if isinstance(error, exc.IntegrityError) or codes & _CONSTRAINTS or _has_class(codes, "23"):
        return ConstraintViolation(description)
    if isinstance(error, exc.DataError) or codes & _VALUES or _has_class(codes, "22", "54"):
        return ValueRefused(description)
    if isinstance(error, (exc.ProgrammingError, exc.NotSupportedError)) or _SQLITE_ERROR in codes:
        return DatabaseFault(description)
    return DatabaseUnavailable(description)


def without_text(error: Exception) -> Exception:
    """Return a safe error in place of one of SQLAlchemy's, and any other as it is.

    :param error: what the application's own code raised.
    :returns: what may be raised on.
    """
    if not isinstance(error, exc.SQLAlchemyError):
        return error
    return translate(error) if isinstance(error, SQLALCHEMY_ERRORS) else DatabaseFault(_class_name(error))


def _codes(driver_error: BaseException | None) -> set[str | int]:
    """Return the SQLSTATE as text and the number of SQLite, MySQL and MariaDB, as far as the driver gives them."""
    codes: set[str | int] = set()
    for name in ("sqlstate", "pgcode"):
        state = getattr(driver_error, name, None)
        if isinstance(state, str):
            codes.add(state)
    number = getattr(driver_error, "sqlite_errorcode", None)
    if isinstance(number, int):
        codes.add(number & 0xFF)  # the extended code without its extension
    arguments = getattr(driver_error, "args", ())
    if arguments and isinstance(arguments[0], int):
        codes.add(arguments[0])
    if not codes and type(driver_error).__module__ == "sqlite3":
        codes |= _sqlite_codes_by_message(str(driver_error))
    return codes


def _sqlite_codes_by_message(message: str) -> set[str | int]:
    """Stand in for the codes that sqlite3 has from Python 3.11 on; its messages are English everywhere."""
    if "is locked" in message:
        return {_SQLITE_BUSY}
    return {_SQLITE_ERROR} if message.startswith("no such") else set()


def _has_class(codes: set[str | int], *classes: str) -> bool:
    return any(isinstance(code, str) and code[:2] in classes for code in codes)


def _describe(driver_error: BaseException | None, codes: set[str | int]) -> str:
    parts = [_class_name(driver_error), *(f"code {code}" for code in sorted(codes, key=str))]
    constraint = getattr(getattr(driver_error, "diag", None), "constraint_name", None)
    if constraint:
        parts.append(f"constraint {constraint}")
    return ", ".join(parts)


def _class_name(error: BaseException | None) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
