"""Fronts: the server that a client meets in one case, as the URL, the environment and the lookup of the client.

A front is a server of its own, a relay before a real server, or an HTTP proxy before a server where nothing breaks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from faultline._audit.cases import Choice, Row
from faultline._servers.proxies import http_proxy
from faultline._servers.server import Server
from faultline._servers.start import relay, serve
from faultline.modes.answers import echo, ok

NAME = "localhost"  # looked up where the lookup is what fails; a client that ignores that finds it on this machine
OF_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
EXCEPTIONS = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True)
class Front:
    """What a client meets.

    Attributes:
        server: the server whose ledger has the attempts of the client.
        url: the URL that the client is called with.
        environment: variables of the process of the client; `None` takes one away.
        lookup: the mode of the lookup that fails and its arguments, if it is one.
    """

    server: Server
    url: str
    environment: Mapping[str, str | None] = field(default_factory=dict)
    lookup: tuple[str, dict[str, Any]] | None = None


@contextlib.contextmanager
def front(row: Row, choice: Choice) -> Iterator[Front]:
    """Start what the client meets in a case, and end it with the block.

    Raises:
        UnsupportedError: the case can't be produced here.
    """
    with contextlib.ExitStack() as stack:

        def started(server: Server) -> Server:
            return stack.enter_context(contextlib.closing(server))

        case, fault = row.case, row.case.fault
        if case.point == "lookup":
            server = started(serve(ok(), strict=False))
            yield Front(server, f"http://{NAME}:{server.port}", lookup=(case.mode, dict(case.arguments)))
        elif choice.proxy:
            origin = started(serve(ok(), tls=row.tls, strict=False))
            server = started(http_proxy(fault, strict=False))
            environment = dict.fromkeys(OF_PROXIES, server.proxy_url) | dict.fromkeys(EXCEPTIONS)
            yield Front(server, origin.url, environment)
        elif choice.upstream:
            server = started(relay(choice.upstream, fault, tls="terminate" if row.tls else "through", strict=False))
            yield Front(server, f"tcp://{server.hostport}")
        else:
            is_http = choice.protocol == "http"
            server = started(serve(fault, tls=row.tls, answer=None if is_http else echo(), strict=False))
            yield Front(server, server.url if is_http else f"tcp://{server.hostport}")
