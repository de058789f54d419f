"""Interception: code with a URL in it that nobody can change meets a server of ours.

Rules of this room: the name leads to an address of loopback that stands for it, and a connect to that address goes to
the server; both hold in this process and until the server is closed. Nothing leaves the machine.
"""

from __future__ import annotations

import ipaddress
import threading
from typing import Any
from urllib.parse import urlsplit

from faultline._core.check import flag, rejected
from faultline._core.errors import NotStruckError, OutsideError
from faultline._core.fault import Fault
from faultline._core.hosts import checked_name, is_numeric
from faultline._core.plan import Plan, checked_plan, faults_of
from faultline._core.upstream import SCHEMES, SECURE
from faultline._net.addresses import Target, is_outside
from faultline._servers.names import overlay
from faultline._servers.server import Server

_numbering = threading.Lock()
_numbers: dict[str, int] = {}


class Interception(Server, overlay.Overlay):
    """A server that clients of this process find at somebody else's URL."""

    def __init__(self, url: str, plan: Plan, *, block_others: bool = False, **options: Any) -> None:
        self._scheme, self._name, self._port = checked_url(url)
        self._blocks = flag("block_others", block_others)
        self._blocked: list[str] = []
        self._stand_in = stand_in(self._name)
        if self._scheme not in SECURE and any(fault.needs_tls for fault in faults_of(checked_plan(plan))):
            raise rejected("url", url, f"a URL of TLS, such as https://…, with {plan!r}")
        super().__init__(plan, tls=self._scheme in SECURE, **options)
        overlay.put(self)

    @property
    def hostport(self) -> str:
        """The host and the port that clients ask for."""
        host = f"[{self._name}]" if ":" in self._name else self._name
        return f"{host}:{self._port}"

    @property
    def url(self) -> str:
        """The URL that clients ask for, without a path."""
        return f"{self._scheme}://{self.hostport.removesuffix(f':{SCHEMES[self._scheme]}')}"

    @property
    def _certified_name(self) -> str:
        return self._name

    # --- what clients look up and connect to -------------------------------------------------------------------------

    def look_up(self, function: str, name: str) -> list[Target] | None:  # noqa: ARG002 - whichever asks
        """The address that stands for the name."""
        return [(self._stand_in, None)] if name == self._name else None

    def name_of(self, host: str) -> str | None:
        """The name, of the address that stands for it."""
        return self._name if host == self._stand_in else None

    def reroute(self, host: str, port: int) -> tuple[str, int] | None:
        """The server, instead of the port that clients ask for."""
        return self.address if host in (self._stand_in, self._name) and port == self._port else None

    def check(self, host: str, what: str) -> None:
        """Let nobody reach another machine, if that is forbidden.

        Raises:
            OutsideError: somebody tries to.
        """
        if self._blocks and is_outside(host) and not self._background.is_current():
            self._blocked.append(what)
            raise OutsideError(
                f"{what}: expected nothing but {self.url}, because of block_others=True; intercept that one as well."
            )

    # --- its end -----------------------------------------------------------------------------------------------------

    def step_aside(self) -> None:
        """Put back what this has replaced."""
        overlay.remove(self)

    def close(self) -> None:
        """Stop, and put everything back as it was."""
        overlay.remove(self)
        super().close()

    def check_struck(self) -> None:
        """The guard: see that each planned fault did strike, and that nobody tried to leave the machine.

        Raises:
            NotStruckError: one did not, or somebody did and said nothing.
        """
        if self._blocked and self._strict:
            raise NotStruckError(
                f"{self._blocked[0]} was blocked: the client would have reached another machine. "
                "(strict=False allows it, for a test that expects the OutsideError.)"
            )
        super().check_struck()

    def __repr__(self) -> str:
        return f"<Interception {self.url} {self._plans[-1]!r}{' closed' if self._closed else ''}>"


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


def intercept(
    url: str,
    plan: Plan,
    *,
    answer: Fault | None = None,
    block_others: bool = False,
    strict: bool = True,
) -> Interception:
    """Have code that asks for this URL meet a server of ours, without changing the code.

    In this process, and until it is closed, name and port lead to the server: it replaces the lookups of `resolve`
    and the connects of `socket.socket`. With `https` the certificate is issued for the name;
    `server.trust(monkeypatch)` or `server.client_context()` has clients accept it. Nothing leaves the machine. What
    doesn't look up and connect by Python's `socket` isn't seen: uvloop, libpq, gRPC, and c-ares, which aiohttp takes
    where aiodns is installed (give it `aiohttp.ThreadedResolver()`).

    Args:
        url: scheme, host and port; without one, the scheme's.
        plan: what happens to which attempt.
        answer: what is said when nothing breaks.
        block_others: whether a lookup of another name, or a connect to another machine, raises `OutsideError`.
        strict: whether leaving it fails when the planned fault never struck, or when somebody was blocked and the
            client hid it.

    Returns:
        The server, listening; use it as a context manager, or `close()` it.

    Raises:
        ParameterError: no absolute URL, or a plan that means nothing.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.intercept("http://api.example.com", faultline.ok(b"from here")):
        ...     urllib.request.urlopen("http://api.example.com/v1").read()
        b'from here'
    """
    return Interception(url, plan, answer=answer, block_others=block_others, strict=strict)
