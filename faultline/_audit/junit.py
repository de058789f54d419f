"""An audit as JUnit's XML, which CI systems read."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from faultline._audit.clean import clean
from faultline._audit.verdicts import FINE, VERDICTS

if TYPE_CHECKING:
    from faultline._audit.result import Audit, AuditCase


def junit(audit: Audit, fails: Collection[str] = ()) -> str:
    """The report; a case with one of these verdicts has failed, or with any that is not fine."""
    bad = {*fails} or {*VERDICTS} - {*FINE}
    suite = ET.Element("testsuite", name=clean(f"faultline audit {audit.target}"), time=f"{audit.seconds:.3f}")
    counts = {"tests": len(audit.results), "failures": 0, "skipped": 0, "errors": 0}
    for result in audit.results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"audit.{result.point}",
            name=clean(str(result.row)),
            time=f"{seconds(result):.3f}",
        )
        failing = [finding for finding in result.findings if finding.verdict in bad]
        if failing:
            counts["failures"] += 1
            failure = ET.SubElement(case, "failure", type=failing[0].verdict, message=clean(failing[0].reason))
            failure.text = clean("\n".join(f"{finding.verdict}: {finding.reason}" for finding in failing))
        elif result.verdict == "not run":
            counts["skipped"] += 1
            ET.SubElement(case, "skipped", message=clean(result.reason))
    suite.attrib |= {name: str(count) for name, count in counts.items()}
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def seconds(result: AuditCase) -> float:
    """How long the calls of a case took."""
    return sum(call.seconds for seen in result.runs for call in seen.calls)
