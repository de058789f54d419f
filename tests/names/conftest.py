"""What the tests of names share: each client in turn, and a check that nothing of ours is left behind."""

from __future__ import annotations

import socket
import urllib.error

import aiohttp
import httpx
import pytest
import requests
import urllib3
from support import clients

LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getnameinfo")
CONNECTS = ("connect", "connect_ex", "sendto")
# Each client, and what it raises when a name is not found.
CLIENTS = {
    clients.by_socket: socket.gaierror,
    clients.by_http_client: socket.gaierror,
    clients.by_urllib: urllib.error.URLError,
    clients.by_urllib3: getattr(urllib3.exceptions, "NameResolutionError", urllib3.exceptions.NewConnectionError),
    clients.by_requests: requests.ConnectionError,
    clients.by_httpx: httpx.ConnectError,
    clients.by_httpx_on_asyncio: httpx.ConnectError,
    clients.by_httpx_on_trio: httpx.ConnectError,
    clients.by_aiohttp: aiohttp.ClientConnectorDNSError,
    clients.by_asyncio: socket.gaierror,
    clients.by_anyio_on_asyncio: socket.gaierror,
    clients.by_anyio_on_trio: socket.gaierror,
    clients.by_trio: socket.gaierror,
}


@pytest.fixture
def functions():
    """A function that tells what the functions of names and connects are now, in the module and in the class."""

    def now():
        return [getattr(socket, name) for name in LOOKUPS], [getattr(socket.socket, name) for name in CONNECTS]

    return now


@pytest.fixture
def nothing_is_left_behind(functions):
    before, of_module = functions(), dict(vars(socket))
    yield
    assert functions() == before
    assert dict(vars(socket)) == of_module


@pytest.fixture(params=CLIENTS, ids=lambda client: client.__name__.removeprefix("by_"))
def by(request):
    """Each client in turn."""
    return request.param


@pytest.fixture
def fetch(by):
    """The same, as a function that gives the body alone."""

    def body(url, trusted=None):
        status, body = by(url, trusted)
        assert status == 200
        return body

    return body


@pytest.fixture
def dns_error(by):
    """What that client raises when a name is not found."""
    return CLIENTS[by]


@pytest.fixture
def takes_the_port(by):
    """Whether that client takes the port from the lookup, and not from the URL."""
    return by not in {clients.by_httpx_on_asyncio, clients.by_anyio_on_asyncio, clients.by_anyio_on_trio}
