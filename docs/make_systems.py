"""Writes docs/systems.md: `tox -e portable` runs the tests with the portable implementation, and this script counts.

The table of what can't be produced comes from the code, that of the skipped tests from the report of a run:

    FAULTLINE_PLATFORM=portable pytest --junit-xml=report.xml; python docs/make_systems.py report.xml

Without a report the numbers of the page stay.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

from faultline._net.system.portable import LACKS

PAGE = Path(__file__).parent / "systems.md"


def between(page: str, name: str, lines: list[str]) -> str:
    """The page with these lines between the two comments with this name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    return before + begin + "\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2]


def lacks() -> list[str]:
    """What the portable implementation can't produce, and why."""
    return [f"- {reason}." for reason in LACKS.values()]


def counted(report: str) -> list[str]:
    """How many tests of a run passed and were skipped, with each reason."""
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest's own
    skips = [each.get("message", "") for case in cases for each in case.iter("skipped")]
    failed = sum(any(case.iter(kind)) for case in cases for kind in ("failure", "error"))
    reasons = Counter(re.sub(r"^Skipped: ", "", why).rstrip(".") for why in skips)
    return [
        f"{len(cases) - len(skips) - failed:,} passed, {len(skips):,} skipped, {failed:,} failed.",
        "",
        "| skipped | because |",
        "|---|---|",
        *[f"| {count} | {why} |" for why, count in sorted(reasons.items(), key=lambda row: (-row[1], row[0]))],
    ]


def made(page: str, reports: list[str]) -> str:
    """The page with its tables made anew; that of the tests only with the report of a run."""
    page = between(page, "lacks", lacks())
    for report in reports:
        page = between(page, "tests", counted(report))
    return page


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text("utf-8"), sys.argv[1:]), "utf-8")
