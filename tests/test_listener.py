"""The listener: a flood of clients leaves turns of the loop to others; after a black hole every client is served."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from functools import partial

import pytest

from faultline import blackhole, ok, serve, udp
from faultline._core import steps as do
from faultline._net import sockets, system
from faultline._servers.listener import Listener
from faultline._servers.loop import background

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MOST_PER_TURN = 64
FLOOD = 150


# --- turns -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def held(loop):
    """The loop does nothing meanwhile."""
    is_held, release = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(lambda: (is_held.set(), release.wait()))
    is_held.wait()
    try:
        yield
    finally:
        release.set()


@pytest.fixture
def counted_by_turn():
    """A function that counts the attempts of a server at each turn of the loop."""
    counts, going = [], threading.Event()
    going.set()

    def begin(server):
        loop = background().loop

        def count():
            counts.append(len(server.ledger.attempts))
            if going.is_set():
                loop.call_soon(count)

        loop.call_soon_threadsafe(count)
        return counts

    yield begin
    going.clear()


KINDS = {
    "tcp": (partial(serve, ok()), socket.AF_INET, socket.SOCK_STREAM),
    "unix": (partial(serve, ok(), unix=True), socket.AF_UNIX, socket.SOCK_STREAM),
    "udp": (partial(udp, ok()), socket.AF_INET, socket.SOCK_DGRAM),
}


@pytest.mark.parametrize("kind", KINDS)
def test_flood_of_clients_leaves_turns_of_the_loop_to_others(kind, counted_by_turn):
    make, family, type_ = KINDS[kind]
    with make() as server, contextlib.ExitStack() as clients:
        with held(background().loop):
            counts = counted_by_turn(server)
            for _ in range(FLOOD):
                client = clients.enter_context(socket.socket(family, type_))
                client.connect(server.path if kind == "unix" else server.address)
                if kind == "udp":
                    client.send(b"ping")
        server.wait_for_attempts(FLOOD)
        begun = [0, *counts]

    assert max(after - before for before, after in itertools.pairwise(begun)) <= MOST_PER_TURN


# --- at the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_server_that_nobody_has_used_stops_though_the_loop_is_busy(kind, own_port):
    make, family, type_ = KINDS[kind]
    server = make() if kind == "unix" else make(port=own_port)
    with held(background().loop):
        server.close()

        with socket.socket(family, type_) as client, pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            client.connect(server.path if kind == "unix" else server.address)


def test_client_that_waits_while_an_unused_server_stops_is_recorded():
    server = serve(ok())
    stop = threading.Thread(target=server.close)
    with held(background().loop), socket.create_connection(server.address, 10) as client:
        stop.start()
    stop.join()

    assert [attempt.ended_by for attempt in server.attempts] == ["client"], client


def test_listener_that_has_accepted_a_client_late_is_used():
    clients, loop = [], asyncio.new_event_loop()
    sock = sockets.claim("127.0.0.1", 0)
    listener = Listener(sock, None)
    with contextlib.closing(loop), socket.socket() as client:
        listener.start(loop, lambda accepted, _: clients.append(accepted), pytest.fail)
        client.connect(sock.getsockname())
        listener.set_step(do.Refuse())  # before the loop has seen the client
        listener.set_step(None)
        assert not listener.close_unused()
        loop.call_soon(loop.stop)
        loop.run_forever()
        listener.close()
        for accepted in clients:
            accepted.close()

    assert len(clients) == 1


# --- after a black hole ----------------------------------------------------------------------------------------------


@pytest.fixture
def filler_addresses(monkeypatch):
    """The addresses of the sockets that fill the queue, which are free again as soon as these are closed."""
    addresses = []
    fill = system.drop_syns

    def filled(sock):
        sock, fillers = fill(sock)
        for filler in fillers:
            filler.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            addresses.append(filler.getsockname())
        return sock, fillers

    monkeypatch.setattr(system, "drop_syns", filled)
    return addresses


def ask(client, server):
    """The response to a client."""
    client.settimeout(10)
    client.connect(server.address)
    client.sendall(GET)
    received = b""
    while data := client.recv(65_536):
        received += data
    return received


def test_later_client_with_the_address_of_a_filler_is_served(filler_addresses):
    served = 0
    with serve(ok(b"hello"), strict=False) as server:
        while served < 2:
            server.become(blackhole())
            server.become(ok(b"hello"))
            for address in filler_addresses[-2:]:
                with socket.socket() as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    with contextlib.suppress(OSError):  # an old connection of somebody else may hold the port
                        client.bind(address)
                        served += 1
                    if client.getsockname()[1]:
                        assert ask(client, server).endswith(b"hello")
