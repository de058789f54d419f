"""The dealer: a run through a plan, which deals a fault to each attempt.

Rules: any thread may use a dealer. It knows the next fault before a client connects, because the port has to refuse or
accept the connection.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

from faultline._core import chance
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Per, Plan, Sequence, Sometimes, entries_of


def dealt(plan: Plan) -> Iterator[Fault]:
    """The faults in the order in which they are dealt, without end.

    A refusal or a black hole with a duration is dealt when its time is over. Repeating it as the last fault would never
    end it, so the server is healthy from then on.
    """
    entries = entries_of(plan)
    generators: dict[int, random.Random] = {
        i: chance.generator(entry.seed) for i, entry in enumerate(entries) if isinstance(entry, Sometimes)
    }
    at = 0
    while True:
        entry = entries[at]
        if isinstance(entry, Sometimes):
            yield entry.fault if generators[at].random() < entry.probability else entry.otherwise
        else:
            yield entry
        before, at = at, at + 1
        if at == len(entries):
            at = 0 if isinstance(plan, Sequence) and plan.cycles else before
        if at == before and isinstance(entry, Fault) and entry.door_seconds is not None:
            entries = (*entries[:at], HEALTHY)


class Dealer:
    """A run through a plan: it deals the faults to the attempts."""

    def __init__(self, plan: Plan) -> None:
        self._lock = threading.Lock()
        self.change(plan)

    def change(self, plan: Plan) -> None:
        """Begin another plan."""
        with self._lock:
            self._per: Per = "attempt" if isinstance(plan, Fault) else plan.per
            self._faults = dealt(plan)
            self._upcoming = next(self._faults)

    def deal(self) -> Fault:
        """The fault of the attempt that begins now."""
        with self._lock:
            fault, self._upcoming = self._upcoming, next(self._faults)
            return fault

    def upcoming(self) -> Fault:
        """The fault that the next attempt will meet, without dealing it."""
        with self._lock:
            return self._upcoming

    def deal_kept(self, current: Fault) -> Fault:
        """The fault of a further request on a connection whose fault so far is `current`.

        A next fault that needs a new connection waits for it, and this request gets the healthy answer.
        """
        if self._per == "connection":
            return current
        return HEALTHY if self.ends_connection(current) else self.deal()

    def ends_connection(self, current: Fault) -> bool:
        """Whether the next fault needs a new connection, so that this connection can't be kept alive."""
        return self._per == "attempt" and not self.upcoming().can_follow(current)
