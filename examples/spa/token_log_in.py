"""Logging in by a token, which the front end sends as ``Authorization: Bearer``.

A token says who it is for and when it was made, signed with ``SECRET_KEY``. The server keeps no list of tokens, so that
one works until it is an hour old, also after the log-out: the front end forgets it then. The account is looked up at
each request; once it is deleted or its flag is cleared, the token opens nothing.
"""

from __future__ import annotations

from flask import Blueprint, Request, Response, current_app, request
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, URLSafeTimedSerializer
from log_in import WRONG, find_account
from models import User, db

LIFETIME = 3600  # seconds

api = Blueprint("token_log_in", __name__, url_prefix="/api/v1")


def give_token(request: Request, user: User) -> dict[str, str]:
    """Make a token for an account; ``LOGIN_HANDLER`` of the registration, whose answer gets it."""
    return {"token": _serializer().dumps(user.id)}


@api.post("/log-in/")
def log_in() -> ResponseReturnValue:
    try:
        body = request.get_json(silent=True)
    except RecursionError:  # brackets that are nested too deep
        body = None
    given = [body.get(name) if isinstance(body, dict) else None for name in ("email", "password")]
    # Half a surrogate pair is a str in JSON, and no text that a password could be hashed from.
    address, password = (value.encode(errors="replace").decode() if isinstance(value, str) else "" for value in given)
    user = find_account(address, password)
    if user is None:
        return {"detail": WRONG, "code": "log-in-refused"}, 403
    if user.email_verified_at is None:
        return {"detail": "Confirm your address first.", "code": "not-verified"}, 403
    return give_token(request, user)


@api.get("/me")
def me() -> ResponseReturnValue:
    user = _user_of_token()
    if user is None:
        refusal = {"detail": "Your session has ended. Please log in again.", "code": "token-invalid"}
        return refusal, 401, {"WWW-Authenticate": "Bearer"}
    return {"email": user.email, "username": user.username}


@api.after_request
def keep_private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _user_of_token() -> User | None:
    header = request.authorization
    if header is None or header.type != "bearer" or not header.token:
        return None
    try:
        user_id = _serializer().loads(header.token, max_age=LIFETIME)
    except BadSignature:  # and SignatureExpired, which is one
        return None
    user = db.session.get(User, user_id)
    return user if user and user.email_verified_at else None


def _serializer() -> URLSafeTimedSerializer:
    # The salt keeps other things that are signed with this key, such as the links in mails, from passing for tokens.
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="log-in token")
