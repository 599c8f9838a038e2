"""Sign-up with e-mail verification in one small Flask application, and a log-in behind it.

Start it with ``python app.py`` and open the address that it prints. ``flask --app app run`` works as well.
The accounts are kept in ``instance/quickstart.db``; the mails go no further than the page ``/mailbox/``.
``models.py`` has the tables, ``log_in.py`` the log-in, ``error_pages.py`` the pages for what goes wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import error_pages
import log_in
from dev_mailbox import Mailbox, mailbox_pages
from dev_server import local_url, secret_key, serve
from flask import Blueprint, Flask, Response, after_this_request, render_template
from flask_mail import Mail
from models import User, db

from flask_rest_registration import RestRegistration, user_activated, user_registered

INSTANCE = Path(__file__).resolve().parent / "instance"
pages = Blueprint("pages", __name__)


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
        MAX_CONTENT_LENGTH=64 * 1024,  # bytes; no form sends more
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
    registration = RestRegistration(app)

    error_pages.init_app(app)
    log_in.init_app(app)
    log_in.csrf.exempt(registration.blueprint)  # JSON needs no token: browsers ask before another site sends it
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

    @after_this_request  # only the first click gets here: the page has kinder words for the next ones
    def tell(response: Response) -> Response:
        response.headers["First-Click"] = "yes"
        return response


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
