"""One side in a process of its own: it reads commands from its input and answers each by one line of JSON."""

from __future__ import annotations

import gc
import json
import random
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from client import Client
from configuration import VERIFICATION_URL, configuration
from flask import Flask
from flask_mail import Message
from model import db, record_mails
from sides import load_side
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
        self._sign_ups = _sign_ups(seed)

    def run(self, count: int) -> dict[str, list[float]]:
        """Register so many accounts, then verify them.

        :param count: how many.
        :returns: the CPU microseconds of each request.
        """
        links, register, verify = [], [], []
        gc.collect()
        for _ in range(count):
            self._client.post(self._side.REGISTER_URL, next(self._sign_ups), expected=201)
            register.append(self._client.cpu_seconds * 1e6)
            links.append(_signed_data(self._mails.pop()))
        for link in links:
            self._client.post(self._side.VERIFY_URL, link, expected=200)
            verify.append(self._client.cpu_seconds * 1e6)
        return {"register": register, "verify": verify}

    def first(self) -> dict[str, float]:
        """Measure the first request of each kind, in milliseconds of the clock."""
        self._client.post(self._side.REGISTER_URL, next(self._sign_ups), expected=201)
        register = self._client.seconds * 1e3
        self._client.post(self._side.VERIFY_URL, _signed_data(self._mails.pop()), expected=200)
        return {"register": register, "verify": self._client.seconds * 1e3}

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

    def memory(self) -> float:
        """Give the peak of the resident memory in MiB."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _sign_ups(seed: int) -> Iterator[dict[str, str]]:
    source = random.Random(seed)  # noqa: S311  # addresses that repeat in the next run are what is wanted
    while True:
        number = source.getrandbits(48)
        password = f"{number:x} horse staple"
        yield {
            "email": f"{number:012x}.new@Example.com",
            "username": f"{number:012x}.new",
            "password": password,
            "password_confirm": password,
        }


def _signed_data(message: Message) -> dict[str, str]:
    link = re.search(re.escape(VERIFICATION_URL) + r"\S*", message.body or "")
    if link is None:
        raise RuntimeError("there is no link in the mail")
    return {name: values[0] for name, values in parse_qs(urlsplit(link[0]).query).items()}


def serve() -> None:
    """Do what the lines of the standard input say until it ends."""
    options = json.loads(sys.stdin.readline())
    worker = Worker(
        options["side"], Path(options["database"]), smtp_port=options["smtp_port"], seed=options["seed"]
    )
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(*arguments)), flush=True)


if __name__ == "__main__":
    serve()
