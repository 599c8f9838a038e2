"""The built site: it builds without a warning, and a newcomer's question is answered by one search."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sphinx.search.en import SearchEnglish

from tests.support.pages import DOCS

pytestmark = pytest.mark.programs

#: What a newcomer asks, what they type into the search field, and the page that answers it.
QUESTIONS = {
    "How do I get it running?": ("five-minute start", "quickstart"),
    "Who talks to whom, and why a button?": ("why button", "workflow"),
    "How do I add a field to the sign-up?": ("add field sign-up", "customising"),
    "How do I change the words of the mail?": ("templates mail", "customising"),
    "Can it speak German, or Arabic?": ("languages German", "languages"),
    "How do I change the URL of the link?": ("link URL", "customising"),
    "How do I return a token?": ("token", "customising"),
    "How do I add a captcha?": ("captcha", "customising"),
    "Does it work with my user model?": ("user model", "models"),
    "How do I use set_password()?": ("set_password", "models"),
    "How do I know that somebody has signed up?": ("user_registered signal", "signals"),
    "How do I have the link sent again?": ("send the link again", "resend"),
    "How do I have the address proven first?": ("e-mail first", "email_first"),
    "How do I mail a code?": ("one-time code", "email_first"),
    "How do I delete accounts that nobody verified?": ("delete accounts never verified", "email_first"),
    "How do I clean up pending registrations?": ("purge", "commands"),
    "How do I keep secret who has an account?": ("stranger finds who has account", "email_first"),
    "How do I send with Celery?": ("Celery", "celery"),
    "Which settings are in force?": ("settings force", "commands"),
    "Is there an OpenAPI document?": ("OpenAPI", "openapi"),
    "How do I limit the requests?": ("rate limits", "deployment"),
    "How do I use a front end on another host?": ("CORS", "deployment"),
    "How do I rotate the key?": ("key rotation", "deployment"),
    "Does it need CSRF tokens?": ("CSRF", "deployment"),
    "What about mixed-case addresses?": ("mixed-case addresses", "deployment"),
    "Why is the link invalid?": ("link invalid", "http"),
    "May I repeat the request after a 503?": ("request repeated", "answers"),
    "How do I test my application?": ("testing application", "testing"),
    "How do I move from Django?": ("django-rest-registration", "coming_from_django"),
    "How do I move from my own views?": ("hand-written views", "coming_from_views"),
    "Where is the default of a setting?": ("settings", "settings"),
    "What does it promise, and is it tested?": ("promises", "promises"),
    "Which attacks does it stop?": ("security attacks", "security"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as HTML, built as ``make docs`` builds them."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run([*command, str(DOCS), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@dataclass(frozen=True)
class Index:
    """Sphinx's index of the words of all pages, searched as ``searchtools.js`` does.

    :param index: what Sphinx wrote into ``searchindex.js``.
    """

    index: dict[str, Any]

    @classmethod
    def of(cls, site: Path) -> Index:
        script = (site / "searchindex.js").read_text(encoding="utf-8")
        return cls(json.loads(script.removeprefix("Search.setIndex(").rstrip().removesuffix(")")))

    def search(self, query: str) -> list[str]:
        """Return the names of the pages that a search finds, the best first."""
        english = SearchEnglish({})
        words = [word for word in english.split(query.lower()) if english.word_filter(word)]
        scores: dict[int, float] = {}
        found = [self._found(english.stem(word)) for word in words]
        for page in set.intersection(*(set(each) for each in found)):
            scores[page] = max(each[page] for each in found)  # every word has to be on the page
        for title, places in self.index["alltitles"].items():
            if query.lower() in title.lower() and len(query) >= len(title) / 2:
                for page, anchor in places:
                    score = round(15 * len(query) / len(title)) + (anchor is None)
                    scores[page] = max(scores.get(page, 0), score)
        titles = self.index["titles"]
        ranked = sorted(scores, key=lambda page: (-scores[page], titles[page].lower()))
        return [self.index["docnames"][page] for page in ranked]

    def _found(self, stem: str) -> dict[int, float]:
        scores: dict[int, float] = {}
        for terms, exact, partial in ((self.index["terms"], 5, 2), (self.index["titleterms"], 15, 7)):
            for term, where in terms.items():
                score = exact if term == stem else partial if len(stem) > 2 and stem in term else 0
                if score and (term == stem or stem not in terms):
                    for page in [where] if isinstance(where, int) else where:
                        scores[page] = max(scores.get(page, 0), score)
        return scores


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_by_one_of_the_first_three_pages_of_one_search(site: Path, question: str) -> None:
    query, page = QUESTIONS[question]
    found = Index.of(site).search(query)
    assert page in found[:3], f"{query}: {found}"


def test_a_search_for_what_is_nowhere_finds_nothing(site: Path) -> None:
    assert Index.of(site).search("xylophone") == []


def test_the_page_of_questions_leads_to_every_page_that_answers_one() -> None:
    page = (DOCS / "howto.rst").read_text(encoding="utf-8")
    asked = set(re.findall(r":doc:`(\w+)`", page))
    assert {answer for _, answer in QUESTIONS.values()} - asked == {"workflow"}
    assert len(re.findall(r"^\.\.\. ", page, re.MULTILINE)) >= 20


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"(https?:[^\"]+)\"", html)
        loaded += re.findall(r"<link[^>]+rel=\"stylesheet\"[^>]+href=\"(https?:[^\"]+)\"", html)
        assert loaded == [], page.name


@pytest.mark.parametrize("page", ["workflow", "email_first"])
def test_the_diagram_stands_in_its_page_and_takes_its_colours_from_the_theme(site: Path, page: str) -> None:
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    assert '<svg viewBox="0 0 760 ' in html
    assert "POST verify-registration/" in html
    assert re.findall(r"(?:fill|stroke)=\"#", html[html.index('<div class="sequence">') : html.index("</svg>")]) == []
    css = (site / "_static" / "site.css").read_text(encoding="utf-8")
    assert re.findall(r"#[0-9a-f]{3,6}\b", css) == []
