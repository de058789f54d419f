"""The end of a step that lasts: after its time, or when the test opens its gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from faultline._core.steps import Refuse, Vanish
from faultline._net.departures import call_in

LEAST_SECONDS = 0.001  # so that a cycle of refusals that are over at once doesn't block the loop


class Lapse:
    """Calls a function in the loop once a step is over; never, if nothing ends the step."""

    def __init__(self, loop: asyncio.AbstractEventLoop, step: Refuse | Vanish, on_over: Callable[[], None]) -> None:
        self._loop, self._gate, self._on_over = loop, step.until, on_over
        self._timer: asyncio.TimerHandle | None = None
        self._on_open = partial(call_in, loop, self._end)  # before a connect that the opener of the gate makes next
        if step.for_seconds is not None:
            self._begin(step.for_seconds)
        elif self._gate is not None and self._gate.is_open:
            self._begin(0.0)
        elif self._gate is not None:
            self._gate.when_open(self._on_open)

    def _begin(self, for_seconds: float) -> None:
        self._timer = self._loop.call_later(max(for_seconds, LEAST_SECONDS), self._on_over)

    def _end(self) -> None:
        self._on_over()

    def cancel(self) -> None:
        """Call nothing."""
        self._on_over = ignore
        if self._gate is not None:
            self._gate.forget(self._on_open)
        if self._timer is not None:
            self._timer.cancel()


def ignore(*_: object) -> None:
    """Do nothing, in place of a callback that is no longer wanted."""
