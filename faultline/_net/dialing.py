"""Connects to the upstream of a relay."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import weakref

from faultline._core.fork import owned
from faultline._net.connects import counting_own_connects
from faultline._net.departures import Departures
from faultline._net.sockets import quicken
from faultline._net.wire import Wire

_own: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def own_inodes() -> set[int]:
    """The inodes of the sockets that lead to upstreams, in the loop's thread."""
    return {os.fstat(sock.fileno()).st_ino for sock in _own if sock.fileno() >= 0}


async def open_wire(
    loop: asyncio.AbstractEventLoop,
    departures: Departures,
    family: socket.AddressFamily,
    address: tuple[str, int] | str,
) -> Wire:
    """Connect to a server.

    Raises:
        OSError: the server can't be reached.
    """
    sock = owned(socket.socket(family, socket.SOCK_STREAM))
    sock.setblocking(False)
    _own.add(sock)
    wire = Wire(loop, sock, departures)
    try:
        with counting_own_connects():
            code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            await wire.writable()
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))  # noqa: TRY301 - the same handler closes the socket
    except BaseException:
        wire.reset()  # it may have come about meanwhile, and the client has left with a RST
        raise
    quicken(sock)
    return wire
