"""The two signals: who gets them, with what, when, and what a receiver may do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Flask
from sqlalchemy.orm import object_session

from flask_rest_registration import user_activated, user_registered
from tests.support.apps import REGISTER, VERIFY, Builder
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

Receiver = Callable[..., Any]


@contextmanager
def received_by(app: Flask, signal: NamedSignal, *receivers: Receiver) -> Iterator[None]:
    """Connect receivers; local functions live as long as the block."""
    with ExitStack() as stack:
        for receiver in receivers:
            stack.enter_context(signal.connected_to(receiver, app))
        yield


def in_turn(*receivers: Receiver) -> list[Receiver]:
    """Return as many receivers; the first that is called, in Blinker's unreliable order, does what the first does."""
    waiting = iter(receivers)
    return [lambda sender, **keywords: next(waiting)(sender, **keywords) for _ in receivers]


class Calls(list[object]):
    """A receiver that keeps its senders."""

    def __call__(self, sender: object, **keywords: Any) -> None:
        self.append(sender)


class Step:
    """One of the two signals with the request that sends it.

    :param name: of the request; with e-mail first one request sends both signals, of which this is about one.
    """

    def __init__(self, name: str, build: Builder, smtp: RecordingServer) -> None:
        request, _, told = name.partition(": ")
        is_email_first = bool(told)
        settings = {"REGISTER_EMAIL_FIRST": is_email_first}
        self.built = build(pending=True, registration=settings, config={"TESTING": False})
        self.signal = user_activated if "user-activated" in (request, told) else user_registered
        #: Whether the account is verified when the signal is sent, and what is sent besides.
        self.is_verified = is_email_first or self.signal is user_activated
        self.others = int(is_email_first)
        self.success = 200 if request == "user-activated" else 201
        self.path = f"{self.built.url_prefix}/{REGISTER if request == 'user-registered' else VERIFY}"
        self._body = self.built.body()
        if is_email_first:
            assert self.built.post(REGISTER, {"email": "ann@example.com"}).status_code == 202
            self._body |= values_of(link_in(smtp.message))
        elif self.is_verified:
            assert self.built.register().status_code == 201
            self._body = dict(values_of(link_in(smtp.message)))

    def take(self) -> int:
        """Send the request and return the answer's status."""
        self.answer = self.built.client().post(self.path, json=self._body)
        return self.answer.status_code


@pytest.fixture(
    params=["user-registered", "user-activated", "e-mail first: user-registered", "e-mail first: user-activated"]
)
def step(request: pytest.FixtureRequest, build: Builder, smtp: RecordingServer) -> Step:
    return Step(request.param, build, smtp)


def test_a_receiver_gets_the_real_app_and_the_real_request_no_proxies(step: Step) -> None:
    seen: list[tuple[object, ...]] = []

    def receive(sender: object, user: Any, request: Any, **extra: Any) -> None:
        seen.append((sender is step.built.app, type(request), request.path, request.method, user.email, extra))

    with received_by(step.built.app, step.signal, receive):
        assert step.take() == step.success
    assert seen == [(True, step.built.app.request_class, step.path, "POST", "ann@example.com", {})]


def test_the_signal_is_sent_once_to_each_receiver_of_its_app(build: Builder, step: Step) -> None:
    app = step.built.app
    own, disconnected, of_another_app, of_all, others = [Calls(), Calls()], Calls(), Calls(), Calls(), Calls()
    other = user_activated if step.signal is user_registered else user_registered
    with received_by(app, step.signal, disconnected):
        pass
    with (
        received_by(app, step.signal, *own),
        received_by(build().app, step.signal, of_another_app),
        step.signal.connected_to(of_all),
        received_by(app, other, others),
    ):
        assert step.take() == step.success
    assert [*own, of_all] == [[app]] * 3
    assert disconnected == of_another_app == []
    assert len(others) == step.others


def test_a_muted_signal_is_not_sent(step: Step) -> None:
    calls = Calls()
    with received_by(step.built.app, step.signal, calls), step.signal.muted():
        assert step.take() == step.success
    assert calls == []


def test_the_signal_is_sent_after_the_commit(step: Step) -> None:
    seen: list[tuple[int, bool]] = []

    def receive(sender: Flask, user: Any, request: Any) -> None:
        with step.built.outside() as connection:  # which sees only what is committed
            row = connection.execute("SELECT id, email_verified_at FROM user").one()
        seen.append((row.id, row.email_verified_at is not None))

    with received_by(step.built.app, step.signal, receive):
        step.take()
    assert seen == [(1, step.is_verified)]


def test_the_user_is_persistent_in_the_session_and_not_expired(step: Step) -> None:
    engine = step.built.engine
    seen: list[tuple[object, list[str], bool]] = []

    def receive(sender: Flask, user: Any, request: Any) -> None:
        session = step.built.db.session()
        with recorded(engine) as statements:
            verified = user.email_verified_at is not None
            assert (user.id, user.email, user.username) == (1, "ann@example.com", "ann")
        seen.append((object_session(user) is session and user in session, statements.kinds, verified))

    with received_by(step.built.app, step.signal, receive):
        assert step.take() == step.success
    assert seen == [(True, [], step.is_verified)]


@pytest.mark.parametrize("commits", [True, False])
def test_what_a_receiver_changes_is_stored_only_if_it_commits_and_never_answered(step: Step, commits: bool) -> None:
    def receive(sender: Flask, user: Any, request: Any) -> None:
        user.username = "changed"
        if commits:
            step.built.db.session.commit()

    receivers = [receive, fail] if commits else [receive]
    with received_by(step.built.app, step.signal, *in_turn(*receivers)):
        assert step.take() == step.success
    assert step.built.row()["username"] == ("changed" if commits else "ann")
    assert "changed" not in step.answer.text


def test_an_async_receiver_is_run_to_its_end(step: Step) -> None:
    seen: list[str] = []

    async def receive(sender: Flask, user: Any, request: Any) -> None:
        seen.append(user.email)

    def receive_plainly(sender: Flask, **keywords: Any) -> None:
        seen.append("plain")

    with received_by(step.built.app, step.signal, receive, receive_plainly):
        assert step.take() == step.success
    assert sorted(seen) == ["ann@example.com", "plain"]


def test_a_receiver_may_send_requests_of_its_own(step: Step) -> None:
    built = step.built
    statuses: list[int] = []
    body = {"email": "bob@example.com"} if step.others else built.body(email="bob@example.com", username="bob")

    def receive(sender: Flask, user: Any, request: Any) -> None:
        if not statuses:
            statuses.append(0)
            statuses.append(built.post(REGISTER, body).status_code)

    with received_by(built.app, step.signal, receive):
        assert step.take() == step.success
    assert statuses == [0, 202 if step.others else 201]
    assert len(built.rows()) + len(built.pending_rows()) == (3 if step.others else 2)


def fail(sender: Flask, **keywords: Any) -> None:
    raise LookupError("the receiver's own fault")


async def fail_async(sender: Flask, **keywords: Any) -> None:
    raise LookupError("from a coroutine")


def test_after_a_receiver_that_raised_the_next_ones_run(step: Step, caplog: pytest.LogCaptureFixture) -> None:
    before, after = Calls(), Calls()
    receivers = [*in_turn(before, fail, fail, after), fail_async]
    with received_by(step.built.app, step.signal, *receivers):
        assert step.take() == step.success
    assert before == after == [step.built.app]
    errors = [record.name for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == [step.built.app.logger.name] * 3
    assert caplog.text.count("LookupError: the receiver's own fault") == 2
    assert "LookupError: from a coroutine" in caplog.text
    assert len(step.built.rows()) == 1


def test_the_session_is_rolled_back_after_a_receiver_that_raised(step: Step, caplog: pytest.LogCaptureFixture) -> None:
    db, user_class = step.built.db, step.built.User
    seen: list[tuple[str, str]] = []

    def spoil(sender: Flask, user: Any, request: Any) -> None:
        user.username = "spoilt"
        db.session.flush()
        raise LookupError("after a flush")

    def spoil_the_flush(sender: Flask, user: Any, request: Any) -> None:
        db.session.add(user_class(email=user.email, username="other", password_hash="pbkdf2:secret"))
        db.session.flush()

    def receive(sender: Flask, user: Any, request: Any) -> None:
        seen.append((user.username, user.email))
        db.session.commit()

    with received_by(step.built.app, step.signal, *in_turn(spoil, receive, spoil_the_flush, receive, spoil)):
        assert step.take() == step.success
    assert seen == [("ann", "ann@example.com")] * 2
    assert step.built.row()["username"] == "ann"
    assert "IntegrityError" in caplog.text
    assert "pbkdf2:secret" not in caplog.text


@pytest.mark.parametrize("propagates", [None, False])  # None: as TESTING says
def test_where_flask_propagates_exceptions_the_first_is_raised_when_all_have_run(
    step: Step, propagates: bool | None
) -> None:
    raised: list[Exception] = []

    def fail(sender: Flask, **keywords: Any) -> None:
        raised.append(LookupError(f"fault {len(raised)}"))
        raise raised[-1]

    step.built.app.config["PROPAGATE_EXCEPTIONS"] = propagates
    step.built.app.config["TESTING"] = True
    before, after = Calls(), Calls()
    raising: AbstractContextManager[Any] = pytest.raises(LookupError) if propagates is None else nullcontext()
    with received_by(step.built.app, step.signal, *in_turn(before, fail, fail, after)), raising as caught:
        step.take()
    assert (len(before), len(raised), len(after)) == (1, 2, 1)
    assert caught is None or caught.value is raised[0]
    assert (step.built.row()["email_verified_at"] is not None) is step.is_verified
