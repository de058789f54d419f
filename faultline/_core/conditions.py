"""How bytes travel while nothing breaks: each condition as a value, with its behaviour as pure functions.

Rules: a condition draws from the generator that it is given, gets the time as a number, and never waits. A new
condition is a class in this module, a row in `kinds.py`, and a mode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from faultline._core.points import FACTS, Point

if TYPE_CHECKING:
    import random

Direction = Literal["request", "response", "both", "handshake", "lookup"]
LINE_BYTES = 65_536  # a longer line travels in several pieces
PIECES_PER_SECOND = 50  # of a throttled flow: more pieces cost more wake-ups, fewer pieces look unsteady


@dataclass(frozen=True)
class Condition:
    """How bytes travel while nothing breaks; `direction` selects the bytes by their sender."""

    direction: Direction = "response"

    @property
    def is_fault(self) -> bool:
        """Whether the condition changes anything."""
        return True

    @property
    def draws(self) -> bool:
        """Whether the condition draws random numbers, so that a seed repeats them."""
        return False

    @property
    def is_certain(self) -> bool:
        """Whether the condition changes something whenever enough bytes pass, and not only by chance."""
        return True

    @property
    def begins_at(self) -> Point:
        """The first point that its bytes pass; those of both sides begin with the request."""
        return "request" if self.direction == "both" else self.direction

    @property
    def needs_tls(self) -> bool:
        """Whether its bytes exist only with TLS."""
        return FACTS[self.begins_at].is_of_tls

    def collides(self, other: Condition) -> bool:
        """Whether both conditions are of the same kind and change the same bytes."""
        same_bytes = self.on(other.direction) or other.on(self.direction)
        same_kind = type(self) is type(other) or (isinstance(self, Pace) and isinstance(other, Pace))
        return same_kind and same_bytes

    def on(self, direction: Direction) -> bool:
        """Whether the condition changes bytes of this direction; `both` means request and response."""
        return self.direction == direction or (self.direction == "both" and direction not in ("handshake", "lookup"))


@dataclass(frozen=True)
class Latency(Condition):
    """Bytes arrive later, by a fixed time and a jitter around it."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether there is a delay."""
        return self.delay_seconds > 0 or self.draws

    @property
    def draws(self) -> bool:
        """Whether there is a jitter."""
        return self.jitter_seconds > 0

    @property
    def is_certain(self) -> bool:
        """Whether every delay that can be drawn is longer than nothing."""
        return self.delay_seconds > self.jitter_seconds

    def drawn_seconds(self, chance: random.Random) -> float:
        """How much later the bytes of one turn arrive."""
        jitter = chance.uniform(-self.jitter_seconds, self.jitter_seconds) if self.draws else 0.0
        return max(0.0, self.delay_seconds + jitter)


@dataclass(frozen=True)
class Piece:
    """Bytes that are about to travel together, and how far their turn has come.

    Attributes:
        count_bytes: the number of bytes.
        chance: the generator that a condition draws from.
        data: the bytes, if they are known already.
        before: the number of earlier pieces of the turn.
        before_bytes: the number of bytes in the earlier pieces.
        is_in_head: whether no empty line has come yet in this turn.
    """

    count_bytes: int
    chance: random.Random
    data: bytes | memoryview = b""
    before: int = 0
    before_bytes: int = 0
    is_in_head: bool = True


@dataclass(frozen=True)
class Pace(Condition, ABC):
    """Bytes arrive in small pieces; a direction has one pace at most."""

    @abstractmethod
    def size(self, piece: Piece) -> int:
        """How many bytes of this piece travel together."""

    @abstractmethod
    def due_seconds(self, piece: Piece) -> float:
        """When this piece arrives, in seconds since the turn began: a deadline that doesn't drift."""


@dataclass(frozen=True)
class Throttle(Pace):
    """Bytes arrive at this rate."""

    bytes_per_second: int = 0

    def size(self, piece: Piece) -> int:
        """The bytes of one piece of a steady flow."""
        return min(piece.count_bytes, max(1, self.bytes_per_second // PIECES_PER_SECOND))

    def due_seconds(self, piece: Piece) -> float:
        """When the last byte of the piece has arrived at this rate."""
        return (piece.before_bytes + piece.count_bytes) / self.bytes_per_second


@dataclass(frozen=True)
class Drip(Pace):
    """Bytes arrive in pieces of this size, at this interval."""

    chunk_bytes: int = 1
    every_seconds: float = 0.0

    def size(self, piece: Piece) -> int:
        """The size of a piece, or the rest of the bytes."""
        return min(piece.count_bytes, self.chunk_bytes)

    def due_seconds(self, piece: Piece) -> float:
        """One interval after the piece before it."""
        return piece.before * self.every_seconds


@dataclass(frozen=True)
class Trickle(Pace):
    """The head of a response arrives line by line, at this interval, and then the body at once."""

    every_seconds: float = 0.0

    def size(self, piece: Piece) -> int:
        """A line of the head, or the whole body."""
        if not piece.is_in_head:
            return piece.count_bytes
        line, newline, _ = bytes(piece.data[:LINE_BYTES]).partition(b"\n")
        return len(line) + len(newline)

    def due_seconds(self, piece: Piece) -> float:
        """One interval after the line before it."""
        return piece.before * self.every_seconds


@dataclass(frozen=True)
class Corrupt(Condition):
    """One bit is flipped: in a byte at a position, or in each byte with a probability."""

    at_byte: int | None = None
    probability: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether a byte can be chosen."""
        return self.at_byte is not None or self.draws

    @property
    def draws(self) -> bool:
        """Whether the bytes are chosen at random."""
        return self.probability > 0

    @property
    def is_certain(self) -> bool:
        """Whether a byte is chosen whatever is drawn."""
        return self.at_byte is not None or self.probability == 1

    def corrupted(self, data: bytes, begin: int, chance: random.Random) -> bytes:
        """The bytes as they arrive; the first of them is number `begin` of its direction."""
        if self.at_byte is not None:
            hit = [self.at_byte - begin]
        else:
            hit = [i for i in range(len(data)) if chance.random() < self.probability]
        changed = bytearray(data)
        for i in hit:
            if 0 <= i < len(changed):
                changed[i] ^= 1
        return bytes(changed)


@dataclass(frozen=True)
class Edit(Condition):
    """A number of bytes from a position on arrive `times` times."""

    at_byte: int = 0
    count_bytes: int = 1
    times: ClassVar[int] = 1

    @property
    def end_byte(self) -> int:
        """The first byte behind them."""
        return self.at_byte + self.count_bytes


@dataclass(frozen=True)
class Drop(Edit):
    """A number of bytes from a position on never arrive."""

    times: ClassVar[int] = 0


@dataclass(frozen=True)
class Duplicate(Edit):
    """A number of bytes from a position on arrive twice."""

    times: ClassVar[int] = 2


@dataclass(frozen=True)
class Loss(Condition):
    """Packets are dropped with a probability; on a connection the kernel draws, and no seed repeats it."""

    probability: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether packets can be dropped."""
        return self.probability > 0

    @property
    def is_certain(self) -> bool:
        """Whether every packet is dropped."""
        return self.probability == 1
