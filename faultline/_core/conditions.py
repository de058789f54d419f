"""How bytes travel while nothing breaks, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from faultline._core.points import Point

Direction = Literal["request", "response", "both", "handshake", "lookup"]


@dataclass(frozen=True)
class Condition:
    """How bytes travel while nothing breaks; `direction` is whose bytes."""

    direction: Direction = "response"
    is_fault: ClassVar[bool] = True

    @property
    def begins_at(self) -> Point:
        """The first point that its bytes pass; both sides begin with the request."""
        return "request" if self.direction == "both" else self.direction

    def collides(self, other: Condition) -> bool:
        """Whether both say the same thing about the same bytes."""
        same_bytes = self.on(other.direction) or other.on(self.direction)
        same_kind = type(self) is type(other) or (isinstance(self, Pace) and isinstance(other, Pace))
        return same_kind and same_bytes

    def on(self, direction: Direction) -> bool:
        """Whether it is about bytes in this direction; both is what the two say once there is TLS."""
        return self.direction == direction or (self.direction == "both" and direction not in ("handshake", "lookup"))


@dataclass(frozen=True)
class Latency(Condition):
    """Bytes arrive so much later, more or less."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0


@dataclass(frozen=True)
class Pace(Condition):
    """Bytes arrive bit by bit; there is one way of it in a direction."""


@dataclass(frozen=True)
class Throttle(Pace):
    """Bytes arrive at this rate."""

    bytes_per_second: int = 0


@dataclass(frozen=True)
class Drip(Pace):
    """Bytes arrive in pieces of this size, so far apart."""

    chunk_bytes: int = 1
    every_seconds: float = 0.0


@dataclass(frozen=True)
class Trickle(Pace):
    """The head of a response arrives line by line, so far apart; then all the rest."""

    every_seconds: float = 0.0


@dataclass(frozen=True)
class Corrupt(Condition):
    """A bit of one byte is turned over, or of each byte with a probability."""

    at_byte: int | None = None
    probability: float = 0.0


@dataclass(frozen=True)
class Drop(Condition):
    """So many bytes, from this one on, never arrive."""

    at_byte: int = 0
    count_bytes: int = 1


@dataclass(frozen=True)
class Duplicate(Condition):
    """So many bytes, from this one on, arrive twice."""

    at_byte: int = 0
    count_bytes: int = 1


@dataclass(frozen=True)
class Loss(Condition):
    """Packets are dropped with a probability."""

    probability: float = 0.0
