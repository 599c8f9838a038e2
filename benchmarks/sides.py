"""The two sides of the benchmark: the application with the extension, and the one written by hand."""

from __future__ import annotations

import importlib
from typing import Any

OURS, FLOOR = "ours", "floor"
SIDES = (OURS, FLOOR)


def load_side(name: str) -> Any:
    """Import one side, and nothing of the other.

    :param name: one of :data:`SIDES`.
    :returns: a module with ``create_app()``, ``link_data()``, ``REGISTER_URL`` and ``VERIFY_URL``.
    """
    return importlib.import_module(name)
