"""What strangers send to register."""

from __future__ import annotations

import random
from collections.abc import Iterator


def sign_ups(seed: int) -> Iterator[dict[str, str]]:
    """Make registrations without end, spread over the whole index of addresses.

    :param seed: the same one makes the same ones.
    """
    source = random.Random(seed)  # noqa: S311  # both sides of a comparison are to have the same ones
    while True:
        number = source.getrandbits(48)
        password = f"{number:x} horse staple"
        yield {
            "email": f"{number:012x}.new@Example.com",
            "username": f"{number:012x}.new",
            "password": password,
            "password_confirm": password,
        }
