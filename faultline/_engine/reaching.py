"""Opens a connection to an upstream, while the client may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from faultline._core import steps as do
from faultline._core.upstream import UNREACHED, Upstream
from faultline._engine.connection import Connection
from faultline._engine.play import reset
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft
from faultline._net.departures import Departed

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
