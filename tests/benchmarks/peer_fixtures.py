"""The servers and relays that `peers.py` compares: each is a context manager, which gives an address."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import relays

BODY = b"hello"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
DELAY_SECONDS = 0.05
HELD, FIRST = 200, 20  # clients that are held at once, and those before them, which don't count


class Work:
    """What a server does with each request: answer at once, answer after a delay, or hold it until the end."""

    def __init__(self, doing):
        self.doing = doing
        self.over = threading.Event()
        self.held = threading.Semaphore(0)

    def __call__(self):
        """In the thread of the request."""
        if self.doing == "delay":
            time.sleep(DELAY_SECONDS)
        elif self.doing == "hold":
            self.held.release()
            self.over.wait()

    def wait(self, count):
        """Wait until another `count` requests are held."""
        for _ in range(count):
            if not self.held.acquire(timeout=60):
                raise TimeoutError

    def application(self, _, start_response):
        """The same, as an application of WSGI."""
        self()
        start_response("200 OK", [("Content-Length", str(len(BODY)))])
        return [BODY]


@contextlib.contextmanager
def by_sockets(work):
    """A thread that accepts, and one for each client, which answers what it sends."""
    clients = []

    def talk(client):
        with client, contextlib.suppress(OSError):
            while client.recv(65_536):
                work()
                client.sendall(HEAD + BODY)

    def run():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threading.Thread(target=talk, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        accepting = threading.Thread(target=run)
        accepting.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        accepting.join()


@contextlib.contextmanager
def by_http_server(work):
    """What Python has for it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            work()
            self.wfile.write(HEAD + BODY)

        def log_message(self, *_):
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1000  # its own 5 would let most clients wait for a second

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def by_faultline(work):
    """The same with faultline, which needs no thread for a client."""
    from faultline import latency, ok, serve, stall

    plans = {"answer": ok(BODY), "hold": stall(), "delay": latency(DELAY_SECONDS) & ok(BODY)}
    with serve(plans[work.doing], strict=False) as server:
        held = 0

        def wait(count):
            nonlocal held
            held += count
            server.ledger.wait(held, "response", 60)

        work.wait = wait
        yield server.address


@contextlib.contextmanager
def by_httpserver(work):
    """With pytest-httpserver."""
    from pytest_httpserver import HTTPServer
    from werkzeug import Response

    def answer(_):
        work()
        return Response(BODY)

    with HTTPServer(host="127.0.0.1", threaded=work.doing == "hold") as server:
        if work.doing == "answer":
            server.expect_request("/").respond_with_data(BODY)
        else:
            server.expect_request("/").respond_with_handler(answer)
        yield server.host, server.port


@contextlib.contextmanager
def by_localserver(work):
    """With pytest-localserver."""
    from pytest_localserver.http import ContentServer, WSGIServer

    if work.doing == "answer":
        server = ContentServer("127.0.0.1", 0)
        server.serve_content(BODY)
    else:
        server = WSGIServer("127.0.0.1", 0, work.application, threaded=True)
    server.start()
    yield server.server_address
    server.stop()


@contextlib.contextmanager
def by_httpbin(work):
    """With pytest-httpbin, which serves one request after another."""
    import httpbin
    from pytest_httpbin.serve import Server

    with Server(application=httpbin.app if work.doing == "answer" else work.application) as server:
        yield server.host, server.port


@contextlib.contextmanager
def by_microburst(upstream, rules=(), framing=()):
    """A relay of microburst: a process of its own, with two ports."""
    ports = [free_port(), free_port()]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yml")
        config.write_text(json.dumps({"rules": [*rules]}), "utf-8")  # YAML has all of JSON
        words = ["--protocol", "tcp", "--upstream", "{}:{}".format(*upstream), "--config", str(config), *framing]
        words += ["--port", str(ports[0]), "--control-port", str(ports[1])]
        command = [sys.executable, "-m", "microburst", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            next(line for line in process.stdout if "control API" in line)
            yield "127.0.0.1", ports[0]
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@contextlib.contextmanager
def late_by_microburst(upstream):
    """A relay of microburst in which each byte of the client is late."""
    rule = {"service": "tcp", "operation": "c2s:frame", "latency": {"min": 50, "max": 50}}
    with by_microburst(upstream, [rule], ["--framing", "fixed:size=1"]) as address:
        yield address


def free_port():
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class Column:
    """A column of the table.

    Attributes:
        title: the name, with its version where it is a distribution.
        serves: what starts a server for some work; `None` for what only relays.
        relays: what starts a relay to an upstream; `None` for what only serves.
        late: what starts a relay that delays what the client says; `None` for what serves.
        module: that of its pytest plugin, if it has one.
        works: what its servers can do at once.
    """

    def __init__(
        self, title, *, serves=None, relays=None, late=None, distribution=None, module=None, works=("hold", "delay")
    ):
        self.serves, self.relays, self.late, self.module, self.works = serves, relays, late, module, works
        self.distribution = distribution
        self._title = title

    @property
    def title(self):
        """The name and the version."""
        version = importlib.metadata.version(self.distribution) if self.distribution else ""
        return f"{self._title} {version}".rstrip()

    @property
    def is_here(self):
        """Whether its distribution is installed; otherwise that is said."""
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return not self.distribution or bool(importlib.metadata.version(self.distribution))
        print(f"{self.distribution} is not installed: its column is left out.", file=sys.stderr)
        return False


COLUMNS = {
    "bare": Column("bare sockets", serves=by_sockets, relays=relays.by_threads),
    "http.server": Column("http.server", serves=by_http_server),
    "faultline": Column(
        "faultline",
        serves=by_faultline,
        relays=relays.by_faultline,
        distribution="pytest-faultline",
        module="faultline.pytest_plugin",
    ),
    "httpserver": Column(
        "pytest-httpserver",
        serves=by_httpserver,
        distribution="pytest-httpserver",
        module="pytest_httpserver.pytest_plugin",
    ),
    "localserver": Column(
        "pytest-localserver",
        serves=by_localserver,
        distribution="pytest-localserver",
        module="pytest_localserver.plugin",
    ),
    "httpbin": Column(
        "pytest-httpbin",
        serves=by_httpbin,
        distribution="pytest-httpbin",
        module="pytest_httpbin.plugin",
        works=("delay",),
    ),
    "microburst": Column("microburst", relays=by_microburst, late=late_by_microburst, distribution="microburst"),
}
