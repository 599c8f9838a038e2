"""The statements about claims: each decides by itself, under its own condition, and nothing is asked before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .accounts import Accounts, Collision
from .attributes import Claim, Moment
from .database_errors import ConstraintViolation
from .user_model import UserModel

_BATCH = 500


@dataclass(frozen=True)
class Batch:
    """Some of the claims that a purge deletes.

    :param deleted: how many are gone.
    :param refused: how many the database kept because other rows refer to them.
    """

    deleted: int = 0
    refused: int = 0


class ClaimStatements:
    """The claims of one app.

    :param accounts: the app's accounts.
    :param model: its user model.
    :param claim: what makes an account of this model a claim.
    """

    def __init__(self, accounts: Accounts, model: UserModel, claim: Claim) -> None:
        self._accounts = accounts
        self._model = model
        self._claim = claim
        self._table = claim.flag.column.table

    def stamp_link(self, user: object, *, at: int, sent_before: int) -> Callable[[], None] | None:
        """Note that a link is sent, by one conditional UPDATE, and COMMIT: of many at once, one succeeds.

        :param user: the account as it was found.
        :param at: the time of the new link, seconds since the epoch.
        :param sent_before: the last link must be older than this.
        :returns: what puts the old time back; None if a mail was sent meanwhile, or the account is no claim.
        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        return self._stamp(user, self._claim.sent_at, at=at, condition=self._claim.sent_before(sent_before))

    def stamp_notice(self, user: object, notice_at: Moment, *, at: int, sent_before: int) -> Callable[[], None] | None:
        """Note that a notice is sent, as :meth:`stamp_link` does for links.

        :param user: the account as it was found.
        :param notice_at: the model's moment for it.
        :param at: the time of the notice, seconds since the epoch.
        :param sent_before: the last notice must be older than this.
        :returns: what puts the old time back, or None.
        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        condition = sa.or_(notice_at.column.is_(None), notice_at.before(sent_before))
        return self._stamp(user, notice_at, at=at, condition=condition)

    def _stamp(
        self, user: object, moment: Moment, *, at: int, condition: sa.ColumnElement[bool]
    ) -> Callable[[], None] | None:
        old, new, table = getattr(user, moment.name), moment.value_at(at), moment.column.table
        # With the values of now: after a rollback the account could not be read without a statement.
        restore = (
            sa.update(table)
            .where(*self._accounts.is_row_of(user, table), moment.column == new)
            .values({moment.column: old})
        )
        if not self._accounts.change(user, table, {moment.name: new}, condition):
            return None

        def put_back() -> None:
            self._accounts.rollback()  # what a sender left open
            self._accounts.retry_conflicts(lambda: self._change_and_commit(restore))

        return put_back

    def _change_and_commit(self, statement: sa.Update | sa.Delete) -> int:
        changed = self._accounts.count_changed(statement)
        self._accounts.commit()
        return changed

    def delete(self, user: object) -> bool:
        """DELETE a claim and COMMIT.

        It is SQL's own DELETE: ON DELETE CASCADE follows, cascades of the ORM do not.

        :param user: the account as it was found.
        :returns: False if it was verified, changed its address or vanished meanwhile.
        :raises ConstraintViolation: if other rows refer to it.
        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        statement = sa.delete(self._table).where(
            *self._accounts.is_row_of(user, self._table),
            self._accounts.has_address_of(user, self._table),
            self._claim.condition(),
        )
        if not self._accounts.commit_if_one_changes(statement):
            return False
        self._accounts.forget(user)
        return True

    def delete_stale(self, collisions: Sequence[Collision], *, sent_before: int) -> bool:
        """DELETE the claims that are in the way of a registration, without committing.

        :param collisions: the rows.
        :param sent_before: each claim's last link must be older than this.
        :returns: False if one of them is no such claim any more; the caller has to roll back then.
        :raises ConstraintViolation: if other rows refer to one of them.
        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        keys = {collision.key for collision in collisions}
        columns = self._table.primary_key
        rows = [sa.and_(*(column == value for column, value in zip(columns, key, strict=True))) for key in keys]
        statement = sa.delete(self._table).where(sa.or_(*rows), self._claim.sent_before(sent_before))
        return self._accounts.count_changed(statement) == len(keys)

    def count(self, *, sent_before: int) -> int:
        """Count the claims whose last link was sent before a time.

        :param sent_before: the time, seconds since the epoch.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        numbers = self._read(sa.select(sa.func.count()).select_from(self._table), sent_before=sent_before)
        return int(numbers[0])

    def next_ids(self, after: object | None, *, sent_before: int) -> list[Any]:
        """Return the next claims of a purge, in the order of their link's id.

        By id and not "the first 500 that are left": those that the database keeps would be found again for ever.

        :param after: the last id of the batch before; None at the start.
        :param sent_before: the last link must be older than this.
        :returns: at most 500 ids.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        column = self._model.link_id.column
        statement = sa.select(column).order_by(column).limit(_BATCH)
        if after is not None:
            statement = statement.where(column > after)
        return self._read(statement, sent_before=sent_before)

    def _read(self, statement: sa.Select[Any], *, sent_before: int) -> list[Any]:
        # Without an id there never was a link; and NULL comes first or last in no order that "after" could follow.
        conditions = self._claim.sent_before(sent_before), self._model.link_id.column.is_not(None)

        def read() -> list[Any]:
            values = list(self._accounts.execute(statement.where(*conditions)).scalars())
            self._accounts.commit()
            return values

        return self._accounts.retry_conflicts(read)

    def delete_batch(self, ids: Sequence[Any], *, sent_before: int) -> Iterator[Batch]:
        """DELETE some claims and COMMIT; where the database refuses, one by one.

        :param ids: as :meth:`next_ids` gives them.
        :param sent_before: the last link must be older than this.
        :yields: after each COMMIT, how many are gone and how many were kept.
        :raises DatabaseUnavailable: if the database is out of reach, or kept refusing the transaction as a conflict.
        """
        condition = self._model.link_id.column.in_(ids)
        statement = sa.delete(self._table).where(condition, self._claim.sent_before(sent_before))
        try:
            yield Batch(deleted=self._accounts.retry_conflicts(lambda: self._change_and_commit(statement)))
        except ConstraintViolation:
            self._accounts.rollback()
        else:
            return
        if len(ids) == 1:
            yield Batch(refused=1)
        else:
            for each in ids:
                yield from self.delete_batch([each], sent_before=sent_before)
