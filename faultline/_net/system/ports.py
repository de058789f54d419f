"""Keeps a port while nothing listens at it, with what every system has.

Linux refuses connects to a socket that is bound and doesn't listen; BSD and macOS drop their SYNs. On all of them a
connected socket keeps its port, and a SYN to the port finds no socket that listens. So a port that refuses is kept by
a socket that is connected to another port of this machine.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import struct
from collections.abc import Iterator

from faultline._core.errors import UnsupportedError
from faultline._core.fork import owned
from faultline._net.system.interface import BACKLOG, reachable

SHORT_BACKLOG = 1
MOST_FILLERS = 32
ANSWER_SECONDS = 0.1  # in which a machine answers its own connects
SILENCE = "blackhole() needs a system that leaves connects without an answer, and this one answers all of them"


class Port(socket.socket):
    """A socket for a port, with the connected sockets that keep the port while nothing listens.

    Attributes:
        place: the address that the socket is, or will be, bound to; `None` until the port was shut once.
        keepers: two connected sockets, of which the first one is bound to the port.
    """

    place: tuple[str, int] | None = None
    keepers: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        """Release the port."""
        super().close()
        for sock in self.keepers:
            reset_at_close(sock)  # no TIME_WAIT
            sock.close()

    def successor(self) -> Port:
        """A new socket for the same address, not bound yet, which takes the keepers over."""
        new = owned(Port(self.family, socket.SOCK_STREAM))
        new.place, new.keepers, self.keepers = self.place or self.getsockname()[:2], self.keepers, ()
        new.setblocking(False)
        return new


def reset_at_close(sock: socket.socket) -> None:
    """Make the next close send RST and discard unsent data: `SO_LINGER` of 0."""
    with contextlib.suppress(OSError):  # it is closed, or on BSD its other end is
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_listening(sock: socket.socket) -> bool:
    """Whether a socket listens (SO_ACCEPTCONN of POSIX)."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


@contextlib.contextmanager
def shared(*socks: socket.socket) -> Iterator[None]:
    """Let sockets have the same port. Without the option no other program can bind it."""
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        yield
    finally:
        for sock in socks:
            if not is_listening(sock):  # or it could not listen again beside those in TIME_WAIT
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def bind(sock: socket.socket, place: tuple[str, int]) -> None:
    """Bind a socket, whose small pieces leave at once.

    Raises:
        OSError: another program has the port.
    """
    sock.bind(place)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def opened(port: Port, backlog: int = BACKLOG) -> Port:
    """Listen at the port.

    Raises:
        OSError: another program has the port.
    """
    with shared(port, *port.keepers[:1]):
        if port.place and not port.getsockname()[1]:
            bind(port, port.place)
        port.listen(backlog)
    return port


def shut(port: Port) -> Port:
    """Keep the port by a connected socket, so that every SYN is answered by RST; return the socket to open later.

    Raises:
        OSError: another program has taken the port in between.
    """
    if port.place and not port.getsockname()[1]:
        return port  # it is shut
    new = port.successor()
    assert new.place
    if new.keepers:
        port.close()
        return new
    keeper: socket.socket = port
    if is_listening(port):  # such a socket can't connect
        port.close()
        keeper = owned(socket.socket(new.family, socket.SOCK_STREAM))
        with shared(keeper):
            bind(keeper, new.place)
    new.keepers = connected(keeper, reachable(new.place[0]))
    return new


def connected(keeper: socket.socket, host: str) -> tuple[socket.socket, socket.socket]:
    """Connect a socket to a socket of ours, and return both."""
    keeper.setblocking(True)
    with socket.socket(keeper.family, socket.SOCK_STREAM) as listener:
        listener.bind((host, 0))
        listener.listen(1)
        keeper.connect(listener.getsockname())
        return keeper, owned(listener.accept()[0])


def silent(port: Port) -> tuple[Port, list[socket.socket]]:
    """Make a port leave every SYN without an answer; return the socket, and those that fill its queue.

    Raises:
        UnsupportedError: this system answers every SYN.
        OSError: another program has taken the port.
    """
    if is_silent_when_bound():
        if port.getsockname()[1] and not is_listening(port):
            return port, []
        new = port.successor()
        assert new.place
        port.close()
        with shared(new, *new.keepers[:1]):
            bind(new, new.place)
        return new, []
    opened(port)
    host, number = port.getsockname()[:2]
    fillers = [connecting(port.family, (reachable(host), number)) for _ in range(queue_takes() + 1)]
    for filler in fillers:
        is_answered(filler)
    port.listen(SHORT_BACKLOG)
    return port, fillers


def connecting(family: int, address: tuple[str, int]) -> socket.socket:
    """A socket that has begun to connect."""
    sock = owned(socket.socket(family, socket.SOCK_STREAM))
    sock.setblocking(False)
    sock.connect_ex(address)
    return sock


def is_answered(sock: socket.socket) -> bool:
    """Whether a connect is answered soon."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(ANSWER_SECONDS * 1000))


@functools.cache
def is_silent_when_bound() -> bool:
    """Whether this system leaves connects to a socket that is bound, and doesn't listen, without an answer."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with connecting(socket.AF_INET, sock.getsockname()) as client:
            return not is_answered(client)


@functools.cache
def queue_takes() -> int:
    """How many connects the shortest accept queue takes, before the system drops SYNs.

    Raises:
        UnsupportedError: it doesn't drop them.
    """
    with contextlib.ExitStack() as clients, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(SHORT_BACKLOG)
        for number in range(MOST_FILLERS):
            if not is_answered(clients.enter_context(connecting(socket.AF_INET, sock.getsockname()))):
                return number
    raise UnsupportedError(f"{SILENCE}.")


def check_silence() -> None:
    """Check that this system can leave a connect without an answer.

    Raises:
        UnsupportedError: it answers all.
    """
    if not is_silent_when_bound():
        queue_takes()
