"""Texts for people, in the language that the application's Flask-Babel chooses; without Flask-Babel in English."""

from __future__ import annotations

import gettext as catalogues
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flask import current_app, has_app_context, has_request_context

if TYPE_CHECKING:
    from babel import Locale

#: The name of the catalogues, in ``translations/<locale>/LC_MESSAGES``.
DOMAIN = "flask_rest_registration"

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Language:
    """A language that texts are given in.

    :param gettext: translates a text, as :func:`gettext` does.
    :param ngettext: translates a text about a number of things, as :func:`ngettext` does.
    :param is_english: whether there is nothing to translate.
    """

    gettext: Callable[..., str]
    ngettext: Callable[[str, str, int], str]
    is_english: bool = False


def _english(text: str, **variables: object) -> str:
    # A function, since Jinja takes twice the time to call a method; a mail has 13 texts (5 us of 600).
    return text % variables if variables else text


def _english_number(singular: str, plural: str, count: int) -> str:
    return (singular if count == 1 else plural) % {"count": count}


class _Catalogues:
    """The application's own catalogue, which wins, and the package's.

    :param own: as Flask-Babel has it.
    :param ours: as :func:`_catalogue` gives it.
    """

    def __init__(self, own: catalogues.NullTranslations, ours: catalogues.NullTranslations) -> None:
        self._own = own
        self._ours = ours

    def gettext(self, text: str, **variables: object) -> str:
        found = self._own.gettext(text)
        return _fill(self._ours.gettext(text) if found == text else found, text, variables)

    def ngettext(self, singular: str, plural: str, count: int) -> str:
        english = singular if count == 1 else plural
        found = self._own.ngettext(singular, plural, count)
        translated = self._ours.ngettext(singular, plural, count) if found == english else found
        return _fill(translated, english, {"count": count})


def _fill(translated: str, english: str, variables: dict[str, object]) -> str:
    if not variables:
        return translated
    try:
        return translated % variables
    except (KeyError, TypeError, ValueError):  # a slip in a translation of the application's own
        return english % variables


_ENGLISH = Language(_english, _english_number, is_english=True)


def current_language() -> Language:
    """Return the language of the current request, or of the block of :func:`in_language`.

    :returns: English outside an app, and where Flask-Babel is not initialised on it.
    """
    if not has_app_context() or "babel" not in current_app.extensions:
        return _ENGLISH
    from flask_babel import force_locale, get_babel, get_locale, get_translations  # an extra: imported only when used

    try:
        locale = get_locale()
    except RuntimeError:  # the application's selector reads the request, and a script has none
        if has_request_context():
            raise
        with force_locale(get_babel().instance.default_locale):
            return current_language()
    both = _Catalogues(get_translations(), _catalogue(locale))
    return Language(both.gettext, both.ngettext)


def parse_locale(name: str) -> Locale | None:
    """Find a locale by its name.

    :param name: such as ``pt_BR`` or, as browsers write it, ``pt-BR`` (BCP 47).
    :returns: babel's locale, or None if there is no such one.
    """
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(name.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return None


def in_language(locale: Locale | None) -> AbstractContextManager[None]:
    """Return a context that gives texts in a language that need not be the request's.

    :param locale: of the language; None leaves it as it is.
    """
    if locale is None:
        return nullcontext()
    from flask_babel import force_locale  # an extra: imported only when used

    forced: AbstractContextManager[None] = force_locale(locale)
    return forced


def gettext(text: str, **variables: object) -> str:
    """Translate a text into the current language.

    :param text: in English, with ``%(name)s`` where a variable stands.
    :param variables: their values by name.
    :returns: the text in that language, or in English where it has none.
    """
    return current_language().gettext(text, **variables)


def ngettext(singular: str, plural: str, count: int) -> str:
    """Translate a text about a number of things into the current language.

    :param singular: in English, for one thing, with ``%(count)s``.
    :param plural: in English, for several.
    :param count: how many there are.
    :returns: as :func:`gettext`.
    """
    return current_language().ngettext(singular, plural, count)


def gettext_noop(text: str) -> str:
    """Mark a text for the catalogues that is translated later.

    :param text: in English.
    :returns: the same.
    """
    return text


def _names(locale: Locale) -> list[str]:
    """List the catalogues that a reader of this locale understands, the best first."""
    language, script, territory = locale.language, locale.script, locale.territory
    names = [(language, script, territory), (language, territory), (language, script), (language,)]
    found = ["_".join(part for part in parts if part) for parts in names]
    if language == "pt":
        found.append("pt_BR")
    if language == "zh" and script is None:
        found.append("zh_Hans")
    return found


# Catalogues are a part of the package and never change: for each locale, one object serves every app and every text.
@cache
def _catalogue(locale: Locale) -> catalogues.NullTranslations:
    return catalogues.translation(DOMAIN, _FOLDER, _names(locale), fallback=True)
