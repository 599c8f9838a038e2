"""Pending registrations, all at the same time: sign-ups, links, codes, a purge and the application's own INSERT."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import IntegrityError, OperationalError
from werkzeug.test import TestResponse

from flask_rest_registration import signers
from flask_rest_registration.workflows import email_first
from tests.support.apps import OMITTED, REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.concurrency import at_once
from tests.support.databases import USERS, conflict
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.variants import WITH_TRANSACTIONS_OF_THEIR_OWN, build_variant

pytestmark = pytest.mark.database

ROUNDS = int(os.environ.get("TEST_ROUNDS") or 50)
COOLDOWN, HOUR, WEEK = 60, 3600, 7 * 24 * 3600
EMAIL_FIRST = {"REGISTER_EMAIL_FIRST": True}
CODES = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_ENABLED": True}

#: Status, code and the names of the field errors of an answer.
Seen = tuple[object, ...]

ASKED: Seen = (202, None)
MADE: Seen = (201, None)
SPENT: Seen = (400, "signature-invalid")
EXPIRED: Seen = (400, "signature-expired")
WRONG_CODE: Seen = (400, "code-invalid")
TAKEN: Seen = (400, "invalid", "email")
NOT_SENT: Seen = (503, "email-not-sent")
PURGED: Seen = (0,)


@pytest.fixture(params=WITH_TRANSACTIONS_OF_THEIR_OWN)
def variant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def built(build: Builder, variant: str, clock: Clock) -> Built:
    return build_variant(build, variant, pending=True, registration=EMAIL_FIRST)


def seen(answer: TestResponse) -> Seen:
    told = answer.get_json()
    return answer.status_code, told.get("code"), *told.get("errors", ())


def ask(built: Built, address: str, path: str = REGISTER) -> Seen:
    return seen(built.post(path, {"email": address}))


def complete(built: Built, proof: Mapping[str, object], name: str) -> Seen:
    """Register with a link or a code."""
    return seen(built.post(VERIFY, built.body(**{"email": OMITTED, "username": name, **proof})))


def link_to(built: Built, smtp: RecordingServer, address: str) -> dict[str, str]:
    """Ask for a message, and return what its link sends."""
    assert ask(built, address) == ASKED
    assert smtp.envelopes[-1].recipients == [address]
    return values_of(link_in(smtp.messages[-1]))


def mails_to(smtp: RecordingServer, address: str) -> int:
    return [sent.recipients for sent in smtp.envelopes].count([address])


def add_account(built: Built, address: str, name: str) -> None:
    with built.app.app_context():
        built.db.session.add(built.User(email=address, username=name, password_hash="x"))
        built.db.session.commit()


def race(*actions: Callable[[], Seen]) -> list[Seen]:
    """Do everything at once, each in a thread of its own; return what each saw, in no particular order."""
    outcome = at_once(len(actions), lambda number: actions[number]())
    assert outcome.errors == []
    return outcome.results


def accounts_of(built: Built, address: str) -> list[dict[str, Any]]:
    return [row for row in built.rows() if row["email"] == address]


# Sign-ups


@pytest.mark.parametrize("path", [REGISTER, RESEND])
def test_of_sixteen_requests_at_once_for_one_address_one_sends_and_all_get_202(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, path: str
) -> None:
    """First the INSERT decides, and after the cooldown the UPDATE."""
    settings = EMAIL_FIRST if path == REGISTER else {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
    built = build_variant(build, variant, pending=True, registration=settings)
    for number in range(ROUNDS):
        address = f"user{number}@example.com"
        if path == RESEND:
            add_account(built, address, str(number))
        for mails in (1, 2):
            assert race(*[lambda: ask(built, address, path)] * 16) == [ASKED] * 16, f"round {number}"  # noqa: B023
            assert mails_to(smtp, address) == mails, f"round {number}"
            clock.move(COOLDOWN)
    assert [row["mails"] for row in built.pending_rows()] == [2] * ROUNDS
    assert len(built.rows()) == (ROUNDS if path == RESEND else 0)


def test_a_slow_mail_server_holds_no_connection_and_no_lock(build: Builder, clock: Clock) -> None:
    sending, may_end = Event(), Event()
    sent: list[object] = []

    def send_slowly(request: object, pending: Any) -> None:
        sending.set()
        assert may_end.wait(60)
        sent.append(pending.email)

    built = build(
        pending=True,
        registration={
            **EMAIL_FIRST,
            "REGISTER_VERIFICATION_EMAIL_SENDER": send_slowly,
            "REGISTER_EXISTING_EMAIL_SENDER": send_slowly,
        },
        config={"SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 2, "max_overflow": 0, "pool_timeout": 30}},
    )
    add_account(built, "bob@example.com", "bob")
    tables = [model.__table__ for model in (built.User, built.Pending) if model]

    @built.app.get("/another-page")
    def another_page() -> dict[str, int]:
        with built.db.engine.begin() as connection:  # one that writes, where the database has one writer
            for table in tables:
                connection.execute(table.update().values(email=table.c.email))
        return {"users": built.db.session.scalar(select(func.count()).select_from(built.User)) or 0}

    answers: list[list[Seen]] = []
    todo = [lambda: ask(built, "ann@example.com")] * 8 + [lambda: ask(built, "bob@example.com")] * 8
    requests = Thread(target=lambda: answers.append(race(*todo)))
    requests.start()
    try:
        assert sending.wait(30)
        assert built.client().get("/another-page").get_json() == {"users": 1}
    finally:
        may_end.set()
        requests.join(60)
    assert answers == [[ASKED] * 16]
    assert sorted(map(str, sent)) == ["ann@example.com", "bob@example.com"]


# One link


def test_of_sixteen_with_one_link_exactly_one_makes_the_account(
    built: Built, smtp: RecordingServer, signals: list[Any], activations: list[Any]
) -> None:
    for number in range(ROUNDS):
        link = link_to(built, smtp, f"user{number}@example.com")
        results = race(*[lambda: complete(built, link, str(number))] * 16)  # noqa: B023
        assert Counter(results) == {MADE: 1, SPENT: 15}, f"round {number}"
    addresses = [f"user{number}@example.com" for number in range(ROUNDS)]
    assert signals == [user.email for user in activations] == addresses
    assert [row["email"] for row in built.rows()] == addresses
    assert all(row["email_verified_at"] for row in built.rows())


@pytest.mark.parametrize("reply", [None, "451 try again later"], ids=["sent", "not sent"])
def test_a_link_and_new_sign_ups_after_the_cooldown_end_in_one_verified_account(
    built: Built, smtp: RecordingServer, clock: Clock, reply: str | None
) -> None:
    """Whether the new message goes out, or fails and its row is put back while the link spends it."""
    for number in range(ROUNDS):
        address = f"user{number}@example.com"
        smtp.text_reply = None
        link = link_to(built, smtp, address)
        clock.move(COOLDOWN)
        smtp.text_reply = reply
        todo = [lambda: complete(built, link, str(number)), lambda: ask(built, address)]  # noqa: B023
        results = Counter(race(*todo * 4))
        assert (results.pop(MADE), results.pop(SPENT)) == (1, 3), f"round {number}"
        assert results.keys() <= ({ASKED, NOT_SENT} if reply else {ASKED}), f"round {number}"
        assert mails_to(smtp, address) <= 2
        assert [bool(row["email_verified_at"]) for row in accounts_of(built, address)] == [True], f"round {number}"


def purge(built: Built) -> Seen:
    return (built.command("purge").exit_code,)


def leave_old_rows(built: Built, *, sent_at: int) -> None:
    """Leave pending registrations of others that a purge deletes."""
    assert built.Pending is not None
    with built.app.app_context():
        values = {"sent_at": sent_at, "mails": 1, "next_mail_at": 0, "code_attempts": 0}
        for _ in range(20):
            built.db.session.add(built.Pending(id=uuid4(), email=f"{uuid4()}@example.com", **values))
        built.db.session.commit()


@pytest.mark.parametrize("age", [HOUR, WEEK, WEEK + 1], ids=["an hour old", "at its period", "expired"])
def test_a_purge_takes_no_link_away_before_it_has_expired(
    built: Built, smtp: RecordingServer, clock: Clock, age: int
) -> None:
    for number in range(ROUNDS):
        address = f"user{number}@example.com"
        link = link_to(built, smtp, address)
        clock.move(age)
        leave_old_rows(built, sent_at=clock.time - WEEK - 1)
        results = Counter(race(*[lambda: complete(built, link, str(number))] * 4, lambda: purge(built)))  # noqa: B023
        assert results.pop(PURGED) == 1, f"round {number}"
        if age > WEEK:
            assert results.keys() <= {EXPIRED, SPENT}, f"round {number}"
        else:
            assert results == {MADE: 1, SPENT: 3}, f"round {number}"
    assert [bool(row["email_verified_at"]) for row in built.rows()] == [True] * (0 if age > WEEK else ROUNDS)
    clock.move(WEEK + 1)
    assert purge(built) == PURGED
    assert built.pending_rows() == []


def insert_by_hand(built: Built, address: str, name: str) -> Seen:
    """Let the application store an account of its own, as often as the database asks it to try again."""
    while True:
        try:
            add_account(built, address, name)
        except IntegrityError:
            return ("refused",)
        except OperationalError:
            continue
        return ("inserted",)


@pytest.mark.parametrize("by_code", [False, True], ids=["link", "code"])
def test_a_proof_and_the_applications_own_insert_of_the_address_end_in_one_account(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, by_code: bool
) -> None:
    built = build_variant(build, variant, pending=True, registration=CODES)
    refused, wrong = (TAKEN, WRONG_CODE if by_code else SPENT)
    for number in range(ROUNDS):
        address = f"user{number}@example.com"
        proof = link_to(built, smtp, address)
        if by_code:
            proof = {"email": address, "code": code_of(smtp.messages[-1])}
        todo = [lambda: complete(built, proof, str(number))] * 4  # noqa: B023
        results = Counter(race(*todo, lambda: insert_by_hand(built, address, f"own{number}")))  # noqa: B023
        inserted = results.pop(("inserted",), 0)
        assert inserted + results.pop(("refused",), 0) == 1, f"round {number}"
        assert results.pop(MADE, 0) == 1 - inserted, f"round {number}"
        assert results.keys() <= {refused, wrong}, f"round {number}"
        assert [bool(row["email_verified_at"]) for row in accounts_of(built, address)] == [not inserted]


# Codes


class Comparisons:
    """Stands in for the comparison of codes, and counts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lock = Lock()
        self.results: list[bool] = []
        monkeypatch.setattr(email_first, "accepts_code", self)

    def __call__(self, *arguments: Any) -> bool:
        accepted = signers.accepts_code(*arguments)
        with self._lock:
            self.results.append(accepted)
        return accepted


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> Comparisons:
    return Comparisons(monkeypatch)


@pytest.mark.parametrize("right", [1, 2, 40])
def test_of_forty_guesses_at_once_five_are_compared_and_at_most_one_makes_an_account(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, comparisons: Comparisons, right: int
) -> None:
    built = build_variant(build, variant, pending=True, registration=CODES)
    made = 0
    for number in range(ROUNDS):
        address = f"user{number}@example.com"
        assert ask(built, address) == ASKED
        code = code_of(smtp.messages[-1])
        guesses = [f"{(int(code) + wrong) % 10**6:06}" for wrong in range(1, 41 - right)]
        for each in range(right):  # another place in each round
            guesses.insert((number + each * 20) % 40, code)
        comparisons.results.clear()
        results = race(
            *[lambda guess=guess: complete(built, {"email": address, "code": guess}, str(number)) for guess in guesses]  # noqa: B023
        )
        succeeded = any(comparisons.results)
        assert len(comparisons.results) == 5 or (succeeded and len(comparisons.results) < 5), f"round {number}"
        assert Counter(results) == {MADE: 1, WRONG_CODE: 39} if succeeded else {WRONG_CODE: 40}, f"round {number}"
        assert len(accounts_of(built, address)) == succeeded
        made += succeeded
    assert len(built.rows()) == made
    if right == 40:
        assert made == ROUNDS


# Between a SELECT and the statement that decides


def before_first(built: Built, kind: str, action: Callable[[], Seen]) -> None:
    """Let somebody else do something when the first statement of a kind is about to be sent."""
    waiting = [action]

    @event.listens_for(built.engine, "before_cursor_execute")
    def act(conn: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith(kind) and waiting:
            race(waiting.pop())


def test_a_link_that_is_spent_between_its_check_and_its_use_makes_no_second_account(
    built: Built, smtp: RecordingServer
) -> None:
    link = link_to(built, smtp, "ann@example.com")
    before_first(built, "UPDATE", lambda: complete(built, link, "first"))
    assert complete(built, link, "second") == SPENT
    assert built.row()["username"] == "first"


def test_a_sign_up_whose_row_is_spent_between_its_look_and_its_note_sends_nothing(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    link = link_to(built, smtp, "ann@example.com")
    clock.move(COOLDOWN)
    before_first(built, "UPDATE", lambda: complete(built, link, "ann"))
    assert ask(built, "ann@example.com") == ASKED
    assert (len(smtp.messages), len(built.rows())) == (1, 1)


def test_a_sign_up_whose_row_is_purged_between_its_look_and_its_note_sends(
    built: Built, smtp: RecordingServer, clock: Clock
) -> None:
    assert ask(built, "ann@example.com") == ASKED
    clock.move(WEEK + 1)
    before_first(built, "UPDATE", lambda: purge(built))
    assert ask(built, "ann@example.com") == ASKED
    assert len(smtp.messages) == 2


def test_a_code_that_a_new_message_replaces_before_it_is_counted_is_not_compared(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, comparisons: Comparisons
) -> None:
    built = build_variant(build, variant, pending=True, registration=CODES)
    assert ask(built, "ann@example.com") == ASKED
    clock.move(COOLDOWN)
    before_first(built, "UPDATE", lambda: ask(built, "ann@example.com"))
    proof = {"email": "ann@example.com", "code": code_of(smtp.messages[0])}
    assert complete(built, proof, "ann") == WRONG_CODE
    assert comparisons.results == []
    assert built.pending_row()["code_attempts"] == 0
    assert complete(built, {**proof, "code": code_of(smtp.messages[1])}, "ann") == MADE


def test_guesses_between_a_sign_ups_look_and_its_note_stay_counted_if_its_mail_fails(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, comparisons: Comparisons
) -> None:
    """Else who can make deliveries fail has five guesses more each time."""
    built = build_variant(build, variant, pending=True, registration=CODES)
    assert ask(built, "ann@example.com") == ASKED
    clock.move(COOLDOWN)
    code = code_of(smtp.message)
    wrong = {"email": "ann@example.com", "code": f"{(int(code) + 1) % 10**6:06}"}

    def guess() -> Seen:
        return [complete(built, wrong, "ann") for _ in range(5)][-1]

    smtp.text_reply = "451 try again later"
    before_first(built, "UPDATE", guess)
    assert ask(built, "ann@example.com") in {NOT_SENT, ASKED}
    assert complete(built, {**wrong, "code": code}, "ann") == WRONG_CODE
    assert comparisons.results == [False] * 5


# Conflicts, after whose rollback objects of the session are read anew


def refuse_first(built: Built, *words: str) -> None:
    """Let the database refuse the first statement that has these words as a conflict."""
    waiting = [conflict()]

    @event.listens_for(built.engine, "do_execute")
    def execute(cursor: object, sql: str, *_: object) -> None:
        if all(word in sql for word in words) and waiting:
            raise waiting.pop()


def test_a_code_whose_row_is_spent_after_a_conflict_is_a_wrong_code(
    build: Builder, smtp: RecordingServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(pending=True, registration=CODES)
    link = link_to(built, smtp, "ann@example.com")
    refuse_first(built, "UPDATE", "code_attempts")

    def compare(*arguments: Any) -> bool:
        assert race(lambda: complete(built, link, "first")) == [MADE]
        return signers.accepts_code(*arguments)

    monkeypatch.setattr(email_first, "accepts_code", compare)
    proof = {"email": "ann@example.com", "code": code_of(smtp.message)}
    assert complete(built, proof, "second") == WRONG_CODE
    assert built.row()["username"] == "first"


def test_a_code_counted_for_one_message_is_never_compared_with_the_next_ones(
    build: Builder, smtp: RecordingServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(pending=True, registration=CODES)
    assert ask(built, "ann@example.com") == ASKED
    refuse_first(built, "UPDATE", "code_attempts")

    def compare_the_next(state: Any, row: Any, code: str) -> bool:
        clock.move(COOLDOWN)
        assert race(lambda: ask(built, "ann@example.com")) == [ASKED]
        return signers.accepts_code(state, row, code_of(smtp.messages[-1]))

    monkeypatch.setattr(email_first, "accepts_code", compare_the_next)
    assert complete(built, {"email": "ann@example.com", "code": "123456"}, "ann") == WRONG_CODE
    assert (len(smtp.messages), built.rows()) == (2, [])


def test_a_sign_up_after_a_conflict_has_no_transaction_open_while_it_mails(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(pending=True, registration=EMAIL_FIRST)
    connections: list[int] = []
    smtp.on_text = lambda: connections.append(built.engine.pool.checkedout())  # type: ignore[attr-defined]
    assert ask(built, "bob@example.com") == ASKED
    refuse_first(built, "SELECT", "FROM", USERS)
    assert ask(built, "ann@example.com") == ASKED
    assert connections == [0, 0]
