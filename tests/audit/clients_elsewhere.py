"""Clients for the other places of a fault: a lookup, a proxy, a real server behind a relay, a pool that is left."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
from urllib.parse import urlsplit

SECONDS = 0.5
KEPT = []  # what clients leave behind


class CutError(Exception):
    """The server has gone too early."""


def by_address(url):
    """It looks no name up by Python's socket, and uses no proxy."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=SECONDS)) as connection:
        return answered(connection)


def tunneled(url):
    """It asks through the proxy that the environment names, and closes what it has opened."""
    with contextlib.closing(proxied(url)) as connection:
        return answered(connection)


def keeps_a_failed_tunnel(url):
    """It closes its connection only when it has got an answer."""
    connection = proxied(url)
    KEPT.append(connection)
    body = answered(connection)
    connection.close()
    return body


def proxied(url):
    parts, proxy = urlsplit(url), urlsplit(os.environ.get("HTTPS_PROXY", url))
    connection = http.client.HTTPSConnection(
        proxy.hostname, proxy.port, timeout=SECONDS, context=ssl.create_default_context()
    )
    connection.set_tunnel(parts.hostname, parts.port)
    return connection


def answered(connection):
    connection.request("GET", "/")
    with connection.getresponse() as response:
        return response.read()


@contextlib.contextmanager
def keeps_what_failed_pool():
    """A pool whose end closes the connections that are well, and forgets those that failed."""
    pool = []

    def get(url):
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
        KEPT.append(connection)
        body = answered(connection)
        pool.append(connection)
        return body

    yield get
    for connection in pool:
        connection.close()


def lines(url):
    """A client of a protocol of lines: it says who it is, and gets three lines."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), SECONDS) as client:
        client.sendall(b"hello\n")
        received = b""
        while received.count(b"\n") < 3:
            data = client.recv(100)
            if not data:
                raise CutError
            received += data
        return received


def lines_swallowed(url):
    """The same, content with what came before the end."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), SECONDS) as client:
        client.sendall(b"hello\n")
        with client.makefile("rb") as file:
            return b"".join(file.readline() for _ in range(3))


def leaves_a_thread(url, seconds=30):
    """Its second call leaves a thread."""
    if "first" in KEPT:
        threading.Thread(target=threading.Event().wait, args=(seconds,), daemon=True).start()
    KEPT.append("first")
    return by_address(url)


def leaves_a_thread_for_a_moment(url):
    """Its second call leaves a thread that ends soon."""
    return leaves_a_thread(url, 0.05)
