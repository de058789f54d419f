"""Modes of HTTP/2: its frames and its settings. They take a server that speaks it, as `serve(…, http2=True)` does."""

from typing import Annotated, Literal

from faultline._core.breaks import Trigger
from faultline._core.check import rejected, whole
from faultline._core.fault import Fault, breaks
from faultline._core.http2 import Code, Http2Answer, Http2Terms, number_of
from faultline._core.streams import GoAway, RstStream
from faultline.modes._registry import case, mode
from faultline.modes.breaks import AfterBodyBytes, AfterBytes, AfterRequests, AfterSeconds, On, Until

__all__ = ["bad_http2", "goaway", "http2_settings", "rst_stream"]

LARGEST = (1 << 31) - 1
Kind = Literal[
    "ping_unanswered",
    "settings_unanswered",
    "settings_missing",
    "settings_invalid",
    "settings_flood",
    "ping_flood",
    "http1_response",
    "frame_cut",
    "frame_illegal",
    "frame_oversized",
    "hpack_garbage",
    "continuation_flood",
    "headers_too_large",
    "status_missing",
    "header_uppercase",
    "connection_header",
    "data_first",
    "data_after_end",
    "stream_unopened",
    "push",
    "window_zero",
    "window_overflow",
]
OMITTED: dict[str, Literal["ping_ack", "settings_ack", "settings"]] = {
    "ping_unanswered": "ping_ack",
    "settings_unanswered": "settings_ack",
    "settings_missing": "settings",
}
At = Annotated[
    Literal["request", "response", "idle"] | None,
    "the point of the conversation where the fault strikes (default: response, or request with --on)",
]


@mode(case("GOAWAY"), case("GOAWAY", code="ENHANCE_YOUR_CALM"), case("GOAWAY", last_stream=0))
def goaway(
    code: Annotated[Code, "the error code, by its name in RFC 9113, 7"] = "NO_ERROR",
    *,
    last_stream: Annotated[
        int | None,
        "the number of the last stream that the server reports as processed (default: the stream that meets the fault)",
    ] = None,
    at: At = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    until: Until = None,
) -> Fault:
    """Send GOAWAY: the server accepts no further stream on this connection, as when it restarts.

    Without an error it is a graceful end: streams up to `last_stream` get their responses, later streams get none, and
    FIN follows once no stream is open. A client may send the requests after `last_stream` again, also a POST, because
    the server has not processed them (RFC 9113, 6.8). With an error code FIN follows at once.

    It strikes before the response; with `after_bytes` or `after_body_bytes` once the response has begun, and at `idle`
    between two requests. The triggers are those of `reset`; it never cuts a frame.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `last_stream` is no number of a stream.

    Example:
        >>> from faultline import goaway
        >>> goaway("ENHANCE_YOUR_CALM", last_stream=0)
        goaway('ENHANCE_YOUR_CALM', last_stream=0)
    """
    if last_stream is not None:
        whole("last_stream", last_stream, "", 0, LARGEST)
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
        until=until,
    )
    return breaks(at, trigger, GoAway(number_of(code), last_stream))


@mode(
    case("RST_STREAM"),
    case("RST_STREAM", code="REFUSED_STREAM"),
    case("RST_STREAM", code="INTERNAL_ERROR", after_body_bytes=10),
)
def rst_stream(
    code: Annotated[Code, "the error code, by its name in RFC 9113, 7"] = "CANCEL",
    *,
    at: Annotated[
        Literal["request", "response"] | None,
        "the point where the fault strikes (default: response, or request with --on)",
    ] = None,
    after_bytes: AfterBytes = 0,
    after_seconds: AfterSeconds = 0.0,
    after_body_bytes: AfterBodyBytes = None,
    after_requests: AfterRequests = 0,
    on: On = None,
    until: Until = None,
) -> Fault:
    """Send RST_STREAM: this stream ends with an error, and the others of the connection go on.

    With `REFUSED_STREAM` the server has processed nothing, so that a client may send any request again (RFC 9113, 8.7);
    with another code only an idempotent request. The triggers are those of `reset`; it never cuts a frame, and
    `after_body_bytes=n` sends exactly n bytes of the body before.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import rst_stream
        >>> rst_stream("REFUSED_STREAM")
        rst_stream('REFUSED_STREAM')
    """
    trigger = Trigger(
        after_bytes=after_bytes,
        after_seconds=after_seconds,
        after_body_bytes=after_body_bytes,
        after_requests=after_requests,
        on=on,
        until=until,
    )
    return breaks(at, trigger, RstStream(number_of(code)))


@mode(case("RST_STREAM", max_streams=0), case("the response", window_bytes=10))
def http2_settings(
    *,
    max_streams: Annotated[int | None, "SETTINGS_MAX_CONCURRENT_STREAMS: streams that may be open at once"] = None,
    window_bytes: Annotated[int | None, "SETTINGS_INITIAL_WINDOW_SIZE: what a client may upload at once"] = None,
    max_frame_bytes: Annotated[
        int | None, "SETTINGS_MAX_FRAME_SIZE: the longest payload of the client's frames"
    ] = None,
    max_header_list_bytes: Annotated[int | None, "SETTINGS_MAX_HEADER_LIST_SIZE: the fields of a request"] = None,
    header_table_bytes: Annotated[int | None, "SETTINGS_HEADER_TABLE_SIZE: the table of the client's encoder"] = None,
) -> Fault:
    """Begin the connection with these SETTINGS, which may leave the client little or no room.

    They are those of RFC 9113, 6.5.2.

    With `max_streams=0` a client may open no stream; a client that has not read the settings yet is refused by
    RST_STREAM with `REFUSED_STREAM`. With `window_bytes=0` it can send no byte of a body, and waits.
    A `max_frame_bytes` below 16,384, or a `window_bytes` of 2 GiB and more, is a setting that a client has to reject.

    .. versionadded:: 0.1

    Raises:
        ParameterError: no setting is given, or one is no whole number from 0 to 4,294,967,295.

    Example:
        >>> from faultline import http2_settings
        >>> http2_settings(max_streams=1, window_bytes=10)
        http2_settings(max_streams=1, window_bytes=10)
    """
    given = {
        "header_table_bytes": (1, header_table_bytes),
        "max_streams": (3, max_streams),
        "window_bytes": (4, window_bytes),
        "max_frame_bytes": (5, max_frame_bytes),
        "max_header_list_bytes": (6, max_header_list_bytes),
    }
    values = [
        (number, whole(name, value, "", 0, (1 << 32) - 1))
        for name, (number, value) in given.items()
        if value is not None
    ]
    if not values:
        raise rejected("max_streams", None, "at least one setting")
    return Fault(http2=Http2Terms(tuple(values)))


@mode(
    case("a protocol error", kind="hpack_garbage"),
    case("end of stream", kind="frame_cut"),
    case("the response", kind="ping_unanswered"),
)
def bad_http2(kind: Annotated[Kind, "what is wrong with the frames"]) -> Fault:
    """Speak HTTP/2 wrongly, in exactly one way.

    - Connection: `ping_unanswered` and `settings_unanswered` leave the client without an ACK, `settings_missing`
      without the SETTINGS of the server. Ahead of the response `settings_invalid` sends a SETTINGS frame with a frame
      size of 1 (RFC 9113, 6.5.2), `settings_flood` 10,000 SETTINGS frames, `ping_flood` 10,000 PING frames.
    - `http1_response` answers by HTTP/1.1, and FIN follows.
    - Frames (4): `frame_cut` ends in the middle of a DATA frame, by FIN. `frame_illegal` is a DATA frame on stream 0,
      `frame_oversized` longer than the client allows. `data_first` has DATA before the fields, `data_after_end` after
      the end of the stream; `stream_unopened` has fields on a stream that nobody has opened; `push` is a PUSH_PROMISE.
    - Fields (8.2): `hpack_garbage` can't be decoded, `continuation_flood` has 1,000 CONTINUATION frames without an end,
      and then FIN; `headers_too_large` has 200,000 bytes of fields. `status_missing` has no `:status`,
      `header_uppercase` a name in upper case, `connection_header` a field of HTTP/1.1.
    - Flow control (6.9): `window_zero` is a WINDOW_UPDATE by 0, `window_overflow` one beyond 2 GiB.

    A frame that is cut at any byte is `close(after_bytes=n)`, any other frame `inject(data)`.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import bad_http2
        >>> bad_http2("hpack_garbage")
        bad_http2('hpack_garbage')
    """
    if kind in OMITTED:
        return Fault(http2=Http2Terms(omits=OMITTED[kind]))
    return Fault(answer=Http2Answer(body=b"twenty bytes of body", is_fault=True, kind=kind))
