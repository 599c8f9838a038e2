"""The statements about pending registrations: each decides by itself, under its own condition."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import set_committed_value

from .. import clock
from ..exceptions import DatabaseFault
from ..model.pending import PendingRegistrationMixin
from ..settings.definitions import Settings
from ..settings.parsers import LONGEST_COOLDOWN
from .errors import ConstraintViolation
from .transactions import HOT_ROW_RETRIES, Transactions

#: A code can be tried so often, and only so many mails in a row have one: 15 attempts a day and address.
MOST_ATTEMPTS, MAILS_WITH_CODE = 5, 3

_DAY = timedelta(hours=24)
_LONGEST_COOLDOWN = int(LONGEST_COOLDOWN.total_seconds())
_PATIENT_RETRIES = 100  # nobody waits for a purge, and at SERIALIZABLE every sign-up is in its way
_BATCH = 500  # SQLite before 3.32 takes 999 values in a statement


@dataclass(frozen=True)
class DueMail:
    """A mail that is to be sent: its row says so already.

    :param put_back: to be called if it could not be sent: it can be asked for again at once.
    :param open_code: to be called when it was sent: its code can be tried.
    """

    row: PendingRegistrationMixin
    put_back: Callable[[], object]
    open_code: Callable[[], object]


class PendingRegistrations:
    """The pending registrations of one app; its methods raise as those of :class:`~.transactions.Transactions` do.

    A row that they return is a copy outside the session, as the row is now.
    """

    def __init__(self, transactions: Transactions, mapper: Mapper[Any], settings: Settings) -> None:
        self._transactions = transactions
        #: The mapper and the table of the model of pending registrations.
        self.mapper: Mapper[Any] = mapper
        self.table: sa.TableClause = cast(sa.TableClause, mapper.local_table)  # the mixin makes it a table
        self._columns = mapper.columns
        mapper.registry.configure(cascade=True)  # as a first statement of the ORM would
        self._cooldown = math.ceil(settings.register_verification_resend_cooldown.total_seconds())
        self._has_codes = settings.register_verification_code_enabled
        # No code can be tried before its mail is out: else each failed delivery would allow five attempts more.
        self._closed = MOST_ATTEMPTS if self._has_codes else 0
        self._code_period = settings.register_verification_code_period
        self._starts_anew_after = max(settings.register_verification_period, _DAY)

    def find(self, link_id: str) -> PendingRegistrationMixin | None:
        """SELECT the row that a link names by the canonical text of a UUID."""
        return self._find(self._columns["id"] == uuid.UUID(link_id))

    def find_by_email(self, email: str) -> PendingRegistrationMixin | None:
        """SELECT the row of an address in ASCII."""
        return self._find(self._columns["email"] == email)

    def _find(self, condition: sa.ColumnElement[bool]) -> PendingRegistrationMixin | None:
        self._transactions.flush()
        columns = self._columns
        found = self._transactions.execute(sa.select(*columns.values()).where(condition)).one_or_none()
        return found and self._copy(dict(zip(columns.keys(), found, strict=True)))

    def _copy(self, values: dict[str, Any]) -> Any:
        """Make an object of the application's class that no rollback expires, whatever its constructor wants."""
        row = self.mapper.class_manager.new_instance()
        _remember(row, values)
        return row

    def note_due_mail(self, email: str) -> DueMail | None:
        """Decide whether a mail to an address in ASCII is due, note it in the row, and COMMIT; else return None.

        Of any number of requests at once one sends. The SELECT and the statement that decides are two transactions:
        on a snapshot that is too old no retry helps.
        """

        def note() -> DueMail | None:
            refused = ""
            for turn in range(3):
                row, now = self.find_by_email(email), int(clock.now())
                self._transactions.commit()
                if row is not None:
                    if turn or not self._is_due(row, now):  # a row that has come or changed: somebody else is sending
                        return None
                    if (due := self._note_in(row, now)) is not None:
                        return due
                    continue  # the row was changed or purged
                try:
                    return self._insert(email, now)
                except ConstraintViolation as violation:
                    refused = str(violation)
                    self._transactions.rollback()
            raise DatabaseFault(f"a pending registration was refused: {refused}")

        return self._transactions.retry_conflicts(note, retries=HOT_ROW_RETRIES)

    def _is_due(self, row: PendingRegistrationMixin, now: int) -> bool:
        return row.next_mail_at <= now or row.sent_at > now  # the second: a clock went back

    def _values(self, now: int, *, mails: int) -> dict[str, int]:
        next_mail_at = now + min(self._cooldown * 2 ** min(mails - 1, 30), _LONGEST_COOLDOWN)
        return {"sent_at": now, "mails": mails, "next_mail_at": next_mail_at, "code_attempts": self._closed}

    def _insert(self, email: str, now: int) -> DueMail:
        values = {"id": uuid.uuid4(), "email": email, **self._values(now, mails=1)}
        self._transactions.execute(sa.insert(self.table).values(self._named(values)))
        row = self._copy(values)
        if len(self._columns) > len(values):  # what the application's own columns have by default
            row = self._find(self._columns["id"] == row.id) or row
        self._transactions.commit()
        return self._due(row, old={"mails": 0, "next_mail_at": 0})

    def _note_in(self, row: PendingRegistrationMixin, now: int) -> DueMail | None:
        old: dict[str, Any] = {name: getattr(row, name) for name in ("sent_at", "mails", "next_mail_at")}
        starts_anew = old["sent_at"] < _seconds_ago(self._starts_anew_after)
        new: dict[str, Any] = self._values(now, mails=1 if starts_anew else old["mails"] + 1)
        same = [self._columns[name] == old[name] for name in ("next_mail_at", "sent_at")]
        # Not as they were read: attempts that were counted since then must not be forgotten by putting the row back.
        attempts = self._columns["code_attempts"]
        closed = {**new, "code_attempts": attempts + self._closed}
        statement = sa.update(self.table).where(self._columns["id"] == row.id, *same)
        if not self._transactions.commit_if_one_changes(statement.values(self._named(closed))):
            return None
        _remember(row, new)
        return self._due(row, old={**old, "code_attempts": attempts - self._closed})

    def _due(self, row: PendingRegistrationMixin, *, old: dict[str, Any]) -> DueMail:
        update = sa.update(self.table).where(*self._is(row))
        put_back, open_code = update.values(self._named(old)), update.values(self._named({"code_attempts": 0}))
        return DueMail(
            row,
            put_back=lambda: self._change(put_back),
            open_code=lambda: self._change(open_code) if self.carries_code(row) else None,
        )

    def _is(self, row: PendingRegistrationMixin) -> list[sa.ColumnElement[bool]]:
        """Return the condition "this row, and no mail was sent to it since"."""
        return [self._columns["id"] == row.id, self._columns["sent_at"] == row.sent_at]

    def _named(self, values: dict[str, Any]) -> dict[Any, Any]:
        return {self._columns[name]: value for name, value in values.items()}

    def _change(self, statement: sa.Update | sa.Delete, *, retries: int = HOT_ROW_RETRIES) -> int:
        """Run one statement in a transaction of its own; return the number of rows that it hit."""

        def change() -> int:
            changed = self._transactions.count_changed(statement)
            self._transactions.commit()
            return changed

        return self._transactions.retry_conflicts(change, retries=retries)

    # Codes

    def carries_code(self, row: PendingRegistrationMixin) -> bool:
        """Tell whether the last mail of a row has a code."""
        return self._has_codes and row.mails <= MAILS_WITH_CODE

    def count_attempt(self, row: PendingRegistrationMixin | None) -> Callable[[], object] | None:
        """Count an attempt with a code before the code is compared, and COMMIT: of many at once five are compared.

        :param row: the row of the address, or None, which costs the same.
        :returns: None if the code may not be compared; else what takes the count back, for a right code whose account
            was refused.
        """
        columns = self._columns
        conditions = self._is(row) if row is not None else [columns["id"] == uuid.uuid4(), columns["sent_at"] == 0]
        attempts, update = columns["code_attempts"], sa.update(self.table).where(*conditions)
        count = update.where(
            attempts < MOST_ATTEMPTS,
            columns["sent_at"] >= _seconds_ago(self._code_period),
            columns["mails"] <= MAILS_WITH_CODE,
        ).values({attempts: attempts + 1})
        give_back = update.where(attempts > 0).values({attempts: attempts - 1})
        return (lambda: self._change(give_back)) if self._change(count) == 1 else None

    # The end of a row

    def spend(self, row_id: uuid.UUID) -> bool:
        """Give a row another id, without committing: its links and codes are worth nothing from then on.

        It is not deleted, since its cooldown must outlive it: else whoever caused the mail learns by asking again
        whether the registration was completed. The answer is False if it was spent meanwhile.
        """
        statement = sa.update(self.table).where(self._columns["id"] == row_id)
        return self._transactions.count_changed(statement.values(self._named({"id": uuid.uuid4()}))) == 1

    def count_stale(self) -> int:
        """Count the rows that the next mail would start anew."""
        stale = self._columns["sent_at"] < _seconds_ago(self._starts_anew_after)
        return int(self._read(sa.select(sa.func.count()).select_from(self.table).where(stale))[0])

    def delete_stale(self) -> Iterator[int]:
        """DELETE these rows, in batches with a COMMIT each; yield how many rows each batch has deleted."""
        id_, stale = self._columns["id"], self._columns["sent_at"] < _seconds_ago(self._starts_anew_after)
        batch = sa.select(id_).where(stale).order_by(id_).limit(_BATCH)
        ids = self._read(batch)
        while ids:
            yield self._change(sa.delete(self.table).where(id_.in_(ids), stale), retries=_PATIENT_RETRIES)
            ids = self._read(batch.where(id_ > ids[-1]))

    def _read(self, statement: sa.Select[Any]) -> list[Any]:
        return self._transactions.read(lambda: list(self._transactions.execute(statement).scalars()))


def _remember(row: PendingRegistrationMixin, values: dict[str, Any]) -> None:
    for name, value in values.items():
        set_committed_value(row, name, value)


def _seconds_ago(duration: timedelta) -> int:
    return int(clock.now() - duration.total_seconds())
