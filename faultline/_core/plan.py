"""Plans: which attempt meets which fault.

A plan is a value; `dealer.py` has the run through it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from faultline._core.answers import AsUsual
from faultline._core.attempts import Request
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
    """A plan for so many connections at once, and a fault for those beyond."""

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


def draws_chance(plan: Plan) -> bool:
    """Whether a plan draws random numbers."""
    conditions = [condition for fault in faults_of(plan) for condition in fault.conditions]
    return any(isinstance(entry, Sometimes) for entry in entries_of(plan)) or any(c.draws for c in conditions)


def faults_of(plan: Plan) -> tuple[Fault, ...]:
    """Every fault that a plan can deal."""
    faults: list[Fault] = []
    for entry in entries_of(plan):
        faults += [entry.fault, entry.otherwise] if isinstance(entry, Sometimes) else [entry]
    for fault in faults:  # the list grows in the loop: a choice can lead to another choice
        if fault.choice is not None:
            faults += [fault.choice.fault, fault.choice.otherwise]
    return tuple(faults)


def stamped(plan: Plan, number: int) -> Plan:
    """The same plan, in which each fault knows its place; `number` is the number of the plan at its server."""

    def of(entry: Fault | Sometimes, at: int) -> Fault | Sometimes:
        origin = Origin(number, at)
        if isinstance(entry, Fault):
            return replace(entry, origin=origin)
        return replace(
            entry,
            fault=replace(entry.fault, origin=origin.chosen("1")),
            otherwise=replace(entry.otherwise, origin=origin.chosen("2")),
        )

    def of_plan(plan: Dealt) -> Dealt:
        if isinstance(plan, Sequence):
            return replace(plan, entries=tuple(of(entry, at) for at, entry in enumerate(plan.entries)))
        return of(plan, 0)

    if not isinstance(plan, Limited):
        return of_plan(plan)
    beyond = replace(plan.beyond, origin=Origin(number, len(entries_of(plan.plan))))
    return replace(plan, plan=of_plan(plan.plan), beyond=beyond)


def branches_of(fault: Fault) -> tuple[Fault, ...]:
    """The faults that a fault can become once the request is known, with their places; without a choice, itself."""
    if fault.choice is None:
        return (fault,)
    return tuple(leaf for branch in ("1", "2") for leaf in branches_of(chosen(fault, branch)))


def chosen(fault: Fault, branch: str) -> Fault:
    """The fault with a choice made: "1" is the fault of the choice, and "2" the other; its other parts stay."""
    assert fault.choice is not None
    part = fault.choice.fault if branch == "1" else fault.choice.otherwise
    rest = replace(fault, choice=None, said=tuple(s for s in fault.said if s is not fault.choice.label))
    origin = None if fault.origin is None else fault.origin.chosen(branch)
    return replace(rest & part if rest.said else part, origin=origin)


def resolved(fault: Fault, request: Request) -> Fault:
    """The fault with its choice by the request made; its other parts stay."""
    while fault.choice is not None:
        fault = chosen(fault, "1" if fault.choice.condition(request) else "2")
    return fault
