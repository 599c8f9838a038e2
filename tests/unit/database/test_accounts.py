"""Accounts: one class of a hierarchy, keys that a database pads, flags that it does not let be set."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects.mysql import TIMESTAMP
from sqlalchemy.orm import mapped_column
from sqlalchemy.types import TypeDecorator

from flask_rest_registration import ConfigurationError, DatabaseFault, RegisterSigner
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import REGISTER, Builder, Built
from tests.support.clock import Clock
from tests.support.databases import ON_SQLITE
from tests.support.interference import acting_before
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import EMAIL_FIRST, WITH_RESEND, link_to
from tests.support.statements import recorded

pytestmark = pytest.mark.database

# One class of a hierarchy


def named(identity: str) -> dict[str, Any]:
    return {"__mapper_args__": {"polymorphic_identity": identity}}


def hierarchy(db: SQLAlchemy, *, joined: bool = False) -> type[Any]:
    """Declare a class ``User`` whose table has accounts of other classes too.

    :param joined: whether the flag and the discriminator are in two tables.
    """
    flag = {"email_verified_at": mapped_column(sa.DateTime)}

    class Person(db.Model):  # type: ignore[misc,name-defined]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
        id = mapped_column(sa.Integer, primary_key=True)
        email = mapped_column(sa.String(254), unique=True, nullable=False)
        password_hash = mapped_column(sa.String(255), nullable=False)
        kind = mapped_column(sa.String(20))

    parent: type[Any] = Person
    if joined:
        key = mapped_column(sa.ForeignKey("person.id"), primary_key=True)
        parent = type("Customer", (Person,), {**named("customer"), "__tablename__": "customer", "id": key, **flag})
    admin = type("Admin", (parent,), named("admin"))
    user: Any = type("User", (parent,), {**named("user"), **({} if joined else flag)})
    user.related = Person, admin, type("Friend", (user,), named("friend"))
    found: type[Any] = user
    return found


def joined_hierarchy(db: SQLAlchemy) -> type[Any]:
    return hierarchy(db, joined=True)


HIERARCHIES = pytest.mark.parametrize("model", [hierarchy, joined_hierarchy])


def add_admin(built: Built) -> None:
    with built.app.app_context():
        admin = built.User.related[1]
        built.db.session.add(admin(email="ann@example.com", password_hash="x"))
        built.db.session.commit()


@HIERARCHIES
@pytest.mark.parametrize("kind", ["user", "friend"])
def test_an_account_of_the_named_class_or_a_subclass_is_verified(
    build: Builder, smtp: RecordingServer, model: models.Model, kind: str
) -> None:
    built = build(model)
    assert built.register().status_code == 201
    built.execute_outside("UPDATE person SET kind = :kind", kind=kind)
    with recorded(built.engine) as statements:
        assert built.verify(link_in(smtp.message)).status_code == 200
    assert statements.queries == ["SELECT", "UPDATE"]
    assert built.row()["email_verified_at"] is not None


@HIERARCHIES
@pytest.mark.parametrize("starts", ["SELECT", "UPDATE"])
def test_an_account_that_is_of_another_class_by_now_is_not_verified(
    build: Builder, smtp: RecordingServer, model: models.Model, starts: str
) -> None:
    built = build(model)
    built.register()
    link = link_in(smtp.message)
    change = "UPDATE person SET kind = 'admin'"
    with acting_before(built, (starts, lambda: built.execute_outside(change))):
        answer = built.verify(link)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "signature-invalid")
    built.execute_outside("UPDATE person SET kind = 'user'")
    assert built.row()["email_verified_at"] is None


@HIERARCHIES
def test_an_address_is_taken_whatever_class_has_it(build: Builder, smtp: RecordingServer, model: models.Model) -> None:
    built = build(model)
    add_admin(built)
    assert list(field_errors(built.register())) == ["email"]
    built = build(model, pending=True, registration=EMAIL_FIRST)
    add_admin(built)
    assert built.post(REGISTER, {"email": "ann@example.com"}).status_code == 202
    assert "signature=" not in smtp.message.as_string()
    built = build(model, pending=True, registration=WITH_RESEND)
    add_admin(built)
    built.post("resend-verification/", {"email": "ann@example.com"})
    assert len(smtp.messages) == 1


# Keys that the database pads


def padded_key(kind: Any) -> models.Model:
    return models.declared(id=mapped_column(kind, primary_key=True, default=lambda: uuid.uuid4().hex))


#: SQLite fills nothing up, but can compare as if it did.
CHAR = sa.CHAR(36, collation="RTRIM" if ON_SQLITE else None)


class Key(TypeDecorator[str]):
    impl = CHAR
    cache_ok = True


def token() -> models.Model:
    return models.declared(token=mapped_column(CHAR, unique=True, default=lambda: uuid.uuid4().hex))


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (padded_key(CHAR), {}),
        (padded_key(Key), {}),
        (token(), {"USER_VERIFICATION_ID_FIELD": "token"}),
    ],
)
def test_a_link_with_a_key_shorter_than_its_char_column_works_whoever_made_it(
    build: Builder, smtp: RecordingServer, model: models.Model, settings: dict[str, object]
) -> None:
    built = build(model, pending=True, registration={**settings, **WITH_RESEND})
    built.register()
    if ON_SQLITE:
        name = settings.get("USER_VERIFICATION_ID_FIELD", "id")
        built.execute_outside(f"UPDATE user SET {name} = {name} || '    '")
    links = [values_of(link_in(smtp.message)), link_to(built, smtp)]
    with built.app.test_request_context():
        user = built.db.session.scalars(sa.select(built.User)).one()
        links.append(RegisterSigner.for_user(user).get_signed_data())
    for link in links:
        assert built.verify(link).status_code == 200
        assert built.verify({**link, "user_id": link["user_id"] + " "}).status_code == 400
    assert built.row()["email_verified_at"] is not None


# Flags that the database does not let be set


class Since(TypeDecorator[Any]):
    impl = sa.TIMESTAMP
    cache_ok = True


@pytest.mark.parametrize("driver", ["mysql+pymysql", "mariadb+pymysql"])
@pytest.mark.parametrize(
    "kind", [sa.TIMESTAMP, TIMESTAMP(fsp=6), Since, sa.DateTime().with_variant(TIMESTAMP, "mysql")]
)
def test_a_timestamp_of_mariadb_is_refused_as_flag_since_it_lacks_an_hour_in_spring(
    build: Builder, kind: Any, driver: str
) -> None:
    model = models.declared(email_verified_at=mapped_column(kind, nullable=True))
    built = build(model, database_uri=f"{driver}://nobody@127.0.0.1:1/none")  # it is never asked
    with pytest.raises(ConfigurationError, match=r"User\.email_verified_at is a TIMESTAMP.* Fix: make it db.DateTime"):
        built.register()


@pytest.mark.only_on("sqlite", "postgresql")
def test_a_timestamp_is_a_time_like_others_where_no_zone_changes_it(build: Builder, smtp: RecordingServer) -> None:
    built = build(models.declared(email_verified_at=mapped_column(sa.TIMESTAMP, nullable=True)))
    built.register()
    assert built.verify(link_in(smtp.message)).status_code == 200


TRIGGERS = {
    "sqlite": ["CREATE TRIGGER no BEFORE UPDATE ON user BEGIN SELECT RAISE(ABORT, 'no'); END"],
    "postgresql": [
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$",
        'CREATE TRIGGER no BEFORE UPDATE ON "user" FOR EACH ROW EXECUTE FUNCTION no()',
    ],
    "mysql": ["CREATE TRIGGER no BEFORE UPDATE ON user FOR EACH ROW SIGNAL SQLSTATE '45000'"],
}


def refuse_by_trigger(built: Built) -> None:
    for sql in TRIGGERS[built.engine.dialect.name]:
        built.execute_outside(sql)


def refuse_by_type(built: Built) -> None:
    """Let the table differ from the model, in which the column is a DateTime; MariaDB's TIMESTAMP ends in 2038."""
    sql = 'ALTER TABLE "user" ALTER email_verified_at TYPE varchar(5)'
    maria = "ALTER TABLE user MODIFY email_verified_at TIMESTAMP NULL"
    built.execute_outside(maria if built.engine.dialect.name == "mysql" else sql)


def no_refusal(built: Built) -> None:
    pass


def checked(kind: Any, condition: str) -> models.Model:
    flag = {"email_verified_at": None, "confirmed_at" if kind is sa.DateTime else "is_verified": mapped_column(kind)}
    return models.declared(**flag, __table_args__=(sa.CheckConstraint(condition),))


@pytest.mark.parametrize(
    ("model", "refuse"),
    [
        (checked(sa.Boolean, "NOT is_verified"), no_refusal),
        (checked(sa.DateTime, "confirmed_at < '2001-01-01'"), no_refusal),
        (models.minimal, refuse_by_trigger),
        pytest.param(models.minimal, refuse_by_type, marks=pytest.mark.only_on("postgresql", "mariadb")),
    ],
)
def test_a_flag_that_the_database_refuses_is_told_to_the_developer_with_its_name(
    build: Builder, smtp: RecordingServer, clock: Clock, model: models.Model, refuse: Any
) -> None:
    built = build(model)
    clock.time = 2_300_000_000  # in 2042
    built.register()
    refuse(built)
    before = built.rows()
    pattern = (
        r"did not let User\.(email_verified_at|confirmed_at|is_verified) be set to .*\((sqlite3\.|.*code ).* Fix: "
    )
    with pytest.raises(DatabaseFault, match=pattern):
        built.verify(link_in(smtp.message))
    assert built.rows() == before


def test_a_registration_that_a_trigger_refuses_is_answered_as_by_a_constraint(build: Builder) -> None:
    built = build(models.minimal)
    with built.outside() as connection:
        for sql in TRIGGERS[built.engine.dialect.name]:
            connection.execute(sql.replace("BEFORE UPDATE", "BEFORE INSERT"))
    answer = built.register()
    assert (answer.status_code, list(field_errors(answer))) == (400, ["_schema"])
    assert built.rows() == []
