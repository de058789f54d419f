"""The errors of requests, httpx and aiohttp."""

from __future__ import annotations

from faultline._explain.entry import Entry


def requests(name: str, means: str, *causes: str, **more: object) -> Entry:
    """The entry of a class of requests."""
    given = {"example": "requests", **more, "also": (f"requests.{name}",)}
    return Entry(f"requests.exceptions.{name}", "requests", means, causes, **given)  # type: ignore[arg-type] # fields


def httpx(name: str, means: str, *causes: str, **more: object) -> Entry:
    """The entry of a class of httpx."""
    given = {"example": "httpx", **more, "also": (f"httpcore.{name}",)}
    return Entry(f"httpx.{name}", "httpx", means, causes, **given)  # type: ignore[arg-type] # fields


def aiohttp(name: str, means: str, *causes: str, **more: object) -> Entry:
    """The entry of a class of aiohttp."""
    given = {"example": "aiohttp", **more, "also": (f"aiohttp.client_exceptions.{name}",)}
    return Entry(f"aiohttp.{name}", "aiohttp", means, causes, **given)  # type: ignore[arg-type] # fields


REQUESTS: tuple[Entry, ...] = (
    requests(
        "RequestException",
        "The base of all errors of requests, and an OSError.",
        members=(
            *("requests.exceptions.ConnectionError", "requests.exceptions.Timeout", "requests.exceptions.HTTPError"),
            *("requests.exceptions.ChunkedEncodingError", "requests.exceptions.TooManyRedirects"),
        ),
    ),
    requests(
        "ConnectionError",
        "The network failed: lookup, connect, a broken connection, or bytes that are not HTTP. It is not the builtin "
        "ConnectionError, and not derived from it. A timeout in the middle of a body is one too.",
        "What stands after `Caused by` or `Connection aborted.` in its text.",
        main="refuse()",
    ),
    requests(
        "ConnectTimeout",
        "The connect took longer than the timeout. It is a ConnectionError and a Timeout at once, and safe to repeat: "
        "nothing was sent.",
        "The machine is down, or a firewall drops the packets.",
    ),
    requests(
        "ReadTimeout",
        "No byte came for as long as the timeout says, or the handshake of TLS took longer. The timeout is for each "
        "read: a server that sends a byte now and then is never too slow.",
        "A server that is busy or hangs.",
        main="stall()",
    ),
    requests(
        "Timeout",
        "The base of ConnectTimeout and ReadTimeout. requests has no timeout unless you give one.",
        members=("requests.exceptions.ConnectTimeout", "requests.exceptions.ReadTimeout"),
    ),
    requests("SSLError", "TLS failed. A kind of ConnectionError.", "See ssl.SSLError.", main="bad_cert('expired')"),
    requests(
        "ChunkedEncodingError",
        "The connection broke in the middle of a body, chunked or not.",
        "The server crashed while it sent, or a proxy has a time limit.",
        main="close(after_bytes=100)",
    ),
    requests(
        "ContentDecodingError", "The body is not compressed as Content-Encoding says.", "A cache that mixed it up."
    ),
    requests(
        "TooManyRedirects",
        "More than 30 redirects.",
        "Two rules that redirect to each other: http to https and back behind a proxy, or a login without a cookie.",
        messages=("Exceeded 30 redirects",),
    ),
    requests("InvalidHeader", "A header of the response can't be read, or one of the request.", "A broken server."),
    requests("InvalidURL", "The URL, or that of a redirect, can't be read.", "A URL put together from parts."),
    requests(
        "MissingSchema",
        "The URL has no http:// or https://; InvalidSchema is another scheme.",
        "A setting with a bare host name.",
        messages=("No scheme supplied", "No connection adapters were found"),
        points=("lookup",),
        instead="No mode gives it: the URL is the client's own.",
    ),
    requests(
        "HTTPError",
        "`raise_for_status()` found a status of 400 or more. The response is whole; it is in `response`.",
        "What the status says; 502, 503 and 504 come of a proxy whose server failed.",
        points=("response",),
        instead="status(503), for any status.",
    ),
    requests(
        "JSONDecodeError",
        "The body is no JSON. The request worked.",
        "An HTML page of a proxy or a login in place of the answer, or an empty body.",
        messages=("Expecting value: line 1 column 1",),
        points=("response",),
        instead="ok(b'<html>'), or status(502) whose status nobody checked.",
    ),
    requests(
        "ProxyError",
        "The proxy can't be reached, or refuses.",
        "HTTPS_PROXY or HTTP_PROXY is wrong, or the proxy wants a name and a password (407).",
        points=("connect", "tunnel"),
        instead="faultline.http_proxy(status(407)).",
    ),
    requests(
        "RetryError",
        "A Retry with status_forcelist gave up: the last response had one of those.",
        "A server that goes on answering 503 or 429.",
        points=("response",),
        instead="status(503), with an adapter that has max_retries=Retry(3, status_forcelist=[503]).",
    ),
)
HTTPX: tuple[Entry, ...] = (
    httpx(
        "HTTPError",
        "The base of httpx's errors of requests and statuses. Not an OSError.",
        members=("httpx.TransportError", "httpx.HTTPStatusError", "httpx.TooManyRedirects", "httpx.DecodingError"),
    ),
    httpx(
        "TransportError",
        "The base of all that the network can do to httpx; catch this one. RequestError is one step above.",
        members=("httpx.TimeoutException", "httpx.NetworkError", "httpx.ProtocolError", "httpx.ProxyError"),
    ),
    httpx(
        "TimeoutException",
        "The base of httpx's four timeouts; each has 5 s if you say nothing.",
        members=("httpx.ConnectTimeout", "httpx.ReadTimeout", "httpx.WriteTimeout", "httpx.PoolTimeout"),
    ),
    httpx(
        "ConnectTimeout",
        "The connect, or the handshake of TLS, took longer than the connect timeout. Nothing was sent.",
        "The machine is down, a firewall drops the packets, or a server accepts and does no more.",
        main="blackhole()",
    ),
    httpx(
        "ReadTimeout", "No byte came for as long as the read timeout says.", "A server that is busy.", main="stall()"
    ),
    httpx("WriteTimeout", "The server took no byte of the request for that long.", "A server that stopped reading."),
    httpx(
        "PoolTimeout",
        "No connection of the pool came free in time.",
        "More requests at a time than `max_connections`, or responses of `stream()` that nobody closes.",
        points=("connect",),
        instead="stall(), with more callers than the pool has connections.",
    ),
    httpx(
        "NetworkError",
        "The base of ConnectError, ReadError, WriteError and CloseError.",
        members=("httpx.ConnectError", "httpx.ReadError", "httpx.WriteError", "httpx.CloseError"),
    ),
    httpx(
        "ConnectError",
        "Lookup, connect or the handshake of TLS failed: also a bad certificate. Nothing was sent.",
        "See the error under it, in `__cause__`.",
        messages=("All connection attempts failed",),
        main="refuse()",
    ),
    httpx("ReadError", "The connection broke while httpx read.", "See ConnectionResetError.", main="reset()"),
    httpx(
        "WriteError",
        "The connection broke while httpx sent. httpx often looks for a response first, so that RemoteProtocolError is "
        "what you get.",
        "See BrokenPipeError.",
        points=("request",),
        instead="reset(at='request', after_bytes=65536), with an upload; which of the two comes is a matter of timing.",
    ),
    httpx(
        "CloseError",
        "Closing the connection failed.",
        "Rare: a connection that broke before.",
        points=("idle",),
        instead="No mode gives it: the response was read by then.",
    ),
    httpx(
        "ProtocolError",
        "The base of RemoteProtocolError (the server is wrong) and LocalProtocolError (the client is).",
        members=("httpx.RemoteProtocolError", "httpx.LocalProtocolError"),
    ),
    httpx(
        "RemoteProtocolError",
        "The server hung up too early, or sent what is not HTTP.",
        "`Server disconnected without sending a response.`: a stale kept-alive connection, or a server that restarts.",
        "`peer closed connection without sending complete message body`: it broke in the body.",
        messages=(
            *("Server disconnected without sending a response", "peer closed connection without sending complete"),
            *("incomplete chunked read", "illegal status line", "Receive buffer too long"),
        ),
        main="close()",
    ),
    httpx(
        "LocalProtocolError",
        "The request breaks a rule of HTTP: a header with a line break, a body of another length than was said.",
        "A header made of input.",
        points=("request",),
        instead="No mode gives it: the request is the client's own.",
    ),
    httpx(
        "ProxyError",
        "The proxy refused the tunnel.",
        "It wants a name and a password (407), or forbids the host (403).",
        points=("tunnel",),
        instead="faultline.http_proxy(status(407)), or socks_proxy(socks_refusal(…)).",
    ),
    httpx("DecodingError", "The body is not compressed as Content-Encoding says.", "A cache that mixed it up."),
    httpx(
        "TooManyRedirects",
        "More than 20 redirects; httpx follows them only with follow_redirects=True.",
        "Two rules that redirect to each other.",
        messages=("Exceeded maximum allowed redirects",),
        points=("response",),
        instead="redirect('loop'), with follow_redirects=True.",
    ),
    httpx(
        "HTTPStatusError",
        "`raise_for_status()` found a status of 400 or more, or a redirect. The response is whole, in `response`.",
        "What the status says.",
        messages=("Client error '", "Server error '"),
        points=("response",),
        instead="status(503), for any status.",
    ),
    httpx(
        "UnsupportedProtocol",
        "The URL has no scheme, or another than http and https.",
        "A setting with a bare host name.",
        messages=("Request URL is missing an 'http://' or 'https://' protocol",),
        points=("lookup",),
        instead="No mode gives it: the URL is the client's own.",
    ),
)
AIOHTTP: tuple[Entry, ...] = (
    aiohttp(
        "ClientError",
        "The base of aiohttp's errors. A timeout of `total=` is a TimeoutError, and no ClientError: catch both.",
        members=("aiohttp.ClientConnectionError", "aiohttp.ClientResponseError", "aiohttp.ClientPayloadError"),
    ),
    aiohttp(
        "ClientConnectionError",
        "The base of all that the network can do to aiohttp before the body.",
        members=(
            *("aiohttp.ClientOSError", "aiohttp.ClientConnectorError", "aiohttp.ServerDisconnectedError"),
            "aiohttp.ServerTimeoutError",
        ),
    ),
    aiohttp(
        "ClientOSError",
        "An OSError on an open connection, with its `errno`. ClientConnectorError is a kind.",
        "See ConnectionResetError and BrokenPipeError.",
        main="reset()",
    ),
    aiohttp(
        "ClientConnectorError",
        "The connect failed; the error of the system is in `os_error`. Nothing was sent.",
        "See ConnectionRefusedError and ENETUNREACH; in the handshake of TLS, see ConnectionResetError.",
        messages=("Cannot connect to host",),
        main="refuse()",
    ),
    aiohttp("ClientConnectorDNSError", "The name could not be looked up.", "See socket.gaierror."),
    aiohttp(
        "ClientConnectorSSLError",
        "The handshake of TLS failed. Both a ClientConnectorError and an ssl.SSLError, but without its `reason`: that "
        "is in `os_error`.",
        "See ssl.SSLError.",
        main="bad_tls('plain_http')",
    ),
    aiohttp(
        "ClientConnectorCertificateError",
        "aiohttp doesn't accept the server's certificate; the error of ssl is in `certificate_error`.",
        "See ssl.SSLCertVerificationError.",
        main="bad_cert('expired')",
    ),
    aiohttp(
        "ServerDisconnectedError",
        "The server hung up before the whole head of a response. Not an OSError.",
        "A stale kept-alive connection, a server that restarts, a proxy that gave up.",
        messages=("Server disconnected",),
        main="close()",
    ),
    aiohttp(
        "ServerTimeoutError",
        "The base of aiohttp's timeouts but that of `total=`; each is a TimeoutError too.",
        members=("aiohttp.ConnectionTimeoutError", "aiohttp.SocketTimeoutError"),
    ),
    aiohttp(
        "ConnectionTimeoutError",
        "The connect, or the handshake of TLS, took longer than `connect=` or `sock_connect=`.",
        "The machine is down, or a firewall drops the packets.",
        messages=("Connection timeout to host",),
        main="blackhole()",
    ),
    aiohttp(
        "SocketTimeoutError",
        "No byte came for as long as `sock_read=` says. aiohttp has no timeout for sending but `total=` (300 s).",
        "A server that is busy or hangs.",
        messages=("Timeout on reading data from socket",),
        main="stall()",
    ),
    aiohttp(
        "ClientResponseError",
        "What came is not HTTP, or `raise_for_status` found a status of 400 or more.",
        "With status 400 and a text about the bytes: the parser's complaint, and not the server's status.",
        main="malformed('status_garbage')",
    ),
    aiohttp(
        "ClientPayloadError",
        "The body is cut, or not compressed as Content-Encoding says. The head was fine, so this comes of `read()`.",
        "The server crashed while it sent; a wrong Content-Length.",
        messages=("Response payload is not completed",),
        main="close(after_bytes=100)",
    ),
    aiohttp("TooManyRedirects", "More than 10 redirects.", "Two rules that redirect to each other."),
    aiohttp(
        "InvalidUrlRedirectClientError", "The URL of a redirect can't be read.", "A redirect put together wrongly."
    ),
    aiohttp(
        "ContentTypeError",
        "`json()` of a response that is not application/json.",
        "An HTML page of a proxy or a login in place of the answer.",
        messages=("Attempt to decode JSON with unexpected mimetype",),
        points=("response",),
        instead="ok(b'{}'), whose type is text/plain.",
    ),
    aiohttp(
        "WSServerHandshakeError",
        "The server didn't accept the WebSocket: another status than 101.",
        "A proxy that doesn't pass the upgrade on, or a wrong path.",
        points=("response",),
        instead="status(403).",
    ),
    aiohttp(
        "ClientHttpProxyError",
        "The proxy refused the tunnel.",
        "It wants a name and a password (407), or forbids the host.",
        points=("tunnel",),
        instead="faultline.http_proxy(status(407)).",
    ),
)
