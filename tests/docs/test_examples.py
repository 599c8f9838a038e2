"""README.rst and the pages whose examples need servers of their own: what they show is what one gets."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flask_rest_registration
from flask_rest_registration.contrib.celery import TASK_NAME, send_mail
from tests.support.apps import PASSWORD
from tests.support.celery_app import Worker
from tests.support.concurrency import until
from tests.support.database_servers import new_database, text_of
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, ROOT, blocks, texts
from tests.support.services import RedisServer
from tests.support.web import post, run_python, serving

pytestmark = [pytest.mark.programs, pytest.mark.slow]


def write_program(folder: Path, program: str, replaced: dict[str, str], *, name: str = "signup.py") -> None:
    """Save a program in which some words, each of them once, are replaced."""
    for shown, real in replaced.items():
        assert program.count(shown) == 1
        program = program.replace(shown, real)
    (folder / name).write_text(program, encoding="utf-8")


def test_signing_up_and_verifying_as_the_readme_shows_it(tmp_path: Path, smtp: RecordingServer) -> None:
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    shown = r"\$ curl http://localhost:5000(\S+/)register/ .*?--data '(.*?)'\n +(\{.*?\})\n"
    ((path, body, created),) = re.findall(shown, readme, re.DOTALL)
    (verify,) = re.findall(r"``(verify-registration/)``", readme)
    program = "\n\n".join(texts(ROOT / "README.rst", "python"))
    write_program(tmp_path, program, {"MAIL_PORT=8025": f"MAIL_PORT={smtp.port}"})
    outcome = run_python("-m", "flask", "--app", "signup", "rest-registration", "check", folder=tmp_path)
    assert (outcome.returncode, outcome.stdout.splitlines()[-1:], outcome.stderr) == (0, ["0 errors, 0 warnings"], "")
    with serving("-m", "flask", "--app", "signup", "run", "--port", "0", folder=tmp_path) as url:
        answer = post(f"{url}{path}register/", json.loads(body))
        assert (answer.status, answer.json) == (201, json.loads(created))
        assert post(f"{url}{path}register/", json.loads(body)).status == 400
        answer = post(f"{url}{path}{verify}", values_of(link_in(smtp.message)))
        assert answer.status == 200


def test_every_file_and_every_target_of_make_that_the_readme_names_is_there() -> None:
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    paths = re.findall(r"``((?:benchmarks|docs(?!/_build)|examples)/[\w./-]+)``", readme)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    targets = set(re.findall(r"(?:``|\$ )make (\w+)", readme))
    assert targets >= {"run", "test"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if not re.search(rf"^{target}\b.*:", makefile, re.MULTILINE)] == []


def test_the_program_of_the_page_about_celery_signs_up_and_its_worker_mails(
    tmp_path: Path, smtp: RecordingServer
) -> None:
    page = DOCS / "celery.rst"
    program, notice, receiver, tuning = texts(page, "python")
    application, command = re.findall(r"\$ (.*)", "".join(texts(page, "console")[1:]))
    assert (application, command) == ("flask --app signup run", "celery --app signup:celery_app worker")
    sender = '"REGISTER_VERIFICATION_EMAIL_SENDER"'
    with RedisServer(tmp_path) as redis:
        replaced = {
            "redis://localhost:6379/0": redis.url,
            "MAIL_PORT=8025": f"MAIL_PORT={smtp.port}",
            sender: f"{notice.strip()},\n        {sender}",
        }
        write_program(tmp_path, f"{program}\n{receiver}", replaced)
        with serving("-m", "flask", "--app", "signup", "run", "--port", "0", folder=tmp_path) as url:
            body = {"email": "ada@example.com", "password": "analytical engine no. 1"}
            created = post(f"{url}/api/v1/accounts/register/", {**body, "password_confirm": body["password"]})
            assert (created.status, smtp.messages) == (201, []), created.text
            with Worker("signup:celery_app", folder=tmp_path) as worker:
                until(lambda: smtp.messages, otherwise=lambda: worker.output)
            assert post(f"{url}/api/v1/accounts/verify-registration/", values_of(link_in(smtp.message))).status == 200

    shown: dict[str, Any] = {}
    exec(tuning, shown)
    ((name, options),) = shown["CELERY"]["task_annotations"].items()
    assert [name] == list(shown["CELERY"]["task_routes"]) == [TASK_NAME]
    assert [option for option in options if not hasattr(send_mail, option)] == []
    assert shown["CELERY"]["broker_transport_options"]["visibility_timeout"] > options["retry_backoff_max"]
    assert send_mail.retry_backoff_max < 3600  # Redis's own visibility_timeout


def test_the_page_of_openapi_runs_as_one_program_from_top_to_bottom(tmp_path: Path) -> None:
    program = texts(DOCS / "openapi.rst", "python")
    assert len(program) == 5
    serving = 'assert app.test_client().get("/openapi.json").get_json() == openapi(app)\n'
    validating = "from openapi_spec_validator import validate as valid\nvalid(document)\nvalid(spec.to_dict())\n"
    write_program(tmp_path, "\n".join([*program, serving, validating]), {}, name="page.py")
    outcome = run_python("page.py", folder=tmp_path)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


def test_each_command_of_the_page_prints_what_the_page_shows(tmp_path: Path, smtp: RecordingServer) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # with the "flask" of this Python
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(flask_rest_registration.__file__).parents[1])}
    (program,) = texts(DOCS / "commands.rst", "python")
    write_program(tmp_path, program, {"MAIL_PORT=8025": f"MAIL_PORT={smtp.port}", '"localhost"': '"127.0.0.1"'})
    parts = re.split(r"^\$ (.*)\n", "".join(texts(DOCS / "commands.rst", "console")), flags=re.MULTILINE)[1:]
    commands = list(zip(parts[::2], parts[1::2], strict=True))
    assert len(commands) == 6
    for command, shown in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        shown = re.sub("8025 ?", lambda port: f"{smtp.port:<{len(port[0])}}", shown).replace("localhost", "127.0.0.1")
        assert (done.returncode, done.stderr, done.stdout) == (0, "", shown), command
    assert smtp.envelopes[0].recipients == ["me@example.com"]


def test_the_page_of_commands_has_every_command_with_its_options_and_no_other() -> None:
    text = (DOCS / "commands.rst").read_text(encoding="utf-8")
    _, *parts = re.split(r"^([a-z-]+)\n-+\n", text, flags=re.MULTILINE)
    on_page = {
        name: set(re.findall(r"``(--[a-z-]+)", part)) for name, part in zip(parts[::2], parts[1::2], strict=True)
    }
    commands = flask_rest_registration.RestRegistration().blueprint.cli.commands
    in_help = {
        name: {option for each in command.params for option in each.opts if option.startswith("--")}
        for name, command in commands.items()
    }
    assert on_page == in_help


def test_the_server_and_the_worker_of_the_page_about_deployment_sign_up_and_mail(
    tmp_path: Path, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {block.caption: block.text for block in blocks(DOCS / "deployment.rst") if block.caption}
    for name in ("config.py", "app.py"):
        write_program(tmp_path, files[name], {}, name=name)
    page = (DOCS / "deployment.rst").read_text(encoding="utf-8")
    gunicorn, celery = re.findall(r"ExecStart=/srv/shop/.venv/bin/(.*)", page)
    assert celery.startswith("celery --app app:celery_app worker")
    assert gunicorn.startswith("gunicorn ")
    assert "proxy_pass http://127.0.0.1:8000;" in files["nginx.conf"]
    with RedisServer(tmp_path) as redis, new_database("postgresql") as database:
        environment = dict(line.split("=", 1) for line in files["shop.env"].splitlines())
        environment |= {"SECRET_KEY": secrets.token_hex(), "DATABASE_URL": text_of(database), "REDIS_URL": redis.url}
        environment |= {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(smtp.port)}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("MAIL_USERNAME", "MAIL_PASSWORD"):  # the recording server asks for no log-in
            monkeypatch.delenv(name)
        made = run_python("-c", "from app import *\nwith app.app_context(): db.create_all()", folder=tmp_path)
        assert made.returncode == 0, made.stderr
        with serving("-m", *gunicorn.replace("8000", "0").split(), folder=tmp_path) as url:
            body = {"email": "ada@example.com", "password": PASSWORD, "password_confirm": PASSWORD}
            created = post(f"{url}/api/v1/accounts/register/", body)
            assert (created.status, smtp.messages) == (201, []), created.text
            with Worker("app:celery_app", folder=tmp_path) as worker:
                until(lambda: smtp.messages, otherwise=lambda: worker.output)
            assert post(f"{url}/api/v1/accounts/verify-registration/", values_of(link_in(smtp.message))).status == 200
            answers = [post(f"{url}/api/v1/accounts/register/", {}).status for _ in range(5)]
            assert answers == [400] * 4 + [429], "the workers share one count"
