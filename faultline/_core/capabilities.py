"""The capabilities of a kind of server: a kind plays the parts of a fault that they name, and refuses all others.

A new kind is a row in `kinds.py`. A new step, condition, answer or trigger is refused until the row of a kind names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal, TypeAlias

from faultline._core.answers import Answer, AsUsual, SocksRefusal, Through
from faultline._core.breaks import Break, Trigger
from faultline._core.conditions import Condition, Direction
from faultline._core.fault import Fault
from faultline._core.http2 import Http2Answer
from faultline._core.lookups import Found, FoundLast
from faultline._core.plan import Per
from faultline._core.points import Point
from faultline._core.scripted import Script, WebSocketPlan
from faultline._core.steps import every

Key: TypeAlias = (
    type | str
)  # a class of parts, a point, a field of `Trigger`, or one of "tls", "starttls", "http2", "choice"


@dataclass(frozen=True)
class Here:
    """The breaks that can strike at one point.

    Attributes:
        does: the classes of their steps, or of their effect on a connect, a lookup or a datagram.
        triggers: the fields of `Trigger` that a break can wait for.
        with_answer: those that it can wait for where the fault has an answer of its own.
        needs: the fields of `Trigger` that a break has to wait for.
    """

    does: frozenset[type]
    triggers: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    with_answer: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Why:
    """The reason why a kind refuses a part.

    Attributes:
        reason: a sentence without its full stop.
        instead: the call or the option to use; empty if the fault takes another kind of server.
    """

    reason: str
    instead: str = ""


@dataclass(frozen=True)
class Capabilities:
    """The parts of faults that a kind of server plays.

    Attributes:
        name: the name of the kind, with its article.
        written: the call that starts such a server.
        talk: the module of `_engine/talks` with the protocol; none where there are no connections.
        points: the points of its own conversation, with the breaks that can strike there.
        answers: the classes of answers.
        conditions: the classes of conditions, with the directions of each; a subclass has those of its nearest class.
        in_script: the classes of steps of a script.
        in_script_points: the points of a script, with the breaks that can strike there.
        tls: whether it speaks TLS with its clients: always, if a fault needs TLS, or never.
        chooses: whether a fault can be chosen by the request.
        says_bytes_alone: whether an answer has no status and no header fields.
        speaks_http2: whether it speaks HTTP/2 with clients that do.
        per: the units that a plan can deal its faults to.
        why: the reasons of refusals, where the missing part does not explain itself.
    """

    name: str
    written: str
    points: Mapping[Point, Here]
    answers: frozenset[type]
    conditions: Mapping[type[Condition], frozenset[Direction]]
    talk: str = ""
    in_script: frozenset[type] = frozenset()
    in_script_points: Mapping[Point, Here] = field(default_factory=dict)
    tls: Literal["always", "if needed", "never"] = "never"
    chooses: bool = False
    says_bytes_alone: bool = False
    speaks_http2: bool = False
    per: frozenset[Per] = frozenset({"attempt"})
    why: Mapping[Key, Why] = field(default_factory=dict)

    @cached_property  # for each server
    def in_tls(self) -> Capabilities:
        """The capabilities of this kind with TLS."""
        return replace(self, tls="always")

    @cached_property
    def in_plain(self) -> Capabilities:
        """The capabilities of this kind without TLS."""
        return replace(self, tls="never")

    @property
    def starter(self) -> str:
        """The name of the function that starts such a server."""
        return self.written.partition("(")[0]

    def sides_of(self, condition: Condition) -> frozenset[Direction]:
        """The directions in which a condition is played, as its nearest class that is named has them."""
        named = (kind for kind in type(condition).__mro__ if kind in self.conditions)
        return next((self.conditions[kind] for kind in named), frozenset())

    def plays(self, fault: Fault) -> bool:
        """Whether the kind plays a fault, and all faults of a choice."""
        chosen = fault.choice.faults if fault.choice else ()
        return not any(lacks(fault, self)) and all(map(self.plays, chosen))


REFUSALS: dict[type, str] = {
    AsUsual: "gives no answer",
    Through: "has no upstream",
    Answer: "does not answer in HTTP",
    Http2Answer: "speaks no HTTP/2",
    Script: "plays no script",
    WebSocketPlan: "speaks no WebSocket",
    Found: "looks up no names",
    FoundLast: "answers with addresses, without ports",
    SocksRefusal: "speaks no SOCKS",
}


def lacks(fault: Fault, can: Capabilities) -> Iterator[tuple[Key, str]]:
    """The parts of a fault that a kind does not play: the key of each, and a sentence about it."""
    yield from lacking_answer(fault, can)
    if fault.needs_tls and can.tls == "never":
        yield "tls", f"{can.name} speaks no TLS"
    if fault.starts_tls and can.tls == "always":
        yield "starttls", f"{can.name} speaks TLS from the beginning"
    yield from lacking_break(fault, can)
    for condition in fault.conditions:
        if condition.direction not in can.sides_of(condition):
            kind, whose = condition.word, condition.direction
            yield (
                type(condition),
                f"{can.name} does not apply {kind} to {'both sides' if whose == 'both' else f'the {whose}'}",
            )
        elif condition.for_seconds is not None and can.says_bytes_alone:
            yield type(condition), f"{can.name} handles each datagram alone, so for_seconds would never end"
    if fault.http2 is not None and not can.speaks_http2:
        yield "http2", f"{can.name} speaks no HTTP/2"
    if fault.choice is not None and not can.chooses:
        yield "choice", f"{can.name} reads no HTTP request to choose by"


def lacking_answer(fault: Fault, can: Capabilities) -> Iterator[tuple[Key, str]]:
    """The answer of a fault, or the steps of its script, if a kind does not play them."""
    answer = fault.answer
    if answer is None:
        return
    if type(answer) not in can.answers:
        yield type(answer), f"{can.name} {REFUSALS.get(type(answer), f'plays no {type(answer).__name__}')}"
    elif isinstance(answer, Answer) and can.says_bytes_alone and not answer.is_bytes:
        yield Answer, f"{can.name} sends only bytes, without a status or headers"
    for step in every(answer.steps if isinstance(answer, Script) else ()):
        if type(step) not in can.in_script:
            yield type(step), f"{can.name} can't play {step!r} in a script"


def lacking_break(fault: Fault, can: Capabilities) -> Iterator[tuple[Key, str]]:
    """The point, the effects and the triggers of a break that a kind does not play."""
    brk = fault.break_
    if brk is None:
        return
    here = (can.points if fault.script is None else can.in_script_points).get(brk.at)
    if here is None:
        yield brk.at, f"{can.name} never reaches {brk.at!r}"
    else:
        triggers = here.triggers | (here.with_answer if fault.http_answer is not None else frozenset())
        yield from lacking_there(brk, replace(here, triggers=triggers), can)


def lacking_there(brk: Break, here: Here, can: Capabilities) -> Iterator[tuple[Key, str]]:
    """The effects and the triggers of a break that a kind does not play at its point."""
    for thing in brk.does if isinstance(brk.does, tuple) else (brk.does,):
        if type(thing) not in here.does:
            yield type(thing), f"{can.name} can't play this break at {brk.at!r}"
    waits = {f.name for f in fields(Trigger) if getattr(brk.trigger, f.name) != f.default}
    for name in sorted(waits - here.triggers):
        yield name, f"{can.name} does not count {name} at {brk.at!r}"
    for name in sorted(here.needs - waits):
        yield name, f"{can.name} needs {name} at {brk.at!r}"
