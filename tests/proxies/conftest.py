"""What the tests of proxies share: a watch on what is dialled, an origin by hand, and tunnels to it."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import Any

import pytest
from support import by_turns, read
from support.proxies import ESTABLISHED, GRANTED, HELLO, connect_to, request_5

import faultline as fl
from faultline._net.audit_events import call_at

watching: list[list[tuple[str, object]]] = []


def watch(event, position):
    """Note what this argument of each such event is."""
    call_at(event, lambda *args: watching and watching[-1].append((event, args[position])))


watch("socket.connect", 1)
watch("socket.getaddrinfo", 0)
watch("socket.gethostbyname", 0)


@pytest.fixture
def dialled():
    """What this process connects to or looks up, from here on."""
    seen: list[tuple[str, object]] = []
    watching.append(seen)
    yield seen
    watching.remove(seen)


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch):
    """Clients trust nothing that the machine names."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listener():
    """An origin that the test holds itself."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        sock.settimeout(10)
        yield sock


@pytest.fixture
def accepted(listener):
    """A function that accepts a connection at the listener; it is closed after the test."""
    with contextlib.ExitStack() as stack:

        def accept():
            sock, _ = listener.accept()
            sock.settimeout(10)
            return stack.enter_context(sock)

        yield accept


@dataclass(frozen=True)
class Kind:
    """A proxy, how a client asks it for a tunnel to a port, and what it says then."""

    start: Any
    asks: Any
    granted: bytes


KINDS = [
    Kind(fl.http_proxy, lambda port: connect_to(f"127.0.0.1:{port}"), ESTABLISHED),
    Kind(fl.socks_proxy, lambda port: HELLO + request_5("127.0.0.1", port), GRANTED),
]


@pytest.fixture
def kind(request):
    """A kind of proxy: once a tunnel is open, both do the same."""
    return by_turns(request, *KINDS)


@pytest.fixture
def opened(kind, dial, listener, accepted):
    """A function that opens a tunnel through a proxy to an origin of the test: both ends."""

    def ends(proxy):
        client = dial(proxy, kind.asks(listener.getsockname()[1]))
        assert read(client, len(kind.granted)) == kind.granted
        return client, accepted()

    return ends


@pytest.fixture
def joined(kind, opened):
    """A function that starts a proxy and opens a tunnel through it: the proxy and both ends."""
    with contextlib.ExitStack() as proxies:

        def join(plan=None, **options):
            proxy = proxies.enter_context(kind.start(plan, **options))
            return proxy, *opened(proxy)

        yield join


@pytest.fixture
def nobody():
    """An address of this machine where nobody listens, until the end of the test."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*sock.getsockname())
