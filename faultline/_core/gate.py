"""A gate: how a test holds a server and lets it go on, by an event and not by a sleep."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from typing import TypeAlias

Number: TypeAlias = tuple[int, int]  # of the process that made it, and its own


class Gates:
    """All gates of this process by number, so that another process can mean the same one."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[Number, Gate] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)

    def add(self, gate: Gate, number: Number | None) -> Number:
        """Know a gate, by this number or by a new one, which is of this process."""
        number = (os.getpid(), next(self._numbers)) if number is None else number
        self._known[number] = gate
        return number

    def find(self, number: Number) -> Gate:
        """The gate of this number, made if there is none."""
        return self._known.get(number) or Gate(number)


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

    def __init__(self, number: Number | None = None) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[Callable[[], None]] = []
        self.number = gates.add(self, number)

    def __reduce__(self) -> tuple[Callable[[Number, bool], Gate], tuple[Number, bool]]:
        return found, (self.number, self._open)

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


gates = Gates()


def found(number: Number, is_open: bool) -> Gate:  # noqa: FBT001 - as it is pickled
    """What a pickled gate becomes: the one of its number."""
    gate = gates.find(number)
    if is_open:
        gate.open()
    return gate
