"""Plans: which attempt meets which fault.

Rules of this room: a plan is a value; a `Dealer` is one run through it, and may be asked from any thread.
"""

from __future__ import annotations

import threading
from typing import TypeAlias

from faultline._errors import ParameterError
from faultline._fault import Answer, Fault

Plan: TypeAlias = Fault


def checked_plan(plan: object) -> Plan:
    """A plan, or an error that says what one looks like.

    Raises:
        ParameterError: something that is no plan.
    """
    if isinstance(plan, Fault):
        return plan
    hint = f"; write {plan.__name__}()" if callable(plan) and hasattr(plan, "__name__") else ""
    raise ParameterError(f"plan={plan!r}: expected a fault such as reset() or ok(){hint}.")


class Dealer:
    """Deals the plan's faults to attempts, one after the other."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lock = threading.Lock()

    def change(self, plan: Plan) -> None:
        """Begin with another plan."""
        with self._lock:
            self.plan = plan

    def deal(self) -> Fault:
        """The fault of the attempt that begins now."""
        with self._lock:
            return self.plan

    def deal_kept(self) -> Fault:
        """The fault of a further request on a kept connection.

        If the next one needs a new connection it is left for that, and this request is answered as if healthy.
        """
        fault = self.upcoming()
        return Fault(answer=Answer()) if fault.needs_new_connection else self.deal()

    def upcoming(self) -> Fault:
        """The fault that the next attempt will meet, left where it is."""
        with self._lock:
            return self.plan
