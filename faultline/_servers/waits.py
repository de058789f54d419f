"""The waits of an endpoint: for a thread that blocks, and for async code under asyncio and trio.

Rules: import neither library, because the library that runs is loaded. A cancelled wait leaves no thread behind.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from faultline._core.attempts import Attempt
from faultline._core.calls import explained
from faultline._core.check import choice, seconds, whole
from faultline._core.errors import UnsupportedError, WaitError
from faultline._core.ledger import Ledger
from faultline._core.milestones import MILESTONES, Milestone

PIECE_SECONDS = 0.05  # a thread looks this often whether its wait was cancelled
Wait = Callable[[float], None]


class Waits(ABC):
    """The waits for the attempts of an endpoint.

    Attributes:
        ledger: the record of all attempts.
    """

    ledger: Ledger

    @property
    @abstractmethod
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts so far, with everything that a client can have observed, as a tuple of `Attempt`."""

    @abstractmethod
    def _check_process(self) -> None:
        """Check that the endpoint is of this process.

        Raises:
            ServerError: this process is a fork of its process.
        """

    @explained
    def wait_for_attempts(
        self, count: int, timeout_seconds: float = 10.0, *, at: Milestone = "accept"
    ) -> tuple[Attempt, ...]:
        r"""Wait until this many attempts have begun, or have reached a point, and return all attempts.

        This blocks the thread; in async code use `await server.arrived(1)`.

        Args:
            count: how many attempts, counted from the start of the server.
            timeout_seconds: how long to wait at most.
            at: the point that the attempts have to reach: `"response"` waits until the requests have been read,
                `"strike"` until their faults have struck, and `"end"` until the attempts are over; `"client_end"`,
                `"server_end"` and `"upstream_end"` wait until this side has ended at least its own direction.

        Raises:
            ParameterError: a value is out of its range, or `at` is not a point and none of these words.
            WaitError: fewer attempts have reached the point after `timeout_seconds`.

        Example:
            >>> import faultline, socket
            >>> with faultline.serve(faultline.stall()) as server, socket.create_connection(server.address) as client:
            ...     client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            ...     [attempt.point for attempt in server.wait_for_attempts(1, at="response")]
            ['response']
        """
        self._wait_for(count, at)(seconds("timeout_seconds", timeout_seconds))
        return self.attempts

    @explained
    async def arrived(
        self, count: int, timeout_seconds: float = 10.0, *, at: Milestone = "accept"
    ) -> tuple[Attempt, ...]:
        """Wait as `wait_for_attempts` does, while other tasks of asyncio or trio run: `await server.arrived(2)`.

        Args:
            count: how many attempts, counted from the start of the server.
            timeout_seconds: how long to wait at most.
            at: the point that the attempts have to reach, or `"strike"`, `"end"` and so on.

        Raises:
            ParameterError: a value is out of its range, or `at` is not a point and none of these words.
            UnsupportedError: neither asyncio nor trio runs this code.
            WaitError: fewer attempts have reached the point after `timeout_seconds`.

        Example:
            >>> import asyncio, faultline
            >>> async def client(server):
            ...     _, writer = await asyncio.open_connection(*server.address)
            ...     writer.close()
            ...     [attempt] = await server.arrived(1, at="end")
            ...     return attempt.ended_by
            >>> with faultline.serve(faultline.ok()) as server:
            ...     asyncio.run(client(server))
            'client'
        """
        await awaited(self._wait_for(count, at), seconds("timeout_seconds", timeout_seconds))
        return self.attempts

    @explained
    def wait_for_strike(self, timeout_seconds: float = 10.0) -> Attempt:
        """Wait until a fault has struck, and return the attempt that it struck.

        In async code, `await server.arrived(1, at="strike")` waits for it.

        Args:
            timeout_seconds: how long to wait at most.

        Raises:
            ParameterError: `timeout_seconds` is out of its range.
            WaitError: no fault has struck after `timeout_seconds`.

        Example:
            >>> import faultline, socket
            >>> with faultline.serve(faultline.close(at="accept")) as server:
            ...     with socket.create_connection(server.address):
            ...         server.wait_for_strike().struck.point
            'accept'
        """
        attempts = self.wait_for_attempts(1, timeout_seconds, at="strike")
        return next(attempt for attempt in attempts if attempt.struck is not None)

    def _wait_for(self, count: int, at: Milestone) -> Callable[[float], None]:
        """A wait for attempts, with its parameters checked.

        Raises:
            ParameterError: a value is out of its range.
            ServerError: this process is a fork of the endpoint's process.
        """
        whole("count", count, "")
        choice("at", at, MILESTONES)
        self._check_process()
        return partial(self.ledger.wait, count, at)


async def awaited(wait: Wait, timeout_seconds: float) -> None:
    """Run a blocking wait in a thread of its own, while other tasks run.

    Args:
        wait: waits for a number of seconds, and raises `WaitError` after it.
        timeout_seconds: how long to wait at most.

    Raises:
        WaitError: the wait was not over after `timeout_seconds`.
        UnsupportedError: neither asyncio nor trio runs this code.
    """
    wake, woken = in_trio() or in_asyncio()
    outcome: list[BaseException] = []
    is_over = threading.Event()

    def run() -> None:
        try:
            in_pieces(wait, timeout_seconds, is_over)
        except BaseException as error:  # noqa: BLE001 - raised in the task
            outcome.append(error)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            wake()

    threading.Thread(target=run, name="faultline wait", daemon=True).start()
    try:
        await woken()
    finally:
        is_over.set()
    if outcome:
        raise outcome[0]


def in_pieces(wait: Wait, timeout_seconds: float, is_over: threading.Event) -> None:
    """Wait in short pieces, until the wait is over or nobody waits for it any more.

    Raises:
        WaitError: the wait was not over after `timeout_seconds`.
    """
    left = timeout_seconds
    while not is_over.is_set():
        piece = min(left, PIECE_SECONDS)
        try:
            wait(piece)
        except WaitError as error:
            left -= piece
            if left <= 0:
                text = str(error).replace(f" within {piece:g} s", f" within {timeout_seconds:g} s")
                raise WaitError(text) from None
        else:
            return


def in_trio() -> tuple[Callable[[], Any], Callable[[], Awaitable[Any]]] | None:
    """A function that wakes a task of trio from a thread, and the wait for it; `None` if trio doesn't run this."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        token = trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
    event = trio.Event()
    return lambda: token.run_sync_soon(event.set), event.wait


def in_asyncio() -> tuple[Callable[[], Any], Callable[[], Awaitable[Any]]]:
    """A function that wakes a task of asyncio from a thread, and the wait for it.

    Raises:
        UnsupportedError: asyncio doesn't run this code either.
    """
    asyncio = sys.modules.get("asyncio")
    try:
        loop = asyncio.get_running_loop() if asyncio is not None else None
    except RuntimeError:
        loop = None
    if asyncio is None or loop is None:
        raise UnsupportedError(
            "arrived(): expected code that asyncio or trio runs; wait_for_attempts() waits elsewhere."
        )
    event = asyncio.Event()
    return lambda: loop.call_soon_threadsafe(event.set), event.wait
