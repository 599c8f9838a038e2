"""The one rule of when a message goes to an address that a stranger sent."""

from __future__ import annotations

from collections.abc import Callable

from flask import Request

from ..database.pending import DueMail, PendingRegistrations
from ..exceptions import (
    DatabaseFault,
    DatabaseUnavailable,
    EmailNotSent,
    InvalidInput,
    RecipientRefused,
    RestRegistrationError,
)
from ..model.pending import PendingRegistrationMixin
from ..state import Registration
from ..translations.texts import gettext, gettext_noop
from .delivery import Mailer

#: What is said of an address that the mail server refuses for good.
REFUSED = gettext_noop("The mail server does not accept this address.")

#: Given the row, returns what connects and sends, and to whom; to nobody, it connects all the same.
Choose = Callable[[PendingRegistrationMixin], tuple[Mailer, object | None]]


def send_if_due(
    state: Registration, pending: PendingRegistrations, email: str, *, choose: Choose, request: Request
) -> None:
    """Send a message to an address, unless its cooldown keeps it.

    While none is due nothing else is asked: neither for an account, which the time would tell, nor the mail server,
    whose slow greeting would hold a worker. A due message is noted and committed before it is sent, so that of many
    requests at once one sends, and no transaction is open meanwhile. What fails puts the row back.

    :param state: the app's state.
    :param pending: its pending registrations.
    :param email: the address in ASCII.
    :param choose: decides what is sent when a message is due; it leaves no transaction open.
    :param request: the request that caused it.
    :raises InvalidInput: if the mail server refuses the address for good.
    :raises EmailNotSent: if the message was not sent.
    :raises DatabaseUnavailable: if the database is out of reach.
    """
    due = pending.note_due_mail(email)
    if due is None:
        return
    is_sent = False
    try:
        mailer, addressee = choose(due.row)
        with mailer:
            if addressee is not None:
                mailer.send(request, addressee, when_built=state.accounts.end_reading)
            _keep_what_was_written(state)
            is_sent = True
            _open_code(state, due)
    except BaseException as error:  # also the signal that ends a worker: the address must not wait for nothing
        if is_sent:
            raise
        state.accounts.rollback()
        try:
            due.put_back()
        except RestRegistrationError as fault:
            state.app.logger.error("A message was not sent, and its row could not be put back: %s", fault)  # noqa: TRY400  # the cause is raised on
        if isinstance(error, RecipientRefused):
            state.app.logger.warning("A message was not sent: %s", error.reason)
            raise InvalidInput({"email": [gettext(REFUSED)]}) from None
        raise


def _open_code(state: Registration, due: DueMail) -> None:
    """Let the code be tried; the message is out, and if that fails its link works all the same."""
    try:
        due.open_code()
    except (DatabaseFault, DatabaseUnavailable) as fault:
        state.app.logger.error("A message was sent whose code cannot be used: %s", fault)  # noqa: TRY400  # no text of drivers


def _keep_what_was_written(state: Registration) -> None:
    """COMMIT what a sender of the application's own wrote, such as a queue's row."""
    try:
        state.accounts.commit()
    except DatabaseFault as fault:
        raise EmailNotSent(f"what the sender wrote was refused, {fault}") from None
