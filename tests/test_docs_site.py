"""The documentation site: no page is left out of its contents. `tox -e docs` builds it, and looks at its links."""

from __future__ import annotations

import re
import runpy
from collections import Counter
from pathlib import Path

from faultline._core.points import TABLE

DOCS = Path(__file__).parent.parent / "docs"


def test_each_page_is_once_in_the_contents_of_the_site():
    text = "\n".join(path.read_text("utf-8") for path in DOCS.glob("*.md"))
    trees = re.findall(r"```\{toctree\}\n(?::[^\n]*\n)*(.*?)```", text, re.DOTALL)
    listed = Counter(line for lines in trees for line in lines.split())
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}

    assert pages - {*listed} == set(), "add the page to a list in docs/index.md"
    assert listed - Counter(pages) == Counter()


def test_the_picture_of_the_points_is_made_by_its_script(capsys):
    runpy.run_path(str(DOCS / "make_points.py"))

    assert capsys.readouterr().out == (DOCS / "diagrams/points.svg").read_text("utf-8")
    points = [row.point for row in TABLE if row.is_at_servers]
    assert [point for point in points if f">{point}<" not in (DOCS / "diagrams/points.svg").read_text("utf-8")] == []
