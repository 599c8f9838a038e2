"""Whose rules a template of the mails follows, and whose fault it is when it, a hook or a sender raises."""

from __future__ import annotations

import smtplib
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from jinja2 import DictLoader
from marshmallow import fields
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import NotFound

from flask_rest_registration import RegisterEmailSerializer, RegisterSigner
from flask_rest_registration.signers import make_code
from flask_rest_registration.state import app_state
from tests.support.answers import refused
from tests.support.apps import REGISTER, VERIFICATION_URL, Builder, Built
from tests.support.links import html_of, link_in, text_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.pending import CODES, EMAIL_FIRST, WITH_RESEND, add_account, post_address

FOLDER = "rest_registration/register"
TEMPLATES = "REGISTER_VERIFICATION_EMAIL_TEMPLATES"
BRACKETS: dict[str, object] = {
    "variable_start_string": "[[",
    "variable_end_string": "]]",
    "block_start_string": "[%",
    "block_end_string": "%]",
    "comment_start_string": "[#",
    "comment_end_string": "#]",
}
EXPRESSIONS: dict[str, object] = {
    "variable_start_string": "${",
    "variable_end_string": "}",
    "line_statement_prefix": "<p",
}
BLANKS: dict[str, object] = {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
    "newline_sequence": "\r\n",
}


def with_jinja(
    build: Builder, sources: dict[str, str], options: dict[str, object], *, templates: dict[str, str] | None = None
) -> Built:
    """Build an app with options of Jinja's and templates, with a filter and a global of its own."""

    def give(app: Flask) -> None:
        app.jinja_options = options
        app.jinja_loader = DictLoader(sources)
        app.jinja_env.filters["shout"] = str.upper
        app.jinja_env.globals["shop"] = "The <shop>"

    return build(registration={TEMPLATES: templates}, before_init=give)


def mail_of(built: Built, smtp: RecordingServer) -> tuple[str, str, str]:
    """Sign up, and return subject, text and HTML."""
    assert built.register(username="<b>").status_code == 201
    message = smtp.messages.pop()
    html = html_of(message) if message.get_body(("html",)) else ""
    return message["Subject"], text_of(message).strip(), html.strip()


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("options", [BRACKETS, EXPRESSIONS, BLANKS, {"enable_async": True, **BRACKETS}], ids=str)
def test_our_templates_look_the_same_whatever_syntax_the_application_has(
    build: Builder, smtp: RecordingServer, options: dict[str, object]
) -> None:
    usual = [part.split("signature=")[0].split() for part in mail_of(build(), smtp)]
    built = with_jinja(build, {}, options)
    assert [part.split("signature=")[0].split() for part in mail_of(built, smtp)] == usual
    built.register(username="bob", email="bob@example.com")
    assert built.verify(link_in(smtp.message)).status_code == 200


@pytest.mark.parametrize("is_async", [False, True])
def test_the_applications_templates_have_its_syntax_filters_and_globals(
    build: Builder, smtp: RecordingServer, is_async: bool
) -> None:
    sources = {
        f"{FOLDER}/layout.html": "<i>[[ site ]] {{ site }} [[ shop ]]</i>[% block content %][% endblock %]",
        f"{FOLDER}/body.txt": "[# no #][[ 'own' | shout ]] {{ site }} [[ shop ]] [[ verification_url ]]",
    }
    _, plain, html = mail_of(with_jinja(build, sources, {**BRACKETS, "enable_async": is_async}), smtp)
    assert plain.startswith(f"OWN {{{{ site }}}} The <shop> {VERIFICATION_URL}?")
    # Our own page about the link, within the frame of the application's.
    assert html.startswith("<i>frontend.example {{ site }} The &lt;shop&gt;</i>")
    assert lacking(html, "Open the confirmation page", f'href="{VERIFICATION_URL}?') == []


NAMES = {"subject": "subject", "body": "body.html", "html_body": "html.txt"}


@pytest.mark.parametrize("names", [NAMES, dict.fromkeys(NAMES, "one.html"), dict.fromkeys(NAMES, "one.txt")], ids=str)
@pytest.mark.parametrize("autoescape", [None, True, False])
def test_html_is_escaped_and_text_is_not_whatever_the_file_is_called(
    build: Builder, smtp: RecordingServer, names: dict[str, str], autoescape: bool | None
) -> None:
    options: dict[str, object] = {} if autoescape is None else {"autoescape": autoescape}
    source = "{{ user.username }} & {{ '<&>' }}{{ '<i>' | safe }}"
    built = with_jinja(build, dict.fromkeys(names.values(), source), options, templates=names)
    for _ in range(2):  # what was compiled for one part is not taken for another one
        subject, plain, html = mail_of(built, smtp)
        assert subject == plain == "<b> & <&><i>"
        assert html == "&lt;b&gt; & &lt;&amp;&gt;<i>"
        built.execute_outside("DELETE FROM user")


def fail(*_: object) -> Any:
    raise ZeroDivisionError("the application's own fault")


#: What is the application's own and raises: by its settings and templates, and what the report names.
OWN_FAULTS: dict[str, tuple[dict[str, object], dict[str, str], tuple[str, ...]]] = {
    "template": (
        {TEMPLATES: {"body": "t"}},
        {"t": "Hello,\n\n{{ user.profile.name }}"},
        ("UndefinedError: ", "profile", "line 3, in top-level template code"),
    ),
    "template, syntax": ({TEMPLATES: {"body": "t"}}, {"t": "{% broken %}"}, ("TemplateSyntaxError: ", "broken")),
    "template, none": ({TEMPLATES: {"html_body": "t.html"}}, {}, ("TemplateNotFound: t.html",)),
    **{
        name: ({name: fail, TEMPLATES: {"html_body": "h"}}, {"h": "<p>"}, ("ZeroDivisionError: the application's own",))
        for name in (
            "VERIFICATION_TEMPLATE_CONTEXT_BUILDER",
            "VERIFICATION_TEMPLATES_SELECTOR",
            "VERIFICATION_URL_BUILDER",
            "VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER",
        )
    },
}


@pytest.mark.parametrize("way", [{}, EMAIL_FIRST, WITH_RESEND], ids=["register", "e-mail first", "resend"])
@pytest.mark.parametrize("name", OWN_FAULTS)
def test_a_hook_or_template_that_raises_is_the_applications_500_with_traceback(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, name: str, way: dict[str, object]
) -> None:
    registration, sources, words = OWN_FAULTS[name]
    built = build(
        pending=True,
        registration={**registration, **way},
        before_init=lambda app: setattr(app, "jinja_loader", DictLoader(sources)),
        config={"TESTING": False},
    )
    if way is WITH_RESEND:
        add_account(built)
    before = built.rows()
    answer = post_address(built) if way else built.register()
    assert (answer.status_code, answer.mimetype) == (500, "text/html")
    (report,) = [record for record in caplog.records if record.exc_info]
    assert (report.name, lacking(caplog.text, *words)) == ("app_under_test", [])  # Flask's own report
    assert (built.rows(), smtp.messages) == (before, [])
    assert [(row["mails"], row["next_mail_at"]) for row in built.pending_rows()] == ([(0, 0)] if way else [])


@pytest.mark.parametrize("kind", [LookupError, OSError, NotFound, smtplib.SMTPRecipientsRefused])
@pytest.mark.parametrize("way", [{}, CODES], ids=["register", "e-mail first"])
def test_an_own_sender_that_raises_is_logged_with_its_text_but_for_what_is_secret(
    build: Builder, caplog: pytest.LogCaptureFixture, way: dict[str, object], kind: Any
) -> None:
    secrets = ["ann@", "ann%40", "example.com", "user_id", "signature"]

    def send(request: Any, user: Any) -> None:
        signer = RegisterSigner.for_user(user)
        data = signer.get_signed_data()
        secrets.extend(data[name].lower() for name in ("timestamp", "signature"))
        code = make_code(app_state(built.app), user) if way else ""
        secrets.extend([code, data["user_id"]] if way else [])
        told = f"{user.email} {user.email.upper()} {quote(user.email)} {signer.get_url()} {data} {code}"
        raise kind({}) if kind is smtplib.SMTPRecipientsRefused else kind(f"over quota: {told}")

    senders = ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER")
    built = build(pending=True, registration={**way, **dict.fromkeys(senders, send)})
    refused(post_address(built) if way else built.register(), 503, "email-not-sent")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "app_under_test"]
    assert lacking(line, "Traceback", "test_templates.py", kind.__name__) == []
    assert kind is smtplib.SMTPRecipientsRefused or "over quota: ... ... ... https://frontend.example/" in line
    told = line.rpartition("over quota")[2].lower()
    assert [secret for secret in secrets if secret in told] == []


class WithCaptcha(RegisterEmailSerializer):
    captcha = fields.String()


def test_what_came_with_the_address_is_struck_out_of_what_an_own_sender_raised(
    build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    def send(request: Any, pending: Any) -> None:
        raise OSError(f"over quota: {request.get_json()}")

    own = {"REGISTER_VERIFICATION_EMAIL_SENDER": send, "REGISTER_EXISTING_EMAIL_SENDER": send}
    built = build(pending=True, registration={**EMAIL_FIRST, **own, "REGISTER_EMAIL_SERIALIZER_CLASS": WithCaptcha})
    body = {"email": "ann@example.com", "captcha": "a solved captcha"}
    refused(built.post(REGISTER, json=body), 503, "email-not-sent")
    assert lacking(caplog.text, "over quota", "a solved captcha") == ["a solved captcha"]


def test_a_database_error_of_an_own_sender_is_logged_without_what_it_quotes(
    build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    def send(request: object, user: Any) -> None:
        try:
            built.db.session.execute(text("INSERT INTO outbox VALUES (:it)"), {"it": "a quoted value"})
        except SQLAlchemyError as error:
            raise LookupError("quoted value") from error

    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": send})
    refused(built.register(), 503, "email-not-sent")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "app_under_test"]
    assert (lacking(line, "LookupError", "in send"), "quoted value" in line.partition("raise LookupError")[0]) == (
        [],
        False,
    )
