"""What the tests of names share: every client by one signature, and a check that nothing of ours is left behind."""

import asyncio
import contextlib
import http.client
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import aiohttp
import anyio
import httpx
import pytest
import requests
import trio
import urllib3

LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getnameinfo")
CONNECTS = ("connect", "connect_ex", "sendto")
SECONDS = 10


@pytest.fixture
def functions():
    """A function that tells what the functions of names and connects are now, in the module and in the class."""

    def now():
        return [getattr(socket, name) for name in LOOKUPS], [getattr(socket.socket, name) for name in CONNECTS]

    return now


@pytest.fixture
def nothing_is_left_behind(functions):
    before = functions()
    yield
    assert functions() == before


def host_and_port(url):
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def asked(url):
    return f"GET {urlsplit(url).path or '/'} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()


def body_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    return body


def length_is_there(answer):
    head, separator, body = answer.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return separator and len(body) >= sum(lengths)


def context_of(trusted):
    return trusted.client_context() if trusted else None


def by_socket(url, trusted=None, timeout=SECONDS):
    host, port = host_and_port(url)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection((host, port), timeout))
        if trusted:
            sock = stack.enter_context(trusted.client_context().wrap_socket(sock, server_hostname=host))
        sock.sendall(asked(url))
        answer = b""
        while not length_is_there(answer):
            piece = sock.recv(1 << 16)
            if not piece:
                raise EOFError
            answer += piece
        return body_of(answer)


def by_http_client(url, trusted=None, timeout=SECONDS):
    if trusted:
        client = http.client.HTTPSConnection(*host_and_port(url), timeout=timeout, context=context_of(trusted))
    else:
        client = http.client.HTTPConnection(*host_and_port(url), timeout=timeout)
    with contextlib.closing(client):
        client.request("GET", urlsplit(url).path or "/")
        with client.getresponse() as response:
            return response.read()


def by_urllib(url, trusted=None, timeout=SECONDS):
    with urllib.request.urlopen(url, timeout=timeout, context=context_of(trusted)) as response:
        return response.read()


def by_urllib3(url, trusted=None, timeout=SECONDS):
    with urllib3.PoolManager(timeout=timeout, retries=False, ssl_context=context_of(trusted)) as pool:
        return pool.request("GET", url).data


def by_requests(url, trusted=None, timeout=SECONDS):
    with (
        requests.Session() as session,
        session.get(url, timeout=timeout, verify=trusted.ca_file if trusted else True) as r,
    ):
        return r.content


def by_httpx(url, trusted=None, timeout=SECONDS):
    with httpx.Client(timeout=timeout, verify=context_of(trusted) or True) as client:
        return client.get(url).content


async def ask_httpx(url, trusted, seconds):
    async with httpx.AsyncClient(timeout=seconds, verify=context_of(trusted) or True) as client:
        return (await client.get(url)).content


def by_httpx_on_asyncio(url, trusted=None, timeout=SECONDS):
    return asyncio.run(ask_httpx(url, trusted, timeout))


def by_httpx_on_trio(url, trusted=None, timeout=SECONDS):
    return trio.run(ask_httpx, url, trusted, timeout)


def by_aiohttp(url, trusted=None, timeout=SECONDS):
    async def ask():
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=context_of(trusted) or True)
        limit = aiohttp.ClientTimeout(total=timeout)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.get(url) as response,
        ):
            return await response.read()

    return asyncio.run(ask())


def by_asyncio(url, trusted=None, timeout=SECONDS):
    async def ask():
        reader, writer = await asyncio.open_connection(*host_and_port(url), ssl=context_of(trusted))
        try:
            writer.write(asked(url))
            answer = b""
            while not length_is_there(answer):
                piece = await reader.read(1 << 16)
                if not piece:
                    raise EOFError
                answer += piece
            return body_of(answer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return asyncio.run(asyncio.wait_for(ask(), timeout))


async def ask_anyio(url, trusted, seconds):
    host, port = host_and_port(url)
    options = {"tls": True, "ssl_context": context_of(trusted), "tls_standard_compatible": False} if trusted else {}
    with anyio.fail_after(seconds):
        async with await anyio.connect_tcp(host, port, **options) as stream:
            await stream.send(asked(url))
            answer = b""
            while not length_is_there(answer):
                answer += await stream.receive()
            return body_of(answer)


def by_anyio_on_asyncio(url, trusted=None, timeout=SECONDS):
    return anyio.run(ask_anyio, url, trusted, timeout, backend="asyncio")


def by_anyio_on_trio(url, trusted=None, timeout=SECONDS):
    return anyio.run(ask_anyio, url, trusted, timeout, backend="trio")


def by_trio(url, trusted=None, timeout=SECONDS):
    async def ask():
        host, port = host_and_port(url)
        with trio.fail_after(timeout):
            stream = await trio.open_tcp_stream(host, port)
            if trusted:
                stream = trio.SSLStream(stream, context_of(trusted), server_hostname=host, https_compatible=True)
            async with stream:
                await stream.send_all(asked(url))
                answer = b""
                while not length_is_there(answer):
                    piece = await stream.receive_some()
                    if not piece:
                        raise EOFError
                    answer += piece
                return body_of(answer)

    return trio.run(ask)


# Each client, and what it raises when a name is not found.
CLIENTS = {
    by_socket: socket.gaierror,
    by_http_client: socket.gaierror,
    by_urllib: urllib.error.URLError,
    by_urllib3: urllib3.exceptions.NameResolutionError,
    by_requests: requests.ConnectionError,
    by_httpx: httpx.ConnectError,
    by_httpx_on_asyncio: httpx.ConnectError,
    by_httpx_on_trio: httpx.ConnectError,
    by_aiohttp: aiohttp.ClientConnectorDNSError,
    by_asyncio: socket.gaierror,
    by_anyio_on_asyncio: socket.gaierror,
    by_anyio_on_trio: socket.gaierror,
    by_trio: socket.gaierror,
}


@pytest.fixture(params=CLIENTS, ids=lambda client: client.__name__.removeprefix("by_"))
def fetch(request):
    """Each client in turn, as a function of a URL, and of a server whose certificates are trusted: the body."""
    return request.param


@pytest.fixture
def dns_error(fetch):
    """What that client raises when a name is not found."""
    return CLIENTS[fetch]


@pytest.fixture
def takes_the_port(fetch):
    """Whether that client takes the port from the lookup, and not from the URL."""
    return fetch not in {by_httpx_on_asyncio, by_anyio_on_asyncio, by_anyio_on_trio}
