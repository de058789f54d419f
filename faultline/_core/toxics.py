"""What a control API adds to the conditions: stages that end a connection, or throw chunks away.

Rules: only a relay plays them, and no mode makes them. Their names and numbers are those that clients of such an API
know; `faultline/_front/control` translates its units.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from faultline._core import stages
from faultline._core.conditions import Condition
from faultline._core.stages import NEVER_SECONDS, Cut, End, Leaving


@dataclass(frozen=True)
class Toxic(Condition):
    """A condition that only a relay plays."""


class LimitStage(stages.Stage):
    """A number of bytes pass, and then the connection is closed."""

    condition: LimitData

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        room = self.condition.count_bytes - began
        if room > 0:
            yield at, data[:room]
        if room <= len(data) and not self.has_ended:
            self.has_ended = True
            self.on_change(max(0, self.condition.count_bytes))
            yield at, End(Cut("FIN"))


class ResetPeerStage(stages.Stage):
    """At the first bytes, or at the end, the connection waits and is reset."""

    condition: ResetPeer

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        del data
        if not self.has_ended:
            self.has_ended = True
            self.on_change(began)
            yield at + self.condition.delay_seconds, End(Cut("RST"))

    def last(self, end: End, at: float) -> Iterator[Leaving]:
        del end
        yield from self.pieces(b"", at, self.passed_bytes)


class TimeoutStage(stages.Stage):
    """No byte passes; the connection is closed after a silence, and when the stage is taken away."""

    condition: Timeout
    closes = True

    def begin(self, now: float) -> None:
        self.alarm = now + self.condition.silent_seconds if self.condition.silent_seconds and self.acts else None

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        del data
        self.on_change(began)
        self.begin(at)
        yield from ()


class HeldStage(stages.Stage):
    """No byte leaves while the stage is there."""

    keeps_waiting = is_buffer = True

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        self.on_change(began)
        yield at + NEVER_SECONDS, data


class PacketLossStage(stages.Stage):
    """Whole chunks are thrown away."""

    condition: PacketLoss

    def __init__(self, condition: Condition, chance: Callable[[], random.Random]) -> None:
        super().__init__(condition, chance)
        self._was_lost = False

    def pieces(self, data: bytes, at: float, began: int) -> Iterator[Leaving]:
        share = self.condition.probability + (self.condition.correlation if self._was_lost else 0)
        self._was_lost = self._chance.random() < share
        if self._was_lost:
            self.on_change(began)
        else:
            yield at, data


@dataclass(frozen=True)
class LimitData(Toxic):
    """A number of bytes of a connection pass, and then it is closed by FIN."""

    count_bytes: int = 0
    stage_class: ClassVar[type[stages.Stage]] = LimitStage


@dataclass(frozen=True)
class ResetPeer(Toxic):
    """The connection is reset, on both sides, some time after its first bytes."""

    delay_seconds: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = ResetPeerStage


@dataclass(frozen=True)
class Timeout(Toxic):
    """All bytes are thrown away, and the connection is closed after this time without bytes; 0 is for never."""

    silent_seconds: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = TimeoutStage


@dataclass(frozen=True)
class Held(Toxic):
    """All bytes wait until the condition is taken away."""

    noun: ClassVar[str] = "hold"
    stage_class: ClassVar[type[stages.Stage]] = HeldStage


@dataclass(frozen=True)
class PacketLoss(Toxic):
    """A chunk is thrown away with a probability, and with a greater one behind a chunk that was."""

    probability: float = 0.0
    correlation: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = PacketLossStage

    @property
    def draws(self) -> bool:
        """Whether it is chance which chunks are lost."""
        return True

    @property
    def is_certain(self) -> bool:
        """Whether every chunk is lost."""
        return self.probability >= 1
