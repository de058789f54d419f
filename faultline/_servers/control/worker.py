"""A thread that calls functions in turn, for a loop that must not wait for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
CLOSE_SECONDS = 5.0


class Worker:
    """A daemon thread that calls functions one after the other; a call that hangs never holds up the interpreter."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Call a function after those before it; if the future is cancelled by then, the function is not called."""
        future: Future[T] = Future()
        self._calls.put((function, future))
        return future

    def close(self) -> None:
        """End the thread after the call under way, and wait for it, but not for ever."""
        self._calls.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            function, future = work
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
                future.set_exception(error)
            del work, function, future  # a thread that waits keeps nothing
