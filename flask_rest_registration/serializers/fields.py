"""The marshmallow fields that read columns, and their validators."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from marshmallow import ValidationError, fields

from ..translations.texts import gettext

# The time for normalising grows with the square of the combining characters in a row.
_LONGEST_TO_NORMALIZE = 2000
_LARGEST_EXPONENT = 1000
# No zone is further than a day from UTC, and the server's own comes on top.
_MARGIN = timedelta(days=2)


class NormalizedString(fields.String):
    """Text in Unicode's normal form NFKC (UAX #15), so that look-alikes of a unique name are one name.

    It is normalised before its validators run: one character can become eighteen.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if len(text) > _LONGEST_TO_NORMALIZE:
            raise ValidationError(gettext("This text is too long."))
        return unicodedata.normalize("NFKC", text)


class Duration(fields.TimeDelta):
    """A number of seconds; marshmallow's own field raises for what is far too large, and some versions for NaN."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except (OverflowError, ValueError):
            raise ValidationError(gettext("Not a valid period of time.")) from None


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
        raise ValidationError(gettext("Not a valid datetime."))


def check_exponent(value: object) -> None:
    """Refuse a decimal number that no database stores, and that PyMySQL would write out in megabytes."""
    if isinstance(value, Decimal) and abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise ValidationError(gettext("Not a valid number."))


#: What is checked besides of the values of these types.
CHECKS: Final[Mapping[type[Any], Callable[[Any], None]]] = {
    datetime: check_time,
    Decimal: check_exponent,
    float: check_exponent,
}


def not_blank(text: str) -> None:
    """Refuse a text of nothing but blanks."""
    if not text.strip():
        raise ValidationError(gettext("This field may not be blank."))
