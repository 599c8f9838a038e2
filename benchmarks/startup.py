"""What the sides add to an application's start, measured in a fresh process each time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sides import OURS


def measure_startup(side: str) -> dict[str, float]:
    """Start an application in a fresh process.

    :param side: one of :data:`sides.SIDES`.
    :returns: milliseconds of CPU: of the application without registration, of the side's import, of adding it.
    """
    started = subprocess.run([sys.executable, __file__, side], check=True, stdout=subprocess.PIPE, text=True)
    times: dict[str, float] = json.loads(started.stdout)
    return times


def _start(side: str) -> dict[str, float]:
    began = time.process_time()
    from configuration import VERIFICATION_URL, configuration
    from model import make_app

    config = {
        **configuration(Path("never opened.db")),
        "REST_REGISTRATION": {"REGISTER_VERIFICATION_URL": VERIFICATION_URL},
    }
    app = make_app("startup", config)
    without = time.process_time()
    add: Callable[[], object]
    if side == OURS:
        import flask_rest_registration

        imported = time.process_time()
        add = lambda: flask_rest_registration.RestRegistration(app)  # noqa: E731
    else:
        import floor

        imported = time.process_time()
        add = lambda: app.register_blueprint(floor.accounts)  # noqa: E731
    add()
    added = time.process_time()
    return {
        "without": (without - began) * 1e3,
        "import": (imported - without) * 1e3,
        "init_app": (added - imported) * 1e3,
    }


if __name__ == "__main__":
    print(json.dumps(_start(sys.argv[1])))
