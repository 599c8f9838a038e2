"""Checking and hashing passwords."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from marshmallow import ValidationError
from werkzeug.security import generate_password_hash
from zxcvbn_rs_py import zxcvbn

from .safe_logging import own_words
from .translations.texts import gettext, gettext_noop, ngettext

PasswordValidator = Callable[[str, Mapping[str, object]], object]

# NIST SP 800-63B, section 5.1.1.2: at least 8 characters; long ones are to be accepted.
SHORTEST, LONGEST = 8, 256

# zxcvbn's time grows with the square of the length and more: a hostile password must stay cheaper than its hash.
_RATED_CHARACTERS = 32
_RATED_INPUTS, _RATED_INPUT_CHARACTERS = 50, 100
_LOWEST_SCORE = 3

#: What is said where hasher, model or validator refuse a password without words for people.
UNUSABLE_PASSWORD = gettext_noop("This password cannot be used.")
_DEFAULT_ADVICE = gettext_noop("This password is easy to guess. Add another word or two. Uncommon words are better.")


def hash_password(password: str) -> str:
    """Hash a password with werkzeug's scrypt at OWASP's minimum (Password Storage Cheat Sheet: N=2**15, r=8, p=3).

    :param password: the password as it was sent.
    :returns: 162 characters, readable by ``werkzeug.security.check_password_hash``.
    """
    return generate_password_hash(password, method="scrypt:32768:8:3")


def validate_length(password: str, user_data: Mapping[str, object]) -> None:
    """Refuse a password that is shorter than 8 or longer than 256 characters (NIST SP 800-63B).

    :param password: the password as it was sent.
    :param user_data: not used.
    :raises marshmallow.ValidationError: naming the limit.
    """
    if len(password) < SHORTEST:
        text = ngettext(
            "This password is too short: it needs at least %(count)s character.",
            "This password is too short: it needs at least %(count)s characters.",
            SHORTEST,
        )
        raise ValidationError(text)
    if len(password) > LONGEST:
        text = ngettext(
            "This password is too long: it may have at most %(count)s character.",
            "This password is too long: it may have at most %(count)s characters.",
            LONGEST,
        )
        raise ValidationError(text)


def validate_strength(password: str, user_data: Mapping[str, object]) -> None:
    """Refuse a password that zxcvbn rates below 3 ("safely unguessable") of 4.

    Its first 32 characters are rated; the user's other fields count as words that an attacker tries first.

    :param password: the password as it was sent.
    :param user_data: the other loaded fields, without the passwords.
    :raises marshmallow.ValidationError: with zxcvbn's advice.
    """
    words: list[str] = []
    for value in user_data.values():
        if isinstance(value, str):
            text = value[:_RATED_INPUT_CHARACTERS]
            words += [text, *re.split(r"\W+", text)]
    rated = zxcvbn(password[:_RATED_CHARACTERS], [word for word in words if word][:_RATED_INPUTS])
    if int(rated.score) < _LOWEST_SCORE:
        feedback = rated.feedback
        advice = [feedback.warning, *feedback.suggestions] if feedback else []
        texts = [gettext(str(sentence)) for sentence in advice if sentence is not None]
        raise ValidationError(" ".join(texts or [gettext(_DEFAULT_ADVICE)]))


def password_faults(
    password: str, user_data: Mapping[str, object], *, validators: Iterable[PasswordValidator]
) -> list[str]:
    """Run every validator over a password, and return what they found wrong, in their order."""
    faults: list[str] = []
    for validate in validators:
        try:
            validate(password, user_data)
        except ValidationError as error:
            messages = error.messages
            faults += [str(text) for text in messages] if isinstance(messages, list) else [str(messages)]
        except ValueError as error:
            faults.append(own_words(error) or gettext(UNUSABLE_PASSWORD))
    return faults
