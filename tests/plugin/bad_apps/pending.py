"""Applications with pending registrations, and one mistake each: e-mail first with codes, or resend."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import get_ident
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, abort, current_app, g, request
from marshmallow import INCLUDE, ValidationError, post_load, validates
from sqlalchemy import ForeignKey, Uuid, delete, insert, select, text, update
from sqlalchemy.orm import mapped_column

from flask_rest_registration import (
    DefaultRegisterUserSerializer,
    RegisterEmailSerializer,
    RegisterSigner,
    clock,
    user_registered,
)
from flask_rest_registration.mail.delivery import (
    Send,
    send_existing_account_email_notification,
    send_register_verification_email_notification,
)
from flask_rest_registration.serializers.fields import EmailAddress
from flask_rest_registration.signers import make_code
from flask_rest_registration.state import current_registration
from tests.support import models
from tests.support.apps import Built, fast_hasher

from .catalogue import VERIFY_VIEW, answer, built, found_by, view_that_falls_back

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def with_email_first(uri: str, model: models.Model = models.typed, **registration: object) -> Built:
    """An application with e-mail first and codes."""
    registration.setdefault("REGISTER_VERIFICATION_CODE_ENABLED", True)
    return built(uri, model, pending=True, REGISTER_EMAIL_FIRST=True, **registration)


def with_senders(uri: str, send_link: Send, send_notice: Send, model: models.Model = models.typed) -> Built:
    """One with senders of its own for links and for notices."""

    def send(request: Request | None, recipient: object) -> object:
        return send_link(request, recipient)

    return with_email_first(
        uri, model, REGISTER_VERIFICATION_EMAIL_SENDER=send, REGISTER_EXISTING_EMAIL_SENDER=send_notice
    )


def with_resend(uri: str, **registration: object) -> Built:
    """An application that makes accounts at sign-up and sends their links again."""
    return built(uri, models.typed, pending=True, REGISTER_VERIFICATION_RESEND_ENABLED=True, **registration)


def sent_by_client() -> dict[str, Any]:
    """Return the object that the running request sent, if it did."""
    sent = request.get_json(silent=True)
    return sent if isinstance(sent, dict) else {}


def change_row(app: Built, email: object, **values: object) -> None:
    """Change the pending registration of an address behind the extension's back."""
    pending: Any = app.Pending
    app.db.session.execute(update(pending).where(pending.email == str(email).lower()).values(**values))
    app.db.session.commit()


def row_of(app: Built, email: object) -> Any:
    pending: Any = app.Pending
    return app.db.session.scalar(select(pending).where(pending.email == str(email).lower()))


def row_with(app: Built, link_id: str) -> Any:
    pending: Any = app.Pending
    return app.db.session.get(pending, uuid.UUID(link_id)) if "-" in link_id else None


def is_sign_up() -> bool:
    return request.path.endswith("/register/")


@contextmanager
def busy(running: set[int]) -> Iterator[None]:
    """Take the time that code takes on a server with many requests at once, where there are some."""
    running.add(get_ident())
    time.sleep(0.01)
    time.sleep(0.5 if len(running) > 1 else 0)
    yield
    running.remove(get_ident())


def make_account(app: Built, email: str, sent: dict[str, Any]) -> Any:
    """Make an account by hand."""
    user = app.User(
        email=email,
        username=str(sent["username"]),
        password_hash=fast_hasher(str(sent["password"])),
        email_verified_at=datetime.now(),  # noqa: DTZ005  # this application does not care
    )
    app.db.session.add(user)
    app.db.session.commit()
    return answer(201, "verified")


# What a stranger takes


class KeepsThePassword(RegisterEmailSerializer):
    class Meta:
        unknown = INCLUDE

    @post_load
    def keep(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        if "password" in data:
            current_app.extensions["passwords"][data["email"]] = data["password"]
        return data


@found_by("a_stranger_prepares_no_password_for_somebody_elses_address", "The password that a stranger sent")
def password_of_the_sign_up_is_kept(uri: str) -> Built:
    app = with_email_first(uri, REGISTER_EMAIL_SERIALIZER_CLASS=KeepsThePassword)
    passwords: dict[str, str] = {}

    @user_registered.connect_via(app.app)
    def restore(sender: object, user: Any, **_: object) -> None:
        if user.email in passwords:
            user.password_hash = fast_hasher(passwords[user.email])
            app.db.session.commit()

    app.app.extensions.update(passwords=passwords, receivers=restore)
    return app


@found_by("a_stranger_neither_keeps_an_address_nor_fills_the_users_table", "whose links nobody used, made 5 users")
def visitors_are_users(uri: str) -> Built:
    app = with_email_first(uri)

    @app.app.before_request
    def make_a_guest() -> None:
        if is_sign_up():
            guest = f"guest-{uuid.uuid4()}"
            app.db.session.add(app.User(email=f"{guest}@shop.example", username=guest, password_hash="!"))
            app.db.session.commit()

    return app


@found_by("a_stranger_neither_keeps_an_address_nor_fills_the_users_table", "sign-up the owner's link was answered 403")
def addresses_asked_for_too_often_are_blocked(uri: str) -> Built:
    app = with_email_first(uri)
    asked: Counter[str] = Counter()

    @app.app.before_request
    def block() -> None:
        sent = sent_by_client()
        if is_sign_up():
            asked[str(sent.get("email"))] += 1
        elif "signature" in sent:
            row = row_with(app, sent["user_id"])
            if row is not None and asked[row.email] > 2:
                abort(403)

    return app


# What a stranger learns


ASKING = "asking_for_a_message_does_not_tell_who_has_an_account"


@found_by(ASKING, "header X-Welcome-Back: ['yes'], not None")
def header_greets_who_is_known(uri: str) -> Built:
    def send_notice(request: Request | None, pending: object) -> None:
        g.is_known = True
        send_existing_account_email_notification(request, pending)

    app = with_senders(uri, send_register_verification_email_notification, send_notice)

    @app.app.after_request
    def greet(response: Response) -> Response:
        if g.pop("is_known", False):
            response.headers["X-Welcome-Back"] = "yes"
        return response

    return app


@found_by(ASKING, "statements: ")
def notice_greets_by_name(uri: str) -> Built:
    app: Built

    def send_notice(request: Request | None, pending: Any) -> None:
        app.db.session.scalar(select(app.User.username).where(app.User.email == pending.email))
        send_existing_account_email_notification(request, pending)

    app = with_senders(uri, send_register_verification_email_notification, send_notice)
    return app


@found_by(ASKING, "messages: 0, not 1")
def notice_is_not_sent(uri: str) -> Built:
    return with_senders(uri, send_register_verification_email_notification, lambda request, pending: None)


def refuse_taken(email: str) -> None:
    """Refuse an address that has an account, as register serializers do where accounts are made at sign-up."""
    db = current_app.extensions["sqlalchemy"]
    users = db.metadata.tables["user"]
    if db.session.execute(select(users.c.id).where(users.c.email == email)).first():
        raise ValidationError("This address has an account.")


class RefusesInTheField(DefaultRegisterUserSerializer):
    email = EmailAddress(required=True, validate=refuse_taken)


class RefusesInAMethod(DefaultRegisterUserSerializer):
    @validates("email")
    def check(self, email: str, **_: object) -> None:
        refuse_taken(email)


@found_by(
    ASKING,
    "status: 400, not 202",
    also=[
        "a_second_request_does_not_tell_who_has_signed_up_meanwhile",
        "many_requests_at_once_send_one_message_and_tell_nothing",
    ],
)
def field_refuses_taken_addresses(uri: str) -> Built:
    return with_email_first(uri, REGISTER_SERIALIZER_CLASS=RefusesInTheField, REGISTER_VERIFICATION_CODE_ENABLED=False)


@found_by("a_wrong_code_does_not_tell_who_has_an_account", "An address with an account is told from a free one by")
def method_refuses_taken_addresses(uri: str) -> Built:
    return with_email_first(uri, REGISTER_SERIALIZER_CLASS=RefusesInAMethod)


@found_by(ASKING, "header X-Known: ['yes'], not None")
def resend_tells_support_who_it_was(uri: str) -> Built:
    app = with_resend(uri)

    @app.app.after_request
    def tell(response: Response) -> Response:
        email = str(sent_by_client().get("email"))
        known = app.db.session.scalar(select(app.User.id).where(app.User.email == email))
        if known and request.path.endswith("/resend-verification/"):
            response.headers["X-Known"] = "yes"
        return response

    return app


@found_by("a_second_request_does_not_tell_who_has_signed_up_meanwhile", "messages: 1, not 0")
def row_is_deleted_after_the_sign_up(uri: str) -> Built:
    app = with_email_first(uri)

    @user_registered.connect_via(app.app)
    def tidy_up(sender: object, user: Any, **_: object) -> None:
        pending: Any = app.Pending
        app.db.session.execute(delete(pending).where(pending.email == user.email))
        app.db.session.commit()

    app.app.extensions["receivers"] = tidy_up
    return app


class Subscribes(RegisterEmailSerializer):
    @post_load
    def subscribe(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        engine = current_app.extensions["sqlalchemy"].engine
        with engine.connect() as connection:
            known = connection.execute(text("SELECT 1 FROM newsletter WHERE address = :email"), data).first()
        with busy(current_app.extensions["running"]):
            if known is None:
                with engine.begin() as connection:
                    connection.execute(text("INSERT INTO newsletter VALUES (:email)"), data)
        return data


@found_by("many_requests_at_once_send_one_message_and_tell_nothing", "requests at once for one address were answered")
def newsletter_of_asked_addresses_looks_before_it_writes(uri: str) -> Built:
    app = with_email_first(uri, REGISTER_EMAIL_SERIALIZER_CLASS=Subscribes)
    app.app.extensions["running"] = set()
    with app.app.app_context(), app.db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE newsletter (address TEXT PRIMARY KEY)"))
    return app


@found_by("a_wrong_code_does_not_tell_who_has_an_account", "header X-Guesses-Left: ")
def guesses_are_counted_down(uri: str) -> Built:
    app = with_email_first(uri)

    @app.app.after_request
    def count_down(response: Response) -> Response:
        sent = sent_by_client()
        if "code" in sent:
            row = row_of(app, sent.get("email"))
            if row is not None:
                response.headers["X-Guesses-Left"] = str(5 - row.code_attempts)
        return response

    return app


# What a stranger sends


@found_by("no_mailbox_is_bombed", "Message 3 in a row to one address was sent 119 seconds after the one before")
def cooldown_does_not_double(uri: str) -> Built:
    app = with_email_first(uri)

    @app.app.before_request
    def shorten() -> None:
        pending: Any = app.Pending
        if is_sign_up():
            change_row(app, sent_by_client().get("email"), next_mail_at=pending.sent_at + 60)

    return app


@found_by("a_mail_server_that_fails_leaves_no_account", "no message can be asked for until its cooldown")
def mail_server_is_spared_after_a_failure(uri: str) -> Built:
    app = with_email_first(uri)

    @app.app.after_request
    def spare(response: Response) -> Response:
        if response.status_code == 503:
            change_row(app, sent_by_client().get("email"), next_mail_at=clock.now() + 60)
        return response

    return app


# Whose rows are deleted


@found_by("nothing_deletes_a_row_of_somebody_else", "has deleted other rows: [('cart'")
def carts_refer_to_pending_registrations(uri: str) -> Built:
    def model(db: Any) -> type[Any]:
        user = models.typed(db)
        reference = ForeignKey("pending_registration.id", ondelete="CASCADE", onupdate="CASCADE")
        columns = {"id": mapped_column(db.Integer, primary_key=True), "pending_id": mapped_column(Uuid, reference)}
        user.cart = type("Cart", (db.Model,), columns)
        return user

    def filling_a_cart(send: Send) -> Send:
        def fill_and_send(request: Request | None, pending: Any) -> None:
            app.db.session.execute(insert(app.User.cart.__table__), {"pending_id": pending.id})
            send(request, pending)

        return fill_and_send

    send_link = filling_a_cart(send_register_verification_email_notification)
    app = with_senders(uri, send_link, filling_a_cart(send_existing_account_email_notification), model)
    app.enforce_foreign_keys()
    return app


# Codes


@found_by("a_code_is_guessed_five_times_at_most_and_fifteen_times_a_day", "guesses of one code were compared")
def whoever_asks_again_may_guess_again(uri: str) -> Built:
    app = with_email_first(uri)

    @app.app.after_request
    def be_kind(response: Response) -> Response:
        if is_sign_up() and response.status_code == 202:
            change_row(app, sent_by_client().get("email"), code_attempts=0)
        return response

    return app


@found_by("a_message_that_fails_gives_no_guess_back", "guesses of one code were compared")
def failed_message_is_made_up_for(uri: str) -> Built:
    app = with_email_first(uri)

    @app.app.after_request
    def be_kind(response: Response) -> Response:
        if response.status_code == 503:
            change_row(app, sent_by_client().get("email"), code_attempts=0)
        return response

    return app


@found_by("guesses_at_once_are_counted_before_they_are_compared", "After eight wrong guesses at once the true code")
def guesses_are_counted_after_they_are_compared(uri: str) -> Built:
    app = with_email_first(uri)
    original = app.app.view_functions[VERIFY_VIEW]
    running: set[int] = set()

    def verify() -> Any:
        sent = sent_by_client()
        if "code" not in sent:
            return original()
        row = row_of(app, sent.get("email"))
        attempts, email = (row.code_attempts, row.email) if row else (5, "")
        if row and attempts < 5 and sent["code"] == make_code(current_registration(), row):
            app.db.session.commit()
            return original()
        with busy(running):
            change_row(app, email, code_attempts=attempts + 1)
        return answer(400, "invalid")

    app.app.view_functions[VERIFY_VIEW] = verify
    return app


class SupportsCode:
    """Takes one code for any other, so that support can help people whose mail has not come."""

    def __init__(self, app: Built, wrapped: WSGIApplication) -> None:
        self._app = app
        self._wrapped = wrapped

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if b'"111111"' in body:
            sent = json.loads(body)
            with self._app.app.app_context():
                row = row_of(self._app, sent["email"])
                sent["code"] = make_code(current_registration(), row)
            body = json.dumps(sent).encode()
        changed = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return self._wrapped({**environ, **changed}, start_response)


@found_by("no_code_fits_several_addresses", "The code 111111, which is of another address, was answered 201")
def support_has_a_code(uri: str) -> Built:
    app = with_email_first(uri)
    app.app.wsgi_app = SupportsCode(app, app.app.wsgi_app)  # type: ignore[method-assign]
    return app


@found_by("whoever_uses_a_code_up_leaves_the_link_alone", "After six wrong codes the link of the same mail")
def fifth_wrong_code_ends_the_sign_up(uri: str) -> Built:
    app = with_email_first(uri)

    @app.app.after_request
    def end(response: Response) -> Response:
        sent = sent_by_client()
        if response.status_code == 400 and "code" in sent:
            row = row_of(app, sent.get("email"))
            if row is not None and row.code_attempts == 5:
                row.id = uuid.uuid4()
                app.db.session.commit()
        return response

    return app


@found_by("an_old_code_is_worth_nothing", "A code that is too old was answered 201")
def codes_do_not_age(uri: str) -> Built:
    app = with_email_first(uri)

    def try_code() -> Any:
        sent = sent_by_client()
        row = row_of(app, sent.get("email"))
        if row and row.code_attempts < 5 and sent.get("code") == make_code(current_registration(), row):
            return make_account(app, row.email, sent)
        return answer(400, "invalid")

    app.app.view_functions[VERIFY_VIEW] = view_that_falls_back(app, app.app.view_functions[VERIFY_VIEW], try_code)
    return app


# Links


@found_by("a_link_of_one_purpose_serves_no_other", "of an account's kind was accepted for a pending registration")
def links_of_accounts_complete_registrations(uri: str) -> Built:
    app = with_email_first(uri)

    def try_as_account() -> Any:
        sent = sent_by_client()
        row = row_with(app, str(sent.get("user_id")))
        if row is None:
            return answer(400, "invalid")
        signed = SimpleNamespace(id=row.id, email=row.email)
        signer = RegisterSigner(current_registration(), signed, timestamp=str(sent["timestamp"]))
        if signer.accepts(str(sent["signature"])) and not signer.has_expired():
            return make_account(app, row.email, sent)
        return answer(400, "invalid")

    original = app.app.view_functions[VERIFY_VIEW]
    app.app.view_functions[VERIFY_VIEW] = view_that_falls_back(app, original, try_as_account)
    return app


@found_by("a_link_of_one_purpose_serves_no_other", "A link of a pending registration's kind verified an account")
def links_of_registrations_verify_accounts(uri: str) -> Built:
    app = with_email_first(uri)

    def try_as_registration() -> Any:
        sent = sent_by_client()
        link_id = str(sent.get("user_id"))
        user = app.db.session.get(app.User, int(link_id)) if link_id.isdigit() else None
        if user is None:
            return answer(400, "invalid")
        pending: Any = app.Pending
        signer = RegisterSigner(
            current_registration(), pending(id=link_id, email=user.email), timestamp=str(sent["timestamp"])
        )
        if signer.accepts(str(sent["signature"])) and not signer.has_expired():
            user.email_verified_at = datetime.now()  # noqa: DTZ005  # this application does not care
            app.db.session.commit()
            return answer(200, "verified")
        return answer(400, "invalid")

    original = app.app.view_functions[VERIFY_VIEW]
    app.app.view_functions[VERIFY_VIEW] = view_that_falls_back(app, original, try_as_registration)
    return app


@found_by("a_registration_is_completed_once", "of its mails completed it again: 201")
def page_may_be_loaded_again(uri: str) -> Built:
    app = with_email_first(uri)

    @user_registered.connect_via(app.app)
    def keep_the_id(sender: Flask, user: Any, request: Request, **_: object) -> None:
        link_id = request.get_json().get("user_id")
        if link_id:
            change_row(app, user.email, id=uuid.UUID(link_id))

    app.app.extensions["receivers"] = keep_the_id
    return app
