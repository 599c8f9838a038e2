"""Attacks by mail servers and senders that fail."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread

import pytest
from flask import Request

from ... import clock
from ...mail.delivery import Send
from ..target import Target, stored_address, summary


class _Refusing(socketserver.StreamRequestHandler):
    """Accepts every address, then refuses the text: by then the mail was rendered."""

    def handle(self) -> None:
        self.wfile.write(b"220 loopback\r\n")
        for line in self.rfile:
            self.wfile.write(b"451 not now\r\n" if line[:4].upper() == b"DATA" else b"250 loopback\r\n")


@contextmanager
def _mail_server(fault: str) -> Iterator[int]:
    """Yield the port of a mail server that is down, silent, or refuses every mail."""
    if fault == "refuses":
        with socketserver.TCPServer(("127.0.0.1", 0), _Refusing) as server:
            server.timeout = 10
            thread = Thread(target=server.handle_request)
            thread.start()
            yield server.server_address[1]
            thread.join(10)
        return
    with socket.socket() as server_socket:
        server_socket.bind(("127.0.0.1", 0))  # keeps the port from others; connections to it are refused
        if fault == "is silent":
            server_socket.listen()  # the system accepts connections, and nobody answers
        yield server_socket.getsockname()[1]


@pytest.mark.parametrize("fault", ["is down", "is silent", "refuses"])
def test_a_mail_server_that_fails_leaves_no_account(
    registration_target: Target, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The mail cannot be sent: if the account is stored all the same, nobody can verify it, and its address is taken.

    The answer must be 503, nothing may be stored, and the same request must work a little later. Fix: commit nothing
    between INSERT and mail: not in template context builders or selectors, and not in SQLAlchemy's event listeners.
    """
    target = registration_target
    target.need(target.settings.sends_by_default, "the default sender is not in use")
    target.sign_up()
    target.change_settings(verification_email_timeout=timedelta(seconds=0.5))
    body = target.body()
    mail = target.app.extensions["mail"]
    with _mail_server(fault) as port, monkeypatch.context() as changed:
        for name, value in {"suppress": False, "server": "127.0.0.1", "port": port}.items():
            changed.setattr(mail, name, value)
        for name in ("use_tls", "use_ssl", "username", "password"):
            changed.setattr(mail, name, None)
        answer = target.request_sign_up(body)
    found = f"While the mail server {fault}, a sign-up was answered {summary(answer)}."
    target.expect(answer.status_code == 503, found)
    _expect_nothing_stored(target, body, f"while the mail server {fault}")


def test_a_sender_that_fails_leaves_no_account(registration_target: Target) -> None:
    """Your REGISTER_VERIFICATION_EMAIL_SENDER raises at its end: an account that is stored all the same is stuck.

    Fix: let your sender send or queue the finished mail, and never commit or roll back. The extension commits after
    it, and rolls back if it raises.
    """
    target = registration_target
    target.need_verification()
    target.need(not target.settings.sends_by_default, "the default sender is in use")
    target.sign_up()

    def failing_at_the_end(sender: Send) -> Send:
        def send(request: Request | None, recipient: object) -> None:
            sender(request, recipient)
            raise RuntimeError("an attack: this mail could not be sent")

        return send

    body = target.body()
    target.change_senders(failing_at_the_end)
    answer = target.request_sign_up(body)
    target.expect(answer.status_code == 503, f"When the sender failed, a sign-up was answered {summary(answer)}.")
    target.change_senders(lambda sender: sender)
    _expect_nothing_stored(target, body, "when the sender failed")


def _expect_nothing_stored(target: Target, body: dict[str, object], when: str) -> None:
    address = stored_address(body, target.email_name)
    target.expect(target.row(address) is None, f"A sign-up {when} was refused, and its account is stored.")
    if target.is_email_first:
        with target.pending_row(address) as row:
            waits = row is not None and row.next_mail_at > clock.now()
        target.expect(not waits, f"A sign-up {when} was refused, and no mail can be asked for until its cooldown ends.")
    answer = target.account_request(body)()
    target.expect(target.row(address), f"A sign-up {when} could not be repeated afterwards: {summary(answer)}.")
