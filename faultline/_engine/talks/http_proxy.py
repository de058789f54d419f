"""An HTTP proxy: tunnels by CONNECT, and requests by absolute URL.

The proxy's own responses pass the point `response`. Bytes that come back through a tunnel pass `tunnel` if a break
waits there, and otherwise `response`.
"""

from __future__ import annotations

import base64

from faultline._core.answers import Answer
from faultline._core.attempts import Request
from faultline._core.errors import ParameterError
from faultline._core.steps import ReceiveRequest
from faultline._core.upstream import SCHEMES, Route, Upstream, parsed_upstream
from faultline._engine.connection import Connection
from faultline._engine.talks.http1 import Http1
from faultline._engine.talks.tunnel import Tunnel
from faultline._engine.upstream import UpstreamConnection

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BASIC = (("Proxy-Authenticate", 'Basic realm="faultline"'),)
# Header fields for the proxy alone, which it doesn't pass on: RFC 9110, 7.6.1 and 11.7.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-authorization", "proxy-connection"}


async def converse(connection: Connection) -> None:
    """Answer one request to an HTTP proxy: open a tunnel, pass the request on, or refuse.

    Raises:
        Over: the conversation has ended.
        Departed: the client ended the connection.
    """
    route = connection.service.route
    http, tunnel = Http1(connection), Tunnel(connection, route.to)
    await http.receive_request(ReceiveRequest(head_only=True))
    if connection.attempt.fault.http_answer is not None:
        await http.respond()
        return
    request = connection.attempt.entry.request or Request()
    destination = destination_of(request, tunnel, route)
    reached = await reach(connection, tunnel, destination) if isinstance(destination, Upstream) else destination
    if isinstance(reached, Answer):
        await http.respond(reached)
    elif request.method == "CONNECT":
        await connection.reach("response")
        await connection.send(ESTABLISHED)
        await tunnel.open(reached)
    else:
        await tunnel.fetch(reached, head_of(request))


def destination_of(request: Request, tunnel: Tunnel, route: Route) -> Upstream | Answer:
    """The server that a request asks for, or the answer that refuses the request."""
    if not request.method:
        return Answer(400, body=b"This proxy expects an HTTP request.\n")
    if route.auth is not None and not shows(request.header("proxy-authorization", "") or "", route.auth):
        return Answer(407, BASIC, body=b"This proxy requires another name and password.\n")
    is_tunnel = request.method == "CONNECT"
    asked = asked_for(f"tcp://{request.target}" if is_tunnel else request.target)
    if asked is None:
        return Answer(400, body=b"This proxy expects CONNECT with host:port, or an absolute URL.\n")
    speaks_tls = not is_tunnel and (asked.tls or (route.to is not None and route.to.tls))
    return tunnel.destination(asked, tls=speaks_tls) or Answer(403, body=b"This proxy connects only to this machine.\n")


async def reach(connection: Connection, tunnel: Tunnel, upstream: Upstream) -> UpstreamConnection | Answer:
    """Connect to the server that the client asks for; the answer that reports the failure if that fails.

    Raises:
        Departed: the client reset the connection meanwhile.
        Over: the server accepted the connection and reset it at once.
    """
    outcome = await tunnel.reach(upstream)
    if isinstance(outcome, UpstreamConnection):
        return outcome
    status = 504 if isinstance(outcome, TimeoutError) else 502
    return Answer(status, body=f"{connection.attempt.entry.note}\n".encode())


def asked_for(url: str) -> Upstream | None:
    """The server of a URL; `None` if this is no URL of a known scheme."""
    if url.partition("://")[0].lower() not in SCHEMES:
        return None
    try:
        return parsed_upstream(url, allow_remote=True)
    except ParameterError:
        return None


def shows(field: str, auth: tuple[str, str]) -> bool:
    """Whether a header field has this name and password (RFC 7617), in UTF-8 or, as some clients send it, Latin-1."""
    scheme, _, shown = field.partition(" ")
    try:
        words = base64.b64decode(shown.strip(), validate=True)
    except ValueError:
        return False
    good = ":".join(auth)
    return scheme.lower() == "basic" and words in (good.encode(), good.encode("latin-1", "replace"))


def head_of(request: Request) -> bytes:
    """The head of a request for its origin server (RFC 9112, 3.2): with a path as target, and for one response."""
    authority, path = split_target(request.target)
    connection = {word.strip().lower() for word in (request.header("connection") or "").split(",")}
    upgrades = "upgrade" in connection
    dropped = HOP_BY_HOP | (connection - {"upgrade"}) | {"host"}
    fields = [("Host", authority)]
    fields += [(name, value) for name, value in request.headers if name.lower() not in dropped]
    fields.append(("Connection", "Upgrade" if upgrades else "close"))
    lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def split_target(target: str) -> tuple[str, str]:
    """Split an absolute URL into host and port, and the rest in the client's spelling."""
    rest = target.partition("://")[2].partition("#")[0]
    ends = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    path = rest[ends:]
    return rest[:ends].rpartition("@")[2], path if path.startswith("/") else f"/{path}"
