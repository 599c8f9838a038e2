"""The default mails, as a mail program shows them, and the quickstart's mailbox."""

from __future__ import annotations

import pytest
from flask_babel import Babel
from playwright.sync_api import Page, expect

from tests.support.clock import Clock

from .looks import WCAG, Looks
from .sites import Site
from .steps import ACCOUNT, ADDRESS, expect_heading, signed_up

PUBLIC = {"PUBLIC_URL": "https://example.com"}
# A heading is as wide as its card; the text in it begins where the language begins.
SPACE_BESIDE = """element => {
    const text = document.createRange();
    text.selectNodeContents(element);
    const found = text.getBoundingClientRect(), whole = element.closest("td").firstElementChild.getBoundingClientRect();
    return {left: Math.round(found.left - whole.left), right: Math.round(whole.right - found.right)};
}"""


def html_of_mail(site: Site, language: str = "en", *, has_account: bool = False) -> str:
    """Sign up in a language, with a free address or with one that has an account; return the mail's HTML."""
    app = site.configure(PUBLIC)
    Babel(app, default_locale=language)
    if has_account:
        site.make_account(ADDRESS, "grace")
    body = {"email": ADDRESS, **(ACCOUNT if site.name == "quickstart" else {})}
    assert app.test_client().post("/api/v1/accounts/register/", json=body).status_code in {201, 202}
    (mail,) = site.mailbox.messages
    return mail.html


def show(page: Page, html: str) -> None:
    page.goto("about:blank")  # a page without the policy of an example
    page.set_content(html)


def test_the_mail_with_the_link(page: Page, quickstart_site: Site, looks: Looks, clock: Clock) -> None:
    quickstart_site.configure(PUBLIC)
    signed_up(page, quickstart_site)
    show(page, quickstart_site.mailbox.messages[0].html)
    expect_heading(page, "Confirm your e-mail address")
    looks.at(page, "mail-confirm", rules=WCAG)
    expect(page.get_by_role("link", name="Confirm my address")).to_have_attribute("href", quickstart_site.link)


def test_the_mail_with_the_code(page: Page, spa_site: Site, looks: Looks, clock: Clock) -> None:
    show(page, html_of_mail(spa_site))
    looks.at(page, "mail-code", rules=WCAG)
    code = page.get_by_text(spa_site.code, exact=True)
    expect(code).to_be_visible()
    size_of = "element => parseFloat(getComputedStyle(element).fontSize)"
    assert code.evaluate(size_of) == max(text.evaluate(size_of) for text in page.locator("h1, p, a").all())
    assert spa_site.code in str(spa_site.mailbox.messages[0].message["Subject"])
    assert page.locator(f"a[href='{spa_site.link}']").count() >= 1


def test_the_mail_to_somebody_who_has_an_account(page: Page, spa_site: Site, looks: Looks) -> None:
    show(page, html_of_mail(spa_site, has_account=True))
    expect_heading(page, "You have an account already")
    looks.at(page, "mail-existing", rules=WCAG)


@pytest.mark.parametrize("kind", ["confirm", "code", "existing"])
@pytest.mark.parametrize("language", ["de", "ja", "ar", "he"])
def test_the_mails_in_other_languages(
    page: Page, request: pytest.FixtureRequest, looks: Looks, clock: Clock, language: str, kind: str
) -> None:
    site: Site = request.getfixturevalue("quickstart_site" if kind == "confirm" else "spa_site")
    show(page, html_of_mail(site, language, has_account=kind == "existing"))
    looks.at(page, f"mail-{kind}-{language}", rules=WCAG)
    begin, end = ("right", "left") if language in {"ar", "he"} else ("left", "right")
    for words in [page.get_by_role("heading"), *(page.get_by_text(code, exact=True) for code in site.codes)]:
        space = words.evaluate(SPACE_BESIDE)
        assert space[begin] == 0
        assert space[end] > 0


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
