"""What a forked child forgets: threads, locks and connections are its parent's."""

from __future__ import annotations

import os
from collections.abc import Callable

_forgets: list[Callable[[], None]] = []


def in_forked_child(forget: Callable[[], None]) -> Callable[[], None]:
    """Have this called in every forked child, in the order in which modules said so."""
    _forgets.append(forget)
    return forget


def _forget() -> None:  # pragma: no cover - in a fork, where nobody counts
    for forget in _forgets:
        forget()


os.register_at_fork(after_in_child=_forget)
