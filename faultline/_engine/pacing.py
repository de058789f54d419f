"""Applies the conditions of one direction to its bytes: when they arrive, how many at once, and how they change.

Deadlines are absolute, counted from the beginning of a turn, so that they don't drift.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

from faultline._core.conditions import Condition, Corrupt, Direction, Edit, Latency, Pace, Piece

NOTHING = memoryview(b"")
END_OF_HEAD = (b"\n\n", b"\n\r\n")


class Flow:
    """The conditions of one direction, and how far its present turn has come."""

    def __init__(
        self,
        conditions: tuple[Condition, ...],
        direction: Direction,
        chance: Callable[[], random.Random],
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        mine = [c for c in conditions if c.on(direction)]
        self._chance = chance() if any(c.draws for c in mine) else random.Random(0)  # noqa: S311 - never used
        self._latency = next((c for c in mine if isinstance(c, Latency)), None)
        self._corrupt = next((c for c in mine if isinstance(c, Corrupt)), None)
        self._edits = [c for c in mine if isinstance(c, Edit)]
        self.pace = next((c for c in mine if isinstance(c, Pace)), None)
        self._wait = wait
        self._offset_bytes = 0
        self._again = b""  # the bytes so far of the range that is to be duplicated
        self.turn()

    def turn(self) -> None:
        """End the turn, because the other side sends now: the next bytes begin a new turn."""
        self._began: float | None = None
        self._pieces = self._passed_bytes = 0
        self._head: bytes | None = b"\n"  # the last bytes of the head, until it is complete; `None` after it

    def piece_bytes(self, wanted_bytes: int, view: memoryview = NOTHING) -> int:
        """How many of the wanted bytes may travel together; `view` has the bytes, if they are known."""
        if self.pace is None:
            return wanted_bytes
        size = self.pace.size(self._piece(wanted_bytes, view))
        if self._head is not None:
            head = self._head + view[:size]
            self._head = None if any(end in head for end in END_OF_HEAD) else head[-2:]
        return size

    async def arrive(self, count_bytes: int) -> None:
        """Wait until this number of further bytes of the turn is due."""
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time() + self.delay_seconds()
        due = self._began
        if self.pace is not None:
            due += self.pace.due_seconds(self._piece(count_bytes))
        self._pieces += 1
        self._passed_bytes += count_bytes
        if (wait := due - loop.time()) > 0:
            await self._wait(wait)

    def delay_seconds(self) -> float:
        """The delay of the next turn, in seconds."""
        return 0.0 if self._latency is None else self._latency.drawn_seconds(self._chance)

    def _piece(self, count_bytes: int, view: memoryview = NOTHING) -> Piece:
        return Piece(count_bytes, self._chance, view, self._pieces, self._passed_bytes, self._head is not None)

    def altered(self, data: bytes) -> bytes:
        """The bytes as they arrive: corrupted, without those that are dropped, and with duplicates."""
        begin, self._offset_bytes = self._offset_bytes, self._offset_bytes + len(data)
        if self._corrupt is not None:
            data = self._corrupt.corrupted(data, begin, self._chance)
        return self._edited(data, begin)

    def _edited(self, data: bytes, begin: int) -> bytes:
        """The bytes without the dropped ranges, and with duplicates after the ranges that are repeated."""
        if not self._edits:
            return data
        edges = [edge - begin for e in self._edits for edge in (e.at_byte, e.end_byte)]
        kept = b""
        for first, last in pairwise(sorted({0, len(data), *(e for e in edges if 0 < e < len(data))})):
            inside = [e for e in self._edits if e.at_byte <= begin + first < e.end_byte]
            piece = data[first:last] if all(e.times for e in inside) else b""
            kept += piece
            for e in inside:
                if e.times > 1:
                    self._again += piece
                    kept += self._again * (e.times - 1) if begin + last == e.end_byte else b""
        return kept
