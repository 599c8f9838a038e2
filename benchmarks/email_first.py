"""E-mail first beside the account at sign-up: the CPU time of each request, in one process and in turn."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import ours
from client import Client
from configuration import VERIFICATION_URL, configuration
from model import db, record_mails
from sign_ups import sign_ups

from flask_rest_registration import PendingRegistrationMixin

#: The requests, by the names under which they are measured.
REQUESTS = (
    ("classic", "the account at sign-up: register"),
    ("due", "e-mail first: register, a message is due"),
    ("not due", "e-mail first: register, none is due"),
    ("link", "e-mail first: verify by link, the account is made"),
    ("code", "e-mail first: verify by code, the account is made"),
)
#: At defaults, the account at sign-up must cost so many times as much as a sign-up with e-mail first.
LOWEST_RATIOS = {"due": 20, "not due": 50}

_WARMING_UP = 5


class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[name-defined, misc]
    """The addresses that a message was sent to."""


def measure_email_first(
    classic: Path, email_first: Path, *, smtp_port: int | None, repetitions: int
) -> dict[str, float]:
    """Measure both ways in a fresh process.

    :param classic: an SQLite file for the account at sign-up.
    :param email_first: another one for e-mail first.
    :param smtp_port: as :func:`configuration.configuration` has it.
    :param repetitions: how often each request is made.
    :returns: the median of each request's CPU time in microseconds.
    """
    options = json.dumps([str(classic), str(email_first), smtp_port, repetitions])
    done = subprocess.run([sys.executable, __file__, options], check=True, stdout=subprocess.PIPE, text=True)
    medians: dict[str, float] = json.loads(done.stdout)
    return medians


def faults(medians: Mapping[str, float]) -> list[str]:
    """Say which sign-ups cost more than they may, with everything at its defaults.

    :param medians: as :func:`measure_email_first` gives them.
    """
    return [
        f"a sign-up with e-mail first ({name}) costs 1/{medians['classic'] / medians[name]:.0f} of an account at"
        f" sign-up, more than 1/{ratio}"
        for name, ratio in LOWEST_RATIOS.items()
        if medians["classic"] < ratio * medians[name]
    ]


class _Measuring:
    def __init__(self, classic: Path, email_first: Path, smtp_port: int | None) -> None:
        self._classic = Client(ours.create_app(configuration(classic, smtp_port=smtp_port)))
        app = ours.create_app(
            configuration(email_first, smtp_port=smtp_port),
            REGISTER_EMAIL_FIRST=True,
            REGISTER_VERIFICATION_CODE_ENABLED=True,
        )
        with app.app_context():
            db.create_all()
        self._mails = record_mails(app)
        self._email_first = Client(app)
        self._sign_ups = sign_ups(seed=1)
        self._times: dict[str, list[float]] = {}

    def run(self, repetitions: int) -> dict[str, float]:
        for number in range(-_WARMING_UP, repetitions):
            if number == 0:
                self._times.clear()
            self._repeat()
        return {name: statistics.median(times) for name, times in self._times.items()}

    def _repeat(self) -> None:
        self._time("classic", self._classic, ours.REGISTER_URL, next(self._sign_ups), expected=201)
        for kind in ("link", "code"):
            sign_up = next(self._sign_ups)
            address = {"email": sign_up.pop("email")}
            self._time("due", self._email_first, ours.REGISTER_URL, address, expected=202)
            self._time("not due", self._email_first, ours.REGISTER_URL, address, expected=202)
            proof = self._link() if kind == "link" else {**address, "code": self._code()}
            self._time(kind, self._email_first, ours.VERIFY_URL, {**proof, **sign_up}, expected=201)

    def _time(self, name: str, client: Client, url: str, sent: Mapping[str, Any], *, expected: int) -> None:
        client.post(url, sent, expected=expected)
        self._times.setdefault(name, []).append(client.cpu_seconds * 1e6)

    def _link(self) -> dict[str, str]:
        found = re.findall(re.escape(VERIFICATION_URL) + r"\S*", self._mails[-1].body or "")
        return dict(parse_qsl(urlsplit(found[0]).query))

    def _code(self) -> str:
        return str(re.findall(r"[0-9]{6}", self._mails[-1].subject)[0])


if __name__ == "__main__":
    first, second, port, count = json.loads(sys.argv[1])
    print(json.dumps(_Measuring(Path(first), Path(second), port).run(count)))
