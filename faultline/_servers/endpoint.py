"""What a server, a resolver or another one with a ledger tells of what happened.

Rules of this room: it reads the ledger, and starts nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from faultline._core.check import choice, seconds, whole
from faultline._core.ledger import Attempt, Ledger
from faultline._core.points import POINTS, Point

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # of typing from Python 3.11 on, and never imported


class Told(ABC):
    """One that has a ledger, an end, and a guard."""

    ledger: Ledger

    @property
    @abstractmethod
    def attempts(self) -> tuple[Attempt, ...]:
        """What happened, attempt by attempt: all that a client could have observed is in it."""

    @abstractmethod
    def drawing(self) -> str:
        """What happened, as text."""

    @abstractmethod
    def close(self) -> None:
        """Stop now. Twice is once."""

    def step_aside(self) -> None:  # noqa: B027 - most have nothing to do
        """Put back what this has replaced, if it has; what it serves goes on."""

    @abstractmethod
    def check_struck(self) -> None:
        """The guard: see that each planned fault that could be seen did strike.

        Raises:
            NotStruckError: one did not; says what happened instead.
        """

    @property
    def intervals(self) -> tuple[float, ...]:
        """Seconds from the beginning of each attempt to the beginning of the next."""
        begins = [a.started_seconds for a in self.attempts]
        return tuple(b - a for a, b in pairwise(begins))

    def wait_for_attempts(
        self, count: int, timeout_seconds: float = 10.0, *, at: Point | Literal["end"] = "accept"
    ) -> tuple[Attempt, ...]:
        """Wait until so many attempts have begun, or have come to the point `at`.

        `at="response"` waits until so many requests have been read, `at="end"` until so many attempts are over. It
        blocks the thread: in async code call it by `await asyncio.to_thread(server.wait_for_attempts, 1)`.

        Raises:
            WaitError: they have not within `timeout_seconds`.
        """
        whole("count", count, "")
        choice("at", at, (*POINTS, "end"))
        self.ledger.wait(count, at, seconds("timeout_seconds", timeout_seconds))
        return self.attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is None:
            self.check_struck()
