"""What the servers need of the operating system, as Linux gives it.

Rules: one function per fact, with its source. `portable` has the same names, with the same parameters.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import os
import select
import selectors
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from faultline._core.fork import owned
from faultline._net.system.interface import BACKLOG, Arrivals, Left, OnArrivals, reachable
from faultline._net.system.memory import file_with, forget_stale, temporary
from faultline._net.system.packets import check_filter, drop_packets, dropped_packets, keep_packets

with contextlib.suppress(ImportError):  # a type checker, and a reader, may load this module on any system
    import fcntl
    import termios

LACKS: dict[str, str] = {}  # nothing that a fault needs

# poll(2): the peer's end, the end of both directions, and a RST.
ENDED, BOTH_ENDED, WAS_RESET = (getattr(select, name, 0) for name in ("POLLRDHUP", "POLLHUP", "POLLERR"))

TCP_SYN_SENT, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_LAST_ACK = 2, 7, 8, 9  # include/net/tcp_states.h
NETLINK_SOCK_DIAG = 4  # linux/netlink.h
FD_SETSIZE = 1024  # above which select(2) takes no number
NO_SIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0)
PATH_BYTES = 107  # sun_path of unix(7) without its final zero
FREES_AT_ONCE = True  # a socket that is closed while epoll_wait(2) watches it
HAS_RAW_SOCKETS = True  # which get a copy of each SYN (raw(7)), if the user may open them
TELLS_OF_PEERS = True  # by sock_diag(7)

__all__ = [
    "BOTH_ENDED",
    "ENDED",
    "FREES_AT_ONCE",
    "HAS_RAW_SOCKETS",
    "LACKS",
    "NO_SIGNAL",
    "PATH_BYTES",
    "TELLS_OF_PEERS",
    "WAS_RESET",
    "Selector",
    "arrivals",
    "check_filter",
    "check_silence",
    "drop_packets",
    "drop_syns",
    "dropped_packets",
    "ends_of",
    "file_with",
    "forget_stale",
    "gai_text",
    "has_real_select",
    "is_answered",
    "is_dead",
    "keep_packets",
    "last_sign",
    "link",
    "new_listener",
    "opened_datagrams",
    "outgoing_bytes",
    "peers_socket",
    "registered",
    "sign_before_fin",
    "start_listening",
    "stop_listening",
    "temporary",
    "unread_bytes",
]


def has_real_select() -> bool:
    """Whether no library has replaced the functions that wait for sockets; gevent and eventlet remove epoll."""
    return hasattr(select, "epoll")


# --- the loop --------------------------------------------------------------------------------------------------------

if TYPE_CHECKING:
    Base = selectors.DefaultSelector
else:
    Base = getattr(selectors, "EpollSelector", selectors.DefaultSelector)


class Selector(Base):
    """Waits for events by epoll, to the microsecond.

    epoll_wait(2) counts whole milliseconds, and selectors rounds up to them; select(2) of the epoll object doesn't.
    """

    def __init__(self) -> None:
        super().__init__()
        self._itself = [self.fileno()] if self.fileno() < FD_SETSIZE else None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events."""
        if timeout is not None and timeout > 0 and self._itself is not None:
            select.select(self._itself, (), (), timeout)
            timeout = 0
        return super().select(timeout)


def registered(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop watch a socket that another thread has registered; epoll_ctl(2) has done so already."""


class EdgeTriggered:
    """Reports each arrival once, by an epoll object of its own.

    It is registered with the loop, because asyncio can't watch for EPOLLRDHUP alone: if readability were watched,
    unread input on a stalled connection would wake the loop again and again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_arrivals: OnArrivals) -> None:
        self._loop = loop
        self._on_arrivals = on_arrivals
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def register(self, number: int) -> None:
        """Watch the socket with this number."""
        self._epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def unregister(self, number: int, *, is_closed: bool) -> None:
        """Watch a socket no longer; closing has removed it, and another socket may have the number now."""
        if not is_closed:
            self._epoll.unregister(number)

    def look(self) -> None:
        """Do nothing: the loop tells."""

    def _on_ready(self) -> None:
        self._on_arrivals([number for number, _ in self._epoll.poll(0)])

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


def arrivals(loop: asyncio.AbstractEventLoop, on_arrivals: OnArrivals) -> Arrivals:
    """Tell `on_arrivals` of arrivals at the sockets that are registered, each arrival once."""
    return EdgeTriggered(loop, on_arrivals)


# --- a listening socket ----------------------------------------------------------------------------------------------


def new_listener(family: int) -> socket.socket:
    """A socket to bind and to listen with."""
    return socket.socket(family, socket.SOCK_STREAM)


def start_listening(sock: socket.socket, backlog: int = BACKLOG) -> socket.socket:
    """Listen; `SO_REUSEADDR` allows this while closed connections of the port are in TIME_WAIT. Return the socket."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(backlog)
    return sock


def stop_listening(sock: socket.socket) -> socket.socket:
    """Stop listening and keep the port: after a shutdown the socket is bound, but doesn't listen (`inet_shutdown`)."""
    # A shutdown of a socket that doesn't listen would mark the socket, and every connection that it accepts later, as
    # read to its end (`inet_shutdown`, TCP_CLOSE).
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.shutdown(socket.SHUT_RD)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return sock


def drop_syns(sock: socket.socket) -> tuple[socket.socket, list[socket.socket]]:
    """Make a listener drop every SYN, by filling its accept queue.

    With `listen(0)` one waiting connection fills the queue, and Linux drops SYNs when the queue is full
    (`sk_acceptq_is_full`). Two fillers are connected while the queue is open, so that clients that connected before
    can be accepted from its front and it never becomes empty.

    Returns:
        The socket, and the filling sockets; close them after the socket listens again.
    """
    start_listening(sock)
    host, port = sock.getsockname()[:2]
    fillers = []
    for _ in range(2):
        filler = owned(socket.socket(sock.family, socket.SOCK_STREAM))
        filler.setblocking(False)
        filler.connect_ex((reachable(host), port))
        fillers.append(filler)
    sock.listen(0)
    return sock, fillers


def check_silence() -> None:
    """Check that this system can leave a connect without an answer; Linux can."""


def link(beside: str, path: str) -> None:
    """Give the file of a Unix socket its name.

    Raises:
        OSError: there is a file with this name.
    """
    os.link(beside, path)
    Path(beside).unlink()


# --- an open connection ----------------------------------------------------------------------------------------------


def outgoing_bytes(sock: socket.socket) -> int:
    """What SIOCOUTQ counts: in TCP bytes that are not acknowledged, on a Unix socket memory that is not read yet."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return count[0]


def unread_bytes(sock: socket.socket) -> int:
    """Count the bytes that have arrived and were not read (SIOCINQ, unix(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


def ends_of(sock: socket.socket) -> int:
    """The ends of a connection: ENDED for the peer's, BOTH_ENDED for both, WAS_RESET for a RST (poll(2))."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return next((events for _, events in poll.poll(0)), 0)


def state_of(sock: socket.socket) -> int:
    """The state of a TCP connection (`tcp_info`, tcp(7))."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def is_dead(sock: socket.socket) -> bool:
    """Whether the peer has reset the connection, or both sides have ended it; on a Unix socket whether it was reset."""
    if sock.family == socket.AF_UNIX:
        return bool(ends_of(sock) & WAS_RESET)
    return state_of(sock) == TCP_CLOSE


def last_sign(sock: socket.socket) -> Left | None:
    """The last sign of a peer that has had none of ours."""
    if sock.family == socket.AF_UNIX:
        events = ends_of(sock)
        return "RST" if events & WAS_RESET else "FIN" if events else None
    state = state_of(sock)
    return "RST" if state == TCP_CLOSE else "FIN" if state == TCP_CLOSE_WAIT else None


def sign_before_fin(sock: socket.socket) -> Left | None:
    """The peer's FIN that has come after a look and before our FIN; it is acknowledged by now, or will be."""
    state = state_of(sock)
    is_last = state == TCP_LAST_ACK or (state == TCP_CLOSE and not ends_of(sock) & WAS_RESET)
    return "FIN" if is_last else None


def is_answered(sock: socket.socket, *, was_bound: bool) -> bool:
    """Whether the kernel has answered the connect of a client's socket, which may have been bound before."""
    state = state_of(sock)
    if state == TCP_CLOSE:  # not begun, or refused: a connect binds its socket
        return not was_bound and bool(sock.getsockname()[1])
    return state != TCP_SYN_SENT


def peers_socket() -> socket.socket | None:
    """A socket to ask the kernel for the other ends of connections; `None` in a sandbox that doesn't have it."""
    with contextlib.suppress(OSError):
        return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, NETLINK_SOCK_DIAG)
    return None


# --- datagrams -------------------------------------------------------------------------------------------------------


def opened_datagrams(sock: socket.socket) -> socket.socket:
    """Receive datagrams again, by connect(2) to AF_UNSPEC, which Python's socket doesn't offer. Return the socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    nowhere = struct.pack("H14x", socket.AF_UNSPEC)
    if libc.connect(sock.fileno(), nowhere, len(nowhere)):  # pragma: no cover - the call can't fail here
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return sock


# --- texts -----------------------------------------------------------------------------------------------------------


TEXTS = {  # gai_strerror(3) of glibc, in every language
    "EAI_NONAME": "Name or service not known",
    "EAI_AGAIN": "Temporary failure in name resolution",
    "EAI_NODATA": "No address associated with hostname",
    "EAI_ADDRFAMILY": "Address family for hostname not supported",
}


def gai_text(name: str) -> tuple[int, str]:
    """The number and the text of an error of getaddrinfo(3)."""
    return getattr(socket, name), TEXTS[name]
