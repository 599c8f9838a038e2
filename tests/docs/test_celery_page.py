"""docs/celery.rst: its program signs up, and its worker mails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_rest_registration.contrib.celery import TASK_NAME, send_mail
from tests.support.celery_app import Worker
from tests.support.concurrency import until
from tests.support.links import link_in, values_of
from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, texts
from tests.support.services import RedisServer
from tests.support.web import post, serving

pytestmark = pytest.mark.programs


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def test_the_program_of_the_page_about_celery_signs_up_and_its_worker_mails(
    tmp_path: Path, redis: RedisServer, smtp: RecordingServer
) -> None:
    program, notice, receiver, _ = texts(DOCS / "celery.rst", "python")
    sender = '"REGISTER_VERIFICATION_EMAIL_SENDER"'
    for shown, real in {
        "redis://localhost:6379/0": redis.url,
        "MAIL_PORT=8025": f"MAIL_PORT={smtp.port}",
        sender: f"{notice.strip()},\n        {sender}",
    }.items():
        assert program.count(shown) == 1
        program = program.replace(shown, real)
    (tmp_path / "signup.py").write_text(f"{program}\n{receiver}", encoding="utf-8")
    application, command = re.findall(r"\$ (.*)", "".join(texts(DOCS / "celery.rst", "console")[1:]))
    assert command == "celery --app signup:celery_app worker"
    assert application == "flask --app signup run"
    with serving("-m", "flask", "--app", "signup", "run", "--port", "0", folder=tmp_path) as url:
        body = {"email": "ada@example.com", "password": "analytical engine no. 1"}
        created = post(f"{url}/api/v1/accounts/register/", {**body, "password_confirm": body["password"]})
        assert created.status == 201, created.text
        assert smtp.messages == []
        worker = Worker("signup:celery_app", folder=tmp_path)
        with worker:
            until(lambda: smtp.messages, otherwise=lambda: worker.output)
        assert post(f"{url}/api/v1/accounts/verify-registration/", values_of(link_in(smtp.message))).status == 200


def test_the_tuning_that_the_page_about_celery_shows_is_of_what_the_task_has() -> None:
    shown: dict[str, Any] = {}
    exec(texts(DOCS / "celery.rst", "python")[-1], shown)
    (annotations,) = shown["CELERY"]["task_annotations"].items()
    assert annotations[0] == TASK_NAME
    assert [name for name in annotations[1] if not hasattr(send_mail, name)] == []
    assert list(shown["CELERY"]["task_routes"]) == [TASK_NAME]
    assert shown["CELERY"]["broker_transport_options"]["visibility_timeout"] > annotations[1]["retry_backoff_max"]
    assert send_mail.retry_backoff_max < 3600  # Redis's own visibility_timeout
