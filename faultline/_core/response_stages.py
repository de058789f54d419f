"""The stages of a response of HTTP: one knows the lines of its head, one the chunks of its body."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from faultline._core.stages import HeadStage, Leaving

if TYPE_CHECKING:
    from faultline._core.conditions import ByChunk, Condition, Trickle

LINE = re.compile(rb"[^\n]*\n|[^\n]+")


class TrickleStage(HeadStage):
    """The head of each message leaves line by line, and the body at once, each an interval after the line before."""

    condition: Trickle

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        head, done = self.head_bytes(data), 0
        for line in [*LINE.findall(data[:head]), *filter(None, [data[head:]])]:
            leaves = max(at, self._free)
            if leaves > at or len(line) < len(data) - done:
                self.on_change(began + done)
            yield leaves, line
            done += len(line)
            self._free = leaves + (self.condition.every_seconds if done <= head else 0)


class ChunkStage(HeadStage):
    """The head leaves with the first chunk of the body, and each further chunk an interval after the one before."""

    condition: ByChunk

    def __init__(self, condition: Condition, chance: Callable[[], random.Random]) -> None:
        super().__init__(condition, chance)
        self._number = self._done = 0  # the present chunk, and how many of its bytes have come

    def turn(self) -> None:
        super().turn()
        self._number = self._done = 0

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        del began
        head, sizes = self.head_bytes(data), self.condition.sizes
        if head:
            self._free = at
        done = 0
        while done < len(data):
            left = sizes[self._number % len(sizes)] - self._done
            piece = data[done : max(done, head) + left]
            yield max(at, self._free), piece
            self._done += len(piece) - max(0, head - done)
            done += len(piece)
            if self._done == sizes[self._number % len(sizes)]:
                self._number, self._done = self._number + 1, 0
                self._free = max(at, self._free) + self.condition.every_seconds
