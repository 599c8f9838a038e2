"""Hold the endpoints against their OpenAPI description, over HTTP, with all of schemathesis's checks.

Run it with ``make conformance``, for both ways to sign up. The description is what ``flask rest-registration openapi``
says of the app.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from flask import Flask

from flask_rest_registration.contrib.openapi import openapi
from tests.support.apps import make_app
from tools.gunicorn import gunicorn
from tools.targets import AT_SIGN_UP, EMAIL_FIRST

_HERE: Final = Path(__file__).parent
_DATABASE, _WAY = "CONFORMANCE_DATABASE", "CONFORMANCE_WAY"
_WAYS: Final = {"account at sign-up": AT_SIGN_UP, "e-mail first": EMAIL_FIRST}


def create_app(*, tables: bool = False) -> Flask:
    """Make the app that the environment names."""
    return make_app(
        database_uri=os.environ[_DATABASE],
        registration=_WAYS[os.environ[_WAY]],
        pending=True,
        tables=tables,
        config={"TESTING": False},
    ).app


def check(document: Path, server: str, *, examples: int, seed: int) -> int:
    """Run schemathesis.

    :param document: the description, a file.
    :param server: the URL of the server.
    :param examples: how many requests of each kind are made for each endpoint, at most.
    :param seed: the same number makes the same requests.
    :returns: its exit code, 0 if there was no failure.
    """
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(_HERE / "schemathesis.toml")]
    options = ["--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
    options += ["--generation-database", "none", "--no-color"]
    return subprocess.run([*command, "run", str(document), "--url", server, *options], check=False).returncode


def check_way(way: str, *, examples: int, seed: int) -> int:
    """Serve the app of a way to sign up on a database of its own, and check it.

    :param way: the way.
    :param examples: see :func:`check`.
    :param seed: see :func:`check`.
    :returns: schemathesis's exit code.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {_DATABASE: f"sqlite:///{folder / 'app.db'}", _WAY: way}
        os.environ.update(settings)
        document = folder / "openapi.json"
        document.write_text(json.dumps(openapi(create_app(tables=True))))
        app = f"{__spec__.name}:create_app()"
        with gunicorn(app, folder=folder, workers=1, environment=settings) as server:
            return check(document, server.url, examples=examples, seed=seed)


def main() -> None:
    """Check both ways."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    failed = []
    for way in _WAYS:
        print(f"With {way}:", flush=True)
        if check_way(way, examples=chosen.examples, seed=chosen.seed):
            failed.append(way)
    if failed:
        sys.exit(f"There were failures with {' and '.join(failed)}.")


if __name__ == "__main__":
    main()
