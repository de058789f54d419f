"""What happens to one attempt, as a value: a break, an answer, a certificate, conditions.

Rules of this room: parts compose by `&`; two parts of one kind, or a part that could never be reached, are an
error when they are put together. A fault knows how it was said, so that every report can say it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from faultline._core.answers import Answer, AsUsual, SocksRefusal
from faultline._core.breaks import Break, Trigger, check_trigger
from faultline._core.certificates import Certificate, Terms
from faultline._core.conditions import Condition
from faultline._core.errors import ConflictError
from faultline._core.lookups import Found
from faultline._core.points import FACTS, Point, is_before
from faultline._core.said import Said
from faultline._core.steps import (
    Behind,
    Close,
    ConnectionStep,
    Door,
    Fate,
    Hold,
    Lookup,
    NoName,
    NoRoute,
    Refuse,
    Renegotiate,
    Respond,
    Script,
    Send,
    StartTls,
    Step,
    Twice,
    Vanish,
    every,
)

Spoken: TypeAlias = AsUsual | Answer | Script | Found | SocksRefusal


@dataclass(frozen=True)
class Choice:
    """One of two faults, by what the request is."""

    condition: Callable[[Any], bool]
    fault: Fault
    otherwise: Fault
    label: Said = field(compare=False)
    is_fault: ClassVar[bool] = True  # what it chooses is not known before there is a request


@dataclass(frozen=True, repr=False)
class Fault:
    """What one attempt meets. Made by the modes (`reset()`, `ok()`, …), combined by `&`."""

    break_: Break | None = None
    answer: Spoken | None = None
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
        both.check_reachable()
        both.check_kept()
        return both

    def check_reachable(self) -> None:
        """Refuse a part that comes after a break which ends the conversation.

        Raises:
            ConflictError: names both parts.
        """
        if self.break_ is None or not self.break_.is_final:
            return
        at = self.break_.at
        at_once = self.break_.trigger.is_immediate
        parts: list[tuple[object, Point]] = [
            (self.certificate, "handshake"),
            (self.terms, "handshake"),
            (None if self.starts_tls else self.script, "request"),
            (self.http_answer, "response"),
            (self.answer if isinstance(self.answer, Found) else None, "connect"),
            (self.answer if isinstance(self.answer, SocksRefusal) else None, "response"),
            (self.choice, "response"),
        ]
        parts += [(c, c.begins_at) for c in self.conditions]
        for part, point in parts:
            never_shown = at_once and at == point and FACTS[point].is_of_tls
            if part is not None and (is_before(at, point) or never_shown):
                raise ConflictError(
                    f"{self!r}: the conversation ends at {at!r} and never reaches {point!r}; leave one of the two out."
                )

    def check_kept(self) -> None:
        """Refuse a break of a connection that is kept alive, or of a tunnel, after an answer that ends it.

        Raises:
            ConflictError: says so.
        """
        if self.break_ is not None and self.break_.at == "tunnel" and (self.http_answer or self.script):
            raise ConflictError(f"{self!r}: the proxy answers by itself and never comes to 'tunnel'.")
        if self.break_ is not None and self.break_.at == "tunnel" and isinstance(self.answer, SocksRefusal):
            raise ConflictError(f"{self!r}: the proxy refuses and never comes to 'tunnel'.")
        if self.break_ is not None and self.break_.at == "idle" and self.http_answer and self.http_answer.closes:
            raise ConflictError(f"{self!r}: the connection ends with this answer and never comes to 'idle'.")

    @property
    def script(self) -> Script | None:
        """The conversation that replaces the healthy HTTP one, if there is one."""
        return self.answer if isinstance(self.answer, Script) else None

    @property
    def is_of_lookup(self) -> bool:
        """Whether it is about finding an address by a name, and not about a connection."""
        points = [c.begins_at for c in self.conditions] + ([self.break_.at] if self.break_ else [])
        return isinstance(self.answer, Found) or any(FACTS[point].of == "lookup" for point in points)

    @property
    def door(self) -> Door | None:
        """What happens to the connect."""
        does = self.break_.does if self.break_ else None
        return does if isinstance(does, (Refuse, Vanish, NoRoute)) else None

    @property
    def lookup(self) -> Lookup | None:
        """How a lookup fails."""
        does = self.break_.does if self.break_ else None
        return does if isinstance(does, NoName) else None

    @property
    def fate(self) -> Fate | None:
        """What happens to a datagram, if that is more than its loss."""
        does = self.break_.does if self.break_ else None
        return does if isinstance(does, (Twice, Behind)) else None

    @property
    def door_seconds(self) -> float | None:
        """After how many seconds the door opens by itself; `None` if it never does."""
        return getattr(self.door, "for_seconds", None)

    @property
    def never_reads(self) -> bool:
        """Whether the client's bytes are left lying: its sends have to block soon."""
        where = self.break_.facts if self.break_ else None
        if where is None or where.speaks != "client":
            return False
        return any(isinstance(step, Hold) for step in self.break_steps)

    @property
    def break_steps(self) -> tuple[ConnectionStep, ...]:
        """The steps that are played on the connection when it strikes."""
        return self.break_.steps if self.break_ else ()

    @property
    def starts_tls(self) -> bool:
        """Whether its script begins TLS by itself."""
        return self.script is not None and any(isinstance(step, StartTls) for step in every(self.script.steps))

    @property
    def is_of_tls(self) -> bool:
        """Whether it is about the handshake: what is shown and agreed there, or how its bytes travel."""
        handshake = any(FACTS[c.begins_at].is_of_tls for c in self.conditions)
        return self.certificate is not None or self.terms is not None or handshake

    @property
    def needs_tls(self) -> bool:
        """Whether it can only be met on a server that begins with TLS."""
        there = self.break_ is not None and self.break_.facts.is_of_tls
        script = self.script.steps if self.script else ()
        below = any(is_of_tls(step) for step in every((*script, *self.break_steps)))
        below = below or (self.http_answer is not None and self.http_answer.needs_tls)
        if self.choice is not None:
            below = below or self.choice.fault.needs_tls or self.choice.otherwise.needs_tls
        return not self.starts_tls and (self.is_of_tls or there or below)

    @property
    def is_opening(self) -> bool:
        """Whether it strikes while a connection is opened, so that a kept one can't meet it any more."""
        return self.is_of_tls or (self.break_ is not None and self.break_.facts.is_opening)

    def can_follow(self, current: Fault) -> bool:
        """Whether a further request on a connection whose fault is `current` can meet it."""
        if self == current and self.break_ is not None and self.break_.at == "idle":
            return True  # what is of the opening, this connection has met
        return not self.is_opening and self.script == current.script

    @property
    def http_answer(self) -> Answer | None:
        """What it answers, if that is not the answer of the server."""
        return self.answer if isinstance(self.answer, Answer) else None

    @property
    def strikes(self) -> bool:
        """Whether it is to break something, so that a run in which it doesn't proves nothing."""
        parts = (self.break_, self.answer, self.certificate, self.terms)
        return any(part is not None and part.is_fault for part in parts)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is planned to go wrong."""
        choice = self.choice is not None and self.choice.is_fault
        return not self.strikes and not choice and not any(condition.is_fault for condition in self.conditions)

    @property
    def is_answer(self) -> bool:
        """Whether it is an answer to a request and nothing else."""
        return isinstance(self.answer, (AsUsual, Answer)) and self == Fault(answer=self.answer)


def is_of_tls(step: Step) -> bool:
    """Whether a step means something only where there is TLS."""
    match step:
        case Respond():
            return step.answer is not None and step.answer.needs_tls
        case Send():
            return step.below_tls
        case Close():
            return not step.close_notify
        case _:
            return isinstance(step, Renegotiate)


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
