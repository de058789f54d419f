"""Counts the connects that no server can see, because the kernel refuses or drops them.

Python raises the audit event `socket.connect` in the client's thread before the system call (sys.addaudithook,
PEP 578), so a listener can be opened or closed exactly before an attempt. Clients in C, uvloop and other processes
raise no event. An audit hook can't be removed: the first plan that has to count installs it, and while no server
watches it does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from faultline._core.fork import in_forked_child


@dataclass(frozen=True, eq=False)
class Watch:
    """A function to call before connects to an address."""

    port: int
    hosts: frozenset[str]
    family: int
    on_connect: Callable[[], None]
    path: str = ""

    def is_at(self, address: Any) -> bool:
        """Whether a socket address, in the form of its family, is the watched address."""
        if self.path:
            return os.path.abspath(os.fsdecode(address)) == self.path  # noqa: PTH100 - symbolic links stay
        return address[1] == self.port and address[0] in self.hosts


_watches: list[Watch] = []
_counts = False  # whether a connect of the loop's own thread counts: that of a relay does
_installed = False


def watch(port: int, hosts: set[str], family: int, on_connect: Callable[[], None]) -> Watch:
    """Call `on_connect` before every connect of this process to this port on any of the hosts."""
    return _watched(Watch(port, frozenset({*hosts, "localhost", ""}), family, on_connect))


def watch_path(path: str, on_connect: Callable[[], None]) -> Watch:
    """Call `on_connect` before every connect of this process to this Unix socket."""
    return _watched(Watch(0, frozenset(), socket.AF_UNIX, on_connect, path))


def _watched(entry: Watch) -> Watch:
    global _installed  # noqa: PLW0603 - a hook can't be removed, so it is installed once
    _watches.append(entry)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
    return entry


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


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watches:
        _notify(*args)


def _notify(sock: Any, address: Any) -> None:
    for entry in tuple(_watches):
        if sock.family == entry.family and entry.is_at(address):
            entry.on_connect()


in_forked_child(_watches.clear)
