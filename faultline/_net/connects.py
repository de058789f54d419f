"""Counts the connects that no server can see, because the kernel refuses or drops them.

Python raises the audit event `socket.connect` in the client's thread before the system call (sys.addaudithook,
PEP 578), so a listener can be opened or closed exactly before an attempt. Clients in C, uvloop and other processes
raise no event. An audit hook can't be removed: the first plan that has to count installs it, and while no server
watches it does nothing.

Rules: a listener must not change between the event of one thread's connect and the kernel's answer to it, because of
the event of another thread. So each connect waits until the kernel has answered the connect before, or has to leave it
without an answer.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeAlias

from faultline._core.fork import in_forked_child
from faultline._core.hosts import NOWHERE
from faultline._net import system
from faultline._net.addresses import host_and_port, reaches
from faultline._net.audit_events import call_at

PAUSE_SECONDS = 0.0005
PAUSES = 4000


# Called with the socket before its connect; returns whether the kernel leaves the connect unanswered.
OnConnect: TypeAlias = Callable[[socket.socket], bool]


class Begun:
    """A connect between its event and the kernel's answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = weakref.ref(sock)
        self._thread = threading.get_ident()
        self._caller = self._place(sys._getframe())  # noqa: SLF001 - a thread has no public place
        self._was_bound = bool(port_of(sock))

    def _place(self, frame: FrameType | None) -> tuple[int, int] | None:
        """The frame that calls connect, and its instruction; `None` if the thread is not in a connect."""
        while frame is not None and frame.f_globals.get("__name__") in (__name__, call_at.__module__):
            frame = frame.f_back
        return None if frame is None else (id(frame), frame.f_lasti)

    def wait(self) -> None:
        """Wait until the kernel has answered, or the thread has gone on for another reason."""
        for _ in range(PAUSES):
            if self._is_answered():
                return
            time.sleep(PAUSE_SECONDS)

    def _is_answered(self) -> bool:
        """Whether the kernel has answered this connect, or the thread has gone on."""
        sock = self._sock()
        if sock is None or self._thread == threading.get_ident():
            return True
        if self._place(sys._current_frames().get(self._thread)) != self._caller:  # noqa: SLF001 - as above
            return True
        with contextlib.suppress(OSError):
            return sock.family != socket.AF_UNIX and system.is_answered(sock, was_bound=self._was_bound)
        return True


def port_of(sock: socket.socket) -> int:
    """The port that a socket is bound to; 0 for none, and for a Unix socket."""
    return 0 if sock.family == socket.AF_UNIX else int(sock.getsockname()[1])


@dataclass(frozen=True, eq=False)
class Watch:
    """A function to call before connects to an address."""

    on_connect: OnConnect
    host: str = ""
    port: int = 0
    path: str = ""
    turn: threading.Lock = field(default_factory=threading.Lock)
    last: list[Begun] = field(default_factory=list)  # the connect before, if it waits for an answer

    def is_at(self, family: int, address: Any) -> bool:
        """Whether a socket address, in the form of its family, leads to the watched address."""
        if family == socket.AF_UNIX:
            return bool(self.path) and os.path.abspath(os.fsdecode(address)) == self.path  # noqa: PTH100 - links stay
        there = host_and_port(address) if family in (socket.AF_INET, socket.AF_INET6) and not self.path else None
        return there is not None and there[1] == self.port and (there[0] == NOWHERE or reaches(there[0], self.host))


_watches: list[Watch] = []
_counts = False  # whether a connect of the loop's own thread counts: that of a relay does
_own_threads: set[int] = set()


def own(thread: threading.Thread) -> None:
    """Let connects of this thread pass without a wait."""
    assert thread.ident is not None
    _own_threads.add(thread.ident)


def watch(host: str, port: int, on_connect: OnConnect) -> Watch:
    """Call `on_connect` before every connect of this process that leads to this address, or nowhere with this port."""
    return _watched(Watch(on_connect, host, port))


def watch_path(path: str, on_connect: OnConnect) -> Watch:
    """Call `on_connect` before every connect of this process to this Unix socket."""
    return _watched(Watch(on_connect, path=path))


def _watched(entry: Watch) -> Watch:
    _watches.append(entry)
    install()
    return entry


@functools.cache
def install() -> functools.partial[None]:
    """Look at every connect of this process from now on; once, since a hook can't be removed."""
    return call_at("socket.connect", _notify)


@contextlib.contextmanager
def counting_own_connects() -> Iterator[None]:
    """Count connects of the loop's own thread too; a relay's connects count, those that fill a queue don't."""
    global _counts  # noqa: PLW0603 - only the loop's one thread sets it
    _counts = True
    try:
        yield
    finally:
        _counts = False


def counts_own_connects() -> bool:
    """Whether a connect of the loop's own thread counts now."""
    return _counts


def forget(entry: Watch) -> None:
    """Stop watching."""
    if entry in _watches:  # a forked child has no watches
        _watches.remove(entry)


def _notify(sock: Any, address: Any) -> None:
    for entry in tuple(_watches):
        if entry.is_at(sock.family, address):
            if threading.get_ident() in _own_threads:  # it must not wait for a client, which may wait for it
                entry.on_connect(sock)
            else:
                _take_turn(entry, sock)


def _take_turn(entry: Watch, sock: Any) -> None:
    with entry.turn:
        while entry.last:
            entry.last.pop().wait()
        if not entry.on_connect(sock):
            entry.last.append(Begun(sock))


in_forked_child(_watches.clear)
in_forked_child(_own_threads.clear)
