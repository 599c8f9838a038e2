"""The floor: sign-up with e-mail verification written by hand, the way a good Flask developer writes it.

It does what the package does for one model and one configuration: there are no settings, no hooks and no signals, and
what is known here is a constant. It is as careful with strangers' input as the package: the unique columns decide what
is taken, every link that is not true gets the same answer, and one conditional UPDATE activates an account once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import unicodedata
from datetime import datetime, timezone
from typing import Any, cast
from urllib.parse import urlencode

from email_validator import EmailNotValidError, validate_email
from flask import Blueprint, Response, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_mail import Message
from itsdangerous import Signer
from sides import VERIFICATION_PERIOD, VERIFICATION_URL, User, db, mail, near_free_hash, real_hash
from sqlalchemy import CursorResult
from sqlalchemy.exc import IntegrityError
from zxcvbn_rs_py import zxcvbn

accounts = Blueprint("accounts", __name__, url_prefix="/accounts")


@accounts.post("/register/")
def register() -> ResponseReturnValue:
    """Make an account and mail its link."""
    sent = request.get_json()
    values, errors = validate_registration(sent)
    if errors:
        return invalid(errors)
    hash_password = near_free_hash if current_app.config["NEAR_FREE"] else real_hash
    user = User(email=values["email"], username=values["username"], password_hash=hash_password(values["password"]))
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        return invalid(what_is_taken(user))
    send_verification_mail(user)
    # Before the COMMIT, after which reading an attribute would be one more SELECT.
    body = {"id": user.id, "email": user.email, "username": user.username}
    db.session.commit()
    return jsonify(body), 201


@accounts.post("/verify-registration/")
def verify_registration() -> ResponseReturnValue:
    """Activate the account of a link."""
    sent = request.get_json()
    errors = validate_link(sent)
    if errors:
        return invalid(errors)
    user_id, timestamp = str(sent["user_id"]), str(sent["timestamp"])
    user = find_user(user_id)
    # A stranger must not learn by the time of an answer which accounts there are: the signature is always made.
    expected = signature_of(user_id, timestamp, user.email if user else "")
    if not hmac.compare_digest(expected.encode(), sent["signature"].encode("utf-8", "replace")) or user is None:
        return refusal("signature-invalid", "The link is not valid.")
    if time.time() - int(timestamp) > VERIFICATION_PERIOD.total_seconds():
        return refusal("signature-expired", "The link has expired.")
    if user.email_verified_at is None:
        # One conditional UPDATE, so that of two requests at once one activates, and only for the address of the link.
        # The object is not used afterwards: keeping it in step would double the statement's time.
        activation = (
            db.update(User)
            .where(User.id == user.id, User.email == user.email, User.email_verified_at.is_(None))
            .values(email_verified_at=datetime.now(timezone.utc).replace(tzinfo=None))
            .execution_options(synchronize_session=False)
        )
        activated = cast("CursorResult[Any]", db.session.execute(activation))  # what an UPDATE gives
        if activated.rowcount != 1:
            db.session.rollback()
            return refusal("signature-invalid", "The link is not valid.")
        db.session.commit()
    return jsonify(detail="User verified successfully")


@accounts.after_request
def forbid_storing(response: Response) -> Response:
    """Keep personal data out of caches."""
    response.headers["Cache-Control"] = "no-store"
    return response


def validate_registration(sent: Any) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Check what a stranger sent; give the values to store, and what is wrong by field."""
    names = ("email", "username", "password", "password_confirm")
    if not isinstance(sent, dict):
        return {}, {"_schema": ["Not an object."]}
    errors = {name: ["This field is not known."] for name in sent if name not in names}
    errors |= {name: ["Not a text."] for name in names if not isinstance(sent.get(name), str)}
    if errors:
        return {}, errors
    values = {"username": unicodedata.normalize("NFKC", sent["username"]), "password": sent["password"]}
    try:
        address = validate_email(sent["email"], check_deliverability=False, allow_smtputf8=False)
        values["email"] = address.normalized.lower()
    except EmailNotValidError:
        errors["email"] = ["Not an e-mail address."]
    if not values["username"].strip() or len(values["username"]) > 40:
        errors["username"] = ["Not between 1 and 40 characters."]
    if sent["password"] != sent["password_confirm"]:
        errors["password_confirm"] = ["The two passwords are not the same."]
    if not 8 <= len(sent["password"]) <= 256:
        errors["password"] = ["Not between 8 and 256 characters."]
    elif not current_app.config["NEAR_FREE"] and int(zxcvbn(sent["password"][:32], [sent["username"]]).score) < 3:
        errors["password"] = ["Easy to guess."]
    return values, errors


def validate_link(sent: Any) -> dict[str, list[str]]:
    """Say what is wrong with what the link's page sent, by field."""
    if not isinstance(sent, dict):
        return {"_schema": ["Not an object."]}
    errors = {name: ["Not a text or a number."] for name in ("user_id", "timestamp") if not is_link_value(sent, name)}
    if not isinstance(sent.get("signature"), str):
        errors["signature"] = ["Not a text."]
    return errors


def is_link_value(sent: dict[str, Any], name: str) -> bool:
    """Tell whether a value may be a part of a link."""
    value = sent.get(name)
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def find_user(user_id: str) -> User | None:
    """Load the account that a link names."""
    if not (user_id.isascii() and user_id.isdigit() and len(user_id) < 19):
        return None
    return db.session.get(User, int(user_id))


def what_is_taken(user: User) -> dict[str, list[str]]:
    """Ask the database what was in the way of an INSERT."""
    taken = db.session.execute(
        db.select(User.email, User.username).where((User.email == user.email) | (User.username == user.username))
    ).all()
    errors = {}
    if any(row.email == user.email for row in taken):
        errors["email"] = ["This e-mail address already has an account."]
    if any(row.username == user.username for row in taken):
        errors["username"] = ["This is already taken. Choose another one."]
    return errors


def send_verification_mail(user: User) -> None:
    """Render and send the mail with the link."""
    user_id, now = str(user.id), int(time.time())
    signed = {"user_id": user_id, "timestamp": str(now), "signature": signature_of(user_id, str(now), user.email)}
    context = {
        "site": "frontend.example",
        "verification_url": f"{VERIFICATION_URL}?{urlencode(signed)}",
        "valid_for": f"{VERIFICATION_PERIOD.days} days",
    }
    message = Message(
        subject="Confirm your e-mail address for frontend.example",
        recipients=[user.email],
        body=render_template("floor/body.txt", **context),
        html=render_template("floor/body.html", **context),
        extra_headers={"Auto-Submitted": "auto-generated"},
    )
    mail.send(message)


def signature_of(user_id: str, timestamp: str, email: str) -> str:
    """Sign the values of a link."""
    signer = Signer(
        current_app.config["SECRET_KEY"],
        salt="verify-registration",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
    return signer.get_signature(json.dumps([user_id, timestamp, email])).decode()


def invalid(errors: dict[str, list[str]]) -> ResponseReturnValue:
    """Answer wrong input."""
    return jsonify(detail="The data is not valid.", code="invalid", errors=errors), 400


def refusal(code: str, detail: str) -> ResponseReturnValue:
    """Answer a link that is of no use."""
    return jsonify(detail=detail, code=code), 400
