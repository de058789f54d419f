"""Which cases of the catalogue a client is audited in, with TLS and without."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from faultline._audit.observed import Protocol
from faultline._core.answers import AsUsual
from faultline._core.kinds import HTTP_PROXY, RELAY, TERMINATING_RELAY
from faultline.modes._catalogue import cases
from faultline.modes._registry import Case
from faultline.modes.breaks import close, reset, stall
from faultline.modes.lookups import slow_resolve

# The cases by which the audit learns what a client does when nothing breaks.
HEALTHY = "ok()"
PROXY = HTTP_PROXY.in_plain
TUNNELS = (  # behind a CONNECT that went well
    Case(reset, (("at", "tunnel"),), "ConnectionResetError"),
    Case(close, (("at", "tunnel"),), "end of stream"),
    Case(stall, (("at", "tunnel"),), "TimeoutError"),
)
RELAYS = {False: RELAY, True: TERMINATING_RELAY}


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
        upstream: the address of a real server that answers behind a relay; without it the server of a case answers.
        proxy: whether the client meets the faults at an HTTP proxy, in front of a server where nothing breaks.
        slow_seconds: how long the slowest lookup takes.
    """

    points: Collection[str] = ()
    modes: Collection[str] = ()
    tls: bool | None = None
    protocol: Protocol = "http"
    upstream: str = ""
    proxy: bool = False
    slow_seconds: float = 6.0

    def takes(self, case: Case, *, tls: bool) -> bool:
        """Whether a case is chosen, with TLS or without."""
        here = not self.points or case.point in self.points
        named = not self.modes or case.mode in self.modes
        if not (here and named and self.tls in (None, tls)):
            return False
        if case.point == "lookup":
            asked = "lookup" in self.points or case.mode in self.modes
            return asked and not (tls or self.upstream or self.proxy)
        if not tls and case.fault.needs_tls:
            return False
        if self.protocol == "tcp" and not is_of_any_protocol(case):
            return False
        if self.upstream:
            return RELAYS[tls].plays(case.fault)
        return not self.proxy or (PROXY.plays(case.fault) and (tls or case.point != "tunnel"))

    @property
    def lookups(self) -> tuple[Case, ...]:
        """The lookups: each lookup that finds nothing, and a lookup that is slower than the client may be."""
        fails = tuple(case for case in cases() if case.sees.startswith("gaierror"))
        return (*fails, Case(slow_resolve, (("delay_seconds", self.slow_seconds),), "TimeoutError"))


def is_of_any_protocol(case: Case) -> bool:
    """Whether a case means the same to a client that doesn't speak HTTP."""
    fault = case.fault
    listens = fault.break_ is not None and fault.break_.trigger.on is not None
    return not listens and (fault.answer is None or isinstance(fault.answer, AsUsual))


def chosen(choice: Choice) -> list[Row]:
    """The rows of the audit, in the order of the catalogue: each case without TLS and with it, where it can be both."""
    served = [case for case in cases() if case.kind == "TCP server"]
    known = [*served, *(TUNNELS if choice.proxy else ()), *choice.lookups]
    return [Row(case, tls) for case in known for tls in (False, True) if choice.takes(case, tls=tls)]


def known_points() -> tuple[str, ...]:
    """The points of all cases, those of a proxy too."""
    return tuple(dict.fromkeys(case.point for case in (*cases(), *TUNNELS)))


def healthy() -> Case:
    """The case in which nothing breaks."""
    return next(case for case in cases() if str(case) == HEALTHY)
