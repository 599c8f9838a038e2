"""What others make of the OpenAPI document: linters find no fault, and generated clients sign up and verify.

``make clients`` runs it. It needs Node.js, and the packages of ``package-lock.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from apispec import APISpec
from flask import Flask
from werkzeug.serving import make_server

from flask_rest_registration.contrib.openapi import add_to, openapi
from tests.support.apps import Builder
from tests.support.links import code_of, link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pending import CODES, WITH_RESEND

_HERE: Final = Path(__file__).parent
_PROGRAMS: Final = _HERE / "programs"
_GIVE_UP_AFTER: Final = 300.0
_QUIET: Final = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}

WAYS: Final[dict[str, dict[str, Any]]] = {"at_sign_up": WITH_RESEND, "email_first": CODES}


def run(*command: str | Path, folder: Path) -> None:
    """Run a program to its end, which has to be a good one."""
    environment = {**os.environ, **_QUIET}
    # The generator of Python calls ruff, which is installed beside it.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_GIVE_UP_AFTER, check=False
    )
    assert done.returncode == 0, (
        f"{command[0]} ends with {done.returncode}:\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    )


def node(program: str) -> Path:
    """Return a program of a package for Node.js."""
    return _HERE / "node_modules" / ".bin" / program


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve an app while the context lasts, and give its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(build: Builder, smtp: RecordingServer, way: str) -> Flask:
    """An app that tells the last mail's link and code."""
    built = build(pending=True, registration=WAYS[way])

    @built.app.get("/last-mail")
    def last_mail() -> dict[str, Any]:
        message = smtp.messages[-1]
        return {"link": values_of(link_in(message)), "code": code_of(message) if way == "email_first" else None}

    return built.app


@pytest.fixture
def document(app: Flask, tmp_path: Path) -> Path:
    """The app's document in an otherwise empty folder."""
    file = tmp_path / "client" / "openapi.json"
    file.parent.mkdir()
    file.write_text(json.dumps(openapi(app)))
    return file


def test_redocly_and_spectral_find_no_fault(app: Flask, document: Path) -> None:
    spec = APISpec("Shop", "1", "3.0.3", servers=[{"url": "/shop"}])
    spec.tag({"name": "Registration", "description": "Sign-up."})
    add_to(spec, app)
    of_application = document.with_name("of_application.json")
    of_application.write_text(json.dumps(spec.to_dict()))
    folder = document.parent
    for file in (document, of_application):
        run(node("redocly"), "lint", file, "--config", _HERE / "redocly.yaml", folder=folder)
        run(node("spectral"), "lint", file, "--ruleset", _HERE / "spectral.yaml", "--fail-severity=warn", folder=folder)


def test_the_client_of_openapi_typescript_signs_up_and_verifies(app: Flask, document: Path, way: str) -> None:
    folder = document.parent
    (folder / "node_modules").symlink_to(_HERE / "node_modules")
    for name in ("tsconfig.json", f"{way}.ts"):
        shutil.copy(_PROGRAMS / name, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    run(node("openapi-typescript"), document, "--output", folder / "schema.d.ts", folder=folder)
    run(node("tsc"), "--project", folder, folder=folder)
    with served(app) as url:
        run("node", folder / "built" / f"{way}.js", url, folder=folder)


def test_the_client_of_openapi_python_client_signs_up_and_verifies(app: Flask, document: Path, way: str) -> None:
    folder = document.parent
    for name in ("mypy.ini", f"{way}.py"):
        shutil.copy(_PROGRAMS / name, folder)
    generator = Path(sys.executable).with_name("openapi-python-client")
    options = ["--meta", "none", "--output-path", str(folder / "registration_client"), "--fail-on-warning"]
    run(generator, "generate", "--path", document, *options, folder=folder)
    run(sys.executable, "-m", "mypy", f"{way}.py", folder=folder)
    with served(app) as url:
        run(sys.executable, f"{way}.py", url, folder=folder)
