"""A client of the control API that is as plain as can be."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
import subprocess
from pathlib import Path

from support import PATIENCE_SECONDS, to_end


class Asked:
    """A response."""

    __hash__ = None

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

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
        response = self._http.getresponse()
        return Asked(response.status, response.headers, response.read())

    def make(self, name, upstream, **more):
        """A new proxy."""
        made = self("POST", "/proxies", {"name": name, "upstream": upstream, **more})
        assert made.status == 201, made
        return made.data


class Curl(Client):
    """Asks an API by curl, each time by a process of its own."""

    def __init__(self, api, curl):
        super().__init__(api)
        self._words = [curl, "-sS", "-D", "-", "--max-time", str(3 * PATIENCE_SECONDS)]
        self._url = f"http://{api.host}:{api.port}"

    def __call__(self, method, path, body=None):
        words = [*self._words, "-X", method, f"{self._url}{path}"]
        if body is not None:
            words += ["-H", "Expect:", "--data-binary", "@-"]
            body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        printed = io.BytesIO(subprocess.run(words, input=body or b"", capture_output=True, check=True).stdout)
        status = int(printed.readline().split()[1])
        return Asked(status, http.client.parse_headers(printed), printed.read())


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
    """Whether the port of a proxy is closed; a port that was given up may be that of another process by now."""
    try:
        with dialled(proxy) as client:
            return not listens_here(client.getpeername()[1])
    except ConnectionRefusedError:
        return True


def listens_here(port):
    """Whether a socket of this process listens on a port of IPv4, as far as the system tells (proc(5))."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return True
    rows = [row.split() for row in table.read_text().splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    return any(os.path.lexists(each) and str(each.readlink()) in listening for each in Path("/proc/self/fd").iterdir())
