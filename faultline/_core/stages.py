"""How each condition acts on the bytes of one direction: a stage, which says when each piece leaves it.

Rules: a stage gets the time as a number and never waits. Times are absolute, so that they don't drift, and silence
earns no credit. What a stage does to bytes follows from them and from the time when they came to it, and from nothing
else, so that a chain may ask it before that time is over.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from faultline._core.heads import Head

if TYPE_CHECKING:
    from faultline._core.conditions import (
        Condition,
        Corrupt,
        Drip,
        Edit,
        Latency,
        Pace,
        Slicer,
        SlowClose,
        Throttle,
    )

NEVER_SECONDS = 1e9  # a loop can't wait for an infinite time
PIECES_PER_SECOND = 50  # of a throttled flow: more pieces cost more wake-ups, fewer pieces look unsteady


class Cut(Exception):  # noqa: N818 - an event, not an error
    """A stage ends the connection, by FIN or by RST to both sides."""

    def __init__(self, how: Literal["FIN", "RST"]) -> None:
        super().__init__(how)
        self.how: Literal["FIN", "RST"] = how


class End(NamedTuple):
    """The end of a direction, which travels behind its bytes; `error` if it came early."""

    error: Exception | None = None


Leaving: TypeAlias = tuple[float, bytes | End]  # when something leaves the stage


class Stage:
    """A condition at work: it takes the bytes of one direction as they come, and the end behind them.

    Attributes:
        condition: the condition.
        passed_bytes: how many bytes have come to the stage.
        before_bytes: how many of its direction had passed before it was there.
        strike: called once, with the number of bytes of its direction before what the stage changes.
        alarm: when it ends the connection if nothing comes before; `None` for never.
        has_ended: whether it has ended the connection.
    """

    keeps_waiting = False  # whether it makes bytes wait
    is_buffer = False  # whether bytes may come while others still wait
    closes = False  # whether the connection is closed when the stage is taken away

    def __init__(self, condition: Condition, chance: Callable[[], random.Random]) -> None:
        self.condition = condition
        self.passed_bytes = self.before_bytes = 0
        self.strike: Callable[[int], None] | None = None
        self._make = chance
        self._chance = random.Random(0)  # noqa: S311 - never used, unless the condition draws
        self._lot: float | None = None  # the condition acts on connections whose lot is below its share
        self._began: float | None = None  # when the first bytes or the end came
        self._draw(condition.draws)
        self.alarm: float | None = None
        self.has_ended = False

    def begin(self, now: float) -> None:
        """Take note that the stage is there from now on."""

    def on_change(self, after_bytes: int) -> None:
        """Take note that the stage changes something behind this number of the bytes that have come to it."""
        if self.strike is not None:
            strike, self.strike = self.strike, None
            strike(self.before_bytes + after_bytes)

    def _draw(self, draws: bool) -> None:  # noqa: FBT001 - whether the condition does so now, and did not before
        """Have a generator if the condition needs one now, and a lot, which is drawn once, if it has a share."""
        has_share = self._lot is None and 0 < self.condition.share < 1
        if draws or has_share:
            self._chance = self._make()
        if has_share:
            self._lot = self._chance.random()

    @property
    def acts(self) -> bool:
        """Whether the condition acts on this connection at all."""
        return (self._lot or 0.0) < self.condition.share

    def follow(self, condition: Condition) -> None:
        """Go on with a condition of the same name, which has other numbers."""
        draws = condition.draws and not self.condition.draws
        self.condition = condition
        self._draw(draws)

    def take(self, data: bytes, at: float) -> Iterator[Leaving]:
        """The pieces in which bytes that come at this time leave, in order, each with its time.

        Behind the condition's `for_seconds` they leave as they came.
        """
        began = self.passed_bytes
        self.passed_bytes += len(data)
        if not self.acts or self.is_over(at):
            yield at, data
        else:
            yield from self.pieces(data, at, began)

    def finish(self, end: End, at: float) -> Iterator[Leaving]:
        """How an end that comes at this time leaves; behind the condition's `for_seconds` as it came."""
        return self.last(end, at) if self.acts and not self.is_over(at) else iter(((at, end),))

    def last(self, end: End, at: float) -> Iterator[Leaving]:
        """How an end leaves on which the stage acts: as it came, unless the stage changes something."""
        yield at, end

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        """The pieces of bytes of which `began` came before; as they are, unless the stage changes something."""
        del began
        yield at, data

    def turn(self) -> None:
        """Take note that the other side has spoken: what comes now begins a new message."""

    def is_over(self, at: float) -> bool:
        """Whether the condition's time is over, since the first bytes came."""
        self._began = at if self._began is None else self._began
        for_seconds = self.condition.for_seconds
        return for_seconds is not None and at - self._began >= for_seconds

    def limit_bytes(self, wanted_bytes: int) -> int:
        """How many bytes to read at once for this stage, so that the sender feels a slow flow."""
        return wanted_bytes


class LatencyStage(Stage):
    """Every piece leaves a time after it came."""

    condition: Latency
    keeps_waiting = is_buffer = True

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        if delay := self.condition.drawn_seconds(self._chance):
            self.on_change(began)
        yield at + delay, data


class SlowCloseStage(Stage):
    """Bytes leave at once, and the end a time after it came."""

    condition: SlowClose

    def last(self, end: End, at: float) -> Iterator[Leaving]:
        self.on_change(self.passed_bytes)
        yield at + self.condition.delay_seconds, end


class HeadStage(Stage):
    """A stage that tells the head of a message from its body.

    The head ends with the first empty line of what a side says before the other side speaks.
    """

    condition: Pace
    keeps_waiting = True

    def __init__(self, condition: Condition, chance: Callable[[], random.Random]) -> None:
        super().__init__(condition, chance)
        self._free = 0.0  # when the next piece may leave at the earliest
        self._head = Head()
        self._is_midway = False  # whether a piece of the message has passed

    def turn(self) -> None:
        self._head, self._is_midway = Head(), False

    def head_bytes(self, data: bytes) -> int:
        """How many of these bytes are of the head of a message; all, until an empty line has come."""
        return self._head.bytes_of(data)


class PaceStage(HeadStage, ABC):
    """Bytes leave in small pieces, each some time after the one before."""

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        done = self.head_bytes(data) if self.condition.from_body else 0
        if done:
            yield at, data[:done]
        while done < len(data):
            begins = max(at, self._free)
            if self.is_over(begins):
                yield begins, data[done:]
                return
            size = self.size(len(data) - done)
            leaves, self._free = begins + self.travel_seconds(size), begins + self.seconds_between(size)
            if leaves > at or size < len(data) - done or self._is_midway:
                self.on_change(began + done)
            self._is_midway = True
            yield leaves, data[done : done + size]
            done += size

    def limit_bytes(self, wanted_bytes: int) -> int:
        return wanted_bytes if self.condition.from_body and not self._head.is_over else self.size(wanted_bytes)

    @abstractmethod
    def size(self, left_bytes: int) -> int:
        """How many of the bytes that are left travel together."""

    @abstractmethod
    def seconds_between(self, size: int) -> float:
        """The time from the begin of a piece to that of the next."""

    def travel_seconds(self, size: int) -> float:  # noqa: ARG002 - of a flow with a rate
        """The time from the begin of a piece until it has left."""
        return 0.0


class ThrottleStage(PaceStage):
    """A piece has left once its last byte has arrived at this rate."""

    condition: Throttle

    def size(self, left_bytes: int) -> int:
        return min(left_bytes, max(1, self.condition.bytes_per_second // PIECES_PER_SECOND))

    def seconds_between(self, size: int) -> float:
        return size / self.condition.bytes_per_second

    travel_seconds = seconds_between


class DripStage(PaceStage):
    """A piece of this size leaves at most once in this interval."""

    condition: Drip

    def size(self, left_bytes: int) -> int:
        return min(left_bytes, self.condition.chunk_bytes)

    def seconds_between(self, size: int) -> float:  # noqa: ARG002 - the same for each
        return self.condition.every_seconds


class SlicerStage(PaceStage):
    """What comes at once leaves in pieces of a size that varies, each an interval after the one before."""

    condition: Slicer

    def limit_bytes(self, wanted_bytes: int) -> int:
        return wanted_bytes

    def size(self, left_bytes: int) -> int:
        average, variation = self.condition.average_bytes, self.condition.variation_bytes
        return min(left_bytes, self._chance.randint(max(1, average - variation), average + variation))

    def seconds_between(self, size: int) -> float:  # noqa: ARG002 - the same for each
        return self.condition.every_seconds


class CorruptStage(Stage):
    """One bit of some bytes is flipped."""

    condition: Corrupt

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        changed = self.condition.corrupted(data, began, self._chance)
        if changed != data:
            first = next(i for i, (old, new) in enumerate(zip(data, changed, strict=True)) if old != new)
            self.on_change(began + first)
        yield at, changed


class EditStage(Stage):
    """A range of bytes arrives no time, or several times."""

    condition: Edit

    def __init__(self, condition: Edit, chance: Callable[[], random.Random]) -> None:
        super().__init__(condition, chance)
        self._range = b""  # those bytes of the range that have come

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        edit = self.condition
        first, end = (min(max(0, edge - began), len(data)) for edge in (edit.at_byte, edit.end_byte))
        inside = data[first:end]
        if inside and not edit.times:
            self.on_change(began + first)
            data = data[:first] + data[end:]
        elif inside:
            self._range += inside
            if began + end == edit.end_byte:  # the repetition begins behind its bytes
                self.on_change(edit.end_byte)
                data = data[:end] + self._range * (edit.times - 1) + data[end:]
        if data:
            yield at, data


class SwallowStage(Stage):
    """No byte arrives."""

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:  # noqa: ARG002 - as of every stage
        self.on_change(began)
        yield from ()
