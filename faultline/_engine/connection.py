"""A connection: its points, the bytes that pass them, and the break that strikes among the bytes.

A break is a tripwire on the bytes that pass its point. When it is reached the break's own steps are played, and if
the connection is still open after them, the conversation goes on where it was. What a client can observe is in the
ledger before the client can observe it.
"""

from __future__ import annotations

from faultline._core.fault import Fault
from faultline._core.gate import Gate
from faultline._core.points import Point
from faultline._core.tripwire import Tripwire
from faultline._engine.attempt import OpenAttempt
from faultline._engine.play import play
from faultline._engine.service import Service
from faultline._engine.stream import Stream
from faultline._engine.valve import Valve
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.wire import Wire


class Side:
    """The far side of a connection, where its bytes come from and go to: nobody, unless a talk puts an upstream there.

    Its methods are called by the connection, and do nothing here.
    """

    async def before_strike(self) -> None:
        """A break strikes now."""

    def after_strike(self) -> None:
        """A break has been played, and the conversation goes on."""

    def look_again(self) -> None:
        """The fault has changed, or bytes are to be held back: bytes that pass unseen have to be looked at."""

    def dealt(self) -> None:
        """The attempt has another fault."""

    async def take(self, data: bytes) -> bool:
        """Whether these bytes, which are put in where the client speaks, go to the far side."""
        return not data

    def leave(self) -> None:
        """The conversation is over."""


class Connection:
    """One client's connection, and how far its conversation has come.

    Attributes:
        number: 1 for the first connection of the server.
        attempt: the attempt that goes on now; the first one begins with the connection, a talk opens the others.
        way_back: the point that passes the bytes that go to the client.
        side: where the bytes go on to.
    """

    def __init__(self, wire: Wire, service: Service, number: int) -> None:
        self.wire = wire
        self.service = service
        self.number = number
        self.stream = Stream(wire, service.chance)
        self.side = Side()
        self.valve = Valve(wire, self.stream.flowing, self.look_again)
        self.way_back: Point = "response"
        self._unread = b""  # read, and not yet used
        self._counted_bytes = 0  # of these, as having passed the tripwire
        self.open(service.dealer.deal())

    def open(self, fault: Fault) -> OpenAttempt:
        """Begin an attempt that meets this fault."""
        self.attempt = OpenAttempt(self.service.ledger, self.number, fault)
        self.side.dealt()
        self.stream.serve(self.attempt.entry, fault)
        self.valve.follow(fault)
        self.service.on_dealt()
        return self.attempt

    def deal(self, fault: Fault) -> None:
        """Give the attempt another fault, which differs in what is still ahead."""
        self.attempt.meet(fault)
        self.side.dealt()

    def meet(self, fault: Fault) -> None:
        """Give the attempt another fault in all of its parts, from the next byte on."""
        self.deal(fault)
        self.stream.serve(self.attempt.entry, fault)
        self.valve.follow(fault)
        self.look_again()

    def look_again(self) -> None:
        """Have bytes that pass unseen looked at from here on."""
        self.side.look_again()

    # --- points and breaks -------------------------------------------------------------------------------------------

    async def reach(self, point: Point) -> None:
        """Come to a point; a break there that waits for no byte strikes now."""
        self.attempt.come_to(point)
        trip = self.attempt.armed(point)
        if trip is None or (point == "idle" and trip.brk.trigger.after_seconds):
            return  # at `idle` the seconds are a timer, which the next request stops
        if point in ("accept", "idle") or (point in ("response", "tunnel") and trip.cut(b"") is not None):
            await self.strike()

    async def enter(self, point: Point) -> None:
        """Come to a point unless the conversation is there already."""
        if self.attempt.point != point:
            await self.reach(point)

    def armed(self, point: Point) -> Tripwire | None:
        """The attempt's tripwire, if it is at this point and has not struck."""
        return self.attempt.armed(point)

    async def strike(self) -> None:
        """Break the conversation, as the attempt's fault says."""
        trip = self.attempt.disarm()
        await self.side.before_strike()
        if trip.brk.trigger.after_seconds and trip.brk.at != "idle":
            await self.hold(trip.brk.trigger.after_seconds)
        self.attempt.strike(trip.brk.at, trip.passed_bytes)
        await play(self, trip.brk.steps)
        self.side.after_strike()

    def strike_here(self) -> None:
        """Note that a step of the script strikes, at the present point; only the first one does."""
        attempt, entry = self.attempt, self.attempt.entry
        passed = {"request": entry.received_bytes - len(self._unread), "response": entry.sent_bytes}
        if not attempt.has_struck:
            attempt.strike(attempt.point, passed.get(attempt.point, 0))

    # --- bytes -------------------------------------------------------------------------------------------------------

    async def send(self, data: bytes, *, acknowledged: bool = False) -> None:
        """Send application bytes, as far as the tripwire lets them; `acknowledged` if a break comes next."""
        trip = self.armed(self.way_back)
        cut = trip.cut(data) if trip else None
        if cut is None:
            await (self.stream.write_acknowledged if acknowledged else self.stream.write)(data)
            return
        await self.stream.write_acknowledged(data[:cut])
        await self.strike()
        await self.stream.write(data[cut:])

    async def receive(self) -> bytes:
        """Some application bytes of the request, as far as the tripwire lets them; `b""` at the end."""
        if self._counted_bytes:  # read before, and passed the tripwire then
            data, self._unread = self._unread[: self._counted_bytes], self._unread[self._counted_bytes :]
            self._counted_bytes = 0
            return data
        trip = self.armed("request")
        if trip and trip.room_bytes(1) == 0:
            if not self._unread:
                await self.stream.await_bytes()
            await self.strike()
            trip = None
        room = trip.room_bytes(sockets.READ_BYTES) if trip else sockets.READ_BYTES
        data, self._unread = self._unread[:room], self._unread[room:]
        if not data:
            data = await self.stream.read(room)
        trip = self.armed("request")  # a test may have changed it meanwhile
        if data and trip and trip.cut(data) is not None:
            await self.strike()
        return data

    def put_back(self, data: bytes) -> None:
        """Leave for the next step bytes that were read too far."""
        self._unread = data + self._unread
        self._counted_bytes += len(data)

    @property
    def unread(self) -> bytes:
        """Bytes that were read, and that no step has used yet."""
        return self._unread

    def count_anew(self) -> None:
        """Have the tripwire of the next attempt count the bytes that are unread."""
        self._counted_bytes = 0

    def take_unread(self) -> bytes:
        """The bytes that no step has used yet, for one that uses all of them."""
        data, self._unread, self._counted_bytes = self._unread, b"", 0
        return data

    async def inject(self, data: bytes) -> None:
        """Put bytes among those that pass the point where the break has struck."""
        struck = self.attempt.entry.struck
        if struck is None or struck.point != "request" or not await self.side.take(data):
            await self.stream.write(data)

    async def hold(self, for_seconds: float | None, until: Gate | None = None) -> None:
        """Say and read nothing for this time, until the gate opens, or until the client leaves.

        Raises:
            Departed: the client has left.
        """
        if left := await self.wire.departure(for_seconds, until):
            raise Departed(left)
