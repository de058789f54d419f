"""Functions that run in a forked child, where the threads, locks and connections of the parent are of no use."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar


class Closes(Protocol):
    """Anything that can be closed."""

    def close(self) -> None:
        """Close it."""


FORKED = "this server belongs to the process that this process was forked from; use it there."
T = TypeVar("T", bound="Closes")
_owned: weakref.WeakSet[Closes] = weakref.WeakSet()
_forgets: list[Callable[[], None]] = []


def in_forked_child(forget: Callable[[], None]) -> Callable[[], None]:
    """Call this function in every forked child, in the order of registration."""
    _forgets.append(forget)
    return forget


def owned(thing: T) -> T:
    """Take note of a socket of a server, so that a forked child closes its copy.

    Otherwise the port would stay bound and the connection open while the child lives, whatever the server does.
    """
    _owned.add(thing)
    return thing


def _forget() -> None:  # pragma: no cover - runs in a fork, where coverage isn't measured
    for thing in list(_owned):
        thing.close()
    for forget in _forgets:
        forget()


if hasattr(os, "register_at_fork"):  # absent where there is no fork, as on Windows
    os.register_at_fork(after_in_child=_forget)
