"""Where a server is, in the forms in which clients want it.

Rules of this room: everything follows from the address, and nothing is looked up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from faultline._net.authority import Environment

# In both spellings, because clients differ in which they prefer; urllib ignores HTTP_PROXY in upper case in CGI only.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class Place(ABC):
    """The address of a server, as host and port, URL, or proxy."""

    path: str = ""  # of its Unix socket, if it has one
    _tls: bool
    _proxy_scheme = ""  # of a proxy that doesn't speak HTTP
    _auth: tuple[str, str] | None = None

    @property
    @abstractmethod
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine, as `socket.create_connection` takes them."""

    @property
    def hostport(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def url(self) -> str:
        """`http://host:port` or `https://host:port`, without a path."""
        return f"{'https' if self._tls else 'http'}://{self.hostport}"

    @property
    def proxy_url(self) -> str:
        """The same as clients want it that take this server for a proxy: `http://user:password@host:port`."""
        scheme = self._proxy_scheme or ("https" if self._tls else "http")
        user = "".join(f"{quote(part, safe='')}{end}" for part, end in zip(self._auth or (), ":@", strict=False))
        return f"{scheme}://{user}{self.hostport}"

    def use_as_proxy(self, monkeypatch: Environment, *, no_proxy: str = "") -> None:
        """Have clients take this server for their proxy that look for one in the environment.

        It sets `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, and `NO_PROXY` to the hosts that are asked directly
        (none, unless you say which), in both spellings and until the end of the test.

        Example:
            def test_proxy_refuses(faultline, monkeypatch):
                proxy = faultline.http_proxy(status(403))
                proxy.use_as_proxy(monkeypatch)
        """
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, self.proxy_url)
            monkeypatch.setenv(name.lower(), self.proxy_url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        monkeypatch.setenv("no_proxy", no_proxy)
