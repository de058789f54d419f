"""Modes that strike at `connect`, before there is a connection."""

from typing import Annotated

from faultline._core.breaks import Break, check_one_end
from faultline._core.fault import Fault
from faultline._core.gate import Gate
from faultline._core.steps import NoRoute, Refuse, Vanish
from faultline.modes._registry import case, mode

__all__ = ["blackhole", "refuse", "unreachable"]

ForSeconds = Annotated[float | None, "start accepting connections after this many seconds (default: never)"]
Until = Annotated[Gate | None, "start accepting connections when the test opens this gate"]


@mode(case("ConnectionRefusedError"))
def refuse(*, for_seconds: ForSeconds = None, until: Until = None) -> Fault:
    """Answer the SYN with RST, as a port without a listener does.

    The client's `connect` raises `ConnectionRefusedError` (ECONNREFUSED) at once. The port stays bound to the
    server meanwhile, so that no other process gets it; `for_seconds`, `until` or `become(ok())` opens it. When the time
    is over, or the gate open, the next connection meets the next fault of the plan; if none follows, the server is
    healthy from then on.

    The kernel answers a refused attempt, so no listener can see it (`tcp_v4_rcv`). With CAP_NET_RAW, which root has,
    the server hears the SYN of every client and sends the RST itself, so each attempt is counted in its order.
    Otherwise, and on Unix sockets, attempts of Python clients in this process are counted by the audit event of
    `socket.connect`; those of C clients and other processes can't be counted. Use `for_seconds` for them.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.refuse()) as server:
        ...     socket.create_connection(server.address)
        Traceback (most recent call last):
        ConnectionRefusedError: [Errno 111] Connection refused
    """
    check_one_end(for_seconds, until)
    return Fault(Break("connect", Refuse(for_seconds, until)))


@mode(case("TimeoutError"))
def blackhole(*, for_seconds: ForSeconds = None, until: Until = None) -> Fault:
    """Leave the SYN without an answer, as a dead host or a firewall does.

    The client's `connect` waits until its own timeout, or until that of the kernel (over two minutes on Linux,
    `net.ipv4.tcp_syn_retries`). It needs no privileges: the server keeps its accept queue full, and Linux drops a
    SYN for a full queue (`tcp_conn_request`, `sk_acceptq_is_full`). After `for_seconds` or `become(ok())` a client
    that still waits gets through with its next retransmission, 1, 3, 7, … seconds after its first SYN; that is still
    the same attempt. When `for_seconds` is over, the next connection meets the next fault of the plan, as after
    `refuse`.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.blackhole()) as server:
        ...     socket.create_connection(server.address, timeout=0.1)
        Traceback (most recent call last):
        TimeoutError: timed out
    """
    check_one_end(for_seconds, until)
    return Fault(Break("connect", Vanish(for_seconds, until)))


@mode(case("OSError 101"))
def unreachable() -> Fault:
    """Listen at an address that no route leads to.

    The client's `connect` raises `OSError` with errno 101 (ENETUNREACH) at once. The server's address is the
    broadcast address of the loopback network, which TCP can't connect to (`tcp_v4_connect`); no packet leaves.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.unreachable()) as server:
        ...     socket.create_connection(server.address)
        Traceback (most recent call last):
        OSError: [Errno 101] Network is unreachable
    """
    return Fault(Break("connect", NoRoute()))
