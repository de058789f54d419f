"""Facts of sockets: the only module that sets socket options or reads the kernel's state of a connection.

Rules of this room: one function per fact, with its source; every difference between operating systems is here.
Linux is where all of it is proven.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import ipaddress
import socket
import struct
import sys

from faultline._core.check import rejected, whole
from faultline._core.errors import PortError, UnsupportedError

BACKLOG = 4096
TCP_CLOSE = 7  # include/net/tcp_states.h
READ_BYTES = 65_536

# linux/filter.h, asm-generic/socket.h: a classic BPF program on a socket decides packet by packet.
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
LOAD_RANDOM = (0x20, 0, 0, 0xFFFFF000 + 56)  # BPF_LD|BPF_W|BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM
DROP = (0x06, 0, 0, 0)  # BPF_RET: keep no byte
KEEP = (0x06, 0, 0, 0xFFFFFFFF)


def require_linux() -> None:
    """Refuse other systems: their kernels answer differently, and nothing here has been proven on them.

    Raises:
        UnsupportedError: this is another system.
    """
    if not sys.platform.startswith("linux"):
        raise UnsupportedError(f"sys.platform={sys.platform!r}: expected 'linux'; its kernel makes the faults true.")


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
    # A shutdown of a socket that doesn't listen would mark it as read to its end, and every connection that it
    # accepts later (`inet_shutdown`, TCP_CLOSE).
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.shutdown(socket.SHUT_RD)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def narrow_window(sock: socket.socket) -> None:
    """Give connections that are accepted from now on the smallest receive buffer, so that senders block soon.

    It has to be set before a connection is opened, because its first window follows from it (tcp(7)). Over loopback
    the client's own send buffer still takes about 1.7 MB, instead of 4.2 MB in all.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)


def fill_door(sock: socket.socket) -> list[socket.socket]:
    """Make the port drop every SYN: a listener whose accept queue is full.

    With `listen(0)` one waiting connection fills the queue, and Linux drops SYNs that find it full
    (`sk_acceptq_is_full`). Two fillers are connected while it is open, so that real clients that came before
    can be accepted from the front of the queue and it never becomes empty.

    Returns:
        The fillers; close them after the door is opened again.
    """
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
    quicken(sock)


def quicken(sock: socket.socket) -> None:
    """Let small pieces leave when they are sent; a Unix socket does so anyway."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# --- an open connection ----------------------------------------------------------------------------------


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Bytes in the send queue that the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7))."""
    if sock.family == socket.AF_UNIX:
        return 0  # what is sent lies in the peer's queue; what SIOCOUTQ says there is what it has not read
    import fcntl  # POSIX: the module is to be importable where it then says that it needs Linux
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return count[0]


def is_dead(sock: socket.socket) -> bool:
    """Whether the peer has reset the connection: its state is CLOSE (tcp_info, tcp(7))."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE


def send_rst(sock: socket.socket) -> None:
    """Close with RST."""
    arm_rst(sock)
    sock.close()


def arm_rst(sock: socket.socket) -> None:
    """Have the close send RST and throw unsent data away: `SO_LINGER` of 0 (socket(7); `tcp_disconnect`)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


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


# --- packets ---------------------------------------------------------------------------------------------------------


def drop_packets(sock: socket.socket, probability: float = 1.0) -> None:
    """Let packets to this socket vanish before TCP sees them, with a probability that the kernel draws.

    Raises:
        UnsupportedError: this user or system may not attach a filter.
    """
    if probability >= 1:
        program = [DROP]
    else:
        at_least = (0x35, 0, 1, round((1 - probability) * 0xFFFFFFFF))  # BPF_JMP|BPF_JGE: true drops, false keeps
        program = [LOAD_RANDOM, at_least, DROP, KEEP]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    except OSError as error:
        raise UnsupportedError(
            f"partition() and loss() need a socket filter, which this user may not attach ({error.strerror}); "
            "run with CAP_NET_ADMIN."
        ) from error


def keep_packets(sock: socket.socket) -> None:
    """Let packets through again."""
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def check_filter() -> None:
    """See that filters can be attached, before a fault needs one.

    Raises:
        UnsupportedError: they can't.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        drop_packets(sock)
