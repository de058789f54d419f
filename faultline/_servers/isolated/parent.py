"""The parent's side of servers in a child process, which a busy main thread can't delay.

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
import weakref
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

from faultline._core import chance
from faultline._core.check import rejected
from faultline._core.errors import ServerError
from faultline._core.gate import Gate, Number
from faultline._core.ledger import Attempt, Ledger, reached, too_few
from faultline._core.plan import Plan, draws_chance, faults_of
from faultline._net.authority import Authority
from faultline._net.connects import Watch, forget
from faultline._servers.running import Setup

if TYPE_CHECKING:
    import ssl

    from faultline._core.points import Point
    from faultline._servers.address import Address
    from faultline._servers.connections import Control

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


def _forget() -> None:  # pragma: no cover - in a fork, where nobody counts
    """In a forked child: the other is its parent's, and so is the lock's state."""
    global _child, _lock
    if _child is not None:
        atexit.unregister(_child.stop)
        _child.let_go()
    _child, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


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


class Line:
    """The line to one server of the child, which is stopped there when nobody holds the line any more."""

    def __init__(self, setup: Setup) -> None:
        scope = chance.generator().randbytes(8).hex() if draws_chance(setup.plan) else ""
        self._child = child()
        self._number, self.address = self._child.call(None, "start", setup, scope)
        weakref.finalize(self, self._child.forget, self._number)

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What the server in the child returns or raises.

        Raises:
            ServerError: its process has ended.
        """
        return self._child.call(self._number, method, *args, **kwargs)


class RemoteLedger(Ledger):
    """The ledger of a server in the child, as it is when it is read, and at last as it was at the end."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line: Line | None = line
        self._last: tuple[Attempt, ...] = ()
        self._ended_seconds = 0.0

    def close(self, attempts: tuple[Attempt, ...], now: float) -> None:
        """Keep this, because the server can't be asked any more."""
        self._line, self._last, self._ended_seconds = None, attempts, now

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Frozen copies of all attempts so far, those under way included."""
        if self._line is not None:
            self._last = self._line.ask("attempts")
        return self._last

    def now(self) -> float:
        """Seconds since the server began, until it was closed."""
        return self._ended_seconds if self._line is None else float(self._line.ask("now"))

    def wait(self, count: int, point: Point | Literal["end"], timeout_seconds: float) -> None:
        """Wait until this many attempts have reached a point, or their end.

        Raises:
            WaitError: they have not, in time; says how many have.
        """
        if self._line is not None:
            self._line.ask("wait", count, point, timeout_seconds)
        elif reached(self._last, point) < count:
            raise too_few(self._last, count, point, timeout_seconds)


class RemoteAuthority(Authority):
    """The test CA of the child process."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def ca_file(self) -> str:
        """The path of its certificate as PEM; the file is private, and gone when the child ends."""
        return str(self._line.ask("ca_file"))

    @property
    def crl_file(self) -> str:
        """The path of its revocation list as PEM."""
        return str(self._line.ask("crl_file"))

    @property
    def client_cert_file(self) -> str:
        """The path of a client's key and certificate as PEM, in one file."""
        return str(self._line.ask("client_cert_file"))

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies, and trusts this CA and nothing else."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.ca_file)
        if certificate:
            context.load_cert_chain(self.client_cert_file)
        return context


class Remote:
    """A server at work in the child process.

    Attributes:
        address: where it listens.
        ledger: what happened there.
        authority: the CA that has signed what it shows.
    """

    def __init__(self, setup: Setup) -> None:
        self._line = Line(setup)
        self.address: Address = self._line.address
        self.ledger = RemoteLedger(self._line)
        self.authority = RemoteAuthority(self._line)
        self._errors: list[BaseException] = []
        self._watch: Watch | None = None
        self._watch_connects(setup.plan)

    def settle(self) -> None:
        """Do nothing: the ledger is settled whenever it is read."""

    def become(self, plan: Plan, *, open_too: bool) -> None:
        """Play another plan from now on; with `open_too` on the open connections as well."""
        self._line.ask("become", plan, open_too=open_too)
        self._watch_connects(plan)

    def control(self, control: Control) -> int:
        """Do something to every open connection; how many there were."""
        return int(self._line.ask("control", control))

    def stop(self) -> list[BaseException]:
        """Free the address and end every connection; the errors inside the server while it ran."""
        if self._watch is not None:
            forget(self._watch)
        attempts, now, errors = self._line.ask("stop")
        self.ledger.close(attempts, now)
        return [*errors, *self._errors]

    def _watch_connects(self, plan: Plan) -> None:
        """Count connects of this process too, if a fault of the plan happens to one."""
        if self._watch is None and any(fault.door is not None for fault in faults_of(plan)):
            line, errors = self._line, self._errors

            def on_connect() -> None:
                try:
                    line.ask("knock")
                except ServerError as error:  # it is ours, and must not become the client's
                    errors.append(error)

            self._watch = self.address.watch(on_connect)
            weakref.finalize(self, forget, self._watch)
