"""What the tests of the audit share."""

from __future__ import annotations

from pathlib import Path

import pytest

from faultline._audit import run

AT_ONCE = 8  # clients of a test, beside those of the other tests: one that starves looks as if it hung


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    """Have few clients run at a time."""
    many = run.jobs_for
    monkeypatch.setattr(run, "jobs_for", lambda *args: min(AT_ONCE, many(*args)))


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Where a process of its own finds the clients by their names."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
