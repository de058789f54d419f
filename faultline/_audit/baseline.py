"""An audit beside an earlier one: what got worse, and what got better."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from faultline._audit.verdicts import FINE, Finding
from faultline._core.errors import FaultlineError

if TYPE_CHECKING:
    from faultline._audit.result import Audit

JSON_VERSION = 1
NOT_RUN = "not run"


class BaselineError(FaultlineError):
    """What should be an earlier audit is none."""


@dataclass(frozen=True)
class Known:
    """What an earlier audit knew.

    Attributes:
        verdicts: the verdicts of each case, without TLS and in it.
        is_whole: whether it came to its end.
    """

    verdicts: Mapping[tuple[str, bool], Collection[str]]
    is_whole: bool = True

    def has_run(self, case: str, *, tls: bool) -> bool:
        """Whether a case was run; a case that the catalogue did not have yet counts as run."""
        had = self.verdicts.get((case, tls), () if self.is_whole else (NOT_RUN,))
        return NOT_RUN not in had


@dataclass(frozen=True)
class Difference:
    """What two audits differ in, each in a line.

    .. versionadded:: 0.1

    Attributes:
        worse: verdicts that a case did not have before; of a new case, all its verdicts.
        better: verdicts that a case no longer has.
        not_run: verdicts of cases that the earlier audit did not run, because it was stopped or could not.
        verdicts: the verdicts that got worse.
    """

    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    verdicts: frozenset[str] = frozenset()
    not_run: tuple[str, ...] = ()

    _public: ClassVar[tuple[str, ...]] = ("better", "not_run", "verdicts", "worse")

    @property
    def lines(self) -> list[str]:
        """The difference as text."""
        told = {"worse": self.worse, "better": self.better, "not run before": self.not_run}
        return [f"{how}: {line}" for how, lines in told.items() for line in lines]

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain data for JSON."""
        return {"worse": list(self.worse), "better": list(self.better), "not_run": list(self.not_run)}


def known(text: str) -> Known:
    """The verdicts of an audit that was written down.

    Raises:
        BaselineError: the text is none.
    """
    try:
        data = json.loads(text)
        if data["version"] != JSON_VERSION:
            raise BaselineError(f"version={data['version']!r}: expected {JSON_VERSION}.")
        rows = data["results"]
        verdicts = {(row["case"], row["tls"]): [each["verdict"] for each in row["findings"]] for row in rows}
        return Known(verdicts, data.get("is_whole", True) is True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BaselineError(f"expected an audit as `faultline audit --json` writes it; {error!r}.") from error


def difference(audit: Audit, before: Known) -> Difference:
    """What got worse and better since; a case that was not audited again is left out."""
    worse: list[tuple[str, Finding]] = []
    better, not_run = list[str](), list[str]()
    for case in audit.results:
        had = before.verdicts.get((case.case, case.tls), ())
        more = [(str(case.row), each) for each in case.findings if each.verdict not in (*FINE, *had)]
        if before.has_run(case.case, tls=case.tls):
            worse += more
        else:
            not_run += map(line, more)
        if case.verdict != NOT_RUN:
            better += [f"{case.row}: no longer {verdict}" for verdict in had if verdict not in (*case.verdicts, *FINE)]
    verdicts = frozenset(finding.verdict for _, finding in worse)
    return Difference(tuple(map(line, worse)), tuple(better), verdicts, tuple(not_run))


def line(told: tuple[str, Finding]) -> str:
    """A case and a finding of it as text."""
    row, finding = told
    return f"{row}: {finding.verdict}: {finding.reason}"
