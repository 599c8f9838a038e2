"""An app with Celery, as Flask's documentation has it, for the tests' process and for workers in one of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Celery, Task
from flask import Flask
from typing_extensions import Self

import flask_rest_registration

from .concurrency import until


def celery_init_app(app: Flask) -> Any:
    """Make the Celery app of a Flask app."""

    class FlaskTask(Task):  # type: ignore[misc]  # Celery is untyped
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


class Worker:
    """A Celery worker of one child process.

    :param app: what ``celery --app`` is given.
    :param folder: where it runs, and its output is kept.
    :param environment: of the process, besides the test's own.
    """

    def __init__(self, app: str, *, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        tests = Path(__file__).parents[2]
        package = Path(flask_rest_registration.__file__).parents[1]
        self._app, self._folder = app, folder
        self._environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{package}", **(environment or {})}
        self._output = folder / "worker.log"
        self._process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """All that the workers in this folder have written."""
        return self._output.read_text("utf-8")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        # RabbitMQ lets one worker alone have a name; those of other tests run at the same time.
        options = f"worker --loglevel DEBUG --concurrency 1 --hostname {uuid4().hex}@localhost"
        fewer = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "celery", "--app", self._app, *options.split(), *fewer],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End the worker and its child at once, as the machine's failure would."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)

    def kill_child(self) -> None:
        """End the process that runs the task, and leave the one that watches it."""
        pid = self._process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)

    def wait_for(self, text: str) -> None:
        """Wait until the workers of this folder have written something."""
        until(lambda: text in self.output, otherwise=lambda: self.output)


def made_of(settings: Mapping[str, Any]) -> Flask:
    """Build the app of a worker.

    :param settings: ``port`` of the mail server, ``celery`` (its configuration) and ``signals``, a file for what is
        given up.
    """
    from flask_rest_registration.contrib.celery import email_delivery_failed

    from .apps import make_app

    config = {"CELERY": settings["celery"], "MAIL_PORT": settings["port"], "MAIL_SUPPRESS_SEND": False}
    sender = "flask_rest_registration.contrib.celery.send_later"
    registration = {"REGISTER_VERIFICATION_EMAIL_SENDER": sender, "VERIFICATION_EMAIL_TIMEOUT": 30}
    app = make_app(registration=registration, config=config, tables=False).app

    def note(sender: Flask, recipient: str, error: Exception) -> None:
        with Path(settings["signals"]).open("a", encoding="utf-8") as signals:
            signals.write(f"{recipient} {type(error).__name__}\n")

    email_delivery_failed.connect(note, app, weak=False)
    celery_init_app(app)
    return app


if "WORKER_SETTINGS" in os.environ:  # a worker imports this module, and finds the app in it
    celery_app = made_of(json.loads(os.environ["WORKER_SETTINGS"])).extensions["celery"]
