"""One proxy of the API: a server that is opened, closed and changed, and its toxics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from faultline._core.attempts import Attempt
from faultline._core.errors import ParameterError, PortError, UnsupportedError
from faultline._core.hosts import hostport
from faultline._front.control.errors import known_toxic, no_toxic, not_accepted, not_done, unsupported
from faultline._front.control.fields import Fields
from faultline._front.control.shapes import Shape
from faultline._front.control.toxics import STREAMS, Toxic, faults_of, new_toxic, plan_of

if TYPE_CHECKING:
    from faultline._core.plan import Plan
    from faultline._core.upstream import Upstream
    from faultline._servers.address import Tcp
    from faultline._servers.dns import DnsServer
    from faultline._servers.server import Server

OnEnd = Callable[[str, Attempt], None]


@dataclass(frozen=True)
class Terms:
    """What holds for all proxies of an API.

    Attributes:
        allow_remote: whether upstreams and clients may be on other machines.
        on_end: called with the name of the proxy and with each attempt that has ended, in the loop's thread.
        on_over: called with a server that is over, to close it.
        seed: of the random choices; `None` for those of the process.
    """

    allow_remote: bool
    on_end: OnEnd
    on_over: Callable[[Server | DnsServer], None]
    seed: int | None = None


@dataclass
class Traffic:
    """What the connections of a proxy have carried.

    Attributes:
        received_bytes: from clients.
        sent_bytes: to clients.
    """

    received_bytes: int = 0
    sent_bytes: int = 0

    def add(self, attempts: Iterable[Attempt]) -> None:
        """Add what attempts have carried."""
        for attempt in attempts:
            self.received_bytes += attempt.received_bytes
            self.sent_bytes += attempt.sent_bytes


@dataclass
class Proxy:
    """A proxy.

    A disabled proxy keeps its port and refuses clients, so that no other program can take the port meanwhile.

    Attributes:
        name: its name.
        listen: its address, as it was given; the real one while there is a server.
        upstream: the address of its upstream, as it was given; empty if it has none.
        shape: what it is.
        enabled: whether it accepts clients.
        server: the server; `None` if the address could not be bound.
        toxics: its toxics, in order of creation.
    """

    terms: Terms
    name: str
    listen: str
    upstream: str
    shape: Shape = field(default_factory=Shape)
    enabled: bool = False
    server: Server | DnsServer | None = None
    toxics: list[Toxic] = field(default_factory=list)
    _ended: Traffic = field(default_factory=Traffic)

    def to_dict(self) -> dict[str, Any]:
        """The proxy as data for JSON."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "toxics": [toxic.to_dict() for toxic in self.in_order()],
            **self.shape.shown(self.server),
        }

    def in_order(self) -> list[Toxic]:
        """The toxics of the upstream and then those of the downstream, each in order of creation."""
        return [toxic for stream in STREAMS for toxic in self.toxics if toxic.stream == stream]

    # --- open and closed ---------------------------------------------------------------------------------------------

    def set(self, *, enabled: bool) -> None:
        """Accept clients from now on, or close the connections and refuse new ones.

        Raises:
            ApiError: the address can't be bound, or the upstream is elsewhere.
        """
        server = self.server or self._opened()
        if enabled:
            server.cut_off(is_cut_off=False)
        else:
            self._close_all(server)
            server.cut_off()
        self.enabled = enabled

    def _opened(self) -> Server | DnsServer:
        """Bind the address.

        Raises:
            ApiError: the address can't be bound, or the upstream is elsewhere.
        """
        from faultline._servers.running import Upkeep

        address, upstream = self.places()
        self.listen = hostport(address.host, address.port)
        upkeep = Upkeep(parks=False, scope=self._scope)  # because a toxic may be removed
        try:
            with refusing():
                self.server = self.shape.start(
                    plan_of(self.toxics, self.shape), address, upstream, self._on_end, upkeep
                )
        except PortError as error:
            why = str(getattr(error.__cause__, "strerror", error)).lower()  # no cause: no port is free at all
            raise not_done(f"listen tcp {self.listen}: bind: {why}") from None
        self.listen = hostport(self.server.host, self.server.port)
        return self.server

    @property
    def _scope(self) -> str:
        """The scope of its random choices, which no other proxy changes; empty for that of the process."""
        return "" if self.terms.seed is None else f"{self.terms.seed}/{self.name}"

    def stop(self) -> None:
        """Close the connections and release the port."""
        server, self.server, self.enabled = self.server, None, False
        if server is not None:
            self._close_all(server)
            self.terms.on_over(server)

    def _close_all(self, server: Server | DnsServer) -> None:
        """End the connections of a server, if it has any, by FIN."""
        if self.shape.kind != "dns":
            cast("Server", server).close_all()

    def leads(self, listen: str | None, upstream: str | None) -> bool:
        """Whether the proxy listens there already, and has that upstream; what is not given is the same.

        Raises:
            ApiError: an address is none, or is on another machine.
        """
        address, _ = replace(self, listen=listen or self.listen, upstream=upstream or self.upstream).places()
        return hostport(address.host, address.port) == self.listen and upstream in (None, "", self.upstream)

    def places(self) -> tuple[Tcp, Upstream | None]:
        """Where the proxy listens, and where its upstream is.

        Raises:
            ApiError: an address is none, or is on another machine.
        """
        from faultline._servers.control.places import listening, upstream_at

        with refusing():
            allow_remote = self.terms.allow_remote
            upstream = upstream_at(self.upstream, allow_remote=allow_remote) if self.upstream else None
            return listening(self.listen, allow_remote=allow_remote), upstream

    def move(self, listen: str | None, upstream: str | None) -> None:
        """Stop, and have another address or another upstream from the next start on."""
        self.stop()
        self.listen, self.upstream = listen or self.listen, upstream or self.upstream

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _on_end(self, attempt: Attempt) -> None:
        self._ended.add([attempt])
        self.terms.on_end(self.name, attempt)

    def traffic(self) -> Traffic:
        """What the connections have carried, those that are over and those that are open."""
        now = replace(self._ended)
        if self.server is not None:
            now.add(attempt for attempt in self.server.ledger.attempts if attempt.ended_seconds is None)
        return now

    # --- toxics ------------------------------------------------------------------------------------------------------

    def toxic(self, name: str) -> Toxic:
        """The toxic of a name.

        Raises:
            ApiError: there is none.
        """
        found = next((toxic for toxic in self.toxics if toxic.name == name), None)
        if found is None:
            raise no_toxic()
        return found

    def add(self, given: Fields) -> Toxic:
        """Add the toxic that a body describes, to live connections too.

        Raises:
            ApiError: there is one of that name, or the body is wrong.
        """
        toxic = new_toxic(given)
        if any(other.name == toxic.name for other in self.toxics):
            raise known_toxic()
        self._adopt([*self.toxics, toxic])
        return toxic

    def change(self, name: str, given: Fields) -> Toxic:
        """Change a toxic, on live connections too.

        Raises:
            ApiError: there is none of that name, or the body is wrong.
        """
        before = self.toxic(name)
        after = before.changed(given)
        self._adopt([after if toxic is before else toxic for toxic in self.toxics])
        return after

    def remove(self, name: str) -> None:
        """Remove a toxic; when this returns it acts on no connection any more.

        Raises:
            ApiError: there is none of that name.
        """
        gone = self.toxic(name)
        self._adopt([toxic for toxic in self.toxics if toxic is not gone])

    def remove_all(self) -> None:
        """Remove every toxic."""
        if self.toxics:
            self._adopt([])

    def _adopt(self, toxics: list[Toxic]) -> None:
        """Have these toxics from now on, if a relay can play them.

        Raises:
            ApiError: a relay can't play a plan, or this user may not.
        """
        plan = plan_of(toxics, self.shape)
        if self.server is not None:
            with refusing():
                self._become(plan, goes_on=faults_of(toxics) == faults_of(self.toxics))
        self.toxics = toxics

    def _become(self, plan: Plan, *, goes_on: bool) -> None:
        """Have the server play a plan, on open connections too; with `goes_on` only the conditions have changed."""
        if self.shape.kind == "dns":
            cast("DnsServer", self.server).become(plan)
        elif goes_on:
            cast("Server", self.server).go_on(plan)
        else:
            cast("Server", self.server).become(plan, open_too=True)

    def let_go(self) -> None:
        """Let pass what a pause or a partition holds."""
        if self.shape.kind != "dns":
            for name in ("resume", "heal"):
                self.control(name)

    def control(self, name: str) -> int:
        """Apply a control of a server to the open connections; return how many there are.

        Raises:
            ApiError: this user may not, or the proxy has no connections.
        """
        if self.shape.kind == "dns":
            raise not_accepted(f"{name}: expected a proxy with connections; one of the kind dns answers lookups.")
        with refusing():
            return 0 if self.server is None else int(getattr(self.server, name)())


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn faultline's refusals into those of the API.

    Raises:
        ApiError: a value is not accepted, or this machine or this user can't do it.
    """
    try:
        yield
    except UnsupportedError as error:
        raise unsupported(error) from None
    except ParameterError as error:
        raise not_accepted(error) from None
