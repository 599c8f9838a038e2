"""The account at sign-up, with resend, from the first page to the last: in the quickstart."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.visitor import ADDRESS, DAY, MINUTE, PASSWORD, Visitor
from tests.support.clock import Clock

CONFIRMED = "Your address is confirmed"
RESENT = "If an account with this address waits for its verification, a message was sent"


def test_opening_the_link_posts_nothing_and_leaves_no_secret_in_the_address(quickstart: Visitor) -> None:
    page = quickstart.page
    quickstart.open("/mailbox/")
    expect(page.get_by_text("No mails yet.")).to_be_visible()
    quickstart.looks_at("quickstart-mailbox-empty")
    quickstart.open()
    quickstart.looks_at("quickstart-sign-up")

    quickstart.begin()
    quickstart.sees_page("Look into your mailbox")
    expect(page.get_by_text(ADDRESS)).to_be_visible()
    quickstart.looks_at("quickstart-sent")

    page.get_by_role("link", name="Open the mailbox").click()
    expect(page.get_by_text(f"to {ADDRESS}")).to_be_visible()
    quickstart.looks_at("quickstart-mailbox")
    page.get_by_role("link", name="Confirm your e-mail address").click()
    page.locator("iframe").scroll_into_view_if_needed()
    expect(page.frame_locator("iframe").get_by_role("heading")).to_be_visible()
    quickstart.looks_at("quickstart-mail")

    posts = quickstart.posts()
    page.frame_locator("iframe").get_by_role("link", name="Open the confirmation page").click()
    quickstart.sees_heading("Confirm your address")
    page.wait_for_load_state("networkidle")
    expect(page).to_have_url(f"{quickstart.site.url}/verify-user/")
    quickstart.looks_at("quickstart-ask")
    page.reload()
    quickstart.sees_heading("Confirm your address")
    assert (posts, quickstart.site.accounts) == ([], {ADDRESS: False})
    quickstart.click("Confirm my address")
    quickstart.sees_page(CONFIRMED)
    quickstart.looks_at("quickstart-done")
    assert quickstart.site.accounts == {ADDRESS: True}
    quickstart.follow("Log in")
    quickstart.log_in()
    quickstart.sees_heading("Your account")


def test_errors_stand_at_their_fields(quickstart: Visitor) -> None:
    quickstart.get_mail()
    quickstart.begin()
    quickstart.sees_error("email", "already has an account", focused=True)

    quickstart.begin(email="ada@", username="")
    quickstart.sees_error("email", "Enter an e-mail address", focused=True)
    quickstart.sees_error("username")
    quickstart.sees_no_error("password")
    quickstart.looks_at("quickstart-errors")

    weak = {"password": "password1", "password_confirm": "password1"}
    quickstart.begin(email="grace@example.com", username="grace", **weak)
    quickstart.sees_error("password", r"At least 8 characters.*\w", focused=True)
    quickstart.fill_in(password=PASSWORD, password_confirm=PASSWORD)
    quickstart.sees_no_error("password")
    quickstart.click("Create account")
    quickstart.sees_heading("Look into your mailbox")


def test_the_answer_to_send_it_again_is_the_same_while_the_cooldown_lasts(quickstart: Visitor, clock: Clock) -> None:
    quickstart.get_mail()
    for wait, mails in [(0, 2), (29, 2), (1, 3)]:
        clock.move(wait)
        with quickstart.page.expect_response("**/resend-verification/"):
            quickstart.click("Send it again")
        quickstart.sees_status(RESENT)
        assert [mail.recipients for mail in quickstart.site.mails] == [(ADDRESS,)] * mails
    quickstart.looks_at("quickstart-sent-again")


def test_a_link_that_has_expired_is_replaced_by_a_new_one(quickstart: Visitor, clock: Clock) -> None:
    quickstart.get_mail()
    clock.move(8 * DAY)
    quickstart.confirm()
    quickstart.sees_page("This link has expired")
    quickstart.looks_at("quickstart-expired")
    assert quickstart.site.accounts == {ADDRESS: False}

    address = quickstart.page.get_by_label("Your e-mail address")
    address.fill("ada@")
    quickstart.click("Send me a new link")
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(address).to_have_accessible_description(re.compile("Enter an e-mail address"))
    expect(address).to_be_focused()
    address.fill(ADDRESS)
    quickstart.click("Send me a new link")
    quickstart.sees_status(RESENT)
    quickstart.looks_at("quickstart-expired-sent-again")
    assert len(quickstart.site.mails) == 2
    quickstart.confirm()
    quickstart.sees_heading(CONFIRMED)


def test_somebody_whose_link_was_lost_gets_another_at_the_log_in(quickstart: Visitor, clock: Clock) -> None:
    quickstart.get_mail()
    quickstart.open("/log-in/")
    quickstart.log_in()
    quickstart.sees_page("Confirm your address first")
    quickstart.looks_at("quickstart-not-verified")
    clock.move(MINUTE)
    quickstart.click("Send it again")
    quickstart.sees_status(RESENT)
    assert len(quickstart.site.mails) == 2
    quickstart.confirm()
    quickstart.sees_heading(CONFIRMED)


def test_a_link_works_after_a_failure_and_again_unless_it_is_for_one_time_use(quickstart: Visitor) -> None:
    quickstart.get_mail()
    link = quickstart.site.link
    quickstart.page.goto(link)
    quickstart.site.api.stop()
    quickstart.click("Confirm my address")
    quickstart.sees_alert("The server cannot be reached.")
    quickstart.site.api.start()
    quickstart.click("Confirm my address")
    quickstart.sees_page(CONFIRMED)
    quickstart.confirm()
    quickstart.sees_page(CONFIRMED)
    quickstart.site.configure(REST_REGISTRATION_REGISTER_VERIFICATION_ONE_TIME_USE=True)
    quickstart.page.goto(link)
    quickstart.click("Confirm my address")
    quickstart.sees_page("This link is not valid")
