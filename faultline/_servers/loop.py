"""The background loop: one daemon thread with one event loop for all servers of a process.

Rules of this room: the thread is started by the first server and idles when there is none. A forked child has no
such thread and starts its own; asyncio is imported here and below, never by loading the pytest plugin.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import selectors
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from faultline._core.errors import ServerError
from faultline._core.fork import in_forked_child
from faultline._net.departures import Departures, wake

T = TypeVar("T")
CALL_SECONDS = 10.0
QUIET_TURNS = 8  # a byte takes four turns of the loop: poll, reader, future, task; TLS and idle watch add some
MOST_TURNS = 1000  # of a loop that is never quiet, because other servers are busy


class Selector(selectors.DefaultSelector):
    """A selector that counts the events that it has seen."""

    seen = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events, and count them."""
        events: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        self.seen += len(events)
        return events


class Background:
    """The loop, its thread, and what all servers share."""

    def __init__(self) -> None:
        # Not new_event_loop(): a policy of the program under test is not ours.
        self._selector = Selector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self.loop.set_debug(False)
        self.departures = Departures(self.loop)
        self._thread = threading.Thread(target=self.loop.run_forever, name="faultline", daemon=True)
        self._thread.start()

    def is_current(self) -> bool:
        """Whether the caller is in the loop's thread."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the loop's thread and wait for what it returns or raises."""

        async def wrapped() -> T:
            return function()

        return self.run(wrapped())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop's thread and wait for it.

        Raises:
            ServerError: it did not end in time, which is a bug of faultline.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(CALL_SECONDS)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise ServerError(f"the server's loop did not answer within {CALL_SECONDS:g} s.") from None

    def settle(self) -> None:
        """Return when the loop has worked off everything that had reached it."""
        settled = threading.Event()
        self.loop.call_soon_threadsafe(self._turn, settled.set, QUIET_TURNS, MOST_TURNS, self._selector.seen)
        settled.wait(CALL_SECONDS)

    async def settled(self) -> None:
        """The same in the loop's thread."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._turn(partial(wake, future), QUIET_TURNS, MOST_TURNS, self._selector.seen)
        await future

    def _turn(self, done: Callable[[], None], quiet: int, most: int, seen: int) -> None:
        """Turn once more, until this many turns in a row have brought no event."""
        self.departures.hurry()
        if self._selector.seen != seen:
            quiet, seen = QUIET_TURNS, self._selector.seen
        if quiet and most:
            self.loop.call_soon(self._turn, done, quiet - 1, most - 1, seen)
        else:
            done()

    def stop(self) -> None:
        """End the thread and close the loop; only at exit."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_SECONDS)
        self.departures.close()
        self.loop.close()


_lock = threading.Lock()
_background: Background | None = None


def background() -> Background:
    """The process's loop, started if it isn't running."""
    global _background  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _background is None:
            _background = Background()
            atexit.register(_background.stop)
        return _background


@in_forked_child
def _forget() -> None:
    """In a forked child: the thread is the parent's, and so is the lock's state."""
    global _background, _lock
    if _background is not None:
        atexit.unregister(_background.stop)
    _background, _lock = None, threading.Lock()
