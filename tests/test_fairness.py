"""A client that sends or takes without a pause holds up nobody else, and no close."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

import pytest

import faultline as fl

CLIENTS = 3
PATIENCE_SECONDS = 20.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CONNECT = b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = fl.ok(b"x" * (1 << 27))


class Flood:
    """A client that sends the same bytes without end and takes whatever comes, until its connection ends."""

    def __init__(self, client, first, block):
        self.is_over = threading.Event()
        self.has_begun = threading.Event()
        self._client, self._first, self._block = client, first, block
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        with contextlib.suppress(OSError), self._client:
            self._client.sendall(self._first)
            if isinstance(self._client, ssl.SSLSocket):
                self._run_tls()
            else:
                self._run_plain()
        self.has_begun.set()
        self.is_over.set()

    def _run_tls(self):
        while True:
            if self._block:
                self._client.sendall(self._block)
            elif not self._client.recv(1 << 18):
                return
            self.has_begun.set()

    def _run_plain(self):
        view = memoryview(self._block)
        self._client.setblocking(False)
        listens = True
        while listens or self._block:
            readable, writable, _ = select.select(
                [self._client] if listens else [], [self._client] if self._block else [], []
            )
            if readable and not self._client.recv(1 << 18):
                listens = False
            if writable:
                view = view[self._client.send(view) :] or memoryview(self._block)
            self.has_begun.set()

    def join(self):
        self._thread.join(PATIENCE_SECONDS)


def dial(server):
    client = socket.socket(socket.AF_UNIX) if server.path else socket.socket()
    client.settimeout(PATIENCE_SECONDS)
    client.connect(server.path or server.address)
    return client


def ask(server):
    """Whether another server answers."""
    with dial(server) as client:
        client.sendall(LAST)
        return client.recv(8) == b"HTTP/1.1"


def many(data):
    return data * (262_144 // len(data))


FLOODS = {
    "a body": (lambda _: fl.serve(fl.ok(), strict=False), POST, many(b"x")),
    "a chunk": (lambda _: fl.serve(fl.ok(), strict=False), CHUNKED + b"fffffffff\r\n", many(b"x")),
    "tiny chunks": (lambda _: fl.serve(fl.ok(), strict=False), CHUNKED, many(b"1\r\nx\r\n")),
    "a body with latency": (lambda _: fl.serve(fl.latency(0.001, direction="both"), strict=False), POST, many(b"x")),
    "a body in small pieces": (lambda _: fl.serve(fl.trickle_headers(), strict=False), POST, many(b"x")),
    "a body to a Unix socket": (lambda _: fl.serve(fl.ok(), unix=True, strict=False), POST, many(b"x")),
    "a body before a reset": (
        lambda _: fl.serve(fl.reset(at="request", after_bytes=1 << 40), unix=True, strict=False),
        POST,
        many(b"x"),
    ),
    "pipelined requests": (lambda _: fl.serve(fl.ok(), strict=False), b"", many(GET)),
    "half_close": (lambda _: fl.serve(fl.half_close(), strict=False), GET, many(b"x")),
    "receive_until": (lambda _: fl.serve(fl.script(fl.receive_until(b"never")), strict=False), b"", many(b"x")),
    "receive": (lambda _: fl.serve(fl.script(fl.receive(1 << 40)), strict=False), b"", many(b"x")),
    "lines": (lambda _: fl.serve(fl.script(fl.repeat(fl.receive_until(b"\n"))), strict=False), b"", many(b"\n")),
    "garbage instead of TLS": (lambda _: fl.serve(fl.ok(), tls=True, strict=False), b"garbage", many(b"x")),
    "a body in TLS": (lambda _: fl.serve(fl.ok(), tls=True, strict=False), POST, many(b"x")),
    "a long answer": (lambda _: fl.serve(LONG), GET, b""),
    "a long answer in TLS": (lambda _: fl.serve(LONG, tls=True), GET, b""),
    "a relay": (fl.relay, POST, many(b"x")),
    "a relay that looks for bytes": (lambda up: fl.relay(up, fl.reset(on=b"never"), strict=False), POST, many(b"x")),
    "a relay to an answer": (lambda up: fl.relay(up, fl.latency(0.0), strict=False), b"", many(GET)),
    "a tunnel": (lambda _: fl.http_proxy(), "tunnel", POST + many(b"x")),
}


@pytest.fixture
def flooded():
    """Start floods on a new server, and end them with the test."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(fl.serve(fl.ok(), strict=False))

        def start(make, first, block):
            server = make(upstream)
            stack.callback(server.close)
            if first == "tunnel":
                first = CONNECT % upstream.hostport.encode()
            floods = []
            for _ in range(CLIENTS):
                client = dial(server)
                if first != b"garbage" and server.url.startswith("https"):
                    client = server.client_context().wrap_socket(client, server_hostname="localhost")
                floods.append(Flood(client, first, block))
                stack.callback(floods[-1].join)
            for flood in floods:
                assert flood.has_begun.wait(PATIENCE_SECONDS)
            return server, floods

        yield start


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_others_are_served_and_the_server_closes_while_clients_flood(flooded, name):
    with fl.serve(fl.ok()) as other:
        server, floods = flooded(*FLOODS[name])

        assert all(ask(other) for _ in range(3))
        assert len(server.attempts) >= CLIENTS
        assert not FLOODS[name][2] or not any(flood.is_over.is_set() for flood in floods)
        server.close()  # it raises an error if the loop does not answer
        if not server.path:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(server.address, PATIENCE_SECONDS)
        for flood in floods:
            assert flood.is_over.wait(PATIENCE_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: fl.udp(fl.ok(), strict=False), fl.dns_server], ids=["UDP", "DNS"])
def test_others_are_served_and_the_server_closes_while_datagrams_flood(make):
    stop = threading.Event()
    query = bytes.fromhex("00010100000100000000000001780000010001")

    def flood(address):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    client.sendto(query, address)

    with fl.serve(fl.ok()) as other, make() as server:
        threads = [threading.Thread(target=flood, args=(server.address,), daemon=True) for _ in range(CLIENTS)]
        try:
            for thread in threads:
                thread.start()
            server.wait_for_attempts(100)
            assert all(ask(other) for _ in range(3))
            server.close()
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)


@pytest.mark.slow
def test_others_are_served_and_the_server_closes_while_connects_flood():
    stop = threading.Event()

    def flood(address):
        while not stop.is_set():
            with contextlib.suppress(OSError):
                socket.create_connection(address, PATIENCE_SECONDS).close()

    with fl.serve(fl.ok()) as other, fl.serve(fl.ok(), strict=False) as server:
        threads = [threading.Thread(target=flood, args=(server.address,), daemon=True) for _ in range(CLIENTS)]
        try:
            for thread in threads:
                thread.start()
            server.wait_for_attempts(100)
            assert all(ask(other) for _ in range(3))
            server.become(fl.reset(at="accept"))  # accepts those in the queue first
            server.close()
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
