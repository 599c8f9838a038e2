"""Parsers of settings: each takes what the developer wrote, and returns the value or says what it must be."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.utils import getaddresses
from typing import Any
from urllib.parse import urlsplit

#: The longest time between two mails to one address, however many were sent in a row.
LONGEST_COOLDOWN = timedelta(hours=12)

_ONE_ADDRESS = re.compile(r"[^\s,;<>\"@]+@[^\s,;<>\"@]+")
_TEMPLATE_KEYS = ("subject", "body", "text_body", "html_body")

MailAddress = str | tuple[str, str]
Templates = Mapping[str, str]
Parser = Callable[[object], object]


def with_type(value: object) -> str:
    """Return a value's text, cut if it is long, and its type."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_dotted_path(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split(".")) and "." in value


_is_subdomain = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII).fullmatch
_is_host = re.compile(r"[\w-]+(\.[\w-]+)*(:(?!(80|443)$)[0-9]+)?", re.ASCII).fullmatch


def _is_url(value: object) -> bool:
    if not isinstance(value, str) or re.search(r"[\x00-\x20\x7f]", value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # such as a bracket that is not closed
        return False


def _accept(
    is_good: Callable[[Any], bool], what: str, convert: Callable[[Any], object] = lambda value: value
) -> Parser:
    """Make a parser that takes good values only."""

    def parse(value: object) -> object:
        if is_good(value):
            return convert(value)
        raise ValueError(f"must be {what}, not {with_type(value)}")

    return parse


def _are_names(value: object) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in value)


text: Parser = _accept(lambda value: isinstance(value, str) and bool(value.strip()), "a text that is not empty")
url: Parser = _accept(_is_url, "an absolute http or https URL, such as 'https://example.com/verify/'")
# In lower case: browsers send host names so, and werkzeug compares letter by letter.
subdomain: Parser = _accept(
    lambda value: isinstance(value, str) and _is_subdomain(value) is not None,
    "a subdomain without variables, such as 'api'",
    str.lower,
)
host: Parser = _accept(
    lambda value: isinstance(value, str) and _is_host(value) is not None,
    "a host name without variables, with its port unless that is 80 or 443, such as 'api.example.com'",
    str.lower,
)
names: Parser = _accept(_are_names, "a list of attribute names", tuple)
code_length: Parser = _accept(lambda value: _is_whole_number(value) and 6 <= value <= 10, "a whole number from 6 to 10")
class_or_path: Parser = _accept(
    lambda value: inspect.isclass(value) or _is_dotted_path(value),
    "a class or its dotted path, such as 'shop.models.User'",
)
# A call of a class would make an object, and do nothing else.
function_or_path: Parser = _accept(
    lambda value: (callable(value) and not inspect.isclass(value)) or _is_dotted_path(value),
    "a function or its dotted path, such as 'shop.mail.send'",
)


def _accept_duration(longest: timedelta, limit: str) -> Parser:
    """Make a parser of a positive timedelta or whole seconds."""

    def parse(value: Any) -> object:
        is_seconds = _is_whole_number(value) and abs(value) <= longest.total_seconds()
        duration = timedelta(seconds=value) if is_seconds else value
        if isinstance(duration, timedelta) and timedelta(0) < duration <= longest:
            return duration
        raise ValueError(f"must be a positive timedelta or whole seconds, at most {limit}, not {with_type(value)}")

    return parse


duration: Parser = _accept_duration(
    timedelta(days=100 * 365), "100 years"
)  # far from where dates cannot be computed any more
timeout: Parser = _accept_duration(timedelta(days=1), "1 day")  # sockets take 24 days
cooldown: Parser = _accept_duration(LONGEST_COOLDOWN, "12 hours, since it doubles with each mail up to that")


def switch(value: object) -> bool:
    """Take True or False."""
    if isinstance(value, bool):
        return value
    fix = ""
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        fix = f": write {value.lower()} in the environment, which is read as JSON, or {value.title()} in Python"
    raise ValueError(f"must be True or False, not {with_type(value)}{fix}")


def url_prefix(value: object) -> str:
    """Take a path without variables, and drop a slash at its end."""
    if isinstance(value, str) and (not value or value.startswith("/")) and not {"<", ">"} & set(value):
        return value.rstrip("/")
    what = "a path that starts with a slash and has no variables, such as '/api/v1/accounts'"
    raise ValueError(f"must be {what}, not {with_type(value)}")


def address(value: object) -> MailAddress:
    """Take one e-mail address, or a pair of a name and an address."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(part, str) for part in value):
        name, address = value
        if _ONE_ADDRESS.fullmatch(address):
            return name, address
    if isinstance(value, str) and [bool(_ONE_ADDRESS.fullmatch(each)) for _, each in getaddresses([value])] == [True]:
        return value
    raise ValueError(f"must be one e-mail address or a pair (name, address), not {with_type(value)}")


def functions_or_paths(value: object) -> tuple[object, ...]:
    """Take a list of functions or their dotted paths."""
    if isinstance(value, (list, tuple)):
        return tuple(function_or_path(item) for item in value)
    raise ValueError(f"must be a list of functions or their dotted paths, not {with_type(value)}")


def parse_templates(value: object) -> Templates:
    """Take template names by key; ``text_body`` is another name of ``body``."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a dict with the keys {', '.join(_TEMPLATE_KEYS)}, not {with_type(value)}")
    for key, name in value.items():
        if key not in _TEMPLATE_KEYS:
            raise ValueError(f"has the unknown key {key!r}: known are {', '.join(_TEMPLATE_KEYS)}")
        if not isinstance(name, str) or not name:
            raise ValueError(f"needs the name of a template at {key!r}, not {with_type(name)}")
    if "body" in value and "text_body" in value:
        raise ValueError("has both 'body' and 'text_body', which are the same: remove one")
    return {("body" if key == "text_body" else key): name for key, name in value.items()}


#: What each parser takes, in one word that the page of settings explains.
TYPES: Mapping[Parser, str] = {
    text: "text",
    url: "URL",
    url_prefix: "path",
    subdomain: "host",
    host: "host",
    names: "names",
    switch: "bool",
    code_length: "number",
    duration: "duration",
    timeout: "duration",
    cooldown: "duration",
    address: "address",
    class_or_path: "class",
    function_or_path: "function",
    functions_or_paths: "functions",
    parse_templates: "dict",
}
