"""What strangers may send, as hypothesis generates it: near to what is right, far from it, and no JSON at all.

``fresh@example.com`` and ``freshname`` in a body stand for somebody who has not signed up yet: whoever sends it puts
an address and a name in their place, so that one and the same body can be sent again while a failure is made smaller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.attacks.test_hostile_input import HOSTILE, any_json, any_text

FRESH_ADDRESS = "fresh@example.com"
FRESH_NAME = "freshname"
JSON = "application/json"

_CONTENT_TYPES = [
    *("application/json; charset=utf-8", "application/json;charset=utf-16", "application/problem+json", "text/json"),
    *("application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=", "text/plain", ""),
    *("application/json, text/html", "APPLICATION/JSON", 'application/json; charset="', "application/\xff", "x" * 300),
]
_DIGITS = ["0", "-0", "1e400", "-1e400", "1E+2", "1e-400", "9" * 400, "9" * 5000, "0.1e1", "01", "+1", "1.", ".5"]
_NAMES = ["NaN", "Infinity", "-Infinity", "nul", "true", "undefined", "'a'", "\ufeff{}", "{} {}", "[]]", "{,}", "[1,]"]
_ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-16", "utf-32", "utf-8-sig", "utf-16-le"]
_NEVER_READ = ["id", "is_admin", "password_hash", "email_verified_at", "_sa_instance_state", "__init__", ""]
_BYTES = [b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b'"', b"\\", b"\\u0000", b"\\ud800", b"{"]


@dataclass(frozen=True)
class Sent:
    """A body with what goes along with it."""

    path: str
    data: bytes
    content_type: str

    def for_person(self, number: int) -> bytes:
        """Return the body, with the placeholders taken by a person of this number."""
        address, name = f"p{number}@example.com".encode(), f"person{number}".encode()
        return self.data.replace(FRESH_ADDRESS.encode(), address).replace(FRESH_NAME.encode(), name)


# The strategies are made once: making one costs more than drawing from it.
_dice = st.integers(0, 99)
_places = st.integers(0, 100_000)
_few_characters = st.text(st.characters(exclude_categories=[]), max_size=3)
_repetitions = st.sampled_from([20, 64, 81, 255, 256, 257, 5000])
_around_limits = [sign * 2**bits + by for bits in (15, 31, 63, 64) for sign in (1, -1) for by in (-1, 0, 1)]
_numbers = st.sampled_from(_around_limits) | st.integers(-(2**66), 2**66) | st.floats()
_hostile = st.sampled_from(HOSTILE)
_odd_bytes = st.sampled_from(_BYTES) | st.binary(max_size=4)
_unknown_names = st.sampled_from(_NEVER_READ) | any_text
_fragments = st.sampled_from([*_DIGITS, *_NAMES])
_encodings = st.sampled_from(_ENCODINGS)
_content_types = st.sampled_from(_CONTENT_TYPES)
_any_bytes = st.binary(max_size=200)


def _value(draw: st.DrawFn, good: object) -> object:
    """Draw a value for a field: a good one with a few characters changed, an odd text, number or anything."""
    die = draw(_dice)
    if isinstance(good, str) and die < 45:
        return _misspelt(draw, good)
    if die < 50:
        return [[good], {"a": good}, str(good), f" {good}", f"0{good}"][die % 5]
    if die < 75:
        return draw(_hostile)
    if die < 85:
        return draw(any_text)
    if die < 90:
        return draw(any_text) * draw(_repetitions)
    return draw(_numbers if die < 95 else any_json)


def _misspelt(draw: st.DrawFn, text: str) -> str:
    for _ in range(1 + draw(_dice) // 50):
        place, removed = draw(_places) % (len(text) + 1), draw(_dice) % 3
        text = text[:place] + draw(_few_characters) + text[place + removed :]
    return text


def _objects(draw: st.DrawFn, good: Mapping[str, object], names: Sequence[str]) -> list[dict[str, object]]:
    """Change some fields of a good body, each alone and then all together, and leave one out.

    Alone, since whatever is wrong in one field keeps the others from being looked at any further.

    :param good: the body.
    :param names: the fields to change.
    """
    changes = {name: _value(draw, good[name]) for name in names}
    bodies = [_with_confirmation({**good, name: value}, name) for name, value in changes.items()]
    if draw(_dice) < 10:
        changes[draw(_unknown_names)] = _value(draw, None)
    if draw(_dice) < 20:
        bodies.append({name: value for name, value in good.items() if name not in changes})
    return [*bodies, {**good, **changes}, dict(good)] if draw(_dice) < 30 else bodies


def _with_confirmation(body: dict[str, object], changed: str) -> dict[str, object]:
    return {**body, "password_confirm": body["password"]} if changed == "password" else body


def _written(draw: st.DrawFn, bodies: Sequence[object]) -> list[bytes]:
    """Write JSON, mostly as everybody does."""
    die = draw(_dice)
    encoding = draw(_encodings) if die < 5 else "utf-8"
    texts = [json.dumps(body, ensure_ascii=die % 2 == 0, indent=1 if die % 10 == 0 else None) for body in bodies]
    if die > 95 and isinstance(bodies[0], dict) and bodies[0]:
        name, value = next(iter(bodies[0].items()))
        texts.append(texts[0][:-1] + "," + json.dumps({name: _value(draw, value)})[1:])  # a name twice
    return [text.encode(encoding, "surrogatepass") for text in texts]


def _damaged(draw: st.DrawFn, bodies: Sequence[bytes]) -> list[bytes]:
    """Change a few bytes of each body, and cut one of them short."""
    places = [draw(_places) % (len(data) + 1) for data in bodies]
    changed = [
        data[:place] + draw(_odd_bytes) + data[place + draw(_dice) % 8 :]
        for data, place in zip(bodies, places, strict=True)
    ]
    return [*changed, bodies[0][: places[0]]]


def _raw(draw: st.DrawFn, name: str) -> bytes:
    """Make what may be no JSON."""
    die = draw(_dice)
    if die < 30:
        return draw(_any_bytes)
    if die < 60:
        return f'{{"{name}": {draw(_fragments)}}}'.encode()
    if die < 70:
        depth = draw(_places) % 30_000
        return b'{"%b": %b%b}' % (name.encode(), b"[" * depth, b"]" * depth)
    if die < 75:
        return b'{"%b": "%b"}' % (name.encode(), b"x" * (60_000 + draw(_places) % 10_000))
    return _written(draw, [draw(any_json)])[0]


def sent_to(path: str, good: Mapping[str, object]) -> st.SearchStrategy[list[Sent]]:
    """Generate what is sent to an endpoint, a few bodies that resemble each other at a time.

    :param path: the endpoint.
    :param good: a body that it takes.
    """
    fields = st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=8)

    @st.composite
    def bodies(draw: st.DrawFn) -> list[Sent]:
        kind, names = draw(_dice), draw(fields)
        data = [_raw(draw, name) for name in names] if kind < 12 else _written(draw, _objects(draw, good, names))
        if kind > 90:
            data = _damaged(draw, data)
        content_type = draw(_content_types) if draw(_dice) < 5 else JSON
        return [Sent(path, each, content_type) for each in data]

    return bodies()
