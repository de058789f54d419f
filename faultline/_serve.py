"""`faultline.serve`: the one function that most users call."""

from __future__ import annotations

from faultline._fault import Fault
from faultline._plan import Plan
from faultline._server import Server, Tls


def serve(
    plan: Plan,
    *,
    tls: Tls = False,
    answer: Fault | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
) -> Server:
    r"""Start a server that does to its clients what the plan says.

    Args:
        plan: a fault such as `reset()`, met by every attempt.
        tls: speak TLS, with a certificate of the test CA; a plan that can only be met in TLS implies it. "mutual"
            demands a certificate of that CA from the client too, as `server.client_context(certificate=True)` shows.
        answer: what is said when nothing breaks, for faults without an answer of their own.
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        strict: whether leaving the server fails when the planned fault never struck.

    Returns:
        The server, listening; use it as a context manager, or `close()` it.

    Raises:
        ParameterError: a value that can't mean anything.
        PortError: the port is taken.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.reset(after_bytes=4)) as server:
        ...     with socket.create_connection(server.address) as client:
        ...         client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        ...         assert client.recv(4, socket.MSG_WAITALL) == b"HTTP"
        ...         client.recv(100)
        Traceback (most recent call last):
        ConnectionResetError: [Errno 104] Connection reset by peer
    """
    return Server(plan, tls=tls, answer=answer, host=host, port=port, strict=strict)
