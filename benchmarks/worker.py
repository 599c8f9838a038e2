"""What a measuring process does: it signs people up, and measures each request.

The WSGI application is called as a server calls it. Werkzeug's test client takes some 100 us of its own, which would
hide differences.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from accounts import sign_ups
from flask import Flask
from flask_mail import Message, email_dispatched
from sides import VERIFICATION_URL, User, add_package, create_app, db, make_app
from sqlalchemy import event

REGISTER_URL, VERIFY_URL = "/accounts/register/", "/accounts/verify-registration/"

_ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_ACCEPT": "application/json",
    "HTTP_USER_AGENT": "benchmark",
    "CONTENT_TYPE": "application/json",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


class Client:
    """Post JSON to an application, and keep its last mail.

    :param app: the application.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        #: CPU microseconds of the last request, with the whole answer and the end of its contexts.
        self.cpu = 0.0
        self._status = ""
        self._mails: deque[Message] = deque(maxlen=1)
        # The signal comes also where sending is suppressed.
        email_dispatched.connect(self._keep_mail, app)

    def post(self, url: str, sent: object, *, expected: int) -> Any:
        """Send one request.

        :param url: the path.
        :param sent: what is sent as JSON.
        :param expected: the status that the answer must have, lest failures be measured.
        :returns: the parsed answer.
        """
        body = json.dumps(sent).encode()
        environ = {
            **_ENVIRON,
            "PATH_INFO": url,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body),
            "wsgi.errors": BytesIO(),
        }
        started = time.process_time()
        chunks: Any = self.app.wsgi_app(environ, self._start_response)
        with closing(chunks):
            answer = b"".join(chunks)
        self.cpu = (time.process_time() - started) * 1e6
        if int(self._status.split()[0]) != expected:
            raise RuntimeError(f"{url} answered {self._status}: {answer!r}")
        return json.loads(answer)

    def mail(self) -> Message:
        """Give the last mail."""
        return self._mails[-1]

    def link(self) -> dict[str, str]:
        """Give the values of the link in the last mail."""
        found = re.findall(re.escape(VERIFICATION_URL) + r"\S*", self.mail().body or "")
        return dict(parse_qsl(urlsplit(found[0]).query))

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self._status = status

    def _keep_mail(self, _: Flask, message: Message, **extra: object) -> None:
        self._mails.append(message)


class Worker:
    """Registers and verifies accounts of one side.

    :param side: "ours" or "floor".
    :param database: the SQLite file.
    :param smtp_port: as :func:`sides.make_app` has it.
    :param seed: makes the addresses; both sides of a round have the same ones.
    """

    def __init__(self, side: str, database: Path, smtp_port: int | None, seed: int) -> None:
        self._client = Client(create_app(side, database, smtp_port))
        self._sign_ups = sign_ups(seed)

    def run(self, count: int) -> dict[str, list[float]]:
        """Register so many accounts, then verify them; give the CPU microseconds of each request."""
        links, register, verify = [], [], []
        for _ in range(count):
            self._register()
            register.append(self._client.cpu)
            links.append(self._client.link())
        for link in links:
            self._verify(link)
            verify.append(self._client.cpu)
        return {"register": register, "verify": verify}

    def links(self, count: int) -> list[dict[str, str]]:
        """Give the links of so many accounts, which are registered for it and not verified."""
        links = []
        for _ in range(count):
            self._register()
            links.append(self._client.link())
        return links

    def statements(self) -> dict[str, list[str]]:
        """List the statements of one registration and of one verification, by their first word."""
        with self._statements() as register:
            self._register()
        with self._statements() as verify:
            self._verify(self._client.link())
        return {"register": register, "verify": verify}

    def answers(self) -> dict[str, Any]:
        """Show what comes out of one registration and one verification, apart from what is new each time."""
        registered = self._register()
        message, link = self._client.mail(), self._client.link()
        verified = self._verify(link)
        with self._client.app.app_context():
            user = db.session.get_one(User, registered["id"])
            stored = [user.email, user.username, len(user.password_hash), user.email_verified_at is not None]
        sizes = [len(message.body or ""), len(message.html or "")]
        parts = [message.subject, message.recipients, list(link), len(link["signature"])]
        return {"registered": registered, "verified": verified, "stored": stored, "mail": parts, "sizes": sizes}

    def memory(self) -> float:
        """Give the peak of the resident memory in MiB, as Linux tells it."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10

    def _register(self) -> Any:
        return self._client.post(REGISTER_URL, next(self._sign_ups), expected=201)

    def _verify(self, link: Mapping[str, str]) -> Any:
        return self._client.post(VERIFY_URL, link, expected=200)

    @contextmanager
    def _statements(self) -> Iterator[list[str]]:
        seen: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            seen.append(statement.split()[0])

        with self._client.app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        yield seen
        event.remove(engine, "before_cursor_execute", note)


class EmailFirst:
    """Signs people up both ways in turn, in one process.

    :param classic: an SQLite file for the account at sign-up.
    :param email_first: another one for e-mail first.
    :param smtp_port: as :func:`sides.make_app` has it.
    """

    def __init__(self, classic: Path, email_first: Path, smtp_port: int | None) -> None:
        from flask_rest_registration import PendingRegistrationMixin

        class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[name-defined, misc]
            """The addresses that a mail was sent to."""

        self._classic = Client(create_app("ours", classic, smtp_port))
        app = make_app(email_first, smtp_port=smtp_port)
        add_package(app, {"REGISTER_EMAIL_FIRST": True, "REGISTER_VERIFICATION_CODE_ENABLED": True})
        with app.app_context():
            db.create_all()
        self._email_first = Client(app)
        self._sign_ups = sign_ups(seed=1)
        self._times: dict[str, list[float]] = {}

    def run(self, repetitions: int) -> dict[str, float]:
        """Give the median CPU microseconds of each kind of request."""
        for number in range(-5, repetitions):
            if number == 0:  # what came before was for warming up
                self._times.clear()
            self._repeat()
        return {name: statistics.median(times) for name, times in self._times.items()}

    def _repeat(self) -> None:
        self._time("classic", self._classic, REGISTER_URL, next(self._sign_ups), expected=201)
        for kind in ("link", "code"):
            fields = next(self._sign_ups)
            address = {"email": fields.pop("email")}
            self._time("due", self._email_first, REGISTER_URL, address, expected=202)
            self._time("not due", self._email_first, REGISTER_URL, address, expected=202)
            proof = self._email_first.link() if kind == "link" else {**address, "code": self._code()}
            self._time(kind, self._email_first, VERIFY_URL, {**proof, **fields}, expected=201)

    def _time(self, name: str, client: Client, url: str, sent: Mapping[str, str], *, expected: int) -> None:
        client.post(url, sent, expected=expected)
        self._times.setdefault(name, []).append(client.cpu)

    def _code(self) -> str:
        return str(re.findall(r"[0-9]{6}", self._email_first.mail().subject)[0])
