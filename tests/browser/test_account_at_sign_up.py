"""The account at sign-up, with resend, from the first page to the last: in the quickstart."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.clock import Clock
from tests.support.links import with_other_character

from .looks import Looks
from .serializers import OneAccountPerHousehold
from .sites import Site
from .steps import (
    ACCOUNT,
    ADDRESS,
    DAY,
    MINUTE,
    PASSWORD,
    click,
    confirm,
    expect_alert,
    expect_error,
    expect_focused_heading,
    expect_heading,
    expect_no_error,
    expect_status,
    field,
    fill_in,
    sign_up,
    signed_up,
    tab_to,
)

RESENT = "If an account with this address waits for its verification, a message was sent"


def test_signing_up_by_clicking_through_the_mailbox(page: Page, quickstart_site: Site, looks: Looks) -> None:
    page.goto(f"{quickstart_site.url}/")
    expect_heading(page, "Create your account")
    looks.at(page, "quickstart-sign-up")

    sign_up(page, quickstart_site)
    expect_focused_heading(page, "Look into your mailbox")
    expect(page.get_by_text(ADDRESS)).to_be_visible()
    looks.at(page, "quickstart-sent")

    page.get_by_role("link", name="Open the mailbox").click()
    page.get_by_role("link", name="Confirm your e-mail address").click()
    page.frame_locator("iframe").get_by_role("link", name="Confirm my address").click()
    expect_heading(page, "Confirm your address")
    looks.at(page, "quickstart-ask")
    assert quickstart_site.accounts == {ADDRESS: False}

    click(page, "Confirm my address")
    expect_focused_heading(page, "Your address is confirmed")
    looks.at(page, "quickstart-done")
    assert quickstart_site.accounts == {ADDRESS: True}


def test_signing_up_with_the_keyboard_alone(page: Page, quickstart_site: Site) -> None:
    page.goto(f"{quickstart_site.url}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for name, value in {"email": ADDRESS, **ACCOUNT, "password_confirm": "else"}.items():
        tab_to(page, field(page, name))
        page.keyboard.type(value)
    page.keyboard.press("Enter")
    expect(field(page, "password_confirm")).to_be_focused()

    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(PASSWORD)
    tab_to(page, page.get_by_role("checkbox", name="Show the passwords"))
    page.keyboard.press("Space")
    expect(field(page, "password_confirm")).to_have_attribute("type", "text")
    tab_to(page, page.get_by_role("button", name="Create account"))
    page.keyboard.press("Enter")
    expect_focused_heading(page, "Look into your mailbox")
    tab_to(page, page.get_by_role("button", name="Send it again"))

    page.goto(quickstart_site.link)
    tab_to(page, page.get_by_role("button", name="Confirm my address"))
    page.keyboard.press("Space")
    expect_focused_heading(page, "Your address is confirmed")


def test_opening_the_link_posts_nothing(page: Page, quickstart_site: Site) -> None:
    signed_up(page, quickstart_site)
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method != "GET" else None)
    page.goto(quickstart_site.link, wait_until="networkidle")
    expect(page.get_by_role("button", name="Confirm my address")).to_be_visible()
    assert posted == []
    assert quickstart_site.accounts == {ADDRESS: False}


def test_the_link_does_not_stay_in_the_address(page: Page, quickstart_site: Site) -> None:
    signed_up(page, quickstart_site)
    page.goto(f"{quickstart_site.link}&utm_source=mail")
    expect(page).to_have_url(f"{quickstart_site.url}/verify-user/")
    page.reload()
    click(page, "Confirm my address")
    expect_heading(page, "Your address is confirmed")


def test_errors_stand_at_their_fields(page: Page, quickstart_site: Site, looks: Looks) -> None:
    signed_up(page, quickstart_site)
    sign_up(page, quickstart_site)
    expect_error(page, "email", re.compile("already taken"))
    expect(field(page, "email")).to_be_focused()

    sign_up(page, quickstart_site, email="ada@", username="")
    expect_error(page, "email", re.compile("valid"))
    expect_error(page, "username", re.compile(r"\w"))
    expect_no_error(page, "password")
    looks.at(page, "quickstart-errors")

    weak = {"password": "password1", "password_confirm": "password1"}
    sign_up(page, quickstart_site, email="grace@example.com", username="grace", **weak)
    expect_error(page, "password", re.compile(r"At least 8 characters.*\w"))
    expect(field(page, "password")).to_be_focused()

    fill_in(page, password=PASSWORD, password_confirm=PASSWORD)
    expect_no_error(page, "password")
    click(page, "Create account")
    expect_heading(page, "Look into your mailbox")


def test_an_error_of_the_whole_stands_above_the_fields(page: Page, quickstart_site: Site, looks: Looks) -> None:
    quickstart_site.configure({"REST_REGISTRATION_REGISTER_SERIALIZER_CLASS": OneAccountPerHousehold})
    sign_up(page, quickstart_site)
    expect_alert(page, "Only one account for each household.")
    looks.at(page, "quickstart-error-of-the-whole")


def test_the_link_is_sent_again(page: Page, quickstart_site: Site, looks: Looks, clock: Clock) -> None:
    signed_up(page, quickstart_site)
    clock.move(MINUTE)
    click(page, "Send it again")
    expect_status(page, RESENT)
    looks.at(page, "quickstart-sent-again")
    assert [mail.recipients for mail in quickstart_site.mailbox.messages] == [(ADDRESS,), (ADDRESS,)]


def test_the_answer_is_the_same_while_the_cooldown_lasts(page: Page, quickstart_site: Site, clock: Clock) -> None:
    signed_up(page, quickstart_site)
    for wait, mails in [(0, 2), (29, 2), (1, 3)]:
        clock.move(wait)
        with page.expect_response("**/resend-verification/"):
            click(page, "Send it again")
        expect_status(page, RESENT)
        assert len(quickstart_site.mailbox.messages) == mails


def test_a_link_that_has_expired_is_replaced_by_a_new_one(
    page: Page, quickstart_site: Site, looks: Looks, clock: Clock
) -> None:
    signed_up(page, quickstart_site)
    clock.move(8 * DAY)
    confirm(page, quickstart_site.link)
    expect_focused_heading(page, "This link has expired")
    looks.at(page, "quickstart-expired")
    assert quickstart_site.accounts == {ADDRESS: False}

    page.get_by_label("Your e-mail address").fill(ADDRESS)
    click(page, "Send me a new link")
    expect_status(page, RESENT)
    looks.at(page, "quickstart-expired-sent-again")
    assert len(quickstart_site.mailbox.messages) == 2
    confirm(page, quickstart_site.link)
    expect_heading(page, "Your address is confirmed")


def test_no_new_link_goes_to_what_is_no_address(page: Page, quickstart_site: Site, clock: Clock) -> None:
    signed_up(page, quickstart_site)
    clock.move(8 * DAY)
    confirm(page, quickstart_site.link)
    address = page.get_by_label("Your e-mail address")
    address.fill("ada@")
    click(page, "Send me a new link")
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(address).to_have_accessible_description(re.compile("valid"))
    expect(address).to_be_focused()
    assert len(quickstart_site.mailbox.messages) == 1


@pytest.mark.parametrize("part", ["user_id", "timestamp", "signature"])
def test_a_link_that_was_changed_is_not_valid(page: Page, quickstart_site: Site, looks: Looks, part: str) -> None:
    signed_up(page, quickstart_site)
    link = quickstart_site.link
    confirm(page, with_other_character(link, link.index(f"{part}=") + len(part) + 1))
    expect_focused_heading(page, "This link is not valid")
    if part == "signature":
        looks.at(page, "quickstart-invalid")
    assert quickstart_site.accounts == {ADDRESS: False}


def test_a_link_without_its_values_is_incomplete(page: Page, quickstart_site: Site, looks: Looks) -> None:
    page.goto(f"{quickstart_site.url}/verify-user/?user_id=1&timestamp=1700000000")
    expect_heading(page, "This link is incomplete")
    looks.at(page, "quickstart-incomplete")


def test_a_link_that_is_opened_again_says_that_the_address_is_confirmed(page: Page, quickstart_site: Site) -> None:
    signed_up(page, quickstart_site)
    for _ in range(2):
        confirm(page, quickstart_site.link)
        expect_focused_heading(page, "Your address is confirmed")
    assert quickstart_site.accounts == {ADDRESS: True}


def test_a_link_that_works_once_is_not_valid_the_second_time(page: Page, quickstart_site: Site) -> None:
    quickstart_site.configure({"REST_REGISTRATION_REGISTER_VERIFICATION_ONE_TIME_USE": True})
    signed_up(page, quickstart_site)
    confirm(page, quickstart_site.link)
    expect_heading(page, "Your address is confirmed")
    confirm(page, quickstart_site.link)
    expect_focused_heading(page, "This link is not valid")


def test_nothing_is_lost_while_the_api_is_down(page: Page, quickstart_site: Site, looks: Looks) -> None:
    page.goto(f"{quickstart_site.url}/")
    fill_in(page, email=ADDRESS, **ACCOUNT)
    quickstart_site.api.stop()
    click(page, "Create account")
    expect_alert(page, "The server cannot be reached.")
    expect(field(page, "password")).to_have_value(PASSWORD)
    looks.at(page, "quickstart-unreachable")

    quickstart_site.api.start()
    click(page, "Create account")
    expect_heading(page, "Look into your mailbox")

    page.goto(quickstart_site.link)
    quickstart_site.api.stop()
    click(page, "Confirm my address")
    expect_alert(page, "The server cannot be reached.")
    quickstart_site.api.start()
    click(page, "Confirm my address")
    expect_heading(page, "Your address is confirmed")


def test_a_sign_up_whose_mail_cannot_be_sent_can_be_repeated(page: Page, quickstart_site: Site) -> None:
    quickstart_site.mailbox.stop()
    sign_up(page, quickstart_site)
    expect_alert(page, re.compile("mail"))
    assert quickstart_site.accounts == {}

    quickstart_site.configure()
    click(page, "Create account")
    expect_heading(page, "Look into your mailbox")
