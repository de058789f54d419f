"""The time limit of a test that has servers: a hung client is named, and no connection outlasts the limit.

pytest-timeout decides when a test has a limit, and lets plugins say what happens when it is over. Here every open
server of the test run first resets its connections and turns clients away, so that no thread, task or child process of
the test waits any longer, whoever joins it while the failure travels.

Rules: `Limit.expire` runs in a signal handler, in the middle of any code of the main thread: it starts no thread, and
takes no lock but that of the watchdog, which is reentrant.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from faultline._core.fork import in_forked_child

if TYPE_CHECKING:
    from types import FrameType

    from faultline._front.seen import Seen
    from faultline._servers.endpoint import Endpoint

GRACE_SECONDS = 1.0  # for the signal handler, which can't run while the main thread is in C code
PATIENCE_SECONDS = 5.0  # for servers to end their connections
MOST_NAMED = 3


class Limit:
    """The time limit of one test.

    Attributes:
        seconds: the time that the test has.
        is_over: whether the time is over, and the connections are reset.
        message: the reason of the failure, once the time is over.
        drawings: the conversations as they were then.
    """

    def __init__(self, item: pytest.Item, settings: Any, seen: Seen) -> None:
        self._item, self._settings, self._seen = item, settings, seen
        self.seconds = float(settings.timeout)
        self.message = ""
        self.drawings: list[str] = []
        self.is_over = self._is_told = False
        self._cut: list[Endpoint] = []
        self._done = threading.Event()

    def start(self) -> None:
        """Begin the time, or begin it anew, by the signal or the thread that pytest-timeout's method asks for."""
        self.end()
        if self._settings.method == "signal" and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, self._on_signal)
            signal.setitimer(signal.ITIMER_REAL, self.seconds)
            self._item.cancel_timeout = self._cancel_signal  # type: ignore[attr-defined] # pytest-timeout calls it
        elif self._settings.method == "thread" or self._seen.thread is not threading.main_thread():
            timer = threading.Timer(self.seconds, self._exit)
            timer.name = f"faultline limit {self._item.nodeid}"
            timer.daemon = True
            timer.start()
            self._item.cancel_timeout = timer.cancel  # type: ignore[attr-defined] # the same
        # Otherwise a thread of the test, which can set no signal handler, has opened its first server: the watchdog is
        # enough.
        if self._seen.open():
            self.watch()

    def watch(self) -> None:
        """End the connections even if the main thread can't: it may wait in C code, which no signal handler leaves."""
        if self._settings.method == "signal":
            watchdog.watch(self)

    def end(self) -> None:
        """End the time, and let clients in again at the servers that outlast the test."""
        watchdog.leave(self)
        self.is_over = self._is_told = False
        self._done.clear()
        cut, self._cut = self._cut, []
        for server in cut:
            if server.is_open:
                server.cut_off(is_cut_off=False)

    def tell(self, report: pytest.TestReport) -> None:
        """Let a report begin with the reason; the test has failed, whatever it made of the failure."""
        crash = getattr(report.longrepr, "reprcrash", None)
        if self._is_told:
            return
        self._is_told = True
        if report.failed and crash is not None:
            if self.message not in str(report.longrepr):
                report.sections.append(("faultline limit", self.message))
            crash.message = self.message
        else:
            self._fail(report)

    def _fail(self, report: pytest.TestReport) -> None:
        """Fail a test that swallowed its failure, as if at its first line: pytest 8 leaves a mere text unsaid."""
        try:
            pytest.fail(self.message)
        except pytest.fail.Exception as failure:
            shown = pytest.ExceptionInfo.from_exception(failure).getrepr(style="value", chain=False)
        assert shown.reprcrash is not None  # this frame is not hidden
        shown.reprcrash.message = self.message
        shown.reprcrash.path, shown.reprcrash.lineno = str(self._item.path), (self._item.location[1] or 0) + 1
        report.outcome, report.longrepr = "failed", shown

    def note(self) -> None:
        """Write down what clients wait for."""
        limit = f"Timeout (>{self.seconds}s) from pytest-timeout."
        try:
            hung, self.drawings = self._seen.hung(), self._seen.drawings()
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the test has to end
            hung, self.drawings = [], [f"faultline can't draw the servers: {error!r}"]
        self.message = ". ".join(("; ".join(hung[:MOST_NAMED]), limit)) if hung else limit

    def cut_off(self) -> None:
        """Write down what clients wait for, then reset every connection and turn new clients away."""
        if self.is_over:
            return
        self.note()
        self.is_over = True  # before a client can go on, and its test be over
        for server in self._seen.open():
            self._cut.append(server)
            try:
                server.cut_off()
            except Exception as error:  # noqa: BLE001 - the other servers have to be cut off all the same
                self.drawings.append(f"{server!r} could not be cut off: {error!r}")
        self._done.set()

    # --- the signal --------------------------------------------------------------------------------------------------

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        __tracebackhide__ = True
        self.expire()

    def _cancel_signal(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def expire(self) -> None:
        """Fail the test, in the main thread."""
        __tracebackhide__ = True
        import pytest_timeout  # type: ignore[import-untyped]

        if not self._settings.disable_debugger_detection and pytest_timeout.is_debugging():
            watchdog.leave(self)
            return
        if not self._seen.open() and not self.is_over:
            pytest_timeout.timeout_sigalrm(self._item, self._settings)
        dump_stacks(self._item.config.get_terminal_writer())  # before the threads go on
        watchdog.hurry(self)
        self._done.wait(PATIENCE_SECONDS)
        pytest.fail(self.message)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _exit(self) -> None:
        """End the process and so its connections, as pytest-timeout does: a thread can't stop the main thread."""
        import pytest_timeout

        if not self._settings.disable_debugger_detection and pytest_timeout.is_debugging():
            return
        if self._seen.open():
            self.note()
            capture = self._item.config.pluginmanager.getplugin("capturemanager")
            if capture is not None:
                capture.suspend_global_capture(in_=True)
            # A worker of pytest-xdist has no terminal; its standard error is that of the run.
            is_worker = hasattr(self._item.config, "workerinput")
            terminal: Any = sys.__stderr__ if is_worker else self._item.config.get_terminal_writer()
            terminal.write("\n".join(("", self._item.nodeid, self.message, *self.drawings, "")))
            terminal.flush()
            pytest_timeout.dump_stacks = dump_stacks  # without the threads of faultline; the process ends here
        pytest_timeout.timeout_timer(self._item, self._settings)


def start_late(item: pytest.Item, seconds: float) -> None:
    """Give a test that runs a time limit from now on, as pytest-timeout does at the beginning of a test."""
    import pytest_timeout

    method = item.config.getoption("timeout_method") or item.config.getini("timeout_method") or "signal"
    settings = pytest_timeout.Settings(seconds, method, func_only=False, disable_debugger_detection=False)
    item.ihook.pytest_timeout_set_timer(item=item, settings=settings)


class Watchdog:
    """A thread that ends the connections of a test whose time is over.

    It begins with the first test that has a limit and an open server, and serves all tests of the process.
    """

    def __init__(self) -> None:
        self.begin()
        in_forked_child(self.begin)  # a test may go on in a fork (pytest-forked), which has no thread

    def begin(self) -> None:
        """Begin without a thread and without limits."""
        self._changed = threading.Condition()
        self._limits: list[Limit] = []  # of nested runs of pytest; the last counts
        self._due: Limit | None = None
        self._thread: threading.Thread | None = None

    def watch(self, limit: Limit) -> None:
        """Cut the servers off a moment after the time of this limit, counted from now."""
        with self._changed:
            if limit not in self._limits:
                self._limits.append(limit)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="faultline limit", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def leave(self, limit: Limit) -> None:
        """Forget a limit; forgetting it again does nothing."""
        with self._changed:
            if limit is self._due:
                self._due = None
            if limit in self._limits:
                self._limits.remove(limit)
                self._changed.notify_all()

    def hurry(self, limit: Limit) -> None:
        """Cut the servers off now, in the watchdog's thread, unless that has been done."""
        with self._changed:
            self._due = None if limit.is_over else limit
            self.watch(limit)

    def _run(self) -> None:
        while True:
            with self._changed:
                limit = self._due
                if limit is None:
                    limit = self._limits[-1] if self._limits else None
                    is_told = self._changed.wait(limit.seconds + GRACE_SECONDS if limit else None)
                    if limit is None or is_told or limit not in self._limits:
                        continue  # with the limits that there are now
                self.leave(limit)
            limit.cut_off()


watchdog = Watchdog()


def stacks_of_others() -> list[tuple[threading.Thread, FrameType]]:
    """The other threads that run now, without those of faultline, which say nothing about the test."""
    frames = sys._current_frames()  # noqa: SLF001 - what pytest-timeout reads too; there is no other way
    return [
        (thread, frames[thread.ident])
        for thread in threading.enumerate()
        if thread is not threading.current_thread()
        and thread.ident in frames
        and not thread.name.startswith("faultline")
    ]


def dump_stacks(terminal: Any) -> None:
    """Write the stacks of the other threads to the terminal."""
    for thread, frame in stacks_of_others():
        terminal.sep("~", title=f"Stack of {thread.name} ({thread.ident})")
        terminal.write("".join(traceback.format_stack(frame)))
