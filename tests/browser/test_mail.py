"""The default mails, as a mail program shows them, and the quickstart's mailbox."""

from __future__ import annotations

import pytest
from flask import Flask
from flask_babel import Babel
from playwright.sync_api import Page, expect

from ..support import models
from ..support.apps import Builder
from ..support.clock import Clock
from .looks import WCAG, Looks
from .sites import Site
from .steps import ADDRESS, expect_heading, signed_up


def test_the_mail_with_the_link(page: Page, quickstart_site: Site, looks: Looks, clock: Clock) -> None:
    quickstart_site.configure({"PUBLIC_URL": "https://example.com"})
    signed_up(page, quickstart_site)
    page.goto("about:blank")  # a page without the quickstart's policy
    page.set_content(quickstart_site.mailbox.messages[0].html)
    expect_heading(page, "Confirm your e-mail address")
    looks.at(page, "mail-confirm", rules=WCAG)
    expect(page.get_by_role("link", name="Confirm my address")).to_have_attribute("href", quickstart_site.link)
    expect(page.get_by_role("link", name="Delete the account")).to_have_attribute(
        "href", quickstart_site.rejection_link
    )


HIDING = {"REGISTER_HIDE_EXISTING_EMAIL": True, "REGISTER_PASSWORD_AT": "verify"}


def html_of_mail(build: Builder, language: str, *, to_owner: bool = False) -> str:
    """Sign up in a language, once, or again with the address of an account; return the last mail's HTML."""

    def speak(app: Flask) -> None:
        Babel(app, default_locale=language)

    registration = {**(HIDING if to_owner else {}), "REGISTER_REJECTION_URL": "https://example.com/reject-user/"}
    built = build(models.claiming, registration=registration, before_init=speak)
    sent = {"email": ADDRESS, "username": "ann"} if to_owner else built.body()
    with built.mail.record_messages() as messages:
        built.post("register/", sent)
        if to_owner:
            built.execute_outside("UPDATE user SET email_verified_at = '2026-01-01 00:00:00'")
            built.post("register/", {**sent, "username": "bob"})
    return str(messages[-1].html)


def test_the_mail_to_somebody_who_has_an_account(page: Page, build: Builder, looks: Looks) -> None:
    page.set_content(html_of_mail(build, "en", to_owner=True))
    expect_heading(page, "You have an account already")
    looks.at(page, "mail-existing", rules=WCAG)


@pytest.mark.parametrize("to_owner", [False, True], ids=["confirm", "existing"])
@pytest.mark.parametrize("language", ["de", "ja", "ar", "he"])
def test_the_mails_in_other_languages(page: Page, build: Builder, looks: Looks, language: str, to_owner: bool) -> None:
    page.set_content(html_of_mail(build, language, to_owner=to_owner))
    looks.at(page, f"mail-{'existing' if to_owner else 'confirm'}-{language}", rules=WCAG)
    # A heading is as wide as its card; the text in it begins where the language begins.
    start = page.evaluate(
        """() => {
            const text = document.createRange();
            text.selectNodeContents(document.querySelector("h1"));
            const found = text.getBoundingClientRect(), whole = document.querySelector("h1").getBoundingClientRect();
            return [found.left - whole.left, whole.right - found.right].map(Math.round);
        }"""
    )
    assert start[language in {"ar", "he"}] == 0
    assert start[language not in {"ar", "he"}] > 0


def test_the_mailbox(page: Page, quickstart_site: Site, looks: Looks) -> None:
    page.goto(f"{quickstart_site.url}/mailbox/")
    expect(page.get_by_text("No mails yet.")).to_be_visible()
    looks.at(page, "quickstart-mailbox-empty")
    signed_up(page, quickstart_site)
    page.goto(f"{quickstart_site.url}/mailbox/")
    expect(page.get_by_text(f"to {ADDRESS}")).to_be_visible()
    looks.at(page, "quickstart-mailbox")
    page.get_by_role("link", name="Confirm your e-mail address").click()
    page.locator("iframe").scroll_into_view_if_needed()
    expect(page.frame_locator("iframe").get_by_role("heading")).to_be_visible()
    looks.at(page, "quickstart-mail")
