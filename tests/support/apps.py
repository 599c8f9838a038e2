"""Real apps: Flask, Flask-SQLAlchemy on a real database, Flask-Mail to a real server, the extension."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import Engine, inspect, select
from werkzeug.test import TestResponse

from flask_rest_registration import PendingRegistrationMixin, RestRegistration

from . import databases, models
from .described import check_answers
from .links import values_of

#: The default validators accept it.
PASSWORD: Final = "violet-anchor-47-tundra"
VERIFICATION_URL: Final = "https://frontend.example/verify-user/"
REGISTER: Final = "register/"
VERIFY: Final = "verify-registration/"
CHECK_LINK: Final = "check-link/"
RESEND: Final = "resend-verification/"


class _Omitted:
    def __repr__(self) -> str:  # stands in the names of tests, which must be the same in every process
        return "OMITTED"


#: As a field's value for ``Built.body`` and ``Built.register``: the field is left out.
OMITTED: Final = _Omitted()

fast_hasher = models.cheap_hash


class HasPort(Protocol):
    """A mail server that runs."""

    port: int


@dataclass(frozen=True)
class Built:
    """An app and what it is made of."""

    app: Flask
    db: SQLAlchemy
    mail: Mail
    User: Any
    registration: RestRegistration
    email_field: str
    url_prefix: str
    Pending: Any | None = None

    def client(self) -> FlaskClient:
        return self.app.test_client()

    def post(self, path: str, json: object = None, **options: Any) -> TestResponse:
        """Post JSON to an endpoint, such as ``REGISTER``."""
        return self.client().post(f"{self.url_prefix}/{path}", **options, **({} if json is None else {"json": json}))

    def body(self, **changes: object) -> dict[str, object]:
        """Return a good body for ``register/`` with some fields changed, added or ``OMITTED``."""
        passwords = {"password": PASSWORD, "password_confirm": changes.get("password", PASSWORD)}
        samples = {"username": "ann", "team": "blue", "city": "Oslo"}
        fields = {name: value for name, value in samples.items() if hasattr(self.User, name)}
        body = {self.email_field: "ann@example.com", **passwords, **fields, **changes}
        return {name: value for name, value in body.items() if value is not OMITTED}

    def register(self, **changes: object) -> TestResponse:
        """Sign up with :meth:`body`."""
        return self.post(REGISTER, self.body(**changes))

    def verify(self, link: str | Mapping[str, object]) -> TestResponse:
        """Follow a link, or send its values as they are."""
        return self.post(VERIFY, values_of(link) if isinstance(link, str) else dict(link))

    def command(self, *arguments: str) -> Result:
        """Run ``flask rest-registration`` with some arguments."""
        return self.app.test_cli_runner().invoke(args=["rest-registration", *arguments])

    @property
    def engine(self) -> Engine:
        """The engine of the bind on which the users are."""
        with self.app.app_context():
            return self.db.session.get_bind(self.User)  # type: ignore[return-value]

    @property
    def database_uri(self) -> str:
        """Where the users are, for another app on the same database."""
        databases.connect_first(self.engine)
        return self.engine.url.render_as_string(hide_password=False)

    def outside(self) -> AbstractContextManager[databases.Outside]:
        """Connect to the database as another process does."""
        return databases.outside(self.engine)

    def execute_outside(self, sql: str, **values: object) -> int:
        """Let another process execute one statement; returns the number of rows that it changed."""
        with self.outside() as connection:
            return connection.execute(sql, **values).rowcount

    def enforce_foreign_keys(self) -> None:
        """Let every new connection check foreign keys, which SQLite alone leaves to the application."""
        databases.enforce_foreign_keys(self.engine)

    def rows(self) -> list[dict[str, Any]]:
        """Read every user, by attribute names, in a session of its own."""
        return self._read(self.User, *inspect(self.User).primary_key)

    def pending_rows(self) -> list[dict[str, Any]]:
        """Read every pending registration likewise, in the order of the addresses."""
        assert self.Pending is not None, "build the app with pending=True"
        return self._read(self.Pending, self.Pending.email)

    def _read(self, model: Any, *order: Any) -> list[dict[str, Any]]:
        names = [attribute.key for attribute in inspect(model).column_attrs]
        with self.app.app_context():
            found = self.db.session.scalars(select(model).order_by(*order))
            return [{name: getattr(each, name) for name in names} for each in found]

    def row(self) -> dict[str, Any]:
        """Read the only user."""
        (row,) = self.rows()
        return row

    def pending_row(self) -> dict[str, Any]:
        """Read the only pending registration."""
        (row,) = self.pending_rows()
        return row

    def dispose(self) -> None:
        """Close the connections of every engine."""
        with self.app.app_context():
            for engine in self.db.engines.values():
                engine.dispose()


class CompiledTemplates(BytecodeCache):
    """What Jinja makes of each template, for all apps of the process: else every app compiles every template anew."""

    def __init__(self) -> None:
        self._codes: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._codes:
            bucket.bytecode_from_string(self._codes[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key] = bucket.bytecode_to_string()


_compiled_templates: Final = CompiledTemplates()


def declare_pending(db: SQLAlchemy, users: type[Any]) -> type[Any]:
    """Declare the model of pending registrations, on the bind of the users."""

    class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[misc,name-defined]
        __bind_key__ = getattr(users, "__bind_key__", None)

    return PendingRegistration


#: Every app of :func:`make_app` that the fixture ``disposed_apps`` has still to dispose of.
made: list[Built] = []


def make_app(
    model: models.Model = models.typed,
    *,
    database_uri: str = "sqlite://",
    registration: Mapping[str, object] | None = None,
    config: Mapping[str, object] | None = None,
    matching: Mapping[str, Any] | None = None,
    mail: HasPort | None = None,
    tables: bool = True,
    pending: bool = False,
    extension: RestRegistration | None = None,
    before_init: Callable[[Flask], object] | None = None,
    accounts_uri: Callable[[str], str] = databases.sibling,
    is_described: bool = True,
) -> Built:
    """Build an app.

    :param registration: settings of the extension beyond those that every app needs.
    :param matching: how Flask matches hosts, as its constructor takes it.
    :param mail: the server to deliver to; without one, Flask-Mail sends nothing.
    :param pending: whether there is a model of pending registrations.
    :param extension: an extension object that other apps use as well.
    :param before_init: called with the configured app before its extensions are initialised.
    :param accounts_uri: makes the URI of the bind ``accounts`` from the other one.
    :param is_described: whether its answers have to be as its OpenAPI document says; not for apps that change them.
    """
    app = Flask("app_under_test", **(matching or {}))
    app.jinja_options = {"bytecode_cache": _compiled_templates}
    settings = {
        "REGISTER_VERIFICATION_URL": VERIFICATION_URL,
        "PASSWORD_HASHER": fast_hasher,
        **models.settings_for(model),
        **(registration or {}),
    }
    app.config.update(
        TESTING=True,
        SECRET_KEY="a key for tests only",
        SQLALCHEMY_DATABASE_URI=database_uri,
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=mail.port if mail else 1,
        MAIL_SUPPRESS_SEND=mail is None,
        MAIL_DEFAULT_SENDER="no-reply@app.example",
        REST_REGISTRATION=settings,
    )
    app.config.update(config or {})
    if before_init:
        before_init(app)
    db = models.new_db_for(model)
    user_class = model(db)
    if user_class.__name__ != "User":
        settings.setdefault("USER_MODEL", user_class)
    pending_class = declare_pending(db, user_class) if pending else None
    if "accounts" in db.metadatas:
        app.config.setdefault("SQLALCHEMY_BINDS", {"accounts": accounts_uri(database_uri)})
    db.init_app(app)
    flask_mail = Mail(app)
    extension = extension or RestRegistration()
    extension.init_app(app)
    if is_described:
        check_answers(app, model)
    if tables:
        with app.app_context():
            databases.make_tables(db)
    built = Built(
        app=app,
        db=db,
        mail=flask_mail,
        User=user_class,
        registration=extension,
        email_field=str(settings.get("USER_EMAIL_FIELD") or "email"),
        url_prefix=str(settings.get("URL_PREFIX") or "/api/v1/accounts"),
        Pending=pending_class,
    )
    made.append(built)
    return built


class Builder:
    """What the fixture ``build`` is: :func:`make_app` with databases and a mail server of the test."""

    def __init__(self, store: databases.Store, server: HasPort) -> None:
        self._store = store
        self._server = server
        self._built: list[Built] = []
        self._taken: list[str] = []

    def __call__(
        self, model: models.Model = models.typed, *, mail: HasPort | Any | None = OMITTED, **options: Any
    ) -> Built:
        """Build an app on an empty database of its own; the options are those of :func:`make_app`."""
        options["database_uri"] = options.get("database_uri") or self._take()
        server = self._server if mail is OMITTED else mail
        built = make_app(model, mail=server, accounts_uri=lambda _: self._take(), **options)
        self._built.append(built)
        return built

    def dispose(self) -> None:
        for built in self._built:
            built.dispose()
        while self._taken:
            self._store.give_back(self._taken.pop())

    def _take(self) -> str:
        self._taken.append(self._store.take())
        return self._taken[-1]
