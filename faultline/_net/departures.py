"""Notices when the peer of a connection ends it, without reading what the peer sends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from faultline._net import system
from faultline._net.ending import Left
from faultline._net.peers import Peers

if TYPE_CHECKING:
    from faultline._core.gate import Gate
    from faultline._net.wire import Wire

T = TypeVar("T")
OnLeft: TypeAlias = Callable[[Left], None]
PRESSED_BYTES = 16_384  # unread; behind more, a FIN may find no room in the smallest window
SLOWEST_LOOK_SECONDS = 0.05
SLOW_SECONDS, SHARE_SECONDS = 0.01, 0.001  # a pause that repeats, and the part of it for each that waits


class Departed(Exception):  # noqa: N818 - an event, not an error
    """The peer has ended the connection, by FIN or by RST."""

    def __init__(self, how: Left) -> None:
        super().__init__(how)
        self.how: Left = how


class TooLate(Departed):
    """The peer had ended the connection before an end of ours could be sent, of which nothing arrived then."""


class Departures:
    """Watches for peers that end their connections, and wakes waits for acknowledgements.

    A FIN is no leaving, because a client that has only finished sending still listens (RFC 9293, 3.6); and behind more
    bytes than the window takes, no FIN arrives. In both cases the kernel is asked for the peer, again and again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.peers = Peers()
        self._arrivals = system.arrivals(loop, self._on_arrivals)
        self._pauses: set[asyncio.Future[None]] = set()
        self.given_turns = 0  # how often a connection with ready data has let the others have their turn
        self._watches: dict[int, Watch] = {}
        self.edges = Edges(loop)

    def watch(self, wire: Wire, on_left: OnLeft) -> Watch:
        """Have `on_left` be called when the peer leaves, from the first `look` to `forget`; it may be called again.

        A FIN of a peer that still listens is told to the wire, unless bytes come before it.
        """
        number = wire.sock.fileno()
        watch = self._watches.get(number)
        if watch is None or watch.wire is not wire:  # that socket was closed, and this one has its number
            watch = self._watches[number] = Watch(self, wire, number)
            if number >= 0:  # otherwise another task has closed it, and will cancel this one
                self._arrivals.register(number)
        watch.add(on_left)
        return watch

    def forget(self, watch: Watch, on_left: OnLeft) -> None:
        """End a wait."""
        if watch.drop(on_left) and self._watches.get(watch.number) is watch:
            del self._watches[watch.number]
            self._arrivals.unregister(watch.number, is_closed=watch.wire.is_closed)

    async def departure(self, wire: Wire, within_seconds: float | None, until: Gate | None) -> Left | None:
        """Wait until the peer leaves, and return how; `None` when the time is over or the gate opens."""
        over: asyncio.Future[Left | None] = self.loop.create_future()
        end = partial(settle, over, None)
        on_left, on_open = partial(settle, over), partial(call_in, self.loop, end)
        watch = self.watch(wire, on_left)
        watch.look()
        if until is not None:
            until.when_open(on_open)
        timer = None if within_seconds is None else self.loop.call_later(within_seconds, end)
        try:
            left = await over
            return None if left is None else wire.notice(left)
        finally:
            if timer is not None:
                timer.cancel()
            if until is not None:
                until.forget(on_open)
            self.forget(watch, on_left)

    def _on_arrivals(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if (watch := self._watches.get(number)) is not None:  # pragma: no branch - it may have ended meanwhile
                watch.look()

    def left(self, sock: socket.socket) -> Left | None:
        """How the peer has left by now; `None` if a program still holds its socket, and may read."""
        if sock.fileno() < 0:  # another task has closed it
            return None
        return self.left_by(sock, system.ends_of(sock), system.unread_bytes(sock))

    def left_by(self, sock: socket.socket, events: int, unread: int) -> Left | None:
        """As `left`, with the ends of the connection and the number of unread bytes."""
        if events & system.WAS_RESET:
            return "RST"
        if events & system.BOTH_ENDED:  # both directions have ended
            return "FIN"
        has_finished = bool(events)
        if not has_finished and unread < PRESSED_BYTES:
            return None
        peer = self.peers.of(sock)
        listens = not has_finished if peer is None else peer.listens
        return None if listens else "FIN"

    async def pause(self, for_seconds: float) -> None:
        """Wait this long, or until `hurry` is called; longer where many wait again and again."""
        if for_seconds >= SLOW_SECONDS:
            for_seconds = max(for_seconds, len(self._pauses) * SHARE_SECONDS)
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
        self._arrivals.look()
        for future in self._pauses:
            wake(future)

    def close(self) -> None:
        """Stop watching."""
        self._arrivals.close()
        self.edges.close()
        self.peers.close()


class Watch:
    """The waits for one peer to leave."""

    __slots__ = ("_asking", "_departures", "_waits", "number", "wire")

    def __init__(self, departures: Departures, wire: Wire, number: int) -> None:
        self.wire = wire
        self.number = number
        self._departures = departures
        self._waits: tuple[OnLeft, ...] = ()
        self._asking: asyncio.Task[None] | None = None

    def add(self, on_left: OnLeft) -> None:
        """Add a wait."""
        self._waits += (on_left,)

    def drop(self, on_left: OnLeft) -> bool:
        """Remove a wait; return whether it was the last."""
        self._waits = tuple(each for each in self._waits if each != on_left)
        if not self._waits and self._asking is not None:
            self._asking.cancel()
        return not self._waits

    def look(self) -> None:
        """End the waits if the peer has left, and ask again soon if it may leave without an event."""
        if self.wire.is_closed:  # by another task, which will cancel the waits
            return
        sock = self.wire.sock
        events, unread = system.ends_of(sock), system.unread_bytes(sock)
        left = self._departures.left_by(sock, events, unread)
        if left is not None:
            for on_left in self._waits:
                on_left(left)
        elif self._asking is None:
            if events and not unread:
                self.wire.sees("FIN")
            if events or unread >= PRESSED_BYTES:
                self._asking = self._departures.loop.create_task(self._ask())

    async def _ask(self) -> None:
        """Look again and again: soon at first, because a FIN travels a moment before its socket is gone."""
        pause = 0.0002
        while True:
            await self._departures.pause(pause)
            pause = min(pause * 1.5, SLOWEST_LOOK_SECONDS)
            self.look()


class Edges:
    """Waits for bytes that follow unread bytes, of which readability tells nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrivals = system.arrivals(loop, self._on_arrivals)
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def wait(self, sock: socket.socket, is_over: Callable[[], bool], within_seconds: float | None) -> None:
        """Wait until `is_over()`, which is called now and whenever bytes or an end arrive, or at most this long."""
        number = sock.fileno()
        self._arrivals.register(number)
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
            self._arrivals.unregister(number, is_closed=sock.fileno() < 0)

    def _on_arrivals(self, numbers: Iterable[int]) -> None:
        for future in filter(None, map(self._waiting.get, numbers)):
            wake(future)

    def close(self) -> None:
        """Stop waiting."""
        self._arrivals.close()


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call a function in the loop's thread; does nothing if the loop is closed, since a gate may be opened then."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


def wake(future: asyncio.Future[None]) -> None:
    """End a wait; does nothing if it has ended, since an event may come twice before the waiter runs."""
    settle(future, None)


def settle(future: asyncio.Future[T], value: T) -> None:
    """End a wait with a value; does nothing if it has ended."""
    if not future.done():
        future.set_result(value)
