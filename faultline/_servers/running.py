"""A running server: its listener, its plan and its connections, in the process that has the loop."""

from __future__ import annotations

import asyncio
import functools
import importlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from faultline._core import chance, own_thread
from faultline._core.answers import Answer
from faultline._core.certificates import Certificate, Terms
from faultline._core.chance import Scope
from faultline._core.dealer import Dealer
from faultline._core.ledger import Ledger
from faultline._core.plan import Plan, faults_of
from faultline._core.sight import Sight
from faultline._core.upstream import Route, Upstream
from faultline._engine.service import Service, Talk
from faultline._net.authority import AUTHORITY
from faultline._net.departures import SLOWEST_LOOK_SECONDS
from faultline._servers.connections import Connections, Control, ended
from faultline._servers.door import Doorkeeper
from faultline._servers.loop import background, owned

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from faultline._engine.conversation import Conversation
    from faultline._net.tls import ServerContext
    from faultline._servers.address import Address

T = TypeVar("T")
FIRST_LOOK_SECONDS = 0.0002


@dataclass(frozen=True)
class Upkeep:
    """What the control API asks of the servers that it makes, and what the ledger records.

    Attributes:
        parks: whether a silence without end takes no task; then nothing but the end of the connection can follow.
        scope: the name of the server's own scope of chance; empty for that of the process.
        record_bytes: the most bytes of whole conversations that the ledger keeps.
    """

    parks: bool = True
    scope: str = ""
    record_bytes: int = 0


USUAL = Upkeep()


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
        upkeep: what the control API asks of its servers, and what the ledger records.
    """

    plan: Plan
    talk: str
    address: Address
    default: Answer
    tls: bool
    terms: Terms
    upstream: Upstream | None = None
    route: Route = field(default_factory=Route)
    upkeep: Upkeep = USUAL


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
        self._is_closed = self._is_broken = False
        self._stopping: asyncio.Task[None] | None = None
        self._background = background()
        ledger.starts(self._background.settle, setup.upkeep.record_bytes)
        make = Scope(setup.upkeep.scope).generator if setup.upkeep.scope else chance.generator
        self._dealer = Dealer(setup.plan, make)
        service = Service(
            dealer=self._dealer,
            ledger=ledger,
            talk=talk_of(setup.talk),
            default=setup.default,
            tls=setup.tls,
            terms=setup.terms,
            context=self._context,
            chance=make,
            on_dealt=self._set_listener,
            upstream=setup.upstream,
            route=setup.route,
            parks=setup.upkeep.parks,
        )
        self.connections = Connections(service, setup.address.wire, self._background.departures, self._on_end)
        self._dealer.count_connections = self.connections.count
        self._make_contexts(setup.plan)
        self._listener, address = setup.address.listen(self._dealer.upcoming().door)
        self.address: Address = address
        self._narrow(setup.plan)
        self._start()

    def _start(self) -> None:
        """Accept clients from now on."""
        self._door = Doorkeeper(
            background=self._background,
            dealer=self._dealer,
            ledger=self.ledger,
            listener=self._listener,
            address=self.address,
            on_error=self._keep,
            on_break=self._break,
        )
        start = partial(
            self._listener.start, self._background.loop, self._accept, self._errors.append, self._door.end_step
        )
        owned(start, self._break)
        self._door.count(self._setup.plan)

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

    def become(self, plan: Plan, *, open_too: bool, goes_on: bool) -> None:
        """Play another plan from now on, as `Process.become` says."""
        self._make_contexts(plan)

        def change() -> None:
            if self._is_broken:
                return
            self._listener.drain()
            self._narrow(plan)
            if goes_on:
                self._dealer.go_on(plan)
                self.connections.go_on(self._dealer)
                return
            self._dealer.change(plan)
            self._set_listener()
            self.connections.change(self._dealer, self._dealer.following(), open_too=open_too)

        if open_too or goes_on:
            self.settle()  # connections that clients have ended are over
        self._door.count(plan)
        self._called(change)

    def _called(self, function: Callable[[], T]) -> T:
        """Call a function in the loop's thread; an error there is that of the caller, and not of `close` too."""
        try:
            return self._background.call(function, self._break)
        except OSError as error:
            if error in self._errors:
                self._errors.remove(error)
            raise

    def control(self, control: Control) -> int:
        """Apply a control to every open connection; return how many there are."""
        conversations = self._called(partial(self._act, control))
        if control in ("reset_all", "close_all"):
            self._background.run(partial(ended, conversations))
        return len(conversations)

    def cut_off(self, *, is_cut_off: bool) -> None:
        """Reset every connection and refuse new ones, or let clients in again."""

        def cut() -> list[Conversation]:
            self._door.is_cut_off = is_cut_off
            conversations = []
            if is_cut_off:
                conversations = self._act("reset_all")
                self._door.refuse_waiting()
            elif not self._is_closed:
                self._set_listener()
            return conversations

        self._background.run(partial(ended, self._called(cut)))

    def still_open(self) -> tuple[int, ...]:
        """The numbers of the connections that the server has not ended."""
        self._background.settle()
        self._background.call(self._drain)
        return self._background.call(self.connections.still_open)

    def held(self, for_seconds: float) -> tuple[int, ...]:
        """Wait until clients hold no connection, at most for this time; return the numbers of those that they hold."""
        self._background.settle()
        if for_seconds:
            self._background.run(partial(self._until_none_held, for_seconds))
            self._background.settle()  # the server sees the last client leave, too
        return self._background.call(self._held_now)

    def before_connect(self) -> bool:
        """Prepare for a connect of this process; return whether the kernel will leave it without an answer."""
        return self._door.before_connect()

    @property
    def sight(self) -> Sight:
        """Which connects at the door the server can count."""
        return self._door.sight

    def stop(self) -> list[BaseException]:
        """Release the address and end every connection; return the errors inside the server while it ran."""
        if not self._is_closed:
            self._is_closed = True
            self._door.stop_counting()
        if not own_thread.is_loops() and self._listener.close_unused():
            self._door.close()
            self.connections.forget()
        else:
            self._background.run(self._stop)
        errors, self._errors = self._errors, []
        return errors

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _keep(self, error: BaseException) -> None:
        """Keep an error for the end of the server, once."""
        if not any(kept is error for kept in self._errors):
            self._errors.append(error)

    def _break(self, error: BaseException) -> None:
        """Keep an error in a callback, and end everything, because the plan can't be followed any more."""
        self._keep(error)
        self._is_broken = True
        self._door.stop_counting()
        self._listener.close()
        self.connections.cancel()

    def _drain(self) -> None:
        """Accept the clients in the queue, whose connections are open too."""
        if not (self._is_closed or self._is_broken):
            self._listener.drain()

    def _held_now(self) -> tuple[int, ...]:
        """The numbers of the connections that clients hold; none that was reset, though over Unix its socket lives."""
        self._drain()
        held = self.connections.held()
        reset = {each.connection for each in self.ledger.attempts if each.ended_how == "RST"} if held else set()
        return tuple(number for number in held if number not in reset)

    async def _until_none_held(self, for_seconds: float) -> None:
        """Wait until clients hold no connection; no event tells of a client that leaves after the server's end."""
        pause, until = FIRST_LOOK_SECONDS, self._background.loop.time() + for_seconds
        while self._held_now() and (left := until - self._background.loop.time()) > 0:
            await self._background.departures.pause(min(pause, left))
            pause = min(pause * 1.5, SLOWEST_LOOK_SECONDS)

    def _accept(self, sock: socket.socket, address: object) -> None:
        if self._door.admits(sock):
            self.connections.accept(sock, self._door.waited(address))

    def _act(self, control: Control) -> list[Conversation]:
        """Apply a control to every open connection; return the conversations."""
        if self._is_closed or self._is_broken:
            return []
        self._drain()
        conversations = self.connections.act(control)
        self._door.is_partitioned = self.connections.is_partitioned
        self.ledger.held_by_test = self.connections.held_by_test
        self._set_listener()
        return conversations

    def _set_listener(self) -> None:
        """Set the listener's step to that of the next fault."""
        if not self._is_broken:
            self._door.set_step()

    def _on_end(self, error: BaseException | None) -> None:
        """Take note that a conversation has ended."""
        if error is not None:
            self._keep(error)
        if not self._is_closed:
            self._listener.resume()  # it may have stopped because no descriptors were left

    def _stop(self) -> asyncio.Task[None] | None:
        """Release the address; return the task that ends the connections, if there are any."""
        if self._stopping is None:
            self._listener.drain()  # clients in the queue meet the plan, and are recorded
            if self.connections.are_over:
                self._release()
                self.connections.forget()
            else:
                self._listener.rest()  # clients after those are reset
                self._stopping = self._background.loop.create_task(self._end_connections())
        return self._stopping

    async def _end_connections(self) -> None:
        """Let the connections take note of what has reached them, and end them."""
        await self._background.settled(lambda: self.connections.are_over)
        self._release()
        await self.connections.stop()

    def _release(self) -> None:
        """Release the address."""
        self._listener.close()
        self._door.close()


@functools.cache
def talk_of(name: str) -> Talk:
    """The protocol of a name: the function `converse` of the module of this name."""
    return cast("Talk", importlib.import_module(f"faultline._engine.talks.{name}").converse)
