"""An audit as text: a line for each case as it ends, and at the end a table of the verdicts by point."""

from __future__ import annotations

import textwrap
from collections import Counter

from faultline._audit.result import Audit, AuditCase
from faultline._audit.verdicts import FINE, VERDICTS

RED, GREEN, USUAL = "\x1b[1;31m", "\x1b[32m", "\x1b[0m"
INDENT = "    "


def line(result: AuditCase) -> str:
    """A case in a line."""
    return f"{result.verdict}: {result.row}: {result.reason}"


def table(audit: Audit, width: int, *, color: bool = False) -> list[str]:
    """What was found, then how many cases have each verdict at each point."""
    lines = []
    for result in audit.found():
        for finding in result.findings:
            head = f"{finding.verdict}: {result.row}"
            lines.append(f"{RED}{head}{USUAL}" if color else head)
            lines += textwrap.wrap(finding.reason, width, initial_indent=INDENT, subsequent_indent=INDENT)
    return [*lines, *[""] * bool(lines), *counts(audit, color=color), f"{audit.target}: {audit.summary}"]


def counts(audit: Audit, *, color: bool = False) -> list[str]:
    """How many cases have each verdict at each point."""
    found = Counter((result.point, result.verdict) for result in audit.results)
    points = list(dict.fromkeys(result.point for result in audit.results))
    columns = [verdict for verdict in VERDICTS if any((point, verdict) in found for point in points)]
    first = max(map(len, points), default=0)
    rows = [" ".join([" " * first, *columns])]
    for point in points:
        cells = []
        for verdict in columns:
            count = found[point, verdict]
            cell = f"{count or '.':>{len(verdict)}}"
            shade = "" if not color or not count else GREEN if verdict in FINE else RED
            cells.append(f"{shade}{cell}{USUAL}" if shade else cell)
        rows.append(" ".join([point.ljust(first), *cells]))
    return [row.rstrip() for row in rows]
