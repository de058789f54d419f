"""Sockets and their options, as every system has them; what differs between systems is in `system`.

Rules: no other module outside `system` sets socket options. One function per fact, with its source.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct

from faultline._core.errors import PortError
from faultline._core.fork import owned
from faultline._net import system

READ_BYTES = 65_536

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
        sock = owned(system.new_listener(family_of(host)))
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


# --- a listening socket ----------------------------------------------------------------------------------


def narrow_window(sock: socket.socket) -> None:
    """Give connections that are accepted from now on a small window and small segments, so that senders block soon.

    Both options have to be set before a connection is opened (tcp(7)). The window takes 60 KiB, so that a request and
    the client's FIN arrive though nobody reads, and an upload is as fast as ever where somebody does. With the
    segments of an Ethernet a client can send 0.45 MB, most of which fill its own send buffer; with those of loopback,
    and a usual receive buffer, 4.3 MB.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    with contextlib.suppress(OSError):  # BSD allows only smaller segments than it has
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1_460)


def has_arrivals(sock: socket.socket) -> bool:
    """Whether a client waits to be accepted, or bytes to be read (poll(2))."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def prepare(sock: socket.socket) -> None:
    """Prepare an accepted socket for the loop."""
    owned(sock).setblocking(False)


def quicken(sock: socket.socket) -> None:
    """Turn Nagle's algorithm off, so that small pieces leave at once; a Unix socket has no such delay.

    The delay (RFC 896) would hide what a fault does to the bytes. The connections that a listener accepts have the
    option of the listener (`inet_csk_clone_lock` copies it).
    """
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # as in `arm_rst`
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# --- an open connection ----------------------------------------------------------------------------------


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Bytes in the send queue that the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7))."""
    if sock.family == socket.AF_UNIX:
        return 0  # sent bytes are in the peer's queue at once; SIOCOUTQ would count those that it has not read
    return system.outgoing_bytes(sock)


def has_left(sock: socket.socket) -> bool:
    """Whether the peer has finished sending, or has reset the connection."""
    return bool(system.ends_of(sock))


def arm_rst(sock: socket.socket) -> None:
    """Make the next close send RST and discard unsent data: `SO_LINGER` of 0 (socket(7); `tcp_disconnect`)."""
    with contextlib.suppress(OSError):  # macOS refuses every option once the peer has reset the connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
