"""README.rst: what it tells a newcomer to type works, and what it shows is what they see."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flask_rest_registration.settings.definitions import describe_settings
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pages import texts
from tests.support.web import post, run_python, serving

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.rst").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language, in their order."""
    return texts(ROOT / "README.rst", language)


PROGRAM = "\n\n".join(blocks("python"))


@pytest.fixture
def folder(tmp_path: Path, smtp: RecordingServer) -> Path:
    """The newcomer's folder, with the README's Python as one program that mails to the test's server."""
    assert PROGRAM.count("MAIL_PORT=8025") == 1
    program = PROGRAM.replace("MAIL_PORT=8025", f"MAIL_PORT={smtp.port}")
    (tmp_path / "signup.py").write_text(program, encoding="utf-8")
    return tmp_path


def test_the_readme_has_the_blocks_that_these_tests_run() -> None:
    assert [len(blocks(language)) for language in ("python", "console", "json")] == [3, 4, 1]


def test_the_python_runs_as_one_program_from_top_to_bottom(folder: Path) -> None:
    # The program ends as it is, with the pool's connection open, of which Python 3.13 warns.
    outcome = run_python("-W", "error", "-W", "ignore::ResourceWarning", "signup.py", folder=folder)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


def test_the_check_that_the_readme_tells_to_run_finds_nothing(folder: Path) -> None:
    command = re.search(r"\$ flask (--app signup rest-registration check)\n", README)
    assert command is not None
    outcome = run_python("-m", "flask", *command[1].split(), folder=folder)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "0 errors, 0 warnings\n", "")


def test_the_mail_server_that_the_readme_starts_is_the_one_that_the_program_mails_to() -> None:
    assert "$ python -m aiosmtpd --nosetuid --listen localhost:8025 &\n" in README
    assert 'MAIL_SERVER="localhost"' in PROGRAM


def test_signing_up_and_verifying_as_the_readme_shows_it(folder: Path, smtp: RecordingServer) -> None:
    request = re.search(r"\$ curl http://localhost:5000(\S+) .*?--data '(.*?)'\n", README, re.DOTALL)
    shown = re.search(r"201: the user as a JSON object, ``(.*?)``", README)
    assert request is not None
    assert shown is not None
    path, body = request[1], json.loads(request[2])
    with serving("-m", "flask", "--app", "signup", "run", "--port", "0", folder=folder) as url:
        created = post(url + path, body)
        assert (created.status, created.json) == (201, json.loads(shown[1]))
        again = post(url + path, body)
        assert (again.status, again.json) == (400, json.loads(blocks("json")[0]))
        verify = re.search(r"``POST (/\S+/verify-registration/)``", README)
        assert verify is not None
        verified = post(url + verify[1], values_of(link_in(smtp.message)))
        assert verified.status == 200
        assert f"``{json.dumps(verified.json)}``" in README
    with closing(sqlite3.connect(folder / "instance" / "signup.db")) as database:
        (row,) = database.execute('SELECT email, email_verified_at IS NOT NULL FROM "user"')
    assert row == (body["email"], 1)


def test_every_setting_that_the_readme_names_is_one() -> None:
    known = {setting.name for setting in describe_settings()}
    named = {name.removeprefix("REST_REGISTRATION_") for name in re.findall(r"``([A-Z]+_[A-Z_]+)``", README)}
    assert named - {"REST_REGISTRATION"} <= known
    assert len(named) > 5


def test_every_file_that_the_readme_names_is_there() -> None:
    named = re.findall(r"``((?:benchmarks|docs|examples)/[\w./-]+)``", README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_target_of_make_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"make (\w+)", README)) & set(re.findall(r"(?:``|\$ )make (\w+)", README))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets >= {"run", "test"}
    assert [target for target in targets if not re.search(rf"^{target}\b.*:", makefile, re.MULTILINE)] == []
