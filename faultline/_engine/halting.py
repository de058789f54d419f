"""A coroutine that can be halted where it waits, while something else uses what it uses."""

from __future__ import annotations

import asyncio
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
        step = self._coroutine.send
        error: BaseException | None = None
        while True:
            try:
                awaited = step(None) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return
            error = None
            try:
                try:
                    yield awaited
                except asyncio.CancelledError:
                    raise
                except BaseException as raised:  # noqa: BLE001 - for the coroutine, once it goes on
                    error = raised
                while self._halt is not None:
                    yield from self._halt
            except asyncio.CancelledError as cancelled:
                error, self._halt = cancelled, None  # for good: it may wait for something before it ends
