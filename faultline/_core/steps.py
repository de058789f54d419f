"""The steps of a conversation as values: the server plays them one after the other.

Rules: a step is a plain value. A new one is a class, a member of `Step`, and a `case` in `play.py`,
which the type checker demands. A break without a connection has an effect: `Door`, `Lookup`, or a datagram's `Fate`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from faultline._core.branching import Reply
from faultline._core.frames import OfWebSocket
from faultline._core.spoken import Spoken
from faultline._core.streams import GoAway, OfHttp2, RstStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from faultline._core.answers import Answer
    from faultline._core.gate import Gate


@dataclass(frozen=True, repr=False)
class ReceiveRequest(Spoken):
    """Read one HTTP request, or bytes that can't begin one.

    Attributes:
        head_only: leave the body for later steps.
        continues: send `100 Continue` to a client that waits for it.
        number: the number of the step in its script, from 0 on.
    """

    says: ClassVar[str] = "receive_request"

    head_only: bool = False
    continues: bool = True
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, repr=False)
class Respond(Spoken):
    """Send the answer to the request: this answer, or the answer of the fault or the server."""

    says: ClassVar[str] = "respond"

    answer: Answer | None = None
    said: str = field(default="", compare=False)
    number: int = field(default=0, compare=False)

    def __repr__(self) -> str:
        return f"respond({self.said})"

    @property
    def closes(self) -> bool:
        """Whether the answer of this step ends the connection."""
        return self.answer is not None and self.answer.closes


@dataclass(frozen=True, repr=False)
class Repeat(Spoken):
    """Play the steps again for every further request while the connection is kept alive."""

    says: ClassVar[str] = "repeat"

    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        return f"repeat({', '.join(map(repr, self.steps))})"

    @property
    def inner(self) -> tuple[Step, ...]:
        """The steps."""
        return self.steps

    def with_steps(self, steps: tuple[Step, ...]) -> Repeat:
        """The same step with these steps."""
        return replace(self, steps=steps)


@dataclass(frozen=True, repr=False)
class Send(Spoken):
    """Send these bytes; `below_tls` sends them without TLS, between its records."""

    says: ClassVar[str] = "send"

    data: bytes
    below_tls: bool = False


@dataclass(frozen=True, repr=False)
class Receive(Spoken):
    """Read exactly this number of bytes."""

    says: ClassVar[str] = "receive"

    count_bytes: int


@dataclass(frozen=True, repr=False)
class ReceiveUntil(Spoken):
    """Read until these bytes or a match of this pattern have arrived, and no byte more."""

    says: ClassVar[str] = "receive_until"

    marker: bytes | re.Pattern[bytes]


@dataclass(frozen=True, repr=False)
class ReceivePrefixed(Spoken):
    """Read a message after its length, which may count its own bytes too."""

    says: ClassVar[str] = "receive_prefixed"

    length_bytes: int = 4
    byteorder: Literal["big", "little"] = "big"
    includes_length: bool = False


@dataclass(frozen=True, repr=False)
class ReceiveAll(Spoken):
    """Read until the client has finished sending."""

    says: ClassVar[str] = "receive_all"


@dataclass(frozen=True, repr=False)
class StartTls(Spoken):
    """Speak TLS from here on; bytes that the client sent before the handshake are discarded."""

    says: ClassVar[str] = "starttls"


@dataclass(frozen=True, repr=False)
class StopTls(Spoken):
    """End TLS in both directions, and go on in plain text."""

    says: ClassVar[str] = "stoptls"


@dataclass(frozen=True)
class Inject:
    """Insert these bytes into those that pass the point of the break: to the client, or to the upstream."""

    data: bytes


@dataclass(frozen=True)
class Renegotiate:
    """Ask the client for a new handshake, and wait for it; TLS 1.2 only."""


@dataclass(frozen=True, repr=False)
class Hold(Spoken):
    """Send and read nothing: for a time, until a gate opens, or until the client gives up."""

    says: ClassVar[str] = "hold"

    for_seconds: float | None = None
    until: Gate | None = None


@dataclass(frozen=True, repr=False)
class HalfClose(Spoken):
    """Send FIN and go on reading."""

    says: ClassVar[str] = "half_close"


@dataclass(frozen=True, repr=False)
class Close(Spoken):
    """Deliver the bytes that were sent, then send FIN; in TLS, after a close_notify or without it."""

    says: ClassVar[str] = "close"

    close_notify: bool = True


@dataclass(frozen=True, repr=False)
class Reset(Spoken):
    """Deliver the bytes that were sent, then send RST; with `fin_first` FIN right before it."""

    says: ClassVar[str] = "reset"

    fin_first: bool = False


@dataclass(frozen=True, repr=False)
class Partition(Spoken):
    """Drop the client's packets: the kernel acknowledges none of its bytes."""

    says: ClassVar[str] = "partition"

    for_seconds: float | None = None
    until: Gate | None = None


@dataclass(frozen=True, repr=False)
class Planned:
    """Play these steps of a script, which are a fault; it strikes when the first step is played."""

    steps: tuple[ConnectionStep, ...]
    number: int = field(default=0, compare=False)
    said: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return self.said or ", ".join(map(repr, self.steps))


Ending: TypeAlias = HalfClose | Close | Reset | Partition
Reading: TypeAlias = Receive | ReceiveUntil | ReceivePrefixed
# Steps on any open connection.
ConnectionStep: TypeAlias = (
    Send | Planned | Reading | ReceiveAll | StartTls | Inject | StopTls | Renegotiate | Hold | Ending | Reply | OfHttp2
)
Step: TypeAlias = ConnectionStep | ReceiveRequest | Respond | Repeat | OfWebSocket  # but the first, of a protocol


@dataclass(frozen=True)
class Refuse:
    """Answer a SYN with RST, as a port without a listener does."""

    for_seconds: float | None = None
    until: Gate | None = None


@dataclass(frozen=True)
class Vanish:
    """Leave a SYN without an answer."""

    for_seconds: float | None = None
    until: Gate | None = None


@dataclass(frozen=True)
class NoRoute:
    """Listen at an address that no route leads to."""


Door: TypeAlias = Refuse | Vanish | NoRoute


@dataclass(frozen=True)
class NoName:
    """Fail a lookup in this way."""

    kind: str


@dataclass(frozen=True)
class WrongAnswer(NoName):
    """Answer a query in this wrong way, or not at all. Only a DNS server plays it."""


Lookup: TypeAlias = NoName


@dataclass(frozen=True)
class Twice:
    """Send the datagram twice."""


@dataclass(frozen=True)
class Behind:
    """Send the datagram after the next datagram."""


Fate: TypeAlias = Twice | Behind


def resets(steps: Iterable[Step]) -> bool:
    """Whether one of the steps resets the connection."""
    return any(isinstance(step, Reset) or (isinstance(step, Planned) and resets(step.steps)) for step in steps)


def is_final(step: Step | Door | Lookup | Fate) -> bool:
    """Whether no step can follow."""
    match step:
        case Close() | Reset() | ReceiveAll() | NoRoute() | NoName() | Reply():
            return True
        case Hold() | Partition() | Refuse() | Vanish():
            return not ends_by_itself(step)
        case Planned():
            return is_final(step.steps[-1])
        case OfWebSocket():
            return step.is_final
        case Repeat():  # without a response, which can end the connection, it goes on until the client leaves
            return not any(isinstance(each, Respond) for each in every(step.steps))
        case _:
            return isinstance(step, (RstStream, GoAway)) and step.is_final


def ends_by_itself(step: object) -> bool:
    """Whether a step lasts for a time, or until a gate opens."""
    if not isinstance(step, (Hold, Partition, Refuse, Vanish)):
        return False
    return step.for_seconds is not None or step.until is not None


def waits(step: Step | Door | Lookup | Fate) -> bool:
    """Whether a step lasts: for a time, or until the client does something."""
    return isinstance(step, Hold | Partition | Reading | ReceiveAll | ReceiveRequest | Renegotiate | Reply)


def is_of_tls(step: Step) -> bool:
    """Whether a step has a meaning only with TLS."""
    match step:
        case Respond():
            return step.answer is not None and step.answer.needs_tls
        case Send():
            return step.below_tls
        case Close():
            return not step.close_notify
        case _:
            return isinstance(step, (Renegotiate, StopTls))


NUMBERED = (Planned, Respond, ReceiveRequest, OfWebSocket)  # the steps that can be a fault


def every(steps: tuple[Step, ...]) -> Iterator[Step]:
    """All steps, with the steps inside other steps."""
    for step in steps:
        yield step
        if isinstance(step, (Repeat, Reply)):
            yield from every(step.inner)
        elif isinstance(step, Planned):
            yield from every(step.steps)
