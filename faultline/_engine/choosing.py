"""The choice of a fault by the request: by its head as soon as that is read, or by all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._core.paths import ByPath
from faultline._core.tripwire import Tripwire
from faultline._net.http1 import END_OF_HEAD

if TYPE_CHECKING:
    from faultline._core.attempts import Request
    from faultline._core.fault import Fault
    from faultline._engine.attempt import OpenAttempt
    from faultline._engine.connection import Connection


def choose(connection: Connection, request: Request) -> None:
    """Give the attempt the fault that the request chooses, now that all of it has been read."""
    meet(connection, request, connection.service.dealer.resolved(connection.attempt.fault, request))


def choose_by_head(connection: Connection, request: Request, before: bytes, data: bytes) -> Tripwire | None:
    """Give the attempt the fault that the head of a request chooses.

    A break at `request` counts and searches from the first byte of the request on.

    Args:
        connection: the connection, whose attempt meets the fault.
        request: the request so far.
        before: the bytes of the request that had passed before.
        data: the bytes that are read now, with the end of the head.

    Returns:
        The tripwire of a break that had to strike within the head, and strikes behind it.
    """
    attempt = connection.attempt
    meet(connection, request, connection.service.dealer.resolved(attempt.fault, request, has_body=False))
    if (trip := connection.armed("request")) is None:
        return None
    if Tripwire(trip.brk).cut(head_of(before + data)) is not None:
        attempt.disarm()  # until these bytes have passed
        return trip
    trip.before_bytes = 0
    trip.cut(before)
    return None


def meet(connection: Connection, request: Request, fault: Fault) -> None:
    """Give the attempt a fault that a request has chosen."""
    if fault is not connection.attempt.fault:
        note_unmatched(connection.attempt, request)
        connection.meet(fault)


def note_unmatched(attempt: OpenAttempt, request: Request) -> None:
    """Record that no path of a plan fits a request."""
    choice = attempt.fault.choice
    if isinstance(choice, ByPath) and choice.index(request) == len(choice.paths):
        attempt.entry.note = f"no pattern of by_path(…) matches {request.target!r}"


def head_of(data: bytes) -> bytes:
    """The bytes up to the end of the first head."""
    empty = len(data) - len(data.lstrip(b"\r\n"))
    found = END_OF_HEAD.search(data, empty)
    return data[: found.end()] if found else data
