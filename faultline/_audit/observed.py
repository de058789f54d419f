"""Observations: what was seen of a client in one case, as plain values on which the verdicts are reached.

Rules: values only. Times are seconds; the attempts are those of the server's ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal, TypeAlias

from faultline._audit.outcomes import Call, Left
from faultline._core.attempts import Attempt
from faultline._core.fault import Fault
from faultline.modes._registry import Case, Place

Protocol: TypeAlias = Literal["http", "tcp"]
SLOWS = 1.5  # how much longer the later intervals of a client are that slows down
KEPT_ATTEMPTS = 20  # of a client that makes hundreds, in what is written down


@dataclass(frozen=True)
class Usual:
    """What the client does when nothing breaks.

    Attributes:
        left: what it has left after each call.
        digests: what tells its values apart, call by call.
        sent_bytes: how much the server had sent in the first attempt.
    """

    left: tuple[Left, ...] = ()
    digests: tuple[str, ...] = ()
    sent_bytes: int = 0

    def left_after(self, calls: int) -> Left:
        """What it has left after this number of calls, or after its last call."""
        return self.left[min(calls, len(self.left)) - 1] if self.left else Left()


@dataclass(frozen=True)
class Observation:
    """What was seen of a client in one case.

    Attributes:
        case: the case.
        tls: whether the server spoke TLS.
        calls: the calls in order; there is a second one if the first returned.
        attempts: the attempts in the server's ledger.
        usual: what the client does when nothing breaks.
        protocol: what the server answers with.
        is_whole: whether a response as the server sent it is whole, as its head says; `None` if nobody has looked.
        is_counted: whether the ledger has every attempt; refused connects of another process can go unseen.
        limit_seconds: the time after which a call counts as hung.
        output_bytes: how much the client printed.
        was_met: whether the client came to the place of the fault.
    """

    case: Case
    tls: bool = False
    calls: tuple[Call, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    usual: Usual = field(default_factory=Usual)
    protocol: Protocol = "http"
    is_whole: bool | None = None
    is_counted: bool = True
    limit_seconds: float = 0.0
    output_bytes: int = 0
    was_met: bool = True

    @cached_property
    def fault(self) -> Fault:
        """The fault of the case."""
        return self.case.fault

    @property
    def point(self) -> Place:
        """The point of the case."""
        return self.case.point

    @property
    def first(self) -> Call:
        """The first call."""
        return self.calls[0]

    @property
    def last(self) -> Call:
        """The last call."""
        return self.calls[-1]

    def attempts_of(self, number: int) -> tuple[Attempt, ...]:
        """The attempts that were made in a call, by its place."""
        begin = self.calls[number - 1].attempts if number else 0
        return self.attempts[begin : self.calls[number].attempts]

    def to_dict(self) -> dict[str, Any]:
        """The observation as plain data for JSON."""
        return {
            "case": str(self.case),
            "mode": self.case.mode,
            "point": self.point,
            "tls": self.tls,
            "calls": [asdict(call) for call in self.calls],
            "attempts_begun": len(self.attempts),
            "intervals": [round(gap, 6) for gap in intervals(self.attempts)][:KEPT_ATTEMPTS],
            "backs_off": backs_off(intervals(self.attempts)),
            "sent_again": sent_again(self.attempts),
            "attempts": [attempt.to_dict() for attempt in self.attempts[:KEPT_ATTEMPTS]],
            "output_bytes": self.output_bytes,
        }


def intervals(attempts: tuple[Attempt, ...]) -> list[float]:
    """The seconds from the begin of each attempt to that of the next."""
    begun = [attempt.started_seconds for attempt in attempts]
    return [later - earlier for earlier, later in pairwise(begun)]


def backs_off(gaps: Sequence[float]) -> bool:
    """Whether the later intervals are longer than the earlier ones."""
    half = len(gaps) // 2
    return half > 0 and fmean(gaps[half:]) >= SLOWS * fmean(gaps[:half])


def method_of(attempt: Attempt) -> str:
    """The method of the request, also of a request that was cut off in its head; empty without a request."""
    if attempt.request is not None:
        return attempt.request.method
    said = next((turn.begins for turn in attempt.turns if turn.by == "client"), b"")
    word = said.partition(b" ")[0]
    return word.decode() if word.isalpha() and word.isupper() and b" /" in said else ""


def sent_again(attempts: tuple[Attempt, ...]) -> list[str]:
    """The methods of the requests after the first."""
    return [method for attempt in attempts[1:KEPT_ATTEMPTS] if (method := method_of(attempt))]
