"""Hold the endpoints against an OpenAPI description, over HTTP, with all of schemathesis's checks.

Run it with ``make conformance``; ``OPTIONS="--document openapi.json"`` takes another description.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.support import models
from tests.support.apps import make_app
from tests.support.gunicorn import gunicorn
from tests.support.served_app import environment

_HERE: Final = Path(__file__).parent


def check(document: str, server: str, *, examples: int, seed: int) -> int:
    """Run schemathesis.

    :param document: the description, a file or an URL.
    :param server: the URL of the server.
    :param examples: how many requests of each kind are made for each endpoint, at most.
    :param seed: the same number makes the same requests.
    :returns: its exit code, 0 if there was no failure.
    """
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(_HERE / "schemathesis.toml")]
    options = ["--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
    options += ["--generation-database", "none", "--no-color"]
    return subprocess.run([*command, "run", document, "--url", server, *options], check=False).returncode


def main() -> None:
    """Serve the app on a database of its own, and check it."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--document", default=str(_HERE.parent / "openapi.yaml"), help="the OpenAPI description")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = f"sqlite:///{folder / 'app.db'}"
        make_app(models.claiming, database_uri=database).dispose()
        settings = environment(database=database)
        app = "tests.support.served_app:create_app()"
        with gunicorn(app, folder=folder, workers=1, environment=settings) as server:
            code = check(chosen.document, server.url, examples=chosen.examples, seed=chosen.seed)
    sys.exit(code)


if __name__ == "__main__":
    main()
