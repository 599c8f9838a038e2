"""The default mails, as a mail program shows them, and the quickstart's mailbox."""

from __future__ import annotations

from playwright.sync_api import Page, expect

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
    expect(page.get_by_role("link", name="delete it at once")).to_have_attribute("href", quickstart_site.rejection_link)


def test_the_mail_to_somebody_who_has_an_account(page: Page, quickstart_site: Site, looks: Looks) -> None:
    app = quickstart_site.apps[0]
    html = app.jinja_env.get_template("rest_registration/register/existing_body.html").render(site="example.com")
    page.set_content(html)
    expect_heading(page, "You have an account already")
    looks.at(page, "mail-existing", rules=WCAG)


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
