"""The result of an audit: each case with its findings, to assert on, to count and to write down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from faultline._audit.baseline import JSON_VERSION, Difference, difference, known
from faultline._audit.cases import Row
from faultline._audit.observed import Observation
from faultline._audit.verdicts import FINE, VERDICTS, Finding, Verdict
from faultline._core.counts import counted


@dataclass(frozen=True)
class AuditCase:
    """A case of an audit, with what was found in it.

    .. versionadded:: 0.1

    Attributes:
        case: the case, as it is written in a plan.
        mode: the name of its mode.
        point: the point where it strikes; `condition` or `answer` for a fault that is no break.
        tls: whether the server spoke TLS.
        findings: the verdicts with their reasons, the most serious first.
    """

    _public: ClassVar[tuple[str, ...]] = ("case", "mode", "point", "tls", "findings", "verdict", "reason", "verdicts")

    row: Row
    findings: tuple[Finding, ...]
    runs: tuple[Observation, ...] = ()

    @property
    def case(self) -> str:
        """The case, as it is written in a plan."""
        return str(self.row.case)

    @property
    def mode(self) -> str:
        """The name of its mode."""
        return self.row.case.mode

    @property
    def point(self) -> str:
        """The point where it strikes."""
        return self.row.case.point

    @property
    def tls(self) -> bool:
        """Whether the server spoke TLS."""
        return self.row.tls

    @property
    def verdict(self) -> Verdict:
        """The most serious verdict."""
        return self.findings[0].verdict

    @property
    def reason(self) -> str:
        """The reason of the most serious verdict, in one sentence."""
        return self.findings[0].reason

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All verdicts, the most serious first."""
        return tuple(finding.verdict for finding in self.findings)

    def __str__(self) -> str:
        return f"{self.row}: {self.verdict}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON."""
        told = self.runs[0].to_dict() if self.runs else {}
        named = {"case": self.case, "mode": self.mode, "point": self.point, "tls": self.tls}
        judged = {"verdict": self.verdict, "reason": self.reason, "findings": [asdict(f) for f in self.findings]}
        return {**named, **judged, **told, "runs": len(self.runs)}


@dataclass(frozen=True)
class Audit:
    """What a client does in every case of the catalogue.

    .. versionadded:: 0.1

    Attributes:
        target: what was audited.
        results: a result for each case.
        seconds: how long the audit took.
        is_whole: whether it came to its end.
    """

    target: str
    results: tuple[AuditCase, ...]
    seconds: float = 0.0
    is_whole: bool = True

    def found(self, *verdicts: str) -> tuple[AuditCase, ...]:
        """The results with one of these verdicts; without an argument, all results but the handled ones."""
        if not verdicts:
            return tuple(result for result in self.results if result.verdict not in FINE)
        return tuple(result for result in self.results if {*verdicts} & {*result.verdicts})

    @property
    def counts(self) -> dict[str, int]:
        """How many cases have each verdict, the most serious verdicts first."""
        found = Counter(verdict for result in self.results for verdict in result.verdicts)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def summary(self) -> str:
        """The counts in a line."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items())
        end = "" if self.is_whole else " before it was stopped"
        return f"{counted(len(self.results), 'case')} in {self.seconds:.1f} s{end}: {counts or 'nothing'}"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.found()), f"{self.target}: {self.summary}"])

    def to_dict(self) -> dict[str, Any]:
        """The audit as plain data for JSON."""
        return {
            "version": JSON_VERSION,
            "target": self.target,
            "seconds": round(self.seconds, 3),
            "is_whole": self.is_whole,
            "counts": self.counts,
            "results": [result.to_dict() for result in self.results],
        }

    def compared_with(self, baseline: str) -> Difference:
        """What got worse and what got better since an earlier audit, the text of its `to_json`, and what that left out.

        Raises:
            FaultlineError: the text is no audit.
        """
        return difference(self, known(baseline))

    def to_html(self) -> str:
        """The audit as one HTML file, with every conversation drawn."""
        from faultline._audit.page import page

        return page(self)

    def to_junit(self) -> str:
        """The audit as JUnit's XML, in which a case fails if its verdict is neither `handled` nor `not run`."""
        from faultline._audit.junit import junit

        return junit(self)

    def to_sarif(self) -> str:
        """The audit as SARIF 2.1.0, which code scanning reads, with what was found at the file of the client."""
        from faultline._audit.sarif import sarif

        return json.dumps(sarif(self), indent=1)

    def to_json(self) -> str:
        """The audit as JSON, which `--baseline` reads."""
        return json.dumps(self.to_dict(), indent=1)


def in_order(results: Iterable[AuditCase], rows: list[Row]) -> tuple[AuditCase, ...]:
    """Results in the order of their rows."""
    places = {row: place for place, row in enumerate(rows)}
    return tuple(sorted(results, key=lambda result: places[result.row]))
