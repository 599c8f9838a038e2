"""The one source of time, so that tests can replace it."""

from __future__ import annotations

import time


def now() -> int:
    """Return the current time.

    :returns: whole seconds since the Unix epoch, UTC.
    """
    return int(time.time())
