"""Facts of sockets: the only module that sets socket options or reads the kernel's state of a connection.

Rules of this room: one function per fact, with its source; every difference between operating systems is here.
Linux is where all of it is proven.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import ipaddress
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import Literal

from faultline._check import rejected, whole
from faultline._errors import PortError, UnsupportedError

Left = Literal["FIN", "RST"]
BACKLOG = 4096
TCP_CLOSE = 7  # include/net/tcp_states.h
READ_BYTES = 65_536


class Departed(Exception):  # noqa: N818 - it is news, not an error
    """The client is gone, by FIN or by RST."""

    def __init__(self, how: Left) -> None:
        super().__init__(how)
        self.how: Left = how


# --- addresses -------------------------------------------------------------------------------------------


def checked_address(host: object, port: object) -> tuple[str, int]:
    """An address to bind: an IP address of this machine or `localhost`, and a port or 0.

    Raises:
        ParameterError: neither.
    """
    number = whole("port", port, "", 0, 65_535)
    try:
        name = "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(str(host)))
    except ValueError:
        raise rejected("host", host, "an IP address of this machine, or 'localhost'") from None
    return name, number


def claim(host: str, port: int) -> socket.socket:
    """Bind an address without listening: connects are refused, and nobody else can have the port.

    A port chosen by the kernel is bound again by its number, because Linux gives a port bound as 0 up when the
    listener is shut down (`SOCK_BINDPORT_LOCK`, `__tcp_close`). `SO_REUSEADDR` is on only while it is needed, so
    that a port which refuses can't be taken by another server with that option.

    Raises:
        PortError: the port is taken, or the host isn't one of this machine.
    """
    for _ in range(100):
        number = port or free_port(host)
        sock = socket.socket(family_of(host), socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, number))
        except OSError as error:
            sock.close()
            if port == 0 and error.errno == errno.EADDRINUSE:
                continue  # somebody got between the two binds; the kernel has other ports
            raise bind_error(host, number, error) from error
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        sock.setblocking(False)
        return sock
    raise PortError(f"port=0: expected a free port on {host}, found none in 100 tries; end other servers.")


def free_port(host: str) -> int:
    """A number that the kernel would give out now.

    Raises:
        PortError: the host isn't one of this machine.
    """
    with socket.socket(family_of(host), socket.SOCK_STREAM) as sock:
        try:
            sock.bind((host, 0))
        except OSError as error:
            raise bind_error(host, 0, error) from error
        return int(sock.getsockname()[1])


def bind_error(host: str, port: int, error: OSError) -> PortError:
    """The kernel's refusal to bind, with what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return PortError(f"port={port}: expected a free port, but {host}:{port} is in use; choose another or 0.")
    if error.errno == errno.EACCES:
        return PortError(f"port={port}: expected a port this user may bind; choose 1024 or more, or 0.")
    return PortError(f"host={host!r}: expected an address of this machine ({error.strerror}).")


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def reachable(host: str) -> str:
    """Where a client on this machine reaches a server that is bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a lookup, not a bind


# --- the door --------------------------------------------------------------------------------------------


def open_door(sock: socket.socket, backlog: int = BACKLOG) -> None:
    """Listen. `SO_REUSEADDR` lets it happen while closed connections of the port are in TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(backlog)


def shut_door(sock: socket.socket) -> None:
    """Stop listening and keep the port: Linux takes a listener back to bound on shutdown (`inet_shutdown`)."""
    if sys.platform != "linux":
        raise UnsupportedError("refuse after open needs Linux: elsewhere a listener can't be shut down.")
    with contextlib.suppress(OSError):  # ENOTCONN: it did not listen
        sock.shutdown(socket.SHUT_RD)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def fill_door(sock: socket.socket) -> list[socket.socket]:
    """Make the port drop every SYN: a listener whose accept queue is full.

    With `listen(0)` one waiting connection fills the queue, and Linux drops SYNs that find it full
    (`sk_acceptq_is_full`). Two fillers are connected while it is open, so that real clients that came before
    can be accepted from the front of the queue and it never becomes empty.

    Returns:
        The fillers; close them after the door is opened again.
    """
    if sys.platform != "linux":
        raise UnsupportedError("blackhole needs Linux: elsewhere a full accept queue doesn't drop SYNs.")
    open_door(sock)
    host, port = sock.getsockname()[:2]
    fillers = []
    for _ in range(2):
        filler = socket.socket(sock.family, socket.SOCK_STREAM)
        filler.setblocking(False)
        filler.connect_ex((reachable(host), port))
        fillers.append(filler)
    sock.listen(0)
    return fillers


def prepare(sock: socket.socket) -> None:
    """Make an accepted socket fit for the loop; small pieces leave when they are sent.

    Nagle's delay (RFC 896) would blur what a fault does to the bytes.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# --- an open connection ----------------------------------------------------------------------------------


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Bytes in the send queue that the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7))."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return count[0]


def is_dead(sock: socket.socket) -> bool:
    """Whether the peer has reset the connection: its state is CLOSE (tcp_info, tcp(7))."""
    if sys.platform != "linux":
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE


def send_rst(sock: socket.socket) -> None:
    """Close with RST: `SO_LINGER` with a time of 0 (socket(7); `tcp_disconnect`). Throws unsent data away."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def send_fin(sock: socket.socket) -> None:
    """Send FIN after what is queued; receiving goes on."""
    with contextlib.suppress(OSError):  # ENOTCONN: the client has reset it
        sock.shutdown(socket.SHUT_WR)


def discard_input(sock: socket.socket, limit_bytes: int = 1 << 20) -> None:
    """Read away what has arrived, because closing with unread input sends RST (`__tcp_close`)."""
    read = 0
    with contextlib.suppress(OSError):
        while read < limit_bytes and (data := sock.recv(READ_BYTES)):
            read += len(data)


class Departures:
    """Tells when clients leave, without reading what they send.

    One epoll in the loop's own, because asyncio can't watch for EPOLLRDHUP alone: with readability watched,
    unread input of a stalled connection would wake the loop for ever.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if sys.platform != "linux":
            raise UnsupportedError("stall needs Linux: elsewhere leaving clients can't be told from talking ones.")
        self._loop = loop
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[Left]] = {}
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def watch(self, sock: socket.socket, *, half_closed: bool) -> asyncio.Future[Left]:
        """A future of how the client leaves; a FIN that was already read is not news."""
        future: asyncio.Future[Left] = self._loop.create_future()
        number = sock.fileno()
        self._waiting[number] = future
        self._epoll.register(number, 0 if half_closed else select.EPOLLRDHUP)
        return future

    def forget(self, sock: socket.socket) -> None:
        """No longer watch; before the socket is closed, because its number is used again at once."""
        del self._waiting[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def _on_ready(self) -> None:
        for number, events in self._epoll.poll(0):
            future = self._waiting.get(number)
            if future is not None and not future.done():
                future.set_result("RST" if events & (select.EPOLLERR | select.EPOLLHUP) else "FIN")

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


def wake(future: asyncio.Future[None]) -> None:
    """End a wait; an event may come twice before the waiter has run."""
    if not future.done():
        future.set_result(None)


class Wire:
    """One accepted connection as the engine uses it: bytes in, bytes out, and how it ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, departures: Departures) -> None:
        self._loop = loop
        self._departures = departures
        self.sock = sock
        self.at_end = False  # the client has sent FIN, and it was read

    async def receive(self, limit_bytes: int) -> bytes:
        """At most so many bytes; `b""` when the client has finished sending.

        Raises:
            Departed: the client has reset the connection.
        """
        while True:
            try:
                data = self.sock.recv(limit_bytes)
            except BlockingIOError:
                await self.readable()
            except OSError:
                raise Departed("RST") from None
            else:
                self.at_end = not data
                return data

    async def readable(self) -> None:
        """Wait until there is something to read."""
        await self._event(self._loop.add_reader, self._loop.remove_reader)

    def sees_end(self) -> bool:
        """Whether the next thing to read is the client's FIN.

        Raises:
            Departed: the client has reset the connection.
        """
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            raise Departed("RST") from None

    async def send_some(self, data: memoryview) -> int:
        """Hand bytes to the kernel as soon as it takes some; how many it took.

        Raises:
            Departed: the client has reset the connection.
        """
        while True:
            try:
                return self.sock.send(data)
            except BlockingIOError:
                await self._event(self._loop.add_writer, self._loop.remove_writer)
            except OSError:
                raise Departed("RST") from None

    async def _event(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        add(self.sock.fileno(), wake, future)
        try:
            await future
        finally:
            remove(self.sock.fileno())

    async def flush(self) -> None:
        """Wait until everything sent is acknowledged: only then a RST takes nothing away.

        The kernel has no event for it, so this looks again after 0.2 ms, then ever later, up to every 10 ms; on
        loopback it is done at the first look unless the client reads slowly.

        Raises:
            Departed: the client has reset the connection meanwhile.
        """
        pause = 0.0
        while unacknowledged_bytes(self.sock):
            if is_dead(self.sock):
                raise Departed("RST")
            await asyncio.sleep(pause)
            pause = min(pause + 0.0002, 0.01)

    async def departure(self, within_seconds: float | None) -> Left | None:
        """How the client leaves, or `None` if it is still there after so long."""
        future = self._departures.watch(self.sock, half_closed=self.at_end)
        try:
            return await asyncio.wait_for(future, within_seconds)
        except asyncio.TimeoutError:
            return None
        finally:
            self._departures.forget(self.sock)

    def close(self) -> None:
        """Close without ceremony; closing twice is closing once."""
        self.sock.close()
