"""The address of a server: a host and port of TCP, or the path of a Unix socket.

The differences between TCP and Unix sockets when a server listens are here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias
from urllib.parse import quote

from faultline._core.errors import ParameterError, PortError
from faultline._core.steps import Door
from faultline._net import connects, sockets, system
from faultline._net.authority import Environment
from faultline._net.syns import Syns, syns_of
from faultline._net.unix import UnixWire, claimed_path, remove_folder
from faultline._net.wire import Wire
from faultline._servers.listener import Listener, UnixListener


class NoAddressError(ParameterError, AttributeError):
    """A Unix socket has no host and no port; it is an `AttributeError`, so that `hasattr` returns false."""


@dataclass(frozen=True)
class Tcp:
    """A host and a port of TCP.

    Attributes:
        host: the IP address to bind.
        port: the port to bind; 0 until a free port is bound.
        name: the host name that certificates are issued for; empty for `host`.
        path: always empty.
        wire: the class of connections.
        has_packets: whether connections have packets, which can be dropped.
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
        return system.reachable(self.host), self.port

    def url(self, where: str, *, tls: bool) -> str:
        """The URL of a server at `where`: `http://host:port`, or with TLS `https://host:port`."""
        return f"{'https' if tls else 'http'}://{where}"

    @property
    def certified_name(self) -> str:
        """The name that the server's certificate is issued for."""
        return self.name or self.pair[0]

    def listen(self, door: Door | None) -> tuple[Listener, Tcp]:
        """Bind a listener; return the listener and the address with the bound port.

        Raises:
            PortError: the port is in use, or the host is not an address of this machine.
        """
        sock = sockets.claim(self.host, self.port)
        bound = Tcp(self.host, int(sock.getsockname()[1]), self.name)
        return Listener(sock, door), bound

    def watch(self, on_connect: connects.OnConnect) -> connects.Watch:
        """Call `on_connect` before every connect of this process to this address, or to the unreachable address."""
        return connects.watch(self.host, self.port, on_connect)

    def hear(self) -> Syns | None:
        """Hear the SYNs to this port from now on; `None` where this process may not."""
        return syns_of(self.host, self.port)

    def release(self) -> None:
        """Do nothing: this address has no folder to remove."""


@dataclass(frozen=True)
class Unix:
    """The path of a Unix socket.

    With `refuse()` the file exists and nothing listens (ECONNREFUSED). With `unreachable()` the file doesn't exist
    (ENOENT). With `blackhole()` the accept queue is full, and a `connect` waits (EAGAIN if it doesn't block).
    `reset()` closes with the client's last byte unread, which the client sees as ECONNRESET. Without such a byte, as
    at `accept` before the client has sent any or at `idle` after some seconds, the client sees the end of the stream.

    Attributes:
        path: the path of the socket.
        folder: the temporary folder that holds the socket; empty if the user chose the path.
        certified_name: the host name that certificates are issued for.
        wire: the class of connections.
        has_packets: whether connections have packets, which can be dropped.
    """

    path: str
    folder: str = ""
    certified_name: ClassVar[str] = "localhost"
    wire: ClassVar[type[Wire]] = UnixWire
    has_packets: ClassVar[bool] = False

    @classmethod
    def claimed(cls, unix: bool | str) -> Unix:  # noqa: FBT001 - the public parameter has both types
        """An address at this path, or with `True` in a new temporary folder.

        Raises:
            ParameterError: the path has a zero byte, or is too long for a Unix socket.
            PortError: the path exists already, or this user may not write to its folder.
        """
        return cls(*claimed_path(unix))

    def _missing(self, what: str) -> NoAddressError:
        return NoAddressError(
            f".{what} of the server at {self.path}: expected .path; a Unix socket has no host and no port."
        )

    @property
    def host(self) -> str:
        """Missing: a Unix socket has no host and no port.

        Raises:
            NoAddressError: always.
        """
        raise self._missing("host")

    @property
    def port(self) -> int:
        """Missing: a Unix socket has no host and no port.

        Raises:
            NoAddressError: always.
        """
        raise self._missing("port")

    @property
    def pair(self) -> tuple[str, int]:
        """Missing: a Unix socket has no host and no port.

        Raises:
            NoAddressError: always.
        """
        raise self._missing("address")

    def url(self, where: str, *, tls: bool) -> str:
        """The URL of a server at `where`: `http+unix://` with the percent-encoded path as its host."""
        return f"{'https' if tls else 'http'}+unix://{quote(where, safe='')}"

    def listen(self, door: Door | None) -> tuple[Listener, Unix]:
        """Bind a listener at the path; return the listener and this address.

        Raises:
            PortError: the kernel can't make a socket at the path.
        """
        try:
            return UnixListener(self.path, door), self
        except OSError as error:
            raise PortError(f"unix={self.path!r}: expected a path for a Unix socket ({error.strerror}).") from error

    def watch(self, on_connect: connects.OnConnect) -> connects.Watch:
        """Call `on_connect` before every connect of this process to the path."""
        return connects.watch_path(self.path, on_connect)

    def hear(self) -> None:
        """Do nothing: a Unix socket has no SYNs."""

    def release(self) -> None:
        """Remove the temporary folder of the socket, if there is a folder."""
        remove_folder(self.folder)


Address: TypeAlias = Tcp | Unix

# Set in upper and lower case, because clients prefer different spellings; only in CGI urllib ignores HTTP_PROXY.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def proxy_url(url: str, scheme: str, auth: tuple[str, str] | None) -> str:
    """The URL of a proxy for clients: `http://user:password@host:port`."""
    usual, _, where = url.partition("://")
    user = "".join(f"{quote(part, safe='')}{end}" for part, end in zip(auth or (), ":@", strict=False))
    return f"{scheme or usual}://{user}{where}"


def set_proxy(environment: Environment, url: str, no_proxy: str) -> None:
    """Set the environment variables from which clients read the URL of their proxy."""
    for name in PROXY_VARIABLES:
        environment.setenv(name, url)
        environment.setenv(name.lower(), url)
    environment.setenv("NO_PROXY", no_proxy)
    environment.setenv("no_proxy", no_proxy)
