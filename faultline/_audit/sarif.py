"""An audit as SARIF 2.1.0 (OASIS), which code scanning reads: each finding at the file of the client.

Rules: a pure function of the audit, but for the look whether a file is there.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from faultline._audit.clean import clean
from faultline._audit.verdicts import FINE, VERDICTS
from faultline._version import __version__

if TYPE_CHECKING:
    from faultline._audit.result import Audit, AuditCase
    from faultline._audit.verdicts import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SAYS = {
    "crashed": "The process of the client came to an end.",
    "hung": "The call still waited at the end of its time.",
    "accepted a bad certificate": "The client sent data to a server whose certificate is wrong.",
    "fell back to plain text": "The client asked without TLS where the URL says https.",
    "poisoned": "The next response on the connection began with what was left over.",
    "swallowed": "The client returned as usual although the response was cut.",
    "retried a POST": "The client sent a POST or PATCH again after the server had read some of it.",
    "ignored Retry-After": "The client asked again before the time that the server had said.",
    "hammered": "The client made many attempts without slowing down.",
    "leaked": "The client left more behind than a call in which nothing breaks.",
    "unexpected": "The client raised another exception than it should.",
    "inconsistent": "Two runs of the case differ.",
}
WARNINGS = ("hammered", "leaked", "unexpected", "inconsistent", "ignored Retry-After")
TARGET = re.compile(r"([A-Za-z_][\w.]*):[\w.<>]+")


def sarif(audit: Audit, fails: Collection[str] = ()) -> dict[str, Any]:
    """The report as plain data: the findings with one of these verdicts, or with any that is not fine."""
    bad = [verdict for verdict in VERDICTS if verdict not in FINE and verdict in (fails or VERDICTS)]
    place = place_of(audit.target)
    results = [
        result_of(case, finding, place) for case in audit.results for finding in case.findings if finding.verdict in bad
    ]
    driver = {"name": "faultline", "version": __version__, "rules": list(map(rule_of, bad))}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": audit.is_whole}],
        "automationDetails": {"id": f"faultline/{clean(audit.target)}/"},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def rule_of(verdict: str) -> dict[str, Any]:
    """The rule of a verdict."""
    told = {"text": SAYS[verdict]}
    return {
        "id": slug(verdict),
        "name": verdict,
        "shortDescription": told,
        "fullDescription": told,
        "help": {"text": f"{SAYS[verdict]} `faultline explain` and the page on audits say more."},
        "defaultConfiguration": {"level": level_of(verdict)},
    }


def result_of(case: AuditCase, finding: Finding, place: str) -> dict[str, Any]:
    """A finding of a case; what it is the same as in the next audit is its case and its verdict."""
    return {
        "ruleId": slug(finding.verdict),
        "level": level_of(finding.verdict),
        "message": {"text": clean(f"{case.row}: {finding.verdict}: {finding.reason}")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": place}, "region": {"startLine": 1}}}],
        "partialFingerprints": {"faultlineCase/v1": f"{case.row}: {finding.verdict}"},
    }


def slug(verdict: str) -> str:
    """A verdict as the name of a rule."""
    return verdict.lower().replace(" ", "-")


def level_of(verdict: str) -> str:
    """How bad a verdict is."""
    return "warning" if verdict in WARNINGS else "error"


def place_of(target: str) -> str:
    """The file of a client by its name: that of `package.module:callable`, or the first word of a command.

    It is a reference as RFC 3986 has it, and relative to the present folder, because code scanning takes no other.
    """
    found = TARGET.fullmatch(target)
    if found is None:
        return quote(clean((target.split() or ["client"])[0]).lstrip("/")) or "client"
    path = found[1].replace(".", "/")
    places = [f"{base}{path}{end}" for base in ("", "src/") for end in (".py", "/__init__.py")]
    return next((place for place in places if Path(place).is_file()), places[0])
