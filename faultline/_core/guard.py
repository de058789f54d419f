"""The guard: a planned fault that never struck proved nothing, and the guard says so.

It judges a plan by its ledger alone. A strike that leaves no trace in the server, as a refused connect, is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from faultline._core.advice import advice
from faultline._core.fault import Fault
from faultline._core.ledger import Attempt, Strike
from faultline._core.plan import Plan, entries_of
from faultline._core.report import describe


def unmet(plan: Plan, attempts: Sequence[Attempt], unasked: str) -> str | None:
    """Why a fault of this plan proved nothing, or `None` if all struck or can't be judged.

    `unasked` is what to say where there was no attempt.
    """
    planned = [fault for entry in entries_of(plan) if isinstance(entry, Fault) for fault in certain(entry)]
    struck = [a.fault for a in attempts if a.struck is not None and is_its_own(a.fault, a.struck)]
    for fault in planned:
        if fault in struck:
            struck.remove(fault)  # an entry that is planned twice strikes twice
        elif not fault.is_healthy and fault.door is None:
            return explained(plan, fault, attempts, unasked)
    return None


def is_its_own(fault: Fault, strike: Strike) -> bool:
    """Whether a strike was that of the fault's break, and not only of its certificate or answer."""
    return fault.break_ is None or strike.point == fault.break_.at


def certain(fault: Fault) -> list[Fault]:
    """What has to strike for this entry: a choice by the request, whatever it chooses between."""
    if fault.choice is None:
        return [fault] if fault.strikes else []
    return [f for part in (fault.choice.fault, fault.choice.otherwise) for f in certain(part)]


def explained(plan: Plan, fault: Fault, attempts: Sequence[Attempt], unasked: str) -> str:
    """What happened instead of the fault."""
    if not attempts:
        return f"{fault!r} never struck: {unasked}."
    did = "; ".join(describe(a) for a in attempts[:5])
    more = f"; and {len(attempts) - 5} more" if len(attempts) > 5 else ""  # noqa: PLR2004 - a screenful
    sentences = [f"{fault!r} never struck: {did}{more}.", advice(plan, fault, attempts)]
    return " ".join(filter(None, sentences))
