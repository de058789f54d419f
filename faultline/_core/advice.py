"""Advice: why a promise of a plan was not kept, where that follows from the attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from faultline._core.attempts import Attempt, Request
from faultline._core.counts import counted
from faultline._core.fault import Fault
from faultline._core.paths import ByPath
from faultline._core.plan import Limited, Plan, Sometimes, entries_of, fault_of, per_of
from faultline._core.promises import Key, Origin
from faultline._core.reasons import OF_ANY_FAULT, REASONS, Reason, held_by_test
from faultline._core.steps import Refuse, Vanish, ends_by_itself

MOST_REQUESTS = 3
CHOOSING = ("plan", "entry", "fault")  # the numbers of a choice in the branch of a place


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
    by = by_path_of(plan, fault.origin)
    if by is not None or fault not in entries:
        return unmatched(attempts) if by is None else unasked(*by, attempts)
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


def unmatched(attempts: Sequence[Attempt]) -> str:
    """Why a fault of a `when(…)` was dealt to no request."""
    requests = [a.request for a in attempts if a.request is not None and a.request.method]
    told = f"No request matched; there was {listed_requests(requests)}."
    return told if requests else "No HTTP request was complete, so when(…) had nothing to choose by."


def by_path_of(plan: Plan, origin: Origin | None) -> tuple[ByPath, Origin, int, int] | None:
    """The `by_path(…)` that led to the fault at a place: its own place, the number of the path, and of the entry."""
    if origin is None or len(origin.branch) < len(CHOOSING):
        return None
    steps = len(origin.branch) % len(CHOOSING)  # a `sometimes(…)` around it is one
    outer = replace(origin, branch=origin.branch[:steps])
    choice, (number, at) = fault_of(plan, outer).choice, origin.branch[steps : steps + 2]
    return (choice, outer, number, at) if isinstance(choice, ByPath) else None


def unasked(choice: ByPath, place: Origin, number: int, at: int, attempts: Sequence[Attempt]) -> str:
    """Why a fault of a plan by the path was dealt to no request; empty if the attempts don't show it."""
    own = [a for a in attempts if a.fault.origin is not None and a.fault.origin.is_within(place)]
    requests = [a.request for a in own if a.request is not None and a.request.method]
    if not requests:
        return "No HTTP request was complete, so by_path(…) had nothing to choose by."
    path, count = choice.paths[number], sum(choice.index(request) == number for request in requests)
    if not count:
        return f"No request went to {path!r}; there was {listed_requests(requests)}."
    entries = entries_of(choice.plans[number])
    asked = counted(count, "request")
    return f"The client made {asked} to {path!r}, whose plan has {len(entries)}." if count <= at else ""


def listed_requests(requests: Sequence[Request]) -> str:
    """The first few of different requests, in one line."""
    return ", ".join([*dict.fromkeys(f"{request.method} {request.target}" for request in requests)][:MOST_REQUESTS])
