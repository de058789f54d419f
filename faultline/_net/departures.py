"""Notices when the peer of a connection ends it, without reading what the peer sends."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable
from typing import Literal

Left = Literal["FIN", "RST"]


class Departed(Exception):  # noqa: N818 - an event, not an error
    """The peer has ended the connection, by FIN or by RST."""

    def __init__(self, how: Left) -> None:
        super().__init__(how)
        self.how: Left = how


class Departures:
    """Watches for peers that end their connections, and wakes waits for acknowledgements.

    This is an epoll object of its own, registered with the loop, because asyncio can't watch for EPOLLRDHUP alone: if
    readability were watched, unread input on a stalled connection would wake the loop again and again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._pauses: set[asyncio.Future[None]] = set()
        self.given_turns = 0  # how often a connection with ready data has let the others have their turn
        self._waiting: dict[int, asyncio.Future[Left]] = {}
        self.edges = Edges(loop)
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def watch(self, sock: socket.socket, *, half_closed: bool) -> asyncio.Future[Left]:
        """A future of how the peer ends the connection; with `half_closed` its FIN was read, and only RST counts."""
        future: asyncio.Future[Left] = self.loop.create_future()
        number = sock.fileno()
        self._waiting[number] = future
        self._epoll.register(number, 0 if half_closed else select.EPOLLRDHUP)
        return future

    def forget(self, sock: socket.socket) -> None:
        """Stop watching; call this before the socket is closed, because the kernel reuses its number at once."""
        del self._waiting[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def _on_ready(self) -> None:
        for number, events in self._epoll.poll(0):
            future = self._waiting.get(number)
            if future is not None and not future.done():
                future.set_result("RST" if events & select.EPOLLERR else "FIN")  # EPOLLHUP: both have sent FIN

    async def pause(self, for_seconds: float) -> None:
        """Wait this long, or until `hurry` is called."""
        future: asyncio.Future[None] = self.loop.create_future()
        timer = self.loop.call_later(for_seconds, wake, future)
        self._pauses.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._pauses.discard(future)

    def hurry(self) -> None:
        """End all pauses, so that a ledger that is about to be read includes every acknowledgement."""
        for future in self._pauses:
            wake(future)

    def close(self) -> None:
        """Stop watching."""
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self.edges.close()


class Edges:
    """Waits for bytes that follow unread bytes, by an epoll object of its own, which reports each arrival once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    async def wait(self, sock: socket.socket, is_over: Callable[[], bool], within_seconds: float | None) -> None:
        """Wait until `is_over()`, which is called now and whenever bytes or an end arrive, or at most this long."""
        number = sock.fileno()
        self._epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        try:
            while not is_over():
                self._waiting[number] = self._loop.create_future()
                done, _ = await asyncio.wait((self._waiting[number],), timeout=within_seconds)
                if sock.fileno() < 0:  # another task has closed it, and will cancel this one
                    await self._loop.create_future()
                if not done:
                    break
        finally:
            self._waiting.pop(number, None)
            if sock.fileno() >= 0:  # closing has removed it, and another socket may have the number now
                self._epoll.unregister(number)

    def _on_ready(self) -> None:
        numbers = [number for number, _ in self._epoll.poll(0)]
        for future in filter(None, map(self._waiting.get, numbers)):
            wake(future)

    def close(self) -> None:
        """Stop waiting."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call a function in the loop's thread; does nothing if the loop is closed, since a gate may be opened then."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


def wake(future: asyncio.Future[None]) -> None:
    """End a wait; does nothing if it has ended, since an event may come twice before the waiter runs."""
    if not future.done():
        future.set_result(None)
