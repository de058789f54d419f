"""Ends of a connection that we send, and the peer's that came before them.

Rules: the kernel is asked for the peer's end right before ours is sent, and no other thread of this process runs in
between: it could be the client's, which would leave just then. The `shutdown` and `close` of `socket.socket`
let other threads run first, so the functions of the C library are called here, by ctypes with the lock held.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket

from faultline._net import system
from faultline._net.sockets import READ_BYTES, arm_rst
from faultline._net.system import Left as Left  # noqa: PLC0414 - who ends a connection tells how
from faultline._net.system import is_dead, last_sign

LIBC = ctypes.pythonapi  # on POSIX a handle of the whole process, whose calls keep the lock


def finish(sock: socket.socket) -> tuple[Left | None, bool]:
    """Send FIN after the queued bytes, and continue to receive.

    Returns:
        The last sign of the peer before, and whether the FIN was sent, which it is not after a RST.
    """
    sign = last_sign(sock)
    was_sent = LIBC.shutdown(sock.fileno(), socket.SHUT_WR) == 0
    if sign is None and was_sent and sock.family != socket.AF_UNIX:
        sign = system.sign_before_fin(sock)
    return sign, was_sent


def reset(sock: socket.socket, last: bytes = b"", *, fin_first: bool = False) -> tuple[Left | None, bool]:
    """Send the last bytes and close with RST, and with `fin_first` send FIN right before it.

    Returns:
        The last sign of the peer before, and whether the RST was sent, which it is not after a RST or two FIN.
    """
    arm_rst(sock)
    sign = last_sign(sock)
    if last:
        LIBC.send(sock.fileno(), last, ctypes.c_size_t(len(last)), system.NO_SIGNAL)
    if fin_first:
        LIBC.shutdown(sock.fileno(), socket.SHUT_WR)
    was_sent = not is_dead(sock)
    LIBC.close(sock.detach())
    return sign, was_sent


def send_rst(sock: socket.socket) -> None:
    """Close with RST."""
    reset(sock)


def discard_input(sock: socket.socket, limit_bytes: int = 1 << 20) -> None:
    """Read and discard the bytes that have arrived, because closing with unread input sends RST (`__tcp_close`).

    Raises:
        OSError: the peer has reset the connection.
    """
    read = 0
    with contextlib.suppress(BlockingIOError):
        while read < limit_bytes and (data := sock.recv(READ_BYTES)):
            read += len(data)
