"""Writes the frames of all streams in turn, and those of the connection between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from h2.connection import H2Connection

    from faultline._engine.http2.tasks import Tasks
    from faultline._engine.stream import Stream

MOST_BYTES = 65_536  # of the connection's frames that wait for the client to read; then nothing more is read


class Writer:
    """Has one task write at a time; a frame is made when it is its turn, as the coding of fields follows their order.

    Attributes:
        waiting: the frames of the connection that wait.
    """

    def __init__(self, stream: Stream, h2: H2Connection, tasks: Tasks) -> None:
        self._stream, self._h2, self._tasks = stream, h2, tasks
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None  # of the lock
        self.waiting = bytearray()
        self._soon: asyncio.Task[None] | None = None  # writes what waits

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The turn of a task to write, behind the frames of the connection; a task that has it keeps it."""
        task = asyncio.current_task()
        if self._owner is task:
            yield
            return
        async with self._lock:
            self._owner = task
            try:
                await self._write_waiting()
                yield
            finally:
                self._owner = None

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """The turn of a task that ends the connection: all other tasks are gone."""
        async with self.turn():
            await self._tasks.stop_others()
            yield

    async def write(self, make: Callable[[], bytes]) -> None:
        """Write frames."""
        async with self.turn():
            await self._stream.write_now(self.made(make))

    def made(self, make: Callable[[], bytes]) -> bytes:
        """The frames that a function makes, without those that the library has made before."""
        self.collect()
        return make()

    def collect(self) -> None:
        """Let the frames wait that the library has made."""
        self.waiting += self._h2.data_to_send()

    async def _write_waiting(self) -> None:
        self.collect()
        data, self.waiting = bytes(self.waiting), bytearray()
        if data:
            await self._stream.write_now(data)

    async def flush(self) -> None:
        """Write the frames of the connection that wait."""
        async with self.turn():
            pass

    async def soon(self) -> None:
        """Have the frames of the connection written soon, or wait until they are if there are many."""
        self.collect()
        if self.waiting and (self._soon is None or self._soon.done()):
            self._soon = self._tasks.spawn(self.flush)
        if len(self.waiting) > MOST_BYTES:
            await self.flush()
