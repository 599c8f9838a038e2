"""docs/openapi.rst and docs/commands.rst: what they show is what one gets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flask_rest_registration
from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, texts
from tests.support.web import run_python

pytestmark = pytest.mark.programs


def commands() -> list[tuple[str, str]]:
    """Return each command of the page of commands with what it prints there."""
    shown = "".join(texts(DOCS / "commands.rst", "console"))
    parts = re.split(r"^\$ (.*)\n", shown, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shell's, in which ``flask`` is the one of this Python and imports this package."""
    flask = tmp_path / "flask"
    flask.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flask "$@"\n', encoding="utf-8")
    flask.chmod(0o700)
    package = Path(flask_rest_registration.__file__).parents[1]
    return {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(package)}


def test_the_pages_have_the_blocks_that_these_tests_run() -> None:
    assert len(texts(DOCS / "openapi.rst", "python")) == 4
    assert len(texts(DOCS / "commands.rst", "python")) == 1
    assert len(commands()) == 6


def test_the_page_of_openapi_runs_as_one_program_from_top_to_bottom(tmp_path: Path) -> None:
    serving = 'assert app.test_client().get("/openapi.json").get_json() == openapi(app)\n'
    validating = "from openapi_spec_validator import validate as valid\nvalid(document)\nvalid(spec.to_dict())\n"
    (tmp_path / "page.py").write_text("\n".join([*texts(DOCS / "openapi.rst", "python"), serving, validating]))
    outcome = run_python("page.py", folder=tmp_path)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


def test_each_command_of_the_page_prints_what_the_page_shows(
    tmp_path: Path, smtp: RecordingServer, environment: dict[str, str]
) -> None:
    (program,) = texts(DOCS / "commands.rst", "python")
    assert program.count("MAIL_PORT=8025") == 1
    (tmp_path / "signup.py").write_text(program.replace("8025", str(smtp.port)).replace("localhost", "127.0.0.1"))
    for command, shown in commands():
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", shown), command
    assert smtp.envelopes[0].recipients == ["me@example.com"]


def test_the_page_of_commands_has_every_command() -> None:
    text = (DOCS / "commands.rst").read_text(encoding="utf-8")
    commands = flask_rest_registration.RestRegistration().blueprint.cli.commands
    assert re.findall(r"^([a-z-]+)\n-+\n", text, re.MULTILINE) == [
        name for name in ("check", "settings", "openapi", "send-test-mail", "purge") if name in commands
    ]
    assert len(commands) == 5
