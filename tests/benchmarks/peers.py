"""What a healthy server of faultline costs beside other fixtures, in one table: `tox -e peers`.

Each value is taken in a process of its own, in interleaved rounds; the table has the medians, and how many times the
value of bare sockets each is. Nothing is asserted: machines differ. Options: `--rounds 5`, `--rows start`, `--columns
faultline httpserver`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.metadata
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cost import rounded

BODY = b"hello"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + BODY
STARTS, SECONDS = 30, 1.0
PATHS = {"httpbin": "/robots.txt"}  # which has the shortest body there


class Bare:
    """A thread that accepts a client after another, and answers what it sends."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.clients = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self.listener.getsockname()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.clients.append(client)
                with client, contextlib.suppress(ConnectionError):
                    while client.recv(65_536):
                        client.sendall(ANSWER)

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


class Handler(BaseHTTPRequestHandler):
    """Answers each GET."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.wfile.write(ANSWER)

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def by_http_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def by_httpserver():
    from pytest_httpserver import HTTPServer

    with HTTPServer(host="127.0.0.1") as server:
        server.expect_request("/").respond_with_data(BODY)
        yield server.host, server.port


@contextlib.contextmanager
def by_localserver():
    from pytest_localserver.http import ContentServer

    server = ContentServer("127.0.0.1", 0)
    server.start()
    server.serve_content(BODY)
    yield server.server_address
    server.stop()


@contextlib.contextmanager
def by_httpbin():
    import httpbin
    from pytest_httpbin.serve import Server

    with Server(application=httpbin.app) as server:
        yield server.host, server.port


@contextlib.contextmanager
def by_faultline():
    from faultline import ok, serve

    with serve(ok(BODY)) as server:
        yield server.address


# The title, what starts a server, the distribution, and the module of its plugin.
COLUMNS = {
    "bare": ("bare sockets", Bare, None, None),
    "http.server": ("http.server", by_http_server, None, None),
    "faultline": ("faultline", by_faultline, "pytest-faultline", "faultline.pytest_plugin"),
    "httpserver": ("pytest-httpserver", by_httpserver, "pytest-httpserver", "pytest_httpserver.pytest_plugin"),
    "localserver": ("pytest-localserver", by_localserver, "pytest-localserver", "pytest_localserver.plugin"),
    "httpbin": ("pytest-httpbin", by_httpbin, "pytest-httpbin", "pytest_httpbin.plugin"),
}
ROWS = {
    "start": "start and stop, ms",
    "request": "start, one request, stop, ms",
    "rate": "requests a second of one client that keeps its connection",
    "kib": "KiB of the process after 30 servers, beyond Python's own",
    "plugin": "CPU of the loaded plugin, ms",
}


def asked(client, path):
    """One request, whose answer is read."""
    client.request("GET", path)
    response = client.getresponse()
    response.read()
    assert response.status == 200, response.status


def times(column, path, *, asks):
    """How long each of some servers takes, in ms, the first left out: it imports."""
    found = []
    for _ in range(STARTS + 1):
        began = time.perf_counter()
        with COLUMNS[column][1]() as (host, port):
            if asks:
                with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as client:
                    asked(client, path)
        found.append((time.perf_counter() - began) * 1000)
    return found[1:]


def rate(column, path):
    """Requests a second."""
    with COLUMNS[column][1]() as where, contextlib.closing(http.client.HTTPConnection(*where, timeout=10)) as client:
        asked(client, path)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            asked(client, path)
            count += 1
        return [count / (time.perf_counter() - began)]


def grown(column):
    """KiB of the process after some servers."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times(column, "", asks=False)
    return [float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)]


def cpu_of_pytest(*words):
    """The CPU of a run of pytest with one test, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text("def test_one():\n    pass\n", "utf-8")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, folder]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, cwd=folder, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def plugin(column):
    """What pytest takes longer with the plugin, in pairs of runs."""
    module = COLUMNS[column][3]
    cpu_of_pytest("-p", module)  # writes what is compiled
    return [cpu_of_pytest("-p", module) - cpu_of_pytest() for _ in range(3)]


def one(row, column):
    """The values of one cell, as JSON."""
    path = PATHS.get(column, "/")
    measure = {
        "start": partial(times, column, path, asks=False),
        "request": partial(times, column, path, asks=True),
        "rate": partial(rate, column, path),
        "kib": partial(grown, column),
        "plugin": partial(plugin, column),
    }
    return json.dumps(measure[row]())


def is_here(column):
    """Whether the distribution of a column is installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return COLUMNS[column][2] is None or bool(importlib.metadata.version(COLUMNS[column][2]))
    print(f"{COLUMNS[column][2]} is not installed: its column is left out.", file=sys.stderr)
    return False


def table(rows, columns, found):
    """The lines of the table, in Markdown; an x is how many times the value of the first column that has one."""
    titles = []
    for column in columns:
        title, _, distribution, _ = COLUMNS[column]
        titles.append(f"{title} {importlib.metadata.version(distribution)}" if distribution else title)
    lines = [["", *titles]]
    for row in rows:
        values = [statistics.median(found[row, column]) if found[row, column] else None for column in columns]
        base = None if row == "kib" else next((value for value in values if value), None)
        cells = [
            "" if v is None else f"{rounded(v)} ({rounded(v / base)} x)" if v != base else rounded(v) for v in values
        ]
        lines.append([ROWS[row], *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]


def cell(value, base):
    """A value, and how many times another it is."""
    if value is None:
        return ""
    return rounded(value) if base in (value, None) else f"{rounded(value)} ({rounded(value / base)} x)"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS), metavar="COLUMN")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(one(*options.one))
        return
    columns, found, loads = [*filter(is_here, options.columns)], defaultdict(list), [os.getloadavg()[0]]
    for number in range(options.rounds):
        for row in options.rows:
            for column in columns:
                if row == "plugin" and COLUMNS[column][3] is None:
                    continue
                print(f"round {number + 1}: {row}, {column}", end="\033[K\r", file=sys.stderr, flush=True)
                words = [sys.executable, __file__, "--one", row, column]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(done.stderr, file=sys.stderr)
                else:  # some of the servers print what they answer
                    found[row, column] += json.loads(done.stdout.splitlines()[-1])
    loads.append(os.getloadavg()[0])
    system = f"{platform.system()} {platform.release().partition('-')[0]}, CPython {platform.python_version()}"
    load = "load {:.1f} before and {:.1f} after".format(*loads)
    print(f"{os.cpu_count()} cores, {system}, {load}, {options.rounds} rounds\n")
    print("\n".join(table(options.rows, columns, found)))


if __name__ == "__main__":
    main()
