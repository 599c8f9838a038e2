"""Workers are killed in the middle of what they do: what the answers, the mails and the rows say afterwards.

``make storm`` does it with 1,000 accounts; a usual run has fewer.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from .support import models
from .support.apps import PASSWORD, make_app
from .support.database_servers import new_database, text_of
from .support.databases import connect_first
from .support.gunicorn import Gunicorn, gunicorn
from .support.links import values_of
from .support.mail_servers import RecordingServer
from .support.served_app import environment
from .support.web import Answer, post

ACCOUNTS = int(os.environ.get("STORM_ACCOUNTS") or 60)
SEED = int(os.environ.get("STORM_SEED") or 1)
WORKERS = 4
CLIENTS = 12

#: There is one kill for about this many answers.
ANSWERS_FOR_A_KILL = 12


@dataclass
class Account:
    """What the clients know of an account: the answers to its requests, None for one that got lost."""

    email: str
    registrations: list[Answer | None] = field(default_factory=list)
    verifications: list[Answer | None] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """How many registrations got no answer."""
        return self.registrations.count(None)

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.registrations if answer]


class Storm:
    """Clients that sign up and follow their links, and somebody who kills workers."""

    def __init__(self, server: Gunicorn, smtp: RecordingServer) -> None:
        self.server = server
        self.smtp = smtp
        self.accounts = [Account(f"user{number}@example.com") for number in range(ACCOUNTS)]
        self._chance = random.Random(SEED)
        self._lock = Lock()
        self._answers_to_come = self._chance.randint(1, 2 * ANSWERS_FOR_A_KILL)

    def run(self) -> None:
        """Go on until each account has its answers."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(self._sign_up, self.accounts))

    def _sign_up(self, account: Account) -> None:
        name = account.email.partition("@")[0]
        body = {"email": account.email, "username": name, "password": PASSWORD, "password_confirm": PASSWORD}
        self._send("register/", body, account.registrations)
        link = _link_in(_mails_to(account.email, self.smtp)[-1])
        self._send("verify-registration/", link, account.verifications)

    def _send(self, path: str, body: object, answers: list[Answer | None]) -> None:
        """Send a request, again and again until there is an answer, as people do."""
        while not answers or answers[-1] is None:
            try:
                answers.append(post(f"{self.server.url}/api/v1/accounts/{path}", body))
            except (OSError, HTTPException):
                answers.append(None)
            self._kill_now_and_then()

    def _kill_now_and_then(self) -> None:
        """Kill a worker at a moment that has nothing to do with what that worker does."""
        with self._lock:
            self._answers_to_come -= 1
            if self._answers_to_come == 0:
                self._answers_to_come = self._chance.randint(1, 2 * ANSWERS_FOR_A_KILL)
                self.server.kill_one(self._chance)


def _mails_to(address: str, smtp: RecordingServer) -> list[EmailMessage]:
    envelopes = [number for number, sent in enumerate(list(smtp.envelopes)) if sent.recipients == [address]]
    return [smtp.messages[number] for number in envelopes]


def _link_in(message: EmailMessage) -> dict[str, str]:
    body = message.get_body(("plain",))
    assert body is not None
    return values_of(next(word for word in body.get_content().split() if "/verify-user/?" in word))


@dataclass(frozen=True)
class Notes:
    """What the workers noted."""

    #: How often a signal was sent for an account.
    activations: Counter[str]
    #: Which processes began with a request about an account and did not come to its end.
    broken_off: dict[str, set[int]]

    @classmethod
    def read(cls, file: Path) -> Notes:
        activations: Counter[str] = Counter()
        under_way: dict[int, str] = {}
        broken_off: dict[str, set[int]] = defaultdict(set)
        for line in file.read_text().splitlines():
            word, process, about = line.split(" ")
            if word == "begin":
                under_way[int(process)] = about
            elif word == "end":
                del under_way[int(process)]
            elif word == "user_activated":
                activations[about] += 1
        for worker, about in under_way.items():  # a worker does one thing after the other
            broken_off[about].add(worker)
        return cls(activations, broken_off)


@dataclass(frozen=True)
class Aftermath:
    """All that there is to look at after the storm."""

    accounts: list[Account]
    rows: dict[str, dict[str, Any]]
    row_count: int
    mails: Counter[str]
    notes: Notes
    killed: set[int]

    def unsigned(self) -> list[str]:
        """Return the addresses of the accounts that are active without a signal."""
        return [
            email
            for email, row in self.rows.items()
            if row["email_verified_at"] and not self.notes.activations[str(row["id"])]
        ]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    folder = tmp_path_factory.mktemp("storm")
    notes = folder / "notes.txt"
    with new_database("postgresql") as url, RecordingServer() as smtp:
        database = text_of(url)
        built = make_app(models.claiming, database_uri=database)
        connect_first(built.engine)
        settings = environment(database=database, mail_port=smtp.port, notes=notes)
        app = "tests.support.served_app:create_app()"
        with gunicorn(app, folder=folder, workers=WORKERS, environment=settings) as server:
            storm = Storm(server, smtp)
            storm.run()
        rows = built.rows()
        built.dispose()
        yield Aftermath(
            accounts=storm.accounts,
            rows={row["email"]: row for row in rows},
            row_count=len(rows),
            mails=Counter(recipient for sent in smtp.envelopes for recipient in sent.recipients),
            notes=Notes.read(notes),
            killed=set(server.killed),
        )


def test_it_was_a_storm(aftermath: Aftermath) -> None:
    lost = sum(account.lost for account in aftermath.accounts)
    lost += sum(account.verifications.count(None) for account in aftermath.accounts)
    doubled = sum(count - 1 for count in aftermath.mails.values())
    print(  # noqa: T201  the figures of the run
        f"{ACCOUNTS} accounts, seed {SEED}: {len(aftermath.killed)} workers killed, {lost} requests lost,"
        f" {doubled} mails whose account came to nothing, {len(aftermath.unsigned())} activations without a signal"
    )
    assert len(aftermath.killed) >= ACCOUNTS // ANSWERS_FOR_A_KILL
    assert lost > 0


def test_each_request_that_was_answered_has_a_legal_answer(aftermath: Aftermath) -> None:
    for account in aftermath.accounts:
        # A repetition of what got lost may find that it was not lost after all.
        assert account.statuses in ([[201], [400]] if account.lost else [[201]]), account
        assert [answer.status for answer in account.verifications if answer] == [200], account


def test_each_201_has_its_row_and_exactly_one_mail(aftermath: Aftermath) -> None:
    for account in aftermath.accounts:
        if account.statuses == [201]:
            assert account.email in aftermath.rows
            # A request that got lost before it may have sent a mail and died before its COMMIT.
            assert 1 <= aftermath.mails[account.email] <= 1 + account.lost, account


def test_each_row_without_a_201_has_at_least_one_mail(aftermath: Aftermath) -> None:
    for email in aftermath.rows:
        assert aftermath.mails[email] >= 1, email


def test_no_name_is_there_twice(aftermath: Aftermath) -> None:
    assert aftermath.row_count == len(aftermath.rows) == ACCOUNTS
    assert len({row["username"] for row in aftermath.rows.values()}) == ACCOUNTS


def test_each_activated_account_was_told_of_exactly_once_or_its_process_died(aftermath: Aftermath) -> None:
    assert all(row["email_verified_at"] and not row["verification_sent_at"] for row in aftermath.rows.values())
    told = aftermath.notes.activations
    assert set(told.values()) <= {1}
    for email in aftermath.unsigned():
        processes = aftermath.notes.broken_off[str(aftermath.rows[email]["id"])]
        assert processes & aftermath.killed, email


def test_no_worker_that_lives_left_a_request_unfinished(aftermath: Aftermath) -> None:
    for about, processes in aftermath.notes.broken_off.items():
        assert processes <= aftermath.killed, about
