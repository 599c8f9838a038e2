"""What a stranger may write into a row: what its developer listed, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from marshmallow import EXCLUDE, INCLUDE, Schema, fields, post_load
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema
from marshmallow_sqlalchemy.fields import Nested
from sqlalchemy import Boolean, DateTime, ForeignKey, Integer, String, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_rest_registration import ConfigurationError, DefaultRegisterUserSerializer
from tests.support import models
from tests.support.apps import OMITTED, Builder, Built, fast_hasher
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

VICTIM: dict[str, object] = {
    "id": 1,
    "email": "victim@example.com",
    "username": "victim",
    "password_hash": "the victim's own",
}


def store_victim(built: Built) -> None:
    with built.app.app_context():
        # The database counts the key itself: PostgreSQL would give a key that was named to the next account as well.
        victim = built.User(**{name: value for name, value in VICTIM.items() if name != "id"})
        built.db.session.add(victim)
        built.db.session.commit()
        assert victim.id == VICTIM["id"]


def registered(built: Built) -> dict[str, Any]:
    return next(row for row in built.rows() if row["email"] == "ann@example.com")


# The default serializer

PRIVILEGES: dict[str, object] = {"is_admin": True, "role": "admin", "tenant_id": 1}


@pytest.mark.parametrize("field", PRIVILEGES)
def test_a_stranger_cannot_write_what_the_model_fills_in_its_constructor(build: Builder, field: str) -> None:
    built = build(models.privileged)

    answer = built.register(**{field: PRIVILEGES[field]})

    assert (answer.status_code, list(answer.get_json()["errors"])) == (400, [field])
    assert built.rows() == []


def test_what_the_model_fills_in_its_constructor_has_its_own_values(build: Builder) -> None:
    built = build(models.privileged)

    answer = built.register()

    assert set(answer.get_json()) == {"id", "email", "username"}
    row = built.row()
    assert (row["is_admin"], row["role"], row["tenant_id"]) == (False, "member", 7)


def test_with_e_mail_first_what_no_serializer_knows_is_dropped_and_never_written(
    build: Builder, smtp: RecordingServer
) -> None:
    """Pages forward query strings, so that other members are no error there."""
    built = build(models.privileged, pending=True, registration={"REGISTER_EMAIL_FIRST": True})
    built.post("register/", {"email": "ann@example.com"})
    link = values_of(link_in(smtp.message))

    answer = built.verify({**built.body(email=OMITTED), **link, **PRIVILEGES, **NEVER_READ, "utm_source": "mail"})

    assert (answer.status_code, set(answer.get_json())) == (201, {"id", "email", "username"})
    row = built.row()
    assert (row["id"], row["is_admin"], row["role"], row["tenant_id"]) == (1, False, "member", 7)
    assert row["password_hash"] != "x"
    assert row["email_verified_at"].year > 2020


@pytest.mark.parametrize("field", PRIVILEGES)
def test_a_privilege_that_its_developer_listed_by_name_is_read(build: Builder, field: str) -> None:
    built = build(models.privileged, registration={"USER_EDITABLE_FIELDS": ["username", field]})

    assert built.register(**{field: PRIVILEGES[field]}).status_code == 201

    assert built.row()[field] == PRIVILEGES[field]
    others = set(PRIVILEGES) - {field}
    for other in others:
        assert built.register(**{other: PRIVILEGES[other]}).status_code == 400


NEVER_READ: dict[str, object] = {
    "id": 77,
    "email_verified_at": "2020-01-01T00:00:00",
    "password_hash": "x",
    "_password": "x",
    "metadata": {},
    "registry": {},
    "query": "x",
    "__class__": "x",
    "__init__": "x",
    "_sa_instance_state": {},
    "set_password": "x",
}


@pytest.mark.parametrize("field", NEVER_READ)
@pytest.mark.parametrize("name", ["typed", "privileged", "set_password", "dataclass_model"])
def test_neither_key_nor_flag_nor_hash_nor_an_attribute_of_the_class_is_read(
    build: Builder, name: str, field: str
) -> None:
    built = build(models.ALL[name])

    answer = built.register(**{field: NEVER_READ[field]})

    assert (answer.status_code, list(answer.get_json()["errors"])) == (400, [field])
    assert built.rows() == []


@pytest.mark.parametrize("field", ["id", "email_verified_at", "password_hash", "password"])
def test_not_even_a_developer_can_list_key_flag_or_password(build: Builder, field: str) -> None:
    built = build(registration={"USER_EDITABLE_FIELDS": ["username", field]})

    with pytest.raises(ConfigurationError, match=f"USER_EDITABLE_FIELDS.*'{field}'"):
        built.register()


HIDDEN: dict[str, tuple[Any, object]] = {
    **dict.fromkeys(
        ("is_active", "active", "is_admin", "is_staff", "is_superuser", "admin", "superuser"), (Boolean, True)
    ),
    **{name: (String(40), "admin") for name in ("role", "roles", "permissions", "groups", "fs_uniquifier")},
    "role_id": (Integer, 1),
    "last_login": (DateTime, "2020-01-01T00:00:00"),
    "last_login_at": (DateTime, "2020-01-01T00:00:00"),
}


def with_column(name: str, kind: Any, **options: Any) -> models.Model:
    """Return the usual model with one column more."""

    def model(db: SQLAlchemy) -> type[Any]:
        user_class = models.typed(db)
        setattr(user_class, name, mapped_column(name, kind, **options))
        return user_class

    return model


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_field_is_neither_read_nor_shown(build: Builder, name: str) -> None:
    kind, value = HIDDEN[name]
    built = build(with_column(name, kind))

    refused = built.register(**{name: value})
    assert (refused.status_code, list(refused.get_json()["errors"])) == (400, [name])

    answer = built.register()
    assert answer.status_code == 201
    assert name not in answer.get_json()
    assert built.row()[name] is None


@pytest.mark.parametrize("name", ["role", "permissions", "fs_uniquifier"])
def test_a_hidden_text_column_that_a_row_cannot_be_made_without_is_no_input_but_a_configuration_error(
    build: Builder, name: str
) -> None:
    built = build(with_column(name, String(40), nullable=False))

    with pytest.raises(ConfigurationError, match=f"without {name}"):
        built.register(**{name: "admin"})


def with_role_under(attribute: str, column: str) -> models.Model:
    """Return a model that fills its role in the constructor, whatever the role is called."""

    def model(db: SQLAlchemy) -> type[Any]:
        class Filling:
            def __init__(self, **values: object) -> None:
                super().__init__(**{attribute: "member", **values})

        attributes = {
            "__annotations__": {},
            "id": mapped_column(Integer, primary_key=True),
            "email": mapped_column(String(254), unique=True, nullable=False),
            "username": mapped_column(String(80), nullable=False),
            "password_hash": mapped_column(String(256), nullable=False),
            "email_verified_at": mapped_column(DateTime),
            attribute: mapped_column(column, String(20), nullable=False),
        }
        return type("User", (Filling, db.Model), attributes)

    return model


DISGUISES = [("_role", "role"), ("role_", "role"), ("access", "role"), ("access", "_role"), ("role", "access")]


@pytest.mark.parametrize(("attribute", "column"), DISGUISES)
def test_a_hidden_column_behind_another_name_is_no_input_but_a_configuration_error(
    build: Builder, attribute: str, column: str
) -> None:
    built = build(with_role_under(attribute, column))

    for name in (attribute, column):
        with pytest.raises(ConfigurationError, match=f"without {attribute}"):
            built.register(**{name: "admin"})
    assert built.rows() == []


@pytest.mark.parametrize(("attribute", "column"), DISGUISES)
def test_a_hidden_column_behind_another_name_is_not_read_by_a_subclass_of_the_default_serializer_either(
    build: Builder, attribute: str, column: str
) -> None:
    class Subclass(DefaultRegisterUserSerializer):
        """Leaves to the model what the default serializer would complain of."""

    built = build(with_role_under(attribute, column), registration={"REGISTER_SERIALIZER_CLASS": Subclass})

    for name in (attribute, column):
        answer = built.register(**{name: "admin"})
        assert (answer.status_code, list(answer.get_json()["errors"])) == (400, [name])
    answer = built.register()
    assert (answer.status_code, set(answer.get_json())) == (201, {"id", "email", "username"})
    assert built.row()[attribute] == "member"


@pytest.mark.parametrize("name", ["motto", "tenant_id"])
def test_a_nullable_column_that_nobody_hides_is_not_read_either(build: Builder, name: str) -> None:
    built = build(with_column(name, String(40)))

    assert built.register(**{name: "x"}).status_code == 400
    assert built.register().status_code == 201
    assert built.row()[name] is None


def test_a_subclass_of_the_default_serializer_that_lets_unknown_fields_in_gets_no_further_than_the_model(
    build: Builder,
) -> None:
    class Careless(DefaultRegisterUserSerializer):
        class Meta:
            unknown = EXCLUDE

    built = build(models.privileged, registration={"REGISTER_SERIALIZER_CLASS": Careless})

    assert built.register(**PRIVILEGES, id=77, email_verified_at="2020-01-01").status_code == 201

    row = built.row()
    assert (row["id"], row["is_admin"], row["role"], row["tenant_id"]) == (1, False, "member", 7)
    assert row["email_verified_at"] is None


@pytest.mark.parametrize("flag", ["email_verified", "email_verified_at"])
def test_the_flag_is_cleared_whatever_a_serializer_that_includes_everything_says(build: Builder, flag: str) -> None:
    class IncludesEverything(Schema):
        password = fields.String(required=True)

        class Meta:
            unknown = INCLUDE

        @post_load
        def be_careless(self, data: dict[str, Any], **kwargs: object) -> dict[str, Any]:
            data.pop("password_confirm", None)
            if flag == "email_verified_at":
                data[flag] = datetime(2020, 1, 1)  # noqa: DTZ001
            return data

    model = models.boolean_flag if flag == "email_verified" else models.typed
    built = build(model, registration={"REGISTER_SERIALIZER_CLASS": IncludesEverything})

    assert built.register(**({flag: True} if flag == "email_verified" else {})).status_code == 201
    assert not built.row()[flag]


# Schemas of marshmallow-sqlalchemy, which load and overwrite what the body names

DB = models.typed_db()


class Team(DB.Model):  # type: ignore[misc,name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    members: Mapped[list[User]] = relationship(back_populates="team")


class User(DB.Model):  # type: ignore[misc,name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str] = mapped_column(String(80), unique=True)
    password_hash: Mapped[str] = mapped_column(String(256))
    email_verified_at: Mapped[datetime | None]
    is_admin: Mapped[bool] = mapped_column(default=False)
    team_id: Mapped[int | None] = mapped_column(ForeignKey(Team.id))
    team: Mapped[Team | None] = relationship(back_populates="members")
    pets: Mapped[list[Pet]] = relationship(back_populates="owner")


class Pet(DB.Model):  # type: ignore[misc,name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey(User.id))
    owner: Mapped[User | None] = relationship(back_populates="pets")


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
        exclude = ("password_hash", "is_admin")

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


class UserWithPetsSchema(UserSchema):
    pets = fields.List(Nested(PetSchema))


class UserWithPetsOfAnySessionSchema(UserSchema):
    pets = fields.List(fields.Nested(PetSchemaWithSession))


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


class FindsTheUser(Schema):
    """Does by hand what must not be done."""

    email = fields.String(required=True)
    id = fields.Integer(load_default=1)

    class Meta:
        unknown = EXCLUDE

    @post_load
    def find(self, data: Mapping[str, Any], **kwargs: object) -> Any:
        user = DB.session.get(User, data["id"])
        if user:
            user.email = data["email"]
        return user


def build_with(build: Builder, schema: type[Schema]) -> Built:
    built = build(with_pets, registration={"REGISTER_SERIALIZER_CLASS": schema})
    store_victim(built)
    return built


def test_a_load_instance_schema_makes_a_new_account(build: Builder) -> None:
    built = build_with(build, UserSchema)

    assert built.register().status_code == 201

    row = registered(built)
    assert (row["id"], row["username"], row["email_verified_at"]) == (2, "ann", None)


@pytest.mark.parametrize("user_id", [1, "1"])
def test_a_load_instance_schema_with_another_users_id_in_the_body_takes_nothing_over(
    build: Builder, user_id: object
) -> None:
    built = build_with(build, UserSchema)
    before = built.row()

    answer = built.register(id=user_id)

    assert answer.status_code == 400
    assert built.row() == before


def test_the_flag_in_the_body_of_a_load_instance_schema_is_cleared(build: Builder) -> None:
    built = build_with(build, UserSchema)

    assert built.register(email_verified_at="2020-01-01T00:00:00").status_code == 201
    assert registered(built)["email_verified_at"] is None


def test_an_object_that_the_database_already_has_is_refused_and_nothing_is_written(build: Builder) -> None:
    built = build_with(build, FindsTheUser)
    before = built.row()

    with recorded(built.engine) as statements, pytest.raises(ConfigurationError, match="already has"):
        built.register()

    assert built.row() == before
    assert not {"INSERT", "UPDATE", "DELETE", "COMMIT"} & set(statements.kinds)


class JoinsATeam(PlainSchemaWithPets):
    @post_load
    def join(self, data: Mapping[str, Any], **kwargs: object) -> Mapping[str, Any]:
        team = DB.session.get_one(Team, 7)
        assert team.members == []  # is loaded, and changes with the new account
        return {**data, "team": team}


@pytest.mark.filterwarnings("ignore:Object of type <User> not in session:sqlalchemy.exc.SAWarning")
def test_an_account_may_refer_to_a_row_that_the_database_already_has(build: Builder) -> None:
    built = build_with(build, JoinsATeam)
    with built.app.app_context():
        built.db.session.add(Team(id=7))
        built.db.session.commit()

    assert built.register().status_code == 201
    assert registered(built)["team_id"] == 7


class RenamesSomebody(PlainSchemaWithPets):
    """Changes a row that has nothing to do with the new account."""

    @post_load
    def rename(self, data: Mapping[str, Any], **kwargs: object) -> Mapping[str, Any]:
        DB.session.scalars(select(User)).one().username = "renamed"
        return data


def test_a_serializer_that_changes_a_row_is_refused_and_nothing_is_written(build: Builder) -> None:
    built = build_with(build, RenamesSomebody)
    before = built.row()

    with recorded(built.engine) as statements, pytest.raises(ConfigurationError, match=r"changed rows .*\(User\)"):
        built.register()

    assert built.row() == before
    assert not {"INSERT", "UPDATE", "DELETE", "COMMIT"} & set(statements.kinds)


@pytest.mark.parametrize("schema", [PlainSchemaWithPets, RenamesSomebody])
def test_what_the_application_has_changed_before_is_not_the_serializers_doing(
    build: Builder, schema: type[Schema]
) -> None:
    built = build_with(build, schema)
    store_pet(built)

    @built.app.before_request
    def feed() -> None:
        for pet in DB.session.scalars(select(Pet)):
            pet.name = "Rex the Fat"

    if schema is PlainSchemaWithPets:
        assert built.register().status_code == 201
        assert pets(built) == [(5, "Rex the Fat", 1)]
    else:
        with pytest.raises(ConfigurationError, match=r"changed rows .*\(User\)"):
            built.register()
        assert pets(built) == [(5, "Rex", 1)]


@pytest.mark.parametrize("wrong", [None, "ann", 1, ["ann"], object()])
def test_what_is_neither_a_dict_nor_a_user_is_refused_and_nothing_is_written(build: Builder, wrong: object) -> None:
    class GivesNonsense(FindsTheUser):
        @post_load
        def find(self, data: Mapping[str, Any], **kwargs: object) -> Any:
            return wrong

    built = build_with(build, GivesNonsense)

    with pytest.raises(ConfigurationError, match="REGISTER_SERIALIZER_CLASS gave"):
        built.register()
    assert len(built.rows()) == 1


def test_a_key_that_the_model_lacks_is_a_configuration_error(build: Builder) -> None:
    class GivesTooMuch(Schema):
        class Meta:
            unknown = INCLUDE

    built = build_with(build, GivesTooMuch)

    with pytest.raises(ConfigurationError, match="'nickname'"):
        built.register(nickname="x", password_confirm="x")
    assert len(built.rows()) == 1


def store_pet(built: Built) -> None:
    with built.app.app_context():
        built.db.session.add(Pet(id=5, name="Rex", owner_id=1))
        built.db.session.commit()


def pets(built: Built) -> list[tuple[int, str, int | None]]:
    with built.app.app_context():
        found = built.db.session.scalars(select(Pet).order_by(Pet.id))
        return [(pet.id, pet.name, pet.owner_id) for pet in found]


def test_a_nested_schema_makes_new_rows_for_the_new_account(build: Builder) -> None:
    built = build_with(build, UserWithPetsSchema)
    store_pet(built)

    assert built.register(pets=[{"name": "Tom"}]).status_code == 201
    assert (5, "Rex", 1) in pets(built)
    assert sorted(pet[1:] for pet in pets(built)) == [("Rex", 1), ("Tom", registered(built)["id"])]


NESTING = [UserWithPetsSchema, UserWithPetsOfAnySessionSchema, PlainSchemaWithPets]


@pytest.mark.parametrize("pet", [{"id": 5}, {"id": 5, "name": "Stolen"}, {"id": 5, "name": "Rex", "owner_id": 1}])
@pytest.mark.parametrize("schema", NESTING)
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # in production it is a line on stderr
def test_a_nested_schema_with_the_key_of_somebody_elses_row_takes_nothing_over(
    build: Builder, schema: type[Schema], pet: dict[str, object]
) -> None:
    built = build_with(build, schema)
    store_pet(built)
    before = built.rows()

    with suppress(ConfigurationError):
        assert built.register(pets=[pet]).status_code == 400
    assert (built.rows(), pets(built)) == (before, [(5, "Rex", 1)])


def test_a_related_row_that_is_named_by_its_key_stays_with_its_owner(build: Builder) -> None:
    built = build_with(build, UserWithRelatedPetsSchema)
    store_pet(built)

    with suppress(ConfigurationError):
        built.register(pets=[5])
    assert pets(built) == [(5, "Rex", 1)]
