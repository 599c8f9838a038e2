"""Run the Python files of a page, all in one process, which saves most of the time."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from flask import Flask


def run_file(name: str) -> None:
    """Run one file: pytest runs tests; an app that another file makes has to pass ``check``."""
    if name.startswith("test_"):
        import pytest

        if pytest.main(["-q", "-p", "no:cacheprovider", name]) != 0:
            raise SystemExit(f"{name}: its tests failed")
        return
    module = importlib.import_module(Path(name).with_suffix("").as_posix().replace("/", "."))
    app = getattr(module, "app", None)
    if isinstance(app, Flask) and "rest_registration" in app.extensions:
        from flask_rest_registration.commands.check import check_app

        with app.app_context():
            errors = check_app(app).errors
        if errors:
            raise SystemExit(f"{name}: {errors}")


if __name__ == "__main__":
    sys.path[0] = ""  # the files' folder, not this one's
    for file in sys.argv[1:]:
        run_file(file)
