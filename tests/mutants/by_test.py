"""A pytest plugin for `sample.py`: coverage notes which test runs a line, and each test's time is written down.

A test's context is its node id, from the set-up of its first fixture to the end of the last. A child process of a test
has that context too, with `CHILD` before it.
"""

from __future__ import annotations

import copy
import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from coverage import Coverage

CHILD = "child "

_seconds: dict[str, float] = defaultdict(float)
_failed: set[str] = set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Measure in the context of the test."""
    if (coverage := Coverage.current()) is None:
        return (yield)
    before = coverage.switch_context(item.nodeid)
    of_children = copy.copy(coverage.config)
    of_children.context = CHILD + item.nodeid
    os.environ["COVERAGE_PROCESS_CONFIG"] = of_children.serialize()
    try:
        return (yield)
    finally:
        coverage.switch_context(before or "")


def pytest_runtest_logreport(report):
    """Add up a test's time."""
    _seconds[report.nodeid] += report.duration
    if report.failed:
        _failed.add(report.nodeid)


def pytest_sessionfinish(session):
    """Write the times of the tests, without those that failed."""
    if not hasattr(session.config, "workerinput"):
        times = {test: round(seconds, 4) for test, seconds in _seconds.items() if test not in _failed}
        Path(os.environ["SECONDS_OF_TESTS"]).write_text(json.dumps(times))
