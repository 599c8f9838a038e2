"""The generated pages of the documentation."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

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
