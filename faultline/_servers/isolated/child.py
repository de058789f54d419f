"""The program of the child process: runs servers, answers the calls of its parent, and ends with it.

Each call runs in its own thread, because some calls wait; results go back in the order in which they are ready.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from faultline._core import chance
from faultline._core.attempts import Attempt
from faultline._core.check import rejected
from faultline._core.gate import gates
from faultline._core.ledger import Ledger
from faultline._core.sight import Sight
from faultline._servers.running import Running, Setup

if TYPE_CHECKING:
    from faultline._servers.address import Address


class Servers:
    """The servers of the child, by number."""

    def __init__(self) -> None:
        self._servers: dict[int, Running] = {}
        self._numbers = itertools.count(1)

    def do(self, number: int | None, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of a server and return its value; without a number, start a server."""
        if number is None:
            return self._start(*args)
        if method == "stop":
            return self._stop(number)
        running = self._servers[number]
        if method in ("ca_file", "crl_file", "client_cert_file"):
            return getattr(running.authority, method)
        if method in ("now", "wait"):
            return getattr(running.ledger, method)(*args)
        if method == "attempts":
            running.settle()
            return running.ledger.attempts
        value = getattr(running, method)
        return value(*args, **kwargs) if callable(value) else value  # sight, or become, control, before_connect

    def _start(self, setup: Setup, scope: str) -> tuple[int, Address]:
        if scope:
            chance.enter(scope)
        running, number = Running(setup, Ledger()), next(self._numbers)
        self._servers[number] = running
        return number, running.address

    def _stop(self, number: int) -> tuple[tuple[Attempt, ...], float, Sight, list[BaseException]]:
        running = self._servers[number]
        errors = [sendable(error) for error in running.stop()]
        return running.ledger.attempts, running.ledger.now(), running.sight, errors

    def forget(self, number: int) -> None:
        """Stop and drop a server that the parent no longer uses."""
        self._stop(number)
        del self._servers[number]

    def close(self) -> None:
        """Stop the servers that the parent left open."""
        for number in list(self._servers):
            self._stop(number)


def sendable(error: BaseException) -> BaseException:
    """The error itself, or a `RuntimeError` with its text if it can't be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled here
    except Exception:  # noqa: BLE001 - any failure means that it can't be sent
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def loaded(packed: bytes) -> Any:
    """The arguments of a call.

    Raises:
        ParameterError: a value is of a module that this process can't import.
    """
    try:
        return pickle.loads(packed)  # noqa: S301 - pickled by the parent
    except (AttributeError, ImportError) as error:
        raise rejected("isolated", True, f"a plan that can be sent to another process: {error}") from None


class Program:
    """Answers the calls of the parent, each in its own thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._servers = Servers()
        self._sending = threading.Lock()

    def run(self) -> None:
        """Serve until the parent asks to stop, or has ended."""
        with contextlib.suppress(EOFError, OSError):
            while (message := self._connection.recv()) is not None:
                self._take(*message)
        self._servers.close()

    def _take(self, number: int | None, server: int | None, method: str, what: Any) -> None:
        """Handle a message: a call, a server to forget, or a gate to open."""
        if number is not None:
            try:
                call = loaded(what)  # in this thread, so that the next message can open a gate in it
            except Exception as error:  # noqa: BLE001 - sent to the parent
                self._answer(number, error=error)
            else:
                threading.Thread(target=self._do, args=(number, server, method, *call), daemon=True).start()
        elif server is not None:
            self._servers.forget(server)
        else:
            gates.find(what).open()

    def _do(self, number: int, server: int | None, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            value = self._servers.do(server, method, args, kwargs)
        except Exception as error:  # noqa: BLE001 - sent to the parent
            self._answer(number, error=error)
        else:
            self._answer(number, value)

    def _answer(self, number: int, value: Any = None, error: BaseException | None = None) -> None:
        with self._sending, contextlib.suppress(OSError):  # the parent may have ended
            self._connection.send((number, value, error))


def main(descriptor: int) -> None:
    """Serve until the parent asks to stop, or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    Program(Connection(descriptor)).run()
    sys.stdout.flush()
