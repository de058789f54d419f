"""The begin of a connection to an upstream, while the client may leave, and its end by a condition."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn

from faultline._core import steps as do
from faultline._core.upstream import UNREACHED, Upstream
from faultline._engine.connection import Connection
from faultline._engine.play import Over, close, reset
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft, UpstreamRefused
from faultline._net.departures import Departed
from faultline._net.ending import Left

# What the client meets if that fails.
FAILURES: dict[str, tuple[do.ConnectionStep, ...]] = {
    "reset": (do.Reset(),),
    "close": (do.Close(),),
    "stall": (do.Hold(),),
}


async def opened(
    connection: Connection, upstream: Upstream, dialling: Coroutine[Any, Any, UpstreamConnection]
) -> UpstreamConnection | Exception:
    """Wait for the connection to an upstream; return the error if that fails.

    Raises:
        Departed: the client reset the connection meanwhile.
        Over: the upstream accepted the connection and reset it at once.
    """
    loop = asyncio.get_running_loop()
    opening = loop.create_task(dialling)
    leaving = loop.create_task(connection.wire.departure(None))
    try:
        await asyncio.wait((opening, leaving), return_when=asyncio.FIRST_COMPLETED)
        if leaving.done() and leaving.result() == "FIN":  # the client has finished sending, and may still read
            await asyncio.wait((opening,))
    finally:
        for task in (opening, leaving):
            task.cancel()
        await asyncio.gather(opening, leaving, return_exceptions=True)
    if opening.cancelled():
        raise Departed("RST")
    error = opening.exception()
    if isinstance(error, ConnectionResetError):
        await reset(connection, by="upstream")
    if isinstance(error, (OSError, UpstreamLeft)):
        connection.attempt.entry.note = f"the upstream {upstream} {UNREACHED}: {error}"
        return error
    return opening.result()


async def end_as(connection: Connection, left: UpstreamLeft) -> NoReturn:
    """Reset the client, as its upstream has left early; a note has the reason of TLS.

    Raises:
        Over: always.
        Departed: the client has left meanwhile.
    """
    if isinstance(left, UpstreamRefused):
        connection.attempt.entry.note = f"the upstream ended TLS: {left}"
    await reset(connection, by="upstream")
    raise Over  # pragma: no cover - `reset` has raised it


async def finish(connection: Connection) -> NoReturn:
    """End the client's connection by FIN, as its upstream has.

    Raises:
        Over: always.
    """
    await connection.stream.end_tls()
    connection.wire.finish()
    connection.end("upstream", "FIN")
    raise Over


async def cut_off(connection: Connection, upstream_connection: UpstreamConnection, how: Left) -> NoReturn:
    """End both connections, because a condition says so.

    Raises:
        Over: always.
        Departed: the client has left meanwhile.
    """
    if how == "RST":
        upstream_connection.reset()
    upstream_connection.leave()
    await (reset(connection) if how == "RST" else close(connection))
    raise Over  # pragma: no cover - both have raised it
