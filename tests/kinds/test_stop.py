"""Servers of each kind stop in any state, and leave nothing: no descriptor, thread, task or file."""

from __future__ import annotations

import socket
import tempfile

import pytest
from support import CUT_OFF, GET, leave_by_rst, nothing_left, read, to_end

import faultline as fl

LONG = fl.ok(bytes(1 << 24))  # more than the kernel's buffers take
# In which a server is when it stops: its plan, and how far its client has come.
STATES = {
    "nothing said": (fl.ok(), ""),
    "half a request": (fl.ok(), "half"),
    "a long answer": (fl.ok(), "asked"),
    "stalled": (fl.stall(at="accept"), ""),
    "stalled for some time": (fl.stall(at="accept", for_seconds=60), ""),
    "waiting before a strike": (fl.reset(at="accept", after_seconds=60), ""),
    "late": (fl.latency(60), "said"),
    "both ways late": (fl.latency(60, direction="both"), ""),
    "paused": (fl.ok(), "paused"),
    "paused in an answer": (fl.ok(), "asked, paused"),
    "in a partition": (fl.ok(), "partitioned"),
    "another plan": (fl.stall(at="accept"), "become"),
}


def brought(site, server, state):
    """A client that has come as far as it comes in a state."""
    client = site.connect(server) if state in ("", "said", "become") else site.dial(server)
    if "asked" in state:
        client.sendall(site.get(server))
        assert read(client, 12) == b"HTTP/1.1 200"
    elif state == "half":
        client.sendall(GET[:20])
    elif state == "said":
        client.sendall(site.first_bytes(server))
    server.wait_for_attempts(1)
    if "paused" in state:
        assert server.pause() == 1
    elif state == "partitioned" and site.may_drop_packets:
        assert server.partition() == 1
    elif state == "become":
        server.become(fl.latency(60), open_too=True)
    return client


@pytest.mark.slow
@pytest.mark.everywhere
def test_a_stop_in_any_state_leaves_nothing(site, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    site.start().close()  # what lasts is there
    with nothing_left():
        servers = [site.start(plan, LONG) for plan, _ in STATES.values()]
        clients = [brought(site, server, state) for server, (_, state) in zip(servers, STATES.values(), strict=True)]
        assert [a.ended_by for server in servers for a in server.attempts] == [None] * len(servers)

        for server in servers:
            server.close()
        ends = {name: to_end(client)[1] for name, client in zip(STATES, clients, strict=True)}
        site.stack.close()
    assert set(ends.values()) <= {"FIN", "RST", CUT_OFF}, ends
    assert {a.ended_how for server in servers for a in server.attempts} == {"stop"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.unmeasured
def test_starting_and_stopping_and_each_door_leave_nothing(site, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    site.start().close()
    plans = [fl.ok(), fl.refuse(), fl.blackhole(), fl.cycle(fl.ok(), fl.refuse())]
    with nothing_left():
        for plan in plans * 3:
            server = site.start(plan)
            server.become(fl.refuse())
            server.become(fl.blackhole())
            server.become(plan)
            server.close()
        site.stack.close()
    assert list(tmp_path.iterdir()) == []


def test_conversations_that_have_ended_leave_nothing(site):
    server = site.start()
    site.ask(server)
    with nothing_left():
        for leave in (socket.socket.close, leave_by_rst) * 3:
            leave(site.dial(server, site.get(server)[:20]))
        server.wait_for_attempts(7, at="end")
    assert [a.ended_by for a in server.attempts[1:]] == ["client"] * 6


def test_who_waits_in_the_queue_at_the_stop_meets_the_end(site):
    for _ in range(3):
        server = site.start(fl.stall(at="accept"))
        client = site.connect(server)
        server.close()

        assert [a.ended_how for a in server.attempts] == ["stop"]
        assert to_end(client) == (b"", "FIN")
