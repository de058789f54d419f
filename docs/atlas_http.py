"""The HTTP clients of the atlas, each in the plainest way that has a timeout; `make_atlas.py` audits them.

`GET.httpx` and `POST.httpx` are factories for the audit, and `TWICE.httpx` is one whose client asks a second time where
the first failed. Each imports its client when it is first asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

SECONDS = 2.0
ORDER = b"order"  # the body of a POST
Get = Callable[[str], Any]
Client = Callable[[], Any]


def http_client(method: str) -> Client:
    """One request on one connection."""
    import http.client

    def ask(url: str) -> bytes:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with contextlib.closing(kind(parts.hostname or "", parts.port, timeout=SECONDS)) as connection:
            connection.request(method, "/", body_of(method))
            with connection.getresponse() as response:
                return response.read()

    return lambda: ask


def urllib(method: str) -> Client:
    """The function of the standard library."""
    import urllib.request

    def ask(url: str) -> bytes:
        request = urllib.request.Request(url, body_of(method), method=method)  # noqa: S310 - the audit's own URL
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - the same
            return bytes(response.read())

    return lambda: ask


def asyncio_streams(method: str) -> Client:
    """HTTP/1.0 by hand, until the end of the stream."""
    body = body_of(method) or b""
    head = f"{method} / HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"

    async def asked(url: str) -> bytes:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=parts.scheme == "https" or None)
        try:
            writer.write(head.encode() + body)
            return await reader.read()
        finally:
            writer.close()

    return lambda: lambda url: asyncio.wait_for(asked(url), SECONDS)


def urllib3(method: str) -> Client:
    """A pool with the retries that it has by itself; of a proxy, which it doesn't look for, it is told."""
    import urllib3

    @contextlib.contextmanager
    def pool() -> Iterator[Get]:
        proxy = os.environ.get("HTTPS_PROXY")
        made = urllib3.ProxyManager(proxy, timeout=SECONDS) if proxy else urllib3.PoolManager(timeout=SECONDS)
        with made:
            yield lambda url: made.request(method, url, body=body_of(method))

    return pool


def requests(method: str) -> Client:
    """A session."""
    import requests

    return of_session(requests.Session, method)


def niquests(method: str) -> Client:
    """A session."""
    import niquests

    return of_session(niquests.Session, method)


def of_session(kind: Any, method: str) -> Client:
    """A session as requests has it."""

    @contextlib.contextmanager
    def opened() -> Iterator[Get]:
        with kind() as session:
            yield lambda url: session.request(method, url, data=body_of(method), timeout=SECONDS)

    return opened


def botocore(method: str) -> Client:
    """S3's get_object, and DynamoDB's put_item for POST, with the attempts that they make by themselves."""
    import botocore.config
    import botocore.session

    session = botocore.session.get_session()
    config = botocore.config.Config(connect_timeout=SECONDS, read_timeout=SECONDS, s3={"addressing_style": "path"})

    def client_of(url: str) -> Any:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        trust = os.environ.get("REQUESTS_CA_BUNDLE")
        service = "s3" if method == "GET" else "dynamodb"
        return session.create_client(service, endpoint_url=url, config=config, verify=trust, **keys)

    client_of("http://127.0.0.1:1").close()  # reads what the service is, once for all calls

    @contextlib.contextmanager
    def made() -> Iterator[Get]:
        clients: dict[str, Any] = {}

        def ask(url: str) -> Any:
            client = clients.get(url) or clients.setdefault(url, client_of(url))
            if method == "GET":
                return client.get_object(Bucket="bucket", Key="key")["Body"].read()
            return len(client.put_item(TableName="orders", Item={"order": {"S": "book"}}))

        yield ask
        for client in clients.values():
            client.close()

    return made


def httpx(method: str) -> Client:
    """A client with one connection; it follows no redirects by itself."""
    import httpx

    limits = httpx.Limits(max_connections=1)

    @contextlib.contextmanager
    def opened() -> Iterator[Get]:
        with httpx.Client(timeout=SECONDS, limits=limits) as client:
            yield lambda url: client.request(method, url, content=body_of(method))

    return opened


def aiohttp(method: str) -> Client:
    """A session with one connection, which reads the variables of proxies, and looks up as it does without aiodns."""
    import aiohttp

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
        async def ask(url: str) -> bytes:
            async with session.request(method, url, data=body_of(method)) as response:
                return await response.read()

        timeout = aiohttp.ClientTimeout(total=SECONDS)
        connector = aiohttp.TCPConnector(limit=1, resolver=aiohttp.ThreadedResolver())
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True, connector=connector) as session:
            yield ask

    return opened


def tornado(method: str) -> Client:
    """The client that it has by itself."""
    import tornado.httpclient

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
        client = tornado.httpclient.AsyncHTTPClient(force_instance=True)

        async def ask(url: str) -> bytes:
            limits = {"connect_timeout": SECONDS, "request_timeout": SECONDS}
            response = await client.fetch(url, method=method, body=body_of(method), **limits)
            return response.body

        yield ask
        client.close()

    return opened


def pycurl(method: str) -> Client:
    """One handle of libcurl, which keeps its connection."""
    import pycurl

    @contextlib.contextmanager
    def opened() -> Iterator[Get]:
        handle = pycurl.Curl()

        def ask(url: str) -> bytes:
            received = io.BytesIO()
            handle.setopt(pycurl.URL, url)
            handle.setopt(pycurl.TIMEOUT_MS, int(SECONDS * 1000))
            handle.setopt(pycurl.WRITEFUNCTION, received.write)
            handle.setopt(pycurl.CAINFO, os.environ["SSL_CERT_FILE"])
            if method == "POST":
                handle.setopt(pycurl.POSTFIELDS, ORDER)
            handle.perform()
            return received.getvalue()

        yield ask
        handle.close()

    return opened


def body_of(method: str) -> bytes | None:
    """The body of a request."""
    return ORDER if method == "POST" else None


class Methods:
    """The factories of all clients for one method, by the names of their functions."""

    def __init__(self, method: str, *, twice: bool = False) -> None:
        self._method, self._twice = method, twice

    def __getattr__(self, name: str) -> Client:
        client: Client = globals()[name](self._method)
        return asked_twice(client) if self._twice else client


def asked_twice(client: Client) -> Client:
    """The same client, which asks a second time where the first time it failed."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
        async with contextlib.AsyncExitStack() as stack:
            made = client()
            if hasattr(made, "__aenter__"):
                made = await stack.enter_async_context(made)
            elif hasattr(made, "__enter__"):
                made = stack.enter_context(made)

            async def ask(url: str) -> Any:
                got = made(url)
                return await got if inspect.isawaitable(got) else got

            async def again(url: str) -> Any:
                with contextlib.suppress(Exception):
                    return await ask(url)
                return await ask(url)

            yield again

    return opened


GET, POST, TWICE = Methods("GET"), Methods("POST"), Methods("GET", twice=True)

NODE = (
    "fetch(process.argv[1],{{method:{method},body:{body},signal:AbortSignal.timeout(2000)}})"
    ".then(r=>r.text()).then(t=>process.stdout.write(t))"
)
LWP = (
    "$agent = LWP::UserAgent->new(timeout => 2, env_proxy => 1); $agent->ssl_opts(SSL_ca_file => $ARGV[1]); "
    "$got = {call}; print $got->content; if ($got->is_error) {{ print STDERR $got->status_line; exit 1 }}"
)
COMMANDS = {
    "curl": ("curl -sS --max-time 2 {url}", "curl -sS --max-time 2 -d order {url}"),
    "wget": tuple(
        f"wget -q -O - --timeout=2 --tries=1 --ca-certificate={{ca_file}} {post}{{url}}"
        for post in ("", "--post-data=order ")
    ),
    "Node fetch": tuple(
        f"node -e '{NODE.format(method=method, body=body)}' {{url}}"
        for method, body in (('"GET"', "undefined"), ('"POST"', '"order"'))
    ),
    "LWP": tuple(
        f"perl -MLWP::UserAgent -e '{LWP.format(call=call)}' {{url}} {{ca_file}}"
        for call in ("$agent->get($ARGV[0])", '$agent->post($ARGV[0], Content => "order")')
    ),
}
