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
    stamped = registration.accounts.retry_conflicts(lambda: _stamp(registration, claims, mailer, find))
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


def _stamp(
    registration: Registration, claims: ClaimStatements, mailer: Mailer, find: Callable[[], object | None]
) -> tuple[object, Send, Callable[[], None]] | None:
    """Note the mail that is to be sent, if there is one: its account, its sender, and what takes the note back."""
    sent_before = clock.seconds_ago(registration.settings.register_verification_resend_cooldown)
    now, notice_at = clock.now(), registration.model.notice_at
    user = find()
    registration.accounts.commit()
    if user is None:
        return None
    if registration.model.is_claim(user):
        put_back = claims.stamp_link(user, at=now, sent_before=sent_before)
        return put_back and (user, mailer.send_link, put_back)
    # Only hiding comes this far, which needs the column.
    put_back = claims.stamp_notice(user, notice_at, at=now, sent_before=sent_before) if notice_at else None
    return put_back and (user, mailer.send_notice, put_back)
