"""Every case that breaks a connection has one outcome for each of ten clients, however often it is run.

FAULTLINE_RUNS=200 runs each cell 200 times; a load on all cores makes that harder.
"""

from __future__ import annotations

import collections
import importlib.util
import os
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import HIDES_EOF
from support.tables import side_by_side

from faultline import UnsupportedError

pytestmark = pytest.mark.leaves_open

SPEC = importlib.util.spec_from_file_location("ends", pathlib.Path(__file__).parent / "ends.py")
ends = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ends)

RUNS = int(os.environ.get("FAULTLINE_RUNS", "1"))
LINES = (pathlib.Path(__file__).parent / "ends.tsv").read_text("utf-8").splitlines()
TITLES = LINES[0].split("\t")
TABLE = {cells[0]: dict(zip(TITLES[1:], cells[1:], strict=True)) for cells in (line.split("\t") for line in LINES[1:])}
ROWS = ends.rows()
HIDDEN = {("bad_tls('no_close_notify')", "trio"): "67 bytes, end"}
MADE_WITH = (3, 11)  # other versions of asyncio and ssl have other names for some ends


def expected(name, client):
    """The outcome that the table has, in the words of this OpenSSL."""
    told = TABLE[name][client]
    if not HIDES_EOF:
        return told
    return HIDDEN.get((name, client), told.replace("SSLEOFError", "SSLZeroReturnError"))


def outcomes(row, client):
    """What a client meets, run for run; each time the fault has struck every attempt."""
    found = collections.Counter()
    for _ in range(RUNS):
        told, attempts = ends.outcome(row, client)
        assert {a.fault for a in attempts} == {row.fault}
        if row.fault.break_ is not None and not row.is_silent:  # which may be over before the server is there
            assert {a.struck and a.struck.point for a in attempts} == {row.fault.break_.at}
        found[told] += 1
    return found


def check_row(name):
    """Check what each client meets in a row."""
    row, clients = ROWS[name], ends.come_to(ROWS[name])
    try:
        with ThreadPoolExecutor(len(clients)) as pool:
            found = dict(zip(clients, pool.map(lambda client: outcomes(row, client), clients), strict=True))
    except UnsupportedError as error:
        pytest.skip(str(error))

    assert {client: len(several) for client, several in found.items()} == dict.fromkeys(clients, 1), name
    if sys.version_info[:2] == MADE_WITH:
        one_each = {client: next(iter(one)) for client, one in found.items()}
        assert one_each == {client: expected(name, client) for client in clients}, name


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.is_silent])
def test_a_break_has_one_outcome_for_each_client(name):
    check_row(name)


SILENT = sorted((name for name, row in ROWS.items() if row.is_silent), key=lambda name: ROWS[name].read_seconds)
AT_ONCE = 3  # not more: what comes before the silence has to come in time


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.all_cases
@pytest.mark.parametrize("first", range(0, len(SILENT), AT_ONCE))
def test_a_silence_has_one_outcome_for_each_client(first):
    side_by_side(check_row, [(name,) for name in SILENT[first : first + AT_ONCE]], at_once=AT_ONCE)


def test_the_table_has_every_case_and_every_client():
    assert list(TABLE) == list(ROWS)
    assert ["case", *ends.CLIENTS] == TITLES
    for name, row in ROWS.items():
        assert [client for client in ends.CLIENTS if TABLE[name][client]] == ends.come_to(row)
