"""Real clients that ask in TLS by a context that they are given, or by their own; they give the body."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import urllib.request
from urllib.parse import urlsplit

import aiohttp
import httpx

from support import PATIENCE_SECONDS


def by_urllib(url, context=None):
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS, context=context) as response:
        return response.read()


def by_http_client(url, context=None):
    client = http.client.HTTPSConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS, context=context)
    with contextlib.closing(client):
        client.request("GET", urlsplit(url).path or "/")
        with client.getresponse() as response:
            return response.read()


def by_httpx(url, context=None):
    return httpx.get(url, timeout=PATIENCE_SECONDS, verify=context or True).content


class Connector(aiohttp.TCPConnector):
    """Leaves no transport behind: aiohttp does not wait for the ones that it closes after a response or an error."""

    def __init__(self):
        self._made = []
        super().__init__()

    async def _create_connection(self, *args, **kwargs):
        protocol = await super()._create_connection(*args, **kwargs)
        self._made.append(protocol.transport)
        return protocol

    async def close(self, *args, **kwargs):
        await super().close(*args, **kwargs)
        for transport in self._made:
            if transport is not None:
                with contextlib.suppress(AttributeError):  # asyncio of 3.11.2: it is gone already
                    transport.abort()


def by_aiohttp(url, context=None):
    async def ask():
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with (
            aiohttp.ClientSession(connector=Connector(), timeout=timeout) as session,
            session.get(url, ssl=context or True) as response,
        ):
            return await response.read()

    return asyncio.run(ask())


def by_streams(url, context=None):
    async def ask():
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context or True)
        try:
            writer.write(f"GET {parts.path or '/'} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return (await reader.read()).partition(b"\r\n\r\n")[2]
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return asyncio.run(asyncio.wait_for(ask(), PATIENCE_SECONDS))
