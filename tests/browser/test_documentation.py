"""The documentation as a newcomer meets it: on a phone, by its search field and its first links, by its copy button."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tests.browser.looks import HEIGHT, SCHEMES, WIDTHS, Looks, sticking_out
from tests.browser.sites import Server
from tests.support.pages import DOCS, blocks, commands


class Question(NamedTuple):
    """What a newcomer asks.

    :param typed: what they type into the search field.
    :param offered: what the page of questions calls it.
    :param page: the page that answers it.
    :param answer: words of the answer.
    """

    typed: str
    offered: str
    page: str
    answer: str


QUESTIONS = [
    Question("how do I check the flag at log-in", "ask for the flag", "login", "if user.email_verified_at is None"),
    Question("the mail does not arrive", "why no mail arrives", "troubleshooting", "send-test-mail"),
    Question("which column do I need", "my own user model", "models", "email_verified_at"),
    Question("how do I send through my provider", "through my provider", "transports", "VerificationMail"),
    Question("what do I change in production", "ready for production", "deployment", "SECRET_KEY"),
]
ASKED = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.page)


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    """The documentation on a server, as its search needs one."""
    server = Server()
    server.serve(Flask("documentation", static_folder=site, static_url_path=""))
    yield server.url
    server.stop()


def sees_answer(page: Page, question: Question) -> None:
    expect(page).to_have_url(re.compile(rf"/{question.page}\.html(?:[?#].*)?$"))
    expect(page.get_by_role("main")).to_contain_text(question.answer)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_page_is_scrolled_sideways_on_a_phone(
    page: Page, url: str, site: Path, scheme: Literal["light", "dark"]
) -> None:
    page.set_viewport_size({"width": WIDTHS["phone"], "height": HEIGHT})
    page.emulate_media(color_scheme=scheme)
    faults = {}
    for path in sorted(site.glob("*.html")):
        page.goto(f"{url}/{path.name}")
        faults[path.name] = sticking_out(page)
    assert len(faults) > len(list(DOCS.glob("*.rst")))
    assert {name: found for name, found in faults.items() if found} == {}


@ASKED
def test_a_newcomers_question_is_answered_by_one_of_the_first_three_results(
    page: Page, url: str, question: Question
) -> None:
    page.goto(f"{url}/index.html")
    page.get_by_placeholder("Search").fill(question.typed)
    page.keyboard.press("Enter")
    expect(page.locator(".search-summary")).to_contain_text("Search finished")
    found = page.locator("#search-results ul.search > li > a")
    targets = [str(link.get_attribute("href")) for link in found.all()[:3]]
    assert f"{question.page}.html" in [re.sub("[?#].*", "", target) for target in targets]
    page.locator(f'#search-results a[href^="{question.page}.html"]').first.click()
    sees_answer(page, question)


@ASKED
def test_a_newcomers_question_is_answered_two_clicks_from_the_start(page: Page, url: str, question: Question) -> None:
    page.goto(f"{url}/index.html")
    page.get_by_role("main").get_by_role("link", name="How do I ...?").click()
    offered = page.get_by_role("main").get_by_role("listitem").filter(has_text=question.offered)
    offered.get_by_role("link").first.click()
    sees_answer(page, question)


@pytest.mark.parametrize("name", ["index", "settings", "quickstart"])
def test_axe_core_finds_no_fault_in_a_page(page: Page, url: str, request: pytest.FixtureRequest, name: str) -> None:
    page.goto(f"{url}/{name}.html")
    looks = Looks(request.config.option.screenshots, for_docs=False)
    # The two sidebars are Sphinx's and furo's: captions that are headings of no level, landmarks of one name.
    looks.at(page, f"docs-{name}", without="aside")


def test_the_copy_button_copies_a_command_without_its_prompt(page: Page, url: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{url}/quickstart.html")
    shown = next(block for block in blocks(DOCS / "quickstart.rst") if block.language == "console")
    block = page.locator(".highlight-console").first
    expect(block).to_contain_text("$ ")
    block.hover()
    block.get_by_role("button", name="Copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip().splitlines() == "\n".join(command.text for command in commands(shown)).splitlines()
