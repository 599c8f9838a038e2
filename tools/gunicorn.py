"""gunicorn with several worker processes, which can be killed and looked at (on Linux, by ``/proc``)."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.pages import ROOT

_GIVE_UP_AFTER = 60.0


@dataclass(frozen=True)
class Gunicorn:
    """A running server, by the process id of its master."""

    url: str
    master: int
    killed: list[int] = field(default_factory=list)

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text()
        return sorted(int(pid) for pid in children.split())

    def kill_one(self, chance: random.Random) -> None:
        """Kill a worker, as the kernel does when there is no memory left: it has no time for anything."""
        pid = chance.choice([pid for pid in self.workers() if pid not in self.killed] or [0])
        if pid:
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)


@contextmanager
def gunicorn(app: str, *, folder: Path, workers: int, environment: Mapping[str, str]) -> Iterator[Gunicorn]:
    """Serve an app, such as ``"package.module:create_app()"``, while the context lasts.

    The socket listens before the server starts, so that nobody has to wait for it: connections are queued.
    """
    log = folder / "gunicorn.log"
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening, log.open("wb") as output:
        command = [sys.executable, "-m", "gunicorn", app, "--bind", f"fd://{listening.fileno()}", "--preload"]
        command += ["--workers", str(workers), "--timeout", "120", "--graceful-timeout", "10"]
        command += ["--worker-tmp-dir", str(folder)]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            pass_fds=[listening.fileno()],
            start_new_session=True,  # a process group of its own, workers included
            stdout=output,
            stderr=output,
        ) as process:
            port = listening.getsockname()[1]
            listening.close()  # when the server has gone, connections are refused, not queued
            try:
                yield Gunicorn(f"http://127.0.0.1:{port}", process.pid)
                assert process.poll() is None, f"gunicorn ended by itself:\n{log.read_text()[-2000:]}"
            finally:
                process.terminate()
                try:
                    process.wait(_GIVE_UP_AFTER)
                except subprocess.TimeoutExpired:  # whatever its workers do
                    os.killpg(process.pid, signal.SIGKILL)
