"""A talk that has several attempts open at once on a connection, as a protocol with streams has."""

from __future__ import annotations

import socket
import sys
import types
from dataclasses import replace

import pytest

from faultline import close, ok, reset, sequence, stall
from faultline._core import kinds
from faultline._engine.play import hold
from faultline._servers.address import Tcp
from faultline._servers.server import Server


@pytest.fixture
def started(monkeypatch):
    """A server that opens three attempts on each connection, and strikes in those that have a break."""

    async def converse(connection):
        dealer = connection.service.dealer
        attempts = [connection.attempt, connection.open(dealer.deal()), connection.open(dealer.deal())]
        await connection.stream.read(3)
        for attempt in attempts:
            if attempt.trip is not None:
                await connection.strike(attempt.trip)
        await hold(connection, None)

    talk = types.ModuleType("faultline._engine.talks.several")
    talk.converse = converse
    monkeypatch.setitem(sys.modules, talk.__name__, talk)
    kind = replace(kinds.SERVER, talk="several")

    return lambda plan: Server(plan, kind=kind, address=Tcp("127.0.0.1", 0), strict=False)


def endings(server):
    attempts = server.wait_for_attempts(3, at="end")
    assert {attempt.connection for attempt in attempts} == {1}
    return [(a.struck and a.struck.point, a.ended_by, a.ended_how) for a in attempts]


def test_all_of_them_end_with_the_client(started):
    with started(ok()) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(b"ask")
            server.wait_for_attempts(3)
        assert endings(server) == [(None, "client", "FIN")] * 3


@pytest.mark.parametrize(("fault", "how"), [(reset(), "RST"), (close(), "FIN")], ids=repr)
def test_a_break_strikes_in_its_own_attempt_and_ends_all(started, fault, how):
    with started(sequence(ok(), fault, ok())) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"ask")
        assert endings(server) == [(None, "server", how), ("response", "server", how), (None, "server", how)]


def test_each_of_them_may_strike(started):
    pauses = stall(for_seconds=0.01)
    with started(sequence(pauses, ok(), pauses)) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(b"ask")
            server.wait_for_attempts(2, at="strike")
        assert [struck for struck, *_ in endings(server)] == ["response", None, "response"]


def test_all_of_them_end_with_the_server(started):
    with started(ok()) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"ask")
        server.wait_for_attempts(3)
        server.close()
        assert endings(server) == [(None, "server", "stop")] * 3
