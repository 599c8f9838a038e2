"""The package's time, stopped."""

from __future__ import annotations

from datetime import datetime, timezone


def at(seconds: int) -> datetime:
    """Return the UTC time that a column without a time zone stores."""
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)


class Clock:
    """Stands in for ``flask_rest_registration.clock.now``: tells one time until it is moved."""

    def __init__(self, time: int = 1_700_000_000) -> None:
        self.time = time

    def __call__(self) -> int:
        return self.time

    def move(self, seconds: int) -> None:
        """Go on, or back with a negative number."""
        self.time += seconds
