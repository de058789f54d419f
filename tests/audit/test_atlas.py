"""The atlas has every client and every case, its page is made from the cells, and its cells are what an audit finds."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

import faultline
from faultline._audit.cases import Choice, chosen
from faultline._audit.verdicts import VERDICTS

DOCS = Path(__file__).parents[2] / "docs"
HTTP = {str(row.case) for row in chosen(Choice())} | {str(row.case) for row in chosen(Choice(points=("lookup",)))}
TCP = {str(row.case) for row in chosen(Choice(protocol="tcp", upstream="127.0.0.1:1", tls=False))}


@pytest.fixture(scope="module")
def data():
    """What the audits found, as it is in the repository."""
    return json.loads((DOCS / "atlas.json").read_text("utf-8"))


@pytest.fixture
def script(monkeypatch):
    """A function that imports a script that makes the atlas."""
    monkeypatch.syspath_prepend(str(DOCS))

    def imported(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return imported


def test_the_page_is_made_from_the_cells(data, script):
    assert script("atlas_page").page(data) == (DOCS / "atlas.md").read_text("utf-8")


def test_every_client_is_in_a_table(data, script):
    families = script("atlas_page").FAMILIES.values()

    assert sorted(data["cells"]) == sorted(name for names in families for name in names)
    assert list(data["cells"]) == list(data["versions"])


def test_every_client_has_every_case_that_fits_it(data, script):
    make = script("make_atlas")
    others = data["cells"]["http.client"].keys() - HTTP
    for client, cells in data["cells"].items():
        expected = TCP if client in make.RAW else HTTP | others
        if client in make.COMMANDS:
            expected = {case for case in expected if not case.startswith(make.AGAIN)}
        is_package = client in make.HTTP or make.RAW.get(client, ("",))[0] not in (*make.PROGRAMS, "")
        assert cells.keys() <= expected, client
        assert cells.keys() == expected or not is_package, client  # a program may not be at hand for a new case
        assert all(cells.values()), client
    assert {case.partition(": ")[0] + ": " for case in others} == {make.POSTED, make.PROXIED, make.AGAIN}


def test_every_verdict_of_a_cell_is_one_of_the_surprises(data, script):
    page = script("atlas_page")
    for client, cells in data["cells"].items():
        assert {verdict for cell in cells.values() for verdict in page.verdicts(cell)} <= {*VERDICTS}
        found = {case.removeprefix(page.POSTED) for each in page.SURPRISES for case in each.cases_of(cells)}
        judged = {case.removeprefix(page.POSTED) for case, cell in cells.items() if page.verdicts(cell)}
        assert judged <= found, client


KNOWN = [
    ("tornado", "A RST is reported as a timeout"),
    ("requests", "The timeout leaves out the lookup of the name"),
    ("wget", "A chunked body that is cut is returned as a normal 200"),
    ("LWP", "A chunked body that is cut is returned as a normal 200"),
    ("httpx", "The next response begins with what the last one left over"),
    ("requests", "A redirect leads from https to http, and the client follows"),
    ("httpx", "A failed CONNECT keeps its place in the pool"),
    ("botocore", "A POST is sent twice"),
    ("urllib3", "A response that is cut inside its head is a normal 200"),
    ("wget", "A wrong certificate is accepted"),
]


@pytest.mark.parametrize(("client", "title"), KNOWN)
def test_known_bugs_appear_without_being_told(client, title, data, script):
    page = script("atlas_page")
    (surprise,) = [surprise for surprise in page.SURPRISES if surprise.title == title]

    assert surprise.cases_of(data["cells"][client])


def test_a_reset_of_other_tools_is_often_a_fin(data):
    ends = [row.strip("| ").split(" | ")[-1] for row in data["tools"].values()]

    assert sum("**FIN**" in end for end in ends) >= 4
    assert any("**RST" in end for end in ends)
    assert any("**nothing**" in end for end in ends)


@pytest.mark.slow
def test_cells_are_what_an_audit_finds(data, script):
    version = ".".join(map(str, sys.version_info[:2]))
    if f"CPython {version}." not in data["system"]:
        pytest.skip(f"the atlas was made by another Python than {version}")
    client, cell = script("atlas_http").GET.http_client, script("make_atlas").cell
    audit = faultline.audit(client, factory=True, modes=("reset", "malformed", "stall"), tls=False, timeout_seconds=60)

    assert {c.case: cell(c) for c in audit.results} == {
        c.case: data["cells"]["http.client"][c.case] for c in audit.results
    }
