"""What lets the bytes and the packets of a connection pass: its fault and the test may each hold them back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from faultline._core.conditions import Loss
from faultline._core.fault import Fault
from faultline._net import sockets
from faultline._net.wire import Wire


class Valve:
    """Whether the bytes and the packets of one connection pass."""

    def __init__(self, wire: Wire, flowing: asyncio.Event, on_stop: Callable[[], None]) -> None:
        self._wire = wire
        self._flowing = flowing  # set while bytes may pass
        self._on_stop = on_stop
        self._dropped = 0.0  # the share of the client's packets that are dropped now
        self._loss = 0.0  # the share that the fault's conditions drop
        self._is_cut_off = False  # by the fault
        self._is_paused = self._is_apart = False  # by the test

    @property
    def drops_packets(self) -> bool:
        """Whether packets of the client vanish, so that a FIN of ours could never be acknowledged."""
        return self._dropped > 0

    def follow(self, fault: Fault) -> None:
        """Drop the share of the client's packets that this fault says."""
        self._loss = next((c.probability for c in fault.conditions if isinstance(c, Loss)), 0.0)
        self._filter()

    async def cut_off(self, for_seconds: float | None) -> None:
        """Let all packets of the client vanish, for this time or until the server stops."""
        self._is_cut_off = True
        self._filter()
        if for_seconds is None:
            await asyncio.get_running_loop().create_future()  # no news can come
        else:
            await asyncio.sleep(for_seconds)
        self._is_cut_off = False
        self._filter()

    def pause(self, *, paused: bool) -> None:
        """Let no byte pass in either direction, or let them pass again."""
        self._is_paused = paused
        self._hold_back()

    def partition(self, *, apart: bool) -> None:
        """Let no packet of the client and no byte of ours pass, or let them pass again."""
        self._is_apart = apart
        self._filter()
        self._hold_back()

    def _hold_back(self) -> None:
        if self._is_paused or self._is_apart:
            self._flowing.clear()
            self._on_stop()
        else:
            self._flowing.set()

    def _filter(self) -> None:
        share = 1.0 if self._is_cut_off or self._is_apart else self._loss
        if share == self._dropped:
            return
        if share:
            sockets.drop_packets(self._wire.sock, share)
        else:
            sockets.keep_packets(self._wire.sock)
        self._dropped = share
