"""The catalogues of the package's texts: ``make translations`` updates them, and test_translations.py checks them."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from flask_rest_registration.translations import texts

FOLDER: Final = Path(texts.__file__).parent
PACKAGE: Final = FOLDER.parent

LANGUAGES: Final = ["de", "fr", "es", "pt_BR", "it", "nl", "pl", "uk", "tr", "id", "ja", "ko", "zh_Hans", "ar", "he"]

_METHODS: Final = [("**/templates/**", "jinja2"), ("**.py", "python")]
_KEYWORDS: Final = {
    **dict.fromkeys(("gettext", "gettext_noop", "translate")),
    **dict.fromkeys(("ngettext", "translate_number"), (1, 2)),
}

# zxcvbn's warnings, and then its suggestions.
_ZXCVBN: Final = (
    "A word by itself is easy to guess.",
    "Common names and surnames are easy to guess.",
    "Dates are often easy to guess.",
    "Names and surnames by themselves are easy to guess.",
    "Recent years are easy to guess.",
    'Repeats like "aaa" are easy to guess.',
    'Repeats like "abcabcabc" are only slightly harder to guess than "abc".',
    "Sequences like abc or 6543 are easy to guess.",
    "Short keyboard patterns are easy to guess.",
    "Straight rows of keys are easy to guess.",
    "This is a very common password.",
    "This is a top-100 common password.",
    "This is a top-10 common password.",
    "This is similar to a commonly used password.",
    "Add another word or two. Uncommon words are better.",
    "All-uppercase is almost as easy to guess as all-lowercase.",
    "Avoid dates and years that are associated with you.",
    "Avoid recent years.",
    "Avoid repeated words and characters.",
    "Avoid sequences.",
    "Avoid years that are associated with you.",
    "Capitalization doesn't help very much.",
    "No need for symbols, digits, or uppercase letters.",
    "Predictable substitutions like '@' instead of 'a' don't help very much.",
    "Reversed words aren't much harder to guess.",
    "Use a few words, avoid common phrases.",
    "Use a longer keyboard pattern with more turns.",
)

# One date for all, so that a catalogue in which nothing has changed stays as it is.
_DATE: Final = datetime(2026, 11, 29, tzinfo=timezone.utc)


def extracted() -> Catalog:
    """Return a catalogue without translations: the texts of the package's source and of its libraries."""
    catalog = _catalog(None)
    found = extract_from_dir(str(PACKAGE), _METHODS, keywords=_KEYWORDS, comment_tags=["Translators:"])
    for name, line, text, comments, context in sorted(found, key=lambda each: (each[0], each[1])):
        catalog.add(text, None, [(f"{PACKAGE.name}/{name}", line)], auto_comments=comments, context=context)
    for text in _ZXCVBN:
        catalog.add(text, None, [("tools/catalogues.py", 0)])
    return catalog


def path_of(language: str, suffix: str = ".po") -> Path:
    """Return the path of a language's catalogue, as source or, with the suffix ``.mo``, compiled."""
    return FOLDER / language / "LC_MESSAGES" / f"{texts.DOMAIN}{suffix}"


def read(language: str) -> Catalog:
    """Read the source of a language's catalogue."""
    with path_of(language).open("rb") as file:
        return read_po(file, locale=language, domain=texts.DOMAIN)


def compiled(catalog: Catalog) -> bytes:
    """Compile a catalogue to what gettext reads."""
    file = BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def _catalog(language: str | None) -> Catalog:
    return Catalog(
        locale=language,
        domain=texts.DOMAIN,
        project="flask-rest-registration",
        version="0.1",
        msgid_bugs_address="",
        header_comment="# The texts of flask-rest-registration.",
        creation_date=_DATE,
        revision_date=_DATE,
        last_translator="flask-rest-registration contributors",
        language_team="flask-rest-registration contributors",
        fuzzy=False,
    )


def _updated(language: str, template: Catalog) -> Catalog:
    """Return a language's catalogue with exactly the texts of the template, and the translations that it had."""
    known = {message.id: message.string for message in read(language)} if path_of(language).exists() else {}
    catalog = _catalog(language)
    for message in template:
        if message.id:
            catalog.add(message.id, known.get(message.id), message.locations, auto_comments=message.auto_comments)
    return catalog


def main() -> int:
    """Update and compile the catalogues; return 1 if a translation is missing."""
    template = extracted()
    missing = 0
    for language in LANGUAGES:
        catalog = _updated(language, template)
        path_of(language).parent.mkdir(parents=True, exist_ok=True)
        with path_of(language).open("wb") as file:
            write_po(file, catalog, width=120, include_lineno=False)
        path_of(language, ".mo").write_bytes(compiled(catalog))
        untranslated = [message.id for message in catalog if message.id and not all(strings_of(message.string))]
        missing += len(untranslated)
        print(f"{language}: {len(template)} texts, {len(untranslated)} without a translation")  # a command
    return 1 if missing else 0


def strings_of(string: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    """Return the forms of a translation: one, or one for each plural form."""
    return tuple(string) if isinstance(string, (tuple, list)) else (string or "",)


if __name__ == "__main__":
    sys.exit(main())
