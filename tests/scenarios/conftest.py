"""Plain clients for the scenarios; nothing clever."""

import contextlib
import http.client
import io
import socket

import aiohttp
import pytest
import urllib3


@pytest.fixture
def pool():
    """A urllib3 pool that retries only where the test says so, and never waits for ever."""
    with urllib3.PoolManager(timeout=10, retries=False) as manager:
        yield manager


@pytest.fixture
def dial():
    """A function that opens a plain connection to a server; it is closed after the test."""
    with contextlib.ExitStack() as clients:
        yield lambda server: clients.enter_context(socket.create_connection(server.address, timeout=10))


@pytest.fixture
def http_client():
    """A function that makes an `http.client` connection to a server; it is closed after the test."""
    with contextlib.ExitStack() as clients:

        def make(server, timeout=10):
            client = http.client.HTTPConnection(*server.address, timeout=timeout)
            return clients.enter_context(contextlib.closing(client))

        yield make


@pytest.fixture
def fetch():
    """A function that asks for `/` on an `http.client` connection: the body."""

    def ask(client):
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.read()

    return ask


@pytest.fixture
def session():
    """A function that makes an aiohttp session, inside a running loop."""
    return lambda: aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))


class WatchedPayload(aiohttp.BytesIOPayload):
    """A body that knows whether the client has released it."""

    is_closed = False

    async def close(self):
        self.is_closed = True


@pytest.fixture
def watched_payload():
    return lambda count_bytes: WatchedPayload(io.BytesIO(bytes(count_bytes)))


@pytest.fixture
def localhost_of_two_families(monkeypatch):
    """`localhost` is ::1 and 127.0.0.1 here, whatever this machine's hosts file says."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))
        look_up = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest: [
                info
                for address in ("::1", "127.0.0.1")
                for info in look_up(address if host == "localhost" else host, *rest)
            ],
        )
        return
    pytest.skip("needs IPv6 on the loopback interface")
