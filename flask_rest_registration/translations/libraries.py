"""The texts of marshmallow and zxcvbn that reach people: they are English, and translated by what they say."""

from __future__ import annotations

import re
from functools import cache

from .texts import current_language, gettext_noop

_TEXTS = (
    gettext_noop("Missing data for required field."),
    gettext_noop("Field may not be null."),
    gettext_noop("Unknown field."),
    gettext_noop("Invalid input type."),
    gettext_noop("Invalid value."),
    gettext_noop("Not a valid string."),
    gettext_noop("Not a valid utf-8 string."),
    gettext_noop("Not a valid integer."),
    gettext_noop("Not a valid number."),
    gettext_noop("Number too large."),
    gettext_noop("Special numeric values (nan or infinity) are not permitted."),
    gettext_noop("Not a valid boolean."),
    gettext_noop("Not a valid date."),
    gettext_noop("Not a valid datetime."),
    gettext_noop("Not a valid time."),
    gettext_noop("Not a valid period of time."),
    gettext_noop("Not a valid UUID."),
    gettext_noop("Not a valid list."),
    gettext_noop("Not a valid mapping type."),
    gettext_noop("Not a valid URL."),
    gettext_noop("Not a valid email address."),
    gettext_noop("String does not match expected pattern."),
)

# With what marshmallow has filled in. A text can be of several forms, of which the first counts.
_FORMS = (
    gettext_noop("Shorter than minimum length %(min)s."),
    gettext_noop("Longer than maximum length %(max)s."),
    gettext_noop("Length must be between %(min)s and %(max)s."),
    gettext_noop("Length must be %(equal)s."),
    gettext_noop("Must be greater than or equal to %(min)s and less than or equal to %(max)s."),
    gettext_noop("Must be greater than or equal to %(min)s."),
    gettext_noop("Must be less than or equal to %(max)s."),
    gettext_noop("Must be greater than %(min)s."),
    gettext_noop("Must be less than %(max)s."),
    gettext_noop("Must be one of: %(choices)s."),
    gettext_noop("Must be equal to %(other)s."),
)

# zxcvbn's warnings, and then its suggestions.
_ADVICE = (
    gettext_noop("A word by itself is easy to guess."),
    gettext_noop("Common names and surnames are easy to guess."),
    gettext_noop("Dates are often easy to guess."),
    gettext_noop("Names and surnames by themselves are easy to guess."),
    gettext_noop("Recent years are easy to guess."),
    gettext_noop('Repeats like "aaa" are easy to guess.'),
    gettext_noop('Repeats like "abcabcabc" are only slightly harder to guess than "abc".'),
    gettext_noop("Sequences like abc or 6543 are easy to guess."),
    gettext_noop("Short keyboard patterns are easy to guess."),
    gettext_noop("Straight rows of keys are easy to guess."),
    gettext_noop("This is a very common password."),
    gettext_noop("This is a top-100 common password."),
    gettext_noop("This is a top-10 common password."),
    gettext_noop("This is similar to a commonly used password."),
    gettext_noop("Add another word or two. Uncommon words are better."),
    gettext_noop("All-uppercase is almost as easy to guess as all-lowercase."),
    gettext_noop("Avoid dates and years that are associated with you."),
    gettext_noop("Avoid recent years."),
    gettext_noop("Avoid repeated words and characters."),
    gettext_noop("Avoid sequences."),
    gettext_noop("Avoid years that are associated with you."),
    gettext_noop("Capitalization doesn't help very much."),
    gettext_noop("No need for symbols, digits, or uppercase letters."),
    gettext_noop("Predictable substitutions like '@' instead of 'a' don't help very much."),
    gettext_noop("Reversed words aren't much harder to guess."),
    gettext_noop("Use a few words, avoid common phrases."),
    gettext_noop("Use a longer keyboard pattern with more turns."),
)


def translate_text(text: str) -> str:
    """Translate a text that a schema reports.

    :param text: marshmallow's own, or an application's.
    :returns: the text in the current language; what is not known stays as it is.
    """
    language = current_language()
    if language.is_english:
        return text
    translated = language.gettext(text)
    if translated != text:
        return translated
    for form, pattern in _patterns():
        if found := pattern.fullmatch(text):
            return language.gettext(form, **found.groupdict())
    return text


# Made of the texts above, on the first use in another language than English.
@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [(form, re.compile(_pattern(form), re.DOTALL)) for form in _FORMS]


def _pattern(form: str) -> str:
    parts = re.split(r"%\((\w+)\)s", form)  # text, a name, text, a name, text
    return "".join(f"(?P<{part}>.+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
