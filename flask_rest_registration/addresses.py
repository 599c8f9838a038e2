"""E-mail addresses: the one form in which they are stored, and the one in which mail is sent to them."""

from __future__ import annotations

import re
from functools import partial

from email_validator import validate_email

# What RFC 5322 calls dot-atom on the left, anything without blanks and specials on the right: one recipient.
_PLAIN_RECIPIENT = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.\-]+")

# RFC 5321, section 4.5.3.1: 64 characters, an @ and 255 more; longer texts only cost time.
_LONGEST = 320

_validate = partial(validate_email, check_deliverability=False, allow_smtputf8=False)


def normalize_email(address: str) -> str:
    """Return an e-mail address in the form in which registration stores it.

    Use it in the application's own log-in, so that ``Bob@Example.com`` finds the account of ``bob@example.com``.
    The domain is checked for form, not looked up; a local part outside ASCII (RFC 6531) is refused, since
    Flask-Mail cannot send to it, while internationalised domain names work.

    :param address: the address as a person typed it; blanks around it, which phone keyboards add, are dropped.
    :returns: the address in lower case, its domain in Unicode.
    :raises ValueError: if it is not exactly one e-mail address.
    """
    given: object = address  # what a client sent as JSON need not be a text
    if not isinstance(given, str):
        raise ValueError("the address is no text")
    address = given.strip()
    if len(address) > _LONGEST:
        raise ValueError("the address is too long")
    normalized = _validate(address).normalized
    lowered = normalized.lower()
    # Lower-casing outside ASCII can make another text of another form; what is stored must have been checked.
    return lowered if lowered.isascii() or lowered == normalized else _validate(lowered).normalized


def is_same_address(given: object, address: str) -> bool:
    """Tell whether something is another spelling of an address that :func:`normalize_email` gave."""
    try:
        return isinstance(given, str) and normalize_email(given) == address
    except ValueError:
        return False


def to_recipient(address: str) -> str:
    """Return a stored address as it stands in an SMTP envelope (RFC 5321), its domain in ASCII.

    An application's own serializer may have stored what this package would have refused. Flask-Mail would convert
    the domain by IDNA 2003, which leads to another domain for some names, and would parse lists and display names.

    :raises ValueError: if the text is not exactly one address.
    """
    if address.isascii():
        if not _PLAIN_RECIPIENT.fullmatch(address):
            raise ValueError("not exactly one e-mail address")
        return address
    checked = _validate(address)
    return f"{checked.local_part}@{checked.ascii_domain}"
