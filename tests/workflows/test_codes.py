"""Codes: digits beside the link, for the device where the sign-up began."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Request
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields, post_load
from sqlalchemy import event, exc, select
from sqlalchemy.orm import Mapped, mapped_column

from flask_rest_registration import DefaultRegisterUserSerializer
from flask_rest_registration.mail.smtp import DeliveryConnection
from flask_rest_registration.signers import accepts_code
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import CHECK_LINK, PASSWORD, REGISTER, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.links import code_of, html_of, link_in, text_of, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

pytestmark = pytest.mark.database

EMAIL = "ann@example.com"
MINUTE = 60


def with_codes(build: Builder, model: models.Model = models.typed, **options: Any) -> Built:
    """Build an app with e-mail first and codes."""
    registration = {
        "REGISTER_EMAIL_FIRST": True,
        "REGISTER_VERIFICATION_CODE_ENABLED": True,
        **options.pop("registration", {}),
    }
    return build(model, pending=True, registration=registration, **options)


def ask(built: Built, email: str = EMAIL) -> None:
    assert built.post(REGISTER, {"email": email}).status_code == 202


def try_code(built: Built, code: object, **changes: object) -> Any:
    """Send a code with the fields of an account."""
    return built.post(VERIFY, {**built.body(**{built.email_field: EMAIL}), "email": EMAIL, "code": code, **changes})


def wrong(code: str) -> str:
    """Return another code of the same form."""
    return code[:-1] + ("1" if code[-1] == "0" else "0")


def use_up(built: Built, code: str, times: int = 5) -> None:
    for _ in range(times):
        refused(try_code(built, wrong(code)), 400, "code-invalid")


@pytest.fixture(name="built")
def usual_app(build: Builder, clock: Clock) -> Built:
    return with_codes(build)


@pytest.fixture(name="code")
def code_of_a_message(built: Built, smtp: RecordingServer) -> str:
    ask(built)
    return code_of(smtp.messages[-1])


# The message


def test_the_code_stands_first_alone_on_its_line_and_in_the_subject(
    built: Built, code: str, smtp: RecordingServer
) -> None:
    assert len(code) == 6
    assert smtp.message["Subject"] == f"{code} is your code for frontend.example"
    lines = text_of(smtp.message).splitlines()
    assert lines[:3] == ["Your verification code for frontend.example:", "", code]
    assert "Type it within 15 minutes on the page where you signed up." in text_of(smtp.message)
    html = html_of(smtp.message)
    assert html.index(f">{code}<") < html.index("verification_url" if "verification_url" in html else "href=")
    assert link_in(smtp.message)


@pytest.mark.parametrize("length", [6, 8, 10])
def test_a_code_has_as_many_digits_as_the_setting_says(build: Builder, smtp: RecordingServer, length: int) -> None:
    built = with_codes(build, registration={"REGISTER_VERIFICATION_CODE_LENGTH": length})
    ask(built)
    code = code_of(smtp.message)
    assert len(code) == length
    assert field_errors(try_code(built, code[1:])) == {"code": [f"A code has {length} digits."]}
    assert try_code(built, code).status_code == 201


def test_every_code_has_all_its_digits_leading_zeros_too(built: Built, smtp: RecordingServer) -> None:
    for number in range(60):
        ask(built, f"ann{number}@example.com")
    first_digits = Counter(code_of(message)[0] for message in smtp.messages)
    assert first_digits["0"] > 0
    assert len({code_of(message) for message in smtp.messages}) > 55


def test_only_the_first_three_messages_in_a_row_have_a_code(built: Built, smtp: RecordingServer, clock: Clock) -> None:
    for _ in range(4):
        ask(built)
        clock.move(12 * 3600)
    assert [message["Subject"].endswith("is your code for frontend.example") for message in smtp.messages] == [
        True,
        True,
        True,
        False,
    ]
    assert "code" not in text_of(smtp.messages[-1])


def test_no_code_of_a_message_without_one_can_be_tried(
    built: Built, smtp: RecordingServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = count_comparisons(monkeypatch)
    for _ in range(3):
        ask(built)
        clock.move(12 * 3600)
    ask(built)
    refused(try_code(built, "000000"), 400, "code-invalid")
    assert compared == []


def count_comparisons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    compared: list[str] = []

    def count(state: Any, row: Any, code: str) -> bool:
        compared.append(code)
        return accepts_code(state, row, code)

    monkeypatch.setattr("flask_rest_registration.workflows.email_first.accepts_code", count)
    return compared


def test_the_notice_to_the_owner_of_an_account_has_no_code(
    built: Built, code: str, smtp: RecordingServer, clock: Clock
) -> None:
    assert try_code(built, code).status_code == 201
    clock.move(MINUTE)
    ask(built)
    notice = smtp.messages[-1]
    assert notice["Subject"].startswith("You have an account")
    with pytest.raises(AssertionError):
        code_of(notice)


# A true code


def test_the_code_makes_the_account(built: Built, code: str, activations: list[Any], signals: list[Any]) -> None:
    response = try_code(built, code)
    assert response.status_code == 201
    assert response.get_json()["email"] == EMAIL
    assert built.row()["email_verified_at"] is not None
    assert signals == [EMAIL]
    assert len(activations) == 1


@pytest.mark.parametrize("form", ["{0} {1}", "{0}-{1}", " {0}{1}\n", "{0}\u2013{1}", "{0}\u00a0{1}"])
def test_blanks_and_dashes_in_a_code_are_dropped(built: Built, code: str, form: str) -> None:
    assert try_code(built, form.format(code[:3], code[3:])).status_code == 201


def test_code_and_link_of_one_message_end_together(built: Built, code: str, smtp: RecordingServer) -> None:
    values = values_of(link_in(smtp.message))
    assert try_code(built, code).status_code == 201
    refused(built.post(CHECK_LINK, values), 400, "signature-invalid")
    refused(try_code(built, code, username="eve"), 400, "code-invalid")
    assert len(built.rows()) == 1


def test_a_link_that_was_used_ends_the_code(built: Built, code: str, smtp: RecordingServer) -> None:
    assert built.post(VERIFY, {**values_of(link_in(smtp.message)), **built.body()}).status_code == 201
    refused(try_code(built, code, username="eve", email=EMAIL), 400, "code-invalid")


def test_only_the_last_messages_code_is_true(built: Built, code: str, smtp: RecordingServer, clock: Clock) -> None:
    clock.move(MINUTE)
    ask(built)
    refused(try_code(built, code), 400, "code-invalid")
    assert try_code(built, code_of(smtp.messages[-1])).status_code == 201


def test_a_code_lives_for_its_period(built: Built, code: str, clock: Clock) -> None:
    clock.move(15 * MINUTE + 1)
    refused(try_code(built, code), 400, "code-invalid")
    clock.move(-1)
    assert try_code(built, code).status_code == 201


def test_a_code_of_an_old_key_works_while_it_is_a_fallback(built: Built, code: str) -> None:
    built.app.config["SECRET_KEY"] = "another key"
    refused(try_code(built, code), 400, "code-invalid")
    built.app.config["SECRET_KEY_FALLBACKS"] = ["a key for tests only"]
    assert try_code(built, code).status_code == 201


def test_the_address_is_read_under_the_name_email_whatever_the_model_calls_it(
    build: Builder, smtp: RecordingServer
) -> None:
    built = with_codes(build, models.other_email_name)
    ask(built)
    code = code_of(smtp.message)
    body = {"email": "Ann@Example.com", "code": code, "username": "ann", "password": PASSWORD}
    response = built.post(VERIFY, {**body, "password_confirm": PASSWORD})
    assert response.status_code == 201
    assert built.row()["mail_address"] == EMAIL


# What is refused


@pytest.mark.parametrize(
    "code",
    [
        123456,
        True,
        None,
        "",
        "12345",
        "1234567",
        "12345a",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "１２３４５６",
        ["1"],
    ],
)
def test_what_is_no_code_is_invalid_and_not_counted(built: Built, code: object) -> None:
    with recorded(built.engine) as statements:
        errors = field_errors(try_code(built, code))
    assert set(errors) == {"code"}
    assert statements.sql == []


def test_a_code_that_is_wrong_in_form_is_told_with_all_the_rest(built: Built) -> None:
    errors = field_errors(built.post(VERIFY, {"email": "ann", "code": "1", "password": "password"}))
    assert set(errors) == {"email", "code", "username", "password", "password_confirm"}
    assert errors["email"] == ["Not a valid email address."]


@pytest.mark.parametrize(
    "body", [{}, {"email": EMAIL}, {"code": "123456", "user_id": "1"}, {"code": "1", "signature": "x", "email": EMAIL}]
)
def test_a_body_with_neither_link_nor_code_or_with_both_is_invalid(built: Built, body: Mapping[str, object]) -> None:
    errors = field_errors(built.post(VERIFY, body))
    assert errors == {"_schema": ["Send either user_id, timestamp and signature of the link, or email and code."]}


def test_a_body_that_is_no_object_is_invalid(built: Built) -> None:
    assert set(field_errors(built.post(VERIFY, ["code"]))) == {"_schema"}


def test_codes_mean_nothing_where_they_are_off(build: Builder) -> None:
    built = build(pending=True, registration={"REGISTER_EMAIL_FIRST": True})
    assert set(field_errors(try_code(built, "123456"))) == {"user_id", "timestamp", "signature"}


def test_codes_are_404_where_registration_is_disabled(build: Builder) -> None:
    built = with_codes(build, registration={"REGISTER_FLOW_ENABLED": False})
    refused(try_code(built, "123456"), 404, "not-found")


def test_every_code_that_is_not_true_gets_one_answer_by_the_same_statements(
    built: Built, code: str, clock: Clock
) -> None:
    answers = {}

    def refuse(name: str, **changes: object) -> None:
        with recorded(built.engine) as statements:
            response = try_code(built, changes.pop("code", wrong(code)), **changes)
        refused(response, 400, "code-invalid")
        answers[name] = (response.text, tuple(statements.queries))

    refuse("wrong")
    refuse("unknown address", email="nobody@example.com")
    for _ in range(4):
        refuse("wrong again")
    refuse("used up", code=code)
    clock.move(15 * MINUTE + 1)
    refuse("too old", code=code)
    assert set(answers.values()) == {(answers["wrong"][0], ("SELECT", "UPDATE"))}


def test_a_right_code_needs_four_statements(built: Built, code: str) -> None:
    with recorded(built.engine) as statements:
        assert try_code(built, code).status_code == 201
    assert statements.queries == ["SELECT", "UPDATE", "UPDATE", "INSERT"]


# Five attempts


def test_after_five_attempts_only_the_link_works(built: Built, code: str, smtp: RecordingServer) -> None:
    use_up(built, code)
    refused(try_code(built, code), 400, "code-invalid")
    values = values_of(link_in(smtp.message))
    assert built.post(VERIFY, {**values, **built.body()}).status_code == 201


def test_the_fifth_attempt_may_be_the_right_one(built: Built, code: str) -> None:
    use_up(built, code, times=4)
    assert try_code(built, code).status_code == 201


def test_no_more_than_five_codes_are_compared(built: Built, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = count_comparisons(monkeypatch)
    use_up(built, code, times=9)
    assert len(compared) == 5


def test_a_new_message_gives_five_new_attempts(built: Built, code: str, smtp: RecordingServer, clock: Clock) -> None:
    use_up(built, code)
    clock.move(MINUTE)
    ask(built)
    use_up(built, code_of(smtp.messages[-1]), times=4)
    assert try_code(built, code_of(smtp.messages[-1])).status_code == 201


def test_fields_are_judged_before_the_attempt_is_counted(built: Built, code: str) -> None:
    for _ in range(7):
        assert set(field_errors(try_code(built, wrong(code), password="password"))) >= {"password"}
    assert built.pending_row()["code_attempts"] == 0


def test_a_code_is_counted_before_the_password_is_hashed(build: Builder, smtp: RecordingServer) -> None:
    hashed = []

    def hasher(password: str) -> str:
        hashed.append(built.pending_row()["code_attempts"])
        return models.cheap_hash(password)

    built = with_codes(build, registration={"PASSWORD_HASHER": hasher})
    ask(built)
    code = code_of(smtp.message)
    refused(try_code(built, wrong(code)), 400, "code-invalid")
    assert hashed == []
    assert try_code(built, code).status_code == 201
    assert hashed == [2]


def test_a_right_code_whose_account_is_refused_gives_its_attempt_back(
    built: Built, code: str, smtp: RecordingServer
) -> None:
    assert try_code(built, code).status_code == 201
    ask(built, "bob@example.com")
    second = code_of(smtp.messages[-1])
    for _ in range(7):
        errors = field_errors(try_code(built, second, email="bob@example.com"))
        assert errors == {"username": ["This value is already taken."]}
    assert try_code(built, second, email="bob@example.com", username="bob").status_code == 201


def test_a_right_code_whose_password_the_hasher_refuses_gives_its_attempt_back(
    build: Builder, smtp: RecordingServer
) -> None:
    def hasher(password: str) -> str:
        raise ValueError("Only 72 bytes.")

    built = with_codes(build, registration={"PASSWORD_HASHER": hasher})
    ask(built)
    assert field_errors(try_code(built, code_of(smtp.message))) == {"password": ["Only 72 bytes."]}
    assert built.pending_row()["code_attempts"] == 0


@contextmanager
def update_that_fails(built: Built, number: int) -> Iterator[None]:
    """Let the database be out of reach for one UPDATE."""
    updates = 0

    def fail(connection: object, cursor: object, sql: str, *_: object) -> None:
        nonlocal updates
        updates += sql.startswith("UPDATE")
        if sql.startswith("UPDATE") and updates == number:
            raise exc.OperationalError(sql, {}, Exception("out of reach"))

    event.listen(built.engine, "before_cursor_execute", fail)
    yield
    event.remove(built.engine, "before_cursor_execute", fail)
    assert updates >= number


def test_an_attempt_that_cannot_be_given_back_hides_no_error(built: Built, code: str) -> None:
    with built.app.app_context():
        built.db.session.add(built.User(email="other@example.com", username="ann", password_hash="x"))
        built.db.session.commit()
    with update_that_fails(built, 3):  # the first counts, the second spends the row
        assert field_errors(try_code(built, code)) == {"username": ["This value is already taken."]}
    assert built.pending_row()["code_attempts"] == 1


class AsObject(Schema):
    """Makes the account itself."""

    username = fields.String(required=True)
    password = fields.String(required=True)

    @post_load
    def make(self, data: dict[str, Any], **_: object) -> Any:
        return AsObject.user_class(email="victim@example.com", username=data["username"], password_hash="x")

    user_class: Any = None


def test_a_serializer_that_makes_objects_gets_the_proven_address_too(build: Builder, smtp: RecordingServer) -> None:
    built = with_codes(build, registration={"REGISTER_SERIALIZER_CLASS": AsObject})
    AsObject.user_class = built.User
    ask(built)
    body = {"email": EMAIL, "code": code_of(smtp.message), "username": "ann", "password": PASSWORD}
    assert built.post(VERIFY, body).status_code == 201
    assert built.row()["email"] == EMAIL


# Nobody can try a code before its message is out


def test_no_code_can_be_tried_while_its_message_is_on_its_way(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = []

    def sender(request: Request, pending: Any) -> None:
        with built.app.app_context():
            answers.append(try_code(built, "000000"))

    compared = count_comparisons(monkeypatch)
    built = with_codes(
        build,
        registration={"REGISTER_VERIFICATION_EMAIL_SENDER": sender, "REGISTER_EXISTING_EMAIL_SENDER": sender},
    )
    ask(built)
    refused(answers[0], 400, "code-invalid")
    assert compared == []
    refused(try_code(built, "000000"), 400, "code-invalid")
    assert compared == ["000000"]


def test_messages_that_fail_give_no_attempts(
    built: Built, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = count_comparisons(monkeypatch)
    smtp.rcpt_reply = "552 5.2.2 mailbox full"
    for _ in range(3):
        built.post(REGISTER, {"email": EMAIL})
        refused(try_code(built, "000000"), 400, "code-invalid")
    assert compared == []


def test_a_message_that_fails_forgets_no_attempts(
    built: Built, code: str, smtp: RecordingServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = count_comparisons(monkeypatch)
    clock.move(MINUTE)
    smtp.rcpt_reply = "552 5.2.2 mailbox full"
    guess_between_look_and_note = iter([True])

    def guess(connection: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith("UPDATE") and next(guess_between_look_and_note, False):
            with built.app.app_context():
                use_up(built, code, times=3)

    event.listen(built.engine, "before_cursor_execute", guess)
    built.post(REGISTER, {"email": EMAIL})
    event.remove(built.engine, "before_cursor_execute", guess)
    assert built.pending_row()["code_attempts"] == 3
    use_up(built, code, times=4)
    assert len(compared) == 5


def test_the_code_can_be_tried_before_the_server_says_good_bye(built: Built, smtp: RecordingServer) -> None:
    attempts: list[int] = []
    smtp.on_quit = lambda: attempts.append(built.pending_row()["code_attempts"])
    ask(built)
    assert attempts == [0]


def test_a_worker_that_ends_at_the_good_bye_gives_no_attempts(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = with_codes(build)

    leave = DeliveryConnection.__exit__

    def end(connection: DeliveryConnection, *_: object) -> None:
        leave(connection, None, None, None)
        raise SystemExit(1)

    monkeypatch.setattr("flask_rest_registration.mail.smtp.DeliveryConnection.__exit__", end)
    with pytest.raises(SystemExit):
        built.post(REGISTER, {"email": EMAIL})
    monkeypatch.undo()
    compared = count_comparisons(monkeypatch)
    row = built.pending_row()
    assert (row["mails"], row["code_attempts"]) == (1, 0)
    use_up(built, code_of(smtp.message), times=9)
    assert len(compared) == 5


class AddsRows(DefaultRegisterUserSerializer):
    """Adds a row of the application's for each account."""

    make_row: Any = None

    @post_load
    def add(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        AddsRows.make_row()
        return data


def test_what_a_serializer_adds_goes_with_a_right_code_only(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_gift(db: SQLAlchemy) -> type[Any]:
        class Gift(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)

        gifts.append(Gift)
        return models.typed(db)

    gifts: list[Any] = []
    built = with_codes(build, with_gift, registration={"REGISTER_SERIALIZER_CLASS": AddsRows})
    monkeypatch.setattr(AddsRows, "make_row", lambda: built.db.session.add(gifts[0]()))
    ask(built)
    code = code_of(smtp.message)

    def count() -> int:
        with built.app.app_context():
            return len(built.db.session.scalars(select(gifts[0])).all())

    use_up(built, code, times=3)
    assert count() == 0
    assert try_code(built, code).status_code == 201
    assert count() == 1


def test_a_code_that_cannot_be_opened_leaves_the_link(
    built: Built, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    with update_that_fails(built, 1):
        ask(built)
    assert "A message was sent whose code cannot be used" in caplog.text
    refused(try_code(built, code_of(smtp.message)), 400, "code-invalid")
    assert built.post(CHECK_LINK, values_of(link_in(smtp.message))).status_code == 200


# Secrets


def test_codes_links_and_addresses_never_reach_a_log_line(
    built: Built, code: str, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    use_up(built, code, times=2)
    smtp.rcpt_reply = "550 5.1.1 unknown"
    built.post(REGISTER, {"email": "eve@example.com"})
    smtp.rcpt_reply = "451 4.3.0 later"
    built.post(REGISTER, {"email": "eve@example.com"})
    smtp.rcpt_reply = None
    assert try_code(built, code).status_code == 201
    ours = [record.getMessage() for record in caplog.records if record.name == built.app.logger.name]
    assert ours, "the failures are logged"
    for secret in (code, wrong(code), EMAIL, "eve@example.com", link_in(smtp.messages[0])):
        assert not any(secret in line for line in ours)
