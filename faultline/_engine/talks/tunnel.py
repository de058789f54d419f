"""The way that a proxy leads a client, and the tunnel at its end; a way leads to this machine only."""

from __future__ import annotations

import contextlib

from faultline._core.hosts import is_local
from faultline._core.upstream import Upstream
from faultline._engine.connection import Connection
from faultline._engine.talks.relay import Relay
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft


class Tunnel:
    """Leads one client on to where it wants to go, or to where the proxy leads everybody."""

    def __init__(self, connection: Connection, to: Upstream | None) -> None:
        self._connection = connection
        self._to = to
        self._relay = Relay(connection)

    def way(self, asked: Upstream, *, tls: bool) -> Upstream | None:
        """Where a client is led that asks for this, in TLS or not; `None` if that is another machine."""
        if self._to is not None:
            return Upstream(self._to.host, self._to.port, self._to.path, tls)
        if is_local(asked.host):
            return asked
        self._connection.attempt.entry.note = f"{asked} is not on this machine; to=… leads there"
        return None

    async def reach(self, upstream: Upstream) -> UpstreamConnection | Exception:
        """Connect to where the way leads; the error if that fails.

        Raises:
            Departed: the client has reset the connection meanwhile.
            Over: the upstream was reached, and has reset the connection.
        """
        return await self._relay.reach(upstream)

    async def open(self, far: UpstreamConnection) -> None:
        """Let both talk to each other, until a break at `tunnel` or the end of both.

        Raises:
            Over: the conversation has ended.
            Departed: the client has left.
        """
        self._relay.look_back()
        await self._connection.reach("tunnel")
        self._relay.is_tunnel = True
        await self._hand_over(far, b"")
        await self._relay.carry(far)

    async def fetch(self, far: UpstreamConnection, head: bytes) -> None:
        """Send the head of a request on, and let both talk to each other.

        Raises:
            Over: the conversation has ended.
            Departed: the client has left.
        """
        await self._hand_over(far, head)
        await self._relay.carry(far, speaker="client")

    async def _hand_over(self, far: UpstreamConnection, head: bytes) -> None:
        """Send to the other end the bytes that were read for it."""
        with contextlib.suppress(UpstreamLeft):  # whoever carries on will hear of it
            await far.send(head + self._connection.take_unread())
