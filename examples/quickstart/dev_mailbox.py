"""A mailbox for development: a real SMTP server on this machine whose mails are read in the browser."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from threading import Event, Thread

from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Blueprint, Flask, Response, abort, make_response, render_template

# A mail may style itself. It runs no scripts and loads nothing, so that reading it tells nobody.
MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; "
    "sandbox allow-top-navigation-by-user-activation"
)


@dataclass(frozen=True)
class Mail:
    """A mail as it arrived.

    :param number: counts the mails of this run.
    :param received_at: when it arrived.
    :param sender: the envelope's sender.
    :param recipients: the envelope's recipients.
    :param message: the parsed mail.
    """

    number: int
    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage

    @property
    def text(self) -> str:
        """Give the plain text part, or nothing."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """Give the HTML part, or nothing."""
        return self._part("html")

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        if part is None:
            return ""
        try:
            return str(part.get_content())
        except LookupError:  # a charset that Python does not know
            return bytes(part.get_payload(decode=True)).decode(errors="replace")


class Mailbox:
    """Receive mails on a free port of the loopback address and keep the newest ones in memory.

    :param size: how many mails are kept.
    """

    def __init__(self, size: int = 100) -> None:
        self.port = 0
        self._mails: deque[Mail] = deque(maxlen=size)
        self._numbers = itertools.count(1)
        self._running = Event()

    @property
    def messages(self) -> list[Mail]:
        """List the mails, newest first."""
        return list(self._mails)

    def init_app(self, app: Flask) -> None:
        """Start the server, have an application send its mails here, and add the pages that show them."""
        self.start()
        app.config.setdefault("MAIL_SERVER", "127.0.0.1")
        app.config.setdefault("MAIL_PORT", self.port)
        app.register_blueprint(mailbox_pages(self))
        app.extensions["mailbox"] = self

    def start(self) -> None:
        """Start the server; its :attr:`port` is known when this returns."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._thread = Thread(target=asyncio.run, args=[self._serve(listener)], name="mailbox", daemon=True)
        self._thread.start()
        self._running.wait()

    def stop(self) -> None:
        """Stop the server; the mails stay readable."""
        if self._running.is_set():
            self._running.clear()
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail; aiosmtpd calls this by its name."""
        content = envelope.content or b""
        mail = Mail(
            number=next(self._numbers),
            received_at=datetime.now(timezone.utc).astimezone(),
            sender=envelope.mail_from or "",
            recipients=tuple(envelope.rcpt_tos),
            message=message_from_bytes(
                content if isinstance(content, bytes) else content.encode(), policy=policy.default
            ),
        )
        self._mails.appendleft(mail)
        return "250 Message accepted"

    async def _serve(self, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await self._loop.create_server(self._smtp_session, sock=listener)
        self._running.set()
        await self._stopped.wait()
        server.close()

    def _smtp_session(self) -> SMTP:
        # Without a name of its own the server asks the DNS for it, which takes seconds on some machines.
        return SMTP(self, hostname="localhost", loop=self._loop, enable_SMTPUTF8=True)


def mailbox_pages(mailbox: Mailbox) -> Blueprint:
    """Make the pages that show a mailbox.

    :param mailbox: the mailbox to show.
    """
    pages = Blueprint("mailbox", __name__, url_prefix="/mailbox")

    def find(number: int) -> Mail:
        return next((mail for mail in mailbox.messages if mail.number == number), None) or abort(404)

    @pages.get("/")
    def index() -> str:
        return render_template("mailbox/index.html", mails=mailbox.messages)

    @pages.get("/<int:number>/", defaults={"part": "html"})
    @pages.get("/<int:number>/<any(text, headers):part>/")
    def read(number: int, part: str) -> str:
        mail = find(number)
        parts = [name for name in ("html", "text") if getattr(mail, name)] + ["headers"]
        return render_template("mailbox/mail.html", mail=mail, parts=parts, part=part if part in parts else parts[0])

    @pages.get("/<int:number>/html")
    def frame(number: int) -> Response:
        # The mail's links leave its frame.
        response = make_response(f'<!doctype html><base target="_top">{find(number).html}')
        response.headers["Content-Security-Policy"] = MAIL_POLICY
        return response

    @pages.after_request
    def stay_fresh(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    return pages
