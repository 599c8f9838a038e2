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
    click,
    confirm,
    expect_alert,
    expect_focused_heading,
    expect_heading,
    field,
    sign_up,
    signed_up,
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
    signed_up(page, spa_site)
    assert asked == [f"{spa_site.api.url}/api/v1/accounts/register/"]
    assert not spa_site.api.url.startswith(spa_site.url)


def test_a_limit_is_told_with_the_time_to_wait(page: Page, spa_site: Site, looks: Looks) -> None:
    app = spa_site.configure({"RATELIMIT_HEADERS_ENABLED": True, "RATELIMIT_STORAGE_URI": "memory://"})
    limiter = Limiter(get_remote_address, app=app)
    limiter.limit("1/day", methods=["POST"])(cast(Blueprint, app.blueprints["rest_registration"]))
    sign_up(page, spa_site, email="ada@")
    expect(field(page, "email")).to_be_focused()
    click(page, "Create account")
    expect_alert(page, "That was too often. Please try again in 24 hours.")
    looks.at(page, "spa-too-often")


def test_the_button_says_what_it_waits_for(page: Page, spa_site: Site, looks: Looks) -> None:
    asked, answer = Event(), Event()

    @spa_site.configure().before_request
    def wait() -> None:
        asked.set()
        assert answer.wait(60)

    answer.set()
    signed_up(page, spa_site)
    page.goto(spa_site.link)
    asked.clear()
    answer.clear()
    click(page, "Confirm my address")
    assert asked.wait(20)
    expect(page.get_by_role("button")).to_have_text("Confirming…")
    expect(page.get_by_role("button")).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("Confirming…")
    looks.at(page, "spa-verifying")
    page.keyboard.press("Enter")  # has no effect
    answer.set()
    expect_focused_heading(page, "Your address is confirmed")


def test_the_page_of_a_link_that_was_used_says_so_after_a_reload(page: Page, spa_site: Site, looks: Looks) -> None:
    signed_up(page, spa_site)
    confirm(page, spa_site.link)
    expect_heading(page, "Your address is confirmed")
    page.reload()
    expect_heading(page, "Your address is confirmed already")
    looks.at(page, "spa-already-done")


def test_back_leads_to_the_form_and_forth_to_the_address(page: Page, spa_site: Site) -> None:
    signed_up(page, spa_site)
    page.go_back()
    expect_focused_heading(page, "Create your account")
    expect(field(page, "password")).to_have_value("")
    page.go_forward()
    expect_focused_heading(page, "Look into your mailbox")
    page.reload()
    expect(page.get_by_text(ADDRESS)).to_be_visible()


def test_the_page_for_the_mailbox_asks_for_the_address_when_it_does_not_know_it(
    page: Page, spa_site: Site, looks: Looks
) -> None:
    page.goto(f"{spa_site.url}/mail-sent/")
    expect(page.get_by_label("Your e-mail address")).to_be_visible()
    looks.at(page, "spa-sent-to-nobody-known")


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
