"""What the user holds: a server that misbehaves as planned, from start to a bounded stop.

Rules of this room: the port is bound and listening before the constructor returns, so a client may connect at
once. Everything else happens in the background loop; public methods may be called from any other thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from faultline._core import chance
from faultline._core.certificates import Certificate, Terms
from faultline._core.check import choice, flag, rejected
from faultline._core.errors import NotStruckError, ParameterError, ServerError
from faultline._core.fault import Fault
from faultline._core.guard import unmet
from faultline._core.hosts import NOWHERE
from faultline._core.ledger import Attempt, How, Ledger
from faultline._core.plan import Dealer, Plan, checked_plan, faults_of
from faultline._core.report import draw
from faultline._core.steps import NoRoute, Refuse, Vanish
from faultline._core.upstream import Route, Upstream
from faultline._engine.conversation import Conversation
from faultline._engine.feasible import Role, Site, check_faults, checked_answer
from faultline._engine.service import Service, Talk
from faultline._engine.talks import http1, http_proxy, relay, socks_proxy
from faultline._net import connects, sockets
from faultline._net.authority import Authority
from faultline._net.wire import Wire
from faultline._servers.address import Place
from faultline._servers.controls import Controls
from faultline._servers.endpoint import Told
from faultline._servers.listener import Door
from faultline._servers.loop import SETTLE_TURNS, background

if TYPE_CHECKING:
    from faultline._net.tls import ServerContext


Tls: TypeAlias = bool | Literal["mutual"]
MUTUAL = Terms("mutual", client="required")


# How the door ends an attempt.
ENDS: dict[type, How] = {Refuse: "RST", Vanish: "silence", NoRoute: "no route"}


class Server(Told, Controls, Place, Authority):
    """A server on this machine that does to its clients what the plan says.

    Made by `faultline.serve`; a context manager that stops the server, raises what went wrong inside it, and
    fails if a planned fault never struck (`strict=False` leaves that out).
    """

    _is_unix = False

    def __init__(
        self,
        plan: Plan,
        *,
        tls: Tls = False,
        answer: Fault | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        upstream: Upstream | None = None,
        role: Role = "server",
        route: Route | None = None,
        ledger: Ledger | None = None,
        on_end: Callable[[Attempt], None] | None = None,
    ) -> None:
        sockets.require_linux()
        self.host, number = sockets.checked_address(host, port)
        self._default = checked_answer(answer)
        self._strict = flag("strict", strict)
        self._plans = [checked_plan(plan)]
        self._faults = faults_of(plan)
        if isinstance(tls, (int, float)) and not isinstance(tls, bool):  # 1 is equal to True, and is none
            raise rejected("tls", tls, "one of False, True, 'mutual'")
        choice("tls", tls, (False, True, "mutual"))
        self._terms = MUTUAL if tls == "mutual" else Terms()
        self._tls = bool(tls) or self._default.needs_tls or any(f.needs_tls for f in self._faults)
        self._site = Site(self._default, self._tls, self._terms, self.host, role, self._is_unix)
        check_faults(self._faults, self._site)
        self._errors: list[BaseException] = []
        self._conversations: dict[Conversation, None] = {}  # in order of their connects
        self._connections = 0
        self._closed = False
        self._watch: connects.Watch | None = None
        self.ledger = ledger or Ledger(on_end)
        self._dealer = Dealer(plan)
        self._service = Service(
            dealer=self._dealer,
            ledger=self.ledger,
            talk=talk_of(role, upstream, route or Route()),
            default=self._default,
            tls=self._tls,
            terms=self._terms,
            context=self._context,
            chance=chance.generator,
            on_dealt=self._set_door,
        )
        self._make_contexts(self._faults)
        self._background = background()
        self._door = self._make_door(number)
        if any(fault.never_reads for fault in self._faults):
            self._door.narrow()
        self._background.loop.call_soon_threadsafe(
            self._door.start, self._background.loop, self._welcome, self._errors.append, self._on_door_over
        )
        self._watch_arrivals()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine, as `socket.create_connection` takes them."""
        nowhere = isinstance(self._dealer.upcoming().door, NoRoute)
        return NOWHERE if nowhere else sockets.reachable(self.host), self.port

    # --- what happened -----------------------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What happened, attempt by attempt: all that a client could have observed is in it."""
        if not self._closed:
            self._background.settle()
        return self.ledger.attempts

    def drawing(self) -> str:
        """What happened, as text: client left, server right, times, byte counts, the strike marked."""
        attempts = self.attempts
        return draw(attempts, f"{self.url} {self._plans[-1]!r}")

    # --- what it does ------------------------------------------------------------------------------------

    def become(self, plan: Plan, *, open_too: bool = False) -> None:
        """Change the plan, on the same port and at once: what begins after this returns meets the new plan.

        An attempt under way keeps its fault, unless `open_too`: then it meets the next fault of the new plan from
        the next byte on. A connection that is idle is closed if the new plan's first fault needs a new one.

        Raises:
            ParameterError: no plan, or one that needs TLS on a server without it.
        """
        plan = checked_plan(plan)
        faults = faults_of(plan)
        if not self._tls and any(f.needs_tls for f in faults):
            raise ParameterError(f"plan={plan!r}: expected a server with TLS; start it with tls=True.")
        check_faults(faults, self._site)
        if self._closed:
            raise ServerError(f"{self!r}: expected an open server; it was closed.")
        self._make_contexts(faults)
        self._plans.append(plan)
        self._faults = faults
        self._background.call(lambda: self._change(plan, open_too=open_too))
        self._watch_arrivals()

    @contextlib.contextmanager
    def becoming(self, plan: Plan) -> Iterator[None]:
        """Have another plan for a while: `with server.becoming(refuse()): …`; then the one before, from its start.

        Raises:
            ParameterError: as `become`.
        """
        before = self._plans[-1]
        self.become(plan)
        try:
            yield
        finally:
            self.become(before)

    def _change(self, plan: Plan, *, open_too: bool) -> None:
        self._door.drain()
        if any(fault.never_reads for fault in self._faults):
            self._door.narrow()
        self._dealer.change(plan)
        upcoming = self._dealer.upcoming()
        self._door.put(upcoming.door)
        for conversation in list(self._conversations):
            if not conversation.ends_if_idle(upcoming) and open_too:
                conversation.meet(self._dealer.deal())

    @property
    def plan(self) -> Plan:
        """What it plays now."""
        return self._plans[-1]

    def close(self) -> None:
        """Stop now: the port is free and every connection closed when this returns. Twice is once.

        Raises:
            ServerError: something broke inside the server while it ran.
        """
        if not self._closed:
            self._closed = True
            self._forget_arrivals()
            self._background.run(self._stop())
        self._raise_errors()

    def check_struck(self) -> None:
        """The guard: see that each planned fault that could be seen did strike.

        Raises:
            NotStruckError: one did not; says what happened instead.
        """
        whys = [why for plan in self._plans if (why := unmet(plan, self.attempts, self.hostport))]
        if self._strict and whys:
            raise NotStruckError(f"{whys[0]} (strict=False allows it.)")

    def __repr__(self) -> str:
        return f"<Server {self.url} {self._plans[-1]!r}{' closed' if self._closed else ''}>"

    # --- in the loop's thread ----------------------------------------------------------------------------

    def _welcome(self, sock: socket.socket) -> None:
        self._connections += 1
        conversation = Conversation(self._make_wire(sock), self._service, self._connections)
        self._conversations[conversation] = None
        conversation.start(self._background.loop, partial(self._farewell, conversation))
        if self._is_paused:
            conversation.pause()

    def _farewell(self, conversation: Conversation, error: BaseException | None) -> None:
        self._conversations.pop(conversation, None)
        if error is not None:
            self._errors.append(error)
        if not self._closed:
            self._door.resume()  # descriptors may have run out

    def _set_door(self) -> None:
        self._door.put(Vanish() if self._is_partitioned else self._dealer.upcoming().door)

    def _on_door_over(self) -> None:
        """The time of a refusal or a black hole is over: the next connect meets the next fault."""
        self._dealer.deal()
        self._set_door()

    def _watch_arrivals(self) -> None:
        """Count connects at the door, if a fault strikes there."""
        if self._watch is None and any(fault.door is not None for fault in self._faults):
            self._watch = self._new_watch()

    def _forget_arrivals(self) -> None:
        if self._watch is not None:
            connects.forget(self._watch)

    def _on_connect(self) -> None:
        """Before a connect of this process, in the client's thread: set the door right for it."""
        if self._background.is_current():  # which fills the queue of a black hole, or dials for a relay
            if connects.is_counted():
                self._knock()
            return
        try:
            self._background.call(self._knock)
        except Exception as error:  # noqa: BLE001 - it is ours, and must not become the client's
            self._errors.append(error)

    def _knock(self) -> None:
        if self._closed:
            return
        self._set_door()
        fault = self._dealer.upcoming()
        if fault.door is None or (self._door.is_open and not isinstance(fault.door, NoRoute)):
            return  # it is dealt when the connection is accepted
        entry = self.ledger.begin(None, fault, "connect")
        self.ledger.strike(entry, "connect", 0)
        self.ledger.end(entry, "server", ENDS[type(fault.door)])
        if fault.door_seconds is None:
            self._dealer.deal()  # the door stays as it is until the next one knocks

    async def _stop(self) -> None:
        self._door.drain()  # who came before is in the ledger, and met what was planned
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)
        self._door.close()
        conversations = list(self._conversations)
        for conversation in conversations:
            conversation.stop()
        if conversations:
            await asyncio.wait([conversation.task for conversation in conversations])

    def _make_contexts(self, faults: tuple[Fault, ...]) -> None:
        """Made ahead, in the caller's thread: it takes a while, and what can't be made fails there."""
        for fault in faults:
            if self._tls or fault.starts_tls:
                terms = fault.terms.over(self._terms) if fault.terms else self._terms
                self._context(fault.certificate or Certificate(), terms)
                if fault.certificate and fault.certificate.from_connection > 1:
                    self._context(Certificate(), terms)

    # --- helpers -----------------------------------------------------------------------------------------

    def _context(self, certificate: Certificate, terms: Terms) -> ServerContext:
        from faultline._net import contexts

        return contexts.server_context(certificate, terms, self._certified_name)

    @property
    def _certified_name(self) -> str:
        return sockets.reachable(self.host)

    def _make_door(self, port: int) -> Door:
        sock = sockets.claim(self.host, port)
        self.port = int(sock.getsockname()[1])
        return Door(sock, self._dealer.upcoming().door)

    def _make_wire(self, sock: socket.socket) -> Wire:
        return Wire(self._background.loop, sock, self._background.departures)

    def _new_watch(self) -> connects.Watch:
        host, _ = self.address
        return connects.watch(self.port, host, sockets.family_of(host), self._on_connect)

    def _raise_errors(self) -> None:
        errors, self._errors = self._errors, []
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise ServerError(f"the server on {self.hostport} broke: {errors[0]!r}{more}.") from errors[0]


def talk_of(role: Role, upstream: Upstream | None, route: Route) -> Talk:
    """The protocol that a server of this role speaks."""
    match role:
        case "relay":
            assert upstream is not None
            return partial(relay.converse, upstream=upstream)
        case "http proxy":
            return partial(http_proxy.converse, route=route)
        case "socks proxy":
            return partial(socks_proxy.converse, route=route)
        case _:
            return http1.converse
