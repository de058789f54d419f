"""The attempt of a further stream, which begins beside those that go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultline._engine.attempt import OpenAttempt
    from faultline._engine.connection import Connection


def opened_beside(connection: Connection) -> OpenAttempt:
    """Begin the attempt of a further request, beside those that go on; one that lasts gives its break to it."""
    before = connection.attempt
    trip = before.trip if before.lasts else None
    fault = before.fault if trip is not None else connection.service.dealer.deal_kept(before.fault)
    if before.point == "idle":
        before.end()
    if trip is not None:
        before.disarm()
        trip.begin_attempt()
    attempt = connection.open(fault)
    if trip is not None:
        attempt.trip = trip
        attempt.begin_request()
    return attempt


def text(data: bytes | str) -> str:
    """A field as text."""
    return data if isinstance(data, str) else data.decode("latin-1")
