"""E-mail first: the address, then a message, then everything else, so that nobody is a user before they have proven it.

Each function is one request, in the order in which it does its work.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from flask import Request
from marshmallow import Schema

from .. import clock
from ..addresses import is_same_address, normalize_email, to_recipient
from ..database.pending import PendingRegistrations
from ..exceptions import (
    WHOLE_OBJECT,
    CodeInvalid,
    ConfigurationError,
    DatabaseFault,
    DatabaseUnavailable,
    FieldErrors,
    InvalidInput,
    NotFound,
    RequestRefused,
    SignatureExpired,
    SignatureInvalid,
)
from ..login import log_in
from ..mail.delivery import Mailer
from ..mail.due import send_if_due
from ..model.attributes import Flag
from ..model.pending import CODE_FIELD, LINK_FIELDS, PendingRegistrationMixin
from ..model.user_model import python_type
from ..serializers.schemas import client_name, client_names, field_faults, join_errors, load
from ..signals import announce, user_activated, user_registered
from ..signers import RegisterSigner, accepts_code
from ..state import Registration
from ..translations.texts import gettext, gettext_noop
from .links import load_link
from .new_user import PASSWORD, load_account, make_user, set_proven_address
from .sign_up import SignUp

ReadJson = Callable[[], Any]

_STAND_IN = "nobody@example.com"

#: What :func:`verify` returns for a link that it knows nothing of.
NOT_PENDING: Final = object()

#: What everybody is answered who asks for a message; it is true in every case.
ASKED = gettext_noop("A message was sent to this address, or tried, now or when it was last asked for.")


def register(state: Registration, read_json: ReadJson, *, request: Request) -> dict[str, str]:
    """Send a message to the address that somebody signs up with: a link, or a notice where there is an account.

    Free and taken addresses are treated alike: status, body, headers, statements and mail dialogue.

    :param state: the app's state.
    :param read_json: reads and parses the request's body.
    :param request: the request that it came with.
    :returns: one and the same body.
    :raises InvalidInput: for what is no address, or cannot be one of an account, or is refused by the mail server.
    :raises EmailNotSent: if the mail server is out of reach.
    :raises DatabaseUnavailable: if the database is.
    """
    pending, accounts = state.pending, state.accounts
    if pending is None or not state.settings.register_flow_enabled:
        raise NotFound
    with accounts.rolled_back_on_failure():
        address = _read_address(state, read_json())

        def choose(row: PendingRegistrationMixin) -> tuple[Mailer, object]:
            has_account = accounts.read(lambda: accounts.has_address(address))
            return (Mailer.of_notices(state) if has_account else Mailer.of_links(state)), row

        send_if_due(state, pending, to_recipient(address), choose=choose, request=request)
    return {"detail": gettext(ASKED)}


def _read_address(state: Registration, sent: Any) -> str:
    """Load the address, and judge it by the field that will read it for the account."""
    setting = "REGISTER_EMAIL_SERIALIZER_CLASS"
    loaded = state.accounts.refuse_changes(lambda: load(state.serializers.register_email(), sent), setting=setting)
    email = loaded.get("email") if isinstance(loaded, Mapping) else None
    if not isinstance(email, str):
        raise ConfigurationError(f"{setting} must give a dict with the address under 'email'.")
    try:
        address = normalize_email(email)
    except ValueError:
        raise InvalidInput({"email": [gettext("Not a valid email address.")]}) from None
    faults = field_faults(state.serializers.register(), state.model.email.name, address)
    longest = getattr(state.model.email.column.type, "length", None)
    if not faults and longest is not None and len(address) > longest:
        faults = [gettext("This text is too long.")]
    if faults:
        raise InvalidInput({"email": faults})
    return address


def check_link(state: Registration, read_json: ReadJson) -> dict[str, str]:
    """Tell the page behind a link which address it is about; nothing changes.

    :param state: the app's state.
    :param read_json: reads and parses the request's body.
    :returns: the address, as an account would have it.
    :raises SignatureInvalid: if the link is no true link of a pending registration.
    :raises SignatureExpired: if it is true but too old.
    """
    pending = state.pending
    if pending is None or not (state.settings.register_email_first and state.settings.register_flow_enabled):
        raise NotFound
    with state.accounts.rolled_back_on_failure():
        row = _row_behind(state, pending, load_link(read_json()))
        if row is None:
            raise SignatureInvalid
        return {"email": normalize_email(row.email)}


def verify(state: Registration, pending: PendingRegistrations, sent: Any, *, flag: Flag, request: Request) -> Any:
    """Make the account of whoever has read the message, by its link or its code.

    :param state: the app's state.
    :param pending: its pending registrations.
    :param sent: the parsed JSON: link or code, and the fields of the account.
    :param flag: the verification flag.
    :param request: the request that it came with.
    :returns: the output serializer's dump of the new account, and what the login handler added;
        :data:`NOT_PENDING` if the link is none of a pending registration, and may be one of an account.
    :raises RequestRefused: as section "Errors" of the documentation lists them; the link or code can be used again.
    :raises ConfigurationError: if the app is set up wrongly.
    """
    accounts, schema = state.accounts, state.serializers.register()
    row: PendingRegistrationMixin | None = None
    give_back: Callable[[], object] = _nothing
    code = ""
    errors: FieldErrors = {}
    if _is_by_code(state, sent):
        refusal: type[RequestRefused] = CodeInvalid
        address, code, errors = _load_code(state, sent)
        accounts.read(accounts.flush_pending)  # what the application left pending does not depend on the code
    else:
        refusal = SignatureInvalid
        row = _row_behind(state, pending, load_link(sent))
        if row is None:
            return NOT_PENDING
        address = normalize_email(row.email)
    completed, more = _with_address(state, schema, sent, address)
    loaded = load_account(state, schema, completed, more_errors=join_errors(errors, more))
    accounts.end_reading()  # a serializer may have asked the database
    if row is None:  # only now, since the faults of the fields tell nothing of the code
        has_written = accounts.has_application_written()
        if has_written:  # what a serializer adds goes with the account, and not with a wrong code
            accounts.rollback()
        row, give_back = _try_code(state, pending, address, code)
        if has_written:
            loaded = load_account(state, schema, completed)
    row_id = row.id

    def spend() -> None:
        if not pending.spend(row_id):
            raise refusal

    try:
        user = make_user(state, loaded, password_name=client_name(schema, PASSWORD) or PASSWORD)
        set_proven_address(state, user, address)
        flag.set(user, clock.now())
        accounts.end_reading()
        SignUp(state, schema, completed, user).store(spend=spend)
    except BaseException:
        accounts.rollback()
        with suppress(DatabaseFault, DatabaseUnavailable):
            give_back()
        raise
    return _tell(state, user, request)


def _tell(state: Registration, user: object, request: Request) -> Any:
    """Answer, send the signals, and log in."""
    shown: Any = None
    try:
        shown = state.serializers.profile().dump(user)
    finally:
        rollback = state.accounts.rollback
        announce(user_registered, user_activated, app=state.app, user=user, request=request, rollback=rollback)
    extra = log_in(state, request=request, user=user)
    return {**shown, **extra} if isinstance(shown, Mapping) else shown


def _nothing() -> None:
    """Have nothing to give back."""


def _is_by_code(state: Registration, sent: Any) -> bool:
    """Tell whether a body has a code in place of a link."""
    if not state.settings.register_verification_code_enabled or not isinstance(sent, Mapping):
        return False
    has_code, has_link = CODE_FIELD in sent, any(name in sent for name in LINK_FIELDS)
    if has_code and not state.settings.register_flow_enabled:
        raise NotFound
    if has_code == has_link:
        text = gettext("Send either user_id, timestamp and signature of the link, or email and code.")
        raise InvalidInput({WHOLE_OBJECT: [text]})
    return has_code


def _row_behind(
    state: Registration, pending: PendingRegistrations, link: Mapping[str, str]
) -> PendingRegistrationMixin | None:
    """Return the pending registration that a true link names; None if the link may be one of an account."""
    if not _is_canonical_uuid(link["user_id"]):
        return None
    may_be_of_account = python_type(state.model.link_id.column) is not int
    if not (state.settings.register_flow_enabled or may_be_of_account):
        raise NotFound
    row = state.accounts.read(lambda: pending.find(link["user_id"]))
    signer = RegisterSigner(state, row, timestamp=link["timestamp"])
    if not signer.accepts(link["signature"]) or row is None:
        if may_be_of_account:
            return None
        raise SignatureInvalid
    if not state.settings.register_flow_enabled:
        raise NotFound
    if signer.has_expired():
        raise SignatureExpired
    return row


def _is_canonical_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _try_code(
    state: Registration, pending: PendingRegistrations, address: str, code: str
) -> tuple[PendingRegistrationMixin, Callable[[], object]]:
    """Count the attempt, then compare the code; what is wrong with it is told by one and the same answer.

    :returns: the row, and what gives the attempt back.
    :raises CodeInvalid: for a code that is wrong, used up or too old, and for an address without one.
    """
    row = state.accounts.read(lambda: pending.find_by_email(to_recipient(address)))
    give_back = pending.count_attempt(row)
    if row is None or give_back is None or not accepts_code(state, row, code):
        raise CodeInvalid
    return row, give_back


def _load_code(state: Registration, sent: Mapping[str, Any]) -> tuple[str, str, FieldErrors]:
    """Load address and code; where they are refused, other fields can still be judged beside a stand-in.

    :returns: the address, the digits, and what is wrong with them.
    """
    try:
        given = load(state.serializers.verify_code(), sent)
    except InvalidInput as refused:
        return _STAND_IN, "", refused.errors
    return given["email"], given["code"], {}


def _with_address(
    state: Registration, schema: Schema, sent: Mapping[str, Any], address: str
) -> tuple[dict[str, Any], FieldErrors]:
    """Put the proven address among the fields that the serializer reads, and leave out what it does not know.

    :returns: the fields by the client's names, and what is wrong where the client sent another address.
    """
    known = client_names(schema)
    completed = {name: value for name, value in sent.items() if name in known}
    name = client_name(schema, state.model.email.name)
    if name is None:
        return completed, {}
    given, completed[name] = completed.get(name, address), address
    if address == _STAND_IN or is_same_address(given, address):
        return completed, {}
    return completed, {name: [gettext("This is not the address that the message was sent to.")]}
