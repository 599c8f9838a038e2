"""``flask rest-registration send-test-mail``."""

from __future__ import annotations

from ..addresses import to_recipient
from ..exceptions import ConfigurationError, EmailNotSent, RestRegistrationError
from ..mail.delivery import SMTPTransport, Step
from ..mail.messages import compose
from ..safe_logging import raise_alone
from ..state import AppState

_SUBJECT = "A test mail"
_BODY = """\
This mail was sent by the command "flask rest-registration send-test-mail".
It came the way that verification mails take. It has no link, and there is nothing to do.
"""

_FIXES = {
    Step.CONNECTING: "look at MAIL_SERVER and MAIL_PORT, at a firewall between, and at MAIL_USE_SSL (port 465)",
    Step.TLS: (
        "look at MAIL_USE_TLS (STARTTLS, port 587) and MAIL_USE_SSL (port 465); the server's certificate must be"
        " trusted here, and be for the name in MAIL_SERVER"
    ),
    Step.LOG_IN: "look at MAIL_USERNAME and MAIL_PASSWORD, and at MAIL_USE_TLS, which many demand first",
    Step.SENDER: (
        "look at VERIFICATION_FROM_EMAIL, or MAIL_DEFAULT_SENDER: many servers take only senders of their own, and"
        " want a log-in (MAIL_USERNAME, MAIL_PASSWORD)"
    ),
    Step.RECIPIENT: "look at the address; to send to others, a server wants a log-in (MAIL_USERNAME, MAIL_PASSWORD)",
    Step.TEXT: "look at the server's log: it accepted the addresses and refused the mail",
}


class TestMailFailed(RestRegistrationError):
    """A test mail was not accepted; the text says at which step, and what to look at."""


def send_test_mail(state: AppState, address: str) -> None:
    """Send a mail the way that verification mails take, with no account and no link.

    :raises ValueError: if the address is not exactly one address.
    :raises TestMailFailed: if the server has not accepted it within VERIFICATION_EMAIL_TIMEOUT.
    :raises ConfigurationError: if there is no server or no sender's address.
    """
    recipient, transport = to_recipient(address), SMTPTransport(state)
    mail, timeout = transport.mail, state.settings.verification_email_timeout
    if mail.suppress:
        raise ConfigurationError(
            "MAIL_SUPPRESS_SEND is true (it follows TESTING), so that no mail leaves the app. Fix: set it to False."
        )
    message = compose(state, recipient, subject=_SUBJECT, text=_BODY)
    try:
        with transport.connect(message.sender[1], recipient):
            transport.send(message)
    except EmailNotSent as error:
        silence = f"no answer within VERIFICATION_EMAIL_TIMEOUT, {timeout}" if transport.deadline.has_passed else ""
        text = (
            f"The mail server {mail.server!r}, port {mail.port or 25}, failed at the step {transport.step.value!r}:"
            f" {silence or error.reason}. Fix: {_FIXES[transport.step]}."
        )
        raise_alone(TestMailFailed(text))
