"""A relay: a conversation whose other end is a real server, both directions at once.

Bytes pass the same points and the same tripwire as in any conversation; the upstream answers. While nothing waits for
the bytes of a direction they are pumped and not looked at. A half-close is passed on as a half-close and a RST as a
RST, and what happens to the upstream ends this connection and no other.
"""

from __future__ import annotations

import asyncio

from faultline._core import steps as do
from faultline._core.ledger import Party
from faultline._core.points import Point
from faultline._core.upstream import Upstream
from faultline._engine.connection import Connection, Side
from faultline._engine.play import Over, play
from faultline._engine.pump import Pump
from faultline._engine.talks.dialogue import Dialogue
from faultline._engine.upstream import UpstreamConnection, UpstreamLeft, reach
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.wire import Wire

FAILURES: dict[str, tuple[do.ConnectionStep, ...]] = {
    "reset": (do.Reset(),),
    "close": (do.Close(),),
    "stall": (do.Hold(),),
}


async def converse(connection: Connection, *, upstream: Upstream) -> None:
    """Let the client and the upstream talk to each other until both have finished.

    Raises:
        Over: the conversation has ended, by the upstream or by a break.
        Departed: the client has left.
    """
    relay = Relay(connection)
    far = await relay.reach(upstream)
    if isinstance(far, UpstreamConnection):
        await relay.carry(far)
    else:
        await play(connection, FAILURES[upstream.on_failure])


class Relay(Side):
    """The far side of a connection that goes on to an upstream.

    Attributes:
        is_tunnel: the conversation has come to the point `tunnel`, and stays there.
    """

    is_tunnel = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.side = self
        self._first_to_end: Party | None = None
        self._has_lost_upstream = False
        self._pumps: dict[Party, Pump] = {}
        self._dialogue = Dialogue()
        self._open = asyncio.Event()  # cleared while a break is played
        self._open.set()
        self._news = asyncio.Event()  # set when there is another fault
        self._far: UpstreamConnection | None = None

    # --- the upstream ------------------------------------------------------------------------------------------------

    async def reach(self, upstream: Upstream) -> UpstreamConnection | Exception:
        """Connect to an upstream; the error if that fails.

        Raises:
            Departed: the client has reset the connection meanwhile.
            Over: the upstream was reached, and has reset the connection.
        """
        connection, loop = self._connection, asyncio.get_running_loop()
        opening = loop.create_task(self._dial(upstream))
        leaving = loop.create_task(connection.wire.departure(None))
        try:
            await asyncio.wait((opening, leaving), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and leaving.result() == "FIN":  # the client has said all, and may listen
                await asyncio.wait((opening,))
        finally:
            for task in (opening, leaving):
                task.cancel()
            await asyncio.gather(opening, leaving, return_exceptions=True)
        if opening.cancelled():
            raise Departed("RST")
        error = opening.exception()
        if isinstance(error, ConnectionResetError):
            connection.attempt.end("upstream", "RST")
            connection.wire.reset()
            raise Over
        if isinstance(error, (OSError, UpstreamLeft)):
            connection.attempt.entry.note = f"the upstream {upstream} could not be reached: {error}"
            return error
        return opening.result()

    async def _dial(self, upstream: Upstream) -> UpstreamConnection:
        """Connect to it; whatever comes then, the connection is known, and will be closed."""
        self._far = await reach(asyncio.get_running_loop(), self._connection.wire.departures, upstream)
        return self._far

    def leave(self) -> None:
        """End the connection to the upstream."""
        if self._far is not None:
            self._far.leave()

    # --- both directions ---------------------------------------------------------------------------------------------

    async def carry(self, far: UpstreamConnection, *, speaker: Party | None = None) -> None:
        """Carry bytes both ways until both sides have finished; `speaker` has spoken last.

        Raises:
            Over: the conversation has ended.
            Departed: the client has left.
        """
        self._dialogue.speaker = speaker
        left = await self._carried(far)
        if isinstance(left, Departed):
            if left.how == "RST":
                far.reset()
            far.leave()
            raise left
        far.leave()
        connection = self._connection
        connection.attempt.end("upstream" if left else self._first_to_end, "RST" if left else "FIN")
        if left:
            await connection.wire.flush()  # what the upstream said before its RST
            connection.wire.reset()
        raise Over

    async def _carried(self, far: UpstreamConnection) -> Departed | UpstreamLeft | None:
        """Carry bytes both ways; who left in the middle of it, if somebody did."""
        loop = asyncio.get_running_loop()
        carrying = {loop.create_task(self._carry_up(far)), loop.create_task(self._carry_down(far))}
        tasks = everything = {loop.create_task(self._watch_silence()), *carrying}
        try:
            while carrying & tasks:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except (UpstreamLeft, Departed) as error:
            return error
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)  # all are looked at, also those that are done
        return None

    async def _carry_up(self, far: UpstreamConnection) -> None:
        try:
            await self._say_to(far)
        except UpstreamLeft:
            if self._first_to_end == "upstream":
                raise
            self._has_lost_upstream = True  # what it said before is heard first
            return
        self._first_to_end = self._first_to_end or "client"
        await far.finish()

    async def _say_to(self, far: UpstreamConnection) -> None:
        """Let the client's bytes pass until it has finished."""
        await self._enter("request")
        while True:
            await self._may_flow()
            if self._dialogue.is_known and self._is_plain("request", far):
                if await self._pumped("client", self._connection.wire, far.wire):
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
                await self._connection.strike()
                continue
            room = trip.room_bytes(sockets.READ_BYTES) if trip else sockets.READ_BYTES
            data = await self._connection.stream.read(room)
            if not data:
                break
            await self._may_flow()
            self._speaks("client")
            await self._enter("request")
            self._dialogue.greet(data, self._connection.attempt)
            trip = self._connection.armed("request")  # a test may have changed it meanwhile
            cut = trip.cut(data) if trip else None
            if trip is None or cut is None:
                await far.send(data)
                continue
            if trip.brk.trigger.on is not None:
                cut = len(data)  # what came together with the words goes with them
            await far.send(data[:cut])
            await self._connection.strike()
            await far.send(data[cut:])

    async def _carry_down(self, far: UpstreamConnection) -> None:
        while True:
            await self._may_flow()
            if self._is_plain(self._connection.way_back, far):
                if await self._pumped("server", far.wire, self._connection.wire):
                    break
                continue
            data = await far.receive(sockets.READ_BYTES)
            if not data:
                break
            await self._may_flow()
            self._speaks("server")
            await self._enter(self._connection.way_back)
            await self._connection.send(data)
        if self._has_lost_upstream:
            raise UpstreamLeft
        self._first_to_end = self._first_to_end or "upstream"
        await self._connection.stream.end_tls()
        sockets.send_fin(self._connection.wire.sock)

    async def _enter(self, point: Point) -> None:
        """Come to a point, unless the conversation is in a tunnel."""
        if not self.is_tunnel:
            await self._connection.enter(point)

    def _come_to(self, point: Point) -> None:
        """Note that the conversation has come to a point, unless it is in a tunnel."""
        if not self.is_tunnel:
            self._connection.attempt.come_to(point)

    async def _may_flow(self) -> None:
        """Wait while nothing is to pass."""
        await self._connection.stream.flowing.wait()
        await self._open.wait()

    # --- what the connection tells -----------------------------------------------------------------------------------

    async def before_strike(self) -> None:
        """Let nothing pass in either direction until the break is through."""
        self._open.clear()
        self.look_again()
        if self._far is not None and do.ReceiveAll() in self._connection.attempt.fault.break_steps:
            await self._far.finish()  # the client talks to us alone from here on

    def after_strike(self) -> None:
        """Let bytes pass again."""
        self._open.set()

    def look_again(self) -> None:
        """Have bytes looked at that are pumped unseen, and silence too."""
        self._news.set()
        for pump in self._pumps.values():
            pump.interrupt()

    async def take(self, data: bytes) -> bool:
        """Send these bytes to the upstream, among those that the client says."""
        assert self._far is not None
        await self._far.send(data)
        return True

    def dealt(self) -> None:
        """Have what comes back through a tunnel pass the point where the break of another fault waits."""
        if self.is_tunnel:
            self.look_back()

    def look_back(self) -> None:
        """Have what comes back pass `tunnel` if a break waits there, and else `response`."""
        self._connection.way_back = "tunnel" if self._connection.armed("tunnel") is not None else "response"

    # --- unparsed ----------------------------------------------------------------------------------------------------

    def _is_plain(self, point: Point, far: UpstreamConnection) -> bool:
        """Whether nobody has to look at the bytes that pass this point."""
        trip = self._connection.attempt.trip
        is_awaited = trip is not None and trip.brk.at in (point, "idle")
        return far.is_plain and not is_awaited and self._connection.stream.is_plain

    async def _pumped(self, by: Party, source: Wire, sink: Wire) -> bool:
        """Pump bytes of one side until it has finished (true), or until somebody has to look at them."""
        point: Point = "request" if by == "client" else self._connection.way_back

        def on_bytes(data: memoryview) -> None:
            if self._dialogue.speaker != by:
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
        """One side says something, which may begin a message."""
        if self._dialogue.speaks(by):
            trip = self._connection.armed("request" if by == "client" else self._connection.way_back)
            if trip is not None:
                trip.begin_message()

    async def _watch_silence(self) -> None:
        """Strike at `idle`: the upstream has spoken, and for this long nobody has said anything."""
        while True:
            trip = self._connection.armed("idle")
            if trip is None:
                self._news.clear()
                await self._news.wait()
                continue
            left = trip.brk.trigger.after_seconds - self._dialogue.silent_seconds()
            if left <= 0:
                self._come_to("idle")
                await self._connection.strike()
            else:
                await asyncio.sleep(left)
