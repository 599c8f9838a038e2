from __future__ import annotations

import importlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.mail_servers import RecordingServer
from tests.support.pages import DOCS, blocks
from tests.support.programs import Example, Load


@pytest.fixture(autouse=True)
def key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the programs of the pages what they sign with."""
    monkeypatch.setenv("SECRET_KEY", secrets.token_hex())


@pytest.fixture
def load(tmp_path: Path, smtp: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Save the files of a page, and import one of them; its mails go to the test's server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: set[str] = set()

    def load_example(page: str, name: str) -> Example:
        for block in blocks(DOCS / f"{page}.rst"):
            if block.caption:
                path = tmp_path / block.caption
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
                names.add(path.stem)
        module: Any = importlib.import_module(name)
        example = Example(module, module.app, module.app.extensions["sqlalchemy"], smtp)
        if mail := example.app.extensions.get("mail"):
            mail.port = smtp.port
        return example

    yield load_example
    for name in names:
        app = getattr(sys.modules.pop(name, None), "app", None)
        if isinstance(app, Flask):
            with app.app_context():
                for engine in app.extensions["sqlalchemy"].engines.values():
                    engine.dispose()
