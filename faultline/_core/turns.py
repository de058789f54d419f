"""Turns: the bytes of a conversation in the order in which its sides sent them, and the pauses between the bytes.

Rules: memory is bounded. A long conversation keeps its first turns, those before its strike, and its last.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from faultline._core.ends import Party

TURNS = 200
FIRST_TURNS = 100
LAST_TURNS = 50
TURN_BYTES = 80
PAUSE_SECONDS = 0.05
PAUSES = 20  # of a turn


@dataclass(frozen=True, slots=True)
class Pause:
    """A silence of at least 50 ms between two bytes of a turn.

    .. versionadded:: 0.1

    Attributes:
        after_bytes: the number of bytes of the turn before the pause.
        at_seconds: when the pause began, in seconds since the server started.
        for_seconds: its duration.
    """

    after_bytes: int
    at_seconds: float
    for_seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """The bytes that one side sent until the other side sent some.

    .. versionadded:: 0.1

    Attributes:
        by: the side that sent the bytes.
        at_seconds: when the turn began, in seconds since the server started.
        count_bytes: the number of bytes.
        begins: the first 80 bytes.
        until_seconds: when the last bytes of the turn were sent.
        number: 1 for the first turn of the attempt.
        pauses: the pauses between the bytes, at most 20.
    """

    by: Party
    at_seconds: float
    count_bytes: int
    begins: bytes
    until_seconds: float = 0.0
    number: int = 0
    pauses: tuple[Pause, ...] = ()


class Turns:
    """The turns of an attempt, as they are recorded."""

    __slots__ = ("_count", "_is_struck", "_kept", "_last")

    def __init__(self) -> None:
        self._kept: list[Turn] = []
        self._last: deque[Turn] | None = None  # once the first are complete
        self._count = 0
        self._is_struck = False

    def says(self, by: Party, data: bytes | memoryview, now: float) -> None:
        """Record bytes that a side sent."""
        place: list[Turn] | deque[Turn] = self._last or self._kept
        if place and place[-1].by == by:
            place[-1] = continued(place[-1], data, now)
            return
        self._count += 1
        turn = Turn(by, now, len(data), bytes(data[:TURN_BYTES]), now, self._count)
        if self._count <= FIRST_TURNS:
            self._kept.append(turn)
        elif self._last is None:
            self._last = deque((turn,), LAST_TURNS)
        else:
            self._last.append(turn)

    def strikes(self) -> None:
        """Keep the present last turns: the first fault strikes now."""
        if self._is_struck or not self._last:
            return
        self._is_struck = True
        self._kept += list(self._last)[:-1]
        self._last = deque((self._last[-1],), LAST_TURNS)

    def take_back(self, count_bytes: int) -> None:
        """Remove the last bytes of the client, which belong to the next attempt."""
        turns: list[Turn] = []
        is_gap = False  # whether the turn between two turns of the server is gone
        for turn in reversed(self.frozen()):
            taken = min(count_bytes, turn.count_bytes) if turn.by == "client" else 0
            count_bytes -= taken
            left = turn.count_bytes - taken
            if is_gap and turns:
                turns[-1] = joined(turn, turns[-1])
            elif left:
                turns.append(beginning(turn, left) if taken else turn)
            is_gap = not left
        turns.reverse()
        self._count -= len(self.frozen()) - len(turns)
        first = len(turns) if self._count <= FIRST_TURNS else len(self._kept)
        self._kept, self._last = turns[:first], deque(turns[first:], LAST_TURNS) if first < len(turns) else None

    def frozen(self) -> tuple[Turn, ...]:
        """The turns so far, in order; of a long conversation not all."""
        return (*self._kept, *(self._last or ()))


def continued(turn: Turn, data: bytes | memoryview, now: float) -> Turn:
    """A turn with further bytes."""
    pauses = turn.pauses
    if now - turn.until_seconds >= PAUSE_SECONDS and len(pauses) < PAUSES:
        pauses += (Pause(turn.count_bytes, turn.until_seconds, now - turn.until_seconds),)
    missing = TURN_BYTES - len(turn.begins)
    begins = turn.begins + bytes(data[:missing]) if missing > 0 else turn.begins
    return Turn(turn.by, turn.at_seconds, turn.count_bytes + len(data), begins, now, turn.number, pauses)


def beginning(turn: Turn, count_bytes: int) -> Turn:
    """The first bytes of a turn, with the pauses between them; the last pause tells when they were there."""
    pauses = tuple(pause for pause in turn.pauses if pause.after_bytes < count_bytes)
    until = max([turn.at_seconds, *(pause.at_seconds + pause.for_seconds for pause in pauses)])
    begins = turn.begins[:count_bytes]
    return replace(turn, count_bytes=count_bytes, begins=begins, until_seconds=until, pauses=pauses)


def joined(first: Turn, second: Turn) -> Turn:
    """Two turns of one side as one, because nothing lies between them any more."""
    pauses = tuple(replace(pause, after_bytes=first.count_bytes + pause.after_bytes) for pause in second.pauses)
    turn = continued(first, second.begins, second.at_seconds)
    return replace(
        turn,
        count_bytes=first.count_bytes + second.count_bytes,
        until_seconds=second.until_seconds,
        pauses=(turn.pauses + pauses)[:PAUSES],
    )
