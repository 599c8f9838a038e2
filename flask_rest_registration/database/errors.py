"""What a database error means, whatever class, code or language its driver gives it.

Drivers' texts are not parsed, since they differ by server, version and language; the exception is SQLite on Python
3.10, which gives no codes. They are not passed on either, since they quote parameters.
"""

from __future__ import annotations

from sqlalchemy import exc

from ..exceptions import DatabaseFault, DatabaseUnavailable
from ..safe_logging import class_name

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
    *("P0001", 1644),  # a trigger that refuses: RAISE in PostgreSQL, SIGNAL in MySQL and MariaDB
    19,  # SQLite
}
_VALUES: set[str | int] = {
    *(1264, 1265, 1267, 1292, 1366, 1406),  # MySQL, MariaDB: truncated, out of range, wrong for the column
    18,  # SQLite: too big
}
# Statements that are wrong, as where a column (MySQL, MariaDB) or a table is missing, in the driver's OperationalError.
_WRONG_STATEMENTS: set[str | int] = {1054, _SQLITE_ERROR}
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


def translate(error: Exception) -> Exception:
    """Return the safe error that stands for one of ``SQLALCHEMY_ERRORS``.

    It is a ``DatabaseUnavailable`` if the database is out of reach or cannot write, and a plain ``DatabaseFault`` for
    what is none of the classes above, such as a missing table.
    """
    if isinstance(error, exc.TimeoutError):  # the connection pool's
        return DatabaseUnavailable(class_name(error))
    if not isinstance(error, exc.DBAPIError):
        # The driver's own, or a StatementError of a type's conversion of a value.
        return ValueRefused(class_name(error))
    driver_error = error.orig
    codes = _codes(driver_error)
    description = _describe(driver_error, codes)
    if codes & _CONFLICTS:
        return TransactionConflict(description)
    if isinstance(error, exc.IntegrityError) or codes & _CONSTRAINTS or _has_class(codes, "23"):
        return ConstraintViolation(description)
    if isinstance(error, exc.DataError) or codes & _VALUES or _has_class(codes, "22", "54"):
        return ValueRefused(description)
    if isinstance(error, (exc.ProgrammingError, exc.NotSupportedError)) or codes & _WRONG_STATEMENTS:
        return DatabaseFault(
            f"{description} (perhaps a table or column is missing. Fix: run your migrations;"
            " flask rest-registration check names it)"
        )
    return DatabaseUnavailable(description)


def _codes(driver_error: BaseException | None) -> set[str | int]:
    """Return the SQLSTATE as text and the number of SQLite, MySQL and MariaDB, as far as the driver gives them."""
    states = {getattr(driver_error, name, None) for name in ("sqlstate", "pgcode")}
    numbers = [*getattr(driver_error, "args", ())[:1]]
    if isinstance(number := getattr(driver_error, "sqlite_errorcode", None), int):
        numbers.append(number & 0xFF)  # the extended code without its extension
    codes: set[str | int] = {state for state in states if isinstance(state, str)}
    codes |= {number for number in numbers if isinstance(number, int)}
    if not codes and type(driver_error).__module__ == "sqlite3":
        # sqlite3 has codes from Python 3.11 on; its messages are English everywhere.
        text = str(driver_error)
        if "is locked" in text:
            return {_SQLITE_BUSY}
        return {_SQLITE_ERROR} if text.startswith("no such") or "has no column" in text else set()
    return codes


def _has_class(codes: set[str | int], *classes: str) -> bool:
    return any(isinstance(code, str) and code[:2] in classes for code in codes)


def _describe(driver_error: BaseException | None, codes: set[str | int]) -> str:
    parts = [class_name(driver_error), *(f"code {code}" for code in sorted(codes, key=str))]
    constraint = getattr(getattr(driver_error, "diag", None), "constraint_name", None)
    if constraint:
        parts.append(f"constraint {constraint}")
    return ", ".join(parts)
