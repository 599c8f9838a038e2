"""The forms, in a browser whose JavaScript is switched off: sign-up, link, log-in, account."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import ACCOUNT, ADDRESS, DAY, PASSWORD, Visitor
from tests.support.clock import Clock
from tests.support.links import with_other_character

CONFIRMED = "Your address is confirmed."
LABELS = ["E-mail address", "User name", "Password", "Repeat the password"]
WRONG = "do not belong together"
LookAt = Callable[[str], None]


@pytest.fixture
def look_at(forms: Visitor, page: Page) -> LookAt:
    """Look at what the visitor sees. axe-core is a script, so a window that runs scripts gets a copy of the page."""

    def look(name: str) -> None:
        page.goto(f"{forms.site.url}/log-in/")
        page.set_content(forms.page.content())
        forms.in_window(page).looks_at(f"forms-{name}")

    return look


def log_in(forms: Visitor, password: str = PASSWORD) -> None:
    forms.fill_in(email=ADDRESS, password=password)
    forms.click("Log in")


def sees_notice(forms: Visitor, text: str) -> None:
    expect(forms.page.get_by_role("status")).to_contain_text(text)


def test_from_sign_up_to_log_out_no_page_needs_a_script(forms: Visitor, look_at: LookAt) -> None:
    page = forms.page
    forms.open("/account/")
    sees_notice(forms, "Log in to see your account.")
    look_at("log-in")
    page.get_by_role("navigation").get_by_role("link", name="Sign up").click()
    look_at("sign-up")
    forms.send_first_page()
    forms.sees_heading("Look into your mailbox")
    expect(page).to_have_url(f"{forms.site.url}/sent/")  # a reload sends no form again
    look_at("sent")

    page.get_by_role("main").get_by_role("link", name="Open the mailbox").click()
    look_at("mailbox")
    page.get_by_role("link", name="Confirm your e-mail address").click()
    page.frame_locator("iframe").get_by_role("link", name="Open the confirmation page").click()
    forms.sees_heading("Confirm your address")
    look_at("confirm")
    assert forms.site.accounts == {ADDRESS: False}
    forms.click("Confirm my address")
    assert forms.site.accounts == {ADDRESS: True}
    sees_notice(forms, CONFIRMED)
    look_at("confirmed")

    log_in(forms)
    forms.sees_heading("Your account")
    expect(page.get_by_role("main")).to_contain_text(ADDRESS)
    look_at("account")
    forms.click("Log out")
    forms.sees_heading("Log in")
    page.go_back()
    forms.sees_heading("Log in")


def test_errors_stand_at_their_fields_and_a_summary_leads_to_them(forms: Visitor, look_at: LookAt) -> None:
    page = forms.page
    forms.begin(email="ada@", username="", password="short", password_confirm="other")
    forms.sees_alert("The data that you sent is not valid.")
    assert page.title().startswith("Error: ")
    for name in ("email", *ACCOUNT):
        forms.sees_error(name)
    leading = page.get_by_role("alert").get_by_role("link")
    expect(leading).to_have_text([re.compile(f"^{label}: ") for label in LABELS])
    look_at("errors")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(forms.field("email")).to_be_focused()

    forms.send_first_page(username="grace")
    forms.begin(username="grace")
    forms.sees_error("email", "already has an account")
    forms.sees_error("username")
    expect(forms.field("email")).to_have_value(ADDRESS)
    expect(forms.field("username")).to_have_value("grace")
    for name in ("password", "password_confirm"):
        forms.sees_no_error(name)
        expect(forms.field(name)).to_have_value("")


def test_a_sign_up_that_could_not_be_mailed_may_be_sent_again(forms: Visitor, look_at: LookAt) -> None:
    forms.site.mailbox.stop()
    forms.begin()
    forms.sees_alert("The e-mail could not be sent.")
    look_at("not-sent")
    assert forms.site.accounts == {}
    forms.site.configure()
    forms.fill_in(password=PASSWORD, password_confirm=PASSWORD)
    forms.click("Create account")
    forms.sees_heading("Look into your mailbox")


def test_a_form_whose_session_is_gone_keeps_what_was_typed(forms: Visitor) -> None:
    forms.open()
    forms.page.context.clear_cookies()
    forms.send_first_page()
    forms.sees_alert("This page was out of date.")
    expect(forms.field("username")).to_have_value(ACCOUNT["username"])
    assert forms.site.accounts == {}


def test_a_link_that_has_expired_is_replaced_by_a_new_one(forms: Visitor, clock: Clock, look_at: LookAt) -> None:
    forms.get_mail()
    clock.move(8 * DAY)
    forms.confirm()
    forms.sees_heading("This link has expired")
    look_at("expired")
    address = forms.page.get_by_label("Your e-mail address")
    address.fill("ada@")
    forms.click("Send me a new link")
    forms.sees_alert("Enter an e-mail address")
    expect(address).to_have_accessible_description(re.compile("Enter an e-mail address"))
    look_at("send-again")
    address.fill(ADDRESS)
    forms.click("Send me a new link")
    sees_notice(forms, "If this address waits to be confirmed, a mail was sent")
    look_at("sent-again")
    forms.confirm()
    sees_notice(forms, CONFIRMED)


@pytest.mark.parametrize("fault", ["changed", "cut off"])
def test_a_link_that_is_not_genuine_says_so(forms: Visitor, look_at: LookAt, fault: str) -> None:
    forms.get_mail()
    link = forms.site.link
    signature = link.index("signature=") + len("signature=")
    forms.page.goto(with_other_character(link, signature) if fault == "changed" else link[: link.index("&signature")])
    if fault == "changed":
        forms.click("Confirm my address")
    forms.sees_heading("This link is not valid")
    look_at("not-valid")
    assert forms.site.accounts == {ADDRESS: False}


def test_only_the_right_password_tells_that_the_address_is_not_confirmed(
    forms: Visitor, clock: Clock, look_at: LookAt
) -> None:
    forms.get_mail()
    forms.open("/log-in/")
    log_in(forms, "not my password")
    forms.sees_alert(WRONG)
    look_at("log-in-wrong")
    log_in(forms)
    sees_notice(forms, "Confirm your address before you log in.")
    look_at("not-confirmed")
    clock.move(60)
    forms.click("Send it again")
    sees_notice(forms, "a mail was sent")
    assert len(forms.site.mails) == 2
    forms.confirm()
    log_in(forms)
    forms.sees_heading("Your account")
