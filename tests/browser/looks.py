"""How a page looks: on a phone and a desktop, light and dark, to axe-core and to whoever looks at the pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image
from playwright.sync_api import Page, ViewportSize

WIDTHS = {"phone": 360, "desktop": 1280}
HEIGHT = 800
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DOCS_IMAGES = Path(__file__).parents[2] / "docs" / "images"
CHOSEN = {
    "quickstart-sign-up-desktop-light",
    "spa-code-phone-light",
    "spa-errors-phone-dark",
    "mail-confirm-phone-light",
    "mail-confirm-phone-dark",
    "mail-confirm-ar-phone-light",
    "mail-code-phone-light",
}
# What axe-core is to run; without it, all its rules. Of a mail no more than WCAG can be asked: it is a part of
# somebody else's page. What is dark has the same elements as what is light, of other colours.
WCAG = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}

_AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


class Looks:
    """Looks at views.

    :param screenshots: the folder for a picture of every look, or ``None``.
    :param for_docs: whether to renew the pictures of the documentation.
    """

    def __init__(self, screenshots: Path | None, *, for_docs: bool) -> None:
        self._screenshots = screenshots
        self._for_docs = for_docs

    def at(self, page: Page, name: str, *, rules: Mapping[str, Any] | None = None) -> None:
        """Demand that a view is accessible and fits, whatever the width and the colours.

        :param page: the page that shows it.
        :param name: what to call it in the pictures' names.
        :param rules: which of axe-core's rules; all of them if none are given.
        """
        page.mouse.move(0, 0)
        faults = []
        for look in self._each_look(page):
            self._save(page, f"{name}-{look}")
            asked = COLOURS if "dark" in look else rules
            faults += [f"{look}: {fault}" for fault in (*_violations(page, asked), *_overflow(page))]
        if faults:
            pytest.fail("\n".join([f"{name} at {page.url}", *faults]))

    def _each_look(self, page: Page) -> Iterator[str]:
        before: ViewportSize | None = page.viewport_size
        for device, width in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": HEIGHT})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                yield f"{device}-{scheme}"
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(before or {"width": WIDTHS["desktop"], "height": HEIGHT})

    def _save(self, page: Page, name: str) -> None:
        folders = [self._screenshots, DOCS_IMAGES if self._for_docs and name in CHOSEN else None]
        if any(folders):
            picture = _small(page.screenshot(full_page=True))
            for folder in filter(None, folders):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.png").write_bytes(picture)


def _small(png: bytes) -> bytes:
    """Pack a picture as tightly as it can be without a loss."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(small, "PNG", optimize=True)
    return small.getvalue()


def _violations(page: Page, rules: Mapping[str, Any] | None) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    # On a gradient axe-core measures no contrast: it sees the plain colour beneath, and the gradient is faint.
    page.evaluate("document.body.style.backgroundImage = 'none'")
    found = page.evaluate("options => axe.run(document, options)", options)
    page.evaluate("document.body.style.backgroundImage = ''")
    return [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def _overflow(page: Page) -> list[str]:
    """Find what makes a page be scrolled sideways."""
    wide: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll("body *")]
                .filter((element) => element.getBoundingClientRect().right > innerWidth)
                .map((element) => element.outerHTML.slice(0, 120))"""
    )
    return [f"sticks out: {element}" for element in wide]
