"""The listener: a socket that accepts clients, refuses them, or drops every SYN, and keeps its port throughout.

Rules: any thread may call `start` and `close_unused`; in between every method is called in the loop's thread. While
SYNs are dropped, no client is accepted, because a queue with room would let clients in.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from faultline._core import clock
from faultline._core import steps as do
from faultline._net import ending, sockets, system
from faultline._net.syns import Syn, Syns
from faultline._net.unix import Identity, bound, check_own, identity, new_socket
from faultline._servers.lapse import Lapse, ignore

ACCEPTS_PER_TURN = 8  # so that a flood of connects doesn't block the conversations
# Taken out of the kernel's queue, which is quick, and not begun yet: the kernel drops SYNs once its queue is full
# (net.core.somaxconn), and their clients try again after a second.
EARLY_PER_TURN, MOST_EARLY = 64, 4096
DRAIN_ACCEPTS, DRAIN_SECONDS = 1024, 0.05  # so that it doesn't block `drain`: at least this number, then for this time

RETRY_SECONDS = 0.05


class Listener:
    """A listening socket of TCP, which treats the next connect as its step says."""

    def __init__(self, sock: socket.socket, step: do.Door | None) -> None:
        self._sock = sock
        self._step: do.Door | None = None
        self._is_open = False
        self._accepts = False  # whether the loop watches for clients
        self._is_used = False  # whether a client was accepted
        self._early: deque[tuple[socket.socket, object]] = deque()  # clients that were taken out of the kernel's queue
        self._goes_on = False  # whether a further turn of the loop begins with some of them
        self._lock = _thread.allocate_lock()  # of `close_unused` with what it ends
        self._fillers: list[socket.socket] = []
        self._filler_addresses: set[object] = set()  # accepted sockets from these addresses are closed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lapse: Lapse | None = None  # the end of the step
        self._is_over = False  # whether the time of the step is over
        self._syns: Syns | None = None
        self._apply(step)
        self._step = step

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_client: Callable[[socket.socket, object], None],
        on_error: Callable[[Exception], None],
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        """Accept clients from now on: `on_client` is called with each and its address.

        `on_over` is called when the time of a step is over, to set the next step.
        """
        self._loop, self._on_client, self._on_error, self._on_over = loop, on_client, on_error, on_over
        # For a timer the loop is woken. `add_reader` needs no turn of it where `registered` does nothing.
        if do.ends_by_itself(self._step):
            loop.call_soon_threadsafe(self._set_lapse)
        self.resume()
        system.registered(loop)

    def hear(self, syns: Syns, on_syn: Callable[[Syn], None]) -> None:
        """From now on drop each SYN instead of refusing it, and call `on_syn`, which answers it if the port is shut."""
        assert self._loop is not None
        self._syns, self._on_syn = syns, on_syn
        self._apply(self._step)
        for sock in syns.sockets:
            self._loop.add_reader(sock.fileno(), self._hear)

    def _hear(self, most: int = ACCEPTS_PER_TURN) -> None:
        assert self._syns is not None
        for syn in islice(self._syns.read(), most):
            self._on_syn(syn)

    def hear_all(self) -> None:
        """Hear the SYNs of the clients in the queue."""
        if self._syns is not None:
            self._hear(system.BACKLOG)

    @property
    def step(self) -> do.Door | None:
        """How connects are treated now; `None` if clients are accepted."""
        return self._step

    @property
    def is_open(self) -> bool:
        """Whether clients are accepted now."""
        return self._is_open

    def set_step(self, step: do.Door | None) -> None:
        """Treat connects from now on as this step says; `None` accepts. A step equal to the current one is ignored."""
        if step == self._step and not self._is_over:
            return
        self.rest()
        if self._lapse is not None:
            self._lapse.cancel()
        try:
            self._apply(step)
        except Exception:
            self.resume()  # with the step before
            raise
        self._step, self._is_over = step, False
        self._set_lapse()
        self.resume()

    def _apply(self, step: do.Door | None) -> None:
        drops = isinstance(step, do.Vanish) or (isinstance(step, do.Refuse) and self._syns is not None)
        if drops and self._fillers:
            return
        fillers, self._fillers = self._fillers, []
        self._filler_addresses.update(filler.getsockname() for filler in fillers)
        self._is_open = False
        if drops:
            self._sock, self._fillers = system.drop_syns(self._sock)
            self._take_syns()  # which came before the queue was full
            self._accept_late(self._sock)
        elif isinstance(step, do.Refuse):
            if self._step is None:
                self._accept_late(self._sock)
            self._sock = system.stop_listening(self._sock)
        else:  # also for `NoRoute`: no SYN comes to this address
            self._sock = system.start_listening(self._sock)
            self._is_open = True
            self._take_syns(repeat=True)  # which were dropped; TCP would repeat them after a second
        for filler in fillers:
            filler.close()

    def _accept_late(self, queue: socket.socket) -> None:
        """Accept the clients that have connected before the step that is set now, up to the first filler."""
        if self._loop is None:
            return
        while self._early:
            self._loop.call_soon(self._on_client, *self._early.popleft())
        fillers = {filler.getsockname(): filler for filler in self._fillers if filler.family != socket.AF_UNIX}
        with contextlib.suppress(OSError):
            for _ in range(system.BACKLOG):
                client, address = queue.accept()
                if address in fillers:  # the other filler is in the queue, which stays full
                    self._fillers.remove(fillers[address])
                    fillers[address].close()
                    client.close()
                    break
                if address in self._filler_addresses:
                    self._filler_addresses.discard(address)
                    client.close()
                    continue
                self._is_used = True
                sockets.prepare(client)
                self._loop.call_soon(self._on_client, client, address)

    def _take_syns(self, *, repeat: bool = False) -> None:
        """Take the SYNs that nobody has answered yet, and drop them, or put them on the wire again."""
        if self._syns is not None:
            for syn in list(islice(self._syns.read(), system.BACKLOG)):
                if repeat:
                    self._syns.repeat(syn)

    def _set_lapse(self) -> None:
        if isinstance(self._step, (do.Refuse, do.Vanish)):
            assert self._loop is not None
            self._lapse = Lapse(self._loop, self._step, self._expire)

    def _expire(self) -> None:
        self._is_over = True
        try:
            self._on_over()
        except Exception as error:  # noqa: BLE001 - raised when the server is closed
            self._on_error(error)

    def resume(self) -> None:
        """Accept clients again, if the listener is open."""
        with self._lock:
            if self._loop is not None and self._is_open and not self._accepts:
                self._loop.add_reader(self._sock.fileno(), self._accept)
                self._accepts = True
                if self._early:
                    self._begin_later()

    def narrow(self) -> None:
        """Give new connections a small receive buffer, so that senders block soon."""
        sockets.narrow_window(self._sock)

    def rest(self) -> None:
        """Accept no clients for now, without a change that they can see."""
        if self._accepts and self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._accepts = False

    def drain(self) -> None:
        """Accept the clients in the queue, which connected before the next step is set, but not without end."""
        if self._syns is not None:
            self._hear()
        until, accepts = clock.now() + DRAIN_SECONDS, 0
        while self._is_open and (accepts < DRAIN_ACCEPTS or clock.now() < until):
            self._take()
            if not self._early:
                break
            self._begin_some()
            accepts += ACCEPTS_PER_TURN

    def _accept(self) -> None:
        """Take clients out of the queue, and begin with some, unless the loop is about to do so anyway."""
        self._take()
        if not self._goes_on:
            self._begin_in_turns()

    def _begin_in_turns(self) -> None:
        """Begin with some of the clients, and with further ones in the next turn of the loop."""
        self._goes_on = False
        if self._accepts:
            self._begin_some()
            if self._early and self._accepts:
                self._begin_later()

    def _begin_later(self) -> None:
        """Begin with some of the clients in the next turn of the loop."""
        assert self._loop is not None
        if not self._goes_on:
            self._goes_on = True
            self._loop.call_soon_threadsafe(self._begin_in_turns)  # an event, as arrivals are, which `settle` waits for

    def _take(self) -> None:
        """Take some clients out of the kernel's queue."""
        for _ in range(min(EARLY_PER_TURN, MOST_EARLY - len(self._early))):
            try:
                with self._lock:
                    if not self._is_open:
                        return
                    client, address = self._sock.accept()
                    self._is_used = True
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:  # no descriptors are left; no event reports that some were freed
                if not self._early:
                    self._retry_later(error)
                return
            if address in self._filler_addresses:
                self._filler_addresses.discard(address)
                client.close()
                continue
            sockets.prepare(client)
            self._early.append((client, address))

    def _retry_later(self, error: OSError) -> None:
        """Accept no clients for a moment, until descriptors may be free again."""
        assert self._loop is not None
        self.rest()
        self._loop.call_later(RETRY_SECONDS, self.resume)
        self._on_error(error)

    def _begin_some(self) -> None:
        """Begin with some of the clients that were taken out of the queue."""
        for _ in range(ACCEPTS_PER_TURN):
            if not self._early:  # or what began has closed the port
                return
            client, address = self._early.popleft()
            try:
                self._on_client(client, address)
            except BaseException:
                ending.send_rst(client)
                raise

    def close_unused(self) -> bool:
        """Close from any thread, if clients are accepted and none has come; return whether it did."""
        with self._lock:
            is_unused = self._is_open and not self._is_used and self._syns is None
            if not (is_unused and system.FREES_AT_ONCE) or sockets.has_arrivals(self._sock):
                return False
            self.close()
            return True

    def close(self) -> None:
        """Close the sockets; clients in the queue are reset. Closing again does nothing."""
        if self._sock.fileno() < 0:
            return
        assert self._loop is not None
        self.rest()
        self._is_open = False
        if self._lapse is not None:
            self._lapse.cancel()
        if self._syns is not None:
            for sock in self._syns.sockets:
                self._loop.remove_reader(sock.fileno())
            self._syns.close()
            self._syns = None
        self._on_client = self._on_error = self._on_over = self._on_syn = ignore  # a cycle would keep the ledger
        while self._early:
            ending.send_rst(self._early.popleft()[0])
        for sock in (*self._fillers, self._sock):
            sock.close()


class UnixListener(Listener):
    """A listening Unix socket, whose file is replaced for every step.

    A Unix socket can't stop listening and listen again, so each step makes a new socket and moves it over the old path
    with rename(2): a client meets either the old socket or the new one, and never a missing file.
    """

    def __init__(self, path: str, step: do.Door | None) -> None:
        self.path = path
        self._own: Identity = None  # the file that this listener has made
        first = new_socket()
        try:
            super().__init__(first, step)
        except BaseException:
            first.close()
            raise

    def _apply(self, step: do.Door | None) -> None:
        was_open, before, fillers = self._is_open, self._sock, self._fillers
        if isinstance(step, do.NoRoute):
            check_own(self.path, self._own)
            Path(self.path).unlink(missing_ok=True)
            self._own, self._fillers = None, []
        else:
            self._sock, self._fillers = bound(self.path, step, self._own)
            self._own = identity(self.path)
        self._is_open = step is None
        if was_open:
            self._accept_late(before)
        for sock in (before, *fillers):
            if sock is not self._sock:
                sock.close()

    def narrow(self) -> None:
        """Do nothing: a Unix socket has no receive buffer besides the sender's own buffer."""

    def close(self) -> None:
        """Close the sockets, and remove the file."""
        super().close()
        if self._own is not None and identity(self.path) == self._own:
            Path(self.path).unlink(missing_ok=True)
