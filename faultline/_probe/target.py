"""The server that `faultline probe` asks, from its URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from faultline._core.errors import ParameterError

PORTS = {"http": 80, "https": 443, "tcp": 0, "tls": 0}
EXPECTED = "expected a URL such as http://localhost:8000/, https://example.com, tcp://HOST:PORT or tls://HOST:PORT"


@dataclass(frozen=True)
class Target:
    """A server, and what is spoken to it.

    Attributes:
        url: the URL as it was given.
        scheme: `http`, `https`, `tcp` or `tls`.
        host: the name or the address.
        port: the port.
        path: the path and the query of an HTTP request.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_tls(self) -> bool:
        """Whether the conversation has a handshake of TLS."""
        return self.scheme in ("https", "tls")

    @property
    def is_http(self) -> bool:
        """Whether a request of HTTP is sent."""
        return self.scheme in ("http", "https")

    @property
    def name(self) -> str:
        """The host as it is looked up and compared with certificates: in ASCII."""
        return self.host.encode("idna").decode("ascii")


def target_of(url: str) -> Target:
    """The server that a URL names.

    Raises:
        ParameterError: it is no URL, has another scheme, no host or no port, or a name and a password.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise ParameterError(f"probe {url!r}: {EXPECTED} ({error}).") from None
    if scheme not in PORTS or "//" not in url:
        hint = f" Write http://{url} or tcp://{url}." if "//" not in url and ":" in url else ""
        raise ParameterError(f"probe {url!r}: {EXPECTED}.{hint}")
    port = PORTS[scheme] if port is None else port
    if not host or not port or any(letter <= " " for letter in url):
        raise ParameterError(f"probe {url!r}: {EXPECTED}.")
    if parts.username is not None:
        raise ParameterError(f"probe {url!r}: expected no name and password in the URL; they are not sent.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise ParameterError(f"probe {url!r}: expected a path in ASCII, with %-escapes for other letters.")
    return Target(url, scheme, host, port, path)
