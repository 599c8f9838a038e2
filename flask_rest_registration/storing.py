"""Storing a new account: INSERT, mail, COMMIT, and what to do when something is in its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import marshmallow
import sqlalchemy as sa
from flask import Request

from . import clock
from .accounts import Collision
from .claim_statements import ClaimStatements
from .database_errors import ConstraintViolation, TransactionConflict, ValueRefused
from .exceptions import (
    WHOLE_OBJECT,
    DatabaseFault,
    DatabaseUnavailable,
    EmailNotSent,
    InvalidInput,
    RecipientRefused,
    UserWithoutEmailNonverifiable,
)
from .notifications import Mailer
from .owners import write_to_owner
from .serializers import client_name
from .state import Registration
from .texts import gettext, gettext_noop
from .unique import UniqueRule
from .user_model import cannot_be_omitted

Result = TypeVar("Result")

_TAKEN = gettext_noop("This value is already taken.")


class NewAccount:
    """An account on its way into the database, with what its refusal has to be told by.

    :param registration: the app's state.
    :param schema: the register serializer that loaded it.
    :param sent: the request's JSON.
    :param user: the new object.
    """

    def __init__(self, registration: Registration, schema: marshmallow.Schema, sent: Any, user: object) -> None:
        self.registration = registration
        self.user = user
        #: Whether the application has rows of its own in the transaction.
        self.is_mixed = registration.accounts.has_application_written()
        self._schema = schema
        self._sent = sent if isinstance(sent, Mapping) else {}
        self._has_tried_again = False

    def field_of(self, attribute: str) -> str | None:
        """Return the name under which the client sent an attribute, if it did."""
        name = client_name(self._schema, attribute)
        return name if name in self._sent else None

    def may_try_again(self) -> bool:
        """Tell whether an INSERT is worth a second try that was refused though nothing is in its way.

        What was in its way has vanished before the database was asked for it. A constraint of another kind refuses the
        second one too, and that is the end; what the application had in the transaction is gone with the first.

        :returns: True once.
        """
        may, self._has_tried_again = not self._has_tried_again and not self.is_mixed, True
        return may

    def tell_refusals(self, action: Callable[[], Result]) -> Result:
        """Turn what the database refused, but for a violated constraint, into the answer to it."""
        try:
            return action()
        except TransactionConflict as conflict:
            failure: Exception = DatabaseUnavailable(str(conflict))
        except ValueRefused as error:
            failure = self.refused_by_database(error, gettext("The database cannot store this data."))
        raise failure

    def refusal(
        self, violation: ConstraintViolation, collisions: Sequence[Collision], *, application_took_part: bool
    ) -> Exception:
        """Find the answer to a violated constraint by what is in the way of the account.

        :param violation: what the database said.
        :param collisions: the rows in the way.
        :param application_took_part: whether the application's own rows may have violated it.
        :returns: what to raise.
        """
        errors = {field: [gettext(_TAKEN)] for collision in collisions for field in self._fields_of(collision.rule)}
        if errors:
            return InvalidInput(errors)
        if application_took_part or self._lacks_what_nobody_sends():
            return DatabaseFault(str(violation))
        return self.refused_by_database(violation, gettext("The database refused this data."))

    def refused_by_database(self, fault: DatabaseFault, text: str) -> InvalidInput:
        """Log what the client need not know, and make the answer."""
        self.registration.app.logger.error("A registration was refused by the database: %s", fault)
        return InvalidInput({WHOLE_OBJECT: [text]})

    def _fields_of(self, rule: UniqueRule) -> list[str]:
        mapper = self.registration.model.mapper
        attributes = [mapper.get_property_by_column(column).key for column in rule.columns]
        return [field for attribute in attributes if (field := self.field_of(attribute))] or [WHOLE_OBJECT]

    def _lacks_what_nobody_sends(self) -> bool:
        """Tell whether a NOT NULL column that is no input was left empty: the application's own fault."""
        return any(
            getattr(self.user, attribute.name) is None
            for attribute in cannot_be_omitted(self.registration.model)
            if client_name(self._schema, attribute.name) is None
        )


def store(account: NewAccount, request: Request) -> bool:
    """INSERT, mail, COMMIT; whatever fails, nothing is stored.

    :param account: the new account.
    :param request: the request that it came with.
    :returns: False if there was an account with its address already, which nobody but its owner may know.
    :raises RequestRefused: as ``register()`` does.
    :raises ConfigurationError: if the app is set up wrongly.
    """
    registration, user = account.registration, account.user
    if not registration.settings.register_verification_enabled:
        _store_without_mail(account)
        return True
    if not registration.model.address_of(user):
        raise UserWithoutEmailNonverifiable
    try:
        with Mailer(registration) as mailer:
            return _store_with_mail(account, mailer, request)
    except RecipientRefused as error:
        registration.app.logger.warning("A verification mail was not sent: %s", error.reason)
        email = registration.model.email.name
        field = account.field_of(email) or WHOLE_OBJECT
        raise InvalidInput({field: [gettext("The mail server does not accept this address.")]}) from None


def _store_without_mail(account: NewAccount) -> None:
    inserted = False
    try:
        _insert(account)
        inserted = True
        _commit(account)
    except ConstraintViolation as violation:
        refused = violation
    else:
        return
    collisions = _collisions(account)
    if collisions or not account.may_try_again():
        raise account.refusal(refused, collisions, application_took_part=inserted and account.is_mixed)
    _store_without_mail(account)


def _store_with_mail(account: NewAccount, mailer: Mailer, request: Request) -> bool:
    model = account.registration.model
    if model.claim is not None:
        model.claim.sent_at.set(account.user, clock.now())
    mailed = False
    try:
        _insert(account)
        _send(account, mailer, request)
        mailed = True
        _commit(account)
    except ConstraintViolation as violation:
        refused = violation
    else:
        return True
    collisions = _collisions(account)
    if not collisions and not mailed and account.may_try_again():
        return _store_with_mail(account, mailer, request)
    return _settle(account, refused, collisions, mailer, request, mailed=mailed)


def _settle(
    account: NewAccount,
    violation: ConstraintViolation,
    collisions: list[Collision],
    mailer: Mailer,
    request: Request,
    *,
    mailed: bool,
) -> bool:
    """Decide by what is in the way of an account: replace claims, tell the owner, or refuse.

    After a mail is out nothing is tried any more: only a constraint that is checked at the COMMIT comes so late.
    """
    registration = account.registration
    can_be_replaced = bool(collisions) and all(collision.is_stale for collision in collisions)
    if registration.settings.register_reclaim_enabled and can_be_replaced and not mailed and not account.is_mixed:
        if _replace(account, collisions):
            _send(account, mailer, request)
            mailed = True
            try:
                _commit(account)
            except ConstraintViolation as refused:  # one that is checked at the COMMIT
                violation = refused
            else:
                return True
        collisions = _collisions(account)
    return _hide_or_refuse(account, violation, collisions, mailer, request, mailed=mailed)


def _hide_or_refuse(
    account: NewAccount,
    violation: ConstraintViolation,
    collisions: list[Collision],
    mailer: Mailer,
    request: Request,
    *,
    mailed: bool,
) -> bool:
    """Write to the owner of a taken address where nobody else may know of it; else refuse the account."""
    registration = account.registration
    # What only a stale claim holds would not be in the way if nothing else were.
    kept = [each for each in collisions if not each.is_stale] or collisions
    claims = registration.claims
    if claims is not None and registration.settings.register_hide_existing_email:
        hidden = [each for each in kept if registration.model.email.column in each.rule.columns]
        others = [each for each in kept if each not in hidden]
        if hidden and not others:
            if not mailed:
                _write_to_owner(registration, claims, hidden[0], mailer, request)
            return False
        kept = others
    raise account.refusal(violation, kept, application_took_part=mailed and account.is_mixed)


def _collisions(account: NewAccount) -> list[Collision]:
    accounts, model = account.registration.accounts, account.registration.model
    accounts.rollback()
    stale: sa.ColumnElement[bool] = sa.false()
    if account.registration.settings.register_reclaim_enabled and model.claim is not None:
        stale = model.claim.sent_before(_stale_before(account.registration))
    return accounts.collisions_of(account.user, stale=stale)


def _stale_before(registration: Registration) -> int:
    """Return the time before which links have expired."""
    return clock.seconds_ago(registration.settings.register_verification_period)


def _replace(account: NewAccount, collisions: list[Collision]) -> bool:
    """DELETE stale claims and INSERT the account, without committing: a mail that fails brings them back."""
    registration = account.registration
    accounts, claims = registration.accounts, registration.claims

    def replace_claims() -> bool:
        if claims is None or not claims.delete_stale(collisions, sent_before=_stale_before(registration)):
            return False
        accounts.insert(account.user)
        return True

    accounts.rollback()  # of the SELECT, whose snapshot would be too old
    try:
        replaced = account.tell_refusals(lambda: accounts.retry_conflicts(replace_claims))
    except ConstraintViolation:  # other rows refer to a claim, or somebody else was faster
        replaced = False
    if not replaced:
        accounts.rollback()
    return replaced


def _write_to_owner(
    registration: Registration, claims: ClaimStatements, collision: Collision, mailer: Mailer, request: Request
) -> None:
    """Send a claim its link again, and the owner of any other account a notice, each within its cooldown."""
    write_to_owner(
        registration,
        claims,
        mailer,
        find=lambda: registration.accounts.find_by_key(collision.key),
        request=request,
    )


def _insert(account: NewAccount) -> None:
    """INSERT without asking first whether something is taken: between question and INSERT it could be."""
    accounts = account.registration.accounts

    def insert() -> None:
        accounts.flush_pending()
        accounts.insert(account.user)

    account.tell_refusals(lambda: accounts.retry_conflicts(insert))


def _send(account: NewAccount, mailer: Mailer, request: Request) -> None:
    mailer.send_link(request, account.user)
    if not account.registration.accounts.is_stored(account.user):
        raise EmailNotSent("the sender rolled the session back")


def _commit(account: NewAccount) -> None:
    """COMMIT; a mail may be out, so that nothing is tried again."""
    accounts = account.registration.accounts
    account.is_mixed = account.is_mixed or accounts.has_pending()
    account.tell_refusals(accounts.commit)
