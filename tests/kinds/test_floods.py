"""A client that sends or takes without a pause holds up nobody else, and no close."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

import pytest
from support import GET, KEPT_GET, PATIENCE_SECONDS, connected

import faultline as fl

CLIENTS = 2
LONG_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = fl.ok(b"x" * (1 << 26))


class Flood:
    """A client that sends the same bytes without end and takes whatever comes, until its connection ends."""

    def __init__(self, client, block):
        self.is_over = threading.Event()
        self.has_begun = threading.Event()
        self._client, self._block = client, block
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
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


def answers(server):
    """Whether another server answers."""
    with connected(server) as client:
        client.sendall(GET)
        return client.recv(8) == b"HTTP/1.1"


def many(data):
    return data * (262_144 // len(data))


@contextlib.contextmanager
def flooded(server, clients, block):
    """Flood a server: the floods."""
    floods = [Flood(client, block) for client in clients]
    try:
        for flood in floods:
            assert flood.has_begun.wait(PATIENCE_SECONDS)
        yield floods
    finally:
        server.close()
        for flood in floods:
            flood.join()


def check_others(other, server, floods, *, goes_on):
    """Check that another server answers meanwhile, and that the flooded one can be closed."""
    assert answers(other)
    assert len(server.attempts) >= CLIENTS
    assert not goes_on or not any(flood.is_over.is_set() for flood in floods)
    server.close()  # it raises an error if the loop does not answer
    for flood in floods:
        assert flood.is_over.wait(PATIENCE_SECONDS)


@pytest.mark.slow
def test_others_are_served_and_each_kind_of_server_closes_while_clients_flood_it(site, faultline):
    other, server = faultline.serve(fl.ok()), site.start()
    clients = [site.dial(server, site.get(server, LONG_POST)) for _ in range(CLIENTS)]
    with flooded(server, clients, many(b"x")) as floods:
        check_others(other, server, floods, goes_on=True)


FLOODS = {
    "a chunk": (fl.ok(), {}, CHUNKED + b"fffffffff\r\n", many(b"x")),
    "tiny chunks": (fl.ok(), {}, CHUNKED, many(b"1\r\nx\r\n")),
    "a body with latency": (fl.latency(0.001, direction="both"), {}, LONG_POST, many(b"x")),
    "a body in small pieces": (fl.trickle_headers(), {}, LONG_POST, many(b"x")),
    "a body before a reset": (fl.reset(at="request", after_bytes=1 << 40), {"unix": True}, LONG_POST, many(b"x")),
    "pipelined requests": (fl.ok(), {}, b"", many(KEPT_GET)),
    "half_close": (fl.half_close(), {}, KEPT_GET, many(b"x")),
    "receive_until": (fl.script(fl.receive_until(b"never")), {}, b"", many(b"x")),
    "receive": (fl.script(fl.receive(1 << 40)), {}, b"", many(b"x")),
    "lines": (fl.script(fl.repeat(fl.receive_until(b"\n"))), {}, b"", many(b"\n")),
    "garbage instead of TLS": (fl.ok(), {"tls": True}, b"garbage", many(b"x")),
    "a long answer": (LONG, {}, KEPT_GET, b""),
    "a long answer in TLS": (LONG, {"tls": True}, KEPT_GET, b""),
    "a relay that looks for bytes": (fl.reset(on=b"never"), "relay", LONG_POST, many(b"x")),
    "a relay to an answer": (fl.latency(0.0), "relay", b"", many(KEPT_GET)),
}


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "tiny chunks" else pytest.mark.unmeasured) for name in FLOODS]
)
def test_others_are_served_and_the_server_closes_whatever_floods_it(faultline, name):
    plan, options, first, block = FLOODS[name]
    other = faultline.serve(fl.ok())
    if options == "relay":
        server = faultline.relay(other, plan, strict=False)
    else:
        server = faultline.serve(plan, strict=False, **options)
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            if first == b"garbage":
                client = socket.create_connection(server.address, PATIENCE_SECONDS)
            else:
                client = connected(server)
            clients.append(stack.enter_context(client))
            client.sendall(first)
        with flooded(server, clients, block) as floods:
            check_others(other, server, floods, goes_on=bool(block))


QUERY = bytes.fromhex("00010100000100000000000001780000010001")


def send_datagrams(server, stop):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                client.sendto(QUERY, server.address)


def connect_again_and_again(server, stop):
    while not stop.is_set():
        with contextlib.suppress(OSError):
            connected(server).close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "flood"),
    [
        (lambda: fl.udp(fl.ok(), strict=False), send_datagrams),
        (fl.dns_server, send_datagrams),
        (lambda: fl.serve(fl.ok(), strict=False), connect_again_and_again),
    ],
    ids=["UDP", "DNS", "connects"],
)
def test_others_are_served_and_the_server_closes_while_newcomers_flood_it(faultline, start, flood):
    other, stop = faultline.serve(fl.ok()), threading.Event()
    with start() as server:
        count = 1 if flood is connect_again_and_again else CLIENTS
        threads = [threading.Thread(target=flood, args=(server, stop), daemon=True) for _ in range(count)]
        try:
            for thread in threads:
                thread.start()
            server.wait_for_attempts(50)
            assert answers(other)
            if flood is connect_again_and_again:
                server.become(fl.reset(at="accept"))  # accepts those in the queue first
            server.close()
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
