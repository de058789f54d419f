"""Unix sockets: a door that is a file, and a wire on which a RST needs something unread.

Rules of this room: what a Unix socket can't do as TCP does it is said where it is made up for (unix(7), Linux).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

from faultline._core.check import rejected
from faultline._core.errors import PortError
from faultline._core.steps import Door, Refuse, Vanish
from faultline._net import sockets
from faultline._net.departures import Departed
from faultline._net.wire import Wire

PATH_BYTES = 107 - len(".000000")  # sun_path of unix(7), without the zero at its end, and with room for the next one


class UnixWire(Wire):
    """A connection over a Unix socket.

    The kernel has no RST for it: a client gets ECONNRESET if the server closes with something unread
    (`unix_release_sock`). So what was read last is taken out of the kernel only when more is wanted.
    """

    _unread_bytes = 0

    async def receive(self, limit_bytes: int) -> bytes:
        """At most so many bytes; `b""` when the client has finished sending.

        Raises:
            Departed: the client has reset the connection.
        """
        self._take()
        while True:
            try:
                data = self.sock.recv(limit_bytes, socket.MSG_PEEK)
            except BlockingIOError:
                await self.readable()
            except OSError:
                raise Departed("RST") from None
            else:
                self.at_end = not data
                self._unread_bytes = len(data)
                return data

    async def readable(self) -> None:
        """Wait until there is something more to read."""
        self._take()
        await super().readable()

    def arm_reset(self) -> None:
        """Have the close leave unread what there is."""
        self._unread_bytes = 0

    def close(self) -> None:
        """Close in an orderly way."""
        if not self.is_closed:
            self._take()
        super().close()

    def _take(self) -> None:
        left, self._unread_bytes = self._unread_bytes, 0
        with contextlib.suppress(OSError):
            while left and (data := self.sock.recv(left)):
                left -= len(data)


def bound(path: str, step: Door | None) -> socket.socket:
    """A socket at this path instead of what is there, which listens unless it is to refuse.

    Raises:
        OSError: it can't be made there.
    """
    sock, beside = new_socket(), f"{path}.{secrets.token_hex(3)}"
    try:
        sock.bind(beside)
        if not isinstance(step, Refuse):
            sock.listen(0 if isinstance(step, Vanish) else sockets.BACKLOG)
        os.replace(beside, path)  # noqa: PTH105 - rename(2), and what it says
    except BaseException:
        sock.close()
        Path(beside).unlink(missing_ok=True)
        raise
    return sock


def new_socket() -> socket.socket:
    """A Unix socket for the loop."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def claimed_path(unix: bool | str) -> tuple[str, str]:  # noqa: FBT001 - as users say it
    """The path of a new socket, and the folder that was made for it, if one was.

    Raises:
        ParameterError: it is too long for a Unix socket.
        PortError: there is something already, or it can't be made there.
    """
    if not isinstance(unix, str):
        folder = tempfile.mkdtemp(prefix="faultline-")
        return os.path.join(folder, "socket"), folder  # noqa: PTH118 - text, for bind
    path = os.path.abspath(unix)  # noqa: PTH100 - nothing is looked up
    if "\0" in path:
        raise rejected("unix", unix, "a path without a zero byte")
    if len(os.fsencode(path)) > PATH_BYTES:
        raise rejected("unix", unix, f"a path of at most {PATH_BYTES} bytes; a Unix socket has no room for more")
    if os.path.lexists(path):
        raise PortError(f"unix={unix!r}: expected a path where nothing is; remove it, or use unix=True.")
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):  # noqa: PTH120 - text
        raise PortError(f"unix={unix!r}: expected a path in a folder that there is, and that this user may write to.")
    return path, ""


def remove_folder(folder: str) -> None:
    """Leave nothing behind."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
