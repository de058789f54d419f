"""A DNS server, over UDP and TCP, for clients that have a resolver of their own.

A query is an attempt.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from collections.abc import Callable

from faultline._core.conditions import Latency
from faultline._core.errors import UnsupportedError
from faultline._core.fault import Fault
from faultline._core.hosts import hostport
from faultline._core.ledger import Attempt, Entry, Ledger, Request
from faultline._core.lookups import Found
from faultline._core.plan import Dealer, Plan, checked_plan, faults_of
from faultline._core.said import Said
from faultline._core.steps import Refuse
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.dns_messages import answered, kind_of, parsed
from faultline._net.wire import Wire
from faultline._servers.datagrams import Address, claim_both
from faultline._servers.endpoint import Endpoint
from faultline._servers.listener import Listener
from faultline._servers.loop import background
from faultline._servers.names.resolver import check_lookup, fault_kind

HERE = (("127.0.0.1", None), ("::1", None))
NOBODY = (("127.255.255.254", None),)  # of loopback, where nobody listens
LENGTH_BYTES = 2  # before each message over TCP: RFC 1035, 4.2.2
FOUND = Fault(answer=Found(HERE), said=(Said("ok"),))


class DnsServer(Endpoint):
    """A DNS server on this machine that does to its clients what the plan says."""

    _name = "DNS server"
    _nobody = "nobody asked"

    def __init__(
        self,
        plan: Plan = FOUND,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        on_end: Callable[[Attempt], None] | None = None,
    ) -> None:
        if importlib.util.find_spec("dns") is None:
            raise UnsupportedError("dns_server() needs dnspython; install pytest-faultline[dns].")
        sockets.require_linux()
        self.host, number = sockets.checked_address(host, port)
        super().__init__(plan, strict=strict)
        self._dealer = Dealer(plan)
        self.ledger = Ledger(on_end)
        self._answered = 0
        self._last_kind = ""
        self._open: set[Entry] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._datagrams, sock = claim_both(self.host, number)
        self.port = self._datagrams.address[1]
        self._listener = Listener(sock, None)
        self._background = background()
        self._background.call(self._start)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for UDP and TCP alike."""
        return sockets.reachable(self.host), self.port

    # --- as an endpoint ----------------------------------------------------------------------------------------------

    def _checked(self, plan: object) -> Plan:
        good = checked_plan(plan)
        for fault in faults_of(good):
            check_lookup(fault, on_the_wire=True)
        return good

    def _change(self, plan: Plan) -> None:
        def change() -> None:
            self._dealer.change(plan)
            self._last_kind = ""
            self._set_listener()

        self._background.call(change)

    def _settle(self) -> None:
        self._background.settle()

    def _stop(self) -> None:
        self._background.run(self._end_all())

    @property
    def _where(self) -> str:
        return hostport(*self.address)

    @property
    def _title(self) -> str:
        return f"queries to {self._where}"

    @property
    def _unasked(self) -> str:
        return f"nobody asked {self._where}"

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._datagrams.start(self._background.loop, self._on_datagram)
        self._listener.start(self._background.loop, self._welcome, self._errors.append)
        self._set_listener()

    def _set_listener(self) -> None:
        """Nobody listens over TCP while a truncated answer is what is known, or what comes next."""
        is_shut = "truncated" in (self._last_kind, fault_kind(self._dealer.upcoming()))
        self._listener.put(Refuse() if is_shut else None)

    async def _end_all(self) -> None:
        self._datagrams.close()
        for entry in self._open:
            self.ledger.end(entry, "server", "stop")
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _on_datagram(self, data: bytes, address: Address) -> None:
        try:
            self._meet(data, "UDP", lambda answer: self._datagrams.send(answer, address))
        except Exception as error:  # noqa: BLE001 - it is ours, and must not end the loop
            self._errors.append(error)

    def _welcome(self, sock: socket.socket) -> None:
        task = self._background.loop.create_task(self._converse(sock))
        self._tasks.add(task)
        task.add_done_callback(self._farewell)

    def _farewell(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def _converse(self, sock: socket.socket) -> None:
        """Answer the queries of one connection of TCP."""
        wire = Wire(self._background.loop, sock, self._background.departures)
        said: asyncio.Queue[bytes] = asyncio.Queue()
        try:
            while True:
                size = int.from_bytes(await exactly(wire, LENGTH_BYTES), "big")
                data = await exactly(wire, size)
                if not self._meet(data, "TCP", said.put_nowait):
                    continue
                answer = await said.get()
                view = memoryview(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
                while view:
                    view = view[await wire.send_some(view) :]
        except Departed:
            pass
        finally:
            wire.close()

    def _meet(self, data: bytes, over: str, send: Callable[[bytes], object]) -> bool:
        """Do to a query what the plan says; whether it is going to be answered."""
        query = parsed(data)
        if query is None:
            return False  # no query at all, or one of nobody who waits
        fault = self._dealer.deal()
        entry = self.ledger.begin(None, fault, "lookup")
        entry.says("client", data)
        kind = fault_kind(fault)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        self.ledger.keep(entry, Request(kind_of(question), name))
        entry.note = f"over {over}"
        self._last_kind = kind
        self._set_listener()
        found = fault.answer.targets if isinstance(fault.answer, Found) else HERE
        if kind == "flapping":
            self._answered += 1
            found = HERE if self._answered % 2 else NOBODY
        answer = answered(query, kind, found, can_truncate=over == "UDP")

        def say() -> None:
            if kind:
                self.ledger.strike(entry, "lookup", 0)
            self._end(entry, answer, send)

        late = next((c.delay_seconds for c in fault.conditions if isinstance(c, Latency)), 0.0)
        if late:
            self._open.add(entry)
            self._datagrams.later(late, say)
        else:
            say()
        return kind != "silence"

    def _end(self, entry: Entry, answer: bytes, send: Callable[[bytes], object]) -> None:
        self._open.discard(entry)
        entry.says("server", answer)
        self.ledger.end(entry, "server", "answer" if answer else "silence")
        if answer:
            send(answer)


async def exactly(wire: Wire, count: int) -> bytes:
    """So many bytes.

    Raises:
        Departed: there are no more.
    """
    data = b""
    while len(data) < count:
        more = await wire.receive(count - len(data))
        if not more:
            raise Departed("FIN")
        data += more
    return data


def dns_server(plan: Plan | None = None, *, host: str = "127.0.0.1", port: int = 0, strict: bool = True) -> DnsServer:
    """Start a DNS server, over UDP and TCP, for clients that have a resolver of their own.

    Without a fault every name has the addresses 127.0.0.1 and ::1. A plan is of lookups: `nxdomain()`,
    `servfail()`, `no_address()`, `slow_resolve(seconds)`, `resolves_to(address)`, and `bad_dns(kind)` for what only a
    server can do. Each query is an attempt: a client that asks for A and AAAA, or once more, makes several.

    Args:
        plan: what happens to which query.
        host: the address to bind.
        port: the port to bind, for UDP and TCP; 0 takes a free one.
        strict: whether leaving the server fails when the planned fault never struck.

    Returns:
        The server, listening: `server.address`.

    Raises:
        ParameterError: a fault that is not of lookups.
        PortError: the port is taken.
        UnsupportedError: dnspython is not there (`pip install pytest-faultline[dns]`).

    Example:
        >>> import dns.resolver, faultline
        >>> with faultline.dns_server(faultline.nxdomain()) as server:
        ...     resolver = dns.resolver.Resolver(configure=False)
        ...     resolver.nameservers, resolver.port = [server.host], server.port
        ...     resolver.resolve("api.example.com")
        Traceback (most recent call last):
        dns.resolver.NXDOMAIN: The DNS query name does not exist: api.example.com.
    """
    return DnsServer(FOUND if plan is None else plan, host=host, port=port, strict=strict)
