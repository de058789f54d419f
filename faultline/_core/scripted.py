"""Scripts: the steps of a conversation, the points that they come to, and the bytes and messages that pass there."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

from faultline._core import steps as do
from faultline._core.answers import AnyAnswer
from faultline._core.branching import Reply
from faultline._core.frames import OfWebSocket
from faultline._core.points import FACTS, Point

if TYPE_CHECKING:
    from faultline._core.breaks import Break


@dataclass(frozen=True)
class Script(AnyAnswer):
    """The steps of a conversation in order. After the last step the server closes cleanly."""

    talk: ClassVar[str] = "http1"  # the module of `_engine/talks` that plays it
    follows_request: ClassVar[bool] = False  # whether it can be chosen by the request
    steps: tuple[do.Step, ...]

    def __post_init__(self) -> None:
        """Number the steps."""
        object.__setattr__(self, "steps", numbered(self.steps))

    @property
    def is_fault(self) -> bool:
        """Whether a step is a fault by itself."""
        return any(is_fault(step) for step in do.every(self.steps))

    @property
    def starts_tls(self) -> bool:
        """Whether the script has a `starttls()`."""
        return any(isinstance(step, do.StartTls) for step in do.every(self.steps))

    @property
    def needs_tls(self) -> bool:
        """Whether a step has a meaning only with TLS."""
        return any(do.is_of_tls(step) for step in do.every(self.steps))

    @property
    def begins_at(self) -> Point | None:
        """The first point where bytes pass; `None` if the script starts TLS: then bytes pass before the handshake."""
        return None if self.starts_tls else "request"

    def misses(self, at: Point) -> str:
        """Why a conversation with this script never comes to a point; empty if it does."""
        if FACTS[at].of == "tunnel":
            return "the proxy answers by itself"
        comes = FACTS[at].is_opening or at in points_of(self.steps)
        return "" if comes else "the script has no such step"

    def never_meets(self, brk: Break) -> str:
        """Why a break at a point of the script can't strike, or may strike before there is TLS; empty if it can."""
        if self.starts_tls and any(do.is_of_tls(step) for step in brk.steps):
            return "expected a server that begins with TLS; a script with starttls() has a time before it"
        return self._says_too_little(brk) or self._asks_too_little(brk)

    def _says_too_little(self, brk: Break) -> str:
        """Why fewer bytes or messages pass the point than the break counts; empty if enough can."""
        at, trigger = brk.at, brk.trigger
        if not brk.facts.hears:
            return ""
        most, messages = most_bytes(self.steps, at), most_messages(self.steps, at)
        if most is not None and trigger.after_bytes > most:
            return f"expected after_bytes up to {most}, which is all that the script has at {at!r}"
        if trigger.after_messages is not None and trigger.after_messages >= messages:
            return f"expected after_messages below {messages}, which is all that the script has at {at!r}"
        return ""

    def _asks_too_little(self, brk: Break) -> str:
        """Why there are fewer requests or bodies of HTTP than the break counts; empty if there can be enough."""
        trigger, requests = brk.trigger, most_requests(self.steps)
        if trigger.after_requests and requests == 0:
            return "expected receive_request() in the script, whose requests are counted"
        if requests is not None and trigger.after_requests >= max(1, requests):
            return f"expected after_requests below {requests}, the number of requests that the script reads"
        says = do.ReceiveRequest if brk.at == "request" else do.Respond
        if trigger.after_body_bytes is not None and not any(isinstance(step, says) for step in do.every(self.steps)):
            return f"expected {says.says}() in the script, for a message of HTTP with a body"
        return ""


@dataclass(frozen=True)
class WebSocketPlan(Script):
    """The steps of a WebSocket in order, behind the handshake. After the last step comes the closing handshake."""

    talk: ClassVar[str] = "websocket"
    follows_request: ClassVar[bool] = True

    def misses(self, at: Point) -> str:
        """Why the conversation never comes to a point; empty if it does."""
        return "" if FACTS[at].is_opening or FACTS[at].is_exchange else "a WebSocket has no such point"

    def never_meets(self, brk: Break) -> str:
        """Why a break can't strike: it counts requests or bodies of HTTP."""
        if brk.trigger.after_requests or brk.trigger.after_body_bytes is not None:
            return "expected after_messages or on, because a WebSocket has messages, and no further requests and bodies"
        return ""


def is_fault(step: do.Step) -> bool:
    """Whether a step of a script is a fault: it breaks the conversation, or its answer is wrong."""
    match step:
        case do.Planned():
            return True
        case do.Respond():
            return step.answer is not None and step.answer.is_fault
        case do.ReceiveRequest():
            return not step.continues
        case OfWebSocket():
            return step.is_fault
        case _:
            return False


def point_of(step: do.Step) -> Point | None:
    """The point that a step of a script comes to."""
    match step:
        case do.ReceiveRequest() | do.Receive() | do.ReceiveUntil() | do.ReceivePrefixed() | Reply():
            return "request"
        case do.Respond() | do.Send(below_tls=False):
            return "response"
        case OfWebSocket():
            return step.point
        case do.Repeat() if not any(isinstance(s, do.Respond) and s.closes for s in step.steps):
            return "idle"
        case _:
            return None


def points_of(steps: tuple[do.Step, ...]) -> set[Point]:
    """The points that a script comes to after the opening."""
    return {point for step in do.every(steps) if (point := point_of(step)) is not None}


def most_bytes(steps: tuple[do.Step, ...], point: Point) -> int | None:
    """The most bytes that pass a point in one attempt, which is one turn of a repeat; `None` if any number can."""
    total = 0
    if any(isinstance(step, Reply) for step in do.every(steps)):
        return None
    for step in do.every(steps):
        if point_of(step) == point:
            match step:
                case do.Send():
                    total += len(step.data)
                case do.Receive():
                    total += step.count_bytes
                case _:
                    return None
    return total


def most_requests(steps: tuple[do.Step, ...]) -> int | None:
    """The most requests of HTTP that are read on one connection; `None` if any number can be."""
    for step in steps:
        if isinstance(step, do.Repeat) and point_of(step) == "idle" and do.ReceiveRequest in map(type, step.steps):
            return None
    return sum(isinstance(step, do.ReceiveRequest) for step in do.every(steps))


def most_messages(steps: tuple[do.Step, ...], point: Point) -> int:
    """The most messages that pass a point in one attempt."""
    if any(isinstance(step, Reply) for step in do.every(steps)):
        return sys.maxsize
    points = [at for step in do.every(steps) if (at := point_of(step)) in ("request", "response")]
    return sum(at == point for at, _ in groupby(points))


def numbered(steps: tuple[do.Step, ...], first: int = 0) -> tuple[do.Step, ...]:
    """The same steps; those that can be a fault know their number, which counts the steps inside other steps too."""
    known: list[do.Step] = []
    for step in steps:
        if isinstance(step, (do.Repeat, Reply)):
            known.append(step.with_steps(numbered(step.inner, first)))
        else:
            known.append(replace(step, number=first) if isinstance(step, do.NUMBERED) else step)
        first += written_steps((step,))
    return tuple(known)


def written_steps(steps: tuple[do.Step, ...]) -> int:
    """The number of steps as they are written, with those inside other steps."""
    return sum(written_steps(step.inner) if isinstance(step, (do.Repeat, Reply)) else 1 for step in steps)
