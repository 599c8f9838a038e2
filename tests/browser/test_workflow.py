"""Signing up, from the first page to the last, as people do it: in both examples."""

from __future__ import annotations

import re

import pytest
from marshmallow import ValidationError, validates_schema
from playwright.sync_api import Page, Request, expect

from flask_rest_registration import DefaultRegisterUserSerializer

from ..support.clock import Clock
from ..support.links import with_other_character
from .looks import Looks
from .sites import Site
from .steps import (
    ADDRESS,
    DAYS,
    PASSWORD,
    click,
    confirm,
    expect_alert,
    expect_error,
    expect_focused_heading,
    expect_heading,
    field,
    fill_in,
    reject,
    sign_up,
    signed_up,
    tab_to,
)


class NoTwins(DefaultRegisterUserSerializer):
    @validates_schema
    def refuse(self, data: dict[str, object], **_: object) -> None:
        raise ValidationError("Only one account for each household.")


def test_signing_up_by_clicking_through_the_mailbox(page: Page, site: Site, looks: Looks) -> None:
    page.goto(f"{site.url}/")
    expect_heading(page, "Create your account")
    looks.at(page, f"{site.name}-sign-up")

    sign_up(page, site)
    expect_focused_heading(page, "Look into your mailbox")
    expect(page.get_by_text(ADDRESS)).to_be_visible()
    looks.at(page, f"{site.name}-sent")

    page.get_by_role("link", name="Open the mailbox").click()
    page.get_by_role("link", name="Confirm your e-mail address").click()
    page.frame_locator("iframe").get_by_role("link", name="Confirm my address").click()
    expect_heading(page, "Confirm your address")
    looks.at(page, f"{site.name}-ask")
    assert site.accounts == {ADDRESS: False}

    click(page, "Confirm my address")
    expect_focused_heading(page, "Your address is confirmed")
    looks.at(page, f"{site.name}-done")
    assert site.accounts == {ADDRESS: True}


def test_signing_up_with_the_keyboard_alone(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for name, value in {"email": ADDRESS, "username": "ada", "password": PASSWORD, "password_confirm": "else"}.items():
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

    page.goto(site.link)
    tab_to(page, page.get_by_role("button", name="Confirm my address"))
    page.keyboard.press("Space")
    expect_focused_heading(page, "Your address is confirmed")


def test_the_link_sends_nothing_before_the_click(page: Page, site: Site) -> None:
    signed_up(page, site)
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method != "GET" else None)
    for link in (site.link, site.rejection_link):
        page.goto(link, wait_until="networkidle")
        expect(page.get_by_role("button")).to_be_visible()
    assert sent == []
    assert site.accounts == {ADDRESS: False}


def test_the_link_does_not_stay_in_the_address(page: Page, site: Site) -> None:
    signed_up(page, site)
    page.goto(site.link)
    expect(page).to_have_url(f"{site.url}/verify-user/")
    page.reload()
    click(page, "Confirm my address")
    expect_heading(page, "Your address is confirmed")


def test_errors_stand_at_their_fields(page: Page, site: Site, looks: Looks) -> None:
    signed_up(page, site)
    sign_up(page, site)
    expect_error(page, "email", re.compile("already taken"))
    expect(field(page, "email")).to_be_focused()

    sign_up(page, site, email="ada@", username="")
    expect_error(page, "email", re.compile("valid"))
    expect_error(page, "username", re.compile(r"\w"))
    expect(field(page, "password")).not_to_have_attribute("aria-invalid", "true")
    looks.at(page, f"{site.name}-errors")

    sign_up(page, site, email="grace@example.com", username="grace", password="password1", password_confirm="password1")
    expect_error(page, "password", re.compile(r"At least 8 characters.*\w"))
    expect(field(page, "password")).to_be_focused()

    fill_in(page, email="grace@example.com", username="grace")
    expect(field(page, "password")).not_to_have_attribute("aria-invalid", "true")
    click(page, "Create account")
    expect_heading(page, "Look into your mailbox")


def test_an_error_of_the_whole_stands_above_the_fields(page: Page, site: Site, looks: Looks) -> None:
    site.configure({"REST_REGISTRATION_REGISTER_SERIALIZER_CLASS": NoTwins})
    sign_up(page, site)
    expect_alert(page, "Only one account for each household.")
    looks.at(page, f"{site.name}-error-of-the-whole")


def test_a_link_that_has_expired_is_replaced_by_a_new_one(page: Page, site: Site, looks: Looks, clock: Clock) -> None:
    signed_up(page, site)
    clock.move(8 * DAYS)
    confirm(page, site.link)
    expect_focused_heading(page, "This link has expired")
    looks.at(page, f"{site.name}-expired")
    assert site.accounts == {ADDRESS: False}

    page.get_by_label("Your e-mail address").fill(ADDRESS)
    click(page, "Send me a new link")
    expect(page.get_by_role("status").filter(has_text=re.compile("link"))).to_be_visible()
    looks.at(page, f"{site.name}-expired-sent-again")
    assert len(site.mailbox.messages) == 2
    confirm(page, site.link)
    expect_heading(page, "Your address is confirmed")


def test_no_new_link_goes_to_what_is_no_address(page: Page, site: Site, clock: Clock) -> None:
    signed_up(page, site)
    clock.move(8 * DAYS)
    confirm(page, site.link)
    page.get_by_label("Your e-mail address").fill("ada@")
    click(page, "Send me a new link")
    expect(page.get_by_label("Your e-mail address")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Your e-mail address")).to_have_accessible_description(re.compile("valid"))
    expect(page.get_by_label("Your e-mail address")).to_be_focused()
    assert len(site.mailbox.messages) == 1


def test_the_link_is_sent_again_to_the_address_that_was_typed(
    page: Page, site: Site, looks: Looks, clock: Clock
) -> None:
    signed_up(page, site)
    clock.move(60)
    click(page, "Send it again")
    expect(page.get_by_role("status").filter(has_text=re.compile("link"))).to_be_visible()
    looks.at(page, f"{site.name}-sent-again")
    assert [mail.recipients for mail in site.mailbox.messages] == [(ADDRESS,), (ADDRESS,)]


@pytest.mark.parametrize("part", ["user_id", "timestamp", "signature"])
def test_a_link_that_was_changed_is_not_valid(page: Page, site: Site, looks: Looks, part: str) -> None:
    signed_up(page, site)
    link = site.link
    confirm(page, with_other_character(link, re.search(rf"{part}=", link).end()))  # type: ignore[union-attr]
    expect_focused_heading(page, "This link is not valid")
    if part == "signature":
        looks.at(page, f"{site.name}-invalid")
    assert site.accounts == {ADDRESS: False}


def test_a_link_without_its_values_is_incomplete(page: Page, site: Site, looks: Looks) -> None:
    for path in ("verify-user", "reject-user"):
        page.goto(f"{site.url}/{path}/?user_id=1&timestamp=1700000000")
        expect_heading(page, "This link is incomplete")
        looks.at(page, f"{site.name}-{path}-incomplete")


def test_a_link_that_is_opened_again_says_that_the_address_is_confirmed(page: Page, site: Site) -> None:
    signed_up(page, site)
    for _ in range(2):
        confirm(page, site.link)
        expect_focused_heading(page, "Your address is confirmed")
    assert site.accounts == {ADDRESS: True}


def test_a_link_that_works_once_is_not_valid_the_second_time(page: Page, site: Site) -> None:
    site.configure({"REST_REGISTRATION_REGISTER_VERIFICATION_ONE_TIME_USE": True})
    signed_up(page, site)
    confirm(page, site.link)
    expect_heading(page, "Your address is confirmed")
    confirm(page, site.link)
    expect_focused_heading(page, "This link is not valid")


def test_this_was_not_me(page: Page, site: Site, looks: Looks) -> None:
    signed_up(page, site)
    page.goto(site.rejection_link)
    expect_heading(page, "Was it somebody else?")
    looks.at(page, f"{site.name}-reject")
    assert site.accounts == {ADDRESS: False}
    click(page, "Delete the account")
    expect_focused_heading(page, "The account is deleted")
    looks.at(page, f"{site.name}-rejected")
    assert site.accounts == {}

    reject(page, site.rejection_link)
    expect_focused_heading(page, "There is nothing to delete")
    looks.at(page, f"{site.name}-nothing-to-delete")
    confirm(page, site.link)
    expect_focused_heading(page, "This link is not valid")


def test_an_account_that_is_confirmed_cannot_be_deleted(page: Page, site: Site) -> None:
    signed_up(page, site)
    confirm(page, site.link)
    expect_heading(page, "Your address is confirmed")
    reject(page, site.rejection_link)
    expect_heading(page, "There is nothing to delete")
    assert site.accounts == {ADDRESS: True}


def test_the_link_of_the_rejection_expires_too(page: Page, site: Site, looks: Looks, clock: Clock) -> None:
    signed_up(page, site)
    clock.move(8 * DAYS)
    reject(page, site.rejection_link)
    expect_focused_heading(page, "This link has expired")
    looks.at(page, f"{site.name}-reject-expired")
    assert site.accounts == {ADDRESS: False}


def test_nothing_is_lost_while_the_api_is_down(page: Page, site: Site, looks: Looks) -> None:
    page.goto(f"{site.url}/")
    fill_in(page)
    site.api.stop()
    click(page, "Create account")
    expect_alert(page, "The server cannot be reached.")
    expect(field(page, "password")).to_have_value(PASSWORD)
    looks.at(page, f"{site.name}-unreachable")

    site.api.start()
    click(page, "Create account")
    expect_heading(page, "Look into your mailbox")

    page.goto(site.link)
    site.api.stop()
    click(page, "Confirm my address")
    expect_alert(page, "The server cannot be reached.")
    site.api.start()
    click(page, "Confirm my address")
    expect_heading(page, "Your address is confirmed")


def test_a_sign_up_whose_mail_cannot_be_sent_can_be_repeated(page: Page, site: Site) -> None:
    site.mailbox.stop()
    sign_up(page, site)
    expect_alert(page, re.compile("mail"))
    assert site.accounts == {}
