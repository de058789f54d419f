"""The upstream of a relay, as a value: where the real server is, how to speak to it, and what if it can't be reached.

Text in, a value out: nothing is looked up and nothing is dialled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from faultline._core.check import rejected
from faultline._core.errors import ParameterError
from faultline._core.hosts import hostport, is_local

OnFailure: TypeAlias = Literal["reset", "close", "stall"]
SCHEMES = {"http": 80, "https": 443, "ws": 80, "wss": 443, "redis": 6379, "rediss": 6379, "postgresql": 5432, "tcp": 0}
SECURE = {"https", "wss", "rediss"}
FORMS = "'127.0.0.1:5432', a URL, the path of a Unix socket, or a server of faultline"


@dataclass(frozen=True)
class Upstream:
    """Where the real server is.

    Attributes:
        path: the path of its Unix socket, instead of host and port.
        tls: speak TLS to it.
        on_failure: what the client meets if it can't be reached: RST, FIN or silence.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    on_failure: OnFailure = "reset"

    def __str__(self) -> str:
        if self.path:
            return self.path
        return hostport(self.host, self.port)


@dataclass(frozen=True)
class Route:
    """Where a proxy leads its clients, and which clients it leads.

    Attributes:
        to: all clients are led here; without it, to the address on this machine that they ask for.
        auth: the name and password that a client has to show.
    """

    to: Upstream | None = None
    auth: tuple[str, str] | None = None


def parsed_upstream(text: object, *, allow_remote: bool) -> Upstream:
    """An upstream by its address.

    Raises:
        ParameterError: no address, or one of another machine.
    """
    if not isinstance(text, str) or not text:
        raise rejected("upstream", text, FORMS)
    if text.startswith(("/", "./", "unix:")):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise rejected("upstream", text, "a path behind it")
        return Upstream(path=os.path.abspath(path))  # noqa: PTH100 - nothing is looked up
    try:
        parts = urlsplit(text if "://" in text else f"tcp://{text}")
        host, port = parts.hostname, parts.port or SCHEMES.get(parts.scheme, 0)
    except ValueError:
        raise rejected("upstream", text, FORMS) from None
    if not host or not port:
        raise rejected("upstream", text, f"a host and a port: {FORMS}")
    if not allow_remote and not is_local(host):
        raise ParameterError(f"upstream={text!r}: expected a server on this machine; allow_remote=True allows others.")
    return Upstream("127.0.0.1" if host == "localhost" else host, port, tls=parts.scheme in SECURE)
