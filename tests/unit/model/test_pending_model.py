"""The application's table of pending registrations: how it is found, what it has, and what is refused."""

from __future__ import annotations

import logging
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from marshmallow import fields
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from flask_rest_registration import ConfigurationError, DefaultRegisterUserSerializer, PendingRegistrationMixin
from tests.support import models
from tests.support.apps import CHECK_LINK, REGISTER, RESEND, VERIFY, Builder, Built, declare_pending
from tests.support.clock import Clock, at
from tests.support.databases import CHOSEN
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.statements import recorded

ANN = "ann@example.com"
WITH_RESEND = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
EMAIL_FIRST = {"REGISTER_EMAIL_FIRST": True}
NAMED = "REST_REGISTRATION_PENDING_REGISTRATION_MODEL"
MIXIN = "(PendingRegistrationMixin, db.Model)"

FLAGS = ("email_verified_at", "confirmed_at", "is_verified", "email_verified", "is_active")

Declare = Callable[[SQLAlchemy], object]


def pending(name: str = "Waiting", **attributes: Any) -> Declare:
    """Make what declares a model of pending registrations, with columns and options of the application's own."""

    def declare(db: SQLAlchemy) -> type[Any]:
        return type(name, (PendingRegistrationMixin, db.Model), attributes)

    return declare


def beside(*others: Declare, users: models.Model = models.minimal) -> models.Model:
    """Make the function that declares the users and other models beside them, which are in ``User.others``.

    They are kept there because SQLAlchemy's registry alone lets go of a class.
    """

    def model(db: SQLAlchemy) -> type[Any]:
        user = users(db)
        user.others = [declare(db) for declare in others]
        return user

    return model


def faults_of(built: Built) -> list[str]:
    """Return what both the command ``check`` and the first request refuse the app for."""
    outcome = built.command("check")
    lines = outcome.output.splitlines()
    assert outcome.exit_code == 1, outcome.output
    assert lines.pop() == f"{len(lines)} errors, 0 warnings"
    faults = [line.removeprefix("error: ") for line in lines]
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError) as raised:
        built.post(RESEND, {"email": ANN})
    assert list(raised.value.faults) == faults
    assert statements.kinds == []
    return faults


def the_fault_of(built: Built) -> str:
    """Return the one fault of an app, which says how it is fixed."""
    (fault,) = faults_of(built)
    assert "Fix: " in fault
    return fault


def rows_of(built: Built, model: Any) -> list[Any]:
    with built.app.app_context():
        return list(built.db.session.scalars(sa.select(model)))


def works(built: Built, smtp: RecordingServer) -> None:
    """Sign up with e-mail first, to the end."""
    assert built.command("check").output == "0 errors, 0 warnings\n"
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    answer = built.post(VERIFY, {**values_of(link_in(smtp.messages[-1])), **built.body()})
    assert answer.status_code == 201, answer.text


# How it is found


def test_the_one_subclass_of_the_mixin_is_found_whatever_its_name(build: Builder, smtp: RecordingServer) -> None:
    works(build(beside(pending("AskedFor")), registration=EMAIL_FIRST), smtp)


def test_an_abstract_subclass_in_between_is_no_second_model(build: Builder, smtp: RecordingServer) -> None:
    def declare(db: SQLAlchemy) -> object:
        class Abstract(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
            __abstract__ = True
            note: Mapped[str | None] = mapped_column(sa.String(20))

        class Waiting(Abstract):
            pass

        return Waiting

    works(build(beside(declare), registration=EMAIL_FIRST), smtp)


def test_a_model_that_is_declared_after_init_app_is_found(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.minimal, registration=EMAIL_FIRST, tables=False)
    fault = the_fault_of(built)
    assert lacking(fault, f"add class PendingRegistration{MIXIN}", "migration", "flask_rest_registration") == []
    late = declare_pending(built.db, built.User)
    with built.app.app_context():
        built.db.create_all()
    works(built, smtp)
    assert len(rows_of(built, late)) == 1


@pytest.mark.parametrize("settings", [WITH_RESEND, EMAIL_FIRST], ids=["resend", "e-mail first"])
def test_no_model_is_an_error_that_says_what_to_add(build: Builder, settings: dict[str, object]) -> None:
    fault = the_fault_of(build(models.minimal, registration=settings))
    assert lacking(fault, f"add class PendingRegistration{MIXIN}", "migration", "flask_rest_registration") == []


@pytest.mark.parametrize("settings", [WITH_RESEND, EMAIL_FIRST], ids=["resend", "e-mail first"])
def test_two_models_are_an_error_that_names_both(build: Builder, settings: dict[str, object]) -> None:
    fault = the_fault_of(build(beside(pending("One"), pending("Other")), registration=settings))
    assert lacking(fault, "more than one", f"{__name__}.One'", f"{__name__}.Other'", "PENDING_REGISTRATION_MODEL") == []


def test_of_two_models_the_setting_chooses_one_by_class(build: Builder, smtp: RecordingServer) -> None:
    apps: list[Flask] = []

    def choose(db: SQLAlchemy) -> type[Any]:
        user = beside(pending("One"), pending("Other"))(db)
        apps[0].config[NAMED] = user.others[1]
        return user

    built = build(choose, registration=EMAIL_FIRST, before_init=apps.append)
    works(built, smtp)
    assert rows_of(built, built.User.others[0]) == []
    assert len(rows_of(built, built.User.others[1])) == 1


def test_of_two_models_the_setting_chooses_one_by_dotted_path(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("shop_models")
    monkeypatch.setitem(sys.modules, "shop_models", module)
    built = build(
        beside(pending("One"), pending("Other")), registration=EMAIL_FIRST, config={NAMED: "shop_models.Chosen"}
    )
    vars(module)["Chosen"] = built.User.others[0]
    works(built, smtp)
    assert len(rows_of(built, built.User.others[0])) == 1


def test_a_dotted_path_that_leads_nowhere_is_an_error_that_names_it(build: Builder) -> None:
    built = build(models.minimal, registration=EMAIL_FIRST, config={NAMED: "no_such_module.Waiting"})
    (fault,) = faults_of(built)
    assert lacking(fault, "PENDING_REGISTRATION_MODEL", "no_such_module") == []


class NoModel:
    """A class that no database knows."""


class MixinAlone(PendingRegistrationMixin):
    """The mixin without db.Model."""


@pytest.mark.parametrize("cls", [NoModel, MixinAlone, PendingRegistrationMixin], ids=lambda cls: cls.__name__)
def test_a_class_that_is_no_model_is_refused_with_the_way_to_declare_it(build: Builder, cls: type[Any]) -> None:
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST, config={NAMED: cls})
    fault = the_fault_of(built)
    assert lacking(fault, f"PENDING_REGISTRATION_MODEL is {cls.__name__}", f"class {cls.__name__}{MIXIN}") == []


def test_a_model_without_the_mixin_is_refused_with_the_way_to_declare_it(build: Builder) -> None:
    apps: list[Flask] = []

    def choose(db: SQLAlchemy) -> type[Any]:
        user = models.minimal(db)
        apps[0].config[NAMED] = user
        return user

    fault = the_fault_of(build(choose, pending=True, registration=WITH_RESEND, before_init=apps.append))
    assert lacking(fault, "PENDING_REGISTRATION_MODEL is User", f"class User{MIXIN}") == []


@pytest.mark.parametrize("value", [7, "Waiting", [], {}], ids=repr)
def test_what_is_neither_class_nor_path_is_refused_at_the_start(build: Builder, value: object) -> None:
    with pytest.raises(ConfigurationError, match="PENDING_REGISTRATION_MODEL"):
        build(models.minimal, registration=EMAIL_FIRST, config={NAMED: value})


def test_while_nothing_needs_the_model_nobody_looks_for_it(build: Builder) -> None:
    for config in ({}, {NAMED: "no_such_module.Waiting"}):
        unfit = pending("Unfit", region=mapped_column(sa.String(20), nullable=False))
        built = build(beside(pending("One"), unfit), config=config)
        assert built.command("check").output == "0 errors, 0 warnings\n"
        assert built.register(email=f"ann{len(config)}@example.com").status_code == 201


# Its columns


def test_the_table_has_these_columns_and_no_others(build: Builder) -> None:
    built = build(pending=True, registration=EMAIL_FIRST)
    inspector = sa.inspect(built.engine)
    table = "pending_registration"
    columns = {column["name"]: column for column in inspector.get_columns(table)}
    assert [name for name, column in columns.items() if column["nullable"]] == []
    assert sorted(columns) == ["code_attempts", "email", "id", "mails", "next_mail_at", "sent_at"]
    assert isinstance(columns["email"]["type"], sa.String)
    assert columns["email"]["type"].length == 254
    kinds = {name: type(columns[name]["type"]).__name__ for name in ("sent_at", "next_mail_at", "mails")}
    assert kinds == {"sent_at": "BIGINT", "next_mail_at": "BIGINT", "mails": "INTEGER"}
    assert type(columns["code_attempts"]["type"]).__name__ == "INTEGER"
    id_type = columns["id"]["type"]
    assert isinstance(id_type, sa.Uuid) or (CHOSEN == "sqlite" and str(id_type) == "CHAR(32)")
    assert inspector.get_pk_constraint(table)["constrained_columns"] == ["id"]
    unique = [each["column_names"] for each in inspector.get_unique_constraints(table)]
    assert unique == [["email"]]
    assert inspector.get_foreign_keys(table) == []


def test_a_row_has_whole_seconds_and_a_random_id_and_nothing_of_a_person(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST)
    for name in ("ann", "bob"):
        assert built.post(REGISTER, {"email": f"{name}@example.com"}).status_code == 202
    rows = built.pending_rows()
    ids = [row.pop("id") for row in rows]
    counts = {"sent_at": clock.time, "next_mail_at": clock.time + 60, "mails": 1, "code_attempts": 0}
    assert rows == [{"email": f"{name}@example.com", **counts} for name in ("ann", "bob")]
    assert all(isinstance(each, uuid.UUID) and each.version == 4 for each in ids)
    assert values_of(link_in(smtp.messages[0]))["user_id"] == str(ids[0])


def test_times_beyond_the_year_2038_are_stored(build: Builder, clock: Clock) -> None:
    clock.time = 2**32
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST)
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    row = built.pending_row()
    assert (row["sent_at"], row["next_mail_at"]) == (2**32, 2**32 + 60)


def test_the_row_has_the_domain_in_ascii_and_the_account_in_unicode(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST)
    assert built.post(REGISTER, {"email": "Ann@BÜCHER.example"}).status_code == 202
    assert built.pending_row()["email"] == "ann@xn--bcher-kva.example"
    assert smtp.envelopes[0].recipients == ["ann@xn--bcher-kva.example"]
    link = values_of(link_in(smtp.message))
    assert built.post(CHECK_LINK, link).get_json() == {"email": "ann@bücher.example"}
    assert built.post(VERIFY, {**link, **built.body(email="ann@bücher.example")}).status_code == 201
    assert built.row()["email"] == "ann@bücher.example"


def test_the_spellings_of_one_address_have_one_row(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST)
    for address in ("ann@bücher.example", "ANN@xn--bcher-kva.example", "ann@BÜCHER.EXAMPLE"):
        assert built.post(REGISTER, {"email": address}).status_code == 202
    assert built.pending_row()["email"] == "ann@xn--bcher-kva.example"
    assert len(smtp.messages) == 1


def test_addresses_that_a_collation_takes_for_one_have_a_row_each(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST)
    for address in ("ann@gmàil.example", "ann@gmail.example"):
        assert built.post(REGISTER, {"email": address}).status_code == 202
    assert [row["email"] for row in built.pending_rows()] == ["ann@gmail.example", "ann@xn--gmil-1na.example"]
    assert [each.recipients for each in smtp.envelopes] == [["ann@xn--gmil-1na.example"], ["ann@gmail.example"]]


def test_the_longest_address_has_a_row(build: Builder) -> None:
    longest = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 53}.example"
    assert len(longest) == 254
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST)
    assert built.post(REGISTER, {"email": longest}).status_code == 202
    assert built.pending_row()["email"] == longest


# Further columns


def columns_that_need_no_value() -> dict[str, Any]:
    return {
        "nullable": mapped_column(sa.String(20)),
        "with_default": mapped_column(sa.String(20), nullable=False, default="web"),
        "with_callable": mapped_column(sa.DateTime, nullable=False, default=lambda: at(0)),
        "with_server_default": mapped_column(sa.String(20), nullable=False, server_default="web"),
    }


def test_columns_that_are_nullable_or_have_a_default_are_left_to_it(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(beside(pending(**columns_that_need_no_value())), registration=EMAIL_FIRST)
    works(built, smtp)
    clock.move(60)
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    (row,) = rows_of(built, built.User.others[0])
    assert (row.nullable, row.with_default, row.with_callable, row.with_server_default) == (None, "web", at(0), "web")
    assert row.mails == 2


def test_what_the_constructor_does_is_left_out(build: Builder, smtp: RecordingServer) -> None:
    def refuse(self: object, invited_by: str) -> None:
        raise AssertionError("the constructor was called")

    works(build(beside(pending(__init__=refuse)), registration=EMAIL_FIRST), smtp)


def test_a_column_that_must_have_a_value_is_refused_with_the_fix(build: Builder) -> None:
    region = mapped_column("the region", sa.String(20), nullable=False)
    fault = the_fault_of(build(beside(pending(region=region)), registration=EMAIL_FIRST))
    assert lacking(fault, "A row of Waiting", "without region", "make the column nullable", "a default") == []


@pytest.mark.parametrize("role", ["version_id_col", "polymorphic_on"])
def test_a_column_that_only_the_mapper_would_fill_is_refused(build: Builder, role: str) -> None:
    filled = mapped_column(sa.Integer, nullable=False)
    declared = pending(filled=filled, __mapper_args__={role: filled, "polymorphic_identity": 7})
    assert "without filled" in the_fault_of(build(beside(declared), registration=EMAIL_FIRST))


def test_a_value_that_the_constructor_alone_gives_is_no_default(build: Builder) -> None:
    def fill(self: Any, **values: Any) -> None:
        self.region = "north"

    declared = pending(__init__=fill, region=mapped_column(sa.String(20), nullable=False))
    assert "without region" in the_fault_of(build(beside(declared), registration=WITH_RESEND))


# What is refused of the table


def composite(db: SQLAlchemy) -> object:
    class Waiting(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
        __table_args__ = (sa.UniqueConstraint("email", "mails"),)
        email: Mapped[str] = mapped_column(sa.String(254))

    return Waiting


def partial_index(db: SQLAlchemy) -> object:
    class Waiting(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
        email: Mapped[str] = mapped_column(sa.String(254))

        @declared_attr.directive
        @classmethod
        def __table_args__(cls) -> tuple[sa.Index]:
            only = sa.text("mails > 1")
            return (sa.Index("ux_waiting", "email", unique=True, sqlite_where=only, postgresql_where=only),)

    return Waiting


def plain_index(db: SQLAlchemy) -> object:
    class Waiting(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
        email: Mapped[str] = mapped_column(sa.String(254), index=True)

    return Waiting


@pytest.mark.parametrize("declare", [composite, partial_index, plain_index], ids=lambda each: each.__name__)
def test_an_address_that_is_not_unique_is_refused_with_the_fix(build: Builder, declare: Declare) -> None:
    fault = the_fault_of(build(beside(declare), registration=WITH_RESEND))
    assert lacking(fault, "Waiting.email is not unique", "as the mixin declares it", "unique=True") == []


def test_a_unique_index_in_place_of_the_constraint_will_do(build: Builder, smtp: RecordingServer) -> None:
    unique = mapped_column(sa.String(254), nullable=False, unique=True, index=True)
    works(build(beside(pending(email=unique)), registration=EMAIL_FIRST), smtp)


def on_accounts(db: SQLAlchemy) -> object:
    return pending(__bind_key__="accounts")(db)


@pytest.mark.parametrize(
    "model",
    [beside(pending(), users=models.other_bind), beside(on_accounts)],
    ids=["users on a bind", "pending registrations on a bind"],
)
def test_a_table_in_another_database_than_the_users_is_refused(build: Builder, model: models.Model) -> None:
    fault = the_fault_of(build(model, registration=WITH_RESEND))
    assert lacking(fault, "Waiting is in another database than User", "the __bind_key__ of User") == []


def test_all_that_is_wrong_with_the_table_is_in_one_message(build: Builder) -> None:
    declared = pending(
        email=mapped_column(sa.String(254), nullable=False),
        region=mapped_column(sa.String(20), nullable=False),
        campaign=mapped_column(sa.String(20), nullable=False),
        __bind_key__="accounts",
    )
    found = faults_of(build(beside(declared), registration=WITH_RESEND))
    words = ["without region", "without campaign", "Waiting.email is not unique", "in another database"]
    assert [[word for word in words if word in fault] for fault in found] == [[word] for word in words]
    assert all("Fix: " in fault for fault in found)


def test_what_does_not_go_with_the_accounts_is_in_the_same_message(build: Builder) -> None:
    declared = pending(region=mapped_column(sa.String(20), nullable=False))
    found = faults_of(build(beside(declared, users=with_flag("is_active")), registration=WITH_RESEND))
    assert [lacking("".join(found), "User.is_active", "without region"), len(found)] == [[], 2]


def test_a_missing_table_is_in_the_same_message_too(build: Builder) -> None:
    found = faults_of(build(with_flag("is_active"), registration=WITH_RESEND))
    assert [lacking("".join(found), "User.is_active", "no model of pending registrations"), len(found)] == [[], 2]


# Flags that lock people out


def with_flag(name: str) -> models.Model:
    return models.declared(email_verified_at=None, **{name: mapped_column(sa.Boolean, default=False)})


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
@pytest.mark.parametrize("flag", ["is_active", "active"])
def test_resend_is_refused_where_the_flag_locks_people_out(build: Builder, flag: str, named: bool) -> None:
    chosen = {"USER_VERIFICATION_FLAG_FIELD": flag} if named else {}
    fault = the_fault_of(build(with_flag(flag), pending=True, registration={**WITH_RESEND, **chosen}))
    words = (
        "REGISTER_VERIFICATION_RESEND_ENABLED",
        f"User.{flag}",
        "lock",
        "email_verified_at = db.Column(db.DateTime)",
    )
    assert lacking(fault, *words) == []


@pytest.mark.parametrize("flag", ["is_active", "active"])
def test_e_mail_first_allows_such_a_flag_and_does_not_warn(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, flag: str
) -> None:
    built = build(with_flag(flag), pending=True, registration=EMAIL_FIRST)
    works(built, smtp)
    assert built.row()[flag] is True
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Fields of accounts that are called like those of links and codes

NAMES = ("user_id", "timestamp", "signature", "code")


def with_columns(*names: str) -> models.Model:
    return models.declared(**{name: mapped_column(sa.String(20)) for name in names})


@pytest.mark.parametrize("name", NAMES)
def test_a_field_called_like_one_of_the_link_is_refused_with_e_mail_first(build: Builder, name: str) -> None:
    settings = {**EMAIL_FIRST, "USER_EDITABLE_FIELDS": [name]}
    fault = the_fault_of(build(with_columns(name), pending=True, registration=settings))
    assert lacking(fault, "REGISTER_EMAIL_FIRST", repr(name), "data_key") == []


def test_all_fields_called_like_those_of_the_link_are_in_one_message(build: Builder) -> None:
    settings = {**EMAIL_FIRST, "USER_EDITABLE_FIELDS": [*NAMES]}
    found = faults_of(build(with_columns(*NAMES), pending=True, registration=settings))
    assert [[name for name in NAMES if repr(name) in fault] for fault in found] == [[name] for name in NAMES]


class InvitedBySomebody(DefaultRegisterUserSerializer):
    """Reads the column under another name."""

    code = fields.String(data_key="invitation")


class InvitationCalledCode(DefaultRegisterUserSerializer):
    """Reads another column under the name of the code."""

    invitation = fields.String(data_key="code")


def test_a_data_key_frees_a_field_of_such_a_name(build: Builder, smtp: RecordingServer) -> None:
    settings = {**EMAIL_FIRST, "REGISTER_SERIALIZER_CLASS": InvitedBySomebody}
    built = build(with_columns("code"), pending=True, registration=settings)
    assert built.post(REGISTER, {"email": ANN}).status_code == 202
    body = {**values_of(link_in(smtp.message)), **built.body(invitation="x-47")}
    assert built.post(VERIFY, body).status_code == 201
    assert built.row()["code"] == "x-47"


def test_a_data_key_that_is_such_a_name_is_refused(build: Builder) -> None:
    settings = {**EMAIL_FIRST, "REGISTER_SERIALIZER_CLASS": InvitationCalledCode}
    assert "'code'" in the_fault_of(build(with_columns("invitation"), pending=True, registration=settings))


def test_with_the_account_at_sign_up_such_names_are_the_applications_own(build: Builder) -> None:
    settings = {**WITH_RESEND, "USER_EDITABLE_FIELDS": [*NAMES]}
    built = build(with_columns(*NAMES), pending=True, registration=settings)
    assert built.command("check").output == "0 errors, 0 warnings\n"
    assert built.register(**dict.fromkeys(NAMES, "mine")).status_code == 201
    assert built.row()["code"] == "mine"


# Every kind of user model


@pytest.mark.parametrize("name", models.ALL)
def test_e_mail_first_works_with_every_kind_of_user_model(build: Builder, smtp: RecordingServer, name: str) -> None:
    built = build(models.ALL[name], pending=True, registration=EMAIL_FIRST)
    works(built, smtp)
    row = built.row()
    assert row[built.email_field] == ANN
    assert built.pending_row()["email"] == ANN
    assert [flag for flag in FLAGS if row.get(flag)], row


@pytest.mark.parametrize("name", [name for name in models.ALL if name != "is_active_flag"])
def test_resend_works_with_every_kind_of_user_model(build: Builder, smtp: RecordingServer, name: str) -> None:
    built = build(models.ALL[name], pending=True, registration=WITH_RESEND)
    assert built.command("check").output == "0 errors, 0 warnings\n"
    assert built.register().status_code == 201
    assert built.post(RESEND, {"email": ANN}).status_code == 202
    assert [message["To"] for message in smtp.messages] == [ANN, ANN]
    assert built.verify(link_in(smtp.messages[1])).status_code == 200
    row = built.row()
    assert [flag for flag in FLAGS if row.get(flag)], row


def test_a_table_in_joined_inheritance_is_refused(build: Builder) -> None:
    def spread(db: SQLAlchemy) -> type[Any]:
        class Thing(db.Model):  # type: ignore[misc,name-defined]
            __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}
            key: Mapped[int] = mapped_column(primary_key=True)
            kind: Mapped[str | None]

        class Waiting(PendingRegistrationMixin, Thing):
            __tablename__ = "waiting"
            __mapper_args__ = {"polymorphic_identity": "waiting"}
            key: Mapped[int] = mapped_column(sa.ForeignKey(Thing.key), primary_key=True)

        return Waiting

    built = build(beside(spread), registration=WITH_RESEND, tables=False)
    faults = faults_of(built)
    assert any(not lacking(fault, "Waiting", "2 tables", "joined inheritance") for fault in faults), faults
