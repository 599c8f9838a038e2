"""The statements of the two workflows: inserting an account, asking what is taken, finding it and changing it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm.attributes import set_committed_value

from .database_errors import ValueRefused, attempt
from .transactions import Transactions
from .unique import UniqueRule, is_exactly
from .user_model import UserModel, python_type

# Names of parameters, which no column has.
_ACCOUNT, _NEW = "registration_account_", "registration_new_"


@dataclass(frozen=True)
class AccountUpdate:
    """A conditional UPDATE of one account, which gets the account and the new values as parameters.

    :param statement: the UPDATE.
    :param account: the account's attributes that it asks for.
    :param reloaded: the attributes that the database or the column fills anew with it.
    """

    statement: sa.Update
    account: frozenset[str]
    reloaded: frozenset[str]


@dataclass(frozen=True)
class Collision:
    """A row that is in the way of an INSERT.

    :param rule: the unique rule that both break.
    :param key: the values of the row's primary key.
    :param is_stale: whether the row is a claim whose last link has expired.
    """

    rule: UniqueRule
    key: tuple[Any, ...]
    is_stale: bool


class Accounts(Transactions):
    """The accounts of one app, in the application's own ``db.session``.

    :param db: the application's Flask-SQLAlchemy extension.
    :param model: its user model.
    """

    def __init__(self, db: SQLAlchemy, model: UserModel) -> None:
        super().__init__(db, model.mapper)
        self._model = model
        named = {*model.keys, model.email}
        self._any = SimpleNamespace(
            **{each.name: sa.bindparam(_ACCOUNT + each.name, type_=each.column.type) for each in named}
        )
        # Made once: building these two takes a fifth of a verification's time.
        self._select_by_link_id = sa.select(model.cls).where(model.link_id.column == sa.bindparam(_ACCOUNT))
        self._activation = self._prepare_activation()

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
        for name in self._model.nulls.difference(vars(user)):
            # NULL was written as SQL there: reading the attribute would be a SELECT.
            set_committed_value(user, name, None)

    def collisions_of(self, user: object, *, stale: sa.ColumnElement[bool]) -> list[Collision]:
        """Ask the database with one SELECT which rows are in the way of an account.

        :param user: the account whose INSERT was refused, after the rollback.
        :param stale: the condition "a claim whose last link has expired".
        :returns: one for each unique rule that a row breaks for it.
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
        questions: list[Any] = [
            sa.select(
                sa.literal_column(str(number)),
                stale if rule.table is self._model.mapper.local_table else sa.false(),
                *rule.table.primary_key,
            ).where(rule.matches(values, dialect))
            for number, rule in enumerate(rules)
        ]
        rows: Iterable[Any] = self.execute(sa.union_all(*questions))
        return [Collision(rules[row[0]], tuple(row[2:]), bool(row[1])) for row in rows]

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

    def find(self, link_id: str) -> Any | None:
        """SELECT the account that a link names, as it is now, not as the session remembers it.

        :param link_id: the value in the link.
        :returns: the account, or None if the text is no account's canonical text.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        key = _key_from_text(link_id, self._model.link_id.column)
        if key is None:
            return None
        user = self._find(self._select_by_link_id, {_ACCOUNT: key})
        # MariaDB finds 'ABC' by 'abc' and 'x' by 'x '.
        return user if user is not None and self._model.link_id_of(user) == link_id else None

    def find_by_address(self, address: str) -> Any | None:
        """SELECT the account with an address, as it is now.

        :param address: as ``normalize_email`` gives it.
        :returns: the account, or None.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        user = self._find_where(self._model.email.column == address)
        # MariaDB finds 'cafe@' by 'café@': that mailbox is somebody else's.
        return user if user is not None and self._model.address_of(user) == address else None

    def find_by_key(self, key: tuple[Any, ...]) -> Any | None:
        """SELECT the account with a primary key, as it is now.

        :param key: as a collision has it.
        :returns: the account, or None.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        columns = (attribute.column for attribute in self._model.keys)
        return self._find_where(*(column == value for column, value in zip(columns, key, strict=True)))

    def _find_where(self, *conditions: sa.ColumnElement[bool]) -> Any | None:
        return self._find(sa.select(self._model.cls).where(*conditions))

    def _find(self, statement: sa.Select[Any], parameters: Mapping[str, object] | None = None) -> Any | None:
        self.flush_pending()
        try:
            return self.execute(statement, parameters, populate_existing=True).unique().scalar_one_or_none()
        except ValueRefused:
            # PostgreSQL compares no number with a column that could not hold it, nor does a database whose character
            # set lacks the letters of a domain compare these.
            self.rollback()
            return None

    def activate(self, user: object, *, at: int) -> bool:
        """Set an account's flag, and make it no claim any more, as :meth:`change` does.

        :param user: the account as it was found.
        :param at: the time of the verification, seconds since the epoch.
        :returns: as :meth:`change`; also False if the account is verified by now.
        :raises DatabaseFault: as :meth:`change`.
        :raises DatabaseUnavailable: as :meth:`change`.
        """
        return self._activation is not None and self._apply(self._activation, user, self._model.verified_values(at))

    def _prepare_activation(self) -> AccountUpdate | None:
        flag = self._model.flag
        if flag is None:
            return None
        return self._prepare(flag.column.table, self._model.verified_values(0), flag.condition_unset())

    def change(
        self, user: object, table: sa.Table, values: Mapping[str, Any], *conditions: sa.ColumnElement[bool]
    ) -> bool:
        """Change an account by one conditional UPDATE and COMMIT: of any number of requests at once, one succeeds.

        :param user: the account as it was found; it is the one that is changed only while it has this address.
        :param table: the table of the model that has the columns.
        :param values: the new values by the attribute's name; the account has them afterwards.
        :param conditions: what must hold besides, in SQL.
        :returns: False if the account changed its address or vanished meanwhile, or a condition does not hold.
        :raises TransactionConflict: if another transaction is in the way.
        :raises ValueRefused: if a column cannot hold its value.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        return self._apply(self._prepare(table, values, *conditions), user, values)

    def _prepare(self, table: sa.Table, names: Iterable[str], *conditions: sa.ColumnElement[bool]) -> AccountUpdate:
        columns = self._model.attributes
        changed = list(names)
        statement = (
            sa.update(table)
            .where(*self.is_row_of(self._any, table), self.has_address_of(self._any, table), *conditions)
            .values({columns[name]: sa.bindparam(_NEW + name, type_=columns[name].type) for name in changed})
        )
        on_update = {name for name, column in columns.items() if _changes_on_update(column, table)}
        keys = [*table.primary_key, *self._model.email.column.table.primary_key]
        account = {self._name_of(column) for column in keys} | {self._model.email.name}
        return AccountUpdate(statement, frozenset(account), frozenset(on_update.difference(changed)))

    def _apply(self, update: AccountUpdate, user: object, values: Mapping[str, Any]) -> bool:
        made = {name: value for name, value in values.items() if isinstance(value, sa.ClauseElement)}
        statement = update.statement
        if made:  # such as crypt(...), which is no parameter
            statement = statement.values({self._model.attributes[name]: value for name, value in made.items()})
        parameters = {_ACCOUNT + name: getattr(user, name) for name in update.account}
        parameters.update({_NEW + name: value for name, value in values.items() if name not in made})
        if not self.commit_if_one_changes(statement, parameters):
            return False
        for name in values.keys() - made.keys():
            set_committed_value(user, name, values[name])
        if reloaded := update.reloaded | made.keys():
            self._session.expire(user, reloaded)
        return True

    def collect_changes(self, user: object, change: Callable[[], object]) -> dict[str, Any]:
        """Let code of the application change an account, and take the changes back from the unit of work.

        That one would write them by an UPDATE of its own, which has no conditions.

        :param user: a stored account.
        :param change: changes it.
        :returns: the new values of columns, by the attribute's name; the account has its old ones again.
        """
        state = sa.inspect(user, raiseerr=True)
        before = dict(state.dict)
        with self._session.no_autoflush:
            change()
        columns = self._model.attributes
        changes = {
            name: state.dict[name] for name in columns if name in state.dict and state.attrs[name].history.has_changes()
        }
        for name in changes:
            if name in before:
                set_committed_value(user, name, before[name])
            else:  # a deferred column
                self._session.expire(user, [name])
        return changes

    def is_row_of(self, user: object, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """Return the SQL condition that names the account's row in one of the model's tables.

        :param user: the account.
        :param table: the table.
        """
        return [column == getattr(user, self._name_of(column)) for column in table.primary_key]

    def _name_of(self, column: sa.ColumnElement[Any]) -> str:
        return self._model.mapper.get_property_by_column(column).key

    def has_address_of(self, user: object, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Return the SQL condition "has the address that the account has here", letter for letter.

        :param user: the account.
        :param table: the table that a statement is about.
        """
        email = self._model.email
        condition = is_exactly(email.column, getattr(user, email.name), dialect=self.dialect)
        if email.column.table is table:
            return condition
        # In joined inheritance the address may stand in another table than the flag.
        return sa.exists().where(*self.is_row_of(user, email.column.table), condition)


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
