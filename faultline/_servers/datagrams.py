"""A UDP socket in the loop, which can send later, and can refuse datagrams without releasing its port.

Rules: every method except the constructor is called in the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Hashable

from faultline._core.errors import PortError
from faultline._core.fork import owned
from faultline._core.steps import Refuse
from faultline._net import sockets, system
from faultline._servers.lapse import Lapse

READ_BYTES = 65_535
TRIES = 100
DATAGRAMS_PER_TURN = 16
MOST_WAITING = 1000
Address = tuple[str, int]


class Datagrams:
    """A bound UDP socket."""

    def __init__(self, host: str, port: int) -> None:
        self._sock = bound(host, port) if port else bound_anywhere(host)
        self.address: Address = self._sock.getsockname()[:2]
        self._timers: set[asyncio.TimerHandle] = set()
        self._lapses: list[Lapse] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop, on_datagram: Callable[[bytes, Address], None]) -> None:
        """Call `on_datagram` for every datagram from now on."""
        self._loop, self._on_datagram = loop, on_datagram
        loop.add_reader(self._sock.fileno(), self._on_readable)
        system.registered(loop)

    def _on_readable(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):  # so that a flood doesn't block the loop
            try:
                data, address = self._sock.recvfrom(READ_BYTES)
            except OSError:  # no more datagrams, or the ICMP error of a datagram sent before
                return
            self._on_datagram(data, address)

    def send(self, data: bytes, address: Address) -> str:
        """Send one datagram; return the error's text, empty if there is no error."""
        try:
            self._sock.sendto(data, address)
        except OSError as error:
            return str(error.strerror)
        return ""

    def lapse(self, step: Refuse, on_over: Callable[[], None]) -> Lapse:
        """Call a function once a refusal is over, unless the socket is closed or the lapse cancelled before."""
        assert self._loop is not None
        self._lapses = [Lapse(self._loop, step, on_over)]  # one at a time
        return self._lapses[0]

    def later(self, seconds: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        """Call a function after this many seconds, unless the socket is closed or the timer cancelled before."""
        assert self._loop is not None

        def call() -> None:
            self._timers.discard(timer)
            function()

        timer = self._loop.call_later(seconds, call)
        self._timers.add(timer)
        return timer

    def shut(self) -> None:
        """Make the kernel answer datagrams with ICMP port unreachable, and keep the port.

        A connected socket, here connected to itself, receives nothing from others (`__udp4_lib_lookup`).
        """
        self._sock.connect(self._sock.getsockname())

    def open(self) -> None:
        """Receive datagrams again."""
        assert self._loop is not None
        number, self._sock = self._sock.fileno(), system.opened_datagrams(self._sock)
        if number != self._sock.fileno():
            self._loop.remove_reader(number)
            self._loop.add_reader(self._sock.fileno(), self._on_readable)

    def close(self) -> None:
        """Close the socket; datagrams that wait to be sent are dropped. Closing again does nothing."""
        if self._sock.fileno() < 0:
            return
        assert self._loop is not None
        self._loop.remove_reader(self._sock.fileno())
        for timer in self._timers:
            timer.cancel()
        for lapse in self._lapses:
            lapse.cancel()
        self._on_datagram = ignore  # a cycle would keep the ledger
        self._sock.close()


class Unanswered:
    """The clients that wait for an answer, which may never come: the latest of them, and how to end their wait."""

    def __init__(self) -> None:
        self._ways: dict[Hashable, Callable[[], object]] = {}

    def add(self, client: Hashable, end_wait: Callable[[], object]) -> None:
        """Take note that a client waits."""
        self._ways[client] = end_wait
        if len(self._ways) > MOST_WAITING:
            del self._ways[next(iter(self._ways))]

    def discard(self, client: Hashable) -> None:
        """Take note that a client has its answer."""
        self._ways.pop(client, None)

    def end_all(self) -> None:
        """End every wait."""
        ways, self._ways = self._ways, {}
        for end_wait in ways.values():
            end_wait()


def ignore(*_: object) -> None:
    """Do nothing, in place of a callback that is no longer wanted."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that is bound to this port.

    Raises:
        PortError: the port is in use, or the host is not an address of this machine.
    """
    sock = owned(socket.socket(sockets.family_of(host), socket.SOCK_DGRAM))
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise sockets.bind_error(host, port, error) from error
    return sock


def bound_anywhere(host: str) -> socket.socket:
    """A socket that is bound to a free port by its number, because `open` would release a port chosen by the kernel.

    Raises:
        PortError: no free port was found.
    """
    for _ in range(TRIES):
        with bound(host, 0) as sock:
            number = sock.getsockname()[1]
        with contextlib.suppress(PortError):
            return bound(host, number)
    raise PortError(f"port=0: expected a free UDP port on {host}, found none in {TRIES} tries.")


def claim_both(host: str, port: int) -> tuple[Datagrams, socket.socket]:
    """Bind the same port for UDP and TCP.

    Raises:
        PortError: the port is in use, or no port was found that is free for both.
    """
    for _ in range(TRIES):
        listener = sockets.claim(host, port)
        try:
            return Datagrams(host, listener.getsockname()[1]), listener
        except PortError:
            listener.close()
            if port:
                raise
    raise PortError(f"port=0: expected a port on {host} that is free for UDP and TCP, found none in {TRIES} tries.")
