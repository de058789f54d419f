"""The dealer: a run through a plan, which deals a fault to each attempt.

Rules: any thread may use a dealer. It knows the next fault before a client connects, because the port has to refuse or
accept the connection.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from faultline._core import chance
from faultline._core.fault import Fault
from faultline._core.plan import (
    HEALTHY,
    Choosing,
    Limited,
    Per,
    Plan,
    Sequence,
    Sometimes,
    alternatives,
    chosen,
    entries_of,
    fault_of,
    faults_of,
    per_of,
)
from faultline._core.promises import Origin

if TYPE_CHECKING:
    from faultline._core.attempts import Request


class Place(NamedTuple):
    """Where a fault stands in a plan: the number of its entry, and whether it is the `otherwise` of that."""

    entry: int
    is_other: bool = False


Make: TypeAlias = Callable[[int | None], random.Random]


def places(plan: Plan, make: Make) -> Iterator[Place | None]:
    """The places of the faults in the order in which they are dealt, without end; `None` is the healthy conversation.

    A refusal or a black hole with a duration is dealt when its time is over. Repeating it as the last fault would never
    end it, so the server is healthy from then on.
    """
    entries = entries_of(plan)
    generators: dict[int, random.Random] = {
        i: make(entry.seed) for i, entry in enumerate(entries) if isinstance(entry, Sometimes)
    }
    at, is_over = 0, False
    while True:
        entry = entries[at]
        is_other = isinstance(entry, Sometimes) and generators[at].random() >= entry.probability
        yield None if is_over else Place(at, is_other)
        before, at = at, at + 1
        if at == len(entries):
            at = 0 if isinstance(plan, Sequence) and plan.cycles else before
        is_over = at == before and isinstance(entry, Fault) and entry.opens_later


def fault_at(plan: Plan, place: Place | None) -> Fault:
    """The fault at a place of a plan."""
    if place is None:
        return HEALTHY
    return alternatives(entries_of(plan)[place.entry])[place.is_other]


class Dealer:
    """A run through a plan: it deals the faults to the attempts.

    `make` returns a generator with a seed, or without one the next of a scope.

    Attributes:
        count_connections: returns how many connections there are that are not beyond the limit of the plan; it is
            called in the thread of whoever asks for a fault.
        reads_requests: whether a relay has to read requests for the plan: it answers some by itself, or chooses by
            them. A plan of the same entries leaves that as it is.
    """

    def __init__(self, plan: Plan, make: Make = chance.generator) -> None:
        self._lock = threading.Lock()
        self._make = make
        self._chosen: dict[
            tuple[int, tuple[int, ...], int], Iterator[Place | None]
        ] = {}  # the runs of plans by the request
        self.count_connections: Callable[[], int] = int
        self.change(plan)

    def change(self, plan: Plan) -> None:
        """Begin another plan."""
        with self._lock:
            self._plan = plan
            self._per: Per = per_of(plan)
            self._places = places(plan.plan if isinstance(plan, Limited) else plan, self._make)
            self._chosen.clear()
            faults = faults_of(plan)
            self._has_gates = any(fault.waits_for_gate for fault in faults)
            self._advance()
            self.reads_requests = any(fault.http_answer is not None or fault.choice is not None for fault in faults)
        self.pass_open_gates()

    def pass_open_gates(self) -> None:
        """Pass over refusals and black holes that last until a gate opens that is open; a cycle of them stays."""
        with self._lock:
            for _ in entries_of(self._plan) if self._has_gates else ():
                if self._following.has_open_gate:
                    self._advance()

    def _advance(self) -> None:
        """Come to the next place."""
        self._next = next(self._places)
        self._following = fault_at(self._plan, self._next)

    def go_on(self, plan: Plan) -> None:
        """Go on where the run is with a plan of the same entries, whose faults have other conditions."""
        with self._lock:
            self._plan, self._following = plan, fault_at(plan, self._next)

    def again(self, fault: Fault) -> Fault:
        """The fault of the present plan in the place of a fault of the plan before, as after `go_on`."""
        if fault.origin is None:
            return HEALTHY
        with self._lock:
            return fault_of(self._plan, fault.origin)

    @property
    def is_limited(self) -> bool:
        """Whether the next fault depends on how many connections there are."""
        return isinstance(self._plan, Limited)

    def is_beyond(self, fault: Fault) -> bool:
        """Whether a fault is that of the connections beyond the limit of the plan."""
        return isinstance(self._plan, Limited) and fault.origin == self._plan.beyond.origin

    def _beyond(self, connected: int | None = None) -> Fault | None:
        """The fault of a connection beside this number of others, if the plan lets in no more."""
        plan = self._plan
        if not isinstance(plan, Limited):
            return None
        connected = self.count_connections() if connected is None else connected
        return plan.beyond if connected >= plan.number else None

    def deal(self, connected: int | None = None) -> Fault:
        """The fault of the attempt that begins now, on a new connection or beside this number of others."""
        return self._beyond(connected) or self._deal()

    def _deal(self) -> Fault:
        with self._lock:
            fault = self._following
            self._advance()
        return fault

    def resolved(self, fault: Fault, request: Request, *, has_body: bool = True) -> Fault:
        """The fault with its choices by the request made, as far as its head or all of it is known."""
        while fault.choice is not None and (has_body or not fault.choice.reads_body):
            fault = chosen(fault, self._draw(fault, fault.choice.index(request)))
        return fault

    def _draw(self, fault: Fault, number: int) -> Choosing:
        """The place of the next fault of a plan that a request has chosen."""
        assert fault.choice is not None
        origin = fault.origin or Origin(0, 0)
        key = (origin.entry, origin.branch, number)  # whatever the number of the plan, which `go_on` changes
        with self._lock:
            run = self._chosen.get(key)
            if run is None:
                run = self._chosen[key] = places(fault.choice.plans[number], self._make)
            place = next(run) or Place(0)
        return (number, place.entry, int(place.is_other))

    def upcoming(self) -> Fault:
        """The fault that the next attempt will meet on a new connection, without dealing it."""
        return self._beyond() or self.following()

    def following(self) -> Fault:
        """The fault that the next attempt will meet on a connection that is kept alive, without dealing it."""
        return self._following

    def deal_kept(self, current: Fault) -> Fault:
        """The fault of a further request on a connection whose fault so far is `current`.

        A next fault that needs a new connection waits for it, and this request gets the healthy answer.
        """
        if self._per == "connection" or self.is_beyond(current):
            return current
        return HEALTHY if self.ends_connection(current) else self._deal()

    def ends_connection(self, current: Fault) -> bool:
        """Whether the next fault needs a new connection, so that this connection can't be kept alive."""
        if self._per == "connection" or self.is_beyond(current):
            return False
        return not self.following().can_follow(current)
