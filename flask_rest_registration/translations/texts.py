"""Texts for people, in the language that the application's Flask-Babel chooses; without Flask-Babel in English."""

from __future__ import annotations

import gettext as catalogues
import sys
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, current_app, has_app_context, has_request_context

if TYPE_CHECKING:
    from babel import Locale

#: The name of the catalogues, in ``translations/<locale>/LC_MESSAGES``.
DOMAIN = "flask_rest_registration"

# What % raises where a translation of the application's own has a wrong placeholder.
_WRONG_PLACEHOLDER = (KeyError, TypeError, ValueError)


class Language:
    """A language: its texts in the application's own catalogue, which wins, and in the package's."""

    def __init__(self, own: catalogues.NullTranslations, ours: catalogues.NullTranslations) -> None:
        self._own = own
        self._ours = ours

    def gettext(self, text: str, **variables: object) -> str:
        """Translate a text, as :func:`gettext` does."""
        if not text:  # of which gettext's translation is the catalogue's header
            return text
        found = self._own.gettext(text)
        translated = self._ours.gettext(text) if found == text else found
        try:
            return translated % variables if variables else translated
        except _WRONG_PLACEHOLDER:
            return text % variables

    def ngettext(self, singular: str, plural: str, count: int) -> str:
        """Translate a text about a number of things, as :func:`ngettext` does."""
        english = singular if count == 1 else plural
        found = self._own.ngettext(singular, plural, count)
        translated = self._ours.ngettext(singular, plural, count) if found == english else found
        try:
            return translated % {"count": count}
        except _WRONG_PLACEHOLDER:
            return english % {"count": count}


#: The language that needs no catalogue.
ENGLISH = Language(catalogues.NullTranslations(), catalogues.NullTranslations())


def current_language() -> Language:
    """Return the language of the current request, or of the block of :func:`in_language`.

    It is English outside an app, and where Flask-Babel is not initialised on the app.
    """
    if not has_app_context() or "babel" not in current_app.extensions or not has_flask_babel(current_app):
        return ENGLISH
    from flask_babel import force_locale, get_babel, get_locale, get_translations  # an extra: imported only when used

    try:
        locale = get_locale()
    except RuntimeError:  # the application's selector reads the request, and a script has none
        if has_request_context():
            raise
        with force_locale(get_babel().instance.default_locale):
            return current_language()
    return Language(get_translations(), _catalogue(*_folders(locale)))


def has_flask_babel(app: Flask) -> bool:
    """Tell whether Flask-Babel is initialised on an app; other extensions have the same key in ``app.extensions``."""
    library = sys.modules.get("flask_babel")
    return library is not None and isinstance(app.extensions.get("babel"), library.BabelConfiguration)


def parse_locale(name: str) -> Locale | None:
    """Return babel's locale for a name such as ``pt_BR`` or, as in BCP 47, ``pt-BR``; None if there is none.

    A modifier is dropped: babel takes any text for one (``de@anything``), and Flask-Babel keeps what it loads for each.
    """
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(name.partition("@")[0].replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return None


def in_language(locale: Locale) -> AbstractContextManager[None]:
    """Return a context that gives texts in a language that need not be the request's."""
    from flask_babel import force_locale  # an extra: imported only when used

    forced: AbstractContextManager[None] = force_locale(locale)
    return forced


def gettext(text: str, **variables: object) -> str:
    """Translate an English text with ``%(name)s`` for each variable; it stays English where it has no translation."""
    return current_language().gettext(text, **variables)


def ngettext(singular: str, plural: str, count: int) -> str:
    """Translate an English text about ``%(count)s`` things, given for one and for several."""
    return current_language().ngettext(singular, plural, count)


def gettext_noop(text: str) -> str:
    """Mark a text for the catalogues that is translated later."""
    return text


def _folders(locale: Locale) -> list[str]:
    """Return the folder of the catalogue that fits a locale best, or none."""
    language, script, territory = locale.language, locale.script, locale.territory
    choices = [(language, script, territory), (language, territory), (language, script), (language,)]  # the best first
    names = ["_".join(part for part in parts if part) for parts in choices]
    if language == "pt":
        names.append("pt_BR")
    if language == "zh" and script is None:
        names.append("zh_Hans")
    return [name for name in names if name in _all_folders()][:1]


@cache
def _all_folders() -> set[str]:
    return {path.name for path in Path(__file__).parent.iterdir()}


# Each catalogue is read once a process: it is a file of the package and never changes.
@cache
def _catalogue(*folders: str) -> catalogues.NullTranslations:
    return catalogues.translation(DOMAIN, Path(__file__).parent, folders, fallback=True)
