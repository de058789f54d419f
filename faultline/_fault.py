"""What happens to one attempt, as a value: a break, an answer, a certificate, conditions.

Rules of this room: parts compose by `&`; two parts of one kind, or a part that could never be reached, are an
error when they are put together. A fault knows how it was said, so that every report can say it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from faultline._check import rejected
from faultline._errors import ConflictError, ParameterError
from faultline._steps import POINTS, Hold, Point, Script, StartTls, Step, every, is_final

Headers: TypeAlias = tuple[tuple[str, str], ...]
HeadersLike: TypeAlias = Mapping[str, str] | tuple[tuple[str, str], ...] | list[tuple[str, str]]

HTTP_OK = 200
DAY_SECONDS = 86_400.0
# Points of the opening: a kept connection has passed them, so a fault there needs a new one.
OPENING: tuple[Point, ...] = ("connect", "accept", "handshake")


@dataclass(frozen=True)
class Trigger:
    """When, within its point, a break strikes: after so many bytes or seconds, or on these bytes."""

    after_bytes: int = 0
    after_seconds: float = 0.0
    on: bytes | re.Pattern[bytes] | None = None


@dataclass(frozen=True)
class Break:
    """Where the conversation breaks, when, and the steps that are played instead."""

    at: Point
    steps: tuple[Step, ...]
    trigger: Trigger = Trigger()

    @property
    def is_final(self) -> bool:
        """Whether the conversation ends with it."""
        return bool(self.steps) and is_final(self.steps[-1])


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


@dataclass(frozen=True)
class Said:
    """How a part was written: the mode's name and the arguments that differ from its defaults."""

    mode: str
    arguments: tuple[tuple[str, Any], ...] = ()
    positional: int = 0

    def __str__(self) -> str:
        written = [
            abbreviated(value) if i < self.positional else f"{name}={abbreviated(value)}"
            for i, (name, value) in enumerate(self.arguments)
        ]
        return f"{self.mode}({', '.join(written)})"


@dataclass(frozen=True)
class Choice:
    """One of two faults, by what the request is."""

    condition: Callable[[Any], bool]
    fault: Fault
    otherwise: Fault
    label: Said = field(compare=False)


@dataclass(frozen=True, repr=False)
class Fault:
    """What one attempt meets. Made by the modes (`reset()`, `ok()`, …), combined by `&`."""

    break_: Break | None = None
    answer: Answer | Script | None = None
    certificate: Certificate | None = None
    conditions: tuple[Condition, ...] = ()
    choice: Choice | None = None
    said: tuple[Said, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        return " & ".join(str(s) for s in self.said) or "ok()"

    def __and__(self, other: Fault) -> Fault:
        """Both at once.

        Raises:
            ConflictError: two parts of one kind, or one that the other makes unreachable.
        """
        if not isinstance(other, Fault):
            return NotImplemented
        for kind in ("break_", "answer", "certificate", "choice"):
            if getattr(self, kind) is not None and getattr(other, kind) is not None:
                raise two_of_a_kind(self, other, kind.rstrip("_"))
        for condition in self.conditions:
            if any(condition.collides(c) for c in other.conditions):
                raise two_of_a_kind(self, other, type(condition).__name__.lower())
        both = Fault(
            self.break_ or other.break_,
            self.answer or other.answer,
            self.certificate or other.certificate,
            self.conditions + other.conditions,
            self.choice or other.choice,
            self.said + other.said,
        )
        if both.choice is not None and (both.break_ is not None or both.answer is not None):
            raise two_of_a_kind(self, other, "break or answer")
        both.check_reachable()
        return both

    def check_reachable(self) -> None:
        """Refuse a part that comes after a break which ends the conversation.

        Raises:
            ConflictError: names both parts.
        """
        if self.break_ is None or not self.break_.is_final:
            return
        ends = POINTS.index(self.break_.at)
        parts: list[tuple[object, Point]] = [
            (self.certificate, "handshake"),
            (None if self.starts_tls else self.script, "request"),
            (self.http_answer, "response"),
            (self.choice, "response"),
        ]
        parts += [(c, "request" if c.on("request") else "response") for c in self.conditions]
        for part, point in parts:
            if part is not None and ends < POINTS.index(point):
                raise ConflictError(
                    f"{self!r}: the conversation ends at {self.break_.at!r} and never reaches "
                    f"{point!r}; leave one of the two out."
                )

    @property
    def script(self) -> Script | None:
        """The conversation that replaces the healthy HTTP one, if there is one."""
        return self.answer if isinstance(self.answer, Script) else None

    @property
    def door(self) -> Step | None:
        """What the door does to this attempt before there is a connection."""
        return self.break_.steps[0] if self.break_ and self.break_.at == "connect" else None

    @property
    def never_reads(self) -> bool:
        """Whether the client's bytes are left lying: its sends have to block soon."""
        at = self.break_.at if self.break_ else None
        return at in ("accept", "request") and any(isinstance(step, Hold) for step in self.break_steps)

    @property
    def break_steps(self) -> tuple[Step, ...]:
        """What is played when it strikes."""
        return self.break_.steps if self.break_ else ()

    @property
    def starts_tls(self) -> bool:
        """Whether its script begins TLS by itself."""
        return self.script is not None and any(isinstance(step, StartTls) for step in every(self.script.steps))

    @property
    def needs_tls(self) -> bool:
        """Whether it can only be met on a server that begins with TLS."""
        at = self.break_.at if self.break_ else None
        return not self.starts_tls and (self.certificate is not None or at == "handshake")

    @property
    def is_opening(self) -> bool:
        """Whether it strikes while a connection is opened, so that a kept one can't meet it any more."""
        at = self.break_.at if self.break_ else None
        return self.certificate is not None or at in OPENING

    def can_follow(self, current: Fault) -> bool:
        """Whether a further request on a connection whose fault is `current` can meet it."""
        return not self.is_opening and self.script == current.script

    @property
    def http_answer(self) -> Answer | None:
        """What it answers, if that is not just whatever the server has."""
        return self.answer if isinstance(self.answer, Answer) and self.answer != Answer() else None

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is planned to go wrong."""
        return self.break_ is None and self.certificate is None and not self.conditions and self.choice is None


def two_of_a_kind(one: Fault, other: Fault, kind: str) -> ConflictError:
    """The error of a `&` that can't be."""
    return ConflictError(
        f"{one!r} & {other!r}: expected one {kind}, got two; deal them to different attempts, or leave one out."
    )


def breaks(
    at: Point | None,
    *steps: Step,
    after_bytes: int = 0,
    after_seconds: float = 0.0,
    on: bytes | re.Pattern[bytes] | None = None,
) -> Fault:
    """A fault that is one break, with its trigger checked against its point.

    Without a point it is the response, or the request where it waits for what the client says.

    Raises:
        ParameterError: a trigger that means nothing at this point.
    """
    if at is None:
        at = "request" if on is not None else "response"
    if after_bytes and at not in ("handshake", "request", "response"):
        raise rejected("after_bytes", after_bytes, f"0 at {at!r}, where no byte is counted")
    if on is not None and at not in ("request", "response"):
        raise rejected("on", on, f"at='request' or at='response', not at={at!r}, where nothing is said")
    if on is not None and not isinstance(on, bytes) and not isinstance(getattr(on, "pattern", None), bytes):
        raise rejected("on", on, "bytes, or a pattern compiled from bytes")
    if on is not None and after_bytes:
        raise ParameterError(f"after_bytes={after_bytes}, on={on!r}: expected one of the two; a break strikes once.")
    if on is not None and not (on if isinstance(on, bytes) else on.pattern):
        raise rejected("on", on, "at least one byte to look for")
    return Fault(Break(at, steps, Trigger(after_bytes, after_seconds, on)))


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
