"""Sign people up for a long time, and see that memory and connections of the workers stay as they are.

Run it with ``make soak``: 50,000 registrations and verifications through gunicorn on PostgreSQL, each with a mail;
with ``make soak OPTIONS=--email-first`` each account is made when its address is proven.
The hash of the password is made for nearly nothing, since it is not what is looked at; workers are never replaced.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from flask_rest_registration.signers import RegisterSigner
from tests.support.apps import PASSWORD, Built, make_app
from tests.support.database_servers import SERVERS, new_database, text_of
from tests.support.databases import connect_first
from tests.support.mail_servers import RecordingServer
from tests.support.web import post
from tools.gunicorn import Gunicorn, gunicorn
from tools.served_app import environment

WORKERS: Final = 4
CLIENTS: Final = 8

PASSWORDS: Final = {"password": PASSWORD, "password_confirm": PASSWORD}

#: Caches fill up in this part of the run.
WARM_UP: Final = 0.1

#: How much larger a worker may be at the end than after its warm-up, in MiB: 0.4 KiB for each of its sign-ups.
BOUND: Final = 5.0


@dataclass(frozen=True)
class Sample:
    """How large the workers are, all together.

    :param accounts: how many accounts there were by then.
    :param memory: their proportional set size in MiB.
    :param files: their open files, sockets included.
    :param connections: what the database server says is connected.
    :param seconds: since the start.
    """

    accounts: int
    memory: float
    files: int
    connections: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.accounts:8} accounts {self.seconds:6.0f} s {self.memory:8.1f} MiB {self.files:5} files"
            f" {self.connections:3} connections"
        )


class Soak:
    """The clients, and the looks at the workers.

    :param built: an app on the database of the server's.
    :param server: what is looked at.
    :param mail: where the app's mails go.
    :param email_first: whether an account is made when its address is proven.
    """

    def __init__(self, built: Built, server: Gunicorn, mail: RecordingServer, *, email_first: bool) -> None:
        self._built = built
        self._server = server
        self._mail = mail
        self._email_first = email_first
        self._start = time.monotonic()

    def run(self, accounts: int, *, looks: int) -> list[Sample]:
        """Sign that many people up.

        :param accounts: how many.
        :param looks: into how many parts the run is divided, with a look at the workers after each.
        :returns: what was seen.
        """
        samples: list[Sample] = []
        workers: list[int] = []
        with ThreadPoolExecutor(CLIENTS) as clients:
            for part in range(looks):
                numbers = range(accounts * part // looks, accounts * (part + 1) // looks)
                list(clients.map(self._sign_up, numbers))
                workers = workers or self._server.workers()
                samples.append(self._look(numbers.stop))
                self._mail.messages.clear()
                self._mail.envelopes.clear()
                print(samples[-1], flush=True)
        if self._server.workers() != workers:
            sys.exit("A worker was replaced.")
        return samples

    def _sign_up(self, number: int) -> None:
        address, fields = {"email": f"user{number}@example.com"}, {"username": f"user{number}", **PASSWORDS}
        if self._email_first:
            self._post("register/", address, status=202)
            self._post("verify-registration/", {**self._link(self._built.Pending, address), **fields}, status=201)
        else:
            self._post("register/", {**address, **fields}, status=201)
            self._post("verify-registration/", self._link(self._built.User, address), status=200)

    def _post(self, path: str, body: Mapping[str, object], *, status: int) -> None:
        answer = post(f"{self._server.url}/api/v1/accounts/{path}", body)
        if answer.status != status:
            sys.exit(f"{answer.status}: {answer.text}")

    def _link(self, model: Any, address: Mapping[str, str]) -> dict[str, str]:
        with self._built.app.app_context():
            row = self._built.db.session.scalar(sa.select(model).filter_by(**address))
            return RegisterSigner.for_user(row).get_signed_data()

    def _look(self, accounts: int) -> Sample:
        workers = [Path(f"/proc/{pid}") for pid in self._server.workers()]
        with self._built.engine.connect() as connection:
            connected = sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connections = connection.scalar(connected) or 0
        return Sample(
            accounts=accounts,
            memory=sum(_proportional_set_size(worker) for worker in workers),
            files=sum(len(list((worker / "fd").iterdir())) for worker in workers),
            connections=connections,
            seconds=time.monotonic() - self._start,
        )


def _proportional_set_size(process: Path) -> float:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def faults(samples: list[Sample]) -> list[str]:
    """Compare the last look with the first one after the warm-up."""
    warm, last = samples[int(len(samples) * WARM_UP)], samples[-1]
    found = []
    if last.memory - warm.memory > BOUND * WORKERS:
        found.append(f"the workers grew by {last.memory - warm.memory:.1f} MiB, more than {BOUND * WORKERS:.0f}")
    if last.files > warm.files + WORKERS:  # each may be in the middle of a request
        found.append(f"open files rose from {warm.files} to {last.files}")
    if last.connections > WORKERS:
        found.append(f"{last.connections} connections are open for {WORKERS} workers")
    return found


def main() -> None:
    """Run it, and print the figures."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--accounts", type=int, default=50_000)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--email-first", action="store_true", help="make each account when its address is proven")
    chosen = parser.parse_args()
    if fault := SERVERS["postgresql"].failure():
        sys.exit(fault)
    with tempfile.TemporaryDirectory() as folder, new_database("postgresql") as url, RecordingServer() as mail:
        database = text_of(url)
        # The clients' own connections are not to be among those that are counted.
        options = {"SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": sa.NullPool}}
        built = make_app(database_uri=database, pending=True, config=options)
        connect_first(built.engine)
        settings = environment(database=database, mail_port=mail.port, email_first=chosen.email_first)
        app = "tools.served_app:create_app()"
        with gunicorn(app, folder=Path(folder), workers=WORKERS, environment=settings) as server:
            soak = Soak(built, server, mail, email_first=chosen.email_first)
            samples = soak.run(chosen.accounts, looks=chosen.looks)
        built.dispose()
    print("\nStart, middle and end:")
    for sample in (samples[0], samples[len(samples) // 2], samples[-1]):
        print(sample)
    if found := faults(samples):
        sys.exit("Not flat: " + "; ".join(found))
    print(f"Flat: after the warm-up no worker grew by more than {BOUND:.0f} MiB on average.")


if __name__ == "__main__":
    main()
