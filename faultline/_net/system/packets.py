"""Filters that drop packets before TCP sees them, and raw sockets that get a copy of them; Linux alone has both."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Sequence

from faultline._core.errors import UnsupportedError
from faultline._core.fork import owned

# linux/filter.h, asm-generic/socket.h: a classic BPF program on a socket keeps or drops each packet.
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MEMINFO = 26, 27, 55
LOAD_RANDOM = (0x20, 0, 0, 0xFFFFF000 + 56)  # BPF_LD|BPF_W|BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM
DROP, KEEP = (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)  # BPF_RET: keep no byte, or all


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
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
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
