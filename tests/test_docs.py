"""The generated pages of the documentation."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_of_settings_is_what_the_definition_of_the_settings_says() -> None:
    render = runpy.run_path(str(DOCS / "generate_settings.py"))["render"]

    assert (DOCS / "settings.rst").read_text(encoding="utf-8") == render()
