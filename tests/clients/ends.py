"""What ten clients meet in every case that breaks a connection: the rows and the columns of the table of outcomes.

`ends.tsv` is the table, which `PYTHONPATH=tests python tests/clients/ends.py > tests/clients/ends.tsv` makes. A cell
has the names of the exceptions, from the one that the client raises to the root cause, and how much the client had
read. Six clients come to every row; those that are built on others come to one row for each kind of outcome.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import closing

import aiohttp
import httpx
import trio
import urllib3
from support import GET, KEPT_GET
from support.clients import by_http_client, by_httpx_on_asyncio, by_requests, by_urllib

from faultline import reset, root_cause, script, send, serve
from faultline.modes._catalogue import cases
from faultline.modes._registry import kind_of

PATIENCE_SECONDS = 20.0
SILENCE_SECONDS = 0.4
IDLE_SECONDS = 1.0  # where nothing comes after a first response, which has to come in time
CERTIFICATES = {f"bad_cert({kind!r})" for kind in ("expired", "wrong_host", "self_signed", "many_sans")}
KINDS_OF_OUTCOME = {  # where clients come to that are built on others
    "refuse()",
    "blackhole()",
    "reset()",
    "reset(after_bytes=10)",
    "close()",
    "close(after_bytes=10)",
    "stall()",
    "bad_cert('expired')",
}
SCRIPTS = {
    "script(send(b'hi'), reset())": script(send(b"hi"), reset()),
    "script(send(b'hi'), reset(fin_first=True))": script(send(b"hi"), reset(fin_first=True)),
    "script(send(b'x' * 100000), reset())": script(send(b"x" * 100_000), reset()),
}


class Row:
    """A fault, and how a client goes to meet it."""

    def __init__(self, name, fault, *, tls=False, is_silent=False, point="response"):
        self.name, self.fault, self.tls, self.is_silent, self.point = name, fault, tls, is_silent, point
        silence_seconds = IDLE_SECONDS if point == "idle" else SILENCE_SECONDS
        self.read_seconds = silence_seconds if is_silent else PATIENCE_SECONDS
        self.connect_seconds = SILENCE_SECONDS if is_silent and point == "connect" else PATIENCE_SECONDS
        self.speaks_first = fault.script is None  # the client does
        self.says = KEPT_GET if fault.break_ is not None and fault.break_.at == "idle" else GET


def rows():
    """Every case of the catalogue that breaks a TCP connection, some certificates, and a server that speaks first."""
    broken = [c for c in cases() if c.fault.break_ is not None and kind_of(c.fault) == "TCP server"]
    found = [
        Row(
            str(c),
            c.fault,
            tls=c.point == "handshake" or c.mode == "bad_tls",
            is_silent=c.sees == "TimeoutError",
            point=c.point,
        )
        for c in broken
        if c.mode != "inject"
    ]
    found += [Row(str(c), c.fault, tls=True, point=c.point) for c in cases() if str(c) in CERTIFICATES]
    return {row.name: row for row in (*found, *(Row(name, fault) for name, fault in SCRIPTS.items()))}


# --- the clients: each does its work, and notes what it has read ------------------------------------------------------


def by_socket(server, row, read):
    """A blocking socket: connect, say a request unless the server speaks first, and read to the end."""
    with socket.create_connection(server.address, row.connect_seconds) as plain:
        plain.settimeout(row.read_seconds)
        client = server.client_context().wrap_socket(plain, server_hostname="127.0.0.1") if row.tls else plain
        with client:
            if row.speaks_first:
                client.sendall(row.says)
            while data := client.recv(65_536):
                read(data)


def by_asyncio(server, row, read):
    """The streams of asyncio."""

    async def main():
        context = server.client_context() if row.tls else None
        opening = asyncio.open_connection(*server.address, ssl=context)
        within = row.read_seconds if row.tls else row.connect_seconds
        reader, writer = await asyncio.wait_for(opening, within)
        try:
            if row.speaks_first:
                writer.write(row.says)
                await writer.drain()
            while data := await asyncio.wait_for(reader.read(65_536), row.read_seconds):
                read(data)
        finally:
            writer.transport.abort()

    asyncio.run(main())


def by_trio(server, row, read):
    """The streams of trio."""

    async def main():
        with trio.fail_after(row.connect_seconds):
            plain = await trio.open_tcp_stream(*server.address)
        stream = trio.SSLStream(plain, server.client_context(), server_hostname="127.0.0.1") if row.tls else plain
        try:
            if row.speaks_first:
                with trio.fail_after(row.read_seconds):
                    await stream.send_all(row.says)
            while True:
                with trio.fail_after(row.read_seconds):
                    data = await stream.receive_some(65_536)
                if not data:
                    break
                read(data)
        finally:
            await trio.aclose_forcefully(plain)

    trio.run(main)


def by_httpx(server, row, read):
    """One request of httpx; where the break is at `idle`, a second one."""
    timeout = httpx.Timeout(row.read_seconds, connect=row.read_seconds if row.tls else row.connect_seconds)
    with httpx.Client(timeout=timeout, verify=server.client_context() if row.tls else False) as client:
        for url in urls(server, row):
            read(client.get(url).content)


def by_aiohttp(server, row, read):
    """The same of aiohttp."""

    async def main():
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=row.read_seconds if row.tls else row.connect_seconds,
            sock_read=row.read_seconds,
        )
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for url in urls(server, row):
                async with session.get(url, ssl=server.client_context() if row.tls else False) as response:
                    read(await response.read())

    async def closed():
        try:
            await main()
        finally:
            await asyncio.sleep(0)  # aiohttp closes a transport a turn of the loop later

    asyncio.run(closed())


def by_urllib3(server, row, read):
    """The same of urllib3, without retries."""
    timeout = urllib3.Timeout(connect=row.read_seconds if row.tls else row.connect_seconds, read=row.read_seconds)
    context = server.client_context() if row.tls else None
    with closing(urllib3.PoolManager(retries=False, timeout=timeout, ssl_context=context)) as pool:
        pool.close = pool.clear
        for url in urls(server, row):
            read(pool.request("GET", url).data)


def urls(server, row):
    """The URLs to ask for; before a second request the break at `idle` has struck."""
    yield server.url
    if row.point == "idle":
        server.wait_for_attempts(1, PATIENCE_SECONDS, at="strike")
        if row.name.startswith(("reset", "close")):
            server.wait_for_attempts(1, PATIENCE_SECONDS, at="end")
        yield server.url


def by_url(fetch):
    """A client of URLs, which reads the whole body or nothing."""
    return lambda server, row, read: read(fetch(server.url, server if row.tls else None, row.read_seconds)[1])


CLIENTS = {
    "socket": by_socket,
    "asyncio": by_asyncio,
    "trio": by_trio,
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
    "urllib3": by_urllib3,
}
BUILT_ON_OTHERS = {
    "http.client": by_url(by_http_client),
    "urllib.request": by_url(by_urllib),
    "requests": by_url(by_requests),
    "httpx on asyncio": by_url(by_httpx_on_asyncio),
}
CLIENTS |= BUILT_ON_OTHERS


def come_to(row):
    """The clients that come to a row."""
    return [client for client in CLIENTS if client not in BUILT_ON_OTHERS or row.name in KINDS_OF_OUTCOME]


def outcome(row, client):
    """What a client meets in a row, in words, and the ledger of the server."""
    got = bytearray()
    with serve(row.fault, tls=row.tls, strict=False) as server:
        try:
            CLIENTS[client](server, row, got.extend)
            how = "end"
        except Exception as error:  # noqa: BLE001 - which one it is, is the question
            how = named(error)
    return f"{len(got)} bytes, {how}" if got else how, server.attempts


def named(error):
    """An exception and its root cause, by their classes."""
    root = root_cause(error)
    names = [type(each).__name__ for each in (error, root)]
    return names[0] if names[0] == names[1] else " < ".join(names)


def main():
    """Print the table, for `ends.tsv`."""
    sys.stdout.write("\t".join(["case", *CLIENTS]) + "\n")
    for name, row in rows().items():
        cells = [outcome(row, client)[0] if client in come_to(row) else "" for client in CLIENTS]
        sys.stdout.write("\t".join([name, *cells]) + "\n")


if __name__ == "__main__":
    main()
