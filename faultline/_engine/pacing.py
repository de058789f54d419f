"""Applies the conditions of one direction to its bytes: when they arrive, how many at once, and how they change.

Deadlines are absolute, counted from the beginning of a turn, so that they don't drift.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TypeAlias

from faultline._core.conditions import Condition, Corrupt, Direction, Edit, Latency, Pace, Piece
from faultline._core.promises import Key

NOTHING = memoryview(b"")
END_OF_HEAD = (b"\n\n", b"\n\r\n")

Wait: TypeAlias = Callable[[float], Awaitable[None]]  # for this number of seconds


class Flow:
    """The conditions of one direction, and how far its present turn has come.

    `on_change` is called before a condition changes something, with the condition's key and with the number of bytes
    that have passed.
    """

    def __init__(
        self,
        conditions: tuple[Condition, ...],
        direction: Direction,
        chance: Callable[[], random.Random],
        wait: Wait = asyncio.sleep,
        on_change: Callable[[Key, int], None] = lambda _part, _after_bytes: None,
    ) -> None:
        mine = [c for c in conditions if c.on(direction)]
        self._numbers = {id(c): number for number, c in enumerate(conditions)}
        self._on_change = on_change
        self._chance = chance() if any(c.draws for c in mine) else random.Random(0)  # noqa: S311 - never used
        self._latency = next((c for c in mine if isinstance(c, Latency)), None)
        self._corrupt = next((c for c in mine if isinstance(c, Corrupt)), None)
        self._edits = [c for c in mine if isinstance(c, Edit)]
        self.pace = next((c for c in mine if isinstance(c, Pace)), None)
        self._wait = wait
        self._offset_bytes = self._arrived_bytes = 0
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
        if size < len(view):
            self._changes(self.pace, self._arrived_bytes)
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
            if due > self._began or self._pieces:
                self._changes(self.pace, self._arrived_bytes)
        self._pieces += 1
        self._passed_bytes += count_bytes
        self._arrived_bytes += count_bytes
        if (wait := due - loop.time()) > 0:
            await self._wait(wait)

    def delay_seconds(self) -> float:
        """The delay of the next turn, in seconds."""
        if self._latency is None:
            return 0.0
        if delay := self._latency.drawn_seconds(self._chance):
            self._changes(self._latency, self._arrived_bytes)
        return delay

    def _changes(self, condition: Condition, after_bytes: int) -> None:
        """Report that a condition changes something after this number of bytes."""
        self._on_change(Key("condition", self._numbers[id(condition)]), after_bytes)

    def _piece(self, count_bytes: int, view: memoryview = NOTHING) -> Piece:
        return Piece(count_bytes, self._chance, view, self._pieces, self._passed_bytes, self._head is not None)

    def altered(self, data: bytes) -> bytes:
        """The bytes as they arrive: corrupted, without those that are dropped, and with duplicates."""
        begin, self._offset_bytes = self._offset_bytes, self._offset_bytes + len(data)
        if self._corrupt is not None:
            before, data = data, self._corrupt.corrupted(data, begin, self._chance)
            if data != before:
                first = next(i for i, (old, new) in enumerate(zip(before, data, strict=True)) if old != new)
                self._changes(self._corrupt, begin + first)
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
            for e in inside:
                if not e.times or begin + last == e.end_byte:  # a repetition begins behind its bytes
                    self._changes(e, begin + first if not e.times else e.end_byte)
            kept += piece
            for e in inside:
                if e.times > 1:
                    self._again += piece
                    kept += self._again * (e.times - 1) if begin + last == e.end_byte else b""
        return kept
