"""The verification link and the code: taken out of a mail, taken apart, changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import EmailMessage
from urllib.parse import parse_qsl, urlsplit


def text_of(message: EmailMessage) -> str:
    """Return the text part of a mail."""
    return _part(message, "plain")


def html_of(message: EmailMessage) -> str:
    """Return the HTML part of a mail."""
    return _part(message, "html")


def link_in(message: EmailMessage) -> str:
    """Return the one verification link of a mail's text part."""
    found = {link for link in re.findall(r"https?://[^\s<>\"]+", text_of(message)) if "signature=" in link}
    assert len(found) == 1, f"expected one link, found {sorted(found)}"
    return str(found.pop())


def code_of(message: EmailMessage) -> str:
    """Return the one code of a mail, which stands alone on a line of its text part."""
    found = [line for line in text_of(message).splitlines() if re.fullmatch("[0-9]{6,10}", line)]
    assert len(found) == 1, f"expected one code, found {found}"
    return found[0]


def values_of(link: str) -> dict[str, str]:
    """Return what a front end sends to ``verify-registration/`` for a link."""
    query = dict(parse_qsl(urlsplit(link).query, keep_blank_values=True, strict_parsing=True))
    return {name: query[name] for name in ("user_id", "timestamp", "signature")}


def changed(values: Mapping[str, object], **changes: object) -> dict[str, object]:
    """Return a copy of the values with some of them replaced."""
    assert set(changes) <= set(values), "changes only values that are there"
    return {**values, **changes}


def with_other_character(text: str, position: int) -> str:
    """Return the text with one character replaced by a neighbour of the same kind."""
    old = text[position]
    new = "1" if old == "0" else "0" if old.isdigit() else "B" if old == "A" else "A"
    return text[:position] + new + text[position + 1 :]


def _part(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    assert part is not None, f"the mail has no {subtype} part"
    content = part.get_content()
    assert isinstance(content, str)
    return content
