"""A connection of HTTP/2: it reads frames, gives each stream its own, and writes those of all streams in turn.

Each stream has a task, and so has the reader. A break that ends the connection is played by the task that comes to it,
once all others are gone. The library h2 knows the state of every stream; a frame is encoded right before it is written,
because the compression of fields depends on their order.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.settings import SettingCodes as Setting

from faultline._core.http2 import name_of, number_of
from faultline._core.promises import HTTP2
from faultline._core.streams import GoAway, OfHttp2
from faultline._core.tripwire import Tripwire
from faultline._engine.http2.counting import Frequencies
from faultline._engine.http2.exchange import Exchange
from faultline._engine.http2.opening import opened_beside, text
from faultline._engine.http2.response import concerns_stream
from faultline._engine.http2.tasks import Tasks
from faultline._engine.http2.writing import Writer
from faultline._engine.play import close, take_effect, until_ready
from faultline._engine.side import Side
from faultline._net import http2 as wire
from faultline._net import sockets
from faultline._net.departures import Departed

if TYPE_CHECKING:
    from faultline._core.attempts import Request
    from faultline._core.fault import Fault
    from faultline._engine.attempt import OpenAttempt
    from faultline._engine.connection import Connection

REFUSED_STREAM, FRAME_SIZE_ERROR = number_of("REFUSED_STREAM"), number_of("FRAME_SIZE_ERROR")
MOST_STREAMS = 100  # that a client may have open at once
MOST_FIELD_BYTES = 65_536  # of a request


class Session(Side):
    """The server's side of a connection of HTTP/2.

    Attributes:
        connection: the connection.
        h2: the state of all streams, by the library.
        tasks: the tasks of the connection.
        writer: what writes the frames.
        streams: the exchanges that go on, by the numbers of their streams.
        last_stream: the last stream that is answered, once the connection is going away.
    """

    __slots__ = (
        *("connection", "h2", "streams", "last_stream", "tasks", "writer", "_counts", "_frames", "_flowing", "_idle"),
        *("_attempts", "_first", "_most_streams", "_window_bytes"),
    )
    has_tasks = True

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        config = h2.config.H2Configuration(
            client_side=False, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, Exchange] = {}
        self.last_stream: int | None = None
        self.tasks = Tasks()
        self.writer = Writer(connection.stream, self.h2, self.tasks)
        self._counts = Frequencies()
        self._frames = wire.Frames()
        self._flowing = asyncio.Event()  # set when a window may have grown
        self._idle: asyncio.Task[None] | None = None  # strikes while no stream is open
        self._first: OpenAttempt | None = connection.attempt  # which the first stream continues
        self._attempts: list[OpenAttempt] = []  # of exchanges
        self._most_streams = MOST_STREAMS
        self._window_bytes: int | None = None  # that a client may upload at once, if it is not the usual

    # --- the conversation --------------------------------------------------------------------------------------------

    async def run(self, first: bytes, upgraded: Request | None = None) -> NoReturn:
        """Hold the conversation; `first` was read already, from the preface on; `upgraded` is a request by `Upgrade`.

        Raises:
            Over: the server ended the conversation.
            Departed: the client ended the connection.
        """
        connection = self.connection
        connection.side, connection.on_time = self, self._on_time
        connection.stream.divide()
        connection.attempt.entry.take_back(first)  # of the connection, and not of a stream
        try:
            await self._begin(upgraded)
            self.h2.receive_data(wire.PREFACE)
            self.tasks.spawn(partial(self._read, first[len(wire.PREFACE) :]))
            raise await self.tasks.until_over()
        finally:
            await self.tasks.stop_others()
            if self._first is not None:  # the client has asked for nothing
                self._first.entry.says("client", wire.PREFACE)

    async def _begin(self, upgraded: Request | None) -> None:
        """Send the settings of the server, and begin stream 1 if the client has asked by `Upgrade`."""
        terms = self.connection.attempt.fault.http2
        extra = dict(terms.settings) if terms is not None else {}
        self._most_streams = extra.get(Setting.MAX_CONCURRENT_STREAMS, MOST_STREAMS)
        self._window_bytes = extra.get(Setting.INITIAL_WINDOW_SIZE)
        if self._window_bytes is not None:  # a client may have sent more before it has read the settings
            self.h2.local_settings.initial_window_size = wire.LARGEST // 2
        longest_bytes = max(extra.get(Setting.MAX_FRAME_SIZE, 0), wire.LONGEST_BYTES)
        self._frames.longest_bytes = min(longest_bytes, wire.LARGEST_FRAME_BYTES)
        self.h2.max_inbound_frame_size = self._frames.longest_bytes
        self.h2.local_settings.max_concurrent_streams = wire.LARGEST  # those beyond are refused one by one
        self.h2.local_settings.acknowledge()
        if upgraded is not None:
            self.h2.initiate_upgrade_connection((upgraded.header("http2-settings") or "").encode())
        else:
            self.h2.initiate_connection()
        self.h2.data_to_send()
        own = {Setting.MAX_CONCURRENT_STREAMS: MOST_STREAMS, Setting.MAX_HEADER_LIST_SIZE: MOST_FIELD_BYTES} | extra
        if terms is not None and (extra or terms.omits == "settings"):
            self.connection.attempt.strike("request", 0, HTTP2)
        if terms is None or terms.omits != "settings":
            self.writer.waiting += wire.settings(sorted(own.items()))
            await self.writer.soon()
        if upgraded is not None:
            self._open(1, upgraded, b"", is_whole=True)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, data: bytes) -> None:
        connection = self.connection
        while True:
            for frame in self._frames.feed(data):
                await self._take(frame)
            data = await connection.stream.read(sockets.READ_BYTES)
            if not data:
                raise Departed("FIN")

    async def _take(self, frame: bytes) -> None:
        """Take a frame of the client."""
        kind, exchange = wire.kind_of(frame), self.streams.get(wire.stream_of(frame))
        self._counts.count(frame)
        if self._counts.is_told:
            self.connection.attempt.entry.note = self._counts.note
        if exchange is not None:
            exchange.attempt.entry.says("client", frame)
        if kind == wire.GOAWAY and len(frame) >= wire.HEAD_BYTES + 8:
            self.connection.sign("client", "GOAWAY", name_of(int.from_bytes(frame[13:17], "big")))
            return  # the client may still wait for the responses of its streams
        omits = self.connection.attempt.fault.http2
        if omits is not None and kind == wire.PING and omits.omits == "ping_ack":
            self.connection.attempt.strike("request", 0, HTTP2)
            return
        try:
            if self._frames.is_too_long(frame):
                self.writer.waiting += wire.goaway(self.h2.highest_inbound_stream_id, FRAME_SIZE_ERROR)
                raise h2.exceptions.FrameTooLargeError("a frame is too long")
            events = self.h2.receive_data(frame)
        except (h2.exceptions.H2Error, ValueError) as error:
            await self._refuse(error)
        if omits is not None and kind == wire.SETTINGS and omits.omits == "settings_ack":
            self.h2.data_to_send()
            self.connection.attempt.strike("request", 0, HTTP2)
        for event in events:
            self._happened(event, frame)
        await self.writer.soon()

    def _happened(self, event: h2.events.Event, frame: bytes) -> None:
        """Hand an event to its stream."""
        if isinstance(event, h2.events.RequestReceived):
            fields = tuple((text(name), text(value)) for name, value in event.headers)
            self._open(event.stream_id, wire.request_of(fields), frame, wire.text_of(fields), is_whole=False)
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.flow()
        elif (exchange := self.streams.get(getattr(event, "stream_id", None) or 0)) is not None:
            if isinstance(event, h2.events.DataReceived):
                exchange.feed(frame, event.data, event.flow_controlled_length)
            elif isinstance(event, h2.events.StreamEnded):
                exchange.feed_end()
            elif isinstance(event, h2.events.StreamReset):
                exchange.leave(name_of(int(event.error_code)))

    def _open(self, number: int, request: Request, frame: bytes, text: bytes = b"", *, is_whole: bool) -> None:
        """Begin the exchange of a stream, with the attempt of the connection or one beside it."""
        if self._idle is not None:
            self._idle.cancel()
        if self.last_stream is not None and number > self.last_stream:
            return  # it is not answered, as the client knows by GOAWAY
        connection = self.connection
        if self._first is not None:
            self._first = None
            attempt = connection.attempt
        else:
            attempt = opened_beside(connection)
        attempt.entry.says("client", frame)
        attempt.entry.stream = number
        attempt.come_to("request")
        attempt.keep(request)
        if len(self.streams) >= self._most_streams:
            attempt.sign("server", "RST_STREAM", "REFUSED_STREAM")
            attempt.end("server", "RST_STREAM", is_sign=False)
            self.h2.reset_stream(number, REFUSED_STREAM)
            return
        self._attempts = [each for each in self._attempts if not each.has_ended] + [attempt]
        exchange = self.streams[number] = Exchange(self, number, attempt, request)
        exchange.feed_head(frame, text)
        if is_whole:
            exchange.feed_end()
        exchange.task = self.tasks.spawn(exchange.run)

    async def _refuse(self, error: Exception) -> None:
        """End the connection with GOAWAY, because the client has broken the protocol.

        Raises:
            Over: always.
        """
        self.connection.attempt.entry.note = f"the client broke HTTP/2: {str(error) or type(error).__name__}"
        for exchange in self.streams.values():
            exchange.hold()
        async with self.writer.alone():
            await close(self.connection)

    async def consume(self, number: int, count_bytes: int) -> None:
        """Let the client send this number of bytes more on a stream, and on the connection."""
        self.h2.acknowledge_received_data(count_bytes, number)
        if self._window_bytes and count_bytes:
            self.writer.waiting += wire.frame(wire.WINDOW_UPDATE, count_bytes.to_bytes(4, "big"), stream=number)
        await self.writer.soon()

    # --- windows -----------------------------------------------------------------------------------------------------

    def flow(self) -> None:
        """Wake the streams that wait for a window."""
        self._flowing.set()
        self._flowing = asyncio.Event()

    async def until_flow(self) -> None:
        """Wait until a window may have grown."""
        await self._flowing.wait()

    # --- ends --------------------------------------------------------------------------------------------------------

    async def end(self, attempt: OpenAttempt, trip: Tripwire, after_bytes: int) -> None:
        """Play a break that ends the connection, or that uses its bytes.

        Raises:
            Over: a step ended the conversation.
            Departed: the client ended the connection.
        """
        connection, brk = self.connection, trip.brk
        async with self.writer.alone() if brk.is_final else self.writer.turn():
            await until_ready(connection, brk.steps)
            connection.check_reached()
            attempt.strike(brk.at, after_bytes)
            await take_effect(connection, attempt, brk.steps)

    def _on_time(self, trip: Tripwire) -> None:
        """Let a break strike whose time is over, while the streams go on."""
        exchange = next((each for each in self.streams.values() if each.attempt.trip is trip), None)
        strike = exchange.strike_on_time if exchange and concerns_stream(trip) else self.connection.strike
        self.tasks.spawn(partial(strike, trip))

    async def play(self, step: OfHttp2) -> None:
        """Play a GOAWAY with an error, after which the connection ends at once.

        Raises:
            Over: always.
        """
        assert isinstance(step, GoAway)
        last = self.h2.highest_inbound_stream_id if step.last_stream is None else step.last_stream
        await self.go_away(step.code, last)
        await close(self.connection)

    async def go_away(self, code: int, last_stream: int) -> None:
        """Send GOAWAY: streams behind the last are not answered. A second one names no later stream (RFC 9113, 6.8)."""
        last_stream = self.last_stream = min(
            last_stream, wire.LARGEST if self.last_stream is None else self.last_stream
        )
        self.connection.sign("server", "GOAWAY", name_of(code))
        await self.writer.write(lambda: wire.goaway(last_stream, code))
        for number in sorted(number for number in self.streams if number > last_stream):
            self.streams[number].abandon()

    async def finish(self, exchange: Exchange, *, goes_on: bool) -> None:
        """Take note that an exchange is over; without streams the connection is idle, or ends.

        Raises:
            Over: the connection has ended.
        """
        self.streams.pop(exchange.number, None)
        if not goes_on and self.last_stream is None:
            await self.go_away(0, self.h2.highest_inbound_stream_id)
        if self.streams:
            exchange.attempt.end()
            return
        await self.close_if_idle()
        if exchange.attempt.has_ended:
            return
        exchange.attempt.come_to("idle")
        self._idle = self.tasks.spawn(partial(self._strike_idle, exchange.attempt))

    async def close_if_idle(self) -> None:
        """End the connection if it is going away, and has no streams.

        Raises:
            Over: it has ended.
        """
        if self.last_stream is not None and not self.streams:
            async with self.writer.alone():
                await close(self.connection)

    async def _strike_idle(self, attempt: OpenAttempt) -> None:
        """Let a break strike while no stream is open."""
        trip = attempt.armed("idle")
        if trip is None:
            return
        await asyncio.sleep(trip.brk.trigger.after_seconds)
        await self.connection.strike(trip)

    # --- as the side of the connection -------------------------------------------------------------------------------

    def meet(self, fault: Fault) -> bool:
        """Give every stream that is open another fault; without any, the connection gets it."""
        for exchange in self.streams.values():
            exchange.meet(fault)
        return bool(self.streams)

    def dealt(self) -> None:
        """Look again for a break at `idle`, because the attempt has another fault."""
        attempt = self.connection.attempt
        if self._idle is not None and attempt.point == "idle" and not self.streams:
            self._idle.cancel()
            self._idle = self.tasks.spawn(partial(self._strike_idle, attempt))

    def leave(self) -> None:
        """End with the conversation, and forget what leads back here: cycles would keep the ledger for a while."""
        self.tasks.forget()
        for attempt in self._attempts:
            attempt.on_strike = None
        for exchange in self.streams.values():
            del exchange.task
        self.streams.clear()
        del self.connection, self.tasks, self.writer, self._first
