"""How Sphinx builds these pages: ``make docs``, or ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "flask-rest-registration"
author = "flask-rest-registration contributors"
project_copyright = author
version = release = version_of(project)

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
highlight_language = "python"
# A setting's name is the same word in every sentence: no quotation marks are bent, no dashes joined.
smartquotes = False

html_theme = "furo"
html_title = "flask-rest-registration"
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"
html_copy_source = False
html_show_sourcelink = False

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
