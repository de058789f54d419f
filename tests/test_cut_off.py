"""The end of a test's time without a connection to reset: lookups and datagrams get an answer that ends the wait.

A server that outlasts the test plays its plan again for the next one.
"""

from __future__ import annotations

import errno
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.tables import each_row

from faultline import (
    addresses,
    bad_dns,
    blackhole,
    dns_server,
    latency,
    ok,
    reordered,
    resolve,
    sequence,
    serve,
    slow_resolve,
    udp,
)
from faultline._servers.datagrams import MOST_WAITING, Unanswered

LONG_SECONDS = 60
PATIENCE_SECONDS = 10.0
NAME = "api.example.com"
QUERY = bytes.fromhex("123401000001000000000000") + b"\3api\7example\3com\0\0\1\0\1"
SERVFAIL = 2  # RFC 1035, 4.1.1


def by_datagram(server, said=b"ping"):
    """The answer to one datagram, for which the client waits without a limit."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(server.address)
        client.send(said)
        return client.recv(1000)


def twice(server):
    """The answer to the second of two datagrams."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(server.address)
        client.send(b"one")
        client.send(b"two")
        return client.recv(1000)


def by_query(server):
    """The code of the answer to one query over UDP."""
    return by_datagram(server, QUERY)[3] & 15


def by_stream(server):
    """What comes after one query over TCP: nothing, if the connection is ended."""
    with socket.create_connection(server.address) as client:
        client.sendall(len(QUERY).to_bytes(2, "big") + QUERY)
        try:
            return client.recv(1000)
        except ConnectionResetError:
            return b""


def by_lookup(_):
    """The code of a failed lookup."""
    with pytest.raises(socket.gaierror) as raised:
        socket.getaddrinfo(NAME, 80)
    return raised.value.errno


def heard_while_cut_off(meet, server):
    """What a client hears that waits when the server is cut off."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(meet, server)
        server.wait_for_strike()
        server.cut_off()
        return waiting.result(PATIENCE_SECONDS)


ENDED = {
    "udp black hole": (lambda: udp(blackhole()), by_datagram, b""),
    "udp late": (lambda: udp(latency(LONG_SECONDS)), by_datagram, b""),
    "dns late": (lambda: dns_server(slow_resolve(LONG_SECONDS)), by_query, SERVFAIL),
    "dns silent": (lambda: dns_server(bad_dns("silence")), by_query, SERVFAIL),
    "dns late over tcp": (lambda: dns_server(slow_resolve(LONG_SECONDS)), by_stream, b""),
    "dns silent over tcp": (lambda: dns_server(bad_dns("silence")), by_stream, b""),
    "lookup late": (lambda: resolve(NAME, slow_resolve(LONG_SECONDS)), by_lookup, socket.EAI_AGAIN),
}


@each_row("kind", ENDED)
def test_wait_ends_when_the_server_is_cut_off(kind):
    start, meet, told = ENDED[kind]
    with start() as server:
        assert heard_while_cut_off(meet, server) == told


AT_ONCE = {kind: case for kind, case in ENDED.items() if "tcp" not in kind}


@each_row("kind", AT_ONCE)
def test_who_comes_while_the_server_is_cut_off_is_told_at_once(kind):
    start, meet, told = AT_ONCE[kind]
    with start() as server:
        server.cut_off()

        assert meet(server) == told
        server.cut_off(is_cut_off=False)
        assert heard_while_cut_off(meet, server) == told  # after it has met the plan


def test_dns_over_tcp_is_refused_while_the_server_is_cut_off():
    with dns_server(ok()) as server:
        server.cut_off()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, PATIENCE_SECONDS)
        server.cut_off(is_cut_off=False)

        assert by_stream(server)[2:4] == QUERY[:2]


LATE = {
    "udp": (lambda: udp(latency(LONG_SECONDS)), by_datagram),
    "udp, behind the next": (lambda: udp(sequence(reordered(), latency(LONG_SECONDS)), strict=False), twice),
    "dns": (lambda: dns_server(slow_resolve(LONG_SECONDS)), by_query),
}


@each_row("kind", LATE)
def test_late_answer_is_not_sent_after_the_wait_was_ended_though_clients_are_let_in_again(kind):
    start, meet = LATE[kind]
    with start() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(meet, server)
        server.wait_for_attempts(2 if meet is twice else 1)
        server.cut_off()
        waiting.result(PATIENCE_SECONDS)
        before = [attempt.sent_bytes for attempt in server.attempts]
        server.cut_off(is_cut_off=False)
        timers = server._datagrams._timers
        server._background.call(lambda: [timer._run() for timer in tuple(timers)])  # as if the time had passed

        assert ([attempt.sent_bytes for attempt in server.attempts], len(timers)) == (before, 0)


def test_slow_lookup_fails_though_clients_are_let_in_again_before_it_wakes():
    with resolve(NAME, slow_resolve(LONG_SECONDS)) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(by_lookup, server)
        server.wait_for_strike()
        server.cut_off()
        server.cut_off(is_cut_off=False)

        assert waiting.result(PATIENCE_SECONDS) == socket.EAI_AGAIN


def test_silent_neighbour_of_a_resolver_is_cut_off_too():
    with serve(ok()) as server, resolve(NAME, addresses("blackhole_first", server), strict=False) as resolver:
        (family, _, _, _, address), *_ = socket.getaddrinfo(NAME, server.port)
        resolver.cut_off()
        with socket.socket(family) as client:
            client.settimeout(PATIENCE_SECONDS)
            assert client.connect_ex(address) == errno.ECONNREFUSED
        resolver.cut_off(is_cut_off=False)


def test_resolver_that_is_closed_stays_so_when_clients_are_let_in():
    resolver = resolve(NAME, slow_resolve(LONG_SECONDS), strict=False)
    resolver.close()
    resolver.cut_off(is_cut_off=False)

    assert not resolver.is_open


def test_of_those_that_wait_the_latest_are_kept():
    ended, unanswered = [], Unanswered()
    for number in range(MOST_WAITING + 2):
        unanswered.add(number, lambda number=number: ended.append(number))
    unanswered.discard(5)
    unanswered.end_all()

    assert ended == [n for n in range(2, MOST_WAITING + 2) if n != 5]
