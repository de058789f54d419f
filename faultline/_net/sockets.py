"""Socket options, and the kernel's state of a connection.

Rules: no other module sets socket options. One function per fact, with its source. Every difference between operating
systems is here; so far only Linux is supported.
"""

from __future__ import annotations

import _thread
import array
import contextlib
import ctypes
import errno
import select
import socket
import struct
import sys
import types
from collections.abc import Sequence

from faultline._core.errors import PortError, UnsupportedError
from faultline._core.fork import owned

with contextlib.suppress(ImportError):  # only POSIX has them, and elsewhere this module has to raise UnsupportedError
    import fcntl
    import termios

BACKLOG = 4096
READ_BYTES = 65_536

# linux/filter.h, asm-generic/socket.h: a classic BPF program on a socket keeps or drops each packet.
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MEMINFO = 26, 27, 55
LOAD_RANDOM = (0x20, 0, 0, 0xFFFFF000 + 56)  # BPF_LD|BPF_W|BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM
DROP, KEEP = (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)  # BPF_RET: keep no byte, or all


def require_linux() -> None:
    """Refuse to run on other systems, whose kernels behave differently, and without real threads.

    Raises:
        UnsupportedError: the operating system is not Linux, or a library has replaced Python's threads or select.
    """
    if not sys.platform.startswith("linux"):
        raise UnsupportedError(
            f"sys.platform={sys.platform!r}: expected 'linux'; the faults depend on how its kernel behaves."
        )
    if not hasattr(select, "epoll") or not isinstance(_thread.start_new_thread, types.BuiltinFunctionType):
        raise UnsupportedError(
            f"{patcher()} has replaced Python's threads or select, and the servers' loop needs the real ones: expected "
            "monkey.patch_all(thread=False, select=False) of gevent, monkey_patch(thread=False, select=False) of "
            "eventlet, or a server in a process of its own (`faultline serve`)."
        )


def patcher() -> str:
    """The library that has replaced Python's threads or select."""
    return next((name for name in ("gevent", "eventlet") if name in sys.modules), "a library")


# --- addresses -------------------------------------------------------------------------------------------


def claim(host: str, port: int) -> socket.socket:
    """Bind an address without listening: connects are refused, and no other program can bind the port.

    A port chosen by the kernel is bound again by its number, because Linux releases a port bound as 0 when the
    listener is shut down (`SOCK_BINDPORT_LOCK`, `__tcp_close`). `SO_REUSEADDR` is on only while it is needed, so
    that another server with that option can't take a port that refuses.

    Raises:
        PortError: the port is in use, or `host` is not an address of this machine.
    """
    for _ in range(100):
        number = port or free_port(host)
        sock = owned(socket.socket(family_of(host), socket.SOCK_STREAM))
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, number))
        except OSError as error:
            sock.close()
            if port == 0 and error.errno == errno.EADDRINUSE:
                continue  # another program has bound it between the two binds; the kernel has other ports
            raise bind_error(host, number, error) from error
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        quicken(sock)
        sock.setblocking(False)
        return sock
    raise PortError(f"port=0: expected a free port on {host}, found none in 100 tries; stop other servers.")


def free_port(host: str) -> int:
    """A port that the kernel chooses and that is free now.

    Raises:
        PortError: `host` is not an address of this machine.
    """
    with socket.socket(family_of(host), socket.SOCK_STREAM) as sock:
        try:
            sock.bind((host, 0))
        except OSError as error:
            raise bind_error(host, 0, error) from error
        return int(sock.getsockname()[1])


def bind_error(host: str, port: int, error: OSError) -> PortError:
    """The error to raise when the kernel refuses to bind an address."""
    if error.errno == errno.EADDRINUSE:
        return PortError(f"port={port}: expected a free port, but {host}:{port} is in use; choose another or 0.")
    if error.errno == errno.EACCES:
        return PortError(f"port={port}: expected a port this user may bind; choose 1024 or more, or 0.")
    return PortError(f"host={host!r}: expected an address of this machine ({error.strerror}).")


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def reachable(host: str) -> str:
    """The address by which a client on this machine reaches a server that is bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a lookup, not a bind


# --- a listening socket ----------------------------------------------------------------------------------


def start_listening(sock: socket.socket, backlog: int = BACKLOG) -> None:
    """Listen; `SO_REUSEADDR` allows this while closed connections of the port are in TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(backlog)


def stop_listening(sock: socket.socket) -> None:
    """Stop listening and keep the port: after a shutdown the socket is bound, but doesn't listen (`inet_shutdown`)."""
    # A shutdown of a socket that doesn't listen would mark the socket, and every connection that it accepts later, as
    # read to its end (`inet_shutdown`, TCP_CLOSE).
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.shutdown(socket.SHUT_RD)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def narrow_window(sock: socket.socket) -> None:
    """Give connections that are accepted from now on a small window and small segments, so that senders block soon.

    Both options have to be set before a connection is opened (tcp(7)). The window takes 60 KiB, so that a request and
    the client's FIN arrive though nobody reads, and an upload is as fast as ever where somebody does. With the
    segments of an Ethernet a client can send 0.45 MB, most of which fill its own send buffer; with those of loopback,
    and a usual receive buffer, 4.3 MB.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1_460)


def fill_accept_queue(sock: socket.socket) -> list[socket.socket]:
    """Make a listener drop every SYN, by filling its accept queue.

    With `listen(0)` one waiting connection fills the queue, and Linux drops SYNs when the queue is full
    (`sk_acceptq_is_full`). Two fillers are connected while the queue is open, so that clients that connected before
    can be accepted from its front and it never becomes empty.

    Returns:
        The filling sockets; close them after the socket listens again.
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
    return fillers


def prepare(sock: socket.socket) -> None:
    """Prepare an accepted socket for the loop."""
    owned(sock).setblocking(False)


def quicken(sock: socket.socket) -> None:
    """Turn Nagle's algorithm off, so that small pieces leave at once; a Unix socket has no such delay.

    The delay (RFC 896) would hide what a fault does to the bytes. The connections that a listener accepts have the
    option of the listener (`inet_csk_clone_lock` copies it).
    """
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# --- an open connection ----------------------------------------------------------------------------------


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Bytes in the send queue that the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7))."""
    if sock.family == socket.AF_UNIX:
        return 0  # sent bytes are in the peer's queue at once; SIOCOUTQ would count those that it has not read
    return outgoing_bytes(sock)


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


def has_left(sock: socket.socket) -> bool:
    """Whether the peer has finished sending, or has reset the connection."""
    return bool(ends_of(sock))


def ends_of(sock: socket.socket) -> int:
    """The ends of a connection as poll(2) has them: POLLRDHUP for the peer's, POLLHUP for both, POLLERR for a RST."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return next((events for _, events in poll.poll(0)), 0)


def arm_rst(sock: socket.socket) -> None:
    """Make the next close send RST and discard unsent data: `SO_LINGER` of 0 (socket(7); `tcp_disconnect`)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# --- packets ---------------------------------------------------------------------------------------------------------


def drop_packets(sock: socket.socket, probability: float = 1.0) -> None:
    """Drop packets to this socket before TCP sees them, each with this probability.

    Raises:
        UnsupportedError: the kernel doesn't let this user attach a filter.
    """
    if probability >= 1:
        program = [DROP]
    else:
        at_least = (0x35, 0, 1, round((1 - probability) * 0xFFFFFFFF))  # BPF_JMP|BPF_JGE: true drops, false keeps
        program = [LOAD_RANDOM, at_least, DROP, KEEP]
    try:
        attach_filter(sock, program)
    except OSError as error:
        raise UnsupportedError(
            f"partition() and loss() need a socket filter, which this user may not attach ({error.strerror}); "
            "run with CAP_NET_ADMIN."
        ) from error


def attach_filter(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Let a program of classic BPF decide which packets come to a socket.

    Raises:
        OSError: the kernel doesn't let this user attach a filter.
    """
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer)))


def dropped_packets(sock: socket.socket) -> int:
    """Count the packets to this socket that were dropped, as by a filter (SK_MEMINFO_DROPS; `sk_drops_add`)."""
    return struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[-1]  # type: ignore[no-any-return]


def keep_packets(sock: socket.socket) -> None:
    """Stop dropping packets."""
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def check_filter() -> None:
    """Check that a filter can be attached, before a fault needs one.

    Raises:
        UnsupportedError: the kernel doesn't let this user attach a filter.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        drop_packets(sock)


def hearing_syns(host: str, port: int) -> socket.socket:
    """A raw socket that gets a copy of each SYN to a port, before TCP sees the SYN (`raw_local_deliver`).

    Raises:
        OSError: this user may not open a raw socket, or attach a filter.
    """
    family = family_of(host)
    sock = owned(socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP))
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:  # its packets come without the IP header, so that the target is a message beside
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        head = (0x01, 0, 0, 0) if family == socket.AF_INET6 else (0xB1, 0, 0, 0)  # X is 0, or the IPv4 header's length
        to_port = [(0x48, 0, 0, 2), (0x15, 0, 4, port)]  # the bytes X + 2 and X + 3 are the port, or it is dropped
        is_syn = [(0x50, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02)]  # of the flags SYN and ACK only SYN is set
        attach_filter(sock, [head, *to_port, *is_syn, KEEP, DROP])
        sock.bind((host, 0))
        with contextlib.suppress(BlockingIOError):
            while True:  # packets of any kind, which came before the filter and the address
                sock.recv(1)
    except BaseException:
        sock.close()
        raise
    return sock


def with_own_headers(family: int) -> socket.socket:
    """A raw socket that sends packets with their IP headers, such as those of another sender (raw(7)).

    Raises:
        OSError: this user may not open a raw socket.
    """
    sock = owned(socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW))
    sock.setblocking(False)
    return sock
