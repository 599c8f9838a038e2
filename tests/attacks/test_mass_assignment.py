"""What a stranger may write into a row: what its developer listed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from marshmallow import EXCLUDE, Schema, fields, post_load
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema
from marshmallow_sqlalchemy.fields import Nested
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_rest_registration import ConfigurationError, DefaultRegisterUserSerializer
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import OMITTED, Builder, Built, fast_hasher
from tests.support.mail_servers import RecordingServer
from tests.support.pending import EMAIL_FIRST, link_to
from tests.support.statements import recorded

PRIVILEGES: dict[str, object] = {"is_admin": True, "role": "admin", "tenant_id": 1}
#: What the model itself fills in.
UNPRIVILEGED = {"is_admin": False, "role": "member", "tenant_id": 7}
NEVER_READ: dict[str, object] = {
    "id": 77,
    "email_verified_at": "2020-01-01T00:00:00",
    **dict.fromkeys(("password_hash", "_password", "query", "__class__", "__init__", "set_password"), "x"),
    **{name: {} for name in ("metadata", "registry", "_sa_instance_state")},
}


def accepted(built: Built, sent: Mapping[str, object]) -> list[str]:
    """Send each field alone, and return the names of those that are not refused by their names."""
    names = [name for name, value in sent.items() if list(field_errors(built.register(**{name: value}))) != [name]]
    assert built.rows() == []
    return names


def is_unprivileged(row: Mapping[str, Any]) -> bool:
    return row.items() >= {"id": 1, **UNPRIVILEGED}.items()


def test_a_stranger_cannot_write_what_the_model_fills_in_its_constructor(build: Builder) -> None:
    built = build(models.privileged)
    assert accepted(built, PRIVILEGES) == []
    assert set(built.register().get_json()) == {"id", "email", "username"}
    assert is_unprivileged(built.row())


def test_with_e_mail_first_what_no_serializer_knows_is_never_written(build: Builder, smtp: RecordingServer) -> None:
    """Pages forward query strings, so that other members are no error there."""
    built = build(models.privileged, pending=True, registration=EMAIL_FIRST)
    proof = {**built.body(email=OMITTED), **link_to(built, smtp)}
    answer = built.verify({**proof, **PRIVILEGES, **NEVER_READ, "utm_source": "mail"})
    assert (answer.status_code, set(answer.get_json())) == (201, {"id", "email", "username"})
    row = built.row()
    assert is_unprivileged(row)
    assert row["password_hash"] != "x"
    assert row["email_verified_at"].year > 2020


@pytest.mark.parametrize("field", PRIVILEGES)
def test_a_privilege_that_its_developer_listed_by_name_is_read(build: Builder, field: str) -> None:
    built = build(models.privileged, registration={"USER_EDITABLE_FIELDS": ["username", field]})
    assert accepted(built, {name: value for name, value in PRIVILEGES.items() if name != field}) == []
    assert built.register(**{field: PRIVILEGES[field]}).status_code == 201
    assert built.row()[field] == PRIVILEGES[field]


@pytest.mark.parametrize("name", ["typed", "privileged", "set_password", "dataclass_model"])
def test_neither_key_nor_flag_nor_hash_nor_an_attribute_of_the_class_is_read(build: Builder, name: str) -> None:
    assert accepted(build(models.ALL[name]), NEVER_READ) == []


def test_a_hidden_field_is_neither_read_nor_shown(build: Builder) -> None:
    switches = ("is_active", "active", "is_admin", "is_staff", "is_superuser", "admin", "superuser")
    texts = ("role", "roles", "permissions", "groups", "fs_uniquifier")
    hidden: dict[str, tuple[Any, object]] = {
        **dict.fromkeys(switches, (sa.Boolean, True)),
        **dict.fromkeys(texts, (sa.String(40), "admin")),
        **dict.fromkeys(("last_login", "last_login_at"), (sa.DateTime, "2020-01-01T00:00:00")),
        "role_id": (sa.Integer, 1),
    }
    built = build(models.declared(**{name: mapped_column(kind) for name, (kind, _) in hidden.items()}))
    assert accepted(built, {name: value for name, (_, value) in hidden.items()}) == []
    assert built.register().get_json() == {"id": 1, "email": "ann@example.com"}
    assert [name for name in hidden if built.row()[name] is not None] == []


@pytest.mark.parametrize(
    ("attribute", "column"),
    [("role", "role"), ("_role", "role"), ("role_", "role"), ("access", "_role"), ("role", "access")],
)
def test_a_hidden_column_that_a_row_needs_is_no_input_by_any_name(build: Builder, attribute: str, column: str) -> None:
    def app(**settings: object) -> Built:
        columns = {attribute: mapped_column(column, sa.String(20), nullable=False)}
        init = models.filled_with(**{attribute: "member"})
        return build(models.declared(**columns, __init__=init), registration=settings)

    built = app()
    for name in (attribute, column):
        with pytest.raises(ConfigurationError, match=f"without {attribute}"):
            built.register(**{name: "admin"})
    assert built.rows() == []
    # A subclass leaves to the model what the default serializer complains of.
    built = app(REGISTER_SERIALIZER_CLASS=type("Subclass", (DefaultRegisterUserSerializer,), {}))
    assert accepted(built, {attribute: "admin", column: "admin"}) == []
    assert built.register().get_json() == {"id": 1, "email": "ann@example.com"}
    assert built.row()[attribute] == "member"


def test_a_subclass_that_lets_unknown_fields_in_gets_no_further_than_the_model(build: Builder) -> None:
    class Careless(DefaultRegisterUserSerializer):
        class Meta:
            unknown = EXCLUDE

    built = build(models.privileged, registration={"REGISTER_SERIALIZER_CLASS": Careless})
    assert built.register(**PRIVILEGES, id=77, email_verified_at="2020-01-01").status_code == 201
    row = built.row()
    assert is_unprivileged(row)
    assert row["email_verified_at"] is None


# Schemas of marshmallow-sqlalchemy load and overwrite what the body names.
DB = models.typed_db()


class User(models.Usual, DB.Model):  # type: ignore[misc,name-defined]
    pets: Mapped[list[Pet]] = relationship(back_populates="user")


class Pet(DB.Model):  # type: ignore[misc,name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey(User.id))
    user: Mapped[User | None] = relationship(back_populates="pets")


@models.on_base(lambda: DB)
def with_pets(db: SQLAlchemy) -> type[Any]:
    return User


class HashedPassword(fields.String):
    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        return fast_hasher(super()._deserialize(*args, **kwargs))


class UserSchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]  # not generic in older versions
    class Meta:
        model = User
        load_instance = True
        unknown = EXCLUDE
        exclude = ("password_hash",)

    password = HashedPassword(attribute="password_hash", required=True, load_only=True)


class PetSchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]
    class Meta:
        model = Pet
        load_instance = True
        include_fk = True


class PetSchemaWithSession(PetSchema):
    """Finds its rows by itself, as every schema of Flask-Marshmallow does."""

    class Meta(PetSchema.Meta):
        sqla_session = DB.session


UserWithPetsSchema = UserSchema.from_dict({"pets": fields.List(Nested(PetSchema))})
UserWithPetsOfAnySessionSchema = UserSchema.from_dict({"pets": fields.List(fields.Nested(PetSchemaWithSession))})


class UserWithRelatedPetsSchema(UserSchema):
    class Meta(UserSchema.Meta):
        include_relationships = True


class PlainSchemaWithPets(Schema):
    email = fields.String(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)
    pets = fields.List(fields.Nested(PetSchemaWithSession))

    class Meta:
        unknown = EXCLUDE


class RenamesSomebody(PlainSchemaWithPets):
    """Changes a row that has nothing to do with the new account."""

    @post_load
    def rename(self, data: Mapping[str, Any], **kwargs: object) -> Mapping[str, Any]:
        DB.session.scalars(sa.select(User)).one().username = "renamed"
        return data


BuildWith = Callable[[type[Schema]], Built]


@pytest.fixture
def build_with(build: Builder) -> BuildWith:
    """Build an app that registers by a schema, where a victim has account 1 and pet 5."""

    def build_app(schema: type[Schema]) -> Built:
        built = build(with_pets, registration={"REGISTER_SERIALIZER_CLASS": schema})
        with built.app.app_context():
            # The database counts the key itself: PostgreSQL would give a named key to the next account as well.
            victim = User(email="victim@example.com", username="victim", password_hash="the victim's own")
            victim.pets = [Pet(id=5, name="Rex")]
            built.db.session.add(victim)
            built.db.session.commit()
        return built

    return build_app


def pets(built: Built) -> list[tuple[int, str, int | None]]:
    with built.app.app_context():
        found = built.db.session.scalars(sa.select(Pet).order_by(Pet.id))
        return [(pet.id, pet.name, pet.user_id) for pet in found]


def test_a_load_instance_schema_takes_no_account_over_by_its_id(build_with: BuildWith) -> None:
    built = build_with(UserSchema)
    before = built.row()
    for user_id in (1, "1"):
        assert built.register(id=user_id).status_code == 400
    assert built.row() == before
    assert built.register(email_verified_at="2020-01-01T00:00:00").status_code == 201
    old, new = built.rows()
    assert (old, new["username"], new["email_verified_at"]) == (before, "ann", None)


def feed() -> None:
    for pet in DB.session.scalars(sa.select(Pet)):
        pet.name = "Rex the Fat"


def test_what_the_application_has_changed_before_is_not_refused(build_with: BuildWith) -> None:
    built = build_with(PlainSchemaWithPets)
    built.app.before_request(feed)
    assert built.register().status_code == 201
    assert pets(built) == [(5, "Rex the Fat", 1)]


@pytest.mark.parametrize("fed", [False, True])
def test_a_serializer_that_changes_a_row_is_refused_and_nothing_is_written(build_with: BuildWith, fed: bool) -> None:
    built = build_with(RenamesSomebody)
    if fed:
        built.app.before_request(feed)
    before = built.row()
    with recorded(built.engine) as statements, pytest.raises(ConfigurationError, match=r"changed rows .*\(User\)"):
        built.register()
    assert (built.row(), pets(built)) == (before, [(5, "Rex", 1)])
    assert not {"INSERT", "UPDATE", "DELETE", "COMMIT"} & set(statements.kinds)


def test_a_nested_schema_makes_new_rows_for_the_new_account(build_with: BuildWith) -> None:
    built = build_with(UserWithPetsSchema)
    assert built.register(pets=[{"name": "Tom"}]).status_code == 201
    assert (5, "Rex", 1) in pets(built)
    assert sorted(pet[1:] for pet in pets(built)) == [("Rex", 1), ("Tom", 2)]


@pytest.mark.parametrize(
    ("schema", "pet"),
    [
        *product(
            [UserWithPetsSchema, UserWithPetsOfAnySessionSchema, PlainSchemaWithPets],
            [{"id": 5}, {"id": 5, "name": "Stolen"}, {"id": 5, "name": "Rex", "user_id": 1}],
        ),
        (UserWithRelatedPetsSchema, 5),
    ],
)
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # in production it is a line on stderr
def test_a_schema_with_the_key_of_somebody_elses_row_takes_nothing_over(
    build_with: BuildWith, schema: type[Schema], pet: object
) -> None:
    built = build_with(schema)
    before = built.rows()
    with suppress(ConfigurationError):
        assert built.register(pets=[pet]).status_code == 400
    assert (built.rows(), pets(built)) == (before, [(5, "Rex", 1)])
