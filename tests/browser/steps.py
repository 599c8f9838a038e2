"""What a user does, step by step: in the quickstart, in the SPA."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from .sites import Site

ADDRESS = "ada@example.com"
PASSWORD = "analytical engine no. 1"
MINUTE, DAY = 60, 24 * 3600

ACCOUNT = {"username": "ada", "password": PASSWORD, "password_confirm": PASSWORD}
_LABELS = {
    "email": "E-mail address",
    "code": "Code",
    "username": "User name",
    "password": "Password",
    "password_confirm": "Repeat the password",
}


def field(page: Page, name: str) -> Locator:
    return page.get_by_label(_LABELS[name], exact=True)


def fill_in(page: Page, **values: str) -> None:
    for name, value in values.items():
        field(page, name).fill(value)


def click(page: Page, name: str) -> None:
    """Click the button whose name has these words."""
    page.get_by_role("button", name=re.compile(name)).click()


# The quickstart: the account at sign-up


def sign_up(page: Page, site: Site, **changes: str) -> None:
    """Fill in the quickstart's form and send it."""
    page.goto(f"{site.url}/")
    fill_in(page, **{"email": ADDRESS, **ACCOUNT, **changes})
    click(page, "Create account")


def signed_up(page: Page, site: Site) -> None:
    """Sign up, up to the page that tells to look into the mailbox."""
    sign_up(page, site)
    expect_heading(page, "Look into your mailbox")


def confirm(page: Page, link: str) -> None:
    page.goto(link)
    click(page, "Confirm my address")


# The SPA: e-mail first


def send_address(page: Page, site: Site, address: str = ADDRESS) -> None:
    """Fill in the SPA's first page and send it."""
    page.goto(f"{site.url}/")
    fill_in(page, email=address)
    click(page, "Continue")


def asked_for_mail(page: Page, site: Site, address: str = ADDRESS) -> None:
    """Ask for a mail, up to the page for the code."""
    send_address(page, site, address)
    expect_heading(page, "Look into your mailbox")


def finish(page: Page, **changes: str) -> None:
    """Fill in the account's fields, and others that are named, and send them."""
    fill_in(page, **{**ACCOUNT, **changes})
    click(page, "Create account")


def open_link(page: Page, link: str) -> None:
    """Open a mail's link in the SPA, up to the page that asks for the account's fields."""
    page.goto(link)
    expect_heading(page, "Finish your account")


# What is demanded


def expect_heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def expect_focused_heading(page: Page, text: str) -> None:
    """Demand the heading that a screen reader reads out now."""
    expect_heading(page, text)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert page.title().startswith(text)


def expect_alert(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("alert")).to_contain_text(text)
    expect(page.get_by_role("alert")).to_be_focused()


def expect_status(page: Page, text: str) -> None:
    """Demand a text that assistive technology reads out whatever has the focus."""
    expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()


def expect_error(page: Page, name: str, text: str | re.Pattern[str]) -> None:
    """Demand a message that assistive technology connects with its field."""
    expect(field(page, name)).to_have_attribute("aria-invalid", "true")
    expect(field(page, name)).to_have_accessible_description(text)


def expect_no_error(page: Page, name: str) -> None:
    expect(field(page, name)).not_to_have_attribute("aria-invalid", "true")


def tab_to(page: Page, wanted: Locator) -> None:
    """Press the tabulator until the focus is there, and demand that it can be seen on the way."""
    for _ in range(30):
        page.keyboard.press("Tab")
        outline = page.evaluate("document.activeElement && getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the tabulator does not lead to {wanted}")
