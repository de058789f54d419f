"""Through: a conversation whose other end is a real server, both directions at once.

Rules of this room: bytes pass the same points and the same tripwire as in any conversation; who answers is the
upstream. While nothing waits for the bytes of a direction they are pumped and not looked at. A half-close is passed
on as a half-close and a RST as a RST, and what happens to the upstream ends this connection and no other.
"""

from __future__ import annotations

import asyncio

from faultline._core import steps as do
from faultline._core.ledger import Party, TlsFacts
from faultline._engine.connection import Over, Passage
from faultline._engine.far import Far, UpstreamLeft, reach
from faultline._engine.pump import Pump
from faultline._engine.stage import Stage
from faultline._engine.upstream import Upstream
from faultline._net import sockets
from faultline._net.client_hello import hello_of
from faultline._net.departures import Departed
from faultline._net.wire import Wire

FAILURES: dict[str, tuple[do.Step, ...]] = {"reset": (do.Reset(),), "close": (do.Close(),), "stall": (do.Hold(),)}


class Through(Passage):
    """A client's connection that goes on to an upstream."""

    _first_to_end: Party | None = None
    _has_lost_upstream = False
    _speaker: Party | None = None
    _spoke_at_seconds = 0.0
    _pumps: dict[Party, Pump]
    _greeting: bytes | None = b""  # the client's first bytes, until it is known whether they begin TLS

    def __init__(self, wire: Wire, stage: Stage, number: int) -> None:
        super().__init__(wire, stage, number)
        self._pumps = {}
        self._open = asyncio.Event()  # cleared while a break is played
        self._open.set()
        self._news = asyncio.Event()  # set when there is another fault
        self._far: Far | None = None

    async def _pass_through(self, far: Far) -> None:
        """Carry bytes both ways until both sides have finished."""
        loop = asyncio.get_running_loop()
        carrying = {loop.create_task(self._carry_up(far)), loop.create_task(self._carry_down(far))}
        tasks = everything = {loop.create_task(self._watch_silence()), *carrying}
        left: Exception | None = None
        try:
            while carrying & tasks:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except (UpstreamLeft, Departed) as error:
            left = error
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)  # all are looked at, also those that are done
            if isinstance(left, Departed) and left.how == "RST":
                far.reset()
            far.leave()
        if isinstance(left, Departed):
            raise left
        self._end("upstream" if left else self._first_to_end, "RST" if left else "FIN")
        if left:
            await self._wire.flush()  # what the upstream said before its RST
            self._wire.reset()
        raise Over

    # --- the upstream ------------------------------------------------------------------------------------------------

    async def _reach_upstream(self, upstream: Upstream) -> Far:
        """Connect to it; else do what is to be done then."""
        far = await self._try(upstream)
        if isinstance(far, Exception):
            await self._play(FAILURES[upstream.on_failure])  # where the conversation ends
        assert isinstance(far, Far)
        return far

    async def _try(self, upstream: Upstream) -> Far | Exception:
        """Connect to it, unless the client resets the connection meanwhile; else why it could not be."""
        loop = asyncio.get_running_loop()
        opening = loop.create_task(self._dial(upstream))
        leaving = loop.create_task(self._wire.departure(None))
        try:
            await asyncio.wait((opening, leaving), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and leaving.result() == "FIN":  # it has said all, and may listen
                await asyncio.wait((opening,))
        finally:
            for task in (opening, leaving):
                task.cancel()
            await asyncio.gather(opening, leaving, return_exceptions=True)
        if opening.cancelled():
            raise Departed("RST")
        if isinstance(opening.exception(), ConnectionResetError):  # it was reached, and has reset the connection
            self._end("upstream", "RST")
            self._wire.reset()
            raise Over
        if isinstance(error := opening.exception(), (OSError, UpstreamLeft)):
            self._entry.note = f"the upstream {upstream} could not be reached: {error}"
            return error
        return opening.result()

    async def _dial(self, upstream: Upstream) -> Far:
        """Connect to it; whatever comes then, the connection is known, and will be closed."""
        self._far = await reach(asyncio.get_running_loop(), self._wire.departures, upstream)
        return self._far

    # --- both directions ---------------------------------------------------------------------------------------------

    async def _carry_up(self, far: Far) -> None:
        try:
            await self._say_to(far)
        except UpstreamLeft:
            if self._first_to_end == "upstream":
                raise
            self._has_lost_upstream = True  # what it said before is heard first
            return
        self._first_to_end = self._first_to_end or "client"
        await far.finish()

    async def _say_to(self, far: Far) -> None:
        """Let the client's bytes pass until it has finished."""
        await self._enter("request")
        while True:
            await self._may_flow()
            if self._greeting is None and self._is_plain("request", far):
                if await self._pumped("client", self._wire, far.wire):
                    break
                continue
            trip = self._armed("request")
            if trip and trip.room_bytes(1) == 0:
                try:
                    await self._stream.await_bytes()
                except Departed as left:
                    if left.how == "RST":
                        raise
                    break
                await self._strike()
                continue
            data = await self._stream.read(trip.room_bytes(sockets.READ_BYTES) if trip else sockets.READ_BYTES)
            if not data:
                break
            await self._may_flow()
            self._speaks("client")
            await self._enter("request")
            self._greet(data)
            trip = self._armed("request")  # a test may have changed it meanwhile
            cut = trip.cut(data) if trip else None
            if trip is None or cut is None:
                await far.send(data)
                continue
            if trip.brk.trigger.on is not None:
                cut = len(data)  # what came together with the words goes with them
            await far.send(data[:cut])
            await self._strike()
            await far.send(data[cut:])

    async def _carry_down(self, far: Far) -> None:
        while True:
            await self._may_flow()
            if self._is_plain(self._way_back, far):
                if await self._pumped("server", far.wire, self._wire):
                    break
                continue
            data = await far.receive(sockets.READ_BYTES)
            if not data:
                break
            await self._may_flow()
            self._speaks("server")
            await self._enter(self._way_back)
            await self._send(data, acknowledged=False)
        if self._has_lost_upstream:
            raise UpstreamLeft
        self._first_to_end = self._first_to_end or "upstream"
        await self._stream.end_tls()
        sockets.send_fin(self._wire.sock)

    async def _may_flow(self) -> None:
        """Wait while nothing is to pass."""
        await self._stream.flowing.wait()
        await self._open.wait()

    async def _strike(self) -> None:
        """Nothing passes in either direction until the break is through."""
        self._open.clear()
        self._look_again()
        if self._far is not None and do.ReceiveAll() in self._fault.break_steps:  # it talks to us alone from here on
            await self._far.finish()
        await super()._strike()
        self._open.set()

    def _look_again(self) -> None:
        """Have what is pumped looked at from here on, and silence too."""
        self._news.set()
        for pump in self._pumps.values():
            pump.interrupt()

    async def _inject(self, data: bytes) -> None:
        struck = self._entry.struck
        if struck is not None and struck.point == "request":
            assert self._far is not None
            await self._far.send(data)
        else:
            await super()._inject(data)

    # --- unparsed ----------------------------------------------------------------------------------------------------

    def _is_plain(self, point: do.Point, far: Far) -> bool:
        """Whether nobody has to look at the bytes that pass this point."""
        return (
            far.is_plain and (self._trip is None or self._trip.brk.at not in (point, "idle")) and self._stream.is_plain
        )

    async def _pumped(self, by: Party, source: Wire, sink: Wire) -> bool:
        """Pump bytes of one side until it has finished (true), or until somebody has to look at them."""
        point: do.Point = "request" if by == "client" else self._way_back

        def on_bytes(data: memoryview) -> None:
            if self._speaker != by:
                self._speaks(by)
                self._come_to(point)
            self._entry.says(by, data)

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

    # --- what is known of the conversation ---------------------------------------------------------------------------

    def _speaks(self, by: Party) -> None:
        """One side says something; a message is all it says until the other side does."""
        self._spoke_at_seconds = asyncio.get_running_loop().time()
        if self._speaker != by:
            self._speaker = by
            if (trip := self._armed("request" if by == "client" else self._way_back)) is not None:
                trip.begin_message()

    def _greet(self, data: bytes) -> None:
        """Look for a ClientHello in what the client says first: who passes TLS on sees that much of it."""
        if self._greeting is None:
            return
        self._greeting += data
        hello = hello_of(self._greeting)
        if hello is not None:
            self._greeting = None
            if hello.is_tls and self._entry.tls is None:
                self._entry.tls = TlsFacts(sni=hello.sni, offered=hello.protocols)

    async def _watch_silence(self) -> None:
        """Strike at `idle`: the upstream has spoken, and for so long nobody has said anything."""
        loop = asyncio.get_running_loop()
        while True:
            trip = self._armed("idle")
            if trip is None:
                self._news.clear()
                await self._news.wait()
                continue
            quiet = loop.time() - self._spoke_at_seconds if self._speaker == "server" else 0.0
            if (left := trip.brk.trigger.after_seconds - quiet) <= 0:
                self._come_to("idle")
                await self._strike()
            else:
                await asyncio.sleep(left)
