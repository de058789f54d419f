"""Ends of a connection that we send, and the peer's that came before them.

Rules: the kernel is asked for the peer's end right before ours is sent, and no other thread of this process runs in
between: it could be the client's, which would leave just then. The `shutdown` and `close` of `socket.socket`
let other threads run first, so the functions of the C library are called here, by ctypes with the lock held.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
from typing import Literal

from faultline._net.sockets import READ_BYTES, arm_rst, ends_of

Left = Literal["FIN", "RST"]

TCP_CLOSE, TCP_CLOSE_WAIT, TCP_LAST_ACK = 7, 8, 9  # include/net/tcp_states.h
LIBC = ctypes.pythonapi  # on POSIX a handle of the whole process, whose calls keep the lock


def state_of(sock: socket.socket) -> int:
    """The state of a TCP connection (`tcp_info`, tcp(7))."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def is_dead(sock: socket.socket) -> bool:
    """Whether the peer has reset the connection, or both sides have ended it; on a Unix socket whether it was reset."""
    if sock.family == socket.AF_UNIX:
        return bool(ends_of(sock) & select.POLLERR)
    return state_of(sock) == TCP_CLOSE


def last_sign(sock: socket.socket) -> Left | None:
    """The last sign of a peer that has had none of ours."""
    if sock.family == socket.AF_UNIX:
        events = ends_of(sock)
        return "RST" if events & select.POLLERR else "FIN" if events else None
    state = state_of(sock)
    return "RST" if state == TCP_CLOSE else "FIN" if state == TCP_CLOSE_WAIT else None


def finish(sock: socket.socket) -> tuple[Left | None, bool]:
    """Send FIN after the queued bytes, and continue to receive.

    Returns:
        The last sign of the peer before, and whether the FIN was sent, which it is not after a RST.
    """
    sign = last_sign(sock)
    was_sent = LIBC.shutdown(sock.fileno(), socket.SHUT_WR) == 0
    if sign is None and was_sent and sock.family != socket.AF_UNIX:
        # The peer's FIN has come after the look if ours was the last one: it is acknowledged by now, or will be.
        state = state_of(sock)
        if state == TCP_LAST_ACK or (state == TCP_CLOSE and not ends_of(sock) & select.POLLERR):
            sign = "FIN"
    return sign, was_sent


def reset(sock: socket.socket, last: bytes = b"", *, fin_first: bool = False) -> tuple[Left | None, bool]:
    """Send the last bytes and close with RST, and with `fin_first` send FIN right before it.

    Returns:
        The last sign of the peer before, and whether the RST was sent, which it is not after a RST or two FIN.
    """
    arm_rst(sock)
    sign = last_sign(sock)
    if last:
        LIBC.send(sock.fileno(), last, ctypes.c_size_t(len(last)), socket.MSG_NOSIGNAL)
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
