"""Sending the link again, for accounts that are made at sign-up."""

from __future__ import annotations

from flask import Request

from ..addresses import to_recipient
from ..exceptions import NotFound
from ..mail.delivery import Send
from ..model.pending import PendingRegistrationMixin
from ..serializers.schemas import ResendVerificationSerializer, load
from ..state import AppState
from ..translations.texts import gettext_noop
from .due_mail import send_if_due
from .sign_up import Read

#: What everybody is answered who asks for a link; it is true in every case.
RESENT = gettext_noop(
    "If an account with this address waits for its verification, a message was sent, or tried, now or when it was last"
    " asked for."
)
_serializer = ResendVerificationSerializer()  # without fields of any app, and without state


def resend(state: AppState, read: Read, *, request: Request | None) -> None:
    """Send an account that waits for its verification a fresh link, unless the cooldown of the address forbids it.

    :raises RequestRefused: for what is no address, and if a due mail, to whomever, cannot be sent.
    """
    pending, flag = state.pending, state.model.flag
    if pending is None or flag is None or not state.settings.register_verification_resend_enabled:
        raise NotFound
    with state.transactions.rolled_back_on_failure(state.app.logger):
        sent = read()
        address = load(_serializer, sent)["email"]

        def choose(row: PendingRegistrationMixin) -> tuple[Send, object | None]:
            account = state.transactions.read(lambda: state.accounts.find_unverified(address, flag))
            return state.settings.register_verification_email_sender, account

        send_if_due(state, pending, to_recipient(address), choose=choose, request=request, sent=sent)
