"""An app that gunicorn serves, set up by the environment; it notes what it does, line by line, in a file.

Each line has a word, the process id and what it is about: ``begin 17 <account>`` and ``end 17 <account>`` around
each request, ``user_activated 17 <account>`` for each signal. Accounts are named by id or address.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from flask_rest_registration import clock, user_activated, user_registered
from tests.support.apps import make_app

_VARIABLE = "SERVED_APP"


class SharedClock:
    """Stands in for ``flask_rest_registration.clock.now`` in several processes: the time of a file that is there."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self) -> int:
        return int(self._file.stat().st_mtime)

    def move(self, seconds: int) -> None:
        time = self() + seconds
        os.utime(self._file, (time, time))


def environment(
    *, database: str, mail_port: int = 0, notes: Path | None = None, email_first: bool = False, time: Path | None = None
) -> Mapping[str, str]:
    """Return what the app is to be started with.

    :param database: the URI of its database, which has the tables, those of pending registrations too.
    :param mail_port: of its mail server on this machine; without one no mail is sent.
    :param notes: the file for its lines; without one there are none.
    :param email_first: whether an account is made when its address is proven.
    :param time: the file of its :class:`SharedClock`; without one its time is the machine's.
    """
    option = "REGISTER_EMAIL_FIRST" if email_first else "REGISTER_VERIFICATION_RESEND_ENABLED"
    texts = {"database": database, "notes": str(notes or ""), "time": str(time or ""), "option": option}
    return {_VARIABLE: json.dumps({**texts, "mail_port": mail_port})}


def create_app() -> Flask:
    """Make the app; its tables must be there."""
    chosen = json.loads(os.environ[_VARIABLE])
    if chosen["time"]:
        clock.now = SharedClock(Path(chosen["time"]))
    mail = {"MAIL_PORT": chosen["mail_port"], "MAIL_SUPPRESS_SEND": not chosen["mail_port"]}
    built = make_app(
        database_uri=chosen["database"],
        tables=False,
        pending=True,
        config={"TESTING": False, **mail},
        registration={chosen["option"]: True},
    )
    if chosen["notes"]:
        _take_notes(built.app, Path(chosen["notes"]))
    return built.app


def _take_notes(app: Flask, file: Path) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(word: str, about: object) -> None:
        os.write(descriptor, f"{word} {os.getpid()} {about}\n".encode())  # one write: lines are not mixed

    def account() -> object:
        sent = request.get_json(silent=True)
        return sent.get("email") or sent.get("user_id") if isinstance(sent, dict) else None

    @app.before_request
    def begin() -> None:
        note("begin", account())

    @app.after_request
    def end(response: Response) -> Response:
        note("end", account())
        return response

    @user_registered.connect_via(app)
    def registered(sender: Flask, user: Any, **_: object) -> None:
        note("user_registered", user.email)

    @user_activated.connect_via(app)
    def activated(sender: Flask, user: Any, **_: object) -> None:
        note("user_activated", user.id)

    # Receivers are weakly held.
    app.extensions["receivers"] = [registered, activated]
