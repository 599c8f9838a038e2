"""One side in a process of its own: it reads commands from its input and answers each by one line of JSON."""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from client import Client
from configuration import VERIFICATION_URL, configuration
from flask import Flask
from flask_mail import Message
from model import User, db, record_mails
from sides import load_side
from sign_ups import sign_ups
from sqlalchemy import event


class Worker:
    """Registers and verifies accounts, and measures each request.

    :param side: one of :data:`sides.SIDES`.
    :param database: the SQLite file.
    :param smtp_port: as :func:`configuration.configuration` has it.
    :param seed: makes the addresses; both sides of a round have the same ones.
    """

    def __init__(self, side: str, database: Path, *, smtp_port: int | None, seed: int) -> None:
        self._side = load_side(side)
        self._app: Flask = self._side.create_app(configuration(database, smtp_port=smtp_port))
        self._mails = record_mails(self._app)
        self._client = Client(self._app)
        self._sign_ups = sign_ups(seed)

    def run(self, count: int) -> dict[str, list[float]]:
        """Register so many accounts, then verify them.

        :param count: how many.
        :returns: the CPU microseconds of each request.
        """
        links, register, verify = [], [], []
        for _ in range(count):
            self._client.post(self._side.REGISTER_URL, next(self._sign_ups), expected=201)
            register.append(self._client.cpu_seconds * 1e6)
            links.append(_signed_data(self._mails.pop()))
        for link in links:
            self._client.post(self._side.VERIFY_URL, link, expected=200)
            verify.append(self._client.cpu_seconds * 1e6)
        return {"register": register, "verify": verify}

    def first(self) -> dict[str, float]:
        """Measure the first request of each kind, in milliseconds of CPU."""
        self._client.post(self._side.REGISTER_URL, next(self._sign_ups), expected=201)
        register = self._client.cpu_seconds * 1e3
        self._client.post(self._side.VERIFY_URL, _signed_data(self._mails.pop()), expected=200)
        return {"register": register, "verify": self._client.cpu_seconds * 1e3}

    def statements(self) -> dict[str, list[str]]:
        """List the statements of one registration and of one verification, by their first word."""
        seen: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            seen.append(statement.split()[0])

        with self._app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        self._client.post(self._side.REGISTER_URL, next(self._sign_ups), expected=201)
        register, seen[:] = list(seen), []
        self._client.post(self._side.VERIFY_URL, _signed_data(self._mails.pop()), expected=200)
        event.remove(engine, "before_cursor_execute", note)
        return {"register": register, "verify": list(seen)}

    def urls(self) -> dict[str, str]:
        """Say where the endpoints are."""
        return {"register": self._side.REGISTER_URL, "verify": self._side.VERIFY_URL}

    def links(self, count: int) -> list[dict[str, str]]:
        """Sign links for accounts that are not verified yet.

        :param count: how many.
        """
        with self._app.test_request_context():
            users = db.session.scalars(db.select(User).where(User.email_verified_at.is_(None)).limit(count))
            links = [self._side.link_data(user) for user in users]
        if len(links) < count:
            raise RuntimeError(f"only {len(links)} accounts wait for their link")
        return links

    def answers(self) -> dict[str, Any]:
        """Show what comes out of one registration and one verification, apart from what is new each time."""
        sign_up = next(self._sign_ups)
        registered = self._client.post(self._side.REGISTER_URL, sign_up, expected=201)
        message = self._mails.pop()
        link = _signed_data(message)
        verified = self._client.post(self._side.VERIFY_URL, link, expected=200)
        with self._app.app_context():
            user = db.session.get_one(User, registered["id"])
            stored = [user.email, user.username, len(user.password_hash), user.email_verified_at is not None]
        sizes = [len(message.body or ""), len(message.html or "")]
        parts = [message.subject, message.recipients, list(link), len(link["signature"])]
        return {"registered": registered, "verified": verified, "stored": stored, "mail": parts, "sizes": sizes}

    def memory(self) -> float:
        """Give the peak of the resident memory in MiB.

        On Linux ru_maxrss would be that of the process that started this one, if it was the larger.
        """
        status = Path("/proc/self/status")
        if status.exists():
            lines = status.read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _signed_data(message: Message) -> dict[str, str]:
    link = re.search(re.escape(VERIFICATION_URL) + r"\S*", message.body or "")
    if link is None:
        raise RuntimeError("there is no link in the mail")
    return {name: values[0] for name, values in parse_qs(urlsplit(link[0]).query).items()}


def serve() -> None:
    """Do what the lines of the standard input say until it ends."""
    options = json.loads(sys.stdin.readline())
    worker = Worker(options["side"], Path(options["database"]), smtp_port=options["smtp_port"], seed=options["seed"])
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(*arguments)), flush=True)


if __name__ == "__main__":
    serve()
