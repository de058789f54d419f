"""A coroutine that can be halted where it waits, while another uses what it uses, and that can wait without a task.

Rules: what waits without a task is awaited here alone, and in no task of its own.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, NoReturn

PARKS = object()  # what a coroutine yields that waits without a task


class Parked(Exception):  # noqa: N818 - an event, not an error
    """The coroutine waits for an event without a task."""


@types.coroutine
def parked() -> Generator[object, None, NoReturn]:
    """Wait without a task for the event that ends the wait.

    Raises:
        BaseException: always, the event.
    """
    yield PARKS
    raise AssertionError  # pragma: no cover - an event ends it


class Halting:
    """Runs a coroutine; while it is halted, no event that it waits for lets it go on.

    Cancelling ends it, halted or not. Where it waits without a task, `Parked` is raised; it goes on when it is awaited
    again, with an event.
    """

    __slots__ = ("_coroutine", "_event", "_halt")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._halt: asyncio.Future[None] | None = None
        self._event: BaseException | None = None

    def meets(self, event: BaseException) -> None:
        """Raise an event in it, where it waits without a task, when it is awaited."""
        self._event = event

    def close(self) -> None:
        """End it where it waits without a task."""
        self._coroutine.close()

    def halt(self) -> None:
        """From its next event on, let it wait."""
        self._halt = asyncio.get_running_loop().create_future()

    def go_on(self) -> None:
        """Let it go on with the events that came meanwhile."""
        assert self._halt is not None
        self._halt.set_result(None)
        self._halt = None

    def __await__(self) -> Generator[Any, None, None]:
        step, error = self._coroutine.send, self._event
        self._event = None
        while True:
            try:
                awaited = step(None) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return
            finally:
                error = None  # its traceback leads back here: a cycle would keep the ledger
            if awaited is PARKS:
                raise Parked
            error = yield from self._come(awaited)
            awaited = None  # it may hold an error, whose traceback leads back here too

    def _come(self, awaited: object) -> Generator[Any, None, BaseException | None]:
        """Wait for what the coroutine awaits, and for the end of a halt; return the error that comes of it."""
        error: BaseException | None = None
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
            self._halt = None  # for good: the coroutine may wait for something before it ends
            return cancelled
        return error
