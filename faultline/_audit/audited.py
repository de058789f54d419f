"""An audit from its begin to its end: the results so far, and what they come to."""

from __future__ import annotations

import queue
from types import TracebackType

from faultline._audit.result import Audit, AuditCase, in_order
from faultline._audit.run import Auditing, Put, Setup
from faultline._audit.verdicts import FINE
from faultline._core import clock
from faultline._core.counts import counted


class Run:
    """An audit that has begun; `put` gets each result, from other threads."""

    def __init__(self, setup: Setup, put: Put) -> None:
        self._setup, self._began = setup, clock.now()
        self._results: list[AuditCase] = []
        self._auditing = Auditing(setup)
        self._auditing.start(put)

    @property
    def is_going(self) -> bool:
        """Whether there are results to come."""
        return len(self._results) < len(self._auditing.rows)

    def take(self, told: object) -> AuditCase:
        """Take what `put` was given.

        Raises:
            BaseException: it is an error, such as that of a target that can't be called.
        """
        if isinstance(told, BaseException):
            raise told
        assert isinstance(told, AuditCase)
        self._results.append(told)
        return told

    @property
    def progress(self) -> str:
        """How far it has come, in a line that is written over the one before; empty in the end."""
        done, total = len(self._results), len(self._auditing.rows)
        if not self.is_going:
            return "\r\x1b[K"
        found = sum(result.verdict not in FINE for result in self._results)
        return f"\r\x1b[K{done} of {counted(total, 'case')}, {found} found"

    def result(self) -> Audit:
        """The audit so far, in the order of the catalogue."""
        results = in_order(self._results, self._auditing.rows)
        return Audit(str(self._setup.target), results, clock.now() - self._began, not self.is_going)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._auditing.close()


def whole(setup: Setup) -> Audit:
    """Run an audit to its end."""
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    with Run(setup, told.put) as run:
        while run.is_going:
            run.take(told.get())
        return run.result()
