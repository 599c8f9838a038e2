"""Every statement: inserting an account, asking what is taken, finding it and activating it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction
from sqlalchemy.orm.attributes import set_committed_value

from .database_errors import SQLALCHEMY_ERRORS, TransactionConflict, ValueRefused, attempt, translate
from .exceptions import ConfigurationError, DatabaseUnavailable
from .unique import UniqueRule, is_exactly
from .user_model import Flag, UserModel, python_type

Result = TypeVar("Result")

_RETRIES = 3

# Set in a session's info while its transaction has written something.
_HAS_WRITTEN = "flask_rest_registration.has_written"


def _note_flush(session: Session, _: object) -> None:
    session.info[_HAS_WRITTEN] = True


def _note_execution(execution: ORMExecuteState) -> None:
    if not execution.is_select:
        execution.session.info[_HAS_WRITTEN] = True


def _note_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_HAS_WRITTEN, None)


class Accounts:
    """The accounts of one app, in the application's own ``db.session``.

    :param db: the application's Flask-SQLAlchemy extension.
    :param model: its user model.
    """

    def __init__(self, db: SQLAlchemy, model: UserModel) -> None:
        self._db = db
        self._model = model
        event.listen(db.session, "after_flush", _note_flush)
        event.listen(db.session, "do_orm_execute", _note_execution)
        event.listen(db.session, "after_transaction_end", _note_end)
        if self._session.in_transaction():  # what was written before the first use was not noted
            self._session.info[_HAS_WRITTEN] = True

    @property
    def _session(self) -> Session:
        return self._db.session()

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database that has the accounts."""
        return self._session.get_bind(self._model.mapper).dialect.name

    def retry_conflicts(self, action: Callable[[], Result]) -> Result:
        """Run a transaction, and up to three times more in a new one when the database refuses it as a conflict.

        A conflict in a transaction in which the application has written is not tried again: what it wrote there would
        be lost without a word.

        :param action: the statements; it must bear repetition.
        :returns: what it returns.
        :raises DatabaseUnavailable: after the last try.
        """
        written_in = self._session.get_transaction() if self.has_application_written() else None
        tries_left = _RETRIES
        while True:
            try:
                return action()
            except TransactionConflict as conflict:
                lost = written_in is not None and self._session.get_transaction() is written_in
                self.rollback()
                if lost or not tries_left:
                    raise DatabaseUnavailable(str(conflict)) from None
                tries_left -= 1

    def flush_pending(self) -> None:
        """Write what the application left pending, so that its faults are told from ours: they are its own.

        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        try:
            self._session.flush()
        except SQLALCHEMY_ERRORS as error:
            failure = translate(error)
            if not isinstance(failure, (TransactionConflict, DatabaseUnavailable)):
                raise
        else:
            return
        raise failure

    def has_application_written(self) -> bool:
        """Tell whether the application has changes in the open transaction, or pending for it."""
        return self.has_pending() or _HAS_WRITTEN in self._session.info

    def has_pending(self) -> bool:
        """Tell whether the session has changes that are not written yet."""
        session = self._session
        return bool(session.new or session.dirty or session.deleted)

    @contextmanager
    def rolled_back_on_failure(self) -> Iterator[None]:
        """Leave the session clean, whatever is raised inside."""
        try:
            yield
        except BaseException:
            self.rollback()
            raise

    @contextmanager
    def refuse_changes(self) -> Iterator[None]:
        """Keep a serializer from changing rows that the database already has.

        A nested schema that loads instances finds them by the keys in the body, and overwrites them.

        :raises ConfigurationError: if there are changes that were not there before.
        """
        before = self._changed_objects()
        yield
        changed = [each for each in self._changed_objects() if all(each is not other for other in before)]
        if changed:
            names = ", ".join(sorted({type(each).__name__ for each in changed}))
            raise ConfigurationError(
                f"REGISTER_SERIALIZER_CLASS changed rows that the database already has ({names}), so that a stranger"
                " could overwrite them: load nested schemas without load_instance, or with transient=True."
            )

    def _changed_objects(self) -> list[object]:
        session = self._session
        return [each for each in session.dirty if session.is_modified(each, include_collections=False)]

    def insert(self, user: object) -> None:
        """INSERT an account, without committing.

        :param user: a new object of the user model.
        :raises ConstraintViolation: if something of it is taken, or another constraint refuses it.
        :raises TransactionConflict: if another transaction is in the way.
        :raises ValueRefused: if a column cannot hold its value.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        session = self._session
        session.add(user)
        attempt(session.flush)
        flag = self._model.flag
        if flag is not None and flag.is_time:
            # Where NULL was written as SQL, reading the attribute would be a SELECT.
            set_committed_value(user, flag.name, None)

    def is_stored(self, user: object) -> bool:
        """Tell whether the account is still part of the open transaction.

        :param user: an account that was inserted.
        :returns: False if somebody rolled the session back.
        """
        return user in self._session and bool(sa.inspect(user, raiseerr=True).persistent)

    def commit(self) -> None:
        """COMMIT without expiring objects, so that reading them afterwards is no statement.

        :raises ConstraintViolation: for a constraint that is checked at the COMMIT.
        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        session = self._session
        expires = session.expire_on_commit
        session.expire_on_commit = False
        try:
            attempt(session.commit)
        finally:
            session.expire_on_commit = expires

    def rollback(self) -> None:
        """Roll the session back."""
        self._session.rollback()

    def forget(self, user: object) -> None:
        """Take an object out of the session without writing it, whatever state it is in.

        :param user: an object that a serializer gave.
        """
        session = self._session
        if user in session:
            session.expunge(user)

    def taken_by(self, user: object) -> list[UniqueRule]:
        """Ask the database with one SELECT which unique rules an account would break.

        :param user: the account whose INSERT was refused, after the rollback.
        :returns: the rules that other rows break for it.
        """
        values = self._values_by_column(user)
        rules = [
            rule
            for rule in self._model.unique_rules
            if rule.columns and all(values.get(column) is not None for column in rule.columns)
        ]
        if not rules:
            return []
        dialect = self.dialect
        question = sa.select(*(rule.is_taken(values, dialect) for rule in rules))
        row = attempt(lambda: self._session.execute(question, bind_arguments=self._bind).one())
        return [rule for rule, taken in zip(rules, row, strict=True) if taken]

    def _values_by_column(self, user: object) -> dict[sa.Column[Any], object]:
        loaded = sa.inspect(user, raiseerr=True).dict
        return {
            column: loaded[property_.key]
            for property_ in self._model.mapper.column_attrs
            for column in property_.columns
            if isinstance(column, sa.Column)
            and property_.key in loaded
            and not isinstance(loaded[property_.key], sa.ClauseElement)
        }

    @property
    def _bind(self) -> dict[str, Any]:
        return {"mapper": self._model.mapper}

    def find(self, link_id: str) -> Any | None:
        """SELECT the account that a link names, as it is now, not as the session remembers it.

        :param link_id: the value in the link.
        :returns: the account, or None if the text is no account's canonical text.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        key = _key_from_text(link_id, self._model.link_id.column)
        if key is None:
            return None
        self.flush_pending()
        statement = sa.select(self._model.cls).where(self._model.link_id.column == key)
        options = {"populate_existing": True}
        try:
            user = attempt(
                lambda: self._session.execute(statement, execution_options=options).unique().scalar_one_or_none()
            )
        except ValueRefused:  # PostgreSQL compares no number with a column that could not hold it
            self.rollback()
            return None
        # MariaDB finds 'ABC' by 'abc' and 'x' by 'x '.
        return user if user is not None and self._model.link_id_of(user) == link_id else None

    def activate(self, user: object, *, flag: Flag, at: int) -> bool:
        """Set the flag by one conditional UPDATE and COMMIT: of any number of requests at once, one succeeds.

        :param user: the account as it was found; its address is the one that the signature was checked with.
        :param flag: the model's flag.
        :param at: the time of verification, seconds since the epoch.
        :returns: False if the account was verified, changed its address or vanished meanwhile.
        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        value = flag.value_at(at)
        table = flag.column.table
        statement = (
            sa.update(table)
            .where(*self._is_row_of(user, table), flag.condition_unset(), self._has_address_of(user, table))
            .values({flag.column: value})
        )
        session = self._session
        result = attempt(lambda: session.execute(statement, bind_arguments=self._bind))
        if cast("sa.CursorResult[Any]", result).rowcount != 1:  # an UPDATE without RETURNING gives one
            self.rollback()
            return False
        self.commit()
        set_committed_value(user, flag.name, value)
        changed = [name for name, column in self._model.attributes.items() if _changes_on_update(column, table)]
        if changed:
            session.expire(user, changed)
        return True

    def _is_row_of(self, user: object, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """Return the condition that names the account's row in one of the model's tables."""
        mapper = self._model.mapper
        return [column == getattr(user, mapper.get_property_by_column(column).key) for column in table.primary_key]

    def _has_address_of(self, user: object, table: sa.FromClause) -> sa.ColumnElement[bool]:
        email = self._model.email
        condition = is_exactly(email.column, getattr(user, email.name), dialect=self.dialect)
        if email.column.table is table:
            return condition
        # In joined inheritance the address may stand in another table than the flag.
        return sa.exists().where(*self._is_row_of(user, email.column.table), condition)


def _changes_on_update(column: sa.Column[Any], table: sa.FromClause) -> bool:
    return column.table is table and (column.onupdate is not None or column.server_onupdate is not None)


def _key_from_text(text: str, column: sa.Column[Any]) -> object | None:
    """Convert a link's value to the column's Python type before any database sees it.

    :param text: what the client sent.
    :param column: the column that it is looked for in.
    :returns: the value, or None if it is not the canonical text of one.
    """
    kind = python_type(column)
    key: object = text
    try:
        if kind is int:
            key = int(text)
        elif isinstance(column.type, sa.Uuid):
            key = uuid.UUID(text)
    except ValueError:
        return None
    if str(key) != text or (isinstance(key, int) and not -(2**63) <= key < 2**63):  # sqlite3 overflows beyond
        return None
    return text if isinstance(column.type, sa.Uuid) and not column.type.as_uuid else key
