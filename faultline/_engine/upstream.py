"""A relay's connection to its upstream, plain or in TLS.

Its end is raised as `UpstreamLeft`, which can't be mistaken for the end of the client's connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from typing import TYPE_CHECKING

from faultline._core.hosts import is_local, is_numeric
from faultline._core.upstream import Upstream
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.dialing import open_wire
from faultline._net.tls import Rejected, Tls, reason
from faultline._net.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faultline._engine.connection import Connection


class UpstreamLeft(Exception):  # noqa: N818 - an event, not an error
    """The upstream has ended the connection early: by RST, with a TLS alert, or during the handshake."""


class UpstreamRefused(UpstreamLeft):
    """The upstream has ended TLS with an alert, or speaks none."""


class UpstreamConnection:
    """One connection to the upstream."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        wire.peer = "upstream"
        self._tls: Tls | None = None
        self._sending = asyncio.Lock()  # what a break inserts comes behind what is being sent

    async def secure(self, upstream: Upstream, protocols: tuple[str, ...] = ()) -> None:
        """Speak TLS to the upstream, and accept any certificate, because only the client is under test.

        `protocols` are offered (ALPN); with them both sides of a relay speak the protocol of its client.

        Raises:
            UpstreamLeft: the handshake failed.
        """
        from faultline._net.contexts import upstream_context  # imports cryptography

        context = upstream_context(upstream.certificate, protocols)
        tls = Tls(self.wire, context, upstream.host or "localhost")
        with as_upstream_left():
            await tls.agree(self._write)
        self._tls = tls

    @property
    def is_plain(self) -> bool:
        """Whether the connection is in plain text."""
        return self._tls is None

    async def receive(self, limit_bytes: int) -> bytes:
        """Read at most `limit_bytes` bytes; `b""` when the upstream has finished sending.

        Raises:
            UpstreamLeft: the upstream has reset the connection.
        """
        with as_upstream_left():
            if self._tls is None:
                return await self.wire.receive(limit_bytes)
            return await self._tls.receive(limit_bytes, self._write)

    async def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            UpstreamLeft: the upstream has reset the connection.
        """
        if not data:
            return
        async with self._sending:
            with as_upstream_left():
                await self._write(data if self._tls is None else self._tls.encrypt(memoryview(data)))

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self.wire.send_some(view) :]

    async def finish(self) -> None:
        """Send FIN, and continue reading."""
        if self._tls is not None:
            with contextlib.suppress(UpstreamLeft):
                await self.send_close_notify(self._tls)
        self.wire.finish()

    async def send_close_notify(self, tls: Tls) -> None:
        """End TLS in an orderly way.

        Raises:
            UpstreamLeft: the upstream has reset the connection.
        """
        with as_upstream_left():
            await self._write(tls.close_notify())

    def reset(self) -> None:
        """Send RST."""
        self.wire.reset()

    def leave(self) -> None:
        """Close the connection; the bytes that were sent are delivered first."""
        if not self.wire.is_closed:
            self.wire.finish()
            self.wire.discard_input()
            self.wire.close()


@contextlib.contextmanager
def as_upstream_left() -> Iterator[None]:
    """Raise the end of a connection as that of the upstream.

    Raises:
        UpstreamLeft: the upstream has ended the connection, or failed the TLS handshake.
    """
    try:
        yield
    except Departed as left:
        raise UpstreamLeft(left.how) from None
    except Rejected as rejected:
        raise UpstreamRefused(rejected.why) from None
    except ssl.SSLError as error:  # of bytes to send, once the upstream's alert has been read
        raise UpstreamRefused(reason(error)) from None


async def reach(connection: Connection, upstream: Upstream) -> UpstreamConnection:
    """Connect to the upstream of a connection.

    Raises:
        OSError: the upstream can't be reached.
        UpstreamLeft: the TLS handshake failed.
    """
    departures, loop = connection.wire.departures, connection.wire.departures.loop
    if upstream.path:
        wire = await open_wire(loop, departures, socket.AF_UNIX, upstream.path)
    elif is_numeric(upstream.host):
        wire = await open_wire(loop, departures, sockets.family_of(upstream.host), (upstream.host, upstream.port))
    else:  # the name of another machine is looked up in a thread
        found = await loop.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_STREAM)
        if is_local(upstream.host):  # a lookup may lead elsewhere, and nothing here dials another machine unasked
            found = [each for each in found if is_local(str(each[4][0]))]
        if not found:
            raise OSError(errno.EACCES, f"{upstream.host} leads to another machine")
        family, _, _, _, (host, port, *_) = found[0]
        wire = await open_wire(loop, departures, family, (str(host), int(port)))
    upstream_connection = UpstreamConnection(wire)
    if upstream.tls:
        try:
            await upstream_connection.secure(upstream, connection.attempt.protocols)
        except asyncio.CancelledError:  # the client has left with a RST
            wire.reset()
            raise
        except BaseException:
            upstream_connection.wire.close()
            raise
    return upstream_connection
