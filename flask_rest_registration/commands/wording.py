"""Numbers and durations in words, as the commands and the documentation print them."""

from __future__ import annotations

from datetime import timedelta

_UNITS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}


def counted(number: float, noun: str) -> str:
    """Return a number with its noun: ``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration_text(duration: timedelta) -> str:
    """Return a duration in its units: ``7 days``, ``1 minute, 30 seconds``."""
    parts = []
    for noun, unit in _UNITS.items():
        number, duration = divmod(duration, unit)
        parts += [counted(number, noun)] if number else []
    seconds = duration.total_seconds()
    parts += [counted(int(seconds) if seconds.is_integer() else seconds, "second")] if seconds else []
    return ", ".join(parts)
