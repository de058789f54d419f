"""Waits for a program to have looked at its connect, and to have read what was sent, before a RST destroys both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultline._core import clock
from faultline._net import system
from faultline._net.sockets import has_left
from faultline._net.system import unread_bytes

if TYPE_CHECKING:
    from faultline._net.wire import Wire

SILENT_PEER_SECONDS = 0.025  # for a program that says nothing to look at its connect, or at what it has read
LOOKED_SECONDS = 0.5  # after which any program has looked at its connect
UNREAD_PATIENCE_SECONDS = 0.05  # for a program that reads nothing
# Between looks. They grow, because the loop makes each up to a millisecond longer, and are short enough
# that a wait for many programs needs no pauses of its own.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.0002, 0.008


class Hearing:
    """Waits for the program behind the peer of a connection to have looked, and to have read all."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def until_looked(self) -> None:
        """Wait until the program has looked at its connect, which a RST before that would fail.

        A peer that has sent or read bytes has looked; `until_heard` waits until it has read. Any other peer gets some
        time, because nobody can know.
        """
        if not self._wire.sent_bytes and not self._has_peer_spoken():
            await self._until_read(SILENT_PEER_SECONDS)
            self._wire.heard_bytes = 0

    async def until_heard(self) -> None:
        """Wait until the program has looked at its connect and has read what was sent; once for the same bytes.

        Some programs drop bytes that they have not read when they meet a RST. A program that reads nothing for a while
        does something else.
        """
        if self._wire.heard_bytes != self._wire.sent_bytes:
            await self._until_read(0.0 if self._has_peer_spoken() else SILENT_PEER_SECONDS)
            self._wire.heard_bytes = self._wire.sent_bytes

    async def until_read(self) -> None:
        """Wait until the program has read what was sent, or reads nothing for a while."""
        await self._until_read(0.0)

    async def _until_read(self, silent_seconds: float) -> None:
        """Wait until the peer has read everything, and has then been silent for this long.

        A pause counts with its planned length, because a busy machine makes the peer late as well.
        """
        wire = self._wire
        if not system.TELLS_OF_PEERS:
            await self._until_patient()
            return
        pause, unread, quiet_seconds = (
            FIRST_PAUSE_SECONDS,
            0,
            age if (age := clock.since(wire.began)) > LOOKED_SECONDS else 0.0,
        )
        while not wire.is_closed and (peer := wire.departures.peers.of(wire.sock)) is not None and peer.listens:
            if peer.unread_bytes != unread:
                unread, quiet_seconds, pause = peer.unread_bytes, 0.0, FIRST_PAUSE_SECONDS
            if unread and quiet_seconds >= UNREAD_PATIENCE_SECONDS:
                return
            if not unread and (self._has_peer_spoken() or quiet_seconds >= silent_seconds):
                return
            began = clock.now()
            await wire.departures.pause(pause)
            quiet_seconds += min(pause, clock.since(began))
            pause = min(pause * 2, LAST_PAUSE_SECONDS)

    async def _until_patient(self) -> None:
        """Give the program time to look and to read, where no call tells whether it has."""
        if not self._wire.is_closed and clock.since(self._wire.began) <= LOOKED_SECONDS:
            await self._wire.departures.pause(SILENT_PEER_SECONDS)

    def _has_peer_spoken(self) -> bool:
        """Whether the peer has sent bytes or an end; true where another task has closed the socket."""
        wire = self._wire
        return wire.has_spoken or wire.is_closed or unread_bytes(wire.sock) > 0 or has_left(wire.sock)
