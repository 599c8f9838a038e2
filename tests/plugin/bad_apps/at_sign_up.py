"""Applications that make accounts at sign-up, and make one mistake each, as it is made in the wild."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import bcrypt
from flask import Request, Response, current_app, g, redirect, request
from flask import session as cookie
from flask_login import LoginManager, current_user
from flask_mail import Message
from jinja2 import DictLoader
from marshmallow import EXCLUDE, INCLUDE, fields, post_load
from sqlalchemy import Boolean, String, delete, update
from sqlalchemy.orm import mapped_column
from werkzeug.security import check_password_hash

from flask_rest_registration import (
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    RegisterSigner,
    user_activated,
    user_registered,
)
from tests.support import models
from tests.support.apps import Built, fast_hasher

from .catalogue import (
    account_of,
    answer,
    found_by,
    log_in,
    pause,
    sent_by_client,
    session,
    set_flag,
    signs,
    subscribe_once,
    this_app,
)


@found_by("good_sign_up", "was verified right", on=user_registered)
def sign_up_verifies(sender: object, user: Any, **_: object) -> None:
    set_flag(user)


@found_by("locked_out", "is_active was set to false after its verification", model=models.is_active_flag)
def is_active_says_verified(app: Built) -> None:
    """The column that locks people out is the flag."""


@found_by(
    "locked_out",
    "is_active was set to false before its verification",
    on=user_activated,
    model=models.declared(is_active=mapped_column(Boolean, default=True)),
)
def activation_sets_is_active(sender: object, user: Any, **_: object) -> None:
    user.is_active = True
    session().commit()


@found_by(
    "writes_no_column",
    "Registration lets a stranger set",
    {"USER_EDITABLE_FIELDS": ["username", "is_admin"]},
    model=models.privileged,
)
def is_admin_is_listed_as_editable(app: Built) -> None:
    """A right is offered."""


@found_by("writes_no_column", "'is_admin', 'role'", on="REGISTER_SERIALIZER_CLASS", model=models.privileged)
class TakesEverything(DefaultRegisterUserSerializer):
    class Meta:
        unknown = INCLUDE


class IgnoresTheRest(DefaultRegisterUserSerializer):
    class Meta:
        unknown = EXCLUDE


@found_by(
    "writes_no_column",
    "changed an account that was there before",
    {"REGISTER_SERIALIZER_CLASS": IgnoresTheRest},
    on=user_registered,
    model=models.declared(newest_address=mapped_column(String(254))),
)
def receiver_takes_the_key_from_the_body(sender: object, user: Any, request: Request, **_: object) -> None:
    account = session().get(type(user), request.get_json().get("id", user.id)) or user
    account.newest_address = user.email
    session().commit()


@found_by("salted_hash", "shows the password or its hash", on="REGISTER_OUTPUT_SERIALIZER_CLASS")
class ShowsTheHash(DefaultUserProfileSerializer):
    password_hash = fields.String()


@found_by("salted_hash", "stored as it is, in ['password_hash']", on="PASSWORD_HASHER")
def hasher_only_names_its_kind(password: str) -> str:
    return f"plain:{password}"


@found_by("salted_hash", "has no salt", on="PASSWORD_HASHER")
def hash_has_no_salt(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


class HashesInTheSerializer(DefaultRegisterUserSerializer):
    @post_load
    def hash(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return {**data, "password": fast_hasher(data["password"])}


HASHES_TWICE = {"REGISTER_SERIALIZER_CLASS": HashesInTheSerializer}


@found_by("chosen_password", "refuses the chosen password", HASHES_TWICE, on="log-in", also=["salted_hash"])
def password_is_hashed_twice(email: str, password: str) -> bool:
    return log_in(email, password)


@found_by("chosen_password", "The log-in raises ValueError: Invalid salt", on="log-in")
def log_in_reads_hashes_of_another_kind(email: str, password: str) -> bool:
    user = account_of(email)
    return user.email_verified_at is not None and bcrypt.checkpw(password.encode(), user.password_hash.encode())


@found_by("chosen_password", "The log-in as ATTACK-", on="log-in")
def log_in_looks_for_the_address_as_it_is_typed(email: str, password: str) -> bool:
    return account_of(email) is not None and log_in(email, password)


@found_by("chosen_password", "opens an account that is not verified", on="log-in")
def log_in_does_not_ask_for_the_flag(email: str, password: str) -> bool:
    return check_password_hash(account_of(email).password_hash, password)


@found_by("chosen_password", "accepts another password, ''", on="log-in")
def log_in_ignores_the_password(email: str, password: str) -> bool:
    return account_of(email.lower()).email_verified_at is not None


@found_by("logged_in_and_not_verified", "verify-registration/ answered somebody", model=models.login_user)
def gate_of_flask_login_stands_before_everything(app: Built) -> None:
    LoginManager(app.app).user_loader(lambda key: session().get(app.User, int(key)))

    @app.app.before_request
    def send_away() -> Any:
        is_waiting = current_user.is_authenticated and not current_user.email_verified_at
        return redirect("/unconfirmed") if is_waiting else None


def send_away() -> Any:
    user = session().get(this_app().User, cookie.get("user_id", 0))
    return redirect("/unconfirmed") if user and not user.email_verified_at else None


@found_by("logged_in_and_not_verified", "verify-registration/ answered somebody", on="before_request")
def gate_stands_before_everything() -> Any:
    return send_away()


RESEND = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}


@found_by("logged_in_and_not_verified", "resend-verification/ answered somebody", RESEND, on="before_request")
def gate_lets_the_link_alone_pass() -> Any:
    return None if request.path.endswith("/verify-registration/") else send_away()


def refuse_weak(password: str, user: object = None) -> bool:
    return len(password) > 8


@found_by("anybody_guesses", "PASSWORD_VALIDATORS", {"PASSWORD_VALIDATORS": [refuse_weak]})
def validator_returns_what_it_finds(app: Built) -> None:
    """It returns False where it should raise."""


@found_by("logs_nobody_in", "has ['access_token']", on="REGISTER_OUTPUT_SERIALIZER_CLASS")
class GivesAToken(DefaultUserProfileSerializer):
    access_token = fields.Function(lambda user: f"for-{user.id}")


@found_by("logs_nobody_in", "holds ['user_id']", on=user_registered)
def sign_up_logs_in(sender: object, user: Any, **_: object) -> None:
    cookie["user_id"] = user.id


@found_by("server_error", "verify-registration/ with a list of objects", on="before_request")
def language_is_looked_up_in_any_body() -> None:
    if request.is_json:
        cookie.get((request.get_json(silent=True) or {}).get("language", "en"))


@found_by("address_twice", "Four sign-ups at once were answered", on="REGISTER_SERIALIZER_CLASS")
class LooksBeforeItWrites(DefaultRegisterUserSerializer):
    @post_load
    def subscribe(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        subscribe_once(data["email"])
        return data


def verify_by_hand(address: Callable[[Any], str] = lambda user: str(user.email)) -> Any:
    """Do what the extension's view does, but for the age of the link, and look at the flag before it is set."""
    user = session().get(this_app().User, int(sent_by_client()["user_id"]))
    if not signs(SimpleNamespace(id=user.id, email=address(user))):
        return answer(400, "invalid")
    if user.email_verified_at is None:
        pause()
        set_flag(user)
        user_activated.send(this_app().app, user=user, request=request)
    return answer(200, "verified")


@found_by("one_link_many_times", "sent user_activated", on="view")
def view_looks_before_it_writes(original: object) -> Any:
    return verify_by_hand()


@found_by("only_the_true_link", "A link with an old time was answered 200", on="second chance")
def view_forgets_that_links_expire() -> Any:
    return verify_by_hand()


@found_by(
    "address_has_changed",
    "verified the new one",
    on="second chance",
    model=models.declared(
        first_email=mapped_column(String(254), default=lambda context: context.get_current_parameters()["email"])
    ),
)
def view_checks_the_address_of_the_sign_up() -> Any:
    return verify_by_hand(lambda user: str(user.first_email))


@found_by("used_again", "logs in: it gives ['user_id']", on="after_request")
def every_good_link_logs_in(response: Response) -> None:
    if "signature" in sent_by_client() and response.status_code == 200:
        cookie["user_id"] = sent_by_client()["user_id"]


@found_by("key_that_was_dropped", "of a key that was dropped was answered 200", on="before_request")
def requests_read_the_configuration_again() -> None:
    this_app().app.config["SECRET_KEY"] = "a key for tests only"


@found_by("opening_a_link", "GET /verify-user/ with a link's values verified an account")
def page_verifies_when_it_is_opened(app: Built) -> None:
    @app.app.get("/verify-user/")
    def page() -> str:
        if request.method == "GET":
            app.verify(request.args.to_dict())
        return "Thank you!"


@found_by("mail_server_that_fails", "refuses was refused, and its account", on="VERIFICATION_TEMPLATE_CONTEXT_BUILDER")
def context_builder_commits(request: object, user: object, context: dict[str, object]) -> dict[str, object]:
    session().commit()
    return context


@found_by("sender_that_fails", "refused, and its account is stored", on="REGISTER_VERIFICATION_EMAIL_SENDER")
def sender_commits(request: object, user: object) -> None:
    session().commit()


@found_by("mail_server_that_fails", "is down, a sign-up was answered 201", on="after_request")
def failed_mail_is_a_success(response: Response) -> None:
    response.status_code = 201 if response.status_code == 503 else response.status_code


@found_by(
    "sender_that_fails",
    "When the sender failed, a sign-up was answered 201",
    {"REGISTER_VERIFICATION_EMAIL_SENDER": lambda request, user: None},
    on="after_request",
)
def failed_sender_is_a_success(response: Response) -> None:
    failed_mail_is_a_success(response)


@found_by("slow_mail_server", "a sign-up holds [1] connections")
def each_request_has_a_connection_of_its_own(app: Built) -> None:
    @app.app.before_request
    def connect() -> None:
        g.connection = app.db.engine.connect()

    @app.app.teardown_request
    def close(error: object) -> None:
        g.connection.close()


@found_by("slow_mail_server", "a sign-up holds [1] connections", on="before_request")
def visits_are_counted_in_the_transaction_of_the_sign_up() -> None:
    session().execute(update(this_app().User).values(username=this_app().User.username))


@found_by("reaches_its_reader", "The mail has a line of", on="REGISTER_VERIFICATION_EMAIL_SENDER")
def mail_is_one_line(request: object, user: Any) -> None:
    url = RegisterSigner.for_user(user).get_url()
    message = Message("Welcome", recipients=[user.email], html=f"<p>{'Welcome! ' * 120}<a href='{url}'>Verify</a></p>")
    current_app.extensions["mail"].send(message)


@found_by("reaches_its_reader", "VERIFICATION_URL_BUILDER", on="VERIFICATION_URL_BUILDER")
def url_builder_returns_nothing(signer: RegisterSigner) -> None:
    signer.get_base_url()


@found_by(
    "reaches_its_reader",
    "The mail has no link in its text/plain and text/html",
    {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"html_body": "body.html"}},
)
def template_misspells_the_link(app: Built) -> None:
    app.app.jinja_loader = DictLoader({"body.html": "<a href='{{ verification_ulr }}'>Verify</a>"})


@found_by(
    "reaches_its_reader",
    "The mail has no link in its text/plain.",
    {"REGISTER_VERIFICATION_EMAIL_TEMPLATES": {"html_body": "rest_registration/register/body.html"}},
    on="VERIFICATION_EMAIL_HTML_TO_TEXT_CONVERTER",
)
def text_is_cut_off(html: str) -> str:
    return "Please read this mail as HTML."


@found_by("deletes_a_row", "Sign-ups and links have deleted rows of others: [('user'", on="after_request")
def names_of_unverified_accounts_are_freed(response: Response) -> None:
    user, sent = this_app().User, sent_by_client()
    if response.status_code == 400 and "username" in sent:
        waiting = user.email_verified_at.is_(None) & (user.email != sent["email"])
        session().execute(delete(user).where(waiting, user.username == sent["username"]))
        session().commit()
