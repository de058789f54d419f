"""Modes of answers: what the server sends when nothing breaks."""

from dataclasses import replace
from typing import Annotated, Literal

from faultline._core.answers import (
    OK_BODY,
    Answer,
    AsUsual,
    Headers,
    HeadersLike,
    phrase_of,
)
from faultline._core.check import rejected, whole
from faultline._core.conditions import Trickle
from faultline._core.fault import Fault
from faultline._core.header_fields import FIELD_VALUE, fields
from faultline._core.hosts import NOWHERE
from faultline.modes._bodies import (
    BODILESS,
    as_json,
    checked_chunks,
    coded,
    framed,
    streamed,
    with_default,
    with_trailers,
)
from faultline.modes._registry import case, mode

__all__ = ["echo", "ok", "raw", "redirect", "status", "trickle_headers"]

USUAL = 200


@mode(
    case("the response"),
    case("the response", body=b"hello", status=201),
    case("the response", chunks=(b"one,", b"two"), every_seconds=0.001),
)
def ok(
    body: Annotated[bytes | None, "the body (default: a short text)"] = None,
    *,
    status: Annotated[int, "the status code"] = USUAL,
    headers: Annotated[HeadersLike, "further header fields, by name"] = (),
    json: Annotated[object, "a value whose JSON is the body, with its Content-Type"] = None,
    chunked: Annotated[bool, "send the body in one chunk, without a Content-Length (RFC 9112, 7.1)"] = False,
    chunks: Annotated[tuple[bytes, ...], "the chunks of the body, sent one by one (RFC 9112, 7.1)"] = (),
    every_seconds: Annotated[float, "the time between two chunks"] = 0.0,
    endless: Annotated[bool, "send the chunks again and again, until the client leaves"] = False,
    ranges: Annotated[bool, "send the part of the body that a request asks for by its Range field"] = False,
    trailers: Annotated[HeadersLike, "fields after the body, by name"] = (),
) -> Fault:
    """Answer as a healthy server does.

    The response carries `Content-Length` and keeps the connection alive as HTTP/1.1 says (RFC 9112, 9.3). A
    field in `headers` replaces the server's own of that name. With `chunked`, or `Transfer-Encoding: chunked` among
    them, the body is sent in chunks; with another coding the body ends with the connection. A `Content-Length` that is
    not that of the body is a fault: the client reads too little, or the connection ends before it has read enough.

    `ok()` alone means the answer that the server has for every request: that of `serve(…, answer=…)`, or a short text.
    With a body, a status or a field it replaces that answer.

    A body in `chunks` streams: the head and the first chunk are sent at once, each further chunk `every_seconds` after
    the one before. A break among them cuts the stream, as in `ok(chunks=(b"1", b"2")) & reset(after_body_bytes=7)`,
    where the length and the line end of each chunk count as bytes of the body.

    With `trailers` fields follow the body (RFC 9110, 6.5), which HTTP/1.1 then sends in chunks.

    With `ranges` a download can be resumed: the answer has an `ETag`, and a GET with `Range` gets 206 and the part, 416
    if there is none, or the whole body if its `If-Range` is another tag (RFC 9110, 13.1.5 and 14).

    .. versionadded:: 0.1

    Raises:
        ParameterError: `status` is not from 200 to 999; HTTP can't carry a name or a value in `headers`; there is more
            than one of `body`, `json` and `chunks`; `json` is nothing that JSON can say; a chunk is empty;
            `every_seconds` or `endless` is given without `chunks`; `chunked` with a `Content-Length`, a
            `Transfer-Encoding` or a status without content; `ranges` with another status, with chunks or with
            trailers; or `trailers` with a body that has no end or is empty.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.ok(b"hello")) as server:
        ...     urllib.request.urlopen(server.url).read()
        b'hello'
    """
    whole("status", status, "", 200, 999)
    given, behind = coded(fields(headers), status, chunked=chunked), fields(trailers, "trailers")
    if json is not None and (body is not None or chunks):
        raise rejected("json", json, "only one of body, json and chunks")
    if chunks and body is not None:
        raise rejected("chunks", chunks, "only one of body, json and chunks")
    if (chunks or behind) and ranges:
        raise rejected("ranges", ranges, "a body or json beside it, and no chunks or trailers")
    for name, value in (("every_seconds", every_seconds), ("endless", endless)):
        if value and not chunks:
            raise rejected(name, value, "chunks=(…) beside it")
    if json is not None:
        body, given = as_json("json", json).encode(), with_default(given, "Content-Type", "application/json")
    if behind and not chunks:
        if body == b"" or status in BODILESS:
            raise rejected("trailers", trailers, "a body that is not empty")
        chunks = (OK_BODY if body is None else body,)
    if chunks:
        return with_trailers(streamed(status, given, checked_chunks(chunks), every_seconds, endless=endless), behind)
    return whole_body(status, given, body, ranges=ranges)


def whole_body(status: int, given: Headers, body: bytes | None, *, ranges: bool) -> Fault:
    """A healthy answer whose body comes at once.

    Raises:
        ParameterError: `ranges` is given with another status, or with `Content-Length` or `Transfer-Encoding`.
    """
    if body is None and status == USUAL and not given and not ranges:
        return Fault(answer=AsUsual())
    answer = framed(status, given, body)
    if ranges and (status != USUAL or {"content-length", "transfer-encoding"} & {name.lower() for name, _ in given}):
        raise rejected("ranges", ranges, "status=200, and no chunked=True, Content-Length or Transfer-Encoding")
    return Fault(answer=replace(answer, ranges=ranges))


@mode(case("the response"))
def echo() -> Fault:
    """Answer with the body of the request, or with the bytes themselves to a client without HTTP.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.echo()) as server:
        ...     urllib.request.urlopen(server.url, data=b"who is there?").read()
        b'who is there?'
    """
    return Fault(answer=Answer(echoes=True))


@mode(
    case("the response", code=503),
    case("the response", code=429, retry_after=1),
    case("the response", code=404, body=b"no such thing"),
)
def status(
    code: Annotated[int, "the status code"],
    *,
    retry_after: Annotated[
        int | str | None, "a Retry-After field: seconds, or a date such as 'Fri, 31 Dec 1999 23:59:59 GMT'"
    ] = None,
    headers: Annotated[HeadersLike, "further header fields, by name"] = (),
    body: Annotated[bytes | None, "the body (default: the code with its reason phrase)"] = None,
) -> Fault:
    """Answer with this status code: from 400 on it is a fault.

    Many clients raise an error for it, some only in a call such as `raise_for_status()`; a retry policy may try again
    after the time in `Retry-After` (RFC 9110, 10.2.3). A client that waits for `100 Continue` gets a code from 300 on
    instead, before it sends its body (RFC 9110, 10.1.1).

    .. versionadded:: 0.1

    Raises:
        ParameterError: `code` is not from 200 to 999; HTTP can't carry `retry_after`, or a name or a value in
            `headers`; `headers` has a Retry-After beside `retry_after`; or a code without content has a body.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.status(503, retry_after=1)) as server:
        ...     urllib.request.urlopen(server.url)
        Traceback (most recent call last):
        urllib.error.HTTPError: HTTP Error 503: Service Unavailable
    """
    whole("code", code, "", 200, 999)
    given = fields(headers)
    if code in BODILESS and body:
        raise rejected("body", body, f"no body with status {code}, which has no content; raw(b'…') sends any bytes")
    if retry_after is not None:
        if isinstance(retry_after, str):
            if not retry_after or not FIELD_VALUE.fullmatch(retry_after):
                raise rejected("retry_after", retry_after, "seconds, a date of HTTP, or other text of one line")
        else:
            whole("retry_after", retry_after, " of seconds")
        if any(name.lower() == "retry-after" for name, _ in given):
            raise rejected("retry_after", retry_after, "no Retry-After in headers, which have another")
        given += (("Retry-After", str(retry_after)),)
    if body is None:
        body = f"{code} {phrase_of(code)}".strip().encode() + b"\n"
    return Fault(answer=framed(code, given, body))


LEADS = {
    "loop": "/again",
    "to_nowhere": f"http://{NOWHERE}/",
    "invalid_url": "http://localhost:port/",
    "downgrade": "http://{host}/",
}


@mode(
    case("the response", kind="loop"),
    case("the response", kind="chain", hops=2),
    case("the response", kind="to_nowhere"),
    case("the response", kind="invalid_url"),
    case("the response", kind="downgrade"),
)
def redirect(
    kind: Annotated[
        Literal["loop", "chain", "to_nowhere", "invalid_url", "downgrade"], "where the redirect leads"
    ] = "loop",
    *,
    hops: Annotated[int | None, "for kind=chain: how many redirects before the answer (default: 10)"] = None,
    to: Annotated[str | None, "for the other kinds: the Location field; {host} is the Host of the request"] = None,
    code: Annotated[Literal[301, 302, 303, 307, 308], "the status code"] = 302,
) -> Fault:
    """Redirect the client to a wrong place.

    - `loop`: to `/again`, without end. `chain`: `hops` redirects, to `/hop/1` and so on, then the answer.
    - `to_nowhere`: to an address that no route leads to, so that following it raises `OSError` with errno 101.
    - `invalid_url`: to a URL with a port that is no number.
    - `downgrade`: from https to http, at the same host and port. The ledger shows a client that follows, because it
      sends a request without TLS. `to=other.url` leads it to a server that answers.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `hops` or `to` belongs to another kind, `hops` is below 1, or `to` is not a URL of one line.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.redirect("loop")) as server:
        ...     urllib.request.urlopen(server.url)
        Traceback (most recent call last):
        urllib.error.HTTPError: HTTP Error 302: The HTTP server returned a redirect error ...
    """
    if kind == "chain":
        if to is not None:
            raise rejected("to", to, "no to with kind='chain', which makes its own")
        hops = whole("hops", 10 if hops is None else hops, "", 1)
        return Fault(answer=Answer(code, hops=hops, is_fault=True))
    if hops is not None:
        raise rejected("hops", hops, f"no hops with kind={kind!r}; write kind='chain'")
    location = LEADS[kind] if to is None else to
    if not location or not FIELD_VALUE.fullmatch(location):
        raise rejected("to", to, "a URL of one line")
    return Fault(answer=Answer(code, body=b"", location=location, is_fault=True, needs_tls=kind == "downgrade"))


@mode(case("end of stream", data=b"220 mail.invalid ESMTP"))
def raw(
    data: Annotated[bytes, "the bytes that the server sends"],
    *,
    keep_alive: Annotated[bool, "keep the connection open for the next request, instead of FIN"] = False,
) -> Fault:
    r"""Answer with these bytes, without a status line or header fields of the server's own.

    The server reads the request, sends the bytes as they are, and then sends FIN. With TLS the bytes are encrypted.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `data` is empty.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")) as server:
        ...     urllib.request.urlopen(server.url).read()
        Traceback (most recent call last):
        http.client.IncompleteRead: IncompleteRead(3 bytes read, 2 more expected)
    """
    if not data:
        raise rejected("data", data, "at least one byte; close() sends none")
    return Fault(answer=Answer(raw=data, ends=not keep_alive, is_fault=True))


@mode(case("the response", lines=5, every_seconds=0.001))
def trickle_headers(
    lines: Annotated[int, "the number of further header lines"] = 20,
    *,
    every_seconds: Annotated[float, "the time between two lines"] = 0.5,
) -> Fault:
    """Send the head of the response line by line, so slowly that it seems to have no end; then the body.

    The lines come by absolute deadlines that don't drift. A client whose timeout is per read never times out: only
    a limit on the whole request ends it.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import trickle_headers
        >>> trickle_headers(100, every_seconds=0.2)
        trickle_headers(100, every_seconds=0.2)
    """
    whole("lines", lines, "", 1, 10_000)
    headers = tuple((f"X-Trickle-{number}", "more to come") for number in range(1, lines + 1))
    return Fault(answer=Answer(headers=headers), conditions=(Trickle(every_seconds=every_seconds),))
