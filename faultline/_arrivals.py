"""Arrivals: counts the connects that no server can see, because the kernel refuses or drops them.

Rules of this room: Python raises the audit event `socket.connect` in the client's thread before the system call
(sys.addaudithook, PEP 578), so the door can be set right exactly before an attempt. Clients in C, uvloop and other
processes raise none. A hook can't be removed: it is installed by the first plan that has to count, and is one line
when no server watches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Watch:
    """Who wants to know of connects to which hosts."""

    hosts: frozenset[str]
    family: int
    on_connect: Callable[[], None]


_watches: dict[int, Watch] = {}
_installed = False


def watch(port: int, host: str, family: int, on_connect: Callable[[], None]) -> None:
    """Call `on_connect` before every connect of this process to an address."""
    global _installed  # noqa: PLW0603 - a hook can't be removed, so it is installed once
    _watches[port] = Watch(frozenset({host, "localhost", ""}), family, on_connect)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def forget(port: int) -> None:
    """No longer watch."""
    _watches.pop(port, None)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _watches:
        _arrived(*args)


def _arrived(sock: Any, address: object) -> None:
    if isinstance(address, tuple) and len(address) > 1:
        seen = _watches.get(address[1])
        if seen is not None and address[0] in seen.hosts and sock.family == seen.family:
            seen.on_connect()


os.register_at_fork(after_in_child=_watches.clear)
