"""What the errors of the drivers mean: the drivers' own exceptions, without a server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, exc, make_url

from flask_rest_registration import DatabaseFault, DatabaseUnavailable
from flask_rest_registration.database.errors import ConstraintViolation, TransactionConflict, ValueRefused
from flask_rest_registration.database.transactions import safe_errors
from flask_rest_registration.model.unique import is_exactly
from flask_rest_registration.safe_logging import without_text

SECRET = "scrypt:32768:8:3$salt$0123"


def of_sqlstate(state: str) -> Exception:
    return psycopg.errors.lookup(state)(f"Key (password_hash)=({SECRET})")


def of_pymysql(code: int) -> Exception:
    return pymysql.err.OperationalError(code, f"of {SECRET}")


def of_sqlite(message: str, code: int | None = None, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> Exception:
    error = kind(message)
    if code is not None:
        error.sqlite_errorcode = code  # as Python 3.11's sqlite3 sets it
    return error


class OfPsycopg2(psycopg.OperationalError):
    """An exception as psycopg2 has it, with the SQLSTATE under another name."""

    pgcode = "40001"


class OfAnotherDriver(pymysql.err.OperationalError):
    __module__ = "zz_driver"


def wrapped(driver_error: Exception) -> exc.DBAPIError:
    """Put a driver's exception into SQLAlchemy's class of the same name (PEP 249), as an engine does."""
    candidates: Iterator[Any] = (getattr(exc, cls.__name__, object) for cls in type(driver_error).__mro__)
    wrapper: type[exc.DBAPIError] = next(cls for cls in candidates if issubclass(cls, exc.DBAPIError))
    return wrapper("INSERT INTO user VALUES (?)", (SECRET,), driver_error)


def outcome(error: Exception) -> Exception:
    with pytest.raises(Exception) as caught, safe_errors():  # noqa: PT011  # its type is what the tests ask
        raise error
    return caught.value


MEANINGS: dict[type[Exception], list[Exception]] = {
    ConstraintViolation: [
        *map(of_sqlstate, ("23505", "23514", "23502", "P0001")),
        pymysql.err.IntegrityError(1062, f"Duplicate entry '{SECRET}'"),
        *map(of_pymysql, (3819, 4025, 1644)),  # a CHECK of MySQL's and of MariaDB's, a trigger
        of_sqlite("UNIQUE constraint failed", 2067, sqlite3.IntegrityError),
        of_sqlite("constraint failed", 19),
    ],
    TransactionConflict: [
        *map(of_sqlstate, ("40001", "40P01", "55P03")),
        *map(of_pymysql, (1213, 1205, 1020)),
        *(of_sqlite("database is locked", code) for code in (5, 517, None)),
        of_sqlite("database table is locked", 6),
        OfPsycopg2(),
    ],
    ValueRefused: [
        *map(of_sqlstate, ("22003", "22021", "54000")),
        *map(of_pymysql, (1264, 1265, 1267, 1292, 1366, 1406)),
        of_sqlite("string or blob too big", 18),
    ],
    DatabaseFault: [
        of_sqlstate("42P01"),
        pymysql.err.ProgrammingError(1146, "Table doesn't exist"),
        of_pymysql(1054),
        *(of_sqlite("no such table: user", code) for code in (1, None)),
    ],
    DatabaseUnavailable: [
        *map(of_sqlstate, ("57P01", "53300")),
        of_pymysql(2013),
        of_sqlite("database or disk is full", 13),
        of_sqlite("disk I/O error"),
        of_sqlite("no such file", 14),  # where there is a code, the text is not read
        # Nor is another driver's text.
        OfAnotherDriver("the account is locked"),
        OfAnotherDriver("no such host"),
    ],
}


@pytest.mark.parametrize(
    ("driver_error", "meaning"),
    [(error, meaning) for meaning, errors in MEANINGS.items() for error in errors],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value)[:40],
)
def test_an_error_is_known_by_its_code_whatever_class_the_driver_gives_it(
    driver_error: Exception, meaning: type[Exception]
) -> None:
    assert type(outcome(wrapped(driver_error))) is meaning


def test_errors_that_never_reached_the_database_are_known_by_their_class() -> None:
    for error in (OverflowError("2**64"), UnicodeEncodeError("latin-1", "ü", 0, 1, "no")):
        assert type(outcome(error)) is ValueRefused
    assert type(outcome(exc.TimeoutError("QueuePool limit"))) is DatabaseUnavailable
    other = LookupError("of the application")
    assert outcome(other) is other


def test_of_a_database_error_class_code_and_constraint_are_told_and_no_text() -> None:
    class Violation(psycopg.errors.UniqueViolation):
        diag = SimpleNamespace(constraint_name="user_email_key")  # type: ignore[assignment]  # read-only in psycopg, filled by the server's answer

    raised = outcome(wrapped(of_sqlstate("23505")))
    assert str(raised) == "psycopg.errors.UniqueViolation, code 23505"
    assert (raised.__cause__, raised.__context__) == (None, None)
    assert str(outcome(wrapped(Violation(SECRET)))).endswith("Violation, code 23505, constraint user_email_key")


@pytest.mark.parametrize("error", [wrapped(of_sqlite(SECRET, 13)), exc.InvalidRequestError(SECRET)])
def test_what_the_applications_own_code_raises_of_sqlalchemys_loses_its_text(error: Exception) -> None:
    raised = without_text(error)
    assert type(raised) is DatabaseFault
    assert SECRET not in f"{raised} {vars(raised)}"


ACCOUNTS = Table("accounts", MetaData(), Column("id", Integer, primary_key=True), Column("email", String(254)))


def test_an_address_is_compared_letter_for_letter_where_collations_fold_letters() -> None:
    mysql, postgresql = (make_url(f"{name}://").get_dialect()() for name in ("mysql+pymysql", "postgresql+psycopg"))
    for address in ("x@cafe.example", bindparam("address", type_=String())):
        compiled = is_exactly(ACCOUNTS.c.email, address, dialect="mysql").compile(dialect=mysql)
        assert str(compiled) == "CAST(accounts.email AS BINARY) = CAST(%s AS BINARY)"
        (parameter,) = compiled.bind_names
        assert type(parameter.type) is String  # and not the bytes that it is compared as
        assert parameter.value in {"x@cafe.example", None}
    condition = is_exactly(ACCOUNTS.c.email, "x@cafe.example", dialect="postgresql").compile(dialect=postgresql)
    assert str(condition) == "accounts.email = %(email_1)s::VARCHAR"
