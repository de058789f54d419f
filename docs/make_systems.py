"""Writes docs/systems.md: `tox -e portable` runs the tests with the portable implementation, and this script counts.

The table of what can't be produced comes from the code, that of the skipped tests from the report of a run:

    tox -e portable -- --junit-xml=report.xml; python docs/make_systems.py report.xml

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


def counted(reports: list[str]) -> list[str]:
    """How many tests of a run passed and were skipped, with each reason; a later report counts for its tests."""
    found = [case for report in reports for case in ET.parse(report).getroot().iter("testcase")]  # noqa: S314 - pytest's
    cases = list({(case.get("classname"), case.get("name")): case for case in found}.values())
    skips = [each.get("message", "") for case in cases for each in case.iter("skipped")]
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
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
    return between(page, "tests", counted(reports)) if reports else page


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text("utf-8"), sys.argv[1:]), "utf-8")
