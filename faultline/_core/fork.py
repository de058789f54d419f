"""Functions that run in a forked child, where the threads, locks and connections of the parent are of no use."""

from __future__ import annotations

import os
from collections.abc import Callable

_forgets: list[Callable[[], None]] = []


def in_forked_child(forget: Callable[[], None]) -> Callable[[], None]:
    """Call this function in every forked child, in the order of registration."""
    _forgets.append(forget)
    return forget


def _forget() -> None:  # pragma: no cover - runs in a fork, where coverage isn't measured
    for forget in _forgets:
        forget()


os.register_at_fork(after_in_child=_forget)
