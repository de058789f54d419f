"""The atlas has every case, and its cells are what an audit finds."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import pytest

import faultline
from faultline._audit.cases import Choice, chosen
from faultline._audit.verdicts import VERDICTS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def page():
    """The page as it is in the repository."""
    return (DOCS / "atlas.md").read_text("utf-8")


@pytest.fixture(scope="module")
def cells(page):
    """The cells of the page, by case and client."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {(row[0].strip("`"), client): cell for row in rows for client, cell in zip(head[1:], row[1:], strict=True)}


def test_every_case_is_in_the_atlas(cells):
    named = list(dict.fromkeys(case for case, _ in cells))

    assert named == list(dict.fromkeys(str(row.case) for row in chosen(Choice())))
    assert all(cells.values())


def test_every_verdict_of_a_cell_is_one_of_the_surprises(page, cells):
    said = {
        (name, client): re.match(r"\*\*(.+?)\*\*", cell)[1] for (name, client), cell in cells.items() if "**" in cell
    }
    listed = [
        re.fullmatch(r"- \*\*(.+?)\*\* in `(.+)`: (.+)\.", line) for line in page.splitlines() if line[:4] == "- **"
    ]
    surprises = {(found[2], client): found[1] for found in reversed(listed) for client in found[3].split(", ")}

    assert {*said.values()} <= {*VERDICTS}
    assert {key: verdict for key, verdict in surprises.items() if key in said} == said


@pytest.mark.unmeasured
@pytest.mark.slow
def test_cells_are_what_an_audit_finds(cells, page, monkeypatch):
    if f"CPython {platform.python_version_tuple()[0]}.{platform.python_version_tuple()[1]}." not in page:
        pytest.skip(f"the atlas was made by another Python than {sys.version_info[:2]}")
    monkeypatch.syspath_prepend(str(DOCS))
    from atlas_clients import http_client
    from make_atlas import cell

    audit = faultline.audit(http_client, modes=("reset", "malformed", "stall"), tls=False, timeout_seconds=60)

    assert {c.case: cell(c) for c in audit.results} == {c.case: cells[c.case, "http.client"] for c in audit.results}
