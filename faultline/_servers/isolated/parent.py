"""Servers in a child process, for a test whose main thread holds the interpreter: their timing is not its hostage.

Rules of this room: one child for all isolated servers of a process, started by the first; it ends when its parent
does. What crosses over is pickled: a plan with a function in it can't, and a gate is known on both sides by its
number.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
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
from faultline._core.gate import Gate, Number, gates
from faultline._core.ledger import Attempt, Ledger
from faultline._core.plan import Plan, checked_plan, draws_chance, faults_of
from faultline._net.connects import Watch
from faultline._servers.server import Server

if TYPE_CHECKING:
    import ssl

    from faultline._core.points import Point

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
            ServerError: the child has ended.
        """
        if os.getpid() != self._owner:  # pragma: no cover - in a fork, where nobody counts
            raise ServerError("a server of the process that this one was forked from: expected to be asked there.")
        if not self.is_alive:
            raise ServerError("the child process of isolated servers has ended.")
        future: Future[Any] = Future()
        number = next(self._numbers)
        self._asked[number] = future
        for gate in gates_in((args, kwargs)):
            self._tell(gate)
        self._send((number, server, method, pickle.dumps((args, kwargs))))
        return future.result()

    def forget(self, server: int) -> None:
        """Nobody asks for this server any more; a collector says so, and may do that in the middle of `_send`."""
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


def gates_in(value: object) -> list[Gate]:
    """The gates that pickling this would meet.

    Raises:
        ParameterError: it can't be pickled.
    """
    before = gates.seen
    found: list[Gate] = []
    gates.seen = found
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise rejected("isolated", True, f"a plan that another process can have: {error}") from None
    finally:
        gates.seen = before
    return found


class FarLedger(Ledger):
    """The ledger of a server in the child, as it is when it is asked."""

    def __init__(self, server: IsolatedServer) -> None:
        super().__init__()
        self._server = server

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Frozen copies of all attempts so far."""
        return self._server.attempts

    def now(self) -> float:
        """Seconds since the server began."""
        return float(self._server.ask("now"))


class IsolatedServer(Server):
    """A server in the child process; what it does and says is a server's."""

    def __init__(self, plan: Plan, **arguments: Any) -> None:
        self._plans = [checked_plan(plan)]
        self._faults = faults_of(plan)
        self._closed = False
        self._last: tuple[Attempt, ...] = ()
        self._address: tuple[str, int]
        self._watch: Watch | None = None
        self._errors = []
        self._child = child()
        gates_in(plan)
        scope = chance.generator().randbytes(8).hex() if draws_chance(plan) else ""
        self._number, facts = self._child.call(None, "start", plan, scope, **arguments)
        self.host, self.port, self._tls, self._address = facts
        self._strict = bool(arguments.get("strict", True))
        self.ledger = FarLedger(weakref.proxy(self))
        weakref.finalize(self, self._child.forget, self._number)
        self._watch_arrivals()

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What the server in the child returns or raises.

        Raises:
            ServerError: its process has ended.
        """
        return self._child.call(self._number, method, *args, **kwargs)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine, as `socket.create_connection` takes them."""
        return self._address

    @property
    def ca_file(self) -> str:
        """The path of the certificate of the child's own test CA as PEM."""
        return str(self.ask("ca_file"))

    @property
    def crl_file(self) -> str:
        """The path of that CA's revocation list as PEM."""
        return str(self.ask("crl_file"))

    @property
    def client_cert_file(self) -> str:
        """The path of a client's key and certificate as PEM, issued by that CA."""
        return str(self.ask("client_cert_file"))

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies, and trusts the child's test CA and nothing else."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.ca_file)
        if certificate:
            context.load_cert_chain(self.client_cert_file)
        return context

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What happened, attempt by attempt."""
        if not self._closed:
            self._last = self.ask("attempts")
        return self._last

    def wait_for_attempts(
        self, count: int, timeout_seconds: float = 10.0, *, at: Point | Literal["end"] = "accept"
    ) -> tuple[Attempt, ...]:
        """Wait until so many attempts have begun, or have come to the point `at`; see `Server`."""
        attempts: tuple[Attempt, ...] = self.ask("wait_for_attempts", count, timeout_seconds, at=at)
        return attempts

    def become(self, plan: Plan, *, open_too: bool = False) -> None:
        """Change the plan, on the same port and at once; see `Server`."""
        self.ask("become", plan, open_too=open_too)
        self._plans.append(plan)
        self._faults = faults_of(plan)
        self._watch_arrivals()

    def close(self) -> None:
        """Stop now; see `Server`."""
        if not self._closed:
            try:
                self._forget_arrivals()
                self._last, error, cause = self.ask("stop")
            finally:
                self._closed = True
            if error is not None:
                raise error from cause
        self._raise_errors()

    def reset_all(self) -> int:
        """Send RST on every open connection; see `Server`."""
        return int(self.ask("reset_all"))

    def close_all(self) -> int:
        """Send FIN on every open connection; see `Server`."""
        return int(self.ask("close_all"))

    def pause(self) -> int:
        """Let no byte pass; see `Server`."""
        return int(self.ask("pause"))

    def resume(self) -> int:
        """Let bytes pass again; see `Server`."""
        return int(self.ask("resume"))

    def partition(self) -> int:
        """Let all packets from clients vanish; see `Server`."""
        return int(self.ask("partition"))

    def heal(self) -> int:
        """Let packets pass again; see `Server`."""
        return int(self.ask("heal"))

    def _on_connect(self) -> None:
        try:
            self.ask("_on_connect")
        except ServerError as error:  # it is ours, and must not become the client's
            self._errors.append(error)
