"""Applications that make accounts at sign-up, and make one mistake each, as it is made in the wild."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from flask import Request, Response, current_app, request, session
from marshmallow import EXCLUDE, INCLUDE, fields, post_load, pre_load
from sqlalchemy import Boolean, String, delete, text
from sqlalchemy.orm import mapped_column

from flask_rest_registration import (
    DefaultRegisterUserSerializer,
    DefaultUserProfileSerializer,
    RegisterSigner,
    user_activated,
    user_registered,
)
from flask_rest_registration.state import current_registration
from tests.support import models
from tests.support.apps import Built

from .catalogue import VERIFY_VIEW, answer, built, found_by, view_that_falls_back

# The model


@found_by("no_link_lets_an_account_in_that_was_locked_out", "is_active was set to false after its verification")
def is_active_says_verified(uri: str) -> Built:
    return built(uri, models.is_active_flag)


@found_by("no_link_lets_an_account_in_that_was_locked_out", "is_active was set to false before its verification")
def activation_sets_is_active(uri: str) -> Built:
    app = built(uri, models.declared(is_active=mapped_column(Boolean, default=True)))

    @user_activated.connect_via(app.app)
    def switch_on(sender: object, user: Any, **extra: object) -> None:
        user.is_active = True
        app.db.session.commit()

    app.app.extensions["receivers"] = switch_on
    return app


# What registration reads and shows


@found_by("a_stranger_writes_no_column_that_registration_does_not_offer", "Registration offers a stranger to set")
def is_admin_is_listed_as_editable(uri: str) -> Built:
    return built(uri, models.privileged, USER_EDITABLE_FIELDS=["username", "is_admin"])


class TakesEverything(DefaultRegisterUserSerializer):
    class Meta:
        unknown = INCLUDE


@found_by("a_stranger_writes_no_column_that_registration_does_not_offer", "were stored: ['id', 'is_admin', 'role'")
def serializer_takes_everything(uri: str) -> Built:
    return built(uri, models.privileged, REGISTER_SERIALIZER_CLASS=TakesEverything)


class IgnoresTheRest(DefaultRegisterUserSerializer):
    class Meta:
        unknown = EXCLUDE


@found_by("a_stranger_writes_no_column_that_registration_does_not_offer", "changed an account that was there before")
def receiver_takes_the_key_from_the_body(uri: str) -> Built:
    model = models.declared(newest_address=mapped_column(String(254)))
    app = built(uri, model, REGISTER_SERIALIZER_CLASS=IgnoresTheRest)

    @user_registered.connect_via(app.app)
    def keep_newest_address(sender: object, user: Any, request: Request, **extra: object) -> None:
        account = app.db.session.get(app.User, request.get_json().get("id", user.id)) or user
        account.newest_address = user.email
        app.db.session.commit()

    app.app.extensions["receivers"] = keep_newest_address
    return app


class ShowsTheHash(DefaultUserProfileSerializer):
    password_hash = fields.String()


@found_by("a_password_is_stored_as_a_salted_hash_and_never_shown", "shows the password or its hash")
def answer_shows_the_hash(uri: str) -> Built:
    return built(uri, REGISTER_OUTPUT_SERIALIZER_CLASS=ShowsTheHash)


class GivesAToken(DefaultUserProfileSerializer):
    access_token = fields.Function(lambda user: f"for-{user.id}")


@found_by("signing_up_logs_nobody_in_before_the_address_is_verified", "has ['access_token']")
def answer_has_a_token(uri: str) -> Built:
    return built(uri, REGISTER_OUTPUT_SERIALIZER_CLASS=GivesAToken)


# Passwords


@found_by("a_password_is_stored_as_a_salted_hash_and_never_shown", "stored as it is, in ['password_hash']")
def hasher_does_nothing(uri: str) -> Built:
    return built(uri, PASSWORD_HASHER=str)


@found_by("a_password_is_stored_as_a_salted_hash_and_never_shown", "has no salt")
def hash_has_no_salt(uri: str) -> Built:
    return built(uri, PASSWORD_HASHER=lambda password: hashlib.sha256(password.encode()).hexdigest())


# Receivers and requests


@found_by("signing_up_logs_nobody_in_before_the_address_is_verified", "holds ['user_id']")
def sign_up_logs_in(uri: str) -> Built:
    app = built(uri)

    @user_registered.connect_via(app.app)
    def log_in(sender: object, user: Any, **extra: object) -> None:
        session["user_id"] = user.id

    app.app.extensions["receivers"] = log_in
    return app


class TrustsTheBody(DefaultRegisterUserSerializer):
    @pre_load
    def strip(self, data: Any, **extra: object) -> Any:
        return {**data, "email": data["email"].strip()}


@found_by("no_body_is_answered_with_a_server_error", "register/ with an empty object")
def hook_trusts_the_body(uri: str) -> Built:
    return built(uri, REGISTER_SERIALIZER_CLASS=TrustsTheBody)


@found_by("no_body_is_answered_with_a_server_error", "verify-registration/ with a list of objects")
def before_request_trusts_the_body(uri: str) -> Built:
    app = built(uri)

    @app.app.before_request
    def choose_language() -> None:
        if request.is_json:
            session.get((request.get_json(silent=True) or {}).get("language", "en"))

    return app


class Subscribes(DefaultRegisterUserSerializer):
    @post_load
    def subscribe(self, data: dict[str, Any], **extra: object) -> dict[str, Any]:
        engine = current_app.extensions["sqlalchemy"].engine
        with engine.connect() as connection:
            known = connection.execute(text("SELECT 1 FROM newsletter WHERE address = :email"), data).first()
        time.sleep(0.05)
        if known is None:
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO newsletter VALUES (:email)"), data)
        return data


@found_by("one_address_twice_at_once_makes_one_account", "Four sign-ups at once were answered")
def newsletter_looks_before_it_writes(uri: str) -> Built:
    app = built(uri, REGISTER_SERIALIZER_CLASS=Subscribes)
    with app.app.app_context(), app.db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE newsletter (address TEXT PRIMARY KEY)"))
    return app


# Links


def verify_by_hand(
    app: Built,
    *,
    address: Callable[[Any], str] = lambda user: str(user.email),
    expires: bool = True,
    pause: float = 0,
) -> Callable[[], Any]:
    """Make a view that does by hand what the extension's does, and looks at the flag before it sets it."""

    def verify() -> Any:
        sent = request.get_json(silent=True)
        values = {name: str(sent.get(name)) for name in ("user_id", "timestamp", "signature")} if sent else {}
        user = app.db.session.scalar(app.db.select(app.User).where(app.User.id == int(values["user_id"])))
        signed = SimpleNamespace(id=user.id, email=address(user), email_verified_at=user.email_verified_at)
        signer = RegisterSigner(current_registration(), signed, timestamp=values["timestamp"])
        if not signer.accepts(values["signature"]) or (expires and signer.has_expired()):
            return answer(400, "invalid")
        if user.email_verified_at is None:
            time.sleep(pause)
            user.email_verified_at = datetime.now()  # noqa: DTZ005  # this application does not care
            app.db.session.commit()
            user_activated.send(app.app, user=user, request=request)
        return answer(200, "verified")

    def refuse_what_is_odd() -> Any:
        try:
            return verify()
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return answer(400, "invalid")

    return refuse_what_is_odd


@found_by("one_link_many_times_at_once_activates_once", "sent user_activated")
def view_looks_before_it_writes(uri: str) -> Built:
    app = built(uri)
    app.app.view_functions[VERIFY_VIEW] = verify_by_hand(app, pause=0.1)
    return app


@found_by("only_the_true_link_of_an_account_verifies_it", "A link with an old time was answered 200")
def view_forgets_that_links_expire(uri: str) -> Built:
    app = built(uri)
    by_hand = verify_by_hand(app, expires=False)
    app.app.view_functions[VERIFY_VIEW] = view_that_falls_back(app, app.app.view_functions[VERIFY_VIEW], by_hand)
    return app


@found_by("a_link_is_dead_after_the_address_has_changed", "verified the new one")
def view_checks_the_address_of_the_sign_up(uri: str) -> Built:
    app = built(uri)
    mailed: dict[int, str] = {}

    @user_registered.connect_via(app.app)
    def remember(sender: object, user: Any, **extra: object) -> None:
        mailed[user.id] = user.email

    app.app.extensions["receivers"] = remember
    by_hand = verify_by_hand(app, address=lambda user: mailed[user.id])
    app.app.view_functions[VERIFY_VIEW] = view_that_falls_back(app, app.app.view_functions[VERIFY_VIEW], by_hand)
    return app


@found_by("a_link_that_is_used_again_changes_nothing", "logs in: it gives ['user_id']")
def every_good_link_logs_in(uri: str) -> Built:
    app = built(uri)

    @app.app.after_request
    def log_in(response: Response) -> Response:
        if request.endpoint == VERIFY_VIEW and response.status_code == 200:
            session["user_id"] = request.get_json()["user_id"]
            app.app.session_interface.save_session(app.app, session, response)
        return response

    return app


@found_by("a_key_that_was_dropped_verifies_no_link", "of a key that was dropped was answered 200")
def requests_read_the_configuration_again(uri: str) -> Built:
    app = built(uri)
    key = app.app.config["SECRET_KEY"]

    @app.app.before_request
    def read_configuration() -> None:
        app.app.config["SECRET_KEY"] = key

    return app


@found_by("opening_a_link_verifies_nothing", "GET /verify-user/ with a link's values verified an account")
def page_verifies_when_it_is_opened(uri: str) -> Built:
    app = built(uri)

    @app.app.get("/verify-user/")
    def page() -> str:
        if request.method == "GET":
            app.post("verify-registration/", request.args.to_dict())
        return "Thank you!"

    return app


# Mail


@found_by("a_mail_server_that_fails_leaves_no_account", "while the mail server refuses was refused, and its account")
def context_builder_commits(uri: str) -> Built:
    app: Built

    def count_mails(request: object, user: object, context: dict[str, object]) -> dict[str, object]:
        app.db.session.commit()
        return context

    app = built(uri, VERIFICATION_TEMPLATE_CONTEXT_BUILDER=count_mails)
    return app


@found_by("a_sender_that_fails_leaves_no_account", "when the sender failed was refused, and its account is stored")
def sender_commits(uri: str) -> Built:
    app: Built

    def send(request: object, user: object) -> None:
        app.db.session.commit()

    app = built(uri, REGISTER_VERIFICATION_EMAIL_SENDER=send)
    return app


def says_that_all_is_well(app: Built) -> Built:
    """Have failures hidden from whoever signs up."""

    @app.app.after_request
    def smile(response: Response) -> Response:
        if response.status_code == 503:
            response.status_code = 201
        return response

    return app


@found_by("a_mail_server_that_fails_leaves_no_account", "is down, a sign-up was answered 201")
def failed_mail_is_a_success(uri: str) -> Built:
    return says_that_all_is_well(built(uri))


@found_by("a_sender_that_fails_leaves_no_account", "When the sender failed, a sign-up was answered 201")
def failed_sender_is_a_success(uri: str) -> Built:
    return says_that_all_is_well(built(uri, REGISTER_VERIFICATION_EMAIL_SENDER=lambda request, user: None))


# Whose rows are deleted


@found_by("nothing_deletes_a_row_of_somebody_else", "Sign-ups and links have deleted rows of others: [('user'")
def names_of_unverified_accounts_are_freed(uri: str) -> Built:
    app = built(uri)

    @app.app.after_request
    def free_the_name(response: Response) -> Response:
        sent = request.get_json(silent=True)
        if response.status_code == 400 and isinstance(sent, dict):
            name, email = str(sent.get("username")), str(sent.get("email"))
            waiting = app.User.email_verified_at.is_(None) & (app.User.email != email)
            app.db.session.execute(delete(app.User).where(waiting, app.User.username == name))
            app.db.session.commit()
        return response

    return app
