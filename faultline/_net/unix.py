"""Unix sockets: the path of a listener, and a connection that is reset by leaving bytes unread.

A difference from TCP is described where the code makes up for it (unix(7), Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from faultline._core import clock
from faultline._core.check import rejected
from faultline._core.errors import PortError
from faultline._core.fork import owned
from faultline._core.steps import Door, Refuse, Vanish
from faultline._net import sockets, system
from faultline._net.departures import Departed
from faultline._net.ending import Left
from faultline._net.wire import Wire

PATH_BYTES = system.PATH_BYTES - len(".000000")  # with room for a temporary suffix


PATIENCE_SECONDS = 0.2
HARMLESS_BYTES = 256  # this many bytes don't fill the smallest send buffer (SOCK_MIN_SNDBUF)


class UnixWire(Wire):
    """A connection over a Unix socket.

    A Unix socket has no RST: a client gets ECONNRESET if the server closes with bytes unread (`unix_release_sock`).
    So the last byte that was read stays in the kernel until the next read. With `is_to_be_reset` it stays until bytes
    follow it: the wait for them is edge-triggered, because the byte would end any other wait at once. A client with a
    small send buffer, which the byte fills (`unix_writable`), gets room again after `PATIENCE_SECONDS`.
    """

    __slots__ = ("__dict__",)  # for the two below, which a socket of TCP does without

    _has_unread = False  # whether the last byte that was read is still in the kernel
    _may_block = False  # whether it came with others, until a client may wait for room

    @property
    def keeps_byte(self) -> bool:
        """Whether the last byte that was read stays in the kernel, so that only `receive` may read."""
        return self.is_to_be_reset

    async def receive(self, limit_bytes: int) -> bytes:
        """Read at most `limit_bytes` bytes; `b""` when the client has finished sending.

        Raises:
            Departed: the client has reset the connection.
        """
        await self.give_way()
        while True:
            if self._has_unread and self.keeps_byte:
                within = PATIENCE_SECONDS if self._may_block else None
                await self.departures.edges.wait(self.sock, self._has_more, within)
                if system.unread_bytes(self.sock) == 1 and sockets.has_left(self.sock):
                    self.at_end = True  # the byte stays: the client still listens, and may be reset
                    return b""
            self._take()
            try:
                data = self.sock.recv(limit_bytes, socket.MSG_PEEK)
                if len(data) > 1:
                    self.sock.recv(len(data) - 1)
            except BlockingIOError:
                await super().readable()
            except OSError as error:
                raise self.gone(error) from None
            else:
                self.heard_at = clock.now()
                if not data and self.is_end_reset:
                    raise Departed("RST")
                self.at_end, self._has_unread, self._may_block = not data, bool(data), len(data) > HARMLESS_BYTES
                return data

    async def readable(self, future: asyncio.Future[None] | None = None) -> None:
        """Wait until there is more to read."""
        self._take()
        await super().readable(future)

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever there is something to read, without the byte that was read already."""
        if callback is not None:
            self._take()
        super().on_readable(callback)

    def unread_bytes(self) -> int:
        """The number of bytes in the kernel, without the byte that was read already."""
        return super().unread_bytes() - self._has_unread

    def _has_more(self) -> bool:
        return system.unread_bytes(self.sock) > 1 or sockets.has_left(self.sock)

    def arm_reset(self) -> None:
        """Make the close leave the last byte unread, which resets the connection."""
        self._has_unread = False

    def close(self) -> Left | None:
        """Close in an orderly way, and return the sign that this sends."""
        if not self.is_closed:
            self._take()
        return super().close()

    def _take(self) -> None:
        if self._has_unread:
            self._has_unread = False
            with contextlib.suppress(OSError):
                self.sock.recv(1)


Identity: TypeAlias = "tuple[int, int] | None"


def identity(path: str) -> Identity:
    """The device and the number of the file at a path; `None` if there is no file."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_own(path: str, own: Identity) -> None:
    """Check that no file is at a path but this one.

    Raises:
        PortError: there is the file of somebody else.
    """
    if identity(path) not in (None, own):
        raise PortError(f"unix={path!r}: expected the server's own socket there; remove the file in its place.")


def bound(path: str, step: Door | None, own: Identity) -> tuple[socket.socket, list[socket.socket]]:
    """Bind a socket at this path in place of the server's own file; it listens unless the step is to refuse.

    Returns:
        The socket, and what fills its queue for a black hole: one connection fills a queue of length 0
        (`unix_recvq_full`). It is made before the socket is at the path, or a client could come first.

    Raises:
        OSError: the socket can't be made at this path.
        PortError: the file of somebody else is at this path.
    """
    check_own(path, own)
    sock, beside = new_socket(), f"{path}.{secrets.token_hex(3)}"
    fillers = [new_socket()] if isinstance(step, Vanish) else []
    try:
        sock.bind(beside)
        if not isinstance(step, Refuse):
            sock.listen(0 if fillers else system.BACKLOG)
        for filler in fillers:
            filler.connect(beside)
        if identity(path) is None:
            system.link(beside, path)  # which fails if there is a file meanwhile
        else:
            os.replace(beside, path)  # noqa: PTH105 - it is rename(2), with its errors
    except BaseException:
        for made in (sock, *fillers):
            made.close()
        Path(beside).unlink(missing_ok=True)
        raise
    return sock, fillers


def new_socket() -> socket.socket:
    """A Unix socket that doesn't block, for the loop."""
    sock = owned(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    sock.setblocking(False)
    return sock


def claimed_path(unix: bool | str) -> tuple[str, str]:  # noqa: FBT001 - the public parameter has both types
    """The path for a new socket, and the temporary folder that holds it; empty if the user chose the path.

    Raises:
        ParameterError: the path has a zero byte, or is too long for a Unix socket.
        PortError: the path exists already, or this user may not write to its folder.
    """
    if not isinstance(unix, str):
        folder = tempfile.mkdtemp(prefix="faultline-")
        return os.path.join(folder, "socket"), folder  # noqa: PTH118 - text, for bind
    path = os.path.abspath(unix)  # noqa: PTH100 - symbolic links stay
    if "\0" in path:
        raise rejected("unix", unix, "a path without a zero byte")
    if len(os.fsencode(path)) > PATH_BYTES:
        raise rejected("unix", unix, f"a path of at most {PATH_BYTES} bytes, the limit of a Unix socket")
    if os.path.lexists(path):
        raise PortError(f"unix={unix!r}: expected a path that doesn't exist yet; remove the file, or use unix=True.")
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):  # noqa: PTH120 - text
        raise PortError(f"unix={unix!r}: expected a path in an existing folder that this user may write to.")
    return path, ""


def remove_folder(folder: str) -> None:
    """Remove the temporary folder of a socket, if there is a folder."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
