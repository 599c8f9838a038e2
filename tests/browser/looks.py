"""How a page looks: on a phone and a desktop, light and dark."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image
from playwright.sync_api import Page

WIDTHS = {"phone": 360, "desktop": 1280}
HEIGHT = 800
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DOCS_IMAGES = Path(__file__).parents[2] / "docs" / "images"
CHOSEN = {
    "flow",
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

# What makes a page be scrolled sideways, or an element that is as wide as the page and scrolls in its place.
_OVERFLOW = """() => document.documentElement.scrollWidth <= innerWidth
    && ![...document.querySelectorAll("body *")].some((element) =>
        element.clientWidth >= innerWidth && element.scrollWidth > element.clientWidth) ? [] :
    [...document.querySelectorAll("body *")]
        .filter((element) => element.getBoundingClientRect().right > innerWidth)
        .sort((one, other) => Boolean(one.closest("pre")) - Boolean(other.closest("pre")))
        .map((element) => "sticks out: " + element.outerHTML.slice(0, 120))"""
_AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


class Looks:
    """Looks at views; saves pictures of them in a folder, if one is given, and on demand those of the documentation."""

    def __init__(self, screenshots: Path | None, *, for_docs: bool) -> None:
        self._screenshots = screenshots
        self._for_docs = for_docs

    def at(
        self, page: Page, name: str, *, rules: Mapping[str, Any] | None = None, without: str = "", larger: bool = False
    ) -> None:
        """Demand that axe-core finds no fault and nothing sticks out, whatever the width and the colours.

        :param name: what to call the view in the pictures' names.
        :param rules: which of axe-core's rules; all of them if none are given.
        :param without: the selector of elements that axe-core is not asked about.
        :param larger: whether nothing may stick out either when the letters have twice their size.
        """
        page.mouse.move(0, 0)
        before = page.viewport_size
        faults = []
        for (device, width), scheme in itertools.product(WIDTHS.items(), SCHEMES):
            page.set_viewport_size({"width": width, "height": HEIGHT})
            page.emulate_media(color_scheme=scheme)
            look = f"{device}-{scheme}"
            self._save(page, f"{name}-{look}")
            found = _violations(page, COLOURS if scheme == "dark" else rules, without) + sticking_out(page)
            faults += [f"{look}: {fault}" for fault in found]
            if larger and look == "phone-light":
                faults += [f"{look}, letters of twice the size: {fault}" for fault in _sticking_out_when_larger(page)]
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(before or {"width": WIDTHS["desktop"], "height": HEIGHT})
        if faults:
            pytest.fail("\n".join([f"{name} at {page.url}", *faults]))

    @contextmanager
    def recording(self, page: Page, name: str) -> Iterator[Callable[[float], None]]:
        """Make an animated picture of what is shot within; what is given shoots, for a number of seconds.

        It is a GIF, since sites that show a README let their readers stop one.
        """
        shots: list[Image.Image] = []
        seconds: list[float] = []
        page.set_viewport_size({"width": 800, "height": 760})

        def shoot(shown: float) -> None:
            with Image.open(io.BytesIO(page.screenshot())) as picture:
                shots.append(picture.convert("RGB").quantize(256, dither=Image.Dither.NONE))
            seconds.append(shown)

        yield shoot
        for folder in self._folders(name):
            durations = [round(1000 * each) for each in seconds]
            shots[0].save(folder / f"{name}.gif", save_all=True, append_images=shots[1:], duration=durations, loop=0)

    def _folders(self, name: str) -> Iterator[Path]:
        for folder in (self._screenshots, DOCS_IMAGES if self._for_docs and name in CHOSEN else None):
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
                yield folder

    def _save(self, page: Page, name: str) -> None:
        for folder in self._folders(name):
            with Image.open(io.BytesIO(page.screenshot(full_page=True))) as picture:
                picture.convert("RGB").save(folder / f"{name}.png", optimize=True)


def sticking_out(page: Page) -> list[str]:
    """Return the elements for which a page is scrolled sideways."""
    found: list[str] = page.evaluate(_OVERFLOW)
    return found


def _sticking_out_when_larger(page: Page) -> list[str]:
    size = "size => document.documentElement.style.fontSize = size"
    page.evaluate(size, "200%")
    found = sticking_out(page)
    page.evaluate(size, "")
    return found


def _violations(page: Page, rules: Mapping[str, Any] | None, without: str) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    context = {"exclude": [without] if without else []}
    found = page.evaluate("([context, options]) => axe.run(context, options)", [context, options])
    return [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
