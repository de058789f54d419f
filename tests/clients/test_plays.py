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
from support import HIDES_EOF, PATIENCE_SECONDS
from support.tables import each_row, side_by_side

import faultline
from faultline._core.causes import chain, widened
from faultline._explain.find import ENTRIES
from faultline._explain.plays import CLIENTS, PLAYS

pytestmark = [pytest.mark.leaves_open, pytest.mark.slow, pytest.mark.everywhere]

UPLOAD = bytes(8 << 20)  # more than the kernel's buffers take
WAIT_SECONDS = 0.3  # where nothing comes
LATE_SECONDS = 1.0  # where something has to come before the silence, however busy the machine is


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
    with httpx.Client(timeout=seconds, verify=context_of(server) or False) as client:
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
    has_begun = play.tls or play.uploads or "after_" in str(play.fault)
    silent_seconds = LATE_SECONDS if has_begun else WAIT_SECONDS
    seconds = silent_seconds if play.cause == "TimeoutError" else PATIENCE_SECONDS
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
    (play, client)
    for play in PLAYS
    for client, name in zip(CLIENTS, play.raised, strict=True)
    if name or not play.uploads  # a client without a write timeout waits for ever
]


LOOKUPS = [row for row in ROWS if row[0].point == "lookup"]  # which are those of the process: one at a time
OTHERS = [row for row in ROWS if row[0].point != "lookup"]
AT_ONCE = 8


@pytest.mark.all_cases
@pytest.mark.parametrize("turn", range(4))
def test_clients_raise_what_the_table_says(turn):
    side_by_side(check_client, OTHERS[turn::4], at_once=AT_ONCE)


@each_row("play, client", LOOKUPS)
def test_clients_of_a_lookup_raise_what_the_table_says(play, client):
    check_client(play, client)


def check_client(play, client):
    name = play.raised[CLIENTS.index(client)]
    error, cause = outcome(play, client), here(play.cause)

    assert error is None if not name else type(error) in map(class_of, here(name).split(" or ")), repr(error)
    if client in play.keeping:
        found = [detail_of(each) for each in chain(error) if isinstance(each, widened((class_of(cause),)))]
        assert found
        assert not play.detail or play.detail in found or cause != play.cause


def here(name):
    """The class that this version of Python raises."""
    return name.replace("ssl.SSLEOFError", "ssl.SSLZeroReturnError") if HIDES_EOF else name


# --- what the texts say of classes -----------------------------------------------------------------------------------


PATHS = [entry.name for entry in ENTRIES if "." in entry.name and " " not in entry.name]


@each_row("path", PATHS)
def test_class_that_has_a_text_exists(path):
    assert issubclass(class_of(path), Exception)


@each_row("entry", [entry for entry in ENTRIES if entry.members and "." in entry.name])
def test_kinds_of_a_class_are_derived_from_it(entry):
    kinds = [name for name in entry.members if "." in name]

    assert [name for name in kinds if not issubclass(class_of(name), class_of(entry.name))] == []


@each_row(
    "path, base, is_one",
    [
        ("http.client.RemoteDisconnected", "ConnectionResetError", True),
        ("http.client.RemoteDisconnected", "http.client.BadStatusLine", True),
        ("http.client.HTTPException", "OSError", False),
        ("urllib3.exceptions.HTTPError", "OSError", False),
        ("urllib3.exceptions.NewConnectionError", "urllib3.exceptions.ConnectTimeoutError", True),
        ("urllib3.exceptions.NameResolutionError", "urllib3.exceptions.NewConnectionError", True),
        ("requests.exceptions.RequestException", "OSError", True),
        ("requests.exceptions.ConnectionError", "ConnectionError", False),
        ("requests.exceptions.ConnectTimeout", "requests.exceptions.ConnectionError", True),
        ("requests.exceptions.ConnectTimeout", "requests.exceptions.Timeout", True),
        ("requests.exceptions.ReadTimeout", "requests.exceptions.ConnectionError", False),
        ("requests.exceptions.SSLError", "requests.exceptions.ConnectionError", True),
        ("httpx.HTTPError", "OSError", False),
        ("httpx.RequestError", "httpx.HTTPError", True),
        ("aiohttp.ClientOSError", "OSError", True),
        ("aiohttp.ClientConnectorError", "aiohttp.ClientOSError", True),
        ("aiohttp.ClientConnectorSSLError", "ssl.SSLError", True),
        ("aiohttp.ServerDisconnectedError", "OSError", False),
        ("aiohttp.ServerTimeoutError", "asyncio.TimeoutError", True),
        ("ssl.SSLError", "ConnectionError", False),
        ("socket.gaierror", "ConnectionError", False),
        ("TimeoutError", "ConnectionError", False),
    ],
)
def test_class_is_of_the_family_that_its_text_says(path, base, is_one):
    assert issubclass(class_of(path), class_of(base)) == is_one


def test_timeout_of_a_whole_call_of_aiohttp_is_no_client_error():
    async def ask(url):
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_SECONDS)) as session,
            session.get(url) as response,
        ):
            await response.read()

    with faultline.serve(faultline.stall(), strict=False) as server, pytest.raises(asyncio.TimeoutError) as raised:
        asyncio.run(ask(server.url))

    assert not isinstance(raised.value, aiohttp.ClientError)


@each_row("client, most", [("requests", 30), ("aiohttp", 10)])
def test_redirects_are_followed_as_often_as_the_text_says(client, most):
    raising = pytest.raises(class_of(f"{client}.TooManyRedirects"))
    with faultline.serve(faultline.redirect("loop"), strict=False) as server, raising:
        ASKING[client](server.url, server, None, PATIENCE_SECONDS)

    assert len(server.attempts) in {most, most + 1}
