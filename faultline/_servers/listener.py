"""The listener: a listening socket that can be open, refuse, or drop every SYN, on one port throughout.

After `start` everything happens in the loop's thread. While SYNs are dropped nothing is accepted, because an emptier
queue would let clients in.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from faultline._core import steps as do
from faultline._net import sockets
from faultline._net.unix import bound, new_socket

ACCEPTS_PER_TURN = 64  # so that a flood of connects leaves turns for the conversations

RETRY_SECONDS = 0.05
LEAST_SECONDS = 0.001  # so that a cycle of closed doors of no duration leaves turns for everything else


class Listener:
    """A listening socket of TCP, and what it does to the next connect."""

    def __init__(self, sock: socket.socket, step: do.Door | None) -> None:
        self._sock = sock
        self._asked: do.Door | None = None
        self._is_open = False
        self._fillers: list[socket.socket] = []
        self._filler_addresses: set[object] = set()  # clients that are none, to be turned away
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False  # the time of the step that was asked for
        self._turn(step)
        self._asked = step

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_client: Callable[[socket.socket], None],
        on_error: Callable[[OSError], None],
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        """Accept clients from now on; `on_over` is to put the next step when the time of one is over."""
        self._loop, self._on_client, self._on_error, self._on_over = loop, on_client, on_error, on_over
        self._set_timer()
        self.resume()

    @property
    def is_open(self) -> bool:
        """Whether a client gets in now."""
        return self._is_open

    def put(self, step: do.Door | None) -> None:
        """Do to the next SYN what the step says; `None` opens. A step equal to the current one changes nothing."""
        if step == self._asked and not self._is_over:
            return
        assert self._loop is not None
        self._loop.remove_reader(self._sock.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._turn(step)
        self._asked, self._is_over = step, False
        self._set_timer()
        self.resume()

    def _turn(self, step: do.Door | None) -> None:
        fillers, self._fillers = self._fillers, []
        self._filler_addresses.update(filler.getsockname() for filler in fillers)
        self._is_open = False
        if isinstance(step, do.Vanish):
            self._fillers = sockets.fill_accept_queue(self._sock)
        elif isinstance(step, do.Refuse):
            sockets.stop_listening(self._sock)
        else:  # open; or nowhere, where no SYN comes
            sockets.start_listening(self._sock)
            self._is_open = True
        for filler in fillers:
            filler.close()

    def _set_timer(self) -> None:
        after = self._asked.for_seconds if isinstance(self._asked, (do.Refuse, do.Vanish)) else None
        if after is not None and self._loop is not None:
            self._timer = self._loop.call_later(max(after, LEAST_SECONDS), self._expire)

    def _expire(self) -> None:
        self._is_over = True
        self._on_over()

    def resume(self) -> None:
        """Accept again, if the listener is open."""
        if self._loop is not None and self._is_open:
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def narrow(self) -> None:
        """Let senders block soon, from the next connection on."""
        sockets.narrow_window(self._sock)

    def drain(self) -> None:
        """Accept the clients that wait in the queue: they came before the step that is put next."""
        while self._is_open and self._accept():
            pass

    def _accept(self) -> bool:
        """Accept some of the clients that wait; whether there may be more."""
        assert self._loop is not None
        for _ in range(ACCEPTS_PER_TURN):
            if not self._is_open:
                return False
            try:
                client, address = self._sock.accept()
            except (BlockingIOError, ConnectionError):
                return False
            except OSError as error:  # out of descriptors: others may give theirs back, which is no event
                self._loop.remove_reader(self._sock.fileno())
                self._loop.call_later(RETRY_SECONDS, self.resume)
                self._on_error(error)
                return False
            if address in self._filler_addresses:
                self._filler_addresses.discard(address)
                client.close()
                continue
            sockets.prepare(client)
            self._on_client(client)
        return True

    def close(self) -> None:
        """Close the port; clients in the queue are reset."""
        assert self._loop is not None
        self._loop.remove_reader(self._sock.fileno())
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for sock in (*self._fillers, self._sock):
            sock.close()


class UnixListener(Listener):
    """A listening Unix socket, whose file is replaced by another when it is to do something else.

    A listener can't be told to refuse and then to listen again, so there is a new one, moved over the old one's path
    by rename(2): whoever connects meets either, and never no file.
    """

    def __init__(self, path: str, step: do.Door | None) -> None:
        self.path = path
        first = new_socket()
        try:
            super().__init__(first, step)
        except BaseException:
            first.close()
            raise

    def _turn(self, step: do.Door | None) -> None:
        self._is_open = False
        before, fillers = self._sock, self._fillers
        self._fillers = []
        if isinstance(step, do.NoRoute):
            Path(self.path).unlink(missing_ok=True)
        else:
            self._sock = bound(self.path, step)
        if isinstance(step, do.Vanish):  # one that waits is all that a queue of no length takes (`unix_recvq_full`)
            self._fillers = [new_socket()]
            self._fillers[0].connect_ex(self.path)
        self._is_open = step is None
        for sock in (before, *fillers):
            if sock is not self._sock:
                sock.close()

    def narrow(self) -> None:
        """Nothing: the sender's own buffer is all there is."""

    def close(self) -> None:
        """Close, and remove the file."""
        super().close()
        Path(self.path).unlink(missing_ok=True)
