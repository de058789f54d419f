"""A DNS server, over UDP and TCP, for clients that have a resolver of their own.

A query is an attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
from collections.abc import Callable
from functools import partial

from faultline._core.attempts import Attempt, Entry, Request
from faultline._core.calls import explained
from faultline._core.dealer import Dealer
from faultline._core.errors import UnsupportedError
from faultline._core.fault import Fault
from faultline._core.hosts import hostport
from faultline._core.kinds import DNS, check_plan
from faultline._core.ledger import Ledger
from faultline._core.lookups import Found
from faultline._core.plan import Plan, faults_of
from faultline._core.planning import checked_plan
from faultline._core.promises import Key
from faultline._core.said import Said
from faultline._core.steps import Refuse
from faultline._net import system
from faultline._net.addresses import checked_address
from faultline._net.departures import Departed
from faultline._net.dns_messages import answered, kind_of, parsed
from faultline._net.wire import Wire
from faultline._servers.datagrams import Address, Unanswered, claim_both
from faultline._servers.endpoint import Endpoint
from faultline._servers.listener import Listener
from faultline._servers.loop import background
from faultline._servers.names.resolver import fault_kind

HERE = (("127.0.0.1", None), ("::1", None))
NOBODY = (("127.255.255.254", None),)  # a loopback address where no server listens
LENGTH_BYTES = 2  # before each message over TCP: RFC 1035, 4.2.2
FOUND = Fault(answer=Found(HERE), said=(Said("ok"),))


class DnsServer(Endpoint):
    """A DNS server on this machine, over UDP and TCP, that plays a plan to its clients.

    `faultline.dns_server` returns DNS servers. As a context manager the server stops at the end of the block, raises
    an error that happened inside it, and raises `NotStruckError` if a planned fault never struck (not with
    `strict=False`).

    .. versionadded:: 0.1

    Attributes:
        host: the IP address that the server is bound to.
        port: the port that the server is bound to, for UDP and TCP.
        ledger: the record of all attempts.
    """

    _name = "DNS server"
    _no_attempt = "no query came"

    def __init__(
        self,
        plan: Plan = FOUND,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        allow_remote: bool = False,
        on_end: Callable[[Attempt], None] | None = None,
    ) -> None:
        if importlib.util.find_spec("dns") is None:
            raise UnsupportedError('dns_server() needs dnspython; run `pip install "pytest-faultline[dns]"`.')
        system.check()
        self.host, number = checked_address(host, port, allow_remote=allow_remote)
        super().__init__(plan, strict=strict)
        self._dealer = Dealer(self.plan)
        self._answered = 0
        self._last_kind = ""
        self._open: set[Entry] = set()
        self._unanswered = Unanswered()
        self._is_cut_off = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._datagrams, sock = claim_both(self.host, number)
        self.port = self._datagrams.address[1]
        self._listener = Listener(sock, None)
        self._background = background()
        self.ledger = Ledger(on_end)
        self._background.call(self._start, self._break)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine, for UDP and TCP."""
        return system.reachable(self.host), self.port

    # --- as an endpoint ----------------------------------------------------------------------------------------------

    def _checked(self, plan: object) -> Plan:
        good = checked_plan(plan)
        check_plan(good, DNS)
        if any(fault_kind(fault) == "flapping" for fault in faults_of(good)):
            system.need("loopback range")
        return good

    def _change(self, plan: Plan) -> None:
        def change() -> None:
            self._dealer.change(plan)
            self._last_kind = ""
            self._set_listener()

        self._background.call(change, self._break)

    def _settle(self) -> None:
        self._background.settle()

    def _stop(self) -> None:
        self._background.run(self._end_all)

    def cut_off(self, *, is_cut_off: bool = True) -> None:
        """Answer every query with SERVFAIL at once, and end every connection, or play the plan again."""

        def cut() -> None:
            self._is_cut_off = is_cut_off
            self._set_listener()
            if is_cut_off:
                self._unanswered.end_all()
                self._end_open()
                for task in self._tasks:
                    task.cancel()

        self._background.call(cut, self._break)

    @property
    def _where(self) -> str:
        return hostport(*self.address)

    @property
    def _title(self) -> str:
        return f"queries to {self._where}"

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._datagrams.start(self._background.loop, self._on_datagram)
        self._listener.start(self._background.loop, self._on_client, self._errors.append)
        self._set_listener()

    def _set_listener(self) -> None:
        """Refuse TCP while the last or the next answer is a truncated one, which sends clients to TCP."""
        is_shut = self._is_cut_off or "truncated" in (self._last_kind, fault_kind(self._dealer.upcoming()))
        self._listener.set_step(Refuse() if is_shut else None)

    def _break(self, error: BaseException) -> None:
        """Keep an error in a callback, and end everything."""
        self._errors.append(error)
        self._end_now()

    def _end_now(self) -> None:
        self._datagrams.close()
        self._end_open()
        self._listener.close()
        for task in self._tasks:
            task.cancel()

    def _end_open(self) -> None:
        """End the attempts whose answers are late; they are not sent any more."""
        for entry in self._open:
            self.ledger.end(entry, "server", "stop")
        self._open.clear()

    async def _end_all(self) -> None:
        self._end_now()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _on_datagram(self, data: bytes, address: Address) -> None:
        try:
            self._play(data, "UDP", lambda answer: self._datagrams.send(answer, address))
        except Exception as error:  # noqa: BLE001 - a bug in faultline must not end the loop
            self._errors.append(error)

    def _on_client(self, sock: socket.socket, _: object) -> None:
        wire = Wire(self._background.loop, sock, self._background.departures)
        task = self._background.loop.create_task(self._converse(wire))
        self._tasks.add(task)
        task.add_done_callback(partial(self._on_end, wire))

    def _on_end(self, wire: Wire, task: asyncio.Task[None]) -> None:
        wire.close()  # here, because a task that is cancelled before its first step doesn't run
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def _converse(self, wire: Wire) -> None:
        """Answer the queries on one TCP connection."""
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        with contextlib.suppress(Departed):
            while True:
                size = int.from_bytes(await read_exactly(wire, LENGTH_BYTES), "big")
                data = await read_exactly(wire, size)
                if not self._play(data, "TCP", answers.put_nowait):
                    continue
                answer = await answers.get()
                view = memoryview(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
                while view:
                    view = view[await wire.send_some(view) :]

    def _play(self, data: bytes, over: str, send: Callable[[bytes], object]) -> bool:
        """Play the next fault to a query; return whether an answer will be sent."""
        query = parsed(data)
        if query is None:
            return False  # not a query, or a response
        if self._is_cut_off:
            send(answered(query, "servfail", HERE, can_truncate=False))
            return True
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

        def reply() -> None:
            if entry.ended_seconds is not None:  # its client waits no longer
                return
            if kind:
                self.ledger.strike(entry, "lookup", 0)
            self._end(entry, answer, send)

        late = fault.lookup_seconds
        if late or kind == "silence":
            failed = answered(query, "servfail", HERE, can_truncate=False)
            self._unanswered.add(entry, partial(self._end, entry, failed, send))
        if late:
            for number, _ in enumerate(fault.conditions):
                self.ledger.strike(entry, "lookup", 0, Key("condition", number))
            self._open.add(entry)
            self._datagrams.later(late, reply)
        else:
            reply()
        return kind != "silence"

    def _end(self, entry: Entry, answer: bytes, send: Callable[[bytes], object]) -> None:
        self._open.discard(entry)
        if answer:
            self._unanswered.discard(entry)
        entry.says("server", answer)
        self.ledger.end(entry, "server", "answer" if answer else "silence")
        if answer:
            send(answer)


async def read_exactly(wire: Wire, count: int) -> bytes:
    """Read exactly `count` bytes.

    Raises:
        Departed: the client ended the connection before.
    """
    data = b""
    while len(data) < count:
        more = await wire.receive(count - len(data))
        if not more:
            raise Departed("FIN")
        data += more
    return data


@explained
def dns_server(
    plan: Plan | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    allow_remote: bool = False,
) -> DnsServer:
    """Start a DNS server, over UDP and TCP, for clients that have their own resolver.

    Each query is an attempt: a client makes several if it asks for A and AAAA, or repeats a query. Without a fault
    every name has the addresses 127.0.0.1 and ::1.

    .. versionadded:: 0.1

    Args:
        plan: the faults of the queries: `nxdomain()`, `servfail()`, `no_address()`, `slow_resolve(seconds)`,
            `resolves_to(address)`, or `bad_dns(kind)`, which only a DNS server can play. Default: no faults.
        host: the IP address to bind. An address that other machines can reach, such as `0.0.0.0`, needs `allow_remote`.
        port: the port to bind, for UDP and TCP. Default: a free port.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck.
        allow_remote: whether other machines may connect.

    Returns:
        The server, which is listening at `server.address`. Use it as a context manager, or call `close()`.

    Raises:
        ParameterError: a value is out of its range, or a fault of the plan is not a fault of lookups.
        PortError: the port is in use, or the address can't be bound.
        UnsupportedError: dnspython is missing (`pip install "pytest-faultline[dns]"`), or the system is Windows.

    Example:
        >>> import dns.resolver, faultline
        >>> with faultline.dns_server(faultline.nxdomain()) as server:
        ...     resolver = dns.resolver.Resolver(configure=False)
        ...     resolver.nameservers, resolver.port = [server.host], server.port
        ...     resolver.resolve("api.example.com")
        Traceback (most recent call last):
        dns.resolver.NXDOMAIN: The DNS query name does not exist: api.example.com.
    """
    return DnsServer(FOUND if plan is None else plan, host=host, port=port, strict=strict, allow_remote=allow_remote)
