"""The default mails, as a mail program shows them."""

from __future__ import annotations

import pytest
from flask_babel import Babel
from playwright.sync_api import expect

from tests.browser.looks import WCAG
from tests.browser.visitor import ACCOUNT, ADDRESS, Visitor
from tests.support.clock import Clock

# A heading is as wide as its card; the text in it begins where the language begins.
SPACE_BESIDE = """element => {
    const text = document.createRange();
    text.selectNodeContents(element);
    const found = text.getBoundingClientRect(), whole = element.closest("td").firstElementChild.getBoundingClientRect();
    return {left: Math.round(found.left - whole.left), right: Math.round(whole.right - found.right)};
}"""
SIZE = "element => parseFloat(getComputedStyle(element).fontSize)"


def show_mail(visitor: Visitor, language: str = "en", *, has_account: bool = False) -> None:
    """Sign up in a language, with a free address or with one that has an account, and open the mail's HTML."""
    app = visitor.site.configure(PUBLIC_URL="https://example.com")
    Babel(app, default_locale=language)
    if has_account:
        visitor.site.make_account(ADDRESS, "grace")
    body = {"email": ADDRESS, **(ACCOUNT if visitor.site.name == "quickstart" else {})}
    assert app.test_client().post("/api/v1/accounts/register/", json=body).status_code in {201, 202}
    (mail,) = visitor.site.mails
    visitor.page.goto("about:blank")  # a page without the policy of an example
    visitor.page.set_content(mail.html)


@pytest.mark.parametrize("kind", ["confirm", "code", "existing"])
@pytest.mark.parametrize("language", ["en", "de", "ja", "ar", "he"])
def test_each_mail_in_each_direction(request: pytest.FixtureRequest, clock: Clock, language: str, kind: str) -> None:
    visitor: Visitor = request.getfixturevalue("quickstart" if kind == "confirm" else "spa")
    show_mail(visitor, language, has_account=kind == "existing")
    visitor.looks_at(f"mail-{kind}" if language == "en" else f"mail-{kind}-{language}", rules=WCAG)
    page = visitor.page
    if kind != "existing":
        assert page.locator(f"a[href='{visitor.site.link}']").count() >= 1
    begin, end = ("right", "left") if language in {"ar", "he"} else ("left", "right")
    assert len(visitor.site.codes) == (kind == "code")
    codes = [page.get_by_text(code, exact=True) for code in visitor.site.codes]
    for code in codes:
        expect(code).to_be_visible()
        assert code.evaluate(SIZE) == max(text.evaluate(SIZE) for text in page.locator("h1, p, a").all())
        assert code.inner_text() in visitor.site.mails[0].message["Subject"]
    for words in [page.get_by_role("heading"), *codes]:
        space = words.evaluate(SPACE_BESIDE)
        assert space[begin] == 0
        assert space[end] > 0
