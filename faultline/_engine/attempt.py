"""One attempt while it goes on: its fault, the point that it has come to, and the tripwire of its break.

It only remembers and decides; sending, waiting and striking are the connection's. A protocol with many requests at
once on a connection has as many of these open.
"""

from __future__ import annotations

from faultline._core.fault import Fault
from faultline._core.ledger import How, Ledger, Party
from faultline._core.points import Point
from faultline._core.tripwire import Tripwire


class OpenAttempt:
    """An attempt between its begin and its end, as the engine sees it."""

    def __init__(self, ledger: Ledger, connection: int, fault: Fault) -> None:
        self._ledger = ledger
        self.entry = ledger.begin(connection, fault, "accept")
        self.point: Point = "accept"
        self.meet(fault)

    def meet(self, fault: Fault) -> None:
        """Have this fault from here on."""
        self.fault = self.entry.fault = fault
        brk = fault.break_
        self.trip = Tripwire(brk) if brk is not None and brk.facts.is_connected else None

    def armed(self, point: Point) -> Tripwire | None:
        """The tripwire, if it is at this point and has not struck."""
        return self.trip if self.trip is not None and self.trip.brk.at == point else None

    def disarm(self) -> Tripwire:
        """The tripwire, which strikes now and never again."""
        trip, self.trip = self.trip, None
        assert trip is not None
        return trip

    def come_to(self, point: Point) -> None:
        """Note that the conversation has come to this point."""
        self.point = point
        self._ledger.reach(self.entry, point)

    def strike(self, point: Point, after_bytes: int) -> None:
        """Note that the fault strikes now."""
        self._ledger.strike(self.entry, point, after_bytes)

    @property
    def has_struck(self) -> bool:
        """Whether the fault has struck."""
        return self.entry.struck is not None

    def end(self, by: Party | None = None, how: How | None = None) -> None:
        """Note that the attempt is over; ending it again changes nothing."""
        self._ledger.end(self.entry, by, how)
