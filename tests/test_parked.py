"""A conversation to which nothing can come but its end has no task, and whatever ends a conversation ends it too."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from support import GET

import faultline as fl
from faultline._servers.loop import background

PLANS = {
    "from its accept": (fl.stall(at="accept"), b"", b""),
    "from its request": (fl.stall(at="request"), GET, b""),
    "before its response": (fl.stall(), GET, b""),
    "in its response": (fl.stall(after_bytes=8), GET, b"HTTP/1.1"),
    "in a script": (fl.script(fl.send(b"220 hi\r\n"), fl.stall()), b"", b"220 hi\r\n"),
}


def count_tasks():
    """The number of tasks in the loop of the servers."""
    return background().call(lambda: len(asyncio.all_tasks()))


@pytest.fixture
def stalled(faultline, dial):
    """A server and a client whose conversation has come to a silence without end."""

    def start(name, **options):
        plan, says, hears = PLANS[name]
        server = faultline.serve(plan, **options)
        client = dial(server, says)
        server.wait_for_attempts(1, at="strike")
        assert not hears or client.recv(100) == hears
        assert server.attempts[0].ended_seconds is None
        return server, client

    return start


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "Unix"])
@pytest.mark.parametrize("name", PLANS)
def test_stalled_connection_has_no_task(stalled, name, unix):
    before = count_tasks()
    stalled(name, unix=unix)

    assert count_tasks() == before


def leave(_, client):
    client.close()


def leave_by_reset(_, client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


ENDS = {
    "leaves": (leave, ("client", "FIN")),
    "leaves by RST": (leave_by_reset, ("client", "RST")),
    "is reset by the test": (lambda server, _: server.reset_all(), ("server", "RST")),
    "is closed by the test": (lambda server, _: server.close_all(), ("server", "FIN")),
    "is stopped": (lambda server, _: server.close(), ("server", "stop")),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", PLANS)
def test_client_of_a_stalled_connection(stalled, name, end):
    server, client = stalled(name)
    act, ending = ENDS[end]
    act(server, client)

    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.ended_by, attempt.ended_how) == ending
    assert (attempt.waited_seconds is not None) is (ending[0] == "client")
    if ending[1] == "RST" and client.fileno() >= 0:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    elif end == "is closed by the test":
        assert client.recv(1) == b""


@pytest.mark.parametrize("name", PLANS)
def test_controls_leave_a_stalled_connection_as_it_is(stalled, name):
    server, client = stalled(name)
    before = count_tasks()
    assert [server.pause(), server.resume()] == [1, 1]
    server.become(fl.ok(), open_too=True)
    client.shutdown(socket.SHUT_WR)

    assert server.attempts[0].ended_seconds is None
    assert server.attempts[0].fault == fl.ok()
    assert count_tasks() in (before, before + 1)  # one asks whether the client has left
    client.close()
    assert server.wait_for_attempts(1, at="end")[0].ended_by == "client"
    assert count_tasks() == before


def test_reset_of_a_stalled_connection_is_cut_short_by_the_end_of_the_server(faultline, dial):
    server = faultline.serve(fl.stall(at="accept"))
    clients = [dial(server) for _ in range(20)]  # which say nothing, so that a RST waits for them
    server.wait_for_attempts(20, at="strike")
    background().call(lambda: server._process.connections.act("reset_all"))
    server.close()

    assert {(attempt.ended_by, attempt.ended_how) for attempt in server.attempts} == {("server", "RST")}
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
