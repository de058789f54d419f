"""The documentation site: `tox -e docs`. Sphinx reads this file; it needs neither faultline itself nor a network.

Rules: a page that no list of contents has is an error, and so is a link that leads nowhere.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes

DOCS = Path(__file__).parent

project = "faultline"
author = "the faultline authors"
project_copyright = author
(release,) = re.findall(r'__version__ = "(.+)"', (DOCS.parent / "faultline/_version.py").read_text("utf-8"))
version = release

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True

html_theme = "furo"
html_title = f"faultline {release}"
html_static_path = ["site"]
html_css_files = ["faultline.css"]
html_search_scorer = str(DOCS / "site/scorer.js")
# For the README, which is shown elsewhere.
html_extra_path = ["diagrams/points.svg", "site/badge-python.svg", "site/badge-license.svg"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
templates_path: list[str] = []
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"

# Pages of the top folder that the site has too. In their stubs here stands a link for readers of the repository.
FROM_ABOVE = {each: f"{each.upper()}.md" for each in ("contributing", "changelog", "security", "releasing")}


def take_from_above(_: object, page: str, source: list[str]) -> None:
    """Put the pages of the top folder in the place of their stubs, with links that lead to pages of the site."""
    if page in FROM_ABOVE:
        source[0] = (DOCS.parent / FROM_ABOVE[page]).read_text("utf-8").replace("](docs/", "](")
    for here, above in FROM_ABOVE.items():
        source[0] = re.sub(rf"\]\((\.\./)?{re.escape(above)}", f"]({here}.md", source[0])


def put_in_diagrams(_: object, document: Any, __: str) -> None:
    """Put drawings into the page itself, so that they have the colors of the theme; their style once."""
    has_style = set()
    for image in [*document.findall(nodes.image)]:
        if image["uri"].startswith("diagrams/"):
            svg = (DOCS / image["uri"]).read_text("utf-8")
            style, kind = re.search("<style>.*?</style>", svg, re.DOTALL), re.search('class="([^"]*)"', svg)
            if style and kind and kind[1] in has_style:
                svg = svg.replace(style[0], "")
            has_style |= {kind[1]} if kind else set()
            image.replace_self(nodes.raw("", svg, format="html"))


def help_keyboards(_: object, __: str, ___: str, context: dict[str, Any], ____: object) -> None:
    """Let keyboards reach what scrolls within itself, and give the captions of lists a level."""
    for name in ("body", "furo_navigation_tree"):
        text = context.get(name) or ""
        text = text.replace('role="heading"', 'role="heading" aria-level="2"')
        text = text.replace('<div class="highlight"><pre>', '<div class="highlight"><pre tabindex="0">')
        text = text.replace(
            '<div class="table-wrapper', '<div tabindex="0" role="region" aria-label="table" class="table-wrapper'
        )
        context[name] = text


def setup(app: Any) -> None:
    """Register what is done beside reading the pages."""
    app.connect("source-read", take_from_above)
    app.connect("doctree-resolved", put_in_diagrams)
    app.connect("html-page-context", help_keyboards, priority=900)  # once the theme has made its own
