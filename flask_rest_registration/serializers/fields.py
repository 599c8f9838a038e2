"""The marshmallow fields that read columns, and their validators."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import idna
from idna import idnadata
from idna.intranges import intranges_contain
from marshmallow import ValidationError, fields

from ..translations.texts import gettext

# The time for normalising grows with the square of the combining characters in a row.
_LONGEST_TO_NORMALIZE = 2000
# The time for judging characters by their neighbours does so with the length of a part between blanks.
_LONGEST_PART = 256
_LARGEST_EXPONENT = 1000
# No zone is further than a day from UTC, and the server's own comes on top.
_MARGIN = timedelta(days=2)


class TrimmedString(fields.String):
    """Text without the blanks around it, which phone keyboards add; its validators see what will be stored."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        return text.strip()


class NormalizedString(TrimmedString):
    """Unique text in one form, so that names that look alike are one name.

    The form is Unicode's NFKC (UAX #15), with one blank where several stand. What RFC 8265 refuses in a user name
    (UsernameCasePreserved) is refused in each part between blanks: invisible characters, symbols, mixed directions.
    It is normalised before its validators run: one character can become eighteen. Blanks alone are NULL where the
    column allows it: forms send an empty text for what nobody filled in, and a second one would be taken.
    """

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a value."""
        is_blank = isinstance(value, str) and not value.strip()
        return super().deserialize(None if is_blank and self.allow_none else value, *args, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if len(text) > _LONGEST_TO_NORMALIZE:
            raise ValidationError(gettext("This text is too long."))
        parts = unicodedata.normalize("NFKC", text).split()
        if not all(map(_is_user_part, parts)):
            raise ValidationError(gettext("Use only letters, digits and common signs such as - or _ here."))
        return " ".join(parts)


def _is_user_part(part: str) -> bool:
    """Tell whether RFC 8265 allows a text in NFKC as a part of a user name.

    What RFC 8264 calls IdentifierClass is, but for printable ASCII and capitals, what RFC 5892 allows in domain names.
    """
    if part.isascii():
        return part.isprintable()
    folded = "".join(char.casefold() if char > "~" and char.isupper() else char for char in part)
    folded = unicodedata.normalize("NFKC", folded)
    try:
        return (
            len(folded) <= _LONGEST_PART
            and all(
                "!" <= char <= "~"
                or intranges_contain(ord(char), idnadata.codepoint_classes["PVALID"])
                or idna.valid_contextj(folded, position)
                or idna.valid_contexto(folded, position)
                for position, char in enumerate(folded)
            )
            and idna.check_initial_combiner(folded)
            and idna.check_bidi(folded)
        )
    except ValueError:  # of which all of idna's errors are
        return False


class Duration(fields.TimeDelta):
    """A number of seconds; marshmallow's own field raises for what is far too large, and some versions for NaN."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except (OverflowError, ValueError):
            raise self.make_error("invalid") from None


class UUIDText(fields.UUID):
    """A UUID that is stored as its canonical text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return str(super()._deserialize(value, attr, data, **kwargs))


def check_time(value: datetime) -> None:
    """Refuse a time within two days of the ends of Python's calendar.

    PostgreSQL stores such a time. From then on the row cannot be read, where a time zone takes it past the end.
    """
    time = value.replace(tzinfo=None)
    if time - datetime.min < _MARGIN or datetime.max - time < _MARGIN:  # noqa: DTZ901  # all without zones
        raise ValidationError(gettext("Enter a date and a time."))


def check_exponent(value: object) -> None:
    """Refuse a decimal number that no database stores, and that PyMySQL would write out in megabytes."""
    if isinstance(value, Decimal) and abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise ValidationError(gettext("Enter a number."))


#: What is checked besides of the values of these types.
CHECKS: Final[Mapping[type[Any], Callable[[Any], None]]] = {
    datetime: check_time,
    Decimal: check_exponent,
    float: check_exponent,
}


def not_blank(text: str) -> None:
    """Refuse a text of nothing but blanks."""
    if not text.strip():
        raise ValidationError(gettext("Fill in this field."))
