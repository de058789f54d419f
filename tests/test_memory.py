"""What is kept: nothing of a server that is closed and forgotten, and a bounded part of what passes an open one."""

from __future__ import annotations

import contextlib
import gc
import socket
import weakref

import pytest

import faultline as fl
from faultline._servers.loop import background

POST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 65536\r\n\r\n" + bytes(65_536)
PATIENCE_SECONDS = 20.0


def upload(server):
    client = socket.socket(socket.AF_UNIX) if server.path else socket.socket()
    with client, contextlib.suppress(ConnectionError):
        client.settimeout(PATIENCE_SECONDS)
        client.connect(server.path or server.address)
        client.sendall(POST)
        while client.recv(65_536):
            pass


def send(server):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.sendto(b"hello", server.address)
        assert client.recv(100)


def query(server):
    with socket.create_connection(server.address, PATIENCE_SECONDS) as client:
        client.sendall(bytes.fromhex("001300010100000100000000000001780000010001"))
        assert client.recv(100)


KINDS = {
    "an answer": (lambda: fl.serve(fl.ok()), upload),
    "a break": (lambda: fl.serve(fl.reset(after_bytes=5)), upload),
    "a break while uploading": (lambda: fl.serve(fl.reset(at="request", after_bytes=5000)), upload),
    "conditions": (lambda: fl.serve(fl.latency(0.001) & fl.corrupt(at_byte=3)), upload),
    "a stall that is cut short": (lambda: fl.serve(fl.stall(for_seconds=0.01)), upload),
    "a condition": (lambda: fl.serve(fl.when(lambda _: True, fl.status(503)), strict=False), upload),
    "a script": (lambda: fl.serve(fl.script(fl.receive(5), fl.send(b"hi"), fl.reset())), upload),
    "a timed refusal": (lambda: fl.serve(fl.sequence(fl.ok(), fl.refuse(for_seconds=50)), strict=False), upload),
    "a Unix socket": (lambda: fl.serve(fl.ok(), unix=True), upload),
    "an echo": (lambda: fl.serve(fl.echo()), upload),
    "datagrams": (lambda: fl.udp(fl.ok()), send),
    "queries": (fl.dns_server, query),
}


@pytest.mark.parametrize("name", KINDS)
def test_closed_server_keeps_nothing_though_nobody_collects(name):
    make, use = KINDS[name]
    gc.disable()
    try:
        server = make()
        use(server)
        server.wait_for_attempts(1, at="end")
        server.close()
        ledger = weakref.ref(server.ledger)
        del server
        background().call(lambda: None)  # the loop has left what told it of the end
        assert ledger() is None
    finally:
        gc.enable()


def test_ledger_can_be_read_after_its_server_is_closed():
    with fl.serve(fl.ok()) as server:
        upload(server)

    assert len(server.attempts[0].request.body) == 65_536
    assert "POST / HTTP/1.1" in server.drawing()
    assert server.reset_all() == 0


def test_bounded_ledger_says_how_many_attempts_it_has_dropped():
    with fl.serve(fl.ok()) as server:
        server.ledger.most_attempts = 2
        for _ in range(4):
            upload(server)
        server.wait_for_attempts(4, at="end")
        upload(server)

    assert [attempt.number for attempt in server.attempts] == [1, 5]
    assert server.drawing().splitlines()[1] == "  (3 older attempts no longer kept)"
