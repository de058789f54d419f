"""How bytes travel while nothing breaks: each condition as a value, with its stage in a chain.

Rules: a condition draws from the generator that it is given. A new condition is a class in this module, a stage in
`stages.py`, a row in `kinds.py`, and a mode.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from faultline._core import response_stages, stages
from faultline._core.check import rejected
from faultline._core.points import FACTS, Point

if TYPE_CHECKING:
    import random

Direction = Literal["request", "response", "both", "handshake", "lookup"]
WORD = re.compile("([A-Z])")
Distribution = Literal["uniform", "normal", "lognormal", "pareto"]


@dataclass(frozen=True)
class Condition:
    """How bytes travel while nothing breaks; `direction` selects the bytes by their sender.

    Attributes:
        direction: whose bytes.
        for_seconds: how long it acts, from the first bytes on; `None` for always.
        share: of the connections on which it acts, drawn when it begins.
        name: a condition of the same name whose numbers change goes on with its count, and draws no second time.
    """

    _: KW_ONLY
    direction: Direction = "response"
    for_seconds: float | None = None
    share: float = 1.0
    name: str = ""
    noun: ClassVar[str] = ""
    stage_class: ClassVar[type[stages.Stage]] = stages.Stage

    def __post_init__(self) -> None:
        if self.for_seconds == 0:
            raise rejected(
                "for_seconds", self.for_seconds, "more than 0; leave the condition out if it should never act"
            )

    def stage(self, chance: Callable[[], random.Random]) -> stages.Stage:
        """The condition at work on one direction of a connection; it draws from what `chance` returns."""
        return self.stage_class(self, chance)

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
    def word(self) -> str:
        """The noun that messages use for it."""
        return self.noun or WORD.sub(r" \1", type(self).__name__).strip().lower()

    @property
    def begins_at(self) -> Point:
        """The first point that its bytes pass; those of both sides begin with the request."""
        return "request" if self.direction == "both" else self.direction

    @property
    def needs_tls(self) -> bool:
        """Whether its bytes exist only with TLS."""
        return FACTS[self.begins_at].is_of_tls

    def on(self, direction: Direction) -> bool:
        """Whether the condition changes bytes of this direction; `both` means request and response."""
        return self.direction == direction or (self.direction == "both" and direction not in ("handshake", "lookup"))


@dataclass(frozen=True)
class Latency(Condition):
    """Bytes arrive later, by a time that may vary.

    Attributes:
        delay_seconds: the mean.
        jitter_seconds: how far it varies: at most, if it is uniform; otherwise the standard deviation.
        distribution: how it varies.
    """

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    distribution: Distribution = "uniform"
    stage_class: ClassVar[type[stages.Stage]] = stages.LatencyStage

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
        if self.distribution == "uniform":
            return self.delay_seconds > self.jitter_seconds
        return not self.draws or self.distribution != "normal"

    def drawn_seconds(self, chance: random.Random) -> float:
        """How much later the next bytes arrive."""
        mean, spread = self.delay_seconds, self.jitter_seconds
        if not self.draws:
            return mean
        if self.distribution == "normal":
            return max(0.0, chance.gauss(mean, spread))
        if self.distribution == "lognormal":
            variance = math.log1p((spread / mean) ** 2)
            return chance.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))
        if self.distribution == "pareto":  # type I, whose shape is above 2, so that it has a deviation
            shape = 1 + math.sqrt(1 + (mean / spread) ** 2)
            return mean * (shape - 1) / shape * chance.paretovariate(shape)
        return max(0.0, mean + chance.uniform(-spread, spread))


@dataclass(frozen=True)
class SlowClose(Condition):
    """The end of the stream arrives later than its bytes."""

    delay_seconds: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = stages.SlowCloseStage

    @property
    def is_fault(self) -> bool:
        """Whether there is a delay."""
        return self.delay_seconds > 0


@dataclass(frozen=True)
class Pace(Condition):
    """Bytes arrive in small pieces.

    Attributes:
        from_body: whether the head of an HTTP message arrives as it comes.
    """

    from_body: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.from_body and self.direction == "handshake":
            raise rejected("from_body", self.from_body, "False with direction='handshake', whose bytes have no head")


@dataclass(frozen=True)
class Throttle(Pace):
    """Bytes arrive at this rate."""

    bytes_per_second: int = 0
    stage_class: ClassVar[type[stages.Stage]] = stages.ThrottleStage


@dataclass(frozen=True)
class Drip(Pace):
    """Bytes arrive in pieces of this size, at this interval."""

    chunk_bytes: int = 1
    every_seconds: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = stages.DripStage


@dataclass(frozen=True)
class Slicer(Pace):
    """What is sent at once arrives in pieces of about this size, at this interval."""

    average_bytes: int = 1
    variation_bytes: int = 0
    every_seconds: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = stages.SlicerStage

    @property
    def draws(self) -> bool:
        """Whether the sizes vary."""
        return self.variation_bytes > 0


@dataclass(frozen=True)
class Trickle(Pace):
    """The head of a response arrives line by line, at this interval, and then the body at once."""

    every_seconds: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = response_stages.TrickleStage


@dataclass(frozen=True)
class ByChunk(Pace):
    """The chunks of a body arrive one by one, at this interval: it belongs to an answer, and is no fault.

    Attributes:
        sizes: the bytes of each chunk as it is sent, the last with the end of the body; behind it they begin again.
        every_seconds: the time from chunk to chunk.
    """

    sizes: tuple[int, ...] = ()
    every_seconds: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = response_stages.ChunkStage

    @property
    def is_fault(self) -> bool:
        """It is how a healthy server speaks."""
        return False


@dataclass(frozen=True)
class Swallowing(Condition):
    """No byte arrives."""

    stage_class: ClassVar[type[stages.Stage]] = stages.SwallowStage


@dataclass(frozen=True)
class Corrupt(Condition):
    """One bit is flipped: in a byte at a position, or in each byte with a probability."""

    noun: ClassVar[str] = "corruption"

    at_byte: int | None = None
    probability: float = 0.0
    stage_class: ClassVar[type[stages.Stage]] = stages.CorruptStage

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
    stage_class: ClassVar[type[stages.Stage]] = stages.EditStage

    @property
    def end_byte(self) -> int:
        """The first byte behind them."""
        return self.at_byte + self.count_bytes


@dataclass(frozen=True)
class Drop(Edit):
    """A number of bytes from a position on never arrive."""

    noun: ClassVar[str] = "loss of bytes"
    times: ClassVar[int] = 0


@dataclass(frozen=True)
class Duplicate(Edit):
    """A number of bytes from a position on arrive twice."""

    noun: ClassVar[str] = "duplication"
    times: ClassVar[int] = 2


@dataclass(frozen=True)
class Loss(Condition):
    """Packets are dropped with a probability; on a connection the kernel draws, and no seed repeats it."""

    noun: ClassVar[str] = "packet loss"

    probability: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether packets can be dropped."""
        return self.probability > 0

    @property
    def is_certain(self) -> bool:
        """Whether every packet is dropped."""
        return self.probability == 1
