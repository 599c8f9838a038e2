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

# One date for all, so that a catalogue in which nothing has changed stays as it is.
_DATE: Final = datetime(2026, 11, 29, tzinfo=timezone.utc)


def extracted() -> Catalog:
    """Find the texts in the package's source.

    :returns: a catalogue without translations.
    """
    catalog = _catalog(None)
    found = extract_from_dir(str(PACKAGE), _METHODS, keywords=_KEYWORDS, comment_tags=["Translators:"])
    for name, line, text, comments, context in sorted(found, key=lambda each: (each[0], each[1])):
        catalog.add(text, None, [(f"{PACKAGE.name}/{name}", line)], auto_comments=comments, context=context)
    return catalog


def path_of(language: str, suffix: str = ".po") -> Path:
    """Return the file of a language.

    :param language: one of :data:`LANGUAGES`.
    :param suffix: of the source or of the compiled catalogue.
    """
    return FOLDER / language / "LC_MESSAGES" / f"{texts.DOMAIN}{suffix}"


def read(language: str) -> Catalog:
    """Read the catalogue of a language.

    :param language: one of :data:`LANGUAGES`.
    """
    with path_of(language).open("rb") as file:
        return read_po(file, locale=language, domain=texts.DOMAIN)


def compiled(catalog: Catalog) -> bytes:
    """Return what is installed of a catalogue."""
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
    """Return a language's catalogue with exactly the texts that there are now."""
    known = {message.id: message.string for message in read(language)} if path_of(language).exists() else {}
    catalog = _catalog(language)
    for message in template:
        if message.id:
            catalog.add(message.id, known.get(message.id), message.locations, auto_comments=message.auto_comments)
    return catalog


def main() -> int:
    """Update and compile the catalogues.

    :returns: 1 if a text lacks its translation.
    """
    template = extracted()
    lacking = 0
    for language in LANGUAGES:
        catalog = _updated(language, template)
        path_of(language).parent.mkdir(parents=True, exist_ok=True)
        with path_of(language).open("wb") as file:
            write_po(file, catalog, width=120, include_lineno=False)
        path_of(language, ".mo").write_bytes(compiled(catalog))
        lacks = [message.id for message in catalog if message.id and not all(strings_of(message.string))]
        lacking += len(lacks)
        print(f"{language}: {len(template)} texts, {len(lacks)} without a translation")  # a command
    return 1 if lacking else 0


def strings_of(string: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    """Return the forms of a translation, which is one text or one for each plural form."""
    return tuple(string) if isinstance(string, (tuple, list)) else (string or "",)


if __name__ == "__main__":
    sys.exit(main())
