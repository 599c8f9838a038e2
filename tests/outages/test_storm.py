"""Workers are killed in the middle of what they do: what the answers, the mails and the rows say afterwards.

``make storm`` does it with 1,000 accounts; a usual run has fewer.
"""

from __future__ import annotations

import os
import random
from asyncio import StreamWriter
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

from tests.support.apps import OMITTED, PASSWORD, REGISTER, VERIFY, Builder, Built, make_app
from tests.support.clock import Clock
from tests.support.concurrency import until
from tests.support.database_servers import new_database, text_of
from tests.support.databases import connect_first
from tests.support.gunicorn import Gunicorn, gunicorn
from tests.support.links import link_in, values_of
from tests.support.mail_servers import Moment, RecordingServer, SilentServer
from tests.support.served_app import SharedClock, environment
from tests.support.web import Answer, post

pytestmark = pytest.mark.programs

ACCOUNTS = int(os.environ.get("STORM_ACCOUNTS") or 60)
SEED = int(os.environ.get("STORM_SEED") or 1)
APP = "tests.support.served_app:create_app()"
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
            list(clients.map(self.sign_up, self.accounts))

    def sign_up(self, account: Account) -> None:
        """Make an account, and follow its link."""
        self.send(REGISTER, _body(account), account.registrations)
        link = values_of(link_in(_mails_to(account.email, self.smtp)[-1]))
        self.send(VERIFY, link, account.verifications)

    def send(self, path: str, body: object, answers: list[Answer | None]) -> None:
        """Send a request, again and again until there is an answer, as people do."""
        while True:
            answers.append(ask(self.server, path, body))
            self._kill_now_and_then()
            if answers[-1] is not None:
                return

    def calm_down(self) -> None:
        """Kill nobody any more."""
        self._answers_to_come = -1

    def _kill_now_and_then(self) -> None:
        """Kill a worker at a time that has nothing to do with what that worker does."""
        with self._lock:
            self._answers_to_come -= 1
            if self._answers_to_come == 0:
                self._answers_to_come = self._chance.randint(1, 2 * ANSWERS_FOR_A_KILL)
                self.server.kill_one(self._chance)


class EmailFirstStorm(Storm):
    """The same with e-mail first: the account comes last, and some people do not come back for it.

    :param time: the time of the workers.
    """

    def __init__(self, server: Gunicorn, smtp: RecordingServer, time: SharedClock) -> None:
        super().__init__(server, smtp)
        self._time = time
        self._moving = Lock()
        self.late = self.accounts[::5]

    def sign_up(self, account: Account) -> None:
        """Ask until there is a mail, and make the account."""
        self.send(REGISTER, {"email": account.email}, account.registrations)
        while not _mails_to(account.email, self.smtp):  # the worker died before its mail
            assert len(account.registrations) < 100, f"{account.email} is blocked"
            with self._moving:
                self._time.move(COOLDOWN)
            self.send(REGISTER, {"email": account.email}, account.registrations)
        if account not in self.late:
            self.complete(account)

    def complete(self, account: Account) -> None:
        """Follow the link, and send the fields of the account."""
        link = values_of(link_in(_mails_to(account.email, self.smtp)[-1]))
        self.send(VERIFY, {**_body(account), **link}, account.verifications)


def ask(server: Gunicorn, path: str, body: object) -> Answer | None:
    """Send a request; None if it got lost."""
    try:
        return post(f"{server.url}/api/v1/accounts/{path}", body)
    except (OSError, HTTPException):
        return None


def _body(account: Account) -> dict[str, object]:
    name = account.email.partition("@")[0]
    return {"email": account.email, "username": name, "password": PASSWORD, "password_confirm": PASSWORD}


def _mails_to(address: str, smtp: RecordingServer) -> list[EmailMessage]:
    envelopes = [number for number, sent in enumerate(list(smtp.envelopes)) if sent.recipients == [address]]
    return [smtp.messages[number] for number in envelopes]


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


@contextmanager
def serving(folder: Path, *, email_first: bool = False) -> Iterator[tuple[Built, Gunicorn, RecordingServer]]:
    """Serve an app on PostgreSQL; its notes and the file of its time are in a folder."""
    time = folder / "time"
    time.touch()
    with new_database("postgresql") as url, RecordingServer() as smtp:
        built = make_app(database_uri=text_of(url), pending=True)
        connect_first(built.engine)
        settings = environment(
            database=text_of(url), mail_port=smtp.port, notes=folder / "notes", email_first=email_first, time=time
        )
        with gunicorn(APP, folder=folder, workers=WORKERS, environment=settings) as server:
            yield built, server, smtp
        built.dispose()


def look_around(storm: Storm, built: Built, folder: Path) -> Aftermath:
    rows = built.rows()
    return Aftermath(
        accounts=storm.accounts,
        rows={row["email"]: row for row in rows},
        row_count=len(rows),
        mails=Counter(recipient for sent in storm.smtp.envelopes for recipient in sent.recipients),
        notes=Notes.read(folder / "notes"),
        killed=set(storm.server.killed),
    )


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    folder = tmp_path_factory.mktemp("storm")
    with serving(folder) as (built, server, smtp):
        storm = Storm(server, smtp)
        storm.run()
        return look_around(storm, built, folder)


def was_a_storm(aftermath: Aftermath) -> bool:
    """Print the figures of the run, and tell whether it tried anything."""
    lost = sum(account.lost for account in aftermath.accounts)
    lost += sum(account.verifications.count(None) for account in aftermath.accounts)
    doubled = sum(count - 1 for count in aftermath.mails.values())
    print(  # noqa: T201
        f"{ACCOUNTS} accounts, seed {SEED}: {len(aftermath.killed)} workers killed, {lost} requests lost,"
        f" {doubled} mails more than accounts, {len(aftermath.unsigned())} activations without a signal"
    )
    return len(aftermath.killed) >= ACCOUNTS // ANSWERS_FOR_A_KILL and lost > 0


def test_it_was_a_storm(aftermath: Aftermath) -> None:
    assert was_a_storm(aftermath)


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
    assert all(row["email_verified_at"] for row in aftermath.rows.values())
    told = aftermath.notes.activations
    assert set(told.values()) <= {1}
    for email in aftermath.unsigned():
        processes = aftermath.notes.broken_off[str(aftermath.rows[email]["id"])]
        assert processes & aftermath.killed, email


def test_no_worker_that_lives_left_a_request_unfinished(aftermath: Aftermath) -> None:
    for about, processes in aftermath.notes.broken_off.items():
        assert processes <= aftermath.killed, about


# With e-mail first


def test_a_storm_with_email_first_blocks_no_address_and_makes_no_account_unproven(tmp_path: Path) -> None:
    with serving(tmp_path, email_first=True) as (built, server, smtp):
        storm = EmailFirstStorm(server, smtp, SharedClock(tmp_path / "time"))
        storm.run()
        after = look_around(storm, built, tmp_path)
        pending = Counter(row["email"] for row in built.pending_rows())
        assert was_a_storm(after)
        for account in storm.accounts:
            assert {answer.status for answer in account.registrations if answer} == {202}, account
            assert after.mails[account.email] >= 1, account
            # A repetition of what got lost may find that it was not lost after all.
            legal = {201, 400} if None in account.verifications else {201}
            assert {answer.status for answer in account.verifications if answer} <= legal, account
        proven = {account.email for account in storm.accounts if account.verifications}
        assert after.rows.keys() == proven
        assert after.row_count == len(proven) == ACCOUNTS - len(storm.late)
        assert all(row["email_verified_at"] for row in after.rows.values())
        assert pending == {account.email: 1 for account in storm.accounts}
        told = after.notes.activations
        assert set(told.values()) <= {1}
        for email in after.unsigned():
            assert after.notes.broken_off[email] & after.killed, email

        storm.calm_down()
        for account in storm.late:
            storm.complete(account)
            assert [answer.status for answer in account.verifications if answer] == [201], account
        assert {row["email"] for row in built.rows()} == {account.email for account in storm.accounts}


class WaitingServer(SilentServer):
    """Tells when it has fallen silent."""

    def __init__(self, *, at: Moment) -> None:
        super().__init__(at=at)
        self.is_silent = Event()

    async def misbehave(self, writer: StreamWriter) -> None:
        self.is_silent.set()
        await super().misbehave(writer)


def kill_while_it_mails(built: Built, mail: RecordingServer | WaitingServer, is_mailing: Event, folder: Path) -> None:
    """Let a process sign somebody up, and kill it when it has come to a step of its mail."""
    settings = environment(database=built.database_uri, mail_port=mail.port, email_first=True)
    answers: list[Answer | None] = []
    with gunicorn(APP, folder=folder, workers=1, environment=settings) as server:
        asking = Thread(target=lambda: answers.append(ask(server, REGISTER, {"email": "ann@example.com"})))
        asking.start()
        assert is_mailing.wait(60)
        assert built.pending_row()["mails"] == 1  # is committed, and no lock is held
        server.kill_one(random.Random(SEED))
        asking.join(60)
    assert answers == [None]


@pytest.mark.parametrize("at", ["CONNECT", "MAIL", "RCPT", "DATA", "TEXT"])
def test_a_worker_killed_before_its_mail_is_out_blocks_its_address_for_a_cooldown(
    build: Builder, smtp: RecordingServer, clock: Clock, tmp_path: Path, at: Moment
) -> None:
    built = build(pending=True, registration={"REGISTER_EMAIL_FIRST": True})
    with WaitingServer(at=at) as silent:
        kill_while_it_mails(built, silent, silent.is_silent, tmp_path)
    row = built.pending_row()
    assert row["next_mail_at"] - row["sent_at"] == COOLDOWN
    for clock.time, mails in ((row["next_mail_at"] - 1, 0), (row["next_mail_at"], 1)):
        assert built.post(REGISTER, {"email": "ann@example.com"}).status_code == 202
        assert len(smtp.messages) == mails
    assert built.post(VERIFY, built.body(email=OMITTED, **values_of(link_in(smtp.message)))).status_code == 201
    assert built.row()["email_verified_at"]


def test_the_link_of_a_mail_works_whose_worker_was_killed_before_the_server_answered(
    build: Builder, clock: Clock, tmp_path: Path
) -> None:
    is_sent, is_killed = Event(), Event()
    built = build(pending=True, registration={"REGISTER_EMAIL_FIRST": True})

    def keep_the_answer() -> None:
        is_sent.set()
        assert is_killed.wait(60)

    with RecordingServer(on_text=keep_the_answer) as smtp:
        try:
            kill_while_it_mails(built, smtp, is_sent, tmp_path)
        finally:
            is_killed.set()
        until(lambda: smtp.messages)
    clock.time = built.pending_row()["sent_at"]
    assert built.post(VERIFY, built.body(email=OMITTED, **values_of(link_in(smtp.message)))).status_code == 201
