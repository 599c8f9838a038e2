"""Attacks on addresses that belong to somebody else."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from ...signers import RejectionSigner
from ..bodies import new_address
from ..target import REGISTER, Target, told

RESEND, REJECT = "resend-verification/", "reject-registration/"


def _visible(answer: TestResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    return answer.status_code, answer.data, sorted((name, text) for name, text in answer.headers if name != "Date")


def test_a_sign_up_does_not_tell_who_has_an_account(registration_target: Target) -> None:
    """With REGISTER_HIDE_EXISTING_EMAIL a stranger cannot ask for addresses: status, body and headers are the same.

    Mend: let after_request functions, receivers of user_registered and error handlers of yours add nothing to the
    answer of register/ that depends on whether an account was made.
    """
    target = registration_target
    target.need(target.settings.register_hide_existing_email, "REGISTER_HIDE_EXISTING_EMAIL is off")
    target.sign_up()
    body = target.body()
    free = target.post(REGISTER, body)
    claimed = target.post(REGISTER, {**target.body(), target.email_name: body[target.email_name]})
    target.verify(target.link(str(body[target.email_name]).lower()))
    owned = target.post(REGISTER, {**target.body(), target.email_name: body[target.email_name]})
    for answer in (claimed, owned):
        target.expect(
            _visible(answer) == _visible(free),
            f"A free address was answered {_visible(free)}, a taken one {_visible(answer)}.",
        )


def test_a_stranger_prepares_no_password_for_an_address_that_is_not_his(registration_target: Target) -> None:
    """Hostile sign-up: a stranger signs up with the victim's address and his password; the owner verifies it.

    The account is then the owner's and the stranger's (better-auth #11023). Mend: with REGISTER_PASSWORD_AT "verify"
    the owner chooses the password; keep your receivers from writing one that came with the sign-up.
    """
    target = registration_target
    target.need(
        target.settings.password_at_verification,
        'REGISTER_PASSWORD_AT is "register": whoever signs up with somebody else\'s address chooses its password',
    )
    address = target.sign_up()
    columns = [column.name for column in target.model.password_columns]
    prepared = target.row(address) or {}
    answer = target.verify(target.link(address))
    target.expect(answer.status_code == 200, f"The owner's verification was answered {told(answer)}.")
    owned = target.row(address) or {}
    kept = [name for name in columns if owned[name] == prepared[name]]
    target.expect(not kept, f"What the stranger's sign-up left in {kept} is still the password after the verification.")


def test_a_resend_does_not_tell_who_has_an_account(registration_target: Target) -> None:
    """A stranger asks for links to many addresses, and reads from the answers which of them have accounts.

    Mend: let after_request functions and error handlers of yours treat all answers of resend-verification/ alike.
    """
    target = registration_target
    target.need(target.settings.register_verification_resend_enabled, "REGISTER_VERIFICATION_RESEND_ENABLED is off")
    answers = [_visible(target.post(RESEND, {"email": address})) for address in (new_address(), target.sign_up())]
    target.expect(answers[0] == answers[1], f"Without an account: {answers[0]}, with one: {answers[1]}.")


def test_a_link_of_one_purpose_serves_no_other(registration_target: Target) -> None:
    """A link "this was not me" must not verify, one that verifies must not delete (CVE-2026-9087 in Keycloak).

    Mend: do not replace the extension's views; sign links of your own with a salt of their own.
    """
    target = registration_target
    target.need(target.settings.register_rejection_url, "REGISTER_REJECTION_URL is not set")
    address = target.sign_up()
    answers: list[Any] = [
        target.verify(target.link(address, kind=RejectionSigner)),
        target.post(REJECT, target.link(address)),
    ]
    statuses = [answer.status_code for answer in answers]
    target.expect(
        statuses == [400, 400] and target.row(address) and not target.is_verified(address),
        f"Each other's links were answered {statuses} by verification and rejection.",
    )
    answer = target.post(REJECT, target.link(address, kind=RejectionSigner))
    target.expect(target.row(address) is None, f'A true link "this was not me" was answered {told(answer)}.')
