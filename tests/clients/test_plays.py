"""The table that `faultline explain` tells facts from: each row is played to each client."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib
import io
import ssl
from contextlib import closing
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import urllib3
from support import PATIENCE_SECONDS

import faultline
from faultline._core.causes import chain, widened
from faultline._explain.plays import CLIENTS, PLAYS

pytestmark = [pytest.mark.leaves_open, pytest.mark.slow, pytest.mark.everywhere]

UPLOAD = bytes(8 << 20)  # more than the kernel's buffers take
WAIT_SECONDS = 0.3  # where nothing comes


def by_http_client(url, server, body, seconds):
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = server.client_context()
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    with closing(connection):
        connection.request("POST" if body else "GET", "/", body)
        with connection.getresponse() as response:
            response.read()


def by_urllib3(url, server, body, seconds):
    with urllib3.PoolManager(timeout=seconds, ssl_context=context_of(server), retries=False) as pool:
        pool.request("POST" if body else "GET", url, body=body, redirect=True)


def by_requests(url, server, body, seconds):
    with requests.Session() as session:
        session.trust_env = False
        trusted = server.ca_file if url.startswith("https") else True
        session.request("POST" if body else "GET", url, data=body, timeout=seconds, verify=trusted)


def by_httpx(url, server, body, seconds):
    with httpx.Client(timeout=seconds, verify=context_of(server) or ssl.create_default_context()) as client:
        client.request("POST" if body else "GET", url, content=body)


def by_aiohttp(url, server, body, seconds):
    async def ask():
        timeout = aiohttp.ClientTimeout(connect=seconds, sock_connect=seconds, sock_read=seconds)
        # With aiodns, aiohttp would ask a DNS server itself.
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=context_of(server) or True)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            session.request("POST" if body else "GET", url, data=body and io.BytesIO(body)) as response,
        ):
            await response.read()

    asyncio.run(ask())


ASKING = {
    "http.client": by_http_client,
    "urllib3": by_urllib3,
    "requests": by_requests,
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
}


def context_of(server):
    """The context of a client; a resolver has none."""
    return server.client_context() if hasattr(server, "client_context") else None


@contextlib.contextmanager
def met(play):
    """A URL where clients meet the fault of a play, and its server or resolver."""
    if play.point == "lookup":
        with faultline.resolve("api.example.com", play.fault) as resolver:
            yield "http://api.example.com/", resolver
    else:
        with faultline.serve(play.fault, tls=play.tls, strict=False) as server:
            yield server.url, server


def outcome(play, client):
    """The exception of a client; `None` if the client has returned."""
    seconds = WAIT_SECONDS if play.cause == "TimeoutError" else PATIENCE_SECONDS
    with met(play) as (url, server):
        try:
            ASKING[client](url, server, UPLOAD if play.uploads else None, seconds)
        except Exception as error:  # noqa: BLE001 - its class is the question
            return error
    return None


def class_of(name):
    """The class that a path names, as users write it."""
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(module or "builtins"), kind)


def detail_of(error):
    """The detail of an error, as the table has it."""
    if isinstance(error, ssl.SSLError):  # aiohttp's own classes have neither, and hold one that has
        code = getattr(error, "verify_code", 0)
        return f"verify code {code}" if code else getattr(error, "reason", None) or ""
    return str(getattr(error, "errno", None) or "")


ROWS = [
    pytest.param(play, client, name, id=f"{play.plan}-{client}")
    for play in PLAYS
    for client, name in zip(CLIENTS, play.raised, strict=True)
    if name or not play.uploads  # a client without a write timeout waits for ever
]


@pytest.mark.all_cases
@pytest.mark.parametrize(("play", "client", "name"), ROWS)
def test_client_raises_what_the_table_says(play, client, name):
    error = outcome(play, client)

    assert error is None if not name else type(error) in map(class_of, name.split(" or ")), repr(error)
    if client in play.keeping:
        kinds = widened((class_of(play.cause),))
        found = [detail_of(each) for each in chain(error) if isinstance(each, kinds)]
        assert found
        assert not play.detail or play.detail in found
