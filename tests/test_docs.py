"""The pages of the documentation: what is generated is as it is generated, what is shown runs."""

from __future__ import annotations

import json
import re
import runpy
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_rest_registration.contrib.celery import TASK_NAME, send_mail

from .support.celery_app import Worker
from .support.links import link_in, values_of
from .support.mail_servers import RecordingServer
from .support.services import RedisServer, wait_until
from .support.web import post, serving

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_of_settings_is_what_the_definition_of_the_settings_says() -> None:
    render = runpy.run_path(str(DOCS / "generate_settings.py"))["render"]

    assert (DOCS / "settings.rst").read_text(encoding="utf-8") == render()


def test_every_test_that_the_page_of_claims_names_exists() -> None:
    named = re.findall(r"``(test_\w+\.py)(?:::(test_\w+))?``", (DOCS / "claims.rst").read_text(encoding="utf-8"))
    assert len(named) > 10
    for module, test in named:
        source = (Path(__file__).parent / module).read_text(encoding="utf-8")
        assert f"def {test}(" in source or not test, f"{module}::{test}"


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks of a language, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?: +\S.*\n|\s*\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def test_the_program_of_the_page_about_celery_signs_up_and_its_worker_mails(
    tmp_path: Path, redis: RedisServer, smtp: RecordingServer
) -> None:
    program, notice, receiver, _ = blocks("celery.rst", "python")
    sender = '"REGISTER_VERIFICATION_EMAIL_SENDER"'
    for shown, real in {
        "redis://localhost:6379/0": redis.url,
        "MAIL_PORT=8025": f"MAIL_PORT={smtp.port}",
        sender: f"{notice.strip()},\n        {sender}",
    }.items():
        assert program.count(shown) == 1
        program = program.replace(shown, real)
    (tmp_path / "signup.py").write_text(f"{program}\n{receiver}", encoding="utf-8")
    application, command = re.findall(r"\$ (.*)", "".join(blocks("celery.rst", "console")[1:]))
    assert command == "celery --app signup:celery_app worker"
    assert application == "flask --app signup run"
    with serving("-m", "flask", "--app", "signup", "run", "--port", "0", folder=tmp_path) as url:
        body = {"email": "ada@example.com", "password": "analytical engine no. 1"}
        created = post(f"{url}/api/v1/accounts/register/", {**body, "password_confirm": body["password"]})
        assert created.status == 201, created.text
        assert smtp.messages == []
        worker = Worker("signup:celery_app", folder=tmp_path)
        with worker:
            wait_until(lambda: smtp.messages, otherwise=lambda: worker.output)
        assert post(f"{url}/api/v1/accounts/verify-registration/", values_of(link_in(smtp.message))).status == 200


def test_the_tuning_that_the_page_about_celery_shows_is_of_what_the_task_has() -> None:
    shown: dict[str, Any] = {}
    exec(blocks("celery.rst", "python")[-1], shown)
    (annotations,) = shown["CELERY"]["task_annotations"].items()
    assert annotations[0] == TASK_NAME
    assert [name for name in annotations[1] if not hasattr(send_mail, name)] == []
    assert list(shown["CELERY"]["task_routes"]) == [TASK_NAME]
    assert shown["CELERY"]["broker_transport_options"]["visibility_timeout"] > annotations[1]["retry_backoff_max"]
    assert send_mail.retry_backoff_max < 3600  # Redis's own visibility_timeout


def test_every_picture_that_a_page_shows_is_there_and_small() -> None:
    pictures = set((DOCS / "images").glob("*.png"))
    shown = set()
    for page in (*DOCS.glob("*.rst"), *(DOCS.parent / "examples").glob("*/*.rst"), DOCS.parent / "README.rst"):
        found = re.findall(r"(?:image|figure):: (\S+)", page.read_text(encoding="utf-8"))
        shown |= {(page.parent / name).resolve() for name in found}
    assert [name for name in shown if not name.exists()] == []
    assert pictures
    assert [picture.name for picture in pictures if picture.stat().st_size > 150_000] == []


def test_the_lock_file_of_the_front_end_names_no_host_of_a_registry() -> None:
    lock = json.loads((DOCS.parent / "examples" / "spa" / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
