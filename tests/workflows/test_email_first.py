"""E-mail first: the address, the mail, and the account that whoever reads it makes.

When a mail goes, and what if it fails, is in ``test_due_mails.py``; codes are in ``test_codes.py``.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import Mock

import pytest
from flask import Request, current_app, session
from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema
from sqlalchemy import ForeignKey, String, event, exc, select
from sqlalchemy.orm import mapped_column, relationship, validates

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    RegisterEmailSerializer,
    RegisterSigner,
    normalize_email,
    send_existing_account_email_notification,
    send_register_verification_email_notification,
    user_activated,
    user_registered,
)
from flask_rest_registration.signers import build_url
from tests.support import models
from tests.support.answers import field_errors, refused
from tests.support.apps import CHECK_LINK, OMITTED, REGISTER, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.databases import conflict
from tests.support.links import changed, code_of, html_of, link_in, text_of, values_of, with_other_character
from tests.support.mail_servers import RecordingServer
from tests.support.pending import ANN, CODES, EMAIL_FIRST, add_account, ask, link_to
from tests.support.statements import recorded

pytestmark = pytest.mark.database

WEEK = 7 * 24 * 3600
Values = dict[str, Any]
Prove = Callable[[Built], Values]


def email_first(build: Builder, model: models.Model = models.typed, **settings: Any) -> Built:
    """Build an app with e-mail first, and with its user model in the configuration."""
    built = build(model, pending=True, registration={**EMAIL_FIRST, **settings})
    built.app.config.update(USER=built.User)
    return built


def verify(built: Built, values: Mapping[str, object], **changes: object) -> Any:
    """Send a link, or a code, with the fields of an account but for its address."""
    return built.post(VERIFY, {**built.body(**{built.email_field: OMITTED}), **values, **changes})


@pytest.fixture(name="built")
def usual_app(build: Builder, clock: Clock) -> Built:
    return email_first(build)


@pytest.fixture(name="values")
def values_of_a_link(built: Built, smtp: RecordingServer) -> dict[str, str]:
    return link_to(built, smtp)


@pytest.fixture(params=["link", "code"])
def prove(request: pytest.FixtureRequest, smtp: RecordingServer) -> Prove:
    """Make what proves Ann's address, for apps with codes."""

    def prove(built: Built) -> Values:
        link = link_to(built, smtp)
        return link if request.param == "link" else {"email": ANN, "code": code_of(smtp.message)}

    return prove


def test_a_sign_up_sends_a_link_and_makes_no_account(build: Builder, smtp: RecordingServer, signals: list[Any]) -> None:
    hashed: list[str] = []
    built = email_first(build, PASSWORD_HASHER=hashed.append)
    ask(built)
    assert smtp.message["Subject"] == "Finish signing up at frontend.example"
    assert link_in(smtp.message)
    for text in (text_of(smtp.message), html_of(smtp.message)):
        assert "wants to sign up at frontend.example" in text
        assert "No account has been created." in text
        assert "code" not in text
    assert (built.rows(), signals, hashed) == ([], [], [])


def test_the_address_is_mailed_in_ascii_and_the_account_has_it_as_ever(built: Built, smtp: RecordingServer) -> None:
    link = link_to(built, smtp, "Ann@BÜCHER.example")
    assert smtp.message["To"] == "ann@xn--bcher-kva.example"
    assert built.post(CHECK_LINK, link).get_json() == {"email": "ann@bücher.example"}
    assert verify(built, link).status_code == 201
    assert built.row()["email"] == normalize_email("ann@bücher.example") == "ann@bücher.example"


NAME: Any = {"username": fields.String(required=True), "password": fields.String(required=True)}
Plain = Schema.from_dict({"email": fields.Email(required=True), **NAME})
OURS = fields.Email(required=True, validate=validate.Regexp(".*@example.com", error="Only for members."))
LONGEST = f"{'a' * 59}@{'b' * 56}.org"  # of classic_columns


@pytest.mark.parametrize(
    ("serializer", "good", "refused_one"),
    [
        (DefaultRegisterUserSerializer, LONGEST, f"a{LONGEST}"),
        (Plain, LONGEST, f"a{LONGEST}"),
        (DefaultRegisterUserSerializer.from_dict({"email": OURS}), ANN, "eve@elsewhere.example"),
    ],
    ids=["default", "no length", "own rule"],
)
def test_the_accounts_serializer_and_column_judge_the_address_before_any_mail(
    build: Builder, smtp: RecordingServer, serializer: type[Schema], good: str, refused_one: str
) -> None:
    built = email_first(build, models.classic_columns, REGISTER_SERIALIZER_CLASS=serializer)
    errors = field_errors(built.post(REGISTER, {"email": refused_one}))
    assert (list(errors), smtp.messages) == (["email"], [])
    ask(built, good)


def test_what_both_serializers_refuse_is_told_in_one_answer(build: Builder) -> None:
    asking = RegisterEmailSerializer.from_dict({"captcha": fields.String(required=True)})
    members = DefaultRegisterUserSerializer.from_dict({"email": OURS})
    built = email_first(build, REGISTER_EMAIL_SERIALIZER_CLASS=asking, REGISTER_SERIALIZER_CLASS=members)
    errors = field_errors(built.post(REGISTER, {"email": "eve@elsewhere.example", "surprise": 1}))
    assert errors.keys() == {"captcha", "email", "surprise"}
    assert errors["email"] == ["Only for members."]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\t\r\n"])
def test_blanks_around_an_address_make_no_other_address(built: Built, smtp: RecordingServer, blank: str) -> None:
    around = f"{blank}Ann@example.com{blank}"
    ask(built, around)
    assert smtp.message["To"] == built.pending_row()["email"] == ANN
    link = values_of(link_in(smtp.message))
    assert verify(built, link, email=around).get_json()["email"] == built.row()["email"] == ANN


def test_an_own_serializer_may_ask_for_more_and_need_not_normalise(build: Builder, smtp: RecordingServer) -> None:
    consent = fields.Boolean(required=True, validate=validate.Equal(True))
    serializer = Schema.from_dict({"email": fields.String(required=True), "consent": consent})
    built = email_first(build, REGISTER_EMAIL_SERIALIZER_CLASS=serializer)
    assert set(field_errors(built.post(REGISTER, {"email": ANN}))) == {"consent"}
    assert set(field_errors(built.post(REGISTER, {"email": "ann"}))) == {"consent", "email"}
    answer = built.post(REGISTER, {"email": "ann", "consent": True})
    assert field_errors(answer) == {"email": ["Enter an e-mail address such as name@example.com."]}
    assert smtp.messages == []
    assert built.post(REGISTER, {"email": "Ann@Example.com", "consent": True}).status_code == 202
    assert smtp.message["To"] == ANN


class AText(Schema):
    email = fields.String()

    @post_load
    def only_text(self, data: Values, **_: object) -> str:
        return str(data["email"])


class ChangesRows(RegisterEmailSerializer):
    @post_load
    def change(self, data: Values, **_: object) -> Values:
        current_app.extensions["sqlalchemy"].session.scalars(select(current_app.config["USER"])).one().username = "bob"
        return data


@pytest.mark.parametrize(
    ("serializer", "fault"),
    [(Schema, "has no field for the address"), (AText, "must give a dict"), (ChangesRows, "changed rows")],
)
def test_an_own_serializer_must_give_an_address_and_change_no_rows(
    build: Builder, smtp: RecordingServer, serializer: type[Schema], fault: str
) -> None:
    built = email_first(build, REGISTER_EMAIL_SERIALIZER_CLASS=serializer)
    add_account(built)
    with pytest.raises(ConfigurationError, match=f"REGISTER_EMAIL_SERIALIZER_CLASS {fault}"):
        built.post(REGISTER, {"email": ANN})
    assert (built.row()["username"], smtp.messages) == ("other", [])


def test_an_account_holder_gets_a_notice_without_a_link(built: Built, smtp: RecordingServer) -> None:
    add_account(built)
    ask(built, "ANN@example.com")
    assert smtp.message["To"] == ANN
    assert smtp.message["Subject"] == "You already have an account at frontend.example"
    assert "signature=" not in text_of(smtp.message) + html_of(smtp.message)


@pytest.mark.only_on("mariadb")
def test_the_database_decides_which_address_has_an_account(built: Built, smtp: RecordingServer) -> None:
    add_account(built, "ann@bücher.example")
    ask(built, "ann@bucher.example")  # the unique index of the users takes both for one
    assert smtp.message["To"] == "ann@bucher.example"  # never to the address that was found
    assert smtp.message["Subject"].startswith("You already have an account")


@pytest.mark.parametrize("model", [models.typed, models.uuid_key, models.string_key])
def test_all_is_404_where_registration_is_disabled(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built, settings = email_first(build, model), {**EMAIL_FIRST, "REGISTER_FLOW_ENABLED": False}
    off = build(model, pending=True, database_uri=built.database_uri, registration=settings, tables=False)
    link = link_to(built, smtp)
    for path in (REGISTER, CHECK_LINK):
        refused(off.post(path, data=b"no JSON", content_type="application/json"), 404, "not-found")
    refused(verify(off, link), 404, "not-found")
    if model is not models.typed:  # the id may be that of an account, whose link works on
        refused(verify(off, changed(link, user_id=str(uuid.uuid4()))), 400, "signature-invalid")
    refused(build().post(CHECK_LINK, {}), 404, "not-found")


def test_check_link_tells_the_address_and_changes_nothing(built: Built, values: Values) -> None:
    before = built.pending_rows()
    for appended in ({}, {"utm_source": "mail", "fbclid": "x"}):  # by mail services
        answer = built.post(CHECK_LINK, {**values, **appended})
        assert (answer.status_code, answer.get_json()) == (200, {"email": ANN})
        assert answer.headers["Cache-Control"] == "no-store"
    assert (built.pending_rows(), built.rows()) == (before, [])
    assert verify(built, {**values, "utm_source": "mail"}).status_code == 201


def test_untrue_links_get_one_and_the_same_answer_by_one_statement(built: Built, values: Values) -> None:
    user_id, time = values["user_id"], int(values["timestamp"])
    others = (str(uuid.uuid4()), "1", user_id.upper(), user_id.replace("-", ""))
    untrue: list[Values] = [{"user_id": other} for other in others]
    untrue += [{"timestamp": str(time + 1)}, {"signature": with_other_character(values["signature"], 5)}]
    for path in (CHECK_LINK, VERIFY):
        answers = set()
        for changes in untrue:
            with recorded(built.engine) as statements:
                answer = built.post(path, {**built.body(email=OMITTED), **values, **changes})
            refused(answer, 400, "signature-invalid")
            answers.add(answer.text)
            assert len(statements.queries) <= 1, changes
        assert len(answers) == 1
    assert built.rows() == []


def test_each_link_works_until_it_expires(built: Built, values: Values, smtp: RecordingServer, clock: Clock) -> None:
    clock.move(60)
    second = link_to(built, smtp)
    assert second != values
    clock.move(WEEK - 60)
    assert built.post(CHECK_LINK, values).status_code == 200
    clock.move(1)
    for answer in (built.post(CHECK_LINK, values), verify(built, values)):
        refused(answer, 400, "signature-expired")
    assert verify(built, second).status_code == 201


def test_link_and_code_of_an_old_key_work_while_it_is_a_fallback(build: Builder, prove: Prove) -> None:
    built = email_first(build, **CODES)
    proof = prove(built)
    built.app.config["SECRET_KEY"] = "another key"
    refused(verify(built, proof), 400, "code-invalid" if "code" in proof else "signature-invalid")
    built.app.config["SECRET_KEY_FALLBACKS"] = ["a key for tests only"]
    assert verify(built, proof).status_code == 201


@pytest.mark.parametrize("model", [models.typed, models.uuid_key, models.string_key])
def test_links_of_accounts_made_at_sign_up_work_on(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    before = build(model)
    assert before.register().status_code == 201
    classic = values_of(link_in(smtp.message))
    built = build(model, pending=True, database_uri=before.database_uri, registration=EMAIL_FIRST)
    for appended in ({"utm_source": "mail"}, {}):
        answer = built.post(VERIFY, {**classic, **appended})
        assert (answer.status_code, answer.get_json()) == (200, {"detail": "User verified successfully"})
    assert built.row()["email_verified_at"] is not None
    refused(built.post(CHECK_LINK, classic), 400, "signature-invalid")


def test_whoever_reads_the_mail_makes_one_account(
    built: Built, values: Values, signals: list[Any], activations: list[Any], smtp: RecordingServer
) -> None:
    answer = verify(built, values)
    row = built.row()
    assert (answer.status_code, answer.get_json()) == (201, {"id": row["id"], "email": ANN, "username": "ann"})
    assert row["email"] == ANN
    assert row["email_verified_at"] is not None
    assert signals == [user.email for user in activations] == [ANN]
    refused(verify(built, values, username="eve"), 400, "signature-invalid")
    refused(built.post(CHECK_LINK, values), 400, "signature-invalid")
    assert built.row() == row
    ask(built)  # the cooldown outlives the making of the account
    assert len(smtp.messages) == 1


def test_link_and_code_work_again_after_a_refused_password_or_a_taken_name(
    build: Builder, prove: Prove, signals: list[Any], activations: list[Any]
) -> None:
    def hasher(password: str) -> str:
        if "73" in password:
            raise ValueError("Only 72 bytes.")
        return models.cheap_hash(password)

    built = email_first(build, PASSWORD_HASHER=hasher, **CODES)
    add_account(built, "other@example.com", "ann")
    proof, before = prove(built), built.pending_rows()
    long = "violet-anchor-73-tundra"
    for _ in range(4):  # more often than a wrong code may be tried
        refusal = field_errors(verify(built, proof, password=long, password_confirm=long))
        assert refusal == {"password": ["Only 72 bytes."]}
        assert field_errors(verify(built, proof)) == {"username": ["This is already taken. Choose another one."]}
    assert (built.pending_rows(), signals, activations) == (before, [], [])
    assert verify(built, proof, username="bob").status_code == 201


def test_all_that_is_wrong_is_told_in_one_answer(built: Built, values: Values) -> None:
    body = {**values, "email": "eve@example.com", "password": "password", "password_confirm": "passw0rd"}
    errors = field_errors(built.post(VERIFY, body))
    assert set(errors) == {"email", "username", "password", "password_confirm"}
    assert built.post(CHECK_LINK, values).status_code == 200


@pytest.mark.parametrize("changes", [{"signature": OMITTED}, {"user_id": True}, {"timestamp": 1.5, "signature": 5}])
def test_what_is_wrong_with_a_link_is_told_with_the_fields(built: Built, values: Values, changes: Values) -> None:
    link = {name: value for name, value in {**values, **changes}.items() if value is not OMITTED}
    errors = field_errors(verify(built, link, password="password"))
    assert errors.keys() == {*changes, "password", "password_confirm"}
    assert [errors[name] for name in changes] == [["The link is not complete. Open it from the message again."]] * len(
        changes
    )
    assert field_errors(built.post(VERIFY, link)).keys() == changes.keys()  # it may be one of an account


def test_the_client_may_repeat_the_address_and_no_other(built: Built, values: Values) -> None:
    for other in (5, None, "ann", "eve@example.com"):
        errors = field_errors(verify(built, values, email=other))
        assert errors == {"email": ["This is not the address that the message was sent to."]}
    assert built.rows() == []
    assert verify(built, values, email="ANN@example.com").status_code == 201


def test_the_password_is_hashed_in_no_transaction_after_the_attempt_is_counted(build: Builder, prove: Prove) -> None:
    class Asks(DefaultRegisterUserSerializer):
        @validates_schema
        def look(self, data: Values, **_: object) -> None:
            built.db.session.execute(select(built.User))

    def hasher(password: str) -> str:
        seen.append((built.db.session().in_transaction(), built.pending_row()["code_attempts"]))
        return models.cheap_hash(password)

    built = email_first(build, REGISTER_SERIALIZER_CLASS=Asks, PASSWORD_HASHER=hasher, **CODES)
    proof, seen = prove(built), list[tuple[bool, int]]()
    if "code" in proof:
        wrong = f"{(int(proof['code']) + 1) % 10**6:06}"
        refused(verify(built, proof, code=wrong), 400, "code-invalid")
    assert verify(built, proof).status_code == 201
    assert seen == [(False, 2 if "code" in proof else 0)]


def test_a_conflict_at_the_commit_of_the_account_is_tried_again(built: Built, values: Values) -> None:
    conflicts = 2

    def fail(session: Any) -> None:
        nonlocal conflicts
        if conflicts and any(isinstance(each, built.User) for each in session.identity_map.values()):
            conflicts -= 1
            raise exc.OperationalError("COMMIT", {}, conflict())

    with built.app.app_context():
        event.listen(built.db.session, "before_commit", fail)
        answer = verify(built, values)
    assert (answer.status_code, conflicts, len(built.rows())) == (201, 0, 1)


def test_an_error_of_the_applications_own_leaves_the_link_as_it_was(built: Built, values: Values) -> None:
    before = built.pending_rows()
    refuse = Mock(side_effect=ValidationError("the application's own"))
    event.listen(built.User, "before_insert", refuse)
    with pytest.raises(ValidationError):
        verify(built, values)
    event.remove(built.User, "before_insert", refuse)
    assert built.pending_rows() == before
    assert verify(built, values).status_code == 201


WithoutEmail: Any = Schema.from_dict(NAME)


class MakesAccount(WithoutEmail):  # type: ignore[misc]
    @post_load
    def make(self, data: Values, **_: object) -> Any:
        return current_app.config["USER"](email="victim@example.com", username=data["username"], password_hash="x")


class ChangesAddress(DefaultRegisterUserSerializer):
    @post_load
    def change(self, data: Values, **_: object) -> Values:
        return {**data, "email": "victim@example.com"}


@pytest.mark.parametrize("serializer", [MakesAccount, ChangesAddress, WithoutEmail])
def test_the_account_has_the_proven_address_whatever_the_serializer_gives(
    build: Builder, prove: Prove, signals: list[Any], activations: list[Any], serializer: type[Schema]
) -> None:
    built = email_first(build, REGISTER_SERIALIZER_CLASS=serializer, **CODES)
    assert verify(built, prove(built)).status_code == 201
    assert built.row()["email"] == ANN
    assert signals == [user.email for user in activations] == [ANN]


TAKEN = {
    "email": "This e-mail address already has an account.",
    "_schema": "This is already taken. Choose another one.",
}


@pytest.mark.parametrize(("serializer", "field"), [(DefaultRegisterUserSerializer, "email"), (WithoutEmail, "_schema")])
def test_an_address_that_got_an_account_meanwhile_is_an_error(
    build: Builder, smtp: RecordingServer, serializer: type[Schema], field: str
) -> None:
    built = email_first(build, REGISTER_SERIALIZER_CLASS=serializer)
    link = link_to(built, smtp)
    add_account(built)
    assert field_errors(verify(built, link)) == {field: [TAKEN[field]]}


def test_an_address_that_the_model_changes_or_refuses_makes_no_account(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    def rewrite(self: object, key: str, email: str) -> str:
        if "refused" in email:
            raise ValueError("Not this one.")
        return email.replace("+shop", "")

    model = models.declared(username=mapped_column(String(80)), rewrite=validates("email")(rewrite))
    built = email_first(build, model, REGISTER_SERIALIZER_CLASS=MakesAccount)
    assert field_errors(verify(built, link_to(built, smtp, "refused@example.com"))) == {"_schema": ["Not this one."]}
    answer = verify(built, link_to(built, smtp, "ann+shop@example.com"))
    assert field_errors(answer) == {"_schema": ["This data cannot be used."]}
    assert built.rows() == []
    assert "User.email changes the address that was proven" in caplog.text
    assert "ann+shop" not in caplog.text
    assert verify(built, link_to(built, smtp)).status_code == 201


def test_a_serializer_makes_no_second_account(build: Builder, smtp: RecordingServer) -> None:
    class MakesTwo(WithoutEmail):  # type: ignore[misc]
        @post_load
        def make(self, data: Values, **_: object) -> Any:
            ann, friend = (built.User(username=name, password_hash="x") for name in ("ann", "friend"))
            ann.friends, friend.email = [friend], "victim@example.com"
            return ann

    friendship = {"friend_id": mapped_column(ForeignKey("user.id")), "friends": relationship("User")}
    model = models.declared(username=mapped_column(String(80)), **friendship)
    built = email_first(build, model, REGISTER_SERIALIZER_CLASS=MakesTwo)
    with pytest.raises(ConfigurationError, match="makes another User beside the new one"):
        verify(built, link_to(built, smtp))
    assert built.rows() == []


def test_receivers_of_both_signals_run_before_the_first_exception_is_raised(built: Built, values: Values) -> None:
    receivers = Mock()
    receivers.first.side_effect, receivers.second.side_effect = RuntimeError("registered"), RuntimeError("activated")
    with (
        user_registered.connected_to(receivers.first),
        user_activated.connected_to(receivers.second),
        pytest.raises(RuntimeError, match="registered"),
    ):
        verify(built, values)
    assert [call[0] for call in receivers.mock_calls] == ["first", "second"]
    assert len(built.rows()) == 1


@pytest.mark.parametrize(
    ("shown", "answered"),
    [({"a": 1, "token": 0}, {"a": 1, "token": "t"}), ([1], [1]), (None, None)],
    ids=["object", "list", "nothing"],
)
def test_what_the_login_handler_returns_is_merged_over_an_object_that_is_shown(
    build: Builder, smtp: RecordingServer, shown: object, answered: object
) -> None:
    def handler(request: Request, user: Any) -> dict[str, object]:
        session["user"] = user.id
        return {"token": "t"}

    output = type("Output", (Schema,), {"dump": lambda self, user, **_: shown})
    login: Values = {"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": handler}
    built = email_first(build, REGISTER_OUTPUT_SERIALIZER_CLASS=output, **login)
    answer = verify(built, link_to(built, smtp))
    assert (answer.status_code, answer.get_json()) == (201, answered)
    assert "session" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("own", [False, True], ids=["default senders", "own senders"])
def test_hooks_get_the_row_and_run_alike_for_free_and_taken(build: Builder, smtp: RecordingServer, own: bool) -> None:
    given: list[object] = []

    def context(request: Request, user: Any, context: Values) -> Values:
        given.append(("context", type(user), user.email))
        built.db.session.execute(select(built.User.id)).all()
        return {**context, "verification_url": context["verification_url"] + "&lang=en"}

    def select_templates(request: Request, user: Any) -> dict[str, str]:
        given.append(("templates", type(user), user.email))
        return {}

    def url(signer: RegisterSigner) -> str:
        given.append("url")
        return build_url(signer)

    def wrapping(sender: Any) -> Any:
        @functools.wraps(sender)  # with all its names, it is an own sender all the same
        def send(request: Request, user: Any) -> None:
            given.append(("sender", type(user), user.email))
            sender(request, user)

        return send

    hooks: Values = {"VERIFICATION_TEMPLATE_CONTEXT_BUILDER": context, "VERIFICATION_URL_BUILDER": url}
    hooks["VERIFICATION_TEMPLATES_SELECTOR"] = select_templates
    if own:
        hooks["REGISTER_VERIFICATION_EMAIL_SENDER"] = wrapping(send_register_verification_email_notification)
        hooks["REGISTER_EXISTING_EMAIL_SENDER"] = wrapping(send_existing_account_email_notification)
    built = email_first(build, **hooks)
    add_account(built)
    ask(built, "first@example.com")  # whose statements are the first of the app
    assert "&lang=en" in link_in(smtp.message)
    traces = []
    for address in (ANN, "bob@example.com"):
        given.clear()
        with recorded(built.engine) as statements:
            ask(built, address)
        names = ["context", "templates", *(["sender"] if own else [])]
        assert {*given} == {"url", *((name, built.Pending, address) for name in names)}
        traces.append([each if each == "url" else each[0] for each in given] + statements.sql)  # type: ignore[index]
    assert traces[0] == traces[1]
    assert ["You already have" in mail["Subject"] for mail in smtp.messages[1:]] == [True, False]
