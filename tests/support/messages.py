"""What a message for the developer has to name."""

from __future__ import annotations


def lacking(message: str, *words: str) -> list[str]:
    """Return the words that a message does not have."""
    return [word for word in words if word not in message]
