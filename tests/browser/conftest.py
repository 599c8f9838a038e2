from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .looks import Looks
from .sites import Server, Site, backend, running

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# The pages answer in milliseconds; a busy machine may take its time.
_GIVE_UP_AFTER = 20_000.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, metavar="FOLDER", help="save every view that is looked at")
    parser.addoption("--docs-images", action="store_true", help="renew the pictures in docs/images")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if chromium is None:
        pytest.exit(
            "The browser tests need Chromium: install it (on Debian: apt-get install chromium), "
            "or give its path in the variable CHROMIUM.",
            returncode=1,
        )
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as launched:
        yield launched


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; ``page.context.new_page()`` is another window of the same browser."""
    with browser.new_context(reduced_motion="reduce", color_scheme="light") as context:
        context.set_default_timeout(_GIVE_UP_AFTER)
        expect.set_options(timeout=_GIVE_UP_AFTER)
        faults: list[str] = []
        context.on("weberror", lambda error: faults.append(str(error.error)))
        yield context.new_page()
        assert faults == []


@pytest.fixture
def looks(request: pytest.FixtureRequest) -> Looks:
    options = request.config.option
    return Looks(options.screenshots, for_docs=options.docs_images)


@pytest.fixture(scope="session")
def api() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def front_end(api: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The SPA's pages, built for the server of the API."""
    folder = tmp_path_factory.mktemp("front_end")
    backend.build(api.url, folder)
    server = Server()
    server.serve(backend.create_front_end(folder, api.url))
    yield server
    server.stop()


@pytest.fixture
def quickstart_site(api: Server, tmp_path: Path) -> Iterator[Site]:
    with running("quickstart", pages=api, api=api, folder=tmp_path) as site:
        yield site


@pytest.fixture
def spa_site(api: Server, front_end: Server, tmp_path: Path) -> Iterator[Site]:
    with running("spa", pages=front_end, api=api, folder=tmp_path) as site:
        yield site
