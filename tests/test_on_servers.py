"""Runs on database servers: what is chosen for them, and what is said of one that does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import CORE
from .on_servers import run
from .support.database_servers import Server

NOBODY = "postgresql+psycopg://postgres:violet-anchor@127.0.0.1:1/postgres"


def test_the_core_names_modules_that_are_there() -> None:
    assert {module.stem for module in Path(__file__).parent.glob("test_*.py")} >= CORE


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("TEST_GONE_URL", NOBODY)
    return Server("gone", "The server", "TEST_GONE_URL", "")


@pytest.mark.parametrize(
    ("demanded", "outcome", "end"), [("0", True, "the tests on it are skipped.\n"), ("1", False, "it is demanded.\n")]
)
def test_a_server_that_does_not_answer_is_told_in_one_line_and_fails_where_it_is_demanded(
    gone: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    demanded: str,
    outcome: bool,
    end: str,
) -> None:
    monkeypatch.setenv("REQUIRE_SERVICES", demanded)
    assert run(gone) is outcome
    told = capsys.readouterr().out
    assert told.startswith("The server does not answer at postgresql+psycopg://postgres:***@127.0.0.1:1/postgres (")
    assert told.endswith(end)
    assert told.count("\n") == 1
