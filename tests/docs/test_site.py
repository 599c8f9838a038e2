"""The built site: it builds without a warning, and a newcomer's question is answered by one search."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sphinx.search.en import SearchEnglish

from tests.support.pages import DOCS

pytestmark = [pytest.mark.programs, pytest.mark.slow]

#: What a newcomer types into the search field, by the page that answers it.
SEARCHES = {
    "adopting": ["mixed-case addresses", "Flask-Migrate", "existing accounts migration"],
    "answers": ["request repeated"],
    "celery": ["Celery", "Celery worker"],
    "codes": ["one-time code", "codes in the mail", "autofill"],
    "coming_from_django": ["django-rest-registration"],
    "coming_from_views": ["hand-written views"],
    "commands": ["purge", "settings force", "check command"],
    "compatibility": ["versions Python", "licence"],
    "customising": ["add field sign-up", "default role", "captcha", "password rules"],
    "deployment": ["rate limits", "CORS", "key rotation", "CSRF", "gunicorn nginx", "production"],
    "email_first": [
        "e-mail first",
        "delete accounts never verified",
        "stranger finds who has account",
    ],
    "errors": ["error codes", "signature-invalid"],
    "forms": ["forms without JavaScript", "Flask-WTF", "HTML form"],
    "http": ["HTTP API", "fetch register"],
    "languages": ["languages German"],
    "login": ["log in", "check flag", "token", "remember me", "gate before_request"],
    "mails": ["templates mail", "link URL", "sender address", "site name"],
    "models": ["user model", "set_password"],
    "monitoring": ["monitoring", "metrics signals"],
    "openapi": ["OpenAPI", "generated clients"],
    "performance": ["performance"],
    "promises": ["promises"],
    "quickstart": ["five-minute start"],
    "resend": ["send the link again"],
    "security": ["security attacks"],
    "settings": ["settings", "REGISTER_VERIFICATION_PERIOD"],
    "signals": ["user_registered signal"],
    "spa": ["React", "fetch JavaScript"],
    "tenants": ["row-level security", "tenants"],
    "testing": ["testing application"],
    "transports": ["mail provider", "Flask-Mailman", "smtplib", "another transport", "RQ worker"],
    "troubleshooting": ["link invalid", "mail not arrive", "CSRF token missing"],
    "workflow": ["why button"],
}


@dataclass(frozen=True)
class Index:
    """Sphinx's index of the words of all pages, ``searchindex.js``, searched as ``searchtools.js`` does."""

    index: dict[str, Any]

    def search(self, query: str) -> list[str]:
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
        for entry, places in self.index["indexentries"].items():
            if query.lower() in entry.lower() and len(query) >= len(entry) / 2:
                for page, _, is_main in places:
                    if is_main:
                        scores[page] = max(scores.get(page, 0), round(100 * len(query) / len(entry)))
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


def test_a_question_is_answered_by_one_of_the_first_three_pages_of_one_search(site: Path) -> None:
    script = (site / "searchindex.js").read_text(encoding="utf-8")
    index = Index(json.loads(script.removeprefix("Search.setIndex(").rstrip().removesuffix(")")))
    found = {(query, page): index.search(query)[:3] for page, queries in SEARCHES.items() for query in queries}
    assert {query: pages for (query, page), pages in found.items() if page not in pages} == {}
    assert index.search("xylophone") == []


def test_the_page_of_questions_leads_to_every_page_that_answers_one() -> None:
    page = (DOCS / "howto.rst").read_text(encoding="utf-8")
    assert SEARCHES.keys() - set(re.findall(r":doc:`(\w+)`", page)) == {"workflow"}
    assert len(re.findall(r"^\* \.\.\. ", page, re.MULTILINE)) >= 20


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        sources = r"<(?:(?:script|img|iframe)[^>]+src|link[^>]+rel=\"stylesheet\"[^>]+href)=\"(https?:[^\"]+)\""
        assert re.findall(sources, html) == [], page.name


def test_each_page_is_markdown_too_and_llms_txt_names_it(site: Path) -> None:
    index = (site / "llms.txt").read_text(encoding="utf-8")
    titles = {name: title for title, name in re.findall(r"^- \[(.+?)\]\((\w+)\.md\)", index, re.MULTILINE)}
    assert titles.keys() == {page.stem for page in DOCS.glob("*.rst")} == {page.stem for page in site.glob("*.md")}
    for name, title in titles.items():
        (heading,) = re.findall(r"<h1>(.+?)<a", (site / f"{name}.html").read_text(encoding="utf-8"))
        markdown = (site / f"{name}.md").read_text(encoding="utf-8")
        assert (title, markdown.splitlines()[0]) == (unescape(heading), f"# {unescape(heading)}")
        assert "This page shows" in markdown


def test_the_diagrams_stand_in_their_pages_and_take_their_colours_from_the_theme(site: Path) -> None:
    for page in ("workflow", "email_first"):
        html = (site / f"{page}.html").read_text(encoding="utf-8")
        assert '<svg viewBox="0 0 760 ' in html
        assert "POST verify-registration/" in html
        diagram = html[html.index('<div class="sequence">') : html.index("</svg>")]
        assert re.findall(r"(?:fill|stroke)=\"#", diagram) == []
    assert re.findall(r"#[0-9a-f]{3,6}\b", (site / "_static" / "site.css").read_text(encoding="utf-8")) == []
