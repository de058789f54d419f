"""Who has left, and who has only finished sending: a client that has sent its FIN may still listen (RFC 9293, 3.6)."""

from __future__ import annotations

import re
import socket

import pytest
from support import GET, SILENCE_SECONDS, ending, is_quiet, leave_by_rst, read, to_end
from support.kinds import IPV6, KINDS, each_kind

import faultline as fl

# Those that answer themselves, in plain text: what a kind asks of the kernel differs, and what is made of it does not.
ASKED = pytest.mark.parametrize(
    "site", each_kind([IPV6, *(kind for kind in KINDS if kind.name in ("TCP", "Unix", "isolated"))]), indirect=True
)
PLAIN = pytest.mark.parametrize(
    "site", each_kind(kind for kind in KINDS if not re.search("TLS|SOCKS", kind.name)), indirect=True
)


def leave_both_directions(client):
    """End both directions, and keep the socket."""
    client.shutdown(socket.SHUT_RDWR)


def leave_after_half_close(client):
    """Finish sending, and close a moment later."""
    client.shutdown(socket.SHUT_WR)
    client.close()


LEAVE = [socket.socket.close, leave_by_rst, leave_both_directions, leave_after_half_close]


# --- who has finished sending ----------------------------------------------------------------------------------------

ENDLESS = [
    fl.stall(),
    fl.stall(after_bytes=10),
    fl.stall(at="accept"),
    fl.stall(at="request", after_bytes=5),
    fl.stall(on=b"Host"),
    fl.script(fl.receive_request(), fl.stall()),
]


@pytest.mark.slow
@ASKED
def test_silence_goes_on_for_a_client_that_has_finished_sending_until_it_leaves(site):
    servers = [site.start(plan) for plan in ENDLESS]
    clients = [site.dial(server, GET) for server in servers]
    for client in clients:
        client.shutdown(socket.SHUT_WR)
    assert read(clients[1], 10) == b"HTTP/1.1 2"

    assert is_quiet(*clients)
    assert [server.attempts[0].ended_by for server in servers] == [None] * len(ENDLESS)
    for server, client in zip(servers, clients, strict=True):
        client.close()
        (attempt,) = server.wait_for_attempts(1, at="end")
        assert ending(attempt) == ("client", "FIN")
        assert attempt.ended_seconds - attempt.struck.at_seconds >= SILENCE_SECONDS / 2


TIMED = [
    fl.stall(at="accept", for_seconds=0.05),
    fl.stall(at="request", after_bytes=5, for_seconds=0.05),
    fl.stall(after_bytes=20, for_seconds=0.05),
    fl.latency(0.05),
    fl.drip(40, every_seconds=0.01),
]


@pytest.mark.slow
@PLAIN
def test_what_comes_after_a_wait_is_delivered_to_a_client_that_has_finished_sending(site):
    gate = fl.Gate()
    plans = [*TIMED, fl.stall(at="accept", until=gate)]
    servers = [site.start(plan) for plan in plans]
    clients = [site.dial(server) for server in servers]
    for server, client in zip(servers, clients, strict=True):
        client.sendall(site.get(server))
        client.shutdown(socket.SHUT_WR)

    assert is_quiet(clients[-1])
    gate.open()
    assert [to_end(client)[0][-5:] for client in clients] == [b"hello"] * len(plans)


# --- who has left ----------------------------------------------------------------------------------------------------

WAITS = [fl.stall(), fl.stall(for_seconds=30), fl.latency(30), fl.drip(1, every_seconds=30)]


@ASKED
def test_a_client_is_seen_leaving_while_the_server_waits(site):
    servers = [(plan, leave, site.start(plan)) for plan in WAITS for leave in LEAVE]
    for plan, leave, server in servers:
        client = site.dial(server, GET)
        server.wait_for_attempts(1, at="request")
        if plan == WAITS[-1]:
            assert client.recv(1) == b"H"  # closing with unread bytes would send RST
        leave(client)

        (attempt,) = server.wait_for_attempts(1, at="end")
        assert ending(attempt) == ("client", "RST" if leave is leave_by_rst and not site.is_unix else "FIN")


STRIKES = [
    fl.reset(after_bytes=5),
    fl.close(after_bytes=5),
    fl.stall(after_bytes=5),
    fl.reset(at="request", after_bytes=5),
    fl.stall(at="request", after_bytes=5),
    fl.script(fl.receive_request(), fl.send(b"220 "), fl.reset()),
    fl.script(fl.receive_request(), fl.send(b"220 "), fl.stall()),
]


@ASKED
def test_nothing_strikes_a_client_that_has_left(site):
    for plan in STRIKES:
        server = site.start(plan)
        server.pause()
        for leave in LEAVE:
            leave(site.dial(server, GET))
        server.wait_for_attempts(len(LEAVE))
        server.resume()

        told = [(a.struck, a.ended_by) for a in server.wait_for_attempts(len(LEAVE), at="end")]
        assert told == [(None, "client")] * len(LEAVE)


UNREAD = [fl.stall(at="accept"), fl.stall(at="request"), fl.stall(at="request", after_bytes=9)]
UPLOADS = [2_000, 20_000, 200_000, 2_000_000]


def test_a_client_is_seen_leaving_however_much_of_what_it_said_lies_unread(faultline, dial):
    for plan in UNREAD:
        server = faultline.serve(plan)
        clients = [dial(server) for _ in UPLOADS]
        for size, client in zip(UPLOADS, clients, strict=True):
            client.setblocking(False)
            client.send(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        server.wait_for_attempts(len(UPLOADS), at="strike")
        for client in clients:
            client.close()

        assert {ending(a) for a in server.wait_for_attempts(len(UPLOADS), at="end")} == {("client", "FIN")}


def test_a_client_that_reads_nothing_of_a_long_answer_is_seen_leaving(faultline, dial):
    server = faultline.serve(fl.stall(after_bytes=19_000_000), answer=fl.ok(bytes(20_000_000)), strict=False)
    client = dial(server, GET)
    server.wait_for_attempts(1, at="response")
    client.close()

    assert server.wait_for_attempts(1, at="end")[0].ended_by == "client"


def test_request_of_a_client_that_has_closed_never_arrives_at_a_server_that_delays_it(faultline, dial):
    server = faultline.serve(fl.latency(20, direction="request"))
    client = dial(server, GET)
    server.wait_for_strike()
    client.close()

    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (*ending(attempt), attempt.request) == ("client", "FIN", None)
