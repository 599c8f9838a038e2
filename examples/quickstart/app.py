"""Sign-up with e-mail verification in one small Flask application.

Start it with ``python app.py`` and open the address that it prints. ``flask --app app run`` works as well.
The accounts are kept in ``instance/quickstart.db``; the mails go no further than the page ``/mailbox/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from dev_mailbox import Mailbox, mailbox_pages
from dev_server import local_url, secret_key, serve
from flask import Blueprint, Flask, Response, render_template
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_rest_registration import PendingRegistrationMixin, RestRegistration, user_activated, user_registered

INSTANCE = Path(__file__).resolve().parent / "instance"


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
pages = Blueprint("pages", __name__)


class User(db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str] = mapped_column(String(40), unique=True)
    password_hash: Mapped[str] = mapped_column(String(162))
    email_verified_at: Mapped[datetime | None]


class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[name-defined, misc]
    """What "send it again" needs: when the last mail went to an address, and when the next one may."""


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Make the application, and start its mailbox.

    :param config: overrides for the configuration below, such as another ``SQLALCHEMY_DATABASE_URI``, or the
        ``PUBLIC_URL`` under which browsers reach the application.
    """
    mailbox = Mailbox()
    mailbox.start()
    overrides = {"PUBLIC_URL": local_url(), **(config or {})}

    app = Flask(__name__, instance_path=str(INSTANCE))
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI="sqlite:///quickstart.db",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=mailbox.port,
        MAIL_DEFAULT_SENDER=("Quickstart", "hello@example.com"),
        REST_REGISTRATION={
            "REGISTER_VERIFICATION_URL": f"{overrides['PUBLIC_URL']}/verify-user/",
            "REGISTER_VERIFICATION_RESEND_ENABLED": True,
            "REGISTER_VERIFICATION_RESEND_COOLDOWN": timedelta(seconds=30),  # short, to be tried out
        },
    )
    app.config.from_mapping(overrides)
    app.secret_key = app.secret_key or secret_key(INSTANCE / "secret_key")
    app.logger.setLevel("INFO")

    db.init_app(app)
    Mail(app)
    RestRegistration(app)

    app.register_blueprint(pages)
    app.register_blueprint(mailbox_pages(mailbox))
    app.extensions["mailbox"] = mailbox
    with app.app_context():
        db.create_all()
    return app


@user_registered.connect
def after_registration(app: Flask, user: User, **extra: object) -> None:
    app.logger.info("Account %s was created", user.id)


@user_activated.connect
def after_activation(app: Flask, user: User, **extra: object) -> None:
    app.logger.info("Account %s verified its address", user.id)


@pages.get("/")
def sign_up() -> str:
    return render_template("sign_up.html")


@pages.get("/verify-user/")
def verify_user() -> str:
    return render_template("verify_user.html")


@pages.after_app_request
def protect(response: Response) -> Response:
    policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    response.headers.setdefault("Content-Security-Policy", policy)
    response.headers["Referrer-Policy"] = "no-referrer"  # the link's signature stands in the address
    return response


if __name__ == "__main__":
    serve(create_app)
