"""The way from somebody else's URL to a server of ours, in this process.

The name leads to an address of loopback that stands for it, and a connect to that address goes to the server. Nothing
leaves the machine.
"""

from __future__ import annotations

import ipaddress
import threading
from urllib.parse import urlsplit

from faultline._core.check import flag, rejected
from faultline._core.errors import NotStruckError, OutsideError
from faultline._core.hosts import checked_name, hostport, is_numeric
from faultline._core.upstream import SCHEMES, SECURE
from faultline._net.addresses import Target, is_outside
from faultline._servers.loop import background
from faultline._servers.names import overlay

_numbering = threading.Lock()
_numbers: dict[str, int] = {}


class Detour(overlay.Overlay):
    """Leads clients of this process that ask for a URL to a server.

    Attributes:
        name: the host that they ask for.
    """

    def __init__(self, url: str, *, block_others: bool = False) -> None:
        self._scheme, self.name, self._port = checked_url(url)
        self._blocks = flag("block_others", block_others)
        self._blocked: list[str] = []
        self._stand_in = stand_in(self.name)
        self._address = ("", 0)

    @property
    def is_secure(self) -> bool:
        """Whether clients speak TLS there."""
        return self._scheme in SECURE

    @property
    def hostport(self) -> str:
        """The host and the port that clients ask for."""
        return hostport(self.name, self._port)

    @property
    def url(self) -> str:
        """The URL that clients ask for, without a path."""
        return f"{self._scheme}://{self.hostport.removesuffix(f':{SCHEMES[self._scheme]}')}"

    def lead_to(self, address: tuple[str, int]) -> None:
        """Lead clients to this server, from now on."""
        self._address = address
        overlay.put(self)

    def close(self) -> None:
        """Put everything back as it was."""
        overlay.remove(self)

    def check_none_blocked(self) -> None:
        """See that no client was kept from another machine.

        Raises:
            NotStruckError: a client was, and hid the error.
        """
        if self._blocked:
            raise NotStruckError(
                f"{self._blocked[0]} was blocked: the client would have reached another machine. "
                "(strict=False allows it, for a test that expects the OutsideError.)"
            )

    # --- what clients look up and connect to -------------------------------------------------------------------------

    def look_up(self, function: str, name: str) -> list[Target] | None:  # noqa: ARG002 - whichever asks
        """The address that stands for the name."""
        return [(self._stand_in, None)] if name == self.name else None

    def name_of(self, host: str) -> str | None:
        """The name, of the address that stands for it."""
        return self.name if host == self._stand_in else None

    def reroute(self, host: str, port: int) -> tuple[str, int] | None:
        """The server, instead of the port that clients ask for."""
        return self._address if host in (self._stand_in, self.name) and port == self._port else None

    def check(self, host: str, what: str) -> None:
        """Let no client reach another machine, if that is forbidden.

        Raises:
            OutsideError: a client tries to.
        """
        if self._blocks and is_outside(host) and not background().is_current():
            self._blocked.append(what)
            raise OutsideError(
                f"{what}: expected nothing but {self.url}, because of block_others=True; intercept that one as well."
            )


def stand_in(name: str) -> str:
    """The address of loopback that stands for a name, where nobody listens: one for all ports of it."""
    with _numbering:
        number = _numbers.setdefault(name, len(_numbers) + 1)
    return f"127.99.{number >> 8 & 255}.{number & 255}"


def checked_url(url: object) -> tuple[str, str, int]:
    """Scheme, host and port of a URL.

    Raises:
        ParameterError: it is not absolute, or of a scheme without a known port.
    """
    expected = "an absolute URL such as 'https://api.example.com'"
    if not isinstance(url, str):
        raise rejected("url", url, expected)
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
        raise rejected("url", url, "a port with this scheme")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise rejected("url", url, "scheme, host and port alone; everything there is intercepted")
    name = str(ipaddress.ip_address(host)) if is_numeric(host) else checked_name(host, pattern=False)
    return parts.scheme, name, port
