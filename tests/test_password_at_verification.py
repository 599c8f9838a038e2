"""REGISTER_PASSWORD_AT "verify": the password is chosen by whoever opens the link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, ValidationError, fields, post_load
from sqlalchemy import DateTime, ForeignKey, Integer, String, event, func, inspect, select, update
from sqlalchemy.orm import Mapped, deferred, mapped_column
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError, DefaultRegisterUserSerializer, user_activated

from .support import models
from .support.answers import field_errors, refused
from .support.apps import OMITTED, PASSWORD, REGISTER, Builder, Built
from .support.clock import Clock, at
from .support.links import changed, link_in, values_of, with_other_character
from .support.mail_servers import RecordingServer
from .support.messages import lacking
from .support.statements import recorded

Values = dict[str, str]

WEEK = 7 * 24 * 3600
NOW = at(1_700_000_000)  # what the stopped clock says
AT_VERIFICATION: dict[str, object] = {"REGISTER_PASSWORD_AT": "verify"}
HOSTILE = "copper-lantern-83-meadow"
OTHER = "marble-teapot-52-canyon"


class CountingHasher:
    """Hashes cheaply, and remembers what it was given."""

    def __init__(self) -> None:
        self.passwords: list[str] = []

    def __call__(self, password: str) -> str:
        self.passwords.append(password)
        return models.cheap_hash(password)


class Validator:
    """Refuses nothing unless it is told to, and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, object]]] = []

    def __call__(self, password: str, user_data: Mapping[str, object]) -> None:
        self.calls.append((password, dict(user_data)))
        if str(user_data.get("username")) in password:
            raise ValidationError("No names, please.")


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
def validator() -> Validator:
    return Validator()


@pytest.fixture(name="built")
def usual_app(build: Builder, clock: Clock, hasher: CountingHasher, validator: Validator) -> Built:
    settings = {
        **AT_VERIFICATION,
        "PASSWORD_HASHER": hasher,
        "PASSWORD_VALIDATORS": ["flask_rest_registration.passwords.validate_length", validator],
    }
    return build(models.claiming, registration=settings)


def sign_up(built: Built, **fields_: object) -> None:
    """Sign up without a password."""
    answer = built.register(password=OMITTED, password_confirm=OMITTED, **fields_)
    assert answer.status_code == 201, answer.text


@pytest.fixture(name="values")
def values_of_its_link(built: Built, smtp: RecordingServer) -> Values:
    sign_up(built)
    return values_of(link_in(smtp.message))


def choosing(values: Mapping[str, object], password: object = PASSWORD, **others: object) -> dict[str, object]:
    """Return what the page behind the link sends."""
    return {**values, "password": password, "password_confirm": password, **others}


def change(built: Built, **values: object) -> None:
    """Let the application change every account by itself."""
    with built.app.app_context():
        built.db.session.execute(update(built.User).values(**values))
        built.db.session.commit()


def with_columns(**attributes: Any) -> models.Model:
    """The smallest model that tells claims from other accounts, with some attributes replaced, added or left out."""
    return models.declared(verification_sent_at=mapped_column(DateTime), **attributes)


def claiming(model: models.Model) -> models.Model:
    """Give a model the column that tells claims from other accounts."""

    def declare(db: SQLAlchemy) -> type[Any]:
        user = model(db)
        user.verification_sent_at = mapped_column(DateTime)
        return user

    return declare


def refused_setup(call: Callable[[], object]) -> str:
    """Return the message with which a request is refused."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    return str(caught.value)


# Registration


def test_registration_takes_no_password(built: Built) -> None:
    assert sorted(field_errors(built.register())) == ["password", "password_confirm"]
    assert list(field_errors(built.register(password_confirm=OMITTED))) == ["password"]
    assert built.rows() == []


def test_the_schema_of_a_registration_has_no_password(built: Built) -> None:
    assert set(built.registration.register_schema(built.app).fields) == {"email", "username"}


def test_an_app_that_does_not_set_it_takes_the_password_at_registration_alone(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(models.claiming)
    assert built.register().status_code == 201
    values = values_of(link_in(smtp.message))
    assert sorted(field_errors(built.verify(choosing(values, OTHER)))) == ["password", "password_confirm"]
    assert built.verify(values).status_code == 200
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


def test_until_then_the_row_has_a_real_hash_of_a_password_that_nobody_knows(
    built: Built, smtp: RecordingServer, hasher: CountingHasher, validator: Validator
) -> None:
    sign_up(built)
    sign_up(built, email="bob@example.com", username="bob")
    assert len(set(hasher.passwords)) == 2
    assert [len(password) for password in hasher.passwords] == [43, 43]  # 32 bytes, each time new ones
    first, second = (row["password_hash"] for row in built.rows())
    assert check_password_hash(first, hasher.passwords[0])
    assert not check_password_hash(first, hasher.passwords[1])
    for known in (PASSWORD, "", "!", "ann", "ann@example.com", "None"):
        assert not check_password_hash(first, known)
        assert not check_password_hash(second, known)
    for message in smtp.messages:
        assert not any(password in message.as_string() for password in hasher.passwords)
    assert validator.calls == []


def test_a_password_of_a_serializer_of_ones_own_does_not_count(build: Builder, hasher: CountingHasher) -> None:
    class Taking(DefaultRegisterUserSerializer):
        password = fields.String(required=True)

    settings = {**AT_VERIFICATION, "REGISTER_SERIALIZER_CLASS": Taking, "PASSWORD_HASHER": hasher}
    built = build(models.claiming, registration=settings)
    assert built.register(password=HOSTILE, password_confirm=OMITTED).status_code == 201
    assert HOSTILE not in hasher.passwords
    assert not check_password_hash(built.row()["password_hash"], HOSTILE)


@pytest.mark.parametrize(
    "model",
    [
        models.claiming,
        claiming(models.set_password),
        claiming(models.password_property),
        claiming(models.password_hybrid),
    ],
    ids=["column", "set_password", "property", "hybrid"],
)
def test_a_password_of_a_serializer_that_gives_the_object_does_not_count(
    build: Builder, smtp: RecordingServer, model: models.Model
) -> None:
    class Giving(Schema):
        email = fields.Email(required=True)
        username = fields.String(required=True)
        password = fields.String(required=True)

        @post_load
        def make(self, data: dict[str, Any], **kwargs: object) -> Any:
            user = built.User(email=data["email"], username=data["username"])
            user.password_hash = models.cheap_hash(data["password"])
            return user

    built = build(model, registration={**AT_VERIFICATION, "REGISTER_SERIALIZER_CLASS": Giving})
    assert built.register(password=HOSTILE, password_confirm=OMITTED).status_code == 201
    assert not check_password_hash(built.row()["password_hash"], HOSTILE)
    assert built.verify(choosing(values_of(link_in(smtp.message)))).status_code == 200
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


def test_a_model_that_refuses_the_random_password_is_told_so_without_quoting_it(build: Builder) -> None:
    given: list[str] = []

    def refuse(self: Any, password: str) -> None:
        given.append(password)
        raise ValueError(f"{password} has no blank")

    built = build(with_columns(set_password=refuse), registration=AT_VERIFICATION)
    message = refused_setup(lambda: built.post(REGISTER, {"email": "ann@example.com"}))
    words = ("User.set_password", "random password", "REGISTER_PASSWORD_AT is 'verify'", "PASSWORD_VALIDATORS")
    assert lacking(message, *words) == []
    assert given
    assert given[0] not in message
    assert built.rows() == []


# The page behind the link


def test_whoever_opens_the_link_chooses_the_password_once(
    built: Built, values: Values, clock: Clock, hasher: CountingHasher
) -> None:
    clock.move(60)
    with recorded(built.engine) as statements:
        answer = built.verify(choosing(values))
    assert (answer.status_code, answer.get_json()) == (200, {"detail": "User verified successfully"})
    assert statements.queries == ["SELECT", "UPDATE"]
    assert hasher.passwords[1:] == [PASSWORD]
    row = built.row()
    assert check_password_hash(row["password_hash"], PASSWORD)
    assert row["email_verified_at"] is not None
    assert row["verification_sent_at"] is None


def test_the_hash_is_made_with_no_transaction_open(build: Builder, smtp: RecordingServer) -> None:
    during: list[list[str]] = []

    def hash_password(password: str) -> str:
        during.append(list(statements.kinds))
        return models.cheap_hash(password)

    built = build(models.claiming, registration={**AT_VERIFICATION, "PASSWORD_HASHER": hash_password})
    with recorded(built.engine) as statements:
        sign_up(built)
        values = values_of(link_in(smtp.message))
        statements.clear()
        assert built.verify(choosing(values)).status_code == 200
    assert during == [[], ["BEGIN", "SELECT", "COMMIT"]]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"password": OMITTED, "password_confirm": OMITTED}, ["password", "password_confirm"]),
        ({"password": OMITTED, "password_confirm": PASSWORD}, ["password"]),
        ({"password": None, "password_confirm": PASSWORD}, ["password"]),
        ({"password": "", "password_confirm": ""}, ["password", "password_confirm"]),
        ({"password": 5, "password_confirm": 5}, ["password", "password_confirm"]),
        ({"password": "short", "password_confirm": "short"}, ["password"]),
        ({"password": "ann-is-my-name", "password_confirm": "ann-is-my-name"}, ["password"]),
        ({"password_confirm": OMITTED}, ["password_confirm"]),
        ({"password_confirm": OTHER}, ["password_confirm"]),
    ],
    ids=repr,
)
def test_a_password_that_is_missing_weak_or_unequal_is_named_and_the_link_lives_on(
    built: Built, values: Values, changes: dict[str, object], named: list[str]
) -> None:
    before = built.row()
    body = {name: value for name, value in choosing(values, **changes).items() if value is not OMITTED}
    assert sorted(field_errors(built.verify(body))) == named
    assert built.row() == before
    assert built.verify(choosing(values)).status_code == 200


BAD_PASSWORDS: list[dict[str, object]] = [
    {},
    {"password": "short", "password_confirm": "short"},
    {"password": PASSWORD, "password_confirm": OTHER},
    {"password": 5},
    {"password": PASSWORD, "password_confirm": PASSWORD},
]


@pytest.mark.parametrize("bad", BAD_PASSWORDS, ids=repr)
def test_a_wrong_signature_learns_nothing_of_passwords(
    built: Built, values: Values, hasher: CountingHasher, validator: Validator, bad: dict[str, object]
) -> None:
    forged = changed(values, signature=with_other_character(values["signature"], 5))
    refused(built.verify({**forged, **bad}), 400, "signature-invalid")
    refused(built.verify({**changed(values, user_id="2"), **bad}), 400, "signature-invalid")
    assert (len(hasher.passwords), validator.calls) == (1, [])


@pytest.mark.parametrize("bad", BAD_PASSWORDS, ids=repr)
def test_an_expired_link_learns_nothing_of_passwords(
    built: Built, values: Values, clock: Clock, hasher: CountingHasher, validator: Validator, bad: dict[str, object]
) -> None:
    clock.move(WEEK + 1)
    refused(built.verify({**values, **bad}), 400, "signature-expired")
    assert (len(hasher.passwords), validator.calls) == (1, [])


@pytest.mark.parametrize("bad", BAD_PASSWORDS, ids=repr)
def test_faults_of_the_link_are_told_before_those_of_the_password(
    built: Built, values: Values, bad: dict[str, object]
) -> None:
    assert list(field_errors(built.verify({**bad, "user_id": values["user_id"], "timestamp": "1"}))) == ["signature"]
    assert list(field_errors(built.verify({**values, **bad, "role": "admin"}))) == ["role"]


@pytest.mark.parametrize("body", [[], ["password"], "password", 5, None])
def test_what_is_no_object_is_refused(built: Built, body: object) -> None:
    answer = built.post("verify-registration/", data=built.app.json.dumps(body), content_type="application/json")
    assert answer.status_code == 400
    assert "password" not in answer.text


def test_validators_see_the_stored_fields(built: Built, values: Values, validator: Validator) -> None:
    change(built, username="anna")
    assert built.verify(choosing(values)).status_code == 200
    assert validator.calls == [(PASSWORD, {"email": "ann@example.com", "username": "anna"})]


def test_without_the_second_password_one_is_enough_and_a_second_one_is_unknown(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(models.claiming, registration={**AT_VERIFICATION, "REGISTER_SERIALIZER_PASSWORD_CONFIRM": False})
    sign_up(built)
    values = values_of(link_in(smtp.message))
    assert list(field_errors(built.verify(choosing(values)))) == ["password_confirm"]
    assert list(field_errors(built.verify(values))) == ["password"]
    assert built.verify({**values, "password": PASSWORD}).status_code == 200
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


# Once only, and claims only


@pytest.mark.parametrize("body", BAD_PASSWORDS, ids=repr)
def test_a_repetition_is_refused_and_costs_nothing(
    built: Built, values: Values, hasher: CountingHasher, validator: Validator, body: dict[str, object]
) -> None:
    assert built.verify(choosing(values)).status_code == 200
    before = built.row()
    hashes, calls = len(hasher.passwords), len(validator.calls)
    refused(built.verify({**values, **body}), 400, "signature-invalid")
    refused(built.verify(choosing(values, HOSTILE)), 400, "signature-invalid")
    assert built.row() == before
    assert (len(hasher.passwords), len(validator.calls)) == (hashes, calls)


@pytest.mark.parametrize("one_time", [True, False])
def test_links_are_one_time_whatever_the_other_setting_says(
    build: Builder, smtp: RecordingServer, one_time: bool
) -> None:
    built = build(models.claiming, registration={**AT_VERIFICATION, "REGISTER_VERIFICATION_ONE_TIME_USE": one_time})
    sign_up(built)
    values = values_of(link_in(smtp.message))
    assert built.verify(choosing(values)).status_code == 200
    refused(built.verify(choosing(values)), 400, "signature-invalid")


@pytest.mark.parametrize("clears_flag", [True, False])
def test_an_old_link_is_no_password_reset(
    built: Built, values: Values, hasher: CountingHasher, validator: Validator, clears_flag: bool
) -> None:
    assert built.verify(choosing(values)).status_code == 200
    if clears_flag:  # as applications do after a change of address, or each year
        change(built, email_verified_at=None)
    before = built.row()
    hashes, calls = len(hasher.passwords), len(validator.calls)
    refused(built.verify(choosing(values, HOSTILE)), 400, "signature-invalid")
    assert built.row() == before
    assert (len(hasher.passwords), len(validator.calls)) == (hashes, calls)


def test_an_account_that_was_never_a_claim_is_not_activated(built: Built, values: Values) -> None:
    change(built, verification_sent_at=None)  # as if it had been made by hand, or were locked
    refused(built.verify(choosing(values)), 400, "signature-invalid")
    assert built.row()["email_verified_at"] is None


def test_of_two_that_open_the_link_at_once_the_first_one_counts(
    build: Builder, smtp: RecordingServer, clock: Clock
) -> None:
    between: list[Callable[[], object]] = []

    def validate(password: str, user_data: Mapping[str, object]) -> None:
        between.pop()()

    built = build(models.claiming, registration={**AT_VERIFICATION, "PASSWORD_VALIDATORS": [validate]})
    sign_up(built)
    values = values_of(link_in(smtp.message))
    between.append(lambda: change(built, email_verified_at=NOW, verification_sent_at=None, password_hash="first"))
    refused(built.verify(choosing(values)), 400, "signature-invalid")
    assert between == []
    assert built.row()["password_hash"] == "first"


def test_without_the_setting_one_that_another_request_verified_meanwhile_is_verified(
    build: Builder, smtp: RecordingServer
) -> None:
    built = build(models.claiming)
    assert built.register().status_code == 201
    link = link_in(smtp.message)
    done: list[bool] = []

    @event.listens_for(built.engine, "before_cursor_execute")
    def meanwhile(conn: object, cursor: object, sql: str, *_: object) -> None:
        if sql.startswith("UPDATE") and not done:
            done.append(True)
            change(built, email_verified_at=NOW)

    assert built.verify(link).status_code == 200
    assert done


def test_a_hostile_sign_up_never_opens_the_account(
    build: Builder, smtp: RecordingServer, hasher: CountingHasher
) -> None:
    """The attacker signs up with the victim's address; the victim opens the link and chooses."""
    built = build(models.claiming, registration={**AT_VERIFICATION, "PASSWORD_HASHER": hasher})
    hostile: dict[str, object] = {"password": HOSTILE, "password_confirm": HOSTILE, "password_hash": HOSTILE}
    assert sorted(field_errors(built.register(**hostile))) == ["password", "password_confirm", "password_hash"]
    sign_up(built, username="mallory")
    values = values_of(link_in(smtp.message))
    for guess in ({}, {"signature": "x"}, {"signature": values["signature"][::-1]}):
        answer = built.verify(choosing({**values, "signature": "", **guess}, HOSTILE))
        refused(answer, 400, "signature-invalid")
    assert not check_password_hash(built.row()["password_hash"], HOSTILE)
    assert built.verify(choosing(values)).status_code == 200
    refused(built.verify(choosing(values, HOSTILE)), 400, "signature-invalid")
    assert HOSTILE not in hasher.passwords
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


# Where the password goes


@pytest.mark.parametrize(
    "model",
    [
        models.typed,
        models.classic_columns,
        models.set_password,
        models.password_property,
        models.password_hybrid,
        models.password_hybrid_over_underscore,
        models.password_column,
        models.uuid_key,
        models.boolean_flag,
        models.datetime_flag_with_zone,
        models.other_column_names,
        models.inheritance_base,
        models.other_bind,
        models.privileged,
    ],
    ids=lambda model: model.__name__,
)
def test_with_models_of_all_kinds_the_activating_update_sets_the_password(
    build: Builder, smtp: RecordingServer, model: models.Model
) -> None:
    built = build(claiming(model), registration=AT_VERIFICATION)
    sign_up(built)
    values = values_of(link_in(smtp.message))
    with recorded(built.engine) as statements:
        assert built.verify(choosing(values)).status_code == 200
    assert statements.queries == ["SELECT", "UPDATE"]
    row = built.row()
    stored = next(row[name] for name in ("password_hash", "password", "_password") if name in row)
    assert check_password_hash(stored, PASSWORD)
    assert row["verification_sent_at"] is None
    refused(built.verify(choosing(values)), 400, "signature-invalid")


def test_what_set_password_changes_besides_goes_into_the_same_update(
    build: Builder, smtp: RecordingServer, activations: list[Any]
) -> None:
    def set_password(self: Any, password: str) -> None:
        self.password_hash = models.cheap_hash(password)
        self.password_length = len(password)
        self.generation = (self.generation or 0) + 1

    model = with_columns(
        set_password=set_password, password_length=mapped_column(Integer), generation=mapped_column(Integer)
    )
    built = build(model, registration=AT_VERIFICATION)
    sign_up(built)
    assert (built.row()["password_length"], built.row()["generation"]) == (43, 1)
    values = values_of(link_in(smtp.message))
    with recorded(built.engine) as statements:
        assert built.verify(choosing(values)).status_code == 200
    assert statements.queries == ["SELECT", "UPDATE"]
    assert (built.row()["password_length"], built.row()["generation"]) == (len(PASSWORD), 2)
    assert (activations[0].generation, activations[0].password_length) == (2, len(PASSWORD))


@pytest.mark.parametrize("reads", [True, False])
def test_a_deferred_column_gets_the_hash_too(
    build: Builder, smtp: RecordingServer, activations: list[Any], reads: bool
) -> None:
    def set_password(self: Any, password: str) -> None:
        if reads:
            assert self.password_hash is not None or inspect(self).key is None
        self.password_hash = models.cheap_hash(password)

    hidden = deferred(mapped_column("password_hash", String(256), nullable=False))
    built = build(with_columns(password_hash=hidden, set_password=set_password), registration=AT_VERIFICATION)
    sign_up(built)
    values = values_of(link_in(smtp.message))
    with recorded(built.engine) as statements:
        assert built.verify(choosing(values)).status_code == 200
    assert statements.queries == ["SELECT", *(["SELECT"] if reads else []), "UPDATE"]
    assert check_password_hash(built.row()["password_hash"], PASSWORD)
    assert check_password_hash(activations[0].password_hash, PASSWORD)


def test_rows_that_set_password_adds_are_stored_with_the_verification(build: Builder, smtp: RecordingServer) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        class Change(db.Model):  # type: ignore[misc,name-defined]
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))

        def set_password(self: Any, password: str) -> None:
            if self.id is not None:
                db.session.add(Change(user_id=self.id))
            self.password_hash = models.cheap_hash(password)

        user = with_columns(set_password=set_password)(db)
        user.Change = Change
        return user

    built = build(model, registration=AT_VERIFICATION)
    sign_up(built)
    assert built.verify(choosing(values_of(link_in(smtp.message)))).status_code == 200
    with built.app.app_context():
        assert built.db.session.query(built.User.Change).count() == 1
    assert check_password_hash(built.row()["password_hash"], PASSWORD)


def test_a_method_that_refuses_the_password_is_told_to_the_client_and_nothing_of_it_stays(
    build: Builder, smtp: RecordingServer
) -> None:
    def set_password(self: Any, password: str) -> None:
        self.password_hash = models.cheap_hash(password)
        if password == PASSWORD:
            raise ValueError("Used before.")

    built = build(with_columns(set_password=set_password), registration=AT_VERIFICATION)
    sign_up(built)
    before = built.row()
    values = values_of(link_in(smtp.message))
    assert field_errors(built.verify(choosing(values))) == {"password": ["Used before."]}
    assert built.row() == before
    assert built.verify(choosing(values, OTHER)).status_code == 200


def test_a_method_that_changes_no_column_cannot_be_used(build: Builder, smtp: RecordingServer) -> None:
    def set_password(self: Any, password: str) -> None:
        self.remembered = password

    model = with_columns(set_password=set_password, password_hash=None)
    built = build(model, registration=AT_VERIFICATION)
    sign_up(built)
    values = values_of(link_in(smtp.message))
    message = refused_setup(lambda: built.verify(choosing(values)))
    words = ("User.set_password changed no column of User", "REGISTER_PASSWORD_AT 'verify'", "column for its hash")
    assert lacking(message, *words) == []
    assert built.row()["email_verified_at"] is None


def test_a_column_whose_name_tells_nothing_will_do(build: Builder, smtp: RecordingServer) -> None:
    def set_password(self: Any, password: str) -> None:
        self.secret = models.cheap_hash(password)

    model = with_columns(set_password=set_password, password_hash=None, secret=mapped_column(String(256)))
    built = build(model, registration=AT_VERIFICATION)
    sign_up(built)
    assert built.verify(choosing(values_of(link_in(smtp.message)))).status_code == 200
    assert check_password_hash(built.row()["secret"], PASSWORD)


@pytest.mark.parametrize("at", ["register", "verify"])
def test_a_hash_that_the_column_cannot_hold_is_the_developers_fault(
    build: Builder, smtp: RecordingServer, at: str
) -> None:
    def hash_password(password: str) -> str:
        return "h" * (41 if at == "register" or password == PASSWORD else 40)

    settings = {**AT_VERIFICATION, "PASSWORD_HASHER": hash_password}
    built = build(with_columns(password_hash=mapped_column(String(40))), registration=settings)
    if at == "register":
        message = refused_setup(lambda: built.post(REGISTER, {"email": "ann@example.com"}))
        assert built.rows() == []
    else:
        sign_up(built)
        values = values_of(link_in(smtp.message))
        message = refused_setup(lambda: built.verify(choosing(values)))
        assert built.row()["email_verified_at"] is None
    assert lacking(message, "User.password_hash holds 40 characters", "41", "db.String(255)", "migration") == []


def test_a_hash_that_the_database_makes_is_read_by_receivers_as_it_was_stored(
    build: Builder, smtp: RecordingServer
) -> None:
    def set_password(self: Any, password: str) -> None:
        self.password_hash = func.upper(password)  # as pgcrypto's crypt() would be called

    built = build(with_columns(set_password=set_password), registration=AT_VERIFICATION)
    sign_up(built)
    values = values_of(link_in(smtp.message))
    seen: list[object] = []

    def read(sender: Flask, user: Any, **_: object) -> None:
        seen.append(user.password_hash)

    with user_activated.connected_to(read):
        assert built.verify(choosing(values)).status_code == 200
    assert built.row()["password_hash"] == PASSWORD.upper()
    assert seen == [PASSWORD.upper()]


def test_columns_that_the_update_fills_by_itself_are_read_anew(build: Builder, smtp: RecordingServer) -> None:
    numbers = iter(range(1, 9))
    model = with_columns(
        version=mapped_column(Integer, default=0, onupdate=lambda: next(numbers)),
        seen=mapped_column(String(40), default="new", server_onupdate=func.now()),
    )
    built = build(model, registration=AT_VERIFICATION)
    sign_up(built)
    seen: list[object] = []

    def read(sender: Flask, user: Any, **_: object) -> None:
        seen.extend([user.version, user.seen])

    with user_activated.connected_to(read):
        assert built.verify(choosing(values_of(link_in(smtp.message)))).status_code == 200
    assert seen == [1, "new"]
    assert built.row()["version"] == 1


def test_an_address_that_changed_meanwhile_is_not_verified_and_gets_no_password(
    build: Builder, smtp: RecordingServer
) -> None:
    def validate(password: str, user_data: Mapping[str, object]) -> None:
        change(built, email="other@example.com")

    built = build(models.claiming, registration={**AT_VERIFICATION, "PASSWORD_VALIDATORS": [validate]})
    sign_up(built)
    before = built.row()
    refused(built.verify(choosing(values_of(link_in(smtp.message)))), 400, "signature-invalid")
    assert built.row() == {**before, "email": "other@example.com"}


def test_what_two_tables_hold_is_changed_in_the_one_of_the_flag(build: Builder, smtp: RecordingServer) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        columns = {"id": mapped_column(Integer, primary_key=True)}
        columns["email"] = mapped_column(String(254), unique=True, nullable=False)
        columns["password_hash"] = mapped_column(String(256), nullable=False)
        columns["changes"] = mapped_column(Integer, default=0, onupdate=7)
        person = type("Person", (db.Model,), columns)
        return type(
            "User",
            (person,),
            {
                "id": mapped_column(ForeignKey("person.id"), primary_key=True),
                "email_verified_at": mapped_column(DateTime),
                "verification_sent_at": mapped_column(DateTime),
            },
        )

    built = build(model)
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200
    row = built.row()
    assert (row["email_verified_at"] is None, row["verification_sent_at"], row["changes"]) == (False, None, 0)


def test_a_method_that_asks_the_database_does_not_write_the_password_ahead_of_the_verification(
    build: Builder, smtp: RecordingServer
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        def set_password(self: Any, password: str) -> None:
            self.password_hash = models.cheap_hash(password)
            db.session.scalar(select(func.count()).select_from(type(self)))

        return with_columns(set_password=set_password)(db)

    built = build(model, registration=AT_VERIFICATION)
    sign_up(built)
    values = values_of(link_in(smtp.message))
    with recorded(built.engine) as statements:
        assert built.verify(choosing(values)).status_code == 200
    assert statements.queries == ["SELECT", "SELECT", "UPDATE"]
    assert check_password_hash(built.row()["password_hash"], PASSWORD)
