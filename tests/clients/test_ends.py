"""Every case that breaks a connection has one outcome for each of six clients, however often it is run.

FAULTLINE_RUNS=200 runs each cell 200 times; a load on all cores makes that harder.
"""

from __future__ import annotations

import collections
import gc
import importlib.util
import os
import pathlib
import sys

import pytest
from support import HIDES_EOF

from faultline import UnsupportedError

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


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiohttp leaves transports unclosed
@pytest.mark.parametrize("client", ends.CLIENTS)
@pytest.mark.parametrize("name", ROWS)
def test_a_break_has_one_outcome(name, client):
    try:
        outcomes = collections.Counter(ends.outcome(ROWS[name], client) for _ in range(RUNS))
    except UnsupportedError as error:
        pytest.skip(str(error))
    finally:
        if client == "aiohttp":
            gc.collect()  # or else its transports would be found in some later test, which doesn't expect them

    assert len(outcomes) == 1
    if sys.version_info[:2] == MADE_WITH:
        assert list(outcomes) == [expected(name, client)]


def test_the_table_has_every_case_and_every_client():
    assert list(TABLE) == list(ROWS)
    assert ["case", *ends.CLIENTS] == TITLES
