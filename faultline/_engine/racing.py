"""Runs two waits in one task: when the first of them ends, the other is cancelled.

With a task for each, bytes that wait for their time would come five turns of the loop later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from faultline._net.departures import wake

T = TypeVar("T")


class Lane(Generic[T]):
    """A coroutine that is run from wait to wait.

    Attributes:
        is_over: whether it has ended, with a value or an error.
    """

    __slots__ = ("_awaited", "_coroutine", "_error", "_is_begun", "_is_watched", "_value", "is_over")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._awaited: asyncio.Future[Any] | None = None  # `None` is the next turn of the loop
        self._is_begun = self._is_watched = self.is_over = False
        self._value: T
        self._error: BaseException | None = None

    @property
    def is_ready(self) -> bool:
        """Whether what it waits for has come."""
        return self._awaited is None or self._awaited.done()

    def go_on(self) -> None:
        """Run it up to its next wait, or to its end."""
        self._is_begun, self._is_watched = True, False
        try:
            self._awaited = self._coroutine.send(None)
        except StopIteration as ended:
            self.is_over, self._value = True, ended.value
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self.is_over, self._error = True, error

    def watch(self, loop: asyncio.AbstractEventLoop, on_ready: Callable[[], None]) -> None:
        """Call `on_ready` once this can go on; one call for each wait of it, whatever the other lane does meanwhile."""
        if self._is_watched:
            return
        self._is_watched = True
        if self._awaited is None:
            loop.call_soon(on_ready)
        else:
            self._awaited.add_done_callback(lambda _: on_ready())

    def end(self) -> None:
        """Cancel it, unless it is over; it must not wait for anything more."""
        self._awaited = None  # which leads back to the race: a cycle would keep the ledger
        if not self._is_begun:
            self._coroutine.close()
        elif not self.is_over:
            with contextlib.suppress(asyncio.CancelledError, StopIteration):
                raise AssertionError(self._coroutine.throw(asyncio.CancelledError()))

    def result(self) -> T:
        """Its value.

        Raises:
            BaseException: what it has raised.
        """
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None  # a cycle of the error and this frame would keep the ledger


class Race:
    """Runs two coroutines in the present task until one has ended, and cancels the other.

    The second is not even begun if the first needs no wait.
    """

    __slots__ = ("__weakref__", "_coming", "lanes")

    def __init__(self, first: Lane[Any], second: Lane[Any]) -> None:
        self.lanes = first, second
        self._coming: asyncio.Future[None]

    def _go_on(self) -> None:
        """Take note that a lane can go on."""
        wake(self._coming)

    def __await__(self) -> Generator[Any, None, None]:
        loop = asyncio.get_running_loop()
        try:
            for lane in self.lanes:
                lane.go_on()
                if lane.is_over:
                    return
            while not any(lane.is_over for lane in self.lanes):
                self._coming = loop.create_future()
                for lane in self.lanes:
                    lane.watch(loop, self._go_on)
                yield from self._coming
                for lane in self.lanes:
                    if lane.is_ready:
                        lane.go_on()
        finally:
            for lane in self.lanes:
                lane.end()


async def until_done(future: asyncio.Future[None]) -> None:
    """Wait for a future, as a coroutine for a race."""
    await future
