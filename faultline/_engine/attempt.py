"""An attempt under way: its fault, the point that it has reached, and the tripwire of its break.

Rules: no sending, no waiting and no playing of steps; the connection does that. A protocol with several requests at
once on a connection opens an attempt for each of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from faultline._core.attempts import Entry, Request
from faultline._core.ends import How, Party, Sign
from faultline._core.fault import Fault
from faultline._core.ledger import Ledger
from faultline._core.points import FACTS, Point
from faultline._core.promises import BREAK, Key, kept_parts
from faultline._core.tripwire import Tripwire

NO_REQUEST = Request()


class OpenAttempt:
    """An attempt between its begin and its end."""

    __slots__ = ("_ledger", "entry", "fault", "hears_words_alone", "on_strike", "point", "request", "trip")

    def __init__(
        self, ledger: Ledger, connection: int, fault: Fault, waited: Entry | None = None, *, is_relayed: bool = False
    ) -> None:
        self._ledger = ledger
        self.entry = ledger.begin(connection, fault, "accept", waited)
        if is_relayed:
            self.entry.follow()
        self.point: Point = "accept"
        self.request = NO_REQUEST  # with all of its body, of which the ledger may keep a part
        self.fault = fault
        self.hears_words_alone = False  # before the TLS inside a protocol only `on` can strike among its bytes
        self.on_strike: Callable[[Tripwire], Awaitable[None]] | None = None  # plays a strike, if not the connection
        self._arm(fault)

    def meet(self, fault: Fault) -> None:
        """Replace the fault, from here on; a break that stays goes on counting, and strikes no second time."""
        kept = kept_parts(self.fault, fault)
        if fault.origin is not None:
            fault = replace(fault, origin=fault.origin.after(self.fault.origin))
        self.entry.meets(fault, kept)
        self.fault = fault
        if BREAK not in kept:
            self._arm(fault)

    def _arm(self, fault: Fault) -> None:
        brk = fault.break_
        self.trip = Tripwire(brk) if brk is not None and brk.facts.is_connected else None
        if self.trip is not None:
            self.entry.join(self.trip)  # if a live edit gives the break to an open connection

    def armed(self, point: Point) -> Tripwire | None:
        """The tripwire, if its break can strike at this point now."""
        if self.trip is None or not self.trip.is_armed_at(point):
            return None
        is_early = self.hears_words_alone and FACTS[point].is_exchange and self.trip.brk.trigger.on is None
        return None if is_early else self.trip

    @property
    def lasts(self) -> bool:
        """Whether further requests on the connection go on meeting the fault: its break counts them, or waits."""
        return self.trip is not None and (self.trip.waits or self.trip.brk.trigger.after_requests > 0)

    def begin_request(self) -> None:
        """Take note that a request has passed, and that a further one begins."""
        if self.trip is not None:
            self.trip.requests_left -= 1

    def disarm(self) -> None:
        """Remove the tripwire, because its break strikes now."""
        self.trip = None

    def come_to(self, point: Point) -> None:
        """Record that the conversation has reached this point."""
        if point != self.point:
            self.point = point
            self._ledger.reach(self.entry, point)

    def keep(self, request: Request) -> None:
        """Take note of the request, for the answer and for the ledger."""
        self.request = request
        self._ledger.keep(self.entry, request)

    def strike(self, point: Point, after_bytes: int, part: Key = BREAK) -> None:
        """Record that a part of the fault takes effect now; only the first time counts."""
        self._ledger.strike(self.entry, point, after_bytes, part)

    def take_back_strike(self, part: Key) -> None:
        """Forget the strike of a part, because the client had left before anything of it could be sent."""
        self._ledger.take_back_strike(self.entry, part)

    def condition_strikes(self, point: Point, part: Key, after_bytes: int) -> None:
        """Record that a condition changes bytes that pass this point, for the first time."""
        self.strike(point, after_bytes, part)

    def sign(self, by: Party, how: Sign, alert: str = "") -> None:
        """Record that a side ends one direction of the conversation, or sends an alert."""
        self._ledger.sign(self.entry, by, how, alert)

    @property
    def protocols(self) -> tuple[str, ...]:
        """The application protocol that the client and the server have agreed on in TLS, if there is one."""
        tls = self.entry.tls
        return (tls.alpn,) if tls is not None and tls.alpn else ()

    @property
    def has_said_goodbye(self) -> bool:
        """Whether the server has sent close_notify, after which a client may close at once."""
        return any((end.by, end.how) == ("server", "close_notify") for end in self.entry.ends)

    @property
    def has_ended(self) -> bool:
        """Whether the attempt is over."""
        return self.entry.ended_seconds is not None

    def end(self, by: Party | None = None, how: How | None = None, *, is_sign: bool = True) -> None:
        """Record that the attempt is over, with a sign of its own or without; ending it again changes nothing."""
        self._ledger.end(self.entry, by, how, is_sign=is_sign)
