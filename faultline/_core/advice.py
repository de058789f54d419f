"""Advice: why a promise of a plan was not kept, where that follows from the attempts."""

from __future__ import annotations

from collections.abc import Sequence

from faultline._core.attempts import Attempt
from faultline._core.counts import counted
from faultline._core.fault import Fault
from faultline._core.plan import Limited, Plan, Sometimes, entries_of, per_of
from faultline._core.promises import Key
from faultline._core.reasons import OF_ANY_FAULT, REASONS, Reason, held_by_test
from faultline._core.steps import Refuse, Vanish, ends_by_itself

MOST_REQUESTS = 3


def advice(plan: Plan, fault: Fault, part: Key, attempts: Sequence[Attempt]) -> str:
    """What to do about a part of a fault that has not struck, as a sentence; empty if no reason is known."""
    number = fault.origin.plan if fault.origin is not None else 0
    own = [a for a in attempts if a.fault.origin is None or a.fault.origin.plan == number]
    if not any(a.fault.origin is not None for a in own):
        return under_another_plan(number, attempts)
    met = [a for a in own if a.fault == fault and not any(strike.part == part for strike in a.strikes)]
    if not met:
        came_to_nothing = "" if own[-1].strikes else first((held_by_test, *OF_ANY_FAULT), fault, part, own[-1])
        return came_to_nothing or undealt(plan, fault, own)
    return first(REASONS, fault, part, met[-1])


def first(reasons: Sequence[Reason], fault: Fault, part: Key, attempt: Attempt) -> str:
    """The sentence of the first reason that an attempt shows; empty if it shows none."""
    return next((sentence for reason in reasons if (sentence := reason(fault, part, attempt))), "")


def under_another_plan(number: int, attempts: Sequence[Attempt]) -> str:
    """Why no attempt met the plan of this number: all have met plans before it or after it."""
    until = sum(a.fault.origin is not None and number in a.fault.origin.earlier for a in attempts)
    if until:
        return f"{counted(until, 'open attempt')} met this plan, until become(…, open_too=True) replaced it."
    others = [a.fault.origin.plan for a in attempts if a.fault.origin is not None]
    before, after = sum(other < number for other in others), sum(other > number for other in others)
    when = "before the next become(…)" if after else "since become(…)"
    met = [f"{count} met the plan {which} it" for count, which in ((before, "before"), (after, "after")) if count]
    return f"No attempt met this plan {when}: {', '.join(met)}." if met else ""


def undealt(plan: Plan, fault: Fault, attempts: Sequence[Attempt]) -> str:
    """Why the fault was dealt to no attempt; empty if the attempts don't show it."""
    entries = entries_of(plan)
    if any(fault in (entry.fault, entry.otherwise) for entry in entries if isinstance(entry, Sometimes)):
        return "Chance did not deal it."
    if fault not in entries:
        requests = [a.request for a in attempts if a.request is not None and a.request.method]
        asked = dict.fromkeys(f"{request.method} {request.target}" for request in requests)
        told = f"No request matched; there was {', '.join([*asked][:MOST_REQUESTS])}."
        return told if asked else "No request of HTTP was complete, by which when(…) could choose."
    if isinstance(plan, Limited) and fault == plan.beyond:
        return f"There were never more than {counted(plan.number, 'connection')} at once."
    if isinstance(door := fault.door, (Refuse, Vanish)) and ends_by_itself(door):
        while_ = "before its gate was opened" if door.until is not None else f"while its {door.for_seconds:g} s lasted"
        return f"No client connected {while_}."
    entries = entries_of(plan.plan) if isinstance(plan, Limited) else entries
    by_connection = per_of(plan) == "connection"
    count = len({a.connection for a in attempts}) if by_connection else len(attempts)
    if count >= len(entries):
        return ""
    made = counted(count, "connection" if by_connection else "attempt")
    return f"The client made {made}, the plan has {len(entries)}."
