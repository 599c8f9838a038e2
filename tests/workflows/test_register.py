"""``POST register/``: each answer, and the order in which the work is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from flask import Flask, Request, abort
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields, post_load
from sqlalchemy import CheckConstraint, Column, ForeignKey, String, UniqueConstraint, event, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, make_transient_to_detached, mapped_column, relationship
from werkzeug.security import check_password_hash

from flask_rest_registration import (
    ConfigurationError,
    DatabaseFault,
    DefaultRegisterUserSerializer,
    user_activated,
    user_registered,
)
from tests.support import databases, models
from tests.support.answers import field_errors, refused
from tests.support.apps import OMITTED, PASSWORD, REGISTER, Builder, Built
from tests.support.links import link_in
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

pytestmark = pytest.mark.database

PRODUCTION = {"TESTING": False}

WITH_INDEXES_ON_EXPRESSIONS = pytest.mark.only_on("sqlite", "postgresql")


class Account(Schema):
    """A serializer of the application's own that gives a dict."""

    email = fields.String(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)


def account_object(make: Callable[[dict[str, Any]], Any]) -> type[Schema]:
    """Return a serializer of the application's own that gives what ``make`` makes of the loaded fields."""

    class AccountObject(Account):
        @post_load
        def make(self, data: dict[str, Any], **_: Any) -> Any:
            return make(data)

    return AccountObject


def sent(**changes: object) -> dict[str, object]:
    """Return a body for ``Account``."""
    return {"email": "ann@example.com", "username": "ann", "password": PASSWORD, **changes}


def enforce_foreign_keys(built: Built) -> None:
    """Make the tables on connections that check foreign keys, which SQLite leaves to the application."""
    built.enforce_foreign_keys()
    with built.app.app_context():
        built.db.create_all()


@pytest.fixture(name="built")
def usual_app(build: Builder) -> Built:
    return build()


# 1: the switch


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b"x" * 100_000])
def test_registration_that_is_disabled_is_404_whatever_is_sent(build: Builder, body: bytes) -> None:
    built = build(registration={"REGISTER_FLOW_ENABLED": False})
    refused(built.post(REGISTER, data=body, content_type="application/json"), 404, "not-found")
    refused(built.register(), 404, "not-found")
    assert built.rows() == []


# 2: what the serializer gives


def test_a_registration_is_answered_with_201_and_the_profile(built: Built, smtp: RecordingServer) -> None:
    response = built.register()
    assert response.status_code == 201
    assert response.get_json() == {"id": 1, "email": "ann@example.com", "username": "ann"}
    row = built.row()
    assert check_password_hash(row.pop("password_hash"), PASSWORD)
    assert row == {"id": 1, "email": "ann@example.com", "username": "ann", "email_verified_at": None}
    assert smtp.envelopes[0].recipients == ["ann@example.com"]


def test_of_a_dict_the_extension_makes_the_user_and_stores_the_password_hashed(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Account})
    assert built.post(REGISTER, sent()).status_code == 201
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


def test_the_password_validators_run_on_the_password_of_a_dict(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Account})
    assert list(field_errors(built.post(REGISTER, sent(password="password")))) == ["password"]
    assert built.rows() == []


def test_a_key_that_the_model_lacks_is_a_configuration_error(build: Builder, smtp: RecordingServer) -> None:
    class WithNewsletter(Account):
        newsletter = fields.Boolean(load_default=False)

    built = build(registration={"REGISTER_SERIALIZER_CLASS": WithNewsletter})
    with pytest.raises(ConfigurationError, match="'newsletter'"):
        built.post(REGISTER, sent())
    assert (built.rows(), smtp.messages) == ([], [])


def test_a_new_object_is_used_as_it_is_and_the_password_validators_are_not_run(build: Builder) -> None:
    def make(data: dict[str, Any]) -> Any:
        return built.User(email=data["email"], username="from the object", password_hash="made by the application")

    built = build(registration={"REGISTER_SERIALIZER_CLASS": account_object(make)})
    assert built.post(REGISTER, sent(password="1")).status_code == 201
    row = built.row()
    assert (row["username"], row["password_hash"]) == ("from the object", "made by the application")


def test_a_new_object_may_be_in_the_session_already(build: Builder, smtp: RecordingServer) -> None:
    def make(data: dict[str, Any]) -> Any:
        user = built.User(email=data["email"], username="ann", password_hash="x")
        built.db.session.add(user)
        return user

    built = build(registration={"REGISTER_SERIALIZER_CLASS": account_object(make)})
    assert built.post(REGISTER, sent()).status_code == 201
    assert list(field_errors(built.post(REGISTER, sent()))) == ["email", "username"]
    assert len(built.rows()) == len(smtp.messages) == 1


def _loaded(built: Built) -> Any:
    return built.db.session.get(built.User, 1)


def _merged(built: Built) -> Any:
    return built.db.session.merge(built.User(id=1, email="ann@example.com", username="ann", password_hash="y"))


def _detached(built: Built) -> Any:
    user = built.User(id=1, email="ann@example.com", username="ann", password_hash="y")
    make_transient_to_detached(user)
    return user


@pytest.mark.parametrize("find", [_loaded, _merged, _detached])
def test_an_object_that_the_database_already_has_is_refused_and_nothing_is_written(
    build: Builder, smtp: RecordingServer, find: Callable[[Built], Any]
) -> None:
    def overwrite(data: dict[str, Any]) -> Any:
        user = find(built)
        user.password_hash, user.username = "the stranger's", "taken over"
        built.db.session.add(built.User(email="by@the.way", username="by-the-way", password_hash="x"))
        return user

    built = build(registration={"REGISTER_SERIALIZER_CLASS": account_object(overwrite)})
    with built.app.app_context():
        built.db.session.add(built.User(email="owner@example.com", username="owner", password_hash="the owner's"))
        built.db.session.commit()
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError, match="already has"):
        built.post(REGISTER, sent())
    assert not {"INSERT", "UPDATE", "COMMIT"} & set(statements.kinds)
    row = built.row()
    assert (row["username"], row["password_hash"]) == ("owner", "the owner's")
    assert smtp.messages == []


@pytest.mark.parametrize("thing", [None, [], "text", object()])
def test_what_is_neither_a_dict_nor_a_user_is_a_configuration_error(build: Builder, thing: object) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": account_object(lambda data: thing)})
    with pytest.raises(ConfigurationError, match="REGISTER_SERIALIZER_CLASS"):
        built.post(REGISTER, sent())
    assert built.rows() == []


# 3: the flag and the address


def flag_with_default(db: SQLAlchemy) -> type[Any]:
    """A DateTime flag whose column has a default."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None] = mapped_column(default=datetime(2020, 1, 1))  # noqa: DTZ001

    return User


def flag_set_by_default(db: SQLAlchemy) -> type[Any]:
    """A Boolean flag whose default says "verified"."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified: Mapped[bool] = mapped_column(default=True)

    return User


FLAGS: list[tuple[models.Model, str, object, object]] = [
    (models.typed, "email_verified_at", datetime(2020, 1, 1), None),  # noqa: DTZ001
    (models.datetime_flag_with_zone, "confirmed_at", datetime(2020, 1, 1), None),  # noqa: DTZ001
    (models.boolean_flag, "email_verified", True, False),
    (flag_with_default, "email_verified_at", datetime(2020, 1, 1), None),  # noqa: DTZ001
    (flag_set_by_default, "email_verified", True, False),
]


@pytest.mark.parametrize("as_object", [False, True], ids=["dict", "object"])
@pytest.mark.parametrize(("model", "flag", "verified", "cleared"), FLAGS)
def test_the_flag_is_cleared_whatever_the_input_said(
    build: Builder, model: models.Model, flag: str, verified: object, cleared: object, as_object: bool
) -> None:
    def make(data: dict[str, Any]) -> Any:
        if not as_object:
            return {**data, flag: verified}
        return built.User(email=data["email"], username="ann", password_hash="x", **{flag: verified})

    built = build(model, registration={"REGISTER_SERIALIZER_CLASS": account_object(make)})
    assert built.post(REGISTER, sent()).status_code == 201
    assert built.row()[flag] is cleared


@pytest.mark.parametrize(("model", "flag", "verified", "cleared"), FLAGS)
def test_a_stranger_cannot_send_the_flag(
    build: Builder, model: models.Model, flag: str, verified: object, cleared: object
) -> None:
    built = build(model)
    assert list(field_errors(built.register(**{flag: True}))) == [flag]
    assert built.rows() == []


@pytest.mark.parametrize(("model", "flag", "verified", "cleared"), FLAGS)
def test_without_verification_a_boolean_flag_is_set_and_a_datetime_one_stays_empty(
    build: Builder, smtp: RecordingServer, model: models.Model, flag: str, verified: object, cleared: object
) -> None:
    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": False})
    signals: list[str] = []

    def keep(sender: Flask, **_: object) -> None:
        signals.append("activated")

    def keep_registration(sender: Flask, **_: object) -> None:
        signals.append("registered")

    with user_activated.connected_to(keep, built.app), user_registered.connected_to(keep_registration, built.app):
        assert built.register().status_code == 201
    assert built.row()[flag] is (True if verified is True else None)
    assert signals == ["registered"]
    assert smtp.conversations == []


def nullable_email(db: SQLAlchemy) -> type[Any]:
    """An address that an account may do without."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str | None] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


class AccountWithoutAddress(Schema):
    username = fields.String(required=True)
    password = fields.String(required=True)
    email = fields.String(allow_none=True)


@pytest.mark.parametrize("address", [{}, {"email": None}, {"email": ""}], ids=["missing", "null", "empty"])
def test_no_address_is_user_without_email_nonverifiable(
    build: Builder, smtp: RecordingServer, address: dict[str, object]
) -> None:
    built = build(nullable_email, registration={"REGISTER_SERIALIZER_CLASS": AccountWithoutAddress})
    with recorded(built.engine) as statements:
        response = built.post(REGISTER, {"username": "ann", "password": PASSWORD, **address})
    refused(response, 400, "user-without-email-nonverifiable")
    assert "INSERT" not in statements.kinds
    assert (built.rows(), smtp.conversations) == ([], [])


@pytest.mark.parametrize("verification", [True, False])
def test_the_address_is_required_while_verification_is_on(build: Builder, verification: bool) -> None:
    built = build(nullable_email, registration={"REGISTER_VERIFICATION_ENABLED": verification})
    response = built.register(email=OMITTED)
    if verification:
        assert list(field_errors(response)) == ["email"]
    else:
        assert response.status_code == 201
        assert built.row()["email"] is None


# 4 and 5: the order of work


def note_database_work(built: Built, log: list[str]) -> None:
    """Note when a connection leaves the pool, what is asked of it, and when it is back."""

    @event.listens_for(built.engine, "checkout")
    def taken(*_: object) -> None:
        log.append("connection")

    @event.listens_for(built.engine, "before_cursor_execute")
    def executed(conn: object, cursor: object, sql: str, *_: object) -> None:
        log.append(sql.split()[0])

    @event.listens_for(built.engine, "commit")
    def committed(conn: object) -> None:
        log.append("COMMIT")


@pytest.mark.parametrize("model", [models.typed, models.set_password, models.password_property, models.password_hybrid])
def test_the_hash_is_made_before_a_connection_is_taken_from_the_pool(
    build: Builder, monkeypatch: pytest.MonkeyPatch, model: models.Model
) -> None:
    log: list[str] = []

    def noted(password: str) -> str:
        log.append("hash")
        return models_hash(password)

    models_hash = models.cheap_hash
    monkeypatch.setattr(models, "cheap_hash", noted)
    built = build(model, registration={"PASSWORD_HASHER": noted})
    note_database_work(built, log)
    assert built.register().status_code == 201
    assert log == ["hash", "connection", "INSERT", "COMMIT"]


def test_a_refused_password_takes_no_connection(built: Built) -> None:
    log: list[str] = []
    note_database_work(built, log)
    field_errors(built.register(password="password"))
    assert log == []


def test_the_mail_server_is_ready_before_the_insert_and_has_the_mail_before_the_commit(
    built: Built, smtp: RecordingServer
) -> None:
    seen: list[tuple[str, int]] = []

    @event.listens_for(built.engine, "before_cursor_execute")
    def executed(conn: object, cursor: object, sql: str, *_: object) -> None:
        assert smtp.conversations == [["EHLO"]]
        seen.append((sql.split()[0], len(smtp.messages)))

    @event.listens_for(built.engine, "commit")
    def committed(conn: object) -> None:
        seen.append(("COMMIT", len(smtp.messages)))

    assert built.register().status_code == 201
    assert seen == [("INSERT", 0), ("COMMIT", 1)]


def test_a_sender_is_called_after_the_insert_and_before_the_commit(build: Builder) -> None:
    log: list[str] = []

    def sender(request: Request, user: Any) -> None:
        log.append(f"sender for {user.id}")

    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": sender})
    note_database_work(built, log)
    assert built.register().status_code == 201
    assert log == ["connection", "INSERT", "sender for 1", "COMMIT"]


def _raise_error(request: Request, user: Any) -> None:
    raise RuntimeError("no queue")


def _raise_http_exception(request: Request, user: Any) -> None:
    abort(429)


@pytest.mark.parametrize("sender", [_raise_error, _raise_http_exception])
def test_a_sender_that_fails_is_503_and_logged_and_the_same_request_can_be_repeated(
    build: Builder, caplog: pytest.LogCaptureFixture, sender: Callable[[Request, Any], None]
) -> None:
    fails = True

    def sender_of_a_bad_day(request: Request, user: Any) -> None:
        if fails:
            sender(request, user)

    built = build(registration={"REGISTER_VERIFICATION_EMAIL_SENDER": sender_of_a_bad_day})
    refused(built.register(), 503, "email-not-sent")
    assert built.rows() == []
    assert logging.ERROR in [record.levelno for record in caplog.records]
    fails = False
    assert built.register().status_code == 201


def test_a_recipient_refused_for_good_is_a_field_error_at_the_name_the_client_used(
    build: Builder, smtp: RecordingServer
) -> None:
    class Renamed(Account):
        email = fields.String(required=True, data_key="e-mail")

    smtp.rcpt_reply = "550 no such user"
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Renamed})
    body = sent()
    body["e-mail"] = body.pop("email")
    assert list(field_errors(built.post(REGISTER, body))) == ["e-mail"]
    assert built.rows() == []


# 6: uniqueness is the database's


@pytest.mark.parametrize(
    "model",
    [
        models.typed,
        models.classic_columns,
        models.named_unique,
        models.unnamed_unique_index,
        pytest.param(models.unique_lower_function, marks=WITH_INDEXES_ON_EXPRESSIONS),
        pytest.param(models.unique_lower_text, marks=WITH_INDEXES_ON_EXPRESSIONS),
        models.other_column_names,
        models.other_bind,
        models.inheritance_base,
        models.inheritance_subclass,
        models.dataclass_model,
    ],
)
@pytest.mark.parametrize("taken", [["email"], ["username"], ["email", "username"]], ids=" and ".join)
def test_what_is_taken_is_a_field_error_and_not_asked_for_before(
    build: Builder, model: models.Model, taken: list[str]
) -> None:
    built = build(model)
    assert built.register().status_code == 201
    body = {"email": "bob@example.com", "username": "bob"}
    with recorded(built.engine) as statements:
        errors = field_errors(built.register(**{name: body[name] for name in body if name not in taken}))
    assert sorted(errors) == taken
    # One INSERT that fails and one SELECT; joined inheritance has two tables.
    assert [kind for kind in statements.kinds if kind in {"INSERT", "SELECT"}] == ["INSERT", "SELECT"]
    assert "COMMIT" not in statements.kinds
    assert len(built.rows()) == 1


@WITH_INDEXES_ON_EXPRESSIONS
@pytest.mark.parametrize("model", [models.unique_lower_function, models.unique_lower_text])
def test_a_unique_index_on_an_expression_is_reported_at_the_column_that_it_names(
    build: Builder, model: models.Model
) -> None:
    built = build(model)
    with built.app.app_context():
        built.db.session.add(built.User(email="ANN@Example.com", username="old", password_hash="x"))
        built.db.session.commit()
    assert list(field_errors(built.register())) == ["email"]


def test_a_composite_constraint_is_an_error_at_each_of_its_columns_that_the_client_sent(build: Builder) -> None:
    built = build(models.composite_unique)
    assert built.register().status_code == 201
    assert sorted(field_errors(built.register(email="bob@example.com"))) == ["team", "username"]
    assert built.register(email="bob@example.com", team="red").status_code == 201


class InTeamBlue(Account):
    """Everybody comes into one team."""

    @post_load
    def add_team(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, "team": "blue"}


class UsuallyInTeamBlue(Account):
    """Those who say nothing come into one team."""

    team = fields.String(load_default="blue")


@pytest.mark.parametrize("serializer", [InTeamBlue, UsuallyInTeamBlue])
def test_a_composite_constraint_is_no_error_at_a_column_that_the_client_did_not_send(
    build: Builder, serializer: type[Schema]
) -> None:
    built = build(models.composite_unique, registration={"REGISTER_SERIALIZER_CLASS": serializer})
    assert built.post(REGISTER, sent()).status_code == 201
    assert list(field_errors(built.post(REGISTER, sent(email="bob@example.com")))) == ["username"]


def test_a_constraint_none_of_whose_columns_the_client_sent_stands_under_the_whole_object(build: Builder) -> None:
    class OneName(Schema):
        email = fields.String(required=True)
        password = fields.String(required=True)

        @post_load
        def add_name(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
            return {**data, "username": "everybody"}

    built = build(registration={"REGISTER_SERIALIZER_CLASS": OneName})
    assert built.post(REGISTER, {"email": "ann@example.com", "password": PASSWORD}).status_code == 201
    response = built.post(REGISTER, {"email": "bob@example.com", "password": PASSWORD})
    assert list(field_errors(response)) == ["_schema"]


def test_taken_values_carry_the_name_under_which_the_client_sent_them(build: Builder) -> None:
    class Renamed(DefaultRegisterUserSerializer):
        username = fields.String(required=True, data_key="userName")
        email = fields.Email(required=True, data_key="e-mail")

    built = build(registration={"REGISTER_SERIALIZER_CLASS": Renamed})
    body = {"e-mail": "ann@example.com", "userName": "ann", "password": PASSWORD, "password_confirm": PASSWORD}
    assert built.post(REGISTER, body).status_code == 201
    assert sorted(field_errors(built.post(REGISTER, body))) == ["e-mail", "userName"]


def partly_unique(db: SQLAlchemy) -> type[Any]:
    """A nullable column in a composite constraint: rows with NULL are never equal."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __table_args__ = (UniqueConstraint("username", "team"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80))
        team: Mapped[str | None] = mapped_column(String(80))
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def test_null_is_never_taken(build: Builder) -> None:
    built = build(partly_unique)
    assert built.register(team=OMITTED).status_code == 201
    assert built.register(team=OMITTED, email="bob@example.com").status_code == 201
    assert list(field_errors(built.register(team=OMITTED))) == ["email"]


@pytest.fixture
def with_check(build: Builder) -> Built:
    return build(models.named_unique)


def test_a_violated_check_stands_under_the_whole_object_and_is_logged(
    with_check: Built, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert list(field_errors(with_check.register(username="root"))) == ["_schema"]
    assert (with_check.rows(), smtp.messages) == ([], [])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "root" not in caplog.text.replace("constraint no_root", "")  # its name, which PostgreSQL tells
    assert "pbkdf2" not in caplog.text


def test_a_taken_value_is_named_though_the_database_complains_of_a_check(with_check: Built) -> None:
    assert with_check.register().status_code == 201
    assert list(field_errors(with_check.register(username="root"))) == ["email"]


def with_group(db: SQLAlchemy, *, deferred: bool) -> type[Any]:
    """A foreign key that strangers may fill, checked at the INSERT or at the COMMIT."""
    key = ForeignKey("group.id", deferrable=deferred or None, initially="DEFERRED" if deferred else None)

    class Group(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        group_id: Mapped[int] = mapped_column(key)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


@pytest.mark.parametrize("deferred", [False, databases.DEFERRED], ids=["at the INSERT", "at the COMMIT"])
def test_a_violated_foreign_key_stands_under_the_whole_object(
    build: Builder, caplog: pytest.LogCaptureFixture, deferred: bool
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return with_group(db, deferred=deferred)

    built = build(model, registration={"USER_EDITABLE_FIELDS": ["group_id"]}, tables=False)
    enforce_foreign_keys(built)
    assert list(field_errors(built.register(group_id=7))) == ["_schema"]
    assert built.rows() == []
    assert logging.ERROR in [record.levelno for record in caplog.records]
    with built.app.app_context():
        built.db.session.execute(insert(built.db.metadata.tables["group"]).values(id=7))
        built.db.session.commit()
    assert built.register(group_id=7).status_code == 201


def with_city(db: SQLAlchemy) -> type[Any]:
    """A column that a row cannot be made without and that nobody fills."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80))
        city: Mapped[str] = mapped_column(String(80))
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def texts_of(error: BaseException | None) -> Iterator[str]:
    """List the texts of an exception and of those that it came from."""
    while error is not None:
        yield f"{error!r} {error}"
        error = error.__cause__ or error.__context__


def test_not_null_of_a_column_that_is_no_input_is_the_applications_own_500(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(with_city, registration={"REGISTER_SERIALIZER_CLASS": Account})
    with pytest.raises(DatabaseFault) as raised:
        built.post(REGISTER, sent())
    built.app.config.update(PRODUCTION)
    response = built.post(REGISTER, sent())
    assert (response.status_code, response.mimetype) == (500, "text/html")
    seen = [caplog.text, response.text, *texts_of(raised.value)]
    assert [secret for secret in (PASSWORD, "pbkdf2", "ann@") for text in seen if secret in text] == []
    assert (built.rows(), smtp.messages) == ([], [])


# "database is locked"


@contextmanager
def locked(built: Built, *, for_reading: bool) -> Iterator[None]:
    """Hold a lock on the app's database file: for reading, others cannot commit; else, they cannot write at all."""
    with built.outside() as connection:
        if for_reading:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM user").all()
        else:
            connection.lock()
        yield
        connection.execute("ROLLBACK") if for_reading else connection.unlock()


@pytest.fixture
def impatient(build: Builder) -> Built:
    return build(config=databases.impatient())


def test_an_insert_into_a_locked_database_is_tried_again_and_then_503(
    impatient: Built, smtp: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(impatient, for_reading=False), recorded(impatient.engine) as statements:
        refused(impatient.register(), 503, "database-unavailable")
    assert statements.count("INSERT") == 4
    assert (impatient.rows(), smtp.messages) == ([], [])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert impatient.register().status_code == 201


def test_an_insert_that_is_refused_as_a_conflict_succeeds_when_it_is_tried_again(
    impatient: Built, smtp: RecordingServer
) -> None:
    inserts: list[str] = []
    with ExitStack() as lock:
        lock.enter_context(locked(impatient, for_reading=False))

        @event.listens_for(impatient.engine, "before_cursor_execute")
        def let_go_before_the_third(conn: object, cursor: object, sql: str, *_: object) -> None:
            inserts.append(sql.split()[0])
            if len(inserts) == 3:
                lock.close()

        assert impatient.register().status_code == 201
    assert inserts == ["INSERT"] * 3
    assert (len(impatient.rows()), len(smtp.messages)) == (1, 1)


@pytest.mark.only_on("sqlite")
def test_a_locked_database_at_the_commit_is_503_at_once_and_the_mails_link_is_dead(
    impatient: Built, smtp: RecordingServer
) -> None:
    with locked(impatient, for_reading=True), recorded(impatient.engine) as statements:
        refused(impatient.register(), 503, "database-unavailable")
    assert statements.count("INSERT") == 1
    assert impatient.rows() == []
    refused(impatient.verify(link_in(smtp.message)), 400, "signature-invalid")
    assert impatient.register().status_code == 201


# 7 of the transactions: what the application left pending


def with_visits(db: SQLAlchemy, model: models.Model = models.typed) -> type[Any]:
    """A second table of the application."""

    class Visit(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        page: Mapped[str] = mapped_column(String(80), unique=True)
        owner: Mapped[int | None] = mapped_column(ForeignKey("user.id", **databases.AT_THE_COMMIT))

    user = model(db)
    user.visit = Visit
    return user


@dataclass(frozen=True)
class Visited:
    """An app that adds something of its own to the session in each request."""

    built: Built
    pending: list[Callable[[], object]]

    def leave_visit(self, **values: object) -> None:
        self.pending.append(lambda: self.built.User.visit(**values))

    def visits(self) -> list[str]:
        with self.built.app.app_context():
            return list(self.built.db.session.scalars(select(self.built.User.visit.page)))


@pytest.fixture
def visited(build: Builder) -> Visited:
    built = build(with_visits, tables=False)
    enforce_foreign_keys(built)
    pending: list[Callable[[], object]] = []
    built.app.before_request(lambda: built.db.session.add_all([make() for make in pending]))
    return Visited(built, pending)


def test_what_the_application_left_pending_goes_with_our_commit(visited: Visited) -> None:
    visited.leave_visit(page="sign-up")
    assert visited.built.register().status_code == 201
    assert visited.visits() == ["sign-up"]


@pytest.mark.parametrize("reason", ["taken", "mail"])
def test_what_the_application_left_pending_is_rolled_back_with_a_refused_registration(
    visited: Visited, smtp: RecordingServer, reason: str
) -> None:
    assert visited.built.register().status_code == 201
    visited.leave_visit(page="sign-up")
    if reason == "taken":
        assert list(field_errors(visited.built.register())) == ["email", "username"]
    else:
        smtp.text_reply = "451 later"
        refused(visited.built.register(email="bob@example.com", username="bob"), 503, "email-not-sent")
    assert visited.visits() == []


@pytest.mark.parametrize("values", [{"page": "sign-up"}, {"page": None}], ids=["unique", "not null"])
def test_a_fault_of_the_applications_pending_rows_is_its_own_and_never_address_taken(
    visited: Visited, smtp: RecordingServer, values: dict[str, object]
) -> None:
    built = visited.built
    with built.app.app_context():
        built.db.session.execute(insert(built.User.visit).values(page="sign-up"))
        built.db.session.commit()
    visited.leave_visit(**values)
    with pytest.raises(IntegrityError, match="page"):
        built.register()
    built.app.config.update(PRODUCTION)
    response = built.register()
    assert (response.status_code, response.mimetype) == (500, "text/html")
    assert (built.rows(), smtp.messages) == ([], [])


def test_a_pending_account_of_the_application_that_is_taken_is_its_own_fault(visited: Visited) -> None:
    built = visited.built
    assert built.register().status_code == 201
    visited.pending.append(lambda: built.User(email="ann@example.com", username="twin", password_hash="x"))
    with pytest.raises(IntegrityError):
        built.register(email="bob@example.com", username="bob")
    assert len(built.rows()) == 1


@pytest.mark.only_on("sqlite", "postgresql")
def test_a_fault_of_the_applications_pending_rows_that_comes_at_the_commit_is_its_own(visited: Visited) -> None:
    visited.leave_visit(page="sign-up", owner=999)
    with pytest.raises(DatabaseFault):
        visited.built.register()
    visited.built.app.config.update(PRODUCTION)
    response = visited.built.register()
    assert (response.status_code, response.mimetype) == (500, "text/html")
    assert (visited.built.rows(), visited.visits()) == ([], [])


# the answer


def test_the_answer_and_the_stored_row_are_of_what_was_checked(built: Built) -> None:
    response = built.register(email="Ann@EXAMPLE.com", username="ｊｏｈｎ")
    assert response.status_code == 201
    row = built.row()
    assert (row["email"], row["username"]) == ("ann@example.com", "john")
    assert response.get_json() == {"id": row["id"], "email": "ann@example.com", "username": "john"}


def test_a_serializer_of_ones_own_may_do_without_a_password(build: Builder) -> None:
    class Passwordless(Schema):
        email = fields.String(required=True)

    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(254), unique=True)
            password_hash: Mapped[str | None] = mapped_column(String(256))
            email_verified_at: Mapped[datetime | None]

        return User

    built = build(model, registration={"REGISTER_SERIALIZER_CLASS": Passwordless})
    assert built.post(REGISTER, {"email": "ann@example.com"}).status_code == 201
    assert built.row()["password_hash"] is None


def test_a_violation_where_nothing_unique_was_sent_is_an_error_of_the_object(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str | None] = mapped_column(String(254), unique=True)
            password_hash: Mapped[str] = mapped_column(String(256))
            nickname: Mapped[str] = mapped_column(String(20))
            __table_args__ = (CheckConstraint("nickname <> 'root'"),)

        return User

    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": False})
    answer = built.register(email=OMITTED, nickname="root")
    assert field_errors(answer).keys() == {"_schema"}
    assert built.rows() == []


@pytest.mark.parametrize("verification", [True, False])
def test_what_an_account_violates_is_its_own_fault_though_the_application_has_written_too(
    build: Builder, verification: bool
) -> None:
    built = build(
        partial(with_visits, model=models.named_unique), registration={"REGISTER_VERIFICATION_ENABLED": verification}
    )
    built.app.before_request(lambda: built.db.session.add(built.User.visit(page="sign-up")))
    assert field_errors(built.register(username="root")).keys() == {"_schema"}
    assert built.rows() == []


def test_a_nested_schema_may_make_new_rows_of_the_users_own(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class Pet(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str] = mapped_column(String(20))
            owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))

        return models.declared(username=Column(String(20), nullable=False), pets=relationship(Pet))(db)

    class WithPet(Account):
        @post_load
        def add_pet(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
            pet = built.User.pets.property.mapper.class_
            return {**data, "pets": [pet(name="Rex")]}

    built = build(model, registration={"REGISTER_SERIALIZER_CLASS": WithPet})
    assert built.post(REGISTER, sent()).status_code == 201
    with built.app.app_context():
        assert [pet.name for pet in built.db.session.scalars(select(built.User)).one().pets] == ["Rex"]


def of_a_team(db: SQLAlchemy, backref: str | None = None) -> type[Any]:
    """A user who may belong to a team."""

    class Team(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)

    team_id: Column[int | None] = Column(ForeignKey(Team.id), nullable=True)
    team = relationship(Team, backref=backref)
    return models.declared(username=Column(String(20)), team_id=team_id, team=team)(db)


def build_with_one_team(build: Builder, *, backref: str | None = None, **registration: object) -> Built:
    """Build an app whose users may belong to a team, and store team 1."""
    built = build(partial(of_a_team, backref=backref), registration=registration)
    with built.app.app_context():
        built.db.session.add(team_class(built)())
        built.db.session.commit()
    return built


def team_class(built: Built) -> Any:
    return built.User.team.property.mapper.class_


def test_a_user_may_belong_to_a_row_that_is_there_already(build: Builder) -> None:
    class IntoTheTeam(Account):
        @post_load
        def join(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
            return {**data, "team": built.db.session.get(team_class(built), 1)}

    built = build_with_one_team(build, REGISTER_SERIALIZER_CLASS=IntoTheTeam)
    assert built.post(REGISTER, sent()).status_code == 201
    assert built.row()["team_id"] == 1


def test_what_refers_to_another_table_is_not_taken_by_whoever_refers_to_it_first(build: Builder) -> None:
    built = build_with_one_team(build, USER_EDITABLE_FIELDS=["username", "team_id"])
    assert built.register(team=OMITTED, team_id=1).status_code == 201
    assert built.register(team=OMITTED, team_id=1).get_json()["errors"].keys() == {"email"}
    assert built.register(team=OMITTED, team_id=1, email="bob@example.com").status_code == 201


@pytest.mark.filterwarnings("ignore:Object of type <User> not in session:sqlalchemy.exc.SAWarning")
def test_a_user_may_stand_among_those_of_a_row_that_is_there_already(build: Builder) -> None:
    class IntoTheTeam(Account):
        @post_load
        def join(self, data: dict[str, Any], **_: Any) -> Any:
            team: Any = built.db.session.get(team_class(built), 1)
            assert team.members == []
            return built.User(email=data["email"], username=data["username"], password_hash="of its own", team=team)

    built = build_with_one_team(build, backref="members", REGISTER_SERIALIZER_CLASS=IntoTheTeam)
    assert built.post(REGISTER, sent()).status_code == 201
    assert built.row()["team_id"] == 1
