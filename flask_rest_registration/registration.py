"""The two workflows, in the order in which a request does its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from blinker import NamedSignal
from flask import Request

from . import clock
from .attributes import Flag
from .database_errors import without_text
from .exceptions import NotFound, SignatureInvalid
from .links import account_behind, load_link
from .login import log_in
from .new_users import PASSWORD, choose_password, make_user
from .serializers import client_name, load
from .settings import propagates_exceptions
from .signals import send_signal, user_activated, user_registered
from .signers import RegisterSigner
from .state import Registration
from .storing import NewAccount, store
from .texts import gettext, gettext_noop

ReadJson = Callable[[], Any]

#: What every accepted sign-up is answered while the existence of accounts is hidden.
HIDDEN = gettext_noop("If this address can be used, a message is on its way to it.")

#: What a verification is answered.
VERIFIED = gettext_noop("User verified successfully")


def register(registration: Registration, read_json: ReadJson, *, request: Request) -> Any:
    """Make an account of what a stranger sent.

    :param registration: the app's state.
    :param read_json: reads and parses the request's body.
    :param request: the request that it came with.
    :returns: the output serializer's dump of the new account; one fixed body while REGISTER_HIDE_EXISTING_EMAIL is on.
    :raises RequestRefused: as section "Errors" of the documentation lists them; nothing is stored then.
    :raises ConfigurationError: if the app is set up wrongly.
    """
    if not registration.settings.register_flow_enabled:
        raise NotFound
    with registration.accounts.rolled_back_on_failure():
        sent = read_json()
        schema = registration.serializers.register()
        loaded = registration.accounts.refuse_changes(lambda: load(schema, sent))
        user = make_user(registration, loaded, password_name=client_name(schema, PASSWORD) or PASSWORD)
        is_new = store(NewAccount(registration, schema, sent, user), request)
    try:
        hides = registration.settings.register_hide_existing_email
        return {"detail": gettext(HIDDEN)} if hides else registration.serializers.profile().dump(user)
    finally:
        if is_new:
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
        link, chosen = _split(registration, read_json())
        user, activated = registration.accounts.retry_conflicts(lambda: _activate(registration, link, chosen, flag))
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
    return {**extra, "detail": gettext(VERIFIED)}


def _split(registration: Registration, sent: Any) -> tuple[Mapping[str, str], dict[str, Any]]:
    """Load what belongs to the link, and set aside what is looked at only when the link has been found true."""
    names = registration.serializers.chosen_password.fields if registration.settings.password_at_verification else {}
    if not names or not isinstance(sent, Mapping):
        return load_link(sent), {}
    chosen = {name: value for name, value in sent.items() if name in names}
    return load_link({name: value for name, value in sent.items() if name not in names}), chosen


def _activate(
    registration: Registration, link: Mapping[str, str], chosen: Mapping[str, Any], flag: Flag
) -> tuple[object, bool]:
    """Find the account, check its link, set the flag: two transactions, the second one decides.

    Sharing one would make the UPDATE fail on a stale snapshot, which no repetition helps.
    """
    accounts, settings, model = registration.accounts, registration.settings, registration.model
    claim = model.claim
    user = account_behind(registration, RegisterSigner, link)
    accounts.commit()  # also where nothing is left to do: what the application left pending goes with it
    if settings.password_at_verification and claim is not None:
        if not claim.is_one(user):  # else an old link would be a password reset
            raise SignatureInvalid
        password = load(registration.serializers.chosen_password, chosen)[PASSWORD]
        changes = choose_password(registration, user, password) | model.verified_values(clock.now())
        activated = accounts.change(user, flag.column.table, changes, claim.condition())
    elif flag.is_set(user):
        return user, False
    else:
        activated = accounts.activate(user, at=clock.now())
    if activated:
        return user, True
    user = account_behind(registration, RegisterSigner, link)
    if settings.password_at_verification or not flag.is_set(user):
        raise SignatureInvalid
    return user, False


def _tell(registration: Registration, signal: NamedSignal, *, user: object, request: Request) -> None:
    app = registration.app
    keywords = {"user": user, "request": request}
    failure = send_signal(signal, app, keywords, rollback=registration.accounts.rollback)
    if failure is not None and propagates_exceptions(app.config):
        raise without_text(failure)
