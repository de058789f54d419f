"""`max_connections`: so many clients are let in at once, whatever happens to those beyond, and whoever leaves."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import KEPT_GET, SILENCE_SECONDS, connected, read, to_end
from support.tables import each_row

import faultline as fl
from faultline import (
    Gate,
    NotStruckError,
    ParameterError,
    blackhole,
    close,
    latency,
    max_connections,
    ok,
    plan,
    refuse,
    relay,
    reset,
    sequence,
    serve,
    sometimes,
    stall,
    status,
)
from faultline._core.plan import faults_of
from faultline._front.control.toxics import under
from faultline._servers.loop import background

HELLO = ok(b"hello")
KINDS = {"tcp": {}, "tls": {"tls": True}, "unix": {"unix": True}, "isolated": {"isolated": True}}


def asks(client):
    """The status and the body of the answer."""
    client.sendall(KEPT_GET)
    said = client.recv(65_536)
    return said[9:12] + said.partition(b"\r\n\r\n")[2]


@contextlib.contextmanager
def relayed(fault, **options):
    with serve(HELLO) as upstream, relay(upstream, fault, **options) as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
def test_the_port_is_closed_while_so_many_are_connected(kind):
    with serve(max_connections(2, HELLO, beyond=refuse()), **KINDS[kind]) as server:
        with connected(server) as one, connected(server) as other:
            assert [asks(one), asks(other), asks(one)] == [b"200hello"] * 3
            for _ in range(2):
                with pytest.raises(ConnectionRefusedError):
                    connected(server)
        with connected(server) as again:  # at once: what a client has closed has room for the next
            assert asks(again) == b"200hello"

        refused = [a for a in server.attempts if a.fault == refuse()]
        assert [(a.connection, a.struck.point) for a in refused] == [(None, "connect")] * 2


@each_row(
    "beyond, end",
    [
        (stall(at="accept"), (b"", "silence")),
        (close(at="accept"), (b"", "FIN")),
        (reset(at="request"), (b"", "RST")),
    ],
)
@pytest.mark.parametrize("start", [serve, relayed])
def test_those_beyond_meet_their_fault_on_every_request(start, beyond, end):
    with start(max_connections(1, beyond=beyond)) as server, connected(server) as first:
        assert asks(first).startswith(b"200")
        with connected(server) as second:
            with contextlib.suppress(ConnectionError):
                second.sendall(KEPT_GET)
            assert to_end(second, SILENCE_SECONDS if end[1] == "silence" else 10) == end
            server.wait_for_attempts(1, at="strike")  # before the client leaves
        assert asks(first).startswith(b"200")
        first.close()
        with connected(server) as third:
            assert asks(third).startswith(b"200")


def test_those_beyond_may_have_an_answer_and_stay_beyond():
    fault = max_connections(1, sequence(HELLO, ok(b"bye")), beyond=status(503))
    with serve(fault) as server, connected(server) as first, connected(server) as second:
        assert [asks(second)[:3], asks(second)[:3], asks(first), asks(first)] == [
            b"503",
            b"503",
            b"200hello",
            b"200bye",
        ]


def test_a_connection_counts_until_its_client_has_closed_it_or_the_server_has_ended_it():
    with serve(max_connections(1, sequence(reset(), HELLO), beyond=refuse())) as server, connected(server) as first:
        first.sendall(KEPT_GET)
        assert to_end(first) == (b"", "RST")
        with connected(server) as second:
            assert asks(second) == b"200hello"
            with pytest.raises(ConnectionRefusedError):
                connected(server)


def test_nobody_gets_in_where_there_is_no_place():
    with serve(max_connections(0, beyond=refuse())) as server, pytest.raises(ConnectionRefusedError):
        connected(server)


@pytest.mark.slow
def test_many_at_once_are_never_more():
    with serve(max_connections(3, HELLO, beyond=close(at="accept")), strict=False) as server:
        inside, seen = set(), []

        def come(number):
            with connected(server) as client, contextlib.suppress(ConnectionError):
                client.sendall(KEPT_GET)
                if read(client, 12) == b"HTTP/1.1 200":
                    inside.add(number)
                    seen.append(len(inside))
                    inside.discard(number)

        with ThreadPoolExecutor(16) as pool:
            for each in [pool.submit(come, number) for number in range(200)]:
                each.result()

    assert seen
    assert max(seen) <= 3


def test_a_client_of_another_process_is_refused_too():
    code = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
    with serve(max_connections(1, HELLO, beyond=refuse()), strict=False) as server, connected(server) as first:
        assert asks(first) == b"200hello"
        command = [sys.executable, "-c", code, str(server.port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "ConnectionRefusedError" in done.stderr


def test_it_can_be_set_and_lifted_while_the_server_runs():
    with serve(HELLO) as server, connected(server) as first:
        assert asks(first) == b"200hello"
        server.become(max_connections(1, HELLO, beyond=refuse()))
        with pytest.raises(ConnectionRefusedError):
            connected(server)
        server.become(HELLO)
        with connected(server) as second:
            assert [asks(first), asks(second)] == [b"200hello"] * 2


@each_row("number, answers", [(3, [b"200", b"200", b"200"]), (2, [b"200", b"200", b"503"]), (0, [b"503"] * 3)])
def test_a_limit_set_for_open_connections_too_counts_them_in_the_order_of_their_connects(number, answers):
    with serve(HELLO) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(3)]
        server.wait_for_attempts(3)
        server.become(max_connections(number, HELLO, beyond=status(503)), open_too=True)
        assert [asks(client)[:3] for client in clients] == answers
        with connected(server) as last:
            assert asks(last)[:3] == b"503"


def test_a_limit_that_nobody_has_met_is_told_of():
    server = serve(max_connections(2, HELLO, beyond=refuse()))
    with connected(server) as client:
        asks(client)
    server.close()
    with pytest.raises(NotStruckError, match=r"There were never more than 2 connections at once\."):
        server.check_struck()


@each_row(
    "text",
    [
        "max_connections(2, beyond=refuse())",
        "max_connections(1, latency(0.2), beyond=stall(at='accept'))",
        "max_connections(0, sequence(reset(), ok()), beyond=status(503))",
    ],
)
def test_it_is_written_as_it_is_read(text):
    assert repr(plan(text)) == text


@each_row(
    "make, says",
    [
        (lambda: max_connections(-1, beyond=refuse()), "number=-1: expected a whole number, 0 or more"),
        (lambda: max_connections(1.5, beyond=refuse()), "number=1.5: expected a whole number"),
        (lambda: max_connections(1, beyond=refuse(for_seconds=1)), "expected a fault without for_seconds and until"),
        (lambda: max_connections(1, beyond=blackhole(until=Gate())), "expected a fault without for_seconds and until"),
        (lambda: max_connections(1, beyond=refuse), "beyond="),
        (lambda: max_connections(1, beyond=sequence(refuse(), ok())), "beyond="),
        (lambda: max_connections(1), "beyond"),
        (lambda: max_connections(1, max_connections(2, beyond=refuse()), beyond=refuse()), "one limit is enough"),
        (lambda: max_connections(1, beyond=ok()), "ok() is healthy, so that nothing would be limited"),
        (
            lambda: sequence(max_connections(1, beyond=refuse())),
            "write max_connections(1, sequence(…), beyond=refuse())",
        ),
        (lambda: max_connections(1, beyond=refuse()) & latency(1), "expected two faults"),
        (lambda: fl.udp(max_connections(1, beyond=refuse())), "expected a server with connections"),
        (lambda: fl.dns_server(max_connections(1, beyond=refuse())), "expected"),
        (lambda: serve(max_connections(1, beyond=fl.nxdomain())), "expected"),
        (lambda: sometimes(0.5, max_connections(1, beyond=refuse())), "fault="),
    ],
)
def test_what_is_no_limit_is_refused(make, says):
    with pytest.raises((ParameterError, fl.CallError)) as raised:
        make()
    assert says in str(raised.value)


def test_a_server_that_is_closed_has_none():
    with serve(max_connections(1, beyond=refuse()), strict=False) as server, connected(server) as client:
        asks(client)
        connections = server._process.connections
        assert background().call(connections.count) == 1
    assert connections.count() == 0


def test_toxics_act_on_those_within_and_on_those_beyond():
    limited = under(latency(0.2), plan("max_connections(1, beyond=stall())"))
    assert [fault.conditions for fault in faults_of(limited)] == [latency(0.2).conditions] * 2
