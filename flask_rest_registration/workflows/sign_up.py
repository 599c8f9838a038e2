"""Storing a new account: INSERT, mail, COMMIT, and what to say when something is in its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import marshmallow

from ..database.errors import ConstraintViolation, TransactionConflict, ValueRefused
from ..database.transactions import HOT_ROW_RETRIES, RETRIES
from ..exceptions import WHOLE_OBJECT, DatabaseFault, DatabaseUnavailable, InvalidInput
from ..model.unique import UniqueRule
from ..model.user_model import cannot_be_omitted
from ..serializers.schemas import client_name
from ..state import Registration
from ..translations.texts import gettext, gettext_noop

Result = TypeVar("Result")

_TAKEN = gettext_noop("This value is already taken.")


class SignUp:
    """A new account on its way into the database.

    :param registration: the app's state.
    :param schema: the register serializer that loaded it.
    :param sent: what it was loaded from.
    :param user: the new object.
    """

    def __init__(self, registration: Registration, schema: marshmallow.Schema, sent: Any, user: object) -> None:
        self._registration = registration
        self._accounts = registration.accounts
        self._schema = schema
        self._sent = sent if isinstance(sent, Mapping) else {}
        self._user = user
        self._made_keys = [key.name for key in registration.model.keys if key.name not in vars(user)]
        #: Whether the application has rows of its own in the transaction.
        self._is_mixed = self._accounts.has_application_written()
        self._is_inserted = False

    def field_of(self, attribute: str) -> str | None:
        """Return the name under which the client sent an attribute, if it did."""
        name = client_name(self._schema, attribute)
        return name if name in self._sent else None

    def store(self, *, spend: Callable[[], None] | None = None, send: Callable[[], None] | None = None) -> None:
        """INSERT, mail, COMMIT in one transaction; whatever fails, nothing is stored.

        :param spend: takes away what entitles to the account, and raises if somebody else has; then there is no mail.
        :param send: sends the mail; without it there is none.
        :raises RequestRefused: as ``spend`` and ``send`` do, and for what is taken.
        :raises DatabaseFault: for a constraint that is the application's to satisfy.
        """
        retries = RETRIES if spend is None else HOT_ROW_RETRIES
        is_first = True
        while True:
            self._is_inserted = mailed = False
            try:
                self._tell_refusals(lambda: self._accounts.retry_conflicts(lambda: self._write(spend), retries=retries))
                if send is not None:
                    send()
                    mailed = True
                if spend is None:
                    self._is_mixed = self._is_mixed or self._accounts.has_pending()
                    self._tell_refusals(self._accounts.commit)  # a mail may be out, so that nothing is tried again
            except ConstraintViolation as violation:
                self._refuse(violation, may_try_again=is_first and not mailed and not self._is_mixed)
                is_first = False
            else:
                return

    def _write(self, spend: Callable[[], None] | None) -> None:
        """INSERT without asking first whether something is taken: between question and INSERT it could be."""
        for name in self._made_keys:  # by a try before, which was rolled back
            vars(self._user).pop(name, None)
        self._accounts.flush_pending()
        if spend is not None:
            spend()
        self._accounts.insert(self._user)
        self._is_inserted = True
        if spend is not None:  # no mail comes in between, so that a conflict at the COMMIT is tried again too
            self._accounts.commit()

    def _tell_refusals(self, action: Callable[[], Result]) -> Result:
        """Turn what the database refused, but for a violated constraint, into the answer to it."""
        try:
            return action()
        except TransactionConflict as conflict:
            failure: Exception = DatabaseUnavailable(str(conflict))
        except ValueRefused as error:
            failure = self._refused_by_database(error, gettext("The database cannot store this data."))
        raise failure

    def _refuse(self, violation: ConstraintViolation, *, may_try_again: bool) -> None:
        """Find the answer to a violated constraint, by what is in the way of the account.

        What was in its way may have vanished before the database is asked for it. Then a second try is worth it: a
        constraint of another kind refuses that too, and that is the end. What the application had in the transaction
        is gone with the first.
        """
        self._accounts.rollback()
        broken = self._accounts.broken_rules(self._user)
        errors = {field: [gettext(_TAKEN)] for rule in broken for field in self._fields_of(rule)}
        if errors:
            raise InvalidInput(errors)
        if may_try_again:
            return
        if (self._is_inserted and self._is_mixed) or self._lacks_what_nobody_sends():
            raise DatabaseFault(str(violation))
        raise self._refused_by_database(violation, gettext("The database refused this data."))

    def _refused_by_database(self, fault: DatabaseFault, text: str) -> InvalidInput:
        """Log what the client need not know, and make the answer."""
        self._registration.app.logger.error("A registration was refused by the database: %s", fault)
        return InvalidInput({WHOLE_OBJECT: [text]})

    def _fields_of(self, rule: UniqueRule) -> list[str]:
        mapper = self._registration.model.mapper
        attributes = [mapper.get_property_by_column(column).key for column in rule.columns]
        return [field for attribute in attributes if (field := self.field_of(attribute))] or [WHOLE_OBJECT]

    def _lacks_what_nobody_sends(self) -> bool:
        """Tell whether a NOT NULL column that is no input was left empty: the application's own fault."""
        return any(
            getattr(self._user, attribute.name) is None
            for attribute in cannot_be_omitted(self._registration.model)
            if client_name(self._schema, attribute.name) is None
        )
