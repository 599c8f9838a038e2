"""User models as they are found in the wild: what works without adapter code, and what is refused with the fix."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, MappedAsDataclass, foreign, mapped_column, relationship, validates
from sqlalchemy.types import TypeDecorator, UserDefinedType
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError, user_activated, user_registered
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import PASSWORD, Builder, Built
from tests.support.clock import Clock, at
from tests.support.databases import USERS
from tests.support.links import changed, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.models import declared
from tests.support.statements import recorded

pytestmark = pytest.mark.database

HASHES = {"password_column": "password", "password_hybrid_over_underscore": "_password"}


def text(length: int | None = 254, **options: Any) -> sa.Column[str]:
    return sa.Column(sa.String(length), **options)


def fault(built: Built) -> str:
    """Return the message of the ConfigurationError on first use, which comes before the first statement."""
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError) as caught:
        built.register()
    assert statements.queries == []
    return str(caught.value)


def verified_row(built: Built, smtp: RecordingServer) -> dict[str, Any]:
    """Sign up, follow the link, and return the account's row."""
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200
    return built.row()


@pytest.mark.parametrize("name", models.ALL)
def test_a_model_needs_no_adapter_to_register_get_its_mail_and_be_verified(
    build: Builder, smtp: RecordingServer, clock: Clock, name: str
) -> None:
    built = build(models.ALL[name])
    flag = next(each for each in models.FLAGS if hasattr(built.User, each))
    signals: list[tuple[object, bool, bool]] = []

    def remember(sender: object, user: Any, **extra: object) -> None:
        signals.append((type(user), sa.inspect(user).persistent, bool(getattr(user, flag))))

    with user_registered.connected_to(remember, built.app), user_activated.connected_to(remember, built.app):
        answer = built.register()
        assert answer.status_code == 201
        assert [field for field in answer.get_json() if field == flag or "password" in field] == []
        row = built.row()
        assert not row[flag]
        assert row[built.email_field] == "ann@example.com"
        assert check_password_hash(row[HASHES.get(name, "password_hash")], PASSWORD)
        assert smtp.envelopes[0].recipients == ["ann@example.com"]

        others = {"username": "bob"} if "username" in row else {}
        taken = built.register(**others, **{built.email_field: "ANN@example.com"})
        assert list(field_errors(taken)) == [built.email_field]

        assert built.verify(link_in(smtp.message)).status_code == 200
    value = built.row()[flag]
    assert value is True or value.replace(tzinfo=None) == at(clock.time)
    assert signals == [(built.User, True, False), (built.User, True, True)]


class WithoutPythonType(UserDefinedType[Any]):
    @property
    def python_type(self) -> type[Any]:
        raise NotImplementedError

    def get_col_spec(self, **_: object) -> str:
        return "TEXT"


def with_flag(kind: Any, **options: Any) -> models.Model:
    return declared(email_verified_at=sa.Column(kind, **options))


def with_index(*columns: str, **options: Any) -> models.Model:
    return declared(email=text(), team=text(9), __table_args__=(sa.Index("ix", *columns, **options),))


def demand_tenant(self: Any, tenant: object, **values: Any) -> None:
    super(type(self), self).__init__(**values)


def setting(attribute: str, value: str) -> Callable[..., None]:
    """Make a method that sets an attribute, whatever the password is."""
    return lambda self, password: setattr(self, attribute, value)


PARTLY = sa.text("team IS NULL")
NOT_UNIQUE = "User.email | not unique | unique=True"
NO_FLAG = "User.email_verified_at | Boolean | nullable"
NO_COLUMN = "User.is_active | no column | property | flask_login.mixins.UserMixin"
NOT_NULL = f"{NO_FLAG} | NOT NULL"
FLAG, LINK_ID = "USER_VERIFICATION_FLAG_FIELD", "USER_VERIFICATION_ID_FIELD"
NO_USER = "USER_MODEL | User"
NO_CLASS = "USER_MODEL | Plain | not a mapped class | db.Model"
NO_PLACE = "password_hash | set_password() | USER_PASSWORD_FIELD"
ALL_OF_IT = "unique=True | set_password() | email_verified_at"
INIT = "User(...) | tenant | default | REGISTER_SERIALIZER_CLASS"
SET_LONG = setting("password_hash", "x" * 162)
WERKZEUG: dict[str, object] = {"PASSWORD_HASHER": None}
OWN_HASHER: dict[str, object] = {"PASSWORD_HASHER": lambda password: "h" * 32}
TOO_SHORT = "128 | 162 | String(255) | User.password_hash"

#: By what is wrong: the model, the settings, and what the message names, between bars.
FAULTS: dict[str, tuple[models.Model, dict[str, object], str]] = {
    "no class named User": (lambda db: type("Account", (models.Usual, db.Model), {}), {"USER_MODEL": None}, NO_USER),
    "a class that is not mapped": (models.typed, {"USER_MODEL": type("Plain", (), {"email": ""})}, NO_CLASS),
    "an address that is not unique": (declared(email=text()), {}, NOT_UNIQUE),
    "an address with a plain index": (with_index("email"), {}, NOT_UNIQUE),
    "an address that is unique within a team": (with_index("email", "team", unique=True), {}, NOT_UNIQUE),
    "an address that is unique in some rows": (with_index("email", unique=True, sqlite_where=PARTLY), {}, NOT_UNIQUE),
    "no address": (declared(email=None, mail=text(unique=True)), {}, "USER_EMAIL_FIELD | 'email' | mail"),
    "no password": (declared(password_hash=None), {}, NO_PLACE),
    "no such password": (declared(), {"USER_PASSWORD_FIELD": "pw"}, "USER_PASSWORD_FIELD | 'pw' | password_hash"),
    "no flag": (declared(email_verified_at=None), {}, f"User | email_verified_at | {FLAG}"),
    "no such flag": (declared(), {FLAG: "ok"}, f"{FLAG} | 'ok'"),
    "none of them": (declared(email=text(), password_hash=None, email_verified_at=None), {}, ALL_OF_IT),
    "a time that is NOT NULL": (with_flag(sa.DateTime, nullable=False), {}, NOT_NULL),
    "a time with a default": (with_flag(sa.DateTime, nullable=False, default=sa.func.now()), {}, NOT_NULL),
    "a flag of text": (with_flag(sa.String(5)), {}, f"{NO_FLAG} | String"),
    "a flag of an unknown type": (with_flag(WithoutPythonType), {}, f"{NO_FLAG} | WithoutPythonType"),
    "a property for a flag": (declared(UserMixin, email_verified_at=None), {}, NO_COLUMN),
    "a property that is chosen for a flag": (declared(UserMixin), {FLAG: "is_active"}, NO_COLUMN),
    "a key of two columns": (declared(team=text(primary_key=True)), {}, f"2 columns | {LINK_ID}"),
    "a key of bytes": (declared(id=sa.Column(sa.LargeBinary, primary_key=True)), {}, f"User.id | {LINK_ID}"),
    "no such link id": (declared(), {LINK_ID: "uid"}, f"{LINK_ID} | 'uid'"),
    "a link id that is not unique": (declared(uid=text()), {LINK_ID: "uid"}, f"{LINK_ID} | 'uid' | unique=True"),
    "a constructor that demands what nobody sends": (declared(__init__=demand_tenant), {}, INIT),
    "room for the hash": (declared(password_hash=text(128)), WERKZEUG, TOO_SHORT),
    "room for one's own hash": (declared(password_hash=text(31)), OWN_HASHER, "User.password_hash | 31 | 32"),
    "room behind a method": (declared(password_hash=text(128), set_password=SET_LONG), WERKZEUG, TOO_SHORT),
    "room behind a property": (
        declared(password_hash=text(128), password=property(None, SET_LONG)),
        WERKZEUG,
        TOO_SHORT,
    ),
    "room in a column of another name": (
        declared(password_hash=None, _pw=mapped_column("password_hash", sa.String(128))),
        {**WERKZEUG, "USER_PASSWORD_FIELD": "_pw"},
        "128 | 162 | String(255) | User._pw",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_model_lacks_is_told_on_first_use_with_the_fix(build: Builder, name: str) -> None:
    model, settings, named = FAULTS[name]
    assert lacking(fault(build(model, registration=settings)), *named.split(" | ")) == []


def test_a_composite_key_needs_a_unique_column_for_the_link(build: Builder, smtp: RecordingServer) -> None:
    key = {"id": text(9, primary_key=True, default="k"), "tenant": text(9, primary_key=True, default="t")}
    model = declared(**key, public_id=text(9, unique=True, default="p-1"))
    built = build(model, registration={LINK_ID: "public_id"})
    assert built.register().get_json() == {"id": "k", "tenant": "t", "email": "ann@example.com"}
    link = values_of(link_in(smtp.message))
    assert link["user_id"] == "p-1"
    assert built.verify(link).status_code == 200
    assert built.row()["email_verified_at"] is not None


def test_without_verification_no_flag_is_needed(build: Builder) -> None:
    built = build(declared(email_verified_at=None), registration={"REGISTER_VERIFICATION_ENABLED": False})
    assert built.register().status_code == 201


@pytest.mark.parametrize(
    "flag",
    [
        {"email_verified_at": sa.Column(sa.DateTime, default=lambda: datetime(2020, 1, 1))},  # noqa: DTZ001
        {"email_verified_at": sa.Column(sa.DateTime, server_default=sa.func.current_timestamp())},
        {"email_verified": sa.Column(sa.Boolean, default=True)},
        {"email_verified": sa.Column(sa.Boolean, server_default=sa.true())},
        {"email_verified": sa.Column(sa.Boolean, nullable=True)},
        {"email_verified": sa.Column(sa.Boolean), "__init__": models.filled_with(email_verified=True)},
    ],
)
def test_a_flag_is_cleared_whatever_sets_it_and_null_means_not_verified(
    build: Builder, smtp: RecordingServer, flag: Any
) -> None:
    built = build(declared(**{"email_verified_at": None, **flag}))
    name = next(iter(flag))
    assert built.register().status_code == 201
    assert not built.row()[name]
    built.execute_outside(f"UPDATE {USERS} SET {name} = NULL")
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()[name]


class UtcDateTime(TypeDecorator[datetime]):
    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        assert value is None or value.tzinfo is not None
        return value


class TextDateTime(TypeDecorator[datetime]):
    impl = sa.String(40)
    cache_ok = True
    python_type = datetime

    def process_bind_param(self, value: datetime | None, dialect: object) -> str | None:
        return value.isoformat() if value else None

    def process_result_value(self, value: str | None, dialect: object) -> datetime | None:
        return datetime.fromisoformat(value) if value else None


@pytest.mark.parametrize("kind", [UtcDateTime, TextDateTime])
def test_a_flag_has_a_time_zone_if_its_type_knows_of_zones(
    build: Builder, smtp: RecordingServer, clock: Clock, kind: type[TypeDecorator[datetime]]
) -> None:
    row = verified_row(build(declared(email_verified_at=sa.Column(kind))), smtp)
    assert row["email_verified_at"].replace(tzinfo=None) == at(clock.time)
    assert kind is UtcDateTime or row["email_verified_at"].tzinfo is None


@pytest.mark.parametrize(("name", "chosen"), [("is_active", False), ("active", False), ("is_active", True)])
def test_a_flag_that_also_locks_people_out_is_warned_of_once(
    build: Builder, caplog: pytest.LogCaptureFixture, name: str, chosen: bool
) -> None:
    # It is chosen by the setting, or found since there is no other.
    other, settings = ({}, {"USER_VERIFICATION_FLAG_FIELD": name}) if chosen else ({"email_verified_at": None}, {})
    built = build(declared(**other, **{name: sa.Column(sa.Boolean, default=False)}), registration=settings)
    for username in ("ann", "bob"):
        assert built.register(email=f"{username}@example.com").status_code == 201
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert lacking(warnings[0], f"User.{name}", "lock", "email_verified_at") == []


class Guid(TypeDecorator[uuid.UUID]):
    """A UUID kept as 32 hexadecimal digits, as SQLAlchemy's manual shows it."""

    impl = sa.CHAR(32)
    cache_ok = True

    def process_bind_param(self, value: uuid.UUID | str | None, dialect: object) -> str | None:
        return None if value is None else uuid.UUID(str(value)).hex

    def process_result_value(self, value: str | None, dialect: object) -> uuid.UUID | None:
        return None if value is None else uuid.UUID(value)


class Trimmed(TypeDecorator[str]):
    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value.strip()


def test_keys_and_texts_of_the_applications_own_types_work(build: Builder, smtp: RecordingServer) -> None:
    key = sa.Column(Guid, primary_key=True, default=uuid.uuid4)
    built = build(declared(id=key, username=sa.Column(Trimmed, nullable=False)))
    assert built.register(username="u" * 21).get_json()["errors"].keys() == {"username"}
    answer = built.register(username=" ann ")
    assert answer.status_code == 201
    row = built.row()
    assert (row["username"], str(row["id"])) == ("ann", answer.get_json()["id"])
    link = values_of(link_in(smtp.message))
    refused = built.verify(changed(link, user_id="no UUID"))
    assert (refused.status_code, refused.get_json()["code"]) == (400, "signature-invalid")
    assert built.verify(link).status_code == 200
    assert built.row()["email_verified_at"] is not None


def two_users(db: SQLAlchemy) -> type[Any]:
    def declare(table: str, bind: str | None) -> type[Any]:
        place = {"__module__": __name__, "__qualname__": f"User_of_{table}"}
        return type("User", (models.Unnamed, db.Model), {"__tablename__": table, "__bind_key__": bind, **place})

    mine = declare("mine", None)
    mine.neighbour = declare("other", "accounts")  # SQLAlchemy itself holds classes weakly
    return mine


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class:sqlalchemy.exc.SAWarning")
def test_of_two_classes_named_user_one_has_to_be_chosen(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"'{__name__}.User_of_{table}'" for table in ("mine", "other")]
    assert lacking(fault(build(two_users)), "USER_MODEL", *paths) == []
    built = build(two_users, registration={"USER_MODEL": f"{__name__}.chosen"})
    monkeypatch.setattr(f"{__name__}.chosen", built.User, raising=False)
    assert built.register().status_code == 201
    assert len(built.rows()) == 1


def test_check_finds_a_broken_relationship_of_another_model_in_that_app_alone(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        key = mapped_column(sa.Integer, primary_key=True)
        user = models.typed(db)
        user.neighbour = type("Order", (db.Model,), {"id": key, "customer": relationship("NoSuchModel")})
        return user

    broken = build(model)
    # Neither is it the fault of another app in the process.
    assert build().command("check").exit_code == 0
    broken.registration.register_schema(broken.app)
    broken.registration.profile_schema(broken.app)
    outcome = broken.command("check")
    assert (outcome.exit_code, outcome.output.count("error: ")) == (1, 1)
    assert "NoSuchModel" in outcome.output
    with pytest.raises(sa.exc.InvalidRequestError, match="NoSuchModel"):
        broken.register()
    broken.User.registry.dispose()


def test_a_model_may_refer_to_one_of_another_declarative_base(build: Builder) -> None:
    key = mapped_column(sa.Integer, primary_key=True)
    team: Any = type("Team", (models.typed_db().Model,), {"id": key})

    def model(db: SQLAlchemy) -> type[Any]:
        user = models.typed(db)
        user.team = relationship(team, primaryjoin=lambda: foreign(user.id) == team.id, viewonly=True)
        return user

    assert build(model).command("check").exit_code == 0


def test_a_foreign_key_and_what_the_mapper_or_the_database_fills_need_no_input(build: Builder) -> None:
    version = sa.Column("version", sa.Integer, nullable=False)
    shouted = sa.Column(sa.String(254), sa.Computed("upper(email)", persisted=True))
    shouted.nullable = False  # as Mapped[str] says it: MariaDB takes no NOT NULL for a generated column
    built = build(
        declared(
            __mapper_args__={"version_id_col": version},
            version=version,
            shouted=shouted,
            inviter_id=sa.Column(sa.ForeignKey("user.id")),
        )
    )
    assert built.register().get_json() == {"id": 1, "email": "ann@example.com"}
    assert (built.row()["shouted"], built.row()["version"]) == ("ANN@EXAMPLE.COM", 1)


@pytest.mark.parametrize(("hasher", "length"), [(WERKZEUG, 162), (WERKZEUG, None), (OWN_HASHER, 32)])
def test_a_column_that_just_holds_the_hash_is_enough(build: Builder, hasher: Any, length: int | None) -> None:
    built = build(declared(password_hash=text(length)), registration=hasher)
    assert built.register().status_code == 201


@pytest.mark.parametrize("first", range(4), ids=["method", "property", "password_hash", "password"])
def test_the_places_of_a_password_are_tried_in_their_order(build: Builder, first: int) -> None:
    places: list[tuple[str, Any]] = [
        ("set_password", setting("note", "method")),
        ("password", property(None, setting("note", "property"))),
        ("password_hash", text(200)),
        ("password", text(200)),
    ]
    attributes = {"password_hash": None, **dict(reversed(places[first:]))}  # of one name the earlier place
    built = build(declared(note=text(40), **attributes))
    assert built.register().status_code == 201
    filled = [name for name, value in built.row().items() if value and name in ("note", "password_hash", "password")]
    assert filled == [["note", "note", "password_hash", "password"][first]]
    assert built.row()["note"] == ["method", "property", None, None][first]


def set_secret(self: Any, password: str) -> None:
    self.secret = models.cheap_hash(password)


@pytest.mark.parametrize(
    ("column", "attributes"),
    [
        ("password_hash", {"password": property(lambda self: "secret")}),
        ("secret", {"password_hash": None, "secret": text(200), "set_password": set_secret}),
    ],
)
def test_a_property_without_a_setter_is_passed_over_and_a_method_fills_any_column(
    build: Builder, column: str, attributes: dict[str, Any]
) -> None:
    built = build(declared(**attributes))
    assert built.register().status_code == 201
    assert check_password_hash(built.row()[column], PASSWORD)
    assert "0 errors" in built.command("check").output


def dataclass_model(*, init: bool) -> models.Model:
    """Make a dataclass model whose constructor demands or does not know what registration fills afterwards."""

    def model(db: SQLAlchemy) -> type[Any]:
        class User(MappedAsDataclass, db.Model, kw_only=True):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True, init=False)
            email: Mapped[str] = mapped_column(unique=True)
            username: Mapped[str]
            nickname: Mapped[str | None] = mapped_column(init=init)
            password_hash: Mapped[str] = mapped_column(init=init)
            email_verified: Mapped[bool] = mapped_column(init=init)

        return User

    return model


def drop_hash(self: Any, username: str, email: str, password_hash: str | None = None) -> None:
    self.username, self.email = username, email


OWN_INIT = declared(username=text(80, nullable=False), __init__=drop_hash)


@pytest.mark.parametrize("model", [dataclass_model(init=True), dataclass_model(init=False), OWN_INIT])
def test_a_model_is_made_by_its_own_constructor(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built = build(model)
    assert built.register(username="ann").status_code == 201
    row = built.row()
    flag = "email_verified" if "email_verified" in row else "email_verified_at"
    assert (row["username"], bool(row[flag])) == ("ann", False)
    assert check_password_hash(row["password_hash"], PASSWORD)
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()[flag]


def test_receivers_read_a_column_anew_that_every_update_changes(build: Builder, smtp: RecordingServer) -> None:
    built = build(declared(changes=sa.Column(sa.Integer, default=1, onupdate=2)))
    seen: list[int] = []

    @user_activated.connect_via(built.app)
    def receiver(sender: object, user: Any, request: object) -> None:
        seen.append(user.changes)

    verified_row(built, smtp)
    assert seen == [2]


def test_the_address_may_stand_in_another_table_than_the_flag(build: Builder, smtp: RecordingServer) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class Person(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(sa.String(254), unique=True)
            password_hash: Mapped[str] = mapped_column(sa.String(256))

        class User(Person):
            id: Mapped[int] = mapped_column(sa.ForeignKey(Person.id), primary_key=True)
            email_verified_at: Mapped[datetime | None]

        return User

    assert verified_row(build(model), smtp)["email_verified_at"] is not None


def test_what_the_models_own_validation_refuses_is_an_error_of_the_object(build: Builder) -> None:
    @validates("username")
    def check_username(self: Any, key: str, name: str) -> str:
        if name == "root":
            raise ValueError("This name is reserved.")
        return name

    built = build(declared(username=text(20, nullable=False), check_username=check_username))
    answer = built.register(username="root")
    assert (answer.status_code, answer.get_json()["errors"]) == (400, {"_schema": ["This name is reserved."]})
    assert built.rows() == []


@pytest.mark.only_on("sqlite", "postgresql")
def test_a_partial_unique_index_is_asked_with_its_condition(build: Builder) -> None:
    blue = sa.text("team = 'blue'")
    index = sa.Index("ux_city", "city", unique=True, sqlite_where=blue, postgresql_where=blue)
    model = declared(city=text(20), team=text(20), __table_args__=(index,))
    built = build(model, registration={"USER_EDITABLE_FIELDS": ["city", "team"]})
    assert built.register().status_code == 201
    assert built.register(email="bob@example.com", team="red").status_code == 201
    taken = built.register(email="eve@example.com")
    assert taken.get_json()["errors"] == {"city": ["This is already taken. Choose another one."]}
