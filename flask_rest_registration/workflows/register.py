"""The two workflows of an account that is made at sign-up, in the order in which a request does its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Request

from .. import clock
from ..exceptions import (
    WHOLE_OBJECT,
    EmailNotSent,
    InvalidInput,
    NotFound,
    RecipientRefused,
    SignatureInvalid,
    UserWithoutEmailNonverifiable,
)
from ..login import log_in
from ..mail.delivery import Mailer
from ..mail.due import REFUSED
from ..model.attributes import Flag
from ..serializers.schemas import client_name
from ..signals import announce, user_activated, user_registered
from ..state import Registration
from ..translations.texts import gettext, gettext_noop
from . import email_first
from .links import account_behind, load_link
from .new_user import PASSWORD, load_account, make_user
from .sign_up import SignUp

ReadJson = Callable[[], Any]

#: What a verification is answered.
VERIFIED = gettext_noop("User verified successfully")


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
        loaded = load_account(registration, schema, sent)
        user = make_user(registration, loaded, password_name=client_name(schema, PASSWORD) or PASSWORD)
        _store(registration, SignUp(registration, schema, sent, user), user, request)
    try:
        return registration.serializers.profile().dump(user)
    finally:
        rollback = registration.accounts.rollback
        announce(user_registered, app=registration.app, user=user, request=request, rollback=rollback)


def _store(registration: Registration, sign_up: SignUp, user: object, request: Request) -> None:
    if not registration.settings.register_verification_enabled:
        sign_up.store()
        return
    if not registration.model.address_of(user):
        raise UserWithoutEmailNonverifiable

    def send() -> None:
        mailer.send(request, user)
        if not registration.accounts.is_stored(user):
            raise EmailNotSent("the sender rolled the session back")

    try:
        with Mailer.of_links(registration) as mailer:
            sign_up.store(send=send)
    except RecipientRefused as error:
        registration.app.logger.warning("A verification mail was not sent: %s", error.reason)
        field = sign_up.field_of(registration.model.email.name) or WHOLE_OBJECT
        raise InvalidInput({field: [gettext(REFUSED)]}) from None


def verify(registration: Registration, read_json: ReadJson, *, request: Request) -> tuple[Any, int]:
    """Activate the account of a link, once; with REGISTER_EMAIL_FIRST, make the account of a pending registration.

    :param registration: the app's state.
    :param read_json: reads and parses the request's body.
    :param request: the request that it came with.
    :returns: the answer's body (``detail`` and what the login handler added) and its status; of a pending
        registration the account, and 201.
    :raises RequestRefused: as section "Errors" of the documentation lists them.
    :raises ConfigurationError: if the app is set up wrongly.
    """
    flag, pending = registration.model.flag, registration.pending
    if flag is None or not registration.settings.register_verification_enabled:
        raise NotFound
    with registration.accounts.rolled_back_on_failure():
        sent = read_json()
        if registration.settings.register_email_first and pending is not None:
            shown = email_first.verify(registration, pending, sent, flag=flag, request=request)
            if shown is not email_first.NOT_PENDING:
                return shown, 201
        link = load_link(sent)
        user, activated = registration.accounts.retry_conflicts(lambda: _activate(registration, link, flag))
    extra: Mapping[str, object] = {}
    if activated:
        rollback = registration.accounts.rollback
        announce(user_activated, app=registration.app, user=user, request=request, rollback=rollback)
        extra = log_in(registration, request=request, user=user)
    return {**extra, "detail": gettext(VERIFIED)}, 200


def _activate(registration: Registration, link: Mapping[str, str], flag: Flag) -> tuple[object, bool]:
    """Find the account, check its link, set the flag: two transactions, the second one decides.

    Sharing one would make the UPDATE fail on a stale snapshot, which no repetition helps.
    """
    accounts = registration.accounts
    user = account_behind(registration, link)
    accounts.commit()  # also where nothing is left to do: what the application left pending goes with it
    if flag.is_set(user):
        return user, False
    if accounts.activate(user, at=clock.now()):
        return user, True
    user = account_behind(registration, link)
    if not flag.is_set(user):
        raise SignatureInvalid
    return user, False
