"""The guard: find promises of a plan that never struck, because a test without the strike proves nothing.

The guard compares promises with strikes by their identity, and knows no modes. A promise at `connect` may strike
unseen: no server sees a connect that the kernel refuses. Where clients could have connected unseen, such a promise is
reported as not observable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from faultline._core.advice import advice
from faultline._core.attempts import Attempt
from faultline._core.fault import Fault
from faultline._core.paths import ByPath
from faultline._core.plan import Plan, alternatives, branches_of, choices_of, chosen, entries_of, faults_of
from faultline._core.promises import BREAK, CERTIFICATE, TERMS, Key, Origin, Promise, Strike, promises_of
from faultline._core.report import describe
from faultline._core.steps import Door

MOST_TOLD = 5  # attempts: a screenful
CHOSEN = ("break", "step", "answer")  # the kinds of parts that a choice by the request has


@dataclass(frozen=True)
class Unmet:
    """A promise that has not struck.

    Attributes:
        why: what happened instead, with advice, as sentences.
        fails: whether the test proved nothing by that. A promise that chance decides, whose strike nobody could see, or
            before which another part of the fault has ended the conversation is reported only.
    """

    why: str
    fails: bool = True


def seen(_: Door) -> bool:
    """Whether a client can meet this step without being seen: none can."""
    return False


def unmet(
    plan: Plan, attempts: Sequence[Attempt], unasked: str, is_unseen: Callable[[Door], bool] = seen
) -> tuple[Unmet, ...]:
    """The promises of a plan that have not struck.

    `unasked` is the reason if there was no attempt. `is_unseen` tells whether clients may have met a step at `connect`
    without being seen.
    """
    strikes = [(attempt, strike) for attempt in attempts for strike in attempt.strikes]
    struck = {mark for _, strike in strikes for mark in strike.marks}
    final = last_breaks(plan) if strikes else set()
    over = {
        origin
        for attempt, strike in strikes
        for origin, _ in strike.marks
        if (origin in final if strike.part == BREAK else is_last(attempt, strike))
    }
    dealt = {place_of(attempt.fault.origin) for attempt in attempts if had_its_chance(attempt)}
    missing = []
    for fault, promise, meant in promised(plan):
        if any((origin, promise.key) in struck for origin in meant):
            continue
        was_over = not over.isdisjoint(meant)
        was_luck = not promise.is_certain and place_of(meant[0]) in dealt
        unseen = fault.door is not None and promise.key == BREAK and is_unseen(fault.door)
        so_far = f"{promise.text if attempts else repr(fault)} {'may have struck unseen' if unseen else 'never struck'}"
        why = explained(so_far, attempts, unasked, advice(plan, fault, promise.key, attempts) if attempts else "")
        missing.append(Unmet(why, fails=not (was_over or was_luck or unseen)))
    return tuple(missing)


class Meant(NamedTuple):
    """A promise, its fault, and the places of the faults whose strikes keep it."""

    fault: Fault
    promise: Promise
    origins: tuple[Origin | None, ...]


def promised(plan: Plan) -> Iterator[Meant]:
    """The promises of a plan; of a choice by the request, those of every fault that it can lead to.

    A fault that chance chooses from a `sometimes(…)` promises nothing for certain.
    """
    for entry in entries_of(plan):
        for fault in alternatives(entry):
            yield from promised_by(fault, is_certain=fault is entry)


def promised_by(fault: Fault, *, is_certain: bool, outer: Fault | None = None, where: str = "") -> Iterator[Meant]:
    """The promises of a fault that are not those of the `outer` fault, whose choice has led here, and of its choice.

    A part beside a choice is kept by all that can be chosen.
    """
    origins = tuple(leaf.origin for leaf in branches_of(fault))
    for promise in promises_of(fault):
        if outer is None or is_added(promise.key, outer):
            certain = promise.is_certain and is_certain
            yield Meant(fault, replace(promise, text=promise.text + where, is_certain=certain), origins)
    if (choice := fault.choice) is None:
        return
    for number, at, which in choices_of(fault):
        if not isinstance(choice, ByPath):
            here = where
        elif number < len(choice.paths):
            here = f" at {choice.paths[number]!r}"
        else:  # a request that no path matches is not promised
            continue
        certain = is_certain and isinstance(entries_of(choice.plans[number])[at], Fault)
        yield from promised_by(chosen(fault, (number, at, which)), is_certain=certain, outer=fault, where=here)


def is_added(key: Key, outer: Fault) -> bool:
    """Whether a part comes from a choice of the fault, and is no part beside it."""
    return key.number >= len(outer.conditions) if key.kind == "condition" else key.kind in CHOSEN


def last_breaks(plan: Plan) -> set[Origin | None]:
    """The places of the faults with a break after which no other part of them can strike: it ends the conversation."""
    faults = [leaf for fault in faults_of(plan) for leaf in (fault, *branches_of(fault))]
    breaks = [(fault.origin, fault.break_) for fault in faults]
    return {origin for origin, brk in breaks if brk is not None and (brk.is_final or brk.door is not None)}


def is_last(attempt: Attempt, strike: Strike) -> bool:
    """Whether a strike in the handshake has ended it, so that no other part of the fault can strike."""
    return strike.part in (CERTIFICATE, TERMS) and attempt.point == "handshake"


def had_its_chance(attempt: Attempt) -> bool:
    """Whether chance has had something to decide in an attempt: a lookup or a datagram, or bytes of a connection."""
    return attempt.connection is None or bool(attempt.received_bytes or attempt.sent_bytes or attempt.strikes)


def place_of(origin: Origin | None) -> tuple[int, int] | None:
    """The plan and the entry of a fault; `None` for the healthy conversation between the faults of a plan."""
    return None if origin is None else (origin.plan, origin.entry)


def explained(said: str, attempts: Sequence[Attempt], unasked: str, advised: str) -> str:
    """A report that a promise was not kept, with the attempts and the advice."""
    if not attempts:
        return f"{said}: {unasked}."
    did = "; ".join(describe(a) for a in attempts[:MOST_TOLD])
    more = f"; and {len(attempts) - MOST_TOLD} more" if len(attempts) > MOST_TOLD else ""
    return " ".join(filter(None, [f"{said}: {did}{more}.", advised]))
