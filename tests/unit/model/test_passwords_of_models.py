"""How a model wants its passwords, and what its constructor wants: the account that is made can be logged in to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from marshmallow import fields
from sqlalchemy import event
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import mapped_column, synonym, validates
from sqlalchemy.types import TypeDecorator
from werkzeug.security import check_password_hash

from flask_rest_registration import ConfigurationError
from flask_rest_registration.state import app_state
from flask_rest_registration.workflows.sign_up import sample_sign_up
from tests.support import models
from tests.support.answers import field_errors
from tests.support.apps import PASSWORD, Builder, Built
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.messages import lacking
from tests.support.models import cheap_hash, declared

FLAG = "USER_VERIFICATION_FLAG_FIELD"


def text(length: int | None = 254, **options: Any) -> Any:
    return mapped_column(sa.String(length), **options)


def stored_hash(built: Built) -> Any:
    """Sign up, and return what the column ``password_hash`` or ``password`` has, as another process reads it."""
    answer = built.register()
    assert answer.status_code == 201, answer.text
    table = built.User.__table__
    name = next(each.name for each in table.columns if each.name in ("password_hash", "password"))
    with built.outside() as outside:
        (value,) = outside.execute(f"SELECT {name} FROM user").scalars()
    return value


def refused_with(built: Built, *words: str) -> None:
    """Check that each sign-up is a ConfigurationError, without the password, and that nothing is stored."""
    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            built.register()
        assert lacking(str(caught.value), "Fix: ", *words) == []
        assert PASSWORD not in str(caught.value)
        assert built.rows() == []


# The model hashes by itself.


class Hashing(TypeDecorator[str]):
    """A type that hashes at the INSERT."""

    impl = sa.String(200)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and cheap_hash(value)


class Secret:
    """A hash that is equal to the password that it was made of, and to nothing else."""

    def __init__(self, hashed: str) -> None:
        self.hashed = hashed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and check_password_hash(self.hashed, other)

    __hash__ = None  # type: ignore[assignment]


class SecretType(TypeDecorator[Secret]):
    """A type of such objects, which hashes texts too."""

    impl = sa.String(200)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: object) -> str | None:
        return value.hashed if isinstance(value, Secret) else cheap_hash(value)

    def process_result_value(self, value: str | None, dialect: object) -> Secret | None:
        return value and Secret(value)  # type: ignore[return-value]


class StrictSecretType(SecretType):
    """A type that takes such objects only."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: object) -> str | None:
        assert isinstance(value, Secret)
        return value.hashed


class Encrypted(TypeDecorator[str]):
    """A type that stores another text than it gives back."""

    impl = sa.String(254)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value[::-1]

    def process_result_value(self, value: str | None, dialect: object) -> str | None:
        return value and value[::-1]


class HashedInSQL(sa.types.UserDefinedType[str]):
    """A type whose hash SQL makes, of which this one is a poor one."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "VARCHAR(200)"

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.literal("hash of ") + sa.type_coerce(bindvalue, sa.String)


def hashing(make: Callable[[str], object] = cheap_hash) -> Any:
    """Make a @validates method that hashes, and reads another attribute."""

    @validates("password_hash", "password")
    def hash_it(self: Any, key: str, password: str) -> object:
        assert self.email.endswith("@example.com")
        return make(password)

    return hash_it


def with_listener(db: SQLAlchemy) -> type[Any]:
    user = declared()(db)
    event.listen(user.password_hash, "set", lambda target, value, *_: cheap_hash(value), retval=True)
    return user


def hashing_setter(name: str) -> property:
    return property(None, lambda self, password: setattr(self, name, cheap_hash(password)))


#: By what hashes: what makes the model.
SELF_HASHING: dict[str, Callable[[], models.Model]] = {
    "@validates": lambda: declared(hash_it=hashing()),
    "@validates on password": lambda: declared(password_hash=None, password=text(), hash_it=hashing()),
    "@validates that makes an object": lambda: declared(
        password_hash=mapped_column(StrictSecretType), hash_it=hashing(lambda text: Secret(cheap_hash(text)))
    ),
    "a listener": lambda: with_listener,
    "a type": lambda: declared(password_hash=mapped_column(Hashing)),
    "a type of objects": lambda: declared(password_hash=mapped_column(SecretType)),
    "a synonym with a setter": lambda: declared(
        _pw=text(name="password_hash"), password_hash=None, password=synonym("_pw", descriptor=hashing_setter("_pw"))
    ),
}


@pytest.mark.database
@pytest.mark.parametrize("name", SELF_HASHING)
def test_what_hashes_by_itself_is_given_the_password_and_asked_for_once(build: Builder, name: str) -> None:
    hashed: list[str] = []

    def hasher(password: str) -> str:
        hashed.append(password)
        return cheap_hash(password)

    built = build(SELF_HASHING[name](), registration={"PASSWORD_HASHER": hasher})
    for number in range(3):
        assert check_password_hash(stored_hash(built), PASSWORD)
        built.execute_outside("DELETE FROM user")
        assert len(hashed) == (0 if name.startswith("a type") else 1), number


class Short(TypeDecorator[str]):
    """A type whose hash is shorter than the password."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and "h" * 20


@pytest.mark.database
def test_a_type_that_hashes_may_make_the_password_shorter(build: Builder) -> None:
    assert stored_hash(build(declared(password_hash=mapped_column(Short)))) == "h" * 20


@pytest.mark.database
@pytest.mark.parametrize("kind", [Encrypted(), sa.Text(), HashedInSQL()], ids=["encrypted", "text", "SQL"])
def test_a_type_gets_the_hash_unless_what_is_read_is_not_what_was_written(build: Builder, kind: Any) -> None:
    built = build(declared(password_hash=mapped_column(kind)))
    hashed = stored_hash(built)
    if isinstance(kind, HashedInSQL):
        assert hashed == f"hash of {PASSWORD}"
    else:
        assert check_password_hash(hashed[::-1] if isinstance(kind, Encrypted) else hashed, PASSWORD)


def keep(self: Any, password: str) -> None:
    self.password_hash = password


def refuse_long(self: Any, key: str, password: str) -> str:
    if len(password) > 72:
        raise ValueError("This password is too long.")
    return password


STORES = "User.password_hash | as it was sent | PASSWORD_HASHER"

#: By what would store the password itself: the model and the hasher.
NOT_HASHING: dict[str, tuple[models.Model, Any]] = {
    "a method": (declared(set_password=keep), cheap_hash),
    "a property": (declared(password=property(None, keep)), cheap_hash),
    "a hasher": (declared(), lambda password: password),
    "a hasher of bytes": (declared(password_hash=mapped_column(sa.LargeBinary)), str.encode),
    "@validates that refuses hashes": (declared(check=validates("password_hash")(refuse_long)), lambda _: "h" * 80),
}


@pytest.mark.parametrize("name", NOT_HASHING)
def test_a_password_is_never_stored_as_it_was_sent(build: Builder, name: str) -> None:
    model, hasher = NOT_HASHING[name]
    refused_with(build(model, registration={"PASSWORD_HASHER": hasher}), *STORES.split(" | "))


def test_what_the_models_check_says_of_a_password_is_told_to_whoever_chose_it(build: Builder) -> None:
    @validates("password_hash")
    def refuse(self: Any, key: str, password: str) -> str:
        if password.startswith("violet"):
            raise ValueError("No violets.")
        return cheap_hash(password)

    def hasher(password: str) -> str:
        return "violet hash"

    built = build(declared(refuse=refuse), registration={"PASSWORD_HASHER": hasher})
    assert field_errors(built.register()) == {"password": ["No violets."]}
    assert built.register(password="tundra-anchor-47-violet").status_code == 201


@pytest.mark.database
def test_a_hash_that_is_changed_at_the_insert_is_refused_and_nothing_is_stored(
    build: Builder, smtp: RecordingServer
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        @event.listens_for(user := declared()(db), "before_insert")
        def hash_it(mapper: object, connection: object, target: Any) -> None:
            target.password_hash = cheap_hash(target.password_hash)

        return user

    refused_with(build(model), "User.password_hash", "INSERT", "set_password()", "@post_load")
    assert smtp.messages == []


@pytest.mark.parametrize("kind", [sa.String(254), sa.LargeBinary(254), Encrypted])
def test_a_hash_that_is_only_read_again_after_the_insert_is_not_changed(build: Builder, kind: Any) -> None:
    def read_again(session: Any, _: object) -> None:
        for each in list(session.identity_map.values()):
            session.refresh(each)

    built = build(declared(password_hash=mapped_column(kind)))
    event.listen(built.db.session, "after_flush_postexec", read_again)
    assert built.register().status_code == 201
    stored = built.row()["password_hash"]
    assert check_password_hash(stored if isinstance(stored, str) else stored.decode(), PASSWORD)


# What PASSWORD_HASHER returns.


@pytest.mark.database
@pytest.mark.parametrize(
    ("kind", "hashed", "stored"),
    [
        (sa.String(60), b"$2b$04$abc", "$2b$04$abc"),
        (sa.LargeBinary(60), "$2b$04$äbc", "$2b$04$äbc".encode()),
        (sa.LargeBinary(60), b"$2b$\xff", b"$2b$\xff"),
        (sa.LargeBinary(4), b"$2b$", b"$2b$"),
    ],
)
def test_a_hash_becomes_what_the_column_holds(build: Builder, kind: Any, hashed: Any, stored: Any) -> None:
    built = build(declared(password_hash=mapped_column(kind)), registration={"PASSWORD_HASHER": lambda _: hashed})
    found = stored_hash(built)
    assert (bytes(found) if isinstance(stored, bytes) else found) == stored


@pytest.mark.parametrize("kind", [sa.String(60), sa.LargeBinary(60)], ids=["text", "bytes"])
@pytest.mark.parametrize("hashed", [7, None, "", b"", True, ["x"], b"\xff"])
def test_what_is_no_hash_for_the_column_is_refused(build: Builder, kind: Any, hashed: Any) -> None:
    built = build(declared(password_hash=mapped_column(kind)), registration={"PASSWORD_HASHER": lambda _: hashed})
    if hashed == b"\xff" and isinstance(kind, sa.LargeBinary):
        assert built.register().status_code == 201
        return
    refused_with(built, "PASSWORD_HASHER")


@pytest.mark.parametrize("hashed", ["h" * 41, b"h" * 41])
def test_the_room_for_a_hash_of_bytes_is_looked_at_too(build: Builder, hashed: Any) -> None:
    column = mapped_column(sa.LargeBinary(40))
    built = build(declared(password_hash=column), registration={"PASSWORD_HASHER": lambda _: hashed})
    refused_with(built, "User.password_hash holds 40 bytes", "has 41", "db.LargeBinary(255)")


# What the constructor wants.


def by_name(self: Any, email: str, password: str) -> None:
    self.email, self.password_hash = email, cheap_hash(password)


def by_name_only(self: Any, *, password: str, email: str) -> None:
    by_name(self, email, password)


def by_position_only(self: Any, email: str, password: str, /) -> None:
    by_name(self, email, password)


def optional(self: Any, password: str | None = None, **values: Any) -> None:
    super(type(self), self).__init__(**values)
    self.password_hash = cheap_hash(password) if password else "!"


def popping(self: Any, **values: Any) -> None:
    self.password_hash = cheap_hash(values.pop("password"))
    super(type(self), self).__init__(**values)


def judging(self: Any, **values: Any) -> None:
    if not values.get("password"):
        raise ValueError("Password must be non-empty.")
    popping(self, **values)


def storing(self: Any, email: str, password: str) -> None:
    self.email, self.password_hash = email, password


def without_address(self: Any, password: str) -> None:
    self.password_hash = cheap_hash(password)


def with_the_hash(self: Any, email: str, password_hash: str, email_verified_at: object) -> None:
    self.email, self.password_hash = email, password_hash


CONSTRUCTORS = [
    by_name,
    by_name_only,
    by_position_only,
    optional,
    popping,
    judging,
    storing,
    without_address,
    with_the_hash,
]


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=lambda each: each.__name__)
def test_a_constructor_gets_the_password_that_it_asks_for(
    build: Builder, smtp: RecordingServer, constructor: Any
) -> None:
    hashed: list[str] = []

    def hasher(password: str) -> str:
        hashed.append(password)
        return cheap_hash(password)

    built = build(declared(__init__=constructor), registration={"PASSWORD_HASHER": hasher})
    assert check_password_hash(stored_hash(built), PASSWORD)
    assert hashed == ([PASSWORD] if constructor in (storing, with_the_hash) else [])
    assert built.verify(link_in(smtp.message)).status_code == 200


def test_a_constructor_that_sets_what_a_setter_is_named_by_gets_the_password(build: Builder) -> None:
    def init(self: Any, email: str, secret: str) -> None:
        self.email, self.secret = email, secret

    model = declared(secret=hashing_setter("password_hash"), __init__=init)
    assert check_password_hash(stored_hash(build(model, registration={"USER_PASSWORD_FIELD": "secret"})), PASSWORD)


def demanding(self: Any, email: str, password_hash: str, nickname: str | None) -> None:
    if not (password_hash and nickname) or email.startswith("root@"):
        raise ValueError("Not this one.")
    self.email, self.nickname = email, nickname


def tolerant(self: Any, email: str, password_hash: str, nickname: str | None) -> None:
    if email.startswith("root@"):
        raise ValueError("Not this one.")
    self.email = email


def test_what_a_constructor_refuses_of_ours_is_told_to_the_developer(build: Builder) -> None:
    words = ("User(...)", "None for password_hash or nickname", "REGISTER_SERIALIZER_CLASS")
    refused_with(build(declared(nickname=text(), __init__=demanding)), *words)


def strict(self: Any, email: str, password_hash: str, nickname: str | None) -> None:
    if nickname is not None:
        raise TypeError
    tolerant(self, email, password_hash, nickname)


@pytest.mark.parametrize("constructor", [demanding, tolerant, strict])
def test_what_a_constructor_refuses_of_the_visitors_is_told_to_the_visitor(build: Builder, constructor: Any) -> None:
    built = build(declared(nickname=text(), __init__=constructor))
    assert field_errors(built.register(email="root@example.com")) == {"_schema": ["Not this one."]}


def test_a_key_that_a_constructor_misses_is_the_applications_own_error(build: Builder) -> None:
    def init(self: Any, **values: Any) -> None:
        super(type(self), self).__init__(team=values.pop("team"), **values)

    with pytest.raises(KeyError, match="team"):
        build(declared(__init__=init)).register()


def test_a_constructor_may_refuse_the_password_itself(build: Builder) -> None:
    def init(self: Any, **values: Any) -> None:
        if values.pop("password") == PASSWORD:
            raise ValueError("Not this password.")
        super(type(self), self).__init__(**values)

    built = build(declared(__init__=init))
    assert field_errors(built.register()) == {"_schema": ["Not this password."]}
    assert built.register(password="tundra-anchor-47-violet").status_code == 201


# Names.


def hybrid(column: str) -> Any:
    def get(self: Any) -> Any:
        return getattr(self, column)

    def put(self: Any, value: str) -> None:
        setattr(self, column, value)

    return hybrid_property(get, put)


ADDRESSES: dict[str, Any] = {"hybrid": lambda: hybrid("_email"), "synonym": lambda: synonym("_email")}


def behind(**attributes: Any) -> models.Model:
    return declared(_email=text(name="email", unique=True, nullable=False), **attributes)


@pytest.mark.database
@pytest.mark.parametrize("kind", ADDRESSES)
@pytest.mark.parametrize("named", [{}, {"USER_EDITABLE_FIELDS": ["email"]}, {"USER_PUBLIC_FIELDS": ["id", "email"]}])
def test_an_address_behind_another_name_is_called_by_it(
    build: Builder, smtp: RecordingServer, kind: str, named: dict[str, object]
) -> None:
    built = build(behind(email=ADDRESSES[kind]()), registration=named)
    assert built.register().get_json() == {"id": 1, "email": "ann@example.com"}
    assert type(built.registration.profile_schema(built.app).fields["email"]) is fields.String
    assert field_errors(built.register(email="ANN@example.com")).keys() == {"email"}
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["email_verified_at"] is not None


@pytest.mark.parametrize("kind", ADDRESSES)
def test_such_an_address_works_with_e_mail_first_too(build: Builder, smtp: RecordingServer, kind: str) -> None:
    built = build(behind(email=ADDRESSES[kind]()), pending=True, registration={"REGISTER_EMAIL_FIRST": True})
    assert built.post("register/", {"email": "ann@example.com"}).status_code == 202
    made = built.verify({**values_of(link_in(smtp.message)), "password": PASSWORD, "password_confirm": PASSWORD})
    assert (made.status_code, made.get_json()) == (201, {"id": 1, "email": "ann@example.com"})


PLAIN = property(lambda self: self._email, lambda self, value: setattr(self, "_email", value))


@pytest.mark.parametrize("public", [hybrid("_email"), PLAIN], ids=["hybrid", "property"])
def test_the_hidden_column_of_an_address_is_refused(build: Builder, public: Any) -> None:
    settings = {"USER_EMAIL_FIELD": "_email"}
    refused_with(build(behind(email=public), registration=settings), "'_email'", "User.email", "'email'", "synonym")
    listed = {"USER_EDITABLE_FIELDS": ["_email"]}
    refused_with(build(behind(email=hybrid("_email")), registration=listed), "USER_EDITABLE_FIELDS", "'_email'")


def test_an_expression_is_no_place_for_an_address(build: Builder) -> None:
    lowered = hybrid_property(lambda self: sa.func.lower(self._email))
    refused_with(build(behind(email=lowered)), "USER_EMAIL_FIELD", "User.email is no column but a hybrid_property")


@pytest.mark.database
@pytest.mark.parametrize("alias", [lambda: synonym("hash"), lambda: hybrid_setter("hash")], ids=["synonym", "hybrid"])
@pytest.mark.parametrize("name", ["password", "pass_phrase"])
def test_a_password_behind_another_name_is_found_and_never_shown(build: Builder, alias: Any, name: str) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return declared(**{name: alias(), "hash": text(name="password_hash"), "password_hash": None})(db)

    named = {} if name == "password" else {"USER_PASSWORD_FIELD": name}
    assert check_password_hash(stored_hash(build(model, registration=named)), PASSWORD)
    shown = build(model, registration={**named, "USER_PUBLIC_FIELDS": ["id", name]})
    refused_with(shown, "USER_PUBLIC_FIELDS", repr(name), "never shown")


def hybrid_setter(column: str) -> Any:
    return hybrid(column).setter(lambda self, value: setattr(self, column, cheap_hash(value)))


@pytest.mark.parametrize("given", ["password", "email_verified_at.x", "nothing"])
def test_a_password_field_that_cannot_be_set_is_refused(build: Builder, given: str) -> None:
    model = declared(password=property(lambda self: "secret"))
    refused_with(build(model, registration={"USER_PASSWORD_FIELD": given}), "USER_PASSWORD_FIELD", repr(given))


@pytest.mark.database
@pytest.mark.parametrize("named", [{}, {FLAG: "confirmed"}], ids=["found", "named"])
@pytest.mark.parametrize("alias", [lambda: synonym("_flag"), lambda: hybrid("_flag")], ids=["synonym", "hybrid"])
@pytest.mark.parametrize("kind", [sa.Boolean, sa.DateTime])
def test_a_flag_behind_another_name_works(
    build: Builder, smtp: RecordingServer, kind: Any, alias: Any, named: dict[str, object]
) -> None:
    flag = mapped_column(kind, default=None if kind is sa.DateTime else False)
    built = build(declared(email_verified_at=None, _flag=flag, confirmed=alias()), registration=named)
    assert built.register().status_code == 201
    assert not built.row()["_flag"]
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert built.row()["_flag"]


# Flags.

#: In the order in which they are looked for.
FLAGS = models.FLAGS


@pytest.mark.parametrize("number", range(len(FLAGS)))
def test_of_several_flags_the_first_in_the_documented_order_is_taken(
    build: Builder, smtp: RecordingServer, number: int
) -> None:
    columns = {name: mapped_column(sa.Boolean, default=False) for name in reversed(FLAGS[number:])}
    built = build(declared(**{"email_verified_at": None, **columns}))
    assert built.register().status_code == 201
    assert built.verify(link_in(smtp.message)).status_code == 200
    assert [name for name in FLAGS if built.row().get(name)] == [FLAGS[number]]


def test_a_text_of_the_name_of_a_flag_is_told_and_not_passed_over(build: Builder) -> None:
    model = declared(verified=text(), email_verified_at=None, confirmed=mapped_column(sa.Boolean))
    refused_with(build(model), "User.verified", "String", "Boolean")


def switch(column_name: str | None = None) -> Any:
    return mapped_column(column_name, sa.Boolean, default=False)


#: By another name: the attributes of a flag that locks people out.
LOCKS: dict[str, Callable[[], dict[str, Any]]] = {
    "the column's": lambda: {"enabled": switch("is_active")},
    "the attribute's": lambda: {"enabled": None, "is_active": switch("enabled")},
    "a hidden attribute's": lambda: {"_active": switch("enabled")},
    "a synonym": lambda: {"enabled": switch(), "active": synonym("enabled")},
    "a hybrid": lambda: {"enabled": switch(), "is_active": hybrid("enabled")},
}


@pytest.mark.parametrize("kind", LOCKS)
def test_a_flag_that_locks_people_out_under_another_name_is_warned_of(
    build: Builder, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    attributes = LOCKS[kind]()
    name = next(each for each, value in attributes.items() if value is not None)
    settings = {FLAG: name}
    assert build(declared(**LOCKS[kind]()), registration=settings).register().status_code == 201
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    who = f"Verifying does not set User.{name} then: give it default=True"
    assert lacking(warning, f"User.{name}", "lock", "email_verified_at", who) == []
    resend = build(
        declared(**LOCKS[kind]()), pending=True, registration={**settings, "REGISTER_VERIFICATION_RESEND_ENABLED": True}
    )
    refused_with(resend, "REGISTER_VERIFICATION_RESEND_ENABLED", f"User.{name}", who)


def test_a_flag_beside_a_lock_is_not_warned_of(build: Builder, caplog: pytest.LogCaptureFixture) -> None:
    assert build(declared(is_active=switch(), enabled=synonym("is_active"))).register().status_code == 201
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


# The sample of the command check.


@pytest.mark.parametrize("name", [*SELF_HASHING, "a column", "a method"])
def test_a_sample_is_made_as_at_a_sign_up_and_is_in_no_session(build: Builder, name: str) -> None:
    others: dict[str, models.Model] = {"a column": models.typed, "a method": models.set_password}
    built = build(others[name] if name in others else SELF_HASHING[name]())
    with built.app.app_context():
        user, stored = sample_sign_up(app_state(built.app), PASSWORD)
        assert user.email == "sample@example.com"
        assert user not in built.db.session
        hashed = stored.hashed if isinstance(stored, Secret) else str(stored)
        assert hashed == PASSWORD if name.startswith("a type") else check_password_hash(hashed, PASSWORD)
    assert built.rows() == []


def test_a_sample_has_the_texts_and_numbers_that_registration_reads(build: Builder) -> None:
    model = declared(set_password=lambda self, _: None, city=text(), age=mapped_column(sa.Integer), password_hash=None)
    built = build(model, registration={"USER_EDITABLE_FIELDS": ["city", "age"]})
    with built.app.app_context():
        user, stored = sample_sign_up(app_state(built.app), PASSWORD)
    assert (user.city, user.age, stored) == ("sample", 1, None)
