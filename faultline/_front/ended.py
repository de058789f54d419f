"""The attempts that have ended, and the end of the command, in one queue.

Python runs a signal handler only between two instructions of the main thread. A signal that comes just before the
thread blocks, or that another thread gets, would be forgotten until the next one. So the main thread blocks on a pipe
to which the interpreter writes a byte at once (`signal.set_wakeup_fd`).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from faultline._core.attempts import Attempt


class Ended:
    """A queue of attempts, in which `None` is the end of the command; `control` adds the name of the proxy to each."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._woken, self.waker = os.pipe()
        os.set_blocking(self.waker, False)

    def put(self, attempt: Attempt | tuple[str, Attempt] | object | None) -> None:
        """Add an attempt or a result, from any thread, or `None`, from a signal handler too."""
        self._queue.put(attempt)
        with contextlib.suppress(OSError):  # the pipe is full, which wakes the reader too, or nobody reads any more
            os.write(self.waker, b"\0")

    def get(self) -> Any:
        """Wait for the next attempt or the end."""
        while self._queue.empty():
            os.read(self._woken, 4096)
        return self._queue.get()

    def empty(self) -> bool:
        """Whether there is nothing to get."""
        return self._queue.empty()

    def close(self) -> None:
        """Close the pipe."""
        waker, self.waker = self.waker, -1
        os.close(self._woken)
        os.close(waker)


Ending: TypeAlias = Callable[[], AbstractContextManager[Ended]]


@contextlib.contextmanager
def signals() -> Iterator[Ended]:
    """A queue that SIGTERM and Ctrl-C put `None` into."""
    ended = Ended()

    def stop(*_: object) -> None:
        ended.put(None)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    waker = signal.set_wakeup_fd(ended.waker, warn_on_full_buffer=False)
    try:
        yield ended
    finally:
        signal.set_wakeup_fd(waker)
        for number, handler in before.items():
            signal.signal(number, handler)
        ended.close()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for SIGTERM and Ctrl-C, also in the background of a shell, where Ctrl-C is ignored."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
