"""The guard: find planned faults that never struck, because a test without the strike proves nothing.

The guard compares a plan with its ledger. It passes over faults whose strikes the server can't see, such as a refused
connect.
"""

from __future__ import annotations

from collections.abc import Sequence

from faultline._core.advice import advice
from faultline._core.fault import Fault
from faultline._core.ledger import Attempt, Strike
from faultline._core.plan import Plan, entries_of
from faultline._core.report import describe


def unmet(plan: Plan, attempts: Sequence[Attempt], unasked: str) -> str | None:
    """Why a fault of this plan never struck; `None` if all faults struck or can't be judged.

    `unasked` is the reason if there was no attempt.
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
    """Whether the break of the fault struck, and not only its certificate or answer."""
    return fault.break_ is None or strike.point == fault.break_.at


def certain(fault: Fault) -> list[Fault]:
    """The faults of this entry that have to strike; of a choice by the request, both."""
    if fault.choice is None:
        return [fault] if fault.strikes else []
    return [f for part in (fault.choice.fault, fault.choice.otherwise) for f in certain(part)]


def explained(plan: Plan, fault: Fault, attempts: Sequence[Attempt], unasked: str) -> str:
    """A report that a fault never struck, with the attempts and the advice."""
    if not attempts:
        return f"{fault!r} never struck: {unasked}."
    did = "; ".join(describe(a) for a in attempts[:5])
    more = f"; and {len(attempts) - 5} more" if len(attempts) > 5 else ""  # noqa: PLR2004 - a screenful
    sentences = [f"{fault!r} never struck: {did}{more}.", advice(plan, fault, attempts)]
    return " ".join(filter(None, sentences))
