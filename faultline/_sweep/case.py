"""A case of a sweep: the breaks of one run, and what came of them."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from faultline._core.attempts import Attempt
from faultline._core.fault import Fault
from faultline._core.plan import HEALTHY, Plan
from faultline._sweep.places import Place, as_said, plan_of, put

Outcome: TypeAlias = Literal["held", "failed", "hung", "not reached"]
MOST_CHARACTERS = 100  # of a message
TIME_LIMIT = re.compile(r"Timeout \(?>")  # in the words of pytest-timeout


@dataclass
class Case:
    """One run of a sweep.

    Attributes:
        breaks: where each of its breaks strikes, and its verb; none for the untouched run.
        idle_seconds: how long a connection is silent before a break at `idle`.
        plans: the plans of its relays by their number, if they were given.
        client: what the client raised or returned.
        error: what failed: an assertion, or an exception that was not expected; dropped once it is told.
        failed: that in a line.
        is_assertion: whether that was an assertion about what the run has left.
        is_hung: whether its connections were reset because the run took too long.
        attempts: what each relay saw.
        ended_seconds: when the scenario ended, on the clock of each relay.
        titles: the headings of their drawings.
    """

    breaks: tuple[tuple[Place, Fault], ...] = ()
    idle_seconds: float = 0.0
    plans: Mapping[int, Plan] = field(default_factory=dict)
    client: str = ""
    error: BaseException | None = None
    failed: str = ""
    is_assertion: bool = False
    is_hung: bool = False
    attempts: tuple[tuple[Attempt, ...], ...] = ()
    ended_seconds: tuple[float, ...] = ()
    titles: tuple[str, ...] = ()

    @property
    def is_untouched(self) -> bool:
        """Whether nothing breaks in it."""
        return not self.breaks and not self.plans

    def plan(self, relay: int) -> Plan:
        """The plan of one of its relays."""
        faults = {p.connection: put(verb, p, self.idle_seconds) for p, verb in self.breaks if p.relay == relay}
        return self.plans.get(relay, HEALTHY) if self.plans else plan_of(faults)

    def see(self, attempts: tuple[tuple[Attempt, ...], ...]) -> None:
        """Keep what the relays saw; the breaks have the names of what was said there."""
        self.attempts = attempts
        self.breaks = tuple((as_said(place, attempts[place.relay]), verb) for place, verb in self.breaks)

    def struck_seconds(self, place: Place) -> float | None:
        """When the break at a place struck; `None` if it did not."""
        if place.relay >= len(self.attempts):
            return None
        there = [a.struck for a in self.attempts[place.relay] if a.number == place.connection and a.struck is not None]
        return there[0].at_seconds if there else None

    @property
    def is_reached(self) -> bool:
        """Whether all its breaks struck."""
        if self.plans:
            return any(attempt.struck is not None for attempts in self.attempts for attempt in attempts)
        return all(self.struck_seconds(place) is not None for place, _ in self.breaks)

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        if self.is_hung:
            return "hung"
        if self.failure:
            return "failed"
        return "held" if self.is_reached else "not reached"

    @property
    def badness(self) -> int:
        """How bad it is, to choose the worst: a wrong state is worse than a hang, and that than a strange exception."""
        if not self.failure:
            return 0
        return 3 if self.is_assertion else 2 if self.is_hung else 1

    def __str__(self) -> str:
        if self.plans:
            return ", ".join(map(repr, self.plans.values()))
        texts = [f"{verb!r} {'' if place.counts_bytes else 'at '}{place}" for place, verb in self.breaks]
        return ", then ".join(texts) or "untouched"

    @property
    def failure(self) -> str:
        """What failed, in a line; empty if nothing did."""
        if self.is_hung:
            return "hung until its connections were reset"
        return self.failed if self.error is None else told(self.error)

    def settle(self) -> None:
        """Keep of a failure its text alone, because the frames of an exception keep servers, and sockets of clients."""
        self.failed, self.error = self.failure, None
        if not self.failed:
            self.titles = ()  # nobody draws it

    def forget(self) -> None:
        """Drop the bytes of the conversations, once their places are known."""
        self.attempts = tuple(tuple(replace(each, pieces=None) for each in attempts) for attempts in self.attempts)


def is_failure(error: BaseException) -> bool:
    """Whether an exception fails a run, as `pytest.fail` does; Ctrl-C and the time limit of the test end the sweep."""
    pytest = sys.modules.get("pytest")
    failed = () if pytest is None else pytest.fail.Exception  # which `pytest.raises` raises too, and is no Exception
    return isinstance(error, Exception) or (isinstance(error, failed) and not TIME_LIMIT.search(str(error)))


def told(error: BaseException) -> str:
    """An exception in a line; an assertion without words by its line of code."""
    first = shortened(str(error))
    if isinstance(error, AssertionError):
        return first if first.startswith("assert") else f"AssertionError: {first}" if first else line_of(error)
    name = type(error).__name__
    return first if first.startswith(f"{name}(") else f"{name}: {first}" if first else name


def line_of(error: BaseException) -> str:
    """The line of code that raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    line = "" if trace is None else linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip()
    return line or type(error).__name__


def shortened(text: str) -> str:
    """The first line of a text."""
    first = text.strip().partition("\n")[0]
    return first if len(first) <= MOST_CHARACTERS else f"{first[: MOST_CHARACTERS - 1]}…"
