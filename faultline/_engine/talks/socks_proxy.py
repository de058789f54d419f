"""A SOCKS proxy of version 4, 4a and 5: agrees with the client on where to, and opens the tunnel."""

from __future__ import annotations

from dataclasses import replace

from faultline._core.answers import SocksRefusal
from faultline._core.ledger import Request
from faultline._core.upstream import Route, Upstream
from faultline._engine.connection import Connection
from faultline._engine.talks.tunnel import Tunnel
from faultline._engine.upstream import UpstreamConnection
from faultline._net.departures import Departed
from faultline._net.socks import Socks


async def converse(connection: Connection, *, route: Route) -> None:
    """Do what a SOCKS proxy was asked, or refuse.

    Raises:
        Over: the conversation has ended.
        Departed: the client has left.
    """
    answer = connection.attempt.fault.answer
    refusal = answer.kind if isinstance(answer, SocksRefusal) else ""
    socks = Socks(route.auth, refusal)
    tunnel = Tunnel(connection, route.to)
    said = await negotiated(connection, socks)
    far: UpstreamConnection | None = None
    if socks.target is not None:
        host, port = socks.target
        shown = Upstream(printable(host), port)
        asked = replace(shown, host=shown.host.lower().removesuffix("."))
        connection.service.ledger.keep(connection.attempt.entry, Request(f"SOCKS{socks.version}", str(shown)))
        if not socks.is_refused:
            far, reply = await reached(tunnel, socks, asked)
            said += reply
    await connection.enter("response")
    if refusal:
        connection.attempt.strike("response", 0)
    await connection.send(said)  # in one piece, as clients read it
    if far is not None:
        await tunnel.open(far)


async def negotiated(connection: Connection, socks: Socks) -> bytes:
    """Talk until the client has said where it wants to go, or was refused; the reply that is still to be sent.

    Raises:
        Departed: the client has left before.
    """
    said = b""
    while socks.target is None and not socks.is_refused:
        if said:
            await connection.enter("response")
            await connection.send(said)
        await connection.enter("request")
        data = await connection.receive()
        if not data:
            raise Departed("FIN")
        said = socks.feed(data)
    connection.put_back(socks.rest)
    return said


async def reached(tunnel: Tunnel, socks: Socks, asked: Upstream) -> tuple[UpstreamConnection | None, bytes]:
    """The connection to where the client wants to go, if there is one, and the reply that says so."""
    upstream = tunnel.way(asked, tls=False)
    if upstream is None:
        return None, socks.refusal("not_allowed")
    far = await tunnel.reach(upstream)
    return (far, socks.granted()) if isinstance(far, UpstreamConnection) else (None, socks.failed(far))


def printable(host: str) -> str:
    """A name without anything that a terminal would act on."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in host)
