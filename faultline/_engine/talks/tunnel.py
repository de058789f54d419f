"""The tunnel from a proxy to the server that the client asks for.

Rules: a proxy connects only to this machine.
"""

from __future__ import annotations

import contextlib

from faultline._core.hosts import is_local
from faultline._core.upstream import Upstream
from faultline._engine.connection import Connection
from faultline._engine.talks.relay import Relay
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft


class Tunnel:
    """Connects one client to the server that it asks for, or to the one server that the proxy has for all clients."""

    def __init__(self, connection: Connection, to: Upstream | None) -> None:
        self._connection = connection
        self._to = to
        self._relay = Relay(connection)
        connection.attempt.entry.follow()
        connection.attempt.entry.speaks_to_proxy()

    def destination(self, asked: Upstream, *, tls: bool) -> Upstream | None:
        """The server to connect to for a client that asks for `asked`; `None` if that is another machine."""
        if self._to is not None:
            return Upstream(self._to.host, self._to.port, self._to.path, tls)
        if is_local(asked.host):
            return asked
        self._connection.attempt.entry.note = f"{asked} is not on this machine; to=… sends clients to a server here"
        return None

    async def reach(self, upstream: Upstream) -> UpstreamConnection | Exception:
        """Connect to a server; return the error if that fails.

        Raises:
            Departed: the client reset the connection meanwhile.
            Over: the server accepted the connection and reset it at once.
        """
        return await self._relay.reach(upstream)

    async def open(self, upstream_connection: UpstreamConnection) -> None:
        """Carry bytes between client and server, until a break at `tunnel` or until both have finished.

        Raises:
            Over: the conversation has ended.
            Departed: the client ended the connection.
        """
        self._relay.choose_response_point()
        await self._connection.reach("tunnel")
        self._relay.is_tunnel = True
        self._relay.untunnelled_bytes = self._connection.attempt.entry.sent_bytes
        self._connection.attempt.entry.passes_proxy(self._connection.unread, has_tunnel=True)
        await self._hand_over(upstream_connection, b"")
        await self._relay.carry(upstream_connection)

    async def fetch(self, upstream_connection: UpstreamConnection, head: bytes) -> None:
        """Send the head of a request to the server, then carry bytes between client and server.

        Raises:
            Over: the conversation has ended.
            Departed: the client ended the connection.
        """
        self._connection.attempt.entry.passes_proxy(b"", has_tunnel=False)
        await self._hand_over(upstream_connection, head)
        await self._relay.carry(upstream_connection, speaker="client")

    async def _hand_over(self, upstream_connection: UpstreamConnection, head: bytes) -> None:
        """Send the server this head, and the client's bytes that were already read."""
        with contextlib.suppress(UpstreamLeft):  # `carry` raises it again
            await upstream_connection.send(head + self._connection.take_unread())
