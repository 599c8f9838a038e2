"""The marshmallow fields of the default serializers, and a validator."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from marshmallow import ValidationError, fields

from ..addresses import normalize_email
from ..translations.texts import gettext

# The time for normalising grows with the square of the combining characters in a row.
_LONGEST_TO_NORMALIZE = 2000
_LARGEST_EXPONENT = 1000
# No zone is further than a day from UTC, and the server's own comes on top.
_MARGIN = timedelta(days=2)


class EmailAddress(fields.String):
    """Exactly one e-mail address, in lower case; see :func:`normalize_email`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return normalize_email(text)
        except ValueError:
            # email-validator's own sentence quotes the input.
            raise ValidationError(gettext("Not a valid email address.")) from None


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


def check_moment(value: datetime) -> None:
    """Refuse what the conversion to another time zone takes out of Python's calendar.

    PostgreSQL stores such a moment, and from then on the row cannot be read.

    :param value: with or without a time zone.
    :raises ValidationError: within two days of the calendar's ends.
    """
    moment = value.replace(tzinfo=None)
    if moment - datetime.min < _MARGIN or datetime.max - moment < _MARGIN:  # noqa: DTZ901  # all without zones
        raise ValidationError(gettext("Not a valid datetime."))


def check_exponent(value: object) -> None:
    """Refuse a decimal number that takes megabytes to write out, as PyMySQL does.

    :param value: a number.
    :raises ValidationError: for what no database stores.
    """
    if isinstance(value, Decimal) and abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise ValidationError(gettext("Not a valid number."))


#: What is checked besides of the values of these types.
CHECKS: Final[Mapping[type[Any], Callable[[Any], None]]] = {
    datetime: check_moment,
    Decimal: check_exponent,
    float: check_exponent,
}


class LinkValue(fields.String):
    """A value of the link, which a front-end may send back as text or as a number; loaded as text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValidationError(gettext("Not a string or an integer."))
        return str(value)


class Code(fields.String):
    """A code as people type or paste it: blanks and dashes are dropped, and digits of ASCII must be left.

    It is text, since a number has no leading zeros.

    :param length: how many digits a code has.
    """

    def __init__(self, *, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        digits = re.sub(r"[\s\-\u2010-\u2015]", "", text)
        if len(digits) != self.length or not (digits.isascii() and digits.isdigit()):
            raise ValidationError(gettext("A code has %(length)s digits.", length=self.length))
        return digits


def not_blank(text: str) -> None:
    """Refuse a text of nothing but blanks.

    :param text: what was sent.
    :raises marshmallow.ValidationError: if there is nothing to be seen in it.
    """
    if not text.strip():
        raise ValidationError(gettext("This field may not be blank."))
