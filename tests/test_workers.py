"""The plugin in a worker of pytest-xdist: limits, the guard, and one seed."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.slow

NAMED = r"no timeout: the client was still waiting at `response` after .*\. Timeout \(>60\.0s\) from pytest-timeout\."
STRUCK = "<=== silence: struck at 'response'"


@pytest.fixture(scope="module")
def inner(run_inner):
    return run_inner("workers.py", "-p", "xdist", "-n", "1")


@pytest.mark.parametrize("name", ["test_client", "test_with_block"])
def test_client_that_hangs_ends_with_the_limit(inner, name):
    assert inner.outcomes[name] == ["FAILED"]
    assert re.fullmatch(NAMED, inner.reasons[name])
    assert STRUCK in inner.told[name]


def test_client_that_hangs_is_named_and_drawn_where_the_worker_ends(inner):
    told, died, _ = inner.out.partition("node down")

    assert died
    assert "worker 'gw0' crashed" in inner.told["workers.py"]
    assert re.search(f"^{NAMED}$", told, re.MULTILINE)
    assert STRUCK in told
    assert "Stack of faultline" not in told


def test_marked_tests_and_the_guard_work(inner):
    assert inner.outcomes["test_marked[refuse()]"] == inner.outcomes["test_marked[reset()]"] == ["PASSED"]
    assert inner.outcomes["test_unmet"] == ["PASSED", "ERROR"]
    assert inner.reasons["test_unmet"].startswith("Failed: reset() never struck: no client connected to 127.0.0.1:")


def test_what_nobody_could_see_is_told_at_the_end_of_the_run(inner):
    assert inner.outcomes["test_unseen"] == ["PASSED"]
    assert re.search(
        r"^faultline: promises of faults that were not proven: 1\n  workers\.py::test_unseen: refuse\(\) .*\n(?!  )",
        inner.out,
        re.MULTILINE,
    )


def test_run_whose_worker_drew_chance_says_the_seed_that_all_processes_have(inner):
    said = re.search(r"^faultline made random choices; .*: --faultline-seed=(\d+)$", inner.out, re.MULTILINE)

    assert inner.outcomes["test_chance"] == ["PASSED"]
    assert f"\nseed: {said[1]}\n" in inner.told["test_chance"]
