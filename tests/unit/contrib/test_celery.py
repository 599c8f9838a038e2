"""Mails that are queued with Celery: in the request, at the broker, in the worker, and when one of them fails."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Reject, Retry
from flask import Flask, Request
from jinja2 import DictLoader
from kombu import Connection, Queue

from flask_rest_registration import ConfigurationError, EmailNotSent, RecipientRefused, RestRegistration
from flask_rest_registration.contrib.celery import (
    TASK_NAME,
    email_delivery_failed,
    send_existing_account_later,
    send_later,
)
from tests.support.answers import refused
from tests.support.apps import CHECK_LINK, PASSWORD, REGISTER, RESEND, VERIFICATION_URL, Builder, Built, HasPort
from tests.support.celery_app import Worker, celery_init_app
from tests.support.clock import Clock
from tests.support.concurrency import until
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import DroppingServer, RecordingServer, SilentServer
from tests.support.services import RedisServer, Relay, accepts_connections, free_port, missing
from tests.support.statements import recorded

pytestmark = pytest.mark.programs

TIMEOUT = 4  # seconds, of VERIFICATION_EMAIL_TIMEOUT where a test waits for its end

RESENDING = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
EMAIL_FIRST = {
    "REGISTER_EMAIL_FIRST": True,
    "REGISTER_VERIFICATION_CODE_ENABLED": True,
    "REGISTER_EXISTING_EMAIL_SENDER": send_existing_account_later,
}
ADDRESS = {"email": "ann@example.com"}
ACCOUNT = {"username": "ann", "password": PASSWORD, "password_confirm": PASSWORD}


class Queued:
    """An app whose mails are queued.

    :param built: the app.
    :param celery: its Celery app.
    """

    def __init__(self, built: Built, celery: Any) -> None:
        self.built = built
        self.celery = celery

    @property
    def task(self) -> Any:
        return self.celery.tasks[TASK_NAME]

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

    def run(self, mail: dict[str, Any]) -> Any:
        """Do what a worker does with one mail, with retries that do not wait."""
        return self.task.apply((mail,))


class Build:
    """Makes apps whose broker is in this process's memory, unless it is said otherwise."""

    def __init__(self, build: Builder) -> None:
        self._build = build

    def __call__(
        self, *, broker: str = "memory://", mail: HasPort | None = None, task: dict[str, Any] | None = None, **more: Any
    ) -> Queued:
        config = {
            "broker_url": broker,
            "task_default_queue": f"mails-{uuid.uuid4()}",
            "task_annotations": {TASK_NAME: task or {}},
            **more.pop("celery", {}),
        }
        settings = {
            "REGISTER_VERIFICATION_EMAIL_SENDER": send_later,
            "VERIFICATION_EMAIL_TIMEOUT": TIMEOUT,
            **more.pop("registration", {}),
        }
        options: dict[str, Any] = {"mail": mail} if mail else {}
        built = self._build(
            pending=True,
            registration=settings,
            config={"CELERY": config, **more.pop("config", {})},
            **options,
            **more,
        )
        return Queued(built, celery_init_app(built.app))


@pytest.fixture
def queueing(build: Builder) -> Build:
    return Build(build)


@pytest.fixture
def given_up() -> Iterator[list[tuple[str, EmailNotSent]]]:
    """What each ``email_delivery_failed`` said."""
    seen: list[tuple[str, EmailNotSent]] = []

    def keep(sender: Flask, recipient: str, error: EmailNotSent) -> None:
        seen.append((recipient, error))

    with email_delivery_failed.connected_to(keep):
        yield seen


# In the request


def test_a_sign_up_queues_the_rendered_mail_and_sends_nothing(queueing: Build, smtp: RecordingServer) -> None:
    queued = queueing()
    assert queued.built.register().status_code == 201
    (mail,) = queued.mails()
    assert mail["recipients"] == ["ann@example.com"]
    assert VERIFICATION_URL in mail["body"]
    assert VERIFICATION_URL in mail["html"]
    assert (mail["sender"], mail["extra_headers"]) == ("no-reply@app.example", {"Auto-Submitted": "auto-generated"})
    assert smtp.conversations == []


def test_what_is_queued_is_json_and_names_no_account_but_by_the_mail(
    queueing: Build,
) -> None:
    queued = queueing(celery={"task_serializer": "pickle"})
    queued.built.register()
    (message,) = queued.messages()
    assert message.content_type == "application/json"
    args, kwargs, _ = json.loads(message.body)
    assert kwargs == {}
    assert [set(argument) for argument in args] == [
        {"subject", "recipients", "body", "html", "sender", "reply_to", "extra_headers", "msgId"}
    ]
    assert queued.built.row()["password_hash"] not in str(message.body)


def test_what_celery_shows_of_a_message_in_events_and_logs_has_nothing_of_the_mail(queueing: Build) -> None:
    queued = queueing()
    queued.built.register()
    (message,) = queued.messages()
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("(...)", "{...}")
    assert "ann@example.com" not in json.dumps(message.headers)


def test_the_mail_is_rendered_in_the_request_in_its_language(queueing: Build) -> None:
    def select(request: Request, user: object) -> dict[str, str]:
        return {"subject": f"{request.accept_languages.best}.txt", "body": "body.txt"}

    def use_templates(app: Flask) -> None:
        app.jinja_loader = DictLoader({"nb.txt": "Velkommen", "body.txt": "{{ request.host }}"})

    queued = queueing(registration={"VERIFICATION_TEMPLATES_SELECTOR": select}, before_init=use_templates)
    built = queued.built
    built.post("register/", built.body(), headers={"Accept-Language": "nb"}, base_url="https://shop.example")
    (mail,) = queued.mails()
    assert (mail["subject"], mail["body"]) == ("Velkommen", "shop.example")


def test_a_mail_that_comes_twice_has_one_message_id_and_the_name_of_its_sender(
    queueing: Build, smtp: RecordingServer
) -> None:
    names = {
        "VERIFICATION_FROM_EMAIL": ("Shop, Inc.", "a@shop.example"),
        "VERIFICATION_REPLY_TO_EMAIL": "b@shop.example",
    }
    queued = queueing(registration=names)
    queued.built.register()
    (mail,) = queued.mails()
    mail = json.loads(json.dumps(mail))
    for _ in range(2):
        assert queued.run(mail).successful()
    first, second = smtp.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert (first["From"], first["Reply-To"]) == ('"Shop, Inc." <a@shop.example>', "b@shop.example")
    assert (first["To"], first["Auto-Submitted"]) == ("ann@example.com", "auto-generated")
    assert queued.built.verify(link_in(first)).status_code == 200


def test_an_address_that_is_taken_queues_nothing(queueing: Build) -> None:
    queued = queueing()
    queued.built.register()
    queued.messages()
    assert queued.built.register(username="other").status_code == 400
    assert queued.messages() == []


def test_an_app_without_celery_is_told_what_to_do(build: Builder) -> None:
    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": send_later})
    with pytest.raises(ConfigurationError, match=r'app\.extensions\["celery"\]'):
        built.register()
    assert built.rows() == []


def test_each_app_uses_its_own_celery(queueing: Build) -> None:
    first, second = queueing(), queueing()
    first.built.register()
    assert (len(second.messages()), len(first.messages())) == (0, 1)


def link_of(mail: dict[str, Any]) -> dict[str, str]:
    """Return what the link of a queued mail carries."""
    return values_of(next(word for word in mail["body"].split() if word.startswith(VERIFICATION_URL)))


def test_a_link_that_is_sent_again_is_queued_too(queueing: Build) -> None:
    queued = queueing(registration=RESENDING)
    built = queued.built
    built.register()
    (mail,) = queued.mails()
    assert built.post(RESEND, ADDRESS).status_code == 202
    (again,) = queued.mails()
    assert (again["subject"], again["recipients"]) == (mail["subject"], ["ann@example.com"])
    assert built.verify(link_of(again)).status_code == 200


def test_with_email_first_a_link_with_its_code_and_a_notice_are_queued(queueing: Build, clock: Clock) -> None:
    queued = queueing(registration=EMAIL_FIRST)
    built = queued.built
    assert built.post(REGISTER, ADDRESS).status_code == 202
    (mail,) = queued.mails()
    assert (mail["recipients"], mail["subject"][:6].isdigit()) == (["ann@example.com"], True)
    assert mail["subject"][:6] in mail["body"]
    assert built.post(CHECK_LINK, link_of(mail)).get_json() == ADDRESS
    assert built.verify({**link_of(mail), **ACCOUNT}).status_code == 201
    clock.move(3600)
    assert built.post(REGISTER, ADDRESS).status_code == 202
    (notice,) = queued.mails()
    assert notice["recipients"] == ["ann@example.com"]
    assert "signature" not in notice["body"]


def test_with_email_first_what_is_queued_names_no_row_but_by_the_link(queueing: Build) -> None:
    queued = queueing(registration=EMAIL_FIRST)
    queued.built.post(REGISTER, ADDRESS)
    (message,) = queued.messages()
    row_id = str(queued.built.pending_row()["id"])
    (mail,) = message.payload[0]
    assert link_of(mail)["user_id"] == row_id
    others = {name: value for name, value in mail.items() if name not in {"body", "html"}}
    assert row_id not in json.dumps([others, message.headers])


def test_a_script_queues_without_a_request(queueing: Build) -> None:
    queued = queueing()
    queued.built.register()
    queued.messages()
    with queued.built.app.app_context():
        send_later(None, queued.built.db.session.get(queued.built.User, 1))
    assert len(queued.mails()) == 1


def test_eager_tasks_are_a_mail_within_the_request(queueing: Build, smtp: RecordingServer) -> None:
    queued = queueing(celery={"task_always_eager": True})
    assert queued.built.register().status_code == 201
    assert queued.built.verify(link_in(smtp.message)).status_code == 200


def test_eager_tasks_fail_as_a_mail_within_the_request_does(queueing: Build) -> None:
    with RecordingServer(rcpt_reply="451 later") as server:
        queued = queueing(celery={"task_always_eager": True}, mail=server)
        refused(queued.built.register(), 503, "email-not-sent")
    assert queued.built.rows() == []


@pytest.mark.parametrize("name", ["REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"])
def test_an_app_whose_senders_need_celery_is_refused_without_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    app = Flask("without_celery")
    path = f"flask_rest_registration.contrib.celery.send_{'later' if 'VERI' in name else 'existing_account_later'}"
    app.config["REST_REGISTRATION"] = {"REGISTER_VERIFICATION_URL": VERIFICATION_URL, name: path}
    with pytest.raises(ConfigurationError, match=r"pip install 'flask-rest-registration\[celery\]'"):
        RestRegistration(app)


@pytest.mark.parametrize("sender", [send_later, "flask_rest_registration.contrib.celery.send_later"])
def test_a_link_that_is_queued_needs_its_url_from_the_start_too(sender: object) -> None:
    app = Flask("without_url")
    app.config["REST_REGISTRATION"] = {"REGISTER_VERIFICATION_EMAIL_SENDER": sender}
    with pytest.raises(ConfigurationError, match="REGISTER_VERIFICATION_URL is missing"):
        RestRegistration(app)


def test_with_email_first_a_queued_link_beside_a_direct_notice_is_refused(queueing: Build) -> None:
    with pytest.raises(ConfigurationError, match="REGISTER_EXISTING_EMAIL_SENDER too"):
        queueing(registration={"REGISTER_EMAIL_FIRST": True})


def test_with_email_first_an_app_without_celery_puts_the_row_back(build: Builder) -> None:
    built = build(pending=True, registration={**EMAIL_FIRST, "REGISTER_VERIFICATION_EMAIL_SENDER": send_later})
    with pytest.raises(ConfigurationError, match=r'app\.extensions\["celery"\]'):
        built.post(REGISTER, ADDRESS)
    assert built.pending_row()["next_mail_at"] == 0


def test_what_has_the_task_is_imported_when_the_app_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = "flask_rest_registration.contrib.celery"
    monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    app = Flask("a_workers")
    app.config["REST_REGISTRATION"] = {
        "REGISTER_VERIFICATION_URL": VERIFICATION_URL,
        "REGISTER_VERIFICATION_EMAIL_SENDER": f"{module}.send_later",
    }
    with pytest.raises(ModuleNotFoundError, match=module):
        RestRegistration(app)


def test_check_looks_at_the_templates_of_mails_that_are_queued(queueing: Build) -> None:
    templates = {
        "REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"body": "no/such.txt"},
        "REGISTER_EXISTING_EMAIL_TEMPLATES": {"body": "no/notice.txt"},
    }
    queued = queueing(registration={**EMAIL_FIRST, **templates})
    printed = queued.built.command("check").output
    assert "'no/such.txt'" in printed
    assert "'no/notice.txt'" in printed


# The broker fails


@contextmanager
def broker(fault: str) -> Iterator[Callable[[str], str]]:
    """Give the URL of a broker that is out of reach, by its scheme."""
    with SilentServer() as silent:
        port = silent.port if fault == "silent" else free_port()
        yield lambda scheme: f"{scheme}://127.0.0.1:{port}//"


@pytest.mark.parametrize("fault", ["down", "silent"])
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_out_of_reach_is_a_503_within_the_time_before_any_statement(
    queueing: Build, caplog: pytest.LogCaptureFixture, scheme: str, fault: str
) -> None:
    with broker(fault) as url:
        queued = queueing(
            broker=url(scheme).replace("//1", "//user:sesame@1"), celery={"broker_connection_retry": True}
        )
        queued.built.rows()
        with recorded(queued.built.engine) as statements:
            before = time.monotonic()
            refused(queued.built.register(), 503, "email-not-sent")
            took = time.monotonic() - before
    assert took < TIMEOUT
    assert statements.kinds == []
    assert "not queued, " in caplog.text
    assert "sesame" not in caplog.text
    assert "ann@example.com" not in caplog.text


def test_what_broke_is_named_with_its_cause(queueing: Build, caplog: pytest.LogCaptureFixture) -> None:
    with broker("down") as url:
        refused(queueing(broker=url("amqp")).built.register(), 503, "email-not-sent")
    assert "not queued, OperationalError, ConnectionRefusedError" in caplog.text


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # kombu's use of a newer SQLAlchemy
def test_a_broker_of_another_kind_is_given_no_options_that_it_does_not_know(queueing: Build, tmp_path: Path) -> None:
    queued = queueing(broker=f"sqla+sqlite:///{tmp_path}/broker.db")
    assert queued.built.register().status_code == 201
    assert len(queued.mails()) == 1


def test_when_the_first_broker_is_down_the_second_one_has_the_mail(queueing: Build, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, broker("down") as url:
        queued = queueing(broker=f"{url('redis')};{server.url}")
        assert queued.built.register().status_code == 201
        queued.celery.conf.broker_url = queued.celery.conf.broker_read_url = server.url
        assert len(queued.mails()) == 1


def test_brokers_that_hang_up_are_asked_once_each(queueing: Build) -> None:
    with DroppingServer(at="CONNECT") as first, DroppingServer(at="CONNECT") as second:
        urls = [f"amqp://127.0.0.1:{server.port}//" for server in (first, second)]
        refused(queueing(broker=urls[0]).built.register(), 503, "email-not-sent")
        assert first.connections == 1
        refused(queueing(broker=";".join(urls)).built.register(), 503, "email-not-sent")
        assert (first.connections, second.connections) == (2, 1)


@pytest.mark.parametrize("fault", ["down", "silent"])
def test_the_second_broker_is_asked_within_the_time_too(queueing: Build, fault: str) -> None:
    with broker(fault) as url:
        queued = queueing(broker=f"{url('redis')};{url('redis')}")
        before = time.monotonic()
        refused(queued.built.register(), 503, "email-not-sent")
        assert time.monotonic() - before < TIMEOUT


def test_a_broker_out_of_reach_does_not_tell_who_has_an_account(queueing: Build, clock: Clock) -> None:
    queued = queueing(registration=EMAIL_FIRST)
    built = queued.built
    built.post(REGISTER, ADDRESS)
    (mail,) = queued.mails()
    assert built.verify({**link_of(mail), **ACCOUNT}).status_code == 201
    clock.move(3600)
    queued.celery.conf.broker_url = queued.celery.conf.broker_write_url = f"redis://127.0.0.1:{free_port()}/0"
    for address in ("ann@example.com", "nobody@example.com"):
        refused(built.post(REGISTER, {"email": address}), 503, "email-not-sent")
    assert len(built.rows()) == 1


def test_a_broker_out_of_reach_does_not_tell_who_waits_for_a_link(queueing: Build) -> None:
    queued = queueing(registration=RESENDING)
    queued.built.register()
    queued.celery.conf.broker_url = queued.celery.conf.broker_write_url = f"redis://127.0.0.1:{free_port()}/0"
    for address in ("ann@example.com", "nobody@example.com"):
        refused(queued.built.post(RESEND, {"email": address}), 503, "email-not-sent")


def test_a_request_works_again_when_the_broker_is_back(queueing: Build, tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    queued = queueing(broker=server.url)
    refused(queued.built.register(), 503, "email-not-sent")
    with server:
        assert queued.built.register().status_code == 201
        assert len(queued.mails()) == 1
    refused(queued.built.register(email="b@example.com", username="b"), 503, "email-not-sent")
    assert len(queued.built.rows()) == 1


@pytest.mark.parametrize(("path", "settings"), [(REGISTER, EMAIL_FIRST), (RESEND, RESENDING)])
def test_a_broker_that_is_down_puts_the_row_back_so_that_the_request_works_at_once(
    queueing: Build, tmp_path: Path, clock: Clock, path: str, settings: dict[str, object]
) -> None:
    server = RedisServer(tmp_path)
    queued = queueing(broker=server.url, registration=settings)
    built = queued.built
    if path == RESEND:
        with server:
            built.register()
            queued.mails()
    refused(built.post(path, ADDRESS), 503, "email-not-sent")
    row = built.pending_row()
    assert (row["mails"], row["next_mail_at"]) == (0, 0)
    with server:
        assert built.post(path, ADDRESS).status_code == 202
        assert len(queued.mails()) == 1
        assert built.post(path, ADDRESS).status_code == 202
        assert queued.mails() == []  # the cooldown has begun
    row = built.pending_row()
    clock.move(3600)
    refused(built.post(path, ADDRESS), 503, "email-not-sent")
    assert built.pending_row() == row
    with server:
        assert built.post(path, ADDRESS).status_code == 202
        (mail,) = queued.mails()
    assert built.verify({**link_of(mail), **ACCOUNT}).status_code in {200, 201}
    assert len(built.rows()) == 1


def rabbitmq() -> str:
    """Return the URL of the machine's RabbitMQ."""
    if not accepts_connections(5672):
        missing("RabbitMQ does not answer on port 5672")
    return os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A broker that runs; of the machine's RabbitMQ one queue is used."""
    if request.param == "rabbitmq":
        yield rabbitmq()
        return
    with RedisServer(tmp_path) as server:
        yield server.url


@pytest.fixture
def queue_name(broker_url: str) -> Iterator[str]:
    """A queue of the test's own."""
    name = f"mails-{uuid.uuid4()}"
    yield name
    with Connection(broker_url) as connection:
        Queue(name)(connection.default_channel).delete()


@pytest.mark.parametrize(("settings", "status"), [({}, 201), (EMAIL_FIRST, 202)])
def test_a_broker_that_falls_silent_before_the_message_is_a_503_within_the_time(
    queueing: Build,
    broker_url: str,
    queue_name: str,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
    status: int,
) -> None:
    port = Connection(broker_url).port
    good_byes: list[object] = []
    with Relay(port, freezes_at=TASK_NAME.encode()) as relay, monkeypatch.context() as patch:
        patch.setattr(Connection, "release", lambda connection: good_byes.append(connection))
        queued = queueing(
            broker=broker_url.replace(f":{port}", f":{relay.port}"),
            celery={"task_default_queue": queue_name},
            registration=settings,
        )
        body = ADDRESS if status == 202 else queued.built.body()
        before = time.monotonic()
        refused(queued.built.post(REGISTER, body), 503, "email-not-sent")
        took = time.monotonic() - before
        assert relay.has_frozen
    assert took < TIMEOUT
    assert good_byes == []  # a silent broker would not answer them
    assert queued.built.rows() == []
    queued.celery.conf.broker_url = queued.celery.conf.broker_write_url = broker_url
    assert queued.built.post(REGISTER, body).status_code == status


# The task, without a worker


def test_a_mail_server_is_asked_again_until_it_takes_a_mail_or_the_mail_is_given_up(
    queueing: Build, given_up: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with RecordingServer(rcpt_reply="451 later") as server:
        queued = queueing(mail=server, task={"max_retries": 2})
        queued.built.register()
        (mail,) = queued.mails()
        caplog.clear()
        assert isinstance(queued.run(mail).result, EmailNotSent)
        assert len(server.conversations) == 3
    ((recipient, error),) = given_up
    assert (recipient, type(error)) == ("ann@example.com", EmailNotSent)
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "A mail is given up: recipient refused, [451]"
    ]
    assert [record.message.startswith("A mail was not sent, ") for record in caplog.records].count(True) == 2
    assert not any(text in caplog.text for text in ("signature=", "ann@example.com", VERIFICATION_URL))


def test_a_recipient_that_is_refused_for_good_is_given_up_at_once(queueing: Build, given_up: list[Any]) -> None:
    with RecordingServer(rcpt_reply="550 no such user") as server:
        queued = queueing(mail=server)
        queued.built.register()
        (mail,) = queued.mails()
        assert isinstance(queued.run(mail).result, RecipientRefused)
        assert len(server.conversations) == 1
    assert [(recipient, type(error)) for recipient, error in given_up] == [("ann@example.com", RecipientRefused)]


def test_a_worker_whose_app_is_set_up_wrongly_tries_again_too(
    queueing: Build, given_up: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    queued = queueing(task={"max_retries": 1})
    queued.built.register()
    (mail,) = queued.mails()
    del queued.built.app.extensions["mail"]
    assert isinstance(queued.run(mail).result, EmailNotSent)
    assert len(given_up) == 1
    assert "tried again in" in caplog.text
    assert "ConfigurationError" in caplog.text


def test_one_receiver_that_fails_does_not_keep_the_next_from_running(queueing: Build, given_up: list[Any]) -> None:
    def fail(sender: Flask, **_: object) -> None:
        raise RuntimeError("this receiver fails")

    with RecordingServer(rcpt_reply="550 no such user") as server:
        queued = queueing(mail=server)
        queued.built.register()
        (mail,) = queued.mails()
        with email_delivery_failed.connected_to(fail):
            assert isinstance(queued.run(mail).result, RecipientRefused)
    assert len(given_up) == 1


@contextmanager
def in_a_worker(queued: Queued, mail: dict[str, Any], *, retries: int) -> Iterator[Any]:
    """Give the task as it is when a worker runs it for the n-th time."""
    task = queued.task
    request = {"called_directly": False, "id": "an id", "retries": retries, "args": [mail], "kwargs": {}}
    task.push_request(**request)
    try:
        with queued.built.app.app_context():
            yield task
    finally:
        task.pop_request()


def pause_before(retries: int, queued: Queued, mail: dict[str, Any]) -> float:
    with in_a_worker(queued, mail, retries=retries) as task, pytest.raises(Retry) as raised:
        task.run(mail)
    assert isinstance(raised.value.when, float)
    return raised.value.when


def test_the_pause_doubles_up_to_half_an_hour_with_jitter_over_the_whole_of_it(queueing: Build) -> None:
    with RecordingServer(rcpt_reply="451 later") as server:
        queued = queueing(mail=server)
        queued.built.register()
        (mail,) = queued.mails()
        pauses = {retries: [pause_before(retries, queued, mail) for _ in range(8)] for retries in (0, 3, 99)}
    for retries, longest in ((0, 10), (3, 80), (99, 1800)):
        assert max(pauses[retries]) <= longest
    assert max(pauses[99]) > 80
    assert all(len(set(of_one)) == 8 for of_one in pauses.values())
    messages = queued.messages()
    assert len(messages) == 24
    assert all(message.payload[0][0] == mail and message.headers["eta"] for message in messages)
    assert {message.headers["argsrepr"] for message in messages} == {"(...)"}


def test_a_mail_that_was_tried_more_often_than_is_allowed_by_now_is_given_up(
    queueing: Build, given_up: list[Any]
) -> None:
    with RecordingServer(rcpt_reply="451 later") as server:
        queued = queueing(mail=server, task={"max_retries": 2})
        queued.built.register()
        (mail,) = queued.mails()
        with in_a_worker(queued, mail, retries=5) as task, pytest.raises(EmailNotSent):
            task.run(mail)
    assert len(given_up) == 1


def test_there_may_be_no_pause_at_all(queueing: Build) -> None:
    with RecordingServer(rcpt_reply="451 later") as server:
        queued = queueing(mail=server, task={"retry_backoff": 0})
        queued.built.register()
        (mail,) = queued.mails()
        assert [pause_before(retries, queued, mail) for retries in (0, 9)] == [0, 0]


def test_annotations_tune_the_retries(queueing: Build, given_up: list[Any]) -> None:
    with RecordingServer(rcpt_reply="451 later") as server:
        queued = queueing(mail=server, task={"max_retries": None, "retry_backoff": 1, "retry_backoff_max": 5})
        queued.built.register()
        (mail,) = queued.mails()
        assert max(pause_before(10**6, queued, mail) for _ in range(4)) <= 5
    assert given_up == []


def test_a_mail_stays_queued_when_the_broker_does_not_take_the_retry(queueing: Build) -> None:
    with RecordingServer(rcpt_reply="451 later") as server:
        queued = queueing(mail=server)
        queued.built.register()
        (mail,) = queued.mails()
        options = {"max_retries": 0}  # else Celery connects until it succeeds
        down = {"task_publish_retry": False, "broker_transport_options": options}
        broken = queueing(broker=f"redis://127.0.0.1:{free_port()}/0", mail=server, celery=down)
        with in_a_worker(broken, mail, retries=0) as task, pytest.raises(Reject) as raised:
            task.run(mail)
    assert raised.value.requeue is True


def test_the_task_is_acknowledged_late_and_returned_by_workers_that_are_lost(queueing: Build) -> None:
    task = queueing().task
    assert (task.acks_late, task.reject_on_worker_lost, task.ignore_result) == (True, True, True)
    assert task.acks_on_failure_or_timeout is True  # a mail that was given up is not handed to the next worker


def test_the_task_tries_as_often_and_as_long_as_the_docs_say(queueing: Build) -> None:
    task = queueing().task
    assert (task.max_retries, task.retry_backoff, task.retry_backoff_max) == (100, 10, 30 * 60)


# A worker in a process of its own


class Workers:
    """Starts workers for the mails of one app.

    :param queued: the app that queues.
    :param server: the mail server.
    :param folder: for what workers write.
    """

    def __init__(self, queued: Queued, server: RecordingServer, folder: Path) -> None:
        self.signals = folder / "signals.txt"
        settings = {
            "mail_port": server.port,
            "celery": queued.built.app.config["CELERY"],
            "signals": str(self.signals),
            "timeout": 30,
        }
        self.worker = Worker(
            "tests.support.celery_app:celery_app",
            folder=folder,
            environment={"WORKER_SETTINGS": json.dumps(settings)},
        )


SOON = {"retry_backoff": 1, "retry_backoff_max": 1}
# A mail that a lost worker had is another one's after a second; without these the test would wait for an hour.
RETURNED_SOON = {"visibility_timeout": 1, "unacked_restore_interval": 1}


@pytest.fixture
def queued(queueing: Build, broker_url: str, queue_name: str, smtp: RecordingServer) -> Queued:
    options = RETURNED_SOON if broker_url.startswith("redis") else {}
    return queueing(
        broker=broker_url,
        task={**SOON, "max_retries": 20},
        celery={"task_default_queue": queue_name, "broker_transport_options": options},
    )


@pytest.fixture
def worker(queued: Queued, smtp: RecordingServer, tmp_path: Path) -> Worker:
    return Workers(queued, smtp, tmp_path).worker


def wait_for_mails(smtp: RecordingServer, worker: Worker, *, at_least: int = 1) -> None:
    until(lambda: len(smtp.messages) >= at_least, otherwise=lambda: worker.output)


def test_a_worker_sends_what_is_queued_and_logs_nothing_of_it(
    queued: Queued, worker: Worker, smtp: RecordingServer
) -> None:
    assert queued.built.register().status_code == 201
    with worker:
        wait_for_mails(smtp, worker)
        worker.wait_for("succeeded in")
    link = link_in(smtp.message)
    assert queued.built.verify(link).status_code == 200
    # Also at the level DEBUG, at which the worker runs here.
    assert not any(
        text in worker.output for text in ("ann@example.com", "frontend.example", values_of(link)["signature"])
    )


def test_with_email_first_a_worker_sends_the_link_with_its_code_and_the_notice(
    queueing: Build, broker_url: str, queue_name: str, smtp: RecordingServer, clock: Clock, tmp_path: Path
) -> None:
    clock.time = int(time.time())  # as the worker's
    settings = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_LENGTH": 10}  # no number of the log is like it
    queued = queueing(broker=broker_url, registration=settings, celery={"task_default_queue": queue_name})
    built = queued.built
    assert built.post(REGISTER, ADDRESS).status_code == 202
    worker = Workers(queued, smtp, tmp_path).worker
    with worker:
        wait_for_mails(smtp, worker)
        (mail,) = smtp.messages
        assert built.post(CHECK_LINK, values_of(link_in(mail))).get_json() == ADDRESS
        assert built.verify({**ADDRESS, "code": code_of(mail), **ACCOUNT}).status_code == 201
        clock.move(3600)
        assert built.post(REGISTER, ADDRESS).status_code == 202
        wait_for_mails(smtp, worker, at_least=2)
        worker.wait_for("succeeded in")
    notice = smtp.messages[1]
    assert notice["To"] == "ann@example.com"
    assert "signature" not in notice.as_string()
    # Also at the level DEBUG, at which the worker runs here.
    link = values_of(link_in(mail))
    secrets = ("ann@example.com", code_of(mail), link["user_id"], link["signature"])
    assert not any(text in worker.output for text in secrets)


class StuckMail:
    """The first mail does not come to its end, until it is let go and refused; the next ones are accepted."""

    def __init__(self, smtp: RecordingServer) -> None:
        self.arrived = threading.Event()
        self._let_go = threading.Event()
        self._smtp = smtp
        smtp.text_reply = "451 not this time"
        smtp.on_text = self._wait

    def _wait(self) -> None:
        self._smtp.on_text = self._accept
        self.arrived.set()
        self._let_go.wait(60)

    def _accept(self) -> None:
        self._smtp.text_reply = None

    def let_go(self) -> None:
        self._let_go.set()


def test_a_worker_that_is_killed_in_the_middle_of_a_send_leaves_the_mail_to_the_next(
    queued: Queued, worker: Worker, smtp: RecordingServer
) -> None:
    stuck = StuckMail(smtp)
    queued.built.register()
    with worker:
        assert stuck.arrived.wait(60), worker.output
        worker.kill()
    stuck.let_go()
    with worker:
        wait_for_mails(smtp, worker)
    assert queued.built.verify(link_in(smtp.messages[0])).status_code == 200


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the worker's child in /proc")
def test_a_worker_whose_child_is_killed_in_the_middle_of_a_send_sends_the_mail_again(
    queued: Queued, worker: Worker, smtp: RecordingServer
) -> None:
    stuck = StuckMail(smtp)
    queued.built.register()
    with worker:
        assert stuck.arrived.wait(60), worker.output
        worker.kill_child()
        stuck.let_go()
        wait_for_mails(smtp, worker)


def test_a_mail_server_that_is_down_for_a_while_delays_the_mail(
    queued: Queued, worker: Worker, smtp: RecordingServer
) -> None:
    smtp.mail_reply = "451 later"
    queued.built.register()
    with worker:
        until(lambda: len(smtp.conversations) >= 3, otherwise=lambda: worker.output)
        smtp.mail_reply = None
        wait_for_mails(smtp, worker)
    assert "A mail was not sent, it is tried again in " in worker.output


def test_a_worker_tells_of_a_mail_that_it_gives_up(
    queueing: Build, broker_url: str, queue_name: str, smtp: RecordingServer, tmp_path: Path
) -> None:
    smtp.rcpt_reply = "451 later"
    queued = queueing(broker=broker_url, task={**SOON, "max_retries": 1}, celery={"task_default_queue": queue_name})
    workers = Workers(queued, smtp, tmp_path)
    queued.built.register()
    with workers.worker:
        until(workers.signals.exists, otherwise=lambda: workers.worker.output)
        workers.worker.wait_for("raised expected")
    assert workers.signals.read_text("utf-8") == "ann@example.com EmailNotSent\n"
    assert "A mail is given up: recipient refused, [451]" in workers.worker.output
    assert "ann@example.com" not in workers.worker.output
    assert len(smtp.conversations) == 2


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.mark.parametrize("when", ["before the worker starts", "in the middle of a send"])
def test_a_broker_that_is_killed_and_started_again_loses_no_mail(
    queueing: Build, redis: RedisServer, smtp: RecordingServer, tmp_path: Path, when: str
) -> None:
    options = {"broker_transport_options": RETURNED_SOON}
    queued = queueing(broker=redis.url, task={**SOON, "max_retries": 20}, celery=options)
    worker = Workers(queued, smtp, tmp_path).worker
    assert queued.built.register().status_code == 201
    if when == "in the middle of a send":
        stuck = StuckMail(smtp)
        with worker:
            assert stuck.arrived.wait(60), worker.output
            redis.stop()
            stuck.let_go()
            worker.wait_for("A mail was not sent, it is tried again in ")
    else:
        redis.stop()
    redis.start()
    # A new worker: some versions of Celery's end or hang when Redis is lost while they run a task.
    with worker:
        wait_for_mails(smtp, worker)


def test_a_worker_goes_on_when_its_broker_was_away(
    queueing: Build, redis: RedisServer, smtp: RecordingServer, tmp_path: Path
) -> None:
    queued = queueing(broker=redis.url)
    worker = Workers(queued, smtp, tmp_path).worker
    with worker:
        assert queued.built.register().status_code == 201
        wait_for_mails(smtp, worker)
        until(redis.has_nothing_unacknowledged, otherwise=lambda: worker.output)
        redis.stop()
        worker.wait_for("Connection refused")
        redis.start()
        assert queued.built.register(email="b@example.com", username="b").status_code == 201
        wait_for_mails(smtp, worker, at_least=2)
