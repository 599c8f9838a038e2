"""The text of an HTML mail, with its links."""

from __future__ import annotations

import re
from html.entities import html5
from html.parser import HTMLParser

_VOID = {"br", "hr"}  # an end tag of theirs comes from <br/> and <hr/>
_BLOCKS = {"p", "div", "section", "table", "tr", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", *_VOID}
_INVISIBLE = {"head", "style", "script", "title"}
_AMPERSAND = re.compile(r"&(?!#[0-9]+;|#[xX][0-9a-fA-F]+;)(?:(\w+);)?")


class _TextExtractor(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _INVISIBLE:
            self._hidden += 1
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self.parts)))
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _INVISIBLE:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "a" and self._links:
            url, start = self._links.pop()
            text = "".join(self.parts[start:]).strip()
            if url and url != text:
                self.parts.append(f" <{url}>")
        elif tag in _BLOCKS - _VOID:
            self.parts.append("\n")

    def parse_html_declaration(self, i: int) -> int:
        """Skip what begins with ``<!`` and is no comment; of Python's own, some versions raise for ``<![x]>``."""
        return self.rawdata.find(">", i) + 1 or -1

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(re.sub(r"\s+", " ", data))


def html_to_text(html: str) -> str:
    """Return the text of an HTML mail; each link stands in angle brackets behind its text."""
    extractor = _TextExtractor()
    # Only what ends with ";" counts as a character reference: "&timestamp=" of a URL does not begin with "&times".
    extractor.feed(_AMPERSAND.sub(lambda found: found[0] if f"{found[1]};" in html5 else f"&amp;{found[0][1:]}", html))
    extractor.close()
    lines = "\n".join(line.strip() for line in "".join(extractor.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip() + "\n"  # at most one empty line in a row
