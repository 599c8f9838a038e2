"""The verification mail: what it says, to whom it goes, and what becomes of a sign-up that it cannot be sent for."""

from __future__ import annotations

import smtplib
from collections.abc import Mapping
from email.message import EmailMessage
from functools import partial, wraps
from typing import Any
from unittest.mock import Mock

import pytest
from flask import Flask, before_render_template, template_rendered
from flask_mail import Message, email_dispatched
from jinja2 import DictLoader, Template
from marshmallow import Schema, fields
from sqlalchemy import event

from flask_rest_registration import (
    ConfigurationError,
    EmailNotSent,
    normalize_email,
    send_existing_account_email_notification,
    send_register_verification_email_notification,
)
from flask_rest_registration.mail.delivery import Deadline
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import PASSWORD, VERIFICATION_URL, Builder, Built
from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import CERTIFICATE, CloseDown, HangUp, RecordingServer, Step
from tests.support.messages import lacking
from tests.support.pending import ANN, EMAIL_FIRST, add_account, ask

FOLDER = "rest_registration/register"
TEMPLATES = "REGISTER_VERIFICATION_EMAIL_TEMPLATES"
SENDER = "REGISTER_VERIFICATION_EMAIL_SENDER"
Log = pytest.LogCaptureFixture
CONVERSATION = ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def with_templates(build: Builder, chosen: Mapping[str, str], sources: Mapping[str, str], **more: object) -> Built:
    """Build an app that has templates and names them in its settings."""

    def give(app: Flask) -> None:
        app.jinja_loader = DictLoader(dict(sources))

    return build(registration={TEMPLATES: chosen or None, **more}, before_init=give)


def mail_of(built: Built, smtp: RecordingServer, **changes: object) -> EmailMessage:
    """Sign up and return the mail."""
    answer = built.register(**changes)
    assert answer.status_code == 201, answer.get_json()
    return smtp.messages.pop()


def is_503(built: Built, smtp: RecordingServer | None = None) -> str:
    """Sign up, demand that it is 503 with nothing stored or sent, and return the answer's text."""
    answer = built.register()
    refused(answer, 503, "email-not-sent")
    assert built.rows() == []
    assert smtp is None or smtp.messages == []
    return answer.text


def send_by_script(built: Built) -> None:
    """Send the only account's mail as a script does, without a request."""
    with built.app.app_context():
        user = built.db.session.execute(built.db.select(built.User)).scalar_one()
        send_register_verification_email_notification(None, user)


def test_the_mail_says_who_asked_why_and_for_how_long(build: Builder, smtp: RecordingServer) -> None:
    message = mail_of(build(), smtp)
    types = [part.get_content_type() for part in message.walk()]
    assert types[-3:] == ["multipart/alternative", "text/plain", "text/html"]
    why = ["signed up at frontend.example", "confirm", "works for 7 days.", "can ignore this e-mail", "cannot be used"]
    for text in (text_of(message), html_of(message)):
        assert lacking(" ".join(text.split()), *why) == []
    html = html_of(message)
    assert html.count(f'href="{link_in(message).replace("&", "&amp;")}"') == 2
    from_elsewhere = ("<img", "<script", "<link", "url(", "@import", "<iframe", "src=")
    assert [tag for tag in from_elsewhere if tag in html] == []


DAY, HOUR, MINUTE = 24 * 3600, 3600, 60


@pytest.mark.parametrize(
    ("period", "words"),
    [
        *((MINUTE, "1 minute"), (59 * MINUTE, "59 minutes"), (HOUR, "1 hour"), (90 * MINUTE, "90 minutes")),
        *((2 * HOUR - 1, "119 minutes"), (2 * HOUR, "2 hours"), (DAY, "1 day"), (DAY + 1, "24 hours")),
        *((36 * HOUR, "36 hours"), (2 * DAY, "2 days"), (8 * DAY - 1, "7 days"), (1, "1 minute")),
    ],
)
def test_the_links_life_is_told_in_its_largest_unit_rounded_down(
    build: Builder, smtp: RecordingServer, period: int, words: str
) -> None:
    message = mail_of(build(registration={"REGISTER_VERIFICATION_PERIOD": period}), smtp)
    for text in (text_of(message), html_of(message)):
        assert f"The link works for {words}." in text


def test_the_site_is_the_links_host_with_its_port_and_without_a_log_in(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={"REGISTER_VERIFICATION_URL": "https://me:secret@shop.example:8443/verify"})
    assert mail_of(built, smtp)["Subject"] == "Confirm your e-mail address for shop.example:8443"


def test_both_mails_call_the_site_by_site_name_and_escape_it(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={**EMAIL_FIRST, "SITE_NAME": "Ann & <b>Co</b>\n100 %(site)s"}, pending=True)
    add_account(built)
    for email, subject in (
        (ANN, "You already have an account at {}"),
        ("bob@example.com", "Finish signing up at {}"),
    ):
        ask(built, email)
        message, name = smtp.messages[-1], "Ann & <b>Co</b> 100 %(site)s"
        assert message["Subject"] == subject.format(name)
        assert name in " ".join(text_of(message).split())
        html = " ".join(html_of(message).split())
        assert "Ann &amp; &lt;b&gt;Co&lt;/b&gt; 100 %(site)s" in html
        assert "<b>" not in html


def test_with_site_name_the_notice_alone_needs_no_url_of_a_link(build: Builder, smtp: RecordingServer) -> None:
    links: list[object] = []

    @wraps(send_existing_account_email_notification)
    def notify(request: Any, row: object) -> None:
        send_existing_account_email_notification(request, row)

    own = {SENDER: lambda request, row: links.append(row.email), "REGISTER_EXISTING_EMAIL_SENDER": notify}
    names: dict[str, object] = {"REGISTER_VERIFICATION_URL": None, "SITE_NAME": "The Shop"}
    built = build(registration={**EMAIL_FIRST, **own, **names}, pending=True)
    add_account(built)
    for email in (ANN, "bob@example.com"):
        ask(built, email)
    assert smtp.message["Subject"] == "You already have an account at The Shop"
    assert links == ["bob@example.com"]


@pytest.mark.parametrize("model", [models.typed, models.privileged, models.composite_unique])
def test_the_mail_prints_nothing_of_the_request(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built = build(model)
    spam = "Buy-at-spam.example"
    changes = {"username": spam} | ({"team": f"{spam}-2"} if hasattr(built.User, "team") else {})
    message = mail_of(built, smtp, email="somebody-else@example.com", **changes)
    assert "somebody-else@example.com" in str(message["To"])
    everything = "".join([text_of(message), html_of(message), str(message["Subject"]), str(message["From"])])
    assert spam not in everything
    assert "somebody-else" not in everything


def test_the_mail_is_marked_as_generated_and_goes_to_one_recipient(build: Builder, smtp: RecordingServer) -> None:
    message = mail_of(build(), smtp)
    assert (smtp.envelopes[0].sender, smtp.envelopes[0].recipients) == ("no-reply@app.example", ["ann@example.com"])
    assert [message[name] for name in ("To", "Cc", "Bcc")] == ["ann@example.com", None, None]
    assert message["Auto-Submitted"] == "auto-generated"
    assert all(message[name] for name in ("Message-ID", "Date"))


@pytest.mark.parametrize(
    ("template", "subject"),
    [
        ("Welcome to\n{{ site }}\n", "Welcome to frontend.example"),
        ("  Two  \r\n\t lines  ", "Two lines"),
        ("{% if true %}\nBcc: b@evil.example\n{% endif %}", "Bcc: b@evil.example"),
        ("Hello {{ user.username }}", "Hello ann Bcc: b@evil.example Buy"),
        ("Grüße aus København, 你好 🦉", "Grüße aus København, 你好 🦉"),
        ("Confirm " + "a very long subject, " * 20 + "end", "Confirm " + "a very long subject, " * 20 + "end"),
        ("ü" * 300, "ü" * 300),
        ("{{ '\\u2028' }}Confirm{{ '\\x85' }}now", "Confirm now"),
    ],
)
def test_a_folded_subject_adds_no_header(build: Builder, smtp: RecordingServer, template: str, subject: str) -> None:
    built = with_templates(build, {"subject": "s.txt"}, {"s.txt": template})
    message = mail_of(built, smtp, username="ann\r\nBcc: b@evil.example\r\n\r\nBuy")
    assert (message["Subject"], message["Bcc"]) == (subject, None)
    assert smtp.envelopes[0].recipients == ["ann@example.com"]
    assert max(len(line) for line in smtp.envelopes[0].content.split(b"\r\n")) <= 998


PAIR, DEFAULT, OTHER = ("Müller, Söhne & Co", "shop@example.com"), ("", "no-reply@app.example"), ("A, B", "a@x.example")
FROM, REPLY_TO = "VERIFICATION_FROM_EMAIL", "VERIFICATION_REPLY_TO_EMAIL"


@pytest.mark.parametrize(
    ("settings", "default", "sender", "reply_to"),
    [
        ({}, DEFAULT[1], DEFAULT, DEFAULT),
        ({}, PAIR, PAIR, PAIR),
        ({FROM: PAIR}, DEFAULT[1], PAIR, PAIR),
        ({FROM: list(PAIR)}, DEFAULT[1], PAIR, PAIR),
        ({FROM: "a@example.com"}, None, ("", "a@example.com"), ("", "a@example.com")),
        ({FROM: '"A, B" <a@x.example>'}, DEFAULT[1], OTHER, OTHER),
        ({REPLY_TO: PAIR}, DEFAULT[1], DEFAULT, PAIR),
        ({REPLY_TO: "Help <h@example.com>"}, DEFAULT[1], DEFAULT, ("Help", "h@example.com")),
    ],
)
def test_from_and_reply_to_are_what_the_settings_say(
    build: Builder, smtp: RecordingServer, settings: dict[str, Any], default: object, sender: object, reply_to: object
) -> None:
    message = mail_of(build(registration=settings, config={"MAIL_DEFAULT_SENDER": default}), smtp)
    for header, pair in (("From", sender), ("Reply-To", reply_to)):
        assert [(each.display_name, each.addr_spec) for each in message[header].addresses] == [pair]
    assert message["From"].addresses[0].addr_spec == smtp.envelopes[0].sender


def test_an_app_without_sender_or_flask_mail_is_told_so_before_storing(build: Builder, smtp: RecordingServer) -> None:
    built = build(config={"MAIL_DEFAULT_SENDER": None})
    with pytest.raises(ConfigurationError, match=r"(?s)MAIL_DEFAULT_SENDER.*VERIFICATION_FROM_EMAIL"):
        built.register()
    del built.app.extensions["mail"]
    with pytest.raises(ConfigurationError, match="Flask-Mail is not initialised on this app"):
        built.register()
    assert (built.rows(), smtp.messages) == ([], [])


OWN = {"s.txt": "Own subject", "t.txt": "own text {{ user.username }}", "h.html": "<p>own {{ user.username }}</p>"}
OWN_TEXT, OWN_HTML = {"plain": "own text <b>"}, {"html": "<p>own &lt;b&gt;</p>"}
BOTH_DEFAULTS = {"plain": "open this page", "html": "Open the confirmation page"}


@pytest.mark.parametrize(
    ("settings", "subject", "parts"),
    [
        ({}, "Confirm your", BOTH_DEFAULTS),
        ({"subject": "s.txt"}, "Own subject", BOTH_DEFAULTS),
        ({"body": "t.txt"}, "Confirm your", OWN_TEXT),
        ({"html_body": "h.html"}, "Confirm your", {"plain": "own <b>"} | OWN_HTML),
        ({"body": "t.txt", "html_body": "h.html"}, "Confirm your", OWN_TEXT | OWN_HTML),
        ({"subject": "s.txt", "text_body": "t.txt"}, "Own subject", OWN_TEXT),
    ],
)
def test_a_body_that_is_given_replaces_both_and_html_alone_is_escaped(
    build: Builder, smtp: RecordingServer, settings: dict[str, str], subject: str, parts: dict[str, str]
) -> None:
    message = mail_of(with_templates(build, settings, OWN), smtp, username="<b>")
    assert subject in message["Subject"]
    found = {part.get_content_subtype(): part.get_content() for part in message.walk() if not part.is_multipart()}
    assert found.keys() == parts.keys()
    assert [subtype for subtype, words in parts.items() if words not in found[subtype]] == []


def test_a_selector_chooses_the_templates_by_request_and_user(build: Builder, smtp: RecordingServer) -> None:
    def select(request: Any, user: Any) -> dict[str, str]:
        language = request.headers.get("Accept-Language", "en") if request else "en"
        return {"subject": f"{language}.txt", "text_body": f"{user.username}.txt"}

    sources = {"de.txt": "Willkommen", "en.txt": "Welcome", "ann.txt": "For Ann"}
    built = with_templates(build, {}, sources, VERIFICATION_TEMPLATES_SELECTOR=select)
    built.post("register/", built.body(), headers={"Accept-Language": "de"})
    message = smtp.messages.pop()
    assert (message["Subject"], text_of(message).strip()) == ("Willkommen", "For Ann")
    send_by_script(built)
    assert smtp.message["Subject"] == "Welcome"


@pytest.mark.parametrize("given", [None, "body.txt", {"bodies": "b.txt"}, {"body": 5}, {"body": "a", "text_body": "b"}])
def test_a_selector_that_gives_something_else_is_a_configuration_error(build: Builder, given: object) -> None:
    built = build(registration={"VERIFICATION_TEMPLATES_SELECTOR": lambda request, user: given})
    with pytest.raises(ConfigurationError, match="VERIFICATION_TEMPLATES_SELECTOR"):
        built.register()
    assert built.rows() == []


def test_a_context_builder_adds_to_what_the_templates_get_or_takes_away(build: Builder, smtp: RecordingServer) -> None:
    seen: list[dict[str, object]] = []

    def enrich(request: Any, user: Any, context: dict[str, object]) -> dict[str, object]:
        seen.append(context)
        return {**context, "greeting": f"Dear {user.username} at {request.host}"} if request else {"greeting": "Hello"}

    sources = {"t": "{{ greeting }} {{ site }}"}
    built = with_templates(build, {"subject": "t", "body": "t"}, sources, VERIFICATION_TEMPLATE_CONTEXT_BUILDER=enrich)
    assert text_of(mail_of(built, smtp)).strip() == "Dear ann at localhost frontend.example"
    send_by_script(built)
    assert text_of(smtp.message).strip() == "Hello"
    usual = {"user", "user_address", "site", "verification_url", "valid_until", "valid_for", "email_first"}
    more = {"code", "code_minutes", "translate", "translate_number", "language", "direction"}
    assert seen[0].keys() == usual | more
    assert (seen[0]["email_first"], seen[0]["code"], seen[0]["user_address"]) == (False, None, "ann@example.com")


def test_templates_have_the_applications_globals_and_context(build: Builder, smtp: RecordingServer) -> None:
    asked: list[str] = []

    def before_init(app: Flask) -> None:
        app.jinja_loader = DictLoader({"t.html": "{{ support }} {{ shop }} {{ site }} {{ config.OWN }}"})
        app.jinja_env.globals.update(support="By phone", shop="a global", site="a global")

        @app.context_processor
        def shop() -> dict[str, str]:
            asked.append("once")  # it may ask the database, and a mail has three templates
            return {"shop": "The shop", "site": "not this one"}

    registration = {TEMPLATES: {"subject": "t.html", "body": "t.html", "html_body": "t.html"}}
    message = mail_of(build(registration=registration, config={"OWN": "of the config"}, before_init=before_init), smtp)
    assert message["Subject"] == "By phone The shop frontend.example of the config"
    assert text_of(message).strip() == html_of(message).strip() == message["Subject"]
    assert asked == ["once"]


def test_flasks_signals_tell_of_each_template_of_the_mail(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    told: list[tuple[str, str, object]] = []

    def keep(when: str, _: Flask, template: Template, context: dict[str, object]) -> None:
        told.append((when, str(template.name), context["site"]))

    before, after = partial(keep, "before"), partial(keep, "after")
    with before_render_template.connected_to(before, built.app), template_rendered.connected_to(after, built.app):
        mail_of(built, smtp)
    names = [f"{FOLDER}/{name}" for name in ("subject.txt", "body.txt", "body.html")]
    assert told == [(when, name, "frontend.example") for name in names for when in ("before", "after")]


def test_a_template_of_the_same_name_wins_and_may_await_where_jinja_may(build: Builder, smtp: RecordingServer) -> None:
    async def shop() -> str:
        return "The shop"

    def before_init(app: Flask) -> None:
        app.jinja_options = {"enable_async": True}
        app.jinja_loader = DictLoader({f"{FOLDER}/body.txt": "{{ shop() }}: {{ verification_url }}"})
        app.context_processor(lambda: {"shop": shop})

    message = mail_of(build(before_init=before_init), smtp)
    assert text_of(message).startswith(f"The shop: {VERIFICATION_URL}")
    assert "Open the confirmation page" in html_of(message)
    assert message["Subject"] == "Confirm your e-mail address for frontend.example"


def test_a_script_sends_the_mail_or_gets_the_failure_as_an_exception(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    add_account(built)
    smtp.text_reply = "451 later"
    with pytest.raises(EmailNotSent) as caught:
        send_by_script(built)
    assert "451" in caught.value.reason
    assert "ann@" not in caught.value.reason
    smtp.text_reply = None
    send_by_script(built)
    assert built.verify(link_in(smtp.message)).status_code == 200


CALLS: list[tuple[str, str, bool]] = []


def own_sender(request: Any, user: Any) -> None:
    CALLS.append((request.path, user.email, user.id is not None))


@pytest.mark.parametrize("given", [own_sender, f"{__name__}.own_sender"])
def test_an_own_sender_gets_request_and_inserted_user(build: Builder, smtp: RecordingServer, given: object) -> None:
    CALLS.clear()
    settings = {SENDER: given, "REGISTER_VERIFICATION_URL": None}
    assert build(registration=settings).register().status_code == 201
    assert CALLS == [("/api/v1/accounts/register/", "ann@example.com", True)]
    assert smtp.conversations == []


def test_a_sender_may_wrap_the_default_one(build: Builder, smtp: RecordingServer) -> None:
    def twice(request: Any, user: object) -> None:
        for _ in range(2):
            send_register_verification_email_notification(request, user)

    assert build(registration={SENDER: twice}).register().status_code == 201
    assert len(smtp.messages) == 2


def test_a_sender_that_adds_the_account_again_after_a_rollback_has_not_kept_it(build: Builder) -> None:
    def send(request: object, user: object) -> None:
        built.db.session.rollback()
        built.db.session.add(user)

    built = build(registration={SENDER: send})
    is_503(built)


@pytest.mark.parametrize("path", ["flask_rest_registration", "flask_rest_registration.mail.delivery"])
def test_the_default_sender_may_be_named_by_its_path(build: Builder, smtp: RecordingServer, path: str) -> None:
    built = build(registration={SENDER: f"{path}.send_register_verification_email_notification"})
    assert mail_of(built, smtp)["To"] == "ann@example.com"


@pytest.mark.parametrize(
    ("sent", "recipient"),
    [
        ("ann@münchen.example", "ann@xn--mnchen-3ya.example"),
        # IDNA 2003 would lead to strasse.example and σίσυφοσ.example, which are other people's.
        ("ann@straße.example", "ann@xn--strae-oqa.example"),
        ("ann@σίσυφος.example", "ann@xn--kxa6ajbbmh.example"),
        ("o'neill+x@example.com", "o'neill+x@example.com"),
    ],
)
def test_international_domains_get_the_mail(build: Builder, smtp: RecordingServer, sent: str, recipient: str) -> None:
    built = build()
    message = mail_of(built, smtp, email=sent)
    assert smtp.envelopes[0].recipients == [message["To"]] == [recipient]
    assert built.row()["email"] == normalize_email(sent)
    assert built.verify(link_in(message)).status_code == 200


class Anything(Schema):
    email = username = password = fields.String(required=True)


@pytest.mark.parametrize(
    "address",
    [
        "a@evil.example,b@example.com",
        "a@evil.example, b@example.com",
        "Ann <ann@example.com>",
        "ann@example.com\r\nBcc: b@evil.example",
        "ann@example.com\n",
        "ann@example.com> SIZE=5",
        "üann@example.com",
        "ann",
        "ann@exämple.com,b@exämple.com",
        "ann@example.com;b@example.com",
    ],
)
def test_what_is_no_single_address_gets_no_mail(build: Builder, smtp: RecordingServer, address: str) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Anything})
    answer = built.post("register/", {"email": address, "username": "ann", "password": PASSWORD})
    assert list(field_errors(answer)) == ["email"]
    assert built.rows() == []
    add_account(built, address)  # as the default serializer has not seen it
    with pytest.raises(EmailNotSent):
        send_by_script(built)
    assert smtp.messages == []


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        *[("mail_reply", reply) for reply in ("550 5.7.1 sender not allowed", "451 4.3.0 try again")],
        *[("text_reply", reply) for reply in ("554 5.6.0 looks like spam", "451 4.3.0 try again")],
    ],
)
def test_any_other_refusal_is_503_until_it_ends(build: Builder, smtp: RecordingServer, name: str, reply: str) -> None:
    setattr(smtp, name, reply)
    built = build()
    assert reply[4:] not in is_503(built, smtp)
    setattr(smtp, name, None)
    mail_of(built, smtp)


@pytest.mark.parametrize("at", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "TEXT", "QUIT"])
@pytest.mark.parametrize("fault", [HangUp, CloseDown])
def test_a_server_that_hangs_up_before_quit_is_503(build: Builder, fault: type[HangUp], at: Step) -> None:
    with RecordingServer(fault=fault(at)) as server:
        built = build(mail=server)
        if at == "QUIT":
            assert built.register().status_code == 201
            assert len(built.rows()) == 1
        else:
            is_503(built, server)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "no-such-host.invalid", f"{'m' * 64}.example", "mail..example", "m\0.example"]
)
def test_a_server_that_is_not_there_or_cannot_be_is_503(build: Builder, smtp: RecordingServer, host: str) -> None:
    smtp.stop()
    is_503(build(config={"MAIL_SERVER": host}))


def test_sender_and_recipient_come_before_the_insert_and_quit_after_the_commit(build: Builder) -> None:
    order: list[str] = []
    with RecordingServer(on_text=lambda: order.append("TEXT")) as server:
        built = build(mail=server)
        event.listen(built.engine, "begin", lambda conn: order.append(f"BEGIN after {server.conversations[-1][-1]}"))
        event.listen(built.engine, "commit", lambda conn: order.append(f"COMMIT after {server.conversations[-1][-1]}"))
        assert built.register().status_code == 201
    assert order == ["BEGIN after RCPT", "TEXT", "COMMIT after DATA"]
    assert server.conversations == [CONVERSATION]


@pytest.mark.parametrize(
    "config",
    [{"MAIL_MAX_EMAILS": 0}, {"MAIL_MAX_EMAILS": 1}, {"MAIL_USERNAME": "app"}, {"MAIL_PASSWORD": "pw"}],
    ids=str,
)
def test_each_mail_connects_once_and_half_a_log_in_is_none(build: Builder, smtp: RecordingServer, config: Any) -> None:
    built = build(config=config)
    for name in ("ann", "bob"):
        assert built.register(username=name, email=f"{name}@example.com").status_code == 201
    assert smtp.conversations == [CONVERSATION] * 2


@pytest.mark.parametrize("suppress", [False, True])
def test_record_messages_works_sending_or_not(build: Builder, smtp: RecordingServer, suppress: bool) -> None:
    built = build(config={"MAIL_SUPPRESS_SEND": suppress})
    with built.mail.record_messages() as outbox:
        assert built.register().status_code == 201
    (message,) = outbox
    assert isinstance(message, Message)
    assert message.recipients == ["ann@example.com"]
    assert message.html
    assert VERIFICATION_URL in str(message.body)
    assert [each["Subject"] for each in smtp.messages] == ([] if suppress else [message.subject])


@pytest.mark.parametrize("kind", [LookupError, ValueError, OSError])
def test_a_receiver_of_flask_mails_signal_cannot_undo_a_sign_up(
    build: Builder, smtp: RecordingServer, caplog: Log, kind: type[Exception]
) -> None:
    def fail(sender: object, message: Message) -> None:
        raise kind(f"the archive of mails is full: {message.recipients} {message.body} {message.html}")

    built = build()
    with email_dispatched.connected_to(fail, sender=built.app):
        assert built.register().status_code == 201
    assert (len(built.rows()), len(smtp.messages)) == (1, 1)
    assert lacking(caplog.text, "email_dispatched", f"{kind.__name__}: the archive of mails is full") == []
    secrets = ["ann@example.com", values_of(link_in(smtp.message))["signature"], "open this page"]
    assert lacking(caplog.text, *secrets) == secrets


@pytest.mark.parametrize("kind", [LookupError, OSError])
def test_a_receiver_that_raises_before_any_mail_is_out_is_a_delivery_that_failed(
    build: Builder, kind: type[Exception]
) -> None:
    built = build(config={"MAIL_SUPPRESS_SEND": True})
    with email_dispatched.connected_to(Mock(side_effect=kind), sender=built.app):
        refused(built.register(), 503, "email-not-sent")
    assert built.rows() == []


@pytest.mark.parametrize(("security", "config"), [("starttls", "MAIL_USE_TLS"), ("tls", "MAIL_USE_SSL")])
def test_a_certificate_that_does_not_verify_is_refused_before_anything_is_said(
    build: Builder, caplog: Log, monkeypatch: pytest.MonkeyPatch, security: Any, config: str
) -> None:
    log_in = {config: True, "MAIL_USERNAME": "app", "MAIL_PASSWORD": "pw"}
    with RecordingServer(security=security, login=("app", "pw")) as server:
        is_503(build(mail=server, config=log_in), server)
        assert "SSLCertVerificationError" in caplog.text
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        is_503(build(mail=server, config={**log_in, "MAIL_SERVER": "127.1"}), server)  # another name of 127.0.0.1
        assert "mismatch" in caplog.text
        assert {command for conversation in server.conversations for command in conversation} <= {"EHLO"}
        mail_of(build(mail=server, config=log_in), server)


def test_a_server_without_starttls_gets_no_mail_unencrypted(build: Builder, smtp: RecordingServer, caplog: Log) -> None:
    is_503(build(config={"MAIL_USE_TLS": True}), smtp)
    assert "SMTPNotSupportedError" in caplog.text
    with RecordingServer(security="starttls") as server:  # nor does one that demands it and is not asked
        is_503(build(mail=server), server)
    assert "SMTPSenderRefused, 530" in caplog.text


def test_the_app_logs_in_where_the_server_demands_it_and_never_prints_the_dialogue(
    build: Builder, caplog: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    def config(name: str, password: str) -> dict[str, object]:
        return {"MAIL_USERNAME": name, "MAIL_PASSWORD": password, "MAIL_DEBUG": True}

    with RecordingServer(login=("app", "s3cret-of-smtp")) as server:
        is_503(build(mail=server), server)
        # The last three are what SMTP cannot transmit.
        for name, password in (("app", "wrong"), ("app", "pässwörd"), ("äpp", ""), ("app", "\udc80")):
            is_503(build(mail=server, config=config(name, f"{password}-of-smtp")), server)
        assert build(mail=server, config=config("app", "s3cret-of-smtp")).register().status_code == 201
    assert "SMTPAuthenticationError, 535" in caplog.text
    assert "of-smtp" not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_the_current_apps_server_sends_the_mail_and_smtplib_is_unchanged(build: Builder, smtp: RecordingServer) -> None:
    before = dict(vars(smtplib.SMTP))
    with RecordingServer() as other:
        first = build(registration={FROM: "first@example.com"})
        second = build(mail=other, registration={FROM: "second@example.com"})
        with first.app.app_context():
            assert second.register().status_code == 201
        assert first.register().status_code == 201
        assert (smtp.envelopes[0].sender, other.envelopes[0].sender) == ("first@example.com", "second@example.com")
    assert dict(vars(smtplib.SMTP)) == before


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("One<br>Two<br/>Three", "One\nTwo\nThree"),
        ('Go <a href="https://x.example/?a=1&amp;b=2">there</a> now', "Go there <https://x.example/?a=1&b=2> now"),
        ('<a href="https://x.example/">https://x.example/</a>', "https://x.example/"),
        ('<a href="https://x.example/"><b>Go</b> on</a>', "Go on <https://x.example/>"),
        ("<a>no link</a> &lt;b&gt; &#8364; &nbsp;end", "no link <b> € end"),
        ("<head><title>T</title><style>p {}</style>hidden</head><script>alert(1)</script>Text", "Text"),
        ("<style>p {}</style><head><title>T</title></head>Text", "Text"),
        ("<p>One</p>Two", "One\nTwo"),
        ("  many \n\n  blanks\t here ", "many blanks here"),
        ("<ul><li>One</li></ul><table><tr><td>Two</td></tr></table><div>Three</div>", "One\n\nTwo\n\nThree"),
        ("<!-- a comment --><p>Text", "Text"),
        ("</a></style><p>still <a href='https://x.example/'>here", "still here"),
        ('<a href="https://x.example/"><img alt="Logo" src="l.png"></a>', "<https://x.example/>"),
        ("", ""),
    ],
)
def test_html_becomes_text_with_its_links(build: Builder, smtp: RecordingServer, html: str, text: str) -> None:
    message = mail_of(with_templates(build, {"html_body": "h.html"}, {"h.html": html}), smtp)
    assert text_of(message).strip().replace("\r\n", "\n") == text


def test_the_default_html_as_text_has_all_that_the_default_text_says(build: Builder, smtp: RecordingServer) -> None:
    message = mail_of(build(registration={TEMPLATES: {"html_body": f"{FOLDER}/body.html"}}), smtp)
    assert lacking(text_of(message), "frontend.example", "Open the confirmation page", "cannot be used") == []
    assert values_of(link_in(message))["user_id"] == "1"
    assert "{" not in text_of(message)


def test_a_step_of_a_delivery_has_the_time_that_is_left_and_none_begins_after_it() -> None:
    an_hour, over = Deadline(3600), Deadline(0)
    assert (an_hour.has_passed, over.has_passed) == (False, True)
    assert 1800 < an_hour.seconds_left() <= 3600
    with pytest.raises(TimeoutError, match="VERIFICATION_EMAIL_TIMEOUT"):
        over.seconds_left()
