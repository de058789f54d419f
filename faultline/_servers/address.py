"""Where a server is: a host and port of TCP, or the path of a Unix socket, in the forms in which clients want it.

What differs between the two when a server listens and speaks is here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias
from urllib.parse import quote

from faultline._core.errors import ParameterError, PortError
from faultline._core.hosts import NOWHERE
from faultline._core.steps import Door
from faultline._net import connects, sockets
from faultline._net.authority import Environment
from faultline._net.unix import UnixWire, claimed_path, remove_folder
from faultline._net.wire import Wire
from faultline._servers.listener import Listener, UnixListener


class NoAddressError(ParameterError, AttributeError):
    """A Unix socket has no host and no port; `hasattr` says so too."""


@dataclass(frozen=True)
class Tcp:
    """A host and a port.

    Attributes:
        host: the address that is bound.
        port: its port; 0 until a free one is bound.
        name: the name that certificates are issued for, if that is not the host.
        wire: the class of its connections.
        has_packets: whether there are packets, which can be dropped.
    """

    host: str
    port: int
    name: str = ""
    path: ClassVar[str] = ""
    wire: ClassVar[type[Wire]] = Wire
    has_packets: ClassVar[bool] = True

    @property
    def pair(self) -> tuple[str, int]:
        """Host and port for a client on this machine."""
        return sockets.reachable(self.host), self.port

    def url(self, where: str, *, tls: bool) -> str:
        """`http://host:port`, or with TLS `https://host:port`."""
        return f"{'https' if tls else 'http'}://{where}"

    @property
    def certified_name(self) -> str:
        """The name that the server's certificate is issued for."""
        return self.name or self.pair[0]

    def listen(self, door: Door | None) -> tuple[Listener, Tcp]:
        """A listener here, which does to clients what `door` says, and its address with the port that was bound.

        Raises:
            PortError: the port is taken, or the host is not one of this machine.
        """
        sock = sockets.claim(self.host, self.port)
        return Listener(sock, door), replace(self, port=int(sock.getsockname()[1]))

    def watch(self, on_connect: Callable[[], None]) -> connects.Watch:
        """Call `on_connect` before every connect of this process to here, or to the address that leads nowhere."""
        host, port = self.pair
        return connects.watch(port, {host, NOWHERE}, sockets.family_of(host), on_connect)

    def release(self) -> None:
        """Give back what was made for the address: nothing."""


@dataclass(frozen=True)
class Unix:
    """The path of a Unix socket.

    `refuse()`: the file is there and nobody listens (ECONNREFUSED). `unreachable()`: there is no such file (ENOENT).
    `blackhole()`: the queue is full, and a `connect` waits (one that doesn't block gets EAGAIN). `reset()` closes
    with something unread, which is ECONNRESET to the client: bytes that it has sent last are left unread. Where there
    are none, as at `accept` before the client has spoken or at `idle` after some seconds, the client sees the end.

    Attributes:
        folder: the folder that was made for it, if one was.
    """

    path: str
    folder: str = ""
    certified_name: ClassVar[str] = "localhost"
    wire: ClassVar[type[Wire]] = UnixWire
    has_packets: ClassVar[bool] = False

    @classmethod
    def claimed(cls, unix: bool | str) -> Unix:  # noqa: FBT001 - as users say it
        """An address at this path, or in a folder of its own.

        Raises:
            ParameterError: the path is too long for a Unix socket.
            PortError: there is something already, or a socket can't be made there.
        """
        return cls(*claimed_path(unix))

    def _missing(self, what: str) -> NoAddressError:
        return NoAddressError(
            f".{what} of the server at {self.path}: expected .path; a Unix socket has no host and no port."
        )

    @property
    def host(self) -> str:
        """There is none.

        Raises:
            NoAddressError: always.
        """
        raise self._missing("host")

    @property
    def port(self) -> int:
        """There is none.

        Raises:
            NoAddressError: always.
        """
        raise self._missing("port")

    @property
    def pair(self) -> tuple[str, int]:
        """There is none.

        Raises:
            NoAddressError: always.
        """
        raise self._missing("address")

    def url(self, where: str, *, tls: bool) -> str:
        """`http+unix://` with the path as its host, percent-encoded."""
        return f"{'https' if tls else 'http'}+unix://{quote(where, safe='')}"

    def listen(self, door: Door | None) -> tuple[Listener, Unix]:
        """A listener at the path, which does to clients what `door` says.

        Raises:
            PortError: a socket can't be made there.
        """
        try:
            return UnixListener(self.path, door), self
        except OSError as error:
            raise PortError(f"unix={self.path!r}: expected a folder that takes a socket ({error.strerror}).") from error

    def watch(self, on_connect: Callable[[], None]) -> connects.Watch:
        """Call `on_connect` before every connect of this process to the path."""
        return connects.watch_path(self.path, on_connect)

    def release(self) -> None:
        """Remove the folder that was made for the socket, if one was."""
        remove_folder(self.folder)


Address: TypeAlias = Tcp | Unix

# In both spellings, because clients differ in which they prefer; urllib ignores HTTP_PROXY in upper case in CGI only.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def proxy_url(url: str, scheme: str, auth: tuple[str, str] | None) -> str:
    """The URL of a server as clients want it that take the server for a proxy: `http://user:password@host:port`."""
    usual, _, where = url.partition("://")
    user = "".join(f"{quote(part, safe='')}{end}" for part, end in zip(auth or (), ":@", strict=False))
    return f"{scheme or usual}://{user}{where}"


def set_proxy(environment: Environment, url: str, no_proxy: str) -> None:
    """Have clients take this URL for their proxy that look for one in the environment."""
    for name in PROXY_VARIABLES:
        environment.setenv(name, url)
        environment.setenv(name.lower(), url)
    environment.setenv("NO_PROXY", no_proxy)
    environment.setenv("no_proxy", no_proxy)
