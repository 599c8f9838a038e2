"""What the errors of the drivers mean: the drivers' own exceptions, without a server."""

from __future__ import annotations

import sqlite3

import psycopg
import pymysql
import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, exc, make_url

from flask_rest_registration import DatabaseFault, DatabaseUnavailable
from flask_rest_registration.database.errors import (
    ConstraintViolation,
    TransactionConflict,
    ValueRefused,
    attempt,
    without_text,
)
from flask_rest_registration.model.unique import is_exactly

SECRET = "scrypt:32768:8:3$salt$0123"

#: SQLAlchemy's class for each class of a driver (PEP 249) that the table below needs.
WRAPPERS = {
    "IntegrityError": exc.IntegrityError,
    "OperationalError": exc.OperationalError,
    "DataError": exc.DataError,
    "ProgrammingError": exc.ProgrammingError,
    "NotSupportedError": exc.NotSupportedError,
    "InternalError": exc.InternalError,
    "InterfaceError": exc.InterfaceError,
}


def of_sqlstate(state: str) -> Exception:
    return psycopg.errors.lookup(state)(f"Key (password_hash)=({SECRET})")


def of_sqlite(message: str, code: int | None = None, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> Exception:
    error = kind(message)
    if code is not None:
        error.sqlite_errorcode = code  # as Python 3.11's sqlite3 sets it
    return error


def wrapped(driver_error: Exception) -> exc.DBAPIError:
    """Put a driver's exception into SQLAlchemy's, as an engine does."""
    names = [cls.__name__ for cls in type(driver_error).__mro__]
    wrapper = next(WRAPPERS[name] for name in names if name in WRAPPERS)
    return wrapper("INSERT INTO user VALUES (?)", (SECRET,), driver_error)


def outcome(error: Exception) -> Exception:
    def fail() -> None:
        raise error

    with pytest.raises(Exception) as caught:  # noqa: PT011  # its type is what the tests ask
        attempt(fail)
    return caught.value


@pytest.mark.parametrize(
    ("driver_error", "meaning"),
    [
        (of_sqlstate("23505"), ConstraintViolation),
        (of_sqlstate("23514"), ConstraintViolation),
        (of_sqlstate("23502"), ConstraintViolation),
        (of_sqlstate("40001"), TransactionConflict),
        (of_sqlstate("40P01"), TransactionConflict),
        (of_sqlstate("55P03"), TransactionConflict),
        (of_sqlstate("22003"), ValueRefused),
        (of_sqlstate("22021"), ValueRefused),
        (of_sqlstate("54000"), ValueRefused),
        (of_sqlstate("42P01"), DatabaseFault),
        (of_sqlstate("57P01"), DatabaseUnavailable),
        (of_sqlstate("53300"), DatabaseUnavailable),
        (pymysql.err.IntegrityError(1062, f"Duplicate entry '{SECRET}'"), ConstraintViolation),
        (pymysql.err.OperationalError(3819, "Check constraint"), ConstraintViolation),
        (pymysql.err.OperationalError(4025, "CONSTRAINT"), ConstraintViolation),
        (pymysql.err.OperationalError(1213, "Deadlock found"), TransactionConflict),
        (pymysql.err.OperationalError(1205, "Lock wait timeout"), TransactionConflict),
        (pymysql.err.OperationalError(1020, "Record has changed"), TransactionConflict),
        (pymysql.err.OperationalError(1264, "Out of range"), ValueRefused),
        (pymysql.err.OperationalError(1265, "Data truncated"), ValueRefused),
        (pymysql.err.OperationalError(1292, "Incorrect value"), ValueRefused),
        (pymysql.err.OperationalError(1366, "Incorrect string value"), ValueRefused),
        (pymysql.err.OperationalError(1406, "Data too long"), ValueRefused),
        (pymysql.err.OperationalError(1267, "Illegal mix of collations"), ValueRefused),
        (pymysql.err.DataError(1406, "Data too long"), ValueRefused),
        (pymysql.err.ProgrammingError(1146, "Table doesn't exist"), DatabaseFault),
        (pymysql.err.OperationalError(2013, "Lost connection"), DatabaseUnavailable),
        (of_sqlite("UNIQUE constraint failed", 2067, sqlite3.IntegrityError), ConstraintViolation),
        (of_sqlite("constraint failed", 19), ConstraintViolation),
        (of_sqlite("string or blob too big", 18), ValueRefused),
        (of_sqlite("database is locked", 5), TransactionConflict),
        (of_sqlite("database is locked", 517), TransactionConflict),
        (of_sqlite("database table is locked", 6), TransactionConflict),
        (of_sqlite("no such table: user", 1), DatabaseFault),
        (of_sqlite("attempt to write a readonly database", 8), DatabaseUnavailable),
        (of_sqlite("database or disk is full", 13), DatabaseUnavailable),
        (of_sqlite("database is locked"), TransactionConflict),
        (of_sqlite("no such table: user"), DatabaseFault),
        (of_sqlite("disk I/O error"), DatabaseUnavailable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value)[:40],
)
def test_an_error_is_known_by_its_code_whatever_class_the_driver_gives_it(
    driver_error: Exception, meaning: type[Exception]
) -> None:
    raised = outcome(wrapped(driver_error))
    assert type(raised) is meaning


def test_neither_text_nor_parameters_of_a_database_error_are_passed_on() -> None:
    raised = outcome(wrapped(of_sqlstate("23505")))
    assert str(raised) == "psycopg.errors.UniqueViolation, code 23505"
    assert (raised.__cause__, raised.__context__) == (None, None)


def test_the_name_of_the_constraint_is_told_where_the_driver_knows_it() -> None:
    class Diagnostics:
        constraint_name = "user_email_key"

    class Violation(psycopg.errors.UniqueViolation):
        diag = Diagnostics()  # type: ignore[assignment]  # read-only in psycopg, filled by the server's answer

    raised = outcome(exc.IntegrityError("INSERT", (), Violation()))
    assert str(raised).endswith("code 23505, constraint user_email_key")


class OfPsycopg2(Exception):
    """An exception as psycopg2 has it, with the SQLSTATE under another name."""

    pgcode = "40001"


def test_the_code_of_psycopg2_is_read_too() -> None:
    assert type(outcome(exc.OperationalError("UPDATE", (), OfPsycopg2()))) is TransactionConflict


@pytest.mark.parametrize("module", ["another_driver", "zz_driver"])
def test_no_other_drivers_message_is_read(module: str) -> None:
    kind = type("Refused", (Exception,), {"__module__": module})
    for text in ("the account is locked", "no such host"):
        assert type(outcome(exc.OperationalError("UPDATE", (), kind(text)))) is DatabaseUnavailable


def test_sqlites_message_is_not_read_where_it_gives_a_code() -> None:
    assert type(outcome(wrapped(of_sqlite("no such file", 14)))) is DatabaseUnavailable


@pytest.mark.parametrize(
    ("error", "kind"),
    [(wrapped(of_sqlite(SECRET, 13)), DatabaseUnavailable), (exc.InvalidRequestError(SECRET), DatabaseFault)],
    ids=["driver", "SQLAlchemy"],
)
def test_what_the_applications_own_code_raises_of_sqlalchemys_loses_its_text(
    error: Exception, kind: type[Exception]
) -> None:
    raised = without_text(error)
    assert type(raised) is kind
    assert SECRET not in f"{raised} {vars(raised)}"


@pytest.mark.parametrize("error", [OverflowError("2**64"), UnicodeEncodeError("latin-1", "ü", 0, 1, "no")])
def test_a_value_that_the_driver_itself_cannot_send_is_a_refused_value(error: Exception) -> None:
    assert type(outcome(error)) is ValueRefused


def test_a_pool_without_a_free_connection_is_an_unavailable_database() -> None:
    assert type(outcome(exc.TimeoutError("QueuePool limit"))) is DatabaseUnavailable


def test_what_is_no_database_error_stays_as_it_is() -> None:
    error = LookupError("of the application")
    assert outcome(error) is error


ACCOUNTS = Table("accounts", MetaData(), Column("id", Integer, primary_key=True), Column("email", String(254)))


def test_an_address_is_compared_letter_for_letter_where_collations_fold_letters() -> None:
    def condition(url: str) -> object:
        dialect = make_url(url).get_dialect()()
        return is_exactly(ACCOUNTS.c.email, "x@cafe.example", dialect=dialect.name).compile(dialect=dialect)

    assert str(condition("mysql+pymysql://")) == "CAST(accounts.email AS BINARY) = CAST(%s AS BINARY)"
    assert str(condition("postgresql+psycopg://")) == "accounts.email = %(email_1)s::VARCHAR"


def test_what_is_compared_letter_for_letter_stays_a_text_on_its_way_to_the_database() -> None:
    dialect = make_url("mysql+pymysql://").get_dialect()()
    for address in ("x@cafe.example", bindparam("address", type_=String())):
        compiled = is_exactly(ACCOUNTS.c.email, address, dialect="mysql").compile(dialect=dialect)
        (parameter,) = compiled.bind_names
        assert type(parameter.type) is String
        assert parameter.value in {"x@cafe.example", None}
