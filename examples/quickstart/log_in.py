"""Log-in and log-out, with Flask-Login. This is the application's own: flask-rest-registration only signs up.

The log-in is an HTML form, checked by Flask-WTF's CSRF token. It works without JavaScript, and its view can be read
from top to bottom: look the account up, check the password, ask for the flag, log in.
"""

from __future__ import annotations

import secrets

from error_pages import error_page
from flask import Blueprint, Flask, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, current_user, login_required, login_user, logout_user
from flask_wtf import CSRFProtect
from flask_wtf.csrf import CSRFError
from models import User, db
from sqlalchemy import select
from werkzeug.security import check_password_hash

from flask_rest_registration import hash_password, normalize_email

# One text for an unknown address and for a wrong password: the answer does not tell who has an account.
WRONG = "This address and this password do not belong together."

# An unknown address costs as much time as a wrong password, since this hash is checked in its place.
DUMMY_HASH = hash_password(secrets.token_hex())

pages = Blueprint("log_in", __name__)
csrf = CSRFProtect()
login_manager = LoginManager()
login_manager.login_view = "log_in.log_in"
login_manager.login_message = "Log in to see your account."


def init_app(app: Flask) -> None:
    """Add the log-in to an application."""
    app.config.setdefault("SESSION_COOKIE_SAMESITE", "Lax")
    app.config.setdefault("WTF_CSRF_SSL_STRICT", False)  # it wants a Referer, which the pages do not send
    app.config.setdefault("WTF_CSRF_TIME_LIMIT", None)  # a token lives as long as its session
    login_manager.init_app(app)
    csrf.init_app(app)
    app.register_blueprint(pages)


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load_user(user_id: str) -> User | None:
    # Asked at each request: a session ends when the account is deleted or its flag is cleared.
    user = db.session.get(User, int(user_id))
    return user if user and user.email_verified_at else None


def find_account(address: str, password: str) -> User | None:
    """Find the account that an address and a password belong to; it may be one that is not verified."""
    try:
        email = normalize_email(address)  # the form in which the sign-up stored it
    except ValueError:
        email = ""  # no account has this one
    user = db.session.scalar(select(User).filter_by(email=email))
    is_right = check_password_hash(user.password_hash if user else DUMMY_HASH, password)
    return user if is_right else None


@pages.get("/log-in/")
def log_in() -> ResponseReturnValue:
    return redirect(url_for("log_in.account")) if current_user.is_authenticated else render_template("log_in.html")


@pages.post("/log-in/")
def check() -> ResponseReturnValue:
    user = find_account(request.form.get("email", ""), request.form.get("password", ""))
    if user is None:
        return render_template("log_in.html", alert=WRONG), 403
    # After the password, so that strangers do not learn which addresses wait for their verification.
    if user.email_verified_at is None:
        return render_template("not_verified.html", email=user.email), 403
    login_user(user)
    return redirect(url_for("log_in.account"))


@pages.get("/account/")
@login_required  # type: ignore[untyped-decorator]
def account() -> str:
    return render_template("account.html")


@pages.post("/log-out/")
def log_out() -> ResponseReturnValue:
    logout_user()
    flash("You are logged out.")
    return redirect(url_for("log_in.log_in"))


@pages.errorhandler(CSRFError)
def ask_again(error: CSRFError) -> ResponseReturnValue:
    # The cookie of the form's session is gone: it expired, or another tab has logged out.
    if request.endpoint != "log_in.check":
        return error_page(error)
    return render_template("log_in.html", alert="This page was out of date. Please try again."), 400


@pages.after_request
def stay_fresh(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"  # "back" shows no account after the log-out
    return response
