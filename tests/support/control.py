"""A client of the control API that is as plain as can be."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket

from support import PATIENCE_SECONDS, to_end


class Asked:
    """A response."""

    __hash__ = None

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def data(self):
        return json.loads(self.body)

    def __eq__(self, other):
        return (self.status, self.data if self.body else None) == other

    def __repr__(self):
        return f"{self.status} {self.body!r}"


class Client:
    """Asks an API, on one connection."""

    def __init__(self, api):
        self._http = http.client.HTTPConnection(api.host, api.port, timeout=3 * PATIENCE_SECONDS)
        self.close = self._http.close

    def __call__(self, method, path, body=None, **headers):
        """Ask; a body that is no text is sent as JSON."""
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        self._http.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return Asked(self._http.getresponse())

    def make(self, name, upstream, **more):
        """A new proxy."""
        made = self("POST", "/proxies", {"name": name, "upstream": upstream, **more})
        assert made.status == 201, made
        return made.data


@contextlib.contextmanager
def dialled(proxy):
    """A client of a proxy."""
    host, _, port = proxy["listen"].rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as client:
        yield client


def fetched(proxy):
    """The body that a proxy brings, and how the connection ends."""
    with dialled(proxy) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data, end = to_end(client)
        return data.partition(b"\r\n\r\n")[2], end


def refuses(proxy):
    """Whether the port of a proxy is closed."""
    try:
        with dialled(proxy):
            return False
    except ConnectionRefusedError:
        return True
