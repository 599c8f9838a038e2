"""Workers are killed in the middle of what they do: what the answers, the mails and the rows say afterwards.

``make storm`` does it with 1,000 accounts; a usual run has fewer.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPException
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pytest

from tests.support.apps import OMITTED, REGISTER, VERIFY, Builder, Built, make_app
from tests.support.clock import Clock
from tests.support.concurrency import until
from tests.support.database_servers import new_database, text_of
from tests.support.databases import connect_first
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer, Silence, Step
from tests.support.web import Answer, post
from tools.gunicorn import Gunicorn, gunicorn
from tools.served_app import SharedClock, environment

pytestmark = pytest.mark.programs

ACCOUNTS = int(os.environ.get("STORM_ACCOUNTS") or 40)
SEED = int(os.environ.get("STORM_SEED") or 1)
APP = "tools.served_app:create_app()"
WORKERS = 4
CLIENTS = 12
COOLDOWN = 60

#: There is one kill for about this many answers.
ANSWERS_FOR_A_KILL = 12


@dataclass
class Account:
    """What the clients know of an account: the answers to its requests, None for one that got lost."""

    email: str
    registrations: list[Answer | None] = field(default_factory=list)
    verifications: list[Answer | None] = field(default_factory=list)


def statuses(answers: list[Answer | None]) -> list[int]:
    return [answer.status for answer in answers if answer]


def ask(server: Gunicorn, path: str, body: object) -> Answer | None:
    """Send a request; None if it got lost."""
    try:
        return post(f"{server.url}/api/v1/accounts/{path}", body)
    except (OSError, HTTPException):
        return None


@dataclass(frozen=True)
class Notes:
    """What the workers noted.

    :param activations: how often a signal was sent for an account.
    :param broken_off: which processes began with a request about an account and did not come to its end.
    """

    activations: Counter[str]
    broken_off: dict[str, set[int]]

    @classmethod
    def read(cls, file: Path) -> Notes:
        activations: Counter[str] = Counter()
        under_way: dict[int, str] = {}  # a worker does one thing after the other
        for line in file.read_text().splitlines():
            word, process, about = line.split(" ")
            if word == "begin":
                under_way[int(process)] = about
            elif word == "end":
                del under_way[int(process)]
            elif word == "user_activated":
                activations[about] += 1
        broken_off: dict[str, set[int]] = defaultdict(set)
        for worker, about in under_way.items():
            broken_off[about].add(worker)
        return cls(activations, broken_off)


class Storm:
    """Clients that sign up and follow their links, while workers are killed, on PostgreSQL.

    With e-mail first the account comes last, and some people do not come back for it.

    :param folder: has the notes of the workers, and the file of their time.
    """

    def __init__(self, built: Built, server: Gunicorn, smtp: RecordingServer, folder: Path, *, email_first: bool):
        self.built = built
        self.accounts = [Account(f"user{number}@example.com") for number in range(ACCOUNTS)]
        self.late = self.accounts[::5] if email_first else []
        self._email_first = email_first
        self._server = server
        self._smtp = smtp
        self._folder = folder
        self._chance = random.Random(SEED)
        self._lock = Lock()
        self._answers_to_come = self._chance.randint(1, 2 * ANSWERS_FOR_A_KILL)

    def rage(self) -> None:
        """Go on until each account has its answers, then kill nobody any more."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(self._sign_up, self.accounts))
        self._answers_to_come = -1
        rows = self.built.rows()
        self.row_count, self.rows = len(rows), {row["email"]: row for row in rows}
        self.mails = Counter(recipient for sent in self._smtp.envelopes for recipient in sent.recipients)
        self.notes = Notes.read(self._folder / "notes")
        self.killed = set(self._server.killed)
        lost = sum((account.registrations + account.verifications).count(None) for account in self.accounts)
        doubled = sum(count - 1 for count in self.mails.values())
        print(
            f"{ACCOUNTS} accounts, seed {SEED}: {len(self.killed)} workers killed, {lost} requests lost,"
            f" {doubled} mails more than accounts, {len(self.unsigned)} activations without a signal"
        )
        assert len(self.killed) >= ACCOUNTS // ANSWERS_FOR_A_KILL, "no storm"
        assert lost > 0, "no storm"

    @property
    def unsigned(self) -> dict[str, str]:
        """The accounts that are active without a signal, and how the notes call them."""
        names = {email: email if self._email_first else str(row["id"]) for email, row in self.rows.items()}
        active = [email for email, row in self.rows.items() if row["email_verified_at"]]
        return {email: names[email] for email in active if not self.notes.activations[str(self.rows[email]["id"])]}

    def _sign_up(self, account: Account) -> None:
        """Ask until there is a mail, and follow its link."""
        body = {"email": account.email} if self._email_first else self._body(account)
        self._send(REGISTER, body, account.registrations)
        while not self._links_to(account):  # with e-mail first, the worker died before its mail
            assert len(account.registrations) < 100, f"{account.email} is blocked"
            with self._lock:
                SharedClock(self._folder / "time").move(COOLDOWN)
            self._send(REGISTER, body, account.registrations)
        if account not in self.late:
            self.complete(account)

    def complete(self, account: Account) -> None:
        """Follow the last link."""
        fields = self._body(account) if self._email_first else {}
        self._send(VERIFY, {**fields, **values_of(self._links_to(account)[-1])}, account.verifications)

    def _body(self, account: Account) -> dict[str, object]:
        return self.built.body(email=account.email, username=account.email.partition("@")[0])

    def _links_to(self, account: Account) -> list[str]:
        envelopes = enumerate(list(self._smtp.envelopes))
        return [link_in(self._smtp.messages[at]) for at, sent in envelopes if sent.recipients == [account.email]]

    def _send(self, path: str, body: object, answers: list[Answer | None]) -> None:
        """Send a request again and again until there is an answer, as people do."""
        answers.append(None)
        while answers[-1] is None:
            answers[-1] = ask(self._server, path, body)
            with self._lock:  # kill a worker at a time that has nothing to do with what that worker does
                self._answers_to_come -= 1
                if self._answers_to_come == 0:
                    self._answers_to_come = self._chance.randint(1, 2 * ANSWERS_FOR_A_KILL)
                    self._server.kill_one(self._chance)
            if answers[-1] is None:
                answers.append(None)


@contextmanager
def storm(folder: Path, *, email_first: bool = False) -> Iterator[Storm]:
    time = folder / "time"
    time.touch()
    with new_database("postgresql") as url, RecordingServer() as smtp:
        built = make_app(database_uri=text_of(url), pending=True)
        connect_first(built.engine)
        settings = environment(
            database=text_of(url), mail_port=smtp.port, notes=folder / "notes", email_first=email_first, time=time
        )
        with gunicorn(APP, folder=folder, workers=WORKERS, environment=settings) as server:
            raging = Storm(built, server, smtp, folder, email_first=email_first)
            raging.rage()
            yield raging
        built.dispose()


def check_accounts(after: Storm, emails: set[str]) -> None:
    """Demand one row of each, and one signal unless its process died."""
    assert after.rows.keys() == emails
    assert after.row_count == len(emails) == len({row["username"] for row in after.rows.values()})
    assert all(row["email_verified_at"] for row in after.rows.values())
    assert set(after.notes.activations.values()) <= {1}
    for email, name in after.unsigned.items():
        assert after.notes.broken_off[name] & after.killed, email
    assert set().union(*after.notes.broken_off.values()) <= after.killed


def test_after_a_storm_each_201_has_its_row_exactly_one_mail_and_one_signal(tmp_path: Path) -> None:
    with storm(tmp_path) as after:
        for account in after.accounts:
            # A repetition of what got lost may find that it was not lost after all.
            lost = account.registrations.count(None)
            assert statuses(account.registrations) in ([[201], [400]] if lost else [[201]]), account
            assert statuses(account.verifications) == [200], account
            # A request that got lost before may have sent a mail and died before its COMMIT.
            repeated = lost if statuses(account.registrations) == [201] else sum(after.mails.values())
            assert 1 <= after.mails[account.email] <= 1 + repeated, account
        check_accounts(after, {account.email for account in after.accounts})


def test_a_storm_with_email_first_blocks_no_address_and_makes_no_account_unproven(tmp_path: Path) -> None:
    with storm(tmp_path, email_first=True) as after:
        for account in after.accounts:
            assert set(statuses(account.registrations)) == {202}, account
            assert after.mails[account.email] >= 1, account
            legal = {201, 400} if None in account.verifications else {201}
            assert set(statuses(account.verifications)) <= legal, account
        check_accounts(after, {account.email for account in after.accounts if account not in after.late})
        pending = Counter(row["email"] for row in after.built.pending_rows())
        assert pending == {account.email: 1 for account in after.accounts}

        for account in after.late:
            after.complete(account)
            assert statuses(account.verifications) == [201], account
        assert {row["email"] for row in after.built.rows()} == {account.email for account in after.accounts}


# One worker


def kill_while_it_mails(built: Built, server: Gunicorn, is_mailing: Event, email: str) -> dict[str, Any]:
    """Kill the process that signs somebody up when it has come to a step of its mail; return what is pending."""
    answers: list[Answer | None] = []
    asking = Thread(target=lambda: answers.append(ask(server, REGISTER, {"email": email})))
    asking.start()
    assert is_mailing.wait(60)
    (row,) = [row for row in built.pending_rows() if row["email"] == email]  # is committed, and no lock is held
    server.kill_one(random.Random(SEED))
    asking.join(60)
    assert (answers, row["mails"]) == ([None], 1)
    return row


@contextmanager
def serving_one(built: Built, mail: RecordingServer, folder: Path) -> Iterator[Gunicorn]:
    settings = environment(database=built.database_uri, mail_port=mail.port, email_first=True)
    with gunicorn(APP, folder=folder, workers=1, environment=settings) as server:
        yield server


def complete(built: Built, message: EmailMessage, name: str) -> int:
    link = values_of(link_in(message))
    return built.post(VERIFY, built.body(email=OMITTED, username=name, **link)).status_code


@pytest.fixture
def built(build: Builder, clock: Clock) -> Built:
    return build(pending=True, registration={"REGISTER_EMAIL_FIRST": True})


def test_a_worker_killed_before_its_mail_is_out_blocks_its_address_for_a_cooldown(
    built: Built, smtp: RecordingServer, clock: Clock, tmp_path: Path
) -> None:
    steps: tuple[Step, ...] = ("CONNECT", "MAIL", "RCPT", "DATA", "TEXT")
    rows = {}
    with RecordingServer(fault=(fault := Silence())) as silent, serving_one(built, silent, tmp_path) as server:
        for fault.at in steps:
            fault.has_begun.clear()
            rows[fault.at] = kill_while_it_mails(built, server, fault.has_begun, f"{fault.at.lower()}@example.com")
    for number, (at, row) in enumerate(rows.items()):
        assert row["next_mail_at"] - row["sent_at"] == COOLDOWN, at
        for clock.time, mails in ((row["next_mail_at"] - 1, number), (row["next_mail_at"], number + 1)):
            assert built.post(REGISTER, {"email": row["email"]}).status_code == 202
            assert len(smtp.messages) == mails, at
        assert complete(built, smtp.messages[-1], at) == 201
    assert [bool(row["email_verified_at"]) for row in built.rows()] == [True] * len(steps)


def test_the_link_of_a_mail_works_whose_worker_was_killed_before_the_server_answered(
    built: Built, clock: Clock, tmp_path: Path
) -> None:
    is_sent, is_killed = Event(), Event()

    def keep_the_answer() -> None:
        is_sent.set()
        assert is_killed.wait(60)

    with RecordingServer(on_text=keep_the_answer) as smtp, serving_one(built, smtp, tmp_path) as server:
        try:
            clock.time = kill_while_it_mails(built, server, is_sent, "ann@example.com")["sent_at"]
        finally:
            is_killed.set()
        until(lambda: smtp.messages)
    assert complete(built, smtp.message, "ann") == 201
