"""What happens to one attempt, as a value: a break, an answer, a certificate, terms, conditions, or a choice.

Parts compose by `&`; two parts of one kind, or a part that could never be reached, are an error when they are put
together. A fault knows how it was written, so that every report can say it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from faultline._core.answers import Answer, AnyAnswer, AsUsual
from faultline._core.breaks import Break, Trigger, check_trigger
from faultline._core.certificates import Certificate, Terms
from faultline._core.conditions import Condition
from faultline._core.errors import ConflictError
from faultline._core.points import FACTS, Point
from faultline._core.said import Said
from faultline._core.scripted import Script
from faultline._core.steps import ConnectionStep, Door, Fate, Lookup, Reset


class Part(Protocol):
    """What a fault asks of each of its parts."""

    @property
    def is_fault(self) -> bool:
        """Whether it makes something go wrong."""

    @property
    def needs_tls(self) -> bool:
        """Whether it means something only where there is TLS."""

    @property
    def begins_at(self) -> Point | None:
        """The first point where it is needed."""


@dataclass(frozen=True)
class Choice:
    """One of two faults, by what the request is."""

    condition: Callable[[Any], bool]
    fault: Fault
    otherwise: Fault
    label: Said = field(compare=False)
    is_fault: ClassVar[bool] = True  # what it chooses is not known before there is a request
    begins_at: ClassVar[Point] = "response"

    @property
    def needs_tls(self) -> bool:
        """Whether one of the two means something only where there is TLS."""
        return self.fault.needs_tls or self.otherwise.needs_tls


@dataclass(frozen=True, repr=False)
class Fault:
    """What one attempt meets. Made by the modes (`reset()`, `ok()`, …), combined by `&`."""

    break_: Break | None = None
    answer: AnyAnswer | None = None
    certificate: Certificate | None = None
    terms: Terms | None = None
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
        for kind in ("break_", "answer", "certificate", "terms", "choice"):
            if getattr(self, kind) is not None and getattr(other, kind) is not None:
                raise two_of_a_kind(self, other, kind.rstrip("_"))
        for condition in self.conditions:
            for second in filter(condition.collides, other.conditions):
                kind = type(condition).__name__.lower() if type(condition) is type(second) else "pace"
                raise two_of_a_kind(self, other, kind)
        both = Fault(
            self.break_ or other.break_,
            self.answer or other.answer,
            self.certificate or other.certificate,
            self.terms or other.terms,
            self.conditions + other.conditions,
            self.choice or other.choice,
            self.said + other.said,
        )
        if both.choice is not None and (both.break_ is not None or both.answer is not None):
            raise two_of_a_kind(self, other, "break or answer")
        both.check_reached()
        return both

    def check_reached(self) -> None:
        """See that the conversation comes to all that is in it.

        Raises:
            ConflictError: the break ends it before another part, or the answer before the break.
        """
        brk = self.break_
        if brk is None:
            return
        for part in self.parts:
            if part is not brk and brk.cuts_off(part.begins_at):
                raise ConflictError(
                    f"{self!r}: the conversation ends at {brk.at!r} and never reaches {part.begins_at!r}; "
                    "leave one of the two out."
                )
        if self.answer is not None and (why := self.answer.misses(brk.at)):
            raise ConflictError(f"{self!r}: {why} and never comes to {brk.at!r}.")
        if self.script is not None and (why := self.script.never_meets(brk)):
            raise ConflictError(f"{self!r}: {why}.")

    # --- its parts -------------------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that it has."""
        given = (self.break_, self.certificate, self.terms, self.answer, self.choice)
        return (*(part for part in given if part is not None), *self.conditions)

    @property
    def script(self) -> Script | None:
        """The conversation that replaces the healthy one, if there is one."""
        return self.answer if isinstance(self.answer, Script) else None

    @property
    def http_answer(self) -> Answer | None:
        """What it answers in HTTP, if that is not the answer of the server."""
        return self.answer if isinstance(self.answer, Answer) else None

    @property
    def is_answer(self) -> bool:
        """Whether it is an answer to a request and nothing else."""
        return isinstance(self.answer, (AsUsual, Answer)) and self == Fault(answer=self.answer)

    @property
    def break_steps(self) -> tuple[ConnectionStep, ...]:
        """The steps that are played on the connection when it strikes."""
        return self.break_.steps if self.break_ else ()

    @property
    def door(self) -> Door | None:
        """What happens to the connect."""
        return self.break_.door if self.break_ else None

    @property
    def door_seconds(self) -> float | None:
        """After how many seconds the door opens by itself; `None` if it never does."""
        return getattr(self.door, "for_seconds", None)

    @property
    def lookup(self) -> Lookup | None:
        """How a lookup fails."""
        return self.break_.lookup if self.break_ else None

    @property
    def fate(self) -> Fate | None:
        """What happens to a datagram, if that is more than its loss."""
        return self.break_.fate if self.break_ else None

    # --- what follows from them --------------------------------------------------------------------------------------

    @property
    def strikes(self) -> bool:
        """Whether it is to break something, so that a run in which it doesn't proves nothing."""
        parts = (self.break_, self.answer, self.certificate, self.terms)
        return any(part is not None and part.is_fault for part in parts)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is planned to go wrong."""
        return not any(part.is_fault for part in self.parts)

    @property
    def starts_tls(self) -> bool:
        """Whether its script begins TLS by itself."""
        return self.script is not None and self.script.starts_tls

    @property
    def needs_tls(self) -> bool:
        """Whether it can only be met on a server that begins with TLS."""
        return not self.starts_tls and any(part.needs_tls for part in self.parts)

    @property
    def is_of_tls(self) -> bool:
        """Whether it is about the handshake: what is shown and agreed there, or how its bytes travel."""
        shown = self.certificate is not None or self.terms is not None
        return shown or any(condition.needs_tls for condition in self.conditions)

    @property
    def is_of_lookup(self) -> bool:
        """Whether it is about finding an address by a name, and not about a connection."""
        points = [c.begins_at for c in self.conditions] + ([self.break_.at] if self.break_ else [])
        found = self.answer is not None and self.answer.is_of_lookup
        return found or any(FACTS[point].of == "lookup" for point in points)

    @property
    def is_opening(self) -> bool:
        """Whether it strikes while a connection is opened, so that a kept one can't meet it any more."""
        return self.is_of_tls or (self.break_ is not None and self.break_.facts.is_opening)

    @property
    def never_reads(self) -> bool:
        """Whether the client's bytes are left unread, so that its sends have to block soon."""
        return self.break_ is not None and self.break_.never_reads

    @property
    def resets(self) -> bool:
        """Whether a break resets the connection."""
        return any(isinstance(step, Reset) for step in self.break_steps)

    def can_follow(self, current: Fault) -> bool:
        """Whether a further request on a connection whose fault is `current` can meet it."""
        if self == current and self.break_ is not None and self.break_.facts.of == "idle":
            return True  # this connection has met what is of the opening
        return not self.is_opening and self.script == current.script


def two_of_a_kind(one: Fault, other: Fault, kind: str) -> ConflictError:
    """The error of a `&` that can't be."""
    return ConflictError(
        f"{one!r} & {other!r}: expected one {kind}, got two; deal them to different attempts, or leave one out."
    )


def breaks(at: Point | None, trigger: Trigger, *steps: ConnectionStep) -> Fault:
    """A fault that is one break of an open connection, with its trigger checked against its point.

    Without a point it is the response, or the request where it waits for what the client says.

    Raises:
        ParameterError: the trigger means nothing at this point.
    """
    if at is None:
        at = "request" if trigger.on is not None else "response"
    check_trigger(at, trigger)
    return Fault(Break(at, steps, trigger))
