"""Sending the link again, for accounts that are made at sign-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Request

from ..addresses import to_recipient
from ..exceptions import NotFound
from ..mail.delivery import Mailer
from ..mail.due import send_if_due
from ..model.pending import PendingRegistrationMixin
from ..serializers.schemas import ResendVerificationSerializer, load
from ..state import Registration
from ..translations.texts import gettext, gettext_noop

#: What everybody is answered who asks for a link; it is true in every case.
RESENT = gettext_noop(
    "If an account with this address waits for its verification, a message was sent, or tried, now or when it was last"
    " asked for."
)
_serializer = ResendVerificationSerializer()  # without fields of any app, and without state


def resend(state: Registration, read_json: Callable[[], Any], *, request: Request) -> dict[str, str]:
    """Send an account that waits for its verification a fresh link, unless the cooldown of the address keeps it.

    :param state: the app's state.
    :param read_json: reads and parses the request's body.
    :param request: the request that it came with.
    :returns: one and the same body.
    :raises InvalidInput: for what is no e-mail address, or is refused by the mail server.
    :raises EmailNotSent: if the mail server is out of reach, for everybody whose message is due.
    :raises DatabaseUnavailable: if the database is out of reach.
    """
    pending, accounts, flag = state.pending, state.accounts, state.model.flag
    if pending is None or flag is None or not state.settings.register_verification_resend_enabled:
        raise NotFound
    with accounts.rolled_back_on_failure():
        address = load(_serializer, read_json())["email"]

        def choose(row: PendingRegistrationMixin) -> tuple[Mailer, object | None]:
            return Mailer.of_links(state), accounts.read(lambda: accounts.find_waiting(address, flag))

        send_if_due(state, pending, to_recipient(address), choose=choose, request=request)
    return {"detail": gettext(RESENT)}
