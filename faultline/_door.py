"""The door: the listening socket, which can be open, refuse, or drop every SYN, on one port throughout.

Rules of this room: after `start` everything happens in the loop's thread. While the door drops SYNs nobody
accepts, because an emptier queue would let clients in.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from faultline import _net
from faultline._steps import Step, Vanish

ACCEPTS_PER_TURN = 64  # so that a flood of connects leaves turns for the conversations


class Door:
    """Where clients come in, or don't."""

    def __init__(self, host: str, port: int, step: Step | None) -> None:
        self._sock = _net.claim(host, port)
        self._step: Step | None = None
        self._fillers: list[socket.socket] = []
        self._filler_addresses: set[object] = set()  # who is to be turned away when the door opens again
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port: int = self._sock.getsockname()[1]
        self._turn(step)

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_client: Callable[[socket.socket], None],
        on_error: Callable[[OSError], None],
    ) -> None:
        """Let clients in from now on."""
        self._loop, self._on_client, self._on_error = loop, on_client, on_error
        self.resume()

    def put(self, step: Step | None) -> None:
        """Do to the next SYN what the step says; `None` opens."""
        if step == self._step:
            return
        assert self._loop is not None
        self._loop.remove_reader(self._sock.fileno())
        while self._step is None and self._accept():
            pass  # who is in the queue came before
        self._turn(step)
        self.resume()

    def _turn(self, step: Step | None) -> None:
        fillers, self._fillers = self._fillers, []
        if step is None:
            _net.open_door(self._sock)
        elif isinstance(step, Vanish):
            self._fillers = _net.fill_door(self._sock)
        elif self._step is not None or self._loop is not None:
            _net.shut_door(self._sock)
        self._step = step
        self._filler_addresses.update(filler.getsockname() for filler in self._fillers)
        for filler in fillers:
            filler.close()

    def resume(self) -> None:
        """Accept again, if the door is open."""
        if self._loop is not None and self._step is None:
            self._loop.add_reader(self._sock.fileno(), lambda: self._accept() and None)

    def _accept(self) -> bool:
        """Let in who waits; whether there may be more."""
        assert self._loop is not None
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, address = self._sock.accept()
            except (BlockingIOError, ConnectionError):
                return False
            except OSError as error:  # out of descriptors: wait until a conversation ends
                self._loop.remove_reader(self._sock.fileno())
                self._on_error(error)
                return False
            if address in self._filler_addresses:
                self._filler_addresses.discard(address)
                client.close()
                continue
            _net.prepare(client)
            self._on_client(client)
        return True

    def close(self) -> None:
        """Close the port; nobody waits any more."""
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        for sock in (*self._fillers, self._sock):
            sock.close()
