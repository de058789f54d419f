"""A relay that answers some requests by itself, and passes the others on to its upstream as they are.

Every request is an attempt. The relay reads the bytes that pass only to know where a request and its response end; once
they are no HTTP/1, or of another protocol after an upgrade, they pass as in any relay.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from faultline._core import steps as do
from faultline._core.http2 import PASSED_ON
from faultline._core.stages import Cut
from faultline._engine.choosing import meet
from faultline._engine.play import Over, play
from faultline._engine.reaching import FAILURES, cut_off, end_as, finish
from faultline._engine.striking import pass_point
from faultline._engine.talks.http1 import Http1
from faultline._engine.talks.preface import has_preface
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.http1 import PassingResponse, RequestReader

if TYPE_CHECKING:
    from faultline._core.upstream import Upstream
    from faultline._engine.connection import Connection
    from faultline._engine.talks.relay import Relay


class Opaque(Exception):  # noqa: N818 - an event, not an error
    """The bytes that pass are not, or no longer, of HTTP/1."""


class HttpRelay(Http1):
    """The requests of one client, and the responses of the relay and of its upstream."""

    def __init__(self, connection: Connection, relay: Relay, upstream: Upstream) -> None:
        super().__init__(connection)
        self._relay, self._upstream = relay, upstream
        self._behind: UpstreamConnection | None = None
        self._sending: asyncio.Task[None] | None = None
        self._has_piece = False  # whether bytes of the client are on their way to the upstream
        self._is_opaque = False  # whether the rest is no HTTP/1

    async def run(self, behind: UpstreamConnection | None) -> None:
        """Carry requests and responses while the connection is kept alive; `behind` if the upstream is reached.

        Raises:
            Over: the conversation has ended.
            Departed: the client ended the connection.
        """
        self._behind = behind
        await self._exchange()
        while await self._begin_next():
            await self._exchange()

    async def _exchange(self) -> None:
        """Answer a request, or pass it on with its response."""
        connection, fault = self._connection, self._connection.attempt.fault
        if (fault.choice is not None or fault.http_answer is not None) and await self._speaks_http2():
            connection.attempt.entry.note = PASSED_ON
            behind = await self._reached()
            await self._relay.carry(behind, before=partial(self._send_rest, behind))
        if fault.choice is not None:
            await self._choose()
        answer = connection.attempt.fault.http_answer
        connection.stream.is_fed = answer is None
        if answer is not None:
            await self.receive_request(do.ReceiveRequest(), do.Respond())
            await self.respond()
        else:
            await self._pass_on(await self._reached())

    async def _speaks_http2(self) -> bool:
        """Whether the client begins with the preface of HTTP/2; its bytes stay unread.

        Raises:
            Departed: the client has reset the connection.
        """
        await self._connection.reach("request")
        return await has_preface(self._connection)

    async def _choose(self) -> None:
        """Read the head of a request, choose the fault by it, and leave its bytes unread.

        Raises:
            Departed: the client ended the connection before the head was complete.
        """
        connection = self._connection
        await connection.reach("request")
        reader, read = RequestReader(head_only=True), b""
        while not reader.complete:
            data = connection.take_unread() or await connection.stream.read(sockets.READ_BYTES)
            if not data:
                connection.attempt.entry.note = reader.unfinished
                raise Departed("FIN")
            reader.feed(data)
            read += data
        connection.put_back(read)
        request = reader.request
        meet(connection, request, connection.service.dealer.resolved(connection.attempt.fault, request))

    # --- the upstream ------------------------------------------------------------------------------------------------

    async def _reached(self) -> UpstreamConnection:
        """The connection to the upstream, which is kept from request to request while the upstream keeps it.

        Raises:
            Over: the upstream can't be reached, and the conversation has ended.
            Departed: the client ended the connection.
        """
        if self._behind is not None and self._behind.wire.left() is None:
            return self._behind
        if self._behind is not None:
            self._behind.leave()
        outcome = await self._relay.reach(self._upstream)
        if not isinstance(outcome, UpstreamConnection):
            await play(self._connection, FAILURES[self._upstream.on_failure])
            raise Over  # pragma: no cover - each of them ends the conversation
        self._behind = outcome
        return outcome

    async def _pass_on(self, behind: UpstreamConnection) -> None:
        """Pass a request and its response on.

        Raises:
            Over: the conversation has ended.
            Departed: the client ended the connection.
        """
        connection = self._connection
        reader = self._reader = RequestReader(kept_body_bytes=connection.kept_body_bytes)
        try:
            response = await self._carried(reader, behind)
        except Opaque:
            await self._relay.carry(behind, speaker=connection.speaker, before=partial(self._send_rest, behind))
        except UpstreamLeft as left:
            await end_as(connection, left)
        except Cut as cut:
            await cut_off(connection, behind, cut.how)
        except Departed as left:
            if left.how == "RST":
                behind.reset()
            raise
        self._keeps_alive = (reader.keep_alive or reader.asks_to_switch) and response.keep_alive
        if connection.service.dealer.ends_connection(connection.attempt.fault) and connection.armed("idle") is None:
            self._keeps_alive = False  # so that the client opens a new connection, which meets the next fault

    async def _carried(self, reader: RequestReader, behind: UpstreamConnection) -> PassingResponse:
        """Carry the bytes of one exchange in both directions.

        Raises:
            Opaque: the rest is no HTTP/1.
            UpstreamLeft: the upstream has ended the connection early, by RST.
            Departed: the client ended the connection.
        """
        loop = asyncio.get_running_loop()
        sending = self._sending = loop.create_task(self._send_request(reader, behind))
        receiving = loop.create_task(self._receive_response(reader, behind))
        leaving = loop.create_task(self._watch())
        tasks: tuple[asyncio.Task[Any], ...] = (sending, receiving, leaving)
        pending: set[asyncio.Task[Any]] = {*tasks}
        try:
            while not (receiving.done() and (sending.done() or not receiving.result().keep_alive)):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in tasks if task.done()]:
                    task.result()
            return receiving.result()
        except Opaque:
            self._is_opaque = True
            raise
        finally:
            over = [task for task in tasks if task is not sending or not (self._is_opaque and self._has_piece)]
            for task in over:
                task.cancel()
            await asyncio.gather(*over, return_exceptions=True)

    async def _send_rest(self, behind: UpstreamConnection) -> None:
        """Pass on what was read of the client before the bytes were known to be no HTTP/1.

        Raises:
            Over: a break ended the conversation.
            Departed: the client ended the connection.
            UpstreamLeft: the upstream has reset the connection.
        """
        if self._sending is not None and not self._sending.done():
            with contextlib.suppress(Opaque):
                await self._sending
        if rest := self._connection.take_unread():
            await pass_point(self._connection, "client", rest, behind.send)

    async def _send_request(self, reader: RequestReader, behind: UpstreamConnection) -> None:
        """Pass a request on; its break strikes among the bytes.

        Raises:
            Opaque: the bytes are no request of HTTP/1.
            Departed: the client has left before the end of the request.
        """
        connection = self._connection
        await connection.enter("request")
        while not reader.complete:
            if self._is_opaque:
                return
            await self._relay.until_passing()
            data = await self._next_bytes()
            self._has_piece = True
            reader.feed(data)
            while reader.is_behind:
                await connection.wire.give_way()
                reader.proceed()
            connection.put_back(reader.rest)
            with contextlib.suppress(UpstreamLeft):  # the client first gets what the upstream has sent before
                await pass_point(connection, "client", data[: len(data) - len(reader.rest)], behind.send)
            self._has_piece = False
        if not reader.is_http:
            raise Opaque
        connection.attempt.keep(reader.request)

    async def _next_bytes(self) -> bytes:
        """Some bytes of the client, up to the tripwire.

        Raises:
            Departed: the client has finished sending.
        """
        connection = self._connection
        while (trip := connection.armed("request")) is not None and trip.room_bytes(1) == 0:
            if not connection.unread:
                await connection.stream.await_bytes()
            await connection.strike(trip)
        room_bytes = sockets.READ_BYTES if trip is None else trip.room_bytes(sockets.READ_BYTES)
        unread = connection.take_unread()
        connection.put_back(unread[room_bytes:])
        data = unread[:room_bytes] or await connection.stream.read(room_bytes)
        if not data:
            raise Departed("FIN")
        connection.speaks("client")
        return data

    async def _receive_response(self, reader: RequestReader, behind: UpstreamConnection) -> PassingResponse:
        """Pass the response to a request on, and the interim responses before it.

        Raises:
            Opaque: the bytes are no response of HTTP/1, or there is no request.
            Over: the upstream has ended the connection, or a break has.
            UpstreamLeft: the upstream has reset the connection.
        """
        connection, response = self._connection, None
        while True:
            await self._relay.until_passing()
            data = await self._relay.relayed(behind)
            await self._relay.until_passing()
            if not data:
                await finish(self._connection)
            await connection.enter("response")
            if response is None and reader.has_head:
                request = reader.request
                response = PassingResponse(request.method, upgrades=request.header("upgrade") is not None)
            own = data if response is None else response.feed(data)
            await connection.send(own)
            rest = data[len(own) :]
            if response is None or response.is_opaque or response.switches or rest:
                await connection.send(rest)
                raise Opaque
            if response.complete:
                return response

    async def _watch(self) -> NoReturn:
        """Wait until the client leaves.

        Raises:
            Departed: always.
        """
        raise Departed(await self._connection.wire.departure(None) or "FIN")
