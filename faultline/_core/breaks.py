"""Breaks as values: where a conversation breaks, when, and what happens then."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from faultline._core.check import rejected, whole
from faultline._core.errors import ParameterError
from faultline._core.gate import Gate
from faultline._core.points import DATA_POINTS, FACTS, Facts, Point, is_before
from faultline._core.steps import (
    Behind,
    ConnectionStep,
    Door,
    Fate,
    Hold,
    Inject,
    Lookup,
    NoName,
    NoRoute,
    Refuse,
    Renegotiate,
    Send,
    Twice,
    Vanish,
    is_final,
    is_of_tls,
)
from faultline._core.streams import GoAway, RstStream


@dataclass(frozen=True)
class Trigger:
    """When a break strikes within its point.

    Attributes:
        after_bytes: this number of bytes passes the point first; with `after_messages`, of the next message.
        after_seconds: then traffic flows for this time.
        on: these bytes have passed.
        after_messages: this number of messages passes first; 0 is the beginning of the first.
        after_body_bytes: the head of a message and this number of bytes of its body pass first; 0: the head alone.
        after_requests: this number of requests of the connection passes first.
        until: then everything is held until the test opens this gate.
        at_end: the response is complete.
    """

    after_bytes: int = 0
    after_seconds: float = 0.0
    on: bytes | re.Pattern[bytes] | None = None
    after_messages: int | None = None
    after_body_bytes: int | None = None
    after_requests: int = 0
    until: Gate | None = None
    at_end: bool = False

    @property
    def is_immediate(self) -> bool:
        """Whether the break waits for nothing."""
        return self == Trigger()

    @property
    def least_bytes(self) -> int:
        """How long a body has to be, so that the break strikes in its message."""
        return max(self.after_bytes, self.after_body_bytes or 0)


@dataclass(frozen=True)
class Break:
    """Where a conversation breaks, when, and what happens then.

    Attributes:
        at: the point.
        does: the steps that are played on the connection; without a connection, what happens to a connect, to a
            lookup or to a datagram.
        trigger: when the break strikes, within the point.
    """

    at: Point
    does: tuple[ConnectionStep, ...] | Door | Lookup | Fate
    trigger: Trigger = Trigger()
    is_fault: ClassVar[bool] = True

    @property
    def facts(self) -> Facts:
        """The facts of the point."""
        return FACTS[self.at]

    @property
    def steps(self) -> tuple[ConnectionStep, ...]:
        """The steps that are played on the connection."""
        return self.does if isinstance(self.does, tuple) else ()

    @property
    def is_final(self) -> bool:
        """Whether the conversation ends with the break."""
        if isinstance(self.does, tuple):
            return bool(self.does) and is_final(self.does[-1])
        return is_final(self.does)

    @property
    def lasts(self) -> bool:
        """Whether the conversation goes on for a time once the break has come to its place, and then breaks.

        At `idle` the time is a silence, which the next request ends.
        """
        return self.trigger.after_seconds > 0 and self.facts.of != "idle"

    @property
    def inserts(self) -> bool:
        """Whether the break sends bytes of its own, and goes on."""
        return any(isinstance(step, Inject) for step in self.steps)

    @property
    def door(self) -> Door | None:
        """What happens to a connect; `None` if the break is at another point."""
        return self.does if isinstance(self.does, (Refuse, Vanish, NoRoute)) else None

    @property
    def lookup(self) -> Lookup | None:
        """How a lookup fails; `None` if the break is at another point."""
        return self.does if isinstance(self.does, NoName) else None

    @property
    def fate(self) -> Fate | None:
        """What happens to a datagram, apart from its loss."""
        return self.does if isinstance(self.does, (Twice, Behind)) else None

    @property
    def begins_at(self) -> Point:
        """The point where the break strikes."""
        return self.at

    @property
    def needs_tls(self) -> bool:
        """Whether the break has a meaning only with TLS."""
        return self.facts.is_of_tls or any(is_of_tls(step) for step in self.steps)

    @property
    def never_reads(self) -> bool:
        """Whether the server leaves the client's bytes unread, so that the client's sends block soon."""
        return self.facts.speaks == "client" and any(isinstance(step, Hold) for step in self.steps)

    @property
    def fits_anywhere(self) -> bool:
        """Whether its mode takes every point of an open connection as `at`."""
        speaks = any(isinstance(step, (Inject, Renegotiate, Send, RstStream, GoAway)) for step in self.steps)
        return bool(self.steps) and not speaks and not self.trigger.at_end

    def cuts_off(self, point: Point | None) -> bool:
        """Whether the break ends the conversation before it comes to a point."""
        if point is None or not self.is_final or self.lasts or self.trigger.after_requests:
            return False
        shows_nothing = self.at == point and self.facts.is_of_tls and self.trigger.is_immediate
        return shows_nothing or is_before(self.at, point)


def check_one_end(for_seconds: float | None, until: Gate | None) -> None:
    """Check that a break that lasts ends in one way at most.

    Raises:
        ParameterError: it has both a time and a gate, or `until` is no gate.
    """
    check_gate(until)
    if for_seconds is not None and until is not None:
        raise ParameterError(f"for_seconds={for_seconds}, until={until}: expected one of the two.")


def check_gate(until: object) -> None:
    """Check that a value is a gate, if it is given.

    Raises:
        ParameterError: it is something else.
    """
    if until is not None and not isinstance(until, Gate):
        raise rejected("until", until, "a Gate()")


def check_trigger(at: Point, trigger: Trigger) -> None:
    """Check that a break at this point can wait for its trigger.

    Raises:
        ParameterError: no bytes, messages or requests pass this point, or the trigger counts or looks for two things.
    """
    check_gate(trigger.until)
    check_counts(at, trigger)
    for name in ("on", "after_messages"):
        if (value := getattr(trigger, name)) is not None and not FACTS[at].hears:
            *others, last = (f"at={point!r}" for point in DATA_POINTS)
            raise rejected(name, value, f"{', '.join(others)} or {last}, not at={at!r}, where no bytes pass")
    on = trigger.on
    if on is not None and not isinstance(on, bytes) and not isinstance(getattr(on, "pattern", None), bytes):
        right = f"; write on={on.encode('utf-8', 'replace')!r}" if isinstance(on, str) else ""
        raise rejected("on", on, f"bytes, or a pattern compiled from bytes{right}")
    names = ("after_bytes", "on", "after_messages", "after_body_bytes")
    given = {name: getattr(trigger, name) for name in names}
    written = [f"{name}={value!r}" for name, value in given.items() if value != getattr(Trigger(), name)]
    is_within = trigger.after_bytes and trigger.after_messages is not None  # bytes of a message
    if len(written) > (2 if is_within else 1):
        raise ParameterError(f"{', '.join(written)}: expected one of the two; a break strikes once.")
    if on is not None and not (on if isinstance(on, bytes) else on.pattern):
        raise rejected("on", on, "at least one byte to look for")


def check_counts(at: Point, trigger: Trigger) -> None:
    """Check that what a trigger counts passes the point.

    Raises:
        ParameterError: no bytes, bodies or requests pass it, or a number is no whole one of 0 or more.
    """
    facts = FACTS[at]
    if trigger.after_bytes and not facts.counts_bytes:
        raise rejected(
            "after_bytes",
            trigger.after_bytes,
            f"no after_bytes at {at!r}, where no bytes are counted; write at='request' or at='response'",
        )
    for name in ("after_messages", "after_body_bytes", "after_requests"):
        if (number := getattr(trigger, name)) is not None:
            whole(name, number, "")
    if trigger.after_requests and facts.of not in ("exchange", "idle"):
        raise rejected(
            "after_requests",
            trigger.after_requests,
            f"no after_requests at {at!r}, where no requests are counted; write at='response' or at='idle'",
        )
    if trigger.after_body_bytes is not None and not facts.is_exchange:
        raise rejected("after_body_bytes", trigger.after_body_bytes, "at='request' or at='response', where bodies pass")
