"""The resolver: answers the lookups of this process by plan; each lookup is an attempt.

Like a server, a resolver has a ledger and a guard.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from faultline._core.attempts import Request
from faultline._core.calls import explained
from faultline._core.dealer import Dealer
from faultline._core.errors import ParameterError, PortError
from faultline._core.fault import Fault
from faultline._core.hosts import checked_name
from faultline._core.kinds import RESOLVER, check_plan
from faultline._core.ledger import Ledger
from faultline._core.lookups import Found, FoundLast
from faultline._core.plan import Plan, faults_of
from faultline._core.planning import checked_plan
from faultline._core.promises import ANSWER, Key
from faultline._net import system
from faultline._net.addresses import Target, gaierror
from faultline._servers.endpoint import Endpoint
from faultline._servers.names import overlay
from faultline.modes import blackhole, refuse

if TYPE_CHECKING:
    from faultline._servers.server import Server

NEIGHBOURS = tuple(f"127.0.0.{number}" for number in range(2, 255))  # other addresses with the same port


class Resolver(Endpoint, overlay.Overlay):
    """Answers this process's lookups of one name, or of all names, by plan.

    `faultline.resolve` returns resolvers. As a context manager the resolver ends with the block, restores the
    functions that it has replaced, and raises `NotStruckError` if a planned fault never struck (not with
    `strict=False`).

    .. versionadded:: 0.1

    Attributes:
        name: the host name, or `*` for all names.
        ledger: the record of all attempts.
    """

    _name = "resolver"
    _no_attempt = "no lookup came"

    def __init__(self, name: str, plan: Plan, *, strict: bool = True) -> None:
        self.name = checked_name(name)
        super().__init__(plan, strict=strict)
        self._dealer = Dealer(self.plan)
        self._over = threading.Event()
        self._hurry = threading.Event()  # ends the wait of slow lookups in other threads
        self._is_cut_off = False
        self._neighbours: dict[FoundLast, Server] = {}
        self._meet_neighbours(plan)
        self.ledger = Ledger()
        overlay.put(self)

    def _meet_neighbours(self, plan: Plan) -> None:
        """Start the refusing or silent servers that the faults of a plan need beside their own servers.

        Raises:
            ParameterError: no address is left for such a server.
        """
        try:
            for fault in faults_of(plan):
                found = fault.answer
                if isinstance(found, FoundLast) and found not in self._neighbours:
                    self._neighbours[found] = neighbour(found)
        except BaseException:
            self._close_neighbours()
            raise

    # --- as an overlay -----------------------------------------------------------------------------------------------

    def look_up(self, function: str, name: str) -> Sequence[Target] | None:
        """The addresses of a name; `None` leaves the lookup to other overlays or to the system.

        Raises:
            socket.gaierror: the lookup fails, as planned.
        """
        if self.name not in ("*", name) or self._over.is_set():
            return None
        return self._answer(function, name)

    def name_of(self, host: str) -> str | None:
        """The name of an address that the present answer has; `None` for other addresses.

        Raises:
            socket.gaierror: all lookups fail, as planned.
        """
        upcoming = self._dealer.upcoming()
        if isinstance(upcoming.answer, Found):
            known = self.name != "*" and any(host == target for target, _ in self._targets(upcoming.answer))
            return self.name if known else None
        if self.name == "*" and upcoming.break_ is not None:
            self._answer("getnameinfo", host)
        return None

    def reroute(self, host: str, port: int) -> None:
        """Leave connects unchanged."""

    def check(self, host: str, what: str) -> None:
        """Allow all hosts."""

    def _answer(self, *asked: str) -> Sequence[Target] | None:
        fault = self._dealer.deal()
        entry = self.ledger.begin(None, fault, "lookup")
        function, name = asked
        self.ledger.keep(entry, Request(function, name))
        for number, _ in enumerate(fault.conditions):
            self.ledger.strike(entry, "lookup", 0, Key("condition", number))
        was_hurried = bool(fault.conditions) and self._hurry.wait(fault.lookup_seconds)
        if self._is_cut_off or (was_hurried and not self._over.is_set()):  # clients may be let in again meanwhile
            self.ledger.end(entry, "server", "stop")
            raise gaierror("servfail")
        kind = fault_kind(fault)
        if kind:
            error = gaierror(kind)
            self.ledger.strike(entry, "lookup", 0)
            self.ledger.end(entry, "server", "no name")
            raise error
        targets = self._targets(fault.answer) if isinstance(fault.answer, Found) else None
        if isinstance(fault.answer, FoundLast):
            self.ledger.strike(entry, "lookup", 0, ANSWER)
        entry.note = (
            "left to the system or another resolver"
            if targets is None
            else f"found {', '.join(map(formatted, targets))}"
        )
        self.ledger.end(entry, "server", "answer")
        return targets

    def _targets(self, found: Found) -> tuple[Target, ...]:
        if not isinstance(found, FoundLast):
            return found.targets
        return (self._neighbours[found].address, *found.targets)

    # --- as an endpoint ----------------------------------------------------------------------------------------------

    def _checked(self, plan: object) -> Plan:
        good = checked_plan(plan)
        check_plan(good, RESOLVER)
        return good

    def _change(self, plan: Plan) -> None:
        self._meet_neighbours(plan)
        self._dealer.change(plan)

    def _stop(self) -> None:
        self._over.set()
        self._hurry.set()
        self.step_aside()
        self._close_neighbours()

    def step_aside(self) -> None:
        """Restore the functions that this resolver has replaced."""
        overlay.remove(self)

    def cut_off(self, *, is_cut_off: bool = True) -> None:
        """Fail every lookup at once, slow ones too, or answer by plan again."""
        self._is_cut_off = is_cut_off
        for server in self._neighbours.values():
            server.cut_off(is_cut_off=is_cut_off)
        if is_cut_off:
            self._hurry.set()
        elif not self._over.is_set():
            self._hurry.clear()

    def _close_neighbours(self) -> None:
        for server in self._neighbours.values():
            server.close()

    @property
    def _where(self) -> str:
        return self.name

    @property
    def _title(self) -> str:
        return f"lookups of {self.name}"

    @property
    def _no_attempt_here(self) -> str:
        return f"no lookup of {self.name!r} came through Python's socket"


def formatted(target: Target) -> str:
    """A target as text: host, or host and port."""
    host, port = target
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def fault_kind(fault: Fault) -> str:
    """The kind of failure of a fault's lookups; empty if lookups succeed."""
    return fault.lookup.kind if fault.lookup else ""


def neighbour(found: FoundLast) -> Server:
    """Start a server that refuses or is silent, on another address with the port of the fault's server.

    Raises:
        ParameterError: the port is in use on all other addresses.
        UnsupportedError: this system has no other addresses.
    """
    from faultline._servers.address import Tcp
    from faultline._servers.server import Server

    _, port = found.targets[0]
    plan = blackhole() if found.first == "blackhole" else refuse()
    if found.first != "ipv6":
        system.need("loopback range")
    hosts = ("::1",) if found.first == "ipv6" else NEIGHBOURS
    ledger = found.server.ledger if isinstance(found.server.ledger, Ledger) else None
    for host in hosts:
        if host != found.targets[0][0]:
            try:
                return Server(plan, address=Tcp(host, port or 0), strict=False, ledger=ledger)
            except PortError:
                continue
    raise ParameterError(
        f"addresses({found.first + '_first'!r}, …): expected a free address beside {found.targets[0][0]}:{port}; "
        f"tried {hosts[0]} and more."
    )


@explained
def resolve(name: str, plan: Plan, *, strict: bool = True) -> Resolver:
    """Answer this process's lookups of a name by plan, until the resolver is closed; each lookup is an attempt.

    This replaces `socket.getaddrinfo`, `gethostbyname`, `gethostbyname_ex`, `gethostbyaddr` and `getnameinfo`, which
    urllib, requests, httpx, aiohttp, asyncio, anyio and trio call, and the connects of `socket.socket` to a name.
    Other names are not affected. Resolvers in C (c-ares, libpq, gRPC, uvloop) don't call these functions; use
    `dns_server` for them. If two resolvers have the same name, the newer answers; where its fault has no answer, such
    as `ok()`, the older does.

    .. versionadded:: 0.1

    Args:
        name: a host name, or `*` for all names; numeric addresses are not looked up.
        plan: the faults of the lookups: `nxdomain()`, `servfail()`, `no_address()`, `slow_resolve(seconds)`,
            `resolves_to(server)`, `addresses(first, server)`, or `ok()`, which leaves a lookup unchanged.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck.

    Returns:
        The resolver, which is active. Use it as a context manager, or call `close()`.

    Raises:
        ParameterError: `name` is not a host name, or a fault of the plan is not a fault of lookups.

    Example:
        >>> import faultline, socket
        >>> with faultline.resolve("db.example.com", faultline.sequence(faultline.servfail(), faultline.nxdomain())):
        ...     for _ in range(2):
        ...         try:
        ...             socket.gethostbyname("db.example.com")
        ...         except socket.gaierror as error:
        ...             print(error)
        [Errno -3] Temporary failure in name resolution
        [Errno -2] Name or service not known
    """
    return Resolver(name, plan, strict=strict)
