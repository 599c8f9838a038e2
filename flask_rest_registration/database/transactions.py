"""Transactions in the application's own session: their ends, their conflicts, and what the application left in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, exc
from sqlalchemy.orm import Mapper, ORMExecuteState, Session, SessionTransaction, object_session
from sqlalchemy.orm.util import has_identity

from ..exceptions import ConfigurationError, DatabaseUnavailable
from .errors import SQLALCHEMY_ERRORS, TransactionConflict, attempt, translate

Result = TypeVar("Result")

#: How often a conflict is tried again.
RETRIES = 3

#: How often a statement is tried again to whose row many requests write at once, such as the guesses of one code.
HOT_ROW_RETRIES = 8

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


def _has_pending(session: Session) -> bool:
    # What is dirty or to be deleted is in the identity map, which is usually empty and quicker to ask.
    return bool(session.new or (session.identity_map and (session.dirty or session.deleted)))


def _changed_objects(session: Session) -> list[object]:
    if not session.identity_map:  # the usual case, for which "dirty" takes its time too
        return []
    return [each for each in session.dirty if session.is_modified(each, include_collections=False)]


def _has_written(session: Session) -> bool:
    return _HAS_WRITTEN in session.info or _has_pending(session)


class RollbackOnFailure:
    """A context after which the session is clean, whatever is raised inside.

    A generator would do, in 0.7 us instead of 0.15.

    :param transactions: whose session it is.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._transactions.rollback()


class Transactions:
    """The application's own ``db.session``.

    :param db: the application's Flask-SQLAlchemy extension.
    :param mapper: the user model's mapper, which says what database the statements go to.
    """

    def __init__(self, db: SQLAlchemy, mapper: Mapper[Any]) -> None:
        self._db = db
        self._mapper = mapper
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
        return self._session.get_bind(self._mapper).dialect.name

    def execute(
        self, statement: sa.Executable, parameters: Mapping[str, object] | None = None, **options: Any
    ) -> sa.Result[Any]:
        """Run a statement of ours.

        :param statement: any statement.
        :param parameters: the values of its parameters, if it has any.
        :param options: execution options.
        :returns: its rows.
        :raises DatabaseFault: as :func:`~.database_errors.attempt` tells its kinds apart.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        bind = {"mapper": self._mapper}
        return attempt(
            lambda: self._session.execute(statement, parameters, execution_options=options, bind_arguments=bind)
        )

    def count_changed(self, statement: sa.Update | sa.Delete, parameters: Mapping[str, object] | None = None) -> int:
        """Run a conditional UPDATE or DELETE, without committing.

        :param statement: a statement without RETURNING.
        :param parameters: the values of its parameters, if it has any.
        :returns: the number of rows that it hit.
        :raises DatabaseFault: as :meth:`execute`.
        :raises DatabaseUnavailable: as :meth:`execute`.
        """
        return cast("sa.CursorResult[Any]", self.execute(statement, parameters)).rowcount  # what such a statement gives

    def commit_if_one_changes(
        self, statement: sa.Update | sa.Delete, parameters: Mapping[str, object] | None = None
    ) -> bool:
        """Let a conditional UPDATE or DELETE of one row decide: COMMIT if it hit the row, else roll back.

        :param statement: a statement without RETURNING.
        :param parameters: the values of its parameters, if it has any.
        :returns: whether it hit the row.
        :raises DatabaseFault: as :meth:`execute`.
        :raises DatabaseUnavailable: as :meth:`execute`.
        """
        if self.count_changed(statement, parameters) != 1:
            self.rollback()
            return False
        self.commit()
        return True

    def retry_conflicts(self, action: Callable[[], Result], *, retries: int = RETRIES) -> Result:
        """Run a transaction, and a few times more in a new one when the database refuses it as a conflict.

        A conflict in a transaction in which the application has written is not tried again: what it wrote there would
        be lost without a word.

        :param action: the statements; it must bear repetition.
        :param retries: how often it is repeated at most.
        :returns: what it returns.
        :raises DatabaseUnavailable: after the last try.
        """
        session = self._session
        written_in = session.get_transaction() if _has_written(session) else None
        tries_left = retries
        while True:
            try:
                return action()
            except TransactionConflict as conflict:
                lost = written_in is not None and session.get_transaction() is written_in
                self.rollback()
                if lost or not tries_left:
                    raise DatabaseUnavailable(str(conflict)) from None
                tries_left -= 1

    def read(self, action: Callable[[], Result]) -> Result:
        """Run statements that only read, in a transaction that is over afterwards.

        What the application left pending goes with its COMMIT.

        :param action: the statements; it must bear repetition.
        :returns: what it returns.
        :raises DatabaseUnavailable: as :meth:`retry_conflicts`.
        """

        def read_and_commit() -> Result:
            found = action()
            self.commit()
            return found

        return self.retry_conflicts(read_and_commit)

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
        return _has_written(self._session)

    def has_pending(self) -> bool:
        """Tell whether the session has changes that are not written yet."""
        return _has_pending(self._session)

    def end_reading(self) -> None:
        """End a transaction in which nothing was written, so that no connection is held by it."""
        if not self.has_application_written():
            self.commit()

    def rolled_back_on_failure(self) -> RollbackOnFailure:
        """Leave the session clean, whatever is raised inside."""
        return RollbackOnFailure(self)

    def refuse_changes(self, load: Callable[[], Result], *, setting: str = "REGISTER_SERIALIZER_CLASS") -> Result:
        """Keep a serializer from changing rows that the database already has.

        A nested schema that loads instances finds them by the keys in the body, and overwrites them.

        :param load: runs the serializer.
        :param setting: names the serializer.
        :returns: what it returns.
        :raises ConfigurationError: if there are changes that were not there before.
        """
        session = self._session
        before = _changed_objects(session)
        loaded = load()
        changed = [each for each in _changed_objects(session) if all(each is not other for other in before)]
        if changed:
            names = ", ".join(sorted({type(each).__name__ for each in changed}))
            raise ConfigurationError(
                f"{setting} changed rows that the database already has ({names}), so that a stranger"
                " could overwrite them: load nested schemas without load_instance, or with transient=True."
            )
        return loaded

    def is_stored(self, user: object) -> bool:
        """Tell whether the account is still part of the open transaction.

        :param user: an account that was inserted.
        :returns: False if somebody rolled the session back.
        """
        return user in self._session and has_identity(user)

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
        """Roll the session back.

        On a connection that is gone the ROLLBACK fails, and nothing needs it: the database undoes by itself what was
        not committed. The refusal or failure that is under way is to be told then, and not this.
        """
        with suppress(exc.DBAPIError):
            self._session.rollback()

    def forget(self, user: object) -> None:
        """Take an object out of the session without writing it, whatever state it is in.

        :param user: an object that a serializer gave.
        """
        session = object_session(user)
        if session is not None:
            session.expunge(user)
