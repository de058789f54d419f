"""The errors of http.client, urllib and urllib3."""

from __future__ import annotations

from faultline._explain.entry import Entry

PYTHON: tuple[Entry, ...] = (
    Entry(
        "http.client.RemoteDisconnected",
        "http.client and urllib",
        "The server hung up without a byte of a response. The class is a ConnectionResetError and a BadStatusLine at "
        "once, though what came is a FIN and no RST.",
        (
            "The server closed a kept-alive connection just when the client used it again.",
            "The server process restarts, or its worker was killed while it worked on the request.",
            "A proxy or a load balancer gave up on its own server, and closed.",
        ),
        messages=("Remote end closed connection without response",),
        main="close()",
        points=("idle",),
        example="reset",
    ),
    Entry(
        "http.client.IncompleteRead",
        "http.client and urllib",
        "The connection ended within a body: fewer bytes than Content-Length says, or no last chunk. What did come "
        "is in `partial`.",
        (
            "The server crashed while it sent, or a proxy in front of it has a time limit.",
            "A wrong Content-Length: of the text before it was compressed, or in characters instead of bytes.",
        ),
        messages=("IncompleteRead(", "more expected"),
        main="close(after_bytes=100)",
        example="cut",
    ),
    Entry(
        "http.client.BadStatusLine",
        "http.client and urllib",
        "The first line of the response is no status line of HTTP.",
        (
            "The port belongs to another protocol: TLS, SSH, SMTP, a database.",
            "What was left over of the last response on a kept-alive connection is read as the next one.",
            "The server crashed in the middle of the line.",
        ),
        main="malformed('other_protocol')",
        example="protocol",
    ),
    Entry(
        "http.client.UnknownProtocol",
        "http.client and urllib",
        "The response is of a version of HTTP that doesn't exist.",
        ("A broken server or proxy.",),
        example="protocol",
    ),
    Entry(
        "http.client.LineTooLong",
        "http.client and urllib",
        "A line of the head is longer than 65,536 bytes.",
        ("A cookie or a debug header that grows without a limit.",),
        messages=("got more than 65536 bytes when reading",),
        example="protocol",
    ),
    Entry(
        "http.client.HTTPException",
        "http.client and urllib",
        "The response breaks the rules of HTTP. It is the base of http.client's own errors, and no OSError; the class "
        "itself is raised for more than 100 headers.",
        ("A server or a proxy that adds a header each time the response passes it.",),
        messages=("got more than 100 headers",),
        members=(
            *("http.client.RemoteDisconnected", "http.client.IncompleteRead", "http.client.BadStatusLine"),
            *("http.client.UnknownProtocol", "http.client.LineTooLong", "http.client.CannotSendRequest"),
        ),
        example="protocol",
    ),
    Entry(
        "zlib.error",
        "http.client and urllib",
        "The body is not compressed in the way that Content-Encoding says, or it is cut. http.client and urllib decode "
        "nothing; urllib3, requests, httpx and aiohttp wrap this error.",
        ("A proxy or a cache that mixed up a compressed and a plain body.",),
        messages=("Error -3 while decompressing", "incorrect header check"),
        example="requests",
    ),
    Entry(
        "http.client.CannotSendRequest",
        "http.client and urllib",
        "The client began a request though the response before it was not read to its end.",
        ("One connection is used by two threads, or again after an error that was swallowed.",),
        also=("http.client.ResponseNotReady", "http.client.ImproperConnectionState"),
        messages=("Request-sent",),
        points=("request",),
        instead="No mode gives it: the mistake is the client's own, often after another error, which a mode can give.",
        example="protocol",
    ),
    Entry(
        "http.client.InvalidURL",
        "http.client and urllib",
        "The URL has a blank, a control character, or a port that is no number. Nothing was sent.",
        ("A URL put together from input that was not quoted.",),
        points=("lookup",),
        instead="No mode gives it: the URL is the client's own.",
        example="protocol",
    ),
    Entry(
        "urllib.error.URLError",
        "http.client and urllib",
        "urllib's wrapper of an OSError before the response: look at its `reason`. An error while the body is read is "
        "not wrapped.",
        ("Whatever its `reason` says.",),
        messages=("<urlopen error",),
        points=("lookup", "connect", "handshake", "request"),
        instead="refuse(), nxdomain(), bad_cert('expired') and all that fails before the response.",
        example="urllib",
    ),
    Entry(
        "urllib.error.HTTPError",
        "http.client and urllib",
        "The server answered with a status of 400 or more: a whole response, no failure of the network. The error is "
        "the response too: it can be read, and has to be closed.",
        ("What the status says; 502, 503 and 504 come of a proxy whose server failed.",),
        messages=("HTTP Error",),
        points=("response",),
        instead="status(503), for any status.",
        example="urllib",
    ),
)


def urllib3(name: str, means: str, *causes: str, **more: object) -> Entry:
    """The entry of a class of urllib3."""
    given = {"example": "urllib3", **more}
    return Entry(f"urllib3.exceptions.{name}", "urllib3", means, causes, **given)  # type: ignore[arg-type] # fields


URLLIB3: tuple[Entry, ...] = (
    urllib3(
        "HTTPError",
        "The base of all errors of urllib3; none is an OSError.",
        members=("urllib3.exceptions.MaxRetryError", "urllib3.exceptions.ProtocolError", "urllib3.exceptions.SSLError"),
    ),
    urllib3(
        "MaxRetryError",
        "All tries failed; `reason` has the last error. urllib3 by itself tries four times. Under requests it tries "
        "once, and the text still says that the retries were exceeded.",
        "Whatever `reason` says: in a text, read what stands after `Caused by`.",
        messages=("Max retries exceeded with url", "Max retries exceeded", "too many error responses"),
        points=("lookup", "connect", "handshake", "request", "response"),
        instead="Any mode that fails before or in the response; refuse() is the plainest.",
    ),
    urllib3(
        "NewConnectionError",
        "The connect failed: refused, no route, no address of its own.",
        "See ConnectionRefusedError and ENETUNREACH.",
        messages=("Failed to establish a new connection",),
        main="refuse()",
    ),
    urllib3(
        "NameResolutionError",
        "The name could not be looked up. A kind of NewConnectionError.",
        "See socket.gaierror.",
        messages=("Failed to resolve",),
    ),
    urllib3(
        "ConnectTimeoutError",
        "The connect took longer than the connect timeout. NewConnectionError is a kind of it, for historical reasons.",
        "See TimeoutError at `connect`: the machine is down, or a firewall drops the packets.",
        messages=("Connection to", "connect timeout="),
    ),
    urllib3(
        "ReadTimeoutError",
        "No byte came for as long as the read timeout says. The handshake of TLS counts as reading.",
        "See TimeoutError: a server that is busy or hangs.",
        messages=("Read timed out",),
        main="stall()",
    ),
    urllib3(
        "ProtocolError",
        "The connection broke in the middle of a request or a response, or what came is not HTTP. Its second argument "
        "is the error under it.",
        "`Connection aborted.`: it broke before the response was there. `Connection broken:`: in the body.",
        also=("urllib3.exceptions.ConnectionError",),
        messages=("Connection aborted", "Connection broken", "Response ended prematurely"),
        main="reset()",
    ),
    urllib3(
        "IncompleteRead",
        "The body ended before its Content-Length, or its last chunk. urllib3 wraps it in ProtocolError, requests in "
        "ChunkedEncodingError.",
        "See http.client.IncompleteRead.",
        also=("urllib3.exceptions.InvalidChunkLength",),
        messages=("InvalidChunkLength",),
        points=("response",),
        instead="close(after_bytes=100), read under a ProtocolError.",
    ),
    urllib3(
        "SSLError",
        "TLS failed; the error of ssl is its argument.",
        "See ssl.SSLError.",
        main="bad_cert('expired')",
    ),
    urllib3(
        "DecodeError",
        "The body is not compressed in the way that Content-Encoding says.",
        "A proxy or a cache that mixed up a compressed and a plain body.",
        messages=("failed to decode it",),
    ),
    urllib3(
        "InvalidHeader", "A header of the response can't be read, such as two lengths.", "A broken server or proxy."
    ),
    urllib3("LocationParseError", "A URL can't be read, as that of a redirect.", "A redirect put together wrongly."),
    urllib3(
        "ProxyError",
        "The proxy can't be reached, or refuses.",
        "The proxy is down; HTTPS_PROXY or HTTP_PROXY is wrong, or wants a name and a password (407).",
        messages=("Unable to connect to proxy", "Tunnel connection failed", "Cannot connect to proxy"),
        points=("connect", "tunnel"),
        instead="faultline.http_proxy(status(407)), or a reset or refuse() of the proxy.",
    ),
    urllib3(
        "EmptyPoolError",
        "All connections of a pool with block=True were in use for longer than the pool timeout.",
        "Responses that nobody reads to their end or releases; more threads than connections.",
        also=("urllib3.exceptions.FullPoolError", "urllib3.exceptions.ClosedPoolError"),
        messages=("Pool reached maximum size", "Pool is closed", "No pool connections are available"),
        points=("connect",),
        instead="stall(), with more callers than the pool has connections.",
    ),
)
