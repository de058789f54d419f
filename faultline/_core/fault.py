"""What happens to one attempt, as a value: a break, an answer, a certificate, terms, conditions, or a choice.

Parts compose by `&`. Combining two parts of one kind, or a part that the conversation could never come to, is an error.
A fault keeps the text by which it was written, and reports show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

from faultline._core.answers import Answer, AnyAnswer, AsUsual
from faultline._core.breaks import Break, Trigger, check_trigger
from faultline._core.certificates import Certificate, Terms
from faultline._core.conditions import Condition, Latency, SlowClose
from faultline._core.errors import ConflictError
from faultline._core.http2 import Http2Answer, Http2Terms
from faultline._core.operators import Combined, no_operator, shown
from faultline._core.points import FACTS, Point
from faultline._core.promises import Origin
from faultline._core.said import Said
from faultline._core.scripted import Script
from faultline._core.steps import ConnectionStep, Door, Fate, Lookup, Refuse, Reset, Vanish, ends_by_itself
from faultline._core.streams import GoAway, RstStream


class Part(Protocol):
    """The properties that each part of a fault has."""

    @property
    def is_fault(self) -> bool:
        """Whether the part is a fault by itself."""

    @property
    def needs_tls(self) -> bool:
        """Whether the part has a meaning only with TLS."""

    @property
    def begins_at(self) -> Point | None:
        """The first point where the part is needed."""


class Chooser(Part, Protocol):
    """A part that another fault takes the place of, once there is a request.

    Attributes:
        reads_body: whether it chooses by all of the request, and not by its head.
    """

    reads_body: ClassVar[bool]

    @property
    def label(self) -> Said:
        """The call that made it."""

    @property
    def plans(self) -> tuple[Any, ...]:
        """The plans to choose from."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of all of these plans."""

    def index(self, request: Any) -> int:
        """The number of the plan of a request."""


@dataclass(frozen=True)
class Choice:
    """One of two faults, chosen by the request."""

    condition: Callable[[Any], bool]
    fault: Fault
    otherwise: Fault
    label: Said = field(compare=False)
    is_fault: ClassVar[bool] = True  # the chosen fault is not known before there is a request
    begins_at: ClassVar[Point] = "response"
    reads_body: ClassVar[bool] = True

    @property
    def plans(self) -> tuple[Fault, Fault]:
        """The two faults."""
        return (self.fault, self.otherwise)

    @property
    def faults(self) -> tuple[Fault, Fault]:
        """The two faults."""
        return self.plans

    def index(self, request: Any) -> int:
        """0 for the fault of the condition, 1 for the other."""
        return 0 if self.condition(request) else 1

    @property
    def needs_tls(self) -> bool:
        """Whether one of the two faults has a meaning only with TLS."""
        return self.fault.needs_tls or self.otherwise.needs_tls


@dataclass(frozen=True, repr=False)
class Fault(Combined):
    """What happens to one attempt: modes such as `reset()` and `ok()` make it, and `&` combines two.

    `str()` and `repr()` show the fault as it was written, and two faults that do the same are equal.

    .. versionadded:: 0.1
    """

    _public: ClassVar[tuple[str, ...]] = ()  # a fault is compared and shown; its parts are for the engine

    break_: Break | None = None
    answer: AnyAnswer | None = None
    certificate: Certificate | None = None
    terms: Terms | None = None
    conditions: tuple[Condition, ...] = ()
    choice: Chooser | None = None
    http2: Http2Terms | None = None
    said: tuple[Said, ...] = field(default=(), compare=False)
    origin: Origin | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return " & ".join(str(s) for s in self.said) or "ok()"

    def __and__(self, other: Fault) -> Fault:  # type: ignore[override] # the only operator that faults have
        """Combine two faults.

        Raises:
            CallError: the other value is not a fault.
            ConflictError: both faults have a part of the same kind, or the conversation can't come to a part of one
                because of the other.
        """
        if not isinstance(other, Fault):
            call = f"; write {self!r} & {shown(other)}" if callable(other) else ""
            inside = "; write & between faults, inside sequence(…) and the like" if isinstance(other, Combined) else ""
            raise no_operator(self, "&", other, f"two faults{call}{inside}")
        for kind in ("break_", "answer", "certificate", "terms", "choice", "http2"):
            if getattr(self, kind) is not None and getattr(other, kind) is not None:
                raise two_of_a_kind(self, other, kind.rstrip("_"))
        both = Fault(
            self.break_ or other.break_,
            self.answer or other.answer,
            self.certificate or other.certificate,
            self.terms or other.terms,
            self.conditions + other.conditions,
            self.choice or other.choice,
            self.http2 or other.http2,
            self.said + other.said,
            self.origin or other.origin,
        )
        if both.choice is not None and (both.break_ is not None or both.answer is not None):
            raise two_of_a_kind(self, other, "break or answer")
        both.check_reached()
        return both

    def check_reached(self) -> None:
        """Check that the conversation comes to every part.

        Raises:
            ConflictError: the break ends the conversation before another part, or the conversation with this answer
                never comes to the break.
        """
        brk = self.break_
        if self.choice is not None and len(self.said) > 1:
            rest = replace(self, choice=None, said=tuple(s for s in self.said if s is not self.choice.label))
            for fault in self.choice.faults:
                rest & fault
        if brk is None:
            return
        for part in self.parts:
            if part is not brk and brk.cuts_off(part.begins_at):
                raise ConflictError(
                    f"{self!r}: the conversation ends at {brk.at!r} and never reaches {part.begins_at!r}; "
                    "leave one of the two out."
                )
        if self.answer is not None and (why := self.answer.misses(brk.at)):
            raise ConflictError(f"{self!r}: {why} and never reaches {brk.at!r}.")
        if self.script is not None and (why := self.script.never_meets(brk)):
            raise ConflictError(f"{self!r}: {why}.")

    # --- the parts -------------------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the fault."""
        given = (self.break_, self.certificate, self.terms, self.answer, self.choice, self.http2)
        return (*(part for part in given if part is not None), *self.conditions)

    @property
    def script(self) -> Script | None:
        """The script that replaces the healthy conversation, if there is one."""
        return self.answer if isinstance(self.answer, Script) else None

    @property
    def is_of_script(self) -> bool:
        """Whether a script replaces the conversation from its beginning, before there is a request."""
        return self.script is not None and not self.script.follows_request

    @property
    def http_answer(self) -> Answer | None:
        """The answer in HTTP; `None` for the answer of the server."""
        return self.answer if isinstance(self.answer, Answer) else None

    @property
    def is_answer(self) -> bool:
        """Whether the fault is an answer to a request and has no other part."""
        return isinstance(self.answer, (AsUsual, Answer)) and self == Fault(answer=self.answer)

    @property
    def break_steps(self) -> tuple[ConnectionStep, ...]:
        """The steps that are played on the connection when the fault strikes."""
        return self.break_.steps if self.break_ else ()

    @cached_property  # for every connect
    def door(self) -> Door | None:
        """What happens to a connect; `None` without a break there."""
        return self.break_.door if self.break_ else None

    @property
    def opens_later(self) -> bool:
        """Whether the port accepts no connections at first, and does so later."""
        return ends_by_itself(self.door)

    @property
    def waits_for_gate(self) -> bool:
        """Whether the port is closed until the test opens a gate."""
        return isinstance(self.door, (Refuse, Vanish)) and self.door.until is not None

    @property
    def has_open_gate(self) -> bool:
        """Whether the port was closed until the test opens a gate, and the gate is open."""
        return isinstance(self.door, (Refuse, Vanish)) and self.door.until is not None and self.door.until.is_open

    @property
    def lookup(self) -> Lookup | None:
        """How a lookup fails; `None` without a break there."""
        return self.break_.lookup if self.break_ else None

    @property
    def lookup_seconds(self) -> float:
        """How much later the answer to a lookup comes."""
        return sum(c.delay_seconds for c in self.conditions if isinstance(c, Latency))

    @property
    def delays_end(self) -> bool:
        """Whether the server's end comes late, for which there has to be one."""
        return any(isinstance(c, SlowClose) and c.on("response") for c in self.conditions)

    @property
    def fate(self) -> Fate | None:
        """What happens to a datagram, apart from its loss."""
        return self.break_.fate if self.break_ else None

    # --- properties that follow from the parts ------------------------------------------------------------------------

    @property
    def has_conditions_alone(self) -> bool:
        """Whether no part but the conditions is a fault by itself."""
        parts = (self.break_, self.answer, self.certificate, self.terms, self.choice, self.http2)
        return not any(part is not None and part.is_fault for part in parts)

    @property
    def is_healthy(self) -> bool:
        """Whether no part is a fault by itself."""
        return not any(part.is_fault for part in self.parts)

    @property
    def starts_tls(self) -> bool:
        """Whether the script has a `starttls()`."""
        return self.script is not None and self.script.starts_tls

    @property
    def needs_tls(self) -> bool:
        """Whether the fault needs a server that begins with TLS."""
        return not self.starts_tls and any(part.needs_tls for part in self.parts)

    @property
    def needs_http2(self) -> bool:
        """Whether the fault has frames, settings or an answer that only HTTP/2 has."""
        steps = any(isinstance(step, (RstStream, GoAway)) for step in self.break_steps)
        return steps or isinstance(self.answer, Http2Answer) or self.http2 is not None

    @property
    def is_of_tls(self) -> bool:
        """Whether the fault changes the handshake: the certificate, the terms, or how its bytes travel."""
        shown = self.certificate is not None or self.terms is not None
        return shown or any(condition.needs_tls for condition in self.conditions)

    @property
    def is_of_lookup(self) -> bool:
        """Whether the fault changes a lookup, and not a connection."""
        points = [c.begins_at for c in self.conditions] + ([self.break_.at] if self.break_ else [])
        found = self.answer is not None and self.answer.is_of_lookup
        return found or any(FACTS[point].of == "lookup" for point in points)

    @property
    def is_opening(self) -> bool:
        """Whether the fault strikes while a connection is opened, and so never on a connection that was kept alive."""
        return self.is_of_tls or self.http2 is not None or (self.break_ is not None and self.break_.facts.is_opening)

    @property
    def never_reads(self) -> bool:
        """Whether the server leaves the client's bytes unread, so that the client's sends block soon."""
        return self.break_ is not None and self.break_.never_reads

    @cached_property
    def resets(self) -> bool:
        """Whether a break resets the connection."""
        return any(isinstance(step, Reset) for step in self.break_steps)

    def can_follow(self, current: Fault) -> bool:
        """Whether the fault can be dealt to a further request on a connection whose fault is `current`."""
        at_idle = self.break_ is not None and self.break_.facts.of == "idle"
        if self == current and (at_idle or self.http2 is not None):
            return True  # the opening of this connection had the same parts
        return not self.is_opening and self.script == current.script


def two_of_a_kind(one: Fault, other: Fault, kind: str) -> ConflictError:
    """The error of combining two faults that both have a part of this kind."""
    return ConflictError(
        f"{one!r} & {other!r}: expected one {kind}, got two; deal them to different attempts, or leave one out."
    )


def breaks(at: Point | None, trigger: Trigger, *steps: ConnectionStep) -> Fault:
    """A fault that is one break of an open connection, with its trigger checked against its point.

    The default point is `response`, or `request` if the trigger has `on`.

    Raises:
        ParameterError: no bytes or messages pass this point and the trigger counts them, or the trigger waits for two
            of them at once.
    """
    if at is None:
        at = "request" if trigger.on is not None else "response"
    check_trigger(at, trigger)
    return Fault(Break(at, steps, trigger))
