"""Gates: a test opens a gate, and the stalls that wait for it end."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from typing import ClassVar, TypeAlias

Number: TypeAlias = tuple[int, int]  # the id of the process that made the gate, and a count


class Gates:
    """The gates of this process by number, so that a pickled gate is found again."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[Number, Gate] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)

    def add(self, gate: Gate, number: Number | None) -> Number:
        """Register a gate under this number, or under a new number of this process."""
        number = (os.getpid(), next(self._numbers)) if number is None else number
        self._known[number] = gate
        return number

    def find(self, number: Number) -> Gate:
        """The gate of this number; a new gate if there is none."""
        return self._known.get(number) or Gate(number)


class Gate:
    r"""An event that ends a stall: `stall(until=gate)` lasts until the test opens the gate.

    A new gate is closed, and an open gate stays open, so that a later stall ends at once. `open` never waits, and any
    thread and async code can call it.

    .. versionadded:: 0.1

    Example:
        >>> import faultline, urllib.request
        >>> gate = faultline.Gate()
        >>> gate.open()
        >>> with faultline.serve(faultline.stall(until=gate)) as server:
        ...     urllib.request.urlopen(server.url).read()
        b'ok\n'
    """

    _public: ClassVar[tuple[str, ...]] = ("is_open", "open")

    def __init__(self, number: Number | None = None) -> None:
        self._lock = threading.RLock()  # a finalizer may open the gate while its thread holds the lock
        self._open = False
        self._waiting: dict[Callable[[], None], None] = {}  # in the order of their waits
        self.number = gates.add(self, number)

    def __reduce__(self) -> tuple[Callable[[Number, bool], Gate], tuple[Number, bool]]:
        return found, (self.number, self._open)

    @property
    def is_open(self) -> bool:
        """Whether the gate is open."""
        return self._open

    def open(self) -> None:
        """Open the gate: the stalls that wait for it end, and later stalls end at once. Opening again does nothing."""
        with self._lock:
            self._open = True
            waiting, self._waiting = self._waiting, {}
        for wake in waiting:
            wake()

    def when_open(self, wake: Callable[[], None]) -> None:
        """Call `wake` once the gate is open: at once, or later in the thread that opens the gate."""
        with self._lock:
            if not self._open:
                self._waiting[wake] = None
                return
        wake()

    def forget(self, wake: Callable[[], None]) -> None:
        """Don't call `wake` any more, because its wait is over; does nothing if it was called."""
        with self._lock:
            self._waiting.pop(wake, None)

    def __repr__(self) -> str:
        return f"<Gate {'open' if self._open else 'closed'}>"


gates = Gates()


def found(number: Number, is_open: bool) -> Gate:  # noqa: FBT001 - pickle calls it by position
    """Unpickle a gate: the gate of this number in this process, opened if the pickled gate was open."""
    gate = gates.find(number)
    if is_open:
        gate.open()
    return gate
