"""What the servers need of the operating system, with what POSIX gives and every system has; for macOS and the BSDs.

Rules: the same names as in `linux`, with the same parameters, and nothing of Linux alone. What no portable call can
do is in `LACKS`. On Linux `FAULTLINE_PLATFORM=portable` chooses this module, so that tests of it need no macOS.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import errno
import os
import select
import selectors
import socket
import sys
from collections import Counter

from faultline._core.errors import UnsupportedError
from faultline._core.fork import owned
from faultline._net.system import ports
from faultline._net.system.files import file_with, forget_stale, temporary
from faultline._net.system.interface import BACKLOG, Arrivals, Left, OnArrivals

with contextlib.suppress(ImportError):  # Windows has neither, and refuses with its reason later
    import fcntl
    import termios

# What is not there, and what needs it.
LACKS = {
    "processes": "faultline audit needs pidfd_open(2), prctl(2) and /proc, which only Linux has",
    "packet filter": "partition() and loss() need a socket filter, which only Linux has",
    "no route": "unreachable() needs a loopback address that no route leads to, which only Linux has",
    "loopback range": "addresses() and bad_dns('flapping') need 127.0.0.0/8, of which only Linux has all addresses",
    "unix reset": "reset() over a Unix socket needs Linux, where a close with unread bytes tells the client so",
    "unix silence": "blackhole() over a Unix socket needs Linux, where a connect waits for room in the queue",
}

ENDED, BOTH_ENDED, WAS_RESET = 1, 2, 4  # of `ends_of`; nothing tells the second one here
SO_NWRITE = 0x1024 if sys.platform == "darwin" else None  # sys/socket.h of macOS: bytes in the send buffer
NO_SIGNAL = 0  # Python ignores SIGPIPE
PATH_BYTES = 103  # sun_path of macOS and the BSDs without its final zero
FREES_AT_ONCE = False  # poll(2) keeps the sockets that it waits for, also when they are closed meanwhile
HAS_RAW_SOCKETS = False  # those of the BSDs get no TCP (ip(4))
TELLS_OF_PEERS = False  # whether the other program has read, or has closed its socket, no portable call tells
PERIOD_SECONDS = 0.005
KINDS = ("Kqueue", "Poll", "Select")  # of selectors, the best first

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
    """Whether no library has replaced the functions that wait for sockets; gevent and eventlet replace poll."""
    return getattr(getattr(select, "poll", None), "__module__", None) == "select"


# --- the loop --------------------------------------------------------------------------------------------------------

# kqueue or poll; Windows has neither, and refuses later.
Selector = next(getattr(selectors, f"{kind}Selector") for kind in KINDS if hasattr(selectors, f"{kind}Selector"))


def registered(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop watch a socket that another thread has registered: a poll(2) that has begun doesn't."""
    loop.call_soon_threadsafe(int)


class Periodic:
    """Reports all registered sockets again and again, because no portable call reports the end behind unread bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_arrivals: OnArrivals) -> None:
        self._loop = loop
        self._on_arrivals = on_arrivals
        self._numbers: Counter[int] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def register(self, number: int) -> None:
        """Watch the socket with this number."""
        self._numbers[number] += 1
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD_SECONDS, self._on_time)

    def unregister(self, number: int, *, is_closed: bool) -> None:  # noqa: ARG002 - the number tells it here
        """Watch a socket no longer."""
        self._numbers -= Counter([number])

    def look(self) -> None:
        """Tell of the sockets now."""
        self._on_arrivals(tuple(self._numbers))

    def _on_time(self) -> None:
        self._timer = self._loop.call_later(PERIOD_SECONDS, self._on_time) if self._numbers else None
        self.look()

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()


def arrivals(loop: asyncio.AbstractEventLoop, on_arrivals: OnArrivals) -> Arrivals:
    """Tell `on_arrivals` of the sockets that are registered, again and again."""
    return Periodic(loop, on_arrivals)


# --- a listening socket ----------------------------------------------------------------------------------------------


def new_listener(family: int) -> socket.socket:
    """A socket to bind and to listen with."""
    return ports.Port(family, socket.SOCK_STREAM)


def start_listening(sock: socket.socket, backlog: int = BACKLOG) -> socket.socket:
    """Listen at a port; return the socket that does."""
    return ports.opened(port_of(sock), backlog)


def stop_listening(sock: socket.socket) -> socket.socket:
    """Stop listening and keep the port; return the socket that listens later."""
    return ports.shut(port_of(sock))


def drop_syns(sock: socket.socket) -> tuple[socket.socket, list[socket.socket]]:
    """Leave every SYN without an answer; return the socket that listens later, and those that fill its queue."""
    return ports.silent(port_of(sock))


def port_of(sock: socket.socket) -> ports.Port:
    """A socket of `new_listener`, as what it is."""
    assert isinstance(sock, ports.Port)
    return sock


def check_silence() -> None:
    """Check that this system can leave a connect without an answer.

    Raises:
        UnsupportedError: it answers all.
    """
    ports.check_silence()


def link(beside: str, path: str) -> None:
    """Give the file of a Unix socket its name.

    Raises:
        OSError: there is a file with this name.
    """
    if os.path.lexists(path):  # not every file system has links to sockets, and rename(2) replaces a file
        raise FileExistsError(path)
    os.rename(beside, path)  # noqa: PTH104 - it is rename(2), with its errors


# --- an open connection ----------------------------------------------------------------------------------------------


def outgoing_bytes(sock: socket.socket) -> int:
    """The bytes in the send buffer on macOS; elsewhere 1 if the buffer is full, since no portable call tells more."""
    if SO_NWRITE is not None and sock.family != socket.AF_UNIX:
        return sock.getsockopt(socket.SOL_SOCKET, SO_NWRITE)
    return int(not events_of(sock, select.POLLOUT))


def unread_bytes(sock: socket.socket) -> int:
    """Count the bytes that have arrived and were not read (FIONREAD, which every system has)."""
    count = array.array("i", [0])
    fcntl.ioctl(number_of(sock), termios.FIONREAD, count)
    return count[0]


def number_of(sock: socket.socket) -> int:
    """The descriptor of a socket.

    Raises:
        OSError: another thread has closed it, for which Python's own calls of poll and ioctl raise ValueError.
    """
    if (number := sock.fileno()) < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return number


def events_of(sock: socket.socket, wanted: int = 0) -> int:
    """The events of a socket, as poll(2) tells them.

    Raises:
        OSError: another thread has closed it.
    """
    poll = select.poll()
    poll.register(number_of(sock), wanted)
    return next((events for _, events in poll.poll(0)), 0)


def is_connected(sock: socket.socket) -> bool:
    """Whether a socket has a peer."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def ends_of(sock: socket.socket) -> int:
    """The ends of a connection: ENDED for the peer's, unless bytes are unread before it, and WAS_RESET for a RST."""
    events = events_of(sock, select.POLLIN)
    if events & select.POLLERR:
        return WAS_RESET
    if events & select.POLLHUP:  # on Linux both ends; on macOS the peer's
        return ENDED
    if not events:  # a socket with a timeout would wait for it in spite of MSG_DONTWAIT
        return 0
    try:
        return 0 if sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) else ENDED
    except BlockingIOError:
        return 0
    except OSError:
        return WAS_RESET


def is_dead(sock: socket.socket) -> bool:
    """Whether the peer has reset the connection, or both sides have ended it; on a Unix socket whether it was reset."""
    return bool(ends_of(sock) & WAS_RESET) if sock.family == socket.AF_UNIX else not is_connected(sock)


def last_sign(sock: socket.socket) -> Left | None:
    """The last sign of a peer that has had none of ours."""
    events = ends_of(sock)
    if events & WAS_RESET or (sock.family != socket.AF_UNIX and is_dead(sock)):
        return "RST"
    return "FIN" if events else None


def sign_before_fin(sock: socket.socket) -> Left | None:  # noqa: ARG001 - as in `linux`
    """The peer's FIN that has come after a look and before our FIN, of which no portable call tells."""
    return None


def is_answered(sock: socket.socket, *, was_bound: bool) -> bool:
    """Whether the kernel has answered the connect of a client's socket, which may have been bound before."""
    if is_connected(sock):
        return True
    return not was_bound and bool(sock.getsockname()[1]) and bool(events_of(sock, select.POLLOUT))


def peers_socket() -> socket.socket | None:
    """No portable call tells of the other ends of connections."""
    return None


# --- packets ---------------------------------------------------------------------------------------------------------


def check_filter() -> None:
    """Say that packets can't be dropped.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(LACKS["packet filter"] + ".")


def drop_packets(sock: socket.socket, probability: float = 1.0) -> None:  # noqa: ARG001 - as in `linux`
    """Say that packets can't be dropped.

    Raises:
        UnsupportedError: always.
    """
    check_filter()


def dropped_packets(sock: socket.socket) -> int:  # noqa: ARG001 - as in `linux`
    """No packet is dropped here."""
    return 0


def keep_packets(sock: socket.socket) -> None:
    """No packet is dropped here."""


# --- datagrams -------------------------------------------------------------------------------------------------------


def opened_datagrams(sock: socket.socket) -> socket.socket:
    """Receive datagrams again, by a new socket for the same port; return it.

    Where a connected socket can be disconnected, the BSDs bind it to all addresses then.
    """
    if not is_connected(sock):
        return sock
    new = owned(socket.socket(sock.family, socket.SOCK_DGRAM))
    new.setblocking(False)
    for each in (sock, new):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    new.bind(sock.getsockname())
    sock.close()
    new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return new


# --- texts -----------------------------------------------------------------------------------------------------------


def gai_text(name: str) -> tuple[int, str]:
    """The number and the text of an error of getaddrinfo(3); EAI_NONAME's where POSIX has forgotten the other."""
    number = int(getattr(socket, name, socket.EAI_NONAME))
    strerror = ctypes.CDLL(None).gai_strerror
    strerror.restype = ctypes.c_char_p
    return number, strerror(number).decode()
