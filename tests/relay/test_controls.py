"""What a test does to open connections of a relay whose upstream it holds, and another plan for them."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from support import GET, in_thread, is_quiet, read, to_end

from faultline import Gate, close, echo, ok, reset, sequence, stall
from faultline._engine.talks.relay import Relay

MIB = 1 << 20


def talk(client, upstream):
    client.sendall(b"ask")
    assert read(upstream, 3) == b"ask"
    upstream.sendall(b"answer")
    assert read(client, 6) == b"answer"


# --- controls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_paused", [False, True], ids=["flowing", "paused"])
@pytest.mark.parametrize(("control", "end"), [("reset_all", "RST"), ("close_all", "FIN")])
def test_an_upstream_of_connections_that_are_ended_hears_their_end(join, control, end, is_paused):
    server, client, upstream = join()
    client.sendall(b"hello")
    assert read(upstream, 5) == b"hello"
    if is_paused:
        server.pause()

    assert getattr(server, control)() == 1
    assert (to_end(client), to_end(upstream)) == ((b"", end), (b"", "FIN"))


@pytest.mark.parametrize("said_before", [False, True], ids=["at first", "after a turn"])
@pytest.mark.parametrize("tls", ["through", "terminate"])
def test_nothing_passes_a_paused_relay_in_either_direction(join, tls, said_before):
    server, client, upstream = join(tls=tls)
    if said_before:
        talk(client, upstream)
    server.wait_for_attempts(1, at="request")

    server.pause()
    client.sendall(b"hello")
    upstream.sendall(b"news")
    assert is_quiet(client, upstream)
    server.resume()
    assert (read(upstream, 5), read(client, 4)) == (b"hello", b"news")


@pytest.mark.slow
def test_all_that_is_said_while_somebody_pauses_and_resumes_arrives(join):
    server, client, upstream = join()
    data, stop, heard = os.urandom(MIB) * 8, threading.Event(), []

    def flicker():
        while not stop.is_set():
            server.pause()
            server.resume()

    def pour(sock):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    with in_thread(flicker), in_thread(pour, client), in_thread(pour, upstream):
        with in_thread(lambda: heard.append(to_end(upstream))):
            got = to_end(client)
        stop.set()
    assert (got == (data, "FIN"), heard == [(data, "FIN")]) == (True, True)


# --- become, for open connections too --------------------------------------------------------------------------------


@pytest.mark.parametrize("spoken", [False, True], ids=["at first", "after a turn"])
@pytest.mark.parametrize("before", [None, reset(at="request", after_bytes=100), reset(on=b"never")], ids=repr)
def test_an_open_connection_that_waits_meets_what_is_new_from_the_next_byte_on(join, before, spoken):
    server, client, upstream = join(before, strict=False)
    if spoken:
        talk(client, upstream)
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].ended_by is None  # it waits for what comes

    server.become(reset(at="request", after_bytes=4), open_too=True)
    client.sendall(b"hello")
    assert (to_end(upstream), to_end(client)) == ((b"hell", "FIN"), (b"", "RST"))
    assert server.attempts[0].struck.after_bytes == 4 + 3 * spoken  # of all that have passed the point


@pytest.mark.parametrize(
    "before", [reset(at="request", after_bytes=10), reset(on=b"hello"), reset(after_bytes=3)], ids=repr
)
def test_an_open_connection_is_well_again_when_the_new_plan_says_so(join, before):
    server, client, upstream = join(before, strict=False)
    server.wait_for_attempts(1, at="request")
    assert server.attempts[0].ended_by is None

    server.become(ok(), open_too=True)
    client.sendall(b"hello again and again")
    assert read(upstream, 21) == b"hello again and again"
    upstream.sendall(b"answer")
    assert read(client, 6) == b"answer"
    assert server.attempts[0].struck is None


@pytest.mark.parametrize("is_open", [True, False])
def test_a_silence_ends_when_the_new_plan_has_none_or_its_gate_is_opened(join, is_open):
    gate = Gate()
    server, client, upstream = join(stall(after_bytes=2, until=gate))
    upstream.sendall(b"abcdef")
    server.wait_for_attempts(1, at="strike")
    if is_open:
        gate.open()
    else:
        server.become(ok(), open_too=True)

    assert read(client, 6) == b"abcdef"
    talk(client, upstream)


def test_a_break_that_is_gone_before_its_strike_does_not_strike(join, monkeypatch):
    _, client, upstream = join(stall(after_bytes=2), strict=False)
    at_strike = Relay.at_strike

    async def changed(relay):
        """In the turn of the loop in which the break is to be played, the plan has it no more."""
        relay._connection.meet(ok())
        await at_strike(relay)

    monkeypatch.setattr(Relay, "at_strike", changed)
    upstream.sendall(b"abcdef")

    assert read(client, 6) == b"abcdef"


def test_an_open_connection_meets_silence_as_a_new_fault(join):
    server, client, upstream = join()
    talk(client, upstream)

    server.become(reset(at="idle", after_seconds=0.02), open_too=True)
    assert to_end(client) == (b"", "RST")
    assert server.attempts[0].struck.point == "idle"


def test_each_open_connection_is_dealt_its_own_of_the_new_plan(faultline, dial):
    server = faultline.serve(echo())
    clients = [dial(server) for _ in range(3)]
    server.wait_for_attempts(3, at="request")

    server.become(sequence(reset(), close(), ok(b"hello")), open_too=True)
    for client, expected in zip(clients, [(b"", "RST"), (b"", "FIN"), (b"hello", "FIN")], strict=True):
        client.sendall(GET)
        got, end = to_end(client)
        assert (got[-5:], end) == expected


@pytest.mark.slow
def test_a_new_plan_again_and_again_during_a_transfer_loses_nothing(join):
    server, client, upstream = join(strict=False)
    data = os.urandom(MIB) * 16
    with in_thread(lambda: (upstream.sendall(data), upstream.shutdown(socket.SHUT_WR))):
        got = bytearray(read(client, 1000))
        for plan in (reset(at="request"), ok()) * 50:
            server.become(plan, open_too=True)
            got += read(client, 100_000)
        rest, end = to_end(client)
    assert (bytes(got) + rest == data, end) == (True, "FIN")
