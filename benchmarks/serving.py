"""What gunicorn serves."""

from __future__ import annotations

from pathlib import Path

from configuration import configuration
from flask import Flask
from sides import load_side


def application(side: str, database: str) -> Flask:
    """Make one side's application.

    :param side: one of :data:`sides.SIDES`.
    :param database: the SQLite file.
    """
    app: Flask = load_side(side).create_app(configuration(Path(database)))
    return app
