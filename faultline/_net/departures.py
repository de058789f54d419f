"""News of the other side leaving, without reading what it sends."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable
from typing import Literal

Left = Literal["FIN", "RST"]


class Departed(Exception):  # noqa: N818 - it is news, not an error
    """The client is gone, by FIN or by RST."""

    def __init__(self, how: Left) -> None:
        super().__init__(how)
        self.how: Left = how


class Departures:
    """Tells when clients leave, without reading what they send, and lets waits for their acknowledgements look again.

    One epoll in the loop's own, because asyncio can't watch for EPOLLRDHUP alone: with readability watched,
    unread input of a stalled connection would wake the loop for ever.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._pauses: set[asyncio.Future[None]] = set()
        self._waiting: dict[int, asyncio.Future[Left]] = {}
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def watch(self, sock: socket.socket, *, half_closed: bool) -> asyncio.Future[Left]:
        """A future of how the client leaves; a FIN that was already read is not news."""
        future: asyncio.Future[Left] = self.loop.create_future()
        number = sock.fileno()
        self._waiting[number] = future
        self._epoll.register(number, 0 if half_closed else select.EPOLLRDHUP)
        return future

    def forget(self, sock: socket.socket) -> None:
        """No longer watch; before the socket is closed, because its number is used again at once."""
        del self._waiting[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def _on_ready(self) -> None:
        for number, events in self._epoll.poll(0):
            future = self._waiting.get(number)
            if future is not None and not future.done():
                future.set_result("RST" if events & select.EPOLLERR else "FIN")  # EPOLLHUP: both have sent FIN

    async def pause(self, for_seconds: float) -> None:
        """Wait so long, or until somebody wants to know."""
        future: asyncio.Future[None] = self.loop.create_future()
        timer = self.loop.call_later(for_seconds, wake, future)
        self._pauses.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._pauses.discard(future)

    def hurry(self) -> None:
        """End all pauses: somebody reads a ledger, and what has been acknowledged belongs into it."""
        for future in self._pauses:
            wake(future)

    def close(self) -> None:
        """Stop watching."""
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call a function in the loop's thread; a gate may be opened when the loop is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


def wake(future: asyncio.Future[None]) -> None:
    """End a wait; an event may come twice before the waiter has run."""
    if not future.done():
        future.set_result(None)
