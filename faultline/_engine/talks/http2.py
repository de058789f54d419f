"""HTTP/2 with clients that begin with its preface, or ask for it by `Upgrade`; HTTP/1.1 with all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._core.http2 import NOT_SPOKEN
from faultline._core.steps import ReceiveRequest, Step
from faultline._core.streams import GoAway, RstStream
from faultline._engine.http2.session import Session
from faultline._engine.talks.http1 import HEALTHY, Http1
from faultline._engine.talks.preface import has_preface
from faultline._net.departures import Departed

if TYPE_CHECKING:
    from faultline._engine.connection import Connection

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


class Upgraded(Exception):  # noqa: N818 - an event, not an error
    """The client has asked for HTTP/2 by `Upgrade` (RFC 7540, 3.2)."""


async def converse(connection: Connection) -> None:
    """Answer requests while the connection is kept alive.

    Raises:
        Over: the server ended the conversation.
        Departed: the client ended the connection.
    """
    await connection.reach("request")
    if await has_preface(connection):
        await Session(connection).run(connection.take_unread())
    try:
        await Upgradable(connection).perform(HEALTHY.steps)
    except Upgraded:
        await connection.stream.write(SWITCHING)
        if not await has_preface(connection):
            raise Departed("FIN") from None
        await Session(connection).run(connection.take_unread(), connection.attempt.request)


class Upgradable(Http1):
    """The requests and responses of a connection that may go over to HTTP/2."""

    async def receive_request(self, step: ReceiveRequest, following: Step | None = None) -> None:
        """Read one request, and record it.

        Raises:
            Departed: the client ended the connection before the request was complete.
            Upgraded: the client asks for HTTP/2.
        """
        await super().receive_request(step, following)
        attempt = self._connection.attempt
        asked = [each.strip() for each in (attempt.request.header("upgrade") or "").lower().split(",")]
        is_whole = self._reader is not None and self._reader.asks_to_switch  # its body is not left out
        has_settings = attempt.request.header("http2-settings") is not None
        if attempt.entry.tls is None and has_settings and is_whole and "h2c" in asked:
            raise Upgraded
        if attempt.fault.needs_http2:
            attempt.entry.note = attempt.entry.note or NOT_SPOKEN
            if any(isinstance(step, (RstStream, GoAway)) for step in attempt.fault.break_steps):
                attempt.disarm()
