"""Pending registrations, all at the same time: sign-ups, links, codes, a purge and the application's own INSERT."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from flask_rest_registration import signers
from flask_rest_registration.workflows import email_first
from tests.support.apps import OMITTED, REGISTER, RESEND, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.concurrency import at_once
from tests.support.interference import acting_before, refusing
from tests.support.links import code_of, link_in, values_of, with_other_character
from tests.support.mail_servers import RecordingServer
from tests.support.variants import WITH_TRANSACTIONS_OF_THEIR_OWN, build_variant

pytestmark = [pytest.mark.database, pytest.mark.slow_on_servers]

ROUNDS = int(os.environ.get("TEST_ROUNDS") or 50)
COOLDOWN, HOUR, WEEK = 60, 3600, 7 * 24 * 3600
ANN = "ann@example.com"
ADDRESSES = [f"user{number}@example.com" for number in range(ROUNDS)]
CODES = {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True}

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


@dataclass(frozen=True)
class People:
    """What people do with an app whose accounts come last."""

    built: Built
    smtp: RecordingServer

    def send(self, path: str, body: object) -> Seen:
        answer = self.built.post(path, body)
        told = answer.get_json()
        return answer.status_code, told.get("code"), *told.get("errors", ())

    def ask(self, address: str = ANN, path: str = REGISTER) -> Seen:
        return self.send(path, {"email": address})

    def complete(self, proof: Mapping[str, object], name: str) -> Seen:
        return self.send(VERIFY, self.built.body(**{"email": OMITTED, "username": name, **proof}))

    def purge(self) -> Seen:
        return (self.built.command("purge").exit_code,)

    def ask_for_link(self, address: str = ANN) -> dict[str, str]:
        assert self.ask(address) == ASKED
        return values_of(link_in(self.smtp.messages[-1]))

    def code(self) -> str:
        return code_of(self.smtp.messages[-1])

    def mails_to(self, address: str) -> int:
        return [sent.recipients for sent in self.smtp.envelopes].count([address])

    def add_account(self, address: str, name: str) -> None:
        with self.built.app.app_context():
            self.built.db.session.add(self.built.User(email=address, username=name, password_hash="x"))
            self.built.db.session.commit()

    def verified(self, address: str) -> list[bool]:
        return [bool(row["email_verified_at"]) for row in self.built.rows() if row["email"] == address]


@pytest.fixture(params=WITH_TRANSACTIONS_OF_THEIR_OWN)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def people(build: Builder, variant: str, smtp: RecordingServer, clock: Clock) -> People:
    return People(build_variant(build, variant, pending=True, registration=CODES), smtp)


def race(*actions: Callable[[], Seen]) -> list[Seen]:
    """Do everything at once, each in a thread of its own; return what each saw, in no particular order."""
    outcome = at_once(len(actions), lambda number: actions[number]())
    assert outcome.errors == []
    return outcome.results


def before_update(people: People, action: Callable[[], Seen]) -> AbstractContextManager[None]:
    """Let somebody else do something when the first UPDATE is about to be sent."""
    return acting_before(people.built, ("UPDATE", lambda: race(action)))


@pytest.mark.slow
@pytest.mark.parametrize("path", [REGISTER, RESEND])
def test_of_sixteen_requests_at_once_for_one_address_one_sends_and_all_get_202(
    build: Builder, smtp: RecordingServer, clock: Clock, variant: str, path: str
) -> None:
    """First the INSERT decides, and after the cooldown the UPDATE."""
    settings = CODES if path == REGISTER else {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
    people = People(build_variant(build, variant, pending=True, registration=settings), smtp)
    for address in ADDRESSES:
        if path == RESEND:
            people.add_account(address, address)
        for mails in (1, 2):
            assert race(*[lambda: people.ask(address, path)] * 16) == [ASKED] * 16, address  # noqa: B023
            assert people.mails_to(address) == mails, address
            clock.move(COOLDOWN)
    assert [row["mails"] for row in people.built.pending_rows()] == [2] * ROUNDS
    assert len(people.built.rows()) == (ROUNDS if path == RESEND else 0)


def test_a_sign_up_has_no_connection_while_it_mails_even_after_a_conflict(
    people: People, smtp: RecordingServer
) -> None:
    """A slow mail server neither empties the pool nor holds a lock."""
    connections: list[int] = []
    smtp.on_text = lambda: connections.append(people.built.engine.pool.checkedout())  # type: ignore[attr-defined]
    people.add_account("bob@example.com", "bob")
    assert people.ask("bob@example.com") == people.ask("eve@example.com") == ASKED
    with refusing(people.built, "SELECT user.", times=1) as sent:
        assert people.ask() == ASKED
    assert len(sent) > 1
    assert connections == [0, 0, 0]


def test_of_sixteen_with_one_link_exactly_one_makes_the_account(
    people: People, signals: list[Any], activations: list[Any]
) -> None:
    for address in ADDRESSES:
        link = people.ask_for_link(address)
        results = race(*[lambda: people.complete(link, address)] * 16)  # noqa: B023
        assert Counter(results) == {MADE: 1, SPENT: 15}, address
    assert signals == [user.email for user in activations] == ADDRESSES
    assert [row["email"] for row in people.built.rows()] == ADDRESSES
    assert all(row["email_verified_at"] for row in people.built.rows())


@pytest.mark.parametrize("reply", [None, "451 try again later"], ids=["sent", "not sent"])
def test_a_link_and_new_sign_ups_after_the_cooldown_end_in_one_verified_account(
    people: People, smtp: RecordingServer, clock: Clock, reply: str | None
) -> None:
    """Whether the new mail goes out, or fails and its row is put back while the link spends it."""
    for address in ADDRESSES:
        smtp.text_reply = None
        link = people.ask_for_link(address)
        clock.move(COOLDOWN)
        smtp.text_reply = reply
        results = Counter(race(*[lambda: people.complete(link, address), lambda: people.ask(address)] * 4))  # noqa: B023
        assert (results.pop(MADE), results.pop(SPENT)) == (1, 3), address
        assert results.keys() <= ({ASKED, NOT_SENT} if reply else {ASKED}), address
        assert people.mails_to(address) <= 2
        assert people.verified(address) == [True], address


@pytest.mark.parametrize("age", [HOUR, WEEK, WEEK + 1], ids=["an hour old", "at its period", "expired"])
def test_a_purge_takes_no_link_away_before_it_has_expired(people: People, clock: Clock, age: int) -> None:
    built = people.built
    assert built.Pending is not None
    for address in ADDRESSES:
        link = people.ask_for_link(address)
        clock.move(age)
        old = {"sent_at": clock.time - WEEK - 1, "mails": 1, "next_mail_at": 0, "code_attempts": 0}
        with built.app.app_context():
            built.db.session.add_all([built.Pending(id=uuid4(), email=f"{uuid4()}@x.org", **old) for _ in range(20)])
            built.db.session.commit()
        results = Counter(race(*[lambda: people.complete(link, address)] * 4, people.purge))  # noqa: B023
        assert results.pop(PURGED) == 1, address
        assert results.keys() <= {EXPIRED, SPENT} if age > WEEK else results == {MADE: 1, SPENT: 3}, address
        assert people.verified(address) == ([] if age > WEEK else [True])
    clock.move(WEEK + 1)
    assert people.purge() == PURGED
    assert built.pending_rows() == []


@pytest.mark.parametrize("by_code", [False, True], ids=["link", "code"])
def test_a_proof_and_the_applications_own_insert_of_the_address_end_in_one_account(
    people: People, by_code: bool
) -> None:
    def insert_by_hand(address: str) -> Seen:
        """Store an account, as often as the database asks to try again."""
        while True:
            try:
                people.add_account(address, f"own {address}")
            except IntegrityError:
                return ("refused",)
            except OperationalError:
                continue
            return ("inserted",)

    for address in ADDRESSES:
        proof = people.ask_for_link(address)
        if by_code:
            proof = {"email": address, "code": people.code()}
        todo = [lambda: people.complete(proof, address)] * 4  # noqa: B023
        results = Counter(race(*todo, lambda: insert_by_hand(address)))  # noqa: B023
        inserted = results.pop(("inserted",), 0)
        assert inserted + results.pop(("refused",), 0) == 1, address
        assert results.pop(MADE, 0) == 1 - inserted, address
        assert results.keys() <= {TAKEN, WRONG_CODE if by_code else SPENT}, address
        assert people.verified(address) == [not inserted]


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    results: list[bool] = []

    def compare(*arguments: Any) -> bool:
        accepted = signers.accepts_code(*arguments)
        results.append(accepted)
        return accepted

    monkeypatch.setattr(email_first, "accepts_code", compare)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("right", [1, 2, 40])
def test_of_forty_guesses_at_once_five_are_compared_and_at_most_one_makes_an_account(
    people: People, comparisons: list[bool], right: int
) -> None:
    made = 0
    for number, address in enumerate(ADDRESSES):
        assert people.ask(address) == ASKED
        code = people.code()
        guesses = [f"{(int(code) + wrong) % 10**6:06}" for wrong in range(1, 41 - right)]
        for each in range(right):  # another place in each round
            guesses.insert((number + each * 20) % 40, code)
        comparisons.clear()
        proofs = [{"email": address, "code": guess} for guess in guesses]
        results = race(*[partial(people.complete, proof, address) for proof in proofs])
        succeeded = any(comparisons)
        assert len(comparisons) == 5 or (succeeded and len(comparisons) < 5), address
        assert Counter(results) == ({MADE: 1, WRONG_CODE: 39} if succeeded else {WRONG_CODE: 40}), address
        assert len(people.verified(address)) == succeeded
        made += succeeded
    assert len(people.built.rows()) == made
    assert right < 40 or made == ROUNDS


def test_a_link_that_is_spent_between_its_check_and_its_use_makes_no_second_account(people: People) -> None:
    link = people.ask_for_link()
    with before_update(people, lambda: people.complete(link, "first")):
        assert people.complete(link, "second") == SPENT
    assert people.built.row()["username"] == "first"


@pytest.mark.parametrize("spent", [True, False], ids=["spent", "purged"])
def test_a_sign_up_whose_row_goes_between_its_look_and_its_note_sends_unless_spent(
    people: People, clock: Clock, spent: bool
) -> None:
    link = people.ask_for_link()
    clock.move(COOLDOWN if spent else WEEK + 1)
    with before_update(people, (lambda: people.complete(link, "ann")) if spent else people.purge):
        assert people.ask() == ASKED
    assert (people.mails_to(ANN), len(people.built.rows())) == ((1, 1) if spent else (2, 0))


def test_a_code_that_a_new_mail_replaces_before_it_is_counted_is_not_compared(
    people: People, clock: Clock, comparisons: list[bool]
) -> None:
    assert people.ask() == ASKED
    first = {"email": ANN, "code": people.code()}
    clock.move(COOLDOWN)
    with before_update(people, people.ask):
        assert people.complete(first, "ann") == WRONG_CODE
    assert comparisons == []
    assert people.built.pending_row()["code_attempts"] == 0
    assert people.complete({**first, "code": people.code()}, "ann") == MADE


def test_guesses_between_a_sign_ups_look_and_its_note_stay_counted_if_its_mail_fails(
    people: People, smtp: RecordingServer, clock: Clock, comparisons: list[bool]
) -> None:
    """Else who can make deliveries fail has five guesses more each time."""
    assert people.ask() == ASKED
    clock.move(COOLDOWN)
    right = {"email": ANN, "code": people.code()}
    wrong = {**right, "code": with_other_character(people.code(), 0)}
    smtp.text_reply = "451 try again later"
    with before_update(people, lambda: [people.complete(wrong, "ann") for _ in range(5)][-1]):
        assert people.ask() in {NOT_SENT, ASKED}
    assert people.complete(right, "ann") == WRONG_CODE
    assert comparisons == [False] * 5


def test_a_code_whose_row_is_spent_after_a_conflict_is_a_wrong_code(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = people.ask_for_link()

    def compare(*arguments: Any) -> bool:
        assert race(lambda: people.complete(link, "first")) == [MADE]
        return signers.accepts_code(*arguments)

    monkeypatch.setattr(email_first, "accepts_code", compare)
    with refusing(people.built, "UPDATE pending_registration SET code_attempts", times=1) as sent:
        assert people.complete({"email": ANN, "code": people.code()}, "second") == WRONG_CODE
    assert len(sent) > 1
    assert people.built.row()["username"] == "first"


def test_a_code_counted_for_one_mail_is_never_compared_with_the_next_ones(
    people: People, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert people.ask() == ASKED

    def compare_the_next(state: Any, row: Any, code: str) -> bool:
        clock.move(COOLDOWN)
        assert race(people.ask) == [ASKED]
        return signers.accepts_code(state, row, people.code())

    monkeypatch.setattr(email_first, "accepts_code", compare_the_next)
    with refusing(people.built, "UPDATE pending_registration SET code_attempts", times=1) as sent:
        assert people.complete({"email": ANN, "code": "123456"}, "ann") == WRONG_CODE
    assert len(sent) > 1
    assert (people.mails_to(ANN), people.built.rows()) == (2, [])
