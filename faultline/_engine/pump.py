"""The pump: carries bytes from one socket to another, unparsed, through one large buffer.

Rules: callbacks of the loop and no tasks, because that makes a healthy relay fast. All pumps of a loop share one
buffer: bytes that the sink does not take at once are copied, and no more are read until these are sent. So a slow
reader slows the writer, and a connection holds at most 256 KiB in each direction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from faultline._net.wire import Wire

PIECE_BYTES = 262_144
_shared = memoryview(bytearray(PIECE_BYTES))  # safe without a lock, because there is one loop in one thread

Outcome = Literal["end", "source reset", "sink reset", "interrupted"]


class Pump:
    """Carries the bytes of one direction of a connection."""

    def __init__(self, source: Wire, sink: Wire, on_bytes: Callable[[memoryview], None]) -> None:
        self._source = source
        self._sink = sink
        self._on_bytes = on_bytes
        self._is_wanted = True
        self._is_over = False
        self._pending = memoryview(b"")  # read, and not yet taken by the sink
        self._done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def run(self) -> Outcome:
        """Carry bytes until the source ends, a side resets, or `interrupt` is called; return which.

        After an interrupt every byte that was read has been delivered.
        """
        self._source.on_readable(self._on_readable)
        try:
            return await self._done
        finally:
            self._finish("interrupted")

    def interrupt(self) -> None:
        """Stop reading: the bytes have to be parsed from here on, or held back."""
        if self._pending:
            self._is_wanted = False
        else:
            self._finish("interrupted")

    def _finish(self, outcome: Outcome) -> None:
        """Stop watching both sockets at once: other code may watch them before `run` continues."""
        if not self._is_over:
            self._is_over = True
            self._source.on_readable(None)
            self._sink.on_writable(None)
            if not self._done.done():
                self._done.set_result(outcome)

    def _on_readable(self) -> None:
        if self._is_over:  # in this turn of the loop; the next reader gets the bytes
            return
        try:
            count = self._source.sock.recv_into(_shared)
        except BlockingIOError:
            return
        except OSError as error:
            self._source.gone(error)
            self._finish("source reset")
            return
        if not count:
            self._finish("source reset" if self._source.is_end_reset else "end")
            return
        data = _shared[:count]
        self._source.has_spoken = True
        self._sink.sent_bytes += count
        self._on_bytes(data)
        try:
            taken = self._sink.sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._finish("sink reset")
            return
        if taken < count:
            self._pending = memoryview(bytes(data[taken:]))
            self._source.on_readable(None)
            self._sink.on_writable(self._on_writable)

    def _on_writable(self) -> None:
        try:
            self._pending = self._pending[self._sink.sock.send(self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self._finish("sink reset")
            return
        if self._pending:
            return
        self._sink.on_writable(None)
        if self._is_wanted:
            self._source.on_readable(self._on_readable)
        else:
            self._finish("interrupted")
