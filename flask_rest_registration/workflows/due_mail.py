"""When a mail goes to an address that a stranger sent."""

from __future__ import annotations

from collections.abc import Callable

from flask import Request

from ..database.pending import PendingRegistrations
from ..exceptions import DatabaseFault, DatabaseUnavailable, EmailNotSent, InvalidInput, RecipientRefused
from ..mail.delivery import Mailer, Send
from ..model.pending import PendingRegistrationMixin
from ..state import AppState
from ..translations.texts import gettext
from .register import ADDRESS_REFUSED

#: Given the row, returns the sender, and the account or row that gets the mail; None for nobody, and the mail server is
#: asked for the address all the same.
Choose = Callable[[PendingRegistrationMixin], tuple[Send, object | None]]


def send_if_due(
    state: AppState,
    pending: PendingRegistrations,
    email: str,
    *,
    choose: Choose,
    request: Request | None,
    sent: object,
) -> None:
    """Send a mail to an address, unless its cooldown forbids it.

    While none is due nothing else is asked: neither for an account, which the time would tell, nor the mail server,
    whose slow greeting would hold a worker. A due mail is noted and committed before it is sent, so that of many
    requests at once one sends, and no transaction is open meanwhile. What fails puts the row back.

    :param email: the address in ASCII.
    :param choose: called when a mail is due; it leaves no transaction open.
    :param sent: what the visitor sent, for :meth:`Mailer.send`.
    :raises RequestRefused: if the mail was not sent; a field error if the mail server refuses the address.
    """
    due = pending.note_due_mail(email)
    if due is None:
        return
    is_sent = False
    try:
        sender, recipient = choose(due.row)
        mailer = Mailer(state, sender, user=due.row if recipient is None else recipient)
        with mailer.connect():
            if recipient is not None:
                mailer.send(request, recipient, sent=sent, when_built=state.transactions.end_reading)
            try:
                state.transactions.commit()  # what a sender of the application's own wrote, such as a queue's row
            except DatabaseFault as fault:
                raise EmailNotSent(f"what the sender wrote was refused, {fault}") from None
            is_sent = True
            try:
                due.open_code()
            except (DatabaseFault, DatabaseUnavailable) as fault:  # the link works all the same
                state.app.logger.error("A mail was sent whose code cannot be used: %s", fault)  # noqa: TRY400  # no text of drivers
    except BaseException as error:  # also the signal that ends a worker: the address must not wait for nothing
        if is_sent:
            raise
        state.transactions.rollback()
        try:
            due.put_back()
        except (DatabaseFault, DatabaseUnavailable) as fault:
            state.app.logger.error("A mail was not sent, and its row could not be put back: %s", fault)  # noqa: TRY400  # the cause is raised on
        if isinstance(error, RecipientRefused):
            state.app.logger.warning("A mail was not sent: %s", error.reason)
            raise InvalidInput({"email": [gettext(ADDRESS_REFUSED)]}) from None
        raise
