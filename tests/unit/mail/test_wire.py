"""The mail on the wire: its bytes, what it tells of the machine, and what each refusal of a recipient means."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import re
import smtplib
import socket
import subprocess
import sys
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import pytest
from flask import Flask
from flask_mail import Message, email_dispatched
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import DictLoader
from sqlalchemy import event

import flask_rest_registration
from flask_rest_registration import VerificationMail
from flask_rest_registration.mail.delivery import Deadline, connect
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import Builder
from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.services import missing

TEMPLATES = "REGISTER_VERIFICATION_EMAIL_TEMPLATES"

#: Some letters of twenty scripts, and what headers have rules for.
SCRIPTS = (
    "abcXYZ éßøñ Жзи Ωμέ עברית عربي हिन्दी বাংলা தமிழ் ไทย ລາວ 한국어 日本語 ひらがな カタカナ ქართ հայ አማር ខ្មែរ සිංහල"
    " 😀👩\u200d👩\u200d👧 a\u00a0b\u3000c ,;:<>@()[]\"'\\.?=_-!%&/ =?utf-8?q?no?="
)
TEXTS = st.text(st.sampled_from(SCRIPTS), max_size=300).map(lambda text: " ".join(text.split(" ")).strip())
TEXTS |= st.lists(st.sampled_from(SCRIPTS.split(" ")), max_size=40).map(lambda words: " ".join(words)[:300].strip())


def mail_with(**fields: Any) -> VerificationMail:
    pair = ("", "shop@example.com")
    usual: dict[str, Any] = {"sender": pair, "reply_to": pair, "subject": "A subject", "text": "A text\n"}
    return VerificationMail(recipient="ann@example.com", **{**usual, **fields})


def demand_safe(content: bytes) -> None:
    """Demand 7 bits, CRLF, and no line over 998 octets (RFC 5321, section 4.5.3.1.6)."""
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert re.search(b"\r(?!\n)|(?<!\r)\n|\0", content) is None


@example(subject="", name="Smith, Jones, Miller and their Sons, Trading as a House of Old Books, Inc.")
@example(subject="", name='The "Old" Books \\ Maps <old@example.org>; (Oslo: and all of the North, by post)')
@example(subject="", name="Old Books and Maps of the North and of the South and of the East. And of the West")
@given(subject=TEXTS, name=TEXTS)
def test_decoded_headers_equal_what_was_set_in_twenty_scripts(subject: str, name: str) -> None:
    content = bytes(mail_with(subject=subject, sender=(name, "shop@example.com"), reply_to=(name, "b@example.com")))
    demand_safe(content)
    header = content.partition(b"\r\n\r\n")[0]
    assert max(map(len, header.split(b"\r\n"))) <= 78
    modern, old = message_from_bytes(content, policy=policy.default), message_from_bytes(content)
    assert modern["Subject"] == str(make_header(decode_header(old["Subject"]))) == subject
    for field, address in (("From", "shop@example.com"), ("Reply-To", "b@example.com")):
        shown, found = parseaddr(old[field])
        assert (str(make_header(decode_header(shown))), found) == (name, address)
        (parsed,) = modern[field].addresses
        # The parser of Python's own policy puts a blank between the encoded words of a name.
        assert (parsed.display_name.replace(" ", ""), parsed.addr_spec) == (name.replace(" ", ""), address)


@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r", "\n \n"])
@pytest.mark.parametrize("where", ["recipient", "sender", "reply_to", "a header", "a header's name"])
def test_a_line_break_in_an_address_or_header_makes_no_mail(where: str, ending: str) -> None:
    text = f"a@example.com{ending}Bcc: b@example.com"
    headers = {"X-Shop": text} if where == "a header" else {text: "1"} if where == "a header's name" else {}
    changed = {"recipient": text} if where == "recipient" else {where: ("Shop", text)} if where.isidentifier() else {}
    mail = dataclasses.replace(mail_with(headers=headers), **changed)
    for make in (bytes, VerificationMail.as_email_message):
        with pytest.raises(ValueError, match="line break"):
            make(mail)


LONG = "x" * 3000
BODIES = {
    "one line of HTML": ("text", "<p>" + '<a href="{{ verification_url }}">Go</a>' * 60 + "</p>"),
    "one long word": (LONG, f"<p>{LONG} {{{{ verification_url }}}}</p>"),
    "no Latin letter": ("本" * 1500 + " {{ verification_url }}\n", "<p>" + "ไทย" * 900 + "</p>{{ verification_url }}"),
    "odd ends of lines": ("a\rb\r\nc\n\n.\n.. {{ verification_url }} \t", "é\r\n{{ verification_url }}\r"),
    "the end of a part": ("--=_mail--\n{{ verification_url }}\n--=_mail", "--=_mail <p>{{ verification_url }}</p>"),
    "what no mail may have": ("a\0b\ud800 {{ verification_url }}", "\x0b\x0c\x85\u2028 {{ verification_url }} \0"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("keys", [("body",), ("html_body",), ("body", "html_body")], ids=" and ".join)
def test_no_template_makes_a_long_line_and_the_link_stays_whole(
    build: Builder, smtp: RecordingServer, name: str, keys: tuple[str, ...]
) -> None:
    sources = dict(zip(("body", "html_body"), BODIES[name], strict=True))

    def give(app: Flask) -> None:
        app.jinja_options = {}  # lone surrogates cannot be kept in a cache
        app.jinja_loader = DictLoader(sources)

    built = build(registration={TEMPLATES: {key: key for key in keys}}, before_init=give)
    assert built.register().status_code == 201
    demand_safe(smtp.envelopes[0].content)
    shown = (text_of if part == "body" else html_of for part in keys if "verification_url" in sources[part])
    for part in shown:
        (link, *_) = re.findall(r"https://frontend[^\s<\"]+", part(smtp.message).replace("&amp;", "&"))
        assert built.verify(values_of(link)).status_code == 200


def test_a_mail_is_a_message_of_pythons_own_too(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    with built.mail.record_messages() as outbox:
        built.register()
    with built.app.app_context():
        mail = mail_with(
            text=text_of(smtp.message), html=html_of(smtp.message), headers={"Message-ID": "<1@x.example>"}
        )
    message = mail.as_email_message()
    assert isinstance(message, EmailMessage)
    assert bytes(message) == bytes(mail)
    assert (message["Subject"], message["To"], message["Message-ID"]) == (mail.subject, mail.recipient, "<1@x.example>")
    assert link_in(message) == link_in(smtp.message)
    assert str(outbox[0].body).split() == text_of(message).split()
    message["X-Campaign"] = "Größe"  # it can be changed, and sent by smtplib itself
    with smtplib.SMTP("127.0.0.1", smtp.port, local_hostname="localhost") as client:
        client.send_message(message, "shop@example.com")
    assert smtp.messages[1]["X-Campaign"] == "Größe"
    with pytest.raises(dataclasses.FrozenInstanceError):
        mail.text = "another"  # type: ignore[misc]


def test_an_address_that_changes_at_the_insert_gets_no_mail(build: Builder, smtp: RecordingServer) -> None:
    built = build()

    def change(mapper: object, connection: object, user: Any) -> None:
        user.email = "other@example.com"

    event.listen(built.User, "before_insert", change)
    with pytest.raises(flask_rest_registration.ConfigurationError, match="changed its e-mail address"):
        built.register()
    assert (built.rows(), smtp.messages) == ([], [])


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("pc", "[127.0.0.1]"),
        ("müller-pc", "[127.0.0.1]"),
        ("a..b", "[127.0.0.1]"),
        ("under_score.example", "[127.0.0.1]"),
        ("\udcff.example", "[127.0.0.1]"),
        ("web-1.shop.example", "web-1.shop.example"),
        ("pc.müller.example", "pc.xn--mller-kva.example"),
    ],
    ids=ascii,
)
def test_ehlo_tells_a_name_in_ascii_or_the_address_and_looks_nothing_up(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch, host: str, told: str
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    for name in ("getfqdn", "gethostbyname", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, asked.append)
    built = build(config={"MAIL_DEFAULT_SENDER": "Shop <no-reply@münchen.example>"})
    with built.mail.record_messages() as outbox:
        assert built.register().status_code == 201
    assert (smtp.ehlo_names, asked) == ([told], [])
    assert smtp.message["Message-ID"].endswith("@xn--mnchen-3ya.example>")
    assert smtp.envelopes[0].sender == "no-reply@xn--mnchen-3ya.example"
    assert (outbox[0].msgId, outbox[0].sender) == (
        smtp.message["Message-ID"],
        ("Shop", "no-reply@xn--mnchen-3ya.example"),
    )


def test_ehlo_tells_an_address_of_ipv6_with_its_tag() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        connected = connect("::1", server.getsockname()[1], Deadline(30))
        assert connected.name_for_ehlo in {"[IPv6:::1]", socket.gethostname()}
        connected.close()


@pytest.mark.parametrize("sender", ["no address", "a@x.example, b@x.example", ["Shop"], "ü@x.example"], ids=str)
def test_a_sender_that_is_no_address_is_a_configuration_error(build: Builder, sender: object) -> None:
    built = build(config={"MAIL_DEFAULT_SENDER": sender})
    with pytest.raises(flask_rest_registration.ConfigurationError, match=r"(?s)MAIL_DEFAULT_SENDER.*Fix: "):
        built.register()
    assert built.rows() == []


ABOUT_THE_MAILBOX = [
    *["550 5.1.1 no such user", "553 5.1.3 bad mailbox name", "550 5.1.2 no such domain", "551 5.1.6 moved away"],
    *["552 5.1.10 null MX", "550 5.2.1 disabled", "550 no such user", "551 not here", "553 not allowed", "550"],
    *["554 #5.1.0 rejected", "554 5.1.1: unknown", "554 5.1.1<nobody>", "550 5.7.1.2 odd"],
]
OURS = [
    *["554 5.7.1 Relay access denied", "550 5.7.1 listed", "550 5.1.7 bad sender", "553 5.1.8 sender's domain"],
    *["552 5.2.2 mailbox full", "550 5.2.10 odd", "503 5.5.1 MAIL first", "530 5.7.0 log in", "550 4.1.1 odd"],
    *["554 no", "552 full", "530 log in", "503 no", "451 4.1.1 later", "450 4.2.1 later", "421 4.3.2 bye", "600 odd"],
    *["550 #5.7.1 your access was rejected", "550 5.7.1: relay denied", "550 5.7.1,relay denied", "553 5.1.8: no"],
]


@pytest.mark.parametrize("reply", ABOUT_THE_MAILBOX)
def test_only_a_refusal_about_the_mailbox_is_a_field_error(build: Builder, smtp: RecordingServer, reply: str) -> None:
    smtp.rcpt_reply = reply
    built = build(models.other_email_name)
    assert field_errors(built.register()) == {"mail_address": ["The mail server does not accept this address."]}
    assert (built.rows(), smtp.conversations) == ([], [["EHLO", "MAIL", "RCPT", "QUIT"]])


@pytest.mark.parametrize("reply", OURS)
def test_any_other_refusal_of_a_recipient_is_503_and_an_error_in_the_log(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, reply: str
) -> None:
    smtp.rcpt_reply = reply
    built = build()
    refused(built.register(), 503, "email-not-sent")
    told = re.match(r"\d+( \d\.\d+\.\d+)?", reply.replace("#", ""))
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [f"email-not-sent: recipient refused, {told and told[0]}"]
    assert built.rows() == []


def test_receivers_of_flask_mails_signal_get_what_its_message_has(build: Builder, smtp: RecordingServer) -> None:
    seen: list[Message] = []

    def keep(sender: Flask, message: Message) -> None:
        assert bytes(message)  # of Flask-Mail's own making
        seen.append(message)

    built = build(registration={"VERIFICATION_REPLY_TO_EMAIL": ("Help, Ltd", "help@example.com")})
    with email_dispatched.connected_to(keep, built.app):
        assert built.register().status_code == 201
    (message,) = seen
    assert (message.subject, message.recipients) == (smtp.message["Subject"], ["ann@example.com"])
    assert (message.sender, message.reply_to) == ("no-reply@app.example", ("Help, Ltd", "help@example.com"))
    assert message.extra_headers == {"Auto-Submitted": "auto-generated"}
    assert [message.cc, message.bcc, message.attachments, message.charset] == [[], [], [], None]


LATE_PATCHING = """
import sys
from tests.support.apps import make_app

port, security = sys.argv[1:]
built = make_app(config={"MAIL_PORT": int(port), "MAIL_SUPPRESS_SEND": False, security: True})
from gevent import monkey

monkey.patch_all()
sys.exit(built.register().status_code != 201)
"""


@pytest.mark.programs
@pytest.mark.slow
@pytest.mark.usefixtures("trusted_certificate")
@pytest.mark.parametrize(
    ("security", "config"), [("starttls", "MAIL_USE_TLS"), ("tls", "MAIL_USE_SSL"), (None, "MAIL_DEBUG")]
)
def test_gevent_may_patch_sockets_after_the_import(security: Any, config: str) -> None:
    if importlib.util.find_spec("gevent") is None:
        missing("gevent is not installed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with RecordingServer(security=security) as server:
        command = [sys.executable, "-W", "ignore", "-c", LATE_PATCHING, str(server.port), config]
        subprocess.run(command, check=True, env=environment, timeout=60)
    assert server.message["To"] == "ann@example.com"
