"""Modes that strike at `connect`: there is no connection yet, only the door."""

from __future__ import annotations

from faultline._catalogue import case, mode
from faultline._fault import Fault, breaks
from faultline._steps import Refuse, Vanish

__all__ = ["blackhole", "refuse"]


@mode(case("ConnectionRefusedError"))
def refuse() -> Fault:
    """Answer the SYN with RST: nobody listens on this port.

    The client's `connect` raises `ConnectionRefusedError` (ECONNREFUSED) at once. The port stays bound to the
    server meanwhile, so nobody else can get it, and `become(ok())` opens it again.

    The server can't see a refused attempt: the kernel answers it (`tcp_v4_rcv`, no listener for the port).

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.refuse()) as server:
        ...     socket.create_connection(server.address)
        Traceback (most recent call last):
        ConnectionRefusedError: [Errno 111] Connection refused
    """
    return breaks("connect", Refuse())


@mode(case("TimeoutError"))
def blackhole() -> Fault:
    """Let the SYN go unanswered: a dead host, or a firewall that drops.

    The client's `connect` waits until its own timeout, or for the kernel's (over two minutes on Linux,
    `net.ipv4.tcp_syn_retries`). It needs no privileges: the server's accept queue is kept full, and Linux drops a
    SYN that finds it so (`tcp_conn_request`, `sk_acceptq_is_full`). After `become(ok())` a client that still
    waits gets through with its next retransmission, 1, 3, 7, … seconds after its first SYN.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.blackhole()) as server:
        ...     socket.create_connection(server.address, timeout=0.1)
        Traceback (most recent call last):
        TimeoutError: timed out
    """
    return breaks("connect", Vanish())
