"""What a serializer may do while it loads a stranger's body: nothing to what the database already has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from marshmallow import EXCLUDE, Schema, fields, post_load
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_rest_registration import ConfigurationError, PendingRegistrationMixin, RegisterEmailSerializer
from tests.support import models
from tests.support.apps import REGISTER, Builder, Built
from tests.support.pending import EMAIL_FIRST

pytestmark = pytest.mark.database

DB = models.typed_db()
LIKES = sa.Table(
    "likes",
    DB.metadata,
    sa.Column("user_id", sa.ForeignKey("user.id"), primary_key=True),
    sa.Column("hobby_id", sa.ForeignKey("hobby.id"), primary_key=True),
)


class Named:
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(80))


class Club(Named, DB.Model):  # type: ignore[misc,name-defined]
    members: Mapped[list[User]] = relationship(back_populates="club")
    dogs: Mapped[list[Dog]] = relationship(back_populates="club")


class Hobby(Named, DB.Model):  # type: ignore[misc,name-defined]
    people: Mapped[list[User]] = relationship(secondary=LIKES, back_populates="hobbies")


class Locker(Named, DB.Model):  # type: ignore[misc,name-defined]
    user: Mapped[User | None] = relationship(back_populates="locker")


class User(models.Usual, DB.Model):  # type: ignore[misc,name-defined]
    locker_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Locker.id))
    locker: Mapped[Locker | None] = relationship(back_populates="user")
    club_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Club.id))
    club: Mapped[Club | None] = relationship(back_populates="members")
    hobbies: Mapped[list[Hobby]] = relationship(secondary=LIKES, back_populates="people")
    kennel: Mapped[Kennel | None] = relationship()


class Kennel(DB.Model):  # type: ignore[misc,name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey(User.id))
    dogs: Mapped[list[Dog]] = relationship()


class Pending(PendingRegistrationMixin, DB.Model):  # type: ignore[misc,name-defined]
    pass


class Dog(Named, DB.Model):  # type: ignore[misc,name-defined]
    club_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Club.id))
    club: Mapped[Club | None] = relationship(back_populates="dogs")
    kennel_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Kennel.id))


@models.on_base(lambda: DB)
def with_clubs(db: SQLAlchemy) -> type[Any]:
    return User


def load_one(model: type[Any], name: str) -> Any:
    return DB.session.scalars(sa.select(model).filter_by(name=name)).one()


def club() -> Any:
    """Return the only club, which a caller has to hold: the session does not, until it is changed."""
    return DB.session.scalars(sa.select(Club)).one()


def new_user(data: Mapped[Any] | Mapping[str, Any], **values: object) -> User:
    return User(email=data["email"], username="ann", password_hash="x", **values)


Act = Callable[[dict[str, Any]], object]
REFUSED: dict[str, Act] = {}
ALLOWED: dict[str, Act] = {}


def _in(acts: dict[str, Act]) -> Callable[[Act], Act]:
    def remember(act: Act) -> Act:
        acts[act.__name__] = act
        return act

    return remember


@_in(REFUSED)
def rename(data: dict[str, Any]) -> None:
    club().name = "Stolen"


@_in(REFUSED)
def rename_before_a_select(data: dict[str, Any]) -> None:
    rename(data)
    load_one(Hobby, "Chess")


@_in(REFUSED)
def rename_and_flush(data: dict[str, Any]) -> None:
    rename(data)
    DB.session.flush()


@_in(REFUSED)
def rename_and_commit(data: dict[str, Any]) -> None:
    rename(data)
    DB.session.commit()


@_in(REFUSED)
def rename_in_a_savepoint(data: dict[str, Any]) -> None:
    rename(data)
    with DB.session.begin_nested():
        pass


@_in(REFUSED)
def rename_flush_and_put_back(data: dict[str, Any]) -> None:
    found = club()
    for name in ("Stolen", "Club"):
        found.name = name
        DB.session.flush()


@_in(REFUSED)
def merge(data: dict[str, Any]) -> None:
    DB.session.merge(Club(id=club().id, name="Stolen"))


@_in(REFUSED)
def delete(data: dict[str, Any]) -> None:
    DB.session.delete(load_one(Dog, "Rex"))


@_in(REFUSED)
def add_to_a_collection(data: dict[str, Any]) -> None:
    found = club()
    found.dogs.append(load_one(Dog, "Stray"))


@_in(REFUSED)
def add_a_new_child_beside_the_account(data: dict[str, Any]) -> Any:
    found = club()
    found.dogs.append(Dog(name="Puppy"))
    return {**data, "club": found}


@_in(REFUSED)
def remove_from_a_collection(data: dict[str, Any]) -> None:
    found = club()
    found.dogs.remove(load_one(Dog, "Rex"))


@_in(REFUSED)
def add_somebody_to_many(data: dict[str, Any]) -> None:
    hobby = load_one(Hobby, "Go")
    hobby.people.append(DB.session.scalars(sa.select(User)).one())


@_in(REFUSED)
def remove_somebody_from_many(data: dict[str, Any]) -> None:
    hobby = load_one(Hobby, "Chess")
    hobby.people.clear()


@_in(REFUSED)
def move_somebody(data: dict[str, Any]) -> None:
    DB.session.scalars(sa.select(User)).one().club = None


@_in(REFUSED)
def give_a_stored_child_to_a_new_parent(data: dict[str, Any]) -> Any:
    return {**data, "kennel": Kennel(dogs=[load_one(Dog, "Stray")])}


@_in(REFUSED)
def take_what_one_row_refers_to(data: dict[str, Any]) -> Any:
    return {**data, "locker": load_one(Locker, "Bob's")}


@_in(REFUSED)
def rename_a_detached_row(data: dict[str, Any]) -> Any:
    found = club()
    DB.session.expunge(found)
    found.name = "Stolen"
    return {**data, "club": found}


@_in(ALLOWED)
def take_what_is_free(data: dict[str, Any]) -> Any:
    return {**data, "club": club(), "locker": load_one(Locker, "Free")}


@_in(ALLOWED)
def refer_to_a_detached_row(data: dict[str, Any]) -> Any:
    found = club()
    DB.session.expunge(found)
    return {**data, "club": found}


@_in(ALLOWED)
def refer_to_a_row(data: dict[str, Any]) -> Any:
    return new_user(data, club=club(), hobbies=[load_one(Hobby, "Chess")], kennel=None)


@_in(ALLOWED)
def refer_to_a_loaded_collection(data: dict[str, Any]) -> Any:
    found = club()
    assert len(found.members) == 1
    return new_user(data, club=found)


@_in(ALLOWED)
def stand_in_a_collection(data: dict[str, Any]) -> Any:
    found = club()
    found.members.append(user := new_user(data))
    return user


@_in(ALLOWED)
def bring_new_children(data: dict[str, Any]) -> Any:
    return {**data, "kennel": Kennel(dogs=[Dog(name="Puppy")])}


@_in(ALLOWED)
def bring_a_new_child_that_refers_to_a_row(data: dict[str, Any]) -> Any:
    return {**data, "kennel": Kennel(dogs=[Dog(name="Puppy", club=club())])}


@_in(ALLOWED)
def flush_a_new_row(data: dict[str, Any]) -> Any:
    DB.session.add(Hobby(name="Sailing"))
    DB.session.flush()
    return {**data, "club": club()}


@_in(ALLOWED)
def change_nothing(data: dict[str, Any]) -> None:
    club().name = "Club"


class PlainSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    email = fields.Email(required=True)
    username = fields.String(required=True)
    password = fields.String(required=True)


def acting(act: Act, base: type[Schema] = PlainSchema) -> type[Schema]:
    """Make a schema that does something when it has loaded."""

    class Acting(base):  # type: ignore[misc,valid-type]
        @post_load
        def act(self, data: dict[str, Any], **kwargs: object) -> Any:
            return act(data) or data

    return Acting


BuildWith = Callable[..., Built]


@pytest.fixture
def build_with(build: Builder) -> BuildWith:
    """Build an app whose database has a club with a member and a dog, and a stray dog."""

    def build_app(schema: type[Schema], **settings: Any) -> Built:
        settings = {"REGISTER_SERIALIZER_CLASS": schema, **settings}
        built = build(with_clubs, registration=settings)
        with built.app.app_context():
            old = Club(name="Club", dogs=[Dog(name="Rex")])
            chess = Hobby(name="Chess")
            member = User(email="bob@example.com", username="bob", password_hash="x", club=old, hobbies=[chess])
            member.locker = Locker(name="Bob's")
            DB.session.add_all([member, Locker(name="Free"), Hobby(name="Go"), Dog(name="Stray")])
            DB.session.commit()
        return built

    return build_app


def rows(built: Built) -> list[list[Any]]:
    """Read all that stood there before."""
    with built.app.app_context():
        tables = [model.__table__ for model in (Club, Hobby, Dog, User, Pending)]
        return [sorted(map(tuple, DB.session.execute(sa.select(table))), key=str) for table in (*tables, LIKES)]


@pytest.mark.parametrize("name", REFUSED)
def test_a_serializer_that_changes_an_existing_row_is_refused_and_nothing_is_written(
    build_with: BuildWith, name: str
) -> None:
    built = build_with(acting(REFUSED[name]))
    before = rows(built)
    with pytest.raises(ConfigurationError, match=r"^REGISTER_SERIALIZER_CLASS .* the database already has"):
        built.register()
    assert rows(built) == before


@pytest.mark.parametrize("name", ALLOWED)
def test_a_serializer_may_let_new_objects_refer_to_existing_rows(build_with: BuildWith, name: str) -> None:
    built = build_with(acting(ALLOWED[name]))
    before = rows(built)
    answer = built.register()
    assert answer.status_code == 201, answer.text
    assert [row for old, new in zip(before, rows(built), strict=True) for row in old if row not in new] == []
    refers = ALLOWED[name] not in {bring_new_children, bring_a_new_child_that_refers_to_a_row, change_nothing}
    assert (built.rows()[1]["club_id"] == built.rows()[0]["club_id"]) is refers


@pytest.mark.parametrize("act", [rename, rename_before_a_select, rename_and_commit, delete])
def test_with_e_mail_first_no_serializer_changes_an_existing_row(build_with: BuildWith, act: Act) -> None:
    schema = acting(act, RegisterEmailSerializer)
    built = build_with(PlainSchema, REGISTER_EMAIL_SERIALIZER_CLASS=schema, **EMAIL_FIRST)
    before = rows(built)
    with pytest.raises(ConfigurationError, match=r"^REGISTER_EMAIL_SERIALIZER_CLASS changed rows"):
        built.post(REGISTER, {"email": "ann@example.com"})
    assert rows(built) == before


class ClubSchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]  # not generic in older versions
    class Meta:
        model = Club
        load_instance = True
        sqla_session = DB.session


class HobbySchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]
    class Meta:
        model = Hobby
        load_instance = True
        sqla_session = DB.session


@pytest.mark.parametrize("in_list", [False, True])
def test_two_nested_schemas_hide_no_change_of_each_other(build_with: BuildWith, in_list: bool) -> None:
    hobby: Any = fields.Nested(HobbySchema)
    nested = {"club": fields.Nested(ClubSchema), "hobbies": fields.List(hobby)}
    built = build_with(PlainSchema.from_dict(dict(reversed(nested.items())) if in_list else nested))
    before = rows(built)
    ids = [row[0] for row in (before[0][0], before[1][0])]
    with pytest.raises(ConfigurationError, match=r"changed rows .*\(Club, Hobby\)"):
        built.register(club={"id": ids[0], "name": "Stolen"}, hobbies=[{"id": ids[1], "name": "Stolen"}])
    assert rows(built) == before


def refresh(data: dict[str, Any]) -> None:
    DB.session.refresh(club())


def feed_and_register(built: Built) -> Any:
    """Let the application change the club before, in the session of the request."""
    with built.app.app_context():
        found = club()
        found.name = "Fed"
        return built.register()


@pytest.mark.parametrize("act", [rename, rename_before_a_select, rename_and_flush, refresh])
def test_what_the_application_has_changed_before_is_not_changed_further(build_with: BuildWith, act: Act) -> None:
    built = build_with(acting(act))
    before = rows(built)
    with pytest.raises(ConfigurationError, match=r"changed rows .*\(Club\)"):
        feed_and_register(built)
    assert rows(built) == before


@pytest.mark.parametrize("act", [flush_a_new_row, stand_in_a_collection, bring_new_children])
def test_what_the_application_has_changed_before_goes_with_the_account(build_with: BuildWith, act: Act) -> None:
    built = build_with(acting(act))
    assert feed_and_register(built).status_code == 201
    assert "Fed" in rows(built)[0][0]
