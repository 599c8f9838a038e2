"""The two signals: who gets them, with what, when, and what a receiver may do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import object_session

from flask_rest_registration import user_activated, user_registered
from tests.support import models
from tests.support.apps import CHECK_LINK, REGISTER, VERIFY, Builder
from tests.support.databases import USERS
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

Receiver = Callable[..., Any]

#: Exceptions of receivers are logged and go no further, as in production.
PRODUCTION = {"TESTING": False}


@contextmanager
def received_by(app: Flask, signal: NamedSignal, *receivers: Receiver) -> Iterator[None]:
    """Connect receivers in this order; local functions live as long as the block."""
    for receiver in receivers:
        signal.connect(receiver, sender=app)
    try:
        yield
    finally:
        for receiver in receivers:
            signal.disconnect(receiver, sender=app)


def in_turn(*receivers: Receiver) -> list[Receiver]:
    """Return as many receivers, of which the first that is called does what the first of these does, and so on.

    Blinker calls receivers in no order that one may rely on.
    """
    waiting = iter(receivers)

    def make_one() -> Receiver:
        return lambda sender, **keywords: next(waiting)(sender, **keywords)

    return [make_one() for _ in receivers]


class Calls:
    """A receiver that keeps what it got."""

    def __init__(self) -> None:
        self.senders: list[object] = []
        self.keywords: list[dict[str, Any]] = []

    def __call__(self, sender: object, **keywords: Any) -> None:
        self.senders.append(sender)
        self.keywords.append(keywords)

    def __len__(self) -> int:
        return len(self.senders)


class Step:
    """One of the two signals with the request that sends it.

    :param name: of the request; with e-mail first one request sends both signals, of which this is about one.
    """

    def __init__(self, name: str, build: Builder, smtp: RecordingServer, **config: object) -> None:
        request, _, told = name.partition(": ")
        is_email_first = bool(told)
        self.built = build(pending=True, registration={"REGISTER_EMAIL_FIRST": is_email_first}, config=config)
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
        return self.built.client().post(self.path, json=self._body).status_code


@pytest.fixture(
    params=["user-registered", "user-activated", "e-mail first: user-registered", "e-mail first: user-activated"]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def step(build: Builder, smtp: RecordingServer, name: str) -> Step:
    return Step(name, build, smtp, **PRODUCTION)


@pytest.fixture
def testing_step(build: Builder, smtp: RecordingServer, name: str) -> Step:
    return Step(name, build, smtp, TESTING=True)


# What a receiver gets


def test_the_sender_is_the_app_and_user_and_request_are_keywords(step: Step) -> None:
    seen: list[tuple[object, set[str], str, str, str]] = []

    def receive(sender: object, user: Any, request: Any, **extra: Any) -> None:
        seen.append((sender, {"user", "request", *extra}, user.email, request.path, request.method))

    with received_by(step.built.app, step.signal, receive):
        assert step.take() == step.success
    assert seen == [(step.built.app, {"user", "request"}, "ann@example.com", step.path, "POST")]


def test_the_request_is_the_real_one_and_no_proxy(step: Step) -> None:
    seen: list[type] = []
    request_class = step.built.app.request_class

    def receive(sender: Flask, user: Any, request: Any) -> None:
        seen.append(type(request))

    with received_by(step.built.app, step.signal, receive):
        step.take()
    assert seen == [request_class]


def test_the_sender_is_the_real_app_and_no_proxy(step: Step) -> None:
    calls = Calls()
    with received_by(step.built.app, step.signal, calls):
        step.take()
    assert calls.senders[0] is step.built.app


def test_receivers_of_another_app_hear_nothing(build: Builder, step: Step) -> None:
    calls = Calls()
    with received_by(build().app, step.signal, calls):
        assert step.take() == step.success
    assert len(calls) == 0


def test_receivers_of_every_sender_hear_it(step: Step) -> None:
    calls = Calls()
    with step.signal.connected_to(calls):
        step.take()
    assert calls.senders == [step.built.app]


def test_the_signal_is_sent_once_and_the_other_one_only_where_one_request_does_both(step: Step) -> None:
    own, others = Calls(), Calls()
    other = user_activated if step.signal is user_registered else user_registered
    with (
        received_by(step.built.app, step.signal, own),
        received_by(step.built.app, other, others),
    ):
        step.take()
    assert (len(own), len(others)) == (1, step.others)


def test_user_activated_is_sent_once_for_a_link_that_is_used_twice(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    built.register()
    calls = Calls()
    with received_by(built.app, user_activated, calls):
        assert [built.verify(link_in(smtp.message)).status_code for _ in range(3)] == [200, 200, 200]
    assert len(calls) == 1


def test_without_verification_no_account_is_activated(build: Builder) -> None:
    built = build(models.boolean_flag, registration={"REGISTER_VERIFICATION_ENABLED": False})
    registered, activated = Calls(), Calls()
    with (
        received_by(built.app, user_registered, registered),
        received_by(built.app, user_activated, activated),
    ):
        assert built.register().status_code == 201
    assert (len(registered), len(activated)) == (1, 0)


def test_a_refused_request_sends_no_signal(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    registered, activated = Calls(), Calls()
    with (
        received_by(built.app, user_registered, registered),
        received_by(built.app, user_activated, activated),
    ):
        assert built.register(email="nobody").status_code == 400
        assert built.verify({"user_id": "1", "timestamp": "1", "signature": "x"}).status_code == 400
        smtp.text_reply = "451 later"
        assert built.register().status_code == 503
        smtp.text_reply = None
        assert built.register().status_code == 201
        assert built.register().status_code == 400
    assert (len(registered), len(activated)) == (1, 0)


def test_with_e_mail_first_no_signal_is_sent_before_the_account_is_made(build: Builder, smtp: RecordingServer) -> None:
    built = build(pending=True, registration={"REGISTER_EMAIL_FIRST": True})
    told: list[str] = []

    def registered(sender: Flask, **_: object) -> None:
        told.append("registered")

    def activated(sender: Flask, **_: object) -> None:
        told.append("activated")

    with received_by(built.app, user_registered, registered), received_by(built.app, user_activated, activated):
        built.post(REGISTER, {"email": "ann@example.com"})
        link = values_of(link_in(smtp.message))
        built.post(CHECK_LINK, link)
        assert built.post(VERIFY, {**built.body(username=""), **link}).status_code == 400
        assert told == []
        assert built.post(VERIFY, {**built.body(), **link}).status_code == 201
    assert told == ["registered", "activated"]


# When it is sent


def test_the_signal_is_sent_after_the_commit(step: Step) -> None:
    seen: list[tuple[int, bool]] = []
    # A connection of its own sees only what is committed.
    outside = create_engine(step.built.engine.url)

    def receive(sender: Flask, user: Any, request: Any) -> None:
        with outside.connect() as connection:
            row = connection.execute(text(f"SELECT id, email_verified_at FROM {USERS}")).one()
        seen.append((row[0], row[1] is not None))

    with received_by(step.built.app, step.signal, receive):
        step.take()
    outside.dispose()
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


def test_what_a_receiver_changes_and_commits_is_stored(step: Step) -> None:
    def receive(sender: Flask, user: Any, request: Any) -> None:
        user.username = "anna"
        step.built.db.session.commit()

    with received_by(step.built.app, step.signal, receive):
        assert step.take() == step.success
    assert step.built.row()["username"] == "anna"


def test_what_a_receiver_changes_and_does_not_commit_is_not_stored(step: Step) -> None:
    def receive(sender: Flask, user: Any, request: Any) -> None:
        user.username = "anna"

    with received_by(step.built.app, step.signal, receive):
        assert step.take() == step.success
    assert step.built.row()["username"] == "ann"


def test_the_answer_of_a_registration_is_made_before_its_signal(build: Builder) -> None:
    built = build()

    def receive(sender: Flask, user: Any, request: Any) -> None:
        user.username = "changed"
        built.db.session.commit()

    with received_by(built.app, user_registered, receive):
        answer = built.register()
    assert answer.get_json()["username"] == "ann"


# Who is asked


def test_several_receivers_run_one_by_one_and_all_of_them(step: Step) -> None:
    receivers = [Calls() for _ in range(5)]
    with received_by(step.built.app, step.signal, *receivers):
        step.take()
    assert [len(receiver) for receiver in receivers] == [1] * 5


def test_a_muted_signal_is_not_sent(step: Step) -> None:
    calls = Calls()
    with received_by(step.built.app, step.signal, calls), step.signal.muted():
        assert step.take() == step.success
    assert len(calls) == 0


def test_a_disconnected_receiver_is_not_called(step: Step) -> None:
    calls = Calls()
    with received_by(step.built.app, step.signal, calls):
        pass
    assert step.take() == step.success
    assert len(calls) == 0


def test_an_async_receiver_is_run_to_its_end(step: Step) -> None:
    seen: list[str] = []

    async def receive(sender: Flask, user: Any, request: Any) -> None:
        seen.append(user.email)

    with received_by(step.built.app, step.signal, receive):
        assert step.take() == step.success
    assert seen == ["ann@example.com"]


def test_async_and_plain_receivers_may_be_mixed(step: Step) -> None:
    seen: list[str] = []

    async def receive(sender: Flask, **keywords: Any) -> None:
        seen.append("async")

    def receive_plainly(sender: Flask, **keywords: Any) -> None:
        seen.append("plain")

    with received_by(step.built.app, step.signal, receive, receive_plainly):
        assert step.take() == step.success
    assert sorted(seen) == ["async", "plain"]


def test_an_async_receiver_that_raises_is_logged_like_any_other(step: Step, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(sender: Flask, **keywords: Any) -> None:
        raise LookupError("from a coroutine")

    with received_by(step.built.app, step.signal, fail):
        assert step.take() == step.success
    assert "from a coroutine" in caplog.text


# Receivers that raise


def fail(sender: Flask, **keywords: Any) -> None:
    raise LookupError("the receiver's own fault")


def test_a_receiver_that_raises_is_logged_and_the_answer_stays(step: Step, caplog: pytest.LogCaptureFixture) -> None:
    with received_by(step.built.app, step.signal, fail):
        assert step.take() == step.success
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].name == step.built.app.logger.name
    assert "the receiver's own fault" in caplog.text
    assert len(step.built.rows()) == 1


def test_after_a_receiver_that_raised_the_next_ones_run(step: Step) -> None:
    before, after = Calls(), Calls()
    with received_by(step.built.app, step.signal, *in_turn(before, fail, fail, after)):
        assert step.take() == step.success
    assert (len(before), len(after)) == (1, 1)


def test_the_session_is_rolled_back_after_a_receiver_that_raised(step: Step) -> None:
    db = step.built.db
    seen: list[tuple[str, str]] = []

    def spoil(sender: Flask, user: Any, request: Any) -> None:
        user.username = "spoilt"
        db.session.flush()
        raise LookupError("after a flush")

    def receive(sender: Flask, user: Any, request: Any) -> None:
        seen.append((user.username, user.email))
        db.session.commit()

    with received_by(step.built.app, step.signal, *in_turn(spoil, receive, spoil)):
        assert step.take() == step.success
    assert seen == [("ann", "ann@example.com")]
    assert step.built.row()["username"] == "ann"


def test_a_receiver_that_fails_inside_a_flush_leaves_a_session_that_works(step: Step) -> None:
    db, user_class = step.built.db, step.built.User
    seen: list[str] = []

    def spoil(sender: Flask, user: Any, request: Any) -> None:
        db.session.add(user_class(email=user.email, username="other", password_hash="x"))
        db.session.flush()

    def receive(sender: Flask, user: Any, request: Any) -> None:
        seen.append(user.email)

    with received_by(step.built.app, step.signal, *in_turn(spoil, receive)):
        assert step.take() == step.success
    assert seen == ["ann@example.com"]
    assert len(step.built.rows()) == 1


def test_what_an_earlier_receiver_committed_stays_when_a_later_one_raises(step: Step) -> None:
    def receive(sender: Flask, user: Any, request: Any) -> None:
        user.username = "kept"
        step.built.db.session.commit()

    with received_by(step.built.app, step.signal, *in_turn(receive, fail)):
        assert step.take() == step.success
    assert step.built.row()["username"] == "kept"


def test_a_database_error_of_a_receiver_brings_no_hash_into_the_log(
    step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    db, user_class = step.built.db, step.built.User

    def spoil(sender: Flask, user: Any, request: Any) -> None:
        db.session.add(user_class(email=user.email, username="other", password_hash="pbkdf2:secret"))
        db.session.flush()

    with received_by(step.built.app, step.signal, spoil):
        assert step.take() == step.success
    assert "IntegrityError" in caplog.text
    assert "pbkdf2:secret" not in caplog.text


def test_where_flask_propagates_exceptions_one_is_raised_when_all_have_run(testing_step: Step) -> None:
    step = testing_step
    before, after = Calls(), Calls()
    with (
        received_by(step.built.app, step.signal, *in_turn(before, fail, after)),
        pytest.raises(LookupError, match="the receiver's own fault"),
    ):
        step.take()
    assert (len(before), len(after)) == (1, 1)


def test_of_several_exceptions_the_first_is_propagated(testing_step: Step) -> None:
    step = testing_step
    raised: list[Exception] = []

    def failing(number: int) -> Receiver:
        def receive(sender: Flask, **keywords: Any) -> None:
            raised.append(LookupError(f"fault {number}"))
            raise raised[-1]

        return receive

    receivers = [failing(number) for number in range(4)]
    with received_by(step.built.app, step.signal, *receivers), pytest.raises(LookupError) as caught:
        step.take()
    assert len(raised) == 4
    assert caught.value is raised[0]


def test_with_propagation_the_account_is_stored_all_the_same(testing_step: Step) -> None:
    step = testing_step
    with received_by(step.built.app, step.signal, fail), pytest.raises(LookupError):
        step.take()
    row = step.built.row()
    assert (row["email_verified_at"] is not None) is step.is_verified


def test_propagation_follows_flasks_own_setting(build: Builder, smtp: RecordingServer, name: str) -> None:
    step = Step(name, build, smtp, TESTING=True, PROPAGATE_EXCEPTIONS=False)
    with received_by(step.built.app, step.signal, fail):
        assert step.take() == step.success


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
