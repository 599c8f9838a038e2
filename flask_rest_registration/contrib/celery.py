"""Sending the mails by Celery: rendered in the request, queued before the COMMIT, sent with retries by the workers.

Celery is found in ``app.extensions["celery"]``, as Flask's documentation puts it there::

    "REGISTER_VERIFICATION_EMAIL_SENDER": "flask_rest_registration.contrib.celery.send_later",
    "REGISTER_EXISTING_EMAIL_SENDER": "flask_rest_registration.contrib.celery.send_existing_account_later",

A queued mail is sent at least once: it may arrive twice, with the same Message-ID. When it is given up, a signal is
sent.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from blinker import NamedSignal, Namespace
from celery import shared_task
from celery.exceptions import Reject

from ..exceptions import ConfigurationError, EmailNotSent, RecipientRefused
from ..mail.delivery import Deadline, PackageSender, SMTPTransport, Transport
from ..mail.messages import VerificationMail, existing_account_message, verification_message
from ..safe_logging import raise_alone, traceback_without_text
from ..state import AppState, current_state
from ..workflows.after_commit import send_signal

#: Sent by a worker when a queued mail is given up: ``sender`` is the app, ``recipient`` (the address) and ``error``
#: (the last :class:`~flask_rest_registration.EmailNotSent`) are keywords.
email_delivery_failed: NamedSignal = Namespace().signal("email-delivery-failed")

TASK_NAME = "flask_rest_registration.send_mail"

_log = logging.getLogger(__name__)
_random = secrets.SystemRandom()

# Without these, Celery writes the arguments of tasks, here the mail, into its events and logs.
_HIDDEN_ARGUMENTS = {"argsrepr": "(...)", "kwargsrepr": "{...}"}


def _timeout_options(driver: str, seconds: float) -> Mapping[str, object]:
    """Return the options of kombu's transport that bound each step; kombu itself waits for ever on a silent broker."""
    if driver == "redis":
        return {"socket_connect_timeout": seconds, "socket_timeout": seconds, "retry_on_timeout": False}
    if driver == "amqp":
        # Without confirms, nobody notices when the broker loses a mail before it is queued.
        return {"read_timeout": seconds, "write_timeout": seconds, "confirm_publish": True}
    return {}


class _QueueTransport:
    """Queues one mail over a connection of its own: Celery's pool may give a stale one, or wait for ever."""

    def __init__(self, state: AppState) -> None:
        self._celery = _celery_app(state)
        self._deadline = Deadline(state.settings.verification_email_timeout.total_seconds())
        # A quarter for each step: when one gets no answer, also from a second broker, there is time left for ours.
        self._step = self._deadline.seconds_left() / 4
        self._connection = self._celery.connection_for_write(connect_timeout=self._step)

    @contextmanager
    def connect(self, sender: str, recipient: str) -> Iterator[None]:
        """Connect to the broker; the worker asks the mail server for the addresses.

        :raises EmailNotSent: if the broker does not answer within VERIFICATION_EMAIL_TIMEOUT.
        """
        connection, step = self._connection, self._step
        try:
            with _errors_without_text():
                connection.transport_options.update(_timeout_options(connection.transport.driver_type, step))
                connection.ensure_connection(max_retries=len(connection.alt) - 1, interval_start=0, timeout=2 * step)
            yield
        except BaseException:
            with suppress(Exception):
                connection.collect()  # closes without the good-bye that a silent broker would not answer
            raise
        with suppress(Exception):
            connection.release()

    def send(self, mail: VerificationMail) -> None:
        """Queue the mail.

        :raises EmailNotSent: if the broker does not take it in time.
        """
        options = {"timeout": self._step, "confirm_timeout": self._step, "retry": False}
        with _errors_without_text():
            self._deadline.seconds_left()  # raises when the time is over
            task = self._celery.tasks[TASK_NAME]
            task.apply_async((asdict(mail),), connection=self._connection, **options, **_HIDDEN_ARGUMENTS)


def _transport(state: AppState) -> Transport:
    # With task_always_eager nothing is queued, and nothing would be tried again.
    return SMTPTransport(state) if _celery_app(state).conf.task_always_eager else _QueueTransport(state)


def _celery_app(state: AppState) -> Any:
    celery = state.app.extensions.get("celery")
    if celery is None:
        raise ConfigurationError(
            'Celery is not initialised on this app. Fix: put the Celery app into app.extensions["celery"], as the'
            ' page "Background Tasks with Celery" of Flask\'s documentation shows.'
        )
    return celery


@contextmanager
def _errors_without_text() -> Iterator[None]:
    """Replace the errors of the broker's library, whose texts may quote the log-in or the mail."""
    try:
        yield
    except Exception as error:  # whatever a transport raises
        causes = [error, error.__cause__] if error.__cause__ else [error]
        raise_alone(EmailNotSent(f"not queued, {', '.join(type(cause).__name__ for cause in causes)}"))


def _send_mail(task: Any, fields: dict[str, Any]) -> None:
    """Send a queued mail; any failure is tried again as the task's attributes say, since the sign-up was accepted.

    :raises EmailNotSent: if the mail is given up.
    """
    try:
        pairs = {name: tuple(fields[name]) for name in ("sender", "reply_to")}  # of which JSON has made lists
        mail, transport = VerificationMail(**{**fields, **pairs}), SMTPTransport(current_state())
        with transport.connect(mail.sender[1], mail.recipient):
            transport.send(mail)
    except EmailNotSent as error:
        failure = error
    except Exception as error:  # such as a worker whose app is set up wrongly, until somebody fixes it
        failure = EmailNotSent(traceback_without_text(error))
    else:
        return
    retries = task.request.retries
    if isinstance(failure, RecipientRefused) or (task.max_retries is not None and retries >= task.max_retries):
        _give_up(fields, failure)
        raise failure
    longest = min(task.retry_backoff_max, task.retry_backoff * 2 ** min(retries, 30))
    countdown = _random.uniform(0, longest)  # full jitter: after an outage not all mails come at once
    _log.warning("A mail was not sent, it is tried again in %.0f seconds: %s", countdown, failure.reason)
    try:
        raise task.retry(exc=failure, countdown=countdown, **_HIDDEN_ARGUMENTS)
    except Reject as rejected:  # the broker is out of reach, and Celery would drop the mail
        raise Reject(rejected.reason, requeue=True) from None


def _give_up(fields: Mapping[str, Any], failure: EmailNotSent) -> None:
    _log.error("A mail is given up: %s", failure.reason)
    state = current_state()
    send_signal(state, email_delivery_failed, recipient=fields["recipient"], error=failure)


#: The task, known to every Celery app of the process. ``task_annotations`` change its attributes.
send_mail: Any = shared_task(
    bind=True,
    name=TASK_NAME,
    serializer="json",
    ignore_result=True,
    throws=(EmailNotSent,),  # logged above
    acks_late=True,
    reject_on_worker_lost=True,
    acks_on_failure_or_timeout=True,
    max_retries=100,  # together with the next two: about a day
    retry_backoff=10,
    retry_backoff_max=1800,  # below the hour after which Redis gives a waiting mail to another worker
)(_send_mail)

#: Renders the verification mail and queues it; for REGISTER_VERIFICATION_EMAIL_SENDER.
send_later: PackageSender = PackageSender(_transport, verification_message)

#: Renders the notice to an account holder and queues it; for REGISTER_EXISTING_EMAIL_SENDER.
send_existing_account_later: PackageSender = PackageSender(_transport, existing_account_message)
