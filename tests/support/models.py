"""User models as they are found in the wild, each a function of the app's ``db``.

Where the class that ``db.Model`` is made of matters, the function carries it: see :func:`on_base`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

from . import databases


class Model(Protocol):
    """A function that declares a user model on a ``db`` and returns its class."""

    def __call__(self, db: SQLAlchemy, /) -> type[Any]: ...


F = TypeVar("F", bound=Callable[[SQLAlchemy], type[Any]])

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


def plain_db() -> SQLAlchemy:
    """Make a ``db`` as older tutorials do."""
    return SQLAlchemy()


def cheap_hash(password: str) -> str:
    """Hash a password for nearly nothing, readable by ``check_password_hash``."""
    return generate_password_hash(password, method="pbkdf2:sha256:1")


def typed(db: SQLAlchemy) -> type[Any]:
    """The usual model: typed columns, ``password_hash``, ``email_verified_at``."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def minimal(db: SQLAlchemy) -> type[Any]:
    """An e-mail address, a password and a flag."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


@on_base(plain_db)
def classic_columns(db: SQLAlchemy) -> type[Any]:
    """``Column`` attributes on the old base, as in tutorials."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __tablename__ = "users"
        id = Column(Integer, primary_key=True)
        email = Column(String(120), unique=True, nullable=False)
        username = Column(String(64), unique=True, nullable=False)
        password_hash = Column(String(256), nullable=False)
        is_verified = Column(Boolean, default=False, nullable=False)

    return User


def dataclass_model(db: SQLAlchemy) -> type[Any]:
    """A ``MappedAsDataclass`` model: its constructor takes what its author let it take."""

    class User(MappedAsDataclass, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256), repr=False)
        email_verified_at: Mapped[datetime | None] = mapped_column(default=None)

    return User


def set_password(db: SQLAlchemy) -> type[Any]:
    """A method ``set_password()`` that hashes by itself."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

        def set_password(self, password: str) -> None:
            self.password_hash = cheap_hash(password)

        def check_password(self, password: str) -> bool:
            return check_password_hash(self.password_hash, password)

    return User


def password_property(db: SQLAlchemy) -> type[Any]:
    """A property ``password`` that can be set and not read."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

        @property
        def password(self) -> str:
            raise AttributeError("password is not a readable attribute")

        @password.setter
        def password(self, password: str) -> None:
            self.password_hash = cheap_hash(password)

    return User


def password_hybrid(db: SQLAlchemy) -> type[Any]:
    """A hybrid ``password`` over ``password_hash``."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

        @hybrid_property
        def password(self) -> str:
            return self.password_hash

        @password.inplace.setter
        def _set_password(self, password: str) -> None:
            self.password_hash = cheap_hash(password)

    return User


def password_hybrid_over_underscore(db: SQLAlchemy) -> type[Any]:
    """A hybrid ``password`` over an attribute with an underscore, as SQLAlchemy's manual shows it."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        _password: Mapped[str] = mapped_column("password", String(256))
        email_verified_at: Mapped[datetime | None]

        @hybrid_property
        def password(self) -> str:
            return self._password

        @password.inplace.setter
        def _set_password(self, password: str) -> None:
            self._password = cheap_hash(password)

    return User


def password_column(db: SQLAlchemy) -> type[Any]:
    """A plain column ``password`` that holds the hash."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def uuid_key(db: SQLAlchemy) -> type[Any]:
    """A UUID as the primary key."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def string_key(db: SQLAlchemy) -> type[Any]:
    """A UUID's text as the primary key."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[str] = mapped_column(String(36), primary_key=True, default=lambda: str(uuid.uuid4()))
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def boolean_flag(db: SQLAlchemy) -> type[Any]:
    """A Boolean flag."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified: Mapped[bool] = mapped_column(default=False)

    return User


def datetime_flag_with_zone(db: SQLAlchemy) -> type[Any]:
    """A DateTime flag with a time zone."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        confirmed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    return User


def other_email_name(db: SQLAlchemy) -> type[Any]:
    """The address in ``mail_address``: needs ``USER_EMAIL_FIELD``."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        mail_address: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def other_column_names(db: SQLAlchemy) -> type[Any]:
    """Attributes whose columns have other names, one of them the name of another attribute."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __tablename__ = "t_person"
        id: Mapped[int] = mapped_column("person_id", primary_key=True)
        email: Mapped[str] = mapped_column("username", String(254), unique=True)
        username: Mapped[str] = mapped_column("login", String(80), unique=True)
        password_hash: Mapped[str] = mapped_column("pw", String(256))
        email_verified_at: Mapped[datetime | None] = mapped_column("verified on")

    return User


def login_user(db: SQLAlchemy) -> type[Any]:
    """Flask-Login's ``UserMixin``, whose ``is_active`` is a property without a setter."""

    class User(UserMixin, db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def is_active_flag(db: SQLAlchemy) -> type[Any]:
    """``is_active`` as the flag, which also locks people out."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        is_active: Mapped[bool] = mapped_column(default=False)

    return User


def other_bind(db: SQLAlchemy) -> type[Any]:
    """A model on the bind ``accounts``."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __bind_key__ = "accounts"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def _declare_people(db: SQLAlchemy) -> tuple[type[Any], type[Any]]:
    class User(db.Model):  # type: ignore[misc,name-defined]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "user"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(String(20))
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    class Customer(User):
        __mapper_args__ = {"polymorphic_identity": "customer"}
        id: Mapped[int] = mapped_column(ForeignKey(User.id), primary_key=True)
        city: Mapped[str] = mapped_column(String(80))
        customer_number: Mapped[str | None] = mapped_column(String(20), unique=True)

    return User, Customer


def inheritance_base(db: SQLAlchemy) -> type[Any]:
    """The base class of a joined inheritance, ``User``."""
    return _declare_people(db)[0]


def inheritance_subclass(db: SQLAlchemy) -> type[Any]:
    """The subclass of a joined inheritance, ``Customer``: needs ``USER_MODEL``."""
    return _declare_people(db)[1]


def composite_unique(db: SQLAlchemy) -> type[Any]:
    """A user name that is unique within a team."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __table_args__ = (UniqueConstraint("team", "username"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        team: Mapped[str] = mapped_column(String(40))
        username: Mapped[str] = mapped_column(String(80))
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def named_unique(db: SQLAlchemy) -> type[Any]:
    """Unique constraints with names of their own, and a CHECK."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __table_args__ = (
            UniqueConstraint("email", name="one_account_per_address"),
            UniqueConstraint("username", name="uq_users_nickname"),
            CheckConstraint("username <> 'root'", name="no_root"),
        )
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254))
        username: Mapped[str] = mapped_column(String(80))
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def unnamed_unique_index(db: SQLAlchemy) -> type[Any]:
    """Unique indexes without names: one on the column, one in the table's arguments."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        __table_args__ = (UniqueConstraint("username"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True, index=True)
        username: Mapped[str] = mapped_column(String(80))
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]

    return User


def unique_lower_function(db: SQLAlchemy) -> type[Any]:
    """A unique index on ``func.lower(email)``."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254))
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]
        __table_args__ = (Index("ux_email_lower", func.lower(email), unique=True),)

    return User


def unique_lower_text(db: SQLAlchemy) -> type[Any]:
    """A unique index on ``text("lower(email)")``."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254))
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        email_verified_at: Mapped[datetime | None]
        __table_args__ = (Index("ux_email_lower", text("lower(email)"), unique=True),)

    return User


def short_hash_column(db: SQLAlchemy) -> type[Any]:
    """The tutorials' ``String(128)``, in which werkzeug's hash has no room."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(128))
        email_verified_at: Mapped[datetime | None]

    return User


def unlimited_text(db: SQLAlchemy) -> type[Any]:
    """Columns without a length."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String, unique=True)
        username: Mapped[str] = mapped_column(Text)
        password_hash: Mapped[str] = mapped_column(Text)
        email_verified_at: Mapped[datetime | None]

    return User


def privileged(db: SQLAlchemy) -> type[Any]:
    """Columns that no stranger may fill, some of them filled in the constructor."""

    class User(db.Model):  # type: ignore[misc,name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(String(254), unique=True)
        username: Mapped[str] = mapped_column(String(80), unique=True)
        password_hash: Mapped[str] = mapped_column(String(256))
        is_admin: Mapped[bool] = mapped_column(default=False)
        role: Mapped[str] = mapped_column(String(20), default="member")
        tenant_id: Mapped[int | None]
        email_verified_at: Mapped[datetime | None]

        def __init__(self, **values: Any) -> None:
            values.setdefault("is_admin", False)
            values.setdefault("role", "member")
            values.setdefault("tenant_id", 7)
            super().__init__(**values)

    return User


#: Every model that registers with the default settings (and those of :func:`settings_for`), by name. MariaDB has no
#: indexes on expressions.
ALL: dict[str, Model] = {
    model.__name__: model
    for model in (
        typed,
        minimal,
        classic_columns,
        dataclass_model,
        set_password,
        password_property,
        password_hybrid,
        password_hybrid_over_underscore,
        password_column,
        uuid_key,
        string_key,
        boolean_flag,
        datetime_flag_with_zone,
        other_email_name,
        other_column_names,
        login_user,
        is_active_flag,
        other_bind,
        inheritance_base,
        inheritance_subclass,
        composite_unique,
        named_unique,
        unnamed_unique_index,
        unique_lower_function,
        unique_lower_text,
        unlimited_text,
        privileged,
    )
    if model not in {unique_lower_function, unique_lower_text} or databases.CHOSEN != "mariadb"
}


def settings_for(model: Model) -> dict[str, object]:
    """Return the settings without which a model cannot be used."""
    if model is other_email_name:
        return {"USER_EMAIL_FIELD": "mail_address"}
    if model is inheritance_subclass:
        return {"USER_EDITABLE_FIELDS": ["username", "city"]}
    return {}


def declared(**attributes: Any) -> Model:
    """Make a model of the usual one's columns, with some of them replaced, added or, by None, left out."""

    def model(db: SQLAlchemy) -> type[Any]:
        usual: dict[str, Any] = {
            "id": mapped_column(db.Integer, primary_key=True),
            "email": mapped_column(String(254), unique=True, nullable=False),
            "password_hash": mapped_column(String(256), nullable=False),
            "email_verified_at": mapped_column(DateTime),
        }
        chosen = {name: value for name, value in {**usual, **attributes}.items() if value is not None}
        return type("User", (db.Model,), chosen)

    return model
