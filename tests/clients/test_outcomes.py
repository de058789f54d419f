"""What five HTTP clients make of each bad answer: `docs/clients.md` says it, and here it is run."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import urllib3.util.retry
from support.tables import each_row

from faultline._core.promises import promises_of
from faultline.modes._catalogue import cases, modes

pytestmark = pytest.mark.leaves_open

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def loaded(path):
    """A script of the docs as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


CLIENTS = loaded(DOCS / "plain_clients.py")  # which the other imports
SCRIPT = loaded(DOCS / "make_clients.py")
PAGE = (DOCS / "clients.md").read_text("utf-8")
TITLES = ["case", "http.client", "urllib3", "requests", "httpx", "aiohttp"]


def read_cells(page):
    """The cells of the tables that have a column for each client, by case and client."""
    cells, is_table = {}, False
    for line in page.splitlines():
        row = line.strip("| ").split(" | ")
        is_table = row == TITLES or (is_table and len(row) == len(TITLES))
        if is_table and row[0].startswith("`"):
            cells |= {(row[0].strip("`"), client): cell for client, cell in zip(TITLES[1:], row[1:], strict=True)}
    return cells


CELLS = read_cells(PAGE)
MADE_WITH = re.search(r"^Made with (.*)\.$", PAGE, re.MULTILINE)[1]
ROWS = CLIENTS.cases()

# Where a run has another outcome than the page, under a condition: that condition, the outcome, and why.
OLD_TIMEOUT = (sys.version_info < (3, 11), "asyncio.TimeoutError", "3.11 made asyncio's TimeoutError the builtin one")
OTHERWISE = {
    ("malformed('continue_never')", "aiohttp"): OLD_TIMEOUT,
    ("sse(('first', 'second', 'third'), break_='stall')", "aiohttp"): OLD_TIMEOUT,
}


def expected(case, client):
    """What the page says of this cell, or what is so on this Python."""
    holds, cell, _ = OTHERWISE.get((str(case), client), (False, "", ""))
    return cell if holds else CELLS[str(case), client]


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("case", ROWS, ids=str)
def test_clients_make_of_a_bad_answer_what_the_page_says(case, monkeypatch):
    monkeypatch.setattr(urllib3.util.retry, "time", SimpleNamespace(sleep=lambda _: None))  # for Retry-After
    with ThreadPoolExecutor(len(TITLES)) as pool:  # some wait
        found = dict(zip(TITLES[1:], pool.map(lambda client: CLIENTS.outcome(case, client), TITLES[1:]), strict=True))

    cells = {client: outcome.cell for client, outcome in found.items()}
    assert cells == {client: expected(case, client) for client in cells}, f"{MADE_WITH}; here: {SCRIPT.versions()}"
    for client, outcome in found.items():
        assert_ledger_agrees(case, client, outcome)


def assert_ledger_agrees(case, client, outcome):
    """As many attempts as the cell says or its requests were, each of which the fault struck where it strikes."""
    said = re.search(r"(\d+) attempts?$", outcome.cell)
    attempts = outcome.attempts
    assert len(attempts) == (int(said[1]) if said else CLIENTS.ASKS.get(str(case), CLIENTS.Ask()).times)
    assert {a.fault for a in attempts} == {case.fault}
    if str(case) == "redirect('downgrade')":  # those who follow come without TLS, and no further
        assert [(a.point, a.received_bytes) for a in attempts[1:]] == [("handshake", 0)] * (len(attempts) - 1)
        attempts = attempts[:1]
    waits = str(case) == "malformed('continue_never')"
    point = "request" if waits else "response" if promises_of(case.fault) else None
    assert {a.struck and a.struck.point for a in attempts} == {point}
    if case.mode in ("reset", "close"):
        assert {a.sent_bytes for a in attempts} == {a.struck.after_bytes for a in attempts} == {let_through(case)}
    elif waits and client in ("http.client", "aiohttp"):
        assert [a.sent_bytes for a in attempts] == [0]
    else:
        assert all(a.sent_bytes > 0 for a in attempts)


def let_through(case):
    """How many bytes of the response a break lets through."""
    arguments = dict(case.arguments)
    return arguments.get("after_bytes", len(arguments.get("on", b"")))


def test_page_has_every_case_and_no_other():
    answers = {"malformed", "redirect", "status", "raw", "sse", "trickle_headers"}
    breaks = {str(c) for c in cases() if c.mode in {"reset", "close"} and c.point == "response"}
    expected_rows = {str(c) for name in answers for c in modes()[name].cases} | breaks | {"bad_tls('no_close_notify')"}

    assert {row for row, _ in CELLS} == expected_rows
    assert set(CELLS) == {(row, client) for row in expected_rows for client in TITLES[1:]}


@pytest.fixture
def from_the_page(monkeypatch):
    """Have the script take what clients make of cases from the page."""
    monkeypatch.setattr(SCRIPT, "versions", lambda: MADE_WITH)
    monkeypatch.setattr(SCRIPT, "outcome", lambda case, client: CLIENTS.Outcome(CELLS[str(case), client], ()))


@pytest.mark.usefixtures("from_the_page")
@pytest.mark.parametrize(("words", "expected"), [([], PAGE), (["--check"], "\n")])
def test_script_prints_the_page_or_what_differs(words, expected, capsys):
    assert SCRIPT.main(words) == 0
    assert capsys.readouterr().out == expected


@pytest.mark.usefixtures("from_the_page")
def test_script_fails_where_the_page_differs(monkeypatch, capsys):
    monkeypatch.setattr(SCRIPT, "versions", lambda: "another Python")

    assert SCRIPT.main(["--check"]) == 1
    assert "+Made with another Python." in capsys.readouterr().out


def test_page_says_what_it_was_made_with_in_the_words_of_the_script():
    said, now = ([part.split()[0] for part in text.split(", ")] for text in (MADE_WITH, SCRIPT.versions()))

    assert said == now


@each_row("case", SCRIPT.LEFT_OVER)
def test_only_httpx_begins_the_next_response_with_what_is_left_over(case):
    table = PAGE.partition("## Poisoned")[2].partition("\n## ")[0]
    row = next(line for line in table.splitlines() if line.startswith(f"| `{case}`"))

    assert row.strip("| ").split(" | ")[2:] == ["httpx", "aiohttp", "http.client, urllib3, requests"]
