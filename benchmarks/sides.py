"""What is compared: one model, one configuration, and an application of each side."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from sqlite3 import Connection

from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import generate_password_hash

VERIFICATION_URL = "https://frontend.example/verify-user/"
VERIFICATION_PERIOD = timedelta(days=7)


class Base(DeclarativeBase):
    """The models' base."""


db = SQLAlchemy(model_class=Base)
mail = Mail()


class User(db.Model):  # type: ignore[name-defined, misc]
    """An account as tutorials have it."""

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str] = mapped_column(String(40), unique=True)
    password_hash: Mapped[str] = mapped_column(String(162))
    email_verified_at: Mapped[datetime | None]


def near_free_hash(password: str) -> str:
    """Hash a password as nobody should: the time of a real hash would hide everything else."""
    return f"sha256$${hashlib.sha256(password.encode()).hexdigest()}"


def real_hash(password: str) -> str:
    """Hash a password as the package does by default."""
    return generate_password_hash(password, method="scrypt:32768:8:3")


def make_app(database: object, *, smtp_port: int | None = None) -> Flask:
    """Make what both sides have: the configuration, the database and the mail extension.

    :param database: the SQLite file.
    :param smtp_port: the mail server's, for everything at its defaults; without it the configuration is near-free:
        one SHA-256, passwords checked for their length alone, and mails that go no further than Flask-Mail's signal.
    """
    # Flask-SQLAlchemy makes this folder, which would otherwise stand in the checkout.
    app = Flask(__name__, instance_path=tempfile.gettempdir())
    app.config.update(
        SECRET_KEY="a key for the benchmark alone, as long as real ones",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{database}",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=smtp_port or 0,
        MAIL_SUPPRESS_SEND=smtp_port is None,
        MAIL_DEFAULT_SENDER=("Benchmark", "hello@example.com"),
        MAX_CONTENT_LENGTH=64 * 1024,
        NEAR_FREE=smtp_port is None,
    )
    db.init_app(app)
    mail.init_app(app)
    with app.app_context():
        event.listen(db.engine, "connect", _set_up_connection)
    return app


def _set_up_connection(connection: Connection, _: object) -> None:
    # What SQLite's manual advises for WAL: the log is not synchronised at every COMMIT.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA journal_mode=WAL")


def add_package(app: Flask, settings: Mapping[str, object] | None = None) -> None:
    """Add sign-up with the package to an application.

    :param app: the application.
    :param settings: more settings of the package.
    """
    from flask_rest_registration import RestRegistration

    app.config["REST_REGISTRATION"] = {
        "URL_PREFIX": "/accounts",
        "REGISTER_VERIFICATION_URL": VERIFICATION_URL,
        **(settings or {}),
    }
    if app.config["NEAR_FREE"]:
        app.config["REST_REGISTRATION"] |= {
            "PASSWORD_HASHER": near_free_hash,
            "PASSWORD_VALIDATORS": ["flask_rest_registration.passwords.validate_length"],
        }
    RestRegistration(app)


def create_app(side: str, database: object, smtp_port: int | None = None) -> Flask:
    """Make the application of a side, which loads nothing of the other; gunicorn calls this.

    :param side: "ours" or "floor".
    :param database: as :func:`make_app` has it.
    :param smtp_port: likewise.
    """
    app = make_app(database, smtp_port=smtp_port)
    if side == "ours":
        add_package(app)
    else:
        from floor import accounts

        app.register_blueprint(accounts)
    return app
