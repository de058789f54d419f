"""Which cases of the catalogue a client is audited in, with TLS and without."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from faultline._audit.observed import Protocol
from faultline._core.answers import AsUsual
from faultline.modes._catalogue import cases
from faultline.modes._registry import Case

# The cases by which the audit learns what a client does when nothing breaks.
HEALTHY = "ok()"


@dataclass(frozen=True)
class Row:
    """A case, with TLS or without."""

    case: Case
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.case} in TLS" if self.tls else str(self.case)

    @property
    def calls(self) -> int:
        """How often the client is called, if it returns: twice where the first response can touch the second."""
        fault = self.case.fault
        touches = fault.is_healthy or self.case.point == "idle" or (fault.answer is not None and fault.answer.is_fault)
        return 2 if touches else 1

    @property
    def is_slow(self) -> bool:
        """Whether a client may wait for its own timeout here."""
        return self.case.sees in ("TimeoutError", "no answer")


@dataclass(frozen=True)
class Choice:
    """What to audit.

    Attributes:
        points: only cases of these points; all if empty.
        modes: only cases of these modes; all if empty.
        tls: only with TLS, or only without; both if `None`.
        protocol: `http` for all cases of a TCP server, `tcp` for those that mean something without HTTP.
    """

    points: Collection[str] = ()
    modes: Collection[str] = ()
    tls: bool | None = None
    protocol: Protocol = "http"

    def takes(self, case: Case) -> bool:
        """Whether a case is chosen."""
        here = not self.points or case.point in self.points
        named = not self.modes or case.mode in self.modes
        return here and named and case.kind == "TCP server" and (self.protocol == "http" or is_of_any_protocol(case))


def is_of_any_protocol(case: Case) -> bool:
    """Whether a case means the same to a client that doesn't speak HTTP."""
    fault = case.fault
    listens = fault.break_ is not None and fault.break_.trigger.on is not None
    return not listens and (fault.answer is None or isinstance(fault.answer, AsUsual))


def chosen(choice: Choice) -> list[Row]:
    """The rows of the audit, in the order of the catalogue: each case without TLS and with it, where it can be both."""
    rows = []
    for case in cases():
        if choice.takes(case):
            needs = case.fault.needs_tls
            rows += [Row(case, tls) for tls in (False, True) if (tls or not needs) and choice.tls in (None, tls)]
    return rows


def healthy() -> Case:
    """The case in which nothing breaks."""
    return next(case for case in cases() if str(case) == HEALTHY)
