"""``POST resend-verification/``: who gets a link again. When, and what if it fails, is in ``test_due_mails.py``."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import mapped_column

from flask_rest_registration import RegisterSigner, send_register_verification_email_notification
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import RESEND, Builder, Built
from tests.support.clock import Clock, at
from tests.support.interference import acting_before
from tests.support.links import html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import ANN, EMAIL_FIRST, WITH_RESEND, add_account, ask, post_address
from tests.support.statements import recorded

pytestmark = pytest.mark.database

SET_FLAG = "UPDATE user SET email_verified_at = '2023-11-14 00:00:00'"
UNSET_FLAG = "UPDATE user SET email_verified_at = NULL"
NOBODY, VERIFIED = "nobody@example.com", "verified@example.com"
MINUTE, DAY = 60, 24 * 3600
WEEK = 7 * DAY


def verified(built: Built, link: Any) -> bool:
    return bool(built.verify(link).get_json() == {"detail": "User verified successfully"})


def with_settings(build: Builder, built: Built, **settings: object) -> Built:
    return build(pending=True, database_uri=built.database_uri, registration={**WITH_RESEND, **settings}, tables=False)


@pytest.fixture(name="built")
def resending_app(build: Builder, clock: Clock) -> Built:
    return build(pending=True, registration=WITH_RESEND)


@pytest.fixture
def ann(built: Built, smtp: RecordingServer) -> Built:
    """The app after Ann has signed up; her first mail is gone from the mail server's list."""
    assert built.register().status_code == 201
    smtp.messages.clear()
    smtp.conversations.clear()
    return built


@pytest.mark.parametrize("settings", [{}, EMAIL_FIRST, {"REGISTER_VERIFICATION_ENABLED": False}], ids=str)
def test_while_resend_is_off_it_is_404_whatever_is_sent(build: Builder, settings: dict[str, object]) -> None:
    built = build(pending=True, registration=settings)
    with recorded(built.engine) as statements:
        for body in (b"no JSON", b'{"email": "ann@example.com"}', b"x" * 100_000):
            refused(built.post(RESEND, data=body, content_type="application/json"), 404, "not-found")
    assert statements.kinds == []


@pytest.mark.parametrize("slash", ["/", ""], ids=["with slash", "without slash"])
def test_only_post_is_answered_with_and_without_the_slash(ann: Built, smtp: RecordingServer, slash: str) -> None:
    path = RESEND.rstrip("/") + slash
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        answer = ann.client().open(f"{ann.url_prefix}/{path}", method=method, json={"email": ANN})
        assert (answer.status_code, set(answer.allow)) == (405, {"POST", "OPTIONS"})
    assert smtp.conversations == []
    assert ann.post(path, {"email": ANN}).status_code == 202
    assert smtp.message["To"] == ANN


def test_a_link_is_sent_again_while_registration_is_closed(build: Builder, ann: Built, smtp: RecordingServer) -> None:
    closed = with_settings(build, ann, REGISTER_FLOW_ENABLED=False)
    ask(closed)
    assert verified(closed, link_in(smtp.message))


def test_blanks_around_an_address_find_its_account(ann: Built, smtp: RecordingServer) -> None:
    assert ann.post(RESEND, {"email": "\u3000 Ann@example.com\u00a0"}).status_code == 202
    assert [message["To"] for message in smtp.messages] == ["ann@example.com"] * len(smtp.messages)
    assert verified(ann, link_in(smtp.messages[-1]))


def test_the_verified_get_nothing_until_their_flag_is_cleared(ann: Built, smtp: RecordingServer, clock: Clock) -> None:
    ann.execute_outside(SET_FLAG)
    ask(ann)
    assert smtp.messages == []
    ann.execute_outside(UNSET_FLAG)
    clock.move(MINUTE)
    ask(ann)
    assert smtp.message["To"] == ANN


def test_a_boolean_flag_that_is_null_is_unset(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    model = models.declared(email_verified_at=None, is_verified=mapped_column(sa.Boolean))
    built = build(model, pending=True, registration=WITH_RESEND)
    built.register()
    built.execute_outside("UPDATE user SET is_verified = NULL")
    ask(built)
    assert verified(built, link_in(smtp.messages[-1]))
    assert built.row()["is_verified"] is True
    clock.move(MINUTE)
    ask(built)
    assert len(smtp.messages) == 2


def test_the_mail_server_is_asked_for_the_address_whoever_asks(ann: Built, smtp: RecordingServer, clock: Clock) -> None:
    add_account(ann, VERIFIED, email_verified_at=at(0))
    smtp.rcpt_reply = "550 5.1.1 no such user"
    for address in (NOBODY, VERIFIED, ANN):
        assert list(field_errors(post_address(ann, address))) == ["email"]
    assert smtp.conversations == [["EHLO", "MAIL", "RCPT", "QUIT"]] * 3
    smtp.rcpt_reply = None
    for address in (NOBODY, VERIFIED) * 2:
        ask(ann, address)
    assert smtp.conversations[3:] == [["EHLO", "MAIL", "RCPT", "QUIT"]] * 2
    clock.move(MINUTE)
    ask(ann, "cooling-down@example.com")
    smtp.stop()
    answers = [post_address(ann, address) for address in (ANN, NOBODY, VERIFIED) * 2]
    for answer in answers:
        refused(answer, 503, "email-not-sent")
    assert len({(answer.data, tuple(sorted(answer.headers.items()))) for answer in answers}) == 1
    ask(ann, "cooling-down@example.com")


@pytest.mark.parametrize("change", ["DELETE FROM user", SET_FLAG])
def test_the_account_is_looked_up_after_the_row_is_noted(ann: Built, smtp: RecordingServer, change: str) -> None:
    with acting_before(ann, ("INSERT", lambda: ann.execute_outside(change))):
        ask(ann)
    assert smtp.conversations == [["EHLO", "MAIL", "RCPT", "QUIT"]]


def test_every_link_works_until_its_own_time_is_over(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    built.register()
    clock.move(MINUTE)
    ask(built)
    first, second = map(link_in, smtp.messages)
    clock.move(WEEK - MINUTE)
    assert verified(built, first)
    built.execute_outside(UNSET_FLAG)
    clock.move(1)
    refused(built.verify(first), 400, "signature-expired")
    assert verified(built, second)


def test_the_mail_is_the_sign_ups_but_for_its_link(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    built.register()
    clock.move(DAY)
    ask(built)
    neutral = []
    for mail in smtp.messages:
        parts = [text_of(mail), html_of(mail).replace("&amp;", "&")]
        assert all(link_in(mail) in part for part in parts)
        neutral.append([mail["Subject"], *(part.replace(link_in(mail), "LINK") for part in parts)])
    assert neutral[0] == neutral[1]


def test_a_link_of_the_pending_row_is_no_link_of_the_account(ann: Built) -> None:
    ask(ann)
    with ann.app.app_context():
        model: Any = ann.Pending
        values = RegisterSigner.for_user(ann.db.session.scalars(sa.select(model)).one()).get_signed_data()
    refused(ann.verify(values), 400, "signature-invalid")
    refused(ann.verify({**values, "user_id": str(ann.row()["id"])}), 400, "signature-invalid")
    assert ann.row()["email_verified_at"] is None


def test_sign_up_and_activation_work_where_the_pending_table_is_missing(built: Built, smtp: RecordingServer) -> None:
    built.execute_outside("DROP TABLE pending_registration")
    assert built.register().status_code == 201
    assert built.register().status_code == 400
    assert verified(built, link_in(smtp.message))


def test_an_own_sender_gets_request_and_account_once_and_may_send_the_default_mail(
    build: Builder, ann: Built, smtp: RecordingServer, clock: Clock
) -> None:
    def send(request: Any, user: Any) -> None:
        calls.append((request.path, type(user), user.email))
        send_register_verification_email_notification(request, user)

    built, calls = with_settings(build, ann, REGISTER_VERIFICATION_EMAIL_SENDER=send), list[tuple[object, ...]]()
    for address in (ANN, ANN, NOBODY):
        ask(built, address)
    assert calls == [(f"{built.url_prefix}/{RESEND}", built.User, ANN)]
    assert values_of(link_in(smtp.message))["timestamp"] == str(clock.time)
