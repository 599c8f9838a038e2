"""Transactions in the application's own session: their ends, their conflicts, and what the application left in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from logging import Logger
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, exc
from sqlalchemy.orm import (
    InstanceState,
    Mapper,
    ORMExecuteState,
    RelationshipDirection,
    Session,
    SessionTransaction,
    scoped_session,
)
from sqlalchemy.orm.attributes import History
from sqlalchemy.orm.util import has_identity

from ..exceptions import ConfigurationError, DatabaseUnavailable, ServiceUnavailable
from ..safe_logging import raise_alone
from .errors import SQLALCHEMY_ERRORS, TransactionConflict, translate

Result = TypeVar("Result")
_States = set[InstanceState[Any]]

#: How often a conflict is tried again.
RETRIES = 3
#: How often a statement is tried again whose row many requests write at once, such as the attempts with one code.
HOT_ROW_RETRIES = 8

#: What to do about a serializer that gives or changes rows that exist.
NEW_ROWS_FIX = "Fix: load nested schemas without load_instance, or with transient=True."

# Set in a session's info while its transaction has written something.
_HAS_WRITTEN = "flask_rest_registration.has_written"
# Set there between a flush's statements and the end of its part of the transaction.
_HAS_FLUSHED = "flask_rest_registration.has_flushed"
# Set there while a serializer runs: the setting that names it, and what was changed before.
_LOADING = "flask_rest_registration.loading"


def _note_flush(session: Session, _: object) -> None:
    session.info[_HAS_FLUSHED] = True
    if session.new or session.deleted or _changes(session):  # a flush that only meets back-references writes nothing
        session.info[_HAS_WRITTEN] = True
    if _LOADING in session.info:
        _refuse_new_changes(session, loaded=())
        session.info[_LOADING] = session.info[_LOADING][0], {}


def _note_execution(execution: ORMExecuteState) -> None:
    statement = execution.statement
    is_select = execution.is_select or (
        isinstance(statement, sa.TextClause) and statement.text.lstrip()[:6].upper() == "SELECT"
    )
    if not is_select:
        execution.session.info[_HAS_WRITTEN] = True


def _note_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_HAS_WRITTEN, None)
    elif not transaction.nested and not session.info.pop(_HAS_FLUSHED, False):
        session.info[_HAS_WRITTEN] = True  # bulk methods have a part of their own too, and no other event


class _NotingSession(Session):
    """Notes that somebody has taken the connection: what runs on it by itself has no event of the session."""

    def connection(self, *arguments: Any, **options: Any) -> sa.Connection:
        self.info[_HAS_WRITTEN] = True
        return super().connection(*arguments, **options)


def _changes(session: Session, free: _States | None = None) -> dict[InstanceState[Any], object]:
    """Return what a flush would change of rows that exist, by object.

    :param free: the new objects whose back-references are no changes; None for all new objects.
    """
    changes: dict[InstanceState[Any], object] = {sa.inspect(each, raiseerr=True): True for each in session.deleted}
    for each in session.dirty:
        state: InstanceState[Any] = sa.inspect(each, raiseerr=True)
        attributes = state.attrs
        keys = (prop.key for prop in (*state.mapper.column_attrs, *state.mapper.relationships))
        histories = {key: attributes[key].history for key in keys}
        changed = {key: history for key, history in histories.items() if _is_change(state, key, history, free)}
        if changed:
            changes[state] = changed
    return changes


def _is_change(state: InstanceState[Any], key: str, history: History, free: _States | None = None) -> bool:
    """Tell whether an attribute of a row that exists is changed.

    A back-reference is no change: a new object that refers to the row stands in a collection of it too, and only the
    new object is written.
    """
    relationship = state.mapper.relationships.get(key)
    if relationship is None or relationship.direction is RelationshipDirection.MANYTOONE or history.deleted:
        return history.has_changes()
    added = [new for new in history.added or () if new is not None]
    return not all(_refers_to(new, state.obj()) and (free is None or sa.inspect(new) in free) for new in added)


def _refers_to(new: object, old: object) -> bool:
    state: InstanceState[Any] = sa.inspect(new, raiseerr=True)
    attributes = state.attrs
    return state.key is None and any(
        each is old
        for relationship in state.mapper.relationships
        for each in attributes[relationship.key].history.added or ()
    )


def _new_objects(loaded: object) -> _States:
    """Return the new objects that are reached from what a serializer gave, by no way through a row that exists."""
    found, waiting = _States(), [loaded]
    for each in waiting:  # grows while it is walked
        state: InstanceState[Any] | None = sa.inspect(each, raiseerr=False)
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set)):
            waiting += each
        elif isinstance(state, InstanceState) and state.key is None and state not in found:
            found.add(state)
            waiting += (state.dict.get(relationship.key) for relationship in state.mapper.relationships)
    return found


def _forget_new_objects(session: Session, row: object) -> None:
    """Take the back-references of new objects outside the session out of a row that exists, before a flush.

    The flush would warn of them. The new object still refers to the row, and that is what is written.
    """
    state: InstanceState[Any] = sa.inspect(row, raiseerr=True)
    attributes, forgotten = state.attrs, []
    for key in (relationship.key for relationship in state.mapper.relationships):
        history = attributes[key].history
        is_outside = any(new is not None and new not in session for new in history.added or ())
        if (is_outside or key not in state.dict) and not _is_change(state, key, history):
            forgotten.append(key)
    if forgotten:
        session.expire(row, forgotten)


def _refuse_new_changes(session: Session, *, loaded: object) -> None:
    """Refuse what a serializer has changed of rows that exist; see :meth:`Transactions.refuse_changes`."""
    setting, before = session.info[_LOADING]
    after = _changes(session, _new_objects(loaded))
    changed = [state for state in {**before, **after} if before.get(state) != after.get(state)]
    if changed:
        names = ", ".join(sorted({state.class_.__name__ for state in changed}))
        raise ConfigurationError(
            f"{setting} changed rows that the database already has ({names}), so that a stranger could overwrite"
            f" them. {NEW_ROWS_FIX}"
        )


def autocommits(bind: sa.Engine | sa.Connection) -> bool:
    """Tell whether an engine is set up to COMMIT each statement at once, so that nothing can be rolled back."""
    # What create_engine() was given, SQLAlchemy tells nobody; asking a connection would be a statement.
    given = getattr(bind.dialect, "_on_connect_isolation_level", None)
    return bool(bind.get_execution_options().get("isolation_level", given) == "AUTOCOMMIT")


@contextmanager
def safe_errors() -> Iterator[None]:
    """Replace SQLAlchemy's errors inside by those of :func:`~.errors.translate`, which quote no parameters."""
    try:
        yield
    except SQLALCHEMY_ERRORS as error:
        raise_alone(translate(error))


class Transactions:
    """The application's own ``db.session``; statements go to the database of the user model's mapper.

    Every method that reaches the database raises ``DatabaseUnavailable`` if the database is out of reach, and a
    ``DatabaseFault`` or one of its subclasses (``.errors``) if the database refuses a statement.
    """

    def __init__(self, db: SQLAlchemy, mapper: Mapper[Any]) -> None:
        self._db = db
        self._mapper = mapper
        self._watched: scoped_session[Any] | None = None
        if autocommits(self.session.get_bind(mapper)):
            raise ConfigurationError(
                f"The database of {mapper.class_.__name__} is in AUTOCOMMIT, so that a refused registration would leave"
                " its row behind. Fix: remove isolation_level from its engine options (SQLALCHEMY_ENGINE_OPTIONS,"
                " SQLALCHEMY_BINDS)."
            )

    @property
    def session(self) -> scoped_session[Any]:
        """The application's session; its tests may replace it."""
        session = self._db.session
        if session is not self._watched:
            self._watch(session)
        return session

    def _watch(self, session: scoped_session[Any]) -> None:
        """Note from now on what is written in a session."""
        factory = session.session_factory
        if not issubclass(factory.class_, _NotingSession):  # as it is where another app has the same db
            event.listen(session, "after_flush", _note_flush)
            event.listen(session, "do_orm_execute", _note_execution)
            event.listen(session, "after_transaction_end", _note_end)
            factory.class_ = type(factory.class_.__name__, (_NotingSession, factory.class_), {})
        if session().in_transaction():  # what was written before was not noted
            session().info[_HAS_WRITTEN] = True
        self._watched = session

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database that has the accounts."""
        return self.session.get_bind(self._mapper).dialect.name

    def execute(
        self, statement: sa.Executable, parameters: Mapping[str, object] | None = None, **options: object
    ) -> sa.Result[Any]:
        """Run a statement with its parameters and execution options."""
        bind = {"mapper": self._mapper}
        with safe_errors():
            return self.session.execute(statement, parameters, execution_options=options, bind_arguments=bind)

    def count_changed(self, statement: sa.Update | sa.Delete, **parameters: object) -> int:
        """Run an UPDATE or DELETE without committing; return the number of rows that it hit."""
        return cast("sa.CursorResult[Any]", self.execute(statement, parameters)).rowcount  # what such a statement gives

    def commit_if_one_changes(self, statement: sa.Update | sa.Delete, **parameters: object) -> bool:
        """Let a conditional UPDATE or DELETE of one row decide: COMMIT if it hit the row, else roll back."""
        result = cast("sa.CursorResult[Any]", self.execute(statement, parameters))
        if result.rowcount != 1:
            self.rollback()
            return False
        self.commit()
        return True

    def insert(self, new: object, *, alone_of: type[Any]) -> None:
        """INSERT an object and what belongs to it, without committing; refuse another new ``alone_of`` beside it."""
        session = self.session()
        session.add(new)
        if any(isinstance(each, alone_of) for each in session.new if each is not new):
            raise ConfigurationError(
                f"REGISTER_SERIALIZER_CLASS makes another {alone_of.__name__} beside the new one, whose address nobody"
                " has proven. Fix: let it make one."
            )
        with safe_errors():
            session.flush()

    def flush(self) -> None:
        """Write what the application has not flushed yet, before our own statements: its faults are its own."""
        session = self.session()
        try:
            for each in session.dirty if session.identity_map else ():
                _forget_new_objects(session, each)
            session.flush()
        except SQLALCHEMY_ERRORS as error:
            failure = translate(error)
            if isinstance(failure, (TransactionConflict, DatabaseUnavailable)):
                raise_alone(failure)
            raise

    def retry_conflicts(self, action: Callable[[], Result], *, retries: int = RETRIES) -> Result:
        """Run a transaction that bears repetition, and again in a new one when the database refuses it as a conflict.

        A conflict in a transaction in which the application has written is not tried again: what it wrote would be
        lost without a word.

        :raises DatabaseUnavailable: after so many retries.
        """
        session = self.session()
        written_in = session.get_transaction() if self.has_changes() else None
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
        """Run statements that only read, and COMMIT; what the application has not flushed goes with it."""

        def read_and_commit() -> Result:
            found = action()
            self.commit()
            return found

        return self.retry_conflicts(read_and_commit)

    def has_changes(self, *, flushed: bool = True) -> bool:
        """Tell whether the session has changes that are not flushed, or that were flushed in the open transaction.

        Back-references of a new object are no changes.
        """
        session = self.session()
        # Objects that are dirty or to be deleted are in the identity map, which is quicker to ask and usually empty.
        unflushed = session.new or (session.identity_map and (session.dirty or session.deleted) and _changes(session))
        return bool(unflushed or (flushed and _HAS_WRITTEN in session.info))

    def end_reading(self) -> None:
        """End a transaction in which nothing was written, so that it holds no connection."""
        session = self.session()
        if not session.in_transaction() or self.has_changes():
            return
        self.flush()
        self.commit()

    @contextmanager
    def rolled_back_on_failure(self, logger: Logger | None = None) -> Iterator[None]:
        """Roll the session back if anything is raised inside.

        :param logger: is told what was out of reach.
        :raises ConfigurationError: inside a ``with`` block that is to end the transaction itself: our COMMIT would
            store what the block has written so far, and the block could go no further, with the mail out.
        """
        if getattr(self.session(), "_trans_context_manager", None) is not None:  # SQLAlchemy has no public name for it
            raise ConfigurationError(
                "Registration was called inside a `with` block of db.session.begin() or begin_nested(). It ends"
                " transactions, and the block could not. Fix: call it before or after the block."
            )
        try:
            yield
        except BaseException as error:
            self.rollback()
            if logger is not None and isinstance(error, ServiceUnavailable):
                logger.error("%s: %s", error.code, error.reason)  # noqa: TRY400  # no text of drivers
            raise

    @contextmanager
    def refuse_changes(self, setting: str) -> Iterator[list[object]]:
        """Keep a serializer that runs inside from changing rows that the database already has.

        A nested schema that loads instances finds them by the keys in the body, and overwrites them. Also what it
        flushes by itself is refused, before it can be committed. The context gives a list for what was loaded: its new
        objects may refer to rows that exist.

        :raises ConfigurationError: if there are changes that were not there before.
        """
        session, loaded = self.session(), list[object]()
        session.info[_LOADING] = setting, (_changes(session, set()) if session.identity_map else {})
        try:
            with session.no_autoflush:  # after a flush nobody could tell what was changed
                yield loaded
            if session.identity_map:
                _refuse_new_changes(session, loaded=loaded)
        finally:
            del session.info[_LOADING]

    def is_stored(self, user: object) -> bool:
        """Tell whether an inserted object is still part of the open transaction, and nobody rolled it back."""
        return user in self.session and has_identity(user)

    def commit(self) -> None:
        """COMMIT without expiring objects, so that reading them afterwards is no statement."""
        session = self.session()
        expires = session.expire_on_commit
        session.expire_on_commit = False
        try:
            with safe_errors():
                session.commit()
        finally:
            session.expire_on_commit = expires

    def rollback(self) -> None:
        """Roll the session back.

        On a connection that is gone this fails. Nothing needs it then, since the database itself undoes what was not
        committed, and the failure that led here is the one to report.
        """
        with suppress(exc.DBAPIError):
            self.session.rollback()
