"""The examples as running sites, each with a fresh database and mailbox."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from flask import Flask
from sqlalchemy import Connection, text
from werkzeug.serving import BaseWSGIServer, make_server

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path += [str(EXAMPLES / "quickstart"), str(EXAMPLES / "spa")]

import backend as backend  # noqa: E402
from app import create_app as create_quickstart  # noqa: E402
from dev_mailbox import Mail, Mailbox  # noqa: E402

from examples.forms.app import create_app as create_forms  # noqa: E402

CREATE_APP = {"quickstart": create_quickstart, "forms": create_forms, "spa": backend.create_app}


class Server:
    """Serves an application from a thread; its port stays the same, whatever it serves and however often it stops."""

    def __init__(self) -> None:
        self.port = 0
        self._app = Flask("nothing")
        self._server: BaseWSGIServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://{backend.HOST}:{self.port}"

    def start(self) -> None:
        self._server = make_server(backend.HOST, self.port, self._app, threaded=True)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=[0.02], daemon=True)
        self._thread.start()

    def serve(self, app: Flask) -> None:
        self._app = app
        if self._server is None:
            self.start()
        else:
            self._server.app = app

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


class Site:
    """An example that runs.

    :param name: ``quickstart``, ``forms`` or ``spa``.
    :param url: where its pages are.
    :param api: the server of the API and of the mailbox's pages.
    """

    def __init__(self, name: str, url: str, api: Server, folder: Path) -> None:
        self.name = name
        self.url = url
        self.api = api
        self._database = f"sqlite:///{folder / 'site.db'}"
        self._apps: list[Flask] = []
        self.configure()

    def configure(self, **config: object) -> Flask:
        """Serve an application that is configured otherwise, with the same database and a new mailbox."""
        usual = {
            "PUBLIC_URL": self.url,
            "SECRET_KEY": "of the tests in a browser",
            "SQLALCHEMY_DATABASE_URI": self._database,
        }
        app = CREATE_APP[self.name]({**usual, **config})
        self._apps.append(app)
        self.mailbox: Mailbox = app.extensions["mailbox"]
        self.api.serve(app)
        return app

    @property
    def mails(self) -> list[Mail]:
        """The mails, newest first."""
        return self.mailbox.messages

    @property
    def link(self) -> str:
        start = f"{self._apps[-1].config['PUBLIC_URL']}/verify-user/"
        return next(word for word in self.mails[0].text.split() if word.startswith(start))

    @property
    def codes(self) -> list[str]:
        """The newest mail's codes, each alone on its line: one or none."""
        return [line for line in self.mails[0].text.splitlines() if re.fullmatch(r"[0-9]{6}", line)]

    @property
    def code(self) -> str:
        (code,) = self.codes
        return code

    @property
    def accounts(self) -> dict[str, bool]:
        with self._connected() as connection:
            rows = connection.execute(text("SELECT email, email_verified_at IS NOT NULL FROM user"))
            return {email: bool(verified) for email, verified in rows}

    def make_account(self, email: str, username: str) -> None:
        """Make a verified account behind the pages' back."""
        insert = "INSERT INTO user (email, username, password_hash, email_verified_at) VALUES (:email, :name, '-', :at)"
        with self._connected() as connection:
            connection.execute(text(insert), {"email": email, "name": username, "at": "2026-01-01 00:00:00"})

    def clear_flags(self) -> None:
        """Make every account unverified, as a change of address does."""
        with self._connected() as connection:
            connection.execute(text("UPDATE user SET email_verified_at = NULL"))

    def close(self) -> None:
        for app in self._apps:
            app.extensions["mailbox"].stop()
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._apps[-1].app_context(), self._apps[-1].extensions["sqlalchemy"].engine.begin() as connection:
            yield connection
