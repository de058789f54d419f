"""A relay: the conversation between a client and a real server, in both directions at once.

Bytes pass the same points and the same tripwire as in any conversation; the upstream answers. While no break and no
condition waits for the bytes of a direction, they are pumped unparsed. A half-close is passed on as a half-close and
a RST as a RST. The end of a connection to the upstream ends only the connection of its client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from faultline._core import steps as do
from faultline._core.ends import Party
from faultline._core.points import Point
from faultline._core.stages import Cut
from faultline._core.upstream import Upstream
from faultline._engine.connection import Connection
from faultline._engine.play import Over
from faultline._engine.pump import Pump
from faultline._engine.reaching import cut_off, end_as, opened
from faultline._engine.side import Side
from faultline._engine.striking import pass_point, timed
from faultline._engine.talks.dialogue import Dialogue
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft, reach
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.ending import Left
from faultline._net.wire import Wire


class Relay(Side):
    """The server's side of a connection that is carried on to an upstream.

    Attributes:
        is_tunnel: whether the conversation has come to the point `tunnel`, where it stays.
    """

    is_tunnel, has_tasks = False, True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.side = self
        self._first_to_end: Party | None = None
        self._has_lost_upstream = False
        self._pumps: dict[Party, Pump] = {}
        self._dialogue = Dialogue()
        self._may_pass = asyncio.Event()  # cleared while a break is played
        self._may_pass.set()
        self._changed = asyncio.Event()  # set when the fault has changed
        self._client_has_finished = asyncio.Event()  # set when its FIN has been passed on
        self._upstream_connection: UpstreamConnection | None = None
        self.untunnelled_bytes = 0  # of the proxy itself
        self._unsaid: list[Left] = []  # ends of the upstream that wait behind its bytes

    @property
    def tunnelled_bytes(self) -> int:
        """How many bytes have come back through the tunnel of a proxy."""
        return self._connection.attempt.entry.sent_bytes - self.untunnelled_bytes

    # --- the upstream ------------------------------------------------------------------------------------------------

    async def reach(self, upstream: Upstream) -> UpstreamConnection | Exception:
        """Connect to an upstream; return the error if that fails.

        Raises:
            Departed: the client reset the connection meanwhile.
            Over: the upstream accepted the connection and reset it at once.
        """
        return await opened(self._connection, upstream, self._dial(upstream))

    async def _dial(self, upstream: Upstream) -> UpstreamConnection:
        """Connect to an upstream, and keep the connection at once, so that `leave` closes it in any case."""
        self._upstream_connection = await reach(self._connection, upstream)
        self._upstream_connection.wire.on_end = self._upstream_ended
        return self._upstream_connection

    def _upstream_ended(self, _by: Party, how: Left) -> None:
        """Record an end of the upstream, or keep it until the bytes before it have passed their conditions."""
        self._unsaid.append(how)
        if self._connection.stream.is_plain:
            self._sign_upstream()

    def _sign_upstream(self) -> None:
        """Record the ends of the upstream that the client meets now."""
        for how in self._unsaid:
            self._connection.sign("upstream", how)
        self._unsaid.clear()

    def leave(self) -> None:
        """End the connection to the upstream: by RST if the client has reset its own."""
        if self._upstream_connection is not None:
            client = self._connection.wire
            if client.is_end_reset and not self._upstream_connection.wire.is_closed:  # pragma: no cover - a race
                self._upstream_connection.reset()
            self._upstream_connection.leave()

    # --- both directions ---------------------------------------------------------------------------------------------

    async def carry(
        self,
        upstream_connection: UpstreamConnection,
        *,
        speaker: Party | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Carry bytes in both directions until both sides have finished.

        `speaker` sent the last bytes so far; `before` sends bytes of the client that were read already.

        Raises:
            Over: the conversation has ended.
            Departed: the client ended the connection.
        """
        self._connection.speaker = speaker
        self._connection.stream.is_fed = True
        left = await self._carried(upstream_connection, before)
        if isinstance(left, Departed):
            if left.how == "RST":
                upstream_connection.reset()
            upstream_connection.leave()
            raise left
        if isinstance(left, Cut):
            await cut_off(self._connection, upstream_connection, left.how)
        upstream_connection.leave()
        if left:
            await end_as(self._connection, left)
        self._connection.end(self._first_to_end, "FIN")
        raise Over

    async def _carried(
        self, upstream_connection: UpstreamConnection, before: Callable[[], Awaitable[None]] | None
    ) -> Departed | UpstreamLeft | Cut | None:
        """Carry bytes in both directions; return the early end of a side, if there was one."""
        loop = asyncio.get_running_loop()
        carrying = {
            loop.create_task(self._carry_to_upstream(upstream_connection, before)),
            loop.create_task(self._carry_to_client(upstream_connection)),
        }
        watching = {loop.create_task(self._watch_silence()), loop.create_task(self._watch_client())}
        tasks = everything = watching | carrying
        try:
            while carrying & tasks:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done if carrying & tasks else done & carrying:  # after both FIN a RST ends nothing any more
                    task.result()
        except (UpstreamLeft, Departed, Cut) as error:
            return error
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)  # retrieves exceptions, so that none is logged
        return None

    async def _carry_to_upstream(
        self, upstream_connection: UpstreamConnection, before: Callable[[], Awaitable[None]] | None
    ) -> None:
        try:
            if before is not None:
                await before()
            await self._forward_client(upstream_connection)
        except UpstreamLeft:
            if self._first_to_end == "upstream":
                raise
            self._has_lost_upstream = True  # the client first gets the bytes that the upstream sent before
            return
        self._first_to_end = self._first_to_end or "client"
        await upstream_connection.finish()
        self._client_has_finished.set()

    async def _forward_client(self, upstream_connection: UpstreamConnection) -> None:
        """Pass the client's bytes on until the client has finished sending."""
        await self._enter("request")
        while True:
            await self.until_passing()
            if self._dialogue.is_start_known and self._is_plain("request", upstream_connection):
                if await self._pumped("client", self._connection.wire, upstream_connection.wire):
                    break
                continue
            trip = self._connection.armed("request")
            if trip and trip.room_bytes(1) == 0:
                try:
                    await self._connection.stream.await_bytes()
                except Departed as left:
                    if left.how == "RST":
                        raise
                    break
                await self._connection.strike(trip)
                continue
            room = trip.room_bytes(sockets.READ_BYTES) if trip else sockets.READ_BYTES
            data = await self._connection.stream.read(room)
            if not data:
                break
            await self.until_passing()
            self._speaks("client")
            await self._enter("request")
            self._dialogue.read_hello(data, self._connection.attempt)
            await pass_point(self._connection, "client", data, upstream_connection.send)
        await self.until_passing()

    async def _carry_to_client(self, upstream_connection: UpstreamConnection) -> None:
        while True:
            await self.until_passing()
            if self._is_plain(self._connection.response_point, upstream_connection):
                if await self._pumped("server", upstream_connection.wire, self._connection.wire):
                    break
                continue
            data = await self.relayed(upstream_connection)
            if not data:
                break
            await self.until_passing()
            self._speaks("server")
            await self._enter(self._connection.response_point)
            await self._connection.send(data)
        await self.until_passing()
        if self._has_lost_upstream:
            raise UpstreamLeft
        self._first_to_end = self._first_to_end or "upstream"
        await self._connection.stream.end_tls()
        self._connection.wire.finish()

    async def relayed(self, upstream_connection: UpstreamConnection) -> bytes:
        """Bytes of the upstream that have come through the conditions; `b""` at its end, which is recorded now."""
        try:
            receive = partial(timed, self._connection, upstream_connection.receive)
            data = await self._connection.stream.relayed(sockets.READ_BYTES, receive)
        except UpstreamLeft:
            self._sign_upstream()
            raise
        if not data:
            self._sign_upstream()
        return data

    async def _enter(self, point: Point) -> None:
        """Come to a point, unless the conversation is in a tunnel."""
        if not self.is_tunnel:
            await self._connection.enter(point)

    def _come_to(self, point: Point) -> None:
        """Record that the conversation has come to a point, unless it is in a tunnel."""
        if not self.is_tunnel:
            self._connection.attempt.come_to(point)

    async def until_passing(self) -> None:
        """Wait while bytes are held back, by the test or during a break."""
        await self._connection.stream.until_flowing()
        await self._may_pass.wait()

    # --- calls of the connection -------------------------------------------------------------------------------------

    def before_strike(self) -> None:
        """Hold bytes back in both directions until the break is over."""
        self._may_pass.clear()
        self.recheck()

    async def at_strike(self) -> None:
        """End the direction to the upstream if the break reads from the client itself."""
        if self._upstream_connection is not None and do.ReceiveAll() in self._connection.attempt.fault.break_steps:
            await self._upstream_connection.finish()  # the client's bytes stay here from now on

    def after_strike(self) -> None:
        """Let bytes pass again."""
        self._may_pass.set()

    def recheck(self) -> None:
        """Stop the pumps, and wake the watch for silence, so that both follow the present fault."""
        self._changed.set()
        for pump in self._pumps.values():
            pump.interrupt()

    async def take(self, data: bytes) -> bool:
        """Send bytes to the upstream, among those of the client."""
        assert self._upstream_connection is not None
        await self._upstream_connection.send(data)
        return True

    def left(self, how: Left) -> bool:
        """Record that the client has left; its bytes still go to the upstream."""
        self._connection.end("client", how)
        return True

    def dealt(self) -> None:
        """In a tunnel, choose the point for bytes to the client again, because the fault has changed."""
        if self.is_tunnel:
            self.choose_response_point()

    def choose_response_point(self) -> None:
        """Let bytes to the client pass `tunnel` if a break waits there, and otherwise `response`."""
        self._connection.response_point = "tunnel" if self._connection.armed("tunnel") is not None else "response"

    def _is_plain(self, point: Point, upstream_connection: UpstreamConnection) -> bool:
        """Whether bytes may pass this point unparsed."""
        trip = self._connection.attempt.trip
        is_awaited = trip is not None and trip.brk.at in (point, "idle")
        stays = point == "request" and self._connection.wire.keeps_byte
        return upstream_connection.is_plain and not is_awaited and not stays and self._connection.stream.is_plain

    async def _pumped(self, by: Party, source: Wire, sink: Wire) -> bool:
        """Pump the bytes of one side; return true if it has finished, and false if the bytes have to be parsed."""
        point: Point = "request" if by == "client" else self._connection.response_point

        def on_bytes(data: memoryview) -> None:
            if self._connection.speaker != by:
                self._speaks(by)
                self._come_to(point)
            self._connection.attempt.entry.says(by, data)

        pump = self._pumps[by] = Pump(source, sink, on_bytes)
        try:
            outcome = await pump.run()
        finally:
            del self._pumps[by]
        if outcome == "end":
            source.at_end = True
        if outcome in ("end", "interrupted"):
            return outcome == "end"
        if (outcome == "source reset") is (by == "client"):
            raise Departed("RST")
        raise UpstreamLeft(outcome)

    # --- messages and silence ----------------------------------------------------------------------------------------

    def _speaks(self, by: Party) -> None:
        """Record that a side sends bytes, and when."""
        self._dialogue.goes_on(is_request=by == "client" != self._connection.speaker)
        self._connection.speaks(by)

    async def _watch_silence(self) -> None:
        """Strike at `idle`, once neither side has sent bytes for the break's time since the upstream did."""
        while True:
            trip = self._connection.attempt.trip
            if trip is None or trip.brk.at != "idle":
                self._changed.clear()
                await self._changed.wait()
                continue
            is_silent = self._connection.speaker == "server"
            silent = self._dialogue.silent_seconds(trip.brk.trigger.after_requests) if is_silent else 0.0
            if (left := trip.brk.trigger.after_seconds - silent) <= 0:
                self._come_to("idle")
                await self._connection.strike(trip)
            else:
                await asyncio.sleep(left)

    async def _watch_client(self) -> None:
        """Raise `Departed` once a client that has finished sending leaves."""
        await self._client_has_finished.wait()
        left = await self._connection.wire.departure(None)
        if left and self._first_to_end == "client":  # pragma: no branch - the upstream may end at the same moment
            raise Departed(left)
