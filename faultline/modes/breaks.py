"""The verbs: modes that break an open connection, at any point of the conversation."""

from __future__ import annotations

from typing import Annotated, Literal

from faultline._catalogue import case, mode
from faultline._fault import Fault, breaks
from faultline._steps import Close, Hold, Reset

__all__ = ["close", "reset", "stall"]

At = Annotated[
    Literal["accept", "handshake", "request", "response", "idle"],
    "the point of the conversation where it strikes",
]
AfterBytes = Annotated[int, "let so many bytes of that point through first"]


@mode(
    case("ConnectionResetError"),
    case("ConnectionResetError", after_bytes=10),
    case("ConnectionResetError", at="accept"),
    case("ConnectionResetError", at="handshake"),
    case("ConnectionResetError", at="request"),
    case("ConnectionResetError", at="request", after_bytes=10),
    case("ConnectionResetError", at="idle"),
)
def reset(*, at: At = "response", after_bytes: AfterBytes = 0) -> Fault:
    """Send RST: the connection dies at once, as when a process or a middlebox kills it.

    The client's next operation raises `ConnectionResetError` (ECONNRESET), its later sends `BrokenPipeError`.
    What was sent before is delivered first: exactly `after_bytes` bytes of the response (at `request`: of the
    request are read; at `handshake`: of the server's handshake are sent; with TLS, application bytes). At
    `request` it strikes when the request begins to arrive, at `idle` when a response is complete and the
    connection is kept alive.

    On the wire: `SO_LINGER` 0 and close (socket(7)), once the send queue is acknowledged.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.reset()) as server:
        ...     urllib.request.urlopen(server.url)
        Traceback (most recent call last):
        ConnectionResetError: [Errno 104] Connection reset by peer
    """
    return breaks(at, Reset(), after_bytes=after_bytes)


@mode(
    case("end of stream"),
    case("end of stream", after_bytes=10),
    case("end of stream", at="accept"),
    case("end of stream", at="handshake"),
    case("end of stream", at="request"),
    case("end of stream", at="request", after_bytes=10),
    case("end of stream", at="idle"),
)
def close(*, at: At = "response", after_bytes: AfterBytes = 0) -> Fault:
    """Send FIN: the server hangs up in an orderly way, too early.

    The client reads exactly `after_bytes` bytes of the response and then the end of the stream; HTTP clients call
    it "remote end closed connection without response" or "incomplete read". What the client has sent is read
    first, because closing with unread input would send RST (RFC 1122, 4.2.2.13); what it sends later is
    answered by RST, so that a client which keeps writing gets `BrokenPipeError`.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.close()) as server:
        ...     urllib.request.urlopen(server.url)
        Traceback (most recent call last):
        http.client.RemoteDisconnected: Remote end closed connection without response
    """
    return breaks(at, Close(), after_bytes=after_bytes)


@mode(
    case("TimeoutError"),
    case("TimeoutError", after_bytes=10),
    case("TimeoutError", at="accept"),
    case("TimeoutError", at="handshake"),
    case("TimeoutError", at="request"),
    case("TimeoutError", at="idle"),
    case("the response", for_seconds=0.05),
)
def stall(
    *,
    at: At = "response",
    after_bytes: AfterBytes = 0,
    for_seconds: Annotated[
        float | None,
        "go on with the healthy conversation after so long; else when the client gives up",
    ] = None,
) -> Fault:
    """Say nothing more and read nothing more: the connection is open and silent.

    The client waits until its own timeout. Without `for_seconds` that lasts until the client gives up, which the
    ledger keeps; a client that closes only its sending side counts as having given up. With `for_seconds` the
    healthy conversation goes on afterwards: a slow server.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.stall()) as server:
        ...     urllib.request.urlopen(server.url, timeout=0.1)
        Traceback (most recent call last):
        TimeoutError: timed out
    """
    return breaks(at, Hold(for_seconds), after_bytes=after_bytes)
