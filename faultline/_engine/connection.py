"""The passage: one connection's points, the bytes that pass them, and the tripwire that strikes.

Rules of this room: a break is a tripwire on the bytes that pass its point; when it is reached, the break's own steps
are played, and if the conversation is still alive after them, it goes on where it was. What a client can see is in
the ledger before the client can see it. What the steps do is the engine's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from faultline._core.certificates import Certificate, Terms
from faultline._core.conditions import Loss
from faultline._core.fault import Fault
from faultline._core.gate import Gate
from faultline._core.ledger import How, Party
from faultline._core.steps import Point, Step
from faultline._core.tripwire import Tripwire
from faultline._engine.stage import Stage
from faultline._engine.stream import Stream
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.tls import shows_certificate
from faultline._net.wire import Wire


class Over(Exception):  # noqa: N818 - it is news: a step has ended the conversation
    """The server has ended the conversation."""


class Passage(ABC):
    """One client's connection, and how far its conversation has come."""

    def __init__(self, wire: Wire, stage: Stage, number: int) -> None:
        self._wire = wire
        self._stage = stage
        self._number = number
        self._stream = Stream(wire, stage.chance)
        self._buffer = b""  # read, and not yet used
        self._counted_bytes = 0  # of these, as having passed the tripwire
        self._point: Point = "accept"
        self._way_back: Point = "response"  # the point that passes what is said to the client
        self._keeps = True
        self._is_filtered = False
        self._begin(stage.dealer.deal())
        stage.on_dealt()

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
            sockets.drop_packets(self._wire.sock, loss.probability)
        elif self._is_filtered:
            sockets.keep_packets(self._wire.sock)
        self._is_filtered = loss is not None

    def _deal(self, fault: Fault) -> None:
        self._fault = self._entry.fault = fault
        brk = fault.break_
        self._trip = Tripwire(brk) if brk is not None and brk.at != "connect" else None

    def _end(self, by: Party | None = None, how: How | None = None) -> None:
        self._stage.ledger.end(self._entry, by, how)

    @property
    def _certificate(self) -> Certificate:
        """What this connection shows."""
        planned = self._fault.certificate
        return planned if planned is not None and self._number >= planned.from_connection else Certificate()

    @property
    def _terms(self) -> Terms:
        """What this connection agrees to."""
        usual = self._stage.terms
        return self._fault.terms.over(usual) if self._fault.terms else usual

    @abstractmethod
    async def _play(self, steps: tuple[Step, ...]) -> None:
        """Do what these steps say."""

    # --- points and breaks -------------------------------------------------------------------------------------------

    async def _reach(self, point: Point) -> None:
        """Come to a point; a break there that waits for no byte strikes now."""
        self._come_to(point)
        trip = self._armed(point)
        if trip is None or (point == "idle" and trip.brk.trigger.after_seconds):
            return  # at `idle` the seconds are a timer, which the next request stops
        if point in ("accept", "idle") or (point in ("response", "tunnel") and trip.cut(b"") is not None):
            await self._strike()

    def _come_to(self, point: Point) -> None:
        self._point = point
        self._stage.ledger.reach(self._entry, point)

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
        trip = self._armed(self._way_back)
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
        await self._stream.write_flight(data if cut is None else data[:cut])
        if cut is not None:
            await self._strike()
            await self._stream.write_flight(data[cut:])
        if self._certificate != Certificate() and self._entry.struck is None and shows_certificate(data):
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
        room = trip.room_bytes(sockets.READ_BYTES) if trip else sockets.READ_BYTES
        data, self._buffer = self._buffer[:room], self._buffer[room:]
        if not data:
            data = await self._stream.read(room)
        trip = self._armed("request")  # a test may have changed it meanwhile
        if data and trip and trip.cut(data) is not None:
            await self._strike()
        return data

    async def _inject(self, data: bytes) -> None:
        """Put bytes among those that pass the point where it has struck."""
        await self._stream.write(data)

    def _put_back(self, data: bytes) -> None:
        """Leave for the next step what was read too far."""
        self._buffer = data + self._buffer
        self._counted_bytes += len(data)

    async def _hold(self, for_seconds: float | None, until: Gate | None = None) -> None:
        if left := await self._wire.departure(for_seconds, until):
            raise Departed(left)
