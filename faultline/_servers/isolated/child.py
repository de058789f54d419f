"""The program of the child process: servers that do what their parent asks, and end with it.

Rules of this room: each question has a thread of its own, because some wait; answers go back as they come.
"""

from __future__ import annotations

import itertools
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from faultline._core import chance
from faultline._core.check import rejected
from faultline._core.errors import ServerError
from faultline._core.gate import gates
from faultline._servers.server import Server


class Servers:
    """The servers of the child, by number."""

    def __init__(self) -> None:
        self._servers: dict[int, Server] = {}
        self._numbers = itertools.count(1)

    def do(self, number: int | None, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What one of them returns; `start` makes one."""
        if number is None:
            plan, scope = args
            if scope:
                chance.enter(scope)
            server = Server(plan, **kwargs)
            number = next(self._numbers)
            self._servers[number] = server
            return number, (server.host, server.port, server.url.startswith("https"), server.address)
        server = self._servers[number]
        match method:
            case "now":
                return server.ledger.now()
            case "stop":
                return self._stop(number)
            case _:
                value = getattr(server, method)
                return value(*args, **kwargs) if callable(value) else value

    def _stop(self, number: int) -> Any:
        server = self._servers[number]
        try:
            server.close()
        except ServerError as error:
            return server.attempts, error, error.__cause__
        return server.attempts, None, None

    def forget(self, number: int) -> None:
        """Its owner asks no more; it was closed, or is closed now."""
        self._stop(number)
        del self._servers[number]

    def close(self) -> None:
        """Stop those that their owner left open."""
        for number in list(self._servers):
            self._stop(number)


def loaded(packed: bytes) -> Any:
    """The arguments of a call.

    Raises:
        ParameterError: something in them is of a module that this process hasn't got.
    """
    try:
        return pickle.loads(packed)  # noqa: S301 - of our parent
    except (AttributeError, ImportError) as error:
        raise rejected("isolated", True, f"a plan that another process can have: {error}") from None


def main(descriptor: int) -> None:
    """Serve until the parent says that it is enough, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    connection, servers, sending = Connection(descriptor), Servers(), threading.Lock()

    def answer(number: int, server: int | None, method: str, packed: bytes) -> None:
        value, error = None, None
        try:
            args, kwargs = loaded(packed)
            value = servers.do(server, method, args, kwargs)
        except Exception as raised:  # noqa: BLE001 - it is the parent's
            error = raised
        with sending:
            connection.send((number, value, error))

    try:
        while (message := connection.recv()) is not None:
            number, server, _, what = message
            if number is None and server is None:
                gates.find(what).open()
            elif number is None:
                servers.forget(server)
            else:
                threading.Thread(target=answer, args=message, daemon=True).start()
    except (EOFError, OSError):
        pass
    servers.close()
    sys.stdout.flush()
