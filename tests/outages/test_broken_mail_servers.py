"""Mail servers that misbehave: bounded in time, nothing stored, the reason in the log, and the next request works."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Barrier, Event, Thread

import pytest
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from tests.support.answers import field_errors, refused
from tests.support.apps import REGISTER, Builder, Built, HasPort
from tests.support.clock import Clock
from tests.support.concurrency import at_once, until
from tests.support.database_servers import new_database, text_of
from tests.support.mail_servers import CloseDown, Drip, HangUp, RecordingServer, Silence, Step
from tests.support.pending import EMAIL_FIRST, WITH_RESEND, add_account, ask, post_address

# Each test names the servers that it needs: the suite's runs on servers need not repeat it.
pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.programs]

BOB = "bob@example.com"
QUOTED = "5.1.1 <ann@example.com> <bob@example.com> https://frontend.example/?signature=x"
TLS: dict[str, object] = {"use_ssl": True}


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


#: By name: the server, how the app reaches it by the names of Flask-Mail's state, and what the log says.
CASES: dict[str, tuple[Callable[[], AbstractContextManager[HasPort]], dict[str, object], str]] = {
    "connection refused": (gone, {}, "ConnectionRefusedError, Connection refused"),
    "421 on connect": (partial(RecordingServer, fault=CloseDown()), {}, "SMTPConnectError, 421"),
    "451 at RCPT": (partial(RecordingServer, rcpt_reply=f"451 {QUOTED}"), {}, "recipient refused, 451 5.1.1"),
    "550 at RCPT": (partial(RecordingServer, rcpt_reply=f"550 {QUOTED}"), {}, "recipient refused, 550 5.1.1"),
    "a certificate that does not verify": (partial(RecordingServer, security="tls"), TLS, "SSLCertVerificationError, "),
    "TLS at a port without it": (RecordingServer, TLS, "SSLError, WRONG_VERSION_NUMBER"),
    "drops in the middle of DATA": (partial(RecordingServer, fault=HangUp("TEXT")), {}, "SMTPServerDisconnected"),
}

#: Those that would take for ever. To drip a byte a second makes no single operation take as long as the time-out.
HANGING: list[tuple[Callable[[], AbstractContextManager[HasPort]], dict[str, object]]] = [
    (partial(RecordingServer, fault=Silence("CONNECT")), {}),
    (partial(RecordingServer, fault=Drip("RCPT", interval=1)), {}),
    (stalling_in_tls, TLS),
    (partial(RecordingServer, fault=Silence("CONNECT")), TLS),
    *[(partial(RecordingServer, fault=fault), {}) for fault in (Silence("EHLO"), Silence("DATA"), Silence("TEXT"))],
    (partial(RecordingServer, fault=Drip("CONNECT", interval=1)), {}),
    (partial(RecordingServer, fault=Drip("MAIL", interval=1)), {}),
    (partial(RecordingServer, fault=Drip("TEXT", interval=1)), {}),
]


def transport(built: Built, port: int, **changes: object) -> None:
    """Lead the app's mail to another server, as whoever runs it would."""
    vars(built.app.extensions["mail"]).update({"use_ssl": False, "port": port, **changes})


@dataclass(frozen=True)
class Action:
    """A request that sends a mail, its status when the mail goes out, and what it needs before."""

    send: Callable[[Built], TestResponse]
    success: int
    prepare: Callable[[Built], object] = lambda built: None
    settings: dict[str, object] = field(default_factory=dict)


ask_as_bob = partial(post_address, email=BOB)


def sign_up_as_bob(built: Built) -> None:
    assert built.register(email=BOB, username="bob").status_code == 201
    ask(built, BOB)


def make_bob_by_hand(built: Built) -> None:
    add_account(built, BOB, email_verified_at=datetime(2023, 1, 1))  # noqa: DTZ001
    ask(built, BOB)


#: In all of them but the first Bob got a mail before, so that there is a pending registration.
ACTIONS = {
    "register": Action(Built.register, 201),
    "resend": Action(ask_as_bob, 202, prepare=sign_up_as_bob, settings=WITH_RESEND),
    "e-mail first": Action(ask_as_bob, 202, prepare=ask_as_bob, settings=EMAIL_FIRST),
    "notice": Action(ask_as_bob, 202, prepare=make_bob_by_hand, settings=EMAIL_FIRST),
}


def stored(built: Built) -> object:
    return built.rows(), built.pending_rows()


def logged_reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the reasons in the log, which has neither addresses nor links nor log-ins."""
    reasons = []
    for record in caplog.records:
        if not record.name.startswith("mail."):  # the tests' own mail server
            before, _, reason = record.getMessage().partition(": ")
            assert before in {"email-not-sent", "A verification mail was not sent", "A mail was not sent"}
            assert [secret for secret in ("@", "://", "signature=") if secret in reason] == []
            reasons.append(reason)
    return reasons


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
def test_a_server_that_misbehaves_leaves_nothing_stored_and_the_next_request_works(
    build: Builder, smtp: RecordingServer, clock: Clock, caplog: pytest.LogCaptureFixture, name: str, what: str
) -> None:
    (misbehaving, reach, reason), action = CASES[name], ACTIONS[what]
    built = build(pending=True, registration=action.settings)
    action.prepare(built)
    clock.move(3600)
    before = stored(built)
    with misbehaving() as server:
        transport(built, server.port, **reach)
        caplog.clear()
        answer = action.send(built)
    if name == "550 at RCPT":
        assert list(field_errors(answer)) == ["email"]
    else:
        refused(answer, 503, "email-not-sent")
    (logged,) = logged_reasons(caplog)
    assert logged.startswith(reason)
    assert stored(built) == before
    demand_success(built, smtp, action)


@pytest.mark.slow
@pytest.mark.usefixtures("trusted_certificate")
def test_servers_that_hang_are_left_in_time_and_the_next_request_works(
    build: Builder, smtp: RecordingServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # Long enough to come so far as each server hangs, also on a busy machine.
    limit = {"VERIFICATION_EMAIL_TIMEOUT": 5}
    apps = [
        (build(pending=True, registration={**limit, **action.settings}), action, *hanging)
        for name, action in ACTIONS.items()
        for hanging in HANGING[: 10 if name == "register" else 3]
    ]
    for built, action, *_ in apps:
        action.prepare(built)
    clock.move(3600)
    before = [stored(built) for built, *_ in apps]
    with ExitStack() as stack:
        for built, _, hanging, reach in apps:
            transport(built, stack.enter_context(hanging()).port, **reach)
        caplog.clear()
        # In threads, which are given up where one takes for ever.
        began = time.monotonic()
        outcome = at_once(len(apps), lambda number: apps[number][1].send(apps[number][0]))
    assert time.monotonic() - began < 20
    assert outcome.errors == []
    for answer in outcome.results:
        refused(answer, 503, "email-not-sent")
    assert logged_reasons(caplog) == ["time-out"] * len(apps)
    assert [stored(built) for built, *_ in apps] == before
    for built, action, *_ in apps:
        demand_success(built, smtp, action)


@pytest.mark.slow
@pytest.mark.parametrize("silent", [1, 2, 4])
def test_a_silent_address_of_the_mail_server_leaves_time_for_the_next(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        stack.enter_context(socket.create_connection(full.getsockname()))  # from now on it answers nobody
        ports = [full.getsockname()[1]] * silent + [smtp.port]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        built = build(registration={"VERIFICATION_EMAIL_TIMEOUT": 4}, config={"MAIL_SERVER": "mail.example"})
        assert built.register().status_code == 201


WAITING, POOL = 30, 5


@pytest.mark.parametrize(("is_email_first", "at"), [(False, "RCPT"), (True, "RCPT"), (True, "CONNECT")])
@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mariadb"])
def test_while_30_sign_ups_wait_for_a_silent_server_a_page_has_all_5_connections(
    build: Builder, smtp: RecordingServer, database: str, is_email_first: bool, at: Step
) -> None:
    all_are_in = Barrier(POOL)
    options = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": 20}
    with ExitStack() as stack:
        silent = stack.enter_context(RecordingServer(fault=Silence(at)))
        uri = None if database == "sqlite" else text_of(stack.enter_context(new_database(database)))
        built = build(
            database_uri=uri,
            mail=silent,
            pending=True,
            # Nobody waits for 600 seconds: the server ends.
            registration={"REGISTER_EMAIL_FIRST": is_email_first, "VERIFICATION_EMAIL_TIMEOUT": 600},
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
