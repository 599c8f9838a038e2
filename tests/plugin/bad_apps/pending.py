"""Applications with pending registrations, and one mistake each: e-mail first with codes, or resend."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from flask import Request, Response, abort, current_app, request
from marshmallow import INCLUDE, ValidationError, fields, post_load, validates
from sqlalchemy import ForeignKey, Uuid, insert, select, update
from sqlalchemy.orm import mapped_column

from flask_rest_registration import (
    DefaultRegisterUserSerializer,
    RegisterEmailSerializer,
    clock,
    send_register_verification_email_notification,
    user_registered,
)
from flask_rest_registration.mail.delivery import send_existing_account_email_notification
from flask_rest_registration.signers import make_code
from flask_rest_registration.state import current_state
from tests.support import models
from tests.support.apps import Built, fast_hasher

from .catalogue import (
    account_of,
    answer,
    found_by,
    pause,
    sent_by_client,
    session,
    set_flag,
    signs,
    subscribe_once,
    this_app,
    with_orders,
)

EMAIL_FIRST = {"REGISTER_EMAIL_FIRST": True}
CODES = {**EMAIL_FIRST, "REGISTER_VERIFICATION_CODE_ENABLED": True}
RESEND = {"REGISTER_VERIFICATION_RESEND_ENABLED": True}


def model() -> Any:
    return this_app().Pending


def row_of(email: object) -> Any:
    return session().scalar(select(model()).filter_by(email=str(email).lower()))


def row() -> Any:
    """Return the pending registration that the request is about."""
    sent = sent_by_client()
    if "user_id" in sent:
        return session().get(model(), uuid.UUID(sent["user_id"])) if "-" in sent["user_id"] else None
    return row_of(sent.get("email"))


def change_row(**values: object) -> None:
    """Change it behind the extension's back."""
    changed = row()
    if changed is not None:
        session().execute(update(type(changed)).filter_by(id=changed.id).values(**values))
        session().commit()


def code() -> str | None:
    return make_code(current_state(), row()) if row() else None


def is_sign_up() -> bool:
    return request.path.endswith("/register/")


def add_user(email: str, **values: object) -> Any:
    user = this_app().User(**{"email": email, "username": email, "password_hash": "!", **values})
    session().add(user)
    session().commit()
    return user


def complete_by_hand() -> Any:
    """Make the account of a pending registration, whatever its state is."""
    sent = sent_by_client()
    set_flag(add_user(row().email, username=sent["username"], password_hash=fast_hasher(sent["password"])))
    return answer(201, "verified")


class KeepsThePassword(RegisterEmailSerializer):
    class Meta:
        unknown = INCLUDE

    @post_load
    def keep(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        if "password" in data:
            current_app.extensions.setdefault("passwords", {})[data["email"]] = data["password"]
        return data


@found_by(
    "prepares_no_password",
    "The password that a stranger sent",
    {**CODES, "REGISTER_EMAIL_SERIALIZER_CLASS": KeepsThePassword},
    on=user_registered,
)
def password_of_the_sign_up_is_kept(sender: object, user: Any, **_: object) -> None:
    password = current_app.extensions["passwords"].get(user.email)
    if password:
        user.password_hash = fast_hasher(password)
        session().commit()


@found_by("neither_keeps_an_address", "whose links nobody used, made 5 users", CODES, on="before_request")
def visitors_are_users() -> None:
    if is_sign_up():
        add_user(f"guest-{uuid.uuid4()}@shop.example")


@found_by("neither_keeps_an_address", "sign-up the victim's link was answered 403", CODES, on="before_request")
def addresses_asked_for_too_often_are_blocked() -> None:
    asked: Counter[str] = current_app.extensions.setdefault("asked", Counter())
    if is_sign_up():
        asked[sent_by_client()["email"]] += 1
    elif asked[row().email] > 2:
        abort(403)


SENDERS = ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER")
OWN_SENDER = {**CODES, SENDERS[0]: partial(send_register_verification_email_notification)}


@found_by("asking_for_a_message", "statements: ", OWN_SENDER, on=SENDERS[1])
def notice_greets_by_name(request: Request | None, pending: Any) -> None:
    user = this_app().User
    session().scalar(select(user.username).where(user.email == pending.email))
    send_existing_account_email_notification(request, pending)


@found_by("asking_for_a_message", "mails: 0, not 1", OWN_SENDER, on=SENDERS[1])
def notice_is_not_sent(request: Request | None, pending: Any) -> None:
    """Whoever has an account gets no mail."""


def refuse_taken(email: str) -> None:
    """Refuse an address that has an account, as register serializers do where accounts are made at sign-up."""
    if session().scalar(select(this_app().User).filter_by(email=email)):
        raise ValidationError("This address has an account.")


@found_by(
    "asking_for_a_message",
    "status: 400, not 202",
    EMAIL_FIRST,
    on="REGISTER_SERIALIZER_CLASS",
    also=["second_request", "many_requests_at_once"],
)
class RefusesInTheField(DefaultRegisterUserSerializer):
    email = fields.Email(required=True, validate=refuse_taken)


@found_by("wrong_code", "An address with an account differs from a free one in", CODES, on="REGISTER_SERIALIZER_CLASS")
class RefusesInAMethod(DefaultRegisterUserSerializer):
    @validates("email")
    def check(self, email: str, **_: object) -> None:
        refuse_taken(email)


@found_by("asking_for_a_message", "header X-Known: ['yes'], not None", RESEND, on="after_request")
def resend_tells_support_who_it_was(response: Response) -> None:
    known = session().scalar(select(this_app().User).filter_by(email=sent_by_client().get("email")))
    if known and request.path.endswith("/resend-verification/"):
        response.headers["X-Known"] = "yes"


def look_up_the_visitor() -> None:
    account_of(str(sent_by_client().get("email")))


@found_by("asking_for_a_message", "statements: ", RESEND, on="before_request", model=with_orders("selectin"))
def visitors_are_looked_up_with_their_orders() -> None:
    look_up_the_visitor()


@found_by("asking_for_a_message", "statements: ", CODES, on="before_request", model=with_orders("selectin"))
def members_are_looked_up_with_their_orders() -> None:
    look_up_the_visitor()


@found_by("second_request", "mails: 1, not 0", CODES, on=user_registered)
def row_is_deleted_after_the_sign_up(sender: object, user: Any, **_: object) -> None:
    session().delete(row_of(user.email))
    session().commit()


@found_by("many_requests_at_once", "for one address were answered", CODES, on="REGISTER_EMAIL_SERIALIZER_CLASS")
class NoteOfAskedAddresses(RegisterEmailSerializer):
    @post_load
    def subscribe(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        subscribe_once(data["email"])
        return data


@found_by("wrong_code", "header X-Guesses-Left: ", CODES, on="after_request")
def guesses_are_counted_down(response: Response) -> None:
    if "code" in sent_by_client() and row():
        response.headers["X-Guesses-Left"] = str(5 - row().code_attempts)


@found_by("no_mailbox", "Mail 3 in a row to one address was sent 119 seconds after", CODES, on="before_request")
def cooldown_does_not_double() -> None:
    if is_sign_up() and row():
        change_row(next_mail_at=row().sent_at + 60)


@found_by("mail_server_that_fails", "no mail can be asked for until its cooldown ends", CODES, on="after_request")
def mail_server_is_spared_after_a_failure(response: Response) -> None:
    if response.status_code == 503:
        change_row(next_mail_at=clock.now() + 60)


def with_carts(db: Any) -> type[Any]:
    user = models.typed(db)
    reference = ForeignKey("pending_registration.id", ondelete="CASCADE", onupdate="CASCADE")
    columns = {"id": mapped_column(db.Integer, primary_key=True), "pending_id": mapped_column(Uuid, reference)}
    user.cart = type("Cart", (db.Model,), columns)
    return user


def fill_cart_and_send(request: Request | None, pending: Any) -> None:
    session().execute(insert(this_app().User.cart).values(pending_id=pending.id))
    send_register_verification_email_notification(request, pending)


@found_by(
    "deletes_a_row",
    "has deleted other rows: [('cart'",
    {**CODES, **dict.fromkeys(SENDERS, fill_cart_and_send)},
    model=with_carts,
)
def carts_refer_to_pending_registrations(app: Built) -> None:
    app.enforce_foreign_keys()


@found_by("guessed_five_times", "guesses of one code were compared", CODES, on="after_request")
def whoever_asks_again_may_guess_again(response: Response) -> None:
    if is_sign_up():
        change_row(code_attempts=0)


@found_by("no_guess_back", "guesses of one code were compared", CODES, on="after_request")
def failed_mail_is_made_up_for(response: Response) -> None:
    if response.status_code == 503:
        change_row(code_attempts=0)


@found_by("guesses_at_once", "After eight wrong guesses at once the true code", CODES, on="view")
def guesses_are_counted_after_they_are_compared(original: Callable[[], Any]) -> Any:
    attempts = row().code_attempts
    if attempts < 5 and sent_by_client()["code"] == code():
        session().commit()
        return original()
    pause()
    change_row(code_attempts=attempts + 1)
    return answer(400, "invalid")


@found_by("no_code_fits", "The code 111111, which is of another address, was answered 201", CODES, on="second chance")
def support_has_a_code() -> Any:
    return complete_by_hand() if sent_by_client()["code"] == "111111" else answer(400, "invalid")


@found_by("uses_a_code_up", "After six wrong codes the link of the same mail", CODES, on="after_request")
def fifth_wrong_code_ends_the_sign_up(response: Response) -> None:
    if "code" in sent_by_client() and row().code_attempts == 5:
        change_row(id=uuid.uuid4())


@found_by("old_code", "A code that is too old was answered 201", CODES, on="second chance")
def codes_do_not_age() -> Any:
    return complete_by_hand() if sent_by_client().get("code") == code() else answer(400, "invalid")


@found_by("one_purpose", "of an account's kind was accepted for a pending registration", CODES, on="second chance")
def links_of_accounts_complete_registrations() -> Any:
    is_good = row() and signs(SimpleNamespace(id=row().id, email=row().email))
    return complete_by_hand() if is_good else answer(400, "invalid")


@found_by("one_purpose", "A link of a pending registration's kind verified an account", CODES, on="second chance")
def links_of_registrations_verify_accounts() -> Any:
    link_id = sent_by_client()["user_id"]
    user = session().get(this_app().User, int(link_id)) if link_id.isdigit() else None
    if user is None or not signs(model()(id=link_id, email=user.email)):
        return answer(400, "invalid")
    set_flag(user)
    return answer(200, "verified")


@found_by("completed_once", "of its mails completed it again: 201", CODES, on=user_registered)
def page_may_be_loaded_again(sender: object, user: Any, **_: object) -> None:
    if "user_id" in sent_by_client():
        row_of(user.email).id = uuid.UUID(sent_by_client()["user_id"])
        session().commit()
