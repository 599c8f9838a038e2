"""E-mail first: the address, the message, and the account that whoever reads it makes."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flask import Flask, Request, session
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema
from sqlalchemy import String, TypeDecorator, event, exc, select
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    PendingRegistrationMixin,
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
from tests.support.apps import CHECK_LINK, PASSWORD, REGISTER, VERIFY, Builder, Built
from tests.support.clock import Clock
from tests.support.databases import conflict
from tests.support.links import changed, html_of, link_in, text_of, values_of, with_other_character
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

pytestmark = pytest.mark.database

ASKED = {"detail": "A message was sent to this address, or tried, now or when it was last asked for."}
WEEK = 7 * 24 * 3600
Values = dict[str, Any]


def email_first(build: Builder, model: models.Model = models.typed, **options: Any) -> Built:
    """Build an app with e-mail first."""
    registration = {"REGISTER_EMAIL_FIRST": True, **options.pop("registration", {})}
    return build(model, pending=True, registration=registration, **options)


def ask(built: Built, email: str = "ann@example.com") -> None:
    """Ask for a message, which everybody gets the same answer to."""
    response = built.post(REGISTER, {"email": email})
    assert (response.status_code, response.get_json()) == (202, ASKED)


def values_in(smtp: RecordingServer) -> Values:
    """Take the link's values out of the last message."""
    return dict(values_of(link_in(smtp.messages[-1])))


def fields_of(built: Built, **changes: object) -> Values:
    """Make the fields of an account, without its address."""
    body = built.body(**changes)
    del body[built.email_field]
    return body


def verify(built: Built, values: Mapping[str, object], **changes: object) -> Any:
    return built.post(VERIFY, {**values, **fields_of(built, **changes)})


@pytest.fixture(name="built")
def usual_app(build: Builder, clock: Clock) -> Built:
    return email_first(build)


@pytest.fixture(name="values")
def values_of_a_link(built: Built, smtp: RecordingServer) -> Values:
    ask(built)
    return values_in(smtp)


@pytest.fixture(name="told")
def signals_in_their_order() -> Iterator[list[tuple[str, str]]]:
    heard: list[tuple[str, str]] = []

    def registered(sender: Flask, user: Any, request: Request) -> None:
        heard.append(("registered", user.email))

    def activated(sender: Flask, user: Any, request: Request) -> None:
        heard.append(("activated", user.email))

    with user_registered.connected_to(registered), user_activated.connected_to(activated):
        yield heard


# register/


def test_a_sign_up_sends_a_link_and_makes_no_account(
    built: Built, smtp: RecordingServer, told: list[tuple[str, str]]
) -> None:
    ask(built)
    assert smtp.message["To"] == "ann@example.com"
    assert built.rows() == []
    assert told == []
    row = built.pending_row()
    assert isinstance(row.pop("id"), uuid.UUID)
    start = 1_700_000_000
    assert row == {
        "email": "ann@example.com",
        "sent_at": start,
        "mails": 1,
        "next_mail_at": start + 60,
        "code_attempts": 0,
    }


def test_the_message_says_that_there_is_no_account(built: Built, smtp: RecordingServer) -> None:
    ask(built)
    assert smtp.message["Subject"] == "Confirm your e-mail address for frontend.example"
    for text in (text_of(smtp.message), html_of(smtp.message)):
        assert "wants to sign up at frontend.example" in text
        assert "there is no account." in text
        assert "code" not in text


def test_the_address_is_stored_in_ascii_and_the_account_has_it_as_ever(built: Built, smtp: RecordingServer) -> None:
    ask(built, "Ann@BÜCHER.example")
    assert built.pending_row()["email"] == "ann@xn--bcher-kva.example"
    assert smtp.message["To"] == "ann@xn--bcher-kva.example"
    assert verify(built, values_in(smtp)).status_code == 201
    assert built.row()["email"] == normalize_email("ann@bücher.example") == "ann@bücher.example"


@pytest.mark.parametrize(
    ("body", "faulty"),
    [({}, {"email"}), ({"email": "ann"}, {"email"}), ({"email": "ann@example.com", "username": "ann"}, {"username"})],
    ids=["no address", "no address in form", "an unknown member"],
)
def test_what_is_no_address_is_refused_before_any_statement(
    built: Built, smtp: RecordingServer, body: Values, faulty: set[str]
) -> None:
    with recorded(built.engine) as statements:
        assert set(field_errors(built.post(REGISTER, body))) == faulty
    assert statements.sql == []
    assert smtp.messages == []


def test_an_address_longer_than_the_users_column_is_refused_before_any_mail(
    build: Builder, smtp: RecordingServer
) -> None:
    built = email_first(build, models.classic_columns)  # 120 characters
    too_long = f"{'a' * 60}@{'b' * 56}.org"
    assert len(too_long) == 121
    assert set(field_errors(built.post(REGISTER, {"email": too_long}))) == {"email"}
    assert smtp.messages == []
    ask(built, too_long.replace("a", "", 1))


class OnlyOurs(DefaultRegisterUserSerializer):
    """Takes addresses of one domain."""

    email = fields.Email(required=True, validate=validate.Regexp(".*@example.com", error="Only for members."))


class Plain(Schema):
    """Reads an address of any length, and a user name."""

    email = fields.Email(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)


def test_the_field_of_the_accounts_serializer_judges_the_address_too(build: Builder, smtp: RecordingServer) -> None:
    built = email_first(build, registration={"REGISTER_SERIALIZER_CLASS": OnlyOurs})
    response = built.post(REGISTER, {"email": "eve@elsewhere.example"})
    assert field_errors(response) == {"email": ["Only for members."]}
    assert smtp.messages == []
    ask(built)


def test_a_serializer_without_a_length_leaves_it_to_the_users_column(build: Builder) -> None:
    built = email_first(build, models.classic_columns, registration={"REGISTER_SERIALIZER_CLASS": Plain})
    response = built.post(REGISTER, {"email": f"{'a' * 60}@{'b' * 56}.org"})
    assert field_errors(response) == {"email": ["This text is too long."]}


class WithConsent(RegisterEmailSerializer):
    """Asks for consent, which nothing else needs."""

    consent = fields.Boolean(required=True, validate=validate.Equal(True))


def test_an_own_serializer_of_the_address_may_ask_for_more(build: Builder, smtp: RecordingServer) -> None:
    built = email_first(build, registration={"REGISTER_EMAIL_SERIALIZER_CLASS": WithConsent})
    assert set(field_errors(built.post(REGISTER, {"email": "ann@example.com"}))) == {"consent"}
    assert smtp.messages == []
    assert built.post(REGISTER, {"email": "ann@example.com", "consent": True}).status_code == 202
    assert len(smtp.messages) == 1


class OwnField(Schema):
    """Its field does not normalise."""

    email = fields.String(required=True)


class NoEmail(Schema):
    """Gives no address."""

    name = fields.String()


class AText(Schema):
    """Gives no dict."""

    email = fields.String()

    @post_load
    def only_text(self, data: Values, **_: object) -> str:
        return str(data["email"])


def test_an_own_serializer_need_not_normalise_the_address(build: Builder, smtp: RecordingServer) -> None:
    built = email_first(build, registration={"REGISTER_EMAIL_SERIALIZER_CLASS": OwnField})
    ask(built, " Ann@Example.com".strip())
    assert smtp.message["To"] == "ann@example.com"
    assert field_errors(built.post(REGISTER, {"email": "ann"})) == {"email": ["Not a valid email address."]}


@pytest.mark.parametrize(
    ("serializer", "fault"), [(NoEmail, "has no field for the address"), (AText, "must give a dict with the address")]
)
def test_a_serializer_that_gives_no_address_is_a_configuration_error(
    build: Builder, serializer: type[Schema], fault: str
) -> None:
    built = email_first(build, registration={"REGISTER_EMAIL_SERIALIZER_CLASS": serializer})
    with pytest.raises(ConfigurationError, match=f"REGISTER_EMAIL_SERIALIZER_CLASS {fault}"):
        built.post(REGISTER, {"email": "ann@example.com"})


def test_the_serializer_of_the_address_changes_no_rows(build: Builder, smtp: RecordingServer) -> None:
    class Overwrites(RegisterEmailSerializer):
        @post_load
        def overwrite(self, data: Values, **_: object) -> Values:
            built.db.session.scalars(select(built.User)).one().username = "stolen"
            return data

    built = email_first(build, registration={"REGISTER_EMAIL_SERIALIZER_CLASS": Overwrites})
    with built.app.app_context():
        built.db.session.add(built.User(email="bob@example.com", username="bob", password_hash="x"))
        built.db.session.commit()
    with pytest.raises(ConfigurationError, match="REGISTER_EMAIL_SERIALIZER_CLASS changed rows"):
        built.post(REGISTER, {"email": "ann@example.com"})
    assert built.row()["username"] == "bob"
    assert smtp.messages == []


def test_the_owner_of_an_account_gets_a_notice_without_a_link(
    built: Built, values: Values, smtp: RecordingServer, clock: Clock
) -> None:
    assert verify(built, values).status_code == 201
    clock.move(60)
    ask(built, "ANN@example.com")
    notice = smtp.messages[-1]
    assert notice["To"] == "ann@example.com"
    assert notice["Subject"] == "You have an account at frontend.example already"
    assert "signature=" not in text_of(notice) + html_of(notice)


@pytest.mark.only_on("mariadb")
def test_the_database_decides_which_address_has_an_account_by_its_own_comparison(
    build: Builder, smtp: RecordingServer
) -> None:
    built = email_first(build)
    ask(built, "ann@bücher.example")
    assert verify(built, values_in(smtp)).status_code == 201
    ask(built, "ann@bucher.example")  # the unique index of the users takes both for one
    last = smtp.messages[-1]
    assert last["To"] == "ann@bucher.example"  # never to the address that was found
    assert last["Subject"].startswith("You have an account")


@pytest.mark.only_on("mariadb")
def test_two_addresses_that_a_collation_folds_get_a_message_each(build: Builder, smtp: RecordingServer) -> None:
    built = email_first(build)
    ask(built, "ann@gmail.example")
    ask(built, "ann@gmàil.example")
    assert [message["To"] for message in smtp.messages] == [
        "ann@gmail.example",
        "ann@xn--gmil-1na.example",
    ]


def test_no_hash_is_computed_and_no_signal_sent_for_a_sign_up(build: Builder, told: list[tuple[str, str]]) -> None:
    hashed = []

    def hasher(password: str) -> str:
        hashed.append(password)
        return "hash"

    ask(email_first(build, registration={"PASSWORD_HASHER": hasher}))
    assert hashed == []
    assert told == []


def test_what_the_application_left_pending_goes_with_the_first_commit(build: Builder, smtp: RecordingServer) -> None:
    def note(app: Flask) -> None:
        @app.before_request
        def add() -> None:
            built.db.session.add(built.User(email="page@example.com", username="page", password_hash="x"))

    built = email_first(build, before_init=note)
    smtp.rcpt_reply = "451 4.3.0 not now"
    refused(built.post(REGISTER, {"email": "ann@example.com"}), 503, "email-not-sent")
    assert [row["email"] for row in built.rows()] == ["page@example.com"]


def test_sign_ups_are_404_where_registration_is_disabled(build: Builder) -> None:
    built = email_first(build, registration={"REGISTER_FLOW_ENABLED": False})
    refused(built.post(REGISTER, data=b"no JSON", content_type="application/json"), 404, "not-found")
    refused(built.post(CHECK_LINK, data=b"no JSON", content_type="application/json"), 404, "not-found")


# check-link/


def test_check_link_tells_the_address_and_changes_nothing(built: Built, values: Values) -> None:
    before = built.pending_rows()
    for _ in range(2):
        response = built.post(CHECK_LINK, values)
        assert (response.status_code, response.get_json()) == (200, {"email": "ann@example.com"})
        assert response.headers["Cache-Control"] == "no-store"
    assert built.pending_rows() == before
    assert built.rows() == []


def test_check_link_tells_the_address_as_the_account_will_have_it(built: Built, smtp: RecordingServer) -> None:
    ask(built, "ann@bücher.example")
    assert built.post(CHECK_LINK, values_in(smtp)).get_json() == {"email": "ann@bücher.example"}


def test_check_link_is_404_without_email_first(build: Builder) -> None:
    refused(build().post(CHECK_LINK, {}), 404, "not-found")


def untrue(values: Values) -> Iterator[tuple[str, dict[str, object]]]:
    yield "another signature", changed(values, signature=with_other_character(values["signature"], 5))
    yield "another time", changed(values, timestamp=str(int(values["timestamp"]) + 1))
    yield "an unknown id", changed(values, user_id=str(uuid.uuid4()))
    yield "an id that is none", changed(values, user_id="1")
    yield "another spelling of the id", changed(values, user_id=values["user_id"].upper())
    yield "an id without dashes", changed(values, user_id=values["user_id"].replace("-", ""))


def test_untrue_links_get_one_and_the_same_answer_and_one_statement(built: Built, values: Values) -> None:
    for path in (CHECK_LINK, VERIFY):
        answers = set()
        for name, link in untrue(values):
            with recorded(built.engine) as statements:
                response = built.post(path, {**link, **fields_of(built)})
            answers.add(response.text)
            refused(response, 400, "signature-invalid")
            assert len(statements.queries) <= 1, name
        assert len(answers) == 1
    assert built.rows() == []


def test_a_link_expires_with_its_period(built: Built, values: Values, clock: Clock) -> None:
    clock.move(WEEK)
    assert built.post(CHECK_LINK, values).status_code == 200
    clock.move(1)
    refused(built.post(CHECK_LINK, values), 400, "signature-expired")
    refused(verify(built, values), 400, "signature-expired")


def test_earlier_links_work_until_they_expire(
    built: Built, values: Values, smtp: RecordingServer, clock: Clock
) -> None:
    clock.move(60)
    ask(built)
    assert values_in(smtp) != values
    assert built.post(CHECK_LINK, values).status_code == 200
    assert verify(built, values).status_code == 201


def test_a_link_of_an_old_key_works_while_it_is_a_fallback(built: Built, values: Values) -> None:
    built.app.config.update(SECRET_KEY="another key", SECRET_KEY_FALLBACKS=["a key for tests only"])
    assert built.post(CHECK_LINK, values).status_code == 200
    built.app.config["SECRET_KEY_FALLBACKS"] = []
    refused(verify(built, values), 400, "signature-invalid")


def test_mail_services_may_append_parameters(built: Built, values: Values) -> None:
    appended = {**values, "utm_source": "mail", "fbclid": "x"}
    assert built.post(CHECK_LINK, appended).status_code == 200
    assert verify(built, appended).status_code == 201


# verify-registration/


def test_whoever_reads_the_message_makes_the_account(
    built: Built, values: Values, told: list[tuple[str, str]], clock: Clock
) -> None:
    clock.move(5)
    response = verify(built, values)
    assert response.status_code == 201
    row = built.row()
    assert response.get_json() == {"id": row["id"], "email": "ann@example.com", "username": "ann"}
    assert row["email"] == "ann@example.com"
    assert row["email_verified_at"] is not None
    assert told == [("registered", "ann@example.com"), ("activated", "ann@example.com")]


def test_a_link_makes_one_account_only(built: Built, values: Values) -> None:
    assert verify(built, values).status_code == 201
    refused(verify(built, values, username="eve"), 400, "signature-invalid")
    refused(built.post(CHECK_LINK, values), 400, "signature-invalid")
    assert len(built.rows()) == 1


def test_the_cooldown_outlives_the_making_of_the_account(built: Built, values: Values, smtp: RecordingServer) -> None:
    assert verify(built, values).status_code == 201
    ask(built)
    assert len(smtp.messages) == 1


def test_the_link_works_again_with_another_name_when_one_is_taken(
    built: Built, values: Values, smtp: RecordingServer, told: list[tuple[str, str]]
) -> None:
    assert verify(built, values).status_code == 201
    ask(built, "bob@example.com")
    second, before = values_in(smtp), built.pending_rows()
    told.clear()
    assert field_errors(verify(built, second)) == {"username": ["This value is already taken."]}
    assert built.pending_rows() == before
    assert told == []
    assert verify(built, second, username="bob").status_code == 201


def test_an_address_that_got_an_account_meanwhile_is_a_field_error(built: Built, values: Values) -> None:
    with built.app.app_context():
        built.db.session.add(built.User(email="ann@example.com", username="other", password_hash="x"))
        built.db.session.commit()
    assert field_errors(verify(built, values)) == {"email": ["This value is already taken."]}


def test_all_that_is_wrong_is_told_in_one_answer(built: Built, values: Values) -> None:
    body = {**values, "email": "eve@example.com", "password": "password", "password_confirm": "passw0rd"}
    errors = field_errors(built.post(VERIFY, body))
    assert set(errors) == {"email", "username", "password", "password_confirm"}
    assert errors["email"] == ["This is not the address that the message was sent to."]
    assert built.post(CHECK_LINK, values).status_code == 200


def test_the_client_may_repeat_the_address(built: Built, values: Values) -> None:
    assert built.post(VERIFY, {**values, **built.body(email="ANN@example.com")}).status_code == 201


@pytest.mark.parametrize("sent", [5, None, "ann", "eve@example.com"])
def test_another_address_is_refused_at_its_field(built: Built, values: Values, sent: object) -> None:
    errors = field_errors(built.post(VERIFY, {**values, **built.body(email=sent)}))
    assert errors == {"email": ["This is not the address that the message was sent to."]}
    assert built.rows() == []


class Takeover(Schema):
    """Makes the account itself, verified, for an address that nobody has proven."""

    username = fields.String(required=True)
    password = fields.String(required=True)

    @post_load
    def make(self, data: Values, **_: object) -> Any:
        return self.context_user(data)

    def context_user(self, data: Values) -> Any:
        raise NotImplementedError


def test_the_account_has_the_proven_address_whatever_the_serializer_makes(
    build: Builder, smtp: RecordingServer, told: list[tuple[str, str]]
) -> None:
    class Makes(Takeover):
        def context_user(self, data: Values) -> Any:
            return built.User(email="victim@example.com", username=data["username"], password_hash="x")

    built = email_first(build, registration={"REGISTER_SERIALIZER_CLASS": Makes})
    ask(built)
    response = built.post(VERIFY, {**values_in(smtp), "username": "ann", "password": PASSWORD})
    assert response.status_code == 201
    assert built.row()["email"] == "ann@example.com"
    assert told[0] == ("registered", "ann@example.com")


class ChangesAddress(DefaultRegisterUserSerializer):
    """Changes the address after it was judged."""

    @post_load
    def change(self, data: Values, **_: object) -> Values:
        return {**data, "email": "victim@example.com"}


def test_the_account_has_the_proven_address_whatever_a_dict_says(build: Builder, smtp: RecordingServer) -> None:
    built = email_first(build, registration={"REGISTER_SERIALIZER_CLASS": ChangesAddress})
    ask(built)
    assert verify(built, values_in(smtp)).status_code == 201
    assert built.row()["email"] == "ann@example.com"


class WithoutEmail(Schema):
    """Reads no address, and asks the database."""

    username = fields.String(required=True)
    password = fields.String(required=True)


def test_a_serializer_that_reads_no_address_gets_none(build: Builder, smtp: RecordingServer) -> None:
    built = email_first(build, registration={"REGISTER_SERIALIZER_CLASS": WithoutEmail})
    ask(built)
    values = values_in(smtp)
    body = {**values, "email": "eve@example.com", "username": "ann", "password": PASSWORD}
    assert built.post(VERIFY, body).status_code == 201  # what neither link nor serializer knows is dropped
    assert built.row()["email"] == "ann@example.com"


def test_a_taken_address_that_the_serializer_does_not_read_is_told_of_the_whole(
    build: Builder, smtp: RecordingServer
) -> None:
    built = email_first(build, registration={"REGISTER_SERIALIZER_CLASS": WithoutEmail})
    ask(built)
    with built.app.app_context():
        built.db.session.add(built.User(email="ann@example.com", username="other", password_hash="x"))
        built.db.session.commit()
    body = {**values_in(smtp), "username": "ann", "password": PASSWORD}
    assert field_errors(built.post(VERIFY, body)) == {"_schema": ["This value is already taken."]}


def test_a_serializer_that_asks_the_database_holds_no_transaction_while_hashing(
    build: Builder, smtp: RecordingServer
) -> None:
    class Asks(DefaultRegisterUserSerializer):
        @validates_schema
        def look(self, data: Values, **_: object) -> None:
            built.db.session.execute(select(built.User))

    open_while_hashing = []

    def hasher(password: str) -> str:
        open_while_hashing.append(built.db.session().in_transaction())
        return models.cheap_hash(password)

    built = email_first(build, registration={"REGISTER_SERIALIZER_CLASS": Asks, "PASSWORD_HASHER": hasher})
    ask(built)
    assert verify(built, values_in(smtp)).status_code == 201
    assert open_while_hashing == [False]


def test_a_hasher_that_refuses_a_password_leaves_the_link_as_it_was(build: Builder, smtp: RecordingServer) -> None:
    def hasher(password: str) -> str:
        raise ValueError("Only 72 bytes.")

    built = email_first(build, registration={"PASSWORD_HASHER": hasher})
    ask(built)
    before = built.pending_rows()
    assert field_errors(verify(built, values_in(smtp))) == {"password": ["Only 72 bytes."]}
    assert built.pending_rows() == before


def test_a_registration_is_404_where_registration_is_disabled(build: Builder, built: Built, values: Values) -> None:
    closed = email_first(
        build, database_uri=built.database_uri, registration={"REGISTER_FLOW_ENABLED": False}, tables=False
    )
    refused(verify(closed, values), 404, "not-found")


@pytest.mark.parametrize("model", [models.uuid_key, models.string_key])
def test_with_uuids_as_keys_it_is_404_for_true_links_only(
    build: Builder, smtp: RecordingServer, model: models.Model
) -> None:
    built = email_first(build, model)
    ask(built)
    values = values_in(smtp)
    closed = email_first(
        build, model, database_uri=built.database_uri, registration={"REGISTER_FLOW_ENABLED": False}, tables=False
    )
    refused(verify(closed, values), 404, "not-found")
    refused(verify(closed, changed(values, user_id=str(uuid.uuid4()))), 400, "signature-invalid")


# Links of accounts that were made at sign-up


@pytest.mark.parametrize("model", [models.typed, models.uuid_key, models.string_key])
def test_links_of_accounts_made_at_sign_up_work_on(
    build: Builder, smtp: RecordingServer, clock: Clock, model: models.Model
) -> None:
    before = build(model)
    assert before.register().status_code == 201
    classic = values_of(link_in(smtp.message))
    built = email_first(build, model, database_uri=before.database_uri)
    response = built.post(VERIFY, {**classic, "utm_source": "mail"})
    assert (response.status_code, response.get_json()) == (200, {"detail": "User verified successfully"})
    assert built.row()["email_verified_at"] is not None
    assert built.verify(classic).status_code == 200
    refused(built.post(CHECK_LINK, classic), 400, "signature-invalid")


@pytest.mark.parametrize("model", [models.uuid_key, models.string_key])
def test_a_link_of_one_purpose_serves_no_other(
    build: Builder, smtp: RecordingServer, clock: Clock, model: models.Model
) -> None:
    built = email_first(build, model)
    ask(built)
    values = values_in(smtp)
    with built.app.app_context():
        assert built.Pending is not None
        row = built.db.session.scalars(select(built.Pending)).one()
        user = built.User(id=row.id if model is models.uuid_key else str(row.id))
        user.email, user.username, user.password_hash = row.email, "ann", "x"
        built.db.session.add(user)
        built.db.session.commit()
        signed = RegisterSigner.for_user(user).get_signed_data()
    assert signed["user_id"] == values["user_id"]
    assert signed["signature"] != values["signature"]
    refused(built.post(CHECK_LINK, signed), 400, "signature-invalid")
    assert built.post(VERIFY, signed).get_json() == {"detail": "User verified successfully"}


# Signals, log-in, output


def test_all_receivers_run_before_the_first_exception_is_raised_on(built: Built, values: Values) -> None:
    heard = []

    def fail(sender: Flask, **_: object) -> None:
        heard.append("registered")
        raise RuntimeError("first")

    def go_on(sender: Flask, **_: object) -> None:
        heard.append("activated")
        raise RuntimeError("second")

    with user_registered.connected_to(fail), user_activated.connected_to(go_on), pytest.raises(RuntimeError) as caught:
        verify(built, values)
    assert str(caught.value) == "first"
    assert heard == ["registered", "activated"]
    assert len(built.rows()) == 1


def test_what_the_login_handler_returns_is_merged_over_the_account(build: Builder, smtp: RecordingServer) -> None:
    def handler(request: Request, user: Any) -> dict[str, object]:
        session["user"] = user.id
        return {"token": "t", "username": "from the handler"}

    built = email_first(build, registration={"REGISTER_VERIFICATION_AUTO_LOGIN": True, "LOGIN_HANDLER": handler})
    ask(built)
    answer = verify(built, values_in(smtp))
    assert answer.status_code == 201
    assert answer.get_json() == {
        "id": built.row()["id"],
        "email": "ann@example.com",
        "token": "t",
        "username": "from the handler",
    }
    assert "session" in answer.headers["Set-Cookie"]


class Enveloped(DefaultUserProfileSerializer):
    """Shows a list, which no token can be merged into."""

    class Meta:
        """No options."""

    def dump(self, obj: object, **options: Any) -> Any:
        return [super().dump(obj, **options)]


class Nothing(Schema):
    """Shows nothing at all."""

    def dump(self, obj: object, **options: Any) -> Any:
        return None


@pytest.mark.parametrize(("serializer", "shown"), [(Enveloped, list), (Nothing, type(None))])
def test_an_output_that_is_no_object_is_answered_as_it_is(
    build: Builder, smtp: RecordingServer, serializer: type[Schema], shown: type
) -> None:
    built = email_first(
        build,
        registration={
            "REGISTER_OUTPUT_SERIALIZER_CLASS": serializer,
            "REGISTER_VERIFICATION_AUTO_LOGIN": True,
            "LOGIN_HANDLER": lambda request, user: {"token": "t"},
        },
    )
    ask(built)
    answer = verify(built, values_in(smtp))
    assert answer.status_code == 201
    assert isinstance(answer.get_json(), shown)


@pytest.mark.parametrize("model", [models.is_active_flag, models.boolean_flag, models.datetime_flag_with_zone])
def test_every_kind_of_flag_is_set(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built = email_first(build, model)
    ask(built)
    assert verify(built, values_in(smtp)).status_code == 201
    names = {"is_active", "email_verified", "confirmed_at"}
    assert [bool(value) for name, value in built.row().items() if name in names] == [True]


@pytest.mark.parametrize("model", [models.other_email_name, models.inheritance_subclass, models.other_bind])
def test_it_works_with_other_kinds_of_models(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built = email_first(build, model)
    ask(built)
    response = verify(built, values_in(smtp))
    assert response.status_code == 201, response.text
    assert built.row()[built.email_field] == "ann@example.com"


# Statements


def selectin_user(db: SQLAlchemy) -> type[Any]:
    """A user model with a relationship that each SELECT of an entity loads."""

    class Post(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(db.ForeignKey("user.id"))

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[Any | None] = mapped_column(db.DateTime)
        posts: Mapped[list[Post]] = relationship(Post, lazy="selectin")

    return User


@pytest.mark.parametrize("model", [models.typed, selectin_user])
def test_a_sign_up_needs_three_statements_when_a_message_is_due_and_one_when_not(
    build: Builder, smtp: RecordingServer, clock: Clock, model: models.Model
) -> None:
    built = email_first(build, model)
    with recorded(built.engine) as statements:
        ask(built)
        assert statements.queries == ["SELECT", "INSERT", "SELECT"]
        statements.clear()
        ask(built)
        assert statements.queries == ["SELECT"]
        assert verify(built, values_in(smtp)).status_code == 201
        for seconds in (60, 120):
            clock.move(seconds)
            statements.clear()
            ask(built)
            assert statements.queries == ["SELECT", "UPDATE", "SELECT"]


def test_a_verification_needs_three_statements_and_four_for_a_name_that_is_taken(
    built: Built, values: Values, smtp: RecordingServer
) -> None:
    with recorded(built.engine) as statements:
        assert verify(built, values).status_code == 201
    assert statements.queries == ["SELECT", "UPDATE", "INSERT"]
    ask(built, "bob@example.com")
    with recorded(built.engine) as statements:
        assert verify(built, values_in(smtp)).status_code == 400
    assert statements.queries == ["SELECT", "UPDATE", "INSERT", "SELECT"]


# Hooks


def test_hooks_get_the_pending_row(build: Builder, smtp: RecordingServer) -> None:
    given: dict[str, Any] = {}

    def context(request: Request, user: Any, context: Values) -> Values:
        given["context"] = user
        return {**context, "verification_url": context["verification_url"] + "&lang=en"}

    def select_templates(request: Request, user: Any) -> dict[str, str]:
        given["templates"] = user
        return {}

    built = email_first(
        build,
        registration={
            "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": context,
            "VERIFICATION_TEMPLATES_SELECTOR": select_templates,
        },
    )
    ask(built)
    assert {name: user.email for name, user in given.items()} == dict.fromkeys(given, "ann@example.com")
    assert {type(user) for user in given.values()} == {built.Pending}
    assert set(given) == {"context", "templates"}
    assert "&lang=en" in link_in(smtp.message)


def test_own_senders_get_the_pending_row_for_link_and_notice(build: Builder, clock: Clock) -> None:
    sent: list[tuple[str, str, str]] = []

    def link(request: Request, pending: Any) -> None:
        sent.append(("link", pending.email, RegisterSigner.for_user(pending).get_url()))

    def notice(request: Request, pending: Any) -> None:
        sent.append(("notice", pending.email, ""))

    built = email_first(
        build,
        registration={"REGISTER_VERIFICATION_EMAIL_SENDER": link, "REGISTER_EXISTING_EMAIL_SENDER": notice},
    )
    ask(built)
    assert verify(built, values_of(sent[0][2])).status_code == 201
    clock.move(60)
    ask(built)
    assert [(kind, email) for kind, email, _ in sent] == [("link", "ann@example.com"), ("notice", "ann@example.com")]


def test_hooks_run_alike_for_free_and_taken_addresses(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    called: list[str] = []

    def context(request: Request, user: Any, context: Values) -> Values:
        called.append("context")
        built.db.session.execute(select(built.User.id)).all()
        return context

    def url(signer: RegisterSigner) -> str:
        called.append("url")
        return build_url(signer)

    built = email_first(
        build,
        registration={"VERIFICATION_TEMPLATE_CONTEXT_BUILDER": context, "VERIFICATION_URL_BUILDER": url},
    )
    ask(built)
    assert verify(built, values_in(smtp)).status_code == 201
    clock.move(60)
    traces = []
    for address in ("ann@example.com", "bob@example.com"):
        ask(built, address)
        clock.move(120)
    for address in ("ann@example.com", "bob@example.com"):
        called.clear()
        with recorded(built.engine) as statements:
            ask(built, address)
        traces.append((list(called), list(statements.sql)))
    assert traces[0] == traces[1]
    assert traces[0][0] == ["url", "context"]
    assert ["You have" in message["Subject"] for message in smtp.messages[-2:]] == [True, False]


def test_no_transaction_is_open_while_a_message_is_sent(build: Builder, smtp: RecordingServer) -> None:
    def context(request: Request, user: Any, context: Values) -> Values:
        built.db.session.execute(select(built.User.id)).all()
        return context

    built = email_first(build, registration={"VERIFICATION_TEMPLATE_CONTEXT_BUILDER": context})
    checked_out: list[int] = []
    with recorded(built.engine) as statements:
        smtp.on_text = lambda: checked_out.append(statements.count("BEGIN") - statements.count("COMMIT"))
        ask(built)
    assert checked_out == [0]


class Wraps:
    """Wraps the default sender with all its names, as functools.wraps does."""

    def __init__(self, sender: Any) -> None:
        functools.update_wrapper(self, sender)
        self.calls = 0
        self._sender = sender

    def __call__(self, request: Request, pending: Any) -> None:
        self.calls += 1
        self._sender(request, pending)


def test_a_wrapper_of_the_default_senders_is_called(build: Builder, smtp: RecordingServer) -> None:
    link, notice = (
        Wraps(sender)
        for sender in (
            send_register_verification_email_notification,
            send_existing_account_email_notification,
        )
    )
    built = email_first(
        build,
        registration={"REGISTER_VERIFICATION_EMAIL_SENDER": link, "REGISTER_EXISTING_EMAIL_SENDER": notice},
    )
    ask(built)
    assert (link.calls, notice.calls, len(smtp.messages)) == (1, 0, 1)


def test_an_own_column_has_its_default_in_what_hooks_get(build: Builder) -> None:
    seen: list[str] = []

    def sender(request: Request, pending: Any) -> None:
        seen.append(pending.locale)

    def with_locale(db: SQLAlchemy) -> type[Any]:
        class Pending(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
            locale: Mapped[str] = mapped_column(String(10), default="en")

        users = models.typed(db)
        users.kept = Pending  # SQLAlchemy's registry alone lets go of a class
        return users

    built = build(
        with_locale,
        registration={
            "REGISTER_EMAIL_FIRST": True,
            "REGISTER_VERIFICATION_EMAIL_SENDER": sender,
            "REGISTER_EXISTING_EMAIL_SENDER": sender,
        },
    )
    ask(built)
    assert seen == ["en"]


# What fails


def test_a_refused_recipient_is_a_field_error_whoever_it_is(
    built: Built, values: Values, smtp: RecordingServer, clock: Clock
) -> None:
    assert verify(built, values).status_code == 201
    clock.move(60)
    smtp.rcpt_reply = "550 5.1.1 no such mailbox"
    for address in ("ann@example.com", "new@example.com"):
        errors = field_errors(built.post(REGISTER, {"email": address}))
        assert errors == {"email": ["The mail server does not accept this address."]}


def test_a_conflict_at_the_commit_of_the_account_is_tried_again(built: Built, values: Values) -> None:
    conflicts = 2

    def fail(session: Any) -> None:
        nonlocal conflicts
        if conflicts and any(isinstance(each, built.User) for each in session.identity_map.values()):
            conflicts -= 1
            raise exc.OperationalError("COMMIT", {}, conflict())

    with built.app.app_context():
        event.listen(built.db.session, "before_commit", fail)
        response = verify(built, values)
    assert response.status_code == 201, response.text
    assert conflicts == 0
    assert len(built.rows()) == 1


def test_an_error_of_the_applications_own_leaves_the_link_as_it_was(built: Built, values: Values) -> None:
    def refuse(mapper: object, connection: object, user: object) -> None:
        raise ValidationError("the application's own")

    before = built.pending_rows()
    event.listen(built.User, "before_insert", refuse)
    with pytest.raises(ValidationError):
        verify(built, values)
    event.remove(built.User, "before_insert", refuse)
    assert built.pending_rows() == before
    assert verify(built, values).status_code == 201


# Addresses that nobody has proven


def rewriting(db: SQLAlchemy) -> type[Any]:
    """A model that takes plus tags out of addresses."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[Any | None] = mapped_column(db.DateTime)

        @validates("email")
        def rewrite(self, key: str, email: str) -> str:
            if "refused" in email:
                raise ValueError("Not this one.")
            return email.split("+")[0] + "@example.com" if "+" in email else email

    return User


def test_an_address_that_the_model_changes_makes_no_account(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = email_first(build, rewriting)
    ask(built, "ann+shop@example.com")
    assert field_errors(verify(built, values_in(smtp))) == {"_schema": ["This data cannot be used."]}
    assert built.rows() == []
    assert "User.email changes the address that was proven" in caplog.text
    assert "ann+shop" not in caplog.text
    ask(built, "ann@example.com")
    assert verify(built, values_in(smtp)).status_code == 201


class OnlyAName(Schema):
    """Makes an account without an address."""

    username = fields.String(required=True)
    password = fields.String(required=True)
    user_class: Any = None
    friends: bool = False

    @post_load
    def make(self, data: Values, **_: object) -> Any:
        user = OnlyAName.user_class(username=data["username"], password_hash="x")
        if OnlyAName.friends:
            user.friends = [OnlyAName.user_class(email="victim@example.com", username="v", password_hash="x")]
        return user


@pytest.fixture(name="names_only")
def names_only_serializer(monkeypatch: pytest.MonkeyPatch) -> type[OnlyAName]:
    monkeypatch.setattr(OnlyAName, "user_class", None)
    monkeypatch.setattr(OnlyAName, "friends", False)
    return OnlyAName


def test_an_address_that_the_model_refuses_is_an_error_of_the_input(
    build: Builder, smtp: RecordingServer, names_only: type[OnlyAName]
) -> None:
    built = email_first(build, rewriting, registration={"REGISTER_SERIALIZER_CLASS": names_only})
    names_only.user_class = built.User
    ask(built, "refused@example.com")
    body = {**values_in(smtp), "username": "ann", "password": PASSWORD}
    assert field_errors(built.post(VERIFY, body)) == {"_schema": ["Not this one."]}


def befriending(db: SQLAlchemy) -> type[Any]:
    """A model whose accounts refer to other accounts."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[Any | None] = mapped_column(db.DateTime)
        friend_id: Mapped[int | None] = mapped_column(db.ForeignKey("user.id"))
        friends: Mapped[list[User]] = relationship(lambda: User)

    return User


def test_a_serializer_makes_no_second_account(
    build: Builder, smtp: RecordingServer, names_only: type[OnlyAName]
) -> None:
    built = email_first(build, befriending, registration={"REGISTER_SERIALIZER_CLASS": names_only})
    names_only.user_class, names_only.friends = built.User, True
    ask(built)
    with pytest.raises(ConfigurationError, match="makes another User beside the new one"):
        built.post(VERIFY, {**values_in(smtp), "username": "ann", "password": PASSWORD})
    assert built.rows() == []


class Latin(TypeDecorator[str]):
    """A column whose character set lacks most letters."""

    impl = String(254)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value.encode("latin-1").decode("latin-1")


def latin_addresses(db: SQLAlchemy) -> type[Any]:
    """A model whose addresses are in Latin-1."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(Latin, unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[Any | None] = mapped_column(db.DateTime)

    return User


def test_an_address_that_the_users_column_cannot_hold_has_no_account(build: Builder, smtp: RecordingServer) -> None:
    built = email_first(build, latin_addresses)
    ask(built, "ann@παράδειγμα.example")
    errors = field_errors(verify(built, values_in(smtp)))
    assert errors == {"_schema": ["The database cannot store this data."]}
