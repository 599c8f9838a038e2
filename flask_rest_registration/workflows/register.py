"""Signing up, where the account is made at once and its address is verified afterwards."""

from __future__ import annotations

from typing import Any

from flask import Request

from ..exceptions import WHOLE_OBJECT, InvalidInput, NotFound, RecipientRefused, UserWithoutEmailNonverifiable
from ..mail.delivery import Mailer
from ..serializers.schemas import MakeSchema
from ..signals import user_registered
from ..signers import address_of
from ..state import AppState
from ..translations.texts import gettext, gettext_noop
from .after_commit import announce
from .sign_up import Read, SignUp

#: What is said of an address that the mail server refuses for good.
ADDRESS_REFUSED = gettext_noop("The mail server does not accept this address.")


def register(state: AppState, read: Read, *, request: Request | None, output: MakeSchema | None = None) -> Any:
    """Make an account of what a stranger sent.

    :param output: makes the serializer that shows it, as it is before receivers of signals run.
    :returns: what that serializer shows; without one, the account.
    :raises RequestRefused: if it is refused; nothing is stored then.
    """
    if not state.settings.register_flow_enabled:
        raise NotFound
    with state.transactions.rolled_back_on_failure(state.app.logger):
        sign_up = SignUp(state, state.serializers.register(), read())
        sign_up.load()
        user = sign_up.make_user()
        if not state.settings.register_verification_enabled:
            sign_up.store()
        elif not address_of(state, user):
            raise UserWithoutEmailNonverifiable
        else:
            sender = state.settings.register_verification_email_sender
            state.transactions.end_reading()  # so that what the application has read holds no connection meanwhile
            try:
                mailer = Mailer(state, sender, user=user)
                with mailer.connect():  # what can wait for the mail server without a transaction does so here
                    sign_up.store(mailer=mailer, request=request)
            except RecipientRefused as error:
                state.app.logger.warning("A verification mail was not sent: %s", error.reason)
                field = sign_up.field_of(state.model.email.name) or WHOLE_OBJECT
                raise InvalidInput({field: [gettext(ADDRESS_REFUSED)]}) from None
    try:
        return user if output is None else output().dump(user)
    finally:
        announce(state, user_registered, user=user, request=request)
