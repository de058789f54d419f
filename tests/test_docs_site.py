"""The documentation site: no page is left out of its contents. `tox -e docs` builds it, and looks at its links."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_each_page_is_once_in_the_contents_of_the_site():
    text = "\n".join(path.read_text("utf-8") for path in DOCS.glob("*.md"))
    trees = re.findall(r"```\{toctree\}\n(?::[^\n]*\n)*(.*?)```", text, re.DOTALL)
    listed = Counter(line for lines in trees for line in lines.split())
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}

    assert pages - {*listed} == set(), "add the page to a list in docs/index.md"
    assert listed - Counter(pages) == Counter()
