"""A coroutine that can be halted where it waits, while something else uses what it uses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Generator
from typing import Any


class Halting:
    """Runs a coroutine; while it is halted, no event that it waits for lets it go on.

    Cancelling ends it, halted or not.
    """

    __slots__ = ("_coroutine", "_halt")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._halt: asyncio.Future[None] | None = None

    def halt(self) -> None:
        """From its next event on, let it wait."""
        self._halt = asyncio.get_running_loop().create_future()

    def go_on(self) -> None:
        """Let it go on with the events that came meanwhile."""
        assert self._halt is not None
        self._halt.set_result(None)
        self._halt = None

    def __await__(self) -> Generator[Any, None, None]:
        step, error = self._coroutine.send, None
        while True:
            try:
                awaited = step(None) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return
            finally:
                error = None  # its traceback leads back here: a cycle would keep the ledger
            error = yield from self._event(awaited)
            awaited = None  # it may hold an error, whose traceback leads back here too

    def _event(self, awaited: object) -> Generator[Any, None, BaseException | None]:
        """Wait for what the coroutine awaits, and for the end of a halt; return what ends the coroutine, if it ends."""
        try:
            with contextlib.suppress(Exception):  # what is awaited raises it again once the coroutine goes on
                yield awaited
            while self._halt is not None:
                yield from self._halt
        except BaseException as ended:  # noqa: BLE001 - for the coroutine
            self._halt = None  # for good: the coroutine may wait for something before it ends
            return ended
        return None
