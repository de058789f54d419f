"""Real clients by one signature: a URL, a server to trust, a timeout and a proxy; they give the status and the body."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import urllib.request
from urllib.parse import urlsplit

import aiohttp
import anyio
import httpx
import pytest
import requests
import trio
import urllib3

from support import PATIENCE_SECONDS, urllib3_1

# urllib3 1.26 gives a context that checks names no address to check.
OF_NAME = {"server_hostname": "localhost"} if urllib3_1.IS_HERE else {}


def host_and_port(url):
    """Where a URL leads to."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def request_of(url):
    """What a client by hand says."""
    return f"GET {urlsplit(url).path or '/'} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()


def is_whole(answer):
    """Whether a response has come to its end, as far as its length says."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return bool(blank) and len(body) >= sum(lengths)


async def heard(receive):
    """A response that is received by hand."""
    answer = b""
    while not is_whole(answer):
        piece = await receive()
        if not piece:
            raise EOFError
        answer += piece
    return parted(answer)


def parted(answer):
    """The status and the body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def context_of(trusted):
    """A context that trusts a server, or nothing."""
    return trusted.client_context() if trusted else None


def proxies_of(proxy):
    """A proxy for all URLs, as requests and urllib take it."""
    return dict.fromkeys(("http", "https"), proxy.proxy_url) if proxy else {}


def by_socket(url, trusted=None, timeout=PATIENCE_SECONDS):
    host, port = host_and_port(url)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection((host, port), timeout))
        if trusted:
            sock = stack.enter_context(trusted.client_context().wrap_socket(sock, server_hostname=host))
        sock.sendall(request_of(url))
        answer = b""
        while not is_whole(answer):
            piece = sock.recv(1 << 16)
            if not piece:
                raise EOFError
            answer += piece
        return parted(answer)


def by_http_client(url, trusted=None, timeout=PATIENCE_SECONDS, proxy=None):
    made = http.client.HTTPSConnection if trusted else http.client.HTTPConnection
    options = {"context": context_of(trusted)} if trusted else {}
    client = made(*(proxy.address if proxy else host_and_port(url)), timeout=timeout, **options)
    with contextlib.closing(client):
        if proxy:
            client.set_tunnel(*host_and_port(url))
        client.request("GET", urlsplit(url).path or "/")
        with client.getresponse() as response:
            return response.status, response.read()


def by_urllib(url, trusted=None, timeout=PATIENCE_SECONDS, proxy=None):
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies_of(proxy)), urllib.request.HTTPSHandler(context=context_of(trusted))
    )
    with opener.open(url, timeout=timeout) as response:
        return response.status, response.read()


def by_urllib3(url, trusted=None, timeout=PATIENCE_SECONDS, proxy=None):
    options = {"timeout": timeout, "retries": False, "ssl_context": context_of(trusted)}
    with urllib3.ProxyManager(proxy.proxy_url, **options) if proxy else urllib3.PoolManager(**options) as pool:
        response = pool.request("GET", url)
        return response.status, response.data


def by_requests(url, trusted=None, timeout=PATIENCE_SECONDS, proxy=None):
    verify = trusted.ca_file if trusted else None
    with (
        requests.Session() as session,
        session.get(url, timeout=timeout, verify=verify, proxies=proxies_of(proxy)) as response,
    ):
        return response.status_code, response.content


def by_httpx(url, trusted=None, timeout=PATIENCE_SECONDS, proxy=None):
    verify, through = context_of(trusted) or False, proxy and proxy.proxy_url
    with httpx.Client(timeout=timeout, verify=verify, proxy=through) as client:
        response = client.get(url)
        return response.status_code, response.content


async def ask_httpx(url, trusted, seconds):
    async with httpx.AsyncClient(timeout=seconds, verify=context_of(trusted) or False) as client:
        response = await client.get(url)
        return response.status_code, response.content


def by_httpx_on_asyncio(url, trusted=None, timeout=PATIENCE_SECONDS):
    return asyncio.run(ask_httpx(url, trusted, timeout))


def by_httpx_on_trio(url, trusted=None, timeout=PATIENCE_SECONDS):
    return trio.run(ask_httpx, url, trusted, timeout)


def by_aiohttp(url, trusted=None, timeout=PATIENCE_SECONDS, proxy=None, method="GET"):
    limit = timeout if isinstance(timeout, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=timeout)

    async def ask():
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=context_of(trusted) or True)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.request(method, url, proxy=proxy and proxy.proxy_url) as response,
        ):
            return response.status, await response.read()

    return asyncio.run(ask())


def by_asyncio(url, trusted=None, timeout=PATIENCE_SECONDS):
    async def ask():
        reader, writer = await asyncio.open_connection(*host_and_port(url), ssl=context_of(trusted))
        try:
            writer.write(request_of(url))
            return await heard(lambda: reader.read(1 << 16))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return asyncio.run(asyncio.wait_for(ask(), timeout))


async def ask_anyio(url, trusted, seconds):
    options = {"tls": True, "ssl_context": context_of(trusted), "tls_standard_compatible": False} if trusted else {}
    with anyio.fail_after(seconds):
        async with await anyio.connect_tcp(*host_and_port(url), **options) as stream:
            await stream.send(request_of(url))
            return await heard(stream.receive)


def by_anyio_on_asyncio(url, trusted=None, timeout=PATIENCE_SECONDS):
    return anyio.run(ask_anyio, url, trusted, timeout, backend="asyncio")


def by_anyio_on_trio(url, trusted=None, timeout=PATIENCE_SECONDS):
    return anyio.run(ask_anyio, url, trusted, timeout, backend="trio")


def by_trio(url, trusted=None, timeout=PATIENCE_SECONDS):
    async def ask():
        host, port = host_and_port(url)
        with trio.fail_after(timeout):
            stream = await trio.open_tcp_stream(host, port)
            if trusted:
                stream = trio.SSLStream(stream, context_of(trusted), server_hostname=host, https_compatible=True)
            async with stream:
                await stream.send_all(request_of(url))
                return await heard(stream.receive_some)

    return trio.run(ask)


# For the fixture `by`: a client of each way to look up a name and to connect.
ONE_OF_EACH_WAY = pytest.mark.parametrize(
    "by", [by_requests, by_aiohttp, by_httpx_on_trio, by_asyncio], indirect=True, ids=lambda by: by.__name__[3:]
)
