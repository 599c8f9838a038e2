"""Programs of their own process, and HTTP to them, as browsers and other machines speak it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flask_rest_registration

_GIVE_UP_AFTER = 30.0


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def get(url: str) -> Answer:
    """Send a GET request."""
    return _send("GET", url)


def post(url: str, data: object) -> Answer:
    """Send JSON in a POST request."""
    return _send("POST", url, body=json.dumps(data), headers={"Content-Type": "application/json"})


def run_python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, with this same package to import."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=_GIVE_UP_AFTER,
        check=False,
    )


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[str]:
    """Run a server in Python while the context lasts, and give the loopback URL that it prints."""
    command = [sys.executable, "-u", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        try:
            printed = []
            for line in server.stdout:
                printed.append(line)
                url = re.search(r"http://127\.0\.0\.1:\d+", line)
                if url:
                    yield url[0]
                    break
            else:
                raise AssertionError("the server did not start:\n" + "".join(printed))
        finally:
            server.terminate()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(flask_rest_registration.__file__).parents[1])}


def _send(method: str, url: str, **options: Any) -> Answer:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_GIVE_UP_AFTER)
    try:
        connection.request(method, parts._replace(scheme="", netloc="", fragment="").geturl(), **options)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())
    finally:
        connection.close()
