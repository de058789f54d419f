"""Tells in pytest's report which promises of a test that passed may have struck unseen, or were left out by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from faultline._servers.endpoint import Endpoint

HEADING = "faultline: not proven"
MOST_TOLD = 10


def add_to(report: pytest.TestReport, servers: list[Endpoint]) -> None:
    """Add what the servers of a test can't prove to its report."""
    from faultline._core.errors import ServerError

    for server in servers:
        try:
            report.sections += [(HEADING, why) for why in server.unproven]
        except ServerError:  # it broke, which fails the test
            continue


def tell(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each promise that no test of the run has proven, at most ten."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [
        f"{report.nodeid}: {why}"
        for report in reports
        for heading, why in getattr(report, "sections", ())
        if heading == HEADING
    ]
    if not lines:
        return
    terminalreporter.write_line(f"faultline: promises of faults that were not proven: {len(lines)}")
    for line in lines[:MOST_TOLD]:
        terminalreporter.write_line(f"  {line}")
    if len(lines) > MOST_TOLD:
        terminalreporter.write_line(f"  and {len(lines) - MOST_TOLD} more")
