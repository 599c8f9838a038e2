"""Mail servers that misbehave: bounded in time, nothing stored, the reason in the log, and the next request works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from tests.support.answers import field_errors, refused
from tests.support.apps import REGISTER, RESEND, Builder, Built, HasPort
from tests.support.clock import Clock
from tests.support.concurrency import at_once, until
from tests.support.database_servers import new_database
from tests.support.mail_servers import (
    CERTIFICATE,
    DrippingServer,
    DroppingServer,
    Moment,
    RecordingServer,
    Rejecting421,
    SilentServer,
)

# Each test names the servers that it needs: the suite's runs on servers need not repeat it.
pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.programs]

BOB = "bob@example.com"


# The servers


@contextmanager
def gone() -> Iterator[HasPort]:
    with RecordingServer() as server:
        pass
    yield server


@contextmanager
def stalling_in_tls() -> Iterator[HasPort]:
    """Takes the whole text through TLS, and says nothing about it."""
    over = Event()
    with RecordingServer(security="tls", on_text=lambda: over.wait(60)) as server:
        yield server
        over.set()


@dataclass(frozen=True)
class Case:
    """A server that misbehaves.

    :param server: the server.
    :param reason: what the log says.
    :param comes_late: whether the connection is ready before it misbehaves.
    :param refuses_recipient: whether it says that there is no such recipient.
    :param transport: how the app reaches it, by the names of Flask-Mail's state.
    :param trusts: whether the app trusts who signed the tests' certificate.
    """

    server: Callable[[], AbstractContextManager[HasPort]]
    reason: str
    comes_late: bool = False
    refuses_recipient: bool = False
    transport: dict[str, object] = field(default_factory=dict)
    trusts: bool = False


def silent(moment: Moment, **options: Any) -> Case:
    return Case(partial(SilentServer, at=moment), "time-out", **options)


def dripping(moment: Moment, **options: Any) -> Case:
    """A byte a second: no single operation takes as long as the time-out."""
    return Case(partial(DrippingServer, at=moment, interval=1), "time-out", **options)


QUOTED = "5.1.1 <ann@example.com> <bob@example.com> https://frontend.example/?signature=x"
TLS: dict[str, object] = {"use_ssl": True}
STARTTLS: dict[str, object] = {"use_tls": True}
LATE: Any = {"comes_late": True}

CASES: dict[str, Case] = {
    "connection refused": Case(gone, "ConnectionRefusedError, Connection refused"),
    "421 on connect": Case(Rejecting421, "SMTPConnectError, 421"),
    "451 at RCPT": Case(partial(RecordingServer, rcpt_reply=f"451 {QUOTED}"), "recipient refused, [451]", **LATE),
    "550 at RCPT": Case(
        partial(RecordingServer, rcpt_reply=f"550 {QUOTED}"), "recipient refused, [550]", **LATE, refuses_recipient=True
    ),
    "drops in the middle of DATA": Case(partial(DroppingServer, at="TEXT"), "SMTPServerDisconnected", **LATE),
    "demands STARTTLS": Case(partial(RecordingServer, security="starttls"), "SMTPSenderRefused, 530", **LATE),
    "a certificate that does not verify": Case(
        partial(RecordingServer, security="tls"), "SSLCertVerificationError, ", transport=TLS
    ),
    "a certificate that does not verify after STARTTLS": Case(
        partial(RecordingServer, security="starttls"), "SSLCertVerificationError, ", transport=STARTTLS
    ),
    "a certificate for another name": Case(
        partial(RecordingServer, security="tls"),
        "SSLCertVerificationError, ",
        transport={**TLS, "server": "127.1"},  # another name of 127.0.0.1
        trusts=True,
    ),
    "wrong log-in": Case(
        partial(RecordingServer, login=("app", "right")),
        "SMTPAuthenticationError, 535",
        transport={"username": "app", "password": "wrong-of-smtp"},
    ),
}

#: Those that would take for ever.
HANGING: dict[str, Case] = {
    "accepts and never answers": silent("CONNECT"),
    "greets and never answers": silent("EHLO"),
    "accepts and never shakes hands": silent("CONNECT", transport=TLS),
    "drips its greeting": dripping("CONNECT"),
    "drips its answer to RCPT": dripping("RCPT", **LATE),
    "drips its answer to the text": dripping("TEXT", **LATE),
    "stalls at DATA": silent("DATA", **LATE),
    "stalls after DATA": silent("TEXT", **LATE),
    "stalls after DATA in TLS": Case(stalling_in_tls, "time-out", **LATE, transport=TLS),
}


def transport(built: Built, port: int, **changes: object) -> None:
    """Lead the app's mail to another server, as whoever runs it would."""
    usual = {"server": "127.0.0.1", "use_ssl": False, "use_tls": False, "username": None, "password": None}
    vars(built.app.extensions["mail"]).update({**usual, "port": port, **changes})


# The requests


EMAIL_FIRST: dict[str, object] = {"REGISTER_EMAIL_FIRST": True}


@dataclass(frozen=True)
class Action:
    """A request that sends a mail.

    :param send: the request.
    :param success: its status when the mail goes out.
    :param prepare: brings the app to where the request makes sense.
    :param settings: what switches it on.
    """

    send: Callable[[Built], TestResponse]
    success: int
    prepare: Callable[[Built], object] = lambda built: None
    settings: dict[str, object] = field(default_factory=dict)


def sign_up_as_bob(built: Built) -> None:
    assert built.register(email=BOB, username="bob").status_code == 201
    assert ask_again(built).status_code == 202


def ask_again(built: Built) -> TestResponse:
    return built.post(RESEND, {"email": BOB})


def ask_first(built: Built) -> TestResponse:
    return built.post(REGISTER, {"email": BOB})


def make_bob_by_hand(built: Built) -> None:
    with built.app.app_context():
        bob = built.User(email=BOB, username="bob", password_hash="x", email_verified_at=datetime(2023, 1, 1))  # noqa: DTZ001
        built.db.session.add(bob)
        built.db.session.commit()
    assert ask_first(built).status_code == 202


#: In all of them but the first Bob got a message before, so that there is a pending registration.
ACTIONS = {
    "register": Action(Built.register, 201),
    "resend": Action(ask_again, 202, prepare=sign_up_as_bob, settings={"REGISTER_VERIFICATION_RESEND_ENABLED": True}),
    "e-mail first": Action(ask_first, 202, prepare=ask_first, settings=EMAIL_FIRST),
    "notice": Action(ask_first, 202, prepare=make_bob_by_hand, settings=EMAIL_FIRST),
}


def stored(built: Built) -> object:
    return built.rows(), built.pending_rows()


def demand_failure(answer: TestResponse, case: Case) -> None:
    if case.refuses_recipient:
        assert list(field_errors(answer)) == ["email"]
    else:
        refused(answer, 503, "email-not-sent")


def told_reason(line: str) -> str:
    """Return the reason of a line in the log, which has neither addresses nor links nor log-ins."""
    before, _, reason = line.partition(": ")
    assert before in {"email-not-sent", "A verification mail was not sent", "A message was not sent"}
    assert [secret for secret in ("@", "://", "signature=", "of-smtp") if secret in line] == []
    return reason


def logged_reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    # The tests' own mail server logs as well.
    return [told_reason(record.getMessage()) for record in caplog.records if not record.name.startswith("mail.")]


def demand_success(built: Built, smtp: RecordingServer, action: Action) -> None:
    """Send the same request when the server works again."""
    before = stored(built)
    smtp.messages.clear()
    transport(built, smtp.port)
    assert action.send(built).status_code == action.success
    assert len(smtp.messages) == 1
    assert stored(built) != before


@pytest.mark.parametrize("what", ACTIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_server_that_misbehaves_leaves_nothing_stored_and_a_reason_in_the_log_and_the_next_request_works(
    build: Builder,
    smtp: RecordingServer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    what: str,
) -> None:
    case, action = CASES[name], ACTIONS[what]
    if case.trusts:
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    built = build(pending=True, registration=action.settings)
    action.prepare(built)
    clock.move(3600)
    before = stored(built)

    with case.server() as server:
        transport(built, server.port, **case.transport)
        caplog.clear()
        answer = action.send(built)
    demand_failure(answer, case)
    (reason,) = logged_reasons(caplog)
    assert reason.startswith(case.reason)
    assert stored(built) == before
    demand_success(built, smtp, action)


@pytest.mark.parametrize("what", ACTIONS)
@pytest.mark.usefixtures("trusted_certificate")
def test_servers_that_hang_are_left_when_the_time_is_over_with_nothing_stored_and_the_next_request_works(
    build: Builder, smtp: RecordingServer, clock: Clock, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    action, cases = ACTIONS[what], list(HANGING.values())
    # Long enough to come so far as each server hangs, also on a busy machine.
    settings = {"VERIFICATION_EMAIL_TIMEOUT": 5, **action.settings}
    apps = [build(pending=True, registration=settings) for _ in cases]
    for built in apps:
        action.prepare(built)
    clock.move(3600)
    before = [stored(built) for built in apps]

    with ExitStack() as stack:
        for built, case in zip(apps, cases, strict=True):
            transport(built, stack.enter_context(case.server()).port, **case.transport)
        caplog.clear()
        # In threads, which are given up where one takes for ever.
        outcome = at_once(len(cases), lambda number: (cases[number], action.send(apps[number])))
    assert outcome.errors == []
    for case, answer in outcome.results:
        demand_failure(answer, case)
    assert logged_reasons(caplog) == [case.reason for case in cases]
    assert [stored(built) for built in apps] == before
    for built in apps:
        demand_success(built, smtp, action)


# Many that wait


@contextmanager
def sqlite_file() -> Iterator[str | None]:
    yield None


@contextmanager
def server(variable: str) -> Iterator[str | None]:
    with new_database(variable) as url:
        yield url.render_as_string(hide_password=False)


DATABASES: dict[str, Callable[[], AbstractContextManager[str | None]]] = {
    "SQLite": sqlite_file,
    "PostgreSQL": partial(server, "postgresql"),
    "MariaDB": partial(server, "mariadb"),
}
WAITING, POOL = 30, 5


@pytest.mark.parametrize("at", ["CONNECT", "EHLO"])
@pytest.mark.parametrize("is_email_first", [False, True], ids=["account at sign-up", "e-mail first"])
@pytest.mark.parametrize("database", DATABASES)
def test_while_30_sign_ups_wait_for_a_silent_server_another_page_has_all_5_connections_of_the_pool(
    build: Builder, smtp: RecordingServer, database: str, is_email_first: bool, at: Moment
) -> None:
    all_are_in = Barrier(POOL)
    options = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": 20}
    with DATABASES[database]() as uri, SilentServer(at=at) as silent:
        built = build(
            database_uri=uri,
            mail=silent,
            pending=True,
            registration={
                "REGISTER_EMAIL_FIRST": is_email_first,
                "VERIFICATION_EMAIL_TIMEOUT": 600,  # nobody waits for that: the server ends
            },
            config={"SQLALCHEMY_ENGINE_OPTIONS": options},
        )

        @built.app.get("/page")
        def page() -> dict[str, int]:
            users = built.db.session.scalar(select(func.count()).select_from(built.User))
            all_are_in.wait(20)  # each with a connection of its own
            return {"users": users or 0}

        answers: list[int] = []

        def sign_up(name: object) -> int:
            address = {"email": f"{name}@example.com"}
            body = address if is_email_first else built.body(**address, username=str(name))
            return built.post(REGISTER, body).status_code

        waiting = Thread(target=at_once, args=(WAITING, lambda number: answers.append(sign_up(number))), daemon=True)
        waiting.start()
        until(lambda: silent.connections == WAITING)
        try:
            for _ in range(10):
                pages = at_once(POOL, lambda _: built.client().get("/page").get_json())
                assert (pages.errors, pages.results) == ([], [{"users": 0}] * POOL)
            assert answers == [], "they no longer waited"
        finally:
            silent.stop()
            waiting.join(60)
        assert answers == [503] * WAITING

        transport(built, smtp.port)
        assert sign_up("ann") == (202 if is_email_first else 201)
        assert [message["To"] for message in smtp.messages] == ["ann@example.com"]
        noted = built.pending_rows() if is_email_first else built.rows()
        assert [row["email"] for row in noted if row.get("mails", 1)] == ["ann@example.com"]
        built.dispose()
