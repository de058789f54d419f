"""The parts that a fault is put together from, as values: an answer, a certificate, conditions.

Rules of this room: frozen data. A part is a recipe; what makes it is the platform, and nothing here knows how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]
HeadersLike: TypeAlias = Mapping[str, str] | tuple[tuple[str, str], ...] | list[tuple[str, str]]

HTTP_OK = 200
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, repr=False)
class Answer:
    """What an HTTP server says when nothing breaks."""

    status: int = 200
    headers: Headers = ()
    body: bytes | None = None
    echoes: bool = False

    def __repr__(self) -> str:
        if self.echoes:
            return "echo()"
        body = [] if self.body is None else [abbreviated(self.body)]
        status = [] if self.status == HTTP_OK else [f"status={self.status}"]
        headers = [f"headers={self.headers}"] if self.headers else []
        return f"ok({', '.join(body + status + headers)})"

    @property
    def closes(self) -> bool:
        """Whether it says itself that the connection ends with it."""
        return any(name.lower() == "connection" and "close" in value.lower() for name, value in self.headers)

    def sized(self, at_least_bytes: int) -> Answer:
        """The same, with a body made long enough where none was asked for."""
        if self.body is not None or self.echoes or not at_least_bytes:
            return self
        return Answer(self.status, self.headers, filler(at_least_bytes))


@dataclass(frozen=True)
class Certificate:
    """What the server's certificate says, and who signed it; the default is right in every point."""

    kind: str = "healthy"
    names: tuple[str, ...] | None = None
    from_seconds: float = -DAY_SECONDS
    until_seconds: float = 30 * DAY_SECONDS
    issuer: str = "trusted"


Direction = Literal["request", "response", "both"]


@dataclass(frozen=True)
class Condition:
    """How bytes travel while nothing breaks; `direction` is whose bytes."""

    direction: Direction = "response"

    def collides(self, other: Condition) -> bool:
        """Whether both say the same thing about the same bytes."""
        same_bytes = "both" in (self.direction, other.direction) or self.direction == other.direction
        same_kind = type(self) is type(other) or (isinstance(self, Pace) and isinstance(other, Pace))
        return same_kind and same_bytes

    def on(self, direction: Direction) -> bool:
        """Whether it is about bytes in this direction."""
        return self.direction in (direction, "both")


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
class Corrupt(Condition):
    """A bit of one byte is turned over, or of each byte with a probability."""

    at_byte: int | None = None
    probability: float = 0.0


@dataclass(frozen=True)
class Loss(Condition):
    """Packets are dropped with a probability."""

    probability: float = 0.0


def filler(count_bytes: int) -> bytes:
    """A body of so many bytes that is easy to recognise in a capture."""
    line = b"faultline answers with this line when no body was asked for\n"
    return (line * (count_bytes // len(line) + 1))[:count_bytes]


def abbreviated(value: object, limit: int = 40) -> str:
    """`repr`, with the middle of long values left out."""
    text = str(getattr(value, "__qualname__", None) or repr(value))  # a function by its name, not its address
    if len(text) <= limit:
        return text
    size = f"...{len(value)} bytes..." if isinstance(value, bytes) else "..."
    return f"{text[: limit // 2]}{size}{text[-limit // 4 :]}"
