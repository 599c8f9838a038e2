"""The text that is made of an HTML mail: it keeps every URL as it is, and never fails."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_rest_registration.mail.html_to_text import html_to_text

QUERIES = st.text("abz09&=;%#/?:.-_~+") | st.lists(
    st.sampled_from(["&timestamp=", "&copy", "&lt=", "&notit;", "&amp;", "&#38;", "&para", "1", ";", "=", "%26"])
).map("".join)
PIECES = ["<", ">", "<!", "<![", "]>", "<![CDATA[", "]]>", "<!--", "-->", "<?", "</", "/>", "<a href=", "'", '"', "&#"]
PIECES += [
    "&times",
    "&#xD800;",
    "&#0;",
    ";",
    "<!doctype",
    "<script>",
    "<style",
    "<title>",
    "</p>",
    "x",
    " ",
    "\n",
    "\0",
]


@given(st.sampled_from(['<p>Go <a href="{}">there</a> now', "<p>{}</p>", "<a href='{}'>{}</a>"]), QUERIES)
def test_no_url_is_changed_where_it_is_escaped(template: str, query: str) -> None:
    url = f"https://x.example/?{query}"
    assert url in html_to_text(template.replace("{}", html.escape(url)))


@pytest.mark.parametrize("template", ['<a href="{}">there</a>', "<a href={}>there</a>", "<p>Open {}</p>"])
@pytest.mark.parametrize(
    "query", ["user_id=1&timestamp=2&signature=3", "a=1&copy=2&lt=3&notit=4&para=5&amp=6", "a=1&notify;b=2&unknown;=3"]
)
def test_an_ampersand_that_is_not_escaped_does_not_change_a_url(template: str, query: str) -> None:
    url = f"https://x.example/?{query}"
    assert url in html_to_text(template.replace("{}", url))


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=40))
def test_nothing_makes_it_fail(source: str) -> None:
    html_to_text(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a<![x]>b", "ab"),
        ("<![if !mso]>for all<![endif]>", "for all"),
        ("<!doctype html><p>a<!-- <p>not shown --></p>", "a"),
        ("&copy; 2024 A &amp; B &#169; &#xA9; &copy", "© 2024 A & B © © &copy"),
    ],
)
def test_declarations_are_left_out_and_only_whole_references_are_read(source: str, text: str) -> None:
    assert html_to_text(source).strip() == text
