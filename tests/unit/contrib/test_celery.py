"""Mails that are queued with Celery: in the request, at the broker, in the worker, and when one of them fails."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Reject, Retry
from flask import Flask, Request
from jinja2 import DictLoader
from kombu import Connection, Queue

from flask_rest_registration import ConfigurationError, EmailNotSent, RecipientRefused, VerificationMail
from flask_rest_registration.contrib.celery import (
    TASK_NAME,
    email_delivery_failed,
    send_existing_account_later,
    send_later,
)
from tests.support.answers import refused
from tests.support.apps import CHECK_LINK, PASSWORD, REGISTER, RESEND, VERIFICATION_URL, Builder, Built
from tests.support.celery_app import Worker, celery_init_app
from tests.support.clock import Clock
from tests.support.concurrency import until
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import HangUp, RecordingServer, Silence
from tests.support.messages import lacking
from tests.support.pending import CODES, WITH_RESEND
from tests.support.services import RedisServer, Relay, accepts_connections, free_ports, missing
from tests.support.statements import recorded

pytestmark = pytest.mark.programs

MODULE = "flask_rest_registration.contrib.celery"
SENDER, NOTICE_SENDER = "REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"
TIMEOUT = 4  # seconds, of VERIFICATION_EMAIL_TIMEOUT where a test waits for its end

EMAIL_FIRST = {**CODES, NOTICE_SENDER: send_existing_account_later}
ADDRESS = {"email": "ann@example.com"}
ACCOUNT = {"username": "ann", "password": PASSWORD, "password_confirm": PASSWORD}


class Queued:
    """An app whose mails are queued."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.celery = celery_init_app(built.app)
        self.task = self.celery.tasks[TASK_NAME]

    def messages(self) -> list[Any]:
        """Take what is queued, as the broker has it."""
        found = []
        with self.celery.connection_for_read() as connection:
            queue = Queue(self.celery.conf.task_default_queue)(connection.default_channel)
            queue.declare()
            while message := queue.get(no_ack=True):
                found.append(message)
        return found

    def mails(self) -> list[dict[str, Any]]:
        """Take what is queued, as the task is given it."""
        return [message.payload[0][0] for message in self.messages()]

    def sign_up(self) -> dict[str, Any]:
        assert self.built.register().status_code == 201
        (mail,) = self.mails()
        return mail

    def run(self, mail: dict[str, Any]) -> Any:
        """Do what a worker does with one mail, with retries that do not wait, and return the outcome."""
        return self.task.apply((mail,)).result


Queueing = Callable[..., Queued]
Settings = dict[str, object]
Log = pytest.LogCaptureFixture


@pytest.fixture
def queueing(build: Builder) -> Queueing:
    """Makes apps whose broker is in this process's memory by default."""

    def make(
        *,
        broker: str = "memory://",
        task: Mapping[str, object] | None = None,
        celery: Mapping[str, object] | None = None,
        registration: Mapping[str, object] | None = None,
        **options: Any,
    ) -> Queued:
        queue = {"broker_url": broker, "task_default_queue": f"mails-{uuid.uuid4()}"}
        config = {"CELERY": {**queue, "task_annotations": {TASK_NAME: task or {}}, **(celery or {})}}
        settings = {SENDER: send_later, "VERIFICATION_EMAIL_TIMEOUT": TIMEOUT, **(registration or {})}
        return Queued(build(pending=True, registration=settings, config=config, **options))

    return make


@pytest.fixture
def given_up() -> Iterator[list[tuple[str, type[EmailNotSent]]]]:
    """What each ``email_delivery_failed`` said."""
    seen: list[tuple[str, type[EmailNotSent]]] = []

    def keep(sender: Flask, recipient: str, error: EmailNotSent) -> None:
        seen.append((recipient, type(error)))

    with email_delivery_failed.connected_to(keep):
        yield seen


def link_of(mail: dict[str, Any]) -> dict[str, str]:
    """Return what the link of a queued mail carries."""
    return values_of(next(word for word in mail["text"].split() if word.startswith(VERIFICATION_URL)))


def test_a_sign_up_queues_the_rendered_mail_and_sends_nothing(queueing: Queueing, smtp: RecordingServer) -> None:
    queued = queueing(celery={"task_serializer": "pickle"})
    assert queued.built.register().status_code == 201
    (message,) = queued.messages()
    assert message.content_type == "application/json"
    (mail,), keywords, _ = json.loads(message.body)
    assert (mail.keys(), keywords) == ({each.name for each in dataclasses.fields(VerificationMail)}, {})
    assert mail["recipient"] == "ann@example.com"
    assert [part for part in ("text", "html") if VERIFICATION_URL not in mail[part]] == []
    assert (mail["sender"], mail["headers"]["Auto-Submitted"]) == (["", "no-reply@app.example"], "auto-generated")
    assert queued.built.row()["password_hash"] not in str(message.body)
    assert smtp.conversations == []
    # What Celery shows in events and logs has nothing of the mail.
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("(...)", "{...}")
    assert "ann@example.com" not in json.dumps(message.headers)
    # An address that is taken queues nothing; a script, which has no request, does.
    assert queued.built.register(username="other").status_code == 400
    assert queued.messages() == []
    with queued.built.app.app_context():
        send_later(None, queued.built.db.session.get(queued.built.User, 1))
    assert len(queued.mails()) == 1


def test_the_mail_is_rendered_in_the_request_in_its_language(queueing: Queueing) -> None:
    def select(request: Request, user: object) -> dict[str, str]:
        return {"subject": f"{request.accept_languages.best}.txt", "body": "body.txt"}

    def use_templates(app: Flask) -> None:
        app.jinja_loader = DictLoader({"nb.txt": "Velkommen", "body.txt": "{{ request.host }}"})

    queued = queueing(registration={"VERIFICATION_TEMPLATES_SELECTOR": select}, before_init=use_templates)
    headers = {"Accept-Language": "nb"}
    queued.built.post(REGISTER, queued.built.body(), headers=headers, base_url="https://shop.example")
    (mail,) = queued.mails()
    assert (mail["subject"], mail["text"]) == ("Velkommen", "shop.example")


def test_a_mail_that_comes_twice_has_one_message_id(queueing: Queueing, smtp: RecordingServer) -> None:
    sender = ("Shop, Inc.", "a@shop.example")
    queued = queueing(registration={"VERIFICATION_FROM_EMAIL": sender, "VERIFICATION_REPLY_TO_EMAIL": "b@shop.example"})
    mail = json.loads(json.dumps(queued.sign_up()))
    for _ in range(2):
        assert queued.run(mail) is None
    first, second = smtp.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert (first["From"], first["Reply-To"]) == ('"Shop, Inc." <a@shop.example>', "b@shop.example")
    assert (first["To"], first["Auto-Submitted"]) == ("ann@example.com", "auto-generated")
    assert queued.built.verify(link_in(first)).status_code == 200


def test_an_app_without_celery_is_told_what_to_do_and_nothing_stays(build: Builder) -> None:
    built = build(registration={SENDER: send_later})
    with pytest.raises(ConfigurationError, match=r'app\.extensions\["celery"\]'):
        built.register()
    assert built.rows() == []
    email_first = build(pending=True, registration={**EMAIL_FIRST, SENDER: send_later})
    with pytest.raises(ConfigurationError, match=r'app\.extensions\["celery"\]'):
        email_first.post(REGISTER, ADDRESS)
    assert email_first.pending_row()["next_mail_at"] == 0


def test_a_link_that_is_sent_again_is_queued_too_each_with_its_apps_own_celery(queueing: Queueing) -> None:
    queued, other = queueing(registration=WITH_RESEND), queueing()
    mail = queued.sign_up()
    assert queued.built.post(RESEND, ADDRESS).status_code == 202
    (again,) = queued.mails()
    assert (again["subject"], again["recipient"]) == (mail["subject"], "ann@example.com")
    assert queued.built.verify(link_of(again)).status_code == 200
    assert other.messages() == []


def test_with_email_first_a_link_with_its_code_is_queued(queueing: Queueing) -> None:
    queued = queueing(registration=EMAIL_FIRST)
    assert queued.built.post(REGISTER, ADDRESS).status_code == 202
    (message,) = queued.messages()
    (mail,) = message.payload[0]
    assert (mail["recipient"], mail["subject"][:6].isdigit()) == ("ann@example.com", True)
    assert mail["subject"][:6] in mail["text"]
    # Nothing but the link names the row.
    others = {name: value for name, value in mail.items() if name not in {"text", "html"}}
    assert str(queued.built.pending_row()["id"]) == link_of(mail)["user_id"]
    assert link_of(mail)["user_id"] not in json.dumps([others, message.headers])


def test_eager_tasks_send_and_fail_within_the_request(queueing: Queueing, smtp: RecordingServer) -> None:
    built = queueing(celery={"task_always_eager": True}).built
    smtp.rcpt_reply = "451 later"
    refused(built.register(), 503, "email-not-sent")
    assert built.rows() == []
    smtp.rcpt_reply = None
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"REGISTER_VERIFICATION_URL": None}, "REGISTER_VERIFICATION_URL is missing"),
        ({"REGISTER_VERIFICATION_URL": None, SENDER: f"{MODULE}.send_later"}, "REGISTER_VERIFICATION_URL is missing"),
        ({"REGISTER_EMAIL_FIRST": True}, "REGISTER_EXISTING_EMAIL_SENDER too"),
    ],
)
def test_a_queued_link_needs_its_url_and_a_queued_notice(queueing: Queueing, settings: Settings, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        queueing(registration=settings)


@pytest.mark.parametrize(
    "settings", [{SENDER: f"{MODULE}.send_later"}, {NOTICE_SENDER: f"{MODULE}.send_existing_account_later"}]
)
def test_queuing_is_refused_without_celery(build: Builder, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # What has the task is imported when the app is made, for the workers.
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(ConfigurationError, match=rf"cannot be imported \(import of {MODULE} halted"):
        build(registration=settings)
    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'flask-rest-registration\[celery\]'"):
        build(registration=settings)


def test_check_looks_at_the_templates_of_mails_that_are_queued(queueing: Queueing) -> None:
    mails = ("VERIFICATION", "EXISTING")
    templates = {f"REGISTER_{mail}_EMAIL_TEMPLATES": {"body": f"no/{mail}.txt"} for mail in mails}
    printed = queueing(registration={**EMAIL_FIRST, **templates}).built.command("check").output
    assert lacking(printed, "'no/VERIFICATION.txt'", "'no/EXISTING.txt'") == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["down", "silent"])
@pytest.mark.parametrize("schemes", [["redis"], ["amqp"], ["redis", "redis"]], ids=";".join)
def test_brokers_out_of_reach_are_a_503_within_the_time_before_any_statement(
    queueing: Queueing, caplog: Log, schemes: list[str], fault: str
) -> None:
    with RecordingServer(fault=Silence()) as silent:
        port = silent.port if fault == "silent" else free_ports(1)[0]
        broker = ";".join(f"{scheme}://user:sesame@127.0.0.1:{port}//" for scheme in schemes)
        queued = queueing(broker=broker, celery={"broker_connection_retry": True})
        queued.built.rows()
        with recorded(queued.built.engine) as statements:
            before = time.monotonic()
            refused(queued.built.register(), 503, "email-not-sent")
            assert time.monotonic() - before < TIMEOUT
    assert statements.kinds == []
    assert ("not queued, OperationalError, " + ("Connection" if fault == "down" else "Timeout")) in caplog.text
    assert [secret for secret in ("sesame", "ann@example.com") if secret in caplog.text] == []


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # kombu's use of a newer SQLAlchemy
def test_a_broker_of_another_kind_is_given_no_options_that_it_does_not_know(queueing: Queueing, tmp_path: Path) -> None:
    queueing(broker=f"sqla+sqlite:///{tmp_path}/broker.db").sign_up()


def test_when_the_first_broker_is_down_the_second_one_has_the_mail(queueing: Queueing, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        queued = queueing(broker=f"redis://127.0.0.1:{free_ports(1)[0]}/0;{server.url}")
        assert queued.built.register().status_code == 201
        queued.celery.conf.broker_url = queued.celery.conf.broker_read_url = server.url
        assert len(queued.mails()) == 1


def test_brokers_that_hang_up_are_asked_once_each(queueing: Queueing) -> None:
    with RecordingServer(fault=HangUp()) as first, RecordingServer(fault=HangUp()) as second:
        urls = [f"amqp://127.0.0.1:{server.port}//" for server in (first, second)]
        refused(queueing(broker=urls[0]).built.register(), 503, "email-not-sent")
        assert first.connections == 1
        refused(queueing(broker=";".join(urls)).built.register(), 503, "email-not-sent")
        assert (first.connections, second.connections) == (2, 1)


@pytest.mark.parametrize(("path", "settings"), [(REGISTER, EMAIL_FIRST), (RESEND, WITH_RESEND)])
def test_a_broker_that_is_down_puts_the_row_back_and_the_request_works_again(
    queueing: Queueing, tmp_path: Path, clock: Clock, path: str, settings: Settings
) -> None:
    server = RedisServer(tmp_path)
    queued = queueing(broker=server.url, registration=settings)
    built = queued.built
    if path == RESEND:
        with server:
            queued.sign_up()
    nobody = {"email": "nobody@example.com"}
    refused(built.post(path, ADDRESS), 503, "email-not-sent")
    row = built.pending_row()
    assert (row["mails"], row["next_mail_at"]) == (0, 0)
    refused(built.post(path, nobody), 503, "email-not-sent")  # who waits for a link gets the same answer
    with server:
        for mails in (1, 0):  # the cooldown begins with the first
            assert built.post(path, ADDRESS).status_code == 202
            assert len(queued.mails()) == mails
    rows = built.pending_rows()
    clock.move(3600)
    refused(built.post(path, ADDRESS), 503, "email-not-sent")
    assert built.pending_rows() == rows
    with server:
        assert built.post(path, ADDRESS).status_code == 202
        (mail,) = queued.mails()
    assert built.verify({**link_of(mail), **ACCOUNT}).status_code in {200, 201}
    assert len(built.rows()) == 1
    clock.move(2 * 3600)
    for address in (ADDRESS, nobody):  # and so does who has an account
        refused(built.post(path, address), 503, "email-not-sent")


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A broker that runs; of the machine's RabbitMQ one queue is used."""
    if request.param == "redis":
        with RedisServer(tmp_path) as server:
            yield server.url
    elif accepts_connections(5672):
        yield os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
    else:
        missing("RabbitMQ does not answer on port 5672")


@pytest.fixture
def queue_name(broker_url: str) -> Iterator[str]:
    """A queue of the test's own."""
    name = f"mails-{uuid.uuid4()}"
    yield name
    with Connection(broker_url) as connection:
        Queue(name)(connection.default_channel).delete()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, EMAIL_FIRST], ids=["account at sign-up", "e-mail first"])
def test_a_broker_that_falls_silent_before_the_message_is_a_503_within_the_time(
    queueing: Queueing, broker_url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    port = Connection(broker_url).port
    good_byes: list[object] = []
    with Relay(port, freezes_at=TASK_NAME.encode()) as relay, monkeypatch.context() as patch:
        patch.setattr(Connection, "release", lambda connection: good_byes.append(connection))
        broker = broker_url.replace(f":{port}", f":{relay.port}")
        queued = queueing(broker=broker, celery={"task_default_queue": queue_name}, registration=settings)
        body = ADDRESS if settings else queued.built.body()
        before = time.monotonic()
        refused(queued.built.post(REGISTER, body), 503, "email-not-sent")
        assert time.monotonic() - before < TIMEOUT
        assert relay.has_frozen
    assert good_byes == []  # a silent broker would not answer them
    assert queued.built.rows() == []
    queued.celery.conf.broker_url = queued.celery.conf.broker_write_url = broker_url
    assert queued.built.post(REGISTER, body).status_code == (202 if settings else 201)


def test_a_mail_is_tried_again_as_often_as_is_allowed_by_now_and_then_given_up(
    queueing: Queueing, smtp: RecordingServer, given_up: list[Any], caplog: Log
) -> None:
    smtp.rcpt_reply = "451 later"
    queued = queueing(task={"max_retries": 2})
    mail = queued.sign_up()
    caplog.clear()
    assert isinstance(queued.run(mail), EmailNotSent)
    assert len(smtp.conversations) == 3
    assert given_up == [("ann@example.com", EmailNotSent)]
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "A mail is given up: recipient refused, 451"
    ]
    assert [record.message.startswith("A mail was not sent, ") for record in caplog.records].count(True) == 2
    assert not any(text in caplog.text for text in ("signature=", "ann@example.com", VERIFICATION_URL))
    # More tries were allowed before.
    with in_a_worker(queued, mail, retries=5) as task, pytest.raises(EmailNotSent):
        task.run(mail)
    assert len(given_up) == 2


def test_a_recipient_refused_for_good_is_given_up_at_once_and_all_receivers_know(
    queueing: Queueing, smtp: RecordingServer, given_up: list[Any]
) -> None:
    def fail(sender: Flask, **_: object) -> None:
        raise RuntimeError("this receiver fails")

    smtp.rcpt_reply = "550 no such user"
    queued = queueing()
    mail = queued.sign_up()
    with email_delivery_failed.connected_to(fail):
        assert isinstance(queued.run(mail), RecipientRefused)
    assert len(smtp.conversations) == 1
    assert given_up == [("ann@example.com", RecipientRefused)]


def test_a_worker_whose_app_is_wrongly_set_up_tries_again(queueing: Queueing, given_up: list[Any], caplog: Log) -> None:
    queued = queueing(task={"max_retries": 1})
    mail = queued.sign_up()
    del queued.built.app.extensions["mail"]
    assert isinstance(queued.run(mail), EmailNotSent)
    assert len(given_up) == 1
    assert lacking(caplog.text, "tried again in", "ConfigurationError") == []


@contextmanager
def in_a_worker(queued: Queued, mail: dict[str, Any], *, retries: int) -> Iterator[Any]:
    """Give the task as it is when a worker runs it for the n-th time."""
    request = {"called_directly": False, "id": "an id", "retries": retries, "args": [mail], "kwargs": {}}
    queued.task.push_request(**request)
    try:
        with queued.built.app.app_context():
            yield queued.task
    finally:
        queued.task.pop_request()


@pytest.mark.parametrize(
    ("annotations", "retries", "longest"),
    [
        ({}, 0, 10),
        ({}, 3, 80),
        ({}, 99, 1800),
        ({"retry_backoff": 0}, 9, 0),
        ({"max_retries": None, "retry_backoff": 1, "retry_backoff_max": 5}, 10**6, 5),
    ],
)
def test_the_pause_doubles_up_to_a_limit_with_jitter_over_the_whole_of_it(
    queueing: Queueing, smtp: RecordingServer, annotations: dict[str, Any], retries: int, longest: float
) -> None:
    smtp.rcpt_reply = "451 later"
    queued = queueing(task=annotations)
    mail = queued.sign_up()
    pauses: list[float] = []
    for _ in range(20):
        with in_a_worker(queued, mail, retries=retries) as task, pytest.raises(Retry) as raised:
            task.run(mail)
        pauses.append(float(raised.value.when or 0))
    assert min(pauses) <= longest / 2 <= max(pauses) <= longest
    found = [(each.payload[0][0], each.headers["eta"] is None, each.headers["argsrepr"]) for each in queued.messages()]
    assert found == [(mail, longest == 0, "(...)")] * 20


def test_a_mail_stays_queued_when_the_broker_does_not_take_the_retry(queueing: Queueing, smtp: RecordingServer) -> None:
    smtp.rcpt_reply = "451 later"
    mail = queueing().sign_up()
    once = {"task_publish_retry": False, "broker_transport_options": {"max_retries": 0}}  # else Celery goes on
    queued = queueing(broker=f"redis://127.0.0.1:{free_ports(1)[0]}/0", celery=once)
    with in_a_worker(queued, mail, retries=0) as task, pytest.raises(Reject) as raised:
        task.run(mail)
    assert raised.value.requeue is True


def test_the_task_is_acknowledged_late_and_tried_as_often_as_the_docs_say(queueing: Queueing) -> None:
    task = queueing().task
    assert (task.acks_late, task.reject_on_worker_lost, task.ignore_result) == (True, True, True)
    assert task.acks_on_failure_or_timeout is True  # a mail that was given up is not handed to the next worker
    assert (task.max_retries, task.retry_backoff, task.retry_backoff_max) == (100, 10, 30 * 60)


# A mail that a lost worker had is another one's after a second; by default Celery waits for 10 s, Redis for an hour.
RETURNED_SOON_BY_REDIS = {"broker_transport_options": {"visibility_timeout": 1, "unacked_restore_interval": 1}}


def worker_of(queued: Queued, smtp: RecordingServer, folder: Path) -> Worker:
    """Make a worker for the mails of an app; what it gives up is in ``signals.txt``."""
    signals = str(folder / "signals.txt")
    settings = {"port": smtp.port, "celery": queued.built.app.config["CELERY"], "signals": signals}
    environment = {"WORKER_SETTINGS": json.dumps(settings)}
    return Worker("tests.support.celery_app:celery_app", folder=folder, environment=environment)


@pytest.fixture
def queued(queueing: Queueing, broker_url: str, queue_name: str, clock: Clock) -> Queued:
    clock.time = int(time.time())  # as the worker's
    options = {"task_default_queue": queue_name, "worker_lost_wait": 1}
    return queueing(
        broker=broker_url,
        registration={**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_LENGTH": 10},  # no number of the log is like it
        task={"retry_backoff_max": 1, "max_retries": 4},
        celery=options | (RETURNED_SOON_BY_REDIS if broker_url.startswith("redis") else {}),
    )


def wait_for_mails(smtp: RecordingServer, worker: Worker, *, at_least: int = 1) -> None:
    until(lambda: len(smtp.messages) >= at_least, otherwise=lambda: worker.output)


def test_a_worker_sends_link_code_and_notice_and_logs_nothing_of_them(
    queued: Queued, smtp: RecordingServer, clock: Clock, tmp_path: Path
) -> None:
    built = queued.built
    assert built.post(REGISTER, ADDRESS).status_code == 202
    with worker_of(queued, smtp, tmp_path) as worker:
        wait_for_mails(smtp, worker)
        link, code = values_of(link_in(smtp.message)), code_of(smtp.message)
        assert built.post(CHECK_LINK, link).get_json() == ADDRESS
        assert built.verify({**ADDRESS, "code": code, **ACCOUNT}).status_code == 201
        clock.move(3600)
        assert built.post(REGISTER, ADDRESS).status_code == 202
        wait_for_mails(smtp, worker, at_least=2)
        until(lambda: worker.output.count("succeeded in") == 2, otherwise=lambda: worker.output)
    notice = smtp.messages[1]
    assert (notice["To"], "signature" in notice.as_string()) == ("ann@example.com", False)
    # Also at the level DEBUG, at which the worker runs here.
    secrets = ("ann@example.com", "frontend.example", code, link["user_id"], link["signature"])
    assert [secret for secret in secrets if secret in worker.output] == []


@pytest.mark.slow
def test_a_worker_tries_again_and_tells_what_it_gives_up(queued: Queued, smtp: RecordingServer, tmp_path: Path) -> None:
    signals = tmp_path / "signals.txt"
    smtp.mail_reply = "451 later"
    queued.built.post(REGISTER, ADDRESS)
    with worker_of(queued, smtp, tmp_path) as worker:
        until(lambda: len(smtp.conversations) >= 2, otherwise=lambda: worker.output)
        smtp.mail_reply = None
        wait_for_mails(smtp, worker)
        assert "A mail was not sent, it is tried again in " in worker.output
        assert not signals.exists()
        before = len(smtp.conversations)
        smtp.rcpt_reply = "451 later"
        queued.built.post(REGISTER, {"email": "bob@example.com"})
        worker.wait_for("raised expected")
    assert signals.read_text("utf-8") == "bob@example.com EmailNotSent\n"
    assert "A mail is given up: recipient refused, 451" in worker.output
    assert "bob@example.com" not in worker.output
    assert len(smtp.conversations) == before + 5


class StuckMail:
    """The first mail does not come to its end, until it is let go and refused; the next ones are accepted."""

    def __init__(self, smtp: RecordingServer) -> None:
        def wait() -> None:
            smtp.on_text = lambda: setattr(smtp, "text_reply", None)
            self.arrived.set()
            self.let_go.wait(60)

        self.arrived, self.let_go = threading.Event(), threading.Event()
        smtp.text_reply, smtp.on_text = "451 not this time", wait


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "child"])
def test_a_worker_that_is_killed_in_the_middle_of_a_send_leaves_the_mail_to_the_next(
    queued: Queued, smtp: RecordingServer, tmp_path: Path, killed: str
) -> None:
    stuck, worker = StuckMail(smtp), worker_of(queued, smtp, tmp_path)
    queued.built.post(REGISTER, ADDRESS)
    with worker:
        assert stuck.arrived.wait(60), worker.output
        if killed == "worker":
            worker.kill()
            worker.start()
        elif sys.platform.startswith("linux"):
            worker.kill_child()
        else:
            pytest.skip("finds the worker's child in /proc")
        stuck.let_go.set()
        wait_for_mails(smtp, worker)
    link = values_of(link_in(smtp.messages[0]))
    assert queued.built.verify({**link, **ACCOUNT}).status_code == 201


@pytest.mark.slow
def test_a_broker_killed_and_started_again_loses_neither_mail_nor_worker(
    queueing: Queueing, smtp: RecordingServer, tmp_path: Path
) -> None:
    with RedisServer(tmp_path) as redis:
        queued = queueing(broker=redis.url, task={"retry_backoff_max": 1}, celery=RETURNED_SOON_BY_REDIS)
        worker, stuck = worker_of(queued, smtp, tmp_path), StuckMail(smtp)
        assert queued.built.register().status_code == 201
        with worker:
            assert stuck.arrived.wait(60), worker.output
            redis.stop()
            stuck.let_go.set()
            worker.wait_for("A mail was not sent, it is tried again in ")
        redis.start()
        # A new worker: some versions of Celery's end or hang when Redis is lost while they run a task.
        with worker:
            wait_for_mails(smtp, worker)
            until(redis.has_nothing_unacknowledged, otherwise=lambda: worker.output)
            refusals = worker.output.count("Connection refused")
            redis.stop()
            until(lambda: worker.output.count("Connection refused") > refusals, otherwise=lambda: worker.output)
            redis.start()
            assert queued.built.register(email="b@example.com", username="b").status_code == 201
            until(lambda: smtp.messages[-1]["To"] == "b@example.com", otherwise=lambda: worker.output)
