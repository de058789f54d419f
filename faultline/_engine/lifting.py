"""The end of a break that the plan no longer has: what it waits for is given up, and the conversation goes on.

Rules: only waits are given up, before the strike or in a silence; what a step has begun to send is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from faultline._engine.racing import Lane, Race
from faultline._net.departures import wake

if TYPE_CHECKING:
    from faultline._engine.connection import Connection

T = TypeVar("T")


class Lifted(Exception):  # noqa: N818 - an event, not an error
    """The attempt has met a fault without the break that is being played."""


class Lift:
    """Whether a break that is being played is still in the plan."""

    __slots__ = ("_is_lifted", "_waiting")

    def __init__(self) -> None:
        self._is_lifted = False
        self._waiting: asyncio.Future[None] | None = None

    def lift(self) -> None:
        """End the break, as soon as it waits."""
        self._is_lifted = True
        if self._waiting is not None:
            wake(self._waiting)

    async def within(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for something, while the break is in the plan.

        Raises:
            Lifted: the break is not there any more.
            Exception: what the wait raised.
        """
        if self._is_lifted:
            waiting.close()
            raise Lifted
        waited = Lane(waiting)
        await Race(waited, Lane(self._lifted()))
        if self._is_lifted:
            raise Lifted
        return waited.result()

    async def _lifted(self) -> None:
        """Wait until the break is not there any more."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None


async def while_it_lasts(connection: Connection, waiting: Coroutine[Any, Any, T]) -> T:
    """Wait for something, but no longer than the break that is being played, if there is one, is in the plan.

    Raises:
        Lifted: the attempt has met a fault without that break.
        Departed: the client ended the connection meanwhile.
    """
    return await (waiting if connection.lift is None else connection.lift.within(waiting))
