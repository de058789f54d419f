"""Answers that are wrong in their frames, each in exactly one way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from faultline._engine.play import close
from faultline._net import http2 as wire

if TYPE_CHECKING:
    from faultline._engine.http2.response import Response

Fields: TypeAlias = list[tuple[str, str]]
STATUS: Fields = [(":status", "200")]
BODY = b"twenty bytes of body"
CONTINUATIONS, FLOOD = 1000, 10_000
LARGE_BYTES = 200_000
GARBAGE = b"\x80\xff\xff\xff"  # an index of 0, and an index without an end: RFC 7541, 6.1
MAX_FRAME_SIZE = 5  # a setting
HTTP1 = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n" + BODY


class Liar:
    """Sends what is wrong on the stream of one response."""

    def __init__(self, response: Response) -> None:
        self._response, self._session = response, response.exchange.session
        self._number = response.exchange.number

    async def _send(self, *frames: bytes) -> None:
        await self._response.frame(lambda: b"".join(frames))

    async def _end(self) -> None:
        async with self._session.writer.alone():
            await close(self._session.connection)

    async def _respond(self) -> None:
        """Send a healthy response behind what is wrong."""
        await self._response.head(STATUS)
        await self._response.frame(lambda: self._response.data(BODY))
        await self._response.frame(lambda: self._response.data(b"", is_last=True))

    def _headers(self, fields: Fields, flags: int = wire.END_HEADERS, number: int | None = None) -> bytes:
        block = self._session.h2.encoder.encode(fields)
        return wire.frame(wire.HEADERS, block, flags=flags, stream=self._number if number is None else number)

    def _data(self, data: bytes = BODY, *, flags: int = 0, number: int | None = None) -> bytes:
        return wire.frame(wire.DATA, data, flags=flags, stream=self._number if number is None else number)

    async def settings_invalid(self) -> None:
        """A setting that a client has to reject."""
        await self._send(wire.settings([(MAX_FRAME_SIZE, 1)]))
        await self._respond()

    async def settings_flood(self) -> None:
        """Many SETTINGS frames, each of which asks for an ACK."""
        await self._send(wire.settings([]) * FLOOD)
        await self._respond()

    async def ping_flood(self) -> None:
        """Many PING frames, each of which asks for an ACK."""
        await self._send(wire.frame(wire.PING, bytes(8)) * FLOOD)
        await self._respond()

    async def http1_response(self) -> None:
        """A response by HTTP/1.1."""
        await self._send(HTTP1)
        await self._end()

    async def frame_cut(self) -> None:
        """A frame that ends too early."""
        await self._response.head(STATUS)
        await self._send(self._data()[: wire.HEAD_BYTES + len(BODY) // 2])
        await self._end()

    async def frame_illegal(self) -> None:
        """A body of no stream."""
        await self._send(self._data(number=0))
        await self._respond()

    async def frame_oversized(self) -> None:
        """A frame that is longer than the client allows."""
        await self._response.head(STATUS)
        await self._send(self._data(bytes(self._session.h2.max_outbound_frame_size + 1)))

    async def hpack_garbage(self) -> None:
        """Fields that can't be decoded."""
        flags = wire.END_HEADERS | wire.END_STREAM
        await self._send(wire.frame(wire.HEADERS, GARBAGE, flags=flags, stream=self._number))

    async def continuation_flood(self) -> None:
        """Fields without an end."""
        await self._send(self._headers(STATUS, 0), wire.frame(wire.CONTINUATION, stream=self._number) * CONTINUATIONS)
        await self._end()

    async def headers_too_large(self) -> None:
        """Many fields."""
        fields = [*STATUS, *((f"x-filler-{number}", "x" * 1000) for number in range(LARGE_BYTES // 1000))]
        block = self._session.h2.encoder.encode(fields)
        size = wire.LONGEST_BYTES
        parts = [block[begin : begin + size] for begin in range(0, len(block), size)]
        first = wire.frame(wire.HEADERS, parts[0], flags=wire.END_STREAM, stream=self._number)
        ends = [wire.END_HEADERS if part is parts[-1] else 0 for part in parts[1:]]
        more = zip(parts[1:], ends, strict=True)
        await self._send(
            first, *(wire.frame(wire.CONTINUATION, part, flags=end, stream=self._number) for part, end in more)
        )

    async def status_missing(self) -> None:
        """Fields without a status."""
        await self._send(self._headers([("content-type", "text/plain")]))
        await self._send(self._data(flags=wire.END_STREAM))

    async def header_uppercase(self) -> None:
        """A field in upper case."""
        await self._send(self._headers([*STATUS, ("X-Upper", "1")]))
        await self._send(self._data(flags=wire.END_STREAM))

    async def connection_header(self) -> None:
        """A field of HTTP/1.1."""
        await self._send(self._headers([*STATUS, ("connection", "keep-alive")]))
        await self._send(self._data(flags=wire.END_STREAM))

    async def data_first(self) -> None:
        """A body before its fields."""
        await self._send(self._data())
        await self._respond()

    async def data_after_end(self) -> None:
        """A body behind the end of its stream."""
        await self._respond()
        await self._send(self._data(flags=wire.END_STREAM))

    async def stream_unopened(self) -> None:
        """Fields on a stream that the client has not opened."""
        await self._send(self._headers(STATUS, number=self._number + 1000))
        await self._respond()

    async def push(self) -> None:
        """A push that clients don't take."""
        fields = [(":method", "GET"), (":path", "/pushed"), (":scheme", "http"), (":authority", "localhost")]
        promised = (2).to_bytes(4, "big") + self._session.h2.encoder.encode(fields)
        await self._send(wire.frame(wire.PUSH_PROMISE, promised, flags=wire.END_HEADERS, stream=self._number))
        await self._respond()

    async def window_zero(self) -> None:
        """A window that grows by nothing."""
        await self._send(wire.frame(wire.WINDOW_UPDATE, bytes(4)))
        await self._respond()

    async def window_overflow(self) -> None:
        """A window that grows beyond what a number can say."""
        await self._send(wire.frame(wire.WINDOW_UPDATE, wire.LARGEST.to_bytes(4, "big")) * 2)
        await self._respond()


Lie: TypeAlias = Callable[[Liar], Awaitable[None]]


async def tell(response: Response, kind: str) -> None:
    """Send what is wrong.

    Raises:
        Over: the connection has ended with it.
    """
    lie: Lie = getattr(Liar, kind)
    await lie(Liar(response))
