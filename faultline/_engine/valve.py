"""The valve of a connection: holds its bytes back and drops its packets, for the fault or for the test."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from faultline._core.conditions import Loss
from faultline._core.fault import Fault
from faultline._core.gate import Gate
from faultline._core.promises import Key
from faultline._core.stages import NEVER_SECONDS
from faultline._engine.pacing import pause
from faultline._net import system
from faultline._net.wire import Wire

if TYPE_CHECKING:
    from faultline._engine.stream import Stream


class Valve:
    """Decides whether the bytes and the packets of one connection pass."""

    def __init__(self, wire: Wire, stream: Stream, on_stop: Callable[[], None]) -> None:
        self._wire = wire
        self._stream = stream
        self._on_stop = on_stop
        self._dropped = 0.0  # the share of the client's packets that are dropped now
        self._loss = 0.0  # the share that the fault's conditions drop
        self._timers: list[asyncio.TimerHandle] = []  # of losses that end
        self._is_cut_off = False  # by the fault
        self._is_paused = self._is_partitioned = False  # by the test

    @property
    def drops_packets(self) -> bool:
        """Whether packets of the client are dropped, so that the server's FIN could never be acknowledged."""
        return self._dropped > 0

    def lost(self, fault: Fault) -> list[Key]:
        """Which conditions of a fault have dropped packets of the client so far."""
        losses = [Key("condition", number) for number, c in enumerate(fault.conditions) if isinstance(c, Loss)]
        has_dropped = losses and not self._wire.is_closed and system.dropped_packets(self._wire.sock)
        return losses if has_dropped else []

    def follow(self, fault: Fault) -> None:
        """Drop the share of the client's packets that this fault's conditions give."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        losses = [c for c in fault.conditions if isinstance(c, Loss)]
        self._begin_to_lose(losses)
        loop = asyncio.get_running_loop()
        for seconds in {c.for_seconds for c in losses if c.for_seconds is not None}:
            lasting = [c for c in losses if c.for_seconds is None or c.for_seconds > seconds]
            self._timers.append(loop.call_later(seconds, self._begin_to_lose, lasting))

    def _begin_to_lose(self, losses: list[Loss]) -> None:
        """Drop the share of the client's packets that is lost by any of these: each draws for itself."""
        self._loss = 1 - math.prod(1 - c.probability for c in losses)
        if not self._wire.is_closed:  # pragma: no branch - the connection may have ended before the time was over
            self._filter()

    async def cut_off(self, for_seconds: float | None, until: Gate | None) -> None:
        """Drop all packets of the client, for this time, until the gate opens, or until the server stops.

        No packet can end this wait.
        """
        self._is_cut_off = True
        self._filter()
        await pause(NEVER_SECONDS if for_seconds is None else for_seconds, until or Gate())
        self.mend()

    def mend(self) -> None:
        """Let packets pass again that the fault has cut off."""
        self._is_cut_off = False
        self._filter()

    def pause(self, *, paused: bool) -> None:
        """Hold all bytes back in both directions, or let them pass again."""
        self._is_paused = paused
        self._hold_back()

    def partition(self, *, partitioned: bool) -> None:
        """Drop all packets of the client and hold the server's bytes back, or let both pass again."""
        self._is_partitioned = partitioned
        self._filter()
        self._hold_back()

    def _hold_back(self) -> None:
        if self._is_paused or self._is_partitioned:
            self._stream.pause()
            self._on_stop()
        else:
            self._stream.resume()

    def _filter(self) -> None:
        share = 1.0 if self._is_cut_off or self._is_partitioned else self._loss
        if share == self._dropped:
            return
        if share:
            system.drop_packets(self._wire.sock, share)
        else:
            system.keep_packets(self._wire.sock)
        self._dropped = share
