"""The background loop: one daemon thread with one event loop for all servers of a process.

The first server starts the thread, which idles while there are no servers. A forked child starts its own.

Rules: loading the pytest plugin must not import this module, because it imports asyncio.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextlib
import contextvars
import os
import selectors
import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from faultline._core import clock, own_thread
from faultline._core.errors import ServerError
from faultline._core.fork import FORKED, in_forked_child
from faultline._net import connects, system
from faultline._net.departures import Departures, wake
from faultline._servers.opened import opened

if TYPE_CHECKING:
    Base = selectors.DefaultSelector
else:
    Base = system.Selector

T = TypeVar("T")
Owner = Callable[[BaseException], None]
# Weak, because the loop keeps a cancelled timer, and its context, until its time.
OWNER: contextvars.ContextVar[weakref.WeakMethod[Owner] | None] = contextvars.ContextVar("owner", default=None)
CALL_SECONDS = 10.0
CALL_SLICES = 40
QUIET_TURNS = 8  # a byte takes four turns of the loop: poll, reader, future, task; TLS and a relay's tasks add some
MOST_TURNS = 1000  # the limit while clients keep the loop busy
BUSY_TURNS = 40  # which read 10 MiB of each connection; then the limit is BUSY_SECONDS
BUSY_SECONDS = 0.05
MOST_BUSY_SECONDS, PAUSE_SECONDS = 0.004, 0.0001


class Selector(Base):
    """A selector that counts its events, and lets the other threads of the process run.

    A thread that waits for the interpreter asks for it after 5 ms in which nobody has released it (`take_gil` in
    CPython's ceval_gil). A busy loop releases it in each turn, for less time than the thread takes to wake up, so that
    a client in the main thread could wait for a second. So a loop that has not waited for events for some time pauses.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self._waited = clock.now()
        self._never = _thread.allocate_lock()  # `time.sleep` may be another library's
        self._never.acquire()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events, and count them."""
        began = clock.now()
        events: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        self.seen += len(events)
        clock.Turn.began = now = clock.now()
        if now - began >= PAUSE_SECONDS:
            self._waited = now
        elif now - self._waited > MOST_BUSY_SECONDS:
            self._never.acquire(timeout=PAUSE_SECONDS)
            self._waited = clock.Turn.began = clock.now()
        return events


class Loop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, whose servers own the callbacks that they have registered, and their errors."""

    def time(self) -> float:
        """The library's own time, which no test freezes."""
        return clock.now()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Give an error in a callback to the server that has registered it."""
        error, handle = context.get("exception"), context.get("handle")
        # The context of a callback is that of its registration (PEP 567), and a handle has no public name for it.
        owned_by = None if error is None or handle is None else handle._context.get(OWNER)  # noqa: SLF001
        owner = None if owned_by is None else owned_by()
        if owner is None:
            super().call_exception_handler(context)
        else:
            owner(error)


class Background:
    """The event loop and its thread, and the objects that all servers share.

    Rules: nothing waits for the loop in the loop's own thread, where a condition of `when` and a finalizer may run.
    """

    def __init__(self) -> None:
        # Not new_event_loop(), because the program under test may have set a policy.
        self._selector = Selector()
        self.loop = Loop(self._selector)
        self.loop.set_debug(False)
        self.departures = Departures(self.loop)
        self._owner = os.getpid()
        self._begun: set[asyncio.Future[None]] = set()  # kept, because the loop keeps no task
        self._thread = threading.Thread(target=self._run, name="faultline", daemon=True)
        self._thread.start()
        connects.own(self._thread)

    def _run(self) -> None:
        own_thread.enter()
        while True:
            with contextlib.suppress(SystemExit, KeyboardInterrupt):  # in a callback; asyncio raises only these
                self.loop.run_forever()

    def call(self, function: Callable[[], T], owner: Owner | None = None) -> T:
        """Run a function in the loop's thread, and wait for its value or error.

        The owner gets the errors of the callbacks that the function registers.

        Raises:
            ServerError: as in `run`.
        """
        if own_thread.is_loops():
            return owned(function, owner)
        outcome = Outcome[T]()
        self._hand_over(partial(outcome.take, partial(owned, function, owner)))
        return outcome.wait()

    def run(self, begin: Callable[[], Awaitable[None] | None]) -> None:
        """Begin work in the loop's thread, and wait for its end or error; in the loop's own thread only begin it.

        Args:
            begin: a coroutine function, or a function that returns what to wait for, or `None` if the work is done.

        Raises:
            ServerError: this is a fork of the server's process, or the work did not end within CALL_SECONDS, which is
                a bug in faultline.
        """
        if own_thread.is_loops():
            self.loop.call_soon(self._begin, begin)  # after what was handed over before, such as a start
            return
        outcome = Outcome[None]()
        self._hand_over(partial(outcome.follow, partial(self._begin, begin)))
        outcome.wait()

    def _begin(self, begin: Callable[[], Awaitable[None] | None]) -> asyncio.Future[None] | None:
        work = begin()
        if work is None:
            return None
        task = asyncio.ensure_future(work, loop=self.loop)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    def _hand_over(self, function: Callable[[], None]) -> None:
        """Run a function in the loop's thread, and don't wait.

        Raises:
            ServerError: this is a fork of the server's process.
        """
        if os.getpid() != self._owner:  # pragma: no cover - in a fork, where nobody counts
            raise ServerError(FORKED)
        self.loop.call_soon_threadsafe(function)

    def settle(self) -> None:
        """Wait until the loop has handled everything that has reached it; in the loop's own thread do nothing.

        Raises:
            ServerError: this is a fork of the server's process.
        """
        if not own_thread.is_loops():
            outcome = Outcome[None]()
            self._hand_over(Settling(self, partial(outcome.take, lambda: None)).begin)
            outcome.has_come()

    async def settled(self, is_over: Callable[[], bool]) -> None:
        """As `settle`, in the loop's thread, or until `is_over()`."""
        future: asyncio.Future[None] = self.loop.create_future()
        Settling(self, partial(wake, future), is_over).begin()
        await future

    def news(self) -> int:
        """A number that grows with every event, and with every turn that a busy connection gives to the others."""
        return self._selector.seen + self.departures.given_turns

    def stop(self) -> None:
        """Close every endpoint and end every task; called only at exit.

        The thread goes on, because a function that was registered at `atexit` before may start another server.
        """
        for endpoint in opened.after(0):
            with contextlib.suppress(Exception):
                endpoint.close()
        with contextlib.suppress(Exception):
            self.run(self._end_tasks)

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Outcome(Generic[T]):
    """The value or error of work in the loop's thread, for a thread that waits for it."""

    def __init__(self) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._lock = _thread.allocate_lock()  # held until the outcome comes; cheaper than a condition
        self._lock.acquire()

    def take(self, function: Callable[[], T]) -> None:
        """Take the value or error of a function; called in the loop's thread."""
        try:
            self._value = function()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
        self._lock.release()

    def follow(self, begin: Callable[[], asyncio.Future[T] | None]) -> None:
        """Take the outcome of the task that a function begins, or the error of the function; as `take`."""
        try:
            task = begin()
        except BaseException as error:  # noqa: BLE001 - as above
            self._error = error
            task = None
        if task is None:
            self._lock.release()
        else:
            task.add_done_callback(lambda task: self.take(task.result))

    def has_come(self) -> bool:
        """Wait for the outcome; return false if it has not come within CALL_SECONDS."""
        # A pause of the whole process takes one slice.
        return any(self._lock.acquire(timeout=CALL_SECONDS / CALL_SLICES) for _ in range(CALL_SLICES))

    def wait(self) -> T:
        """Wait for the outcome, and return its value or raise its error.

        Raises:
            ServerError: the outcome has not come within CALL_SECONDS.
        """
        if not self.has_come():
            raise ServerError(f"the server's loop did not answer within {CALL_SECONDS:g} s.")
        if self._error is None:
            return self._value  # type: ignore[no-any-return] # a value of the type T
        try:
            raise self._error
        finally:
            del self  # a cycle of the error and this frame would keep the ledger


class Settling:
    """Takes turns of the loop until they bring nothing new or `is_over()`, or for a while if clients keep it busy."""

    def __init__(
        self, owner: Background, done: Callable[[], None], is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self._owner = owner
        self._done = done
        self._is_over = is_over

    def begin(self) -> None:
        """Take the first turn, and then the others."""
        self._quiet, self._turns, self._seen = 0, 0, self._owner.news()
        self._began = self._owner.loop.time()
        self._turn()

    def _turn(self) -> None:
        self._owner.departures.hurry()
        if self._owner.news() != self._seen:
            self._quiet, self._seen = 0, self._owner.news()
        if self._quiet == QUIET_TURNS or self._is_over() or self._is_long():
            self._done()
            return
        self._quiet, self._turns = self._quiet + 1, self._turns + 1
        self._owner.loop.call_soon(self._turn)

    def _is_long(self) -> bool:
        is_late = self._owner.loop.time() - self._began > BUSY_SECONDS
        return self._turns >= (BUSY_TURNS if is_late else MOST_TURNS)


def owned(function: Callable[[], T], owner: Owner | None) -> T:
    """Call a function whose callbacks belong to this owner, or to the present owner if it is `None`."""
    if owner is None:
        return function()
    token = OWNER.set(weakref.WeakMethod(owner))
    try:
        return function()
    finally:
        OWNER.reset(token)


_lock = threading.RLock()  # a finalizer may start a server while its thread holds it
_background: Background | None = None


def background() -> Background:
    """The background loop of this process, which is started by the first call."""
    global _background  # noqa: PLW0603 - there is one loop per process
    with _lock:
        if _background is None:
            _background = Background()
            atexit.register(_background.stop)
        return _background


@in_forked_child
def _forget() -> None:
    """Drop the loop and the lock in a forked child, where the thread doesn't exist."""
    global _background, _lock
    if _background is not None:
        atexit.unregister(_background.stop)
    _background, _lock = None, threading.RLock()
