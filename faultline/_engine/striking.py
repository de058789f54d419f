"""The strike of a break on a connection: among the bytes that pass its point, or between two events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._core.ends import Party
from faultline._core.tripwire import Tripwire
from faultline._engine.attempt import OpenAttempt
from faultline._engine.lifting import Lift, Lifted
from faultline._engine.pacing import Deliver, Receive
from faultline._engine.play import hold, take_effect, until_ready

if TYPE_CHECKING:
    from faultline._engine.connection import Connection


async def pass_point(connection: Connection, by: Party, data: bytes, send: Deliver) -> None:
    """Send bytes of one side that pass a point; the break strikes among them, and so does another that follows it.

    Raises:
        Over: a step ended the conversation.
        Departed: the client ended the connection.
    """
    while True:
        trip = connection.armed("request" if by == "client" else connection.response_point)
        cut = trip.cut(data) if trip else None
        if trip is None or cut is None:
            await send(data)
            return
        if by == "client" and trip.brk.trigger.on is not None:
            cut = len(data)  # bytes that came together with the pattern pass with it
        await send(data[:cut])
        await connection.strike(trip)
        data = data[cut:]
        if not data:
            return


async def timed(connection: Connection, receive: Receive, limit_bytes: int) -> bytes:
    """Receive bytes of the upstream; the time of a break begins as they come, whatever conditions make of them.

    Raises:
        UpstreamLeft: the upstream has reset the connection.
    """
    data = await receive(limit_bytes)
    trip = connection.armed(connection.response_point)
    if data and trip is not None and trip.brk.lasts and trip.room_bytes(1) == 0:
        await connection.strike(trip)  # begins its time, and does nothing else
    return data


async def strike(connection: Connection, attempt: OpenAttempt, trip: Tripwire) -> None:
    """Record that a break strikes, and play its steps; give it up when the attempt meets a fault without it.

    Raises:
        Over: a step ended the conversation.
        Departed: the client ended the connection.
    """
    brk, lift = trip.brk, Lift()
    connection.lift = lift
    connection.side.before_strike()
    try:
        if brk.trigger.until is not None:
            await hold(connection, None, brk.trigger.until)
        await lift.within(until_ready(connection, brk.steps))
        connection.check_reached()
        if connection.service.parks and not connection.side.has_tasks:
            connection.lift = None  # a silence without end has no task that could go on
        unsent_bytes = connection.stream.unsent_bytes if brk.at in ("response", "tunnel") else 0
        attempt.strike(brk.at, trip.before_bytes + trip.passed_bytes - unsent_bytes)
        await connection.side.at_strike()
        await take_effect(connection, attempt, brk.steps)
    except Lifted:
        connection.valve.mend()
    connection.lift = None
    connection.side.after_strike()
