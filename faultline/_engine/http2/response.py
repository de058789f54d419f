"""The response on a stream of HTTP/2: its fields, its body in frames, its trailers, and the break among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from faultline._core.answers import Answer
from faultline._core.conditions import ByChunk
from faultline._core.http2 import Http2Answer
from faultline._core.promises import ANSWER
from faultline._core.steps import Hold
from faultline._core.streams import GoAway, RstStream
from faultline._core.tripwire import Tripwire
from faultline._engine.http2.lies import tell
from faultline._engine.pacing import Deliver, pause
from faultline._engine.play import close
from faultline._net import http2 as wire
from faultline._net.chosen import chosen

if TYPE_CHECKING:
    from faultline._engine.http2.exchange import Exchange


class Response:
    """The response of one exchange.

    Attributes:
        exchange: the exchange.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self._session, self._attempt = exchange, exchange.session, exchange.attempt
        self._body_bytes = 0  # sent
        self._has_head = False
        self._found: Tripwire | None = None  # its words are in what was sent last

    async def send(self) -> bool:
        """Send the response; return whether the connection is kept for further requests.

        Raises:
            Over: a break ended the connection.
            Ended: a break ended the stream.
            Departed: the client ended the connection.
        """
        attempt, service = self._attempt, self._session.connection.service
        fault, request = attempt.fault, attempt.request
        planned = fault.http_answer
        said = chosen(planned or service.default, request, service.default)
        if (trip := attempt.armed("response")) is not None:
            said = said.sized(trip.brk.trigger.least_bytes)
        attempt.come_to("response")
        await self._strike_if_due()
        if attempt.fault is not fault:  # the test has given it another, whose answer comes
            return await self.send()
        if planned is not None and planned.is_fault:
            is_of_frames = isinstance(planned, Http2Answer)
            if is_of_frames or planned.strikes_at(request.method):
                attempt.strike("response", 0, ANSWER)
        await self._say(said)
        if said.in_http2 is None and said.closes_after(request.method):
            return False
        goes_on = attempt.armed("idle") is not None or attempt.lasts
        return goes_on or not service.dealer.ends_connection(fault)

    async def ask_for_body(self) -> None:
        """Send `100 Continue`, which counts as no byte of the response."""
        fields = [(":status", "100")]
        if self.exchange.flows is not None:
            await self.exchange.flows.send(wire.text_of(fields), arrived, pause)
        async with self.exchange.turn():
            data = self._session.writer.made(lambda: self._fields(fields, is_last=False))
            await self._session.connection.stream.write_now(data)
            self._attempt.entry.says("server", data)

    async def _say(self, said: Answer) -> None:
        """Send an answer, in the form that it has in HTTP/2."""
        if isinstance(said, Http2Answer) and said.kind:
            await tell(self, said.kind)
        elif said.in_http2 is not None:
            await self._send_all(said.in_http2)
        elif said.raw is not None:
            await self._send_raw(said.raw, ends=said.ends)
        else:
            await self._send_all(said)

    async def _send_raw(self, data: bytes, *, ends: bool) -> None:
        """Send bytes that are no frames, and end the connection, if the answer does.

        Raises:
            Over: the connection has ended.
        """
        await self.frame(lambda: data)
        if ends:
            async with self._session.writer.alone():
                await close(self._session.connection)

    async def _send_all(self, said: Answer) -> None:
        """Send the fields, the body and the trailers."""
        request = self._attempt.request
        fields, body = wire.fields_of(said, request), wire.body_of(said, request)
        is_bare = wire.is_bodiless(said, request) or not (body or said.trailers)
        trip = self._attempt.armed("response")
        has_end = (
            is_bare and trip is not None and concerns_stream(trip)
        )  # a frame of its own, as the break is before it
        await self.head(fields, is_last=is_bare and not has_end)
        if has_end:
            await self.frame(lambda: self.data(b"", is_last=True))
        if not is_bare:
            await self._send_body(said, body)
            await self._strike_if_due()  # before the end, if the fault is another
            trailers = [(name.lower(), value) for name, value in said.trailers]
            if trailers:
                await self.head(trailers, is_last=True)
            elif not said.endless or self._attempt.armed("response") is None:
                await self.frame(lambda: self.data(b"", is_last=True))
        await self._strike_if_due(at_end=True)

    async def _send_body(self, said: Answer, body: bytes) -> None:
        """Send the body, or chunk by chunk at their pace."""
        fault, chunks = self._attempt.fault, said.chunks or (body,)
        pace = next((c.every_seconds for c in fault.conditions if isinstance(c, ByChunk)), 0.0)
        loop, number = asyncio.get_running_loop(), 0
        began = loop.time()
        while said.repeats or number < len(chunks):
            if pace and number:
                await asyncio.sleep(began + number * pace - loop.time())
            if said.repeats and self._attempt.fault.answer != fault.answer:
                break
            await self._travel(chunks[number % len(chunks)], self._send_data)
            number += 1

    async def _travel(self, text: bytes, deliver: Deliver) -> None:
        """Have text pass the conditions of the attempt."""
        if self.exchange.flows is None:
            await deliver(text)
        else:
            await self.exchange.flows.send(text, deliver, pause)

    async def head(self, fields: list[tuple[str, str]], *, is_last: bool = False) -> None:
        """Send fields, once their text has passed the conditions: the head of the response, or its trailers."""
        text = wire.text_of(fields)
        if self.exchange.flows is not None:
            await self.exchange.flows.send(text, arrived, pause)
        if (trip := self._attempt.armed("response")) is not None and trip.brk.trigger.on and trip.cut(text) is not None:
            self._found = trip
        self._has_head = True
        await self.frame(lambda: self._fields(fields, is_last=is_last))

    async def _send_data(self, data: bytes) -> None:
        """Send a part of the body in frames, as the windows of the client let it pass.

        Another stream may take the window of the connection until it is this one's turn.
        """
        h2, number = self._session.h2, self.exchange.number
        while data:
            while h2.local_flow_control_window(number) <= 0:
                await self._session.until_flow()
            async with self.exchange.turn():
                window = h2.local_flow_control_window(number)
                if window <= 0:  # pragma: no cover - another stream has taken it meanwhile, which is a race
                    continue
                room = self._room(data, window)
                part, data = data[:room], data[room:]
                self._body_bytes += len(part)
                await self._send(partial(self.data, part))
            await self._strike_if_due()

    def _room(self, data: bytes, window: int) -> int:
        """How many bytes of the body go into the next frame: as the client allows, and up to the strike."""
        h2 = self._session.h2
        room = min(len(data), window, h2.max_outbound_frame_size)
        if (trip := self._attempt.armed("response")) is None or trip.waits:
            return room
        trigger = trip.brk.trigger
        if trigger.on is not None:
            cut = trip.cut(data[:room])
            self._found = None if cut is None else trip
            return room if cut is None else cut
        if trigger.after_body_bytes is not None:
            return min(room, trigger.after_body_bytes - self._body_bytes)
        left = trip.before_bytes + trigger.after_bytes - self.exchange.sent_bytes - wire.HEAD_BYTES
        return max(1, min(room, left)) if concerns_stream(trip) else room

    def _fields(self, fields: list[tuple[str, str]], *, is_last: bool) -> bytes:
        """A HEADERS frame."""
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self._session.h2.send_headers(self.exchange.number, encoded, end_stream=is_last)
        return self._session.h2.data_to_send()

    def data(self, data: bytes, *, is_last: bool = False) -> bytes:
        """A DATA frame."""
        self._session.h2.send_data(self.exchange.number, data, end_stream=is_last)
        return self._session.h2.data_to_send()

    # --- the break ---------------------------------------------------------------------------------------------------

    async def frame(self, make: Callable[[], bytes]) -> None:
        """Send a frame; a break of the connection may cut it, and one of the stream strikes behind it."""
        async with self.exchange.turn():
            await self._send(make)
        await self._strike_if_due()

    async def _send(self, make: Callable[[], bytes]) -> None:
        """Send a frame, in the turn to write; a break of the connection may cut it."""
        rest = self._session.writer.made(make)
        while (trip := self._attempt.armed("response")) is not None and self._cuts(trip):
            left = trip.before_bytes + trip.brk.trigger.after_bytes - self.exchange.sent_bytes
            if left >= len(rest):
                break
            await self._write(rest[:left])
            rest = rest[left:]
            await self._session.connection.strike(trip)
        await self._write(rest)

    def _cuts(self, trip: Tripwire) -> bool:
        """Whether a break can strike inside a frame."""
        trigger = trip.brk.trigger
        counts = trigger.on is None and trigger.after_body_bytes is None and not trigger.at_end
        return counts and not trip.waits and not concerns_stream(trip)

    async def _write(self, data: bytes) -> None:
        await self._session.connection.stream.write_now(data)
        self._session.connection.speaker = "server"
        self._attempt.entry.says("server", data)
        self.exchange.sent_bytes += len(data)

    async def _strike_if_due(self, *, at_end: bool = False) -> None:
        """Let the break strike if its place is here."""
        while (trip := self._attempt.armed("response")) is not None and self._is_due(trip, at_end=at_end):
            await self._session.connection.strike(trip)

    def _is_due(self, trip: Tripwire, *, at_end: bool) -> bool:
        trigger = trip.brk.trigger
        if trip.waits:
            return False
        if trigger.at_end:
            return at_end
        if trigger.on is not None:
            return self._found is trip
        if trigger.after_body_bytes is not None:
            return self._has_head and self._body_bytes >= trigger.after_body_bytes
        return self.exchange.sent_bytes >= trip.before_bytes + trigger.after_bytes


def concerns_stream(trip: Tripwire) -> bool:
    """Whether a break concerns one stream alone, and leaves the others of the connection as they are."""
    steps = trip.brk.steps
    return all(isinstance(s, (Hold, RstStream)) or (isinstance(s, GoAway) and not s.is_final) for s in steps)


async def arrived(_data: bytes) -> None:
    """Take bytes that have passed their conditions."""
