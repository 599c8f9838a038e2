"""Each recipe of docs/transports.rst carries the mail that the package sends, and fails as the page says."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import request
from flask_babel import Babel
from flask_mail import Mail
from redis import Redis
from rq import Queue, SimpleWorker

import flask_rest_registration
from flask_rest_registration.commands.check import check_app
from tests.support.answers import refused
from tests.support.clock import Clock
from tests.support.hibp_server import http
from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import CloseDown, RecordingServer, Silence
from tests.support.mail_service import MailService
from tests.support.pages import DOCS, texts
from tests.support.programs import Example, Load
from tests.support.services import RedisServer

pytestmark = [pytest.mark.programs, pytest.mark.slow]

RECIPES = ["by_mailman", "by_smtplib", "by_http", "by_rq"]
LANGUAGES = ["en", "de", "ar", "ja"]
PASSWORD, KEY = "the password of the mail server", "the-key-of-the-mail-service"
EMAIL_FIRST = {"REST_REGISTRATION_REGISTER_EMAIL_FIRST": "true"}
PACKAGE_SENDERS = {
    "REST_REGISTRATION_REGISTER_VERIFICATION_EMAIL_SENDER": "send_register_verification_email_notification",
    "REST_REGISTRATION_REGISTER_EXISTING_EMAIL_SENDER": "send_existing_account_email_notification",
}


@dataclass(frozen=True)
class Servers:
    """Where the mails of the recipes go, and the environment that says so."""

    smtp: RecordingServer
    service: MailService
    redis: RedisServer

    def work(self) -> None:
        """Do what a worker of RQ does with all that is queued."""
        with Redis.from_url(self.redis.url) as connection:
            SimpleWorker(["mails"], connection=connection).work(burst=True, with_scheduler=True)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def servers(redis: RedisServer, monkeypatch: pytest.MonkeyPatch, trusted_certificate: None) -> Iterator[Servers]:
    """Start the servers, and put into the environment what an operator would."""
    with RecordingServer(security="tls", login=("shop", PASSWORD)) as smtp, MailService(KEY) as service:
        give_settings(
            monkeypatch,
            MAIL_SERVER="127.0.0.1",
            MAIL_PORT=str(smtp.port),
            MAIL_USERNAME="shop",
            MAIL_PASSWORD=PASSWORD,
            MAIL_DEFAULT_SENDER=json.dumps(["Zoë’s Lädchen – ゾーイの店", "no-reply@shop.example"]),
            REST_REGISTRATION_VERIFICATION_REPLY_TO_EMAIL=json.dumps(["مساعدة Zoë", "help@shop.example"]),
            REST_REGISTRATION_PASSWORD_HASHER="tests.support.apps.fast_hasher",
        )
        monkeypatch.setenv("MAIL_API_KEY", KEY)
        monkeypatch.setenv("RQ_REDIS_URL", redis.url)
        yield Servers(smtp, service, redis)
    with Redis.from_url(redis.url) as connection:
        connection.flushall()


def give_settings(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"FLASK_{name}", value)


@pytest.fixture
def recipe(load: Load, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Example]:
    """Loads a recipe of the page, whose app speaks the language of the request."""

    def load_recipe(name: str) -> Example:
        example = load("transports", name)
        if name == "by_http":
            monkeypatch.setattr(example.module, "URL", servers.service.url)
        Babel(example.app, locale_selector=lambda: request.accept_languages.best_match(LANGUAGES))
        return example

    return load_recipe


@pytest.fixture
def by_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Example], Example]]:
    """Makes the same app with the senders of the package, on a database of its own."""
    apps: list[Example] = []

    def make(example: Example) -> Example:
        senders = {name: f"flask_rest_registration.{value}" for name, value in PACKAGE_SENDERS.items()}
        with monkeypatch.context() as patch:
            give_settings(patch, SQLALCHEMY_DATABASE_URI="sqlite:///default.db", MAIL_USE_SSL="true", **senders)
            app = example.module.create_app(None)
        Mail(app)
        Babel(app, locale_selector=lambda: request.accept_languages.best_match(LANGUAGES))
        apps.append(Example(example.module, app, example.db, example.smtp))
        return apps[-1]

    yield make
    for example in apps:
        with example.app.app_context():
            example.db.engine.dispose()


def sign_up(example: Example, email: str, *, language: str = "en") -> Any:
    """Ask as somebody whose browser has a language."""
    headers = {"Accept-Language": language}
    if example.app.config.get("REST_REGISTRATION_REGISTER_EMAIL_FIRST"):
        return example.post("register", {"email": email}, headers=headers)
    return example.sign_up(email=email, headers=headers)


def told(message: EmailMessage) -> dict[str, Any]:
    """Return what a mail says to its reader and their programs, without what differs from mail to mail."""
    addresses = {name: message[name].addresses for name in ("From", "To", "Reply-To")}
    assert message["Date"].datetime
    return {
        **{name: [(each.display_name, each.addr_spec) for each in found] for name, found in addresses.items()},
        "subject": message["Subject"].lstrip(),  # Flask-Mailman folds before its first word
        "text": masked(text_of(message)),
        "html": masked(html_of(message)),
        "headers": masked_headers({name: message[name] for name in ("Message-ID", "Auto-Submitted")}),
    }


def told_by_service(mail: dict[str, Any]) -> dict[str, Any]:
    pairs = {name: mail[key] for name, key in (("From", "from"), ("Reply-To", "reply_to"))}
    return {
        **{name: [(pair["name"], pair["email"])] for name, pair in pairs.items()},
        "To": [("", mail["to"])],
        "subject": mail["subject"],
        "text": masked(mail["text"]),
        "html": masked(mail["html"]),
        "headers": masked_headers(mail["headers"]),
    }


def masked(text: str) -> str:
    text = text.replace("\r\n", "\n").rstrip("\n")
    return re.sub(r"(user_id|signature)=[\w-]+", r"\1=...", text)


def masked_headers(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Message-ID": re.sub(r"^<[\w.]{20,}@", "<...@", headers["Message-ID"])}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("way", ["the account at sign-up", "e-mail first", "the notice"])
def test_a_recipe_carries_the_mail_of_the_default_sender(
    recipe: Callable[[str], Example],
    by_default: Callable[[Example], Example],
    servers: Servers,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    way: str,
) -> None:
    if way != "the account at sign-up":
        give_settings(monkeypatch, **EMAIL_FIRST)
    by_recipe = recipe(name)
    with by_recipe.app.app_context():
        assert check_app(by_recipe.app).errors == []
    default = by_default(by_recipe)
    mails: list[dict[str, Any]] = []
    for language in LANGUAGES:
        email, answers = f"ada-{language}@example.com", []
        for example in (default, by_recipe):
            if way == "the notice":
                example.add_users({"email": email})
            answers.append(sign_up(example, email, language=language))
        servers.work()
        assert [answer.status_code for answer in answers] == [201 if way == "the account at sign-up" else 202] * 2
        expected, *sent = [told(message) for message in servers.smtp.messages]
        sent += [told_by_service(mail) for mail in servers.service.mails]
        assert sent == [expected]
        assert ("signature=" in expected["text"]) == (way != "the notice")
        mails.append(expected)
        servers.smtp.messages.clear()
        servers.service.mails.clear()
    assert mails[0]["headers"] == {"Message-ID": "<...@shop.example>", "Auto-Submitted": "auto-generated"}
    assert len({mail["subject"] for mail in mails}) == len(LANGUAGES)


Fault = Callable[[Servers, pytest.MonkeyPatch], object]


def smtp_replies(**replies: object) -> Fault:
    return lambda servers, _: vars(servers.smtp).update(replies)


def service_answers(status: str, body: bytes = b"", *headers: str) -> Fault:
    answer = http(body, status=status, headers=headers) if status else b""
    return lambda servers, _: vars(servers.service).update(answer=answer)


def is_down(name: str) -> Fault:
    return lambda servers, _: getattr(servers, name).stop()


def environment_has(name: str, value: str) -> Fault:
    return lambda _, monkeypatch: monkeypatch.setenv(name, value)


def another_redis(*, is_down: bool) -> Fault:
    def replace(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
        if is_down:
            servers.service.stop()  # which else waits for the end of a request of HTTP, and says nothing
        monkeypatch.setenv("RQ_REDIS_URL", f"redis://127.0.0.1:{servers.service.port}/0")

    return replace


OURS, THEIRS = (503, "email-not-sent"), (400, "invalid")

#: By what stands in for the mail server: the faults, the answer, and what the log says.
SMTP: dict[str, tuple[Fault, tuple[int, str], str]] = {
    "down": (is_down("smtp"), OURS, "ConnectionRefusedError"),
    "silent": (smtp_replies(fault=Silence("CONNECT")), OURS, "TimeoutError"),
    "stranger": (environment_has("SSL_CERT_FILE", os.devnull), OURS, "SSLCertVerificationError"),
    "log-in": (smtp_replies(login=("shop", "another")), OURS, "SMTPAuthenticationError"),
    "relay": (smtp_replies(rcpt_reply="550 5.7.1 not <ada@example.com>"), OURS, "SMTPRecipientsRefused"),
    "text": (smtp_replies(text_reply="451 4.3.0 <ada@example.com> later"), OURS, "SMTPDataError"),
    "mailbox": (smtp_replies(rcpt_reply="550 5.1.1 <ada@example.com>"), THEIRS, "recipient refused, 550 5.1.1"),
}
HTTP: dict[str, tuple[Fault, tuple[int, str], str]] = {
    "down": (is_down("service"), OURS, "ConnectionError"),
    "silent": (service_answers(""), OURS, "ReadTimeout"),
    "wrong key": (environment_has("MAIL_API_KEY", "another"), OURS, "the service answered 401"),
    "broken key": (environment_has("MAIL_API_KEY", f"{KEY}\n"), OURS, "email-not-sent: "),
    "quota": (service_answers("429 Too Many Requests"), OURS, "the service answered 429"),
    "redirect": (service_answers("302 Found", b"", "Location: /messages"), OURS, "the service answered 302"),
    "no JSON": (service_answers("422 Unprocessable Content"), OURS, "JSONDecodeError"),
    "no code": (service_answers("422 Unprocessable Content", b"{}"), OURS, "KeyError"),
    "content": (service_answers("422 Unprocessable Content", b'{"code": "content"}'), OURS, "answered 422"),
    "mailbox": (
        service_answers("422 Unprocessable Content", b'{"code": "invalid-recipient"}'),
        THEIRS,
        "the service refused the recipient",
    ),
}
REDIS: dict[str, tuple[Fault, tuple[int, str], str]] = {
    "down": (another_redis(is_down=True), OURS, "ConnectionError"),
    "silent": (another_redis(is_down=False), OURS, "TimeoutError"),
}
FAULTS = {"by_mailman": SMTP, "by_smtplib": SMTP, "by_http": HTTP, "by_rq": REDIS}


@pytest.mark.parametrize("way", [{}, EMAIL_FIRST], ids=["register", "e-mail first"])
@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_a_recipe_that_fails_stores_nothing_and_is_logged_once_without_secrets(
    recipe: Callable[[str], Example],
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    fault: str,
    way: dict[str, str],
) -> None:
    break_it, (status, code), reason = FAULTS[name][fault]
    break_it(servers, monkeypatch)
    give_settings(monkeypatch, **way, **({"MAIL_TIMEOUT": "0.3"} if fault == "silent" else {}))
    example = recipe(name)
    answer = refused(sign_up(example, "ada@example.com"), status, code)
    assert answer.get("errors", {}).keys() == ({"email"} if code == "invalid" else set())
    assert (example.users(), servers.smtp.messages, servers.service.mails) == ([], [], [])
    assert mails_noted(example) == ([0] if way else [])
    (record,) = [record for record in caplog.records if record.name == example.app.logger.name]
    assert record.levelno == (logging.WARNING if code == "invalid" else logging.ERROR)
    line = record.getMessage()
    assert reason in line
    assert secrets_in(line) == []


@pytest.mark.parametrize("name", ["by_mailman", "by_smtplib"])
def test_a_fault_after_the_mail_was_accepted_keeps_the_account(
    recipe: Callable[[str], Example], servers: Servers, name: str
) -> None:
    servers.smtp.fault = CloseDown("QUIT")
    example = recipe(name)
    assert sign_up(example, "ada@example.com").status_code == 201
    assert (len(example.users()), len(servers.smtp.messages)) == (1, 1)


def mails_noted(example: Example) -> list[int]:
    """Return what the pending registrations say of the mails that were sent."""
    with example.app.app_context():
        return list(example.db.session.scalars(sa.text("SELECT mails FROM pending_registration")))


def secrets_in(text: str) -> list[str]:
    return re.findall(rf"ada@|ada%40|signature=\w|(?<![\w-])[\w-]{{43}}(?![\w-])|{PASSWORD}|{KEY}", text)


@pytest.mark.parametrize(("way", "held"), [({}, 1), (EMAIL_FIRST, 0)], ids=["register", "e-mail first"])
def test_a_recipe_holds_a_connection_to_the_database_at_sign_up_alone(
    recipe: Callable[[str], Example], servers: Servers, monkeypatch: pytest.MonkeyPatch, way: dict[str, str], held: int
) -> None:
    give_settings(monkeypatch, **way)
    example = recipe("by_smtplib")
    with example.app.app_context():
        pool: Any = example.db.engine.pool
    found: list[int] = []
    servers.smtp.on_text = lambda: found.append(pool.checkedout())
    assert sign_up(example, "ada@example.com").status_code in {201, 202}
    assert found == [held]


def test_the_worker_tries_again_and_tells_nobody_address_or_link(
    recipe: Callable[[str], Example], servers: Servers, tmp_path: Path
) -> None:
    example = recipe("by_rq")
    application, worker = re.findall(r"\$ (.*)", "".join(texts(DOCS / "transports.rst", "console")))
    assert application == "flask --app by_rq run"
    servers.smtp.text_reply = "451 4.3.0 <ada@example.com> try later"
    assert sign_up(example, "ada@example.com").status_code == 201
    with Redis.from_url(servers.redis.url) as connection:
        outputs = [run(worker, tmp_path)]
        job = make_due(connection)
        kept = connection.hgetall(job)
        servers.smtp.text_reply = None
        outputs.append(run(worker, tmp_path))
        assert connection.exists(job) == 0
    assert (kept[b"description"], kept[b"retries_left"]) == (b"a mail of registration", b"3")
    assert "RuntimeError: SMTPDataError" in outputs[0]
    assert secrets_in("".join(outputs)) == []
    assert example.post("verify-registration", values_of(link_in(servers.smtp.message))).status_code == 200


def test_a_mail_that_cannot_be_sent_is_given_up_after_four_retries_and_kept(
    recipe: Callable[[str], Example], servers: Servers
) -> None:
    example = recipe("by_rq")
    servers.smtp.rcpt_reply = "550 5.1.1 no such user"
    assert sign_up(example, "ada@example.com").status_code == 201
    with Redis.from_url(servers.redis.url) as connection:
        servers.work()
        jobs = set()
        for _ in range(4):
            jobs.add(make_due(connection))
            servers.work()
        failed = Queue("mails", connection=connection).failed_job_registry.get_job_ids()
        assert {f"rq:job:{job_id}" for job_id in failed} == jobs
        assert 86000 < connection.ttl(jobs.pop()) <= 86400
    assert servers.smtp.connections == 5


def make_due(connection: Redis) -> str:
    """Let the time come at which RQ tries the only job again, and return the job's key."""
    scheduled = Queue("mails", connection=connection).scheduled_job_registry
    (job_id,) = scheduled.get_job_ids()
    connection.zadd(scheduled.key, {job_id: 0})
    return f"rq:job:{job_id}"


def run(command: str, folder: Path) -> str:
    """Type a worker's command, which here ends when the queue is empty, and return what it prints."""
    roots = [Path(__file__).parents[2], Path(flask_rest_registration.__file__).parents[1]]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, roots)),
    }
    done = subprocess.run(
        [*command.split(), "--burst"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
