"""The statements about pending registrations: each decides by itself, under its own condition."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm.attributes import set_committed_value

from .. import clock
from ..exceptions import DatabaseFault
from ..model.pending import PendingModel, PendingRegistrationMixin
from ..settings.definitions import LONGEST_COOLDOWN, Settings
from .accounts import Accounts
from .errors import ConstraintViolation
from .transactions import HOT_ROW_RETRIES

#: A code can be tried so often, and only so many messages in a row have one: 15 guesses a day and address.
MOST_ATTEMPTS, MAILS_WITH_CODE = 5, 3

_DAY = timedelta(hours=24)
_LONGEST_COOLDOWN = int(LONGEST_COOLDOWN.total_seconds())
_PATIENT_RETRIES = 100  # nobody waits for a purge, and at SERIALIZABLE every sign-up is in its way
_BATCH = 500  # SQLite before 3.32 takes 999 values in a statement


@dataclass(frozen=True)
class DueMail:
    """A message that is to be sent: its row says so already.

    :param row: a copy of the pending registration, outside the session.
    :param put_back: puts the row back when the message could not be sent, so that it can be asked for at once.
    :param open_code: lets the code of the message be tried, when it was sent.
    """

    row: PendingRegistrationMixin
    put_back: Callable[[], object]
    open_code: Callable[[], object]


class PendingRegistrations:
    """The pending registrations of one app.

    :param accounts: the app's accounts, whose transactions these are.
    :param model: the model of pending registrations.
    :param settings: the app's settings.
    """

    def __init__(self, accounts: Accounts, model: PendingModel, settings: Settings) -> None:
        self._accounts = accounts
        #: The model of pending registrations.
        self.model = model
        self._table = model.table
        self._columns = model.mapper.columns
        model.mapper.registry.configure(cascade=True)  # as a first statement of the ORM would
        self._cooldown = math.ceil(settings.register_verification_resend_cooldown.total_seconds())
        self._has_codes = settings.register_verification_code_enabled
        # No code can be tried before its message is out: else each delivery that fails would be five guesses more.
        self._closed = MOST_ATTEMPTS if self._has_codes else 0
        self._code_period = settings.register_verification_code_period
        self._starts_anew_after = max(settings.register_verification_period, _DAY)

    def find(self, link_id: str) -> PendingRegistrationMixin | None:
        """SELECT the row that a link names, as it is now.

        :param link_id: the value in the link, the canonical text of a UUID.
        :returns: a copy of the row outside the session, or None.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        return self._find(self._columns["id"] == uuid.UUID(link_id))

    def find_by_email(self, email: str) -> PendingRegistrationMixin | None:
        """SELECT the row of an address, as it is now.

        :param email: the address in ASCII.
        :returns: as :meth:`find`.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        return self._find(self._columns["email"] == email)

    def _find(self, condition: sa.ColumnElement[bool]) -> PendingRegistrationMixin | None:
        self._accounts.flush_pending()
        columns = self._columns
        found = self._accounts.execute(sa.select(*columns.values()).where(condition)).one_or_none()
        return found and self._copy(dict(zip(columns.keys(), found, strict=True)))

    def _copy(self, values: dict[str, Any]) -> Any:
        """Make an object of the application's class that no rollback expires, whatever its constructor wants."""
        row = self.model.mapper.class_manager.new_instance()
        self._remember(row, values)
        return row

    def note_due_mail(self, email: str) -> DueMail | None:
        """Decide whether a message to an address is due, note it in the row, and COMMIT.

        Of any number of requests at once one sends. SELECT and the statement that decides are two transactions: on a
        snapshot that is too old no retry helps.

        :param email: the address in ASCII.
        :returns: None if no message is due, or somebody else is sending it.
        :raises DatabaseFault: if the row is refused though the address has none.
        :raises DatabaseUnavailable: if the database is out of reach.
        """

        def note() -> DueMail | None:
            refused = ""
            for turn in range(3):
                row, now = self.find_by_email(email), clock.now()
                self._accounts.commit()
                if row is not None:
                    if turn or not self._is_due(row, now):  # a row that has come or changed: somebody else is sending
                        return None
                    if (due := self._note_in(row, now)) is not None:
                        return due
                    continue  # somebody else is sending, or the row was purged
                try:
                    return self._insert(email, now)
                except ConstraintViolation as violation:
                    refused = str(violation)
                    self._accounts.rollback()
            raise DatabaseFault(f"a pending registration was refused: {refused}")

        return self._accounts.retry_conflicts(note, retries=HOT_ROW_RETRIES)

    def _is_due(self, row: PendingRegistrationMixin, now: int) -> bool:
        return row.next_mail_at <= now or row.sent_at > now  # the second: a clock went back

    def _values(self, now: int, *, mails: int) -> dict[str, int]:
        doubled = self._cooldown * 2 ** min(mails - 1, 30)
        return {
            "sent_at": now,
            "mails": mails,
            "next_mail_at": now + min(doubled, _LONGEST_COOLDOWN),
            "code_attempts": self._closed,
        }

    def _insert(self, email: str, now: int) -> DueMail:
        values = {"id": uuid.uuid4(), "email": email, **self._values(now, mails=1)}
        self._accounts.execute(sa.insert(self._table).values(self._named(values)))
        row = self._copy(values)
        if len(self._columns) > len(values):  # what the application's own columns have by default
            row = self._find(self._columns["id"] == row.id) or row
        self._accounts.commit()
        return self._due(row, old={"mails": 0, "next_mail_at": 0})

    def _note_in(self, row: PendingRegistrationMixin, now: int) -> DueMail | None:
        old: dict[str, Any] = {name: getattr(row, name) for name in ("sent_at", "mails", "next_mail_at")}
        starts_anew = old["sent_at"] < self._stale_before()
        new: dict[str, Any] = self._values(now, mails=1 if starts_anew else old["mails"] + 1)
        same = [self._columns[name] == old[name] for name in ("next_mail_at", "sent_at")]
        # Not as they were read: attempts that were counted since then must not be forgotten by putting the row back.
        attempts = self._columns["code_attempts"]
        closed = {**new, "code_attempts": attempts + self._closed}
        statement = sa.update(self._table).where(self._columns["id"] == row.id, *same)
        if not self._accounts.commit_if_one_changes(statement.values(self._named(closed))):
            return None
        self._remember(row, new)
        return self._due(row, old={**old, "code_attempts": attempts - self._closed})

    def _due(self, row: PendingRegistrationMixin, *, old: dict[str, Any]) -> DueMail:
        update = sa.update(self._table).where(*self._is(row))
        put_back, open_code = update.values(self._named(old)), update.values(self._named({"code_attempts": 0}))
        return DueMail(
            row,
            put_back=lambda: self._change(put_back),
            open_code=lambda: self._change(open_code) if self.carries_code(row) else None,
        )

    def _is(self, row: PendingRegistrationMixin) -> list[sa.ColumnElement[bool]]:
        """Return the condition "this row, and no message was sent to it since"."""
        return [self._columns["id"] == row.id, self._columns["sent_at"] == row.sent_at]

    def _named(self, values: dict[str, Any]) -> dict[Any, Any]:
        return {self._columns[name]: value for name, value in values.items()}

    @staticmethod
    def _remember(row: PendingRegistrationMixin, values: dict[str, Any]) -> None:
        for name, value in values.items():
            set_committed_value(row, name, value)

    def _change(self, statement: sa.Update | sa.Delete, *, retries: int = HOT_ROW_RETRIES) -> int:
        """Run one statement in a transaction of its own; return the number of rows that it hit."""

        def change() -> int:
            changed = self._accounts.count_changed(statement)
            self._accounts.commit()
            return changed

        return self._accounts.retry_conflicts(change, retries=retries)

    # Codes

    def carries_code(self, row: PendingRegistrationMixin) -> bool:
        """Tell whether the last message of a row has a code.

        :param row: the pending registration.
        """
        return self._has_codes and row.mails <= MAILS_WITH_CODE

    def count_attempt(self, row: PendingRegistrationMixin | None) -> Callable[[], object] | None:
        """Count that a code is tried, before it is compared, and COMMIT: of many guesses at once five are compared.

        :param row: the row of the address, or None, which costs the same.
        :returns: None if the code may not be compared; else what takes the count back, for a code that was right and
            whose account was refused.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        columns = self._columns
        conditions = self._is(row) if row is not None else [columns["id"] == uuid.uuid4(), columns["sent_at"] == 0]
        attempts, update = columns["code_attempts"], sa.update(self._table).where(*conditions)
        count = update.where(
            attempts < MOST_ATTEMPTS,
            columns["sent_at"] >= clock.seconds_ago(self._code_period),
            columns["mails"] <= MAILS_WITH_CODE,
        ).values({attempts: attempts + 1})
        give_back = update.where(attempts > 0).values({attempts: attempts - 1})
        return (lambda: self._change(give_back)) if self._change(count) == 1 else None

    # The end of a row

    def spend(self, row_id: uuid.UUID) -> bool:
        """Give a row another id, without committing: its links and codes are worth nothing from then on.

        It is not deleted, since its cooldown must outlive it: else whoever caused the message learns by asking again
        whether the registration was completed.

        :param row_id: the id that the link or the code stood for.
        :returns: False if it was spent meanwhile.
        :raises TransactionConflict: if another transaction is in the way.
        :raises DatabaseUnavailable: if the database is out of reach.
        """
        statement = sa.update(self._table).where(self._columns["id"] == row_id)
        return self._accounts.count_changed(statement.values(self._named({"id": uuid.uuid4()}))) == 1

    def _stale_before(self) -> int:
        return clock.seconds_ago(self._starts_anew_after)

    def count_stale(self) -> int:
        """Count the rows that the next message would start anew.

        :raises DatabaseUnavailable: if the database is out of reach.
        """
        stale = self._columns["sent_at"] < self._stale_before()
        return int(self._read(sa.select(sa.func.count()).select_from(self._table).where(stale))[0])

    def delete_stale(self) -> Iterator[int]:
        """DELETE these rows, in batches with a COMMIT each.

        :yields: how many rows each batch has deleted.
        :raises DatabaseFault: if the database refuses it, such as for rows of the application's that refer to them.
        :raises DatabaseUnavailable: if the database is out of reach; what was yielded before is deleted.
        """
        id_, stale = self._columns["id"], self._columns["sent_at"] < self._stale_before()
        batch = sa.select(id_).where(stale).order_by(id_).limit(_BATCH)
        ids = self._read(batch)
        while ids:
            yield self._change(sa.delete(self._table).where(id_.in_(ids), stale), retries=_PATIENT_RETRIES)
            ids = self._read(batch.where(id_ > ids[-1]))

    def _read(self, statement: sa.Select[Any]) -> list[Any]:
        return self._accounts.read(lambda: list(self._accounts.execute(statement).scalars()))
