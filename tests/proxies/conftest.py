"""What the tests of proxies share: sockets by hand, a watch on what is dialled, and no proxies from outside."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import warnings

import pytest

watching: list[list[tuple[str, object]]] = []


def watch(event, args):
    if watching and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        watching[-1].append((event, args[0] if event != "socket.connect" else args[1]))


sys.addaudithook(watch)


@pytest.fixture
def dialled():
    """What this process connects to or looks up, from here on."""
    seen: list[tuple[str, object]] = []
    watching.append(seen)
    yield seen
    watching.remove(seen)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in [n for n in os.environ if n.lower().endswith(("_proxy", "_ca_bundle")) or n.startswith("SSL_CERT")]:
        monkeypatch.delenv(name)


@pytest.fixture
def dial():
    """A function that connects to a server and says something; the connections are closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(server, data=b"", timeout=10):
            client = stack.enter_context(socket.create_connection(server.address, timeout))
            client.sendall(data)
            return client

        yield connect


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


@pytest.fixture
def nobody():
    """An address of this machine where nobody listens, until the end of the test."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*sock.getsockname())


@pytest.fixture
def ipv6():
    """IPv6 on the loopback interface, or a skip."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))
        return
    pytest.skip("needs IPv6 on the loopback interface")


@pytest.fixture
def leaks():
    """A client leaves the socket of a proxy that failed to the garbage collector, which comes before the test ends.

    httpcore and python-socks do so after a refusal by SOCKS, and Python's ssl where a RST meets `wrap_socket`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <s", ResourceWarning)
        yield
        gc.collect()
