"""The plugin of pytest for sweeps: the report of one whose loop was left, its progress bar, and its time limit.

Rules: `pytest_plugin` loads it when a test opens a server; without a sweep it does nothing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from faultline._front.unproven import HEADING

if TYPE_CHECKING:
    from faultline._sweep.begun import Begun


def watch(item: pytest.Item) -> None:
    """Take note that a test has opened a server, if that is one of a sweep."""
    module = sys.modules.get("faultline._sweep.begun")
    if module is None or module.begun.sweep is None:
        return
    begun: Begun = module.begun
    begun.subtests = getattr(item, "funcargs", {}).get("subtests")
    plugins = item.config.pluginmanager
    if (
        begun.terminal is None
        and plugins.has_plugin("terminalreporter")
        and item.config.get_terminal_writer().hasmarkup
    ):
        begun.terminal = Screen(item.config)
    if not plugins.has_plugin("faultline-sweep"):
        plugins.register(Sweeping(begun), "faultline-sweep")


class Screen:
    """The terminal of the test run, beside what it captures; what is written has a line of its own."""

    def __init__(self, config: pytest.Config) -> None:
        self._writer = config.get_terminal_writer()
        capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._shown = contextlib.nullcontext if capture is None else capture.global_and_fixture_disabled
        self._begin = "\n"

    def write(self, text: str, /) -> None:
        """Write a text."""
        with self._shown():
            self._writer.write(f"{self._begin}{text}", flush=True)
        self._begin = ""

    def flush(self) -> None:
        """Do nothing: what is written is shown at once."""


class Sweeping:
    """Tells of the sweep of a test."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to a report what the sweep has found if its loop was left, otherwise what is not proven."""
        report = yield
        sweep = self._begun.sweep
        if sweep is None or (call.when == "setup" and call.excinfo is None):
            return report
        if not sweep.is_over and call.excinfo is not None and sweep.leave(call.excinfo.value):
            report.sections.append(("faultline sweep", sweep.report()))
        if report.passed and (missed := len(sweep.result().missed)):
            report.sections.append((HEADING, f"{sweep.result().title()}; its table has the {missed} not reached"))
        self._begun.forget()
        return report
