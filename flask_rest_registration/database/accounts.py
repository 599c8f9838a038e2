"""The statements about accounts."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm.attributes import set_committed_value

from ..exceptions import DatabaseFault
from ..model.attributes import Flag
from ..model.unique import UniqueRule, is_exactly
from ..model.user_model import UserModel, python_type
from .errors import ConstraintViolation, ValueRefused
from .transactions import Transactions

# Names of parameters, which no column has.
_ACCOUNT, _FLAG = "registration_account_", "registration_flag"


class Accounts:
    """The accounts of one app; its methods raise as those of :class:`~.transactions.Transactions` do."""

    def __init__(self, transactions: Transactions, model: UserModel) -> None:
        self._transactions = transactions
        self._model = model
        self._address_rules = [rule for rule in model.unique_rules if rule.columns == (model.email.column,)]

    def broken_rules(self, user: object) -> list[UniqueRule]:
        """Ask with one SELECT which unique rules an account breaks whose INSERT was refused, after the rollback."""
        loaded = sa.inspect(user, raiseerr=True).dict
        values = {
            column: loaded[each.key]
            for each in self._model.mapper.column_attrs
            for column in each.columns  # several for the key of joined inheritance
            if isinstance(column, sa.Column)
            and each.key in loaded
            and not isinstance(loaded[each.key], sa.ClauseElement)
        }
        rules = [
            rule
            for rule in self._model.unique_rules
            if rule.columns and all(values.get(column) is not None for column in rule.columns)
        ]
        if not rules:
            return []
        dialect = self._transactions.dialect
        questions: list[Any] = [
            sa.select(sa.literal_column(str(number))).select_from(rule.table).where(rule.matches(values, dialect))
            for number, rule in enumerate(rules)
        ]
        numbers: Iterable[Any] = self._transactions.execute(sa.union_all(*questions)).scalars()
        return [rules[number] for number in numbers]

    def has_address(self, address: str) -> bool:
        """Tell whether an account has an address, by the comparison of its unique index.

        It reads key columns and no entity, whose eager relationships would be more statements for a taken address.
        """
        values, dialect = {self._model.email.column: address}, self._transactions.dialect
        table = self._model.email.column.table
        taken = sa.or_(*(rule.matches(values, dialect) for rule in self._address_rules))
        try:
            return self._transactions.execute(sa.select(*table.primary_key).where(taken)).first() is not None
        except ValueRefused:  # as for find(): no account has what the column cannot hold
            self._transactions.rollback()
            return False

    def find(self, link_id: str) -> Any | None:
        """SELECT the account that a link names, as it is now, not as the session remembers it."""
        key = _key_from_text(link_id, self._model.link_id.column)
        user = None if key is None else self._find(self._select_by_link_id, {_ACCOUNT: key})
        if user is None or (found := str(getattr(user, self._model.link_id.name))) == link_id:
            return user
        kind = self._model.link_id.column.type
        is_char = isinstance(kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind, sa.CHAR)
        if not is_char or found.rstrip(" ") != link_id:
            return None  # MariaDB finds 'ABC' by 'abc' and 'x' by 'x '.
        # PostgreSQL fills a CHAR up with blanks, which the link was made without.
        set_committed_value(user, self._model.link_id.name, link_id)
        return user

    def find_unverified(self, address: str, flag: Flag) -> Any | None:
        """SELECT the account with an address that waits for its verification, as it is now.

        A verified one is not found: its eager relationships would be more statements than for a free address.
        """
        user = self._find(sa.select(self._model.cls).where(self._model.email.column == address, flag.condition_unset()))
        # MariaDB finds 'cafe@' by 'café@': that mailbox is somebody else's.
        return user if user is not None and getattr(user, self._model.email.name) == address else None

    @cached_property
    def _select_by_link_id(self) -> sa.Select[Any]:
        # Made once, as the UPDATE below is: building these two takes a fifth of a verification's time.
        return sa.select(self._model.cls).where(self._model.link_id.column == sa.bindparam(_ACCOUNT))

    def _find(self, statement: sa.Select[Any], parameters: Mapping[str, object] | None = None) -> Any | None:
        self._transactions.flush()
        try:
            found = self._transactions.execute(statement, parameters, populate_existing=True)
            return found.unique().scalar_one_or_none()
        except ValueRefused:
            # PostgreSQL compares no number with a column that could not hold it, and no database compares letters
            # that its character set lacks.
            self._transactions.rollback()
            return None

    def activate(self, user: object, flag: Flag, *, at: int) -> bool:
        """Set an account's flag by one conditional UPDATE and COMMIT: of any number of requests at once, one succeeds.

        :param user: the account as it was found; it is changed only while it has this address.
        :param at: the time of the verification, seconds since the epoch.
        :returns: False if the account is verified by now, changed its address or vanished meanwhile.
        :raises DatabaseFault: if the database does not let the flag be set.
        """
        update, names = self._update
        parameters, value = {_ACCOUNT + name: getattr(user, name) for name in names}, flag.value_at(at)
        try:
            if not self._transactions.commit_if_one_changes(update, **parameters, **{_FLAG: value}):
                return False
        except (ConstraintViolation, ValueRefused) as refused:
            raise DatabaseFault(
                f"The database did not let {self._model.name}.{flag.name} be set to {value} ({refused}), so that the"
                " account is not verified. Fix: let its type, constraints and triggers allow that."
            ) from None
        set_committed_value(user, flag.name, value)
        if self._filled_anew:
            self._transactions.session.expire(user, self._filled_anew)
        return True

    @cached_property
    def _filled_anew(self) -> set[str]:
        """The attributes that the database or a column fills anew with the UPDATE."""
        flag = cast(Flag, self._model.flag)
        return {
            name
            for name, column in self._model.attributes.items()
            if column.table is flag.column.table and (column.onupdate is not None or column.server_onupdate is not None)
        } - {flag.name}

    @cached_property
    def _update(self) -> tuple[sa.Update, Iterable[str]]:
        """The conditional UPDATE, and the account's attributes that are its parameters beside the flag's value."""
        flag, email = cast(Flag, self._model.flag), self._model.email.column  # without a flag nothing is verified
        table, account = flag.column.table, dict[str, sa.BindParameter[Any]]()

        def of_account(column: sa.ColumnElement[Any]) -> sa.BindParameter[Any]:
            name = self._model.mapper.get_property_by_column(column).key
            return account.setdefault(name, sa.bindparam(_ACCOUNT + name, type_=column.type))

        def is_row(of: sa.FromClause) -> list[sa.ColumnElement[bool]]:
            return [column == of_account(column) for column in of.primary_key]

        conditions = {email: is_exactly(email, of_account(email), dialect=self._transactions.dialect)}
        mapper = self._model.mapper
        if mapper.single and isinstance(mapper.polymorphic_on, sa.Column):  # as the SELECT of the mapper has it
            kinds = [each.polymorphic_identity for each in mapper.self_and_descendants]
            conditions[mapper.polymorphic_on] = mapper.polymorphic_on.in_(kinds)
        is_account = [  # in joined inheritance, the columns may be in several tables
            condition if of.table is table else sa.exists().where(*is_row(of.table), condition)
            for of, condition in conditions.items()
        ]
        update = sa.update(table).where(*is_row(table), *is_account, flag.condition_unset())
        return update.values({flag.column: sa.bindparam(_FLAG, type_=flag.column.type)}), tuple(account)


def _key_from_text(text: str, column: sa.Column[Any]) -> object | None:
    """Convert a link's value to the column's Python type before any database sees it; None if it is not canonical."""
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
