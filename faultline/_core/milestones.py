"""How many attempts have come to a point, to their strike or to an end, and who waits for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from faultline._core.counts import counted
from faultline._core.errors import WaitError
from faultline._core.points import POINTS, Point, has_come_to

if TYPE_CHECKING:
    from faultline._core.attempts import Attempt, Entry
    from faultline._core.ends import Party

# Of an attempt, which a test can wait for.
Milestone: TypeAlias = Point | Literal["strike", "end", "client_end", "server_end", "upstream_end"]
MILESTONES: tuple[Milestone, ...] = (*POINTS, "strike", "end", "client_end", "server_end", "upstream_end")
SIDES: dict[Party, Milestone] = {"client": "client_end", "server": "server_end", "upstream": "upstream_end"}
PASSED: dict[Point, frozenset[Milestone]] = {
    at: frozenset(point for point in POINTS if has_come_to(at, point)) for at in POINTS
}
NONE: frozenset[Milestone] = frozenset()


def milestones_of(attempt: Entry | Attempt) -> frozenset[Milestone]:
    """The milestones that an attempt has reached."""
    reached = [SIDES[end.by] for end in attempt.ends] if attempt.ends else []
    if attempt.strikes and attempt.struck is not None:
        reached.append("strike")
    if attempt.ended_seconds is not None:
        reached.append("end")
    return with_points(attempt.point, *reached)


@cache  # there are few different ones, and every attempt has its own
def with_points(at: Point, *reached: Milestone) -> frozenset[Milestone]:
    """These milestones, and the points of an attempt that has come to `at`."""
    return PASSED[at].union(reached)


@cache
def changes(before: frozenset[Milestone], after: frozenset[Milestone]) -> tuple[tuple[Milestone, int], ...]:
    """By how much the counts change when an attempt has gone on."""
    return (*((milestone, -1) for milestone in before - after), *((milestone, 1) for milestone in after - before))


@dataclass(eq=False)
class Waiting:
    """A wait for a number of attempts at a milestone."""

    count: int
    at: Milestone
    wake: Callable[[], None]


@dataclass
class Milestones:
    """The counts of the attempts at each milestone, so that a wait costs the same however many attempts there are."""

    _counts: dict[Milestone, int] = field(default_factory=lambda: dict.fromkeys(MILESTONES, 0))
    _waiting: list[Waiting] = field(default_factory=list)

    def note(self, before: frozenset[Milestone], after: frozenset[Milestone]) -> None:
        """Count an attempt that has gone on, and wake the waits that are over."""
        if before is after:
            return
        for milestone, change in changes(before, after):
            self._counts[milestone] += change
        for waiting in tuple(self._waiting):
            if self.has(waiting.count, waiting.at):
                waiting.wake()

    def count(self, at: Milestone) -> int:
        """The number of attempts that have reached a milestone."""
        return self._counts[at]

    def has(self, count: int, at: Milestone) -> bool:
        """Whether this many attempts have reached a milestone."""
        return self._counts[at] >= count

    def begin(self, count: int, at: Milestone, wake: Callable[[], None]) -> Waiting:
        """Call `wake` whenever the number of attempts at a milestone has changed and is large enough."""
        waiting = Waiting(count, at, wake)
        self._waiting.append(waiting)
        return waiting

    def end(self, waiting: Waiting) -> None:
        """End a wait."""
        self._waiting.remove(waiting)

    def too_few(self, count: int, at: Milestone, timeout_seconds: float, attempts: int) -> WaitError:
        """The error of a wait that took too long."""
        return too_few(self._counts[at], attempts, count, at, timeout_seconds)


def reached(attempts: Sequence[Entry | Attempt], milestone: Milestone) -> int:
    """The number of these attempts that have reached a milestone."""
    return sum(milestone in milestones_of(attempt) for attempt in attempts)


def too_few(reached: int, attempts: int, count: int, at: Milestone, timeout_seconds: float) -> WaitError:
    """The error of a wait that took too long."""
    return WaitError(
        f"{reached} of {counted(count, 'attempt')} reached {at!r} within {timeout_seconds:g} s; "
        f"attempts in all: {attempts}."
    )
