"""Codes: digits beside the link, for the device where the sign-up began."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from flask import Request
from marshmallow import fields, post_load, validate
from sqlalchemy import exc

from flask_rest_registration import DefaultRegisterUserSerializer
from flask_rest_registration.signers import accepts_code
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import CHECK_LINK, OMITTED, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.interference import refusing
from tests.support.links import code_of, html_of, link_in, text_of, values_of, with_other_character
from tests.support.mail_servers import RecordingServer
from tests.support.pending import ANN, CODES, EMAIL_FIRST, add_account, ask, post_address
from tests.support.statements import recorded

pytestmark = pytest.mark.database

MINUTE = 60
wrong = partial(with_other_character, position=5)
OUT_OF_REACH = exc.OperationalError("UPDATE", {}, Exception("out of reach"))


def with_codes(build: Builder, model: models.Model = models.typed, **settings: Any) -> Built:
    return build(model, pending=True, registration={**CODES, **settings})


def asked(built: Built, smtp: RecordingServer, email: str = ANN) -> str:
    ask(built, email)
    return code_of(smtp.messages[-1])


def try_code(built: Built, code: object, **changes: object) -> Any:
    """Send a code with the fields of an account."""
    body = {**built.body(**{built.email_field: OMITTED}), "email": ANN, "code": code}
    return built.post(VERIFY, {**body, **changes})


def refuse(built: Built, code: str, **changes: object) -> None:
    refused(try_code(built, code, **changes), 400, "code-invalid")


def use_up(built: Built, code: str, times: int = 5) -> None:
    for _ in range(times):
        refuse(built, wrong(code))


@pytest.fixture(name="built")
def usual_app(build: Builder, clock: Clock) -> Built:
    return with_codes(build)


@pytest.fixture(name="code")
def code_of_a_mail(built: Built, smtp: RecordingServer) -> str:
    return asked(built, smtp)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes that were compared."""
    codes: list[str] = []

    def compare(state: Any, row: Any, code: str) -> bool:
        codes.append(code)
        return accepts_code(state, row, code)

    monkeypatch.setattr("flask_rest_registration.workflows.email_first.accepts_code", compare)
    return codes


def test_the_code_stands_first_on_its_line_and_in_the_subject(built: Built, code: str, smtp: RecordingServer) -> None:
    assert smtp.message["Subject"] == f"{code} is your code for frontend.example"
    text, html = text_of(smtp.message), html_of(smtp.message)
    assert text.splitlines()[:3] == ["Your verification code for frontend.example:", "", code]
    for part in (text, html):
        assert "Type it within 15 minutes on the page where you signed up." in part
        assert "Someone (hopefully you) wants to sign up at frontend.example" in part
    assert html.index(f">{code}<") < html.index("href=")
    assert link_in(smtp.message)


@pytest.mark.parametrize("length", [6, 8, 10])
def test_a_code_has_as_many_digits_as_the_setting_says(build: Builder, smtp: RecordingServer, length: int) -> None:
    built = with_codes(build, REGISTER_VERIFICATION_CODE_LENGTH=length)
    code = asked(built, smtp)
    assert len(code) == length
    assert field_errors(try_code(built, code[1:])) == {"code": [f"A code has {length} digits."]}
    assert try_code(built, code).status_code == 201


def test_every_address_has_another_code_and_leading_zeros_stay(built: Built, smtp: RecordingServer) -> None:
    codes: list[str] = []
    while len(codes) < 5 or not any(code.startswith("0") for code in codes):
        codes.append(asked(built, smtp, f"ann{len(codes)}@example.com"))
        assert len(codes) < 500, "no code in 500 begins with a zero"
    assert {len(code) for code in codes} == {6}
    assert len(set(codes)) >= len(codes) - 1


def test_only_the_first_three_mails_in_a_row_have_a_code(
    built: Built, smtp: RecordingServer, clock: Clock, compared: list[str]
) -> None:
    for _ in range(4):
        ask(built)
        clock.move(12 * 3600)
    subjects = [mail["Subject"].endswith("is your code for frontend.example") for mail in smtp.messages]
    assert subjects == [True, True, True, False]
    assert "code" not in text_of(smtp.messages[-1])
    clock.move(-12 * 3600)
    refuse(built, "000000")
    assert compared == []


@pytest.mark.parametrize("form", ["{0}{1}", "{0} {1}", "{0}-{1}", " {0}{1}\n", "{0}\u2013{1}", "{0}\u00a0{1}"])
def test_the_code_makes_the_account_with_blanks_and_dashes_too(
    built: Built, code: str, activations: list[Any], signals: list[Any], form: str
) -> None:
    answer = try_code(built, form.format(code[:3], code[3:]))
    assert (answer.status_code, answer.get_json()["email"]) == (201, ANN)
    assert built.row()["email_verified_at"] is not None
    assert signals == [user.email for user in activations] == [ANN]


@pytest.mark.parametrize("by_link", [False, True], ids=["code", "link"])
def test_code_and_link_of_one_mail_end_together_and_a_notice_has_none(
    built: Built, code: str, smtp: RecordingServer, clock: Clock, by_link: bool
) -> None:
    link = values_of(link_in(smtp.message))
    answer = built.post(VERIFY, {**built.body(), **link}) if by_link else try_code(built, code)
    assert answer.status_code == 201
    refused(built.post(CHECK_LINK, link), 400, "signature-invalid")
    refuse(built, code, username="eve")
    assert len(built.rows()) == 1
    clock.move(MINUTE)
    ask(built)
    assert smtp.messages[-1]["Subject"].startswith("You already have an account")
    assert "code" not in text_of(smtp.messages[-1])


def test_a_code_lives_for_its_period(built: Built, code: str, clock: Clock) -> None:
    clock.move(15 * MINUTE + 1)
    refuse(built, code)
    clock.move(-1)
    assert try_code(built, code).status_code == 201


def test_the_address_is_sent_as_email_whatever_the_model_calls_it(build: Builder, smtp: RecordingServer) -> None:
    built = with_codes(build, models.other_email_name)
    assert try_code(built, asked(built, smtp), email="Ann@Example.com").status_code == 201
    assert built.row()["mail_address"] == ANN


@pytest.mark.parametrize("code", [123456, True, None, ["1"], "", "12345", "1234567", "12345a", "１２３４５６"])
def test_what_is_no_code_is_invalid_and_not_counted(built: Built, code: object) -> None:
    with recorded(built.engine) as statements:
        assert set(field_errors(try_code(built, code))) == {"code"}
    assert statements.sql == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        *((code, "Enter the code from the message.") for code in (None, "", " - ", 5)),
        *((code, "A code has 6 digits.") for code in ("12345", "x")),
    ],
)
def test_a_fault_of_the_code_is_told_in_a_sentence(build: Builder, code: object, text: str) -> None:
    """The address is judged by the rules of the account, and is not one that stands in for it."""
    ours = fields.Email(required=True, validate=validate.OneOf(["ann@members.example"]))
    built = with_codes(build, REGISTER_SERIALIZER_CLASS=DefaultRegisterUserSerializer.from_dict({"email": ours}))
    assert field_errors(try_code(built, code, email=" ann@members.example ")) == {"code": [text]}


def test_a_code_that_is_wrong_in_form_is_told_with_all_the_rest(built: Built) -> None:
    errors = field_errors(built.post(VERIFY, {"email": "ann", "code": "1", "password": "password"}))
    assert set(errors) == {"email", "code", "username", "password", "password_confirm"}
    assert errors["email"] == ["Enter an e-mail address such as name@example.com."]


@pytest.mark.parametrize("body", [{}, {"email": ANN}, {"code": "1", "signature": "x", "email": ANN}])
def test_a_body_with_neither_link_nor_code_or_with_both_is_invalid(built: Built, body: Mapping[str, object]) -> None:
    errors = field_errors(built.post(VERIFY, body))
    account = {"username", "password", "password_confirm"} if body else set()
    assert set(errors) == {"_schema", *account}
    assert errors["_schema"] == ["Send either user_id, timestamp and signature of the link, or email and code."]


def test_a_code_means_nothing_where_codes_or_registration_are_off(build: Builder) -> None:
    without = build(pending=True, registration=EMAIL_FIRST)
    assert set(field_errors(try_code(without, "123456"))) == {"user_id", "timestamp", "signature"}
    refused(try_code(with_codes(build, REGISTER_FLOW_ENABLED=False), "123456"), 404, "not-found")


def test_every_untrue_code_gets_one_answer_by_the_same_statements(built: Built, code: str, clock: Clock) -> None:
    seen = set()

    def see(code: str, email: str = ANN) -> None:
        with recorded(built.engine) as statements:
            answer = try_code(built, code, email=email)
        refused(answer, 400, "code-invalid")
        seen.add((answer.text, *statements.queries))

    see(wrong(code), "nobody@example.com")
    for _ in range(5):
        see(wrong(code))
    see(code)  # used up
    clock.move(15 * MINUTE + 1)
    see(code)
    assert [queries for _, *queries in seen] == [["SELECT", "UPDATE"]]


def test_after_five_attempts_no_code_is_compared_and_only_the_link_works(
    built: Built, code: str, smtp: RecordingServer, compared: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    use_up(built, code, times=8)
    refuse(built, code)
    assert compared == [wrong(code)] * 5
    assert [record for record in caplog.records if record.name == built.app.logger.name] == []
    link = values_of(link_in(smtp.message))
    assert built.post(VERIFY, {**link, **built.body()}).status_code == 201


def test_after_a_new_mail_only_its_code_is_true_with_five_attempts_of_its_own(
    built: Built, code: str, smtp: RecordingServer, clock: Clock
) -> None:
    use_up(built, code)
    clock.move(MINUTE)
    new = asked(built, smtp)
    refuse(built, code)
    use_up(built, new, times=3)
    assert try_code(built, new).status_code == 201


def test_fields_are_judged_before_the_attempt_is_counted(built: Built, code: str) -> None:
    assert set(field_errors(try_code(built, wrong(code), password="password"))) >= {"password"}
    assert built.pending_row()["code_attempts"] == 0


def test_an_attempt_that_cannot_be_given_back_hides_no_error(built: Built, code: str) -> None:
    add_account(built, "other@example.com", "ann")
    with refusing(built, "UPDATE", after=2, error=OUT_OF_REACH) as met:  # the first counts, the second spends the row
        assert field_errors(try_code(built, code)) == {"username": ["This is already taken. Choose another one."]}
    assert (len(met), built.pending_row()["code_attempts"]) == (3, 1)


def test_no_code_can_be_tried_before_its_mail_is_out(build: Builder, compared: list[str]) -> None:
    raising: list[Exception] = [LookupError()] * 3

    def sender(request: Request, pending: Any) -> None:
        with built.app.app_context():
            refuse(built, "000000")
        if raising:
            raise raising.pop()

    built = with_codes(build, REGISTER_VERIFICATION_EMAIL_SENDER=sender, REGISTER_EXISTING_EMAIL_SENDER=sender)
    while raising:  # mails that fail give no attempts
        refused(post_address(built), 503, "email-not-sent")
        refuse(built, "000000")
    ask(built)
    assert compared == []
    refuse(built, "000000")
    assert compared == ["000000"]


def test_a_code_that_cannot_be_opened_leaves_the_link(
    built: Built, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing(built, "UPDATE", times=1, error=OUT_OF_REACH):
        code = asked(built, smtp)
    assert "A mail was sent whose code cannot be used" in caplog.text
    refuse(built, code)
    assert built.post(CHECK_LINK, values_of(link_in(smtp.message))).status_code == 200


def test_what_a_serializer_adds_goes_with_a_right_code_only(build: Builder, smtp: RecordingServer) -> None:
    class AddsRows(DefaultRegisterUserSerializer):
        @post_load
        def add(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
            numbers = dict.fromkeys(("sent_at", "mails", "next_mail_at", "code_attempts"), 0)
            built.db.session.add(built.Pending(id=uuid.uuid4(), email="added", **numbers))  # type: ignore[misc]
            return data

    built = with_codes(build, REGISTER_SERIALIZER_CLASS=AddsRows)
    code = asked(built, smtp)
    use_up(built, code, times=3)
    assert len(built.pending_rows()) == 1
    assert try_code(built, code).status_code == 201
    assert len(built.pending_rows()) == 2
