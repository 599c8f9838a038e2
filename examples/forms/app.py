"""Sign-up with e-mail verification, and a log-in, on pages without JavaScript. Start it with ``python app.py``."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from flask import Blueprint, Flask, Response, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, login_required, login_user, logout_user
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_rest_registration import PendingRegistrationMixin, RequestRefused, RestRegistration, normalize_email
from flask_rest_registration.passwords import hash_password

QUICKSTART = Path(__file__).resolve().parents[1] / "quickstart"  # some of its parts serve here too
sys.path.append(str(QUICKSTART))
import error_pages  # noqa: E402
from dev_mailbox import Mailbox  # noqa: E402
from dev_server import local_url, secret_key, serve  # noqa: E402

POLICY = "default-src 'self'; script-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
DUMMY_HASH = hash_password(secrets.token_hex())  # with it an unknown address costs as much time as a wrong password
db, login_manager, registration = SQLAlchemy(), LoginManager(), RestRegistration(endpoints=False)
login_manager.login_view, login_manager.login_message = "pages.log_in", "Log in to see your account."
pages = Blueprint("pages", __name__, QUICKSTART / "static", "/quickstart", QUICKSTART / "templates")


class User(UserMixin, db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str] = mapped_column(String(40), unique=True)
    password_hash: Mapped[str] = mapped_column(String(162))
    email_verified_at: Mapped[datetime | None]
    __table_args__ = {"sqlite_autoincrement": True}  # else the session of a deleted account may open a new one


class PendingRegistration(PendingRegistrationMixin, db.Model):  # type: ignore[name-defined, misc]
    """What "send it again" needs: when the last mail went to an address, and when the next one may."""


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load_user(user_id: str) -> User | None:
    user = db.session.get(User, int(user_id))
    return user if user and user.email_verified_at else None  # THE FLAG, asked for at each request


@pages.route("/", methods=["GET", "POST"])
def sign_up() -> ResponseReturnValue:
    if request.method == "POST":
        session["email"] = registration.register(request.form).email
        return redirect(url_for("pages.sent"))
    return render_template("sign_up.html")


@pages.route("/sent/", methods=["GET", "POST"])
def sent() -> ResponseReturnValue:
    if request.method == "POST":  # "send it again"
        registration.resend(request.form.get("email", ""))
        session["email"] = request.form["email"]
        flash("If this address waits to be confirmed, a mail was sent, now or when it was last asked for.")
        return redirect(url_for("pages.sent"))
    return render_template("sent.html")


@pages.route("/verify-user/", methods=["GET", "POST"])
def verify_user() -> ResponseReturnValue:
    if request.method == "POST":  # a click and nothing less: the scanners of mail servers open links
        registration.verify(request.form)
        flash("Your address is confirmed. You can log in now.")
        return redirect(url_for("pages.log_in"))
    return render_template("verify_user.html")


@pages.route("/log-in/", methods=["GET", "POST"])
def log_in() -> ResponseReturnValue:
    if request.method == "GET":
        return render_template("log_in.html")
    user = None
    with suppress(ValueError):  # what is no address has no account
        user = db.session.scalar(select(User).filter_by(email=normalize_email(request.form.get("email", ""))))
    is_right = check_password_hash(user.password_hash if user else DUMMY_HASH, request.form.get("password", ""))
    if not (user and is_right):
        return render_template("log_in.html", is_wrong=True), 403
    if not user.email_verified_at:  # THE FLAG, asked for after the password: strangers do not learn of it
        session["email"] = user.email
        flash("Confirm your address before you log in.")
        return redirect(url_for("pages.sent"))
    login_user(user)
    return redirect(session.pop("next", url_for("pages.account")))


@pages.get("/account/")
@login_required  # type: ignore[untyped-decorator]
def account() -> str:
    return render_template("account.html")


@pages.post("/log-out/")
def log_out() -> ResponseReturnValue:
    session.clear()  # the next person at this computer does not learn the address that a mail went to
    logout_user()
    return redirect(url_for("pages.log_in"))


@pages.errorhandler(RequestRefused)
@pages.errorhandler(CSRFError)
def show_again(refusal: RequestRefused | CSRFError) -> ResponseReturnValue:
    template = f"{str(request.endpoint).removeprefix('pages.')}.html"  # each view has the name of its template
    return render_template(template, refusal=refusal), getattr(refusal, "status", 400)


@pages.after_app_request
def protect(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers["Referrer-Policy"] = "strict-origin"  # without the link's signature, as Flask-WTF needs it
    response.headers["Cache-Control"] = "no-store"  # "back" shows no account after the log-out
    return response


def create_app(config: Mapping[str, object] = {}) -> Flask:
    app = Flask(__name__, instance_path=str(Path(__file__).resolve().with_name("instance")))
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI="sqlite:///forms.db",
        MAIL_DEFAULT_SENDER=("Forms", "hello@example.com"),
        USE_SESSION_FOR_NEXT=True,  # where a log-in leads is not in an address, where a stranger could write it
        REST_REGISTRATION_REGISTER_VERIFICATION_URL=f"{config.get('PUBLIC_URL') or local_url()}/verify-user/",
        REST_REGISTRATION_REGISTER_VERIFICATION_RESEND_ENABLED=True,
    )
    app.config.from_mapping(config)
    app.secret_key = app.secret_key or secret_key(Path(app.instance_path) / "secret_key")
    for extension in (Mailbox(), Mail(), db, CSRFProtect(), login_manager, registration, error_pages):
        extension.init_app(app)
    app.register_blueprint(pages)
    with app.app_context():
        db.create_all()
    return app


if __name__ == "__main__":
    serve(create_app)
