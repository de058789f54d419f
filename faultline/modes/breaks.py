"""Modes that break an open connection, at any point of the conversation."""

import re
from typing import Annotated

from faultline._core.breaks import Trigger, check_one_end
from faultline._core.check import rejected
from faultline._core.fault import Fault, breaks
from faultline._core.gate import Gate
from faultline._core.points import DataPoint, OpenPoint
from faultline._core.steps import Close, ConnectionStep, HalfClose, Hold, Inject, Partition, ReceiveAll, Reset
from faultline.modes._registry import case, mode

__all__ = ["close", "half_close", "inject", "partition", "reset", "stall"]

At = Annotated[
    OpenPoint | None,
    "the point of the conversation where the fault strikes (default: response, or request with --on)",
]
AfterBytes = Annotated[
    int, "let this number of bytes pass the point first; with after_messages, count from the end of those messages"
]
AfterSeconds = Annotated[float, "let traffic flow for this many seconds first, counted from there"]
AfterMessages = Annotated[
    int | None, "let this number of messages pass first; a message ends when the other side sends"
]
AfterBodyBytes = Annotated[
    int | None, "let the head of an HTTP message and this number of bytes of its body pass first"
]
AfterRequests = Annotated[int, "let this number of requests of the connection pass first"]
Until = Annotated[Gate | None, "hold all bytes at the point until the test opens this gate, then strike"]
On = Annotated[bytes | re.Pattern[bytes] | None, "strike when these bytes have passed"]


@mode(
    case("ConnectionResetError"),
    case("ConnectionResetError", after_bytes=10),
    case("ConnectionResetError", at="response", on=b"HTTP/1.1 200"),
    case("ConnectionResetError", at="accept"),
    case("ConnectionResetError", at="handshake"),
    case("ConnectionResetError", at="handshake", after_bytes=10),
    case("ConnectionResetError", at="request"),
    case("ConnectionResetError", at="request", after_bytes=10),
    case("ConnectionResetError", on=b"Host:"),
    case("ConnectionResetError", at="idle"),
    case("end of stream", fin_first=True),
)
def reset(
    *,
    at: At = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_messages: AfterMessages = None,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    until: Until = None,
    fin_first: Annotated[
        bool, "send FIN before the RST: the client reads the end of the stream, and its next send is a broken pipe"
    ] = False,
) -> Fault:
    """Send RST: the connection dies at once, as when a process or a middlebox kills it.

    The client's next operation raises `ConnectionResetError` (ECONNRESET), its later sends `BrokenPipeError`. With
    `fin_first` its next read is the end of the stream and its next send raises `BrokenPipeError` (EPIPE; in TLS
    `ssl.SSLZeroReturnError` once the client has read the end).

    Bytes that were sent before are delivered first: exactly `after_bytes` bytes of the response (at `request`: of the
    request are read; at `handshake`: of the server's handshake are sent; with TLS, application bytes). At
    `request` it strikes when the request begins to arrive, at `idle` when a response is complete and the
    connection is kept alive. `on` is looked for in the client's bytes at `request` and in the server's bytes at
    `response`, also across reads.

    With `after_seconds` the conversation goes on as if nothing were planned, from the place where it would have
    struck, for this time; then it strikes, wherever the conversation is. Further requests on the connection meet the
    same fault until then, and a server does not close the connection before. At `idle` it is a timer that the next
    request stops.

    `after_body_bytes` counts from the end of the head of an HTTP message, and of the interim responses before it, and
    counts bytes on the wire: with chunks, those of their framing too. `after_requests` counts the requests of a
    connection that is kept alive; they and the next meet the same fault. A relay counts the client's messages
    instead, and only at `idle`. With `until` everything is held at the place until the test opens the gate, and then
    it strikes. `after_messages=2, after_bytes=10` strikes after the first 10 bytes of the third message. If that
    message is shorter, it does not strike.

    On the wire: `SO_LINGER` 0 and close (socket(7)), once the client's kernel has every byte.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.reset()) as server:
        ...     urllib.request.urlopen(server.url)
        Traceback (most recent call last):
        ConnectionResetError: [Errno 104] Connection reset by peer
    """
    steps: tuple[ConnectionStep, ...] = (Reset(fin_first=fin_first),)
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_messages=after_messages,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
        until=until,
    )
    return breaks(at, trigger, *steps)


@mode(
    case("end of stream"),
    case("end of stream", after_bytes=10),
    case("end of stream", at="response", on=b"HTTP/1.1 200"),
    case("end of stream", at="accept"),
    case("end of stream", at="handshake"),
    case("end of stream", at="request"),
    case("end of stream", at="request", after_bytes=10),
    case("end of stream", on=b"Host:"),
    case("end of stream", at="idle"),
)
def close(
    *,
    at: At = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_messages: AfterMessages = None,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    until: Until = None,
    close_notify: Annotated[bool, "with TLS: send close_notify before FIN; without it the session is truncated"] = True,
) -> Fault:
    """Send FIN: the server hangs up in an orderly way, too early.

    The client reads exactly `after_bytes` bytes of the response and then the end of the stream; HTTP clients call
    it "remote end closed connection without response" or "incomplete read". The server reads the
    client's bytes first, because closing with unread input would send RST (RFC 1122, 4.2.2.13). Later bytes are
    answered by RST, so that a client that keeps writing gets `BrokenPipeError`. The triggers are those of `reset`.

    With `close_notify=False` a TLS session is truncated (RFC 8446, 6.1): a client that checks raises `ssl.SSLEOFError`.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.close()) as server:
        ...     urllib.request.urlopen(server.url)
        Traceback (most recent call last):
        http.client.RemoteDisconnected: Remote end closed connection without response
    """
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_messages=after_messages,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
        until=until,
    )
    return breaks(at, trigger, Close(close_notify))


@mode(
    case("end of stream"),
    case("end of stream", after_bytes=10),
    case("end of stream", at="request"),
    case("end of stream", at="idle"),
)
def half_close(
    *,
    at: At = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_messages: AfterMessages = None,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    until: Until = None,
) -> Fault:
    """Send FIN and go on reading: the server sends no more bytes, and still receives.

    The client reads the end of the stream, and may send as much as it likes; the ledger counts it. With TLS a
    close_notify goes before the FIN. The triggers are those of `reset`.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.half_close(at="accept")) as server:
        ...     with socket.create_connection(server.address) as client:
        ...         client.recv(100), client.sendall(b"still there?")
        (b'', None)
    """
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_messages=after_messages,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
        until=until,
    )
    return breaks(at, trigger, HalfClose(), ReceiveAll())


@mode(
    case("TimeoutError"),
    case("TimeoutError", after_bytes=10),
    case("TimeoutError", at="response", on=b"HTTP/1.1 200"),
    case("TimeoutError", at="accept"),
    case("TimeoutError", at="handshake"),
    case("TimeoutError", at="request"),
    case("TimeoutError", on=b"Host:"),
    case("TimeoutError", at="idle"),
    case("the response", for_seconds=0.05),
)
def stall(
    *,
    at: At = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_messages: AfterMessages = None,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    for_seconds: Annotated[
        float | None, "go on with the healthy conversation after this many seconds (default: never)"
    ] = None,
    until: Annotated[Gate | None, "go on when the test opens this gate"] = None,
) -> Fault:
    """Send nothing more and read nothing more: the connection is open and silent.

    The client waits until its own timeout; at `accept` and `request` its sends block once the buffers are full, which
    takes some 2 MB over loopback. Without `for_seconds` and `until` the silence lasts until the client gives up, which
    the ledger records; a client that closes only its sending side still waits, on Linux. With `for_seconds` or
    `until` the healthy conversation goes on afterwards, as with a slow server. The triggers are those of `reset`.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.stall()) as server:
        ...     urllib.request.urlopen(server.url, timeout=0.1)
        Traceback (most recent call last):
        TimeoutError: timed out
    """
    check_one_end(for_seconds, until)
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_messages=after_messages,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
    )
    return breaks(at, trigger, Hold(for_seconds, until))


@mode(
    case("TimeoutError"),
    case("TimeoutError", after_bytes=10),
    case("TimeoutError", at="accept"),
    case("TimeoutError", at="handshake"),
    case("TimeoutError", at="request"),
    case("TimeoutError", at="idle"),
)
def partition(
    *,
    at: At = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_messages: AfterMessages = None,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    for_seconds: Annotated[float | None, "let packets through again after this many seconds (default: never)"] = None,
    until: Annotated[Gate | None, "let packets through again when the test opens this gate"] = None,
) -> Fault:
    """Drop all packets: the network between client and server is gone.

    The client waits until its own timeout, and its bytes are not even acknowledged: with `TCP_USER_TIMEOUT` or
    keepalive it gets `TimeoutError` (ETIMEDOUT) from the kernel. The server can't see the client leave. With
    `for_seconds` the healthy conversation goes on afterwards. The triggers are those of `reset`; at `connect` the mode
    is `blackhole`.

    Needs the socket filter (SO_ATTACH_FILTER, socket(7)), which takes CAP_NET_ADMIN; without it `serve` raises
    `UnsupportedError`.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import partition
        >>> partition(after_bytes=10)
        partition(after_bytes=10)
    """
    check_one_end(for_seconds, until)
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_messages=after_messages,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
    )
    return breaks(at, trigger, Partition(for_seconds, until))


@mode(
    case("the response", data=b"nonsense", at="response", on=b"OK"),
)
def inject(
    data: Annotated[bytes, "the bytes to insert"],
    *,
    at: Annotated[
        DataPoint | None, "the bytes among which they are inserted (default: response, or request with --on)"
    ] = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_messages: AfterMessages = None,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    until: Until = None,
) -> Fault:
    r"""Insert bytes that neither side has sent; then the conversation goes on.

    At `response` the client gets the bytes. At `request` the upstream gets them, so that it takes a relay.
    The triggers are those of `reset`.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import inject
        >>> inject(b"\x00", after_bytes=100)
        inject(b'\x00', after_bytes=100)
    """
    if not data:
        raise rejected("data", data, "at least one byte")
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_messages=after_messages,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
        until=until,
    )
    return breaks(at, trigger, Inject(data))
