"""What a user does, step by step, in either example."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from .sites import Site

ADDRESS = "ada@example.com"
PASSWORD = "analytical engine no. 1"
DAYS = 24 * 3600


def sign_up(page: Page, site: Site, **changes: str) -> None:
    """Fill in the form and send it."""
    page.goto(f"{site.url}/")
    fill_in(page, **changes)
    page.get_by_role("button", name="Create account").click()


def fill_in(page: Page, **changes: str) -> None:
    values = {"email": ADDRESS, "username": "ada", "password": PASSWORD, "password_confirm": PASSWORD, **changes}
    for name, value in values.items():
        field(page, name).fill(value)


def field(page: Page, name: str) -> Locator:
    labels = {
        "email": "E-mail address",
        "username": "User name",
        "password": "Password",
        "password_confirm": "Repeat the password",
    }
    return page.get_by_label(labels[name], exact=True)


def signed_up(page: Page, site: Site) -> None:
    """Sign up, up to the page that tells to look into the mailbox."""
    sign_up(page, site)
    expect_heading(page, "Look into your mailbox")


def click(page: Page, name: str) -> None:
    """Click the button whose name has these words."""
    page.get_by_role("button", name=re.compile(name)).click()


def confirm(page: Page, link: str) -> None:
    page.goto(link)
    click(page, "Confirm my address")


def reject(page: Page, link: str) -> None:
    page.goto(link)
    click(page, "Delete the account")


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


def expect_error(page: Page, name: str, text: str | re.Pattern[str]) -> None:
    """Demand a message that assistive technology connects with its field."""
    expect(field(page, name)).to_have_attribute("aria-invalid", "true")
    expect(field(page, name)).to_have_accessible_description(text)


def tab_to(page: Page, wanted: Locator) -> None:
    """Press the tabulator until the focus is there, and demand that it can be seen on the way."""
    for _ in range(30):
        page.keyboard.press("Tab")
        outline = page.evaluate("document.activeElement && getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the tabulator does not lead to {wanted}")
