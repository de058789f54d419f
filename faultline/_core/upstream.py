"""The upstream of a relay as a value: its address, whether it has TLS, and what happens if it can't be reached.

Rules: no function of this module looks up a name or opens a connection.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from faultline._core.check import rejected
from faultline._core.errors import ParameterError
from faultline._core.hosts import hostport, is_local

OnFailure: TypeAlias = Literal["reset", "close", "stall"]
StartTls: TypeAlias = Literal["postgres", "mysql", "smtp", "imap"]
SCHEMES = {"http": 80, "https": 443, "ws": 80, "wss": 443, "redis": 6379, "rediss": 6379, "postgresql": 5432, "tcp": 0}
SECURE = {"https", "wss", "rediss"}
UNREACHED = "could not be reached"  # in the note of an attempt
FORMS = "'127.0.0.1:5432', a URL, the path of a Unix socket, or a server of faultline"


@dataclass(frozen=True)
class Upstream:
    """The address of the real server.

    Attributes:
        host: its host.
        port: its port.
        path: the path of its Unix socket, instead of host and port.
        tls: whether to speak TLS to the server.
        has_tls_of_client: whether a relay passes on the client's TLS, so that the URL of the relay is of `https`.
        certificate: the certificate that a relay shows to the server, as PEM with its key; empty for none.
        starttls: the protocol inside which TLS begins; `None` if it begins with the connection, or not at all.
        on_failure: what happens to the client if the server can't be reached: RST, FIN or silence.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    has_tls_of_client: bool = False
    certificate: bytes = field(default=b"", repr=False)
    starttls: StartTls | None = None
    on_failure: OnFailure = "reset"

    @property
    def passed_through(self) -> Upstream:
        """The same upstream behind a relay that adds no layer of TLS to what it passes on."""
        return replace(self, tls=False, has_tls_of_client=self.tls or self.has_tls_of_client)

    def __str__(self) -> str:
        if self.path:
            return self.path
        return hostport(self.host, self.port)


@dataclass(frozen=True)
class Route:
    """The target of a proxy, and the clients that it accepts.

    Attributes:
        to: the target of all clients; `None` for the address on this machine that a client asks for.
        auth: the name and the password that a client has to send.
    """

    to: Upstream | None = None
    auth: tuple[str, str] | None = None


def parsed_upstream(text: object, *, allow_remote: bool) -> Upstream:
    """Parse the address of an upstream.

    Raises:
        ParameterError: the text is no address, or the address is on another machine and `allow_remote` is False.
    """
    if not isinstance(text, str) or not text:
        right = f"; write '127.0.0.1:{text}'" if type(text) is int else ""
        raise rejected("upstream", text, f"{FORMS}{right}")
    if text.startswith(("/", "./", "unix:")):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise rejected("upstream", text, "a path after unix:, such as 'unix:/run/app.sock'")
        return Upstream(path=os.path.abspath(path))  # noqa: PTH100 - a lexical change
    try:
        parts = urlsplit(text if "://" in text else f"tcp://{text}")
        host, port = parts.hostname, parts.port or SCHEMES.get(parts.scheme, 0)
    except ValueError:
        raise rejected("upstream", text, FORMS) from None
    if not host or not port:
        right = f"; write '127.0.0.1:{text}'" if text.isdecimal() else ""
        raise rejected("upstream", text, f"a host and a port: {FORMS}{right}")
    if not allow_remote and not is_local(host):
        raise ParameterError(
            f"upstream={text!r}: expected a server on this machine; allow_remote=True (--allow-remote) allows others."
        )
    return Upstream("127.0.0.1" if host == "localhost" else host, port, tls=parts.scheme in SECURE)


def begins_with_tls(upstream: Upstream | None, *, tls: bool) -> bool:
    """Whether clients of a server begin with TLS: the server speaks it from the beginning, or its upstream does."""
    if upstream is None:
        return tls
    return upstream.has_tls_of_client or (tls and upstream.starttls is None)
