"""The statements of the two workflows: inserting an account, asking what is taken, finding it and changing it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm.attributes import set_committed_value

from ..exceptions import ConfigurationError
from ..model.attributes import Flag
from ..model.unique import UniqueRule, is_exactly
from ..model.user_model import UserModel, python_type
from .errors import ValueRefused, attempt
from .transactions import Transactions

# Names of parameters, which no column has.
_ACCOUNT, _FLAG = "registration_account_", "registration_flag"


@dataclass(frozen=True)
class Activation:
    """The conditional UPDATE that sets an account's flag.

    :param flag: the flag.
    :param statement: the UPDATE, which gets the account and the flag's value as parameters.
    :param account: the account's attributes that it asks for.
    :param reloaded: the attributes that the database or the column fills anew with it.
    """

    flag: Flag
    statement: sa.Update
    account: frozenset[str]
    reloaded: frozenset[str]


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
        self._address_rules = [rule for rule in model.unique_rules if rule.columns == (model.email.column,)]
        # Made once, as the activation is: building these two takes a fifth of a verification's time.
        self._select_by_link_id = sa.select(model.cls).where(model.link_id.column == sa.bindparam(_ACCOUNT))

    def insert(self, user: object) -> None:
        """INSERT an account, without committing.

        :param user: a new object of the user model.
        :raises ConfigurationError: if another account would be stored with it.
        :raises ConstraintViolation: if something of it is taken, or another constraint refuses it.
        :raises TransactionConflict: if another transaction is in the way.
        :raises ValueRefused: if a column cannot hold its value.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        session = self._session
        session.add(user)
        if any(isinstance(each, self._model.cls) for each in session.new if each is not user):
            raise ConfigurationError(
                f"REGISTER_SERIALIZER_CLASS makes another {self._model.name} beside the new one, whose address nobody"
                " has proven. Fix: let it make one."
            )
        attempt(session.flush)
        flag = self._model.flag
        if flag is not None and flag.is_time and flag.name not in vars(user):
            # NULL was written as SQL there: reading the attribute would be a SELECT.
            set_committed_value(user, flag.name, None)

    def broken_rules(self, user: object) -> list[UniqueRule]:
        """Ask the database with one SELECT which unique rules an account breaks.

        :param user: the account whose INSERT was refused, after the rollback.
        :returns: each rule that a row in the database breaks together with it.
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
            sa.select(sa.literal_column(str(number))).select_from(rule.table).where(rule.matches(values, dialect))
            for number, rule in enumerate(rules)
        ]
        numbers: Iterable[Any] = self.execute(sa.union_all(*questions)).scalars()
        return [rules[number] for number in numbers]

    def has_address(self, address: str) -> bool:
        """Ask the database whether an account has an address, by the comparison of its unique index.

        It reads key columns and no entity, whose eager relationships would be more statements for a taken address.

        :param address: as ``normalize_email`` gives it.
        :returns: whether an account with this address would be refused.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        values, dialect = {self._model.email.column: address}, self.dialect
        table = self._model.email.column.table
        taken = sa.or_(*(rule.matches(values, dialect) for rule in self._address_rules))
        try:
            return self.execute(sa.select(*table.primary_key).where(taken)).first() is not None
        except ValueRefused:  # as for find(): no account has what the column cannot hold
            self.rollback()
            return False

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

    def find_waiting(self, address: str, flag: Flag) -> Any | None:
        """SELECT the account with an address that waits for its verification, as it is now.

        A verified one is not found: its eager relationships would be more statements than for a free address.

        :param address: as ``normalize_email`` gives it.
        :param flag: the verification flag.
        :returns: the account, or None.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        statement = sa.select(self._model.cls).where(self._model.email.column == address, flag.condition_unset())
        user = self._find(statement)
        # MariaDB finds 'cafe@' by 'café@': that mailbox is somebody else's.
        return user if user is not None and self._model.address_of(user) == address else None

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
        """Set an account's flag by one conditional UPDATE and COMMIT: of any number of requests at once, one succeeds.

        :param user: the account as it was found; it is the one that is changed only while it has this address.
        :param at: the time of the verification, seconds since the epoch.
        :returns: False if the account is verified by now, changed its address or vanished meanwhile.
        :raises TransactionConflict: if another transaction is in the way.
        :raises ValueRefused: if a column cannot hold its value.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        activation, flag = self._activation, self._activation.flag
        value = flag.value_at(at)
        parameters = {_ACCOUNT + name: getattr(user, name) for name in activation.account}
        if not self.commit_if_one_changes(activation.statement, {**parameters, _FLAG: value}):
            return False
        set_committed_value(user, flag.name, value)
        if activation.reloaded:
            self._session.expire(user, activation.reloaded)
        return True

    @cached_property
    def _activation(self) -> Activation:
        flag = cast(Flag, self._model.flag)  # without one nothing is verified
        table = flag.column.table
        statement = (
            sa.update(table)
            .where(*self.is_row_of(self._any, table), self.has_address_of(self._any, table), flag.condition_unset())
            .values({flag.column: sa.bindparam(_FLAG, type_=flag.column.type)})
        )
        on_update = {name for name, column in self._model.attributes.items() if _changes_on_update(column, table)}
        keys = [*table.primary_key, *self._model.email.column.table.primary_key]
        account = {self._name_of(column) for column in keys} | {self._model.email.name}
        return Activation(flag, statement, frozenset(account), frozenset(on_update - {flag.name}))

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
