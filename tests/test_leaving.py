"""Who has left, and who has only finished sending: a client that has sent its FIN may still listen (RFC 9293, 3.6)."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest

from faultline import (
    Gate,
    close,
    drip,
    latency,
    ok,
    receive_request,
    receive_until,
    relay,
    reset,
    script,
    send,
    serve,
    stall,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PATIENCE_SECONDS = 10.0
SILENCE_SECONDS = 0.1
KINDS = {"tcp": {}, "ipv6": {"host": "::1"}, "unix": {"unix": True}, "isolated": {"isolated": True}}


@contextlib.contextmanager
def dialled(server):
    """A client that is connected to a server."""
    family = socket.AF_UNIX if server.path else socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.connect(server.path or server.address)
        yield client


def heard(client):
    """All that a client hears, to the end of the stream."""
    data = b""
    while piece := client.recv(65_536):
        data += piece
    return data


def assert_silence(client):
    """Assert that the client hears nothing."""
    client.settimeout(SILENCE_SECONDS)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(PATIENCE_SECONDS)


def by_rst(client):
    """Leave by RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def by_both_directions(client):
    """End both directions, and keep the socket."""
    client.shutdown(socket.SHUT_RDWR)


def after_half_close(client):
    """Finish sending, and close a moment later."""
    client.shutdown(socket.SHUT_WR)
    client.close()


LATE_REQUEST = latency(30, direction="request")
LEAVE = [socket.socket.close, by_rst, by_both_directions, after_half_close]

ENDLESS = [
    stall(),
    stall(after_bytes=10),
    stall(at="accept"),
    stall(at="request", after_bytes=5),
    stall(on=b"Host"),
    script(receive_request(), stall()),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", ENDLESS, ids=repr)
def test_silence_goes_on_for_a_client_that_has_finished_sending_until_it_leaves(plan, kind):
    with serve(plan, **KINDS[kind]) as server, dialled(server) as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        if plan == stall(after_bytes=10):
            assert client.recv(9) + client.recv(1) == b"HTTP/1.1 2"
        assert_silence(client)
        assert server.attempts[0].ended_by is None
        client.close()

        (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")
    assert attempt.ended_seconds - attempt.struck.at_seconds >= SILENCE_SECONDS / 2


TIMED = [
    stall(for_seconds=0.05),
    stall(at="accept", for_seconds=0.05),
    stall(at="request", after_bytes=5, for_seconds=0.05),
    stall(after_bytes=20, for_seconds=0.05),
    latency(0.05),
    drip(40, every_seconds=0.03),
]


@pytest.mark.parametrize("is_relayed", [False, True], ids=["server", "relay"])
@pytest.mark.parametrize("plan", TIMED, ids=repr)
def test_what_comes_after_a_wait_is_delivered_to_a_client_that_has_finished_sending(plan, is_relayed):
    with contextlib.ExitStack() as stack:
        if is_relayed:
            server = stack.enter_context(relay(stack.enter_context(serve(ok(b"whole"))), plan))
        else:
            server = stack.enter_context(serve(plan, answer=ok(b"whole")))
        client = stack.enter_context(dialled(server))
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)

        assert heard(client).endswith(b"whole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_holds_a_client_that_has_finished_sending(kind):
    gate = Gate()
    with serve(stall(until=gate), answer=ok(b"whole"), **KINDS[kind]) as server, dialled(server) as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        assert_silence(client)
        gate.open()

        assert heard(client).endswith(b"whole")


@pytest.mark.parametrize("after_bytes", [0, 10, 50_000])
def test_a_relay_that_stalls_delivers_the_rest_of_the_stream_to_a_client_that_finished_meanwhile(after_bytes):
    gate = Gate()
    body = bytes(1_000_000)
    with (
        serve(ok(body)) as real,
        relay(real, stall(at="response", after_bytes=after_bytes, until=gate)) as server,
        dialled(server) as client,
    ):
        client.sendall(GET)
        server.wait_for_attempts(1, at="strike")
        client.shutdown(socket.SHUT_WR)
        gate.open()

        assert heard(client).endswith(body)


def test_a_relay_passes_the_end_of_one_direction_on_and_the_other_goes_on():
    late = script(receive_until(b"bye"), stall(for_seconds=0.05), send(b"and you"))
    with serve(late) as real, relay(real) as server, dialled(server) as client:
        client.sendall(b"bye")
        client.shutdown(socket.SHUT_WR)

        assert heard(client) == b"and you"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("plan", [stall(), stall(for_seconds=30), latency(30), drip(1, every_seconds=30)], ids=repr)
def test_a_client_is_seen_leaving_while_the_server_waits(plan, leave, kind):
    with serve(plan, strict=False, **KINDS[kind]) as server, dialled(server) as client:
        client.sendall(GET)
        server.wait_for_attempts(1, at="request")
        if plan == drip(1, every_seconds=30):
            assert client.recv(1) == b"H"  # closing with unread bytes would send RST
        leave(client)

        (attempt,) = server.wait_for_attempts(1, at="end")

    assert attempt.ended_by == "client"
    assert attempt.ended_how == ("RST" if leave is by_rst and kind != "unix" else "FIN")


@pytest.mark.parametrize("upstream", [ok(), stall()], ids=repr)
@pytest.mark.parametrize("plan", [None, latency(30, direction="request"), latency(30, direction="response")], ids=repr)
def test_a_client_of_a_relay_is_seen_leaving_while_the_upstream_or_its_bytes_wait(plan, upstream):
    with serve(upstream, strict=False) as real, relay(real, plan, strict=False) as server:
        with dialled(server) as client:
            client.sendall(GET)
            server.wait_for_attempts(1, at="request")
            if (plan, upstream) == (None, ok()):
                heard(client)

        (attempt,) = server.wait_for_attempts(1, at="end")
        if plan != LATE_REQUEST:
            real.wait_for_attempts(1, at="end")

    is_answered = (plan, upstream) == (None, ok())
    assert (attempt.ended_by, attempt.ended_how) == ("upstream" if is_answered else "client", "FIN")


def test_what_a_client_said_before_it_left_still_goes_through_a_relay():
    with serve(ok()) as real, relay(real, latency(0.1), strict=False) as server:
        with dialled(server) as client:
            client.sendall(GET)

        assert real.wait_for_attempts(1, at="response")[0].request.method == "GET"
        assert server.attempts[0].ended_by == "client"


UNREAD = [stall(at="accept"), stall(at="request"), stall(at="request", after_bytes=9)]
UPLOADS = [2_000, 20_000, 200_000, 2_000_000]


@pytest.mark.parametrize("size", UPLOADS)
@pytest.mark.parametrize(
    "plan", [stall(at="accept"), stall(at="request"), stall(at="request", after_bytes=9)], ids=repr
)
def test_a_client_is_seen_leaving_however_much_of_what_it_said_lies_unread(plan, size):
    with serve(plan) as server, dialled(server) as client:
        client.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        server.wait_for_attempts(1, at="strike")
        client.close()

        (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.ended_by, attempt.ended_how) == ("client", "FIN")


def test_a_client_that_reads_nothing_of_a_long_answer_is_seen_leaving():
    with serve(stall(after_bytes=19_000_000), answer=ok(bytes(20_000_000)), strict=False) as server:
        with dialled(server) as client:
            client.sendall(GET)
            server.wait_for_attempts(1, at="response")

        assert server.wait_for_attempts(1, at="end")[0].ended_by == "client"


STRIKES = [
    reset(after_bytes=5),
    close(after_bytes=5),
    stall(after_bytes=5),
    reset(at="request", after_bytes=5),
    stall(at="request", after_bytes=5),
    script(receive_request(), send(b"220 "), reset()),
    script(receive_request(), send(b"220 "), stall()),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("plan", STRIKES, ids=repr)
def test_nothing_strikes_a_client_that_has_left(plan, leave, kind):
    with serve(plan, strict=False, **KINDS[kind]) as server:
        server.pause()
        with dialled(server) as client:
            client.sendall(GET)
            leave(client)
            server.wait_for_attempts(1)
        server.resume()

        (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.struck, attempt.ended_by) == (None, "client")


def test_request_of_a_client_that_has_closed_never_arrives_at_a_server_that_delays_it():
    with serve(latency(20, direction="request")) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            server.wait_for_strike()
        (attempt,) = server.wait_for_attempts(1, at="end")

    assert (attempt.ended_by, attempt.ended_how, attempt.request) == ("client", "FIN", None)


def test_request_of_a_client_that_has_closed_still_arrives_at_the_upstream_of_a_relay_that_delays_it():
    with serve(ok()) as upstream, relay(upstream, latency(0.2, direction="request")) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            server.wait_for_strike()
        (attempt,) = upstream.wait_for_attempts(1, at="response")

    assert attempt.request.method == "GET"
