"""Marks the thread of the loop, in which nothing may wait for the loop."""

from __future__ import annotations

import threading

from faultline._core.errors import ServerError

_local = threading.local()


def enter() -> None:
    """Mark this thread as that of the loop."""
    _local.is_loops = True


def is_loops() -> bool:
    """Whether the caller is in the thread of the loop: in a condition of `when`, or in a finalizer that ran there."""
    return getattr(_local, "is_loops", False)


def may_wait(what: str) -> None:
    """Check that the caller may wait for the server.

    Raises:
        ServerError: the caller is in the thread of the loop, which would wait for itself.
    """
    if is_loops():
        raise ServerError(
            f"{what}: expected a call in a thread of the test; here, in the thread that serves all servers, as in a "
            "condition of when(), it would wait for itself."
        )
