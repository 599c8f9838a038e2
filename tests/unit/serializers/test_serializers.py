"""The default serializers: what registration reads, what it shows, and in which form text is stored."""

from __future__ import annotations

import enum
import uuid
from datetime import datetime
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate
from marshmallow_sqlalchemy import ModelConverter, SQLAlchemyAutoSchema
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    Unicode,
    UnicodeText,
    Uuid,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from flask_rest_registration import (
    ConfigurationError,
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    normalize_email,
)
from flask_rest_registration.serializers.fields import NormalizedString
from tests.support import models
from tests.support.apps import OMITTED, PASSWORD, Builder, Built, make_app
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking

USUAL = {"email", "password", "password_confirm"}


class Colour(enum.Enum):
    RED = "red"


def wide(db: SQLAlchemy) -> type[Any]:
    """A model with a column of every sort that the default serializer has to choose from."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]
        username: Mapped[str] = mapped_column(String(20), unique=True)
        motto: Mapped[str] = mapped_column(Text)
        nickname: Mapped[str | None] = mapped_column(String(20))
        language: Mapped[str] = mapped_column(String(5), default="en")
        country: Mapped[str] = mapped_column(String(2), server_default="NO")
        score: Mapped[int] = mapped_column(default=0)
        role: Mapped[str] = mapped_column(String(9), default="member")
        is_admin: Mapped[bool] = mapped_column(default=False)
        last_login: Mapped[datetime | None]

        @hybrid_property
        def shout(self) -> str:
            return self.username.upper()

        @property
        def badge(self) -> dict[str, int]:
            return {"level": 3}

    return User


def names(built: Built) -> tuple[set[str], set[str]]:
    """Return the names of the fields that registration reads, and of those that the profile shows."""
    register = built.registration.register_schema(built.app)
    return set(register.load_fields), set(built.registration.profile_schema(built.app).dump_fields)


def errors(built: Built, **changes: object) -> dict[str, list[str]]:
    answer = built.register(**changes)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid")
    assert built.rows() == []
    found: dict[str, list[str]] = answer.get_json()["errors"]
    return found


# What registration reads


def test_registration_reads_the_plain_text_columns_that_a_row_cannot_be_made_without() -> None:
    assert names(make_app(wide))[0] == USUAL | {"username", "motto"}


@pytest.mark.parametrize(
    "name",
    ["nickname", "language", "score", "role", "is_admin", "id", "email_verified_at", "password_hash", "no_such_field"],
)
def test_what_registration_does_not_read_is_refused_as_an_unknown_field(build: Builder, name: str) -> None:
    built = build(wide)
    assert errors(built, motto="Onwards", **{name: "1"}) == {name: ["Unknown field."]}


@pytest.mark.parametrize("name", ["username", "motto", "email", "password", "password_confirm"])
def test_what_registration_reads_is_required(build: Builder, name: str) -> None:
    assert name in errors(build(wide), **{"motto": "Onwards", name: OMITTED})


@pytest.mark.parametrize("name", ["username", "motto"])
@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0", "\u3000 "])
def test_a_required_text_may_not_be_blank(build: Builder, name: str, text: str) -> None:
    assert list(errors(build(wide), **{"motto": "Onwards", name: text})) == [name]


@pytest.mark.parametrize("value", [None, 5, True, ["a"], {"a": "b"}])
def test_a_required_text_is_a_text(build: Builder, value: object) -> None:
    assert list(errors(build(wide), motto=value)) == ["motto"]


def test_a_text_is_no_longer_than_its_column(build: Builder) -> None:
    built = build(wide)
    assert list(errors(built, motto="m", username="u" * 21)) == ["username"]
    assert built.register(motto="m" * 5000, username="u" * 20).status_code == 201


@pytest.mark.parametrize("listed", [["username", "motto"], ["motto", "username", "email"], ("username", "motto")])
def test_user_editable_fields_may_name_what_is_read_anyway(listed: Any) -> None:
    assert names(make_app(wide, registration={"USER_EDITABLE_FIELDS": listed}))[0] == USUAL | {"username", "motto"}


def test_user_editable_fields_add_what_they_list_hidden_ones_too(build: Builder) -> None:
    listed = ["username", "motto", "nickname", "score", "role", "is_admin"]
    built = build(wide, registration={"USER_EDITABLE_FIELDS": listed})
    assert names(built)[0] == USUAL | set(listed)
    answer = built.register(motto="m", nickname=None, score=7, role="chief", is_admin=True)
    assert answer.status_code == 201
    row = built.row()
    assert [row[name] for name in ("nickname", "score", "role", "is_admin")] == [None, 7, "chief", True]


def test_what_is_listed_and_has_a_default_may_be_left_out(build: Builder) -> None:
    built = build(wide, registration={"USER_EDITABLE_FIELDS": ["username", "motto", "language", "country", "score"]})
    assert built.register(motto="m").status_code == 201
    assert [built.row()[name] for name in ("language", "country", "score")] == ["en", "NO", 0]


@pytest.mark.parametrize("name", ["id", "password_hash", "password", "email_verified_at", "no_such_field", "shout"])
@pytest.mark.parametrize("listed_with", [[], ["username", "motto"]])
def test_key_flag_and_password_are_never_read_even_when_listed(name: str, listed_with: list[str]) -> None:
    built = make_app(wide, registration={"USER_EDITABLE_FIELDS": [*listed_with, name]})
    with pytest.raises(ConfigurationError) as caught:
        built.registration.register_schema(built.app)
    assert lacking(str(caught.value), "USER_EDITABLE_FIELDS", repr(name)) == []
    assert "never shown" not in str(caught.value)


@pytest.mark.parametrize("hidden", [[], ["id"]])
def test_a_key_of_text_that_nothing_fills_is_never_read(build: Builder, hidden: list[str]) -> None:
    model = models.declared(id=mapped_column(String(36), primary_key=True))
    built = build(model, registration={"USER_HIDDEN_FIELDS": hidden})
    with pytest.raises(ConfigurationError, match="cannot be made without id, which registration does not read"):
        built.register()


def run_time(text: str) -> str:
    """Return an equal text that is another object, as configuration that is read from a file has them."""
    return "".join(text)


def test_names_in_the_settings_are_compared_by_their_letters(build: Builder) -> None:
    listed = [run_time("username"), run_time("mail_address")]
    settings = {"USER_EMAIL_FIELD": run_time("mail_address"), "USER_EDITABLE_FIELDS": listed}
    built = build(models.other_email_name, registration=settings)
    assert built.register(mail_address="Ann@Example.COM").get_json()["mail_address"] == "ann@example.com"
    assert errors(build(models.other_email_name, registration=settings), mail_address="ann") == {
        "mail_address": ["Not a valid email address."]
    }
    again = built.register(mail_address="ann@example.com", username="bob")
    assert list(again.get_json()["errors"]) == ["mail_address"]


def test_another_password_column_is_kept_out_by_user_hidden_fields() -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(unique=True)
            secret_digest: Mapped[str] = mapped_column(default="")
            email_verified: Mapped[bool]

            def set_password(self, password: str) -> None:
                self.secret_digest = "d"

        return User

    built = make_app(model, registration={"USER_HIDDEN_FIELDS": ["secret_digest"]})
    assert names(built) == (USUAL, {"id", "email"})


def with_column(column: Any) -> models.Model:
    """Make a model with one more column, ``extra``."""

    def model(db: SQLAlchemy) -> type[Any]:
        class Team(db.Model):  # type: ignore[misc,name-defined]
            name: Mapped[str] = mapped_column(String(9), primary_key=True)

        user = models.minimal(db)
        user.extra = column
        user.neighbour = Team  # SQLAlchemy itself holds classes weakly
        return user

    return model


@pytest.mark.parametrize(
    "kind", [Integer, JSON, Enum(Colour), Enum("red", "blue"), ForeignKey("team.name"), Boolean, DateTime]
)
def test_any_other_column_that_a_row_cannot_be_made_without_is_refused_with_the_three_mends(
    build: Builder, kind: Any
) -> None:
    column = Column(String(9), kind, nullable=False) if isinstance(kind, ForeignKey) else Column(kind, nullable=False)
    built = build(with_column(column))
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert (
        lacking(str(caught.value), "User", "extra", "default", "USER_EDITABLE_FIELDS", "REGISTER_SERIALIZER_CLASS")
        == []
    )


def test_a_hidden_column_that_a_row_cannot_be_made_without_is_refused_as_well(build: Builder) -> None:
    built = build(with_column(Column(String(9), nullable=False)), registration={"USER_HIDDEN_FIELDS": ["extra"]})
    with pytest.raises(ConfigurationError, match="extra"):
        built.register()


def test_a_default_in_the_constructor_is_no_default(build: Builder) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(unique=True)
            password_hash: Mapped[str]
            email_verified_at: Mapped[datetime | None]
            credits: Mapped[int]

            def __init__(self, **values: Any) -> None:
                super().__init__(credits=5, **values)

        return User

    with pytest.raises(ConfigurationError, match=r"credits.*not in __init__"):
        build(model).register()


class WithFiller(DefaultRegisterUserSerializer):
    @post_load
    def fill(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {**data, "extra": 5}


@pytest.mark.parametrize(
    ("column", "settings", "sent"),
    [
        (Column(Integer, nullable=False, default=5), {}, {}),
        (Column(Integer, nullable=False, server_default="5"), {}, {}),
        (Column(Integer, nullable=False), {"USER_EDITABLE_FIELDS": ["extra"]}, {"extra": 5}),
        (Column(Integer, nullable=False), {"REGISTER_SERIALIZER_CLASS": WithFiller}, {}),
    ],
)
def test_each_of_the_mends_helps(
    build: Builder, column: Any, settings: dict[str, object], sent: dict[str, object]
) -> None:
    built = build(with_column(column), registration=settings)
    assert built.register(**sent).status_code == 201
    assert built.row()["extra"] == 5


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [(SmallInteger, -(2**15), 2**15 - 1), (Integer, -(2**31), 2**31 - 1), (BigInteger, -(2**63), 2**63 - 1)],
)
def test_a_listed_number_has_to_fit_its_column(build: Builder, kind: Any, least: int, most: int) -> None:
    built = build(with_column(Column(kind)), registration={"USER_EDITABLE_FIELDS": ["extra"]})
    for number in (least - 1, most + 1):
        assert list(errors(built, extra=number)) == ["extra"]
    assert built.register(extra=most).status_code == 201
    assert built.register(extra=least, email="bob@example.com").status_code == 201


def test_a_uuid_whose_column_takes_text_is_read_and_stored(build: Builder) -> None:
    built = build(with_column(Column(Uuid(as_uuid=False))), registration={"USER_EDITABLE_FIELDS": ["extra"]})
    assert list(errors(built, extra="no UUID")) == ["extra"]
    assert built.register(extra="0F8FAD5B-D9CB-469F-A165-70867728950E").status_code == 201
    assert built.row()["extra"] == "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize("verification", [True, False])
def test_while_verification_is_on_the_address_is_required_even_where_its_column_is_nullable(
    build: Builder, verification: bool
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str | None] = mapped_column(unique=True)
            password_hash: Mapped[str]
            email_verified_at: Mapped[datetime | None]

        return User

    built = build(model, registration={"REGISTER_VERIFICATION_ENABLED": verification})
    if verification:
        assert list(errors(built, email=OMITTED)) == ["email"]
        assert list(errors(built, email=None)) == ["email"]
    else:
        assert built.register(email=OMITTED).status_code == 201
        assert built.register(email=None).status_code == 201
        assert [row["email"] for row in built.rows()] == [None, None]


# password_confirm


@pytest.mark.parametrize("confirmed", [PASSWORD + " ", "", PASSWORD.upper(), None, OMITTED])
def test_the_two_passwords_must_be_the_same(build: Builder, confirmed: object) -> None:
    assert list(errors(build(), password_confirm=confirmed)) == ["password_confirm"]


def test_without_password_confirm_it_is_an_unknown_field(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_PASSWORD_CONFIRM": False})
    assert errors(built) == {"password_confirm": ["Unknown field."]}
    assert built.register(password_confirm=OMITTED).status_code == 201


# What is shown


def test_the_profile_shows_the_key_and_what_registration_reads(build: Builder) -> None:
    built = build(wide)
    assert built.register(motto="Onwards").get_json() == {
        "id": 1,
        "email": "ann@example.com",
        "username": "ann",
        "motto": "Onwards",
    }


def test_a_hidden_field_that_is_listed_to_be_read_is_shown(build: Builder) -> None:
    built = build(wide, registration={"USER_EDITABLE_FIELDS": ["username", "motto", "role"]})
    assert built.register(motto="m", role="chief").get_json()["role"] == "chief"


def test_user_public_fields_show_exactly_what_they_list_properties_too(build: Builder) -> None:
    shown = ["username", "email_verified_at", "is_admin", "shout", "badge"]
    built = build(wide, registration={"USER_PUBLIC_FIELDS": shown})
    assert built.register(motto="m").get_json() == {
        "username": "ann",
        "email_verified_at": None,
        "is_admin": False,
        "shout": "ANN",
        "badge": {"level": 3},
    }


def test_user_public_fields_may_show_nothing(build: Builder) -> None:
    assert build(registration={"USER_PUBLIC_FIELDS": []}).register().get_json() == {}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (wide, "password_hash"),
        (wide, "password"),
        (wide, "no_such_field"),
        (models.password_column, "password"),
        (models.password_property, "password"),
        (models.password_hybrid, "password_hash"),
        (models.password_hybrid_over_underscore, "_password"),
    ],
)
def test_a_password_is_never_shown_even_when_listed(model: models.Model, name: str) -> None:
    built = make_app(model, registration={"USER_PUBLIC_FIELDS": ["id", name]})
    with pytest.raises(ConfigurationError) as caught:
        built.registration.profile_schema(built.app)
    assert lacking(str(caught.value), "USER_PUBLIC_FIELDS", repr(name)) == []
    assert "read from a stranger" not in str(caught.value)


def test_the_default_profile_shows_what_strangers_may_set_hidden_fields_too(build: Builder) -> None:
    built = build(wide, registration={"USER_EDITABLE_FIELDS": ["username", "motto", "role"]})
    shown = built.register(motto="Onwards", role="chief").get_json()
    assert shown == {"id": 1, "email": "ann@example.com", "username": "ann", "motto": "Onwards", "role": "chief"}


@pytest.mark.parametrize("name", models.ALL)
def test_neither_flag_nor_hash_is_shown_by_any_model(build: Builder, name: str) -> None:
    shown = build(models.ALL[name]).register().get_json()
    hidden = {"email_verified_at", "is_verified", "email_verified", "confirmed_at", "is_active"}
    assert {key for key in shown if key in hidden or "password" in key} == set()


@pytest.mark.parametrize(
    "kind",
    [
        *(String(9), String(), Unicode(9), Text(), UnicodeText()),
        *(Integer(), SmallInteger(), BigInteger(), Boolean(), Float(), Numeric(9, 2)),
        *(Date(), DateTime(), DateTime(timezone=True), Time(), JSON(), Uuid()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("nullable", [True, False])
def test_a_column_is_shown_by_the_field_that_marshmallow_sqlalchemy_makes_of_it(kind: Any, nullable: bool) -> None:
    column = Column(kind, nullable=nullable, default=None if nullable else 1)
    settings = {"USER_PUBLIC_FIELDS": ["extra"]}
    built = make_app(models.declared(extra=column), registration=settings)
    shown = built.registration.profile_schema(built.app).fields["extra"]
    made = ModelConverter().column2field(column, dump_only=True, required=False)
    assert type(shown) is type(made)
    assert vars_without_place(shown) == vars_without_place(made)


def vars_without_place(field: fields.Field[Any]) -> dict[str, object]:
    """Return what a field was made with, without what a schema tells it when it takes it in."""
    place = {"name", "parent", "root", "attribute", "data_key", "_creation_index", "format", "error_messages"}
    validators = {"validators", "validate"}
    values = {name: value for name, value in vars(field).items() if name not in place | validators}
    return {**values, "validators": [repr(each) for each in field.validators]}


def test_a_column_of_a_type_that_nothing_is_known_of_is_shown_as_it_is(build: Builder) -> None:
    settings = {"USER_PUBLIC_FIELDS": ["extra"]}
    built = build(models.declared(extra=Column(Unknown(), default="as it is")), registration=settings)
    assert built.register().get_json() == {"extra": "as it is"}


def test_the_profiles_key_is_for_reading_only(build: Builder) -> None:
    built = build(models.uuid_key)
    schema = built.registration.profile_schema(built.app)
    assert schema.fields["id"].dump_only
    assert "id" not in schema.load_fields
    assert uuid.UUID(built.register().get_json()["id"]) == built.row()["id"]


# A serializer of one's own


class WithTerms(DefaultRegisterUserSerializer):
    """Adds a field, overrides another, and takes the first one out of what it gives."""

    class Meta:
        unknown = EXCLUDE

    terms = fields.Boolean(required=True, data_key="I agree", validate=validate.Equal(True))
    username = fields.String(required=True, validate=validate.Length(min=5), data_key="userName")

    @post_load
    def drop_terms(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name != "terms"}


def test_a_subclass_adds_and_overrides_fields_and_keeps_its_meta(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": WithTerms})
    wrong = built.register(username=OMITTED, userName="ann", unknown=5, **{"I agree": False})
    assert set(wrong.get_json()["errors"]) == {"userName", "I agree"}
    right = built.register(username=OMITTED, userName="annabel", unknown=5, **{"I agree": True})
    assert right.status_code == 201
    assert built.row()["username"] == "annabel"


def test_a_taken_value_is_reported_under_the_name_that_the_client_used(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": WithTerms})
    body = {"username": OMITTED, "userName": "annabel", "I agree": True}
    assert built.register(**body).status_code == 201
    assert built.register(**body, email="bob@example.com").get_json()["errors"] == {
        "userName": ["This value is already taken."]
    }


class NoEmail(DefaultRegisterUserSerializer):
    class Meta:
        exclude = ("email",)


class Renaming(DefaultRegisterUserSerializer):
    class Meta:
        fields = ("email", "username", "password")


def test_a_subclass_may_leave_fields_out_by_its_meta(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": NoEmail})
    answer = built.register(email=OMITTED)
    assert answer.get_json()["code"] == "user-without-email-nonverifiable"
    short = build(registration={"REGISTER_SERIALIZER_CLASS": Renaming})
    assert short.register(password_confirm=OMITTED).status_code == 201


class Shouting(DefaultUserProfileSerializer):
    name = fields.Method("shouted")

    def shouted(self, user: Any) -> str:
        return f"{user.username}!"


def test_a_subclass_of_the_profile_adds_to_what_is_shown(build: Builder) -> None:
    built = build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": Shouting})
    assert built.register().get_json() == {"id": 1, "email": "ann@example.com", "username": "ann", "name": "ann!"}


MADE: list[int] = []


class Counting(DefaultRegisterUserSerializer):
    def __init__(self, *args: Any, **options: Any) -> None:
        MADE.append(id(self))
        super().__init__(*args, **options)


def test_a_class_of_the_applications_own_is_instantiated_for_each_request(build: Builder) -> None:
    MADE.clear()
    built = build(registration={"REGISTER_SERIALIZER_CLASS": Counting})
    for name in ("ann", "bob", "eve"):
        assert built.register(email=f"{name}@example.com", username=name).status_code == 201
    assert len(MADE) == 3


def test_the_default_serializers_are_instantiated_once_per_app() -> None:
    first, second = make_app(), make_app()
    for schema_of in (first.registration.register_schema, first.registration.profile_schema):
        assert schema_of(first.app) is schema_of(first.app)
    assert first.registration.register_schema(first.app) is not second.registration.register_schema(second.app)


def test_the_classes_that_are_imported_are_left_as_they_are(build: Builder) -> None:
    build(wide, registration={"REGISTER_SERIALIZER_CLASS": WithTerms}).register()
    assert DefaultRegisterUserSerializer().fields.keys() == set()
    assert DefaultUserProfileSerializer().fields.keys() == set()
    assert WithTerms().fields.keys() == {"terms", "username"}


def test_one_class_serves_two_apps_with_different_models() -> None:
    apps = [make_app(model, registration={"REGISTER_SERIALIZER_CLASS": WithTerms}) for model in (wide, models.typed)]
    read = [names(built)[0] - USUAL for built in apps]
    assert read == [{"username", "motto", "terms"}, {"username", "terms"}]


@pytest.mark.parametrize("cls", [WithTerms, None])
def test_the_schemas_of_an_app_that_is_not_current_are_its_own(cls: type[Schema] | None) -> None:
    mine = make_app(wide, registration={"REGISTER_SERIALIZER_CLASS": cls})
    other = make_app(models.minimal)
    with other.app.app_context():
        schema = mine.registration.register_schema(mine.app)
        profile = other.registration.profile_schema(mine.app)
        assert isinstance(schema, cls or DefaultRegisterUserSerializer)
        assert "motto" in schema.fields
        assert "motto" in profile.fields
        assert "motto" not in mine.registration.register_schema(other.app).fields


def test_an_auto_schema_of_the_applications_own_reads_the_model(build: Builder) -> None:
    built = build(tables=True)

    class AutoSchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]  # generic in newer versions only
        class Meta:
            model = built.User
            exclude = ("password_hash", "email_verified_at", "id")

        password = fields.String(required=True)

    other = build(lambda db: models.typed(db), registration={"REGISTER_SERIALIZER_CLASS": AutoSchema})
    assert other.register(password_confirm=OMITTED).status_code == 201
    assert list(errors(build(registration={"REGISTER_SERIALIZER_CLASS": AutoSchema}))) == ["password_confirm"]


# Text, normalised


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("ａｎｎ", "ann"), ("ﬁona", "fiona"), ("e\u0301cole", "école"), ("Ⅷ", "VIII"), ("Ann", "Ann"), ("ŉ", "ʼn")],
)
def test_unique_text_is_stored_in_unicodes_normal_form_nfkc(build: Builder, sent: str, stored: str) -> None:
    built = build()
    assert built.register(username=sent).get_json()["username"] == stored
    assert built.row()["username"] == stored


def test_a_look_alike_of_a_taken_name_is_taken(build: Builder) -> None:
    built = build()
    built.register(username="fiona")
    answer = built.register(username="ﬁｏna", email="bob@example.com")
    assert answer.get_json()["errors"] == {"username": ["This value is already taken."]}


def test_text_is_normalised_before_its_length_is_checked(build: Builder) -> None:
    eighteen = "\ufdfa"
    built = build(wide)
    assert list(errors(built, motto="m", username=eighteen * 2)) == ["username"]
    assert built.register(motto="m", username=eighteen).status_code == 201
    assert len(built.row()["username"]) == 18


def test_text_that_is_longer_before_it_is_normalised_fits(build: Builder) -> None:
    built = build(wide)
    assert built.register(motto="m", username="e\u0301" * 20).status_code == 201
    assert built.row()["username"] == "é" * 20


def test_text_that_normalises_to_blanks_is_blank(build: Builder) -> None:
    assert list(errors(build(), username="\u2003\u00a0")) == ["username"]


def test_text_that_is_not_unique_is_stored_as_sent(build: Builder) -> None:
    built = build(wide)
    assert built.register(motto="ﬁ Ⅷ e\u0301").status_code == 201
    assert built.row()["motto"] == "ﬁ Ⅷ e\u0301"


def test_text_that_is_unique_together_with_another_is_normalised(build: Builder) -> None:
    built = build(models.composite_unique)
    assert built.register(team="ｂlue", username="ａnn").status_code == 201
    assert (built.row()["team"], built.row()["username"]) == ("blue", "ann")


def test_only_a_text_of_2000_characters_or_fewer_is_normalised() -> None:
    field = NormalizedString()
    assert field.deserialize("\ufb01" * 2000) == "fi" * 2000
    with pytest.raises(ValidationError, match="This text is too long"):
        field.deserialize("x" * 2001)


# E-mail addresses

NORMALISED = [
    ("ann@example.com", "ann@example.com"),
    ("ANN@Example.COM", "ann@example.com"),
    ("ann+tag@example.com", "ann+tag@example.com"),
    ("a.n'n_o@example.com", "a.n'n_o@example.com"),
    ("Ann@MÜNCHEN.example", "ann@münchen.example"),
    ("ann@xn--mnchen-3ya.example", "ann@münchen.example"),
    ("ann@straße.example", "ann@straße.example"),
    ("ann@ｅxample.com", "ann@example.com"),
    ("ann@例え.example", "ann@例え.example"),
    ("ann@İzmir.example", "ann@i\u0307zmir.example"),
    ("ann@ΣΊΣΥΦΟΣ.example", "ann@σίσυφοσ.example"),
    ("ann@σίσυφος.example", "ann@σίσυφος.example"),
    # Of Cherokee, domains have what Python takes for capitals.
    ("Ann@\u13a0\u13f4.example", "ann@\u13a0\u13f4.example"),
]
#: What registration answers with a field error.
REFUSED = [
    *("", " ", "ann", "@", "ann@", "@example.com", "ann@example", "ann@@example.com", "ann example.com"),
    *("ann@example.com ", " ann@example.com", "ann@example.com\n", "ann@exam ple.com", "ann\t@example.com"),
    # One field with two addresses sent mail to both (CVE-2022-35924).
    *("a@evil.example,b@example.com", "a@evil.example;b@example.com", "a@evil.example b@example.com"),
    *("ann@example.com\r\nBcc: b@evil.example", "ann@example.com\nb@evil.example", "ann@example.com%0ab@evil.example"),
    *("<ann@example.com>", "Ann <ann@example.com>", '"a@evil.example" <b@example.com>', "ann@example.com (Ann)"),
    *('"ann"@example.com', '"a@evil.example"@example.com', '"a b"@example.com', '"a\\"b"@example.com'),
    # A full-width @ became a second one after the check (GHSA-7rqj-j65f-68wh).
    *("a＠evil.example@good.example", "a﹫evil.example@good.example", "ann＠example.com", "ann@ex＠mple.com"),
    # Letters outside ASCII on the left fold to another account's address (CVE-2019-19844).
    *("ü@example.com", "ﬀ@example.com", "ı@example.com", "\u212aate@example.com", "ａnn@example.com"),
    *("ann@[127.0.0.1]", "ann@127.0.0.1", "ann@localhost", "ann@-example.com", "ann@example..com", "ann.@example.com"),
    *("ann@exa\u200bmple.com", "ann@example.com\u202e", "ann\u0000@example.com", "ann@example.com\x7f"),
    *("ann@" + "a" * 64 + ".com", "ann@" + "a." * 126 + "com", "mailto:ann@example.com"),
]


@pytest.mark.parametrize(("sent", "stored"), NORMALISED)
def test_an_address_is_stored_lower_cased_with_its_domain_in_unicode(build: Builder, sent: str, stored: str) -> None:
    built = build()
    assert built.register(email=sent).get_json()["email"] == stored
    assert built.row()["email"] == stored
    assert normalize_email(sent) == stored
    assert normalize_email(stored) == stored


@pytest.mark.parametrize("sent", REFUSED)
def test_what_is_not_exactly_one_address_is_a_field_error_and_no_mail_is_sent(
    build: Builder, smtp: RecordingServer, sent: str
) -> None:
    assert list(errors(build(), email=sent)) == ["email"]
    assert smtp.conversations == []
    with pytest.raises(ValueError, match=r"\S"):
        normalize_email(sent)


def test_a_text_longer_than_any_address_is_not_even_parsed() -> None:
    """RFC 5321, section 4.5.3.1: 64 characters, an @ and 255 more."""
    ours = "the address is too long"
    for length in (321, 100_000):
        with pytest.raises(ValueError, match=f"^{ours}$"):
            normalize_email("@".rjust(length, "a"))
    with pytest.raises(ValueError, match=rf"^(?!{ours}$)"):
        normalize_email("@".rjust(320, "a"))


@pytest.mark.parametrize("value", [None, 5, True, ["ann@example.com"], {"email": "ann@example.com"}, OMITTED])
def test_an_address_is_a_text(build: Builder, value: object) -> None:
    assert list(errors(build(), email=value)) == ["email"]


def test_two_spellings_of_one_address_are_one_account(build: Builder) -> None:
    built = build()
    assert built.register(email="ann@MÜNCHEN.example").status_code == 201
    answer = built.register(email="Ann@xn--mnchen-3ya.example", username="bob")
    assert answer.get_json()["errors"] == {"email": ["This value is already taken."]}


@pytest.mark.parametrize("length", [20, 254, 255, None])
def test_an_address_is_no_longer_than_its_column_nor_than_254_characters(build: Builder, length: int | None) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(length), unique=True)
            password_hash: Mapped[str]
            email_verified_at: Mapped[datetime | None]

        return User

    built = build(model)
    most = min(length or 254, 254)
    domain = ("a" * 50 + ".") * 4 + "example" if most > 20 else "a.example"
    fits = "a" * (most - len(domain) - 1) + "@" + domain
    assert list(errors(built, email=f"a{fits}")) == ["email"]
    assert built.register(email=fits).status_code == 201


def test_the_message_does_not_quote_what_was_sent(build: Builder) -> None:
    assert "<script>" not in str(errors(build(), email="<script>@example.com"))


class Unknown(UserDefinedType[Any]):
    """A type of which marshmallow-sqlalchemy knows nothing."""

    def get_col_spec(self, **_: object) -> str:
        return "TEXT"


@pytest.mark.parametrize("kind", [LargeBinary(), Unknown(), postgresql.TSVECTOR(), mysql.BIT()], ids=repr)
def test_a_column_that_json_cannot_fill_needs_a_serializer_of_ones_own(build: Builder, kind: Any) -> None:
    settings = {"USER_EDITABLE_FIELDS": ["extra"]}
    built = build(models.declared(extra=Column(kind)), registration=settings, tables=False)
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    assert lacking(str(caught.value), "User.extra", "REGISTER_SERIALIZER_CLASS") == []


def with_columns_of_ends(db: SQLAlchemy) -> type[Any]:
    user: type[Any] = models.minimal(db)
    user.moment = mapped_column(DateTime(timezone=True))
    user.amount = mapped_column(Numeric)
    return user


@pytest.mark.parametrize(
    ("field", "value", "is_fine"),
    [
        ("moment", "0001-01-01T00:00:00+14:00", False),
        ("moment", "0001-01-02T23:59:59", False),
        ("moment", "0001-01-03T00:00:00+14:00", True),
        ("moment", "9999-12-31T23:59:59-12:00", False),
        ("moment", "9999-12-29T23:59:59-12:00", True),
        ("moment", "9999-12-29T23:59:59.999999", True),
        ("amount", "1e1001", False),
        ("amount", "-1e99999999", False),
        ("amount", "1e-99999999", False),
        ("amount", "1e9", True),
        ("amount", "0", True),
    ],
)
def test_what_a_database_could_not_give_back_or_a_driver_not_write_out_is_refused(
    build: Builder, field: str, value: str, is_fine: bool
) -> None:
    """A moment that another time zone takes out of the calendar; a number of megabytes of digits."""
    built = build(with_columns_of_ends, registration={"USER_EDITABLE_FIELDS": ["moment", "amount"]})
    answer = built.register(**{field: value})
    assert list(answer.get_json().get("errors", ())) == ([] if is_fine else [field])
    assert len(built.rows()) == is_fine
