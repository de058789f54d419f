"""The pump: bytes from one socket to another, unparsed, through one large buffer.

Rules of this room: raw readiness and no tasks, because this is what makes a healthy relay fast. All pumps of a loop
share one buffer: what the sink does not take at once is kept apart, and nothing more is read until it has gone, so
that a slow reader slows the writer, and a connection holds 256 KiB in each direction at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from faultline._net.wire import Wire

PIECE_BYTES = 262_144
_shared = memoryview(bytearray(PIECE_BYTES))  # one loop, one thread

Outcome = Literal["end", "source reset", "sink reset", "interrupted"]


class Pump:
    """One direction of one connection."""

    def __init__(self, source: Wire, sink: Wire, on_bytes: Callable[[memoryview], None]) -> None:
        self._source = source
        self._sink = sink
        self._on_bytes = on_bytes
        self._is_wanted = True
        self._is_over = False
        self._left = memoryview(b"")  # read, and not yet taken by the sink
        self._done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def run(self) -> Outcome:
        """Carry bytes until one side has no more, or until it is interrupted, when all that was read is delivered."""
        self._source.on_readable(self._on_readable)
        try:
            return await self._done
        finally:
            self._finish("interrupted")

    def interrupt(self) -> None:
        """Stop reading: somebody wants to look at the bytes, or none are to pass."""
        if self._left:
            self._is_wanted = False
        else:
            self._finish("interrupted")

    def _finish(self, outcome: Outcome) -> None:
        """Let go of both sockets at once: somebody else may wait for them before `run` goes on."""
        if not self._is_over:
            self._is_over = True
            self._source.on_readable(None)
            self._sink.on_writable(None)
            if not self._done.done():
                self._done.set_result(outcome)

    def _on_readable(self) -> None:
        if self._is_over:  # in this very turn: what there is to read is for who comes next
            return
        try:
            count = self._source.sock.recv_into(_shared)
        except BlockingIOError:
            return
        except OSError:
            self._finish("source reset")
            return
        if not count:
            self._finish("end")
            return
        data = _shared[:count]
        self._on_bytes(data)
        try:
            taken = self._sink.sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._finish("sink reset")
            return
        if taken < count:
            self._left = memoryview(bytes(data[taken:]))
            self._source.on_readable(None)
            self._sink.on_writable(self._on_writable)

    def _on_writable(self) -> None:
        try:
            self._left = self._left[self._sink.sock.send(self._left) :]
        except BlockingIOError:
            return
        except OSError:
            self._finish("sink reset")
            return
        if self._left:
            return
        self._sink.on_writable(None)
        if self._is_wanted:
            self._source.on_readable(self._on_readable)
        else:
            self._finish("interrupted")
