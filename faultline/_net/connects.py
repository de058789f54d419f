"""Counts the connects that no server can see, because the kernel refuses or drops them.

Python raises the audit event `socket.connect` in the client's thread before the system call
(sys.addaudithook, PEP 578), so the door can be set right exactly before an attempt. Clients in C, uvloop and other
processes raise none. A hook can't be removed: it is installed by the first plan that has to count, and is one line
when no server watches.
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
        """Whether this is the address, as a socket of its family has it."""
        if self.path:
            return os.path.abspath(os.fsdecode(address)) == self.path  # noqa: PTH100 - nothing is looked up
        return address[1] == self.port and address[0] in self.hosts


_watches: list[Watch] = []
_counts = False  # a relay dials, in the loop's own thread
_installed = False


def watch(port: int, hosts: set[str], family: int, on_connect: Callable[[], None]) -> Watch:
    """Call `on_connect` before every connect of this process to this port of one of the hosts."""
    return _watched(Watch(port, frozenset({*hosts, "localhost", ""}), family, on_connect))


def watch_path(path: str, on_connect: Callable[[], None]) -> Watch:
    """The same for a Unix socket."""
    return _watched(Watch(0, frozenset(), socket.AF_UNIX, on_connect, path))


def _watched(entry: Watch) -> Watch:
    global _installed  # noqa: PLW0603 - a hook can't be removed, so it is installed once
    _watches.append(entry)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
    return entry


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Have connects of the loop's own thread counted too: those of a relay, and not those that fill a queue."""
    global _counts  # noqa: PLW0603 - there is one loop's thread
    _counts = True
    try:
        yield
    finally:
        _counts = False


def is_counted() -> bool:
    """Whether the loop's own thread dials as a client does."""
    return _counts


def forget(entry: Watch) -> None:
    """Watch no longer."""
    if entry in _watches:  # a forked child has forgotten them all
        _watches.remove(entry)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watches:
        _arrived(*args)


def _arrived(sock: Any, address: Any) -> None:
    for entry in tuple(_watches):
        if sock.family == entry.family and entry.is_at(address):
            entry.on_connect()


in_forked_child(_watches.clear)
