"""Sweeps in pytest: a loop that an assertion leaves, subtests, and what is not proven."""

from __future__ import annotations

import contextlib
import re
from types import SimpleNamespace

import pytest

from faultline._front import sweeping
from faultline._sweep.begun import begun


@pytest.fixture(scope="module")
def inner(run_inner):
    return run_inner("sweeps.py")


@pytest.mark.slow
@pytest.mark.measured
def test_assertion_that_leaves_the_loop_is_reported_with_the_table_and_the_reproduction(inner):
    told = inner.told["test_assertion_leaves_the_loop"]

    assert inner.outcomes["test_assertion_leaves_the_loop"] == ["FAILED"]
    assert "the loop was left in run 2: 2 breaks not run; with the assertions in `with run.checks():`" in told
    assert re.search(
        r"2 +reset\(\) at POST /pay HTTP/1\.1: arrived, its answer lost .* +returned +assert \d == \(", told
    )
    assert "def test_assertion_leaves_the_loop_alone(till):" in told
    assert "the loop was left in run" in inner.told["test_fixture_sweeps"]


@pytest.mark.slow
def test_failure_without_a_break_needs_no_table(inner):
    assert inner.outcomes["test_untouched_run_fails"] == ["FAILED"]
    assert "sweep of" not in inner.told["test_untouched_run_fails"]
    assert inner.outcomes["test_fails_after_a_break"] == ["FAILED"]
    assert "sweep of" not in inner.told["test_fails_after_a_break"]


@pytest.mark.slow
def test_runs_are_subtests_of_a_test_that_asks_for_the_fixture(inner):
    if "fixture 'subtests' not found" in inner.out:
        pytest.skip("this pytest has no subtests")
    assert re.findall(r"SUBFAILED\[(reset\(\) at [^\]]*)\]", inner.out) == [
        "reset() at POST /pay HTTP/1.1: arrived, its answer lost (request 1, connection 1)",
        "reset() at POST /pay HTTP/1.1: in the middle of its answer (request 1, connection 1)",
    ]


@pytest.mark.slow
def test_breaks_that_are_not_reached_are_told_in_the_summary(inner):
    assert inner.outcomes["test_some_breaks_are_not_reached"] == ["PASSED"]
    assert re.search(r"test_some_breaks_are_not_reached: sweep of .*, 4 held, 0 failed, 4 not reached", inner.out)
    assert inner.outcomes["test_loop_is_left_in_peace"] == inner.outcomes["test_without_a_sweep"] == ["PASSED"]


@pytest.mark.parametrize(
    ("has_terminal", "is_color", "captures"),
    [(False, False, True), (True, False, True), (True, True, True), (True, True, False)],
)
def test_progress_bar_is_shown_on_a_terminal_of_the_test_run_and_not_captured(
    monkeypatch, has_terminal, is_color, captures
):
    monkeypatch.setattr(begun, "sweep", object())
    shown = []
    writer = SimpleNamespace(hasmarkup=is_color, write=lambda text, **_: shown.append(text))
    capture = SimpleNamespace(
        global_and_fixture_disabled=lambda: contextlib.closing(SimpleNamespace(close=shown.clear))
    )
    plugins = SimpleNamespace(
        has_plugin=lambda name: name != "terminalreporter" or has_terminal,
        get_plugin=lambda _: capture if captures else None,
    )
    config = SimpleNamespace(pluginmanager=plugins, get_terminal_writer=lambda: writer)
    try:
        sweeping.watch(SimpleNamespace(config=config))
        assert (begun.terminal is not None) is (has_terminal and is_color)
        for text in ("one", "two") if begun.terminal else ():
            begun.terminal.write(text)
            begun.terminal.flush()
    finally:
        begun.forget()

    assert shown == (["\none", "two"] if has_terminal and is_color and not captures else [])
