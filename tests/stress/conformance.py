"""Hold the endpoints against their OpenAPI description, over HTTP, with all of schemathesis's checks.

Run it with ``make conformance``. The description is what ``flask rest-registration openapi`` says of the app.
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

from flask_rest_registration.contrib.openapi import openapi
from tests.support import models
from tests.support.apps import make_app
from tests.support.gunicorn import gunicorn
from tests.support.served_app import create_app, environment

_HERE: Final = Path(__file__).parent


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


def main() -> None:
    """Serve the app on a database of its own, and check it."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = f"sqlite:///{folder / 'app.db'}"
        make_app(models.claiming, database_uri=database).dispose()
        settings = environment(database=database)
        os.environ.update(settings)
        document = folder / "openapi.json"
        document.write_text(json.dumps(openapi(create_app())))
        app = "tests.support.served_app:create_app()"
        with gunicorn(app, folder=folder, workers=1, environment=settings) as server:
            code = check(document, server.url, examples=chosen.examples, seed=chosen.seed)
    sys.exit(code)


if __name__ == "__main__":
    main()
