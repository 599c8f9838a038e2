"""Attacks by mail servers and senders that fail, that are slow, and that break mails."""

from __future__ import annotations

import email.policy
import html
import socket
import socketserver
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread

import pytest
from flask import Request

from ... import clock
from ...mail.delivery import PackageSender, Send
from ..target import Target, stored_address, summary

#: The most bytes of a line (RFC 5321, 4.5.3.1.6, without the line break).
_LONGEST_LINE = 998


@contextmanager
def _mail_server(target: Target, fault: str, *, when_asked: Callable[[], object] = int) -> Iterator[None]:
    """Let the app use a mail server that is down, silent, or refuses every mail.

    :param when_asked: called before the one that refuses answers RCPT.
    """
    mail = target.app.extensions["mail"]
    with _port_of_server(fault, when_asked) as port, pytest.MonkeyPatch.context() as changed:
        changed.delattr(PackageSender, "transport")  # that of the outbox
        for name, value in {"suppress": False, "server": "127.0.0.1", "port": port}.items():
            changed.setattr(mail, name, value)
        for name in ("use_tls", "use_ssl", "username", "password"):
            changed.setattr(mail, name, None)
        target.change_settings(verification_email_timeout=timedelta(seconds=0.5))
        yield


@contextmanager
def _port_of_server(fault: str, when_asked: Callable[[], object]) -> Iterator[int]:
    class Refusing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 loopback\r\n")
            for line in self.rfile:
                if line[:4].upper() == b"RCPT":
                    when_asked()
                is_refused = line[:4].upper() == b"DATA"
                self.wfile.write(b"451 not now\r\n" if is_refused else b"250 loopback\r\n")

    if fault == "refuses":
        with socketserver.TCPServer(("127.0.0.1", 0), Refusing) as server:
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
def test_a_mail_server_that_fails_leaves_no_account(registration_target: Target, fault: str) -> None:
    """The mail cannot be sent: if the account is stored all the same, nobody can verify it, and its address is taken.

    The answer must be 503, nothing may be stored, and the same request must work a little later. Fix: commit nothing
    between INSERT and mail: not in template context builders or selectors, and not in SQLAlchemy's event listeners.
    """
    target = registration_target
    target.need(target.settings.sends_by_default, "the default sender is not in use")
    target.sign_up()
    body = target.body()
    with _mail_server(target, fault):
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


def test_a_slow_mail_server_stops_no_other_page(registration_target: Target) -> None:
    """A mail server or a recipient that takes seconds: each sign-up that waits for it holds a database connection.

    Some fifteen sign-ups, and no other page gets a connection any more; on SQLite nobody can write. Fix: leave no
    connection and no change open in before_request functions, serializers and constructors of your model. A sender of
    your own is called inside the transaction: let it queue the mail, as contrib.celery.send_later does.
    """
    target = registration_target
    target.need_verification()
    if not target.settings.sends_by_default:
        target.start()
        reached = ", ".join(sorted(set(target.outbox.reached)))
        target.need(not reached, f"your sender waits for {reached} inside the transaction: let it queue the mail")
        target.need(False, "the default sender is not in use")
    target.sign_up()
    seen: list[int] = []
    with target.held_connections() as held, _mail_server(target, "refuses", when_asked=lambda: seen.append(len(held))):
        target.request_sign_up(target.body())
    target.expect(seen == [0], f"Waiting for the mail server, a sign-up holds {seen} connections of the database.")


def test_the_message_reaches_its_reader_with_its_link(registration_target: Target) -> None:
    """A mail without a link, or with one that is broken on its way: nobody can verify their account.

    Mail servers refuse or break lines of more than 998 bytes, inside a link as well (RFC 5321, 4.5.3.1.6). Fix: print
    {{ verification_url }} in each body; return it from VERIFICATION_URL_BUILDER; and encode what a sender of your own
    sends, by EmailMessage.set_content() with cte="quoted-printable", say.
    """
    target = registration_target
    target.need_verification()
    urls = target.built_urls()
    target.start()
    mails = [mail for mail in target.outbox.sent if mail]
    target.need(mails, "a sender of your own sends the mail where it is not seen")
    longest = max(len(line) for mail in mails for line in mail.splitlines())
    target.expect(longest <= _LONGEST_LINE, f"The mail has a line of {longest} bytes.")
    if not urls:  # the sender makes links in its own way
        return
    target.expect("://" in str(urls[0]), f"VERIFICATION_URL_BUILDER returned {urls[0]!r}.")
    lacking = min((_parts_without(urls, mail) for mail in mails), key=len)
    target.expect(not lacking, f"The mail has no link in its {' and '.join(lacking)}.")


def _parts_without(urls: Sequence[str], mail: bytes) -> list[str]:
    """Return the types of a mail's texts that have none of some URLs."""
    parts = email.message_from_bytes(mail, policy=email.policy.default).walk()
    texts = [(part.get_content_type(), part.get_content()) for part in parts if part.get_content_maintype() == "text"]
    return [kind for kind, text in texts if not any(url in text or url in html.unescape(text) for url in urls)]
