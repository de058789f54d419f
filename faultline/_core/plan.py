"""Plans: which attempt meets which fault.

A plan is a value; `dealer.py` has the run through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from faultline._core.answers import AsUsual
from faultline._core.fault import Fault
from faultline._core.operators import Combined
from faultline._core.promises import Origin
from faultline._core.said import Said

Per = Literal["attempt", "connection"]
HEALTHY = Fault(answer=AsUsual(), said=(Said("ok"),))


@dataclass(frozen=True)
class Sometimes(Combined):
    """One of two faults, chosen at random."""

    probability: float
    fault: Fault
    otherwise: Fault
    seed: int | None = None
    per: Per = "attempt"

    def __repr__(self) -> str:
        return f"sometimes({self.probability:g}, {self.fault!r}, otherwise={self.otherwise!r})"


@dataclass(frozen=True)
class Sequence(Combined):
    """One fault after the other; then the last fault repeats, or all faults repeat."""

    entries: tuple[Fault | Sometimes, ...]
    cycles: bool = False
    per: Per = "attempt"

    def __repr__(self) -> str:
        name = "cycle" if self.cycles else "sequence"
        per = ", per='connection'" if self.per == "connection" else ""
        return f"{name}({', '.join(map(repr, self.entries))}{per})"


Dealt: TypeAlias = Fault | Sometimes | Sequence


@dataclass(frozen=True)
class Limited(Combined):
    """A plan for a number of connections at once, and a fault for those beyond."""

    number: int
    plan: Dealt
    beyond: Fault

    def __repr__(self) -> str:
        plan = f", {self.plan!r}" if self.plan != HEALTHY else ""
        return f"max_connections({self.number}{plan}, beyond={self.beyond!r})"

    @property
    def per(self) -> Per:
        """The unit that the plan deals its faults to."""
        return per_of(self.plan)


Plan: TypeAlias = Dealt | Limited


def per_of(plan: Plan) -> Per:
    """The unit that a plan deals its faults to."""
    return "attempt" if isinstance(plan, Fault) else plan.per


def entries_of(plan: Plan) -> tuple[Fault | Sometimes, ...]:
    """The entries of any plan; the last of a limited one is for the connections beyond."""
    if isinstance(plan, Limited):
        return (*entries_of(plan.plan), plan.beyond)
    return plan.entries if isinstance(plan, Sequence) else (plan,)


def alternatives(entry: Fault | Sometimes) -> tuple[Fault, ...]:
    """The faults that one entry of a plan can deal."""
    return (entry,) if isinstance(entry, Fault) else (entry.fault, entry.otherwise)


def every_entry(plan: Plan) -> list[Fault | Sometimes]:
    """The entries of a plan, and those of the plans that a request chooses from."""
    entries = [*entries_of(plan)]
    for entry in entries:  # the list grows in the loop: a choice can lead to another choice
        for fault in alternatives(entry):
            if fault.choice is not None:
                entries += [inner for each in fault.choice.plans for inner in entries_of(each)]
    return entries


def draws_chance(plan: Plan) -> bool:
    """Whether a plan draws random numbers."""
    conditions = [condition for fault in faults_of(plan) for condition in fault.conditions]
    return any(isinstance(entry, Sometimes) for entry in every_entry(plan)) or any(c.draws for c in conditions)


def faults_of(plan: Plan) -> tuple[Fault, ...]:
    """Every fault that a plan can deal."""
    if isinstance(plan, Fault) and plan.choice is None:  # the usual plan; asked for often
        return (plan,)
    return tuple(fault for entry in every_entry(plan) for fault in alternatives(entry))


def stamped(plan: Plan, number: int) -> Plan:
    """The same plan, in which each fault knows its place; `number` is the number of the plan at its server."""

    def of(entry: Fault | Sometimes, at: int) -> Fault | Sometimes:
        origin = Origin(number, at)
        if isinstance(entry, Fault):
            return replace(entry, origin=origin)
        return replace(
            entry,
            fault=replace(entry.fault, origin=origin.chosen(0)),
            otherwise=replace(entry.otherwise, origin=origin.chosen(1)),
        )

    def of_plan(plan: Dealt) -> Dealt:
        if isinstance(plan, Sequence):
            return replace(plan, entries=tuple(of(entry, at) for at, entry in enumerate(plan.entries)))
        return of(plan, 0)

    if not isinstance(plan, Limited):
        return of_plan(plan)
    beyond = replace(plan.beyond, origin=Origin(number, len(entries_of(plan.plan))))
    return replace(plan, plan=of_plan(plan.plan), beyond=beyond)


Choosing: TypeAlias = tuple[int, int, int]  # of a choice: the plan, the entry in that, and the fault in the entry


def choices_of(fault: Fault) -> Iterator[Choosing]:
    """The places of the faults that a choice by the request can lead to; none without a choice."""
    for number, plan in enumerate(fault.choice.plans if fault.choice is not None else ()):
        for at, entry in enumerate(entries_of(plan)):
            yield from ((number, at, which) for which in range(len(alternatives(entry))))


def branches_of(fault: Fault) -> tuple[Fault, ...]:
    """The faults that a fault can become once the request is known, with their places; without a choice, itself."""
    if fault.choice is None:
        return (fault,)
    return tuple(leaf for place in choices_of(fault) for leaf in branches_of(chosen(fault, place)))


def chosen(fault: Fault, place: Choosing) -> Fault:
    """The fault with a choice made; its other parts stay."""
    assert fault.choice is not None
    number, at, which = place
    part = alternatives(entries_of(fault.choice.plans[number])[at])[which]
    rest = replace(fault, choice=None, said=tuple(s for s in fault.said if s is not fault.choice.label))
    origin = None if fault.origin is None else fault.origin.chosen(*place)
    return replace(rest & part if rest.said else part, origin=origin)


def fault_of(plan: Plan, origin: Origin) -> Fault:
    """The fault at its place in a plan."""
    entry, branch = entries_of(plan)[origin.entry], origin.branch
    fault = alternatives(entry)[branch[0] if isinstance(entry, Sometimes) else 0]
    branch = branch[1:] if isinstance(entry, Sometimes) else branch
    for begin in range(0, len(branch), 3):
        number, at, which = branch[begin : begin + 3]
        fault = chosen(fault, (number, at, which))
    return fault
