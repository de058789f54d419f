"""Conditions: how the bytes of one direction travel while nothing breaks.

Rules of this room: deadlines are absolute, from the beginning of a turn, so that they don't drift; chance comes
from the generator that is handed in.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise

from faultline._core.conditions import (
    Condition,
    Corrupt,
    Direction,
    Drip,
    Drop,
    Duplicate,
    Latency,
    Pace,
    Throttle,
    Trickle,
)

NOTHING = memoryview(b"")
LINE_BYTES = 65_536  # what is longer travels in several pieces
PIECES_PER_SECOND = 50  # of a throttled flow: short enough to look steady, long enough to be cheap


class Flow:
    """The conditions of one direction, and where in its turn it is."""

    def __init__(
        self, conditions: tuple[Condition, ...], direction: Direction, chance: Callable[[], random.Random]
    ) -> None:
        mine = [c for c in conditions if c.on(direction)]
        self._latency = next((c for c in mine if isinstance(c, Latency)), None)
        self._corrupt = next((c for c in mine if isinstance(c, Corrupt)), None)
        self.pace = next((c for c in mine if isinstance(c, Pace)), None)
        draws = self._latency is not None and self._latency.jitter_seconds > 0
        draws = draws or (self._corrupt is not None and self._corrupt.probability > 0)
        self._chance = chance() if draws else random.Random(0)  # noqa: S311 - not drawn from
        self._began: float | None = None
        self._pieces = 0
        self._passed_bytes = 0
        self._offset_bytes = 0
        self._in_head = True
        self._edits = [c for c in mine if isinstance(c, (Drop, Duplicate))]
        self._again = b""  # of what is to be duplicated, as far as it has come

    def turn(self) -> None:
        """The other side speaks now: the next bytes begin a turn."""
        self._began = None
        self._in_head = True  # also after an interim response

    def piece_bytes(self, wanted_bytes: int, view: memoryview = NOTHING) -> int:
        """How many bytes may travel together, of these if it is known which."""
        match self.pace:
            case Trickle() if self._in_head:
                line = bytes(view[:LINE_BYTES]).partition(b"\n")
                self._in_head = line[0].strip() != b""
                return len(line[0]) + len(line[1])
            case Drip():
                return min(wanted_bytes, self.pace.chunk_bytes)
            case Throttle():
                return min(wanted_bytes, max(1, self.pace.bytes_per_second // PIECES_PER_SECOND))
            case _:
                return wanted_bytes

    async def arrive(self, count_bytes: int) -> None:
        """Wait until so many more bytes of this turn are due."""
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time() + self._delay_seconds()
            self._pieces = self._passed_bytes = 0
        due = self._began
        self._passed_bytes += count_bytes
        if isinstance(self.pace, (Drip, Trickle)):
            due += self._pieces * self.pace.every_seconds
        elif isinstance(self.pace, Throttle):
            due += self._passed_bytes / self.pace.bytes_per_second
        self._pieces += 1
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)

    def _delay_seconds(self) -> float:
        if self._latency is None:
            return 0.0
        jitter = self._latency.jitter_seconds
        return max(0.0, self._latency.delay_seconds + (self._chance.uniform(-jitter, jitter) if jitter else 0.0))

    def altered(self, data: bytes) -> bytes:
        """The bytes as they arrive, which may be none."""
        begin, self._offset_bytes = self._offset_bytes, self._offset_bytes + len(data)
        return self._edited(self._corrupted(data, begin), begin)

    def _edited(self, data: bytes, begin: int) -> bytes:
        """Without what is dropped, and with what is left of what is duplicated behind it."""
        if not self._edits:
            return data
        edges = [edge - begin for e in self._edits for edge in (e.at_byte, e.at_byte + e.count_bytes)]
        kept = b""
        for first, last in pairwise(sorted({0, len(data), *(e for e in edges if 0 < e < len(data))})):
            inside = [e for e in self._edits if e.at_byte <= begin + first < e.at_byte + e.count_bytes]
            piece = b"" if any(isinstance(e, Drop) for e in inside) else data[first:last]
            kept += piece
            for e in inside:
                if isinstance(e, Duplicate):
                    self._again += piece
                    kept += self._again if begin + last == e.at_byte + e.count_bytes else b""
        return kept

    def _corrupted(self, data: bytes, begin: int) -> bytes:
        if self._corrupt is None:
            return data
        if self._corrupt.at_byte is not None:
            hit = [self._corrupt.at_byte - begin]
        else:
            hit = [i for i in range(len(data)) if self._chance.random() < self._corrupt.probability]
        changed = bytearray(data)
        for i in hit:
            if 0 <= i < len(changed):
                changed[i] ^= 1
        return bytes(changed)
