"""Verifying the address of an account by its link."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from flask import Request

from .. import clock
from ..exceptions import NotFound, SignatureExpired, SignatureInvalid
from ..model.attributes import Flag
from ..serializers.schemas import MakeSchema, load_link
from ..signals import user_activated
from ..signers import RegisterSigner
from ..state import AppState
from ..translations.texts import gettext_noop
from . import email_first
from .after_commit import Verification, announce, log_in
from .sign_up import Read

#: What a verification is answered.
VERIFIED = gettext_noop("User verified successfully")


def verify(state: AppState, read: Read, *, request: Request | None, output: MakeSchema | None = None) -> Verification:
    """Activate the account of a link, once; with REGISTER_EMAIL_FIRST, make the account of a pending registration.

    :param output: makes the serializer that shows a new account, as it is before receivers of signals run.
    """
    flag = state.model.flag
    if flag is None or not state.settings.register_verification_enabled:
        raise NotFound
    with state.transactions.rolled_back_on_failure(state.app.logger):
        sent = read()
        if state.settings.register_email_first and state.pending is not None:
            made = email_first.verify(state, state.pending, sent, flag=flag, request=request, output=output)
            if made is not None:
                return made
        link = load_link(sent)
        user, activated = state.transactions.retry_conflicts(partial(_activate, state, link, flag))
    if not activated:
        return Verification(user)
    announce(state, user_activated, user=user, request=request)
    return Verification(user, added=log_in(state, request=request, user=user))


def _activate(state: AppState, link: Mapping[str, str], flag: Flag) -> tuple[object, bool]:
    """Find the account, check its link, set the flag: two transactions, of which the second decides.

    In one transaction the UPDATE would fail on a stale snapshot, which no retry helps.
    """
    user = _account_behind(state, link)
    state.transactions.commit()  # also where nothing is left to do: what the application has not flushed goes with it
    if flag.is_set(user):
        return user, False
    if state.accounts.activate(user, flag, at=int(clock.now())):
        return user, True
    user = _account_behind(state, link)
    if not flag.is_set(user):
        raise SignatureInvalid
    return user, False


def _account_behind(state: AppState, link: Mapping[str, str]) -> object:
    """Return the account that a true link names, in a transaction that is still open; an unknown one costs the same."""
    user = state.accounts.find(link["user_id"])
    signer = RegisterSigner(state, user, timestamp=link["timestamp"])
    if not signer.accepts(link["signature"]) or user is None:
        raise SignatureInvalid
    if signer.has_expired():
        raise SignatureExpired
    return user
