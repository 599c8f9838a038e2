"""Somebody who signs up with a browser: what they do, and what they have to see."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from playwright.sync_api import Locator, Page, Request, expect

from tests.browser.looks import Looks
from tests.browser.sites import Site

ADDRESS = "ada@example.com"
PASSWORD = "analytical engine no. 1"
ACCOUNT = {"username": "ada", "password": PASSWORD, "password_confirm": PASSWORD}
RING = "rgb(29, 78, 216) solid 3px"
LONG_ADDRESS = "augusta.ada.king.countess.of.lovelace.and.byron@analytical-engines-of-london.example.com"
LONG_NAME = "Wolfeschlegelsteinhausenbergerdorffwelch"
MINUTE, DAY = 60, 24 * 3600

_LABELS = {"email": "E-mail address", "username": "User name", "password_confirm": "Repeat the password"}


class Visitor:
    """Somebody at one of the examples. What is named ``sees`` or ``looks`` fails the test where it is not so."""

    def __init__(self, page: Page, site: Site, looks: Looks) -> None:
        self.page = page
        self.site = site
        self._looks = looks

    def looks_at(self, name: str, *, rules: Mapping[str, Any] | None = None) -> None:
        self._looks.at(self.page, name, rules=rules, larger=True)

    def records(self, name: str) -> AbstractContextManager[Callable[[float], None]]:
        return self._looks.recording(self.page, name)

    def in_window(self, page: Page) -> Visitor:
        return Visitor(page, self.site, self._looks)

    def open(self, path: str = "/") -> None:
        self.page.goto(f"{self.site.url}{path}")

    def field(self, name: str) -> Locator:
        return self.page.get_by_label(_LABELS.get(name, name.capitalize()), exact=True)

    def fill_in(self, **values: str) -> None:
        for name, value in values.items():
            self.field(name).fill(value)

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=re.compile(name)).click()

    def follow(self, name: str) -> None:
        """Click a link of the page's main part."""
        self.page.get_by_role("main").get_by_role("link", name=name, exact=True).click()

    def begin(self, **changes: str) -> None:
        self.open()
        self.send_first_page(**changes)

    def send_first_page(self, **changes: str) -> None:
        """Fill it in and send it: the address in the SPA, the account elsewhere."""
        whole = self.site.name != "spa"
        self.fill_in(**{"email": ADDRESS, **(ACCOUNT if whole else {}), **changes})
        self.click("Create account" if whole else "Continue")

    def get_mail(self, **changes: str) -> None:
        """Do so, up to the page that tells to look into the mailbox."""
        self.begin(**changes)
        self.sees_heading("Look into your mailbox")

    def has_account(self) -> None:
        """Sign up to the end, then be logged out."""
        self.get_mail()
        if self.site.name == "spa":
            self.gets_account(code=self.site.code)
            self.page.evaluate("sessionStorage.clear()")
        else:
            self.confirm()
            self.sees_heading("Your address is confirmed")

    def confirm(self) -> None:
        """Open the link of the newest mail where the account is made at sign-up, and press the page's button."""
        self.page.goto(self.site.link)
        self.click("Confirm my address")

    def open_link(self, appended: str = "") -> None:
        """Open the link of the newest mail in the SPA, up to the page that asks for the account's fields."""
        self.page.goto(self.site.link + appended)
        self.sees_heading("Finish your account")

    def finish(self, **changes: str) -> None:
        """Fill in the account's fields in the SPA, and others that are named, and send them."""
        self.fill_in(**{**ACCOUNT, **changes})
        self.click("Create account")

    def gets_account(self, **changes: str) -> None:
        self.finish(**changes)
        self.sees_page("Your account is ready")

    def log_in(self, email: str = ADDRESS, password: str = PASSWORD) -> None:
        """Fill in the form of the log-in, which is open, and send it."""
        self.fill_in(email=email, password=password)
        self.click("Log in")

    def posts(self) -> list[tuple[str, Any]]:
        """Collect the endpoints that the page posts to from now on, with what is sent."""
        posts: list[tuple[str, Any]] = []

        def note(sent: Request) -> None:
            if sent.method == "POST":
                posts.append((sent.url.removeprefix(f"{self.site.api.url}/api/v1/accounts/"), sent.post_data_json))

        self.page.on("request", note)
        return posts

    def tab_to(self, wanted: Locator) -> None:
        """Press the tabulator until the focus is there; on the way it has one and the same ring."""
        for _ in range(30):
            self.page.keyboard.press("Tab")
            ring = self.page.evaluate("getComputedStyle(document.activeElement ?? document.body).outline")
            assert ring == RING, self.page.evaluate("document.activeElement.outerHTML")
            if wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"the tabulator does not lead to {wanted}")

    def type_in(self, **values: str) -> None:
        for name, value in values.items():
            self.tab_to(self.field(name))
            self.page.keyboard.type(value)

    def sees_heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(text)

    def sees_page(self, text: str) -> None:
        """See the heading of a page, which a screen reader reads out now."""
        self.sees_heading(text)
        expect(self.page.get_by_role("heading", level=1)).to_be_focused()
        assert self.page.title().startswith(text)

    def sees_alert(self, text: str) -> None:
        expect(self.page.get_by_role("alert")).to_contain_text(text)
        expect(self.page.get_by_role("alert")).to_be_focused()

    def sees_status(self, text: str) -> None:
        """See a text that assistive technology reads out whatever has the focus."""
        expect(self.page.get_by_role("status").filter(has_text=text)).to_be_visible()

    def sees_error(self, name: str, pattern: str = r"\w", *, focused: bool = False) -> None:
        """See an error that assistive technology connects with its field."""
        field = self.field(name)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(pattern))
        if focused:
            expect(field).to_be_focused()

    def sees_no_error(self, name: str) -> None:
        expect(self.field(name)).not_to_have_attribute("aria-invalid", "true")
