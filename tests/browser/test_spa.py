"""What is the SPA's own: the other origin, the limits, its history."""

from __future__ import annotations

from http.client import HTTPConnection
from threading import Event
from typing import cast
from urllib.parse import urlsplit

import pytest
from flask import Blueprint
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from playwright.sync_api import Page, expect

from .looks import Looks
from .sites import Site
from .steps import (
    ADDRESS,
    asked_for_mail,
    click,
    expect_alert,
    expect_focused_heading,
    expect_heading,
    field,
    finish,
    send_address,
)


def preflight(site: Site, origin: str) -> dict[str, str]:
    """Ask as a browser does before a POST from another origin."""
    parts = urlsplit(site.api.url)
    connection = HTTPConnection(parts.hostname or "", parts.port)
    asks_for = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    connection.request("OPTIONS", "/api/v1/accounts/register/", headers={"Origin": origin, **asks_for})
    answer = {name.lower(): value for name, value in connection.getresponse().getheaders()}
    connection.close()
    return answer


def test_the_api_allows_the_front_end_and_nobody_else(spa_site: Site) -> None:
    allowed = preflight(spa_site, spa_site.url)
    assert allowed["access-control-allow-origin"] == spa_site.url
    assert allowed["access-control-allow-methods"] == "POST"
    assert allowed["access-control-allow-headers"].lower() == "content-type"
    assert "access-control-allow-credentials" not in allowed
    for origin in ("http://127.0.0.1:1", "https://evil.example", f"{spa_site.url}.evil.example", "null"):
        assert "access-control-allow-origin" not in preflight(spa_site, origin)


def test_the_front_end_is_another_origin_than_the_api(page: Page, spa_site: Site) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    asked_for_mail(page, spa_site)
    assert asked == [f"{spa_site.api.url}/api/v1/accounts/register/"]
    assert not spa_site.api.url.startswith(spa_site.url)


def test_a_limit_is_told_with_the_time_to_wait(page: Page, spa_site: Site, looks: Looks) -> None:
    app = spa_site.configure({"RATELIMIT_HEADERS_ENABLED": True, "RATELIMIT_STORAGE_URI": "memory://"})
    limiter = Limiter(get_remote_address, app=app)
    limiter.limit("1/day", methods=["POST"])(cast(Blueprint, app.blueprints["rest_registration"]))
    send_address(page, spa_site, "ada@")
    expect(field(page, "email")).to_be_focused()
    click(page, "Continue")
    expect_alert(page, "That was too often. Please try again in 24 hours.")
    looks.at(page, "spa-too-often")


def test_a_page_says_what_it_waits_for(page: Page, spa_site: Site, looks: Looks) -> None:
    asked, answer = Event(), Event()

    @spa_site.configure().before_request
    def wait() -> None:
        asked.set()
        assert answer.wait(60)

    answer.set()
    asked_for_mail(page, spa_site)
    asked.clear()
    answer.clear()
    page.goto(spa_site.link)
    assert asked.wait(20)
    expect_heading(page, "Checking the link…")
    looks.at(page, "spa-checking")
    answer.set()
    expect_focused_heading(page, "Finish your account")

    asked.clear()
    answer.clear()
    finish(page)
    assert asked.wait(20)
    button = page.get_by_role("button", name="Creating your account…")
    expect(button).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("Creating your account…")
    looks.at(page, "spa-creating")
    page.keyboard.press("Enter")  # has no effect
    answer.set()
    expect_focused_heading(page, "Your account is ready")


def test_the_last_page_stays_after_a_reload_and_no_way_leads_behind_it(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    finish(page, code=spa_site.code)
    expect_heading(page, "Your account is ready")
    page.reload()
    expect_heading(page, "Your account is ready")
    page.go_back()
    expect_focused_heading(page, "Create your account")


def test_back_leads_to_the_address_and_forth_to_the_code(page: Page, spa_site: Site) -> None:
    asked_for_mail(page, spa_site)
    page.go_back()
    expect_focused_heading(page, "Create your account")
    page.go_forward()
    expect_focused_heading(page, "Look into your mailbox")
    page.reload()
    expect_heading(page, "Look into your mailbox")
    expect(field(page, "email")).to_have_value(ADDRESS)


def test_going_on_before_the_link_is_checked_is_not_undone(page: Page, spa_site: Site) -> None:
    asked, answer = Event(), Event()
    answer.set()

    @spa_site.configure().before_request
    def wait() -> None:
        asked.set()
        assert answer.wait(60)

    asked_for_mail(page, spa_site)
    link = spa_site.link
    answer.clear()
    asked.clear()
    # As if the link were opened in the same window: the page stays, and only its view changes.
    page.evaluate("link => { history.pushState(null, '', link); dispatchEvent(new PopStateEvent('popstate')) }", link)
    expect_heading(page, "Checking the link…")
    assert asked.wait(20)
    page.go_back()
    expect_heading(page, "Look into your mailbox")
    with page.expect_response("**/check-link/"):
        answer.set()
    page.wait_for_timeout(200)
    expect_heading(page, "Look into your mailbox")


@pytest.mark.parametrize("path", ["code", "done"])
def test_a_later_page_that_knows_no_address_is_the_first_one(page: Page, spa_site: Site, path: str) -> None:
    page.goto(f"{spa_site.url}/{path}/")
    expect_heading(page, "Create your account")
    field(page, "email").fill(ADDRESS)
    click(page, "Continue")
    expect_heading(page, "Look into your mailbox")


def test_an_unknown_page_leads_to_the_first_one(page: Page, spa_site: Site, looks: Looks) -> None:
    page.goto(f"{spa_site.url}/nowhere/")
    expect_heading(page, "There is no such page")
    looks.at(page, "spa-not-found")
    page.get_by_role("link", name="Sign up").click()
    expect_heading(page, "Create your account")


def test_the_mailbox_leads_back_to_the_front_end(page: Page, spa_site: Site) -> None:
    page.goto(f"{spa_site.api.url}/mailbox/")
    page.get_by_role("main").get_by_role("link", name="Sign up").click()
    expect(page).to_have_url(f"{spa_site.url}/")


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "turn")])
def test_nothing_turns_for_those_who_want_it_calm(page: Page, spa_site: Site, motion: str, animation: str) -> None:
    page.emulate_media(reduced_motion="reduce" if motion == "reduce" else "no-preference")
    page.goto(f"{spa_site.url}/")
    button = page.get_by_role("button")
    button.evaluate("button => button.setAttribute('aria-disabled', 'true')")
    assert button.evaluate("button => getComputedStyle(button, '::before').animationName") == animation
