"""The child process, and the questions that its parent asks it.

There is one child for all isolated servers of a process, started by the first; it ends when its parent does. Values
that cross over are pickled: a plan with a function in it can't be, and a gate is known on both sides by its number.
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
from faultline._core.fork import in_forked_child
from faultline._core.gate import Gate, Number

PROGRAM = "import sys; sys.path[:] = {path!r}; from faultline._servers.isolated.child import main; main({number})"


class Child:
    """The child process, and what was asked of it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, and a program of ours
                [sys.executable, "-c", PROGRAM.format(path=sys.path, number=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._asked: dict[int, Future[Any]] = {}
        self._told: set[Number] = set()
        self._forgotten: collections.deque[int] = collections.deque()
        self._owner = os.getpid()
        self.is_alive = True
        self._reader = threading.Thread(target=self._read, name="faultline child", daemon=True)
        self._reader.start()

    def call(self, server: int | None, method: str, *args: Any, **kwargs: Any) -> Any:
        """Have a server of the child do something, and wait for what that returns or raises.

        Raises:
            ParameterError: the arguments can't be pickled.
            ServerError: the child has ended, or this is a fork of its parent.
        """
        if os.getpid() != self._owner:  # pragma: no cover - in a fork, where nobody counts
            raise ServerError("a server of the process that this one was forked from: expected to be asked there.")
        if not self.is_alive:
            raise ServerError("the child process of isolated servers has ended.")
        packed, gates = pack((args, kwargs))
        future: Future[Any] = Future()
        number = next(self._numbers)
        self._asked[number] = future
        self._send((number, server, method, packed))
        for gate in gates:  # later, so that the child has the gate when it hears that it was opened
            self._tell(gate)
        return future.result()

    def forget(self, server: int) -> None:
        """Stop this server, which can be asked no more; a collector may call this in the middle of `_send`."""
        self._forgotten.append(server)
        if self._sending.acquire(blocking=False):
            self._sending.release()
            self._send(None)

    def _tell(self, gate: Gate) -> None:
        """Let the child know when this gate is opened here."""
        if gate.number not in self._told:
            self._told.add(gate.number)
            gate.when_open(partial(self._send, (None, None, "open", gate.number)))

    def _send(self, message: object) -> None:
        if os.getpid() != self._owner:  # pragma: no cover - in a fork, where a gate is another one
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
        except Exception:  # noqa: BLE001 - whatever it is, nobody will be answered any more
            self._fail()

    def _take(self, number: int, value: Any, error: Exception | None) -> None:
        """An answer has come; it is kept nowhere here."""
        future = self._asked.pop(number)
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def _fail(self) -> None:
        self.is_alive = False
        asked, self._asked = self._asked, {}
        for future in asked.values():
            future.set_exception(ServerError("the child process of isolated servers has ended."))

    def let_go(self) -> None:  # pragma: no cover - in a fork, where nobody counts
        """In a forked process: it is the parent's, and should end with that one alone."""
        self._connection.close()
        self._process.returncode = 0

    def stop(self) -> None:
        """End it; only at exit."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.wait()
        self._reader.join()
        self._connection.close()


_lock = threading.Lock()
_child: Child | None = None


def child() -> Child:
    """The process's child, started if there is none."""
    global _child  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _child is None or not _child.is_alive:
            _child = Child()
            atexit.register(_child.stop)
        return _child


@in_forked_child
def _forget() -> None:  # pragma: no cover - in a fork, where nobody counts
    """In a forked child: the other is its parent's, and so is the lock's state."""
    global _child, _lock
    if _child is not None:
        atexit.unregister(_child.stop)
        _child.let_go()
    _child, _lock = None, threading.Lock()


class Packer(pickle.Pickler):
    """Pickles a value, and keeps the gates in it."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.gates: list[Gate] = []

    def reducer_override(self, obj: object) -> Any:
        """Pickle a gate, and everything else, as it says itself."""
        if isinstance(obj, Gate):
            self.gates.append(obj)
        return NotImplemented


def pack(value: object) -> tuple[bytes, list[Gate]]:
    """A pickled value, and the gates in it.

    Raises:
        ParameterError: it can't be pickled.
    """
    file = io.BytesIO()
    packer = Packer(file)
    try:
        packer.dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise rejected("isolated", True, f"a plan that another process can have: {error}") from None
    return file.getvalue(), packer.gates
