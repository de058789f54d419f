"""The attempt of a further stream, which begins beside those that go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._engine.http2.response import concerns_stream

if TYPE_CHECKING:
    from faultline._engine.attempt import OpenAttempt
    from faultline._engine.connection import Connection


def opened_beside(connection: Connection) -> OpenAttempt:
    """Begin the attempt of a further request, beside those that go on; a break that lasts is given to it."""
    before = connection.attempt
    trip = before.trip if before.lasts else None
    if trip is not None and trip.waits and concerns_stream(trip):
        trip = None  # it waits for its time on the stream that it concerns
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
    """A field as text; the session has h2 hand it over as bytes."""
    assert isinstance(data, bytes)
    return data.decode("latin-1")
