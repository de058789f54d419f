"""A connection: its points, the bytes that pass them, and the break that strikes among the bytes.

A break is a tripwire on the bytes that pass its point. When the bytes reach the tripwire, the break's steps are
played, and if the connection is still open after them, the conversation continues where it was.

Rules: an event is in the ledger before the client can observe it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from faultline._core.attempts import Entry
from faultline._core.ends import How, Party, Sign
from faultline._core.fault import Fault
from faultline._core.ledger import KEPT_BODY_BYTES
from faultline._core.points import Point
from faultline._core.promises import key_of
from faultline._core.steps import Step
from faultline._core.tripwire import Tripwire
from faultline._engine.attempt import NO_REQUEST, OpenAttempt
from faultline._engine.lifting import Lift
from faultline._engine.racing import Lane, Race, until_done
from faultline._engine.service import Service
from faultline._engine.side import NO_UPSTREAM
from faultline._engine.stream import Stream
from faultline._engine.striking import pass_point, strike
from faultline._engine.valve import Valve
from faultline._net import sockets
from faultline._net.departures import Departed, wake
from faultline._net.ending import Left
from faultline._net.peers import Handle
from faultline._net.wire import Wire

if TYPE_CHECKING:
    from faultline._engine.handshake import Shown


class Connection:
    """One client's connection, and how far its conversation has come.

    Attributes:
        wire: the socket.
        service: the values that the connections of a server share.
        number: 1 for the first connection of the server.
        attempt: the attempt that was opened last; the first begins with the connection, a talk opens the others, and
            may have several open at once.
        stream: the application bytes, plain or in TLS.
        response_point: the point that bytes to the client pass: `response`, or `tunnel` behind a proxy.
        side: the server's side of the connection.
        speaker: the side that sent the last bytes of the attempt.
        shown: the certificate with a defect that the client got.
        client: by what to ask the kernel for the client's socket, once the server's is closed.
        lift: whether the break that is being played is still in the plan; `None` while there is none.
        on_time: called when the time of a break is over, for which the conversation has gone on.
    """

    __slots__ = (
        *("wire", "service", "number", "attempt", "stream", "response_point", "side", "speaker", "shown", "client"),
        *("lift", "on_time", "_attempts", "_changed", "_timers", "_unread", "_valve"),
    )

    def __init__(self, wire: Wire, service: Service, number: int, waited: Entry | None = None) -> None:
        self.wire = wire
        self.service = service
        self.number = number
        self.stream = Stream(wire, service.chance)
        self.side = NO_UPSTREAM
        self.response_point: Point = "response"
        self.speaker: Party | None = None
        self.shown: Shown | None = None
        self.client: Handle | None = None
        self.on_time: Callable[[Tripwire], None]
        self._timers: tuple[asyncio.TimerHandle, ...] = ()  # of breaks that wait for their time
        self._valve: Valve | None = None
        self._changed: asyncio.Future[None] | None = None  # during a wait; done when the attempt has another fault
        self._attempts: tuple[OpenAttempt, ...] = ()  # those that are open; most talks have one at a time
        self.lift: Lift | None = None  # of the break that is being played
        self._unread = b""  # read, and not yet used by a step
        self.open(service.dealer.deal(), waited)
        wire.on_end = self.sign

    @property
    def valve(self) -> Valve:
        """What holds bytes back, and drops packets; it is made when it is first needed."""
        if self._valve is None:
            self._valve = Valve(self.wire, self.stream, self.recheck)
        return self._valve

    @property
    def drops_packets(self) -> bool:
        """Whether packets of the client are dropped, so that the server's FIN could never be acknowledged."""
        return self._valve is not None and self._valve.drops_packets

    def close(self, *, for_good: bool = False) -> Left | None:
        """Close the socket, and return the sign that this sends; `for_good` nobody asks for the client any more."""
        if not (for_good or self.wire.is_closed or self.wire.was_reset):
            self.client = self.wire.departures.peers.handle_of(self.wire.sock)
        return self.wire.close()

    def forget(self) -> None:
        """Forget all that leads back here, because cycles would keep the request and the ledger for a while."""
        self.wire.on_end = None
        self.stream.forget()
        for timer in self._timers:
            timer.cancel()
        del self.stream, self.side, self.attempt, self._attempts, self._valve, self.on_time

    def open(self, fault: Fault, waited: Entry | None = None) -> OpenAttempt:
        """Begin an attempt that meets this fault, or continue one whose connect waited in silence."""
        is_relayed = self.service.upstream is not None
        self.attempt = OpenAttempt(self.service.ledger, self.number, fault, waited, is_relayed=is_relayed)
        self._attempts = (*(attempt for attempt in self._attempts if not attempt.has_ended), self.attempt)
        self.speaker = None
        self._prepare()
        self._serve(fault)
        self.service.on_dealt()
        return self.attempt

    def open_next(self) -> OpenAttempt:
        """End the attempt, and begin that of a further request: it meets the next fault, or a fault that lasts."""
        before = self.attempt
        before.end()
        trip, lasts = before.trip, before.lasts
        before.disarm()
        if trip is None or not lasts:
            return self.open(self.service.dealer.deal_kept(before.fault))
        trip.begin_attempt()
        self.open(before.fault).trip = trip
        return self.attempt

    def end(self, by: Party | None, how: How, *, is_sign: bool = True, was_sent: bool = False) -> None:
        """Record how the connection ends, with a sign of its own or without, for every attempt that is open."""
        if by == "server" and not was_sent:
            self.wire.look()  # the client may have ended its direction before, or both
            if self.wire.was_reset:  # nothing is sent any more
                is_sign = False
                if not self.attempt.has_said_goodbye:
                    by, how = "client", "RST"
        for attempt in self._attempts:
            for lost in self._valve.lost(attempt.fault) if self._valve is not None else ():
                attempt.strike(attempt.point, 0, lost)
            attempt.end(by, how, is_sign=is_sign)

    def _serve(self, fault: Fault) -> None:
        """Have the bytes and the packets pass under the conditions of the attempt's fault."""
        self.stream.serve(self.attempt, self._left)
        if fault.conditions or self._valve is not None:
            self.valve.follow(fault)

    def sign(self, by: Party, how: Sign, alert: str = "") -> None:
        """Record that a side has ended one direction of the connection, or sent an alert."""
        for attempt in [attempt for attempt in self._attempts if not attempt.has_ended] or [self.attempt]:
            attempt.sign(by, how, alert)

    def deal(self, fault: Fault) -> None:
        """Give the attempt another fault that differs only in the steps still ahead."""
        self.attempt.meet(fault)
        self._prepare()

    def _prepare(self) -> None:
        """Prepare for the fault of the attempt."""
        self.wire.is_to_be_reset = self.attempt.fault.resets
        self.side.dealt()

    def meet(self, fault: Fault) -> None:
        """Give the attempt another fault, conditions included, from the next byte on."""
        if self.side.meet(fault):
            self._prepare()
            return
        if self.attempt.request is not NO_REQUEST:  # by which a live edit chooses at once
            fault = self.service.dealer.resolved(fault, self.attempt.request)
        if self.lift is not None and fault.break_ != self.attempt.fault.break_:
            self.lift.lift()
        before = self.attempt.trip
        self.deal(fault)
        if (trip := self.attempt.trip) is not None and trip is not before:
            trip.before_bytes = self._passed_bytes(trip.brk.at)
        self._serve(fault)
        self.recheck()
        if self._changed is not None:
            wake(self._changed)

    def recheck(self) -> None:
        """Decide again which bytes may pass unparsed."""
        self.side.recheck()

    def _left(self, how: Left) -> bool:
        """Take note that the client has left while its bytes wait; return whether they are to arrive all the same."""
        return self.side.left(how)

    # --- points and breaks -------------------------------------------------------------------------------------------

    async def reach(self, point: Point) -> None:
        """Come to a point; a break that waits there for no byte strikes now."""
        self.attempt.come_to(point)
        trip = self.attempt.armed(point)
        if trip is None or (point == "idle" and trip.brk.trigger.after_seconds):
            return  # at `idle` the talk waits these seconds for the next request
        if point in ("accept", "idle") or (point in ("response", "tunnel") and trip.cut(b"") is not None):
            await self.strike(trip)

    async def enter(self, point: Point) -> None:
        """Come to a point, unless the conversation is already there."""
        if self.attempt.point != point:
            await self.reach(point)

    @property
    def kept_body_bytes(self) -> int:
        """How much of a request's body the attempt has to keep: all of it if the answer may repeat it."""
        return sys.maxsize if self.service.may_echo(self.attempt.fault) else KEPT_BODY_BYTES

    def armed(self, point: Point) -> Tripwire | None:
        """The attempt's tripwire, if its break can strike at this point now."""
        return self.attempt.armed(point)

    async def strike(self, trip: Tripwire) -> None:
        """Break the conversation: record the strike, and play the steps of the break, once its time is over.

        Does nothing if the attempt has another fault by now, as a test may have given it during a wait.
        """
        attempt = next((attempt for attempt in self._attempts if attempt.trip is trip), None)
        if attempt is None:
            return
        if trip.begins_to_wait():
            loop = asyncio.get_running_loop()
            ahead = [timer for timer in self._timers if timer.when() > loop.time()]
            self._timers = (*ahead, loop.call_later(trip.brk.trigger.after_seconds, self.on_time, trip))
            return
        attempt.disarm()
        await (strike(self, attempt, trip) if attempt.on_strike is None else attempt.on_strike(trip))

    def check_reached(self) -> None:
        """Check that the client has come to the strike: it is still there, or left once it had read all before that.

        A client that closes with bytes unread sends RST, and not FIN (`tcp_close`).

        Raises:
            Departed: the client has left before.
        """
        left = self.wire.left()
        if left == "RST" or (left is not None and self.speaker != "server"):
            raise Departed(left)

    async def strike_step(self, step: Step) -> None:
        """Record that a step of the script strikes at the present point.

        Raises:
            Departed: the client has left.
        """
        self.check_reached()
        self.attempt.strike(self.attempt.point, self._passed_bytes(self.attempt.point), key_of(step))

    def _passed_bytes(self, point: Point) -> int:
        """How many bytes of the attempt have passed a point."""
        if point == "request":
            return self.stream.passed_bytes - len(self._unread)
        sent = {"response": self.attempt.entry.sent_bytes, "tunnel": self.side.tunnelled_bytes}
        return sent.get(point, 0)

    # --- bytes -------------------------------------------------------------------------------------------------------

    def speaks(self, by: Party) -> None:
        """Record that a side sends bytes, and tell the tripwire if they begin a message.

        A message is all that a side sends until the other side does.
        """
        if self.speaker == by:
            return
        self.speaker = by
        trip = self.armed("request" if by == "client" else self.response_point)
        if trip is not None:
            trip.begin_message()

    async def send(self, data: bytes) -> None:
        """Send application bytes; the break strikes between those that come through the conditions."""
        await self.stream.write(data, self._send_now)

    async def _send_now(self, data: bytes) -> None:
        self.speaks("server")
        await pass_point(self, "server", data, self.stream.write_now)

    async def receive(self, feed: Callable[[bytes], int] = len) -> bytes:
        """Some application bytes of the request, up to the tripwire; `b""` when the client has finished sending.

        `feed` gets them before a break strikes among them, and returns how many of them belong to the request; those
        behind are of the next.
        """
        while (trip := self.armed("request")) and trip.room_bytes(1) == 0:
            if not self._unread:
                await self.stream.await_bytes()
            await self.strike(trip)
        room = trip.room_bytes(sockets.READ_BYTES) if trip else sockets.READ_BYTES
        data, self._unread = self._unread[:room], self._unread[room:]
        if is_new := not data:
            data = await self.stream.read(room)
        else:
            await self.wire.give_way()
        if data and (is_new or self.speaker is None):  # otherwise they came with what the server has answered
            self.speaks("client")
        own = data[: feed(data)] if data else data
        while own and (trip := self.armed("request")) is not None and (cut := trip.cut(own)) is not None:
            await self.strike(trip)
            own = own[cut:]
        return data

    async def await_bytes(self, within_seconds: float | None) -> bool:
        """Wait for bytes of the client; false if none come in this time, or if the attempt gets another fault.

        Raises:
            Departed: the client has ended the connection.
        """
        loop, fault = asyncio.get_running_loop(), self.attempt.fault
        self._changed = changed = loop.create_future()
        timer = None if within_seconds is None else loop.call_later(within_seconds, wake, changed)
        try:
            if timer is None and self.stream.is_heard_plainly:  # as it is between most requests
                await self.wire.readable(changed)
                if self.attempt.fault is fault and not self.wire.unread_bytes():  # an end, or the same fault again
                    await self.stream.await_bytes()
                return self.attempt.fault is fault
            coming = Lane(self.stream.await_bytes())
            await Race(coming, Lane(until_done(changed)))
            return coming.is_over and coming.result() is None
        finally:
            self._changed = None
            if timer is not None:
                timer.cancel()

    def put_back(self, data: bytes) -> None:
        """Leave bytes that a step has read but not used to the next step."""
        self._unread = data + self._unread

    @property
    def unread(self) -> bytes:
        """The bytes that were read and that no step has used yet."""
        return self._unread

    def skip_newlines(self) -> None:
        """Remove the CRs and LFs at the beginning of the unread bytes."""
        self._unread = self._unread.lstrip(b"\r\n")

    def take_unread(self) -> bytes:
        """Remove and return the bytes that no step has used yet."""
        data, self._unread = self._unread, b""
        return data
