"""Passwords: which are refused and with which words, and what is stored of those that are not."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import bcrypt
import pytest
from argon2 import PasswordHasher
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, ValidationError, fields, post_load
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, validates
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError, DefaultRegisterUserSerializer
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import OMITTED, PASSWORD, Builder, Built
from tests.support.mail_servers import RecordingServer
from tests.support.statements import recorded

STRONG = "qZ7#kx9! "


def messages(built: Built, password: object, **changes: object) -> list[str]:
    """Return what is wrong with a password; nothing else may be, and nothing may be stored."""
    with recorded(built.engine) as statements:
        answer = built.register(password=password, **changes)
    assert answer.status_code == 400
    assert answer.get_json()["code"] == "invalid"
    assert list(answer.get_json()["errors"]) == ["password"]
    assert statements.kinds == []
    found: list[str] = answer.get_json()["errors"]["password"]
    return found


# The default validators


@pytest.mark.parametrize(
    ("password", "limit"),
    [
        ("qZ7#kx9", "at least 8 characters"),
        ((STRONG * 29)[:257], "at most 256 characters"),
        ("ß∂ƒ©", "at least 8 characters"),
        ("🦉" * 257, "at most 256 characters"),
    ],
)
def test_a_password_has_8_to_256_characters_and_the_message_names_the_limit(
    build: Builder, password: str, limit: str
) -> None:
    assert limit in messages(build(), password)[0]


@pytest.mark.parametrize("password", ["qZ7#kx9!v", (STRONG * 29)[:256], "🦉猫ß∂ƒ©żŁ🐙"])
def test_passwords_within_the_limits_are_accepted_in_any_script(build: Builder, password: str) -> None:
    assert build().register(password=password).status_code == 201


@pytest.mark.parametrize(
    ("password", "advice"),
    [
        ("password123", "This is a very common password."),
        ("abcdefghij", "Sequences like abc or 6543 are easy to guess."),
        ("qwertyuiop[]", "Use a longer keyboard pattern with more turns."),
        ("1984-12-03", "Avoid dates and years that are associated with you."),
    ],
)
def test_a_password_that_is_easy_to_guess_is_refused_with_zxcvbns_own_advice(
    build: Builder, password: str, advice: str
) -> None:
    found = messages(build(), password)
    assert len(found) == 1
    assert advice in found[0]


@pytest.mark.parametrize("name", ["username", "email"])
def test_the_users_other_fields_count_as_words_that_are_tried_first(build: Builder, name: str) -> None:
    rare = "xvqzkwpjt.9f"
    value = rare if name == "username" else f"{rare}@example.com"
    assert build().register(password=rare).status_code == 201
    assert messages(build(), rare, **{name: value})


def test_a_word_inside_another_field_counts_too(build: Builder) -> None:
    rare = "xvqzkwpjtf"
    assert build().register(password=rare).status_code == 201
    assert messages(build(), rare, username=f"Captain {rare} the 3rd")


@pytest.mark.parametrize("tail", ["", STRONG, STRONG * 5])
def test_only_the_first_32_characters_are_rated(build: Builder, tail: str) -> None:
    assert messages(build(), "a" * 32 + tail)


@pytest.mark.parametrize("feedback", [None, SimpleNamespace(warning=None, suggestions=[])])
def test_where_zxcvbn_has_no_advice_the_words_are_our_own(
    build: Builder, monkeypatch: pytest.MonkeyPatch, feedback: object
) -> None:
    rating = SimpleNamespace(score=2, feedback=feedback)
    monkeypatch.setattr("flask_rest_registration.passwords.zxcvbn", lambda password, inputs: rating)
    assert messages(build(), PASSWORD) == [
        "This password is easy to guess. Add another word or two. Uncommon words are better."
    ]


def test_two_rare_words_more_help_where_the_advice_says_so(build: Builder) -> None:
    built = build()
    assert "another word" in messages(built, "violet47")[0]
    assert built.register(password="violet47 tundra anchor").status_code == 201


# Validators of one's own


def no_digits(password: str, user_data: Mapping[str, object]) -> None:
    if any(character.isdigit() for character in password):
        raise ValidationError("No digits.")


def no_names(password: str, user_data: Mapping[str, object]) -> None:
    if str(user_data["username"]) in password:
        raise ValidationError(["No names.", "Not even yours."])


def test_validators_run_in_their_order_and_all_have_their_say(build: Builder) -> None:
    path = f"{__name__}.no_digits"
    built = build(registration={"PASSWORD_VALIDATORS": [no_names, path]})
    assert messages(built, "ann1") == ["No names.", "Not even yours.", "No digits."]
    turned = build(registration={"PASSWORD_VALIDATORS": [path, no_names]})
    assert messages(turned, "ann1") == ["No digits.", "No names.", "Not even yours."]


def test_validators_of_ones_own_replace_the_default_ones(build: Builder) -> None:
    assert build(registration={"PASSWORD_VALIDATORS": [no_names]}).register(password="a").status_code == 201


def test_validators_are_asked_with_the_loaded_fields_and_without_the_passwords(build: Builder) -> None:
    seen: list[dict[str, object]] = []
    built = build(registration={"PASSWORD_VALIDATORS": [lambda password, data: seen.append(dict(data))]})
    assert built.register(email="ANN@Example.com", username="ａｎｎ").status_code == 201
    assert seen == [{"email": "ann@example.com", "username": "ann"}]


def test_what_is_wrong_with_the_password_is_told_together_with_other_fields(build: Builder) -> None:
    """Also where the two passwords differ; the validators get those fields that are valid."""
    seen: list[dict[str, object]] = []
    validators = [lambda password, data: seen.append(dict(data)), "flask_rest_registration.passwords.validate_length"]
    built = build(registration={"PASSWORD_VALIDATORS": validators})
    errors = field_errors(built.register(password="short", password_confirm="other", email="no address", is_admin=True))
    assert errors.keys() == {"email", "password", "password_confirm", "is_admin"}
    assert "at least 8 characters" in errors["password"][0]
    assert seen == [{"username": "ann"}]


def test_validators_are_not_run_beside_wrong_fields_where_an_object_may_be_made(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": OwnSchema})
    sent = {"email": "no address", "username": "ann", "pass phrase": "short"}
    assert field_errors(built.post("register/", sent)).keys() == {"email"}
    assert field_errors(built.post("register/", {**sent, "email": "ann@example.com"})).keys() == {"pass phrase"}


def test_a_validator_may_report_by_a_dict(build: Builder) -> None:
    def by_dict(password: str, user_data: Mapping[str, object]) -> None:
        raise ValidationError({"rule": ["Too plain."]})

    found = messages(build(registration={"PASSWORD_VALIDATORS": [by_dict]}), "x")
    assert "Too plain." in found[0]


class RenamedPassword(DefaultRegisterUserSerializer):
    password = fields.String(required=True, data_key="pass phrase")


class OwnSchema(Schema):
    email = fields.Email(required=True)
    username = fields.String(required=True)
    secret = fields.String(required=True, attribute="password", data_key="pass phrase")


def refuse_value(password: str) -> str:
    raise ValueError("We do not like it.")


@pytest.mark.parametrize("serializer", [RenamedPassword, OwnSchema])
@pytest.mark.parametrize("settings", [{"PASSWORD_VALIDATORS": [no_digits]}, {"PASSWORD_HASHER": refuse_value}])
def test_what_is_wrong_with_a_password_stands_under_the_name_that_the_client_used(
    build: Builder, serializer: type[Schema], settings: dict[str, object]
) -> None:
    built = build(
        registration={
            "REGISTER_SERIALIZER_CLASS": serializer,
            "REGISTER_SERIALIZER_PASSWORD_CONFIRM": False,
            **settings,
        }
    )
    body = {"email": "ann@example.com", "username": "ann", "pass phrase": PASSWORD}
    assert list(built.post("register/", body).get_json()["errors"]) == ["pass phrase"]


def test_validators_are_not_run_on_objects(build: Builder) -> None:
    def object_of(schema: Schema, data: dict[str, Any], **extra: Any) -> object:
        user = made[0].User(email=data["email"], username=data["username"])
        user.password_hash = models.cheap_hash(data["password"])
        return user

    cls = type("MakesObject", (OwnSchema,), {"make": post_load(object_of)})
    made = [build(registration={"REGISTER_SERIALIZER_CLASS": cls})]
    answer = made[0].post("register/", {"email": "ann@example.com", "username": "ann", "pass phrase": "a"})
    assert answer.status_code == 201
    assert check_password_hash(made[0].row()["password_hash"], "a")


# What the application's code refuses


def with_set_password(set_password: Any) -> models.Model:
    def model(db: SQLAlchemy) -> type[Any]:
        class User(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            email: Mapped[str] = mapped_column(String(254), unique=True)
            password_hash: Mapped[str]
            email_verified: Mapped[bool]

        User.set_password = set_password
        return User

    return model


def with_validated_column(db: SQLAlchemy) -> type[Any]:
    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        password_hash: Mapped[str]
        email_verified: Mapped[bool]

        @validates("password_hash")
        def check(self, key: str, value: str) -> str:
            raise ValueError("We do not like it.")

    return User


@pytest.mark.parametrize(
    ("model", "hasher"),
    [
        (with_set_password(lambda self, password: refuse_value(password)), None),
        (models.minimal, refuse_value),
        (with_validated_column, None),
    ],
)
def test_a_valueerror_of_set_password_hasher_or_column_is_a_field_error_in_its_own_words(
    build: Builder, model: models.Model, hasher: Any
) -> None:
    built = build(model, registration={"PASSWORD_HASHER": hasher or models.cheap_hash})
    assert messages(built, PASSWORD) == ["We do not like it."]
    assert built.rows() == []


class QuotingError(ValueError):
    """As those of the codecs and of validation libraries do, it quotes what it was given."""


@pytest.mark.parametrize("error", [ValueError(), ValueError(""), QuotingError("not 'tell nobody'")])
def test_an_error_without_words_or_with_the_password_in_it_gets_our_words(build: Builder, error: ValueError) -> None:
    def refuse(password: str) -> str:
        raise error

    found = messages(build(registration={"PASSWORD_HASHER": refuse}), PASSWORD)
    assert "tell nobody" not in found[0]
    assert found[0]


@pytest.mark.parametrize("error", [RuntimeError("a fault"), TypeError("a fault")])
def test_another_error_of_the_hasher_is_the_applications_own(build: Builder, error: Exception) -> None:
    def fail(password: str) -> str:
        raise error

    built = build(registration={"PASSWORD_HASHER": fail})
    with pytest.raises(type(error), match="a fault"):
        built.register()
    assert built.rows() == []


def hash_with_bcrypt(password: str) -> str:
    encoded = password.encode()
    if len(encoded) > 72:  # from version 5 on bcrypt says so itself; before, it cut the rest off
        raise ValueError("At most 72 bytes, please.")
    return bcrypt.hashpw(encoded, bcrypt.gensalt(4)).decode()


def test_bcrypts_limit_of_72_bytes_is_a_field_error(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": hash_with_bcrypt})
    assert messages(built, STRONG * 8 + "é") == ["At most 72 bytes, please."]
    assert built.register(password=STRONG * 8).status_code == 201
    assert bcrypt.checkpw((STRONG * 8).encode(), built.row()["password_hash"].encode())


# What is no password


@pytest.mark.parametrize("password", ["", None, 12345678, 1.5, True, ["a"], {"a": "b"}, OMITTED])
def test_what_is_no_text_or_empty_is_refused(build: Builder, password: object) -> None:
    answer = build(registration={"PASSWORD_VALIDATORS": []}).register(password=password, password_confirm=PASSWORD)
    assert answer.status_code == 400
    assert "password" in answer.get_json()["errors"]


@pytest.mark.parametrize("value", [None, "", 5])
def test_a_serializer_of_ones_own_cannot_let_a_missing_password_through(build: Builder, value: object) -> None:
    class Careless(Schema):
        email = fields.String()
        username = fields.String()
        password = fields.Raw(allow_none=True)

    built = build(registration={"REGISTER_SERIALIZER_CLASS": Careless, "PASSWORD_VALIDATORS": []})
    assert messages(built, value, password_confirm=OMITTED)
    assert built.rows() == []


@pytest.mark.parametrize("password", ["violet\0anchor-47-tundra", "violet\ud83danchor-47-tundra", "\udc00" * 9])
def test_a_password_that_no_hasher_takes_is_refused(build: Builder, password: str) -> None:
    built = build()
    body = {"email": "ann@example.com", "username": "ann", "password": password, "password_confirm": password}
    answer = built.post("register/", body)
    assert answer.status_code == 400
    assert "password" in answer.get_json()["errors"]
    assert built.rows() == []


# What is stored


def test_the_default_hash_is_scrypt_at_owasps_minimum_and_has_162_characters(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": None})
    built.register()
    stored = built.row()["password_hash"]
    assert stored.startswith("scrypt:32768:8:3$")
    assert len(stored) == 162
    assert check_password_hash(stored, PASSWORD)
    assert not check_password_hash(stored, PASSWORD + " ")


@pytest.mark.parametrize(
    "password",
    ["  violet-anchor-47  ", "VIOLET-anchor-47", "ﬁﬂ ½ Ａnchor-47", "e\u0301cole-anchor-47", "école-anchor-47\t\n"],
)
@pytest.mark.parametrize("model", [models.typed, models.set_password, models.password_hybrid])
def test_a_password_is_taken_exactly_as_sent(build: Builder, model: models.Model, password: str) -> None:
    built = build(model)
    assert built.register(password=password).status_code == 201
    assert check_password_hash(built.row()["password_hash"], password)


def test_a_password_is_not_trimmed_before_it_is_compared_with_its_confirmation(build: Builder) -> None:
    answer = build().register(password=PASSWORD, password_confirm=f"{PASSWORD} ")
    assert list(answer.get_json()["errors"]) == ["password_confirm"]


def test_two_accounts_with_one_password_have_two_hashes(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": None})
    built.register()
    built.register(email="bob@example.com", username="bob")
    first, second = (row["password_hash"] for row in built.rows())
    assert first != second


@pytest.mark.parametrize("given", ["function", "method of an object"])
def test_a_hasher_of_another_library_is_a_setting_away(build: Builder, given: str) -> None:
    argon = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    hasher = argon.hash if given == "method of an object" else lambda password: argon.hash(password)
    built = build(registration={"PASSWORD_HASHER": hasher})
    assert built.register().status_code == 201
    assert argon.verify(built.row()["password_hash"], PASSWORD)


def test_no_answer_and_no_mail_has_the_password_or_its_hash(build: Builder, smtp: RecordingServer) -> None:
    built = build()
    answers = [built.register(), built.register(), built.register(password="short", username="bob")]
    stored = built.row()["password_hash"]
    texts = [answer.get_data(as_text=True) for answer in answers] + [str(smtp.message)]
    assert [text for text in texts if PASSWORD in text or stored in text or '"short"' in text] == []


def test_a_hasher_that_gives_no_text_that_fits_is_a_configuration_error(build: Builder) -> None:
    built = build(models.short_hash_column, registration={"PASSWORD_HASHER": lambda password: "h" * 129})
    with pytest.raises(ConfigurationError, match="129"):
        built.register()
