"""The clients of the atlas, each in the plainest way that has a timeout; `make_atlas.py` audits them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import aiohttp
import httpx
import requests
import urllib3

SECONDS = 2.0


def http_client(url: str) -> bytes:
    """One request on one connection."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with contextlib.closing(kind(parts.hostname or "", parts.port, timeout=SECONDS)) as connection:
        connection.request("GET", "/")
        with connection.getresponse() as response:
            return response.read()


def urllib_request(url: str) -> bytes:
    """The function of the standard library."""
    with urllib.request.urlopen(url, timeout=SECONDS) as response:  # noqa: S310 - the audit's own URL
        return bytes(response.read())


@contextlib.contextmanager
def urllib3_pool() -> Iterator[Callable[[str], urllib3.BaseHTTPResponse]]:
    """A pool with the retries that it has by itself."""
    with urllib3.PoolManager(timeout=SECONDS) as pool:
        yield lambda url: pool.request("GET", url)


@contextlib.contextmanager
def requests_session() -> Iterator[Callable[[str], requests.Response]]:
    """A session."""
    with requests.Session() as session:
        yield lambda url: session.get(url, timeout=SECONDS)


@contextlib.contextmanager
def httpx_client() -> Iterator[Callable[[str], httpx.Response]]:
    """A client; it follows no redirects by itself."""
    with httpx.Client(timeout=SECONDS) as client:
        yield client.get


@contextlib.asynccontextmanager
async def aiohttp_session() -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
    """A session."""

    async def get(url: str) -> bytes:
        async with session.get(url) as response:
            return await response.read()

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        yield get


async def asyncio_streams(url: str) -> bytes:
    """HTTP/1.0 by hand, until the end of the stream: what is cut can't be told from what is whole."""

    async def asked() -> bytes:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=parts.scheme == "https" or None)
        try:
            writer.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return await reader.read()
        finally:
            writer.close()

    return await asyncio.wait_for(asked(), SECONDS)


NODE = "fetch(process.argv[1],{signal:AbortSignal.timeout(2000)}).then(r=>r.text()).then(t=>console.log(t.length))"
FACTORIES = {
    "urllib3": urllib3_pool,
    "requests": requests_session,
    "httpx": httpx_client,
    "aiohttp": aiohttp_session,
}
FUNCTIONS = {"http.client": http_client, "urllib": urllib_request, "asyncio streams": asyncio_streams}
COMMANDS = {
    "curl": "curl -sS --max-time 2 {url}",
    "wget": "wget -q -O - --timeout=2 --tries=1 --ca-certificate={ca_file} {url}",
    "node fetch": f"node -e '{NODE}' {{url}}",
}
