"""A conversation to which nothing can come but its end has no task, and whatever ends a conversation ends it too."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from support import GET, to_end

import faultline as fl
from faultline._engine import conversation
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
@pytest.mark.parametrize(("name", "places"), [*((name, 100) for name in PLANS), ("before its response", 0)])
def test_client_of_a_stalled_connection(stalled, monkeypatch, name, places, end):
    monkeypatch.setattr(conversation, "MOST_PLACES", places)
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
    server, client = stalled(name, strict=name != "in a script")  # whose step is another one in the new plan
    before = count_tasks()
    assert [server.pause(), server.resume()] == [1, 1]
    server.become(PLANS[name][0], open_too=True)  # which has the same break
    client.shutdown(socket.SHUT_WR)

    assert server.attempts[0].ended_seconds is None
    assert count_tasks() in (before, before + 1)  # one asks whether the client has left
    client.close()
    assert server.wait_for_attempts(1, at="end")[0].ended_by == "client"
    assert count_tasks() == before


@pytest.mark.parametrize("name", PLANS)
def test_stalled_connection_goes_on_once_its_break_is_taken_away(stalled, name):
    server, client = stalled(name)
    heard = PLANS[name][2]
    server.become(fl.ok(b"at last"), open_too=True)
    if name == "from its accept":
        client.sendall(GET)
    if name == "in a script":  # whose own step is no break of a plan
        client.close()
        assert server.wait_for_attempts(1, at="end")[0].ended_by == "client"
        return
    said = heard + to_end(client)[0]

    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\nat last") is (name != "in its response")  # which had begun
    assert int(said.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) == len(said.partition(b"\r\n\r\n")[2])
    assert server.attempts[0].fault == fl.ok(b"at last")


@pytest.mark.parametrize("at", ["accept", "idle"])
def test_a_break_that_takes_the_place_of_a_stall_strikes_there(faultline, dial, at):
    server = faultline.serve(fl.stall(at=at))
    client = dial(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    server.wait_for_attempts(1, at="strike")
    server.become(fl.close(at=at), open_too=True)

    assert to_end(client)[0].count(b"HTTP/1.1 200 OK") == (at == "idle")
    assert [str(strike.part) for strike in server.attempts[0].strikes] == ["break", "break"]


def test_connections_behind_the_first_that_are_held_stay_so_and_say_it(faultline, dial, monkeypatch):
    """A place takes twice the memory of all else that a connection keeps."""
    monkeypatch.setattr(conversation, "MOST_PLACES", 1)
    server = faultline.serve(fl.stall())
    first = dial(server, GET)
    server.wait_for_attempts(1, at="strike")
    second = dial(server, GET)
    server.wait_for_attempts(2, at="strike")
    server.become(fl.ok(b"at last"), open_too=True)
    assert to_end(first)[0].endswith(b"at last")
    held = server.attempts[1]

    assert (held.ended_seconds, held.note) == (None, conversation.FORGOTTEN)
    second.close()
    server.wait_for_attempts(2, at="end")
    server.become(fl.stall())
    third = dial(server, GET)  # in the place of the first
    server.wait_for_attempts(3, at="strike")
    server.become(fl.ok(b"at last"), open_too=True)
    assert to_end(third)[0].endswith(b"at last")


def test_stalled_connection_may_stall_and_go_on_again(stalled):
    server, client = stalled("in its response", strict=False)
    said = PLANS["in its response"][2]
    for count in (4, 5, 6):  # of what has not passed yet
        server.become(fl.stall(after_bytes=len(said) + count), open_too=True)
        said += client.recv(count, socket.MSG_WAITALL)
    server.become(fl.ok(), open_too=True)

    said += to_end(client)[0]
    assert int(said.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) == len(said.partition(b"\r\n\r\n")[2])


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
