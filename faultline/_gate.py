"""A gate: how a test holds a server and lets it go on, by an event and not by a sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Gate:
    r"""Closed when made; a `stall(until=gate)` goes on when the test opens it.

    `open` may be called from any thread, and from async code: it never waits. An open gate stays open, so a stall
    that comes later doesn't hold.

    Example:
        >>> import faultline, urllib.request
        >>> gate = faultline.Gate()
        >>> gate.open()
        >>> with faultline.serve(faultline.stall(until=gate)) as server:
        ...     urllib.request.urlopen(server.url).read()
        b'ok\n'
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[Callable[[], None]] = []

    @property
    def is_open(self) -> bool:
        """Whether it has been opened."""
        return self._open

    def open(self) -> None:
        """Let everything go on that waits here, and whatever comes later."""
        with self._lock:
            self._open = True
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def when_open(self, wake: Callable[[], None]) -> None:
        """Call `wake` once the gate is open: now, or in the thread that opens it."""
        with self._lock:
            if not self._open:
                self._waiting.append(wake)
                return
        wake()

    def __repr__(self) -> str:
        return f"<Gate {'open' if self._open else 'closed'}>"
