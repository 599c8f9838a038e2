"""Passwords: which are refused and with which words, and what is stored of those that are not."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import bcrypt
import pytest
from argon2 import PasswordHasher
from marshmallow import Schema, ValidationError, fields
from sqlalchemy.orm import validates
from werkzeug.security import check_password_hash

from flask_rest_registration import DefaultRegisterUserSerializer
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import OMITTED, PASSWORD, REGISTER, Builder, Built
from tests.support.statements import recorded

STRONG = "qZ7#kx9! "


def messages(built: Built, password: object, **changes: object) -> list[str]:
    """Return what is wrong with a password; nothing else may be, and nothing may be stored."""
    with recorded(built.engine) as statements:
        errors = field_errors(built.register(password=password, **changes))
    assert list(errors) == ["password"]
    assert statements.kinds == []
    return errors["password"]


def test_a_password_has_8_to_256_characters_of_any_script_and_the_message_says_so(build: Builder) -> None:
    built = build()
    for short, long in (("qZ7#kx9", (STRONG * 29)[:257]), ("ß∂ƒ©", "🦉" * 257)):
        assert "at least 8 characters" in messages(built, short)[0]
        assert "at most 256 characters" in messages(built, long)[0]
    for number, password in enumerate(("qZ7#kx9!v", (STRONG * 29)[:256], "🦉猫ß∂ƒ©żŁ🐙")):
        name = f"user{number}"
        assert built.register(email=f"{name}@example.com", username=name, password=password).status_code == 201


@pytest.mark.parametrize(
    ("password", "advice"),
    [
        ("password123", "This is a very common password."),
        ("abcdefghij", "Sequences like abc or 6543 are easy to guess."),
        ("qwertyuiop[]", "Use a longer keyboard pattern with more turns."),
        ("1984-12-03", "Avoid dates and years that are associated with you."),
        ("violet47", "another word"),
    ],
)
def test_what_is_easy_to_guess_is_refused_with_zxcvbns_own_advice(build: Builder, password: str, advice: str) -> None:
    built = build()
    (found,) = messages(built, password)
    assert advice in found
    assert built.register(password=f"{password} tundra anchor").status_code == 201  # two rare words help


def test_the_users_other_fields_and_the_words_in_them_are_tried_first(build: Builder) -> None:
    built, rare = build(), "xvqzkwpjtf"
    for other in ({"username": rare}, {"email": f"{rare}@example.com"}, {"username": f"Captain {rare} the 3rd"}):
        assert messages(built, rare, **other)
    assert built.register(password=rare).status_code == 201


def test_only_the_first_32_characters_are_rated(build: Builder) -> None:
    assert messages(build(), "a" * 32 + STRONG * 5)


@pytest.mark.parametrize("feedback", [None, SimpleNamespace(warning=None, suggestions=[])])
def test_where_zxcvbn_has_no_advice_the_words_are_our_own(
    build: Builder, monkeypatch: pytest.MonkeyPatch, feedback: object
) -> None:
    rating = SimpleNamespace(score=2, feedback=feedback)
    monkeypatch.setattr("flask_rest_registration.passwords.zxcvbn", lambda password, inputs: rating)
    assert messages(build(), PASSWORD) == [
        "This password is easy to guess. Add another word or two. Uncommon words are better."
    ]


def no_digits(password: str, user_data: Mapping[str, object]) -> None:
    if any(character.isdigit() for character in password):
        raise ValidationError("No digits.")


def no_names(password: str, user_data: Mapping[str, object]) -> None:
    if str(user_data["username"]) in password:
        raise ValidationError(["No names.", "Not even yours."])


def by_dict(password: str, user_data: Mapping[str, object]) -> None:
    raise ValidationError({"rule": ["Too plain."]})


def test_validators_of_ones_own_replace_the_default_ones_and_run_in_their_order(build: Builder) -> None:
    path = f"{__name__}.no_digits"
    built = build(registration={"PASSWORD_VALIDATORS": [no_names, path]})
    assert messages(built, "ann1") == ["No names.", "Not even yours.", "No digits."]
    assert built.register(password="a").status_code == 201
    turned = build(registration={"PASSWORD_VALIDATORS": [path, no_names]})
    assert messages(turned, "ann1") == ["No digits.", "No names.", "Not even yours."]
    assert "Too plain." in messages(build(registration={"PASSWORD_VALIDATORS": [by_dict]}), "x")[0]


def test_validators_get_the_loaded_valid_fields_without_the_passwords(build: Builder) -> None:
    seen: list[dict[str, object]] = []
    validators = [lambda password, data: seen.append(dict(data)), "flask_rest_registration.passwords.validate_length"]
    built = build(registration={"PASSWORD_VALIDATORS": validators})
    wrong = {"password": "short", "password_confirm": "other", "email": "no address", "is_admin": True}
    errors = field_errors(built.register(username="ａｎｎ", **wrong))
    # What is wrong with the password is told together with the other fields.
    assert errors.keys() == wrong.keys()
    assert "at least 8 characters" in errors["password"][0]
    assert built.register(email="ANN@Example.com").status_code == 201
    assert seen == [{"username": "ann"}, {"email": "ann@example.com", "username": "ann"}]


class RenamedPassword(DefaultRegisterUserSerializer):
    password = fields.String(required=True, data_key="pass phrase")


class OwnSchema(Schema):
    email = fields.Email(required=True)
    username = fields.String(required=True)
    secret = fields.String(required=True, attribute="password", data_key="pass phrase")


SENT = {"email": "ann@example.com", "username": "ann", "pass phrase": PASSWORD}


def test_a_weak_password_stands_beside_other_faults_under_the_clients_name(build: Builder) -> None:
    built = build(registration={"REGISTER_SERIALIZER_CLASS": OwnSchema})
    sent = {**SENT, "pass phrase": "short"}
    assert field_errors(built.post(REGISTER, {**sent, "email": "no address"})).keys() == {"email", "pass phrase"}
    assert field_errors(built.post(REGISTER, sent)).keys() == {"pass phrase"}


def refuse_value(password: str) -> str:
    raise ValueError("We do not like it.")


@pytest.mark.parametrize("serializer", [RenamedPassword, OwnSchema])
@pytest.mark.parametrize("settings", [{"PASSWORD_VALIDATORS": [no_digits]}, {"PASSWORD_HASHER": refuse_value}])
def test_what_is_wrong_with_a_password_stands_under_the_name_that_the_client_used(
    build: Builder, serializer: type[Schema], settings: dict[str, object]
) -> None:
    own = {"REGISTER_SERIALIZER_CLASS": serializer, "REGISTER_SERIALIZER_PASSWORD_CONFIRM": False}
    assert list(field_errors(build(registration={**own, **settings}).post(REGISTER, SENT))) == ["pass phrase"]


@pytest.mark.parametrize(
    ("attributes", "hasher"),
    [
        ({"set_password": lambda self, password: refuse_value(password)}, models.cheap_hash),
        ({}, refuse_value),
        ({"check": validates("password_hash")(lambda self, key, value: refuse_value(value))}, models.cheap_hash),
    ],
    ids=["set_password", "hasher", "column"],
)
def test_a_valueerror_of_method_hasher_or_column_is_a_field_error_in_its_own_words(
    build: Builder, attributes: dict[str, Any], hasher: Any
) -> None:
    built = build(models.declared(**attributes), registration={"PASSWORD_HASHER": hasher})
    assert messages(built, PASSWORD) == ["We do not like it."]
    assert built.rows() == []


# Codecs and validation libraries raise subclasses, which quote what they were given.
@pytest.mark.parametrize("error", [ValueError(), ValueError(""), UnicodeError("not 'tell nobody'")], ids=repr)
def test_an_error_without_words_or_with_the_password_in_it_gets_our_words(build: Builder, error: ValueError) -> None:
    def refuse(password: str) -> str:
        raise error

    found = messages(build(registration={"PASSWORD_HASHER": refuse}), PASSWORD)
    assert "tell nobody" not in found[0]
    assert found[0]


def test_another_error_of_the_hasher_is_the_applications_own(build: Builder) -> None:
    def fail(password: str) -> str:
        raise TypeError("a fault")

    built = build(registration={"PASSWORD_HASHER": fail})
    with pytest.raises(TypeError, match="a fault"):
        built.register()
    assert built.rows() == []


def test_what_is_no_text_or_empty_or_nothing_that_a_hasher_takes_is_refused(build: Builder) -> None:
    built = build(registration={"PASSWORD_VALIDATORS": []})
    no_texts = ("", None, 12345678, 1.5, True, ["a"], {"a": "b"}, OMITTED)
    for password in (*no_texts, "violet\0anchor-47-tundra", "violet\ud83danchor-47-tundra", "\udc00" * 9):
        assert "password" in field_errors(built.register(password=password, password_confirm=PASSWORD))
    assert built.rows() == []


def test_a_serializer_of_ones_own_cannot_let_a_missing_password_through(build: Builder) -> None:
    texts = {"email": fields.String(), "username": fields.String()}
    careless = Schema.from_dict({**texts, "password": fields.Raw(allow_none=True)})
    built = build(registration={"REGISTER_SERIALIZER_CLASS": careless, "PASSWORD_VALIDATORS": []})
    for value in (None, "", 5):
        assert messages(built, value, password_confirm=OMITTED)


def test_the_default_hash_is_scrypt_at_owasps_minimum_with_a_salt_for_each_account(build: Builder) -> None:
    built = build(registration={"PASSWORD_HASHER": None})
    built.register()
    built.register(email="bob@example.com", username="bob")
    first, second = (row["password_hash"] for row in built.rows())
    assert first != second
    assert first.startswith("scrypt:32768:8:3$")
    assert len(first) == len(second) == 162
    assert check_password_hash(first, PASSWORD)
    assert not check_password_hash(first, PASSWORD + " ")


@pytest.mark.parametrize("model", [models.typed, models.set_password, models.password_hybrid])
def test_a_password_is_taken_exactly_as_sent(build: Builder, model: models.Model) -> None:
    built = build(model)
    spellings = [f"  {PASSWORD}  ", PASSWORD.upper(), "ﬁﬂ ½ Ａnchor-47", "e\u0301cole-anchor-47", "école-anchor-47\t\n"]
    for number, password in enumerate(spellings):
        name = f"user{number}"
        assert built.register(email=f"{name}@example.com", username=name, password=password).status_code == 201
        assert check_password_hash(built.rows()[-1]["password_hash"], password)


def hash_with_bcrypt(password: str) -> str:
    encoded = password.encode()
    if len(encoded) > 72:  # from version 5 on bcrypt says so itself; before, it cut the rest off
        raise ValueError("At most 72 bytes, please.")
    return bcrypt.hashpw(encoded, bcrypt.gensalt(4)).decode()


def test_a_hasher_of_another_library_is_a_setting_away(build: Builder) -> None:
    argon = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    built = build(registration={"PASSWORD_HASHER": argon.hash})
    assert built.register().status_code == 201
    assert argon.verify(built.row()["password_hash"], PASSWORD)
    built, longest = build(registration={"PASSWORD_HASHER": hash_with_bcrypt}), STRONG * 8
    assert messages(built, f"{longest}é") == ["At most 72 bytes, please."]
    assert built.register(password=longest).status_code == 201
    assert bcrypt.checkpw(longest.encode(), built.row()["password_hash"].encode())
