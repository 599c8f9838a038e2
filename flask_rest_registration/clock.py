"""The one source of time, so that tests can replace it."""

from __future__ import annotations

import time
from datetime import timedelta


def now() -> int:
    """Return the current time.

    :returns: whole seconds since the Unix epoch, UTC.
    """
    return int(time.time())


def seconds_ago(duration: timedelta) -> int:
    """Return the time before which a moment is longer ago than a period.

    :param duration: the period.
    :returns: whole seconds since the Unix epoch, UTC.
    """
    return now() - int(duration.total_seconds())
