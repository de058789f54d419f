"""The talk of a relay: TLS inside the protocol first, if there is any, and then bytes in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._engine.play import play
from faultline._engine.reaching import FAILURES
from faultline._engine.starttls import StartingTls
from faultline._engine.talks.http_relay import HttpRelay
from faultline._engine.talks.relay import Relay
from faultline._engine.upstream import UpstreamConnection

if TYPE_CHECKING:
    from faultline._engine.connection import Connection


async def converse(connection: Connection) -> None:
    """Carry bytes between the client and the upstream until both have finished.

    Raises:
        Over: the conversation has ended, or a break ended it.
        Departed: the client ended the connection.
    """
    relay, upstream = Relay(connection), connection.service.upstream
    assert upstream is not None
    sees_http = connection.service.dealer.reads_requests
    if sees_http and upstream.starttls is None:
        await HttpRelay(connection, relay, upstream).run(None)  # it reaches the upstream for the first request there
        return
    outcome = await relay.reach(upstream)
    if isinstance(outcome, UpstreamConnection) and upstream.starttls is not None:
        outcome = await StartingTls(connection, outcome, upstream).run() or outcome
    if isinstance(outcome, UpstreamConnection) and sees_http:
        await HttpRelay(connection, relay, upstream).run(outcome)
    elif isinstance(outcome, UpstreamConnection):
        await relay.carry(outcome)
    else:
        await play(connection, FAILURES[upstream.on_failure])
