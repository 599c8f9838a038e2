"""What no database stores, whoever reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..exceptions import WHOLE_OBJECT, InvalidInput, ParseError
from ..translations.texts import gettext

#: So many lists and objects may stand inside each other.
DEEPEST_NESTING = 64

# NUL, which PostgreSQL does not store, and surrogates, which have no UTF-8.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def refuse_unstorable(sent: Any) -> None:
    """Refuse texts that cannot be stored, and nesting so deep that a later step would fail.

    :raises RequestRefused: ``InvalidInput`` with each field that has such a text, or ``ParseError``.
    """
    items: Iterable[tuple[Any, Any]] = sent.items() if isinstance(sent, dict) else [(WHOLE_OBJECT, sent)]
    errors: dict[str, list[str]] = {}
    for name, value in items:
        if _is_unstorable(name):
            errors[WHOLE_OBJECT] = [gettext("A field's name has characters that cannot be stored.")]
        elif _is_unstorable(value):
            errors[str(name)] = [gettext("This text has characters that cannot be stored.")]
    if errors:
        raise InvalidInput(errors)


def _is_unstorable(value: Any) -> bool:
    return _UNSTORABLE.search("".join(_texts_in(value))) is not None


def _texts_in(value: Any, depth: int = 0) -> list[str]:
    if depth == DEEPEST_NESTING:
        raise ParseError
    if isinstance(value, bytes):  # JSON has none of these, nor tuples and sets; marshmallow reads them all
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return [value]
    inner: Iterable[Any] = value if isinstance(value, (list, tuple, set, frozenset)) else ()
    if isinstance(value, Mapping):
        inner = [*value, *value.values()]
    return [text for item in inner for text in _texts_in(item, depth + 1)]
