"""Has the bytes of one direction pass their chain: each piece is delivered, or read, when it is due.

While bytes wait, further bytes are read and stamped with the time when they came, so that each is late by its own
delay and not by that of the bytes before it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Literal, TypeAlias

from faultline._core import clock
from faultline._core.attempts import Entry
from faultline._core.chain import Chain, Strike
from faultline._core.conditions import Condition
from faultline._core.gate import Gate
from faultline._core.points import Point
from faultline._core.promises import Key
from faultline._core.stages import NEVER_SECONDS, End
from faultline._engine.racing import Lane, Race
from faultline._net.departures import Departed, call_in, wake
from faultline._net.wire import Wire

SHORT_SECONDS = 0.02  # a wait that is over so soon isn't worth a watch for the client's leaving

StrikeAt: TypeAlias = Callable[[Point, Key, int], None]
Wait: TypeAlias = Callable[[float, Gate], Coroutine[Any, Any, None]]  # these seconds, or until the gate opens
Deliver: TypeAlias = Callable[[bytes], Awaitable[None]]
Receive: TypeAlias = Callable[[int], Coroutine[Any, Any, bytes]]  # at most this number of bytes; `b""` at the end


class Flow:
    """A chain, and the waits for what is in it."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._changed = Gate()  # opened when the conditions change, which ends the waits for what they held

    def change(self, conditions: tuple[Condition, ...], strike: Strike) -> None:
        """Have these conditions from now on; the stages of the others give up what they hold."""
        self.chain.change(conditions, strike, clock.now())
        self._changed.open()
        self._changed = Gate()

    def came(self, data: bytes) -> None:
        """Take bytes that come now, or the end."""
        self.chain.put(data or End(), clock.now())

    async def drain(self, deliver: Deliver, wait: Wait) -> None:
        """Deliver all that is in the chain, each piece when it is due; an end is waited for."""
        loop = asyncio.get_running_loop()
        while (due := self.chain.due()) is not None:
            now = loop.time()
            if due > now:
                await wait(due - now, self._changed)
                continue
            while (what := self.chain.pop(now)) is not None:
                if not isinstance(what, End):
                    await deliver(what)

    async def draw(self, limit_bytes: int, receive: Receive, wait: Wait) -> bytes:
        """The next bytes that are due; `b""` at the end. At most `limit_bytes` are read before they have passed.

        Raises:
            Exception: what `receive` raised, once all bytes before it have passed.
        """
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            what = self.chain.pop(now)
            if isinstance(what, End):
                if what.error is not None:
                    raise what.error
                return b""
            if what is not None:
                return what
            due, wanted = self.chain.due(), self.chain.room_bytes(limit_bytes)
            if due is None:  # behind the end nothing is wanted, and the end is read once more
                await self._wait_and_take(pause(NEVER_SECONDS, self._changed), receive(wanted or limit_bytes))
            elif wanted:
                await self._wait_and_take(wait(max(0, due - now), self._changed), receive(wanted))
            else:
                await wait(max(0, due - now), self._changed)

    async def _take(self, receiving: Coroutine[Any, Any, bytes]) -> None:
        """Put what is received into the chain, or the error that is raised instead."""
        what: bytes | End
        try:
            what = await receiving or End()
        except Exception as error:  # noqa: BLE001 - raised again behind the bytes
            what = End(error)
        self.chain.put(what, clock.now())

    async def _wait_and_take(self, waiting: Coroutine[Any, Any, None], receiving: Coroutine[Any, Any, bytes]) -> None:
        """Wait for what is due, or until more has been received.

        Raises:
            BaseException: what the wait raised.
        """
        taken, waited = Lane(self._take(receiving)), Lane(waiting)
        await Race(taken, waited)
        for lane in (waited, taken):
            if lane.is_over:
                lane.result()


class Flows:
    """The flows of an attempt, one for each direction.

    A server's own bytes come when it says them, and the time in which it computes them adds nothing. While they wait
    its clock stands still, so a response in several pieces is late once, and not once for each piece.

    Attributes:
        heard_at: when the server last heard the client, or has begun to hear it.
    """

    def __init__(
        self, conditions: tuple[Condition, ...], chance: Callable[[], random.Random], strike: StrikeAt, entry: Entry
    ) -> None:
        def flow(at: Literal["request", "response", "handshake"], passed_bytes: int = 0) -> Flow:
            now = clock.now()
            return Flow(Chain(conditions, at, chance, partial(strike, at), now, passed_bytes=passed_bytes))

        self.request, self.response = flow("request", entry.received_bytes), flow("response", entry.sent_bytes)
        self.handshake = flow("handshake")
        self.heard_at = clock.now()
        self._lag_seconds = 0.0  # how long the server has waited for its own bytes since then

    @property
    def has_come(self) -> bool:
        """Whether bytes of the client have come that are not due yet."""
        return self.request.chain.has_bytes

    def change(self, conditions: tuple[Condition, ...], strike: StrikeAt) -> None:
        """Have these conditions from now on."""
        self.request.change(conditions, partial(strike, "request"))
        self.response.change(conditions, partial(strike, "response"))
        self.handshake.change(conditions, partial(strike, "handshake"))

    def heard(self, at: float) -> None:
        """Take note that the client has spoken by this time."""
        self.heard_at, self._lag_seconds = at, 0.0
        self.response.chain.turn()

    async def send(self, data: bytes, deliver: Deliver, wait: Wait) -> None:
        """Deliver bytes of the server, each when it is due."""
        self.request.chain.turn()
        await self._send(data, deliver, wait)

    async def end(self, deliver: Deliver, wait: Wait) -> None:
        """Wait until an end of the server is due; what a break has cut off before it is never delivered."""
        self.response.chain.clear()
        await self._send(End(), deliver, wait)

    async def _send(self, what: bytes | End, deliver: Deliver, wait: Wait) -> None:
        began = self._says_at()
        self.response.chain.put(what, began - self._lag_seconds)
        try:
            await self.response.drain(deliver, wait)
        finally:
            self._lag_seconds += self._says_at() - began

    def _says_at(self) -> float:
        """When the server says what it says now: at the begin of the loop's turn, or once it has heard the client.

        An interval counts from when the piece before it leaves, which is now.
        """
        return max(clock.Turn.began, self.heard_at) if self.response.chain.only_delays else clock.now()


async def pause(for_seconds: float, until: Gate) -> None:
    """Wait these seconds, or until the gate opens."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    on_open = partial(call_in, loop, partial(wake, over))
    until.when_open(on_open)
    timer = loop.call_later(for_seconds, wake, over)
    try:
        await over
    finally:
        timer.cancel()
        until.forget(on_open)


async def until_due(wire: Wire, for_seconds: float, until: Gate) -> None:
    """Hold the server's bytes back for this time, or until the gate opens.

    Raises:
        Departed: the client has left meanwhile.
    """
    if for_seconds < SHORT_SECONDS:
        await pause(for_seconds, until)
    elif left := await wire.departure(for_seconds, until):
        raise Departed(left)
