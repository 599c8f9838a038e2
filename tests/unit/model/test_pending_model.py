"""The application's table of pending registrations: how it is found, what it has, and what is refused."""

from __future__ import annotations

import logging
import re
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from marshmallow import fields
from sqlalchemy.orm import Mapped, mapped_column

from flask_rest_registration import ConfigurationError, DefaultRegisterUserSerializer, PendingRegistrationMixin
from tests.support import models
from tests.support.apps import RESEND, VERIFY, Builder, Built, declare_pending
from tests.support.clock import Clock, at
from tests.support.databases import CHOSEN
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.pending import ANN, EMAIL_FIRST, WITH_RESEND, ask, link_to
from tests.support.statements import recorded

NAMED = "REST_REGISTRATION_PENDING_REGISTRATION_MODEL"
MIXIN = "(PendingRegistrationMixin, db.Model)"
NO_FAULT = "0 errors, 0 warnings\n"

Declare = Callable[[SQLAlchemy], Any]
Settings = dict[str, object]

both_ways = pytest.mark.parametrize("settings", [WITH_RESEND, EMAIL_FIRST], ids=["resend", "e-mail first"])


def pending(name: str = "Waiting", **attributes: Any) -> Declare:
    """Make what declares a model of pending registrations, with columns and options of the application's own."""
    return lambda db: type(name, (PendingRegistrationMixin, db.Model), attributes)


def text(**options: Any) -> Any:
    return mapped_column(sa.String(254), nullable=False, **options)


def beside(*others: Declare, users: models.Model = models.minimal, app: list[Flask] | None = None) -> models.Model:
    """Make the function that declares the users and other models beside them, which are in ``User.others``.

    They are kept there because SQLAlchemy's registry alone lets go of a class.

    :param app: with the app in it, the setting chooses the last of them.
    """

    def model(db: SQLAlchemy) -> type[Any]:
        user = users(db)
        user.others = [declare(db) for declare in others]
        if app:
            app[0].config[NAMED] = [user, *user.others][-1]
        return user

    return model


def faults_of(built: Built) -> list[str]:
    """Return what both the command ``check`` and the first request refuse the app for."""
    outcome = built.command("check")
    assert outcome.exit_code == 1, outcome.output
    faults = re.findall(r"^error: (.*)$", outcome.output, re.MULTILINE)
    assert outcome.output.endswith(f"\n{len(faults)} error{'s' * (len(faults) != 1)}, 0 warnings\n")
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError) as raised:
        built.post(RESEND, {"email": ANN})
    assert list(raised.value.faults) == faults
    assert statements.kinds == []
    return faults


def refused_for(built: Built, *words: str) -> None:
    """Check that an app is refused for one fault, which has these words and says how it is fixed."""
    (fault,) = faults_of(built)
    assert lacking(fault, *words, "Fix: ") == []


def rows_of(built: Built, model: Any) -> list[Any]:
    with built.app.app_context():
        return list(built.db.session.scalars(sa.select(model)))


def works(built: Built, smtp: RecordingServer, **changes: object) -> None:
    """Sign up with e-mail first, to the end."""
    assert built.command("check").output.endswith(NO_FAULT)
    answer = built.post(VERIFY, {**link_to(built, smtp), **built.body(**changes)})
    assert answer.status_code == 201, answer.text


def below_an_abstract_class(db: SQLAlchemy) -> object:
    base = pending("Abstract", __abstract__=True, note=mapped_column(sa.String(20)))(db)
    return type("Waiting", (base,), {})


def refuse(self: object, invited_by: str) -> None:
    raise AssertionError("the constructor was called")


@pytest.mark.parametrize(
    "declare",
    [
        pending("AskedFor"),
        below_an_abstract_class,
        pending(__init__=refuse),
        pending(email=text(unique=True, index=True)),
    ],
    ids=["any name", "abstract class", "constructor", "unique index"],
)
def test_the_only_subclass_of_the_mixin_is_used(build: Builder, smtp: RecordingServer, declare: Declare) -> None:
    works(build(beside(declare), registration=EMAIL_FIRST), smtp)


@both_ways
def test_no_model_is_an_error_until_one_is_declared(build: Builder, smtp: RecordingServer, settings: Settings) -> None:
    built = build(models.minimal, registration=settings, tables=False)
    refused_for(built, f"add class PendingRegistration{MIXIN}", "migration", "flask_rest_registration")
    late = declare_pending(built.db, built.User)
    with built.app.app_context():
        built.db.create_all()
    if settings is EMAIL_FIRST:
        works(built, smtp)
    else:
        ask(built)
    assert len(rows_of(built, late)) == 1


@both_ways
def test_two_models_are_an_error_that_names_both(build: Builder, settings: Settings) -> None:
    built = build(beside(pending("One"), pending("Other")), registration=settings)
    refused_for(built, "more than one", f"{__name__}.One'", f"{__name__}.Other'", "PENDING_REGISTRATION_MODEL")


@pytest.mark.parametrize("by_path", [False, True], ids=["class", "dotted path"])
def test_of_two_models_the_setting_chooses_one(
    build: Builder, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch, by_path: bool
) -> None:
    module, app = types.ModuleType("shop_models"), list[Flask]()
    monkeypatch.setitem(sys.modules, "shop_models", module)
    model = beside(pending("One"), pending("Other"), app=None if by_path else app)
    config = {NAMED: "shop_models.Chosen"} if by_path else None
    built = build(model, registration=EMAIL_FIRST, config=config, before_init=app.append)
    one, other = built.User.others
    vars(module)["Chosen"] = other
    works(built, smtp)
    assert (len(rows_of(built, one)), len(rows_of(built, other))) == (0, 1)


NO_MODELS = [type("NoModel", (), {}), type("MixinAlone", (PendingRegistrationMixin,), {}), PendingRegistrationMixin]


@pytest.mark.parametrize("cls", [*NO_MODELS, None], ids=lambda cls: str(cls))
def test_a_class_that_is_no_such_model_is_refused_with_the_fix(build: Builder, cls: type[Any] | None) -> None:
    app: list[Flask] = []
    model, config = (models.minimal, {NAMED: cls}) if cls else (beside(app=app), None)  # None: the model of the users
    built = build(model, pending=True, registration=EMAIL_FIRST, config=config, before_init=app.append)
    name = cls.__name__ if cls else "User"
    refused_for(built, f"PENDING_REGISTRATION_MODEL is {name}", f"class {name}{MIXIN}")


def test_while_nothing_needs_the_model_nobody_looks_for_it(build: Builder) -> None:
    for config in ({}, {NAMED: "no_such_module.Waiting"}):
        built = build(beside(pending("One"), pending("Unfit", region=text())), config=config)
        assert built.command("check").output.endswith(NO_FAULT)
        assert built.register(email=f"ann{len(config)}@example.com").status_code == 201


def test_the_table_has_these_columns_and_no_others(build: Builder) -> None:
    inspector, table = sa.inspect(build(pending=True, registration=EMAIL_FIRST).engine), "pending_registration"
    columns = {column["name"]: column for column in inspector.get_columns(table)}
    assert [name for name, column in columns.items() if column["nullable"]] == []
    id_type = columns.pop("id")["type"]
    assert isinstance(id_type, sa.Uuid) or (CHOSEN == "sqlite" and str(id_type) == "CHAR(32)")
    email = columns.pop("email")["type"]
    assert isinstance(email, sa.String)
    assert email.length == 254
    kinds = {name: type(column["type"]).__name__ for name, column in columns.items()}
    assert kinds == {"sent_at": "BIGINT", "next_mail_at": "BIGINT", "mails": "INTEGER", "code_attempts": "INTEGER"}
    assert inspector.get_pk_constraint(table)["constrained_columns"] == ["id"]
    assert [each["column_names"] for each in inspector.get_unique_constraints(table)] == [["email"]]
    assert inspector.get_foreign_keys(table) == []


def test_a_row_holds_the_longest_address_and_any_time(build: Builder, clock: Clock, smtp: RecordingServer) -> None:
    clock.time = 2**32
    longest = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 53}.example"
    assert len(longest) == 254
    built = build(models.minimal, pending=True, registration=EMAIL_FIRST)
    link, row = link_to(built, smtp, longest), built.pending_row()
    assert (row["email"], row["sent_at"], row["next_mail_at"]) == (longest, 2**32, 2**32 + 60)
    assert link["user_id"] == str(row["id"])


def test_nullable_columns_and_defaults_are_left_alone(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    def context(request: object, waiting: Any, context: dict[str, Any]) -> dict[str, Any]:
        seen.append((waiting.nullable, waiting.usual, waiting.callable, waiting.server))
        return context

    columns = {
        "nullable": mapped_column(sa.String(20)),
        "usual": text(default="web"),
        "callable": mapped_column(sa.DateTime, nullable=False, default=lambda: at(0)),
        "server": text(server_default="web"),
    }
    seen: list[tuple[object, ...]] = []
    settings = {**EMAIL_FIRST, "VERIFICATION_TEMPLATE_CONTEXT_BUILDER": context}
    built = build(beside(pending(**columns)), registration=settings)
    works(built, smtp)
    clock.move(60)
    ask(built)
    (row,) = rows_of(built, built.User.others[0])
    assert (row.nullable, row.usual, row.callable, row.server) == (None, "web", at(0), "web")
    # What hooks get has the defaults too; the command "check" has called them with a sample before.
    assert (seen[-2:], row.mails) == ([(None, "web", at(0), "web")] * 2, 2)


def filled_by_the_mapper(role: str) -> Declare:
    filled = mapped_column(sa.Integer, nullable=False)
    return pending(region=filled, __mapper_args__={role: filled, "polymorphic_identity": 7})


@pytest.mark.parametrize(
    "declare",
    [
        pending(region=mapped_column("the region", sa.String(20), nullable=False)),
        filled_by_the_mapper("version_id_col"),
        filled_by_the_mapper("polymorphic_on"),
        pending(__init__=models.filled_with(region="north"), region=text()),
    ],
    ids=["by nobody", "version counter", "discriminator", "constructor"],
)
def test_a_column_that_must_have_a_value_and_no_default_is_refused(build: Builder, declare: Declare) -> None:
    built = build(beside(declare), registration=WITH_RESEND)
    refused_for(built, "A row of Waiting", "without region", "make the column nullable", "a default")


MANY = sa.text("mails > 1")
PARTIAL = sa.Index("ux_waiting", "email", unique=True, sqlite_where=MANY, postgresql_where=MANY)
NOT_UNIQUE = [sa.UniqueConstraint("email", "mails"), PARTIAL, sa.Index("ix_waiting", "email")]


@pytest.mark.parametrize("index", NOT_UNIQUE, ids=["composite", "partial", "index"])
def test_an_address_that_is_not_unique_is_refused_with_the_fix(build: Builder, index: Any) -> None:
    built = build(beside(pending(email=text(), __table_args__=(index,))), registration=WITH_RESEND)
    refused_for(built, "Waiting.email is not unique", "as the mixin declares it", "unique=True")


def test_a_table_in_another_database_than_the_users_is_refused(build: Builder) -> None:
    for model in (beside(pending(), users=models.other_bind), beside(pending(__bind_key__="accounts"))):
        built = build(model, registration=WITH_RESEND)
        refused_for(built, "Waiting is in another database than User", "the __bind_key__ of User")


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

    faults = faults_of(build(beside(spread), registration=WITH_RESEND, tables=False))
    assert any(not lacking(fault, "Waiting", "2 tables", "joined inheritance") for fault in faults), faults


def with_flag(name: str) -> models.Model:
    return models.declared(email_verified_at=None, **{name: mapped_column(sa.Boolean, default=False)})


def test_all_that_is_wrong_is_in_one_message(build: Builder) -> None:
    declared = pending(email=text(), region=text(), campaign=text(), __bind_key__="accounts")
    of_table = ["without region", "without campaign", "Waiting.email is not unique", "in another database"]
    for model, words in (
        (beside(declared), of_table),
        (beside(pending(region=text()), users=with_flag("is_active")), ["User.is_active", "without region"]),
        (with_flag("is_active"), ["User.is_active", "no model of pending registrations"]),
    ):
        found = faults_of(build(model, registration=WITH_RESEND))
        named = [[word for word in words if word in fault] for fault in found]
        assert sorted(named) == sorted([word] for word in words)
        assert all("Fix: " in fault for fault in found)


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
@pytest.mark.parametrize("flag", ["is_active", "active"])
def test_resend_is_refused_where_the_flag_locks_people_out(build: Builder, flag: str, named: bool) -> None:
    chosen = {"USER_VERIFICATION_FLAG_FIELD": flag} if named else {}
    built = build(with_flag(flag), pending=True, registration={**WITH_RESEND, **chosen})
    fix = "email_verified_at = db.Column(db.DateTime)"
    refused_for(built, "REGISTER_VERIFICATION_RESEND_ENABLED", f"User.{flag}", "lock", fix)


@pytest.mark.parametrize("flag", ["is_active", "active"])
def test_e_mail_first_allows_such_a_flag_and_does_not_warn(
    build: Builder, smtp: RecordingServer, caplog: pytest.LogCaptureFixture, flag: str
) -> None:
    built = build(with_flag(flag), pending=True, registration=EMAIL_FIRST)
    works(built, smtp)
    assert built.row()[flag] is True
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


#: What links and codes are sent in.
NAMES = ("user_id", "timestamp", "signature", "code")


def with_columns(*names: str) -> models.Model:
    return models.declared(**{name: mapped_column(sa.String(20)) for name in names})


def test_fields_called_like_those_of_the_link_are_refused_with_e_mail_first(build: Builder) -> None:
    settings = {**EMAIL_FIRST, "USER_EDITABLE_FIELDS": [*NAMES]}
    found = faults_of(build(with_columns(*NAMES), pending=True, registration=settings))
    assert [[name for name in NAMES if repr(name) in fault] for fault in found] == [[name] for name in NAMES]
    assert [lacking(fault, "REGISTER_EMAIL_FIRST", "data_key") for fault in found] == [[]] * len(NAMES)


def reading(**names: str) -> type[Any]:
    """Make a serializer that reads fields under other names."""
    return DefaultRegisterUserSerializer.from_dict({name: fields.String(data_key=names[name]) for name in names})


def test_the_data_key_decides_what_a_field_is_called(build: Builder, smtp: RecordingServer) -> None:
    settings: Settings = {**EMAIL_FIRST, "REGISTER_SERIALIZER_CLASS": reading(code="invitation")}
    built = build(with_columns("code"), pending=True, registration=settings)
    works(built, smtp, invitation="x-47")
    assert built.row()["code"] == "x-47"
    settings = {**EMAIL_FIRST, "REGISTER_SERIALIZER_CLASS": reading(invitation="code")}
    refused_for(build(with_columns("invitation"), pending=True, registration=settings), "'code'")


def test_with_the_account_at_sign_up_such_names_are_the_applications_own(build: Builder) -> None:
    settings = {**WITH_RESEND, "USER_EDITABLE_FIELDS": [*NAMES]}
    built = build(with_columns(*NAMES), pending=True, registration=settings)
    assert built.command("check").output.endswith(NO_FAULT)
    assert built.register(**dict.fromkeys(NAMES, "mine")).status_code == 201
    assert built.row()["code"] == "mine"


@both_ways
@pytest.mark.parametrize("name", models.ALL)
def test_every_kind_of_user_model_works(build: Builder, smtp: RecordingServer, name: str, settings: Settings) -> None:
    built = build(models.ALL[name], pending=True, registration=settings)
    if settings is EMAIL_FIRST:
        works(built, smtp)
    elif name == "is_active_flag":  # which locks people out
        refused_for(built, "User.is_active")
        return
    else:
        assert built.command("check").output.endswith(NO_FAULT)
        assert built.register().status_code == 201
        assert built.verify(link_to(built, smtp)).status_code == 200
        assert [mail["To"] for mail in smtp.messages] == [ANN, ANN]
    row = built.row()
    assert (row[built.email_field], built.pending_row()["email"]) == (ANN, ANN)
    assert [flag for flag in models.FLAGS if row.get(flag)], row
