"""The parent's link to the child process: starts the child, and calls methods of its servers.

There is one child for all isolated servers of a process; the first server starts it, and it ends with its parent.
Arguments and results are pickled, which a plan with a local function can't be. A gate has the same number on both
sides.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import io
import itertools
import os
import pickle
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from faultline._core.check import rejected
from faultline._core.errors import ServerError
from faultline._core.fork import FORKED, in_forked_child
from faultline._core.gate import Gate, Number

PROGRAM = "import sys; sys.path[:] = {path!r}; from faultline._servers.isolated.child import main; main({number})"


class Child:
    """The child process, and the calls that wait for its answers."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):  # `socket.setdefaulttimeout`, and sockets of gevent, make them non-blocking
            os.set_blocking(end.fileno(), True)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, with the program above
                [sys.executable, "-c", PROGRAM.format(path=sys.path, number=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._calls: dict[int, Future[Any]] = {}
        self._sent_gates: set[Number] = set()
        self._forgotten: collections.deque[int] = collections.deque()
        self._owner = os.getpid()
        self.is_alive = True
        self._reader = threading.Thread(target=self._read, name="faultline child", daemon=True)
        self._reader.start()

    def call(self, server: int | None, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a server in the child, and wait for its value or error.

        Raises:
            ParameterError: the arguments can't be pickled.
            ServerError: the child has ended, or this process is a fork of the child's parent.
        """
        if os.getpid() != self._owner:  # pragma: no cover - coverage is not measured in a fork
            raise ServerError(FORKED)
        if not self.is_alive:
            raise ServerError("the child process of isolated servers has ended.")
        packed, gates = pack((args, kwargs))
        future: Future[Any] = Future()
        number = next(self._numbers)
        self._calls[number] = future
        self._send((number, server, method, packed))
        for gate in gates:  # after the call, so that the child has the gate before the message that opens it
            self._send_when_open(gate)
        return future.result()

    def forget(self, server: int) -> None:
        """Stop a server that is no longer used; the garbage collector may call this in the middle of `_send`."""
        self._forgotten.append(server)
        if self._sending.acquire(blocking=False):
            self._sending.release()
            self._send(None)

    def _send_when_open(self, gate: Gate) -> None:
        """Tell the child when this gate is opened here."""
        if gate.number not in self._sent_gates:
            self._sent_gates.add(gate.number)
            gate.when_open(partial(self._send, (None, None, "open", gate.number)))

    def _send(self, message: object) -> None:
        if os.getpid() != self._owner:  # pragma: no cover - in a fork, whose gates are copies
            return
        try:
            with self._sending:
                while self._forgotten:
                    self._connection.send((None, self._forgotten.popleft(), "forget", None))
                if message is not None:
                    self._connection.send(message)
        except OSError:
            self._fail()

    def _read(self) -> None:
        try:
            while True:
                self._take(*self._connection.recv())
        except Exception:  # noqa: BLE001 - after any error no call can be answered
            self._fail()

    def _take(self, number: int, value: Any, error: Exception | None) -> None:
        """Give an answer to the call that waits for it, and keep no reference to it."""
        future = self._calls.pop(number)
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def _fail(self) -> None:
        self.is_alive = False
        asked, self._calls = self._calls, {}
        for future in asked.values():
            future.set_exception(ServerError("the child process of isolated servers has ended."))

    def release(self) -> None:  # pragma: no cover - coverage is not measured in a fork
        """Close this process's copy of the connection in a fork, so that the child ends with its own parent."""
        self._connection.close()
        self._process.returncode = 0

    def stop(self) -> None:
        """End the child process; called only at exit."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.wait()
        self._reader.join()
        self._connection.close()


_lock = threading.Lock()
_child: Child | None = None


def child() -> Child:
    """The child of this process, which is started by the first call."""
    global _child  # noqa: PLW0603 - there is one child per process
    with _lock:
        if _child is None or not _child.is_alive:
            _child = Child()
            atexit.register(_child.stop)
        return _child


@in_forked_child
def _forget() -> None:  # pragma: no cover - coverage is not measured in a fork
    """Drop the parent's child process and the lock in a forked process."""
    global _child, _lock
    if _child is not None:
        atexit.unregister(_child.stop)
        _child.release()
    _child, _lock = None, threading.Lock()


class Packer(pickle.Pickler):
    """Pickles a value, and collects the gates in it.

    Attributes:
        gates: the gates that were found.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.gates: list[Gate] = []

    def reducer_override(self, obj: object) -> Any:
        """Collect a gate; every object is pickled as usual."""
        if isinstance(obj, Gate):
            self.gates.append(obj)
        return NotImplemented


def pack(value: object) -> tuple[bytes, list[Gate]]:
    """Pickle a value; return the bytes and the gates in the value.

    Raises:
        ParameterError: the value can't be pickled.
    """
    file = io.BytesIO()
    packer = Packer(file)
    try:
        packer.dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise rejected("isolated", True, f"a plan that can be sent to another process: {error}") from None
    return file.getvalue(), packer.gates
