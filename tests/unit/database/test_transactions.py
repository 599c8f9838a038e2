"""Transactions: what only reads holds no connection while the mail server is waited for, and AUTOCOMMIT is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy.orm import mapped_column, relationship, scoped_session, sessionmaker

from flask_rest_registration import ConfigurationError
from flask_rest_registration.database.transactions import autocommits
from flask_rest_registration.state import app_state
from tests.support import models
from tests.support.apps import Builder, Built
from tests.support.links import link_in
from tests.support.mail_servers import HangUp, RecordingServer
from tests.support.statements import recorded


@dataclass
class CountConnections(HangUp):
    """Counts the connections that are out of an engine's pool, and hangs up."""

    engine: sa.Engine | None = None
    counted: list[int] = field(default_factory=list)

    async def happen(self, writer: asyncio.StreamWriter) -> None:
        assert self.engine is not None
        self.counted.append(self.engine.pool.checkedout())  # type: ignore[attr-defined]  # not of every pool


def connections_at_ehlo(built: Built, smtp: RecordingServer) -> int:
    """Sign up where the mail server hangs up at EHLO; return how many connections are out then."""
    smtp.fault = CountConnections("EHLO", engine=built.engine)
    assert built.register().status_code == 503
    (counted,) = smtp.fault.counted
    smtp.fault = None
    return counted


Give = Callable[[Any, Any], object]


def give_role(user: Any, role: Any) -> None:
    user.role = role


def give_role_with_loaded_users(user: Any, role: Any) -> None:
    assert role.users == []
    user.role = role


def give_role_and_join(user: Any, role: Any) -> None:
    user.role, user.groups = role, [role]


def stand_in_users(user: Any, role: Any) -> None:
    role.users.append(user)


def with_role(give: Give, lazy: Any = "select", *, uselist: bool = True) -> models.Model:
    """Make a model whose constructor reads the only role, and gives it to the user."""

    def model(db: SQLAlchemy) -> type[Any]:
        joined = db.Table(
            "joined",
            db.Column("user_id", sa.ForeignKey("user.id"), primary_key=True),
            db.Column("role_id", sa.ForeignKey("role.id"), primary_key=True),
        )

        class Role(db.Model):  # type: ignore[misc,name-defined]
            id = db.Column(db.Integer, primary_key=True)
            permissions = relationship("Permission", lazy="selectin")
            users = relationship("User", back_populates="role", lazy=lazy, uselist=uselist)
            people = relationship("User", back_populates="groups", secondary=joined)

        class Permission(db.Model):  # type: ignore[misc,name-defined]
            id = db.Column(db.Integer, primary_key=True)
            role_id = db.Column(sa.ForeignKey(Role.id))

        def init(self: Any, **values: Any) -> None:
            super(type(self), self).__init__(**values)
            give(self, db.session.scalars(sa.select(Role)).one())

        attributes = {
            "role_id": mapped_column(sa.ForeignKey(Role.id)),
            "role": relationship(Role, back_populates="users"),
            "groups": relationship(Role, back_populates="people", secondary=joined),
            "related": (Role, Permission),  # SQLAlchemy itself holds classes weakly
            "__init__": init,
        }
        return models.declared(**attributes)(db)

    return model


def add_role(built: Built) -> int:
    """Add the role, with a permission; return its key."""
    role, permission = built.User.related
    with built.app.app_context():
        built.db.session.add(new := role(permissions=[permission()]))
        built.db.session.commit()
        return int(new.id)


DEFAULTS = {
    "plain": with_role(give_role),
    "loaded": with_role(give_role_with_loaded_users),
    "loaded eagerly": with_role(give_role, "selectin"),
    "dynamic": with_role(give_role, "dynamic"),
    "write-only": with_role(give_role, "write_only"),
    "one to one": with_role(give_role, uselist=False),
    "many to many": with_role(give_role_and_join),
    "from the other side": with_role(stand_in_users),
}


@pytest.mark.database
@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_that_the_constructor_reads_holds_no_connection_at_the_mail_server(
    build: Builder, smtp: RecordingServer, name: str
) -> None:
    built = build(DEFAULTS[name])
    role_id = add_role(built)
    assert connections_at_ehlo(built, smtp) == 0
    with recorded(built.engine) as statements:
        assert built.register().status_code == 201
    assert built.row()["role_id"] == role_id
    asks_for_users = {"loaded": 1, "loaded eagerly": 1, "from the other side": 1, "one to one": 3}
    selects = 2 + asks_for_users.get(name, 0)  # for the role and its permissions
    inserts = 2 if name == "many to many" else 1
    assert statements.queries == [*["SELECT"] * selects, *["INSERT"] * inserts]
    assert built.verify(link_in(smtp.message)).status_code == 200


def read_one(db: SQLAlchemy) -> object:
    return db.session.execute(sa.select(sa.literal(1))).scalar()


def read_by_text(db: SQLAlchemy) -> object:
    return db.session.execute(sa.text(" select 1")).scalar()


def name_tenant(db: SQLAlchemy) -> object:
    return db.session.execute(sa.text("SELECT set_config('app.tenant', '7', true)")).scalar()


def write_by_text(db: SQLAlchemy) -> object:
    return db.session.execute(sa.text("DELETE FROM other"))


def write_by_statement(db: SQLAlchemy) -> object:
    return db.session.execute(sa.delete(db.metadata.tables["other"]))


def write_in_bulk(db: SQLAlchemy) -> None:
    db.session.bulk_insert_mappings(new_other(db).__class__, [{"note": "bulk"}])


def save_in_bulk(db: SQLAlchemy) -> None:
    db.session.bulk_save_objects([new_other(db)])


def write_by_connection(db: SQLAlchemy) -> object:
    return db.session.connection().execute(sa.text("DELETE FROM other"))


def write_by_driver(db: SQLAlchemy) -> object:
    read_one(db)
    return db.session.connection().exec_driver_sql("DELETE FROM other")


def read_in_a_savepoint(db: SQLAlchemy) -> None:
    with db.session.begin_nested():
        read_one(db)


def read_by_a_common_table(db: SQLAlchemy) -> object:
    return db.session.execute(sa.select(sa.select(sa.literal(1)).cte())).scalar()


def leave_pending(db: SQLAlchemy) -> None:
    read_one(db)
    db.session.add(new_other(db))


def flush_pending(db: SQLAlchemy) -> None:
    leave_pending(db)
    db.session.flush()


def leave_a_change(db: SQLAlchemy) -> None:
    db.session.scalars(sa.select(new_other(db).__class__)).one().note = "changed"


def change_nothing(db: SQLAlchemy) -> None:
    db.session.scalars(sa.select(new_other(db).__class__)).one().note = None


def flush_nothing(db: SQLAlchemy) -> None:
    other = db.session.scalars(sa.select(new_other(db).__class__)).one()
    other.note = None
    db.session.flush()


def new_other(db: SQLAlchemy) -> Any:
    (mapper,) = (each for each in db.Model.registry.mappers if each.class_.__name__ == "Other")  # type: ignore[attr-defined]
    return mapper.class_()


def with_other(db: SQLAlchemy) -> type[Any]:
    columns = {"id": mapped_column(sa.Integer, primary_key=True), "note": mapped_column(sa.String(9))}
    other = type("Other", (db.Model,), columns)
    return models.declared(other=other)(db)


def build_with_one_other(build: Builder) -> Built:
    built = build(with_other)
    with built.app.app_context():
        built.db.session.add(built.User.other())
        built.db.session.commit()
    return built


@pytest.mark.database
@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (read_one, 0),
        (read_by_text, 0),
        pytest.param(name_tenant, 0, marks=pytest.mark.only_on("postgresql")),
        (write_by_text, 1),
        (write_by_statement, 1),
        (write_in_bulk, 1),
        (save_in_bulk, 1),
        (write_by_connection, 1),
        (write_by_driver, 1),
        (read_in_a_savepoint, 0),
        (read_by_a_common_table, 0),
        (leave_pending, 1),
        (flush_pending, 1),
        (leave_a_change, 1),
        (change_nothing, 0),
        (flush_nothing, 0),
    ],
)
def test_only_what_before_request_has_written_keeps_its_transaction(
    build: Builder, smtp: RecordingServer, act: Callable[[SQLAlchemy], object], expected: int
) -> None:
    built = build_with_one_other(build)

    @built.app.before_request
    def act_first() -> None:
        act(built.db)

    assert connections_at_ehlo(built, smtp) == 1  # before the first use nobody has noted what was written
    assert connections_at_ehlo(built, smtp) == expected
    assert built.register().status_code == 201


@pytest.mark.parametrize(("act", "expected"), [(read_one, 0), (write_by_statement, 1)])
def test_what_is_written_in_a_session_that_replaced_the_first_one_is_noted(
    build: Builder, smtp: RecordingServer, act: Callable[[SQLAlchemy], object], expected: int
) -> None:
    built = build_with_one_other(build)
    replacing = scoped_session(sessionmaker(class_=Session, db=built.db))

    @built.app.before_request
    def act_first() -> None:
        if built.db.session is replacing:
            act(built.db)

    built.app.teardown_appcontext(lambda error: replacing.remove())
    assert connections_at_ehlo(built, smtp) == 0
    built.db.session = replacing  # as tests of applications do
    assert connections_at_ehlo(built, smtp) == 1  # what was written before it was met is not known
    assert connections_at_ehlo(built, smtp) == expected


def test_of_many_sessions_one_after_the_other_each_is_watched(build: Builder) -> None:
    built = build()
    with built.app.app_context():
        transactions = app_state(built.app).ready().transactions
        for _ in range(300):  # a later one may get the memory of one that is gone
            built.db.session = scoped_session(sessionmaker(class_=Session, db=built.db))
            built.db.session()
            assert not transactions.has_changes()
            write_nothing = sa.delete(built.User).where(sa.false())
            built.db.session.execute(write_nothing)
            assert transactions.has_changes()
            built.db.session.remove()


# AUTOCOMMIT

AUTOCOMMIT: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}


@pytest.mark.database
@pytest.mark.parametrize("options", [AUTOCOMMIT, {"execution_options": AUTOCOMMIT}])
def test_an_engine_in_autocommit_is_refused_before_the_first_statement(build: Builder, options: Any) -> None:
    built = build(config={"SQLALCHEMY_ENGINE_OPTIONS": options})
    assert autocommits(built.engine)
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError, match=r"is in AUTOCOMMIT.* Fix: "):
        built.register()
    assert (statements.kinds, built.rows()) == ([], [])


def test_an_engine_is_in_autocommit_by_its_last_word_and_on_the_bind_of_the_users(build: Builder) -> None:
    built = build(models.other_bind, config={"SQLALCHEMY_ENGINE_OPTIONS": AUTOCOMMIT})
    with built.app.app_context():
        others, users = built.db.engines[None], built.db.engines["accounts"]
        assert (autocommits(others), autocommits(users)) == (True, False)
    assert built.register().status_code == 201
    assert autocommits(users.execution_options(**AUTOCOMMIT))
    assert not autocommits(others.execution_options(isolation_level="SERIALIZABLE"))
    with users.connect() as connection:
        assert not autocommits(connection)
        assert autocommits(connection.execution_options(**AUTOCOMMIT))
