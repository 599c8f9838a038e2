"""Bodies that no front end sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

_WHOLE = {
    "nothing": b"",
    "null": b"null",
    "a number": b"1",
    "a text": b'"text"',
    "a list": b"[]",
    "a list of objects": b"[{}]",
    "an empty object": b"{}",
    "half an object": b'{"email": ',
    "invalid UTF-8": b'{"email": "\xff\xfe@example.com"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"email": NaN}',
    "a number without end": b'{"email": 1' + b"0" * 5000 + b"}",
    "a number that is infinite": b'{"email": 1e999}',
    "30,000 lists in each other": b"[" * 30000,
    "5,000 objects in each other": b'{"email": ' * 5000 + b"1" + b"}" * 5000,
    "NUL in a name": b'{"\\u0000": 1}',
    "a surrogate in a name": b'{"\\ud800": 1}',
    "a name twice": b'{"email": "a@example.com", "email": []}',
    "100,000 characters": b'{"email": "' + b"x" * 100_000 + b'"}',
}

_VALUES: dict[str, object] = {
    "null": None,
    "true": True,
    "zero": 0,
    "a negative number": -1,
    "a number beyond 64 bits": 2**64,
    "a fraction": 1e308,
    "an empty text": "",
    "a blank": " ",
    "NUL": "a\0@example.com",
    "half a surrogate": "a\ud800@example.com",
    "20,000 characters": "x" * 20_000,
    "line breaks": "a@example.com\r\nBcc: b@example.com",
    "two addresses": "a@example.com,b@example.com",
    "digits of another script": "\u0661",
    "an empty list": [],
    "an object": {"$ne": None},
    "nested lists": [[[[]]]],
}


def bodies_like(good: Callable[[], dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Yield hostile bodies with their names: a fixed list, then good bodies with one hostile field each.

    :param good: makes a good body, of a new person at each call.
    """
    yield from _WHOLE.items()
    for field in good():
        for name, value in _VALUES.items():
            yield f"{name} as {field}", json.dumps({**good(), field: value}).encode()
