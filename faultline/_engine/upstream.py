"""A relay's own connection to its upstream, plain or in TLS.

How it ends is told by `UpstreamLeft`, so that nobody takes it for the client's leaving.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

from faultline._core.hosts import is_numeric
from faultline._core.upstream import Upstream
from faultline._net import sockets
from faultline._net.departures import Departed, Departures
from faultline._net.tls import Rejected, Tls
from faultline._net.wire import Wire, open_wire

if TYPE_CHECKING:
    from collections.abc import Iterator


class UpstreamLeft(Exception):  # noqa: N818 - it is news
    """The upstream has reset the connection, or ended TLS by an alert."""


class UpstreamConnection:
    """One connection to the upstream."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._tls: Tls | None = None

    async def secure(self, name: str) -> None:
        """Speak TLS to it; whatever certificate it has is good here, because the client is under test and not we.

        Raises:
            UpstreamLeft: it has not agreed.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        tls = Tls(self.wire, context, name)
        with leaving():
            await tls.agree(self._write)
        self._tls = tls

    @property
    def is_plain(self) -> bool:
        """Whether bytes pass as they are."""
        return self._tls is None

    async def receive(self, limit_bytes: int) -> bytes:
        """At most so many bytes; `b""` when it has finished sending.

        Raises:
            UpstreamLeft: it has reset the connection.
        """
        with leaving():
            if self._tls is None:
                return await self.wire.receive(limit_bytes)
            return await self._tls.receive(limit_bytes, self._write)

    async def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            UpstreamLeft: it has reset the connection.
        """
        if not data:
            return
        with leaving():
            await self._write(data if self._tls is None else self._tls.encrypt(memoryview(data)))

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self.wire.send_some(view) :]

    async def finish(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        if self._tls is not None:
            with contextlib.suppress(UpstreamLeft):
                await self.send_last_words(self._tls)
        sockets.send_fin(self.wire.sock)

    async def send_last_words(self, tls: Tls) -> None:
        """End TLS in an orderly way.

        Raises:
            UpstreamLeft: it has reset the connection.
        """
        with leaving():
            await self._write(tls.close_notify())

    def reset(self) -> None:
        """Send RST."""
        self.wire.reset()

    def leave(self) -> None:
        """End the connection; what was sent is delivered first."""
        if not self.wire.is_closed:
            sockets.send_fin(self.wire.sock)
            sockets.discard_input(self.wire.sock)
            self.wire.close()


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Tell the upstream's leaving from the client's.

    Raises:
        UpstreamLeft: it has left.
    """
    try:
        yield
    except Departed as left:
        raise UpstreamLeft(left.how) from None
    except Rejected as rejected:
        raise UpstreamLeft(rejected.why) from None


async def reach(loop: asyncio.AbstractEventLoop, departures: Departures, upstream: Upstream) -> UpstreamConnection:
    """Connect to an upstream.

    Raises:
        OSError: it can't be reached.
        UpstreamLeft: it has not agreed to TLS.
    """
    if upstream.path:
        wire = await open_wire(loop, departures, socket.AF_UNIX, upstream.path)
    elif is_numeric(upstream.host):
        wire = await open_wire(loop, departures, sockets.family_of(upstream.host), (upstream.host, upstream.port))
    else:  # a name of another machine is looked up in a thread
        found = await loop.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_STREAM)
        family, _, _, _, (host, port, *_) = found[0]
        wire = await open_wire(loop, departures, family, (str(host), int(port)))
    far = UpstreamConnection(wire)
    if upstream.tls:
        try:
            await far.secure(upstream.host or "localhost")
        except BaseException:
            far.wire.close()
            raise
    return far
