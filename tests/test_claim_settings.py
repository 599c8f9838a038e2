"""What the settings about claims need: of each other, of the user model, and of the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import BigInteger, Boolean, DateTime, ForeignKey, Integer, String, event
from sqlalchemy.orm import mapped_column

from flask_rest_registration import ConfigurationError, DefaultUserProfileSerializer

from .support import models
from .support.answers import field_errors
from .support.apps import PASSWORD, Builder, Built
from .support.clock import Clock, at
from .support.links import link_in
from .support.mail_servers import RecordingServer
from .support.messages import lacking
from .support.statements import recorded

DAY = 24 * 3600
START = at(1_700_000_000)  # what the stopped clock says
OLD = START - timedelta(days=9000)
RESEND: dict[str, object] = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}
RECLAIM: dict[str, object] = {"REGISTER_RECLAIM_ENABLED": True}
REJECT: dict[str, object] = {"REGISTER_REJECTION_URL": "https://frontend.example/reject-user/"}
VERIFY: dict[str, object] = {"REGISTER_PASSWORD_AT": "verify"}
HIDE: dict[str, object] = {"REGISTER_HIDE_EXISTING_EMAIL": True, **VERIFY}
SWITCHES = [RESEND, RECLAIM, REJECT, VERIFY, HIDE]
EVERYTHING = {**RESEND, **RECLAIM, **REJECT, **HIDE}

each_switch = pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: next(iter(switch)))
each_that_deletes = pytest.mark.parametrize("switch", [RECLAIM, REJECT], ids=lambda switch: next(iter(switch)))


def refused_at_init(build: Builder, settings: dict[str, object], model: models.Model = models.claiming) -> str:
    """Return the message with which ``init_app`` refuses the settings."""
    with pytest.raises(ConfigurationError) as caught:
        build(model, registration=settings)
    return str(caught.value)


def refused_on_first_use(build: Builder, model: models.Model, settings: dict[str, object]) -> str:
    """Return the message with which the first request is refused, which is also what ``check`` finds."""
    built = build(model, registration=settings)
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    outcome = built.command("check")
    assert outcome.exit_code == 1
    for fault in caught.value.faults:
        assert f"error: {fault}\n" in outcome.output
    assert f"{len(caught.value.faults)} errors, 0 warnings" in outcome.output
    return str(caught.value)


def check(built: Built) -> str:
    """Return what ``check`` says of an app that works."""
    outcome = built.command("check")
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def with_columns(**attributes: Any) -> models.Model:
    """The smallest model that tells claims from other accounts, with some attributes replaced, added or left out."""
    return models.declared(
        **{
            "__table_args__": {"sqlite_autoincrement": True},
            "verification_sent_at": mapped_column(DateTime),
            "notice_sent_at": mapped_column(DateTime),
            **attributes,
        }
    )


def people(*, sent_at_above: bool) -> Callable[[SQLAlchemy], type[Any]]:
    """A joined inheritance whose flag stands in the lower table, or also the time of the link."""

    def model(db: SQLAlchemy) -> type[Any]:
        above = {"verification_sent_at": mapped_column(DateTime)}
        person = type(
            "Person",
            (db.Model,),
            {
                "__table_args__": {"sqlite_autoincrement": True},
                "id": mapped_column(Integer, primary_key=True),
                "email": mapped_column(String(254), unique=True, nullable=False),
                "password_hash": mapped_column(String(256), nullable=False),
                **(above if sent_at_above else {}),
            },
        )
        return type(
            "User",
            (person,),
            {
                "id": mapped_column(ForeignKey("person.id"), primary_key=True),
                "email_verified_at": mapped_column(DateTime),
                **({} if sent_at_above else above),
            },
        )

    return model


# An app that sets none of it


def test_without_the_column_nothing_is_different(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    built = build(models.minimal)
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
        assert built.verify(link_in(smtp.message)).status_code == 200
    assert statements.queries == ["INSERT", "SELECT", "UPDATE"]
    assert "sent_at" not in "".join(statements.sql)
    assert built.row()["email_verified_at"] == START


def test_with_the_column_the_insert_sets_it_and_the_activation_takes_it_back_by_the_same_statements(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(models.claiming)
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
    assert statements.queries == ["INSERT"]
    row = built.row()
    assert (row["verification_sent_at"], row["notice_sent_at"], row["email_verified_at"]) == (START, None, None)
    clock.move(60)
    with recorded(built.engine) as statements:
        assert built.verify(link_in(smtp.message)).status_code == 200
    assert statements.queries == ["SELECT", "UPDATE"]
    row = built.row()
    assert (row["verification_sent_at"], row["email_verified_at"]) == (None, START + timedelta(seconds=60))


def test_without_verification_the_column_stays_empty(build: Builder) -> None:
    built = build(models.claiming, registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert built.register().status_code == 201
    assert built.row()["verification_sent_at"] is None


def test_columns_of_other_names_are_named_by_settings(build: Builder, smtp: RecordingServer, clock: Clock) -> None:
    model = with_columns(
        verification_sent_at=None,
        notice_sent_at=None,
        linked=mapped_column("linked on", DateTime(timezone=True)),
        told=mapped_column("told on", DateTime),
    )
    names: dict[str, object] = {"USER_VERIFICATION_SENT_AT_FIELD": "linked", "USER_NOTICE_SENT_AT_FIELD": "told"}
    built = build(model, registration={**EVERYTHING, **names})
    body = {"email": "ann@example.com"}
    assert built.post("register/", body).status_code == 202
    assert built.row()["linked"].replace(tzinfo=None) == START  # PostgreSQL alone stores a zone
    assert built.row()["told"] is None


class Everything(Schema):
    """A serializer that hands on whatever a stranger says of the model's times."""

    email = fields.Email(required=True)
    password = fields.String(required=True)
    verification_sent_at = fields.DateTime()
    notice_sent_at = fields.DateTime()


@pytest.mark.parametrize("default", [None, OLD], ids=["no default", "default"])
@pytest.mark.parametrize("verification", [True, False])
def test_what_a_stranger_or_a_default_says_of_the_times_is_not_stored(
    build: Builder, clock: Clock, default: datetime | None, verification: bool
) -> None:
    model = with_columns(
        verification_sent_at=mapped_column(DateTime, default=default),
        notice_sent_at=mapped_column(DateTime, default=default),
    )
    settings = {"REGISTER_SERIALIZER_CLASS": Everything, "REGISTER_VERIFICATION_ENABLED": verification}
    built = build(model, registration=settings)
    old = "2000-01-01T00:00:00"
    sent = {"email": "ann@example.com", "password": PASSWORD, "verification_sent_at": old, "notice_sent_at": old}
    assert built.post("register/", sent).status_code == 201
    row = built.row()
    assert (row["verification_sent_at"], row["notice_sent_at"]) == (START if verification else None, None)


def test_reading_the_times_of_a_new_account_is_no_statement(build: Builder, clock: Clock) -> None:
    seen: list[object] = []

    def send(request: object, user: Any) -> None:
        with recorded(built.engine) as statements:
            seen.extend([user.notice_sent_at, user.email_verified_at, user.verification_sent_at])
        assert statements.queries == []

    model = with_columns(
        notice_sent_at=mapped_column(DateTime, default=OLD), email_verified_at=mapped_column(DateTime, default=OLD)
    )
    built = build(model, registration={"REGISTER_VERIFICATION_EMAIL_SENDER": send})
    assert built.register().status_code == 201
    assert seen == [None, None, START]


@pytest.mark.parametrize("name", ["verification_sent_at", "notice_sent_at"])
def test_strangers_cannot_be_let_to_write_the_times(build: Builder, name: str) -> None:
    message = refused_on_first_use(build, models.claiming, {"USER_EDITABLE_FIELDS": ["username", name]})
    assert lacking(message, "USER_EDITABLE_FIELDS", repr(name), "remove it") == []


def test_a_constructor_that_demands_the_times_is_given_none(build: Builder, clock: Clock) -> None:
    def construct(self: Any, email: str, verification_sent_at: object, notice_sent_at: object) -> None:
        self.email = email

    built = build(with_columns(__init__=construct))
    assert built.register().status_code == 201
    assert built.row()["verification_sent_at"] == START


# What settings need of each other


def test_everything_together_with_a_good_model_is_fine(build: Builder) -> None:
    assert check(build(with_columns(), registration=EVERYTHING)) == "0 errors, 0 warnings\n"


@each_switch
def test_each_switch_alone_is_fine(build: Builder, switch: dict[str, object]) -> None:
    assert check(build(with_columns(), registration=switch)) == "0 errors, 0 warnings\n"


@each_switch
def test_each_switch_needs_verification(build: Builder, switch: dict[str, object]) -> None:
    message = refused_at_init(build, {**switch, "REGISTER_VERIFICATION_ENABLED": False})
    for name in switch:
        assert lacking(message, f"setting {name} is about accounts that wait", f"remove {name}, or switch") == []


def test_without_verification_what_is_no_switch_is_fine(build: Builder) -> None:
    off = {
        "REGISTER_VERIFICATION_ENABLED": False,
        "REGISTER_PASSWORD_AT": "register",
        "REGISTER_RECLAIM_ENABLED": False,
    }
    assert build(registration=off).register().status_code == 201


def test_resending_with_reclaiming_needs_a_way_out_for_the_owner(build: Builder) -> None:
    message = refused_at_init(build, {**RESEND, **RECLAIM})
    assert (
        lacking(
            message,
            "REGISTER_VERIFICATION_RESEND_ENABLED",
            "REGISTER_RECLAIM_ENABLED",
            "needs REGISTER_REJECTION_URL",
            "keeps his claim",
        )
        == []
    )
    build(models.claiming, registration={**RESEND, **RECLAIM, **REJECT})


def test_hiding_needs_the_password_at_verification(build: Builder) -> None:
    message = refused_at_init(build, {"REGISTER_HIDE_EXISTING_EMAIL": True})
    assert (
        lacking(message, "REGISTER_HIDE_EXISTING_EMAIL needs REGISTER_PASSWORD_AT 'verify'", "stranger's password")
        == []
    )


@pytest.mark.parametrize("serializer", [DefaultUserProfileSerializer, "shop.serializers.Profile"])
def test_hiding_has_no_use_for_an_output_serializer(build: Builder, serializer: object) -> None:
    message = refused_at_init(build, {**HIDE, "REGISTER_OUTPUT_SERIALIZER_CLASS": serializer})
    words = ("REGISTER_OUTPUT_SERIALIZER_CLASS", "REGISTER_HIDE_EXISTING_EMAIL", "remove one")
    assert lacking(message, *words) == []


def own_sender(request: object, user: object) -> None:
    """A sender that needs no settings."""


def test_a_notice_by_the_default_sender_needs_the_url_though_links_are_sent_otherwise(build: Builder) -> None:
    settings = {**HIDE, "REGISTER_VERIFICATION_URL": None, "REGISTER_VERIFICATION_EMAIL_SENDER": own_sender}
    message = refused_at_init(build, settings)
    assert lacking(message, "REGISTER_VERIFICATION_URL is missing", "REGISTER_EXISTING_EMAIL_SENDER") == []
    built = build(models.claiming, registration={**settings, "REGISTER_EXISTING_EMAIL_SENDER": own_sender})
    assert built.post("register/", {"email": "ann@example.com", "username": "ann"}).status_code == 202


def test_a_missing_url_is_told_once(build: Builder) -> None:
    assert refused_at_init(build, {**HIDE, "REGISTER_VERIFICATION_URL": None}).count("is missing") == 1


@pytest.mark.parametrize("period", [DAY, timedelta(seconds=DAY), DAY - 1])
@pytest.mark.parametrize("switch", [RESEND, HIDE, {}], ids=["resend", "hide", "given alone"])
def test_a_cooldown_must_be_shorter_than_the_period(build: Builder, switch: dict[str, object], period: object) -> None:
    settings = {
        **switch,
        "REGISTER_VERIFICATION_RESEND_COOLDOWN": DAY,
        "REGISTER_VERIFICATION_PERIOD": period,
    }
    message = refused_at_init(build, settings)
    words = ("REGISTER_VERIFICATION_RESEND_COOLDOWN is 1 day", "REGISTER_VERIFICATION_PERIOD", "shorter", "longer")
    assert lacking(message, *words) == []
    build(models.claiming, registration={**settings, "REGISTER_VERIFICATION_PERIOD": DAY + 1})


@pytest.mark.parametrize("switch", [RESEND, HIDE], ids=["resend", "hide"])
def test_a_short_period_needs_a_cooldown_of_ones_own(build: Builder, switch: dict[str, object]) -> None:
    period: dict[str, object] = {"REGISTER_VERIFICATION_PERIOD": 900}
    assert "0:15:00" in refused_at_init(build, {**switch, **period})
    build(models.claiming, registration={**switch, **period, "REGISTER_VERIFICATION_RESEND_COOLDOWN": 899})


def test_a_short_period_alone_is_fine(build: Builder) -> None:
    assert build(registration={"REGISTER_VERIFICATION_PERIOD": 60}).register().status_code == 201


@pytest.mark.parametrize("url", ["/reject/", "ftp://frontend.example/", "javascript:alert(1)", "https://", 5])
def test_a_rejection_url_must_be_http_or_https(build: Builder, url: object) -> None:
    message = refused_at_init(build, {"REGISTER_REJECTION_URL": url})
    assert lacking(message, "REGISTER_REJECTION_URL", "absolute http or https URL", repr(url)) == []


def test_all_contradictions_are_in_one_message(build: Builder) -> None:
    message = refused_at_init(
        build,
        {
            **RESEND,
            **RECLAIM,
            "REGISTER_HIDE_EXISTING_EMAIL": True,
            "REGISTER_OUTPUT_SERIALIZER_CLASS": DefaultUserProfileSerializer,
            "REGISTER_VERIFICATION_RESEND_COOLDOWN": 30 * DAY,
            "REGISTER_VERIFICATION_ENABLED": False,
            "REGISTER_PASSWORD_AT": "sometime",
        },
    )
    assert message.count("\n- ") == 8  # three switches without verification, and five of their own
    assert lacking(message, "must be 'register' or 'verify', not 'sometime' (str)") == []


# What settings need of the model


@each_switch
def test_each_switch_needs_a_column_that_tells_claims_from_other_accounts(
    build: Builder, switch: dict[str, object]
) -> None:
    message = refused_on_first_use(build, with_columns(verification_sent_at=None), switch)
    words = ("column that tells claims", "add verification_sent_at = db.Column(db.DateTime) to User", "migration")
    assert lacking(message, *switch, *words, "USER_VERIFICATION_SENT_AT_FIELD") == []


def test_all_settings_that_need_the_column_are_named_at_once(build: Builder) -> None:
    message = refused_on_first_use(build, with_columns(verification_sent_at=None), EVERYTHING)
    assert lacking(message, *EVERYTHING) == []


@pytest.mark.parametrize("flag", ["is_active", "active"])
@each_switch
def test_no_switch_goes_with_a_flag_that_also_locks_people_out(
    build: Builder, switch: dict[str, object], flag: str
) -> None:
    model = with_columns(email_verified_at=None, **{flag: mapped_column(Boolean, default=False)})
    message = refused_on_first_use(build, model, switch)
    words = (f"User.{flag}", "lock", "locked out would pass for", "add email_verified_at = db.Column(db.DateTime)")
    assert lacking(message, *switch, *words) == []


@pytest.mark.parametrize("flag", ["is_active", "active"])
def test_such_a_flag_that_is_named_on_purpose_is_refused_as_well(build: Builder, flag: str) -> None:
    model = with_columns(**{flag: mapped_column(Boolean, default=False)})
    assert f"User.{flag}" in refused_on_first_use(build, model, {**RECLAIM, "USER_VERIFICATION_FLAG_FIELD": flag})


def test_hiding_needs_a_column_for_the_time_of_the_notice(build: Builder) -> None:
    message = refused_on_first_use(build, with_columns(notice_sent_at=None), HIDE)
    words = ("REGISTER_HIDE_EXISTING_EMAIL", "last told", "notice_sent_at = db.Column(db.DateTime)", "to User")
    assert lacking(message, *words, "USER_NOTICE_SENT_AT_FIELD") == []
    assert check(build(with_columns(notice_sent_at=None), registration=VERIFY)) == "0 errors, 0 warnings\n"


MOMENTS = [
    ("verification_sent_at", "USER_VERIFICATION_SENT_AT_FIELD"),
    ("notice_sent_at", "USER_NOTICE_SENT_AT_FIELD"),
]


@pytest.mark.parametrize(("name", "setting"), MOMENTS)
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (lambda: mapped_column(DateTime, nullable=False), "DateTime() NOT NULL"),
        (lambda: mapped_column(Integer), "Integer()"),
        (lambda: mapped_column(String(40), nullable=False), "String(length=40) NOT NULL"),
    ],
    ids=["NOT NULL", "Integer", "String NOT NULL"],
)
def test_the_times_must_be_nullable_and_times(
    build: Builder, name: str, setting: str, column: Callable[[], Any], words: str
) -> None:
    message = refused_on_first_use(build, with_columns(**{name: column()}), {})
    wanted = (f"User.{name}", f"({setting})", "must be a nullable DateTime", f"not {words}:", "change the column")
    assert lacking(message, *wanted) == []


@pytest.mark.parametrize(("name", "setting"), MOMENTS)
def test_a_time_that_is_named_and_not_there_is_an_error(build: Builder, name: str, setting: str) -> None:
    message = refused_on_first_use(build, with_columns(), {setting: "sent_on"})
    assert lacking(message, f"{setting} is 'sent_on'", "User has no such column", name) == []


def test_the_flag_and_the_time_of_the_link_must_be_two_columns(build: Builder) -> None:
    settings: dict[str, object] = {"USER_VERIFICATION_SENT_AT_FIELD": "email_verified_at"}
    message = refused_on_first_use(build, with_columns(), settings)
    assert lacking(message, "email_verified_at", "USER_VERIFICATION_SENT_AT_FIELD", "name another column") == []


@pytest.mark.parametrize(
    ("columns", "name"),
    [({}, "email_verified_at"), ({}, "verification_sent_at"), ({"verification_sent_at": None}, "email_verified_at")],
    ids=["of the flag", "of the link", "of the flag, without one of the link"],
)
def test_the_time_of_the_notice_must_be_a_column_of_its_own(
    build: Builder, columns: dict[str, object], name: str
) -> None:
    message = refused_on_first_use(build, with_columns(**columns), {"USER_NOTICE_SENT_AT_FIELD": name})
    assert lacking(message, name, "USER_NOTICE_SENT_AT_FIELD", "name another column") == []


def test_the_flag_and_the_time_of_the_link_must_stand_in_one_table(build: Builder) -> None:
    message = refused_on_first_use(build, people(sent_at_above=True), {})
    words = ("User.verification_sent_at", "email_verified_at", "two tables", "one UPDATE", "move one")
    assert lacking(message, *words) == []


def test_a_model_without_a_flag_has_no_claims_while_verification_is_off(build: Builder) -> None:
    built = build(with_columns(email_verified_at=None), registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert built.register().status_code == 201
    assert built.row()["verification_sent_at"] is None


@pytest.mark.parametrize("switch", [VERIFY, RECLAIM, REJECT], ids=lambda switch: next(iter(switch)))
def test_a_model_of_several_tables_is_refused(build: Builder, switch: dict[str, object]) -> None:
    message = refused_on_first_use(build, people(sent_at_above=False), switch)
    what = "REGISTER_PASSWORD_AT 'verify'" if switch is VERIFY else "What deletes claims"
    assert lacking(message, f"{what} needs a model in one table", "spread over", "person", "user", "USER_MODEL") == []


def test_a_model_of_several_tables_may_get_its_link_again(build: Builder, clock: Clock) -> None:
    built = build(people(sent_at_above=False), registration=RESEND)
    assert built.register().status_code == 201
    assert built.row()["verification_sent_at"] == START


# What is needed of keys, where accounts are deleted


@pytest.mark.only_on("sqlite")
@each_that_deletes
def test_keys_that_sqlite_gives_again_are_refused(build: Builder, switch: dict[str, object]) -> None:
    message = refused_on_first_use(build, with_columns(__table_args__={}), switch)
    words = ("gives the id of a deleted row of User to the next one", '__table_args__ = {"sqlite_autoincrement": True}')
    assert lacking(message, *words, "logged in", "made anew") == []


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("switch", [RESEND, VERIFY, HIDE], ids=lambda switch: next(iter(switch)))
def test_keys_that_sqlite_gives_again_do_where_nothing_is_deleted(build: Builder, switch: dict[str, object]) -> None:
    assert check(build(with_columns(__table_args__={}), registration=switch)) == "0 errors, 0 warnings\n"


@each_that_deletes
def test_keys_that_no_database_counts_need_no_autoincrement(build: Builder, switch: dict[str, object]) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        user = models.uuid_key(db)
        user.verification_sent_at = mapped_column(DateTime)
        return user

    assert check(build(model, registration=switch)) == "0 errors, 0 warnings\n"


@pytest.mark.only_on("sqlite")
@each_that_deletes
def test_a_big_key_that_sqlite_counts_needs_autoincrement_as_well(build: Builder, switch: dict[str, object]) -> None:
    key = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    assert "sqlite_autoincrement" in refused_on_first_use(build, with_columns(id=key, __table_args__={}), switch)


class WithKey(Schema):
    """A serializer that lets strangers choose their key."""

    key = fields.Integer(attribute="id")
    email = fields.Email(required=True)
    password = fields.String()
    name = fields.String()


@each_that_deletes
def test_a_primary_key_that_registration_reads_is_refused(build: Builder, switch: dict[str, object]) -> None:
    message = refused_on_first_use(build, with_columns(), {**switch, "REGISTER_SERIALIZER_CLASS": WithKey})
    words = ("Registration reads User.id", "name of a deleted account", "leave it out of the register serializer")
    assert lacking(message, *words) == []


@each_that_deletes
def test_a_link_that_names_what_registration_reads_is_refused(build: Builder, switch: dict[str, object]) -> None:
    settings = {**switch, "USER_VERIFICATION_ID_FIELD": "username"}
    message = refused_on_first_use(build, models.claiming, settings)
    assert lacking(message, "Registration reads User.username", "USER_VERIFICATION_ID_FIELD") == []


def test_both_may_be_read_where_nothing_is_deleted(build: Builder) -> None:
    assert build(models.claiming, registration={**RESEND, "USER_VERIFICATION_ID_FIELD": "username"}).register().json


@pytest.mark.only_on("sqlite")
def test_all_that_is_in_the_way_is_in_one_message_and_each_once(build: Builder) -> None:
    settings = {**EVERYTHING, "USER_VERIFICATION_ID_FIELD": "email"}
    model = with_columns(
        __table_args__={},
        verification_sent_at=None,
        notice_sent_at=None,
        email_verified_at=None,
        active=mapped_column(Boolean, default=False),
    )
    assert refused_on_first_use(build, model, settings).count("\n- ") == 5


def test_a_model_of_several_tables_is_told_each_reason_once(build: Builder) -> None:
    message = refused_on_first_use(build, people(sent_at_above=False), {**VERIFY, **RECLAIM, **REJECT})
    assert message.count("spread over") == 2


@pytest.mark.only_on("sqlite")
def test_after_the_mend_the_same_app_works(build: Builder) -> None:
    built = build(with_columns(__table_args__={}), registration=RECLAIM)
    with pytest.raises(ConfigurationError):
        built.register()
    built.User.__table__.dialect_options["sqlite"]["autoincrement"] = True
    assert built.register().status_code == 201


@pytest.mark.only_on("sqlite")
def test_purge_is_refused_for_the_same_reasons(build: Builder) -> None:
    model = with_columns(
        __table_args__={},
        verification_sent_at=None,
        email_verified_at=None,
        active=mapped_column(Boolean, default=False),
    )
    outcome = build(model).command("purge", "--older-than", "30")
    assert outcome.exit_code == 1
    assert lacking(outcome.output, "purge: this needs a column", "User.active", "sqlite_autoincrement") == []
    fine = build(with_columns()).command("purge", "--older-than", "30")
    assert (fine.exit_code, fine.output.splitlines()[-1]) == (
        0,
        "0 claims deleted, 0 kept because other rows refer to them",
    )


# A time zone, and accounts that are none


def test_a_time_with_a_zone_is_stored_in_utc(build: Builder) -> None:
    built = build(with_columns(verification_sent_at=mapped_column(DateTime(timezone=True))), registration=VERIFY)
    values: list[Any] = []

    @event.listens_for(built.User, "before_insert")
    def note(mapper: object, connection: object, user: Any) -> None:
        values.append(user.verification_sent_at)

    assert built.post("register/", {"email": "ann@example.com"}).status_code == 201
    assert values[0].tzinfo is timezone.utc
    assert values[0].microsecond == 0


def test_a_resend_on_a_model_whose_accounts_are_no_claims_says_the_same_and_sends_nothing(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(with_columns(), registration=RESEND)
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200
    clock.move(DAY)
    assert built.post("resend-verification/", {"email": "ann@example.com"}).status_code == 202
    assert len(smtp.messages) == 1


def test_a_registration_that_reads_no_password_refuses_one(build: Builder) -> None:
    built = build(with_columns(), registration=VERIFY)
    answer = built.register()
    assert sorted(field_errors(answer)) == ["password", "password_confirm"]
    assert built.rows() == []
