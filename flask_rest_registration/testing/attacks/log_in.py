"""Attacks where the log-in and the registration of an application meet."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from ..bodies import new_password, with_password
from ..target import RESEND, VERIFY, Target, summary


def test_the_chosen_password_opens_the_account_once_it_is_verified(
    registration_target: Target, registration_login: Callable[[str, str], bool] | None
) -> None:
    """Sign-up and log-in disagree: people verify and never get in, or a stranger gets in who has verified nothing.

    Nothing else shows it: all answers are 201 and 200. Fix: let PASSWORD_HASHER make what your log-in reads (a log-in
    by bcrypt or argon2 needs a hasher of the same), and nothing hash twice; let the log-in find the account by
    normalize_email(), and refuse while the verification flag is unset.
    """
    target, log_in = registration_target, registration_login
    if log_in is None:
        pytest.skip("define a fixture registration_login that returns a function login(email, password) -> bool")

    def opens(email: str, password: str) -> bool:
        raised = None
        try:
            is_in = log_in(email, password)
        except Exception as error:  # whatever a library makes of a hash of another kind
            is_in, raised = False, error
        target.expect(raised is None, f"The log-in raises {type(raised).__name__}: {raised}.")
        return is_in

    password = new_password()
    body = with_password(target.body(), password)
    target.need(password in body.values(), "a sign-up has no field 'password'")
    address = target.start(body)
    if target.settings.register_verification_enabled:
        target.expect(not opens(address, password), "The log-in opens an account that is not verified.")
        target.verify({**with_password(target.fields(), password), **target.link(address)})
    for typed in (address, address.upper()):
        target.expect(opens(typed, password), f"The log-in as {typed} refuses the chosen password.")
    for guess in ("", new_password(), password.upper()):
        target.expect(not opens(address, guess), f"The log-in accepts another password, {guess!r}.")


def test_whoever_is_logged_in_and_not_verified_can_verify(registration_target: Target) -> None:
    """A gate of yours sends people who are logged in and not verified away from all pages, also from their link.

    The page behind the link gets a redirect in place of an answer, and nobody gets out again. Fix: at the top of that
    before_request function, return None where request.blueprint is "rest_registration".
    """
    target = registration_target
    target.need_verification()
    target.need(not target.is_email_first, "REGISTER_EMAIL_FIRST is on: without verification there is no account")
    address, client = target.start(), target.app.test_client()
    with target.account(address) as user:
        key = sa.inspect(user, raiseerr=True).identity[0]
        name = user.get_id() if hasattr(user, "get_id") else str(key)
    with client.session_transaction(**target.place) as session:
        session.update({"_user_id": name, "_fresh": True, "user_id": key})  # of Flask-Login; as Flask's tutorial does
    requests = {RESEND: target.email_body(address)} if target.state.pending else {}
    for path, body in {**requests, VERIFY: target.link(address)}.items():
        answer = target.post(path, body, client)
        who = "somebody who is logged in and not verified"
        target.expect(answer.status_code in {200, 202}, f"{path} answered {who}: {summary(answer)}.")
