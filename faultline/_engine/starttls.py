"""TLS that begins inside the protocol of a relay: what both sides say in the clear before, and both handshakes.

Rules: the relay waits for bytes, and reads them when they are there, so that none are read from below a handshake.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from faultline._core.upstream import UNREACHED, StartTls, Upstream
from faultline._engine.handshake import secure
from faultline._engine.play import reset
from faultline._engine.reaching import finish
from faultline._engine.striking import pass_point
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft
from faultline._net.departures import Departed
from faultline._net.mail import Imap, Smtp
from faultline._net.mysql import MySql
from faultline._net.postgres import Postgres
from faultline._net.upgrade import Upgrade

if TYPE_CHECKING:
    from faultline._engine.connection import Connection

UPGRADES: dict[StartTls, type[Upgrade]] = {"postgres": Postgres, "mysql": MySql, "smtp": Smtp, "imap": Imap}


class StartingTls:
    """Carries the bytes of a client and its upstream until TLS has begun, or will not begin."""

    def __init__(self, connection: Connection, upstream_connection: UpstreamConnection, upstream: Upstream) -> None:
        assert upstream.starttls is not None
        self._connection, self._upstream_connection, self._upstream = connection, upstream_connection, upstream
        self._upgrade = UPGRADES[upstream.starttls]()
        self._has_begun = False  # the client

    async def run(self) -> UpstreamLeft | None:
        """Carry the bytes; return the error if the upstream fails its handshake.

        Raises:
            Over: the conversation has ended.
            Departed: the client ended the connection.
            Rejected: the client's handshake failed.
        """
        self._connection.attempt.hears_words_alone = True
        try:
            while not self._upgrade.is_over:
                await self._go_on()
        except UpstreamLeft:
            await reset(self._connection, by="upstream")
        try:
            if self._upgrade.upstream_speaks_tls:
                await self._upstream_connection.secure(self._upstream, self._connection.attempt.protocols)
        except UpstreamLeft as left:
            self._connection.attempt.entry.note = f"the upstream {self._upstream} {UNREACHED}: {left}"
            return left
        self._connection.attempt.hears_words_alone = False
        return None

    async def _go_on(self) -> None:
        """Wait for bytes of a side, pass on what is made of them, and begin TLS with the client if it is time."""
        upgrade = self._upgrade
        hears_client, hears_upstream = await self._wait()
        if hears_client:
            await self._hear_client()
        if hears_upstream and not upgrade.is_over:
            await self._hear_upstream()
        await self._deliver()
        if upgrade.client_speaks_tls:
            upgrade.client_speaks_tls = False
            await secure(self._connection)

    async def _wait(self) -> tuple[bool, bool]:
        """Wait until a side that is to be heard has something to say; return which sides have.

        Raises:
            Departed: the client has left.
        """
        loop = asyncio.get_running_loop()
        client = loop.create_task(self._connection.stream.await_bytes()) if self._upgrade.hears_client else None
        upstream = self._upstream_connection.wire.readable() if self._upgrade.hears_upstream else None
        behind = loop.create_task(upstream) if upstream is not None else None
        waiting = [task for task in (client, behind) if task is not None]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if client is not None and client.done():
                client.result()
            return client is not None and client.done(), behind is not None and behind.done()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _hear_client(self) -> None:
        """Read bytes of the client; the break strikes among them."""
        connection = self._connection
        if not self._has_begun:
            self._has_begun = True
            if self._upgrade.begins(connection.wire.next_byte()):
                return
        data = await connection.stream.read(self._upgrade.wanted_bytes)
        if not data:
            raise Departed("FIN")
        connection.speaks("client")
        connection.attempt.come_to("request")
        await pass_point(connection, "client", data, self._take)

    async def _take(self, data: bytes) -> None:
        """Hand bytes of the client on, and send what the upstream gets of them."""
        self._upgrade.client_says(data)
        to_upstream, self._upgrade.to_upstream = self._upgrade.to_upstream, b""
        await self._upstream_connection.send(to_upstream)

    async def _hear_upstream(self) -> None:
        """Read bytes of the upstream."""
        data = await self._upstream_connection.receive(self._upgrade.wanted_of_upstream_bytes)
        if not data:
            await self._deliver()
            await finish(self._connection)
        self._upgrade.upstream_says(data)

    async def _deliver(self) -> None:
        """Send what the sides get; the break strikes among the bytes for the client."""
        upgrade = self._upgrade
        to_client, upgrade.to_client = upgrade.to_client, b""
        to_upstream, upgrade.to_upstream = upgrade.to_upstream, b""
        if to_client:
            self._connection.attempt.come_to("response")
            await self._connection.send(to_client)
        await self._upstream_connection.send(to_upstream)
