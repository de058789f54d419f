"""Modes of datagrams, which only a UDP server plays."""

from faultline._core.breaks import Break
from faultline._core.fault import Fault
from faultline._core.steps import Behind, Twice
from faultline.modes._registry import case, mode

__all__ = ["duplicated", "reordered"]


@mode(case("the response", "twice"))
def duplicated() -> Fault:
    """Send the answer to a datagram twice; only a UDP server can.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.udp(faultline.duplicated()) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        ...     client.connect(server.address)
        ...     client.send(b"ping"), client.recv(10), client.recv(10)
        (4, b'ping', b'ping')
    """
    return Fault(Break("response", Twice()))


@mode(case("the response", "after the response to the next datagram"))
def reordered() -> Fault:
    """Send the answer to a datagram after the answer to the next datagram; only a UDP server can.

    If the next answer is held back too, both wait; `sequence(reordered(), ok())` sends both. A plan can't end with
    `reordered()`, because no answer would follow.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> plan = faultline.sequence(faultline.reordered(), faultline.ok())
        >>> with faultline.udp(plan) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        ...     client.connect(server.address)
        ...     client.send(b"one"), client.send(b"two"), client.recv(10), client.recv(10)
        (3, 3, b'two', b'one')
    """
    return Fault(Break("response", Behind()))
