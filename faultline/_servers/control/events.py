"""Events for readers that stay connected, as server-sent events (WHATWG HTML, 9.2).

Rules: every method is called in the loop's thread. A slow reader costs a bounded amount of memory: what it has no room
for is dropped, and the reader is told how many events that were.
"""

from __future__ import annotations

import asyncio
from collections import deque

ROOM_BYTES = 1 << 20  # for the events that one reader has not taken yet; one event has room in any case


def event(name: str, data: str) -> bytes:
    """One event, whose data has no line break."""
    return f"event: {name}\ndata: {data}\n\n".encode()


class Events:
    """What is told to every reader."""

    def __init__(self) -> None:
        self._readers: dict[Reader, None] = {}

    @property
    def have_readers(self) -> bool:
        """Whether anybody reads."""
        return bool(self._readers)

    def put(self, data: bytes) -> None:
        """Tell an event to those who read now."""
        for reader in self._readers:
            reader.put(data)

    def join(self) -> Reader:
        """A new reader, which gets the events from now on."""
        reader = Reader()
        self._readers[reader] = None
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        del self._readers[reader]


class Reader:
    """The events that one reader has not taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._has_news = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Add an event, if there is room for it."""
        if self._dropped or (self._waiting and self._waiting_bytes + len(data) > ROOM_BYTES):
            self._dropped += 1
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._has_news.set()

    async def take(self) -> bytes:
        """Wait for the next event; behind the last that had room, an event `dropped` with the number of the others."""
        await self._has_news.wait()
        if not self._waiting:
            told, self._dropped = event("dropped", f'{{"count": {self._dropped}}}'), 0
            self._has_news.clear()
            return told
        data = self._waiting.popleft()
        self._waiting_bytes -= len(data)
        if not self._waiting and not self._dropped:
            self._has_news.clear()
        return data
