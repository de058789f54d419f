"""Promises: the parts of a fault that are meant to go wrong, each with an identity.

A promise strikes when it first takes effect, and the ledger keeps when and where. The guard compares promises with
strikes; it needs nothing else of a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from faultline._core.points import Point
from faultline._core.scripted import is_fault
from faultline._core.steps import NUMBERED, every

if TYPE_CHECKING:
    from faultline._core.fault import Fault
    from faultline._core.steps import Step

# The part of a fault; steps and conditions have their number as well.
Kind: TypeAlias = Literal["break", "step", "answer", "certificate", "terms", "http2", "condition"]
# The parts of a fault in the order of their weight: the strike of an earlier kind is the strike of the fault.
WEIGHTS: dict[Kind, int] = {
    "break": 0,
    "step": 1,
    "certificate": 2,
    "terms": 2,
    "http2": 2,
    "answer": 2,
    "condition": 3,
}


@dataclass(frozen=True)
class Key:
    """Which part of its fault a promise is.

    Attributes:
        kind: the kind of part.
        number: the number of the step in its script, or of the condition in its fault, from 0 on.
    """

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.number + 1}" if self.kind in ("step", "condition") else self.kind


@dataclass(frozen=True)
class Origin:
    """Where a fault stands in the plans of its server.

    Attributes:
        plan: the number of the plan, from 0 on; a plan that is given anew is another plan.
        entry: the number of its entry, from 0 on.
        branch: the choices that led to the fault: 0 or 1 for each fault of a `sometimes(…)`, and for each choice by the
            request the numbers of its plan, of the entry in that and of the fault in the entry.
        earlier: the numbers of the plans that an open attempt has met before, until each was replaced.
    """

    plan: int
    entry: int
    branch: tuple[int, ...] = ()
    earlier: tuple[int, ...] = field(default=(), compare=False)

    def after(self, before: Origin | None) -> Origin:
        """The same place, for an attempt that was at another place before."""
        if before is None:
            return self
        return replace(self, earlier=(*before.earlier, before.plan)[-MOST_MARKS:])

    def chosen(self, *branch: int) -> Origin:
        """The place of a fault of a choice."""
        return Origin(self.plan, self.entry, (*self.branch, *branch))

    def is_within(self, other: Origin) -> bool:
        """Whether a choice of the fault at another place leads here."""
        return self.entry == other.entry and self.branch[: len(other.branch)] == other.branch


@dataclass(frozen=True)
class Promise:
    """A part of a planned fault that is meant to go wrong.

    Attributes:
        key: which part it is.
        text: the part, as it is named in reports.
        is_certain: whether it strikes in every conversation that comes so far, and not only by chance.
    """

    key: Key
    text: str
    is_certain: bool = True


Mark: TypeAlias = tuple["Origin | None", Key]  # the identity of a promise
MOST_MARKS = 1000  # of one part, which as many live edits have kept
BREAK, ANSWER, CERTIFICATE, TERMS = Key("break"), Key("answer"), Key("certificate"), Key("terms")
HTTP2 = Key("http2")


@dataclass(frozen=True, slots=True)
class Strike:
    """The moment when a part of a fault first took effect.

    .. versionadded:: 0.1

    Attributes:
        point: the point of the conversation.
        after_bytes: the number of bytes that had passed the point.
        at_seconds: the time, in seconds since the server started.
        part: the part of the fault: `break`, `answer`, `certificate`, `terms`, or a step or condition with its number.
        origin: the place of the fault in the plans of the server.
    """

    _public: ClassVar[tuple[str, ...]] = ("after_bytes", "at_seconds", "origin", "part", "point", "to_dict")

    point: Point
    after_bytes: int
    at_seconds: float
    part: Key = BREAK
    origin: Origin | None = field(default=None, compare=False, repr=False)
    also: tuple[Mark, ...] = field(default=(), compare=False, repr=False)  # in plans by which an edit has kept the part

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Whose promises the strike keeps."""
        return ((self.origin, self.part), *self.also)

    def keeps(self, mark: Mark) -> Strike:
        """The strike, which keeps this promise too."""
        return replace(self, also=(*self.also, mark)[-MOST_MARKS:])

    def to_dict(self) -> dict[str, Any]:
        """The strike as plain data for JSON."""
        told = {"part": str(self.part), "point": self.point, "after_bytes": self.after_bytes}
        return {**told, "at_seconds": self.at_seconds}


def weightiest(fault: Fault, strikes: Sequence[Strike]) -> Strike | None:
    """The strike of a fault: that of its weightiest part that has struck; `None` if none counts.

    A strike of a condition counts only if the fault has no other part that is meant to go wrong.
    """
    if not strikes:
        return None
    first = min(strikes, key=lambda strike: WEIGHTS[strike.part.kind])
    return first if first.part.kind != "condition" or fault.has_conditions_alone else None


def kept_parts(before: Fault, after: Fault) -> dict[Key, Key]:
    """The parts of a fault that stay at work in an attempt that met another before: each with what it was there."""
    kept = {BREAK: BREAK} if after.break_ is not None and after.break_ == before.break_ else {}
    free = [*enumerate(before.conditions)]
    for number, condition in enumerate(after.conditions):
        same = next((each for each in free if each[1] == condition), None)
        if same is not None:
            free.remove(same)
            kept[Key("condition", number)] = Key("condition", same[0])
    return kept


def promises_of(fault: Fault) -> tuple[Promise, ...]:
    """The promises of a fault; those of a choice by the request are the promises of its two faults."""
    found = tuple(parts_of(fault))
    if len(found) == 1:
        return (replace(found[0], text=repr(fault)),)
    return tuple(replace(each, text=f"{each.text} of {fault!r}") for each in found)


def parts_of(fault: Fault) -> Iterator[Promise]:
    """The parts of a fault that are meant to go wrong, each with its own name."""
    if fault.break_ is not None:
        yield Promise(BREAK, f"the break at {fault.break_.at!r}")
    if fault.script is not None:
        for step in every(fault.script.steps):
            if is_fault(step):
                yield Promise(key_of(step), repr(step))
    elif fault.answer is not None and fault.answer.is_fault:
        yield Promise(ANSWER, "the answer")
    for key, part, text in (
        (CERTIFICATE, fault.certificate, "the certificate"),
        (TERMS, fault.terms, "the terms of TLS"),
        (HTTP2, fault.http2, "the settings of HTTP/2"),
    ):
        if part is not None and part.is_fault:
            yield Promise(key, text)
    for number, condition in enumerate(fault.conditions):
        if condition.is_fault:
            yield Promise(Key("condition", number), f"the {condition.word}", condition.is_certain)


def key_of(step: Step) -> Key:
    """Which part of its fault a step of a script is."""
    return Key("step", step.number if isinstance(step, NUMBERED) else 0)
