"""The guard: find promises of a plan that never struck, because a test without the strike proves nothing.

The guard compares promises with strikes by their identity, and knows no modes. A promise at `connect` may strike
unseen: no server sees a connect that the kernel refuses. Where clients could have connected unseen, such a promise is
reported as not observable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from faultline._core.advice import advice
from faultline._core.attempts import Attempt
from faultline._core.fault import Fault
from faultline._core.plan import Plan, branches_of, entries_of
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
    over = {origin for attempt, strike in strikes if is_last(attempt, strike) for origin, _ in strike.marks}
    dealt = {place_of(attempt.fault.origin) for attempt in attempts if had_its_chance(attempt)}
    missing = []
    for fault, promise in promised(plan):
        meant = [each.origin for each in places(fault, promise.key)]
        if any((origin, promise.key) in struck for origin in meant):
            continue
        was_over = not over.isdisjoint(meant)
        was_luck = not promise.is_certain and place_of(meant[0]) in dealt
        unseen = fault.door is not None and promise.key == BREAK and is_unseen(fault.door)
        so_far = f"{promise.text if attempts else repr(fault)} {'may have struck unseen' if unseen else 'never struck'}"
        why = explained(so_far, attempts, unasked, advice(plan, fault, promise.key, attempts) if attempts else "")
        missing.append(Unmet(why, fails=not (was_over or was_luck or unseen)))
    return tuple(missing)


def promised(plan: Plan) -> Iterator[tuple[Fault, Promise]]:
    """The promises of a plan, each with its fault; of a choice by the request, those of both faults.

    A fault that chance chooses from a `sometimes(…)` promises nothing for certain.
    """
    for entry in entries_of(plan):
        faults = [entry] if isinstance(entry, Fault) else [entry.fault, entry.otherwise]
        for fault in faults:
            for branch in branches_of(fault):
                kinds = [p for p in promises_of(branch) if fault.choice is None or p.key.kind in CHOSEN]
                yield from ((branch, replace(p, is_certain=p.is_certain and fault is entry)) for p in kinds)
            if fault.choice is not None:
                yield from ((fault, promise) for promise in promises_of(fault))


def is_last(attempt: Attempt, strike: Strike) -> bool:
    """Whether no other part of a fault can strike after a strike: the conversation is over, or never began."""
    brk = attempt.fault.break_
    if strike.part == BREAK:
        return brk is not None and (brk.is_final or brk.door is not None)
    return strike.part in (CERTIFICATE, TERMS) and attempt.point == "handshake"


def had_its_chance(attempt: Attempt) -> bool:
    """Whether chance has had something to decide in an attempt: a lookup or a datagram, or bytes of a connection."""
    return attempt.connection is None or bool(attempt.received_bytes or attempt.sent_bytes or attempt.strikes)


def place_of(origin: Origin | None) -> tuple[int, int] | None:
    """The plan and the entry of a fault; `None` for the healthy conversation between the faults of a plan."""
    return None if origin is None else (origin.plan, origin.entry)


def places(fault: Fault, key: Key) -> tuple[Fault, ...]:
    """The faults whose strikes keep a promise: of a part beside a choice by the request, all that can be chosen."""
    return branches_of(fault) if fault.choice is not None and key.kind not in CHOSEN else (fault,)


def explained(said: str, attempts: Sequence[Attempt], unasked: str, advised: str) -> str:
    """A report that a promise was not kept, with the attempts and the advice."""
    if not attempts:
        return f"{said}: {unasked}."
    did = "; ".join(describe(a) for a in attempts[:MOST_TOLD])
    more = f"; and {len(attempts) - MOST_TOLD} more" if len(attempts) > MOST_TOLD else ""
    return " ".join(filter(None, [f"{said}: {did}{more}.", advised]))
