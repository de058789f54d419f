"""Leads the clients of this process from a URL to a server of faultline.

A lookup of the URL's host finds a loopback address that stands for the host, and a connect to that address goes to
the server. No packet leaves the machine.
"""

from __future__ import annotations

import ipaddress
import re
import threading
from urllib.parse import urlsplit

from faultline._core import own_thread
from faultline._core.check import flag, rejected
from faultline._core.errors import NotStruckError, OutsideError
from faultline._core.hosts import checked_name, hostport, is_numeric
from faultline._core.upstream import SCHEMES, SECURE
from faultline._net.addresses import Target, is_outside
from faultline._servers.names import overlay

BEGINS_WITH_HOST = re.compile(r"\w+(\.\w+)+")

_numbering = threading.Lock()
_numbers: dict[str, int] = {}


class Detour(overlay.Overlay):
    """Leads clients of this process from a URL to a server.

    Attributes:
        name: the host of the URL.
    """

    def __init__(self, url: str, *, block_others: bool = False) -> None:
        self._scheme, self.name, self._port = checked_url(url)
        self._blocks = flag("block_others", block_others)
        self._blocked: list[str] = []
        self._loopback_address = loopback_address(self.name)
        self._address = ("", 0)

    @property
    def is_secure(self) -> bool:
        """Whether clients of the URL speak TLS."""
        return self._scheme in SECURE

    @property
    def hostport(self) -> str:
        """The host and the port of the URL."""
        return hostport(self.name, self._port)

    @property
    def url(self) -> str:
        """The URL, without a path."""
        return f"{self._scheme}://{self.hostport.removesuffix(f':{SCHEMES[self._scheme]}')}"

    def lead_to(self, address: tuple[str, int]) -> None:
        """Lead clients to the server at this address, from now on."""
        self._address = address
        overlay.put(self)

    def close(self) -> None:
        """Restore everything."""
        overlay.remove(self)

    def check_none_blocked(self) -> None:
        """Check that no client was blocked from another machine.

        Raises:
            NotStruckError: a client was blocked, and hid the `OutsideError`.
        """
        if self._blocked:
            raise NotStruckError(
                f"{self._blocked[0]} was blocked: the client would have reached another machine. "
                "(strict=False allows it, for a test that expects the OutsideError.)"
            )

    # --- as an overlay -----------------------------------------------------------------------------------------------

    def look_up(self, function: str, name: str) -> list[Target] | None:  # noqa: ARG002 - the same for all functions
        """The address that stands for the host; `None` for other names."""
        return [(self._loopback_address, None)] if name == self.name else None

    def name_of(self, host: str) -> str | None:
        """The host's name, for the address that stands for it; `None` for other addresses."""
        return self.name if host == self._loopback_address else None

    def reroute(self, host: str, port: int) -> tuple[str, int] | None:
        """The server's address, for a connect to the host and port of the URL; `None` for other connects."""
        return self._address if host in (self._loopback_address, self.name) and port == self._port else None

    def check(self, host: str, what: str) -> None:
        """With `block_others`, block lookups of other machines and connects to them.

        Raises:
            OutsideError: a client looks up another machine, or connects to it.
        """
        if self._blocks and is_outside(host) and not own_thread.is_loops():
            self._blocked.append(what)
            raise OutsideError(
                f"{what}: expected only {self.url}, because of block_others=True; intercept that host too."
            )


def loopback_address(name: str) -> str:
    """The loopback address that stands for a host, the same for all its ports; no server listens there."""
    with _numbering:
        number = _numbers.setdefault(name, len(_numbers) + 1)
    return f"127.99.{number >> 8 & 255}.{number & 255}"


def checked_url(url: object) -> tuple[str, str, int]:
    """Scheme, host and port of a URL.

    Raises:
        ParameterError: `url` is not an absolute URL, has an unknown scheme or no known port, or has a path or a user.
    """
    expected = "an absolute URL such as 'https://api.example.com'"
    if not isinstance(url, str):
        raise rejected("url", url, expected)
    if "://" not in url:
        right = f"; write {'https://' + url!r}" if BEGINS_WITH_HOST.match(url) else ""
        raise rejected("url", url, f"{expected}{right}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise rejected("url", url, expected) from None
    if not parts.scheme or not host:
        raise rejected("url", url, expected)
    if parts.scheme not in SCHEMES:
        raise rejected("url", url, f"one of the schemes {', '.join(SCHEMES)}")
    port = SCHEMES[parts.scheme] if port is None else port
    if not port:
        raise rejected("url", url, f"a port, because {parts.scheme} has no default port, such as {url + ':5432'!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        alone = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        raise rejected("url", url, f"a scheme, a host and a port alone, as every path is intercepted; write {alone!r}")
    name = str(ipaddress.ip_address(host)) if is_numeric(host) else checked_name(host, pattern=False)
    return parts.scheme, name, port
