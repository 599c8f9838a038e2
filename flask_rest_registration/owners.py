"""Mails to the owner of an address that a stranger can cause: at most one within the cooldown."""

from __future__ import annotations

from collections.abc import Callable

from flask import Request

from . import clock
from .claim_statements import ClaimStatements
from .exceptions import DatabaseFault, EmailNotSent
from .notifications import Mailer, Send
from .state import Registration


def write_to_owner(
    registration: Registration,
    claims: ClaimStatements,
    mailer: Mailer,
    *,
    find: Callable[[], object | None],
    request: Request,
) -> None:
    """Send a claim its link again; tell the owner of any other account that somebody signed up with the address.

    The time of the mail is committed before the mail, which holds no transaction open then: of many requests at once
    one sends. If the mail fails, the old time is put back.

    :param registration: the app's state.
    :param claims: its statements about claims.
    :param mailer: what is ready to send.
    :param find: reads the account.
    :param request: the request that caused it.
    :raises EmailNotSent: if the mail was not sent.
    :raises DatabaseUnavailable: if the database is out of reach.
    """
    now = clock.now()
    sent_before = now - int(registration.settings.register_verification_resend_cooldown.total_seconds())

    def stamp() -> tuple[object, Send, Callable[[], None]] | None:
        user = find()
        registration.accounts.commit()
        if user is None:
            return None
        notice_at = registration.model.notice_at
        if registration.model.is_claim(user):
            put_back = claims.stamp_link(user, at=now, sent_before=sent_before)
            return put_back and (user, mailer.send_link, put_back)
        # Only hiding comes this far, which needs the column.
        put_back = claims.stamp_notice(user, notice_at, at=now, sent_before=sent_before) if notice_at else None
        return put_back and (user, mailer.send_notice, put_back)

    stamped = registration.accounts.retry_conflicts(stamp)
    if stamped is None:
        return
    user, send, put_back = stamped
    try:
        send(request, user)
        registration.accounts.commit()  # what a sender of the application's own wrote, such as a queue's row
    except DatabaseFault as fault:
        put_back()
        raise EmailNotSent(f"what the sender wrote was refused, {fault}") from None
    except Exception:
        put_back()
        raise
