"""Where a request's time goes: the parts of its work, one by one, each as the package has to have it done.

Every part is done here by itself, through public names, in one process and in turn, so that the parts add up to what
a request cannot do without. What a whole request takes beyond them is the package's own: its checks, what it does for
other configurations, and the frames of its functions.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from client import Client
from configuration import VERIFICATION_PERIOD, configuration, near_free_hash, real_hash
from email_validator import validate_email
from flask import Flask, Response, jsonify, render_template, request
from flask_mail import Message
from model import User, db, mail
from ours import create_app, link_data
from sign_ups import sign_ups
from worker import Worker

from flask_rest_registration import RestRegistration, passwords
from flask_rest_registration.translations.texts import current_language


def measure_parts(database: Path, *, smtp_port: int | None, repetitions: int) -> dict[str, float]:
    """Measure the parts in a fresh process.

    :param database: an SQLite file.
    :param smtp_port: as :func:`configuration.configuration` has it.
    :param repetitions: how often each part is done.
    :returns: the median of each part's CPU time in microseconds, and of ``register`` and ``verify``, the whole ones.
    """
    options = json.dumps([str(database), smtp_port, repetitions])
    done = subprocess.run([sys.executable, __file__, options], check=True, stdout=subprocess.PIPE, text=True)
    parts: dict[str, float] = json.loads(done.stdout)
    return parts


class _Stopwatch:
    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.times.setdefault(name, []).append((time.process_time() - started) * 1e6)

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(times) for name, times in self.times.items()}


_FOLDER = "rest_registration/register"
_NOW = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # as the column has it
_TABLE = db.metadata.tables["user"]
_WARMING_UP = 5


class _Parts:
    """The application of the package, and one method for each group of parts."""

    def __init__(self, database: Path, smtp_port: int | None) -> None:
        self._lean = smtp_port is None
        self._app = create_app(configuration(database, smtp_port=smtp_port))
        self._registration = RestRegistration()
        self._clock = _Stopwatch()
        self._sign_ups = sign_ups(seed=1)
        self._client = Client(_plain_app())
        self._worker = Worker("ours", database, smtp_port=smtp_port, seed=2)

    def run(self, repetitions: int) -> dict[str, float]:
        for number in range(-_WARMING_UP, repetitions):
            if number == 0:
                self._clock.times.clear()
            self._repeat(next(self._sign_ups))
        return self._clock.medians()

    def _repeat(self, sent: dict[str, str]) -> None:
        self._flask(sent)
        with self._app.test_request_context(method="POST", json=sent):
            user_id = self._register(sent)
            self._mail(user_id)
        for update in ("update", "update class", "update synchronized", "update attribute"):
            with self._app.app_context():
                self._verify(user_id, update)
        for whole, times in self._worker.run(1).items():
            self._clock.times.setdefault(whole, []).extend(times)

    def _flask(self, sent: dict[str, str]) -> None:
        self._client.post("/plain", sent, expected=200)
        self._clock.times.setdefault("flask", []).append(self._client.cpu_seconds * 1e6)

    def _register(self, sent: dict[str, str]) -> int:
        part = self._clock.part
        schema, profile = self._registration.register_schema(self._app), self._registration.profile_schema(self._app)
        with part("json"):
            request.get_json()
        with part("load"):
            values = schema.load(sent)
        with part("email"):
            validate_email(sent["email"], check_deliverability=False, allow_smtputf8=False)
        words = {name: values[name] for name in ("email", "username")}
        with part("validators"):
            passwords.validate_length(values["password"], words)
            if not self._lean:
                passwords.validate_strength(values["password"], words)
        with part("hash"):
            hashed = (near_free_hash if self._lean else real_hash)(values["password"])
        with part("insert"):
            user = User(email=values["email"], username=values["username"], password_hash=hashed)
            db.session.add(user)
            db.session.flush()
        with part("dump"):
            profile.dump(user)
        with part("commit"):
            db.session.commit()
        with part("expired"):
            user_id: int = user.id
        with part("schema"):
            type(schema)()
        return user_id

    def _mail(self, user_id: int) -> None:
        part = self._clock.part
        user = db.session.get_one(User, user_id)
        with part("sign"):
            signed = link_data(user)
        context = {
            "site": "frontend.example",
            "verification_url": f"https://frontend.example/verify-user/?signature={signed['signature']}",
            "valid_until": _NOW + VERIFICATION_PERIOD,
            "translate": current_language().gettext,
            "translate_number": current_language().ngettext,
            "language": "en",
            "direction": "ltr",
            "subject": "Confirm your e-mail address for frontend.example",
        }
        with part("templates"):
            subject, body, html = (
                render_template(f"{_FOLDER}/{name}", **context) for name in ("subject.txt", "body.txt", "body.html")
            )
        with part("message"):
            message = Message(subject, recipients=[user.email], body=body, html=html, reply_to="hello@example.com")
        with part("delivery"):
            mail.send(message)
        with part("mime"):
            if not self._lean:
                message.as_bytes()
        source = f"{{# {user_id} #}}{html}"
        with part("compile"):
            self._app.jinja_env.from_string(source)

    def _verify(self, user_id: int, update: str) -> None:
        part = self._clock.part
        with part("select"):
            user = db.session.get_one(User, user_id, populate_existing=True)
        with part("columns"):
            db.session.execute(sa.select(User.id, User.email, User.email_verified_at).where(User.id == user_id)).one()
        target: type[User] | sa.Table = _TABLE if update == "update" else User
        columns = _TABLE.c
        with part(update):
            if update == "update attribute":
                user.email_verified_at = _NOW
                db.session.flush()
            else:
                statement = (
                    sa.update(target)
                    .where(columns.id == user_id, columns.email == user.email, columns.email_verified_at.is_(None))
                    .values(email_verified_at=_NOW)
                )
                if update == "update class":
                    statement = statement.execution_options(synchronize_session=False)
                db.session.execute(statement)
        with part(f"commit {update}"):
            db.session.commit()
        db.session.execute(sa.update(_TABLE).values(email_verified_at=None).where(columns.id == user_id))
        db.session.commit()


def _plain_app() -> Flask:
    """Make an application that only answers JSON."""
    app = Flask("plain")

    @app.post("/plain")
    def plain() -> Response:
        return jsonify(id=1, email="somebody@example.com", username="somebody")

    return app


if __name__ == "__main__":
    path, port, count = json.loads(sys.argv[1])
    print(json.dumps(_Parts(Path(path), port).run(count)))
