"""A SOCKS proxy of the versions 4, 4a and 5: negotiates the target with the client, and opens a tunnel to it."""

from __future__ import annotations

from dataclasses import replace

from faultline._core.answers import SocksRefusal
from faultline._core.attempts import Request
from faultline._core.promises import ANSWER
from faultline._core.upstream import Upstream
from faultline._engine.connection import Connection
from faultline._engine.talks.tunnel import Tunnel
from faultline._engine.upstream import UpstreamConnection
from faultline._net.departures import Departed
from faultline._net.socks import Socks


async def converse(connection: Connection) -> None:
    """Answer one SOCKS request: open a tunnel, or refuse.

    Raises:
        Over: the conversation has ended.
        Departed: the client ended the connection.
    """
    route, answer = connection.service.route, connection.attempt.fault.answer
    refusal = answer.kind if isinstance(answer, SocksRefusal) else ""
    socks = Socks(route.auth, refusal)
    tunnel = Tunnel(connection, route.to)
    replies = await negotiated(connection, socks)
    upstream_connection: UpstreamConnection | None = None
    if socks.target is not None:
        host, port = socks.target
        shown = Upstream(printable(host), port)
        asked = replace(shown, host=shown.host.lower().removesuffix("."))
        connection.service.ledger.keep(connection.attempt.entry, Request(f"SOCKS{socks.version}", str(shown)))
        if not socks.is_refused:
            upstream_connection, reply = await reached(tunnel, socks, asked)
            replies += reply
    await connection.enter("response")
    if refusal:
        connection.attempt.strike("response", 0, ANSWER)
    await connection.send(replies)  # in one piece, because clients may read it in one piece
    if upstream_connection is not None:
        await tunnel.open(upstream_connection)


async def negotiated(connection: Connection, socks: Socks) -> bytes:
    """Negotiate until the client has named its target or was refused; return the replies that are not sent yet.

    Raises:
        Departed: the client ended the connection before.
    """
    replies = b""

    def feed(data: bytes) -> int:
        nonlocal replies
        replies = socks.feed(data)
        is_complete = socks.target is not None or socks.is_refused
        return len(data) - (len(socks.rest) if is_complete else 0)

    while socks.target is None and not socks.is_refused:
        if replies:
            await connection.enter("response")
            await connection.send(replies)
        await connection.enter("request")
        replies = b""
        if not await connection.receive(feed):
            raise Departed("FIN")
    connection.put_back(socks.rest)
    return replies


async def reached(tunnel: Tunnel, socks: Socks, asked: Upstream) -> tuple[UpstreamConnection | None, bytes]:
    """Connect to the target; return the connection, if there is one, and the reply to the client."""
    upstream = tunnel.destination(asked, tls=False)
    if upstream is None:
        return None, socks.refusal("not_allowed")
    outcome = await tunnel.reach(upstream)
    return (outcome, socks.granted()) if isinstance(outcome, UpstreamConnection) else (None, socks.failed(outcome))


def printable(host: str) -> str:
    """A host name with escapes for characters that a terminal would interpret."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in host)
