"""A server on a Unix socket: the same faults, at a path instead of a port.

Rules of this room: what differs is the door, the wire and where it is.
"""

from __future__ import annotations

import socket
import weakref
from typing import Any
from urllib.parse import quote

from faultline._core.errors import ParameterError, PortError, UnsupportedError
from faultline._core.fault import Fault
from faultline._core.plan import Plan
from faultline._net import connects
from faultline._net.unix import UnixWire, claimed_path, remove_folder
from faultline._net.wire import Wire
from faultline._servers.listener import Door, UnixDoor
from faultline._servers.server import Server


class UnixServer(Server):
    """A server on a Unix socket, at `server.path`.

    `refuse()`: the file is there and nobody listens (ECONNREFUSED). `unreachable()`: there is no such file (ENOENT).
    `blackhole()`: the queue is full, and a `connect` waits (one that doesn't block gets EAGAIN). `reset()` closes
    with something unread, which is ECONNRESET to the client: what it has read last, it leaves unread. Where there is
    nothing, as at `accept` before the client has spoken or at `idle` after some seconds, the client sees the end.
    """

    _is_unix = True

    def __init__(self, plan: Plan, *, unix: bool | str, **options: Any) -> None:
        self.path, folder = claimed_path(unix)
        self._remove = weakref.finalize(self, remove_folder, folder)
        try:
            super().__init__(plan, **options)
        except BaseException:
            self._remove()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """There is none.

        Raises:
            ParameterError: says so.
        """
        raise ParameterError(f"{self!r}.address: expected .path; a Unix socket has no host and no port.")

    @property
    def port(self) -> int:  # type: ignore[override] # that of TCP is set
        """There is none.

        Raises:
            ParameterError: says so.
        """
        raise ParameterError(f"{self!r}.port: expected .path; a Unix socket has no host and no port.")

    @property
    def proxy_url(self) -> str:
        """The same as `url`."""
        return self.url

    def partition(self) -> int:
        """There are no packets to drop.

        Raises:
            UnsupportedError: says so.
        """
        raise UnsupportedError("partition() needs a server of TCP; on a Unix socket there are no packets to drop.")

    @property
    def hostport(self) -> str:
        """The path."""
        return self.path

    @property
    def url(self) -> str:
        """`http+unix://` with the path as its host, percent-encoded."""
        return f"{'https' if self._tls else 'http'}+unix://{quote(self.path, safe='')}"

    @property
    def _certified_name(self) -> str:
        return "localhost"

    def close(self) -> None:
        """Stop, and remove the socket's file."""
        try:
            super().close()
        finally:
            self._remove()

    def _make_door(self, port: int) -> Door:  # noqa: ARG002 - it has none
        try:
            return UnixDoor(self.path, self._dealer.upcoming().door)
        except OSError as error:
            raise PortError(f"unix={self.path!r}: expected a folder that takes a socket ({error.strerror}).") from error

    def _make_wire(self, sock: socket.socket) -> Wire:
        return UnixWire(self._background.loop, sock, self._background.departures)

    def _new_watch(self) -> connects.Watch:
        return connects.watch_path(self.path, self._on_connect)


def check_options(options: dict[str, Any]) -> None:
    """Refuse what a Unix socket hasn't got.

    Raises:
        ParameterError: a host, a port or a child process.
    """
    for name, usual in (("host", "127.0.0.1"), ("port", 0), ("isolated", False)):
        if options[name] != usual:
            raise ParameterError(f"{name}={options[name]!r}: expected unix without it; the server is at server.path.")


def unix_server(plan: Plan, unix: bool | str, answer: Fault | None, **options: Any) -> UnixServer:  # noqa: FBT001 - as users say it
    """Start a server on a Unix socket."""
    check_options(options)
    options = {name: value for name, value in options.items() if name in ("tls", "strict")}
    return UnixServer(plan, unix=unix, answer=answer, **options)
