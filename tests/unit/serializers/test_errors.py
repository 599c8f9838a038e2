"""What is told of a request that is refused: all of it at once, in sentences for people, at its place in the body."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import sqlalchemy as sa
from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema

from flask_rest_registration import DefaultRegisterUserSerializer
from flask_rest_registration.translations.libraries import translate_text
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import OMITTED, PASSWORD, REGISTER, Builder, Built
from tests.support.models import declared

Sent = dict[str, Any]


def serializer(cls: type[Schema] | None) -> dict[str, Any]:
    return {"registration": {"REGISTER_SERIALIZER_CLASS": cls}}


# All at once


class Subclass(DefaultRegisterUserSerializer):
    terms = fields.Boolean(load_default=True)

    @post_load
    def drop_terms(self, data: Sent, **_: object) -> Sent:
        return {name: value for name, value in data.items() if name != "terms"}


class Plain(Schema):
    email = fields.Email(required=True)
    username = fields.String(required=True)
    password = fields.Raw(required=True)
    password_confirm = fields.Raw()


def auto(built: Built) -> type[Schema]:
    class Auto(SQLAlchemyAutoSchema):  # type: ignore[type-arg]  # generic in newer versions only
        class Meta:
            model = built.User
            exclude = ("password_hash", "email_verified_at", "id")

        email = fields.Email(required=True)
        password = fields.String(required=True)
        password_confirm = fields.String()

    return Auto


@pytest.mark.parametrize("cls", [None, Subclass, Plain, auto])
@pytest.mark.parametrize(
    "wrong", [{"email": OMITTED}, {"email": 5}, {"username": OMITTED}, {"surprise": 1}, {"email": "x", "username": {}}]
)
def test_a_weak_password_is_told_together_with_any_other_fault(build: Builder, cls: Any, wrong: Sent) -> None:
    built = build(**serializer(cls(build()) if cls is auto else cls))
    errors = field_errors(built.register(password="password", **wrong))
    assert set(errors) == {"password", *wrong}
    assert "common password" in errors["password"][0]


def test_a_form_with_every_fault_is_told_all_of_them(build: Builder) -> None:
    wrong = {"email": "ann", "username": "", "password": "short", "password_confirm": "other", "surprise": 1}
    assert set(field_errors(build().register(**wrong))) == set(wrong)


@pytest.mark.parametrize("password", ["", 5, None, ["x"], {}])
@pytest.mark.parametrize("cls", [None, Subclass, Plain])
def test_a_password_that_is_no_text_is_told_together_with_the_rest(build: Builder, cls: Any, password: Any) -> None:
    built = build(**serializer(cls))
    assert set(field_errors(built.register(email="ann", password=password))) >= {"email", "password"}


def test_password_rules_are_not_told_of_a_schema_that_makes_an_object(build: Builder) -> None:
    class Maker(Plain):
        @post_load
        def make(self, data: Sent, **_: object) -> object:
            return built.User(email=data["email"], username=data["username"], password_hash="h")

    built = build(**serializer(Maker))
    assert set(field_errors(built.register(email="ann", password="password"))) == {"email"}
    assert built.register(password="password").status_code == 201


def test_two_passwords_that_differ_stand_at_the_clients_name(build: Builder) -> None:
    again = fields.String(required=True, data_key="passwordAgain")
    built = build(**serializer(type("Renamed", (DefaultRegisterUserSerializer,), {"password_confirm": again})))
    sent = {"password": "short", "password_confirm": OMITTED, "passwordAgain": PASSWORD, "email": 5}
    assert set(field_errors(built.register(**sent))) == {"password", "passwordAgain", "email"}


# Sentences for people

ENTER_ADDRESS, ENTER_PASSWORD, REPEAT = "Enter your e-mail address.", "Enter your password.", "Repeat the password."
NO_ADDRESS, FILL_IN = "Enter an e-mail address such as name@example.com.", "Fill in this field."


def each(field: str, text: str, *values: Any) -> list[tuple[str, Any, str]]:
    return [(field, value, text) for value in values]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        *each("email", ENTER_ADDRESS, OMITTED, None, "", " \u3000"),
        *each("email", NO_ADDRESS, 5, [], "ann", "ann@"),
        *each("email", "This e-mail address is too long.", "a" * 62 + "@" + ("b" * 60 + ".") * 3 + "example"),
        *each("password", ENTER_PASSWORD, OMITTED, None, "", 5),
        *each("password_confirm", REPEAT, OMITTED, None, 5, {}),
        *each("password_confirm", "The two passwords are not the same.", "other"),
        *each("username", FILL_IN, OMITTED, None, "", " "),
        *each("username", "Enter text here.", 5),
        *each("username", "This is too long. The longest possible length is 80.", "x" * 81),
        *each("username", "Use only letters, digits and common signs such as - or _ here.", "ann\u200b"),
        *each("surprise", "This field is not known.", 5),
        *each("_schema", "This field is not known.", 5),
    ],
)
def test_each_field_says_in_a_sentence_what_to_do(build: Builder, field: str, value: Any, text: str) -> None:
    email = sa.Column(sa.String(200), unique=True)
    built = build(declared(email=email, username=sa.Column(sa.String(80), unique=True, nullable=False)))
    assert field_errors(built.register(**{field: value}))[field] == [text]


def test_a_body_that_is_no_object_is_told_so_in_a_sentence(build: Builder) -> None:
    errors = field_errors(build().post(REGISTER, ["email"]))
    assert errors == {"_schema": ["An object with fields is needed here."]}


@pytest.mark.database
def test_what_is_taken_is_told_by_kind(build: Builder) -> None:
    built = build()
    assert built.register().status_code == 201
    address, name = "This e-mail address already has an account.", "This is already taken. Choose another one."
    assert field_errors(built.register()) == {"email": [address], "username": [name]}
    built = build(models.composite_unique)
    assert built.register().status_code == 201
    both = ["This combination is already taken. Change one of its fields."]
    assert field_errors(built.register(email="bob@example.com")) == {"team": both, "username": both}


def of_marshmallow() -> set[str]:
    """The texts of marshmallow's fields and validators, filled in as it does."""
    filled = {"choices": "a, b", "obj_type": "datetime", "awareness": "aware", "equal": 2, "other": 5}
    found = set()
    for _, field in inspect.getmembers(fields, inspect.isclass):
        texts: dict[str, str] = getattr(field, "default_error_messages", {})
        found |= {text.format(**filled) for kind, text in texts.items() if kind != "format"}  # that one is for dumps
    kinds: list[Any] = [validate.Length(2), validate.Length(max=2), validate.Length(2, 3), validate.Length(equal=2)]
    for low, high in ((True, True), (True, False), (False, True), (False, False)):
        kinds.append(validate.Range(2, 3, min_inclusive=low, max_inclusive=high))
    for inclusive in (True, False):
        kinds += [validate.Range(2, min_inclusive=inclusive), validate.Range(max=3, max_inclusive=inclusive)]
    kinds += [validate.Equal(5), validate.OneOf("ab"), validate.NoneOf("9"), validate.ContainsOnly("ab")]
    kinds += [validate.ContainsNoneOf([9]), validate.Regexp("x"), validate.URL(), validate.Email()]
    for kind in kinds:
        for value in ([9], [9] * 9, 9, -9, "9", 2, 3):
            try:
                kind(value)
            except ValidationError as error:
                found |= {str(text) for text in error.messages}
            except TypeError:
                continue
    return found


def test_every_text_of_marshmallow_is_told_in_a_sentence_for_people() -> None:
    texts = of_marshmallow()
    assert len(texts) > 40
    machine = re.compile(r"not a valid (?!identifier)|must be|missing|minimum|invalid|nan|null", re.IGNORECASE)
    assert {text for text in texts if machine.search(translate_text(text)) or translate_text(text) == text} == set()


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (True, True, "Choose a value from 2 to 3."),
        (False, True, "Choose a value above 2. Choose a value of at most 3."),
        (True, False, "Choose a value of at least 2. Choose a value below 3."),
        (False, False, "Choose a value above 2. Choose a value below 3."),
    ],
)
def test_a_range_is_told_with_its_ends(build: Builder, low: bool, high: bool, text: str) -> None:
    between = validate.Range(2, 3, min_inclusive=low, max_inclusive=high)
    built = build(**serializer(DefaultRegisterUserSerializer.from_dict({"rank": fields.Integer(validate=between)})))
    assert field_errors(built.register(rank=9)) == {"rank": [text]}


# At their place in the body


class Address(Schema):
    zip_code = fields.Integer(required=True, data_key="zipCode")
    town = fields.String(data_key="townName")

    @validates_schema
    def check_town(self, data: Sent, **_: object) -> None:
        if data.get("town") == "Nowhere":
            raise ValidationError({"town": ["No such town."]})
        if data.get("town") == "Elsewhere":
            raise ValidationError("Not here.")


class Label(Schema):
    name = fields.String(required=True, validate=validate.Length(max=3))


class Nested(DefaultRegisterUserSerializer):
    home = fields.Nested(Address)
    addresses = fields.List(fields.Nested(Address), data_key="postalAddresses")
    many = fields.Nested(Address, many=True)
    by_name = fields.Dict(fields.String(validate=validate.Length(max=3)), fields.Nested(Address))
    anything = fields.Dict()
    label = fields.Pluck(Label, "name")
    labels = fields.Pluck(Label, "name", many=True)
    pair = fields.Tuple((fields.Integer(), fields.Nested(Address)))
    grid = fields.List(fields.List(fields.Integer()))
    end = fields.Integer()

    @validates_schema(skip_on_field_errors=False)
    def check(self, data: Sent, **_: object) -> None:
        if data.get("end") == 0:
            raise ValidationError({"addresses": {0: {"zip_code": [{"town": "Both wrong."}, "Wrong."]}}, "end": "Zero."})

    @post_load
    def drop(self, data: Sent, **_: object) -> Sent:
        return {name: data[name] for name in ("email", "username", "password")}


NUMBER, TOO_LONG = "Enter a whole number.", "This is too long. The longest possible length is 3."
GOOD, BAD = {"zipCode": 1}, {"zipCode": "x"}


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"home": BAD}, {"home.zipCode": NUMBER}),
        ({"home": {}}, {"home.zipCode": FILL_IN}),
        ({"home": {**GOOD, "zip_code": 1}}, {"home.zip_code": "This field is not known."}),
        ({"home": 5}, {"home": "An object with fields is needed here."}),
        ({"home": {**GOOD, "townName": "Nowhere"}}, {"home.townName": "No such town."}),
        ({"home": {**GOOD, "townName": "Elsewhere"}}, {"home": "Not here."}),
        ({"postalAddresses": [GOOD, BAD]}, {"postalAddresses.1.zipCode": NUMBER}),
        ({"postalAddresses": [GOOD, 5]}, {"postalAddresses.1": "An object with fields is needed here."}),
        ({"many": [GOOD, BAD, {}]}, {"many.1.zipCode": NUMBER, "many.2.zipCode": FILL_IN}),
        ({"by_name": {"ab": BAD}}, {"by_name.ab.zipCode": NUMBER}),
        ({"by_name": {"long": GOOD}}, {"by_name.long": TOO_LONG}),
        ({"anything": 5}, {"anything": "An object with fields is needed here."}),
        ({"label": "long"}, {"label": TOO_LONG}),
        ({"labels": ["ok", "long", 5]}, {"labels.1": TOO_LONG, "labels.2": "Enter text here."}),
        ({"pair": ["x", BAD]}, {"pair.0": NUMBER, "pair.1.zipCode": NUMBER}),
        ({"grid": [[1], [2, "x"]]}, {"grid.1.1": NUMBER}),
        (
            {"end": 0},
            {"end": "Zero.", "postalAddresses.0.zipCode.town": "Both wrong.", "postalAddresses.0.zipCode": "Wrong."},
        ),
        ({"": 1}, {"": "This field is not known."}),
    ],
    ids=str,
)
def test_a_nested_fault_stands_at_a_dotted_path_in_the_clients_names(
    build: Builder, sent: Sent, errors: dict[str, str]
) -> None:
    found = field_errors(build(**serializer(Nested)).register(password="password", **sent))
    assert set(found) == {"password", *errors}  # the weak password is told as well
    assert {path: found[path] for path in errors} == {path: [text] for path, text in errors.items()}
