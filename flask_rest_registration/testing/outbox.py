"""What keeps the mails of attacks in this process, whatever the application sends them with."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from threading import Thread
from typing import Any

import pytest
from flask import Flask
from flask_mail import Message, email_dispatched

from ..mail.delivery import PackageSender, Send
from ..state import AppState

#: The settings whose values send mails.
SENDERS = ("register_verification_email_sender", "register_existing_email_sender")

# Whether this code was called by a sender of the application's own.
_in_own_sender: ContextVar[bool] = ContextVar("in_own_sender", default=False)


class _Stopped(BaseException):
    """Ends a sender where it would leave the process; no ``except Exception`` catches it."""


@dataclass(frozen=True)
class Outbox:
    """Takes every mail, as a transport of the package's senders, and stops senders of the application's own.

    :param sent: each mail as it would be sent, or nothing where only its sender knows it.
    :param reached: what senders of the application's own wanted to reach.
    """

    sent: list[bytes] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    _threads: list[Thread] = field(default_factory=list)

    @contextmanager
    def connect(self, *_: object) -> Iterator[None]:
        """Connect to nothing."""
        yield

    def send(self, mail: Any) -> None:
        """Take a mail of the package or of Flask-Mail."""
        finished = mail if isinstance(mail, Message) else mail.as_email_message()
        self.sent.append(finished.as_bytes())

    def receive(self, sender: Flask, message: Message, **_: object) -> None:
        """Take what Flask-Mail did not send."""
        if _in_own_sender.get():
            self.reached.append("Flask-Mail's server")
        self.send(message)

    def queue(self, *_: object, **__: object) -> None:
        """Take what Celery would have queued."""
        self.sent.append(b"")

    def stopping(self, sender: Send) -> Send:
        """Return a sender that ends where this one would connect to anything, as if the mail were sent."""
        if isinstance(sender, PackageSender):
            return sender

        @wraps(sender)
        def send(request: Any, recipient: object) -> object:
            token = _in_own_sender.set(True)
            try:
                return sender(request, recipient)
            except _Stopped:
                return None
            finally:
                _in_own_sender.reset(token)

        return send

    def guarding(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of sockets that senders of the application's own cannot use."""

        @wraps(connect)
        def guarded(*args: Any, **options: Any) -> Any:
            if not _in_own_sender.get():
                return connect(*args, **options)
            self.sent.append(b"")
            self.reached.append(", ".join(str(each) for each in args if not isinstance(each, socket.socket)))
            raise _Stopped

        return guarded

    def following(self, start: Callable[[Thread], None]) -> Callable[[Thread], None]:
        """Return ``Thread.start`` for threads that are bound by what binds the sender that starts them."""

        @wraps(start)
        def started(thread: Thread) -> None:
            if _in_own_sender.get():
                thread.run = partial(_run_in, copy_context(), thread.run)  # type: ignore[method-assign]
                self._threads.append(thread)
            start(thread)

        return started

    def wait(self) -> None:
        """Wait for the threads of senders, whose mails count, too, and which nothing holds back after the attack."""
        with suppress(IndexError):
            while True:
                self._threads.pop().join(0.2)


def _run_in(context: Context, run: Callable[[], None]) -> None:
    with suppress(_Stopped):
        context.run(run)


@contextmanager
def nothing_leaves(state: AppState, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    """Let no mail of an app leave the process, nor reach a queue, until ``monkeypatch`` is undone."""
    outbox = Outbox()
    monkeypatch.setattr(PackageSender, "transport", property(lambda _: lambda _: outbox), raising=False)
    if "mail" in state.app.extensions:
        monkeypatch.setattr(state.app.extensions["mail"], "suppress", True)
    if "kombu" in sys.modules:
        monkeypatch.setattr("kombu.messaging.Producer.publish", outbox.queue)
    for owner, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, outbox.guarding(getattr(owner, name)))
    monkeypatch.setattr(Thread, "start", outbox.following(Thread.start))
    senders: dict[str, Any] = {name: outbox.stopping(getattr(state.settings, name)) for name in SENDERS}
    monkeypatch.setattr(state, "settings", replace(state.settings, **senders))
    with email_dispatched.connected_to(outbox.receive, sender=state.app):
        yield outbox
