"""The generated pages of the documentation."""

from __future__ import annotations

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
