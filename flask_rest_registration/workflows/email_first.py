"""E-mail first: the address, then a mail, then everything else, so that only who has proven an address is a user."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

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
from ..mail.delivery import Send
from ..model.attributes import Flag
from ..model.pending import CODE_FIELD, LINK_FIELDS, PendingRegistrationMixin
from ..model.user_model import python_type
from ..serializers.schemas import (
    ADDRESS_TOO_LONG,
    NO_ADDRESS,
    MakeSchema,
    client_name,
    client_names,
    field_faults,
    join_errors,
    load,
    load_link,
)
from ..signals import user_activated, user_registered
from ..signers import RegisterSigner, accepts_code
from ..state import AppState
from ..translations.texts import gettext, gettext_noop
from .after_commit import Verification, announce, log_in
from .due_mail import send_if_due
from .sign_up import Read, SignUp

_STAND_IN = "nobody@example.com"

#: What everybody is answered who asks for a mail; it is true in every case.
ASKED = gettext_noop("A message was sent to this address, or tried, now or when it was last asked for.")


def register(state: AppState, read: Read, *, request: Request | None) -> None:
    """Send a link to the address that somebody signs up with, or a notice where there is an account.

    Free and taken addresses are treated alike: status, body, headers, statements and mail dialogue.

    :raises RequestRefused: for what can be no account's address, and if the mail cannot be sent.
    """
    pending, settings = state.pending, state.settings
    if pending is None or not settings.register_flow_enabled:
        raise NotFound
    with state.transactions.rolled_back_on_failure(state.app.logger):
        sent = read()
        address = _read_address(state, sent)

        def choose(row: PendingRegistrationMixin) -> tuple[Send, object]:
            has_account = state.transactions.read(lambda: state.accounts.has_address(address))
            senders = settings.register_existing_email_sender, settings.register_verification_email_sender
            return senders[0 if has_account else 1], row

        send_if_due(state, pending, to_recipient(address), choose=choose, request=request, sent=sent)


def _read_address(state: AppState, sent: Any) -> str:
    """Load the address, and judge it by the field that will read it for the account."""
    setting = "REGISTER_EMAIL_SERIALIZER_CLASS"
    schema = state.serializers.register_email()
    name = client_name(schema, "email") or "email"

    def judge(valid: Mapping[str, Any]) -> FieldErrors:
        email = valid.get("email")
        if not isinstance(email, str):
            return {}
        try:
            address = normalize_email(email)
        except ValueError:
            return {name: [gettext(NO_ADDRESS)]}
        faults = field_faults(state.serializers.register(), state.model.email.name, address)
        longest = getattr(state.model.email.column.type, "length", None)
        if not faults and longest is not None and len(address) > longest:
            faults = [gettext(ADDRESS_TOO_LONG)]
        return {name: faults} if faults else {}

    with state.transactions.refuse_changes(setting):
        loaded = load(schema, sent, judge=judge)
    email = loaded.get("email") if isinstance(loaded, Mapping) else None
    if not isinstance(email, str):
        raise ConfigurationError(f"{setting} must give a dict with the address under 'email'.")
    return normalize_email(email)


def check_link(state: AppState, read: Read) -> str:
    """Tell the page behind a link which address it is about, as an account would have it; nothing changes.

    :raises SignatureInvalid: if the link is no true link of a pending registration.
    :raises SignatureExpired: if it is true but too old.
    """
    pending = state.pending
    if pending is None or not (state.settings.register_email_first and state.settings.register_flow_enabled):
        raise NotFound
    with state.transactions.rolled_back_on_failure(state.app.logger):
        row = _row_behind(state, pending, load_link(read()))
        if row is None:
            raise SignatureInvalid
        return normalize_email(row.email)


def verify(
    state: AppState,
    pending: PendingRegistrations,
    sent: Any,
    *,
    flag: Flag,
    request: Request | None,
    output: MakeSchema | None,
) -> Verification | None:
    """Make the account of whoever has read the mail, by its link or its code.

    :param output: makes the serializer that shows the account, as it is before receivers of signals run.
    :returns: None if the link is none of a pending registration, and may be one of an account.
    :raises RequestRefused: if it is refused; the link or code can be used again.
    """
    give_back: Callable[[], object] | None = None
    schema = state.serializers.register()
    row, address, code, errors = _read_proof(state, pending, schema, sent)
    if not (row or code or errors):
        return None
    refusal: type[RequestRefused] = CodeInvalid if code else SignatureInvalid
    if code:
        state.transactions.read(state.transactions.flush)  # what the application has not flushed stays, code or not
    completed, more_errors = _with_address(state, schema, sent, address)
    sign_up = SignUp(state, schema, completed)
    sign_up.load(more_errors=join_errors(errors, more_errors))
    state.transactions.end_reading()  # a serializer may have asked the database
    if row is None:  # only now, since the faults of the fields tell nothing of the code
        has_written = state.transactions.has_changes()
        if has_written:  # what a serializer adds goes with the account, and not with a wrong code
            state.transactions.rollback()
        row, give_back = _try_code(state, pending, address, code)
        if has_written:
            sign_up.load()
    row_id = row.id

    def spend() -> None:
        if not pending.spend(row_id):
            raise refusal

    try:
        user = sign_up.make_user()
        sign_up.set_proven_address(address)
        setattr(user, flag.name, flag.value_at(int(clock.now())))
        state.transactions.end_reading()
        sign_up.store(spend=spend)
    except BaseException:
        state.transactions.rollback()
        if give_back is not None:
            with suppress(DatabaseFault, DatabaseUnavailable):
                give_back()
        raise
    try:
        shown = None if output is None else output().dump(user)
    finally:
        announce(state, user_registered, user_activated, user=user, request=request)
    return Verification(user, is_new=True, shown=shown, added=log_in(state, request=request, user=user))


def _read_proof(
    state: AppState, pending: PendingRegistrations, schema: Schema, sent: Any
) -> tuple[PendingRegistrationMixin | None, str, str, FieldErrors]:
    """Return the row of a link, the address, the code, and their faults; for a link that may be an account's nothing.

    With a stand-in for the address, the fields of the account can be judged all the same.
    """
    try:
        if _is_by_code(state, sent):
            given = load(state.serializers.verify_code(), sent)
            return None, given["email"], given["code"], {}
        row = _row_behind(state, pending, load_link(sent))
    except InvalidInput as refused:
        if not isinstance(sent, Mapping) or client_names(schema).isdisjoint(sent):
            raise  # there are no such fields: the link may be one of an account
        try:
            return None, normalize_email(str(sent.get("email"))), "", refused.errors
        except ValueError:
            return None, _STAND_IN, "", refused.errors
    return row, normalize_email(row.email) if row else "", "", {}


def _is_by_code(state: AppState, sent: Any) -> bool:
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
    state: AppState, pending: PendingRegistrations, link: Mapping[str, str]
) -> PendingRegistrationMixin | None:
    """Return the pending registration that a true link names; None if the link may be one of an account."""
    try:
        if str(uuid.UUID(link["user_id"])) != link["user_id"]:
            return None
    except ValueError:
        return None
    is_enabled = state.settings.register_flow_enabled
    may_be_of_account = python_type(state.model.link_id.column) is not int
    if not (is_enabled or may_be_of_account):
        raise NotFound
    row = state.transactions.read(lambda: pending.find(link["user_id"]))
    signer = RegisterSigner(state, row, timestamp=link["timestamp"])
    if not signer.accepts(link["signature"]) or row is None:
        if may_be_of_account:
            return None
        raise SignatureInvalid
    if not is_enabled:
        raise NotFound
    if signer.has_expired():
        raise SignatureExpired
    return row


def _try_code(
    state: AppState, pending: PendingRegistrations, address: str, code: str
) -> tuple[PendingRegistrationMixin, Callable[[], object]]:
    """Count the attempt, then compare the code; return the row, and what gives the attempt back.

    :raises CodeInvalid: for a code that is wrong, used up or too old, and for an address without one.
    """
    row = state.transactions.read(lambda: pending.find_by_email(to_recipient(address)))
    give_back = pending.count_attempt(row)
    if row is None or give_back is None or not accepts_code(state, row, code):
        raise CodeInvalid
    return row, give_back


def _with_address(
    state: AppState, schema: Schema, sent: Mapping[str, Any], address: str
) -> tuple[dict[str, Any], FieldErrors]:
    """Return the fields that the serializer reads, with the proven address, and the fault of another one."""
    known = client_names(schema)
    completed = {name: value for name, value in sent.items() if name in known}
    name = client_name(schema, state.model.email.name)
    if name is None:
        return completed, {}
    given, completed[name] = completed.get(name, address), address
    if address == _STAND_IN or is_same_address(given, address):
        return completed, {}
    return completed, {name: [gettext("This is not the address that the message was sent to.")]}
