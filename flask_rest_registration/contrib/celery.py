"""Handing the mails to Celery: rendered in the request, queued before the COMMIT, sent with retries by the workers.

Celery is found in ``app.extensions["celery"]``, as Flask's documentation puts it there::

    "REGISTER_VERIFICATION_EMAIL_SENDER": "flask_rest_registration.contrib.celery.send_later",
    "REGISTER_EXISTING_EMAIL_SENDER": "flask_rest_registration.contrib.celery.send_existing_account_later",

A mail that was queued is sent at least once: it may come twice, with the same Message-ID, and is given up only with a
signal.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from blinker import NamedSignal, Namespace
from celery import shared_task
from celery.exceptions import Reject
from flask_mail import Message

from ..exceptions import ConfigurationError, EmailNotSent, RecipientRefused
from ..mail.delivery import ConnectingSender, Deliver, Delivery, link_sender, notice_sender
from ..mail.smtp import Deadline
from ..safe_logging import traceback_without_text
from ..signals import send_signal
from ..state import Registration, current_registration

#: Sent by a worker when a queued mail is given up: ``sender`` is the app, ``recipient`` (the address) and ``error``
#: (the last :class:`~flask_rest_registration.EmailNotSent`) are keywords.
email_delivery_failed: NamedSignal = Namespace().signal("email-delivery-failed")

TASK_NAME = "flask_rest_registration.send_mail"

_log = logging.getLogger(__name__)
_random = secrets.SystemRandom()

#: All that the mails of this package have of a :class:`flask_mail.Message`. With its Message-ID, a mail that comes
#: twice can be told from two mails.
_FIELDS = ("subject", "recipients", "body", "html", "sender", "reply_to", "extra_headers", "msgId")

# Celery writes the arguments of tasks into its events and logs, unless it is given something else to write.
_NOT_SHOWN = {"argsrepr": "(...)", "kwargsrepr": "{...}"}


def _limits(driver: str, seconds: float) -> Mapping[str, object]:
    """Return the transport's options that bound each step; kombu has no time-out of its own for a silent broker.

    :param driver: kombu's name of the kind of broker.
    :param seconds: for one step.
    """
    if driver == "redis":
        return {"socket_connect_timeout": seconds, "socket_timeout": seconds, "retry_on_timeout": False}
    if driver == "amqp":
        # Without confirms, what a broker loses on its way to the queue is lost without a word.
        return {"read_timeout": seconds, "write_timeout": seconds, "confirm_publish": True}
    return {}


@contextmanager
def _queue(registration: Registration) -> Iterator[Deliver]:
    """Connect to the broker. The connections of Celery's pool may be stale, and waiting for one has no end.

    :param registration: the app's state.
    :yields: what queues one message.
    :raises EmailNotSent: if the broker does not answer within VERIFICATION_EMAIL_TIMEOUT.
    """
    celery = _celery_of(registration)
    if celery.conf.task_always_eager:  # nothing is queued then, and there is nobody to try again
        with Delivery(registration) as deliver:
            yield deliver
        return
    deadline = Deadline(registration.settings.verification_email_timeout.total_seconds())
    step = deadline.seconds_left() / 4  # silence at any one step, also of a second broker, leaves time to say so
    connection = celery.connection_for_write(connect_timeout=step)

    def connect() -> None:
        connection.transport_options.update(_limits(connection.transport.driver_type, step))
        connection.ensure_connection(max_retries=len(connection.alt) - 1, interval_start=0, timeout=2 * step)

    def publish(build: Callable[[], Message]) -> None:
        message = build()
        _without_text(lambda: _publish(celery.tasks[TASK_NAME], message, connection, deadline=deadline, step=step))

    try:
        _without_text(connect)
        yield publish
    except BaseException:
        with suppress(Exception):
            connection.collect()  # says no good-bye, to which a silent broker would not answer
        raise
    with suppress(Exception):
        connection.release()


def _publish(task: Any, message: Message, connection: Any, *, deadline: Deadline, step: float) -> None:
    deadline.seconds_left()  # raises when the time is over
    mail = {name: getattr(message, name) for name in _FIELDS}
    task.apply_async((mail,), connection=connection, retry=False, timeout=step, confirm_timeout=step, **_NOT_SHOWN)


def _celery_of(registration: Registration) -> Any:
    celery = registration.app.extensions.get("celery")
    if celery is None:
        raise ConfigurationError(
            'Celery is not initialised on this app: put the Celery app into app.extensions["celery"], as the'
            ' page "Background Tasks with Celery" of Flask\'s documentation shows.'
        )
    return celery


def _without_text(step: Callable[[], object]) -> None:
    """Do something with the broker; errors of brokers may quote the log-in or the message."""
    try:
        step()
    except Exception as error:  # whatever a transport raises
        causes = [error, error.__cause__] if error.__cause__ else [error]
        failure = EmailNotSent(f"not queued, {', '.join(type(cause).__name__ for cause in causes)}")
    else:
        return
    raise failure


def _send_mail(task: Any, mail: dict[str, Any]) -> None:
    """Deliver a queued mail; what fails is tried again, whatever it is, since the sign-up was accepted.

    :param task: the task's own object; its attributes say how often and when.
    :param mail: as the request queued it.
    :raises EmailNotSent: if it is given up.
    """
    try:
        with Delivery(current_registration()) as deliver:
            deliver(lambda: _message_of(mail))
    except EmailNotSent as error:
        failure = error
    except Exception as error:  # such as a worker's app that lacks its configuration, until somebody fixes it
        failure = EmailNotSent(traceback_without_text(error))
    else:
        return
    retries = task.request.retries
    if isinstance(failure, RecipientRefused) or (task.max_retries is not None and retries >= task.max_retries):
        _give_up(mail, failure)
        raise failure
    longest = min(task.retry_backoff_max, task.retry_backoff * 2 ** min(retries, 30))
    countdown = _random.uniform(0, longest)  # jitter over the whole of it: an outage ends for all mails at once
    _log.warning("A mail was not sent, it is tried again in %.0f seconds: %s", countdown, failure.reason)
    try:
        raise task.retry(exc=failure, countdown=countdown, **_NOT_SHOWN)
    except Reject as rejected:  # the broker is out of reach, and Celery would let go of the mail
        raise Reject(rejected.reason, requeue=True) from None


def _message_of(mail: Mapping[str, Any]) -> Message:
    message = Message()
    for name in _FIELDS:
        setattr(message, name, mail[name])  # Flask-Mail takes the list that JSON made of a name and its address too
    return message


def _give_up(mail: Mapping[str, Any], failure: EmailNotSent) -> None:
    _log.error("A mail is given up: %s", failure.reason)
    registration = current_registration()
    keywords = {"recipient": mail["recipients"][0], "error": failure}
    send_signal(email_delivery_failed, registration.app, keywords, rollback=registration.accounts.rollback)


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
    max_retries=100,  # with the next two about a day
    retry_backoff=10,
    retry_backoff_max=1800,  # less than the hour after which Redis hands a mail that waits to another worker
)(_send_mail)

#: Renders the verification mail and queues it; for REGISTER_VERIFICATION_EMAIL_SENDER.
send_later: ConnectingSender = link_sender(_queue)

#: Renders the notice to an account's owner and queues it; for REGISTER_EXISTING_EMAIL_SENDER.
send_existing_account_later: ConnectingSender = notice_sender(_queue)
