"""One stream of HTTP/2: its request, its response, and the break that strikes among their bytes.

The bytes of a stream are those of its frames. Words are looked for in its text: the fields as lines, an empty line, and
the body.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import h2.exceptions

from faultline._core.attempts import Request
from faultline._core.conditions import ByChunk
from faultline._core.gate import Gate
from faultline._core.http2 import name_of
from faultline._core.ledger import KEPT_BODY_BYTES
from faultline._core.stages import NEVER_SECONDS
from faultline._core.steps import ConnectionStep, Hold
from faultline._core.streams import GoAway, RstStream
from faultline._core.tripwire import Tripwire
from faultline._engine.choosing import note_unmatched
from faultline._engine.http2.response import Response, concerns_stream
from faultline._engine.lifting import Lift, Lifted
from faultline._engine.pacing import Flows, pause
from faultline._net.chosen import hopped

if TYPE_CHECKING:
    from faultline._core.fault import Fault
    from faultline._core.points import Point
    from faultline._engine.attempt import OpenAttempt
    from faultline._engine.http2.session import Session


class Ended(Exception):  # noqa: N818 - an event, not an error
    """The stream is over, and its connection goes on."""


class Piece(NamedTuple):
    """What came on the stream at once.

    Attributes:
        at: when it came.
        frame_bytes: the size of the frame, or of several that carry no text.
        text: what the frame says: fields or a part of the body.
        flow_bytes: how much of the window it takes.
        is_end: whether the request ends with it.
    """

    at: float
    frame_bytes: int
    text: bytes
    flow_bytes: int = 0
    is_end: bool = False


class Exchange:
    """The request and the response of one stream.

    Attributes:
        session: the connection.
        number: the number of the stream.
        attempt: the attempt.
        task: what holds the exchange.
        sent_bytes: how many bytes of the response's frames were sent.
        flows: the conditions of the attempt at work; `None` without any.
    """

    def __init__(self, session: Session, number: int, attempt: OpenAttempt, request: Request) -> None:
        self.session, self.number, self.attempt = session, number, attempt
        self.task: asyncio.Task[None]
        self.sent_bytes = self.received_bytes = 0
        self._request, self._body, self.body_bytes = request, bytearray(request.body), request.body_bytes
        self._pieces: deque[Piece] = deque()
        self._come = asyncio.Event()
        self._goes_on = asyncio.Event()  # cleared while a break whose time is over holds the stream
        self._goes_on.set()
        self._leaves_body = False  # because the response needs none
        self._is_whole = False  # the request
        self._lift: Lift | None = None  # of the break that is being played
        attempt.on_strike = self.strike
        self.flows: Flows | None = None
        self._begin_flows()
        self._choose(has_body=False)

    async def run(self) -> None:
        """Hold the exchange.

        Raises:
            Over: a break ended the connection.
            Departed: the client ended the connection.
        """
        goes_on = True
        try:
            response = Response(self)
            await self._receive(response)
            goes_on = await response.send()
            await self._decline()
        except Ended:
            pass
        await self.session.finish(self, goes_on=goes_on)

    # --- told by the session -----------------------------------------------------------------------------------------

    def feed_head(self, frame: bytes, text: bytes) -> None:
        """Take the fields of the request."""
        self._put(len(frame), text)

    def feed(self, frame: bytes, body: bytes, flow_bytes: int) -> None:
        """Take a part of the request's body."""
        self._put(len(frame), body, flow_bytes)

    def feed_end(self) -> None:
        """Take the end of the request."""
        self._put(is_end=True)

    def _put(self, frame_bytes: int = 0, text: bytes = b"", flow_bytes: int = 0, *, is_end: bool = False) -> None:
        """Let a piece wait; frames without text, of which a client may send any number, wait as one."""
        if self._pieces and not (text or is_end or self._pieces[-1].text):
            last = self._pieces.pop()
            frame_bytes, flow_bytes = last.frame_bytes + frame_bytes, last.flow_bytes + flow_bytes
        self._pieces.append(Piece(asyncio.get_running_loop().time(), frame_bytes, text, flow_bytes, is_end))
        self._come.set()

    def leave(self, code: str) -> None:
        """Take note that the client has reset the stream."""
        self.attempt.sign("client", "RST_STREAM", code)
        self._stop()
        self.attempt.end("client", "RST_STREAM", is_sign=False)

    def hold(self) -> None:
        """Send no further frame, because the client has broken the protocol, and the connection ends."""
        self._goes_on.clear()

    def abandon(self) -> None:
        """Take note that the stream is not answered, because the connection is going away."""
        self._stop()
        self.attempt.end()

    def _stop(self) -> None:
        self.session.streams.pop(self.number, None)
        if self.task is asyncio.current_task():
            raise Ended
        self.task.cancel()

    def meet(self, fault: Fault) -> None:
        """Give the attempt another fault, from the next frame on; a break that it does not have is given up."""
        attempt, dealer = self.attempt, self.session.connection.service.dealer
        fault = dealer.resolved(fault, attempt.request, has_body=self._is_whole)
        if self._lift is not None and fault.break_ != attempt.fault.break_:
            self._lift.lift()
        trip, conditions = attempt.trip, attempt.fault.conditions
        attempt.meet(fault)
        if attempt.trip is not None and attempt.trip is not trip:
            attempt.trip.before_bytes = self._passed_bytes(attempt.trip.brk.at)
        if fault.conditions != conditions:
            self._begin_flows()

    def _choose(self, *, has_body: bool) -> None:
        """Give the attempt the fault that its request chooses, by its fields or by all of it."""
        attempt, before = self.attempt, self.attempt.fault
        fault = self.session.connection.service.dealer.resolved(before, attempt.request, has_body=has_body)
        if fault is not before:
            note_unmatched(attempt, attempt.request)
            attempt.meet(fault)
            self._begin_flows()

    def _begin_flows(self) -> None:
        """Have the text pass under the conditions of the attempt's fault, except for the pace of its chunks."""
        conditions = tuple(c for c in self.attempt.fault.conditions if not isinstance(c, ByChunk))
        chance, strikes = self.session.connection.service.chance, self.attempt.condition_strikes
        self.flows = Flows(conditions, chance, strikes, self.attempt.entry) if conditions else None

    # --- the request -------------------------------------------------------------------------------------------------

    async def _receive(self, response: Response) -> None:
        """Read the request, with its body; a client that waits for `100 Continue` is asked for it, or refused."""
        attempt, service = self.attempt, self.session.connection.service
        kept_bytes = sys.maxsize if service.may_echo(attempt.fault) else KEPT_BODY_BYTES
        head = await self._next()
        await self._pass(head.frame_bytes, head.text)
        if not self._pieces and (self._request.header("expect") or "").lower() == "100-continue":
            self._leaves_body = self._needs_no_body()
            if self._leaves_body:
                return
            await response.ask_for_body()
        while not (piece := await self._next()).is_end:
            self._body += piece.text[: max(0, kept_bytes - len(self._body))]
            self.body_bytes += len(piece.text)
            await self._pass(piece.frame_bytes, piece.text)
            await self.session.consume(self.number, piece.flow_bytes)
        attempt.keep(replace(self._request, body=bytes(self._body), body_bytes=self.body_bytes))
        self._is_whole = True
        self._choose(has_body=True)

    def _needs_no_body(self) -> bool:
        """Whether the response is known, and needs no body of the request (RFC 9110, 10.1.1)."""
        fault, default = self.attempt.fault, self.session.connection.service.default
        return fault.choice is None and hopped(fault.http_answer or default, self._request, default).needs_no_body

    async def _decline(self) -> None:
        """Have the client leave out the body that was not read, behind the whole response (RFC 9113, 8.1)."""
        if self._leaves_body and not self._is_closed:
            self.attempt.sign("server", "RST_STREAM", name_of(0))
            await self.session.writer.write(partial(self._reset, 0))

    async def _next(self) -> Piece:
        """The next piece of the request, once its conditions let it pass."""
        while not self._pieces:
            self._come.clear()
            await self._come.wait()
        await self._goes_on.wait()
        piece = self._pieces.popleft()
        if self.flows is not None:
            self.flows.heard_at = piece.at
            if piece.text:
                self.flows.request.chain.put(piece.text, piece.at)
                await self.flows.request.drain(passed, pause)
        return piece

    async def _pass(self, frame_bytes: int, text: bytes) -> None:
        """Let a piece of the request pass the break, which strikes among its bytes, or behind its words."""
        before, self.received_bytes = self.received_bytes, self.received_bytes + frame_bytes
        while (trip := self.attempt.armed("request")) is not None and not trip.waits:
            trigger, passed_bytes = trip.brk.trigger, self.received_bytes
            if trigger.on is not None:
                is_due = trip.cut(text) is not None
            elif trigger.after_body_bytes is not None:
                is_due = self.body_bytes >= trigger.after_body_bytes
            else:
                passed_bytes = max(before, trip.before_bytes + trigger.after_bytes)
                is_due = passed_bytes <= self.received_bytes
            if not is_due:
                return
            self.received_bytes = passed_bytes
            await self.session.connection.strike(trip)
            self.received_bytes = before + frame_bytes

    # --- the break ---------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The turn to write a frame of the stream, once no break holds it."""
        while True:
            await self._goes_on.wait()
            async with self.session.writer.turn():
                if self._goes_on.is_set():  # pragma: no branch - or cleared meanwhile, which is a race
                    yield
                    return

    async def strike_on_time(self, trip: Tripwire) -> None:
        """Let a break of the stream strike, whose time is over: between two frames, while the stream's own task waits.

        Raises:
            Over: a step ended the conversation.
            Departed: the client ended the connection.
        """
        self._goes_on.clear()
        try:
            await self.session.writer.flush()  # and a frame that is being written
            await self.session.connection.strike(trip)
        except Ended:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            await self.session.finish(self, goes_on=True)
        finally:
            self._goes_on.set()

    @property
    def _is_closed(self) -> bool:
        """Whether both sides have ended the stream, so that nothing more can be said on it."""
        stream = self.session.h2.streams.get(self.number)
        return stream is None or stream.closed

    async def strike(self, trip: Tripwire) -> None:
        """Let a break strike: a break that concerns the stream alone leaves the connection to the others.

        Raises:
            Over: a step ended the conversation.
            Ended: a step ended the stream.
            Departed: the client ended the connection.
        """
        connection, brk, lift = self.session.connection, trip.brk, Lift()
        connection.lift = self._lift = lift
        try:
            if brk.trigger.until is not None:
                await lift.within(pause(NEVER_SECONDS, brk.trigger.until))
            if not concerns_stream(trip):
                await self.session.end(self.attempt, trip, self._passed_bytes(brk.at))
            elif not self._is_closed or any(isinstance(step, GoAway) for step in brk.steps):
                self.attempt.strike(brk.at, self._passed_bytes(brk.at))
                for step in brk.steps:
                    await self._play(step, lift)
        except Lifted:
            pass
        finally:
            connection.lift = self._lift = None

    def _passed_bytes(self, at: Point) -> int:
        return {"request": self.received_bytes, "response": self.sent_bytes}.get(at, 0)

    async def _play(self, step: ConnectionStep, lift: Lift) -> None:
        """Play a step that concerns the stream alone."""
        session = self.session
        if isinstance(step, Hold):
            seconds = NEVER_SECONDS if step.for_seconds is None else step.for_seconds
            await lift.within(pause(seconds, step.until or Gate()))
        elif isinstance(step, RstStream):
            self.attempt.sign("server", "RST_STREAM", name_of(step.code))
            await session.writer.write(partial(self._reset, step.code))
            self.attempt.end("server", "RST_STREAM", is_sign=False)
            raise Ended
        else:
            assert isinstance(step, GoAway)  # no other concerns a stream alone
            await session.go_away(step.code, self.number if step.last_stream is None else step.last_stream)
            await session.close_if_idle()

    def _reset(self, code: int) -> bytes:
        with contextlib.suppress(h2.exceptions.ProtocolError):  # the client has broken the protocol meanwhile
            self.session.h2.reset_stream(self.number, code)
        return self.session.h2.data_to_send()


async def passed(_data: bytes) -> None:
    """Take bytes that have passed their conditions."""
