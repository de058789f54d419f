"""An audit beside an earlier one: what got worse, and what got better."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from faultline._audit.verdicts import FINE, Finding
from faultline._core.errors import FaultlineError

if TYPE_CHECKING:
    from faultline._audit.result import Audit

JSON_VERSION = 1
Known: TypeAlias = Mapping[tuple[str, bool], Collection[str]]  # the verdicts of each case, without TLS and in it


class BaselineError(FaultlineError):
    """What should be an earlier audit is none."""


@dataclass(frozen=True)
class Difference:
    """What two audits differ in, each in a line.

    .. versionadded:: 0.1

    Attributes:
        worse: verdicts that a case had not before; all of a case that is new.
        better: verdicts that a case has no more.
        verdicts: the verdicts that got worse.
    """

    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    verdicts: frozenset[str] = frozenset()

    _public: ClassVar[tuple[str, ...]] = ("better", "verdicts", "worse")

    @property
    def lines(self) -> list[str]:
        """The difference as text."""
        return [*(f"worse: {line}" for line in self.worse), *(f"better: {line}" for line in self.better)]

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain data for JSON."""
        return {"worse": list(self.worse), "better": list(self.better)}


def known(text: str) -> Known:
    """The verdicts of an audit that was written down.

    Raises:
        BaselineError: the text is none.
    """
    try:
        data = json.loads(text)
        if data["version"] != JSON_VERSION:
            raise BaselineError(f"version={data['version']!r}: expected {JSON_VERSION}.")
        return {(row["case"], row["tls"]): [each["verdict"] for each in row["findings"]] for row in data["results"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BaselineError(f"expected an audit as `faultline audit --json` writes it; {error!r}.") from error


def difference(audit: Audit, before: Known) -> Difference:
    """What got worse and better since; a case that was not audited again is left out."""
    worse: list[tuple[str, Finding]] = []
    better = []
    for case in audit.results:
        had = before.get((case.case, case.tls), ())
        worse += [(str(case.row), each) for each in case.findings if each.verdict not in (*FINE, *had)]
        if case.verdict != "not run":
            better += [f"{case.row}: no longer {verdict}" for verdict in had if verdict not in (*case.verdicts, *FINE)]
    lines = tuple(f"{row}: {finding.verdict}: {finding.reason}" for row, finding in worse)
    return Difference(lines, tuple(better), frozenset(finding.verdict for _, finding in worse))
