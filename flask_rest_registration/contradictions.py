"""Which settings do not go together, as far as the settings alone tell."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

#: The key of ``app.config`` that holds the dict of settings, and the prefix of the flat keys.
CONFIG_KEY = "REST_REGISTRATION"

#: The module whose senders queue the mails, for dotted paths.
CELERY_MODULE = f"{__package__}.contrib.celery"

#: The settings that let something happen to a claim, which need a column that tells claims from other accounts.
CLAIM_SWITCHES = (
    "REGISTER_VERIFICATION_RESEND_ENABLED",
    "REGISTER_RECLAIM_ENABLED",
    "REGISTER_HIDE_EXISTING_EMAIL",
    "REGISTER_PASSWORD_AT",
    "REGISTER_REJECTION_URL",
)


def queues_mails(values: Mapping[str, object]) -> bool:
    """Tell whether a dotted path leads to a sender that queues mails.

    :param values: every setting by name.
    """
    names = ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER")
    return any(str(values[name]).startswith(f"{CELERY_MODULE}.") for name in names)


def is_switched_on(value: object) -> bool:
    """Tell whether one of the settings about claims is in use.

    :param value: the value of one of ``CLAIM_SWITCHES``.
    """
    return value not in {False, None, "register"}


def contradictions(
    values: Mapping[str, Any],
    given: Mapping[str, object],
    *,
    renders_link: bool,
    renders_notice: bool,
    logs_in_by_default: bool,
) -> list[str]:
    """Find the settings that contradict each other.

    :param values: every setting by name, defaults filled in.
    :param given: what the developer wrote of them.
    :param renders_link: whether the verification mail is the package's own.
    :param renders_notice: whether notices to the owners of accounts would be the package's own.
    :param logs_in_by_default: whether the log-in after a verification is Flask-Login's.
    :returns: for each contradiction one sentence with its mend.
    """
    faults = [
        *_missing_urls(values, given, renders_link=renders_link, renders_notice=renders_notice),
        *_missing_packages(values, logs_in_by_default=logs_in_by_default),
        *_needless_without_verification(values),
        *_contradictions_of_claims(values, given),
    ]
    return [f"{CONFIG_KEY} setting {fault}" for fault in faults]


def _missing_urls(
    values: Mapping[str, Any], given: Mapping[str, object], *, renders_link: bool, renders_notice: bool
) -> Iterator[str]:
    if "REGISTER_VERIFICATION_URL" in given:
        return
    if values["REGISTER_VERIFICATION_ENABLED"] and renders_link:
        yield (
            "REGISTER_VERIFICATION_URL is missing: give the URL of the page that the link in the mail leads to, such"
            " as 'https://example.com/verify-user/', or switch REGISTER_VERIFICATION_ENABLED off, or give a"
            " REGISTER_VERIFICATION_EMAIL_SENDER of your own."
        )
    if values["REGISTER_HIDE_EXISTING_EMAIL"] and renders_notice and not renders_link:
        yield (
            "REGISTER_VERIFICATION_URL is missing: the notice to the owners of existing accounts names the site by it."
            " Give it, or give a REGISTER_EXISTING_EMAIL_SENDER of your own."
        )


def _missing_packages(values: Mapping[str, Any], *, logs_in_by_default: bool) -> Iterator[str]:
    if (
        values["REGISTER_VERIFICATION_AUTO_LOGIN"]
        and logs_in_by_default
        and importlib.util.find_spec("flask_login") is None
    ):
        yield (
            "REGISTER_VERIFICATION_AUTO_LOGIN needs Flask-Login, which is not installed: run"
            " pip install 'flask-rest-registration[login]', or give a LOGIN_HANDLER."
        )
    if queues_mails(values) and importlib.util.find_spec("celery") is None:
        yield (
            f"REGISTER_VERIFICATION_EMAIL_SENDER or REGISTER_EXISTING_EMAIL_SENDER is in {CELERY_MODULE}, which needs"
            " Celery, and that is not installed: run pip install 'flask-rest-registration[celery]', or give another"
            " sender."
        )


def _needless_without_verification(values: Mapping[str, Any]) -> Iterator[str]:
    if values["REGISTER_VERIFICATION_ENABLED"]:
        return
    for name in CLAIM_SWITCHES:
        if is_switched_on(values[name]):
            yield (
                f"{name} is about accounts that wait for their verification, and REGISTER_VERIFICATION_ENABLED is"
                f" False: remove {name}, or switch verification on."
            )


def _contradictions_of_claims(values: Mapping[str, Any], given: Mapping[str, object]) -> Iterator[str]:
    resends, hides = values["REGISTER_VERIFICATION_RESEND_ENABLED"], values["REGISTER_HIDE_EXISTING_EMAIL"]
    cooldown, period = values["REGISTER_VERIFICATION_RESEND_COOLDOWN"], values["REGISTER_VERIFICATION_PERIOD"]
    if (resends or hides or "REGISTER_VERIFICATION_RESEND_COOLDOWN" in given) and cooldown >= period:
        yield (
            f"REGISTER_VERIFICATION_RESEND_COOLDOWN is {cooldown}, which is not shorter than"
            f" REGISTER_VERIFICATION_PERIOD ({period}): whoever lost a link could not get another one while it lives."
            " Give a shorter cooldown or a longer period."
        )
    if resends and values["REGISTER_RECLAIM_ENABLED"] and values["REGISTER_REJECTION_URL"] is None:
        yield (
            "REGISTER_VERIFICATION_RESEND_ENABLED together with REGISTER_RECLAIM_ENABLED needs REGISTER_REJECTION_URL:"
            " a stranger who asks for the link again and again keeps his claim to somebody else's address young, and"
            " the second link in these mails is the owner's way out."
        )
    if hides and values["REGISTER_PASSWORD_AT"] != "verify":  # noqa: S105  # the name of an endpoint
        yield (
            "REGISTER_HIDE_EXISTING_EMAIL needs REGISTER_PASSWORD_AT 'verify': else the owner of an address, who is"
            " told nothing, verifies a stranger's claim with the stranger's password."
        )
    if hides and "REGISTER_OUTPUT_SERIALIZER_CLASS" in given:
        yield (
            "REGISTER_OUTPUT_SERIALIZER_CLASS is never used while REGISTER_HIDE_EXISTING_EMAIL is on, since what it"
            " shows would tell a new account from an old one: remove one of the two."
        )
