"""Which settings do not go together, as far as the settings alone tell."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

#: The key of ``app.config`` that holds the dict of settings, and the prefix of the flat keys.
CONFIG_KEY = "REST_REGISTRATION"

#: The module whose senders queue the mails, for dotted paths.
CELERY_MODULE = "flask_rest_registration.contrib.celery"

#: The settings that need the table of pending registrations.
PENDING_SWITCHES = ("REGISTER_EMAIL_FIRST", "REGISTER_VERIFICATION_RESEND_ENABLED")

_VERIFICATION_SWITCHES = (*PENDING_SWITCHES, "REGISTER_VERIFICATION_CODE_ENABLED")

_INSTEAD_OF_GONE = {
    "REGISTER_RECLAIM_ENABLED": "with REGISTER_EMAIL_FIRST a stranger's sign-up never takes an address",
    "REGISTER_HIDE_EXISTING_EMAIL": "REGISTER_EMAIL_FIRST answers everybody alike",
    "REGISTER_PASSWORD_AT": "with REGISTER_EMAIL_FIRST the password is chosen by whoever reads the mail",
    "REGISTER_REJECTION_URL": "with REGISTER_EMAIL_FIRST there is no account to reject before the address is proven",
    "USER_VERIFICATION_SENT_AT_FIELD": "the table of PENDING_REGISTRATION_MODEL has the time of the last message",
    "USER_NOTICE_SENT_AT_FIELD": "the table of PENDING_REGISTRATION_MODEL has the time of the last message",
}


def gone(name: str) -> str | None:
    """Say what takes the place of a setting that is gone.

    :param name: the name that the developer wrote.
    :returns: a sentence with the fix, or None for any other name.
    """
    instead = _INSTEAD_OF_GONE.get(name)
    return instead and f"{CONFIG_KEY} setting {name} is gone: {instead}. Fix: remove it."


def queues_mails(values: Mapping[str, object]) -> bool:
    """Tell whether a dotted path leads to a sender that queues mails.

    :param values: every setting by name.
    """
    names = ("REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER")
    return any(str(values[name]).startswith(f"{CELERY_MODULE}.") for name in names)


def contradictions(
    values: Mapping[str, Any],
    given: Mapping[str, object],
    *,
    renders_link: bool,
    renders_notice: bool,
    own_link_sender: bool,
    own_notice_sender: bool,
    logs_in_by_default: bool,
) -> list[str]:
    """Find the settings that contradict each other.

    :param values: every setting by name, defaults filled in.
    :param given: what the developer wrote of them.
    :param renders_link: whether the verification mail is the package's own.
    :param renders_notice: whether notices to the owners of accounts would be the package's own.
    :param own_link_sender: whether the sender of the verification mail is another than the default.
    :param own_notice_sender: whether the sender of the notice is another than the default.
    :param logs_in_by_default: whether the log-in after a verification is Flask-Login's.
    :returns: for each contradiction one sentence with its fix.
    """
    faults = [
        *_missing_urls(values, given, renders_link=renders_link, renders_notice=renders_notice),
        *_missing_packages(values, logs_in_by_default=logs_in_by_default),
        *_needless_without_verification(values),
        *_contradictions_of_pending(values, given),
        *_senders_that_differ(values, own_link_sender=own_link_sender, own_notice_sender=own_notice_sender),
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
    if values["REGISTER_EMAIL_FIRST"] and renders_notice and not renders_link:
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
    for name in _VERIFICATION_SWITCHES:
        if values[name]:
            yield (
                f"{name} is True, which is about proving an address, and REGISTER_VERIFICATION_ENABLED is False. Fix:"
                f" remove {name}, or switch verification on."
            )


def _contradictions_of_pending(values: Mapping[str, Any], given: Mapping[str, object]) -> Iterator[str]:
    cooldown, period = values["REGISTER_VERIFICATION_RESEND_COOLDOWN"], values["REGISTER_VERIFICATION_PERIOD"]
    code_period = values["REGISTER_VERIFICATION_CODE_PERIOD"]
    is_email_first, has_codes = values["REGISTER_EMAIL_FIRST"], values["REGISTER_VERIFICATION_CODE_ENABLED"]
    is_used = any(values[name] for name in PENDING_SWITCHES)
    if (is_used or "REGISTER_VERIFICATION_RESEND_COOLDOWN" in given) and cooldown >= period:
        yield (
            f"REGISTER_VERIFICATION_RESEND_COOLDOWN is {cooldown}, which is not shorter than"
            f" REGISTER_VERIFICATION_PERIOD ({period}): whoever lost a link could not get another one while it lives."
            " Fix: give a shorter cooldown or a longer period."
        )
    if (has_codes or "REGISTER_VERIFICATION_CODE_PERIOD" in given) and code_period > period:
        yield (
            f"REGISTER_VERIFICATION_CODE_PERIOD is {code_period}, which is longer than REGISTER_VERIFICATION_PERIOD"
            f" ({period}): a code would outlive the link beside it. Fix: give a shorter period of the code."
        )
    if has_codes and not is_email_first:
        yield (
            "REGISTER_VERIFICATION_CODE_ENABLED needs REGISTER_EMAIL_FIRST: a code completes a registration, and an"
            " account that is made at sign-up has a link only. Fix: switch REGISTER_EMAIL_FIRST on, or remove it."
        )
    if is_email_first and values["REGISTER_VERIFICATION_RESEND_ENABLED"]:
        yield (
            "REGISTER_VERIFICATION_RESEND_ENABLED is not needed with REGISTER_EMAIL_FIRST, where whoever sends the"
            " address to register/ again gets another message. Fix: remove it."
        )


def _senders_that_differ(values: Mapping[str, Any], *, own_link_sender: bool, own_notice_sender: bool) -> Iterator[str]:
    names = ["REGISTER_VERIFICATION_EMAIL_SENDER", "REGISTER_EXISTING_EMAIL_SENDER"]
    if values["REGISTER_EMAIL_FIRST"] and own_link_sender != own_notice_sender:
        own, default = names if own_link_sender else reversed(names)
        yield (
            f"{own} is your own and {default} is not: two ways of sending take different times, and tell a stranger who"
            f" has an account. Fix: give {default} too, a sender that goes the same way."
        )
