"""The two examples as running sites, each with a fresh database and mailbox."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from flask import Flask
from sqlalchemy import Connection, text
from werkzeug.serving import BaseWSGIServer

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path += [str(EXAMPLES / "quickstart"), str(EXAMPLES / "spa")]

import backend as backend  # noqa: E402
from app import create_app as create_quickstart  # noqa: E402
from dev_mailbox import Mailbox  # noqa: E402


class Server:
    """Serves an application from a thread; its port stays the same, whatever it serves and however often it stops."""

    def __init__(self) -> None:
        self.app = Flask("nothing")
        self._listener: socket.socket | None = None
        self._server: BaseWSGIServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://{backend.HOST}:{self.port}"

    def start(self) -> None:
        self._listener = socket.create_server((backend.HOST, getattr(self, "port", 0)))
        self.port = self._listener.getsockname()[1]
        self._server = backend.server_of(self.app, self._listener)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def serve(self, app: Flask) -> None:
        self.app = app
        if self._server is None:
            self.start()
        else:
            self._server.app = app

    def stop(self) -> None:
        """Stop listening, so that connections are refused."""
        if self._server is not None and self._listener is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._listener.close()
            self._server = None


@dataclass
class Site:
    """An example that runs.

    :param name: ``quickstart`` or ``spa``.
    :param url: where its pages are.
    :param api: the server of the API and of the mailbox's pages, to be stopped and started.
    """

    name: str
    url: str
    api: Server
    folder: Path

    def __post_init__(self) -> None:
        self.apps: list[Flask] = []
        self.configure()

    def configure(self, config: Mapping[str, Any] | None = None) -> Flask:
        """Serve an application that is configured otherwise, with the same database."""
        create_app = backend.create_app if self.name == "spa" else create_quickstart
        app = create_app(
            {
                "PUBLIC_URL": self.url,
                "SECRET_KEY": "signs the links of a test",
                "SQLALCHEMY_DATABASE_URI": f"sqlite:///{self.folder / 'site.db'}",
                **(config or {}),
            }
        )
        self.apps.append(app)
        self.api.serve(app)
        return app

    @property
    def mailbox(self) -> Mailbox:
        mailbox: Mailbox = self.apps[-1].extensions["mailbox"]
        return mailbox

    @property
    def link(self) -> str:
        """The newest mail's link."""
        start = f"{self.apps[-1].config['PUBLIC_URL']}/verify-user/"
        return next(word for word in self.mailbox.messages[0].text.split() if word.startswith(start))

    @property
    def code(self) -> str:
        """The newest mail's code, which stands alone on its line."""
        (code,) = self.codes
        return code

    @property
    def codes(self) -> list[str]:
        """The newest mail's codes: one or none."""
        return [line for line in self.mailbox.messages[0].text.splitlines() if re.fullmatch(r"[0-9]{6}", line)]

    @property
    def accounts(self) -> dict[str, bool]:
        """Tell of each address whether it is verified."""
        with self._connected() as connection:
            rows = connection.execute(text("SELECT email, email_verified_at IS NOT NULL FROM user"))
            return {email: bool(verified) for email, verified in rows}

    def make_account(self, email: str, username: str) -> None:
        """Make a verified account behind the pages' back."""
        insert = "INSERT INTO user (email, username, password_hash, email_verified_at) VALUES (:email, :name, '-', :at)"
        with self._connected() as connection:
            connection.execute(text(insert), {"email": email, "name": username, "at": "2026-01-01 00:00:00"})

    def close(self) -> None:
        for app in self.apps:
            app.extensions["mailbox"].stop()
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self.apps[-1].app_context(), self.apps[-1].extensions["sqlalchemy"].engine.begin() as connection:
            yield connection


@contextmanager
def running(name: str, *, pages: Server, api: Server, folder: Path) -> Iterator[Site]:
    """Run an example while the context lasts.

    :param name: ``quickstart`` or ``spa``.
    :param pages: the server of its pages; the quickstart's is the API's too.
    :param api: the server of the API.
    :param folder: for its database.
    """
    site = Site(name, pages.url, api, folder)
    try:
        yield site
    finally:
        site.close()
