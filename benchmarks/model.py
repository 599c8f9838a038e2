"""The accounts that both sides of the benchmark store: one model, one database extension, one mail extension."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from sqlite3 import Connection

from flask import Flask
from flask_mail import Mail, Message, email_dispatched
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What Flask-SQLAlchemy makes its models of."""


db = SQLAlchemy(model_class=Base)
mail = Mail()


class User(db.Model):  # type: ignore[name-defined, misc]
    """An account as tutorials have it."""

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str] = mapped_column(String(40), unique=True)
    password_hash: Mapped[str] = mapped_column(String(162))
    email_verified_at: Mapped[datetime | None]


def make_app(name: str, config: Mapping[str, object]) -> Flask:
    """Make what both sides have: an application with a database and a mail extension, and nothing to serve yet.

    :param name: the application's import name.
    :param config: its whole configuration.
    """
    # Flask-SQLAlchemy makes this folder, which would otherwise stand in the checkout.
    app = Flask(name, instance_path=tempfile.gettempdir())
    app.config.from_mapping(config)
    db.init_app(app)
    mail.init_app(app)
    with app.app_context():
        event.listen(db.engine, "connect", _set_up_connection)
    return app


def record_mails(app: Flask) -> deque[Message]:
    """Keep the last mail that an application sends: Flask-Mail's signal comes also when sending is suppressed.

    :param app: the application.
    :returns: what holds the mail; it is filled while it is alive.
    """
    recorded: deque[Message] = deque(maxlen=1)

    def record(_: Flask, message: Message, **extra: object) -> None:
        recorded.append(message)

    email_dispatched.connect(record, app, weak=False)
    return recorded


def _set_up_connection(connection: Connection, _: object) -> None:
    # What SQLite's manual advises for WAL: the log is not synchronised at every COMMIT.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA journal_mode=WAL")
