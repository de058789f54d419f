"""Datagrams: one UDP socket in the loop, that answers later, closes its port without giving it up, and stops.

Rules of this room: everything but the constructor happens in the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable

from faultline._core.errors import PortError
from faultline._net import sockets

READ_BYTES = 65_535
TRIES = 100
Address = tuple[str, int]


class Datagrams:
    """One UDP port."""

    def __init__(self, host: str, port: int) -> None:
        self._sock = bound(host, port) if port else bound_anywhere(host)
        self.address: Address = self._sock.getsockname()[:2]
        self._timers: set[asyncio.TimerHandle] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop, on_datagram: Callable[[bytes, Address], None]) -> None:
        """Hand over every datagram from now on."""
        self._loop, self._on_datagram = loop, on_datagram
        loop.add_reader(self._sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(64):  # a flood leaves turns for others
            try:
                data, address = self._sock.recvfrom(READ_BYTES)
            except OSError:  # there is no more, or an ICMP error of something sent before
                return
            self._on_datagram(data, address)

    def send(self, data: bytes, address: Address) -> str:
        """Send one datagram: why it could not be, or nothing."""
        try:
            self._sock.sendto(data, address)
        except OSError as error:
            return str(error.strerror)
        return ""

    def later(self, seconds: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        """Call this after so long, unless it is closed or cancelled before."""
        assert self._loop is not None

        def call() -> None:
            self._timers.discard(timer)
            function()

        timer = self._loop.call_later(seconds, call)
        self._timers.add(timer)
        return timer

    def shut(self) -> None:
        """Have the kernel answer by ICMP port unreachable, and keep the port.

        A socket that is connected, here to itself, is no receiver for others (`__udp4_lib_lookup`).
        """
        self._sock.connect(self._sock.getsockname())

    def open(self) -> None:
        """Receive from anybody again: connect(2) to AF_UNSPEC, which Python can't say."""
        libc = ctypes.CDLL(None, use_errno=True)
        nowhere = struct.pack("H14x", socket.AF_UNSPEC)
        if libc.connect(self._sock.fileno(), nowhere, len(nowhere)):  # pragma: no cover - it has no reason to
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self) -> None:
        """Stop; nothing that was to be sent later is sent."""
        assert self._loop is not None
        self._loop.remove_reader(self._sock.fileno())
        for timer in self._timers:
            timer.cancel()
        self._sock.close()


def bound(host: str, port: int) -> socket.socket:
    """A socket of this port.

    Raises:
        PortError: it is taken.
    """
    sock = socket.socket(sockets.family_of(host), socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise sockets.bind_error(host, port, error) from error
    return sock


def bound_anywhere(host: str) -> socket.socket:
    """A socket of a port that is free, bound by its number: one that the kernel chose is given up by `open`.

    Raises:
        PortError: there is none.
    """
    for _ in range(TRIES):
        with bound(host, 0) as sock:
            number = sock.getsockname()[1]
        with contextlib.suppress(PortError):
            return bound(host, number)
    raise PortError(f"port=0: expected a free port of UDP on {host}, found none in {TRIES} tries.")


def claim_both(host: str, port: int) -> tuple[Datagrams, socket.socket]:
    """One port of UDP and TCP alike.

    Raises:
        PortError: it is taken, or none is free in both.
    """
    for _ in range(TRIES):
        listener = sockets.claim(host, port)
        try:
            return Datagrams(host, listener.getsockname()[1]), listener
        except PortError:
            listener.close()
            if port:
                raise
    raise PortError(f"port=0: expected a port on {host} that is free for UDP and TCP, found none in {TRIES} tries.")
