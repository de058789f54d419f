"""The listener: a flood of clients leaves turns of the loop to others; after a black hole every client is served."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
import struct
import threading
from functools import partial
from unittest.mock import Mock

import pytest

from faultline import blackhole, ok, serve, udp
from faultline._core import steps as do
from faultline._net import sockets, system
from faultline._servers.listener import ACCEPTS_PER_TURN, Listener
from faultline._servers.loop import background

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MOST_PER_TURN = 32
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


# --- a flood ---------------------------------------------------------------------------------------------------------


class Crowd:
    """A listener whose loop is a mock, and clients that have connected to it; the listener has accepted some of them.

    Attributes:
        begun: the accepted sockets that the server has begun with.
        errors: those of the listener.
    """

    def __init__(self, stack):
        self.sock, self.loop, self.begun, self.errors = sockets.claim("127.0.0.1", 0), Mock(), [], []
        self.listener, self.number = Listener(self.sock, None), self.sock.fileno()
        stack.callback(self.listener.close)
        self.listener.start(self.loop, lambda accepted, _: self.begun.append(accepted), self.errors.append)
        self.clients = [stack.enter_context(socket.socket()) for _ in range(2 * ACCEPTS_PER_TURN + 1)]
        self.loop.call_soon_threadsafe.reset_mock()  # which registers the listener, unless epoll_ctl(2) has
        for client in self.clients:
            client.settimeout(10)
            client.connect(self.sock.getsockname())
        stack.callback(lambda: [each.close() for each in self.begun])
        self.arrive()

    def arrive(self):
        """The loop tells the listener of clients in the queue."""
        number, accept = self.loop.add_reader.call_args.args
        assert number == self.number
        accept()

    def turn(self):
        """The loop calls what it was asked to call in its next turn."""
        calls, self.loop.call_soon_threadsafe.mock_calls = self.loop.call_soon_threadsafe.mock_calls, []
        for each in calls:
            each.args[0]()
        return len(calls)


@pytest.fixture
def crowd():
    with contextlib.ExitStack() as stack:
        yield Crowd(stack)


def test_clients_of_a_flood_leave_the_queue_at_once_and_begin_in_turns(crowd):
    with pytest.raises(BlockingIOError):
        crowd.sock.accept()
    crowd.arrive()  # which changes nothing
    assert len(crowd.begun) == ACCEPTS_PER_TURN
    assert crowd.turn() == 1
    assert len(crowd.begun) == 2 * ACCEPTS_PER_TURN
    assert crowd.turn() == 1
    assert len(crowd.begun) == 2 * ACCEPTS_PER_TURN + 1
    assert crowd.turn() == 0


def test_clients_that_have_left_the_queue_wait_while_the_listener_rests(crowd):
    crowd.listener.rest()
    crowd.turn()
    assert len(crowd.begun) == ACCEPTS_PER_TURN
    crowd.listener.resume()
    crowd.listener.rest()
    crowd.listener.resume()
    assert crowd.turn() == 1
    assert len(crowd.begun) == 2 * ACCEPTS_PER_TURN


def test_clients_that_have_left_the_queue_have_connected_before_a_refusal(crowd):
    crowd.listener.set_step(do.Refuse())
    late = [each.args[1] for each in crowd.loop.call_soon.mock_calls]
    crowd.turn()
    assert len(late) + len(crowd.begun) == len(crowd.clients)
    crowd.begun += late


def test_clients_that_have_left_the_queue_are_reset_as_those_in_it(crowd):
    crowd.listener.close()
    crowd.arrive()  # told too late
    ended = []
    for client in crowd.clients[ACCEPTS_PER_TURN:]:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        ended.append(client)
    assert len(ended) == ACCEPTS_PER_TURN + 1
    assert crowd.errors == []


def test_without_descriptors_those_that_have_left_the_queue_begin_first(crowd):
    crowd.listener._sock = Mock(wraps=crowd.sock, accept=Mock(side_effect=OSError(errno.EMFILE, "")))
    crowd.arrive()
    assert (crowd.errors, crowd.loop.remove_reader.called) == ([], False)
    crowd.turn(), crowd.turn()
    crowd.arrive()
    assert [error.errno for error in crowd.errors] == [errno.EMFILE]
    assert crowd.loop.remove_reader.called


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
