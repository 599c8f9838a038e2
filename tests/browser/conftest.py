from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.looks import Looks
from tests.browser.sites import Server, Site, backend
from tests.browser.visitor import Visitor

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
        pytest.exit("Install Chromium (Debian: apt-get install chromium), or set CHROMIUM to its path.", returncode=1)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as launched:
        yield launched


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; the test fails when a script raises in it or in another window of the same browser."""
    with browser.new_context(reduced_motion="reduce", color_scheme="light") as context:
        context.set_default_timeout(_GIVE_UP_AFTER)
        expect.set_options(timeout=_GIVE_UP_AFTER)
        faults: list[str] = []
        context.on("weberror", lambda error: faults.append(str(error.error)))
        yield context.new_page()
        assert faults == []


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


def visiting(name: str, page: Page, pages: Server, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    options = request.config.option
    site = Site(name, pages.url, request.getfixturevalue("api"), request.getfixturevalue("tmp_path"))
    yield Visitor(page, site, Looks(options.screenshots, for_docs=options.docs_images))
    site.close()


@pytest.fixture
def quickstart(page: Page, api: Server, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody at the quickstart: the account at sign-up."""
    yield from visiting("quickstart", page, api, request)


@pytest.fixture
def forms(browser: Browser, api: Server, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody at the forms, in a browser whose JavaScript is switched off."""
    with browser.new_context(java_script_enabled=False, color_scheme="light") as context:
        context.set_default_timeout(_GIVE_UP_AFTER)
        expect.set_options(timeout=_GIVE_UP_AFTER)
        yield from visiting("forms", context.new_page(), api, request)


@pytest.fixture
def spa(page: Page, front_end: Server, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody at the SPA: e-mail first."""
    yield from visiting("spa", page, front_end, request)


@pytest.fixture(params=["quickstart", "spa"])
def visitor(request: pytest.FixtureRequest) -> Visitor:
    visitor: Visitor = request.getfixturevalue(request.param)
    return visitor
