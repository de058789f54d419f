"""Code that handles each kind of error; a test runs every piece against the fault that it is for."""

from __future__ import annotations

import textwrap

from faultline._explain.entry import Example


def example(code: str, call: str, plan: str, gives: str, *, tls: bool = False) -> Example:
    """An example whose code is written with the indentation of this file."""
    return Example(textwrap.dedent(code).strip(), call, plan, gives, tls)


EXAMPLES: dict[str, Example] = {
    "refused": example(
        """
        import socket, time


        def connect(address, tries=5):
            for n in range(tries):
                try:
                    return socket.create_connection(address, timeout=5)
                except ConnectionRefusedError:  # nothing was sent yet
                    if n == tries - 1:
                        raise
                    time.sleep(0.1 * 2**n)
        """,
        "connect(server.address).close()",
        "sequence(refuse(), ok())",
        "None",
    ),
    "reset": example(
        """
        from http.client import HTTPException
        from urllib.error import URLError
        from urllib.request import urlopen


        def fetch(url, tries=3):
            for n in range(tries):
                try:
                    with urlopen(url, timeout=5) as response:
                        return response.read()
                except (ConnectionError, HTTPException, URLError):
                    if n == tries - 1:  # a GET may be repeated, a POST may not
                        raise
        """,
        "fetch(server.url)",
        "sequence(reset(), close(), ok(b'hello'))",
        "b'hello'",
    ),
    "upload": example(
        """
        from contextlib import closing, suppress
        from http.client import HTTPConnection, HTTPException


        def send(host, port, body):
            with closing(HTTPConnection(host, port, timeout=5)) as connection:
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request("POST", "/", body)
                try:  # it may have answered before it closed
                    return connection.getresponse().status
                except (OSError, HTTPException):
                    return None
        """,
        "send(server.host, server.port, bytes(8 << 20))",
        "close(at='request', after_bytes=65536)",
        "None",
    ),
    "timeout": example(
        """
        import urllib.request


        def fetch(url, seconds=5):
            try:
                with urllib.request.urlopen(url, timeout=seconds) as response:
                    return response.read()
            except OSError as error:  # URLError is one, and so is TimeoutError
                reason = getattr(error, "reason", error)
                if isinstance(reason, TimeoutError):
                    return None
                raise
        """,
        "fetch(server.url, 0.05)",
        "stall()",
        "None",
    ),
    "unreachable": example(
        """
        import errno, socket


        def connect(address):
            try:
                return socket.create_connection(address, timeout=5)
            except OSError as error:
                if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                    return None  # trying again at once won't help
                raise
        """,
        "connect(server.address)",
        "unreachable()",
        "None",
    ),
    "lookup": example(
        """
        import socket


        def look_up(host):
            try:
                return socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                if error.errno == socket.EAI_AGAIN:
                    return "later"  # it may work in a moment
                return None
        """,
        "look_up('api.example.com')",
        "servfail()",
        "'later'",
    ),
    "certificate": example(
        """
        import ssl, urllib.error, urllib.request


        def fetch(url):
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    return response.read()
            except urllib.error.URLError as error:
                if isinstance(error.reason, ssl.SSLCertVerificationError):
                    return error.reason.verify_code  # and never ask unverified
                raise
        """,
        "fetch(server.url)",
        "bad_cert('self_signed')",
        "18",
        tls=True,
    ),
    "tls": example(
        """
        import socket, ssl


        def connect(host, port, context):
            sock = socket.create_connection((host, port), timeout=5)
            try:
                return context.wrap_socket(sock, server_hostname=host)
            except (ssl.SSLError, ConnectionError):  # SSLError is no ConnectionError
                sock.close()
                return None
        """,
        "connect(server.host, server.port, server.client_context())",
        "bad_tls('plain_http')",
        "None",
    ),
    "cut": example(
        """
        import http.client, urllib.request


        def fetch(url):
            with urllib.request.urlopen(url, timeout=5) as response:
                try:
                    return response.read()
                except http.client.IncompleteRead as error:
                    return len(error.partial)  # not the whole: ask again
        """,
        "fetch(server.url)",
        "close(after_body_bytes=20) & ok(b'a body of thirty bytes in all.')",
        "20",
    ),
    "protocol": example(
        """
        import http.client, urllib.request


        def fetch(url):
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    return response.read()
            except http.client.HTTPException:  # which is no OSError
                return None
        """,
        "fetch(server.url)",
        "malformed('other_protocol')",
        "None",
    ),
    "urllib": example(
        """
        import urllib.error, urllib.request


        def fetch(url):
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    return response.read()
            except urllib.error.HTTPError as error:  # a kind of URLError
                with error:
                    return error.code
            except urllib.error.URLError as error:
                return str(error.reason)
        """,
        "fetch(server.url)",
        "status(503)",
        "503",
    ),
    "urllib3": example(
        """
        import urllib3


        def fetch(url):
            retries = urllib3.Retry(3, backoff_factor=0.1)
            with urllib3.PoolManager(timeout=5, retries=retries) as pool:
                try:
                    return pool.request("GET", url).data
                except urllib3.exceptions.HTTPError:  # all of urllib3's errors
                    return None
        """,
        "fetch(server.url)",
        "sequence(reset(), ok(b'hello'))",
        "b'hello'",
    ),
    "requests": example(
        """
        import requests


        def fetch(url):
            try:
                response = requests.get(url, timeout=(3, 10))
                response.raise_for_status()
                return response.content
            except requests.ConnectionError:  # also ConnectTimeout and SSLError
                return "unreachable"
            except requests.Timeout:
                return "too slow"
            except requests.RequestException:  # a cut body, a bad status, …
                return "failed"
        """,
        "fetch(server.url)",
        "reset()",
        "'unreachable'",
    ),
    "httpx": example(
        """
        import httpx


        def fetch(url):
            try:
                return httpx.get(url, timeout=5).raise_for_status().content
            except httpx.TransportError:  # the network, timeouts included
                return "unreachable"
            except httpx.HTTPStatusError as error:
                return error.response.status_code
        """,
        "fetch(server.url)",
        "close()",
        "'unreachable'",
    ),
    "aiohttp": example(
        """
        import asyncio, aiohttp


        async def fetch(url):
            timeout = aiohttp.ClientTimeout(total=30, sock_connect=3, sock_read=10)
            try:
                async with aiohttp.ClientSession(timeout=timeout) as session:
                    async with session.get(url) as response:
                        return await response.read()
            except asyncio.TimeoutError:  # of `total`; it is no ClientError
                return "too slow"
            except aiohttp.ClientError:
                return "failed"
        """,
        "asyncio.run(fetch(server.url))",
        "reset(after_bytes=100)",
        "'failed'",
    ),
}
