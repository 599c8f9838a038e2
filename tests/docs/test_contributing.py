"""The page for contributors: its walk of a registration is what the code does."""

from __future__ import annotations

import re
import sys

import pytest

from tests.support.pages import ROOT
from tools.walk import LIMITS, PACKAGE, walks

Files = dict[str, set[str]]
PAGE = (ROOT / "CONTRIBUTING.rst").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def walk() -> Files:
    """The functions that a registration calls, by file, with their classes."""
    called = walks()["register"]
    return {str(path): {part for name in names for part in name.split(".")} for path, names in called.items()}


@pytest.fixture(scope="module")
def steps() -> dict[str, str]:
    """The sentences of the page, by the file that they are about."""
    told = PAGE.partition(".. walk-begins")[2].partition(".. walk-ends")[0]
    return dict(re.findall(r"^\d+\. ``([\w/]+\.py)``: (.*?)(?=^\d+\. |\Z)", told, re.MULTILINE | re.DOTALL))


def test_the_walk_names_the_files_of_a_registration_and_no_other(walk: Files, steps: dict[str, str]) -> None:
    assert set(steps) == set(walk) != set()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="earlier versions do not tell the classes of functions")
def test_the_walk_names_functions_that_run(walk: Files, steps: dict[str, str]) -> None:
    for path, text in steps.items():
        named = set(re.findall(r"``(\w+)(?:\.(\w+))?``", text))
        missing = {part for pair in named for part in pair if part} - walk[path] - {"user_registered", "Cache"}
        assert not missing, path


@pytest.mark.parametrize("kind", LIMITS)
def test_a_reader_follows_a_request_through_few_files_and_functions(kind: str) -> None:
    called = walks()[kind]
    files, functions = LIMITS[kind]
    assert len(called) <= files
    assert sum(map(len, called.values())) <= functions


def test_every_room_is_on_the_page() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms == set(re.findall(r"^``(\w+)/`` ", PAGE, re.MULTILINE))
