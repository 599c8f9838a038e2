"""Translating marshmallow's error texts, which are English. tools/catalogues.py lists those without variables."""

from __future__ import annotations

import re
from functools import cache

from .texts import ENGLISH, current_language, gettext_noop

# marshmallow's texts with variables, which it has filled in by the time we see them. Where several match, the first
# counts.
_PATTERNS = (
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


def translate_text(text: str) -> str:
    """Translate a text that a schema reports, marshmallow's own or an application's; an unknown one stays as it is."""
    language = current_language()
    if language is ENGLISH:
        return text
    translated = language.gettext(text)
    if translated != text:
        return translated
    for english, pattern in _compiled_patterns():
        if found := pattern.fullmatch(text):
            return language.gettext(english, **found.groupdict())
    return text


@cache  # compiled on first use in another language than English
def _compiled_patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [(text, _compile(text)) for text in _PATTERNS]


def _compile(text: str) -> re.Pattern[str]:
    escaped = re.escape(text)  # %(min)s becomes %\(min\)s
    return re.compile(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+)", escaped), re.DOTALL)
