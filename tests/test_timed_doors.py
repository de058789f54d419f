"""Refusals and black holes that end by themselves: what clients meet afterwards, on each kind of server."""

from __future__ import annotations

import itertools
import socket
import time

import pytest
from support import GET, connected, to_end
from support.tables import each_row

from faultline import blackhole, cycle, ok, refuse, relay, reset, sequence, serve, sometimes, udp
from faultline._net import system

SECONDS = 0.03
CUT = "RST"
TIMED = [refuse(for_seconds=SECONDS), blackhole(for_seconds=SECONDS)]
KINDS = {"tcp": {}, "tls": {"tls": True}, "unix": {"unix": True}, "isolated": {"isolated": True}}
HELLO, BYE = ok(b"hello"), ok(b"bye")
# Servers with a short time are not strict: on a busy machine it is over before the first client comes.


def ask(client):
    """The body of the answer to one request, or that there was none."""
    with client:
        client.sendall(GET)
        received, end = to_end(client)
    return CUT if end == "RST" else received.partition(b"\r\n\r\n")[2]


def let_in(server):
    """The first client that the server lets in; those before it give up."""
    while True:
        try:
            return connected(server, within=0.01)
        except OSError:
            continue


def told(server):
    """The faults of those that were let in; the others met the timed fault at the door, which struck."""
    attempts = server.attempts
    shut_out = [a for a in attempts if a.connection is None]
    assert {(a.fault in TIMED, a.struck.point, a.ended_by) for a in shut_out} <= {(True, "connect", "server")}
    return [a.fault for a in attempts if a.connection is not None]


# A plan with a timed fault, what clients get that are let in one after the other, and the faults that they meet.
AFTER = [
    (lambda timed: sequence(timed, HELLO, BYE), [b"hello", b"bye", b"bye"], [HELLO, BYE, BYE]),
    (lambda timed: sequence(timed, reset(), ok()), [CUT, b"ok\n"], [reset(), ok()]),
    (lambda timed: timed, [b"ok\n"] * 2, [ok()] * 2),
    (lambda timed: sequence(HELLO, timed), [b"hello", b"ok\n", b"ok\n"], [HELLO, ok(), ok()]),
    (lambda timed: cycle(timed, HELLO, BYE), [b"hello", b"bye"] * 2, [HELLO, BYE] * 2),
    (lambda timed: sometimes(0.5, timed, otherwise=HELLO, seed=1), [b"hello"] * 3, [HELLO] * 3),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_clients_meet_what_comes_next_when_the_time_is_over(faultline, kind):
    """All times run at once."""
    started = [
        (faultline.serve(plan(timed), strict=False, **KINDS[kind]), met, faults)
        for timed in TIMED
        for plan, met, faults in AFTER
    ]
    for server, met, faults in started:
        assert [ask(let_in(server)) for _ in met] == met
        assert told(server) == faults


@pytest.mark.parametrize("fault", TIMED, ids=repr)
def test_its_time_passes_before_anybody_is_let_in_and_again_in_each_round(fault):
    with serve(cycle(fault, HELLO, BYE), strict=False) as server:
        assert [ask(let_in(server)) for _ in range(3)] == [b"hello", b"bye", b"hello"]

        begins = [a.started_seconds for a in server.attempts if a.fault in (HELLO, BYE)]
        assert begins[0] >= SECONDS
        assert begins[2] - begins[1] >= SECONDS


@pytest.mark.parametrize("fault", TIMED, ids=repr)
def test_connections_are_kept_alive_once_it_is_over(fault):
    get = GET.replace(b"Connection: close\r\n", b"")
    with serve(fault, strict=False) as server, let_in(server) as client:
        for _ in range(2):
            client.sendall(get)
            response = b""
            while not response.endswith(b"\r\n\r\nok\n"):
                response += client.recv(65_536)
            assert b"Connection: close" not in response

        assert [a.connection for a in server.attempts][-2:] == [1, 1]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.slow
def test_times_in_a_row_add_up(faultline, kind):
    rows = itertools.product(TIMED, TIMED)
    for server in [faultline.serve(sequence(*row, HELLO), strict=False, **KINDS[kind]) for row in rows]:
        assert ask(let_in(server)) == b"hello"

        assert told(server) == [HELLO]
        assert server.attempts[-1].started_seconds >= 2 * SECONDS


@pytest.mark.parametrize("fault", TIMED, ids=repr)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_it_follows_refusals_that_are_counted(fault, kind):
    with serve(sequence(refuse(), refuse(), fault, HELLO), strict=False, **KINDS[kind]) as server:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                connected(server)
        assert ask(let_in(server)) == b"hello"

        _, second, *_, last = server.attempts
        assert (second.fault, last.fault) == (refuse(), HELLO)
        assert last.started_seconds - second.started_seconds >= SECONDS  # met or not: a client may come when it is over


def test_closed_doors_of_no_duration_do_not_turn_without_a_pause(monkeypatch):
    began = time.monotonic()
    turns = []
    monkeypatch.setattr(system, "stop_listening", lambda sock: turns.append(sock) or sock)
    with serve(cycle(refuse(for_seconds=0), refuse(for_seconds=0)), strict=False), serve(HELLO) as other:
        for _ in range(20):
            assert ask(connected(other)) == b"hello"
        count = len(turns)

    assert count <= 1 + (time.monotonic() - began) / 0.001


@pytest.mark.parametrize("fault", TIMED, ids=repr)
def test_a_relay_opens_too(fault):
    with serve(BYE) as upstream, relay(upstream, sequence(fault, reset(), ok()), strict=False) as server:
        assert [ask(let_in(server)), ask(let_in(server))] == [CUT, b"bye"]

        assert told(server) == [reset(), ok()]


@pytest.mark.parametrize("kind", ["tcp", "unix", "isolated"])
@pytest.mark.parametrize("fault", TIMED, ids=repr)
def test_given_again_after_its_end_it_begins_again(fault, kind):
    with serve(fault, strict=False, **KINDS[kind]) as server:
        let_in(server).close()
        before = server.ledger.now()
        server.become(fault)

        assert ask(let_in(server)) == b"ok\n"
        assert server.attempts[-1].started_seconds - before >= SECONDS


@each_row("kind", ["tcp", "unix", "isolated"])
def test_refused_connects_do_not_shorten_it(kind):
    fault = refuse(for_seconds=60)
    with serve(sequence(fault, ok()), **KINDS[kind]) as server:
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connected(server)

        assert [(a.fault, a.struck.point) for a in server.attempts] == [(fault, "connect")] * 3


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("fault", TIMED, ids=repr)
@pytest.mark.parametrize("later", [refuse(), refuse(for_seconds=60), sequence(refuse(), ok())], ids=repr)
def test_its_time_is_over_with_its_plan(fault, later, kind):
    """The timer of the first plan would open the door, or deal the first fault of the second plan."""
    with serve(sequence(ok(), fault, ok()), strict=False, **KINDS[kind]) as server:
        ask(let_in(server))
        server.become(later)
        with serve(fault, strict=False) as clock:
            let_in(clock).close()  # it takes as long

        with pytest.raises(ConnectionRefusedError):
            connected(server)


def test_a_timed_refusal_of_datagrams_is_dealt_each_time():
    fault = refuse(for_seconds=SECONDS)
    with udp(sequence(fault, fault, HELLO), strict=False) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(server.address)
        while True:
            try:
                client.send(b"ping")
                said = client.recv(100)
            except ConnectionRefusedError:
                continue
            break

        assert said == b"hello"
        assert [a.fault for a in server.attempts] == [HELLO]
        assert server.attempts[0].started_seconds >= 2 * SECONDS


def test_datagrams_after_a_timed_refusal_are_healthy_and_it_can_be_given_again():
    fault = refuse(for_seconds=SECONDS)
    with udp(fault, strict=False) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(server.address)
        begun = 0.0
        for _ in range(2):
            while True:
                try:
                    client.send(b"ping")
                    assert client.recv(100) == b"ping"
                except ConnectionRefusedError:
                    continue
                break
            assert server.attempts[-1].fault == ok()
            assert server.attempts[-1].started_seconds - begun >= SECONDS
            begun = server.ledger.now()  # before its time begins
            server.become(fault)
