"""A running server: its listener, its plan and its connections, in the process that has the loop."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from faultline._core import chance
from faultline._core.answers import Answer
from faultline._core.certificates import Certificate, Terms
from faultline._core.ends import How
from faultline._core.ledger import Ledger
from faultline._core.plan import Dealer, Plan, faults_of
from faultline._core.steps import NoRoute, Refuse, Vanish
from faultline._core.upstream import Route, Upstream
from faultline._engine.service import Service, Talk
from faultline._net import connects
from faultline._net.authority import AUTHORITY
from faultline._servers.connections import Connections, Control
from faultline._servers.loop import background

if TYPE_CHECKING:
    from faultline._net.tls import ServerContext
    from faultline._servers.address import Address

# How the ledger calls the end of an attempt that the listener refuses, drops, or never sees.
ENDS: dict[type, How] = {Refuse: "RST", Vanish: "silence", NoRoute: "no route"}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings of a server, as a value that can be sent to another process.

    Attributes:
        plan: the faults of the attempts.
        talk: the module of `_engine/talks` with the protocol.
        address: the address to listen on.
        default: the answer to a request, unless the fault has an answer.
        tls: whether a connection begins with TLS.
        terms: the terms of TLS, unless the fault has terms.
        upstream: the server behind a relay.
        route: the target of a proxy, and the name and password that its clients have to send.
    """

    plan: Plan
    talk: str
    address: Address
    default: Answer
    tls: bool
    terms: Terms
    upstream: Upstream | None = None
    route: Route = field(default_factory=Route)


class Running:
    """A running server in this process.

    Rules: the public methods are called from other threads than the loop's.

    Attributes:
        ledger: the record of all attempts.
        connections: the open connections.
        address: the address, with the port that was bound.
        authority: the CA that signs the server's certificates.
    """

    authority = AUTHORITY

    def __init__(self, setup: Setup, ledger: Ledger) -> None:
        self._setup = setup
        self.ledger = ledger
        self._errors: list[BaseException] = []
        self._is_closed = False
        self._watch: connects.Watch | None = None
        self._background = background()
        self._dealer = Dealer(setup.plan)
        service = Service(
            dealer=self._dealer,
            ledger=ledger,
            talk=talk_of(setup),
            default=setup.default,
            tls=setup.tls,
            terms=setup.terms,
            context=self._context,
            chance=chance.generator,
            on_dealt=self._set_listener,
            upstream=setup.upstream,
            route=setup.route,
        )
        self.connections = Connections(service, setup.address.wire, self._background.departures, self._on_end)
        self._make_contexts(setup.plan)
        self._listener, address = setup.address.listen(self._dealer.upcoming().door)
        self.address: Address = address
        self._narrow(setup.plan)
        self._background.loop.call_soon_threadsafe(
            partial(
                self._listener.start,
                self._background.loop,
                self.connections.accept,
                self._errors.append,
                self._on_listener_over,
            )
        )
        self._watch_connects(setup.plan)

    def _make_contexts(self, plan: Plan) -> None:
        """Make the TLS contexts of a plan in the caller's thread, because that takes time and may fail."""
        for fault in faults_of(plan):
            if self._setup.tls or fault.starts_tls:
                terms = fault.terms.over(self._setup.terms) if fault.terms else self._setup.terms
                self._context(fault.certificate or Certificate(), terms)
                if fault.certificate and fault.certificate.from_connection > 1:
                    self._context(Certificate(), terms)

    def _narrow(self, plan: Plan) -> None:
        """Use small receive buffers if a fault of the plan never reads, so that senders block soon."""
        if any(fault.never_reads for fault in faults_of(plan)):
            self._listener.narrow()

    def _context(self, certificate: Certificate, terms: Terms) -> ServerContext:
        from faultline._net import contexts

        return contexts.server_context(certificate, terms, self._setup.address.certified_name)

    # --- called from other threads -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until everything that has reached the server is in the ledger."""
        self._background.settle()

    def become(self, plan: Plan, *, open_too: bool) -> None:
        """Play another plan from now on; with `open_too` on the open connections as well."""
        self._make_contexts(plan)

        def change() -> None:
            self._listener.drain()
            self._narrow(plan)
            self._dealer.change(plan)
            self._set_listener()
            self.connections.change(self._dealer, self._dealer.upcoming(), open_too=open_too)

        self._watch_connects(plan)
        self._background.call(change)

    def control(self, control: Control) -> int:
        """Apply a control to every open connection; return how many there are."""

        async def acted() -> int:
            if self._is_closed:
                return 0
            self._listener.drain()  # clients in the queue are open connections too
            tasks = self.connections.act(control)
            self._set_listener()
            if control in ("reset_all", "close_all") and tasks:
                await asyncio.wait(tasks)
            return len(tasks)

        return self._background.run(acted())

    def before_connect(self) -> None:
        """Prepare the listener for a connect of this process, and record the attempt if the kernel will answer it."""
        if self._background.is_current():  # the loop connects to fill an accept queue, and for relays, which count
            if connects.counts_own_connects():
                self._before_connect()
            return
        self._background.call(self._before_connect)

    def stop(self) -> list[BaseException]:
        """Release the address and end every connection; return the errors inside the server while it ran."""
        if not self._is_closed:
            self._is_closed = True
            if self._watch is not None:
                connects.forget(self._watch)
            self._background.run(self._stop())
        errors, self._errors = self._errors, []
        return errors

    # --- connects that the kernel answers ----------------------------------------------------------------------------

    def _watch_connects(self, plan: Plan) -> None:
        """Count connects of this process if a fault of the plan strikes at a connect."""
        if self._watch is None and any(fault.door is not None for fault in faults_of(plan)):
            self._watch = self.address.watch(self._on_connect)

    def _on_connect(self) -> None:
        """Run before a connect of this process, in the client's thread."""
        try:
            self.before_connect()
        except Exception as error:  # noqa: BLE001 - a bug in faultline must not reach the client
            self._errors.append(error)

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _before_connect(self) -> None:
        if self._is_closed:
            return
        self._set_listener()
        fault = self._dealer.upcoming()
        if fault.door is None or (self._listener.is_open and not isinstance(fault.door, NoRoute)):
            return  # the fault is dealt when the connection is accepted
        entry = self.ledger.begin(None, fault, "connect")
        self.ledger.strike(entry, "connect", 0)
        self.ledger.end(entry, "server", ENDS[type(fault.door)])
        if fault.door_seconds is None:
            self._dealer.deal()  # the listener keeps its step until the next connect

    def _set_listener(self) -> None:
        """Set the listener's step to that of the next fault."""
        self._listener.set_step(Vanish() if self.connections.is_partitioned else self._dealer.upcoming().door)

    def _on_listener_over(self) -> None:
        """Deal the next fault, because the time of a refusal or a black hole is over."""
        self._dealer.deal()
        self._set_listener()

    def _on_end(self, error: BaseException | None) -> None:
        """Take note that a conversation has ended."""
        if error is not None:
            self._errors.append(error)
        if not self._is_closed:
            self._listener.resume()  # it may have stopped because no descriptors were left

    async def _stop(self) -> None:
        self._listener.drain()  # clients in the queue meet the plan, and are recorded
        await self._background.settled()
        self._listener.close()
        await self.connections.stop()


def talk_of(setup: Setup) -> Talk:
    """The protocol that a server speaks: the function `converse` of the module of its name."""
    talk: Talk = importlib.import_module(f"faultline._engine.talks.{setup.talk}").converse
    return talk
