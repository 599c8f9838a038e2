"""User models as they are found in the wild, each a function of the app's ``db``.

Where the class that ``db.Model`` is made of matters, the function carries it: see :func:`on_base`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import bcrypt
import sqlalchemy as sa
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from marshmallow import post_load
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    mapped_column,
    relationship,
    synonym,
    validates,
)
from werkzeug.security import check_password_hash, generate_password_hash

from flask_rest_registration import DefaultRegisterUserSerializer

from . import databases


class Model(Protocol):
    """A function that declares a user model on a ``db`` and returns its class."""

    def __call__(self, db: SQLAlchemy, /) -> type[Any]: ...


F = TypeVar("F", bound=Callable[[SQLAlchemy], type[Any]])

#: Every model that registers with the default settings (and those of :func:`settings_for`), by name.
ALL: dict[str, Model] = {}

#: The models of well-known applications and extensions, by shape; each has a ``check_password()`` of its own.
REBUILT: dict[str, Model] = {}

#: The names of their flags, as far as registration finds them by itself.
FLAGS = (
    *("email_verified_at", "verified_at", "confirmed_at", "email_confirmed_at", "confirmed_on", "email_verified"),
    *("is_verified", "verified", "email_confirmed", "is_confirmed", "confirmed", "activated", "is_active", "active"),
)

_DATABASES: dict[Any, Callable[[], SQLAlchemy]] = {}


def on_base(new_db: Callable[[], SQLAlchemy]) -> Callable[[F], F]:
    """Say with which ``db`` a model is declared; without it, it is a typed declarative one."""

    def remember(model: F) -> F:
        _DATABASES[model] = new_db
        return model

    return remember


def new_db_for(model: Model) -> SQLAlchemy:
    """Make the kind of ``SQLAlchemy()`` that the model is declared on."""
    return _DATABASES.get(model, typed_db)()


def typed_db() -> SQLAlchemy:
    """Make a ``db`` of SQLAlchemy 2's declarative base, as the present manuals tell to."""

    class Base(DeclarativeBase):
        pass

    return SQLAlchemy(model_class=Base)


def cheap_hash(password: str) -> str:
    """Hash a password for nearly nothing, readable by ``check_password_hash``."""
    return generate_password_hash(password, method="pbkdf2:sha256:1")


class Unnamed:
    """A mixin with what every account needs; what differs is declared again in the model."""

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(256))
    email_verified_at: Mapped[datetime | None]


class Usual(Unnamed):
    username: Mapped[str] = mapped_column(sa.String(80), unique=True)


def declared(*mixins: type[Any], **attributes: Any) -> Model:
    """Make a model of the columns of :class:`Unnamed`, with some replaced, added or, by None, left out."""

    def model(db: SQLAlchemy) -> type[Any]:
        usual: dict[str, Any] = {
            "id": mapped_column(db.Integer, primary_key=True),
            "email": mapped_column(sa.String(254), unique=True, nullable=False),
            "password_hash": mapped_column(sa.String(256), nullable=False),
            "email_verified_at": mapped_column(sa.DateTime),
        }
        chosen = {name: value for name, value in {**usual, **attributes}.items() if value is not None}
        return type("User", (*mixins, db.Model), chosen)

    return model


def filled_with(**defaults: object) -> Callable[..., None]:
    """Make a constructor that gives attributes a value of the model's own."""

    def init(self: Any, **values: object) -> None:
        super(type(self), self).__init__(**{**defaults, **values})

    return init


def _in_all(model: F) -> F:
    ALL[model.__name__] = model
    return model


def _rebuilt(model: F) -> F:
    REBUILT[model.__name__] = model
    return model


def _model(name: str, differences: Callable[[], dict[str, Any]]) -> Model:
    """Add a model to :data:`ALL`: the usual one, but for some attributes, which are made anew for every app."""

    def model(db: SQLAlchemy) -> type[Any]:
        return declared(**{"username": _text(80, unique=True), **differences()})(db)

    model.__name__ = name
    return _in_all(model)


def _text(length: int | None, **options: Any) -> Any:
    return mapped_column(sa.String(length), nullable=False, **options)


def _switch() -> Any:
    return mapped_column(sa.Boolean, default=False, nullable=False)


_NO_FLAG = {"email_verified_at": None}

typed = _model("typed", dict)
minimal = _model("minimal", lambda: {"username": None})
uuid_key = _model("uuid_key", lambda: {"id": mapped_column(sa.Uuid, primary_key=True, default=uuid.uuid4)})
string_key = _model("string_key", lambda: {"id": _text(36, primary_key=True, default=lambda: str(uuid.uuid4()))})
boolean_flag = _model("boolean_flag", lambda: {**_NO_FLAG, "email_verified": _switch()})
datetime_flag_with_zone = _model(
    "datetime_flag_with_zone", lambda: {**_NO_FLAG, "confirmed_at": mapped_column(sa.DateTime(timezone=True))}
)
#: The flag also locks people out.
is_active_flag = _model("is_active_flag", lambda: {**_NO_FLAG, "is_active": _switch()})
other_bind = _model("other_bind", lambda: {"__bind_key__": "accounts"})
#: Needs ``USER_EMAIL_FIELD``.
other_email_name = _model("other_email_name", lambda: {"email": None, "mail_address": _text(254, unique=True)})
#: One of the columns has the name of another attribute.
other_column_names = _model(
    "other_column_names",
    lambda: {
        "__tablename__": "t_person",
        "id": mapped_column("person_id", sa.Integer, primary_key=True),
        "email": mapped_column("username", sa.String(254), unique=True, nullable=False),
        "username": mapped_column("login", sa.String(80), unique=True, nullable=False),
        "password_hash": mapped_column("pw", sa.String(256), nullable=False),
        "email_verified_at": mapped_column("verified on", sa.DateTime),
    },
)
#: The column holds the hash.
password_column = _model("password_column", lambda: {"password_hash": None, "password": _text(256)})
set_password = _model("set_password", lambda: {"set_password": _set_password, "check_password": _check_password})
#: A property that can be set and not read.
password_property = _model("password_property", lambda: {"password": property(None, _set_password)})
composite_unique = _model(
    "composite_unique",
    lambda: {"__table_args__": (sa.UniqueConstraint("team", "username"),), "team": _text(40), "username": _text(80)},
)
named_unique = _model(
    "named_unique",
    lambda: {
        "__table_args__": (
            sa.UniqueConstraint("email", name="one_account_per_address"),
            sa.UniqueConstraint("username", name="uq_users_nickname"),
            sa.CheckConstraint("username <> 'root'", name="no_root"),
        ),
        "email": _text(254),
        "username": _text(80),
    },
)
#: One on the column, one in the table's arguments.
unnamed_unique_index = _model(
    "unnamed_unique_index",
    lambda: {
        "__table_args__": (sa.UniqueConstraint("username"),),
        "email": _text(254, unique=True, index=True),
        "username": _text(80),
    },
)
unique_lower_function = _model(
    "unique_lower_function",
    lambda: {
        "email": (email := _text(254)),
        "__table_args__": (sa.Index("ux_lower", sa.func.lower(email), unique=True),),
    },
)
unique_lower_text = _model(
    "unique_lower_text",
    lambda: {"__table_args__": (sa.Index("ux_lower", sa.text("lower(email)"), unique=True),), "email": _text(254)},
)
#: Columns that no stranger may fill.
privileged = _model(
    "privileged",
    lambda: {
        "is_admin": _switch(),
        "role": _text(20, default="member"),
        "tenant_id": mapped_column(sa.Integer),
        "__init__": filled_with(is_admin=False, role="member", tenant_id=7),
    },
)
#: Texts without a length.
unlimited_text = _model(
    "unlimited_text",
    lambda: {
        "email": _text(None, unique=True),
        "username": mapped_column(sa.Text, nullable=False),
        "password_hash": mapped_column(sa.Text, nullable=False),
    },
)


def _set_password(user: Any, password: str) -> None:
    user.password_hash = cheap_hash(password)


def _check_password(user: Any, password: str) -> bool:
    return check_password_hash(user.password_hash, password)


def _check_password_column(user: Any, password: str) -> bool:
    return check_password_hash(user.password, password)


@_in_all
@on_base(SQLAlchemy)
def classic_columns(db: SQLAlchemy) -> type[Any]:
    """``Column`` attributes on the old base, as in tutorials."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __tablename__ = "users"
        id = sa.Column(sa.Integer, primary_key=True)
        email = sa.Column(sa.String(120), unique=True, nullable=False)
        username = sa.Column(sa.String(64), unique=True, nullable=False)
        password_hash = sa.Column(sa.String(256), nullable=False)
        is_verified = sa.Column(sa.Boolean, default=False, nullable=False)

    return User


@_in_all
def dataclass_model(db: SQLAlchemy) -> type[Any]:
    """A ``MappedAsDataclass`` model: its constructor takes what its author let it take."""

    class User(MappedAsDataclass, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        email: Mapped[str] = mapped_column(sa.String(254), unique=True)
        username: Mapped[str] = mapped_column(sa.String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(sa.String(256), repr=False)
        email_verified_at: Mapped[datetime | None] = mapped_column(default=None)

    return User


@_in_all
def login_user(db: SQLAlchemy) -> type[Any]:
    """Flask-Login's ``UserMixin``, whose ``is_active`` is a property without a setter."""

    class User(UserMixin, Usual, db.Model):  # type: ignore[misc,name-defined]
        pass

    return User


@_in_all
def password_hybrid(db: SQLAlchemy) -> type[Any]:
    """A hybrid ``password`` over ``password_hash``."""

    class User(Usual, db.Model):  # type: ignore[misc,name-defined]
        @hybrid_property
        def password(self) -> str:
            return self.password_hash

        @password.inplace.setter
        def _set_password(self, password: str) -> None:
            self.password_hash = cheap_hash(password)

    return User


@_in_all
def password_hybrid_over_underscore(db: SQLAlchemy) -> type[Any]:
    """A hybrid ``password`` over an attribute with an underscore, as SQLAlchemy's manual shows it."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(sa.String(254), unique=True)
        username: Mapped[str] = mapped_column(sa.String(80), unique=True)
        _password: Mapped[str] = mapped_column("password", sa.String(256))
        email_verified_at: Mapped[datetime | None]

        @hybrid_property
        def password(self) -> str:
            return self._password

        @password.inplace.setter
        def _set_password(self, password: str) -> None:
            self._password = cheap_hash(password)

    return User


@_in_all
def inheritance_base(db: SQLAlchemy) -> type[Any]:
    """The base class of a joined inheritance, ``User``."""

    class User(Usual, db.Model):  # type: ignore[misc,name-defined]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "user"}
        kind: Mapped[str] = mapped_column(sa.String(20))

    class Customer(User):
        __mapper_args__ = {"polymorphic_identity": "customer"}
        id: Mapped[int] = mapped_column(sa.ForeignKey(User.id), primary_key=True)
        city: Mapped[str] = mapped_column(sa.String(80))
        customer_number: Mapped[str | None] = mapped_column(sa.String(20), unique=True)

    User.neighbour = Customer  # SQLAlchemy itself holds classes weakly
    return User


@_in_all
def inheritance_subclass(db: SQLAlchemy) -> type[Any]:
    """The subclass of a joined inheritance, ``Customer``: needs ``USER_MODEL``."""
    return inheritance_base(db).neighbour  # type: ignore[no-any-return]


@_rebuilt
@on_base(SQLAlchemy)
def flasky(db: SQLAlchemy) -> type[Any]:
    """The constructor asks the database for the role, which refers back to its users."""

    class Role(db.Model):  # type: ignore[misc,name-defined]
        id = sa.Column(sa.Integer, primary_key=True)
        default = sa.Column(sa.Boolean, default=False, index=True)
        users = relationship("User", backref="role", lazy="dynamic")

    class User(UserMixin, db.Model):  # type: ignore[misc,name-defined]
        id = sa.Column(sa.Integer, primary_key=True)
        email = sa.Column(sa.String(64), unique=True, index=True)
        username = sa.Column(sa.String(64), unique=True, index=True)
        role_id = sa.Column(sa.Integer, sa.ForeignKey("role.id"))
        password_hash = sa.Column(sa.String(256))
        confirmed = sa.Column(sa.Boolean, default=False)
        password = property(None, _set_password)
        check_password = _check_password

        def __init__(self, **values: Any) -> None:
            super().__init__(**values)
            if self.role is None:  # type: ignore[has-type]
                self.role = db.session.scalar(sa.select(Role).filter_by(default=True))

    return User


@_rebuilt
@on_base(SQLAlchemy)
def ctfd(db: SQLAlchemy) -> type[Any]:
    """Polymorphic, ``verified``, and ``@validates`` hashes the password."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __tablename__ = "users"
        __mapper_args__ = {"polymorphic_identity": "user", "polymorphic_on": "type"}
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String(128))
        password = sa.Column(sa.String(128))
        email = sa.Column(sa.String(128), unique=True)
        type = sa.Column(sa.String(80))
        banned = sa.Column(sa.Boolean, default=False)
        verified = sa.Column(sa.Boolean, default=False)
        check_password = _check_password_column

        def __init__(self, **values: Any) -> None:
            super().__init__(**values)

        @validates("password")
        def validate_password(self, key: str, plaintext: object) -> str:
            return cheap_hash(str(plaintext))

    return User


class IntoFirstGroup(DefaultRegisterUserSerializer):
    """Fill what no stranger chooses."""

    @post_load
    def fill_group(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return {**data, "primary_group_id": 1}


@_rebuilt
@on_base(SQLAlchemy)
def flaskbb(db: SQLAlchemy) -> type[Any]:
    """A synonym ``password`` with a setter, ``activated``, and a group that no default fills."""

    class User(UserMixin, db.Model):  # type: ignore[misc,name-defined]
        id = sa.Column(sa.Integer, primary_key=True)
        username = sa.Column(sa.String(200), unique=True, nullable=False)
        email = sa.Column(sa.String(200), unique=True, nullable=False)
        _password = sa.Column("password", sa.String(120), nullable=False)
        activated = sa.Column(sa.Boolean, default=False, nullable=False)
        primary_group_id = sa.Column(sa.Integer, sa.ForeignKey("team.id"), nullable=False)
        password = synonym(
            "_password",
            descriptor=property(
                lambda self: self._password, lambda self, password: setattr(self, "_password", cheap_hash(password))
            ),
        )
        check_password = _check_password_column

    type("Team", (db.Model,), {"id": sa.Column(sa.Integer, primary_key=True)})
    return User


@_rebuilt
def hashing_constructor(db: SQLAlchemy) -> type[Any]:
    """The constructor takes the password and hashes it."""

    def init(self: Any, email: str, password: str) -> None:
        if not password:
            raise ValueError("Password must be non-empty.")
        self.email, self.password_hash = email, cheap_hash(password)

    return declared(__init__=init, check_password=_check_password)(db)


@_rebuilt
def appbuilder(db: SQLAlchemy) -> type[Any]:
    """Flask-AppBuilder's: names of people, and ``active`` is all that says who may log in."""
    names = {name: _text(64) for name in ("first_name", "last_name")}
    user = {"username": _text(64, unique=True), "email": _text(320, unique=True), "active": mapped_column(sa.Boolean)}
    password = {"password": mapped_column(sa.String(256)), "password_hash": None, "email_verified_at": None}
    counts = {"login_count": mapped_column(sa.Integer), "fail_login_count": mapped_column(sa.Integer)}
    return declared(**names, **user, **password, **counts, check_password=_check_password_column)(db)


@_rebuilt
def flask_security(db: SQLAlchemy) -> type[Any]:
    """Flask-Security's, with defaults for what its own registration fills."""
    kept: dict[str, Any] = {
        "active": mapped_column(sa.Boolean, nullable=False, default=True),
        "fs_uniquifier": _text(64, unique=True, default=lambda: uuid.uuid4().hex),
        "password": _text(255),
        "confirmed_at": mapped_column(sa.DateTime),
    }
    return declared(**kept, password_hash=None, email_verified_at=None, check_password=_check_password_column)(db)


def bcrypt_hash(password: str) -> bytes:
    """Hash as Flask-Bcrypt does, which returns bytes."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4))


def _check_bcrypt(user: Any, password: str) -> bool:
    hashed = user.password_hash
    return bcrypt.checkpw(password.encode(), hashed if isinstance(hashed, bytes) else hashed.encode())


@_rebuilt
def bcrypt_and_uuid(db: SQLAlchemy) -> type[Any]:
    """A key ``user_id`` that is a UUID, and hashes of bcrypt, whose bytes the column keeps as text."""
    key = mapped_column(sa.Uuid, primary_key=True, default=uuid.uuid4)
    return declared(id=None, user_id=key, password_hash=_text(60), check_password=_check_bcrypt)(db)


@_rebuilt
def bytes_column(db: SQLAlchemy) -> type[Any]:
    """The column of the hash holds bytes."""
    column = mapped_column(sa.LargeBinary(60), nullable=False)
    return declared(password_hash=column, check_password=_check_bcrypt)(db)


@_rebuilt
def single_table(db: SQLAlchemy) -> type[Any]:
    """A subclass without a table of its own."""
    mapping = {"polymorphic_on": "kind", "polymorphic_identity": "user"}
    user = declared(kind=_text(20), __mapper_args__=mapping, check_password=_check_password)(db)
    return type("Member", (user,), {"__mapper_args__": {"polymorphic_identity": "member"}})


@_rebuilt
def dataclass_with_password(db: SQLAlchemy) -> type[Any]:
    """A dataclass whose constructor takes what the column ``password`` gets, and no address."""

    class User(MappedAsDataclass, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        email: Mapped[str] = mapped_column(sa.String(254), unique=True, init=False)
        password: Mapped[str] = mapped_column(sa.String(256), repr=False)
        email_confirmed: Mapped[bool] = mapped_column(default=False)

        def check_password(self, password: str) -> bool:
            return check_password_hash(self.password, password)

    return User


if databases.CHOSEN == "mariadb":  # it has no indexes on expressions
    del ALL["unique_lower_function"], ALL["unique_lower_text"]


def short_hash_column(db: SQLAlchemy) -> type[Any]:
    """The tutorials' ``String(128)``, in which werkzeug's hash has no room."""
    return declared(username=_text(80, unique=True), password_hash=_text(128))(db)


def settings_for(model: Model) -> dict[str, object]:
    """Return the settings without which a model cannot be used."""
    if model is other_email_name:
        return {"USER_EMAIL_FIELD": "mail_address"}
    if model is inheritance_subclass:
        return {"USER_EDITABLE_FIELDS": ["username", "city"]}
    if model is flasky:
        return {"USER_EDITABLE_FIELDS": ["username"]}
    if model is flaskbb:
        return {"REGISTER_SERIALIZER_CLASS": IntoFirstGroup}
    return {"PASSWORD_HASHER": bcrypt_hash} if model in (bcrypt_and_uuid, bytes_column) else {}
