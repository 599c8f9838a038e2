"""User models as they are found in the wild: what works without adapter code, and what is refused with the fix."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    CHAR,
    Boolean,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    func,
    inspect,
    text,
    true,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    foreign,
    mapped_column,
    relationship,
    validates,
)
from sqlalchemy.types import TypeDecorator, UserDefinedType
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError, RestRegistration, user_activated, user_registered
from tests.support import models
from tests.support.apps import PASSWORD, Builder, Built, make_app
from tests.support.clock import Clock, at
from tests.support.databases import USERS
from tests.support.links import changed, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.models import declared
from tests.support.statements import recorded

pytestmark = pytest.mark.database

FLAGS = {
    "classic_columns": "is_verified",
    "boolean_flag": "email_verified",
    "datetime_flag_with_zone": "confirmed_at",
    "is_active_flag": "is_active",
}
HASHES = {"password_column": "password", "password_hybrid_over_underscore": "_password"}


def fault(built: Built) -> str:
    """Return the message of the ConfigurationError on first use, which comes before the first statement."""
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError) as caught:
        built.register()
    assert statements.queries == []
    return str(caught.value)


# Every model registers, gets its mail and is verified


@pytest.mark.parametrize("name", models.ALL)
def test_a_model_needs_no_adapter_to_register_to_get_its_mail_and_to_be_verified(
    build: Builder, smtp: RecordingServer, clock: Clock, name: str
) -> None:
    built = build(models.ALL[name])
    flag, hash_column = FLAGS.get(name, "email_verified_at"), HASHES.get(name, "password_hash")
    assert built.register().status_code == 201
    row = built.row()
    assert not row[flag]
    assert row[built.email_field] == "ann@example.com"
    assert check_password_hash(row[hash_column], PASSWORD)
    assert smtp.envelopes[0].recipients == ["ann@example.com"]
    assert built.verify(link_in(smtp.message)).status_code == 200
    value = built.row()[flag]
    expected = at(clock.time)
    assert value is True or value.replace(tzinfo=None) == expected


@pytest.mark.parametrize("name", models.ALL)
def test_a_taken_address_is_an_error_at_the_e_mail_field_of_any_model(build: Builder, name: str) -> None:
    built = build(models.ALL[name])
    built.register()
    others = {"username": "bob"} if hasattr(built.User, "username") else {}
    answer = built.register(**others, **{built.email_field: "ANN@example.com"})
    assert answer.status_code == 400
    assert list(answer.get_json()["errors"]) == [built.email_field]
    assert len(built.rows()) == 1


@pytest.mark.parametrize("name", models.ALL)
def test_both_signals_give_the_user_of_any_model(build: Builder, smtp: RecordingServer, name: str) -> None:
    built, seen = build(models.ALL[name]), []

    def remember(sender: object, user: Any, **extra: object) -> None:
        seen.append((type(user), inspect(user).persistent, bool(getattr(user, FLAGS.get(name, "email_verified_at")))))

    with user_registered.connected_to(remember, built.app), user_activated.connected_to(remember, built.app):
        built.register()
        built.verify(link_in(smtp.message))
    assert seen == [(built.User, True, False), (built.User, True, True)]


# What registration cannot do without


@pytest.mark.parametrize(
    ("model", "settings", "named"),
    [
        (declared(email=Column(String(254))), {}, ["User.email", "not unique", "unique=True"]),
        (declared(email=None, mail=Column(String(254), unique=True)), {}, ["USER_EMAIL_FIELD", "'email'", "mail"]),
        (declared(email_verified_at=None), {}, ["User", "email_verified_at", "USER_VERIFICATION_FLAG_FIELD"]),
        (declared(password_hash=None), {}, ["password_hash", "set_password()", "USER_PASSWORD_FIELD"]),
        (declared(), {"USER_PASSWORD_FIELD": "pw"}, ["USER_PASSWORD_FIELD", "'pw'", "password_hash"]),
        (declared(), {"USER_VERIFICATION_FLAG_FIELD": "ok"}, ["USER_VERIFICATION_FLAG_FIELD", "'ok'"]),
        (declared(), {"USER_VERIFICATION_ID_FIELD": "uid"}, ["USER_VERIFICATION_ID_FIELD", "'uid'"]),
        (
            declared(uid=Column(String(9))),
            {"USER_VERIFICATION_ID_FIELD": "uid"},
            ["USER_VERIFICATION_ID_FIELD", "'uid'", "not unique", "unique=True"],
        ),
        (declared(id=Column(LargeBinary, primary_key=True)), {}, ["User.id", "USER_VERIFICATION_ID_FIELD"]),
        (declared(team=Column(String(9), primary_key=True)), {}, ["2 columns", "USER_VERIFICATION_ID_FIELD"]),
    ],
)
def test_a_model_that_lacks_something_is_refused_on_first_use_with_the_mend(
    build: Builder, model: models.Model, settings: dict[str, object], named: list[str]
) -> None:
    message = fault(build(model, registration=settings))
    assert lacking(message, *named) == []


@pytest.mark.parametrize(
    "table_args",
    [
        (Index("ux", "email", "team", unique=True),),
        (Index("ux_partial", "email", unique=True, sqlite_where=text("team IS NULL")),),
        (Index("ix", "email"),),
    ],
)
def test_an_address_that_is_unique_only_together_or_in_some_rows_is_not_unique(
    build: Builder, table_args: tuple[Any, ...]
) -> None:
    columns = {"email": Column(String(254)), "team": Column(String(9))}
    assert "not unique" in fault(build(declared(**columns, __table_args__=table_args)))


def test_all_that_a_model_lacks_is_in_one_message(build: Builder) -> None:
    message = fault(build(declared(email=Column(String(254)), password_hash=None, email_verified_at=None)))
    assert lacking(message, "unique=True", "set_password()", "email_verified_at") == []


def test_a_composite_key_needs_a_unique_column_for_the_link_and_then_works(
    build: Builder, smtp: RecordingServer
) -> None:
    model = declared(
        id=Column(String(9), primary_key=True, default="k"),
        tenant=Column(String(9), primary_key=True, default="t"),
        public_id=Column(String(9), unique=True, default="p-1"),
    )
    built = build(model, registration={"USER_VERIFICATION_ID_FIELD": "public_id"})
    assert built.register().get_json() == {"id": "k", "tenant": "t", "email": "ann@example.com"}
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["email_verified_at"] is not None


def test_without_verification_no_flag_is_needed(build: Builder) -> None:
    built = build(declared(email_verified_at=None), registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert built.register().status_code == 201


# The flag


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Column(db_type, **options), word)
        for db_type, options, word in (
            (DateTime, {"nullable": False}, "NOT NULL"),
            (DateTime, {"nullable": False, "default": func.now()}, "NOT NULL"),
            (String(5), {}, "String"),
            (LargeBinary, {}, "LargeBinary"),
        )
    ],
)
def test_a_flag_is_a_boolean_or_a_nullable_datetime(build: Builder, kind: Any, named: str) -> None:
    message = fault(build(declared(email_verified_at=kind)))
    assert lacking(message, "User.email_verified_at", named, "Boolean", "nullable") == []


@pytest.mark.parametrize(
    "flag",
    [
        {"email_verified_at": Column(DateTime, default=lambda: datetime(2020, 1, 1))},  # noqa: DTZ001
        {"email_verified_at": Column(DateTime, server_default=func.current_timestamp())},
        {"email_verified_at": None, "email_verified": Column(Boolean, default=True)},
        {"email_verified_at": None, "email_verified": Column(Boolean, server_default=true())},
        {"email_verified_at": None, "email_verified": Column(Boolean, nullable=True)},
    ],
)
def test_the_flag_is_cleared_whatever_default_it_has(
    build: Builder, smtp: RecordingServer, flag: dict[str, Any]
) -> None:
    built = build(declared(**flag))
    name = "email_verified" if "email_verified" in flag else "email_verified_at"
    assert built.register().status_code == 201
    assert not built.row()[name]
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()[name]


def test_a_boolean_flag_that_is_null_means_not_verified(build: Builder, smtp: RecordingServer) -> None:
    built = build(declared(email_verified_at=None, email_verified=Column(Boolean)))
    built.register()
    with built.app.app_context():
        built.db.session.execute(text(f"UPDATE {USERS} SET email_verified = NULL"))
        built.db.session.commit()
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["email_verified"] is True


def test_the_flag_is_cleared_whatever_the_constructor_said(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(unique=True)
            password_hash: Mapped[str]
            email_verified: Mapped[bool]

            def __init__(self, **values: Any) -> None:
                super().__init__(**values, email_verified=True)

        return User

    built = build(model)
    assert built.register().status_code == 201
    assert built.row()["email_verified"] is False


class UtcDateTime(TypeDecorator[datetime]):
    """As many applications have it: keeps and demands times with a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        assert value is None or value.tzinfo is not None
        return value


def test_a_flag_of_the_applications_own_type_gets_the_time_zone_that_it_asks_for(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(declared(email_verified_at=Column(UtcDateTime)))
    built.register()
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["email_verified_at"] is not None


@pytest.mark.parametrize("name", ["is_active", "active"])
def test_a_flag_that_also_locks_people_out_is_warned_of_once(
    build: Builder, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    built = build(declared(email_verified_at=None, **{name: Column(Boolean, default=False)}))
    for username in ("ann", "bob"):
        assert built.register(email=f"{username}@example.com").status_code == 201
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert lacking(warnings[0], f"User.{name}", "lock", "email_verified_at") == []


def test_a_chosen_flag_that_locks_people_out_is_warned_of_too(build: Builder, caplog: pytest.LogCaptureFixture) -> None:
    model = declared(is_active=Column(Boolean, default=False))
    assert build(model, registration={"USER_VERIFICATION_FLAG_FIELD": "is_active"}).register().status_code == 201
    assert "User.is_active" in caplog.text


def test_is_active_of_flask_logins_user_mixin_is_no_flag_and_the_message_says_so(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(UserMixin, db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(unique=True)
            password_hash: Mapped[str]

        return User

    for settings in ({}, {"USER_VERIFICATION_FLAG_FIELD": "is_active"}):
        message = fault(build(model, registration=settings))
        named = ("User.is_active", "no column", "property", "flask_login.mixins.UserMixin")
        assert lacking(message, *named) == []


class Guid(TypeDecorator[uuid.UUID]):
    """A UUID kept as 32 hexadecimal digits, as SQLAlchemy's manual shows it."""

    impl = CHAR(32)
    cache_ok = True

    def process_bind_param(self, value: uuid.UUID | str | None, dialect: object) -> str | None:
        return None if value is None else uuid.UUID(str(value)).hex

    def process_result_value(self, value: str | None, dialect: object) -> uuid.UUID | None:
        return None if value is None else uuid.UUID(value)


class Trimmed(TypeDecorator[str]):
    """Text without blanks around it."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value.strip()


def test_keys_and_texts_of_the_applications_own_types_work_like_those_that_they_are_made_of(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(
        declared(
            id=Column(Guid, primary_key=True, default=uuid.uuid4),
            username=Column(Trimmed, nullable=False),
        )
    )
    assert built.register(username="u" * 21).get_json()["errors"].keys() == {"username"}
    answer = built.register(username=" ann ")
    assert answer.status_code == 201
    row = built.row()
    assert (row["username"], str(row["id"])) == ("ann", answer.get_json()["id"])
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["email_verified_at"] is not None


class Moment(UserDefinedType[datetime]):
    """A moment as text, which knows of no time zones."""

    cache_ok = True
    python_type = datetime

    def get_col_spec(self, **options: object) -> str:
        return "VARCHAR(40)"

    def bind_processor(self, dialect: object) -> Callable[[datetime | None], str | None]:
        return lambda value: value.isoformat(" ", "seconds") if value else None

    def result_processor(self, dialect: object, coltype: object) -> Callable[[str | None], datetime | None]:
        return lambda value: datetime.fromisoformat(value) if value else None


def test_a_flag_of_a_type_that_knows_of_no_time_zones_gets_utc_without_one(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(declared(email_verified_at=mapped_column(Moment, nullable=True)))
    built.register()
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["email_verified_at"] == at(clock.time)


# Finding the model


@pytest.mark.parametrize("name", ["Account", "Visitor"])
def test_an_app_without_a_user_model_is_told_how_to_name_one(build: Builder, name: str) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return type(name, (db.Model,), {"id": mapped_column(Integer, primary_key=True)})

    message = fault(build(model, registration={"USER_MODEL": None}))
    assert "USER_MODEL" in message
    assert "User" in message


def two_users(db: SQLAlchemy) -> type[Any]:
    def declare(table: str, bind: str | None) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            __tablename__ = table
            __bind_key__ = bind
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(unique=True)
            password_hash: Mapped[str]
            email_verified_at: Mapped[datetime | None]

        User.__qualname__ = f"User_of_{table}"
        return User

    mine, other = declare("mine", None), declare("other", "accounts")
    mine.neighbour = other  # SQLAlchemy itself holds classes weakly
    return mine


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class:sqlalchemy.exc.SAWarning")
def test_of_two_classes_named_user_one_has_to_be_chosen(build: Builder) -> None:
    message = fault(build(two_users))
    paths = [f"'{__name__}.User_of_{table}'" for table in ("mine", "other")]
    assert lacking(message, "USER_MODEL", *paths) == []


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class:sqlalchemy.exc.SAWarning")
def test_the_chosen_one_of_two_classes_named_user_is_used(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(two_users, registration={"USER_MODEL": f"{__name__}.chosen"})
    monkeypatch.setattr(f"{__name__}.chosen", built.User, raising=False)
    assert built.register().status_code == 201
    assert len(built.rows()) == 1


def test_a_model_on_another_bind_is_found_and_stored_there(build: Builder) -> None:
    built = build(models.other_bind)
    assert built.register().status_code == 201
    with built.app.app_context():
        assert inspect(built.db.engines["accounts"]).get_table_names() == ["user"]
        assert inspect(built.db.engine).get_table_names() == []


class Plain:
    id = 1
    email = "ann@example.com"


def test_a_class_that_is_not_mapped_is_refused(build: Builder) -> None:
    message = fault(build(registration={"USER_MODEL": Plain}))
    assert lacking(message, "USER_MODEL", "Plain", "not a mapped class", "db.Model") == []


def with_a_broken_neighbour(db: SQLAlchemy) -> type[Any]:
    class Order(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        customer: Mapped[Any] = relationship("NoSuchModel")

    user = models.typed(db)
    user.neighbour = Order  # SQLAlchemy itself holds classes weakly
    return user


def test_a_broken_model_of_another_app_in_the_process_is_not_this_ones(build: Builder) -> None:
    other = build(with_a_broken_neighbour)
    outcome = build().command("check")
    assert outcome.output == "0 errors, 0 warnings\n"
    other.User.registry.dispose()


def test_a_model_may_refer_to_one_of_another_declarative_base(build: Builder) -> None:
    class Base(DeclarativeBase):
        pass

    class Team(Base):
        __tablename__ = "team"
        id: Mapped[int] = mapped_column(primary_key=True)

    def model(db: SQLAlchemy) -> type[Any]:
        user = models.typed(db)
        user.team = relationship(Team, primaryjoin=lambda: foreign(user.id) == Team.id, viewonly=True)
        return user

    outcome = build(model).command("check")
    assert outcome.output == "0 errors, 0 warnings\n"


def test_another_models_broken_relationship_does_not_surface_while_the_app_is_checked(build: Builder) -> None:
    built = build(with_a_broken_neighbour)
    built.registration.register_schema(built.app)
    built.registration.profile_schema(built.app)
    outcome = built.command("check")
    assert (outcome.exit_code, outcome.exception) == (0, None)
    assert "NoSuchModel" not in outcome.output


def test_a_key_from_another_table_and_a_generated_column_need_no_input(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            __mapper_args__ = {"version_id_col": Column("version", db.Integer, nullable=False)}
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(254), unique=True)
            shouted: Mapped[str] = mapped_column(String(254), Computed("upper(email)", persisted=True))
            password_hash: Mapped[str] = mapped_column(String(256))
            email_verified_at: Mapped[datetime | None]
            inviter_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
            version = __mapper_args__["version_id_col"]

        return User

    built = build(model)
    assert built.register().get_json() == {"id": 1, "email": "ann@example.com"}
    assert (built.row()["shouted"], built.row()["version"]) == ("ANN@EXAMPLE.COM", 1)


# Where the hash goes


@pytest.mark.parametrize("kind", ["column", "method", "property", "other attribute name"])
def test_a_column_too_short_for_the_hash_is_refused_before_the_first_insert(build: Builder, kind: str) -> None:
    def set_hash(self: Any, password: str) -> None:
        self.password_hash = models.cheap_hash(password) + "x" * 64

    extra: dict[str, dict[str, Any]] = {
        "column": {},
        "method": {"set_password": set_hash},
        "property": {"password": property(None, set_hash)},
        "other attribute name": {"password_hash": None, "_pw": mapped_column("password_hash", String(128))},
    }
    settings = {"USER_PASSWORD_FIELD": "_pw"} if kind == "other attribute name" else {}
    columns = {"password_hash": Column(String(128), nullable=False), **extra[kind]}
    message = fault(build(declared(**columns), registration={"PASSWORD_HASHER": None, **settings}))
    name = "_pw" if kind == "other attribute name" else "password_hash"
    assert lacking(message, f"User.{name}", "128", "String(255)") == []


def test_the_message_says_how_long_werkzeugs_hash_is(build: Builder) -> None:
    assert "162" in fault(build(models.short_hash_column, registration={"PASSWORD_HASHER": None}))


@pytest.mark.parametrize("length", [162, 255, None])
def test_a_column_that_holds_werkzeugs_hash_is_enough(build: Builder, length: int | None) -> None:
    built = build(declared(password_hash=Column(String(length))), registration={"PASSWORD_HASHER": None})
    assert built.register().status_code == 201


@pytest.mark.parametrize(("length", "fits"), [(32, True), (31, False)])
def test_for_a_hasher_of_ones_own_its_own_hashs_length_counts(build: Builder, length: int, fits: bool) -> None:
    built = build(
        declared(password_hash=Column(String(length))), registration={"PASSWORD_HASHER": lambda password: "h" * 32}
    )
    if fits:
        assert built.register().status_code == 201
    else:
        message = fault(built)
        assert lacking(message, "User.password_hash", "31", "32") == []


@pytest.mark.parametrize(
    ("first", "attributes"),
    [
        ("set_password", {"set_password", "password property", "password_hash"}),
        ("password property", {"password property", "password_hash"}),
        ("password_hash", {"password_hash", "password column"}),
        ("password column", {"password column"}),
    ],
)
def test_the_places_of_a_password_are_tried_in_their_order(build: Builder, first: str, attributes: set[str]) -> None:
    def mark(place: str) -> Callable[..., None]:
        return lambda self, password: setattr(self, "note", place)

    parts: dict[str, dict[str, Any]] = {
        "set_password": {"set_password": mark("set_password")},
        "password property": {"password": property(None, mark("password property"))},
        "password_hash": {"password_hash": Column(String(200))},
        "password column": {"password": Column(String(200))},
    }
    columns: dict[str, Any] = {"password_hash": None, "note": Column(String(40))}
    for name in attributes:
        columns.update(parts[name])
    built = build(declared(**columns))
    assert built.register().status_code == 201
    row = built.row()
    stored = {"password_hash": "password_hash", "password column": "password"}.get(first)
    filled = {name for name in ("note", "password_hash", "password") if row.get(name)}
    assert filled == {stored or "note"}
    assert stored or row["note"] == first


def test_a_password_property_that_cannot_be_set_is_passed_over(build: Builder) -> None:
    built = build(declared(password=property(lambda self: "secret")))
    assert built.register().status_code == 201
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


# Constructors


def required_in_init(db: SQLAlchemy) -> type[Any]:
    """A dataclass model that demands in its constructor what registration fills afterwards."""

    class User(MappedAsDataclass, db.Model, kw_only=True):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        email: Mapped[str] = mapped_column(unique=True)
        username: Mapped[str]
        nickname: Mapped[str | None]
        password_hash: Mapped[str]
        email_verified: Mapped[bool]

    return User


def hash_outside_init(db: SQLAlchemy) -> type[Any]:
    """A dataclass model that keeps hash and flag out of its constructor."""

    class User(MappedAsDataclass, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        email: Mapped[str] = mapped_column(unique=True)
        username: Mapped[str]
        password_hash: Mapped[str] = mapped_column(init=False)
        email_verified: Mapped[bool] = mapped_column(init=False)

    return User


def positional_init(db: SQLAlchemy) -> type[Any]:
    """A constructor of the application's own, called by position as in older tutorials."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        username: Mapped[str]
        password_hash: Mapped[str]
        email_verified: Mapped[bool]

        def __init__(self, username: str, email: str, password_hash: str | None = None) -> None:
            self.username, self.email = username, email

    return User


def password_in_init(db: SQLAlchemy) -> type[Any]:
    """A constructor that takes the password's hash and hands it on."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        username: Mapped[str]
        password_hash: Mapped[str]
        email_verified: Mapped[bool]

        def __init__(self, email: str, username: str, password_hash: str) -> None:
            self.email, self.username, self.password_hash = email, username, password_hash

    return User


@pytest.mark.parametrize("model", [required_in_init, hash_outside_init, positional_init, password_in_init])
def test_the_models_own_constructor_is_called_with_what_it_takes(
    build: Builder, smtp: RecordingServer, model: models.Model
) -> None:
    built = build(model)
    assert built.register().status_code == 201
    row = built.row()
    assert (row["username"], row["email_verified"]) == ("ann", False)
    assert check_password_hash(row["password_hash"], PASSWORD)
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["email_verified"] is True


def test_a_constructor_that_demands_what_nobody_sends_is_named_with_the_mend(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(unique=True)
            password_hash: Mapped[str]
            email_verified: Mapped[bool]

            def __init__(self, tenant: object, **values: Any) -> None:
                super().__init__(**values)

        return User

    message = fault(build(model))
    assert [
        word for word in ("User(...)", "tenant", "default", "REGISTER_SERIALIZER_CLASS") if word not in message
    ] == []


def test_a_model_that_is_declared_after_init_app_is_found() -> None:
    extension = RestRegistration()
    built = make_app(extension=extension, tables=False)
    late = declared(email_verified_at=None, email_verified=Column(Boolean))
    other = make_app(late, extension=extension)
    assert extension.register_schema(built.app).fields.keys() == {"email", "username", "password", "password_confirm"}
    assert extension.register_schema(other.app).fields.keys() == {"email", "password", "password_confirm"}


def test_a_value_that_the_keys_own_type_cannot_convert_names_nobody(build: Builder, smtp: RecordingServer) -> None:
    built = build(declared(id=Column(Guid, primary_key=True, default=uuid.uuid4)))
    built.register()
    answer = built.verify(changed(values_of(link_in(smtp.message)), user_id="no UUID"))
    assert (answer.status_code, answer.get_json()["code"]) == (400, "signature-invalid")


class Unsaid(UserDefinedType[Any]):
    """A type that does not say what its values are in Python."""

    @property
    def python_type(self) -> type[Any]:
        raise NotImplementedError

    def get_col_spec(self, **_: object) -> str:
        return "TEXT"


def test_a_flag_of_a_type_that_does_not_say_its_python_type_is_refused(build: Builder) -> None:
    assert "email_verified_at" in fault(build(declared(email_verified_at=Column(Unsaid))))


def test_a_column_that_changes_with_every_update_is_read_anew_by_receivers(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    built = build(declared(changes=Column(Integer, default=1, onupdate=2)))
    built.register()
    seen: list[int] = []

    @user_activated.connect_via(built.app)
    def receiver(sender: object, user: Any, request: object) -> None:
        seen.append(user.changes)

    built.verify(link_in(smtp.message))
    assert seen == [2]


def with_flag_in_the_table_of_a_subclass(db: SQLAlchemy) -> type[Any]:
    class Person(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))

    class User(Person):
        id: Mapped[int] = mapped_column(ForeignKey(Person.id), primary_key=True)
        email_verified_at: Mapped[datetime | None]

    return User


def test_the_address_may_stand_in_another_table_than_the_flag(build: Builder, smtp: RecordingServer) -> None:
    built = build(with_flag_in_the_table_of_a_subclass)
    built.register()
    link = link_in(smtp.message)
    assert built.verify(link).status_code == 200
    assert built.row()["email_verified_at"] is not None


def test_what_the_models_own_validation_refuses_is_an_error_of_the_object(build: Builder) -> None:
    @validates("username")
    def check_username(self: Any, key: str, name: str) -> str:
        if name == "root":
            raise ValueError("This name is reserved.")
        return name

    built = build(declared(username=Column(String(20), nullable=False), check_username=check_username))
    answer = built.register(username="root")
    assert (answer.status_code, answer.get_json()["errors"]) == (400, {"_schema": ["This name is reserved."]})
    assert built.rows() == []


def test_a_password_behind_a_method_may_stand_in_a_column_of_any_name(build: Builder) -> None:
    def set_password(self: Any, password: str) -> None:
        self.secret = models.cheap_hash(password)

    built = build(declared(password_hash=None, secret=Column(String(200)), set_password=set_password))
    assert built.register().status_code == 201
    assert check_password_hash(built.row()["secret"], PASSWORD)
    assert "0 errors" in built.command("check").output


@pytest.mark.only_on("sqlite", "postgresql")
def test_a_partial_unique_index_is_asked_with_its_condition(build: Builder) -> None:
    blue = text("team = 'blue'")
    index = Index("ux_city", "city", unique=True, sqlite_where=blue, postgresql_where=blue)
    model = declared(city=Column(String(20)), team=Column(String(20)), __table_args__=(index,))
    built = build(model, registration={"USER_EDITABLE_FIELDS": ["city", "team"]})
    assert built.register().status_code == 201
    assert built.register(email="bob@example.com", team="red").status_code == 201
    taken = built.register(email="eve@example.com")
    assert taken.get_json()["errors"] == {"city": ["This value is already taken."]}
