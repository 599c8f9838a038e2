"""The default serializers: what registration reads, what it shows, and in which form text is stored."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate
from marshmallow_sqlalchemy import ModelConverter, SQLAlchemyAutoSchema
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
from tests.support.answers import field_errors
from tests.support.apps import OMITTED, PASSWORD, Builder, Built, make_app
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.models import declared

USUAL = {"email", "password", "password_confirm"}
TAKEN = ["This is already taken. Choose another one."]
ADDRESS_TAKEN = ["This e-mail address already has an account."]


def wide(db: SQLAlchemy) -> type[Any]:
    """A model with a column of every sort that the default serializer has to choose from."""

    class User(models.Unnamed, db.Model):  # type: ignore[misc,name-defined]
        username: Mapped[str] = mapped_column(sa.String(20), unique=True)
        motto: Mapped[str] = mapped_column(sa.Text)
        nickname: Mapped[str | None] = mapped_column(sa.String(20))
        language: Mapped[str] = mapped_column(sa.String(5), default="en")
        country: Mapped[str] = mapped_column(sa.String(2), server_default="NO")
        score: Mapped[int] = mapped_column(default=0)
        role: Mapped[str] = mapped_column(sa.String(9), default="member")
        is_admin: Mapped[bool] = mapped_column(default=False)

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
    found = field_errors(built.register(**changes))
    assert built.rows() == []
    return found


def fault(built: Built) -> str:
    with pytest.raises(ConfigurationError) as caught:
        built.register()
    return str(caught.value)


def test_registration_reads_the_plain_text_columns_that_a_row_cannot_be_made_without(build: Builder) -> None:
    built = build(wide)
    assert names(built) == (USUAL | {"username", "motto"}, {"id", "email", "username", "motto"})
    for name in USUAL | {"username", "motto"}:
        assert name in errors(built, **{"motto": "Onwards", name: OMITTED})
    others = ("nickname", "language", "role", "is_admin", "id", "email_verified_at", "password_hash", "no_such")
    for name in others:
        assert errors(built, motto="Onwards", **{name: "1"}) == {name: ["This field is not known."]}
    shown = built.register(motto="Onwards").get_json()
    assert shown == {"id": 1, "email": "ann@example.com", "username": "ann", "motto": "Onwards"}


def test_a_required_text_is_a_text_not_blank_and_no_longer_than_its_column(build: Builder) -> None:
    built = build(wide)
    for value in ("", " ", "\t\n", "\u00a0", "\u3000 ", None, 5, True, ["a"], {"a": "b"}):
        for name in ("username", "motto"):
            assert list(errors(built, **{"motto": "Onwards", name: value})) == [name], repr(value)
    assert list(errors(built, motto="m", username="u" * 21)) == ["username"]
    assert built.register(motto="m" * 5000, username="u" * 20).status_code == 201


def test_user_editable_fields_add_what_they_list_and_show_it_hidden_ones_too(build: Builder) -> None:
    listed = ["username", "motto", "nickname", "score", "role", "is_admin"]
    built = build(wide, registration={"USER_EDITABLE_FIELDS": listed})
    assert names(built) == (USUAL | set(listed), {"id", "email", *listed})
    sent = {"username": "ann", "motto": "m", "nickname": None, "score": 7, "role": "chief", "is_admin": True}
    assert built.register(**sent).get_json() == {"id": 1, "email": "ann@example.com", **sent}
    row = built.row()
    assert {name: row[name] for name in listed} == sent


@pytest.mark.parametrize("listed", [["username", "motto"], ["motto", "username", "email"], ("username", "motto")])
def test_user_editable_fields_may_name_what_is_read_anyway(listed: Any) -> None:
    assert names(make_app(wide, registration={"USER_EDITABLE_FIELDS": listed}))[0] == USUAL | {"username", "motto"}


def test_what_is_listed_and_has_a_default_may_be_left_out(build: Builder) -> None:
    built = build(wide, registration={"USER_EDITABLE_FIELDS": ["username", "motto", "language", "country", "score"]})
    assert built.register(motto="m").status_code == 201
    assert [built.row()[name] for name in ("language", "country", "score")] == ["en", "NO", 0]


@pytest.mark.parametrize("name", ["id", "password_hash", "password", "email_verified_at", "no_such_field", "shout"])
@pytest.mark.parametrize("listed_with", [[], ["username", "motto"]])
def test_key_flag_and_password_are_never_read_even_when_listed(name: str, listed_with: list[str]) -> None:
    message = fault(make_app(wide, registration={"USER_EDITABLE_FIELDS": [*listed_with, name]}))
    assert lacking(message, "USER_EDITABLE_FIELDS", repr(name)) == []
    assert "never shown" not in message


def test_names_in_the_settings_are_compared_by_their_letters(build: Builder) -> None:
    name = "".join(["mail_", "address"])  # as a configuration file gives it: another object than the model's
    settings = {"USER_EMAIL_FIELD": name, "USER_EDITABLE_FIELDS": ["username", name]}
    built = build(models.other_email_name, registration=settings)
    assert errors(built, mail_address="ann") == {"mail_address": ["Enter an e-mail address such as name@example.com."]}
    assert built.register(mail_address="Ann@Example.COM").get_json()["mail_address"] == "ann@example.com"
    assert list(field_errors(built.register(mail_address="ann@example.com", username="bob"))) == ["mail_address"]


def test_another_password_column_is_kept_out_by_user_hidden_fields() -> None:
    columns = {"password_hash": None, "secret_digest": sa.Column(sa.String(9), default="")}
    model = declared(set_password=lambda self, password: setattr(self, "secret_digest", "d"), **columns)
    assert names(make_app(model, registration={"USER_HIDDEN_FIELDS": ["secret_digest"]})) == (USUAL, {"id", "email"})


def with_column(column: Any, *, init: Any = None) -> models.Model:
    def model(db: SQLAlchemy) -> type[Any]:
        team = type("Team", (db.Model,), {"name": mapped_column(sa.String(9), primary_key=True)})
        # SQLAlchemy itself holds classes weakly.
        return declared(extra=column, neighbour=team, __init__=init)(db)

    return model


@pytest.mark.parametrize(
    "kind", [(sa.Integer,), (sa.JSON,), (sa.Enum("red", "blue"),), (sa.String(9), sa.ForeignKey("team.name"))]
)
def test_another_column_that_a_row_cannot_be_made_without_is_refused_with_the_fixes(kind: tuple[Any, ...]) -> None:
    message = fault(make_app(with_column(sa.Column(*kind, nullable=False))))
    fixes = ("default", "USER_EDITABLE_FIELDS", "REGISTER_SERIALIZER_CLASS")
    assert lacking(message, "User cannot be made without extra", *fixes) == []


@pytest.mark.parametrize(
    ("model", "hidden", "words"),
    [
        (declared(id=mapped_column(sa.String(36), primary_key=True)), ["id"], "without id, which registration does"),
        (declared(id=mapped_column(sa.String(36), primary_key=True)), [], "without id, which registration does"),
        (with_column(sa.Column(sa.String(9), nullable=False)), ["extra"], "without extra"),
        (with_column(sa.Column(sa.Integer, nullable=False), init=models.filled_with(extra=5)), [], "not in __init__"),
    ],
    ids=["a hidden key that nothing fills", "a key that nothing fills", "a hidden text", "a default in __init__"],
)
def test_what_registration_may_not_read_needs_a_default(model: models.Model, hidden: list[str], words: str) -> None:
    assert words in fault(make_app(model, registration={"USER_HIDDEN_FIELDS": hidden}))


class WithFiller(DefaultRegisterUserSerializer):
    @post_load
    def fill(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {**data, "extra": 5}


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"default": 5}, {}),
        ({"server_default": "5"}, {}),
        ({}, {"USER_EDITABLE_FIELDS": ["extra"]}),
        ({}, {"REGISTER_SERIALIZER_CLASS": WithFiller}),
    ],
)
def test_each_of_the_fixes_helps(build: Builder, options: dict[str, Any], settings: dict[str, object]) -> None:
    built = build(with_column(sa.Column(sa.Integer, nullable=False, **options)), registration=settings)
    assert built.register(extra=5 if "USER_EDITABLE_FIELDS" in settings else OMITTED).status_code == 201
    assert built.row()["extra"] == 5


def listing_extra(build: Builder, kind: Any) -> Built:
    return build(declared(extra=sa.Column(kind)), registration={"USER_EDITABLE_FIELDS": ["extra"]})


def test_a_uuid_whose_column_takes_text_is_read_and_stored(build: Builder) -> None:
    built = listing_extra(build, sa.Uuid(as_uuid=False))
    assert list(errors(built, extra="no UUID")) == ["extra"]
    assert built.register(extra="0F8FAD5B-D9CB-469F-A165-70867728950E").status_code == 201
    assert built.row()["extra"] == "0f8fad5b-d9cb-469f-a165-70867728950e"


ZONED = sa.DateTime(timezone=True)
#: Another time zone takes the first ones out of the calendar.
TIMES = (
    ["0001-01-01T00:00:00+14:00", "0001-01-02T23:59:59", "9999-12-31T23:59:59-12:00"],
    ["0001-01-03T00:00:00+14:00", "9999-12-29T23:59:59-12:00", "9999-12-29T23:59:59.999999"],
)
#: The first ones have megabytes of digits.
NUMBERS = ["1e1001", "-1e99999999", "1e-99999999"], ["1e9", "0"]


def bounds(bits: int) -> tuple[list[int], list[int]]:
    """Return the integers next to what so many bits hold, outside and inside."""
    end = 2 ** (bits - 1)
    return [-end - 1, end], [-end, end - 1]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        *((sa.SmallInteger, bounds(16)), (sa.Integer, bounds(32)), (sa.BigInteger, bounds(64))),
        *((ZONED, TIMES), (sa.Numeric, NUMBERS)),
    ],
)
def test_a_value_that_the_column_cannot_hold_or_give_back_is_refused(build: Builder, kind: Any, values: Any) -> None:
    refused, accepted = values
    built = listing_extra(build, kind)
    for value in refused:
        assert list(errors(built, extra=value)) == ["extra"]
    for number, value in enumerate(accepted):
        assert built.register(extra=value, email=f"user{number}@example.com").status_code == 201
    assert len(built.rows()) == len(accepted)


class Unknown(UserDefinedType[Any]):
    def get_col_spec(self, **_: object) -> str:
        return "TEXT"


@pytest.mark.parametrize("kind", [sa.LargeBinary(), Unknown(), postgresql.TSVECTOR(), mysql.BIT()], ids=repr)
def test_a_column_that_json_cannot_fill_needs_a_serializer_of_ones_own(kind: Any) -> None:
    settings = {"USER_EDITABLE_FIELDS": ["extra"]}
    message = fault(make_app(declared(extra=sa.Column(kind)), registration=settings, tables=False))
    assert lacking(message, "User.extra", "REGISTER_SERIALIZER_CLASS") == []


@pytest.mark.parametrize("confirmed", [PASSWORD + " ", "", PASSWORD.upper(), None, OMITTED])
def test_the_two_passwords_must_be_the_same(build: Builder, confirmed: object) -> None:
    assert list(errors(build(), password_confirm=confirmed)) == ["password_confirm"]


def with_meta(**options: object) -> dict[str, object]:
    meta = type("Meta", (), options)
    return {"REGISTER_SERIALIZER_CLASS": type("Shorter", (DefaultRegisterUserSerializer,), {"Meta": meta})}


@pytest.mark.parametrize(
    "settings",
    [
        {"REGISTER_SERIALIZER_PASSWORD_CONFIRM": False},
        with_meta(exclude=("password_confirm",)),
        with_meta(fields=("email", "username", "password")),
    ],
)
def test_without_password_confirm_it_is_an_unknown_field(build: Builder, settings: dict[str, object]) -> None:
    built = build(registration=settings)
    assert errors(built) == {"password_confirm": ["This field is not known."]}
    assert built.register(password_confirm=OMITTED).status_code == 201


EVERY_SORT = {"username": "ann", "email_verified_at": None, "is_admin": False, "shout": "ANN", "badge": {"level": 3}}


@pytest.mark.parametrize("shown", [{}, EVERY_SORT])
def test_user_public_fields_show_just_what_they_list_properties_too(build: Builder, shown: dict[str, object]) -> None:
    assert build(wide, registration={"USER_PUBLIC_FIELDS": list(shown)}).register(motto="m").get_json() == shown


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *(
            (wide, "password_hash"),
            (wide, "password"),
            (wide, "no_such_field"),
            (models.password_hybrid, "password_hash"),
        ),
        *((models.password_column, "password"), (models.password_property, "password")),
        (models.password_hybrid_over_underscore, "_password"),
    ],
)
def test_a_password_is_never_shown_even_when_listed(model: models.Model, name: str) -> None:
    message = fault(make_app(model, registration={"USER_PUBLIC_FIELDS": ["id", name]}))
    assert lacking(message, "USER_PUBLIC_FIELDS", repr(name)) == []
    assert "read from a stranger" not in message


@pytest.mark.parametrize(
    "kind",
    [
        *(sa.String(9), sa.String(), sa.Unicode(9), sa.Text(), sa.UnicodeText()),
        *(sa.Integer(), sa.SmallInteger(), sa.BigInteger(), sa.Boolean(), sa.Float(), sa.Numeric(9, 2)),
        *(sa.Date(), sa.DateTime(), ZONED, sa.Time(), sa.JSON(), sa.Uuid()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("nullable", [True, False])
def test_a_column_is_shown_by_the_field_that_marshmallow_sqlalchemy_makes_of_it(kind: Any, nullable: bool) -> None:
    column = sa.Column(kind, nullable=nullable, default=None if nullable else 1)
    built = make_app(declared(extra=column), registration={"USER_PUBLIC_FIELDS": ["extra"]}, tables=False)
    shown = built.registration.profile_schema(built.app).fields["extra"]
    made = ModelConverter().column2field(column, dump_only=True, required=False)
    assert repr(shown) == repr(made)


def test_a_column_of_a_type_that_nothing_is_known_of_is_shown_as_it_is(build: Builder) -> None:
    model = declared(extra=sa.Column(Unknown(), default="as it is"))
    assert build(model, registration={"USER_PUBLIC_FIELDS": ["extra"]}).register().get_json() == {"extra": "as it is"}


def test_the_profiles_key_is_for_reading_only(build: Builder) -> None:
    built = build(models.uuid_key)
    schema = built.registration.profile_schema(built.app)
    assert schema.fields["id"].dump_only
    assert "id" not in schema.load_fields
    assert uuid.UUID(built.register().get_json()["id"]) == built.row()["id"]


class WithTerms(DefaultRegisterUserSerializer):
    class Meta:
        unknown = EXCLUDE

    terms = fields.Boolean(required=True, data_key="I agree", validate=validate.Equal(True))
    username = fields.String(required=True, validate=validate.Length(min=5), data_key="userName")

    @post_load
    def drop_terms(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name != "terms"}


def test_a_subclass_adds_and_overrides_fields_and_keeps_its_meta(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": WithTerms})
    wrong = errors(built, username=OMITTED, userName="ann", unknown=5, **{"I agree": False})
    assert wrong.keys() == {"userName", "I agree"}
    good = {"username": OMITTED, "userName": "annabel", "unknown": 5, "I agree": True}
    assert built.register(**good).status_code == 201
    assert built.row()["username"] == "annabel"
    assert field_errors(built.register(**good, email="bob@example.com")) == {"userName": TAKEN}


@pytest.mark.parametrize("name", ["build_account", "make_account"])
def test_a_subclass_makes_an_object_in_a_hook_of_any_name(build: Builder, name: str) -> None:
    def make(self: Schema, data: dict[str, Any], **kwargs: Any) -> Any:
        return built.User(email=data["email"], username=data["username"], password_hash="x")

    serializer = type("MakesAccount", (DefaultRegisterUserSerializer,), {name: post_load(make)})
    built = build(registration={"REGISTER_SERIALIZER_CLASS": serializer})
    assert built.register().status_code == 201
    assert built.row()["username"] == "ann"


class Shouting(DefaultUserProfileSerializer):
    name = fields.Method("shouted")

    def shouted(self, user: Any) -> str:
        return f"{user.username}!"


def test_a_subclass_of_the_profile_adds_to_what_is_shown(build: Builder) -> None:
    built = build(registration={"REGISTER_OUTPUT_SERIALIZER_CLASS": Shouting})
    assert built.register().get_json() == {"id": 1, "email": "ann@example.com", "username": "ann", "name": "ann!"}


def test_a_class_of_the_applications_own_is_instantiated_for_each_request(build: Builder) -> None:
    loading: list[object] = []

    class Noting(DefaultRegisterUserSerializer):
        def load(self, *args: Any, **options: Any) -> Any:
            loading.append(self)
            return super().load(*args, **options)

    built = build(registration={"REGISTER_SERIALIZER_CLASS": Noting})
    for name in ("ann", "bob", "eve"):
        assert built.register(email=f"{name}@example.com", username=name).status_code == 201
    assert len({id(schema) for schema in loading}) == len(loading) == 3


def test_one_class_serves_apps_of_different_models_and_is_left_as_it_is() -> None:
    apps = [make_app(model, registration={"REGISTER_SERIALIZER_CLASS": WithTerms}) for model in (wide, models.typed)]
    read = [names(built)[0] - USUAL for built in apps]
    assert read == [{"username", "motto", "terms"}, {"username", "terms"}]
    assert WithTerms().fields.keys() == {"terms", "username"}
    assert [cls().fields for cls in (DefaultRegisterUserSerializer, DefaultUserProfileSerializer)] == [{}, {}]


@pytest.mark.parametrize("cls", [WithTerms, None])
def test_an_app_has_its_own_schemas_whatever_is_current_made_once_by_default(cls: type[Schema] | None) -> None:
    mine = make_app(wide, registration={"REGISTER_SERIALIZER_CLASS": cls})
    other = make_app(models.minimal)
    with other.app.app_context():
        schema = mine.registration.register_schema(mine.app)
        assert isinstance(schema, cls or DefaultRegisterUserSerializer)
        assert "motto" in schema.fields
        assert cls or schema is mine.registration.register_schema(mine.app)
        profile = other.registration.profile_schema(mine.app)
        assert profile is mine.registration.profile_schema(mine.app)
        assert "motto" in profile.fields
        assert "motto" not in mine.registration.register_schema(other.app).fields


def test_an_auto_schema_of_the_applications_own_reads_the_model(build: Builder) -> None:
    class AutoSchema(SQLAlchemyAutoSchema):  # type: ignore[type-arg]  # generic in newer versions only
        class Meta:
            model = build().User
            exclude = ("password_hash", "email_verified_at", "id")

        password = fields.String(required=True)

    built = build(registration={"REGISTER_SERIALIZER_CLASS": AutoSchema})
    assert list(errors(built)) == ["password_confirm"]
    assert built.register(password_confirm=OMITTED).status_code == 201


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
    assert field_errors(built.register(username="ﬁｏna", email="bob@example.com")) == {"username": TAKEN}


@pytest.mark.parametrize("sent", ["", " ", "\u3000\n"])
def test_a_unique_text_that_nobody_filled_in_is_taken_by_nobody(build: Builder, sent: str) -> None:
    optional = models.declared(phone=sa.Column(sa.String(20), unique=True))
    built = build(optional, registration={"USER_EDITABLE_FIELDS": ["phone"]})
    for email in ("ann@example.com", "bob@example.com"):
        assert built.register(email=email, phone=sent).get_json()["phone"] is None
    assert field_errors(build().register(username=sent)) == {"username": ["Fill in this field."]}


BLANKS = "\u00a0\u3000\t\n\x1f "


@pytest.mark.parametrize("sent", ["admin\n", " admin", "admin ", "\u3000admin\u00a0", f"{BLANKS}\uff41dmin{BLANKS}"])
def test_blanks_around_a_name_make_no_other_name(build: Builder, sent: str) -> None:
    built = build()
    assert built.register(username="admin").status_code == 201
    assert field_errors(built.register(username=sent, email="bob@example.com")) == {"username": TAKEN}


@pytest.mark.parametrize(
    "name", ["Ann Lee", "o'neill-2", "a.b_c+d@e", "José", "مريم٣ علي", "علی\u200cرضا", "美咲", "Ŝlı ẞ", "col·la"]
)
def test_names_of_any_language_are_stored_as_they_are(build: Builder, name: str) -> None:
    assert build().register(username=name).get_json()["username"] == name


def test_several_blanks_within_a_name_are_one(build: Builder) -> None:
    assert build().register(username=f"Ann{BLANKS}Lee").get_json()["username"] == "Ann Lee"


#: By RFC 8265, section 3.4: nothing visible, ignored or old, controls, symbols, a joiner or mark without what it needs,
#: letters that are written in two directions, titlecase, unassigned.
NO_NAMES = [
    *(
        "\u200b",
        "\u200b\u2060\ufeff",
        "ad\u200bmin",
        "admin\u200d",
        "adm\u00adin",
        "ad\u034fmin",
        "admin\ufe0f",
        "\u3164",
        "a\u115f",
    ),
    *(
        "ad\x00min"[:2] + "\x7fmin",
        "ad\x08min",
        "\u202eadmin",
        "admin\U000e0061",
        "ann\U0001f600",
        "ann\u2013lee",
        "\u2800",
    ),
    *(
        "a·b",
        "\u30fb",
        "Ann \u0301",
        "\u05d0a",
        "a\u05d0",
        "\u0663\u06f3",
        "\u1f88",
        "ann\U000e0fff",
        "n" + "\u00e9" * 256,
    ),
]


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
def test_what_rfc_8265_refuses_in_a_user_name_is_refused(build: Builder, name: str) -> None:
    built = build(declared(username=sa.Column(sa.Text, unique=True, nullable=False)))
    wanted = "Use only letters, digits and common signs such as - or _ here."
    assert errors(built, username=name) == {"username": [wanted]}


def test_text_that_is_not_unique_is_trimmed_too_and_no_more(build: Builder) -> None:
    built = build(wide, registration={"USER_EDITABLE_FIELDS": ["username", "motto", "nickname"]})
    long = {"nickname": f"{BLANKS}{'n' * 20}{BLANKS}", "motto": f" Two  \U0001f600\n lines\u200b {BLANKS}"}
    shown = built.register(**long).get_json()
    assert (shown["nickname"], shown["motto"]) == ("n" * 20, "Two  \U0001f600\n lines\u200b")


def test_text_is_normalised_before_it_is_checked_for_length_and_blanks(build: Builder) -> None:
    eighteen, blanks = "\ufdfa", "\u2003\u00a0"
    built = build(wide)
    for refused in (eighteen * 2, blanks):
        assert list(errors(built, motto="m", username=refused)) == ["username"]
    assert built.register(motto="m", username=eighteen).status_code == 201
    assert len(built.row()["username"]) == 18
    shorter = built.register(email="eva@example.com", motto="m", username="e\u0301" * 20)
    assert shorter.get_json()["username"] == "é" * 20


def test_only_text_that_is_unique_alone_or_with_another_is_normalised(build: Builder) -> None:
    assert build(wide).register(motto="ﬁ Ⅷ e\u0301").get_json()["motto"] == "ﬁ Ⅷ e\u0301"
    built = build(models.composite_unique)
    assert built.register(team="ｂlue", username="ａnn").status_code == 201
    assert (built.row()["team"], built.row()["username"]) == ("blue", "ann")


def test_only_a_text_of_2000_characters_or_fewer_is_normalised() -> None:
    field = NormalizedString()
    assert field.deserialize("\ufb01" * 2000) == "fi" * 2000
    with pytest.raises(ValidationError, match="This text is too long"):
        field.deserialize("x" * 2001)


KEPT = ("ann+tag@example.com", "a.n'n_o@example.com", "ann@straße.example", "ann@例え.example", "ann@σίσυφος.example")
NORMALISED = [
    *((kept, kept) for kept in KEPT),
    ("ANN@Example.COM", "ann@example.com"),
    ("Ann@MÜNCHEN.example", "ann@münchen.example"),
    ("ann@xn--mnchen-3ya.example", "ann@münchen.example"),
    ("ann@ｅxample.com", "ann@example.com"),
    *((f"{blank}Ann@example.com{blank}", "ann@example.com") for blank in (" ", "\n", "\u00a0", "\u3000", " \t\r\n")),
    ("ann@İzmir.example", "ann@i\u0307zmir.example"),
    ("ann@ΣΊΣΥΦΟΣ.example", "ann@σίσυφοσ.example"),
    # Of Cherokee, domains have what Python takes for capitals.
    ("Ann@\u13a0\u13f4.example", "ann@\u13a0\u13f4.example"),
]
#: What registration answers with a field error.
REFUSED: list[Any] = [
    *(None, 5, True, ["ann@example.com"], {"email": "ann@example.com"}, OMITTED),
    *("", " ", "ann", "@", "ann@", "@example.com", "ann@example", "ann@@example.com", "ann example.com"),
    *("ann@exam ple.com", "ann\t@example.com", "\u200bann@example.com", "ann@example.com\ufeff"),
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
    *("ann@" + "a" * 64 + ".com", "ann@" + "a." * 126 + "com", "mailto:ann@example.com", "<script>@example.com"),
]


@pytest.mark.parametrize(("sent", "stored"), NORMALISED)
def test_an_address_is_stored_lower_cased_with_its_domain_in_unicode(build: Builder, sent: str, stored: str) -> None:
    built = build()
    assert built.register(email=sent).get_json()["email"] == stored
    assert built.row()["email"] == stored
    assert normalize_email(sent) == normalize_email(stored) == stored


def test_what_is_not_exactly_one_address_is_an_error_and_gets_no_mail(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    for sent in REFUSED:
        found = errors(built, email=sent)
        assert list(found) == ["email"], sent
        assert "<script>" not in str(found)  # the message quotes nothing
        with pytest.raises(ValueError, match=r"\S"):
            normalize_email(sent)
    assert smtp.conversations == []


def test_a_text_longer_than_any_address_is_not_even_parsed() -> None:
    """RFC 5321, section 4.5.3.1: 64 characters, an @ and 255 more."""
    ours = "the address is too long"
    for length in (321, 100_000):
        with pytest.raises(ValueError, match=f"^{ours}$"):
            normalize_email("@".rjust(length, "a"))
    with pytest.raises(ValueError, match=rf"^(?!{ours}$)"):
        normalize_email("@".rjust(320, "a"))


def test_two_spellings_of_one_address_are_one_account(build: Builder) -> None:
    built = build()
    assert built.register(email="ann@MÜNCHEN.example").status_code == 201
    assert field_errors(built.register(email="Ann@xn--mnchen-3ya.example", username="bob")) == {"email": ADDRESS_TAKEN}


@pytest.mark.parametrize("length", [20, 254, 255, None])
def test_an_address_is_no_longer_than_its_column_nor_than_254_characters(build: Builder, length: int | None) -> None:
    built = build(declared(email=sa.Column(sa.String(length), unique=True)))
    most = min(length or 254, 254)
    domain = ("a" * 50 + ".") * 4 + "example" if most > 20 else "a.example"
    fits = "a" * (most - len(domain) - 1) + "@" + domain
    assert list(errors(built, email=f"a{fits}")) == ["email"]
    assert built.register(email=fits).status_code == 201
