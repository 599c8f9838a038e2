"""Run the suite on the database servers that answer: ``python -m tests.on_servers postgresql mariadb [option ...]``.

Options are pytest's. A server that does not answer is passed over with one line; with ``REQUIRE_SERVICES=1`` that is
a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys

from .support.database_servers import SERVERS, Server


def run(server: Server, *options: str) -> bool:
    """Run the suite on a server.

    :param server: which.
    :param options: of pytest.
    :returns: whether that may be called a success.
    """
    if failure := server.failure():
        demanded = os.environ.get("REQUIRE_SERVICES") == "1"
        sys.stdout.write(f"{failure}: {'it is demanded' if demanded else 'the tests on it are skipped'}.\n")
        return not demanded
    sys.stdout.write(f"Tests on {server.title}\n")
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, env={**os.environ, "TEST_DATABASE": server.name}, check=False).returncode == 0


if __name__ == "__main__":
    named = [argument for argument in sys.argv[1:] if argument in SERVERS]
    options = [argument for argument in sys.argv[1:] if argument not in SERVERS]
    succeeded = [run(SERVERS[name], *options) for name in named]
    sys.exit(not all(succeeded))
