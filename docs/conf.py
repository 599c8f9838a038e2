"""How Sphinx builds these pages: ``make docs``, or ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from sphinx_markdown_builder.translator import MarkdownTranslator  # type: ignore[import-untyped]

project = "flask-rest-registration"
author = "flask-rest-registration contributors"
project_copyright = author
version = release = version_of(project)

extensions = ["sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_llm.txt"]
exclude_patterns = ["_build"]
highlight_language = "python"
# A setting's name is the same word in every sentence: no quotation marks are bent, no dashes joined.
smartquotes = False

html_theme = "furo"
html_title = f"flask-rest-registration {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"
html_copy_source = False
html_show_sourcelink = False
html_domain_indices = False

# Without the prompt and what is printed.
copybutton_exclude = ".linenos, .gp, .go"

# llms.txt, and beside each page its Markdown.
llms_txt_description = "Sign-up with e-mail verification for Flask."
llms_txt_suffix_mode = "replace"
llms_txt_suppress_unknown_node_warnings = ["meta"]  # the words that only the search knows

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"


class _Translator(HTML5Translator):
    """Gives each cell of a table the text that heads its column, for its card on a phone, and programs the focus."""

    def visit_table(self, node: nodes.table) -> None:
        heads = [[entry.astext() for entry in head.findall(nodes.entry)] for head in node.findall(nodes.thead)]
        for row in [] if not heads else next(node.findall(nodes.tbody)).findall(nodes.row):
            for entry, label in zip(row.findall(nodes.entry), heads[0], strict=False):
                entry["label"] = label
        super().visit_table(node)

    def visit_literal_block(self, node: nodes.literal_block) -> None:
        try:
            super().visit_literal_block(node)
        finally:  # it ends by SkipNode; what is broad is scrolled by the keyboard too
            self.body[-1] = self.body[-1].replace("<pre>", '<pre tabindex="0">', 1)

    def visit_entry(self, node: nodes.entry) -> None:
        super().visit_entry(node)
        if label := self.attval(node.get("label", "")):
            self.body[-1] = self.body[-1].replace("<td", f'<td data-label="{label}"', 1)


def _name_setting(
    role: str, rawtext: str, text: str, line: int, inliner: Inliner, *_: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Write a setting's name where links to it lead, and where the search for it does."""
    target = nodes.target(rawtext, text, ids=[nodes.make_id(text)], names=[nodes.fully_normalize_name(text)])
    inliner.document.note_explicit_target(target)
    return [addnodes.index(entries=[("single", text, target["ids"][0], "main", None)]), target], []


def _write_caption(translator: MarkdownTranslator, node: nodes.caption) -> None:
    translator.add(f"`{node.astext()}`:", prefix_eol=2, suffix_eol=1)
    raise nodes.SkipNode


def _write_text(translator: MarkdownTranslator, node: nodes.abbreviation) -> None:
    translator.add(node.astext())
    raise nodes.SkipNode


def _split_keywords(app: Sphinx, doctree: nodes.document) -> None:
    """Make words of the phrases: the search looks for single words, and Sphinx indexes a phrase as one."""
    for meta in doctree.findall(nodes.meta):
        if meta.get("name") == "keywords":
            meta["content"] = ", ".join(dict.fromkeys(re.findall(r"\w+", meta["content"])))


def setup(app: Sphinx) -> None:
    """Let Sphinx know how tables and settings are written, what people search for, and what Markdown would lose."""
    app.connect("doctree-read", _split_keywords)
    app.set_translator("html", _Translator)
    app.add_role("setting", _name_setting)
    app.add_node(nodes.caption, override=True, **{"llms-markdown": (_write_caption, None)})
    app.add_node(nodes.abbreviation, override=True, **{"llms-markdown": (_write_text, None)})
