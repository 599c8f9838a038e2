"""A mail to try the way out with, for ``flask rest-registration send-test-mail``."""

from __future__ import annotations

from ..addresses import to_recipient
from ..exceptions import ConfigurationError, RestRegistrationError
from ..mail.delivery import failure_of
from ..mail.messages import compose, mail_state
from ..mail.smtp import Deadline, DeliveryConnection, Step
from ..state import Registration

_SUBJECT = "A test mail"
_BODY = """\
This mail was sent by the command "flask rest-registration send-test-mail".
It came the way that verification mails take. It has no link, and there is nothing to do.
"""

_FIXES = {
    Step.CONNECTING: (
        "look at MAIL_SERVER and MAIL_PORT, at a firewall between, and at MAIL_USE_SSL, which belongs to port 465"
    ),
    Step.TLS: (
        "look at MAIL_USE_TLS (STARTTLS, port 587) and MAIL_USE_SSL (port 465); the server's certificate must be"
        " trusted here, and be for the name in MAIL_SERVER"
    ),
    Step.LOG_IN: "look at MAIL_USERNAME and MAIL_PASSWORD",
    Step.SENDER: (
        "look at VERIFICATION_FROM_EMAIL, or MAIL_DEFAULT_SENDER: many servers take only senders of their own, and"
        " want a log-in (MAIL_USERNAME, MAIL_PASSWORD)"
    ),
    Step.RECIPIENT: (
        "look at the address; for addresses that are not its own, a server wants a log-in (MAIL_USERNAME,"
        " MAIL_PASSWORD)"
    ),
    Step.TEXT: "the addresses were accepted and the message was not: the server's log says why",
}


class TrialFailed(RestRegistrationError):
    """A test mail was not accepted.

    :param step: how far it came.
    :param message: what happened, where, and what to look at; without log-in.
    """

    def __init__(self, step: Step, message: str) -> None:
        super().__init__(message)
        self.step = step


def send_trial_mail(registration: Registration, address: str) -> None:
    """Send a mail the way that verification mails take, with no account and no link.

    :param registration: the app's state.
    :param address: the recipient.
    :raises ValueError: if that is not exactly one address.
    :raises TrialFailed: if the server has not accepted it within VERIFICATION_EMAIL_TIMEOUT.
    :raises ConfigurationError: if there is no server or no sender's address.
    """
    recipient = to_recipient(address)
    mail, timeout = mail_state(registration), registration.settings.verification_email_timeout
    if mail.suppress:
        raise ConfigurationError(
            "MAIL_SUPPRESS_SEND is true (it follows TESTING), so that no mail leaves the app: set it to False."
        )
    message = compose(registration, recipient, subject=_SUBJECT, body=_BODY)
    deadline = Deadline(timeout.total_seconds())
    connection = DeliveryConnection(mail, deadline, lambda: registration.tls_context)
    try:
        with connection:
            connection.send(message)
    except (OSError, ValueError) as error:
        reason = (
            f"no answer within VERIFICATION_EMAIL_TIMEOUT, {timeout}"
            if deadline.has_passed
            else failure_of(error).reason
        )
        failure = TrialFailed(
            connection.step,
            f"The mail server {mail.server!r}, port {mail.port or 25}, failed at the step {connection.step.value!r}:"
            f" {reason}. Fix: {_FIXES[connection.step]}.",
        )
    else:
        return
    raise failure
