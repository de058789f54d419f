"""The door of a server: deals the faults that strike at a connect, and counts the connects that meet them.

The kernel refuses such a connect, or leaves it unanswered, so the listener never sees it. Where this process may open
raw sockets, each SYN is counted, whichever process it comes from: the listener drops it, and the door answers it with
RST after it is in the ledger and the listener has its next step. Elsewhere, and for Unix sockets and addresses without
a route, connects of this process are counted by their audit event. Because of that event too, connects of several
threads come in turn; those of other processes may come while the door is being shut, and the ledger notes it.

Rules: the methods are called in the loop's thread, except where they say so.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from faultline._core import own_thread
from faultline._core.attempts import Entry
from faultline._core.dealer import Dealer
from faultline._core.ends import How
from faultline._core.ledger import Ledger
from faultline._core.plan import Plan, faults_of
from faultline._core.sight import Sight
from faultline._core.steps import Door, NoRoute, Refuse, Vanish
from faultline._net import addresses, connects, ending
from faultline._net.syns import Syn, Syns
from faultline._servers.lapse import ignore
from faultline._servers.listener import Listener
from faultline._servers.loop import Background

if TYPE_CHECKING:
    import socket

    from faultline._servers.address import Address

# How the ledger calls the end of an attempt that the listener refuses, drops, or never sees.
ENDS: dict[type, How] = {Refuse: "RST", Vanish: "silence", NoRoute: "no route"}
KEPT_SYNS = 1024  # to know a SYN that comes again
LATE = "connected while the port was being closed, because several clients connected at once"

K = TypeVar("K")
V = TypeVar("V")


class Doorkeeper:
    """Sets the listener's step to that of the next fault, and records the connects that the listener never sees."""

    def __init__(
        self,
        *,
        background: Background,
        dealer: Dealer,
        ledger: Ledger,
        listener: Listener,
        address: Address,
        on_error: Callable[[BaseException], None],
        on_break: Callable[[BaseException], None],
    ) -> None:
        self._background = background
        self._dealer = dealer
        self._ledger = ledger
        self._listener = listener
        self._address = address
        self._on_error = on_error
        self._on_break = on_break  # the plan can't be followed any more
        self._watch: connects.Watch | None = None
        self._syns: Syns | None = None
        self._heard: dict[tuple[str, int, int], Syn] = {}  # the SYNs so far, because TCP repeats them
        self._silent: dict[tuple[str, int, int], Entry] = {}  # the attempts that got silence for a time, by their SYN
        # The same by socket, where no SYN is seen; and of both those that get through, by their address.
        self._callers: weakref.WeakKeyDictionary[socket.socket, Entry] = weakref.WeakKeyDictionary()
        self._through: dict[tuple[str, int], Entry] = {}
        self._foretold = 0  # how many connects had an event, and were to be accepted
        self._accepted = 0
        self._has_no_route = False  # whether a plan leads where no SYN comes
        self._held: list[socket.socket] = []  # clients that were accepted just before a black hole
        self._is_closed = False
        self.is_partitioned = self.is_cut_off = False

    # --- called from other threads -----------------------------------------------------------------------------------

    def count(self, plan: Plan) -> None:
        """Count connects from now on if a fault of the plan strikes at a connect."""
        doors = {type(fault.door) for fault in faults_of(plan) if fault.door is not None}
        if self._watch is None and doors - {NoRoute}:
            self._syns = self._address.hear()
            if self._syns is not None:
                self._background.call(partial(self._listener.hear, self._syns, self._on_syn), self._on_break)
        if self._watch is None and doors:  # also with packets, so that connects of several threads come in turn
            self._watch = self._address.watch(self._on_connect)
        self._has_no_route = self._has_no_route or NoRoute in doors

    @property
    def sight(self) -> Sight:
        """Which connects the door can count."""
        counts_all = self._watch is None or (self._syns is not None and not self._has_no_route)
        return Sight(counts_all, has_unseen_clients=not counts_all and self._accepted > self._foretold)

    def before_connect(self, caller: socket.socket | None = None) -> bool:
        """Prepare for a connect of this process; return whether the kernel will leave it without an answer.

        The attempt is recorded if the kernel will answer it.
        """
        if self._is_closed:
            return False
        if not own_thread.is_loops():
            return self._background.call(partial(self._before_connect, caller), self._on_break)
        return connects.counts_own_connects() and self._before_connect(caller)  # a relay's; others fill an accept queue

    def stop_counting(self) -> None:
        """Count connects no longer."""
        self._is_closed = True
        if self._watch is not None:
            connects.forget(self._watch)

    def _on_connect(self, caller: socket.socket) -> bool:
        """Run before a connect of this process, in the client's thread."""
        try:
            return self.before_connect(caller)
        except Exception as error:  # noqa: BLE001 - a bug in faultline must not reach the client
            self._on_error(error)
            return True

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def set_step(self) -> None:
        """Set the listener's step to that of the next fault."""
        self._dealer.pass_open_gates()
        step = Vanish() if self.is_partitioned else self._dealer.upcoming().door
        step = Refuse() if self.is_cut_off else step
        if step is None and self._callers:
            self._let_callers_in()
        try:
            self._listener.set_step(step)
        except OSError as error:  # no descriptors are left, or the folder of a Unix socket is gone
            self._on_break(error)
            raise

    def refuse_waiting(self) -> None:
        """Refuse the connects that wait at a black hole, whose next SYN may be long in coming; others ignore it."""
        if self._syns is not None:
            for syn in self._heard.values():
                self._syns.refuse(syn)

    def end_step(self) -> None:
        """Go on with the next fault, because the time of a refusal or a black hole is over, or its gate open."""
        if not self._dealer.following().has_open_gate:
            self._dealer.deal()
        self.set_step()

    def admits(self, client: socket.socket) -> bool:
        """Whether an accepted client meets a fault of an open connection.

        A client can be accepted while the door is being shut, if several connect at once. It meets the fault of the
        door as far as that is possible: RST instead of a refusal, or silence.
        """
        self._accepted += 1
        door = self._dealer.upcoming().door
        if door is None or isinstance(door, NoRoute) or self.is_partitioned or self._listener.is_open:
            return True
        self._meet(door, LATE)
        if isinstance(door, Refuse):
            ending.send_rst(client)
        else:
            self._held.append(client)
        return False

    def waited(self, address: object) -> Entry | None:
        """The attempt of an accepted client whose connect waited at a black hole."""
        if not (self._silent or self._through) or (caller := addresses.caller(address)) is None:
            return None
        self._listener.hear_all()
        return self._through.pop(caller, None)

    def close(self) -> None:
        """Close the clients that got silence."""
        for client in self._held:
            client.close()
        self._silent.clear()
        self._callers.clear()
        self._through.clear()
        self._on_error = self._on_break = ignore  # a cycle would keep the ledger
        if self._watch is not None:
            self._watch = replace(self._watch, on_connect=lambda _: True)

    def _let_callers_in(self) -> None:
        """Take note of the ports of the callers that still wait, because the port is opened now."""
        for sock, entry in self._callers.items():
            with contextlib.suppress(OSError):  # it is closed
                if (caller := addresses.caller(sock.getsockname())) is not None:
                    remember(self._through, caller, entry)
        self._callers.clear()

    def _before_connect(self, caller: socket.socket | None) -> bool:
        if self._is_closed:
            return True
        if self.is_cut_off:
            return False
        self._listener.drain()  # clients that came before meet the plan before
        self.set_step()
        door = self._dealer.upcoming().door
        if isinstance(door, NoRoute) or (self._syns is None and door is not None and not self._listener.is_open):
            entry = self._meet(door)
            if isinstance(door, Vanish) and caller is not None:
                self._callers[caller] = entry
        else:  # the fault is dealt when the connection is accepted, or the SYN comes
            self._foretold += 1
        return isinstance(self._listener.step, Vanish)

    def _meet(self, door: Door, note: str = "", waited: Entry | None = None) -> Entry:
        """Record that a connect has met the next fault, and deal it, unless it lasts for a time."""
        entry = self._ledger.begin(None, self._dealer.upcoming(), "connect", waited)
        entry.note = note
        self._ledger.strike(entry, "connect", 0)
        self._ledger.end(entry, "server", ENDS[type(door)])
        if not self._dealer.upcoming().opens_later:
            self._dealer.deal()
        return entry

    def _on_syn(self, syn: Syn) -> None:
        """Record a SYN that was dropped, and answer it; TCP has answered it if the port is open."""
        assert self._syns is not None
        if self._listener.is_open:
            self._gets_through(syn)
            return
        try:
            step = self._repeated(syn) if syn.key in self._heard else self._taken(syn)
        except Exception as error:  # noqa: BLE001 - a bug in faultline must not reach the client
            self._on_error(error)
            step = self._listener.step
        if isinstance(step, Refuse):
            self._syns.refuse(syn)
        elif step is None:
            self._syns.repeat(syn)

    def _gets_through(self, syn: Syn) -> None:
        """Take note that the client of a SYN is accepted next: a client that waits, or another with the same port."""
        caller = addresses.caller(syn.key[:2])
        assert caller is not None
        self._through.pop(caller, None)
        if (entry := self._silent.pop(syn.key, None)) is not None:
            remember(self._through, caller, entry)

    def _repeated(self, syn: Syn) -> Door | None:
        """Return how a SYN that TCP repeats is to be answered; a refusal is met by the attempt that waited till now."""
        step, door, entry = self._listener.step, self._dealer.upcoming().door, self._silent.get(syn.key)
        if entry is not None and isinstance(door, Refuse) and not (self.is_partitioned or self.is_cut_off):
            del self._silent[syn.key]
            self._meet(door, waited=entry)
            self.set_step()
        return step

    def _taken(self, syn: Syn) -> Door | None:
        """Record a SYN that TCP doesn't merely repeat; return how it is to be answered."""
        remember(self._heard, syn.key, syn)
        self.set_step()
        step, door = self._listener.step, self._dealer.upcoming().door
        if step is not None and door is not None and not (self.is_partitioned or self.is_cut_off):
            entry = self._meet(door)
            if isinstance(step, Vanish):
                remember(self._silent, syn.key, entry)
            if isinstance(step, Refuse):  # before the client observes it, because its next connect meets the next fault
                self.set_step()
        return step


def remember(table: dict[K, V], key: K, value: V) -> None:
    """Add to a table of clients that wait, of which the oldest is forgotten when there are many."""
    table[key] = value
    if len(table) > KEPT_SYNS:
        del table[next(iter(table))]
