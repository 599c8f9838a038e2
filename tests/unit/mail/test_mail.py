"""The verification mail: what it says, to whom it goes, and what becomes of a sign-up that it cannot be sent for."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.message import EmailMessage
from typing import Any

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
    send_register_verification_email_notification,
)
from flask_rest_registration.mail.smtp import Deadline
from tests.support import models
from tests.support.apps import PASSWORD, VERIFICATION_URL, Builder, Built
from tests.support.clock import Clock
from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import (
    DroppingServer,
    LoopbackServer,
    RecordingServer,
    Rejecting421,
)
from tests.support.messages import lacking

FOLDER = "rest_registration/register"


def use_templates(templates: Mapping[str, str]) -> Callable[[Flask], None]:
    """Make a ``before_init`` that gives the app these templates."""

    def give(app: Flask) -> None:
        app.jinja_loader = DictLoader(dict(templates))

    return give


def with_templates(build: Builder, settings: Mapping[str, str], sources: Mapping[str, str], **more: object) -> Built:
    """Build an app that has templates and names them in its settings."""
    registration = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": dict(settings), **more}
    return build(registration=registration, before_init=use_templates(sources))


def mail_of(built: Built, smtp: RecordingServer, **changes: object) -> EmailMessage:
    """Sign up and return the mail."""
    answer = built.register(**changes)
    assert answer.status_code == 201, answer.get_json()
    return smtp.messages.pop()


def store(built: Built, address: str) -> None:
    """Store an account whose address the default serializer has not seen."""
    with built.app.app_context():
        user = built.User(email=address, username="ann", password_hash="h")
        built.db.session.add(user)
        built.db.session.commit()


def send_by_script(built: Built) -> None:
    """Send the only account's mail as a script does, without a request."""
    with built.app.app_context():
        user = built.db.session.execute(built.db.select(built.User)).scalar_one()
        send_register_verification_email_notification(None, user)


# The default templates


def test_the_default_mail_has_text_and_html_with_one_and_the_same_link(build: Builder, smtp: RecordingServer) -> None:
    message = mail_of(build(), smtp)
    types = [part.get_content_type() for part in message.walk()]
    assert types[-3:] == ["multipart/alternative", "text/plain", "text/html"]
    link = link_in(message)
    assert html_of(message).count(f'href="{link.replace("&", "&amp;")}"') == 2


@pytest.mark.parametrize("body_of", [text_of, html_of])
def test_the_default_mail_says_which_site_asked_why_and_how_long_the_link_lives(
    build: Builder, smtp: RecordingServer, clock: Clock, body_of: Callable[[EmailMessage], str]
) -> None:
    clock.time = int(datetime(2026, 3, 1, 12, 30, tzinfo=timezone.utc).timestamp())
    text = " ".join(body_of(mail_of(build(), smtp)).split())
    assert (
        lacking(
            text,
            "frontend.example",
            "signed up",
            "confirm",
            "2026-03-08 12:30 UTC",
            "you need not do anything",
            "cannot be used",
        )
        == []
    )


def test_the_site_is_the_links_host_with_its_port_and_without_a_log_in(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={"REGISTER_VERIFICATION_URL": "https://me:secret@shop.example:8443/verify"})
    message = mail_of(built, smtp)
    assert message["Subject"] == "Confirm your e-mail address for shop.example:8443"


@pytest.mark.parametrize("model", [models.typed, models.privileged, models.composite_unique])
def test_the_default_mail_prints_nothing_of_the_requests_body(
    build: Builder, smtp: RecordingServer, model: models.Model
) -> None:
    built = build(model)
    spam = "Buy-at-spam.example"
    changes = {"username": spam} | ({"team": f"{spam}-2"} if hasattr(built.User, "team") else {})
    message = mail_of(built, smtp, email="somebody-else@example.com", **changes)
    assert "somebody-else@example.com" in str(message["To"])
    everything = "".join([text_of(message), html_of(message), str(message["Subject"]), str(message["From"])])
    assert spam not in everything
    assert "somebody-else" not in everything


def test_the_default_mail_loads_nothing_from_elsewhere(build: Builder, smtp: RecordingServer) -> None:
    html = html_of(mail_of(build(), smtp))
    assert [tag for tag in ("<img", "<script", "<link", "url(", "@import", "<iframe", "src=") if tag in html] == []


# Headers


def test_the_mail_is_marked_as_generated_and_goes_to_exactly_one_recipient(
    build: Builder, smtp: RecordingServer
) -> None:
    message = mail_of(build(), smtp)
    envelope = smtp.envelopes[0]
    assert message["Auto-Submitted"] == "auto-generated"
    assert (envelope.sender, envelope.recipients) == ("no-reply@app.example", ["ann@example.com"])
    assert [message[name] for name in ("To", "Cc", "Bcc")] == ["ann@example.com", None, None]
    assert message["Message-ID"]
    assert message["Date"]


@pytest.mark.parametrize(
    ("template", "subject"),
    [
        ("Welcome to\n{{ site }}\n", "Welcome to frontend.example"),
        ("  Two  \r\n\t lines  ", "Two lines"),
        ("{% if true %}\nBcc: b@evil.example\n{% endif %}", "Bcc: b@evil.example"),
        ("{{ user.username }}\nBcc: b@evil.example", "ann Bcc: b@evil.example"),
        ("Grüße aus København, 你好 🦉", "Grüße aus København, 你好 🦉"),
        ("Confirm " + "a very long subject, " * 20 + "end", "Confirm " + "a very long subject, " * 20 + "end"),
        ("ü" * 300, "ü" * 300),
        ("{{ '\\u2028' }}Confirm{{ '\\x85' }}now", "Confirm now"),
    ],
)
def test_the_subject_is_folded_to_one_line(build: Builder, smtp: RecordingServer, template: str, subject: str) -> None:
    message = mail_of(with_templates(build, {"subject": "s.txt"}, {"s.txt": template}), smtp)
    assert message["Subject"] == subject
    assert message["Bcc"] is None
    assert smtp.envelopes[0].recipients == ["ann@example.com"]
    assert max(len(line) for line in smtp.envelopes[0].content.split(b"\r\n")) <= 998


def test_a_user_name_in_a_subject_of_ones_own_adds_no_header(build: Builder, smtp: RecordingServer) -> None:
    built = with_templates(build, {"subject": "s.txt"}, {"s.txt": "Hello {{ user.username }}"})
    message = mail_of(built, smtp, username="ann\r\nBcc: b@evil.example\r\n\r\nBuy")
    assert message["Subject"] == "Hello ann Bcc: b@evil.example Buy"
    assert message["Bcc"] is None
    assert smtp.envelopes[0].recipients == ["ann@example.com"]


PAIR, DEFAULT, OTHER = ("Müller, Söhne & Co", "shop@example.com"), ("", "no-reply@app.example"), ("", "a@example.com")


@pytest.mark.parametrize(
    ("settings", "config", "sender", "reply_to"),
    [
        ({}, {}, DEFAULT, DEFAULT),
        ({}, {"MAIL_DEFAULT_SENDER": PAIR}, PAIR, PAIR),
        ({"VERIFICATION_FROM_EMAIL": PAIR}, {}, PAIR, PAIR),
        ({"VERIFICATION_FROM_EMAIL": list(PAIR)}, {}, PAIR, PAIR),
        ({"VERIFICATION_FROM_EMAIL": "a@example.com"}, {"MAIL_DEFAULT_SENDER": None}, OTHER, OTHER),
        (
            {"VERIFICATION_FROM_EMAIL": '"A, B" <a@example.com>'},
            {},
            ("A, B", "a@example.com"),
            ("A, B", "a@example.com"),
        ),
        ({"VERIFICATION_REPLY_TO_EMAIL": PAIR}, {}, DEFAULT, PAIR),
        ({"VERIFICATION_REPLY_TO_EMAIL": "Help <h@example.com>"}, {}, DEFAULT, ("Help", "h@example.com")),
    ],
)
def test_from_and_reply_to_are_what_the_settings_say(
    build: Builder,
    smtp: RecordingServer,
    settings: dict[str, object],
    config: dict[str, object],
    sender: tuple[str, str],
    reply_to: tuple[str, str],
) -> None:
    message = mail_of(build(registration=settings, config=config), smtp)
    for header, pair in (("From", sender), ("Reply-To", reply_to)):
        addresses = message[header].addresses
        assert [(address.display_name, address.addr_spec) for address in addresses] == [pair]
    assert smtp.envelopes[0].sender == sender[1]


def test_an_app_without_any_sender_is_told_so_before_anything_is_stored(build: Builder, smtp: RecordingServer) -> None:
    built = build(config={"MAIL_DEFAULT_SENDER": None})
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert lacking(str(caught.value), "MAIL_DEFAULT_SENDER", "VERIFICATION_FROM_EMAIL") == []
    assert built.rows() == []
    assert smtp.messages == []


# Templates of the application's own


def test_an_applications_own_template_of_the_same_name_wins(build: Builder, smtp: RecordingServer) -> None:
    own = {f"{FOLDER}/body.txt": "Our words: {{ verification_url }}"}
    message = mail_of(build(before_init=use_templates(own)), smtp)
    assert text_of(message).startswith(f"Our words: {VERIFICATION_URL}")
    assert "Confirm my address" in html_of(message)
    assert message["Subject"] == "Confirm your e-mail address for frontend.example"


OWN = {"s": "Own subject", "t": "own text", "h": "<p>own html</p>"}
DEFAULT_TEXT, DEFAULT_HTML = "open this page", "Confirm my address"


@pytest.mark.parametrize(
    ("settings", "subject", "parts"),
    [
        ({}, "Confirm your", {"plain": DEFAULT_TEXT, "html": DEFAULT_HTML}),
        ({"subject": "s"}, "Own subject", {"plain": DEFAULT_TEXT, "html": DEFAULT_HTML}),
        ({"body": "t"}, "Confirm your", {"plain": "own text"}),
        ({"text_body": "t"}, "Confirm your", {"plain": "own text"}),
        ({"html_body": "h"}, "Confirm your", {"plain": "own html", "html": "<p>own html</p>"}),
        ({"body": "t", "html_body": "h"}, "Confirm your", {"plain": "own text", "html": "<p>own html</p>"}),
        ({"subject": "s", "text_body": "t"}, "Own subject", {"plain": "own text"}),
    ],
)
def test_what_is_given_of_the_bodies_replaces_both_and_a_subject_not_given_keeps_its_default(
    build: Builder, smtp: RecordingServer, settings: dict[str, str], subject: str, parts: dict[str, str]
) -> None:
    message = mail_of(with_templates(build, settings, OWN), smtp)
    assert subject in message["Subject"]
    found = {part.get_content_subtype(): part.get_content() for part in message.walk() if not part.is_multipart()}
    assert found.keys() == parts.keys()
    assert [subtype for subtype, words in parts.items() if words not in found[subtype]] == []


def test_when_only_html_is_given_the_text_keeps_its_links(build: Builder, smtp: RecordingServer) -> None:
    html = '<p>HTML at <a href="{{ verification_url }}">{{ site }}</a> &amp; more</p>'
    message = mail_of(with_templates(build, {"html_body": "h.html"}, {"h.html": html}), smtp)
    assert text_of(message).split(" <")[0] == "HTML at frontend.example"
    assert text_of(message).strip().endswith("& more")
    link = link_in(message)
    assert values_of(link)["user_id"] == "1"


def test_html_templates_are_escaped_and_text_templates_are_not(build: Builder, smtp: RecordingServer) -> None:
    sources = {"t.txt": "{{ user.username }}", "h.html": "<p>{{ user.username }}</p>"}
    built = with_templates(build, {"body": "t.txt", "html_body": "h.html"}, sources)
    message = mail_of(built, smtp, username="<b>Ann & Bob</b>")
    assert text_of(message).strip() == "<b>Ann & Bob</b>"
    assert html_of(message).strip() == "<p>&lt;b&gt;Ann &amp; Bob&lt;/b&gt;</p>"


def test_a_selector_chooses_the_templates_by_request_and_user(build: Builder, smtp: RecordingServer) -> None:
    def select(request: Any, user: Any) -> dict[str, str]:
        language = request.headers.get("Accept-Language", "en") if request else "en"
        return {"subject": f"{language}.txt", "text_body": f"{user.username}.txt"}

    sources = {"de.txt": "Willkommen", "en.txt": "Welcome", "ann.txt": "For Ann"}
    built = build(registration={"VERIFICATION_TEMPLATES_SELECTOR": select}, before_init=use_templates(sources))
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


def test_a_context_builder_adds_to_what_the_templates_get(build: Builder, smtp: RecordingServer) -> None:
    seen: list[dict[str, object]] = []

    def enrich(request: Any, user: Any, context: dict[str, object]) -> dict[str, object]:
        seen.append(context)
        return {**context, "greeting": f"Dear {user.username} at {request.host if request else 'no request'}"}

    built = with_templates(
        build,
        {"body": "t"},
        {"t": "{{ greeting }} {{ site }}"},
        VERIFICATION_TEMPLATE_CONTEXT_BUILDER=enrich,
    )
    assert text_of(mail_of(built, smtp)).strip() == "Dear ann at localhost frontend.example"
    send_by_script(built)
    assert text_of(smtp.message).strip() == "Dear ann at no request frontend.example"
    usual = {"user", "user_address", "site", "verification_url", "valid_until", "email_first", "code", "code_minutes"}
    assert seen[0].keys() == usual | {"translate", "translate_number", "language", "direction"}
    assert (seen[0]["email_first"], seen[0]["code"]) == (False, None)
    assert seen[0]["user_address"] == "ann@example.com"


def test_what_the_applications_context_processors_give_is_asked_for_once_a_mail(
    build: Builder, smtp: RecordingServer
) -> None:
    """They may ask the database, and a mail has three templates."""
    asked: list[str] = []

    def before_init(app: Flask) -> None:
        app.jinja_loader = DictLoader({"s.txt": "{{ shop }}", "b.txt": "{{ shop }} {{ site }}", "b.html": "{{ shop }}"})

        @app.context_processor
        def shop() -> dict[str, str]:
            asked.append("once")
            return {"shop": "The shop", "site": "not this one"}

    templates = {"subject": "s.txt", "body": "b.txt", "html_body": "b.html"}
    built = build(registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": templates}, before_init=before_init)
    message = mail_of(built, smtp)
    assert message["Subject"] == "The shop"
    assert [text_of(message).strip(), html_of(message).strip()] == ["The shop frontend.example", "The shop"]
    assert asked == ["once"]


def test_templates_have_the_applications_globals_and_what_the_mail_says_wins(
    build: Builder, smtp: RecordingServer
) -> None:
    def before_init(app: Flask) -> None:
        app.jinja_loader = DictLoader({"t": "{{ support }} {{ shop }} {{ site }} {{ config.OWN }}"})
        app.jinja_env.globals.update(support="By phone", shop="a global", site="a global")
        app.context_processor(lambda: {"shop": "The shop"})

    registration = {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"subject": "t", "body": "t"}}
    built = build(registration=registration, config={"OWN": "of the config"}, before_init=before_init)
    message = mail_of(built, smtp)
    expected = "By phone The shop frontend.example of the config"
    assert [message["Subject"], text_of(message).strip()] == [expected, expected]


def test_flasks_signals_tell_of_each_template_of_the_mail(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    told: list[tuple[str, str, object]] = []

    def before(_: Flask, template: Template, context: dict[str, object]) -> None:
        told.append(("before", str(template.name), context["site"]))

    def after(_: Flask, template: Template, context: dict[str, object]) -> None:
        told.append(("after", str(template.name), context["site"]))

    with before_render_template.connected_to(before, built.app), template_rendered.connected_to(after, built.app):
        mail_of(built, smtp)
    names = [f"{FOLDER}/{name}" for name in ("subject.txt", "body.txt", "body.html")]
    assert told == [(when, name, "frontend.example") for name in names for when in ("before", "after")]


def test_a_context_that_lost_something_does_without_it(build: Builder, smtp: RecordingServer) -> None:
    built = with_templates(
        build,
        {"body": "t", "subject": "t"},
        {"t": "[{{ site }}{{ own }}]"},
        VERIFICATION_TEMPLATE_CONTEXT_BUILDER=lambda request, user, context: {"own": "mine"},
    )
    assert text_of(mail_of(built, smtp)).strip() == "[mine]"


@pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{% broken %}", None])
def test_a_template_that_fails_is_a_failed_sender(build: Builder, smtp: RecordingServer, source: str | None) -> None:
    built = with_templates(build, {"body": "t"}, {"t": source} if source else {})
    answer = built.register()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "email-not-sent")
    assert built.rows() == []
    assert smtp.messages == []


def test_templates_may_await_where_the_application_asks_jinja_for_it(build: Builder, smtp: RecordingServer) -> None:
    async def shop() -> str:
        return "The shop"

    def before_init(app: Flask) -> None:
        app.jinja_options = {"enable_async": True}
        app.jinja_loader = DictLoader({f"{FOLDER}/body.txt": "{{ shop() }}"})
        app.context_processor(lambda: {"shop": shop})

    message = mail_of(build(before_init=before_init), smtp)
    assert text_of(message).strip() == "The shop"


def test_the_log_names_the_line_of_a_template_that_fails(build: Builder, caplog: pytest.LogCaptureFixture) -> None:
    with_templates(build, {"body": "own.txt"}, {"own.txt": "Hello,\n\n{{ 1 / 0 }}"}).register()
    assert "line 3, in top-level template code" in caplog.text


# Without a request, and with a sender of one's own


def test_a_script_sends_the_mail_without_a_request(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    store(built, "ann@example.com")
    send_by_script(built)
    assert built.verify(link_in(smtp.message)).status_code == 200


def test_a_script_gets_the_failure_as_an_exception(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    store(built, "ann@example.com")
    smtp.text_reply = "451 later"
    with pytest.raises(EmailNotSent) as caught:
        send_by_script(built)
    assert "451" in caught.value.reason
    assert "ann@" not in caught.value.reason


CALLS: list[tuple[str, str, bool]] = []


def own_sender(request: Any, user: Any) -> None:
    CALLS.append((request.path, user.email, user.id is not None))


@pytest.mark.parametrize("given", [own_sender, f"{__name__}.own_sender"])
def test_a_sender_of_ones_own_gets_the_request_and_the_inserted_user(
    build: Builder, smtp: RecordingServer, given: object
) -> None:
    CALLS.clear()
    settings = {"REGISTER_VERIFICATION_EMAIL_SENDER": given, "REGISTER_VERIFICATION_URL": None}
    assert build(registration=settings).register().status_code == 201
    assert CALLS == [("/api/v1/accounts/register/", "ann@example.com", True)]
    assert smtp.conversations == []


def test_a_sender_may_wrap_the_default_one(build: Builder, smtp: RecordingServer) -> None:
    def twice(request: Any, user: object) -> None:
        for _ in range(2):
            send_register_verification_email_notification(request, user)

    assert build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": twice}).register().status_code == 201
    assert len(smtp.messages) == 2


def test_a_sender_that_adds_the_account_again_after_a_rollback_has_not_kept_it(build: Builder) -> None:
    def send(request: object, user: object) -> None:
        built.db.session.rollback()
        built.db.session.add(user)

    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": send})
    answer = built.register()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "email-not-sent")
    assert built.rows() == []


@pytest.mark.parametrize("path", ["flask_rest_registration", "flask_rest_registration.mail.delivery"])
def test_the_default_sender_named_by_its_path_is_the_default_sender(
    build: Builder, smtp: RecordingServer, path: str
) -> None:
    name = f"{path}.send_register_verification_email_notification"
    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": name})
    assert mail_of(built, smtp)["To"] == "ann@example.com"


# Recipients


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
def test_a_recipient_on_an_international_domain_gets_the_mail_at_the_right_one(
    build: Builder, smtp: RecordingServer, sent: str, recipient: str
) -> None:
    built = build()
    message = mail_of(built, smtp, email=sent)
    assert smtp.envelopes[0].recipients == [recipient]
    assert message["To"] == recipient
    assert built.row()["email"] == normalize_email(sent)
    assert built.verify(link_in(message)).status_code == 200


class Anything(Schema):
    """A serializer of an application's own that checks nothing."""

    email = fields.String(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)


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
def test_what_is_no_single_address_gets_no_mail_whatever_serializer_let_it_through(
    build: Builder, smtp: RecordingServer, address: str
) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Anything})
    answer = built.post("register/", {"email": address, "username": "ann", "password": PASSWORD})
    assert (answer.status_code, list(answer.get_json()["errors"])) == (400, ["email"])
    assert built.rows() == []
    assert smtp.messages == []
    store(built, address)
    with pytest.raises(EmailNotSent):
        send_by_script(built)
    assert smtp.messages == []


# Delivery


def refused(built: Built, smtp: RecordingServer | None = None) -> str:
    """Sign up, expect 503 and nothing stored, and return the answer's text."""
    answer = built.register()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "email-not-sent")
    assert "errors" not in answer.get_json()
    assert built.rows() == []
    assert smtp is None or smtp.messages == []
    return answer.get_data(as_text=True)


def repeats(built: Built, smtp: RecordingServer) -> None:
    """Show that the same request succeeds once the server is well again."""
    smtp.rcpt_reply = smtp.mail_reply = smtp.text_reply = None
    assert built.register().status_code == 201
    assert len(smtp.messages) == 1


@pytest.mark.parametrize(
    "reply",
    ["550 5.1.1 no such user", "553 5.1.3 bad mailbox name", "551 not here", "500 what is that", "599 of their own"],
)
def test_a_recipient_refused_for_good_is_a_field_error_at_the_e_mail_field(
    build: Builder, smtp: RecordingServer, reply: str
) -> None:
    smtp.rcpt_reply = reply
    built = build(models.other_email_name)
    answer = built.register()
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid")
    assert list(answer.get_json()["errors"]) == ["mail_address"]
    assert reply[4:] not in answer.get_data(as_text=True)
    assert built.rows() == []
    repeats(built, smtp)


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("rcpt_reply", "450 4.2.1 greylisted"),
        ("rcpt_reply", "451 4.3.0 try again"),
        ("rcpt_reply", "421 4.3.2 closing"),
        ("rcpt_reply", "499 of their own"),
        ("rcpt_reply", "600 of their own"),
        ("rcpt_reply", "601 of their own"),
        ("mail_reply", "550 5.7.1 sender not allowed"),
        ("mail_reply", "451 4.3.0 try again"),
        ("text_reply", "554 5.6.0 looks like spam"),
        ("text_reply", "451 4.3.0 try again"),
        ("text_reply", "552 5.2.2 mailbox full"),
    ],
)
def test_any_other_refusal_is_503_nothing_is_stored_and_the_request_can_be_repeated(
    build: Builder, smtp: RecordingServer, name: str, reply: str
) -> None:
    setattr(smtp, name, reply)
    built = build()
    assert reply[4:] not in refused(built, smtp)
    repeats(built, smtp)


@pytest.mark.parametrize("at", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "TEXT"])
@pytest.mark.parametrize("kind", [DroppingServer, Rejecting421])
def test_a_server_that_hangs_up_or_closes_down_is_503(
    build: Builder, kind: Callable[..., LoopbackServer], at: str
) -> None:
    with kind(at=at) as server:
        built = build(mail=server)
        refused(built)


@pytest.mark.parametrize("kind", [DroppingServer, Rejecting421])
def test_a_fault_at_quit_is_not_ours(build: Builder, kind: Callable[..., LoopbackServer]) -> None:
    with kind(at="QUIT") as server:
        built = build(mail=server)
        assert built.register().status_code == 201
    assert len(built.rows()) == 1


def test_a_server_that_is_not_there_is_503(build: Builder, smtp: RecordingServer) -> None:
    smtp.stop()
    refused(build())


@pytest.mark.parametrize("host", ["no-such-host.invalid", f"{'m' * 64}.example", "mail..example", "m\0.example"])
def test_a_host_that_is_not_there_or_cannot_be_is_503(build: Builder, host: str) -> None:
    refused(build(config={"MAIL_SERVER": host}))


def test_the_connection_is_ready_before_the_insert_and_is_closed_after_the_commit(build: Builder) -> None:
    order: list[str] = []
    with RecordingServer(on_text=lambda: order.append("TEXT")) as server:
        built = build(mail=server)
        event.listen(built.engine, "begin", lambda conn: order.append(f"BEGIN after {server.conversations[-1][-1]}"))
        event.listen(built.engine, "commit", lambda conn: order.append(f"COMMIT after {server.conversations[-1][-1]}"))
        assert built.register().status_code == 201
    assert order == ["BEGIN after EHLO", "TEXT", "COMMIT after DATA"]
    assert server.conversations == [["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, None])
def test_mail_max_emails_makes_no_second_connection(build: Builder, smtp: RecordingServer, limit: int | None) -> None:
    built = build(config={"MAIL_MAX_EMAILS": limit})
    for name in ("ann", "bob"):
        assert built.register(username=name, email=f"{name}@example.com").status_code == 201
    assert smtp.conversations == [["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]] * 2


def test_with_mail_suppress_send_nothing_is_sent_and_record_messages_has_it(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(config={"MAIL_SUPPRESS_SEND": True})
    with built.mail.record_messages() as outbox:
        assert built.register().status_code == 201
    assert smtp.conversations == []
    assert [message.recipients for message in outbox] == [["ann@example.com"]]
    message = outbox[0]
    assert isinstance(message, Message)
    assert message.html
    assert VERIFICATION_URL in str(message.body)


def test_record_messages_works_while_mails_are_sent_too(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    with built.mail.record_messages() as outbox:
        built.register()
    assert [message.subject for message in outbox] == [smtp.message["Subject"]]


@pytest.mark.parametrize("kind", [LookupError, ValueError, OSError])
def test_a_receiver_of_flask_mails_signal_that_raises_comes_too_late_to_undo_a_sign_up(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    def fail(sender: object, message: Message) -> None:
        raise kind("the archive of mails is full")

    built = build()
    with email_dispatched.connected_to(fail, sender=built.app):
        assert built.register().status_code == 201
    assert (len(built.rows()), len(smtp.messages)) == (1, 1)
    assert lacking(caplog.text, "email_dispatched", f"{kind.__name__}: the archive of mails is full") == []


# Security of the transport


@pytest.mark.parametrize(("security", "config"), [("starttls", "MAIL_USE_TLS"), ("tls", "MAIL_USE_SSL")])
def test_mail_goes_through_tls_to_a_server_whose_certificate_verifies(
    build: Builder, trusted_certificate: None, security: Any, config: str
) -> None:
    with RecordingServer(security=security) as server:
        built = build(mail=server, config={config: True})
        assert built.register().status_code == 201
    assert server.messages


@pytest.mark.parametrize(("security", "config"), [("starttls", "MAIL_USE_TLS"), ("tls", "MAIL_USE_SSL")])
def test_a_certificate_that_does_not_verify_is_refused_before_anything_is_said(
    build: Builder, caplog: pytest.LogCaptureFixture, security: Any, config: str
) -> None:
    with RecordingServer(security=security, login=("app", "pw")) as server:
        built = build(mail=server, config={config: True, "MAIL_USERNAME": "app", "MAIL_PASSWORD": "pw"})
        refused(built, server)
    assert [command for conversation in server.conversations for command in conversation if command != "EHLO"] == []
    assert "SSLCertVerificationError" in caplog.text


@pytest.mark.parametrize(("security", "config"), [("starttls", "MAIL_USE_TLS"), ("tls", "MAIL_USE_SSL")])
def test_a_certificate_for_another_name_is_refused(
    build: Builder, trusted_certificate: None, caplog: pytest.LogCaptureFixture, security: Any, config: str
) -> None:
    with RecordingServer(security=security) as server:
        built = build(mail=server, config={config: True, "MAIL_SERVER": "127.1"})  # another name of 127.0.0.1
        refused(built, server)
    assert "mismatch" in caplog.text


def test_a_server_without_starttls_gets_no_mail_in_the_clear(build: Builder, smtp: RecordingServer) -> None:
    refused(build(config={"MAIL_USE_TLS": True}), smtp)


def test_a_server_that_demands_starttls_gets_no_mail_without_it(build: Builder) -> None:
    with RecordingServer(security="starttls") as server:
        refused(build(mail=server), server)


def test_the_app_logs_in_where_the_server_demands_it(build: Builder, caplog: pytest.LogCaptureFixture) -> None:
    with RecordingServer(login=("app", "s3cret-of-smtp")) as server:
        for config in ({}, {"MAIL_USERNAME": "app", "MAIL_PASSWORD": "wrong-of-smtp"}):
            refused(build(mail=server, config=config), server)
        right = build(mail=server, config={"MAIL_USERNAME": "app", "MAIL_PASSWORD": "s3cret-of-smtp"})
        assert right.register().status_code == 201
    assert "of-smtp" not in caplog.text


@pytest.mark.parametrize(
    ("name", "password"), [("app", "pässwörd-of-smtp"), ("äpp", "of-smtp"), ("app", "\udc80-of-smtp")]
)
def test_a_log_in_that_smtp_cannot_transmit_is_503(
    build: Builder, caplog: pytest.LogCaptureFixture, name: str, password: str
) -> None:
    with RecordingServer(login=("app", "s3cret-of-smtp")) as server:
        refused(build(mail=server, config={"MAIL_USERNAME": name, "MAIL_PASSWORD": password}), server)
    assert "of-smtp" not in caplog.text


@pytest.mark.parametrize("config", [{"MAIL_USERNAME": "app"}, {"MAIL_PASSWORD": "pw"}])
def test_half_a_log_in_is_none(build: Builder, smtp: RecordingServer, config: dict[str, object]) -> None:
    assert build(config=config).register().status_code == 201
    assert smtp.conversations == [["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]]


def test_the_dialogue_is_never_printed(build: Builder, capfd: pytest.CaptureFixture[str]) -> None:
    with RecordingServer(login=("app", "s3cret-of-smtp")) as server:
        config = {"MAIL_USERNAME": "app", "MAIL_PASSWORD": "s3cret-of-smtp", "MAIL_DEBUG": True}
        assert build(mail=server, config=config).register().status_code == 201
    assert capfd.readouterr() == ("", "")


def test_the_mails_are_sent_by_the_current_apps_server(build: Builder, smtp: RecordingServer) -> None:
    with RecordingServer() as other:
        first = build(registration={"VERIFICATION_FROM_EMAIL": "first@example.com"})
        second = build(mail=other, registration={"VERIFICATION_FROM_EMAIL": "second@example.com"})
        with first.app.app_context():
            assert second.register().status_code == 201
        assert first.register().status_code == 201
        assert (smtp.envelopes[0].sender, other.envelopes[0].sender) == ("first@example.com", "second@example.com")


def test_without_flask_mail_an_app_is_told_so(build: Builder) -> None:
    built = build()
    del built.app.extensions["mail"]
    with pytest.raises(ConfigurationError, match="Flask-Mail"):
        built.register()
    assert built.rows() == []


def test_smtplibs_own_class_is_not_changed_for_the_rest_of_the_app(build: Builder, smtp: RecordingServer) -> None:
    before = dict(vars(smtplib.SMTP))
    build().register()
    assert dict(vars(smtplib.SMTP)) == before


# The text of HTML


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("One<br>Two<br/>Three", "One\nTwo\nThree"),
        ('Go <a href="https://x.example/?a=1&amp;b=2">there</a> now', "Go there <https://x.example/?a=1&b=2> now"),
        ('<a href="https://x.example/">https://x.example/</a>', "https://x.example/"),
        ('<a href="https://x.example/"><b>Go</b> on</a>', "Go on <https://x.example/>"),
        ("<a>no link</a> &lt;b&gt; &#8364; &nbsp;end", "no link <b> € end"),
        ("<head><title>T</title><style>p {}</style></head><script>alert(1)</script>Text", "Text"),
        ("<head><title>T</title><style>p {}</style>hidden</head>Text", "Text"),
        ("<style>p {}</style><head><title>T</title></head>Text", "Text"),
        ("<p>One</p>Two", "One\nTwo"),
        ("  many \n\n  blanks\t here ", "many blanks here"),
        ("<ul><li>One</li><li>Two</li></ul>", "One\n\nTwo"),
        ("<table><tr><td>One</td></tr></table><div>Two</div>", "One\n\nTwo"),
        ("<!-- a comment --><p>Text", "Text"),
        ("</a></style><p>still <a href='https://x.example/'>here", "still here"),
        ('<a href="https://x.example/"><img alt="Logo" src="l.png"></a>', "<https://x.example/>"),
        ("", ""),
    ],
)
def test_the_default_converter_gives_the_text_with_its_links(
    build: Builder, smtp: RecordingServer, html: str, text: str
) -> None:
    message = mail_of(with_templates(build, {"html_body": "h.html"}, {"h.html": html}), smtp)
    assert text_of(message).strip().replace("\r\n", "\n") == text


def test_the_default_html_as_text_has_all_that_the_default_text_says(build: Builder, smtp: RecordingServer) -> None:
    built = build(registration={"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"html_body": f"{FOLDER}/body.html"}})
    message = mail_of(built, smtp)
    assert lacking(text_of(message), "frontend.example", "Confirm my address", "cannot be used", link_in(message)) == []
    assert "{" not in text_of(message)


def test_a_step_of_a_delivery_has_the_time_that_is_left() -> None:
    an_hour = Deadline(3600)
    assert not an_hour.has_passed
    assert 1800 < an_hour.seconds_left() <= 3600


def test_no_step_of_a_delivery_begins_after_its_time() -> None:
    deadline = Deadline(0)
    assert deadline.has_passed
    with pytest.raises(TimeoutError, match="VERIFICATION_EMAIL_TIMEOUT"):
        deadline.seconds_left()
