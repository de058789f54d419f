"""What the tests of the audit share."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from audit.audits import AT_ONCE
from support.small import Small

from faultline._audit import run


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    """Have few clients run at a time."""
    many = run.jobs_for
    monkeypatch.setattr(run, "jobs_for", lambda *args: min(AT_ONCE, many(*args)))


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Where a process of its own finds the clients by their names."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def audited():
    """A function that audits a client by its name in a small process: only for tests that are not measured."""
    with closing(Small()) as small:
        yield partial(small.call, "audit.audits:audit")
