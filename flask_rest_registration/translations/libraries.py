"""Saying for people, in their language, what marshmallow reports in English words for programmers."""

from __future__ import annotations

import re
from functools import cache

from .texts import current_language, gettext_noop

_FILL_IN = gettext_noop("Fill in this field.")
_TEXT = gettext_noop("Enter text here.")
_NUMBER = gettext_noop("Enter a number.")
_DATE_AND_TIME = gettext_noop("Enter a date and a time.")
_LIST = gettext_noop("A list is needed here.")
_OBJECT = gettext_noop("An object with fields is needed here.")
_IP_ADDRESS = gettext_noop("Enter an IP address.")
_UNUSABLE = gettext_noop("This cannot be used here.")

_SENTENCES = {
    "Missing data for required field.": _FILL_IN,
    "Field may not be null.": _FILL_IN,
    "Shorter than minimum length 1.": _FILL_IN,
    "Unknown field.": gettext_noop("This field is not known."),
    "Invalid input type.": _OBJECT,
    "Invalid type.": _OBJECT,
    "Not a valid mapping type.": _OBJECT,
    "Not a valid list.": _LIST,
    "Not a valid tuple.": _LIST,
    "Invalid value.": _UNUSABLE,
    "Invalid input.": _UNUSABLE,
    "Not a valid string.": _TEXT,
    "Not a valid utf-8 string.": _TEXT,
    "Not a valid number.": _NUMBER,
    "Special numeric values (nan or infinity) are not permitted.": _NUMBER,
    "Not a valid integer.": gettext_noop("Enter a whole number."),
    "Number too large.": gettext_noop("This number is too large."),
    "Not a valid boolean.": gettext_noop("Choose yes or no."),
    "Not a valid date.": gettext_noop("Enter a date."),
    "Not a valid time.": gettext_noop("Enter a time."),
    "Not a valid datetime.": _DATE_AND_TIME,
    "Not a valid naive datetime.": _DATE_AND_TIME,
    "Not a valid aware datetime.": gettext_noop("Enter a date, a time and a time zone."),
    "Not a valid period of time.": gettext_noop("Enter a length of time."),
    "Not a valid UUID.": gettext_noop("This is not a valid identifier."),
    "Not a valid URL.": gettext_noop("Enter a web address such as https://example.com."),
    "Not a valid email address.": gettext_noop("Enter an e-mail address such as name@example.com."),
    "Not a valid IP address.": _IP_ADDRESS,
    "Not a valid IPv4 address.": _IP_ADDRESS,
    "Not a valid IPv6 address.": _IP_ADDRESS,
    "Not a valid IP interface.": _IP_ADDRESS,
    "Not a valid IPv4 interface.": _IP_ADDRESS,
    "Not a valid IPv6 interface.": _IP_ADDRESS,
    "String does not match expected pattern.": gettext_noop("This does not have the form that is needed here."),
}

# Those with values that marshmallow has filled in by the time we see them. Where several match, the first counts.
_PATTERNS = {
    "Shorter than minimum length %(min)s.": gettext_noop("This is too short. The shortest possible length is %(min)s."),
    "Longer than maximum length %(max)s.": gettext_noop("This is too long. The longest possible length is %(max)s."),
    "Length must be between %(min)s and %(max)s.": gettext_noop("The length has to be from %(min)s to %(max)s."),
    "Length must be %(equal)s.": gettext_noop("The length has to be %(equal)s."),
    "Must be greater than or equal to %(min)s and less than or equal to %(max)s.": gettext_noop(
        "Choose a value from %(min)s to %(max)s."
    ),
    "Must be greater than or equal to %(min)s.": gettext_noop("Choose a value of at least %(min)s."),
    "Must be less than or equal to %(max)s.": gettext_noop("Choose a value of at most %(max)s."),
    "Must be greater than %(min)s.": gettext_noop("Choose a value above %(min)s."),
    "Must be less than %(max)s.": gettext_noop("Choose a value below %(max)s."),
    "Must be one of: %(choices)s.": gettext_noop("Choose one of these: %(choices)s."),
    "One or more of the choices you made was not in: %(choices)s.": gettext_noop(
        "Choose only from these: %(choices)s."
    ),
    "One or more of the choices you made was in: %(choices)s.": gettext_noop("Choose none of these: %(choices)s."),
    "Must be equal to %(other)s.": gettext_noop("This has to be %(other)s."),
}


def translate_text(text: str) -> str:
    """Translate a text that a schema reports, marshmallow's own or an application's; an unknown one stays as it is."""
    language = current_language()
    translated = language.gettext(text)
    if translated != text:
        return translated
    if text in _SENTENCES:
        return language.gettext(_SENTENCES[text])
    # A range with an open end is told in two sentences.
    lowest, _, highest = text.partition(" and less than ")
    if highest and lowest.startswith("Must be greater than ") and text.count(" or equal to ") < 2:
        return f"{translate_text(f'{lowest}.')} {translate_text(f'Must be less than {highest}')}"
    for sentence, pattern in _compiled_patterns():
        if found := pattern.fullmatch(text):
            return language.gettext(sentence, **found.groupdict())
    return text


@cache  # compiled on first use
def _compiled_patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [(sentence, _compile(text)) for text, sentence in _PATTERNS.items()]


def _compile(text: str) -> re.Pattern[str]:
    escaped = re.escape(text)  # %(min)s becomes %\(min\)s
    return re.compile(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+)", escaped), re.DOTALL)
