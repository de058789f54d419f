"""The engine: plays one script on one connection, and breaks it where its fault says.

Rules of this room: one `match` over steps, and no question which mode is running. A break is a tripwire on the
bytes that pass its point; when it is reached, the break's own steps are played, and if the conversation is still
alive after them, it goes on where it was. What a client can see is in the ledger before the client can see it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from faultline import _net
from faultline import _steps as do
from faultline._fault import Fault
from faultline._gate import Gate
from faultline._http import CONTINUE, RequestReader, render
from faultline._ledger import KEPT_BODY_BYTES, How, Party, Request
from faultline._parts import Answer, Certificate, Loss
from faultline._plan import resolved
from faultline._stage import Stage
from faultline._steps import HTTP, Point
from faultline._stream import Stream
from faultline._tls import Rejected
from faultline._tripwire import Tripwire, end_of, enough
from faultline._wire import Departed, Wire


class Over(Exception):  # noqa: N818 - it is news: a step has ended the conversation
    """The server has ended the conversation."""


class Conversation:
    """One client's connection, from accept to its end."""

    def __init__(self, wire: Wire, stage: Stage, number: int) -> None:
        self._wire = wire
        self._stage = stage
        self._number = number
        self._stream = Stream(wire, stage.chance)
        self._buffer = b""  # read, and not yet used
        self._counted_bytes = 0  # of these, as having passed the tripwire
        self._reader = RequestReader()
        self._point: Point = "accept"
        self._keeps = True
        self._is_filtered = False
        self._begin(stage.dealer.deal())
        stage.on_dealt()

    # --- the conversation as a whole ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Play the script to its end; whatever that end is, it is in the ledger and the socket is closed."""
        try:
            await self._reach("accept")
            script = self._fault.script or HTTP
            if script is not HTTP and not self._fault.starts_tls:
                await self._handshake()
            await self._play(script.steps)
            await self._play((do.Close(),))
        except Over:
            pass
        except Departed as left:
            self._end("client", left.how)
            with contextlib.suppress(Departed):  # a client may wait for the answer to its close_notify
                await self._stream.end_tls()
        except Rejected as rejected:
            is_alert = self._stream.rejected(rejected.why)
            self._end("client" if is_alert else "server", "FIN")
            _net.send_fin(self._wire.sock)
            _net.discard_input(self._wire.sock)
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Close the socket and the attempt; of what has ended already this changes nothing."""
        self._end("server", "stop")
        if self._is_filtered and not self._wire.is_closed:  # its FIN could never be acknowledged
            _net.send_rst(self._wire.sock)
        self._wire.close()

    def leave_idle(self, upcoming: Fault) -> bool:
        """Give the connection up if it is idle and what comes needs a new one; the caller then cancels the task."""
        idle = self._point == "idle" and not upcoming.can_follow(self._fault)
        if idle:
            self._end("server", "FIN")
        return idle

    def _begin(self, fault: Fault) -> None:
        entry = self._stage.ledger.begin(self._number, fault, "accept")
        self._entry = entry
        self._deal(fault)
        self._stream.serve(entry, fault)
        self._filter()

    def _filter(self) -> None:
        """Drop as many of the client's packets as the fault says."""
        loss = next((c for c in self._fault.conditions if isinstance(c, Loss)), None)
        if loss is not None:
            _net.drop_packets(self._wire.sock, loss.probability)
        elif self._is_filtered:
            _net.keep_packets(self._wire.sock)
        self._is_filtered = loss is not None

    def _deal(self, fault: Fault) -> None:
        self._fault = self._entry.fault = fault
        brk = fault.break_
        self._trip = Tripwire(brk) if brk is not None and brk.at != "connect" else None

    def _end(self, by: Party | None = None, how: How | None = None) -> None:
        self._stage.ledger.end(self._entry, by, how)

    async def _play(self, steps: tuple[do.Step, ...]) -> None:
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            match step:
                case do.Handshake():
                    await self._handshake()
                case do.ReceiveRequest():
                    await self._receive_request()
                case do.Respond():
                    await self._respond(step.answer)
                case do.Repeat():
                    await self._play(step.steps)
                    while await self._again():
                        await self._play(step.steps)
                case do.Send():
                    await self._enter("response")
                    await self._send(step.data, acknowledged=isinstance(following, do.Reset))
                case do.Receive():
                    await self._receive_until(partial(enough, count=step.count_bytes))
                case do.ReceiveUntil():
                    await self._receive_until(partial(end_of, marker=step.marker))
                case do.ReceiveAll():
                    await self._stream.read_to_end(expects_tls=self._stage.tls)
                    raise Departed("FIN")
                case do.StartTls():
                    self._buffer, self._counted_bytes = b"", 0
                    await self._secure()
                case do.Hold():
                    await self._hold(step.for_seconds, step.until)
                case do.Flush():
                    await self._wire.flush()
                case do.HalfClose():
                    await self._stream.end_tls()
                    _net.send_fin(self._wire.sock)
                case do.Close():
                    await self._close(step.close_notify)
                case do.Reset():
                    if step.flush:
                        await self._wire.flush()
                    self._end("server", "RST")
                    _net.send_rst(self._wire.sock)
                    raise Over
                case do.Partition():
                    await self._partition(step.for_seconds)
                case do.Refuse() | do.Vanish() | do.NoRoute():  # pragma: no cover - `script` refuses them
                    raise AssertionError(step)  # played by the door, before there is a connection
                case _:  # pragma: no cover - the type checker proves that there is no other
                    unknown(step)

    # --- points and breaks -------------------------------------------------------------------------------------------

    async def _reach(self, point: Point) -> None:
        """Come to a point; a break there that waits for no byte strikes now."""
        self._point = point
        self._stage.ledger.reach(self._entry, point)
        trip = self._armed(point)
        if trip is None or (point == "idle" and trip.brk.trigger.after_seconds):
            return  # at `idle` the seconds are a timer, which the next request stops
        if point in ("accept", "idle") or (point == "response" and trip.cut(b"") is not None):
            await self._strike()

    async def _enter(self, point: Point) -> None:
        """Come to a point unless the conversation is there already."""
        if self._point != point:
            await self._reach(point)

    def _armed(self, point: Point) -> Tripwire | None:
        """The tripwire, if it is at this point and has not struck."""
        return self._trip if self._trip is not None and self._trip.brk.at == point else None

    async def _strike(self) -> None:
        trip, self._trip = self._trip, None
        assert trip is not None
        if trip.brk.trigger.after_seconds and trip.brk.at != "idle":
            await self._hold(trip.brk.trigger.after_seconds)
        self._stage.ledger.strike(self._entry, trip.brk.at, trip.passed_bytes)
        await self._play(trip.brk.steps)

    # --- bytes -------------------------------------------------------------------------------------------------------

    async def _send(self, data: bytes, *, acknowledged: bool) -> None:
        """Send application bytes, as far as the tripwire lets them; `acknowledged` if a break comes next."""
        trip = self._armed("response")
        cut = trip.cut(data) if trip else None
        if cut is None:
            await (self._stream.write_acknowledged if acknowledged else self._stream.write)(data)
            return
        await self._stream.write_acknowledged(data[:cut])
        await self._strike()
        await self._stream.write(data[cut:])

    async def _send_flight(self, data: bytes) -> None:
        """Send TLS records of the handshake, as far as the tripwire lets them."""
        trip = self._armed("handshake")
        cut = trip.cut(data) if trip else None
        await self._stream.write_raw(data if cut is None else data[:cut])
        if cut is not None:
            await self._strike()
            await self._stream.write_raw(data[cut:])
        if self._fault.certificate is not None and self._entry.struck is None:
            self._stage.ledger.strike(self._entry, "handshake", len(data))

    async def _receive(self) -> bytes:
        """Some application bytes of the request, as far as the tripwire lets them; `b""` at the end."""
        if self._counted_bytes:  # read before, and passed the tripwire then
            data, self._buffer = self._buffer[: self._counted_bytes], self._buffer[self._counted_bytes :]
            self._counted_bytes = 0
            return data
        trip = self._armed("request")
        if trip and trip.room_bytes(1) == 0:
            if not self._buffer:
                await self._stream.await_bytes()
            await self._strike()
            trip = None
        room = trip.room_bytes(_net.READ_BYTES) if trip else _net.READ_BYTES
        data, self._buffer = self._buffer[:room], self._buffer[room:]
        if not data:
            data = await self._stream.read(room)
        if data and trip and trip.cut(data) is not None:
            await self._strike()
        return data

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _handshake(self) -> None:
        if self._stage.tls:
            await self._secure()

    async def _secure(self) -> None:
        await self._reach("handshake")
        context = self._stage.context(self._fault.certificate or Certificate())
        await self._stream.secure(context, self._send_flight)

    async def _receive_request(self) -> None:
        await self._reach("request")
        reader = self._reader = RequestReader()
        while not reader.complete:
            data = await self._receive()
            if not data:
                raise Departed("FIN")
            if reader.feed(data):
                await self._stream.write(CONTINUE)
        self._put_back(reader.rest)
        self._stage.ledger.keep(self._entry, reader.request)
        if self._fault.choice is not None:
            self._deal(resolved(self._fault, reader.request))

    async def _respond(self, answer: Answer | None) -> None:
        answer = answer or self._fault.http_answer or self._stage.default
        if (trip := self._armed("response")) is not None:
            answer = answer.sized(trip.brk.trigger.after_bytes)
        reader, request = self._reader, self._entry.request or Request()
        self._keeps = reader.keep_alive if reader.is_http else answer.echoes
        if answer.closes or self._stage.dealer.ends_connection(self._fault):
            self._keeps = False  # so that the client has to open anew, and meets it
        await self._reach("response")
        data = render(answer, request, keep_alive=self._keeps)
        await self._send(data, acknowledged=self._armed("idle") is not None)

    async def _again(self) -> bool:
        """Between two turns: whether the client asks once more on this connection."""
        if not self._keeps:
            return False
        await self._reach("idle")
        if not self._buffer:
            await self._await_next()
        news = self._buffer
        self._entry.take_back(news)
        self._end()
        self._counted_bytes = 0
        self._begin(self._stage.dealer.deal_kept(self._fault))
        self._entry.says("client", news)
        self._stage.on_dealt()
        return True

    async def _await_next(self) -> None:
        """Wait for the next request, which is left for the attempt that begins with it."""
        trip = self._armed("idle")
        timer = trip.brk.trigger.after_seconds if trip else None
        try:
            await asyncio.wait_for(self._stream.await_bytes(), timer)
        except asyncio.TimeoutError:
            await self._strike()
            await self._stream.await_bytes()

    async def _receive_until(self, end: Callable[[bytes], int]) -> None:
        """Read until `end` finds where it is; what came after it stays for the next step."""
        await self._enter("request")
        got = b""
        while (at := end(got)) < 0:
            data = await self._receive()
            if not data:
                raise Departed("FIN")
            got += data
        self._put_back(got[at:])
        before = self._entry.request or Request()
        body = before.body + got[:at]
        kept = body[:KEPT_BODY_BYTES]
        self._stage.ledger.keep(self._entry, Request(body=kept, body_bytes=before.body_bytes + at))

    def _put_back(self, data: bytes) -> None:
        """Leave for the next step what was read too far."""
        self._buffer = data + self._buffer
        self._counted_bytes += len(data)

    async def _hold(self, for_seconds: float | None, until: Gate | None = None) -> None:
        if left := await self._wire.departure(for_seconds, until):
            raise Departed(left)

    async def _partition(self, for_seconds: float | None) -> None:
        _net.drop_packets(self._wire.sock)
        self._is_filtered = True
        if for_seconds is None:
            await asyncio.get_running_loop().create_future()  # until the server stops: no news can come
        else:
            await asyncio.sleep(for_seconds)
        self._filter()

    async def _close(self, close_notify: bool) -> None:  # noqa: FBT001 - as the step says it
        if close_notify:
            await self._stream.end_tls()
        self._end("server", "FIN")
        _net.send_fin(self._wire.sock)
        await self._wire.flush()  # closing with unread input would throw away what is not delivered yet
        _net.discard_input(self._wire.sock)
        self._wire.close()
        raise Over


def unknown(step: NoReturn) -> NoReturn:  # pragma: no cover - the same
    """The type checker proves that no step comes here."""
    raise AssertionError(step)
