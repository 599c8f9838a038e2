"""Which settings contradict each other, as far as the settings alone show it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from .definitions import LINK_SENDER, LOGIN_HANDLER, NOTICE_SENDER, is_default, is_ours

#: The settings that need the table of pending registrations.
PENDING_SWITCHES = ("REGISTER_EMAIL_FIRST", "REGISTER_VERIFICATION_RESEND_ENABLED")

#: Settings of earlier versions, with what replaces them.
REMOVED = {
    "REGISTER_RECLAIM_ENABLED": "with REGISTER_EMAIL_FIRST a stranger's sign-up never takes an address",
    "REGISTER_HIDE_EXISTING_EMAIL": "REGISTER_EMAIL_FIRST answers everybody alike",
    "REGISTER_PASSWORD_AT": "with REGISTER_EMAIL_FIRST the password is chosen by whoever reads the mail",
    "REGISTER_REJECTION_URL": "with REGISTER_EMAIL_FIRST there is no account to reject before the address is proven",
    "USER_VERIFICATION_SENT_AT_FIELD": "the table of PENDING_REGISTRATION_MODEL has the time of the last mail",
    "USER_NOTICE_SENT_AT_FIELD": "the table of PENDING_REGISTRATION_MODEL has the time of the last mail",
}


def find_contradictions(values: Mapping[str, Any], given: Mapping[str, object]) -> Iterator[str]:
    """Yield one sentence, with its fix, for each contradiction.

    :param values: every setting, defaults filled in and the package's own paths imported.
    :param given: only what the developer set.
    """
    renders_link = is_ours(values["REGISTER_VERIFICATION_EMAIL_SENDER"])
    renders_notice = is_ours(values["REGISTER_EXISTING_EMAIL_SENDER"])
    lacks_url = "REGISTER_VERIFICATION_URL" not in given
    if lacks_url and values["REGISTER_VERIFICATION_ENABLED"] and renders_link:
        yield (
            "REGISTER_VERIFICATION_URL is missing. Fix: give the page behind the link, such as 'https://example.com/verify/',"
            " switch REGISTER_VERIFICATION_ENABLED off, or give a REGISTER_VERIFICATION_EMAIL_SENDER of your own."
        )
    if (
        lacks_url
        and values["SITE_NAME"] is None
        and values["REGISTER_EMAIL_FIRST"]
        and renders_notice
        and not renders_link
    ):
        yield (
            "REGISTER_VERIFICATION_URL is missing: the notice to account holders names the site by it. Fix: give it or"
            " SITE_NAME, or give a REGISTER_EXISTING_EMAIL_SENDER of your own."
        )
    if (
        values["REGISTER_VERIFICATION_AUTO_LOGIN"]
        and is_default(values["LOGIN_HANDLER"], LOGIN_HANDLER)
        and importlib.util.find_spec("flask_login") is None
    ):
        yield (
            "REGISTER_VERIFICATION_AUTO_LOGIN needs Flask-Login, which is not installed. Fix: run"
            " pip install 'flask-rest-registration[login]', or give a LOGIN_HANDLER."
        )
    yield from _contradictions_of_pending(values, given)


def _contradictions_of_pending(values: Mapping[str, Any], given: Mapping[str, object]) -> Iterator[str]:
    email_first, resend_enabled = (values[name] for name in PENDING_SWITCHES)
    code_enabled = values["REGISTER_VERIFICATION_CODE_ENABLED"]
    cooldown, period = values["REGISTER_VERIFICATION_RESEND_COOLDOWN"], values["REGISTER_VERIFICATION_PERIOD"]
    code_period = values["REGISTER_VERIFICATION_CODE_PERIOD"]
    for name in (*PENDING_SWITCHES, "REGISTER_VERIFICATION_CODE_ENABLED"):
        if values[name] and not values["REGISTER_VERIFICATION_ENABLED"]:
            yield (
                f"{name} is True, which is about proving an address, and REGISTER_VERIFICATION_ENABLED is False. Fix:"
                f" remove {name}, or switch verification on."
            )
    if (email_first or resend_enabled or "REGISTER_VERIFICATION_RESEND_COOLDOWN" in given) and cooldown >= period:
        yield (
            f"REGISTER_VERIFICATION_RESEND_COOLDOWN is {cooldown}, not shorter than REGISTER_VERIFICATION_PERIOD,"
            f" {period}: nobody could replace a lost link while it lives. Fix: give a shorter one, or a longer period."
        )
    if (code_enabled or "REGISTER_VERIFICATION_CODE_PERIOD" in given) and code_period > period:
        yield (
            f"REGISTER_VERIFICATION_CODE_PERIOD is {code_period}, which is longer than REGISTER_VERIFICATION_PERIOD"
            f" ({period}): a code would outlive the link beside it. Fix: give a shorter period of the code."
        )
    if code_enabled and not email_first:
        yield (
            "REGISTER_VERIFICATION_CODE_ENABLED needs REGISTER_EMAIL_FIRST: a code completes a registration, and an"
            " account that is made at sign-up has a link only. Fix: switch REGISTER_EMAIL_FIRST on, or remove it."
        )
    if email_first and resend_enabled:
        yield (
            "REGISTER_VERIFICATION_RESEND_ENABLED is not needed with REGISTER_EMAIL_FIRST, where whoever sends the"
            " address to register/ again gets another mail. Fix: remove it."
        )
    link, notice = "REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"
    has_own_link, has_own_notice = (
        not is_default(values[link], LINK_SENDER),
        not is_default(values[notice], NOTICE_SENDER),
    )
    if email_first and has_own_link != has_own_notice:
        own, default = (link, notice) if has_own_link else (notice, link)
        yield (
            f"{own} is your own and {default} is not: two ways of sending take different times, and tell a stranger who"
            f" has an account. Fix: give {default} too, a sender that goes the same way."
        )
