"""The documentation as a site, as ``make docs`` builds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .pages import DOCS


def build_site(folder: Path) -> Path:
    """Build the pages as HTML and as Markdown; a warning fails the test.

    :param folder: an empty folder.
    :returns: the folder.
    """
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run([*command, str(DOCS), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
