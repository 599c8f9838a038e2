"""The two workflows, in the order in which a request does its work; transactions begin and end here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import marshmallow
from blinker import NamedSignal
from flask import Request

from . import clock
from .database_errors import ConstraintViolation, TransactionConflict, ValueRefused, without_text
from .exceptions import (
    WHOLE_OBJECT,
    DatabaseFault,
    DatabaseUnavailable,
    EmailNotSent,
    InvalidInput,
    NotFound,
    RecipientRefused,
    SignatureExpired,
    SignatureInvalid,
    UserWithoutEmailNonverifiable,
)
from .login import log_in
from .new_users import PASSWORD, make_user
from .notifications import Send, ready_sender
from .serializers import VerifyRegistrationSerializer, client_name, load
from .settings import propagates_exceptions
from .signals import send_signal, user_activated, user_registered
from .signers import RegisterSigner
from .state import Registration
from .unique import UniqueRule
from .user_model import Flag, cannot_be_omitted

ReadJson = Callable[[], Any]

_VERIFIED = "User verified successfully"
_verify_serializer = VerifyRegistrationSerializer()  # without fields of any app, and without state


def register(registration: Registration, read_json: ReadJson, *, request: Request) -> Any:
    """Make an account of what a stranger sent.

    :param registration: the app's state.
    :param read_json: reads and parses the request's body.
    :param request: the request that it came with.
    :returns: the output serializer's dump of the new account.
    :raises RequestRefused: as section "Errors" of the documentation lists them; nothing is stored then.
    :raises ConfigurationError: if the app is set up wrongly.
    """
    if not registration.settings.register_flow_enabled:
        raise NotFound
    with registration.accounts.rolled_back_on_failure():
        sent = read_json()
        schema = registration.serializers.register()
        with registration.accounts.refuse_changes():
            loaded = load(schema, sent)
        user = make_user(registration, loaded, password_name=client_name(schema, PASSWORD) or PASSWORD)
        _store(_NewAccount(registration, schema, sent, user), request)
    try:
        return registration.serializers.profile().dump(user)
    finally:
        _tell(registration, user_registered, user=user, request=request)


def verify(registration: Registration, read_json: ReadJson, *, request: Request) -> dict[str, Any]:
    """Activate the account of a link, once.

    :param registration: the app's state.
    :param read_json: reads and parses the request's body.
    :param request: the request that it came with.
    :returns: the answer's body: ``detail`` and what the login handler added.
    :raises RequestRefused: as section "Errors" of the documentation lists them.
    :raises ConfigurationError: if the app is set up wrongly.
    """
    flag = registration.model.flag
    if flag is None or not registration.settings.register_verification_enabled:
        raise NotFound
    with registration.accounts.rolled_back_on_failure():
        link = load(_verify_serializer, read_json())
        user, activated = registration.accounts.retry_conflicts(lambda: _activate(registration, link, flag))
    extra: Mapping[str, object] = {}
    if activated:
        _tell(registration, user_activated, user=user, request=request)
        if registration.settings.register_verification_auto_login:
            extra = log_in(
                registration.app,
                registration.settings.login_handler,
                request=request,
                user=user,
                rollback=registration.accounts.rollback,
            )
    return {**extra, "detail": _VERIFIED}


class _NewAccount:
    """An account on its way into the database, with what its refusal has to be told by."""

    def __init__(self, registration: Registration, schema: marshmallow.Schema, sent: Any, user: object) -> None:
        self.registration = registration
        self.user = user
        self.application_took_part = registration.accounts.has_application_written()
        self._schema = schema
        self._sent = sent if isinstance(sent, Mapping) else {}

    def field_of(self, attribute: str) -> str | None:
        """Return the name under which the client sent an attribute, if it did."""
        name = client_name(self._schema, attribute)
        return name if name in self._sent else None

    @contextmanager
    def refusals_told(self, *, application_took_part: bool) -> Iterator[None]:
        """Turn what the database refused into the answer to it."""
        try:
            yield
        except TransactionConflict as conflict:
            failure: Exception = DatabaseUnavailable(str(conflict))
        except ConstraintViolation as violation:
            self.registration.accounts.rollback()
            failure = self.refusal(violation, application_took_part=application_took_part)
        except ValueRefused as error:
            failure = self.refused_by_database(error, "The database cannot store this data.")
        else:
            return
        raise failure

    def refusal(self, violation: ConstraintViolation, *, application_took_part: bool) -> Exception:
        """Find the answer to a violated constraint, by asking the database what is taken."""
        errors: dict[str, list[str]] = {}
        for rule in self.registration.accounts.taken_by(self.user):
            for field in self._fields_of(rule):
                errors[field] = ["This value is already taken."]
        if errors:
            return InvalidInput(errors)
        if application_took_part or self._lacks_what_nobody_sends():
            return DatabaseFault(str(violation))
        return self.refused_by_database(violation, "The database refused this data.")

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


def _store(account: _NewAccount, request: Request) -> None:
    """INSERT, mail, COMMIT; whatever fails, nothing is stored."""
    registration, user = account.registration, account.user
    if not registration.settings.register_verification_enabled:
        _insert(account)
        _commit(account)
        return
    if not registration.model.address_of(user):
        raise UserWithoutEmailNonverifiable
    try:
        with ready_sender(registration) as send:
            _insert(account)
            _send(account, send, request)
            _commit(account)
    except RecipientRefused as error:
        registration.app.logger.warning("A verification mail was not sent: %s", error.reason)
        email = registration.model.email.name
        field = account.field_of(email) or WHOLE_OBJECT
        raise InvalidInput({field: ["The mail server does not accept this address."]}) from None


def _insert(account: _NewAccount) -> None:
    """INSERT without asking first whether something is taken: between question and INSERT it could be."""
    accounts = account.registration.accounts

    def insert() -> None:
        accounts.flush_pending()
        accounts.insert(account.user)

    with account.refusals_told(application_took_part=False):
        accounts.retry_conflicts(insert)


def _send(account: _NewAccount, send: Send, request: Request) -> None:
    send(request, account.user)
    if not account.registration.accounts.is_stored(account.user):
        raise EmailNotSent("the sender rolled the session back")


def _commit(account: _NewAccount) -> None:
    """COMMIT; a mail may be out, so that nothing is tried again."""
    accounts = account.registration.accounts
    with account.refusals_told(application_took_part=account.application_took_part or accounts.has_pending()):
        accounts.commit()


def _activate(registration: Registration, link: Mapping[str, str], flag: Flag) -> tuple[object, bool]:
    """Find the account, check its link, set the flag: two transactions, the second one decides.

    Sharing one would make the UPDATE fail on a stale snapshot, which no repetition helps.
    """
    accounts = registration.accounts
    user = _account_behind(registration, link)
    accounts.commit()  # also where nothing is left to do: what the application left pending goes with it
    if flag.is_set(user):
        return user, False
    if accounts.activate(user, flag=flag, at=clock.now()):
        return user, True
    user = _account_behind(registration, link)
    if not flag.is_set(user):
        raise SignatureInvalid
    return user, False


def _account_behind(registration: Registration, link: Mapping[str, str]) -> object:
    """Return the account that a true link names; unknown accounts and wrong signatures are one answer."""
    user = registration.accounts.find(link["user_id"])
    signer = RegisterSigner(registration, user, timestamp=link["timestamp"])
    if not signer.accepts(link["signature"]) or user is None:
        raise SignatureInvalid
    if signer.has_expired():
        raise SignatureExpired
    return user


def _tell(registration: Registration, signal: NamedSignal, *, user: object, request: Request) -> None:
    app = registration.app
    failure = send_signal(signal, app, user=user, request=request, rollback=registration.accounts.rollback)
    if failure is not None and propagates_exceptions(app.config):
        raise without_text(failure)
