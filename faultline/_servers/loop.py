"""The background loop: one daemon thread with one event loop for all servers of a process.

Rules of this room: the thread is started by the first server and idles when there is none. A forked child has no
such thread and starts its own; asyncio is imported here and below, never by loading the pytest plugin.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from faultline._core.errors import ServerError
from faultline._net.departures import Departures

T = TypeVar("T")
CALL_SECONDS = 10.0
SETTLE_TURNS = 8  # a byte takes four turns of the loop: poll, reader, future, task; TLS and idle watch add some


class Background:
    """The loop, its thread, and what all servers share."""

    def __init__(self) -> None:
        # Not new_event_loop(): a policy of the program under test is not ours.
        self.loop = asyncio.SelectorEventLoop()
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

        def turn(left: int) -> None:
            if left:
                self.departures.hurry()
                self.loop.call_soon(turn, left - 1)
            else:
                settled.set()

        self.loop.call_soon_threadsafe(turn, SETTLE_TURNS)
        settled.wait(CALL_SECONDS)

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


def _forget() -> None:
    """In a forked child: the thread is the parent's, and so is the lock's state."""
    global _background, _lock
    if _background is not None:
        atexit.unregister(_background.stop)
    _background, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
