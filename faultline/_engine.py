"""The engine: plays one script on one connection, and breaks it where its fault says.

Rules of this room: one `match` over steps, and no question which mode is running. A break is a tripwire on the
bytes that pass its point; when it is reached, the break's own steps are played, and if the conversation is still
alive after them, it goes on where it was. What a client can see is in the ledger before the client can see it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from faultline import _net
from faultline._fault import Answer, Break, Certificate, Fault
from faultline._http import CONTINUE, KEPT_BODY_BYTES, RequestReader, render
from faultline._ledger import How, Ledger, Party, Request
from faultline._plan import Dealer
from faultline._steps import (
    HTTP,
    Close,
    Flush,
    HalfClose,
    Handshake,
    Hold,
    Point,
    Receive,
    ReceiveRequest,
    ReceiveUntil,
    Refuse,
    Repeat,
    Reset,
    Respond,
    Send,
    StartTls,
    Step,
    Vanish,
)
from faultline._tls import Rejected, Tls

PATTERN_WINDOW_BYTES = 65_536  # how far back a pattern can reach into what has passed


@dataclass(frozen=True)
class Stage:
    """What a conversation needs to know of its server."""

    dealer: Dealer
    ledger: Ledger
    default: Answer
    context: Callable[[Certificate], ssl.SSLContext] | None  # None: the server has no TLS


class Over(Exception):  # noqa: N818 - it is news: a step has ended the conversation
    """The server has ended the conversation."""


class Tripwire:
    """One break, waiting for the bytes of its point to pass."""

    def __init__(self, brk: Break) -> None:
        self.brk = brk
        self.passed_bytes = 0
        self._window = b""

    def cut(self, data: bytes | memoryview) -> int | None:
        """How many of these bytes still pass before it strikes; `None` if all do."""
        trigger = self.brk.trigger
        if trigger.on is None:
            left = trigger.after_bytes - self.passed_bytes
            found = left if left <= len(data) else None
        else:
            found = self._search(bytes(data), trigger.on)
        self.passed_bytes += len(data) if found is None else found
        return found

    def _search(self, data: bytes, marker: bytes | re.Pattern[bytes]) -> int | None:
        before = len(self._window)
        self._window += data
        if isinstance(marker, bytes):
            at = self._window.find(marker)
            end = at + len(marker) if at >= 0 else None
            keep = len(marker) - 1
        else:
            match = marker.search(self._window)
            end = match.end() if match else None
            keep = PATTERN_WINDOW_BYTES
        self._window = self._window[-keep:] if keep else b""
        return None if end is None else max(0, end - before)

    @property
    def room_bytes(self) -> int:
        """How many bytes may be read without reading past the strike."""
        trigger = self.brk.trigger
        return _net.READ_BYTES if trigger.on else trigger.after_bytes - self.passed_bytes


class Conversation:
    """One client's connection, from accept to its end."""

    def __init__(self, wire: _net.Wire, stage: Stage, number: int) -> None:
        self._wire = wire
        self._stage = stage
        self._number = number
        self._tls: Tls | None = None
        self._buffer = b""  # read, and not yet used
        self._reader = RequestReader()
        self._point: Point = "accept"
        self._keeps = False
        self._begin(stage.dealer.deal())

    # --- the conversation as a whole ---------------------------------------------------------------------

    async def run(self) -> None:
        """Play the script to its end; whatever that end is, it is in the ledger and the socket is closed."""
        try:
            await self._reach("accept")
            script = self._fault.script or HTTP
            await self._play(script.steps)
            await self._play((Close(),))
        except Over:
            pass
        except _net.Departed as left:
            self._end("client", left.how)
        except Rejected as rejected:
            self._entry.note = f"the client ended TLS: {rejected}"
            self._end("client", "FIN")
        except asyncio.CancelledError:
            self._end("server", "stop")
            raise
        finally:
            self._wire.close()
            self._end("server", "stop")

    def leave_idle(self) -> bool:
        """Give the connection up if it is idle; the caller then cancels the task."""
        idle = self._point == "idle"
        if idle:
            self._end("server", "FIN")
        return idle

    def _begin(self, fault: Fault) -> None:
        self._fault = fault
        brk = fault.break_
        self._trip = Tripwire(brk) if brk is not None and brk.at != "connect" else None
        self._entry = self._stage.ledger.begin(self._number, fault, "accept")

    def _end(self, by: Party | None = None, how: How | None = None) -> None:
        self._stage.ledger.end(self._entry, by, how)

    async def _play(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            match step:
                case Handshake():
                    await self._handshake()
                case ReceiveRequest():
                    await self._receive_request()
                case Respond():
                    await self._respond()
                case Repeat():
                    await self._play(step.steps)
                    while await self._again():
                        await self._play(step.steps)
                case Send():
                    await self._enter("response")
                    await self._send(step.data)
                case Receive():
                    await self._receive_until(lambda got: enough(got, step.count_bytes))
                case ReceiveUntil():
                    await self._receive_until(lambda got: end_of(got, step.marker))
                case StartTls():
                    self._buffer = b""
                    await self._handshake()
                case HalfClose():
                    await self._half_close()
                case Hold():
                    await self._hold(step.for_seconds)
                case Flush():
                    await self._wire.flush()
                case Close():
                    await self._close()
                case Reset():
                    await self._wire.flush()
                    self._end("server", "RST")
                    _net.send_rst(self._wire.sock)
                    raise Over
                case Refuse() | Vanish():
                    raise AssertionError(step)  # played by the door, before there is a connection
                case _:
                    unknown(step)

    async def _enter(self, point: Point) -> None:
        """Come to a point unless the conversation is there already."""
        if self._point != point:
            await self._reach(point)

    # --- breaks ------------------------------------------------------------------------------------------

    async def _reach(self, point: Point) -> None:
        """Come to a point; a break there that waits for no byte strikes now."""
        self._point = point
        self._stage.ledger.reach(self._entry, point)
        trip = self._armed(point)
        if trip is None or (point == "idle" and trip.brk.trigger.after_seconds):
            return  # at `idle` the seconds are a timer, which the next request stops
        if point in ("accept", "idle") or (point == "response" and trip.cut(b"") is not None):
            await self._strike()

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

    # --- bytes out ---------------------------------------------------------------------------------------

    async def _send(self, data: bytes) -> None:
        """Send application bytes, as far as the tripwire lets them."""
        trip = self._armed("response")
        cut = trip.cut(data) if trip else None
        if cut is None:
            await (self._write_acknowledged if self._armed("idle") else self._write)(data)
            return
        await self._write_acknowledged(data[:cut])
        await self._strike()
        await self._write(data[cut:])

    async def _write_acknowledged(self, data: bytes) -> None:
        """Send what a break comes right after, so that the client's kernel acknowledges it at once.

        Linux acknowledges two pushed segments as soon as the client has read them, but may keep the
        acknowledgement of a single one back for 40 ms (ICSK_ACK_PUSHED2, `tcp_cleanup_rbuf`).
        """
        await self._write(data[:-1])
        await self._write(data[-1:])

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._tls is None:
                taken = await self._wire.send_some(view)
            else:
                taken = min(len(view), _net.READ_BYTES)
                await self._write_raw(self._tls.encrypt(view[:taken]))
            self._entry.sent_bytes += taken
            view = view[taken:]

    async def _write_raw(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self._wire.send_some(view) :]

    async def _write_flight(self, data: bytes) -> None:
        """Send TLS records of the handshake, as far as the tripwire lets them."""
        trip = self._armed("handshake")
        cut = trip.cut(data) if trip else None
        await self._write_raw(data if cut is None else data[:cut])
        if cut is not None:
            await self._strike()
            await self._write_raw(data[cut:])
        if self._fault.certificate is not None and self._entry.struck is None:
            self._stage.ledger.strike(self._entry, "handshake", len(data))

    # --- bytes in ----------------------------------------------------------------------------------------

    async def _receive(self) -> bytes:
        """Some application bytes of the request, as far as the tripwire lets them; `b""` at the end."""
        trip = self._armed("request")
        if trip and trip.room_bytes == 0:
            await self._await_bytes()
            await self._strike()
            trip = None
        data, self._buffer = self._buffer, b""
        if not data:
            data = await self._read(trip.room_bytes if trip else _net.READ_BYTES)
        elif trip:
            data, self._buffer = data[: trip.room_bytes], data[trip.room_bytes :]
        if data and trip and trip.cut(data) is not None:
            await self._strike()
        return data

    async def _read(self, limit_bytes: int) -> bytes:
        limit_bytes = min(limit_bytes, _net.READ_BYTES)
        if self._tls is None:
            data = await self._wire.receive(limit_bytes)
        else:
            data = await self._tls.receive(limit_bytes, self._write_raw)
        self._entry.received_bytes += len(data)
        return data

    async def _await_bytes(self) -> None:
        """Wait until the client has said something, and leave it unread where that can be."""
        if self._buffer:
            return
        if self._tls is None:
            await self._wire.readable()
            if self._wire.sees_end():
                raise _net.Departed("FIN")
        else:
            self._buffer = await self._read(1)
            if not self._buffer:
                raise _net.Departed("FIN")

    # --- steps -------------------------------------------------------------------------------------------

    async def _handshake(self) -> None:
        if self._stage.context is None:
            return
        await self._reach("handshake")
        context = self._stage.context(self._fault.certificate or Certificate())
        tls = Tls(self._wire, context)
        await tls.handshake(self._write_flight)
        self._tls = tls

    async def _receive_request(self) -> None:
        await self._reach("request")
        reader = self._reader = RequestReader()
        while not reader.complete:
            data = await self._receive()
            if not data:
                raise _net.Departed("FIN")
            if reader.feed(data):
                await self._write(CONTINUE)
        self._buffer += reader.rest
        self._entry.request = reader.request

    async def _respond(self) -> None:
        answer = self._fault.answer
        if not isinstance(answer, Answer) or answer == Answer():
            answer = self._stage.default
        if (trip := self._armed("response")) is not None:
            answer = answer.sized(trip.brk.trigger.after_bytes)
        reader, request = self._reader, self._entry.request or Request()
        self._keeps = reader.keep_alive if reader.is_http else answer.echoes
        if self._keeps and self._stage.dealer.upcoming().needs_new_connection:
            self._keeps = False  # so that the client has to open anew, and meets it
        await self._reach("response")
        await self._send(render(answer, request, keep_alive=self._keeps))

    async def _again(self) -> bool:
        """Between two turns: whether the client asks once more on this connection."""
        if not self._keeps:
            return False
        await self._reach("idle")
        if not self._buffer:
            self._buffer = await self._next_bytes()
        self._end()
        received = len(self._buffer)
        self._entry.received_bytes -= received
        self._begin(self._stage.dealer.deal_kept())
        self._entry.received_bytes = received
        return True

    async def _next_bytes(self) -> bytes:
        trip = self._armed("idle")
        timer = trip.brk.trigger.after_seconds if trip else None
        try:
            data = await asyncio.wait_for(self._read(_net.READ_BYTES), timer)
        except asyncio.TimeoutError:
            await self._strike()
            data = await self._read(_net.READ_BYTES)
        if not data:
            raise _net.Departed("FIN")
        return data

    async def _receive_until(self, end: Callable[[bytes], int]) -> None:
        """Read until `end` finds where it is; what came after it stays for the next step."""
        await self._enter("request")
        got = b""
        while (at := end(got)) < 0:
            data = await self._receive()
            if not data:
                raise _net.Departed("FIN")
            got += data
        self._buffer = got[at:] + self._buffer
        read = got[:at]
        before = self._entry.request
        body = (before.body if before else b"") + read
        self._entry.request = Request(body=body[:KEPT_BODY_BYTES], body_bytes=len(body))

    async def _hold(self, for_seconds: float | None) -> None:
        if left := await self._wire.departure(for_seconds):
            raise _net.Departed(left)

    async def _half_close(self) -> None:
        if self._tls is not None:
            await self._write_raw(self._tls.close_notify())
        _net.send_fin(self._wire.sock)

    async def _close(self) -> None:
        if self._tls is not None:
            await self._write_raw(self._tls.close_notify())
        self._end("server", "FIN")
        _net.send_fin(self._wire.sock)
        await self._wire.flush()  # closing with unread input would throw away what is not delivered yet
        _net.discard_input(self._wire.sock)
        self._wire.close()
        raise Over


def enough(data: bytes, count: int) -> int:
    """So many bytes, if there are as many, or -1."""
    return count if len(data) >= count else -1


def end_of(data: bytes, marker: bytes) -> int:
    """Where the marker ends in the data, or -1."""
    at = data.find(marker)
    return at + len(marker) if at >= 0 else -1


def unknown(step: NoReturn) -> NoReturn:
    """The type checker proves that no step comes here."""
    raise AssertionError(step)
