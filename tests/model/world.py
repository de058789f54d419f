"""The server of the reference: its plans, its connections, its ledger and its guard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from model.values import Answer, Asked, Fault, Plan, When

if TYPE_CHECKING:
    from model.reference import Connection

Origin: TypeAlias = "tuple[int, int, str]"  # the number of a plan, of its entry, and the branch there
FINAL = ("refuse", "reset", "reset after FIN", "close", "half_close", "stall")  # no other part strikes after these


@dataclass
class Entry:
    """What the ledger says of an attempt."""

    connection: int | None
    fault: Fault
    origin: Origin | None
    point: str = "accept"
    received: int = 0
    ahead: int = 0  # so many bytes more may have been read, of what came together
    sent: int = 0
    asked: Asked | None = None
    strikes: list[tuple[str, str, int]] = field(default_factory=list)
    ended: tuple[str | None, str | None] | None = None
    has_waited: bool = False  # from the last strike until it gave up, in silence
    sent_before: int = 0
    verb: str = ""  # of the break that has struck last
    origins: set[tuple[Origin | None, str]] = field(default_factory=set)  # the promises that have struck
    earlier: set[tuple[Origin | None, str]] = field(default_factory=set)  # those of plans that had the same break

    @property
    def had_chance(self) -> bool:
        """Whether anything has passed."""
        return bool(self.connection is None or self.received or self.sent or self.strikes)

    def strike(self, part: str, point: str, after_bytes: int) -> None:
        if (self.origin, part) in self.origins:
            return
        self.strikes.append((part, point, after_bytes))
        self.sent_before = self.sent
        self.origins.add((self.origin, part))
        if part == "break":
            self.origins |= self.earlier

    def meet(self, fault: Fault, origin: Origin) -> None:
        """Have the fault of another plan; a break that stays keeps the promise of each plan that has it."""
        stays = fault.brk is not None and fault.brk == self.fault.brk
        before = {*self.earlier, (self.origin, "break")} if stays else set()
        self.fault, self.origin, self.earlier = fault, origin, before
        if before & self.origins:
            self.origins.add((origin, "break"))

    def end(self, by: str | None = None, how: str | None = None) -> None:
        self.ended = self.ended or (by, how)
        self.has_waited = by == "client" and bool(self.strikes) and self.sent == self.sent_before


class World:
    """A server with its plan and its connections."""

    def __init__(self, plan: Plan, answer: Answer, *, tls: bool = False) -> None:
        self.answer, self.tls = answer, tls
        self.entries: list[Entry] = []
        self.connections: list[Connection] = []
        self.plans: list[Plan] = []
        self.is_gate_open = False
        self.begin(plan)

    def begin(self, plan: Plan) -> None:
        self.plan, self._dealt = plan, plan.dealt()
        self.plans.append(plan)
        self.deal()

    def deal(self) -> tuple[Fault | When, Origin]:
        """The next fault, and its place in the plans: which plan, which entry, and which branch of it."""
        dealt, (fault, at, branch) = getattr(self, "upcoming", None), next(self._dealt)
        self.upcoming = fault, (len(self.plans) - 1, at, branch)
        return dealt

    def connect(self, make: type[Connection]) -> Connection | None:
        """A client connects; `None` if it is refused."""
        fault, origin = self.upcoming
        if fault.brk is not None and fault.brk.at == "connect":
            self.deal()
            entry = Entry(None, fault, origin, "connect")
            entry.strike("break", "connect", 0)
            entry.verb = "refuse"
            entry.end("server", "RST")
            self.entries.append(entry)
            return None
        connection = make(self, len(self.connections) + 1)
        self.connections.append(connection)
        return connection

    def become(self, plan: Plan, *, open_too: bool) -> None:
        self.begin(plan)
        for connection in self.connections:
            if connection.entry.ended is None:
                connection.change(open_too=open_too)

    @property
    def depends_on_reads(self) -> bool:
        """Whether what a relay has read when a break strikes depends on which bytes it reads at once."""
        breaks = [fault.brk for fault, *_ in self.plan.promises() if fault.brk is not None]
        return any(brk.at != "request" or not brk.after_bytes for brk in breaks)

    def unmet(self) -> list[tuple[Origin, str]]:
        """The promises that have not struck, and that neither another strike nor chance has made pointless."""
        struck = {origin for entry in self.entries for origin in entry.origins}
        had_chance = {entry.origin[:2] for entry in self.entries if entry.origin and entry.had_chance}
        missing = []
        for number, plan in enumerate(self.plans):
            for fault, at, branch, is_chance in plan.promises():
                origin = (number, at, branch)
                is_over = (origin, "break") in struck and fault.brk.verb in FINAL
                if not is_over and not (is_chance and origin[:2] in had_chance):
                    missing += [(origin, part) for part in fault.parts() if (origin, part) not in struck]
        return missing
